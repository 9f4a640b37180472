/* SPDX-License-Identifier: MIT */
/*
 * Base address registers: what a function decodes, and where it shows in the
 * machine's memory. PCI Local Bus 3.0 section 6.2.5, PCI-to-PCI Bridge 1.2
 * chapter 4 for the windows of bridges.
 *
 * A BAR is seen if its function decodes it, every bridge above passes all of it
 * on, and it lies in a window of the host's. Where guests put two of them at one
 * place, one hides the other: each has a layer of its own.
 */
#include <inttypes.h>
#include <string.h>

#include "hw/core/loader.h"
#include "hw/pci/pci-priv.h"

#define NOWHERE UINT64_MAX

enum { ROM_MAX = 16 << 20, ROM_ENABLE = 1, IO_BITS = 1, MEM64 = 4, PREFETCH = 8, IO_MAX = 0x10000 };

static unsigned bar_reg(const PciDevice *d, unsigned n)
{
    return n < PCI_ROM ? R_BAR0 + 4 * n : pci_is_bridge(d) ? R_BRIDGE_ROM : R_ROM;
}

static bool is_64(PciBarKind kind)
{
    return kind == PCI_BAR_MEM64 || kind == PCI_BAR_MEM64_PREFETCH;
}

bool pci_bars_written(PciDevice *d, unsigned off, unsigned len)
{
    bool bridge = pci_is_bridge(d);

    return pci_touches(off, len, R_BAR0, bridge ? 8 : 24) || pci_touches(off, len, bar_reg(d, PCI_ROM), 4) ||
           (bridge && pci_touches(off, len, R_IO_BASE, R_INT_LINE - R_IO_BASE));
}

/* ---- making */

static Err *check_bar(const PciDevice *d, unsigned n, PciBarKind kind, uint64_t size)
{
    unsigned bars = pci_is_bridge(d) ? 2 : PCI_BARS;

    if (n >= bars || (is_64(kind) && n + 1 >= bars) || d->bars[n].kind || (n && is_64(d->bars[n - 1].kind)))
        return err(ERR_INVALID, "BAR %u is not free", n);
    if (size & (size - 1) || size < (kind == PCI_BAR_IO ? 4 : 16) || (kind == PCI_BAR_IO && size > 256) ||
        (!is_64(kind) && size > UINT64_C(1) << 31))
        return err(ERR_INVALID, "BAR %u cannot be of %" PRIu64 " bytes", n, size);
    return NULL;
}

Err *pci_bar(PciDevice *d, unsigned n, PciBarKind kind, Region *r)
{
    static const uint8_t types[] = {
        [PCI_BAR_IO] = IO_BITS, [PCI_BAR_MEM64] = MEM64, [PCI_BAR_MEM64_PREFETCH] = MEM64 | PREFETCH,
        [PCI_BAR_MEM32] = 0,
    };
    unsigned reg = bar_reg(d, n);

    TRY(check_bar(d, n, kind, r->size));
    d->bars[n] = (PciBar){ kind, r, NOWHERE };
    d->config[reg] = types[kind];
    uint64_t mask = ~(r->size - 1);
    pci_set32(d->wmask + reg, mask);
    if (is_64(kind))
        pci_set32(d->wmask + reg + 4, mask >> 32);
    return NULL;
}

/* ---- decoding */

typedef struct Window { uint64_t base, last; } Window;      /* base above last: closed */

static bool within(uint64_t a, uint64_t last, Window w)
{
    return w.base <= a && last <= w.last;
}

static Window io_window(const uint8_t *c)
{
    return (Window){
        (uint64_t)(c[R_IO_BASE] & 0xf0) << 8 | (uint64_t)pci_get16(c + R_IO_BASE_HIGH) << 16,
        (uint64_t)(c[R_IO_LIMIT] & 0xf0) << 8 | (uint64_t)pci_get16(c + R_IO_LIMIT_HIGH) << 16 | 0xfff,
    };
}

static Window mem_window(const uint8_t *c)
{
    return (Window){
        (uint64_t)(pci_get16(c + R_MEM_BASE) & 0xfff0) << 16,
        (uint64_t)(pci_get16(c + R_MEM_LIMIT) & 0xfff0) << 16 | 0xfffff,
    };
}

static Window prefetch_window(const uint8_t *c)
{
    return (Window){
        (uint64_t)(pci_get16(c + R_PREF_BASE) & 0xfff0) << 16 | (uint64_t)pci_get32(c + R_PREF_BASE_HIGH) << 32,
        (uint64_t)(pci_get16(c + R_PREF_LIMIT) & 0xfff0) << 16 | (uint64_t)pci_get32(c + R_PREF_LIMIT_HIGH) << 32 | 0xfffff,
    };
}

static bool passes(const PciDevice *bridge, bool io, uint64_t a, uint64_t last)
{
    const uint8_t *c = bridge->config;
    uint16_t command = pci_get16(c + R_COMMAND);

    if (io)
        return command & CMD_IO && within(a, last, io_window(c));
    return command & CMD_MEMORY && (within(a, last, mem_window(c)) || within(a, last, prefetch_window(c)));
}

static bool host_has(const PciHostConfig *h, bool io, uint64_t a, uint64_t last)
{
    if (io)
        return h->pio_size && last < h->pio_size;
    return (h->mmio_size && within(a, last, (Window){ h->mmio, h->mmio + (h->mmio_size - 1) })) ||
           (h->high_size && within(a, last, (Window){ h->high, h->high + (h->high_size - 1) }));
}

/* The address in a BAR's register; NOWHERE if the function does not decode it. */
static uint64_t decoded(const PciDevice *d, unsigned n)
{
    const PciBar *b = &d->bars[n];
    uint16_t command = pci_get16(d->config + R_COMMAND);
    unsigned reg = bar_reg(d, n);
    uint64_t val = pci_get32(d->config + reg);

    if (!(command & (b->kind == PCI_BAR_IO ? CMD_IO : CMD_MEMORY)))
        return NOWHERE;
    if (n == PCI_ROM && !(val & ROM_ENABLE))
        return NOWHERE;
    if (is_64(b->kind))
        val |= (uint64_t)pci_get32(d->config + reg + 4) << 32;
    val &= ~(b->region->size - 1);
    /* Memory at 0 is a BAR that nobody has set yet; port 0 is a good one, and the first that EDK2 gives away. */
    return val || b->kind == PCI_BAR_IO ? val : NOWHERE;
}

/* Where in the machine's memory the BAR shows. */
static uint64_t place_of(const PciDevice *d, unsigned n)
{
    bool io = d->bars[n].kind == PCI_BAR_IO;
    uint64_t a = decoded(d, n), last;

    if (a == NOWHERE || d->gone || __builtin_add_overflow(a, d->bars[n].region->size - 1, &last))
        return NOWHERE;
    for (const PciBus *b = d->bus; b->bridge; b = b->bridge->bus) {
        if (b->off || b->bridge->gone || !passes(b->bridge, io, a, last))
            return NOWHERE;
    }
    const PciHostConfig *h = &d->bus->host->c;
    if (!host_has(h, io, a, last))
        return NOWHERE;
    return io ? h->pio + a : a;
}

static void remap_bar(PciDevice *d, unsigned n)
{
    Space *mem = d->dev.vm->mem;
    PciBar *b = &d->bars[n];
    uint64_t at = place_of(d, n);

    if (at == b->at)
        return;
    if (b->at != NOWHERE)
        space_unmap(mem, b->region);
    b->at = at;
    if (at == NOWHERE)
        return;
    int layer = 1 + (int)(((d->bus->id << 8 | d->devfn) << 3) | n);
    Err *e = space_map(mem, at, b->region, layer);
    if (e) {                            /* no two BARs have one layer, and it fits into the window */
        b->at = NOWHERE;
        err_report(e);
    }
}

void pci_remap(PciDevice *d)
{
    Space *mem = d->dev.vm->mem;

    space_edit(mem);
    for (unsigned n = 0; n <= PCI_ROM; n++) {
        if (d->bars[n].kind)
            remap_bar(d, n);
    }
    if (d->secondary)
        pci_each(d->secondary, pci_remap);
    space_commit(mem);
}

void pci_unmap(PciDevice *d)
{
    d->gone = true;
    pci_remap(d);
}

/* ---- expansion ROM */

static uint64_t rom_read(void *opaque, uint64_t off, unsigned size)
{
    const PciDevice *d = opaque;
    uint64_t val = 0;

    memcpy(&val, d->rom + off, size);
    return GUINT64_FROM_LE(val);
}

static const IoOps rom_io = { .read = rom_read };

static Err *rom_size(const PciDevice *d, const Blob *b, uint64_t *size)
{
    for (*size = 2048; *size < b->len; *size *= 2)
        ;
    if (d->romsize == UINT32_MAX)
        return NULL;
    if (d->romsize & (d->romsize - 1) || d->romsize < *size || d->romsize > ROM_MAX)
        return err(ERR_INVALID, "romsize=%" PRIu32 ": it is a power of two from %" PRIu64 " (what the file takes) to %d",
                   d->romsize, *size, ROM_MAX);
    *size = d->romsize;
    return NULL;
}

Err *pci_rom_load(PciDevice *d)
{
    uint64_t size;
    Blob b;

    if (!d->rombar || !d->romfile || !*d->romfile)
        return NULL;
    TRY(err_in(file_read(d->romfile, ROM_MAX, &b), "romfile"));
    Err *e = rom_size(d, &b, &size);
    if (!e) {
        d->rom = g_malloc(size);
        memset(d->rom, 0xff, size);
        memcpy(d->rom, b.data, b.len);
        d->rom_region = (Region){ .name = "pci rom", .kind = REGION_IO, .size = size, .ops = &rom_io, .dev = d, .nolock = true };
        d->bars[PCI_ROM] = (PciBar){ PCI_BAR_MEM32, &d->rom_region, NOWHERE };
        pci_set32(d->wmask + bar_reg(d, PCI_ROM), (uint32_t)~(size - 1) | ROM_ENABLE);
    }
    blob_free(&b);
    return err_in(e, "romfile '%s'", d->romfile);
}
