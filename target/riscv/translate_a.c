/* SPDX-License-Identifier: MIT */
/*
 * Atomics: A, Zabha, Zacas (unprivileged manual, same chapters). The address must
 * be a multiple of the size; the host's order is stronger than any aq or rl asks.
 */
#include "target/riscv/tr.h"

static MemOp atomic_op(const Tr *t, const RvInsn *i, MemOp m)
{
    return mem_op(t, m | MO_ALIGN | MO_ATOMIC | (i->aqrl & 2 ? MO_ACQ : 0) | (i->aqrl & 1 ? MO_REL : 0));
}

static bool load_reserved(Tr *t, const RvInsn *i, MemOp m)
{
    ir_lr(t->ir, IR_I64, xd(i->rd), xs(t, i->rs1), atomic_op(t, i, m));
    return true;
}

static bool store_conditional(Tr *t, const RvInsn *i, MemOp m)
{
    ir_sc(t->ir, IR_I64, xd(i->rd), xs(t, i->rs1), xs(t, i->rs2), atomic_op(t, i, m));
    return true;
}

bool rv_tr_lr_w(Tr *t, const RvInsn *i) { return load_reserved(t, i, MO_32 | MO_SIGN); }
bool rv_tr_lr_d(Tr *t, const RvInsn *i) { return load_reserved(t, i, MO_64); }
bool rv_tr_sc_w(Tr *t, const RvInsn *i) { return store_conditional(t, i, MO_32); }
bool rv_tr_sc_d(Tr *t, const RvInsn *i) { return store_conditional(t, i, MO_64); }

static bool amo(Tr *t, const RvInsn *i, IrAmo op, MemOp m)
{
    ir_amo(t->ir, IR_I64, op, xd(i->rd), xs(t, i->rs1), xs(t, i->rs2), atomic_op(t, i, m));
    return true;
}

#define AMO(name, op)                                                                                   \
    bool rv_tr_##name##_b(Tr *t, const RvInsn *i) { return amo(t, i, op, MO_8 | MO_SIGN); }             \
    bool rv_tr_##name##_h(Tr *t, const RvInsn *i) { return amo(t, i, op, MO_16 | MO_SIGN); }            \
    bool rv_tr_##name##_w(Tr *t, const RvInsn *i) { return amo(t, i, op, MO_32 | MO_SIGN); }            \
    bool rv_tr_##name##_d(Tr *t, const RvInsn *i) { return amo(t, i, op, MO_64); }
AMO(amoswap, AMO_SWAP)
AMO(amoadd, AMO_ADD)
AMO(amoxor, AMO_XOR)
AMO(amoand, AMO_AND)
AMO(amoor, AMO_OR)
AMO(amomin, AMO_MINS)
AMO(amomax, AMO_MAXS)
AMO(amominu, AMO_MINU)
AMO(amomaxu, AMO_MAXU)

/* rd is what is expected, and gets what was there. */
static bool compare_and_swap(Tr *t, const RvInsn *i, MemOp m)
{
    ir_cas(t->ir, IR_I64, xd(i->rd), xs(t, i->rs1), xs(t, i->rd), xs(t, i->rs2), atomic_op(t, i, m));
    return true;
}

bool rv_tr_amocas_b(Tr *t, const RvInsn *i) { return compare_and_swap(t, i, MO_8 | MO_SIGN); }
bool rv_tr_amocas_h(Tr *t, const RvInsn *i) { return compare_and_swap(t, i, MO_16 | MO_SIGN); }
bool rv_tr_amocas_w(Tr *t, const RvInsn *i) { return compare_and_swap(t, i, MO_32 | MO_SIGN); }
bool rv_tr_amocas_d(Tr *t, const RvInsn *i) { return compare_and_swap(t, i, MO_64); }

bool rv_tr_amocas_q(Tr *t, const RvInsn *i)
{
    ir_call(t->ir, RVH_amocas_q, IR_NONE, xs(t, i->rs1), imm(t, i->rd), imm(t, i->rs2));
    return true;
}
