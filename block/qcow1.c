/* SPDX-License-Identifier: MIT */
/*
 * qcow, version 1: what qcow2 came from. Two levels of tables, big endian;
 * clusters are plain, deflated, or the backing file's. Read only here; left
 * out: its encryption.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <zlib.h>

#include "block/format.h"

enum {
    H_VERSION = 4, H_BACKING_OFFSET = 8, H_BACKING_SIZE = 16, H_SIZE = 24, H_CLUSTER_BITS = 32, H_L2_BITS = 33,
    H_CRYPT = 36, H_L1 = 40, HEADER = 48,
};
#define COMPRESSED (UINT64_C(1) << 63)

typedef struct Qcow1 {
    BlockNode n;
    unsigned cluster_bits, l2_bits;
    uint64_t cluster, l1;
    Body body;
    PageCache tables;
    uint8_t *plain;             /* the last cluster that was inflated */
    uint64_t plain_entry;
} Qcow1;

static int qcow1_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= HEADER && !memcmp(head, "QFI\xfb", 4) && ld_be32(head + H_VERSION) == 1 ? 100 : 0;
}

static Err *read_backing_name(Qcow1 *s, const uint8_t *h)
{
    uint64_t off = ld_be64(h + H_BACKING_OFFSET);
    uint32_t len = ld_be32(h + H_BACKING_SIZE);

    if (!off)
        return NULL;
    if (len > 1023)
        return err(ERR_INVALID, "Backing file name too long");
    return backing_name_read(&s->n, off, len);
}

static Err *qcow1_open(BlockNode *n)
{
    Qcow1 *s = (Qcow1 *)n;
    uint8_t h[HEADER];
    uint64_t tables;
    int ret = child_pread(n->file, 0, h, sizeof(h));

    if (ret < 0)
        return err_errno(-ret, "cannot read the qcow header");
    if (!qcow1_probe(h, sizeof(h), NULL))
        return err(ERR_INVALID, "Image not in qcow format");
    s->cluster_bits = h[H_CLUSTER_BITS];
    s->l2_bits = h[H_L2_BITS];
    n->size = ld_be64(h + H_SIZE);
    s->l1 = ld_be64(h + H_L1);
    if (s->cluster_bits < 9 || s->cluster_bits > 16)
        return err(ERR_INVALID, "Cluster size must be between 512 and 64k");
    if (s->l2_bits < 6 || s->l2_bits > 13)
        return err(ERR_INVALID, "L2 table size must be between 512 and 64k");
    if (n->size < 2 || n->size > BLOCK_MAX_SIZE)
        return err(ERR_INVALID, "Image size %" PRIu64 " is too small or too large", n->size);
    if (ld_be32(h + H_CRYPT))
        return err_hint(err(ERR_UNSUPPORTED, "this qcow image is encrypted, which is not supported"),
                        "qemu-img convert makes a qcow2 image of it");
    s->cluster = UINT64_C(1) << s->cluster_bits;
    tables = div_up(n->size, s->cluster << s->l2_bits);
    body_init(&s->body, n->file);
    if (s->l1 % 8 || s->l1 > s->body.end || tables > (s->body.end - s->l1) / 8)
        return err(ERR_INVALID, "the L1 table at offset %" PRIu64 " (%" PRIu64 " entries) is beyond the end of the file",
                   s->l1, tables);
    n->size = round_up(n->size, 512);
    return read_backing_name(s, h);
}

static void qcow1_close(BlockNode *n)
{
    Qcow1 *s = (Qcow1 *)n;

    page_cache_free(&s->tables);
    g_free(s->plain);
}

/*
 * The L2 entry: 0 (the backing file's), an offset, or COMPRESSED with offset and length. *span: so many bytes from
 * `off` on have it; a table that is not there says 0 for all of its clusters.
 */
static int entry_at(Qcow1 *s, uint64_t off, uint64_t *out, uint64_t *span)
{
    uint64_t cluster = off >> s->cluster_bits, l2;
    uint8_t b[8];
    int ret = page_read(&s->tables, s->n.file, s->l1 + (cluster >> s->l2_bits) * 8, b, 8);

    *out = 0;
    *span = s->cluster - (off & (s->cluster - 1));
    if (ret < 0)
        return ret;
    l2 = ld_be64(b);
    if (!l2) {
        *span = (s->cluster << s->l2_bits) - (off & ((s->cluster << s->l2_bits) - 1));
        return 0;
    }
    if (l2 % 8 || l2 > s->body.end)
        return -EIO;
    ret = page_read(&s->tables, s->n.file, l2 + (cluster & ((1u << s->l2_bits) - 1)) * 8, b, 8);
    *out = ret < 0 ? 0 : ld_be64(b);
    return ret;
}

typedef struct Inflate { uint8_t *in, *out; size_t in_len, out_len; bool ok; } Inflate;

static void inflate_cluster(void *arg)
{
    Inflate *w = arg;
    z_stream z = { .next_in = w->in, .avail_in = w->in_len, .next_out = w->out, .avail_out = w->out_len };

    if (inflateInit2(&z, -12) != Z_OK)
        return;
    int ret = inflate(&z, Z_FINISH);
    w->ok = (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && !z.avail_out;
    inflateEnd(&z);
}

static int read_compressed(Qcow1 *s, uint64_t entry, uint32_t in, const IoVec *q)
{
    unsigned shift = 63 - s->cluster_bits;
    uint64_t off = entry & ((UINT64_C(1) << shift) - 1), len = entry >> shift & (s->cluster - 1);

    if (!s->plain || s->plain_entry != entry) {
        g_autofree uint8_t *data = g_malloc(len + 1), *plain = g_malloc(s->cluster);
        Inflate w = { data, plain, len, s->cluster, false };

        if (off > s->body.end || len > s->body.end - off)
            return -EIO;
        int ret = len ? child_pread(s->n.file, off, data, len) : 0;
        if (ret < 0)
            return ret;
        co_offload(inflate_cluster, &w);
        if (!w.ok)
            return -EIO;
        g_free(s->plain);
        s->plain = g_steal_pointer(&plain);
        s->plain_entry = entry;
    }
    iov_write(q, 0, s->plain + in, q->len);
    return 0;
}

static int qcow1_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Qcow1 *s = (Qcow1 *)n;

    for (size_t done = 0; done < q->len;) {
        uint32_t in = (off + done) & (s->cluster - 1);
        uint64_t e, span;
        int ret = entry_at(s, off + done, &e, &span);
        size_t len = MIN(q->len - done, span);
        IoVec part = iov_slice(q, done, len);

        if (!ret && !e)
            ret = backing_read(n, off + done, &part);
        else if (!ret && e & COMPRESSED)
            ret = read_compressed(s, e, in, &part);
        else if (!ret)
            ret = e % 512 || e > s->body.end ? -EIO : body_read(&s->body, e + in, &part);
        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

static int one_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Qcow1 *s = (Qcow1 *)n;
    uint32_t in = off & (s->cluster - 1);
    uint64_t e, span;
    int ret = entry_at(s, off, &e, &span);

    *out = (Extent){ .len = MIN(len, span) };
    if (ret < 0 || !e)
        return ret;
    out->flags = EXTENT_ALLOCATED | EXTENT_DATA | (e & COMPRESSED ? EXTENT_COMPRESSED : EXTENT_OFFSET);
    out->host = e & COMPRESSED ? 0 : e + in;
    out->host_node = n->file->node;
    return 0;
}

static int qcow1_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    return extent_join(n, off, len, out, one_extent);
}

static Err *qcow1_info(BlockNode *n, NodeInfo *out)
{
    out->cluster_size = ((Qcow1 *)n)->cluster;
    return NULL;
}

BLOCK(qcow) = {
    .name = "qcow", .doc = "qcow, version 1 (read only)",
    .kind = DRIVER_FORMAT, .size = sizeof(Qcow1), .has_backing = true,
    .probe = qcow1_probe, .open = qcow1_open, .close = qcow1_close,
    .read = qcow1_read, .extent = qcow1_extent, .info = qcow1_info,
};
