/* SPDX-License-Identifier: MIT */
/*
 * Env: the part of a vCPU that generated code addresses. One for each vCPU, page
 * aligned, zeroed when made. Generated code holds rbp = (char *)env + ENV_BIAS,
 * so that the first 256 bytes (the home slots of 32 general registers) have
 * one-byte displacements. It knows no guest: where a guest's registers are is
 * said by its IrGuest.slots.
 *
 * Who may touch it: the vCPU's own thread; other threads write only `poll`
 * (atomically), and the jump cache's keys when they invalidate code.
 * Layout version 1. Offsets are ABI for generated code: append, don't reorder.
 */
#ifndef TCG_ENV_H
#define TCG_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "tcg/ir/ir.h"

enum {
    ENV_BIAS = 128,
    ENV_PAGE_BITS = 12,
    MMU_CTXS = 8,               /* contexts a guest may use; mo_ctx() counts them */
    TLB_BITS = 11, TLB_SIZE = 1 << TLB_BITS,        /* entries of a context's A-mode table */
    JC_BITS = 12, JC_SIZE = 1 << JC_BITS,           /* entries of the jump cache */
    XT_SIZE = 1024,             /* exec tags of a context */
    ENV_SPILLS = 16,
    ENV_GROUPS = 8,
    ENV_SPIN = 256,             /* env->spin starts from here */
    ENV_SITES = 128,            /* accesses in loops that have a page of their own, for each context */
};

/*
 * One A-mode entry. An access of size s at va hits when (va ^ tag) <= 4096 - s,
 * tag being rt for reads and wt for writes: va's page is the tag's, and the
 * access doesn't leave the page. Then host address = va + addend.
 * rt is valid only when the page may be read without any side effect (A bit
 * set, RAM, no watch); wt only when it may be written (D bit set, RAM, no
 * translated code on it, dirty logging satisfied, no watch).
 * An invalid tag is TLB_INVALID(i) for entry i: never equal to a va of that index.
 */
typedef struct TlbEntry { uint64_t rt, wt, addend, spare; } TlbEntry;
#define TLB_INVALID(i) ((uint64_t)((i) ^ 1) << ENV_PAGE_BITS)
static inline unsigned tlb_index(uint64_t va) { return va >> ENV_PAGE_BITS & (TLB_SIZE - 1); }

/*
 * The page that an access in a loop met last: hits as a TlbEntry's rt (or wt, for a site that writes) does, at a
 * place that doesn't depend on the address. What is in it is as good as the TlbEntry that it was copied from, also
 * when that is replaced: whatever invalidates entries must drop the context's sites too (env_sites_drop).
 * An empty one has the tag env->site_none: a page number drawn at random from those that no guest can map.
 */
typedef struct SitePage { uint64_t tag, addend; } SitePage;

/* Jump cache: host code for guest address va under env->ctxkey. */
typedef struct JcEntry { uint64_t key /* va ^ ctxkey */; void *host; } JcEntry;
static inline unsigned jc_index(uint64_t va) { return (va >> 1 ^ va >> (1 + JC_BITS)) & (JC_SIZE - 1); }
#define JC_EMPTY ((uint64_t)0x5555555555555555)     /* odd, so no va ^ ctxkey equals it: ctxkeys are even */

typedef union VecSlot { uint64_t u64[8]; uint32_t u32[16]; uint8_t u8[64]; } VecSlot;

/* How engines reach guest memory when the inline path doesn't do; set by accel. */
typedef struct EnvOps EnvOps;

struct Env {
    uint64_t gpr[32];           /* rbp-128: home slots of guest general registers */

    /* ---- rbp+128: control */
    uint8_t  poll;              /* != 0: leave at the next poll. Set by any thread */
    uint8_t  fault;             /* a helper or memory access raised an exception */
    uint8_t  in_jit;            /* the vCPU is inside generated code or its helpers */
    uint8_t  fp_flags;          /* accrued flags (FPU_* bits); those of mxcsr_guest count too */
    uint8_t  fp_round;          /* dynamic rounding mode (FpRound); env_set_round keeps MXCSR with it */
    uint8_t  pad0[3];
    int64_t  budget;            /* instructions left (icount; unused in version 1) */
    uint64_t pc;                /* guest pc; written only when leaving */
    uint64_t ctxkey;            /* even; xor'ed into jump cache keys: stands for mode key + exec mappings */
    uint64_t mode;              /* mode key of the units to run now */
    uint64_t exit_slot;         /* EXIT_LINK: which exit was taken (backend's number) */
    uint64_t site;              /* host return address of the thunk being run; 0 outside */
    uint64_t resv_addr;         /* LR/SC: reserved guest address, or ENV_NO_RESV */
    uint64_t resv_val;          /*        the value that lr loaded (zero-extended from its size) */
    uint64_t resv_size;         /*        1 << size of the reservation in bytes */
    uint32_t mxcsr_guest;       /* MXCSR while generated code runs: guest rounding, sticky flags */
    uint32_t mxcsr_host;        /* MXCSR of C code */
    uint64_t host_rsp;          /* C stack of the run loop while in generated code */
    uint64_t jit_rsp;           /* return-stack pointer while in C */
    uint64_t jit_rsp_base;      /* its empty position */
    const EnvOps *ops;
    void    *vcpu;              /* the Vcpu that owns this env */
    uint64_t spill[ENV_SPILLS]; /* the backend's temporaries; dead at every mark */
    uint64_t const_f64_sign, const_f64_abs, const_f32_box, const_f32_sign;  /* read-only constants */
    uint64_t flag_a, flag_b, flag_r;    /* room: lazy flags of guests that have them */
    uint64_t stat[16];          /* counters of generated code and stubs (JitStat) */
    uint64_t sys[32];           /* guest system registers that IR may name (BANK_MEM slots) */
    uint64_t group[ENV_GROUPS]; /* the backend's: host addresses of bases of checked groups of accesses */
    uint64_t site_none;         /* see SitePage */
    int32_t  spin;              /* rounds of loops that only wait, left until one leaves by EXIT_POLL: then it is < 0 */
    uint32_t pad1;
    uint64_t reserved[6];

    /* ---- vector and floating-point home slots, 64 bytes apart (room for 512-bit vectors) */
    VecSlot vec[32] __attribute__((aligned(64)));

    /* ---- exec tags: xt[ctx][vpage % XT_SIZE] = id of the (vpage, page) that may be executed there; 0 none */
    uint32_t xt[MMU_CTXS][XT_SIZE] __attribute__((aligned(4096)));
    JcEntry  jc[JC_SIZE];
    TlbEntry tlb[MMU_CTXS][TLB_SIZE];
    uint64_t tlb_used[MMU_CTXS][TLB_SIZE / 64];     /* journal: which entries may be valid */
    SitePage site_page[MMU_CTXS][ENV_SITES];
    uint8_t  site_used[MMU_CTXS];                   /* some site of the context may be valid */
};

void env_init(Env *env);                        /* a zeroed Env: empty tables, constants, MXCSR images */
void env_set_round(Env *env, unsigned round);   /* FpRound 0..4; RMM keeps RNE in MXCSR: such ops go through helpers */
uint8_t env_fp_flags(const Env *env);           /* all accrued flags, FPU_* bits */
void env_set_fp_flags(Env *env, uint8_t flags);
/* Empties A-mode entries: of one context, or of the page of va in it. */
void env_tlb_clear(Env *env, unsigned ctx);
void env_tlb_clear_page(Env *env, unsigned ctx, uint64_t va);
void env_sites_drop(Env *env, unsigned ctx);    /* both above do it too */

#define ENV_NO_RESV UINT64_MAX
/* Displacement from rbp of a member of Env. */
#define ENV_DISP(member) ((int32_t)offsetof(struct Env, member) - ENV_BIAS)

/*
 * Guest memory for the interpreter and the slow paths of generated code. On a
 * guest exception they set env->fault (after the exception has been recorded in the guest's
 * own state) and return 0. va is a guest virtual address; values are
 * zero-extended; 16-byte accesses go through pointers.
 */
struct EnvOps {
    uint64_t (*load )(Env *, uint64_t va, MemOp);           /* sign-extension is the caller's */
    void     (*store)(Env *, uint64_t va, uint64_t val, MemOp);
    uint64_t (*amo  )(Env *, uint64_t va, uint64_t val, MemOp, IrAmo);      /* returns the old value */
    uint64_t (*cas  )(Env *, uint64_t va, uint64_t expect, uint64_t val, MemOp);
    uint64_t (*lr   )(Env *, uint64_t va, MemOp);
    uint64_t (*sc   )(Env *, uint64_t va, uint64_t val, MemOp);            /* 0 stored, 1 not */
    /*
     * Host address of va if [va, va + span) lies in one page and may be read, and written if asked, without
     * anybody's notice; else 0. Raises nothing. NULL: generated code checks each access by itself.
     */
    uint64_t (*group)(Env *, uint64_t va, uint64_t span, MemOp ctx, bool write);
};

#endif
