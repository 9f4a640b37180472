/* SPDX-License-Identifier: MIT */
/*
 * Results of 32-bit operations that are not sign-extended yet. A guest of 64 bits
 * with 32-bit arithmetic (RISC-V's addw, lw) sign-extends every result, and most
 * are read by operations that look at the low half alone. So `sext32` into a
 * pinned slot, of a value that is computed in that pin, makes nothing: the slot
 * waits (e->waits), its pin's upper half means nothing, and its true value is
 * the low half sign-extended. Logic on such slots makes slots that wait again.
 *
 * A slot is settled (movsxd) before an op that reads more than the low half, and
 * all are before anything that shows them: branches, exits, calls, labels; in
 * cold code before a stub. So what waits is never seen outside of a stretch of straight code.
 *
 * e->short_ has the slots whose true value is known to be a sign-extended 32-bit
 * number, waiting or not.
 */
#include "tcg/x64/x64-priv.h"

static uint64_t bit(IrRef r)
{
    return ir_tag(r) == IR_SLOT && ir_index(r) < 64 ? (uint64_t)1 << ir_index(r) : 0;
}

static bool waits(const X64Emitter *e, IrRef r)
{
    return e->waits & bit(r);
}

static bool pinned(const X64Emitter *e, IrRef r)
{
    return bit(r) && e->slot[ir_index(r)].reg >= 0;
}

static bool is_short(const X64Emitter *e, IrRef r)
{
    return r == IR_NONE || e->short_ & bit(r) || (ir_tag(r) == IR_IMM && imm_fits(ir_const(e->u, r)));
}

bool x64_can_wait(const X64Emitter *e, IrRef d)
{
    return pinned(e, d);
}

/* ---- settling */

void x64_settle_in(const X64Emitter *e, Asm *a)
{
    for (uint64_t m = e->waits; m; m &= m - 1) {
        int reg = e->slot[__builtin_ctzll(m)].reg;

        asm_movsxd(a, reg, rm_reg(reg));
    }
}

static void settle(X64Emitter *e, IrRef r)
{
    if (waits(e, r)) {
        int reg = e->slot[ir_index(r)].reg;

        asm_movsxd(&e->hot, reg, rm_reg(reg));
        e->waits &= ~bit(r);
    }
}

static void settle_all(X64Emitter *e)
{
    x64_settle_in(e, &e->hot);
    e->waits = 0;
}

/* ---- what an instruction asks of its operands, and leaves */

static bool shows_all(const IrInsn *i)
{
    switch (i->op) {
    case IR_mark:
        return i->x & MARK_LABEL;
    case IR_br: case IR_gopc: case IR_callpc: case IR_goind: case IR_exit: case IR_poll: case IR_call:
        return true;
    default:
        return false;
    }
}

/* Bitwise: the low half of the result depends on the low halves alone, and so does the upper one if all are short. */
static bool is_logic(IrOp op)
{
    return op >= IR_and && op <= IR_not;
}

static bool positive_mask(const X64Emitter *e, const IrInsn *i)
{
    return i->op == IR_and && ir_tag(i->b) == IR_IMM && ir_const(e->u, i->b) <= INT32_MAX;
}

static bool reads_low(const X64Emitter *e, const IrInsn *i)
{
    switch (i->op) {
    case IR_sext8: case IR_sext16: case IR_sext32: case IR_zext8: case IR_zext16: case IR_zext32:
        return true;
    case IR_bext: case IR_sbext:
        return i->type == IR_I32 || i->x + i->aux <= 32;
    case IR_mov:
        return i->type == IR_I32 || (i->type == IR_I64 && pinned(e, i->d) && pinned(e, i->a));
    default:
        return i->op <= IR_clmulr && i->type == IR_I32;
    }
}

/* Lowered as 32 bits, its result waits. */
static bool narrows(const X64Emitter *e, const IrInsn *i)
{
    return is_logic(i->op) && i->type == IR_I64 && pinned(e, i->d) && is_short(e, i->a) && is_short(e, i->b) &&
           (waits(e, i->a) || waits(e, i->b));
}

enum X64Low x64_low_before(X64Emitter *e, const IrInsn *i)
{
    if (!e->waits)
        return LOW_NOT;
    if (shows_all(i)) {
        settle_all(e);
        return LOW_NOT;
    }
    if (narrows(e, i))
        return LOW_WAITS;
    if (positive_mask(e, i) && pinned(e, i->d))
        return LOW_DONE;
    if (reads_low(e, i))
        return LOW_NOT;
    settle(e, i->a);
    if (i->op != IR_st || (i->x & MO_SIZE) > MO_32)
        settle(e, i->b);
    settle(e, i->c);
    return LOW_NOT;
}

/* Is i's result a sign-extended 32-bit number? Its operands are as before it. */
static bool result_short(const X64Emitter *e, const IrInsn *i)
{
    switch (i->op) {
    case IR_sext8: case IR_sext16: case IR_sext32: case IR_zext8: case IR_zext16: case IR_setcc: case IR_clz: case IR_ctz:
    case IR_popcnt:
        return true;
    case IR_mov:
        return is_short(e, i->a);
    case IR_bext:
        return i->aux < 32;
    case IR_sbext:
        return i->aux <= 32;
    case IR_ld: case IR_lr: case IR_amo: case IR_cas:
        return (i->x & MO_SIZE) < MO_32 || (i->x & (MO_SIZE | MO_SIGN)) == (MO_32 | MO_SIGN);
    default:
        return positive_mask(e, i) || (is_logic(i->op) && is_short(e, i->a) && is_short(e, i->b));
    }
}

void x64_low_after(X64Emitter *e, const IrInsn *i, enum X64Low how)
{
    uint64_t d = bit(i->d);
    bool is_s, wait;

    if (i->op == IR_mark ? i->x & MARK_LABEL : i->op == IR_call)
        e->short_ = 0;
    if (!d)
        return;
    is_s = i->type == IR_I64 && result_short(e, i);
    wait = how == LOW_WAITS || (i->op == IR_sext32 && e->sext_left) ||
           (i->op == IR_mov && i->type == IR_I64 && waits(e, i->a));
    e->short_ = is_s ? e->short_ | d : e->short_ & ~d;
    e->waits = wait ? e->waits | d : e->waits & ~d;
}
