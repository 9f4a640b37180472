/* SPDX-License-Identifier: MIT */
/*
 * Each kind of job, while a guest writes at random to the disk, against a model
 * of its bytes: what the guest reads, what the target holds, the graph
 * afterwards, and the snapshot that copy-before-write keeps. What may happen to any of them: test_jobs_faults.c.
 */
#include "tests/unit/jobs-rig.h"

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
    return test_end();
}
