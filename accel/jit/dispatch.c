/* SPDX-License-Identifier: MIT */
/*
 * The loops that run units: find the next one, enter it, deal with why it left.
 */
#include <inttypes.h>
#include <sched.h>
#include <time.h>

#include "accel/debug.h"
#include "accel/jit/jit.h"
#include "util/log.h"

enum { YIELDS = 16 };

/* Even, as all keys; its upper half differs from every canonical address by more than another address does. */
#define UNGROUPED_SALT UINT64_C(0x5aa55aa55aa55aa4)

/* ---- finding the unit at env->pc */

/* What a fetch that failed, or a unit that can't be kept, comes to. */
static Unit *instead(TcgVcpu *t, int *exit)
{
    VcpuExit why;

    /* A place to stop needs no code: gdb has functions that it calls return to a stack, which is not executable. */
    if (t->env->fault && t->mmu.retry == RETRY_NONE && debug_set_breaks(t->v->debug.set, t->env->pc)) {
        t->env->fault = 0;
        why = VCPU_DEBUG;
    } else if (t->env->fault) {
        why = tcg_fault(t, t->env->pc);
    } else if (jit_break_at(jit_of(t), t->env->pc)) {
        why = VCPU_DEBUG;
    } else {
        why = accel_interpret_one(t->v);
    }
    if (why != VCPU_KICKED)
        *exit = why;
    return NULL;
}

static void note_used(Unit *u)
{
    if (!atomic_load_explicit(&u->region->used, memory_order_relaxed))
        atomic_store_explicit(&u->region->used, true, memory_order_relaxed);
}

static Unit *find_unit(TcgVcpu *t, uint64_t extra_mode, int *exit)
{
    Jit *j = jit_of(t);

    t->stats.jc_miss++;
    for (;;) {
        uint64_t pc = t->env->pc;
        const ExecEntry *e = mmu_exec(t, pc, t->mmu.fetch_ctx, true);

        if (!e)
            return instead(t, exit);
        Unit *u = unit_find(j, t, e, pc, t->env->mode | extra_mode, true);
        if (u) {
            note_used(u);
            return u;
        }
        t->stats.hash_miss++;
        /* Translating may wait for others and do work meanwhile: look again with what is true then. */
        if (!jit_translate(t, e, pc, t->env->mode | extra_mode))
            return instead(t, exit);
    }
}

/*
 * The owner of the jump cache enters u; a unit that died meanwhile must not stay
 * in it. One that crosses pages stays out: it leaves when the second page's tag is
 * not set, and only dispatch_unit sets that. What has no tag any more may be under
 * a key that doesn't stand for it.
 */
static void jump_cache_fill(TcgVcpu *t, const Unit *u, uint64_t key)
{
    Env *env = t->env;
    JcEntry *e = &env->jc[jc_index(env->pc)];

    if (u->id2 || env->xt[t->mmu.fetch_ctx][(env->pc >> PAGE_BITS) % XT_SIZE] != u->id)
        return;
    __atomic_store_n(&e->key, JC_EMPTY, __ATOMIC_RELAXED);
    __atomic_store_n(&e->host, (void *)u->host, __ATOMIC_RELEASE);
    __atomic_store_n(&e->key, key, __ATOMIC_SEQ_CST);
    if (atomic_load(&u->dead))
        __atomic_store_n(&e->key, JC_EMPTY, __ATOMIC_SEQ_CST);
}

static const void *find_host(TcgVcpu *t, int *exit)
{
    Env *env = t->env;
    const JcEntry *e = &env->jc[jc_index(env->pc)];

    /* Without the page's tag we come from an edge that found it missing: dispatch_unit sets it. */
    if (__atomic_load_n(&e->key, __ATOMIC_RELAXED) == (env->pc ^ env->ctxkey)
        && env->xt[t->mmu.fetch_ctx][(env->pc >> PAGE_BITS) % XT_SIZE])
        return __atomic_load_n(&e->host, __ATOMIC_RELAXED);
    Unit *u = dispatch_unit(t, exit);
    if (!u)
        return NULL;
    jump_cache_fill(t, u, env->pc ^ env->ctxkey);
    return u->host;
}

/* ---- reasons to leave */

/* An exception in generated code: the site says which guest instruction. */
static int left_for_fault(TcgVcpu *t)
{
    Jit *j = jit_of(t);
    uint64_t site = t->env->site;
    Unit *u = cache_unit_at(j, site);
    int mark = u ? unit_site_mark(j, u, site) : -1;

    t->env->site = 0;
    if (mark < 0) {
        fprintf(stderr, "vCPU %d: an exception in generated code at %#" PRIx64 ", which is no known place\n",
                t->v->index, site);
        vm_request(t->v->vm, VM_PANIC, 1);
        return VCPU_SHUTDOWN;
    }
    VcpuExit why = tcg_fault(t, unit_mark_pc(u, mark));
    return why == VCPU_KICKED ? -1 : (int)why;
}

/*
 * A loop that only waits for another vCPU has turned ENV_SPIN times: that one may need our host CPU. One that is
 * still there after YIELDS waits for somebody whom the host doesn't run, and sleeps.
 */
static void waits(TcgVcpu *t)
{
    const struct timespec pause = { .tv_nsec = 50 * 1000 };

    t->stats.spin++;
    /* The other one may be the one whose thread runs us. */
    if (atomic_load(&t->v->away)) {
        vcpu_on_its_own(t->v);
        return;
    }
    if (atomic_load(&accel_vm(t->v->vm)->awaiting))
        vcpus_disturb(t->v);
    t->yields = t->stats.enter - t->yielded_at <= 2 ? t->yields + 1 : 0;
    t->yielded_at = t->stats.enter;
    if (t->yields < YIELDS)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

int dispatch_left(TcgVcpu *t, IrExit why)
{
    switch (why) {
    case EXIT_NEXT:
        t->stats.next++;
        return -1;
    case EXIT_FLUSH:
        t->stats.flush++;
        return -1;
    case EXIT_LINK:
        t->stats.edge++;
        return -1;
    case EXIT_UNGROUPED:
        return -1;
    case EXIT_POLL:
        t->stats.poll++;
        if (t->env->spin < 0) {
            t->env->spin = ENV_SPIN;
            waits(t);
        }
        return VCPU_KICKED;
    case EXIT_HALT:
        t->stats.halt++;
        return VCPU_HALTED;
    case EXIT_DEBUG:
        return VCPU_DEBUG;
    case EXIT_FAULT:
        return left_for_fault(t);
    }
    return -1;
}

Unit *dispatch_unit(TcgVcpu *t, int *exit)
{
    return find_unit(t, 0, exit);
}

/* As find_host, for code without groups. It is in the jump cache too, under keys that generated code never asks for. */
static const void *find_ungrouped(TcgVcpu *t, int *exit)
{
    Env *env = t->env;
    uint64_t key = env->pc ^ env->ctxkey ^ UNGROUPED_SALT;
    const JcEntry *e = &env->jc[jc_index(env->pc)];

    if (__atomic_load_n(&e->key, __ATOMIC_RELAXED) == key
        && env->xt[t->mmu.fetch_ctx][(env->pc >> PAGE_BITS) % XT_SIZE])
        return __atomic_load_n(&e->host, __ATOMIC_RELAXED);
    Unit *u = find_unit(t, MODE_UNGROUPED, exit);
    if (!u)
        return NULL;
    jump_cache_fill(t, u, env->pc ^ env->ctxkey ^ UNGROUPED_SALT);
    return u->host;
}

IrExit dispatch_enter(TcgVcpu *t, const void *host, int *exit)
{
    for (;;) {
        IrExit why = jit_enter(t, host);
        if (why != EXIT_UNGROUPED)
            return why;
        t->stats.ungrouped++;
        host = find_ungrouped(t, exit);
        if (!host)
            return EXIT_NEXT;
    }
}

/* May x lead to u? */
static bool linkable(const Exit *x, const Unit *u, uint64_t pc)
{
    if (!x->from || x->to || x->target != pc || (x->from->mode ^ u->mode) & ~(uint64_t)MODE_UNGROUPED)
        return false;
    if (atomic_load(&x->from->dead) || atomic_load(&u->dead))
        return false;
    return x->cross || x->from->id == u->id;
}

/* A direct edge was taken that leads to its stub: find the target, and link them. */
static void follow_link(TcgVcpu *t, uint64_t slot, int *exit)
{
    Jit *j = jit_of(t);
    uint64_t pc = t->env->pc;
    Unit *u = dispatch_unit(t, exit);

    if (!u)
        return;
    jump_cache_fill(t, u, t->env->pc ^ t->env->ctxkey);
    if (log_on(LOG_NOCHAIN))
        return;
    pthread_mutex_lock(&j->lock);
    /* The exit may have been evicted and its number used again: if it fits all the same, it may be linked. */
    Exit *x = &j->regions[slot >> 16].exits[slot & 0xffff];
    if (pc == t->env->pc && linkable(x, u, pc)) {
        exit_link(j, x, u);
        t->stats.link++;
    }
    pthread_mutex_unlock(&j->lock);
}

/* ---- the loops */

static void log_entry(TcgVcpu *t)
{
    if (log_on(LOG_EXEC) && log_wants(t->env->pc))
        log_line("exec: vCPU %d pc %#" PRIx64 " mode %#" PRIx64, t->v->index, t->env->pc, t->env->mode);
    if (log_on(LOG_CPU) && t->v->isa->dump) {
        GString *s = g_string_new(NULL);

        t->v->isa->dump(t->v, s);
        log_line("%s", s->str);
        g_string_free(s, true);
    }
}

static bool polled(TcgVcpu *t)
{
    if (atomic_load_explicit(&t->jit->drop, memory_order_relaxed))
        stacks_drop(t);
    return __atomic_load_n(&t->env->poll, __ATOMIC_SEQ_CST);
}

VcpuExit jit_run(Vcpu *v)
{
    TcgVcpu *t = tcg_vcpu(v);
    int exit = -1;

    while (exit < 0) {
        if (polled(t))
            return VCPU_KICKED;
        if (v->awaiting)
            __atomic_store_n(&t->env->poll, 1, __ATOMIC_SEQ_CST);   /* it comes back soon: vcpu_await */
        const void *host = find_host(t, &exit);
        if (!host)
            continue;
        if (log_on(LOG_EXEC | LOG_CPU))
            log_entry(t);
        IrExit why = dispatch_enter(t, host, &exit);
        if (exit >= 0)
            break;
        exit = dispatch_left(t, why);
        if (why == EXIT_LINK)
            follow_link(t, t->env->exit_slot, &exit);
    }
    return exit;
}

VcpuExit interp_run(Vcpu *v)
{
    TcgVcpu *t = tcg_vcpu(v);
    int exit = -1;

    while (exit < 0) {
        if (polled(t))
            return VCPU_KICKED;
        const Unit *u = find_host(t, &exit);
        if (!u)
            continue;
        if (log_on(LOG_EXEC | LOG_CPU))
            log_entry(t);
        t->stats.enter++;
        t->mmu.current = u;
        IrExit why = ir_interp_run(u->prog, t->env, 0, INT64_MAX);
        t->mmu.current = NULL;
        if (why == EXIT_FAULT) {
            VcpuExit e = tcg_fault(t, t->env->pc);

            if (e != VCPU_KICKED)
                exit = e;
        } else if (why != EXIT_NEXT) {
            exit = dispatch_left(t, why);
        }
    }
    return exit;
}
