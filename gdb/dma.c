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

/* The watchpoint, or the same one as gdb has set it again since. NULL: it was taken away, and is nobody's concern. */
static const Watchpoint *watch_of_hit(const Gdb *g)
{
    const Watchpoint *same = watch_of(g, g->dma.id);

    for (guint i = 0; i < g->watches->len && !same; i++) {
        const Watchpoint *w = &g_array_index(g->watches, Watchpoint, i);

        if (w->kinds & WATCH_WRITE && !w->own && g->dma.addr >= w->addr && g->dma.addr <= w->last)
            same = w;
    }
    return same;
}

bool dma_pending(Gdb *g)
{
    g->dma_met |= debug_dma_met(g->vm, &g->dma);
    g->dma_met = g->dma_met && watch_of_hit(g);
    return g->dma_met;
}

void dma_tell(Gdb *g, GString *stop)
{
    const Watchpoint *w = watch_of_hit(g);
    g_autofree char *which = w->own ? g_strdup_printf("pwatch %u", w->id) : g_strdup("watched memory");
    g_autofree char *text = g_strdup_printf("%s: a device stored %" PRIu64 " bytes at physical %#" PRIx64 "\n", which,
                                            g->dma.len, g->dma.pa);

    g->dma_met = false;
    console(g, text, strlen(text));
    if (!w->own)
        g_string_append_printf(stop, "%s:%" PRIx64 ";", w->kinds == WATCH_WRITE ? "watch" : "awatch", g->dma.addr);
}
