/* SPDX-License-Identifier: MIT */
/*
 * The translator as an accelerator: what its parts (memory, units, engines)
 * hold for each machine and each vCPU.
 */
#ifndef ACCEL_TCG_TCG_H
#define ACCEL_TCG_TCG_H

#include <stdatomic.h>

#include "accel/run.h"
#include "accel/tcg/l2.h"
#include "target/isa.h"
#include "tcg/env.h"

typedef struct Jit Jit;
typedef struct JitVcpu JitVcpu;
typedef struct CodePage CodePage;
typedef struct Unit Unit;

/* Counters of a vCPU, for -d stats. */
#define TCG_STATS(X)                                                            \
    X(slow_load,    "loads beyond the inline path")                             \
    X(slow_store,   "stores beyond the inline path")                            \
    X(slow_atomic,  "atomic operations beyond the inline path")                 \
    X(refill,       "inline entries filled")                                    \
    X(walk,         "walks of the guest's page tables")                         \
    X(io,           "accesses to devices")                                      \
    X(crossing,     "accesses across two pages")                                \
    X(code_store,   "stores to pages with translated code")                     \
    X(retry,        "instructions done again by the interpreter")               \
    X(fault,        "exceptions")                                               \
    X(flush_all,    "flushes of everything")                                    \
    X(flush_asid,   "flushes of an address space")                              \
    X(flush_page,   "flushes of a page")                                        \
    X(flush_wide,   "of these, of a page that may be a large one")              \
    X(switches,     "switches of the address space")                            \
    X(exec_fill,    "pages found for execution")                                \
    X(key_change,   "changes of executable mappings")                           \
    X(enter,        "entries into generated code")                              \
    X(jc_miss,      "dispatches not served by the jump cache")                  \
    X(hash_miss,    "dispatches that translated")                               \
    X(link,         "edges linked")                                             \
    X(next,         "left to find the next unit")                               \
    X(edge,         "left by an edge that is not linked")                       \
    X(flush,        "left after a fence of code")                               \
    X(halt,         "left to wait for an interrupt")                            \
    X(poll,         "left by a poll")                                           \
    X(spin,         "of these, loops that only wait for another vCPU")          \
    X(ungrouped,    "groups of accesses done one by one")                       \
    X(stack_drop,   "return stacks dropped")                                    \
    X(overflow,     "return stacks that were full")

typedef struct TcgStats {
#define X(name, doc) uint64_t name;
    TCG_STATS(X)
#undef X
} TcgStats;

/* A page that may be executed: valid while env->xt[ctx][vpage % XT_SIZE] == id. */
typedef struct ExecEntry {
    uint64_t  vpage;
    CodePage *page;
    uint32_t  id;               /* of (vpage, page); 0: only for this once, nothing may be kept */
    bool      global;
} ExecEntry;

/* Why an instruction is done again by the interpreter, instead of being entered as a fault. */
typedef enum Retry { RETRY_NONE, RETRY_SINGLE, RETRY_ALONE, RETRY_WATCHED } Retry;

/* A virtual page that was executed, and whose (an ASID, or L2_GLOBAL). gen: of what flushes it from here (flush.c). */
enum { SEEN_SETS = 8192, SEEN_WAYS = 4 };
typedef struct SeenPage { uint64_t vpage; uint32_t id, gen; } SeenPage;

/*
 * Global pages of the guest, of whatever size, that a context has executed since its key last changed. If all of them
 * are mapped the same after a flush, the key still stands for what it did (flush.c). More than that: `many`.
 */
enum { LEAVES = 32 };
typedef struct Leaf { uint64_t va, pa; unsigned order; } Leaf;
typedef struct Leaves { Leaf leaf[LEAVES]; unsigned n; bool many; } Leaves;

/*
 * The memory of one vCPU, shared by both engines. Only its own thread touches
 * it, or whoever knows that it is not running.
 */
typedef struct Mmu {
    unsigned fetch_ctx;                         /* context of fetches in env->mode */
    uint32_t id[MMU_CTXS];                      /* whose translations each context sees (l2.h) */
    uint8_t  used;                              /* contexts that may have inline entries or exec tags */
    uint64_t nonglobal[MMU_CTXS][TLB_SIZE / 64];    /* inline entries that are not global */
    /* Execution. A key stands for the mappings that a context's exec tags were made from. */
    ExecEntry exec[MMU_CTXS][XT_SIZE];
    ExecEntry exec_once;
    bool     exec_nonglobal[MMU_CTXS];          /* since the last flush of all */
    uint64_t exec_key[MMU_CTXS];
    uint32_t exec_stamp, phys_stamp;            /* last change of mappings that are not global; of physical contexts */
    uint32_t global_stamp[MMU_CTXS];            /* of global ones */
    Leaves   leaves[MMU_CTXS];
    uint32_t exec_asid[L2_ASIDS];               /* of one in that address space */
    SeenPage seen[SEEN_SETS][SEEN_WAYS] __attribute__((aligned(64)));
    unsigned seen_victim;
    uint32_t seen_all, seen_own, seen_asid[L2_ASIDS];   /* flushes: of everything virtual; of all ASIDs' own pages; of one's */
    uint64_t secret;                            /* makes keys unguessable: equal keys run each other's code */
    Retry    retry;                             /* set with env->fault */
    bool     alone;                             /* every other vCPU stands still for this instruction */
    bool     watched;                           /* this instruction hit a watchpoint: it is done, and notes them */
    const Unit *current;                        /* unit being run (interpreter engine), or NULL */
    L2       l2;
} Mmu;

typedef struct TcgVcpu {
    Vcpu *v;
    Env *env;
    Space *space;
    TcgStats stats;
    JitVcpu *jit;
    Mmu mmu;
    uint64_t yielded_at;        /* stats.enter when a loop that only waits let others run */
    unsigned yields;            /* how often in a row */
} TcgVcpu;

typedef struct Tcg {
    Vm *vm;
    Jit *jit;
} Tcg;

static inline TcgVcpu *tcg_vcpu(const Vcpu *v) { return v->accel_state; }
static inline TcgVcpu *tcg_env(const Env *env) { return tcg_vcpu(env->vcpu); }
static inline Tcg *tcg_vm(const Vm *vm) { return accel_vm(vm)->engine; }

/* ---- tcg.c */
/* Env, memory and unit state for v; the engine's share is made too. */
Err *tcg_vcpu_new(Vcpu *v);
void tcg_vcpu_free(Vcpu *v);
/* An exception was raised in the instruction at pc: enters it, or does the instruction again if that was asked for. */
VcpuExit tcg_fault(TcgVcpu *t, uint64_t pc);

/* ---- mmu.c, flush.c */
extern const EnvOps mmu_env_ops;
void mmu_init(TcgVcpu *t);
/* The page that holds va for a fetch in ctx. NULL: there is none; an exception was raised if `raise`. */
const ExecEntry *mmu_exec(TcgVcpu *t, uint64_t va, unsigned ctx, bool raise);
/* Takes the right to write block's page inline from t. In t's thread, or when t is not running. */
void mmu_revoke_writes(TcgVcpu *t, RamBlock *block, uint64_t pageno);
void mmu_revoke_all_writes(Vm *vm);     /* of all vCPUs; any thread, without the machine lock */
/* env->ctxkey anew. */
void mmu_refresh_key(TcgVcpu *t);
void mmu_flush_everything(TcgVcpu *t);
void mmu_drop_inline(TcgVcpu *t);       /* accesses to data come by again */

#endif
