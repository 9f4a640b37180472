/* SPDX-License-Identifier: MIT */
/*
 * qcow2 amend: version 2 has no entries that read as zeroes. Where there is no
 * backing file they become unallocated, which reads the same; else a cluster of
 * zeroes is written for each. All L2 tables, those of snapshots too: a table
 * with several owners gives its new clusters as many.
 *
 * Each table is changed where it is, behind a barrier that makes stable what
 * its new entries name; what it named before is freed after that.
 */
#include "block/qcow2/amend-priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct Expand {
    Qcow2 *s;
    uint64_t *l2;                   /* a cluster */
    uint64_t owners;                /* of this table */
    uint64_t done, all;             /* L1 entries */
    const AmendProgress *progress;
} Expand;

static int write_zeroes(Expand *x, uint64_t host, uint64_t guest)
{
    Qcow2 *s = x->s;
    int ret = qcow2_check_overlap(s, 0, host, s->cluster_size);
    uint8_t *buf;

    if (ret || s->header.crypt_method == QCOW2_CRYPT_NONE)
        return ret ? ret : child_zero(s->node.file, host, s->cluster_size, 0);
    buf = block_buf(s->node.file->node, s->cluster_size);
    if (!buf)
        return -ENOMEM;
    memset(buf, 0, s->cluster_size);
    ret = qcow2_encrypt(s, host, guest, buf, s->cluster_size);
    if (!ret)
        ret = child_pwrite(s->node.file, host, buf, s->cluster_size, 0);
    block_buf_free(buf);
    return ret;
}

/* A cluster that reads as zeroes, with as many owners as the table has. */
static int zero_cluster(Expand *x, uint64_t guest, uint64_t *host)
{
    Qcow2 *s = x->s;
    int64_t off = qcow2_alloc(s, s->cluster_size);
    int ret;

    *host = 0;
    if (off < 0)
        return (int)off;
    *host = (uint64_t)off;
    ret = write_zeroes(x, *host, guest);
    if (!ret && x->owners > 1)
        ret = qcow2_refcount_add(s, *host, s->cluster_size, (int64_t)x->owners - 1);
    if (ret)
        qcow2_unalloc(s, *host, s->cluster_size);
    return ret;
}

static int expand_entry(Expand *x, uint64_t guest, uint64_t i, bool *changed)
{
    Qcow2 *s = x->s;
    uint64_t e = be64toh(x->l2[i]), host, new = 0;
    int ret;

    if (!(e & QCOW2_ZERO) || e & QCOW2_COMPRESSED)
        return 0;
    if (s->node.backing_name || s->node.backing) {
        ret = zero_cluster(x, guest + (i << s->cluster_bits), &host);
        if (ret)
            return ret;
        new = host | (x->owners == 1 ? QCOW2_COPIED : 0);
    }
    x->l2[i] = htobe64(new);
    *changed = true;
    for (uint64_t k = 0; (e & QCOW2_L2_OFFSET) && k < x->owners; k++)
        qcow2_free(s, e & QCOW2_L2_OFFSET, s->cluster_size, QCOW2_FREE_OTHER);
    return 0;
}

static int expand_table(Expand *x, uint64_t at, uint64_t guest)
{
    Qcow2 *s = x->s;
    bool changed = false;
    int ret = qcow2_in_cluster(s, at) ? -EIO : qcow2_refcount_get(s, at >> s->cluster_bits, &x->owners);

    if (!ret)
        ret = qcow2_pread(s, at, x->l2, s->cluster_size);
    for (uint64_t i = 0; !ret && i < UINT64_C(1) << s->l2_bits; i++)
        ret = expand_entry(x, guest, i, &changed);
    if (ret || !changed)
        return ret;
    ret = qcow2_write_refcounts(s);
    if (!ret)
        ret = qcow2_barrier(s);
    if (!ret)
        ret = qcow2_pwrite(s, QCOW2_OL_ACTIVE_L2 | QCOW2_OL_INACTIVE_L2, at, x->l2, s->cluster_size);
    qcow2_cache_drop(s->l2_cache, at, s->cluster_size);
    return ret ? ret : qcow2_write_metadata(s, true);       /* a barrier, and the old clusters go */
}

static int expand_l1(Expand *x, const uint64_t *l1, uint64_t n)
{
    int ret = 0;

    for (uint64_t i = 0; !ret && i < n; i++) {
        if (l1[i] & QCOW2_L1_OFFSET)
            ret = expand_table(x, l1[i] & QCOW2_L1_OFFSET, i << qcow2_l1_shift(x->s));
        amend_progress(x->progress, ++x->done, x->all);
    }
    return ret;
}

static int expand_all(Expand *x)
{
    Qcow2 *s = x->s;
    int ret = expand_l1(x, s->l1, s->header.l1_size);

    for (uint32_t i = 0; !ret && i < s->header.nb_snapshots; i++) {
        const Qcow2Snapshot *sn = &s->snapshots[i];
        uint64_t *l1 = NULL;

        ret = sn->l1_size > QCOW2_MAX_L1_BYTES / 8 || qcow2_in_cluster(s, sn->l1_offset) ? -EIO
              : qcow2_read_table(s, sn->l1_offset, sn->l1_size, &l1);
        if (!ret)
            ret = expand_l1(x, l1, sn->l1_size);
        free(l1);
    }
    return ret;
}

Err *amend_expand_zeroes(Qcow2 *s, const AmendProgress *p)
{
    Expand x = { .s = s, .progress = p, .all = s->header.l1_size };
    int ret = qcow2_refcount_load(s);

    for (uint32_t i = 0; i < s->header.nb_snapshots; i++)
        x.all += s->snapshots[i].l1_size;
    x.l2 = block_buf(s->node.file->node, s->cluster_size);
    if (!x.l2)
        ret = -ENOMEM;
    if (!ret)
        ret = expand_all(&x);
    block_buf_free(x.l2);
    return ret ? err_errno(-ret, "%s: cannot write out clusters of zeroes", node_path(&s->node)) : NULL;
}
