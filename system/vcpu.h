/* SPDX-License-Identifier: MIT */
/*
 * Vcpu: one virtual processor, whichever engine runs it. Its thread is accel/'s.
 */
#ifndef SYSTEM_VCPU_H
#define SYSTEM_VCPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "system/vm.h"

typedef struct Env Env;

/* Work for a vCPU, done by its thread between instructions (or at once when it stands). */
typedef struct VcpuWork {
    void (*fn)(Vcpu *v, void *opaque);
    void *opaque;
    struct VcpuWork *next;
    bool *done;                 /* set, and v->cond signalled, when it ran; NULL: nobody waits */
    Vcpu *waiter;               /* the vCPU whose thread waits for it, if it is one */
} VcpuWork;

/* What a vCPU met that a debugger asked for. */
typedef enum DebugWhat { DEBUG_NOTHING, DEBUG_BREAK, DEBUG_STEP, DEBUG_WATCH } DebugWhat;

/*
 * What a debugger wants of a vCPU, and what that met (accel/debug.h). Wishes change while it stands; the rest is its
 * own thread's, and others' while it stands.
 */
typedef struct VcpuDebug {
    _Atomic bool held;          /* it stands although the machine runs */
    _Atomic bool step;          /* instruction by instruction */
    bool irqs;                  /* .. and interrupts are taken between them */
    uint64_t from, to;          /* .. as long as pc is in [from, to) */
    struct DebugSet *set;       /* where it stops; NULL: nowhere */
    DebugWhat what;
    struct { uint64_t addr, va; uint32_t size, id; bool write; } access;   /* DEBUG_WATCH: of the watchpoint with that id */
} VcpuDebug;

struct Vcpu {
    Vm *vm;
    int index;
    const Isa *isa;
    Env *env;                   /* registers, and what generated code needs (tcg/env.h) */
    void *state;                /* the guest's own state: CSRs etc. (target/<isa>/state.h) */
    void *accel_state;          /* the engine's per-vCPU state */
    pthread_t thread;
    _Atomic int thread_id;      /* the host's number of it */
    pthread_mutex_t lock;       /* guards work list, stop, halted's change to false */
    pthread_cond_t cond;
    VcpuWork *work;             /* oldest first */
    _Atomic bool stop;          /* asked to stand (vm_stop) */
    _Atomic bool standing;      /* it stands: its state may be looked at by the holder of the machine lock */
    _Atomic bool halted;        /* waits for an interrupt (wfi) */
    _Atomic bool exit;          /* its thread shall end */
    _Atomic bool running;       /* it may be inside the engine: vcpus_exclusive waits for it to leave */
    unsigned naps;              /* waits in a row that ended at once, for a reason that stayed */
    int64_t nap_end;            /* of the wait that sleeps for that reason, CLOCK_REAL; 0: none does */
    _Atomic bool nudged;        /* an interrupt was raised, or again: such a sleep ends. Set before the kick */
    _Atomic bool sleeping;      /* its thread waits on cond, or is about to: a kick has to signal */
    /* accel/errand.c: another vCPU's thread runs this one for a moment */
    _Atomic bool parked;        /* its thread sleeps, halted, and may be left asleep */
    _Atomic bool away;          /* changed under lock: another's thread runs it, its own stays asleep */
    _Atomic bool lent;          /* it is on some vCPU's list of errands */
    _Atomic bool overdue;       /* the errand has taken too long, or is none */
    Vcpu *_Atomic host;         /* while away: whose thread it is */
    Vcpu *_Atomic guest;        /* whom our thread runs now */
    Vcpu *errands, *errand_next;        /* our thread's alone: whom it has to run, and the next on that list */
    bool errand_waits;          /* of who has lent it: the sender waits for its answer */
    bool answered;              /* of who runs it: since the errand began */
    /* and waits for another's answer */
    _Atomic uint64_t awaits;    /* a bit for each vCPU that has to answer; they clear them */
    bool awaiting;              /* our thread's alone, as is the next line: some bit was set */
    unsigned await_polls, await_kicks;
    _Atomic bool napping;       /* it sleeps in the midst of its guest's loop */
    _Atomic bool disturbed;     /* another waits for something that its guest holds meanwhile */
    uint64_t bad_naps[2];       /* our thread's alone: pcs where that happened */
    _Atomic unsigned kicks;     /* how often we were asked to look at something */
    VcpuDebug debug;
};

/*
 * Makes the vCPU look at its interrupts, work and stop soon: sets env->poll,
 * wakes it if it is halted. Any thread, no lock needed.
 */
void vcpu_kick(Vcpu *v);
/*
 * The same for an interrupt, made pending already, that another vCPU's guest sends: if v sleeps, the sender's thread
 * runs v itself, soon and for a moment. `waits`: the sender waits for an answer and does nothing else, as firmware
 * does; if v takes long, it sleeps.
 */
void vcpu_interrupt(Vcpu *v, bool waits);
/* What v was woken for turns out to be more than an answer: if another's thread runs it, its own goes on with it. */
void vcpu_on_its_own(Vcpu *v);
/* v's firmware returns to what it interrupted, or v is reset: it has answered, and awaits no answers. v's own thread. */
void vcpu_answered(Vcpu *v);
/* Queues fn for v's thread. Wait: returns when it was done; called by a vCPU thread, it does its own work meanwhile. */
void vcpu_run_on(Vcpu *v, void (*fn)(Vcpu *, void *), void *opaque, bool wait);
/*
 * Stops all other vCPUs between instructions (outside generated code) until vcpus_resume; calls nest not.
 * `self` is the calling vCPU or NULL (main thread). A caller that holds the machine lock is without it while it
 * waits: what it knew of the machine may be old when this returns (vcpu_run_on with wait does the same).
 * A vCPU that waits here inside a helper of generated code is stopped, but not outside that code.
 */
void vcpus_exclusive(Vm *vm, Vcpu *self);
void vcpus_resume(Vm *vm, Vcpu *self);
extern __thread Vcpu *current_vcpu;     /* of this thread, or NULL */

#endif
