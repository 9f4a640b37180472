/* SPDX-License-Identifier: MIT */
/* See monitor/job_start.h. Events are raised where the job runs. */
#include "monitor/job_start.h"

#include <string.h>

json_t *job_progress(const Job *j)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", "type", j->drv->name, "device", j->id, "len", (json_int_t)j->total, "offset",
                     (json_int_t)j->done, "speed", (json_int_t)j->speed);
}

bool job_on_disk(const Job *j)
{
    return j->node;
}

static void tell_concluded(Vm *vm, const Job *j)
{
    json_t *data = job_progress(j);

    if (j->ret && j->ret != -ECANCELED)
        json_object_set_new(data, "error", text_json(j->error ? err_text(j->error) : strerror(-j->ret)));
    vm_event(vm, j->ret == -ECANCELED ? "BLOCK_JOB_CANCELLED" : "BLOCK_JOB_COMPLETED", data);
}

static void job_changed(void *opaque, Job *j, JobStatus was)
{
    Vm *vm = opaque;

    if (j->status == JOB_CONCLUDED && job_on_disk(j) && j->started)
        tell_concluded(vm, j);
    vm_event(vm, "JOB_STATUS_CHANGE", json_pack("{s:s, s:s}", "id", j->id, "status", job_status_names[j->status]));
    if (j->status == JOB_READY && job_on_disk(j) && was == JOB_RUNNING)
        vm_event(vm, "BLOCK_JOB_READY", job_progress(j));
    if (j->status == JOB_PENDING && !j->auto_finalize)
        vm_event(vm, "BLOCK_JOB_PENDING", json_pack("{s:s, s:s}", "type", j->drv->name, "id", j->id));
}

static void job_erred(void *opaque, Job *j, bool read, int error)
{
    static const char *const actions[] = { [ON_ERROR_REPORT] = "report", [ON_ERROR_IGNORE] = "ignore", [ON_ERROR_STOP] = "stop" };

    vm_event(opaque, "BLOCK_JOB_ERROR", json_pack("{s:s, s:s, s:s}", "device", j->id, "operation", read ? "read" : "write",
                                                  "action", actions[job_error_action(j, read, error)]));
}

JobConfig job_config_alone(Vm *vm, const char *id)
{
    return (JobConfig){ .id = id, .event = job_changed, .io_error = job_erred, .opaque = vm };
}

typedef struct Taken { BlockGraph *graph; const char *id; bool is; } Taken;

static void look_for_job(void *opaque)
{
    Taken *t = opaque;

    t->is = job_find(t->graph, t->id);
}

Err *job_id_free(Vm *vm, const char *id)
{
    Taken k = { .id = id };
    IoThread *t;

    for (unsigned i = 0; !k.is && (t = disks_nth_thread(vm->disks, i, &k.graph)); i++)
        iothread_visit(t, look_for_job, &k);
    return k.is ? err(ERR_INVALID, "Job ID '%s' already in use", id) : NULL;
}

Err *job_config(const BlockVisit *v, JobAsked a, JobConfig *out)
{
    if (!a.id && !disks_find(v->vm->disks, v->name))
        return err_hint(err(ERR_INVALID, "Invalid job ID ''"), "This node has no drive whose name could be the job's: give 'job-id'.");
    if (a.speed < 0)
        return err(ERR_INVALID, "Invalid parameter 'speed'");
    TRY(job_node_free(v->node));
    TRY(job_id_free(v->vm, a.id ? a.id : v->name));
    *out = job_config_alone(v->vm, a.id ? a.id : v->name);
    out->filter_name = a.filter_name;
    out->speed = (uint64_t)a.speed;
    out->manual_finalize = a.manual_finalize;
    out->manual_dismiss = a.manual_dismiss;
    return NULL;
}

SyncMode job_sync(QmpMirrorSyncMode s)
{
    static const SyncMode modes[] = { SYNC_TOP, SYNC_FULL, SYNC_NONE, SYNC_INCREMENTAL, SYNC_BITMAP };

    return modes[s];
}

OnError job_on_error(bool has, QmpBlockdevOnError e)
{
    static const OnError all[] = { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_ENOSPC, ON_ERROR_STOP, ON_ERROR_AUTO };

    return has ? all[e] : ON_ERROR_REPORT;
}
