/* SPDX-License-Identifier: MIT */
/*
 * What an image holds: a layer's own word, and the word of a chain of them.
 */
#include "block/block-priv.h"

/* The whole of what lies behind the end of a backing file, or where there is none, is zero. */
static void below_nothing(BlockNode *n, uint64_t off, Extent *x)
{
    uint64_t end = n->backing ? node_size_now(n->backing->node) : 0;

    if (off >= end)
        x->flags |= EXTENT_ZERO;
    else
        x->len = MIN(x->len, end - off);
}

/* The driver's word for aligned bytes, cut to what was asked for. */
static int ask(BlockNode *n, uint64_t off, uint64_t len, Extent *x)
{
    const uint64_t mask = n->limits.request_align - 1, skip = off & mask;
    int ret;

    node_busy(n);
    ret = n->drv->extent(n, off - skip, (skip + len + mask) & ~mask, x);
    node_idle(n);
    if (ret)
        return ret;
    if (x->len <= skip)
        return -EIO;            /* a driver that says nothing */
    x->len = MIN(x->len - skip, len);
    x->host += skip;
    return 0;
}

int node_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    uint64_t size;
    int ret;

    while (n && n->drv->kind == DRIVER_FILTER && !n->drv->extent)
        n = n->file ? n->file->node : NULL;
    if (!n)
        return -ENOMEDIUM;
    size = node_size_now(n);
    if (!len || off >= size)
        return -EINVAL;
    len = MIN(len, size - off);
    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED };
    if (n->drv->kind == DRIVER_PROTOCOL) {
        out->flags |= EXTENT_OFFSET;
        out->host = off;
        out->host_node = n;
    }
    if (n->drv->extent) {
        *out = (Extent){ 0 };
        ret = ask(n, off, len, out);
        if (ret)
            return ret;
    }
    if (n->drv->kind == DRIVER_PROTOCOL)
        out->flags |= EXTENT_ALLOCATED;
    if (!(out->flags & EXTENT_ALLOCATED) && n->drv->kind != DRIVER_FILTER)
        below_nothing(n, off, out);
    if (off + out->len == size)
        out->flags |= EXTENT_EOF;
    return 0;
}

/* Data that is a hole of the host's file reads as zero. */
static void ask_storage(Extent *x)
{
    Extent h;
    uint64_t size;

    if (!(x->flags & EXTENT_DATA) || x->flags & EXTENT_ZERO || !(x->flags & EXTENT_OFFSET) || !x->host_node)
        return;
    size = node_size_now(x->host_node);
    if (x->host >= size) {
        x->flags |= EXTENT_ZERO;
        return;
    }
    if (node_extent(x->host_node, x->host, x->len, &h))
        return;                 /* it was only to know more */
    x->len = h.len;
    x->flags |= h.flags & EXTENT_ZERO;
}

int node_extent_above(BlockNode *n, BlockNode *base, bool storage, uint64_t off, uint64_t len, Extent *out)
{
    BlockNode *const end = node_skip_filters(base);
    unsigned depth = 0;
    uint64_t eof = 0;           /* where the top layer ends */

    *out = (Extent){ .len = len };
    for (; n && node_skip_filters(n) != end; n = node_backing(n), depth++) {
        Extent x;
        int ret;

        if (depth && off >= node_size_now(n)) {     /* this layer is short: it says zero */
            *out = (Extent){ .len = len, .flags = EXTENT_ZERO | EXTENT_ALLOCATED, .depth = depth };
            break;
        }
        ret = node_extent(n, off, len, &x);
        if (ret)
            return ret;
        if (x.flags & EXTENT_EOF && !depth)
            eof = off + x.len;
        x.depth = depth;
        *out = x;
        len = x.len;
        if (x.flags & EXTENT_ALLOCATED) {
            if (storage)
                ask_storage(out);
            break;
        }
    }
    out->flags &= ~(unsigned)EXTENT_EOF;
    if (off + out->len == eof)
        out->flags |= EXTENT_EOF;
    return 0;
}
