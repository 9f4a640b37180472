/* SPDX-License-Identifier: MIT */
/*
 * -netdev socket, the older spelling of stream and dgram:
 *   listen=[HOST]:PORT, connect=HOST:PORT           frames over TCP
 *   mcast=GROUP:PORT, udp=HOST:PORT                 a frame in each datagram; localaddr=
 *   fd=N                                            a socket of either kind
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/conn.h"
#include "net/dgram.h"
#include "net/net-priv.h"
#include "net/packets.h"

typedef struct Sock {
    NetPort port;
    char *listen, *connect, *mcast, *udp, *localaddr, *fd;
    /* */
    bool packets;               /* datagrams */
    Conn conn;
    Packets io;
    DgramAddr to;
    Watch listener;
} Sock;

static bool sock_frame(NetPort *p, const IoVec *frame)
{
    Sock *s = (Sock *)p;

    return s->packets ? packets_frame(&s->io, frame) : conn_frame(&s->conn, frame);
}

static void sock_room(NetPort *p)
{
    Sock *s = (Sock *)p;

    if (s->packets)
        packets_room(&s->io);
    else
        conn_room(&s->conn);
}

static void sock_free(NetPort *p)
{
    Sock *s = (Sock *)p;
    int fd = s->listener.fd;

    conn_close(&s->conn);
    packets_stop(&s->io);
    watch_del(&s->listener);
    if (fd >= 0)
        close(fd);
}

static const NetOps sock_ops = { .frame = sock_frame, .room = sock_room, .free = sock_free };

static void sock_ended(NetPort *p, const char *why)
{
    Sock *s = (Sock *)p;

    err_note("netdev '%s': the connection is over: %s", p->name, why);
    if (s->listener.fd >= 0)
        watch_events(&s->listener, EPOLLIN);
}

static void accept_one(void *opaque, uint32_t events)
{
    Sock *s = opaque;
    int fd = socket_accept(s->listener.fd);
    Err *e = fd >= 0 ? conn_open(&s->conn, fd) : NULL;

    if (e)
        err_report(e);
    else if (fd >= 0)
        watch_events(&s->listener, 0);
}

static Err *start_listen(Sock *s, const SocketAddr *a)
{
    g_autoptr(GArray) fds = g_array_new(false, false, sizeof(int));

    TRY(socket_listen(a, 1, fds));
    for (guint i = 1; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    return watch_add(&s->listener, net_loop(s->port.net), g_array_index(fds, int, 0), EPOLLIN, accept_one, s);
}

static Err *start_stream(Sock *s)
{
    SocketAddr a = { 0 };
    int fd = -1;
    Err *e = socket_addr_parse(s->listen ? s->listen : s->connect, &a);

    if (!e && s->listen)
        e = start_listen(s, &a);
    else if (!e)
        e = socket_connect(&a, -1, NULL, &fd);
    socket_addr_clear(&a);
    return e || s->listen ? e : conn_open(&s->conn, fd);
}

/* "HOST:PORT", or an address alone (port 0). */
static Err *parse_dgram(const char *what, const char *text, bool port, DgramAddr *out)
{
    g_autofree char *whole = port ? g_strdup(text) : g_strdup_printf("%s:0", text);
    SocketAddr a = { 0 };
    Err *e = socket_addr_parse(whole, &a);

    if (!e)
        e = dgram_addr(&a, out);
    socket_addr_clear(&a);
    return err_in(e, "%s=%s", what, text);
}

static Err *start_packets(Sock *s, int fd)
{
    s->packets = true;
    s->io.socket = true;
    return packets_start(&s->io, &s->port, fd);
}

static Err *start_dgram(Sock *s)
{
    DgramAddr local;
    int fd = -1;

    if (s->udp && !s->localaddr)
        return err_hint(err(ERR_INVALID, "udp= needs localaddr="), "As in udp=HOST:PORT,localaddr=:PORT.");
    TRY(parse_dgram(s->udp ? "udp" : "mcast", s->udp ? s->udp : s->mcast, true, &s->to));
    if (s->mcast && !dgram_is_multicast(&s->to))
        return err_hint(err(ERR_INVALID, "mcast=%s: that is no multicast group", s->mcast), "As in mcast=230.0.0.1:1234.");
    if (s->localaddr)
        TRY(parse_dgram("localaddr", s->localaddr, s->udp, &local));
    TRY(dgram_socket(s->localaddr ? &local : NULL, &s->to, &fd));
    s->io.to = &s->to;
    s->io.to_len = s->to.len;
    return start_packets(s, fd);
}

static Err *start_fd(Sock *s)
{
    int fd, type = 0;
    socklen_t n = sizeof(type);

    TRY(err_in(net_take_fd(s->port.net, s->fd, &fd), "fd"));
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK)) {
        Err *e = err_errno(errno, "descriptor %s", s->fd);

        close(fd);
        return e;
    }
    if (type == SOCK_DGRAM)
        return start_packets(s, fd);
    if (type == SOCK_STREAM)
        return conn_open(&s->conn, fd);
    close(fd);
    return err(ERR_INVALID, "descriptor %s is no stream or datagram socket", s->fd);
}

static Err *sock_start(NetPort *p)
{
    Sock *s = (Sock *)p;

    if (!!s->listen + !!s->connect + !!s->mcast + !!s->udp + !!s->fd != 1)
        return err(ERR_INVALID, "exactly one of listen=, connect=, mcast=, udp= and fd= is needed");
    if (s->localaddr && !s->mcast && !s->udp)
        return err(ERR_INVALID, "localaddr= belongs to mcast= or udp=");
    conn_init(&s->conn, p, net_loop(p->net), sock_ended);
    s->io.fd = s->io.watch.fd = s->listener.fd = -1;
    p->ops = &sock_ops;
    return s->fd ? start_fd(s) : s->listen || s->connect ? start_stream(s) : start_dgram(s);
}

static const Field sock_fields[] = {
    PROP(Sock, listen, .doc = "[HOST]:PORT: frames over TCP, from one who connects"),
    PROP(Sock, connect, .doc = "HOST:PORT: frames over TCP, to one who listens"),
    PROP(Sock, mcast, .doc = "GROUP:PORT: a UDP multicast group"),
    PROP(Sock, udp, .doc = "HOST:PORT: datagrams to there; needs localaddr"),
    PROP(Sock, localaddr, .doc = "where datagrams are received (udp: HOST:PORT), or from which address a group is joined"),
    PROP(Sock, fd, .doc = "a socket that was inherited"),
    { 0 }
};

NETDEV(socket) = {
    .name = "socket", .doc = "the older spelling of stream and dgram",
    .size = sizeof(Sock), .fields = sock_fields, .start = sock_start,
};
