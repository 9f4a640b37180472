/* SPDX-License-Identifier: MIT */
/*
 * qcow2: what an image says of itself: extents, information, the machine's
 * state behind the disk's end, the header's backing file.
 */
#include "block/qcow2/qcow2.h"

#include <string.h>

/*
 * Does the file occupy much less than the clusters that are in use? Then they
 * were laid out before they were written, and the file's holes tell what was.
 * Asked once; reads refcounts only where the file has holes at all.
 */
static bool laid_out(Qcow2 *s)
{
    if (s->laid_out)
        return s->laid_out > 0;
    s->laid_out = -1;
    uint64_t per = UINT64_C(1) << s->rb_bits, used = 0;
    int64_t real = node_allocated(s->node.file->node);
    uint64_t clusters = qcow2_cluster_up(s, child_size(s->node.file)) >> s->cluster_bits, enough;
    if (real < 0)
        return false;
    uint64_t there = (uint64_t)real >> s->cluster_bits;
    enough = MAX(there * 10 / 9, there + 2);
    if (enough > clusters || qcow2_refcount_load(s))
        return false;
    for (uint64_t rb = 0; rb < s->rt_size && rb * per < clusters && used < enough; rb++) {
        Qcow2Entry *e;
        if (qcow2_refblock_get(s, rb, &e) || !e)
            continue;
        for (uint64_t i = 0; i < per && rb * per + i < clusters; i++)
            used += qcow2_refcount_peek(s, e->data, i) != 0;
        qcow2_cache_put(e);
    }
    s->laid_out = used >= enough ? 1 : -1;
    return s->laid_out > 0;
}

int qcow2_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Request r;
    Qcow2Map m;
    qcow2_request_begin(s, &r);
    int ret = qcow2_map(s, off, len, &m);
    qcow2_request_end(s, &r);
    if (ret)
        return ret;
    static const unsigned flags[] = {
        [QCOW2_UNALLOCATED] = 0, [QCOW2_RESERVED] = 0,
        [QCOW2_ZERO_PLAIN] = EXTENT_ZERO | EXTENT_ALLOCATED, [QCOW2_ZERO_ALLOC] = EXTENT_ZERO | EXTENT_ALLOCATED,
        [QCOW2_NORMAL] = EXTENT_DATA | EXTENT_ALLOCATED,
        [QCOW2_PACKED] = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED,
    };
    *out = (Extent){ .len = m.len, .flags = flags[m.kind] };
    bool placed = m.kind == QCOW2_NORMAL || m.kind == QCOW2_ZERO_ALLOC || m.kind == QCOW2_RESERVED;
    if (placed && !s->header.crypt_method && s->data) {
        out->flags |= EXTENT_OFFSET;
        out->host = m.host;
        out->host_node = s->data->node;
        if (m.kind == QCOW2_NORMAL && laid_out(s))
            out->flags |= EXTENT_RECURSE;
    }
    return 0;
}

static void say_v3(Qcow2 *s, json_t *o)
{
    json_object_set_new(o, "lazy-refcounts", json_boolean(s->header.compatible & QCOW2_COMPAT_LAZY));
    json_t *bitmaps = qcow2_bitmaps_info(s);
    if (bitmaps)
        json_object_set_new(o, "bitmaps", bitmaps);
    json_object_set_new(o, "refcount-bits", json_integer(s->refcount_bits));
    if (s->data_file_name)
        json_object_set_new(o, "data-file", json_string(s->data_file_name));
    if (qcow2_has_data_file(s))
        json_object_set_new(o, "data-file-raw", json_boolean(s->raw_data));
}

Err *qcow2_info(BlockNode *n, NodeInfo *out)
{
    Qcow2 *s = qcow2_of(n);
    json_t *o = json_object(), *crypt = qcow2_crypt_info(s);
    bool v3 = s->header.version >= 3;
    out->cluster_size = s->cluster_size;
    out->vm_state_offset = qcow2_vmstate_offset(s);
    out->dirty = s->header.incompatible & QCOW2_INCOMPAT_DIRTY;
    json_object_set_new(o, "compat", json_string(v3 ? "1.1" : "0.10"));
    json_object_set_new(o, "compression-type", json_string(s->header.compression_type == QCOW2_ZSTD ? "zstd" : "zlib"));
    if (v3)
        say_v3(s, o);
    else
        json_object_set_new(o, "refcount-bits", json_integer(s->refcount_bits));
    if (crypt)
        json_object_set_new(o, "encrypt", crypt);
    if (v3) {
        json_object_set_new(o, "corrupt", json_boolean(s->header.incompatible & QCOW2_INCOMPAT_CORRUPT));
        json_object_set_new(o, "extended-l2", json_boolean(s->extended));
    }
    out->specific = o;
    return NULL;
}

/* ---- the machine's state: in the clusters after the disk's last L1 entry */

uint64_t qcow2_vmstate_offset(const Qcow2 *s)
{
    uint64_t n = s->header.size ? ((s->header.size - 1) >> qcow2_l1_shift(s)) + 1 : 0;
    return n << qcow2_l1_shift(s);
}

int qcow2_vmstate_read(BlockNode *n, uint64_t off, const IoVec *q)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Request r;
    uint64_t at;
    if (__builtin_add_overflow(qcow2_vmstate_offset(s), off, &at) || at > BLOCK_MAX_SIZE - q->len)
        return -EINVAL;
    block_event(n->file, "vmstate_load");
    qcow2_request_begin(s, &r);
    int ret = qcow2_read_guest(s, at, q);
    qcow2_request_end(s, &r);
    return ret;
}

int qcow2_vmstate_write(BlockNode *n, uint64_t off, const IoVec *q)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Request r;
    uint64_t at;
    if (!q->len)
        return 0;
    if (__builtin_add_overflow(qcow2_vmstate_offset(s), off, &at) || at > BLOCK_MAX_SIZE - q->len)
        return -EINVAL;
    if (qcow2_has_data_file(s))
        return -ENOTSUP;
    block_event(n->file, "vmstate_save");
    qcow2_request_begin(s, &r);
    int ret = qcow2_l1_grow(s, ((at + q->len - 1) >> qcow2_l1_shift(s)) + 1, false);
    if (!ret)
        ret = qcow2_write_guest(s, at, q);
    qcow2_request_end(s, &r);
    return ret;
}

int qcow2_vmstate_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    uint64_t at;

    if (__builtin_add_overflow(qcow2_vmstate_offset(qcow2_of(n)), off, &at) || len > BLOCK_MAX_SIZE || at > BLOCK_MAX_SIZE - len)
        return -EINVAL;
    return qcow2_extent(n, at, len, out);
}

/* The active table's part: a snapshot that was made of it keeps its own. */
int qcow2_vmstate_clear(BlockNode *n)
{
    Qcow2 *s = qcow2_of(n);
    uint64_t from = qcow2_vmstate_offset(s), end = (uint64_t)s->header.l1_size << qcow2_l1_shift(s);
    Qcow2Request r;
    int ret = 0;

    if (qcow2_has_data_file(s))
        return -ENOTSUP;
    qcow2_request_begin(s, &r);
    if (end > from)
        ret = qcow2_discard_guest(s, from, end - from, QCOW2_FREE_SNAPSHOT, true);
    qcow2_request_end(s, &r);
    return ret;
}

/* ---- the header's backing file */

static Err *set_backing(Qcow2 *s, const char *name, const char *format)
{
    BlockNode *n = &s->node;
    char *was_name = n->backing_name, *was_format = n->backing_format;
    n->backing_name = name && *name ? g_strdup(name) : NULL;
    n->backing_format = n->backing_name && format && *format ? g_strdup(format) : NULL;
    Err *e = qcow2_update_header(s);
    int ret = e ? 0 : child_flush(n->file);
    if (ret)
        e = err_errno(-ret, "%s: cannot write the header", node_path(n));
    if (e) {
        g_free(n->backing_name);
        g_free(n->backing_format);
        n->backing_name = was_name;
        n->backing_format = was_format;
        return e;
    }
    g_free(was_name);
    g_free(was_format);
    return NULL;
}

Err *qcow2_change_backing(BlockNode *n, const char *name, const char *format)
{
    Qcow2 *s = qcow2_of(n);
    if (name && *name && s->raw_data)
        return err(ERR_INVALID, "%s: a backing file and a raw external data file exclude each other", node_path(n));
    if (name && strlen(name) > QCOW2_MAX_NAME)
        return err(ERR_INVALID, "the backing file name is longer than %u bytes", QCOW2_MAX_NAME);
    if (format && strlen(format) > 63)
        return err(ERR_INVALID, "the backing format's name is longer than 63 bytes");
    qcow2_exclusive_begin(s);
    Err *e = set_backing(s, name, format);
    qcow2_exclusive_end(s);
    return e;
}
