/* SPDX-License-Identifier: MIT */
/* Backups of a moment, into a node (blockdev-backup) or a file (drive-backup): see monitor/actions.h and block/backup.c. */
#include <string.h>

#include "block/bitmap.h"
#include "block/driver.h"
#include "monitor/actions.h"
#include "monitor/job_start.h"
#include "monitor/target.h"

typedef struct BackupAction {
    Action a;
    BlockGraph *graph;
    Job *job;
    char *id;
} BackupAction;

/* ---- once it is made */

/* Nobody else can have ended it, but for another job of the transaction that was given up first. */
static Job *still_there(const BackupAction *t)
{
    Job *j = job_find(t->graph, t->id);

    return j == t->job ? j : NULL;
}

static void begin(Action *a)
{
    BackupAction *t = (BackupAction *)a;
    Job *j = still_there(t);

    if (j)
        job_start(j);
    g_free(t->id);
}

static void give_up(Action *a)
{
    BackupAction *t = (BackupAction *)a;
    Job *j = still_there(t);

    if (j)
        job_abandon(j);
    g_free(t->id);
}

static Err *use_bitmap(const BlockNode *n, const char *name, bool has_mode, QmpBitmapSyncMode mode, BackupConfig *b)
{
    static const int modes[] = { BITMAP_ON_SUCCESS, BITMAP_NEVER, BITMAP_ALWAYS };

    if (!name) {
        if (has_mode)
            return err(ERR_INVALID, "Cannot specify bitmap sync mode without a bitmap");
        return NULL;
    }
    if (!has_mode && b->sync == SYNC_BITMAP)
        return err(ERR_INVALID, "Bitmap sync mode must be given when providing a bitmap");
    if (!has_mode && b->sync != SYNC_INCREMENTAL)
        return err(ERR_INVALID, "Bitmap sync mode must be given when providing a bitmap");
    b->bitmap_mode = modes[has_mode ? mode : QMP_BITMAP_SYNC_MODE_ON_SUCCESS];
    b->bitmap = bitmap_find((BlockNode *)n, name);
    return b->bitmap ? NULL : err(ERR_NOT_FOUND, "Bitmap '%s' could not be found", name);
}

static Err *make(Action *a, const BlockVisit *v, const BackupConfig *b, JobConfig *c)
{
    BackupAction *t = (BackupAction *)a;

    TRY(action_job(a, v, c));
    TRY(job_backup(a->node, b, c, &t->job));
    t->graph = v->graph;
    t->id = g_strdup(t->job->id);
    return NULL;
}

/* ---- blockdev-backup */

static void backup_subject(const void *args, const char **name, const char **device, const char **node)
{
    *name = ((const BlockdevBackupArgs *)args)->device;
}

static Err *backup_gather(Vm *vm, const void *args)
{
    const BlockdevBackupArgs *a = args;

    return block_together(vm, a->device, a->target);
}

static Err *backup(Action *act, const BlockVisit *v)
{
    const BlockdevBackupArgs *a = act->args;
    BackupConfig b = { .sync = job_sync(a->sync), .compress = a->compress };
    JobConfig c;

    TRY(job_config(v, JOB_ASKED(a), &c));
    c.on_read_error = job_on_error(a->has_on_source_error, a->on_source_error);
    c.on_write_error = job_on_error(a->has_on_target_error, a->on_target_error);
    TRY(block_other(v, a->target, &b.target));
    TRY(use_bitmap(act->node, a->bitmap, a->has_bitmap_mode, a->bitmap_mode, &b));
    return make(act, v, &b, &c);
}

const ActionKind action_backup = {
    .command = "blockdev-backup", .size = sizeof(BackupAction), .grouped = true, .subject = backup_subject, .gather = backup_gather,
    .prepare = backup, .commit = begin, .abort = give_up,
};

Err *qmp_blockdev_backup(Monitor *m, const BlockdevBackupArgs *args, json_t **ret)
{
    return action_run(m, &action_backup, args);
}

/* ---- drive-backup */

static void drive_subject(const void *args, const char **name, const char **device, const char **node)
{
    *name = ((const DriveBackupArgs *)args)->device;
}

static Err *drive_backup(Action *act, const BlockVisit *v)
{
    const DriveBackupArgs *a = act->args;
    BackupConfig b = { .sync = job_sync(a->sync), .compress = a->compress };
    JobConfig c;

    TRY(job_config(v, JOB_ASKED(a), &c));
    c.on_read_error = job_on_error(a->has_on_source_error, a->on_source_error);
    c.on_write_error = job_on_error(a->has_on_target_error, a->on_target_error);
    TRY(use_bitmap(act->node, a->bitmap, a->has_bitmap_mode, a->bitmap_mode, &b));
    TargetAsked t = { .file = a->target, .format = a->format, .existing = a->has_mode && a->mode == QMP_NEW_IMAGE_MODE_EXISTING,
                      .over_backing = b.sync == SYNC_TOP, .over_source = b.sync == SYNC_NONE };
    TRY(target_open(act->node, &t, &b.target));
    Err *e = make(act, v, &b, &c);
    node_unref(b.target);       /* the job holds it */
    return e;
}

const ActionKind action_drive_backup = {
    .command = "drive-backup", .size = sizeof(BackupAction), .grouped = true, .subject = drive_subject, .prepare = drive_backup,
    .commit = begin, .abort = give_up,
};

Err *qmp_drive_backup(Monitor *m, const DriveBackupArgs *args, json_t **ret)
{
    return action_run(m, &action_drive_backup, args);
}
