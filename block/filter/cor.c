/* SPDX-License-Identifier: MIT */
/*
 * copy-on-read: what is read from a backing file is written into the layer
 * above it, so that it is there the next time. With `bottom` only what lies in
 * that layer or above it is copied.
 *
 * A copy works on whole clusters and is alone on them: a guest's write to the
 * same place comes before it or after it, never between its read and its write.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/filter/pass.h"

#define COPY_MAX (1u << 20)         /* bytes copied at once, where the reader's memory does not serve */

typedef struct Cor {
    BlockNode node;
    char *bottom_name;
    BlockNode *below;               /* held: the layer below the bottom, or NULL: all is copied */
    uint32_t cluster;
    Ranges ranges;
} Cor;

static const Field cor_fields[] = {
    PROP(Cor, bottom_name, .as = "bottom", .doc = "the lowest node whose data is copied"),
    {0}
};

static Err *find_bottom(Cor *c)
{
    BlockNode *top = c->node.file->node, *b = graph_find(c->node.graph, c->bottom_name), *n;

    if (!b)
        return err(ERR_NOT_FOUND, "Bottom node '%s' not found", c->bottom_name);
    if (b->drv->kind == DRIVER_FILTER)
        return err(ERR_INVALID, "Bottom node '%s' is a filter", c->bottom_name);
    for (n = node_skip_filters(top); n && n != b; n = node_skip_filters(node_backing(n)))
        ;
    if (!n)
        return err(ERR_INVALID, "Bottom node '%s' is not in the chain below '%s'", c->bottom_name, node_path(top));
    c->below = node_backing(b);
    if (c->below)
        node_ref(c->below);
    return NULL;
}

static Err *cor_open(BlockNode *n)
{
    Cor *c = (Cor *)n;
    BlockNode *top = node_skip_filters(n->file->node);

    if (n->read_only)
        return err_hint(err(ERR_INVALID, "Block node is read-only"), "Copying what is read writes to '%s'.", node_path(n));
    if (c->bottom_name)
        TRY(find_bottom(c));
    c->cluster = top && top->limits.cluster ? top->limits.cluster : 4096;
    return NULL;
}

static void cor_close(BlockNode *n)
{
    node_unref(((Cor *)n)->below);
}

static void cor_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                           unsigned *cperm, unsigned *cshared)
{
    *cperm = perm | (n->read_only ? 0 : PERM_WRITE_UNCHANGED);
    *cshared = shared;
}

/* Copies one piece up that lies in whole clusters of the top layer. */
static int copy_piece(Cor *c, uint64_t off, const Extent *x, void *buf)
{
    BlockChild *file = c->node.file;
    IoVec q = IOV_BUF(buf, x->len);
    int ret;

    if (x->flags & EXTENT_ZERO)
        return child_zero(file, off, x->len, REQ_UNCHANGED);
    ret = child_read(file, off, &q, 0);
    return ret ? ret : child_write(file, off, &q, REQ_UNCHANGED);
}

/* What of [off, end) is not in the top layer but above `below` goes up. */
static int copy_up(Cor *c, uint64_t off, uint64_t end, void *buf)
{
    while (off < end) {
        Extent x;
        int ret = node_extent_above(c->node.file->node, c->below, false, off, MIN(end - off, COPY_MAX), &x);

        if (!ret && x.depth && x.flags & EXTENT_ALLOCATED)
            ret = copy_piece(c, off, &x, buf);
        if (ret)
            return ret;
        off += x.len;
    }
    return 0;
}

/* Is there anything to copy? Most reads find all of it in the top layer. */
static bool all_there(Cor *c, uint64_t off, uint64_t end)
{
    while (off < end) {
        Extent x;

        if (node_extent(c->node.file->node, off, end - off, &x) || !(x.flags & EXTENT_ALLOCATED))
            return false;
        off += x.len;
    }
    return true;
}

static int cor_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Cor *c = (Cor *)n;
    uint64_t first = off / c->cluster * c->cluster;
    uint64_t end = MIN((off + q->len + c->cluster - 1) / c->cluster * c->cluster, child_size(n->file));
    Range r;
    int ret = 0;

    if (!(n->file->perm & (PERM_WRITE | PERM_WRITE_UNCHANGED)))
        return flags & REQ_PREFETCH ? 0 : pass_read(n, off, q, flags);
    if (!all_there(c, first, end)) {
        void *buf = block_buf(n, MIN(end - first, COPY_MAX));

        if (!buf)
            return -ENOMEM;
        range_enter(&c->ranges, &r, first, end - first, true);
        ret = copy_up(c, first, end, buf);
        range_leave(&c->ranges, &r);
        block_buf_free(buf);
    }
    if (ret || flags & REQ_PREFETCH)
        return ret;
    return pass_read(n, off, q, flags);
}

static int cor_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Cor *c = (Cor *)n;
    Range r;

    range_enter(&c->ranges, &r, off, q->len, false);
    int ret = pass_write(n, off, q, flags);
    range_leave(&c->ranges, &r);
    return ret;
}

static int cor_write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    Cor *c = (Cor *)n;
    Range r;

    range_enter(&c->ranges, &r, off, q->len, false);
    int ret = pass_write_compressed(n, off, q);
    range_leave(&c->ranges, &r);
    return ret;
}

static int cor_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Cor *c = (Cor *)n;
    Range r;

    range_enter(&c->ranges, &r, off, len, false);
    int ret = pass_zero(n, off, len, flags);
    range_leave(&c->ranges, &r);
    return ret;
}

static int cor_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    Cor *c = (Cor *)n;
    Range r;

    range_enter(&c->ranges, &r, off, len, false);
    int ret = pass_discard(n, off, len);
    range_leave(&c->ranges, &r);
    return ret;
}

BLOCK(copy_on_read) = {
    .name = "copy-on-read", .doc = "keeps what is read from backing files", .kind = DRIVER_FILTER,
    .size = sizeof(Cor), .fields = cor_fields, .open = cor_open, .close = cor_close, .child_perm = cor_child_perm,
    .read = cor_read, .write = cor_write, .write_compressed = cor_write_compressed, .zero = cor_zero,
    .discard = cor_discard, .size_now = pass_size_now,
};
