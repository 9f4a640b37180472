/* SPDX-License-Identifier: MIT */
/* Frames over a stream socket: conn.h. Not connected, they are dropped. */
#include "net/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONN_IN = 256 << 10, CONN_OUT = 4 + NET_FRAME_MAX, CONN_ELEMENTS = 64 };

static void read_on(Conn *c);

void conn_init(Conn *c, NetPort *port, Loop *loop, void (*ended)(NetPort *, const char *))
{
    *c = (Conn){ .port = port, .loop = loop, .fd = -1, .ended = ended, .watch = { .fd = -1 } };
}

void conn_close(Conn *c)
{
    watch_del(&c->watch);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    g_clear_pointer(&c->in, g_free);
    g_clear_pointer(&c->out, g_free);
}

static void end(Conn *c, const char *why)
{
    conn_close(c);
    c->ended(c->port, why);
    net_room(c->port);          /* what waits is dropped */
}

static void want(Conn *c)
{
    watch_events(&c->watch, (c->stalled ? 0 : EPOLLIN) | (c->out_len ? EPOLLOUT : 0));
}

/* The rest of the frame; false: the connection is over. */
static bool flush(Conn *c)
{
    while (c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_at, c->out_len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            end(c, strerror(errno));
            return false;
        }
        c->out_at += n;
        c->out_len -= n;
    }
    want(c);
    net_room(c->port);
    return c->fd >= 0;
}

static void ready(void *opaque, uint32_t events)
{
    Conn *c = opaque;

    if (events & EPOLLOUT && !flush(c))
        return;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && c->fd >= 0)
        read_on(c);
}

Err *conn_open(Conn *c, int fd)
{
    conn_close(c);
    c->in = g_malloc(CONN_IN);
    c->out = g_malloc(CONN_OUT);
    c->in_at = c->in_len = c->out_at = c->out_len = 0;
    c->stalled = false;
    c->fd = fd;
    Err *e = watch_add(&c->watch, c->loop, fd, EPOLLIN, ready, c);

    if (e)
        conn_close(c);
    return e;
}

/* Frames that are whole go on; false: the connection is over. */
static bool take_frames(Conn *c)
{
    while (c->in_len >= 4) {
        uint32_t len;

        memcpy(&len, c->in + c->in_at, 4);
        len = ntohl(len);
        if (len > NET_FRAME_MAX) {
            end(c, "a frame that is too long");
            return false;
        }
        if (c->in_len < 4 + len)
            break;
        IoVec frame = IOV_BUF(c->in + c->in_at + 4, len);

        c->stalled = len && !net_send(c->port, &frame);
        if (c->stalled || c->fd < 0)
            break;
        c->in_at += 4 + len;
        c->in_len -= 4 + len;
    }
    return c->fd >= 0;
}

static void read_on(Conn *c)
{
    /* Some rounds: other descriptors have their turn, too. */
    for (int round = 0; round < 4; round++) {
        if (!take_frames(c) || c->stalled)
            break;
        memmove(c->in, c->in + c->in_at, c->in_len);
        c->in_at = 0;
        ssize_t n = recv(c->fd, c->in + c->in_len, CONN_IN - c->in_len, 0);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n <= 0) {
            end(c, n ? strerror(errno) : "the other side has closed it");
            return;
        }
        c->in_len += n;
    }
    if (c->fd >= 0 && !c->stalled)
        take_frames(c);
    if (c->fd >= 0)
        want(c);
}

void conn_room(Conn *c)
{
    if (c->fd >= 0 && c->stalled)
        read_on(c);
}

bool conn_frame(Conn *c, const IoVec *plain)
{
    uint32_t len = htonl(plain->len);
    struct iovec v[CONN_ELEMENTS + 1] = { { &len, 4 } };
    size_t bytes;

    if (c->fd < 0)
        return true;
    if (c->out_len)
        return false;
    unsigned n = iov_elements(plain, v + 1, CONN_ELEMENTS, &bytes);
    struct msghdr m = { .msg_iov = v, .msg_iovlen = n + 1 };
    ssize_t did = bytes == plain->len ? sendmsg(c->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;

    if (did < 0 && errno != EAGAIN && errno != EINTR)
        return true;            /* the watch tells of the end */
    did = MAX(did, 0);
    if ((size_t)did == plain->len + 4)
        return true;
    memcpy(c->out, &len, 4);
    iov_read(plain, 0, c->out + 4, plain->len);
    c->out_at = did;
    c->out_len = plain->len + 4 - did;
    want(c);
    return true;
}
