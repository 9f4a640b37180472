/* SPDX-License-Identifier: MIT */
/*
 * The ways of a migration: fd:N, unix:PATH, tcp:HOST:PORT, exec:COMMAND,
 * file:PATH[,offset=N]. Descriptors do not block, so that a cancel is heard.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system/migrate-priv.h"

enum { LOOK_MS = 50, CHILD_ENDS_MS = 1000 };

typedef enum Way { WAY_FD, WAY_UNIX, WAY_TCP, WAY_EXEC, WAY_FILE, WAYS } Way;
static const char *const ways[] = { "fd:", "unix:", "tcp:", "exec:", "file:" };

static Way way_of(const char *uri, const char **rest)
{
    for (unsigned i = 0; i < WAYS; i++) {
        if (g_str_has_prefix(uri, ways[i])) {
            *rest = uri + strlen(ways[i]);
            return i;
        }
    }
    return WAYS;
}

Err *migration_check_uri(const char *uri)
{
    const char *rest = NULL, *end;
    Way w = way_of(uri, &rest);
    bool good = w != WAYS && *rest;

    if (w == WAY_FD && good)
        good = g_ascii_isdigit(*rest) && (strtol(rest, (char **)&end, 10), !*end);
    if (w == WAY_TCP && good)
        good = strrchr(rest, ':') && strrchr(rest, ':')[1];
    if (w == WAY_UNIX && good && strlen(rest) >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return err(ERR_INVALID, "'%s': the path is too long for a socket", uri);
    if (good)
        return NULL;
    return err_hint(err(ERR_INVALID, "'%s' is no way for a migration", uri),
                    "There are tcp:HOST:PORT, unix:PATH, fd:N, exec:COMMAND, file:PATH.");
}

static Err *cancelled(void)
{
    return err(ERR_BUSY, "it was cancelled");
}

static void no_block(int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Waits until fd is ready; a cancel is heard within LOOK_MS. */
static Err *wait_for(Migration *m, int fd, short events)
{
    struct pollfd p = { fd, events, 0 };

    while (!atomic_load(&m->cancel)) {
        int r = poll(&p, 1, LOOK_MS);

        if (r > 0)
            return NULL;
        if (r < 0 && errno != EINTR)
            return err_errno(errno, "cannot wait");
        if (m->yank.pulled)             /* also where there is no socket to shut down */
            return err(ERR_IO, "the migration was yanked");
    }
    return cancelled();
}

Err *migration_write(Migration *m, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len) {
        if (atomic_load(&m->cancel))
            return cancelled();
        ssize_t n = m->shared ? send(m->fd, p, MIN(len, (size_t)1 << 20), MSG_NOSIGNAL) : write(m->fd, p, MIN(len, (size_t)1 << 20));

        if (n < 0 && errno == ENOTSOCK && m->shared) {
            m->shared = false;
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            TRY(wait_for(m, m->fd, POLLOUT));
            continue;
        }
        if (n < 0 && errno != EINTR)
            return err_errno(errno, "cannot send");
        if (n > 0) {
            p += n;
            len -= n;
        }
    }
    return NULL;
}

Err *migration_read(Migration *m, void *data, size_t len)
{
    uint8_t *p = data;

    while (len) {
        if (atomic_load(&m->cancel))
            return cancelled();
        ssize_t n = read(m->fd, p, MIN(len, (size_t)1 << 20));

        if (n < 0 && errno == EAGAIN) {
            TRY(wait_for(m, m->fd, POLLIN));
            continue;
        }
        if (!n)
            return err(ERR_IO, "it ends in the midst");
        if (n < 0 && errno != EINTR)
            return err_errno(errno, "cannot receive");
        if (n > 0) {
            p += n;
            len -= n;
        }
    }
    return NULL;
}

/* ---- sockets */

static void split_host(const char *rest, char **host, char **port)
{
    const char *colon = strrchr(rest, ':');

    *host = g_strndup(rest, colon - rest);
    *port = g_strndup(colon + 1, strcspn(colon + 1, ","));
    if (**host == '[' && (*host)[strlen(*host) - 1] == ']') {
        char *inner = g_strndup(*host + 1, strlen(*host) - 2);

        g_free(*host);
        *host = inner;
    }
}

static Err *tcp_socket(const char *rest, bool passive, int *out)
{
    g_autofree char *host = NULL, *port = NULL;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0 }, *list;
    int errnum = EADDRNOTAVAIL;

    split_host(rest, &host, &port);
    int r = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (r)
        return err(ERR_IO, "'%s': %s", rest, gai_strerror(r));
    *out = -1;
    for (struct addrinfo *a = list; a && *out < 0; a = a->ai_next) {
        int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (fd >= 0 && (passive ? !bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, 1) : !connect(fd, a->ai_addr, a->ai_addrlen))) {
            *out = fd;
            break;
        }
        errnum = errno;
        if (fd >= 0)
            close(fd);
    }
    freeaddrinfo(list);
    return *out < 0 ? err_errno(errnum, passive ? "cannot listen at '%s'" : "cannot connect to '%s'", rest) : NULL;
}

static Err *unix_socket(const char *path, bool passive, int *out)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_strlcpy(a.sun_path, path, sizeof(a.sun_path));
    if (passive)
        unlink(path);
    bool good = fd >= 0 && (passive ? !bind(fd, (struct sockaddr *)&a, sizeof(a)) && !listen(fd, 1) : !connect(fd, (struct sockaddr *)&a, sizeof(a)));
    if (good) {
        *out = fd;
        return NULL;
    }
    Err *e = err_errno(errno, passive ? "cannot listen at '%s'" : "cannot connect to '%s'", path);
    if (fd >= 0)
        close(fd);
    return e;
}

/* ---- a command, a file */

/* In the child: its children are ended with it. */
static void own_group(void *unused)
{
    setpgid(0, 0);
}

static Err *command(Migration *m, const char *line, bool out)
{
    const char *argv[] = { "/bin/sh", "-c", line, NULL };
    GError *e = NULL;
    int fd = -1;

    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, own_group, NULL, &m->child,
                                  out ? &fd : NULL, out ? NULL : &fd, NULL, &e)) {
        Err *mine = err(ERR_IO, "cannot start '%s': %s", line, e->message);

        m->child = 0;
        g_error_free(e);
        return mine;
    }
    m->fd = fd;
    return NULL;
}

/* PATH, or PATH,offset=N */
static Err *file(Migration *m, const char *rest, bool out)
{
    const char *comma = strstr(rest, ",offset=");
    g_autofree char *path = comma ? g_strndup(rest, comma - rest) : g_strdup(rest);
    off_t off = comma ? strtoll(comma + 8, NULL, 0) : 0;

    m->fd = open(path, (out ? O_WRONLY | O_CREAT | (off ? 0 : O_TRUNC) : O_RDONLY) | O_CLOEXEC, 0600);
    if (m->fd >= 0 && lseek(m->fd, off, SEEK_SET) == off)
        return NULL;
    return err_errno(errno, "cannot open '%s'", path);
}

/* ---- opening and closing */

Err *migration_open_out(Migration *m)
{
    const char *rest = NULL;
    Way w = way_of(m->uri, &rest);
    Err *e = NULL;

    m->shared = w == WAY_FD || w == WAY_UNIX || w == WAY_TCP;
    switch (w) {
    case WAY_FD:    m->fd = atoi(rest); break;
    case WAY_UNIX:  e = unix_socket(rest, false, &m->fd); break;
    case WAY_TCP:   e = tcp_socket(rest, false, &m->fd); break;
    case WAY_EXEC:  e = command(m, rest, true); break;
    default:        e = file(m, rest, true); break;
    }
    if (!e) {
        no_block(m->fd);
        yank_watch(&m->yank, m->fd);
    }
    return e;
}

Err *migration_listen(Migration *m)
{
    const char *rest = NULL;
    Way w = way_of(m->uri, &rest);

    if (w == WAY_UNIX)
        return unix_socket(rest, true, &m->listener);
    return w == WAY_TCP ? tcp_socket(rest, true, &m->listener) : NULL;
}

Err *migration_open_in(Migration *m)
{
    const char *rest = NULL;
    Way w = way_of(m->uri, &rest);

    if (m->listener >= 0) {
        yank_watch(&m->yank, m->listener);
        TRY(wait_for(m, m->listener, POLLIN));
        m->fd = accept(m->listener, NULL, NULL);
        if (m->fd < 0)
            return err_errno(errno, "cannot accept");
    } else if (w == WAY_FD) {
        m->fd = atoi(rest);
    } else if (w == WAY_EXEC) {
        TRY(command(m, rest, false));
    } else {
        TRY(file(m, rest, false));
    }
    no_block(m->fd);
    yank_watch(&m->yank, m->fd);
    return NULL;
}

/* Its status once it has ended; a cancel ends the wait. */
static int reap(Migration *m)
{
    int status = 0;

    while (m->child && waitpid(m->child, &status, WNOHANG) == 0) {
        if (atomic_load(&m->cancel))
            return 0;
        g_usleep(1000 * LOOK_MS / 10);
    }
    m->child = 0;
    return status;
}

Err *migration_close_out(Migration *m)
{
    if (m->shared)
        shutdown(m->fd, SHUT_WR);
    yank_remove(&m->yank);      /* else its copies would keep the other end from seeing that it is over */
    close(m->fd);
    m->fd = -1;
    int status = reap(m);
    return status ? err(ERR_IO, "the command failed, with status %#x", status) : NULL;
}

/* A command that is still there is asked to end, with all that it has started; what does not is killed. */
static void end_child(pid_t child)
{
    if (waitpid(child, NULL, WNOHANG) != 0)
        return;
    kill(-child, SIGTERM);
    for (int i = 0; i < CHILD_ENDS_MS / 10; i++) {
        if (waitpid(child, NULL, WNOHANG) != 0)
            return;
        g_usleep(10000);
    }
    kill(-child, SIGKILL);
    waitpid(child, NULL, 0);
}

void migration_close(Migration *m)
{
    yank_remove(&m->yank);
    if (m->fd >= 0)
        close(m->fd);
    if (m->listener >= 0)
        close(m->listener);
    m->fd = m->listener = -1;
    if (m->child)
        end_child(m->child);
    m->child = 0;
}
