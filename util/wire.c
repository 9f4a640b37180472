/* SPDX-License-Identifier: MIT */
/*
 * Wires. The socket has one watch; a place for who reads and one for who
 * writes say which events each waits for. A read takes what else has come along
 * with it into a buffer, so that a small message costs no system call of its own.
 */
#include "util/wire.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_AHEAD (16 << 10)
#define GATHER (16 << 10)       /* the longest record of TLS */
#define IOV_AT_ONCE 64

typedef struct Place {
    Co *co;                     /* who waits, or NULL */
    uint32_t events;
} Place;

struct Wire {
    int fd;
    int error;                  /* -errno, for ever */
    Loop *loop;
    Watch watch;
    uint32_t armed;             /* events that the watch is set to */
    Place places[2];            /* reader, writer */
    Alarm alarm;
    const WireFilter *filter;
    void *opaque;
    char *gather;               /* the writer's, or NULL */
    size_t have, at;            /* bytes in ahead; the first that was not read */
    char ahead[READ_AHEAD];
};

static void place_wake(Place *p)
{
    Co *co = p->co;

    p->co = NULL;
    p->events = 0;
    if (co)
        co_wake(co);
}

static void wire_ready(void *opaque, uint32_t events)
{
    Wire *s = opaque;
    bool over = events & (EPOLLERR | EPOLLHUP), reading = false;

    for (int i = 0; i < 2; i++) {
        Place *p = &s->places[i];
        if (p->co && (over || (events & p->events))) {
            reading |= p->events & EPOLLIN;
            place_wake(p);
        }
    }
    /*
     * What nobody waits for is no longer watched, else the loop would turn
     * around it. But a reader that was woken just now comes back for more,
     * mostly: its event stays watched once.
     */
    uint32_t keep = s->places[0].events | s->places[1].events | (reading ? EPOLLIN : 0);
    if (s->armed & ~keep & (over ? ~0u : events)) {
        s->armed &= keep | (over ? 0 : ~events);
        watch_events(&s->watch, s->armed);
    }
}

static void wire_late(void *opaque)
{
    wire_down(opaque, ETIMEDOUT);
}

Err *wire_new(Loop *loop, int fd, Wire **out)
{
    Wire *s = g_new0(Wire, 1);
    Err *e = watch_add(&s->watch, loop, fd, 0, wire_ready, s);

    if (e) {
        close(fd);
        g_free(s);
        return e;
    }
    s->fd = fd;
    s->loop = loop;
    alarm_init(&s->alarm, loop, wire_late, s);
    *out = s;
    return NULL;
}

void wire_free(Wire *s)
{
    if (!s)
        return;
    alarm_del(&s->alarm);
    if (s->filter)
        s->filter->free(s->opaque);
    watch_del(&s->watch);
    close(s->fd);
    g_free(s->gather);
    g_free(s);
}

int wire_fd(const Wire *s)
{
    return s->fd;
}

size_t wire_buffered(const Wire *s)
{
    return s->have - s->at;
}

void wire_deadline(Wire *s, int64_t when)
{
    if (when < 0)
        alarm_del(&s->alarm);
    else
        alarm_set(&s->alarm, when);
}

static int wire_fail(Wire *s, int error)
{
    if (!s->error)
        s->error = error;
    return s->error;
}

void wire_down(Wire *s, int error)
{
    wire_fail(s, -error);
    shutdown(s->fd, SHUT_RDWR);
    place_wake(&s->places[0]);
    place_wake(&s->places[1]);
}

void wire_stop_reading(Wire *s)
{
    shutdown(s->fd, SHUT_RD);
    place_wake(&s->places[0]);
}

void wire_set_filter(Wire *s, const WireFilter *f, void *opaque)
{
    s->filter = f;
    s->opaque = opaque;
}

int wire_wait(Wire *s, bool writer, uint32_t events)
{
    Place *p = &s->places[writer];

    if (s->error)
        return s->error;
    Co *me = p->co = co_self();
    p->events = events;
    uint32_t want = s->places[0].events | s->places[1].events;
    if (want & ~s->armed) {
        s->armed |= want;
        watch_events(&s->watch, s->armed);
    }
    while (p->co == me)
        co_yield();
    return s->error;
}

/* ---- raw bytes: a count, 0 at the end, or -errno */

static ssize_t socket_readv(Wire *s, const struct iovec *v, unsigned n)
{
    struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = n };
    ssize_t got;

    do {
        got = recvmsg(s->fd, &m, 0);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t socket_writev(Wire *s, const struct iovec *v, unsigned n)
{
    struct msghdr m = { .msg_iov = (struct iovec *)v, .msg_iovlen = n };
    ssize_t put;

    do {
        put = sendmsg(s->fd, &m, MSG_NOSIGNAL);
    } while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

/* At least one byte into v, more if it is there. */
static ssize_t read_some(Wire *s, const struct iovec *v, unsigned n)
{
    for (;;) {
        uint32_t events = EPOLLIN;
        if (s->error)
            return s->error;
        ssize_t got = s->filter ? s->filter->read(s->opaque, v->iov_base, v->iov_len, &events) : socket_readv(s, v, n);
        if (got >= 0)
            return got;
        if (got != -EAGAIN)
            return wire_fail(s, got);
        int ret = wire_wait(s, false, events);
        if (ret)
            return ret;
    }
}

/* For a filter, which takes one buffer: a short message's elements together, so that they become one record. */
static struct iovec filter_buffer(Wire *s, const struct iovec *v, unsigned n)
{
    size_t len = 0;

    if (n == 1 || v->iov_len >= GATHER / 4)
        return *v;
    if (!s->gather)
        s->gather = g_malloc(GATHER);
    for (unsigned i = 0; i < n && len < GATHER; i++) {
        size_t part = MIN(v[i].iov_len, GATHER - len);
        if (part)
            memcpy(s->gather + len, v[i].iov_base, part);
        len += part;
    }
    return (struct iovec){ s->gather, len };
}

static ssize_t write_some(Wire *s, const struct iovec *v, unsigned n)
{
    struct iovec one = s->filter ? filter_buffer(s, v, n) : *v;

    for (;;) {
        uint32_t events = EPOLLOUT;
        if (s->error)
            return s->error;
        ssize_t put = s->filter ? s->filter->write(s->opaque, one.iov_base, one.iov_len, &events) : socket_writev(s, v, n);
        if (put >= 0)
            return put;
        if (put != -EAGAIN)
            return wire_fail(s, put);
        int ret = wire_wait(s, true, events);
        if (ret)
            return ret;
    }
}

/* ---- reading */

static size_t take_ahead(Wire *s, void *buf, size_t len)
{
    size_t n = MIN(len, s->have - s->at);

    if (n)
        memcpy(buf, s->ahead + s->at, n);
    s->at += n;
    if (s->at == s->have)
        s->at = s->have = 0;
    return n;
}

/* Fills [buf, buf + len) from the socket, and `ahead`, which is empty, with what comes behind. */
static int read_rest(Wire *s, char *buf, size_t len)
{
    while (len) {
        struct iovec v[2] = { { buf, len }, { s->ahead, sizeof(s->ahead) } };
        bool small = s->filter && len < sizeof(s->ahead);
        /* A filter fills one buffer: a short read goes by way of ours. */
        ssize_t got = small ? read_some(s, &v[1], 1) : read_some(s, v, 2);

        if (got < 0)
            return got;
        if (!got)
            return wire_fail(s, -EPIPE);
        if (small) {
            s->have = got;
            got = take_ahead(s, buf, len);
        } else if ((size_t)got > len) {
            s->have = got - len;
            got = len;
        }
        buf += got;
        len -= got;
    }
    return 0;
}

int wire_read(Wire *s, void *buf, size_t len)
{
    size_t n = take_ahead(s, buf, len);

    if (s->error)
        return s->error;
    return n == len ? 0 : read_rest(s, (char *)buf + n, len - n);
}

int wire_readv(Wire *s, const IoVec *q)
{
    IoVec rest = *q;

    while (rest.len) {
        struct iovec v[IOV_AT_ONCE];
        size_t bytes;
        unsigned n = iov_elements(&rest, v, IOV_AT_ONCE, &bytes);

        for (unsigned i = 0; i < n; i++) {
            int ret = wire_read(s, v[i].iov_base, v[i].iov_len);
            if (ret)
                return ret;
        }
        rest = iov_slice(&rest, bytes, rest.len - bytes);
    }
    return s->error;
}

int wire_skip(Wire *s, uint64_t len)
{
    char waste[4096];

    while (len) {
        size_t n = MIN(len, sizeof(waste));
        int ret = wire_read(s, waste, n);
        if (ret)
            return ret;
        len -= n;
    }
    return 0;
}

int wire_peek(Wire *s)
{
    struct iovec v = { s->ahead, sizeof(s->ahead) };

    if (s->error)
        return s->error;
    if (s->have)
        return 1;
    ssize_t got = read_some(s, &v, 1);
    if (got <= 0)
        return got;
    s->have = got;
    return 1;
}

/* ---- writing */

int wire_write(Wire *s, const void *buf, size_t len)
{
    struct iovec v = { (void *)buf, len };

    return wire_writev(s, &v, 1);
}

/* Steps over `put` bytes of the elements; returns how many elements are done with. */
static unsigned advance(struct iovec *v, unsigned n, size_t put)
{
    unsigned done = 0;

    while (done < n && put >= v[done].iov_len)
        put -= v[done++].iov_len;
    if (done < n) {
        v[done].iov_base = (char *)v[done].iov_base + put;
        v[done].iov_len -= put;
    }
    return done;
}

int wire_writev(Wire *s, const struct iovec *from, unsigned n)
{
    while (n) {
        struct iovec v[IOV_AT_ONCE];
        unsigned count = MIN(n, IOV_AT_ONCE), at = 0;

        memcpy(v, from, count * sizeof(*v));
        at = advance(v, count, 0);      /* empty ones */
        while (at < count) {
            ssize_t put = write_some(s, v + at, count - at);
            if (put < 0)
                return put;
            at += advance(v + at, count - at, put);
        }
        from += count;
        n -= count;
    }
    return s->error;
}

void wire_end(Wire *s)
{
    /* A peer that does not listen shall not hold us: one try, and a short wait. */
    for (int tries = 0; s->filter && s->filter->end && !s->error && tries < 3; tries++) {
        uint32_t events = EPOLLOUT;
        if (s->filter->end(s->opaque, &events) != -EAGAIN)
            break;
        wire_deadline(s, loop_now() + 1000000000);
        wire_wait(s, true, events);
    }
    wire_deadline(s, -1);
    shutdown(s->fd, SHUT_WR);
}
