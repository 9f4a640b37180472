/* SPDX-License-Identifier: MIT */
/*
 * The block layer as its users see it: a graph of nodes (files, formats,
 * filters), and Disks, the holds that a device, a tool or an export has on a
 * node. Drivers include block/driver.h as well.
 *
 * One loop: all nodes of a graph, and all that is asked of them, run in
 * coroutines of the graph's loop (co_run from plain code; disk_submit from
 * other threads). So nothing here takes a lock, and a function "may yield"
 * wherever it is a coroutine function: open, close and everything with data.
 *
 * Offsets and lengths are bytes. Data paths return 0 or -errno; control paths
 * an Err that the receiver owns.
 */
#ifndef BLOCK_BLOCK_H
#define BLOCK_BLOCK_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "block/stats.h"
#include "util/co.h"
#include "util/err.h"
#include "util/iov.h"
#include "util/reflect.h"

typedef struct BlockGraph BlockGraph;
typedef struct BlockNode BlockNode;
typedef struct BlockDriver BlockDriver;
typedef struct Disk Disk;
typedef struct DirtyBitmap DirtyBitmap;
typedef struct ThrottleGroup ThrottleGroup;     /* block/throttle.h */
struct FdSets;                          /* util/fdset.h */
struct Yanks;                           /* util/yank.h */
typedef struct Objects Objects;         /* block/objects.h: secrets, TLS credentials, throttle groups */

/* No image is longer: offsets plus a cluster never overflow 63 bits. */
#define BLOCK_MAX_SIZE  (INT64_MAX - (INT64_C(1) << 30))
/* No request of a user is longer; what is longer is split by who asks. */
#define BLOCK_MAX_REQUEST (INT32_MAX & ~4095u)

/* ---- graph */

BlockGraph *graph_new(Loop *loop);
/* Closes nothing: every node must have lost its last hold. */
void graph_free(BlockGraph *g);
Loop *graph_loop(const BlockGraph *g);
Objects *graph_objects(const BlockGraph *g);
/* What /dev/fdset/N means in names of files; borrowed. NULL: there are none. */
void graph_set_fdsets(BlockGraph *g, struct FdSets *s);
/* Where nodes that depend on a peer put their connections (util/yank.h); borrowed. NULL: nowhere. */
void graph_set_yanks(BlockGraph *g, struct Yanks *s);
/* Calls fn in the loop when a node is written to `by` bytes beyond its write_threshold, which is 0 then. */
void graph_on_threshold(BlockGraph *g, void (*fn)(void *opaque, BlockNode *n, uint64_t threshold, uint64_t by), void *opaque);
/*
 * Calls fn in the loop when an image's own tables turn out to lie: at that place of it; fatal: the image is marked as corrupt
 * and serves nothing any more. Once for each node, and once more if it becomes fatal.
 */
void graph_on_corruption(BlockGraph *g, void (*fn)(void *opaque, BlockNode *n, const char *what, uint64_t off, bool fatal), void *opaque);
BlockNode *graph_find(BlockGraph *g, const char *node_name);    /* borrowed, or NULL */
BlockNode *graph_next(BlockGraph *g, BlockNode *after);         /* NULL: the first; in the order of opening */

/* ---- options: JSON objects, as blockdev-add takes them (block/options.c) */

/*
 * "disk.img", "nbd://host/export", "https://..", "json:{..}", "fat:.." -> {"driver":.., "file":{..}}.
 * `format`: the format's name, or NULL to probe. The result is the caller's.
 */
MUST_USE Err *options_from_name(const char *name, const char *format, json_t **out);
/* --image-opts, -drive: "driver=qcow2,file.filename=a.qcow2,lazy-refcounts=on" (dots nest, numbers index). */
MUST_USE Err *options_from_keyval(const char *text, json_t **out);
/* {"a":{"b":1}} -> {"a.b":"1"}: the dotted form, every scalar a string. */
json_t *options_flatten(const json_t *tree);
/* cache=none|writeback|writethrough|directsync|unsafe -> cache.direct, cache.no-flush in `options`; *writethrough. */
MUST_USE Err *options_set_cache(json_t *options, const char *mode, bool *writethrough);

/* ---- nodes */

typedef enum OpenFlags {
    OPEN_RW = 1,            /* otherwise read-only; options' "read-only" has the last word */
    OPEN_RESIZE = 2,        /* the user wants to change the size */
    OPEN_NO_BACKING = 4,    /* leave the backing file alone (info, map of one layer) */
    OPEN_CHECK = 8,         /* for check -r and amend: open what is dirty or corrupt without mending it first */
    OPEN_FORCE_SHARE = 16,  /* -U: read an image that others write; the same as "force-share": true */
    OPEN_NO_IO = 32,        /* metadata alone: no decryption key is asked for */
    OPEN_TEMPORARY = 64,    /* delete the file at once: snapshot=on */
    OPEN_NO_PROBE = 128,    /* a missing "driver" is an error instead of a guess */
} OpenFlags;

/* Opens a tree of nodes; options are borrowed. *out has one hold, which node_unref gives back. */
MUST_USE Err *node_open(BlockGraph *g, const json_t *options, unsigned flags, BlockNode **out);
BlockNode *node_ref(BlockNode *n);
/* Gives a hold back; the last one flushes, closes the node and its children. NULL is fine. May yield. */
void node_unref(BlockNode *n);
/* Has anybody a hold on it beside the one that node_open gave? */
bool node_in_use(const BlockNode *n);
/* Changes options of an open node (read-only, cache.*, detect-zeroes, driver's own). Nothing changed when it fails. */
MUST_USE Err *node_reopen(BlockNode *n, const json_t *options);
/*
 * Several, as blockdev-reopen: what the options leave out is as if it had never been given. All of them or none. They
 * are reopened and drained from begin on, which has done nothing if it fails, until end keeps what was done or undoes it:
 * so nodes of several graphs can be reopened together. Each graph's in its thread. Both may yield.
 */
typedef struct ReopenSet ReopenSet;
MUST_USE Err *nodes_reopen_begin(BlockNode *const *nodes, json_t *const *options, unsigned count, ReopenSet **out);
void nodes_reopen_end(ReopenSet *s, bool keep);
MUST_USE Err *node_set_read_only(BlockNode *n, bool on);        /* the same for that option alone */

/* How the node was opened: a plain file name if that says all, else json:{..}. Owned by the node. */
const char *node_filename(BlockNode *n);
json_t *node_options(BlockNode *n);         /* new reference: what would open it again */
const char *node_name(const BlockNode *n);  /* "#block123" where the user gave none */
const char *node_format(const BlockNode *n);
uint64_t node_size(const BlockNode *n);     /* guest-visible bytes */
bool node_read_only(const BlockNode *n);
/* The node that the user's data comes from below filters, and that one's backing node (borrowed, or NULL). */
BlockNode *node_skip_filters(BlockNode *n);
BlockNode *node_backing(BlockNode *n);
/* The protocol node that holds the format's bytes, or NULL. */
BlockNode *node_storage(BlockNode *n);

/*
 * Changing the graph under running requests: they are drained first. Each says
 * why not when a parent forbids it or a loop would come of it. May yield.
 */
MUST_USE Err *node_replace(BlockNode *old, BlockNode *by);          /* in every parent that is not `by` itself */
MUST_USE Err *node_set_backing(BlockNode *n, BlockNode *backing);   /* NULL: none; the file's header is not changed */
MUST_USE Err *node_insert_above(BlockNode *n, const json_t *options, BlockNode **filter);
/* The header's backing file: what the next opening follows. format may be NULL. */
MUST_USE Err *node_change_backing_file(BlockNode *n, const char *name, const char *format, bool require_format);
int node_flush(BlockNode *n);               /* what was written to it is on stable storage; 0 or -errno. May yield */
void node_drain_begin(BlockNode *n);        /* no new request starts, all have ended: the node and all below */
void node_drain_end(BlockNode *n);
void disk_drain(Disk *d);                    /* both, of what it holds: all has ended, throttled requests at once. Empty: nothing */

/*
 * snapshot=on (block/overlay.c): options for a temporary image above `below` (borrowed), to be opened with
 * OPEN_TEMPORARY. *path is its file, which whoever fails to open it unlinks; g_free it. May yield.
 */
MUST_USE Err *overlay_options(BlockGraph *g, json_t *below, char **path, json_t **out);

/*
 * Images that change hands (block/activate.c). Inactive nodes can be read, what they say may be old, and lock nothing.
 * graph_open_inactive: from now on what is opened for writing is so until graph_activate. graph_deactivate: all has
 * been written; nothing may be in flight. Both may yield.
 */
void graph_open_inactive(BlockGraph *g);
MUST_USE Err *graph_deactivate(BlockGraph *g);
MUST_USE Err *graph_activate(BlockGraph *g);
MUST_USE Err *node_activate(BlockNode *n);         /* and all below it */

/* ---- what others may do meanwhile: the bits of QEMU's locks, so that both refuse each other */

typedef enum BlockPerm {
    PERM_CONSISTENT_READ = 1,   /* data that means something */
    PERM_WRITE = 2,
    PERM_WRITE_UNCHANGED = 4,   /* writing what is there already (copy on read) */
    PERM_RESIZE = 8,
    PERM_ALL = 15,
} BlockPerm;

/* ---- disks: a user's hold */

typedef enum ReqFlags {
    REQ_FUA = 1,                /* write: on stable storage before it ends */
    REQ_COMPRESSED = 2,         /* write: compress, if the format can */
    REQ_UNMAP = 4,              /* zero: may give the space back */
    REQ_NO_FALLBACK = 8,        /* zero: -ENOTSUP rather than write zeroes slowly */
    REQ_UNCHANGED = 16,         /* write: does not change what a reader sees */
    REQ_PREFETCH = 32,          /* read: only to copy up (copy on read); the vector may be empty */
    REQ_SERIALISING = 64,       /* overlapping requests wait for this one */
} ReqFlags;

/* What a disk's owner wants to hear; any of them may be NULL. In the loop's thread. */
typedef struct DiskOps {
    void (*resized)(void *opaque);
    void (*drain)(void *opaque, bool begin);    /* stop or go on submitting */
} DiskOps;

/* Takes a hold of its own on the node. `who` for messages: "convert", "virtio-blk 'disk0'". */
MUST_USE Err *disk_new(BlockNode *n, unsigned perm, unsigned shared, const char *who, Disk **out);
/* open + disk, with the permissions that the flags speak of. */
MUST_USE Err *disk_open(BlockGraph *g, const json_t *options, unsigned flags, const char *who, Disk **out);
void disk_free(Disk *d);                    /* drains, flushes if it wrote. NULL is fine. May yield. */
void disk_set_ops(Disk *d, const DiskOps *ops, void *opaque);
void disk_set_writethrough(Disk *d, bool on);       /* every write is followed by a flush */
void disk_set_stats(Disk *d, DiskStats *s);         /* counts there, the owner's; NULL: nowhere */
/* Its requests wait for that group's limits from now on; NULL: for none. */
void disk_set_limits(Disk *d, ThrottleGroup *g);
void disk_set_growing(Disk *d, bool on);            /* writes beyond the end make the node longer: for making images */
MUST_USE Err *disk_set_perm(Disk *d, unsigned perm, unsigned shared);
MUST_USE Err *disk_set_node(Disk *d, BlockNode *n); /* another medium, or NULL: ejected */
BlockNode *disk_node(const Disk *d);                /* borrowed, or NULL */

uint64_t disk_size(const Disk *d);
/* Coroutine functions. Requests beyond the end are -EIO (-EINVAL for lengths that are absurd). */
int disk_read (Disk *d, uint64_t off, const IoVec *q, unsigned flags);
int disk_write(Disk *d, uint64_t off, const IoVec *q, unsigned flags);
int disk_zero (Disk *d, uint64_t off, uint64_t len, unsigned flags);
int disk_discard(Disk *d, uint64_t off, uint64_t len);
int disk_flush(Disk *d);
/*
 * For jobs that lock a range for more than one request: waits until none of the
 * disks is held back by a drain, and counts as a request of each until
 * disk_release. No drain ends meanwhile, and none holds back the requests that
 * belong to it: those of the disks, or what a filter asks of its children.
 */
void disk_hold(Disk *const *d, unsigned n);
void disk_release(Disk *const *d, unsigned n);
/* Lets the host move the bytes (reflink, copy_file_range); -ENOTSUP: read and write instead. */
int disk_copy(Disk *from, uint64_t from_off, Disk *to, uint64_t to_off, uint64_t len);

/* The same for devices, from any thread: done(opaque, ret) is called in the thread of `reply` (a loop), or the graph's. */
typedef struct DiskReq {
    enum { DISK_READ, DISK_WRITE, DISK_ZERO, DISK_DISCARD, DISK_FLUSH } op;
    unsigned flags;
    uint64_t off, len;          /* len: zero and discard */
    IoVec q;
    void (*done)(void *opaque, int ret);
    void *opaque;
    Disk *disk;                 /* below: disk_submit's own */
    Loop *reply;
    int ret;
} DiskReq;
void disk_submit(Disk *d, DiskReq *r, Loop *reply);

/* ---- what an image holds */

typedef enum ExtentFlags {
    EXTENT_DATA = 1,            /* bytes are stored */
    EXTENT_ZERO = 2,            /* reads as zeroes */
    EXTENT_ALLOCATED = 4,       /* this layer says what it is, not the backing one */
    EXTENT_OFFSET = 8,          /* `host` holds: bytes lie there, plain, in `host_node` */
    EXTENT_COMPRESSED = 16,
    EXTENT_EOF = 32,            /* reaches the end of the node */
    EXTENT_RECURSE = 64,        /* laid out before it was written: holes of the host's file tell more */
} ExtentFlags;

typedef struct Extent {
    uint64_t len;               /* at least 1, at most what was asked for */
    unsigned flags;
    uint64_t host;
    BlockNode *host_node;       /* borrowed */
    unsigned depth;             /* node_extent_above: in which layer, the top being 0 */
} Extent;

/* The layer itself: what `n` (filters skipped) says. len > 0; off < size. */
int node_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out);
/*
 * Through the chain from n down to `base` (not included; NULL: to the end): the
 * first layer that has it. With `storage`, holes of the host's file count as zero, too.
 */
int node_extent_above(BlockNode *n, BlockNode *base, bool storage, uint64_t off, uint64_t len, Extent *out);

typedef struct Preallocation { enum { PREALLOC_OFF, PREALLOC_METADATA, PREALLOC_FALLOC, PREALLOC_FULL } mode; } Preallocation;
extern const char *const prealloc_names[];          /* "off", .., NULL */
/* exact: the file may not end up longer than asked (a device) either. New bytes read as zero. */
MUST_USE Err *disk_resize(Disk *d, uint64_t len, bool exact, Preallocation p, unsigned flags);

/* Bytes that it occupies on the host, or -errno. */
int64_t node_allocated(BlockNode *n);

typedef struct NodeInfo {
    bool unknown;                   /* there is nobody who could tell: neither dirty nor clean */
    uint32_t cluster_size;          /* 0: none */
    uint64_t vm_state_offset;
    bool dirty, encrypted, compressed, live;    /* live: another process has it open for writing */
    json_t *specific;               /* ImageInfoSpecific's "data", or NULL; the caller's */
} NodeInfo;
MUST_USE Err *node_info(BlockNode *n, NodeInfo *out);

typedef struct CheckResult {
    int64_t corruptions, leaks, errors;             /* found; after a repair: what is left */
    int64_t corruptions_fixed, leaks_fixed;
    uint64_t end_offset, total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    /* a line for each finding, without a newline; may be NULL */
    void (*found)(void *opaque, const char *line);
    void *opaque;
} CheckResult;
typedef enum CheckFix { FIX_LEAKS = 1, FIX_ERRORS = 2 } CheckFix;
/* 0, or -errno when the check itself could not be done (-ENOTSUP: the format has none). */
int node_check(BlockNode *n, CheckResult *out, unsigned fix);

typedef struct Snapshot {
    char *id, *name;
    uint64_t vm_state_size, disk_size;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec, icount;         /* icount UINT64_MAX: unknown */
} Snapshot;
MUST_USE Err *node_snapshots(BlockNode *n, Snapshot **list, unsigned *count);
void snapshots_free(Snapshot *list, unsigned count);
MUST_USE Err *node_snapshot_create(BlockNode *n, Snapshot *s);      /* id may be NULL: chosen */
MUST_USE Err *node_snapshot_apply(BlockNode *n, const char *id_or_name);
MUST_USE Err *node_snapshot_delete(BlockNode *n, const char *id_or_name);
/* From now on the node reads as that snapshot; read-only nodes alone. */
MUST_USE Err *node_snapshot_load(BlockNode *n, const char *id_or_name);
int node_vmstate_read (BlockNode *n, uint64_t off, const IoVec *q);
int node_vmstate_write(BlockNode *n, uint64_t off, const IoVec *q);
/* Where it lies, as node_extent. */
int node_vmstate_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out);
int node_vmstate_clear(BlockNode *n);       /* what no snapshot holds gives its space back; it reads as zeroes */
/* A descriptor of one's own for reading the host's file that a node is; no lock hangs on it. -ENOTSUP: it is none. */
int node_host_fd(BlockNode *n);
/*
 * Somebody has mapped what snapshots hold: `back` is called before one is deleted, and before the node is reopened, closed
 * or handed over, and returns when that is over. It takes the place of an earlier one, which is called.
 */
void node_lend(BlockNode *n, void (*back)(void *opaque), void *opaque);
void node_take_back(BlockNode *n);

/* ---- making images */

/* Options of -o are a table of the driver (BlockDriver.create_fields). */
const BlockDriver *driver_find(const char *name);           /* also old aliases; or NULL */
const BlockDriver *driver_next(const BlockDriver *after);   /* NULL: the first */
const char *driver_name(const BlockDriver *drv);
/*
 * What `-o help` prints; filename NULL: without what the protocol adds. g_free it. NULL: it cannot create (amend).
 */
char *driver_create_help(const BlockDriver *drv, const char *filename);
char *driver_amend_help(const BlockDriver *drv);

typedef struct CreateRequest {
    const char *filename, *format;
    const char *options;            /* -o list ("cluster_size=2M,compat=0.10"), or NULL */
    const char *backing, *backing_format;
    uint64_t size;                  /* UINT64_MAX: that of the backing file */
    bool unsafe;                    /* -u: do not open the backing file */
    const char *file_node;          /* the node, open already, that takes the image; filename is its own. NULL: a file is made */
} CreateRequest;
/* `said` (g_free it, may be NULL): "cluster_size=65536 .." for the line "Formatting ..". */
MUST_USE Err *image_create(BlockGraph *g, const CreateRequest *r, char **said);

typedef struct Measure { uint64_t required, fully_allocated, bitmaps; bool has_bitmaps; } Measure;
/* How large an image of `options` would be for that size, or for the data of `source` (may be NULL). */
MUST_USE Err *image_measure(const BlockDriver *drv, const char *options, BlockNode *source, uint64_t size, Measure *out);
/* Changes creation options of an existing image. progress may be NULL. */
MUST_USE Err *node_amend(BlockNode *n, const char *options, bool force,
                         void (*progress)(void *opaque, uint64_t done, uint64_t all), void *opaque);

#endif
