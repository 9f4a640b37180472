/* SPDX-License-Identifier: MIT */
/*
 * Soft floating point: IEEE 754-2019 arithmetic on raw bits, with exactly the results and
 * flags of the guest's manual. It is the oracle for every floating-point instruction of every
 * guest.
 *
 * Followed: IEEE 754-2019; RISC-V unprivileged manual, chapters F, D, Zfh, Zfbfmin, Zfa,
 * V; Arm ARM DDI 0487, shared pseudocode "FP..." functions; Intel SDM volume 1, chapters 4.8,
 * 11.5, 14.5. Left out: 80-bit and 128-bit formats, Arm's alternative half precision and
 * FPCR.AH/NEP, traps (a caller that needs one clears `flags` before the operation and looks
 * after it), estimates.
 *
 * Nothing here keeps state: all there is comes in an Fpu, which the caller owns; two threads may
 * work at once on two of them. A zeroed Fpu is what RISC-V wants. No function fails: every bit
 * pattern is a valid operand. The host's own floating point is never used.
 */
#ifndef FPU_FPU_H
#define FPU_FPU_H

#include <stdbool.h>
#include <stdint.h>

/* Rounding directions, numbered as RISC-V's frm. */
typedef enum FpRound {
    FPU_RNE = 0,    /* to nearest, ties to even */
    FPU_RTZ = 1,    /* towards zero */
    FPU_RDN = 2,    /* down, towards minus infinity */
    FPU_RUP = 3,    /* up, towards plus infinity */
    FPU_RMM = 4,    /* to nearest, ties away from zero */
    FPU_ROD = 5,    /* to odd (RISC-V vfncvt.rod, Arm FCVTXN); no guest's mode register holds it */
} FpRound;          /* any other number works as FPU_RTZ */

/* Exception flags; the first five are RISC-V's fflags. */
enum {
    FPU_NX = 1,     /* inexact */
    FPU_UF = 2,     /* underflow: tiny and inexact, or flushed by flush_out */
    FPU_OF = 4,     /* overflow */
    FPU_DZ = 8,     /* finite / 0 */
    FPU_NV = 16,    /* invalid */
    FPU_ID = 32,    /* flush_in made a subnormal operand zero (Arm IDC; x86 has no such flag) */
    FPU_DE = 64,    /* a subnormal operand was used (x86 DE); raised under FPU_NAN_X86 only */
    FPU_FFLAGS = 31,
};

/* Which NaN an operation returns. */
enum {
    FPU_NAN_DEFAULT_RISCV = 0,  /* always positive, quiet, no payload; also Arm's FPCR.DN = 1 */
    FPU_NAN_ARM = 1,    /* first signalling operand, else first quiet one, made quiet; fma looks at
                           the addend first. Default NaN positive */
    FPU_NAN_X86 = 2,    /* first NaN operand, made quiet; fma(a, b, c) in that order. Default NaN
                           negative. Also inf * 0 + qNaN is that qNaN and raises nothing */
};

/* What a NaN or a number out of range becomes as an integer. NV is raised, NX is not. */
enum {
    FPU_INT_RISCV = 0,  /* the nearest end of the range; NaN the greatest */
    FPU_INT_ARM = 1,    /* the nearest end of the range; NaN zero */
    FPU_INT_X86 = 2,    /* "integer indefinite": signed the least, unsigned all ones */
};

typedef struct Fpu {
    uint8_t round;      /* direction, FPU_RNE...; functions with a `round` argument ignore it */
    uint8_t flags;      /* operations only set bits; the caller clears them */
    uint8_t nan;        /* FPU_NAN_... */
    uint8_t to_int;     /* FPU_INT_... */
    bool tiny_before;   /* tininess is judged before rounding (Arm), not after (RISC-V, x86) */
    bool flush_in;      /* subnormal operands count as zeros of their sign (Arm FZ, x86 DAZ) */
    bool flush_out;     /* tiny results become zeros of their sign, exact ones too: with tiny_before
                           that raises UF (Arm FZ), else UF and NX (x86 FTZ) */
} Fpu;

/* What F_compare returns. */
enum { FPU_LESS = -1, FPU_EQUAL = 0, FPU_GREATER = 1, FPU_UNORDERED = 2 };

/* Bits of F_classify, in the order of RISC-V's fclass. */
enum {
    FPU_CLASS_NEG_INF = 1 << 0, FPU_CLASS_NEG_NORMAL = 1 << 1, FPU_CLASS_NEG_SUBNORMAL = 1 << 2,
    FPU_CLASS_NEG_ZERO = 1 << 3, FPU_CLASS_POS_ZERO = 1 << 4, FPU_CLASS_POS_SUBNORMAL = 1 << 5,
    FPU_CLASS_POS_NORMAL = 1 << 6, FPU_CLASS_POS_INF = 1 << 7, FPU_CLASS_SNAN = 1 << 8,
    FPU_CLASS_QNAN = 1 << 9,
};

/* Every format: the prefix of its functions and the C type of its bits. */
#define FPU_FORMATS(X)  \
    X(f16, uint16_t)    \
    X(bf16, uint16_t)   \
    X(f32, uint32_t)    \
    X(f64, uint64_t)

/* Every change of format. */
#define FPU_CONVERSIONS(X)                                              \
    X(f16, uint16_t, bf16, uint16_t)  X(f16, uint16_t, f32, uint32_t)   \
    X(f16, uint16_t, f64, uint64_t)   X(bf16, uint16_t, f16, uint16_t)  \
    X(bf16, uint16_t, f32, uint32_t)  X(bf16, uint16_t, f64, uint64_t)  \
    X(f32, uint32_t, f16, uint16_t)   X(f32, uint32_t, bf16, uint16_t)  \
    X(f32, uint32_t, f64, uint64_t)   X(f64, uint64_t, f16, uint16_t)   \
    X(f64, uint64_t, bf16, uint16_t)  X(f64, uint64_t, f32, uint32_t)

/*
 * Arithmetic (754 5.4.1, correctly rounded by f->round). Every function below exists for f16,
 * bf16, f32 and f64: f64_add, f32_add, ... Raised are NV for a signalling operand and
 *
 *   F_add, F_sub   NV inf - inf                        OF UF NX
 *   F_mul          NV 0 * inf                          OF UF NX
 *   F_div          NV 0/0, inf/inf    DZ finite/0      OF UF NX
 *   F_sqrt         NV negative but not -0                    NX
 *   F_fma          a * b + c, rounded once. NV 0 * inf whatever c is (FPU_NAN_X86: unless c is a
 *                  quiet NaN), inf - inf               OF UF NX
 *
 * The forms of fma that negate the product or the addend: the caller flips the sign of a or of c
 * (also when it is a NaN for Arm, not when it is a NaN for x86).
 */
#define FPU_DECLARE_ARITH(F, U)         \
    U F##_add(Fpu *f, U a, U b);        \
    U F##_sub(Fpu *f, U a, U b);        \
    U F##_mul(Fpu *f, U a, U b);        \
    U F##_div(Fpu *f, U a, U b);        \
    U F##_sqrt(Fpu *f, U a);            \
    U F##_fma(Fpu *f, U a, U b, U c);
FPU_FORMATS(FPU_DECLARE_ARITH)

/*
 * Comparison (754 5.6.1, 5.7.2). NV for a signalling operand, and where `signalling` for a
 * quiet NaN too. NaN is unordered: not equal, not less.
 *
 *   F_eq                     RISC-V feq; Arm FCMEQ; quiet
 *   F_lt, F_le               RISC-V flt, fle; Arm FCMGT, FCMGE turned round; signalling
 *   F_lt_quiet, F_le_quiet   RISC-V Zfa fltq, fleq
 *   F_compare                one of FPU_LESS...; Arm FCMP, x86 UCOMIS (quiet), Arm FCMPE, x86 COMIS
 *   F_classify               one bit of FPU_CLASS_...; no flags, no flushing
 */
#define FPU_DECLARE_COMPARE(F, U)                               \
    bool F##_eq(Fpu *f, U a, U b);                              \
    bool F##_lt(Fpu *f, U a, U b);                              \
    bool F##_le(Fpu *f, U a, U b);                              \
    bool F##_lt_quiet(Fpu *f, U a, U b);                        \
    bool F##_le_quiet(Fpu *f, U a, U b);                        \
    int F##_compare(Fpu *f, U a, U b, bool signalling);         \
    unsigned F##_classify(U a);
FPU_FORMATS(FPU_DECLARE_COMPARE)

/*
 * Minimum and maximum. -0 is less than +0, but for x86. NV for a signalling operand; no NX UF OF.
 *
 *   F_min, F_max           754-2019 minimumNumber, maximumNumber: a number beats any NaN; two NaNs
 *                          give the default NaN whatever f->nan is.  RISC-V fmin, fmax
 *   F_minimum, F_maximum   754-2019 minimum, maximum: a NaN operand gives a NaN by f->nan.
 *                          RISC-V Zfa fminm, fmaxm; Arm FMIN, FMAX
 *   F_min_num, F_max_num   754-2008 minNum, maxNum: a number beats a quiet NaN; with a signalling
 *                          one the result is a NaN by f->nan.  Arm FMINNM, FMAXNM
 *   F_min_x86, F_max_x86   b when either is a NaN (any NaN raises NV) or both are zeros.
 *                          x86 MINSS, MAXSS
 */
#define FPU_DECLARE_MINMAX(F, U)            \
    U F##_min(Fpu *f, U a, U b);            \
    U F##_max(Fpu *f, U a, U b);            \
    U F##_minimum(Fpu *f, U a, U b);        \
    U F##_maximum(Fpu *f, U a, U b);        \
    U F##_min_num(Fpu *f, U a, U b);        \
    U F##_max_num(Fpu *f, U a, U b);        \
    U F##_min_x86(Fpu *f, U a, U b);        \
    U F##_max_x86(Fpu *f, U a, U b);
FPU_FORMATS(FPU_DECLARE_MINMAX)

/*
 * Integers (754 5.4.1, 5.9). `round` is the direction, f->round or what the instruction fixes.
 *
 *   F_to_i32 ...       the number rounded to an integer. NX when that changed it; NV alone when it
 *                      does not fit, and then f->to_int says what comes. Never FPU_DE
 *   F_to_int, F_to_uint   the same for an integer of 1 to 64 bits, sign- or zero-extended to 64
 *                      (8 and 16: RISC-V V, AVX512-FP16)
 *   F_from_i64, _u64   rounded by f->round; NX, and OF for f16. Narrower integers: C widens them
 *   F_round_int        to an integral value of the same format; zero keeps its sign. With `exact`
 *                      NX when that changed the value (RISC-V froundnx, Arm FRINTX), else no NX
 *                      (RISC-V fround, Arm FRINTN...). Never FPU_DE
 */
#define FPU_DECLARE_INTEGER(F, U)                                       \
    int32_t F##_to_i32(Fpu *f, U a, uint8_t round);                     \
    uint32_t F##_to_u32(Fpu *f, U a, uint8_t round);                    \
    int64_t F##_to_i64(Fpu *f, U a, uint8_t round);                     \
    uint64_t F##_to_u64(Fpu *f, U a, uint8_t round);                    \
    int64_t F##_to_int(Fpu *f, U a, uint8_t round, unsigned bits);      \
    uint64_t F##_to_uint(Fpu *f, U a, uint8_t round, unsigned bits);    \
    U F##_from_i64(Fpu *f, int64_t i);                                  \
    U F##_from_u64(Fpu *f, uint64_t i);                                 \
    U F##_round_int(Fpu *f, U a, uint8_t round, bool exact);
FPU_FORMATS(FPU_DECLARE_INTEGER)

/*
 * The low 32 bits of the number rounded towards zero, as JavaScript wants them; zero for
 * infinities and NaNs. Flags as f64_to_i32: NV when the number does not fit 32 bits, else NX
 * when it was not an integer.  RISC-V Zfa fcvtmod.w.d; the value of Arm FJCVTZS.
 */
int32_t f64_to_i32_mod(Fpu *f, uint64_t a);

/*
 * F_to_G: the same number in another format, rounded by f->round (754 5.4.2). NV for a
 * signalling operand; OF UF NX where G is narrower in either field. A NaN keeps the upper
 * bits of its payload unless f->nan says otherwise. x86's VCVTPH2PS ignores DAZ and drops
 * FPU_DE, VCVTPS2PH ignores FTZ: the caller sees to that.
 */
#define FPU_DECLARE_CONVERT(F, U, G, V) V F##_to_##G(Fpu *f, U a);
FPU_CONVERSIONS(FPU_DECLARE_CONVERT)

#endif
