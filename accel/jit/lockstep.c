/* SPDX-License-Identifier: MIT */
/*
 * engine=lockstep: each unit is verified, then runs first on the interpreter, with stores into a
 * log, then everything is put back, it runs as generated code, and all that a
 * guest can see is compared. The first difference ends the machine with a report.
 *
 * Units are single blocks that leave at once: env->poll stays set while they run, so
 * that backward edges and indirect jumps leave, direct edges are never linked,
 * and the return stack is empty. What this cannot see: links, jump cache, return stack
 * (their targets are only addresses here), stores that only generated code made far from
 * where it should have, and effects of helpers beyond the vCPU: units with such helpers
 * (HELPER_OUTSIDE) or with accesses to devices run as generated code alone, and
 * are counted. A unit that ran very often is compared only now and then, so that a
 * whole boot can be watched.
 *
 * vCPUs take turns, a unit each, so that they don't change memory between the two
 * runs. Devices still may, which makes harmless differences: when a difference shows,
 * memory that was loaded is looked at again; if it changed, the difference is forgiven
 * and counted.
 */
#include <glib.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

#include "accel/jit/dump.h"
#include "accel/jit/lockstep.h"
#include "util/log.h"

enum { UNITS_PER_TURN = 64 };

/* ---- saving and putting back */

static void save(Lockstep *k, Snapshot *s)
{
    memcpy(s->env, k->t->env, ENV_PART);
    memcpy(s->state, k->t->v->state, k->t->v->isa->state_size);
}

/* May byte `off` of the guest's state change under us? */
static const StateRange *shared_at(const Isa *isa, size_t off)
{
    for (const StateRange *r = isa->state_shared; r && r->size; r++)
        if (off >= r->off && off < r->off + r->size)
            return r;
    return NULL;
}

/* Puts the guest's state back, without what other threads write. */
static void restore_state(Lockstep *k, const Snapshot *s)
{
    const Isa *isa = k->t->v->isa;
    char *to = k->t->v->state;
    const char *from = s->state;

    if (!memcmp(to, from, isa->state_size))
        return;
    for (size_t off = 0; off < isa->state_size; off++) {
        const StateRange *r = shared_at(isa, off);

        if (r)
            off = r->off + r->size - 1;
        else if (to[off] != from[off])
            to[off] = from[off];
    }
}

static void save_stacks(Lockstep *k)
{
    const JitVcpu *jv = k->t->jit;

    memcpy(k->stack, jv->stack, sizeof(k->stack));
    k->stack_now = jv->stack_now;
    k->stack_next = jv->stack_next;
}

static void restore(Lockstep *k)
{
    JitVcpu *jv = k->t->jit;

    memcpy(k->t->env, k->before.env, ENV_PART);
    restore_state(k, &k->before);
    memcpy(jv->stack, k->stack, sizeof(k->stack));
    jv->stack_now = k->stack_now;
    jv->stack_next = k->stack_next;
    k->t->mmu.fetch_ctx = k->t->v->isa->fetch_ctx(k->t->env->mode);     /* kept with the mode that is back */
}

/* ---- comparing */

static const Env *env_of(const Snapshot *s)
{
    return (const Env *)s->env;     /* the part of it that is there */
}

static uint64_t slot_of(const void *env, const IrSlot *s)
{
    const char *at = (const char *)env + s->off;

    return s->type == IR_I32 ? *(const uint32_t *)at : *(const uint64_t *)at;
}

static void differ(GString *out, const char *name, uint64_t before, uint64_t want, uint64_t got)
{
    if (want != got)
        g_string_append_printf(out, "  %s: before %#" PRIx64 ", expected %#" PRIx64 ", got %#" PRIx64 "\n",
                               name, before, want, got);
}

static IrExit plain_exit(IrExit why)
{
    return why == EXIT_LINK || why == EXIT_POLL ? EXIT_NEXT : why;
}

/* Appends what differs between the interpreter's results and those that are in t now. */
static void compare(const Lockstep *k, IrExit want, IrExit got, GString *out)
{
    const Env *b = env_of(&k->before), *w = env_of(&k->expected), *g = k->t->env;
    const Isa *isa = k->t->v->isa;

    differ(out, "exit", 0, plain_exit(want), plain_exit(got));
    differ(out, "pc", b->pc, w->pc, g->pc);
    for (int i = 0; i < isa->ir->nslots; i++) {
        const IrSlot *s = &isa->ir->slots[i];

        if (slot_of(w, s) != slot_of(g, s))
            differ(out, s->name, slot_of(b, s), slot_of(w, s), slot_of(g, s));
    }
    differ(out, "fault", b->fault, w->fault, g->fault);
    differ(out, "mode", b->mode, w->mode, g->mode);
    differ(out, "fp flags", env_fp_flags(b), env_fp_flags(w), env_fp_flags(g));
    differ(out, "fp rounding", b->fp_round, w->fp_round, g->fp_round);
    differ(out, "reserved address", b->resv_addr, w->resv_addr, g->resv_addr);
    if (w->resv_addr != ENV_NO_RESV && w->resv_addr == g->resv_addr) {
        differ(out, "reserved value", b->resv_val, w->resv_val, g->resv_val);
        differ(out, "reserved size", b->resv_size, w->resv_size, g->resv_size);
    }
    if (isa->state_diff)
        isa->state_diff(k->expected.state, k->t->v->state, out);
    lockstep_memory_same(k, out);
}

/* ---- the report */

static void report_log(const Lockstep *k, FILE *f)
{
    fprintf(f, "\nmemory, as the interpreter used it\n");
    for (int n = 0; n < k->nlog; n++)
        fprintf(f, "  %s %u bytes at %#" PRIx64 ": %#" PRIx64 "\n", k->log[n].store ? "store" : "load ",
                k->log[n].size, k->log[n].va, k->log[n].val);
}

static void report_registers(const Lockstep *k, FILE *f)
{
    const IrGuest *g = k->t->v->isa->ir;

    fprintf(f, "\nregisters before the unit\n");
    for (int i = 0; i < g->nslots; i++)
        fprintf(f, "  %-10s %016" PRIx64 "%s", g->slots[i].name, slot_of(k->before.env, &g->slots[i]),
                i % 3 == 2 || i + 1 == g->nslots ? "\n" : "");
}

static void report_unit(const Lockstep *k, const Unit *u, FILE *f)
{
    Jit *j = jit_of(k->t);
    const Shape *s = u->shape;
    Dump d = { .isa = k->t->v->isa, .ir = u->ir, .page = jit_page_bytes(u->page[0]),
               .next_page = u->page[1] ? jit_page_bytes(u->page[1]) : NULL };

    dump_unit(f, &d, LOG_IN_ASM | LOG_OP);
    fprintf(f, "host code\n");
    dump_host(f, j->rw + u->hot, u->hot_end - u->hot, (uint64_t)(j->rw + j->delta) + u->hot, 2);
    fprintf(f, "out of line\n");
    dump_host(f, j->rw + u->cold, u->cold_end - u->cold, (uint64_t)(j->rw + j->delta) + u->cold, 2);
    fprintf(f, "where host code may call C\n");
    for (unsigned n = 0; n < s->nsites; n++)
        fprintf(f, "  %#" PRIx64 "  in the guest's %#" PRIx64 "\n",
                (uint64_t)(j->rw + j->delta) + (n < s->nhot_sites ? u->hot : u->cold) + s->sites[n].off,
                unit_mark_pc(u, s->sites[n].mark));
}

static void report(const Lockstep *k, const Unit *u, const char *what)
{
    FILE *f = log_begin();

    fprintf(f, "lockstep: vCPU %d, unit %#" PRIx64 ": generated code and interpreter differ, after %" PRIu64
            " units that agreed (%" PRIu64 " guest instructions)\n%s\n", k->t->v->index, u->va, k->stats.units,
            k->stats.insns, what);
    report_unit(k, u, f);
    report_log(k, f);
    report_registers(k, f);
    log_end();
}

/* Ends the machine; its exit status is 1. */
static void stop_machine(Vcpu *v)
{
    vm_request(v->vm, VM_QUIT, 1);
    atomic_store(&v->stop, true);
}

/* Before a unit's first run: the verifier looks at it. False: it broke a rule, and that was reported. */
static bool prepare(const Lockstep *k, Unit *u)
{
    Err *e = ir_check(u->ir);
    FILE *f;

    ir_prog_observe(u->prog);
    if (!e)
        return true;
    f = log_begin();
    fprintf(f, "lockstep: vCPU %d: the front end made a unit that breaks a rule of the IR: %s\n", k->t->v->index,
            err_text(e));
    report_unit(k, u, f);
    log_end();
    err_free(e);
    return false;
}

/* ---- one unit */

static bool reaches_outside(const Unit *u, const IrGuest *g)
{
    for (int n = 0; n < u->ir->n; n++)
        if (u->ir->insns[n].op == IR_call && g->helpers[u->ir->insns[n].x].flags & HELPER_OUTSIDE)
            return true;
    return false;
}

/* The interpreter's run; its results go to k->expected, everything else is put back. False: it gave up. */
static bool run_expected(Lockstep *k, const Unit *u, IrExit *why)
{
    Env *env = k->t->env;

    k->nlog = 0;
    k->unchecked = NULL;
    save(k, &k->before);
    save_stacks(k);
    env->ops = &lockstep_ops;
    *why = ir_interp_run(u->prog, env, 0, INT64_MAX);
    env->ops = &mmu_env_ops;
    if (!k->unchecked)
        save(k, &k->expected);
    restore(k);
    k->t->mmu.retry = RETRY_NONE;
    return !k->unchecked;
}

/* Runs generated code; after a fault env->pc is its instruction. */
static IrExit run_code(Lockstep *k, const Unit *u)
{
    Env *env = k->t->env;
    IrExit why;
    int mark;

    env->jit_rsp = env->jit_rsp_base;
    why = jit_enter(k->t, u->host);
    if (why == EXIT_UNGROUPED)          /* what it did until then is compared all the same */
        return ir_interp_run(u->prog, env, ir_prog_mark(u->prog, env->pc), INT64_MAX);
    if (why == EXIT_FAULT) {
        mark = unit_site_mark(jit_of(k->t), u, env->site);
        env->pc = mark < 0 ? UINT64_MAX : unit_mark_pc(u, mark);
    }
    return why;
}

/* Compares the two; false: they differ, and that was reported. */
static bool agree(Lockstep *k, const Unit *u, IrExit want, IrExit got)
{
    GString *what = g_string_new(NULL);
    bool same;

    compare(k, want, got, what);
    same = what->len == 0;
    if (!same && lockstep_raced(k)) {
        k->stats.raced++;
        same = true;
    }
    if (same) {
        k->stats.units++;
        k->stats.insns += u->shape->nmarks;
    } else {
        report(k, u, what->str);
    }
    g_string_free(what, true);
    return same;
}

/* The counter for a unit that this time is not compared; NULL: it is. Other vCPUs may count a unit's runs too: no matter. */
static uint64_t *left_out(Lockstep *k, Unit *u)
{
    if (reaches_outside(u, k->t->v->isa->ir))
        return &k->stats.outside;
    if (u->runs < OFTEN + OFTEN_EACH - 1)
        u->runs++;
    else
        u->runs = OFTEN;
    return u->runs > OFTEN ? &k->stats.hot : NULL;
}

/* Both runs of a unit. False: they differ. */
static bool run_both(Lockstep *k, Unit *u, IrExit *why)
{
    uint64_t *count = left_out(k, u);
    IrExit want;

    if (count) {
        ++*count;
        *why = run_code(k, u);
        return true;
    }
    if (!run_expected(k, u, &want)) {
        ++*k->unchecked;
        *why = run_code(k, u);
        return true;
    }
    lockstep_guard(k);
    *why = run_code(k, u);
    if (k->t->mmu.retry != RETRY_NONE) {
        k->stats.retried++;
        return true;
    }
    return agree(k, u, want, *why);
}

/* ---- the loop */

static Lockstep *lockstep_of(TcgVcpu *t)
{
    Lockstep *k = t->jit->lockstep;

    if (!k) {
        k = t->jit->lockstep = g_aligned_alloc0(1, sizeof(Lockstep), _Alignof(Lockstep));
        k->t = t;
        k->before.state = g_malloc(t->v->isa->state_size);
        k->expected.state = g_malloc(t->v->isa->state_size);
    }
    return k;
}

void lockstep_free(Lockstep *k)
{
    if (!k)
        return;
    g_free(k->before.state);
    g_free(k->expected.state);
    g_aligned_free(k);
}

void lockstep_print_stats(const Lockstep *k, GString *out)
{
    g_string_append(out, "  lockstep\n");
#define X(name, doc) \
    if (k->stats.name) \
        g_string_append_printf(out, "  %-60s %12" PRIu64 "\n", doc, k->stats.name);
    LOCKSTEP_STATS(X)
#undef X
}

/* One unit, in our turn. Returns -1 to go on, or why not. */
static int run_one(Lockstep *k)
{
    TcgVcpu *t = k->t;
    int exit = -1;
    Unit *u = dispatch_unit(t, &exit);
    IrExit why;

    if (!u)
        return exit;
    if ((u->runs == 0 && !prepare(k, u)) || !run_both(k, u, &why)) {
        stop_machine(t->v);
        return VCPU_KICKED;
    }
    if (why != EXIT_FAULT)
        return dispatch_left(t, why);
    VcpuExit e = tcg_fault(t, t->env->pc);
    return e == VCPU_KICKED ? -1 : (int)e;
}

VcpuExit lockstep_run(Vcpu *v)
{
    TcgVcpu *t = tcg_vcpu(v);
    Jit *j = jit_of(t);
    Lockstep *k = lockstep_of(t);
    int exit = -1;

    if (__atomic_load_n(&t->env->poll, __ATOMIC_SEQ_CST))
        return VCPU_KICKED;
    /* From here on others' kicks can't be told from ours: so we leave soon in any case. */
    __atomic_store_n(&t->env->poll, 1, __ATOMIC_SEQ_CST);
    for (int n = 0; n < UNITS_PER_TURN && exit < 0; n++) {
        /* Who waits for a turn goes on serving others: its holder may wait for that. */
        if (pthread_mutex_trylock(&j->turn)) {
            sched_yield();
            return VCPU_KICKED;
        }
        exit = run_one(k);
        pthread_mutex_unlock(&j->turn);
    }
    return exit < 0 ? VCPU_KICKED : exit;
}
