/* SPDX-License-Identifier: MIT */
/*
 * New VHDX images: headers, log, table of blocks, metadata, in this order, each
 * at a whole MiB; the blocks of a fixed image behind them.
 */
#include <errno.h>

#include "block/vhdx/vhdx.h"

enum { SUB_DYNAMIC, SUB_FIXED };
static const char *const subformat_names[] = { "dynamic", "fixed", NULL };

const Field vhdx_create_fields[] = {
    PROP(VhdxCreate, log_size, .as = "log_size", .units = true, .def = "1048576", .doc = "Log size; min 1MB."),
    PROP(VhdxCreate, block_size, .as = "block_size", .units = true, .def = "0",
         .doc = "Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size."),
    PROP(VhdxCreate, subformat, .names = subformat_names,
         .doc = "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."),
    PROP(VhdxCreate, block_state_zero, .as = "block_state_zero", .def = "on", .untold = true,
         .doc = "Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when "
                "using 'qemu-img convert' with subformat=dynamic."),
    {0}
};

/* What the new image has, in bytes. */
typedef struct Plan {
    uint64_t size, log, block, blocks, entries, chunk, bat_off, bat, meta_off, data;
    const VhdxCreate *c;
} Plan;

static uint64_t auto_block(uint64_t size)
{
    if (size > UINT64_C(32) << 40)
        return 64ull * VHDX_MIB;
    if (size > UINT64_C(100) << 30)
        return 32ull * VHDX_MIB;
    return (size > 1 << 30 ? 16ull : 8ull) * VHDX_MIB;
}

static Err *make_plan(Plan *p, uint64_t size, const VhdxCreate *c)
{
    if (size > VHDX_MAX_SIZE)
        return err(ERR_INVALID, "Image size too large; max of 64TB");
    if (c->log_size == 0)
        return err(ERR_INVALID, "Log size must be a multiple of 1 MB");
    if (c->log_size >= UINT64_C(1) << 32)
        return err(ERR_INVALID, "Log size must be smaller than 4 GB");
    if (c->block_size && (!is_pow2(c->block_size) || c->block_size > 256u * VHDX_MIB))
        return err(ERR_INVALID, c->block_size > 256u * VHDX_MIB ? "Block size must not exceed 256 MiB"
                                                                : "Block size must be a power of two");
    p->c = c;
    p->size = round_up(size, 512);
    p->log = round_up(c->log_size, VHDX_MIB);
    if (p->log >> 32)
        return err(ERR_INVALID, "Log size must be smaller than 4 GB");
    p->block = c->block_size ? MAX(c->block_size, VHDX_MIB) : auto_block(size);
    p->blocks = div_up(p->size, p->block);
    p->chunk = (UINT64_C(512) << 23) / p->block;
    p->entries = p->blocks ? p->blocks + (p->blocks - 1) / p->chunk : 0;
    p->bat_off = VHDX_MIB + p->log;
    p->bat = MAX(round_up(p->entries * 8, VHDX_MIB), VHDX_MIB);
    p->meta_off = p->bat_off + p->bat;
    p->data = p->meta_off + VHDX_MIB;
    if (p->bat > TABLE_MAX)
        return err_hint(err(ERR_UNSUPPORTED, "a table of %" PRIu64 " blocks is too large", p->blocks),
                        "make the blocks larger: block_size=32M");
    return NULL;
}

static Err *put_headers(Disk *d, const Plan *p)
{
    static const uint16_t creator[] = { 'L', 'y', 'r', 'e' };
    g_autofree uint8_t *id = g_malloc0(VHDX_HEADER);
    uint8_t h[VHDX_HEADER] = "head";

    memcpy(id, "vhdxfile", 8);
    memcpy(id + 8, creator, sizeof(creator));
    TRY(maker_put(d, 0, id, VHDX_HEADER));
    vhdx_new_guid(h + VH_FILE_GUID);
    vhdx_new_guid(h + VH_DATA_GUID);
    st_le16(h + VH_VERSION, 1);
    st_le32(h + VH_LOG_LENGTH, p->log);
    st_le64(h + VH_LOG_OFFSET, VHDX_MIB);
    for (unsigned i = 0; i < 2; i++) {
        st_le64(h + VH_SEQUENCE, i + 1);
        st_le32(h + VH_CHECKSUM, vhdx_checksum(h, sizeof(h), VH_CHECKSUM));
        TRY(maker_put(d, i ? VHDX_HEADER_2 : VHDX_HEADER_1, h, sizeof(h)));
    }
    return NULL;
}

static void region(uint8_t *r, const uint8_t *guid, uint64_t off, uint32_t len)
{
    memcpy(r, guid, VHDX_GUID);
    st_le64(r + 16, off);
    st_le32(r + 24, len);
    st_le32(r + 28, 1);
}

static Err *put_regions(Disk *d, const Plan *p)
{
    g_autofree uint8_t *t = g_malloc0(VHDX_REGION_TABLE);

    memcpy(t, "regi", 4);
    st_le32(t + 8, 2);
    region(t + 16, vhdx_guid_bat, p->bat_off, p->bat);
    region(t + 48, vhdx_guid_metadata, p->meta_off, VHDX_MIB);
    st_le32(t + 4, vhdx_checksum(t, VHDX_REGION_TABLE, 4));
    TRY(maker_put(d, VHDX_REGION_1, t, VHDX_REGION_TABLE));
    return maker_put(d, VHDX_REGION_2, t, VHDX_REGION_TABLE);
}

/* Adds an item: its row in the table, its bytes behind it. */
static void item(uint8_t *table, const uint8_t *guid, uint32_t flags, const void *bytes, uint32_t len)
{
    unsigned i = ld_le16(table + 10);
    uint8_t *m = table + 32 + i * 32;
    uint32_t off = i ? ld_le32(m - 32 + 16) + ld_le32(m - 32 + 20) : VHDX_REGION_TABLE;

    memcpy(m, guid, VHDX_GUID);
    st_le32(m + 16, off);
    st_le32(m + 20, len);
    st_le32(m + 24, flags);
    memcpy(table + off, bytes, len);
    st_le16(table + 10, i + 1);
}

static Err *put_metadata(Disk *d, const Plan *p)
{
    enum { IS_DISK = 2, REQUIRED = 4 };
    g_autofree uint8_t *t = g_malloc0(VHDX_REGION_TABLE + 64);
    uint8_t params[8], size[8], sector[4], id[VHDX_GUID];

    memcpy(t, "metadata", 8);
    st_le32(params, p->block);
    st_le32(params + 4, p->c->subformat == SUB_FIXED);
    st_le64(size, p->size);
    st_le32(sector, 512);
    vhdx_new_guid(id);
    item(t, vhdx_guid_file_parameters, REQUIRED, params, sizeof(params));
    item(t, vhdx_guid_disk_size, IS_DISK | REQUIRED, size, sizeof(size));
    item(t, vhdx_guid_disk_id, IS_DISK | REQUIRED, id, sizeof(id));
    item(t, vhdx_guid_logical_sector, IS_DISK | REQUIRED, sector, sizeof(sector));
    item(t, vhdx_guid_physical_sector, IS_DISK | REQUIRED, sector, sizeof(sector));
    return maker_put(d, p->meta_off, t, VHDX_REGION_TABLE + 64);
}

static Err *put_bat(Disk *d, const Plan *p)
{
    bool fixed = p->c->subformat == SUB_FIXED;
    uint64_t len = p->entries * 8;

    if (!len || (!fixed && !p->c->block_state_zero))
        return NULL;
    g_autofree uint8_t *bat = try_alloc(len, 1);
    if (!bat)
        return err_errno(ENOMEM, "the table of %" PRIu64 " blocks", p->blocks);
    for (uint64_t i = 0; i < p->blocks; i++)
        st_le64(bat + (i + i / p->chunk) * 8, fixed ? (p->data + i * p->block) | BLOCK_PRESENT : BLOCK_ZERO);
    return maker_put(d, p->bat_off, bat, len);
}

Err *vhdx_check_create(BlockGraph *g, const CreateOptions *o, const void *opts)
{
    Plan p;

    return make_plan(&p, o->size, opts);
}

Err *vhdx_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file)
{
    Plan p;
    Disk *d;
    Err *e;

    TRY(make_plan(&p, o->size, opts));
    TRY(maker_open(file, p.data + (p.c->subformat == SUB_FIXED ? p.blocks * p.block : 0), &d));
    e = put_regions(d, &p);
    if (!e)
        e = put_metadata(d, &p);
    if (!e)
        e = put_bat(d, &p);
    if (!e)
        e = put_headers(d, &p);
    return maker_close(d, e);
}
