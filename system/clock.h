/* SPDX-License-Identifier: MIT */
/*
 * Time, from one place. CLOCK_GUEST ("virtual") runs while the machine runs;
 * CLOCK_REAL always; CLOCK_HOST is wall-clock time (RTC). All in nanoseconds.
 * Timers run in the main thread, under the machine lock.
 */
#ifndef SYSTEM_CLOCK_H
#define SYSTEM_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

typedef struct Vm Vm;
typedef enum ClockKind { CLOCK_GUEST, CLOCK_REAL, CLOCK_HOST, CLOCKS } ClockKind;

int64_t clock_now(Vm *vm, ClockKind kind);      /* any thread, no lock; monotonic but for CLOCK_HOST */

typedef struct Timer {
    Vm *vm;
    ClockKind kind;
    void (*fire)(void *opaque);
    void *opaque;
    int64_t when;           /* -1: not set */
    struct Timer *next;     /* the clock's list, ascending; its own lock */
} Timer;
void timer_init(Timer *t, Vm *vm, ClockKind kind, void (*fire)(void *), void *opaque);
void timer_set(Timer *t, int64_t when);         /* any thread; a time in the past fires soon */
void timer_del(Timer *t);                       /* any thread; under the machine lock it will not fire after */

#endif
