/* SPDX-License-Identifier: MIT */
/*
 * Physical memory protection: privileged manual 3.7. Sixteen entries, any
 * granularity down to four bytes; Smepmp is left out.
 */
#include "target/riscv/state.h"

#include "target/isa.h"
#include "target/riscv/priv.h"

enum { PMP_R = 1, PMP_W = 2, PMP_X = 4, PMP_A = 3 << 3, PMP_L = 1 << 7 };
enum { PMP_OFF, PMP_TOR, PMP_NA4, PMP_NAPOT };

typedef struct PmpRange { uint64_t first, last; bool active; } PmpRange;

static unsigned pmp_mode(uint8_t cfg)
{
    return (cfg & PMP_A) >> 3;
}

/* The bytes that entry i speaks of; inactive when it is off or empty. */
static PmpRange pmp_range(const RiscvState *s, int i)
{
    uint64_t addr = s->pmpaddr[i];
    switch (pmp_mode(s->pmpcfg[i])) {
    case PMP_TOR: {
        uint64_t low = i ? s->pmpaddr[i - 1] << 2 : 0, high = addr << 2;
        return (PmpRange){ low, high - 1, low < high };
    }
    case PMP_NA4:
        return (PmpRange){ addr << 2, (addr << 2) + 3, true };
    case PMP_NAPOT: {
        /* the trailing ones say the size: 8 bytes for none */
        uint64_t mask = addr ^ (addr + 1);
        uint64_t low = (addr & ~mask) << 2;
        return (PmpRange){ low, low + ((mask << 2) | 3), true };
    }
    default:
        return (PmpRange){ 0, 0, false };
    }
}

static uint8_t pmp_needs(int access)
{
    return access == ACCESS_READ ? PMP_R : access == ACCESS_WRITE ? PMP_W : PMP_X;
}

/*
 * The entry that decides for all of [first, last]: its number, -1 when none
 * matches any byte, -2 when some entry matches only a part.
 */
static int pmp_match(const RiscvState *s, uint64_t first, uint64_t last)
{
    for (int i = 0; i < PMP_ENTRIES; i++) {
        PmpRange r = pmp_range(s, i);
        if (!r.active || r.last < first || r.first > last)
            continue;
        return r.first <= first && last <= r.last ? i : -2;
    }
    return -1;
}

static bool pmp_allows(const RiscvState *s, int entry, int access, unsigned prv)
{
    if (entry == -2)
        return false;
    if (entry == -1)
        return prv == PRV_M || !s->pmp_any;
    uint8_t cfg = s->pmpcfg[entry];
    return (prv == PRV_M && !(cfg & PMP_L)) || (cfg & pmp_needs(access));
}

bool riscv_pmp_check(RiscvState *s, uint64_t pa, unsigned size, int access, unsigned prv, uint8_t *order)
{
    if (!s->pmp_any) {
        *order = 56;
        return true;
    }
    /* The largest block around the access about which one entry (or none) speaks; entries speak of four bytes at least. */
    for (int o = 30; o > 2; o -= o > PAGE_BITS ? 9 : 1) {
        uint64_t first = pa >> o << o, last = first + (1ull << o) - 1;
        int entry = last >= pa + size - 1 ? pmp_match(s, first, last) : -2;
        if (entry != -2) {
            *order = o;
            return pmp_allows(s, entry, access, prv);
        }
    }
    *order = 2;
    return pmp_allows(s, pmp_match(s, pa, pa + size - 1), access, prv);
}

unsigned riscv_pmp_prot(RiscvState *s, uint64_t pa, unsigned prv)
{
    static const int access[] = { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC };
    static const unsigned prot[] = { PROT_R, PROT_W, PROT_X };
    unsigned got = 0;
    uint8_t order;
    for (int i = 0; i < 3; i++)
        got |= riscv_pmp_check(s, pa, 1, access[i], prv, &order) ? prot[i] : 0;
    return got;
}

static void pmp_changed(RiscvState *s)
{
    s->pmp_any = false;
    for (int i = 0; i < PMP_ENTRIES; i++)
        s->pmp_any |= pmp_mode(s->pmpcfg[i]) != PMP_OFF;
    riscv_walks_drop(s);
    mmu_ops->flush_all(s->vcpu);
}

void riscv_pmp_loaded(RiscvState *s)
{
    pmp_changed(s);
}

uint64_t riscv_pmpcfg_read(RiscvState *s, unsigned reg)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++) {
        unsigned e = reg * 4 + i;       /* RV64: only even registers, eight entries each */
        v |= e < PMP_ENTRIES ? (uint64_t)s->pmpcfg[e] << (8 * i) : 0;
    }
    return v;
}

void riscv_pmpcfg_write(RiscvState *s, unsigned reg, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        unsigned e = reg * 4 + i;
        uint8_t cfg = v >> (8 * i) & (PMP_L | PMP_A | PMP_X | PMP_W | PMP_R);
        if (e >= PMP_ENTRIES || (s->pmpcfg[e] & PMP_L))
            continue;
        if ((cfg & (PMP_R | PMP_W)) == PMP_W)       /* reserved: WARL, the write bit goes */
            cfg &= ~PMP_W;
        s->pmpcfg[e] = cfg;
    }
    pmp_changed(s);
}

void riscv_pmpaddr_write(RiscvState *s, unsigned i, uint64_t v)
{
    bool next_locks = i + 1 < PMP_ENTRIES && (s->pmpcfg[i + 1] & PMP_L) && pmp_mode(s->pmpcfg[i + 1]) == PMP_TOR;
    if ((s->pmpcfg[i] & PMP_L) || next_locks)
        return;
    s->pmpaddr[i] = v & ((1ull << 54) - 1);
    pmp_changed(s);
}
