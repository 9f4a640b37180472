/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints, watchpoints and single steps, as far as they are the same in all
 * engines. Steps are instructions on the IR interpreter, so an engine needs
 * nothing for them.
 */
#include "accel/debug.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "accel/run.h"
#include "system/vmconfig.h"
#include "target/isa.h"
#include "tcg/env.h"

enum { STEPS_AT_ONCE = 1000 };

/* ---- sets */

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

DebugSet *debug_set_new(const uint64_t *breaks, int nbreaks, const Watchpoint *watches, int nwatches)
{
    DebugSet *s = g_new0(DebugSet, 1);

    s->refs = 1;
    s->breaks = g_memdup2(breaks, nbreaks * sizeof(breaks[0]));
    s->watches = g_memdup2(watches, nwatches * sizeof(watches[0]));
    s->nwatches = nwatches;
    if (nbreaks)
        qsort(s->breaks, nbreaks, sizeof(s->breaks[0]), by_value);
    for (int i = 0; i < nbreaks; i++)
        if (!s->nbreaks || s->breaks[s->nbreaks - 1] != s->breaks[i])
            s->breaks[s->nbreaks++] = s->breaks[i];
    return s;
}

DebugSet *debug_set_ref(DebugSet *s)
{
    if (s)
        atomic_fetch_add(&s->refs, 1);
    return s;
}

void debug_set_unref(DebugSet *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) > 1)
        return;
    g_free(s->breaks);
    g_free(s->watches);
    g_free(s);
}

bool debug_set_breaks(const DebugSet *s, uint64_t pc)
{
    return s && s->nbreaks && bsearch(&pc, s->breaks, s->nbreaks, sizeof(pc), by_value);
}

static void take_set(Vcpu *v, void *opaque)
{
    debug_set_unref(v->debug.set);
    v->debug.set = opaque;
    v->vm->accel->debug(v);
}

void debug_set_use(Vm *vm, DebugSet *set)
{
    if (!set)
        set = debug_set_new(NULL, 0, NULL, 0);
    set->serial = ++accel_vm(vm)->debug_serial;
    for (int i = 0; i < vm->nvcpus; i++)
        vcpu_run_on(vm->vcpus[i], take_set, debug_set_ref(set), false);
    debug_set_unref(set);
}

Err *debug_possible(const Vm *vm)
{
    if (!vm->accel || !vm->accel->debug)
        return err(ERR_UNSUPPORTED, "this accelerator's CPUs cannot be debugged");
    if (vm->config->engine == ENGINE_LOCKSTEP)
        return err_hint(err(ERR_UNSUPPORTED, "engine=lockstep cannot be debugged"), "engine=jit and engine=interp can.");
    return NULL;
}

/* ---- in the vCPU's thread */

void debug_met(Vcpu *v)
{
    if (v->debug.what == DEBUG_NOTHING)
        v->debug.what = DEBUG_BREAK;
}

/* wfi is an instruction like others to who steps: it is over at once. */
static void not_waiting(Vcpu *v)
{
    atomic_store(&v->halted, false);
    if (v->isa->go_on)
        v->isa->go_on(v);
}

static VcpuExit one(Vcpu *v)
{
    const Accel *a = v->vm->accel;

    not_waiting(v);
    if (a->pull)
        a->pull(v);
    VcpuExit why = accel_interpret_one(v);
    if (a->push)
        a->push(v);
    if (why != VCPU_HALTED)
        return why;
    not_waiting(v);
    return VCPU_KICKED;
}

static bool stepped_out(const Vcpu *v)
{
    uint64_t pc = v->env->pc;

    return pc < v->debug.from || pc >= v->debug.to || debug_set_breaks(v->debug.set, pc);
}

VcpuExit debug_step(Vcpu *v)
{
    for (int n = 0; n < STEPS_AT_ONCE; n++) {
        VcpuExit why = one(v);

        if (why != VCPU_KICKED)
            return why;
        if (stepped_out(v)) {
            v->debug.what = DEBUG_STEP;
            return VCPU_DEBUG;
        }
        if (v->debug.irqs || __atomic_load_n(&v->env->poll, __ATOMIC_SEQ_CST))
            break;
    }
    return VCPU_KICKED;
}
