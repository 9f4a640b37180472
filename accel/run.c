/* SPDX-License-Identifier: MIT */
/*
 * vCPU threads: work, standing, halting, interrupts, and the gate that lets one
 * thread be alone. What runs the guest is the Accel's affair.
 *
 * Nobody is woken for nothing: a kick sets env->poll, which the engine looks at,
 * and signals only when the thread sleeps. The sleeper announces itself
 * (sleeping) before it looks for reasons not to sleep; the kicker makes the
 * reason before it looks whether somebody sleeps; both in sequentially
 * consistent order, so one of them sees the other.
 */
#include "accel/run.h"

#include <errno.h>
#include <glib.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
#include <time.h>

#include "accel/debug.h"
#include "system/vmconfig.h"
#include "target/isa.h"
#include "tcg/env.h"

__thread Vcpu *current_vcpu;

enum { ALT_STACK = 64 * 1024, NAPS_MIN = 64, NAP_NS = 1000 * 1000, NAP_DOUBLINGS = 8 };

/* ---- signals between threads */

/* Who has announced its sleep under the lock is asleep once we have had the lock. It needs that again when it wakes. */
void vcpu_signal(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    pthread_mutex_unlock(&v->lock);
    pthread_cond_broadcast(&v->cond);
}

static void gate_signal(Gate *g)
{
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
}

static void kick_one(Vcpu *v)
{
    atomic_fetch_add(&v->kicks, 1);
    if (v->env)
        __atomic_store_n(&v->env->poll, 1, __ATOMIC_SEQ_CST);
    if (v->vm->accel && v->vm->accel->kick)
        v->vm->accel->kick(v);
    if (atomic_load(&v->sleeping))
        vcpu_signal(v);
}

void vcpu_kick(Vcpu *v)
{
    kick_one(v);
    /* Its thread is out on an errand: that has to come to an end. */
    Vcpu *guest = atomic_load(&v->guest), *host = atomic_load(&v->host);
    if (guest)
        kick_one(guest);
    /* Another's thread runs it, and may sleep in that one's affairs. */
    if (host && atomic_load(&host->sleeping))
        vcpu_signal(host);
    if (v->vm->accel_state && atomic_load(&accel_vm(v->vm)->gate.closed))
        gate_signal(&accel_vm(v->vm)->gate);
}

/* ---- work */

static bool work_waits(Vcpu *v)
{
    return __atomic_load_n(&v->work, __ATOMIC_SEQ_CST) != NULL;
}

/* While a thread is out on an errand: the other one of the two that it runs, whose work it does as well. */
static Vcpu *companion(Vcpu *v)
{
    Vcpu *host = atomic_load(&v->host);

    return host ? host : atomic_load(&v->guest);
}

static bool has_work(Vcpu *v)
{
    Vcpu *c = companion(v);

    return work_waits(v) || (c && work_waits(c));
}

static VcpuWork *work_take(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    VcpuWork *w = v->work;
    if (w)
        __atomic_store_n(&v->work, w->next, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&v->lock);
    return w;
}

static void work_done(Vcpu *v, VcpuWork *w)
{
    Vcpu *waiter = w->waiter;

    if (w->done) {
        pthread_mutex_lock(&v->lock);
        __atomic_store_n(w->done, true, __ATOMIC_SEQ_CST);
        pthread_cond_broadcast(&v->cond);
        pthread_mutex_unlock(&v->lock);
        if (waiter)
            vcpu_signal(waiter);
    }
    g_free(w);
}

static bool serve_one(Vcpu *v)
{
    Vcpu *was = current_vcpu;
    bool any = false;

    current_vcpu = v;
    for (VcpuWork *w; work_waits(v) && (w = work_take(v)) != NULL; any = true) {
        w->fn(v, w->opaque);
        work_done(v, w);
    }
    current_vcpu = was;
    return any;
}

bool vcpu_serve(Vcpu *v)
{
    Vcpu *c = companion(v);
    bool any = serve_one(v);

    return (c && serve_one(c)) || any;
}

static void work_queue(Vcpu *v, VcpuWork *w)
{
    pthread_mutex_lock(&v->lock);
    VcpuWork **at = &v->work;
    while (*at)
        at = &(*at)->next;
    __atomic_store_n(at, w, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&v->lock);
    vcpu_kick(v);
}

static bool work_is_done(Vcpu *v, const bool *done)
{
    pthread_mutex_lock(&v->lock);
    bool is = __atomic_load_n(done, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&v->lock);
    return is;
}

/* Looking for reasons is to be done each time anew: work that is done in between may have slept itself. */
void vcpu_announce_sleep(Vcpu *v)
{
    atomic_store(&v->sleeping, true);
}

/* Under v's lock: sleeps if still is true, and says that it is over. */
static void sleep_if(Vcpu *v, bool still)
{
    if (still)
        pthread_cond_wait(&v->cond, &v->lock);
    atomic_store(&v->sleeping, false);
}

/* A vCPU thread waits for another's work and does its own meanwhile. */
static void wait_as_vcpu(Vcpu *self, Vcpu *v, const bool *done)
{
    while (!work_is_done(v, done)) {
        if (vcpu_serve(self))
            continue;
        pthread_mutex_lock(&self->lock);
        vcpu_announce_sleep(self);
        /* work_done signals self after it has set *done: look again before sleeping. */
        sleep_if(self, !has_work(self) && !__atomic_load_n(done, __ATOMIC_SEQ_CST));
        pthread_mutex_unlock(&self->lock);
    }
}

static void wait_as_other(Vcpu *v, const bool *done)
{
    pthread_mutex_lock(&v->lock);
    while (!__atomic_load_n(done, __ATOMIC_SEQ_CST))
        pthread_cond_wait(&v->cond, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

void vcpu_run_on(Vcpu *v, void (*fn)(Vcpu *, void *), void *opaque, bool wait)
{
    Vcpu *self = current_vcpu;
    bool done = false, locked = vm_locked(v->vm);

    if (v == self) {
        fn(v, opaque);
        return;
    }
    VcpuWork *w = g_new(VcpuWork, 1);
    *w = (VcpuWork){ .fn = fn, .opaque = opaque, .done = wait ? &done : NULL, .waiter = wait ? self : NULL };
    if (wait && locked)
        vm_unlock(v->vm);
    work_queue(v, w);
    if (wait && self)
        wait_as_vcpu(self, v, &done);
    else if (wait)
        wait_as_other(v, &done);
    if (wait && locked)
        vm_lock(v->vm);
}

/* Asleep in wfi, and nobody else's thread runs it. It wakes, or is taken over, under its lock only. */
static bool rests(Vcpu *v)
{
    return atomic_load(&v->parked) && !atomic_load(&v->away);
}

bool vcpu_do_resting(Vcpu *v, void (*fn)(Vcpu *, void *), void *opaque)
{
    if (!rests(v))
        return false;
    pthread_mutex_lock(&v->lock);
    bool is = rests(v);
    if (is)
        fn(v, opaque);
    pthread_mutex_unlock(&v->lock);
    return is;
}

/* ---- the gate */

/* Waits outside until the gate opens. Work is done meanwhile, unless somebody is alone already. */
static void gate_wait(Vcpu *v, Gate *g)
{
    while (atomic_load(&g->closed)) {
        if (!atomic_load(&g->alone) && vcpu_serve(v))
            continue;
        pthread_mutex_lock(&v->lock);
        vcpu_announce_sleep(v);
        sleep_if(v, atomic_load(&g->closed) && (atomic_load(&g->alone) || !has_work(v)));
        pthread_mutex_unlock(&v->lock);
    }
}

static void gate_enter(Vcpu *v)
{
    Gate *g = &accel_vm(v->vm)->gate;

    for (;;) {
        atomic_store(&v->running, true);
        if (!atomic_load(&g->closed))
            return;
        atomic_store(&v->running, false);
        gate_signal(g);
        gate_wait(v, g);
    }
}

static void gate_leave(Vcpu *v)
{
    Gate *g = &accel_vm(v->vm)->gate;

    atomic_store(&v->running, false);
    if (atomic_load(&g->closed))
        gate_signal(g);
}

/* Waits on the gate's condition under its lock; a vCPU does its own work instead when there is some. */
static void gate_sleep(Gate *g, Vcpu *self)
{
    if (self && has_work(self)) {
        pthread_mutex_unlock(&g->lock);
        vcpu_serve(self);
        pthread_mutex_lock(&g->lock);
    } else {
        pthread_cond_wait(&g->cond, &g->lock);
    }
}

static bool others_run(Vm *vm, Vcpu *self)
{
    for (int i = 0; i < vm->nvcpus; i++)
        if (vm->vcpus[i] != self && atomic_load(&vm->vcpus[i]->running))
            return true;
    return false;
}

void vcpus_exclusive(Vm *vm, Vcpu *self)
{
    Gate *g = &accel_vm(vm)->gate;
    bool locked = vm_locked(vm), ran = self && atomic_load(&self->running);

    if (locked)
        vm_unlock(vm);
    /* Whoever is alone before us need not wait for us: we stand still in here. */
    if (ran)
        atomic_store(&self->running, false);
    pthread_mutex_lock(&g->lock);
    pthread_cond_broadcast(&g->cond);
    while (atomic_load(&g->closed))
        if (atomic_load(&g->alone))
            pthread_cond_wait(&g->cond, &g->lock);
        else
            gate_sleep(g, self);
    atomic_store(&g->closed, true);
    if (ran)
        atomic_store(&self->running, true);
    pthread_mutex_unlock(&g->lock);
    /* One that doesn't run yet will look at the gate after it has said that it does. */
    for (int i = 0; i < vm->nvcpus; i++)
        if (vm->vcpus[i] != self && atomic_load(&vm->vcpus[i]->running))
            vcpu_kick(vm->vcpus[i]);
    pthread_mutex_lock(&g->lock);
    while (others_run(vm, self))
        gate_sleep(g, self);
    atomic_store(&g->alone, true);
    pthread_mutex_unlock(&g->lock);
    if (locked)
        vm_lock(vm);
}

void vcpus_resume(Vm *vm, Vcpu *self)
{
    Gate *g = &accel_vm(vm)->gate;

    pthread_mutex_lock(&g->lock);
    atomic_store(&g->alone, false);
    atomic_store(&g->closed, false);
    pthread_cond_broadcast(&g->cond);
    pthread_mutex_unlock(&g->lock);
    for (int i = 0; i < vm->nvcpus; i++)
        if (vm->vcpus[i] != self && !rests(vm->vcpus[i]))
            vcpu_signal(vm->vcpus[i]);
}

/* ---- the thread */

static bool kept_standing(Vcpu *v)
{
    return (atomic_load(&v->stop) || atomic_load(&v->debug.held)) && !atomic_load(&v->exit);
}

/* Stands until vm_start; its work is done meanwhile. */
static void vcpu_stand(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    while (kept_standing(v)) {
        if (has_work(v)) {
            pthread_mutex_unlock(&v->lock);
            vcpu_serve(v);
            pthread_mutex_lock(&v->lock);
            continue;
        }
        atomic_store(&v->standing, true);
        vcpu_announce_sleep(v);
        pthread_cond_broadcast(&v->cond);
        sleep_if(v, !has_work(v));
    }
    atomic_store(&v->standing, false);
    pthread_mutex_unlock(&v->lock);
}

void vcpu_nap(Vcpu *v, int64_t ns)
{
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ns;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&v->cond, &v->lock, &until);
}

/*
 * wfi: sleeps until an interrupt, work, or the end. A guest may wait in a loop
 * for a word in memory to change, with an interrupt pending that it doesn't take
 * (firmware parks processors like that): after some turns it sleeps in each, longer
 * and longer, until an interrupt is raised, or raised again. Firmware that starts a
 * parked processor marks it before it has said where to start, and then interrupts it
 * (OpenSBI 1.1): one that looks all the time, or just when another vCPU gave it work to
 * do by running code for the first time, sees the mark too early, and starts astray.
 */
static void wake_or_nap(Vcpu *v, bool asked)
{
    int64_t now = clock_now(v->vm, CLOCK_REAL);

    if (++v->naps > NAPS_MIN && !v->nap_end)
        v->nap_end = now + ((int64_t)NAP_NS << MIN((v->naps - NAPS_MIN) / 2, NAP_DOUBLINGS));
    if (v->naps <= NAPS_MIN || atomic_exchange(&v->nudged, false) || now >= v->nap_end) {
        v->nap_end = 0;
        atomic_store(&v->halted, false);
    } else if (!asked) {
        vcpu_nap(v, v->nap_end - now);
    }
}

static void vcpu_halt(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    vcpu_announce_sleep(v);
    bool wakes = v->isa->wakes(v), asked = vcpu_asked(v);
    if (wakes) {
        wake_or_nap(v, asked);
    } else if (!asked) {
        v->naps = 0;
        atomic_store(&v->parked, true);
        do
            pthread_cond_wait(&v->cond, &v->lock);
        while (atomic_load(&v->away));
        atomic_store(&v->parked, false);
    }
    atomic_store(&v->sleeping, false);
    pthread_mutex_unlock(&v->lock);
}

static void vcpu_after(Vcpu *v, VcpuExit why)
{
    switch (why) {
    case VCPU_KICKED:   break;
    case VCPU_HALTED:   atomic_store(&v->halted, true); vcpu_answered(v); break;
    case VCPU_DEBUG:    debug_met(v); vm_request(v->vm, VM_DEBUG, 0); break;
    case VCPU_SHUTDOWN: vm_request(v->vm, VM_POWEROFF, 0); break;
    case VCPU_RESET:    vm_request(v->vm, VM_RESET, 0); break;
    case VCPU_REFUSED:  break;          /* vcpu_run has dealt with it */
    }
    /* The main thread will stop us: stand still until it does. */
    if (why == VCPU_DEBUG || why == VCPU_SHUTDOWN || why == VCPU_RESET)
        atomic_store(&v->stop, true);
}

static VcpuExit vcpu_run(Vcpu *v)
{
    const Accel *a = v->vm->accel;
    VcpuExit why = atomic_load(&v->debug.step) ? debug_step(v) : a->run(v);

    if (why != VCPU_REFUSED)
        return why;
    if (a->pull)
        a->pull(v);
    why = accel_interpret_one(v);
    if (a->push)
        a->push(v);
    return why;
}

bool vcpu_asked(Vcpu *v)
{
    return work_waits(v) || atomic_load(&v->stop) || atomic_load(&v->debug.held) || atomic_load(&v->exit);
}

void vcpu_enter(Vcpu *v)
{
    gate_enter(v);
    if (debug_takes_irqs(v) && v->isa->irq(v))
        v->naps = 0;
    vcpu_after(v, vcpu_run(v));
    gate_leave(v);
}

/* One turn: work, stop, halt, then the engine until it has a reason to leave. */
static void vcpu_turn(Vcpu *v)
{
    if (v->errands)
        vcpu_errands(v);
    if (v->awaiting)
        vcpu_await(v);
    __atomic_store_n(&v->env->poll, 0, __ATOMIC_SEQ_CST);
    vcpu_serve(v);
    if (kept_standing(v)) {
        vcpu_stand(v);
    } else if (atomic_load(&v->halted) && !atomic_load(&v->debug.step)) {
        vcpu_halt(v);
    } else {
        vcpu_enter(v);
    }
}

static void *alt_stack_new(void)
{
    void *p = mmap(NULL, ALT_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        return NULL;
    stack_t s = { .ss_sp = p, .ss_size = ALT_STACK };
    sigaltstack(&s, NULL);
    return p;
}

static void alt_stack_free(void *p)
{
    stack_t off = { .ss_flags = SS_DISABLE };

    sigaltstack(&off, NULL);
    if (p)
        munmap(p, ALT_STACK);
}

static void block_signals(void)
{
    sigset_t set;

    sigfillset(&set);
    sigdelset(&set, SIGSEGV);
    sigdelset(&set, SIGBUS);
    sigdelset(&set, SIGFPE);
    sigdelset(&set, SIGILL);
    sigdelset(&set, SIGTRAP);
    sigdelset(&set, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &set, NULL);
}

static void *vcpu_thread(void *opaque)
{
    Vcpu *v = opaque;
    char name[16];

    snprintf(name, sizeof(name), "vcpu%d", v->index);
    pthread_setname_np(pthread_self(), name);
    current_vcpu = v;
    pthread_mutex_lock(&v->lock);
    v->thread_id = gettid();
    pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->lock);
    void *stack = alt_stack_new();
    vcpu_stand(v);
    while (!atomic_load(&v->exit))
        vcpu_turn(v);
    vcpu_errands(v);
    vcpu_serve(v);
    alt_stack_free(stack);
    return NULL;
}

Err *vcpu_thread_start(Vcpu *v)
{
    sigset_t was;

    /* Blocked before it begins: it inherits the mask. */
    pthread_sigmask(SIG_SETMASK, NULL, &was);
    block_signals();
    int r = pthread_create(&v->thread, NULL, vcpu_thread, v);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (r)
        return err_errno(r, "cannot start the thread of vCPU %d", v->index);
    /* Clients pin threads by their numbers as soon as the machine is there. */
    pthread_mutex_lock(&v->lock);
    while (!v->thread_id)
        pthread_cond_wait(&v->cond, &v->lock);
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

void vcpu_thread_join(Vcpu *v)
{
    atomic_store(&v->exit, true);
    vcpu_kick(v);
    vcpu_signal(v);
    pthread_join(v->thread, NULL);
}

/* ---- making and freeing */

AccelVm *accel_vm_new(Vm *vm)
{
    AccelVm *a = g_new0(AccelVm, 1);

    pthread_mutex_init(&a->gate.lock, NULL);
    pthread_cond_init(&a->gate.cond, NULL);
    timer_init(&a->errand_timer, vm, CLOCK_REAL, vcpus_overdue, vm);
    return a;
}

void accel_vm_free(AccelVm *a)
{
    timer_del(&a->errand_timer);
    debug_dma_free(a);
    pthread_mutex_destroy(&a->gate.lock);
    pthread_cond_destroy(&a->gate.cond);
    g_free(a);
}

Vcpu *vcpu_new(Vm *vm, int index)
{
    Vcpu *v = g_new0(Vcpu, 1);

    v->vm = vm;
    v->index = index;
    v->isa = vm->isa;
    atomic_store(&v->stop, true);
    atomic_store(&v->standing, true);
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->cond, NULL);
    return v;
}

void vcpu_free(Vcpu *v)
{
    for (VcpuWork *w = v->work, *next; w; w = next) {
        next = w->next;
        g_free(w);
    }
    debug_set_unref(v->debug.set);
    pthread_mutex_destroy(&v->lock);
    pthread_cond_destroy(&v->cond);
    g_free(v);
}
