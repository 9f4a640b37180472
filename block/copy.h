/* SPDX-License-Identifier: MIT */
/*
 * The engine of convert, dd, commit, backup and mirror: copies a range of one
 * disk to another, many requests side by side in one loop. What a layer or the
 * host says is a hole or zero is never read; what was read is looked through
 * for zeroes while it is in the cache; formats compress in worker threads.
 *
 * A Copy is what its requests share: buffers, counters, the limit of speed.
 * Either copy_run does all of [off, off + len), or a job says which ranges by
 * copy_range, from as many coroutines as it likes (those for whom there is no
 * buffer wait).
 */
#ifndef BLOCK_COPY_H
#define BLOCK_COPY_H

#include "block/driver.h"

typedef struct CopyStats {
    uint64_t done, total;           /* bytes of the range, whatever became of them */
    uint64_t read, written;         /* bytes of data that went from and to the disks (written: before compression) */
    uint64_t saved;                 /* bytes that were neither: holes, zeroes, left to the backing file, cloned */
    uint64_t lost;                  /* salvage: bytes that could not be read */
} CopyStats;

typedef struct CopyConfig {
    Disk *from, *to;                /* borrowed */
    BlockChild *from_child, *to_child;      /* instead of them, for filters: requests that no drain holds back */
    uint64_t off, len, to_off;      /* len: cut at the end of `from`; 0 is nothing to do, UINT64_MAX all */
    /*
     * above: what lies in layers over `base` alone; the rest is left as it is
     * in the target (base NULL: over the end of the chain, what no layer has).
     */
    bool above;
    BlockNode *base;
    unsigned workers;               /* requests in flight; 0: chosen */
    uint32_t chunk;                 /* bytes of each; 0: chosen */
    bool in_order;                  /* writes begin in the order of their offsets */
    bool compress;                  /* the target's format compresses whole clusters */
    bool target_is_zero;            /* all of the range reads as zero there already: zeroes need no write */
    uint32_t sparse;                /* runs of zeroes of at least this become holes; 0: everything is written */
    bool skip_zero_detection;       /* believe extents alone */
    bool offload;                   /* let the host copy (reflink, copy_file_range) where it can; no zero detection there */
    bool salvage;                   /* what cannot be read becomes zeroes */
    uint64_t rate;                  /* bytes per second; 0: no limit */
    unsigned read_flags, write_flags, zero_flags;   /* ReqFlags added to each; zero_flags REQ_UNMAP: may unmap */
    const bool *cancel;             /* set by the caller (a signal, say): copy_run returns -ECANCELED soon; may be NULL */
    void (*progress)(void *opaque, const CopyStats *s);     /* after each chunk, often; may be NULL */
    void (*read_error)(void *opaque, uint64_t off, uint64_t len, int error);    /* salvage; may be NULL */
    void *opaque;
} CopyConfig;

typedef struct Copy Copy;

/* As read by most: all of from to the same place, -S 4k. */
CopyConfig copy_defaults(Disk *from, Disk *to);

MUST_USE Err *copy_new(const CopyConfig *c, Copy **out);
void copy_free(Copy *c);            /* NULL is fine; no request may be running */
const CopyStats *copy_stats(const Copy *c);
/* Which request failed, for the message: in the source (or else the target), at which offset of it. */
bool copy_failed_reading(const Copy *c, uint64_t *off);

/* The whole range. 0, -ECANCELED or the first -errno; then nothing is running any more. Does not flush. */
int copy_run(Copy *c);
/* A part of it (any bytes of `from`): done when it returns. *read_failed says where an error came from; may be NULL. */
int copy_range(Copy *c, uint64_t off, uint64_t len, bool *read_failed);

#endif
