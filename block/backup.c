/* SPDX-License-Identifier: MIT */
/*
 * The job "backup": copies a disk as it was when the job was made. A filter
 * copy-before-write over the source copies what the guest is about to overwrite,
 * the job all the rest.
 *
 * An incremental one copies what a dirty bitmap names. That bitmap starts anew
 * at the moment of the backup; if the backup fails, what it named is put back.
 */
#include "block/cbw.h"
#include "block/job-priv.h"

typedef struct Backup {
    Job job;
    BackupConfig c;
    BlockNode *source, *target;     /* held */
    BlockNode *filter;              /* held, while it is in */
    Cbw *cbw;                       /* the filter */
    Disk *gate;                     /* on the filter: a copy holds it */
    DirtyBitmap *saved;             /* of the filter: what the user's bitmap named; NULL: none was given */
    uint64_t chunk, moved;
    bool succeeded;
} Backup;

/* ---- the user's bitmap */

static void take_bitmap(Backup *b)
{
    if (!b->saved)
        return;
    b->c.bitmap->busy++;
    bitmap_clear(b->c.bitmap);      /* from now on it notes what the next backup has to copy */
}

static void give_bitmap(Backup *b)
{
    DirtyBitmap *u = b->c.bitmap, *back = NULL;

    if (!b->saved)
        return;
    u->busy--;
    if (b->c.bitmap_mode == BITMAP_NEVER || (!b->succeeded && b->c.bitmap_mode == BITMAP_ON_SUCCESS))
        back = b->saved;
    else if (!b->succeeded)
        back = cbw_todo(b->cbw);    /* what was copied is in the target, and need not be again */
    if (back)
        err_free(bitmap_merge(u, back));
    b->saved = NULL;
}

static Err *use_bitmap(Backup *b)
{
    DirtyBitmap *u = b->c.bitmap;

    if (!u)
        return NULL;
    TRY(bitmap_usable(u, BITMAP_USE_READ | BITMAP_USE_WRITE));
    TRY(bitmap_new(b->filter, NULL, u->granularity, &b->saved));
    b->saved->disabled = true;
    Err *e = bitmap_merge(b->saved, u);
    if (!e && (b->c.sync == SYNC_INCREMENTAL || b->c.sync == SYNC_BITMAP))
        e = cbw_restrict(b->cbw, u);
    if (e) {
        bitmap_free(b->saved);
        b->saved = NULL;
        return e;
    }
    take_bitmap(b);
    return NULL;
}

/* ---- the work */

/* What the top layer does not have is not wanted. */
static int forget_below(Backup *b)
{
    BlockNode *n = node_skip_filters(b->source);
    uint64_t size = b->source->size;

    for (uint64_t off = 0; off < size;) {
        uint64_t from = off;
        Extent x;

        do {                        /* one run of many extents: granules may be larger than those */
            int ret = node_extent(n, off, MIN(size - off, 1u << 30), &x);

            if (ret < 0)
                return ret;
            if (x.flags & EXTENT_ALLOCATED)
                break;
            off += x.len;
        } while (off < size);
        if (off > from)
            cbw_forget(b->cbw, from, off - from);
        else
            off += x.len;
        if (job_point(&b->job, 0))
            return -ECANCELED;
    }
    return 0;
}

typedef struct Op {
    Backup *b;
    uint64_t off, len;
} Op;

static int op_run(void *arg)
{
    Op *op = arg;
    Backup *b = op->b;
    bool again = true;
    int ret = 0;

    while (again) {
        bool read_failed = false, ignore = false;
        uint64_t was = cbw_copied(b->cbw);

        disk_hold(&b->gate, 1);
        ret = cbw_copy(b->cbw, op->off, op->len, &read_failed);
        b->moved += cbw_copied(b->cbw) - was;
        disk_release(&b->gate, 1);
        again = ret < 0 && job_io_error(&b->job, read_failed, -ret, &ignore);
        if (ignore)
            again = job_retry_later(&b->job);
    }
    if (!ret)
        b->job.done += op->len;
    g_free(op);
    return ret;
}

static int copy_all(Backup *b, CoCrowd *crowd)
{
    uint64_t at = 0, len;

    while (!crowd->status && bitmap_next(cbw_todo(b->cbw), &at, UINT64_MAX, &len)) {
        uint64_t moved = b->moved, chunk = job_chunk(&b->job, b->chunk);
        Op *op;

        b->moved = 0;
        if (job_point(&b->job, moved))
            return -ECANCELED;
        len = MIN(len, chunk - at % chunk);
        crowd->max = job_workers(&b->job, b->c.workers ? b->c.workers : JOB_WORKERS);
        op = g_new(Op, 1);
        *op = (Op){ b, at, len };
        crowd_start(crowd, op_run, op);
        at += len;
    }
    return 0;
}

static int backup_run(Job *j)
{
    Backup *b = (Backup *)j;
    CoCrowd crowd = { 0 };
    int ret = b->c.sync == SYNC_TOP ? forget_below(b) : 0, status;

    if (ret < 0)
        return ret;
    j->total = bitmap_dirty_bytes(cbw_todo(b->cbw));
    if (b->c.sync == SYNC_NONE) {
        while (!job_sleep(j, INT64_C(1000000000)) && !cbw_broken(b->cbw))
            ;
        return job_cancelled(j) ? -ECANCELED : cbw_broken(b->cbw);
    }
    ret = copy_all(b, &crowd);
    status = crowd_wait(&crowd);
    ret = status < 0 ? status : ret;
    if (ret < 0)
        return ret;
    j->total = j->done;         /* the guest's writes did their part of it */
    return job_point(j, b->moved) ? -ECANCELED : cbw_broken(b->cbw);
}

/* The target is whole on its own storage before anybody is told. */
static int backup_prepare(Job *j)
{
    Backup *b = (Backup *)j;
    int ret = node_flush(b->target);

    b->succeeded = ret >= 0;
    return ret;
}

static void backup_abort(Job *j)
{
    ((Backup *)j)->succeeded = false;
}

static void backup_clean(Job *j)
{
    Backup *b = (Backup *)j;

    disk_free(b->gate);
    if (b->filter) {
        BlockNode *f = node_ref(b->filter);     /* its bitmaps live until the user's has been given back */

        err_free(job_remove_filter(&b->filter));
        give_bitmap(b);
        node_unref(f);
    }
    node_unref(b->target);
    node_unref(b->source);
}

static const JobDriver backup_driver = {
    .name = "backup", .size = sizeof(Backup), .run = backup_run, .prepare = backup_prepare, .abort = backup_abort,
    .clean = backup_clean,
};

/* ---- making */

/* Drained: the moment that the backup is of. */
static Err *put_filter(Backup *b, const char *name)
{
    json_t *o = json_pack("{s:s, s:s, s:s}", "driver", "copy-before-write", "file", node_name(b->source),
                          "target", node_name(b->target));

    TRY(job_insert_filter(b->source, o, name, &b->filter));
    b->cbw = cbw_of(b->filter);
    if (b->c.compress)
        cbw_compress(b->cbw, true);
    b->chunk = b->c.compress ? MAX(cbw_todo(b->cbw)->granularity, 65536) : MAX(JOB_CHUNK, cbw_todo(b->cbw)->granularity);
    TRY(use_bitmap(b));
    return disk_new(b->filter, 0, PERM_ALL, b->job.id, &b->gate);
}

static Err *check(BlockNode *n, const BackupConfig *c)
{
    const BlockNode *t = c->target ? node_skip_filters(c->target) : NULL;

    if (!t || node_reaches(n, c->target) || (node_reaches(c->target, n) && !job_in_chain(c->target, n)))
        return err(ERR_INVALID, "Source and target cannot be the same");
    if (c->target->read_only)
        return err(ERR_INVALID, "the target '%s' is read-only", node_path(c->target));
    if (node_size_now(n) != node_size_now(c->target))
        return err(ERR_INVALID, "Source and target image have different sizes");
    if (c->compress && (!t->drv->can_compress || !t->limits.cluster))
        return err(ERR_UNSUPPORTED, "Compression is not supported for this drive");
    if (!c->bitmap && (c->sync == SYNC_INCREMENTAL || c->sync == SYNC_BITMAP))
        return err(ERR_INVALID, "must provide a valid bitmap name for '%s' sync mode",
                   c->sync == SYNC_BITMAP ? "bitmap" : "incremental");
    if (c->bitmap && c->sync == SYNC_NONE)
        return err(ERR_INVALID, "sync mode 'none' does not produce meaningful bitmap outputs");
    if (c->bitmap && c->sync == SYNC_INCREMENTAL && c->bitmap_mode != BITMAP_ON_SUCCESS)
        return err(ERR_INVALID, "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'");
    return NULL;
}

Err *job_backup(BlockNode *n, const BackupConfig *config, const JobConfig *c, Job **out)
{
    Backup *b;
    Job *j;
    Err *e;

    *out = NULL;
    TRY(check(n, config));
    TRY(job_new(n->graph, &backup_driver, c, &j));
    j->node = n;
    b = (Backup *)j;
    b->c = *config;
    b->source = node_ref(n);
    b->target = node_ref(config->target);
    node_drain_begin(n);
    e = put_filter(b, c->filter_name);
    node_drain_end(n);
    if (e) {
        backup_clean(j);
        job_drop(j);
        return e;
    }
    job_begin(j, c, out);
    return NULL;
}
