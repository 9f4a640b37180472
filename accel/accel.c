/* SPDX-License-Identifier: MIT */
/*
 * Chooses the accelerator, makes the vCPUs, ends them.
 */
#include <glib.h>
#include <string.h>

#include "accel/run.h"
#include "system/stream.h"
#include "system/vmconfig.h"
#include "target/isa.h"
#include "tcg/env.h"
#include "util/log.h"

static const Accel *const accels[] = { &accel_tcg };

static const Accel *accel_find(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(accels); i++)
        if (!strcmp(accels[i]->name, name))
            return accels[i];
    return NULL;
}

/* The first of a list "kvm:tcg" that is built in. */
static Err *accel_choose(const char *list, const Accel **out)
{
    char **names = g_strsplit(list ? list : "tcg", ":", -1);

    *out = accel_find(names[0] ? names[0] : "");
    for (char **n = names; *n && !*out; n++)
        if ((*out = accel_find(*n)) != NULL)
            err_note("there is no accelerator '%s'; '%s' is used instead", names[0], *n);
    g_strfreev(names);
    if (*out)
        return NULL;
    return err_hint(err(ERR_UNSUPPORTED, "no accelerator '%s'", list),
                    "-accel tcg is the one there is; it needs nothing of the host.");
}

static void reset_here(Vcpu *v, void *opaque)
{
    atomic_store(&v->halted, false);
    vcpu_answered(v);
    v->isa->reset(v);
    if (log_on(LOG_CPU_RESET) && v->isa->dump) {
        GString *s = g_string_new("reset\n");

        v->isa->dump(v, s);
        log_line("%s", s->str);
        g_string_free(s, true);
    }
}

/* In the vCPU's own thread: that may be flushing its tables, although it stands. */
static void vcpu_reset(void *opaque)
{
    vcpu_run_on(opaque, reset_here, NULL, true);
}

static void remapped(void *opaque, const Flat *was, const Flat *now)
{
    Vm *vm = opaque;

    if (vm->accel && vm->accel->remap)
        vm->accel->remap(vm, was, now);
}

static Err *vcpu_make(Vm *vm, int index)
{
    const VmConfig *c = vm->config;
    Vcpu *v = vcpu_new(vm, index);
    Err *e = err_in(vm->accel->vcpu(v), "vCPU %d", index);

    if (!e && (e = v->isa->vcpu_new(v, c->cpu, c->cpu_opts)) != NULL)
        vm->accel->vcpu_free(v);
    if (e) {
        vcpu_free(v);
        return e;
    }
    vm->vcpus[index] = v;
    vm->nvcpus = index + 1;
    reset_here(v, NULL);
    vm_on_reset(vm, vcpu_reset, v);
    return NULL;
}

static void vcpus_free(Vm *vm)
{
    for (int i = 0; i < vm->nvcpus; i++) {
        Vcpu *v = vm->vcpus[i];

        v->isa->vcpu_free(v);
        vm->accel->vcpu_free(v);
        vcpu_free(v);
    }
    g_free(vm->vcpus);
    vm->vcpus = NULL;
    vm->nvcpus = 0;
}

static void accel_end(Vm *vm)
{
    if (vm->accel->stop)
        vm->accel->stop(vm);
    accel_vm_free(vm->accel_state);
    vm->accel_state = NULL;
    vm->accel = NULL;
}

static Err *vcpus_make(Vm *vm)
{
    int n = vm->config->smp < 0 ? 0 : MAX(vm->config->smp, 1), started = 0;
    Err *e = NULL;

    vm->vcpus = g_new0(Vcpu *, n);
    for (int i = 0; i < n && !e; i++)
        e = vcpu_make(vm, i);
    /* Only when all are there: a thread may look at the others. */
    while (!e && started < n && !(e = vcpu_thread_start(vm->vcpus[started])))
        started++;
    if (!e)
        return NULL;
    for (int i = 0; i < started; i++)
        vcpu_thread_join(vm->vcpus[i]);
    vcpus_free(vm);
    return e;
}

Err *accel_start(Vm *vm)
{
    const Accel *a;

    TRY(accel_choose(vm->config->accel, &a));
    if (!vm->isa)
        return err(ERR_INVALID, "the machine has no guest architecture");
    vm->accel = a;
    vm->accel_state = accel_vm_new(vm);
    Err *e = a->init(vm);
    if (e) {
        accel_vm_free(vm->accel_state);
        vm->accel_state = NULL;
        vm->accel = NULL;
        return e;
    }
    e = vcpus_make(vm);
    if (e) {
        accel_end(vm);
        return e;
    }
    space_watch(vm->mem, remapped, vm);
    vcpus_saved(vm);
    return NULL;
}

void accel_stop(Vm *vm)
{
    if (!vm->accel)
        return;
    state_part_remove(vm, vm);
    for (int i = 0; i < vm->nvcpus; i++)
        vcpu_thread_join(vm->vcpus[i]);
    vcpus_free(vm);
    accel_end(vm);
}
