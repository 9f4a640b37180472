/* SPDX-License-Identifier: MIT */
/*
 * Questions and orders that go to a format's driver: information, check,
 * snapshots, the machine's state inside an image, the header's backing file.
 * Filters above the format are passed by.
 */
#include <string.h>

#include "block/block-priv.h"

static Err *cannot(const BlockNode *n, const char *what)
{
    return err(ERR_UNSUPPORTED, "Block format '%s' does not support %s", n->drv->name, what);
}

static Err *no_node(void)
{
    return err(ERR_INVALID, "there is no image below the filters");
}

int64_t node_allocated(BlockNode *n)
{
    int64_t sum = 0;

    if (n->drv->allocated)
        return n->drv->allocated(n);
    if (n->drv->kind == DRIVER_PROTOCOL)
        return -ENOTSUP;
    for (BlockChild *c = n->children; c; c = c->next) {
        int64_t one;

        if (!c->node || c == n->backing)
            continue;
        one = node_allocated(c->node);
        if (one < 0)
            return one;
        sum += one;
    }
    return sum;
}

Err *node_info(BlockNode *n, NodeInfo *out)
{
    *out = (NodeInfo){ 0 };
    n = node_skip_filters(n);
    if (!n)
        return no_node();
    out->encrypted = n->encrypted;
    out->cluster_size = n->limits.cluster;
    out->unknown = !n->drv->info;
    return n->drv->info ? n->drv->info(n, out) : NULL;
}

int node_check(BlockNode *n, CheckResult *out, unsigned fix)
{
    n = node_skip_filters(n);
    if (!n || !n->drv->check)
        return -ENOTSUP;
    if (fix && n->read_only)
        return -EROFS;
    int ret = n->drv->check(n, out, fix);
    n->write_gen += fix != 0;
    return ret;
}

/* ---- snapshots */

Err *node_snapshots(BlockNode *n, Snapshot **list, unsigned *count)
{
    *list = NULL;
    *count = 0;
    n = node_skip_filters(n);
    if (!n)
        return no_node();
    return n->drv->snapshots ? n->drv->snapshots(n, list, count) : cannot(n, "internal snapshots");
}

void snapshots_free(Snapshot *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        g_free(list[i].id);
        g_free(list[i].name);
    }
    g_free(list);
}

/* What changes what the node reads as, with nobody reading meanwhile. */
static Err *quietly(BlockNode *n, Err *(*fn)(BlockNode *, const char *), const char *arg, bool writes)
{
    if (writes && n->read_only)
        return err(ERR_INVALID, "'%s' is open read-only", node_path(n));
    node_drain_begin(n);
    Err *e = fn(n, arg);
    n->write_gen++;
    node_drain_end(n);
    return e;
}

Err *node_snapshot_create(BlockNode *n, Snapshot *s)
{
    n = node_skip_filters(n);
    if (!n)
        return no_node();
    if (!n->drv->snapshot_create)
        return cannot(n, "internal snapshots");
    if (n->read_only)
        return err(ERR_INVALID, "'%s' is open read-only", node_path(n));
    node_drain_begin(n);
    Err *e = n->drv->snapshot_create(n, s);
    n->write_gen++;
    node_drain_end(n);
    return e;
}

Err *node_snapshot_apply(BlockNode *n, const char *id_or_name)
{
    n = node_skip_filters(n);
    if (!n)
        return no_node();
    if (!n->drv->snapshot_apply)
        return cannot(n, "internal snapshots");
    uint64_t was = n->size;
    Err *e = quietly(n, n->drv->snapshot_apply, id_or_name, true);
    if (n->size != was)
        node_resized(n);
    return e;
}

Err *node_snapshot_delete(BlockNode *n, const char *id_or_name)
{
    n = node_skip_filters(n);
    if (!n)
        return no_node();
    if (!n->drv->snapshot_delete)
        return cannot(n, "internal snapshots");
    node_take_back(n);
    return quietly(n, n->drv->snapshot_delete, id_or_name, true);
}

Err *node_snapshot_load(BlockNode *n, const char *id_or_name)
{
    n = node_skip_filters(n);
    if (!n)
        return no_node();
    if (!n->drv->snapshot_load)
        return cannot(n, "reading as an internal snapshot");
    if (!n->read_only)
        return err(ERR_INVALID, "Device is not readonly");
    uint64_t was = n->size;
    Err *e = quietly(n, n->drv->snapshot_load, id_or_name, false);
    if (n->size != was)
        node_resized(n);
    return e;
}

int node_vmstate_read(BlockNode *n, uint64_t off, const IoVec *q)
{
    n = node_skip_filters(n);
    if (!n || !n->drv->vmstate_read)
        return -ENOTSUP;
    node_busy(n);
    int ret = n->drv->vmstate_read(n, off, q);
    node_idle(n);
    return ret;
}

int node_vmstate_write(BlockNode *n, uint64_t off, const IoVec *q)
{
    n = node_skip_filters(n);
    if (!n || !n->drv->vmstate_write)
        return -ENOTSUP;
    if (n->read_only)
        return -EROFS;
    node_busy(n);
    int ret = n->drv->vmstate_write(n, off, q);
    n->write_gen++;
    node_idle(n);
    return ret;
}

int node_vmstate_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    n = node_skip_filters(n);
    if (!n || !n->drv->vmstate_extent)
        return -ENOTSUP;
    node_busy(n);
    int ret = n->drv->vmstate_extent(n, off, len, out);
    node_idle(n);
    return ret;
}

void node_take_back(BlockNode *n)
{
    void (*back)(void *) = n->lent;

    n->lent = NULL;
    if (back)
        back(n->lent_opaque);
}

void node_lend(BlockNode *n, void (*back)(void *), void *opaque)
{
    node_take_back(n);
    n->lent = back;
    n->lent_opaque = opaque;
}

int node_vmstate_clear(BlockNode *n)
{
    n = node_skip_filters(n);
    if (!n || !n->drv->vmstate_clear)
        return -ENOTSUP;
    if (n->read_only)
        return -EROFS;
    node_busy(n);
    int ret = n->drv->vmstate_clear(n);
    n->write_gen++;
    node_idle(n);
    return ret;
}

/* ---- the header */

Err *node_change_backing_file(BlockNode *n, const char *name, const char *format, bool require_format)
{
    n = node_skip_filters(n);
    if (!n)
        return no_node();
    if (!n->drv->change_backing)
        return cannot(n, "backing files");
    if (n->read_only)
        return err(ERR_INVALID, "'%s' is open read-only", node_path(n));
    if (require_format && name && *name && !format)
        return err_hint(err(ERR_INVALID, "backing format not specified"),
                        "It is not guessed when it is written into an image: give it with -F.");
    node_drain_begin(n);
    Err *e = n->drv->change_backing(n, name, format);
    if (!e) {
        g_free(n->backing_name);
        g_free(n->backing_format);
        n->backing_name = name && *name ? g_strdup(name) : NULL;
        n->backing_format = n->backing_name && format ? g_strdup(format) : NULL;
    }
    n->write_gen++;
    node_drain_end(n);
    return e;
}

bool node_in_use(const BlockNode *n)
{
    return n->refs > 1;
}
