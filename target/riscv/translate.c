/* SPDX-License-Identifier: MIT */
/*
 * One RISC-V instruction into IR: decode, check what the mode allows, call the
 * row's function. What each row does is in the other translate_*.c files.
 *
 * Neighbours that make one constant (lui+addi, auipc+addi, li+slli ..), a direct
 * jump (auipc+jalr) or one extraction (slli+srli) become one mark as long as
 * both. None of them can fault, so no state between them is ever seen; a jump to
 * the second one starts a unit of its own.
 */
#include <string.h>

#include "target/riscv/front.h"
#include "target/riscv/tr.h"

typedef bool RvTrFn(Tr *t, const RvInsn *i);

static RvTrFn *const functions[RV_OPS] = {
#define X(row) [RV_OP_##row] = rv_tr_##row,
    RV_TR_ROWS(X)
#undef X
};

/* Reads the instruction at `off` bytes from t->pc. False: not all of it is there. */
static bool fetch(const Tr *t, unsigned off, uint32_t *w)
{
    uint16_t low;

    if (off + 2 > t->avail)
        return false;
    memcpy(&low, t->code + off, 2);
    *w = low;
    if (rv_length(low) == 2)
        return true;
    if (off + 4 > t->avail)
        return false;
    memcpy(w, t->code + off, 4);
    return true;
}

/* ---- neighbours */

/* Decodes the instruction after `len` bytes, if it may be fused with what stands before it. */
static bool peek(const Tr *t, unsigned len, RvInsn *n)
{
    uint32_t w;

    if (t->mode & (MODE_ONE_INSN | MODE_ICOUNT | MODE_DEBUG) || (t->apart && t->pc + len >= t->apart) || !fetch(t, len, &w))
        return false;
    return (t->pc & 0xfff) + len + rv_length(w) <= 0x1000 && rv_decode(w, tr_exts(t), n);
}

/* *v = what n makes of the constant *v in its rd. `address`: *v moves with the code. */
static bool constant_step(const RvInsn *n, unsigned rd, bool address, uint64_t *v)
{
    if (n->rd != rd || n->rs1 != rd)
        return false;
    switch (n->op) {
    case RV_OP_addi:  *v += (int64_t)n->imm; return true;
    case RV_OP_addiw: *v = (int32_t)(*v + n->imm); return !address;
    case RV_OP_slli:  *v <<= n->imm; return !address;
    case RV_OP_srli:  *v >>= n->imm; return !address;
    case RV_OP_xori:  *v ^= (int64_t)n->imm; return !address;
    case RV_OP_ori:   *v |= (int64_t)n->imm; return !address;
    case RV_OP_andi:  *v &= (int64_t)n->imm; return !address;
    default:          return false;
    }
}

/* auipc and jalr by the same register: a jump or call whose target is known. */
static bool fuse_jump(Tr *t, unsigned reg, uint64_t v, unsigned len, const RvInsn *n)
{
    uint64_t target = (v + (int64_t)n->imm) & ~(uint64_t)1, link = t->pc + len + n->len;

    if (n->op != RV_OP_jalr || n->rs1 != reg || (target & 2 && !(tr_exts(t) >> RV_C & 1)))
        return false;
    ir_mark(t->ir, t->pc, len + n->len);
    if (n->rd != reg)
        ir_op1(t->ir, IR_mov, IR_I64, xd(reg), ir_pcimm(t->ir, v));
    t->next = link;
    tr_jump(t, n->rd, target);
    return true;
}

/* lui, auipc or li, and what follows as long as the register stays a constant. */
static bool fuse_constant(Tr *t, const RvInsn *i)
{
    bool address = i->op == RV_OP_auipc;
    uint64_t v = (int64_t)i->imm + (address ? t->pc : 0), before;
    unsigned len = i->len;
    RvInsn n;

    if (!i->rd || (i->op == RV_OP_addi && i->rs1))
        return false;
    for (; peek(t, len, &n); len += n.len) {
        if (address && fuse_jump(t, i->rd, v, len, &n))
            return true;
        before = v;
        if (len > 64 || !constant_step(&n, i->rd, address, &v)) {
            v = before;
            break;
        }
    }
    if (len == i->len)
        return false;
    ir_mark(t->ir, t->pc, len);
    ir_op1(t->ir, IR_mov, IR_I64, xd(i->rd), address ? ir_pcimm(t->ir, v) : imm(t, v));
    t->next = t->pc + len;
    return true;
}

/* slli by n, then srli or srai by m: a bit field, shifted. */
static bool fuse_shifts(Tr *t, const RvInsn *i)
{
    RvInsn n;

    if (!i->rd || !peek(t, i->len, &n) || n.rd != i->rd || n.rs1 != i->rd ||
        (n.op != RV_OP_srli && n.op != RV_OP_srai) || i->imm == 0)
        return false;
    bool sign = n.op == RV_OP_srai;
    int up = i->imm, down = n.imm, width = 64 - up;
    ir_mark(t->ir, t->pc, i->len + n.len);
    t->next = t->pc + i->len + n.len;
    if (down >= up) {
        ir_width(t->ir, sign ? IR_sbext : IR_bext, IR_I64, xd(i->rd), xs(t, i->rs1), IR_NONE, down - up, 64 - down);
        return true;
    }
    IrRef v = ir_width(t->ir, sign ? IR_sbext : IR_bext, IR_I64, IR_NEW, xs(t, i->rs1), IR_NONE, 0, width);
    ir_op2(t->ir, IR_shl, IR_I64, xd(i->rd), v, imm(t, up - down));
    return true;
}

static bool fuse(Tr *t, const RvInsn *i)
{
    switch (i->op) {
    case RV_OP_lui: case RV_OP_auipc: case RV_OP_addi:
        return fuse_constant(t, i);
    case RV_OP_slli:
        return fuse_shifts(t, i);
    default:
        return false;
    }
}

/* ---- floating-point state, privileged manual 3.1.6.6 */

/* Does the row change f registers or fflags? Comparisons and conversions to integers count: they set flags. */
static bool dirties_fp(const RvInsn *i)
{
    switch (i->op) {
    case RV_OP_fmv_x_w: case RV_OP_fmv_x_d: case RV_OP_fmv_x_h: case RV_OP_fclass_s: case RV_OP_fclass_d:
        return false;
    default:
        return rv_rows[i->op].regs & (RVF_FD | RVF_RD);
    }
}

static bool uses_fp(const RvInsn *i)
{
    return rv_rows[i->op].regs & (RVF_FD | RVF_FS1 | RVF_FS2);
}

static bool fp_allowed(const Tr *t, const RvInsn *i)
{
    if ((t->mode >> RVM_FS_SHIFT & 3) == RVM_FS_OFF)
        return false;
    return !(rv_rows[i->op].members & 1 << RV_ARG_RM) || tr_round(t, i->rm) >= 0;
}

/* The first instruction that changes FP state since it was clean: FS becomes dirty and it starts over. */
static bool fp_restart(Tr *t, const RvInsn *i)
{
    if ((t->mode >> RVM_FS_SHIFT & 3) == RVM_FS_DIRTY || !dirties_fp(i))
        return false;
    ir_call(t->ir, RVH_fs_dirty, IR_NONE, IR_NONE, IR_NONE, IR_NONE);
    end_at(t, t->pc);
    return true;
}

/* ---- */

static bool translate(Tr *t, const RvInsn *i)
{
    if (uses_fp(i)) {
        if (!fp_allowed(t, i))
            return false;
        if (fp_restart(t, i))
            return true;
    }
    return functions[i->op](t, i);
}

StepResult riscv_step(Tr *t)
{
    RvInsn i;
    uint32_t w;
    bool known;

    if (!fetch(t, 0, &w))
        return STEP_NEED_BYTES;
    known = rv_decode(w, tr_exts(t), &i);
    t->ended = false;
    if (known && fuse(t, &i))
        return STEP_OK;
    t->next = t->pc + i.len;
    ir_mark(t->ir, t->pc, i.len);
    if (!known || !translate(t, &i)) {
        ir_call(t->ir, RVH_illegal, IR_NONE, imm(t, i.bits), IR_NONE, IR_NONE);
        end_raised(t);
    }
    return STEP_OK;
}
