/* SPDX-License-Identifier: MIT */
/*
 * qcow2 check: copied flags. In the active tables the flag of an entry says
 * that its cluster's refcount is 1. The walk has noted with which flags each
 * cluster is named, so tables are read again only if some flag is wrong.
 */
#include "block/qcow2/check-priv.h"

#include <inttypes.h>
#include <string.h>

/* One wrong flag; true: mend it. */
static bool wrong(Check *c, const char *what, uint64_t entry, uint64_t refcount)
{
    bool fix = c->fix & FIX_ERRORS;

    check_say(c, "%s OFLAG_COPIED %s=%" PRIx64 " refcount=%" PRIu64, fix ? "Repairing" : "ERROR", what, entry, refcount);
    if (fix)
        c->r->corruptions_fixed++;
    else
        c->r->corruptions++;
    return fix;
}

static int l1_flag(Check *c, uint32_t i)
{
    Qcow2 *s = c->s;
    uint64_t e = s->l1[i], at = e & QCOW2_L1_OFFSET, count;
    g_autofree char *what = NULL;
    int ret;

    if (!at || qcow2_in_cluster(s, at))
        return 0;
    ret = check_refcount(c, at >> s->cluster_bits, &count);
    if (ret || (count == 1) == !!(e & QCOW2_COPIED))
        return ret;
    what = g_strdup_printf("L2 cluster: l1_index=%" PRIu32 " l1_entry", i);
    if (wrong(c, what, e, count))
        qcow2_l1_set(s, i, e ^ QCOW2_COPIED);
    return 0;
}

/* What the walk found wrong with an entry, and what can be put right: a flag, or a place for zeroes. */
static bool mend_entry(Check *c, uint64_t *e, uint64_t bitmap)
{
    Qcow2 *s = c->s;
    uint64_t was = *e;
    bool zero = s->extended ? !(bitmap & QCOW2_SUB_ALL_ALLOC) : was & QCOW2_ZERO && s->header.version >= 3;

    if (!(c->fix & FIX_ERRORS) || !was)
        return false;
    if (was & QCOW2_COMPRESSED)
        *e = was & ~QCOW2_COPIED;
    else if (zero && qcow2_in_cluster(s, was & QCOW2_L2_OFFSET))
        *e = s->extended ? 0 : QCOW2_ZERO;
    if (*e == was)
        return false;
    check_say(c, "Repairing L2 entry %" PRIx64 ", now %" PRIx64, was, *e);
    c->r->corruptions--;
    c->r->corruptions_fixed++;
    return true;
}

/* Entries of one table, in memory; *changed: it has to be written. */
static int entry_flags(Check *c, uint64_t *l2, bool *changed)
{
    Qcow2 *s = c->s;
    unsigned step = s->extended ? 2 : 1;

    for (uint64_t i = 0; i < UINT64_C(1) << s->l2_bits; i++) {
        uint64_t e = be64toh(l2[i * step]), host, count = 1;
        int ret = 0;

        if (mend_entry(c, &e, s->extended ? be64toh(l2[i * 2 + 1]) : 0)) {
            l2[i * step] = htobe64(e);
            *changed = true;
        }
        host = e & QCOW2_L2_OFFSET;
        if (!host || (e & QCOW2_COMPRESSED))
            continue;
        if (!qcow2_has_data_file(s))
            ret = check_refcount(c, host >> s->cluster_bits, &count);
        if (ret)
            return ret;
        if ((count == 1) != !!(e & QCOW2_COPIED) && wrong(c, "data cluster: l2_entry", e, count)) {
            l2[i * step] = htobe64(e ^ QCOW2_COPIED);
            *changed = true;
        }
    }
    return 0;
}

static int table_flags(Check *c, uint64_t at, uint64_t *l2)
{
    Qcow2 *s = c->s;
    int64_t fixed = c->r->corruptions_fixed;
    bool changed = false;
    int ret;

    if (!at || !meta_find(&c->meta, at >> s->cluster_bits) || qcow2_in_cluster(s, at))
        return 0;
    ret = qcow2_pread(s, at, l2, s->cluster_size);
    if (!ret)
        ret = entry_flags(c, l2, &changed);
    if (ret || !changed)
        return ret;
    if (!check_may_write(c, USE_L2, at, s->cluster_size)) {
        c->r->corruptions += c->r->corruptions_fixed - fixed;
        c->r->corruptions_fixed = fixed;
        return 0;
    }
    return child_pwrite(s->node.file, at, l2, s->cluster_size, 0);
}

/* What was set in s->l1 goes to the file. */
static int write_l1(Check *c, int64_t fixed_before)
{
    Qcow2 *s = c->s;

    if (!s->l1_any_dirty)
        return 0;
    if (check_may_write(c, USE_L1, s->header.l1_offset, (uint64_t)s->header.l1_size * 8))
        return qcow2_write_metadata(s, true);
    c->r->corruptions += c->r->corruptions_fixed - fixed_before;
    c->r->corruptions_fixed = fixed_before;
    return qcow2_l1_load(s);
}

int check_flags(Check *c)
{
    Qcow2 *s = c->s;
    bool look = c->flags_differ || (c->entries_bad && c->fix & FIX_ERRORS);
    uint64_t *l2 = look ? block_buf(s->node.file->node, s->cluster_size) : NULL;
    int64_t before = c->r->corruptions_fixed;
    int ret = look && !l2 ? -ENOMEM : 0;

    for (uint32_t i = 0; !ret && i < s->header.l1_size; i++)
        ret = l1_flag(c, i);
    if (!ret)
        ret = write_l1(c, before);
    for (uint32_t i = 0; l2 && !ret && i < s->header.l1_size; i++)
        ret = table_flags(c, s->l1[i] & QCOW2_L1_OFFSET, l2);
    block_buf_free(l2);
    if (ret && ret != -ENOMEM) {
        check_say(c, "ERROR: I/O error in check_oflag_copied: %s", strerror(-ret));
        c->r->errors++;
        ret = c->fix ? ret : 0;
    }
    qcow2_cache_empty(s->l2_cache);
    return ret;
}
