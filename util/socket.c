/* SPDX-License-Identifier: MIT */
/*
 * Connecting, listening and waiting; addresses as texts and options are in
 * sockaddr.c. Names are looked up by getaddrinfo, in a worker thread where a
 * coroutine asks.
 */
#include "util/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- waiting */

typedef struct Wait {
    Co *co;                 /* NULL: woken already */
    int result;
} Wait;

static void wait_end(Wait *w, int result)
{
    Co *co = w->co;

    if (!co)
        return;
    w->co = NULL;
    w->result = result;
    co_wake(co);
}

static void wait_ready(void *opaque, uint32_t events)
{
    wait_end(opaque, events);
}

static void wait_late(void *opaque)
{
    wait_end(opaque, -ETIMEDOUT);
}

static void wait_cancel(void *opaque)
{
    wait_end(opaque, -ECANCELED);
}

void cancel_now(Cancel *c)
{
    c->cancelled = true;
    if (c->wake)
        c->wake(c->opaque);
}

/* fd -1: only the time is waited for. */
static int wait_for(int fd, uint32_t events, int64_t deadline, Cancel *c)
{
    Wait w = { co_self(), 0 };
    Watch watch = { .fd = -1 };
    Alarm alarm;
    Loop *loop = co_loop();

    if (c && c->cancelled)
        return -ECANCELED;
    if (fd >= 0) {
        Err *e = watch_add(&watch, loop, fd, events, wait_ready, &w);
        if (e) {
            err_free(e);
            return -EIO;
        }
    }
    alarm_init(&alarm, loop, wait_late, &w);
    if (deadline >= 0)
        alarm_set(&alarm, deadline);
    if (c) {
        c->wake = wait_cancel;
        c->opaque = &w;
    }
    while (w.co)
        co_yield();
    if (c)
        c->wake = NULL;
    alarm_del(&alarm);
    watch_del(&watch);
    return w.result;
}

int socket_wait(int fd, uint32_t events, int64_t deadline, Cancel *c)
{
    return wait_for(fd, events, deadline, c);
}

int cancel_sleep(int64_t until, Cancel *c)
{
    int ret = wait_for(-1, 0, until, c);

    return ret == -ETIMEDOUT ? 0 : ret;
}

/* ---- names to addresses */

typedef struct Lookup {
    const SocketAddr *a;
    bool passive;
    struct addrinfo *list;
    int error, errnum;
} Lookup;

static void lookup_run(void *arg)
{
    Lookup *l = arg;
    const SocketAddr *a = l->a;
    struct addrinfo hints = {
        .ai_socktype = SOCK_STREAM,
        .ai_family = a->family == SOCKET_IPV4 ? AF_INET : a->family == SOCKET_IPV6 ? AF_INET6 : AF_UNSPEC,
        .ai_flags = (l->passive ? AI_PASSIVE : AI_ADDRCONFIG) | (a->numeric ? AI_NUMERICHOST | AI_NUMERICSERV : 0),
    };
    const char *host = a->host && *a->host ? a->host : NULL;

    l->error = getaddrinfo(host, a->port, &hints, &l->list);
    /* A host without a network has no configured address, and may still talk to itself. */
    if (l->error && !l->passive) {
        hints.ai_flags &= ~AI_ADDRCONFIG;
        l->error = getaddrinfo(host, a->port, &hints, &l->list);
    }
    l->errnum = errno;
}

static Err *lookup_error(const Lookup *l)
{
    const char *host = l->a->host && *l->a->host ? l->a->host : "*";

    if (l->error == EAI_SYSTEM)
        return err_errno(l->errnum, "address '%s', port '%s'", host, l->a->port);
    return err_hint(err(ERR_NOT_FOUND, "address '%s', port '%s': %s", host, l->a->port, gai_strerror(l->error)),
                    "An IPv6 address with a port is written [ADDRESS]:PORT.");
}

/* ---- addresses of unix and vsock */

static Err *unix_address(const SocketAddr *a, struct sockaddr_un *un, socklen_t *len)
{
    size_t n = strlen(a->path), off = a->abstract ? 1 : 0;

    memset(un, 0, sizeof(*un));
    un->sun_family = AF_UNIX;
    if (!n && !a->abstract)
        return err(ERR_INVALID, "the path of the unix socket is empty");
    if (n + off >= sizeof(un->sun_path))
        return err_hint(err(ERR_INVALID, "the path of the unix socket is too long: '%s'", a->path),
                        "The host allows %zu bytes; a relative path may help.", sizeof(un->sun_path) - 1 - off);
    memcpy(un->sun_path + off, a->path, n);
    *len = a->abstract && a->tight ? offsetof(struct sockaddr_un, sun_path) + off + n : sizeof(*un);
    return NULL;
}

static Err *vsock_address(const SocketAddr *a, struct sockaddr_vm *vm)
{
    char *end;

    memset(vm, 0, sizeof(*vm));
    vm->svm_family = AF_VSOCK;
    errno = 0;
    unsigned long cid = strtoul(a->host, &end, 10);
    if (errno || *end || !*a->host || cid > UINT32_MAX)
        return err(ERR_INVALID, "'%s' is no vsock context id", a->host);
    unsigned long port = strtoul(a->port, &end, 10);
    if (errno || *end || !*a->port || port > UINT32_MAX)
        return err(ERR_INVALID, "'%s' is no vsock port", a->port);
    vm->svm_cid = cid;
    vm->svm_port = port;
    return NULL;
}

static int new_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 ? -errno : fd;
}

void socket_tune(int fd, bool keep_alive)
{
    int on = 1;

    (void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (keep_alive)
        (void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

/* ---- connecting */

/* One address: the descriptor or -errno. */
static int connect_to(const struct sockaddr *sa, socklen_t len, int64_t deadline, Cancel *c)
{
    int fd = new_socket(sa->sa_family), error = 0;
    socklen_t n = sizeof(error);

    if (fd < 0)
        return fd;
    if (!connect(fd, sa, len))
        return fd;
    int ret = -errno;
    /* A unix listener whose queue is full says EAGAIN, and nothing tells when it is not. */
    while (ret == -EAGAIN && sa->sa_family == AF_UNIX) {
        ret = cancel_sleep(loop_now() + 10000000, c);
        if (!ret && deadline >= 0 && loop_now() >= deadline)
            ret = -ETIMEDOUT;
        if (!ret && !connect(fd, sa, len))
            return fd;
        if (!ret)
            ret = -errno;
    }
    if (ret == -EINPROGRESS || ret == -EINTR) {
        ret = socket_wait(fd, EPOLLOUT, deadline, c);
        if (ret >= 0) {
            ret = getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0 ? -errno : -error;
            if (!ret)
                return fd;
        }
    }
    close(fd);
    return ret;
}

static Err *connect_inet(const SocketAddr *a, int64_t deadline, Cancel *c, int *fd)
{
    Lookup l = { .a = a };
    int ret = -ENOENT;

    co_offload(lookup_run, &l);
    if (l.error)
        return lookup_error(&l);
    for (struct addrinfo *i = l.list; i; i = i->ai_next) {
        ret = connect_to(i->ai_addr, i->ai_addrlen, deadline, c);
        if (ret >= 0 || ret == -ECANCELED || (deadline >= 0 && loop_now() >= deadline))
            break;
    }
    freeaddrinfo(l.list);
    *fd = ret;
    return NULL;
}

static Err *connect_fd(const SocketAddr *a, int *fd)
{
    int type;
    socklen_t n = sizeof(type);

    if (getsockopt(a->fd, SOL_SOCKET, SO_TYPE, &type, &n) < 0)
        return err_errno(errno, "descriptor %d", a->fd);
    if (type != SOCK_STREAM)
        return err(ERR_INVALID, "descriptor %d is no stream socket", a->fd);
    /* A copy, so that it stays the caller's, and a second connection can tell that the first is over. */
    *fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 3);
    if (*fd < 0 || fcntl(*fd, F_SETFL, fcntl(*fd, F_GETFL) | O_NONBLOCK) < 0)
        return err_errno(errno, "descriptor %d", a->fd);
    return NULL;
}

Err *socket_connect(const SocketAddr *a, int64_t deadline, Cancel *c, int *fd)
{
    struct sockaddr_un un;
    struct sockaddr_vm vm;
    socklen_t len;

    *fd = -1;
    switch (a->type) {
    case SOCKET_FD:
        return connect_fd(a, fd);
    case SOCKET_UNIX:
        TRY(unix_address(a, &un, &len));
        *fd = connect_to((struct sockaddr *)&un, len, deadline, c);
        break;
    case SOCKET_VSOCK:
        TRY(vsock_address(a, &vm));
        *fd = connect_to((struct sockaddr *)&vm, sizeof(vm), deadline, c);
        break;
    case SOCKET_INET:
        TRY(connect_inet(a, deadline, c, fd));
        break;
    }
    if (*fd < 0) {
        g_autofree char *text = socket_addr_text(a);
        Err *e = err_errno(-*fd, "cannot connect to %s", text);
        if (*fd == -ECONNREFUSED || (*fd == -ENOENT && a->type == SOCKET_UNIX))
            e = err_hint(e, "Nothing listens there: is the server running?");
        *fd = -1;
        return e;
    }
    socket_tune(*fd, a->keep_alive);
    return NULL;
}

/* ---- listening */

/* May the file be taken away: a socket that nobody listens on. */
static Err *unix_stale(const char *path, const struct sockaddr_un *un, socklen_t len)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? NULL : err_errno(errno, "unix socket '%s'", path);
    if (!S_ISSOCK(st.st_mode))
        return err_hint(err(ERR_INVALID, "unix socket '%s': a file that is no socket has this name", path),
                        "It is left alone; choose another path.");
    int fd = new_socket(AF_UNIX);
    if (fd < 0)
        return err_errno(-fd, "unix socket");
    bool used = !connect(fd, (const struct sockaddr *)un, len) || errno == EAGAIN;
    close(fd);
    if (used)
        return err_hint(err(ERR_BUSY, "unix socket '%s': another program listens on it", path),
                        "Stop that program, or choose another path.");
    if (unlink(path) < 0 && errno != ENOENT)
        return err_errno(errno, "unix socket '%s' is left over and cannot be removed", path);
    return NULL;
}

/* Binds and listens; the descriptor or -errno. */
static int listen_at(const struct sockaddr *sa, socklen_t len, int backlog)
{
    int fd = new_socket(sa->sa_family), on = 1;

    if (fd < 0)
        return fd;
    if (sa->sa_family == AF_INET || sa->sa_family == AF_INET6)
        (void)!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (sa->sa_family == AF_INET6)      /* IPv4 has a socket of its own */
        (void)!setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, sa, len) < 0 || listen(fd, backlog) < 0) {
        int ret = -errno;
        close(fd);
        return ret;
    }
    return fd;
}

static Err *listen_error(int errnum, const SocketAddr *a)
{
    g_autofree char *text = socket_addr_text(a);
    Err *e = err_errno(errnum, "cannot listen on %s", text);

    return errnum == EADDRINUSE ? err_hint(e, "Another program has this address; choose another one.") : e;
}

static Err *listen_inet(const SocketAddr *a, int backlog, GArray *fds)
{
    Lookup l = { .a = a, .passive = true };
    int ret = -EADDRNOTAVAIL;
    unsigned before = fds->len;

    lookup_run(&l);
    if (l.error)
        return lookup_error(&l);
    for (struct addrinfo *i = l.list; i; i = i->ai_next) {
        /* Port 0 chooses one; the other families get the same. */
        unsigned port = fds->len > before ? socket_port(g_array_index(fds, int, before)) : 0;
        if (port && i->ai_family == AF_INET)
            ((struct sockaddr_in *)(void *)i->ai_addr)->sin_port = htons(port);
        else if (port && i->ai_family == AF_INET6)
            ((struct sockaddr_in6 *)(void *)i->ai_addr)->sin6_port = htons(port);
        int fd = listen_at(i->ai_addr, i->ai_addrlen, backlog);
        if (fd >= 0)
            g_array_append_val(fds, fd);
        else if (ret == -EADDRNOTAVAIL || fd == -EADDRINUSE)
            ret = fd;
    }
    freeaddrinfo(l.list);
    /* A family that this host has not is no reason to fail; an address in use is. */
    if (fds->len > before && ret != -EADDRINUSE)
        return NULL;
    while (fds->len > before) {
        close(g_array_index(fds, int, fds->len - 1));
        g_array_set_size(fds, fds->len - 1);
    }
    return listen_error(-ret, a);
}

static Err *listen_fd(const SocketAddr *a, GArray *fds)
{
    int on = 0, fd = a->fd;
    socklen_t n = sizeof(on);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &n) < 0)
        return err_errno(errno, "descriptor %d", fd);
    if (!on)
        return err(ERR_INVALID, "descriptor %d is no socket that listens", fd);
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_errno(errno, "descriptor %d", fd);
    g_array_append_val(fds, fd);
    return NULL;
}

Err *socket_listen(const SocketAddr *a, int backlog, GArray *fds)
{
    struct sockaddr_un un;
    struct sockaddr_vm vm;
    socklen_t len;
    int fd = -EINVAL;

    switch (a->type) {
    case SOCKET_FD:
        return listen_fd(a, fds);
    case SOCKET_INET:
        return listen_inet(a, backlog, fds);
    case SOCKET_UNIX:
        TRY(unix_address(a, &un, &len));
        if (!a->abstract)
            TRY(unix_stale(a->path, &un, len));
        fd = listen_at((struct sockaddr *)&un, len, backlog);
        break;
    case SOCKET_VSOCK:
        TRY(vsock_address(a, &vm));
        fd = listen_at((struct sockaddr *)&vm, sizeof(vm), backlog);
        break;
    }
    if (fd < 0)
        return listen_error(-fd, a);
    g_array_append_val(fds, fd);
    return NULL;
}

int socket_accept(int listener)
{
    int fd;

    do {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    return fd < 0 ? -errno : fd;
}

unsigned socket_port(int fd)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t n = sizeof(ss);

    if (getsockname(fd, (struct sockaddr *)&ss, &n) < 0)
        return 0;
    if (ss.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&ss)->sin_port);
    if (ss.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
    return 0;
}

char *socket_peer(int fd)
{
    struct sockaddr_storage ss = { 0 };
    socklen_t n = sizeof(ss);
    char host[NI_MAXHOST], port[NI_MAXSERV];

    if (getpeername(fd, (struct sockaddr *)&ss, &n) < 0)
        return g_strdup("nobody");
    if (ss.ss_family == AF_UNIX)
        return g_strdup("a unix socket");
    if (getnameinfo((struct sockaddr *)&ss, n, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV))
        return g_strdup("a socket");
    return ss.ss_family == AF_INET6 ? g_strdup_printf("[%s]:%s", host, port) : g_strdup_printf("%s:%s", host, port);
}
