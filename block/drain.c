/* SPDX-License-Identifier: MIT */
/*
 * Drains: no new request starts, and those that run come to an end, on a node
 * and all below it.
 *
 * Requests come in at Disks alone, so a drain holds them back there: at every
 * Disk from which the drained node, or one below it, can be reached. What those
 * nodes ask of their children goes on, or nothing would ever end. After each
 * change of the graph it is worked out anew who that is: so a node that is put
 * between is quiet as well, and who was cut off goes on.
 */
#include "block/block-priv.h"
#include "block/throttle.h"

enum { LOW = 1, SEEN = 2, QUIET = 4 };

static void mark_low(BlockNode *n)
{
    if (n->mark & LOW)
        return;
    n->mark |= LOW;
    for (BlockChild *c = n->children; c; c = c->next) {
        if (c->node)
            mark_low(c->node);
    }
}

/* Is a marked node reached from here? */
static bool mark_quiet(BlockNode *n)
{
    if (n->mark & SEEN)
        return n->mark & QUIET;
    bool quiet = n->mark & LOW;
    for (BlockChild *c = n->children; c; c = c->next)
        quiet |= c->node && mark_quiet(c->node);
    n->mark |= SEEN | (quiet ? QUIET : 0);
    return quiet;
}

static void tell_disk(Disk *d)
{
    bool quiet = d->root && d->root->node && d->root->node->quiesced;

    if (quiet == d->told_drain)
        return;
    d->told_drain = quiet;
    if (d->limits)
        throttle_pass(d->limits, quiet);
    if (!quiet)
        co_queue_wake_all(&d->resumed);
    if (d->ops->drain)
        d->ops->drain(d->opaque, quiet);
}

void graph_requiesce(BlockGraph *g)
{
    if (!g->drains && !g->quiet)
        return;
    g->quiet = g->drains;
    for (BlockNode *n = g->nodes; n; n = n->next) {
        if (n->drains)
            mark_low(n);
    }
    for (BlockNode *n = g->nodes; n; n = n->next)
        mark_quiet(n);
    for (BlockNode *n = g->nodes; n; n = n->next) {
        bool quiet = n->mark & QUIET, changed = quiet != n->quiesced;

        n->mark = 0;
        n->quiesced = quiet;
        if (changed && n->drv->drain)
            n->drv->drain(n, quiet);
    }
    for (Disk *d = g->disks, *next; d; d = next) {
        next = d->next;
        tell_disk(d);
    }
}

static bool busy(const BlockGraph *g)
{
    for (const BlockNode *n = g->nodes; n; n = n->next) {
        if (n->quiesced && n->in_flight)
            return true;
    }
    for (const Disk *d = g->disks; d; d = d->next) {
        if (d->told_drain && d->in_flight)
            return true;
    }
    return false;
}

void node_drain_begin(BlockNode *n)
{
    BlockGraph *g = n->graph;

    n->drains++;
    g->drains++;
    graph_requiesce(g);
    while (busy(g))
        co_queue_wait(&g->drained);
}

void node_drain_end(BlockNode *n)
{
    n->drains--;
    n->graph->drains--;
    graph_requiesce(n->graph);
}

void disk_drain(Disk *d)
{
    BlockNode *n = disk_node(d);

    if (!n)
        return;
    node_ref(n);
    node_drain_begin(n);
    node_drain_end(n);
    node_unref(n);
}

void node_idle_now(BlockNode *n)
{
    if (n->quiesced)
        co_queue_wake_all(&n->graph->drained);
}
