/* SPDX-License-Identifier: MIT */
/*
 * What instructions do that is too big for IR: amocas.q, Zfa, and jumps to
 * addresses that hardware without C refuses.
 */
#include "fpu/fpu.h"
#include "target/riscv/helper_rows.h"

uint64_t riscv_h_misaligned_pc(Env *env, uint64_t target, uint64_t when, uint64_t c)
{
    if (when)
        riscv_raise(env, EXC_INSN_MISALIGNED, target);
    return (void)c, 0;
}

/* ---- Zacas: 128 bits in two pairs of registers; rd and rs2 are even, x0 stands for a pair of zeros */

static uint64_t pair_get(const Env *env, unsigned r, unsigned half)
{
    return r ? env->gpr[r + half] : 0;
}

/*
 * Everybody else stands still, so two halves are as good as one access. The or
 * with 0 asks for write permission, which amocas needs even if it doesn't write.
 */
uint64_t riscv_h_amocas_q(Env *env, uint64_t va, uint64_t rd, uint64_t rs2)
{
    Vcpu *v = env->vcpu;
    bool alone = v->vm && v->vm->nvcpus > 1;
    MemOp m = MO_64 | MO_ALIGN | MO_ATOMIC | (env->mode & 15) << MO_CTX_SHIFT;
    uint64_t was[2];

    if (va & 15) {
        riscv_raise(env, EXC_STORE_MISALIGNED, va);
        return 0;
    }
    if (alone)
        vcpus_exclusive(v->vm, v);
    was[0] = env->ops->amo(env, va, 0, m, AMO_OR);
    was[1] = env->fault ? 0 : env->ops->amo(env, va + 8, 0, m, AMO_OR);
    if (!env->fault && was[0] == pair_get(env, rd, 0) && was[1] == pair_get(env, rd, 1)) {
        env->ops->store(env, va, pair_get(env, rs2, 0), m);
        env->ops->store(env, va + 8, pair_get(env, rs2, 1), m);
    }
    if (alone)
        vcpus_resume(v->vm, v);
    if (!env->fault && rd) {
        env->gpr[rd] = was[0];
        env->gpr[rd + 1] = was[1];
    }
    return 0;
}

/* ---- Zfa. a and b are whole registers: a single is boxed in ones, or it counts as the default NaN. */

static const uint64_t BOX = 0xffffffff00000000;

static uint32_t unbox(uint64_t v)
{
    return (v & BOX) == BOX ? (uint32_t)v : 0x7fc00000;
}

static void accrue(Env *env, const Fpu *f)
{
    env->fp_flags |= f->flags & FPU_FFLAGS;
}

#define TWO(name, singles, doubles)                                                 \
    uint64_t riscv_h_##name##_s(Env *env, uint64_t a, uint64_t b, uint64_t c)       \
    {                                                                               \
        Fpu f = { 0 };                                                              \
        uint64_t v = singles(&f, unbox(a), unbox(b));                               \
        accrue(env, &f);                                                            \
        return (void)c, v;                                                          \
    }                                                                               \
    uint64_t riscv_h_##name##_d(Env *env, uint64_t a, uint64_t b, uint64_t c)       \
    {                                                                               \
        Fpu f = { 0 };                                                              \
        uint64_t v = doubles(&f, a, b);                                             \
        accrue(env, &f);                                                            \
        return (void)c, v;                                                          \
    }
#define BOXED(fn) BOX | fn
TWO(fminm, BOXED(f32_minimum), f64_minimum)
TWO(fmaxm, BOXED(f32_maximum), f64_maximum)
TWO(fleq, f32_le_quiet, f64_le_quiet)
TWO(fltq, f32_lt_quiet, f64_lt_quiet)

#define ROUND(name, exact)                                                                  \
    uint64_t riscv_h_##name##_s(Env *env, uint64_t a, uint64_t direction, uint64_t c)       \
    {                                                                                       \
        Fpu f = { 0 };                                                                      \
        uint64_t v = BOX | f32_round_int(&f, unbox(a), direction, exact);                   \
        accrue(env, &f);                                                                    \
        return (void)c, v;                                                                  \
    }                                                                                       \
    uint64_t riscv_h_##name##_d(Env *env, uint64_t a, uint64_t direction, uint64_t c)       \
    {                                                                                       \
        Fpu f = { 0 };                                                                      \
        uint64_t v = f64_round_int(&f, a, direction, exact);                                \
        accrue(env, &f);                                                                    \
        return (void)c, v;                                                                  \
    }
ROUND(fround, false)
ROUND(froundnx, true)

uint64_t riscv_h_fcvtmod_w_d(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    Fpu f = { 0 };
    int32_t v = f64_to_i32_mod(&f, a);

    accrue(env, &f);
    return (void)b, (void)c, (uint64_t)(int64_t)v;
}
