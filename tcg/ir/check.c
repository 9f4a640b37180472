/* SPDX-License-Identifier: MIT */
/*
 * Proves the rules of ir.h for a finished unit; engines rely on them and check
 * nothing. One forward pass with the type of each value; cost is linear.
 *
 * Type rules: an operand of a .32 op may be any integer (its low half counts).
 * An operand of a .64 op is 64 bits wide, but for the extensions and bit fields
 * that read only low bits. A .32 result is not written to a 64-bit slot: extend
 * it first. Comparisons and selections' conditions are integers; setcc's 0 or 1 fits
 * any integer destination. Float ops take float slots and values, never constants.
 */
#include <glib.h>

#include "tcg/env.h"
#include "tcg/ir/eval.h"

typedef struct Check {
    const IrUnit *u;
    int n;                      /* instruction being checked */
    const IrInsn *i;
    uint8_t *types;             /* of each value; IR_VOID: not defined yet, IR_TYPES: dead */
    int *values, nvalues;       /* values defined in this guest instruction */
    uint64_t pc;                /* of this guest instruction */
    bool wrote;                 /* a slot was written in it */
    bool ended;                 /* the last op was an END */
} Check;

static Err *wrong(const Check *k, const char *why)
{
    char text[256];

    if (k->i->op >= IR_OPS)
        return err(ERR_INVALID, "instruction %d: %s", k->n, why);
    ir_print_insn(k->u, k->i, text, sizeof(text));
    return err(ERR_INVALID, "instruction %d, '%s': %s", k->n, text, why);
}

static bool is_int(IrType t)
{
    return t == IR_I32 || t == IR_I64;
}

/* ---- operands */

/* The type of what r reads as: constants are IR_I64. */
static Err *ref_type(const Check *k, IrRef r, IrType *out)
{
    unsigned i = ir_index(r);

    *out = IR_I64;
    switch (ir_tag(r)) {
    case IR_VAL:
        if (i >= (unsigned)k->u->nvalues || k->types[i] == IR_VOID || k->types[i] == IR_TYPES)
            return wrong(k, "a value that is not defined in this guest instruction is used");
        *out = k->types[i];
        return NULL;
    case IR_SLOT:
        if (i >= (unsigned)k->u->guest->nslots)
            return wrong(k, "no such slot");
        *out = k->u->guest->slots[i].type;
        return NULL;
    case IR_IMM: case IR_PCIMM:
        return i < (unsigned)k->u->nconsts ? NULL : wrong(k, "no such constant");
    default:
        return wrong(k, "an operand is missing");
    }
}

/* How many low bits of operand a the op looks at, when it is not all of its type. */
static unsigned bits_read(const IrInsn *i)
{
    switch (i->op) {
    case IR_sext8:  case IR_zext8:  return 8;
    case IR_sext16: case IR_zext16: return 16;
    case IR_sext32: case IR_zext32: return 32;
    case IR_bext:   case IR_sbext:  return i->x + i->aux;
    case IR_st: case IR_amo: case IR_sc: case IR_cas: return mo_size(i->x) * 8;
    default:                        return 64;
    }
}

static Err *want_int(const Check *k, IrRef r, unsigned bits)
{
    IrType t;

    TRY(ref_type(k, r, &t));
    if (!is_int(t))
        return wrong(k, "a float where an integer belongs");
    if (t == IR_I32 && bits > 32)
        return wrong(k, "a 32-bit operand has no upper half: extend it");
    return NULL;
}

static Err *want_float(const Check *k, IrRef r, IrType t)
{
    IrType have;

    TRY(ref_type(k, r, &have));
    if (!ir_is_float(have))
        return wrong(k, "an integer where a float belongs");
    if (ir_tag(r) == IR_VAL ? have != t : have < t)
        return wrong(k, "a float of another format");
    return NULL;
}

/* Operand r by the type it is used as. */
static Err *want(const Check *k, IrRef r, IrType t)
{
    return ir_is_float(t) ? want_float(k, r, t) : want_int(k, r, t == IR_I32 ? 32 : 64);
}

static Err *count_operands(const Check *k)
{
    const IrInsn *i = k->i;
    int in = ir_ops[i->op].in, have = i->c ? 3 : i->b ? 2 : i->a ? 1 : 0;

    if (i->op == IR_call) {
        if (i->x >= (uint32_t)k->u->guest->nhelpers)
            return wrong(k, "no such helper");
        in = k->u->guest->helpers[i->x].nargs;
    }
    if (have != in || (i->c && !i->b) || (i->b && !i->a))
        return wrong(k, "wrong number of operands");
    return NULL;
}

/* ---- the operands and fields of each shape */

static Err *check_memory(const Check *k)
{
    const IrInsn *i = k->i;
    unsigned size = i->x & MO_SIZE, bits = 8 * mo_size(i->x);

    if (size > MO_64)
        return wrong(k, "accesses of this size are not supported");
    if (mo_ctx(i->x) >= MMU_CTXS)
        return wrong(k, "no such MMU context");
    if (i->type == IR_VOID || (i->type == IR_I32 && bits > 32))
        return wrong(k, "the access is wider than its type");
    TRY(want_int(k, i->a, 64));
    if (ir_is_float(i->type)) {
        static const uint8_t width[] = { [IR_F16] = MO_16, [IR_F32] = MO_32, [IR_F64] = MO_64 };

        if (i->op != IR_ld && i->op != IR_st)
            return wrong(k, "atomic operations are on integers");
        if (size != width[i->type] || i->x & MO_SIGN)
            return wrong(k, "a float is accessed as its format is");
        return i->op == IR_st ? want_float(k, i->b, i->type) : NULL;
    }
    if (i->op != IR_ld && i->op != IR_st && i->imm)
        return wrong(k, "atomic operations have no displacement");
    if (i->op == IR_amo && i->aux > AMO_MAXU)
        return wrong(k, "no such atomic operation");
    if (i->b)
        TRY(want_int(k, i->b, bits_read(i)));
    return i->c ? want_int(k, i->c, bits_read(i)) : NULL;
}

static Err *check_cc(const Check *k)
{
    if (!is_int(k->i->type))
        return wrong(k, "comparisons are of integers");
    if (k->i->aux > CC_GTU)
        return wrong(k, "no such condition");
    TRY(want(k, k->i->a, k->i->type));
    return want(k, k->i->b, k->i->type);
}

static Err *check_width(const Check *k)
{
    const IrInsn *i = k->i;
    unsigned bits = i->type == IR_I32 ? 32 : 64;

    if (!is_int(i->type))
        return wrong(k, "not an integer type");
    if (i->op == IR_shladd) {
        if (i->x < 1 || i->x > 3)
            return wrong(k, "the shift is 1 to 3");
        TRY(want(k, i->a, i->type));
        return want(k, i->b, i->type);
    }
    if (i->aux < 1 || i->x + i->aux > bits)
        return wrong(k, "the field is not inside the operand");
    return want_int(k, i->a, bits_read(i));
}

static Err *check_plain(const Check *k)
{
    const IrInsn *i = k->i;
    IrType t = i->type;

    if (i->op == IR_mov && ir_is_float(t))
        return want_float(k, i->a, t);
    if (!is_int(t))
        return wrong(k, "not an integer type");
    if ((i->op == IR_sext32 || i->op == IR_zext32) && t == IR_I32)
        return wrong(k, "extends to the width that it has");
    if (ir_ops[i->op].in == 1)
        return want_int(k, i->a, t == IR_I32 ? 32 : bits_read(i));
    TRY(want(k, i->a, t));
    TRY(want(k, i->b, t));
    return i->c ? want(k, i->c, t) : NULL;
}

static Err *check_fp(const Check *k)
{
    const IrInsn *i = k->i;

    if (!ir_is_float(i->type))
        return wrong(k, "not a float type");
    if (i->aux > FP_RMM && i->aux != FP_DYN)
        return wrong(k, "no such rounding");
    switch (i->op) {
    case IR_fcvt_fi:
        if (i->x > FPI_U64)
            return wrong(k, "no such integer format");
        return want_int(k, i->a, i->x <= FPI_U32 ? 32 : 64);
    case IR_fmv_fi:
        return want_int(k, i->a, i->type == IR_F64 ? 64 : 32);
    case IR_fcvt_ff:
        if (!ir_is_float(i->x) || i->x == i->type)
            return wrong(k, "no such conversion");
        return want_float(k, i->a, i->x);
    case IR_fcvt_if:
        if (i->x > FPI_U64)
            return wrong(k, "no such integer format");
        break;
    }
    TRY(want_float(k, i->a, i->type));
    if (i->b)
        TRY(want_float(k, i->b, i->type));
    return i->c ? want_float(k, i->c, i->type) : NULL;
}

static Err *check_call(const Check *k)
{
    const IrRef refs[3] = { k->i->a, k->i->b, k->i->c };
    IrType t;

    if (k->i->type != IR_I64)
        return wrong(k, "helpers return 64 bits");
    for (int n = 0; n < 3 && refs[n]; n++) {
        TRY(ref_type(k, refs[n], &t));
        if (t == IR_I32)
            return wrong(k, "helpers take 64 bits: extend the operand");
    }
    return NULL;
}

static Err *check_operands(const Check *k)
{
    const IrInsn *i = k->i;

    TRY(count_operands(k));
    switch (ir_ops[i->op].shape) {
    case SHAPE_NONE:
        return check_plain(k);
    case SHAPE_CC: case SHAPE_CCPC:
        return check_cc(k);
    case SHAPE_MEM: case SHAPE_AMO:
        return check_memory(k);
    case SHAPE_WIDTH:
        return check_width(k);
    case SHAPE_FP:
        return check_fp(k);
    case SHAPE_CALL:
        return check_call(k);
    case SHAPE_FENCE:
        return i->aux <= FENCE_STLD ? NULL : wrong(k, "no such fence");
    case SHAPE_EXIT:
        return i->aux <= EXIT_DEBUG && i->aux != EXIT_FAULT ? NULL : wrong(k, "no such reason to exit");
    case SHAPE_IND:
        if (i->aux > IND_RET || (i->op == IR_callpc && i->aux != IND_CALL))
            return wrong(k, "no such kind of jump");
        return i->op == IR_goind ? want_int(k, i->a, 64) : NULL;
    }
    return NULL;
}

/* ---- destinations and order */

/* The type of the op's result. */
static IrType result_type(const IrInsn *i)
{
    switch (i->op) {
    case IR_feq: case IR_flt: case IR_fle: case IR_fclass: case IR_fcvt_if: case IR_fmv_if:
    case IR_setcc: case IR_sc: case IR_call:
        return IR_I64;
    default:
        return i->type;
    }
}

static Err *check_dest(Check *k)
{
    const IrInsn *i = k->i;
    IrType t = result_type(i), have;

    if (!ir_ops[i->op].out)
        return i->d ? wrong(k, "this op has no destination") : NULL;
    if (ir_tag(i->d) == IR_VAL) {
        if (ir_index(i->d) >= (unsigned)k->u->nvalues)
            return wrong(k, "no such value");
        if (k->types[ir_index(i->d)] != IR_VOID)
            return wrong(k, "the value is defined twice");
        k->types[ir_index(i->d)] = t;
        k->values[k->nvalues++] = ir_index(i->d);
        return NULL;
    }
    if (i->op == IR_call && !i->d)
        return NULL;
    if (ir_tag(i->d) != IR_SLOT)
        return wrong(k, "the destination is neither slot nor value");
    TRY(ref_type(k, i->d, &have));
    if (ir_is_float(have) != ir_is_float(t))
        return wrong(k, "integer and float are mixed");
    if (have == IR_I64 && t == IR_I32)
        return wrong(k, "the slot is wider than a 32-bit result: extend it");
    if (have < t && i->op != IR_setcc)
        return wrong(k, "the slot is narrower than the result");
    k->wrote = true;
    return NULL;
}

static bool may_fault(const Check *k)
{
    const IrInsn *i = k->i;

    if (i->op == IR_call)
        return k->u->guest->helpers[i->x].flags & HELPER_FAULTS;
    if (i->op == IR_poll)           /* with another pc it goes on behind the instruction, which is done then */
        return (uint64_t)i->imm == k->pc;
    return ir_ops[i->op].flags & (IRF_MEM_R | IRF_MEM_W | IRF_FAULT);
}

static void forget_values(Check *k)
{
    for (int n = 0; n < k->nvalues; n++)
        k->types[k->values[n]] = IR_TYPES;
    k->nvalues = 0;
}

static Err *check_mark(Check *k, int *marks)
{
    const IrUnit *u = k->u;
    int m = ir_find_mark(u, k->i->imm);

    if (*marks >= u->nmarks || u->marks[*marks] != (uint32_t)k->n)
        return wrong(k, "the unit's index of marks does not have it");
    if (m != *marks)
        return wrong(k, "two marks have this pc");
    if (*marks == 0 && (uint64_t)k->i->imm != u->pc)
        return wrong(k, "the first mark is not the unit's pc");
    if ((k->i->x & MARK_LEN) == 0)
        return wrong(k, "an instruction of no bytes");
    ++*marks;
    k->pc = k->i->imm;
    forget_values(k);
    k->wrote = k->ended = false;
    return NULL;
}

static Err *check_insn(Check *k, int *marks)
{
    if (k->i->op >= IR_OPS)
        return wrong(k, "no such op");
    if (k->i->op == IR_mark)
        return check_mark(k, marks);
    if (*marks == 0)
        return wrong(k, "stands before the first mark");
    if (k->ended)
        return wrong(k, "cannot be reached: it follows the end of a block without a mark");
    TRY(check_operands(k));
    if (may_fault(k) && k->wrote)
        return wrong(k, "may fault after a slot was written in the same guest instruction");
    TRY(check_dest(k));
    k->ended = ir_ops[k->i->op].flags & IRF_END;
    return NULL;
}

static Err *check_all(Check *k)
{
    int marks = 0;

    for (k->n = 0; k->n < k->u->n; k->n++) {
        k->i = &k->u->insns[k->n];
        TRY(check_insn(k, &marks));
    }
    if (!k->ended)
        return err(ERR_INVALID, "the unit does not end: its last op falls through");
    if (marks != k->u->nmarks)
        return err(ERR_INVALID, "the unit has %d marks, its index %d", marks, k->u->nmarks);
    return NULL;
}

Err *ir_check(const IrUnit *u)
{
    Check k = { .u = u };
    Err *e;

    k.types = g_malloc(u->nvalues + 1);
    for (int n = 0; n < u->nvalues; n++)
        k.types[n] = IR_VOID;
    k.values = g_new(int, u->nvalues + 1);
    e = check_all(&k);
    g_free(k.types);
    g_free(k.values);
    return e ? err_in(e, "IR of %s at %#llx", u->guest->name, (unsigned long long)u->pc) : NULL;
}
