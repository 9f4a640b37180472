/* SPDX-License-Identifier: MIT */
/*
 * What a guest is. One static Isa for each; a guest's folder can be deleted
 * together with its line in target/isa.c.
 */
#ifndef TARGET_ISA_H
#define TARGET_ISA_H

#include "system/vcpu.h"
#include "tcg/env.h"
#include "tcg/ir/ir.h"

enum MemFault { MEM_FAULT_PAGE, MEM_FAULT_MISALIGNED, MEM_FAULT_BUS };

/* Mode key, bits common to all guests (0-15); 16-55 are the guest's own, 56-63 reserved. */
enum {
    MODE_CTX = 15,              /* bits 0-3: MMU context of ordinary data accesses */
    MODE_ONE_INSN = 1 << 4,     /* units of one instruction */
    MODE_ONE_VCPU = 1 << 5,     /* one vCPU and no device writes atomically: lock prefixes may go */
    MODE_ICOUNT = 1 << 6, MODE_DEBUG = 1 << 7,
    MODE_UNGROUPED = 1 << 8,    /* of units only: memory accesses are checked one by one (EXIT_UNGROUPED) */
};

typedef enum Access { ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC } Access;

/* A translation of the guest's own page tables, folded with its physical protection. */
enum PageProt { PROT_R = 1, PROT_W = 2, PROT_X = 4 };
typedef struct Page {
    uint64_t pa;            /* physical address of va's 4 KiB page */
    uint8_t  order;         /* log2 of the aligned block around va in which all of this holds. < 12: sub-page
                               protection: nothing may be cached, and an aligned access that is larger fails */
    uint8_t  prot;          /* PageProt: what is allowed now without any change of A/D bits:
                               no PROT_W while D is clear */
    bool     global;        /* holds for every ASID */
} Page;

/* One fetch unit of the front end. */
typedef struct Tr {
    IrUnit *ir;
    const Isa *isa;
    Vcpu *vcpu;             /* for configuration (extensions) only: what is not in the mode key must not be read */
    uint64_t mode;
    uint64_t pc;            /* of the instruction being translated */
    uint64_t next;          /* pc after it; set by step */
    bool ended;             /* step: the instruction ends the straight line (an END op was made) */
    /* The bytes: [code, code + avail) are those at pc; avail may cut an instruction that crosses the page. */
    const uint8_t *code; unsigned avail;
    void *priv;             /* front end's per-unit memory: what it knows since the last label */
    uint64_t apart;         /* no instruction at or behind it is made one with those before: a debugger stops there. 0: none */
} Tr;

typedef enum StepResult { STEP_OK, STEP_NEED_BYTES /* crosses the page: give more than avail */ } StepResult;

/*
 * A register that people, debuggers and snapshots name. get and set in v's own thread, or while v stands and does no work.
 * Those of a group stand together, by ascending number; the first group is what a debugger asks for most.
 */
typedef struct RegInfo {
    const char *name;
    const char *group;          /* its feature in gdb's target description, behind Isa.gdb_features */
    unsigned bits;
    int gdb;                    /* gdb's number of it */
    uint64_t (*get)(Vcpu *, int arg);
    void (*set)(Vcpu *, int arg, uint64_t);
    int arg;
    const char *type;           /* gdb's: int, code_ptr, data_ptr, float */
    bool (*has)(Vcpu *, int arg);       /* NULL: every CPU model has it */
    int dwarf;                  /* DWARF's number of it, and 1; 0: it has none there */
    const char *role;           /* lldb's word for what it is used as: pc, sp, fp, ra, arg1 ..; NULL: nothing special */
} RegInfo;

typedef struct StateRange { size_t off, size; } StateRange;

/* The block of addresses around one, as the page tables that a vCPU uses now have it. */
typedef struct Mapping {
    uint64_t last;              /* of the block, as it has it from va on */
    bool mapped;
    uint64_t pa;                /* of va */
    char attr[12];              /* for people: "rwxu-ad" */
} Mapping;

/* A note of core files about a vCPU: `fill` writes at most CORE_NOTE_MAX bytes and returns how many; 0: it has none. */
enum { CORE_NOTE_MAX = 2048, CORE_PRSTATUS = 1, CORE_FPREGSET = 2 };
typedef struct CoreNote {
    uint32_t type;              /* NT_*; of CORE_PRSTATUS the registers alone, as ptrace gives them */
    size_t (*fill)(Vcpu *, void *out);
} CoreNote;

struct Isa {
    const char *name;               /* "riscv64" */
    const IrGuest *ir;
    const RegInfo *regs;            /* ends with a name of NULL */
    int pc_reg;                     /* index among them */
    const char *gdb_arch, *gdb_features;    /* what gdb calls the guest: "riscv:rv64", "org.gnu.gdb.riscv." */
    const char *const *cpu_names;   /* NULL-terminated, for -cpu help */
    const char *default_cpu;
    const char *cpu_type;           /* what management calls its CPUs by: "riscv-cpu" */
    /* vCPU life */
    Err  *(*vcpu_new)(Vcpu *, const char *cpu, const char *opts);   /* makes v->state; env exists. Unknown property: near matches */
    void  (*vcpu_free)(Vcpu *);
    void  (*reset)(Vcpu *);
    char *(*cpu_help)(void);        /* -cpu help */
    /* Each property of a CPU model with those options ("zba=off,.."): is it on? For NULL as `fn` it is only checked. */
    Err  *(*cpu_props)(const char *cpu, const char *opts, void (*fn)(void *opaque, const char *name, bool on), void *opaque);
    /* translation */
    StepResult (*step)(Tr *);       /* one instruction into IR (illegal ones raise at run time). Emits its mark first */
    unsigned (*fetch_ctx)(uint64_t mode);   /* MMU context that fetches use in this mode */
    unsigned max_insn;              /* bytes of the longest instruction */
    int   (*print)(char *out, size_t size, const uint8_t *code, unsigned avail, uint64_t pc);      /* disassembles one; its length */
    /* memory */
    bool  (*walk)(Vcpu *, uint64_t va, Access, unsigned ctx, Page *out);   /* false: no translation; nothing raised */
    /* Raises the exception for a failed access: page or access fault as the walk would say, misaligned, bus error. Sets env->fault. */
    void  (*mem_fault)(Vcpu *, uint64_t va, Access, unsigned ctx, MemOp, enum MemFault why);
    /* The fault raised during the instruction at pc is now entered: pc, privilege. After it env->fault is 0. */
    void  (*enter_fault)(Vcpu *, uint64_t pc);
    /* An interrupt is pending and enabled? take it: true. Called between instructions with env->pc set. */
    bool  (*irq)(Vcpu *);
    void  (*irq_counts)(Vcpu *, GString *out);  /* how many of each it has taken, a line for each. In v's thread. NULL: not counted */
    bool  (*wakes)(Vcpu *);         /* has wfi a reason to end? any thread */
    void  (*go_on)(Vcpu *);         /* a debugger moved it: if it stood in wfi, that is over. May be NULL */
    /* Address-space identity of a context, for the shared second-level TLB: 0..65535; global pages hit in all. */
    unsigned (*asid)(Vcpu *, unsigned ctx);
    bool (*ctx_virtual)(Vcpu *, unsigned ctx);  /* false: addresses are physical there now */
    /*
     * Where va is in the address space that v sees now, for a debugger: nobody asks for permission, nothing changes.
     * *order: log2 of the block around va for which that holds. In v's thread, or while it stands.
     */
    bool  (*look)(Vcpu *, uint64_t va, uint64_t *pa, unsigned *order);
    /* The block around va, mapped or not. False: no page tables are in use. In v's thread, or while it stands. */
    bool  (*mapping)(Vcpu *, uint64_t va, Mapping *out);
    unsigned elf_machine;           /* EM_*, of core files */
    const CoreNote *core_notes;     /* ends with a type of 0; NULL: none */
    void  (*dump)(Vcpu *, GString *out);    /* -d cpu */
    /* Lockstep: the guest's state beside Env as bytes that can be copied and compared. */
    size_t state_size;
    const StateRange *state_shared;     /* parts that other threads write: never put back. Ends with a size of 0; or NULL */
    /* Saved form of v->state: its STATE rows. Registers in Env are those of `ir`. */
    const struct Field *fields;
    Err  *(*loaded)(Vcpu *);        /* they were loaded, as were memory and devices: what follows from them. v's own thread */
    const char *(*state_diff)(const void *a, const void *b, GString *out);  /* names what differs; NULL: the same */
};

extern const Isa *const isas[];     /* NULL-terminated; target/isa.c */
const Isa *isa_find(const char *name);

/*
 * target/maps.c: all of v's address space that is mapped, neighbours with the same attributes joined, ascending. In v's
 * thread, or while it stands. False: the page tables are too large to be walked, and what was told is not all.
 */
bool isa_mappings(Vcpu *v, void (*fn)(void *opaque, uint64_t va, uint64_t size, const Mapping *m), void *opaque);

/* target/translate.c: forms a unit of IR from v's code at pc. Guest-independent. */
typedef struct TranslateLimits {
    int max_insns, max_blocks;
    bool one_insn, single_block;
    const uint64_t *breaks; int nbreaks;    /* ascending: the unit leaves with EXIT_DEBUG before the instructions there */
} TranslateLimits;
/*
 * `code` is the host address of the page's bytes. An instruction that crosses into
 * the next page is translated alone, with `next_page` (NULL: the unit ends before it).
 * Returns bytes of guest code covered: [*lo, *hi) as offsets in the page.
 */
int translate_unit(Vcpu *v, IrUnit *u, uint64_t pc, uint64_t mode, const uint8_t *page, const uint8_t *next_page,
                   TranslateLimits lim, unsigned *lo, unsigned *hi);

/* ---- what the guest's helpers may ask of the memory system (implemented in accel/, called through these) */
typedef struct MmuOps {
    void (*flush_all)(Vcpu *);                              /* all contexts, all ASIDs, this vCPU */
    void (*flush_ctx)(Vcpu *, unsigned ctx);                /* inline tables of a context; second level keeps by ASID */
    void (*flush_asid)(Vcpu *, int asid /* -1: any */, bool keep_global);   /* contexts that are physical stay */
    void (*flush_page)(Vcpu *, uint64_t va, int asid);
    void (*mode_changed)(Vcpu *);                           /* env->mode was written: refresh ctxkey */
    void (*address_space_changed)(Vcpu *);                  /* satp was written (root or ASID): switch */
    void (*code_fence)(Vcpu *);                             /* fence.i */
    bool (*fetch_slow)(Vcpu *, uint64_t va, uint32_t *out); /* unused by generated code */
} MmuOps;
extern const MmuOps *mmu_ops;

#endif
