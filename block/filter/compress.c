/* SPDX-License-Identifier: MIT */
/*
 * compress: writes become compressed ones. A format compresses whole clusters,
 * so that is this filter's alignment: smaller writes are widened to them.
 */
#include "block/filter/pass.h"

static Err *compress_open(BlockNode *n)
{
    const BlockNode *f = node_skip_filters(n->file->node);

    if (!f || !f->drv->write_compressed)
        return err_hint(err(ERR_UNSUPPORTED, "Compression is not supported for this format ('%s')",
                            f ? f->drv->name : "none"), "qcow2 can.");
    if (f->limits.cluster)
        n->limits.request_align = f->limits.cluster;
    n->write_flags = 0;
    n->zero_flags &= ~(unsigned)REQ_NO_FALLBACK;
    return NULL;
}

static int compress_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    uint64_t size = child_size(n->file);

    if (off + q->len <= size)
        return pass_write_compressed(n, off, q);
    IoVec part = iov_slice(q, 0, size - off);       /* the last cluster may be shorter */
    return pass_write_compressed(n, off, &part);
}

static int compress_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    uint64_t size = child_size(n->file);

    return pass_zero(n, off, off + len > size ? size - off : len, flags);
}

static int compress_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    uint64_t size = child_size(n->file);

    return pass_discard(n, off, off + len > size ? size - off : len);
}

BLOCK(compress) = {
    .name = "compress", .doc = "writes compressed", .kind = DRIVER_FILTER, .size = sizeof(BlockNode),
    .open = compress_open, .read = pass_read, .write = compress_write, .write_compressed = pass_write_compressed,
    .zero = compress_zero, .discard = compress_discard, .size_now = pass_size_now,
};
