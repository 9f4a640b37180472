/* SPDX-License-Identifier: MIT */
/* The thread that reads monitors out of band: a loop of GLib's, started with the first client that wants it. */
#include "monitor/qmp/oob.h"

#include <signal.h>
#include <stdatomic.h>

typedef struct Oob {
    GMainContext *context;
    pthread_t thread;
    pthread_mutex_t lock;
    _Atomic bool ends;
} Oob;

static void lock(void *opaque)
{
    pthread_mutex_lock(&((Oob *)opaque)->lock);
}

static void unlock(void *opaque)
{
    pthread_mutex_unlock(&((Oob *)opaque)->lock);
}

static void *turn(void *opaque)
{
    Oob *o = opaque;

    while (!atomic_load(&o->ends))
        g_main_context_iteration(o->context, true);
    return NULL;
}

static void oob_free(Oob *o)
{
    g_main_context_unref(o->context);
    pthread_mutex_destroy(&o->lock);
    g_free(o);
}

/* NULL: the host gives no thread. Signals are the main thread's. */
static Oob *oob_new(void)
{
    Oob *o = g_new0(Oob, 1);
    sigset_t all, was;

    o->context = g_main_context_new();
    pthread_mutex_init(&o->lock, NULL);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    int r = pthread_create(&o->thread, NULL, turn, o);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (r) {
        oob_free(o);
        return NULL;
    }
    pthread_setname_np(o->thread, "qmp-oob");
    return o;
}

void oob_enter(Monitor *m)
{
    if (m->moved)
        lock(m->set->oob);
}

void oob_leave(Monitor *m)
{
    if (m->moved)
        unlock(m->set->oob);
}

void oob_move(Monitor *m)
{
    Monitors *set = m->set;

    if (m->moved || !chr_can_move(&m->port))
        return;
    if (!set->oob)
        set->oob = oob_new();
    if (!set->oob)
        return;
    const ChrPlace to = { set->oob->context, lock, unlock, set->oob };
    lock(set->oob);
    m->moved = true;
    chr_move(&m->port, &to);
    unlock(set->oob);
}

void oob_end(Monitors *set)
{
    Oob *o = set->oob;

    if (!o)
        return;
    atomic_store(&o->ends, true);
    g_main_context_wakeup(o->context);
    pthread_join(o->thread, NULL);
    for (Monitor *m = set->list; m; m = m->next) {
        if (m->moved)
            chr_move(&m->port, NULL);
        m->moved = false;
    }
    oob_free(o);
    set->oob = NULL;
}
