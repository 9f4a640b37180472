/* SPDX-License-Identifier: MIT */
/*
 * The job "stream": copies data up from backing files into the node over them,
 * until it needs only `base`, or none. A copy-on-read filter over the node does
 * each copy, so that the guest's writes and the copies do not mix; the job reads
 * (prefetches) what lies between the node and base.
 */
#include "block/job-priv.h"

typedef struct Stream {
    Job job;
    BlockNode *node, *base;         /* held; base may be NULL */
    BlockNode *filter;              /* held, while it is in */
    Disk *disk;                     /* on the filter */
    char *backing_name, *backing_format;
} Stream;

static int64_t stream_work(JobSweep *s, uint64_t off, uint64_t len, bool *read_failed)
{
    Stream *t = s->opaque;
    uint64_t end = off + len;
    int64_t moved = 0;

    while (off < end) {
        struct iovec nowhere;
        Extent x;
        int ret = node_extent_above(t->node, t->base, false, off, end - off, &x);

        if (!ret && x.depth && x.flags & EXTENT_ALLOCATED) {
            IoVec q = iov_buf(&nowhere, NULL, x.len);

            ret = disk_read(t->disk, off, &q, REQ_PREFETCH);
            moved += (int64_t)x.len;
        }
        if (ret < 0) {
            *read_failed = ret != -ENOSPC;      /* one request does both; where there is no room is clear */
            return ret;
        }
        off += x.len;
    }
    return moved;
}

static int stream_run(Job *j)
{
    Stream *t = (Stream *)j;
    JobSweep s = { .job = j, .work = stream_work, .opaque = t, .chunk = JOB_CHUNK, .workers = JOB_WORKERS, .skips = true };

    j->total = disk_size(t->disk);
    return job_sweep(&s, 0, j->total);
}

static Err *finish(Stream *t)
{
    Err *e;

    disk_free(t->disk);
    t->disk = NULL;
    e = job_remove_filter(&t->filter);
    if (e)
        return e;
    int ret = node_flush(t->node);      /* the data, before the header stops naming where it came from */
    if (ret < 0)
        return err_errno(-ret, "'%s' cannot be written", node_path(t->node));
    TRY(node_change_backing_file(t->node, t->backing_name, t->backing_format, false));
    return node_set_backing(t->node, t->base);
}

static int stream_prepare(Job *j)
{
    Stream *t = (Stream *)j;
    Err *e;

    node_drain_begin(t->node);
    e = finish(t);
    node_drain_end(t->node);
    if (!e)
        return 0;
    job_fail(j, e);
    return -EIO;
}

static void stream_clean(Job *j)
{
    Stream *t = (Stream *)j;

    disk_free(t->disk);
    err_free(job_remove_filter(&t->filter));
    node_unref(t->base);
    node_unref(t->node);
    g_free(t->backing_name);
    g_free(t->backing_format);
}

static const JobDriver stream_driver = {
    .name = "stream", .size = sizeof(Stream), .run = stream_run, .prepare = stream_prepare, .clean = stream_clean,
};

/* The layer over base, or NULL: down to the end of the chain. */
static BlockNode *lowest(BlockNode *n, BlockNode *base)
{
    BlockNode *below;

    if (!base)
        return NULL;
    for (n = node_skip_filters(n); (below = node_skip_filters(node_backing(n))) != node_skip_filters(base); n = below)
        ;
    return n;
}

static Err *put_filter(Stream *t, const char *who, const char *name)
{
    BlockNode *bottom = lowest(t->node, t->base);
    json_t *o = json_pack("{s:s, s:s, s:s*}", "driver", "copy-on-read", "file", node_name(t->node),
                          "bottom", bottom ? node_name(bottom) : NULL);

    TRY(job_insert_filter(t->node, o, name, &t->filter));
    return disk_new(t->filter, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED, PERM_ALL, who, &t->disk);
}

Err *job_stream(BlockNode *n, BlockNode *base, const char *backing_name, const JobConfig *c, Job **out)
{
    Stream *t;
    Job *j;
    Err *e;

    *out = NULL;
    n = node_skip_filters(n);
    if (!n || !n->drv->has_backing)
        return err(ERR_UNSUPPORTED, "'%s' has no backing file whose data could be copied", n ? node_path(n) : "(no medium)");
    if (base && (node_skip_filters(base) == n || !job_in_chain(n, base)))
        return err(ERR_INVALID, "'%s' is not a backing image of '%s'", node_path(base), node_path(n));
    if (n->read_only)
        return err(ERR_INVALID, "Block node is read-only");
    TRY(job_new(n->graph, &stream_driver, c, &j));
    j->node = n;
    t = (Stream *)j;
    t->node = node_ref(n);
    t->base = base ? node_ref(base) : NULL;
    if (base) {
        t->backing_name = g_strdup(backing_name ? backing_name : node_filename(node_skip_filters(base)));
        t->backing_format = g_strdup(node_format(node_skip_filters(base)));
    }
    e = put_filter(t, j->id, c->filter_name);
    if (e) {
        stream_clean(j);
        job_drop(j);
        return e;
    }
    job_begin(j, c, out);
    return NULL;
}
