/* SPDX-License-Identifier: MIT */
/*
 * Watchpoints on stores, for stores of devices: those know physical addresses,
 * so a virtual one is looked up when vCPUs go on, by the tables of the thread
 * that gdb looks at then. What is not mapped then is watched for vCPUs only, as
 * are the pages beyond a limit.
 */
#include <string.h>

#include "gdb/gdb-priv.h"

enum { PAGES_MAX = 1024 };              /* of virtual watchpoints that are looked up */

typedef struct Search { const GArray *watches; GArray *places; } Search;

static void add_place(GArray *places, const Watchpoint *w, uint64_t addr, uint64_t last, uint64_t pa)
{
    DebugPlace p = { pa, pa + (last - addr), addr, w->id };

    g_array_append_val(places, p);
}

static void by_pages(Vcpu *v, const Watchpoint *w, GArray *places)
{
    uint64_t addr = w->addr;

    for (int n = 0; n < PAGES_MAX; n++) {
        uint64_t end = addr | (PAGE_SIZE - 1), last = MIN(end, w->last), pa;
        unsigned order;

        if (v->isa->look(v, addr, &pa, &order))
            add_place(places, w, addr, last, pa);
        if (last == w->last)
            break;
        addr = last + 1;
    }
}

static void search(Vcpu *v, void *opaque)
{
    Search *s = opaque;

    for (guint i = 0; i < s->watches->len; i++) {
        const Watchpoint *w = &g_array_index(s->watches, Watchpoint, i);

        if (!(w->kinds & WATCH_WRITE))
            continue;
        if (w->physical)
            add_place(s->places, w, w->addr, w->last, w->addr);
        else
            by_pages(v, w, s->places);
    }
}

void dma_apply(Gdb *g)
{
    Search s = { g->watches, g_array_new(false, false, sizeof(DebugPlace)) };

    if (g->watches->len)
        on_vcpu(gdb_vcpu(g, g->thread), search, &s);
    debug_dma_use(g->vm, (const DebugPlace *)s.places->data, s.places->len);
    g_array_free(s.places, true);
}

bool dma_pending(Gdb *g)
{
    DebugDmaHit hit;

    /* What was taken away meanwhile is nobody's concern. */
    if (debug_dma_met(g->vm, &hit) && watch_of(g, hit.id)) {
        g->dma = hit;
        g->dma_met = true;
    }
    g->dma_met = g->dma_met && watch_of(g, g->dma.id);
    return g->dma_met;
}

void dma_tell(Gdb *g, GString *stop)
{
    const Watchpoint *w = watch_of(g, g->dma.id);
    g_autofree char *which = w->own ? g_strdup_printf("pwatch %u", w->id) : g_strdup("watched memory");
    g_autofree char *text = g_strdup_printf("%s: a device stored %" PRIu64 " bytes at physical %#" PRIx64 "\n", which,
                                            g->dma.len, g->dma.pa);

    g->dma_met = false;
    console(g, text, strlen(text));
    if (!w->own)
        g_string_append_printf(stop, "%s:%" PRIx64 ";", w->kinds == WATCH_WRITE ? "watch" : "awatch", g->dma.addr);
}
