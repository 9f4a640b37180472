/* SPDX-License-Identifier: MIT */
/*
 * What core files say of a hart, in the shapes of Linux's ptrace (uapi asm/ptrace.h): user_regs_struct, which is pc and
 * x1 to x31, and __riscv_d_ext_state, which is f0 to f31 and fcsr.
 */
#include <string.h>

#include "target/riscv/priv.h"

static size_t regs(Vcpu *v, void *out)
{
    uint64_t r[32];

    memcpy(r, v->env->gpr, sizeof(r));
    r[0] = v->env->pc;
    memcpy(out, r, sizeof(r));
    return sizeof(r);
}

static size_t fregs(Vcpu *v, void *out)
{
    struct { uint64_t f[32]; uint32_t fcsr, pad; } r = { 0 };

    if (!riscv_has(v->state, RV_D))
        return 0;
    for (int i = 0; i < 32; i++)
        r.f[i] = v->env->vec[i].u64[0];
    r.fcsr = (uint32_t)riscv_csr_peek(v->state, 0x003);
    memcpy(out, &r, sizeof(r));
    return sizeof(r);
}

const CoreNote riscv_core_notes[] = { { CORE_PRSTATUS, regs }, { CORE_FPREGSET, fregs }, { 0, NULL } };
