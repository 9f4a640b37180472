/* SPDX-License-Identifier: MIT */
/*
 * Guest memory that is mapped from inside of an image (snapshot_disks.c): what is there belongs to a snapshot, which
 * may be deleted, or to an image that may be closed and changed by another. So a thread makes each page the
 * machine's own, while the guest runs, and who wants to change the image waits until that is done.
 *
 * A page is made one's own by a store that changes nothing: the host's kernel copies it then.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "system/state-priv.h"

enum { AT_ONCE = 1024 /* pages */, PAUSE_US = 10000 };

struct StateLoan {
    GArray *parts;                      /* of StateLoanPart */
    pthread_t thread;
    _Atomic bool hurry, stop;
    _Atomic int refs;                   /* the machine's and the node's */
    pthread_mutex_t lock; pthread_cond_t cond;
    bool done;                          /* under lock: it needs the image no more */
};

static void loan_unref(StateLoan *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->cond);
    g_array_unref(l->parts);
    g_free(l);
}

static void own(StateLoan *l, const StateLoanPart *p)
{
    for (size_t off = 0, n = 1; off < p->len && !atomic_load(&l->stop); off += PAGE_SIZE, n++) {
        atomic_fetch_or((_Atomic uint8_t *)(p->host + off), 0);
        if (n % AT_ONCE == 0 && !atomic_load(&l->hurry))
            g_usleep(PAUSE_US);
    }
}

static void *own_all(void *opaque)
{
    StateLoan *l = opaque;

    for (guint i = 0; i < l->parts->len; i++)
        own(l, &g_array_index(l->parts, StateLoanPart, i));
    pthread_mutex_lock(&l->lock);
    l->done = true;
    pthread_cond_broadcast(&l->cond);
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

/* Any thread but the loan's own. The memory is there until state_loan_end. */
static void give_back(void *opaque)
{
    StateLoan *l = opaque;

    atomic_store(&l->hurry, true);
    pthread_mutex_lock(&l->lock);
    while (!l->done)
        pthread_cond_wait(&l->cond, &l->lock);
    pthread_mutex_unlock(&l->lock);
    loan_unref(l);
}

Err *state_loan_begin(Vm *vm, const StateStore *s, GArray *parts)
{
    StateLoan *l = g_new0(StateLoan, 1);

    state_loan_end(vm);
    l->parts = g_array_ref(parts);
    atomic_store(&l->refs, 2);
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->cond, NULL);
    int r = pthread_create(&l->thread, NULL, own_all, l);
    if (r) {
        atomic_store(&l->refs, 1);
        loan_unref(l);
        return err_errno(r, "cannot start a thread");
    }
    state_of(vm)->loan = l;
    s->lend(s->opaque, give_back, l);
    return NULL;
}

void state_loan_end(Vm *vm)
{
    StateLoan *l = vm->saving ? vm->saving->loan : NULL;

    if (!l)
        return;
    atomic_store(&l->stop, true);
    pthread_join(l->thread, NULL);
    vm->saving->loan = NULL;
    loan_unref(l);
}
