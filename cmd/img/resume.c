/* SPDX-License-Identifier: MIT */
/*
 * convert --resume: goes on with a copy that was stopped. Nothing is taken on
 * trust: what the target has is compared with the source, and what differs or
 * is missing is copied by block/copy.h. So the target is right at the end
 * whatever became of it before, a loss of power included.
 */
#include "cmd/img/resume.h"

#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/driver.h"

enum { CHUNK = 1 << 20, CROWD = 8, MAX_LOOK = 1 << 30 };

typedef struct Resume {
    const CopyConfig *k;
    Copy *fresh, *over;         /* where the target reads as zero, and where it may not */
    CopyStats stats;
    CoCrowd crowd;
    bool failed, failed_reading;
    uint64_t failed_at;
} Resume;

typedef struct Piece {
    Resume *r;
    uint64_t off, len;
    bool compare;               /* the target holds something there */
} Piece;

static void fail(Resume *r, bool reading, uint64_t off)
{
    if (r->failed)
        return;
    r->failed = true;
    r->failed_reading = reading;
    r->failed_at = off;
}

static void advance(Resume *r, uint64_t len, bool saved)
{
    r->stats.done += len;
    r->stats.saved += saved ? len : 0;
    if (r->k->progress)
        r->k->progress(r->k->opaque, &r->stats);
}

static int read_side(Resume *r, bool source, uint64_t off, void *buf, uint64_t len)
{
    uint64_t to = off - r->k->off + r->k->to_off;
    IoVec q = IOV_BUF(buf, len);
    int ret = source ? disk_read(r->k->from, off, &q, 0) : disk_read(r->k->to, to, &q, 0);

    if (ret < 0)
        fail(r, source, source ? off : to);
    return MIN(ret, 0);
}

/* 1: they are the same. */
static int is_there(const Piece *p)
{
    BlockNode *n = disk_node(p->r->k->from);
    void *a = block_buf(n, p->len), *b = block_buf(n, p->len);
    int ret = a && b ? 0 : -ENOMEM;

    if (!ret)
        ret = read_side(p->r, true, p->off, a, p->len);
    if (!ret)
        ret = read_side(p->r, false, p->off, b, p->len);
    if (!ret)
        ret = !memcmp(a, b, p->len);
    block_buf_free(a);
    block_buf_free(b);
    return ret;
}

static int copy_piece(Resume *r, Copy *c, uint64_t off, uint64_t len)
{
    bool reading = false;
    int ret = copy_range(c, off, len, &reading);

    if (ret < 0)
        fail(r, reading, reading ? off : off - r->k->off + r->k->to_off);
    return MIN(ret, 0);
}

static int resume_piece(void *arg)
{
    Piece *p = arg;
    Resume *r = p->r;
    int ret = p->compare ? is_there(p) : 0;

    if (ret == 1)
        ret = 0;
    else if (!ret)
        ret = copy_piece(r, p->compare ? r->over : r->fresh, p->off, p->len);
    advance(r, p->len, false);
    g_free(p);
    return ret;
}

/* The next run of one kind in both. */
static int look(Resume *r, uint64_t off, uint64_t end, uint64_t *len, bool *zero, bool *there)
{
    uint64_t to = off - r->k->off + r->k->to_off;
    Extent x, y;
    int ret = node_extent_above(disk_node(r->k->from), NULL, true, off, MIN(end - off, MAX_LOOK), &x);

    if (ret < 0) {
        fail(r, true, off);
        return ret;
    }
    ret = node_extent_above(disk_node(r->k->to), NULL, true, to, x.len, &y);
    if (ret < 0) {
        fail(r, false, to);
        return ret;
    }
    *zero = x.flags & EXTENT_ZERO;
    *there = !(y.flags & EXTENT_ZERO);
    *len = y.len;
    return 0;
}

static int walk(Resume *r, uint64_t end)
{
    bool zero, there;

    for (uint64_t off = r->k->off, len; off < end && !r->crowd.status; off += len) {
        int ret = look(r, off, end, &len, &zero, &there);
        if (ret < 0)
            return ret;
        if (r->k->cancel && *r->k->cancel)
            return -ECANCELED;
        if (zero && !there) {
            advance(r, len, true);
            continue;
        }
        len = MIN(len, CHUNK - off % CHUNK);
        Piece *p = g_new(Piece, 1);
        *p = (Piece){ r, off, len, there };
        crowd_start(&r->crowd, resume_piece, p);
    }
    return 0;
}

Err *resume_run(const CopyConfig *k, CopyStats *stats, ResumeEnd *end)
{
    uint64_t size = disk_size(k->from);
    CopyConfig over = *k, fresh = *k;
    Resume r = { .k = k, .crowd.max = CROWD };

    over.progress = fresh.progress = NULL;
    over.in_order = fresh.in_order = false;
    over.target_is_zero = false;
    over.compress = false;          /* a cluster that is there is not compressed again */
    fresh.target_is_zero = true;
    TRY(copy_new(&fresh, &r.fresh));
    Err *e = copy_new(&over, &r.over);
    if (!e) {
        r.stats.total = size - MIN(k->off, size);
        int ret = walk(&r, size), last = crowd_wait(&r.crowd);
        *end = (ResumeEnd){ ret < 0 ? ret : last, r.failed_reading, r.failed_at };
        *stats = r.stats;
        copy_free(r.over);
    }
    copy_free(r.fresh);
    return e;
}
