/* SPDX-License-Identifier: MIT */
/*
 * One machine: its lock, its run state, what is asked of it, its main loop.
 *
 * vCPU threads and the main loop's sources take the lock for as long as they
 * touch the machine. vm_stop lets go of it while it waits for vCPUs to stand.
 */
#include "system/vm.h"

#include <errno.h>
#include <stdatomic.h>

#include "system/iothread.h"
#include "system/state.h"
#include "system/vcpu.h"
#include "system/vmconfig.h"
#include "util/yank.h"

typedef struct Reset { void (*fn)(void *opaque); void *opaque; } Reset;
typedef struct StateHook { void (*fn)(void *opaque, bool runs); void *opaque; } StateHook;

/* ---- the lock */

static __thread const Vm *held;     /* the machine whose lock this thread holds */

/*
 * Taken in turns. A vCPU that polls a device takes and drops the lock millions of
 * times a second, and a mutex alone would let it have it each time; the gate makes
 * it wait behind the thread that was there first.
 */
void vm_lock(Vm *vm)
{
    g_assert(!held);
    if (atomic_load(&vm->waiters) || pthread_mutex_trylock(&vm->lock)) {
        atomic_fetch_add(&vm->waiters, 1);
        pthread_mutex_lock(&vm->gate);
        pthread_mutex_lock(&vm->lock);
        pthread_mutex_unlock(&vm->gate);
        atomic_fetch_sub(&vm->waiters, 1);
    }
    held = vm;
}

void vm_unlock(Vm *vm)
{
    g_assert(held == vm);
    held = NULL;
    pthread_mutex_unlock(&vm->lock);
}

bool vm_locked(const Vm *vm)
{
    return held == vm;
}

/* ---- run state */

static void vcpu_go(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    v->stop = false;
    pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->lock);
}

static void vcpu_ask_stop(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    v->stop = true;
    pthread_cond_broadcast(&v->cond);
    pthread_mutex_unlock(&v->lock);
    vcpu_kick(v);
}

static void vcpu_wait_standing(Vcpu *v)
{
    pthread_mutex_lock(&v->lock);
    while (!v->standing)
        pthread_cond_wait(&v->cond, &v->lock);
    pthread_mutex_unlock(&v->lock);
}

void vm_on_state(Vm *vm, void (*fn)(void *, bool), void *opaque)
{
    StateHook *h = g_new(StateHook, 1);

    *h = (StateHook){ fn, opaque };
    g_ptr_array_add(vm->state_hooks, h);
}

void vm_off_state(Vm *vm, void *opaque)
{
    for (guint i = vm->state_hooks->len; i-- > 0;) {
        const StateHook *h = g_ptr_array_index(vm->state_hooks, i);

        if (h->opaque == opaque)
            g_ptr_array_remove_index(vm->state_hooks, i);
    }
}

/* In the order of registration, to stop in the opposite one. A hook may add and take away hooks. */
static void tell_state(Vm *vm, bool runs)
{
    guint n = vm->state_hooks->len;
    g_autofree StateHook **hooks = g_new(StateHook *, n + 1);

    for (guint i = 0; i < n; i++)
        hooks[i] = g_ptr_array_index(vm->state_hooks, runs ? i : n - 1 - i);
    for (guint i = 0; i < n; i++) {
        if (g_ptr_array_find(vm->state_hooks, hooks[i], NULL))
            hooks[i]->fn(hooks[i]->opaque, runs);
    }
}

static void go(Vm *vm)
{
    vm->state = RUN_RUNNING;
    tell_state(vm, true);
    clock_run(vm, !vm->clock_stands);       /* no guest time goes by before vCPUs do */
    for (int i = 0; i < vm->nvcpus; i++)
        vcpu_go(vm->vcpus[i]);
}

void vm_start(Vm *vm)
{
    if (vm->state == RUN_RUNNING)
        return;
    vm_event(vm, "RESUME", NULL);
    go(vm);
}

static void halt(Vm *vm, RunState why)
{
    if (vm->state == RUN_RUNNING) {
        /* The clock first: what a busy host lets us wait for vCPUs is no time of the guest, and the first of them stands. */
        clock_run(vm, false);
        for (int i = 0; i < vm->nvcpus; i++)
            vcpu_ask_stop(vm->vcpus[i]);
        /* One may be waiting for the lock, on its way to a device. */
        vm_unlock(vm);
        for (int i = 0; i < vm->nvcpus; i++)
            vcpu_wait_standing(vm->vcpus[i]);
        vm_lock(vm);
        vm->state = why;
        tell_state(vm, false);
    }
    vm->state = why;
}

void vm_stop(Vm *vm, RunState why)
{
    bool runs = vm->state == RUN_RUNNING;

    halt(vm, why);
    if (runs)
        vm_event(vm, "STOP", NULL);
}

/* ---- reset */

void vm_on_reset(Vm *vm, void (*fn)(void *), void *opaque)
{
    Reset *r = g_new(Reset, 1);

    *r = (Reset){ fn, opaque };
    g_ptr_array_add(vm->resets, r);
}

void vm_reset(Vm *vm)
{
    atomic_store(&vm->remade, true);
    for (guint i = 0; i < vm->resets->len; i++) {
        const Reset *r = g_ptr_array_index(vm->resets, i);

        r->fn(r->opaque);
    }
    atomic_store(&vm->remade, false);
}

/* ---- work for the main thread */

typedef struct Call { struct Call *next; void (*fn)(void *opaque); void *opaque; } Call;

void vm_call_main(Vm *vm, void (*fn)(void *), void *opaque)
{
    Call *call = g_new(Call, 1);

    *call = (Call){ atomic_load(&vm->calls), fn, opaque };
    while (!atomic_compare_exchange_weak(&vm->calls, &call->next, call))
        ;
    g_main_context_wakeup(vm->main_context);
}

/* Those that came since go behind those that are due. Under the lock, or alone. */
static void take_calls(Vm *vm)
{
    Call *list = NULL, **end = &vm->due;

    for (Call *c = atomic_exchange(&vm->calls, NULL), *next; c; c = next) {
        next = c->next;
        c->next = list;
        list = c;
    }
    while (*end)
        end = &(*end)->next;
    *end = list;
}

static Call *next_call(Vm *vm)
{
    Call *c = vm->due;

    if (c)
        vm->due = c->next;
    return c;
}

/* What is called for meanwhile is for the next turn. */
static void do_calls(Vm *vm)
{
    take_calls(vm);
    for (Call *c; (c = next_call(vm)) != NULL; g_free(c))
        c->fn(c->opaque);
}

void vm_forget_calls(Vm *vm, void *opaque)
{
    take_calls(vm);
    for (Call **p = &vm->due, *c; (c = *p) != NULL;) {
        if (c->opaque == opaque) {
            *p = c->next;
            g_free(c);
        } else {
            p = &c->next;
        }
    }
}

void *vm_take_call(Vm *vm, void (*fn)(void *))
{
    take_calls(vm);
    for (Call **p = &vm->due, *c; (c = *p) != NULL; p = &c->next) {
        void *opaque = c->opaque;

        if (c->fn != fn)
            continue;
        *p = c->next;
        g_free(c);
        return opaque;
    }
    return NULL;
}

typedef struct Safepoint { Vm *vm; _Atomic int left; Call then; } Safepoint;

static void io_passed_safepoint(void *opaque)
{
    Safepoint *s = opaque;

    if (atomic_fetch_sub(&s->left, 1) != 1)
        return;
    vm_call_main(s->vm, s->then.fn, s->then.opaque);
    g_free(s);
}

static void passed_safepoint(Vcpu *v, void *opaque)
{
    io_passed_safepoint(opaque);
}

/* I/O threads read Flats as well, and keep none from one turn of their loop to the next. */
void vm_after_safepoint(Vm *vm, void (*fn)(void *), void *opaque)
{
    int threads = vm->nvcpus;

    for (IoThread *t = NULL; (t = iothread_next(vm, t)) != NULL;)
        threads++;
    if (!threads) {
        vm_call_main(vm, fn, opaque);
        return;
    }
    Safepoint *s = g_new(Safepoint, 1);
    *s = (Safepoint){ vm, threads, { NULL, fn, opaque } };
    for (int i = 0; i < vm->nvcpus; i++)
        vcpu_run_on(vm->vcpus[i], passed_safepoint, s, false);
    for (IoThread *t = NULL; (t = iothread_next(vm, t)) != NULL;)
        loop_call(iothread_loop(t), io_passed_safepoint, s);
}

/* ---- requests and the main loop */

void vm_event(Vm *vm, const char *name, json_t *data)
{
    if (vm->on_event)
        vm->on_event(vm->event_opaque, name, data);
    else
        json_decref(data);
}

void vm_request(Vm *vm, VmRequest what, int status)
{
    vm_request_by(vm, what, status, what & VM_QUIT ? "host-ui" : what & VM_PANIC ? "guest-panic" :
                  what & VM_POWEROFF ? "guest-shutdown" : "guest-reset");
}

void vm_request_by(Vm *vm, VmRequest what, int status, const char *cause)
{
    if (what & (VM_QUIT | VM_POWEROFF | VM_PANIC | VM_RESET))
        vm->cause = cause;
    if (what & (VM_QUIT | VM_POWEROFF))
        vm->exit_status = status;
    atomic_fetch_or(&vm->request, what);
    g_main_context_wakeup(vm->main_context);
}

void vm_request_stop(Vm *vm, RunState as)
{
    vm->stop_as = as;
    vm_request(vm, VM_STOP, 0);
}

static bool chosen(int action, bool config)
{
    return action ? action - 1 : config;
}

bool vm_stays(const Vm *vm)
{
    return chosen(vm->actions.no_shutdown, vm->config->no_shutdown);
}

/* SHUTDOWN and RESET: who it came from. */
static void tell_cause(Vm *vm, const char *event)
{
    const char *cause = vm->cause;

    vm_event(vm, event, json_pack("{s:b, s:s}", "guest", g_str_has_prefix(cause, "guest-"), "reason", cause));
}

static void do_reset(Vm *vm)
{
    bool runs = vm->state == RUN_RUNNING;

    halt(vm, vm->state);
    vm_reset(vm);
    tell_cause(vm, "RESET");
    if (runs)
        go(vm);
    else if (vm->state != RUN_FINISH_MIGRATE)
        vm->state = RUN_PRELAUNCH;      /* whatever it stood for is over */
}

/* Carries out what was asked; false: the machine shall end, with vm->exit_status. */
static bool obey(Vm *vm)
{
    int asked = atomic_exchange(&vm->request, 0);

    if (asked & VM_QUIT) {
        tell_cause(vm, "SHUTDOWN");
        return false;
    }
    if (asked & VM_RESET && chosen(vm->actions.no_reboot, vm->config->no_reboot)) {
        vm->exit_status = 0;
        asked = (asked & ~VM_RESET) | VM_POWEROFF;
    }
    if (asked & VM_PANIC) {
        vm->exit_status = 1;
        asked |= VM_POWEROFF;
    }
    if (asked & VM_POWEROFF) {
        tell_cause(vm, "SHUTDOWN");
        vm_stop(vm, RUN_SHUTDOWN);
        return vm_stays(vm);
    }
    if (asked & VM_RESET)
        do_reset(vm);
    if (asked & VM_STOP) {
        RunState as = atomic_exchange(&vm->stop_as, RUN_PRELAUNCH);

        vm_stop(vm, as == RUN_PRELAUNCH ? RUN_PAUSED : as);
    }
    /* Devices may store to watched memory when the machine stands already, for whatever reason. */
    if (asked & VM_DEBUG && vm->state == RUN_RUNNING)
        vm_stop(vm, RUN_DEBUG);
    return true;
}

bool vm_turn(Vm *vm, bool wait)
{
    bool goes_on = true;

    /* Both are set before the context is woken, so none that comes after this look is slept over. */
    g_main_context_iteration(vm->main_context, wait && !atomic_load(&vm->request) && !atomic_load(&vm->calls));
    if (atomic_load(&vm->request) || atomic_load(&vm->calls)) {
        vm_lock(vm);
        do_calls(vm);
        goes_on = obey(vm);
        vm_unlock(vm);
    }
    return goes_on;
}

/* From a reset, from a snapshot, or, later, from what another process sends. */
static Err *begin(Vm *vm)
{
    const VmConfig *c = vm->config;
    bool start = !c->start_paused && !atomic_load(&vm->request);

    if (c->loadvm)
        TRY(err_in(snapshot_load(vm, c->loadvm), "-loadvm"));
    vm->loading = c->incoming;
    if (!c->loadvm)
        vm_reset(vm);
    vm->loading = false;
    if (c->incoming)
        return err_in(migrate_incoming(vm, c->incoming, start), "-incoming");
    if (start)
        vm_start(vm);
    if (c->loadvm)
        snapshot_trace_start(vm);
    return NULL;
}

int vm_main(Vm *vm)
{
    vm->early = vm->config->preconfig;
    while (vm->early) {
        if (!vm_turn(vm, true))
            return vm->exit_status;
    }
    vm_lock(vm);
    Err *e = begin(vm);
    vm_unlock(vm);
    if (e) {
        err_report(e);
        return 1;
    }
    while (vm_turn(vm, true))
        ;
    migration_end(vm);
    vm_lock(vm);
    halt(vm, RUN_SHUTDOWN);
    state_loan_end(vm);
    vm_unlock(vm);
    return vm->exit_status;
}

Vm *vm_new(const VmConfig *config)
{
    Vm *vm = g_new0(Vm, 1);

    vm->config = config;
    pthread_mutex_init(&vm->lock, NULL);
    pthread_mutex_init(&vm->gate, NULL);
    vm->main_context = g_main_context_new();
    vm->yanks = yanks_new();
    vm->resets = g_ptr_array_new_with_free_func(g_free);
    vm->state_hooks = g_ptr_array_new_with_free_func(g_free);
    vm->mem = space_new(vm, "memory");
    vm->clocks = clocks_new(vm);
    if (!vm->clocks) {
        int errnum = errno;

        vm_free(vm);
        errno = errnum;
        return NULL;
    }
    return vm;
}

/* The board and the accelerator are gone already; so are the vCPUs. */
void vm_free(Vm *vm)
{
    while (vm->iothreads)
        iothread_free(vm->iothreads);
    state_free(vm);
    yanks_free(vm->yanks);
    clocks_free(vm->clocks);
    g_main_context_unref(vm->main_context);
    take_calls(vm);
    for (Call *c; (c = next_call(vm)) != NULL;)
        g_free(c);
    space_free(vm->mem);
    for (RamBlock *b = vm->rams, *next; b; b = next) {
        next = b->next;
        ram_free(b);
    }
    g_ptr_array_free(vm->resets, true);
    g_ptr_array_free(vm->state_hooks, true);
    pthread_mutex_destroy(&vm->lock);
    pthread_mutex_destroy(&vm->gate);
    g_free(vm);
}
