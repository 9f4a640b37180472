/* SPDX-License-Identifier: MIT */
/*
 * Headers of sparse extents and their directories: hosted ones ("KDMV", with
 * the footer of stream-optimized files), ESX server's ("COWD", read only) and
 * space-efficient ones ("SESPARSE", read only). What is written to later is
 * known in full before: no table may lie on another, on the header or beyond
 * the end of the file.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/vmdk/vmdk.h"

static int compare_areas(const void *a, const void *b)
{
    const VmdkArea *x = a, *y = b;

    return (x->off > y->off) - (x->off < y->off);
}

static void add_area(VmdkExtent *e, uint64_t off, uint64_t len)
{
    VmdkArea a = { off, len };

    if (len)
        g_array_append_val(e->meta, a);
}

static void add_tables(VmdkExtent *e, const uint8_t *gd)
{
    for (uint64_t i = 0; gd && i < e->tables; i++)
        if (ld_le32(gd + i * 4))
            add_area(e, ld_le32(gd + i * 4) * (uint64_t)VMDK_SECTOR, (uint64_t)e->gtes * e->entry);
}

/* Everything that is no grain, sorted; an error when two of it overlap or lie outside. */
static Err *map_meta(VmdkExtent *e)
{
    g_array_sort(e->meta, compare_areas);
    for (unsigned i = 0; i < e->meta->len; i++) {
        VmdkArea *a = &g_array_index(e->meta, VmdkArea, i);

        if (a->off > e->body.end || a->len > e->body.end - a->off)
            return err(ERR_INVALID, "a table of the VMDK at offset %" PRIu64 " is beyond the end of '%s'",
                       a->off, node_path(e->file->node));
        if (i && a->off - a[-1].off < a[-1].len)
            return err(ERR_INVALID, "tables of the VMDK overlap at offset %" PRIu64 " of '%s'",
                       a->off, node_path(e->file->node));
    }
    return NULL;
}

bool vmdk_hits_meta(const VmdkExtent *e, uint64_t off, uint64_t len)
{
    unsigned lo = 0, hi = e->meta ? e->meta->len : 0;

    while (lo < hi) {           /* the first that begins at or behind off + len */
        unsigned mid = lo + (hi - lo) / 2;

        if (g_array_index(e->meta, VmdkArea, mid).off < off + len)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo)
        return false;
    VmdkArea *a = &g_array_index(e->meta, VmdkArea, lo - 1);
    return off < a->off + a->len;
}

/* Reads a directory of `tables` entries; *out is g_free's. */
static Err *read_dir(VmdkExtent *e, uint64_t off, uint64_t bytes, uint8_t **out)
{
    int ret;

    if (bytes > TABLE_MAX / 4)
        return err(ERR_UNSUPPORTED, "the VMDK's directory has %" PRIu64 " bytes; at most %" PRIu64 " are supported",
                   bytes, (uint64_t)TABLE_MAX / 4);
    if (off > e->body.end || bytes > e->body.end - off)
        return err(ERR_INVALID, "the VMDK's directory at offset %" PRIu64 " (%" PRIu64 " bytes) is beyond the end of '%s'",
                   off, bytes, node_path(e->file->node));
    *out = try_alloc(bytes, 1);
    if (!*out)
        return err_errno(ENOMEM, "the VMDK's directory of %" PRIu64 " bytes", bytes);
    ret = bytes ? child_pread(e->file, off, *out, bytes) : 0;
    return ret < 0 ? err_errno(-ret, "cannot read the VMDK's directory at offset %" PRIu64, off) : NULL;
}

/* Sizes that all kinds have; capacity and grain in sectors. */
static Err *set_sizes(VmdkExtent *e, uint64_t capacity, uint64_t grain, uint64_t gtes, unsigned entry)
{
    if (capacity > BLOCK_MAX_SIZE / VMDK_SECTOR)
        return err(ERR_INVALID, "the VMDK's capacity of %" PRIu64 " sectors is too large", capacity);
    if (!is_pow2(grain) || grain > VMDK_GRAIN_MAX / VMDK_SECTOR)
        return err(ERR_INVALID, "Invalid granularity, image may be corrupt: %" PRIu64 " sectors", grain);
    if (!gtes || gtes > 8192)
        return err(ERR_INVALID, "Invalid number of entries of a grain table, image may be corrupt: %" PRIu64, gtes);
    if (e->len == UINT64_MAX)
        e->len = capacity * VMDK_SECTOR;
    if (e->len > capacity * VMDK_SECTOR)
        return err(ERR_INVALID, "the VMDK's extent has %" PRIu64 " bytes, but its descriptor says %" PRIu64,
                   capacity * VMDK_SECTOR, e->len);
    e->grain = grain * VMDK_SECTOR;
    e->gtes = gtes;
    e->entry = entry;
    e->tables = div_up(div_up(capacity, grain), gtes);
    return NULL;
}

/* ---- hosted sparse extents */

/* The real header is in the last but one sector, between two markers. */
static Err *read_footer(VmdkExtent *e, uint8_t *header)
{
    uint8_t f[3 * VMDK_SECTOR];
    int ret;

    if (e->body.end < 4 * VMDK_SECTOR)
        return err(ERR_INVALID, "the VMDK ends before its footer");
    ret = child_pread(e->file, e->body.end - sizeof(f), f, sizeof(f));
    if (ret < 0)
        return err_errno(-ret, "cannot read the VMDK's footer");
    if (ld_le32(f + M_SIZE) || ld_le32(f + M_TYPE) != MARKER_FOOTER || memcmp(f + VMDK_SECTOR, "KDMV", 4) ||
        ld_le32(f + 2 * VMDK_SECTOR + M_SIZE) || ld_le32(f + 2 * VMDK_SECTOR + M_TYPE) != MARKER_EOS)
        return err(ERR_INVALID, "invalid footer: the stream-optimized VMDK was cut, or is not finished");
    memcpy(header, f + VMDK_SECTOR, VMDK_HEADER);
    if (ld_le64(header + SH_GD) == VMDK_GD_AT_END)
        return err(ERR_INVALID, "invalid footer: it does not say where the directory is");
    return NULL;
}

static Err *check_header(const uint8_t *h)
{
    uint32_t version = ld_le32(h + SH_VERSION), flags = ld_le32(h + SH_FLAGS);

    if (version < 1 || version > 3)
        return err(ERR_UNSUPPORTED, "Unsupported VMDK version %" PRIu32, version);
    if (flags & SF_NEWLINES && memcmp(h + SH_NEWLINES, "\n \r\n", 4))
        return err(ERR_INVALID, "the VMDK was damaged by a transfer as text: its newlines were changed");
    if (flags & SF_COMPRESSED && ld_le16(h + SH_COMPRESSION) != 1)
        return err(ERR_UNSUPPORTED, "the VMDK is compressed by method %u, 1 (deflate) is supported",
                   ld_le16(h + SH_COMPRESSION));
    return NULL;
}

/* sectors -> bytes; an error for what no file can have. */
static Err *bytes_of(uint64_t sectors, const char *what, uint64_t *out)
{
    if (sectors > BLOCK_MAX_SIZE / VMDK_SECTOR)
        return err(ERR_INVALID, "the VMDK's %s at sector %" PRIu64 " is beyond the end of any file", what, sectors);
    *out = sectors * VMDK_SECTOR;
    return NULL;
}

Err *vmdk_sparse_open(Vmdk *s, VmdkExtent *e, const uint8_t header[VMDK_HEADER])
{
    uint8_t h[VMDK_HEADER];

    memcpy(h, header, sizeof(h));
    e->kind = VMDK_SPARSE;
    body_init(&e->body, e->file);
    e->footer = ld_le64(header + SH_GD) == VMDK_GD_AT_END;
    if (e->footer)
        TRY(read_footer(e, h));
    TRY(check_header(h));
    e->tracked = ld_le32(h + SH_VERSION) == 3 && !(ld_le32(h + SH_FLAGS) & SF_COMPRESSED);
    e->compressed = ld_le32(h + SH_FLAGS) & SF_COMPRESSED;
    e->markers = ld_le32(h + SH_FLAGS) & SF_MARKERS;
    e->zeroed = ld_le32(h + SH_FLAGS) & SF_ZEROED;
    TRY(set_sizes(e, ld_le64(h + SH_CAPACITY), ld_le64(h + SH_GRAIN), ld_le32(h + SH_GTES), 4));
    TRY(bytes_of(ld_le64(h + SH_GD), "directory", &e->gd_off));
    if (ld_le32(h + SH_FLAGS) & SF_REDUNDANT)
        TRY(bytes_of(ld_le64(h + SH_RGD), "second directory", &e->rgd_off));
    TRY(bytes_of(ld_le64(h + SH_DESC_OFFSET), "descriptor", &e->desc.off));
    TRY(bytes_of(ld_le64(h + SH_DESC_SIZE), "descriptor", &e->desc.len));
    return read_dir(e, e->gd_off, e->tables * 4, &e->gd);
}

/* Both directories, and where everything is. */
static Err *map_sparse(VmdkExtent *e)
{
    if (e->meta)
        g_array_set_size(e->meta, 0);
    else
        e->meta = g_array_new(FALSE, FALSE, sizeof(VmdkArea));
    if (e->rgd_off) {
        free(e->rgd);
        e->rgd = NULL;
        TRY(read_dir(e, e->rgd_off, e->tables * 4, &e->rgd));
        add_area(e, e->rgd_off, e->tables * 4);
        add_tables(e, e->rgd);
    }
    add_area(e, 0, VMDK_HEADER);
    if (e->desc.off)
        add_area(e, e->desc.off, e->desc.len);
    add_area(e, e->gd_off, e->tables * 4);
    add_tables(e, e->gd);
    e->next = round_up(e->body.end, e->compressed ? VMDK_SECTOR : e->grain);
    return map_meta(e);
}

Err *vmdk_sparse_writable(VmdkExtent *e)
{
    const char *why = NULL;

    if (e->kind == VMDK_COWD)
        why = "ESX server's sparse extents (COWD) cannot be written";
    else if (e->kind == VMDK_SESPARSE)
        why = "SESPARSE extents cannot be written";
    else if (e->footer)
        why = "a stream-optimized VMDK with its tables at the end cannot be written";
    else if (e->tracked)
        why = "VMDK version 3 must be read only: its changes are tracked in another file";
    if (why)
        return err_hint(err(ERR_UNSUPPORTED, "%s", why), "open it read-only, or make a copy with 'convert'");
    return map_sparse(e);
}

/* ---- ESX server sparse extents */

enum { CH_CAPACITY = 12, CH_GRAIN = 16, CH_GD = 20, CH_TABLES = 24 };

Err *vmdk_cowd_open(Vmdk *s, VmdkExtent *e, const uint8_t h[VMDK_HEADER])
{
    e->kind = VMDK_COWD;
    body_init(&e->body, e->file);
    if (ld_le32(h + SH_VERSION) != 1)
        return err(ERR_UNSUPPORTED, "Unsupported COWD version %" PRIu32, ld_le32(h + SH_VERSION));
    TRY(set_sizes(e, ld_le32(h + CH_CAPACITY), ld_le32(h + CH_GRAIN), 4096, 4));
    if (e->tables > ld_le32(h + CH_TABLES))
        return err(ERR_INVALID, "the VMDK's directory has %" PRIu32 " entries, %" PRIu64 " are needed",
                   ld_le32(h + CH_TABLES), e->tables);
    e->gd_off = ld_le32(h + CH_GD) * (uint64_t)VMDK_SECTOR;
    return read_dir(e, e->gd_off, e->tables * 4, &e->gd);
}

/* ---- space-efficient sparse extents: little-endian 64-bit words; nobody published it, others read it so */

enum {
    SE_MAGIC, SE_VERSION, SE_CAPACITY, SE_GRAIN, SE_TABLE, SE_FLAGS, SE_VOLATILE = 10, SE_GD = 16, SE_GD_SIZE,
    SE_TABLES, SE_TABLES_SIZE, SE_GRAINS = 24, SE_WORDS = 64,
    SV_MAGIC = 0, SV_REPLAY = 3,
};
#define SE_HEADER_MAGIC   UINT64_C(0x00000000cafebabe)
#define SE_VOLATILE_MAGIC UINT64_C(0x00000000cafecafe)

static Err *read_words(VmdkExtent *e, uint64_t off, uint8_t words[SE_WORDS * 8])
{
    int ret;

    if (off > e->body.end || e->body.end - off < SE_WORDS * 8)
        return err(ERR_INVALID, "a header of the SESPARSE extent, at offset %" PRIu64 ", is beyond its end", off);
    ret = child_pread(e->file, off, words, SE_WORDS * 8);
    return ret < 0 ? err_errno(-ret, "cannot read a header of the SESPARSE extent") : NULL;
}

Err *vmdk_sesparse_open(Vmdk *s, VmdkExtent *e)
{
    uint8_t h[SE_WORDS * 8], v[SE_WORDS * 8];
    uint64_t at = 0;

    e->kind = VMDK_SESPARSE;
    body_init(&e->body, e->file);
    TRY(read_words(e, 0, h));
    if (ld_le64(h) != SE_HEADER_MAGIC || ld_le64(h + SE_VERSION * 8) != UINT64_C(0x0000000200000001))
        return err(ERR_UNSUPPORTED, "unsupported SESPARSE extent: magic %#" PRIx64 ", version %#" PRIx64,
                   ld_le64(h), ld_le64(h + SE_VERSION * 8));
    TRY(bytes_of(ld_le64(h + SE_VOLATILE * 8), "second header", &at));
    TRY(read_words(e, at, v));
    if (ld_le64(v) != SE_VOLATILE_MAGIC)
        return err(ERR_INVALID, "the SESPARSE extent's second header has magic %#" PRIx64, ld_le64(v));
    if (ld_le64(v + SV_REPLAY * 8))
        return err_hint(err(ERR_UNSUPPORTED, "the SESPARSE extent has a journal that needs to be replayed"),
                        "open it once where it was made");
    if (ld_le64(h + SE_GRAIN * 8) != 8 || ld_le64(h + SE_TABLE * 8) != 64 || ld_le64(h + SE_FLAGS * 8))
        return err(ERR_UNSUPPORTED, "unsupported SESPARSE extent: grains of %" PRIu64 " sectors, tables of %" PRIu64
                   ", flags %#" PRIx64, ld_le64(h + SE_GRAIN * 8), ld_le64(h + SE_TABLE * 8), ld_le64(h + SE_FLAGS * 8));
    TRY(set_sizes(e, ld_le64(h + SE_CAPACITY * 8), 8, 64 * VMDK_SECTOR / 8, 8));
    TRY(bytes_of(ld_le64(h + SE_GD * 8), "directory", &e->gd_off));
    TRY(bytes_of(ld_le64(h + SE_TABLES * 8), "tables", &e->se_tables));
    TRY(bytes_of(ld_le64(h + SE_GRAINS * 8), "grains", &e->se_grains));
    return read_dir(e, e->gd_off, e->tables * 8, &e->gd);
}

void vmdk_extent_clear(VmdkExtent *e)
{
    free(e->gd);
    free(e->rgd);
    if (e->meta)
        g_array_free(e->meta, TRUE);
    g_free(e->type);
    e->gd = e->rgd = NULL;
    e->meta = NULL;
    e->type = NULL;
}
