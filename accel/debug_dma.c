/* SPDX-License-Identifier: MIT */
/*
 * Watchpoints and stores that no vCPU makes: devices'. All of them are reported
 * by ram_touch, which looks at a flag of the page; other pages cost nothing. Reads
 * of devices are seen by nobody. A reset and a snapshot that is loaded make memory
 * anew: that is no store.
 *
 * A device may report more than it stored (virtio: the whole buffer that it was
 * given), and has stored before it reports: the machine stops soon afterwards.
 */
#include <glib.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "accel/debug.h"
#include "accel/run.h"

/* A part of a place that lies in one block. */
typedef struct Part { RamBlock *block; uint64_t first, last /* offsets */, pa, addr; uint32_t id; } Part;

struct DebugDma {
    Vm *vm;
    pthread_mutex_t lock;       /* guards what follows; any thread may store */
    GArray *parts;              /* Part */
    bool met;
    DebugDmaHit hit;            /* the first since somebody asked */
    _Atomic int quiet;          /* the thread whose stores are the debugger's; 0: none's */
};

static void note(DebugDma *d, const Part *p, uint64_t off, uint64_t len)
{
    uint64_t first = MAX(off, p->first);

    d->met = true;
    d->hit = (DebugDmaHit){ .addr = p->addr + (first - p->first), .id = p->id, .len = len,
                            .pa = p->pa + (off - p->first) };       /* of all that was stored: may begin before the part */
    vm_request(d->vm, VM_DEBUG, 0);
}

static void touched(RamBlock *b, uint64_t off, uint64_t len)
{
    DebugDma *d = b->debug;

    if (atomic_load(&d->quiet) == gettid() || atomic_load(&d->vm->remade))
        return;
    pthread_mutex_lock(&d->lock);
    for (guint i = 0; i < d->parts->len && !d->met; i++) {
        const Part *p = &g_array_index(d->parts, Part, i);

        if (p->block == b && off <= p->last && off + (len - 1) >= p->first)
            note(d, p, off, len);
    }
    pthread_mutex_unlock(&d->lock);
}

static void flag_pages(const Part *p, bool on)
{
    for (uint64_t i = p->first >> PAGE_BITS; i <= p->last >> PAGE_BITS; i++) {
        if (on)
            atomic_fetch_or(&p->block->pages[i], PAGE_DEBUG);
        else
            atomic_fetch_and(&p->block->pages[i], (uint8_t)~PAGE_DEBUG);
    }
}

/* What of a place is RAM, block by block. */
static void add_parts(DebugDma *d, const DebugPlace *at)
{
    const Flat *f = space_flat(d->vm->mem);

    for (int i = 0; i < f->n; i++) {
        const FlatRange *r = &f->r[i];

        if (r->region->kind != REGION_RAM || r->base > at->last || r->last < at->pa)
            continue;
        uint64_t pa = MAX(r->base, at->pa), last = MIN(r->last, at->last), off = r->region->ram_off + r->off + (pa - r->base);
        Part p = { r->region->ram, off, off + (last - pa), pa, at->addr + (pa - at->pa), at->id };
        g_array_append_val(d->parts, p);
        if (p.block->debug != d)        /* others may read it */
            p.block->debug = d;
    }
}

static void each_part(DebugDma *d, bool on)
{
    for (guint i = 0; i < d->parts->len; i++)
        flag_pages(&g_array_index(d->parts, Part, i), on);
}

void debug_dma_use(Vm *vm, const DebugPlace *places, int n)
{
    AccelVm *a = accel_vm(vm);

    if (!a->dma && !n)
        return;
    if (!a->dma) {
        a->dma = g_new0(DebugDma, 1);
        a->dma->vm = vm;
        pthread_mutex_init(&a->dma->lock, NULL);
        a->dma->parts = g_array_new(false, false, sizeof(Part));
        ram_debug_touched = touched;
    }
    DebugDma *d = a->dma;
    pthread_mutex_lock(&d->lock);
    each_part(d, false);
    g_array_set_size(d->parts, 0);
    for (int i = 0; i < n; i++)
        add_parts(d, &places[i]);
    each_part(d, true);
    pthread_mutex_unlock(&d->lock);
}

bool debug_dma_met(Vm *vm, DebugDmaHit *out)
{
    DebugDma *d = accel_vm(vm)->dma;

    if (!d)
        return false;
    pthread_mutex_lock(&d->lock);
    bool met = d->met;
    if (met)
        *out = d->hit;
    d->met = false;
    pthread_mutex_unlock(&d->lock);
    return met;
}

void debug_dma_quiet(Vm *vm, bool quiet)
{
    DebugDma *d = accel_vm(vm)->dma;

    if (d)
        atomic_store(&d->quiet, quiet ? gettid() : 0);
}

void debug_dma_free(AccelVm *a)
{
    DebugDma *d = a->dma;

    if (!d)
        return;
    each_part(d, false);
    g_array_free(d->parts, true);
    pthread_mutex_destroy(&d->lock);
    g_free(d);
    a->dma = NULL;
}
