/* SPDX-License-Identifier: MIT */
/*
 * qcow2: compressed clusters. zlib means raw deflate with a window of 4 KiB
 * (windowBits -12), zstd one or more frames; either ends when a cluster of data
 * has come out. Packing and unpacking run in worker threads, as many at a time
 * as keep all cores busy; their contexts, half a megabyte each, are kept for the next.
 *
 * Packing is ISA-L's deflate, ten times as fast as zlib's level 6 for files 5 to
 * 8 % larger; it can keep matches within the window. Zstd: level 2.
 */
#include "block/qcow2/qcow2.h"

#include <isa-l/igzip_lib.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum {
    WINDOW_BITS = -12,
    INLINE_BYTES = 8 << 10,     /* clusters this small are not worth a thread */
    DEFLATE_LEVEL = 3,
    ZSTD_LEVEL = 2,
};

/* What compressing or unpacking needs; one of the two halves may be there. */
typedef struct Qcow2Press {
    struct isal_zstream *deflate;
    uint8_t *deflate_buf;       /* ISAL_DEF_LVL3_DEFAULT bytes */
    z_stream inflate;
    bool inflating;
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
    struct Qcow2Press *next;
} Qcow2Press;

/* One more than cores: it waits at hand when another is done. */
static bool may_have_another(const Qcow2 *s)
{
    return s->presses_out < MAX(g_get_num_processors(), 1) + 1;
}

static Qcow2Press *press_get(Qcow2 *s)
{
    while (!may_have_another(s))
        co_queue_wait(&s->press_wanted);
    Qcow2Press *p = s->presses;
    if (p)
        s->presses = p->next;
    else
        p = g_new0(Qcow2Press, 1);
    s->presses_out++;
    return p;
}

static void press_put(Qcow2 *s, Qcow2Press *p)
{
    p->next = s->presses;
    s->presses = p;
    s->presses_out--;
    co_queue_wake(&s->press_wanted);
}

void qcow2_presses_free(Qcow2 *s)
{
    while (s->presses) {
        Qcow2Press *p = s->presses;
        s->presses = p->next;
        free(p->deflate);
        free(p->deflate_buf);
        if (p->inflating)
            inflateEnd(&p->inflate);
        ZSTD_freeCCtx(p->cctx);
        ZSTD_freeDCtx(p->dctx);
        g_free(p);
    }
    g_clear_pointer(&s->unpacked, g_free);
    s->unpacked_entry = 0;
}

/* One job: cluster-sized on the plain side. */
typedef struct Job {
    Qcow2Press *press;
    uint8_t type;               /* QCOW2_ZLIB, QCOW2_ZSTD */
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len;
    int64_t ret;                /* bytes made, or -errno; -ENOSPC: it does not fit in out_len */
} Job;

static int64_t zlib_pack(Job *j)
{
    Qcow2Press *p = j->press;
    if (!p->deflate)
        p->deflate = try_alloc(1, sizeof(*p->deflate));
    if (!p->deflate_buf)
        p->deflate_buf = try_alloc(1, ISAL_DEF_LVL3_DEFAULT);
    if (!p->deflate || !p->deflate_buf)
        return -ENOMEM;
    struct isal_zstream *z = p->deflate;
    isal_deflate_init(z);
    z->level = DEFLATE_LEVEL;
    z->level_buf = p->deflate_buf;
    z->level_buf_size = ISAL_DEF_LVL3_DEFAULT;
    z->hist_bits = -WINDOW_BITS;
    z->end_of_stream = 1;
    z->next_in = (uint8_t *)j->in;
    z->avail_in = j->in_len;
    z->next_out = j->out;
    z->avail_out = j->out_len;
    if (isal_deflate(z) != COMP_OK)
        return -EIO;
    return z->internal_state.state == ZSTATE_END ? (int64_t)z->total_out : -ENOSPC;
}

static int64_t zstd_pack(Job *j)
{
    if (!j->press->cctx)
        j->press->cctx = ZSTD_createCCtx();
    if (!j->press->cctx)
        return -ENOMEM;
    size_t n = ZSTD_compressCCtx(j->press->cctx, j->out, j->out_len, j->in, j->in_len, ZSTD_LEVEL);
    return ZSTD_isError(n) ? -ENOSPC : (int64_t)n;
}

static void pack(void *arg)
{
    Job *j = arg;
    j->ret = j->type == QCOW2_ZSTD ? zstd_pack(j) : zlib_pack(j);
}

static int64_t zlib_unpack(Job *j)
{
    z_stream *z = &j->press->inflate;
    if (j->press->inflating ? inflateReset(z) : inflateInit2(z, WINDOW_BITS))
        return -ENOMEM;
    j->press->inflating = true;
    z->next_in = (uint8_t *)j->in;
    z->avail_in = j->in_len;
    z->next_out = j->out;
    z->avail_out = j->out_len;
    int r = inflate(z, Z_FINISH);
    return (r == Z_STREAM_END || r == Z_BUF_ERROR || r == Z_OK) && !z->avail_out ? 0 : -EIO;
}

static int64_t zstd_unpack(Job *j)
{
    if (!j->press->dctx)
        j->press->dctx = ZSTD_createDCtx();
    if (!j->press->dctx)
        return -ENOMEM;
    ZSTD_DCtx_reset(j->press->dctx, ZSTD_reset_session_only);
    ZSTD_inBuffer in = { j->in, j->in_len, 0 };
    ZSTD_outBuffer out = { j->out, j->out_len, 0 };
    while (out.pos < out.size) {
        size_t was_in = in.pos, was_out = out.pos;
        size_t n = ZSTD_decompressStream(j->press->dctx, &out, &in);
        if (ZSTD_isError(n) || (in.pos == was_in && out.pos == was_out))
            return -EIO;
    }
    return 0;
}

static void unpack(void *arg)
{
    Job *j = arg;
    j->ret = j->type == QCOW2_ZSTD ? zstd_unpack(j) : zlib_unpack(j);
}

static int64_t run_job(Qcow2 *s, void (*fn)(void *), Job *j)
{
    j->press = press_get(s);
    j->type = s->header.compression_type;
    if (s->cluster_size <= INLINE_BYTES)
        fn(j);
    else
        co_offload(fn, j);
    press_put(s, j->press);
    return j->ret;
}

/* ---- reading */

int qcow2_read_packed(Qcow2 *s, uint64_t entry, uint8_t *out)
{
    uint64_t host;
    uint32_t bytes;
    qcow2_packed_range(s, entry, &host, &bytes);
    uint8_t *in = block_buf(s->node.file->node, bytes);
    if (!in)
        return -ENOMEM;
    block_event(s->node.file, "read_compressed");
    int ret = qcow2_pread(s, host, in, bytes);
    if (!ret) {
        Job j = { .in = in, .in_len = bytes, .out = out, .out_len = s->cluster_size };
        ret = run_job(s, unpack, &j);
        if (ret == -EIO)
            qcow2_corrupt(s, false, host, "compressed cluster does not unpack");
    }
    block_buf_free(in);
    return ret;
}

/* ---- writing */

/* The L2 entry of `bytes` at `host`; 0: it cannot say that. */
static uint64_t packed_entry(const Qcow2 *s, uint64_t host, uint32_t bytes)
{
    uint64_t sectors = (host + bytes - 1) / 512 - host / 512;
    if ((host & ~s->coffset_mask) || sectors > s->csize_mask)
        return 0;
    return QCOW2_COMPRESSED | host | sectors << s->csize_shift;
}

static int link_packed(Qcow2 *s, uint64_t off, uint64_t entry)
{
    Qcow2Slice sl;
    int ret = qcow2_slice_get_own(s, off, &sl);
    if (ret)
        return ret;
    uint64_t old = qcow2_l2(s, &sl, sl.index);
    qcow2_l2_set(s, &sl, sl.index, entry, 0);
    qcow2_slice_put(&sl);
    qcow2_free_entry(s, old, QCOW2_FREE_REQUEST);
    return 0;
}

/* Places what was packed, for the guest cluster at `off`. */
static int store(Qcow2 *s, uint64_t off, const uint8_t *packed, uint32_t bytes)
{
    Qcow2Alloc *other, a;
    while ((other = qcow2_alloc_find(s, off, s->cluster_size)))
        co_queue_wait(&other->waiting);
    qcow2_alloc_begin(s, &a, off, s->cluster_size);
    int64_t host = qcow2_alloc_bytes(s, bytes);
    int ret = host < 0 ? host : 0;
    uint64_t entry = ret ? 0 : packed_entry(s, host, bytes);
    if (!ret && !entry) {
        qcow2_unalloc(s, host, bytes);
        ret = -ENOSPC;              /* as if it did not get smaller */
    }
    if (!ret) {
        ret = qcow2_check_overlap(s, 0, host, bytes);
        block_event(s->node.file, "write_compressed");
        if (!ret)
            ret = child_pwrite(s->node.file, host, packed, bytes, 0);
        if (!ret)
            ret = link_packed(s, off, entry);
        if (ret)
            qcow2_unalloc(s, host, bytes);
    }
    qcow2_alloc_end(s, &a);
    return ret;
}

/* One cluster, or what is left of the disk. */
static int write_one(Qcow2 *s, uint64_t off, const IoVec *q)
{
    uint32_t max = s->cluster_size - 1;
    void *flat = q->len == s->cluster_size ? iov_flat(q) : NULL;
    uint8_t *plain = flat ? flat : g_try_malloc0(s->cluster_size), *packed = block_buf(s->node.file->node, s->cluster_size);
    int64_t n = -ENOMEM;
    if (plain && packed) {
        if (!flat)
            iov_read(q, 0, plain, q->len);
        Job j = { .in = plain, .in_len = s->cluster_size, .out = packed, .out_len = max };
        n = run_job(s, pack, &j);
    }
    int ret = n < 0 ? n : store(s, off, packed, n);
    if (!flat)
        g_free(plain);
    block_buf_free(packed);
    return ret == -ENOSPC ? qcow2_write_guest(s, off, q) : ret;
}

int qcow2_write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    Qcow2 *s = qcow2_of(n);
    if (qcow2_has_data_file(s) || s->header.crypt_method || qcow2_in_cluster(s, off))
        return -ENOTSUP;
    if (qcow2_in_cluster(s, q->len) && off + q->len != n->size)
        return -EINVAL;
    if (s->stopped)
        return -EIO;
    Qcow2Request r;
    qcow2_request_begin(s, &r);
    int ret = 0;
    for (uint64_t at = 0; !ret && at < q->len; at += s->cluster_size) {
        IoVec part = iov_slice(q, at, MIN(s->cluster_size, q->len - at));
        ret = write_one(s, off + at, &part);
    }
    qcow2_request_end(s, &r);
    return ret;
}
