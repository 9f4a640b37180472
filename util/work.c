/* SPDX-License-Identifier: MIT */
/*
 * The workers of a loop.
 *
 * Two kinds of work come here: calls that wait for a device, which want a
 * thread each so that the device sees them all, and calls that are done in a
 * microsecond or two (pages that are cached), for which waking a thread costs
 * more than the call. The pool measures what a call takes. While calls are
 * short, few workers are awake, they take one piece after the other, and tell
 * the loop of several at once; while they are long, each piece wakes a worker.
 * A loop that can do nothing but wait for one piece does it itself (Work.here).
 * What waits for another piece of its lane is not yet among what waits for a worker.
 * When what looked short is not, the loop's next look (NUDGE) wakes the others.
 */
#include "util/work.h"

#include <glib.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "util/loop-priv.h"

enum {
    MOST_THREADS = 64,
    SHORT = 10000,          /* ns: a call below that is not worth a thread of its own */
    AT_ONCE = 8,            /* short calls for each worker that is awake; so many are told of together */
    NUDGE = 200000,         /* ns: how long short work may stay untouched */
    STACK = 1 << 20,
};

typedef struct Pool {
    LoopPart part;
    Loop *loop;
    Work *asked, **asked_last;      /* in this turn, not handed over yet */
    unsigned n_asked, most;
    int64_t nudged;                 /* when the waiting work was last looked after */

    /* Work that ended, the latest first. */
    _Alignas(64) _Atomic(Work *) ended;
    _Alignas(64) atomic_uint cost;  /* ns that a call takes, of late */
    atomic_uint n_waiting;          /* as `n`, for a look without the lock */

    pthread_mutex_t lock;           /* of all that follows */
    pthread_cond_t more;
    Work *first, **last;            /* waiting for a worker */
    unsigned n, n_threads;
    unsigned idle;                  /* asleep, and nobody has woken them */
    unsigned coming;                /* woken or started, and not there yet */
    unsigned looking;               /* done with something, and about to look for more */
    bool stop;
    pthread_t threads[MOST_THREADS];
} Pool;

static bool is_short(Pool *p)
{
    return atomic_load_explicit(&p->cost, memory_order_relaxed) < SHORT;
}

static void *worker(void *opaque);

/* One more thread, if there may be one. Has the lock. Signals are the main thread's. */
static bool start_worker(Pool *p)
{
    pthread_attr_t attr;
    sigset_t all, was;

    if (p->n_threads == p->most)
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, MAX(STACK, PTHREAD_STACK_MIN));

    bool ok = !pthread_create(&p->threads[p->n_threads], &attr, worker, p);

    pthread_attr_destroy(&attr);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    p->n_threads += ok;
    return ok;
}

/*
 * Up to n sleeping or new workers are to come. Has the lock; returns how many
 * of them sleep: the caller wakes them when it has given the lock back, or they
 * would only wake to wait for it.
 */
static unsigned call_workers(Pool *p, unsigned n)
{
    unsigned asleep = 0;

    for (; n && !p->stop; n--) {
        if (p->idle) {
            p->idle--;
            asleep++;
        } else if (!start_worker(p)) {
            break;
        }
        p->coming++;
    }
    return asleep;
}

/* Without the lock. */
static void wake_workers(Pool *p, unsigned n)
{
    while (n--)
        pthread_cond_signal(&p->more);
}

/*
 * As many come as the waiting work is worth: of short calls those that are
 * awake do several, of long ones each wants a worker that is not busy. Like
 * call_workers.
 */
static unsigned call_enough(Pool *p)
{
    unsigned want = is_short(p) ? (p->n + AT_ONCE - 1) / AT_ONCE : p->n;
    unsigned have = is_short(p) ? p->n_threads - p->idle : p->coming + p->looking;

    return want > have ? call_workers(p, want - have) : 0;
}

/* ---- in a worker */

/* A piece of work, or NULL: it is time to stop. Waits. Has the lock. */
static Work *take(Pool *p)
{
    while (!p->first && !p->stop) {
        p->idle++;
        while (!p->coming && !p->stop)
            pthread_cond_wait(&p->more, &p->lock);
        p->coming -= p->coming > 0;
    }

    Work *w = p->first;

    if (w) {
        p->first = w->next;
        p->last = p->first ? p->last : &p->first;
        atomic_store_explicit(&p->n_waiting, --p->n, memory_order_relaxed);
    }
    return w;
}

/* After a piece of a lane, the next of that; or NULL. Has the lock. */
static Work *follow(WorkLane *lane)
{
    Work *w = lane ? lane->first : NULL;

    if (w)
        lane->first = w->next;
    else if (lane)
        lane->busy = false;
    return w;
}

/* Runs it, and learns what calls cost: a long one counts at once, short ones by and by. */
static void run_timed(Pool *p, Work *w)
{
    int64_t start = loop_now();

    w->run(w);

    unsigned ns = (unsigned)MIN(loop_now() - start, 1000000);
    unsigned cost = atomic_load_explicit(&p->cost, memory_order_relaxed);

    cost = ns > SHORT ? MAX(SHORT, (cost + ns) / 2) : cost - cost / 8 + ns / 8;
    atomic_store_explicit(&p->cost, cost, memory_order_relaxed);
}

/* The loop hears of what ended. */
static void tell(Pool *p, Work **newest, Work *oldest)
{
    Work *was = atomic_load_explicit(&p->ended, memory_order_relaxed);

    do
        oldest->next = was;
    while (!atomic_compare_exchange_weak(&p->ended, &was, *newest));
    *newest = NULL;
    loop_poke(p->loop);
}

static void *worker(void *opaque)
{
    Pool *p = opaque;
    Work *ended = NULL, *oldest = NULL;     /* the loop does not know of them yet; the latest first */
    Work *w, *next = NULL;                  /* `next`: of the lane of the one before */
    unsigned n_ended = 0;

    pthread_mutex_lock(&p->lock);
    p->coming -= p->coming > 0;
    for (;;) {
        if (ended && ((!p->first && !next) || n_ended >= AT_ONCE || !is_short(p))) {
            p->looking++;
            pthread_mutex_unlock(&p->lock);
            tell(p, &ended, oldest);
            n_ended = 0;
            pthread_mutex_lock(&p->lock);
            p->looking--;
        }
        w = next ? next : take(p);
        if (!w)
            break;
        pthread_mutex_unlock(&p->lock);
        run_timed(p, w);

        WorkLane *lane = w->lane;

        w->next = ended;
        oldest = ended ? oldest : w;
        ended = w;
        n_ended++;
        pthread_mutex_lock(&p->lock);
        next = follow(lane);
        if (p->first && !is_short(p)) {
            unsigned n = call_enough(p);

            pthread_mutex_unlock(&p->lock);
            wake_workers(p, n);
            pthread_mutex_lock(&p->lock);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- the loop's side */

/* Work that seemed short waits still: somebody is slower than thought, so one more comes. */
static int64_t nudge(Pool *p)
{
    int64_t now = loop_now();
    unsigned asleep = 0;

    if (now - p->nudged < NUDGE)
        return NUDGE;
    pthread_mutex_lock(&p->lock);
    if (p->n && !p->coming)
        asleep = call_workers(p, 1);

    bool all_busy = !p->coming && p->n_threads == p->most;

    pthread_mutex_unlock(&p->lock);
    wake_workers(p, asleep);
    p->nudged = now;
    return all_busy ? -1 : NUDGE;
}

static void end(Pool *p, Work *w)
{
    p->loop->outstanding--;
    if (w->lane)
        w->lane->asked--;
    w->done(w);
}

/* Has the lock. */
static void hand_over(Pool *p, Work *list)
{
    for (Work *w = list, *next; w; w = next) {
        WorkLane *lane = w->lane;

        next = w->next;
        w->next = NULL;
        if (lane && lane->busy) {
            *(lane->first ? &lane->last->next : &lane->first) = w;
            lane->last = w;
            continue;
        }
        if (lane)
            lane->busy = true;
        *p->last = w;
        p->last = &w->next;
        p->n++;
    }
}

static int64_t pool_push(LoopPart *part)
{
    Pool *p = (Pool *)part;

    if (p->n_asked == 1 && p->asked->here && loop_is_alone(p->loop)) {
        Work *w = p->asked;

        p->asked = NULL;
        p->asked_last = &p->asked;
        p->n_asked = 0;
        w->run(w);
        end(p, w);
        return -1;
    }
    if (p->asked) {
        pthread_mutex_lock(&p->lock);
        hand_over(p, p->asked);
        atomic_store_explicit(&p->n_waiting, p->n, memory_order_relaxed);

        unsigned asleep = call_enough(p);

        pthread_mutex_unlock(&p->lock);
        wake_workers(p, asleep);
        p->asked = NULL;
        p->asked_last = &p->asked;
        p->n_asked = 0;
        p->nudged = loop_now();
        return NUDGE;
    }
    return atomic_load_explicit(&p->n_waiting, memory_order_relaxed) ? nudge(p) : -1;
}

static bool pool_reap(LoopPart *part)
{
    Pool *p = (Pool *)part;

    if (!atomic_load_explicit(&p->ended, memory_order_relaxed))
        return false;

    Work *w = atomic_exchange(&p->ended, NULL), *in_order = NULL;

    while (w) {
        Work *next = w->next;

        w->next = in_order;
        in_order = w;
        w = next;
    }
    while ((w = in_order)) {
        in_order = w->next;
        end(p, w);
    }
    return true;
}

static void pool_free(LoopPart *part)
{
    Pool *p = (Pool *)part;

    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->more);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n_threads; i++)
        pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->more);
    free(p);
}

static Pool *pool_of(Loop *loop)
{
    if (loop->pool)
        return loop->pool;

    Pool *p = aligned_alloc(64, (sizeof(*p) + 63) & ~(size_t)63);

    if (!p)
        g_error("no memory for the workers of a loop");
    *p = (Pool){
        .part = { .reap = pool_reap, .push = pool_push, .free = pool_free },
        .loop = loop, .cost = SHORT,
        .most = loop->threads && loop->threads < MOST_THREADS ? loop->threads : MOST_THREADS,
    };
    p->asked_last = &p->asked;
    p->last = &p->first;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->more, NULL);
    loop_add_part(loop, &p->part);
    loop->pool = p;
    return p;
}

void work_ask(Loop *loop, Work *w)
{
    Pool *p = pool_of(loop);

    w->next = NULL;
    *p->asked_last = w;
    p->asked_last = &w->next;
    p->n_asked++;
    if (w->lane)
        w->lane->asked++;
    loop->outstanding++;
}
