/* SPDX-License-Identifier: MIT */
/*
 * The intermediate representation: what a front end makes of guest code and
 * what the engines run. It knows no guest and no device.
 *
 * A unit is a straight list of instructions. Each guest instruction opens with
 * `mark pc`; between two marks stand the operations that it does. Operands are
 * guest slots (@a0), values of the same guest instruction (%3), or constants
 * (#5; pc:0x.. for one that moves with the code). A destination is a slot or a
 * new value, so that `@a0 = add.64 @a1, @a2` is one row and one pattern.
 *
 * Rules (ir_check proves them):
 *  - a value is defined once, before its uses, and dies at the next mark: at a
 *    mark all guest state is in its slots, so any mark may be jumped to;
 *  - the slots that an instruction writes are written after its last op that may
 *    fault (an op that faults doesn't write its own destination); a poll for the
 *    instruction's own pc counts as one, for it will run again;
 *  - every path ends in an END op; the list's last op is one.
 */
#ifndef TCG_IR_H
#define TCG_IR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

typedef struct Env Env;

typedef enum IrOp {
#define X(name, out, in, shape, flags, meaning) IR_##name,
#include "tcg/ir/ops.h"
#undef X
    IR_OPS
} IrOp;

typedef enum IrType { IR_I32, IR_I64, IR_F16, IR_F32, IR_F64, IR_VOID, IR_TYPES } IrType;

typedef enum IrCc {                 /* pairs: cc ^ 1 is the opposite */
    CC_EQ, CC_NE, CC_LT, CC_GE, CC_LTU, CC_GEU, CC_LE, CC_GT, CC_LEU, CC_GTU,
} IrCc;

typedef enum IrAmo {
    AMO_SWAP, AMO_ADD, AMO_AND, AMO_OR, AMO_XOR, AMO_MINS, AMO_MAXS, AMO_MINU, AMO_MAXU,
} IrAmo;

typedef enum IrInd { IND_JUMP, IND_CALL, IND_RET } IrInd;

/* Why generated code leaves. Values are part of the stub ABI (tcg/env.h). */
typedef enum IrExit {
    EXIT_NEXT,          /* find or make the unit at env.pc and go on */
    EXIT_POLL,          /* env.poll was set: look at work, interrupts; then go on */
    EXIT_HALT,          /* wait for an interrupt */
    EXIT_FAULT,         /* an exception was raised and entered by the helper's caller */
    EXIT_FLUSH,         /* as NEXT, after work that must see no JIT code: drop the return stack */
    EXIT_DEBUG,         /* breakpoint or single step */
    EXIT_UNGROUPED,     /* a group of accesses can't be done as one: go on at env.pc with each checked by itself */
    EXIT_LINK,          /* a direct edge was taken for the first time: env.exit_slot says which */
} IrExit;

typedef enum IrFence { FENCE_COMPILER = 0, FENCE_STLD = 1 /* store -> load order */ } IrFence;

/* Static rounding of an FP op: FpRound of fpu/fpu.h, or dynamic. RISC-V numbering. */
enum { FP_RNE, FP_RTZ, FP_RDN, FP_RUP, FP_RMM, FP_DYN = 7 };
typedef enum FpInt { FPI_S32, FPI_U32, FPI_S64, FPI_U64 } FpInt;

/* ---- memory operation word (field x of MEM and AMO ops) */
typedef uint32_t MemOp;
enum {
    MO_8 = 0, MO_16, MO_32, MO_64, MO_128,
    MO_SIZE = 7,            /* mask: log2 of the size in bytes */
    MO_SIGN = 1 << 3,       /* sign-extend what is loaded */
    MO_BE = 1 << 4,         /* big-endian data */
    MO_ALIGN = 1 << 5,      /* misaligned: the guest's misaligned exception */
    MO_ATOMIC = 1 << 6,     /* single-copy atomic even when misaligned */
    MO_ACQ = 1 << 7, MO_REL = 1 << 8,
    MO_CTX_SHIFT = 12,      /* 4 bits: which MMU context (tcg/env.h) */
    MO_PURPOSE_SHIFT = 16,  /* 8 bits for the front end: why, for its fault codes */
};
static inline unsigned mo_size(MemOp m) { return 1u << (m & MO_SIZE); }
static inline unsigned mo_ctx(MemOp m) { return m >> MO_CTX_SHIFT & 15; }

/* ---- operands */
typedef uint32_t IrRef;     /* tag in the top 3 bits, index below */
enum { IR_NONE, IR_VAL, IR_SLOT, IR_IMM, IR_PCIMM };
static inline IrRef ir_ref(unsigned tag, uint32_t index) { return tag << 29 | index; }
static inline unsigned ir_tag(IrRef r) { return r >> 29; }
static inline uint32_t ir_index(IrRef r) { return r & 0x1fffffff; }

typedef struct IrInsn {
    uint16_t op;            /* IrOp */
    uint8_t  type;          /* IrType of the operation */
    uint8_t  aux;           /* see the op's shape */
    IrRef    d, a, b, c;    /* destination (IR_VAL: value index; IR_SLOT; IR_NONE), operands */
    uint32_t x;             /* MemOp, helper index, mark length and flags, width */
    int64_t  imm;           /* displacement, pc */
    uint64_t imm2;          /* callpc, goind call: the link address */
} IrInsn;

/* IR_mark's x: length of the guest instruction in bytes, and flags */
enum {
    MARK_LEN = 0xff,
    MARK_LABEL = 0x100,     /* something in the unit jumps here, or a call returns here */
};

typedef struct IrOpInfo {
    const char *name, *meaning;
    uint8_t out, in, shape, pad;
    uint32_t flags;
} IrOpInfo;
enum IrShape { SHAPE_NONE, SHAPE_CC, SHAPE_MEM, SHAPE_AMO, SHAPE_PC, SHAPE_CCPC, SHAPE_MARK,
               SHAPE_CALL, SHAPE_IND, SHAPE_EXIT, SHAPE_FP, SHAPE_FENCE, SHAPE_WIDTH };
enum IrOpFlags { IRF_COMMUTES = 1, IRF_MEM_R = 2, IRF_MEM_W = 4, IRF_FAULT = 8, IRF_END = 16,
                 IRF_FLAGS_FP = 32 };
extern const IrOpInfo ir_ops[IR_OPS];

/* ---- the guest's side of the contract: slots and helpers */

typedef enum IrBank { BANK_GPR, BANK_FPR, BANK_MEM } IrBank;

/* A piece of guest state that IR may name. */
typedef struct IrSlot {
    const char *name;       /* as the guest's manual spells it: "a0", "fa0" */
    IrType type;            /* widest type it is read and written as */
    IrBank bank;
    int32_t off;            /* bytes from the start of Env */
    int8_t pin;             /* >= 0: which pin of its bank (order of preference); -1: memory */
} IrSlot;

/*
 * A function in C that generated code calls. All guest slots are in Env while
 * it runs. It returns its result; one that raises a guest exception sets
 * env->fault (and only then; nothing of its result is used).
 */
typedef uint64_t IrHelperFn(Env *env, uint64_t a, uint64_t b, uint64_t c);
enum IrHelperFlags {
    HELPER_FAULTS = 1,      /* may set env->fault: checked after the call */
    HELPER_WRITES = 2,      /* may write slots: pins are loaded again after it */
    HELPER_FP = 4,          /* uses floating point or reads/writes fp flags, rounding */
    HELPER_PURE = 8,        /* result depends on the arguments alone; touches no state */
    HELPER_OUTSIDE = 16,    /* touches more than Env and the vCPU's own state (devices, clocks,
                               other vCPUs, the TLB): lockstep can't run it twice */
    HELPER_READS = 32,      /* reads slots (else it sees only its arguments and system state) */
};
typedef struct IrHelper {
    const char *name;
    IrHelperFn *fn;
    uint8_t nargs;
    uint8_t flags;
} IrHelper;

/* All that the tcg folder may know of a guest. Static, one for each ISA. */
typedef struct IrGuest {
    const char *name;               /* "riscv64" */
    const IrSlot *slots; int nslots;
    const IrHelper *helpers; int nhelpers;
    bool nan_box;                   /* f16/f32 in wider slots are NaN-boxed */
    uint8_t fpu_nan;                /* FPU_NAN_* rule (fpu/fpu.h) */
} IrGuest;

/* ---- a unit */

typedef struct IrUnit {
    const IrGuest *guest;
    uint64_t pc;                    /* entry: pc of the first mark */
    uint64_t mode;                  /* mode key: constants that it was translated under */
    IrInsn *insns; int n, cap;
    uint64_t *consts; int nconsts, cap_consts;
    int nvalues;                    /* values are numbered 0 .. nvalues-1 */
    int nmarks;
    uint32_t *marks; int cap_marks; /* instruction index of each mark */
    bool ascending;                 /* the marks' pcs ascend: ir_find_mark may search by halves */
    uint64_t page_mask;             /* ~(page size - 1): targets with the same page are "inside" */
} IrUnit;

void ir_init(IrUnit *u, const IrGuest *g);          /* empty; arrays are kept between uses */
void ir_reset(IrUnit *u, uint64_t pc, uint64_t mode);
void ir_free(IrUnit *u);

/* Operands. */
IrRef ir_imm(IrUnit *u, uint64_t v);
IrRef ir_pcimm(IrUnit *u, uint64_t v);
static inline IrRef ir_slot(unsigned slot) { return ir_ref(IR_SLOT, slot); }
uint64_t ir_const(const IrUnit *u, IrRef r);        /* value of an IMM or PCIMM */

/*
 * The builders. `d` is where the result goes: a slot, or IR_NEW for a new value;
 * the destination is returned. They fold constants and drop what does nothing
 * (mov to itself, add of 0), never ops that may fault.
 */
#define IR_NEW ir_ref(IR_VAL, 0x1fffffff)
IrRef ir_op1(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a);
IrRef ir_op2(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b);
IrRef ir_op3(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b, IrRef c);
IrRef ir_setcc(IrUnit *u, IrType t, IrCc cc, IrRef d, IrRef a, IrRef b);
IrRef ir_width(IrUnit *u, IrOp op, IrType t, IrRef d, IrRef a, IrRef b, unsigned x, unsigned len);
IrRef ir_ld(IrUnit *u, IrType t, IrRef d, IrRef base, int64_t disp, MemOp m);
void  ir_st(IrUnit *u, IrType t, IrRef base, int64_t disp, IrRef v, MemOp m);
IrRef ir_amo(IrUnit *u, IrType t, IrAmo op, IrRef d, IrRef addr, IrRef v, MemOp m);
IrRef ir_cas(IrUnit *u, IrType t, IrRef d, IrRef addr, IrRef expect, IrRef v, MemOp m);
IrRef ir_lr(IrUnit *u, IrType t, IrRef d, IrRef addr, MemOp m);
IrRef ir_sc(IrUnit *u, IrType t, IrRef d, IrRef addr, IrRef v, MemOp m);
IrRef ir_fp(IrUnit *u, IrOp op, IrType t, unsigned round, IrRef d, IrRef a, IrRef b, IrRef c, uint32_t x);
IrRef ir_call(IrUnit *u, int helper, IrRef d, IrRef a, IrRef b, IrRef c);   /* d: slot, IR_NEW or IR_NONE; operands may be IR_NONE */
void  ir_fence(IrUnit *u, IrFence kind);
void  ir_mark(IrUnit *u, uint64_t pc, unsigned len);
void  ir_br(IrUnit *u, IrType t, IrCc cc, IrRef a, IrRef b, uint64_t pc);
void  ir_gopc(IrUnit *u, uint64_t pc);
void  ir_callpc(IrUnit *u, uint64_t pc, uint64_t link);     /* the link register is written before */
void  ir_goind(IrUnit *u, IrInd kind, IrRef a, uint64_t link);
void  ir_poll(IrUnit *u, uint64_t pc);
void  ir_exit(IrUnit *u, IrExit why, uint64_t pc);

/*
 * Called when the list is complete: marks that are jumped to, or returned to,
 * get MARK_LABEL. Must run before either engine sees the unit.
 */
void ir_finish(IrUnit *u);

/* Index of the mark with this pc, or -1. Valid after ir_finish. */
int ir_find_mark(const IrUnit *u, uint64_t pc);

/* ---- text (tcg/ir/README.md has the grammar); what is printed can be parsed */
char *ir_print(const IrUnit *u);                            /* g_free it */
void  ir_print_insn(const IrUnit *u, const IrInsn *i, char *out, size_t size);
Err  *ir_parse(IrUnit *u, const char *text);                /* into an ir_init'ed unit */

/* The rules above; NULL if they hold, else what is wrong, with the instruction. */
Err *ir_check(const IrUnit *u);

/* ---- the oracle (interp.c) */

/*
 * Runs unit u on env from mark index `mark` (0 = entry) until it leaves. At most `max_marks` guest
 * instructions; then it leaves with EXIT_NEXT. On return env->pc is the next guest pc, except after a fault,
 * where it is the pc of the instruction that faulted. Guest memory goes
 * through env->ops (tcg/env.h) where the inline tables miss. Direct edges, and returns
 * and calls under an unchanged mode and ctxkey, go on inside the unit; backward edges and all
 * goind look at env->poll first.
 */
IrExit ir_interp(const IrUnit *u, Env *env, int mark, int64_t max_marks);

/*
 * The same in two steps, for units that run often: the prepared form is whole in
 * itself (the unit may be reused) and may be run by several threads at once.
 * The unit must be one that ir_check accepts.
 */
typedef struct IrProg IrProg;
IrProg *ir_interp_prepare(const IrUnit *u);
void    ir_interp_free(IrProg *p);
IrExit  ir_interp_run(const IrProg *p, Env *env, int mark, int64_t max_marks);
int     ir_prog_mark(const IrProg *p, uint64_t pc);         /* as ir_find_mark */
void    ir_prog_observe(IrProg *p);     /* from now on all its accesses go through env->ops */

#endif
