/* SPDX-License-Identifier: MIT */
/*
 * What the files of the loop share: loop.c turns it, co.c runs coroutines on
 * it, work.c has its workers, ring.c its io_uring.
 *
 * Everything is the loop's thread's own, but for what stands under "other
 * threads".
 */
#ifndef UTIL_LOOP_PRIV_H
#define UTIL_LOOP_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>

#include "util/loop.h"

struct Co;
struct FdWait;
struct Pool;
struct Ring;

typedef struct Call { void (*fn)(void *); void *arg; } Call;

/* A part that does the loop's work elsewhere: workers, the host's ring. */
typedef struct LoopPart {
    /* Ends what has ended, without a system call if it can be helped; whether there was anything. */
    bool (*reap)(struct LoopPart *);
    /*
     * Before the loop sleeps or its turn ends: hands over what was asked for since. Returns for how long
     * the loop may sleep (ns), -1: no limit.
     */
    int64_t (*push)(struct LoopPart *);
    void (*free)(struct LoopPart *);
    struct LoopPart *next;
} LoopPart;

/* Events that epoll gave and that are not dispatched yet; one for each loop_turn inside another. */
typedef struct Batch {
    struct epoll_event ev[32];
    int at, n;
    struct Batch *outer;
} Batch;

struct Loop {
    /* Calls that are due: n of them from `first` on, in a circle of `room` (a power of two). */
    Call *calls;
    unsigned first, n, room;
    unsigned depth;                 /* how many loop_turn, co_start of this loop are on the stack */
    unsigned unlooked;              /* what was done since the descriptors were looked at */

    Alarm **heap;                   /* heap[0] is the first one due */
    unsigned alarms, heap_room;

    Batch *batch;
    LoopPart *parts;
    struct Pool *pool;              /* also parts; NULL until needed */
    struct Ring *ring;
    unsigned threads;               /* at most so many workers; 0: as many as suits */
    unsigned outstanding;           /* asked of the parts and not ended */
    unsigned watching;              /* descriptors, but for the parts' own */
    bool may_wait;                  /* the turn that runs may sleep */
    bool was_called;                /* another thread has called, and may do so again at any time */
    unsigned eager;                 /* requests done at once since the turn began (aio.c) */
    int64_t no_eager_until;         /* a write that was done at once has waited: not again before (aio.c) */
    unsigned slow_writes;           /* such ones one after the other */

    struct Co *free_cos;            /* ended ones, for the next */
    unsigned n_free_cos, cos_made;
    struct FdWait **fd_waits;       /* by descriptor: who waits for it in co_wait_fd */
    int fd_waits_room;

    int epoll_fd, event_fd;
    int timer_fd;                   /* of a loop inside another one; -1: it is its own */
    bool no_pwait2;                 /* an old host: epoll_wait, in milliseconds */

    /* ---- other threads */

    _Alignas(64) atomic_bool posted;    /* calls were posted, or a part has something to reap */
    atomic_bool sleeping;           /* the loop is in epoll, or about to be: whoever clears it writes event_fd */
    pthread_mutex_t lock;           /* of what follows */
    Call *posts;
    unsigned n_posts, posts_room;
};

/* Around everything that runs on behalf of the loop; the value goes back to loop_leave. */
Loop *loop_enter(Loop *loop);
void loop_leave(Loop *loop, Loop *outer);
void loop_add_part(Loop *loop, LoopPart *part);
/* Any thread: something to reap is there. */
void loop_poke(Loop *loop);

/*
 * One request is all that the loop waits for, and nothing else can happen
 * before it ends: then the loop's thread may as well do it itself.
 */
bool loop_is_alone(Loop *loop);

/* co.c: what loop_free gives back. */
void co_pool_free(Loop *loop);

#endif
