/* SPDX-License-Identifier: MIT */
/*
 * What the files of the x86-64 backend share: where slots live, the stubs'
 * addresses, the emitter's state during one unit, and the lowering functions.
 *
 * All addresses are of the writable alias. Hot and cold areas and the stubs lie
 * in one mapping with one delta, within 2 GB of each other, so that relative
 * displacements are the same in both aliases.
 */
#ifndef TCG_X64_PRIV_H
#define TCG_X64_PRIV_H

#include <stddef.h>

#include "tcg/ir/ir.h"
#include "tcg/x64/asm.h"
#include "tcg/x64/x64.h"

/* Host registers of the pins, in order of preference. */
enum { GPR_PINS = 11, FPR_PINS = 10, FIRST_FPR_PIN = 6 /* xmm6.. */ };
extern const int8_t x64_gpr_pin[GPR_PINS];

#define ENV_RM(member) rm_mem(RBP, ENV_DISP(member))
static inline Rm env_spill(int k) { return rm_mem(RBP, ENV_DISP(spill) + 8 * k); }
static inline Rm env_group(int k) { return rm_mem(RBP, ENV_DISP(group) + 8 * k); }
/* The last spill slot carries a stub's fourth argument. */
enum { SPILL_ARG = ENV_SPILLS - 1 };

/* Where a guest slot lives. */
typedef struct SlotLoc {
    int8_t reg;                 /* general register, or -1 */
    int8_t xmm;                 /* xmm register, or -1 */
    uint8_t is32;               /* unpinned and of type i32: 4 bytes of Env */
    int32_t disp;               /* home, from rbp */
} SlotLoc;

struct X64Stubs {
    const IrGuest *guest;
    X64Hooks hooks;
    intptr_t delta;
    SlotLoc *slot;              /* the standard pins: guest->nslots of them */
    IrExit (*enter)(Env *env, const void *host);
    uint8_t *leave[EXIT_LINK];  /* by reason; rax = guest pc */
    uint8_t *link;              /* eax = exit number, rcx = guest pc */
    uint8_t *ind;               /* rax = guest address: on by the jump cache, or leave */
    uint8_t *ind_miss;          /* the same without looking again */
    /* rax = va, ecx = MemOp; result in rax. See stubs.c for each. */
    uint8_t *ld, *st, *amo, *cas, *lr, *sc;
    uint8_t *group;             /* rax = va, rdx = span, ecx = MemOp, bit 31: write; rax = host address or 0. NULL: no groups */
    uint8_t *fp;                /* ir_eval_fp: see lower_fp.c */
    uint8_t **helper;           /* rax, rdx, rcx = arguments; result in rax */
};

/* ---- operands */

typedef enum OpndKind { O_REG, O_MEM, O_IMM } OpndKind;
typedef struct Opnd {
    OpndKind kind;
    Rm rm;                      /* O_REG, O_MEM */
    uint64_t imm;               /* O_IMM */
    bool pc;                    /* O_IMM: a guest address */
} Opnd;
static inline int opnd_reg(Opnd o) { return o.kind == O_REG ? o.rm.base : -1; }
static inline bool opnd_is(Opnd o, int reg) { return o.kind == O_REG && o.rm.base == reg; }
static inline bool imm_fits(uint64_t v) { return v == (uint64_t)(int32_t)v; }

/* A value of the current guest instruction. In a scratch register, in a pin that will be its only use's
   destination, or in a spill slot. */
typedef struct Val {
    int last;                   /* index of the instruction that reads it last */
    int8_t reg;                 /* -1: not in a register */
    int8_t spill;               /* -1: not in memory */
    bool positive;              /* 32 bits, and the highest is 0 */
} Val;

/* Memory accesses that are checked together: bytes [min, min + span) from their base. See groups.c. */
typedef struct MemGroup { int32_t min; uint16_t span; uint8_t place; bool write; } MemGroup;
typedef struct GroupUse {       /* of an instruction */
    int16_t group;              /* -1: none */
    int16_t site;               /* its lookup goes by env->site_page[ctx][site]; -1: by the table */
    bool leads;                 /* it looks up for its group */
} GroupUse;

typedef struct Label { uint64_t pc; uint32_t gen; bool loop; int begin, end /* a loop's first and last instruction */; uint8_t *at; } Label;
typedef struct Fixup { uint8_t *rel32; Label *label; } Fixup;
enum { LABEL_HASH = 2048 };

enum { BOXED_SLOTS = 256 };

/* Growing arrays of one unit. */
#define X64_VEC(T) struct { T *v; int n, cap; }

/* A host register holds the slot at home `in` in place of the one at home `out` (displacements from rbp). */
typedef struct PinSwap { int8_t reg, xmm; int32_t in, out; } PinSwap;
enum { X64_MAX_SLOTS = 128 };   /* guests with more keep the standard pins */

struct X64Emitter {
    X64Stubs *s;
    const IrGuest *g;
    const X64Request *r;
    const IrUnit *u;
    Asm hot, cold;

    /* Where slots are for the code being emitted: s->slot (standard), or `own` when the unit has its own pins. */
    const SlotLoc *slot;
    SlotLoc own[X64_MAX_SLOTS];
    PinSwap swaps[GPR_PINS + FPR_PINS]; int nswaps;

    int idx;                    /* instruction being lowered */
    int mark;                   /* number of the current mark */
    uint64_t pc;                /* its pc */

    Val *vals; int cap_vals;
    int owner[3];               /* value in rax, rcx, rdx; -1 free */
    unsigned busy;              /* scratch registers that the current lowering uses: bits */
    unsigned spills;            /* spill slots in use: bits */

    /* What is known between a lowering and the next: the flags hold `slot != 0` as condition flags_cc (an x86 cc). */
    IrRef flags_ref; uint8_t flags_cc; bool flags_wide, flags_new;
    uint64_t waits, short_;     /* slots, by bits: see low.c */
    bool sext_left;             /* the sext32 just lowered made no code: its result waits */
    uint64_t boxed[BOXED_SLOTS / 64];   /* slots known to hold a boxed f32 */

    Label *labels;              /* open hash by pc; entries of other generations are empty */
    uint32_t gen;
    bool bad;                   /* more than the backend can hold: see x64_emit */
    bool fixed;                 /* its code is good for this virtual address only */
    AsmNotes *notes;

    bool grouped;               /* may accesses be grouped in this unit? */
    GroupUse *member; int cap_member;   /* of each instruction */
    X64_VEC(MemGroup) groups;
    unsigned next_site;
    X64_VEC(Fixup) fixups;
    X64_VEC(X64Exit) exits;
    X64_VEC(X64Site) sites, cold_sites;
    X64_VEC(X64Mark) marks;
    X64_VEC(uint32_t) relocs;
    uint32_t *listing; int cap_listing;
};

void *x64_vec_grow(void *v, int *cap, size_t item);
#define VEC_PUSH(vec)                                                                               \
    ((vec).n == (vec).cap                                                                           \
         ? (void)((vec).v = x64_vec_grow((vec).v, &(vec).cap, sizeof *(vec).v)) : (void)0,          \
     &(vec).v[(vec).n++])

/* ---- emit.c: operands and scratch registers */

Opnd x64_use(X64Emitter *e, IrRef r);           /* where an operand is now */
void x64_need(X64Emitter *e, int n);            /* spills values until n scratch registers are free. Before x64_use */
int  x64_take(X64Emitter *e);                   /* a free scratch register, for this lowering */
void x64_claim(X64Emitter *e, int reg);         /* empties this scratch register. Before x64_use */
void x64_flush(X64Emitter *e);                  /* spills all values in scratch registers. Before x64_use */
int  x64_in_reg(X64Emitter *e, Opnd o);         /* o's register, loading it if it has none */
void x64_load(X64Emitter *e, Asm *a, int reg, Opnd o);     /* reg = o, 64 bits, flags untouched */
Opnd x64_small(X64Emitter *e, Opnd o);          /* o, in a register if it is a constant beyond imm32 */

int  x64_dst(X64Emitter *e, const IrInsn *i);   /* the register to compute d in */
void x64_put(X64Emitter *e, const IrInsn *i, int reg);     /* d = reg, as x64_dst said or any other */
Rm   x64_dst_home(X64Emitter *e, const IrInsn *i);         /* d's memory, if d is an unpinned slot; else !is_mem */
/* May i's operation be done on d's home at once? Not one of 32 bits on 64, whose upper half must become 0. */
bool x64_in_memory(const X64Emitter *e, const IrInsn *i, Rm home);

void x64_set_rel32(X64Emitter *e, uint8_t *at, const uint8_t *to);
void x64_mov_pc(X64Emitter *e, Asm *a, int reg, uint64_t pc);     /* reg = a guest address */
/* The compare at a checked entry: with the exec tag of vpage in that context. */
void x64_set_tag(uint8_t *entry, unsigned ctx, uint64_t vpage, uint32_t id);
/* copy.c: what x64_copy has to know of the unit just emitted, whose checked entry is at hot. False: it can't be copied. */
bool x64_relocs(X64Emitter *e, const uint8_t *hot);

static inline bool x64_is_val(IrRef r) { return ir_tag(r) == IR_VAL; }
static inline int x64_w(const IrInsn *i) { return i->type != IR_I32; }

unsigned x64_compare(X64Emitter *e, const IrInsn *i);      /* flags of a cc b; returns the host's condition */
void x64_fp_mov(X64Emitter *e, const IrInsn *i);           /* mov of a float type */

/* ---- pins.c */
void x64_pins_choose(X64Emitter *e);            /* after labels are known */
void x64_pins_in(X64Emitter *e, Asm *a);        /* from the standard pins to the unit's own */
void x64_pins_out(X64Emitter *e, Asm *a);       /* and back */

/* low.c. `before` may settle operands; LOW_WAITS and LOW_DONE: lower it as 32 bits, the result waits or is complete. */
enum X64Low { LOW_NOT, LOW_WAITS, LOW_DONE };
enum X64Low x64_low_before(X64Emitter *e, const IrInsn *i);
void x64_low_after(X64Emitter *e, const IrInsn *i, enum X64Low how);
bool x64_can_wait(const X64Emitter *e, IrRef d);
void x64_settle_in(const X64Emitter *e, Asm *a);   /* code that sign-extends what waits, in a side path */

void x64_groups_find(X64Emitter *e);            /* groups.c */

/* ---- sites, labels, exits */

void x64_site(X64Emitter *e, bool cold);        /* the call just emitted returns here */
Label *x64_label(X64Emitter *e, uint64_t pc);   /* of a mark inside the unit; NULL: outside */
void x64_leave(X64Emitter *e, Asm *a, IrExit why, uint64_t pc);        /* standard pins */
void x64_return_site(X64Emitter *e, uint64_t link);     /* behind a call */

bool x64_and_of_return(const X64Emitter *e, const IrInsn *and);    /* an `and` that only a return reads: see lower_ret */
void x64_load_ref(X64Emitter *e, Asm *a, int reg, IrRef r);       /* reg = r's 64 bits, wherever it is; not for values in scratch */
/* An FP instruction as the word that the fp stub takes in spill[SPILL_ARG]. */
static inline uint32_t x64_fp_word(const IrInsn *i) { return i->op | (uint32_t)i->type << 8 | (uint32_t)i->aux << 12 | i->x << 16; }
void x64_boxed(X64Emitter *e, IrRef d, bool boxed);     /* d now holds a boxed f32, or something unknown */
void x64_boxed_none(X64Emitter *e);                     /* nothing is known of any slot */

/* ---- lowerings: one for each row of ops.h */

#define X(name, out, in, shape, flags, meaning) void x64_lower_##name(X64Emitter *e, const IrInsn *i);
#include "tcg/ir/ops.h"
#undef X

#endif
