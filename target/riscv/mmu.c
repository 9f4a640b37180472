/* SPDX-License-Identifier: MIT */
/*
 * Page tables: privileged manual chapters 11 (Sv39, Sv48, Sv57), Svnapot,
 * Svpbmt, Svade, Svadu. Memory attributes of Svpbmt are checked and then
 * ignored: host memory is coherent and ordered.
 */
#include <stdatomic.h>

#include "system/mem.h"
#include "target/riscv/priv.h"

#define PTE_V BIT(0)
#define PTE_R BIT(1)
#define PTE_W BIT(2)
#define PTE_X BIT(3)
#define PTE_U BIT(4)
#define PTE_G BIT(5)
#define PTE_A BIT(6)
#define PTE_D BIT(7)
#define PTE_PBMT (3ull << 61)
#define PTE_N BIT(63)
#define PTE_RESERVED (0x7full << 54)
#define PTE_PPN (((1ull << 44) - 1) << 10)

enum { SATP_BARE = 0, SATP_SV39 = 8, SATP_SV48 = 9, SATP_SV57 = 10 };

static int satp_levels(uint64_t satp)
{
    switch (satp >> 60) {
    case SATP_SV39: return 3;
    case SATP_SV48: return 4;
    case SATP_SV57: return 5;
    default: return 0;
    }
}

bool riscv_satp_valid(const RiscvState *s, uint64_t satp)
{
    switch (satp >> 60) {
    case SATP_BARE: return true;
    case SATP_SV39: return riscv_has(s, RV_SV39);
    case SATP_SV48: return riscv_has(s, RV_SV48);
    case SATP_SV57: return riscv_has(s, RV_SV57);
    default: return false;
    }
}

static unsigned ctx_prv(unsigned ctx)
{
    return ctx == CTX_U ? PRV_U : ctx == CTX_M ? PRV_M : PRV_S;
}

bool riscv_ctx_virtual(Vcpu *v, unsigned ctx)
{
    RiscvState *s = v->state;
    return ctx != CTX_M && satp_levels(s->satp);
}

unsigned riscv_asid(Vcpu *v, unsigned ctx)
{
    RiscvState *s = v->state;
    return ctx == CTX_M ? 0 : s->satp >> 44 & 0xffff;
}

void riscv_walks_drop(RiscvState *s)
{
    for (int i = 0; i < WALK_CACHE; i++)
        s->walks[i].table = NULL;
}

/* ---- permissions */

/* PageProt that the leaf grants to ctx, A and D aside. */
static unsigned leaf_prot(RiscvState *s, uint64_t pte, unsigned ctx)
{
    unsigned prot = 0;
    bool user = pte & PTE_U;
    if (pte & PTE_R || ((pte & PTE_X) && (riscv_mstatus(s) & MSTATUS_MXR)))
        prot |= PROT_R;
    prot |= pte & PTE_W ? PROT_W : 0;
    prot |= pte & PTE_X ? PROT_X : 0;
    switch (ctx) {
    case CTX_U: return user ? prot : 0;
    case CTX_S: return user ? 0 : prot;
    default:    return user ? prot & ~PROT_X : prot;      /* SUM never lets S execute user pages */
    }
}

static unsigned access_prot(Access a)
{
    return a == ACCESS_READ ? PROT_R : a == ACCESS_WRITE ? PROT_W : PROT_X;
}

/* Is the leaf's encoding legal at this level (0: 4 KiB)? */
static bool leaf_legal(RiscvState *s, uint64_t pte, int level)
{
    uint64_t ppn = (pte & PTE_PPN) >> 10;
    if (level && (ppn & (BIT(9 * level) - 1)))
        return false;                           /* misaligned superpage */
    if (pte & PTE_N)
        return riscv_has(s, RV_SVNAPOT) && level == 0 && (ppn & 15) == 8;
    return true;
}

static bool pte_legal(RiscvState *s, uint64_t pte)
{
    bool pbmt = riscv_has(s, RV_SVPBMT) && (s->menvcfg & ENVCFG_PBMTE);
    if (!(pte & PTE_V) || (pte & (PTE_R | PTE_W)) == PTE_W || (pte & PTE_RESERVED))
        return false;
    if (pte & PTE_PBMT && (!pbmt || (pte & PTE_PBMT) == PTE_PBMT))
        return false;
    return true;
}

/* ---- walking */

static bool fail(RiscvState *s, bool access_fault)
{
    s->walk_access = access_fault;
    return false;
}

/* Host address of the page-table page at pa, if the hart may read it. */
static const uint64_t *table_at(RiscvState *s, uint64_t pa)
{
    uint8_t order;
    if (!riscv_pmp_check(s, pa, 8, ACCESS_READ, PRV_S, &order) || order < PAGE_BITS)
        return NULL;
    return space_ram(s->vcpu->vm->mem, pa, PAGE_SIZE, false, NULL, NULL);
}

/* The cached last-level table for va, or NULL. Keyed by all of satp: a root may be reused under another ASID. */
static WalkEntry *walk_entry(RiscvState *s, uint64_t va)
{
    return &s->walks[(va >> 21 ^ s->satp >> 44) % WALK_CACHE];
}

/*
 * Sets A (and D) in the leaf, as Svadu does it: a compare-and-swap against the
 * value that was checked. False: it changed meanwhile, walk again.
 */
static bool set_ad(const uint64_t *slot, uint64_t pte, uint64_t bits)
{
    return atomic_compare_exchange_strong((_Atomic uint64_t *)slot, &pte, pte | bits);
}

static uint64_t load_pte(const uint64_t *slot)
{
    return atomic_load_explicit((const _Atomic uint64_t *)slot, memory_order_relaxed);
}

/* Finds the leaf of va: its place, value and level. False: fault noted. */
static bool find_leaf(RiscvState *s, uint64_t va, const uint64_t **slot, uint64_t *pte, int *level, bool *global)
{
    int l = satp_levels(s->satp) - 1;
    int bits = 12 + 9 * (l + 1);
    if ((uint64_t)((int64_t)(va << (64 - bits)) >> (64 - bits)) != va)
        return fail(s, false);                  /* not canonical */
    *global = false;
    WalkEntry *w = walk_entry(s, va);
    const uint64_t *table;
    if (w->table && w->satp == s->satp && w->key == va >> 21) {
        table = w->table;
        l = 0;
    } else {
        table = table_at(s, (s->satp & (BIT(44) - 1)) << 12);
    }
    for (;; l--) {
        if (!table)
            return fail(s, true);
        const uint64_t *p = &table[va >> (12 + 9 * l) & 511];
        uint64_t e = load_pte(p);
        if (!pte_legal(s, e))
            return fail(s, false);
        if (e & (PTE_R | PTE_X)) {
            *slot = p, *pte = e, *level = l;
            *global |= e & PTE_G;
            return leaf_legal(s, e, l) ? true : fail(s, false);
        }
        if (l == 0 || (e & (PTE_D | PTE_A | PTE_U | PTE_N | PTE_PBMT)))
            return fail(s, false);
        *global |= e & PTE_G;
        table = table_at(s, (e & PTE_PPN) << 2);
        if (l == 1 && table && !*global)
            *w = (WalkEntry){ s->satp, va >> 21, table };
    }
}

/* Takes from *out what PMP refuses; false if it refuses this access. */
static bool apply_pmp(RiscvState *s, uint64_t pa, Access a, unsigned prv, Page *out)
{
    uint8_t order;
    bool ok = riscv_pmp_check(s, pa, 1, a, prv, &order);
    if (order < out->order)
        out->order = order;
    if (!ok)
        return fail(s, true);
    out->prot &= riscv_pmp_prot(s, pa, prv);
    return true;
}

static bool walk_tables(RiscvState *s, uint64_t va, Access a, unsigned ctx, Page *out)
{
    const uint64_t *slot;
    uint64_t pte;
    int level;
    bool global;
    for (;;) {
        if (!find_leaf(s, va, &slot, &pte, &level, &global))
            return false;
        unsigned prot = leaf_prot(s, pte, ctx);
        if (!(prot & access_prot(a)))
            return fail(s, false);
        uint64_t want = PTE_A | (a == ACCESS_WRITE ? PTE_D : 0);
        if ((pte & want) != want) {
            if (!(s->menvcfg & ENVCFG_ADUE))
                return fail(s, false);
            if (!set_ad(slot, pte, want))
                continue;
            pte |= want;
        }
        unsigned order = 12 + 9 * level + (pte & PTE_N ? 4 : 0);
        uint64_t base = (pte & PTE_PPN) << 2 >> order << order;
        out->pa = base | (va & (BIT(order) - 1) & ~(uint64_t)(PAGE_SIZE - 1));
        out->order = order;
        out->prot = pte & PTE_D ? prot : prot & ~PROT_W;
        out->global = global;
        return apply_pmp(s, out->pa | (va & (PAGE_SIZE - 1)), a, ctx_prv(ctx), out);
    }
}

bool riscv_walk(Vcpu *v, uint64_t va, Access a, unsigned ctx, Page *out)
{
    RiscvState *s = v->state;
    if (riscv_ctx_virtual(v, ctx))
        return walk_tables(s, va, a, ctx, out);
    if (va >> 56)
        return fail(s, true);
    *out = (Page){ .pa = va & ~(uint64_t)(PAGE_SIZE - 1), .order = 30, .prot = PROT_R | PROT_W | PROT_X };
    return apply_pmp(s, va, a, ctx_prv(ctx), out);
}

/* In machine mode a kernel's address means nothing; a debugger that has the kernel's symbols means the kernel's page tables. */
bool riscv_look(Vcpu *v, uint64_t va, uint64_t *pa, unsigned *order)
{
    RiscvState *s = v->state;
    int level = satp_levels(s->satp) - 1, bits = 12 + 9 * (level + 1);
    uint64_t at = (s->satp & (BIT(44) - 1)) << 12, pte;

    if (!riscv_ctx_virtual(v, v->env->mode & MODE_CTX) && !(va >> 56)) {
        *pa = va;
        *order = PAGE_BITS;
        return true;
    }
    if (level < 0 || (uint64_t)((int64_t)(va << (64 - bits)) >> (64 - bits)) != va)
        return false;
    for (; level >= 0; level--) {
        const uint64_t *table = space_ram(v->vm->mem, at, PAGE_SIZE, false, NULL, NULL);

        if (!table || !pte_legal(s, pte = load_pte(&table[va >> (12 + 9 * level) & 511])))
            return false;
        at = (pte & PTE_PPN) << 2;
        if (pte & (PTE_R | PTE_X)) {
            *order = 12 + 9 * level + (pte & PTE_N ? 4 : 0);
            *pa = (at >> *order << *order) | (va & (BIT(*order) - 1));
            return leaf_legal(s, pte, level);
        }
    }
    return false;
}

static void attributes(uint64_t pte, char *out)
{
    static const char letters[] = "rwxugad";

    for (int i = 0; i < 7; i++)
        out[i] = pte & (PTE_R << i) ? letters[i] : '-';
    out[7] = 0;
}

bool riscv_mapping(Vcpu *v, uint64_t va, Mapping *out)
{
    RiscvState *s = v->state;
    int level = satp_levels(s->satp) - 1, bits = 12 + 9 * (level + 1);
    uint64_t at = (s->satp & (BIT(44) - 1)) << 12;

    if (level < 0)
        return false;
    *out = (Mapping){ 0 };
    if ((uint64_t)((int64_t)(va << (64 - bits)) >> (64 - bits)) != va) {
        out->last = -BIT(bits - 1) - 1;         /* the hole in the middle */
        return true;
    }
    for (; level >= 0; level--) {
        const uint64_t *table = space_ram(v->vm->mem, at, PAGE_SIZE, false, NULL, NULL);
        unsigned order = 12 + 9 * level;
        uint64_t pte = 0;

        if (!table)
            order += 9;
        else
            pte = load_pte(&table[va >> order & 511]);
        if (order > 63 || !table || !pte_legal(s, pte)) {
            out->last = order > 63 ? UINT64_MAX : va | (BIT(order) - 1);
            return true;
        }
        at = (pte & PTE_PPN) << 2;
        if (pte & (PTE_R | PTE_X)) {
            order += pte & PTE_N ? 4 : 0;
            out->last = va | (BIT(order) - 1);
            out->mapped = leaf_legal(s, pte, level);
            out->pa = (at >> order << order) | (va & (BIT(order) - 1));
            attributes(pte, out->attr);
            return true;
        }
        out->last = va | (BIT(order) - 1);      /* a table below the last level */
    }
    return true;
}

void riscv_mem_fault(Vcpu *v, uint64_t va, Access a, unsigned ctx, MemOp m, enum MemFault why)
{
    static const unsigned page[] = { EXC_LOAD_PAGE, EXC_STORE_PAGE, EXC_INSN_PAGE };
    static const unsigned bus[] = { EXC_LOAD_ACCESS, EXC_STORE_ACCESS, EXC_INSN_ACCESS };
    static const unsigned odd[] = { EXC_LOAD_MISALIGNED, EXC_STORE_MISALIGNED, EXC_INSN_MISALIGNED };
    RiscvState *s = v->state;
    bool is_page = why == MEM_FAULT_PAGE && !s->walk_access;
    unsigned cause = why == MEM_FAULT_MISALIGNED ? odd[a] : is_page ? page[a] : bus[a];
    riscv_raise(v->env, cause, va);
    (void)ctx, (void)m;
}
