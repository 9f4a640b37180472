/* SPDX-License-Identifier: MIT */
/*
 * The state of a RISC-V hart, beside the registers that generated code works on
 * (x0-x31 in Env.gpr, f0-f31 in Env.vec[i].u64[0], accrued flags and frm in
 * Env.fp_flags/fp_round). Privileged manual 20240411 (1.13), chapters 3 to 12.
 * Only the hart's own thread writes it, but for `irq_lines`.
 */
#ifndef TARGET_RISCV_STATE_H
#define TARGET_RISCV_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "system/clock.h"
#include "system/vcpu.h"
#include "tcg/env.h"

enum { PRV_U = 0, PRV_S = 1, PRV_M = 3 };

/* MMU contexts. Room for VU, VS, VS+SUM in 4-6. */
enum { CTX_U = 0, CTX_S = 1, CTX_SUM = 2 /* S with sstatus.SUM */, CTX_M = 3 /* physical, M's PMP rules */ };

/* Mode key bits of RISC-V (target/isa.h has 0-15). */
enum {
    RVM_PRV_SHIFT = 16,         /* 2 bits */
    RVM_FS_SHIFT = 18,          /* 2 bits: RVM_FS_* */
    RVM_FRM_SHIFT = 20,         /* 3 bits: fcsr.frm as written, 0-7 */
    RVM_VS_SHIFT = 23,          /* 2 bits, as FS */
    RVM_VIRT = 1 << 25,         /* V=1 (hypervisor extension) */
    /* 26-40: vtype, vl == vlmax, vstart == 0 */
};
enum { RVM_FS_OFF = 0, RVM_FS_CLEAN = 1 /* initial or clean */, RVM_FS_DIRTY = 2 };

/* Extensions that can be switched; each has a row in cpu.c (name, default by model). */
typedef enum RvExt {
    RV_I, RV_M, RV_A, RV_F, RV_D, RV_C, RV_S, RV_U, RV_V, RV_H,
    RV_ZICSR, RV_ZIFENCEI, RV_ZICNTR, RV_ZIHPM, RV_ZBA, RV_ZBB, RV_ZBC, RV_ZBS, RV_ZICOND,
    RV_ZFA, RV_ZFHMIN, RV_ZCB, RV_ZICBOM, RV_ZICBOP, RV_ZICBOZ, RV_ZIHINTPAUSE, RV_ZIHINTNTL,
    RV_ZAWRS, RV_ZACAS, RV_ZABHA, RV_ZKT, RV_ZBKB, RV_ZBKC, RV_ZBKX, RV_ZKND, RV_ZKNE, RV_ZKNH, RV_ZKR,
    RV_SV39, RV_SV48, RV_SV57, RV_SVADE, RV_SVADU, RV_SVINVAL, RV_SVNAPOT, RV_SVPBMT,
    RV_SSTC, RV_SSCOFPMF, RV_SMSTATEEN, RV_ZIMOP, RV_ZCMOP,
    RV_EXTS
} RvExt;

enum { PMP_ENTRIES = 16, HPM_COUNTERS = 32 };

typedef struct RiscvState {
    Vcpu *vcpu;
    uint64_t exts;              /* 1 << RvExt: constant after vcpu_new */
    uint64_t hartid;

    uint8_t prv;
    /* set by riscv_raise, used by enter_fault */
    uint64_t exc_cause, exc_tval;

    uint64_t mstatus, mtvec, medeleg, mideleg, mie, mscratch, mepc, mcause, mtval, menvcfg, mseccfg;
    uint64_t stvec, sscratch, sepc, scause, stval, satp, senvcfg;
    uint64_t mcounteren, scounteren, mcountinhibit;
    uint64_t stimecmp;
    uint64_t mstateen[4], sstateen[4];
    uint64_t mip;               /* bits that software wrote (SSIP, and STIP/SEIP from M) */
    _Atomic uint64_t irq_lines; /* bits that devices hold: MSIP MTIP MEIP SEIP, STIP by Sstc */
    uint64_t mcycle_base, minstret_base;        /* added to the running counters */
    uint64_t hpm[HPM_COUNTERS], hpmevent[HPM_COUNTERS];
    uint64_t mcyclecfg, minstretcfg;
    uint8_t  pmpcfg[PMP_ENTRIES];
    uint64_t pmpaddr[PMP_ENTRIES];
    bool     pmp_any;           /* some entry is active */
    Timer    stc_timer;         /* fires at stimecmp */

    /* time CSR: set by the board; guest clock ticks */
    uint64_t (*time)(void *opaque); void *time_opaque;
    int64_t  time_hz;           /* ticks a second of the time CSR */
    int64_t  time_delta;        /* unused room for htimedelta */
} RiscvState;

static inline RiscvState *riscv(Env *env) { return ((Vcpu *)env->vcpu)->state; }
static inline bool riscv_has(const RiscvState *s, RvExt e) { return s->exts >> e & 1; }

/* Exception codes, table 14 of the privileged manual. */
enum {
    EXC_INSN_MISALIGNED = 0, EXC_INSN_ACCESS = 1, EXC_ILLEGAL = 2, EXC_BREAK = 3,
    EXC_LOAD_MISALIGNED = 4, EXC_LOAD_ACCESS = 5, EXC_STORE_MISALIGNED = 6, EXC_STORE_ACCESS = 7,
    EXC_ECALL_U = 8, EXC_ECALL_S = 9, EXC_ECALL_M = 11,
    EXC_INSN_PAGE = 12, EXC_LOAD_PAGE = 13, EXC_STORE_PAGE = 15,
};
enum { IRQ_SSI = 1, IRQ_MSI = 3, IRQ_STI = 5, IRQ_MTI = 7, IRQ_SEI = 9, IRQ_MEI = 11, IRQ_LCOFI = 13 };

/* Records an exception of the current instruction; sets env->fault. Helpers return right after it. */
void riscv_raise(Env *env, unsigned cause, uint64_t tval);
/* Enters a trap now: sets privilege, status, xepc = pc, xcause, xtval; returns the handler's pc. */
uint64_t riscv_trap(Vcpu *v, bool interrupt, unsigned cause, uint64_t tval, uint64_t pc);
/* Computes env->mode from the state; call after anything it depends on has changed. Tells mmu_ops. */
void riscv_update_mode(RiscvState *s);
/* A device's or timer's interrupt line; any thread. pin is an IRQ_* number. */
void riscv_irq_line(void *vcpu, int pin, int level);
/* pending & enabled interrupts, as mip reads */
uint64_t riscv_mip(RiscvState *s);

/* PMP: may [pa, pa+size) be accessed so in privilege prv? *order: see Page.order. (pmp.c) */
bool riscv_pmp_check(RiscvState *s, uint64_t pa, unsigned size, int access, unsigned prv, uint8_t *order);

/*
 * Helpers that translate_*.c calls; each has a row in helpers.c. Those marked -> pc return where to go on.
 *   csr_read(csr), csr_write(csr, val), csr_swap(csr, val), csr_set(csr, mask), csr_clear(csr, mask):
 *       raise illegal-instruction themselves (tval = the instruction bits, given in the high half of csr arg:
 *       a = csr | insn << 12); return the old value. After one that may change the mode the front end ends the unit.
 *   ecall -> pc, mret -> pc, sret -> pc, ebreak (raises), wfi, sfence_vma(va, asid, which operands are x0),
 *   fence_i, illegal(insn bits), fs_dirty, cbo(kind, address), wrs
 */
#endif
