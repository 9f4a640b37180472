/* SPDX-License-Identifier: MIT */
/*
 * What a filter does where it does nothing: see block/filter/pass.h.
 */
#include "block/filter/pass.h"

Err *pass_open(BlockNode *n)
{
    return NULL;
}

/* A filter with an alignment of its own is asked for what lies behind the end of the last block: zeroes. */
int pass_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    uint64_t size = n->file->node->size;

    if (off + q->len <= size || off + q->len <= (size = child_size(n->file)) || !q->n)
        return child_read(n->file, off, q, flags);
    IoVec part = iov_slice(q, 0, off < size ? size - off : 0);
    int ret = part.len ? child_read(n->file, off, &part, flags) : 0;
    iov_fill(q, part.len, 0, q->len - part.len);
    return ret;
}

int pass_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    return child_write(n->file, off, q, flags);
}

int pass_write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    return child_write(n->file, off, q, REQ_COMPRESSED);
}

int pass_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    return child_zero(n->file, off, len, flags);
}

int pass_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    return child_discard(n->file, off, len);
}

uint64_t pass_size_now(BlockNode *n)
{
    return child_size(n->file);
}
