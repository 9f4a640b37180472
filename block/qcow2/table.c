/* SPDX-License-Identifier: MIT */
/*
 * qcow2: L1 and L2 tables (specification: "Cluster mapping", "Extended L2
 * Entries"). The active L1 table is whole in memory; slices of L2 tables are in
 * the cache. A new L2 table is written, zeroed or as a copy, before L1 names
 * it in memory, so it is on disk when L1 is.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

int qcow2_read_table(Qcow2 *s, uint64_t off, uint64_t n, uint64_t **out)
{
    *out = NULL;
    if (!n)
        return 0;
    uint64_t *t = try_alloc((n + 63) / 64 * 64, 8);
    if (!t)
        return -ENOMEM;
    int ret = qcow2_pread(s, off, t, n * 8);
    if (ret) {
        free(t);
        return ret;
    }
    for (uint64_t i = 0; i < n; i++)
        t[i] = be64toh(t[i]);
    *out = t;
    return 0;
}

int qcow2_l1_load(Qcow2 *s)
{
    uint64_t *t, *dirty = try_alloc(s->header.l1_size / 4096 + 1, 8);
    if (!dirty)
        return -ENOMEM;
    int ret = qcow2_read_table(s, s->header.l1_offset, s->header.l1_size, &t);
    if (ret) {
        free(dirty);
        return ret;
    }
    free(s->l1);
    free(s->l1_dirty);
    s->l1 = t;
    s->l1_dirty = dirty;
    s->l1_any_dirty = false;
    qcow2_overlap_changed(s);
    return 0;
}

void qcow2_l1_set(Qcow2 *s, uint32_t i, uint64_t entry)
{
    s->l1[i] = entry;
    s->l1_dirty[i / 4096] |= UINT64_C(1) << (i / 64 % 64);
    s->l1_any_dirty = true;
}

/* ---- a longer L1 table */

/* The table with `n` entries goes to `off`, then the header is switched. */
static int l1_switch(Qcow2 *s, uint64_t *table, uint64_t n, uint64_t off)
{
    size_t bytes = (n * 8 + 511) / 512 * 512;
    uint64_t *disk = block_buf(s->node.file->node, bytes);
    if (!disk)
        return -ENOMEM;
    /* What it names must be there first; table_lock holds off new tables. */
    int ret = qcow2_write_metadata(s, false);
    co_lock(&s->write_lock);
    memset(disk, 0, bytes);
    for (uint64_t i = 0; i < n; i++)
        disk[i] = htobe64(table[i]);
    if (!ret)
        ret = qcow2_pwrite(s, 0, off, disk, bytes);
    if (!ret)
        ret = qcow2_write_refcounts_locked(s);
    if (!ret)
        ret = qcow2_barrier(s);
    if (!ret) {
        Qcow2Header was = s->header;
        s->header.l1_size = n;
        s->header.l1_offset = off;
        ret = qcow2_write_fields(s, offsetof(Qcow2Header, l1_size), offsetof(Qcow2Header, refcount_table_offset));
        if (!ret)
            ret = child_flush(s->node.file);
        if (ret)
            s->header = was;
    }
    co_unlock(&s->write_lock);
    block_buf_free(disk);
    return ret;
}

static int l1_move(Qcow2 *s, uint64_t n)
{
    uint64_t old = s->header.l1_offset, old_bytes = (uint64_t)s->header.l1_size * 8;
    uint64_t *table = try_alloc((n + 63) / 64 * 64, 8), *dirty = try_alloc(n / 4096 + 1, 8);
    block_event(s->node.file, "l1_grow_alloc_table");
    int64_t off = table && dirty ? qcow2_alloc(s, n * 8) : -ENOMEM;
    int ret = off < 0 ? off : 0;
    if (!ret && s->l1)
        memcpy(table, s->l1, MIN(n, s->header.l1_size) * 8);
    if (!ret) {
        ret = l1_switch(s, table, n, off);
        if (ret)
            qcow2_unalloc(s, off, n * 8);
    }
    if (ret) {
        free(table);
        free(dirty);
        return ret;
    }
    free(s->l1);
    free(s->l1_dirty);
    s->l1 = table;
    s->l1_dirty = dirty;
    s->l1_any_dirty = false;
    qcow2_overlap_changed(s);
    qcow2_free(s, old, old_bytes, QCOW2_FREE_OTHER);
    return 0;
}

int qcow2_l1_grow(Qcow2 *s, uint64_t entries, bool exact)
{
    if (entries > QCOW2_MAX_L1_BYTES / 8)
        return -EFBIG;
    int ret = 0;
    co_lock(&s->table_lock);
    if (entries > s->header.l1_size) {
        uint64_t n = exact ? entries : MIN(QCOW2_MAX_L1_BYTES / 8, MAX(entries, s->header.l1_size * UINT64_C(3) / 2));
        ret = l1_move(s, n);
    }
    co_unlock(&s->table_lock);
    return ret;
}

/* ---- L2 tables */

int qcow2_slice_of_table(Qcow2 *s, uint64_t table, unsigned i, Qcow2Slice *out)
{
    unsigned slice = i >> s->slice_bits;
    *out = (Qcow2Slice){ .index = i & ((1u << s->slice_bits) - 1), .count = 1u << s->slice_bits, .table = table };
    if (qcow2_in_cluster(s, table))
        return qcow2_corrupt(s, true, table, "L2 table offset %#" PRIx64 " unaligned", table);
    return qcow2_cache_get(s->l2_cache, table + ((uint64_t)slice << s->slice_bits) * s->l2_entry_bytes, &out->e);
}

static unsigned l2_index(const Qcow2 *s, uint64_t off)
{
    return off >> s->cluster_bits & ((1u << s->l2_bits) - 1);
}

int qcow2_slice_get(Qcow2 *s, uint64_t off, Qcow2Slice *out)
{
    uint64_t i = off >> qcow2_l1_shift(s), table = i < s->header.l1_size ? s->l1[i] & QCOW2_L1_OFFSET : 0;
    if (!table) {
        unsigned k = l2_index(s, off);
        *out = (Qcow2Slice){ .index = k & ((1u << s->slice_bits) - 1), .count = 1u << s->slice_bits };
        return 0;
    }
    return qcow2_slice_of_table(s, table, l2_index(s, off), out);
}

/* All of a table into `to`, through the cache. */
static int read_l2(Qcow2 *s, uint64_t table, uint8_t *to)
{
    uint32_t piece = qcow2_cache_entry_size(s->l2_cache);
    for (uint32_t at = 0; at < s->cluster_size; at += piece) {
        Qcow2Entry *e;
        int ret = qcow2_cache_get(s->l2_cache, table + at, &e);
        if (ret)
            return ret;
        memcpy(to + at, e->data, piece);
        qcow2_cache_put(e);
    }
    return 0;
}

/* A table of our own at `off`: zeroes, or what `old` holds. */
static int write_new_l2(Qcow2 *s, uint64_t off, uint64_t old)
{
    uint8_t *buf = block_buf(s->node.file->node, s->cluster_size);
    if (!buf)
        return -ENOMEM;
    int ret = 0;
    if (old)
        ret = qcow2_in_cluster(s, old) ? qcow2_corrupt(s, true, old, "L2 table offset %#" PRIx64 " unaligned", old)
                                       : read_l2(s, old, buf);
    else
        memset(buf, 0, s->cluster_size);
    block_event(s->node.file, "l2_alloc_write");
    if (!ret)
        ret = qcow2_pwrite(s, 0, off, buf, s->cluster_size);
    block_buf_free(buf);
    return ret;
}

static int make_l2(Qcow2 *s, uint32_t i)
{
    uint64_t old = s->l1[i] & QCOW2_L1_OFFSET;
    int64_t off = qcow2_alloc(s, s->cluster_size);
    if (off < 0)
        return off;
    qcow2_cache_drop(s->l2_cache, off, s->cluster_size);
    int ret = write_new_l2(s, off, old);
    if (ret) {
        qcow2_unalloc(s, off, s->cluster_size);
        return ret;
    }
    qcow2_l1_set(s, i, (uint64_t)off | QCOW2_COPIED);
    qcow2_overlap_add_l2(s, off);
    if (old)
        qcow2_free(s, old, s->cluster_size, QCOW2_FREE_OTHER);
    return 0;
}

int qcow2_slice_get_own(Qcow2 *s, uint64_t off, Qcow2Slice *out)
{
    uint64_t i = off >> qcow2_l1_shift(s);
    *out = (Qcow2Slice){ 0 };
    if (i >= s->header.l1_size)
        return -EIO;
    if (!(s->l1[i] & QCOW2_COPIED) || !(s->l1[i] & QCOW2_L1_OFFSET)) {
        int ret = 0;
        co_lock(&s->table_lock);
        if (!(s->l1[i] & QCOW2_COPIED) || !(s->l1[i] & QCOW2_L1_OFFSET))
            ret = make_l2(s, i);
        co_unlock(&s->table_lock);
        if (ret)
            return ret;
    }
    return qcow2_slice_of_table(s, s->l1[i] & QCOW2_L1_OFFSET, l2_index(s, off), out);
}

void qcow2_l2_set(Qcow2 *s, Qcow2Slice *sl, unsigned i, uint64_t entry, uint64_t bitmap)
{
    uint64_t *p = (uint64_t *)sl->e->data + (i << (s->extended ? 1 : 0));
    p[0] = htobe64(entry);
    if (s->extended)
        p[1] = htobe64(bitmap);
    qcow2_cache_dirty(s->l2_cache, sl->e, (uint8_t *)p - (uint8_t *)sl->e->data, s->l2_entry_bytes);
}

/* ---- what an entry says */

void qcow2_packed_range(const Qcow2 *s, uint64_t entry, uint64_t *host, uint32_t *bytes)
{
    uint64_t off = entry & ((UINT64_C(1) << s->csize_shift) - 1);
    uint64_t sectors = (entry >> s->csize_shift & s->csize_mask) + 1;
    *host = off & s->coffset_mask;
    *bytes = sectors * 512 - (off & 511);
}

bool qcow2_classify(const Qcow2 *s, uint64_t entry, uint64_t bitmap, unsigned sub, Qcow2Kind *kind)
{
    if (entry & QCOW2_COMPRESSED) {
        *kind = QCOW2_PACKED;
        return !qcow2_has_data_file(s) && !(entry & ((UINT64_C(1) << s->csize_shift) - 1) & ~s->coffset_mask);
    }
    uint64_t host = entry & QCOW2_L2_OFFSET;
    bool placed = host || (qcow2_has_data_file(s) && (entry & QCOW2_COPIED));
    if (s->extended) {
        bool alloc = bitmap >> sub & 1, zero = bitmap >> (sub + 32) & 1;
        if (alloc)
            *kind = QCOW2_NORMAL;
        else if (zero)
            *kind = placed ? QCOW2_ZERO_ALLOC : QCOW2_ZERO_PLAIN;
        else
            *kind = placed ? QCOW2_RESERVED : QCOW2_UNALLOCATED;
        return !(alloc && (zero || !placed)) && !qcow2_in_cluster(s, host);
    }
    if ((entry & QCOW2_ZERO) && s->header.version >= 3)
        *kind = placed ? QCOW2_ZERO_ALLOC : QCOW2_ZERO_PLAIN;
    else
        *kind = placed ? QCOW2_NORMAL : QCOW2_UNALLOCATED;
    return !qcow2_in_cluster(s, host);
}

/* ---- mapping */

static int entry_lies(Qcow2 *s, uint64_t off, const Qcow2Slice *sl, uint64_t entry, uint64_t bitmap)
{
    return qcow2_corrupt(s, true, sl->table, "L2 entry %#" PRIx64 " (subclusters %#" PRIx64 ") of guest offset %#" PRIx64
                         " makes no sense: unaligned, out of range, or not for this kind of image",
                         entry, bitmap, off & ~(uint64_t)(s->cluster_size - 1));
}

/* Is the entry's place where it must be: a data file mirrors the guest. */
static bool place_ok(const Qcow2 *s, Qcow2Kind kind, uint64_t entry, uint64_t off)
{
    if (!qcow2_has_data_file(s) || (kind != QCOW2_NORMAL && kind != QCOW2_ZERO_ALLOC && kind != QCOW2_RESERVED))
        return true;
    return (entry & QCOW2_L2_OFFSET) == off - qcow2_in_cluster(s, off);
}

/* The first cluster's part: kind, host, len. */
static bool map_first(const Qcow2 *s, uint64_t off, uint64_t entry, uint64_t bitmap, Qcow2Map *m)
{
    uint32_t in = qcow2_in_cluster(s, off);
    unsigned sub = s->extended ? in >> s->sub_bits : 0, last = sub;
    if (!qcow2_classify(s, entry, bitmap, sub, &m->kind) || !place_ok(s, m->kind, entry, off))
        return false;
    m->entry = entry;
    m->bitmap = bitmap;
    m->copied = entry & QCOW2_COPIED;
    m->len = s->cluster_size - in;
    if (m->kind == QCOW2_PACKED) {
        qcow2_packed_range(s, entry, &m->host, &m->packed);
        return true;
    }
    m->host = (entry & QCOW2_L2_OFFSET) + in;
    if (s->extended) {
        Qcow2Kind k;
        while (last + 1 < QCOW2_SUBCLUSTERS && qcow2_classify(s, entry, bitmap, last + 1, &k) && k == m->kind)
            last++;
        m->len = ((uint64_t)(last + 1) << s->sub_bits) - in;
    }
    return true;
}

/* Does the next cluster go on where `m` ends? Adds its part. */
static bool map_next(const Qcow2 *s, uint64_t off, uint64_t entry, uint64_t bitmap, Qcow2Map *m)
{
    Qcow2Map n;
    if (!map_first(s, off, entry, bitmap, &n) || n.kind != m->kind || n.kind == QCOW2_PACKED)
        return false;
    if (n.kind == QCOW2_NORMAL && (n.host != m->host + m->len || n.copied != m->copied))
        return false;
    if ((n.kind == QCOW2_ZERO_ALLOC || n.kind == QCOW2_RESERVED) && n.host != m->host + m->len)
        return false;
    m->len += n.len;
    return n.len == s->cluster_size;
}

int qcow2_map(Qcow2 *s, uint64_t off, uint64_t len, Qcow2Map *out)
{
    Qcow2Slice sl;
    int ret = qcow2_slice_get(s, off, &sl);
    if (ret)
        return ret;
    *out = (Qcow2Map){ 0 };
    if (!sl.e) {        /* no table: nothing of what it would describe is there */
        uint64_t covers = UINT64_C(1) << qcow2_l1_shift(s);
        out->kind = QCOW2_UNALLOCATED;
        out->len = MIN(len, covers - (off & (covers - 1)));
        return 0;
    }
    uint64_t entry = qcow2_l2(s, &sl, sl.index), bitmap = qcow2_l2_bitmap(s, &sl, sl.index);
    if (!map_first(s, off, entry, bitmap, out)) {
        qcow2_slice_put(&sl);
        return entry_lies(s, off, &sl, entry, bitmap);
    }
    if (qcow2_in_cluster(s, off) + out->len == s->cluster_size && out->kind != QCOW2_PACKED) {
        for (unsigned i = sl.index + 1; i < sl.count && out->len < len; i++) {
            if (!map_next(s, off + out->len, qcow2_l2(s, &sl, i), qcow2_l2_bitmap(s, &sl, i), out))
                break;
        }
    }
    out->len = MIN(out->len, len);
    qcow2_slice_put(&sl);
    return 0;
}
