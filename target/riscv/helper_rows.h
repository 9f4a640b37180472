/* SPDX-License-Identifier: MIT */
/*
 * The C functions that RISC-V code calls, one row each: helpers.c makes the
 * table of it. X(name, function, arguments, flags of tcg/ir/ir.h)
 */
#ifndef TARGET_RISCV_HELPER_ROWS_H
#define TARGET_RISCV_HELPER_ROWS_H

#include "target/riscv/helpers.h"

#define RV_HELPERS(X)                                                                                   \
    X(csr_read,      riscv_h_csr_read,      1, HELPER_FAULTS | HELPER_FP | HELPER_READS)                 \
    X(csr_write,     riscv_h_csr_write,     2, HELPER_FAULTS | HELPER_FP | HELPER_READS | HELPER_WRITES) \
    X(csr_set,       riscv_h_csr_set,       2, HELPER_FAULTS | HELPER_FP | HELPER_READS | HELPER_WRITES) \
    X(csr_clear,     riscv_h_csr_clear,     2, HELPER_FAULTS | HELPER_FP | HELPER_READS | HELPER_WRITES) \
    /* the same for registers that reach beyond the hart: riscv_csr_outside */                           \
    X(csr_read_out,  riscv_h_csr_read,      1, RV_OUT | HELPER_FP | HELPER_READS)                        \
    X(csr_write_out, riscv_h_csr_write,     2, RV_OUT | HELPER_FP | HELPER_READS | HELPER_WRITES)        \
    X(csr_set_out,   riscv_h_csr_set,       2, RV_OUT | HELPER_FP | HELPER_READS | HELPER_WRITES)        \
    X(csr_clear_out, riscv_h_csr_clear,     2, RV_OUT | HELPER_FP | HELPER_READS | HELPER_WRITES)        \
    X(irq_check,     riscv_h_irq_check,     0, HELPER_OUTSIDE | HELPER_READS)                            \
    X(ecall,         riscv_h_ecall,         1, HELPER_FAULTS | HELPER_READS | HELPER_WRITES)             \
    X(mret,          riscv_h_mret,          2, RV_OUT | HELPER_READS | HELPER_WRITES)                    \
    X(sret,          riscv_h_sret,          2, RV_OUT | HELPER_READS | HELPER_WRITES)                    \
    X(ebreak,        riscv_h_ebreak,        1, HELPER_FAULTS)                                            \
    X(illegal,       riscv_h_illegal,       1, HELPER_FAULTS)                                            \
    X(misaligned_pc, riscv_h_misaligned_pc, 2, HELPER_FAULTS)                                            \
    X(wfi,           riscv_h_wfi,           1, HELPER_FAULTS | HELPER_READS)                             \
    X(wrs,           riscv_h_wrs,           1, RV_OUT | HELPER_READS)                                    \
    X(pause,         riscv_h_pause,         0, HELPER_OUTSIDE)                                           \
    X(sfence_vma,    riscv_h_sfence_vma,    3, RV_OUT | HELPER_READS)                                    \
    X(sfence_inval,  riscv_h_sfence_inval,  1, HELPER_FAULTS)                                            \
    X(fence_i,       riscv_h_fence_i,       0, HELPER_OUTSIDE)                                           \
    X(fs_dirty,      riscv_h_fs_dirty,      0, HELPER_READS | HELPER_WRITES)                             \
    X(cbo,           riscv_h_cbo,           3, RV_OUT)                                                   \
    X(amocas_q,      riscv_h_amocas_q,      3, RV_OUT | HELPER_READS | HELPER_WRITES)                    \
    /* Zfa: operands and results as floating-point registers hold them (helpers_fp.c) */                 \
    X(fminm_s,       riscv_h_fminm_s,       2, RV_FPU)                                                   \
    X(fmaxm_s,       riscv_h_fmaxm_s,       2, RV_FPU)                                                   \
    X(fminm_d,       riscv_h_fminm_d,       2, RV_FPU)                                                   \
    X(fmaxm_d,       riscv_h_fmaxm_d,       2, RV_FPU)                                                   \
    X(fround_s,      riscv_h_fround_s,      2, RV_FPU)                                                   \
    X(froundnx_s,    riscv_h_froundnx_s,    2, RV_FPU)                                                   \
    X(fround_d,      riscv_h_fround_d,      2, RV_FPU)                                                   \
    X(froundnx_d,    riscv_h_froundnx_d,    2, RV_FPU)                                                   \
    X(fleq_s,        riscv_h_fleq_s,        2, RV_FPU)                                                   \
    X(fltq_s,        riscv_h_fltq_s,        2, RV_FPU)                                                   \
    X(fleq_d,        riscv_h_fleq_d,        2, RV_FPU)                                                   \
    X(fltq_d,        riscv_h_fltq_d,        2, RV_FPU)                                                   \
    X(fcvtmod_w_d,   riscv_h_fcvtmod_w_d,   1, RV_FPU)                                                   \
    /* cryptography (helpers_zk.c) */                                                                    \
    X(xperm4,        riscv_h_xperm4,        2, HELPER_PURE)                                              \
    X(xperm8,        riscv_h_xperm8,        2, HELPER_PURE)                                              \
    X(aes64ds,       riscv_h_aes64ds,       2, HELPER_PURE)                                              \
    X(aes64dsm,      riscv_h_aes64dsm,      2, HELPER_PURE)                                              \
    X(aes64im,       riscv_h_aes64im,       1, HELPER_PURE)                                              \
    X(aes64es,       riscv_h_aes64es,       2, HELPER_PURE)                                              \
    X(aes64esm,      riscv_h_aes64esm,      2, HELPER_PURE)                                              \
    X(aes64ks1i,     riscv_h_aes64ks1i,     2, HELPER_PURE)

#define RV_OUT (HELPER_FAULTS | HELPER_OUTSIDE)
#define RV_FPU HELPER_FP

enum RvHelper {
#define X(name, fn, nargs, flags) RVH_##name,
    RV_HELPERS(X)
#undef X
    RVH_COUNT
};

/* Those of the instruction side; helpers.h has the others. */
#define X(name) uint64_t riscv_h_##name(Env *env, uint64_t a, uint64_t b, uint64_t c);
X(misaligned_pc) X(amocas_q)
X(fminm_s) X(fmaxm_s) X(fminm_d) X(fmaxm_d) X(fround_s) X(froundnx_s) X(fround_d) X(froundnx_d)
X(fleq_s) X(fltq_s) X(fleq_d) X(fltq_d) X(fcvtmod_w_d)
X(xperm4) X(xperm8) X(aes64ds) X(aes64dsm) X(aes64im) X(aes64es) X(aes64esm) X(aes64ks1i)
#undef X

#endif
