/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what the files of the check share. The check walks all that names
 * clusters, counts, and compares with the refcounts that the image has:
 *
 *   1  check_names    header, tables, L1 tables: what metadata there is
 *   2  check_entries  each L2 table once, however many snapshots share it
 *   3  check_compare  counts and copied flags against refcount blocks
 *
 * A repair mends refcounts first (in place, or all structures anew), then
 * flags, then the snapshot table, for which clusters are allocated.
 */
#ifndef BLOCK_QCOW2_CHECK_PRIV_H
#define BLOCK_QCOW2_CHECK_PRIV_H

#include "block/qcow2/qcow2.h"
#include "block/qcow2/snapshot.h"

/*
 * A byte for each cluster, in pages that are made when a cluster of theirs is
 * counted. Bits 0-5: references, COUNTS_FULL and more are in a table beside;
 * bits 6, 7: an active L2 entry names it with the copied flag, without.
 */
typedef struct Counts {
    uint8_t **pages;
    uint64_t n_pages, end;              /* end: the highest cluster that was counted, + 1 */
    GHashTable *large;                  /* cluster -> uint64_t: references over COUNTS_FULL */
} Counts;
enum { COUNTS_PAGE_BITS = 16, COUNTS_FULL = 63, COUNTS_COPIED = 64, COUNTS_NOT_COPIED = 128 };
#define COUNTS_PAGE (UINT64_C(1) << COUNTS_PAGE_BITS)

/* What a cluster is used for; bits. */
typedef enum CheckUse {
    USE_HEADER = 1, USE_L1 = 2, USE_L2 = 4, USE_REFTABLE = 8, USE_REFBLOCK = 16, USE_SNAPSHOTS = 32,
    USE_SNAPSHOT_L1 = 64, USE_BITMAPS = 128, USE_CRYPT = 256, USE_DATA = 512,
} CheckUse;

/* A cluster of metadata. A set of them is a hash by cluster, open addressing; cluster 0 has the key 1. */
typedef struct CheckMeta {
    uint64_t key;                       /* cluster + 1; 0: free */
    uint32_t refs, l2_refs, rc_refs;    /* as metadata; of those, as L2 table, as part of the refcounts */
    uint16_t uses;
    bool walked;
} CheckMeta;
typedef struct CheckMetaSet { CheckMeta *slot; size_t slots, used; } CheckMetaSet;

typedef struct Check {
    Qcow2 *s;
    CheckResult *r;
    unsigned fix;                       /* CheckFix */
    uint64_t file_len, clusters;        /* of the file */
    Counts counts;
    CheckMetaSet meta;
    uint8_t *bad_block;                 /* a bit for each refcount block that is not where one can be */
    int64_t bad_structures;             /* corruptions of the refcount table and its blocks */
    int64_t bad_counts;                 /* corruptions that are refcounts too low, and can be mended */
    bool rebuild;                       /* the refcount structures cannot be mended in place */
    bool blind;                         /* something could not be followed: what looks leaked may be in use */
    bool flags_differ;                  /* somewhere */
    bool entries_bad;                   /* some L2 entries are wrong in a way that can be mended */
    uint64_t next_contiguous;           /* fragmentation */
    Qcow2SnapshotFaults faults;
    int64_t bitmaps_bad;                /* corruptions in what bitmaps have in the file */
    bool snapshots_rewrite;             /* the snapshot table in memory is better than the one in the file */
} Check;

/* A line of the report, without a newline. */
void check_say(Check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for something that is wrong, counted as a corruption. */
void check_bad(Check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- check_counts.c */
int counts_init(Counts *c, uint64_t clusters);      /* 0 or -ENOMEM; the highest number that may be counted */
void counts_free(Counts *c);
/* k more references for n clusters; `marks`: COUNTS_COPIED, COUNTS_NOT_COPIED or 0. 0 or -ENOMEM. */
int counts_add(Counts *c, uint64_t first, uint64_t n, uint64_t k, uint8_t marks);
uint64_t counts_get(const Counts *c, uint64_t cluster);
static inline uint8_t counts_byte(const Counts *c, uint64_t cluster)
{
    uint64_t p = cluster >> COUNTS_PAGE_BITS;

    return p < c->n_pages && c->pages[p] ? c->pages[p][cluster & (COUNTS_PAGE - 1)] : 0;
}
CheckMeta *meta_find(const CheckMetaSet *t, uint64_t cluster);      /* NULL: no metadata */
int meta_add(CheckMetaSet *t, uint64_t cluster, CheckUse use);      /* 0 or -ENOMEM */
void meta_free(CheckMetaSet *t);

/* ---- check_walk.c */
int check_names(Check *c);
int check_entries(Check *c);
/* One more reference to metadata in [off, off+len). */
int check_ref(Check *c, CheckUse use, uint64_t off, uint64_t len);
/* k more references to guest data. */
int check_ref_data(Check *c, uint64_t off, uint64_t len, uint64_t k, uint8_t marks);

/* ---- check_refblocks.c */
/* The refcount table and its blocks as metadata; what is wrong with them. */
int check_refcount_structures(Check *c);
/* Refcounts against counts. report: findings are told and counted; else they are mended as c->fix says. */
int check_compare(Check *c, bool report);

/* A refcount block of the file, NULL where there is none that makes sense; valid until the next call. */
int check_block(Check *c, uint64_t rb, const void **out);
/* A refcount as the file has it. */
int check_refcount(Check *c, uint64_t cluster, uint64_t *out);
/* May repair write to these clusters: are they that alone, but for other owners of the same kind? Says so if not. */
bool check_may_write(Check *c, CheckUse use, uint64_t off, uint64_t len);

/* ---- check_flags.c */
/* Copied flags of the active tables against refcounts; mended if c->fix says so. */
int check_flags(Check *c);

/* ---- check_rebuild.c */
/* All refcount structures anew, beside the old ones; one write of the header switches to them. */
int check_rebuild(Check *c);

#endif
