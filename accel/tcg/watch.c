/* SPDX-License-Identifier: MIT */
/*
 * Watchpoints. Pages that hold watched bytes get no inline tags, so accesses to
 * them come by here, and those to other pages cost what they always do.
 *
 * An access that hits is not done: its instruction is done again by the
 * interpreter, with hits noted instead, and the vCPU stops behind it. So other
 * effects of the instruction are never half done.
 */
#include "accel/tcg/mmu-priv.h"

static bool overlaps(const Watchpoint *w, uint64_t first, uint64_t last)
{
    return first <= w->last && last >= w->addr;
}

static uint64_t address(const Watchpoint *w, const L2Page *p, uint64_t va)
{
    return w->physical ? p->pa | (va & PAGE_MASK_LOW) : va;
}

bool mmu_watched_page(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned kinds)
{
    const DebugSet *s = t->v->debug.set;

    for (int i = 0; i < s->nwatches; i++) {
        const Watchpoint *w = &s->watches[i];
        uint64_t page = address(w, p, va) & ~(uint64_t)PAGE_MASK_LOW;

        if (w->kinds & kinds && overlaps(w, page, page | PAGE_MASK_LOW))
            return true;
    }
    return false;
}

/* The first one counts; the reported address is the first watched byte that is accessed. */
static void note(Vcpu *v, const Watchpoint *w, uint64_t first, uint64_t va, unsigned size, bool write)
{
    VcpuDebug *d = &v->debug;

    if (d->what == DEBUG_WATCH)
        return;
    d->what = DEBUG_WATCH;
    d->access.addr = first > w->addr ? first : w->addr;
    d->access.va = va;
    d->access.size = size;
    d->access.id = w->id;
    d->access.write = write;
}

bool mmu_watch(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned size, unsigned kinds)
{
    const DebugSet *s = t->v->debug.set;

    for (int i = 0; i < s->nwatches; i++) {
        const Watchpoint *w = &s->watches[i];
        uint64_t first = address(w, p, va);

        if (!(w->kinds & kinds) || !overlaps(w, first, first + size - 1))
            continue;
        if (!t->mmu.watched) {
            mmu_retry(t, RETRY_WATCHED);
            return true;
        }
        note(t->v, w, first, va, size, kinds & WATCH_WRITE);
    }
    return false;
}
