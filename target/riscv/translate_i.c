/* SPDX-License-Identifier: MIT */
/* RV64I, M and Zicond (unprivileged manual, chapters RV32I, RV64I, M, Zicond) but for system instructions. */
#include "target/riscv/tr.h"

/* ---- shapes. An instruction without effect but its rd = x0 is a hint: nothing to do. */

bool tr_op2(Tr *t, const RvInsn *i, IrOp op)
{
    if (i->rd)
        ir_op2(t->ir, op, IR_I64, xd(i->rd), xs(t, i->rs1), xs(t, i->rs2));
    return true;
}

bool tr_op2_imm(Tr *t, const RvInsn *i, IrOp op)
{
    if (i->rd)
        ir_op2(t->ir, op, IR_I64, xd(i->rd), xs(t, i->rs1), imm(t, (int64_t)i->imm));
    return true;
}

static bool narrow(Tr *t, const RvInsn *i, IrOp op, IrRef b)
{
    if (i->rd) {
        IrRef v = ir_op2(t->ir, op, IR_I32, IR_NEW, xs(t, i->rs1), b);
        ir_op1(t->ir, IR_sext32, IR_I64, xd(i->rd), v);
    }
    return true;
}

bool tr_op2_w(Tr *t, const RvInsn *i, IrOp op)
{
    return narrow(t, i, op, xs(t, i->rs2));
}

bool tr_op2_imm_w(Tr *t, const RvInsn *i, IrOp op)
{
    if (i->rd && i->imm == 0) {         /* sext.w */
        ir_op1(t->ir, IR_sext32, IR_I64, xd(i->rd), xs(t, i->rs1));
        return true;
    }
    return narrow(t, i, op, imm(t, (int64_t)i->imm));
}

bool tr_op1(Tr *t, const RvInsn *i, IrOp op)
{
    if (i->rd)
        ir_op1(t->ir, op, IR_I64, xd(i->rd), xs(t, i->rs1));
    return true;
}

#define OP2(row, op)       bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2(t, i, op); }
#define OP2_IMM(row, op)   bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2_imm(t, i, op); }
#define OP2_W(row, op)     bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2_w(t, i, op); }
#define OP2_IMM_W(row, op) bool rv_tr_##row(Tr *t, const RvInsn *i) { return tr_op2_imm_w(t, i, op); }

OP2(add, IR_add)
OP2(sub, IR_sub)
OP2(sll, IR_shl)
OP2(srl, IR_shr)
OP2(sra, IR_sar)
OP2(and, IR_and)
OP2(or, IR_or)
OP2(xor, IR_xor)
OP2_IMM(addi, IR_add)
OP2_IMM(andi, IR_and)
OP2_IMM(ori, IR_or)
OP2_IMM(xori, IR_xor)
OP2_IMM(slli, IR_shl)
OP2_IMM(srli, IR_shr)
OP2_IMM(srai, IR_sar)
OP2_W(addw, IR_add)
OP2_W(subw, IR_sub)
OP2_W(sllw, IR_shl)
OP2_W(srlw, IR_shr)
OP2_W(sraw, IR_sar)
OP2_IMM_W(addiw, IR_add)
OP2_IMM_W(slliw, IR_shl)
OP2_IMM_W(srliw, IR_shr)
OP2_IMM_W(sraiw, IR_sar)

/* ---- M */
OP2(mul, IR_mul)
OP2(mulh, IR_mulhs)
OP2(mulhu, IR_mulhu)
OP2(mulhsu, IR_mulhsu)
OP2(div, IR_divs)
OP2(divu, IR_divu)
OP2(rem, IR_rems)
OP2(remu, IR_remu)
OP2_W(mulw, IR_mul)
OP2_W(divw, IR_divs)
OP2_W(divuw, IR_divu)
OP2_W(remw, IR_rems)
OP2_W(remuw, IR_remu)

/* ---- constants and comparisons */

bool rv_tr_lui(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_op1(t->ir, IR_mov, IR_I64, xd(i->rd), imm(t, (int64_t)i->imm));
    return true;
}

bool rv_tr_auipc(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_op1(t->ir, IR_mov, IR_I64, xd(i->rd), ir_pcimm(t->ir, t->pc + (int64_t)i->imm));
    return true;
}

static bool set_if(Tr *t, const RvInsn *i, IrCc cc, IrRef b)
{
    if (i->rd)
        ir_setcc(t->ir, IR_I64, cc, xd(i->rd), xs(t, i->rs1), b);
    return true;
}

bool rv_tr_slt(Tr *t, const RvInsn *i)
{
    return set_if(t, i, CC_LT, xs(t, i->rs2));
}

bool rv_tr_sltu(Tr *t, const RvInsn *i)
{
    if (i->rs1 == 0 && i->rd) {         /* snez */
        ir_setcc(t->ir, IR_I64, CC_NE, xd(i->rd), xs(t, i->rs2), imm(t, 0));
        return true;
    }
    return set_if(t, i, CC_LTU, xs(t, i->rs2));
}

bool rv_tr_slti(Tr *t, const RvInsn *i)
{
    return set_if(t, i, CC_LT, imm(t, (int64_t)i->imm));
}

bool rv_tr_sltiu(Tr *t, const RvInsn *i)
{
    if (i->imm == 1)                    /* seqz */
        return set_if(t, i, CC_EQ, imm(t, 0));
    return set_if(t, i, CC_LTU, imm(t, (int64_t)i->imm));
}

/* ---- Zicond */

bool rv_tr_czero_eqz(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_op3(t->ir, IR_select, IR_I64, xd(i->rd), xs(t, i->rs2), xs(t, i->rs1), imm(t, 0));
    return true;
}

bool rv_tr_czero_nez(Tr *t, const RvInsn *i)
{
    if (i->rd)
        ir_op3(t->ir, IR_select, IR_I64, xd(i->rd), xs(t, i->rs2), imm(t, 0), xs(t, i->rs1));
    return true;
}

/* ---- memory. A load to x0 still faults. */

static bool load(Tr *t, const RvInsn *i, MemOp m)
{
    ir_ld(t->ir, IR_I64, xd(i->rd), xs(t, i->rs1), i->imm, mem_op(t, m));
    return true;
}

static bool store(Tr *t, const RvInsn *i, MemOp m)
{
    ir_st(t->ir, IR_I64, xs(t, i->rs1), i->imm, xs(t, i->rs2), mem_op(t, m));
    return true;
}

#define LOAD(row, m)  bool rv_tr_##row(Tr *t, const RvInsn *i) { return load(t, i, m); }
#define STORE(row, m) bool rv_tr_##row(Tr *t, const RvInsn *i) { return store(t, i, m); }

LOAD(lb, MO_8 | MO_SIGN)
LOAD(lh, MO_16 | MO_SIGN)
LOAD(lw, MO_32 | MO_SIGN)
LOAD(ld, MO_64)
LOAD(lbu, MO_8)
LOAD(lhu, MO_16)
LOAD(lwu, MO_32)
STORE(sb, MO_8)
STORE(sh, MO_16)
STORE(sw, MO_32)
STORE(sd, MO_64)

/* ---- control. "link registers" are ra and t0: the hints of table 3 (chapter RV32I, 2.5.1). */

static bool is_link(unsigned r) { return r == 1 || r == 5; }

/* Without C, targets that are no multiple of 4 raise, at the jump. */
static bool may_misalign(const Tr *t)
{
    return !(tr_exts(t) >> RV_C & 1);
}

static void check_target(Tr *t, uint64_t target, IrRef when)
{
    if (may_misalign(t) && target & 2)
        ir_call(t->ir, RVH_misaligned_pc, IR_NONE, ir_pcimm(t->ir, target), when, IR_NONE);
}

void tr_jump(Tr *t, unsigned rd, uint64_t target)
{
    check_target(t, target, imm(t, 1));
    if (rd)
        ir_op1(t->ir, IR_mov, IR_I64, xd(rd), ir_pcimm(t->ir, t->next));
    if (is_link(rd))
        ir_callpc(t->ir, target, t->next);
    else
        ir_gopc(t->ir, target);
    t->ended = true;
}

bool rv_tr_jal(Tr *t, const RvInsn *i)
{
    tr_jump(t, i->rd, t->pc + (int64_t)i->imm);
    return true;
}

static IrInd jalr_kind(const RvInsn *i)
{
    if (is_link(i->rd))
        return IND_CALL;
    return is_link(i->rs1) ? IND_RET : IND_JUMP;
}

bool rv_tr_jalr(Tr *t, const RvInsn *i)
{
    IrRef v = ir_op2(t->ir, IR_add, IR_I64, IR_NEW, xs(t, i->rs1), imm(t, (int64_t)i->imm));

    v = ir_op2(t->ir, IR_and, IR_I64, IR_NEW, v, imm(t, ~(uint64_t)1));
    if (may_misalign(t)) {
        IrRef bad = ir_op2(t->ir, IR_and, IR_I64, IR_NEW, v, imm(t, 2));
        ir_call(t->ir, RVH_misaligned_pc, IR_NONE, v, bad, IR_NONE);
    }
    if (i->rd)
        ir_op1(t->ir, IR_mov, IR_I64, xd(i->rd), ir_pcimm(t->ir, t->next));
    ir_goind(t->ir, jalr_kind(i), v, t->next);
    t->ended = true;
    return true;
}

static bool branch(Tr *t, const RvInsn *i, IrCc cc)
{
    uint64_t target = t->pc + (int64_t)i->imm;
    IrRef a = xs(t, i->rs1), b = xs(t, i->rs2);

    if (may_misalign(t) && target & 2)
        check_target(t, target, ir_setcc(t->ir, IR_I64, cc, IR_NEW, a, b));
    else
        ir_br(t->ir, IR_I64, cc, a, b, target);
    return true;
}

#define BRANCH(row, cc) bool rv_tr_##row(Tr *t, const RvInsn *i) { return branch(t, i, cc); }
BRANCH(beq, CC_EQ)
BRANCH(bne, CC_NE)
BRANCH(blt, CC_LT)
BRANCH(bge, CC_GE)
BRANCH(bltu, CC_LTU)
BRANCH(bgeu, CC_GEU)

/* ---- fences: the host orders everything but earlier stores against later loads */

bool rv_tr_fence(Tr *t, const RvInsn *i)
{
    unsigned pred = i->imm >> 4, succ = i->imm;
    bool w = pred & 5, r = succ & 10;   /* writes or output before, reads or input after */

    ir_fence(t->ir, w && r ? FENCE_STLD : FENCE_COMPILER);
    return true;
}

bool rv_tr_fence_tso(Tr *t, const RvInsn *i)
{
    (void)i;
    ir_fence(t->ir, FENCE_COMPILER);
    return true;
}
