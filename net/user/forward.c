/* SPDX-License-Identifier: MIT */
/*
 * Ports of the host that lead to the guest (hostfwd), and addresses of the
 * guest's network behind which something of the host is (guestfwd).
 *
 * guestfwd to a TCP address: the library can connect to a unix socket only, so
 * each such rule has one of ours, in a folder of its own, and for each
 * connection to it a coroutine connects to the address and copies both ways.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/user/user.h"
#include "util/co.h"
#include "util/socket.h"
#include "util/str.h"

enum { RELAYS_MAX = 256 /* connections of one rule at once */, RELAY_BUFFER = 64 << 10 };

/* ---- reading rules */

typedef struct End {
    union { struct sockaddr sa; struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_un un; };
    socklen_t len;
} End;

static Err *bad_rule(const char *what, const char *rule)
{
    return err_hint(err(ERR_INVALID, "%s=%s: it is no such rule", what, rule),
                    !strcmp(what, "hostfwd") ? "It has the form tcp:[ADDRESS]:PORT-[GUEST]:PORT, as in tcp::2222-:22; "
                    "udp likewise; unix:PATH-[GUEST]:PORT." :
                    "It has the form tcp:ADDRESS:PORT-tcp:HOST:PORT, -unix:PATH or -cmd:COMMAND.");
}

/* "[ADDRESS]:PORT" with an IPv6 address in brackets; no address: `def`. False: it is none. */
static bool parse_end(const char *text, struct in_addr def, End *out)
{
    const char *colon = strrchr(text, ':');
    g_autofree char *addr = colon ? g_strndup(text, colon - text) : NULL;
    uint64_t port;
    Err *e;

    if (!colon)
        return false;
    e = parse_num(colon + 1, &port);
    if (e || port < 1 || port > 65535) {
        err_free(e);
        return false;
    }
    memset(out, 0, sizeof(*out));
    size_t n = strlen(addr);
    if (n > 2 && addr[0] == '[' && addr[n - 1] == ']') {
        addr[n - 1] = 0;
        out->in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
        out->len = sizeof(out->in6);
        return inet_pton(AF_INET6, addr + 1, &out->in6.sin6_addr) == 1;
    }
    out->in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = def };
    out->len = sizeof(out->in);
    return !n || inet_pton(AF_INET, addr, &out->in.sin_addr) == 1;
}

static bool parse_unix(const char *path, End *out)
{
    memset(out, 0, sizeof(*out));
    out->un.sun_family = AF_UNIX;
    out->len = sizeof(out->un);
    return *path && g_strlcpy(out->un.sun_path, path, sizeof(out->un.sun_path)) < sizeof(out->un.sun_path);
}

/* ---- hostfwd */

typedef struct Rule { const char *proto; End host, guest; int flags; } Rule;

/* "PROTO:HOST[-GUEST]"; the guest's end is needed to add one. */
static bool parse_hostfwd(const User *u, const char *rule, bool add, Rule *r)
{
    const char *rest = strchr(rule, ':');
    const char *dash = rest ? strrchr(rest, '-') : NULL;
    struct in_addr any = { 0 };

    if (!rest || (add && !dash))
        return false;
    size_t n = rest - rule;
    g_autofree char *host = dash ? g_strndup(rest + 1, dash - rest - 1) : g_strdup(rest + 1);

    *r = (Rule){ .proto = "tcp" };
    if (n == 3 && !strncmp(rule, "udp", 3)) {
        r->proto = "udp";
        r->flags = SLIRP_HOSTFWD_UDP;
    } else if (n == 4 && !strncmp(rule, "unix", 4)) {
        r->proto = "unix";
    } else if (n && (n != 3 || strncmp(rule, "tcp", 3))) {
        return false;
    }
    if (!strcmp(r->proto, "unix") ? !parse_unix(host, &r->host) : !parse_end(host, any, &r->host))
        return false;
    if (r->host.sa.sa_family == AF_INET6)
        r->flags |= SLIRP_HOSTFWD_V6ONLY;
    if (!dash)
        return true;
    const char *guest = dash + 1;
    /* The old spelling of the guest's end of a unix rule had its own protocol in front; a bare port is meant kindly. */
    return parse_end(guest, u->start, &r->guest);
}

static char *end_text(const Rule *r)
{
    char a[INET6_ADDRSTRLEN];

    if (r->host.sa.sa_family == AF_UNIX)
        return g_strdup_printf("unix socket '%s'", r->host.un.sun_path);
    bool v6 = r->host.sa.sa_family == AF_INET6;

    inet_ntop(r->host.sa.sa_family, v6 ? (void *)&r->host.in6.sin6_addr : (void *)&r->host.in.sin_addr, a, sizeof(a));
    return g_strdup_printf("%s port %d of %s", r->flags & SLIRP_HOSTFWD_UDP ? "UDP" : "TCP",
                           ntohs(v6 ? r->host.in6.sin6_port : r->host.in.sin_port), a);
}

static Err *listen_error(const Rule *r, const char *rule, int errnum)
{
    g_autofree char *what = end_text(r);
    Err *e = err_errno(errnum, "hostfwd=%s: cannot listen on %s", rule, what);

    if (errnum == EADDRINUSE)
        return err_hint(e, "Another program has it ('ss -lnp' says which one): choose another port.");
    if (errnum == EACCES && r->host.sa.sa_family != AF_UNIX)
        return err_hint(e, "Ports below 1024 are the administrator's: choose one above, as 2222 for ssh.");
    return e;
}

Err *user_hostfwd(User *u, const char *rule, bool add)
{
    Rule r;

    if (!parse_hostfwd(u, rule, add, &r))
        return bad_rule("hostfwd", rule);
    bool guest6 = add && r.guest.sa.sa_family == AF_INET6;

    if (add && guest6 ? !u->v6 : !u->v4)
        return err(ERR_INVALID, "hostfwd=%s: the guest has no %s", rule, guest6 ? "IPv6" : "IPv4");
    /* Others the library cannot (it ends the program). */
    if (add && r.guest.sa.sa_family != (r.host.sa.sa_family == AF_UNIX ? AF_INET : r.host.sa.sa_family))
        return err_hint(err(ERR_UNSUPPORTED, "hostfwd=%s: it leads from %s to %s", rule,
                            r.host.sa.sa_family == AF_INET6 ? "IPv6" : "IPv4", guest6 ? "IPv6" : "IPv4"),
                        "Both ends must be of one kind: tcp::2222-:22, or tcp:[::]:2222-[fec0::15]:22.");
    if (add) {
        errno = 0;
        if (u->lib.add_hostxfwd(u->slirp, &r.host.sa, r.host.len, &r.guest.sa, r.guest.len, r.flags) < 0)
            return listen_error(&r, rule, errno ? errno : EINVAL);
        return NULL;
    }
    if (u->lib.remove_hostxfwd(u->slirp, &r.host.sa, r.host.len, r.flags) < 0) {
        g_autofree char *what = end_text(&r);

        return err(ERR_NOT_FOUND, "hostfwd: nothing is forwarded from %s", what);
    }
    return NULL;
}

/* ---- guestfwd to TCP addresses */

struct Relay {
    User *user;                 /* NULL: it is gone; the last connection frees this */
    SocketAddr to;
    int listener;
    Watch watch;
    char *path;
    GPtrArray *conns;
    CoQueue ending;             /* waits for the last of them */
    Relay *next;
};

typedef struct Conn {
    Relay *relay;
    int fd, out;                /* out: -1 until it is connected */
    Cancel cancel;
    unsigned users;             /* coroutines */
} Conn;

static void relay_unref(Relay *r)
{
    if (r->user || r->conns->len)
        return;
    g_ptr_array_free(r->conns, true);
    socket_addr_clear(&r->to);
    g_free(r->path);
    g_free(r);
}

static void conn_unref(Conn *c)
{
    if (--c->users)
        return;
    close(c->fd);
    if (c->out >= 0)
        close(c->out);
    g_ptr_array_remove_fast(c->relay->conns, c);
    if (!c->relay->conns->len && !co_queue_empty(&c->relay->ending))
        co_queue_wake_all(&c->relay->ending);   /* it frees the relay */
    else
        relay_unref(c->relay);
    g_free(c);
}

static bool write_all(int fd, const uint8_t *p, size_t n, Cancel *cancel)
{
    while (n) {
        ssize_t did = send(fd, p, n, MSG_NOSIGNAL);

        if (did < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (did < 0 && errno == EAGAIN && socket_wait(fd, EPOLLOUT, -1, cancel) < 0)
            return false;
        p += MAX(did, 0);
        n -= MAX(did, 0);
    }
    return true;
}

static void pump(int from, int to, Cancel *cancel)
{
    g_autofree uint8_t *buf = g_malloc(RELAY_BUFFER);

    for (;;) {
        ssize_t n = recv(from, buf, RELAY_BUFFER, 0);

        if (n < 0 && errno == EAGAIN && socket_wait(from, EPOLLIN, -1, cancel) >= 0)
            continue;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0 || !write_all(to, buf, n, cancel))
            break;
    }
    shutdown(to, SHUT_WR);
}

static void pump_back(void *opaque)
{
    Conn *c = opaque;
    Cancel none = { 0 };

    pump(c->out, c->fd, &none);
    conn_unref(c);
}

static void conn_run(void *opaque)
{
    Conn *c = opaque;
    Err *e = socket_connect(&c->relay->to, -1, &c->cancel, &c->out);

    if (e) {
        if (c->relay->user)
            err_report(err_in(e, "guestfwd"));
        else
            err_free(e);
        conn_unref(c);
        return;
    }
    c->users++;
    co_start(co_loop(), pump_back, c);
    pump(c->fd, c->out, &c->cancel);
    conn_unref(c);
}

static void relay_accept(void *opaque, uint32_t events)
{
    Relay *r = opaque;
    int fd;

    while ((fd = socket_accept(r->listener)) >= 0) {
        if (r->conns->len >= RELAYS_MAX) {
            close(fd);
            continue;
        }
        Conn *c = g_new0(Conn, 1);

        *c = (Conn){ .relay = r, .fd = fd, .out = -1, .users = 1 };
        g_ptr_array_add(r->conns, c);
        co_start(r->user->loop, conn_run, c);
    }
}

static void relay_stop(Relay *r)
{
    watch_del(&r->watch);
    if (r->listener >= 0)
        close(r->listener);
    if (r->path)
        unlink(r->path);
    r->user = NULL;
    /* What waits sees the end: of its sockets, or of its attempt to connect. */
    for (guint i = 0; i < r->conns->len; i++) {
        Conn *c = r->conns->pdata[i];

        shutdown(c->fd, SHUT_RDWR);
        if (c->out >= 0)
            shutdown(c->out, SHUT_RDWR);
        cancel_now(&c->cancel);
    }
    if (r->conns->len && co_self())
        co_queue_wait(&r->ending);
    relay_unref(r);
}

static Err *relay_listen(User *u, Relay *r)
{
    g_autoptr(GArray) fds = g_array_new(false, false, sizeof(int));
    static const char name[] = "lyre-net-XXXXXX";
    unsigned n = 0;

    if (!u->relay_dir) {
        g_autofree char *dir = g_build_filename(g_get_tmp_dir(), name, NULL);

        if (!mkdtemp(dir))
            return err_errno(errno, "cannot make a folder in %s", g_get_tmp_dir());
        u->relay_dir = g_steal_pointer(&dir);
    }
    for (Relay *o = u->relays; o; o = o->next)
        n++;
    r->path = g_strdup_printf("%s/%u", u->relay_dir, n);
    SocketAddr at = { .type = SOCKET_UNIX, .path = r->path };

    TRY(socket_listen(&at, 16, fds));
    r->listener = g_array_index(fds, int, 0);
    return watch_add(&r->watch, u->loop, r->listener, EPOLLIN, relay_accept, r);
}

static Err *relay_new(User *u, const char *to, char **path)
{
    Relay *r = g_new0(Relay, 1);

    r->user = u;
    r->listener = r->watch.fd = -1;
    r->conns = g_ptr_array_new();
    Err *e = socket_addr_parse(to, &r->to);

    if (!e)
        e = relay_listen(u, r);
    if (e) {
        relay_stop(r);
        return e;
    }
    *path = r->path;
    r->next = u->relays;
    u->relays = r;
    return NULL;
}

void user_forward_stop(User *u)
{
    while (u->relays) {
        Relay *r = u->relays;

        u->relays = r->next;
        relay_stop(r);
    }
    if (u->relay_dir)
        rmdir(u->relay_dir);
    g_clear_pointer(&u->relay_dir, g_free);
}

/* ---- guestfwd */

static Err *guestfwd_add(User *u, const char *rule, struct in_addr *addr, int port, const char *to)
{
    char *path = NULL;
    int ret;

    if (g_str_has_prefix(to, "cmd:")) {
        ret = u->lib.add_exec(u->slirp, to + 4, addr, port);
    } else if (g_str_has_prefix(to, "unix:")) {
        ret = u->lib.add_unix(u->slirp, to + 5, addr, port);
    } else if (g_str_has_prefix(to, "tcp:")) {
        TRY(err_in(relay_new(u, to + 4, &path), "guestfwd=%s", rule));
        ret = u->lib.add_unix(u->slirp, path, addr, port);
    } else {
        return err_hint(err(ERR_UNSUPPORTED, "guestfwd=%s: '%s' is not available", rule, to),
                        "tcp:HOST:PORT, unix:PATH and cmd:COMMAND are.");
    }
    if (ret < 0)
        return err_hint(err(ERR_INVALID, "guestfwd=%s: the address is taken, or not the network's to give", rule),
                        "It is one of the guest's network that is neither the host's nor the name server's.");
    return NULL;
}

Err *user_guestfwd(User *u, const char *rule)
{
    const char *from = g_str_has_prefix(rule, "tcp:") ? rule + 4 : *rule == ':' ? rule + 1 : rule;
    const char *dash = strchr(from, '-');
    g_autofree char *end = dash ? g_strndup(from, dash - from) : NULL;
    struct in_addr none = { 0 };
    End e;

    if (!end || !parse_end(end, none, &e) || e.sa.sa_family != AF_INET)
        return bad_rule("guestfwd", rule);
    return guestfwd_add(u, rule, &e.in.sin_addr, ntohs(e.in.sin_port), dash + 1);
}
