/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: how much the nodes of a group may do in a second, together.
 *
 * Six buckets (operations and bytes; all, reads, writes). What is done fills
 * them, time empties them at the rate `avg`. A request may start while no
 * bucket that concerns it is over its brim; the brim is a tenth of a second's
 * worth, or `max_length` seconds at the rate `max` where bursts are allowed.
 */
#ifndef BLOCK_THROTTLE_H
#define BLOCK_THROTTLE_H

#include "block/block.h"
#include "block/objects.h"

typedef struct ThrottleBucket {
    uint64_t avg, max;          /* per second; max 0: no bursts */
    uint32_t length;            /* seconds that a burst may last */
    double level, burst;        /* what is in it; burst: above `max` within a tenth of a second */
} ThrottleBucket;

enum { THROTTLE_BPS_TOTAL, THROTTLE_BPS_READ, THROTTLE_BPS_WRITE,
       THROTTLE_OPS_TOTAL, THROTTLE_OPS_READ, THROTTLE_OPS_WRITE, THROTTLE_BUCKETS };

typedef struct ThrottleMember ThrottleMember;
typedef struct ThrottleGroup ThrottleGroup;

/* Joins the group of that name (an object throttle-group), which is in use from then on. */
MUST_USE Err *throttle_join(BlockGraph *g, const char *group, ThrottleMember **out);
void throttle_leave(ThrottleMember *m);     /* nobody waits any more; NULL is fine */
/* Waits until the request may start. */
void throttle_wait(ThrottleMember *m, bool write, uint64_t bytes);
/* on: nobody of this member waits, now and until off. */
void throttle_pass(ThrottleMember *m, bool on);

/* The machinery of the rates alone, for tests: what a request adds, and how many nanoseconds until one may start. */
void throttle_fill(ThrottleBucket *b, bool write, uint64_t bytes, uint64_t ops_size);
void throttle_leak(ThrottleBucket *b, int64_t ns);
int64_t throttle_due(const ThrottleBucket *b, bool write);
MUST_USE Err *throttle_check(const ThrottleBucket *b, uint64_t ops_size);

#endif
