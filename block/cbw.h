/* SPDX-License-Identifier: MIT */
/*
 * copy-before-write: a filter that keeps what its node held when the filter was
 * put in. Before a place is written to for the first time, what it held goes to
 * the target. A backup copies the rest by and by; snapshot-access reads from
 * both sides what was there.
 */
#ifndef BLOCK_CBW_H
#define BLOCK_CBW_H

#include "block/driver.h"

typedef struct Cbw Cbw;

/* NULL: the node is not such a filter. */
Cbw *cbw_of(BlockNode *n);
/* What has not been copied yet. A job takes away what it does not want (cbw_forget). */
DirtyBitmap *cbw_todo(Cbw *c);
/* Copies what is still to be copied of these bytes. The caller holds a Disk of the filter (disk_hold), or is a request of it. */
int cbw_copy(Cbw *c, uint64_t off, uint64_t len, bool *read_failed);
int cbw_broken(const Cbw *c);            /* -errno since which a copy is missing, or 0 */
uint64_t cbw_copied(const Cbw *c);      /* bytes that were written to the target */
/* Whole granules of these bytes are wanted no more: neither copied nor read by snapshot-access. */
void cbw_forget(Cbw *c, uint64_t off, uint64_t len);
/* Only what is set in `wanted` is kept; before the first request. */
MUST_USE Err *cbw_restrict(Cbw *c, const DirtyBitmap *wanted);
void cbw_compress(Cbw *c, bool on);     /* copies are compressed; before the first request */

/* For snapshot-access. */
int cbw_read(Cbw *c, uint64_t off, const IoVec *q);
int cbw_extent(Cbw *c, uint64_t off, uint64_t len, Extent *out);

#endif
