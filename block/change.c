/* SPDX-License-Identifier: MIT */
/*
 * Changing the graph while it is in use: another node in the place of one,
 * another backing file, a filter put between. What is changed is drained, and
 * permissions are checked for the graph as it shall be; a refusal leaves it as
 * it was.
 */
#include <string.h>

#include "block/block-priv.h"

/* ---- replacing */

/* Edges to `old` that shall lead to `by`: not those of nodes below `by`, which would close a loop. */
static GPtrArray *edges_to_move(BlockNode *old, BlockNode *by)
{
    GPtrArray *edges = g_ptr_array_new();

    for (BlockChild *c = old->parents; c; c = c->next_parent) {
        if (!c->parent || !node_reaches(by, c->parent))
            g_ptr_array_add(edges, c);
    }
    return edges;
}

static void move_edges(GPtrArray *edges, BlockNode *to)
{
    for (unsigned i = 0; i < edges->len; i++) {
        BlockChild *c = edges->pdata[i];

        edge_unlink(c);
        edge_link(c, to);
    }
}

static Err *move_checked(GPtrArray *edges, BlockNode *old, BlockNode *by)
{
    BlockNode *both[] = { old, by };

    move_edges(edges, by);
    Err *e = perms_refresh(both, 2);
    if (e) {
        move_edges(edges, old);
        err_free(perms_refresh(both, 2));
    }
    graph_requiesce(old->graph);
    return e;
}

Err *node_replace(BlockNode *old, BlockNode *by)
{
    if (old == by)
        return NULL;
    node_ref(old);
    node_ref(by);
    node_drain_begin(old);
    node_drain_begin(by);
    g_autoptr(GPtrArray) edges = edges_to_move(old, by);
    Err *e = move_checked(edges, old, by);
    unsigned moved = e ? 0 : edges->len;
    for (unsigned i = 0; i < moved; i++)
        node_ref(by);
    node_drain_end(by);
    node_drain_end(old);
    if (moved && by->size != old->size)
        node_resized(by);
    for (unsigned i = 0; i < moved; i++)
        node_unref(old);
    node_unref(by);
    node_unref(old);
    return e;
}

Err *node_insert_above(BlockNode *n, const json_t *options, BlockNode **filter)
{
    json_t *o = NULL;
    BlockNode *f = NULL;
    Err *e;

    *filter = NULL;
    TRY(options_normalise(options, &o));
    if (!json_object_get(o, "file"))
        json_object_set_new(o, "file", json_string(n->node_name));
    e = node_open(n->graph, o, n->read_only ? 0 : OPEN_RW, &f);
    json_decref(o);
    if (e)
        return e;
    if (!node_reaches(f, n))
        e = err(ERR_INVALID, "'%s' does not lie above '%s'", f->node_name, n->node_name);
    else
        e = node_replace(n, f);
    if (e)
        node_unref(f);
    else
        *filter = f;
    return e;
}

/* ---- backing files */

Err *node_set_backing(BlockNode *n, BlockNode *backing)
{
    BlockChild *was = n->backing, *now = NULL;
    Err *e = NULL;

    if (!n->drv->has_backing)
        return err(ERR_UNSUPPORTED, "Driver '%s' of node '%s' does not support backing files", n->drv->name, n->node_name);
    if (was && was->node == backing)
        return NULL;
    node_drain_begin(n);
    if (backing)
        e = child_attach(n, backing, "backing", &now);
    if (!e)
        n->backing = now;
    node_drain_end(n);
    if (!e)
        child_detach(was);
    return e;
}
