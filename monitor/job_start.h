/* SPDX-License-Identifier: MIT */
/*
 * What commands that start block jobs have in common: a job's id and ends, and
 * the events that tell of it.
 */
#ifndef MONITOR_JOB_START_H
#define MONITOR_JOB_START_H

#include "block/job.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"

typedef struct JobAsked {
    const char *id;                         /* NULL: the drive's, as it was given */
    const char *filter_name;
    int64_t speed;
    bool manual_finalize, manual_dismiss;
} JobAsked;

/* job-id, speed, filter-node-name, auto-finalize and auto-dismiss of a command's arguments. */
#define JOB_ASKED(a) ((JobAsked){ (a)->job_id, (a)->filter_node_name, (a)->speed,                                 \
                                  (a)->has_auto_finalize && !(a)->auto_finalize, (a)->has_auto_dismiss && !(a)->auto_dismiss })

/* For a job at v's node, where none may run yet. Strings are borrowed. */
MUST_USE Err *job_config(const BlockVisit *v, JobAsked a, JobConfig *out);
/* The same for one that is nobody's node. */
JobConfig job_config_alone(Vm *vm, const char *id);

/* In all threads; as a coroutine, while the main thread waits. */
MUST_USE Err *job_id_free(Vm *vm, const char *id);

SyncMode job_sync(QmpMirrorSyncMode s);
OnError job_on_error(bool has, QmpBlockdevOnError e);

/* What query-block-jobs and the events of block jobs tell of all of them. New reference. */
json_t *job_progress(const Job *j);
/* Does it work on a disk that is there? "create" does not. */
bool job_on_disk(const Job *j);

#endif
