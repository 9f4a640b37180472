/* SPDX-License-Identifier: MIT */
/*
 * Guest memory beyond the inline path: loads and stores that missed the inline
 * table, devices, page crossings, pages with translated code or dirty watchers.
 *
 * The right to store inline (a write tag) and the wish to see stores (PAGE_WATCH
 * bits) meet in the page's flags without a lock:
 *   - who grants a tag sets PAGE_WRITTEN, then looks for watchers, and grants
 *     only if there are none;
 *   - who watches sets its bit; if PAGE_WRITTEN was set, it takes the tags from
 *     every vCPU (mmu_revoke_writes, in the vCPU's thread or while that does not
 *     run) before it relies on hearing of stores, and clears PAGE_WRITTEN then.
 * Both steps are read-modify-writes of one byte, so one side sees the other. A
 * vCPU that read the flags before the watcher came grants its tag before it can
 * do the watcher's work, so that takes the tag again.
 * A store past the inline path is done first and looks at the flags then; a
 * watcher reads the page after it has set its bit: one sees the other.
 */
#include <immintrin.h>
#include <inttypes.h>

#include "accel/jit/jit.h"
#include "accel/tcg/mmu-priv.h"
#include "util/log.h"

/* ---- finding the page */

static const uint8_t prot_of[] = { [ACCESS_READ] = PROT_R, [ACCESS_WRITE] = PROT_W, [ACCESS_EXEC] = PROT_X };

/* What is at pg->pa: fills p. */
static void place(TcgVcpu *t, L2Page *p, const Page *pg)
{
    const FlatRange *r = flat_find(space_flat(t->space), pg->pa);
    uint64_t pa = pg->pa & ~(uint64_t)PAGE_MASK_LOW;

    *p = (L2Page){ .pa = pa, .prot = pg->prot, .kind = KIND_IO, .global = pg->global,
                   .order = pg->order };
    if (!r || r->region->kind == REGION_IO || r->base > pa || r->last < pa + PAGE_MASK_LOW)
        return;
    uint64_t off = r->region->ram_off + r->off + (pa - r->base);
    if (off & PAGE_MASK_LOW)
        return;
    p->block = r->region->ram;
    p->pageno = off >> PAGE_BITS;
    p->host = p->block->host + off;
    p->kind = r->region->kind == REGION_RAM ? KIND_RAM : KIND_ROM;
}

static void log_walk(TcgVcpu *t, uint64_t va, Access a, unsigned ctx, const Page *pg)
{
    static const char *const what[] = { [ACCESS_READ] = "read", [ACCESS_WRITE] = "write", [ACCESS_EXEC] = "fetch" };

    if (pg)
        log_line("mmu: vCPU %d: ctx %u asid %#x %s %#" PRIx64 ": %#" PRIx64 " %c%c%c%s, 2^%u bytes", t->v->index, ctx,
                 t->mmu.id[ctx], what[a], va, pg->pa, pg->prot & PROT_R ? 'r' : '-', pg->prot & PROT_W ? 'w' : '-',
                 pg->prot & PROT_X ? 'x' : '-', pg->global ? " global" : "", pg->order);
    else
        log_line("mmu: vCPU %d: ctx %u asid %#x %s %#" PRIx64 ": no translation", t->v->index, ctx, t->mmu.id[ctx],
                 what[a], va);
}

static L2Page *look(TcgVcpu *t, uint64_t va, Access a, unsigned ctx, L2Page *once, uint8_t *order)
{
    L2Page *p = l2_find(&t->mmu.l2, va, ctx, t->mmu.id[ctx]);
    Page pg;

    if (p && p->prot & prot_of[a])
        return p;
    t->stats.walk++;
    bool found = t->v->isa->walk(t->v, va, a, ctx, &pg);
    if (log_on(LOG_MMU) && log_wants(va))
        log_walk(t, va, a, ctx, found ? &pg : NULL);
    if (!found)
        return NULL;
    *order = pg.order;
    if (pg.order < PAGE_BITS) {
        p = once;
    } else {
        uint32_t id = t->mmu.id[ctx];

        pg.global |= id == L2_PHYS;
        p = l2_fill(&t->mmu.l2, va, ctx, pg.global && id != L2_PHYS ? L2_GLOBAL : id, pg.order);
    }
    place(t, p, &pg);
    return p;
}

L2Page *mmu_look(TcgVcpu *t, uint64_t va, Access a, unsigned ctx, L2Page *once)
{
    uint8_t order;

    return look(t, va, a, ctx, once, &order);
}

/*
 * The rest of an access to a page with sub-page protection: an aligned one must lie in
 * one block, a misaligned one is as many accesses as it has bytes.
 */
static bool all_allowed(TcgVcpu *t, uint64_t va, unsigned n, Access a, unsigned ctx, MemOp m, unsigned order)
{
    const Isa *isa = t->v->isa;
    Page pg;

    if (n <= 1u << order && !(va & (n - 1)))
        return true;
    if (!(n & (n - 1)) && !(va & (n - 1))) {
        isa->mem_fault(t->v, va, a, ctx, m, MEM_FAULT_BUS);
        return false;
    }
    for (unsigned i = 1; i < n; i++) {
        if (!isa->walk(t->v, va + i, a, ctx, &pg)) {
            isa->mem_fault(t->v, va + i, a, ctx, m, MEM_FAULT_PAGE);
            return false;
        }
    }
    return true;
}

L2Page *mmu_page(TcgVcpu *t, uint64_t va, Access a, unsigned ctx, MemOp m, L2Page *once)
{
    return mmu_page_part(t, va, mo_size(m), a, ctx, m, once);
}

L2Page *mmu_page_part(TcgVcpu *t, uint64_t va, unsigned n, Access a, unsigned ctx, MemOp m, L2Page *once)
{
    uint8_t order;
    L2Page *p = look(t, va, a, ctx, once, &order);

    if (!p)
        t->v->isa->mem_fault(t->v, va, a, ctx, m, MEM_FAULT_PAGE);
    else if (p == once && !all_allowed(t, va, n, a, ctx, m, order))
        return NULL;
    return p;
}

/* ---- the inline table */

static TlbEntry *inline_entry(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned ctx)
{
    Env *env = t->env;
    unsigned i = tlb_index(va);
    uint64_t page = va & ~(uint64_t)PAGE_MASK_LOW, bit = UINT64_C(1) << i % 64;
    TlbEntry *e = &env->tlb[ctx][i];

    if (e->addend != (uint64_t)p->host - page || (e->rt != page && e->wt != page)) {
        e->rt = e->wt = TLB_INVALID(i);
        e->addend = (uint64_t)p->host - page;
    }
    env->tlb_used[ctx][i / 64] |= bit;
    if (p->global)
        t->mmu.nonglobal[ctx][i / 64] &= ~bit;
    else
        t->mmu.nonglobal[ctx][i / 64] |= bit;
    t->mmu.used |= 1 << ctx;
    t->stats.refill++;
    return e;
}

static void grant_write(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned ctx)
{
    _Atomic uint8_t *flags = &p->block->pages[p->pageno];
    uint8_t f = atomic_load(flags);

    /* An atomic operation that hits wt reads too. */
    if (mmu_watches(t) && mmu_watched_page(t, p, va, WATCH_READ | WATCH_WRITE))
        return;
    if (!(f & (PAGE_WATCH | PAGE_WRITTEN)))
        f = atomic_fetch_or(flags, PAGE_WRITTEN);
    if (!(f & PAGE_WATCH))
        inline_entry(t, p, va, ctx)->wt = va & ~(uint64_t)PAGE_MASK_LOW;
}

static void grant_read(TcgVcpu *t, const L2Page *p, uint64_t va, unsigned ctx)
{
    if (mmu_watches(t) && mmu_watched_page(t, p, va, WATCH_READ))
        return;
    inline_entry(t, p, va, ctx)->rt = va & ~(uint64_t)PAGE_MASK_LOW;
    /* Where stores are known to be seen by nobody, the next store needs no visit of its own. */
    if (p->prot & PROT_W && p->kind == KIND_RAM
        && (atomic_load(&p->block->pages[p->pageno]) & (PAGE_WATCH | PAGE_WRITTEN)) == PAGE_WRITTEN)
        grant_write(t, p, va, ctx);
}

void mmu_revoke_writes(TcgVcpu *t, RamBlock *block, uint64_t pageno)
{
    Env *env = t->env;
    uint64_t host = (uint64_t)block->host + (pageno << PAGE_BITS);

    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        if (!(t->mmu.used >> ctx & 1))
            continue;
        env_sites_drop(env, ctx);
        for (unsigned w = 0; w < TLB_SIZE / 64; w++) {
            for (uint64_t used = env->tlb_used[ctx][w]; used; used &= used - 1) {
                unsigned i = w * 64 + __builtin_ctzll(used);
                TlbEntry *e = &env->tlb[ctx][i];

                if (e->wt + e->addend == host)
                    e->wt = TLB_INVALID(i);
            }
        }
    }
}

/* The same for all pages. */
static void revoke_all(Vcpu *v, void *opaque)
{
    TcgVcpu *t = tcg_vcpu(v);
    Env *env = t->env;

    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        if (!(t->mmu.used >> ctx & 1))
            continue;
        env_sites_drop(env, ctx);
        for (unsigned w = 0; w < TLB_SIZE / 64; w++) {
            for (uint64_t used = env->tlb_used[ctx][w]; used; used &= used - 1) {
                unsigned i = w * 64 + __builtin_ctzll(used);

                env->tlb[ctx][i].wt = TLB_INVALID(i);
            }
        }
    }
}

void mmu_revoke_all_writes(Vm *vm)
{
    for (int i = 0; i < vm->nvcpus; i++)
        vcpu_run_on(vm->vcpus[i], revoke_all, NULL, true);
}

/* ---- stores that somebody may watch */

void mmu_retry(TcgVcpu *t, Retry why)
{
    t->mmu.retry = why;
    t->env->fault = 1;
}

bool mmu_store_retries(TcgVcpu *t, const L2Page *p, unsigned off, unsigned size)
{
    if (p->kind != KIND_RAM || !(atomic_load(&p->block->pages[p->pageno]) & PAGE_CODE))
        return false;
    if (!jit_hits_current(t, p->block, p->pageno, off, size))
        return false;
    mmu_retry(t, RETRY_SINGLE);
    return true;
}

void mmu_stored(TcgVcpu *t, const L2Page *p, bool keep, uint64_t va, unsigned ctx, unsigned size)
{
    _Atomic uint8_t *flags = &p->block->pages[p->pageno];

    atomic_thread_fence(memory_order_seq_cst);
    uint8_t f = atomic_load(flags);
    if (f & (PAGE_DISPLAY | PAGE_MIGRATE))
        atomic_fetch_and(flags, (uint8_t)~(PAGE_DISPLAY | PAGE_MIGRATE));
    if (f & PAGE_CODE) {
        t->stats.code_store++;
        jit_stored(t, p->block, p->pageno, va & PAGE_MASK_LOW, size);
    } else if (keep) {
        grant_write(t, p, va, ctx);
    }
}

/* ---- devices */

bool mmu_io(TcgVcpu *t, const L2Page *p, uint64_t va, uint64_t *val, unsigned size, bool write, Access blame, MemOp m)
{
    Env *env = t->env;
    unsigned mxcsr = 0, ctx = mo_ctx(m);

    t->stats.io++;
    /* Generated code runs with the guest's rounding; devices are C. */
    if (env->in_jit) {
        mxcsr = _mm_getcsr();
        _mm_setcsr(env->mxcsr_host);
    }
    MemResult r = space_io(t->space, p->pa | (va & PAGE_MASK_LOW), val, size, write);
    if (env->in_jit)
        _mm_setcsr(mxcsr);
    if (r == MEM_OK)
        return true;
    t->v->isa->mem_fault(t->v, va, blame, ctx, m, MEM_FAULT_BUS);
    return false;
}

void mmu_misaligned(TcgVcpu *t, uint64_t va, Access a, MemOp m)
{
    t->v->isa->mem_fault(t->v, va, a, mo_ctx(m), m, MEM_FAULT_MISALIGNED);
}

/* ---- accesses across two pages, byte by byte; both pages are found before anything is touched */

typedef struct Split { L2Page *p[2], once[2]; uint64_t va[2]; unsigned n[2]; } Split;

static bool split_find(TcgVcpu *t, Split *s, uint64_t va, unsigned size, Access a, MemOp m)
{
    unsigned here = PAGE_SIZE - (va & PAGE_MASK_LOW);

    t->stats.crossing++;
    *s = (Split){ .va = { va, va + here }, .n = { here, size - here } };
    for (int i = 0; i < 2; i++) {
        s->p[i] = mmu_page_part(t, s->va[i], s->n[i], a, mo_ctx(m), m, &s->once[i]);
        if (!s->p[i])
            return false;
        /* The second walk may take the first one's place. */
        if (s->p[i] != &s->once[i]) {
            s->once[i] = *s->p[i];
            s->p[i] = &s->once[i];
        }
    }
    return true;
}

static uint64_t load_split(TcgVcpu *t, uint64_t va, MemOp m)
{
    Split s;
    uint8_t buf[8] = { 0 };
    unsigned at = 0;

    if (!split_find(t, &s, va, mo_size(m), ACCESS_READ, m))
        return 0;
    for (int i = 0; i < 2; i++)
        if (mmu_hits_watch(t, s.p[i], s.va[i], s.n[i], WATCH_READ))
            return 0;
    for (int i = 0; i < 2; i++) {
        for (unsigned j = 0; j < s.n[i]; j++, at++) {
            uint64_t b = 0;

            if (s.p[i]->host)
                b = host_load(s.p[i]->host + ((s.va[i] + j) & PAGE_MASK_LOW), 1);
            else if (!mmu_io(t, s.p[i], s.va[i] + j, &b, 1, false, ACCESS_READ, m))
                return 0;
            buf[at] = b;
        }
    }
    return host_load(buf, 8);
}

static void store_split(TcgVcpu *t, uint64_t va, uint64_t val, MemOp m)
{
    Split s;

    if (!split_find(t, &s, va, mo_size(m), ACCESS_WRITE, m))
        return;
    for (int i = 0; i < 2; i++)
        if (mmu_hits_watch(t, s.p[i], s.va[i], s.n[i], WATCH_WRITE)
            || mmu_store_retries(t, s.p[i], s.va[i] & PAGE_MASK_LOW, s.n[i]))
            return;
    for (int i = 0; i < 2; i++) {
        for (unsigned j = 0; j < s.n[i]; j++, val >>= 8) {
            uint64_t b = val & 0xff;

            if (s.p[i]->kind == KIND_RAM)
                host_store(s.p[i]->host + ((s.va[i] + j) & PAGE_MASK_LOW), b, 1);
            else if (!mmu_io(t, s.p[i], s.va[i] + j, &b, 1, true, ACCESS_WRITE, m))
                return;
        }
        if (s.p[i]->kind == KIND_RAM)
            mmu_stored(t, s.p[i], false, s.va[i], mo_ctx(m), s.n[i]);
    }
}

/* ---- loads and stores */

static __attribute__((noinline)) uint64_t load_slow(TcgVcpu *t, uint64_t va, MemOp m)
{
    unsigned size = mo_size(m), ctx = mo_ctx(m);
    uint64_t val = 0;
    L2Page once;

    t->stats.slow_load++;
    if (crosses_page(va, size))
        return load_split(t, va, m);
    L2Page *p = mmu_page(t, va, ACCESS_READ, ctx, m, &once);
    if (!p || mmu_hits_watch(t, p, va, size, WATCH_READ))
        return 0;
    if (!p->host)
        return mmu_io(t, p, va, &val, size, false, ACCESS_READ, m) ? val & mmu_mask(size) : 0;
    if (p != &once)
        grant_read(t, p, va, ctx);
    return host_load(p->host + (va & PAGE_MASK_LOW), size);
}

static __attribute__((noinline)) void store_slow(TcgVcpu *t, uint64_t va, uint64_t val, MemOp m)
{
    unsigned size = mo_size(m), ctx = mo_ctx(m);
    L2Page once;

    t->stats.slow_store++;
    val &= mmu_mask(size);
    if (crosses_page(va, size)) {
        store_split(t, va, val, m);
        return;
    }
    L2Page *p = mmu_page(t, va, ACCESS_WRITE, ctx, m, &once);
    if (!p || mmu_hits_watch(t, p, va, size, WATCH_WRITE))
        return;
    if (p->kind != KIND_RAM) {
        mmu_io(t, p, va, &val, size, true, ACCESS_WRITE, m);
        return;
    }
    if (mmu_store_retries(t, p, va & PAGE_MASK_LOW, size))
        return;
    host_store(p->host + (va & PAGE_MASK_LOW), val, size);
    mmu_stored(t, p, p != &once, va, ctx, size);
}

uint64_t mmu_load(Env *env, uint64_t va, MemOp m)
{
    unsigned size = mo_size(m);
    const TlbEntry *e = &env->tlb[mo_ctx(m)][tlb_index(va)];
    uint64_t val;

    if (m & MO_ALIGN && va & (size - 1)) {
        mmu_misaligned(tcg_env(env), va, ACCESS_READ, m);
        return 0;
    }
    if (__builtin_expect((va ^ e->rt) <= PAGE_SIZE - size, 1))
        val = host_load((void *)(va + e->addend), size);
    else
        val = load_slow(tcg_env(env), va, m);
    return m & MO_BE ? mmu_swap(val, size) : val;
}

void mmu_store(Env *env, uint64_t va, uint64_t val, MemOp m)
{
    unsigned size = mo_size(m);
    const TlbEntry *e = &env->tlb[mo_ctx(m)][tlb_index(va)];

    if (m & MO_ALIGN && va & (size - 1)) {
        mmu_misaligned(tcg_env(env), va, ACCESS_WRITE, m);
        return;
    }
    if (m & MO_BE)
        val = mmu_swap(val & mmu_mask(size), size);
    if (__builtin_expect((va ^ e->wt) <= PAGE_SIZE - size, 1))
        host_store((void *)(va + e->addend), val, size);
    else
        store_slow(tcg_env(env), va, val, m);
}

/* A page with any watcher has no write tag; one that is no plain memory has none at all. */
static uint64_t mmu_group(Env *env, uint64_t va, uint64_t span, MemOp m, bool write)
{
    TcgVcpu *t = tcg_env(env);
    unsigned ctx = mo_ctx(m);
    L2Page once, *p;

    if (crosses_page(va, span))
        return 0;
    p = mmu_look(t, va, write ? ACCESS_WRITE : ACCESS_READ, ctx, &once);
    if (!p || p == &once || !p->host || !(p->prot & PROT_R) || (write && p->kind != KIND_RAM))
        return 0;
    grant_read(t, p, va, ctx);
    if (write)
        grant_write(t, p, va, ctx);
    const TlbEntry *e = &env->tlb[ctx][tlb_index(va)];
    return ((write ? e->wt : e->rt) ^ va) < PAGE_SIZE ? va + e->addend : 0;
}

const EnvOps mmu_env_ops = {
    .load = mmu_load, .store = mmu_store,
    .amo = mmu_amo, .cas = mmu_cas, .lr = mmu_lr, .sc = mmu_sc,
    .group = mmu_group,
};

/* ---- execution */

const ExecEntry *mmu_exec(TcgVcpu *t, uint64_t va, unsigned ctx, bool raise)
{
    uint64_t vpage = va >> PAGE_BITS;
    unsigned i = vpage % XT_SIZE;
    ExecEntry *e = &t->mmu.exec[ctx][i];
    MemOp m = ctx << MO_CTX_SHIFT;
    L2Page once;

    if (e->vpage == vpage && e->id && t->env->xt[ctx][i] == e->id)
        return e;
    t->stats.exec_fill++;
    L2Page *p = mmu_look(t, va, ACCESS_EXEC, ctx, &once);
    if (!p || !p->host) {
        if (raise)
            t->v->isa->mem_fault(t->v, va, ACCESS_EXEC, ctx, m, p ? MEM_FAULT_BUS : MEM_FAULT_PAGE);
        return NULL;
    }
    CodePage *page = jit_page(tcg_vm(t->v->vm)->jit, p->block, p->pageno);
    uint32_t id = p == &once ? 0 : jit_page_id(page, vpage);
    if (!id) {
        t->mmu.exec_once = (ExecEntry){ vpage, page, 0, false };
        return &t->mmu.exec_once;
    }
    *e = (ExecEntry){ vpage, page, id, p->global };
    mmu_exec_found(t, va, ctx, p);
    t->env->xt[ctx][i] = id;
    return e;
}
