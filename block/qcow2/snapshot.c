/* SPDX-License-Identifier: MIT */
/*
 * qcow2: internal snapshots (specification: "Snapshots"). A snapshot is an L1
 * table of its own; L2 tables and clusters belong to all whose tables name
 * them, and are counted once for each. Making, applying and deleting one
 * change refcounts and copied flags in one step (block/qcow2/switch.h).
 *
 * A shared L2 table has no copied flag in it, because it may be the active one.
 */
#include "block/qcow2/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/switch.h"

/* What an operation holds; finish gives all of it back. */
typedef struct Op {
    Qcow2 *s;
    Qcow2Switch sw;
    bool switching, switched;
    uint64_t *l1, *other;           /* the new active table; a snapshot's. Host byte order */
    uint64_t *l1_dirty;             /* for the new one */
    uint8_t *l2, *theirs;           /* a cluster each */
    uint8_t *table; size_t table_len;   /* the new snapshot table, and where it goes */
    uint64_t table_off;
    Qcow2Snapshot *old_list; uint64_t old_bytes;
    GArray *copies;                 /* uint64_t: clusters for copies of L2 tables */
    guint copies_used;
} Op;

static int op_begin(Qcow2 *s, Op *op)
{
    int ret;

    *op = (Op){ .s = s, .copies = g_array_new(FALSE, FALSE, sizeof(uint64_t)) };
    op->l2 = block_buf(s->node.file->node, s->cluster_size);
    op->theirs = block_buf(s->node.file->node, s->cluster_size);
    qcow2_exclusive_begin(s);
    ret = op->l2 && op->theirs ? qcow2_switch_begin(s, &op->sw) : -ENOMEM;
    op->switching = !ret;
    return ret;
}

static void finish(Op *op)
{
    if (op->switching)
        qcow2_switch_abort(op->s, &op->sw);
    if (op->switched)
        qcow2_switch_done(op->s, &op->sw);
    qcow2_exclusive_end(op->s);
    free(op->l1);
    free(op->l1_dirty);
    free(op->other);
    free(op->table);
    block_buf_free(op->l2);
    block_buf_free(op->theirs);
    g_array_free(op->copies, TRUE);
}

static int op_commit(Op *op)
{
    int ret = qcow2_switch_commit(op->s, &op->sw);

    op->switching = false;
    op->switched = !ret;
    return ret;
}

/* ---- tables */

static uint64_t table_at(uint64_t entry) { return entry & QCOW2_L1_OFFSET; }

static int read_l2(Op *op, uint64_t entry)
{
    Qcow2 *s = op->s;

    if (qcow2_in_cluster(s, table_at(entry)))
        return qcow2_corrupt(s, false, table_at(entry), "L2 table offset %#" PRIx64 " unaligned", table_at(entry));
    return qcow2_pread(s, table_at(entry), op->l2, s->cluster_size);
}

static uint64_t l2_entry(const Op *op, uint64_t i)
{
    return be64toh(((const uint64_t *)op->l2)[op->s->extended ? 2 * i : i]);
}

static uint64_t l2_count(const Op *op) { return UINT64_C(1) << op->s->l2_bits; }

static void l2_set(Op *op, uint64_t i, uint64_t entry)
{
    ((uint64_t *)op->l2)[op->s->extended ? 2 * i : i] = htobe64(entry);
}

static bool l2_any_copied(const Op *op)
{
    for (uint64_t i = 0; i < l2_count(op); i++)
        if (l2_entry(op, i) & QCOW2_COPIED)
            return true;
    return false;
}

static void l2_clear_copied(Op *op)
{
    for (uint64_t i = 0; i < l2_count(op); i++)
        l2_set(op, i, l2_entry(op, i) & ~QCOW2_COPIED);
}

/* n clusters that copies of L2 tables may have. */
static int reserve_copies(Op *op, uint64_t n)
{
    Qcow2 *s = op->s;

    while (op->copies->len < n) {
        uint64_t got;
        bool fresh;
        int64_t off = qcow2_alloc_some(s, n - op->copies->len, &got, &fresh);

        if (off < 0)
            return (int)off;
        for (uint64_t i = 0; i < got; i++) {
            uint64_t at = (uint64_t)off + (i << s->cluster_bits);

            g_array_append_val(op->copies, at);
        }
    }
    return 0;
}

/* op->l2 goes to one of those. */
static int write_copy(Op *op, uint64_t *at)
{
    *at = g_array_index(op->copies, uint64_t, op->copies_used++);
    return qcow2_pwrite(op->s, 0, *at, op->l2, op->s->cluster_size);
}

/* An L1 table to the file; a place for it was allocated. */
static int write_l1(Qcow2 *s, uint64_t off, const uint64_t *l1, uint64_t n)
{
    size_t bytes = (n * 8 + 511) / 512 * 512;
    uint64_t *disk = n ? block_buf(s->node.file->node, bytes) : NULL;
    int ret;

    if (!n)
        return 0;
    if (!disk)
        return -ENOMEM;
    memset(disk, 0, bytes);
    for (uint64_t i = 0; i < n; i++)
        disk[i] = htobe64(l1[i]);
    ret = qcow2_pwrite(s, 0, off, disk, bytes);
    block_buf_free(disk);
    return ret;
}

/* A place for n entries; 0 where there are none. */
static int64_t place_l1(Qcow2 *s, uint64_t n)
{
    return n ? qcow2_alloc(s, n * 8) : 0;
}

/* Memory for an active table of n entries, and a place for it. */
static int new_l1(Op *op, uint64_t n, uint64_t *off)
{
    int64_t at;

    op->l1 = try_alloc((n / 64 + 1) * 64, 8);
    op->l1_dirty = try_alloc(n / 4096 + 1, 8);
    at = op->l1 && op->l1_dirty ? place_l1(op->s, n) : -ENOMEM;
    *off = at < 0 ? 0 : (uint64_t)at;
    return at < 0 ? (int)at : 0;
}

/* The switch has happened: what was written is what we have in memory. */
static void adopt_l1(Op *op)
{
    Qcow2 *s = op->s;

    free(s->l1);
    free(s->l1_dirty);
    s->l1 = op->l1;
    s->l1_dirty = op->l1_dirty;
    s->l1_any_dirty = false;
    op->l1 = op->l1_dirty = NULL;
}

static int read_snapshot_l1(Op *op, const Qcow2Snapshot *sn)
{
    Qcow2 *s = op->s;

    if (qcow2_in_cluster(s, sn->l1_offset) || sn->l1_offset > BLOCK_MAX_SIZE || sn->l1_size > QCOW2_MAX_L1_BYTES / 8)
        return qcow2_corrupt(s, false, sn->l1_offset, "the L1 table of snapshot '%s', %u entries at %#" PRIx64
                             ", makes no sense", sn->name, sn->l1_size, sn->l1_offset);
    return qcow2_read_table(s, sn->l1_offset, sn->l1_size, &op->other);
}

/* ---- the snapshot table */

static int place_table(Op *op, const Qcow2Snapshot *list, uint32_t n)
{
    int64_t off;

    op->table = qcow2_snapshot_table_print(list, n, &op->table_len);
    if (!op->table)
        return -EFBIG;
    off = n ? qcow2_alloc(op->s, op->table_len) : 0;
    if (off < 0)
        return (int)off;
    op->table_off = (uint64_t)off;
    return 0;
}

/* Writes it; header and list in memory are the new ones (for the overlap check they belong together). */
static int use_table(Op *op, Qcow2Snapshot *list, uint32_t n)
{
    Qcow2 *s = op->s;
    int ret = n ? qcow2_pwrite(s, 0, op->table_off, op->table, op->table_len) : 0;

    if (ret)
        return ret;
    if (s->header.nb_snapshots)
        qcow2_switch_drop(&op->sw, s->header.snapshots_offset, MAX(s->snapshots_bytes, 1));
    op->old_list = s->snapshots;
    op->old_bytes = s->snapshots_bytes;
    s->header.nb_snapshots = n;
    s->header.snapshots_offset = op->table_off;
    s->snapshots = list;
    s->snapshots_bytes = op->table_len;
    ret = op_commit(op);
    if (ret) {                          /* the header is the old one again */
        s->snapshots = op->old_list;
        s->snapshots_bytes = op->old_bytes;
    } else {
        free(op->old_list);
    }
    return ret;
}

/* ---- create */

/* Which private tables need a copy without flags: those that have one. */
static int plan_create(Op *op, uint64_t n)
{
    Qcow2 *s = op->s;
    uint64_t copies = 0;

    for (uint64_t i = 0; i < n; i++) {
        int ret = table_at(s->l1[i]) ? read_l2(op, s->l1[i]) : 0;

        if (ret)
            return ret;
        copies += table_at(s->l1[i]) && l2_any_copied(op);
    }
    return reserve_copies(op, copies);
}

/* Table i now belongs to the active L1 table and to the snapshot's. */
static int share_l2(Op *op, uint64_t i)
{
    Qcow2 *s = op->s;
    uint64_t at = table_at(s->l1[i]);
    int ret = read_l2(op, s->l1[i]);

    if (!ret && l2_any_copied(op)) {
        l2_clear_copied(op);
        ret = write_copy(op, &at);
        qcow2_switch_drop(&op->sw, table_at(s->l1[i]), s->cluster_size);
    }
    op->l1[i] = op->other[i] = at;
    if (!ret)
        ret = qcow2_switch_add(s, &op->sw, at, s->cluster_size, 1);
    return ret ? ret : qcow2_switch_add_entries(s, &op->sw, op->l2, 1);
}

static int do_create(Op *op, Qcow2Snapshot *list, uint32_t n)
{
    Qcow2 *s = op->s;
    Qcow2Snapshot *sn = &list[n - 1];
    uint64_t size = s->header.l1_size, guest = MIN(size, qcow2_l1_entries(s, s->header.size));
    uint64_t active;
    int64_t copy = 0;
    int ret = new_l1(op, size, &active);

    op->other = try_alloc(size + 1, 8);
    if (!ret) {
        copy = op->other ? place_l1(s, size) : -ENOMEM;
        ret = copy < 0 ? (int)copy : plan_create(op, guest);
    }
    sn->l1_offset = (uint64_t)copy;
    sn->l1_size = (uint32_t)size;
    if (!ret)
        ret = place_table(op, list, n);
    if (!ret)
        ret = qcow2_switch_refcounts(s, &op->sw);
    for (uint64_t i = 0; !ret && i < guest; i++)
        if (table_at(s->l1[i]))
            ret = share_l2(op, i);
    /* The state of the machine moves over: the disk needs it no longer. */
    for (uint64_t i = guest; !ret && i < size; i++)
        op->other[i] = table_at(s->l1[i]);
    if (!ret)
        ret = write_l1(s, (uint64_t)copy, op->other, size);
    if (!ret)
        ret = write_l1(s, active, op->l1, size);
    if (ret)
        return ret;
    qcow2_switch_drop(&op->sw, s->header.l1_offset, size * 8);
    s->header.l1_offset = active;
    return use_table(op, list, n);
}

/* The smallest number above all ids that are numbers. */
static char *new_id(const Qcow2 *s)
{
    uint64_t max = 0;

    for (uint32_t i = 0; i < s->header.nb_snapshots; i++) {
        uint64_t id = strtoul(s->snapshots[i].id, NULL, 10);

        max = MAX(max, MIN(id, UINT64_MAX - 1));
    }
    return g_strdup_printf("%" PRIu64, max + 1);
}

static Err *may_have_snapshots(Qcow2 *s)
{
    if (qcow2_has_data_file(s))
        return err_hint(err(ERR_UNSUPPORTED, "internal snapshots and an external data file exclude each other"), "Use an overlay: create -b");
    if (s->header.nb_snapshots && !s->snapshots)
        return err_hint(err(ERR_INVALID, "the snapshot table is damaged"),
                        "run: lyre-img check -r all %s", node_path(&s->node));
    return NULL;
}

/* Why it did not work, from -errno. The caller's caller says in which image. */
static Err *failed(Qcow2 *s, int ret, const char *what, const char *name)
{
    if (ret == -ERANGE)
        return err_hint(err(ERR_INVALID, "could not %s snapshot '%s': a cluster has as many owners already as its"
                            " refcount of %u bits can count", what, name, s->refcount_bits),
                        "refcount_bits can be changed: lyre-img amend -o refcount_bits=16 %s", node_path(&s->node));
    if (ret == -EIO || ret == -EINVAL)
        return err_hint(err_errno(-ret, "could not %s snapshot '%s'", what, name),
                        "If metadata is damaged, 'lyre-img check %s' says where.", node_path(&s->node));
    return err_errno(-ret, "could not %s snapshot '%s'", what, name);
}

/* The list with one more, in new memory; strings are shared with the old one but for the new snapshot's. */
static Qcow2Snapshot *longer_list(const Qcow2 *s, const Snapshot *sn)
{
    uint32_t n = s->header.nb_snapshots;
    Qcow2Snapshot *list = try_alloc((size_t)n + 1, sizeof *list);

    if (!list)
        return NULL;
    if (n)
        memcpy(list, s->snapshots, n * sizeof *list);
    list[n] = (Qcow2Snapshot){
        .id = sn->id ? g_strdup(sn->id) : new_id(s), .name = g_strdup(sn->name ? sn->name : ""),
        .disk_size = s->header.size, .vm_state_size = sn->vm_state_size, .date_sec = sn->date_sec,
        .date_nsec = sn->date_nsec, .vm_clock_nsec = sn->vm_clock_nsec, .icount = sn->icount,
    };
    return list;
}

static Err *why_not_create(Qcow2 *s, const Snapshot *sn)
{
    TRY(may_have_snapshots(s));
    if (s->header.nb_snapshots >= QCOW2_MAX_SNAPSHOTS)
        return err(ERR_INVALID, "there are %u snapshots already, and no more can be", QCOW2_MAX_SNAPSHOTS);
    for (uint32_t i = 0; sn->id && i < s->header.nb_snapshots; i++)
        if (!strcmp(s->snapshots[i].id, sn->id))
            return err(ERR_INVALID, "there is a snapshot of ID '%s' already", sn->id);
    return NULL;
}

Err *qcow2_snapshot_create(BlockNode *node, Snapshot *sn)
{
    Qcow2 *s = qcow2_of(node);
    uint32_t n = s->header.nb_snapshots;
    Qcow2Snapshot *list;
    Op op;
    int ret;

    TRY(why_not_create(s, sn));
    list = longer_list(s, sn);
    if (!list)
        return failed(s, -ENOMEM, "create", sn->name);
    ret = op_begin(s, &op);
    if (!ret)
        ret = do_create(&op, list, n + 1);
    if (ret) {
        qcow2_snapshot_clear(&list[n]);
        free(list);
    } else {
        if (!sn->id)
            sn->id = g_strdup(list[n].id);
        sn->disk_size = list[n].disk_size;
        adopt_l1(&op);
    }
    finish(&op);
    return ret ? failed(s, ret, "create", sn->name) : NULL;
}

/* ---- delete */

/* Would the active table i, without that snapshot, have other flags than it has? */
static int flags_change(Op *op, const uint64_t *gone, uint64_t i, bool *l2_changes)
{
    Qcow2 *s = op->s;
    uint64_t step = s->extended ? 2 : 1;
    int ret = qcow2_pread(s, table_at(gone[i]), op->theirs, s->cluster_size);

    *l2_changes = false;
    if (!ret)
        ret = read_l2(op, s->l1[i]);
    for (uint64_t k = 0; !ret && k < l2_count(op) && !*l2_changes; k++) {
        uint64_t e = l2_entry(op, k), host = e & QCOW2_L2_OFFSET, count;
        uint64_t t = be64toh(((uint64_t *)op->theirs)[k * step]);

        if ((e & QCOW2_COMPRESSED) || !host)
            continue;
        ret = qcow2_refcount_get(s, host >> s->cluster_bits, &count);
        count -= !(t & QCOW2_COMPRESSED) && (t & QCOW2_L2_OFFSET) == host;
        *l2_changes = (count == 1) != !!(e & QCOW2_COPIED);
    }
    return ret;
}

/* How many active L2 tables change; `which` marks them. */
static int plan_delete(Op *op, const uint64_t *gone, uint64_t n, bool *which)
{
    Qcow2 *s = op->s;
    uint64_t copies = 0;

    for (uint64_t i = 0; i < MIN(n, s->header.l1_size); i++) {
        int ret = 0;

        if (table_at(gone[i]) && table_at(s->l1[i]))
            ret = qcow2_in_cluster(s, table_at(gone[i])) ? -EIO : flags_change(op, gone, i, &which[i]);
        if (ret)
            return ret;
        copies += which[i];
    }
    return reserve_copies(op, copies);
}

/* All that a table's entries name, and the tables: one owner less. */
static int lower_tree(Op *op, const uint64_t *l1, uint64_t n)
{
    int ret = 0;

    for (uint64_t i = 0; !ret && i < n; i++) {
        if (!table_at(l1[i]))
            continue;
        ret = read_l2(op, l1[i]);
        if (!ret)
            ret = qcow2_switch_add_entries(op->s, &op->sw, op->l2, -1);
        if (!ret)
            ret = qcow2_switch_add(op->s, &op->sw, table_at(l1[i]), op->s->cluster_size, -1);
    }
    return ret ? ret : qcow2_switch_flush(op->s, &op->sw);
}

/* Flags of the active table i as refcounts are now, in a copy. */
static int copy_with_flags(Op *op, uint64_t i)
{
    Qcow2 *s = op->s;
    uint64_t at;
    int ret = read_l2(op, s->l1[i]);

    for (uint64_t k = 0; !ret && k < l2_count(op); k++) {
        uint64_t e = l2_entry(op, k), host = e & QCOW2_L2_OFFSET, count;

        if ((e & QCOW2_COMPRESSED) || !host)
            continue;
        ret = qcow2_refcount_get(s, host >> s->cluster_bits, &count);
        l2_set(op, k, count == 1 ? e | QCOW2_COPIED : e & ~QCOW2_COPIED);
    }
    if (!ret)
        ret = write_copy(op, &at);
    if (ret)
        return ret;
    qcow2_switch_drop(&op->sw, table_at(s->l1[i]), s->cluster_size);
    op->l1[i] = at | QCOW2_COPIED;
    return 0;
}

static int new_active_flags(Op *op, const bool *which)
{
    Qcow2 *s = op->s;
    int ret = 0;

    for (uint64_t i = 0; !ret && i < s->header.l1_size; i++) {
        uint64_t count;

        op->l1[i] = s->l1[i];
        if (!table_at(s->l1[i]))
            continue;
        if (which[i]) {
            ret = copy_with_flags(op, i);
            continue;
        }
        ret = qcow2_refcount_get(s, table_at(s->l1[i]) >> s->cluster_bits, &count);
        op->l1[i] = count == 1 ? s->l1[i] | QCOW2_COPIED : s->l1[i] & ~QCOW2_COPIED;
    }
    return ret;
}

static int do_delete(Op *op, const Qcow2Snapshot *gone, Qcow2Snapshot *rest, uint32_t n)
{
    Qcow2 *s = op->s;
    uint64_t size = s->header.l1_size;
    g_autofree bool *which = g_try_new0(bool, MAX(size, gone->l1_size) + 1);
    uint64_t active = 0;
    int ret = which ? read_snapshot_l1(op, gone) : -ENOMEM;

    if (!ret)
        ret = plan_delete(op, op->other, gone->l1_size, which);
    if (!ret)
        ret = new_l1(op, size, &active);
    if (!ret)
        ret = place_table(op, rest, n);
    if (!ret)
        ret = qcow2_switch_refcounts(s, &op->sw);
    if (!ret)
        ret = lower_tree(op, op->other, gone->l1_size);
    if (!ret)
        ret = new_active_flags(op, which);
    if (!ret)
        ret = write_l1(s, active, op->l1, size);
    if (ret)
        return ret;
    qcow2_switch_drop(&op->sw, s->header.l1_offset, size * 8);
    qcow2_switch_drop(&op->sw, gone->l1_offset, (uint64_t)gone->l1_size * 8);
    s->header.l1_offset = active;
    return use_table(op, rest, n);
}

static Err *find_one(Qcow2 *s, const char *id_or_name, uint32_t *out)
{
    int64_t i;

    TRY(may_have_snapshots(s));
    i = qcow2_snapshot_find(s, id_or_name);
    if (i < 0)
        return err(ERR_NOT_FOUND, "there is no snapshot '%s'", id_or_name);
    *out = (uint32_t)i;
    return NULL;
}

Err *qcow2_snapshot_delete(BlockNode *node, const char *id_or_name)
{
    Qcow2 *s = qcow2_of(node);
    uint32_t i, n = s->header.nb_snapshots;
    Qcow2Snapshot *rest, gone;
    Op op;
    int ret;

    TRY(find_one(s, id_or_name, &i));
    rest = try_alloc(n, sizeof *rest);
    if (!rest)
        return failed(s, -ENOMEM, "delete", id_or_name);
    gone = s->snapshots[i];
    memcpy(rest, s->snapshots, i * sizeof *rest);
    memcpy(rest + i, s->snapshots + i + 1, (n - 1 - i) * sizeof *rest);
    ret = op_begin(s, &op);
    if (!ret)
        ret = do_delete(&op, &gone, rest, n - 1);
    if (ret) {
        free(rest);
    } else {
        qcow2_snapshot_clear(&gone);
        adopt_l1(&op);
    }
    finish(&op);
    return ret ? failed(s, ret, "delete", id_or_name) : NULL;
}

/* ---- apply */

/* The snapshot's table i gets a second owner. Flags that it should not have go first: it is not in use yet. */
static int take_over_l2(Op *op, uint64_t i)
{
    Qcow2 *s = op->s;
    int ret = read_l2(op, op->other[i]);

    if (!ret && l2_any_copied(op)) {
        l2_clear_copied(op);
        ret = qcow2_pwrite(s, QCOW2_OL_INACTIVE_L2, table_at(op->other[i]), op->l2, s->cluster_size);
    }
    op->l1[i] = table_at(op->other[i]);
    if (!ret)
        ret = qcow2_switch_add(s, &op->sw, op->l1[i], s->cluster_size, 1);
    return ret ? ret : qcow2_switch_add_entries(s, &op->sw, op->l2, 1);
}

static int do_apply(Op *op, const Qcow2Snapshot *sn)
{
    Qcow2 *s = op->s;
    uint64_t size = MAX(sn->l1_size, qcow2_l1_entries(s, sn->disk_size));
    uint64_t active = 0;
    int ret = size > QCOW2_MAX_L1_BYTES / 8 ? -EFBIG : read_snapshot_l1(op, sn);

    if (!ret)
        ret = new_l1(op, size, &active);
    if (!ret)
        ret = qcow2_switch_refcounts(s, &op->sw);
    for (uint64_t i = 0; !ret && i < sn->l1_size; i++)
        if (table_at(op->other[i]))
            ret = take_over_l2(op, i);
    if (!ret)
        ret = lower_tree(op, s->l1, s->header.l1_size);
    if (!ret)
        ret = write_l1(s, active, op->l1, size);
    if (ret)
        return ret;
    qcow2_switch_drop(&op->sw, s->header.l1_offset, (uint64_t)s->header.l1_size * 8);
    s->header.l1_offset = active;
    s->header.l1_size = (uint32_t)size;
    s->header.size = sn->disk_size;
    return op_commit(op);
}

Err *qcow2_snapshot_apply(BlockNode *node, const char *id_or_name)
{
    Qcow2 *s = qcow2_of(node);
    uint32_t i;
    Op op;
    int ret;

    TRY(find_one(s, id_or_name, &i));
    if (s->snapshots[i].disk_size > BLOCK_MAX_SIZE)
        return qcow2_bad(s, s->header.snapshots_offset, "snapshot '%s' says its disk has %" PRIu64 " bytes", id_or_name,
                         s->snapshots[i].disk_size);
    if (node->bitmaps)
        return err_hint(err(ERR_BUSY, "the image has dirty bitmaps, which cannot follow a snapshot"),
                        "Remove them first: lyre-img bitmap --remove %s NAME", node_path(node));
    ret = op_begin(s, &op);
    if (!ret)
        ret = do_apply(&op, &s->snapshots[i]);
    if (!ret) {
        node->size = s->header.size;
        adopt_l1(&op);
    }
    finish(&op);
    return ret ? failed(s, ret, "apply", id_or_name) : NULL;
}

/* ---- reading as a snapshot */

Err *qcow2_snapshot_load_one(BlockNode *node, const char *id_or_name)
{
    Qcow2 *s = qcow2_of(node);
    const Qcow2Snapshot *sn;
    Qcow2Header was = s->header;
    uint32_t i;
    int ret;

    TRY(find_one(s, id_or_name, &i));
    if (!node->read_only)
        return err(ERR_INVALID, "a snapshot can be looked at in an image that is open read-only");
    sn = &s->snapshots[i];
    TRY(qcow2_check_table(s, sn->l1_offset, sn->l1_size, 8, QCOW2_MAX_L1_BYTES, "Snapshot L1 table"));
    if (sn->disk_size > BLOCK_MAX_SIZE || qcow2_l1_entries(s, sn->disk_size) > sn->l1_size)
        return qcow2_bad(s, sn->l1_offset, "snapshot '%s' says its disk has %" PRIu64 " bytes, its L1 table says less",
                         id_or_name, sn->disk_size);
    qcow2_exclusive_begin(s);
    s->header.l1_offset = sn->l1_offset;
    s->header.l1_size = sn->l1_size;
    s->header.size = sn->disk_size;
    ret = qcow2_l1_load(s);
    if (ret) {
        s->header = was;
    } else {
        node->size = sn->disk_size;
        qcow2_cache_empty(s->l2_cache);
    }
    qcow2_exclusive_end(s);
    return ret ? failed(s, ret, "load", id_or_name) : NULL;
}
