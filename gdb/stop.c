/* SPDX-License-Identifier: MIT */
/*
 * Stops: which vCPU met what, and the stop reply that says so (gdb's manual,
 * E.3). The machine may stop for reasons of its own; gdb hears of it as a signal.
 */
#include <string.h>

#include "gdb/gdb-priv.h"
#include "system/state.h"

static bool still_watched(const Gdb *g, const VcpuDebug *d)
{
    return d->what != DEBUG_WATCH || watch_of(g, d->access.id);
}

bool event_pending(Gdb *g, int index)
{
    VcpuDebug *d = &gdb_vcpu(g, index)->debug;

    /* A breakpoint is met again; what was taken away meanwhile is nobody's concern. */
    return d->what == DEBUG_STEP || (d->what == DEBUG_WATCH && still_watched(g, d));
}

/* One that stands since another stop tells of it when it shall go on. */
static bool tells(const Vcpu *v)
{
    return v->debug.what != DEBUG_NOTHING && !atomic_load(&v->debug.held);
}

/* Who has something to tell: the one that was asked to step first, then in turn from the last one that told something. */
static int who(Gdb *g)
{
    int n = g->vm->nvcpus;

    for (int i = 0; i < n; i++)
        if (tells(gdb_vcpu(g, i)) && gdb_vcpu(g, i)->debug.what == DEBUG_STEP)
            return i;
    for (int i = 1; i <= n; i++)
        if (tells(gdb_vcpu(g, (g->stopped + i) % n)))
            return (g->stopped + i) % n;
    return -1;
}

/* Nobody has: the one that gdb looked at last, unless it sleeps or stood and another of those that ran doesn't. */
static int busy_one(Gdb *g)
{
    int found = -1;

    for (int i = 0; i < g->vm->nvcpus; i++) {
        int k = (g->stopped + i) % g->vm->nvcpus;
        Vcpu *v = gdb_vcpu(g, k);

        if (atomic_load(&v->debug.held))
            continue;
        if (!atomic_load(&v->halted))
            return k;
        if (found < 0)
            found = k;
    }
    return found < 0 ? g->stopped : found;
}

static void put_reason(const Gdb *g, GString *s, Vcpu *v)
{
    const VcpuDebug *d = &v->debug;
    const Breakpoint *b;
    const Watchpoint *w;

    if (d->what == DEBUG_WATCH && (w = watch_of(g, d->access.id)) != NULL && !w->own)
        g_string_append_printf(s, "%s:%" PRIx64 ";", w->kinds == WATCH_WRITE ? "watch" : w->kinds == WATCH_READ ? "rwatch" : "awatch",
                               d->access.addr);
    else if (d->what == DEBUG_BREAK && (b = break_at(g, v->env->pc)) != NULL && (b->hardware ? g->hwbreak : g->swbreak))
        g_string_append(s, b->hardware ? "hwbreak:;" : "swbreak:;");
}

static int signal_of(RunState state)
{
    switch (state) {
    case RUN_SHUTDOWN:       return GDB_SIGQUIT;
    case RUN_INTERNAL_ERROR: return GDB_SIGABRT;
    case RUN_DEBUG:          return GDB_SIGTRAP;
    case RUN_PRELAUNCH:      return GDB_SIGTRAP;
    default:                 return GDB_SIGINT;
    }
}

/* gdb would go on silently after a watchpoint that it doesn't know: it is told in words, and of a mere trap. */
static void tell_own_watch(Gdb *g, const Vcpu *v)
{
    const VcpuDebug *d = &v->debug;
    const Watchpoint *w = d->what == DEBUG_WATCH ? watch_of(g, d->access.id) : NULL;

    if (!w || !w->own)
        return;
    g_autofree char *text = g_strdup_printf("pwatch %u: CPU %d %s %u bytes at physical %#" PRIx64 " (virtual %#" PRIx64 ")\n", w->id,
                                            v->index, d->access.write ? "wrote" : "read", d->access.size, d->access.addr, d->access.va);
    console(g, text, strlen(text));
}

void send_stop(Gdb *g)
{
    bool dma = dma_pending(g);
    int met = dma ? -1 : who(g), index = met < 0 ? busy_one(g) : met;
    Vcpu *v = gdb_vcpu(g, index);
    GString *s = g_string_new(NULL);

    g_string_append_printf(s, "T%02xthread:", met < 0 && !dma ? signal_of(g->vm->state) : GDB_SIGTRAP);
    put_thread(g, s, index);
    g_string_append_printf(s, ";core:%x;", index);
    if (dma) {
        dma_tell(g, s);         /* what a vCPU met is told when that goes on */
    } else {
        tell_own_watch(g, v);
        put_reason(g, s, v);
        v->debug.what = DEBUG_NOTHING;
    }
    g->stopped = g->thread = index;
    g->waits = false;
    reply_bytes(g, s->str, s->len);
    g_string_free(s, true);
}

void stop_machine(Gdb *g)
{
    g->waits = false;
    if (migrate_awaited(g->vm))
        migrate_start_on_arrival(g->vm, false);
    if (g->vm->state == RUN_RUNNING)
        vm_stop(g->vm, RUN_PAUSED);
}
