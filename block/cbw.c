/* SPDX-License-Identifier: MIT */
/*
 * The filter copy-before-write: see block/cbw.h.
 *
 * `todo` has a bit for each granule that is still only in the node below. A copy
 * of it is alone on its range (`ranges`) and clears the bit when it is done; so
 * a guest's write, which asks for the copy first, waits for one that runs, and a
 * reader of the snapshot, which shares the range, sees bits that stay.
 */
#include "block/cbw.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/bitmap.h"
#include "block/block-priv.h"
#include "block/copy.h"
#include "block/filter/pass.h"

#define COPY_CHUNK (UINT64_C(1) << 20)

enum { BREAK_GUEST_WRITE, BREAK_SNAPSHOT };

struct Cbw {
    BlockNode node;
    uint8_t on_error;
    uint32_t timeout, opt_min_cluster;  /* seconds; bytes */
    BlockChild *target;
    DirtyBitmap *todo, *access;         /* access: what snapshot-access may read. Both are the node's, and frozen for io.c */
    Copy *copy;
    Ranges ranges;
    int broken;                         /* -errno since which the snapshot is not whole, or 0 */
    unsigned late;                      /* copies that nobody waits for any more */
    CoQueue none_late;
};

static const char *const on_error_names[] = { "break-guest-write", "break-snapshot", NULL };
static const char *const cbw_own_options[] = { "target", "bitmap", NULL };

static const Field cbw_fields[] = {
    PROP(Cbw, on_error, .as = "on-cbw-error", .names = on_error_names, .doc = "who suffers when a copy fails"),
    PROP(Cbw, timeout, .as = "cbw-timeout", .def = "0", .doc = "seconds after which a copy has failed; 0: never"),
    PROP(Cbw, opt_min_cluster, .as = "min-cluster-size", .units = true, .def = "0", .doc = "copies are at least that large"),
    {0}
};

/* ---- making */

static uint32_t choose_granularity(const Cbw *c)
{
    const BlockNode *t = node_skip_filters(c->target->node);
    uint32_t cluster = t ? t->limits.cluster : 0, g = MAX(MAX(cluster, c->opt_min_cluster), 65536);

    return 1u << (31 - __builtin_clz(g));
}

static Err *make_copy(Cbw *c, bool compress)
{
    CopyConfig k = copy_defaults(NULL, NULL);

    copy_free(c->copy);
    k.from_child = c->node.file;
    k.to_child = c->target;
    k.workers = 16;
    k.zero_flags = REQ_UNMAP;
    if (node_reaches(c->target->node, c->node.file->node)) {
        /* Fleecing: who reads the target, and so the node below, has ended before the guest's write goes there. */
        k.zero_flags |= REQ_SERIALISING;
        k.write_flags = REQ_SERIALISING;
    }
    k.compress = compress;
    return copy_new(&k, &c->copy);
}

static Err *use_bitmap(Cbw *c, const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "name")), *node = json_string_value(json_object_get(o, "node"));
    BlockNode *n = node ? graph_find(c->node.graph, node) : NULL;
    const DirtyBitmap *b = n && name ? bitmap_find(n, name) : NULL;

    if (!b)
        return err_hint(err(ERR_NOT_FOUND, "Dirty bitmap '%s' not found", name ? name : ""), "bitmap.node=NODE,bitmap.name=NAME");
    TRY(bitmap_usable(b, BITMAP_USE_READ));
    return cbw_restrict(c, b);
}

static Err *cbw_open(BlockNode *n)
{
    Cbw *c = (Cbw *)n;
    const json_t *bitmap = json_object_get(n->options, "bitmap");

    TRY(child_open(n, n->options, "target", true, &c->target));
    if (child_size(c->target) < n->size)
        return err(ERR_INVALID, "the target '%s' is smaller (%" G_GUINT64_FORMAT " bytes) than '%s' (%" G_GUINT64_FORMAT ")",
                   node_path(c->target->node), child_size(c->target), node_path(n->file->node), n->size);
    TRY(bitmap_new(n, NULL, choose_granularity(c), &c->todo));
    TRY(bitmap_new(n, NULL, choose_granularity(c), &c->access));
    c->todo->disabled = c->access->disabled = true;
    bitmap_mark(c->todo, 0, n->size);
    bitmap_mark(c->access, 0, n->size);
    if (bitmap)
        TRY(use_bitmap(c, bitmap));
    return make_copy(c, false);
}

static void cbw_close(BlockNode *n)
{
    Cbw *c = (Cbw *)n;

    while (c->late)
        co_queue_wait(&c->none_late);
    copy_free(c->copy);
}

/* Nothing is asked for before somebody uses the filter: until then others still write to the node below. */
static void cbw_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                           unsigned *cperm, unsigned *cshared)
{
    if (!n->parents) {
        *cperm = 0;
        *cshared = PERM_ALL;
    } else if (!strcmp(role, "target")) {
        *cperm = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE;
        *cshared = PERM_ALL & ~(unsigned)PERM_RESIZE;   /* the guest's writes, where the target lies over its disk */
    } else {
        *cperm = perm | PERM_CONSISTENT_READ;
        *cshared = shared & ~(unsigned)(PERM_WRITE | PERM_RESIZE);
    }
}

/* ---- copying */

static int copy_runs(Cbw *c, uint64_t from, uint64_t to, bool *read_failed)
{
    uint64_t at = from, len;
    int ret = 0;

    while (!ret && bitmap_next(c->todo, &at, to, &len)) {
        ret = copy_range(c->copy, at, len, read_failed);
        if (!ret)
            bitmap_unmark(c->todo, at, len);
        at += len;
    }
    return ret;
}

int cbw_copy(Cbw *c, uint64_t off, uint64_t len, bool *read_failed)
{
    const uint64_t mask = c->todo->granularity - 1;
    uint64_t from = off & ~mask, to = MIN((off + len + mask) & ~mask, c->node.size), at = from, n;
    Range r;
    int ret = 0;

    if (!bitmap_next(c->todo, &at, to, &n) || c->broken)
        return 0;
    for (; from < to && !ret; from += n) {
        n = MIN(to - from, COPY_CHUNK - from % COPY_CHUNK);
        range_enter(&c->ranges, &r, from, n, true);
        ret = copy_runs(c, from, from + n, read_failed);
        range_leave(&c->ranges, &r);
    }
    return ret;
}

uint64_t cbw_copied(const Cbw *c)
{
    return copy_stats(c->copy)->written;
}

/* A copy that a guest's write waits for, but not for ever: it lives until both have let go of it. */
typedef struct Timed {
    Cbw *c;
    uint64_t off, len;
    int ret;
    bool over, left;            /* it has ended; nobody waits any more */
    CoQueue waiter;
    Alarm alarm;
} Timed;

static void timed_run(void *arg)
{
    Timed *t = arg;
    Cbw *c = t->c;

    t->ret = cbw_copy(c, t->off, t->len, NULL);
    t->over = true;
    if (!t->left) {
        co_queue_wake_all(&t->waiter);
        return;
    }
    g_free(t);
    if (!--c->late)
        co_queue_wake_all(&c->none_late);
}

static void timed_out(void *opaque)
{
    co_queue_wake_all(&((Timed *)opaque)->waiter);
}

static int copy_in_time(Cbw *c, uint64_t off, uint64_t len)
{
    Timed *t = g_new0(Timed, 1);
    int ret;

    *t = (Timed){ .c = c, .off = off, .len = len };
    co_start(co_loop(), timed_run, t);
    if (!t->over) {
        alarm_init(&t->alarm, co_loop(), timed_out, t);
        alarm_set(&t->alarm, loop_now() + c->timeout * INT64_C(1000000000));
        co_queue_wait(&t->waiter);
        alarm_del(&t->alarm);
    }
    if (!t->over) {
        t->left = true;
        c->late++;
        return -ETIMEDOUT;
    }
    ret = t->ret;
    g_free(t);
    return ret;
}

/* Before the guest's change. */
static int copy_first(BlockNode *n, uint64_t off, uint64_t len)
{
    Cbw *c = (Cbw *)n;
    int ret;

    if (c->broken)
        return 0;
    ret = c->timeout ? copy_in_time(c, off, len) : cbw_copy(c, off, len, NULL);
    if (ret && c->on_error == BREAK_SNAPSHOT) {
        c->broken = c->broken ? c->broken : ret;
        return 0;
    }
    return ret;
}

static int cbw_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = flags & REQ_UNCHANGED ? 0 : copy_first(n, off, q->len);

    return ret ? ret : pass_write(n, off, q, flags);
}

static int cbw_write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    int ret = copy_first(n, off, q->len);

    return ret ? ret : pass_write_compressed(n, off, q);
}

static int cbw_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    int ret = flags & REQ_UNCHANGED ? 0 : copy_first(n, off, len);

    return ret ? ret : pass_zero(n, off, len, flags);
}

static int cbw_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    int ret = copy_first(n, off, len);

    return ret ? ret : pass_discard(n, off, len);
}

static Err *cbw_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    return err_hint(err(ERR_BUSY, "'%s' is being backed up and cannot be resized", node_path(n)),
                    "Wait for the job, or cancel it.");
}

BLOCK(copy_before_write) = {
    .name = "copy-before-write", .doc = "keeps what is overwritten in a target", .kind = DRIVER_FILTER,
    .size = sizeof(Cbw), .fields = cbw_fields, .own_options = cbw_own_options, .open = cbw_open, .close = cbw_close,
    .child_perm = cbw_child_perm, .read = pass_read, .write = cbw_write, .write_compressed = cbw_write_compressed,
    .zero = cbw_zero, .discard = cbw_discard, .resize = cbw_resize, .size_now = pass_size_now,
};

/* ---- for jobs and snapshot-access */

Cbw *cbw_of(BlockNode *n)
{
    return n && n->drv == &block_copy_before_write ? (Cbw *)n : NULL;
}

DirtyBitmap *cbw_todo(Cbw *c)
{
    return c->todo;
}

int cbw_broken(const Cbw *c)
{
    return c->broken;
}

void cbw_forget(Cbw *c, uint64_t off, uint64_t len)
{
    const uint64_t mask = c->todo->granularity - 1;
    uint64_t end = off + len;
    Range r;

    off = (off + mask) & ~mask;
    end = end >= c->node.size ? c->node.size : end & ~mask;
    if (off >= end)
        return;
    range_enter(&c->ranges, &r, off, end - off, true);
    bitmap_unmark(c->todo, off, end - off);
    bitmap_unmark(c->access, off, end - off);
    range_leave(&c->ranges, &r);
}

Err *cbw_restrict(Cbw *c, const DirtyBitmap *wanted)
{
    if (wanted->size != c->node.size)
        return err(ERR_INVALID, "the bitmap is of a disk of %" G_GUINT64_FORMAT " bytes, and '%s' has %" G_GUINT64_FORMAT,
                   wanted->size, node_path(&c->node), c->node.size);
    bitmap_clear(c->todo);
    bitmap_clear(c->access);
    TRY(bitmap_merge(c->todo, wanted));
    return bitmap_merge(c->access, wanted);
}

void cbw_compress(Cbw *c, bool on)
{
    err_free(make_copy(c, on));         /* the same sizes as before */
}

/* The run from `off` on that is on one side, and whether that is the node below. -EACCES: wanted no more. */
static int side(Cbw *c, uint64_t off, uint64_t end, uint64_t *len, bool *below)
{
    uint64_t at = off, n;

    if (c->broken || !bitmap_get(c->access, off))
        return -EACCES;
    *below = bitmap_get(c->todo, off);
    if (bitmap_next(c->access, &at, end, &n))
        end = MIN(end, at + n);
    at = off;
    if (*below && bitmap_next(c->todo, &at, end, &n))
        *len = n;
    else
        *len = bitmap_next(c->todo, &at, end, &n) ? at - off : end - off;
    return 0;
}

int cbw_read(Cbw *c, uint64_t off, const IoVec *q)
{
    const uint64_t mask = c->todo->granularity - 1, end = off + q->len;
    uint64_t from = off & ~mask;
    Range r;
    int ret = 0;

    range_enter(&c->ranges, &r, from, ((end + mask) & ~mask) - from, false);
    for (uint64_t at = off, len; at < end && !ret; at += len) {
        bool below = false;

        ret = side(c, at, end, &len, &below);
        if (ret)
            break;
        IoVec part = iov_slice(q, at - off, len);
        ret = child_read(below ? c->node.file : c->target, at, &part, 0);
    }
    range_leave(&c->ranges, &r);
    return ret;
}

int cbw_extent(Cbw *c, uint64_t off, uint64_t len, Extent *out)
{
    bool below;
    int ret = side(c, off, off + len, &len, &below);

    if (ret)
        return ret;
    ret = node_extent_above(below ? c->node.file->node : c->target->node, NULL, false, off, len, out);
    out->flags = (out->flags & (EXTENT_DATA | EXTENT_ZERO)) | EXTENT_ALLOCATED;
    return ret;
}
