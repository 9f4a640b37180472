/* SPDX-License-Identifier: MIT */
/*
 * VPC, the Virtual Hard Disk (VHD) of Virtual PC, Hyper-V and Azure, as "Virtual
 * Hard Disk Image Format Specification" 1.0 has it. Fixed: the disk's bytes,
 * then a footer of 512. Dynamic: a copy of the footer, a second header, a table
 * with an entry for each block of the disk (BAT), then blocks, each behind a
 * bitmap of the sectors that were written, then the footer. All big endian.
 * Left out: differencing disks.
 *
 * A block's entry reaches the file after the block (Table). The footer makes
 * way for new blocks and comes back behind them at a flush; until then the copy
 * at the beginning is what others read.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <time.h>

#include "block/format.h"

enum {
    FOOTER = 512, DYN_HEADER = 1024,
    BLOCK_SIZE = 2 << 20,           /* of new images */
    TYPE_FIXED = 2, TYPE_DYNAMIC = 3, TYPE_DIFFERENCING = 4,
    EPOCH = 946684800,              /* 2000-01-01, seconds since 1970 */
};
#define UNUSED      UINT32_C(0xffffffff)
#define MAX_SECTORS UINT64_C(0xff000000)        /* 2040 GiB: what the specification allows */
#define MAX_CHS     (UINT64_C(65535) * 16 * 255)

/* Where the fields of the footer and of the dynamic header are. */
enum {
    F_FEATURES = 8, F_VERSION = 12, F_DATA_OFFSET = 16, F_TIME = 24, F_CREATOR = 28, F_CREATOR_VERSION = 32,
    F_CREATOR_OS = 36, F_ORIGINAL_SIZE = 40, F_CURRENT_SIZE = 48, F_CYLINDERS = 56, F_HEADS = 58, F_SECTORS = 59,
    F_TYPE = 60, F_CHECKSUM = 64, F_UUID = 68,
    D_DATA_OFFSET = 8, D_TABLE_OFFSET = 16, D_VERSION = 24, D_ENTRIES = 28, D_BLOCK_SIZE = 32, D_CHECKSUM = 36,
};

enum { SIZE_BY_CREATOR, SIZE_CHS, SIZE_CURRENT };
static const char *const size_names[] = { "auto", "chs", "current_size", NULL };

typedef struct Vpc {
    BlockNode n;
    uint8_t force_size_calc;
    uint8_t footer[FOOTER];
    bool fixed;
    Table bat;
    Body body;
    BusySet allocating;
    uint32_t entries, block_size, bitmap;       /* bitmap: bytes before each block, whole sectors */
    uint64_t next;              /* offset of the next block's bitmap: the end of what is used */
    bool footer_moved, bad_header;              /* bad_header: the dynamic header's checksum is wrong */
} Vpc;

static const Field vpc_fields[] = {
    PROP(Vpc, force_size_calc, .as = "force_size_calc", .def = "auto", .names = size_names,
         .doc = "the disk's size: its geometry's (chs) or the one that is noted (current_size); "
                "auto: as the program that made it does"),
    {0}
};

static uint32_t checksum(const uint8_t *p, size_t len, size_t at)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < len; i++)
        if (i < at || i >= at + 4)
            sum += p[i];
    return ~sum;
}

static bool is_footer(const uint8_t *p)
{
    return !memcmp(p, "conectix", 8);
}

static bool good_footer(const uint8_t *p)
{
    return is_footer(p) && checksum(p, FOOTER, F_CHECKSUM) == ld_be32(p + F_CHECKSUM);
}

static int vpc_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && is_footer(head) ? 100 : 0;
}

/* ---- geometry: the specification's appendix "CHS Calculation" */

typedef struct Chs { uint16_t cylinders; uint8_t heads, sectors; } Chs;

static Chs chs_of(uint64_t total)
{
    uint32_t sectors, heads, rest;

    total = MIN(total, MAX_CHS);
    if (total >= UINT64_C(65535) * 16 * 63) {
        sectors = 255;
        heads = 16;
        rest = total / sectors;
    } else {
        sectors = 17;
        rest = total / sectors;
        heads = MAX((rest + 1023) / 1024, 4);
        if (rest >= heads * 1024 || heads > 16) {
            sectors = 31;
            heads = 16;
            rest = total / sectors;
        }
        if (rest >= heads * 1024) {
            sectors = 63;
            heads = 16;
            rest = total / sectors;
        }
    }
    return (Chs){ rest / heads, heads, sectors };
}

static uint64_t chs_sectors(Chs c)
{
    return (uint64_t)c.cylinders * c.heads * c.sectors;
}

/* The smallest geometry that has that many sectors, or the largest of all. */
static Chs chs_at_least(uint64_t total)
{
    Chs c = chs_of(total);

    for (uint64_t t = total; chs_sectors(c) < total && t < MAX_CHS; t++)
        c = chs_of(t + 1);
    return c;
}

/*
 * Virtual PC and Virtual Server show the guest the geometry's size; Hyper-V and
 * everything later the one that is noted. A geometry at its limit says nothing.
 */
static uint64_t disk_bytes(const Vpc *s)
{
    static const char chs_creators[3][5] = { "vpc ", "vs  ", "qemu" };
    const uint8_t *f = s->footer;
    Chs c = { ld_be16(f + F_CYLINDERS), f[F_HEADS], f[F_SECTORS] };
    bool chs = s->force_size_calc == SIZE_CHS;

    if (s->force_size_calc == SIZE_BY_CREATOR)
        for (unsigned i = 0; i < 3; i++)
            chs |= !memcmp(f + F_CREATOR, chs_creators[i], 4);
    if (chs && chs_sectors(c) < MAX_CHS)
        return chs_sectors(c) * 512;
    return ld_be64(f + F_CURRENT_SIZE);
}

/* ---- open */

/* A footer at the beginning (dynamic) or the end (fixed, or where the beginning is damaged). *at: where it is. */
static Err *find_footer(Vpc *s, uint64_t *at)
{
    uint64_t size = child_size(s->n.file);
    uint8_t last[FOOTER];
    int ret;

    if (size < FOOTER)
        return err(ERR_INVALID, "File too small for a VHD header");
    ret = child_pread(s->n.file, 0, s->footer, FOOTER);
    *at = 0;
    if (ret < 0 || good_footer(s->footer))
        return ret < 0 ? err_errno(-ret, "Unable to read VHD header") : NULL;
    /* Virtual PC before 2004 wrote 511 bytes. */
    for (int pass = 0; pass < 2 && size >= (uint64_t)FOOTER; pass++) {
        uint64_t off = size - FOOTER + pass;

        memset(last, 0, sizeof(last));
        ret = child_pread(s->n.file, off, last, FOOTER - pass);
        if (ret < 0)
            return err_errno(-ret, "cannot read the VHD footer");
        if (good_footer(last) || (is_footer(last) && !is_footer(s->footer))) {
            memcpy(s->footer, last, FOOTER);
            *at = off;
            break;
        }
    }
    if (!is_footer(s->footer))
        return err(ERR_INVALID, "invalid VPC image: no footer at its beginning or end");
    if (!good_footer(s->footer) && s->n.read_only)
        err_note("%s: the checksum of the VHD footer at offset %" PRIu64 " is wrong", node_path(&s->n), *at);
    return NULL;
}

static int compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t entry(const Vpc *s, uint32_t block)
{
    return ld_be32(s->bat.mem + block * 4ull);
}

/* For writing: each block behind the headers and on no other. */
static Err *check_overlap(const Vpc *s)
{
    uint64_t first = round_up(s->bat.off + s->bat.bytes, 512), unit = s->bitmap + (uint64_t)s->block_size;
    g_autofree uint32_t *sorted = try_alloc(s->entries + 1ull, 4);
    uint32_t n = 0;
    Err *e = NULL;

    if (!sorted)
        return err_errno(ENOMEM, "the VHD's table of blocks");
    for (uint32_t i = 0; i < s->entries; i++)
        if (entry(s, i) != UNUSED)
            sorted[n++] = entry(s, i);
    qsort(sorted, n, 4, compare_u32);
    for (uint32_t i = 0; i < n && !e; i++) {
        if (sorted[i] * UINT64_C(512) < first)
            e = err(ERR_INVALID, "a block of the VHD lies at offset %" PRIu64 ", within its headers",
                    sorted[i] * UINT64_C(512));
        else if (i && (sorted[i] - sorted[i - 1]) * UINT64_C(512) < unit)
            e = err(ERR_INVALID, "two blocks of the VHD overlap at offset %" PRIu64, sorted[i] * UINT64_C(512));
    }
    return err_hint(e, "it opens read-only: 'convert' copies what can be read");
}

/* The end of the last block, or of the table: what is behind it is the footer, or left over from a crash. */
static uint64_t used_end(const Vpc *s)
{
    uint64_t end = round_up(s->bat.off + s->bat.bytes, 512);

    for (uint32_t i = 0; i < s->entries; i++)
        if (entry(s, i) != UNUSED)
            end = MAX(end, entry(s, i) * UINT64_C(512) + s->bitmap + s->block_size);
    return end;
}

static Err *open_dynamic(Vpc *s)
{
    uint64_t at = ld_be64(s->footer + F_DATA_OFFSET), size = child_size(s->n.file), table;
    uint8_t d[DYN_HEADER];
    int ret;

    if (at > size || size - at < DYN_HEADER)
        return err(ERR_INVALID, "Error reading dynamic VHD header: offset %" PRIu64 " is not in the file", at);
    ret = child_pread(s->n.file, at, d, sizeof(d));
    if (ret < 0)
        return err_errno(-ret, "Error reading dynamic VHD header");
    if (memcmp(d, "cxsparse", 8))
        return err(ERR_INVALID, "Invalid header magic");
    s->bad_header = checksum(d, DYN_HEADER, D_CHECKSUM) != ld_be32(d + D_CHECKSUM);
    s->block_size = ld_be32(d + D_BLOCK_SIZE);
    table = ld_be64(d + D_TABLE_OFFSET);
    if (s->block_size < 512 || !is_pow2(s->block_size) || s->block_size > (1u << 30))
        return err(ERR_INVALID, "Invalid block size %" PRIu32, s->block_size);
    s->bitmap = round_up(div_up(s->block_size / 512, 8), 512);
    s->entries = div_up(s->n.size, s->block_size);
    if (s->entries > ld_be32(d + D_ENTRIES))
        return err(ERR_INVALID, "Page table too small: it has %" PRIu32 " entries, the disk %" PRIu32 " blocks",
                   ld_be32(d + D_ENTRIES), s->entries);
    TRY(table_load(&s->bat, s->n.file, table, s->entries * 4ull, "the VHD's table of blocks"));
    s->next = used_end(s);
    return NULL;
}

static Err *check_writable(Vpc *s)
{
    const char *part = !good_footer(s->footer) ? "footer" : s->bad_header ? "dynamic header" : NULL;

    if (part)
        return err_hint(err(ERR_INVALID, "the checksum of the VHD's %s is wrong", part),
                        "it opens read-only: 'convert' makes a sound image of it");
    if (s->fixed)
        return NULL;
    if (s->next > s->body.end)
        return err_hint(err(ERR_INVALID, "File was truncated: it has %" PRIu64 " bytes, its blocks reach up to %" PRIu64,
                            s->body.end, s->next), "it opens read-only: 'convert' copies what can be read");
    return check_overlap(s);
}

static Err *vpc_open(BlockNode *n)
{
    Vpc *s = (Vpc *)n;
    uint64_t at;
    uint32_t type;

    TRY(find_footer(s, &at));
    body_init(&s->body, n->file);
    type = ld_be32(s->footer + F_TYPE);
    n->size = disk_bytes(s) / 512 * 512;
    n->zero_flags = REQ_UNMAP;
    if (n->size / 512 > MAX_SECTORS)
        return err(ERR_UNSUPPORTED, "the VHD's disk of %" PRIu64 " bytes is larger than a VHD's can be", n->size);
    switch (type) {
    case TYPE_FIXED:
        s->fixed = true;
        if (at ? n->size > at : n->size > s->body.end)
            return err(ERR_INVALID, "the VHD's disk has %" PRIu64 " bytes, but its file ends at %" PRIu64, n->size, at);
        break;
    case TYPE_DYNAMIC:
        TRY(open_dynamic(s));
        break;
    case TYPE_DIFFERENCING:
        return err_hint(err(ERR_UNSUPPORTED, "this VHD is a differencing disk, which is not supported"),
                        "merge it with its parent first, where it was made (Hyper-V: Merge-VHD)");
    default:
        return err(ERR_INVALID, "the VHD has an unknown type, %" PRIu32, type);
    }
    return n->read_only || n->open_flags & OPEN_CHECK ? NULL : check_writable(s);
}

static Err *vpc_reopen(BlockNode *n, const void *opts, bool read_only)
{
    Vpc *s = (Vpc *)n;

    if (((const Vpc *)opts)->force_size_calc != s->force_size_calc)
        return err(ERR_UNSUPPORTED, "force_size_calc cannot be changed while the image is open");
    return n->read_only && !read_only ? check_writable(s) : NULL;
}

/* ---- data */

static int vpc_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vpc *s = (Vpc *)n;

    if (s->fixed)
        return child_read(n->file, off, q, flags);
    for (size_t done = 0; done < q->len;) {
        uint32_t e = entry(s, (off + done) / s->block_size), in = (off + done) % s->block_size;
        size_t len = MIN(q->len - done, s->block_size - in);
        IoVec part = iov_slice(q, done, len);
        int ret = 0;

        if (e == UNUSED)
            iov_fill(&part, 0, 0, len);
        else
            ret = body_read(&s->body, e * UINT64_C(512) + s->bitmap + in, &part);
        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

/* Takes the footer's place: bitmap (every sector counts as written), zeroes, the request's bytes. */
static int allocate(Vpc *s, uint32_t block, uint32_t in, const IoVec *q, unsigned flags)
{
    uint64_t at = s->next, unit = s->bitmap + (uint64_t)s->block_size;
    g_autofree uint8_t *bits = g_malloc(s->bitmap);
    int ret;

    if (at / 512 >= UNUSED)
        return -EFBIG;
    s->next += unit;
    s->footer_moved = true;
    memset(bits, 0xff, s->bitmap);
    ret = body_fresh(&s->body, at, unit);
    if (!ret)
        ret = child_pwrite(s->body.file, at, bits, s->bitmap, 0);
    if (!ret)
        ret = body_write(&s->body, at + s->bitmap + in, q, flags);
    if (ret < 0) {
        if (s->next == at + unit)
            s->next = at;
        return ret;
    }
    st_be32(s->bat.mem + block * 4ull, at / 512);
    table_mark(&s->bat, block * 4ull, 4);
    return 0;
}

static int write_block(Vpc *s, uint32_t block, uint32_t in, const IoVec *q, unsigned flags)
{
    Busy busy;
    int ret;

    if (entry(s, block) == UNUSED) {
        busy_begin(&s->allocating, &busy, block);
        ret = 1;
        if (entry(s, block) == UNUSED)
            ret = allocate(s, block, in, q, flags);
        busy_end(&s->allocating, &busy);
        if (ret <= 0)
            return ret;
    }
    return body_write(&s->body, entry(s, block) * UINT64_C(512) + s->bitmap + in, q, flags);
}

static int vpc_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vpc *s = (Vpc *)n;

    if (s->fixed)
        return child_write(n->file, off, q, flags);
    for (size_t done = 0; done < q->len;) {
        uint32_t in = (off + done) % s->block_size;
        size_t len = MIN(q->len - done, s->block_size - in);
        IoVec part = iov_slice(q, done, len);
        int ret = write_block(s, (off + done) / s->block_size, in, &part, flags);

        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

/* What has no block is zero already; the rest keeps its blocks. */
static int vpc_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Vpc *s = (Vpc *)n;

    if (s->fixed)
        return child_zero(n->file, off, len, flags);
    for (uint64_t done = 0, step; done < len; done += step) {
        uint32_t block = (off + done) / s->block_size, in = (off + done) % s->block_size;
        Busy busy;
        int ret = 0;

        step = MIN(len - done, s->block_size - in);
        busy_begin(&s->allocating, &busy, block);
        if (entry(s, block) != UNUSED)
            ret = child_zero(s->body.file, entry(s, block) * UINT64_C(512) + s->bitmap + in, step, flags);
        busy_end(&s->allocating, &busy);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int vpc_flush(BlockNode *n)
{
    Vpc *s = (Vpc *)n;

    if (n->read_only || s->fixed)
        return 0;
    if (s->footer_moved) {
        uint64_t at = s->next;
        int ret = body_write(&s->body, at, &IOV_BUF(s->footer, FOOTER), 0);

        if (ret < 0)
            return ret;
        s->footer_moved = s->next != at;
    }
    return table_sync(&s->bat);
}

static void vpc_close(BlockNode *n)
{
    Vpc *s = (Vpc *)n;

    if (!n->read_only && s->bat.any && vpc_flush(n) < 0)
        err_note("%s: the table of blocks could not be written; the latest blocks are lost", node_path(n));
    table_free(&s->bat);
}

static int vpc_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Vpc *s = (Vpc *)n;

    if (s->fixed) {
        *out = (Extent){ len, EXTENT_ALLOCATED | EXTENT_DATA | EXTENT_OFFSET | EXTENT_RECURSE, off, n->file->node, 0 };
        return 0;
    }
    uint32_t e = entry(s, off / s->block_size), in = off % s->block_size;
    *out = (Extent){ .len = MIN(len, s->block_size - in), .flags = EXTENT_ALLOCATED | EXTENT_ZERO };
    if (e != UNUSED) {          /* the next block's bitmap lies between the two */
        out->flags = EXTENT_ALLOCATED | EXTENT_DATA | EXTENT_OFFSET;
        out->host = e * UINT64_C(512) + s->bitmap + in;
        out->host_node = n->file->node;
        return 0;
    }
    while (out->len < len && entry(s, (off + out->len) / s->block_size) == UNUSED)
        out->len += MIN(len - out->len, s->block_size);
    return 0;
}

static Err *vpc_info(BlockNode *n, NodeInfo *out)
{
    Vpc *s = (Vpc *)n;

    out->cluster_size = s->fixed ? 0 : s->block_size;
    return NULL;
}

/* ---- create */

enum { SUB_DYNAMIC, SUB_FIXED };
static const char *const subformat_names[] = { "dynamic", "fixed", NULL };

typedef struct VpcCreate { uint8_t subformat; bool force_size; } VpcCreate;

static const Field vpc_create_fields[] = {
    PROP(VpcCreate, subformat, .names = subformat_names,
         .doc = "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} "),
    PROP(VpcCreate, force_size, .as = "force_size",
         .doc = "Force disk size calculation to use the actual size specified, rather than using the nearest "
                "CHS-based calculation"),
    {0}
};

/* The size that the disk will have, and its geometry. */
static Err *choose_size(uint64_t want, bool force, uint64_t *size, Chs *chs)
{
    uint64_t sectors = div_up(want, 512);

    *chs = (Chs){ 65535, 16, 255 };
    if (!force) {
        *chs = chs_at_least(sectors);
        if (chs_sectors(*chs) < MAX_CHS)
            sectors = chs_sectors(*chs);
    }
    if (sectors > MAX_SECTORS)
        return err(ERR_INVALID, "The image size is too large for file format 'vpc'");
    *size = sectors * 512;
    return NULL;
}

static void make_footer(uint8_t *f, uint64_t size, Chs chs, const VpcCreate *c)
{
    memset(f, 0, FOOTER);
    memcpy(f, "conectix", 8);
    st_be32(f + F_FEATURES, 2);
    st_be32(f + F_VERSION, 0x00010000);
    st_be64(f + F_DATA_OFFSET, c->subformat == SUB_FIXED ? UINT64_MAX : FOOTER);
    st_be32(f + F_TIME, time(NULL) - EPOCH);
    memcpy(f + F_CREATOR, c->force_size ? "qem2" : "qemu", 4);     /* what others know: noted size, or geometry */
    st_be16(f + F_CREATOR_VERSION, 5);
    st_be16(f + F_CREATOR_VERSION + 2, 3);
    memcpy(f + F_CREATOR_OS, "Wi2k", 4);
    st_be64(f + F_ORIGINAL_SIZE, size);
    st_be64(f + F_CURRENT_SIZE, size);
    st_be16(f + F_CYLINDERS, chs.cylinders);
    f[F_HEADS] = chs.heads;
    f[F_SECTORS] = chs.sectors;
    st_be32(f + F_TYPE, c->subformat == SUB_FIXED ? TYPE_FIXED : TYPE_DYNAMIC);
    random_bytes(f + F_UUID, 16);
    st_be32(f + F_CHECKSUM, checksum(f, FOOTER, F_CHECKSUM));
}

static Err *make_dynamic(Disk *d, const uint8_t *footer, uint64_t size)
{
    uint64_t entries = div_up(size, BLOCK_SIZE), table = round_up(entries * 4, 512), at = FOOTER + DYN_HEADER;
    uint8_t h[DYN_HEADER] = "cxsparse";
    g_autofree uint8_t *bat = g_malloc(table + 1);

    st_be64(h + D_DATA_OFFSET, UINT64_MAX);
    st_be64(h + D_TABLE_OFFSET, at);
    st_be32(h + D_VERSION, 0x00010000);
    st_be32(h + D_ENTRIES, entries);
    st_be32(h + D_BLOCK_SIZE, BLOCK_SIZE);
    st_be32(h + D_CHECKSUM, checksum(h, DYN_HEADER, D_CHECKSUM));
    memset(bat, 0xff, table);
    TRY(maker_put(d, 0, footer, FOOTER));
    TRY(maker_put(d, FOOTER, h, DYN_HEADER));
    if (table)
        TRY(maker_put(d, at, bat, table));
    return maker_put(d, at + table, footer, FOOTER);
}

static Err *vpc_check_create(BlockGraph *g, const CreateOptions *o, const void *opts)
{
    uint64_t size;
    Chs chs;

    return choose_size(o->size, ((const VpcCreate *)opts)->force_size, &size, &chs);
}

static Err *vpc_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file)
{
    const VpcCreate *c = opts;
    uint8_t footer[FOOTER];
    uint64_t size = 0;
    Chs chs;
    Disk *d;
    Err *e;

    TRY(choose_size(o->size, c->force_size, &size, &chs));
    make_footer(footer, size, chs, c);
    TRY(maker_open(file, c->subformat == SUB_FIXED ? size : 0, &d));
    if (c->subformat == SUB_FIXED)
        e = maker_put(d, size, footer, FOOTER);
    else
        e = make_dynamic(d, footer, size);
    return maker_close(d, e);
}

BLOCK(vpc) = {
    .name = "vpc", .doc = "Virtual Hard Disk (VHD)",
    .kind = DRIVER_FORMAT, .size = sizeof(Vpc), .fields = vpc_fields,
    .probe = vpc_probe, .open = vpc_open, .close = vpc_close, .reopen = vpc_reopen,
    .read = vpc_read, .write = vpc_write, .zero = vpc_zero, .flush = vpc_flush, .extent = vpc_extent,
    .info = vpc_info,
    .create_fields = vpc_create_fields, .create_size = sizeof(VpcCreate), .check_create = vpc_check_create,
    .create = vpc_create,
};
