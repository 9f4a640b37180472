/* SPDX-License-Identifier: MIT */
/*
 * The io_uring of a loop (io_uring(7), liburing).
 *
 * Requests of one turn are given to the host together when the turn ends; one
 * that is all the loop waits for is a plain system call, which is quicker.
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
    LATER = 1000000,        /* ns until the host is asked again when it took nothing */
};

/* On the stack of the coroutine that waits for it. */
typedef struct RingOp {
    Co *co;
    const RingCall *call;
    void *opaque;
    ssize_t result;
    bool done;
    struct RingOp *next;
} RingOp;

typedef struct Ring {
    LoopPart part;
    Loop *loop;
    struct io_uring io;
    Watch watch;
    RingOp *asked, **asked_last;    /* in this turn */
    unsigned n_asked, most_asked;   /* handed over at the latest then */
    unsigned unsent;                /* in the ring, and the host has not taken them */
    unsigned running;               /* all that have not ended */
    CoQueue waiting;                /* for `running` to sink */
} Ring;

static void end(Ring *r, RingOp *op, ssize_t result)
{
    op->result = result;
    op->done = true;
    r->running--;
    r->loop->outstanding--;
    co_wake(op->co);
    co_queue_wake(&r->waiting);
}

static bool ring_reap(LoopPart *part)
{
    Ring *r = (Ring *)part;
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;

    io_uring_for_each_cqe(&r->io, head, cqe) {
        end(r, io_uring_cqe_get_data(cqe), cqe->res);
        n++;
    }
    if (n)
        io_uring_cq_advance(&r->io, n);
    return n > 0;
}

/* False: what the host does not take now (it is short of memory), the next turn gives again. */
static bool hand_over(Ring *r)
{
    while (r->unsent) {
        int n = io_uring_submit(&r->io);

        if (n > 0)
            r->unsent -= MIN((unsigned)n, r->unsent);
        else if (n != -EINTR)
            return false;
    }
    return true;
}

static RingOp *take_asked(Ring *r)
{
    RingOp *op = r->asked;

    r->asked = op->next;
    if (!r->asked)
        r->asked_last = &r->asked;
    r->n_asked--;
    return op;
}

static int64_t ring_push(LoopPart *part)
{
    Ring *r = (Ring *)part;
    struct io_uring_sqe *sqe;

    if (r->n_asked == 1 && loop_is_alone(r->loop)) {
        RingOp *op = take_asked(r);

        end(r, op, op->call->here(op->opaque));
        return -1;
    }
    while (r->asked) {
        while (r->asked && (sqe = io_uring_get_sqe(&r->io))) {
            RingOp *op = take_asked(r);

            op->call->prepare(sqe, op->opaque);
            io_uring_sqe_set_data(sqe, op);
            r->unsent++;
        }
        if (!hand_over(r))
            return LATER;
    }
    return hand_over(r) ? -1 : LATER;
}

static void ring_free(LoopPart *part)
{
    Ring *r = (Ring *)part;

    r->loop->watching += r->watch.loop && r->watch.fd >= 0;
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

    r->most_asked = ENTRIES;
    r->asked_last = &r->asked;
    r->loop = loop;

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
    loop->watching--;           /* nothing comes from there that was not asked for */
    loop_add_part(loop, &r->part);
    loop->ring = r;
    return NULL;
}

void ring_max_batch(Loop *loop, unsigned most)
{
    loop->ring->most_asked = MIN(loop->ring->most_asked, most);
}

ssize_t ring_do(const RingCall *call, void *opaque)
{
    Loop *loop = co_loop();
    Ring *r = loop->ring;
    RingOp op = { .co = co_self(), .call = call, .opaque = opaque };

    while (r->running >= MOST_RUNNING)
        co_queue_wait(&r->waiting);
    r->running++;
    loop->outstanding++;
    *r->asked_last = &op;
    r->asked_last = &op.next;
    if (++r->n_asked >= r->most_asked)
        ring_push(&r->part);
    co_until(&op.done);
    return op.result;
}
