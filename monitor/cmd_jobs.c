/* SPDX-License-Identifier: MIT */
/*
 * Jobs that are there, and sizes of disks. A job lives in the thread of its nodes
 * (a disk's home), where each of these commands goes, as a coroutine, while the
 * main thread waits.
 */
#include <errno.h>
#include <string.h>

#include "monitor/job_start.h"

/* ---- all jobs */

typedef struct JobVisit {
    BlockGraph *graph;
    const char *id;
    bool found;
    int64_t arg;
    Err *(*fn)(Job *, int64_t arg);
    json_t *list, *blocks;
    Err *e;
} JobVisit;

static void visit_job(void *opaque)
{
    JobVisit *v = opaque;
    Job *j = job_find(v->graph, v->id);

    if (!j)
        return;
    v->found = true;
    v->e = v->fn(j, v->arg);
}

static Err *at_job(Monitor *m, const char *id, Err *(*fn)(Job *, int64_t), int64_t arg, bool block)
{
    JobVisit v = { .id = id, .fn = fn, .arg = arg };
    IoThread *t;

    for (unsigned i = 0; !v.found && (t = disks_nth_thread(m->vm->disks, i, &v.graph)); i++)
        iothread_run(t, visit_job, &v);
    if (v.found)
        return v.e;
    return block ? err(ERR_NOT_ACTIVE, "Block job '%s' not found", id) : err(ERR_NOT_FOUND, "Job not found");
}

static Err *do_pause(Job *j, int64_t arg) { return job_pause(j); }
static Err *do_resume(Job *j, int64_t arg) { return job_resume(j); }
static Err *do_cancel(Job *j, int64_t arg) { return job_cancel(j, arg); }
static Err *do_complete(Job *j, int64_t arg) { return job_complete(j); }
static Err *do_finalize(Job *j, int64_t arg) { return job_finalize(j); }
static Err *do_dismiss(Job *j, int64_t arg) { return job_dismiss(j); }
static Err *do_speed(Job *j, int64_t arg) { return job_set_speed(j, (uint64_t)arg); }

Err *qmp_job_pause(Monitor *m, const JobPauseArgs *a, json_t **ret) { return at_job(m, a->id, do_pause, 0, false); }
Err *qmp_job_resume(Monitor *m, const JobResumeArgs *a, json_t **ret) { return at_job(m, a->id, do_resume, 0, false); }
Err *qmp_job_cancel(Monitor *m, const JobCancelArgs *a, json_t **ret) { return at_job(m, a->id, do_cancel, true, false); }
Err *qmp_job_complete(Monitor *m, const JobCompleteArgs *a, json_t **ret) { return at_job(m, a->id, do_complete, 0, false); }
Err *qmp_job_finalize(Monitor *m, const JobFinalizeArgs *a, json_t **ret) { return at_job(m, a->id, do_finalize, 0, false); }
Err *qmp_job_dismiss(Monitor *m, const JobDismissArgs *a, json_t **ret) { return at_job(m, a->id, do_dismiss, 0, false); }
Err *qmp_block_job_finalize(Monitor *m, const BlockJobFinalizeArgs *a, json_t **ret) { return at_job(m, a->id, do_finalize, 0, true); }
Err *qmp_block_job_dismiss(Monitor *m, const BlockJobDismissArgs *a, json_t **ret) { return at_job(m, a->id, do_dismiss, 0, true); }
Err *qmp_block_job_pause(Monitor *m, const BlockJobPauseArgs *a, json_t **ret) { return at_job(m, a->device, do_pause, 0, true); }
Err *qmp_block_job_resume(Monitor *m, const BlockJobResumeArgs *a, json_t **ret) { return at_job(m, a->device, do_resume, 0, true); }
Err *qmp_block_job_complete(Monitor *m, const BlockJobCompleteArgs *a, json_t **ret) { return at_job(m, a->device, do_complete, 0, true); }
/* The older command says so first. */
static Err *do_block_cancel(Job *j, int64_t force)
{
    if (j->user_paused && !force)
        return err_hint(err(ERR_BUSY, "The block job for device '%s' is currently paused", j->id), "'force': true cancels it all the same.");
    return job_cancel(j, force);
}

Err *qmp_block_job_cancel(Monitor *m, const BlockJobCancelArgs *a, json_t **ret)
{
    return at_job(m, a->device, do_block_cancel, a->force, true);
}

Err *qmp_block_job_set_speed(Monitor *m, const BlockJobSetSpeedArgs *a, json_t **ret)
{
    if (a->speed < 0)
        return err(ERR_INVALID, "Parameter 'speed' expects a non-negative value");
    return at_job(m, a->device, do_speed, a->speed, true);
}

static json_t *block_job_json(const Job *j)
{
    json_t *o = job_progress(j);

    json_object_set_new(o, "busy", json_boolean(j->status == JOB_RUNNING));
    json_object_set_new(o, "paused", json_boolean(j->user_paused));
    json_object_set_new(o, "io-status", json_string(!j->io_status ? "ok" : j->io_status == ENOSPC ? "nospace" : "failed"));
    json_object_set_new(o, "ready", json_boolean(j->status == JOB_READY || j->status == JOB_STANDBY));
    json_object_set_new(o, "status", json_string(job_status_names[j->status]));
    json_object_set_new(o, "auto-finalize", json_boolean(j->auto_finalize));
    json_object_set_new(o, "auto-dismiss", json_boolean(j->auto_dismiss));
    return o;
}

static json_t *job_json(const Job *j)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:I}", "id", j->id, "type", j->drv->name, "status", job_status_names[j->status],
                     "current-progress", (json_int_t)j->done, "total-progress", (json_int_t)j->total);
}

static void list_jobs(void *opaque)
{
    JobVisit *v = opaque;

    for (Job *j = NULL; (j = job_next(v->graph, j)); ) {
        if (v->blocks && !job_on_disk(j))
            continue;
        json_t *o = v->blocks ? block_job_json(j) : job_json(j);
        if (j->ret && j->status >= JOB_ABORTING)
            json_object_set_new(o, "error", text_json(j->error ? err_text(j->error) : strerror(-j->ret)));
        json_array_append_new(v->list, o);
    }
}

static json_t *all_jobs(Monitor *m, bool blocks)
{
    JobVisit v = { .list = json_array() };
    IoThread *t;

    v.blocks = blocks ? v.list : NULL;
    for (unsigned i = 0; (t = disks_nth_thread(m->vm->disks, i, &v.graph)); i++)
        iothread_run(t, list_jobs, &v);
    return v.list;
}

Err *qmp_query_jobs(Monitor *m, const QueryJobsArgs *args, json_t **ret)
{
    *ret = all_jobs(m, false);
    return NULL;
}

Err *qmp_query_block_jobs(Monitor *m, const QueryBlockJobsArgs *args, json_t **ret)
{
    *ret = all_jobs(m, true);
    return NULL;
}

/* ---- sizes */

static Err *resize(BlockVisit *v)
{
    const BlockResizeArgs *a = v->args;
    Disk *d;

    TRY(job_node_free(v->node));            /* a copy would take the disk's place and be shorter */
    TRY(disk_new(v->node, PERM_RESIZE | PERM_CONSISTENT_READ, PERM_ALL, "block_resize", &d));
    Err *e = disk_resize(d, (uint64_t)a->size, true, (Preallocation){ PREALLOC_OFF }, 0);
    disk_free(d);
    return e;
}

Err *qmp_block_resize(Monitor *m, const BlockResizeArgs *args, json_t **ret)
{
    if (args->size < 0)
        return err(ERR_INVALID, "Parameter 'size' expects a >0 size");
    return block_at_either(m->vm, args->device, args->node_name, resize, args);
}
