/* SPDX-License-Identifier: MIT */
/*
 * qcow2 amend: another width of refcounts. Blocks and a table of the new width
 * are written into clusters that the old ones count; one write of the header
 * (its fields lie in one sector) switches, then the old ones are freed.
 */
#include "block/qcow2/amend-priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Widen {
    Qcow2 *s, as;                   /* as: the image with the new width, for peek and poke */
    uint64_t at, room;              /* where the new structures go, bytes */
    uint64_t clusters;              /* that are counted */
    uint64_t blocks, table;         /* clusters of the new structures */
    uint64_t *rt;
} Widen;

static Err *failed(Qcow2 *s, int ret)
{
    return err_errno(-ret, "%s: cannot change the refcounts' width", node_path(&s->node));
}

/* How much the new structures take for that many clusters; every block is written. */
static void size_up(Widen *w)
{
    uint64_t per_block = UINT64_C(1) << w->as.rb_bits, per_table = w->s->cluster_size / 8;

    w->blocks = (w->clusters + per_block - 1) / per_block;
    w->table = MAX(1, (w->blocks + per_table - 1) / per_table);
}

/* The number after the highest cluster that has a count. */
static uint64_t count_clusters(const Qcow2 *s)
{
    uint64_t rb = s->rt_size;

    while (rb && !(s->rt[rb - 1] & QCOW2_RT_OFFSET))
        rb--;
    return MIN(rb << s->rb_bits, MAX(s->fresh, 1));
}

/* Places for all of it, until they suffice for what they themselves made necessary. */
static int find_room(Widen *w)
{
    Qcow2 *s = w->s;
    uint64_t need;

    for (;;) {
        int64_t at;

        w->clusters = count_clusters(s);
        size_up(w);
        need = (w->blocks + w->table) << s->cluster_bits;
        if (w->room >= need)
            break;
        if (w->room)
            qcow2_unalloc(s, w->at, w->room);
        need += need / 64 + 2 * s->cluster_size;
        at = qcow2_alloc(s, need);
        if (at < 0)
            return (int)at;
        w->at = (uint64_t)at;
        w->room = qcow2_cluster_up(s, need);
    }
    if (w->table << s->cluster_bits > MAX(QCOW2_MAX_RT_BYTES, s->cluster_size))
        return -EFBIG;
    if (w->room > need)
        qcow2_unalloc(s, w->at + need, w->room - need);
    w->rt = try_alloc((w->table << s->cluster_bits) / 8, 8);
    return w->rt ? 0 : -ENOMEM;
}

/* One block: the counts of its clusters. -ERANGE: *bad has one that is too high. */
static int fill_block(Widen *w, uint64_t i, uint8_t *block, uint64_t *bad)
{
    uint64_t per = UINT64_C(1) << w->as.rb_bits, first = i * per;

    memset(block, 0, w->s->cluster_size);
    for (uint64_t c = first; c < MIN(first + per, w->clusters); c++) {
        uint64_t n;
        int ret = qcow2_refcount_get(w->s, c, &n);

        if (ret)
            return ret;
        if (n > w->as.refcount_max) {
            *bad = c;
            return -ERANGE;
        }
        if (n)
            qcow2_refcount_poke(&w->as, block, c - first, n);
    }
    return 0;
}

static Err *write_blocks(Widen *w, const AmendProgress *p)
{
    Qcow2 *s = w->s;
    uint8_t *block = block_buf(s->node.file->node, s->cluster_size);
    uint64_t bad = 0, count = 0;
    int ret = block ? 0 : -ENOMEM;

    for (uint64_t i = 0; !ret && i < w->blocks; i++) {
        uint64_t off = w->at + (i << s->cluster_bits);

        ret = fill_block(w, i, block, &bad);
        if (!ret)
            ret = qcow2_pwrite(s, 0, off, block, s->cluster_size);
        w->rt[i] = htobe64(off);
        amend_progress(p, i + 1, w->blocks);
    }
    block_buf_free(block);
    if (ret != -ERANGE)
        return ret ? failed(s, ret) : NULL;
    (void)qcow2_refcount_get(s, bad, &count);
    return err_hint(err(ERR_INVALID, "Cannot decrease refcount entry width to %u bits: Cluster at offset %#" PRIx64
                        " has a refcount of %" PRIu64, w->as.refcount_bits, bad << s->cluster_bits, count),
                    "Snapshots and compressed clusters share clusters: fewer snapshots, or a wider field.");
}

static int switch_header(Widen *w)
{
    Qcow2 *s = w->s;
    Qcow2Header was = s->header;
    int ret = qcow2_pwrite(s, 0, w->at + (w->blocks << s->cluster_bits), w->rt, w->table << s->cluster_bits);

    if (!ret)
        ret = qcow2_barrier(s);
    if (ret)
        return ret;
    s->header.refcount_table_offset = w->at + (w->blocks << s->cluster_bits);
    s->header.refcount_table_clusters = (uint32_t)w->table;
    s->header.refcount_order = w->as.header.refcount_order;
    ret = qcow2_write_fields(s, offsetof(Qcow2Header, refcount_table_offset), QCOW2_V3_LENGTH);
    if (!ret)
        ret = child_flush(s->node.file);
    if (ret)
        s->header = was;
    return ret;
}

/* The old structures, by the table that was. */
static void free_old(Qcow2 *s, const uint64_t *rt, uint64_t n, uint64_t table, uint64_t table_bytes)
{
    for (uint64_t i = 0; i < n; i++)
        if (rt[i] & QCOW2_RT_OFFSET)
            qcow2_free(s, rt[i] & QCOW2_RT_OFFSET, s->cluster_size, QCOW2_FREE_OTHER);
    qcow2_free(s, table, table_bytes, QCOW2_FREE_OTHER);
}

static Err *widen(Widen *w, const AmendProgress *p)
{
    Qcow2 *s = w->s;
    uint64_t *old, old_size, table, bytes;
    int ret = find_room(w);

    if (ret)
        return failed(s, ret);
    TRY(write_blocks(w, p));
    table = s->header.refcount_table_offset;
    bytes = (uint64_t)s->header.refcount_table_clusters << s->cluster_bits;
    old_size = s->rt_size;
    old = g_memdup2(s->rt, old_size * 8);
    ret = switch_header(w);
    if (!ret) {
        qcow2_refcount_forget(s);
        qcow2_derive(s);
        free_old(s, old, old_size, table, bytes);
        ret = qcow2_write_metadata(s, true);
    }
    g_free(old);
    return ret ? failed(s, ret) : NULL;
}

Err *amend_refcount_order(Qcow2 *s, unsigned order, const AmendProgress *p)
{
    g_autofree Widen *w = g_new0(Widen, 1);
    int ret = qcow2_write_metadata(s, true);
    bool lazy = s->lazy;
    Err *e;

    if (!ret)
        ret = qcow2_mark_clean(s);
    if (!ret)
        ret = qcow2_refcount_load(s);
    if (ret)
        return failed(s, ret);
    s->lazy = false;                        /* what is allocated is counted by the old blocks or not at all */
    w->s = s;
    w->as.header = s->header;
    w->as.header.refcount_order = order;
    qcow2_derive(&w->as);
    e = widen(w, p);
    if (e)
        qcow2_refcount_forget(s);
    s->lazy = lazy;
    free(w->rt);
    return e;
}
