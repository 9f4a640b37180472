/* SPDX-License-Identifier: MIT */
/*
 * The fw_cfg device, memory-mapped with DMA, after its public specification
 * (QEMU's docs/specs/fw_cfg). Register layout: data at 0 (1 to 8 bytes, in the item's
 * order), selector at 8 (16 bits, big-endian), DMA address at 16 (64 bits,
 * big-endian; writing its low half starts the transfer).
 *
 * Files have the selectors from 0x20 on in the order of their names, which is the
 * order of the directory, too. Guests write by DMA alone, and only to files made for that. Left out: items of
 * one architecture (selector bit 15), writing by the data register (gone from the specification).
 */
#include "hw/firm/fw_cfg.h"

#include <string.h>

#include "hw/core/board.h"
#include "util/log.h"

enum {
    R_DATA = 0, R_SELECTOR = 8, R_DMA = 16, FW_CFG_SIZE = 24,
    DMA_ERROR = 1, DMA_READ = 2, DMA_SKIP = 4, DMA_SELECT = 8, DMA_WRITE = 16,
    KEY_MASK = 0x3fff,                  /* without the "architecture's own" and "write" bits */
    FILES_MAX = 1024, NAME_SIZE = 56,
};
static const uint8_t dma_signature[8] = "QEMU CFG";

typedef struct Item { uint8_t *bytes; uint32_t len; } Item;

typedef struct File {
    char *name;
    Item item;
    bool listed;                        /* one that is made at reset may be missing */
    FwCfgMake make; void *make_opaque;  /* NULL: it never changes */
    bool writable;
    FwCfgWritten written; void *written_opaque;
} File;

struct FwCfg {
    Device dev;
    Region io;
    Item items[FW_CFG_FILE_FIRST];
    GPtrArray *files;                   /* File *, by name; the first has FW_CFG_FILE_FIRST */
    uint16_t selected;
    uint32_t at;                        /* next byte of the selected item */
    uint64_t dma;                       /* address register */
};

/* As it lies in guest memory. */
typedef struct DmaRequest { uint32_t control, length; uint64_t address; } DmaRequest;

static File *selected_file(const FwCfg *f)
{
    unsigned i = f->selected - FW_CFG_FILE_FIRST;

    return f->selected >= FW_CFG_FILE_FIRST && i < f->files->len ? f->files->pdata[i] : NULL;
}

static const Item *selected(const FwCfg *f)
{
    static const Item nothing;
    const File *file = selected_file(f);

    if (file)
        return &file->item;
    return f->selected < FW_CFG_FILE_FIRST ? &f->items[f->selected] : &nothing;
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

/* All of it lies within a file that may be written, or nothing happens. */
static bool dma_write(FwCfg *f, uint64_t addr, uint32_t len)
{
    File *file = selected_file(f);

    if (!file || !file->writable || available(f, len) != len)
        return false;
    if (len && space_read(f->dev.vm->mem, addr, file->item.bytes + f->at, len) != MEM_OK)
        return false;
    f->at += len;
    if (file->written)
        file->written(file->written_opaque, file->item.bytes, file->item.len);
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
        return dma_write(f, GUINT64_FROM_BE(r->address), len);
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

    g_assert(key < FW_CFG_FILE_FIRST && !i->bytes);
    *i = (Item){ g_memdup2(bytes, len), len };
}

void fw_cfg_add_u16(FwCfg *f, uint16_t key, uint16_t val)
{
    val = GUINT16_TO_LE(val);
    fw_cfg_add(f, key, &val, sizeof(val));
}

/* ---- files */

static void write_dir(FwCfg *f)
{
    struct { uint32_t size; uint16_t select, reserved; char name[NAME_SIZE]; } row;
    GByteArray *dir = g_byte_array_new();
    uint32_t count = 0;

    g_byte_array_append(dir, (const uint8_t *)&count, sizeof(count));
    for (guint i = 0; i < f->files->len; i++) {
        const File *file = f->files->pdata[i];

        if (!file->listed)
            continue;
        count++;
        memset(&row, 0, sizeof(row));
        row.size = GUINT32_TO_BE(file->item.len);
        row.select = GUINT16_TO_BE(FW_CFG_FILE_FIRST + i);
        strcpy(row.name, file->name);
        g_byte_array_append(dir, (const uint8_t *)&row, sizeof(row));
    }
    count = GUINT32_TO_BE(count);
    memcpy(dir->data, &count, sizeof(count));

    Item *item = &f->items[FW_CFG_FILE_DIR];
    g_free(item->bytes);
    item->len = dir->len;
    item->bytes = g_byte_array_free(dir, false);
}

static void free_file(gpointer p)
{
    File *file = p;

    g_free(file->name);
    g_free(file->item.bytes);
    g_free(file);
}

static Err *new_file(FwCfg *f, const char *name, const void *bytes, uint32_t len, File **out)
{
    guint at = 0;

    if (f->files->len == FILES_MAX)
        return err(ERR_INVALID, "fw_cfg file '%s': there are %d files already", name, FILES_MAX);
    if (!*name || strlen(name) >= NAME_SIZE)
        return err(ERR_INVALID, "fw_cfg file '%s': a name has 1 to %d characters", name, NAME_SIZE - 1);
    while (at < f->files->len && strcmp(((File *)f->files->pdata[at])->name, name) < 0)
        at++;
    if (at < f->files->len && !strcmp(((File *)f->files->pdata[at])->name, name))
        return err(ERR_INVALID, "fw_cfg file '%s' is there already", name);
    File *file = g_new0(File, 1);
    file->name = g_strdup(name);
    file->item = (Item){ g_memdup2(bytes, len), len };
    file->listed = true;
    g_ptr_array_insert(f->files, at, file);
    write_dir(f);
    *out = file;
    return NULL;
}

Err *fw_cfg_add_file(FwCfg *f, const char *name, const void *bytes, uint32_t len)
{
    File *file;

    return new_file(f, name, bytes, len, &file);
}

Err *fw_cfg_add_writable_file(FwCfg *f, const char *name, const void *bytes, uint32_t len,
                              FwCfgWritten written, void *opaque)
{
    File *file;

    TRY(new_file(f, name, bytes, len, &file));
    file->writable = true;
    file->written = written;
    file->written_opaque = opaque;
    return NULL;
}

Err *fw_cfg_add_made_file(FwCfg *f, const char *name, FwCfgMake make, void *opaque)
{
    File *file;

    TRY(new_file(f, name, NULL, 0, &file));
    file->listed = false;
    file->make = make;
    file->make_opaque = opaque;
    write_dir(f);
    return NULL;
}

static void make_file(File *file)
{
    g_free(file->item.bytes);
    file->item = (Item){ 0 };
    file->item.bytes = file->make(file->make_opaque, &file->item.len);
    file->listed = file->item.bytes != NULL;
}

/* ---- life */

static void fw_cfg_reset(Device *d)
{
    FwCfg *f = (FwCfg *)d;

    for (guint i = 0; i < f->files->len; i++)
        if (((File *)f->files->pdata[i])->make)
            make_file(f->files->pdata[i]);
    write_dir(f);
}

static Err *fw_cfg_realize(Device *d)
{
    FwCfg *f = (FwCfg *)d;
    static const uint8_t id[4] = { 3 };         /* little-endian: data register and DMA */

    f->files = g_ptr_array_new_with_free_func(free_file);
    write_dir(f);
    fw_cfg_add(f, FW_CFG_SIGNATURE, "QEMU", 4);
    fw_cfg_add(f, FW_CFG_ID, id, sizeof(id));
    fw_cfg_add_u16(f, FW_CFG_NB_CPUS, d->vm->nvcpus);
    fw_cfg_add_u16(f, FW_CFG_MAX_CPUS, d->vm->nvcpus);
    return NULL;
}

static void fw_cfg_unrealize(Device *d)
{
    FwCfg *f = (FwCfg *)d;

    for (int i = 0; i < FW_CFG_FILE_FIRST; i++)
        g_free(f->items[i].bytes);
    g_ptr_array_free(f->files, true);
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
    .reset = fw_cfg_reset,
};

Err *fw_cfg_make(Vm *vm, uint64_t base, FwCfg **out)
{
    FwCfg *f = (FwCfg *)device_new(vm, &device_fw_cfg_mem);

    *out = machine_of(vm)->fw_cfg = f;
    return device_place(&f->dev, &f->io, base);
}
