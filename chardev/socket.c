/* SPDX-License-Identifier: MIT */
/*
 * socket: a TCP or UNIX stream socket, as client or server, plain or telnet.
 * A server has one peer at a time; while there is none, output is dropped. A
 * client with reconnect= dials again and again, and without haste. The options
 * tls-creds and websocket of other emulators are refused.
 */
#include "chardev/address.h"
#include "chardev/dial.h"
#include "chardev/stream.h"
#include "chardev/telnet.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/yank.h"

typedef struct Sock {
    StreamChardev sc;
    int listener;               /* -1: a client, or not open */
    ChrWatch *listen_src;
    bool telnet, nodelay;
    Yank yank;
    int watch;                  /* yank_watch of the peer */
    Telnet tel;
    char *where;                /* "unix:/path" or "tcp:host:port" */
    char *unlink_path;          /* our UNIX socket's file; NULL: none */
    /* reconnect: */
    ChrAddress address;
    uint32_t again_ms;          /* 0: not asked for */
    bool told;                  /* that it does not answer */
    Dial *dial;
    ChrWatch *dial_src, *again_src;
} Sock;

/* ---- a peer comes and goes ---------------------------------------------------- */

static void await_peer(Sock *s);
static void dial_later(Sock *s);

static int sock_filter(Chardev *c, uint8_t *buf, int n)
{
    Sock *s = (Sock *)c;
    int breaks = 0;
    int k = telnet_input(&s->tel, buf, n, &breaks);

    while (breaks-- > 0)
        chr_be_event(c, CHR_BREAK);
    return k;
}

static bool is_unix(int fd)
{
    int domain = 0;
    socklen_t len = sizeof(domain);

    return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX;
}

static void sock_connected(Sock *s, int fd)
{
    Chardev *c = &s->sc.chr;
    const uint8_t *hello;
    int one = 1;

    if (s->nodelay)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    chr_unwatch(&s->listen_src);
    s->watch = yank_watch(&s->yank, fd);
    s->sc.s.sock = true;
    s->sc.s.takes_fds = is_unix(fd);
    s->sc.s.filter = s->telnet ? sock_filter : NULL;
    s->tel = (Telnet){ 0 };
    stream_start(c, fd, fd);
    if (s->telnet) {
        int n = telnet_hello(&hello);

        stream_write(c, hello, n);
    }
    chr_be_event(c, CHR_OPENED);
}

static void sock_ended(Chardev *c, int errnum)
{
    Sock *s = (Sock *)c;

    stream_drop(c);
    yank_unwatch(&s->yank, s->watch);
    s->watch = -1;
    chr_be_event(c, CHR_CLOSED);
    if (s->listener >= 0)
        await_peer(s);
    else if (s->again_ms)
        dial_later(s);
}

static void on_peer(Chardev *c, GIOCondition cond)
{
    Sock *s = (Sock *)c;
    int fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd >= 0)
        sock_connected(s, fd);
}

static void await_peer(Sock *s)
{
    s->listen_src = chr_watch_fd(&s->sc.chr, s->listener, G_IO_IN, on_peer);
}

/* ---- dialling again --------------------------------------------------------------- */

static void on_dialled(Chardev *c, GIOCondition cond)
{
    Sock *s = (Sock *)c;
    Err *why;

    chr_unwatch(&s->dial_src);
    int fd = dial_end(s->dial, &why);
    s->dial = NULL;
    if (fd >= 0) {
        s->told = false;
        sock_connected(s, fd);
        return;
    }
    if (!s->told)
        chr_note("chardev '%s': %s; trying again every %g s", c->id, err_text(why), s->again_ms / 1000.0);
    s->told = true;
    err_free(why);
    dial_later(s);
}

static void dial(Chardev *c)
{
    Sock *s = (Sock *)c;

    chr_unwatch(&s->again_src);
    s->dial = dial_new(&s->address);
    if (s->dial)
        s->dial_src = chr_watch_fd(c, dial_fd(s->dial), G_IO_IN, on_dialled);
    else
        dial_later(s);
}

static void dial_later(Sock *s)
{
    s->again_src = chr_after(&s->sc.chr, s->again_ms, dial);
}

/* ---- output ------------------------------------------------------------------------ */

/* Telnet doubles 0xff; a byte of the port counts as taken when all of it was. */
static int write_telnet(Chardev *c, const uint8_t *buf, int n)
{
    static const uint8_t two[] = { 255, 255 };
    int done = 0;

    while (done < n) {
        const uint8_t *ff = memchr(buf + done, 255, n - done);
        int part = ff ? (int)(ff - (buf + done)) : n - done;
        int k = part ? stream_write(c, buf + done, part) : 0;

        done += k;
        if (k < part)
            return done;
        if (ff) {
            /* Both bytes or none. */
            if (stream_room(c) < 2) {
                ((StreamChardev *)c)->s.owes_writable = true;
                return done;
            }
            stream_write(c, two, 2);
            done++;
        }
    }
    return done;
}

static int sock_write(Chardev *c, const uint8_t *buf, int n)
{
    return ((Sock *)c)->telnet ? write_telnet(c, buf, n) : stream_write(c, buf, n);
}

/* ---- open ------------------------------------------------------------------------- */

static Err *check_refused(const Opts *o)
{
    const char *tls = opts_str(o, "tls-creds", NULL);

    if (tls && *tls)
        return err_hint(err(ERR_UNSUPPORTED, "the option 'tls-creds' is not available"),
                        "Use a UNIX socket, and a program such as socat or stunnel for TLS in front of it.");
    if (opts_bool(o, "websocket", false))
        return err_hint(err(ERR_UNSUPPORTED, "the option 'websocket' is not available"),
                        "Use a plain socket, and websockify in front of it.");
    return NULL;
}

static Err *check_opts(const Opts *o)
{
    bool server = opts_bool(o, "server", false);

    TRY(check_refused(o));
    if (opts_has(o, "path") + opts_has(o, "port") + opts_has(o, "fd") != 1)
        return err_hint(err(ERR_INVALID, "it needs one address"),
                        "Give path=FILE, or host=HOST,port=PORT, or fd=NUMBER.");
    if (!server && opts_bool(o, "wait", false))
        return err_hint(err(ERR_INVALID, "wait=on is for servers"), "Add server=on.");
    if (!server && opts_has(o, "to"))
        return err_hint(err(ERR_INVALID, "to= is for servers"), "Add server=on.");
    return NULL;
}

/* reconnect= counts seconds, reconnect-ms= what it says. */
static Err *take_reconnect(Sock *s, const Opts *o, bool server)
{
    uint64_t sec = opts_num(o, "reconnect", 0), ms = opts_num(o, "reconnect-ms", 0);

    if (!sec && !ms)
        return NULL;
    if (sec && ms)
        return err_hint(err(ERR_INVALID, "reconnect and reconnect-ms are the same"), "Give one of them.");
    if (server || opts_has(o, "fd"))
        return err_hint(err(ERR_INVALID, "reconnect is for clients that know an address"), "Leave it away.");
    if (sec > 86400 || ms > 86400000)
        return err_hint(err(ERR_INVALID, "a reconnect time of more than a day"), "reconnect=1 is usual.");
    s->again_ms = sec ? sec * 1000 : ms;
    return NULL;
}

/* wait=on: the machine starts when the peer has come. */
static Err *wait_for_peer(Sock *s)
{
    int fd;

    chr_note("waiting for a connection on %s", s->where);
    do {
        fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0)
        return err_errno(errno, "cannot accept a connection on %s", s->where);
    sock_connected(s, fd);
    return NULL;
}

/* fd=N: an open socket from whoever started us. */
static Err *take_fd(const Opts *o, int *out)
{
    int fd = (int)opts_num(o, "fd", 0);
    int type;
    socklen_t len = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return err_errno(errno, "descriptor %d is no socket that can be used", fd);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    *out = fd;
    return NULL;
}

static Err *open_address(Sock *s, const Opts *o, bool server, int *fd)
{
    if (opts_has(o, "fd")) {
        TRY(take_fd(o, fd));
        s->where = g_strdup_printf("fd:%d", *fd);
        return NULL;
    }
    TRY(chr_address(o, &s->address));
    s->nodelay = !s->address.path && opts_bool(o, "nodelay", s->telnet);
    if (s->again_ms)
        s->where = chr_address_text(&s->address);
    else
        TRY(server ? chr_listen(&s->address, fd, &s->unlink_path) : chr_connect(&s->address, fd));
    if (!s->where)
        s->where = s->address.path ? chr_address_text(&s->address) : chr_bound_name("tcp", *fd);
    return NULL;
}

static Err *sock_open(Chardev *c, const Opts *o)
{
    Sock *s = (Sock *)c;
    bool server = opts_bool(o, "server", false);
    int fd = -1;

    s->listener = s->watch = -1;
    s->sc.s.ended = sock_ended;
    TRY(check_opts(o));
    TRY(take_reconnect(s, o, server));
    s->telnet = opts_bool(o, "telnet", false);
    yank_add(chr_host(c)->yanks, &s->yank, YANK_CHARDEV, c->id);
    TRY(open_address(s, o, server, &fd));
    if (s->again_ms) {
        dial(c);
        return NULL;
    }
    if (!server) {
        sock_connected(s, fd);
        return NULL;
    }
    s->listener = fd;
    if (opts_bool(o, "wait", true))
        return wait_for_peer(s);
    if (!strcmp(opts_str(o, "port", ""), "0") || s->address.to)
        chr_note("chardev '%s' listens on %s", c->id, s->where);
    await_peer(s);
    return NULL;
}

static void sock_close(Chardev *c)
{
    Sock *s = (Sock *)c;

    stream_close(c);
    yank_remove(&s->yank);
    chr_unwatch(&s->listen_src);
    chr_unwatch(&s->dial_src);
    chr_unwatch(&s->again_src);
    dial_drop(s->dial);
    chr_address_clear(&s->address);
    if (s->listener >= 0)
        close(s->listener);
    if (s->unlink_path)
        unlink(s->unlink_path);
    g_free(s->unlink_path);
    g_free(s->where);
}

static char *sock_filename(const Chardev *c)
{
    const Sock *s = (const Sock *)c;

    return g_strdup_printf("%s%s", s->where, s->listener >= 0 ? ",server=on" : "");
}

static const OptDesc sock_opts[] = {
    { "path",    OPT_STR,  "the file of a UNIX socket" },
    { "host",    OPT_STR,  "TCP: the host, empty for any (server) or this one" },
    { "port",    OPT_STR,  "TCP: the port; 0 with server=on: any that is free" },
    { "fd",      OPT_NUM,  "a socket that is open already" },
    { "server",  OPT_BOOL, "listen, instead of connecting" },
    { "wait",    OPT_BOOL, "with server=on: start when a peer has come (default on)" },
    { "telnet",  OPT_BOOL, "speak telnet" },
    { "nodelay", OPT_BOOL, "TCP: send small packets at once" },
    { "ipv4",    OPT_BOOL, "TCP: only IPv4" },
    { "ipv6",    OPT_BOOL, "TCP: only IPv6" },
    { "to",      OPT_NUM,  "TCP, with server=on: the last port to try" },
    { "keep-alive",   OPT_BOOL, "TCP: find out that the peer is gone though nothing is said" },
    { "abstract",     OPT_BOOL, "UNIX: a name without a file" },
    { "tight",        OPT_BOOL, "abstract=on: no NULs behind the name (default on)" },
    { "reconnect",    OPT_NUM,  "client: seconds until it dials again, also at the start" },
    { "reconnect-ms", OPT_NUM,  "the same in milliseconds" },
    { "tls-creds",    OPT_STR,  "not available" },
    { "websocket",    OPT_BOOL, "not available" },
    { 0 }
};

const ChardevClass chardev_socket = {
    .name = "socket", .doc = "a TCP or UNIX socket, plain or telnet",
    .opts = sock_opts, .size = sizeof(Sock),
    .open = sock_open, .write = sock_write, .input = stream_input, .close = sock_close,
    .filename = sock_filename, .take_fd = stream_take_fd,
};
