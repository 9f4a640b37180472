/* SPDX-License-Identifier: MIT */
/*
 * The floating-point ops by the soft floating point of fpu/: exact results and
 * flags by the guest's rules. The interpreter runs them so, and generated code
 * where the host's own instruction can't be trusted (NaN results, RMM rounding).
 *
 * Values are slot images of 64 bits. With IrGuest.nan_box a narrower format is
 * right only when all upper bits are ones; else it reads as the default NaN (RISC-V
 * unprivileged manual, "NaN boxing of narrower values"). Without it the upper
 * bits are ignored and written as zeros.
 */
#include <string.h>

#include "fpu/fpu.h"
#include "tcg/env.h"
#include "tcg/ir/eval.h"

/* ---- formats in slots */

static unsigned format_bits(IrType t)
{
    return t == IR_F16 ? 16 : t == IR_F32 ? 32 : 64;
}

static uint64_t upper_bits(IrType t)
{
    return t == IR_F64 ? 0 : ~(uint64_t)0 << format_bits(t);
}

static uint64_t default_nan(IrType t, const IrGuest *g)
{
    uint64_t sign = g->fpu_nan == FPU_NAN_X86;

    switch (t) {
    case IR_F16: return 0x7e00 | sign << 15;
    case IR_F32: return 0x7fc00000 | sign << 31;
    default:     return 0x7ff8000000000000 | sign << 63;
    }
}

static uint64_t unbox(IrType t, uint64_t v, const IrGuest *g)
{
    uint64_t up = upper_bits(t);

    if (g->nan_box && (v & up) != up)
        return default_nan(t, g);
    return v & ~up;
}

static uint64_t box(IrType t, uint64_t v, const IrGuest *g)
{
    return g->nan_box ? v | upper_bits(t) : v & ~upper_bits(t);
}

/* ---- operations on bare formats */

/* One function for each format: `what` is a format's function without its prefix. */
#define BY_FORMAT(t, what, ...)                             \
    ((t) == IR_F16 ? (uint64_t)f16_##what(__VA_ARGS__)      \
     : (t) == IR_F32 ? (uint64_t)f32_##what(__VA_ARGS__)    \
     : (uint64_t)f64_##what(__VA_ARGS__))

static uint64_t fma_of(Fpu *f, IrType t, uint64_t a, uint64_t b, uint64_t c, bool neg_product, bool neg_addend)
{
    uint64_t sign = (uint64_t)1 << (format_bits(t) - 1);

    return BY_FORMAT(t, fma, f, neg_product ? a ^ sign : a, b, neg_addend ? c ^ sign : c);
}

static uint64_t sign_op(IrOp op, IrType t, uint64_t a, uint64_t b)
{
    uint64_t sign = (uint64_t)1 << (format_bits(t) - 1);

    switch (op) {
    case IR_fsgnj:  return (a & ~sign) | (b & sign);
    case IR_fsgnjn: return (a & ~sign) | (~b & sign);
    default:        return a ^ (b & sign);
    }
}

static uint64_t convert(Fpu *f, IrType to, IrType from, uint64_t a)
{
    if (to == from)
        return a;
    switch (from) {
    case IR_F16: return to == IR_F32 ? f16_to_f32(f, a) : f16_to_f64(f, a);
    case IR_F32: return to == IR_F16 ? f32_to_f16(f, a) : f32_to_f64(f, a);
    default:     return to == IR_F16 ? f64_to_f16(f, a) : f64_to_f32(f, a);
    }
}

static uint64_t from_int(Fpu *f, IrType t, FpInt kind, uint64_t a)
{
    switch (kind) {
    case FPI_S32: return BY_FORMAT(t, from_i64, f, (int32_t)a);
    case FPI_U32: return BY_FORMAT(t, from_u64, f, (uint32_t)a);
    case FPI_S64: return BY_FORMAT(t, from_i64, f, (int64_t)a);
    default:      return BY_FORMAT(t, from_u64, f, a);
    }
}

static uint64_t to_int(Fpu *f, IrType t, FpInt kind, uint64_t a)
{
    switch (kind) {
    case FPI_S32: return (int64_t)(int32_t)BY_FORMAT(t, to_i32, f, a, f->round);
    case FPI_U32: return (int64_t)(int32_t)BY_FORMAT(t, to_u32, f, a, f->round);
    case FPI_S64: return BY_FORMAT(t, to_i64, f, a, f->round);
    default:      return BY_FORMAT(t, to_u64, f, a, f->round);
    }
}

static uint64_t move_to_int(IrType t, uint64_t a)
{
    unsigned up = 64 - format_bits(t);

    return (int64_t)(a << up) >> up;
}

/* Float results, bare. */
static uint64_t eval_float(Fpu *f, const IrInsn *i, uint64_t a, uint64_t b, uint64_t c)
{
    IrType t = i->type;

    switch (i->op) {
    case IR_fadd:   return BY_FORMAT(t, add, f, a, b);
    case IR_fsub:   return BY_FORMAT(t, sub, f, a, b);
    case IR_fmul:   return BY_FORMAT(t, mul, f, a, b);
    case IR_fdiv:   return BY_FORMAT(t, div, f, a, b);
    case IR_fsqrt:  return BY_FORMAT(t, sqrt, f, a);
    case IR_fmadd:  return fma_of(f, t, a, b, c, false, false);
    case IR_fmsub:  return fma_of(f, t, a, b, c, false, true);
    case IR_fnmadd: return fma_of(f, t, a, b, c, true, true);
    case IR_fnmsub: return fma_of(f, t, a, b, c, true, false);
    case IR_fmin:   return BY_FORMAT(t, min, f, a, b);
    case IR_fmax:   return BY_FORMAT(t, max, f, a, b);
    default:        return sign_op(i->op, t, a, b);
    }
}

static Fpu fpu_of(const IrInsn *i, const Env *env, const IrGuest *g)
{
    static const uint8_t to_int_rule[] = {
        [FPU_NAN_DEFAULT_RISCV] = FPU_INT_RISCV, [FPU_NAN_ARM] = FPU_INT_ARM, [FPU_NAN_X86] = FPU_INT_X86,
    };

    return (Fpu){
        .round = i->aux == FP_DYN ? env->fp_round : i->aux,
        .nan = g->fpu_nan,
        .to_int = to_int_rule[g->fpu_nan],
        .tiny_before = g->fpu_nan == FPU_NAN_ARM,
    };
}

uint64_t ir_eval_fp(const IrInsn *i, Env *env, uint64_t a, uint64_t b, uint64_t c, const IrGuest *g)
{
    IrType t = i->type;
    Fpu f = fpu_of(i, env, g);
    uint64_t r;

    switch (i->op) {
    case IR_feq:     r = BY_FORMAT(t, eq, &f, unbox(t, a, g), unbox(t, b, g)); break;
    case IR_flt:     r = BY_FORMAT(t, lt, &f, unbox(t, a, g), unbox(t, b, g)); break;
    case IR_fle:     r = BY_FORMAT(t, le, &f, unbox(t, a, g), unbox(t, b, g)); break;
    case IR_fclass:  r = BY_FORMAT(t, classify, unbox(t, a, g)); break;
    case IR_fcvt_ff: r = box(t, convert(&f, t, i->x, unbox(i->x, a, g)), g); break;
    case IR_fcvt_fi: r = box(t, from_int(&f, t, i->x, a), g); break;
    case IR_fcvt_if: r = to_int(&f, t, i->x, unbox(t, a, g)); break;
    case IR_fmv_fi:  r = box(t, a, g); break;
    case IR_fmv_if:  r = move_to_int(t, a); break;
    default:         r = box(t, eval_float(&f, i, unbox(t, a, g), unbox(t, b, g), unbox(t, c, g)), g); break;
    }
    env->fp_flags |= f.flags & FPU_FFLAGS;
    return r;
}
