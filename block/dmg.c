/* SPDX-License-Identifier: MIT */
/*
 * DMG, Apple's disk image (UDIF): a trailer ("koly") at the end names a property
 * list in XML, whose "blkx" tables ("mish") say in chunks what the disk holds:
 * zeroes, plain bytes, or zlib streams. Numbers are big endian. Read only. Left
 * out: chunks by ADC, bzip2, lzfse and lzma; tables in a resource fork.
 *
 * Nobody published the format; what is here is what tools that read it agree on.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <zlib.h>

#include "block/format.h"

enum {
    TRAILER = 512, K_DATA = 24, K_XML = 216, K_XML_LEN = 224, K_SECTORS = 492,
    MISH = 204, M_SECTOR = 8, M_DATA = 24, M_CHUNKS = 200,
    CHUNK = 40, C_TYPE = 0, C_SECTOR = 8, C_COUNT = 16, C_OFFSET = 24, C_LENGTH = 32,
    XML_MAX = 16 << 20, CHUNKS_MAX = 4 << 20, PACKED_MAX = 64 << 20,
};
/* Kinds of chunks. */
#define ZERO    UINT32_C(0)
#define PLAIN   UINT32_C(1)
#define IGNORED UINT32_C(2)
#define ZLIB    UINT32_C(0x80000005)
#define COMMENT UINT32_C(0x7ffffffe)
#define LAST    UINT32_C(0xffffffff)

typedef struct Chunk { uint64_t start, len, off, packed; uint32_t type; } Chunk;    /* bytes; start: of the disk */

typedef struct Dmg {
    BlockNode n;
    GArray *chunks;             /* sorted, without overlaps */
    uint64_t data;              /* where the data fork begins */
    uint8_t *plain;             /* the last chunk that was inflated */
    const Chunk *plain_of;
} Dmg;

static int dmg_probe(const uint8_t *head, size_t len, const char *filename)
{
    return filename && g_str_has_suffix(filename, ".dmg") ? 2 : 0;
}

/* ---- tables */

static const char *packer(uint32_t type)
{
    switch (type) {
    case 0x80000004: return "ADC";
    case 0x80000006: return "bzip2";
    case 0x80000007: return "lzfse";
    case 0x80000008: return "lzma";
    }
    return NULL;
}

static Err *add_chunk(Dmg *s, const uint8_t *c, uint64_t base, uint64_t data)
{
    uint64_t sector = ld_be64(c + C_SECTOR), count = ld_be64(c + C_COUNT), end;
    Chunk k = { .off = ld_be64(c + C_OFFSET), .packed = ld_be64(c + C_LENGTH), .type = ld_be32(c + C_TYPE) };

    if (k.type == COMMENT || k.type == LAST || !count)
        return NULL;
    if (packer(k.type))
        return err_hint(err(ERR_UNSUPPORTED, "the DMG has parts that are compressed by %s; zlib is supported", packer(k.type)),
                        "hdiutil convert -format UDZO, on a Mac, makes one by zlib");
    if (k.type != ZERO && k.type != PLAIN && k.type != IGNORED && k.type != ZLIB)
        return err(ERR_UNSUPPORTED, "the DMG has parts of an unknown type, %#" PRIx32, k.type);
    if (__builtin_add_overflow(sector, base, &sector) || __builtin_add_overflow(sector, count, &end) ||
        end > s->n.size / 512)
        return err(ERR_INVALID, "a part of the DMG, %" PRIu64 " sectors from %" PRIu64 " on, is beyond the end of its disk",
                   count, sector);
    if (__builtin_add_overflow(k.off, data, &k.off) || k.off > BLOCK_MAX_SIZE || k.packed > BLOCK_MAX_SIZE)
        return err(ERR_INVALID, "a part of the DMG is beyond the end of any file");
    k.start = sector * 512;
    k.len = count * 512;
    if (k.type == ZLIB && (k.len > PACKED_MAX || k.packed > PACKED_MAX))
        return err(ERR_UNSUPPORTED, "a part of the DMG is too large to be unpacked (%" PRIu64 " bytes)", k.len);
    if (k.type == PLAIN && k.packed < k.len)
        return err(ERR_INVALID, "a plain part of the DMG has fewer bytes (%" PRIu64 ") than sectors (%" PRIu64 ")",
                   k.packed, count);
    if (s->chunks->len >= CHUNKS_MAX)
        return err(ERR_UNSUPPORTED, "the DMG has more than %d parts", CHUNKS_MAX);
    g_array_append_val(s->chunks, k);
    return NULL;
}

static Err *read_mish(Dmg *s, const uint8_t *m, size_t len)
{
    uint64_t data;

    if (len < MISH || memcmp(m, "mish", 4))
        return NULL;            /* another kind of resource */
    if (ld_be32(m + M_CHUNKS) > (len - MISH) / CHUNK)
        return err(ERR_INVALID, "a table of the DMG has %" PRIu32 " entries, but is shorter", ld_be32(m + M_CHUNKS));
    if (__builtin_add_overflow(s->data, ld_be64(m + M_DATA), &data))
        return err(ERR_INVALID, "a table of the DMG lies beyond the end of any file");
    for (uint32_t i = 0; i < ld_be32(m + M_CHUNKS); i++)
        TRY(add_chunk(s, m + MISH + i * CHUNK, ld_be64(m + M_SECTOR), data));
    return NULL;
}

/* <key>blkx</key> <array> .. <data>BASE64</data> .. </array> */
static Err *read_list(Dmg *s, char *xml)
{
    char *at = strstr(xml, "<key>blkx</key>"), *end = at ? strstr(at, "</array>") : NULL;

    if (!end)
        return err(ERR_INVALID, "the DMG's property list has no table of parts");
    *end = 0;
    while ((at = strstr(at, "<data>"))) {
        char *stop = strstr(at, "</data>");
        g_autofree uint8_t *mish = NULL;
        gsize len = 0;

        if (!stop)
            return err(ERR_INVALID, "the DMG's property list ends within a table");
        *stop = 0;
        mish = g_base64_decode(at + strlen("<data>"), &len);
        TRY(read_mish(s, mish, len));
        at = stop + 1;
    }
    return NULL;
}

static gint by_start(gconstpointer a, gconstpointer b)
{
    const Chunk *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

static Err *sort_chunks(Dmg *s)
{
    g_array_sort(s->chunks, by_start);
    for (unsigned i = 1; i < s->chunks->len; i++) {
        Chunk *a = &g_array_index(s->chunks, Chunk, i - 1), *b = a + 1;

        if (b->start - a->start < a->len)
            return err(ERR_INVALID, "two parts of the DMG overlap at sector %" PRIu64, b->start / 512);
    }
    return NULL;
}

static Err *dmg_open(BlockNode *n)
{
    Dmg *s = (Dmg *)n;
    uint64_t size = child_size(n->file), xml, len;
    uint8_t k[TRAILER];
    int ret;

    s->chunks = g_array_new(FALSE, FALSE, sizeof(Chunk));
    if (size < TRAILER)
        return err(ERR_INVALID, "the file is too short for a DMG");
    ret = child_pread(n->file, size - TRAILER, k, sizeof(k));
    if (ret < 0)
        return err_errno(-ret, "cannot read the DMG's trailer");
    if (memcmp(k, "koly", 4))
        return err_hint(err(ERR_INVALID, "the file does not end as a DMG does"), "a plain image of that name: -f raw");
    xml = ld_be64(k + K_XML);
    len = ld_be64(k + K_XML_LEN);
    s->data = ld_be64(k + K_DATA);
    if (!len)
        return err(ERR_UNSUPPORTED, "the DMG has its tables in a resource fork, which is not supported");
    if (len > XML_MAX || xml > size || len > size - xml)
        return err(ERR_INVALID, "the DMG's property list (offset %" PRIu64 ", %" PRIu64 " bytes) is not in the file, "
                   "or too long", xml, len);
    if (ld_be64(k + K_SECTORS) > BLOCK_MAX_SIZE / 512)
        return err(ERR_INVALID, "the DMG has %" PRIu64 " sectors, which is too many", ld_be64(k + K_SECTORS));
    n->size = ld_be64(k + K_SECTORS) * 512;
    g_autofree char *text = g_malloc0(len + 1);
    ret = child_pread(n->file, xml, text, len);
    if (ret < 0)
        return err_errno(-ret, "cannot read the DMG's property list");
    TRY(read_list(s, text));
    return sort_chunks(s);
}

static void dmg_close(BlockNode *n)
{
    Dmg *s = (Dmg *)n;

    if (s->chunks)
        g_array_free(s->chunks, TRUE);
    g_free(s->plain);
}

/* ---- read */

/* The chunk that has this byte, or NULL; *len is cut to what it, or the gap, has. */
static const Chunk *chunk_at(const Dmg *s, uint64_t off, uint64_t *len)
{
    unsigned lo = 0, hi = s->chunks->len;

    while (lo < hi) {           /* the first that begins behind off */
        unsigned mid = lo + (hi - lo) / 2;

        if (g_array_index(s->chunks, Chunk, mid).start <= off)
            lo = mid + 1;
        else
            hi = mid;
    }
    const Chunk *c = lo ? &g_array_index(s->chunks, Chunk, lo - 1) : NULL;
    if (c && off - c->start < c->len) {
        *len = MIN(*len, c->len - (off - c->start));
        return c;
    }
    if (lo < s->chunks->len)
        *len = MIN(*len, g_array_index(s->chunks, Chunk, lo).start - off);
    return NULL;
}

typedef struct Inflate { uint8_t *in, *out; size_t in_len, out_len; bool ok; } Inflate;

static void inflate_chunk(void *arg)
{
    Inflate *w = arg;
    z_stream z = { .next_in = w->in, .avail_in = w->in_len, .next_out = w->out, .avail_out = w->out_len };

    if (inflateInit(&z) != Z_OK)
        return;
    w->ok = inflate(&z, Z_FINISH) == Z_STREAM_END && !z.avail_out;
    inflateEnd(&z);
}

static int unpack(Dmg *s, const Chunk *c)
{
    g_autofree uint8_t *in = NULL, *out = NULL;
    int ret;

    if (s->plain_of == c)
        return 0;
    if (c->off > child_size(s->n.file) || c->packed > child_size(s->n.file) - c->off)
        return -EIO;
    in = g_try_malloc(c->packed + 1);
    out = g_try_malloc(c->len);
    if (!in || !out)
        return -ENOMEM;
    ret = c->packed ? child_pread(s->n.file, c->off, in, c->packed) : 0;
    Inflate w = { in, out, c->packed, c->len, false };
    if (!ret)
        co_offload(inflate_chunk, &w);
    if (ret < 0 || !w.ok)
        return ret < 0 ? ret : -EIO;
    g_free(s->plain);
    s->plain = g_steal_pointer(&out);
    s->plain_of = c;
    return 0;
}

static int dmg_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Dmg *s = (Dmg *)n;

    for (size_t done = 0; done < q->len;) {
        uint64_t len = q->len - done, at = off + done;
        const Chunk *c = chunk_at(s, at, &len);
        IoVec part = iov_slice(q, done, len);
        int ret = 0;

        if (!c || c->type == ZERO || c->type == IGNORED) {
            iov_fill(&part, 0, 0, len);
        } else if (c->type == PLAIN) {
            ret = child_read(n->file, c->off + (at - c->start), &part, 0);
        } else {
            ret = unpack(s, c);
            if (!ret)
                iov_write(&part, 0, s->plain + (at - c->start), len);
        }
        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

static int one_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    const Chunk *c = chunk_at((Dmg *)n, off, &len);

    *out = (Extent){ .len = len, .flags = EXTENT_ALLOCATED | EXTENT_ZERO };
    if (!c || c->type == ZERO || c->type == IGNORED)
        return 0;
    out->flags = EXTENT_ALLOCATED | EXTENT_DATA | (c->type == PLAIN ? EXTENT_OFFSET : EXTENT_COMPRESSED);
    out->host = c->off + (off - c->start);
    out->host_node = n->file->node;
    return 0;
}

static int dmg_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    return extent_join(n, off, len, out, one_extent);
}

BLOCK(dmg) = {
    .name = "dmg", .doc = "Apple disk image (read only)",
    .kind = DRIVER_FORMAT, .size = sizeof(Dmg),
    .probe = dmg_probe, .open = dmg_open, .close = dmg_close,
    .read = dmg_read, .extent = dmg_extent,
};
