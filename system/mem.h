/* SPDX-License-Identifier: MIT */
/*
 * Memory: address spaces, what is mapped in them, and RAM.
 *
 * A Space holds mappings of Regions; `space_commit` makes one flat sorted array
 * of them (a Flat) and publishes it; readers take it without a lock. A higher
 * layer hides a lower one. Mappings are edited under the machine lock only.
 */
#ifndef SYSTEM_MEM_H
#define SYSTEM_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

enum { PAGE_BITS = 12, PAGE_SIZE = 1 << PAGE_BITS };

typedef struct Vm Vm;

/* ---- RAM: page-aligned host memory, shared with nobody else */
enum PageFlags {
    PAGE_CODE = 1,          /* holds bytes that were translated: stores must be seen */
    PAGE_DISPLAY = 2, PAGE_MIGRATE = 4,     /* a dirty watcher waits for the first store */
    PAGE_WRITTEN = 8,       /* some vCPU may hold a write tag for it */
    PAGE_DEBUG = 16,        /* a debugger waits for stores that are no vCPU's */
    PAGE_WATCH = PAGE_CODE | PAGE_DISPLAY | PAGE_MIGRATE,
};
typedef struct RamBlock {
    char *name;
    uint8_t *host;
    uint64_t size;          /* bytes, a multiple of PAGE_SIZE */
    bool readonly;          /* for the guest (ROM) */
    bool in_core_dumps, mergeable;      /* ram_advise's */
    bool of_file;           /* parts are mapped privately from a file (ram_of_file) */
    unsigned discards;      /* of those that made a mapping of their own */
    _Atomic uint8_t *pages; /* PageFlags of each page */
    void *code;             /* accel/jit's per-page records; NULL until code is translated from it */
    struct DebugDma *debug; /* accel/debug_dma.c's, of the pages with PAGE_DEBUG */
    struct RamBlock *next;
} RamBlock;
Err *ram_new(Vm *vm, const char *name, uint64_t size, RamBlock **out);    /* zeroed, lazily */
void ram_free(RamBlock *b);
void ram_advise(RamBlock *b, bool in_core_dumps, bool mergeable);   /* to the host's kernel */
void ram_of_file(RamBlock *b);          /* parts of it have just been mapped from a file, privately */
/* Whole pages become zeros that take no memory; watchers are the caller's to tell. Machine lock. False: they stay as they are. */
bool ram_discard(RamBlock *b, uint64_t off, uint64_t len);
MUST_USE Err *ram_clear(RamBlock *b);   /* zeros that take no memory; watchers are not told. vCPUs and devices rest */
/* Somebody other than a vCPU's inline path stored there: tell every watcher (code, dirty logs). Any thread. */
void ram_touch(RamBlock *b, uint64_t off, uint64_t len);
/* The accelerator's: when it returns, every store of a vCPU heeds the watchers that were set before. Any thread, without the lock. */
extern void (*ram_revoke_stores)(Vm *vm);
/* accel/jit's hook, called by ram_touch for pages with PAGE_CODE. */
extern void (*ram_code_touched)(RamBlock *b, uint64_t off, uint64_t len);
/* accel/debug_dma.c's hook, called by ram_touch for pages with PAGE_DEBUG. */
extern void (*ram_debug_touched)(RamBlock *b, uint64_t off, uint64_t len);

/* ---- regions */
typedef struct IoOps {
    uint64_t (*read )(void *dev, uint64_t off, unsigned size);
    void     (*write)(void *dev, uint64_t off, uint64_t val, unsigned size);
    uint8_t  min, max;      /* sizes in bytes that the device takes; the core splits or widens the rest. 0: any 1..8 */
} IoOps;

typedef enum RegionKind { REGION_RAM, REGION_ROM, REGION_IO } RegionKind;
typedef struct Region {
    const char *name;
    RegionKind kind;
    uint64_t size;
    RamBlock *ram; uint64_t ram_off;    /* RAM, ROM */
    const IoOps *ops; void *dev;        /* IO; ROM may have ops for writes (flash) */
    bool nolock;                        /* ops may be called without the machine lock */
} Region;

typedef struct FlatRange { uint64_t base, last; Region *region; uint64_t off; } FlatRange;
typedef struct Flat { uint64_t serial /* one more for each that is published */; int n; FlatRange r[]; } Flat;

typedef struct Space Space;
Space *space_new(Vm *vm, const char *name);
void space_free(Space *s);
void space_edit(Space *s);              /* nests */
void space_commit(Space *s);            /* the outermost publishes, and calls the watchers */
Err *space_map(Space *s, uint64_t base, Region *r, int layer);      /* the Region stays the caller's */
void space_unmap(Space *s, Region *r);
const Flat *space_flat(const Space *s); /* current array; valid until the next safepoint of the caller */
const FlatRange *flat_find(const Flat *f, uint64_t addr);       /* NULL: nothing there */
void space_watch(Space *s, void (*changed)(void *opaque, const Flat *was, const Flat *now), void *opaque);
struct _GString;
/* Says more of a region, at its line's end. */
typedef void (*RegionNote)(void *opaque, const Region *r, struct _GString *out);
char *space_print(const Space *s, RegionNote note /* or NULL */, void *opaque);     /* "info mtree -f": what shows where; g_free it */
char *space_print_maps(const Space *s, RegionNote note, void *opaque);  /* "info mtree": all mappings, with their layers; machine lock */
void space_each(const Space *s, void (*fn)(void *opaque, uint64_t base, const Region *r), void *opaque);    /* mapping; machine lock */

/*
 * Access by physical address, any size, any thread; used by DMA, loaders, page walks. Memory only: where a
 * device is it is MEM_DENIED, so that no DMA ever enters a device. Aligned accesses of 1, 2, 4, 8 bytes are atomic.
 */
typedef enum MemResult { MEM_OK, MEM_NOTHING /* unmapped */, MEM_DENIED } MemResult;
MemResult space_read (Space *s, uint64_t addr, void *buf, uint64_t len);
MemResult space_write(Space *s, uint64_t addr, const void *buf, uint64_t len);     /* ROM: dropped; see rom_write */
MemResult space_io   (Space *s, uint64_t addr, uint64_t *val, unsigned size, bool write);    /* one access of a vCPU, 1..8 bytes */
/* Host pointer if [addr, addr+len) is RAM in one piece; else NULL. *out: block and offset, may be NULL. */
void *space_ram(Space *s, uint64_t addr, uint64_t len, bool write, RamBlock **block, uint64_t *off);
Err *rom_write(Space *s, uint64_t addr, const void *buf, uint64_t len);    /* loaders: into RAM and ROM alike */

#endif
