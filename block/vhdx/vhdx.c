/* SPDX-License-Identifier: MIT */
/*
 * VHDX: open, read and write ([MS-VHDX] 2.2, 2.4 to 2.6). See vhdx.h.
 *
 * A new block is written before its BAT entry (Table); the entry's page goes to
 * the log first. The headers are told of a log, and get new GUIDs, before the
 * first change.
 */
#include <errno.h>

#include "block/vhdx/vhdx.h"

const uint8_t vhdx_guid_bat[] = {
    0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 };
const uint8_t vhdx_guid_metadata[] = {
    0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e };
const uint8_t vhdx_guid_file_parameters[] = {
    0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b };
const uint8_t vhdx_guid_disk_size[] = {
    0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 };
const uint8_t vhdx_guid_disk_id[] = {
    0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 };
const uint8_t vhdx_guid_logical_sector[] = {
    0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f };
const uint8_t vhdx_guid_physical_sector[] = {
    0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 };
const uint8_t vhdx_guid_parent[] = {
    0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c };

static bool is_guid(const uint8_t *p, const uint8_t *guid)
{
    return !memcmp(p, guid, VHDX_GUID);
}

static int vhdx_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && !memcmp(head, "vhdxfile", 8) ? 100 : 0;
}

/* ---- regions: 2.2.3 */

typedef struct Area { uint64_t off, len; } Area;

static int compare_areas(const void *a, const void *b)
{
    const Area *x = a, *y = b;

    return (x->off > y->off) - (x->off < y->off);
}

static Err *no_overlap(GArray *areas)
{
    g_array_sort(areas, compare_areas);
    for (unsigned i = 1; i < areas->len; i++) {
        Area *a = &g_array_index(areas, Area, i - 1), *b = a + 1;

        if (b->off - a->off < a->len)
            return err(ERR_INVALID, "regions of the VHDX overlap at offset %" PRIu64, b->off);
    }
    return NULL;
}

static Err *read_region_table(Vhdx *s, uint8_t *t)
{
    int ret = 0;

    for (unsigned i = 0; i < 2; i++) {
        ret = child_pread(s->n.file, i ? VHDX_REGION_2 : VHDX_REGION_1, t, VHDX_REGION_TABLE);
        if (!ret && !memcmp(t, "regi", 4) && vhdx_checksum(t, VHDX_REGION_TABLE, 4) == ld_le32(t + 4) &&
            ld_le32(t + 8) <= 2047)
            return NULL;
    }
    return ret < 0 ? err_errno(-ret, "cannot read the VHDX region table")
                   : err(ERR_INVALID, "the VHDX has no valid region table at offsets %d and %d",
                         VHDX_REGION_1, VHDX_REGION_2);
}

static Err *read_regions(Vhdx *s)
{
    g_autofree uint8_t *t = g_malloc(VHDX_REGION_TABLE);
    g_autoptr(GArray) areas = g_array_new(FALSE, FALSE, sizeof(Area));
    Area fixed[2] = { { 0, VHDX_MIB }, { s->log_off, s->log_len } };

    TRY(read_region_table(s, t));
    g_array_append_vals(areas, fixed, s->log_len ? 2 : 1);
    for (uint32_t i = 0; i < ld_le32(t + 8); i++) {
        const uint8_t *r = t + 16 + i * 32;
        Area a = { ld_le64(r + 16), ld_le32(r + 24) };

        if (a.off % VHDX_MIB || a.len % VHDX_MIB || a.off < VHDX_MIB || !a.len || a.off > BLOCK_MAX_SIZE)
            return err(ERR_INVALID, "region %" PRIu32 " of the VHDX (offset %" PRIu64 ", %" PRIu64
                       " bytes) is not in whole MiB", i, a.off, a.len);
        g_array_append_val(areas, a);
        if (is_guid(r, vhdx_guid_bat)) {
            s->bat_off = a.off;
            s->bat_len = a.len;
        } else if (is_guid(r, vhdx_guid_metadata)) {
            s->meta_off = a.off;
            s->meta_len = a.len;
        } else if (ld_le32(r + 28) & 1) {
            return err(ERR_UNSUPPORTED, "the VHDX needs a region that is not known (entry %" PRIu32
                       " of the table, GUID %02x%02x%02x%02x-..)", i, r[3], r[2], r[1], r[0]);
        }
    }
    if (!s->bat_len || !s->meta_len)
        return err(ERR_INVALID, "the VHDX has no region for its %s", s->bat_len ? "metadata" : "table of blocks");
    return no_overlap(areas);
}

/* ---- metadata: 2.6 */

/* Reads the item into out; NULL: there is none. */
static Err *metadata_item(Vhdx *s, const uint8_t *table, const uint8_t *guid, const char *what, void *out, size_t len)
{
    for (unsigned i = 0; i < ld_le16(table + 10); i++) {
        const uint8_t *m = table + 32 + i * 32;
        uint32_t off = ld_le32(m + 16);

        if (!is_guid(m, guid))
            continue;
        if (off < VHDX_REGION_TABLE || off > s->meta_len || ld_le32(m + 20) < len || len > s->meta_len - off)
            return err(ERR_INVALID, "the VHDX's %s lies outside its metadata (offset %" PRIu32 ")", what, off);
        int ret = child_pread(s->n.file, s->meta_off + off, out, len);
        return ret < 0 ? err_errno(-ret, "cannot read the VHDX's %s", what) : NULL;
    }
    return err(ERR_INVALID, "the VHDX does not say its %s", what);
}

static Err *known_items(const uint8_t *table)
{
    static const uint8_t *const known[] = {
        vhdx_guid_file_parameters, vhdx_guid_disk_size, vhdx_guid_disk_id, vhdx_guid_logical_sector,
        vhdx_guid_physical_sector, vhdx_guid_parent,
    };

    for (unsigned i = 0; i < ld_le16(table + 10); i++) {
        const uint8_t *m = table + 32 + i * 32;
        bool yes = !(ld_le32(m + 24) & 4);      /* not required */

        for (unsigned k = 0; k < G_N_ELEMENTS(known); k++)
            yes |= is_guid(m, known[k]);
        if (!yes)
            return err(ERR_UNSUPPORTED, "the VHDX needs metadata that is not known (entry %u of the table, "
                       "GUID %02x%02x%02x%02x-..)", i, m[3], m[2], m[1], m[0]);
    }
    return NULL;
}

static Err *read_metadata(Vhdx *s)
{
    g_autofree uint8_t *table = g_malloc(VHDX_REGION_TABLE);
    uint8_t params[8], size[8], logical[4];
    int ret = child_pread(s->n.file, s->meta_off, table, VHDX_REGION_TABLE);

    if (ret < 0)
        return err_errno(-ret, "cannot read the VHDX's metadata");
    if (memcmp(table, "metadata", 8) || ld_le16(table + 10) > 2047)
        return err(ERR_INVALID, "the VHDX has no valid metadata at offset %" PRIu64, s->meta_off);
    TRY(known_items(table));
    TRY(metadata_item(s, table, vhdx_guid_file_parameters, "file parameters", params, 8));
    TRY(metadata_item(s, table, vhdx_guid_disk_size, "disk size", size, 8));
    TRY(metadata_item(s, table, vhdx_guid_logical_sector, "sector size", logical, 4));
    if (ld_le32(params + 4) & 2)
        return err_hint(err(ERR_UNSUPPORTED, "this VHDX is a differencing disk, which is not supported"),
                        "merge it with its parent first, where it was made (Hyper-V: Merge-VHD)");
    s->block_size = ld_le32(params);
    s->sector_size = ld_le32(logical);
    s->n.size = ld_le64(size);
    if (s->block_size < VHDX_MIB || s->block_size > 256u * VHDX_MIB || !is_pow2(s->block_size))
        return err(ERR_INVALID, "the VHDX's block size %" PRIu32 " is no power of two from 1 to 256 MiB", s->block_size);
    if (s->sector_size != 512 && s->sector_size != 4096)
        return err(ERR_INVALID, "the VHDX's sector size %" PRIu32 " is neither 512 nor 4096", s->sector_size);
    if (s->n.size > VHDX_MAX_SIZE || s->n.size % s->sector_size)
        return err(ERR_INVALID, "the VHDX's disk size %" PRIu64 " is too large, or not in whole sectors", s->n.size);
    return NULL;
}

/* ---- blocks: 2.5 */

static uint64_t *entry_at(const Vhdx *s, uint32_t block)
{
    return (uint64_t *)s->bat.mem + block + block / s->chunk;
}

static uint64_t entry(const Vhdx *s, uint32_t block)
{
    return ld_le64(entry_at(s, block));
}

static bool present(const Vhdx *s, uint32_t block)
{
    return BAT_STATE(entry(s, block)) == BLOCK_PRESENT;
}

static Err *load_bat(Vhdx *s)
{
    uint64_t entries;

    s->chunk = ((uint64_t)s->sector_size << 23) / s->block_size;
    s->blocks = div_up(s->n.size, s->block_size);
    entries = s->blocks ? s->blocks + (s->blocks - 1) / s->chunk : 0;
    if (entries * 8 > s->bat_len)
        return err(ERR_INVALID, "the VHDX's table of blocks has %" PRIu64 " bytes, %" PRIu64 " are needed",
                   s->bat_len, entries * 8);
    TRY(table_load(&s->bat, s->n.file, s->bat_off, round_up(entries * 8, TABLE_PAGE), "the VHDX's table of blocks"));
    s->bat.before = vhdx_log_pages;
    s->bat.max_pages = 126;         /* one log entry, one sector of descriptors; less than the smallest log */
    s->bat.opaque = s;
    return NULL;
}

typedef struct Placed { uint64_t off; uint32_t block; } Placed;

static int compare_placed(const void *a, const void *b)
{
    const Placed *x = a, *y = b;

    return (x->off > y->off) - (x->off < y->off);
}

static void report(CheckResult *out, char **first, char *line)
{
    if (out) {
        out->corruptions++;
        if (out->found)
            out->found(out->opaque, line);
    }
    if (first && !*first)
        *first = line;
    else
        g_free(line);
}

/* States that exist; blocks within the file, behind the regions, none on another. */
static int check_bat(const Vhdx *s, CheckResult *out, char **first)
{
    g_autofree Placed *all = try_alloc(s->blocks + 1ull, sizeof(Placed));
    const Area regions[] = { { s->log_off, s->log_len }, { s->bat_off, s->bat_len }, { s->meta_off, s->meta_len } };
    uint32_t n = 0;

    if (!all)
        return -ENOMEM;
    for (uint32_t i = 0; i < s->blocks; i++) {
        uint64_t e = entry(s, i), off = BAT_OFFSET(e);
        bool clash = off < VHDX_MIB;

        if (BAT_STATE(e) == 4 || BAT_STATE(e) == 5 || BAT_STATE(e) == BLOCK_PARTIAL)
            report(out, first, g_strdup_printf("ERROR: block %" PRIu32 " has state %u, which is none", i, BAT_STATE(e)));
        if (BAT_STATE(e) != BLOCK_PRESENT)
            continue;
        if (off >= s->body.end || s->body.end - off < s->block_size) {
            report(out, first, g_strdup_printf("ERROR: block %" PRIu32 " at offset %" PRIu64
                                               " is beyond the end of the file", i, off));
            continue;
        }
        for (unsigned k = 0; k < G_N_ELEMENTS(regions); k++)
            clash |= regions[k].len && off < regions[k].off + regions[k].len && regions[k].off < off + s->block_size;
        if (clash)
            report(out, first, g_strdup_printf("ERROR: block %" PRIu32 " at offset %" PRIu64 " overlaps the tables",
                                               i, off));
        all[n++] = (Placed){ off, i };
    }
    qsort(all, n, sizeof(*all), compare_placed);
    for (uint32_t i = 1; i < n; i++)
        if (all[i].off - all[i - 1].off < s->block_size)
            report(out, first, g_strdup_printf("ERROR: blocks %" PRIu32 " and %" PRIu32 " overlap at offset %" PRIu64,
                                               all[i - 1].block, all[i].block, all[i].off));
    return 0;
}

/* Behind all that is known: what lies there is left over from a crash, or nothing. */
static uint64_t used_end(const Vhdx *s)
{
    uint64_t end = MAX(MAX(s->log_off + s->log_len, s->bat_off + s->bat_len), s->meta_off + s->meta_len);

    for (uint32_t i = 0; i < s->blocks; i++)
        if (present(s, i))
            end = MAX(end, BAT_OFFSET(entry(s, i)) + s->block_size);
    return round_up(end, VHDX_MIB);
}

static Err *check_writable(Vhdx *s)
{
    g_autofree char *first = NULL;
    int ret;

    if (!s->log_len)
        return err(ERR_INVALID, "the VHDX has no log, so it cannot be written");
    ret = check_bat(s, NULL, &first);
    if (!ret && !first)
        return NULL;
    return err_hint(err(ERR_INVALID, "the VHDX's table of blocks is corrupt (%s)",
                        first ? first : "no memory to check it"),
                    "it opens read-only: 'convert' copies what can be read");
}

static Err *vhdx_open(BlockNode *n)
{
    Vhdx *s = (Vhdx *)n;
    uint8_t magic[8];
    int ret = child_pread(n->file, 0, magic, sizeof(magic));

    if (ret < 0)
        return err_errno(-ret, "cannot read the VHDX file identifier");
    if (!vhdx_probe(magic, sizeof(magic), NULL))
        return err(ERR_INVALID, "the file does not begin as a VHDX does");
    TRY(vhdx_read_headers(s));
    TRY(vhdx_replay(s));
    TRY(read_regions(s));
    TRY(read_metadata(s));
    TRY(load_bat(s));
    body_init(&s->body, n->file);
    s->next = used_end(s);
    n->zero_flags = REQ_UNMAP;
    return n->read_only || n->open_flags & OPEN_CHECK ? NULL : check_writable(s);
}

/* The tables are where they belong: the log says nothing any more. */
static int stop_writing(Vhdx *s)
{
    int ret = 0;

    if (!s->writing)
        return 0;
    ret = table_sync(&s->bat);
    if (!ret)
        ret = child_flush(s->n.file);
    if (!ret)
        ret = vhdx_write_header(s, NULL, false);
    s->writing = ret != 0;
    return ret;
}

static Err *vhdx_reopen(BlockNode *n, const void *opts, bool read_only)
{
    Vhdx *s = (Vhdx *)n;
    int ret;

    if (n->read_only)
        return read_only ? NULL : check_writable(s);
    ret = read_only ? stop_writing(s) : 0;
    return ret < 0 ? err_errno(-ret, "cannot write the VHDX's tables") : NULL;
}

/* ---- data */

static int vhdx_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vhdx *s = (Vhdx *)n;

    for (size_t done = 0; done < q->len;) {
        uint32_t block = (off + done) / s->block_size, in = (off + done) % s->block_size;
        size_t len = MIN(q->len - done, s->block_size - in);
        IoVec part = iov_slice(q, done, len);
        int ret = 0;

        if (present(s, block))
            ret = body_read(&s->body, BAT_OFFSET(entry(s, block)) + in, &part);
        else if (BAT_STATE(entry(s, block)) <= BLOCK_UNMAPPED)
            iov_fill(&part, 0, 0, len);
        else
            ret = -EIO;
        if (ret < 0)
            return ret;
        done += len;
    }
    return 0;
}

/* Before the first change: new GUIDs, and the log counts from now on. */
static int start_writing(Vhdx *s)
{
    uint8_t guid[VHDX_GUID];
    int ret = 0;

    if (s->writing)
        return 0;
    co_lock(&s->starting);
    if (!s->writing) {
        vhdx_new_guid(guid);
        ret = vhdx_write_header(s, guid, true);
        s->writing = !ret;
    }
    co_unlock(&s->starting);
    return ret;
}

/* The block's first bytes: all of it is made, then the table may name it. */
static int allocate(Vhdx *s, uint32_t block, uint32_t in, const IoVec *q, unsigned flags)
{
    uint64_t at = s->next;
    int ret;

    s->next += s->block_size;
    ret = body_fresh(&s->body, at, s->block_size);
    if (!ret)
        ret = body_write(&s->body, at + in, q, flags);
    if (ret < 0) {
        if (s->next == at + s->block_size)
            s->next = at;
        return ret;
    }
    st_le64(entry_at(s, block), at | BLOCK_PRESENT);
    table_mark(&s->bat, (uint8_t *)entry_at(s, block) - s->bat.mem, 8);
    return 0;
}

static int write_block(Vhdx *s, uint32_t block, uint32_t in, const IoVec *q, unsigned flags)
{
    Busy busy;
    int ret;

    if (!present(s, block)) {
        busy_begin(&s->allocating, &busy, block);
        ret = 1;
        if (!present(s, block))
            ret = allocate(s, block, in, q, flags);
        busy_end(&s->allocating, &busy);
        if (ret <= 0)
            return ret;
    }
    return body_write(&s->body, BAT_OFFSET(entry(s, block)) + in, q, flags);
}

static int vhdx_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vhdx *s = (Vhdx *)n;
    int ret = start_writing(s);

    for (size_t done = 0; done < q->len && !ret;) {
        uint32_t in = (off + done) % s->block_size;
        size_t len = MIN(q->len - done, s->block_size - in);
        IoVec part = iov_slice(q, done, len);

        ret = write_block(s, (off + done) / s->block_size, in, &part, flags);
        done += len;
    }
    return ret;
}

/* What has no block is zero already; the rest keeps its blocks. */
static int vhdx_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Vhdx *s = (Vhdx *)n;
    int ret = start_writing(s);

    for (uint64_t done = 0, step; done < len && !ret; done += step) {
        uint32_t block = (off + done) / s->block_size, in = (off + done) % s->block_size;
        Busy busy;

        step = MIN(len - done, s->block_size - in);
        busy_begin(&s->allocating, &busy, block);
        if (present(s, block))
            ret = child_zero(n->file, BAT_OFFSET(entry(s, block)) + in, step, flags);
        busy_end(&s->allocating, &busy);
    }
    return ret;
}

static int vhdx_flush(BlockNode *n)
{
    return n->read_only ? 0 : table_sync(&((Vhdx *)n)->bat);
}

static void vhdx_close(BlockNode *n)
{
    Vhdx *s = (Vhdx *)n;
    int ret = stop_writing(s);

    if (ret < 0)
        err_note("%s: the table of blocks could not be written: %s", node_path(n), g_strerror(-ret));
    table_free(&s->bat);
}

static int vhdx_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Vhdx *s = (Vhdx *)n;
    uint32_t block = off / s->block_size, in = off % s->block_size;
    uint64_t e = entry(s, block), next = BAT_OFFSET(e) + s->block_size;
    bool data = present(s, block);

    *out = (Extent){ .len = MIN(len, s->block_size - in), .flags = EXTENT_ALLOCATED | EXTENT_ZERO };
    if (!data && BAT_STATE(e) > BLOCK_UNMAPPED)
        return -EIO;
    if (data) {
        out->flags = EXTENT_ALLOCATED | EXTENT_DATA | EXTENT_OFFSET;
        out->host = BAT_OFFSET(e) + in;
        out->host_node = n->file->node;
    }
    for (; out->len < len; next += s->block_size) {
        uint64_t then = entry(s, (off + out->len) / s->block_size);

        if (data ? BAT_STATE(then) != BLOCK_PRESENT || BAT_OFFSET(then) != next : BAT_STATE(then) > BLOCK_UNMAPPED)
            break;
        out->len += MIN(len - out->len, s->block_size);
    }
    return 0;
}

static Err *vhdx_info(BlockNode *n, NodeInfo *out)
{
    out->cluster_size = ((Vhdx *)n)->block_size;
    return NULL;
}

static int vhdx_check(BlockNode *n, CheckResult *out, unsigned fix)
{
    Vhdx *s = (Vhdx *)n;

    out->corruptions_fixed += s->replayed;      /* the log's replay when it was opened */
    return check_bat(s, out, NULL);
}

BLOCK(vhdx) = {
    .name = "vhdx", .doc = "Hyper-V virtual hard disk, version 2",
    .kind = DRIVER_FORMAT, .size = sizeof(Vhdx),
    .probe = vhdx_probe, .open = vhdx_open, .close = vhdx_close, .reopen = vhdx_reopen,
    .read = vhdx_read, .write = vhdx_write, .zero = vhdx_zero, .flush = vhdx_flush, .extent = vhdx_extent,
    .info = vhdx_info, .check = vhdx_check,
    .create_fields = vhdx_create_fields, .create_size = sizeof(VhdxCreate), .check_create = vhdx_check_create,
    .create = vhdx_create,
};
