/* SPDX-License-Identifier: MIT */
/*
 * The fw_cfg device, memory-mapped with DMA, after its public specification
 * (QEMU's docs/specs/fw_cfg). Register layout: data at 0 (1 to 8 bytes, in the item's
 * order), selector at 8 (16 bits, big-endian), DMA address at 16 (64 bits,
 * big-endian; writing its low half starts the transfer).
 *
 * No item can be written by the guest; writing DMA reports an error.
 */
#include "hw/firm/fw_cfg.h"

#include <string.h>

#include "util/log.h"

enum {
    R_DATA = 0, R_SELECTOR = 8, R_DMA = 16, FW_CFG_SIZE = 24,
    DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16,
    KEY_MASK = 0x3fff,                  /* without the "architecture's own" and "write" bits */
    FILE_SLOTS = 32, ITEMS = FW_CFG_FILE_FIRST + FILE_SLOTS, NAME_SIZE = 56,
};
static const uint8_t dma_signature[8] = "QEMU CFG";

typedef struct Item { uint8_t *bytes; uint32_t len; } Item;

struct FwCfg {
    Device dev;
    Region io;
    Item items[ITEMS];
    uint32_t files;
    GByteArray *dir;                    /* entries of the file directory, without the count */
    uint16_t selected;
    uint32_t at;                        /* next byte of the selected item */
    uint64_t dma;                       /* address register */
};

/* As it lies in guest memory. */
typedef struct DmaRequest { uint32_t control, length; uint64_t address; } DmaRequest;

static const Item *selected(const FwCfg *f)
{
    static const Item nothing;

    return f->selected < ITEMS ? &f->items[f->selected] : &nothing;
}

static void select_item(FwCfg *f, uint16_t key)
{
    f->selected = key & KEY_MASK;
    if (key & ~KEY_MASK)
        f->selected = UINT16_MAX;       /* none of those */
    f->at = 0;
}

/* Up to `len` bytes of the selected item; behind its end there are none. */
static uint32_t available(const FwCfg *f, uint32_t len)
{
    const Item *i = selected(f);

    return f->at >= i->len ? 0 : MIN(len, i->len - f->at);
}

static uint64_t read_data(FwCfg *f, unsigned size)
{
    uint32_t n = available(f, size);
    uint64_t val = 0;

    for (uint32_t i = 0; i < n; i++)
        val |= (uint64_t)selected(f)->bytes[f->at + i] << i * 8;
    f->at += n;
    return val;
}

/* ---- DMA */

/* Copies the item to guest memory, and zeros behind the item's end. */
static bool dma_read(FwCfg *f, uint64_t addr, uint32_t len)
{
    static const uint8_t zeros[4096];
    Space *mem = f->dev.vm->mem;
    uint32_t n = available(f, len);

    if (n && space_write(mem, addr, selected(f)->bytes + f->at, n) != MEM_OK)
        return false;
    f->at += n;
    for (uint32_t done = n; done < len;) {
        uint32_t piece = MIN(len - done, sizeof(zeros));

        if (space_write(mem, addr + done, zeros, piece) != MEM_OK)
            return false;
        done += piece;
    }
    return true;
}

static bool dma_do(FwCfg *f, const DmaRequest *r)
{
    uint32_t control = GUINT32_FROM_BE(r->control), len = GUINT32_FROM_BE(r->length);

    if (control & DMA_SELECT)
        select_item(f, control >> 16);
    if (control & DMA_READ)
        return dma_read(f, GUINT64_FROM_BE(r->address), len);
    if (control & DMA_WRITE)
        return false;
    if (control & DMA_SKIP)
        f->at += available(f, len);
    return true;
}

static void dma_start(FwCfg *f)
{
    Space *mem = f->dev.vm->mem;
    uint64_t addr = f->dma;
    DmaRequest r;
    uint32_t result = 0;

    f->dma = 0;
    if (space_read(mem, addr, &r, sizeof(r)) != MEM_OK) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("fw_cfg: there is no DMA request at %#lx", addr);
        return;
    }
    if (!dma_do(f, &r))
        result = GUINT32_TO_BE(DMA_ERROR);
    /* The guest polls for this word, so it comes last. */
    (void)space_write(mem, addr, &result, sizeof(result));
}

static void write_dma(FwCfg *f, uint64_t off, uint64_t val, unsigned size)
{
    if (size == 8) {
        f->dma = GUINT64_FROM_BE(val);
        dma_start(f);
    } else if (size == 4 && off == R_DMA) {
        f->dma = (uint64_t)GUINT32_FROM_BE(val) << 32;
    } else if (size == 4) {
        f->dma |= GUINT32_FROM_BE(val);
        dma_start(f);
    }
}

/* ---- registers */

static uint64_t fw_cfg_read(void *opaque, uint64_t off, unsigned size)
{
    uint64_t val = 0;

    if (off < R_SELECTOR)
        return read_data(opaque, size);
    if (off >= R_DMA && off + size <= FW_CFG_SIZE)
        memcpy(&val, dma_signature + (off - R_DMA), size);
    return val;
}

static void fw_cfg_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    FwCfg *f = opaque;

    if (off == R_SELECTOR && size == 2)
        select_item(f, GUINT16_FROM_BE(val));
    else if (off >= R_DMA)
        write_dma(f, off, val, size);
}

/* ---- items */

void fw_cfg_add(FwCfg *f, uint16_t key, const void *bytes, uint32_t len)
{
    Item *i = &f->items[key];

    g_assert(key < ITEMS && !i->bytes);
    *i = (Item){ g_memdup2(bytes, len), len };
}

void fw_cfg_add_u16(FwCfg *f, uint16_t key, uint16_t val)
{
    val = GUINT16_TO_LE(val);
    fw_cfg_add(f, key, &val, sizeof(val));
}

Err *fw_cfg_add_file(FwCfg *f, const char *name, const void *bytes, uint32_t len)
{
    struct { uint32_t size; uint16_t select, reserved; char name[NAME_SIZE]; } row = { 0 };

    if (f->files == FILE_SLOTS)
        return err(ERR_INVALID, "fw_cfg file '%s': there are %d files already", name, FILE_SLOTS);
    if (strlen(name) >= NAME_SIZE)
        return err(ERR_INVALID, "fw_cfg file '%s': the name is longer than %d characters", name, NAME_SIZE - 1);
    uint16_t key = FW_CFG_FILE_FIRST + f->files++;
    fw_cfg_add(f, key, bytes, len);
    row.size = GUINT32_TO_BE(len);
    row.select = GUINT16_TO_BE(key);
    strcpy(row.name, name);
    g_byte_array_append(f->dir, (const uint8_t *)&row, sizeof(row));

    Item *dir = &f->items[FW_CFG_FILE_DIR];
    uint32_t count = GUINT32_TO_BE(f->files);
    g_free(dir->bytes);
    dir->len = sizeof(count) + f->dir->len;
    dir->bytes = g_malloc(dir->len);
    memcpy(dir->bytes, &count, sizeof(count));
    memcpy(dir->bytes + sizeof(count), f->dir->data, f->dir->len);
    return NULL;
}

/* ---- life */

static Err *fw_cfg_realize(Device *d)
{
    FwCfg *f = (FwCfg *)d;
    static const uint8_t id[4] = { 3 };         /* little-endian: data register and DMA */
    static const uint8_t no_files[4];

    f->dir = g_byte_array_new();
    fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add(f, FW_CFG_ID, id, sizeof(id));
    fw_cfg_add(f, FW_CFG_FILE_DIR, no_files, sizeof(no_files));
    fw_cfg_add_u16(f, FW_CFG_NB_CPUS, d->vm->nvcpus);
    fw_cfg_add_u16(f, FW_CFG_MAX_CPUS, d->vm->nvcpus);
    return NULL;
}

static void fw_cfg_unrealize(Device *d)
{
    FwCfg *f = (FwCfg *)d;

    for (int i = 0; i < ITEMS; i++)
        g_free(f->items[i].bytes);
    g_byte_array_free(f->dir, true);
}

static const IoOps fw_cfg_io = { .read = fw_cfg_read, .write = fw_cfg_write, .min = 1, .max = 8 };

static const Field fw_cfg_fields[] = {
    LINK(FwCfg, io, .ops = &fw_cfg_io, .size = FW_CFG_SIZE),
    STATE(FwCfg, selected), STATE(FwCfg, at), STATE(FwCfg, dma),
    {0}
};

DEVICE(fw_cfg_mem) = {
    .name = "fw_cfg_mem", .bus = BUS_SYSTEM, .doc = "items for firmware",
    .size = sizeof(FwCfg), .fields = fw_cfg_fields, .realize = fw_cfg_realize, .unrealize = fw_cfg_unrealize,
};

Err *fw_cfg_make(Vm *vm, uint64_t base, FwCfg **out)
{
    FwCfg *f = (FwCfg *)device_new(vm, &device_fw_cfg_mem);

    *out = f;
    return device_place(&f->dev, &f->io, base);
}
