/* SPDX-License-Identifier: MIT */
/*
 * The job "commit": copies what the layers from `top` down hold above `base`
 * into base, and takes those layers out of the chain. Nobody writes to them
 * meanwhile, so it is plain copying; what reads through them reads the same
 * before and after, whatever base holds. A filter over top says so to the
 * permissions: who reads top does not mind that base is written to.
 *
 * The user's own node as top is the mirror's matter (block/mirror.c).
 */
#include "block/filter/pass.h"
#include "block/job-priv.h"

/* ---- the filter */

static void top_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                           unsigned *cperm, unsigned *cshared)
{
    *cperm = perm & PERM_CONSISTENT_READ;
    *cshared = PERM_ALL;
}

BLOCK(commit_top) = {
    .name = "commit-top", .doc = "over layers that a commit empties; made by the job", .kind = DRIVER_FILTER,
    .size = sizeof(BlockNode), .open = pass_open, .child_perm = top_child_perm, .read = pass_read,
    .size_now = pass_size_now,
};

/* ---- the job */

typedef struct Commit {
    Job job;
    BlockNode *active, *top, *base;     /* held */
    BlockNode *filter;                  /* held, while it is in */
    Disk *from, *to;
    Copy *copy;
    bool reopened;                      /* base was read-only before */
    char *backing_name;
} Commit;

static int64_t commit_work(JobSweep *s, uint64_t off, uint64_t len, bool *read_failed)
{
    Commit *t = s->opaque;
    uint64_t was = copy_stats(t->copy)->written;
    int ret = copy_range(t->copy, off, len, read_failed);

    return ret < 0 ? ret : (int64_t)(copy_stats(t->copy)->written - was);
}

/* An overlay that is longer than top read zeroes behind top's end, whatever base has there. */
static int hide_tail(Commit *t)
{
    uint64_t top = disk_size(t->from), longest = 0;

    for (BlockChild *c = t->filter->parents; c; c = c->next_parent)
        if (c->parent && c == c->parent->backing)
            longest = MAX(longest, node_size_now(c->parent));
    longest = MIN(longest, disk_size(t->to));
    for (bool again = longest > top, ignore; again; ) {
        int ret = disk_zero(t->to, top, longest - top, REQ_UNMAP);

        again = ret < 0 && job_io_error(&t->job, false, -ret, &ignore);
        if (ret < 0 && ignore)
            again = job_retry_later(&t->job);
        if (ret < 0 && !again)
            return ret;
    }
    return 0;
}

static int commit_run(Job *j)
{
    Commit *t = (Commit *)j;
    JobSweep s = { .job = j, .work = commit_work, .opaque = t, .chunk = JOB_CHUNK, .workers = JOB_WORKERS };
    int ret;

    j->total = disk_size(t->from);
    ret = job_sweep(&s, 0, j->total);
    if (ret >= 0)
        ret = hide_tail(t);
    return ret < 0 ? ret : disk_flush(t->to);
}

/* The header of each image that had top as its backing file names base. */
static Err *change_headers(Commit *t, GPtrArray *overlays)
{
    const char *name = t->backing_name ? t->backing_name : node_filename(node_skip_filters(t->base));

    for (guint i = 0; i < overlays->len; i++) {
        BlockNode *n = overlays->pdata[i];
        bool reopened;
        Err *e;

        TRY(job_make_writable(n, &reopened));
        e = node_change_backing_file(n, name, node_format(node_skip_filters(t->base)), false);
        if (reopened)
            job_make_read_only(n);
        TRY(e);
    }
    return NULL;
}

static Err *drop_layers(Commit *t)
{
    g_autoptr(GPtrArray) overlays = g_ptr_array_new();

    disk_free(t->to);
    disk_free(t->from);
    t->to = t->from = NULL;
    for (BlockChild *c = t->filter->parents; c; c = c->next_parent)
        if (c->parent && c == c->parent->backing)
            g_ptr_array_add(overlays, c->parent);
    TRY(change_headers(t, overlays));
    return node_replace(t->filter, t->base);
}

static int commit_prepare(Job *j)
{
    Commit *t = (Commit *)j;
    Err *e;

    node_drain_begin(t->active);
    e = drop_layers(t);
    node_drain_end(t->active);
    if (!e) {
        node_unref(t->filter);
        t->filter = NULL;
        return 0;
    }
    job_fail(j, e);
    return -EIO;
}

static void commit_clean(Job *j)
{
    Commit *t = (Commit *)j;

    copy_free(t->copy);
    disk_free(t->to);
    disk_free(t->from);
    err_free(job_remove_filter(&t->filter));
    if (t->reopened)
        job_make_read_only(t->base);
    node_unref(t->base);
    node_unref(t->top);
    node_unref(t->active);
    g_free(t->backing_name);
}

static const JobDriver commit_driver = {
    .name = "commit", .size = sizeof(Commit), .run = commit_run, .prepare = commit_prepare, .clean = commit_clean,
};

static Err *set_up(Commit *t, const char *filter_name)
{
    const unsigned others = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
    const char *id = t->job.id;
    json_t *o = json_pack("{s:s, s:s}", "driver", "commit-top", "file", node_name(t->top));

    TRY(job_insert_filter(t->top, o, filter_name, &t->filter));
    TRY(job_make_writable(t->base, &t->reopened));
    TRY(disk_new(t->top, PERM_CONSISTENT_READ, PERM_ALL, id, &t->from));
    TRY(disk_new(t->base, PERM_WRITE | PERM_RESIZE, others, id, &t->to));
    if (disk_size(t->to) < disk_size(t->from))
        TRY(err_in(disk_resize(t->to, disk_size(t->from), false, (Preallocation){ PREALLOC_OFF }, 0), "'%s'",
                   node_path(t->base)));
    CopyConfig k = copy_defaults(t->from, t->to);
    k.above = true;
    k.base = t->base;
    k.workers = JOB_WORKERS;
    k.zero_flags = REQ_UNMAP;
    return copy_new(&k, &t->copy);
}

Err *job_commit(BlockNode *active, BlockNode *top, BlockNode *base, const char *backing_name,
                const JobConfig *c, Job **out)
{
    BlockNode *a = node_skip_filters(active), *b = node_skip_filters(top);
    Commit *t;
    Job *j;
    Err *e;

    *out = NULL;
    if (!base)
        return err(ERR_INVALID, "there is no image to commit into");
    if (!job_in_chain(active, top) || b == node_skip_filters(base) || !job_in_chain(top, base))
        return err(ERR_INVALID, "'%s' is not in the backing chain of '%s', or lies not below '%s'", node_path(base),
                   node_path(active), node_path(top));
    if (a == b) {
        if (backing_name)
            return err(ERR_INVALID, "Cannot specify 'backing-file' if 'top' is the active layer");
        return job_commit_active(active, base, c, out);
    }
    TRY(job_new(active->graph, &commit_driver, c, &j));
    j->node = active;
    t = (Commit *)j;
    t->active = node_ref(active);
    t->top = node_ref(b);
    t->base = node_ref(base);
    t->backing_name = g_strdup(backing_name);
    e = set_up(t, c->filter_name);
    if (e) {
        commit_clean(j);
        job_drop(j);
        return e;
    }
    job_begin(j, c, out);
    return NULL;
}
