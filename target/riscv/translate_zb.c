/* SPDX-License-Identifier: MIT */
/* Bit manipulation: Zba, Zbb, Zbc, Zbs (unprivileged manual, chapter B), and Zimop. */
#include "target/riscv/tr.h"

#define OP1(row, op)       bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op1(t, i, op); }
#define OP2(row, op)       bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2(t, i, op); }
#define OP2_IMM(row, op)   bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2_imm(t, i, op); }
#define OP2_W(row, op)     bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2_w(t, i, op); }
#define OP2_IMM_W(row, op) bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2_imm_w(t, i, op); }

/* ---- Zba */

static bool shift_add(Tr *t, const RvInsn *i, unsigned shift, bool word)
{
    IrRef a = xs(t, i->rs1);

    if (!i->rd)
        return true;
    if (word)
        a = ir_op1(t->ir, IR_zext32, IR_I64, IR_NEW, a);
    ir_width(t->ir, IR_shladd, IR_I64, xd(i->rd), a, xs(t, i->rs2), shift, 0);
    return true;
}

#define SHADD(row, n, word) bool rv_tr_##row(Tr *t, const RvInsn *i) { return shift_add(t, i, n, word); }
SHADD(sh1add, 1, false)
SHADD(sh2add, 2, false)
SHADD(sh3add, 3, false)
SHADD(sh1add_uw, 1, true)
SHADD(sh2add_uw, 2, true)
SHADD(sh3add_uw, 3, true)

static bool zext_op2(Tr *t, const RvInsn *i, IrOp op, IrRef b)
{
    if (i->rd) {
        IrRef v = ir_op1(t->ir, IR_zext32, IR_I64, IR_NEW, xs(t, i->rs1));
        ir_op2(t->ir, op, IR_I64, xd(i->rd), v, b);
    }
    return true;
}

bool rv_tr_add_uw(Tr *t, const RvInsn *i)
{
    if (i->rs2 == 0)                    /* zext.w */
        return tr_op1(t, i, IR_zext32);
    return zext_op2(t, i, IR_add, xs(t, i->rs2));
}

bool rv_tr_slli_uw(Tr *t, const RvInsn *i)
{
    return zext_op2(t, i, IR_shl, imm(t, i->imm));
}

/* ---- Zbb */

OP2(andn, IR_andn)
OP2(orn, IR_orn)
OP2(xnor, IR_xnor)
OP2(min, IR_mins)
OP2(max, IR_maxs)
OP2(minu, IR_minu)
OP2(maxu, IR_maxu)
OP2(rol, IR_rol)
OP2(ror, IR_ror)
OP2_IMM(rori, IR_ror)
OP2_W(rolw, IR_rol)
OP2_W(rorw, IR_ror)
OP2_IMM_W(roriw, IR_ror)
OP1(clz, IR_clz)
OP1(ctz, IR_ctz)
OP1(cpop, IR_popcnt)
OP1(sext_b, IR_sext8)
OP1(sext_h, IR_sext16)
OP1(zext_h, IR_zext16)
OP1(orc_b, IR_orcb)
OP1(rev8, IR_bswap)

/* Counts of the low word: 0 to 32. */
static bool count_w(Tr *t, const RvInsn *i, IrOp op)
{
    if (i->rd) {
        IrRef v = ir_op1(t->ir, op, IR_I32, IR_NEW, xs(t, i->rs1));
        ir_op1(t->ir, IR_zext32, IR_I64, xd(i->rd), v);
    }
    return true;
}

bool rv_tr_clzw(Tr *t, const RvInsn *i) { return count_w(t, i, IR_clz); }
bool rv_tr_ctzw(Tr *t, const RvInsn *i) { return count_w(t, i, IR_ctz); }
bool rv_tr_cpopw(Tr *t, const RvInsn *i) { return count_w(t, i, IR_popcnt); }

/* ---- Zbc */

OP2(clmul, IR_clmul)
OP2(clmulh, IR_clmulh)
OP2(clmulr, IR_clmulr)

/* ---- Zbs: the bit is 1 << (b mod 64) */

static IrRef bit(Tr *t, const RvInsn *i)
{
    return ir_op2(t->ir, IR_shl, IR_I64, IR_NEW, imm(t, 1), xs(t, i->rs2));
}

static bool with_bit(Tr *t, const RvInsn *i, IrOp op)
{
    if (i->rd)
        ir_op2(t->ir, op, IR_I64, xd(i->rd), xs(t, i->rs1), bit(t, i));
    return true;
}

static bool with_bit_imm(Tr *t, const RvInsn *i, IrOp op)
{
    if (i->rd)
        ir_op2(t->ir, op, IR_I64, xd(i->rd), xs(t, i->rs1), imm(t, 1ull << i->imm));
    return true;
}

bool rv_tr_bset(Tr *t, const RvInsn *i) { return with_bit(t, i, IR_or); }
bool rv_tr_bclr(Tr *t, const RvInsn *i) { return with_bit(t, i, IR_andn); }
bool rv_tr_binv(Tr *t, const RvInsn *i) { return with_bit(t, i, IR_xor); }
bool rv_tr_bseti(Tr *t, const RvInsn *i) { return with_bit_imm(t, i, IR_or); }
bool rv_tr_binvi(Tr *t, const RvInsn *i) { return with_bit_imm(t, i, IR_xor); }

bool rv_tr_bclri(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_op2(t->ir, IR_and, IR_I64, xd(i->rd), xs(t, i->rs1), imm(t, ~(1ull << i->imm)));
    return true;
}

bool rv_tr_bext(Tr *t, const RvInsn *i)
{
    if (i->rd) {
        IrRef v = ir_op2(t->ir, IR_shr, IR_I64, IR_NEW, xs(t, i->rs1), xs(t, i->rs2));
        ir_op2(t->ir, IR_and, IR_I64, xd(i->rd), v, imm(t, 1));
    }
    return true;
}

bool rv_tr_bexti(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_width(t->ir, IR_bext, IR_I64, xd(i->rd), xs(t, i->rs1), IR_NONE, i->imm, 1);
    return true;
}

/* ---- Zimop: may be operations; until one is given a meaning they write 0 */

bool rv_tr_mop_r_n(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_op1(t->ir, IR_mov, IR_I64, xd(i->rd), imm(t, 0));
    return true;
}

bool rv_tr_mop_rr_n(Tr *t, const RvInsn *i)
{
    return rv_tr_mop_r_n(t, i);
}
