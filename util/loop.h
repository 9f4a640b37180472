/* SPDX-License-Identifier: MIT */
/*
 * Loop: one thread's event loop. It waits for descriptors, timers, calls from
 * other threads, and requests to the host (util/aio.h), and runs coroutines
 * (util/co.h). A loop belongs to the thread that turns it; functions are for
 * that thread unless they say "any thread". Nothing is global: a program has
 * as many loops as it likes, and an I/O thread of a machine is one more.
 */
#ifndef UTIL_LOOP_H
#define UTIL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

typedef struct Loop Loop;

/* Worker threads are started as work comes, at most `threads` (0: as many as suits I/O). */
MUST_USE Err *loop_new(unsigned threads, Loop **out);
/* Everything asked of it must have ended: no watches, timers, coroutines. Joins its workers. */
void loop_free(Loop *loop);
/* The loop that this thread is turning now, or NULL. */
Loop *loop_self(void);

/* Runs what is due. wait: sleeps until something is. Returns whether anything ran. */
bool loop_turn(Loop *loop, bool wait);
/*
 * For a loop inside another one (GLib's): readable when loop_turn has something
 * to do, timers included. The same descriptor each time; -1 (errno): none to be had.
 */
int loop_fd(Loop *loop);

/* Runs fn(arg) in the loop's thread, soon, in the order of the calls. Any thread. */
void loop_call(Loop *loop, void (*fn)(void *), void *arg);

/* Descriptors: fn is called while one of `events` (EPOLLIN, EPOLLOUT, ...) holds. One watch for each fd. */
typedef struct Watch {
    void (*ready)(void *opaque, uint32_t events);
    void *opaque;
    int fd;                 /* -1: not watching */
    uint32_t events;
    Loop *loop;
} Watch;
MUST_USE Err *watch_add(Watch *w, Loop *loop, int fd, uint32_t events,
                        void (*ready)(void *, uint32_t), void *opaque);
void watch_events(Watch *w, uint32_t events);   /* changes what is waited for; 0: nothing, for now */
void watch_del(Watch *w);                       /* no call after this; fine when not watching */

/* Timers: nanoseconds of CLOCK_MONOTONIC. */
int64_t loop_now(void);
typedef struct Alarm {
    void (*fire)(void *opaque);
    void *opaque;
    int64_t when;           /* -1: not set */
    Loop *loop;
    unsigned slot;          /* in the loop's heap */
} Alarm;
void alarm_init(Alarm *a, Loop *loop, void (*fire)(void *), void *opaque);
void alarm_set(Alarm *a, int64_t when);
void alarm_del(Alarm *a);

#endif
