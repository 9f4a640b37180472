/* SPDX-License-Identifier: MIT */
/*
 * Changes of disks that `transaction` can do together, all or none; a command
 * of such a change alone is a transaction of one.
 *
 * Each is prepared in its turn, in the thread of its node, which is drained
 * from then on: it does what it does, so that those after it find it done, and
 * keeps what undoing takes. When all have been, they are committed, which
 * cannot fail; else those that had been are aborted, the last one first. Only
 * then do the disks go on, so all that is done is of one moment.
 */
#ifndef MONITOR_ACTIONS_H
#define MONITOR_ACTIONS_H

#include "block/job.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"

typedef struct Action Action;
typedef struct ActionKind {
    const char *command;            /* whose name and arguments it has; no command: it has none */
    size_t size;                    /* of the struct that begins with an Action */
    bool grouped;                   /* it may be in a transaction with completion-mode=grouped */
    /* Which node it is about: the name as block_at takes it, or the two as block_at_either does. */
    void (*subject)(const void *args, const char **name, const char **device, const char **node);
    /* Others that have to be in the same thread, by block_together; main thread. May be NULL. */
    Err *(*gather)(Vm *vm, const void *args);
    Err *(*prepare)(Action *a, const BlockVisit *v);    /* with a->node; nothing is done when it fails */
    void (*commit)(Action *a);      /* both may be NULL */
    void (*abort)(Action *a);
} ActionKind;

struct Action {
    const ActionKind *kind;
    const void *args;               /* the command's struct */
    Vm *vm;
    struct ActionTxn *txn;
    IoThread *thread;               /* NULL: not prepared */
    BlockNode *node;                /* held and drained, while it is prepared */
};

typedef struct ActionTxn {
    bool grouped;                   /* jobs complete together, or none does */
    IoThread *thread;               /* grouped: of the first of `jobs` */
    struct JobTxn *jobs;
} ActionTxn;

/* For kinds that start jobs: makes *c a job of the transaction, which starts at job_started. */
MUST_USE Err *action_job(Action *a, const BlockVisit *v, JobConfig *c);

/* One action, as a command of its own. */
MUST_USE Err *action_run(Monitor *m, const ActionKind *k, const void *args);

extern const ActionKind action_snapshot, action_snapshot_sync, action_snapshot_internal, action_backup, action_drive_backup,
                        action_bitmap_add, action_bitmap_remove, action_bitmap_clear, action_bitmap_enable,
                        action_bitmap_disable, action_bitmap_merge;

#endif
