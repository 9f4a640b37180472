/* SPDX-License-Identifier: MIT */
/*
 * Places to stop, packets Z and z. All breakpoints are the same to us: addresses
 * of instructions, which need no memory to be there. gdb takes all of them away
 * at each stop and puts them back before it goes on, so vCPUs get what has
 * changed when they go on.
 */
#include "gdb/gdb-priv.h"

/* ---- breakpoints */

static int find_break(const Gdb *g, uint64_t addr, bool hardware)
{
    for (guint i = 0; i < g->breaks->len; i++) {
        const Breakpoint *b = &g_array_index(g->breaks, Breakpoint, i);

        if (b->addr == addr && b->hardware == hardware)
            return i;
    }
    return -1;
}

const Breakpoint *break_at(const Gdb *g, uint64_t pc)
{
    int i = find_break(g, pc, false);

    if (i < 0)
        i = find_break(g, pc, true);
    return i < 0 ? NULL : &g_array_index(g->breaks, Breakpoint, i);
}

static void set_break(Gdb *g, uint64_t addr, bool hardware, bool insert)
{
    Breakpoint b = { addr, hardware };
    int i = find_break(g, addr, hardware);

    if (insert == (i >= 0))
        return;
    if (insert)
        g_array_append_val(g->breaks, b);
    else
        g_array_remove_index_fast(g->breaks, i);
    g->breaks_changed = true;
}

/* ---- watchpoints */

static int find_watch(const Gdb *g, const Watchpoint *like)
{
    for (guint i = 0; i < g->watches->len; i++) {
        const Watchpoint *w = &g_array_index(g->watches, Watchpoint, i);

        if (w->addr == like->addr && w->last == like->last && w->kinds == like->kinds && w->physical == like->physical
            && !w->own)
            return i;
    }
    return -1;
}

const Watchpoint *watch_of(const Gdb *g, uint32_t id)
{
    for (guint i = 0; i < g->watches->len; i++)
        if (g_array_index(g->watches, Watchpoint, i).id == id)
            return &g_array_index(g->watches, Watchpoint, i);
    return NULL;
}

uint32_t watchpoint_add(Gdb *g, Watchpoint w)
{
    w.id = ++g->last_watch;
    g_array_append_val(g->watches, w);
    g->watches_changed = true;
    return w.id;
}

bool watchpoint_delete(Gdb *g, uint64_t id)
{
    for (guint i = 0; i < g->watches->len; i++) {
        const Watchpoint *w = &g_array_index(g->watches, Watchpoint, i);

        if (w->own && w->id == id) {
            g_array_remove_index_fast(g->watches, i);
            g->watches_changed = true;
            return true;
        }
    }
    return false;
}

static void set_watch(Gdb *g, Watchpoint w, bool insert)
{
    int i = find_watch(g, &w);

    /* Physical mode may have been changed since it was set. */
    if (!insert && i < 0) {
        w.physical = !w.physical;
        i = find_watch(g, &w);
    }
    if (insert == (i >= 0))
        return;
    if (insert) {
        watchpoint_add(g, w);
    } else {
        g_array_remove_index_fast(g->watches, i);
        g->watches_changed = true;
    }
}

/* ---- the packet: TYPE,ADDRESS,KIND; a watchpoint's kind is its length */

void handle_point(Gdb *g, PacketText *t, bool insert)
{
    static const uint8_t kinds[] = { [2] = WATCH_WRITE, [3] = WATCH_READ, [4] = WATCH_READ | WATCH_WRITE };
    uint64_t type, addr, n;

    if (!take_hex(t, &type) || !take_char(t, ',') || !take_hex(t, &addr) || !take_char(t, ',') || !take_hex(t, &n)) {
        reply_error(g, 22);
        return;
    }
    if (type > 4) {
        reply(g, "");
        return;
    }
    if (type < 2) {
        set_break(g, addr, type == 1, insert);
    } else {
        uint64_t last = addr + MAX(n, 1) - 1;
        Watchpoint w = { .addr = addr, .last = last < addr ? UINT64_MAX : last, .kinds = kinds[type], .physical = g->physical };

        set_watch(g, w, insert);
    }
    reply(g, "OK");
}

void points_clear(Gdb *g)
{
    g->breaks_changed |= g->breaks->len > 0;
    g->watches_changed |= g->watches->len > 0;
    g_array_set_size(g->breaks, 0);
    g_array_set_size(g->watches, 0);
}

void points_apply(Gdb *g, bool steps_only)
{
    /* Single steps meet no breakpoints. */
    if (!g->watches_changed && (!g->breaks_changed || steps_only))
        return;
    uint64_t *pcs = g_new(uint64_t, g->breaks->len + 1);
    for (guint i = 0; i < g->breaks->len; i++)
        pcs[i] = g_array_index(g->breaks, Breakpoint, i).addr;
    debug_set_use(g->vm, debug_set_new(pcs, g->breaks->len, (const Watchpoint *)g->watches->data, g->watches->len));
    g_free(pcs);
    if (g->watches_changed)
        dma_apply(g);
    g->breaks_changed = g->watches_changed = false;
}
