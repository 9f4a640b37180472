/* SPDX-License-Identifier: MIT */
/*
 * What a Disk's owner may ask later: how many requests there were, how large, how
 * long they took. Counted by disk_read and its kin (block/disk.c) in the graph's
 * loop, which is where to look at it, too; `invalid` by the device, in any thread.
 */
#ifndef BLOCK_STATS_H
#define BLOCK_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroes are writes. */
typedef enum DiskOp { DISK_OP_READ, DISK_OP_WRITE, DISK_OP_FLUSH, DISK_OP_UNMAP, DISK_OPS } DiskOp;
extern const char *const disk_op_names[DISK_OPS];       /* "rd", "wr", "flush", "unmap" */

enum { HISTOGRAM_MOST = 1024 };

/* How many took how long: bins[i] counts those from bounds[i - 1] to below bounds[i]; n bounds, n + 1 bins. */
typedef struct Histogram { unsigned n; uint64_t *bounds, *bins; } Histogram;    /* ns; n 0: not wanted */

typedef struct DiskStats {
    uint64_t ops[DISK_OPS], bytes[DISK_OPS], failed[DISK_OPS], merged[DISK_OPS];
    uint64_t ns[DISK_OPS];              /* of all, also of those that failed */
    _Atomic uint64_t invalid[DISK_OPS]; /* made no sense, so that the disk never saw them */
    int64_t last;                       /* loop_now of the latest end; 0: there was none */
    Histogram histogram[DISK_OPS];
} DiskStats;

void disk_stats_add(DiskStats *s, DiskOp op, uint64_t bytes, int64_t began, int ret);
/* A request that ended well stood for n more of the guest's. */
static inline void disk_stats_merged(DiskStats *s, DiskOp op, unsigned n)
{
    s->ops[op] += n;
    s->merged[op] += n;
}
static inline void disk_stats_invalid(DiskStats *s, DiskOp op)
{
    atomic_fetch_add_explicit(&s->invalid[op], 1, memory_order_relaxed);
}
/* bounds: rising, none 0, at most HISTOGRAM_MOST; NULL: no histogram any more. The counts begin anew. */
void histogram_set(Histogram *h, const uint64_t *bounds, unsigned n);
void disk_stats_clear(DiskStats *s);

#endif
