/* SPDX-License-Identifier: MIT */
/*
 * The accelerator contract, used alike by the translator and (later) KVM. accel/run.c owns
 * the vCPU threads, work, halting, stopping; an Accel runs guest code.
 */
#ifndef ACCEL_ACCEL_H
#define ACCEL_ACCEL_H

#include "system/vcpu.h"
#include "system/vm.h"

typedef enum VcpuExit {
    VCPU_KICKED,        /* look at work, stop, interrupts */
    VCPU_HALTED,        /* waits for an interrupt */
    VCPU_DEBUG,         /* breakpoint, watchpoint, single step */
    VCPU_SHUTDOWN, VCPU_RESET,      /* the guest ended the machine in a way only the engine sees */
    VCPU_REFUSED,       /* the engine can't run the instruction at pc: run.c interprets it and goes on */
} VcpuExit;

struct Accel {
    const char *name, *doc;
    Err     *(*init )(Vm *);                /* options are in vm->config */
    void     (*stop )(Vm *);                /* undoes init; the vCPUs are gone. May be NULL */
    Err     *(*vcpu )(Vcpu *);              /* gives it its Env and engine state */
    void     (*vcpu_free)(Vcpu *);
    VcpuExit (*run  )(Vcpu *);              /* in v's thread, until there is a reason */
    void     (*kick )(Vcpu *);              /* any thread */
    void     (*pull )(Vcpu *);              /* registers into env/state; NULL: they are always there */
    void     (*push )(Vcpu *);
    void     (*remap)(Vm *, const Flat *was, const Flat *now);
    void     (*dirty)(Vm *, RamBlock *);    /* fold the accelerator's dirty log into PageFlags */
    void     (*debug)(Vcpu *);              /* in v's thread: v->debug.set is another one now. NULL: can't be debugged */
    void     (*stats)(Vm *, GString *out);  /* -d stats */
};
extern const Accel accel_tcg;

/* Chooses by config ("tcg", "kvm:tcg"), initialises, makes config->smp vCPUs (reset, standing). */
Err *accel_start(Vm *vm);
void accel_stop(Vm *vm);            /* joins all vCPU threads */
/* One instruction of v on the IR interpreter, for REFUSED and single step. */
VcpuExit accel_interpret_one(Vcpu *v);

#endif
