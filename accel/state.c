/* SPDX-License-Identifier: MIT */
/*
 * vCPUs as a part of a machine's saved form: the registers that its IrGuest names,
 * by their names, what the Isa's table says of the rest, and whether it waits.
 * Reservations are dropped, as by an interrupt between lr and sc; translations and
 * TLBs are made anew.
 */
#include <string.h>

#include "accel/run.h"
#include "system/stream.h"
#include "target/isa.h"
#include "tcg/env.h"

enum { VCPU_VERSION = 1 };

static void open_name(char *name, size_t size, const Vcpu *v)
{
    g_snprintf(name, size, "vcpu/%d", v->index);
}

static unsigned version_of(const Vcpu *v)
{
    return MAX((unsigned)VCPU_VERSION, state_fields_version(v->isa->fields));
}

static uint64_t *slot(const Vcpu *v, const IrSlot *s)
{
    return (uint64_t *)((char *)v->env + s->off);
}

static void save_vcpu(Vcpu *v, StateOut *out)
{
    const IrGuest *g = v->isa->ir;
    char name[24];

    if (v->vm->accel && v->vm->accel->pull)
        v->vm->accel->pull(v);
    open_name(name, sizeof(name), v);
    state_begin(out, name, version_of(v));
    for (int i = 0; i < g->nslots; i++)
        state_put(out, g->slots[i].name, 8, slot(v, &g->slots[i]), 1);
    state_put_u64(out, "pc", v->env->pc);
    state_put_u64(out, "fp-flags", env_fp_flags(v->env));
    state_put_u64(out, "fp-round", v->env->fp_round);
    state_put_u64(out, "halted", atomic_load(&v->halted));
    state_put_fields(out, "", v->isa->fields, v->state);
}

static void nothing(Vcpu *v, void *opaque)
{
}

static void save(void *opaque, StateOut *out)
{
    Vm *vm = opaque;

    /* What was queued for them is done before: a software interrupt that another has sent, for one. */
    for (int i = 0; vm->accel && i < vm->nvcpus; i++)
        vcpu_run_on(vm->vcpus[i], nothing, NULL, true);
    for (int i = 0; i < vm->nvcpus; i++)
        save_vcpu(vm->vcpus[i], out);
}

static Err *check(void *opaque, StateIn *in)
{
    Vm *vm = opaque;

    for (int i = 0; i < vm->nvcpus; i++) {
        char name[24];

        open_name(name, sizeof(name), vm->vcpus[i]);
        TRY(state_open(in, name, version_of(vm->vcpus[i])));
    }
    return NULL;
}

static Err *load_vcpu(Vcpu *v, StateIn *in)
{
    const IrGuest *g = v->isa->ir;
    uint64_t flags, round, halted;
    char name[24];

    open_name(name, sizeof(name), v);
    TRY(state_open(in, name, version_of(v)));
    for (int i = 0; i < g->nslots; i++)
        TRY(state_get(in, g->slots[i].name, 8, slot(v, &g->slots[i]), 1));
    TRY(state_get_u64(in, "pc", UINT64_MAX, &v->env->pc));
    TRY(state_get_u64(in, "fp-flags", UINT8_MAX, &flags));
    TRY(state_get_u64(in, "fp-round", 7, &round));
    TRY(state_get_u64(in, "halted", 1, &halted));
    TRY(state_get_fields(in, "", v->isa->fields, v->state));
    env_set_fp_flags(v->env, flags);
    env_set_round(v->env, round);
    v->env->resv_addr = ENV_NO_RESV;
    v->env->fault = 0;
    atomic_store(&v->halted, halted);
    return state_close(in);
}

/* The vCPUs stand: their threads sleep, and see what is written here when they are let go. */
static Err *load(void *opaque, StateIn *in)
{
    Vm *vm = opaque;

    for (int i = 0; i < vm->nvcpus; i++)
        TRY(load_vcpu(vm->vcpus[i], in));
    return NULL;
}

typedef struct Finish { Err *e; } Finish;

static void finish_here(Vcpu *v, void *opaque)
{
    Finish *f = opaque;

    vcpu_answered(v);
    v->naps = 0;
    v->nap_end = 0;
    f->e = v->isa->loaded ? v->isa->loaded(v) : NULL;
    mmu_ops->flush_all(v);
    mmu_ops->mode_changed(v);
}

/* In their own threads, as the tables of an engine want it; what is a device's is loaded by now. */
static Err *finish(void *opaque)
{
    Vm *vm = opaque;

    for (int i = 0; i < vm->nvcpus; i++) {
        Vcpu *v = vm->vcpus[i];
        Finish f = { 0 };

        if (vm->accel)
            vcpu_run_on(v, finish_here, &f, true);
        else
            finish_here(v, &f);
        TRY(err_in(f.e, "vCPU %d", i));
        if (vm->accel && vm->accel->push)
            vm->accel->push(v);
    }
    return NULL;
}

static const StatePart part = { .name = "vcpus", .save = save, .check = check, .load = load, .finish = finish };

void vcpus_saved(Vm *vm)
{
    state_part_add(vm, &part, vm);
}
