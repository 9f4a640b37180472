/* SPDX-License-Identifier: MIT */
/*
 * The translator as an accelerator: its vtable, each vCPU's Env and memory, and
 * single instructions on the interpreter.
 */
#include "accel/tcg/tcg.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "accel/jit/jit.h"

/* ---- memory of a vCPU */

static void *pages_new(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

Err *tcg_vcpu_new(Vcpu *v)
{
    TcgVcpu *t = pages_new(sizeof(TcgVcpu));
    Env *env = pages_new(sizeof(Env));

    if (!t || !env) {
        int errnum = errno;

        if (t)
            munmap(t, sizeof(TcgVcpu));
        if (env)
            munmap(env, sizeof(Env));
        return err_errno(errnum, "cannot allocate the state of vCPU %d", v->index);
    }
    env_init(env);
    env->ops = &mmu_env_ops;
    env->vcpu = v;
    v->env = env;
    v->accel_state = t;
    t->v = v;
    t->env = env;
    t->space = v->vm->mem;
    env->mode = (v->vm->config->smp <= 1 ? MODE_ONE_VCPU : 0) | (v->vm->config->one_insn ? MODE_ONE_INSN : 0);
    mmu_init(t);
    Err *e = jit_vcpu_new(t);
    if (e)
        tcg_vcpu_free(v);
    return e;
}

void tcg_vcpu_free(Vcpu *v)
{
    TcgVcpu *t = tcg_vcpu(v);

    jit_vcpu_free(t);
    munmap(v->env, sizeof(Env));
    munmap(t, sizeof(TcgVcpu));
    v->env = NULL;
    v->accel_state = NULL;
}

/* ---- the machine */

static Err *tcg_init(Vm *vm)
{
    Tcg *tcg = g_new0(Tcg, 1);

    tcg->vm = vm;
    Err *e = jit_new(vm, &tcg->jit);
    if (e) {
        g_free(tcg);
        return e;
    }
    accel_vm(vm)->engine = tcg;
    ram_revoke_stores = mmu_revoke_all_writes;
    accel_vm(vm)->lends = vm->config->engine == ENGINE_JIT;
    return NULL;
}

static void tcg_stop(Vm *vm)
{
    Tcg *tcg = tcg_vm(vm);

    jit_free(tcg->jit);
    g_free(tcg);
}

static void flush_work(Vcpu *v, void *opaque)
{
    mmu_flush_everything(tcg_vcpu(v));
}

static void tcg_remap(Vm *vm, const Flat *was, const Flat *now)
{
    for (int i = 0; i < vm->nvcpus; i++)
        vcpu_run_on(vm->vcpus[i], flush_work, NULL, false);
}

static void tcg_debug(Vcpu *v)
{
    mmu_drop_inline(tcg_vcpu(v));
    jit_breaks(tcg_vm(v->vm)->jit, v->debug.set);
}

static VcpuExit tcg_run(Vcpu *v)
{
    switch (v->vm->config->engine) {
    case ENGINE_INTERP:   return interp_run(v);
    case ENGINE_LOCKSTEP: return lockstep_run(v);
    default:              return jit_run(v);
    }
}

static void tcg_stats(Vm *vm, GString *out)
{
    static const struct { const char *doc; size_t off; } rows[] = {
#define X(name, doc) { doc, offsetof(TcgStats, name) },
        TCG_STATS(X)
#undef X
    };

    for (int i = 0; i < vm->nvcpus; i++) {
        const TcgVcpu *t = tcg_vcpu(vm->vcpus[i]);

        g_string_append_printf(out, "vCPU %d\n", i);
        for (unsigned k = 0; k < G_N_ELEMENTS(rows); k++) {
            uint64_t n = *(const uint64_t *)((const char *)&t->stats + rows[k].off);

            if (n)
                g_string_append_printf(out, "  %-44s %12" PRIu64 "\n", rows[k].doc, n);
        }
        if (t->jit->lockstep)
            lockstep_print_stats(t->jit->lockstep, out);
    }
    jit_print_stats(tcg_vm(vm)->jit, out);
}

const Accel accel_tcg = {
    .name = "tcg", .doc = "translates the guest's instructions",
    .init = tcg_init, .stop = tcg_stop,
    .vcpu = tcg_vcpu_new, .vcpu_free = tcg_vcpu_free,
    .run = tcg_run, .remap = tcg_remap, .debug = tcg_debug, .stats = tcg_stats,
};

/* ---- one instruction */

/* IR for the instruction at env->pc; false: an exception was raised. */
static bool translate_one(TcgVcpu *t, IrUnit *u)
{
    uint64_t pc = t->env->pc, mode = t->env->mode;
    unsigned ctx = t->mmu.fetch_ctx, lo, hi;
    TranslateLimits one = { .max_insns = 1, .max_blocks = 1, .one_insn = true, .single_block = true };
    const ExecEntry *e = mmu_exec(t, pc, ctx, true);

    if (!e)
        return false;
    const uint8_t *page = jit_page_bytes(e->page);
    if (translate_unit(t->v, u, pc, mode, page, NULL, one, &lo, &hi) > 0)
        return true;
    e = mmu_exec(t, (pc | (PAGE_SIZE - 1)) + 1, ctx, true);
    if (!e)
        return false;
    translate_unit(t->v, u, pc, mode, page, jit_page_bytes(e->page), one, &lo, &hi);
    return true;
}

VcpuExit accel_interpret_one(Vcpu *v)
{
    TcgVcpu *t = tcg_vcpu(v);
    IrUnit *u = &t->jit->one;

    t->env->site = 0;
    if (!translate_one(t, u))
        return tcg_fault(t, t->env->pc);
    switch (ir_interp(u, t->env, 0, 1)) {
    case EXIT_FAULT: return tcg_fault(t, t->env->pc);
    case EXIT_HALT:  return VCPU_HALTED;
    case EXIT_DEBUG: return VCPU_DEBUG;
    default:         return VCPU_KICKED;
    }
}

/* It is done, and then stopped behind: gdb compares what was there before with what is there now. */
static VcpuExit watched_instruction(TcgVcpu *t)
{
    t->mmu.watched = true;
    VcpuExit why = accel_interpret_one(t->v);
    t->mmu.watched = false;
    return t->v->debug.what == DEBUG_WATCH && (why == VCPU_KICKED || why == VCPU_HALTED) ? VCPU_DEBUG : why;
}

VcpuExit tcg_fault(TcgVcpu *t, uint64_t pc)
{
    Retry retry = t->mmu.retry;
    VcpuExit why;

    t->env->site = 0;
    t->env->pc = pc;
    if (retry == RETRY_NONE) {
        t->stats.fault++;
        t->v->isa->enter_fault(t->v, pc);
        return VCPU_KICKED;
    }
    t->stats.retry++;
    t->mmu.retry = RETRY_NONE;
    t->env->fault = 0;
    if (retry == RETRY_SINGLE)
        return accel_interpret_one(t->v);
    if (retry == RETRY_WATCHED)
        return watched_instruction(t);
    vcpus_exclusive(t->v->vm, t->v);
    t->mmu.alone = true;
    why = accel_interpret_one(t->v);
    t->mmu.alone = false;
    vcpus_resume(t->v->vm, t->v);
    return why;
}
