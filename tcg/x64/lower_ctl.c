/* SPDX-License-Identifier: MIT */
/*
 * Lowering of control: marks, branches, direct edges, calls, returns, indirect
 * jumps, polls, exits, helper calls.
 *
 * A pc that is a label of the unit is reached by a plain jump; any other by an
 * exit: a jump whose rel32 first leads to its own stub in cold code (which leaves
 * with EXIT_LINK) and is later patched to the target. Patched fields never cross a
 * 16-byte border. Every edge to a pc that is not above its own polls first, on the
 * path that takes it. A guest call pushes its link address and does a host call,
 * so that a return to that address is a host ret; what comes back finds rsp as it
 * was before the pop of the link address.
 */
#include "tcg/x64/x64-priv.h"

/* ---- sites, leaving */

void x64_site(X64Emitter *e, bool cold)
{
    X64Site s = { (uint32_t)((cold ? e->cold.p : e->hot.p) - e->r->base), (uint32_t)e->mark };

    if (cold)
        *VEC_PUSH(e->cold_sites) = s;
    else
        *VEC_PUSH(e->sites) = s;
}

void x64_leave(X64Emitter *e, Asm *a, IrExit why, uint64_t pc)
{
    x64_mov_pc(e, a, RAX, pc);
    asm_jmp(a, e->s->leave[why]);
}

/* cmp of the poll byte; the caller jumps by X_NE to leave, X_E to go on. */
static void cmp_poll(Asm *a)
{
    asm_cmp8_imm(a, ENV_RM(poll), 0);
}

static uint8_t *cold_leave(X64Emitter *e, IrExit why, uint64_t pc)
{
    uint8_t *at = e->cold.p;

    x64_pins_out(e, &e->cold);
    x64_leave(e, &e->cold, why, pc);
    return at;
}

/* ---- patched jumps */

/* Bytes to insert so that a field of 4 bytes at p doesn't cross a 16-byte border. */
static unsigned patch_pad(const uint8_t *p)
{
    unsigned in = (uintptr_t)p & 15;

    return in > 12 ? 16 - in : 0;
}

/* Moves the code from `from` up by n bytes, with nops before it. It has no relative displacement in it. */
static void slide(Asm *a, uint8_t *from, unsigned n)
{
    size_t len = (size_t)(a->p - from);
    Asm pad = { .p = from };

    if (!n)
        return;
    for (int i = a->notes->npc; i-- > 0 && a->notes->pc[i] >= from && a->notes->pc[i] < a->p; )
        a->notes->pc[i] += n;
    memmove(from + n, from, len);
    asm_nop(&pad, n);
    a->p += n;
}

/*
 * Makes room for a jcc of `len` bytes behind the compare that begins at `from`, which moves up: the pair doesn't
 * cross a cache line (a loop whose pair does may run at half its speed), and the rel32 of a patched one not 16 bytes.
 */
static void fit_jcc(Asm *a, uint8_t *from, unsigned len, bool patched)
{
    unsigned n = 0;

    while (((uintptr_t)(from + n) ^ (uintptr_t)(a->p + n + len - 1)) >> 6 || (patched && patch_pad(a->p + n + len - 4)))
        n++;
    slide(a, from, n);
}

/* A new exit, whose jump has its rel32 at `field`: makes its stub and lets the jump go there. */
static void add_exit(X64Emitter *e, uint8_t *field, uint64_t target, bool call)
{
    Asm *c = &e->cold;
    uint32_t number = e->r->first_exit + (uint32_t)e->exits.n;

    asm_set_rel32(field, c->p);         /* not noted: what it leads to now is not what it will lead to */
    *VEC_PUSH(e->exits) = (X64Exit){
        .target = target, .patch = (uint32_t)(field - e->r->base), .stub = (uint32_t)(c->p - e->r->base),
        .cross = (target ^ e->u->pc) & e->u->page_mask, .call = call,
    };
    asm_mov_imm(c, RAX, number);
    x64_mov_pc(e, c, RCX, target);
    asm_jmp(c, e->s->link);
}

/* Where a jump goes: a label of this unit, or outside (NULL). */
static void jump_to(X64Emitter *e, uint8_t *field, Label *l, uint64_t target, bool call)
{
    if (!l)
        add_exit(e, field, target, call);
    else if (l->at)
        x64_set_rel32(e, field, l->at);
    else
        *VEC_PUSH(e->fixups) = (Fixup){ field, l };
}

/*
 * jcc to the target. `from` is where code begins that should stay close before the
 * jump (its compare): padding goes before it.
 */
static void jcc_to(X64Emitter *e, unsigned cc, uint64_t target, uint8_t *from)
{
    Asm *a = &e->hot;
    Label *l = x64_label(e, target);

    if (l && l->at) {
        asm_jcc(a, cc, l->at);
        return;
    }
    fit_jcc(a, from, 6, !l);
    jump_to(e, asm_jcc32(a, cc), l, target, false);
}

static void jmp_to(X64Emitter *e, uint64_t target)
{
    Asm *a = &e->hot;
    Label *l = x64_label(e, target);

    if (l && l->at) {
        asm_jmp(a, l->at);
        return;
    }
    if (!l)
        asm_nop(a, patch_pad(a->p + 1));
    jump_to(e, asm_jmp32(a), l, target, false);
}

/* Is the next instruction the mark of pc? Then nothing needs to jump there. */
static bool falls_into(const X64Emitter *e, uint64_t pc)
{
    const IrInsn *next = &e->u->insns[e->idx + 1];

    return e->idx + 1 < e->u->n && next->op == IR_mark && (uint64_t)next->imm == pc;
}

static bool backward(const X64Emitter *e, uint64_t target)
{
    return target <= e->pc;
}

/* ---- loops that only wait */

enum { WAIT_INSNS = 24 };

static bool written_in(const X64Emitter *e, IrRef slot, int begin, int end)
{
    for (int n = begin; n <= end; n++)
        if (e->u->insns[n].d == slot)
            return true;
    return false;
}

/*
 * Does the loop that ends here read memory at places that it doesn't change, and
 * do nothing else? Then it waits for another vCPU, which may need our host CPU.
 */
static bool only_waits(const X64Emitter *e, const Label *l)
{
    bool reads = false;

    if (e->r->one_vcpu || !l || e->idx - l->begin > WAIT_INSNS)
        return false;
    for (int n = l->begin; n <= e->idx; n++) {
        const IrInsn *i = &e->u->insns[n];

        if (i->op == IR_call || i->op == IR_lr || ir_ops[i->op].flags & IRF_MEM_W)
            return false;
        if (i->op != IR_ld)
            continue;
        reads = true;
        if (ir_tag(i->a) == IR_VAL || (ir_tag(i->a) == IR_SLOT && written_in(e, i->a, l->begin, e->idx)))
            return false;
    }
    return reads;
}

/* One round less; after many of them to the dispatcher, which lets others run. */
static void count_wait(X64Emitter *e, uint64_t target)
{
    asm_alu_imm(&e->hot, ALU_SUB, 0, ENV_RM(spin), 1);
    x64_set_rel32(e, asm_jcc32(&e->hot, X_S), cold_leave(e, EXIT_POLL, target));
}

/* poll; then to the target, or leave. Nothing falls through. */
static void poll_and_go(X64Emitter *e, uint64_t target)
{
    uint8_t *from = e->hot.p;

    if (only_waits(e, x64_label(e, target)))
        count_wait(e, target);
    cmp_poll(&e->hot);
    jcc_to(e, X_E, target, from);
    x64_set_rel32(e, asm_jmp32(&e->hot), cold_leave(e, EXIT_POLL, target));
}

/* ---- marks */

/* Loop heads begin 16-byte blocks, if that costs few bytes. */
static void align_loop(Asm *a)
{
    unsigned pad = -(uintptr_t)a->p & 15;

    if (pad <= 9)
        asm_nop(a, pad);
}

void x64_lower_mark(X64Emitter *e, const IrInsn *i)
{
    e->mark++;
    e->pc = i->imm;
    e->spills = 0;
    if (i->x & MARK_LABEL) {
        Label *l = x64_label(e, i->imm);

        if (l->loop)
            align_loop(&e->hot);
        l->at = e->hot.p;
        e->flags_ref = IR_NONE;
        x64_boxed_none(e);
    }
    *VEC_PUSH(e->marks) = (X64Mark){
        .off = (uint32_t)(e->hot.p - e->r->base), .pc_delta = (uint16_t)(i->imm - e->u->pc),
        .len = i->x & MARK_LEN, .flags = i->x & MARK_LABEL ? 1 : 0,
    };
}

/* ---- direct edges */

/* A branch out of a unit that has pins of its own: they are put back on the way, in cold code. */
static void leave_by_branch(X64Emitter *e, unsigned cc, uint64_t target)
{
    Asm *c = &e->cold;

    x64_set_rel32(e, asm_jcc32(&e->hot, cc), c->p);
    x64_pins_out(e, c);
    if (backward(e, target)) {
        uint8_t *go;

        cmp_poll(c);
        go = asm_jcc8(c, X_E);
        x64_leave(e, c, EXIT_POLL, target);
        asm_here8(c, go);
    }
    asm_nop(c, patch_pad(c->p + 1));
    add_exit(e, asm_jmp32(c), target, false);
}

void x64_lower_br(X64Emitter *e, const IrInsn *i)
{
    Asm *a = &e->hot;
    uint8_t *from = a->p, *over;
    unsigned cc = x64_compare(e, i);

    if (e->nswaps && !x64_label(e, i->imm)) {
        leave_by_branch(e, cc, i->imm);
        return;
    }
    if (!backward(e, i->imm)) {
        jcc_to(e, cc, i->imm, from);
        return;
    }
    fit_jcc(a, from, 2, false);
    over = asm_jcc8(a, cc ^ 1);
    poll_and_go(e, i->imm);
    asm_here8(a, over);
}

void x64_lower_gopc(X64Emitter *e, const IrInsn *i)
{
    if (backward(e, i->imm))
        poll_and_go(e, i->imm);
    else if (!falls_into(e, i->imm))
        jmp_to(e, i->imm);
}

void x64_lower_poll(X64Emitter *e, const IrInsn *i)
{
    cmp_poll(&e->hot);
    x64_set_rel32(e, asm_jcc32(&e->hot, X_NE), cold_leave(e, EXIT_POLL, i->imm));
}

void x64_lower_exit(X64Emitter *e, const IrInsn *i)
{
    x64_leave(e, &e->hot, i->aux, i->imm);
}

/* ---- calls and returns */

/* A guest address. Clobbers rdx. */
static void push_pc(X64Emitter *e, Asm *a, uint64_t v)
{
    if (imm_fits(v)) {
        e->fixed = true;
        asm_push_imm(a, (int32_t)v);
    } else {
        x64_mov_pc(e, a, RDX, v);
        asm_push(a, RDX);
    }
}

/* push link: from the link register, if the instruction before has just put it there */
static void push_link(X64Emitter *e, uint64_t link)
{
    const IrInsn *prev = e->idx ? &e->u->insns[e->idx - 1] : NULL;
    Asm *a = &e->hot;

    if (prev && prev->op == IR_mov && ir_tag(prev->d) == IR_SLOT && ir_tag(prev->a) >= IR_IMM &&
        ir_const(e->u, prev->a) == link && e->slot[ir_index(prev->d)].reg >= 0) {
        asm_push(a, e->slot[ir_index(prev->d)].reg);
    } else {
        push_pc(e, a, link);
    }
}

/* What a return comes back to, with standard pins: drops the link address and goes on at `link`. */
void x64_return_site(X64Emitter *e, uint64_t link)
{
    asm_lea(&e->hot, 1, RSP, rm_mem(RSP, 8));
    if (!x64_label(e, link)) {
        jmp_to(e, link);
        return;
    }
    x64_pins_in(e, &e->hot);
    if (!falls_into(e, link))
        jmp_to(e, link);
}

void x64_lower_callpc(X64Emitter *e, const IrInsn *i)
{
    Asm *a = &e->hot;
    Label *l = x64_label(e, i->imm);

    if (backward(e, i->imm)) {
        cmp_poll(a);
        x64_set_rel32(e, asm_jcc32(a, X_NE), cold_leave(e, EXIT_POLL, i->imm));
    }
    push_link(e, i->imm2);
    if (!l)
        asm_nop(a, patch_pad(a->p + 1));
    jump_to(e, asm_call32(a), l, i->imm, true);
}

/* The jump cache, inline: rax = guest address. Clobbers rcx, rdx. Returns the entry's host field. */
static Rm probe(X64Emitter *e, uint8_t **miss)
{
    Asm *a = &e->hot;
    int32_t jc = ENV_DISP(jc);

    _Static_assert(sizeof(JcEntry) == 16, "the index is scaled by 16: 8 times what is in rcx");
    asm_rorx(a, 1, RCX, rm_reg(RAX), JC_BITS);
    asm_alu(a, ALU_XOR, 0, RCX, rm_reg(RAX));
    asm_alu_imm(a, ALU_AND, 0, rm_reg(RCX), (JC_SIZE - 1) << 1);
    asm_mov(a, 1, RDX, ENV_RM(ctxkey));
    asm_alu(a, ALU_XOR, 1, RDX, rm_reg(RAX));
    asm_alu(a, ALU_CMP, 1, RDX, rm_sib(RBP, RCX, 3, jc + (int32_t)offsetof(JcEntry, key)));
    *miss = asm_jcc32(a, X_NE);
    return rm_sib(RBP, RCX, 3, jc + (int32_t)offsetof(JcEntry, host));
}

/* rax = guest address: poll, then the jump cache. */
static void lower_jump(X64Emitter *e)
{
    uint8_t *miss;
    Rm host;

    cmp_poll(&e->hot);
    x64_set_rel32(e, asm_jcc32(&e->hot, X_NE), e->s->leave[EXIT_POLL]);
    host = probe(e, &miss);
    asm_jmp_rm(&e->hot, host);
    x64_set_rel32(e, miss, e->s->ind_miss);
}

/* Its last instruction is the call: x64_return_site follows. */
static void lower_call_ind(X64Emitter *e, uint64_t link)
{
    Asm *a = &e->hot, *c = &e->cold;
    uint8_t *miss, *lea;
    Rm host;

    cmp_poll(a);
    x64_set_rel32(e, asm_jcc32(a, X_NE), e->s->leave[EXIT_POLL]);
    host = probe(e, &miss);
    push_link(e, link);
    asm_call_rm(a, host);
    x64_set_rel32(e, miss, c->p);
    push_pc(e, c, link);
    lea = asm_lea_rip(c, RCX);          /* as the call would have pushed it */
    x64_set_rel32(e, lea, a->p);
    asm_push(c, RCX);
    asm_jmp(c, e->s->ind_miss);
}

/*
 * A return target that the instruction before made by clearing bit 0 of a slot: link addresses are even, so
 * the slot itself can be compared with one. Then that `and` has not been emitted.
 */
bool x64_and_of_return(const X64Emitter *e, const IrInsn *and)
{
    const IrInsn *next = and + 1;

    return and->op == IR_and && and + 1 < e->u->insns + e->u->n && next->op == IR_goind && next->aux == IND_RET &&
           x64_is_val(and->d) && next->a == and->d && ir_tag(and->a) == IR_SLOT && ir_tag(and->b) == IR_IMM &&
           ir_const(e->u, and->b) == ~(uint64_t)1;
}

static void lower_ret(X64Emitter *e, const IrInsn *i)
{
    bool masked = e->idx && x64_and_of_return(e, i - 1);
    Opnd o = x64_use(e, masked ? i[-1].a : i->a);
    int r = x64_in_reg(e, o);

    asm_alu_to(&e->hot, ALU_CMP, 1, rm_mem(RSP, 8), r);
    x64_set_rel32(e, asm_jcc32(&e->hot, X_NE), e->cold.p);
    asm_ret(&e->hot);
    if (r != RAX)
        asm_mov(&e->cold, 1, RAX, rm_reg(r));
    if (masked)
        asm_alu_imm(&e->cold, ALU_AND, 1, rm_reg(RAX), -2);
    asm_jmp(&e->cold, e->s->ind);
}

void x64_lower_goind(X64Emitter *e, const IrInsn *i)
{
    if (i->aux == IND_RET) {
        lower_ret(e, i);
        return;
    }
    x64_load(e, &e->hot, RAX, x64_use(e, i->a));
    if (i->aux == IND_CALL)
        lower_call_ind(e, i->imm2);
    else
        lower_jump(e);
}

/* ---- helpers */

void x64_lower_call(X64Emitter *e, const IrInsn *i)
{
    Asm *a = &e->hot;

    x64_flush(e);
    if (i->a)
        x64_load(e, a, RAX, x64_use(e, i->a));
    e->busy |= 1u << RAX;
    if (i->b)
        x64_load(e, a, RDX, x64_use(e, i->b));
    e->busy |= 1u << RDX;
    if (i->c)
        x64_load(e, a, RCX, x64_use(e, i->c));
    x64_pins_out(e, a);
    asm_call(a, e->s->helper[i->x]);
    x64_site(e, false);
    x64_pins_in(e, a);
    if (e->g->helpers[i->x].flags & HELPER_WRITES)
        x64_boxed_none(e);
    x64_boxed(e, i->d, false);
    x64_put(e, i, RAX);
}
