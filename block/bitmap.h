/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps: which parts of a node were written since. A node's writes,
 * zeroes and discards set bits in each enabled bitmap of that node
 * (bitmap_mark, called by block/io.c before the request ends).
 *
 * In memory a bitmap is two levels: a bit for each granule, and a bit for each
 * word of those, so that finding the next dirty granule in a large, clean disk
 * costs little. Persistent bitmaps are stored by the format's driver when the
 * node closes or turns read-only.
 */
#ifndef BLOCK_BITMAP_H
#define BLOCK_BITMAP_H

#include "block/block.h"

struct DirtyBitmap {
    BlockNode *node;
    char *name;                 /* NULL: a job's own, not shown */
    uint64_t size;              /* bytes of the disk that it covers */
    uint32_t granularity;       /* bytes, power of two, 512 B .. 2 GiB */
    bool disabled, persistent, readonly, inconsistent;  /* inconsistent: "in use" when it was loaded; only removal helps */
    unsigned busy;              /* held by jobs and exports: neither changed nor removed */
    uint64_t *bits, *summary;   /* summary: a bit for each nonzero word of bits */
    uint64_t dirty;             /* granules */
    DirtyBitmap *next;          /* of the node */
};

#define BITMAP_NAME_MAX 1023

/* Granularity 0: the node's cluster size, at least 4 KiB, at most 64 KiB. name NULL: anonymous. */
MUST_USE Err *bitmap_new(BlockNode *n, const char *name, uint32_t granularity, DirtyBitmap **out);
/* What 0 as a granularity means. */
MUST_USE Err *bitmap_default_granularity(BlockNode *n, uint32_t *out);
void bitmap_free(DirtyBitmap *b);           /* in memory only */
/* Removes it from the image as well, when it is persistent. May yield. */
MUST_USE Err *bitmap_remove(BlockNode *n, const char *name);
DirtyBitmap *bitmap_find(BlockNode *n, const char *name);
/* Why it cannot be used for that, or NULL. */
typedef enum BitmapUse { BITMAP_USE_READ = 1, BITMAP_USE_WRITE = 2, BITMAP_USE_REMOVE = 4 } BitmapUse;
MUST_USE Err *bitmap_usable(const DirtyBitmap *b, unsigned use);

void bitmap_mark(DirtyBitmap *b, uint64_t off, uint64_t len);       /* whole granules that are touched */
void bitmap_unmark(DirtyBitmap *b, uint64_t off, uint64_t len);     /* whole granules inside, and a last partial one */
bool bitmap_get(const DirtyBitmap *b, uint64_t off);
/* The next dirty run at or after off: *off and *len, false if there is none before `end`. */
bool bitmap_next(const DirtyBitmap *b, uint64_t *off, uint64_t end, uint64_t *len);
void bitmap_clear(DirtyBitmap *b);
MUST_USE Err *bitmap_merge(DirtyBitmap *to, const DirtyBitmap *from);   /* granularities may differ */
/* Its bits alone, of no node, for bitmap_merge in another thread; NULL: out of memory. */
DirtyBitmap *bitmap_copy(const DirtyBitmap *b);
void bitmap_copy_free(DirtyBitmap *b);
uint64_t bitmap_dirty_bytes(const DirtyBitmap *b);
MUST_USE Err *bitmap_resized(DirtyBitmap *b, uint64_t size);

/* For formats: the bits of [off, off+len) as little-endian bytes, a bit for each granule, off a multiple of 8 granules. */
void bitmap_serialize(const DirtyBitmap *b, uint64_t off, uint64_t len, uint8_t *out);
void bitmap_deserialize(DirtyBitmap *b, uint64_t off, uint64_t len, const uint8_t *in);

#endif
