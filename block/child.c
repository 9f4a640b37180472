/* SPDX-License-Identifier: MIT */
/*
 * What drivers ask of their children, and memory for data.
 */
#include <stdlib.h>
#include <string.h>

#include "block/block-priv.h"

static bool may_write(const BlockChild *c, unsigned flags)
{
    return c->perm & (flags & REQ_UNCHANGED ? PERM_WRITE | PERM_WRITE_UNCHANGED : PERM_WRITE);
}

/* 0, or why a change of these bytes cannot be. */
static int check_change(BlockChild *c, uint64_t off, uint64_t len, unsigned *flags)
{
    if (!may_write(c, *flags))
        return -EPERM;
    if (len > BLOCK_MAX_SIZE || off > BLOCK_MAX_SIZE - len)
        return -EINVAL;
    if (off + len <= c->node->size || off + len <= node_size_now(c->node))
        return 0;
    if (!(c->perm & PERM_RESIZE))
        return -EIO;
    *flags |= REQ_GROWS;
    return node_grows(c->node) ? 0 : -ENOSPC;
}

int child_read(BlockChild *c, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = request_check(off, q->len, c->node->size);

    if (ret == -EIO)
        ret = request_check(off, q->len, node_size_now(c->node));
    return ret ? ret : node_read(c->node, off, q, flags);
}

int child_write(BlockChild *c, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = check_change(c, off, q->len, &flags);

    return ret ? ret : node_write(c->node, off, q, flags);
}

int child_zero(BlockChild *c, uint64_t off, uint64_t len, unsigned flags)
{
    int ret = check_change(c, off, len, &flags);

    return ret ? ret : node_zero(c->node, off, len, flags);
}

int child_discard(BlockChild *c, uint64_t off, uint64_t len)
{
    if (!may_write(c, 0))
        return -EPERM;
    int ret = request_check(off, len, c->node->size);
    return ret ? ret : node_discard(c->node, off, len);
}

int child_flush(BlockChild *c)
{
    return node_flush(c->node);
}

int child_copy(BlockNode *from, uint64_t from_off, BlockChild *to, uint64_t to_off, uint64_t len)
{
    int ret = request_check(from_off, len, node_size_now(from));
    unsigned flags = 0;

    if (!ret)
        ret = check_change(to, to_off, len, &flags);
    return ret ? ret : node_copy(from, from_off, to->node, to_off, len);
}

Err *child_resize(BlockChild *c, uint64_t len, bool exact, Preallocation p)
{
    if (!(c->perm & PERM_RESIZE))
        return err(ERR_INVALID, "'%s' may not be resized here", node_path(c->node));
    return node_resize(c->node, len, exact, p);
}

uint64_t child_size(BlockChild *c)
{
    return node_size_now(c->node);
}

int child_pread(BlockChild *c, uint64_t off, void *buf, size_t len)
{
    return child_read(c, off, &IOV_BUF(buf, len), 0);
}

int child_pwrite(BlockChild *c, uint64_t off, const void *buf, size_t len, unsigned flags)
{
    return child_write(c, off, &IOV_BUF(buf, len), flags);
}

int child_pread_padded(BlockChild *c, uint64_t off, void *buf, size_t len)
{
    uint64_t size = node_size_now(c->node);
    size_t there = off < size ? MIN(len, size - off) : 0;

    memset((char *)buf + there, 0, len - there);
    return there ? child_pread(c, off, buf, there) : 0;
}

void block_event(BlockChild *c, const char *event)
{
    for (BlockNode *n = c ? c->node : NULL; n && n->drv->kind == DRIVER_FILTER; n = n->file ? n->file->node : NULL) {
        if (n->drv->event)
            n->drv->event(n, event);
    }
}

void *block_buf(BlockNode *n, size_t len)
{
    size_t align = n ? MAX(n->limits.mem_align, 512) : 4096;
    void *p = NULL;

    return posix_memalign(&p, align, MAX(len, 1)) ? NULL : p;
}

void block_buf_free(void *buf)
{
    free(buf);
}

void *try_alloc(size_t n, size_t each)
{
    return calloc(MAX(n, 1), MAX(each, 1));
}

const char *node_path(BlockNode *n)
{
    BlockNode *s = node_storage(n);

    if (s && s->filename && *s->filename)
        return s->filename;
    return n->filename && *n->filename ? n->filename : n->node_name ? n->node_name : n->drv->name;
}
