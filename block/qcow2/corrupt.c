/* SPDX-License-Identifier: MIT */
/*
 * qcow2: metadata that lies, and the overlap check.
 *
 * Before anything is written, its place is looked up among the clusters that
 * hold metadata. What is known of those is three sets of cluster numbers (what
 * lies at fixed places; L2 tables; refcount blocks), collected at the first
 * write and kept as tables come and go, so a check costs a few hash lookups
 * however large the image is.
 */
#include "block/qcow2/qcow2.h"

#include <stdarg.h>
#include <string.h>

static const struct { unsigned kind; const char *name; } kind_names[] = {
    { QCOW2_OL_HEADER, "qcow2_header" }, { QCOW2_OL_ACTIVE_L1, "active L1 table" },
    { QCOW2_OL_ACTIVE_L2, "active L2 table" }, { QCOW2_OL_REFCOUNT_BLOCK, "refcount block" },
    { QCOW2_OL_REFCOUNT_TABLE, "refcount table" }, { QCOW2_OL_SNAPSHOT_TABLE, "snapshot table" },
    { QCOW2_OL_INACTIVE_L1, "inactive L1 table" }, { QCOW2_OL_INACTIVE_L2, "inactive L2 table" },
    { QCOW2_OL_BITMAP_DIRECTORY, "bitmap directory" },
};

int qcow2_corrupt(Qcow2 *s, bool fatal, uint64_t off, const char *fmt, ...)
{
    fatal = fatal && !s->node.read_only;
    if (s->signaled_corruption && !fatal)
        return -EIO;
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (fatal)
        err_note("%s: marking image as corrupt: %s (offset %#" PRIx64 "); further corruption events will be "
                 "suppressed; run 'lyre-img check'", node_path((BlockNode *)&s->node), what, off);
    else
        err_note("%s: image is corrupt: %s (offset %#" PRIx64 "); further non-fatal corruption events will be "
                 "suppressed; run 'lyre-img check'", node_path((BlockNode *)&s->node), what, off);
    graph_tell_corruption(&s->node, what, off, fatal);
    s->signaled_corruption = true;
    if (fatal) {
        qcow2_mark_corrupt(s);      /* nothing more can be done where that fails, too */
        s->stopped = true;
    }
    return -EIO;
}

Err *qcow2_bad(Qcow2 *s, uint64_t off, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return err_hint(err(ERR_INVALID, "%s: %s (offset %#" PRIx64 ")", node_path((BlockNode *)&s->node), what, off),
                    "run 'lyre-img check %s' for all that is wrong with it", node_path((BlockNode *)&s->node));
}

/* ---- sets of clusters */

static size_t set_slot(const Qcow2ClusterSet *t, uint64_t key)
{
    size_t i = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (t->slots - 1);
    while (t->masks[i] && t->keys[i] != key)
        i = (i + 1) & (t->slots - 1);
    return i;
}

static bool set_double(Qcow2ClusterSet *t)
{
    Qcow2ClusterSet n = { .slots = t->slots ? t->slots * 2 : 64, .used = t->used };
    n.keys = try_alloc(n.slots, sizeof(*n.keys));
    n.masks = try_alloc(n.slots, sizeof(*n.masks));
    if (!n.keys || !n.masks) {
        free(n.keys);
        free(n.masks);
        return false;
    }
    for (size_t i = 0; i < t->slots; i++) {
        if (!t->masks[i])
            continue;
        size_t j = set_slot(&n, t->keys[i]);
        n.keys[j] = t->keys[i];
        n.masks[j] = t->masks[i];
    }
    free(t->keys);
    free(t->masks);
    *t = n;
    return true;
}

/* The clusters key << 6 .. whose bits are in mask. */
static bool set_add_mask(Qcow2ClusterSet *t, uint64_t key, uint64_t mask)
{
    if (t->used * 2 >= t->slots && !set_double(t))
        return false;
    size_t i = set_slot(t, key);
    t->used += !t->masks[i];
    t->keys[i] = key;
    t->masks[i] |= mask;
    return true;
}

static bool set_add(Qcow2ClusterSet *t, uint64_t cluster)
{
    return set_add_mask(t, cluster >> 6, UINT64_C(1) << (cluster & 63));
}

/* Those of first..last that are in the word `key` of 64. */
static uint64_t mask_of(uint64_t key, uint64_t first, uint64_t last)
{
    uint64_t mask = ~UINT64_C(0);
    if (key == first >> 6)
        mask &= ~UINT64_C(0) << (first & 63);
    if (key == last >> 6)
        mask &= ~UINT64_C(0) >> (63 - (last & 63));
    return mask;
}

/* Is one of the clusters first..last in the set? *hit: the first of them. */
static bool set_hits(const Qcow2ClusterSet *t, uint64_t first, uint64_t last, uint64_t *hit)
{
    if (!t->used)
        return false;
    for (uint64_t key = first >> 6; key <= last >> 6; key++) {
        uint64_t mask = t->masks[set_slot(t, key)] & mask_of(key, first, last);
        if (mask) {
            *hit = key << 6 | (unsigned)__builtin_ctzll(mask);
            return true;
        }
    }
    return false;
}

static void set_clear(Qcow2ClusterSet *t)
{
    free(t->keys);
    free(t->masks);
    *t = (Qcow2ClusterSet){ 0 };
}

/* ---- what is where */

static bool add_range(Qcow2 *s, Qcow2ClusterSet *t, uint64_t off, uint64_t len)
{
    if (!len)
        return true;
    uint64_t first = off >> s->cluster_bits, last = (off + len - 1) >> s->cluster_bits;
    for (uint64_t key = first >> 6; key <= last >> 6; key++) {
        if (!set_add_mask(t, key, mask_of(key, first, last)))
            return false;
    }
    return true;
}

static uint64_t l1_bytes(const Qcow2 *s) { return (uint64_t)s->header.l1_size * 8; }
static uint64_t rt_bytes(const Qcow2 *s) { return (uint64_t)s->header.refcount_table_clusters << s->cluster_bits; }

/* The snapshots' L1 tables; what lies in one range is looked up without a set (range_hit). */
static bool fill_fixed(Qcow2 *s)
{
    const Qcow2Header *h = &s->header;
    bool ok = true;
    for (uint32_t i = 0; ok && s->snapshots && (s->overlap & QCOW2_OL_INACTIVE_L1) && i < h->nb_snapshots; i++)
        ok = add_range(s, &s->set_fixed, s->snapshots[i].l1_offset,
                       MIN((uint64_t)s->snapshots[i].l1_size * 8, QCOW2_MAX_L1_BYTES));      /* more is a lie */
    return ok;
}

static bool fill_tables(Qcow2 *s)
{
    bool ok = true;
    for (uint32_t i = 0; ok && (s->overlap & QCOW2_OL_ACTIVE_L2) && i < s->header.l1_size; i++) {
        if (s->l1[i] & QCOW2_L1_OFFSET)
            ok = set_add(&s->set_l2, (s->l1[i] & QCOW2_L1_OFFSET) >> s->cluster_bits);
    }
    for (uint64_t i = 0; ok && (s->overlap & QCOW2_OL_REFCOUNT_BLOCK) && i < s->rt_size; i++) {
        if (s->rt[i] & QCOW2_RT_OFFSET)
            ok = set_add(&s->set_rb, (s->rt[i] & QCOW2_RT_OFFSET) >> s->cluster_bits);
    }
    return ok;
}

/* L2 tables of snapshots: read from the file, once after each change of them. */
static int fill_inactive_l2(Qcow2 *s)
{
    for (uint32_t i = 0; s->snapshots && i < s->header.nb_snapshots; i++) {
        uint64_t *table = NULL;
        uint32_t n = s->snapshots[i].l1_size;
        int ret = qcow2_read_table(s, s->snapshots[i].l1_offset, n, &table);
        for (uint32_t k = 0; !ret && k < n; k++) {
            if ((table[k] & QCOW2_L1_OFFSET) && !set_add(&s->set_inactive, (table[k] & QCOW2_L1_OFFSET) >> s->cluster_bits))
                ret = -ENOMEM;
        }
        free(table);
        if (ret)
            return ret;
    }
    return 0;
}

static int sets_fill(Qcow2 *s)
{
    int ret = qcow2_refcount_load(s);
    if (!ret && (s->overlap & QCOW2_OL_INACTIVE_L2) && !s->set_inactive.slots)
        ret = fill_inactive_l2(s);
    if (ret || s->sets_valid)
        return ret;
    /* From here on nothing yields: tables that are made meanwhile are added by their makers. */
    set_clear(&s->set_fixed);
    set_clear(&s->set_l2);
    set_clear(&s->set_rb);
    if (!fill_fixed(s) || !fill_tables(s))
        return -ENOMEM;
    s->sets_valid = true;
    return 0;
}

void qcow2_overlap_changed(Qcow2 *s)
{
    s->sets_valid = false;
    set_clear(&s->set_fixed);
    set_clear(&s->set_l2);
    set_clear(&s->set_rb);
    set_clear(&s->set_inactive);
}

void qcow2_overlap_add_l2(Qcow2 *s, uint64_t off)
{
    if (s->sets_valid && (s->overlap & QCOW2_OL_ACTIVE_L2) && !set_add(&s->set_l2, off >> s->cluster_bits))
        qcow2_overlap_changed(s);
}

void qcow2_overlap_add_rb(Qcow2 *s, uint64_t off)
{
    if (s->sets_valid && (s->overlap & QCOW2_OL_REFCOUNT_BLOCK) && !set_add(&s->set_rb, off >> s->cluster_bits))
        qcow2_overlap_changed(s);
}

/* ---- the check */

/* Which of `kinds` that are one range each has one of the clusters first..last; *hit: the first of them. 0: none. */
static unsigned range_hit(const Qcow2 *s, unsigned kinds, uint64_t first, uint64_t last, uint64_t *hit)
{
    const Qcow2Header *h = &s->header;
    const struct { unsigned kind; uint64_t off, len; } ranges[] = {
        { QCOW2_OL_HEADER, 0, 1 },
        { QCOW2_OL_ACTIVE_L1, h->l1_offset, l1_bytes(s) },
        { QCOW2_OL_REFCOUNT_TABLE, h->refcount_table_offset, rt_bytes(s) },
        { QCOW2_OL_SNAPSHOT_TABLE, h->snapshots_offset, h->nb_snapshots ? MAX(s->snapshots_bytes, 1) : 0 },
        { QCOW2_OL_BITMAP_DIRECTORY, s->bitmaps_ext.directory_offset,
          s->bitmaps_ext.nb_bitmaps ? s->bitmaps_ext.directory_size : 0 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(ranges); i++) {
        uint64_t from = ranges[i].off >> s->cluster_bits, to = (ranges[i].off + ranges[i].len - 1) >> s->cluster_bits;
        if ((kinds & ranges[i].kind) && ranges[i].len && from <= last && first <= to) {
            *hit = MAX(from, first);
            return ranges[i].kind;
        }
    }
    return 0;
}

static int hit_found(Qcow2 *s, unsigned kinds, uint64_t cluster)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kind_names); i++) {
        if (kinds & kind_names[i].kind)
            return qcow2_corrupt(s, true, cluster << s->cluster_bits,
                                 "preventing invalid write on metadata (overlaps with %s)", kind_names[i].name);
    }
    return 0;
}

int qcow2_check_overlap(Qcow2 *s, unsigned except, uint64_t off, uint64_t len)
{
    if (s->stopped)
        return -EIO;
    unsigned kinds = s->overlap & ~except;
    if (!kinds || !len)
        return 0;
    if (!s->sets_valid || ((kinds & QCOW2_OL_INACTIVE_L2) && !s->set_inactive.slots && s->header.nb_snapshots)) {
        int ret = sets_fill(s);
        if (ret)
            return ret;
    }
    uint64_t first = off >> s->cluster_bits, last = (off + len - 1) >> s->cluster_bits, hit;
    unsigned kind = range_hit(s, kinds, first, last, &hit);
    if (kind)
        return hit_found(s, kind, hit);
    if ((kinds & QCOW2_OL_INACTIVE_L1) && set_hits(&s->set_fixed, first, last, &hit))
        return hit_found(s, QCOW2_OL_INACTIVE_L1, hit);
    if ((kinds & QCOW2_OL_ACTIVE_L2) && set_hits(&s->set_l2, first, last, &hit))
        return hit_found(s, QCOW2_OL_ACTIVE_L2, hit);
    if ((kinds & QCOW2_OL_REFCOUNT_BLOCK) && set_hits(&s->set_rb, first, last, &hit))
        return hit_found(s, QCOW2_OL_REFCOUNT_BLOCK, hit);
    if ((kinds & QCOW2_OL_INACTIVE_L2) && set_hits(&s->set_inactive, first, last, &hit))
        return hit_found(s, QCOW2_OL_INACTIVE_L2, hit);
    return 0;
}
