/* SPDX-License-Identifier: MIT */
/*
 * I/O threads: each turns a loop until it is asked to end. The machine's list of
 * them is edited in the main thread under the machine lock, so that whoever holds
 * the lock, or is the main thread, may walk it.
 */
#include "system/iothread.h"

#include <errno.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct IoThread {
    Vm *vm;
    char *name;
    Loop *loop;
    pthread_t thread;
    int id;                     /* the host's number of it; written before 'begun' is posted */
    sem_t begun;
    bool end;                   /* its own thread's */
    IoThread *next;
};

/* ---- the thread */

static void *turn(void *opaque)
{
    IoThread *t = opaque;

    t->id = gettid();
    sem_post(&t->begun);
    while (!t->end)
        loop_turn(t->loop, true);
    return NULL;
}

static void ask_end(void *opaque)
{
    ((IoThread *)opaque)->end = true;
}

/* Signals are the main thread's. The thread has its number when this returns. */
static int start(IoThread *t)
{
    char name[16];
    sigset_t all, was;

    sem_init(&t->begun, 0, 0);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    int r = pthread_create(&t->thread, NULL, turn, t);
    pthread_sigmask(SIG_SETMASK, &was, NULL);
    if (!r) {
        while (sem_wait(&t->begun) && errno == EINTR)
            continue;
        snprintf(name, sizeof(name), "io-%s", t->name);
        pthread_setname_np(t->thread, name);
    }
    return r;
}

/* ---- the list */

static void lock_list(Vm *vm, bool *mine)
{
    *mine = !vm_locked(vm);
    if (*mine)
        vm_lock(vm);
}

static void enlist(IoThread *t)
{
    IoThread **p = &t->vm->iothreads;
    bool mine;

    lock_list(t->vm, &mine);
    while (*p)
        p = &(*p)->next;
    *p = t;
    if (mine)
        vm_unlock(t->vm);
}

static void unlist(IoThread *t)
{
    IoThread **p = &t->vm->iothreads;
    bool mine;

    lock_list(t->vm, &mine);
    while (*p != t)
        p = &(*p)->next;
    *p = t->next;
    if (mine)
        vm_unlock(t->vm);
}

IoThread *iothread_next(Vm *vm, IoThread *after)
{
    return after ? after->next : vm->iothreads;
}

IoThread *iothread_find(Vm *vm, const char *name)
{
    for (IoThread *t = vm->iothreads; t; t = t->next) {
        if (!strcmp(t->name, name))
            return t;
    }
    return NULL;
}

/* ---- life */

Err *iothread_new(Vm *vm, const char *name, IoThread **out)
{
    if (iothread_find(vm, name))
        return err(ERR_INVALID, "there is an I/O thread '%s' already", name);
    IoThread *t = g_new0(IoThread, 1);
    *t = (IoThread){ .vm = vm, .name = g_strdup(name) };
    Err *e = loop_new(0, &t->loop);
    int r = e ? 0 : start(t);

    if (r)
        e = err_errno(r, "no thread is to be had");
    if (e) {
        loop_free(t->loop);
        g_free(t->name);
        g_free(t);
        return err_in(e, "I/O thread '%s'", name);
    }
    enlist(t);
    *out = t;
    return NULL;
}

void iothread_free(IoThread *t)
{
    if (!t)
        return;
    /* Off the list first: what vm_after_safepoint posted before runs before the end does. */
    unlist(t);
    loop_call(t->loop, ask_end, t);
    pthread_join(t->thread, NULL);
    loop_free(t->loop);
    g_free(t->name);
    g_free(t);
}

const char *iothread_name(const IoThread *t)
{
    return t->name;
}

int iothread_id(const IoThread *t)
{
    return t->id;
}

Loop *iothread_loop(IoThread *t)
{
    return t->loop;
}

/* ---- work for it, waited for */

typedef struct Run {
    Loop *loop;
    void (*fn)(void *);
    void *arg;
    bool done;
    pthread_mutex_t lock;       /* guards done */
    pthread_cond_t cond;
} Run;

static void run_there(void *opaque)
{
    Run *r = opaque;

    r->fn(r->arg);
    pthread_mutex_lock(&r->lock);
    r->done = true;
    pthread_cond_signal(&r->cond);
    pthread_mutex_unlock(&r->lock);     /* r is gone from here on */
}

static void start_there(void *opaque)
{
    Run *r = opaque;

    co_start(r->loop, run_there, r);
}

void iothread_run(IoThread *t, void (*fn)(void *), void *arg)
{
    Run r = { .loop = t->loop, .fn = fn, .arg = arg };

    g_assert(!pthread_equal(pthread_self(), t->thread));
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.cond, NULL);
    loop_call(t->loop, start_there, &r);
    pthread_mutex_lock(&r.lock);
    while (!r.done)
        pthread_cond_wait(&r.cond, &r.lock);
    pthread_mutex_unlock(&r.lock);
    pthread_cond_destroy(&r.cond);
    pthread_mutex_destroy(&r.lock);
}
