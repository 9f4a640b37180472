/* SPDX-License-Identifier: MIT */
/*
 * The io_uring of a loop (io_uring(7), liburing).
 *
 * Requests of one turn are given to the host together when the turn ends.
 * Answers stand in shared memory, where the next turn finds them; the ring's
 * descriptor is in the loop's epoll to end its sleep.
 */
#include "util/ring.h"

#include <errno.h>
#include <glib.h>
#include <stdlib.h>

#include "util/loop-priv.h"

enum {
    ENTRIES = 128,          /* requests of one turn before they are given over earlier */
    MOST_RUNNING = 1024,    /* as many answers fit; later ones wait here */
};

typedef struct Ring {
    LoopPart part;
    struct io_uring io;
    Watch watch;
    unsigned unsent, running;
    unsigned most_unsent;   /* handed over at the latest then */
    CoQueue waiting;        /* for `running` to sink */
} Ring;

/* On the stack of the coroutine that waits for it. */
typedef struct RingOp {
    Co *co;
    int result;
    bool done;
} RingOp;

static bool ring_reap(LoopPart *part)
{
    Ring *r = (Ring *)part;
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&r->io, head, cqe) {
        RingOp *op = io_uring_cqe_get_data(cqe);

        op->result = cqe->res;
        op->done = true;
        co_wake(op->co);
        n++;
    }
    if (!n)
        return false;
    io_uring_cq_advance(&r->io, n);
    for (r->running -= n; n && co_queue_wake(&r->waiting); n--)
        ;
    return true;
}

/* What the host does not take now (it is short of memory), the next turn gives again. */
static int64_t ring_push(LoopPart *part)
{
    Ring *r = (Ring *)part;

    while (r->unsent) {
        int n = io_uring_submit(&r->io);

        if (n > 0)
            r->unsent -= MIN((unsigned)n, r->unsent);
        else if (n != -EINTR)
            return 1000000;
    }
    return -1;
}

static void ring_free(LoopPart *part)
{
    Ring *r = (Ring *)part;

    watch_del(&r->watch);
    io_uring_queue_exit(&r->io);
    g_free(r);
}

/* The answers are read by the turn that follows. */
static void ring_ready(void *opaque, uint32_t events)
{
}

static Err *ring_open(Ring *r)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_CQSIZE | IORING_SETUP_COOP_TASKRUN,
        .cq_entries = MOST_RUNNING,
    };
    int ret = io_uring_queue_init_params(ENTRIES, &r->io, &p);

    if (ret == -EINVAL) {               /* before Linux 5.19 */
        p = (struct io_uring_params){ .flags = IORING_SETUP_CQSIZE, .cq_entries = MOST_RUNNING };
        ret = io_uring_queue_init_params(ENTRIES, &r->io, &p);
    }
    if (ret == 0)
        return NULL;

    Err *e = err_errno(-ret, "this host gives no io_uring");

    if (ret == -ENOSYS)
        return err_hint(e, "It needs Linux 5.1 or later; aio=threads works everywhere");
    if (ret == -EPERM)
        return err_hint(e, "A sandbox or 'sysctl kernel.io_uring_disabled' forbids it; aio=threads works everywhere");
    return err_hint(e, "aio=threads works everywhere");
}

Err *ring_check(Loop *loop)
{
    if (loop->ring)
        return NULL;

    Ring *r = g_new0(Ring, 1);

    r->most_unsent = ENTRIES;

    Err *e = ring_open(r);

    if (e) {
        g_free(r);
        return e;
    }
    r->part = (LoopPart){ .reap = ring_reap, .push = ring_push, .free = ring_free };
    e = watch_add(&r->watch, loop, r->io.ring_fd, EPOLLIN, ring_ready, r);
    if (e) {
        ring_free(&r->part);
        return e;
    }
    loop_add_part(loop, &r->part);
    loop->ring = r;
    return NULL;
}

void ring_max_batch(Loop *loop, unsigned most)
{
    loop->ring->most_unsent = MIN(loop->ring->most_unsent, most);
}

int ring_do(RingPrepare *prepare, void *opaque)
{
    Ring *r = co_loop()->ring;
    RingOp op = { .co = co_self() };

    while (r->running >= MOST_RUNNING)
        co_queue_wait(&r->waiting);

    struct io_uring_sqe *sqe;

    while (!(sqe = io_uring_get_sqe(&r->io))) {
        ring_push(&r->part);
        if (r->unsent == ENTRIES)
            co_pause();
    }
    prepare(sqe, opaque);
    io_uring_sqe_set_data(sqe, &op);
    r->running++;
    if (++r->unsent >= r->most_unsent)
        ring_push(&r->part);
    co_until(&op.done);
    return op.result;
}
