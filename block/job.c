/* SPDX-License-Identifier: MIT */
/*
 * The life of jobs: states, pauses, speed, errors, transactions. See
 * block/job.h; what the jobs do is in the files named after them.
 *
 * A job's run() is one coroutine, which alone calls job_point. It may have
 * others work for it (job_sweep); those wait in pause_here as well when the job
 * stands still.
 *
 * A transaction ends when all its jobs have run: well, and then all prepare and
 * commit; or as soon as one has failed: the others are cancelled by force, and
 * all abort. The coroutine that sees the end does it for all. What concerns the
 * transaction as a whole is decided in the thread of its first job: there the
 * others tell it that they have run, and from there their ends are done in the
 * thread of each (co_visit; with one thread all of that are plain calls).
 */
#include "block/job-priv.h"

#define RETRY_NS INT64_C(100000000)

const char *const job_status_names[] = {
    "created", "running", "paused", "ready", "standby", "waiting", "pending", "aborting", "concluded", "null", NULL,
};

struct JobTxn {
    Loop *loop;                 /* of the first job: where all of this is used, once a job has started; NULL: none has joined */
    unsigned refs;              /* the jobs', and the maker's */
    Job *jobs;                  /* by txn_next, in the order of joining */
    CoQueue run_over;           /* the aborter waits for the others */
    bool settling;              /* all have run; each is told in its thread */
    CoQueue settled;
    /* Read by the jobs' threads as well: */
    _Atomic bool aborting;
    _Atomic bool ending;        /* one coroutine ends it for all, and waits for disks meanwhile: nobody else may */
};

static void set_status(Job *j, JobStatus s)
{
    JobStatus was = j->status;

    if (was == s)
        return;
    j->status = s;
    if (j->event)
        j->event(j->opaque, j, was);
}

/* ---- transactions: holds */

struct JobTxn *jobtxn_new(void)
{
    struct JobTxn *t = g_new0(struct JobTxn, 1);

    t->refs = 1;
    return t;
}

void jobtxn_unref(struct JobTxn *t)
{
    if (t && !--t->refs)
        g_free(t);
}

static void txn_join(struct JobTxn *t, Job *j)
{
    Job **at = &t->jobs;

    while (*at)
        at = &(*at)->txn_next;
    *at = j;
    j->txn = t;
    t->refs++;
    if (!t->loop)
        t->loop = j->graph->loop;
}

static void txn_part(Job *j)
{
    Job **at = &j->txn->jobs;

    while (*at != j)
        at = &(*at)->txn_next;
    *at = j->txn_next;
    jobtxn_unref(j->txn);
    j->txn = NULL;
}

/* ---- making and freeing */

static Err *check_id(BlockGraph *g, const char *id)
{
    static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    if (!g_ascii_isalpha(*id) || id[strspn(id, may)])
        return err_hint(err(ERR_INVALID, "Invalid job ID '%s'", id),
                        "An ID begins with a letter and has letters, digits, '-', '.' and '_'.");
    return job_find(g, id) ? err(ERR_INVALID, "Job ID '%s' already in use", id) : NULL;
}

static char *make_id(BlockGraph *g)
{
    for (unsigned i = 0;; i++) {
        char *id = g_strdup_printf("#job%03u", i);

        if (!job_find(g, id))
            return id;
        g_free(id);
    }
}

static void alarm_fired(void *opaque)
{
    Job *j = opaque;

    co_queue_wake_all(&j->kicked);
}

Err *job_new(BlockGraph *g, const JobDriver *drv, const JobConfig *c, Job **out)
{
    struct JobTxn *own = NULL;
    Job *j, **at;

    *out = NULL;
    if (c->id)
        TRY(check_id(g, c->id));
    j = g_malloc0(drv->size);
    j->drv = drv;
    j->graph = g;
    j->id = c->id ? g_strdup(c->id) : make_id(g);
    j->speed = c->speed;
    j->auto_finalize = !c->manual_finalize;
    j->auto_dismiss = !c->manual_dismiss;
    j->on_read_error = c->on_read_error;
    j->on_write_error = c->on_write_error;
    j->event = c->event;
    j->io_error = c->io_error;
    j->opaque = c->opaque;
    j->refs = 1;
    alarm_init(&j->alarm, g->loop, alarm_fired, j);
    if (!c->txn)
        own = jobtxn_new();
    txn_join(c->txn ? c->txn : own, j);
    jobtxn_unref(own);
    for (at = &g->jobs; *at; at = &(*at)->next)
        ;
    *at = j;
    *out = j;
    if (j->event)
        j->event(j->opaque, j, JOB_NULL);
    return NULL;
}

static void job_unref(Job *j)
{
    if (--j->refs)
        return;
    err_free(j->error);
    g_free(j->id);
    g_free(j);
}

/* Out of the list; the last hold but for those who wait. */
static void bury(Job *j)
{
    Job **at = &j->graph->jobs;

    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    set_status(j, JOB_NULL);
    job_unref(j);
}

void job_drop(Job *j)
{
    txn_part(j);
    bury(j);
}

Job *job_find(BlockGraph *g, const char *id)
{
    for (Job *j = g->jobs; j; j = j->next)
        if (!strcmp(j->id, id))
            return j;
    return NULL;
}

Job *job_next(BlockGraph *g, Job *after)
{
    return after ? after->next : g->jobs;
}

/* ---- within run() */

bool job_cancelled(const Job *j)
{
    return j->cancelled && j->force;
}

static void kick(Job *j)
{
    alarm_del(&j->alarm);
    co_queue_wake_all(&j->kicked);
}

static void pause_here(Job *j)
{
    while (j->pauses && !job_cancelled(j)) {
        if (j->status == JOB_RUNNING || j->status == JOB_READY)
            set_status(j, j->status == JOB_RUNNING ? JOB_PAUSED : JOB_STANDBY);
        co_queue_wait(&j->resumed);
    }
    if (j->status == JOB_PAUSED || j->status == JOB_STANDBY)
        set_status(j, j->status == JOB_PAUSED ? JOB_RUNNING : JOB_READY);
}

/* Until `when`, or a kick. */
static void sleep_until(Job *j, int64_t when)
{
    alarm_set(&j->alarm, when);
    co_queue_wait(&j->kicked);
    alarm_del(&j->alarm);
}

bool job_point(Job *j, uint64_t bytes)
{
    int64_t now = loop_now();

    if (j->speed) {
        int64_t due = MAX(j->next_due, now);

        j->next_due = due + (int64_t)((double)bytes * 1e9 / (double)j->speed);
        while (j->speed && j->next_due > loop_now() && !job_cancelled(j) && !j->pauses)
            sleep_until(j, j->next_due);
    }
    pause_here(j);
    return job_cancelled(j);
}

bool job_sleep(Job *j, int64_t ns)
{
    if (!job_cancelled(j) && !j->pauses)
        sleep_until(j, loop_now() + ns);
    return job_point(j, 0);
}

void job_ready(Job *j)
{
    if (j->status == JOB_RUNNING)
        set_status(j, JOB_READY);
}

void job_fail(Job *j, Err *why)
{
    if (j->error)
        err_free(why);
    else
        j->error = why;
}

static bool stops(OnError how, int error)
{
    return how == ON_ERROR_STOP || ((how == ON_ERROR_ENOSPC || how == ON_ERROR_AUTO) && error == ENOSPC);
}

OnError job_error_action(const Job *j, bool read, int error)
{
    OnError how = read ? j->on_read_error : j->on_write_error;

    return stops(how, error) ? ON_ERROR_STOP : how == ON_ERROR_IGNORE ? ON_ERROR_IGNORE : ON_ERROR_REPORT;
}

bool job_io_error(Job *j, bool read, int error, bool *ignore)
{
    OnError action = job_error_action(j, read, error);

    *ignore = false;
    if (job_cancelled(j))
        return false;
    if (j->io_error)
        j->io_error(j->opaque, j, read, error);
    *ignore = action == ON_ERROR_IGNORE;
    if (action != ON_ERROR_STOP)
        return false;
    if (!j->io_status)
        j->io_status = error;
    if (!j->user_paused) {
        j->user_paused = true;
        j->pauses++;
    }
    pause_here(j);
    return !job_cancelled(j);
}

bool job_retry_later(Job *j)
{
    co_sleep(RETRY_NS);
    pause_here(j);
    return !job_cancelled(j);
}

/* ---- the end */

/* Its thread; its transaction has no more to say, and keeps the hold until this has returned. */
static void conclude(Job *j)
{
    if (j->drv->clean)
        j->drv->clean(j);
    j->txn = NULL;
    set_status(j, JOB_CONCLUDED);
    co_queue_wake_all(&j->finished);
    if (j->auto_dismiss || !j->started)
        bury(j);
}

static void abort_one(void *arg)
{
    Job *j = arg;

    if (j->ret >= 0)
        j->ret = -ECANCELED;
    set_status(j, JOB_ABORTING);
    if (j->drv->abort)
        j->drv->abort(j);
    conclude(j);
}

static void commit_one(void *arg)
{
    Job *j = arg;

    if (j->drv->commit)
        j->drv->commit(j);
    conclude(j);
}

typedef struct Stop { Job *j; bool over; } Stop;

/* Asks it to come to an end by force; one that never began has. */
static void stop_one(void *arg)
{
    Stop *s = arg;
    Job *j = s->j;

    if (!j->run_over)
        j->cancelled = j->force = true;
    if (!j->started)
        s->over = j->run_over = true;
    co_queue_wake_all(&j->resumed);
    kick(j);
}

static bool all_over(const struct JobTxn *t)
{
    for (const Job *j = t->jobs; j; j = j->txn_next)
        if (!j->over)
            return false;
    return true;
}

/* Each of them in its thread; the transaction has none after this. */
static void txn_end_each(struct JobTxn *t, void (*fn)(void *))
{
    t->refs++;
    while (t->jobs) {
        Job *j = t->jobs;

        t->jobs = j->txn_next;
        co_visit(j->graph->loop, fn, j);
        jobtxn_unref(t);            /* the job's hold */
    }
    jobtxn_unref(t);
}

static void txn_abort(struct JobTxn *t)
{
    if (t->aborting)
        return;                 /* somebody does already, and waits for us */
    t->aborting = t->ending = true;
    for (Job *j = t->jobs; j; j = j->txn_next) {
        Stop s = { j, false };

        if (j->over)
            continue;
        co_visit(j->graph->loop, stop_one, &s);
        j->over |= s.over;
    }
    while (!all_over(t))
        co_queue_wait(&t->run_over);
    txn_end_each(t, abort_one);
}

static void prepare_one(void *arg)
{
    Stop *s = arg;
    Job *j = s->j;
    int ret = j->drv->prepare ? j->drv->prepare(j) : 0;

    if (ret < 0)
        j->ret = ret;
    s->over = ret < 0;
}

static void txn_finalize(struct JobTxn *t)
{
    t->ending = true;
    for (Job *j = t->jobs; j; j = j->txn_next) {
        Stop s = { j, false };

        co_visit(j->graph->loop, prepare_one, &s);
        if (s.over) {
            txn_abort(t);
            return;
        }
    }
    txn_end_each(t, commit_one);
}

static void set_pending(void *arg)
{
    set_status(arg, JOB_PENDING);
}

static void txn_ran(struct JobTxn *t)
{
    bool manual = false;

    if (!all_over(t))
        return;
    t->settling = true;
    for (Job *j = t->jobs; j; j = j->txn_next) {
        manual |= !j->auto_finalize;
        co_visit(j->graph->loop, set_pending, j);
    }
    t->settling = false;
    co_queue_wake_all(&t->settled);
    if (!manual)
        txn_finalize(t);
}

/* Before a user's wish is looked at; in the transaction's thread. */
static void txn_settle(struct JobTxn *t)
{
    while (t->settling)
        co_queue_wait(&t->settled);
}

typedef struct Ran { Job *j; struct JobTxn *t; bool well, refused; } Ran;

/* From here to job_main's return of `ran`: in the transaction's thread. */
static void one_ran(void *arg)
{
    const Ran *r = arg;

    r->j->over = true;
    if (r->t->aborting)
        co_queue_wake_all(&r->t->run_over);
    else if (r->well)
        txn_ran(r->t);
    else
        txn_abort(r->t);
}

static void ran(Job *j)
{
    Ran r = { .j = j, .t = j->txn };

    j->run_over = true;
    if (j->ret >= 0 && job_cancelled(j))
        j->ret = -ECANCELED;
    r.well = j->ret >= 0;
    if (r.well && !r.t->aborting)
        set_status(j, JOB_WAITING);
    co_visit(r.t->loop, one_ran, &r);
}

static void job_main(void *arg)
{
    Job *j = arg;

    co_pause();                 /* whoever started it has its say first */
    if (!job_cancelled(j))
        pause_here(j);
    j->ret = job_cancelled(j) ? -ECANCELED : j->drv->run(j);
    if (j->ret >= 0)
        pause_here(j);          /* one that stands still does not end either */
    ran(j);
    job_unref(j);
}

void job_start(Job *j)
{
    if (j->run_over)
        return;                 /* another one of its transaction has failed already */
    j->started = true;
    j->refs++;
    set_status(j, JOB_RUNNING);
    co_start(j->graph->loop, job_main, j);
}

/* ---- users */

Err *job_node_free(BlockNode *n)
{
    const BlockNode *bare = node_skip_filters(n);

    for (Job *j = n->graph->jobs; j; j = j->next) {
        if (j->node && j->status < JOB_CONCLUDED && (j->node == n || node_skip_filters(j->node) == bare))
            return err(ERR_BUSY, "Node '%s' is busy: block device is in use by block job: %s", node_name(n), j->drv->name);
    }
    return NULL;
}

static Err *wrong_state(const Job *j, const char *verb)
{
    return err(ERR_BUSY, "Job '%s' in state '%s' cannot accept command verb '%s'", j->id, job_status_names[j->status], verb);
}

static void mark_cancelled(void *arg)
{
    Job *j = arg;

    j->force = j->cancelled = j->run_over = true;
}

static void give_up(void *arg)
{
    Ran *r = arg;
    struct JobTxn *t = r->t;

    t->refs++;
    txn_settle(t);
    r->refused = t->ending && !t->aborting;
    if (!r->refused) {
        co_visit(r->j->graph->loop, mark_cancelled, r->j);
        r->j->over = true;
        txn_abort(t);
    }
    jobtxn_unref(t);
}

/* Of one that does not run, or has run. An error: its transaction is on its way to a good end. */
static Err *job_give_up(Job *j)
{
    Ran r = { .j = j, .t = j->txn };

    j->refs++;
    co_visit(r.t->loop, give_up, &r);
    Err *e = r.refused ? wrong_state(j, "cancel") : NULL;
    job_unref(j);
    return e;
}

void job_abandon(Job *j)
{
    err_free(job_give_up(j));
}

static bool is_working(const Job *j)
{
    return j->status < JOB_WAITING;
}

Err *job_pause(Job *j)
{
    if (!is_working(j))
        return wrong_state(j, "pause");
    if (j->user_paused)
        return err(ERR_BUSY, "Job is already paused");
    j->user_paused = true;
    j->pauses++;
    kick(j);
    return NULL;
}

Err *job_resume(Job *j)
{
    if (!j->user_paused)
        return err(ERR_BUSY, "Can't resume a job that was not paused");
    if (!is_working(j))
        return wrong_state(j, "resume");
    j->user_paused = false;
    j->io_status = 0;
    if (!--j->pauses)
        co_queue_wake_all(&j->resumed);
    return NULL;
}

Err *job_cancel(Job *j, bool force)
{
    if (j->status >= JOB_ABORTING || (j->txn->ending && !j->txn->aborting))
        return wrong_state(j, "cancel");
    if (j->user_paused)
        err_free(job_resume(j));
    if (j->run_over || !j->started)
        return job_give_up(j);
    j->cancelled = true;
    j->force |= force || (j->status != JOB_READY && j->status != JOB_STANDBY);
    co_queue_wake_all(&j->resumed);
    kick(j);
    return NULL;
}

Err *job_complete(Job *j)
{
    if (j->status != JOB_READY && j->status != JOB_STANDBY)
        return err_hint(wrong_state(j, "complete"), "%s", j->drv->complete ? "It has to be ready." : "Its kind has no such phase.");
    if (j->cancelled || !j->drv->complete)
        return err(ERR_BUSY, "The active block job '%s' cannot be completed", j->id);
    TRY(j->drv->complete(j));
    j->completing = true;
    kick(j);
    return NULL;
}

static void finalize(void *arg)
{
    Ran *r = arg;
    struct JobTxn *t = r->t;

    t->refs++;
    txn_settle(t);
    r->refused = t->ending;
    if (!r->refused)
        txn_finalize(t);
    jobtxn_unref(t);
}

Err *job_finalize(Job *j)
{
    Ran r = { .j = j, .t = j->txn };

    if (j->status != JOB_PENDING || r.t->ending)
        return wrong_state(j, "finalize");
    j->refs++;
    co_visit(r.t->loop, finalize, &r);
    Err *e = r.refused ? wrong_state(j, "finalize") : NULL;
    job_unref(j);
    return e;
}

Err *job_dismiss(Job *j)
{
    if (j->status != JOB_CONCLUDED)
        return wrong_state(j, "dismiss");
    bury(j);
    return NULL;
}

Err *job_set_speed(Job *j, uint64_t speed)
{
    if (!is_working(j))
        return wrong_state(j, "set-speed");
    if (speed > INT64_MAX)
        return err(ERR_INVALID, "Parameter 'speed' expects a non-negative value");
    j->speed = speed;
    j->next_due = 0;
    kick(j);
    return NULL;
}

int job_wait(Job *j, Err **why)
{
    int ret;

    j->refs++;
    while (j->status < JOB_CONCLUDED)
        co_queue_wait(&j->finished);
    ret = j->ret;
    if (why) {
        *why = j->error;
        j->error = NULL;
        if (!*why && ret < 0)
            *why = err_errno(-ret, "job '%s'", j->id);
    }
    if (j->status == JOB_CONCLUDED)
        bury(j);
    job_unref(j);
    return ret;
}

void jobs_end(BlockGraph *g)
{
    while (g->jobs) {
        Job *j = g->jobs;

        j->refs++;
        err_free(job_cancel(j, true));          /* one that does its last step ends by itself */
        if (j->status != JOB_NULL)
            job_wait(j, NULL);
        job_unref(j);
    }
}

/* ---- sweeps */

typedef struct Stretch {
    JobSweep *sweep;
    uint64_t off, len;
} Stretch;

static int stretch_run(void *arg)
{
    Stretch *t = arg;
    JobSweep *s = t->sweep;
    bool again = true;
    int64_t ret = 0;

    while (again) {
        bool read_failed = false, ignore = false;

        ret = s->work(s, t->off, t->len, &read_failed);
        again = ret < 0 && job_io_error(s->job, read_failed, (int)-ret, &ignore);
        if (ignore && s->skips) {
            s->skipped = s->skipped ? s->skipped : (int)ret;
            ret = 0;
        } else if (ignore) {
            again = job_retry_later(s->job);
        }
    }
    if (ret >= 0) {
        s->job->done += t->len;
        s->moved += (uint64_t)ret;
    }
    g_free(t);
    return (int)MIN(ret, 0);
}

int job_sweep(JobSweep *s, uint64_t off, uint64_t end)
{
    CoCrowd crowd = { 0 };
    int ret = 0, status;

    while (off < end && !crowd.status && !ret) {
        Stretch *t;
        uint64_t moved = s->moved, chunk = job_chunk(s->job, s->chunk);

        s->moved = 0;
        if (job_point(s->job, moved)) {
            ret = -ECANCELED;
            break;
        }
        t = g_new(Stretch, 1);
        *t = (Stretch){ .sweep = s, .off = off, .len = MIN(chunk - off % chunk, end - off) };
        off += t->len;
        crowd.max = job_workers(s->job, s->workers);
        crowd_start(&crowd, stretch_run, t);
    }
    status = crowd_wait(&crowd);
    if (status < 0 || ret < 0)
        return status < 0 ? status : ret;
    return job_point(s->job, s->moved) ? -ECANCELED : s->skipped;
}
