/* SPDX-License-Identifier: MIT */
/*
 * block/job and each kind of job, while a guest writes at random to the disk,
 * against a model of its bytes: what the guest reads, what the target holds, the
 * graph afterwards; pauses, cancelling at any moment, errors, speed,
 * transactions, and the snapshot that copy-before-write keeps.
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
    bool lossy;                 /* a job ignores errors: the disk may lose what it held */
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
    CHECK(l->g->lossy || !memcmp(buf, l->g->model + off, len));
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

/* Stops it now and then; waits until it is ready, if `ready`, or has ended (it must be dismissed by hand). */
static void tease(Job *j, JobStatus until)
{
    while (j->status < until && j->status < JOB_WAITING) {
        co_sleep(rand() % 3000000);
        if (rand() % 3 == 0 && j->status < JOB_WAITING && !j->user_paused) {
            uint64_t done;

            CHECK(ok(job_pause(j)));
            co_sleep(2000000);
            done = j->done;
            co_sleep(2000000);
            if (j->status == JOB_PAUSED || j->status == JOB_STANDBY)
                CHECK(j->done <= done + 16 * (1 << 20));
            CHECK(ok(job_resume(j)));
        }
    }
}

/* ---- stream */

static void one_stream(BlockGraph *g)
{
    unsigned depth = 2 + rand() % 3, keep = 1 + rand() % depth, nodes;
    BlockNode *n = open_chain(g, depth), *base = keep < depth ? below(n, keep) : NULL;
    JobConfig c;
    Watcher w;
    Guest guest;
    Job *j;

    if (base)
        node_ref(base);
    guest_start(&guest, n);
    c = config(&w);
    c.id = "s";
    c.manual_dismiss = true;
    CHECK(ok(job_stream(n, base, base ? "there.img" : NULL, &c, &j)));
    CHECK(job_find(g, "s") == j && disk_node(guest.d) != n);
    tease(j, JOB_WAITING);
    CHECK_EQ(job_wait(j, NULL), 0);
    CHECK(w.last == JOB_NULL);
    CHECK(!job_next(g, NULL));
    CHECK((n->backing ? n->backing->node : NULL) == base);
    CHECK_STR(((Overlay *)n)->said_backing, base ? "there.img" : "");
    nodes = count_nodes(g);
    CHECK_EQ(nodes, base ? depth - keep + 1 : 1);
    guest_end(&guest, n);
    node_unref(base);
    node_unref(n);
}

static void test_stream(BlockGraph *g)
{
    for (unsigned i = 0; i < 12 && !test_case_bad; i++)
        one_stream(g);
}

/* ---- commit */

static void one_commit(BlockGraph *g)
{
    unsigned depth = 3 + rand() % 2, t = 1 + rand() % (depth - 2), b = t + 1 + rand() % (depth - t - 1);
    BlockNode *n = open_chain(g, depth), *top = below(n, t), *base = below(n, b);
    JobConfig c;
    Watcher w;
    Guest guest;
    Job *j;

    guest_start(&guest, n);
    c = config(&w);
    CHECK(ok(job_commit(n, top, base, "base.img", &c, &j)));
    CHECK_EQ(job_wait(j, NULL), 0);
    CHECK(below(n, t) == base);
    CHECK_STR(((Overlay *)below(n, t - 1))->said_backing, "base.img");
    CHECK_EQ(count_nodes(g), depth - (b - t));
    CHECK(base->read_only && (t == 1 || below(n, t - 1)->read_only));
    guest_end(&guest, n);
    node_unref(n);
}

static void one_active_commit(BlockGraph *g)
{
    unsigned depth = 2 + rand() % 3, b = 1 + rand() % (depth - 1);
    BlockNode *n = open_chain(g, depth), *base = below(n, b);
    JobConfig c;
    Watcher w;
    Guest guest;
    Job *j;

    guest_start(&guest, n);
    c = config(&w);
    c.manual_dismiss = true;
    CHECK(ok(job_commit(n, n, base, NULL, &c, &j)));
    CHECK(fails(job_complete(j), "cannot accept"));
    tease(j, JOB_READY);
    while (j->status != JOB_READY)
        co_sleep(1000000);
    if (rand() % 3) {
        CHECK(ok(job_complete(j)));
        CHECK_EQ(job_wait(j, NULL), 0);
        CHECK(!base->read_only);
        guest_end(&guest, base);
    } else {
        CHECK(ok(job_cancel(j, rand() % 2)));
        job_wait(j, NULL);
        CHECK(base->read_only);
        guest_end(&guest, n);
    }
    node_unref(n);
}

static void test_commit(BlockGraph *g)
{
    for (unsigned i = 0; i < 8 && !test_case_bad; i++)
        one_commit(g);
    for (unsigned i = 0; i < 10 && !test_case_bad; i++)
        one_active_commit(g);
}

/* ---- mirror */

static void one_mirror(BlockGraph *g)
{
    BlockNode *n = open_chain(g, 1 + rand() % 3), *target = open_target(g);
    MirrorConfig m = { .sync = SYNC_FULL, .target = target, .write_blocking = rand() % 2, .target_is_zero = rand() % 2,
                       .granularity = rand() % 2 ? 0 : 512u << rand() % 12, .unmap = rand() % 2 };
    unsigned how = rand() % 3;
    JobConfig c;
    Watcher w;
    Guest guest;
    Job *j;

    if (!m.target_is_zero)
        overlay_fill(target);
    guest_start(&guest, n);
    c = config(&w);
    c.manual_dismiss = true;
    CHECK(ok(job_mirror(n, &m, &c, &j)));
    tease(j, JOB_READY);
    while (j->status != JOB_READY)
        co_sleep(1000000);
    co_sleep(rand() % 5000000);
    CHECK(j->done <= j->total);
    if (how == 2)
        guest_hold(&guest);
    CHECK(ok(how ? job_cancel(j, false) : job_complete(j)));
    CHECK_EQ(job_wait(j, NULL), 0);
    if (how == 2)
        same_bytes(target, guest.model);
    guest_end(&guest, how ? n : target);
    CHECK(!n->bitmaps);
    if (test_case_bad)
        printf("how %u, blocking %d, target_is_zero %d, granularity %u, unit %u\n", how, m.write_blocking, m.target_is_zero,
               m.granularity, ((Overlay *)target)->unit);
    node_unref(n);
    node_unref(target);
}

static void test_mirror(BlockGraph *g)
{
    for (unsigned i = 0; i < 16 && !test_case_bad; i++)
        one_mirror(g);
}

typedef struct Chaser { Disk *d; unsigned at; bool *stop; unsigned *alive; } Chaser;

static void chaser_run(void *arg)
{
    Chaser *c = arg;
    uint8_t byte = 0;

    while (!*c->stop) {
        byte++;
        CHECK_EQ(disk_write(c->d, c->at, &IOV_BUF(&byte, 1), 0), 0);
        co_pause();
    }
    --*c->alive;
}

/* A guest that writes everywhere at each turn is mirrored all the same; drains meanwhile, and they end. */
static void test_mirror_chase(BlockGraph *g)
{
    for (unsigned blocking = 0; blocking < 2; blocking++) {
        BlockNode *n = open_chain(g, 1), *target = open_target(g);
        MirrorConfig m = { .sync = SYNC_FULL, .target = target, .granularity = 4096, .write_blocking = blocking };
        Chaser c[32];
        unsigned alive = 0;
        bool stop = false;
        JobConfig jc;
        Watcher w;
        Disk *d;
        Job *j;

        CHECK(ok(disk_new(n, PERM_WRITE, PERM_ALL, "guest", &d)));
        for (unsigned i = 0; i < 32; i++) {
            c[i] = (Chaser){ .d = d, .at = i * (SIZE / 32) + i, .stop = &stop, .alive = &alive };
            alive++;
            co_start(co_loop(), chaser_run, &c[i]);
        }
        jc = config(&w);
        jc.manual_dismiss = true;
        CHECK(ok(job_mirror(n, &m, &jc, &j)));
        while (j->status != JOB_READY) {
            node_drain_begin(n);
            node_drain_end(n);
            co_sleep(500000);
        }
        CHECK(ok(job_complete(j)));
        CHECK_EQ(job_wait(j, NULL), 0);
        CHECK(disk_node(d) == target);
        stop = true;
        while (alive)
            co_sleep(100000);
        disk_free(d);
        node_unref(n);
        node_unref(target);
    }
}

static void test_mirror_top(BlockGraph *g)
{
    BlockNode *n = open_chain(g, 3), *target;
    MirrorConfig m = { .sync = SYNC_TOP };
    JobConfig c;
    Watcher w;
    Guest guest;
    Job *j;
    json_t *o = json_pack("{s:s, s:i, s:s}", "driver", "overlay", "size", SIZE, "backing", "n1");

    CHECK(ok(node_open(g, o, OPEN_RW, &target)));
    json_decref(o);
    m.target = target;
    guest_start(&guest, n);
    c = config(&w);
    CHECK(ok(job_mirror(n, &m, &c, &j)));
    while (j->status != JOB_READY)
        co_sleep(1000000);
    CHECK(ok(job_complete(j)));
    CHECK_EQ(job_wait(j, NULL), 0);
    CHECK(target->backing->node == n->backing->node);
    guest_end(&guest, target);
    node_unref(n);
    node_unref(target);
}

/* ---- backup */

static void one_backup(BlockGraph *g)
{
    BlockNode *n = open_chain(g, 1 + rand() % 3), *target = open_target(g);
    BackupConfig b = { .sync = SYNC_FULL, .target = target, .compress = rand() % 4 == 0 };
    g_autofree uint8_t *then = NULL;
    JobConfig c;
    Watcher w;
    Guest guest;
    Job *j;

    overlay_fill(target);
    guest_start(&guest, n);
    co_sleep(1000000);
    guest_hold(&guest);
    then = g_memdup2(guest.model, SIZE);
    c = config(&w);
    c.manual_dismiss = true;
    CHECK(ok(job_backup(n, &b, &c, &j)));
    guest_go(&guest);
    tease(j, JOB_WAITING);
    CHECK_EQ(job_wait(j, NULL), 0);
    same_bytes(target, then);
    guest_end(&guest, n);
    CHECK_EQ(count_nodes(g), 2 + (n->backing != NULL) + (n->backing && n->backing->node->backing));
    node_unref(n);
    node_unref(target);
}

static void test_backup(BlockGraph *g)
{
    for (unsigned i = 0; i < 12 && !test_case_bad; i++)
        one_backup(g);
}

/* A full one, then incremental ones onto the same target; some fail or are cancelled, and lose nothing. */
static void test_incremental(BlockGraph *g)
{
    BlockNode *n = open_chain(g, 2), *target = open_target(g);
    BackupConfig b = { .sync = SYNC_FULL, .target = target };
    DirtyBitmap *bitmap;
    Guest guest;
    bool full = true;

    guest_start(&guest, n);
    for (unsigned i = 0; i < 14 && !test_case_bad; i++) {
        g_autofree uint8_t *then = NULL;
        bool fails_ = !full && rand() % 3 == 0;
        JobConfig c;
        Watcher w;
        Job *j;
        int ret;

        co_sleep(rand() % 2000000);
        guest_hold(&guest);
        if (full)
            CHECK(ok(bitmap_new(n, "b", 512u << rand() % 10, &bitmap)));
        then = g_memdup2(guest.model, SIZE);
        c = config(&w);
        b.bitmap_mode = full ? BITMAP_NEVER : rand() % 2 ? BITMAP_ALWAYS : BITMAP_ON_SUCCESS;
        b.bitmap = full ? NULL : bitmap;
        b.sync = full ? SYNC_FULL : SYNC_BITMAP;
        if (fails_ && rand() % 2)
            ((Overlay *)target)->fail_write = 1 + rand() % 10;
        c.speed = fails_ ? 4 << 20 : 0;
        CHECK(ok(job_backup(n, &b, &c, &j)));
        if (!full)
            CHECK(fails(bitmap_remove(n, "b"), "in use"));
        guest.may_fail = true;
        guest_go(&guest);
        if (fails_ && !((Overlay *)target)->fail_write) {
            Job *same;

            co_sleep(rand() % 3000000);
            same = job_next(g, NULL);
            if (same)
                CHECK(ok(job_cancel(same, true)));
            while (job_next(g, NULL))
                co_sleep(1000000);
            ret = -1;
        } else {
            ret = job_wait(j, NULL);
        }
        CHECK(ret == 0 || fails_);
        if (ret == 0)
            same_bytes(target, then);
        full = false;
        ((Overlay *)target)->fail_write = 0;
        CHECK_EQ(bitmap->busy, 0);
    }
    CHECK(ok(bitmap_remove(n, "b")));
    guest_end(&guest, n);
    node_unref(n);
    node_unref(target);
}

/* The guest's own failure when it comes to that, or the snapshot's. */
static void test_cbw_errors(BlockGraph *g)
{
    for (unsigned break_snapshot = 0; break_snapshot < 2; break_snapshot++) {
        BlockNode *n = open_text(g, "driver=overlay,size=1M,node-name=src", OPEN_RW);
        BlockNode *target = open_text(g, "driver=overlay,size=1M,node-name=dst", OPEN_RW), *filter, *access;
        uint8_t byte = 7, buf[4096];
        Disk *d, *r;
        json_t *o;

        memset(((Overlay *)n)->state, OVERLAY_DATA, 256);
        memset(((Overlay *)n)->mem, 5, 1 << 20);
        CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "guest", &d)));
        o = keyval(break_snapshot ? "driver=copy-before-write,file=src,target=dst,on-cbw-error=break-snapshot,node-name=cbw"
                                  : "driver=copy-before-write,file=src,target=dst,node-name=cbw");
        CHECK(ok(node_insert_above(n, o, &filter)));
        json_decref(o);
        access = open_text(g, "driver=snapshot-access,file=cbw,discard=unmap", OPEN_RW);
        CHECK(ok(disk_new(access, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "backup program", &r)));
        CHECK_EQ(disk_write(d, 0, &IOV_BUF(&byte, 1), 0), 0);
        CHECK_EQ(disk_read(r, 0, &IOV_BUF(buf, 4096), 0), 0);
        CHECK_EQ(buf[0], 5);
        ((Overlay *)target)->fail_write = 1;
        CHECK_EQ(disk_write(d, 500000, &IOV_BUF(&byte, 1), 0), break_snapshot ? 0 : -EIO);
        CHECK_EQ(disk_read(r, 500000, &IOV_BUF(buf, 4096), 0), break_snapshot ? -EACCES : 0);
        if (!break_snapshot) {
            uint64_t was = ((Overlay *)target)->written_bytes;

            CHECK_EQ(disk_discard(r, 131072, 131072 + 60000), 0);       /* two granules, and a part that does not count */
            CHECK_EQ(disk_write(d, 200000, &IOV_BUF(&byte, 1), 0), 0);
            CHECK_EQ(((Overlay *)target)->written_bytes, was);
            CHECK_EQ(disk_read(r, 140000, &IOV_BUF(buf, 512), 0), -EACCES);
            CHECK_EQ(disk_read(r, 262144, &IOV_BUF(buf, 512), 0), 0);
        }
        CHECK_EQ(disk_write(r, 0, &IOV_BUF(&byte, 1), 0), -EACCES);
        disk_free(r);
        node_unref(access);
        CHECK(ok(node_replace(filter, n)));
        node_unref(filter);
        disk_free(d);
        node_unref(target);
        node_unref(n);
    }
}

/* All of the snapshot is read, again and again, while the guest writes. */
static void test_fleecing(BlockGraph *g)
{
    BlockNode *n = open_chain(g, 2), *target = open_target(g), *filter, *access;
    g_autofree uint8_t *then = NULL, *buf = g_malloc(SIZE);
    Guest guest;
    json_t *o;
    Disk *r;

    guest_start(&guest, n);
    co_sleep(1000000);
    guest_hold(&guest);
    then = g_memdup2(guest.model, SIZE);
    o = json_pack("{s:s, s:s, s:s, s:s, s:i}", "driver", "copy-before-write", "file", "n0", "target", node_name(target),
                  "node-name", "cbw", "cbw-timeout", 100);
    CHECK(ok(node_insert_above(n, o, &filter)));
    json_decref(o);
    access = open_text(g, "driver=snapshot-access,file=cbw", 0);
    CHECK(ok(disk_new(access, PERM_CONSISTENT_READ, PERM_ALL, "backup program", &r)));
    guest_go(&guest);
    for (unsigned i = 0; i < 200; i++) {
        uint64_t len = 1 + rand() % 200000, off = rand() % (SIZE - len);
        Extent x;

        CHECK_EQ(disk_read(r, off, &IOV_BUF(buf, len), 0), 0);
        CHECK(!memcmp(buf, then + off, len));
        CHECK_EQ(node_extent(access, off, len, &x), 0);
        for (uint64_t k = 0; x.flags & EXTENT_ZERO && k < x.len; k++)
            CHECK_EQ(then[off + k], 0);
        co_pause();
    }
    disk_free(r);
    node_unref(access);
    CHECK(ok(node_replace(filter, n)));
    node_unref(filter);
    guest_end(&guest, n);
    node_unref(target);
    node_unref(n);
}

/* ---- what goes wrong */

static void start_any(BlockNode *n, BlockNode *target, unsigned kind, const JobConfig *c, Job **j)
{
    MirrorConfig m = { .sync = SYNC_FULL, .target = target, .write_blocking = kind == 1 };
    BackupConfig b = { .sync = SYNC_FULL, .target = target };

    switch (kind) {
    case 0: case 1: CHECK(ok(job_mirror(n, &m, c, j))); break;
    case 2:         CHECK(ok(job_backup(n, &b, c, j))); break;
    case 3:         CHECK(ok(job_stream(n, NULL, NULL, c, j))); break;
    case 4:         CHECK(ok(job_commit(n, below(n, 1), below(n, 2), NULL, c, j))); break;
    default:        CHECK(ok(job_commit(n, n, below(n, 2), NULL, c, j)));
    }
}
#define KINDS 6

/* At any moment, with and without force: the guest and the chain are as if it had never been; or it ends already, and does. */
static void test_cancel(BlockGraph *g)
{
    for (unsigned i = 0; i < 30 && !test_case_bad; i++) {
        BlockNode *n = open_chain(g, 3), *target = open_target(g), *b1 = below(n, 1), *b2 = below(n, 2), *where;
        unsigned kind = i % KINDS;
        JobConfig c;
        bool ending = false;
        Watcher w;
        Guest guest;
        Job *j;

        guest_start(&guest, n);
        c = config(&w);
        c.manual_dismiss = true;
        c.speed = rand() % 2 ? 8 << 20 : 0;
        start_any(n, target, kind, &c, &j);
        if (c.speed || rand() % 3)
            co_sleep(rand() % 6000000);
        else                    /* in its last step, where that waits for a disk */
            for (int64_t end = loop_now() + 50000000; j->status < JOB_READY && loop_now() < end;)
                co_pause();
        if (j->status < JOB_ABORTING) {
            if (rand() % 3 == 0 && j->status < JOB_WAITING)
                CHECK(ok(job_pause(j)));
            ending = j->status == JOB_PENDING;
            if (ending)
                CHECK(fails(job_cancel(j, true), "cannot accept"));
            else
                CHECK(ok(job_cancel(j, rand() % 2)));
        }
        job_wait(j, NULL);
        where = disk_node(guest.d);
        CHECK(where == n);
        if (w.last == JOB_NULL && kind < 3 && !ending)
            CHECK(below(n, 1) == b1 && below(n, 2) == b2);
        guest_end(&guest, n);
        CHECK(!job_next(g, NULL));
        node_unref(n);
        node_unref(target);
    }
}

/* The n-th request of a side fails. Report: the job does. Stop: it goes on when told. Ignore: it goes on. */
static void test_errors(BlockGraph *g)
{
    for (unsigned i = 0; i < 36 && !test_case_bad; i++) {
        BlockNode *n = open_chain(g, 3), *target = open_target(g);
        unsigned kind = i % KINDS, at = 1 + rand() % 12;
        OnError how = (OnError[]){ ON_ERROR_REPORT, ON_ERROR_STOP, ON_ERROR_IGNORE, ON_ERROR_ENOSPC }[rand() % 4];
        bool no_space = rand() % 2, wrong_kind = how == ON_ERROR_ENOSPC && !no_space;
        Overlay *side = (Overlay *)(kind < 3 ? target : kind == 3 ? n : below(n, 2));
        g_autofree uint8_t *then = NULL;
        JobConfig c;
        Watcher w;
        Guest guest;
        Job *j;
        int ret;

        guest_start(&guest, n);
        guest_hold(&guest);
        then = g_memdup2(guest.model, SIZE);
        c = config(&w);
        c.manual_dismiss = true;
        c.on_read_error = c.on_write_error = how;
        side->fail_errno = no_space ? ENOSPC : EIO;
        start_any(n, target, kind, &c, &j);
        side->fail_write = at;
        if (kind != 3)
            guest_go(&guest);               /* the stream's writes and the guest's go to one node */
        guest.may_fail = true;
        guest.lossy = how == ON_ERROR_IGNORE && kind >= 3;
        while (j->status < JOB_CONCLUDED) {
            if (j->io_status) {
                CHECK(j->user_paused);
                CHECK_EQ(j->io_status, side->fail_errno);
                CHECK(ok(job_resume(j)));
            }
            if (j->status == JOB_READY)
                CHECK(ok(job_complete(j)));
            co_sleep(1000000);
        }
        ret = job_wait(j, NULL);
        if (ret)                /* a mirror's last step, with everything drained, asks nobody */
            CHECK((how == ON_ERROR_REPORT || wrong_kind || !w.errors) && ret == -side->fail_errno);
        side->fail_write = 0;
        guest_go(&guest);
        if (!ret && kind == 2 && how != ON_ERROR_IGNORE)
            same_bytes(target, then);
        /* What ignored errors leave out of a stream or commit is lost on purpose; the guest's disk must be whole else. */
        if (how == ON_ERROR_IGNORE && w.errors && kind >= 3) {
            guest_stop(&guest);
            disk_free(guest.d);
            g_free(guest.model);
        } else {
            guest_end(&guest, disk_node(guest.d));
        }
        node_unref(n);
        node_unref(target);
    }
}

/* 1.5 MiB at 16 MiB a second, then without a limit. */
static void test_speed(BlockGraph *g)
{
    for (unsigned kind = 0; kind < KINDS; kind++) {
        BlockNode *n = open_chain(g, 3), *target = open_target(g);
        int64_t start = loop_now();
        JobConfig c;
        Watcher w;
        Job *j;

        for (BlockNode *b = n; b; b = b->backing ? b->backing->node : NULL) {
            memset(((Overlay *)b)->state, b == n && kind == 3 ? OVERLAY_BELOW : OVERLAY_DATA, ((Overlay *)b)->units);
            memset(((Overlay *)b)->mem, 9, ((Overlay *)b)->units * ((Overlay *)b)->unit);
        }
        c = config(&w);
        c.manual_dismiss = true;
        c.speed = 16 << 20;
        start_any(n, target, kind, &c, &j);
        while (j->status != JOB_READY && j->status < JOB_CONCLUDED) {
            co_sleep(1000000);
            if (j->speed && loop_now() - start > 40000000)
                CHECK(ok(job_set_speed(j, 0)));
        }
        CHECK(loop_now() - start >= 40000000);
        if (j->status == JOB_READY)
            CHECK(ok(job_complete(j)));
        CHECK_EQ(job_wait(j, NULL), 0);
        node_unref(n);
        node_unref(target);
    }
}

/* Two backups, all or none; by hand. */
static void test_transaction(BlockGraph *g)
{
    for (unsigned round = 0; round < 4; round++) {
        BlockNode *n[2], *target[2];
        Watcher w[2];
        Job *j[2];
        struct JobTxn *t = jobtxn_new();

        for (unsigned i = 0; i < 2; i++) {
            BackupConfig b = { .sync = SYNC_FULL };
            JobConfig c = config(&w[i]);

            n[i] = open_text(g, "driver=overlay,size=1M", OPEN_RW);
            memset(((Overlay *)n[i])->state, OVERLAY_DATA, 256);
            memset(((Overlay *)n[i])->mem, 1, 1 << 20);
            b.target = target[i] = open_text(g, "driver=overlay,size=1M", OPEN_RW);
            c.id = i ? "one" : "two";
            c.txn = t;
            c.manual_start = c.manual_finalize = c.manual_dismiss = true;
            CHECK(ok(job_backup(n[i], &b, &c, &j[i])));
        }
        jobtxn_unref(t);
        CHECK(fails(job_finalize(j[0]), "cannot accept"));
        if (round == 1)
            ((Overlay *)target[1])->fail_write = 1;
        if (round == 3)
            ((Overlay *)target[1])->fail_flush = 1;
        if (round == 2) {
            CHECK(ok(job_cancel(j[1], false)));
            CHECK(!job_next(g, NULL));          /* what never began is not kept for job_dismiss */
            for (unsigned i = 0; i < 2; i++) {
                node_unref(n[i]);
                node_unref(target[i]);
            }
            continue;
        }
        for (unsigned i = 0; i < 2; i++)
            job_start(j[i]);
        while (j[0]->status < JOB_PENDING)
            co_sleep(1000000);
        if (round == 0 || round == 3) {
            CHECK_EQ(j[1]->status, JOB_PENDING);
            CHECK(ok(job_finalize(j[1])));
        }
        while (j[0]->status < JOB_CONCLUDED || j[1]->status < JOB_CONCLUDED)
            co_sleep(1000000);
        CHECK_EQ(j[0]->ret, round ? -ECANCELED : 0);
        CHECK_EQ(j[1]->ret, round == 1 || round == 3 ? -EIO : round ? -ECANCELED : 0);
        for (unsigned i = 0; i < 2; i++) {
            CHECK(ok(job_dismiss(j[i])));
            node_unref(n[i]);
            node_unref(target[i]);
        }
        CHECK(!job_next(g, NULL));
    }
}

static void test_refused(BlockGraph *g)
{
    BlockNode *n = open_chain(g, 3), *target = open_text(g, "driver=overlay,size=1M", OPEN_RW);
    JobConfig c = { .id = "j" };
    MirrorConfig m = { .sync = SYNC_FULL, .target = target };
    BackupConfig b = { .sync = SYNC_FULL, .target = target };
    Job *j;

    CHECK(fails(job_mirror(n, &m, &c, &j), "bytes"));
    CHECK(fails(job_backup(n, &b, &c, &j), "different sizes"));
    m.target = below(n, 1);
    b.target = n;
    CHECK(fails(job_mirror(n, &m, &c, &j), "part of the source"));
    CHECK(fails(job_backup(n, &b, &c, &j), "cannot be the same"));
    m.target = target;
    m.sync = SYNC_INCREMENTAL;
    CHECK(fails(job_mirror(n, &m, &c, &j), "full, top or none"));
    CHECK(fails(job_stream(below(n, 1), NULL, NULL, &c, &j), "read-only"));
    CHECK(fails(job_stream(n, target, NULL, &c, &j), "not a backing image"));
    CHECK(fails(job_commit(n, below(n, 2), below(n, 1), NULL, &c, &j), "not in the backing chain"));
    CHECK(fails(job_commit(n, n, below(n, 1), "x", &c, &j), "active layer"));
    c.id = "1x";
    CHECK(fails(job_stream(n, NULL, NULL, &c, &j), "Invalid job ID"));
    CHECK(!job_next(g, NULL));
    c.id = "x";
    c.manual_start = true;
    CHECK(ok(job_stream(n, NULL, NULL, &c, &j)));
    CHECK(fails(job_commit(n, below(n, 1), below(n, 2), NULL, &c, &j), "already in use"));
    j = job_find(g, "x");
    CHECK(fails(job_complete(j), "cannot accept"));
    CHECK(fails(job_resume(j), "not paused"));
    CHECK(ok(job_cancel(j, false)));
    CHECK(!job_next(g, NULL));
    CHECK_EQ(count_nodes(g), 4);
    node_unref(n);
    node_unref(target);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    srand(argc > 1 ? (unsigned)atoi(argv[1]) : 1);
    RUN_IN_GRAPH(test_stream);
    RUN_IN_GRAPH(test_commit);
    RUN_IN_GRAPH(test_mirror);
    RUN_IN_GRAPH(test_mirror_chase);
    RUN_IN_GRAPH(test_mirror_top);
    RUN_IN_GRAPH(test_backup);
    RUN_IN_GRAPH(test_incremental);
    RUN_IN_GRAPH(test_cbw_errors);
    RUN_IN_GRAPH(test_fleecing);
    RUN_IN_GRAPH(test_cancel);
    RUN_IN_GRAPH(test_errors);
    RUN_IN_GRAPH(test_speed);
    RUN_IN_GRAPH(test_transaction);
    RUN_IN_GRAPH(test_refused);
    return test_end();
}
