/* SPDX-License-Identifier: MIT */
/*
 * Jobs: long work on nodes, a coroutine each: create, stream, commit, mirror,
 * backup. States and their order are those of QMP's job-* commands. Everything
 * in the graph's loop.
 *
 *   CREATED -> RUNNING <-> PAUSED; RUNNING -> READY <-> STANDBY (mirror, active commit)
 *   -> WAITING -> PENDING -> CONCLUDED (or ABORTING -> CONCLUDED) -> NULL
 */
#ifndef BLOCK_JOB_H
#define BLOCK_JOB_H

#include "block/block.h"

typedef enum JobStatus {
    JOB_CREATED, JOB_RUNNING, JOB_PAUSED, JOB_READY, JOB_STANDBY, JOB_WAITING, JOB_PENDING,
    JOB_ABORTING, JOB_CONCLUDED, JOB_NULL,
} JobStatus;
extern const char *const job_status_names[];    /* "created", .., NULL */

typedef struct Job Job;
typedef struct JobDriver {
    const char *name;               /* "mirror" */
    size_t size;                    /* of the job's struct, which begins with a Job */
    int (*run)(Job *);              /* the work; 0 or -errno (job_fail says more) */
    Err *(*complete)(Job *);        /* READY: come to an end; NULL: it has no ready phase */
    void (*commit)(Job *);          /* it succeeded, and so did its transaction: change the graph */
    void (*abort)(Job *);           /* it failed or was cancelled */
    void (*clean)(Job *);           /* either way, last */
} JobDriver;

typedef enum OnError { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_ENOSPC, ON_ERROR_STOP, ON_ERROR_AUTO } OnError;

struct Job {
    const JobDriver *drv;
    BlockGraph *graph;
    char *id;
    JobStatus status;
    int ret;                        /* 0, -ECANCELED, or why it failed */
    Err *error;                     /* the sentence, owned */
    uint64_t done, total;           /* progress, in bytes mostly */
    uint64_t speed;                 /* bytes per second; 0: no limit */
    unsigned pauses;                /* user's and drains' */
    bool user_paused, cancelled, force, auto_finalize, auto_dismiss, completing;
    OnError on_read_error, on_write_error;
    int io_status;                  /* errno it stands still for (ON_ERROR_STOP), or 0 */
    void (*event)(void *opaque, Job *, JobStatus was);      /* each change of state; may be NULL */
    void (*io_error)(void *opaque, Job *, bool read, int error);
    void *opaque;
    struct JobTxn *txn;
    Job *next;                      /* of the graph */
    /* job.c's own: */
    Co *co;
    Alarm alarm;
    bool sleeping;
    int64_t window_start; uint64_t window_bytes;    /* speed limit */
    CoQueue finished;
};

typedef struct JobConfig {
    const char *id;                 /* NULL: internal, made up */
    uint64_t speed;
    bool manual_finalize, manual_dismiss;
    OnError on_read_error, on_write_error;
    void (*event)(void *, Job *, JobStatus was);
    void (*io_error)(void *, Job *, bool read, int error);
    void *opaque;
    struct JobTxn *txn;             /* with others: all or none; may be NULL */
} JobConfig;

struct JobTxn *jobtxn_new(void);
void jobtxn_unref(struct JobTxn *t);

/* For drivers: made, not started; job_start lets run() begin. */
MUST_USE Err *job_new(BlockGraph *g, const JobDriver *drv, const JobConfig *c, Job **out);
void job_start(Job *j);
/* In run(): a point where it may be paused, cancelled (then true: return -ECANCELED) and slowed down. */
bool job_point(Job *j, uint64_t bytes_just_done);
bool job_cancelled(const Job *j);
void job_ready(Job *j);             /* RUNNING -> READY; then run() waits in job_point until completing or cancelled */
void job_fail(Job *j, Err *why);
/* What to do about an error of a request: true: again (after a stop), false: give up (report) or go on (*ignore). */
bool job_io_error(Job *j, bool read, int error, bool *ignore);

/* For users. */
Job *job_find(BlockGraph *g, const char *id);
Job *job_next(BlockGraph *g, Job *after);
MUST_USE Err *job_pause(Job *j);
MUST_USE Err *job_resume(Job *j);
MUST_USE Err *job_cancel(Job *j, bool force);
MUST_USE Err *job_complete(Job *j);
MUST_USE Err *job_finalize(Job *j);
MUST_USE Err *job_dismiss(Job *j);
MUST_USE Err *job_set_speed(Job *j, uint64_t bytes_per_second);
/* Waits until it has concluded; returns its ret and gives it up. In a coroutine. */
int job_wait(Job *j, Err **why);

/* ---- the jobs */

/* Copies data up from below into n, down to `base` (not included; NULL: all), which becomes its backing file. */
MUST_USE Err *job_stream(BlockNode *n, BlockNode *base, const char *backing_name, const JobConfig *c, Job **out);
/* Copies what lies between top and base down into base. top the user's own node: active, with a ready phase. */
MUST_USE Err *job_commit(BlockNode *active, BlockNode *top, BlockNode *base, const char *backing_name,
                         const JobConfig *c, Job **out);

typedef enum SyncMode { SYNC_FULL, SYNC_TOP, SYNC_NONE, SYNC_INCREMENTAL, SYNC_BITMAP } SyncMode;
typedef struct MirrorConfig {
    SyncMode sync;                  /* FULL, TOP or NONE */
    BlockNode *target;
    bool write_blocking;            /* copy-mode: guest's writes wait for the target */
    bool target_is_zero, unmap;
    uint32_t granularity;           /* 0: chosen */
    uint64_t buf_size;              /* bytes in flight; 0: chosen */
    const char *replaces;
} MirrorConfig;
MUST_USE Err *job_mirror(BlockNode *n, const MirrorConfig *m, const JobConfig *c, Job **out);

typedef struct BackupConfig {
    SyncMode sync;
    BlockNode *target;
    DirtyBitmap *bitmap;            /* INCREMENTAL, BITMAP */
    enum { BITMAP_ON_SUCCESS, BITMAP_NEVER, BITMAP_ALWAYS } bitmap_mode;
    bool compress;
    unsigned workers;               /* 0: chosen */
} BackupConfig;
MUST_USE Err *job_backup(BlockNode *n, const BackupConfig *b, const JobConfig *c, Job **out);

#endif
