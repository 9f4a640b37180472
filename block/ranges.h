/* SPDX-License-Identifier: MIT */
/*
 * Ranges in use: who works on which bytes now. A range that is `alone` waits
 * until those that overlap it and came earlier have left, and those that come
 * later wait for it; others run side by side. Order of arrival decides, so
 * that nobody waits in a circle.
 *
 * Coroutines of one loop; zeroed memory is an empty set.
 */
#ifndef BLOCK_RANGES_H
#define BLOCK_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/co.h"

typedef struct Range {
    uint64_t off, end;              /* end: off + len */
    bool alone;
    struct Range *next, *prev;
    CoQueue waiting;                /* for this one to leave */
} Range;

typedef struct Ranges {
    Range *first, *last;            /* in order of arrival */
    unsigned alone;                 /* how many are */
} Ranges;

/* Joins, and waits for earlier ones as said above. `r` is the caller's, often on its stack. */
void range_enter(Ranges *all, Range *r, uint64_t off, uint64_t len, bool alone);
void range_leave(Ranges *all, Range *r);
/* Would range_enter have to wait? */
bool range_busy(const Ranges *all, uint64_t off, uint64_t len, bool alone);

#endif
