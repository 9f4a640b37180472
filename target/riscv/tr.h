/* SPDX-License-Identifier: MIT */
/* What the translate_*.c files share: operands, memory words, common endings. */
#ifndef TARGET_RISCV_TR_H
#define TARGET_RISCV_TR_H

#include "target/isa.h"
#include "target/riscv/helper_rows.h"
#include "target/riscv/insn.h"

/*
 * One function for each base row. It writes the IR of the instruction whose
 * mark stands already, sets t->ended when it ends the straight line, and
 * returns false, having written nothing, when the instruction is illegal here.
 */
#define X(row) bool rv_tr_##row(Tr *t, const RvInsn *i);
RV_TR_ROWS(X)
#undef X

/* Slot numbers of riscv_ir: x1-x31, f0-f31, then Env.sys in the order of SYS_*. */
enum { SLOT_X = -1, SLOT_F = 31, SLOT_SYS = 63, SLOTS = SLOT_SYS + SYS_REGS };

static inline IrRef imm(Tr *t, uint64_t v) { return ir_imm(t->ir, v); }
static inline IrRef sys_slot(unsigned reg) { return ir_slot(SLOT_SYS + reg); }
/* x0 reads as 0, and what goes there is a value that nobody reads. */
static inline IrRef xs(Tr *t, unsigned r) { return r ? ir_slot(SLOT_X + r) : imm(t, 0); }
static inline IrRef xd(unsigned r) { return r ? ir_slot(SLOT_X + r) : IR_NEW; }
static inline IrRef fs(unsigned r) { return ir_slot(SLOT_F + r); }

static inline MemOp mem_op(const Tr *t, MemOp m) { return m | (t->mode & MODE_CTX) << MO_CTX_SHIFT; }
static inline unsigned tr_prv(const Tr *t) { return t->mode >> RVM_PRV_SHIFT & 3; }
static inline uint64_t tr_exts(const Tr *t) { return ((const RiscvState *)t->vcpu->state)->exts; }

/* The unit ends here; the next unit is looked up under the mode that holds then. */
static inline void end_at(Tr *t, uint64_t pc)
{
    ir_goind(t->ir, IND_JUMP, ir_pcimm(t->ir, pc), 0);
    t->ended = true;
}

/* After a helper that always raises. */
static inline void end_raised(Tr *t)
{
    ir_exit(t->ir, EXIT_NEXT, t->pc);
    t->ended = true;
}

/* translate_i.c: the integer shapes */
bool tr_op2(Tr *t, const RvInsn *i, IrOp op);           /* rd = rs1 op rs2 */
bool tr_op2_imm(Tr *t, const RvInsn *i, IrOp op);       /* rd = rs1 op imm */
bool tr_op2_w(Tr *t, const RvInsn *i, IrOp op);         /* 32 bits wide, result sign-extended */
bool tr_op2_imm_w(Tr *t, const RvInsn *i, IrOp op);
bool tr_op1(Tr *t, const RvInsn *i, IrOp op);           /* rd = op rs1 */
void tr_jump(Tr *t, unsigned rd, uint64_t target);      /* jal: to a known address; ends */

/* translate_f.c: FpRound or FP_DYN of an rm field under the mode's frm; -1: reserved */
int tr_round(const Tr *t, unsigned rm);

#endif
