/* SPDX-License-Identifier: MIT */
/*
 * qcow2: zeroes and discards, by changing L2 entries alone. Version 3 has an
 * entry that reads as zeroes whatever the backing file holds; in version 2 only
 * what has no backing file can be given back.
 */
#include "block/qcow2/qcow2.h"

/* What an operation makes of one cluster; false: leave it. */
typedef struct Change { uint64_t entry, bitmap; bool frees; } Change;
typedef struct Op {
    Qcow2Free who;
    bool full, keep;            /* keep: the host cluster stays (zero without unmap) */
    bool zero;                  /* zero, rather than discard */
} Op;

static bool allocated(const Qcow2 *s, uint64_t entry, uint64_t bitmap)
{
    Qcow2Kind k;
    for (unsigned sub = 0; sub < (s->extended ? QCOW2_SUBCLUSTERS : 1u); sub++) {
        qcow2_classify(s, entry, bitmap, sub, &k);
        if (k == QCOW2_NORMAL || k == QCOW2_PACKED || k == QCOW2_ZERO_ALLOC)
            return true;
    }
    return false;
}

static void change_zero(const Qcow2 *s, const Op *op, uint64_t entry, Change *c)
{
    bool packed = entry & QCOW2_COMPRESSED;
    c->frees = packed || !op->keep;
    c->entry = c->frees ? 0 : entry;
    c->bitmap = QCOW2_SUB_ALL_ZERO;
    if (!s->extended)
        c->entry |= QCOW2_ZERO;
}

static void change_discard(const Qcow2 *s, const Op *op, uint64_t entry, uint64_t bitmap, Change *c)
{
    *c = (Change){ .entry = entry, .bitmap = bitmap };
    if (op->full) {
        *c = (Change){ .frees = true };
    } else if (s->node.backing || allocated(s, entry, bitmap)) {
        c->frees = true;
        c->bitmap = s->extended ? QCOW2_SUB_ALL_ZERO : 0;
        c->entry = !s->extended && s->header.version >= 3 ? QCOW2_ZERO : 0;
    }
}

static void change_one(Qcow2 *s, const Op *op, Qcow2Slice *sl, unsigned i)
{
    uint64_t entry = qcow2_l2(s, sl, i), bitmap = qcow2_l2_bitmap(s, sl, i);
    Change c;
    if (op->zero)
        change_zero(s, op, entry, &c);
    else
        change_discard(s, op, entry, bitmap, &c);
    if (c.entry == entry && (!s->extended || c.bitmap == bitmap))
        return;
    qcow2_l2_set(s, sl, i, c.entry, c.bitmap);
    if (c.frees)
        qcow2_free_entry(s, entry, op->who);
}

/* Waits until no write is about to change [off, off+len); true: it waited, so look again. */
static bool wait_allocs(Qcow2 *s, uint64_t off, uint64_t len)
{
    Qcow2Alloc *a = qcow2_alloc_find(s, off, len);
    if (a)
        co_queue_wait(&a->waiting);
    return a;
}

/* Does nothing have to be done where there is no L2 table? */
static bool nothing_there(const Qcow2 *s, const Op *op)
{
    return !op->zero && (op->full || !s->node.backing || (!s->extended && s->header.version < 3));
}

/* Whole clusters [off, off+len). */
static int change_range(Qcow2 *s, const Op *op, uint64_t off, uint64_t len)
{
    uint64_t end = off + len;
    while (off < end) {
        Qcow2Slice sl = { 0 };
        uint64_t span = UINT64_C(1) << (s->slice_bits + s->cluster_bits), covers = span - (off & (span - 1));
        int ret = 0;
        if (off >> qcow2_l1_shift(s) >= s->header.l1_size)
            return 0;
        if (nothing_there(s, op)) {
            ret = qcow2_slice_get(s, off, &sl);
            if (!ret && !sl.e) {            /* on to the next table */
                span = UINT64_C(1) << qcow2_l1_shift(s);
                off = (off | (span - 1)) + 1;
                continue;
            }
            qcow2_slice_put(&sl);
        }
        if (!ret)
            ret = qcow2_slice_get_own(s, off, &sl);
        if (ret)
            return ret;
        covers = MIN(covers, end - off);
        if (wait_allocs(s, off, covers)) {
            qcow2_slice_put(&sl);
            continue;
        }
        for (unsigned i = 0; i < covers >> s->cluster_bits; i++)
            change_one(s, op, &sl, sl.index + i);
        qcow2_slice_put(&sl);
        off += covers;
        if (off < end) {
            ret = qcow2_recycle(s);
            if (ret)
                return ret;
        }
    }
    return 0;
}

/* Some subclusters of one cluster become zero. */
static int zero_subclusters(Qcow2 *s, uint64_t off, uint64_t len)
{
    Qcow2Slice sl;
    for (;;) {
        int ret = qcow2_slice_get_own(s, off, &sl);
        if (ret)
            return ret;
        if (!wait_allocs(s, off, len))
            break;
        qcow2_slice_put(&sl);
    }
    uint64_t entry = qcow2_l2(s, &sl, sl.index), bitmap = qcow2_l2_bitmap(s, &sl, sl.index);
    unsigned first = qcow2_in_cluster(s, off) >> s->sub_bits, n = len >> s->sub_bits;
    uint64_t bits = (QCOW2_SUB_ALL_ALLOC >> (32 - n)) << first;
    bool packed = entry & QCOW2_COMPRESSED;
    if (!packed)
        qcow2_l2_set(s, &sl, sl.index, entry, (bitmap | bits << 32) & ~bits);
    qcow2_slice_put(&sl);
    return packed ? -ENOTSUP : 0;       /* its bytes have to be written */
}

/* Grown to whole units where the rest of them is zero as well; -ENOTSUP: it is not, or the format cannot. */
static int widen(Qcow2 *s, uint64_t *off, uint64_t *len)
{
    uint64_t unit = UINT64_C(1) << s->sub_bits, end = *off + *len;
    uint64_t head = *off & (unit - 1), tail = (unit - (end & (unit - 1))) & (unit - 1);
    if (end >= s->node.size)
        tail = 0;           /* beyond the end of the disk nothing is kept */
    int zero = head ? qcow2_reads_zero(s, *off - head, head) : 1;
    if (zero > 0 && tail)
        zero = qcow2_reads_zero(s, end, tail);
    if (zero <= 0)
        return zero ? zero : -ENOTSUP;
    *off -= head;
    *len = ((end + unit - 1) & ~(unit - 1)) - *off;
    return 0;
}

int qcow2_zero_guest(Qcow2 *s, uint64_t off, uint64_t len, unsigned flags)
{
    if (s->stopped)
        return -EIO;
    if (s->header.version < 3) {
        int zero = qcow2_reads_zero(s, off, len);
        return zero == 0 ? -ENOTSUP : MIN(zero, 0);
    }
    int ret = widen(s, &off, &len);
    if (!ret && s->raw_data && s->data) {       /* the data file by itself must read the same */
        uint64_t end = MIN(off + len, s->node.size);
        ret = end > off ? child_zero(s->data, off, end - off, flags) : 0;
    }
    uint64_t end = off + len, head_end = MIN(end, qcow2_cluster_up(s, off)), tail = MAX(head_end, end - qcow2_in_cluster(s, end));
    Op op = { .who = QCOW2_FREE_REQUEST, .zero = true, .keep = !(flags & REQ_UNMAP) || s->raw_data };
    if (!ret && s->extended && qcow2_in_cluster(s, off))
        ret = zero_subclusters(s, off, head_end - off);
    else
        head_end = off;
    if (!s->extended || qcow2_in_cluster(s, end) == 0)
        tail = end;
    if (!ret && tail > head_end)
        ret = change_range(s, &op, head_end, tail - head_end);
    if (!ret && tail < end && tail >= head_end)
        ret = zero_subclusters(s, tail, end - tail);
    return ret;
}

int qcow2_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Request r;
    qcow2_request_begin(s, &r);
    int ret = qcow2_zero_guest(s, off, len, flags);
    qcow2_request_end(s, &r);
    return ret;
}

int qcow2_discard_guest(Qcow2 *s, uint64_t off, uint64_t len, Qcow2Free who, bool full)
{
    if (s->stopped)
        return -EIO;
    Op op = { .who = who, .full = full };
    return change_range(s, &op, off, len);
}

int qcow2_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    Qcow2 *s = qcow2_of(n);
    uint64_t end = off + len >= n->size ? qcow2_cluster_up(s, off + len) : off + len - qcow2_in_cluster(s, off + len);
    off = qcow2_cluster_up(s, off);
    if (off >= end || (s->header.version < 3 && (n->backing || n->backing_name)))
        return 0;               /* advice that cannot be followed */
    Qcow2Request r;
    qcow2_request_begin(s, &r);
    int ret;
    if (s->raw_data) {
        ret = qcow2_zero_guest(s, off, end - off, REQ_UNMAP);
    } else {
        ret = qcow2_discard_guest(s, off, end - off, QCOW2_FREE_REQUEST, false);
        bool pass = !ret && qcow2_has_data_file(s) && s->data && s->discard_pass[QCOW2_FREE_REQUEST];
        uint64_t stop = pass ? MIN(end, child_size(s->data)) : 0;
        if (stop > off)
            ret = child_discard(s->data, off, stop - off);
    }
    qcow2_request_end(s, &r);
    return ret;
}
