/* SPDX-License-Identifier: MIT */
/*
 * A unit's own pins. At every border of a unit the standard pins hold; inside, a
 * slot that the unit uses much may have the host register of one that it uses
 * little, which lives in its home meanwhile. Worth it for loops and long straight
 * code (hash functions); short units keep the standard.
 *
 * x64_pins_in makes the change behind the entry, behind a call's return and
 * behind a stub; x64_pins_out undoes it before everything that leaves the unit or
 * calls a stub. Neither touches scratch registers or flags, so arguments may be
 * in place.
 */
#include "tcg/x64/x64-priv.h"

enum {
    FULL = 16,          /* weight of a use in straight code at the entry */
    LOOP = 8,           /* how much more it counts in a loop */
    WORTH = 6 * FULL,   /* an exchange costs that much at entry and exit */
    PER_CALL = 4,       /* and that many uses at each call in between */
    FEW = 20,           /* shorter units aren't looked at */
};

typedef struct Weights { uint32_t *slot, calls; } Weights;

static void weigh(Weights *w, IrRef r, uint32_t by)
{
    if (ir_tag(r) == IR_SLOT)
        w->slot[ir_index(r)] += by;
}

/*
 * How often the code at i runs, against the entry. Each edge out of the unit takes
 * an eighth away; a loop head puts it up; what stands behind an unconditional end is
 * reached by a branch only.
 */
static uint32_t frequency(X64Emitter *e, const IrInsn *i, uint32_t f)
{
    switch (i->op) {
    case IR_mark: {
        Label *l = i->x & MARK_LABEL ? x64_label(e, i->imm) : NULL;
        return l && l->loop && f < FULL * LOOP ? FULL * LOOP : f;
    }
    case IR_br:
        return x64_label(e, i->imm) ? f : f - f / 8;
    case IR_gopc: case IR_goind: case IR_exit:
        return f > FULL ? FULL : f / 2;
    default:
        return f;
    }
}

static void weigh_unit(X64Emitter *e, Weights *w)
{
    const IrUnit *u = e->u;
    uint32_t f = FULL;

    for (int n = 0; n < u->n; n++) {
        const IrInsn *i = &u->insns[n];

        weigh(w, i->a, f);
        weigh(w, i->b, f);
        weigh(w, i->c, f);
        weigh(w, i->d, f);
        if (i->op == IR_call || i->op == IR_callpc || (i->op == IR_goind && i->aux == IND_CALL))
            w->calls += f;
        f = frequency(e, i, f);
    }
}

static int pin_of(SlotLoc l)
{
    return l.reg >= 0 ? l.reg : l.xmm;
}

/* The unpinned slot of the bank that is used most, or the pinned one that is used least; not those exchanged already. */
static int extreme(const X64Emitter *e, const Weights *w, IrBank bank, bool pinned)
{
    int best = -1;

    for (int s = 0; s < e->g->nslots; s++) {
        if (e->g->slots[s].bank != bank || (pin_of(e->own[s]) >= 0) != pinned
            || (pin_of(e->s->slot[s]) >= 0) != pinned)
            continue;
        if (best < 0 || (pinned ? w->slot[s] < w->slot[best] : w->slot[s] > w->slot[best]))
            best = s;
    }
    return best;
}

static void exchange(X64Emitter *e, int in, int out)
{
    SlotLoc *i = &e->own[in], *o = &e->own[out];

    e->swaps[e->nswaps++] = (PinSwap){ .reg = o->reg, .xmm = o->xmm, .in = i->disp, .out = o->disp };
    i->reg = o->reg;
    i->xmm = o->xmm;
    o->reg = o->xmm = -1;
}

static void choose_in(X64Emitter *e, const Weights *w, IrBank bank)
{
    for (;;) {
        int in = extreme(e, w, bank, false), out;

        if (in < 0 || (w->slot[in] < WORTH && !e->r->stir))
            return;
        out = extreme(e, w, bank, true);
        if (out < 0)
            return;
        if (w->slot[in] < w->slot[out] + WORTH + PER_CALL * w->calls && !e->r->stir)
            return;
        exchange(e, in, out);
    }
}

void x64_pins_choose(X64Emitter *e)
{
    uint32_t slot[X64_MAX_SLOTS] = { 0 };
    Weights w = { slot, 0 };

    e->slot = e->s->slot;
    e->nswaps = 0;
    if ((e->u->n < FEW && !e->r->stir) || e->r->ungrouped || e->g->nslots > X64_MAX_SLOTS)
        return;
    weigh_unit(e, &w);
    memcpy(e->own, e->s->slot, e->g->nslots * sizeof(SlotLoc));
    choose_in(e, &w, BANK_GPR);
    choose_in(e, &w, BANK_FPR);
    if (e->nswaps)
        e->slot = e->own;
}

/* Each pin's register goes to the home `to`, and takes what is in the home `from`. */
static void exchange_one(Asm *a, const PinSwap *p, int32_t to, int32_t from)
{
    if (p->reg >= 0) {
        asm_store(a, 3, rm_mem(RBP, to), p->reg);
        asm_mov(a, 1, p->reg, rm_mem(RBP, from));
    } else {
        asm_vmovq_to(a, rm_mem(RBP, to), p->xmm);
        asm_vmovq(a, p->xmm, rm_mem(RBP, from));
    }
}

void x64_pins_in(X64Emitter *e, Asm *a)
{
    for (int n = 0; n < e->nswaps && e->slot == e->own; n++)
        exchange_one(a, &e->swaps[n], e->swaps[n].out, e->swaps[n].in);
}

void x64_pins_out(X64Emitter *e, Asm *a)
{
    for (int n = 0; n < e->nswaps && e->slot == e->own; n++)
        exchange_one(a, &e->swaps[n], e->swaps[n].in, e->swaps[n].out);
}
