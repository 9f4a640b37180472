/* SPDX-License-Identifier: MIT */
/*
 * The oracle: runs IR as tcg/ir/ops.h says, a label for each op. It also runs
 * what generated code can't (single steps, odd instructions).
 *
 * ir_interp_prepare makes steps of the instructions: operands become an area
 * (Env, the values of this guest instruction, constants) and a byte offset in it;
 * jump targets become step numbers; values are numbered anew at each mark, as
 * they die there. Slots narrower than 64 bits are read and written by steps of
 * their own. Nothing is checked here: ir_check did.
 */
#include <glib.h>
#include <stdatomic.h>
#include <string.h>

#include "tcg/env.h"
#include "tcg/ir/eval-inline.h"

enum Area { AREA_ENV, AREA_VALUES, AREA_CONSTS, AREAS };

/* What a step does: twice the IrOp, plus 1 when an integer op is 32 bits wide; then those without an op. */
#define CODE(op, narrow) ((op) * 2 + (narrow))
enum { CODE_SLOT_READ = IR_OPS * 2, CODE_SLOT_WRITE, CODE_LD_OPS, CODE_ST_OPS /* ld, st past the inline table */, CODES };

typedef struct Step {
    IrInsn in;              /* the instruction; d, a, b, c are byte offsets in their areas */
    uint16_t code;
    uint8_t d, a, b, c;     /* areas */
    bool backward;          /* jumps to its own instruction or an earlier one: polls first */
    int32_t target;         /* step of the mark that it jumps to, or -1: outside */
} Step;

struct IrProg {
    const IrGuest *guest;
    uint64_t mode;
    Step *steps; int nsteps;
    uint64_t *consts;           /* [0] is 0, for absent operands */
    int nvalues;                /* most values that one guest instruction has */
    bool ascending;
    int nmarks;
    struct { uint64_t pc; int32_t step; } marks[];
};

/* ---- preparing */

typedef struct Prep {
    IrProg *p;
    const IrUnit *u;
    int *number;                /* unit's value -> value of this guest instruction */
    int values;                 /* how many this one has so far */
} Prep;

static Step *add_step(Prep *t, unsigned code)
{
    Step *s = &t->p->steps[t->p->nsteps++];

    *s = (Step){ .code = code, .target = -1 };
    return s;
}

static int new_value(Prep *t)
{
    if (t->values >= t->p->nvalues)
        t->p->nvalues = t->values + 1;
    return t->values++;
}

static bool narrow_slot(const Prep *t, IrRef r)
{
    return ir_tag(r) == IR_SLOT && t->u->guest->slots[ir_index(r)].type == IR_I32;
}

static void prep_source(Prep *t, IrRef r, IrRef *off, uint8_t *area)
{
    switch (ir_tag(r)) {
    case IR_VAL:
        *area = AREA_VALUES;
        *off = t->number[ir_index(r)] * 8;
        break;
    case IR_SLOT:
        *area = AREA_ENV;
        *off = t->u->guest->slots[ir_index(r)].off;
        if (narrow_slot(t, r)) {
            Step *s = add_step(t, CODE_SLOT_READ);

            s->in.a = *off;
            *area = AREA_VALUES;
            *off = s->in.d = new_value(t) * 8;
        }
        break;
    case IR_IMM: case IR_PCIMM:
        *area = AREA_CONSTS;
        *off = (ir_index(r) + 1) * 8;
        break;
    default:
        *area = AREA_CONSTS;
        *off = 0;
    }
}

static void prep_dest(Prep *t, Step *s, IrRef r)
{
    if (ir_tag(r) == IR_SLOT && !narrow_slot(t, r)) {
        s->d = AREA_ENV;
        s->in.d = t->u->guest->slots[ir_index(r)].off;
        return;
    }
    s->d = AREA_VALUES;
    s->in.d = new_value(t) * 8;
    if (ir_tag(r) == IR_VAL)
        t->number[ir_index(r)] = s->in.d / 8;
    if (narrow_slot(t, r)) {
        Step *w = add_step(t, CODE_SLOT_WRITE);

        w->in.a = s->in.d;
        w->in.d = t->u->guest->slots[ir_index(r)].off;
    }
}

static void prep_insn(Prep *t, const IrInsn *i)
{
    Step s = { .in = *i, .target = -1 }, *made;

    s.code = CODE(i->op, i->type == IR_I32 && (ir_is_int_op(i->op) || i->op == IR_br));
    prep_source(t, i->a, &s.in.a, &s.a);
    prep_source(t, i->b, &s.in.b, &s.b);
    prep_source(t, i->c, &s.in.c, &s.c);
    made = add_step(t, 0);
    *made = s;
    if (i->op == IR_mark) {
        t->values = 0;
        t->p->marks[t->p->nmarks].pc = i->imm;
        t->p->marks[t->p->nmarks++].step = t->p->nsteps - 1;
    } else if (ir_ops[i->op].out) {
        prep_dest(t, made, i->d);
    }
}

static void prep_targets(IrProg *p)
{
    uint64_t pc = 0;

    for (int n = 0; n < p->nsteps; n++) {
        Step *s = &p->steps[n];

        switch (s->code) {
        case CODE(IR_mark, 0):
            pc = s->in.imm;
            break;
        case CODE(IR_br, 0): case CODE(IR_br, 1): case CODE(IR_gopc, 0): case CODE(IR_callpc, 0): {
            int m = ir_prog_mark(p, s->in.imm);

            s->backward = (uint64_t)s->in.imm <= pc;
            s->target = m < 0 ? -1 : p->marks[m].step;
            break;
        }
        }
    }
}

IrProg *ir_interp_prepare(const IrUnit *u)
{
    IrProg *p = g_malloc0(sizeof(*p) + u->nmarks * sizeof(p->marks[0]));
    Prep t = { .p = p, .u = u, .number = g_new0(int, u->nvalues + 1) };
    int narrow = 0;

    for (int n = 0; n < u->n; n++) {
        const IrInsn *i = &u->insns[n];

        narrow += narrow_slot(&t, i->a) + narrow_slot(&t, i->b) + narrow_slot(&t, i->c) + narrow_slot(&t, i->d);
    }
    p->guest = u->guest;
    p->mode = u->mode;
    p->ascending = u->ascending;
    p->steps = g_new(Step, u->n + narrow);
    p->consts = g_new(uint64_t, u->nconsts + 1);
    p->consts[0] = 0;
    if (u->nconsts)
        memcpy(p->consts + 1, u->consts, u->nconsts * sizeof(uint64_t));
    for (int n = 0; n < u->n; n++)
        prep_insn(&t, &u->insns[n]);
    prep_targets(p);
    g_free(t.number);
    return p;
}

void ir_interp_free(IrProg *p)
{
    if (!p)
        return;
    g_free(p->steps);
    g_free(p->consts);
    g_free(p);
}

int ir_prog_mark(const IrProg *p, uint64_t pc)
{
    int lo = 0, hi = p->nmarks;

    if (!p->ascending) {
        for (int i = 0; i < p->nmarks; i++)
            if (p->marks[i].pc == pc)
                return i;
        return -1;
    }
    while (lo < hi) {
        int mid = (lo + hi) / 2;

        if (p->marks[mid].pc == pc)
            return mid;
        if (p->marks[mid].pc < pc)
            lo = mid + 1;
        else
            hi = mid;
    }
    return -1;
}

void ir_prog_observe(IrProg *p)
{
    for (int n = 0; n < p->nsteps; n++) {
        if (p->steps[n].code == CODE(IR_ld, 0))
            p->steps[n].code = CODE_LD_OPS;
        else if (p->steps[n].code == CODE(IR_st, 0))
            p->steps[n].code = CODE_ST_OPS;
    }
}

/* The pc of the guest instruction that step s belongs to. */
static uint64_t step_pc(const IrProg *p, const Step *s)
{
    while (s->code != CODE(IR_mark, 0))
        s--;
    return s->in.imm;
}

/* ---- guest memory: a hit in the inline table, else through env->ops */

static inline bool tlb_hit(uint64_t va, uint64_t tag, MemOp m)
{
    if (m & (MO_ALIGN | MO_ATOMIC) && va & (mo_size(m) - 1))
        return false;
    return (va ^ tag) <= 4096 - mo_size(m);
}

static inline uint64_t swap_bytes(uint64_t v, MemOp m)
{
    return m & MO_BE ? __builtin_bswap64(v) >> (64 - 8 * mo_size(m)) : v;
}

/* Guest memory of any alignment; volatile: one access, as the guest made it. */
typedef volatile uint16_t __attribute__((aligned(1), may_alias)) Mem16;
typedef volatile uint32_t __attribute__((aligned(1), may_alias)) Mem32;
typedef volatile uint64_t __attribute__((aligned(1), may_alias)) Mem64;

static inline uint64_t load(Env *env, uint64_t va, MemOp m)
{
    const TlbEntry *e = &env->tlb[mo_ctx(m)][tlb_index(va)];
    const void *host = (const void *)(uintptr_t)(va + e->addend);

    if (!tlb_hit(va, e->rt, m))
        return env->ops->load(env, va, m);
    switch (m & MO_SIZE) {
    case MO_8:  return *(const volatile uint8_t *)host;
    case MO_16: return swap_bytes(*(const Mem16 *)host, m);
    case MO_32: return swap_bytes(*(const Mem32 *)host, m);
    default:    return swap_bytes(*(const Mem64 *)host, m);
    }
}

static inline void store(Env *env, uint64_t va, uint64_t v, MemOp m)
{
    const TlbEntry *e = &env->tlb[mo_ctx(m)][tlb_index(va)];
    void *host = (void *)(uintptr_t)(va + e->addend);

    if (!tlb_hit(va, e->wt, m)) {
        env->ops->store(env, va, v, m);
        return;
    }
    switch (m & MO_SIZE) {
    case MO_8:  *(volatile uint8_t *)host = v; break;
    case MO_16: *(Mem16 *)host = swap_bytes(v, m); break;
    case MO_32: *(Mem32 *)host = swap_bytes(v, m); break;
    default:    *(Mem64 *)host = swap_bytes(v, m); break;
    }
}

/* ---- running */

static inline bool polled(const Env *env)
{
    return __atomic_load_n(&env->poll, __ATOMIC_RELAXED);
}

#define A (*(const uint64_t *)(base[s->a] + s->in.a))
#define B (*(const uint64_t *)(base[s->b] + s->in.b))
#define C (*(const uint64_t *)(base[s->c] + s->in.c))
#define SET(v) (*(uint64_t *)(base[s->d] + s->in.d) = (v))

/*
 * Each op ends in its own jump to the next one's label, which the host predicts by
 * what usually follows this op; one switch for all would be one jump for all.
 */
#define NEXT goto *labels[(++s)->code]
#define JUMP(to) do { s = &p->steps[to]; goto *labels[s->code]; } while (0)
#define INT_LABELS(op) [CODE(IR_##op, 0)] = &&op##_64, [CODE(IR_##op, 1)] = &&op##_32,
#define INT_OP(op)                                                              \
    op##_64:                                                                    \
        SET(eval_int(IR_##op, IR_I64, s->in.aux, s->in.x, A, B, C));            \
        NEXT;                                                                   \
    op##_32:                                                                    \
        SET(eval_int(IR_##op, IR_I32, s->in.aux, s->in.x, A, B, C));            \
        NEXT;

IrExit ir_interp_run(const IrProg *p, Env *env, int mark, int64_t left)
{
    static const void *const labels[] = {
        [0 ... CODES - 1] = &&fp,       /* what has no label of its own is floating point */
        IR_INT_OPS(INT_LABELS)
        [CODE_SLOT_READ] = &&slot_read, [CODE_SLOT_WRITE] = &&slot_write,
        [CODE(IR_mark, 0)] = &&mark,
        [CODE(IR_ld, 0)] = &&ld, [CODE(IR_st, 0)] = &&st, [CODE_LD_OPS] = &&ld_ops, [CODE_ST_OPS] = &&st_ops,
        [CODE(IR_amo, 0)] = &&amo, [CODE(IR_cas, 0)] = &&cas, [CODE(IR_lr, 0)] = &&lr, [CODE(IR_sc, 0)] = &&sc,
        [CODE(IR_fence, 0)] = &&fence,
        [CODE(IR_br, 0)] = &&br_64, [CODE(IR_br, 1)] = &&br_32,
        [CODE(IR_gopc, 0)] = &&direct, [CODE(IR_callpc, 0)] = &&direct, [CODE(IR_goind, 0)] = &&goind,
        [CODE(IR_poll, 0)] = &&poll, [CODE(IR_exit, 0)] = &&exit, [CODE(IR_call, 0)] = &&call,
    };
    uint64_t values[p->nvalues + 1], v, key = env->ctxkey;
    char *const base[AREAS] = { (char *)env, (char *)values, (char *)p->consts };
    const Step *s;
    const IrHelper *h;
    int m;

    JUMP(p->marks[mark].step);

    IR_INT_OPS(INT_OP)

slot_read:
    values[s->in.d / 8] = *(uint32_t *)((char *)env + s->in.a);
    NEXT;
slot_write:
    *(uint32_t *)((char *)env + s->in.d) = values[s->in.a / 8];
    NEXT;

mark:
    if (left-- <= 0) {
        env->pc = s->in.imm;
        return EXIT_NEXT;
    }
    NEXT;

ld:
    v = load(env, A + s->in.imm, s->in.x);
    if (env->fault)
        goto fault;
    SET(eval_loaded(s->in.type, s->in.x, v, p->guest->nan_box));
    NEXT;
st:
    store(env, A + s->in.imm, B, s->in.x);
    if (env->fault)
        goto fault;
    NEXT;
ld_ops:
    v = env->ops->load(env, A + s->in.imm, s->in.x);
    if (env->fault)
        goto fault;
    SET(eval_loaded(s->in.type, s->in.x, v, p->guest->nan_box));
    NEXT;
st_ops:
    env->ops->store(env, A + s->in.imm, B, s->in.x);
    if (env->fault)
        goto fault;
    NEXT;
amo:
    v = env->ops->amo(env, A, B, s->in.x, s->in.aux);
    goto loaded;
cas:
    v = env->ops->cas(env, A, B, C, s->in.x);
    goto loaded;
lr:
    v = env->ops->lr(env, A, s->in.x);
loaded:
    if (env->fault)
        goto fault;
    SET(eval_loaded(s->in.type, s->in.x, v, false));
    NEXT;
sc:
    v = env->ops->sc(env, A, B, s->in.x);
    if (env->fault)
        goto fault;
    SET(v);
    NEXT;
fence:
    if (s->in.aux == FENCE_STLD)
        atomic_thread_fence(memory_order_seq_cst);
    NEXT;

br_64:
    if (eval_cc(IR_I64, s->in.aux, A, B))
        goto direct;
    NEXT;
br_32:
    if (eval_cc(IR_I32, s->in.aux, A, B))
        goto direct;
    NEXT;
direct:
    if (s->target < 0 || (s->backward && polled(env))) {
        env->pc = s->in.imm;
        return s->backward && polled(env) ? EXIT_POLL : EXIT_NEXT;
    }
    JUMP(s->target);
goind:
    /* A jump may stand behind a fence or a new mapping: only the dispatcher knows what is there now. */
    v = A;
    m = s->in.aux == IND_JUMP || env->ctxkey != key || env->mode != p->mode ? -1 : ir_prog_mark(p, v);
    if (m < 0 || polled(env)) {
        env->pc = v;
        return polled(env) ? EXIT_POLL : EXIT_NEXT;
    }
    JUMP(p->marks[m].step);
poll:
    if (polled(env)) {
        env->pc = s->in.imm;
        return EXIT_POLL;
    }
    NEXT;
exit:
    env->pc = s->in.imm;
    return s->in.aux;
call:
    h = &p->guest->helpers[s->in.x];
    v = h->fn(env, A, B, C);
    if (h->flags & HELPER_FAULTS && env->fault)
        goto fault;
    SET(v);
    NEXT;
fp:
    SET(ir_eval_fp(&s->in, env, A, B, C, p->guest));
    NEXT;

fault:
    env->pc = step_pc(p, s);
    return EXIT_FAULT;
}

IrExit ir_interp(const IrUnit *u, Env *env, int mark, int64_t max_marks)
{
    IrProg *p = ir_interp_prepare(u);
    IrExit why = ir_interp_run(p, env, mark, max_marks);

    ir_interp_free(p);
    return why;
}
