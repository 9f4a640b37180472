/* SPDX-License-Identifier: MIT */
/*
 * Workers of a loop: threads for calls that block. Work is asked for in the
 * loop's thread, run in a worker, and ended in the loop's thread again. Its
 * memory is the asker's, until `done` is called.
 */
#ifndef UTIL_WORK_H
#define UTIL_WORK_H

#include "util/loop.h"

typedef struct Work {
    void (*run)(struct Work *);     /* in a worker */
    void (*done)(struct Work *);    /* in the loop's thread */
    bool here;                      /* `run` may as well be called in the loop's thread, if that only waits for it */
    struct Work *next;              /* the workers' own */
} Work;

/* Handed to the workers at the end of the loop's turn. */
void work_ask(Loop *loop, Work *w);

#endif
