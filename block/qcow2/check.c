/* SPDX-License-Identifier: MIT */
/*
 * qcow2: check and repair; block/qcow2/check-priv.h has the plan. Lines and
 * numbers are those of qemu-img check, which scripts read.
 *
 * Where something could not be followed (a table beyond the end, a read error)
 * clusters that look leaked may be what it named; they are told, and kept.
 */
#include "block/qcow2/check-priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2/bitmaps.h"

/* ---- the snapshot table */

static void snapshot_fault(void *opaque, uint32_t entry, uint32_t extra)
{
    Check *c = opaque;

    if (extra > QCOW2_MAX_SNAPSHOT_EXTRA)
        check_bad(c, "ERROR snapshot table entry %" PRIu32 " has too much extra metadata (%" PRIu32 " > %u)", entry, extra,
                  QCOW2_MAX_SNAPSHOT_EXTRA);
    else
        check_bad(c, "ERROR snapshot table entry %" PRIu32 " is incomplete", entry);
}

static void read_snapshots(Check *c)
{
    uint32_t n = c->s->header.nb_snapshots;
    Err *e;

    c->faults = (Qcow2SnapshotFaults){ .say = snapshot_fault, .opaque = c };
    e = qcow2_snapshot_table_read(c->s, &c->faults);
    c->snapshots_rewrite = c->faults.faults || c->faults.read < n;
    if (!e)
        return;
    check_bad(c, "ERROR snapshot table entries %" PRIu32 " to %" PRIu32 " cannot be read: %s", c->faults.read, n - 1,
              err_text(e));
    err_free(e);
    c->blind = true;
}

/* The table that could be read goes to a new place. Refcounts are right by now. */
static int rewrite_snapshots(Check *c)
{
    Qcow2 *s = c->s;
    uint32_t n = c->faults.read, was = s->header.nb_snapshots;
    int ret = qcow2_snapshot_table_replace(s, n);

    if (ret) {
        check_say(c, "ERROR failed to update the snapshot table: %s", strerror(-ret));
        return ret;
    }
    check_say(c, "Repairing the snapshot table: %" PRIu32 " of %" PRIu32 " entries, now at %#" PRIx64, n, was,
              s->header.snapshots_offset);
    c->r->corruptions -= c->faults.faults + (n < was);
    c->r->corruptions_fixed += c->faults.faults + (n < was);
    return 0;
}

/* Bitmaps that make no sense leave the directory; a full backup makes up for them. */
static int drop_bitmaps(Check *c)
{
    unsigned dropped = 0;
    Err *e = qcow2_bitmaps_drop_bad(c->s, &dropped);

    if (e) {
        check_say(c, "ERROR failed to update the bitmap directory: %s", err_text(e));
        err_free(e);
        return -EIO;
    }
    check_say(c, "Repairing the bitmap directory: %u bitmaps removed", dropped);
    c->r->corruptions -= c->bitmaps_bad;
    c->r->corruptions_fixed += c->bitmaps_bad;
    return 0;
}

/* ---- the whole */

static int look(Check *c)
{
    Qcow2 *s = c->s;
    int ret;

    c->file_len = child_size(s->node.file);
    c->clusters = (c->file_len + s->cluster_size - 1) >> s->cluster_bits;
    c->r->total_clusters = (s->header.size + s->cluster_size - 1) >> s->cluster_bits;
    ret = counts_init(&c->counts, c->clusters + 1);
    if (ret)
        return ret;
    if (s->bad_table) {
        check_bad(c, "ERROR %s", s->bad_table);
        c->bad_structures++;
        c->rebuild = true;
    }
    read_snapshots(c);
    ret = check_names(c);
    if (!ret)
        ret = check_entries(c);
    return ret ? ret : check_compare(c, true);
}

static int mend_refcounts(Check *c)
{
    if (c->rebuild && (c->fix & FIX_ERRORS))
        return check_rebuild(c);
    if (c->rebuild) {
        check_say(c, "ERROR need to rebuild refcount structures: run check -r all");
        return -EIO;
    }
    if (c->blind && c->r->leaks && (c->fix & FIX_LEAKS))
        check_say(c, "Leaked clusters are kept: what could not be followed above may be using them");
    return c->bad_counts || c->r->leaks ? check_compare(c, false) : 0;
}

static int mend(Check *c)
{
    int ret = c->s->node.read_only ? -EROFS : mend_refcounts(c);

    if (!ret)
        ret = check_flags(c);
    if (!ret && c->snapshots_rewrite && (c->fix & FIX_ERRORS))
        ret = rewrite_snapshots(c);
    if (!ret && c->bitmaps_bad && (c->fix & FIX_ERRORS))
        ret = drop_bitmaps(c);
    if (!ret)
        ret = qcow2_write_metadata(c->s, true);
    if (!ret)
        ret = qcow2_write_refcounts(c->s);
    if (!ret && !c->r->errors && !c->r->corruptions)
        ret = qcow2_mark_clean(c->s);
    if (!ret && !c->r->errors && !c->r->corruptions)
        ret = qcow2_mark_consistent(c->s);
    return ret;
}

static int check_all(Qcow2 *s, CheckResult *r, unsigned fix)
{
    Check c = { .s = s, .r = r, .fix = fix };
    int ret = look(&c);

    if (!ret)
        ret = fix ? mend(&c) : check_flags(&c);
    if (s->snapshots && c.faults.read < s->header.nb_snapshots)
        qcow2_snapshots_free(s);        /* half a table is of no use */
    counts_free(&c.counts);
    meta_free(&c.meta);
    g_free(c.bad_block);
    return ret;
}

int qcow2_check(BlockNode *n, CheckResult *out, unsigned fix)
{
    Qcow2 *s = qcow2_of(n);
    int ret = 0;

    qcow2_exclusive_begin(s);
    if (!n->read_only && s->opened)
        ret = qcow2_write_metadata(s, true);
    if (!ret && !n->read_only && s->opened)
        ret = qcow2_write_refcounts(s);     /* lazy ones wait in memory */
    if (!ret)
        ret = check_all(s, out, fix);
    qcow2_exclusive_end(s);
    return ret;
}

Err *qcow2_repair_dirty(Qcow2 *s)
{
    CheckResult r = { 0 };
    int ret = check_all(s, &r, FIX_LEAKS | FIX_ERRORS);

    if (ret || r.errors)
        return err_hint(err_errno(ret ? -ret : EIO, "%s: could not repair dirty image", node_path(&s->node)),
                        "It was not closed, and its refcounts must be counted anew: lyre-img check -r all %s",
                        node_path(&s->node));
    return NULL;
}
