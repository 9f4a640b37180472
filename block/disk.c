/* SPDX-License-Identifier: MIT */
/*
 * Disks: what a device, a tool, an export or a job holds of a node. Requests
 * enter the graph here, and here a drain holds them back.
 */
#include "block/block-priv.h"
#include "block/throttle.h"

static const DiskOps no_ops;

Err *disk_new(BlockNode *n, unsigned perm, unsigned shared, const char *who, Disk **out)
{
    Disk *d = g_new0(Disk, 1);

    *out = NULL;
    d->graph = n->graph;
    d->who = g_strdup(who);
    d->ops = &no_ops;
    d->root = edge_new(NULL, d, "root");
    d->root->perm = perm;
    d->root->shared = shared;
    d->next = d->graph->disks;
    d->graph->disks = d;
    Err *e = edge_attach(d->root, n);
    if (!e && n->inactive)
        e = perms_when_active(d->graph);
    if (e) {
        disk_free(d);
        return e;
    }
    *out = d;
    return NULL;
}

Err *disk_open(BlockGraph *g, const json_t *options, unsigned flags, const char *who, Disk **out)
{
    BlockNode *n = NULL;
    unsigned perm = flags & OPEN_NO_IO ? 0 : PERM_CONSISTENT_READ;

    *out = NULL;
    TRY(node_open(g, options, flags, &n));
    if (flags & OPEN_RW && !n->read_only)
        perm |= PERM_WRITE;
    if (flags & OPEN_RESIZE && !n->read_only)
        perm |= PERM_RESIZE;
    Err *e = disk_new(n, perm, PERM_ALL, who, out);
    node_unref(n);
    return e;
}

void disk_free(Disk *d)
{
    Disk **at;

    if (!d)
        return;
    disk_set_limits(d, NULL);
    while (d->in_flight)
        co_queue_wait(&d->idle);
    if (d->root->node && d->root->perm & (PERM_WRITE | PERM_WRITE_UNCHANGED))
        node_flush(d->root->node);
    edge_detach(d->root);
    edge_free(d->root);
    for (at = &d->graph->disks; *at != d; at = &(*at)->next)
        ;
    *at = d->next;
    g_free(d->who);
    g_free(d);
}

void disk_set_ops(Disk *d, const DiskOps *ops, void *opaque)
{
    d->ops = ops ? ops : &no_ops;
    d->opaque = opaque;
    if (d->told_drain && d->ops->drain)
        d->ops->drain(opaque, true);
}

void disk_set_writethrough(Disk *d, bool on)
{
    d->writethrough = on;
}

void disk_set_stats(Disk *d, DiskStats *s)
{
    d->stats = s;
}

void disk_set_limits(Disk *d, ThrottleGroup *g)
{
    if (d->limits)
        throttle_pass(d->limits, true);
    throttle_leave(d->limits);
    d->limits = g ? throttle_join_group(d->graph, g) : NULL;
    if (d->limits)
        throttle_pass(d->limits, d->told_drain);
}

void disk_set_growing(Disk *d, bool on)
{
    d->growing = on;
}

Err *disk_set_perm(Disk *d, unsigned perm, unsigned shared)
{
    return edge_set_perm(d->root, perm, shared);
}

Err *disk_set_node(Disk *d, BlockNode *n)
{
    BlockNode *was = d->root->node;
    BlockChild *next;

    if (n == was)
        return NULL;
    if (n) {                    /* both are held for a moment, so that a refusal changes nothing */
        next = edge_new(NULL, d, "root");
        next->perm = d->root->perm;
        next->shared = d->root->shared;
        Err *e = edge_attach(next, n);
        if (e) {
            edge_free(next);
            return e;
        }
    } else {
        next = edge_new(NULL, d, "root");
        next->perm = d->root->perm;
        next->shared = d->root->shared;
    }
    BlockChild *old = d->root;
    if (was)
        node_drain_begin(was);
    d->root = next;
    if (was)
        node_drain_end(was);
    if (was && old->perm & PERM_WRITE)
        node_flush(was);
    edge_detach(old);
    edge_free(old);
    graph_requiesce(d->graph);
    return NULL;
}

BlockNode *disk_node(const Disk *d)
{
    return d->root->node;
}

uint64_t disk_size(const Disk *d)
{
    return d->root->node ? node_size_now(d->root->node) : 0;
}

/* ---- requests */

/* Waits while the node is drained; the node, or NULL: no medium. Balanced by leave in any case. */
static BlockNode *enter(Disk *d)
{
    while (d->told_drain && !d->held)
        co_queue_wait(&d->resumed);
    d->in_flight++;
    return d->root->node;
}

static int leave(Disk *d, int ret)
{
    if (!--d->in_flight) {
        co_queue_wake_all(&d->idle);
        if (d->told_drain)
            co_queue_wake_all(&d->graph->drained);
    }
    return ret;
}

/* When a request came, if anybody wants to know. */
static int64_t began(const Disk *d)
{
    return d->stats ? loop_now() : 0;
}

/* A drain lets it go at once, so the node is the same after. */
static void limit(Disk *d, bool write, uint64_t bytes)
{
    if (d->limits)
        throttle_wait(d->limits, write, bytes);
}

static int end(Disk *d, DiskOp op, uint64_t bytes, int64_t since, int ret)
{
    if (d->stats)
        disk_stats_add(d->stats, op, bytes, since, ret);
    return leave(d, ret);
}

void disk_hold(Disk *const *d, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (!d[i]->told_drain)
            continue;
        co_queue_wait(&d[i]->resumed);
        i = (unsigned)-1;       /* the others may have been drained while we slept */
    }
    for (unsigned i = 0; i < n; i++) {
        d[i]->in_flight++;
        d[i]->held++;
    }
}

void disk_release(Disk *const *d, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        d[i]->held--;
        leave(d[i], 0);
    }
}

static int check_end(const Disk *d, BlockNode *n, uint64_t off, uint64_t len, unsigned *flags)
{
    int ret = request_check(off, len, n->size);

    if (ret != -EIO)
        return ret;
    ret = request_check(off, len, node_size_now(n));
    if (ret != -EIO || !d->growing || !(d->root->perm & PERM_RESIZE))
        return ret;
    *flags |= REQ_GROWS;
    return node_grows(n) ? 0 : -ENOSPC;
}

/* Reads never grow anything. */
static int check_read(BlockNode *n, uint64_t off, uint64_t len)
{
    int ret = request_check(off, len, n->size);

    return ret == -EIO ? request_check(off, len, node_size_now(n)) : ret;
}

static int check_write(const Disk *d, BlockNode *n, uint64_t off, uint64_t len, unsigned *flags)
{
    unsigned need = *flags & REQ_UNCHANGED ? PERM_WRITE | PERM_WRITE_UNCHANGED : PERM_WRITE;

    if (!(d->root->perm & need))
        return n->read_only ? -EROFS : -EPERM;
    return check_end(d, n, off, len, flags);
}

int disk_read(Disk *d, uint64_t off, const IoVec *q, unsigned flags)
{
    int64_t since = began(d);
    BlockNode *n = enter(d);
    int ret = n ? check_read(n, off, q->len) : -ENOMEDIUM;

    if (!ret)
        limit(d, false, q->len);
    if (!ret)
        ret = node_read(n, off, q, flags);
    return end(d, DISK_OP_READ, q->len, since, ret);
}

int disk_write(Disk *d, uint64_t off, const IoVec *q, unsigned flags)
{
    int64_t since = began(d);
    BlockNode *n = enter(d);
    int ret = n ? check_write(d, n, off, q->len, &flags) : -ENOMEDIUM;

    if (!ret)
        limit(d, true, q->len);
    if (!ret)
        ret = node_write(n, off, q, flags | (d->writethrough ? REQ_FUA : 0));
    return end(d, DISK_OP_WRITE, q->len, since, ret);
}

int disk_zero(Disk *d, uint64_t off, uint64_t len, unsigned flags)
{
    int64_t since = began(d);
    BlockNode *n = enter(d);
    int ret = n ? check_write(d, n, off, len, &flags) : -ENOMEDIUM;

    if (!ret)
        limit(d, true, len);
    if (!ret)
        ret = node_zero(n, off, len, flags | (d->writethrough ? REQ_FUA : 0));
    return end(d, DISK_OP_WRITE, len, since, ret);
}

int disk_discard(Disk *d, uint64_t off, uint64_t len)
{
    int64_t since = began(d);
    BlockNode *n = enter(d);
    unsigned flags = 0;
    int ret = n ? check_write(d, n, off, len, &flags) : -ENOMEDIUM;

    if (!ret && off + len > n->size)
        ret = -EIO;
    if (!ret)
        limit(d, true, len);
    if (!ret)
        ret = node_discard(n, off, len);
    return end(d, DISK_OP_UNMAP, len, since, ret);
}

int disk_flush(Disk *d)
{
    int64_t since = began(d);
    BlockNode *n = enter(d);

    return end(d, DISK_OP_FLUSH, 0, since, n ? node_flush(n) : -ENOMEDIUM);
}

/* Where the bytes lie plain in one piece in a file, that file's bytes. */
static int copy_from_host(BlockNode *from, uint64_t off, BlockNode *to, uint64_t to_off, uint64_t len)
{
    Extent x;
    int ret = node_extent_above(from, NULL, false, off, len, &x);

    if (ret)
        return ret;
    if (x.len < len || !(x.flags & EXTENT_OFFSET) || !(x.flags & EXTENT_DATA) || x.flags & EXTENT_COMPRESSED ||
        !x.host_node || x.host_node->drv->kind != DRIVER_PROTOCOL || from->encrypted)
        return -ENOTSUP;
    return node_copy(x.host_node, x.host, to, to_off, len);
}

int disk_copy(Disk *from, uint64_t from_off, Disk *to, uint64_t to_off, uint64_t len)
{
    BlockNode *a = enter(from), *b = enter(to);
    unsigned flags = 0;
    int ret = a && b ? check_read(a, from_off, len) : -ENOMEDIUM;

    if (!ret)
        ret = check_write(to, b, to_off, len, &flags);
    if (!ret)
        ret = copy_from_host(a, from_off, b, to_off, len);
    if (!ret && to->writethrough)
        ret = node_flush(b);
    leave(to, 0);
    return leave(from, ret);
}

Err *disk_resize(Disk *d, uint64_t len, bool exact, Preallocation p, unsigned flags)
{
    BlockNode *n = enter(d);
    Err *e = NULL;
    (void)flags;

    if (!n)
        e = err(ERR_INVALID, "No medium inserted");
    else if (!(d->root->perm & PERM_RESIZE))
        e = err(ERR_INVALID, "%s may not resize '%s'", d->who, node_path(n));
    else
        e = node_resize(n, len, exact, p);
    leave(d, 0);
    return e;
}

/* ---- from other threads */

static void reply(void *arg)
{
    DiskReq *r = arg;

    r->done(r->opaque, r->ret);
}

static void run(void *arg)
{
    DiskReq *r = arg;

    switch (r->op) {
    case DISK_READ:    r->ret = disk_read(r->disk, r->off, &r->q, r->flags); break;
    case DISK_WRITE:   r->ret = disk_write(r->disk, r->off, &r->q, r->flags); break;
    case DISK_ZERO:    r->ret = disk_zero(r->disk, r->off, r->len, r->flags); break;
    case DISK_DISCARD: r->ret = disk_discard(r->disk, r->off, r->len); break;
    case DISK_FLUSH:   r->ret = disk_flush(r->disk); break;
    default:           r->ret = -EINVAL;
    }
    if (r->reply == r->disk->graph->loop)
        reply(r);
    else
        loop_call(r->reply, reply, r);
}

static void start(void *arg)
{
    DiskReq *r = arg;

    co_start(r->disk->graph->loop, run, r);
}

void disk_submit(Disk *d, DiskReq *r, Loop *to)
{
    Loop *mine = d->graph->loop;

    r->disk = d;
    r->reply = to ? to : mine;
    if (loop_self() == mine)
        start(r);
    else
        loop_call(mine, start, r);
}
