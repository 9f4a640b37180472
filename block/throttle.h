/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups: how much the nodes and disks of a group may do in a second,
 * together, in whatever threads they are.
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

typedef struct ThrottleLimits {
    ThrottleBucket b[THROTTLE_BUCKETS];
    uint64_t ops_size;          /* bytes that count as one operation; 0: any request is one */
} ThrottleLimits;

typedef struct ThrottleMember ThrottleMember;

/* ---- groups: of one machine, by name; any thread. They live as long as somebody has a hold */

ThrottleGroups *throttle_groups_new(void);
ThrottleGroups *throttle_groups_ref(ThrottleGroups *all);
void throttle_groups_unref(ThrottleGroups *all);        /* NULL is fine */
/* Takes a hold; one that is made by this has no limits. */
ThrottleGroup *throttle_group_get(ThrottleGroups *all, const char *name);
void throttle_group_put(ThrottleGroup *g);              /* NULL is fine */
const char *throttle_group_name(const ThrottleGroup *g);
void throttle_group_limits(ThrottleGroup *g, ThrottleLimits *out);
/* Other limits, from now on also for those that wait. */
MUST_USE Err *throttle_group_set(ThrottleGroup *g, const ThrottleLimits *l);
bool throttle_limits_any(const ThrottleLimits *l);      /* is anything limited? */
/* {"iops-total":100,..}: changes these, all or none. And all of them. */
MUST_USE Err *throttle_limits_set(ThrottleLimits *l, const json_t *o);
json_t *throttle_limits_json(const ThrottleLimits *l);

/* ---- members: the graph's thread */

/* Joins the group of that name (an object throttle-group), which is in use from then on. */
MUST_USE Err *throttle_join(BlockGraph *g, const char *group, ThrottleMember **out);
ThrottleMember *throttle_join_group(BlockGraph *graph, ThrottleGroup *g);
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
