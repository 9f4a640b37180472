/* SPDX-License-Identifier: MIT */
/*
 * VMDK as VMware's "Virtual Disk Format" 1.1 and 5.0 have it: a descriptor
 * (text) that lists extents, the parts of the disk one behind the other. It is
 * a file of its own, or lies within the one sparse extent there is.
 *
 *   desc.c    the descriptor's text
 *   sparse.c  headers of sparse extents (KDMV, COWD, SESPARSE), their tables
 *   grain.c   entries of grain tables: cached, written after the data
 *   io.c      read, write, zero, where things lie
 *   vmdk.c    open, info, check, the driver's row
 *   create.c  new images
 */
#ifndef BLOCK_VMDK_VMDK_H
#define BLOCK_VMDK_VMDK_H

#include <glib.h>
#include <inttypes.h>

#include "block/format.h"

enum {
    VMDK_SECTOR = 512,
    VMDK_HEADER = 512,
    VMDK_DESC_MAX = 1 << 20,        /* bytes of a descriptor */
    VMDK_EXTENTS_MAX = 8192,
    VMDK_CACHE = 8 << 20,           /* bytes of grain tables in memory */
};
#define VMDK_NO_CID     UINT32_C(0xffffffff)
#define VMDK_GD_AT_END  UINT64_MAX
#define VMDK_GRAIN_MAX  (UINT64_C(64) << 20)

/* Fields of the header of hosted sparse extents. */
enum {
    SH_VERSION = 4, SH_FLAGS = 8, SH_CAPACITY = 12, SH_GRAIN = 20, SH_DESC_OFFSET = 28, SH_DESC_SIZE = 36, SH_GTES = 44,
    SH_RGD = 48, SH_GD = 56, SH_OVERHEAD = 64, SH_UNCLEAN = 72, SH_NEWLINES = 73, SH_COMPRESSION = 77,
};
enum { SF_NEWLINES = 1, SF_REDUNDANT = 2, SF_ZEROED = 4, SF_COMPRESSED = 1 << 16, SF_MARKERS = 1 << 17 };
/* Markers: a sector, or what stands before a compressed grain: where it belongs (in sectors), bytes of deflated data. */
enum { MARKER_EOS, MARKER_GT, MARKER_GD, MARKER_FOOTER };
enum { M_SECTOR = 0, M_SIZE = 8, M_TYPE = 12, M_DATA = 12 };

typedef enum VmdkKind { VMDK_ZERO, VMDK_FLAT, VMDK_SPARSE, VMDK_COWD, VMDK_SESPARSE } VmdkKind;

/* What the descriptor says of an extent. */
typedef struct VmdkLine {
    enum { VMDK_NOACCESS, VMDK_RDONLY, VMDK_RW } access;
    uint64_t sectors, offset;
    char *type, *name;              /* name: NULL for ZERO */
} VmdkLine;

typedef struct VmdkDesc {
    uint32_t cid, parent_cid;
    char *create_type, *parent;     /* parent: parentFileNameHint; NULL: none */
    GArray *lines;                  /* VmdkLine */
} VmdkDesc;

typedef struct VmdkArea { uint64_t off, len; } VmdkArea;

typedef struct VmdkExtent {
    VmdkKind kind;
    bool rdonly;                    /* says the descriptor */
    BlockChild *file;               /* NULL: ZERO */
    char *type;                     /* as info shows it; "" where the descriptor lies within */
    uint64_t start, len;            /* bytes of the disk */
    uint64_t flat;                  /* FLAT: offset in the file */

    /* sparse kinds; offsets and lengths in bytes */
    uint64_t grain, tables;         /* tables: entries of the directory that the disk needs */
    uint32_t gtes;                  /* entries of a table */
    uint8_t entry;                  /* bytes of an entry */
    bool compressed, markers, zeroed, footer;
    bool tracked;                   /* tracked: another file knows what changed */
    VmdkArea desc;                  /* off 0: none within */
    uint8_t *gd, *rgd;              /* directories as in the file: `tables` entries; rgd NULL: none */
    uint64_t gd_off, rgd_off;
    uint64_t se_tables, se_grains;  /* SESPARSE: where tables and grains begin */
    GArray *meta;                   /* VmdkArea, sorted: header, descriptor, directories, tables */
    Body body;
    uint64_t next;                  /* offset where the next grain goes */
    uint64_t tickets, turn;         /* compressed grains take their places in the order in which they came */
    CoQueue queue;
} VmdkExtent;

/* A grain table in memory. */
typedef struct VmdkTable {
    uint32_t extent;
    uint64_t index;                 /* in the directory */
    uint8_t *mem;
    bool dirty, writing;
    struct VmdkTable *newer, *older;
} VmdkTable;

typedef struct Vmdk {
    BlockNode n;
    VmdkExtent *extents;
    uint32_t count;
    VmdkDesc desc;
    uint64_t desc_off, desc_size;   /* where the descriptor lies in n.file; size 0: nowhere */
    bool cid_written, parent_checked, parent_differs;
    CoMutex cid_lock, sync_lock;
    BusySet allocating;             /* grains of the disk */
    BusySet loading;                /* tables */
    GHashTable *cache;              /* VmdkTable by extent and index */
    VmdkTable *newest, *oldest;
    uint64_t cached;                /* bytes */
    uint8_t *plain;                 /* the last grain that was inflated */
    uint64_t plain_at;              /* its offset in the file */
    uint32_t plain_extent;
} Vmdk;

static inline bool vmdk_is_sparse(const VmdkExtent *e) { return e->kind >= VMDK_SPARSE; }

/* desc.c */
bool vmdk_is_desc(const uint8_t *text, size_t len);         /* does it begin as a descriptor does */
MUST_USE Err *vmdk_desc_parse(const char *text, VmdkDesc *out);
void vmdk_desc_clear(VmdkDesc *d);
/* The text with another CID; g_free it. NULL: it has none. */
char *vmdk_desc_with_cid(const char *text, uint32_t cid);

/* sparse.c: the extent's file is open; fills in the rest. */
MUST_USE Err *vmdk_sparse_open(Vmdk *s, VmdkExtent *e, const uint8_t header[VMDK_HEADER]);
MUST_USE Err *vmdk_cowd_open(Vmdk *s, VmdkExtent *e, const uint8_t header[VMDK_HEADER]);
MUST_USE Err *vmdk_sesparse_open(Vmdk *s, VmdkExtent *e);
/* Why it cannot be written, or what writing needs to know. */
MUST_USE Err *vmdk_sparse_writable(VmdkExtent *e);
void vmdk_extent_clear(VmdkExtent *e);

/* grain.c */
typedef struct VmdkGrain {
    enum { GRAIN_NONE, GRAIN_ZERO, GRAIN_DATA } state;
    uint64_t off;                   /* DATA: in the extent's file */
} VmdkGrain;
int vmdk_grain_get(Vmdk *s, VmdkExtent *e, uint64_t grain, VmdkGrain *out);
int vmdk_grain_set(Vmdk *s, VmdkExtent *e, uint64_t grain, VmdkGrain to);
/* Is the table of that grain there at all? (NONE without looking further.) */
bool vmdk_has_table(const VmdkExtent *e, uint64_t grain);
int vmdk_sync(Vmdk *s);             /* data, then tables */
void vmdk_cache_free(Vmdk *s);
bool vmdk_hits_meta(const VmdkExtent *e, uint64_t off, uint64_t len);

/* io.c */
int vmdk_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int vmdk_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int vmdk_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags);
int vmdk_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out);

/* check.c */
int vmdk_check(BlockNode *n, CheckResult *out, unsigned fix);

/* create.c */
enum {
    VMDK_SUB_MONO_SPARSE, VMDK_SUB_MONO_FLAT, VMDK_SUB_2GB_SPARSE, VMDK_SUB_2GB_FLAT, VMDK_SUB_STREAM
};
typedef struct VmdkCreate {
    char *adapter_type, *backing_file, *backing_fmt, *hwversion, *toolsversion;
    uint8_t subformat;
    bool compat6, zeroed_grain;
} VmdkCreate;
extern const Field vmdk_create_fields[];
Err *vmdk_check_create(BlockGraph *g, const CreateOptions *o, const void *opts);
Err *vmdk_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file);

#endif
