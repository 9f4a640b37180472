/* SPDX-License-Identifier: MIT */
/*
 * Coroutines: functions with a stack of their own that wait without holding a
 * thread. Those of one loop run one at a time, in its thread, and switch only
 * where the code says so (a call that "may yield"); between two such calls no
 * lock is needed. Data paths of block/ are written this way.
 *
 * Sanitizers are told of every switch of stacks.
 */
#ifndef UTIL_CO_H
#define UTIL_CO_H

#include <stdbool.h>
#include <stdint.h>

#include "util/loop.h"

typedef struct Co Co;

/* Makes and starts: runs fn(arg) until it first yields, then returns. In the loop's thread. */
void co_start(Loop *loop, void (*fn)(void *), void *arg);
/*
 * Runs fn(arg) as a coroutine and turns the loop until it has ended: the way
 * from plain code into block/. Not from inside a coroutine. In the thread that
 * is the loop's.
 */
void co_run(Loop *loop, void (*fn)(void *), void *arg);
Co *co_self(void);              /* NULL outside */
Loop *co_loop(void);            /* of the running coroutine */

/* Sleeps until somebody calls co_wake. Only inside. A wake that came first is not lost. */
void co_yield(void);
/*
 * Sleeps until *done, which is set together with one co_wake (before or after
 * this call). Wakes meant for another yield are kept for that one.
 */
void co_until(const bool *done);
/* Lets it go on, from the loop's turn (never at once). Same thread; at most one wake for each yield. */
void co_wake(Co *co);
void co_wake_from(Co *co);      /* the same from any thread */
/* Gives the others a turn. */
void co_pause(void);
void co_sleep(int64_t ns);
/*
 * Waits for the descriptor; returns the events that hold (EPOLLERR, EPOLLHUP
 * unasked). Several may wait for the same one. What epoll cannot watch, as a
 * plain file, is always ready. shutdown() of a socket ends the wait.
 */
uint32_t co_wait_fd(int fd, uint32_t events);
/* Runs fn(arg) in a worker thread and waits for it: compression, ciphers, calls that block. */
void co_offload(void (*fn)(void *), void *arg);

/* Runs fn(arg) as a coroutine of another loop, in its thread, and waits for it; a plain call where that is the own one. */
void co_visit(Loop *there, void (*fn)(void *), void *arg);

/* A queue of sleepers, in order. Zeroed memory is an empty one. */
typedef struct CoQueue { struct CoSleeper *first, **last; } CoQueue;
void co_queue_wait(CoQueue *q);
bool co_queue_wake(CoQueue *q);         /* the first; false: there was none */
void co_queue_wake_all(CoQueue *q);
static inline bool co_queue_empty(const CoQueue *q) { return !q->first; }

/* Held over yields; in order of arrival. Zeroed memory is an unlocked one. */
typedef struct CoMutex { Co *owner; CoQueue waiting; } CoMutex;
void co_lock(CoMutex *m);
void co_unlock(CoMutex *m);

/* Many readers or one writer; a waiting writer holds back later readers. Zeroed memory is unlocked. */
typedef struct CoRwlock { unsigned readers; Co *writer; CoQueue waiting; } CoRwlock;
void co_rdlock(CoRwlock *l);
void co_wrlock(CoRwlock *l);
void co_rwunlock(CoRwlock *l);

/*
 * A crowd of coroutines doing parts of one job: crowd_start waits while `max`
 * are running (0: no limit), crowd_wait until all have ended; the status of
 * the first that failed is kept. Used to run many requests of one loop side by
 * side. `arg` must live until fn has returned. Zeroed but for `max`.
 */
typedef struct CoCrowd { unsigned running, max; int status; CoQueue waiting; } CoCrowd;
void crowd_start(CoCrowd *c, int (*fn)(void *), void *arg);
int crowd_wait(CoCrowd *c);     /* 0 or the first -errno; ready for another round */

#endif
