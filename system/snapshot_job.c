/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of the machine as jobs (snapshot-save, -load, -delete): the job lives
 * with the others in the thread "disks" and waits there while the main thread
 * does the work, which is snapshot.c's and needs the machine lock.
 *
 * The work is not broken off: a job that is cancelled before it has begun does nothing, later it
 * ends as it would have.
 */
#include <stdatomic.h>

#include "block/job.h"
#include "system/disks-priv.h"
#include "system/snapshot-priv.h"

/* Between the job and the main thread. */
typedef enum Turn { TURN_WAITS, TURN_TAKEN, TURN_GIVEN_UP } Turn;
typedef struct Work {
    Vm *vm;
    SnapshotVerb verb;
    char *tag, *vmstate;
    char **devices;
    Loop *loop;
    Co *co;
    _Atomic int turn, refs;         /* refs: the job's, the call's */
    Err *e;
    bool done;                      /* of the loop */
} Work;

typedef struct SnapshotJob { Job job; Work *work; } SnapshotJob;

static void work_unref(Work *w)
{
    if (atomic_fetch_sub(&w->refs, 1) != 1)
        return;
    err_free(w->e);
    g_free(w->tag);
    g_free(w->vmstate);
    g_strfreev(w->devices);
    g_free(w);
}

static void over(void *opaque)
{
    Work *w = opaque;

    w->done = true;
    co_wake(w->co);
    work_unref(w);
}

/* Main thread, under the lock. */
static void do_work(void *opaque)
{
    Work *w = opaque;
    int waits = TURN_WAITS;
    const SnapshotPlace place = { w->vmstate, (const char *const *)w->devices };

    if (!atomic_compare_exchange_strong(&w->turn, &waits, TURN_TAKEN)) {
        work_unref(w);
        return;
    }
    switch (w->verb) {
    case SNAPSHOT_SAVE:     w->e = snapshot_save_at(w->vm, w->tag, &place); break;
    case SNAPSHOT_LOAD:     w->e = snapshot_load_at(w->vm, w->tag, &place); break;
    case SNAPSHOT_DELETE:   w->e = snapshot_delete_at(w->vm, w->tag, &place); break;
    }
    loop_call(w->loop, over, w);
}

static int run(Job *j)
{
    Work *w = ((SnapshotJob *)j)->work;
    int waits = TURN_WAITS;

    w->co = co_self();
    atomic_fetch_add(&w->refs, 1);
    vm_call_main(w->vm, do_work, w);
    /* A main thread that ends makes no more calls: the job is cancelled then. */
    while (atomic_load(&w->turn) == TURN_WAITS) {
        if (job_sleep(j, 20 * INT64_C(1000000)) && atomic_compare_exchange_strong(&w->turn, &waits, TURN_GIVEN_UP))
            return -ECANCELED;
        waits = TURN_WAITS;
    }
    co_until(&w->done);
    j->done = j->total;
    if (!w->e)
        return 0;
    job_fail(j, g_steal_pointer(&w->e));
    return -EINVAL;
}

static void clean(Job *j)
{
    work_unref(((SnapshotJob *)j)->work);
}

static const JobDriver drivers[] = {
    [SNAPSHOT_SAVE] = { .name = "snapshot-save", .size = sizeof(SnapshotJob), .run = run, .clean = clean },
    [SNAPSHOT_LOAD] = { .name = "snapshot-load", .size = sizeof(SnapshotJob), .run = run, .clean = clean },
    [SNAPSHOT_DELETE] = { .name = "snapshot-delete", .size = sizeof(SnapshotJob), .run = run, .clean = clean },
};

void snapshot_jobs_free(Vm *vm)
{
    for (Work *w; (w = vm_take_call(vm, do_work)) != NULL;)
        work_unref(w);
}

typedef struct Make { BlockGraph *graph; const JobConfig *c; Work *work; Err *e; } Make;

static void make(void *opaque)
{
    Make *m = opaque;
    Job *j;

    m->e = job_new(m->graph, &drivers[m->work->verb], m->c, &j);
    if (m->e) {
        work_unref(m->work);
        return;
    }
    ((SnapshotJob *)j)->work = m->work;
    j->total = 1;
    job_start(j);
}

Err *snapshot_job(Vm *vm, SnapshotVerb verb, const char *tag, const SnapshotPlace *at, const JobConfig *c)
{
    Work *w = g_new0(Work, 1);
    Make m = { disks_graph(vm->disks), c, w, NULL };

    *w = (Work){ .vm = vm, .verb = verb, .tag = g_strdup(tag), .vmstate = g_strdup(at->vmstate), .refs = 1,
                 .devices = g_strdupv((char **)at->devices), .loop = iothread_loop(disks_thread(vm->disks)) };
    iothread_run(disks_thread(vm->disks), make, &m);
    return m.e;
}
