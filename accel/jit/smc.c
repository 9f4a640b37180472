/* SPDX-License-Identifier: MIT */
/*
 * Stores to translated code. A page with code has PAGE_CODE set and no vCPU may
 * store to it inline (the protocol is at the top of accel/tcg/mmu.c), so each
 * store comes by here and kills the units whose bytes it hit. Stores beside the
 * code cost a look at the page's bitmap of 64-byte granules.
 *
 * A store and a translation that run at the same time: the translator sets all
 * granules, then reads the bytes; the store writes the bytes, then looks at the
 * granules. Either the translator reads the new bytes or the store waits for the
 * lock and finds the new unit.
 */
#include <glib.h>
#include <sched.h>

#include "accel/jit/jit.h"

/* ---- granules */

/* Bits of the granules that [lo, hi) of a page touches. */
static uint64_t granules(unsigned lo, unsigned hi)
{
    unsigned first = lo >> GRANULE_BITS, last = (hi - 1) >> GRANULE_BITS;

    return (UINT64_MAX >> (63 - (last - first))) << first;
}

uint64_t unit_granules(const Unit *u, int which)
{
    if (which)
        return granules(0, u->hi - PAGE_SIZE);
    return granules(u->lo, MIN(u->hi, PAGE_SIZE));
}

void page_settle(CodePage *p)
{
    uint64_t bits = 0;

    for (int which = 0; which < 2; which++)
        for (const Unit *u = p->units[which]; u; u = u->next[which])
            bits |= unit_granules(u, which);
    atomic_store(&p->granules, bits);
    if (!bits) {
        atomic_store(&p->watched, false);
        atomic_fetch_and(&p->block->pages[p->pageno], (uint8_t)~PAGE_CODE);
        /* Last: page_watch, which may be setting the flag right now, sees by this that it was cleared since. */
        atomic_fetch_add(&p->epoch, 1);
    }
}

/* ---- killing units */

static void purge_jump_cache(Vcpu *v, const Unit *u)
{
    JcEntry *e = &v->env->jc[jc_index(u->va)];

    if (__atomic_load_n(&e->host, __ATOMIC_SEQ_CST) == u->host)
        __atomic_store_n(&e->key, JC_EMPTY, __ATOMIC_SEQ_CST);
}

static void purge(Jit *j, const Unit *u, TcgVcpu *t)
{
    for (int i = 0; i < j->vm->nvcpus; i++) {
        Vcpu *v = j->vm->vcpus[i];

        purge_jump_cache(v, u);
        if (t && v == t->v) {
            stacks_drop(t);
        } else {
            atomic_store(&tcg_vcpu(v)->jit->drop, true);
            __atomic_store_n(&v->env->poll, 1, __ATOMIC_SEQ_CST);
        }
    }
}

static void page_remove(Unit *u, int which)
{
    if (!u->page[which])
        return;
    *u->at[which] = u->next[which];
    if (u->next[which])
        u->next[which]->at[which] = u->at[which];
}

void unit_kill(Jit *j, Unit *u, TcgVcpu *t)
{
    atomic_store(&u->dead, true);
    shape_died(u);
    unit_unhash(j, u);
    unit_unlink(j, u);
    for (int which = 0; which < 2; which++)
        page_remove(u, which);
    purge(j, u, t);
    /*
     * A page that keeps units keeps its granules too, be they too many: a library's page can have thousands of
     * units, and eviction kills one after the other. The next store that finds none there settles it.
     */
    for (int which = 0; which < 2; which++) {
        CodePage *p = u->page[which];

        if (p && !p->units[0] && !p->units[1])
            page_settle(p);
    }
    j->stats.invalidated++;
}

static bool overlaps(const Unit *u, int which, unsigned lo, unsigned hi)
{
    if (which)
        return lo < u->hi - (unsigned)PAGE_SIZE;
    return lo < u->hi && hi > u->lo;
}

/* Kills what lies over [lo, hi) of p. */
static void page_invalidate(CodePage *p, unsigned lo, unsigned hi, TcgVcpu *t)
{
    Jit *j = p->jit;

    pthread_mutex_lock(&j->lock);
    for (int which = 0; which < 2; which++) {
        for (Unit *u = p->units[which], *next; u; u = next) {
            next = u->next[which];
            if (overlaps(u, which, lo, hi))
                unit_kill(j, u, t);
        }
    }
    page_settle(p);
    pthread_mutex_unlock(&j->lock);
}

static bool page_hit(CodePage *p, unsigned lo, unsigned hi)
{
    return atomic_load(&p->granules) & granules(lo, hi);
}

void jit_stored(TcgVcpu *t, RamBlock *block, uint64_t pageno, unsigned off, unsigned size)
{
    CodePage *p = jit_page_find(block, pageno);

    if (p && page_hit(p, off, off + size))
        page_invalidate(p, off, off + size, t);
}

bool jit_hits_current(TcgVcpu *t, RamBlock *block, uint64_t pageno, unsigned off, unsigned size)
{
    CodePage *p = jit_page_find(block, pageno);
    const Unit *u = t->mmu.current;

    if (!p || !page_hit(p, off, off + size))
        return false;
    if (t->env->site)
        u = cache_unit_at(jit_of(t), t->env->site);
    for (int which = 0; u && which < 2; which++)
        if (u->page[which] == p && overlaps(u, which, off, off + size))
            return true;
    return false;
}

void jit_touched(RamBlock *block, uint64_t off, uint64_t len)
{
    Vcpu *v = current_vcpu;

    atomic_thread_fence(memory_order_seq_cst);
    while (len) {
        unsigned at = off & (PAGE_SIZE - 1);
        uint64_t n = MIN(len, (uint64_t)PAGE_SIZE - at);
        CodePage *p = jit_page_find(block, off >> PAGE_BITS);

        if (p && page_hit(p, at, at + n))
            page_invalidate(p, at, at + n, v && v->vm == p->jit->vm ? tcg_vcpu(v) : NULL);
        off += n;
        len -= n;
    }
}

/* ---- watching a page */

typedef struct Revoke { RamBlock *block; uint64_t pageno; _Atomic int refs; _Atomic bool *done; } Revoke;

static void revoke_unref(Revoke *r)
{
    if (atomic_fetch_sub(&r->refs, 1) == 1) {
        g_free(r->done);
        g_free(r);
    }
}

static void revoke_work(Vcpu *v, void *opaque)
{
    Revoke *r = opaque;

    mmu_revoke_writes(tcg_vcpu(v), r->block, r->pageno);
    atomic_store(&r->done[v->index], true);
    revoke_unref(r);
}

/*
 * Takes the write tags for the page from every vCPU. From one that rests they are taken here, and it rests on; one
 * that doesn't run for another reason does it before it runs again: nobody waits for those.
 */
static void revoke_everywhere(Jit *j, TcgVcpu *t, CodePage *p)
{
    Vm *vm = j->vm;

    mmu_revoke_writes(t, p->block, p->pageno);
    if (vm->nvcpus == 1)
        return;
    Revoke *r = g_new0(Revoke, 1);
    *r = (Revoke){ p->block, p->pageno, vm->nvcpus, g_new0(_Atomic bool, vm->nvcpus) };
    for (int i = 0; i < vm->nvcpus; i++)
        if (vm->vcpus[i] != t->v && !vcpu_do_resting(vm->vcpus[i], revoke_work, r))
            vcpu_run_on(vm->vcpus[i], revoke_work, r, false);
    for (int i = 0; i < vm->nvcpus; i++)
        while (vm->vcpus[i] != t->v && !atomic_load(&r->done[i]) && atomic_load(&vm->vcpus[i]->running))
            if (!vcpu_serve(t->v))
                sched_yield();
    revoke_unref(r);
}

void page_watch(Jit *j, TcgVcpu *t, CodePage *p)
{
    _Atomic uint8_t *flags = &p->block->pages[p->pageno];

    while (!atomic_load(&p->watched)) {
        uint32_t epoch = atomic_load(&p->epoch);
        bool written = atomic_fetch_or(flags, PAGE_CODE) & PAGE_WRITTEN;

        if (written)
            revoke_everywhere(j, t, p);
        pthread_mutex_lock(&j->lock);
        /* Only if the flag stood all the time: else somebody may have got a tag again. */
        if (atomic_load(&p->epoch) == epoch) {
            atomic_fetch_and(flags, (uint8_t)~PAGE_WRITTEN);
            atomic_store(&p->watched, true);
            j->stats.revocations += written;
        }
        pthread_mutex_unlock(&j->lock);
    }
}
