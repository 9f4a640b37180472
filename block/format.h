/* SPDX-License-Identifier: MIT */
/*
 * What the simpler image formats share: bytes of either order, tables that
 * reach the file only after the data they point to, places that one request at
 * a time may allocate, reading through to the backing file, and writing a new
 * image's first bytes.
 */
#ifndef BLOCK_FORMAT_H
#define BLOCK_FORMAT_H

#include <glib.h>
#include <string.h>

#include "block/driver.h"

/* ---- numbers in files; any alignment */

static inline uint16_t ld_le16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t ld_le32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t ld_le64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline void st_le16(void *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void st_le32(void *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void st_le64(void *p, uint64_t v) { memcpy(p, &v, 8); }
static inline uint16_t ld_be16(const void *p) { return __builtin_bswap16(ld_le16(p)); }
static inline uint32_t ld_be32(const void *p) { return __builtin_bswap32(ld_le32(p)); }
static inline uint64_t ld_be64(const void *p) { return __builtin_bswap64(ld_le64(p)); }
static inline void st_be16(void *p, uint16_t v) { st_le16(p, __builtin_bswap16(v)); }
static inline void st_be32(void *p, uint32_t v) { st_le32(p, __builtin_bswap32(v)); }
static inline void st_be64(void *p, uint64_t v) { st_le64(p, __builtin_bswap64(v)); }
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the ld_ and st_ functions swap for big endian");

/* a / b, rounded up; a + b - 1 may overflow, this does not. */
static inline uint64_t div_up(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }
static inline uint64_t round_up(uint64_t a, uint64_t to) { return div_up(a, to) * to; }
static inline bool is_pow2(uint64_t v) { return v && !(v & (v - 1)); }

/* ---- tables whose changes wait for the data they point to */

/* No format's table is larger in memory. */
#define TABLE_MAX (UINT64_C(512) << 20)
#define TABLE_PAGE 4096u

/*
 * A table of the file, whole in memory. Entries are changed in `mem` once the
 * data they point to was written, and marked; table_sync writes what was marked
 * after making that data stable. So no crash leaves an entry without its data.
 */
typedef struct Table Table;
typedef struct TableRun { size_t off, len; uint8_t *copy; } TableRun;   /* whole pages, but for the table's last */
struct Table {
    BlockChild *file;
    uint64_t off;               /* of its first byte in the file */
    size_t bytes;
    uint8_t *mem;
    uint8_t *dirty;             /* a byte for each TABLE_PAGE of it */
    bool any;                   /* something is dirty */
    CoMutex syncing;
    /* Called between the two, with at most max_pages; NULL: nothing is. */
    int (*before)(Table *t, const TableRun *runs, unsigned n);
    unsigned max_pages;         /* 0: any number */
    void *opaque;
};

/* Reads it; what: its name in messages. The file must have all of it. */
MUST_USE Err *table_load(Table *t, BlockChild *file, uint64_t off, uint64_t bytes, const char *what);
void table_free(Table *t);
void table_mark(Table *t, size_t off, size_t len);
/* Data first, then the table. The caller's flush of the file makes the table stable. */
int table_sync(Table *t);

/* ---- one at a time for each place */

/* Zeroed memory is an empty set. */
typedef struct BusySet { struct Busy *first; } BusySet;
typedef struct Busy { uint64_t key; CoQueue waiting; struct Busy *next; } Busy;
/* Waits until nobody holds the key, then holds it. *b lives on the caller's stack until busy_end. */
void busy_begin(BusySet *set, Busy *b, uint64_t key);
void busy_end(BusySet *set, Busy *b);

/* ---- data */

/* Reads the header's backing file name, `len` bytes at `off` that the caller has checked, into n->backing_name. */
MUST_USE Err *backing_name_read(BlockNode *n, uint64_t off, uint32_t len);
/* From the backing node; zeroes beyond its end or where there is none. */
int backing_read(BlockNode *n, uint64_t off, const IoVec *q);

/*
 * Puts together what `one` says of neighbours: it answers for a part of what it
 * is asked for, at least one byte. An error is one only where nothing is known.
 */
int extent_join(BlockNode *n, uint64_t off, uint64_t len, Extent *out,
                int (*one)(BlockNode *n, uint64_t off, uint64_t len, Extent *out));

/* The bytes of an image's file, whose length is asked for once and then kept up to date. */
typedef struct Body {
    BlockChild *file;
    uint64_t end;
    CoMutex growing;
} Body;
void body_init(Body *s, BlockChild *file);
/* Zeroes beyond the end of the file, but -EIO where all is beyond: the image was cut. */
int body_read(Body *s, uint64_t off, const IoVec *q);
int body_write(Body *s, uint64_t off, const IoVec *q, unsigned flags);
/* Makes [off, off+len) read as zeroes and the file long enough; off is where nothing lies yet. */
int body_fresh(Body *s, uint64_t off, uint64_t len);

/* ---- tables of images that are only read */

/* Pages of a file, the latest 1024 of them. Zeroed memory is an empty one. */
typedef struct PageCache {
    GHashTable *pages;          /* number -> bytes */
    GQueue order;               /* numbers, the oldest first */
} PageCache;
/* len bytes at off, within one TABLE_PAGE; -EIO where the file has none. */
int page_read(PageCache *c, BlockChild *file, uint64_t off, void *out, size_t len);
void page_cache_free(PageCache *c);

/* ---- creating */

/* A hold on the empty file that an image shall be; its size is `size` at once, all zero. */
MUST_USE Err *maker_open(BlockNode *file, uint64_t size, Disk **out);
/* Writes; the file grows as needed. */
MUST_USE Err *maker_put(Disk *d, uint64_t off, const void *buf, size_t len);
/* Flushes and lets go, also after an error, which it passes through. */
MUST_USE Err *maker_close(Disk *d, Err *e);

void random_bytes(void *out, size_t len);

#endif
