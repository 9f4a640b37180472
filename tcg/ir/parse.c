/* SPDX-License-Identifier: MIT */
/*
 * Units from text; the grammar is in tcg/ir/README.md. Only the form is checked
 * here: whether the unit makes sense is ir_check's matter. Nothing is folded.
 */
#include <ctype.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "tcg/ir/eval.h"
#include "tcg/ir/names.h"

typedef struct Text {
    const char *p;          /* where we are in the line */
    int line;
} Text;

static Err *bad(const Text *t, const char *what)
{
    char near[24];

    g_strlcpy(near, t->p, sizeof(near));
    near[strcspn(near, "\n")] = 0;
    return err(ERR_INVALID, "line %d: %s at '%s'", t->line, what, near);
}

static void blanks(Text *t)
{
    while (*t->p == ' ' || *t->p == '\t')
        t->p++;
}

static bool at_end(Text *t)
{
    blanks(t);
    return *t->p == 0 || *t->p == '\n' || *t->p == ';' || *t->p == '\r';
}

static bool accept(Text *t, const char *s)
{
    size_t n = strlen(s);

    blanks(t);
    if (strncmp(t->p, s, n))
        return false;
    t->p += n;
    return true;
}

static Err *expect(Text *t, const char *s)
{
    return accept(t, s) ? NULL : err_in(bad(t, "missing"), "'%s'", s);
}

/* A name of letters, digits and '_'. False: none here. */
static bool word(Text *t, char *out, size_t size)
{
    size_t n = 0;

    blanks(t);
    while (isalnum((unsigned char)t->p[n]) || t->p[n] == '_')
        n++;
    if (n == 0 || n >= size)
        return false;
    memcpy(out, t->p, n);
    out[n] = 0;
    t->p += n;
    return true;
}

static Err *number(Text *t, uint64_t *out)
{
    char *end;
    bool neg;

    blanks(t);
    neg = *t->p == '-';
    if (*t->p == '-' || *t->p == '+')
        t->p++;
    if (!isdigit((unsigned char)*t->p))
        return bad(t, "not a number");
    *out = strtoull(t->p, &end, 0);
    if (neg)
        *out = -*out;
    t->p = end;
    return NULL;
}

/* One of `names`; its index. */
static Err *name(Text *t, const char *const *names, const char *what, unsigned *out)
{
    char w[64];
    const char *near;
    Err *e;

    if (!word(t, w, sizeof(w)))
        return err_in(bad(t, "missing"), "%s", what);
    for (*out = 0; names[*out]; ++*out)
        if (!strcmp(names[*out], w))
            return NULL;
    near = nearest_name(w, names);
    e = err(ERR_INVALID, "line %d: '%s' is no %s", t->line, w, what);
    return near ? err_hint(e, "Did you mean '%s'?", near) : e;
}

/* ---- operands */

static Err *slot(Text *t, const IrGuest *g, IrRef *out)
{
    char w[64];

    if (!word(t, w, sizeof(w)))
        return bad(t, "missing slot name");
    for (int i = 0; i < g->nslots; i++) {
        if (!strcmp(g->slots[i].name, w)) {
            *out = ir_slot(i);
            return NULL;
        }
    }
    return err(ERR_INVALID, "line %d: guest %s has no slot '%s'", t->line, g->name, w);
}

static Err *value(Text *t, IrUnit *u, IrRef *out)
{
    uint64_t v;

    TRY(number(t, &v));
    if (v > 100000)
        return bad(t, "value number too large");
    if ((int)v >= u->nvalues)
        u->nvalues = v + 1;
    *out = ir_ref(IR_VAL, v);
    return NULL;
}

static Err *operand(Text *t, IrUnit *u, IrRef *out)
{
    uint64_t v;

    if (accept(t, "@"))
        return slot(t, u->guest, out);
    if (accept(t, "%"))
        return value(t, u, out);
    if (accept(t, "#")) {
        TRY(number(t, &v));
        *out = ir_imm(u, v);
        return NULL;
    }
    if (accept(t, "pc:")) {
        TRY(number(t, &v));
        *out = ir_pcimm(u, v);
        return NULL;
    }
    return bad(t, "not an operand (@slot, %value, #number, pc:number)");
}

/* n operands separated by commas. */
static Err *operands(Text *t, IrUnit *u, IrInsn *i, int n)
{
    IrRef *const to[3] = { &i->a, &i->b, &i->c };

    for (int k = 0; k < n; k++) {
        if (k)
            TRY(expect(t, ","));
        TRY(operand(t, u, to[k]));
    }
    return NULL;
}

/* ---- shapes */

static Err *mem_word(Text *t, IrInsn *i)
{
    static const struct { const char *name; unsigned shift, max; } counted[] = {
        { "ctx", MO_CTX_SHIFT, 15 }, { "why", MO_PURPOSE_SHIFT, 255 },
    };
    uint64_t v;

    for (const IrWord *w = ir_mem_words; w->name; w++) {
        if (accept(t, w->name)) {
            i->x |= w->bit;
            return NULL;
        }
    }
    for (unsigned k = 0; k < G_N_ELEMENTS(counted); k++) {
        if (accept(t, counted[k].name)) {
            TRY(number(t, &v));
            if (v > counted[k].max)
                return bad(t, "number too large");
            i->x |= (uint32_t)v << counted[k].shift;
            return NULL;
        }
    }
    return bad(t, "unknown word for a memory access (be align atomic acq rel ctxN whyN)");
}

static Err *memop(Text *t, IrInsn *i)
{
    uint64_t v = 0;

    TRY(expect(t, ","));
    blanks(t);
    if (*t->p == '+' || *t->p == '-') {
        TRY(number(t, &v));
        i->imm = v;
    }
    if (accept(t, "s"))
        i->x = MO_SIGN;
    else
        TRY(expect(t, "u"));
    TRY(number(t, &v));
    if (v == 0 || v > 16 || v & (v - 1))
        return bad(t, "sizes are 1, 2, 4, 8 and 16 bytes");
    i->x |= __builtin_ctz(v);
    while (!at_end(t))
        TRY(mem_word(t, i));
    return NULL;
}

static Err *pc_of(Text *t, IrInsn *i)
{
    uint64_t v;

    TRY(number(t, &v));
    i->imm = v;
    return NULL;
}

static Err *mark(Text *t, IrUnit *u)
{
    uint64_t pc, len;

    TRY(number(t, &pc));
    TRY(expect(t, ","));
    TRY(number(t, &len));
    if (accept(t, ","))
        TRY(expect(t, "label"));
    if (u->nmarks == 0 && pc != u->pc)
        return bad(t, "the first mark is not the unit's pc");
    if (len > MARK_LEN)
        return bad(t, "instruction too long");
    ir_mark(u, pc, len);
    return NULL;
}

static Err *indirect(Text *t, IrUnit *u, IrInsn *i)
{
    unsigned kind = IND_CALL;

    if (i->op == IR_callpc) {
        TRY(pc_of(t, i));
    } else {
        TRY(name(t, ir_ind_names, "kind of jump", &kind));
        TRY(operands(t, u, i, 1));
    }
    i->aux = kind;
    if (kind == IND_CALL) {
        TRY(expect(t, ","));
        TRY(expect(t, "link"));
        TRY(number(t, &i->imm2));
    }
    return NULL;
}

static Err *call(Text *t, IrUnit *u, IrInsn *i)
{
    char w[64];

    if (!word(t, w, sizeof(w)))
        return bad(t, "missing helper name");
    for (i->x = 0; i->x < (uint32_t)u->guest->nhelpers; i->x++)
        if (!strcmp(u->guest->helpers[i->x].name, w))
            break;
    if (i->x == (uint32_t)u->guest->nhelpers)
        return err(ERR_INVALID, "line %d: guest %s has no helper '%s'", t->line, u->guest->name, w);
    TRY(expect(t, "("));
    if (!accept(t, ")")) {
        int n = 1;

        for (const char *p = t->p; *p && *p != ')' && *p != '\n'; p++)
            n += *p == ',';
        if (n > 3)
            return bad(t, "more than 3 operands");
        TRY(operands(t, u, i, n));
        TRY(expect(t, ")"));
    }
    return NULL;
}

static Err *width(Text *t, IrInsn *i)
{
    uint64_t x, len = 0;

    TRY(expect(t, ","));
    TRY(number(t, &x));
    if (accept(t, ":"))
        TRY(number(t, &len));
    if (x > 255 || len > 255)
        return bad(t, "bit position or length too large");
    i->x = x;
    i->aux = len;
    return NULL;
}

static Err *conversion(Text *t, IrInsn *i)
{
    unsigned x;

    if (i->op != IR_fcvt_ff && i->op != IR_fcvt_fi && i->op != IR_fcvt_if)
        return NULL;
    TRY(expect(t, ","));
    TRY(name(t, i->op == IR_fcvt_ff ? ir_type_names : ir_fpint_names, "format", &x));
    i->x = x;
    return NULL;
}

/* Operands and what follows them, of an op with its type. */
static Err *typed(Text *t, IrUnit *u, IrInsn *i, int shape)
{
    TRY(operands(t, u, i, ir_ops[i->op].in));
    switch (shape) {
    case SHAPE_MEM: case SHAPE_AMO:
        return memop(t, i);
    case SHAPE_CCPC:
        TRY(expect(t, ","));
        return pc_of(t, i);
    case SHAPE_WIDTH:
        return width(t, i);
    case SHAPE_FP:
        return conversion(t, i);
    }
    return NULL;
}

/* ".type" and ".detail" behind the name, as the shape has them. */
static Err *suffixes(Text *t, IrInsn *i, int shape)
{
    static const char *const *const details[] = {
        [SHAPE_CC] = ir_cc_names, [SHAPE_CCPC] = ir_cc_names, [SHAPE_AMO] = ir_amo_names,
        [SHAPE_FP] = ir_round_names, [SHAPE_WIDTH] = NULL,
    };
    unsigned v;

    i->type = shape == SHAPE_CALL || i->op == IR_goind ? IR_I64 : IR_VOID;
    if (ir_shape_typed(shape)) {
        TRY(expect(t, "."));
        TRY(name(t, ir_type_names, "type", &v));
        i->type = v;
    }
    if (details[shape] && (shape != SHAPE_FP || *t->p == '.')) {
        TRY(expect(t, "."));
        TRY(name(t, details[shape], "detail of this op", &v));
        i->aux = v;
    }
    return NULL;
}

static Err *op_name(Text *t, unsigned *op)
{
    static const char *names[IR_OPS + 1];

    for (int n = 0; n < IR_OPS; n++)
        names[n] = ir_ops[n].name;
    return name(t, names, "op", op);
}

static Err *body(Text *t, IrUnit *u, IrInsn *i, int shape)
{
    unsigned v;

    switch (shape) {
    case SHAPE_PC:
        return pc_of(t, i);
    case SHAPE_IND:
        return indirect(t, u, i);
    case SHAPE_CALL:
        return call(t, u, i);
    case SHAPE_EXIT:
        TRY(name(t, ir_exit_names, "reason", &v));
        i->aux = v;
        return pc_of(t, i);
    case SHAPE_FENCE:
        TRY(name(t, ir_fence_names, "fence", &v));
        i->aux = v;
        return NULL;
    default:
        return typed(t, u, i, shape);
    }
}

/* Appends what builders would fold or order: a bare instruction. */
static void append(IrUnit *u, const IrInsn *i)
{
    ir_poll(u, 0);
    u->insns[u->n - 1] = *i;
}

static Err *insn(Text *t, IrUnit *u)
{
    IrInsn i = { 0 };
    unsigned op;

    blanks(t);
    if (*t->p == '@' || *t->p == '%') {
        TRY(operand(t, u, &i.d));
        TRY(expect(t, "="));
    }
    TRY(op_name(t, &op));
    i.op = op;
    if (op == IR_mark)
        return mark(t, u);
    TRY(suffixes(t, &i, ir_ops[op].shape));
    TRY(body(t, u, &i, ir_ops[op].shape));
    append(u, &i);
    return NULL;
}

static Err *head(Text *t, IrUnit *u)
{
    char w[64];
    uint64_t pc, mode = 0;

    TRY(expect(t, "unit"));
    if (!word(t, w, sizeof(w)) || strcmp(w, u->guest->name))
        return err(ERR_INVALID, "line %d: this is not a unit of guest %s", t->line, u->guest->name);
    TRY(number(t, &pc));
    if (accept(t, "mode"))
        TRY(number(t, &mode));
    ir_reset(u, pc, mode);
    return NULL;
}

Err *ir_parse(IrUnit *u, const char *text)
{
    Text t = { text, 1 };
    bool started = false;

    for (;; t.line++) {
        if (!at_end(&t)) {
            TRY(started ? insn(&t, u) : head(&t, u));
            started = true;
            if (!at_end(&t))
                return bad(&t, "more than expected");
        }
        t.p += strcspn(t.p, "\n");
        if (!*t.p++)
            break;
    }
    if (!started)
        return err(ERR_INVALID, "there is no unit in the text");
    ir_finish(u);
    return NULL;
}
