/* SPDX-License-Identifier: MIT */
/* The words of the text form that printer and parser share. NULL-terminated, by number. */
#ifndef TCG_IR_NAMES_H
#define TCG_IR_NAMES_H

#include "tcg/ir/ir.h"

extern const char *const ir_type_names[];       /* IrType up to IR_F64, without the dot */
extern const char *const ir_cc_names[];
extern const char *const ir_amo_names[];
extern const char *const ir_ind_names[];
extern const char *const ir_exit_names[];
extern const char *const ir_fence_names[];
extern const char *const ir_round_names[];      /* FP_*; unused numbers are "" */
extern const char *const ir_fpint_names[];      /* FpInt */

typedef struct IrWord { const char *name; MemOp bit; } IrWord;
extern const IrWord ir_mem_words[];             /* ends with a NULL name */

/* Shapes whose op is written with its type. */
static inline bool ir_shape_typed(int shape)
{
    return shape == SHAPE_NONE || shape == SHAPE_CC || shape == SHAPE_MEM || shape == SHAPE_AMO
        || shape == SHAPE_CCPC || shape == SHAPE_FP || shape == SHAPE_WIDTH;
}

#endif
