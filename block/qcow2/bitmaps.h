/* SPDX-License-Identifier: MIT */
/* qcow2: the directory of persistent dirty bitmaps, as it lies in the file. */
#ifndef BLOCK_QCOW2_BITMAPS_H
#define BLOCK_QCOW2_BITMAPS_H

#include "block/qcow2/qcow2.h"

enum { QCOW2_BITMAP_IN_USE = 1, QCOW2_BITMAP_AUTO = 2, QCOW2_BITMAP_EXTRA_OK = 4, QCOW2_BITMAP_KNOWN = 7 };
enum { QCOW2_BITMAP_MAX_BYTES = 512 << 20 };        /* of one bitmap's data */
#define QCOW2_BITMAP_OFFSET   UINT64_C(0x00fffffffffffe00)
#define QCOW2_BITMAP_RESERVED UINT64_C(0xff000000000001fe)
#define QCOW2_BITMAP_ONES     UINT64_C(1)

typedef struct Qcow2Bitmap {
    char *name;
    uint64_t table;                 /* offset of the bitmap table */
    uint32_t entries, flags;        /* entries: of the table */
    uint8_t type, bits;             /* bits: log2 of the granularity */
    uint32_t extra_len;
    uint8_t *extra;                 /* kept */
} Qcow2Bitmap;

void qcow2_bitmap_entry_free(void *bitmap);
void qcow2_bitmap_list_free(GPtrArray *list);
/* Of Qcow2Bitmap; empty where there are none. qcow2_bitmap_list_free it. */
MUST_USE Err *qcow2_bitmap_list_read(Qcow2 *s, GPtrArray **out);
/* The directory's bytes; NULL: too many or memory is short. */
uint8_t *qcow2_bitmap_list_print(const GPtrArray *list, size_t *len);
Qcow2Bitmap *qcow2_bitmap_list_find(const GPtrArray *list, const char *name);
/* Why this cannot be used as it is described: NULL if it can. */
MUST_USE Err *qcow2_bitmap_judge(Qcow2 *s, const Qcow2Bitmap *b);
/* The table in host byte order; free it. *out NULL when it has no entries. */
MUST_USE Err *qcow2_bitmap_table(Qcow2 *s, const Qcow2Bitmap *b, uint64_t **out);
/* Clusters of data that a bitmap of that granularity has. */
uint64_t qcow2_bitmap_clusters(uint64_t disk, unsigned bits, uint32_t cluster_size);

/* For check -r: entries that make no sense are dropped, all of them if the directory cannot be read. In bitmaps.c. */
MUST_USE Err *qcow2_bitmaps_drop_bad(Qcow2 *s, unsigned *dropped);
/*
 * For check: calls `ref` with everything in the file that bitmaps take, and
 * `fault` with what is wrong about them. -errno of ref.
 */
int qcow2_bitmaps_names(Qcow2 *s, int (*ref)(void *opaque, uint64_t off, uint64_t len),
                        void (*fault)(void *opaque, const char *what), void *opaque);

#endif
