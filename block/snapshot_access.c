/* SPDX-License-Identifier: MIT */
/*
 * snapshot-access: reads the snapshot that a copy-before-write filter keeps, for
 * an export to a backup program ("fleecing"). What that program has read it may
 * discard here, and then it is copied no more when the guest overwrites it.
 */
#include <errno.h>
#include <string.h>

#include "block/cbw.h"

static Cbw *below(BlockNode *n)
{
    return cbw_of(n->file->node);
}

static Err *access_open(BlockNode *n)
{
    if (!below(n))
        return err_hint(err(ERR_INVALID, "the file of a snapshot-access has to be a copy-before-write filter, not '%s'",
                            node_format(n->file->node)), "It is put over a disk by blockdev-add and qom-set or blockdev-replace.");
    n->size = child_size(n->file);
    n->limits.request_align = n->file->node->limits.request_align;
    return NULL;
}

/* It asks nothing of the filter, and bears all that others do with it. */
static void access_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                              unsigned *cperm, unsigned *cshared)
{
    *cperm = 0;
    *cshared = PERM_ALL;
}

static int access_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    return cbw_read(below(n), off, q);
}

static int access_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    return -EACCES;
}

static int access_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    cbw_forget(below(n), off, len);
    return 0;
}

static int access_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    return cbw_extent(below(n), off, len, out);
}

BLOCK(snapshot_access) = {
    .name = "snapshot-access", .doc = "the snapshot that a copy-before-write filter keeps", .kind = DRIVER_FORMAT,
    .size = sizeof(BlockNode), .open = access_open, .child_perm = access_child_perm, .read = access_read,
    .write = access_write, .discard = access_discard, .extent = access_extent,
};
