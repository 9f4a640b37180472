/* SPDX-License-Identifier: MIT */
/*
 * Forms units: which guest instructions are translated together. Decoding starts
 * at the entry and follows the fall-through; after an instruction that ends the
 * straight line it goes on at the lowest address ahead, inside the page, that an
 * earlier branch goes to or a call returns to. So addresses only ascend, nothing is decoded
 * twice, and what lies behind the entry is left to other units: backward edges to
 * it leave this one.
 *
 * A block, as the limits count them, is a run of instructions that ends where
 * control may go elsewhere: at a branch, jump or exit.
 */
#include <glib.h>
#include <string.h>

#include "target/isa.h"

enum { PAGE = 4096, PENDING_MAX = 1024 };

typedef struct Former {
    Tr tr;
    const uint8_t *page, *next_page;
    uint64_t base;                  /* guest address of the page */
    uint64_t pending[PENDING_MAX];  /* targets ahead that are not decoded yet, unordered; more are forgotten */
    int npending;
} Former;

static bool inside(const Former *f, uint64_t pc)
{
    return pc - f->base < PAGE;
}

static void note_target(Former *f, uint64_t pc)
{
    if (inside(f, pc) && pc >= f->tr.next && f->npending < PENDING_MAX)
        f->pending[f->npending++] = pc;
}

/* Notes where the instructions from `first` on may go. True if they end a block. */
static bool note_targets(Former *f, int first)
{
    const IrUnit *u = f->tr.ir;
    bool ends = false;

    for (int n = first; n < u->n; n++) {
        const IrInsn *i = &u->insns[n];

        switch (i->op) {
        case IR_br: case IR_gopc:
            note_target(f, i->imm);
            ends = true;
            break;
        case IR_callpc:
            note_target(f, i->imm);
            note_target(f, i->imm2);
            ends = true;
            break;
        case IR_goind:
            if (i->aux == IND_CALL)
                note_target(f, i->imm2);
            ends = true;
            break;
        case IR_exit:
            ends = true;
            break;
        }
    }
    return ends;
}

/* The lowest pending target at or after `pc`; those before it are dropped. False: none. */
static bool next_target(Former *f, uint64_t pc, uint64_t *out)
{
    int kept = 0;

    for (int n = 0; n < f->npending; n++)
        if (f->pending[n] >= pc)
            f->pending[kept++] = f->pending[n];
    f->npending = kept;
    *out = UINT64_MAX;
    for (int n = 0; n < kept; n++)
        if (f->pending[n] < *out)
            *out = f->pending[n];
    return kept > 0;
}

/*
 * Translates the instruction at tr.pc. False: it needs bytes that aren't there;
 * the unit is as before.
 */
static bool step(Former *f, const uint8_t *code, unsigned avail)
{
    Tr *t = &f->tr;
    IrUnit *u = t->ir;
    int n = u->n, nvalues = u->nvalues, nmarks = u->nmarks;

    t->code = code;
    t->avail = avail;
    t->ended = false;
    t->next = t->pc;
    if (t->isa->step(t) == STEP_OK)
        return true;
    u->n = n;
    u->nvalues = nvalues;
    u->nmarks = nmarks;
    return false;
}

/* The entry instruction crosses into the next page: it becomes a unit of its own. */
static bool step_crossing(Former *f, unsigned off)
{
    uint8_t bytes[64];
    unsigned here = PAGE - off, more = f->tr.isa->max_insn;

    if (!f->next_page || here + more > sizeof(bytes))
        return false;
    memcpy(bytes, f->page + off, here);
    memcpy(bytes + here, f->next_page, more);
    return step(f, bytes, here + more);
}

/*
 * A debugger stops before the instruction at tr.pc: leaves there, as if it had no bytes but the first. Also says where
 * the next such place is.
 */
static bool stops(Former *f, const TranslateLimits *lim)
{
    Tr *t = &f->tr;
    int n = 0;

    while (n < lim->nbreaks && lim->breaks[n] < t->pc)
        n++;
    bool here = n < lim->nbreaks && lim->breaks[n] == t->pc;
    n += here;
    t->apart = n < lim->nbreaks ? lim->breaks[n] : 0;
    if (!here)
        return false;
    ir_mark(t->ir, t->pc, 1);
    ir_exit(t->ir, EXIT_DEBUG, t->pc);
    t->next = t->pc + 1;
    t->ended = true;
    return true;
}

/* Decodes until nothing is left to do; returns the guest address after the last instruction. */
static uint64_t form(Former *f, TranslateLimits lim)
{
    Tr *t = &f->tr;
    int insns = 0, blocks = 0;
    bool open = false, alone = lim.one_insn;        /* open: the last instruction falls through */
    uint64_t end = t->pc;

    do {
        int first = t->ir->n;
        unsigned off = t->pc - f->base;

        if (!(lim.nbreaks && stops(f, &lim)) && !step(f, f->page + off, PAGE - off)) {
            if (insns > 0 || !step_crossing(f, off))
                break;
            alone = true;
        }
        insns++;
        end = t->next;
        open = !t->ended;
        blocks += note_targets(f, first);
        if (alone || insns >= lim.max_insns || blocks >= lim.max_blocks || (lim.single_block && blocks)
            || !inside(f, t->next))
            break;
        t->pc = t->next;
    } while (open || next_target(f, t->next, &t->pc));
    if (open)
        ir_gopc(t->ir, end);
    return end;
}

int translate_unit(Vcpu *v, IrUnit *u, uint64_t pc, uint64_t mode, const uint8_t *page, const uint8_t *next_page,
                   TranslateLimits lim, unsigned *lo, unsigned *hi)
{
    Former f;
    uint64_t end;

    f.tr = (Tr){ .ir = u, .isa = v->isa, .vcpu = v, .mode = mode, .pc = pc };
    f.page = page;
    f.next_page = next_page;
    f.base = pc & ~(uint64_t)(PAGE - 1);
    f.npending = 0;
    ir_reset(u, pc, mode);
    end = form(&f, lim);
    ir_finish(u);
    *lo = pc - f.base;
    *hi = end - f.base;
    return *hi - *lo;
}
