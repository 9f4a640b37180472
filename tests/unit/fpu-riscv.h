/* SPDX-License-Identifier: MIT */
/*
 * The RISC-V instructions of test_fpu_riscv, one row each, read by the test (what we say the
 * instruction gives) and by its guest program fpu-riscv-guest.c (how to run it). A row is
 *
 *   X(name, instruction, shape, format of the operands, soft)
 *
 * shape: result and operands, F a floating and X an integer register. soft: the expected
 * register, of operands a, b, c and the Fpu f. The letters h s d stand for f16 f32 f64.
 */
#ifndef TESTS_UNIT_FPU_RISCV_H
#define TESTS_UNIT_FPU_RISCV_H

#include <stdint.h>

typedef struct Record { uint32_t op, rm; uint64_t a, b, c; } Record;    /* what the guest reads */
typedef struct Outcome { uint64_t result, flags; } Outcome;             /* and writes for each */

#define FPU_RISCV_FORMAT(X, F, S, s)                                                        \
    X(fadd_##s, "fadd." #s, F_FF, S, box_##s(F##_add(f, a, b)))                             \
    X(fsub_##s, "fsub." #s, F_FF, S, box_##s(F##_sub(f, a, b)))                             \
    X(fmul_##s, "fmul." #s, F_FF, S, box_##s(F##_mul(f, a, b)))                             \
    X(fdiv_##s, "fdiv." #s, F_FF, S, box_##s(F##_div(f, a, b)))                             \
    X(fsqrt_##s, "fsqrt." #s, F_F, S, box_##s(F##_sqrt(f, a)))                              \
    X(fmadd_##s, "fmadd." #s, F_FFF, S, box_##s(F##_fma(f, a, b, c)))                       \
    X(fmsub_##s, "fmsub." #s, F_FFF, S, box_##s(F##_fma(f, a, b, c ^ SIGN_##s)))            \
    X(fnmadd_##s, "fnmadd." #s, F_FFF, S, box_##s(F##_fma(f, a ^ SIGN_##s, b, c ^ SIGN_##s))) \
    X(fnmsub_##s, "fnmsub." #s, F_FFF, S, box_##s(F##_fma(f, a ^ SIGN_##s, b, c)))          \
    X(fmin_##s, "fmin." #s, F_FF, S, box_##s(F##_min(f, a, b)))                             \
    X(fmax_##s, "fmax." #s, F_FF, S, box_##s(F##_max(f, a, b)))                             \
    X(feq_##s, "feq." #s, X_FF, S, F##_eq(f, a, b))                                         \
    X(flt_##s, "flt." #s, X_FF, S, F##_lt(f, a, b))                                         \
    X(fle_##s, "fle." #s, X_FF, S, F##_le(f, a, b))                                         \
    X(fclass_##s, "fclass." #s, X_F, S, F##_classify(a))                                    \
    X(fcvt_w_##s, "fcvt.w." #s, X_F, S, (int64_t)F##_to_i32(f, a, f->round))                \
    X(fcvt_wu_##s, "fcvt.wu." #s, X_F, S, (int64_t)(int32_t)F##_to_u32(f, a, f->round))     \
    X(fcvt_l_##s, "fcvt.l." #s, X_F, S, F##_to_i64(f, a, f->round))                         \
    X(fcvt_lu_##s, "fcvt.lu." #s, X_F, S, F##_to_u64(f, a, f->round))                       \
    X(fcvt_##s##_w, "fcvt." #s ".w", F_X, INT, box_##s(F##_from_i64(f, (int32_t)a)))        \
    X(fcvt_##s##_wu, "fcvt." #s ".wu", F_X, INT, box_##s(F##_from_u64(f, (uint32_t)a)))     \
    X(fcvt_##s##_l, "fcvt." #s ".l", F_X, INT, box_##s(F##_from_i64(f, a)))                 \
    X(fcvt_##s##_lu, "fcvt." #s ".lu", F_X, INT, box_##s(F##_from_u64(f, a)))

/* The rows that need Zfh come last. */
#define FPU_RISCV_ROWS(X)                                           \
    FPU_RISCV_FORMAT(X, f32, F32, s)                                \
    FPU_RISCV_FORMAT(X, f64, F64, d)                                \
    X(fcvt_s_d, "fcvt.s.d", F_F, F64, box_s(f64_to_f32(f, a)))      \
    X(fcvt_d_s, "fcvt.d.s", F_F, F32, box_d(f32_to_f64(f, a)))      \
    FPU_RISCV_FORMAT(X, f16, F16, h)                                \
    X(fcvt_s_h, "fcvt.s.h", F_F, F16, box_s(f16_to_f32(f, a)))      \
    X(fcvt_h_s, "fcvt.h.s", F_F, F32, box_h(f32_to_f16(f, a)))      \
    X(fcvt_d_h, "fcvt.d.h", F_F, F16, box_d(f16_to_f64(f, a)))      \
    X(fcvt_h_d, "fcvt.h.d", F_F, F64, box_h(f64_to_f16(f, a)))

#define FPU_RISCV_ENUM(name, insn, shape, format, soft) RV_##name,
enum { FPU_RISCV_ROWS(FPU_RISCV_ENUM) RV_ROWS };

#endif
