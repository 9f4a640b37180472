/* SPDX-License-Identifier: MIT */
/*
 * What each operation computes, in one place: the constant folder, the
 * interpreter and the exact path of generated floating-point code call these.
 */
#ifndef TCG_IR_EVAL_H
#define TCG_IR_EVAL_H

#include "tcg/ir/ir.h"

/* The integer ops without side effects, mov to clmulr. */
#define IR_INT_OPS(X)                                                               \
    X(mov) X(sext8) X(sext16) X(sext32) X(zext8) X(zext16) X(zext32)                \
    X(add) X(sub) X(and) X(or) X(xor) X(andn) X(orn) X(xnor) X(not) X(neg)          \
    X(shl) X(shr) X(sar) X(rol) X(ror) X(shladd)                                    \
    X(mul) X(mulhs) X(mulhu) X(mulhsu) X(divs) X(divu) X(rems) X(remu)              \
    X(mins) X(maxs) X(minu) X(maxu) X(setcc) X(select)                              \
    X(clz) X(ctz) X(popcnt) X(bswap) X(brev8) X(orcb) X(bext) X(sbext)              \
    X(clmul) X(clmulh) X(clmulr)

static inline bool ir_is_int_op(IrOp op) { return op <= IR_clmulr; }
static inline bool ir_is_float(IrType t) { return t >= IR_F16 && t <= IR_F64; }

/* a cc b at type IR_I32 or IR_I64. */
bool ir_eval_cc(IrType t, IrCc cc, uint64_t a, uint64_t b);

/*
 * One of IR_INT_OPS at IR_I32 or IR_I64 (mov also at the float types, 64 bits as
 * they are). A 32-bit result is zero-extended.
 */
uint64_t ir_eval_int(IrOp op, IrType t, unsigned aux, uint32_t x, uint64_t a, uint64_t b, uint64_t c);

/*
 * One of the ops of shape FP, by i->op, type, aux and x alone. Operands and result are
 * 64-bit slot images: floats boxed where the guest boxes, integers as they are.
 * Ors into env->fp_flags; FP_DYN takes env->fp_round.
 */
uint64_t ir_eval_fp(const IrInsn *i, Env *env, uint64_t a, uint64_t b, uint64_t c, const IrGuest *g);

/* How amo op changes `old` with operand v, at the size of m. Both zero-extended; so is the result. */
uint64_t ir_eval_amo(IrAmo op, MemOp m, uint64_t old, uint64_t v);

/* What ld makes of bytes that were read zero-extended: sign-extended or boxed. */
uint64_t ir_loaded(IrType t, MemOp m, uint64_t v, bool nan_box);

#endif
