/* SPDX-License-Identifier: MIT */
/*
 * qcow2: reference counts (specification: "Host cluster management"). The
 * table is whole in memory, blocks are in the cache. A count goes up before
 * anything names the cluster and down when nothing on disk does any more, so
 * the blocks themselves may be written at any time.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

uint64_t qcow2_refcount_peek(const Qcow2 *s, const void *block, uint64_t i)
{
    const uint8_t *p = block;
    switch (s->refcount_bits) {
    case 8:
        return p[i];
    case 16:
        return be16toh(((const uint16_t *)block)[i]);
    case 32:
        return be32toh(((const uint32_t *)block)[i]);
    case 64:
        return be64toh(((const uint64_t *)block)[i]);
    default: {      /* 1, 2, 4: several in a byte, from the lowest bits on */
        unsigned per = 8 / s->refcount_bits;
        return p[i / per] >> (i % per * s->refcount_bits) & s->refcount_max;
    }
    }
}

void qcow2_refcount_poke(const Qcow2 *s, void *block, uint64_t i, uint64_t value)
{
    uint8_t *p = block;
    switch (s->refcount_bits) {
    case 8:
        p[i] = value;
        break;
    case 16:
        ((uint16_t *)block)[i] = htobe16(value);
        break;
    case 32:
        ((uint32_t *)block)[i] = htobe32(value);
        break;
    case 64:
        ((uint64_t *)block)[i] = htobe64(value);
        break;
    default: {
        unsigned per = 8 / s->refcount_bits, shift = i % per * s->refcount_bits;
        p[i / per] = (p[i / per] & ~(s->refcount_max << shift)) | value << shift;
    }
    }
}

int qcow2_refcount_load(Qcow2 *s)
{
    if (s->rt)
        return 0;
    uint64_t n = (uint64_t)s->header.refcount_table_clusters << (s->cluster_bits - 3);
    uint64_t *table;
    int ret = qcow2_read_table(s, s->header.refcount_table_offset, n, &table);
    if (ret)
        return ret;
    if (s->rt) {                        /* another coroutine was faster */
        free(table);
        return 0;
    }
    s->rt_dirty = try_alloc(n / 4096 + 1, 8);
    if (!s->rt_dirty) {
        free(table);
        return -ENOMEM;
    }
    s->rt = table;
    s->rt_size = s->rt_on_disk = n;
    s->rt_any_dirty = false;
    return 0;
}

void qcow2_refcount_forget(Qcow2 *s)
{
    qcow2_cache_empty(s->rb_cache);
    g_clear_pointer(&s->rt, free);
    g_clear_pointer(&s->rt_dirty, free);
    s->rt_size = s->rt_on_disk = 0;
    s->rt_any_dirty = false;
    s->free_hint = s->byte_off = 0;
    qcow2_overlap_changed(s);
}

int qcow2_refblock_get(Qcow2 *s, uint64_t rb, Qcow2Entry **out)
{
    *out = NULL;
    int ret = qcow2_refcount_load(s);
    if (ret || rb >= s->rt_size || !(s->rt[rb] & QCOW2_RT_OFFSET))
        return ret;
    uint64_t off = s->rt[rb] & QCOW2_RT_OFFSET;
    if (qcow2_in_cluster(s, off) || off > (uint64_t)INT64_MAX - s->cluster_size)
        return qcow2_corrupt(s, true, off, "refcount block offset %#" PRIx64 " unaligned or out of range "
                             "(refcount table index %" PRIu64 ")", off, rb);
    return qcow2_cache_get(s->rb_cache, off, out);
}

int qcow2_refcount_get(Qcow2 *s, uint64_t cluster, uint64_t *out)
{
    Qcow2Entry *e;
    *out = 0;
    int ret = qcow2_refblock_get(s, cluster >> s->rb_bits, &e);
    if (ret || !e)
        return ret;
    *out = qcow2_refcount_peek(s, e->data, cluster & ((UINT64_C(1) << s->rb_bits) - 1));
    qcow2_cache_put(e);
    return 0;
}

/* ---- changing them */

static void mark_counts(Qcow2 *s, Qcow2Entry *e, uint64_t first, uint64_t n)
{
    uint64_t bit = first * s->refcount_bits, end = (first + n) * s->refcount_bits;
    qcow2_cache_dirty(s->rb_cache, e, bit / 8, (end + 7) / 8 - bit / 8);
}

/* Counts first.. of one block; how many were changed is *done. */
static int add_in_block(Qcow2 *s, Qcow2Entry *e, uint64_t first, uint64_t n, int64_t delta, uint64_t *done)
{
    int ret = 0;
    uint64_t i;
    for (i = 0; i < n; i++) {
        uint64_t was = qcow2_refcount_peek(s, e->data, first + i);
        if (delta < 0 && was < (uint64_t)-delta) {
            ret = -EINVAL;
            break;
        }
        if (delta > 0 && (uint64_t)delta > s->refcount_max - MIN(was, s->refcount_max)) {
            ret = -ERANGE;
            break;
        }
        qcow2_refcount_poke(s, e->data, first + i, was + delta);
    }
    if (i)
        mark_counts(s, e, first, i);
    *done = i;
    return ret;
}

static int add_range(Qcow2 *s, uint64_t first, uint64_t n, int64_t delta, uint64_t *done)
{
    uint64_t per = UINT64_C(1) << s->rb_bits;
    for (*done = 0; *done < n;) {
        uint64_t c = first + *done, here = MIN(n - *done, per - (c & (per - 1))), part;
        Qcow2Entry *e;
        int ret = qcow2_refblock_get(s, c >> s->rb_bits, &e);
        if (!ret && !e && delta > 0) {
            ret = qcow2_refblock_make(s, c >> s->rb_bits);
            if (!ret)
                ret = qcow2_refblock_get(s, c >> s->rb_bits, &e);
        }
        if (ret || !e)
            return ret ? ret : -EINVAL;
        ret = add_in_block(s, e, c & (per - 1), here, delta, &part);
        qcow2_cache_put(e);
        *done += part;
        if (ret)
            return ret;
    }
    return 0;
}

int qcow2_refcount_add_locked(Qcow2 *s, uint64_t first, uint64_t n, int64_t delta)
{
    uint64_t done, undone;
    int ret = add_range(s, first, n, delta, &done);
    if (ret && done && add_range(s, first, done, -delta, &undone))
        qcow2_corrupt(s, false, first << s->cluster_bits, "refcounts could not be put back");
    if (!ret && delta < 0)
        s->free_hint = MIN(s->free_hint, first);
    return ret;
}

int qcow2_refcount_add(Qcow2 *s, uint64_t off, uint64_t len, int64_t delta)
{
    if (!len || !delta)
        return 0;
    uint64_t first = off >> s->cluster_bits, last = (off + len - 1) >> s->cluster_bits;
    co_lock(&s->alloc_lock);
    int ret = qcow2_refcount_add_locked(s, first, last - first + 1, delta);
    co_unlock(&s->alloc_lock);
    return ret;
}

int qcow2_refcount_set(Qcow2 *s, uint64_t cluster, uint64_t value)
{
    if (value > s->refcount_max)
        return -ERANGE;
    co_lock(&s->alloc_lock);
    uint64_t rb = cluster >> s->rb_bits, i = cluster & ((UINT64_C(1) << s->rb_bits) - 1);
    Qcow2Entry *e;
    int ret = qcow2_refblock_get(s, rb, &e);
    if (!ret && !e && value) {
        ret = qcow2_refblock_make(s, rb);
        if (!ret)
            ret = qcow2_refblock_get(s, rb, &e);
    }
    if (!ret && e) {
        qcow2_refcount_poke(s, e->data, i, value);
        mark_counts(s, e, i, 1);
        qcow2_cache_put(e);
    }
    if (!ret && !value)
        s->free_hint = MIN(s->free_hint, cluster);
    co_unlock(&s->alloc_lock);
    return ret;
}

/* ---- new blocks and a longer table; with alloc_lock held */

void qcow2_rt_set(Qcow2 *s, uint64_t rb, uint64_t off)
{
    s->rt[rb] = off;
    s->rt_dirty[rb / 4096] |= UINT64_C(1) << (rb / 64 % 64);
    s->rt_any_dirty = true;
    if (off)
        qcow2_overlap_add_rb(s, off);
}

/* A zeroed block for `rb` at cluster `at`; when that lies in its own range it counts itself. */
static int block_at(Qcow2 *s, uint64_t rb, uint64_t at)
{
    uint64_t off = at << s->cluster_bits, per = UINT64_C(1) << s->rb_bits;
    int ret = qcow2_check_overlap(s, 0, off, s->cluster_size);      /* a "free" cluster may be none */
    if (ret)
        return ret;
    Qcow2Entry *e;
    ret = qcow2_cache_get_zeroed(s->rb_cache, off, &e);
    if (ret)
        return ret;
    if (at >> s->rb_bits == rb)
        qcow2_refcount_poke(s, e->data, at & (per - 1), 1);
    qcow2_cache_dirty(s->rb_cache, e, 0, s->cluster_size);
    qcow2_cache_put(e);
    s->fresh = MAX(s->fresh, at + 1);
    qcow2_rt_set(s, rb, off);
    return 0;
}

int qcow2_refblock_make(Qcow2 *s, uint64_t rb)
{
    block_event(s->node.file, "refblock_alloc");
    if (rb >= s->rt_size) {
        int ret = qcow2_refcount_grow(s, (rb + 1) << s->rb_bits);
        if (ret)
            return ret;
    }
    while (!(s->rt[rb] & QCOW2_RT_OFFSET)) {
        /* A place that is counted already; looking for one makes blocks that count themselves, this one perhaps. */
        uint64_t got;
        int64_t at = qcow2_take_clusters(s, 1, false, &got);
        if (at < 0)
            return at;
        if (s->rt[rb] & QCOW2_RT_OFFSET)
            return qcow2_refcount_add_locked(s, at, 1, -1);
        int ret = block_at(s, rb, at);
        if (ret) {
            (void)qcow2_refcount_add_locked(s, at, 1, -1);
            return ret;
        }
    }
    return 0;
}

/* The first block of a range that nothing was counted in: at its first cluster that is free, which is `at`. */
int qcow2_refblock_self(Qcow2 *s, uint64_t at)
{
    return block_at(s, at >> s->rb_bits, at);
}

/* Writes the longer table at `off` and switches the header; blocks first. */
static int switch_table(Qcow2 *s, uint64_t off)
{
    uint64_t n = s->rt_size;
    uint64_t *disk = block_buf(s->node.file->node, n * 8);
    if (!disk)
        return -ENOMEM;
    block_event(s->node.file, "reftable_grow");
    co_lock(&s->write_lock);
    for (uint64_t i = 0; i < n; i++)
        disk[i] = htobe64(s->rt[i]);
    int ret = qcow2_write_refcounts_locked(s);      /* taken before it yields: all that the copy names */
    if (!ret)
        ret = qcow2_pwrite(s, 0, off, disk, n * 8);
    if (!ret)
        ret = child_flush(s->node.file);
    if (!ret) {
        Qcow2Header was = s->header;
        s->header.refcount_table_offset = off;
        s->header.refcount_table_clusters = (n * 8) >> s->cluster_bits;
        ret = qcow2_write_fields(s, offsetof(Qcow2Header, refcount_table_offset), offsetof(Qcow2Header, nb_snapshots));
        if (!ret)
            ret = child_flush(s->node.file);
        if (ret)
            s->header = was;
    }
    if (!ret) {
        memset(s->rt_dirty, 0, (n / 4096 + 1) * 8);
        s->rt_any_dirty = false;
        s->rt_on_disk = n;
        qcow2_overlap_changed(s);
    }
    co_unlock(&s->write_lock);
    block_buf_free(disk);
    return ret;
}

/* Takes back what growing did in memory, beyond the table that is still on disk. */
static void shrink_back(Qcow2 *s, uint64_t was)
{
    for (uint64_t i = was; i < s->rt_size; i++) {
        if (s->rt[i] & QCOW2_RT_OFFSET)
            qcow2_cache_drop(s->rb_cache, s->rt[i] & QCOW2_RT_OFFSET, s->cluster_size);
        s->rt[i] = 0;
    }
    s->rt_size = was;
    qcow2_overlap_changed(s);
}

int qcow2_refcount_grow(Qcow2 *s, uint64_t clusters)
{
    uint64_t per_cluster = s->cluster_size / 8, was = s->rt_size;
    uint64_t need = ((clusters - 1) >> s->rb_bits) + 2;
    need += need / 1024;                /* the table itself takes room */
    uint64_t most = MAX(QCOW2_MAX_RT_BYTES / 8, per_cluster);
    if (was != s->rt_on_disk)
        return -EFBIG;                  /* the table's own place lies beyond what it would count */
    if (clusters >> (63 - s->cluster_bits) || need > most)
        return -EFBIG;
    uint64_t n = MIN(most, (MAX(need, was + was / 2) + per_cluster - 1) / per_cluster * per_cluster);
    uint64_t *table = try_alloc(n, 8), *dirty = try_alloc(n / 4096 + 1, 8);
    if (!table || !dirty) {
        free(table);
        free(dirty);
        return -ENOMEM;
    }
    memcpy(table, s->rt, was * 8);
    memcpy(dirty, s->rt_dirty, (was / 4096 + 1) * 8);
    free(s->rt);
    free(s->rt_dirty);
    s->rt = table;
    s->rt_dirty = dirty;
    s->rt_size = n;
    uint64_t got, old = s->header.refcount_table_offset, old_len = (uint64_t)s->header.refcount_table_clusters << s->cluster_bits;
    int64_t at = qcow2_take_clusters(s, n / per_cluster, true, &got);
    int ret = at < 0 ? at : switch_table(s, (uint64_t)at << s->cluster_bits);
    if (ret) {
        shrink_back(s, was);            /* clusters that were taken in the old range stay taken: leaked */
        return ret;
    }
    qcow2_free(s, old, old_len, QCOW2_FREE_OTHER);
    return 0;
}
