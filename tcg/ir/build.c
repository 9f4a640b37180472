/* SPDX-License-Identifier: MIT */
/*
 * Making units. The builders fold constants and drop what does nothing; they
 * never drop or move an op that may fault. Constants of a commutative op or a
 * comparison end up on the right; constant operands that are code addresses
 * (PCIMM) fold only through + and - of plain constants, so that they stay
 * addresses. 32-bit constants that folding makes are sign-extended.
 */
#include <glib.h>

#include "tcg/ir/eval.h"

/* ---- units */

void ir_init(IrUnit *u, const IrGuest *g)
{
    *u = (IrUnit){ .guest = g, .page_mask = ~(uint64_t)0xfff, .ascending = true };
}

void ir_reset(IrUnit *u, uint64_t pc, uint64_t mode)
{
    u->pc = pc;
    u->mode = mode;
    u->n = u->nconsts = u->nvalues = u->nmarks = 0;
    u->ascending = true;
}

void ir_free(IrUnit *u)
{
    g_free(u->insns);
    g_free(u->consts);
    g_free(u->marks);
    *u = (IrUnit){ .guest = u->guest };
}

static IrInsn *emit(IrUnit *u, IrOp op, IrType t)
{
    IrInsn *i;

    if (u->n == u->cap) {
        u->cap = u->cap ? u->cap * 2 : 256;
        u->insns = g_renew(IrInsn, u->insns, u->cap);
    }
    i = &u->insns[u->n++];
    *i = (IrInsn){ .op = op, .type = t };
    return i;
}

/* ---- constants */

static IrRef constant(IrUnit *u, unsigned tag, uint64_t v)
{
    int first = u->nconsts > 8 ? u->nconsts - 8 : 0;

    for (int i = u->nconsts - 1; i >= first; i--)
        if (u->consts[i] == v)
            return ir_ref(tag, i);
    if (u->nconsts == u->cap_consts) {
        u->cap_consts = u->cap_consts ? u->cap_consts * 2 : 64;
        u->consts = g_renew(uint64_t, u->consts, u->cap_consts);
    }
    u->consts[u->nconsts] = v;
    return ir_ref(tag, u->nconsts++);
}

IrRef ir_imm(IrUnit *u, uint64_t v)
{
    return constant(u, IR_IMM, v);
}

IrRef ir_pcimm(IrUnit *u, uint64_t v)
{
    return constant(u, IR_PCIMM, v);
}

uint64_t ir_const(const IrUnit *u, IrRef r)
{
    return u->consts[ir_index(r)];
}

static bool is_imm(IrRef r)
{
    return ir_tag(r) == IR_IMM;
}

static bool is_const(IrRef r)
{
    return ir_tag(r) == IR_IMM || ir_tag(r) == IR_PCIMM;
}

/* ---- destinations */

static IrRef dest(IrUnit *u, IrRef d)
{
    return d == IR_NEW ? ir_ref(IR_VAL, u->nvalues++) : d;
}

/* Puts `src` where `d` says, with no op if there is nothing to do. A slot is copied: it may change later. */
static IrRef move(IrUnit *u, IrType t, IrRef d, IrRef src)
{
    IrInsn *i;

    if (d == src || (d == IR_NEW && ir_tag(src) != IR_SLOT))
        return src;
    i = emit(u, IR_mov, t);
    i->a = src;
    return i->d = dest(u, d);
}

/* d = the constant that the op makes of constant operands. */
static IrRef folded(IrUnit *u, IrOp op, IrType t, unsigned aux, uint32_t x, IrRef d, IrRef a, IrRef b, IrRef c)
{
    uint64_t v = ir_eval_int(op, t, aux, x, ir_const(u, a), b ? ir_const(u, b) : 0, c ? ir_const(u, c) : 0);

    return move(u, t, d, ir_imm(u, t == IR_I32 ? (uint64_t)(int32_t)v : v));
}

static IrRef plain(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b, IrRef c)
{
    IrInsn *i = emit(u, op, t);

    i->a = a;
    i->b = b;
    i->c = c;
    return i->d = dest(u, d);
}

/* ---- integer operations */

IrRef ir_op1(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a)
{
    if (op == IR_mov)
        return move(u, t, d, a);
    if (is_imm(a) && ir_is_int_op(op))
        return folded(u, op, t, 0, 0, d, a, 0, 0);
    return plain(u, op, t, d, a, 0, 0);
}

/* An address plus or minus a plain constant, or the difference of two addresses. */
static IrRef fold_address(IrUnit *u, IrOp op, IrRef a, IrRef b)
{
    uint64_t va = ir_const(u, a), vb = ir_const(u, b);
    bool pa = ir_tag(a) == IR_PCIMM, pb = ir_tag(b) == IR_PCIMM;

    if (op == IR_add && pa != pb)
        return ir_pcimm(u, va + vb);
    if (op == IR_sub && pa)
        return pb ? ir_imm(u, va - vb) : ir_pcimm(u, va - vb);
    return IR_NONE;
}

/* What `a op b` is when b is a constant that makes it trivial, or IR_NONE. */
static IrRef identity(IrUnit *u, IrOp op, IrType t, IrRef a, IrRef b)
{
    uint64_t v = ir_const(u, b), ones = UINT64_MAX;

    if (t == IR_I32) {
        v = (uint32_t)v;
        ones = UINT32_MAX;
    }
    switch (op) {
    case IR_add: case IR_sub: case IR_or: case IR_xor: case IR_andn:
        return v == 0 ? a : IR_NONE;
    case IR_shl: case IR_shr: case IR_sar: case IR_rol: case IR_ror:
        return (v & (t == IR_I32 ? 31 : 63)) == 0 ? a : IR_NONE;
    case IR_and:
        return v == ones ? a : v == 0 ? ir_imm(u, 0) : IR_NONE;
    case IR_orn:
        return v == ones ? a : IR_NONE;
    case IR_mul:
        return v == 1 ? a : v == 0 ? ir_imm(u, 0) : IR_NONE;
    case IR_divu: case IR_divs:
        return v == 1 ? a : IR_NONE;
    default:
        return IR_NONE;
    }
}

IrRef ir_op2(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b)
{
    IrRef r = IR_NONE;

    if (!ir_is_int_op(op))
        return plain(u, op, t, d, a, b, 0);
    if (ir_ops[op].flags & IRF_COMMUTES && is_const(a) && !is_const(b)) {
        IrRef swap = a;
        a = b;
        b = swap;
    }
    if (is_imm(a) && is_imm(b))
        return folded(u, op, t, 0, 0, d, a, b, 0);
    if (t == IR_I64 && is_const(a) && is_const(b))
        r = fold_address(u, op, a, b);
    else if (is_imm(b))
        r = identity(u, op, t, a, b);
    return r ? move(u, t, d, r) : plain(u, op, t, d, a, b, 0);
}

IrRef ir_op3(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b, IrRef c)
{
    if (op == IR_select && is_imm(a))
        return move(u, t, d, ir_eval_int(op, t, 0, 0, ir_const(u, a), 1, 0) ? b : c);
    if (op == IR_select && b == c)
        return move(u, t, d, b);
    return plain(u, op, t, d, a, b, c);
}

/* The condition when the operands change places. */
static IrCc swapped(IrCc cc)
{
    switch (cc) {
    case CC_LT:  return CC_GT;
    case CC_GE:  return CC_LE;
    case CC_LTU: return CC_GTU;
    case CC_GEU: return CC_LEU;
    case CC_LE:  return CC_GE;
    case CC_GT:  return CC_LT;
    case CC_LEU: return CC_GEU;
    case CC_GTU: return CC_LTU;
    default:     return cc;
    }
}

static void order_operands(IrCc *cc, IrRef *a, IrRef *b)
{
    IrRef swap = *a;

    if (!is_const(*a) || is_const(*b))
        return;
    *a = *b;
    *b = swap;
    *cc = swapped(*cc);
}

IrRef ir_setcc(IrUnit *u, IrType t, IrCc cc, IrRef d, IrRef a, IrRef b)
{
    IrRef r;

    order_operands(&cc, &a, &b);
    if (is_imm(a) && is_imm(b))     /* 0 or 1 of any type: moved as 64 bits, as slots are */
        return move(u, IR_I64, d, ir_imm(u, ir_eval_cc(t, cc, ir_const(u, a), ir_const(u, b))));
    r = plain(u, IR_setcc, t, d, a, b, 0);
    u->insns[u->n - 1].aux = cc;
    return r;
}

IrRef ir_width(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b, unsigned x, unsigned len)
{
    IrRef r;

    if (is_imm(a) && (ir_ops[op].in == 1 || is_imm(b)))
        return folded(u, op, t, len, x, d, a, b, 0);
    r = plain(u, op, t, d, a, b, 0);
    u->insns[u->n - 1].x = x;
    u->insns[u->n - 1].aux = len;
    return r;
}

/* ---- memory */

static IrRef memory(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b, IrRef c, int64_t disp, MemOp m)
{
    IrRef r = plain(u, op, t, d, a, b, c);

    u->insns[u->n - 1].x = m;
    u->insns[u->n - 1].imm = disp;
    return r;
}

IrRef ir_ld(IrUnit *u, IrType t, IrRef d, IrRef base, int64_t disp, MemOp m)
{
    return memory(u, IR_ld, t, d, base, 0, 0, disp, m);
}

void ir_st(IrUnit *u, IrType t, IrRef base, int64_t disp, IrRef v, MemOp m)
{
    memory(u, IR_st, t, IR_NONE, base, v, 0, disp, m);
}

IrRef ir_amo(IrUnit *u, IrType t, IrAmo op, IrRef d, IrRef addr, IrRef v, MemOp m)
{
    IrRef r = memory(u, IR_amo, t, d, addr, v, 0, 0, m);

    u->insns[u->n - 1].aux = op;
    return r;
}

IrRef ir_cas(IrUnit *u, IrType t, IrRef d, IrRef addr, IrRef expect, IrRef v, MemOp m)
{
    return memory(u, IR_cas, t, d, addr, expect, v, 0, m);
}

IrRef ir_lr(IrUnit *u, IrType t, IrRef d, IrRef addr, MemOp m)
{
    return memory(u, IR_lr, t, d, addr, 0, 0, 0, m);
}

IrRef ir_sc(IrUnit *u, IrType t, IrRef d, IrRef addr, IrRef v, MemOp m)
{
    return memory(u, IR_sc, t, d, addr, v, 0, 0, m);
}

/* ---- the rest */

IrRef ir_fp(IrUnit *u, IrOp op, IrType t, unsigned round, IrRef d, IrRef a, IrRef b, IrRef c, uint32_t x)
{
    IrRef r = plain(u, op, t, d, a, b, c);

    u->insns[u->n - 1].aux = round;
    u->insns[u->n - 1].x = x;
    return r;
}

IrRef ir_call(IrUnit *u, int helper, IrRef d, IrRef a, IrRef b, IrRef c)
{
    IrRef r = plain(u, IR_call, IR_I64, d, a, b, c);

    u->insns[u->n - 1].x = helper;
    return r;
}

void ir_fence(IrUnit *u, IrFence kind)
{
    emit(u, IR_fence, IR_VOID)->aux = kind;
}

void ir_mark(IrUnit *u, uint64_t pc, unsigned len)
{
    IrInsn *i = emit(u, IR_mark, IR_VOID);

    i->imm = pc;
    i->x = len;
    if (u->nmarks == u->cap_marks) {
        u->cap_marks = u->cap_marks ? u->cap_marks * 2 : 64;
        u->marks = g_renew(uint32_t, u->marks, u->cap_marks);
    }
    if (u->nmarks && (uint64_t)u->insns[u->marks[u->nmarks - 1]].imm >= pc)
        u->ascending = false;
    u->marks[u->nmarks++] = u->n - 1;
}

void ir_br(IrUnit *u, IrType t, IrCc cc, IrRef a, IrRef b, uint64_t pc)
{
    IrInsn *i;

    order_operands(&cc, &a, &b);
    if (is_imm(a) && is_imm(b)) {
        if (!ir_eval_cc(t, cc, ir_const(u, a), ir_const(u, b)))
            return;
        cc = CC_EQ;                 /* always taken; what follows stays reachable in form */
        a = b = ir_imm(u, 0);
    }
    i = emit(u, IR_br, t);
    i->aux = cc;
    i->a = a;
    i->b = b;
    i->imm = pc;
}

void ir_gopc(IrUnit *u, uint64_t pc)
{
    emit(u, IR_gopc, IR_VOID)->imm = pc;
}

void ir_callpc(IrUnit *u, uint64_t pc, uint64_t link)
{
    IrInsn *i = emit(u, IR_callpc, IR_VOID);

    i->aux = IND_CALL;
    i->imm = pc;
    i->imm2 = link;
}

void ir_goind(IrUnit *u, IrInd kind, IrRef a, uint64_t link)
{
    IrInsn *i = emit(u, IR_goind, IR_I64);

    i->aux = kind;
    i->a = a;
    i->imm2 = kind == IND_CALL ? link : 0;
}

void ir_poll(IrUnit *u, uint64_t pc)
{
    emit(u, IR_poll, IR_VOID)->imm = pc;
}

void ir_exit(IrUnit *u, IrExit why, uint64_t pc)
{
    IrInsn *i = emit(u, IR_exit, IR_VOID);

    i->aux = why;
    i->imm = pc;
}

/* ---- labels */

static uint64_t mark_pc(const IrUnit *u, int mark)
{
    return u->insns[u->marks[mark]].imm;
}

int ir_find_mark(const IrUnit *u, uint64_t pc)
{
    int lo = 0, hi = u->nmarks;

    if (!u->ascending) {
        for (int i = 0; i < u->nmarks; i++)
            if (mark_pc(u, i) == pc)
                return i;
        return -1;
    }
    while (lo < hi) {
        int mid = (lo + hi) / 2;

        if (mark_pc(u, mid) == pc)
            return mid;
        if (mark_pc(u, mid) < pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

static void label(IrUnit *u, uint64_t pc)
{
    int m = ir_find_mark(u, pc);

    if (m >= 0)
        u->insns[u->marks[m]].x |= MARK_LABEL;
}

void ir_finish(IrUnit *u)
{
    for (int n = 0; n < u->n; n++) {
        const IrInsn *i = &u->insns[n];

        switch (i->op) {
        case IR_br: case IR_gopc:
            label(u, i->imm);
            break;
        case IR_callpc:
            label(u, i->imm);
            label(u, i->imm2);
            break;
        case IR_goind:
            if (i->aux == IND_CALL)
                label(u, i->imm2);
            break;
        }
    }
}
