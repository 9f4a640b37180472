/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what the files of block/qcow2/ share. The format is that of the
 * specification docs/interop/qcow2.txt; on disk all numbers are big-endian.
 *
 * How metadata gets to the disk (the crash argument; docs/block.md has it at
 * length). Everything is changed in memory first: refcount blocks and L2 slices
 * in two caches, the L1 table and the refcount table whole. qcow2_write_metadata
 * takes a copy of what is dirty at one moment T and writes it in this order:
 *
 *      refcount blocks | refcount table | barrier | L2 slices, L1 table
 *
 * with a barrier between the first two when the table changed, too. A barrier
 * (child_flush) also makes stable all data, zeroed tables and copies that were
 * written before T, so that no entry ever points to what is not there. With
 * lazy refcounts the dirty bit stands in for the first two.
 *
 * Nothing is ever decremented before what it counted is gone: qcow2_free only
 * notes the range. After the L2 and L1 entries of T and a further barrier, and
 * when every request that was running then has ended (it might still read or
 * write the cluster), the refcount is lowered in memory, and only then may the
 * cluster be allocated again. So any prefix, and any reordering between two
 * barriers, leaves at worst leaked clusters, with lazy refcounts as well.
 *
 * Coroutines of one loop: state is consistent wherever a function may yield.
 * Lock order: exclusive section > table_lock > alloc_lock > write_lock.
 */
#ifndef BLOCK_QCOW2_QCOW2_H
#define BLOCK_QCOW2_QCOW2_H

#include <endian.h>
#include <glib.h>
#include <inttypes.h>

#include "block/bitmap.h"
#include "block/driver.h"

/* ---- on disk */

#define QCOW2_MAGIC 0x514649fbu                     /* "QFI\xfb" */

typedef struct Qcow2Header {                        /* naturally aligned as it lies in the file */
    uint32_t magic, version;
    uint64_t backing_offset;
    uint32_t backing_size, cluster_bits;
    uint64_t size;
    uint32_t crypt_method, l1_size;
    uint64_t l1_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters, nb_snapshots;
    uint64_t snapshots_offset;                      /* version 2 ends after this, at 72 */
    uint64_t incompatible, compatible, autoclear;
    uint32_t refcount_order, header_length;         /* version 3 has at least these, 104 */
    uint8_t compression_type, padding[7];
} Qcow2Header;
_Static_assert(sizeof(Qcow2Header) == 112, "fields lie where the specification puts them");

enum { QCOW2_V2_LENGTH = 72, QCOW2_V3_LENGTH = 104 };

#define QCOW2_INCOMPAT_DIRTY        (UINT64_C(1) << 0)
#define QCOW2_INCOMPAT_CORRUPT      (UINT64_C(1) << 1)
#define QCOW2_INCOMPAT_DATA_FILE    (UINT64_C(1) << 2)
#define QCOW2_INCOMPAT_COMPRESSION  (UINT64_C(1) << 3)
#define QCOW2_INCOMPAT_EXTENDED_L2  (UINT64_C(1) << 4)
#define QCOW2_INCOMPAT_KNOWN        UINT64_C(0x1f)
#define QCOW2_COMPAT_LAZY           (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_BITMAPS     (UINT64_C(1) << 0)
#define QCOW2_AUTOCLEAR_RAW         (UINT64_C(1) << 1)
#define QCOW2_AUTOCLEAR_KNOWN       UINT64_C(3)

enum { QCOW2_CRYPT_NONE, QCOW2_CRYPT_AES, QCOW2_CRYPT_LUKS };
enum { QCOW2_ZLIB, QCOW2_ZSTD };

enum {                                              /* header extensions */
    QCOW2_EXT_END = 0,
    QCOW2_EXT_BACKING_FORMAT = 0xe2792aca,
    QCOW2_EXT_FEATURES = 0x6803f857,
    QCOW2_EXT_BITMAPS = 0x23852875,
    QCOW2_EXT_CRYPT = 0x0537be77,
    QCOW2_EXT_DATA_FILE = 0x44415441,
};

typedef struct Qcow2ExtBitmaps {
    uint32_t nb_bitmaps, reserved;
    uint64_t directory_size, directory_offset;
} Qcow2ExtBitmaps;
typedef struct Qcow2ExtCrypt { uint64_t offset, length; } Qcow2ExtCrypt;
typedef struct Qcow2Feature { uint8_t type, bit; char name[46]; } Qcow2Feature;    /* type 0 incompatible, 1 compatible, 2 autoclear */

/* L1, L2 and refcount table entries. */
#define QCOW2_COPIED        (UINT64_C(1) << 63)     /* the refcount is exactly 1 (active tables) */
#define QCOW2_COMPRESSED    (UINT64_C(1) << 62)
#define QCOW2_ZERO          (UINT64_C(1) << 0)      /* version 3, without subclusters */
#define QCOW2_L1_OFFSET     UINT64_C(0x00fffffffffffe00)
#define QCOW2_L1_RESERVED   UINT64_C(0x7f000000000001ff)
#define QCOW2_L2_OFFSET     UINT64_C(0x00fffffffffffe00)
#define QCOW2_L2_RESERVED   UINT64_C(0x3f000000000001fe)    /* standard clusters */
#define QCOW2_RT_OFFSET     UINT64_C(0xfffffffffffffe00)
#define QCOW2_RT_RESERVED   UINT64_C(0x1ff)
#define QCOW2_MAX_HOST      (UINT64_C(1) << 56)     /* no cluster that L1 or L2 entries name lies beyond */
#define QCOW2_SUBCLUSTERS   32
#define QCOW2_SUB_ALL_ALLOC UINT64_C(0x00000000ffffffff)
#define QCOW2_SUB_ALL_ZERO  UINT64_C(0xffffffff00000000)

/* Limits: QEMU's, so that each opens what the other made. */
enum {
    QCOW2_MIN_CLUSTER_BITS = 9, QCOW2_MAX_CLUSTER_BITS = 21,
    QCOW2_MAX_L1_BYTES = 32 << 20, QCOW2_MAX_RT_BYTES = 8 << 20,
    QCOW2_MAX_SNAPSHOTS = 65536, QCOW2_MAX_SNAPSHOT_TABLE = 1024 * 65536,
    QCOW2_MAX_SNAPSHOT_EXTRA = 1024, QCOW2_MAX_BITMAPS = 65535, QCOW2_MAX_BITMAP_DIRECTORY = 1024 * 65535,
    QCOW2_MAX_NAME = 1023,
};

/* ---- in memory */

typedef struct Qcow2 Qcow2;
typedef struct Qcow2Cache Qcow2Cache;
typedef struct Qcow2Crypt Qcow2Crypt;

/* A cached piece of metadata: an L2 slice or a refcount block. Pinned from get to put. */
typedef struct Qcow2Entry {
    void *data;                     /* cache->entry_size bytes, as on disk */
    uint64_t off;                   /* host offset */
    uint64_t dirty;                 /* a bit for each 1/64 of it */
    unsigned pins;
    bool loading, used;             /* used: since the clock's hand passed */
    struct Qcow2Entry *chain;       /* of the hash */
} Qcow2Entry;

/* An unknown header extension, kept. */
typedef struct Qcow2UnknownExt {
    uint32_t type, len;
    struct Qcow2UnknownExt *next;
    uint8_t data[];
} Qcow2UnknownExt;

typedef struct Qcow2Snapshot {      /* as in the snapshot table */
    uint64_t l1_offset;
    uint32_t l1_size;
    char *id, *name;
    uint64_t disk_size, vm_state_size;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec, icount;
    uint32_t unknown_extra_len;     /* bytes after what is known, kept */
    uint8_t *unknown_extra;
} Qcow2Snapshot;

/* Kinds of metadata of the overlap check; bits of Qcow2.overlap. */
enum {
    QCOW2_OL_HEADER = 1, QCOW2_OL_ACTIVE_L1 = 2, QCOW2_OL_ACTIVE_L2 = 4, QCOW2_OL_REFCOUNT_BLOCK = 8,
    QCOW2_OL_REFCOUNT_TABLE = 16, QCOW2_OL_SNAPSHOT_TABLE = 32, QCOW2_OL_INACTIVE_L1 = 64,
    QCOW2_OL_INACTIVE_L2 = 128, QCOW2_OL_BITMAP_DIRECTORY = 256,
    QCOW2_OL_CONSTANT = 1 | 2 | 16 | 32 | 256, QCOW2_OL_CACHED = QCOW2_OL_CONSTANT | 4 | 8 | 64, QCOW2_OL_ALL = 511,
};

/* Who frees a cluster: which pass-discard-* decides whether the file is told. */
typedef enum Qcow2Free { QCOW2_FREE_NEVER, QCOW2_FREE_REQUEST, QCOW2_FREE_SNAPSHOT, QCOW2_FREE_OTHER, QCOW2_FREE_ALWAYS } Qcow2Free;

/* Host clusters that hold metadata: a bit for each, in words of 64 clusters that hash by their number. */
typedef struct Qcow2ClusterSet { uint64_t *keys, *masks; size_t slots, used; } Qcow2ClusterSet;

/* A request that runs; lives in its coroutine. In order of beginning, so the first is the oldest. */
typedef struct Qcow2Request { uint64_t seq; struct Qcow2Request *prev, *next; } Qcow2Request;

struct Qcow2 {
    BlockNode node;

    /* Options, as given (driver.c's table); NULL or 0: not given. */
    char *lazy_opt, *overlap_opt, *overlap_template;
    char *overlap_kind[9];                          /* by bit number of QCOW2_OL_* */
    char *pass_discard_request, *pass_discard_snapshot, *pass_discard_other;
    uint64_t cache_size, l2_cache_size, l2_entry_size, refcount_cache_size, cache_clean_interval;
    char *encrypt_format, *encrypt_key_secret;

    /* The header: host byte order; what is derived from it below. */
    Qcow2Header header;
    char *bad_table;                                /* why the refcount table was ignored (OPEN_CHECK), or NULL */
    uint8_t *header_tail;                           /* fields beyond our struct, kept: header_length - 112 bytes */
    Qcow2UnknownExt *unknown_exts;
    Qcow2Feature *features; unsigned nb_features;   /* of the image; for messages */
    bool write_features;                            /* the image has a feature name table */
    char *data_file_name;                           /* header extension, or NULL */
    Qcow2ExtBitmaps bitmaps_ext;                    /* nb_bitmaps 0: none */
    Qcow2ExtCrypt crypt_ext;                        /* length 0: none */

    unsigned cluster_bits, sub_bits;                /* sub_bits: of a subcluster, cluster_bits without them */
    uint32_t cluster_size;
    bool extended;                                  /* extended L2 entries */
    unsigned l2_entry_bytes;                        /* 8 or 16 */
    unsigned l2_bits;                               /* log2 of entries of an L2 table */
    unsigned slice_bits;                            /* log2 of entries of an L2 slice */
    unsigned refcount_bits, rb_bits;                /* bits of a refcount; log2 of refcounts in a block */
    uint64_t refcount_max;
    unsigned csize_shift;                           /* compressed descriptors: where the sector count begins */
    uint64_t csize_mask, coffset_mask;

    bool lazy;                                      /* lazy refcounts are on */
    bool signaled_corruption, stopped;              /* said so; stopped: a write would have hit metadata, no more writes */
    unsigned overlap;                               /* QCOW2_OL_* that are looked at */
    bool discard_pass[5];                           /* by Qcow2Free */
    bool raw_data;                                  /* autoclear bit 1 holds */
    BlockChild *data;                               /* guest data: node.file, or the external data file */
    bool was_dirty;                                 /* the dirty bit was set by somebody else, and nothing was repaired */
    bool opened;                                    /* open came to its end: close has caches to write */

    /* Tables. The L1 table is whole in memory; entries in host byte order. */
    uint64_t *l1;
    uint32_t l1_alloc;                              /* entries that l1 has room for */
    uint64_t *l1_dirty;                             /* a bit for each 512 bytes (64 entries) of the table */
    bool l1_any_dirty;
    uint64_t *rt;                                   /* refcount table, loaded when first needed (qcow2_refcount_load) */
    uint32_t rt_size;                               /* its entries */
    uint32_t rt_on_disk;                            /* those of the file's table; fewer while it grows */
    uint64_t *rt_dirty;                             /* as l1_dirty */
    bool rt_any_dirty;

    Qcow2Cache *l2_cache, *rb_cache;
    Alarm clean_alarm;
    CoMutex alloc_lock;                             /* refcounts: find and take in one piece */
    CoMutex table_lock;                             /* making L2 tables, growing the L1 table */
    CoMutex mark_lock;                              /* feature bits on their way to the disk */
    CoMutex write_lock;                             /* qcow2_write_metadata and what moves tables */

    /* Allocation (refcount.c). */
    uint64_t free_hint;                             /* no free cluster has a lower number */
    uint64_t fresh;                                 /* clusters from this number on were never written: they read as zero */
    uint64_t byte_off;                              /* where the next compressed cluster may go on; 0: a new cluster */
    uint64_t reserved, reserved_end;                /* clusters that an allocation under way has chosen */
    GArray *freed, *freed_stable;                   /* Qcow2Freed: still named on disk; named no more, waiting for requests */
    uint64_t freed_clusters;                        /* in both */
    bool reclaiming;

    /* Requests in flight. */
    Qcow2Request *req_first, *req_last;
    uint64_t req_seq;
    unsigned meta_running;                          /* flushes and the like, which touch no guest data */
    CoQueue req_idle, req_resume;
    unsigned exclusive;                             /* a section runs or waits to begin */
    struct Qcow2Alloc *allocs;                      /* writes that will change L2 entries (cluster.c) */

    /* Metadata for the overlap check, collected at the first write. */
    bool sets_valid;
    Qcow2ClusterSet set_fixed, set_l2, set_rb, set_inactive;    /* fixed: L1 tables of snapshots */

    Qcow2Snapshot *snapshots;                       /* header.nb_snapshots of them */
    uint64_t snapshots_bytes;                       /* length of the table in the file */
    Qcow2Crypt *crypt;                              /* NULL: not encrypted, or no key asked for */
    void *zeroes;                                   /* a cluster of them, made when needed */
    int laid_out;                                   /* of clusters before they were written: 1, -1: no, 0: not known (info.c) */
    uint64_t data_end;                              /* s->data is at least this long */
    uint8_t *unpacked; uint64_t unpacked_entry;     /* the compressed cluster read last, and its entry; 0: none */
    struct Qcow2Press *presses;                     /* idle compressors (packed.c) */
    unsigned presses_out;                           /* at work */
    CoQueue press_wanted;
};

static inline Qcow2 *qcow2_of(BlockNode *n) { return (Qcow2 *)n; }
static inline bool qcow2_has_data_file(const Qcow2 *s) { return s->header.incompatible & QCOW2_INCOMPAT_DATA_FILE; }
static inline uint64_t qcow2_cluster_up(const Qcow2 *s, uint64_t off)
{
    return (off + s->cluster_size - 1) & ~(uint64_t)(s->cluster_size - 1);
}
static inline uint32_t qcow2_in_cluster(const Qcow2 *s, uint64_t off) { return off & (s->cluster_size - 1); }
/* Bytes of the disk that one L2 table describes: as a shift. */
static inline unsigned qcow2_l1_shift(const Qcow2 *s) { return s->cluster_bits + s->l2_bits; }

/* ---- corruption and messages (corrupt.c) */

/*
 * Says what is wrong with the image, once, on stderr. fatal (a write would hit
 * metadata): the corrupt bit is set and flushed, and the node refuses further
 * writes. Returns -EIO. `off`: the host offset that the message speaks of.
 */
int qcow2_corrupt(Qcow2 *s, bool fatal, uint64_t off, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The same for control paths: an Err that names the offset and what to run. */
MUST_USE Err *qcow2_bad(Qcow2 *s, uint64_t off, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/*
 * Would a write to [off, off+len) of the file hit metadata, kinds in `except`
 * left out? 0, or -EIO after qcow2_corrupt. Every write of the driver passes here.
 */
int qcow2_check_overlap(Qcow2 *s, unsigned except, uint64_t off, uint64_t len);
/* Tables were moved, freed or read anew: what the check knows is collected again. */
void qcow2_overlap_changed(Qcow2 *s);
void qcow2_overlap_add_l2(Qcow2 *s, uint64_t off);      /* one more cluster, when the sets are there */
void qcow2_overlap_add_rb(Qcow2 *s, uint64_t off);

/* ---- header (header.c) */

/* Reads and checks header and extensions; fills all that is derived. */
MUST_USE Err *qcow2_read_header(Qcow2 *s, unsigned flags);
void qcow2_free_header(Qcow2 *s);
/* Host byte order <-> file. */
void qcow2_header_swap(Qcow2Header *h);
/* Derived fields from s->header: sizes, shifts, masks. */
void qcow2_derive(Qcow2 *s);
/* Writes header and extensions anew from `s` (fields, node.backing_name, backing_format, ..), in place, in cluster 0. */
MUST_USE Err *qcow2_update_header(Qcow2 *s);
/* The same bytes into memory of cluster_size, for a file that is being made: s needs header, node names, sizes. */
MUST_USE Err *qcow2_header_bytes(Qcow2 *s, uint8_t *bytes, size_t *len);
/* Writes bytes [from, to) of the fixed header from s->header: one write, for switching tables. No barrier. */
int qcow2_write_fields(Qcow2 *s, size_t from, size_t to);
/* Feature bits: changed in the header, written and flushed; 0 or -errno. Fine when they are so already. */
int qcow2_mark_dirty(Qcow2 *s);
int qcow2_mark_clean(Qcow2 *s);         /* after refcounts are written */
int qcow2_mark_corrupt(Qcow2 *s);
int qcow2_mark_consistent(Qcow2 *s);    /* clears corrupt, after a repair */
/* A table of `n` entries at `off`: aligned, within the file's 63 bits, at most max_bytes. */
MUST_USE Err *qcow2_check_table(Qcow2 *s, uint64_t off, uint64_t n, size_t entry_bytes, uint64_t max_bytes, const char *what);
/* First write of a node: unknown autoclear bits are cleared. In open for writing. */
MUST_USE Err *qcow2_prepare_write(Qcow2 *s);

/* ---- caches (cache.c) */

Qcow2Cache *qcow2_cache_new(Qcow2 *s, uint32_t entry_size, uint64_t bytes, bool refcounts);   /* NULL: no memory */
void qcow2_cache_free(Qcow2Cache *c);
/* Pins the piece at `off` (a multiple of the entry size), reading it when it is not there; may yield and write others. */
int qcow2_cache_get(Qcow2Cache *c, uint64_t off, Qcow2Entry **out);
/* The same without reading: what is on disk is all zero, or of no interest. */
int qcow2_cache_get_zeroed(Qcow2Cache *c, uint64_t off, Qcow2Entry **out);
static inline void qcow2_cache_put(Qcow2Entry *e) { e->pins--; }
/* Bytes [at, at+len) of the piece were changed. */
void qcow2_cache_dirty(Qcow2Cache *c, Qcow2Entry *e, uint32_t at, uint32_t len);
bool qcow2_cache_any_dirty(const Qcow2Cache *c);
/* Forgets pieces of [off, off+len), dirty ones too: the cluster is no table any more, or was changed behind the cache. */
void qcow2_cache_drop(Qcow2Cache *c, uint64_t off, uint64_t len);
/* Forgets all. Nothing may be dirty or pinned. */
void qcow2_cache_empty(Qcow2Cache *c);
void qcow2_cache_clean_idle(Qcow2Cache *c);     /* gives memory of what was not used since the last call back */
uint32_t qcow2_cache_entry_size(const Qcow2Cache *c);
/*
 * Copies of what is dirty at this moment; nothing is dirty afterwards. Runs
 * ascend by offset, neighbours are one. Pieces stay pinned until it is freed;
 * `written`: false makes what was not written yet dirty again.
 */
typedef struct Qcow2Run { uint64_t off; size_t len; uint8_t *bytes; } Qcow2Run;
typedef struct Qcow2Taken { Qcow2Run *runs; size_t n; uint8_t *arena; Qcow2Entry **entries; uint64_t *masks; size_t n_entries; } Qcow2Taken;
int qcow2_cache_take(Qcow2Cache *c, Qcow2Taken *out);
void qcow2_taken_end(Qcow2Cache *c, Qcow2Taken *t, bool written);

/* ---- writing metadata (write.c) */

/*
 * All metadata that is dirty now, in order; afterwards it is on disk (with a
 * barrier behind it when `barrier`), and clusters freed before are free. May be
 * called anywhere but with alloc_lock or write_lock held.
 */
int qcow2_write_metadata(Qcow2 *s, bool barrier);
/* The first half alone, for the refcount cache itself: always allowed. With alloc_lock held or not. */
int qcow2_write_refcounts(Qcow2 *s);
int qcow2_write_refcounts_locked(Qcow2 *s);     /* with write_lock held */
int qcow2_flush(BlockNode *n);
/* File and data file. */
int qcow2_barrier(Qcow2 *s);

/* ---- requests (request.c) */

void qcow2_request_begin(Qcow2 *s, Qcow2Request *r);    /* waits while a section is exclusive */
void qcow2_request_end(Qcow2 *s, Qcow2Request *r);
void qcow2_meta_begin(Qcow2 *s);                        /* the same for what touches no guest data */
void qcow2_meta_end(Qcow2 *s);
/* The request that began first and still runs: its number, or UINT64_MAX. */
static inline uint64_t qcow2_oldest(const Qcow2 *s) { return s->req_first ? s->req_first->seq : UINT64_MAX; }
/* No request runs until the end: for snapshots, resize, check, amend. Not from inside a request; nests not. May yield. */
void qcow2_exclusive_begin(Qcow2 *s);
void qcow2_exclusive_end(Qcow2 *s);

/* ---- refcounts (refcount.c, alloc.c) */

int qcow2_refcount_load(Qcow2 *s);              /* the table into memory; fine when it is there */
/* After somebody else (check) wrote the structures: forgets table and cache. Nothing may be dirty. */
void qcow2_refcount_forget(Qcow2 *s);
int qcow2_refcount_get(Qcow2 *s, uint64_t cluster, uint64_t *out);
/* In a block's bytes, by index. */
uint64_t qcow2_refcount_peek(const Qcow2 *s, const void *block, uint64_t index);
void qcow2_refcount_poke(const Qcow2 *s, void *block, uint64_t index, uint64_t value);
/*
 * Changes the refcount of each cluster that [off, off+len) touches by `delta`,
 * at once: for more owners (+), and for what the disk names no longer (-, only
 * behind a barrier). -ERANGE: it would be over the maximum; -EINVAL: below 0.
 * What was changed before the failing cluster is undone.
 */
int qcow2_refcount_add(Qcow2 *s, uint64_t off, uint64_t len, int64_t delta);
/* Sets one (check). Makes a refcount block where there is none. */
int qcow2_refcount_set(Qcow2 *s, uint64_t cluster, uint64_t value);

/* Contiguous clusters of refcount 1 for `bytes`: the offset, or -errno. */
int64_t qcow2_alloc(Qcow2 *s, uint64_t bytes);
/* At least one cluster, at most n, contiguous: *got. *fresh: they read as zeroes. */
int64_t qcow2_alloc_some(Qcow2 *s, uint64_t n, uint64_t *got, bool *fresh);
/* Bytes for a compressed cluster, packed. */
int64_t qcow2_alloc_bytes(Qcow2 *s, uint32_t bytes);
/*
 * One owner less for each cluster that [off, off+len) touches, as soon as the
 * metadata that is dirty now is on disk. Never fails; costs no I/O now.
 */
void qcow2_free(Qcow2 *s, uint64_t off, uint64_t len, Qcow2Free who);
/* What an L2 entry names. */
void qcow2_free_entry(Qcow2 *s, uint64_t entry, Qcow2Free who);
/* Clusters that never came into use (a failed write): at once. */
void qcow2_unalloc(Qcow2 *s, uint64_t off, uint64_t len);
/* Lowers what waited behind a barrier and has no reader any more. Not with alloc_lock held. */
void qcow2_reclaim(Qcow2 *s);
/* Where much waits to be freed: writes metadata, so that it may be. Not with locks held. */
int qcow2_recycle(Qcow2 *s);
/* With alloc_lock held: the piece of the cache, NULL where the table names none; the table longer; a block for index `rb`. */
int qcow2_refblock_get(Qcow2 *s, uint64_t rb, Qcow2Entry **out);
int qcow2_refcount_grow(Qcow2 *s, uint64_t clusters);
void qcow2_rt_set(Qcow2 *s, uint64_t rb, uint64_t off);     /* an entry of the table, in memory */
int qcow2_refblock_make(Qcow2 *s, uint64_t rb);
int qcow2_refblock_self(Qcow2 *s, uint64_t cluster);     /* a block at the free cluster that is in its range */
int qcow2_refcount_add_locked(Qcow2 *s, uint64_t first, uint64_t n, int64_t delta);
int64_t qcow2_take_clusters(Qcow2 *s, uint64_t n, bool whole, uint64_t *got);   /* the first's number, or -errno */
typedef struct Qcow2Freed { uint64_t first, n, seq; Qcow2Free who; } Qcow2Freed;    /* clusters; seq: the last request that may know them */

/* ---- mapping (table.c) */

typedef enum Qcow2Kind {
    QCOW2_UNALLOCATED,      /* backing file, or zeroes */
    QCOW2_ZERO_PLAIN,       /* zeroes */
    QCOW2_ZERO_ALLOC,       /* zeroes, and a host cluster is kept */
    QCOW2_NORMAL,
    QCOW2_RESERVED,         /* subcluster unallocated, the cluster has a host one */
    QCOW2_PACKED,           /* compressed */
} Qcow2Kind;

typedef struct Qcow2Map {
    Qcow2Kind kind;
    uint64_t len;           /* bytes of the same kind (contiguous on the host if they have a place), at most what was asked */
    uint64_t host;          /* of the first byte asked for; PACKED: of the compressed data */
    uint32_t packed;        /* PACKED: bytes, to the end of the last sector */
    uint64_t entry, bitmap; /* of the first cluster */
    bool copied;            /* NORMAL: all of them may be written in place */
} Qcow2Map;

/* Guest [off, off+len) -> what its first bytes are. -EIO after qcow2_corrupt where entries lie. off may lie beyond the disk (vmstate). */
int qcow2_map(Qcow2 *s, uint64_t off, uint64_t len, Qcow2Map *out);
/* What an entry of an L2 table is, without I/O; false: it lies. Subclusters: `sub` alone. */
bool qcow2_classify(const Qcow2 *s, uint64_t entry, uint64_t bitmap, unsigned sub, Qcow2Kind *kind);
void qcow2_packed_range(const Qcow2 *s, uint64_t entry, uint64_t *host, uint32_t *bytes);

/* A slice of an L2 table, pinned; `index`: of the entry that was asked for, in the slice. */
typedef struct Qcow2Slice { Qcow2Entry *e; unsigned index, count; uint64_t table; } Qcow2Slice;
/* The slice that describes guest offset `off`. No table: e is NULL (0 is returned). May yield. */
int qcow2_slice_get(Qcow2 *s, uint64_t off, Qcow2Slice *out);
/* For changing it: makes a table, or a copy of a shared one. */
int qcow2_slice_get_own(Qcow2 *s, uint64_t off, Qcow2Slice *out);
/* Of any table, of a snapshot too: entry `index` of the table at `table`. */
int qcow2_slice_of_table(Qcow2 *s, uint64_t table, unsigned index, Qcow2Slice *out);
static inline void qcow2_slice_put(Qcow2Slice *sl) { if (sl->e) qcow2_cache_put(sl->e); sl->e = NULL; }
static inline uint64_t qcow2_l2(const Qcow2 *s, const Qcow2Slice *sl, unsigned i)
{
    return be64toh(((const uint64_t *)sl->e->data)[i << (s->extended ? 1 : 0)]);
}
static inline uint64_t qcow2_l2_bitmap(const Qcow2 *s, const Qcow2Slice *sl, unsigned i)
{
    return s->extended ? be64toh(((const uint64_t *)sl->e->data)[(i << 1) + 1]) : 0;
}
/* Changes an entry and marks it dirty; bitmap is of no account without subclusters. */
void qcow2_l2_set(Qcow2 *s, Qcow2Slice *sl, unsigned i, uint64_t entry, uint64_t bitmap);
void qcow2_l1_set(Qcow2 *s, uint32_t index, uint64_t entry);     /* in memory, dirty */
/* The active L1 table gets at least `entries` (moved in the file, header switched) or exactly (exact, metadata is written). */
int qcow2_l1_grow(Qcow2 *s, uint64_t entries, bool exact);
/* Reads a table of the file into host byte order; the caller frees. *out NULL when n is 0. */
int qcow2_read_table(Qcow2 *s, uint64_t off, uint64_t n, uint64_t **out);
/* Reads the active L1 table anew (after a snapshot was applied). Nothing may be dirty. */
int qcow2_l1_load(Qcow2 *s);

/* ---- data (read.c, cluster.c, zero.c, packed.c) */

/* Guest clusters [first, end) whose L2 entries a write will change; others that would change them wait. */
typedef struct Qcow2Alloc { uint64_t first, end; CoQueue waiting; struct Qcow2Alloc *next; } Qcow2Alloc;
/* Is one of [off, off+len) in the works? The one that begins first, or NULL. */
Qcow2Alloc *qcow2_alloc_find(Qcow2 *s, uint64_t off, uint64_t len);
void qcow2_alloc_begin(Qcow2 *s, Qcow2Alloc *a, uint64_t off, uint64_t len);    /* rounded to clusters; none of them is in the works */
void qcow2_alloc_end(Qcow2 *s, Qcow2Alloc *a);

int qcow2_read (BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int qcow2_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int qcow2_write_compressed(BlockNode *n, uint64_t off, const IoVec *q);
int qcow2_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags);
int qcow2_discard(BlockNode *n, uint64_t off, uint64_t len);
int qcow2_copy(BlockNode *from, uint64_t from_off, BlockNode *to, uint64_t to_off, uint64_t len);
/* The same within a request (or an exclusive section), and beyond the disk's end, too (vmstate). */
int qcow2_read_guest (Qcow2 *s, uint64_t off, const IoVec *q);
int qcow2_write_guest(Qcow2 *s, uint64_t off, const IoVec *q);
/* Clusters within [off, off+len) give their space back. full: they fall through to the backing file. */
int qcow2_discard_guest(Qcow2 *s, uint64_t off, uint64_t len, Qcow2Free who, bool full);
int qcow2_zero_guest(Qcow2 *s, uint64_t off, uint64_t len, unsigned flags);
/* Known to read as zeroes, from metadata alone? 1, 0 or -errno. */
int qcow2_reads_zero(Qcow2 *s, uint64_t off, uint64_t len);
/* Reads from the file; what lies beyond its end is zero. */
int qcow2_pread(Qcow2 *s, uint64_t off, void *buf, size_t len);
/* Guest data at a host offset, in the file or the data file; not decrypted. */
int qcow2_read_data(Qcow2 *s, uint64_t host, const IoVec *q);
/* Metadata to the file: checked against overlap, `except` kinds left out. */
int qcow2_pwrite(Qcow2 *s, unsigned except, uint64_t off, const void *buf, size_t len);
/* A compressed cluster, `entry`, into `out` (cluster_size bytes). May yield. */
int qcow2_read_packed(Qcow2 *s, uint64_t entry, uint8_t *out);
void qcow2_presses_free(Qcow2 *s);

/* ---- creation options: -o (create.c); the crypto's belong to crypto.c */

typedef struct Qcow2Create {
    uint64_t size; char *backing_file, *backing_fmt;    /* as CreateOptions has them */
    char *compat;                                   /* 0.10, v2, 1.1, v3; NULL: v3 */
    uint64_t cluster_size, refcount_bits;
    bool lazy_refcounts, extended_l2, data_file_raw, encryption;
    uint8_t preallocation;                          /* PREALLOC_* */
    uint8_t compression_type;
    char *data_file;
    char *encrypt_format, *encrypt_key_secret, *encrypt_cipher_alg, *encrypt_cipher_mode,
         *encrypt_ivgen_alg, *encrypt_ivgen_hash_alg, *encrypt_hash_alg;
    uint64_t encrypt_iter_time;
    char *encrypt_state, *encrypt_new_secret, *encrypt_old_secret;      /* amend */
    int64_t encrypt_keyslot;
} Qcow2Create;
extern const Field qcow2_create_fields[];

/* ---- the rest of the driver's row (info.c, resize.c, create.c) */

int qcow2_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out);
MUST_USE Err *qcow2_info(BlockNode *n, NodeInfo *out);
uint64_t qcow2_vmstate_offset(const Qcow2 *s);
int qcow2_vmstate_read (BlockNode *n, uint64_t off, const IoVec *q);
int qcow2_vmstate_write(BlockNode *n, uint64_t off, const IoVec *q);
int qcow2_vmstate_clear(BlockNode *n);
int qcow2_vmstate_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out);
MUST_USE Err *qcow2_change_backing(BlockNode *n, const char *name, const char *format);
MUST_USE Err *qcow2_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p);
MUST_USE Err *qcow2_make_empty(BlockNode *n);
MUST_USE Err *qcow2_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file);
MUST_USE Err *qcow2_measure(const void *opts, BlockNode *source, uint64_t size, Measure *out);
/* Bytes of the file for a disk of `size`, all of it allocated: what measuring says. */
uint64_t qcow2_full_size(const Qcow2 *s, uint64_t size);
/* Creation options, checked, as a header; derived fields, too. Nothing is placed yet. */
MUST_USE Err *qcow2_options_header(const Qcow2Create *c, uint64_t size, Qcow2 *s);

/* ---- snapshot.c */
MUST_USE Err *qcow2_snapshots_load(Qcow2 *s);       /* by open; fills s->snapshots from the header */
void qcow2_snapshots_free(Qcow2 *s);
MUST_USE Err *qcow2_snapshots(BlockNode *n, Snapshot **list, unsigned *count);
MUST_USE Err *qcow2_snapshot_create(BlockNode *n, Snapshot *sn);
MUST_USE Err *qcow2_snapshot_apply(BlockNode *n, const char *id_or_name);
MUST_USE Err *qcow2_snapshot_delete(BlockNode *n, const char *id_or_name);
MUST_USE Err *qcow2_snapshot_load_one(BlockNode *n, const char *id_or_name);

/* ---- check.c */
int qcow2_check(BlockNode *n, CheckResult *out, unsigned fix);
/* By open for writing of a dirty image: refcounts anew; clears the dirty bit. */
MUST_USE Err *qcow2_repair_dirty(Qcow2 *s);

/* ---- bitmaps.c */
MUST_USE Err *qcow2_bitmaps_load(Qcow2 *s);         /* by open, and reopen for writing (marks them in use) */
MUST_USE Err *qcow2_bitmaps_store(Qcow2 *s);        /* by close of a writable node, and reopen read-only; before the last metadata */
json_t *qcow2_bitmaps_info(Qcow2 *s);               /* "bitmaps" of info, or NULL: none */
MUST_USE Err *qcow2_bitmaps_resized(Qcow2 *s, uint64_t len);    /* before a resize: why not, or NULL */
MUST_USE Err *qcow2_bitmap_can_store(BlockNode *n, const char *name, uint32_t granularity);
MUST_USE Err *qcow2_bitmap_remove(BlockNode *n, const char *name);
MUST_USE Err *qcow2_bitmaps_measure(BlockNode *source, uint64_t cluster_size, uint64_t *bytes);

/* ---- crypto.c */
MUST_USE Err *qcow2_crypt_open(Qcow2 *s, unsigned flags);   /* by open, when header.crypt_method is not 0; sets s->crypt */
void qcow2_crypt_close(Qcow2 *s);
/* In place; len a multiple of 512. host: of the first byte in the file; LUKS counts its sectors by it, AES by the guest's. */
int qcow2_encrypt(Qcow2 *s, uint64_t host, uint64_t guest, void *buf, size_t len);
int qcow2_decrypt(Qcow2 *s, uint64_t host, uint64_t guest, void *buf, size_t len);
MUST_USE Err *qcow2_crypt_check(const Qcow2Create *o);      /* do the options make sense? */
/* On the new, open image: LUKS header, its extension and method (qcow2_update_header is the caller's). */
MUST_USE Err *qcow2_crypt_create(Qcow2 *s, const Qcow2Create *o);
MUST_USE Err *qcow2_crypt_measure(const Qcow2Create *o, uint64_t *bytes);   /* of the header */
MUST_USE Err *qcow2_crypt_amend(Qcow2 *s, const Qcow2Create *o, bool force);
json_t *qcow2_crypt_info(Qcow2 *s);                 /* "encrypt" of info, or NULL */

/* ---- amend.c */
extern const Field qcow2_amend_fields[];
MUST_USE Err *qcow2_amend(BlockNode *n, const void *opts, const json_t *given, bool force,
                          void (*progress)(void *, uint64_t, uint64_t), void *opaque);

#endif
