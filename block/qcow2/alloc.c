/* SPDX-License-Identifier: MIT */
/*
 * qcow2: taking clusters and giving them back.
 *
 * The search goes upwards from free_hint, block by block; what no block counts
 * is free. A run that begins where no block is starts with the block itself.
 * Freed clusters wait in two lists (qcow2.h): `freed` until the metadata that
 * named them is gone from the disk, `freed_stable` until the last request that
 * may know them has ended.
 */
#include "block/qcow2/qcow2.h"

#include <string.h>

enum {
    RECYCLE_BYTES = 64 << 20,       /* so much waiting is worth a write of metadata */
    RECYCLE_PARTS = 16384,          /* or so many pieces */
    BEYOND = 1 << 24,               /* clusters behind the end of the file: nobody leaks as many */
};

/* Length of the run of counts that are zero (or not), beginning at `i`, at most `max`; of zeroes no more than `enough`. */
static uint64_t run_of(const Qcow2 *s, const void *block, uint64_t i, uint64_t max, uint64_t enough, bool *zero)
{
    uint64_t n = 1;
    *zero = !qcow2_refcount_peek(s, block, i);
    max = *zero ? MIN(max, enough) : max;
    if (s->refcount_bits == 16) {       /* nearly every image */
        const uint16_t *p = (const uint16_t *)block + i;
        while (n < max && !p[n] == *zero)
            n++;
        return n;
    }
    while (n < max && !qcow2_refcount_peek(s, block, i + n) == *zero)
        n++;
    return n;
}

/* What cluster c is, and how many after it are the same. covered: a block counts them. */
typedef struct State { bool free, covered; uint64_t len; } State;

static int state_of(Qcow2 *s, uint64_t c, uint64_t enough, State *out)
{
    uint64_t per = UINT64_C(1) << s->rb_bits, max = per - (c & (per - 1));
    if (c < s->reserved_end && c >= s->reserved) {
        *out = (State){ .free = false, .covered = true, .len = MIN(max, s->reserved_end - c) };
        return 0;
    }
    if (c < s->reserved)
        max = MIN(max, s->reserved - c);
    Qcow2Entry *e;
    int ret = qcow2_refblock_get(s, c >> s->rb_bits, &e);
    if (ret)
        return ret;
    *out = (State){ .free = true, .covered = e, .len = max };
    if (!e)
        return 0;
    out->len = run_of(s, e->data, c & (per - 1), max, enough, &out->free);
    qcow2_cache_put(e);
    return 0;
}

/* A place for n clusters (whole), or for at least one and as many of n as are free in one block's range. */
static int find(Qcow2 *s, uint64_t n, bool whole, uint64_t *first, uint64_t *got, bool *covered)
{
    uint64_t c = s->free_hint, start = 0, run = 0, first_free = UINT64_MAX;
    for (;;) {
        if (c >> (56 - s->cluster_bits))
            return -EFBIG;
        if (c > s->fresh + BEYOND)
            return qcow2_corrupt(s, false, c << s->cluster_bits, "refcounts say that clusters far beyond the end of the file are in use");
        State st;
        int ret = state_of(s, c, n - run, &st);
        if (ret)
            return ret;
        if (st.free) {
            if (!run) {
                start = c;
                *covered = st.covered;
            }
            first_free = MIN(first_free, c);
            run += st.len;
        } else {
            run = 0;
        }
        c += st.len;
        if (run >= n || (run && !whole))
            break;
    }
    if (!s->reserved_end)
        s->free_hint = start == first_free ? start : first_free;
    *first = start;
    *got = MIN(run, n);
    return 0;
}

/* Blocks for all of the run, placed outside of it. */
static int cover(Qcow2 *s, uint64_t first, uint64_t n)
{
    uint64_t was = s->reserved, was_end = s->reserved_end;
    int ret = 0;
    s->reserved = first;
    s->reserved_end = first + n;
    for (uint64_t rb = first >> s->rb_bits; !ret && rb <= (first + n - 1) >> s->rb_bits; rb++) {
        if (!(s->rt[rb] & QCOW2_RT_OFFSET))
            ret = qcow2_refblock_make(s, rb);
    }
    s->reserved = was;
    s->reserved_end = was_end;
    return ret;
}

int64_t qcow2_take_clusters(Qcow2 *s, uint64_t n, bool whole, uint64_t *got)
{
    int ret = qcow2_refcount_load(s);
    if (ret)
        return ret;
    for (;;) {
        uint64_t first = 0;
        bool covered = false;
        ret = find(s, n, whole, &first, got, &covered);
        if (ret)
            return ret;
        if ((first + *got - 1) >> s->rb_bits >= s->rt_size) {
            ret = qcow2_refcount_grow(s, first + *got + (*got >> s->rb_bits) + 1);
            if (ret)
                return ret;
            continue;
        }
        if (!covered && (!whole || *got == 1)) {
            ret = qcow2_refblock_self(s, first);
            if (ret)
                return ret;
            continue;
        }
        if (whole && *got > 1) {
            ret = cover(s, first, *got);
            if (ret)
                return ret;
        }
        ret = qcow2_refcount_add_locked(s, first, *got, 1);
        if (ret)
            return ret;
        if (s->free_hint == first && !s->reserved_end)
            s->free_hint = first + *got;
        return first;
    }
}

/* ---- for others */

static int64_t take_locked(Qcow2 *s, uint64_t n, bool whole, uint64_t *got, bool *fresh)
{
    int64_t first = qcow2_take_clusters(s, n, whole, got);
    if (first < 0)
        return first;
    /* A refcount of 0 may be a lie: never hand out what is known to be metadata. */
    int ret = qcow2_check_overlap(s, 0, (uint64_t)first << s->cluster_bits, *got << s->cluster_bits);
    if (!ret && !first)
        ret = qcow2_corrupt(s, true, 0, "preventing invalid allocation of the header's cluster");
    if (ret)
        return ret;
    *fresh = (uint64_t)first >= s->fresh;
    s->fresh = MAX(s->fresh, (uint64_t)first + *got);
    return first << s->cluster_bits;
}

static int before_alloc(Qcow2 *s)
{
    if (s->lazy && !(s->header.incompatible & QCOW2_INCOMPAT_DIRTY)) {
        int ret = qcow2_mark_dirty(s);
        if (ret)
            return ret;
    }
    return qcow2_recycle(s);
}

int64_t qcow2_alloc(Qcow2 *s, uint64_t bytes)
{
    uint64_t got;
    bool fresh;
    block_event(s->node.file, "cluster_alloc");
    int64_t ret = before_alloc(s);
    if (ret)
        return ret;
    co_lock(&s->alloc_lock);
    ret = take_locked(s, MAX(1, qcow2_cluster_up(s, bytes) >> s->cluster_bits), true, &got, &fresh);
    co_unlock(&s->alloc_lock);
    return ret;
}

int64_t qcow2_alloc_some(Qcow2 *s, uint64_t n, uint64_t *got, bool *fresh)
{
    block_event(s->node.file, "cluster_alloc");
    int64_t ret = before_alloc(s);
    if (ret)
        return ret;
    co_lock(&s->alloc_lock);
    ret = take_locked(s, n, false, got, fresh);
    co_unlock(&s->alloc_lock);
    return ret;
}

/* The cluster that byte_off lies in gets one more owner; false: it cannot, or the bytes do not fit. */
static bool share_cluster(Qcow2 *s, uint32_t bytes, uint64_t *next_cluster)
{
    uint64_t room = s->cluster_size - qcow2_in_cluster(s, s->byte_off);
    *next_cluster = 0;
    if (!s->byte_off)
        return false;
    uint64_t c = s->byte_off >> s->cluster_bits, n, got;
    if (bytes > room) {         /* it goes on in the next one, if that is free */
        State st;
        bool fits = !state_of(s, c + 1, 1, &st) && st.free && st.covered && !qcow2_check_overlap(s, 0, (c + 1) << s->cluster_bits, 1);
        if (!fits || qcow2_refcount_add_locked(s, c + 1, 1, 1))
            return false;
        *next_cluster = c + 1;
        s->fresh = MAX(s->fresh, c + 2);
    }
    n = qcow2_refcount_add_locked(s, c, 1, 1);
    if (!n)
        return true;
    got = *next_cluster;
    if (got)
        (void)qcow2_refcount_add_locked(s, got, 1, -1);
    return false;
}

static int64_t alloc_bytes_locked(Qcow2 *s, uint32_t bytes)
{
    uint64_t next, got;
    bool fresh;
    int64_t off = s->byte_off;
    if (!share_cluster(s, bytes, &next)) {
        off = take_locked(s, 1, true, &got, &fresh);
        if (off < 0)
            return off;
    }
    s->byte_off = off + bytes;
    if (!qcow2_in_cluster(s, s->byte_off))
        s->byte_off = 0;
    return off;
}

int64_t qcow2_alloc_bytes(Qcow2 *s, uint32_t bytes)
{
    block_event(s->node.file, "cluster_alloc_bytes");
    int64_t ret = before_alloc(s);
    if (ret)
        return ret;
    co_lock(&s->alloc_lock);
    ret = alloc_bytes_locked(s, bytes);
    co_unlock(&s->alloc_lock);
    return ret;
}

/* Nothing more is packed into a cluster that may be going. */
static void leave_byte_off(Qcow2 *s, uint64_t first, uint64_t last)
{
    if (s->byte_off && s->byte_off >> s->cluster_bits >= first && s->byte_off >> s->cluster_bits <= last)
        s->byte_off = 0;
}

void qcow2_unalloc(Qcow2 *s, uint64_t off, uint64_t len)
{
    leave_byte_off(s, off >> s->cluster_bits, (off + len - 1) >> s->cluster_bits);
    (void)qcow2_refcount_add(s, off, len, -1);     /* what fails stays leaked */
}

/* ---- freeing */

static void freed_add(Qcow2 *s, uint64_t first, uint64_t n, Qcow2Free who)
{
    s->freed_clusters += n;
    if (s->freed->len) {
        Qcow2Freed *last = &g_array_index(s->freed, Qcow2Freed, s->freed->len - 1);
        if (last->who == who && (first == last->first + last->n || last->first == first + n)) {
            last->first = MIN(last->first, first);
            last->n += n;
            return;
        }
    }
    Qcow2Freed f = { .first = first, .n = n, .who = who };
    g_array_append_val(s->freed, f);
}

void qcow2_free(Qcow2 *s, uint64_t off, uint64_t len, Qcow2Free who)
{
    if (!len)
        return;
    uint64_t first = off >> s->cluster_bits, last = (off + len - 1) >> s->cluster_bits;
    s->unpacked_entry = 0;
    leave_byte_off(s, first, last);
    freed_add(s, first, last - first + 1, who);
}

void qcow2_free_entry(Qcow2 *s, uint64_t entry, Qcow2Free who)
{
    uint64_t host = entry & QCOW2_L2_OFFSET;
    uint32_t bytes = s->cluster_size;
    if (entry & QCOW2_COMPRESSED) {
        qcow2_packed_range(s, entry, &host, &bytes);
    } else if (qcow2_has_data_file(s) || !host) {
        return;             /* clusters of a data file are not counted */
    }
    qcow2_free(s, host, bytes, who);
}

/* Tells the file of clusters that are about to become free: those with a single owner left. */
static void pass_discard(Qcow2 *s, const Qcow2Freed *f)
{
    uint64_t run = 0;
    for (uint64_t i = 0; i <= f->n; i++) {
        uint64_t count = 0;
        if (i < f->n && !qcow2_refcount_get(s, f->first + i, &count) && count == 1) {
            run++;
            continue;
        }
        if (run && !qcow2_check_overlap(s, 0, (f->first + i - run) << s->cluster_bits, run << s->cluster_bits))
            (void)child_discard(s->node.file, (f->first + i - run) << s->cluster_bits, run << s->cluster_bits);
        run = 0;
    }
}

static void lower(Qcow2 *s, const Qcow2Freed *f)
{
    uint64_t first = f->first, n = f->n;
    if (s->discard_pass[f->who])
        pass_discard(s, f);
    co_lock(&s->alloc_lock);
    int ret = qcow2_refcount_add_locked(s, first, n, -1);
    for (uint64_t i = 0; ret == -EINVAL && i < n; i++) {        /* one of them is 0 already: the others still go */
        if (qcow2_refcount_add_locked(s, first + i, 1, -1) == -EINVAL)
            qcow2_corrupt(s, false, (first + i) << s->cluster_bits, "a cluster in use has refcount 0");
    }
    co_unlock(&s->alloc_lock);
}

void qcow2_reclaim(Qcow2 *s)
{
    if (s->reclaiming)
        return;
    s->reclaiming = true;
    while (s->freed_stable->len) {
        GArray *now = s->freed_stable;
        guint n = 0;
        while (n < now->len && g_array_index(now, Qcow2Freed, n).seq < qcow2_oldest(s))
            n++;
        if (!n)
            break;
        s->freed_stable = g_array_new(FALSE, FALSE, sizeof(Qcow2Freed));
        g_array_append_vals(s->freed_stable, now->data + n * sizeof(Qcow2Freed), now->len - n);
        for (guint i = 0; i < n; i++) {
            lower(s, &g_array_index(now, Qcow2Freed, i));
            s->freed_clusters -= g_array_index(now, Qcow2Freed, i).n;
        }
        g_array_free(now, TRUE);
    }
    s->reclaiming = false;
}

int qcow2_recycle(Qcow2 *s)
{
    if (!s->freed_clusters)
        return 0;
    if (s->freed_stable->len)
        qcow2_reclaim(s);
    uint64_t waiting = 0;
    for (guint i = 0; i < s->freed->len && i < 64; i++)
        waiting += g_array_index(s->freed, Qcow2Freed, i).n;
    if (waiting << s->cluster_bits >= RECYCLE_BYTES || s->freed->len >= RECYCLE_PARTS)
        return qcow2_write_metadata(s, true);
    return 0;
}
