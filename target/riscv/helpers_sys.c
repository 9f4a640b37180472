/* SPDX-License-Identifier: MIT */
/*
 * Privileged helpers that are neither CSR accesses nor traps: fences of address
 * translation and code, FP state, cache-block operations, hints.
 */
#include <sched.h>

#include "system/mem.h"
#include "target/riscv/cpu.h"
#include "target/riscv/priv.h"

void riscv_update_mode(RiscvState *s)
{
    Vcpu *v = s->vcpu;
    uint64_t m = riscv_mstatus(s), fs = (m & MSTATUS_FS) >> 13;
    unsigned data = s->prv == PRV_M && (m & MSTATUS_MPRV) ? (m & MSTATUS_MPP) >> 11 : s->prv;
    unsigned ctx = data == PRV_M ? CTX_M : data == PRV_U ? CTX_U : m & MSTATUS_SUM ? CTX_SUM : CTX_S;
    uint64_t mode = ctx | (uint64_t)s->prv << RVM_PRV_SHIFT |
                    (uint64_t)(fs == 3 ? RVM_FS_DIRTY : fs ? RVM_FS_CLEAN : RVM_FS_OFF) << RVM_FS_SHIFT |
                    (uint64_t)v->env->fp_round << RVM_FRM_SHIFT |
                    (v->env->mode & (MODE_ONE_INSN | MODE_ONE_VCPU | MODE_ICOUNT | MODE_DEBUG));
    if (mode == v->env->mode)
        return;
    v->env->mode = mode;
    mmu_ops->mode_changed(v);
}

uint64_t riscv_h_fs_dirty(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    env->sys[SYS_MSTATUS] |= MSTATUS_FS | MSTATUS_SD;
    riscv_update_mode(riscv(env));
    return (void)a, (void)b, (void)c, 0;
}

enum { RS1_X0 = 1, RS2_X0 = 2 };

uint64_t riscv_h_sfence_vma(Env *env, uint64_t va, uint64_t asid, uint64_t c)
{
    RiscvState *s = riscv(env);
    unsigned x0 = c >> 32;
    if (s->prv == PRV_U || (s->prv == PRV_S && (riscv_mstatus(s) & MSTATUS_TVM)))
        return riscv_h_illegal(env, (uint32_t)c, 0, 0);
    int space = x0 & RS2_X0 ? -1 : (int)(asid & 0xffff);
    if (!(x0 & RS1_X0)) {
        /* orders leaf entries of that page only: cached upper levels may stay */
        mmu_ops->flush_page(s->vcpu, va, space);
        return 0;
    }
    riscv_walks_drop(s);
    mmu_ops->flush_asid(s->vcpu, space, space >= 0);
    return 0;
}

uint64_t riscv_h_sfence_inval(Env *env, uint64_t insn, uint64_t b, uint64_t c)
{
    if (riscv(env)->prv == PRV_U)
        riscv_raise(env, EXC_ILLEGAL, insn);
    return (void)b, (void)c, 0;
}

uint64_t riscv_h_fence_i(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    mmu_ops->code_fence(riscv(env)->vcpu);
    return (void)a, (void)b, (void)c, 0;
}

/* Rounds of a loop that only waits, as generated code counts them, for each wait that the guest says is one. */
enum { WAIT_ROUNDS = 4 };

static void waited(Env *env)
{
    env->spin -= WAIT_ROUNDS;
    if (env->spin < 0)
        __atomic_store_n(&env->poll, 1, __ATOMIC_SEQ_CST);
}

uint64_t riscv_h_pause(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    waited(env);
    return (void)a, (void)b, (void)c, 0;
}

uint64_t riscv_h_wrs(Env *env, uint64_t insn, uint64_t b, uint64_t c)
{
    RiscvState *s = riscv(env);
    bool nto = insn >> 20 == 0x00d;
    if (nto && s->prv < PRV_M && (riscv_mstatus(s) & MSTATUS_TW))
        return riscv_h_illegal(env, insn, 0, 0);
    /* it may end early for any reason; another vCPU is likely to be what is waited for */
    if (env->resv_addr != ENV_NO_RESV && s->vcpu->vm->nvcpus > 1)
        waited(env);
    return (void)b, (void)c, 0;
}

/* ---- Zicbom, Zicboz: CMO manual, permission by xenvcfg */

enum { CBO_INVAL, CBO_CLEAN, CBO_FLUSH, CBO_ZERO = 4 };

static bool cbo_allowed(RiscvState *s, unsigned kind)
{
    uint64_t need = kind == CBO_ZERO ? ENVCFG_CBZE : kind == CBO_INVAL ? ENVCFG_CBIE : ENVCFG_CBCFE;
    if (s->prv < PRV_M && !(s->menvcfg & need))
        return false;
    return s->prv != PRV_U || (s->senvcfg & need);
}

uint64_t riscv_h_cbo(Env *env, uint64_t kind, uint64_t va, uint64_t insn)
{
    RiscvState *s = riscv(env);
    unsigned ctx = env->mode & MODE_CTX;
    if (!cbo_allowed(s, kind))
        return riscv_h_illegal(env, insn, 0, 0);
    va &= ~(uint64_t)(RISCV_CACHE_BLOCK - 1);
    MemOp m = MO_64 | ctx << MO_CTX_SHIFT;
    if (kind == CBO_ZERO) {
        for (unsigned i = 0; i < RISCV_CACHE_BLOCK && !env->fault; i += 8)
            env->ops->store(env, va + i, 0, m);
        return 0;
    }
    /* Management needs any permission to the block; the caches themselves don't exist here. */
    Page p;
    if (!riscv_walk(s->vcpu, va, ACCESS_READ, ctx, &p) && !riscv_walk(s->vcpu, va, ACCESS_WRITE, ctx, &p))
        riscv_mem_fault(s->vcpu, va, ACCESS_WRITE, ctx, m, MEM_FAULT_PAGE);
    return 0;
}
