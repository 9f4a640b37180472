/* SPDX-License-Identifier: MIT */
/*
 * Nodes that are to meet in another thread: a graph is its thread's alone, so a
 * node of -blockdev or blockdev-add that nothing uses yet is closed here and
 * opened anew there, with all below it. What a device, job or export uses stays.
 */
#include <string.h>

#include "block/bitmap.h"
#include "block/driver.h"
#include "system/disks-priv.h"

typedef struct Move {
    DiskHome *from, *to;
    const char *name;
    GPtrArray *tree;            /* BlockNode, children before parents */
    GPtrArray *names;           /* char *, those of them that have a hold of -blockdev */
    json_t *options;            /* and what opens each of these: a list */
    unsigned opened;
    Err *e;
} Move;

static bool is_owned(const DiskHome *h, const BlockNode *n)
{
    return g_ptr_array_find(h->nodes, n, NULL);
}

/* Children first; a node that is reached twice is in it once. */
static void collect(GPtrArray *tree, BlockNode *n)
{
    if (g_ptr_array_find(tree, n, NULL))
        return;
    for (BlockChild *c = n->children; c; c = c->next) {
        if (c->node)
            collect(tree, c->node);
    }
    g_ptr_array_add(tree, n);
}

static Err *check_free(const Move *m, const BlockNode *n)
{
    unsigned holds = is_owned(m->from, n);
    bool outside = false;

    for (const BlockChild *c = n->parents; c; c = c->next_parent) {
        outside |= !c->parent || !g_ptr_array_find(m->tree, c->parent, NULL);
        holds++;
    }
    if (outside || n->refs > holds)
        return err(ERR_BUSY, "Node %s is in use in I/O thread '%s', and cannot go to '%s'", n->node_name,
                   iothread_name(m->from->thread), iothread_name(m->to->thread));
    if (n->drv->same_name)
        TRY(err_in(n->drv->same_name((BlockNode *)n), "Node %s cannot go to I/O thread '%s'", n->node_name, iothread_name(m->to->thread)));
    for (const DirtyBitmap *b = n->bitmaps; b; b = b->next) {
        if (!b->persistent)
            return err(ERR_BUSY, "Node %s has the dirty bitmap '%s', and cannot go to I/O thread '%s'", n->node_name,
                       b->name ? b->name : "", iothread_name(m->to->thread));
    }
    return NULL;
}

static bool is_childs(const BlockNode *n, const char *key)
{
    bool is = !strcmp(key, "file") || !strcmp(key, "backing");

    for (const BlockChild *c = n->children; c && !is; c = c->next) {
        size_t len = strcspn(c->role, ".");     /* of "extents.0", say */

        is = strlen(key) == len && !strncmp(key, c->role, len);
    }
    return is;
}

/* What opens it as it is now: children by name where they have a hold of their own. */
static json_t *options_of(const DiskHome *h, const BlockNode *n)
{
    json_t *o = json_object(), *v;
    const char *key;

    json_object_foreach(n->options, key, v) {
        if (!is_childs(n, key))
            json_object_set_new(o, key, json_deep_copy(v));
    }
    json_object_set_new(o, "driver", json_string(n->drv->name));
    json_object_set_new(o, "node-name", *n->node_name == '#' ? NULL : json_string(n->node_name));
    for (const BlockChild *c = n->children; c; c = c->next) {
        if (c->node)
            json_object_set_new(o, c->role, is_owned(h, c->node) ? json_string(c->node->node_name) : options_of(h, c->node));
    }
    if (n->drv->has_backing && (!n->backing || !n->backing->node))
        json_object_set_new(o, "backing", json_null());
    return o;
}

static void close_there(void *opaque)
{
    Move *m = opaque;
    BlockNode *n = graph_find(m->from->graph, m->name);

    if (!n || !is_owned(m->from, n)) {
        m->e = err(ERR_BUSY, "Node %s belongs to a drive in I/O thread '%s', and cannot go to '%s'", m->name,
                   iothread_name(m->from->thread), iothread_name(m->to->thread));
        return;
    }
    collect(m->tree, n);
    for (guint i = 0; i < m->tree->len && !m->e; i++)
        m->e = check_free(m, m->tree->pdata[i]);
    for (guint i = 0; i < m->tree->len && !m->e; i++) {
        BlockNode *each = m->tree->pdata[i];

        if (!is_owned(m->from, each))
            continue;
        g_ptr_array_add(m->names, g_strdup(each->node_name));
        json_array_append_new(m->options, options_of(m->from, each));
    }
    for (guint i = m->tree->len; i-- && !m->e; ) {
        BlockNode *each = m->tree->pdata[i];

        if (g_ptr_array_remove(m->from->nodes, each))
            node_unref(each);           /* parents come first: it and what only it holds is closed */
    }
}

static void open_here(void *opaque)
{
    Move *m = opaque;

    for (m->opened = 0; m->opened < json_array_size(m->options) && !m->e; m->opened++) {
        BlockNode *n;

        m->e = node_open(m->to->graph, json_array_get(m->options, m->opened), OPEN_RW | OPEN_RESIZE | OPEN_NO_PROBE, &n);
        if (!m->e)
            g_ptr_array_add(m->to->nodes, n);
    }
    if (!m->e)
        return;
    for (unsigned i = m->opened - 1; i--; ) {       /* the last one failed */
        BlockNode *n = graph_find(m->to->graph, m->names->pdata[i]);

        if (n && g_ptr_array_remove(m->to->nodes, n))
            node_unref(n);
    }
}

/* What was wrong there, and perhaps (`back`) that it cannot be opened where it was either: then it is no more. */
static Err *gone(Err *e, Err *back, const char *name)
{
    if (!back)
        return e;
    Err *both = err(ERR_IO, "%s. Node %s could not be opened again where it was, and is gone: %s", err_text(e), name, err_text(back));
    err_free(e);
    err_free(back);
    return both;
}

Err *disks_move_node(Disks *d, const char *name, IoThread *to)
{
    Move m = { .name = name, .tree = g_ptr_array_new(), .names = g_ptr_array_new_with_free_func(g_free), .options = json_array() };
    Err *e = NULL;

    m.from = disks_home_with(d, name);
    if (m.from && m.from->thread != to)
        e = disks_home_in(d, to, &m.to);
    if (!e && m.from && m.from->thread != to) {
        iothread_run(m.from->thread, close_there, &m);
        e = m.e;
        m.e = NULL;
        if (!e) {
            iothread_run(to, open_here, &m);
            e = m.e;
        }
        if (m.e) {                      /* back to where they were */
            m.to = m.from;
            m.e = NULL;
            iothread_run(m.from->thread, open_here, &m);
            e = gone(e, m.e, name);
        } else if (!e) {
            for (guint i = 0; i < m.names->len; i++)
                g_hash_table_insert(d->places, g_strdup(m.names->pdata[i]), to);
        }
    }
    g_ptr_array_free(m.tree, true);
    g_ptr_array_free(m.names, true);
    json_decref(m.options);
    return e;
}
