/* SPDX-License-Identifier: MIT */
/*
 * The rows of tcg/ir/ops.h as a table that printer, parser and verifier read.
 */
#include "tcg/ir/ir.h"

#define COMMUTES IRF_COMMUTES
#define MEM_R    IRF_MEM_R
#define MEM_W    IRF_MEM_W
#define FAULT    IRF_FAULT
#define END      IRF_END
#define FLAGS_FP IRF_FLAGS_FP

const IrOpInfo ir_ops[IR_OPS] = {
#define X(name, out, in, shape, flags, meaning) \
    [IR_##name] = { #name, meaning, out, in, SHAPE_##shape, 0, flags },
#include "tcg/ir/ops.h"
#undef X
};
