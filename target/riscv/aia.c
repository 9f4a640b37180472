/* SPDX-License-Identifier: MIT */
/*
 * The hart's part of the Advanced Interrupt Architecture (AIA specification 1.0,
 * chapters 2 and 5): which interrupt comes first, interrupts that M makes up for
 * S (mvien, mvip), the windows to priorities and to the IMSIC's files.
 *
 * Priority numbers have 8 bits at both levels. Harts without the AIA go the same
 * way with all of this zero. Not there: what the hypervisor extension adds.
 */
#include "target/riscv/imsic.h"
#include "target/riscv/priv.h"

/* ---- which are pending */

uint64_t riscv_pending_m(RiscvState *s)
{
    return riscv_mip(s) & s->mie & ~s->mideleg;
}

uint64_t riscv_pending_s(RiscvState *s)
{
    return (riscv_mip(s) & s->mie & s->mideleg) | (s->mvip & s->mvien & s->vsie & ~s->mideleg);
}

/* ---- which comes first */

enum { IRQS = 64, NO_EXTERNAL = 256 /* its priority when no controller says one */, LAST_OF_ALL = 0xffff };

/*
 * Default order, chapter 5.1. 16-23 and 32-47 stand where it says that they are planned; those for
 * custom use and 0, which nothing here raises by itself, come last.
 */
static const uint8_t order[IRQS] = {
    47, 23, 46, 45, 22, 44, 43, 21, 42, 41, 20, 40,
    IRQ_MEI, IRQ_MSI, IRQ_MTI, IRQ_SEI, IRQ_SSI, IRQ_STI, 12, 10, 2, 6, IRQ_LCOFI, 14,
    39, 19, 38, 37, 18, 36, 35, 17, 34, 33, 16, 32,
    4, 8, 15, 24, 25, 26, 27, 28, 29, 30, 31, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 0,
};

static unsigned external_prio(const RiscvState *s, int level)
{
    unsigned prio = s->imsic[level] ? riscv_imsic_top(s->imsic[level]) & 0x7ff : s->ext_prio[level];

    return prio ? prio : NO_EXTERNAL;
}

int riscv_top(RiscvState *s, int level, uint64_t pending, unsigned *prio)
{
    int external = level == AIA_M ? IRQ_MEI : IRQ_SEI, found = -1;
    unsigned best = LAST_OF_ALL + 1;
    bool above = true;              /* is what comes now by default above the external interrupt? */

    for (unsigned i = 0; i < IRQS && pending; i++) {
        unsigned irq = order[i], p = s->iprio[level][irq];

        if (irq == (unsigned)external) {
            above = false;
            p = pending >> irq & 1 ? external_prio(s, level) : 0;
        } else if (!p) {
            p = above ? 0 : LAST_OF_ALL;
        }
        if (pending >> irq & 1 && p < best) {
            best = p;
            found = irq;
        }
        pending &= ~BIT(irq);
    }
    if (prio)
        *prio = best > 255 ? 255 : best;
    return found;
}

uint64_t riscv_topi(RiscvState *s, int level)
{
    unsigned prio;

    riscv_imsic_settle(s);
    /* A timer that is due counts, even if the main loop has not come to it. */
    if (s->menvcfg & ENVCFG_STCE && !(s->irq_lines & BIT(IRQ_STI)) && riscv_time(s) >= s->stimecmp)
        riscv_irq_line(s->vcpu, IRQ_STI, 1);
    int irq = riscv_top(s, level, level == AIA_M ? riscv_pending_m(s) : riscv_pending_s(s), &prio);
    return irq < 0 ? 0 : (uint64_t)irq << 16 | prio;
}

/* ---- what M makes up for S */

#define SOFT_BITS (BIT(IRQ_SSI) | BIT(IRQ_SEI))
#define LOCAL_BITS (~UINT64_C(0) << 13)
#define MVIEN_BITS (SOFT_BITS | LOCAL_BITS)

/* Bits of mvip that are mip's own: software's SSIP and SEIP while mvien lacks them, STIP unless Sstc has it. */
static uint64_t aliased(const RiscvState *s)
{
    return (SOFT_BITS & ~s->mvien) | (s->menvcfg & ENVCFG_STCE ? 0 : BIT(IRQ_STI));
}

uint64_t riscv_mvip_read(const RiscvState *s)
{
    return (s->mip & aliased(s)) | s->mvip;
}

void riscv_mvip_write(RiscvState *s, uint64_t v)
{
    uint64_t alias = aliased(s);

    s->mip = (s->mip & ~alias) | (v & alias);
    s->mvip = v & ((SOFT_BITS & s->mvien) | LOCAL_BITS);
}

/* mvip's bit 9 keeps its value, so it moves between the two. That of bit 1 is left open: it takes mip's. */
void riscv_mvien_write(RiscvState *s, uint64_t v)
{
    const uint64_t sei = BIT(IRQ_SEI);
    uint64_t out = SOFT_BITS & v & ~s->mvien, back = SOFT_BITS & s->mvien & ~v, was = s->mvip;

    s->mvip = (s->mvip & ~(out | back)) | (s->mip & out);
    s->mip = (s->mip & ~(out & sei)) | (was & back & sei);
    s->mvien = v & MVIEN_BITS;
}

/* ---- the windows */

enum { IPRIO0 = 0x30, IPRIO15 = 0x3f };

/* Numbers that can be set: of what may be enabled at that level, but not of its external interrupt. */
static uint64_t settable(int level)
{
    uint64_t both = BIT(IRQ_SSI) | BIT(IRQ_STI);

    return level == AIA_M ? both | BIT(IRQ_MSI) | BIT(IRQ_MTI) | BIT(IRQ_SEI) | BIT(IRQ_LCOFI) : both | LOCAL_BITS;
}

static bool iprio_reg(RiscvState *s, int level, unsigned select, bool write, uint64_t *v)
{
    unsigned first = (select - IPRIO0) * 4;

    if (select & 1)
        return false;
    if (!write)
        *v = 0;
    for (unsigned i = 0; i < 8; i++) {
        uint8_t *p = &s->iprio[level][first + i];

        if (!write)
            *v |= (uint64_t)*p << 8 * i;
        else if (settable(level) >> (first + i) & 1)
            *p = *v >> 8 * i;
    }
    return true;
}

bool riscv_ireg(RiscvState *s, int level, bool write, uint64_t *v)
{
    unsigned select = s->iselect[level];
    bool there = select >= IPRIO0 && select <= IPRIO15 ? iprio_reg(s, level, select, write, v)
                                                       : riscv_imsic_reg(s, level, select, write, v);

    if (there && !write)
        s->seen = *v;
    return there;
}
