/* SPDX-License-Identifier: MIT */
/*
 * Units as text; the grammar is in tcg/ir/README.md. Broken units can be printed
 * too: what has no name appears as a number.
 */
#include <glib.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tcg/ir/eval.h"
#include "tcg/ir/names.h"

const char *const ir_type_names[] = { "32", "64", "f16", "f32", "f64", NULL };
const char *const ir_cc_names[] = { "eq", "ne", "lt", "ge", "ltu", "geu", "le", "gt", "leu", "gtu", NULL };
const char *const ir_amo_names[] = { "swap", "add", "and", "or", "xor", "mins", "maxs", "minu", "maxu", NULL };
const char *const ir_ind_names[] = { "jump", "call", "ret", NULL };
const char *const ir_exit_names[] = { "next", "poll", "halt", "fault", "flush", "debug", "ungrouped", "link", NULL };
const char *const ir_fence_names[] = { "compiler", "stld", NULL };
const char *const ir_round_names[] = { "rne", "rtz", "rdn", "rup", "rmm", "", "", "dyn", NULL };
const char *const ir_fpint_names[] = { "s32", "u32", "s64", "u64", NULL };
const IrWord ir_mem_words[] = {
    { "be", MO_BE }, { "align", MO_ALIGN }, { "atomic", MO_ATOMIC }, { "acq", MO_ACQ }, { "rel", MO_REL },
    { NULL, 0 },
};

typedef struct Out { char *p, *end; } Out;

static void put(Out *o, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(Out *o, const char *fmt, ...)
{
    va_list ap;
    int n;

    if (o->p >= o->end)
        return;
    va_start(ap, fmt);
    n = vsnprintf(o->p, o->end - o->p, fmt, ap);
    va_end(ap);
    o->p = n < o->end - o->p ? o->p + n : o->end;
}

static void put_name(Out *o, const char *const *names, unsigned i)
{
    for (unsigned n = 0; names[n]; n++) {
        if (n == i) {
            put(o, "%s", names[n]);
            return;
        }
    }
    put(o, "?%u", i);
}

static void put_number(Out *o, uint64_t v)
{
    int64_t s = v;

    if (s > -65536 && s < 1024)
        put(o, "%" PRId64, s);
    else
        put(o, "%#" PRIx64, v);
}

static void put_ref(Out *o, const IrUnit *u, IrRef r)
{
    unsigned i = ir_index(r);

    switch (ir_tag(r)) {
    case IR_VAL:
        put(o, "%%%u", i);
        break;
    case IR_SLOT:
        if (i < (unsigned)u->guest->nslots)
            put(o, "@%s", u->guest->slots[i].name);
        else
            put(o, "@?%u", i);
        break;
    case IR_IMM:
        put(o, "#");
        put_number(o, i < (unsigned)u->nconsts ? u->consts[i] : 0);
        break;
    case IR_PCIMM:
        put(o, "pc:%#" PRIx64, i < (unsigned)u->nconsts ? u->consts[i] : 0);
        break;
    default:
        put(o, "?");
    }
}

/* Operands up to the last that is there, separated by commas. */
static void put_operands(Out *o, const IrUnit *u, const IrInsn *i)
{
    const IrRef refs[3] = { i->a, i->b, i->c };
    int n = i->c ? 3 : i->b ? 2 : i->a ? 1 : 0;

    for (int k = 0; k < n; k++) {
        put(o, k ? ", " : "");
        put_ref(o, u, refs[k]);
    }
}

static void put_memop(Out *o, const IrInsn *i)
{
    MemOp m = i->x;

    put(o, ", ");
    if (i->imm)
        put(o, "%+" PRId64 " ", i->imm);
    put(o, "%c%u", m & MO_SIGN ? 's' : 'u', mo_size(m));
    for (const IrWord *w = ir_mem_words; w->name; w++)
        if (m & w->bit)
            put(o, " %s", w->name);
    if (mo_ctx(m))
        put(o, " ctx%u", mo_ctx(m));
    if (m >> MO_PURPOSE_SHIFT & 0xff)
        put(o, " why%u", m >> MO_PURPOSE_SHIFT & 0xff);
}

static void put_call(Out *o, const IrUnit *u, const IrInsn *i)
{
    if (i->x < (uint32_t)u->guest->nhelpers)
        put(o, " %s(", u->guest->helpers[i->x].name);
    else
        put(o, " ?%u(", i->x);
    put_operands(o, u, i);
    put(o, ")");
}

static void put_indirect(Out *o, const IrUnit *u, const IrInsn *i)
{
    if (i->op == IR_callpc) {
        put(o, " %#" PRIx64, (uint64_t)i->imm);
    } else {
        put(o, " ");
        put_name(o, ir_ind_names, i->aux);
        put(o, " ");
        put_operands(o, u, i);
    }
    if (i->aux == IND_CALL)
        put(o, ", link %#" PRIx64, i->imm2);
}

/* The detail behind the type: a condition, what an amo does, a rounding. */
static void put_detail(Out *o, const IrInsn *i, int shape)
{
    if (shape == SHAPE_CC || shape == SHAPE_CCPC) {
        put(o, ".");
        put_name(o, ir_cc_names, i->aux);
    } else if (shape == SHAPE_AMO) {
        put(o, ".");
        put_name(o, ir_amo_names, i->aux);
    } else if (shape == SHAPE_FP && i->aux != FP_RNE) {
        put(o, ".");
        put_name(o, ir_round_names, i->aux);
    }
}

/* What follows the operands. */
static void put_tail(Out *o, const IrInsn *i, int shape)
{
    switch (shape) {
    case SHAPE_MEM: case SHAPE_AMO:
        put_memop(o, i);
        break;
    case SHAPE_CCPC:
        put(o, ", %#" PRIx64, (uint64_t)i->imm);
        break;
    case SHAPE_WIDTH:
        put(o, i->aux ? ", %u:%u" : ", %u", i->x, i->aux);
        break;
    case SHAPE_FP:
        if (i->op == IR_fcvt_ff || i->op == IR_fcvt_fi || i->op == IR_fcvt_if) {
            put(o, ", ");
            put_name(o, i->op == IR_fcvt_ff ? ir_type_names : ir_fpint_names, i->x);
        }
        break;
    }
}

void ir_print_insn(const IrUnit *u, const IrInsn *i, char *out, size_t size)
{
    Out o = { out, out + size };
    int shape = ir_ops[i->op].shape;

    if (i->d) {
        put_ref(&o, u, i->d);
        put(&o, " = ");
    }
    put(&o, "%s", ir_ops[i->op].name);
    if (ir_shape_typed(shape)) {
        put(&o, ".");
        put_name(&o, ir_type_names, i->type);
    }
    put_detail(&o, i, shape);
    switch (shape) {
    case SHAPE_PC:
        put(&o, " %#" PRIx64, (uint64_t)i->imm);
        break;
    case SHAPE_MARK:
        put(&o, " %#" PRIx64 ", %u%s", (uint64_t)i->imm, i->x & MARK_LEN, i->x & MARK_LABEL ? ", label" : "");
        break;
    case SHAPE_CALL:
        put_call(&o, u, i);
        break;
    case SHAPE_IND:
        put_indirect(&o, u, i);
        break;
    case SHAPE_EXIT:
        put(&o, " ");
        put_name(&o, ir_exit_names, i->aux);
        put(&o, " %#" PRIx64, (uint64_t)i->imm);
        break;
    case SHAPE_FENCE:
        put(&o, " ");
        put_name(&o, ir_fence_names, i->aux);
        break;
    default:
        put(&o, " ");
        put_operands(&o, u, i);
        put_tail(&o, i, shape);
    }
}

char *ir_print(const IrUnit *u)
{
    GString *s = g_string_new(NULL);
    char line[256];

    g_string_printf(s, "unit %s %#" PRIx64 " mode %#" PRIx64 "\n", u->guest->name, u->pc, u->mode);
    for (int n = 0; n < u->n; n++) {
        ir_print_insn(u, &u->insns[n], line, sizeof(line));
        g_string_append_printf(s, "%s%s\n", u->insns[n].op == IR_mark ? "  " : "    ", line);
    }
    return g_string_free(s, FALSE);
}
