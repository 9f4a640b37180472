/* SPDX-License-Identifier: MIT */
/*
 * Random IR programs that ir_check accepts and that end: straight lines with
 * forward branches, loops whose counter nothing else writes, memory accesses that
 * mostly hit, calls of helpers that may fault.
 */
#ifndef TESTS_UNIT_X64_GEN_H
#define TESTS_UNIT_X64_GEN_H

#include "tests/unit/x64-guest.h"

enum { UNIT_PC = 0x10000, COUNTER_PIN = 30, COUNTER_MEM = 31 };

typedef struct Gen {
    IrUnit *u;
    IrRef vals[64]; bool narrow[64]; int nvals;     /* of this guest instruction */
    int ninsns;                 /* guest instructions in all */
    int at;
    bool fp, words;             /* many float ops; many 32-bit ops on few slots */
} Gen;

static IrRef gen_slot(void) { return ir_slot(rnd_below(GPRS - 2)); }
static IrRef gen_fslot(void) { return ir_slot(SLOT_F + rnd_below(FPRS)); }

/* An integer operand of type t: slots, values, constants. */
static IrRef gen_int(Gen *g, IrType t)
{
    unsigned k = rnd_below(10);

    if (k < 3 && g->nvals) {
        int n = g->nvals - 1 - (int)rnd_below(g->nvals < 4 ? g->nvals : 4);

        if (t == IR_I32 || !g->narrow[n])
            return g->vals[n];
    }
    if (k == 9)
        return ir_imm(g->u, rnd_edge());
    if (k == 8)
        return rnd_below(2) && t == IR_I32 ? ir_slot(SLOT_N32 + rnd_below(2)) : ir_slot(SLOT_SYS + rnd_below(4));
    return gen_slot();
}

/* Where a result of type t goes: a slot, or a new value. */
static IrRef gen_dest(Gen *g, IrType t)
{
    if (t == IR_I32)
        return rnd_below(8) == 0 ? ir_slot(SLOT_N32 + rnd_below(2)) : IR_NEW;
    switch (rnd_below(8)) {
    case 0: return ir_slot(SLOT_SYS + rnd_below(4));
    case 1: case 2: case 3: return IR_NEW;
    default: return gen_slot();
    }
}

static void gen_note(Gen *g, IrRef r, IrType t)
{
    if (ir_tag(r) == IR_VAL && g->nvals < 12) {
        g->narrow[g->nvals] = t == IR_I32;
        g->vals[g->nvals++] = r;
    }
}

static const IrOp gen_unary[] = { IR_mov, IR_sext8, IR_sext16, IR_zext8, IR_zext16, IR_not, IR_neg, IR_clz, IR_ctz, IR_popcnt,
                                  IR_bswap, IR_brev8, IR_orcb, IR_sext32, IR_zext32 };
static const IrOp gen_binary[] = {
    IR_add, IR_sub, IR_and, IR_or, IR_xor, IR_andn, IR_orn, IR_xnor, IR_shl, IR_shr, IR_sar, IR_rol, IR_ror, IR_mul, IR_mulhs,
    IR_mulhu, IR_mulhsu, IR_divs, IR_divu, IR_rems, IR_remu, IR_mins, IR_maxs, IR_minu, IR_maxu, IR_clmul, IR_clmulh, IR_clmulr,
    IR_add, IR_sub, IR_and, IR_add,
};

/* One integer op; into `d` if that is given, else wherever. */
static IrRef gen_op(Gen *g, IrRef d, bool slots_too)
{
    IrUnit *u = g->u;
    IrType t = rnd_below(3) ? IR_I64 : IR_I32;
    IrRef a, b, r;

    if (d == IR_NONE)
        d = slots_too ? gen_dest(g, t) : IR_NEW;
    else
        t = IR_I64;
    a = gen_int(g, t);
    b = rnd_below(4) && ir_tag(d) == IR_SLOT && ir_index(d) < GPRS ? (rnd_below(2) ? gen_int(g, t) : d) : gen_int(g, t);
    if (rnd_below(4) == 0 && ir_tag(d) == IR_SLOT)
        a = d;
    switch (rnd_below(8)) {
    case 0: {
        IrOp op = gen_unary[rnd_below(G_N_ELEMENTS(gen_unary) - (t == IR_I32 ? 2 : 0))];

        r = ir_op1(u, op, t, d, a);
        break;
    }
    case 1:
        r = ir_setcc(u, t, rnd_below(10), d, ir_tag(a) == IR_IMM ? gen_slot() : a, b);
        t = IR_I64;
        if (ir_tag(r) == IR_VAL)
            return r;           /* of the op's type: not to be used as 64 bits */
        break;
    case 2:
        r = ir_op3(u, IR_select, t, d, gen_int(g, t), a, b);
        break;
    case 3: {
        unsigned bits = t == IR_I32 ? 32 : 64, len = 1 + rnd_below(bits), pos = rnd_below(bits - len + 1);

        if (rnd_below(3) == 0)
            r = ir_width(u, IR_shladd, t, d, a, b, 1 + rnd_below(3), 0);
        else
            r = ir_width(u, rnd_below(2) ? IR_bext : IR_sbext, t, d, a, IR_NONE, pos, len);
        break;
    }
    default:
        r = ir_op2(u, gen_binary[rnd_below(G_N_ELEMENTS(gen_binary))], t, d, a, b);
    }
    gen_note(g, r, t);
    return r;
}

/* RISC-V's addw: 32 bits, sign-extended into a slot; or logic on what such ops made. */
static void gen_word_op(Gen *g)
{
    static const IrOp ops[] = { IR_add, IR_sub, IR_shl, IR_shr, IR_sar, IR_mul, IR_xor, IR_divs, IR_zext16 };
    static const IrOp logic[] = { IR_and, IR_or, IR_xor, IR_andn, IR_orn, IR_xnor, IR_mov, IR_not };
    unsigned pins[] = { 0, 3, 6, 9, 1 };
    IrUnit *u = g->u;
    IrRef d = ir_slot(pins[rnd_below(5)]), a = ir_slot(pins[rnd_below(5)]), b = ir_slot(pins[rnd_below(5)]), v;
    IrOp op;

    if (rnd_below(4) == 0)
        b = ir_imm(u, rnd_below(2) ? rnd_below(32) : rnd_edge());
    if (rnd_below(3) == 0) {
        op = logic[rnd_below(G_N_ELEMENTS(logic))];
        if (ir_ops[op].in == 1)
            ir_op1(u, op, IR_I64, d, a);
        else
            ir_op2(u, op, IR_I64, d, a, b);
        return;
    }
    op = ops[rnd_below(G_N_ELEMENTS(ops))];
    v = ir_ops[op].in == 1 ? ir_op1(u, op, IR_I32, IR_NEW, a) : ir_op2(u, op, IR_I32, IR_NEW, a, b);
    ir_op1(u, IR_sext32, IR_I64, d, v);
}

/* An address that mostly lies in RAM. */
static IrRef gen_address(Gen *g, int64_t *disp, unsigned align)
{
    IrUnit *u = g->u;
    IrRef v;

    *disp = rnd_below(3) ? 0 : (int64_t)rnd_below(4096) - 2048;
    if (rnd_below(40) == 0)
        *disp = (int64_t)rnd();
    if (align)
        *disp &= ~(int64_t)7;
    switch (rnd_below(8)) {
    case 0: return gen_slot();
    case 1: return ir_imm(u, RAM_BASE + rnd_below(RAM_SIZE));
    default:
        v = ir_op2(u, IR_and, IR_I64, IR_NEW, gen_slot(), ir_imm(u, align ? RAM_SIZE - 8 : RAM_SIZE - 1));
        return ir_op2(u, IR_or, IR_I64, IR_NEW, v, ir_imm(u, RAM_BASE));
    }
}

static void gen_memory(Gen *g)
{
    IrUnit *u = g->u;
    bool atomic = rnd_below(3) == 0;
    MemOp m = rnd_below(4) | (rnd_below(2) ? MO_SIGN : 0) | rnd_below(3) << MO_CTX_SHIFT | rnd_below(200) << MO_PURPOSE_SHIFT;
    int64_t disp;
    IrRef addr = gen_address(g, &disp, atomic && rnd_below(8)), d = IR_NONE, v;
    IrType t = IR_I64;

    for (int n = rnd_below(3); n > 0; n--)
        gen_op(g, IR_NONE, false);
    if (!atomic) {
        if (rnd_below(6) == 0)
            m |= MO_BE;
        if (rnd_below(6) == 0)
            m |= MO_ALIGN;
        if (g->fp && rnd_below(3) == 0) {
            t = (m & MO_SIZE) == MO_64 ? IR_F64 : (m & MO_SIZE) == MO_32 ? IR_F32 : IR_F16;
            m = (m & ~(MO_SIZE | MO_SIGN)) | (t == IR_F64 ? MO_64 : t == IR_F32 ? MO_32 : MO_16);
            if (rnd_below(2))
                ir_st(u, t, addr, disp, gen_fslot(), m);
            else
                ir_ld(u, t, gen_fslot(), addr, disp, m);
        } else if (rnd_below(2)) {
            ir_st(u, IR_I64, addr, disp, gen_int(g, IR_I64), m);
        } else {
            gen_note(g, ir_ld(u, IR_I64, rnd_below(2) ? gen_slot() : IR_NEW, addr, disp, m), IR_I64);
        }
    } else {
        m |= MO_ALIGN;
        d = rnd_below(3) ? gen_slot() : IR_NEW;
        v = gen_int(g, IR_I64);
        switch (rnd_below(5)) {
        case 0: d = ir_lr(u, t, d, addr, (m & ~1u) | MO_32); break;
        case 1: d = ir_sc(u, t, d, addr, v, (m & ~1u) | MO_32); break;
        case 2: d = ir_cas(u, t, d, addr, gen_int(g, IR_I64), v, m); break;
        default: d = ir_amo(u, t, rnd_below(9), d, addr, v, m); break;
        }
        gen_note(g, d, t);
    }
    for (int n = rnd_below(3); n > 0; n--)
        gen_op(g, IR_NONE, true);
}

static void gen_lr_sc(Gen *g)
{
    IrUnit *u = g->u;
    MemOp m = (rnd_below(2) ? MO_32 : MO_64) | MO_ALIGN | (rnd_below(2) ? MO_SIGN : 0);
    int64_t disp;
    IrRef addr = gen_address(g, &disp, 8);

    ir_lr(u, IR_I64, gen_slot(), addr, m);
    ir_mark(u, UNIT_PC + 4 * ++g->at, 4);
    g->nvals = 0;
    /* the address again: values die at marks, so it was a constant or is made anew from another slot */
    ir_sc(u, IR_I64, gen_slot(), ir_tag(addr) == IR_IMM ? addr : gen_address(g, &disp, 8), gen_slot(), m);
}

static const IrOp gen_fops[] = {
    IR_fadd, IR_fsub, IR_fmul, IR_fdiv, IR_fsqrt, IR_fmadd, IR_fmsub, IR_fnmadd, IR_fnmsub, IR_fmin, IR_fmax, IR_fsgnj,
    IR_fsgnjn, IR_fsgnjx, IR_feq, IR_flt, IR_fle, IR_fclass, IR_fcvt_ff, IR_fcvt_fi, IR_fcvt_if, IR_fmv_fi, IR_fmv_if,
};

static void gen_float(Gen *g)
{
    IrUnit *u = g->u;
    static const IrType types[] = { IR_F32, IR_F64, IR_F32, IR_F64, IR_F16 };
    IrType t = types[rnd_below(5)], from = t == IR_F32 ? IR_F64 : IR_F32;
    IrOp op = gen_fops[rnd_below(G_N_ELEMENTS(gen_fops))];
    IrRef d = gen_fslot(), a = gen_fslot(), b = gen_fslot(), c = gen_fslot(), i = gen_slot();
    unsigned round = rnd_below(3) ? FP_DYN : rnd_below(5);

    if (rnd_below(4) == 0)
        a = d;
    if (rnd_below(4) == 0)
        b = d;
    switch (op) {
    case IR_feq: case IR_flt: case IR_fle: ir_fp(u, op, t, round, i, a, b, IR_NONE, 0); break;
    case IR_fclass: case IR_fmv_if: ir_fp(u, op, t, round, i, a, IR_NONE, IR_NONE, 0); break;
    case IR_fcvt_ff: ir_fp(u, op, t, round, d, a, IR_NONE, IR_NONE, from); break;
    case IR_fcvt_fi: ir_fp(u, op, t, round, d, i, IR_NONE, IR_NONE, rnd_below(4)); break;
    case IR_fcvt_if: ir_fp(u, op, t, round, i, a, IR_NONE, IR_NONE, rnd_below(4)); break;
    case IR_fmv_fi: ir_fp(u, op, t, round, d, i, IR_NONE, IR_NONE, 0); break;
    case IR_fsqrt: ir_fp(u, op, t, round, d, a, IR_NONE, IR_NONE, 0); break;
    case IR_fmadd: case IR_fmsub: case IR_fnmadd: case IR_fnmsub: ir_fp(u, op, t, round, d, a, b, c, 0); break;
    default: ir_fp(u, op, t, round, d, a, b, IR_NONE, 0);
    }
    if (rnd_below(8) == 0)
        ir_op1(u, IR_mov, IR_F64, gen_fslot(), gen_fslot());
}

static void gen_call(Gen *g)
{
    int h = rnd_below(HELPERS);
    IrRef d = rnd_below(3) ? gen_slot() : rnd_below(2) ? IR_NEW : IR_NONE, arg[3] = { IR_NONE, IR_NONE, IR_NONE };

    if (rnd_below(2))
        gen_op(g, IR_NONE, false);
    for (int n = 0; n < guest_helpers[h].nargs; n++)
        arg[n] = gen_int(g, IR_I64);
    d = ir_call(g->u, h, d, arg[0], arg[1], arg[2]);
    gen_note(g, d, IR_I64);
    if (d != IR_NONE && rnd_below(2))
        gen_op(g, IR_NONE, true);
}

/* A branch, forward or as a loop on a counter. */
static void gen_branch(Gen *g)
{
    IrUnit *u = g->u;
    uint64_t pc = UNIT_PC + 4 * (g->at + 1 + rnd_below(8));
    IrType t = rnd_below(3) ? IR_I64 : IR_I32;

    if (rnd_below(5) == 0) {
        IrRef counter = ir_slot(rnd_below(2) ? COUNTER_PIN : COUNTER_MEM);

        ir_op2(u, IR_sub, IR_I64, counter, counter, ir_imm(u, 1));
        ir_br(u, IR_I64, CC_GT, counter, ir_imm(u, 0), UNIT_PC + 4 * rnd_below(g->at + 1));
        return;
    }
    if (rnd_below(2)) {
        IrRef d = rnd_below(2) ? gen_op(g, gen_slot(), true) : ir_setcc(u, t, rnd_below(10), gen_slot(), gen_int(g, t), gen_int(g, t));

        if (rnd_below(2))
            ir_mark(u, UNIT_PC + 4 * ++g->at, 4), g->nvals = 0;
        ir_br(u, rnd_below(4) ? IR_I64 : IR_I32, rnd_below(4) ? rnd_below(2) : rnd_below(10), d, ir_imm(u, 0), pc + 4);
        return;
    }
    ir_br(u, t, rnd_below(10), gen_int(g, t), gen_int(g, t), pc);
}

static void gen_unit(IrUnit *u, int ninsns, bool fp)
{
    Gen g = { .u = u, .ninsns = ninsns, .fp = fp, .words = rnd_below(2) };

    ir_reset(u, UNIT_PC, 0);
    for (g.at = 0; g.at < ninsns; g.at++) {
        g.nvals = 0;
        ir_mark(u, UNIT_PC + 4 * g.at, 4);
        switch (rnd_below(10)) {
        case 0: gen_branch(&g); break;
        case 1: case 2: gen_memory(&g); break;
        case 3:
            if (rnd_below(4) == 0)
                gen_call(&g);
            else if (rnd_below(8) == 0)
                gen_lr_sc(&g);
            else
                gen_memory(&g);
            break;
        case 4: case 5:
            if (fp) {
                gen_float(&g);
                break;
            }
            /* fall through */
        default:
            if (g.words && rnd_below(4)) {
                gen_word_op(&g);
                break;
            }
            for (int n = 1 + rnd_below(5); n > 0; n--)
                gen_op(&g, IR_NONE, true);
        }
    }
    ir_gopc(u, UNIT_PC + 4 * g.at + (rnd_below(2) ? 0x1000 : 0));
    ir_finish(u);
}

#endif
