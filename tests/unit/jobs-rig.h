/* SPDX-License-Identifier: MIT */
/*
 * A disk that a guest writes to at random while a job runs on it, against a model of its bytes; chains of images to
 * open, and a watcher of a job's states. For the tests of block/job, each a program that includes it once.
 */
#include "block/bitmap.h"
#include "block/job.h"
#include "tests/unit/block-overlay.h"

extern const BlockDriver block_raw, block_copy_on_read, block_mirror_top, block_commit_top, block_copy_before_write,
                         block_snapshot_access;
const BlockDriver *const block_set[] = {
    &block_ram, &block_raw, &block_overlay, &block_copy_on_read, &block_mirror_top, &block_commit_top,
    &block_copy_before_write, &block_snapshot_access, NULL,
};

#define SIZE (1536u * 1024)
#define LANES 4

/* ---- the guest */

typedef struct Guest {
    Disk *d;
    uint8_t *model;
    bool stop, hold;            /* hold: no lane begins anything */
    bool may_fail;              /* a write that fails leaves its bytes unknown: they are written again */
    unsigned lanes, resting;
    CoQueue rest, gone;
    unsigned changes;
} Guest;

typedef struct Lane {
    Guest *g;
    uint64_t from, len;
} Lane;

static void lane_write(Lane *l, uint64_t off, uint64_t len)
{
    Guest *g = l->g;
    g_autofree uint8_t *buf = g_malloc(len);
    int ret;

    memset(buf, rand(), len);
    buf[0] = rand();
    buf[len - 1] = rand();
    ret = disk_write(g->d, off, &IOV_BUF(buf, len), 0);
    while (ret && g->may_fail)
        ret = disk_write(g->d, off, &IOV_BUF(buf, len), 0);
    CHECK_EQ(ret, 0);
    memcpy(g->model + off, buf, len);
    g->changes++;
}

static void lane_read(Lane *l, uint64_t off, uint64_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);
    int ret = disk_read(l->g->d, off, &IOV_BUF(buf, len), 0);

    if (ret && l->g->may_fail)
        return;
    CHECK_EQ(ret, 0);
    CHECK(!memcmp(buf, l->g->model + off, len));
}

static void lane_zero(Lane *l, uint64_t off, uint64_t len)
{
    Guest *g = l->g;
    int ret = disk_zero(g->d, off, len, REQ_UNMAP);

    while (ret && g->may_fail)
        ret = disk_zero(g->d, off, len, REQ_UNMAP);
    CHECK_EQ(ret, 0);
    memset(g->model + off, 0, len);
    g->changes++;
}

static void lane_run(void *arg)
{
    Lane *l = arg;
    Guest *g = l->g;

    while (!g->stop) {
        uint64_t len = 1 + rand() % (rand() % 4 ? 3000 : 100000), off;

        if (g->hold) {
            if (++g->resting == g->lanes)
                co_queue_wake_all(&g->gone);
            co_queue_wait(&g->rest);
            g->resting--;
            continue;
        }
        len = MIN(len, l->len);
        off = l->from + rand() % (l->len - len + 1);
        switch (rand() % 8) {
        case 0: case 1: case 2: lane_write(l, off, len); break;
        case 3:
            lane_zero(l, off, len);
            break;
        case 4: disk_flush(g->d); break;
        default: lane_read(l, off, len);
        }
        if (rand() % 4 == 0)
            co_sleep(rand() % 300000);
        else
            co_pause();
    }
    g_free(l);
    if (!--g->lanes)
        co_queue_wake_all(&g->gone);
}

/* Lanes hold bytes of their own, whose edges lie within units of their neighbours. */
static void guest_start(Guest *g, BlockNode *n)
{
    *g = (Guest){ .model = g_malloc(SIZE) };
    for (uint64_t i = 0; i < SIZE; i++)
        g->model[i] = overlay_byte(n, i);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED, "guest", &g->d)));
    for (unsigned i = 0; i < LANES; i++) {
        Lane *l = g_new(Lane, 1);

        *l = (Lane){ g, i * (uint64_t)SIZE / LANES + (i ? 100 : 0), SIZE / LANES - 100 };
        g->lanes++;
        co_start(co_loop(), lane_run, l);
    }
}

static void guest_hold(Guest *g)
{
    g->hold = true;
    while (g->resting < g->lanes)
        co_queue_wait(&g->gone);
}

static void guest_go(Guest *g)
{
    g->hold = false;
    co_queue_wake_all(&g->rest);
}

static void guest_stop(Guest *g)
{
    g->stop = true;
    co_queue_wake_all(&g->rest);
    while (g->lanes)
        co_queue_wait(&g->gone);
}

static void same_bytes(BlockNode *n, const uint8_t *want)
{
    uint64_t wrong = 0, first = 0;

    for (uint64_t i = 0; i < SIZE; i++)
        if (overlay_byte(n, i) != want[i] && !wrong++)
            first = i;
    if (wrong)
        printf("%" PRIu64 " bytes differ, the first at %" PRIu64 "\n", wrong, first);
    CHECK_EQ(wrong, 0);
}

/* Its disk is where it should be, and holds what the model says. */
static void guest_end(Guest *g, BlockNode *where)
{
    guest_stop(g);
    CHECK(disk_node(g->d) == where);
    same_bytes(where, g->model);
    disk_free(g->d);
    g_free(g->model);
}

/* ---- the disk */

static BlockNode *open_chain(BlockGraph *g, unsigned depth)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *prefix = g_strdup("");

    for (unsigned i = 0; i < depth; i++) {
        g_string_append_printf(text, "%s%sdriver=overlay,%ssize=%u,%sunit=%u,%syields=on,%snode-name=n%u", i ? "," : "",
                               prefix, prefix, i && rand() % 3 == 0 ? SIZE - 65536 * (1 + rand() % 4) : SIZE, prefix,
                               512u << rand() % 6, prefix, prefix, i);
        char *next = g_strconcat(prefix, "backing.", NULL);
        g_free(prefix);
        prefix = next;
    }
    BlockNode *n = open_text(g, text->str, OPEN_RW);
    for (BlockNode *at = n; at; at = at->backing ? at->backing->node : NULL)
        overlay_fill(at);
    return n;
}

static BlockNode *open_target(BlockGraph *g)
{
    g_autofree char *text = g_strdup_printf("driver=overlay,size=%u,unit=%u,yields=on", SIZE, 512u << rand() % 8);

    return open_text(g, text, OPEN_RW);
}

static BlockNode *below(BlockNode *n, unsigned depth)
{
    while (depth--)
        n = n->backing->node;
    return n;
}

static unsigned count_nodes(BlockGraph *g)
{
    unsigned count = 0;

    for (BlockNode *n = NULL; (n = graph_next(g, n)); )
        count++;
    return count;
}

/* ---- watching */

typedef struct Watcher { JobStatus last; unsigned errors; } Watcher;

/* From which states each may be reached. */
static const unsigned from_states[] = {
    [JOB_CREATED] = 0, [JOB_RUNNING] = 1 << JOB_CREATED | 1 << JOB_PAUSED, [JOB_PAUSED] = 1 << JOB_RUNNING,
    [JOB_READY] = 1 << JOB_RUNNING | 1 << JOB_STANDBY, [JOB_STANDBY] = 1 << JOB_READY,
    [JOB_WAITING] = 1 << JOB_RUNNING | 1 << JOB_READY, [JOB_PENDING] = 1 << JOB_WAITING,
    [JOB_ABORTING] = 1 << JOB_CREATED | 1 << JOB_RUNNING | 1 << JOB_READY | 1 << JOB_WAITING | 1 << JOB_PENDING,
    [JOB_CONCLUDED] = 1 << JOB_PENDING | 1 << JOB_ABORTING, [JOB_NULL] = 1 << JOB_CONCLUDED | 1 << JOB_CREATED,
};

static void note_state(void *opaque, Job *j, JobStatus was)
{
    Watcher *w = opaque;

    if (j->status == JOB_CREATED) {
        CHECK(was == JOB_NULL);
        return;
    }
    if (!(from_states[j->status] >> was & 1))
        printf("%s -> %s\n", job_status_names[was], job_status_names[j->status]);
    CHECK(from_states[j->status] >> was & 1);
    CHECK(w->last == was);
    w->last = j->status;
}

static void note_error(void *opaque, Job *j, bool read, int error)
{
    ((Watcher *)opaque)->errors++;
}

static JobConfig config(Watcher *w)
{
    *w = (Watcher){ 0 };
    return (JobConfig){ .event = note_state, .io_error = note_error, .opaque = w };
}
