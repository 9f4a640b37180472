/* SPDX-License-Identifier: MIT */
/*
 * The operations' semantics as ordinary functions (tcg/ir/eval.h).
 */
#include "tcg/ir/eval-inline.h"

bool ir_eval_cc(IrType t, IrCc cc, uint64_t a, uint64_t b)
{
    return eval_cc(t, cc, a, b);
}

uint64_t ir_eval_int(IrOp op, IrType t, unsigned aux, uint32_t x, uint64_t a, uint64_t b, uint64_t c)
{
    return eval_int(op, t, aux, x, a, b, c);
}

uint64_t ir_loaded(IrType t, MemOp m, uint64_t v, bool nan_box)
{
    return eval_loaded(t, m, v, nan_box);
}

uint64_t ir_eval_amo(IrAmo op, MemOp m, uint64_t old, uint64_t v)
{
    unsigned up = 64 - 8 * mo_size(m);
    uint64_t mask = ~(uint64_t)0 >> up, uv = v & mask;
    int64_t so = (int64_t)(old << up) >> up, sv = (int64_t)(v << up) >> up;

    switch (op) {
    case AMO_SWAP: return uv;
    case AMO_ADD:  return (old + v) & mask;
    case AMO_AND:  return old & uv;
    case AMO_OR:   return old | uv;
    case AMO_XOR:  return old ^ uv;
    case AMO_MINS: return so < sv ? old : uv;
    case AMO_MAXS: return so > sv ? old : uv;
    case AMO_MINU: return old < uv ? old : uv;
    case AMO_MAXU: return old > uv ? old : uv;
    }
    return old;
}
