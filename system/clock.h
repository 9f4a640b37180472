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

#include "util/err.h"

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

/*
 * The time that real-time clock devices show, as -rtc asks: that of `kind`
 * plus `offset` nanoseconds since 1970. Set by clock_set_rtc, before devices are made.
 */
typedef struct RtcTime { ClockKind kind; int64_t offset; } RtcTime;
RtcTime clock_rtc(const Vm *vm);
/* base: "utc" (or NULL), "localtime", "2006-06-17T16:01:21", "2006-06-17"; clock: "host" (or NULL), "rt", "vm". */
MUST_USE Err *clock_set_rtc(Vm *vm, const char *base, const char *clock);

/* For system/vm.c. */
typedef struct Clocks Clocks;
Clocks *clocks_new(Vm *vm);             /* NULL with errno; its sources are in vm->main_context */
void clocks_free(Clocks *c);
void clock_run(Vm *vm, bool run);       /* CLOCK_GUEST goes or stands */
/* CLOCK_GUEST is that now (a machine was loaded); timers keep their deadlines. It stands. */
void clock_set_guest(Vm *vm, int64_t now);

#endif
