/* SPDX-License-Identifier: MIT */
/*
 * Backends over a file descriptor: see chardev/stream.h.
 *
 * A terminal or pipe that we got from the shell is shared with it: O_NONBLOCK
 * set there would stay on for everybody, after us too. So it is opened anew by
 * its /proc name; where that cannot be, poll says whether a short write will do.
 */
#include "chardev/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static Stream *stream(Chardev *c)
{
    return &((StreamChardev *)c)->s;
}

int stream_room(const Chardev *c)
{
    const Stream *s = &((const StreamChardev *)c)->s;

    return s->chr && s->out >= 0 ? OUT_BOUND - (int)s->queue->len : OUT_BOUND;
}

/* One write that does not wait: bytes written, or -errno. */
static int write_some(Stream *s, const uint8_t *buf, int n)
{
    ssize_t r;

    if (s->polled) {
        struct pollfd p = { .fd = s->out, .events = POLLOUT };

        if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLOUT | POLLERR | POLLHUP)))
            return -EAGAIN;
        n = MIN(n, 64);
    }
    do {
        r = s->sock ? send(s->out, buf, n, MSG_DONTWAIT | MSG_NOSIGNAL) : write(s->out, buf, n);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : (int)r;
}

static void report_dead(Chardev *c)
{
    Stream *s = stream(c);

    chr_unwatch(&s->dead_src);
    if (s->ended)
        s->ended(c, EPIPE);
}

/* Nothing waits to be written: nor is memory kept for it. */
static void queue_empty(Stream *s)
{
    if (s->queue)
        g_byte_array_unref(s->queue);
    s->queue = g_byte_array_new();
}

/* Output failed for good: forget the queue; the backend hears of it from the main loop. */
static void output_dead(Chardev *c)
{
    Stream *s = stream(c);

    queue_empty(s);
    chr_unwatch(&s->out_src);
    if (s->out != s->in && s->out >= 0)
        close(s->out);
    s->out = -1;
    if (!s->dead_src)
        s->dead_src = chr_idle(c, report_dead);
}

/* Writes from the queue's front. False: the host takes no more now. */
static bool drain(Chardev *c)
{
    Stream *s = stream(c);

    while (s->queue->len) {
        int r = write_some(s, s->queue->data, s->queue->len);

        if (r == -EAGAIN)
            return false;
        if (r < 0) {
            output_dead(c);
            return true;
        }
        if (r == (int)s->queue->len)
            queue_empty(s);
        else
            g_byte_array_remove_range(s->queue, 0, r);
    }
    return true;
}

static void tell_writable(Chardev *c)
{
    Stream *s = stream(c);

    if (s->owes_writable && s->queue->len <= OUT_BOUND / 2) {
        s->owes_writable = false;
        chr_be_event(c, CHR_WRITABLE);
    }
}

static void on_output(Chardev *c, GIOCondition cond)
{
    Stream *s = stream(c);

    if (drain(c))
        chr_unwatch(&s->out_src);
    tell_writable(c);
}

int stream_write(Chardev *c, const uint8_t *buf, int n)
{
    Stream *s = stream(c);
    int done = 0;

    if (!s->chr || s->out < 0)
        return n;               /* nobody listens */
    while (done < n && !s->queue->len) {
        int r = write_some(s, buf + done, n - done);

        if (r == -EAGAIN)
            break;
        if (r < 0) {
            output_dead(c);
            return n;
        }
        done += r;
    }
    if (done < n) {
        int keep = MIN(n - done, OUT_BOUND - (int)s->queue->len);

        g_byte_array_append(s->queue, buf + done, keep);
        done += keep;
        if (!s->out_src)
            s->out_src = chr_watch_fd(c, s->out, G_IO_OUT | G_IO_ERR | G_IO_HUP, on_output);
    }
    s->owes_writable |= done < n;
    return done;
}

/* The end is news even while the port takes nothing; but not before what was sent until then. */
static void on_hangup(Chardev *c, GIOCondition cond)
{
    Stream *s = stream(c);
    char byte;

    chr_unwatch(&s->hup_src);
    ssize_t n = recv(s->in, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        s->ended(c, n == 0 ? 0 : errno);
}

static void watch_hangup(Chardev *c)
{
    Stream *s = stream(c);

    if (s->sock && s->in >= 0 && !s->hup_src)
        s->hup_src = chr_watch_fd(c, s->in, G_IO_HUP | G_IO_ERR, on_hangup);
}

static void drop_fds(Stream *s)
{
    while (s->nfds)
        close(s->fds[--s->nfds]);
}

int stream_take_fd(Chardev *c)
{
    Stream *s = stream(c);

    if (!s->nfds)
        return -1;
    int fd = s->fds[0];
    memmove(s->fds, s->fds + 1, --s->nfds * sizeof(int));
    return fd;
}

/* What came with this message takes the place of what nobody wanted. */
static void keep_fds(Stream *s, struct msghdr *msg)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(msg); h; h = CMSG_NXTHDR(msg, h)) {
        if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
            continue;
        drop_fds(s);
        s->nfds = (int)((h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(s->fds, CMSG_DATA(h), s->nfds * sizeof(int));
    }
}

static ssize_t receive(Stream *s, uint8_t *buf, size_t n)
{
    char control[CMSG_SPACE(STREAM_FDS * sizeof(int))];
    struct iovec v = { buf, n };
    struct msghdr msg = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };

    if (!s->takes_fds)
        return read(s->in, buf, n);
    ssize_t got = recvmsg(s->in, &msg, MSG_CMSG_CLOEXEC);
    if (got > 0)
        keep_fds(s, &msg);
    return got;
}

static void on_input(Chardev *c, GIOCondition cond)
{
    Stream *s = stream(c);
    uint8_t buf[4096];
    int room = MIN(chr_be_room(c), (int)sizeof(buf));
    ssize_t n;

    if (room <= 0) {
        chr_unwatch(&s->in_src);        /* until stream_input */
        watch_hangup(c);
        return;
    }
    n = receive(s, buf, room);
    if (n > 0) {
        int k = s->filter ? s->filter(c, buf, n) : (int)n;

        chr_be_data(c, buf, k);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        s->ended(c, n == 0 ? 0 : errno);
    }
}

void stream_input(Chardev *c)
{
    Stream *s = stream(c);

    if (!s->chr || s->in < 0 || s->in_src)
        return;
    if (chr_be_room(c) > 0) {
        chr_unwatch(&s->hup_src);
        s->in_src = chr_watch_fd(c, s->in, G_IO_IN | G_IO_ERR | G_IO_HUP, on_input);
    } else {
        watch_hangup(c);
    }
}

void stream_start(Chardev *c, int in, int out)
{
    Stream *s = stream(c);

    s->chr = c;
    s->in = in;
    s->out = out;
    s->owes_writable = false;
    queue_empty(s);
    stream_input(c);
}

void stream_stop_input(Chardev *c)
{
    Stream *s = stream(c);

    chr_unwatch(&s->in_src);
    chr_unwatch(&s->hup_src);
    if (s->in >= 0 && s->in != s->out)
        close(s->in);
    s->in = -1;
}

void stream_drop(Chardev *c)
{
    Stream *s = stream(c);

    if (!s->chr)
        return;
    drop_fds(s);
    chr_unwatch(&s->in_src);
    chr_unwatch(&s->hup_src);
    chr_unwatch(&s->out_src);
    chr_unwatch(&s->dead_src);
    if (s->in >= 0)
        close(s->in);
    if (s->out >= 0 && s->out != s->in)
        close(s->out);
    s->in = s->out = -1;
    queue_empty(s);
    s->chr = NULL;
    if (s->owes_writable) {     /* nothing holds the port back any more */
        s->owes_writable = false;
        chr_be_event(c, CHR_WRITABLE);
    }
}

void stream_close(Chardev *c)
{
    Stream *s = stream(c);

    c->port = NULL;
    if (s->chr) {
        while (s->out >= 0 && !drain(c)) {
            struct pollfd p = { .fd = s->out, .events = POLLOUT };

            if (poll(&p, 1, 1000) == 0)
                break;
        }
        stream_drop(c);
    }
    if (s->queue)
        g_byte_array_free(s->queue, TRUE);
    s->queue = NULL;
}

void stream_own_output(Stream *s, int fd)
{
    struct stat st;
    char name[40];

    s->sock = s->polled = false;
    s->out = -1;
    if (fstat(fd, &st) < 0)
        return;
    if (!S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode)) {
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        s->out = open(name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    if (s->out < 0) {
        s->out = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        s->sock = S_ISSOCK(st.st_mode);
        s->polled = !s->sock && !S_ISREG(st.st_mode);
    }
}
