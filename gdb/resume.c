/* SPDX-License-Identifier: MIT */
/*
 * Going on: vCont with an action for each thread, c and s with their older
 * spelling. A thread that no action names stands while others run. Steps take no
 * interrupts, and the guest's clock stands still for them, unless gdb said
 * otherwise (qqemu.sstep).
 */
#include "dump/dump.h"
#include "gdb/gdb-priv.h"
#include "system/disks.h"
#include "system/state.h"
#include "util/err.h"

typedef struct Action { char how; /* c, s, r, t; 0: none */ uint64_t from, to; } Action;

static void prepare(Gdb *g, Vcpu *v, const Action *a)
{
    VcpuDebug *d = &v->debug;
    bool step = (a->how == 's' || a->how == 'r') && g->sstep & SSTEP_ENABLE;

    atomic_store(&d->held, a->how == 0 || a->how == 't');
    atomic_store(&d->step, step);
    d->irqs = !(g->sstep & SSTEP_NOIRQ);
    d->from = step && a->how == 'r' ? a->from : 0;
    d->to = step && a->how == 'r' ? a->to : 0;
    if ((a->how && a->how != 't') || d->what == DEBUG_BREAK)
        d->what = DEBUG_NOTHING;    /* a breakpoint is met again */
}

/* A machine that has ended does not go on. */
static bool may_run(const Vm *vm)
{
    return vm->state != RUN_SHUTDOWN && vm->state != RUN_INTERNAL_ERROR && vm->state != RUN_FINISH_MIGRATE && !vm->early;
}

/* What the console's cont refuses as well; the user reads why. */
static bool must_stand(Gdb *g)
{
    Vm *vm = g->vm;
    Err *e = NULL;

    if (dump_goes_on(vm))
        e = err(ERR_BUSY, "a dump is being written: the machine stands until that is done");
    else if (vm->state == RUN_FINISH_MIGRATE)
        e = err(ERR_BUSY, "the machine is on its way elsewhere");
    else if (vm->disks && !migrate_awaited(vm))
        e = disks_take_images(vm->disks);
    if (!e)
        return false;
    g_autofree char *text = g_strdup_printf("%s\n", err_text(e));
    console(g, text, strlen(text));
    err_free(e);
    return true;
}

static void go(Gdb *g, const Action *actions)
{
    Vm *vm = g->vm;
    bool steps = false, steps_only = true, any = false;

    for (int i = 0; i < vm->nvcpus; i++) {
        char how = actions[i].how;

        any |= how && how != 't';
        steps |= how == 's' || how == 'r';
        steps_only &= how == 's' || how == 0 || how == 't';
        /* Several met something at once, and only one could be told of. */
        if (how && how != 't' && event_pending(g, i)) {
            atomic_store(&gdb_vcpu(g, i)->debug.held, false);
            send_stop(g);
            return;
        }
    }
    if (!any) {
        reply_error(g, 22);
        return;
    }
    g->replied = g->waits = true;
    if (!may_run(vm)) {
        send_stop(g);
        return;
    }
    if (must_stand(g)) {
        send_stop(g);
        return;
    }
    points_apply(g, steps_only);
    if (migrate_awaited(vm)) {
        migrate_start_on_arrival(vm, true);     /* as all run then */
        return;
    }
    if (dma_pending(g)) {
        send_stop(g);
        return;
    }
    for (int i = 0; i < vm->nvcpus; i++)
        prepare(g, gdb_vcpu(g, i), &actions[i]);
    atomic_fetch_and(&vm->request, ~VM_DEBUG);      /* of a stop that was told already */
    vm->clock_stands = steps && g->sstep & SSTEP_ENABLE && g->sstep & SSTEP_NOTIMER;
    g->goes = true;
    vm_start(vm);
    g->goes = false;
    vm->clock_stands = false;
}

/* One action of vCont, without the ';' before it. */
static bool take_action(Gdb *g, PacketText *t, Action *a, int *index)
{
    uint64_t signal;

    if (text_over(t))
        return false;
    *a = (Action){ .how = *t->at++ };
    *index = ALL_THREADS - 1;
    switch (a->how) {
    case 'c': case 's': case 't':
        break;
    case 'C': case 'S':
        if (!take_hex(t, &signal))      /* a guest has no signals */
            return false;
        a->how = a->how == 'C' ? 'c' : 's';
        break;
    case 'r':
        if (!take_hex(t, &a->from) || !take_char(t, ',') || !take_hex(t, &a->to))
            return false;
        break;
    default:
        return false;
    }
    return !take_char(t, ':') || take_thread(g, t, index);
}

/* "vCont" was taken. The leftmost action that names a thread is its. */
void handle_vcont(Gdb *g, PacketText *t)
{
    g_autofree Action *actions = g_new0(Action, g->vm->nvcpus);

    while (take_char(t, ';')) {
        Action a;
        int index;

        if (!take_action(g, t, &a, &index)) {
            reply_error(g, 22);
            return;
        }
        for (int i = 0; i < g->vm->nvcpus; i++)
            if (!actions[i].how && (index < 0 || index == i))
                actions[i] = a;
    }
    if (text_over(t))
        go(g, actions);
    else
        reply_error(g, 22);
}

/* c [ADDRESS], C SIGNAL[;ADDRESS], s and S alike. */
void handle_continue(Gdb *g, PacketText *t, char how)
{
    g_autofree Action *actions = g_new0(Action, g->vm->nvcpus);
    uint64_t signal, addr;
    int one = g->resumes >= 0 ? g->resumes : g->thread;

    if ((how == 'C' || how == 'S') && (!take_hex(t, &signal) || (!text_over(t) && !take_char(t, ';')))) {
        reply_error(g, 22);
        return;
    }
    if (take_hex(t, &addr))
        set_pc(g, one, addr);
    for (int i = 0; i < g->vm->nvcpus; i++)
        if (g->resumes < 0 || i == one)
            actions[i].how = i == one && (how == 's' || how == 'S') ? 's' : 'c';
    go(g, actions);
}

static void free_all(Gdb *g)
{
    for (int i = 0; i < g->vm->nvcpus; i++) {
        VcpuDebug *d = &gdb_vcpu(g, i)->debug;

        atomic_store(&d->held, false);
        atomic_store(&d->step, false);
        d->what = DEBUG_NOTHING;
    }
}

void all_go(Gdb *g)
{
    points_apply(g, false);
    free_all(g);
}

void let_go(Gdb *g, bool run)
{
    /* It stops for a moment: what a vCPU is just meeting is nobody's concern any more. */
    bool ran = g->vm->state == RUN_RUNNING;

    g->attached = g->waits = false;
    if (ran)
        vm_stop(g->vm, RUN_PAUSED);
    points_clear(g);
    all_go(g);
    atomic_fetch_and(&g->vm->request, ~VM_DEBUG);
    if (run && migrate_awaited(g->vm))
        migrate_start_on_arrival(g->vm, true);
    else if ((run || ran) && may_run(g->vm) && !dump_goes_on(g->vm))
        vm_start(g->vm);
    else if (g->vm->state == RUN_DEBUG)
        g->vm->state = RUN_PAUSED;
}
