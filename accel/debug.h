/* SPDX-License-Identifier: MIT */
/*
 * What a debugger asks of the vCPUs of a machine, whichever engine runs them:
 * places where they stop, single steps, standing while others run.
 *
 * All places together are a DebugSet, which never changes: a new one replaces
 * the old one in each vCPU, in that vCPU's own thread and before it runs again.
 */
#ifndef ACCEL_DEBUG_H
#define ACCEL_DEBUG_H

#include <stdatomic.h>

#include "accel/accel.h"

enum { WATCH_READ = 1, WATCH_WRITE = 2 };

typedef struct Watchpoint {
    uint64_t addr, last;        /* the bytes, both ends included */
    uint32_t id;                /* the debugger's */
    uint8_t kinds;              /* WATCH_READ, WATCH_WRITE */
    bool physical;              /* addr is a physical address; else one as the guest's instructions have it */
    bool own;                   /* the stub's own, not gdb's */
} Watchpoint;

typedef struct DebugDma DebugDma;

typedef struct DebugSet {
    _Atomic int refs;
    uint64_t serial;            /* younger ones have greater numbers */
    int nbreaks, nwatches;
    uint64_t *breaks;           /* guest addresses of instructions, ascending, each once: stops before them */
    Watchpoint *watches;        /* stops behind the instruction that accesses them */
} DebugSet;

/* Counted references: made with one. NULL is no set. */
DebugSet *debug_set_new(const uint64_t *breaks, int nbreaks /* in any order */, const Watchpoint *watches, int nwatches);
DebugSet *debug_set_ref(DebugSet *s);
void debug_set_unref(DebugSet *s);
bool debug_set_breaks(const DebugSet *s, uint64_t pc);

/* From now on vCPUs stop where `set` says, and nowhere else. Under the machine lock; it may run. Takes the reference. */
void debug_set_use(Vm *vm, DebugSet *set /* NULL: nowhere */);
/* Can this machine's vCPUs be debugged? If not, says why. */
Err *debug_possible(const Vm *vm);

/*
 * Stores that no vCPU makes. Places are physical: bytes pa..last, which the debugger calls addr.. Under the machine
 * lock. Once one of them was stored to, VM_DEBUG is asked for, and debug_dma_met tells the first such store, once.
 */
typedef struct DebugPlace { uint64_t pa, last, addr; uint32_t id; } DebugPlace;
typedef struct DebugDmaHit {
    uint64_t addr;              /* the first watched byte, as the debugger calls it */
    uint64_t pa, len;           /* all that was stored, or may have been */
    uint32_t id;
} DebugDmaHit;
void debug_dma_use(Vm *vm, const DebugPlace *places, int n);
bool debug_dma_met(Vm *vm, DebugDmaHit *out);           /* false: *out stays */
void debug_dma_quiet(Vm *vm, bool quiet);       /* this thread's stores are the debugger's own */

/* ---- for run.c; in v's thread */
/* v leaves the engine with VCPU_DEBUG: why, if nobody has said so yet. */
void debug_met(Vcpu *v);
/* Instructions one by one, as v->debug says. */
VcpuExit debug_step(Vcpu *v);
static inline bool debug_takes_irqs(const Vcpu *v)
{
    return !atomic_load_explicit(&v->debug.step, memory_order_relaxed) || v->debug.irqs;
}

#endif
