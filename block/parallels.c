/* SPDX-License-Identifier: MIT */
/*
 * Parallels' expanding disk (docs/interop/parallels of QEMU): a header, a table
 * with an entry for each cluster (BAT), clusters. The older kind counts in
 * sectors, the newer one ("Ext") in clusters. Read only here; the extension
 * with its dirty bitmaps is left alone.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>

#include "block/format.h"

enum {
    H_VERSION = 16, H_TRACKS = 28, H_ENTRIES = 32, H_SECTORS = 36, H_INUSE = 44, HEADER = 64,
    MAX_TRACKS = (1 << 30) / 512,
};

typedef struct Parallels {
    BlockNode n;
    uint64_t cluster, unit;     /* bytes; unit: of an entry's value */
    Body body;
    PageCache tables;
} Parallels;

static bool is_old(const uint8_t *h)
{
    return !memcmp(h, "WithoutFreeSpace", 16);
}

static bool is_ext(const uint8_t *h)
{
    return !memcmp(h, "WithouFreSpacExt", 16);
}

static int parallels_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= HEADER && (is_old(head) || is_ext(head)) && ld_le32(head + H_VERSION) == 2 ? 100 : 0;
}

static Err *parallels_open(BlockNode *n)
{
    Parallels *s = (Parallels *)n;
    uint8_t h[HEADER];
    uint64_t sectors;
    uint32_t tracks;
    int ret = child_pread(n->file, 0, h, sizeof(h));

    if (ret < 0)
        return err_errno(-ret, "cannot read the Parallels header");
    if (!parallels_probe(h, sizeof(h), NULL))
        return err(ERR_INVALID, "Image not in Parallels format");
    tracks = ld_le32(h + H_TRACKS);
    sectors = is_ext(h) ? ld_le64(h + H_SECTORS) : ld_le32(h + H_SECTORS);
    if (!tracks || tracks > MAX_TRACKS)
        return err(ERR_INVALID, "Invalid image: %s sectors per track", tracks ? "Too big number of" : "Zero");
    if (sectors > BLOCK_MAX_SIZE / 512)
        return err(ERR_INVALID, "Invalid image: it has %" PRIu64 " sectors", sectors);
    s->cluster = tracks * UINT64_C(512);
    s->unit = is_ext(h) ? s->cluster : 512;
    n->size = sectors * 512;
    body_init(&s->body, n->file);
    if (div_up(sectors, tracks) > ld_le32(h + H_ENTRIES))
        return err(ERR_INVALID, "Invalid image: its table has %" PRIu32 " entries, the disk %" PRIu64 " clusters",
                   ld_le32(h + H_ENTRIES), div_up(sectors, tracks));
    if (HEADER + div_up(sectors, tracks) * 4 > s->body.end)
        return err(ERR_INVALID, "Invalid image: its table of %" PRIu64 " entries is beyond the end of the file",
                   div_up(sectors, tracks));
    return NULL;
}

static void parallels_close(BlockNode *n)
{
    page_cache_free(&((Parallels *)n)->tables);
}

/* 0: nothing was written there. */
static int place_of(Parallels *s, uint64_t off, uint64_t *out)
{
    uint8_t b[4];
    int ret = page_read(&s->tables, s->n.file, HEADER + off / s->cluster * 4, b, 4);

    *out = ret < 0 ? 0 : ld_le32(b) * s->unit;
    return ret;
}

static int parallels_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Parallels *s = (Parallels *)n;

    for (size_t done = 0; done < q->len;) {
        uint64_t in = (off + done) % s->cluster, at;
        size_t len = MIN(q->len - done, s->cluster - in);
        IoVec part = iov_slice(q, done, len);
        int ret = place_of(s, off + done, &at);

        if (!ret && !at)
            iov_fill(&part, 0, 0, len);
        else if (!ret)
            ret = body_read(&s->body, at + in, &part);
        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

static int one_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Parallels *s = (Parallels *)n;
    uint64_t in = off % s->cluster, at;
    int ret = place_of(s, off, &at);

    *out = (Extent){ .len = MIN(len, s->cluster - in) };
    if (ret < 0 || !at)
        return ret;
    out->flags = EXTENT_ALLOCATED | EXTENT_DATA | EXTENT_OFFSET;
    out->host = at + in;
    out->host_node = n->file->node;
    return 0;
}

static int parallels_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    return extent_join(n, off, len, out, one_extent);
}

BLOCK(parallels) = {
    .name = "parallels", .doc = "Parallels' expanding disk (read only)",
    .kind = DRIVER_FORMAT, .size = sizeof(Parallels),
    .probe = parallels_probe, .open = parallels_open, .close = parallels_close,
    .read = parallels_read, .extent = parallels_extent,
};
