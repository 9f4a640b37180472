/* SPDX-License-Identifier: MIT */
/*
 * VDI, VirtualBox's disk image: a header, a map with an entry for each block of
 * the disk, and blocks in the order in which they were first written. An entry
 * is the number of a block in the file, or one of two values for "never
 * written" and "given back". Left out: undo and differencing images.
 *
 * The map reaches the file after the blocks it names (Table), the header's
 * count of blocks before it: a crash leaves at worst blocks that nobody names.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>

#include "block/format.h"

enum {
    SIGNATURE = 0xbeda107f, VERSION_1_1 = 0x00010001,
    TYPE_DYNAMIC = 1, TYPE_STATIC = 2,
    HEADER_SIZE = 0x180,        /* as the header says; it counts from byte 0x48 */
    HEADER_BYTES = 512,
    BLOCK_SIZE = 1 << 20,       /* of new images */
};
#define FREE      UINT32_C(0xffffffff)
#define DISCARDED UINT32_C(0xfffffffe)

/* Where the header's fields are. */
enum {
    H_SIGNATURE = 0x40, H_VERSION = 0x44, H_HEADER_SIZE = 0x48, H_TYPE = 0x4c, H_OFF_MAP = 0x154, H_OFF_DATA = 0x158,
    H_SECTOR_SIZE = 0x168, H_DISK_SIZE = 0x170, H_BLOCK_SIZE = 0x178, H_BLOCK_EXTRA = 0x17c, H_BLOCKS = 0x180,
    H_ALLOCATED = 0x184, H_UUID = 0x188, H_UUID_SNAP = 0x198, H_UUID_LINK = 0x1a8, H_UUID_PARENT = 0x1b8,
};

typedef struct Vdi {
    BlockNode n;
    uint8_t head[HEADER_BYTES];
    Table map;                  /* little-endian uint32 for each block of the disk */
    Body body;
    BusySet allocating;         /* blocks of the disk */
    uint32_t block_size, blocks;
    uint32_t next;              /* number of the next block in the file */
    uint64_t data;              /* offset of block 0 in the file */
} Vdi;

static uint32_t entry(const Vdi *s, uint32_t block)
{
    return ld_le32(s->map.mem + block * 4ull);
}

static uint64_t place(const Vdi *s, uint32_t number)
{
    return s->data + (uint64_t)number * s->block_size;
}

static int vdi_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= H_VERSION && ld_le32(head + H_SIGNATURE) == SIGNATURE ? 100 : 0;
}

/* ---- open */

static Err *check_header(const uint8_t *h, uint64_t *size)
{
    uint32_t version = ld_le32(h + H_VERSION), type = ld_le32(h + H_TYPE), block = ld_le32(h + H_BLOCK_SIZE);
    uint32_t sector = ld_le32(h + H_SECTOR_SIZE), extra = ld_le32(h + H_BLOCK_EXTRA);

    *size = ld_le64(h + H_DISK_SIZE);
    if (ld_le32(h + H_SIGNATURE) != SIGNATURE)
        return err(ERR_INVALID, "Image not in VDI format (bad signature %08" PRIx32 ")", ld_le32(h + H_SIGNATURE));
    if (version != VERSION_1_1)
        return err(ERR_UNSUPPORTED, "unsupported VDI image (version %" PRIu32 ".%" PRIu32 ")",
                   version >> 16, version & 0xffff);
    if (type != TYPE_DYNAMIC && type != TYPE_STATIC)
        return err_hint(err(ERR_UNSUPPORTED, "unsupported VDI image (type %" PRIu32 "%s)", type,
                            type == 4 ? ", a differencing image" : type == 3 ? ", an undo image" : ""),
                        "VBoxManage clonemedium makes a plain image of it");
    if (!buf_is_zero(h + H_UUID_LINK, 16) || !buf_is_zero(h + H_UUID_PARENT, 16))
        return err_hint(err(ERR_UNSUPPORTED, "unsupported VDI image (it is based on another image)"),
                        "VBoxManage clonemedium makes a plain image of it");
    if (sector != 512)
        return err(ERR_UNSUPPORTED, "unsupported VDI image (sector size %" PRIu32 " is not 512)", sector);
    if (block < 4096 || block > (256u << 20) || !is_pow2(block))
        return err(ERR_UNSUPPORTED, "unsupported VDI image (block size %" PRIu32 " is no power of two "
                   "from 4 KiB to 256 MiB)", block);
    if (extra)
        return err(ERR_UNSUPPORTED, "unsupported VDI image (%" PRIu32 " extra bytes before each block)", extra);
    if (ld_le32(h + H_OFF_MAP) % 512 || ld_le32(h + H_OFF_DATA) % 512)
        return err(ERR_INVALID, "unsupported VDI image (offsets %#" PRIx32 " and %#" PRIx32
                   " are not multiples of 512)", ld_le32(h + H_OFF_MAP), ld_le32(h + H_OFF_DATA));
    if (*size > (uint64_t)ld_le32(h + H_BLOCKS) * block)
        return err(ERR_INVALID, "unsupported VDI image (disk size %" PRIu64 ", image bitmap has room for %" PRIu64 ")",
                   *size, (uint64_t)ld_le32(h + H_BLOCKS) * block);
    if (*size > BLOCK_MAX_SIZE)
        return err(ERR_UNSUPPORTED, "the VDI image's disk of %" PRIu64 " bytes is too large", *size);
    return NULL;
}

/* Entries within what the file can hold, each block named once. `found` gets a line for each that is not; may be NULL. */
static int64_t check_map(const Vdi *s, void (*found)(void *, const char *), void *opaque, char **first)
{
    uint64_t holds = s->body.end > s->data ? div_up(s->body.end - s->data, s->block_size) : 0;
    g_autofree uint8_t *seen = try_alloc(MIN(holds, UINT32_MAX) / 8 + 1, 1);
    int64_t bad = 0;

    if (!seen)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->blocks; i++) {
        uint32_t e = entry(s, i);
        g_autofree char *line = NULL;

        if (e >= DISCARDED)
            continue;
        if (e >= holds)
            line = g_strdup_printf("ERROR: block index %" PRIu32 " out of range, is %" PRIu32, i, e);
        else if (seen[e / 8] & 1 << e % 8)
            line = g_strdup_printf("ERROR: block index %" PRIu32 " also used twice", e);
        else
            seen[e / 8] |= 1 << e % 8;
        if (!line)
            continue;
        bad++;
        if (found)
            found(opaque, line);
        if (first && !*first)
            *first = g_steal_pointer(&line);
    }
    return bad;
}

/* The first place behind all that are used; blocks behind it are left over from a crash. */
static uint32_t next_block(const Vdi *s)
{
    uint32_t next = 0;

    for (uint32_t i = 0; i < s->blocks; i++)
        if (entry(s, i) < DISCARDED && entry(s, i) >= next)
            next = entry(s, i) + 1;
    return next;
}

static Err *check_writable(Vdi *s)
{
    g_autofree char *first = NULL;

    if (!check_map(s, NULL, NULL, &first))
        return NULL;
    return err_hint(err(ERR_INVALID, "the VDI image's map is corrupt (%s)", first ? first : "no memory to check it"),
                    "it opens read-only: what can be read is copied by 'convert'");
}

static Err *vdi_open(BlockNode *n)
{
    Vdi *s = (Vdi *)n;
    uint64_t size, map_end;
    int ret = child_pread(n->file, 0, s->head, sizeof(s->head));

    if (ret < 0)
        return err_errno(-ret, "cannot read the VDI header");
    TRY(check_header(s->head, &size));
    s->blocks = ld_le32(s->head + H_BLOCKS);
    s->block_size = ld_le32(s->head + H_BLOCK_SIZE);
    s->data = ld_le32(s->head + H_OFF_DATA);
    map_end = ld_le32(s->head + H_OFF_MAP) + s->blocks * 4ull;
    if (ld_le32(s->head + H_OFF_MAP) < HEADER_BYTES || (s->blocks && s->data < map_end))
        return err(ERR_INVALID, "the VDI image's map at offset %#" PRIx32 " lies within the header or the data",
                   ld_le32(s->head + H_OFF_MAP));
    TRY(table_load(&s->map, n->file, ld_le32(s->head + H_OFF_MAP), s->blocks * 4ull, "the VDI image's map"));
    body_init(&s->body, n->file);
    s->next = next_block(s);
    n->size = round_up(size, 512);
    n->zero_flags = REQ_UNMAP;
    return n->read_only || n->open_flags & OPEN_CHECK ? NULL : check_writable(s);
}

static Err *vdi_reopen(BlockNode *n, const void *opts, bool read_only)
{
    return n->read_only && !read_only ? check_writable((Vdi *)n) : NULL;
}

static void vdi_close(BlockNode *n)
{
    Vdi *s = (Vdi *)n;

    if (!n->read_only && s->map.any && table_sync(&s->map) < 0)
        err_note("%s: the map could not be written; the latest blocks are lost", node_path(n));
    table_free(&s->map);
}

/* ---- data */

static int vdi_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vdi *s = (Vdi *)n;

    for (size_t done = 0; done < q->len;) {
        uint32_t e = entry(s, (off + done) / s->block_size), in = (off + done) % s->block_size;
        size_t len = MIN(q->len - done, s->block_size - in);
        IoVec part = iov_slice(q, done, len);
        int ret = 0;

        if (e >= DISCARDED)
            iov_fill(&part, 0, 0, len);
        else
            ret = body_read(&s->body, place(s, e) + in, &part);
        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

/* The block's first bytes: all of it is made, then the map may name it. */
static int allocate(Vdi *s, uint32_t block, uint32_t in, const IoVec *q, unsigned flags)
{
    uint32_t number = s->next;
    int ret;

    if (number >= DISCARDED)
        return -EFBIG;
    s->next++;
    ret = body_fresh(&s->body, place(s, number), s->block_size);
    if (!ret)
        ret = body_write(&s->body, place(s, number) + in, q, flags);
    if (ret < 0) {
        if (s->next == number + 1)
            s->next--;
        return ret;
    }
    st_le32(s->map.mem + block * 4ull, number);
    table_mark(&s->map, block * 4ull, 4);
    return 0;
}

static int write_block(Vdi *s, uint32_t block, uint32_t in, const IoVec *q, unsigned flags)
{
    Busy busy;
    int ret;

    if (entry(s, block) >= DISCARDED) {
        busy_begin(&s->allocating, &busy, block);
        ret = 1;
        if (entry(s, block) >= DISCARDED)
            ret = allocate(s, block, in, q, flags);
        busy_end(&s->allocating, &busy);
        if (ret <= 0)
            return ret;
    }
    return body_write(&s->body, place(s, entry(s, block)) + in, q, flags);
}

static int vdi_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vdi *s = (Vdi *)n;

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
static int vdi_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Vdi *s = (Vdi *)n;

    for (uint64_t done = 0, step; done < len; done += step) {
        uint32_t block = (off + done) / s->block_size, in = (off + done) % s->block_size;
        Busy busy;
        int ret = 0;

        step = MIN(len - done, s->block_size - in);
        busy_begin(&s->allocating, &busy, block);
        if (entry(s, block) < DISCARDED)
            ret = child_zero(s->body.file, place(s, entry(s, block)) + in, step, flags);
        busy_end(&s->allocating, &busy);
        if (ret < 0)
            return ret;
    }
    return 0;
}

static int vdi_flush(BlockNode *n)
{
    Vdi *s = (Vdi *)n;
    int ret;

    if (n->read_only)
        return 0;
    if (ld_le32(s->head + H_ALLOCATED) != s->next) {
        st_le32(s->head + H_ALLOCATED, s->next);
        ret = child_pwrite(n->file, 0, s->head, sizeof(s->head), 0);
        if (ret < 0)
            return ret;
    }
    return table_sync(&s->map);
}

static int vdi_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Vdi *s = (Vdi *)n;
    uint32_t e = entry(s, off / s->block_size), in = off % s->block_size, last = e;

    *out = (Extent){ .len = MIN(len, s->block_size - in), .flags = EXTENT_ALLOCATED | EXTENT_ZERO };
    if (e < DISCARDED) {
        out->flags = EXTENT_ALLOCATED | EXTENT_DATA | EXTENT_OFFSET;
        if (ld_le32(s->head + H_TYPE) == TYPE_STATIC)
            out->flags |= EXTENT_RECURSE;
        out->host = place(s, e) + in;
        out->host_node = n->file->node;
    }
    while (out->len < len) {
        uint32_t next = entry(s, (off + out->len) / s->block_size);

        if (e < DISCARDED ? next != ++last : next < DISCARDED)
            break;
        out->len += MIN(len - out->len, s->block_size);
    }
    return 0;
}

static Err *vdi_info(BlockNode *n, NodeInfo *out)
{
    out->cluster_size = ((Vdi *)n)->block_size;
    return NULL;
}

static int vdi_check(BlockNode *n, CheckResult *out, unsigned fix)
{
    Vdi *s = (Vdi *)n;
    uint32_t used = 0;
    int64_t bad;

    if (fix)
        return -ENOTSUP;
    bad = check_map(s, out->found, out->opaque, NULL);
    if (bad < 0)
        return bad;
    for (uint32_t i = 0; i < s->blocks; i++)
        used += entry(s, i) < DISCARDED;
    if (used != ld_le32(s->head + H_ALLOCATED)) {
        g_autofree char *line = g_strdup_printf("ERROR: allocated blocks mismatch, is %" PRIu32 ", should be %" PRIu32,
                                                ld_le32(s->head + H_ALLOCATED), used);
        bad++;
        if (out->found)
            out->found(out->opaque, line);
    }
    out->corruptions = bad;
    return 0;
}

/* ---- create */

typedef struct VdiCreate { bool static_image; } VdiCreate;

static const Field vdi_create_fields[] = {
    PROP(VdiCreate, static_image, .as = "static", .def = "off", .doc = "VDI static (pre-allocated) image"),
    {0}
};

static Err *vdi_check_create(BlockGraph *g, const CreateOptions *o, const void *opts)
{
    if (div_up(o->size, BLOCK_SIZE) * 4 > TABLE_MAX)
        return err(ERR_UNSUPPORTED, "Unsupported VDI image size (size is %" PRIu64 ", max supported is %" PRIu64 ")",
                   o->size, (uint64_t)TABLE_MAX / 4 * BLOCK_SIZE);
    return NULL;
}

static Err *vdi_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file)
{
    const VdiCreate *c = opts;
    uint64_t blocks = div_up(o->size, BLOCK_SIZE), map = round_up(blocks * 4, 512);
    uint8_t h[HEADER_BYTES] = "<<< Lyre VM Virtual Disk Image >>>\n";
    Disk *d;

    TRY(vdi_check_create(g, o, opts));
    st_le32(h + H_SIGNATURE, SIGNATURE);
    st_le32(h + H_VERSION, VERSION_1_1);
    st_le32(h + H_HEADER_SIZE, HEADER_SIZE);
    st_le32(h + H_TYPE, c->static_image ? TYPE_STATIC : TYPE_DYNAMIC);
    st_le32(h + H_OFF_MAP, HEADER_BYTES);
    st_le32(h + H_OFF_DATA, HEADER_BYTES + map);
    st_le32(h + H_SECTOR_SIZE, 512);
    st_le64(h + H_DISK_SIZE, o->size);
    st_le32(h + H_BLOCK_SIZE, BLOCK_SIZE);
    st_le32(h + H_BLOCKS, blocks);
    st_le32(h + H_ALLOCATED, c->static_image ? blocks : 0);
    random_bytes(h + H_UUID, 16);
    random_bytes(h + H_UUID_SNAP, 16);

    g_autofree uint8_t *entries = try_alloc(map + 1, 1);
    if (!entries)
        return err_errno(ENOMEM, "the map of %" PRIu64 " bytes", map);
    for (uint64_t i = 0; i < blocks; i++)
        st_le32(entries + i * 4, c->static_image ? i : FREE);
    TRY(maker_open(file, HEADER_BYTES + map + (c->static_image ? blocks * BLOCK_SIZE : 0), &d));
    Err *e = maker_put(d, 0, h, sizeof(h));
    if (!e && map)
        e = maker_put(d, HEADER_BYTES, entries, map);
    return maker_close(d, e);
}

BLOCK(vdi) = {
    .name = "vdi", .doc = "VirtualBox disk image",
    .kind = DRIVER_FORMAT, .size = sizeof(Vdi),
    .probe = vdi_probe, .open = vdi_open, .close = vdi_close, .reopen = vdi_reopen,
    .read = vdi_read, .write = vdi_write, .zero = vdi_zero, .flush = vdi_flush, .extent = vdi_extent,
    .info = vdi_info, .check = vdi_check,
    .create_fields = vdi_create_fields, .create_size = sizeof(VdiCreate), .check_create = vdi_check_create,
    .create = vdi_create,
};
