/* SPDX-License-Identifier: MIT */
/*
 * The graph: nodes, the edges between them, who holds whom.
 *
 * A node lives as long as somebody holds it: whoever opened it, and each edge
 * that leads to it. An edge belongs to a parent node, a Disk or a job. There
 * are no loops: edge_attach refuses them, so walks down need no guard.
 */
#include "block/block-priv.h"

#include <string.h>

#include "block/bitmap.h"
#include "util/fdset.h"
#include "util/yank.h"

/* ---- the graph */

BlockGraph *graph_new(Loop *loop)
{
    BlockGraph *g = g_new0(BlockGraph, 1);

    g->loop = loop;
    g->objects = objects_new();
    g->last = &g->nodes;
    return g;
}

void graph_free(BlockGraph *g)
{
    if (!g)
        return;
    objects_free(g->objects);
    g_free(g);
}

Loop *graph_loop(const BlockGraph *g)
{
    return g->loop;
}

Objects *graph_objects(const BlockGraph *g)
{
    return g->objects;
}

void graph_on_threshold(BlockGraph *g, void (*fn)(void *, BlockNode *, uint64_t, uint64_t), void *opaque)
{
    g->over = fn;
    g->over_opaque = opaque;
}

void graph_on_corruption(BlockGraph *g, void (*fn)(void *, BlockNode *, const char *, uint64_t, bool), void *opaque)
{
    g->corrupt = fn;
    g->corrupt_opaque = opaque;
}

void graph_tell_corruption(BlockNode *n, const char *what, uint64_t off, bool fatal)
{
    if (n->graph->corrupt)
        n->graph->corrupt(n->graph->corrupt_opaque, n, what, off, fatal);
}

void graph_set_yanks(BlockGraph *g, Yanks *s)
{
    g->yanks = s;
}

Yanks *graph_yanks(const BlockGraph *g)
{
    return g->yanks;
}

void graph_set_fdsets(BlockGraph *g, FdSets *s)
{
    g->fdsets = s;
}

int graph_open_file(BlockGraph *g, const char *path, int flags)
{
    return fdsets_open(g->fdsets, path, flags, 0);
}

BlockNode *graph_find(BlockGraph *g, const char *name)
{
    for (BlockNode *n = g->nodes; n; n = n->next) {
        if (!strcmp(n->node_name, name))
            return n;
    }
    return NULL;
}

BlockNode *graph_next(BlockGraph *g, BlockNode *after)
{
    return after ? after->next : g->nodes;
}

void graph_add(BlockGraph *g, BlockNode *n)
{
    if (!n->node_name)
        n->node_name = g_strdup_printf("#block%03u", g->next_id++);
    *g->last = n;
    g->last = &n->next;
    n->next = NULL;
}

static void graph_remove(BlockGraph *g, BlockNode *n)
{
    BlockNode **at = &g->nodes;

    while (*at && *at != n)
        at = &(*at)->next;
    if (!*at)
        return;
    *at = n->next;
    if (!*at)
        g->last = at;
}

Err *graph_check_name(BlockGraph *g, const char *name)
{
    static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    if (!g_ascii_isalpha(*name) || name[strspn(name, may)])
        return err_hint(err(ERR_INVALID, "Invalid node-name: '%s'", name),
                        "A name begins with a letter and has letters, digits, '-', '.' and '_'.");
    if (strlen(name) > 31)
        return err(ERR_INVALID, "node name '%s' is longer than 31 characters", name);
    if (graph_find(g, name))
        return err(ERR_INVALID, "Duplicate nodes with node-name='%s'", name);
    return NULL;
}

/* ---- edges */

BlockChild *edge_new(BlockNode *parent, Disk *disk, const char *role)
{
    BlockChild *c = g_new0(BlockChild, 1);

    c->parent = parent;
    c->disk = disk;
    c->role = g_intern_string(role);
    c->shared = PERM_ALL;
    if (parent) {
        BlockChild **at = &parent->children;

        while (*at)
            at = &(*at)->next;
        *at = c;
    }
    return c;
}

void edge_free(BlockChild *c)
{
    if (c->parent) {
        BlockChild **at = &c->parent->children;

        while (*at != c)
            at = &(*at)->next;
        *at = c->next;
        if (c->parent->file == c)
            c->parent->file = NULL;
        if (c->parent->backing == c)
            c->parent->backing = NULL;
    }
    g_free(c);
}

void edge_link(BlockChild *c, BlockNode *n)
{
    c->node = n;
    c->next_parent = n->parents;
    n->parents = c;
}

void edge_unlink(BlockChild *c)
{
    BlockChild **at = &c->node->parents;

    while (*at != c)
        at = &(*at)->next_parent;
    *at = c->next_parent;
    c->next_parent = NULL;
    c->node = NULL;
}

bool node_reaches(const BlockNode *from, const BlockNode *to)
{
    if (from == to)
        return true;
    for (const BlockChild *c = from->children; c; c = c->next) {
        if (c->node && node_reaches(c->node, to))
            return true;
    }
    return false;
}

Err *edge_attach(BlockChild *c, BlockNode *n)
{
    if (c->parent && node_reaches(n, c->parent))
        return err(ERR_INVALID, "node '%s' as '%s' of '%s' would make a loop", n->node_name, c->role,
                   c->parent->node_name ? c->parent->node_name : "a new node");
    edge_link(c, n);
    Err *e = perms_refresh(c->parent ? &c->parent : &n, 1);
    if (e) {
        edge_unlink(c);
        return e;
    }
    node_ref(n);
    graph_requiesce(n->graph);
    return NULL;
}

void edge_detach(BlockChild *c)
{
    BlockNode *n = c->node;

    if (!n)
        return;
    edge_unlink(c);
    c->perm = 0;
    c->shared = PERM_ALL;
    err_free(perms_refresh(&n, 1));     /* asks for less than before */
    graph_requiesce(n->graph);
    node_unref(n);
}

Err *child_attach(BlockNode *parent, BlockNode *child, const char *role, BlockChild **out)
{
    BlockChild *c = edge_new(parent, NULL, role);

    *out = c;                   /* a driver's child_perm finds it already */
    Err *e = edge_attach(c, child);
    if (e) {
        edge_free(c);
        *out = NULL;
    }
    return e;
}

void child_detach(BlockChild *c)
{
    if (!c)
        return;
    edge_detach(c);
    edge_free(c);
}

/* ---- nodes */

BlockNode *node_ref(BlockNode *n)
{
    n->refs++;
    return n;
}

/* No request runs and nobody can come: nothing leads to it any more. */
void node_destroy(BlockNode *n, bool opened)
{
    graph_remove(n->graph, n);
    node_take_back(n);
    if (opened && n->drv->close)
        n->drv->close(n);
    while (n->bitmaps)
        bitmap_free(n->bitmaps);
    while (n->children)
        child_detach(n->children);
    props_clear(n, n->drv->fields);
    props_clear(n, node_fields);
    g_free(n->filename);
    g_free(n->exact_name);
    g_free(n->backing_name);
    g_free(n->backing_format);
    json_decref(n->options);
    g_free(n);
}

void node_unref(BlockNode *n)
{
    if (!n || --n->refs)
        return;
    graph_remove(n->graph, n);      /* nobody finds it while it closes */
    if (!n->read_only)
        node_flush(n);
    node_destroy(n, true);
}

const char *node_name(const BlockNode *n)
{
    return n->node_name;
}

const char *node_format(const BlockNode *n)
{
    return n->drv->name;
}

uint64_t node_size(const BlockNode *n)
{
    return n->size;
}

bool node_read_only(const BlockNode *n)
{
    return n->read_only && !n->inactive;
}

BlockNode *node_skip_filters(BlockNode *n)
{
    while (n && n->drv->kind == DRIVER_FILTER)
        n = n->file ? n->file->node : NULL;
    return n;
}

BlockNode *node_backing(BlockNode *n)
{
    n = node_skip_filters(n);
    return n && n->backing ? n->backing->node : NULL;
}

BlockNode *node_storage(BlockNode *n)
{
    while (n && n->drv->kind != DRIVER_PROTOCOL)
        n = n->file ? n->file->node : NULL;
    return n;
}

void node_resized(BlockNode *n)
{
    for (DirtyBitmap *b = n->bitmaps; b; b = b->next)
        err_free(bitmap_resized(b, n->size));
    for (BlockChild *c = n->parents; c; c = c->next_parent) {
        if (c->disk && c->disk->ops->resized)
            c->disk->ops->resized(c->disk->opaque);
        if (c->parent && c->parent->drv->kind == DRIVER_FILTER && c == c->parent->file) {
            c->parent->size = n->size;
            node_resized(c->parent);
        }
    }
}
