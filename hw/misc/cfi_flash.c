/* SPDX-License-Identifier: MIT */
/*
 * NOR flash with the Intel command set (JEDEC JESD68.01 "Common Flash
 * Interface"; Intel 28F128J3 data sheet), as two 16-bit chips side by side on a
 * 32-bit bus. Commands are in the low byte; both chips get the same.
 *
 * While it is in read-array mode the guest reads RAM. Any other mode puts the
 * register window over it. Its content outlives resets. Without a store behind it, it
 * starts as zeros, not as ones: the guest erases what it wants to program, and memory
 * that nobody uses costs nothing. With one, each operation has reached the store before
 * the guest reads that it is done: firmware keeps its variables whole over a loss of power by
 * the order of its writes. Timing, suspend and block locking are left out: every
 * operation is done at once, every block is unlocked.
 */
#include "hw/misc/misc.h"

#include <stdatomic.h>
#include <inttypes.h>
#include <string.h>

#include "util/log.h"
#include "util/str.h"

enum {
    CHIPS = 2, BUS_BYTES = 4,
    CHIP_SIZE_LOG2 = 24,                /* 16 MiB each */
    BLOCK_SIZE = 256 * 1024,            /* of both chips together */
    BUFFER_LOG2 = 11,                   /* of a chip's write buffer in bytes */
    BUFFER_SIZE = CHIPS << BUFFER_LOG2,
    BUFFER_WORDS = BUFFER_SIZE / BUS_BYTES,
    MAKER = 0x89, DEVICE_ID = 0x18,

    CMD_PROGRAM2 = 0x10, CMD_ERASE = 0x20, CMD_PROGRAM = 0x40, CMD_CLEAR_STATUS = 0x50, CMD_LOCK = 0x60,
    CMD_READ_STATUS = 0x70, CMD_READ_ID = 0x90, CMD_QUERY = 0x98, CMD_CONFIRM = 0xd0, CMD_BUFFER = 0xe8,
    CMD_READ_ARRAY = 0xff,

    SR_READY = 0x80, SR_ERASE_ERROR = 0x20, SR_PROGRAM_ERROR = 0x10,
};

typedef enum FlashMode { MODE_ARRAY, MODE_STATUS, MODE_ID, MODE_QUERY } FlashMode;
/* What the next write is. */
typedef enum FlashWait { WAIT_COMMAND, WAIT_DATA, WAIT_ERASE, WAIT_LOCK, WAIT_COUNT, WAIT_BUFFER, WAIT_BUFFER_CONFIRM } FlashWait;

typedef struct CfiFlash {
    Device dev;
    Region io;                          /* the window, over `array` when mode is not MODE_ARRAY */
    Region array;
    char *name;
    uint64_t bytes, base;
    RamBlock *ram;
    bool windowed;                      /* io is mapped */
    FlashStore store;
    bool failed;                        /* the last write to the store did: it is said once */
    uint8_t mode, wait, status;         /* FlashMode, FlashWait */
    /* The write buffer: what BUFFER_SIZE bytes of the array from buffer_base on will be. */
    uint32_t buffer_left;               /* words that WAIT_BUFFER still expects */
    uint32_t buffer_low, buffer_high;   /* the bytes in it that came; equal: none yet */
    uint64_t buffer_base;
    uint8_t buffer[BUFFER_SIZE];
} CfiFlash;

/* ---- modes */

static void set_window(CfiFlash *f, bool on)
{
    Space *mem = f->dev.vm->mem;

    if (f->windowed == on)
        return;
    f->windowed = on;
    if (on)
        err_free(space_map(mem, f->base, &f->io, 1));   /* fits, as the array does */
    else
        space_unmap(mem, &f->io);
}

static void set_mode(CfiFlash *f, FlashMode mode)
{
    f->mode = mode;
    f->wait = WAIT_COMMAND;
    set_window(f, mode != MODE_ARRAY);
}

static void wait_for(CfiFlash *f, FlashWait wait)
{
    f->wait = wait;
    f->mode = MODE_STATUS;
    set_window(f, true);
}

/* ---- reading */

static uint8_t query(uint64_t word)
{
    static const uint8_t table[] = {
        [0x10] = 'Q', 'R', 'Y', 0x01, 0x00, 0x31, 0x00, 0x00, 0x00, 0x00, 0x00, /* Intel's set; table at 0x31 */
        [0x1b] = 0x45, 0x55, 0x00, 0x00,            /* 4.5 to 5.5 V, no Vpp */
        [0x1f] = 0x07, 0x07, 0x0a, 0x00,            /* typical times: word, buffer, block, no chip erase */
        [0x23] = 0x04, 0x04, 0x04, 0x00,            /* the longest, as multiples */
        [0x27] = CHIP_SIZE_LOG2,
        [0x28] = 0x02, 0x00, BUFFER_LOG2, 0x00,     /* 8/16-bit interface; write buffer */
        [0x2c] = 1,                                 /* one erase region: */
        [0x2d] = 127, 0, (BLOCK_SIZE / CHIPS / 256) & 0xff, (BLOCK_SIZE / CHIPS / 256) >> 8,
        [0x31] = 'P', 'R', 'I', '1', '0',
        [0x3f] = 0x00,                              /* no protection fields */
    };

    return word < sizeof(table) ? table[word] : 0;
}

/* The same from both chips. */
static uint32_t lanes(uint8_t val)
{
    return val | (uint32_t)val << 16;
}

static uint64_t flash_read(void *opaque, uint64_t off, unsigned size)
{
    const CfiFlash *f = opaque;
    uint64_t word = off / BUS_BYTES;
    uint32_t val = 0;

    switch (f->mode) {
    case MODE_ARRAY:        /* a read that was on its way when the mode changed */
        memcpy(&val, f->ram->host + off, size);
        return val;
    case MODE_STATUS:
        val = lanes(f->status);
        break;
    case MODE_ID:
        val = (word & 0xff) == 0 ? lanes(MAKER) : (word & 0xff) == 1 ? lanes(DEVICE_ID) : 0;
        break;
    case MODE_QUERY:
        val = lanes(query(word));
        break;
    }
    return val >> off % BUS_BYTES * 8;
}

/* ---- programming */

/* Those bytes of the array have changed: the store shall have them. False: it has not. */
static bool changed(CfiFlash *f, uint64_t off, uint64_t len)
{
    ram_touch(f->ram, off, len);
    int e = f->store.write ? f->store.write(f->store.opaque, off, f->ram->host + off, len) : 0;

    if (e && !f->failed)
        err_note("%s: cannot write %" PRIu64 " bytes at %" PRIu64 " of what is behind it: %s; the guest is told",
                 f->name, len, off, g_strerror(-e));
    f->failed = e;
    return !e;
}

/* Programming clears bits; only erasing sets them. */
static bool program(CfiFlash *f, uint64_t off, const uint8_t *bytes, unsigned len)
{
    if (f->store.readonly)
        return false;
    for (unsigned i = 0; i < len; i++)
        f->ram->host[off + i] &= bytes[i];
    return changed(f, off, len);
}

static void program_word(CfiFlash *f, uint64_t off, uint32_t val, unsigned size)
{
    if (!program(f, off, (const uint8_t *)&val, size))
        f->status |= SR_PROGRAM_ERROR;
    f->wait = WAIT_COMMAND;
}

static void erase(CfiFlash *f, uint64_t off)
{
    off &= ~(uint64_t)(BLOCK_SIZE - 1);
    if (f->store.readonly) {
        f->status |= SR_ERASE_ERROR;
        return;
    }
    memset(f->ram->host + off, 0xff, BLOCK_SIZE);
    if (!changed(f, off, BLOCK_SIZE))
        f->status |= SR_ERASE_ERROR;
}

static void buffer_begin(CfiFlash *f, uint32_t count)
{
    f->buffer_low = f->buffer_high = 0;
    f->buffer_left = (count & 0xffff) + 1;
    f->wait = WAIT_BUFFER;
    if (f->buffer_left > BUFFER_WORDS) {
        f->status |= SR_PROGRAM_ERROR;
        f->wait = WAIT_COMMAND;
        f->buffer_left = 0;
    }
}

/* The first word says which part of the array is meant; all are in it. */
static void buffer_put(CfiFlash *f, uint64_t off, uint32_t val, unsigned size)
{
    if (f->buffer_low == f->buffer_high) {
        f->buffer_base = off & ~(uint64_t)(BUFFER_SIZE - 1);
        f->buffer_low = f->buffer_high = off - f->buffer_base;
        memset(f->buffer, 0xff, BUFFER_SIZE);
    }
    uint64_t at = off - f->buffer_base;
    if (off < f->buffer_base || at + size > BUFFER_SIZE) {
        f->status |= SR_PROGRAM_ERROR;
        f->wait = WAIT_COMMAND;
        return;
    }
    memcpy(f->buffer + at, &val, size);
    f->buffer_low = MIN(f->buffer_low, at);
    f->buffer_high = MAX(f->buffer_high, at + size);
    if (!--f->buffer_left)
        f->wait = WAIT_BUFFER_CONFIRM;
}

static void buffer_end(CfiFlash *f, uint8_t cmd)
{
    if (cmd != CMD_CONFIRM ||
        !program(f, f->buffer_base + f->buffer_low, f->buffer + f->buffer_low, f->buffer_high - f->buffer_low))
        f->status |= SR_PROGRAM_ERROR;
    f->wait = WAIT_COMMAND;
}

/* ---- commands */

static void command(CfiFlash *f, uint8_t cmd)
{
    switch (cmd) {
    case CMD_READ_ARRAY: case 0xf0: case 0x00:
        set_mode(f, MODE_ARRAY);
        break;
    case CMD_READ_ID:
        set_mode(f, MODE_ID);
        break;
    case CMD_QUERY:
        set_mode(f, MODE_QUERY);
        break;
    case CMD_READ_STATUS:
        set_mode(f, MODE_STATUS);
        break;
    case CMD_CLEAR_STATUS:
        f->status = SR_READY;
        break;
    case CMD_PROGRAM: case CMD_PROGRAM2:
        wait_for(f, WAIT_DATA);
        break;
    case CMD_ERASE:
        wait_for(f, WAIT_ERASE);
        break;
    case CMD_LOCK:
        wait_for(f, WAIT_LOCK);
        break;
    case CMD_BUFFER:
        wait_for(f, WAIT_COUNT);
        break;
    default:
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("%s: command %#x is not known", f->name, cmd);
        set_mode(f, MODE_ARRAY);
    }
}

static void flash_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    CfiFlash *f = opaque;

    switch (f->wait) {
    case WAIT_COMMAND:
        command(f, val);
        break;
    case WAIT_DATA:
        program_word(f, off, val, size);
        break;
    case WAIT_ERASE:
        if ((uint8_t)val == CMD_CONFIRM)
            erase(f, off);
        else
            f->status |= SR_ERASE_ERROR | SR_PROGRAM_ERROR;     /* a wrong sequence */
        f->wait = WAIT_COMMAND;
        break;
    case WAIT_LOCK:
        f->wait = WAIT_COMMAND;
        break;
    case WAIT_COUNT:
        buffer_begin(f, val);
        break;
    case WAIT_BUFFER:
        buffer_put(f, off, val, size);
        break;
    case WAIT_BUFFER_CONFIRM:
        buffer_end(f, val);
        break;
    }
}

/* ---- life */

static const IoOps flash_io = { .read = flash_read, .write = flash_write, .min = 1, .max = 4 };

/* What is all zeros stays memory that nobody has touched. */
static int load(CfiFlash *f)
{
    static const uint8_t zeros[BLOCK_SIZE];
    g_autofree uint8_t *block = g_malloc(BLOCK_SIZE);

    for (uint64_t off = 0; f->store.read && off < f->bytes; off += BLOCK_SIZE) {
        int e = f->store.read(f->store.opaque, off, block, BLOCK_SIZE);

        if (e)
            return e;
        if (memcmp(block, zeros, BLOCK_SIZE))
            memcpy(f->ram->host + off, block, BLOCK_SIZE);
    }
    return 0;
}

static Err *flash_realize(Device *d)
{
    CfiFlash *f = (CfiFlash *)d;

    if (!f->bytes || f->bytes % BLOCK_SIZE)
        return err(ERR_INVALID, "its size must be a multiple of %d", BLOCK_SIZE);
    TRY(ram_new(d->vm, f->name, f->bytes, &f->ram));
    f->array = (Region){ .name = f->name, .kind = REGION_ROM, .size = f->bytes, .ram = f->ram,
                         .ops = &flash_io, .dev = f };
    f->io.size = f->bytes;
    f->io.name = f->name;
    int e = load(f);
    return e ? err_errno(-e, "cannot read what '%s' holds", f->name) : NULL;
}

static void flash_unrealize(Device *d)
{
    CfiFlash *f = (CfiFlash *)d;

    if (f->store.free)
        f->store.free(f->store.opaque);
}

static void flash_reset(Device *d)
{
    CfiFlash *f = (CfiFlash *)d;

    f->status = SR_READY;
    set_mode(f, MODE_ARRAY);
}

/*
 * Its bytes came with the machine's memory; what is behind it gets those that differ, so that it holds what the guest
 * sees from now on, whatever kind of file it is.
 */
static Err *write_back(CfiFlash *f)
{
    g_autofree uint8_t *block = g_malloc(BLOCK_SIZE);

    for (uint64_t off = 0; f->store.write && !f->store.readonly && off < f->bytes; off += BLOCK_SIZE) {
        int e = f->store.read(f->store.opaque, off, block, BLOCK_SIZE);

        if (!e && memcmp(block, f->ram->host + off, BLOCK_SIZE))
            e = f->store.write(f->store.opaque, off, f->ram->host + off, BLOCK_SIZE);
        if (e)
            return err_errno(-e, "cannot bring what is behind '%s' up to date", f->name);
    }
    return NULL;
}

static Err *flash_loaded(Device *d)
{
    CfiFlash *f = (CfiFlash *)d;

    if (f->wait != WAIT_BUFFER && f->buffer_left > BUFFER_WORDS)
        f->buffer_left = 0;             /* older builds left there what a guest had asked for in vain */
    if (f->mode > MODE_QUERY || f->wait > WAIT_BUFFER_CONFIRM || f->buffer_low > BUFFER_SIZE || f->buffer_high > BUFFER_SIZE ||
        f->buffer_low > f->buffer_high || f->buffer_left > BUFFER_WORDS ||
        (f->wait == WAIT_BUFFER && !f->buffer_left) || f->buffer_base % BUFFER_SIZE || f->buffer_base >= f->bytes)
        return err(ERR_INVALID, "flash '%s' was saved in a state that makes no sense", f->name);
    set_window(f, f->mode != MODE_ARRAY);
    return write_back(f);
}

static const Field flash_fields[] = {
    PROP(CfiFlash, name, .def = "flash", .doc = "of its memory"),
    PROP(CfiFlash, bytes, .as = "size", .units = true, .def = "32M", .doc = "of both chips"),
    LINK(CfiFlash, io, .ops = &flash_io),
    TRANSIENT(CfiFlash, store), TRANSIENT(CfiFlash, failed),
    STATE(CfiFlash, mode), STATE(CfiFlash, wait), STATE(CfiFlash, status),
    STATE(CfiFlash, buffer_left), STATE(CfiFlash, buffer_low), STATE(CfiFlash, buffer_high),
    STATE(CfiFlash, buffer_base), STATES(CfiFlash, buffer),
    {0}
};

DEVICE(cfi_flash) = {
    .name = "cfi.pflash01", .bus = BUS_SYSTEM, .doc = "NOR flash with the Intel command set",
    .size = sizeof(CfiFlash), .fields = flash_fields,
    .realize = flash_realize, .unrealize = flash_unrealize, .reset = flash_reset,
    .loaded = flash_loaded,
};

/* A file for another flash, or half a copy, would be read as garbage by the guest, or be cut off. */
static Err *check_size(const char *name, uint64_t size, uint64_t have)
{
    if (have == size)
        return NULL;
    g_autofree char *got = size_to_text(have), *want = size_to_text(size);
    Err *e = err(ERR_INVALID, "%s has %s, and what was given for it has %s", name, want, got);
    if (have > size)
        return err_hint(e, "It has to be exactly as large: is it firmware for another machine?");
    return err_hint(e, "It has to be exactly as large: truncate -s %" PRIu64 " FILE, or lyre-img resize, fills it up.",
                    size);
}

Err *cfi_flash_make(Vm *vm, const char *name, uint64_t base, uint64_t size, const FlashStore *store)
{
    Err *e = store ? check_size(name, size, store->size) : NULL;

    if (e) {
        if (store->free)
            store->free(store->opaque);
        return e;
    }
    CfiFlash *f = (CfiFlash *)device_new(vm, &device_cfi_flash);
    g_free(f->name);
    f->name = g_strdup(name);
    f->base = base;
    f->bytes = size;
    if (store)
        f->store = *store;
    return device_place(&f->dev, &f->array, base);
}
