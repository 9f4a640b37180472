/* SPDX-License-Identifier: MIT */
/*
 * socket: a TCP or UNIX stream socket, as client or server, plain or telnet.
 * A server has one peer at a time; while it has none, output is dropped. The
 * options reconnect, tls-creds and websocket of other emulators are refused.
 */
#include "chardev/stream.h"
#include "chardev/telnet.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/path.h"

typedef struct Sock {
    StreamChardev sc;
    int listener;               /* -1: a client, or not open */
    GSource *listen_src;
    bool telnet, nodelay;
    Telnet tel;
    char *where;                /* "unix:/path" or "tcp:host:port" */
    char *unlink_path;          /* our UNIX socket's file; NULL: none */
} Sock;

/* ---- a peer comes and goes ---------------------------------------------------- */

static void await_peer(Sock *s);

static int sock_filter(Chardev *c, uint8_t *buf, int n)
{
    Sock *s = (Sock *)c;
    int breaks = 0;
    int k = telnet_input(&s->tel, buf, n, &breaks);

    while (breaks-- > 0)
        chr_be_event(c, CHR_BREAK);
    return k;
}

static void sock_connected(Sock *s, int fd)
{
    Chardev *c = &s->sc.chr;
    const uint8_t *hello;
    int one = 1;

    if (s->nodelay)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    chr_unwatch(&s->listen_src);
    s->sc.s.sock = true;
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
    chr_be_event(c, CHR_CLOSED);
    if (s->listener >= 0)
        await_peer(s);
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

/* ---- addresses ------------------------------------------------------------------ */

static Err *unix_address(const char *path, struct sockaddr_un *sa)
{
    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    if (!*path)
        return err_hint(err(ERR_INVALID, "it has no path"), "Write unix:PATH, or path=PATH.");
    if (strlen(path) >= sizeof(sa->sun_path))
        return err_hint(err(ERR_INVALID, "the path '%s' is too long for a UNIX socket", path),
                        "It may have %d characters.", (int)sizeof(sa->sun_path) - 1);
    strcpy(sa->sun_path, path);
    return NULL;
}

/* A socket's file that nobody listens on is left from a program that has died. */
static bool is_stale(const struct sockaddr_un *sa)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;
    bool stale = fd >= 0 && !stat(sa->sun_path, &st) && S_ISSOCK(st.st_mode) &&
                 connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) < 0 &&
                 errno == ECONNREFUSED;

    if (fd >= 0)
        close(fd);
    return stale;
}

static Err *unix_listen(Sock *s, const char *path, int *out)
{
    struct sockaddr_un sa;

    TRY(unix_address(path, &sa));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(errno, "cannot make a socket");
    int r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
    if (r < 0 && errno == EADDRINUSE && is_stale(&sa)) {
        unlink(path);
        r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
    }
    if (r < 0 || listen(fd, 1) < 0) {
        int why = errno;
        Err *e = err_path(why, path, "cannot listen on '%s'", path);

        if (why == EADDRINUSE)
            e = err_hint(e, "Another program listens there, or it is a file that is no socket.");
        close(fd);
        return e;
    }
    s->unlink_path = g_strdup(path);
    *out = fd;
    return NULL;
}

static Err *unix_connect(const char *path, int *out)
{
    struct sockaddr_un sa;

    TRY(unix_address(path, &sa));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_errno(errno, "cannot make a socket");
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        Err *e = err_errno(errno, "cannot connect to '%s'", path);

        close(fd);
        return err_hint(e, "Start the program that listens there first, or add server=on.");
    }
    *out = fd;
    return NULL;
}

static Err *resolve(const Opts *o, bool server, struct addrinfo **list)
{
    const char *host = opts_str(o, "host", ""), *port = opts_str(o, "port", "");
    bool v4 = opts_bool(o, "ipv4", false), v6 = opts_bool(o, "ipv6", false);
    struct addrinfo want = {
        .ai_family = v4 && !v6 ? AF_INET : v6 && !v4 ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM, .ai_flags = server ? AI_PASSIVE : 0,
    };
    char *end;

    /* The resolver would take 99999 for 34463. */
    if (strtoul(port, &end, 10) > 65535 && !*end)
        return err_hint(err(ERR_INVALID, "there is no port %s", port), "Ports are 1 to 65535; a server may ask for 0, any.");
    int r = getaddrinfo(*host ? host : NULL, port, &want, list);
    if (!r)
        return NULL;
    return err_hint(err(ERR_NOT_FOUND, "host '%s', port '%s': %s", host, port, gai_strerror(r)),
                    "This machine itself is 127.0.0.1; a port is a number from 1 to 65535, or a service's name.");
}

static int try_address(const struct addrinfo *a, bool server)
{
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol), one = 1;

    if (fd < 0)
        return -1;
    if (server) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (!bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, 1))
            return fd;
    } else if (!connect(fd, a->ai_addr, a->ai_addrlen)) {
        return fd;
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static Err *inet_open(const Opts *o, bool server, int *out)
{
    struct addrinfo *list;
    int fd = -1;

    TRY(resolve(o, server, &list));
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
        fd = try_address(a, server);
    int why = errno;
    freeaddrinfo(list);
    *out = fd;
    if (fd >= 0)
        return NULL;
    Err *e = err_errno(why, "cannot %s %s:%s", server ? "listen on" : "connect to",
                       opts_str(o, "host", ""), opts_str(o, "port", ""));
    if (server && why == EADDRINUSE)
        e = err_hint(e, "Another program has the port; choose another one, or 0 for any.");
    if (server && why == EACCES)
        e = err_hint(e, "Ports below 1024 are for root alone.");
    if (!server && why == ECONNREFUSED)
        e = err_hint(e, "Start the program that listens there first, or add server=on.");
    return e;
}

/* "tcp:HOST:PORT" as it is now: port 0 has become a real one. */
static char *inet_name(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char host[100] = "?", port[20] = "?";

    if (!getsockname(fd, (struct sockaddr *)&sa, &len))
        getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
    return g_strdup_printf("tcp:%s:%s", host, port);
}

/* ---- open ------------------------------------------------------------------------- */

static Err *check_opts(const Opts *o)
{
    static const char *const refused[] = {
        "reconnect", "reconnect-ms", "tls-creds", "websocket", "abstract", "tight", NULL
    };
    bool server = opts_bool(o, "server", false);

    for (int i = 0; refused[i]; i++) {
        const char *v = opts_str(o, refused[i], NULL);

        if (v && strcmp(v, "0") && strcmp(v, "off"))
            return err(ERR_UNSUPPORTED, "the option '%s' is not available", refused[i]);
    }
    if (opts_has(o, "path") + opts_has(o, "port") + opts_has(o, "fd") != 1)
        return err_hint(err(ERR_INVALID, "it needs one address"),
                        "Give path=FILE, or host=HOST,port=PORT, or fd=NUMBER.");
    if (!server && opts_bool(o, "wait", false))
        return err_hint(err(ERR_INVALID, "wait=on is for servers"), "Add server=on.");
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
    const char *path = opts_str(o, "path", NULL);

    if (opts_has(o, "fd")) {
        TRY(take_fd(o, fd));
        s->where = g_strdup_printf("fd:%d", *fd);
    } else if (path) {
        TRY(server ? unix_listen(s, path, fd) : unix_connect(path, fd));
        s->where = g_strdup_printf("unix:%s", path);
    } else {
        TRY(inet_open(o, server, fd));
        s->where = inet_name(*fd);
        s->nodelay = opts_bool(o, "nodelay", s->telnet);
    }
    return NULL;
}

static Err *sock_open(Chardev *c, const Opts *o)
{
    Sock *s = (Sock *)c;
    bool server = opts_bool(o, "server", false);
    const char *port = opts_str(o, "port", "");
    int fd = -1;

    s->listener = -1;
    s->sc.s.ended = sock_ended;
    TRY(check_opts(o));
    s->telnet = opts_bool(o, "telnet", false);
    TRY(open_address(s, o, server, &fd));
    if (!server) {
        sock_connected(s, fd);
        return NULL;
    }
    s->listener = fd;
    if (opts_bool(o, "wait", true))
        return wait_for_peer(s);
    if (!strcmp(port, "0"))
        chr_note("chardev '%s' listens on %s", c->id, s->where);
    await_peer(s);
    return NULL;
}

static void sock_close(Chardev *c)
{
    Sock *s = (Sock *)c;

    stream_close(c);
    chr_unwatch(&s->listen_src);
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
    { "reconnect",    OPT_STR, "not available" },
    { "reconnect-ms", OPT_STR, "not available" },
    { "tls-creds",    OPT_STR, "not available" },
    { "websocket",    OPT_STR, "not available" },
    { "abstract",     OPT_STR, "not available" },
    { "tight",        OPT_STR, "not available" },
    { 0 }
};

const ChardevClass chardev_socket = {
    .name = "socket", .doc = "a TCP or UNIX socket, plain or telnet",
    .opts = sock_opts, .size = sizeof(Sock),
    .open = sock_open, .write = sock_write, .input = stream_input, .close = sock_close,
    .filename = sock_filename,
};
