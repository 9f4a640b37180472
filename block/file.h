/* SPDX-License-Identifier: MIT */
/*
 * Files and devices of the host as nodes: what the parts of the driver share
 * (file.c opens, file_io.c moves data, file_lock.c locks, file_create.c makes
 * and resizes), and what others may ask about a file.
 */
#ifndef BLOCK_FILE_H
#define BLOCK_FILE_H

#include "block/driver.h"
#include "util/aio.h"

/*
 * Does another process (or another graph) have the file open for writing?
 * *who, if not NULL: "process 12 (qemu-nbd)" or NULL where the host does not
 * say; g_free it. Any protocol node; false for those that are no files.
 */
bool file_in_use(BlockNode *storage, char **who);

/* ---- the driver's own */

typedef struct File {
    BlockNode node;
    char *path;
    uint8_t locking, aio;           /* indices of the options' names */
    bool drop_cache, check_cache_dropped;
    uint32_t max_batch;

    int fd;
    AioKind kind, write_kind;       /* who reads; who writes, allocates, flushes */
    bool device, block_device;      /* device: no plain file; block_device: and a disk */
    bool locks;                     /* bytes are locked, and the host can */
    bool no_zero_range, no_punch, no_discard, no_copy;      /* the host has said so */
    /*
     * The host lets one write to a cached file go on at a time, and those that wait spin: so they wait here,
     * also before a small write would make the loop's thread wait for a long one's worker.
     */
    WorkLane lane;                  /* of what changes it */
    uint64_t discards, discards_failed, discarded;      /* how many; bytes */
    int flush_error;                /* a flush that failed: what was cached may be gone, so all later ones fail */
    unsigned perm, unshared;        /* whose bytes are locked on fd */
    /* The host's last word on holes: [start, end) is data, or a hole. */
    uint64_t seen_start, seen_end;
    bool seen_data;
} File;

extern const char *const file_aio_names[];

/* Locks the bytes on f->fd, and gives back those that are not needed any more. Nothing changed when it fails. */
MUST_USE Err *fnode_take_locks(File *f, unsigned perm, unsigned shared);
/* The bytes of f->perm and f->unshared on another descriptor of the same file. 0 or -errno. */
int fnode_copy_locks(const File *f, int fd);
/* Can this file be locked: 0 or -errno. */
int fnode_can_lock(int fd);
/* The driver's take_perm. */
MUST_USE Err *fnode_take_perm(BlockNode *n, unsigned perm, unsigned shared);

int fnode_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int fnode_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags);
int fnode_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags);
int fnode_discard(BlockNode *n, uint64_t off, uint64_t len);
int fnode_flush(BlockNode *n);
int fnode_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out);
int fnode_copy(BlockNode *from, uint64_t from_off, BlockNode *to, uint64_t to_off, uint64_t len);
/* What was known of these bytes holds no more. */
void fnode_changed(File *f, uint64_t off, uint64_t len);

uint64_t fnode_size_now(BlockNode *n);
MUST_USE Err *fnode_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p);

/* Creation: -o's options. */
typedef struct FileCreate {
    uint8_t preallocation;
    bool nocow;
    uint64_t extent_size_hint;
} FileCreate;
extern const Field file_create_fields[];
MUST_USE Err *fnode_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file);
int fnode_remove(const char *filename);

#endif
