/* SPDX-License-Identifier: MIT */
/*
 * Addresses of sockets, listening and connecting: see chardev/address.h.
 */
#include "chardev/address.h"

#include <errno.h>
#include <glib.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/path.h"

/* ---- as data -------------------------------------------------------------------- */

Err *chr_address(const Opts *o, ChrAddress *a)
{
    const char *path = opts_str(o, "path", NULL);
    char *end;

    *a = (ChrAddress){
        .path = g_strdup(path), .host = g_strdup(opts_str(o, "host", "")), .port = g_strdup(opts_str(o, "port", "")),
        .abstract = opts_bool(o, "abstract", false), .loose = !opts_bool(o, "tight", true),
        .v4 = opts_bool(o, "ipv4", false), .v6 = opts_bool(o, "ipv6", false),
        .keep_alive = opts_bool(o, "keep-alive", false),
    };
    uint64_t to = opts_num(o, "to", 0);
    if (!opts_has(o, "to"))
        return NULL;
    if (path || strtoul(a->port, &end, 10) > to || *end || to > 65535)
        return err_hint(err(ERR_INVALID, "to=%s makes no sense here", opts_str(o, "to", "")),
                        "With port=FIRST, a server takes the first free port up to it.");
    a->to = to;
    return NULL;
}

void chr_address_clear(ChrAddress *a)
{
    g_free(a->path);
    g_free(a->host);
    g_free(a->port);
    *a = (ChrAddress){ 0 };
}

void chr_address_copy(ChrAddress *to, const ChrAddress *from)
{
    *to = *from;
    to->path = g_strdup(from->path);
    to->host = g_strdup(from->host);
    to->port = g_strdup(from->port);
}

char *chr_address_text(const ChrAddress *a)
{
    return a->path ? g_strdup_printf("unix:%s%s", a->path, a->abstract ? ",abstract=on" : "")
                   : g_strdup_printf("tcp:%s:%s", a->host, a->port);
}

/* ---- UNIX ------------------------------------------------------------------------- */

static Err *unix_address(const ChrAddress *a, struct sockaddr_un *sa, socklen_t *len)
{
    size_t n = strlen(a->path), max = sizeof(sa->sun_path) - 1;

    memset(sa, 0, sizeof(*sa));
    sa->sun_family = AF_UNIX;
    *len = sizeof(*sa);
    if (!n)
        return err_hint(err(ERR_INVALID, "it has no path"), "Write unix:PATH, or path=PATH.");
    if (n > max)
        return err_hint(err(ERR_INVALID, "the path '%s' is too long for a UNIX socket", a->path),
                        "It may have %d characters.", (int)max);
    memcpy(sa->sun_path + a->abstract, a->path, n);
    if (a->abstract && !a->loose)
        *len = offsetof(struct sockaddr_un, sun_path) + 1 + n;
    return NULL;
}

static Err *unix_socket(int *fd)
{
    *fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return *fd < 0 ? err_errno(errno, "cannot make a socket") : NULL;
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

static Err *unix_listen(const ChrAddress *a, int *out, char **unlink_path)
{
    struct sockaddr_un sa;
    socklen_t len;
    int fd;

    TRY(unix_address(a, &sa, &len));
    TRY(unix_socket(&fd));
    int r = bind(fd, (struct sockaddr *)&sa, len);
    if (r < 0 && errno == EADDRINUSE && !a->abstract && is_stale(&sa)) {
        unlink(a->path);
        r = bind(fd, (struct sockaddr *)&sa, len);
    }
    if (r < 0 || listen(fd, 1) < 0) {
        int why = errno;
        Err *e = a->abstract ? err_errno(why, "cannot listen on the abstract socket '%s'", a->path)
                             : err_path(why, a->path, "cannot listen on '%s'", a->path);

        if (why == EADDRINUSE)
            e = err_hint(e, "Another program listens there, or it is a file that is no socket.");
        close(fd);
        return e;
    }
    *unlink_path = a->abstract ? NULL : g_strdup(a->path);
    *out = fd;
    return NULL;
}

static Err *unix_connect(const ChrAddress *a, int *out)
{
    struct sockaddr_un sa;
    socklen_t len;
    int fd;

    TRY(unix_address(a, &sa, &len));
    TRY(unix_socket(&fd));
    if (connect(fd, (struct sockaddr *)&sa, len) < 0) {
        Err *e = err_errno(errno, "cannot connect to '%s'", a->path);

        close(fd);
        return err_hint(e, "Start the program that listens there first, or add server=on.");
    }
    *out = fd;
    return NULL;
}

/* ---- TCP ---------------------------------------------------------------------------- */

Err *chr_resolve(const char *host, const char *port, bool v4, bool v6, int socktype, bool passive,
                 struct addrinfo **list)
{
    struct addrinfo want = {
        .ai_family = v4 && !v6 ? AF_INET : v6 && !v4 ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = socktype, .ai_flags = passive ? AI_PASSIVE : 0,
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

static Err *refused(const ChrAddress *a, bool server, int why)
{
    Err *e = err_errno(why, "cannot %s %s:%s", server ? "listen on" : "connect to", a->host, a->port);

    if (server && why == EADDRINUSE)
        e = err_hint(e, "Another program has the port; choose another one, or 0 for any.");
    if (server && why == EACCES)
        e = err_hint(e, "Ports below 1024 are for root alone.");
    if (!server && why == ECONNREFUSED)
        e = err_hint(e, "Start the program that listens there first, or add server=on.");
    return e;
}

static Err *inet_try(const ChrAddress *a, const char *port, bool server, int *out)
{
    struct addrinfo *list;
    int fd = -1, one = 1;

    TRY(chr_resolve(a->host, port, a->v4, a->v6, SOCK_STREAM, server, &list));
    for (struct addrinfo *i = list; i && fd < 0; i = i->ai_next)
        fd = try_address(i, server);
    int why = errno;
    freeaddrinfo(list);
    *out = fd;
    if (fd < 0)
        return refused(a, server, why);
    if (a->keep_alive)
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    return NULL;
}

/* to=LAST: the first port that is free. */
static Err *inet_listen(const ChrAddress *a, int *out)
{
    Err *e = inet_try(a, a->port, true, out);

    for (unsigned p = atoi(a->port) + 1; e && a->to && p <= a->to; p++) {
        char port[12];

        g_snprintf(port, sizeof(port), "%u", p);
        err_free(e);
        e = inet_try(a, port, true, out);
    }
    return e;
}

Err *chr_listen(const ChrAddress *a, int *fd, char **unlink_path)
{
    *unlink_path = NULL;
    return a->path ? unix_listen(a, fd, unlink_path) : inet_listen(a, fd);
}

Err *chr_connect(const ChrAddress *a, int *fd)
{
    return a->path ? unix_connect(a, fd) : inet_try(a, a->port, false, fd);
}

char *chr_bound_name(const char *kind, int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char host[100] = "?", port[20] = "?";

    if (!getsockname(fd, (struct sockaddr *)&sa, &len))
        getnameinfo((struct sockaddr *)&sa, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV);
    return g_strdup_printf("%s:%s:%s", kind, host, port);
}
