/* SPDX-License-Identifier: MIT */
/*
 * Jobs: long work on nodes, a coroutine each: create, stream, commit, mirror,
 * backup. States and their order are those of QMP's job-* commands. Everything
 * in the graph's loop, and in coroutines: a user's call may have to wait.
 *
 *   CREATED -> RUNNING <-> PAUSED; RUNNING -> READY <-> STANDBY (mirror, active commit)
 *   -> WAITING -> PENDING -> CONCLUDED (or ABORTING -> CONCLUDED) -> NULL
 *
 * WAITING is for the others of the transaction, PENDING for job_finalize (when
 * that is manual), CONCLUDED for job_dismiss.
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
    /* All of the transaction have run well: change the graph, under a drain. 0 or -errno (job_fail): all abort. */
    int (*prepare)(Job *);
    void (*commit)(Job *);          /* and all have prepared */
    void (*abort)(Job *);           /* it failed or was cancelled */
    void (*clean)(Job *);           /* either way, last */
} JobDriver;

typedef enum OnError { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_ENOSPC, ON_ERROR_STOP, ON_ERROR_AUTO } OnError;

struct Job {
    const JobDriver *drv;
    BlockGraph *graph;
    BlockNode *node;                /* whose job it is: no other may work on it; NULL: nobody's. Held by the kind */
    char *id;
    JobStatus status;
    int ret;                        /* 0, -ECANCELED, or why it failed */
    Err *error;                     /* the sentence, owned */
    uint64_t done, total;           /* progress, in bytes mostly */
    uint64_t speed;                 /* bytes per second; 0: no limit */
    unsigned pauses;                /* the user's, and for an error that it stands still for */
    bool user_paused, auto_finalize, auto_dismiss, completing;
    bool cancelled, force;          /* cancelled but not by force: a READY job ends well, without its last step */
    OnError on_read_error, on_write_error;
    int io_status;                  /* errno it stands still for (ON_ERROR_STOP), or 0 */
    void (*event)(void *opaque, Job *, JobStatus was);      /* each change of state; may be NULL */
    void (*io_error)(void *opaque, Job *, bool read, int error);    /* of job_error_action */
    void *opaque;
    struct JobTxn *txn;
    Job *next;                      /* of the graph */
    /* job.c's own: */
    unsigned refs;
    Alarm alarm;
    bool started, run_over;         /* run() was called, has returned */
    bool over;                      /* the same as its transaction knows it, in whose thread this is */
    CoQueue kicked;                 /* run() sleeps in job_point */
    CoQueue resumed;                /* coroutines of the job that wait for pauses to become 0 */
    int64_t next_due;               /* speed limit: when it may go on */
    CoQueue finished;               /* job_wait */
    Job *txn_next;
};

typedef struct JobConfig JobConfig;
struct JobConfig {
    const char *id;                 /* NULL: internal, a name is made up */
    const char *filter_name;        /* of the filter that it puts over its node; NULL: one is made up, and it is not shown */
    uint64_t speed;
    bool manual_finalize, manual_dismiss;
    OnError on_read_error, on_write_error;
    void (*event)(void *, Job *, JobStatus was);
    void (*io_error)(void *, Job *, bool read, int error);
    void *opaque;
    struct JobTxn *txn;             /* with others: all or none; may be NULL */
    bool manual_start;              /* job_start is the caller's: of a transaction, when all were made */
};

/* Its jobs may be of several graphs in different threads, if all are made before the first starts. */
struct JobTxn *jobtxn_new(void);
void jobtxn_unref(struct JobTxn *t);      /* in the thread of its first job */

/* For drivers: made, not started; job_start lets run() begin. */
MUST_USE Err *job_new(BlockGraph *g, const JobDriver *drv, const JobConfig *c, Job **out);
void job_start(Job *j);
/*
 * In run(): a point where it may be paused, slowed down (by the bytes that it
 * moved since the last point) and cancelled (then true: return -ECANCELED).
 */
bool job_point(Job *j, uint64_t bytes_moved);
/* The same, and sleeps up to ns or until something is asked of the job. */
bool job_sleep(Job *j, int64_t ns);
bool job_cancelled(const Job *j);   /* by force */
void job_ready(Job *j);             /* RUNNING -> READY; then run() sleeps until completing or cancelled */
void job_fail(Job *j, Err *why);    /* what run or prepare will return an error for */
/*
 * What to do about an error of a request (a positive errno): true: again, after
 * a stop perhaps, which is waited for here; false: give up, or go on (*ignore).
 */
bool job_io_error(Job *j, bool read, int error, bool *ignore);
/* One that is ignored, of a copy that has to be whole: a while later, again; false: the job was cancelled. */
bool job_retry_later(Job *j);
/* What becomes of such an error: REPORT, IGNORE or STOP. */
OnError job_error_action(const Job *j, bool read, int error);
/* job_new's other half for the kinds below: gives up a job whose making failed after job_new. */
void job_drop(Job *j);

/*
 * Runs `work` over [off, end) in chunks side by side, with points, errors and
 * progress. work returns the bytes that it moved, or -errno (*read_failed says
 * where). 0 or -errno.
 */
typedef struct JobSweep JobSweep;
struct JobSweep {
    Job *job;
    int64_t (*work)(JobSweep *s, uint64_t off, uint64_t len, bool *read_failed);
    void *opaque;
    uint64_t chunk;
    unsigned workers;
    bool skips;                     /* an error that is ignored leaves its bytes out, and is the sweep's in the end; else they are tried again */
    uint64_t moved;                 /* below: job.c's own */
    int skipped;
};
int job_sweep(JobSweep *s, uint64_t off, uint64_t end);

/* For users. */
/* Why no job or change of the graph may begin at that node: one runs there. Filters do not count. */
MUST_USE Err *job_node_free(BlockNode *n);
/* One that was made with manual_start, and shall not start: it and its transaction are gone. */
void job_abandon(Job *j);
Job *job_find(BlockGraph *g, const char *id);
Job *job_next(BlockGraph *g, Job *after);
MUST_USE Err *job_pause(Job *j);
MUST_USE Err *job_resume(Job *j);
MUST_USE Err *job_cancel(Job *j, bool force);
MUST_USE Err *job_complete(Job *j);
MUST_USE Err *job_finalize(Job *j);
MUST_USE Err *job_dismiss(Job *j);
MUST_USE Err *job_set_speed(Job *j, uint64_t bytes_per_second);
/*
 * Waits until it has concluded; returns its ret and gives it up (dismisses it).
 * A job that dismisses itself has to be waited for before the caller yields.
 */
int job_wait(Job *j, Err **why);    /* why may be NULL */
/* Ends all of them by force, waits, and forgets them: before nodes go. */
void jobs_end(BlockGraph *g);

/* ---- the jobs */

/* All of them start at once (but for JobConfig.manual_start). *out is valid until the caller yields, or while it waits. */

/*
 * Copies data up from below into n, down to `base` (not included; NULL: all),
 * which becomes its backing file, under that name in the header (NULL: base's own).
 */
MUST_USE Err *job_stream(BlockNode *n, BlockNode *base, const char *backing_name, const JobConfig *c, Job **out);
/*
 * Copies what lies in top and below, above base, down into base. The layer over
 * top then has base as its backing file. top == active, the user's own node: a
 * mirror onto base, with a ready phase; base takes active's place.
 */
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
/* The disk as it is when this is called. bitmap stays the caller's, and busy. */
MUST_USE Err *job_backup(BlockNode *n, const BackupConfig *b, const JobConfig *c, Job **out);

/* image_create, whose strings are copied. */
MUST_USE Err *job_create(BlockGraph *g, const CreateRequest *r, const JobConfig *c, Job **out);

#endif
