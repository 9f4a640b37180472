/* SPDX-License-Identifier: MIT */
/*
 * The job "mirror": makes the target the same as the source, which is in use,
 * keeps it so while it is ready, and at the end puts the target in its place.
 *
 * A dirty bitmap on the source says what differs. In the background mode that
 * is all: what is written is copied later. In the write-blocking mode a filter
 * over the source writes to both, so that what differs only becomes less. A guest
 * that writes faster than the copy would keep the first mode from ever getting
 * ready: when it has copied the disk twice in vain, it goes over to the second.
 *
 * The order that makes it right: a bit is cleared before its bytes are read,
 * and block/io.c sets it again when a write has reached the source. Writes of
 * both sides to one place come one after the other (`ranges`).
 *
 * Mirroring onto a backing file of the source is an active commit.
 */
#include "block/filter/pass.h"
#include "block/job-priv.h"

#define POLL_NS (50 * INT64_C(1000000))         /* how soon a ready job looks for new writes */

/* ---- the filter */

typedef struct MirrorTop {
    BlockNode node;
    BlockChild *target;
    DirtyBitmap *dirty;             /* the source's; NULL: no job (yet, or any more) */
    Ranges ranges;                  /* bytes that a copy or a guest's write to both is busy with */
    bool blocking;                  /* writes go to both */
    bool in_chain;                  /* the target is a backing file of the source */
} MirrorTop;

static const char *const top_own_options[] = { "target", NULL };

static Err *top_open(BlockNode *n)
{
    MirrorTop *t = (MirrorTop *)n;

    return child_open(n, n->options, "target", true, &t->target);
}

static void top_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                           unsigned *cperm, unsigned *cshared)
{
    const MirrorTop *t = (MirrorTop *)n;

    if (strcmp(role, "target")) {
        *cperm = perm | (t->dirty ? PERM_CONSISTENT_READ : 0);
        *cshared = t->in_chain ? PERM_ALL : shared;
        return;
    }
    *cperm = t->dirty ? PERM_WRITE | PERM_RESIZE : 0;
    *cshared = !t->dirty || t->in_chain ? PERM_ALL : PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
}

typedef enum Verb { VERB_WRITE, VERB_COMPRESSED, VERB_ZERO, VERB_DISCARD } Verb;

static int top_do(BlockChild *c, Verb verb, uint64_t off, uint64_t len, const IoVec *q, unsigned flags)
{
    switch (verb) {
    case VERB_WRITE:      return child_write(c, off, q, flags);
    case VERB_COMPRESSED: return child_write(c, off, q, REQ_COMPRESSED);
    case VERB_ZERO:       return child_zero(c, off, len, flags);
    default:              return child_discard(c, off, len);
    }
}

/*
 * Both sides. What is the same then: the granules that are touched, except
 * those at the edges that differed before and were not written whole. A target
 * that fails leaves them marked: the job meets its error again.
 */
static int write_both(MirrorTop *t, Verb verb, uint64_t off, uint64_t len, const IoVec *q, unsigned flags)
{
    const uint64_t mask = t->dirty->granularity - 1, end = off + len;
    uint64_t from = off & ~mask, to = (end + mask) & ~mask;
    bool head, tail;
    Range r;
    int ret;

    range_enter(&t->ranges, &r, from, to - from, true);
    head = off & mask && bitmap_get(t->dirty, off);
    tail = end & mask && end < t->node.size && bitmap_get(t->dirty, end);
    ret = top_do(t->node.file, verb, off, len, q, flags);
    /* What is discarded may read as anything: the source's word is copied later. */
    if (!ret && verb != VERB_DISCARD && !top_do(t->target, verb == VERB_COMPRESSED ? VERB_WRITE : verb, off, len, q, flags)) {
        from = head ? (off + mask) & ~mask : from;
        to = tail ? end & ~mask : to;
        if (from < to)
            bitmap_unmark(t->dirty, from, to - from);
    }
    range_leave(&t->ranges, &r);
    return ret;
}

static int top_change(BlockNode *n, Verb verb, uint64_t off, uint64_t len, const IoVec *q, unsigned flags)
{
    MirrorTop *t = (MirrorTop *)n;

    if (!t->blocking || !t->dirty || flags & REQ_UNCHANGED)
        return top_do(n->file, verb, off, len, q, flags);
    return write_both(t, verb, off, len, q, flags & ~(unsigned)REQ_NO_FALLBACK);
}

static int top_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    return top_change(n, VERB_WRITE, off, q->len, q, flags);
}

static int top_write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    return top_change(n, VERB_COMPRESSED, off, q->len, q, 0);
}

static int top_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    return top_change(n, VERB_ZERO, off, len, NULL, flags);
}

static int top_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    return top_change(n, VERB_DISCARD, off, len, NULL, 0);
}

static Err *top_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    return err_hint(err(ERR_BUSY, "'%s' is being mirrored and cannot be resized", node_path(n)),
                    "Wait for the job, or cancel it.");
}

BLOCK(mirror_top) = {
    .name = "mirror-top", .doc = "over a source that is mirrored; made by the job", .kind = DRIVER_FILTER,
    .size = sizeof(MirrorTop), .own_options = top_own_options, .open = top_open, .child_perm = top_child_perm,
    .read = pass_read, .write = top_write, .write_compressed = top_write_compressed, .zero = top_zero,
    .discard = top_discard, .resize = top_resize, .size_now = pass_size_now,
};

/* ---- the job */

typedef struct Mirror {
    Job job;
    MirrorConfig c;
    BlockNode *source, *target;     /* held */
    BlockNode *base;                /* borrowed: what lies above it is copied; NULL: all */
    BlockNode *replaces;            /* held: what the target takes the place of */
    BlockNode *filter;              /* a MirrorTop; held while it is in */
    Disk *gate;                     /* on the filter: a copy holds it, so drains wait for both sides */
    Copy *copy;
    DirtyBitmap *dirty;
    bool commits, reopened;         /* onto a backing file; which was read-only before */
    uint64_t busy;                  /* bytes that copies are busy with */
    uint64_t moved;                 /* since the last point */
    uint64_t chased;                /* bytes copied since both were the same */
} Mirror;

typedef struct Op {
    Mirror *m;
    uint64_t off, len;
} Op;

static void show_progress(Mirror *m)
{
    m->job.total = m->job.done + m->busy + bitmap_dirty_bytes(m->dirty);
}

/* With the range, and not drained. */
static int copy_held(Mirror *m, uint64_t off, uint64_t len, bool *read_failed)
{
    uint64_t was = copy_stats(m->copy)->written;
    int ret = copy_range(m->copy, off, len, read_failed);

    m->moved += copy_stats(m->copy)->written - was;
    return ret;
}

static int op_run(void *arg)
{
    Op *op = arg;
    Mirror *m = op->m;
    MirrorTop *top = (MirrorTop *)m->filter;
    bool read_failed = false, ignore;
    Range r;
    int ret;

    disk_hold(&m->gate, 1);         /* first: a guest's write may wait for the range, and a drain for that write */
    range_enter(&top->ranges, &r, op->off, op->len, true);
    ret = copy_held(m, op->off, op->len, &read_failed);
    if (ret < 0)
        bitmap_mark(m->dirty, op->off, op->len);
    range_leave(&top->ranges, &r);
    disk_release(&m->gate, 1);
    m->busy -= op->len;
    if (ret >= 0)
        m->job.done += op->len;
    else if (job_io_error(&m->job, read_failed, -ret, &ignore) || ignore)
        ret = 0;                /* it is marked: there will be another try */
    show_progress(m);
    g_free(op);
    return MIN(ret, 0);
}

/* Clears the marks of what need not be copied: these bytes are alone, and cleared before the question. */
static int look_through(Mirror *m, uint64_t off, uint64_t len)
{
    bool above = m->commits || m->c.sync == SYNC_TOP;
    MirrorTop *top = (MirrorTop *)m->filter;
    uint64_t end = off + len;
    int ret = 0;
    Range r;

    range_enter(&top->ranges, &r, off, len, true);
    bitmap_unmark(m->dirty, off, len);
    while (off < end) {
        Extent x;

        ret = node_extent_above(m->source, m->base, true, off, end - off, &x);
        if (ret < 0) {
            bitmap_mark(m->dirty, off, end - off);
            break;
        }
        if (above ? x.flags & EXTENT_ALLOCATED : !(x.flags & EXTENT_ZERO))
            bitmap_mark(m->dirty, off, x.len);
        off += x.len;
    }
    range_leave(&top->ranges, &r);
    return ret;
}

/* All is marked. Not all may have to be copied. */
static int look_through_all(Mirror *m)
{
    const uint64_t size = m->source->size, step = MAX(64u << 20, m->dirty->granularity);

    if (m->c.sync == SYNC_NONE || (m->c.sync == SYNC_FULL && !m->c.target_is_zero))
        return 0;
    for (uint64_t off = 0; off < size; off += step) {
        int ret = look_through(m, off, MIN(step, size - off));

        if (ret < 0)
            return ret;
        if (job_point(&m->job, 0))
            return -ECANCELED;
    }
    return 0;
}

/* Drained: a write to the source alone, still on its way, would be unmarked by one to both in the same granule. */
static void keep_up(Mirror *m)
{
    MirrorTop *top = (MirrorTop *)m->filter;

    if (top->blocking || m->chased / 2 < m->source->size)
        return;
    node_drain_begin(m->source);
    top->blocking = true;
    node_drain_end(m->source);
}

/* Does a write to both change these bytes now? It marks them when it has reached the source, and unmarks them later. */
static bool in_passing(const Mirror *m, uint64_t off, uint64_t len)
{
    const MirrorTop *top = (MirrorTop *)m->filter;

    return top->blocking && range_busy(&top->ranges, off, len, true);
}

/* Where the next copy begins and ends; false: nothing is marked from *at on. */
static bool next_dirty(Mirror *m, uint64_t *at, uint64_t *len)
{
    const uint64_t granule = m->dirty->granularity, chunk = MAX(job_chunk(&m->job, JOB_CHUNK), granule);

    for (; bitmap_next(m->dirty, at, UINT64_MAX, len); *at += *len) {
        *len = MIN(*len, chunk - *at % chunk);
        if (!in_passing(m, *at, *len))
            return true;
        *len = MIN(*len, granule - *at % granule);
        if (!in_passing(m, *at, *len))
            return true;
    }
    return false;
}

/* Once over the disk. Returns 1 if there was something to copy, 0 if not, or -ECANCELED. */
static int copy_dirty(Mirror *m, CoCrowd *crowd)
{
    uint64_t len;
    int begun = 0;

    for (uint64_t at = 0; !crowd->status; at += len) {
        uint64_t moved = m->moved;
        Op *op;

        m->moved = 0;
        if (job_point(&m->job, moved))
            return -ECANCELED;
        keep_up(m);
        if (!next_dirty(m, &at, &len))
            break;
        op = g_new(Op, 1);
        *op = (Op){ m, at, len };
        bitmap_unmark(m->dirty, at, len);
        m->busy += len;
        m->chased += len;
        crowd->max = job_workers(&m->job, MAX(1u, (unsigned)MIN(m->c.buf_size / JOB_CHUNK, 64)));
        crowd_start(crowd, op_run, op);
        begun = 1;
    }
    return begun;
}

static bool is_asked_to_end(const Job *j)
{
    return j->completing || j->cancelled;
}

static int mirror_loop(Mirror *m)
{
    CoCrowd crowd = { 0 };
    Job *j = &m->job;

    for (;;) {
        int ret = copy_dirty(m, &crowd), status = crowd_wait(&crowd);

        if (status < 0 || ret < 0)
            return status < 0 ? status : ret;
        show_progress(m);
        if (ret)
            continue;
        m->chased = 0;
        if (job_point(j, m->moved))
            return -ECANCELED;
        m->moved = 0;
        if (j->status == JOB_RUNNING) {
            ret = child_flush(((MirrorTop *)m->filter)->target);
            if (ret < 0)
                return ret;
            job_ready(j);
        }
        if (is_asked_to_end(j))
            return job_cancelled(j) ? -ECANCELED : 0;
        if (job_sleep(j, POLL_NS))
            return -ECANCELED;
    }
}

static int mirror_run(Job *j)
{
    Mirror *m = (Mirror *)j;
    int ret = look_through_all(m);

    show_progress(m);
    return ret < 0 ? ret : mirror_loop(m);
}

static Err *mirror_complete(Job *j)
{
    Mirror *m = (Mirror *)j;

    if (!m->c.replaces || m->replaces)
        return NULL;
    m->replaces = graph_find(j->graph, m->c.replaces);
    if (!m->replaces)
        return err(ERR_NOT_FOUND, "Cannot find a node named '%s'", m->c.replaces);
    node_ref(m->replaces);
    return NULL;
}

/* Drained: the last differences go over, and then both are the same. Nobody can be asked about errors any more. */
static int copy_rest(Mirror *m)
{
    uint64_t at = 0, len;

    while (bitmap_next(m->dirty, &at, UINT64_MAX, &len)) {
        bitmap_unmark(m->dirty, at, len);
        int ret = copy_range(m->copy, at, len, NULL);
        if (ret < 0)
            return ret;
    }
    return child_flush(((MirrorTop *)m->filter)->target);
}

/* The filter has no say in what happens to the target any more. */
static Err *let_go(Mirror *m)
{
    MirrorTop *top = (MirrorTop *)m->filter;

    copy_free(m->copy);
    m->copy = NULL;
    top->dirty = NULL;
    return child_refresh_perms(m->filter);
}

static Err *pivot(Mirror *m)
{
    disk_free(m->gate);
    m->gate = NULL;
    TRY(let_go(m));
    TRY(job_remove_filter(&m->filter));
    return node_replace(m->replaces ? m->replaces : m->source, m->target);
}

static int mirror_prepare(Job *j)
{
    Mirror *m = (Mirror *)j;
    Err *e = NULL;
    int ret;

    node_drain_begin(m->source);
    ret = copy_rest(m);
    if (ret >= 0 && !j->cancelled)
        e = pivot(m);
    if (!e && !j->cancelled)
        m->reopened = false;        /* it is written to from now on */
    node_drain_end(m->source);
    if (e) {
        job_fail(j, e);
        ret = -EPERM;
    }
    return MIN(ret, 0);
}

static void mirror_clean(Job *j)
{
    Mirror *m = (Mirror *)j;

    disk_free(m->gate);
    if (m->filter) {
        node_drain_begin(m->filter);        /* no write to both sides is halfway through */
        err_free(let_go(m));
        node_drain_end(m->filter);
    }
    copy_free(m->copy);
    err_free(job_remove_filter(&m->filter));
    bitmap_free(m->dirty);
    if (m->reopened)
        job_make_read_only(m->target);
    node_unref(m->replaces);
    node_unref(m->target);
    node_unref(m->source);
    g_free((char *)m->c.replaces);
}

static const JobDriver mirror_driver = {
    .name = "mirror", .size = sizeof(Mirror), .run = mirror_run, .complete = mirror_complete,
    .prepare = mirror_prepare, .clean = mirror_clean,
};
static const JobDriver commit_active_driver = {
    .name = "commit", .size = sizeof(Mirror), .run = mirror_run, .complete = mirror_complete,
    .prepare = mirror_prepare, .clean = mirror_clean,
};

/* ---- making */

static uint32_t choose_granularity(const Mirror *m)
{
    uint32_t cluster = node_skip_filters(m->target)->limits.cluster;

    return m->c.granularity ? m->c.granularity : cluster ? CLAMP(cluster, 4096, 1u << 20) : 65536;
}

static Err *put_filter(Mirror *m, const char *name)
{
    json_t *o = json_pack("{s:s, s:s, s:s}", "driver", "mirror-top", "file", node_name(m->source),
                          "target", node_name(m->target));
    MirrorTop *top;

    TRY(job_insert_filter(m->source, o, name, &m->filter));
    top = (MirrorTop *)m->filter;
    top->in_chain = m->commits;
    top->blocking = m->c.write_blocking;
    top->dirty = m->dirty;
    return child_refresh_perms(m->filter);
}

static Err *fit_sizes(Mirror *m)
{
    uint64_t want = node_size_now(m->source), is = node_size_now(m->target);

    if (want == is || (m->commits && is > want))
        return NULL;
    if (!m->commits)
        return err(ERR_INVALID, "'%s' has %" G_GUINT64_FORMAT " bytes, and the target '%s' has %" G_GUINT64_FORMAT,
                   node_path(m->source), want, node_path(m->target), is);
    return child_resize(((MirrorTop *)m->filter)->target, want, false, (Preallocation){ PREALLOC_OFF });
}

static Err *set_up(Mirror *m, const char *filter_name)
{
    MirrorTop *top;

    if (m->commits)
        TRY(job_make_writable(m->target, &m->reopened));
    TRY(bitmap_new(m->source, NULL, choose_granularity(m), &m->dirty));
    if (m->c.sync != SYNC_NONE)
        bitmap_mark(m->dirty, 0, m->source->size);
    TRY(put_filter(m, filter_name));
    TRY(fit_sizes(m));
    TRY(disk_new(m->filter, 0, PERM_ALL, m->job.id, &m->gate));
    top = (MirrorTop *)m->filter;
    CopyConfig k = copy_defaults(NULL, NULL);
    k.from_child = top->node.file;
    k.to_child = top->target;
    k.workers = JOB_WORKERS * 2;
    k.zero_flags = m->c.unmap ? REQ_UNMAP : 0;
    return copy_new(&k, &m->copy);
}

static Err *start(BlockNode *n, const MirrorConfig *config, BlockNode *base, bool commits, const JobConfig *c, Job **out)
{
    Mirror *m;
    Job *j;
    Err *e;

    TRY(job_new(n->graph, commits ? &commit_active_driver : &mirror_driver, c, &j));
    j->node = n;
    m = (Mirror *)j;
    m->c = *config;
    m->c.replaces = g_strdup(config->replaces);
    m->c.buf_size = config->buf_size ? config->buf_size : JOB_WORKERS * JOB_CHUNK;
    m->commits = commits;
    m->source = node_ref(n);
    m->target = node_ref(config->target);
    m->base = base;
    e = set_up(m, c->filter_name);
    if (e) {
        mirror_clean(j);
        job_drop(j);
        return e;
    }
    job_begin(j, c, out);
    return NULL;
}

Err *job_mirror(BlockNode *n, const MirrorConfig *m, const JobConfig *c, Job **out)
{
    BlockNode *layer = node_skip_filters(n);

    *out = NULL;
    if (m->sync != SYNC_FULL && m->sync != SYNC_TOP && m->sync != SYNC_NONE)
        return err(ERR_INVALID, "a mirror's sync is full, top or none");
    if (!m->target || node_reaches(n, m->target) || node_reaches(m->target, n))
        return err_hint(err(ERR_INVALID, "the target '%s' is a part of the source, or the other way round",
                            m->target ? node_path(m->target) : ""), "Into a backing file: commit.");
    if (m->target->read_only)
        return err(ERR_INVALID, "the target '%s' is read-only", node_path(m->target));
    if (m->granularity && (m->granularity < 512 || m->granularity > 64u << 20 || m->granularity & (m->granularity - 1)))
        return err(ERR_INVALID, "Parameter 'granularity' expects a power of 2 in range [512B, 64MB]");
    return start(n, m, m->sync == SYNC_TOP ? node_backing(layer) : NULL, false, c, out);
}

Err *job_commit_active(BlockNode *active, BlockNode *base, const JobConfig *c, Job **out)
{
    const MirrorConfig m = { .sync = SYNC_TOP, .target = base, .unmap = true };

    return start(active, &m, base, true, c, out);
}
