/* SPDX-License-Identifier: MIT */
/*
 * IMSIC interrupt files, AIA specification chapter 3. 255 identities, so
 * registers above eip6 and eie6 are zero. eidelivery is 0 or 1: an APLIC cannot
 * stand in for the file. Guest interrupt files come with the hypervisor extension.
 */
#include "target/riscv/imsic.h"

#include "target/riscv/priv.h"

static uint64_t get(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static int pin_of(int level)
{
    return level == AIA_M ? IRQ_MEI : IRQ_SEI;
}

/* The lowest identity that is pending, enabled and below the threshold; 0: none. */
static unsigned top(const ImsicFile *f)
{
    uint64_t threshold = get(&f->eithreshold);

    for (unsigned w = 0; w < IMSIC_WORDS; w++) {
        uint64_t ready = get(&f->eip[w]) & get(&f->eie[w]);

        if (ready) {
            unsigned id = w * 64 + __builtin_ctzll(ready);

            return threshold && id >= threshold ? 0 : id;
        }
    }
    return 0;
}

static bool delivers(const ImsicFile *f)
{
    return get(&f->eidelivery) == 1 && top(f);
}

void riscv_imsic_set(Vcpu *v, int level, uint32_t id)
{
    RiscvState *s = v->state;
    ImsicFile *f = s->imsic[level];

    if (!f || id == 0 || id > IMSIC_IDS)
        return;
    /* One that is pending already has been told by whoever set it. */
    if (__atomic_fetch_or(&f->eip[id / 64], BIT(id % 64), __ATOMIC_SEQ_CST) & BIT(id % 64)) {
        riscv_irq_again(v);
        return;
    }
    if (get(&f->eie[id / 64]) & BIT(id % 64) && delivers(f))
        riscv_irq_line(v, pin_of(level), 1);
}

/* ---- the hart's side */

static void update(RiscvState *s, int level)
{
    const ImsicFile *f = s->imsic[level];

    if (!delivers(f)) {
        riscv_irq_line(s->vcpu, pin_of(level), 0);
        /* One that came between the look and the lowering had raised the line in vain. */
        if (!delivers(f))
            return;
    }
    riscv_irq_line(s->vcpu, pin_of(level), 1);
}

void riscv_imsic_settle(RiscvState *s)
{
    uint64_t lines = s->irq_lines;

    for (int level = AIA_M; level <= AIA_S; level++)
        if (s->imsic[level] && lines & BIT(pin_of(level)) && !delivers(s->imsic[level]))
            update(s, level);
}

uint64_t riscv_imsic_top(const ImsicFile *f)
{
    uint64_t id = top(f);

    return id << 16 | id;
}

void riscv_imsic_claim(RiscvState *s, int level)
{
    unsigned id = s->seen & 0xff;

    if (!id)
        return;
    s->messages[level][id]++;
    __atomic_fetch_and(&s->imsic[level]->eip[id / 64], ~BIT(id % 64), __ATOMIC_SEQ_CST);
    update(s, level);
}

enum { EIDELIVERY = 0x70, EITHRESHOLD = 0x72, EIP0 = 0x80, EIE0 = 0xc0, LAST = 0xff };

/* Where the selected register is, and which of its bits there are; NULL: it is a zero. */
static uint64_t *place(ImsicFile *f, unsigned select, uint64_t *mask)
{
    unsigned w = (select & 0x3f) / 2;

    *mask = select == EIDELIVERY ? 1 : select == EITHRESHOLD ? IMSIC_IDS : UINT64_MAX;
    if (select == EIDELIVERY)
        return &f->eidelivery;
    if (select == EITHRESHOLD)
        return &f->eithreshold;
    if (select < EIP0 || w >= IMSIC_WORDS)
        return NULL;
    if (w == 0)
        *mask = ~UINT64_C(1);
    return select < EIE0 ? &f->eip[w] : &f->eie[w];
}

bool riscv_imsic_reg(RiscvState *s, int level, unsigned select, bool write, uint64_t *v)
{
    ImsicFile *f = s->imsic[level];
    uint64_t mask, *p;

    if (!f || select < EIDELIVERY || select > LAST || (select >= EIP0 && select & 1))
        return false;
    p = place(f, select, &mask);
    if (!write) {
        *v = p ? get(p) : 0;
        return true;
    }
    if (!p)
        return true;
    if (p >= f->eip && p < f->eip + IMSIC_WORDS) {
        /* Messages may come meanwhile: only what differs from what was read is written. */
        __atomic_fetch_or(p, *v & mask & ~s->seen, __ATOMIC_SEQ_CST);
        __atomic_fetch_and(p, ~(s->seen & ~*v), __ATOMIC_SEQ_CST);
    } else {
        __atomic_store_n(p, *v & mask, __ATOMIC_SEQ_CST);
    }
    update(s, level);
    return true;
}
