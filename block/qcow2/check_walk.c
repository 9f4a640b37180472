/* SPDX-License-Identifier: MIT */
/*
 * qcow2 check: everything that names clusters. First metadata, which gives each
 * L2 table the number of L1 entries that name it; then each L2 table once, and
 * what its entries name gets that many references.
 */
#include "block/qcow2/check-priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/bitmaps.h"

/* Is the region within the file, but for less than a cluster at its end? Says so if not. */
static bool in_file(Check *c, uint64_t off, uint64_t len)
{
    if (off <= BLOCK_MAX_SIZE && len <= BLOCK_MAX_SIZE && off + len < c->file_len + c->s->cluster_size)
        return true;
    check_bad(c, "ERROR: counting reference for region exceeding the end of the file by one cluster or more:"
              " offset 0x%" PRIx64 " size 0x%" PRIx64, off, len);
    return false;
}

int check_ref(Check *c, CheckUse use, uint64_t off, uint64_t len)
{
    unsigned bits = c->s->cluster_bits;

    if (!len)
        return 0;
    if (!in_file(c, off, len)) {
        c->blind |= use != USE_BITMAPS && use != USE_REFBLOCK && use != USE_REFTABLE;
        return 0;
    }
    for (uint64_t i = off >> bits; i <= (off + len - 1) >> bits; i++) {
        int ret = meta_add(&c->meta, i, use);

        if (!ret)
            ret = counts_add(&c->counts, i, 1, 1, 0);
        if (ret)
            return ret;
    }
    return 0;
}

int check_ref_data(Check *c, uint64_t off, uint64_t len, uint64_t k, uint8_t marks)
{
    uint64_t first = off >> c->s->cluster_bits, last = (off + len - 1) >> c->s->cluster_bits;

    if (off + len > c->file_len && !in_file(c, off, len))
        return 0;
    return counts_add(&c->counts, first, last - first + 1, k, marks);
}

/* ---- metadata */

/* An L1 table: the tables that it names. */
static int name_tables(Check *c, const uint64_t *l1, uint64_t n)
{
    Qcow2 *s = c->s;

    for (uint64_t i = 0; i < n; i++) {
        uint64_t e = l1[i], at = e & QCOW2_L1_OFFSET;
        int ret;

        if (!e)
            continue;
        if (e & QCOW2_L1_RESERVED)
            check_bad(c, "ERROR found L1 entry with reserved bits set: %" PRIx64, e);
        if (!at)
            continue;
        ret = check_ref(c, USE_L2, at, s->cluster_size);
        if (ret)
            return ret;
        if (qcow2_in_cluster(s, at)) {
            check_bad(c, "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry corrupted", at);
            c->blind = true;
        }
    }
    return 0;
}

/* Reads a snapshot's L1 table; *l1 NULL: it makes no sense, which was said. */
static int snapshot_l1(Check *c, const Qcow2Snapshot *sn, bool report, uint64_t **l1)
{
    Qcow2 *s = c->s;
    const char *id = sn->id ? sn->id : "", *name = sn->name ? sn->name : "";
    int ret;

    *l1 = NULL;
    if (qcow2_in_cluster(s, sn->l1_offset)) {
        if (report)
            check_bad(c, "ERROR snapshot %s (%s) l1_offset=%#" PRIx64 ": L1 table is not cluster aligned;"
                      " snapshot table entry corrupted", id, name, sn->l1_offset);
    } else if (sn->l1_size > QCOW2_MAX_L1_BYTES / 8) {
        if (report)
            check_bad(c, "ERROR snapshot %s (%s) l1_size=%#" PRIx32 ": L1 table is too large;"
                      " snapshot table entry corrupted", id, name, sn->l1_size);
    } else {
        ret = qcow2_read_table(s, sn->l1_offset, sn->l1_size, l1);
        if (ret && report) {
            check_say(c, "ERROR snapshot %s (%s): its L1 table at %#" PRIx64 " cannot be read: %s", id, name,
                      sn->l1_offset, strerror(-ret));
            c->r->errors++;
        }
        c->blind |= ret != 0;
        return ret == -ENOMEM ? ret : 0;
    }
    c->blind = true;
    return 0;
}

static int name_snapshots(Check *c)
{
    Qcow2 *s = c->s;
    int ret = 0;

    for (uint32_t i = 0; s->snapshots && i < c->faults.read && !ret; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        uint64_t *l1;

        ret = snapshot_l1(c, sn, true, &l1);
        if (ret || !l1)
            continue;
        ret = check_ref(c, USE_SNAPSHOT_L1, sn->l1_offset, (uint64_t)sn->l1_size * 8);
        if (!ret)
            ret = name_tables(c, l1, sn->l1_size);
        free(l1);
    }
    if (!ret && s->header.nb_snapshots)
        ret = check_ref(c, USE_SNAPSHOTS, s->header.snapshots_offset, s->snapshots_bytes);
    return ret;
}

static int name_bitmap(void *opaque, uint64_t off, uint64_t len)
{
    return check_ref(opaque, USE_BITMAPS, off, len);
}

static void bitmap_fault(void *opaque, const char *what)
{
    Check *c = opaque;

    check_bad(c, "ERROR %s", what);
    c->bitmaps_bad++;
    c->blind |= !(c->fix & FIX_ERRORS);         /* else that bitmap is dropped, and what it had is free */
}

int check_names(Check *c)
{
    Qcow2 *s = c->s;
    int ret = check_ref(c, USE_HEADER, 0, s->cluster_size);

    if (!ret)
        ret = check_ref(c, USE_L1, s->header.l1_offset, (uint64_t)s->header.l1_size * 8);
    if (!ret)
        ret = name_tables(c, s->l1, s->header.l1_size);
    if (!ret)
        ret = name_snapshots(c);
    if (!ret && s->crypt_ext.length)
        ret = check_ref(c, USE_CRYPT, s->crypt_ext.offset, s->crypt_ext.length);
    if (!ret && s->bitmaps_ext.nb_bitmaps)
        ret = qcow2_bitmaps_names(s, name_bitmap, bitmap_fault, c);
    return ret ? ret : check_refcount_structures(c);
}

/* ---- L2 tables */

/* One table: where it is, for which guest offset, how many L1 entries name it. */
typedef struct Table {
    Check *c;
    uint64_t at, guest, k;
    bool active;
    uint64_t *l2;
    int ret;
} Table;

/* Something that can be mended in the active tables. */
static void bad_entry(Table *t, const char *fmt, uint64_t value)
{
    g_autofree char *line = g_strdup_printf(fmt, value);

    check_bad(t->c, "%s", line);
    t->c->entries_bad |= t->active;
}

static int packed_entry(Table *t, uint64_t e, uint64_t bitmap, uint64_t i)
{
    Check *c = t->c;
    Qcow2 *s = c->s;
    uint64_t host;
    uint32_t bytes;

    if (e & QCOW2_COPIED)
        bad_entry(t, "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for compressed clusters",
                  e & s->coffset_mask);
    if (qcow2_has_data_file(s)) {
        check_bad(c, "ERROR compressed cluster %" PRIu64 " with data file, entry=0x%" PRIx64, i, e);
        return 0;
    }
    if (bitmap) {
        check_bad(c, "ERROR compressed cluster %" PRIu64 " with non-zero subcluster allocation bitmap, entry=0x%" PRIx64,
                  i, e);
        return 0;
    }
    qcow2_packed_range(s, e, &host, &bytes);
    if (t->active) {
        c->r->allocated_clusters++;
        c->r->compressed_clusters++;
        c->r->fragmented_clusters++;        /* they are, by their nature */
    }
    bytes += host & 511;
    return check_ref_data(c, host & ~UINT64_C(511), bytes, t->k, 0);
}

/* An entry that is no plain cluster of data, aligned, without reserved bits: what is wrong with it? *goes: it will be mended. */
static void judge(Table *t, uint64_t e, uint64_t bitmap, bool *goes)
{
    Check *c = t->c;
    Qcow2 *s = c->s;
    uint64_t host = e & QCOW2_L2_OFFSET;
    bool zero = s->extended ? !(bitmap & QCOW2_SUB_ALL_ALLOC) : e & QCOW2_ZERO && s->header.version >= 3;

    if (e & (QCOW2_L2_RESERVED | (s->header.version < 3 || s->extended ? QCOW2_ZERO : 0)))
        check_bad(c, "ERROR found l2 entry with reserved bits set: %" PRIx64, e);
    if ((bitmap >> 32 & bitmap) || ((bitmap & QCOW2_SUB_ALL_ALLOC) && !host && !qcow2_has_data_file(s)))
        check_bad(c, "ERROR offset=%" PRIx64 ": Allocated cluster has corrupted subcluster allocation bitmap", host);
    *goes = qcow2_in_cluster(s, host) && zero && t->active && c->fix & FIX_ERRORS;
    if (qcow2_in_cluster(s, host) && zero)
        bad_entry(t, "ERROR offset=%" PRIx64 ": Preallocated cluster is not properly aligned; L2 entry corrupted.", host);
    else if (qcow2_in_cluster(s, host))
        check_bad(c, "ERROR offset=%" PRIx64 ": Data cluster is not properly aligned; L2 entry corrupted.", host);
}

/* Allocated, and perhaps not behind the one before it in the same table. */
static void count_allocated(Table *t, uint64_t host)
{
    Check *c = t->c;

    if (!t->active)
        return;
    c->r->allocated_clusters++;
    c->r->fragmented_clusters += c->next_contiguous && host != c->next_contiguous;
    c->next_contiguous = host + c->s->cluster_size;
}

static int plain_entry(Table *t, uint64_t e, uint64_t bitmap, uint64_t i)
{
    Check *c = t->c;
    Qcow2 *s = c->s;
    uint64_t host = e & QCOW2_L2_OFFSET, guest = t->guest + (i << s->cluster_bits);

    bool goes = false;

    if (e != (host | (e & QCOW2_COPIED)) || bitmap || qcow2_in_cluster(s, host))
        judge(t, e, bitmap, &goes);
    if (goes)
        return 0;               /* what it names it will not name any more */
    if (qcow2_has_data_file(s)) {
        if ((e & QCOW2_COPIED || host) && host != guest)
            check_bad(c, "ERROR offset=%" PRIx64 ": the data file has to hold this cluster at %" PRIx64
                      ", where the guest sees it", host, guest);
        if (host || e & QCOW2_COPIED)
            count_allocated(t, host);
        c->flags_differ |= host && !(e & QCOW2_COPIED);
        return 0;
    }
    if (!host)
        return 0;
    c->flags_differ |= t->active && e & QCOW2_COPIED && host >= c->file_len;     /* it cannot have a refcount */
    count_allocated(t, host);
    return check_ref_data(c, host, s->cluster_size, t->k,
                          !t->active ? 0 : e & QCOW2_COPIED ? COUNTS_COPIED : COUNTS_NOT_COPIED);
}

static int table_entries(Table *t)
{
    Qcow2 *s = t->c->s;
    unsigned step = s->extended ? 2 : 1;
    int ret = 0;

    t->c->next_contiguous = 0;      /* a table's end is no fragment: so qemu-img counts */
    for (uint64_t i = 0; !ret && i < UINT64_C(1) << s->l2_bits; i++) {
        uint64_t e = be64toh(t->l2[i * step]), bitmap = s->extended ? be64toh(t->l2[i * 2 + 1]) : 0;

        if (!e && !bitmap)
            continue;
        ret = e & QCOW2_COMPRESSED ? packed_entry(t, e, bitmap, i) : plain_entry(t, e, bitmap, i);
    }
    return ret;
}

static int table_read(void *arg)
{
    Table *t = arg;

    t->ret = qcow2_pread(t->c->s, t->at, t->l2, t->c->s->cluster_size);
    return 0;
}

/* Reads side by side, counts one after the other. */
static int run_batch(Check *c, Table *batch, unsigned n)
{
    CoCrowd crowd = { .max = n };
    int ret = 0;

    for (unsigned i = 0; i < n; i++)
        crowd_start(&crowd, table_read, &batch[i]);
    crowd_wait(&crowd);
    for (unsigned i = 0; i < n && !ret; i++) {
        if (batch[i].ret) {
            check_say(c, "ERROR: I/O error in L2 table at %#" PRIx64 ": %s", batch[i].at, strerror(-batch[i].ret));
            c->r->errors++;
            c->blind = true;
            continue;
        }
        ret = table_entries(&batch[i]);
    }
    return ret;
}

/* Is it a table to walk, and not yet done? */
static bool take_table(Check *c, uint64_t at, uint64_t *k)
{
    CheckMeta *m = at && !qcow2_in_cluster(c->s, at) ? meta_find(&c->meta, at >> c->s->cluster_bits) : NULL;

    if (!m || !m->l2_refs || m->walked)
        return false;
    m->walked = true;
    *k = m->l2_refs;
    return true;
}

enum { BATCH = 16, BATCH_BYTES = 4 << 20 };

static int walk_l1(Check *c, const uint64_t *l1, uint64_t size, bool active)
{
    Qcow2 *s = c->s;
    unsigned most = CLAMP(BATCH_BYTES >> s->cluster_bits, 2, BATCH), n = 0;
    uint8_t *mem = block_buf(s->node.file->node, (size_t)most << s->cluster_bits);
    Table batch[BATCH];
    int ret = mem ? 0 : -ENOMEM;

    for (uint64_t i = 0; i < size && !ret; i++) {
        uint64_t k;

        if (!take_table(c, l1[i] & QCOW2_L1_OFFSET, &k))
            continue;
        batch[n] = (Table){ .c = c, .at = l1[i] & QCOW2_L1_OFFSET, .guest = i << qcow2_l1_shift(s), .k = k,
                            .active = active, .l2 = (uint64_t *)(mem + ((size_t)n << s->cluster_bits)) };
        if (++n == most) {
            ret = run_batch(c, batch, n);
            n = 0;
        }
    }
    if (!ret && n)
        ret = run_batch(c, batch, n);
    block_buf_free(mem);
    return ret;
}

int check_entries(Check *c)
{
    Qcow2 *s = c->s;
    int ret = walk_l1(c, s->l1, s->header.l1_size, true);

    for (uint32_t i = 0; s->snapshots && i < c->faults.read && !ret; i++) {
        uint64_t *l1;

        ret = snapshot_l1(c, &s->snapshots[i], false, &l1);
        if (!ret && l1)
            ret = walk_l1(c, l1, s->snapshots[i].l1_size, false);
        free(l1);
    }
    return ret;
}
