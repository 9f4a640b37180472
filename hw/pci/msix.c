/* SPDX-License-Identifier: MIT */
/*
 * MSI-X: PCI Local Bus 3.0 section 6.8.2. The table and the pending bits are in
 * a BAR of their own, in host memory that DMA does not see. A lock of its own
 * guards them, so that any thread may notify; a message is sent under it, so
 * that none comes after the guest masked the vector.
 */
#include <string.h>

#include "hw/pci/pci-priv.h"
#include "system/msi.h"
#include "system/stream.h"
#include "util/log.h"

enum {
    X_CONTROL = 2, X_TABLE = 4, X_PBA = 8, X_SIZE = 12, CTRL_FUNCTION_MASK = 0x4000, CTRL_ENABLE = 0x8000,
    MSIX_MAX = 2048, ENTRY = 16, E_ADDR = 0, E_DATA = 8, E_CONTROL = 12, ENTRY_MASKED = 1, PBA_MIN = 0x800,
};

struct Msix {
    pthread_mutex_t lock;       /* a leaf but for what msi_send takes */
    PciDevice *d;
    Region region;
    unsigned n, pba, pba_size;  /* vectors; offset and bytes of the pending bits */
    bool on, masked;            /* MSI-X Enable, Function Mask */
    uint8_t *table;             /* n entries, little-endian */
    uint64_t *pending;          /* a bit each */
};

static bool is_pending(const Msix *x, unsigned v)
{
    return x->pending[v / 64] >> v % 64 & 1;
}

static bool entry_masked(const Msix *x, unsigned v)
{
    return x->masked || pci_get32(x->table + v * ENTRY + E_CONTROL) & ENTRY_MASKED;
}

static void send(const Msix *x, unsigned v)
{
    const uint8_t *e = x->table + v * ENTRY;

    if (pci_may_dma(x->d))
        msi_send(x->d->dev.vm, pci_get32(e + E_ADDR) | (uint64_t)pci_get32(e + E_ADDR + 4) << 32, pci_get32(e + E_DATA));
}

static void send_pending(Msix *x, unsigned v)
{
    if (x->on && is_pending(x, v) && !entry_masked(x, v)) {
        x->pending[v / 64] &= ~(UINT64_C(1) << v % 64);
        send(x, v);
    }
}

/* ---- table and pending bits, as the guest sees them */

static uint64_t msix_read(void *opaque, uint64_t off, unsigned size)
{
    Msix *x = opaque;
    uint64_t val = 0;

    pthread_mutex_lock(&x->lock);
    if (off < x->n * ENTRY)
        val = pci_get32(x->table + off);
    else if (off >= x->pba && off < x->pba + x->pba_size)
        val = x->pending[(off - x->pba) / 8] >> (off - x->pba) % 8 * 8;
    pthread_mutex_unlock(&x->lock);
    return (uint32_t)val;
}

static void msix_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Msix *x = opaque;

    if (off >= x->n * ENTRY) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("msi-x: write behind the table, at %#x", (unsigned)off);
        return;
    }
    if (off % ENTRY == E_CONTROL)
        val &= ENTRY_MASKED;
    pthread_mutex_lock(&x->lock);
    pci_set32(x->table + off, val);
    send_pending(x, off / ENTRY);
    pthread_mutex_unlock(&x->lock);
}

static const IoOps msix_io = { .read = msix_read, .write = msix_write, .min = 4, .max = 4 };

/* ---- life */

/* Every entry is masked after a reset. */
static void clear(Msix *x)
{
    x->on = x->masked = false;
    memset(x->table, 0, x->n * ENTRY);
    memset(x->pending, 0, x->pba_size);
    for (unsigned v = 0; v < x->n; v++)
        pci_set32(x->table + v * ENTRY + E_CONTROL, ENTRY_MASKED);
}

static Msix *msix_new(PciDevice *d, unsigned vectors)
{
    Msix *x = g_new0(Msix, 1);
    uint64_t size = PAGE_SIZE;

    pthread_mutex_init(&x->lock, NULL);
    x->d = d;
    x->n = vectors;
    x->pba = MAX(vectors * ENTRY, PBA_MIN);
    x->pba_size = (vectors + 63) / 64 * 8;
    while (size < x->pba + x->pba_size)
        size *= 2;
    x->table = g_malloc(vectors * ENTRY);
    x->pending = g_malloc(x->pba_size);
    x->region = (Region){ .name = "msi-x", .kind = REGION_IO, .size = size, .ops = &msix_io, .dev = x, .nolock = true };
    clear(x);
    return x;
}

Err *pci_msix(PciDevice *d, unsigned vectors, unsigned bar)
{
    if (!vectors || vectors > MSIX_MAX)
        return err(ERR_INVALID, "%u MSI-X vectors: it is 1 to %d", vectors, MSIX_MAX);
    if (d->msix)
        return err(ERR_INVALID, "it has MSI-X already");
    d->msix = msix_new(d, vectors);
    TRY(pci_bar(d, bar, PCI_BAR_MEM32, &d->msix->region));
    d->msix_cap = pci_cap(d, CAP_MSIX, X_SIZE, 0);
    uint8_t *c = d->config + d->msix_cap;
    pci_set16(c + X_CONTROL, vectors - 1);
    pci_set16(d->wmask + d->msix_cap + X_CONTROL, CTRL_ENABLE | CTRL_FUNCTION_MASK);
    pci_set32(c + X_TABLE, bar);
    pci_set32(c + X_PBA, d->msix->pba | bar);
    return NULL;
}

void msix_written(PciDevice *d, unsigned off, unsigned len)
{
    Msix *x = d->msix;

    if (!x || !pci_touches(off, len, d->msix_cap + X_CONTROL, 2))
        return;
    uint16_t control = pci_get16(d->config + d->msix_cap + X_CONTROL);
    pthread_mutex_lock(&x->lock);
    x->on = control & CTRL_ENABLE;
    x->masked = control & CTRL_FUNCTION_MASK;
    for (unsigned v = 0; v < x->n; v++)
        send_pending(x, v);
    pthread_mutex_unlock(&x->lock);
}

void msix_save(PciDevice *d, StateOut *out)
{
    Msix *x = d->msix;

    pthread_mutex_lock(&x->lock);
    state_put(out, "pci.msix-table", 1, x->table, x->n * ENTRY);
    state_put(out, "pci.msix-pending", 8, x->pending, x->pba_size / 8);
    pthread_mutex_unlock(&x->lock);
}

Err *msix_load(PciDevice *d, StateIn *in)
{
    Msix *x = d->msix;

    pthread_mutex_lock(&x->lock);
    Err *e = state_get(in, "pci.msix-table", 1, x->table, x->n * ENTRY);
    if (!e)
        e = state_get(in, "pci.msix-pending", 8, x->pending, x->pba_size / 8);
    for (unsigned v = 0; v < x->n; v++)
        pci_set32(x->table + v * ENTRY + E_CONTROL, pci_get32(x->table + v * ENTRY + E_CONTROL) & ENTRY_MASKED);
    pthread_mutex_unlock(&x->lock);
    return e;
}

void msix_reset(PciDevice *d)
{
    if (!d->msix)
        return;
    pthread_mutex_lock(&d->msix->lock);
    clear(d->msix);
    pthread_mutex_unlock(&d->msix->lock);
}

void msix_free(PciDevice *d)
{
    if (!d->msix)
        return;
    pthread_mutex_destroy(&d->msix->lock);
    g_free(d->msix->table);
    g_free(d->msix->pending);
    g_free(d->msix);
    d->msix = NULL;
}

/* ---- for the function */

bool msix_on(const PciDevice *d)
{
    if (!d->msix)
        return false;
    pthread_mutex_lock(&d->msix->lock);
    bool on = d->msix->on;
    pthread_mutex_unlock(&d->msix->lock);
    return on;
}

bool msix_masked(const PciDevice *d, unsigned vector)
{
    Msix *x = d->msix;

    if (!x || vector >= x->n)
        return true;
    pthread_mutex_lock(&x->lock);
    bool masked = entry_masked(x, vector);
    pthread_mutex_unlock(&x->lock);
    return masked;
}

void msix_notify(PciDevice *d, unsigned vector)
{
    Msix *x = d->msix;

    if (!x || vector >= x->n)           /* the guest chose it, for virtio */
        return;
    pthread_mutex_lock(&x->lock);
    if (x->on && entry_masked(x, vector))
        x->pending[vector / 64] |= UINT64_C(1) << vector % 64;
    else if (x->on)
        send(x, vector);
    pthread_mutex_unlock(&x->lock);
}
