/* SPDX-License-Identifier: MIT */
/*
 * qcow2: changing refcounts and tables together; block/qcow2/switch.h says how
 * and why.
 */
#include "block/qcow2/switch.h"

#include <inttypes.h>
#include <string.h>

static void end(Qcow2 *s, Qcow2Switch *t)
{
    s->lazy = t->lazy;
    g_clear_pointer(&t->drop, g_array_unref);
    g_clear_pointer(&t->lowered, g_array_unref);
}

int qcow2_switch_begin(Qcow2 *s, Qcow2Switch *t)
{
    int ret = qcow2_write_metadata(s, true);

    if (!ret && s->freed_clusters)          /* no request runs, so all of it can go */
        ret = qcow2_write_metadata(s, true);
    if (!ret)
        ret = qcow2_mark_clean(s);
    if (!ret)
        ret = qcow2_refcount_load(s);
    if (ret)
        return ret;
    *t = (Qcow2Switch){ .lazy = s->lazy };
    t->drop = g_array_new(FALSE, FALSE, sizeof(Qcow2Range));
    t->lowered = g_array_new(FALSE, FALSE, sizeof(Qcow2Range));
    s->lazy = false;                        /* what is allocated now is counted on disk or not at all */
    s->byte_off = 0;                        /* nothing more is packed into a cluster that may be going */
    return 0;
}

static void note(GArray *list, uint64_t off, uint64_t len)
{
    Qcow2Range r = { off, len }, *last = list->len ? &g_array_index(list, Qcow2Range, list->len - 1) : NULL;

    if (last && last->off + last->len == off)
        last->len += len;
    else if (len)
        g_array_append_val(list, r);
}

void qcow2_switch_drop(Qcow2Switch *t, uint64_t off, uint64_t len)
{
    note(t->drop, off, len);
}

/* ---- refcounts in copies */

static uint64_t count_blocks(const Qcow2 *s)
{
    uint64_t n = 0;

    for (uint64_t i = 0; i < s->rt_size; i++)
        n += (s->rt[i] & QCOW2_RT_OFFSET) != 0;
    return n;
}

/* A place for a copy of each block; taking places makes blocks, too. */
static int places_for_blocks(Qcow2 *s, GArray *places)
{
    for (uint64_t need; (need = count_blocks(s)) > places->len;) {
        uint64_t got;
        bool fresh;
        int64_t off = qcow2_alloc_some(s, need - places->len, &got, &fresh);

        if (off < 0)
            return (int)off;
        for (uint64_t i = 0; i < got; i++) {
            uint64_t at = (uint64_t)off + (i << s->cluster_bits);

            g_array_append_val(places, at);
        }
    }
    return 0;
}

static int copy_block(Qcow2 *s, uint64_t from, uint64_t to)
{
    Qcow2Entry *a, *b;
    int ret = qcow2_in_cluster(s, from) ? -EIO : qcow2_cache_get(s->rb_cache, from, &a);

    if (ret)
        return ret;
    qcow2_cache_drop(s->rb_cache, to, s->cluster_size);
    ret = qcow2_cache_get_zeroed(s->rb_cache, to, &b);
    if (!ret) {
        memcpy(b->data, a->data, s->cluster_size);
        qcow2_cache_dirty(s->rb_cache, b, 0, s->cluster_size);
        qcow2_cache_put(b);
    }
    qcow2_cache_put(a);
    qcow2_cache_drop(s->rb_cache, from, s->cluster_size);      /* what is dirty in it lives on in the copy */
    return ret;
}

static int move_refcounts(Qcow2 *s, Qcow2Switch *t, uint64_t table, const GArray *places)
{
    uint64_t used = 0;

    qcow2_switch_drop(t, s->header.refcount_table_offset, (uint64_t)s->header.refcount_table_clusters << s->cluster_bits);
    s->header.refcount_table_offset = table;
    memset(s->rt_dirty, 0xff, (s->rt_size / 4096 + 1) * 8);
    s->rt_any_dirty = true;
    for (uint64_t i = 0; i < s->rt_size; i++) {
        uint64_t from = s->rt[i] & QCOW2_RT_OFFSET, to;
        int ret;

        if (!from)
            continue;
        to = g_array_index(places, uint64_t, used++);
        ret = copy_block(s, from, to);
        if (ret)
            return ret;
        s->rt[i] = to;
        s->rt_dirty[i / 4096] |= UINT64_C(1) << (i / 64 % 64);      /* some may have been written meanwhile */
        s->rt_any_dirty = true;
        qcow2_switch_drop(t, from, s->cluster_size);
    }
    return 0;
}

int qcow2_switch_refcounts(Qcow2 *s, Qcow2Switch *t)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    int64_t table = 0;
    uint32_t size = 0;
    int ret = 0;

    /* The table may have to grow while places are looked for: until it does not. */
    while (!ret && size != s->rt_size) {
        if (size)
            qcow2_unalloc(s, (uint64_t)table, (uint64_t)size * 8);
        size = s->rt_size;
        table = qcow2_alloc(s, (uint64_t)size * 8);
        ret = table < 0 ? (int)table : places_for_blocks(s, places);
    }
    t->was = s->header;                     /* with the table that growing has switched to */
    t->copied = true;
    return ret ? ret : move_refcounts(s, t, (uint64_t)table, places);
}

int qcow2_switch_flush(Qcow2 *s, Qcow2Switch *t)
{
    int ret = qcow2_refcount_add(s, t->run.off, t->run.len, t->run_delta);

    if (!ret && t->run_delta < 0)
        note(t->lowered, t->run.off, t->run.len);
    if (ret == -EINVAL)
        ret = qcow2_corrupt(s, false, t->run.off, "a cluster in use has refcount 0");
    t->run.len = 0;
    return ret;
}

int qcow2_switch_add(Qcow2 *s, Qcow2Switch *t, uint64_t off, uint64_t len, int delta)
{
    uint64_t start = off & ~(uint64_t)(s->cluster_size - 1), stop = qcow2_cluster_up(s, off + len);
    int ret = 0;

    if (!len)
        return 0;
    if (t->run.len && (t->run_delta != delta || t->run.off + t->run.len != start))
        ret = qcow2_switch_flush(s, t);
    if (!t->run.len) {
        t->run.off = start;
        t->run_delta = delta;
    }
    t->run.len += stop - start;
    return ret;
}

int qcow2_switch_add_entries(Qcow2 *s, Qcow2Switch *t, const void *l2, int delta)
{
    const uint64_t *p = l2;
    unsigned step = s->extended ? 2 : 1;
    int ret = 0;

    for (uint64_t i = 0; !ret && i < UINT64_C(1) << s->l2_bits; i++) {
        uint64_t e = be64toh(p[i * step]), host = e & QCOW2_L2_OFFSET;
        uint32_t bytes = s->cluster_size;

        if (e & QCOW2_COMPRESSED)
            qcow2_packed_range(s, e, &host, &bytes);
        else if (!host)
            continue;
        else if (qcow2_in_cluster(s, host))
            return qcow2_corrupt(s, false, host, "an L2 entry names %#" PRIx64 ", which is not the start of a cluster", host);
        ret = qcow2_switch_add(s, t, host, bytes, delta);
    }
    return ret;
}

/* ---- the switch */

#define SWITCH_FROM offsetof(Qcow2Header, size)

static size_t switch_to(const Qcow2Header *h)
{
    return h->version < 3 ? QCOW2_V2_LENGTH : QCOW2_V3_LENGTH;
}

/* 0; or the old header holds; or nobody knows, and writing ends. */
static int write_header(Qcow2 *s, const Qcow2Switch *t)
{
    int ret = qcow2_write_fields(s, SWITCH_FROM, switch_to(&s->header));

    if (!ret)
        ret = child_flush(s->node.file);
    if (ret) {
        Qcow2Header new = s->header;

        s->header = t->was;
        if (qcow2_write_fields(s, SWITCH_FROM, switch_to(&s->header)) || child_flush(s->node.file)) {
            qcow2_corrupt(s, false, 0, "the header could not be written, nor written back: which tables hold is not known");
            s->stopped = true;
        }
        s->header = new;
    }
    return ret;
}

/* Space of clusters that nothing counts any more. */
static void discard_lowered(Qcow2 *s, const Qcow2Switch *t)
{
    if (!s->discard_pass[QCOW2_FREE_SNAPSHOT])
        return;
    for (guint i = 0; i < t->lowered->len; i++) {
        Qcow2Range r = g_array_index(t->lowered, Qcow2Range, i), run = { 0 };

        for (uint64_t off = r.off; off <= r.off + r.len; off += s->cluster_size) {
            uint64_t count = 1;

            if (off < r.off + r.len && !qcow2_refcount_get(s, off >> s->cluster_bits, &count) && !count) {
                run = run.len ? (Qcow2Range){ run.off, run.len + s->cluster_size } : (Qcow2Range){ off, s->cluster_size };
                continue;
            }
            if (run.len && !qcow2_check_overlap(s, 0, run.off, run.len))
                (void)child_discard(s->node.file, run.off, run.len);
            run.len = 0;
        }
    }
}

int qcow2_switch_commit(Qcow2 *s, Qcow2Switch *t)
{
    int ret = qcow2_switch_flush(s, t);

    if (!ret)
        ret = qcow2_write_refcounts(s);
    if (!ret)
        ret = qcow2_barrier(s);
    if (!ret)
        ret = write_header(s, t);
    if (ret) {
        qcow2_switch_abort(s, t);
        return ret;
    }
    return 0;
}

void qcow2_switch_done(Qcow2 *s, Qcow2Switch *t)
{
    qcow2_cache_empty(s->l2_cache);
    qcow2_overlap_changed(s);
    for (guint i = 0; i < t->drop->len; i++) {
        Qcow2Range r = g_array_index(t->drop, Qcow2Range, i);

        qcow2_free(s, r.off, r.len, QCOW2_FREE_OTHER);
    }
    discard_lowered(s, t);
    end(s, t);
    (void)qcow2_write_metadata(s, true);        /* what does not work now is the next flush's matter */
}

void qcow2_switch_abort(Qcow2 *s, Qcow2Switch *t)
{
    if (t->copied)
        s->header = t->was;
    qcow2_refcount_forget(s);
    end(s, t);
}
