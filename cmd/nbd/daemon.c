/* SPDX-License-Identifier: MIT */
/*
 * Into the background: the parent waits at a pipe until the child says that
 * clients can connect, so that whoever called us may go on at once. Errors of
 * the child until then go to the terminal, as it still has it.
 *
 * Socket activation is systemd's (sd_listen_fds(3)).
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/nbd/nbd.h"
#include "util/path.h"
#include "util/str.h"

#define FIRST_FD 3

/* The parent's end: 0 when the child is ready, else how it ended. */
static int wait_for_child(int fd, pid_t child)
{
    char c;
    ssize_t n;
    int status;

    do {
        n = read(fd, &c, 1);
    } while (n < 0 && errno == EINTR);
    if (n == 1)
        return 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
}

Err *daemon_fork(int *fd)
{
    int pipe_fd[2];

    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return err_errno(errno, "--fork");
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return err_errno(errno, "--fork");
    if (child) {
        close(pipe_fd[1]);
        _exit(wait_for_child(pipe_fd[0], child));
    }
    close(pipe_fd[0]);
    setsid();
    *fd = pipe_fd[1];
    return NULL;
}

void daemon_ready(int *fd, bool keep_stderr)
{
    if (*fd < 0)
        return;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, 0);
        dup2(null, 1);
        if (!keep_stderr)
            dup2(null, 2);
        close(null);
    }
    (void)!write(*fd, "", 1);
    close(*fd);
    *fd = -1;
}

/* The descriptor keeps the lock, so that two do not write the same file. */
Err *daemon_pid_file(const char *path, int *out)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0)
        return err_path(errno, path, "Could not create '%s'", path);
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    if (fcntl(fd, F_SETLK, &lock) < 0) {
        int error = errno;
        close(fd);
        return error == EAGAIN || error == EACCES ? err(ERR_BUSY, "'%s' is the pid file of a process that runs", path)
                                                  : err_errno(error, "'%s'", path);
    }
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, n, 0) != n) {
        Err *e = err_errno(errno, "cannot write '%s'", path);
        close(fd);
        return e;
    }
    *out = fd;
    return NULL;
}

GArray *daemon_sockets(void)
{
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    uint64_t p = 0, n = 0;
    GArray *a = NULL;

    if (pid && fds) {
        Err *e = parse_num(pid, &p);
        if (!e)
            e = parse_num(fds, &n);
        err_free(e);
        if (!e && p == (uint64_t)getpid() && n && n < 1024) {
            a = g_array_new(FALSE, FALSE, sizeof(int));
            for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++) {
                fcntl(fd, F_SETFD, FD_CLOEXEC);
                g_array_append_val(a, fd);
            }
        }
    }
    unsetenv("LISTEN_PID");
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    return a;
}

/* ---- signals */

static void ending_signals(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void daemon_block_signals(void)
{
    sigset_t set;

    ending_signals(&set);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static void signal_came(void *opaque, uint32_t events)
{
    DaemonSignals *s = opaque;
    struct signalfd_siginfo info;

    if (read(s->fd, &info, sizeof(info)) == sizeof(info))
        s->fn(s->opaque, info.ssi_signo);
}

Err *daemon_signals(DaemonSignals *s, Loop *loop, void (*fn)(void *, int), void *opaque)
{
    sigset_t set;

    ending_signals(&set);
    s->fn = fn;
    s->opaque = opaque;
    s->watch.fd = -1;
    s->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0)
        return err_errno(errno, "signals");
    return watch_add(&s->watch, loop, s->fd, EPOLLIN, signal_came, s);
}

void daemon_signals_end(DaemonSignals *s)
{
    watch_del(&s->watch);
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
