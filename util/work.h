/* SPDX-License-Identifier: MIT */
/*
 * Workers of a loop: threads for calls that block. Work is asked for in the
 * loop's thread, run in a worker, and ended in the loop's thread again. Its
 * memory is the asker's, until `done` is called.
 */
#ifndef UTIL_WORK_H
#define UTIL_WORK_H

#include "util/loop.h"

/*
 * Work of one lane is run one piece at a time, in the order of asking: writes
 * of one file, which would only wait for each other in the host. Whoever has
 * done one goes on with the next, without a way by the loop. All zero is an
 * empty one; it lasts as long as work in it.
 */
typedef struct WorkLane {
    unsigned asked;                 /* not ended; the loop's thread's own */
    bool busy;                      /* these are the workers' own */
    struct Work *first, *last;
} WorkLane;

typedef struct Work {
    void (*run)(struct Work *);     /* in a worker */
    void (*done)(struct Work *);    /* in the loop's thread */
    bool here;                      /* `run` may as well be called in the loop's thread, if that only waits for it */
    WorkLane *lane;                 /* or NULL */
    struct Work *next;              /* the workers' own */
} Work;

/* Handed to the workers at the end of the loop's turn. */
void work_ask(Loop *loop, Work *w);

#endif
