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
    RV_SSTC, RV_SSCOFPMF, RV_SMSTATEEN, RV_ZIMOP, RV_ZCMOP, RV_SMAIA, RV_SSAIA,
    RV_EXTS
} RvExt;

enum { PMP_ENTRIES = 16, HPM_COUNTERS = 32 };

/*
 * Places in Env.sys: registers that generated code reads and writes without a
 * call. They are slots of the same names. mstatus is always whole: SD is kept
 * equal to FS == dirty by whoever writes it.
 */
enum {
    SYS_MSTATUS, SYS_SSCRATCH, SYS_SEPC, SYS_SCAUSE, SYS_STVAL, SYS_STVEC,
    SYS_MSCRATCH, SYS_MEPC, SYS_MCAUSE, SYS_MTVAL, SYS_MTVEC, SYS_REGS
};

/* mstatus, privileged manual 3.1.6 */
#define MSTATUS_SIE  (1ull << 1)
#define MSTATUS_MIE  (1ull << 3)
#define MSTATUS_SPIE (1ull << 5)
#define MSTATUS_MPIE (1ull << 7)
#define MSTATUS_SPP  (1ull << 8)
#define MSTATUS_VS   (3ull << 9)
#define MSTATUS_MPP  (3ull << 11)
#define MSTATUS_FS   (3ull << 13)
#define MSTATUS_MPRV (1ull << 17)
#define MSTATUS_SUM  (1ull << 18)
#define MSTATUS_MXR  (1ull << 19)
#define MSTATUS_TVM  (1ull << 20)
#define MSTATUS_TW   (1ull << 21)
#define MSTATUS_TSR  (1ull << 22)
#define MSTATUS_UXL  (3ull << 32)
#define MSTATUS_SXL  (3ull << 34)
#define MSTATUS_SD   (1ull << 63)
/* what of mstatus reads as sstatus */
#define SSTATUS_MASK (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_VS | MSTATUS_FS | MSTATUS_SUM | \
                      MSTATUS_MXR | MSTATUS_UXL | MSTATUS_SD)

/* One upper-level page-table pointer that a walk has found (mmu.c). */
typedef struct WalkEntry { uint64_t satp, key; const uint64_t *table; } WalkEntry;
enum { WALK_CACHE = 64 };

typedef struct RiscvState {
    Vcpu *vcpu;
    uint64_t exts;              /* 1 << RvExt: constant after vcpu_new */
    uint64_t exts_off;          /* those that -cpu has switched off by name */
    uint64_t hartid;
    struct ImsicFile *imsic[2]; /* of AIA_M, AIA_S, by the board; NULL: none. imsic.h */
    /* of AIA_M, AIA_S: priority number of the external interrupt whose line is high, 0 not known; by an APLIC */
    _Atomic uint16_t ext_prio[2];

    uint8_t prv;
    /* how many of each were taken, since the hart was made: for people. The messages of AIA_M, AIA_S by identity */
    uint64_t irqs_taken[64], messages[2][256];
    bool in_wfi;                /* wfi is what it did last, and no interrupt has been looked for since */
    /* set by riscv_raise, used by enter_fault */
    uint64_t exc_cause, exc_tval;

    /* mstatus, xscratch, xepc, xcause, xtval, xtvec are in Env.sys: see SYS_* */
    uint64_t medeleg, mideleg, mie, menvcfg, mseccfg;
    uint64_t satp, senvcfg;
    uint64_t mcounteren, scounteren, mcountinhibit;
    uint64_t stimecmp;
    uint64_t mstateen[4], sstateen[4];
    uint64_t mip;               /* bits that software wrote (SSIP, and STIP/SEIP from M) */
    _Atomic uint64_t irq_lines; /* bits that devices hold: MSIP MTIP MEIP SEIP, STIP by Sstc */
    /* AIA (aia.c). mvip: bits of its own, so not those that show mip's; vsie: those of sie that mvien made */
    uint64_t mvien, mvip, vsie, iselect[2];
    uint64_t seen;              /* what xtopei or xireg said last: a write, which reads first, means that */
    uint8_t  iprio[2][64];      /* priority numbers of major interrupts */
    /* counters (counters.c): value = running ? base + now : base; 0 is mcycle, 2 minstret, 3.. mhpmcounter */
    uint64_t counter[HPM_COUNTERS], hpmevent[HPM_COUNTERS];
    uint64_t counter_armed;     /* bit n: counter n is on its way to zero */
    Timer    overflow_timer;
    uint8_t  pmpcfg[PMP_ENTRIES];
    uint64_t pmpaddr[PMP_ENTRIES];
    bool     pmp_any;           /* some entry is active */
    bool     walk_access;       /* the last failed walk was an access fault, not a page fault */
    WalkEntry walks[WALK_CACHE];
    Timer    stc_timer;         /* fires at stimecmp */

    /* time CSR: set by the board; guest clock ticks */
    uint64_t (*time)(void *opaque); void *time_opaque;
    int64_t  time_hz;           /* ticks a second of the time CSR */
    int64_t  time_delta;        /* unused room for htimedelta */
} RiscvState;

static inline RiscvState *riscv(Env *env) { return ((Vcpu *)env->vcpu)->state; }
static inline bool riscv_has(const RiscvState *s, RvExt e) { return s->exts >> e & 1; }

/* Levels of the AIA, as index. */
enum { AIA_M, AIA_S };

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
/* Computes env->mode from the state; call after anything it depends on has changed. Tells mmu_ops. */
void riscv_update_mode(RiscvState *s);
/* A device's or timer's interrupt line; any thread. pin is an IRQ_* number. */
void riscv_irq_line(void *vcpu, int pin, int level);
/* The same interrupt, pending already, is sent to it once more: its sender may wait for an answer. */
void riscv_irq_again(Vcpu *vcpu);
/* pending interrupts, as mip reads */
uint64_t riscv_mip(RiscvState *s);

/* PMP: may [pa, pa+size) be accessed so in privilege prv? *order: see Page.order. (pmp.c) */
bool riscv_pmp_check(RiscvState *s, uint64_t pa, unsigned size, int access, unsigned prv, uint8_t *order);

#endif
