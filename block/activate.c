/* SPDX-License-Identifier: MIT */
/*
 * Images that another process has now, or had until now: a machine's disks are
 * handed over when it migrates.
 *
 * An inactive node is read-only, whatever it was opened as, and nobody who holds it counts: it asks for no
 * permission and shares all, so there is no lock on its file. What it becomes when it is active again stands in
 * what its parents ask for. A format forgets what it knew of its image then, and reads it anew. What is opened after
 * a machine was sent (an overlay, for a snapshot of disk and memory) is nobody else's, and active.
 */
#include <string.h>

#include "block/block-priv.h"
#include "block/bitmap.h"
#include "block/job.h"

void graph_open_inactive(BlockGraph *g)
{
    g->inactive = true;
}

/* ---- away */

static bool parents_are_quiet(const BlockNode *n)
{
    for (const BlockChild *c = n->parents; c; c = c->next_parent) {
        if (c->parent && !c->parent->read_only)
            return false;
    }
    return true;
}

/* The next that may go: those above it have written what they had to. */
static BlockNode *next_writable(BlockGraph *g)
{
    for (BlockNode *n = g->nodes; n; n = n->next) {
        if (!n->read_only && !n->inactive && parents_are_quiet(n))
            return n;
    }
    return NULL;
}

/* What comes from a server has no lock of the host, and stays as it was opened. */
static Err *turn(BlockNode *n, bool read_only)
{
    if (n->drv->kind != DRIVER_PROTOCOL || n->drv->reopen)
        return reopen_alone(n, read_only);
    n->read_only = n->opt_read_only = read_only;
    return child_refresh_perms(n);
}

static Err *deactivate(BlockNode *n)
{
    int ret = node_flush(n);

    node_take_back(n);
    if (ret)
        return err_errno(-ret, "'%s': cannot flush", node_path(n));
    n->inactive = true;
    Err *e = turn(n, true);
    if (e)
        n->inactive = false;
    return e;
}

Err *graph_deactivate(BlockGraph *g)
{
    Err *e = NULL;

    for (Job *j = NULL; (j = job_next(g, j)) != NULL;) {
        if (j->status < JOB_CONCLUDED)
            return err_hint(err(ERR_BUSY, "the job '%s' works on a disk", j->id), "job-cancel ends it.");
    }
    for (BlockNode *n; !e && (n = next_writable(g)) != NULL;)
        e = deactivate(n);
    if (e)
        err_free(graph_activate(g));
    return e;
}

/* ---- back */

/* Bitmaps that are stored in the image come from there again. */
static void forget_bitmaps(BlockNode *n)
{
    for (DirtyBitmap *b = n->bitmaps, *next; b; b = next) {
        next = b->next;
        if (b->persistent)
            bitmap_free(b);
    }
}

/* What the image says now. A node whose image cannot be read any more has no bytes. */
static Err *read_anew(BlockNode *n)
{
    BlockNode *values = reopen_values(n);

    node_drain_begin(n);
    if (n->drv->close)
        n->drv->close(n);
    forget_bitmaps(n);
    for (BlockChild *c = n->children, *next; c; c = next) {
        next = c->next;
        if (c != n->file && c != n->backing)
            child_detach(c);            /* it was found by what the header said */
    }
    props_clear(n, n->drv->fields);
    memset((char *)n + sizeof(*n), 0, n->drv->size - sizeof(*n));
    props_copy(n, values, n->drv->fields);
    g_clear_pointer(&n->backing_name, g_free);
    g_clear_pointer(&n->backing_format, g_free);
    Err *e = n->drv->open(n);
    node_drain_end(n);
    reopen_values_free(values);
    if (e)
        n->size = 0;
    return e;
}

Err *node_activate(BlockNode *n)
{
    uint64_t was = n->size;

    for (BlockChild *c = n->children; c; c = c->next) {
        if (c->node)
            TRY(node_activate(c->node));
    }
    if (!n->inactive)
        return NULL;
    if (n->drv->kind == DRIVER_FORMAT)
        TRY(read_anew(n));
    else
        n->size = n->drv->kind == DRIVER_FILTER && n->file ? node_size_now(n->file->node) : node_size_now(n);
    n->inactive = false;
    Err *e = turn(n, false);
    if (e)
        n->inactive = true;
    else if (n->size != was)
        node_resized(n);
    return e;
}

Err *graph_activate(BlockGraph *g)
{
    g->inactive = false;
    for (BlockNode *n = g->nodes; n; n = n->next) {
        Err *e = node_activate(n);

        if (e) {
            g->inactive = true;
            return err_in(e, "'%s'", node_path(n));
        }
    }
    return NULL;
}
