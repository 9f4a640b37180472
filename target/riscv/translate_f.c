/* SPDX-License-Identifier: MIT */
/*
 * F, D, Zfhmin, Zfa (unprivileged manual, same chapters). Whether the mode allows
 * them, and that FS is dirty, riscv_step has seen to. A register holds 64 bits;
 * narrower numbers are NaN-boxed, which the IR's types look after.
 */
#include "target/riscv/tr.h"

int tr_round(const Tr *t, unsigned rm)
{
    unsigned frm = t->mode >> RVM_FRM_SHIFT & 7;

    if (rm == 7) {
        if (frm > FP_RMM)
            return -1;
        return frm == FP_RMM ? FP_RMM : FP_DYN;
    }
    if (rm > FP_RMM)
        return -1;
    return rm == frm && rm != FP_RMM ? FP_DYN : (int)rm;
}

static bool op(Tr *t, const RvInsn *i, IrOp o, IrType ty, unsigned round)
{
    unsigned in = ir_ops[o].in;

    ir_fp(t->ir, o, ty, round, fs(i->rd), fs(i->rs1), in > 1 ? fs(i->rs2) : IR_NONE, in > 2 ? fs(i->rs3) : IR_NONE, 0);
    return true;
}

#define ROUNDED(row, o)                                                                                         \
    bool rv_tr_##row##_s(Tr *t, const RvInsn *i) { return op(t, i, o, IR_F32, tr_round(t, i->rm)); }            \
    bool rv_tr_##row##_d(Tr *t, const RvInsn *i) { return op(t, i, o, IR_F64, tr_round(t, i->rm)); }
ROUNDED(fadd, IR_fadd)
ROUNDED(fsub, IR_fsub)
ROUNDED(fmul, IR_fmul)
ROUNDED(fdiv, IR_fdiv)
ROUNDED(fsqrt, IR_fsqrt)
ROUNDED(fmadd, IR_fmadd)
ROUNDED(fmsub, IR_fmsub)
ROUNDED(fnmadd, IR_fnmadd)
ROUNDED(fnmsub, IR_fnmsub)

#define EXACT(row, o)                                                                           \
    bool rv_tr_##row##_s(Tr *t, const RvInsn *i) { return op(t, i, o, IR_F32, FP_DYN); }        \
    bool rv_tr_##row##_d(Tr *t, const RvInsn *i) { return op(t, i, o, IR_F64, FP_DYN); }
EXACT(fmin, IR_fmin)
EXACT(fmax, IR_fmax)
EXACT(fsgnjn, IR_fsgnjn)
EXACT(fsgnjx, IR_fsgnjx)

bool rv_tr_fsgnj_s(Tr *t, const RvInsn *i)
{
    return op(t, i, IR_fsgnj, IR_F32, FP_DYN);
}

bool rv_tr_fsgnj_d(Tr *t, const RvInsn *i)
{
    if (i->rs1 != i->rs2)
        return op(t, i, IR_fsgnj, IR_F64, FP_DYN);
    ir_op1(t->ir, IR_mov, IR_F64, fs(i->rd), fs(i->rs1));      /* fmv.d; fmv.s looks at the box */
    return true;
}

/* ---- to integer registers. Those with flags happen for x0 too. */

static bool to_int(Tr *t, const RvInsn *i, IrOp o, IrType ty, unsigned round, unsigned x)
{
    ir_fp(t->ir, o, ty, round, xd(i->rd), fs(i->rs1), ir_ops[o].in > 1 ? fs(i->rs2) : IR_NONE, IR_NONE, x);
    return true;
}

#define TO_INT(row, o)                                                                                  \
    bool rv_tr_##row##_s(Tr *t, const RvInsn *i) { return to_int(t, i, o, IR_F32, FP_DYN, 0); }         \
    bool rv_tr_##row##_d(Tr *t, const RvInsn *i) { return to_int(t, i, o, IR_F64, FP_DYN, 0); }
TO_INT(feq, IR_feq)
TO_INT(flt, IR_flt)
TO_INT(fle, IR_fle)
TO_INT(fclass, IR_fclass)

#define CONVERT(int_, x)                                                                                \
    bool rv_tr_fcvt_##int_##_s(Tr *t, const RvInsn *i)                                                  \
    { return to_int(t, i, IR_fcvt_if, IR_F32, tr_round(t, i->rm), x); }                                 \
    bool rv_tr_fcvt_##int_##_d(Tr *t, const RvInsn *i)                                                  \
    { return to_int(t, i, IR_fcvt_if, IR_F64, tr_round(t, i->rm), x); }                                 \
    bool rv_tr_fcvt_s_##int_(Tr *t, const RvInsn *i) { return from_int(t, i, IR_F32, x); }              \
    bool rv_tr_fcvt_d_##int_(Tr *t, const RvInsn *i) { return from_int(t, i, IR_F64, x); }

static bool from_int(Tr *t, const RvInsn *i, IrType ty, unsigned x)
{
    ir_fp(t->ir, IR_fcvt_fi, ty, tr_round(t, i->rm), fs(i->rd), xs(t, i->rs1), IR_NONE, IR_NONE, x);
    return true;
}

CONVERT(w, FPI_S32)
CONVERT(wu, FPI_U32)
CONVERT(l, FPI_S64)
CONVERT(lu, FPI_U64)

/* ---- from one format to another */

static bool format(Tr *t, const RvInsn *i, IrType to, IrType from)
{
    ir_fp(t->ir, IR_fcvt_ff, to, tr_round(t, i->rm), fs(i->rd), fs(i->rs1), IR_NONE, IR_NONE, from);
    return true;
}

bool rv_tr_fcvt_s_d(Tr *t, const RvInsn *i) { return format(t, i, IR_F32, IR_F64); }
bool rv_tr_fcvt_d_s(Tr *t, const RvInsn *i) { return format(t, i, IR_F64, IR_F32); }
bool rv_tr_fcvt_s_h(Tr *t, const RvInsn *i) { return format(t, i, IR_F32, IR_F16); }
bool rv_tr_fcvt_h_s(Tr *t, const RvInsn *i) { return format(t, i, IR_F16, IR_F32); }
bool rv_tr_fcvt_d_h(Tr *t, const RvInsn *i) { return format(t, i, IR_F64, IR_F16); }
bool rv_tr_fcvt_h_d(Tr *t, const RvInsn *i) { return format(t, i, IR_F16, IR_F64); }

/* ---- bits between the register files */

static bool bits_out(Tr *t, const RvInsn *i, IrType ty)
{
    if (i->rd)
        ir_fp(t->ir, IR_fmv_if, ty, FP_DYN, xd(i->rd), fs(i->rs1), IR_NONE, IR_NONE, 0);
    return true;
}

static bool bits_in(Tr *t, const RvInsn *i, IrType ty)
{
    ir_fp(t->ir, IR_fmv_fi, ty, FP_DYN, fs(i->rd), xs(t, i->rs1), IR_NONE, IR_NONE, 0);
    return true;
}

bool rv_tr_fmv_x_h(Tr *t, const RvInsn *i) { return bits_out(t, i, IR_F16); }
bool rv_tr_fmv_x_w(Tr *t, const RvInsn *i) { return bits_out(t, i, IR_F32); }
bool rv_tr_fmv_x_d(Tr *t, const RvInsn *i) { return bits_out(t, i, IR_F64); }
bool rv_tr_fmv_h_x(Tr *t, const RvInsn *i) { return bits_in(t, i, IR_F16); }
bool rv_tr_fmv_w_x(Tr *t, const RvInsn *i) { return bits_in(t, i, IR_F32); }
bool rv_tr_fmv_d_x(Tr *t, const RvInsn *i) { return bits_in(t, i, IR_F64); }

/* ---- memory */

static bool load(Tr *t, const RvInsn *i, IrType ty, MemOp m)
{
    ir_ld(t->ir, ty, fs(i->rd), xs(t, i->rs1), i->imm, mem_op(t, m));
    return true;
}

static bool store(Tr *t, const RvInsn *i, IrType ty, MemOp m)
{
    ir_st(t->ir, ty, xs(t, i->rs1), i->imm, fs(i->rs2), mem_op(t, m));
    return true;
}

bool rv_tr_flh(Tr *t, const RvInsn *i) { return load(t, i, IR_F16, MO_16); }
bool rv_tr_flw(Tr *t, const RvInsn *i) { return load(t, i, IR_F32, MO_32); }
bool rv_tr_fld(Tr *t, const RvInsn *i) { return load(t, i, IR_F64, MO_64); }
bool rv_tr_fsh(Tr *t, const RvInsn *i) { return store(t, i, IR_F16, MO_16); }
bool rv_tr_fsw(Tr *t, const RvInsn *i) { return store(t, i, IR_F32, MO_32); }
bool rv_tr_fsd(Tr *t, const RvInsn *i) { return store(t, i, IR_F64, MO_64); }

/* ---- Zfa, by helpers that take and give registers as they are, boxes and all */

static IrRef raw(Tr *t, unsigned f)
{
    return ir_fp(t->ir, IR_fmv_if, IR_F64, FP_DYN, IR_NEW, fs(f), IR_NONE, IR_NONE, 0);
}

static bool call_to_fp(Tr *t, const RvInsn *i, int helper, IrRef b)
{
    IrRef v = ir_call(t->ir, helper, IR_NEW, raw(t, i->rs1), b, IR_NONE);

    ir_fp(t->ir, IR_fmv_fi, IR_F64, FP_DYN, fs(i->rd), v, IR_NONE, IR_NONE, 0);
    return true;
}

static bool call_to_int(Tr *t, const RvInsn *i, int helper, IrRef b)
{
    ir_call(t->ir, helper, xd(i->rd), raw(t, i->rs1), b, IR_NONE);
    return true;
}

/* The helper needs the direction itself: it is static, as frm is part of the mode. */
static IrRef direction(Tr *t, const RvInsn *i)
{
    return imm(t, i->rm == 7 ? t->mode >> RVM_FRM_SHIFT & 7 : i->rm);
}

#define FP_OF_TWO(row)  bool rv_tr_##row(Tr *t, const RvInsn *i) { return call_to_fp(t, i, RVH_##row, raw(t, i->rs2)); }
#define FP_ROUND(row)   bool rv_tr_##row(Tr *t, const RvInsn *i) { return call_to_fp(t, i, RVH_##row, direction(t, i)); }
#define INT_OF_TWO(row) bool rv_tr_##row(Tr *t, const RvInsn *i) { return call_to_int(t, i, RVH_##row, raw(t, i->rs2)); }
FP_OF_TWO(fminm_s)
FP_OF_TWO(fmaxm_s)
FP_OF_TWO(fminm_d)
FP_OF_TWO(fmaxm_d)
FP_ROUND(fround_s)
FP_ROUND(froundnx_s)
FP_ROUND(fround_d)
FP_ROUND(froundnx_d)
INT_OF_TWO(fleq_s)
INT_OF_TWO(fltq_s)
INT_OF_TWO(fleq_d)
INT_OF_TWO(fltq_d)

bool rv_tr_fcvtmod_w_d(Tr *t, const RvInsn *i)
{
    return call_to_int(t, i, RVH_fcvtmod_w_d, IR_NONE);
}

/* Table "immediate values loaded by fli" of the Zfa chapter, as doubles; 1 is the least normal number. */
static const uint64_t fli_values[32] = {
    0xbff0000000000000, 0x0010000000000000, 0x3ef0000000000000, 0x3f00000000000000,
    0x3f70000000000000, 0x3f80000000000000, 0x3fb0000000000000, 0x3fc0000000000000,
    0x3fd0000000000000, 0x3fd4000000000000, 0x3fd8000000000000, 0x3fdc000000000000,
    0x3fe0000000000000, 0x3fe4000000000000, 0x3fe8000000000000, 0x3fec000000000000,
    0x3ff0000000000000, 0x3ff4000000000000, 0x3ff8000000000000, 0x3ffc000000000000,
    0x4000000000000000, 0x4004000000000000, 0x4008000000000000, 0x4010000000000000,
    0x4020000000000000, 0x4030000000000000, 0x4060000000000000, 0x4070000000000000,
    0x40e0000000000000, 0x40f0000000000000, 0x7ff0000000000000, 0x7ff8000000000000,
};

/* A double whose number is also a single: sign, the exponent's ends, seven of the fraction's bits are enough. */
static uint32_t as_single(uint64_t d)
{
    uint32_t sign = d >> 32 & 0x80000000, exponent = d >> 52 & 0x7ff;

    if (exponent == 1)
        return sign | 0x00800000;               /* least normal, of this format */
    exponent = exponent == 0x7ff ? 0xff : exponent - 1023 + 127;
    return sign | exponent << 23 | (uint32_t)(d >> 29 & 0x7fffff);
}

static bool load_constant(Tr *t, const RvInsn *i, IrType ty, uint64_t v)
{
    ir_fp(t->ir, IR_fmv_fi, ty, FP_DYN, fs(i->rd), imm(t, v), IR_NONE, IR_NONE, 0);
    return true;
}

bool rv_tr_fli_s(Tr *t, const RvInsn *i) { return load_constant(t, i, IR_F32, as_single(fli_values[i->rs1])); }
bool rv_tr_fli_d(Tr *t, const RvInsn *i) { return load_constant(t, i, IR_F64, fli_values[i->rs1]); }
