/* SPDX-License-Identifier: MIT */
/*
 * The block layer as its drivers see it. A driver is a struct that begins with
 * a BlockNode, a table of its options, and a row BLOCK(name), which
 * tools/sets.py collects: nothing registers itself.
 *
 * What a driver may count on:
 *   - every function runs in a coroutine of the graph's loop and may yield
 *   - requests are within the node's size (rounded up to limits.request_align;
 *     writes of a driver that `grows` may go beyond it), not empty, aligned to
 *     limits.request_align and at most limits.max_transfer; unaligned ones were
 *     widened by block/io.c. Buffers may have any address: where the host is
 *     particular (O_DIRECT), the protocol's driver copies
 *   - writes come to a writable node alone
 *   - requests run side by side; overlapping ones, too. What must not is the
 *     driver's to lock (co.h)
 *   - close comes when no request runs, after a flush
 * What it owes: nothing that comes from the image or the network is believed;
 * an error says which offset and what to do; no abort, no unbounded loop, no
 * allocation whose size the image chose without try_alloc.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/block.h"
#include "block/ranges.h"

typedef enum DriverKind { DRIVER_FORMAT, DRIVER_PROTOCOL, DRIVER_FILTER } DriverKind;

/* An edge of the graph: who holds a node, and what it may do with it. */
typedef struct BlockChild {
    BlockNode *node;
    const char *role;               /* "file", "backing", "data-file", or the user's word */
    BlockNode *parent;              /* NULL: a Disk or a job */
    Disk *disk;                     /* the Disk it belongs to, if one */
    unsigned perm, shared;
    struct BlockChild *next;        /* the parent's children */
    struct BlockChild *next_parent; /* the node's parents */
} BlockChild;

typedef struct BlockLimits {
    uint32_t request_align;         /* reads and writes; power of two, at least 1 */
    uint32_t mem_align;             /* addresses of buffers */
    uint32_t max_transfer;          /* 0: none */
    uint32_t max_iov;
    uint32_t zero_align, discard_align;     /* best units; 0: request_align */
    uint64_t max_zero, max_discard;         /* 0: none */
    uint32_t opt_transfer;          /* 0: unknown */
    uint32_t cluster;               /* formats: the unit of write_compressed; 0: none */
    uint32_t min_io, opt_io;        /* as the host tells of a device */
} BlockLimits;

struct BlockNode {
    const BlockDriver *drv;
    BlockGraph *graph;
    /* Options that every node has (block/options.c's table). */
    char *node_name;
    bool opt_read_only, auto_read_only, force_share, cache_direct, cache_no_flush;
    uint8_t discard;                /* 0 ignore, 1 unmap */
    uint8_t detect_zeroes;          /* 0 off, 1 on, 2 unmap */

    char *filename;                 /* as given to open, for messages; "" where there is none */
    char *exact_name;               /* node_filename's answer, made when asked for */
    json_t *options;                /* as opened, children left out */
    unsigned open_flags;            /* OpenFlags */
    bool read_only, encrypted;
    bool inactive;                  /* read_only until it is activated: another process has the image */
    uint64_t size;                  /* set by open and resize; any byte count */
    BlockLimits limits;             /* open sets what is not the child's */
    unsigned write_flags, zero_flags;   /* ReqFlags that write and zero understand themselves */

    BlockChild *file, *backing;     /* also in children */
    BlockChild *children, *parents;
    char *backing_name, *backing_format;    /* what the image's header says, or NULL; open sets it */
    bool no_backing_open;           /* a driver opens its backing itself, or the header's is not to be followed */
    bool implicit;                  /* a job's filter that the user has not named: query-block shows what is below */
    bool probed;                    /* nobody said the format: it was guessed */
    uint64_t write_threshold;       /* whoever writes beyond it is told of, once; 0: nobody */
    uint64_t written_to;            /* highest byte written, for "info" of block jobs */
    DirtyBitmap *bitmaps;           /* block/bitmap.h */
    void (*lent)(void *opaque); void *lent_opaque;      /* node_lend's; NULL: nobody */

    /* block/io.c and graph.c */
    unsigned refs, in_flight;
    unsigned drains;                /* node_drain_begin less node_drain_end */
    bool quiesced;                  /* a drained node is reached from here: no Disk starts a request */
    uint8_t mark;                   /* scratch of walks over the graph */
    uint16_t depth;                 /* how deep below the first one opened */
    Ranges tracked;                 /* running requests */
    uint64_t write_gen, flushed_gen;    /* a flush with nothing written before it is free */
    CoQueue flushing; bool flush_active;
    unsigned perm, shared;          /* sums over the parents */
    BlockNode *next;                /* in the graph */
};

typedef struct CreateOptions CreateOptions;

struct BlockDriver {
    const char *name, *doc;
    DriverKind kind;
    size_t size;                    /* of the driver's struct */
    const Field *fields;            /* options: PROPs; nested ones by dotted names ("encrypt.key-secret"); NULL: none */
    const char *const *aliases;     /* other names, NULL-terminated */
    bool has_backing;               /* a "backing" child makes sense */
    bool can_snapshot, can_compress;
    bool no_storage;                /* FORMAT or FILTER without a "file" child; a PROTOCOL never has one */
    bool grows;                     /* a write beyond the end makes it longer (a file); others say -ENOSPC */
    /*
     * Options that are no PROPs: children beside "file" and "backing" ("data-file"), and what open reads from
     * n->options itself ("inject-error": [..]). NULL-terminated; may be NULL. Others are refused before open.
     */
    const char *const *own_options;
    /* Options that change what a reader sees, so that a plain file name does not say all. Likewise. */
    const char *const *strong_options;

    /* How sure are these first bytes to be of this format: 0..100. */
    int (*probe)(const uint8_t *head, size_t len, const char *filename);
    /* "nbd:", "https://": prefixes of names this protocol takes, NULL-terminated, and how it reads one into options. */
    const char *const *schemes;
    Err *(*parse_name)(const char *name, json_t *options);
    /* {"file": ..} for names without a driver is "file". A protocol: the short name of these options, or NULL; g_free it. */
    char *(*make_name)(BlockNode *);
    bool (*secret_option)(const char *name);    /* never shown */

    /* The "file" child is open already where the kind has one (unless no_storage). */
    Err *(*open)(BlockNode *);
    void (*close)(BlockNode *);     /* undoes open; also after an open that failed half way */
    /*
     * new_opts: a driver struct with the new options, the node's (cache_direct ..) and the driver's PROPs; the core
     * copies them into the node afterwards; n->read_only has its old value till then. What turns writable may
     * write to its children already, what turns read-only still may.
     */
    Err *(*reopen)(BlockNode *, const void *new_opts, bool read_only);
    /* Before it is closed to be opened again: does its name still lead to what it has open? NULL: who knows. */
    Err *(*same_name)(BlockNode *);
    /* What the children's permissions are when the parents ask for perm/shared; NULL: block/graph.c's rule for the kind. */
    void (*child_perm)(BlockNode *, const char *role, unsigned perm, unsigned shared, unsigned *cperm, unsigned *cshared);
    Err *(*take_perm)(BlockNode *, unsigned perm, unsigned shared);     /* protocols: locks of the host */
    void (*drain)(BlockNode *, bool begin);     /* n->quiesced has changed: let go requests that only wait for time */

    void (*event)(BlockNode *, const char *name);                       /* block_event's; filters that inject faults */
    int (*read )(BlockNode *, uint64_t off, const IoVec *, unsigned flags);
    int (*write)(BlockNode *, uint64_t off, const IoVec *, unsigned flags);
    /* write of one cluster, compressed; off aligned to the cluster */
    int (*write_compressed)(BlockNode *, uint64_t off, const IoVec *);
    int (*zero )(BlockNode *, uint64_t off, uint64_t len, unsigned flags);      /* NULL or -ENOTSUP: io.c writes zeroes */
    int (*discard)(BlockNode *, uint64_t off, uint64_t len);                    /* NULL: nothing happens */
    int (*flush)(BlockNode *);      /* own caches to the children; io.c flushes those afterwards */
    int (*extent)(BlockNode *, uint64_t off, uint64_t len, Extent *out);        /* NULL: all data */
    /*
     * Moves bytes to this driver's node without looking at them; -ENOTSUP: read and write instead. `from` is of the
     * same driver if that is a PROTOCOL, else any node.
     */
    int (*copy)(BlockNode *from, uint64_t from_off, BlockNode *to, uint64_t to_off, uint64_t len);
    Err *(*resize)(BlockNode *, uint64_t len, bool exact, Preallocation p);
    int64_t (*allocated)(BlockNode *);
    uint64_t (*size_now)(BlockNode *);          /* protocols whose size others change; NULL: node->size */

    Err *(*info)(BlockNode *, NodeInfo *);
    json_t *(*stats)(BlockNode *);              /* BlockStatsSpecific's members but for "driver"; NULL: none */
    int (*check)(BlockNode *, CheckResult *, unsigned fix);
    Err *(*change_backing)(BlockNode *, const char *name, const char *format);
    Err *(*make_empty)(BlockNode *);            /* commit: all back to the backing file */

    Err *(*snapshots)(BlockNode *, Snapshot **, unsigned *);
    Err *(*snapshot_create)(BlockNode *, Snapshot *);
    Err *(*snapshot_apply)(BlockNode *, const char *id_or_name);
    Err *(*snapshot_delete)(BlockNode *, const char *id_or_name);
    Err *(*snapshot_load)(BlockNode *, const char *id_or_name);
    int (*vmstate_read )(BlockNode *, uint64_t off, const IoVec *);
    int (*vmstate_write)(BlockNode *, uint64_t off, const IoVec *);
    int (*vmstate_clear)(BlockNode *);
    int (*vmstate_extent)(BlockNode *, uint64_t off, uint64_t len, Extent *out);

    /* Persistent dirty bitmaps: may one of that name be stored; store or remove it. Loading is open's work. */
    Err *(*bitmap_can_store)(BlockNode *, const char *name, uint32_t granularity);
    Err *(*bitmap_remove)(BlockNode *, const char *name);

    /*
     * Creation: a struct of create_size whose PROPs are -o's, in the order of "Formatting ..". `file` is open and
     * empty (formats; use a Disk with disk_set_growing), or NULL (protocols). size, backing_file and backing_fmt
     * (`size` a uint64_t with .units) may be rows: they are filled, and stand in that place of the list; they come
     * first otherwise. Rows with .def are always told, others only when given.
     */
    const Field *create_fields;
    size_t create_size;
    Err *(*create)(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file);
    /* Would it refuse? Asked before a file that may be there is cut. May be NULL. */
    Err *(*check_create)(BlockGraph *g, const CreateOptions *o, const void *opts);
    bool create_is_file;                        /* raw: the protocol makes a file of the size, and that is it */
    int (*remove)(const char *filename);        /* protocols: undoes a creation that went wrong later */
    Err *(*measure)(const void *opts, BlockNode *source, uint64_t size, Measure *out);
    const Field *amend_fields;                  /* subset that can be changed; a struct of create_size */
    Err *(*amend)(BlockNode *, const void *opts, const json_t *given /* names that were given */, bool force,
                  void (*progress)(void *, uint64_t, uint64_t), void *);
};

/* What every creation has; the rest is the driver's table. */
struct CreateOptions {
    const char *filename;           /* protocols: what to make */
    uint64_t size;
    const char *backing, *backing_format;       /* NULL: none */
};

/* A row, collected into block_set. */
#define BLOCK(name) const BlockDriver block_##name
extern const BlockDriver *const block_set[];    /* NULL-terminated; written by tools/sets.py */

/* Tells whoever asked by graph_on_corruption. */
void graph_tell_corruption(BlockNode *n, const char *what, uint64_t off, bool fatal);
struct Yanks *graph_yanks(const BlockGraph *g);         /* graph_set_yanks' */
/* open(2) of a file that is there; /dev/fdset/N is one of that set with such an access mode. -1 and errno. */
int graph_open_file(BlockGraph *g, const char *path, int flags);

/* ---- for drivers: children */

/*
 * Opens options[role] (an object, or the name of a node) as a child. A missing
 * one is an error if `required`, else *out is NULL.
 */
MUST_USE Err *child_open(BlockNode *parent, const json_t *options, const char *role, bool required, BlockChild **out);
MUST_USE Err *child_attach(BlockNode *parent, BlockNode *child, const char *role, BlockChild **out);   /* takes its own hold */
/*
 * A further file that the image itself names (a qcow2's data file, a VMDK's
 * extents): options[role] if the user gave that, else `name`, relative to the
 * folder of the image, always a plain file of the host: "json:" and "nbd:" mean
 * nothing here, whoever made the image shall not choose where the program reads.
 */
MUST_USE Err *child_open_named(BlockNode *parent, const char *name, const char *role, BlockChild **out);
void child_detach(BlockChild *c);               /* may yield; NULL is fine */
MUST_USE Err *child_refresh_perms(BlockNode *n);    /* after what child_perm answers has changed */

/* Data: the same rules as disk_*; offsets beyond the child's end extend a file (if the child has PERM_RESIZE). */
int child_read (BlockChild *c, uint64_t off, const IoVec *q, unsigned flags);
int child_write(BlockChild *c, uint64_t off, const IoVec *q, unsigned flags);
int child_zero (BlockChild *c, uint64_t off, uint64_t len, unsigned flags);
int child_discard(BlockChild *c, uint64_t off, uint64_t len);
int child_flush(BlockChild *c);
int child_copy(BlockNode *from, uint64_t from_off, BlockChild *to, uint64_t to_off, uint64_t len);
MUST_USE Err *child_resize(BlockChild *c, uint64_t len, bool exact, Preallocation p);
/* All that disk_resize does, for a driver that changes its own node's size (amend). */
MUST_USE Err *node_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p);
uint64_t child_size(BlockChild *c);             /* asks the driver: a file may have grown */
/* Plain buffers. A read that meets the end of the node is -EIO. */
int child_pread (BlockChild *c, uint64_t off, void *buf, size_t len);
int child_pwrite(BlockChild *c, uint64_t off, const void *buf, size_t len, unsigned flags);
/* Reads what is there and zeroes the rest. */
int child_pread_padded(BlockChild *c, uint64_t off, void *buf, size_t len);

/* Something happened that a test wants to hear of ("l2_update"): the blkdebug filter below, if there is one, acts. */
void block_event(BlockChild *c, const char *event);

/* Memory for data of this node, aligned as it likes; NULL: not that much. block_buf_free takes NULL. */
void *block_buf(BlockNode *n /* NULL: for any */, size_t len);
void block_buf_free(void *buf);
/* calloc that may fail: sizes that an image chose. NULL on overflow or when memory is short. */
void *try_alloc(size_t n, size_t each);

/* "PATH", for messages: the name of the node's storage. */
const char *node_path(BlockNode *n);
/* The node's options (block/options.c): what every driver has. */
extern const Field node_fields[];

#endif
