/* SPDX-License-Identifier: MIT */
/*
 * A format for tests, "layer": blocks of 512 bytes that are there or are read
 * from the backing file; which ones is known in memory only. Its data lies at
 * the same place of the file.
 */
#ifndef TESTS_UNIT_BLOCK_LAYER_H
#define TESTS_UNIT_BLOCK_LAYER_H

#include "tests/unit/block-ram.h"

#define LAYER_BLOCK 512u

typedef struct Layer {
    BlockNode node;
    char *named;                /* backing file that "the header" names */
    uint8_t *there;
    int reopened;
} Layer;

static const Field layer_fields[] = { PROP(Layer, named), {0} };

static Err *layer_open(BlockNode *n)
{
    Layer *l = (Layer *)n;

    n->size = child_size(n->file);
    n->limits.request_align = LAYER_BLOCK;
    n->limits.cluster = LAYER_BLOCK;
    l->there = g_malloc0(n->size / LAYER_BLOCK + 1);
    if (l->named)
        n->backing_name = g_strdup(l->named);
    n->write_flags = REQ_UNCHANGED;
    n->zero_flags = REQ_UNCHANGED | REQ_UNMAP;
    return NULL;
}

static void layer_close(BlockNode *n)
{
    g_free(((Layer *)n)->there);
}

static int layer_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Layer *l = (Layer *)n;
    int ret = 0;

    for (size_t at = 0; at < q->len && !ret; at += LAYER_BLOCK) {
        IoVec part = iov_slice(q, at, LAYER_BLOCK);

        if (l->there[(off + at) / LAYER_BLOCK])
            ret = child_read(n->file, off + at, &part, 0);
        else if (n->backing && off + at < child_size(n->backing))
            ret = child_read(n->backing, off + at, &part, 0);
        else
            iov_fill(&part, 0, 0, LAYER_BLOCK);
    }
    return ret;
}

static int layer_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Layer *l = (Layer *)n;
    int ret = child_write(n->file, off, q, 0);

    if (!ret)
        memset(l->there + off / LAYER_BLOCK, 1, q->len / LAYER_BLOCK);
    return ret;
}

static int layer_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Layer *l = (Layer *)n;
    uint64_t first = off / LAYER_BLOCK, i = first;

    while (i < (off + len) / LAYER_BLOCK && l->there[i] == l->there[first])
        i++;
    *out = (Extent){ .len = (i - first) * LAYER_BLOCK };
    if (l->there[first]) {
        out->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET;
        out->host = off;
        out->host_node = n->file->node;
    }
    return 0;
}

static Err *layer_change_backing(BlockNode *n, const char *name, const char *format)
{
    return NULL;
}

static Err *layer_reopen(BlockNode *n, const void *opts, bool read_only)
{
    ((Layer *)n)->reopened++;
    return NULL;
}

BLOCK(layer) = {
    .name = "layer", .doc = "a format, for tests", .kind = DRIVER_FORMAT, .size = sizeof(Layer), .fields = layer_fields,
    .has_backing = true, .open = layer_open, .close = layer_close, .reopen = layer_reopen,
    .read = layer_read, .write = layer_write, .extent = layer_extent, .change_backing = layer_change_backing,
};

#endif
