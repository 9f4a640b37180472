/* SPDX-License-Identifier: MIT */
/*
 * QED, QEMU's enhanced disk format (docs/interop/qed_spec of QEMU): two levels
 * of tables, each some clusters long, little endian; no refcounts. Read only
 * here. An image that was not closed is read as it is: its tables are sound,
 * clusters may be lost.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>

#include "block/format.h"

enum {
    H_CLUSTER = 4, H_TABLE = 8, H_HEADER = 12, H_FEATURES = 16, H_L1 = 40, H_SIZE = 48, H_BACKING = 56,
    H_BACKING_LEN = 60, HEADER = 64,
    F_BACKING = 1, F_NEED_CHECK = 2, F_BACKING_RAW = 4,
    ENTRY_ZERO = 1,
};

typedef struct Qed {
    BlockNode n;
    uint32_t cluster;
    uint64_t entries, l1, features;     /* entries of a table */
    Body body;
    PageCache tables;
} Qed;

static int qed_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= HEADER && !memcmp(head, "QED\0", 4) ? 100 : 0;
}

static Err *read_backing_name(Qed *s, const uint8_t *h)
{
    uint32_t off = ld_le32(h + H_BACKING), len = ld_le32(h + H_BACKING_LEN);

    if (!(s->features & F_BACKING))
        return NULL;
    if (len > 1023 || off > s->cluster * (uint64_t)ld_le32(h + H_HEADER))
        return err(ERR_INVALID, "the name of the backing file (offset %" PRIu32 ", %" PRIu32 " bytes) is not in the header",
                   off, len);
    if (s->features & F_BACKING_RAW)
        s->n.backing_format = g_strdup("raw");
    return backing_name_read(&s->n, off, len);
}

static Err *qed_open(BlockNode *n)
{
    Qed *s = (Qed *)n;
    uint8_t h[HEADER];
    uint64_t bytes;
    int ret = child_pread(n->file, 0, h, sizeof(h));

    if (ret < 0)
        return err_errno(-ret, "cannot read the QED header");
    if (!qed_probe(h, sizeof(h), NULL))
        return err(ERR_INVALID, "Image not in QED format");
    s->cluster = ld_le32(h + H_CLUSTER);
    s->features = ld_le64(h + H_FEATURES);
    if (s->features & ~(uint64_t)(F_BACKING | F_NEED_CHECK | F_BACKING_RAW))
        return err(ERR_UNSUPPORTED, "unsupported QED features: %#" PRIx64,
                   s->features & ~(uint64_t)(F_BACKING | F_NEED_CHECK | F_BACKING_RAW));
    if (!is_pow2(s->cluster) || s->cluster < 4096 || s->cluster > (64u << 20))
        return err(ERR_INVALID, "QED cluster size %" PRIu32 " is no power of two from 4 KiB to 64 MiB", s->cluster);
    if (!is_pow2(ld_le32(h + H_TABLE)) || ld_le32(h + H_TABLE) > 16)
        return err(ERR_INVALID, "QED table size %" PRIu32 " is no power of two up to 16", ld_le32(h + H_TABLE));
    bytes = (uint64_t)s->cluster * ld_le32(h + H_TABLE);
    s->entries = bytes / 8;
    s->l1 = ld_le64(h + H_L1);
    n->size = ld_le64(h + H_SIZE);
    body_init(&s->body, n->file);
    if (s->l1 % s->cluster || s->l1 > s->body.end || bytes > s->body.end - s->l1)
        return err(ERR_INVALID, "the QED L1 table at offset %" PRIu64 " is beyond the end of the file", s->l1);
    if (n->size % 512 || n->size > BLOCK_MAX_SIZE || div_up(n->size, s->cluster) > s->entries * s->entries)
        return err(ERR_INVALID, "the QED image size %" PRIu64 " is larger than its tables can tell, or not in sectors",
                   n->size);
    return read_backing_name(s, h);
}

static void qed_close(BlockNode *n)
{
    page_cache_free(&((Qed *)n)->tables);
}

/*
 * 0 (the backing file's), ENTRY_ZERO, or an offset. *span: so many bytes from `off` on have it; a table that is not
 * there says 0 for all of its clusters.
 */
static int entry_at(Qed *s, uint64_t off, uint64_t *out, uint64_t *span)
{
    uint64_t cluster = off / s->cluster, l2;
    uint8_t b[8];
    int ret = page_read(&s->tables, s->n.file, s->l1 + cluster / s->entries * 8, b, 8);

    *out = 0;
    *span = s->cluster - off % s->cluster;
    if (ret < 0)
        return ret;
    l2 = ld_le64(b);
    if (!l2) {
        *span = s->cluster * s->entries - off % (s->cluster * s->entries);
        return 0;
    }
    if (l2 % s->cluster || l2 > s->body.end)
        return -EIO;
    ret = page_read(&s->tables, s->n.file, l2 + cluster % s->entries * 8, b, 8);
    if (ret < 0)
        return ret;
    *out = ld_le64(b);
    return *out != ENTRY_ZERO && (*out % s->cluster || *out > s->body.end) ? -EIO : 0;
}

static int qed_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Qed *s = (Qed *)n;

    for (size_t done = 0; done < q->len;) {
        uint32_t in = (off + done) % s->cluster;
        uint64_t e, span;
        int ret = entry_at(s, off + done, &e, &span);
        size_t len = MIN(q->len - done, span);
        IoVec part = iov_slice(q, done, len);

        if (!ret && !e)
            ret = backing_read(n, off + done, &part);
        else if (!ret && e == ENTRY_ZERO)
            iov_fill(&part, 0, 0, len);
        else if (!ret)
            ret = body_read(&s->body, e + in, &part);
        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

static int one_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Qed *s = (Qed *)n;
    uint32_t in = off % s->cluster;
    uint64_t e, span;
    int ret = entry_at(s, off, &e, &span);

    *out = (Extent){ .len = MIN(len, span) };
    if (ret < 0 || !e)
        return ret;
    if (e == ENTRY_ZERO) {
        out->flags = EXTENT_ALLOCATED | EXTENT_ZERO;
        return 0;
    }
    out->flags = EXTENT_ALLOCATED | EXTENT_DATA | EXTENT_OFFSET;
    out->host = e + in;
    out->host_node = n->file->node;
    return 0;
}

static int qed_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    return extent_join(n, off, len, out, one_extent);
}

static Err *qed_info(BlockNode *n, NodeInfo *out)
{
    Qed *s = (Qed *)n;

    out->cluster_size = s->cluster;
    out->dirty = s->features & F_NEED_CHECK;
    return NULL;
}

BLOCK(qed) = {
    .name = "qed", .doc = "QEMU enhanced disk (read only)",
    .kind = DRIVER_FORMAT, .size = sizeof(Qed), .has_backing = true,
    .probe = qed_probe, .open = qed_open, .close = qed_close,
    .read = qed_read, .extent = qed_extent, .info = qed_info,
};
