/* SPDX-License-Identifier: MIT */
/*
 * The parts of Env that C code sets: empty tables, constants, and the two
 * images of MXCSR (Intel SDM volume 1, 10.2.3), whose sticky flags are guest flags.
 */
#include <sys/random.h>

#include <string.h>

#include "tcg/env.h"

enum {
    MXCSR_MASKED = 0x1f80, MXCSR_FLAGS = 0x3f, MXCSR_ROUND_SHIFT = 13,
    MXCSR_IE = 1, MXCSR_ZE = 4, MXCSR_OE = 8, MXCSR_UE = 16, MXCSR_PE = 32,
    FLAG_NX = 1, FLAG_UF = 2, FLAG_OF = 4, FLAG_DZ = 8, FLAG_NV = 16,     /* FPU_* of fpu/fpu.h */
};

static void tlb_invalidate(Env *env, unsigned ctx, unsigned i)
{
    env->tlb[ctx][i].rt = env->tlb[ctx][i].wt = TLB_INVALID(i);
}

void env_init(Env *env)
{
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++)
        for (unsigned i = 0; i < TLB_SIZE; i++)
            tlb_invalidate(env, ctx, i);
    /* Bits 63, 62 = 1, 0: neither sign-extended nor a physical address. */
    if (getrandom(&env->site_none, sizeof(env->site_none), 0) != sizeof(env->site_none))
        env->site_none = (uintptr_t)env * UINT64_C(0x9e3779b97f4a7c15);
    env->site_none = (env->site_none >> 2 | UINT64_C(1) << 63) & ~UINT64_C(4095);
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        env->site_used[ctx] = 1;
        env_sites_drop(env, ctx);
    }
    for (unsigned i = 0; i < JC_SIZE; i++)
        env->jc[i].key = JC_EMPTY;
    env->spin = ENV_SPIN;
    env->resv_addr = ENV_NO_RESV;
    env->mxcsr_host = env->mxcsr_guest = MXCSR_MASKED;
    env->const_f64_sign = (uint64_t)1 << 63;
    env->const_f64_abs = ~env->const_f64_sign;
    env->const_f32_box = (uint64_t)UINT32_MAX << 32;
    env->const_f32_sign = (uint64_t)1 << 31;
}

void env_set_round(Env *env, unsigned round)
{
    /* FpRound: nearest even, to zero, down, up, nearest away (which MXCSR doesn't have) */
    static const uint8_t host[8] = { 0, 3, 1, 2, 0, 0, 0, 0 };

    env->fp_round = round;
    env->mxcsr_guest = (env->mxcsr_guest & ~(3u << MXCSR_ROUND_SHIFT))
                     | (uint32_t)host[round & 7] << MXCSR_ROUND_SHIFT;
}

uint8_t env_fp_flags(const Env *env)
{
    uint32_t m = env->mxcsr_guest;

    return env->fp_flags | (m & MXCSR_IE ? FLAG_NV : 0) | (m & MXCSR_ZE ? FLAG_DZ : 0)
         | (m & MXCSR_OE ? FLAG_OF : 0) | (m & MXCSR_UE ? FLAG_UF : 0) | (m & MXCSR_PE ? FLAG_NX : 0);
}

void env_set_fp_flags(Env *env, uint8_t flags)
{
    env->fp_flags = flags;
    env->mxcsr_guest &= ~MXCSR_FLAGS;
}

void env_sites_drop(Env *env, unsigned ctx)
{
    if (!env->site_used[ctx])
        return;
    for (unsigned i = 0; i < ENV_SITES; i++)
        env->site_page[ctx][i].tag = env->site_none;
    env->site_used[ctx] = 0;
}

void env_tlb_clear(Env *env, unsigned ctx)
{
    env_sites_drop(env, ctx);
    for (unsigned w = 0; w < TLB_SIZE / 64; w++) {
        for (uint64_t used = env->tlb_used[ctx][w]; used; used &= used - 1)
            tlb_invalidate(env, ctx, w * 64 + __builtin_ctzll(used));
        env->tlb_used[ctx][w] = 0;
    }
}

void env_tlb_clear_page(Env *env, unsigned ctx, uint64_t va)
{
    unsigned i = tlb_index(va);
    TlbEntry *e = &env->tlb[ctx][i];
    uint64_t page = va >> ENV_PAGE_BITS;

    env_sites_drop(env, ctx);
    if (e->rt >> ENV_PAGE_BITS == page || e->wt >> ENV_PAGE_BITS == page) {
        tlb_invalidate(env, ctx, i);
        env->tlb_used[ctx][i / 64] &= ~((uint64_t)1 << i % 64);
    }
}
