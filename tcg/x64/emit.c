/* SPDX-License-Identifier: MIT */
/*
 * The driver of the one-pass backend: operands, scratch registers, labels, and
 * the loop over a unit's instructions. A short pass before it notes where each
 * value is used last and which pcs are labels.
 *
 * Values live in rax, rcx, rdx while there is room and in env->spill beyond; none
 * lives at a mark. A value whose only use is a move or extension into a pinned
 * slot by the next instruction is computed in that pin at once.
 */
#include <glib.h>

#include "tcg/x64/x64-priv.h"

void *x64_vec_grow(void *v, int *cap, size_t item)
{
    *cap = *cap ? *cap * 2 : 64;
    return g_realloc(v, *cap * item);
}

/* ---- scratch registers */

enum { SCRATCH = 3 };           /* rax, rcx, rdx are numbered 0 to 2 */

static void spill(X64Emitter *e, int reg)
{
    Val *v = &e->vals[e->owner[reg]];

    if (v->spill < 0) {
        int k = __builtin_ctz(~e->spills);

        if (k >= SPILL_ARG) {
            e->bad = true;
            k = 0;
        }
        e->spills |= 1u << k;
        v->spill = (int8_t)k;
        asm_store(&e->hot, 3, env_spill(k), reg);
    }
    v->reg = -1;
    e->owner[reg] = -1;
}

static bool is_operand(const X64Emitter *e, int val)
{
    const IrInsn *i = &e->u->insns[e->idx];
    IrRef r = ir_ref(IR_VAL, val);

    return i->a == r || i->b == r || i->c == r;
}

void x64_need(X64Emitter *e, int n)
{
    int spare = 0;

    for (int r = 0; r < SCRATCH; r++)
        spare += e->owner[r] < 0 && !(e->busy >> r & 1);
    for (int pass = 0; pass < 2; pass++)        /* operands of this instruction last */
        for (int r = 0; r < SCRATCH && spare < n; r++)
            if (e->owner[r] >= 0 && !(e->busy >> r & 1) && (pass || !is_operand(e, e->owner[r]))) {
                spill(e, r);
                spare++;
            }
}

int x64_take(X64Emitter *e)
{
    for (int pass = 0; pass < 2; pass++)
        for (int r = 0; r < SCRATCH; r++) {
            if (e->busy >> r & 1 || (!pass && e->owner[r] >= 0))
                continue;
            if (pass)
                spill(e, r);
            e->busy |= 1u << r;
            return r;
        }
    e->bad = true;              /* a lowering that asks for more than there is */
    return RAX;
}

void x64_claim(X64Emitter *e, int reg)
{
    if (e->owner[reg] >= 0)
        spill(e, reg);
    e->busy |= 1u << reg;
}

void x64_flush(X64Emitter *e)
{
    for (int r = 0; r < SCRATCH; r++)
        if (e->owner[r] >= 0)
            spill(e, r);
}

static void free_val(X64Emitter *e, IrRef ref)
{
    if (!x64_is_val(ref))
        return;
    Val *v = &e->vals[ir_index(ref)];
    if (v->last > e->idx)
        return;
    if (v->reg >= 0 && v->reg < SCRATCH && e->owner[v->reg] == (int)ir_index(ref))
        e->owner[v->reg] = -1;
    if (v->spill >= 0)
        e->spills &= ~(1u << v->spill);
    v->reg = v->spill = -1;
}

/* ---- operands */

/*
 * Does the instruction being lowered only load the guest address r, whole? Others may compute with a part of it, or in
 * ways that depend on its value.
 */
static bool loads_whole(const X64Emitter *e, IrRef r)
{
    const IrInsn *i = &e->u->insns[e->idx];

    switch (i->op) {
    case IR_mov:
        return i->type == IR_I64;
    case IR_ld: case IR_st: case IR_lr: case IR_sc: case IR_amo: case IR_cas:
        return i->b != r && i->c != r;
    default:
        return i->op == IR_goind || i->op == IR_call;
    }
}

void x64_mov_pc(X64Emitter *e, Asm *a, int reg, uint64_t pc)
{
    AsmNotes *n = e->notes;

    asm_mov_imm(a, reg, pc);
    if (imm_fits(pc) || pc == (uint32_t)pc || n->npc == ASM_NOTES)
        e->fixed = true;
    else
        n->pc[n->npc++] = a->p - 8;
}

void x64_set_rel32(X64Emitter *e, uint8_t *at, const uint8_t *to)
{
    asm_note_rel32(e->notes, at);
    asm_set_rel32(at, to);
}

Opnd x64_use(X64Emitter *e, IrRef r)
{
    Opnd o = { .kind = O_MEM };

    switch (ir_tag(r)) {
    case IR_SLOT: {
        SlotLoc l = e->slot[ir_index(r)];

        if (l.reg >= 0) {
            o.kind = O_REG;
            o.rm = rm_reg(l.reg);
        } else if (l.xmm >= 0) {
            o.kind = O_REG;
            o.rm = rm_reg(x64_take(e));
            asm_vmov_rx(&e->hot, 1, o.rm, l.xmm);
        } else {                /* one of 4 bytes may be read as 8: its upper half doesn't count */
            o.rm = rm_mem(RBP, l.disp);
        }
        break;
    }
    case IR_VAL: {
        const Val *v = &e->vals[ir_index(r)];

        if (v->reg >= 0) {
            o.kind = O_REG;
            o.rm = rm_reg(v->reg);
            if (v->reg < SCRATCH)
                e->busy |= 1u << v->reg;
        } else {
            o.rm = env_spill(v->spill);
        }
        break;
    }
    default:
        o.kind = O_IMM;
        o.imm = r == IR_NONE ? 0 : ir_const(e->u, r);
        o.pc = ir_tag(r) == IR_PCIMM;
        if (o.pc && !loads_whole(e, r))
            e->fixed = true;
    }
    return o;
}

void x64_load(X64Emitter *e, Asm *a, int reg, Opnd o)
{
    if (o.kind == O_IMM && o.pc)
        x64_mov_pc(e, a, reg, o.imm);
    else if (o.kind == O_IMM)
        asm_mov_imm(a, reg, o.imm);
    else if (!opnd_is(o, reg))
        asm_mov(a, 1, reg, o.rm);
}

int x64_in_reg(X64Emitter *e, Opnd o)
{
    int t;

    if (o.kind == O_REG)
        return o.rm.base;
    t = x64_take(e);
    x64_load(e, &e->hot, t, o);
    return t;
}

Opnd x64_small(X64Emitter *e, Opnd o)
{
    if (o.kind == O_IMM && !imm_fits(o.imm))
        return (Opnd){ .kind = O_REG, .rm = rm_reg(x64_in_reg(e, o)) };
    return o;
}

/* ---- destinations */

/* The pin that a value's only use moves or extends it into, if that is the next instruction; or -1. */
static int wanted_pin(const X64Emitter *e, const IrInsn *i)
{
    const Val *v = &e->vals[ir_index(i->d)];
    const IrInsn *next = i + 1;

    if (v->last != e->idx + 1 || next->op > IR_zext32 || ir_tag(next->d) != IR_SLOT)
        return -1;
    return e->slot[ir_index(next->d)].reg;
}

int x64_dst(X64Emitter *e, const IrInsn *i)
{
    if (ir_tag(i->d) == IR_SLOT) {
        int pin = e->slot[ir_index(i->d)].reg;

        if (pin >= 0)
            return pin;
    } else if (x64_is_val(i->d)) {
        int pin = wanted_pin(e, i);

        if (pin >= 0) {
            e->vals[ir_index(i->d)].reg = (int8_t)pin;
            return pin;
        }
    }
    if (x64_is_val(i->a)) {     /* its scratch register, when it dies here */
        const Val *v = &e->vals[ir_index(i->a)];

        if (v->last == e->idx && v->reg >= 0 && v->reg < SCRATCH)
            return v->reg;
    }
    return x64_take(e);
}

bool x64_in_memory(const X64Emitter *e, const IrInsn *i, Rm home)
{
    return home.is_mem && e->slot[ir_index(i->d)].is32 == !x64_w(i);
}

Rm x64_dst_home(X64Emitter *e, const IrInsn *i)
{
    if (ir_tag(i->d) == IR_SLOT) {
        SlotLoc l = e->slot[ir_index(i->d)];

        if (l.reg < 0 && l.xmm < 0)
            return rm_mem(RBP, l.disp);
    }
    return rm_reg(0);
}

static void put_val(X64Emitter *e, IrRef d, int reg)
{
    Val *v = &e->vals[ir_index(d)];

    if (v->reg >= SCRATCH) {                    /* a pin, as x64_dst chose */
        if (v->reg != reg)
            asm_mov(&e->hot, 1, v->reg, rm_reg(reg));
        return;
    }
    if (e->owner[reg] >= 0)
        e->vals[e->owner[reg]].reg = -1;        /* an operand that dies here */
    v->reg = (int8_t)reg;
    e->owner[reg] = (int)ir_index(d);
}

void x64_put(X64Emitter *e, const IrInsn *i, int reg)
{
    if (ir_tag(i->d) == IR_SLOT) {
        SlotLoc l = e->slot[ir_index(i->d)];

        if (l.xmm >= 0)
            asm_vmov_xr(&e->hot, 1, l.xmm, rm_reg(reg));
        else if (l.reg < 0)
            asm_store(&e->hot, l.is32 ? 2 : 3, rm_mem(RBP, l.disp), reg);
        else if (l.reg != reg)
            asm_mov(&e->hot, 1, l.reg, rm_reg(reg));
    } else if (x64_is_val(i->d)) {
        put_val(e, i->d, reg);
    }
}

/* ---- labels */

Label *x64_label(X64Emitter *e, uint64_t pc)
{
    for (unsigned h = (unsigned)(pc >> 1); ; h++) {
        Label *l = &e->labels[h % LABEL_HASH];

        if (l->gen != e->gen)
            return NULL;
        if (l->pc == pc)
            return l;
    }
}

static void add_label(X64Emitter *e, uint64_t pc, int idx)
{
    unsigned h = (unsigned)(pc >> 1);

    while (e->labels[h % LABEL_HASH].gen == e->gen)
        if (e->labels[h++ % LABEL_HASH].pc == pc)
            return;
    e->labels[h % LABEL_HASH] = (Label){ .pc = pc, .gen = e->gen, .begin = idx };
}

static void next_generation(X64Emitter *e)
{
    if (++e->gen == 0) {
        memset(e->labels, 0, LABEL_HASH * sizeof *e->labels);
        e->gen = 1;
    }
}

/* ---- the passes */

static inline void note_use(X64Emitter *e, IrRef r, int idx)
{
    if (x64_is_val(r))
        e->vals[ir_index(r)].last = idx;
}

/* An edge to a label that stands before it: a loop. */
static void note_edge(X64Emitter *e, const IrInsn *i, int idx)
{
    Label *l = x64_label(e, i->imm);

    if (l) {
        l->loop = true;
        l->end = idx;
    }
}

static void prepass(X64Emitter *e)
{
    const IrUnit *u = e->u;

    for (int n = 0; n < u->nvalues; n++)
        e->vals[n] = (Val){ .last = -1, .reg = -1, .spill = -1 };
    for (int n = 0; n < u->n; n++) {
        const IrInsn *i = &u->insns[n];

        if (i->op == IR_mark) {
            if (i->x & MARK_LABEL)
                add_label(e, i->imm, n);
            continue;
        }
        if (i->op == IR_br || i->op == IR_gopc)
            note_edge(e, i, n);
        note_use(e, i->a, n);
        note_use(e, i->b, n);
        note_use(e, i->c, n);
    }
}

typedef void Lower(X64Emitter *e, const IrInsn *i);
static Lower *const lower[IR_OPS] = {
#define X(name, out, in, shape, flags, meaning) [IR_##name] = x64_lower_##name,
#include "tcg/ir/ops.h"
#undef X
};

/* More than any one IR instruction makes, in either area. */
enum { INSN_ROOM = 2048 };

static bool room(const X64Emitter *e)
{
    return e->r->hot.end - e->hot.p >= INSN_ROOM && e->r->cold.end - e->cold.p >= INSN_ROOM;
}

/* Does it leave the unit, whatever comes? Then it is lowered for the standard pins. */
static bool leaves(X64Emitter *e, const IrInsn *i)
{
    switch (i->op) {
    case IR_goind: case IR_exit:
        return true;
    case IR_gopc: case IR_callpc:
        return !x64_label(e, i->imm);
    default:
        return false;
    }
}

static void lower_narrow(X64Emitter *e, const IrInsn *i)
{
    IrInsn narrow = *i;

    narrow.type = IR_I32;
    lower[i->op](e, &narrow);
}

static void lower_insn(X64Emitter *e, const IrInsn *i)
{
    const SlotLoc *pins = e->slot;
    enum X64Low low = x64_low_before(e, i);

    e->flags_new = e->sext_left = false;
    if (leaves(e, i)) {
        x64_pins_out(e, &e->hot);
        e->slot = e->s->slot;
    }
    if (low)
        lower_narrow(e, i);
    else
        lower[i->op](e, i);
    e->slot = pins;
    x64_low_after(e, i, low);
    if (i->op == IR_callpc || (i->op == IR_goind && i->aux == IND_CALL))
        x64_return_site(e, i->imm2);
    if (!e->flags_new && i->op != IR_mark)
        e->flags_ref = IR_NONE;
    free_val(e, i->a);
    free_val(e, i->b);
    free_val(e, i->c);
    if (x64_is_val(i->d) && e->vals[ir_index(i->d)].last < 0)
        free_val(e, i->d);
    e->busy = 0;
}

/* Of `cmp dword [rbp + disp32], imm32`, which begins with two other bytes. */
void x64_set_tag(uint8_t *entry, unsigned ctx, uint64_t vpage, uint32_t id)
{
    int32_t disp = ENV_DISP(xt) + (int32_t)(ctx * XT_SIZE + (vpage & (XT_SIZE - 1))) * 4;

    memcpy(entry + 2, &disp, 4);
    memcpy(entry + 6, &id, 4);
}

/* Leaves unless the tag of that virtual page is `id`: is it still mapped to the page that the unit was made from? */
static void emit_tag_check(X64Emitter *e, uint64_t vpage, uint32_t id)
{
    const X64Request *r = e->r;
    int32_t disp = ENV_DISP(xt) + (int32_t)(r->exec_ctx * XT_SIZE + (vpage & (XT_SIZE - 1))) * 4;
    uint8_t *jcc;

    asm_op(&e->hot, 0x81, ALU_CMP, rm_mem(RBP, disp));     /* always with imm32: 16 bytes with the jne */
    asm_32(&e->hot, id);
    jcc = asm_jcc32(&e->hot, X_NE);
    x64_set_rel32(e, jcc, e->cold.p);
    x64_leave(e, &e->cold, EXIT_NEXT, e->u->pc);
}

static void emit_entries(X64Emitter *e, X64Code *out)
{
    const X64Request *r = e->r;
    uint64_t vpage = e->u->pc >> ENV_PAGE_BITS;

    asm_nop(&e->hot, -(uintptr_t)e->hot.p & 15);
    out->entry_checked = (uint32_t)(e->hot.p - r->base);
    emit_tag_check(e, vpage, r->xt_id);
    out->entry = (uint32_t)(e->hot.p - r->base);
    if (r->xt_id2)
        emit_tag_check(e, vpage + 1, r->xt_id2);
}

static void resolve(X64Emitter *e)
{
    for (int n = 0; n < e->fixups.n; n++) {
        if (e->fixups.v[n].label->at)
            x64_set_rel32(e, e->fixups.v[n].rel32, e->fixups.v[n].label->at);
        else
            e->bad = true;
    }
}

static void begin(X64Emitter *e, const X64Request *r)
{
    const IrUnit *u = r->unit;

    e->r = r;
    e->u = u;
    e->hot = (Asm){ r->hot.rw, r->hot.rw, e->notes };
    e->cold = (Asm){ r->cold.rw, r->cold.rw, e->notes };
    e->notes->nrel = e->notes->npc = 0;
    e->notes->full = e->fixed = false;
    e->idx = e->mark = -1;
    e->pc = u->pc;
    e->busy = e->spills = 0;
    e->owner[0] = e->owner[1] = e->owner[2] = -1;
    e->flags_ref = IR_NONE;
    x64_boxed_none(e);
    e->waits = e->short_ = 0;
    e->bad = false;
    e->grouped = e->s->group && !r->ungrouped;
    if (u->n > e->cap_member) {
        e->cap_member = u->n * 2;
        e->member = g_renew(GroupUse, e->member, e->cap_member);
    }
    e->fixups.n = e->exits.n = e->sites.n = e->cold_sites.n = e->marks.n = 0;
    if (u->nvalues > e->cap_vals) {
        e->cap_vals = u->nvalues * 2;
        e->vals = g_renew(Val, e->vals, e->cap_vals);
    }
    if (r->listing && u->n > e->cap_listing) {
        e->cap_listing = u->n * 2;
        e->listing = g_renew(uint32_t, e->listing, e->cap_listing);
    }
    next_generation(e);
}

static void finish(X64Emitter *e, X64Code *out)
{
    const X64Request *r = e->r;

    for (int n = 0; n < e->cold_sites.n; n++)
        *VEC_PUSH(e->sites) = e->cold_sites.v[n];
    out->hot = (uint32_t)(r->hot.rw - r->base);
    out->hot_end = (uint32_t)(e->hot.p - r->base);
    out->cold = (uint32_t)(r->cold.rw - r->base);
    out->cold_end = (uint32_t)(e->cold.p - r->base);
    out->exits = e->exits.v;
    out->nexits = e->exits.n;
    out->sites = e->sites.v;
    out->nsites = e->sites.n;
    out->marks = e->marks.v;
    out->nmarks = e->marks.n;
    out->nhot_sites = e->sites.n - e->cold_sites.n;
    out->movable = r->movable && x64_relocs(e, r->base + out->entry_checked);
    out->relocs = e->relocs.v;
    out->nrelocs = e->relocs.n;
}

bool x64_emit(X64Emitter *e, const X64Request *r, X64Code *out)
{
    const IrUnit *u = r->unit;

    begin(e, r);
    if (u->nmarks > LABEL_HASH / 2 || !room(e))
        return false;
    prepass(e);
    x64_pins_choose(e);
    x64_groups_find(e);
    emit_entries(e, out);
    x64_pins_in(e, &e->hot);
    for (e->idx = 0; e->idx < u->n; e->idx++) {
        if (!room(e))
            return false;
        if (r->listing)
            e->listing[e->idx] = (uint32_t)(e->hot.p - r->base);
        lower_insn(e, &u->insns[e->idx]);
    }
    resolve(e);
    if (e->bad)
        return false;
    finish(e, out);
    return true;
}

uint32_t x64_listing(const X64Emitter *e, int insn)
{
    return e->listing[insn];
}

/* ---- life */

X64Emitter *x64_emitter_new(X64Stubs *s, const IrGuest *g)
{
    X64Emitter *e = g_new0(X64Emitter, 1);

    e->s = s;
    e->g = g;
    e->labels = g_new0(Label, LABEL_HASH);
    e->notes = g_new(AsmNotes, 1);
    return e;
}

void x64_emitter_free(X64Emitter *e)
{
    if (!e)
        return;
    g_free(e->vals);
    g_free(e->labels);
    g_free(e->notes);
    g_free(e->relocs.v);
    g_free(e->listing);
    g_free(e->member);
    g_free(e->groups.v);
    g_free(e->fixups.v);
    g_free(e->exits.v);
    g_free(e->sites.v);
    g_free(e->cold_sites.v);
    g_free(e->marks.v);
    g_free(e);
}
