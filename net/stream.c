/* SPDX-License-Identifier: MIT */
/*
 * -netdev stream: frames over a stream socket to another machine, or a switch
 * such as passt. As a server it takes one connection at a time; as a client it
 * dials again when told to (reconnect).
 */
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/addr.h"
#include "net/conn.h"
#include "util/socket.h"

typedef struct Stream {
    NetPort port;
    AddrProps addr;
    bool server;
    uint32_t reconnect, reconnect_ms;
    /* */
    Loop *loop;
    SocketAddr to;
    Conn conn;
    Watch listener;
    Alarm again;
    struct Dial *dial;          /* a coroutine that connects */
    char *peer;
} Stream;

typedef struct Dial { Stream *s; Cancel cancel; } Dial;     /* s NULL: it is gone */

static bool stream_frame(NetPort *p, const IoVec *frame) { return conn_frame(&((Stream *)p)->conn, frame); }
static void stream_room(NetPort *p) { conn_room(&((Stream *)p)->conn); }

static int64_t pause_ns(const Stream *s)
{
    return (s->reconnect_ms ? s->reconnect_ms : s->reconnect * INT64_C(1000)) * 1000000;
}

static void stream_ended(NetPort *p, const char *why)
{
    Stream *s = (Stream *)p;

    err_note("netdev '%s': the connection to %s is over: %s", p->name, s->peer, why);
    if (s->server)
        watch_events(&s->listener, EPOLLIN);
    else if (pause_ns(s))
        alarm_set(&s->again, loop_now() + pause_ns(s));
}

static Err *connected(Stream *s, int fd)
{
    g_free(s->peer);
    s->peer = socket_peer(fd);
    return conn_open(&s->conn, fd);
}

static void accept_one(void *opaque, uint32_t events)
{
    Stream *s = opaque;
    int fd = socket_accept(s->listener.fd);

    if (fd < 0)
        return;
    Err *e = connected(s, fd);

    if (e)
        err_report(e);
    else
        watch_events(&s->listener, 0);
}

static void dial_run(void *opaque)
{
    Dial *d = opaque;
    int fd = -1;
    Err *e = socket_connect(&d->s->to, -1, &d->cancel, &fd);

    if (d->s) {
        Stream *s = d->s;

        s->dial = NULL;
        if (!e)
            e = connected(s, fd);
        if (e)
            alarm_set(&s->again, loop_now() + pause_ns(s));
    } else if (fd >= 0) {
        close(fd);
    }
    err_free(e);
    g_free(d);
}

static void dial_again(void *opaque)
{
    Stream *s = opaque;

    s->dial = g_new0(Dial, 1);
    s->dial->s = s;
    co_start(s->loop, dial_run, s->dial);
}

static void stream_free(NetPort *p)
{
    Stream *s = (Stream *)p;
    int fd = s->listener.fd;

    alarm_del(&s->again);
    if (s->dial) {
        s->dial->s = NULL;
        cancel_now(&s->dial->cancel);
    }
    conn_close(&s->conn);
    watch_del(&s->listener);
    if (fd >= 0)
        close(fd);
    if (s->server && s->to.type == SOCKET_UNIX && fd >= 0 && s->to.path && !s->to.abstract)
        unlink(s->to.path);
    socket_addr_clear(&s->to);
    g_free(s->peer);
}

static const NetOps stream_ops = { .frame = stream_frame, .room = stream_room, .free = stream_free };

static Err *stream_listen(Stream *s)
{
    g_autoptr(GArray) fds = g_array_new(false, false, sizeof(int));

    TRY(socket_listen(&s->to, 1, fds));
    for (guint i = 1; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    return watch_add(&s->listener, s->loop, g_array_index(fds, int, 0), EPOLLIN, accept_one, s);
}

static Err *stream_start(NetPort *p)
{
    Stream *s = (Stream *)p;
    int fd = -1;

    if (s->server && (s->reconnect || s->reconnect_ms))
        return err(ERR_INVALID, "reconnect is a client's; this is a server");
    TRY(addr_props_parse(&s->addr, "addr", &s->to));
    s->loop = net_loop(p->net);
    s->listener.fd = -1;
    conn_init(&s->conn, p, s->loop, stream_ended);
    alarm_init(&s->again, s->loop, dial_again, s);
    p->ops = &stream_ops;
    if (s->server)
        return stream_listen(s);
    Err *e = socket_connect(&s->to, -1, NULL, &fd);

    if (e && pause_ns(s)) {
        err_free(e);
        alarm_set(&s->again, loop_now() + pause_ns(s));
        return NULL;
    }
    return e ? err_hint(e, "reconnect-ms=1000 tries again until somebody listens.") : connected(s, fd);
}

static char *stream_info(NetPort *p)
{
    Stream *s = (Stream *)p;
    g_autofree char *at = socket_addr_text(&s->to);

    return s->conn.fd >= 0 ? g_strdup_printf("connected to %s", s->peer) :
           g_strdup_printf("%s %s", s->server ? "listening on" : "not connected to", at);
}

static const Field stream_fields[] = {
    PROP(Stream, server, .def = "off", .doc = "listen instead of connecting"),
    ADDR_PROPS(Stream, addr, "addr"),
    PROP(Stream, reconnect, .def = "0", .doc = "seconds until a client dials again; 0: never"),
    PROP(Stream, reconnect_ms, .def = "0", .doc = "the same in milliseconds"),
    { 0 }
};

NETDEV(stream) = {
    .name = "stream", .doc = "frames over a TCP or unix socket",
    .size = sizeof(Stream), .fields = stream_fields, .start = stream_start, .info = stream_info,
};
