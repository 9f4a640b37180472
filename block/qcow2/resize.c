/* SPDX-License-Identifier: MIT */
/*
 * qcow2: changing the size, clusters before they are written (preallocation),
 * and giving everything back to the backing file. All of it alone, with no
 * request running.
 */
#include "block/qcow2/qcow2.h"

#include <string.h>

static Err *io_err(Qcow2 *s, int ret, const char *what)
{
    return ret ? err_errno(-ret, "%s: %s", node_path(&s->node), what) : NULL;
}

/* ---- preallocation */

/* Links clusters [guest, guest + (n << bits)) to those from `host` on: as data, or reserved where subclusters say it. */
static int link_reserved(Qcow2 *s, uint64_t guest, uint64_t host, uint64_t n)
{
    for (uint64_t k = 0; k < n;) {
        Qcow2Slice sl;
        int ret = qcow2_slice_get_own(s, guest + (k << s->cluster_bits), &sl);
        if (ret)
            return ret;
        for (unsigned i = sl.index; i < sl.count && k < n; i++, k++)
            qcow2_l2_set(s, &sl, i, (host + (k << s->cluster_bits)) | QCOW2_COPIED, 0);
        qcow2_slice_put(&sl);
    }
    return 0;
}

/* One run of unallocated clusters, from `guest` on; *n: how many, at most. */
static int prealloc_run(Qcow2 *s, uint64_t guest, uint64_t *n, uint64_t *host_end)
{
    uint64_t host = guest, got = *n;
    bool fresh = true;
    if (!qcow2_has_data_file(s)) {
        int64_t at = qcow2_alloc_some(s, *n, &got, &fresh);
        if (at < 0)
            return at;
        host = at;
        *host_end = MAX(*host_end, host + (got << s->cluster_bits));
    }
    *n = got;
    int ret = fresh || s->extended ? 0 : child_zero(s->data, host, got << s->cluster_bits, 0);
    if (!ret)
        ret = link_reserved(s, guest, host, got);
    if (ret && !qcow2_has_data_file(s))
        qcow2_unalloc(s, host, got << s->cluster_bits);
    return ret;
}

/* Places for all of [off, end) that has none. */
static int prealloc(Qcow2 *s, uint64_t off, uint64_t end, uint64_t *host_end)
{
    off -= qcow2_in_cluster(s, off);
    while (off < end) {
        Qcow2Map m;
        int ret = qcow2_map(s, off, qcow2_cluster_up(s, end) - off, &m);
        if (ret)
            return ret;
        uint64_t n = (m.len + s->cluster_size - 1) >> s->cluster_bits;
        if (m.kind == QCOW2_UNALLOCATED) {
            ret = prealloc_run(s, off, &n, host_end);
            if (ret)
                return ret;
        }
        off += n << s->cluster_bits;
    }
    return 0;
}

static Err *preallocate(Qcow2 *s, uint64_t from, uint64_t end, Preallocation p)
{
    uint64_t host_end = 0;
    if (p.mode == PREALLOC_OFF || from >= end)
        return NULL;
    bool space = p.mode != PREALLOC_METADATA;
    if (qcow2_has_data_file(s)) {
        if (!s->data)
            return err(ERR_INVALID, "%s: the data file is not open", node_path(&s->node));
        if (child_size(s->data) < end)
            TRY(child_resize(s->data, end, false, space ? p : (Preallocation){ PREALLOC_OFF }));
    } else if (space) {
        /* As much as it will take, at the end of the file, so that what is taken there is zero and has its blocks. */
        uint64_t at = qcow2_cluster_up(s, child_size(s->node.file));
        TRY(child_resize(s->node.file, at + qcow2_full_size(s, end - from), false, p));
        s->free_hint = MAX(s->free_hint, at >> s->cluster_bits);
    }
    int ret = prealloc(s, from, end, &host_end);
    s->free_hint = 0;
    TRY(io_err(s, ret, "cannot allocate clusters in advance"));
    host_end = MAX(host_end, s->fresh << s->cluster_bits);
    if (space && !qcow2_has_data_file(s) ? host_end != child_size(s->node.file) : host_end > child_size(s->node.file))
        TRY(child_resize(s->node.file, host_end, false, (Preallocation){ PREALLOC_OFF }));
    return NULL;
}

/* ---- growing */

static Err *write_size(Qcow2 *s, uint64_t len)
{
    uint64_t was = s->header.size;
    s->header.size = len;
    int ret = qcow2_write_metadata(s, true);
    if (!ret)
        ret = qcow2_write_fields(s, offsetof(Qcow2Header, size), offsetof(Qcow2Header, crypt_method));
    if (!ret)
        ret = child_flush(s->node.file);
    if (ret)
        s->header.size = was;
    else
        s->node.size = len;
    return io_err(s, ret, "cannot write the new size");
}

/* The rest of the old last cluster may hold anything: from a longer time, or from the backing file. */
static Err *clear_tail(Qcow2 *s, uint64_t was, uint64_t len)
{
    uint64_t end = MIN(qcow2_cluster_up(s, was), len);
    if (end == was)
        return NULL;
    int zero = qcow2_reads_zero(s, was, end - was);
    if (zero)
        return io_err(s, MIN(zero, 0), "cannot read metadata");
    g_autofree uint8_t *buf = g_malloc0(end - was);
    if (s->header.crypt_method && was % 512)
        return err(ERR_INVALID, "%s: its size is no multiple of 512", node_path(&s->node));
    return io_err(s, qcow2_write_guest(s, was, &IOV_BUF(buf, end - was)), "cannot clear the last cluster's rest");
}

static Err *grow(Qcow2 *s, uint64_t len, Preallocation p)
{
    uint64_t was = s->header.size, need = ((len - 1) >> qcow2_l1_shift(s)) + 1;
    int ret = qcow2_l1_grow(s, need, true);
    if (ret == -EFBIG)
        return err_hint(err(ERR_INVALID, "%s: the size takes a longer L1 table than an image may have", node_path(&s->node)),
                        "An image with larger clusters can be larger.");
    TRY(io_err(s, ret, "cannot enlarge the L1 table"));
    TRY(clear_tail(s, was, len));
    if (qcow2_has_data_file(s) && s->data && s->raw_data && p.mode == PREALLOC_OFF)
        p.mode = PREALLOC_METADATA;     /* the raw file says what the disk is, so its clusters are in use */
    TRY(preallocate(s, was, len, p));
    return write_size(s, len);
}

/* ---- shrinking */

/* L2 tables of what is behind the end. */
static void drop_l2(Qcow2 *s, uint64_t len)
{
    uint64_t keep = len ? ((len - 1) >> qcow2_l1_shift(s)) + 1 : 0;
    for (uint64_t i = keep; i < s->header.l1_size; i++) {
        uint64_t table = s->l1[i] & QCOW2_L1_OFFSET;
        if (!table)
            continue;
        qcow2_l1_set(s, i, 0);
        qcow2_cache_drop(s->l2_cache, table, s->cluster_size);
        qcow2_free(s, table, s->cluster_size, QCOW2_FREE_ALWAYS);
    }
    qcow2_overlap_changed(s);
}

/* Number of the last cluster in use, plus one. */
static int last_used(Qcow2 *s, uint64_t *out)
{
    int ret = qcow2_refcount_load(s);
    if (ret)
        return ret;
    uint64_t c = MIN(qcow2_cluster_up(s, child_size(s->node.file)) >> s->cluster_bits, (uint64_t)s->rt_size << s->rb_bits), count;
    while (c) {
        if (!(c & ((UINT64_C(1) << s->rb_bits) - 1))) {     /* whole blocks that are not there */
            Qcow2Entry *e;
            ret = qcow2_refblock_get(s, (c - 1) >> s->rb_bits, &e);
            if (ret)
                return ret;
            if (!e) {
                c -= UINT64_C(1) << s->rb_bits;
                continue;
            }
            qcow2_cache_put(e);
        }
        ret = qcow2_refcount_get(s, c - 1, &count);
        if (ret)
            return ret;
        if (count)
            break;
        c--;
    }
    *out = c;
    return 0;
}

/* Does the block count nothing, but itself perhaps? */
static bool counts_nothing(const Qcow2 *s, const Qcow2Entry *e, uint64_t rb)
{
    uint64_t per = UINT64_C(1) << s->rb_bits, self = e->off >> s->cluster_bits;
    for (uint64_t i = 0; i < per; i++) {
        uint64_t count = qcow2_refcount_peek(s, e->data, i);
        if (count && !(count == 1 && rb * per + i == self))
            return false;
    }
    return true;
}

/* Refcount blocks that have nothing to count any more, where they would keep the file from ending. *any: there were some. */
static int drop_blocks(Qcow2 *s, bool *any)
{
    int ret = qcow2_refcount_load(s);
    *any = false;
    for (uint64_t rb = s->rt_size; !ret && rb-- > 1;) {
        Qcow2Entry *e;
        ret = s->rt[rb] ? qcow2_refblock_get(s, rb, &e) : 0;
        if (ret || !s->rt[rb] || !e)
            continue;
        uint64_t off = e->off;
        bool empty = counts_nothing(s, e, rb);
        qcow2_cache_put(e);
        if (!empty)
            continue;
        qcow2_cache_drop(s->rb_cache, off, s->cluster_size);
        qcow2_rt_set(s, rb, 0);
        s->free_hint = MIN(s->free_hint, rb << s->rb_bits);
        *any = true;
        if (off >> (s->cluster_bits + s->rb_bits) != rb)        /* what counts itself is counted no more */
            qcow2_free(s, off, s->cluster_size, QCOW2_FREE_ALWAYS);
    }
    qcow2_overlap_changed(s);
    return ret ? ret : qcow2_write_metadata(s, true);
}

static Err *shrink(Qcow2 *s, uint64_t len)
{
    uint64_t end = s->header.size, from = qcow2_cluster_up(s, len), used = 0;
    int ret = from < end ? qcow2_discard_guest(s, from, qcow2_cluster_up(s, end) - from, QCOW2_FREE_ALWAYS, true) : 0;
    TRY(io_err(s, ret, "failed to discard cropped clusters"));
    drop_l2(s, len);
    TRY(write_size(s, len));                /* writes the entries first, then frees what they named */
    TRY(io_err(s, qcow2_write_metadata(s, true), "cannot write metadata"));
    for (bool any = true; any;)             /* a block may have counted nothing but the next one */
        TRY(io_err(s, drop_blocks(s, &any), "cannot give refcount blocks back"));
    TRY(io_err(s, last_used(s, &used), "cannot read refcounts"));
    if (qcow2_has_data_file(s) && s->data && child_size(s->data) > len) {
        TRY(child_resize(s->data, len, false, (Preallocation){ PREALLOC_OFF }));
        s->data_end = 0;
    }
    if (used << s->cluster_bits < child_size(s->node.file)) {
        Err *e = child_resize(s->node.file, used << s->cluster_bits, false, (Preallocation){ PREALLOC_OFF });
        if (e) {
            err_note("%s: the file keeps its length: %s", node_path(&s->node), err_text(e));
            err_free(e);
        }
        s->data_end = 0;
    }
    return NULL;
}

static Err *resize(Qcow2 *s, uint64_t len, Preallocation p)
{
    uint64_t was = s->header.size;
    if (len % 512)
        return err(ERR_INVALID, "The new size must be a multiple of 512");
    if (s->header.nb_snapshots && s->header.version < 3)
        return err_hint(err(ERR_UNSUPPORTED, "Can't resize a version 2 image which has snapshots"),
                        "amend -o compat=1.1 makes it version 3.");
    if (len < was && p.mode != PREALLOC_OFF)
        return err(ERR_INVALID, "Preallocation can't be used for shrinking an image");
    if (s->stopped)
        return err(ERR_IO, "%s: the image is corrupt and not written any more", node_path(&s->node));
    TRY(qcow2_bitmaps_resized(s, len));
    return len > was ? grow(s, len, p) : len < was ? shrink(s, len) : NULL;
}

Err *qcow2_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    Qcow2 *s = qcow2_of(n);
    qcow2_exclusive_begin(s);
    Err *e = resize(s, len, p);
    qcow2_exclusive_end(s);
    return e;
}

/* ---- emptying: after a commit, everything is in the backing file */

Err *qcow2_make_empty(BlockNode *n)
{
    Qcow2 *s = qcow2_of(n);
    qcow2_exclusive_begin(s);
    uint64_t len = qcow2_cluster_up(s, s->header.size);
    int ret = len ? qcow2_discard_guest(s, 0, len, QCOW2_FREE_SNAPSHOT, true) : 0;
    if (!ret)
        ret = qcow2_write_metadata(s, true);
    if (!ret && qcow2_has_data_file(s) && s->data && !s->raw_data && len)
        ret = child_discard(s->data, 0, MIN(len, child_size(s->data)));
    qcow2_exclusive_end(s);
    return io_err(s, ret, "cannot empty the image");
}
