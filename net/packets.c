/* SPDX-License-Identifier: MIT */
/* One frame with each call: packets.h. */
#include "net/packets.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PACKETS_BUFFER = NET_FRAME_MAX + 64, PACKETS_BATCH = 64, PACKETS_ELEMENTS = 64, PACKETS_AGAIN_NS = 500000 };

static void want(Packets *p)
{
    watch_events(&p->watch, (p->waits ? 0 : EPOLLIN) | (p->full && !p->to ? EPOLLOUT : 0));
}

static void try_again(void *opaque)
{
    Packets *p = opaque;

    p->full = false;
    net_room(p->port);
}

/* False: it is kept until there is room. */
static bool pass_on(Packets *p)
{
    IoVec frame = IOV_BUF(p->in, p->waits);

    if (p->waits && !net_send(p->port, &frame))
        return false;
    p->waits = 0;
    return true;
}

static void read_some(Packets *p)
{
    for (int i = 0; i < PACKETS_BATCH && pass_on(p) && p->fd >= 0; i++) {
        ssize_t n = p->socket ? recv(p->fd, p->in, PACKETS_BUFFER, 0) : read(p->fd, p->in, PACKETS_BUFFER);

        if (n < 0 && errno != EINTR)
            break;              /* nothing is there; or an error of a datagram sent before, which is lost */
        p->waits = MAX(n, 0);
    }
    pass_on(p);
    if (p->fd >= 0)
        want(p);
}

static void ready(void *opaque, uint32_t events)
{
    Packets *p = opaque;

    if (events & (EPOLLOUT | EPOLLERR) && p->full && !p->to)
        try_again(p);
    if (p->fd >= 0)
        read_some(p);
}

Err *packets_start(Packets *p, NetPort *port, int fd)
{
    p->port = port;
    p->fd = fd;
    p->in = g_malloc(PACKETS_BUFFER);
    alarm_init(&p->again, net_loop(port->net), try_again, p);
    return watch_add(&p->watch, net_loop(port->net), fd, EPOLLIN, ready, p);
}

void packets_stop(Packets *p)
{
    watch_del(&p->watch);
    alarm_del(&p->again);
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    g_clear_pointer(&p->in, g_free);
}

void packets_room(Packets *p)
{
    if (p->fd >= 0)
        read_some(p);
}

bool packets_frame(Packets *p, const IoVec *frame)
{
    struct iovec v[PACKETS_ELEMENTS];
    g_autofree uint8_t *flat = NULL;
    size_t bytes;
    unsigned n = iov_elements(frame, v, PACKETS_ELEMENTS, &bytes);

    if (p->fd < 0)
        return true;
    if (bytes < frame->len) {
        flat = g_malloc(frame->len);
        iov_read(frame, 0, flat, frame->len);
        v[0] = (struct iovec){ flat, frame->len };
        n = 1;
    }
    struct msghdr m = { .msg_iov = v, .msg_iovlen = n, .msg_name = (void *)p->to, .msg_namelen = p->to_len };
    ssize_t did;

    do {
        did = p->socket ? sendmsg(p->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT) : writev(p->fd, v, n);
    } while (did < 0 && errno == EINTR);
    if (did >= 0 || errno != EAGAIN)
        return true;            /* an error loses the frame, as a wire does */
    p->full = true;
    if (p->to)
        alarm_set(&p->again, loop_now() + PACKETS_AGAIN_NS);
    want(p);
    return false;
}
