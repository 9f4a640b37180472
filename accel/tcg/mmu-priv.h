/* SPDX-License-Identifier: MIT */
/* What the files of the soft MMU share: mmu.c, atomic.c, flush.c. */
#ifndef ACCEL_TCG_MMU_PRIV_H
#define ACCEL_TCG_MMU_PRIV_H

#include <string.h>

#include "accel/debug.h"
#include "accel/tcg/tcg.h"

enum { PAGE_MASK_LOW = PAGE_SIZE - 1 };

static inline bool crosses_page(uint64_t va, unsigned size)
{
    return (va & PAGE_MASK_LOW) + size > PAGE_SIZE;
}

/* The translation of va for this access, from the second level or a walk; NULL: there is none (mmu_page: an exception was raised). */
L2Page *mmu_look(TcgVcpu *t, uint64_t va, Access a, unsigned ctx, L2Page *once);
L2Page *mmu_page(TcgVcpu *t, uint64_t va, Access a, unsigned ctx, MemOp m, L2Page *once);
/* The same for n bytes of an access that crosses pages. */
L2Page *mmu_page_part(TcgVcpu *t, uint64_t va, unsigned n, Access a, unsigned ctx, MemOp m, L2Page *once);

/*
 * A store to a page with translated code, before it is done: true if it hits the
 * unit that does it. Then the instruction is done again by the interpreter (a
 * retry is noted, env->fault set).
 */
bool mmu_store_retries(TcgVcpu *t, const L2Page *p, unsigned off, unsigned size);
/* A store to p that went past the inline path was done: tells watchers, and grants the inline path if it may. */
void mmu_stored(TcgVcpu *t, const L2Page *p, bool keep, uint64_t va, unsigned ctx, unsigned size);

/*
 * Before an access that goes past the inline path: does it hit a watchpoint? Then the instruction is done again by the
 * interpreter, and the vCPU stops behind it (a retry is noted, env->fault set). While that is done, hits are noted.
 */
bool mmu_watch(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned size, unsigned kinds);
/* Must accesses of those kinds to the page of va come by? */
bool mmu_watched_page(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned kinds);
static inline bool mmu_watches(const TcgVcpu *t)
{
    return __builtin_expect(t->v->debug.set != NULL, 0) && t->v->debug.set->nwatches;
}
static inline bool mmu_hits_watch(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned size, unsigned kinds)
{
    return mmu_watches(t) && mmu_watch(t, p, va, size, kinds);
}

/* One access to a device; false: an exception was raised, as for an access of kind `blame`. */
bool mmu_io(TcgVcpu *t, const L2Page *p, uint64_t va, uint64_t *val, unsigned size, bool write, Access blame, MemOp m);

void mmu_misaligned(TcgVcpu *t, uint64_t va, Access a, MemOp m);
void mmu_retry(TcgVcpu *t, Retry why);

uint64_t mmu_amo(Env *env, uint64_t va, uint64_t val, MemOp m, IrAmo op);
uint64_t mmu_cas(Env *env, uint64_t va, uint64_t expect, uint64_t val, MemOp m);
uint64_t mmu_lr(Env *env, uint64_t va, MemOp m);
uint64_t mmu_sc(Env *env, uint64_t va, uint64_t val, MemOp m);

uint64_t mmu_load(Env *env, uint64_t va, MemOp m);
void mmu_store(Env *env, uint64_t va, uint64_t val, MemOp m);

/* flush.c: a page was found for execution in ctx. */
void mmu_exec_found(TcgVcpu *t, uint64_t va, unsigned ctx, const L2Page *p);
void mmu_keys(TcgVcpu *t);

static inline uint64_t mmu_swap(uint64_t v, unsigned size)
{
    return size == 1 ? v : __builtin_bswap64(v) >> (64 - size * 8);
}

static inline uint64_t mmu_mask(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << size * 8) - 1;
}

/*
 * Guest memory as the host's. Aligned accesses are single-copy atomic; misaligned
 * ones are what an x86 move does.
 */
static inline uint64_t host_load(const void *p, unsigned size)
{
    uint16_t h;
    uint32_t w;
    uint64_t d;

    switch (size) {
    case 1:
        return __atomic_load_n((const uint8_t *)p, __ATOMIC_RELAXED);
    case 2:
        if (!((uintptr_t)p & 1))
            return __atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED);
        memcpy(&h, p, 2);
        return h;
    case 4:
        if (!((uintptr_t)p & 3))
            return __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
        memcpy(&w, p, 4);
        return w;
    default:
        if (!((uintptr_t)p & 7))
            return __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED);
        memcpy(&d, p, 8);
        return d;
    }
}

static inline void host_store(void *p, uint64_t v, unsigned size)
{
    if ((uintptr_t)p & (size - 1)) {
        memcpy(p, &v, size);
        return;
    }
    switch (size) {
    case 1: __atomic_store_n((uint8_t *)p, v, __ATOMIC_RELAXED); break;
    case 2: __atomic_store_n((uint16_t *)p, v, __ATOMIC_RELAXED); break;
    case 4: __atomic_store_n((uint32_t *)p, v, __ATOMIC_RELAXED); break;
    default: __atomic_store_n((uint64_t *)p, v, __ATOMIC_RELAXED); break;
    }
}

#endif
