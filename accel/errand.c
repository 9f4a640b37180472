/* SPDX-License-Identifier: MIT */
/*
 * Errands: a vCPU that sends an interrupt to one that sleeps runs it itself.
 *
 * Firmware that fences the translations of other harts interrupts each of them
 * and waits, turning in a loop, for its answer. Most of them are idle: to wake a
 * thread, wait until the host lets it run, and send it to sleep again costs many
 * times what the answer does, and the sender burns its CPU meanwhile. So the
 * sender's thread leaves the engine, takes the sleeper over (its own thread stays
 * asleep: `away`), and runs it until it waits again. Then the sender goes on and
 * finds its answer there.
 *
 * Kernels send interrupts to each other as well, to have a function called, or because there is something to run.
 * Often that is an answer, too, which the sender waits for; or it is done before a thread would have been woken.
 *
 * What turns out to be more than an answer is the sleeper's own affair: its
 * thread is woken and goes on with it (vcpu_on_its_own). That is so when it comes to a program, when it waits in a
 * loop (the sender may hold what it waits for), when somebody wants something of the sender, and when ERRAND_NS have
 * passed.
 *
 * Nothing gets lost, for the reason given in run.c: whoever promises an errand
 * has made the interrupt pending before it looks whether the other is parked, and
 * who parks looks for interrupts after having announced it. At the errand's end it is
 * announced anew.
 */
#include <sched.h>

#include "accel/run.h"
#include "target/isa.h"
#include "tcg/env.h"

enum { ERRAND_NS = 1000 * 1000, ERRAND_TURNS = 32, AWAIT_POLLS = 64, AWAIT_NS = 1000 * 1000 };

/* ---- waiting for answers of vCPUs that run */

static void await(Vcpu *self, Vcpu *v)
{
    if (v->index >= 64)
        return;
    if (!self->awaiting)
        atomic_fetch_add(&accel_vm(v->vm)->awaiting, 1);
    self->awaiting = true;
    self->await_polls = 0;
    self->await_kicks = atomic_load(&self->kicks);
    atomic_fetch_or(&self->awaits, 1ull << v->index);
    __atomic_store_n(&self->env->poll, 1, __ATOMIC_SEQ_CST);
}

static void await_end(Vcpu *self)
{
    if (!self->awaiting)
        return;
    self->awaiting = false;
    atomic_store(&self->awaits, 0);
    atomic_fetch_sub(&accel_vm(self->vm)->awaiting, 1);
}

void vcpu_answered(Vcpu *v)
{
    const AccelVm *a = accel_vm(v->vm);

    v->answered = true;
    await_end(v);
    if (!a || !atomic_load(&a->awaiting) || v->index >= 64)
        return;
    for (int i = 0; i < v->vm->nvcpus; i++) {
        Vcpu *w = v->vm->vcpus[i];
        uint64_t bit = 1ull << v->index;

        if (atomic_load(&w->awaits) & bit && atomic_fetch_and(&w->awaits, ~bit) & bit && atomic_load(&w->sleeping))
            vcpu_signal(w);
    }
}

/* Under self's lock, having announced its sleep: is there nothing that it should look at? */
static bool nothing_new(Vcpu *self)
{
    return atomic_load(&self->awaits) && atomic_load(&self->kicks) == self->await_kicks && !vcpu_asked(self);
}

static bool bad_nap(const Vcpu *self, uint64_t pc)
{
    return pc == self->bad_naps[0] || pc == self->bad_naps[1];
}

void vcpu_await(Vcpu *self)
{
    unsigned kicks = atomic_load(&self->kicks);

    if (!atomic_load(&self->awaits)) {
        await_end(self);
        return;
    }
    if (kicks != self->await_kicks) {
        self->await_kicks = kicks;
        self->await_polls = 0;
    }
    if (++self->await_polls < AWAIT_POLLS || bad_nap(self, self->env->pc))
        return;
    self->await_polls = 0;
    pthread_mutex_lock(&self->lock);
    atomic_store(&self->disturbed, false);
    atomic_store(&self->napping, true);
    vcpu_announce_sleep(self);
    if (nothing_new(self))
        vcpu_nap(self, AWAIT_NS);
    atomic_store(&self->sleeping, false);
    atomic_store(&self->napping, false);
    pthread_mutex_unlock(&self->lock);
    if (atomic_load(&self->disturbed)) {
        self->bad_naps[1] = self->bad_naps[0];
        self->bad_naps[0] = self->env->pc;
    }
}

/*
 * A loop that waits for an answer may take and drop a lock at each turn, and a
 * nap may come while it holds it. Whoever wants that lock turns in a loop that only
 * waits; that is noticed, the sleeper is woken, and takes no more naps at that place.
 */
void vcpus_disturb(Vcpu *self)
{
    Vm *vm = self->vm;

    for (int i = 0; i < vm->nvcpus; i++) {
        Vcpu *w = vm->vcpus[i];

        if (!atomic_load(&w->napping) || w->env->mode != self->env->mode)
            continue;
        atomic_store(&w->disturbed, true);
        vcpu_signal(w);
    }
}

/* ---- errands */

static bool may_lend(Vcpu *self, Vcpu *v)
{
    return self && self != v && self->vm == v->vm && accel_vm(v->vm)->lends && !atomic_load(&self->away);
}

static void kick_and_await(Vcpu *self, Vcpu *v, bool waits)
{
    vcpu_kick(v);
    if (waits)
        await(self, v);
}

void vcpu_interrupt(Vcpu *v, bool waits)
{
    Vcpu *self = current_vcpu;

    if (!may_lend(self, v)) {
        vcpu_kick(v);
        return;
    }
    if (!atomic_load(&v->parked) || atomic_exchange(&v->lent, true)) {
        kick_and_await(self, v, waits);
        return;
    }
    v->errand_waits = waits;
    v->errand_next = self->errands;
    self->errands = v;
    __atomic_store_n(&self->env->poll, 1, __ATOMIC_SEQ_CST);
}

void vcpu_on_its_own(Vcpu *v)
{
    if (!atomic_load_explicit(&v->away, memory_order_relaxed))
        return;
    atomic_store(&v->overdue, true);
    __atomic_store_n(&v->env->poll, 1, __ATOMIC_SEQ_CST);
}

/* Main thread, under the machine lock. */
void vcpus_overdue(void *opaque)
{
    Vm *vm = opaque;

    atomic_store(&accel_vm(vm)->watched, false);
    for (int i = 0; i < vm->nvcpus; i++) {
        vcpu_on_its_own(vm->vcpus[i]);
    }
}

static void watch(Vm *vm)
{
    AccelVm *a = accel_vm(vm);

    if (!atomic_load(&a->watched) && !atomic_exchange(&a->watched, true))
        timer_set(&a->errand_timer, clock_now(vm, CLOCK_REAL) + ERRAND_NS);
}

/* Takes v over from its thread, if that sleeps. */
static bool take(Vcpu *self, Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    bool free = atomic_load(&v->parked) && !atomic_load(&v->away) && atomic_load(&v->halted);
    if (free) {
        atomic_store(&v->host, self);
        atomic_store(&v->overdue, false);
        v->answered = false;
        atomic_store(&v->away, true);
        atomic_store(&v->sleeping, false);
    }
    pthread_mutex_unlock(&v->lock);
    return free;
}

/* Gives v back: its thread sleeps on, unless there is something to do. */
static void give_back(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    atomic_store(&v->away, false);
    atomic_store(&v->host, NULL);
    vcpu_announce_sleep(v);
    if (!atomic_load(&v->halted) || v->isa->wakes(v) || vcpu_asked(v))
        pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->lock);
}

/* One turn of v in self's thread; false when the errand is over. */
static bool errand_turn(Vcpu *self, Vcpu *v, bool first)
{
    __atomic_store_n(&v->env->poll, 0, __ATOMIC_SEQ_CST);
    vcpu_serve(v);
    if (vcpu_asked(v) || atomic_load(&v->overdue) || __atomic_load_n(&self->env->poll, __ATOMIC_SEQ_CST))
        return false;
    if ((first || atomic_load(&v->halted)) && !v->isa->wakes(v))
        return false;
    atomic_store(&v->halted, false);
    vcpu_enter(v);
    return true;
}

static void errand(Vcpu *self, Vcpu *v)
{
    bool waits = v->errand_waits;

    atomic_store(&v->lent, false);
    if (vcpu_asked(self) || !take(self, v)) {
        kick_and_await(self, v, waits);
        return;
    }
    watch(v->vm);
    /* What the sender is asked for while it is out sets its poll again: it looks at everything when it is back. */
    __atomic_store_n(&self->env->poll, 0, __ATOMIC_SEQ_CST);
    atomic_store(&self->guest, v);
    current_vcpu = v;
    for (unsigned n = 0; n < ERRAND_TURNS && errand_turn(self, v, n == 0); n++)
        continue;
    current_vcpu = self;
    atomic_store(&self->guest, NULL);
    bool answered = v->answered || atomic_load(&v->halted);
    give_back(v);
    if (waits && !answered)
        await(self, v);
}

void vcpu_errands(Vcpu *self)
{
    while (self->errands) {
        Vcpu *v = self->errands;

        self->errands = v->errand_next;
        v->errand_next = NULL;
        errand(self, v);
    }
}
