/* SPDX-License-Identifier: MIT */
/*
 * Trace points: TRACE(uart, "tx %#x", ch) anywhere in a function is all it
 * takes. The first argument is the name that -trace's patterns match; several
 * points may share it. A point that is off costs one load and one branch.
 *
 * The linker gathers the points of a program: each leaves a pointer in the
 * section trace_points.
 */
#ifndef UTIL_TRACE_H
#define UTIL_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "util/err.h"

typedef struct TracePoint {
    const char *name, *fmt, *file;
    int line;
    _Atomic bool on;
} TracePoint;

#define TRACE(name_, fmt_, ...)                                                         \
    do {                                                                                \
        static TracePoint trace_point_ = { #name_, fmt_, __FILE__, __LINE__, false };   \
        static TracePoint *const trace_entry_                                           \
            __attribute__((section("trace_points"), used)) = &trace_point_;             \
        if (__builtin_expect(atomic_load_explicit(&trace_point_.on,                     \
                                                  memory_order_relaxed), 0))            \
            trace_emit(#name_, fmt_, ##__VA_ARGS__);                                    \
        (void)trace_entry_;                                                             \
    } while (0)

/* A line in the log: seconds since the start, name, text. */
void trace_emit(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Turns all points on or off whose name matches (* and ?). An error if none does. */
MUST_USE Err *trace_enable(const char *pattern, bool on);
/* The argument of -trace: [enable=]PATTERN (a '-' in front turns off), events=FILE of patterns. */
MUST_USE Err *trace_option(const char *arg);
void trace_each(void (*fn)(void *opaque, const TracePoint *p), void *opaque);      /* sorted by name */
char *trace_help(void);     /* all points there are; g_free it */

#endif
