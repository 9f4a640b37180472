/* SPDX-License-Identifier: MIT */
/*
 * Atomic operations beyond the inline path, and all of them for the interpreter.
 *
 * On RAM they are the host's. A reservation is the address and the value that
 * was loaded: sc is a compare-and-swap (a value that went and came back passes,
 * as on most emulators). Across two pages, the instruction is done again while
 * every other vCPU stands still. Devices are locked from load to store.
 */
#include "accel/tcg/mmu-priv.h"

static uint64_t apply(IrAmo op, uint64_t old, uint64_t val, unsigned size)
{
    unsigned s = 64 - size * 8;
    int64_t so = (int64_t)(old << s) >> s, sv = (int64_t)(val << s) >> s;

    switch (op) {
    case AMO_SWAP: return val;
    case AMO_ADD:  return old + val;
    case AMO_AND:  return old & val;
    case AMO_OR:   return old | val;
    case AMO_XOR:  return old ^ val;
    case AMO_MINS: return so < sv ? old : val;
    case AMO_MAXS: return so > sv ? old : val;
    case AMO_MINU: return old < val ? old : val;
    case AMO_MAXU: return old > val ? old : val;
    }
    return old;
}

/* True if *p was `expect`, and is val now; what it was is returned in *was. Works for misaligned p: x86 locks both lines. */
static bool host_cas(void *p, uint64_t expect, uint64_t val, unsigned size, uint64_t *was)
{
    bool done;

    *was = expect;
    switch (size) {
#define CAS(T) { T e = expect;                                                                          \
        done = __atomic_compare_exchange_n((T *)p, &e, (T)val, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST); \
        *was = e; return done; }
    case 1: CAS(uint8_t)
    case 2: CAS(uint16_t)
    case 4: CAS(uint32_t)
    default: CAS(uint64_t)
#undef CAS
    }
}

/* One read-modify-write as the caller describes it. */
typedef struct Rmw {
    enum { RMW_AMO, RMW_CAS } kind;
    IrAmo op;
    uint64_t val, expect;       /* as the guest sees them */
    MemOp m;
} Rmw;

static uint64_t guest_order(const Rmw *r, uint64_t v)
{
    return r->m & MO_BE ? mmu_swap(v, mo_size(r->m)) : v;
}

/* What memory shall hold if it holds `old`; both in memory's byte order. */
static uint64_t rmw_new(const Rmw *r, uint64_t old)
{
    unsigned size = mo_size(r->m);
    uint64_t o = guest_order(r, old), mask = mmu_mask(size);

    if (r->kind == RMW_CAS)
        return guest_order(r, o == (r->expect & mask) ? r->val & mask : o);
    return guest_order(r, apply(r->op, o, r->val & mask, size) & mask);
}

static uint64_t rmw_ram(const Rmw *r, void *host)
{
    unsigned size = mo_size(r->m);
    uint64_t old = host_load(host, size);

    while (!host_cas(host, old, rmw_new(r, old), size, &old))
        ;
    return guest_order(r, old);
}

static uint64_t rmw_io(TcgVcpu *t, const L2Page *p, const Rmw *r, uint64_t va)
{
    unsigned size = mo_size(r->m);
    bool lock = !vm_locked(t->v->vm);
    uint64_t old = 0;

    if (lock)
        vm_lock(t->v->vm);
    if (mmu_io(t, p, va, &old, size, false, ACCESS_WRITE, r->m)) {
        uint64_t val = rmw_new(r, old & mmu_mask(size));

        mmu_io(t, p, va, &val, size, true, ACCESS_WRITE, r->m);
    }
    if (lock)
        vm_unlock(t->v->vm);
    return guest_order(r, old & mmu_mask(size));
}

/* Across two pages: everybody else stands still, so a load and a store will do. */
static uint64_t rmw_split(TcgVcpu *t, const Rmw *r, uint64_t va)
{
    if (!t->mmu.alone) {
        mmu_retry(t, RETRY_ALONE);
        return 0;
    }
    MemOp plain = r->m & ~(MO_BE | MO_ALIGN);
    uint64_t old = mmu_load(t->env, va, plain);
    if (!t->env->fault)
        mmu_store(t->env, va, rmw_new(r, old), plain);
    return guest_order(r, old);
}

static __attribute__((noinline)) uint64_t rmw_slow(TcgVcpu *t, const Rmw *r, uint64_t va)
{
    unsigned size = mo_size(r->m), ctx = mo_ctx(r->m);
    L2Page once;

    t->stats.slow_atomic++;
    if (crosses_page(va, size))
        return rmw_split(t, r, va);
    L2Page *p = mmu_page(t, va, ACCESS_WRITE, ctx, r->m, &once);
    if (!p || mmu_hits_watch(t, p, va, size, WATCH_READ | WATCH_WRITE))
        return 0;
    if (p->kind != KIND_RAM)
        return rmw_io(t, p, r, va);
    if (mmu_store_retries(t, p, va & PAGE_MASK_LOW, size))
        return 0;
    uint64_t old = rmw_ram(r, p->host + (va & PAGE_MASK_LOW));
    mmu_stored(t, p, p != &once, va, ctx, size);
    return old;
}

static uint64_t rmw(Env *env, const Rmw *r, uint64_t va)
{
    unsigned size = mo_size(r->m);
    const TlbEntry *e = &env->tlb[mo_ctx(r->m)][tlb_index(va)];

    if (r->m & MO_ALIGN && va & (size - 1)) {
        mmu_misaligned(tcg_env(env), va, ACCESS_WRITE, r->m);
        return 0;
    }
    if (__builtin_expect((va ^ e->wt) <= PAGE_SIZE - size, 1))
        return rmw_ram(r, (void *)(va + e->addend));
    return rmw_slow(tcg_env(env), r, va);
}

uint64_t mmu_amo(Env *env, uint64_t va, uint64_t val, MemOp m, IrAmo op)
{
    Rmw r = { .kind = RMW_AMO, .op = op, .val = val, .m = m };

    return rmw(env, &r, va);
}

uint64_t mmu_cas(Env *env, uint64_t va, uint64_t expect, uint64_t val, MemOp m)
{
    Rmw r = { .kind = RMW_CAS, .expect = expect, .val = val, .m = m };

    return rmw(env, &r, va);
}

/* ---- reservations */

/* Devices can't be reserved: a bus error. True: it is memory, and *host its address. */
static bool reservable(TcgVcpu *t, uint64_t va, MemOp m, Access a, L2Page *once, L2Page **page)
{
    *page = mmu_page(t, va, a, mo_ctx(m), m, once);
    if (!*page)
        return false;
    if ((*page)->kind == KIND_RAM || ((*page)->host && a == ACCESS_READ))
        return true;
    t->v->isa->mem_fault(t->v, va, a, mo_ctx(m), m, MEM_FAULT_BUS);
    return false;
}

uint64_t mmu_lr(Env *env, uint64_t va, MemOp m)
{
    TcgVcpu *t = tcg_env(env);
    unsigned size = mo_size(m);
    const TlbEntry *e = &env->tlb[mo_ctx(m)][tlb_index(va)];
    L2Page once, *p;

    if (va & (size - 1)) {
        mmu_misaligned(t, va, ACCESS_READ, m);
        return 0;
    }
    uint64_t val;
    if ((va ^ e->rt) <= PAGE_SIZE - size) {
        val = host_load((void *)(va + e->addend), size);
    } else {
        t->stats.slow_atomic++;
        if (!reservable(t, va, m, ACCESS_READ, &once, &p))
            return 0;
        val = mmu_load(env, va, m & ~(MO_BE | MO_ALIGN));
    }
    if (m & MO_BE)
        val = mmu_swap(val, size);
    env->resv_addr = va;
    env->resv_val = val;
    env->resv_size = size;
    return val;
}

uint64_t mmu_sc(Env *env, uint64_t va, uint64_t val, MemOp m)
{
    TcgVcpu *t = tcg_env(env);
    unsigned size = mo_size(m);
    L2Page once, *p;

    if (va & (size - 1)) {
        mmu_misaligned(t, va, ACCESS_WRITE, m);
        return 0;
    }
    bool held = env->resv_addr == va && env->resv_size == size;
    uint64_t expect = env->resv_val;
    /* Faults come before failure, so that a page is there when the loop tries again. */
    if (!reservable(t, va, m, ACCESS_WRITE, &once, &p)
        || (held && (mmu_hits_watch(t, p, va, size, WATCH_WRITE) || mmu_store_retries(t, p, va & PAGE_MASK_LOW, size))))
        return 0;
    env->resv_addr = ENV_NO_RESV;
    if (!held)
        return 1;
    if (m & MO_BE) {
        expect = mmu_swap(expect, size);
        val = mmu_swap(val & mmu_mask(size), size);
    }
    uint64_t was;
    if (!host_cas(p->host + (va & PAGE_MASK_LOW), expect, val, size, &was))
        return 1;
    mmu_stored(t, p, p != &once, va, mo_ctx(m), size);
    return 0;
}
