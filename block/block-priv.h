/* SPDX-License-Identifier: MIT */
/*
 * What the files of the block layer's core share: the graph's and a disk's
 * insides, requests on nodes, opening below a parent. Drivers do not include it.
 */
#ifndef BLOCK_PRIV_H
#define BLOCK_PRIV_H

#include <errno.h>
#include <glib.h>

#include "block/driver.h"
#include "block/objects.h"

struct BlockGraph {
    Loop *loop;
    Objects *objects;
    struct Yanks *yanks;
    struct FdSets *fdsets;
    void (*over)(void *opaque, BlockNode *n, uint64_t threshold, uint64_t by);
    void *over_opaque;
    void (*corrupt)(void *opaque, BlockNode *n, const char *what, uint64_t off, bool fatal);
    void *corrupt_opaque;
    struct ThrottlePart *throttles; /* block/throttle.c's */
    BlockNode *nodes, **last;       /* in the order of opening */
    Disk *disks;
    unsigned next_id;               /* for "#block000" */
    unsigned drains;                /* the nodes' sum */
    bool quiet;                     /* some node may be quiesced: else graph_requiesce has nothing to do */
    CoQueue drained;                /* waits until a quiesced node has no request in flight */
    struct Job *jobs;               /* block/job.c's */
    bool inactive;                  /* nodes are opened so (block/activate.c) */
};

struct Disk {
    BlockGraph *graph;
    BlockChild *root;               /* NULL: no medium */
    char *who;
    unsigned perm, shared;          /* kept while there is no medium */
    unsigned in_flight, held;       /* held: by disk_hold, part of in_flight */
    bool writethrough, growing, told_drain;
    const DiskOps *ops;             /* never NULL */
    void *opaque;
    struct ThrottleMember *limits;  /* or NULL */
    DiskStats *stats;               /* the owner's, or NULL */
    CoQueue idle;                   /* disk_free waits for in_flight */
    CoQueue resumed;                /* requests that a drain holds back */
    Disk *next;                     /* of the graph */
};

/* Longest chain of backing files, and deepest nesting of nodes: libvirt's limit as well. */
#define NODES_DEEP 200

/* Flags of opening that only block/open.c gives. */
enum { OPEN_PROTOCOL = 1 << 16 };   /* a missing "driver" is a protocol, the file itself */

/* What a node takes over from the one above it, where its own options do not say. */
typedef struct Inherit {
    const BlockNode *parent;        /* or NULL */
    unsigned flags;                 /* OpenFlags */
    bool read_only, auto_read_only, force_share, direct, no_flush, unmap;
    unsigned depth;
    bool no_chain;                  /* its backing file is the caller's work */
} Inherit;

/* block/open.c */
MUST_USE Err *node_open_below(BlockGraph *g, const json_t *options, const Inherit *in, BlockNode **out);
/* The folder of the node's file joined with a relative name; absolute and protocol names as they are. g_free it. */
MUST_USE Err *node_relative_name(BlockNode *n, const char *name, char **out);
bool name_has_protocol(const char *name);
/* The same, whatever the name looks like: a colon is part of it. */
MUST_USE Err *node_folder_name(BlockNode *n, const char *name, char **out);
/* "disk.img", "nbd://..": the options of the protocol node alone. */
MUST_USE Err *options_from_protocol_name(const char *name, json_t **out);

/* block/options.c */
MUST_USE Err *options_normalise(const json_t *options, json_t **out);   /* dots become nests; the caller's */
char *json_scalar_text(const json_t *v);        /* "on", "12", "x"; NULL for objects, arrays and null. g_free it */
/* Sets the PROPs of obj that `table` has from options; what it took is removed from options. */
MUST_USE Err *options_take(json_t *options, const Field *table, void *obj);
/* The dotted name's value, borrowed, or NULL. */
json_t *options_get(const json_t *options, const char *dotted);
const char *options_str(const json_t *options, const char *dotted);    /* a string's, or NULL */

MUST_USE Err *driver_unknown(const char *name);

/* block/graph.c */
void graph_add(BlockGraph *g, BlockNode *n);
MUST_USE Err *graph_check_name(BlockGraph *g, const char *name);
void node_destroy(BlockNode *n, bool opened);   /* the end of an unref, or of an open that failed */
/* Edges: made without a node, attached, detached, freed. `role` is copied. */
BlockChild *edge_new(BlockNode *parent, Disk *disk, const char *role);
void edge_free(BlockChild *c);                              /* attached to nothing any more */
MUST_USE Err *edge_attach(BlockChild *c, BlockNode *n);     /* takes a hold; checks loops and permissions */
void edge_detach(BlockChild *c);                            /* gives it back; may yield */
void edge_link(BlockChild *c, BlockNode *n);                /* the node's list alone: neither hold nor permission */
void edge_unlink(BlockChild *c);
bool node_reaches(const BlockNode *from, const BlockNode *to);
void node_resized(BlockNode *n);                            /* tells the disks above */

/* block/perm.c: makes the permissions of these nodes and all below what their parents ask for; all or nothing. */
MUST_USE Err *perms_refresh(BlockNode *const *nodes, unsigned n);
/* What would be refused when images that another process has come back (block/activate.c). Nothing changes. */
MUST_USE Err *perms_when_active(BlockGraph *g);
MUST_USE Err *edge_set_perm(BlockChild *c, unsigned perm, unsigned shared);

/*
 * block/reopen.c: turns one node alone read-only or back, its options otherwise as they are. Its options as values, in
 * a struct of its driver's size.
 */
MUST_USE Err *reopen_alone(BlockNode *n, bool read_only);
BlockNode *reopen_values(const BlockNode *n);
void reopen_values_free(BlockNode *v);

/* block/drain.c */
void graph_requiesce(BlockGraph *g);            /* after every change of edges or drains */
static inline void node_busy(BlockNode *n) { n->in_flight++; }
void node_idle_now(BlockNode *n);
static inline void node_idle(BlockNode *n)
{
    if (!--n->in_flight && n->graph->drains)
        node_idle_now(n);
}

/*
 * block/io.c: requests on a node. The caller has checked who may, and where the end is; a write that may go beyond it
 * says so, as the end may come nearer while the request waits for its turn.
 */
enum { REQ_GROWS = 1 << 16 };
int node_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int node_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int node_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags);
int node_discard(BlockNode *n, uint64_t off, uint64_t len);
int node_copy(BlockNode *from, uint64_t from_off, BlockNode *to, uint64_t to_off, uint64_t len);
uint64_t node_size_now(BlockNode *n);
bool node_grows(const BlockNode *n);
/* Is it a read or write that may be: 0, or -EINVAL, -EIO. */
static inline int request_check(uint64_t off, uint64_t len, uint64_t size)
{
    if (len > BLOCK_MAX_SIZE || off > BLOCK_MAX_SIZE - len)
        return -EINVAL;
    return off + len > size ? -EIO : 0;
}

#endif
