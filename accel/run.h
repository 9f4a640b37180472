/* SPDX-License-Identifier: MIT */
/*
 * What the accelerator's side of a Vm holds, whichever engine runs, and the
 * gate through which vCPUs enter the engine.
 *
 * Lock order, outermost first: the gate's owner (vcpus_exclusive .. vcpus_resume),
 * the machine lock, the engine's locks, a vCPU's lock, the gate's lock. Whoever
 * waits for a vCPU first lets go of the machine lock, so a vCPU on its way to a
 * device always gets through.
 */
#ifndef ACCEL_RUN_H
#define ACCEL_RUN_H

#include <pthread.h>
#include <stdatomic.h>

#include "accel/accel.h"
#include "system/clock.h"

typedef struct Gate {
    pthread_mutex_t lock;
    pthread_cond_t cond;        /* a vCPU left the engine, the owner is done, or there is work */
    _Atomic bool closed;        /* somebody is, or wants to be, alone: nobody enters */
    _Atomic bool alone;         /* the owner is alone; no work is done by others until it is through */
} Gate;

typedef struct AccelVm {
    Gate gate;
    void *engine;               /* the Accel's own */
    bool lends;                 /* any thread may run any vCPU */
    _Atomic bool watched;       /* errand_timer is set */
    Timer errand_timer;
    _Atomic int awaiting;       /* how many vCPUs await answers */
    uint64_t debug_serial;      /* of the last DebugSet; machine lock */
    struct DebugDma *dma;       /* debug_dma.c's; NULL: no debugger ever asked */
} AccelVm;

static inline AccelVm *accel_vm(const Vm *vm) { return vm->accel_state; }

/* Does v's work, oldest first, in v's own thread or the one that runs it. True if there was some. */
bool vcpu_serve(Vcpu *v);
/* For errand.c: does something ask v to leave off? Enters the engine until it has a reason to leave. */
bool vcpu_asked(Vcpu *v);
void vcpu_enter(Vcpu *v);
void vcpu_signal(Vcpu *v);
/*
 * Does fn for v in this thread if v's own sleeps in wfi, which it goes on doing; false: it doesn't sleep there. fn is
 * called under v's lock: it may touch what is v's alone, and wakes nobody.
 */
bool vcpu_do_resting(Vcpu *v, void (*fn)(Vcpu *, void *), void *opaque);
/* Under v's lock: announces v's sleep. Reasons to stay awake are looked for after this. */
void vcpu_announce_sleep(Vcpu *v);
/* The timer of errands: those that take long shall end. */
void vcpus_overdue(void *vm);
/* Runs those whom v's thread has promised to run. */
void vcpu_errands(Vcpu *v);
/* v's guest waits for an answer: lets it look again, or sleeps a little when it has looked often enough. */
void vcpu_await(Vcpu *v);
/* v's guest waits in a loop, for whatever: somebody who naps may hold it. */
void vcpus_disturb(Vcpu *v);
/* Under v's lock: sleeps that long, or until it is signalled. */
void vcpu_nap(Vcpu *v, int64_t ns);
/* Makes the AccelVm, without vCPUs or an engine; for accel_start and for tests. */
AccelVm *accel_vm_new(Vm *vm);
void accel_vm_free(AccelVm *a);
void debug_dma_free(AccelVm *a);
/* A Vcpu with its lock and condition, standing and without a thread. */
Vcpu *vcpu_new(Vm *vm, int index);
void vcpu_free(Vcpu *v);
/* The vCPUs are a part of what is saved (state.c); for accel_start and for tests. */
void vcpus_saved(Vm *vm);
/* Starts and joins the thread. */
Err *vcpu_thread_start(Vcpu *v);
void vcpu_thread_join(Vcpu *v);

#endif
