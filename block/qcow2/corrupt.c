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

static bool set_add(Qcow2ClusterSet *t, uint64_t cluster)
{
    if (t->used * 2 >= t->slots && !set_double(t))
        return false;
    size_t i = set_slot(t, cluster >> 6);
    t->used += !t->masks[i];
    t->keys[i] = cluster >> 6;
    t->masks[i] |= UINT64_C(1) << (cluster & 63);
    return true;
}

/* Is one of the clusters first..last in the set? *hit: the first of them. */
static bool set_hits(const Qcow2ClusterSet *t, uint64_t first, uint64_t last, uint64_t *hit)
{
    if (!t->used)
        return false;
    for (uint64_t key = first >> 6; key <= last >> 6; key++) {
        uint64_t mask = t->masks[set_slot(t, key)];
        if (key == first >> 6)
            mask &= ~UINT64_C(0) << (first & 63);
        if (key == last >> 6)
            mask &= ~UINT64_C(0) >> (63 - (last & 63));
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
    for (uint64_t c = off >> s->cluster_bits; c <= (off + len - 1) >> s->cluster_bits; c++) {
        if (!set_add(t, c))
            return false;
    }
    return true;
}

static uint64_t l1_bytes(const Qcow2 *s) { return (uint64_t)s->header.l1_size * 8; }
static uint64_t rt_bytes(const Qcow2 *s) { return (uint64_t)s->header.refcount_table_clusters << s->cluster_bits; }

static bool fill_fixed(Qcow2 *s)
{
    const Qcow2Header *h = &s->header;
    Qcow2ClusterSet *t = &s->set_fixed;
    bool ok = true;
    if (s->overlap & QCOW2_OL_HEADER)
        ok = ok && add_range(s, t, 0, 1);
    if (s->overlap & QCOW2_OL_ACTIVE_L1)
        ok = ok && add_range(s, t, h->l1_offset, l1_bytes(s));
    if (s->overlap & QCOW2_OL_REFCOUNT_TABLE)
        ok = ok && add_range(s, t, h->refcount_table_offset, rt_bytes(s));
    if ((s->overlap & QCOW2_OL_SNAPSHOT_TABLE) && h->nb_snapshots)
        ok = ok && add_range(s, t, h->snapshots_offset, MAX(s->snapshots_bytes, 1));
    if ((s->overlap & QCOW2_OL_BITMAP_DIRECTORY) && s->bitmaps_ext.nb_bitmaps)
        ok = ok && add_range(s, t, s->bitmaps_ext.directory_offset, s->bitmaps_ext.directory_size);
    for (uint32_t i = 0; ok && s->snapshots && (s->overlap & QCOW2_OL_INACTIVE_L1) && i < h->nb_snapshots; i++)
        ok = add_range(s, t, s->snapshots[i].l1_offset, (uint64_t)s->snapshots[i].l1_size * 8);
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

static bool within(uint64_t cluster, unsigned bits, uint64_t off, uint64_t len)
{
    return len && cluster >= off >> bits && cluster <= (off + len - 1) >> bits;
}

/* Kinds of what lies in a cluster of the fixed set. */
static unsigned fixed_kinds(Qcow2 *s, uint64_t c)
{
    const Qcow2Header *h = &s->header;
    unsigned b = s->cluster_bits, kinds = 0;
    if (c == 0)
        kinds |= QCOW2_OL_HEADER;
    if (within(c, b, h->l1_offset, l1_bytes(s)))
        kinds |= QCOW2_OL_ACTIVE_L1;
    if (within(c, b, h->refcount_table_offset, rt_bytes(s)))
        kinds |= QCOW2_OL_REFCOUNT_TABLE;
    if (h->nb_snapshots && within(c, b, h->snapshots_offset, MAX(s->snapshots_bytes, 1)))
        kinds |= QCOW2_OL_SNAPSHOT_TABLE;
    if (s->bitmaps_ext.nb_bitmaps && within(c, b, s->bitmaps_ext.directory_offset, s->bitmaps_ext.directory_size))
        kinds |= QCOW2_OL_BITMAP_DIRECTORY;
    for (uint32_t i = 0; s->snapshots && i < h->nb_snapshots; i++) {
        if (within(c, b, s->snapshots[i].l1_offset, (uint64_t)s->snapshots[i].l1_size * 8))
            kinds |= QCOW2_OL_INACTIVE_L1;
    }
    return kinds & s->overlap;
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
    for (uint64_t c = first; c <= last && set_hits(&s->set_fixed, c, last, &hit); c = hit + 1) {
        if (fixed_kinds(s, hit) & kinds)
            return hit_found(s, fixed_kinds(s, hit) & kinds, hit);
    }
    if ((kinds & QCOW2_OL_ACTIVE_L2) && set_hits(&s->set_l2, first, last, &hit))
        return hit_found(s, QCOW2_OL_ACTIVE_L2, hit);
    if ((kinds & QCOW2_OL_REFCOUNT_BLOCK) && set_hits(&s->set_rb, first, last, &hit))
        return hit_found(s, QCOW2_OL_REFCOUNT_BLOCK, hit);
    if ((kinds & QCOW2_OL_INACTIVE_L2) && set_hits(&s->set_inactive, first, last, &hit))
        return hit_found(s, QCOW2_OL_INACTIVE_L2, hit);
    return 0;
}
