/* SPDX-License-Identifier: MIT */
/*
 * What coroutines wait for: each other (queues, locks, crowds), time,
 * descriptors, workers. All of it is made of co_until and co_wake.
 *
 * Locks are handed over: who unlocks makes the next in the queue the owner and
 * wakes it, so nobody who comes in between gets ahead.
 */
#include "util/co.h"

#include <errno.h>
#include <glib.h>
#include <string.h>
#include <unistd.h>

#include "util/loop-priv.h"
#include "util/work.h"

/* ---- queues. A sleeper is on the stack of who sleeps. */

typedef struct CoSleeper {
    Co *co;
    bool woken, writer;
    struct CoSleeper *next;
} CoSleeper;

static void sleep_in(CoQueue *q, bool writer)
{
    CoSleeper s = { .co = co_self(), .writer = writer };

    if (!q->first)
        q->last = &q->first;
    *q->last = &s;
    q->last = &s.next;
    co_until(&s.woken);
}

void co_queue_wait(CoQueue *q)
{
    sleep_in(q, false);
}

static void wake_first(CoQueue *q)
{
    CoSleeper *s = q->first;

    q->first = s->next;
    if (!q->first)
        q->last = &q->first;
    s->woken = true;
    co_wake(s->co);
}

bool co_queue_wake(CoQueue *q)
{
    if (!q->first)
        return false;
    wake_first(q);
    return true;
}

void co_queue_wake_all(CoQueue *q)
{
    while (q->first)
        wake_first(q);
}

/* ---- other loops */

typedef struct Visit {
    Loop *there, *back;
    void (*fn)(void *);
    void *arg;
    Co *co;
    bool done;                  /* of the loop `back` */
} Visit;

static void visit_over(void *opaque)
{
    Visit *v = opaque;

    v->done = true;
    co_wake(v->co);
}

static void visit_there(void *opaque)
{
    Visit *v = opaque;

    v->fn(v->arg);
    loop_call(v->back, visit_over, v);      /* v is gone from here on */
}

static void visit_begin(void *opaque)
{
    Visit *v = opaque;

    co_start(v->there, visit_there, v);
}

void co_visit(Loop *there, void (*fn)(void *), void *arg)
{
    Visit v = { .there = there, .back = co_loop(), .fn = fn, .arg = arg, .co = co_self() };

    if (v.back == v.there) {
        fn(arg);
        return;
    }
    loop_call(v.there, visit_begin, &v);
    co_until(&v.done);
}

/* ---- locks */

void co_lock(CoMutex *m)
{
    Co *me = co_self();

    if (!m->owner) {
        m->owner = me;
        return;
    }
    if (m->owner == me)
        g_error("a coroutine waits for a lock that it holds itself");
    sleep_in(&m->waiting, true);
}

void co_unlock(CoMutex *m)
{
    if (m->owner != co_self())
        g_error("a coroutine gives back a lock that is not its own");
    m->owner = m->waiting.first ? m->waiting.first->co : NULL;
    co_queue_wake(&m->waiting);
}

void co_rdlock(CoRwlock *l)
{
    if (!l->writer && !l->waiting.first)
        l->readers++;
    else
        sleep_in(&l->waiting, false);
}

void co_wrlock(CoRwlock *l)
{
    if (!l->writer && !l->readers)
        l->writer = co_self();
    else
        sleep_in(&l->waiting, true);
}

void co_rwunlock(CoRwlock *l)
{
    if (l->writer)
        l->writer = NULL;
    else
        l->readers--;
    if (l->readers)
        return;
    if (l->waiting.first && l->waiting.first->writer) {
        l->writer = l->waiting.first->co;
        wake_first(&l->waiting);
        return;
    }
    while (l->waiting.first && !l->waiting.first->writer) {
        l->readers++;
        wake_first(&l->waiting);
    }
}

/* ---- crowds */

typedef struct Member {
    CoCrowd *crowd;
    int (*fn)(void *);
    void *arg;
} Member;

static void run_member(void *opaque)
{
    Member m = *(Member *)opaque;       /* the starter's stack: gone after the first yield */
    CoCrowd *c = m.crowd;
    int ret = m.fn(m.arg);

    if (ret < 0 && !c->status)
        c->status = ret;
    c->running--;
    co_queue_wake_all(&c->waiting);
}

void crowd_start(CoCrowd *c, int (*fn)(void *), void *arg)
{
    while (c->max && c->running >= c->max)
        co_queue_wait(&c->waiting);

    Member m = { c, fn, arg };

    c->running++;
    co_start(co_loop(), run_member, &m);
}

int crowd_wait(CoCrowd *c)
{
    while (c->running)
        co_queue_wait(&c->waiting);

    int status = c->status;

    c->status = 0;
    return status;
}

/* ---- time */

typedef struct Nap {
    Co *co;
    bool over;
} Nap;

static void nap_over(void *opaque)
{
    Nap *n = opaque;

    n->over = true;
    co_wake(n->co);
}

void co_pause(void)
{
    Nap n = { co_self(), false };

    loop_call(co_loop(), nap_over, &n);
    co_until(&n.over);
}

void co_sleep(int64_t ns)
{
    Nap n = { co_self(), false };
    Alarm a;

    alarm_init(&a, co_loop(), nap_over, &n);
    alarm_set(&a, loop_now() + ns);
    co_until(&n.over);
}

/* ---- workers */

typedef struct Offload {
    Work work;
    Co *co;
    void (*fn)(void *);
    void *arg;
    bool done;
} Offload;

static void offload_run(Work *w)
{
    Offload *o = (Offload *)w;

    o->fn(o->arg);
}

static void offload_done(Work *w)
{
    Offload *o = (Offload *)w;

    o->done = true;
    co_wake(o->co);
}

void co_offload(void (*fn)(void *), void *arg)
{
    Offload o = { { .run = offload_run, .done = offload_done }, co_self(), fn, arg, false };

    work_ask(co_loop(), &o.work);
    co_until(&o.done);
}

/* ---- descriptors */

typedef struct FdSleeper {
    Co *co;
    uint32_t events, got;
    bool woken;
    struct FdSleeper *next;
} FdSleeper;

/* All who wait for one descriptor; it is watched for the sum of what they want. */
typedef struct FdWait {
    Watch watch;
    FdSleeper *first;
} FdWait;

static uint32_t wanted(const FdWait *f)
{
    uint32_t all = 0;

    for (FdSleeper *s = f->first; s; s = s->next)
        all |= s->events;
    return all;
}

static void fd_ready(void *opaque, uint32_t events)
{
    FdWait *f = opaque;

    for (FdSleeper **at = &f->first, *s; (s = *at); ) {
        s->got = events & (s->events | EPOLLERR | EPOLLHUP);
        if (!s->got) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        s->woken = true;
        co_wake(s->co);
    }
    watch_events(&f->watch, wanted(f));
}

static FdWait *fd_wait_of(Loop *loop, int fd)
{
    if (fd >= loop->fd_waits_room) {
        int room = MAX(fd + 1, 2 * loop->fd_waits_room);

        loop->fd_waits = g_renew(FdWait *, loop->fd_waits, room);
        memset(loop->fd_waits + loop->fd_waits_room, 0,
               (size_t)(room - loop->fd_waits_room) * sizeof(FdWait *));
        loop->fd_waits_room = room;
    }
    if (!loop->fd_waits[fd])
        loop->fd_waits[fd] = g_new0(FdWait, 1);
    return loop->fd_waits[fd];
}

uint32_t co_wait_fd(int fd, uint32_t events)
{
    Loop *loop = co_loop();

    if (fd < 0)
        return EPOLLERR;

    FdWait *f = fd_wait_of(loop, fd);
    FdSleeper s = { .co = co_self(), .events = events, .next = f->first };

    if (!f->first) {
        Err *e = watch_add(&f->watch, loop, fd, events, fd_ready, f);

        if (e) {
            if (err_class(e) == ERR_BUSY)
                g_error("co_wait_fd: %s", err_text(e));
            err_free(e);
            return events;
        }
    } else {
        watch_events(&f->watch, wanted(f) | events);
    }
    f->first = &s;
    co_until(&s.woken);
    return s.got;
}
