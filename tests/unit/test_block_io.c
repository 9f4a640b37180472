/* SPDX-License-Identifier: MIT */
/*
 * block/io, block/disk: random requests of any alignment through raw over
 * memory that wants blocks, side by side, against a model; flushes; errors; the
 * end of the node.
 */
#include "tests/unit/block-ram.h"

extern const BlockDriver block_raw;
const BlockDriver *const block_set[] = { &block_ram, &block_raw, NULL };

#define SIZE (256 * 1024)
#define LANES 8

/* Each lane has its own stretch of the disk, whose edges lie within blocks of the others. */
typedef struct Lane {
    Disk *d;
    uint8_t *model;
    uint64_t from, len;
    unsigned seed, rounds;
} Lane;

static unsigned draw(Lane *l, unsigned n)
{
    return rand_r(&l->seed) % n;
}

/* Scattered over up to 5 pieces. */
static void do_rw(Lane *l, uint64_t off, size_t len, bool write)
{
    g_autofree uint8_t *buf = g_malloc(len);
    struct iovec v[5];
    unsigned n = 0;

    for (size_t at = 0; at < len; n++) {
        size_t piece = n == 4 ? len - at : MIN(1 + draw(l, len), len - at);
        v[n] = (struct iovec){ buf + at, piece };
        at += piece;
    }
    IoVec q = { v, n, 0, len };
    if (!write) {
        CHECK_EQ(disk_read(l->d, off, &q, 0), 0);
        CHECK(!memcmp(buf, l->model + off, len));
        return;
    }
    memset(buf, draw(l, 3) ? draw(l, 256) : 0, len);
    CHECK_EQ(disk_write(l->d, off, &q, draw(l, 8) ? 0 : REQ_FUA), 0);
    memcpy(l->model + off, buf, len);
}

static int lane_run(void *arg)
{
    Lane *l = arg;

    for (unsigned i = 0; i < l->rounds; i++) {
        size_t len = 1 + draw(l, draw(l, 4) ? 700 : 20000);
        uint64_t off;

        len = MIN(len, l->len);
        off = l->from + draw(l, l->len - len + 1);
        switch (draw(l, 6)) {
        case 0: case 1: do_rw(l, off, len, true); break;
        case 2:
            CHECK_EQ(disk_zero(l->d, off, len, draw(l, 2) ? REQ_UNMAP : 0), 0);
            memset(l->model + off, 0, len);
            break;
        case 3: CHECK_EQ(disk_discard(l->d, off, len), 0); break;    /* the model's memory keeps it */
        case 4:
            if (!draw(l, 8))
                CHECK_EQ(disk_flush(l->d), 0);
            /* fallthrough */
        default: do_rw(l, off, len, false);
        }
    }
    return 0;
}

static void storm(BlockGraph *g, const char *options)
{
    BlockNode *n = open_text(g, options, OPEN_RW);
    g_autofree uint8_t *model = g_malloc0(SIZE), *all = g_malloc(SIZE);
    Lane lanes[LANES];
    CoCrowd crowd = { .max = LANES };
    Disk *d = NULL;

    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_size(d), SIZE);
    for (unsigned i = 0; i < LANES; i++) {
        uint64_t from = i * (SIZE / LANES) + (i ? 77 * i : 0);
        uint64_t to = i + 1 < LANES ? (i + 1) * (SIZE / LANES) + 77 * (i + 1) : SIZE;

        lanes[i] = (Lane){ d, model, from, to - from, i + 1, 150 };
        crowd_start(&crowd, lane_run, &lanes[i]);
    }
    crowd_wait(&crowd);
    CHECK_EQ(disk_read(d, 0, &IOV_BUF(all, SIZE), 0), 0);
    CHECK(!memcmp(all, model, SIZE));
    CHECK(!ram_of(n)->bad);
    CHECK_EQ(n->in_flight, 0);
    disk_free(d);
    node_unref(n);
}

static void test_align_1(BlockGraph *g)
{
    storm(g, "driver=raw,file.driver=ram,file.size=256K,file.yields=on");
}

static void test_align_512(BlockGraph *g)
{
    storm(g, "driver=raw,file.driver=ram,file.size=256K,file.align=512,file.yields=on,discard=unmap");
}

static void test_align_4096(BlockGraph *g)
{
    storm(g, "driver=raw,file.driver=ram,file.size=256K,file.align=4096,file.yields=on,file.zero-align=16384,"
          "detect-zeroes=on,file.max-transfer=8192");
}

static void test_no_zero(BlockGraph *g)
{
    storm(g, "driver=raw,detect-zeroes=unmap,discard=unmap,file.driver=ram,file.size=256K,file.align=4096,"
          "file.yields=on,file.no-zero=on");
}

static void test_window(BlockGraph *g)
{
    storm(g, "driver=raw,offset=1000,size=262144,file.driver=ram,file.size=512K,file.align=512,file.yields=on");
}

static void test_node_end(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram,file.size=1000", OPEN_RW);
    uint8_t buf[2000];
    Disk *d = NULL;

    memset(buf, 7, sizeof(buf));
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_size(d), 1024);
    CHECK_EQ(-disk_read(d, 1000, &IOV_BUF(buf, 25), 0), EIO);
    CHECK_EQ(disk_read(d, 990, &IOV_BUF(buf, 34), 0), 0);
    CHECK(buf[9] == 0 && buf[33] == 0);
    CHECK_EQ(-disk_write(d, 1024, &IOV_BUF(buf, 1), 0), EIO);
    CHECK_EQ(-disk_zero(d, 0, 1025, 0), EIO);
    CHECK_EQ(-disk_discard(d, 1024, 512), EIO);
    CHECK_EQ(-disk_read(d, UINT64_MAX - 3, &IOV_BUF(buf, 25), 0), EINVAL);
    CHECK_EQ(-disk_zero(d, 16, UINT64_MAX - 15, 0), EINVAL);
    /* The last sector becomes real when it is written. */
    CHECK_EQ(disk_write(d, 512, &IOV_BUF(buf, 512), 0), 0);
    CHECK_EQ(node_size(node_storage(n)), 1024);
    CHECK(fails(disk_resize(d, 4096, true, (Preallocation){ 0 }, 0), "resize"));
    CHECK(ok(disk_set_perm(d, PERM_ALL, PERM_ALL)));
    CHECK(ok(disk_resize(d, 4096, true, (Preallocation){ 0 }, 0)));
    CHECK_EQ(disk_size(d), 4096);
    disk_set_growing(d, true);
    CHECK_EQ(disk_write(d, 8000, &IOV_BUF(buf, 10), 0), 0);
    CHECK_EQ(disk_size(d), 8192);       /* 8010, in sectors */
    CHECK_EQ(node_size(node_storage(n)), 8010);
    disk_free(d);
    node_unref(n);
}

/* A disk that shrinks and grows while others write near its end: no request meets the driver beyond it. */
typedef struct Edge { Disk *d; unsigned seed, left; } Edge;
static int edge_write(void *arg)
{
    Edge *e = arg;
    uint8_t buf[3000] = { 1 };

    while (e->left) {
        size_t len = 1 + rand_r(&e->seed) % sizeof(buf);        /* IOV_BUF looks twice at it */
        int ret = disk_write(e->d, 60000 + rand_r(&e->seed) % 60000, &IOV_BUF(buf, len), 0);

        CHECK(ret == 0 || ret == -EIO);
        co_pause();
    }
    return 0;
}

static int edge_resize(void *arg)
{
    Edge *e = arg;

    for (; e->left; e->left--) {
        CHECK(ok(disk_resize(e->d, e->left % 2 ? 65536 : 131072, true, (Preallocation){ 0 }, 0)));
        for (unsigned i = rand_r(&e->seed) % 20; i; i--)
            co_pause();
    }
    return 0;
}

static void test_resize_race(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram,file.size=128K,file.yields=on,file.fixed=on,file.align=512", OPEN_RW);
    Edge e = { .seed = 3, .left = 60 };
    CoCrowd c = { .max = 6 };

    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &e.d)));
    for (int i = 0; i < 5; i++)
        crowd_start(&c, edge_write, &e);
    crowd_start(&c, edge_resize, &e);
    crowd_wait(&c);
    CHECK(!ram_of(n)->bad);
    disk_free(e.d);
    node_unref(n);
}

/* ---- flushes */

static int flush_one(void *arg)
{
    return disk_flush(arg);
}

static void test_flush(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram,file.yields=on", OPEN_RW);
    Ram *r = ram_of(n);
    uint8_t b = 1;
    Disk *d = NULL;

    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_flush(d), 0);
    CHECK_EQ(r->flushes, 0);            /* nothing was written */
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(&b, 1), 0), 0);
    CHECK_EQ(r->flushes, 0);
    CoCrowd crowd = { .max = 10 };
    for (int i = 0; i < 10; i++)
        crowd_start(&crowd, flush_one, d);
    CHECK_EQ(crowd_wait(&crowd), 0);
    CHECK_EQ(r->flushes, 1);            /* one for all */
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(&b, 1), REQ_FUA), 0);
    CHECK_EQ(r->flushes, 2);
    CHECK_EQ(disk_zero(d, 0, 512, REQ_FUA), 0);
    CHECK_EQ(r->flushes, 3);
    disk_set_writethrough(d, true);
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(&b, 1), 0), 0);
    CHECK_EQ(r->flushes, 4);
    /* A flush that failed is not taken for done. */
    disk_set_writethrough(d, false);
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(&b, 1), 0), 0);
    r->fail = -EIO;
    CHECK_EQ(-disk_flush(d), EIO);
    CHECK_EQ(disk_flush(d), 0);
    CHECK_EQ(r->flushes, 6);
    disk_free(d);
    node_unref(n);
    n = open_text(g, "driver=raw,cache.no-flush=on,file.driver=ram", OPEN_RW);
    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(&b, 1), REQ_FUA), 0);
    CHECK_EQ(ram_of(n)->flushes, 0);
    disk_free(d);
    node_unref(n);
}

static void test_errors(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram,file.align=512", OPEN_RW);
    Ram *r = ram_of(n);
    uint8_t b[600] = { 0 };
    Disk *d = NULL, *ro = NULL;

    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "reader", &ro)));
    r->fail = -ENOSPC;
    CHECK_EQ(-disk_write(d, 512, &IOV_BUF(b, 512), 0), ENOSPC);
    r->fail = -EIO;
    CHECK_EQ(-disk_write(d, 10, &IOV_BUF(b, 600), 0), EIO);     /* reading the edge */
    CHECK_EQ(r->writes, 1);
    r->fail = -EIO;
    CHECK_EQ(-disk_read(d, 10, &IOV_BUF(b, 600), 0), EIO);
    CHECK_EQ(-disk_write(ro, 0, &IOV_BUF(b, 512), 0), EPERM);
    CHECK_EQ(-disk_write(d, 0, &IOV_BUF(b, 512), REQ_COMPRESSED), ENOTSUP);
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(b, 0), 0), 0);
    CHECK_EQ(disk_read(d, 1 << 20, &IOV_BUF(b, 0), 0), 0);
    CHECK_EQ(n->in_flight + r->node.in_flight, 0);
    disk_free(ro);
    disk_free(d);
    node_unref(n);
}

/* ---- from another thread */

typedef struct Thread { Disk *d; Loop *loop; int left, bad; uint8_t buf[16][512]; DiskReq req[16]; } Thread;

static void req_done(void *opaque, int ret)
{
    Thread *t = opaque;

    t->bad += ret != 0 || loop_self() != t->loop;
    t->left--;
}

static void *thread_main(void *arg)
{
    Thread *t = arg;
    Err *e = loop_new(1, &t->loop);

    if (e)
        return e;
    for (int pass = 0; pass < 2; pass++) {
        t->left = 16;
        for (int i = 0; i < 16; i++) {
            static struct iovec v[16];

            memset(t->buf[i], pass ? 0 : i + 1, 512);
            t->req[i] = (DiskReq){ .op = pass ? DISK_READ : DISK_WRITE, .off = i * 512, .done = req_done, .opaque = t };
            t->req[i].q = iov_buf(&v[i], t->buf[i], 512);
            disk_submit(t->d, &t->req[i], t->loop);
        }
        while (t->left)
            loop_turn(t->loop, true);
    }
    for (int i = 0; i < 16; i++)
        t->bad += t->buf[i][5] != i + 1;
    loop_free(t->loop);
    return NULL;
}

static void join(void *arg)
{
    g_thread_join(arg);
}

static void test_threads(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram,file.yields=on", OPEN_RW);
    Thread *t = g_new0(Thread, 1);

    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &t->d)));
    co_offload(join, g_thread_new("device", thread_main, t));
    CHECK_EQ(t->bad, 0);
    disk_free(t->d);
    g_free(t);
    node_unref(n);
}

int main(void)
{
    RUN_IN_GRAPH(test_align_1);
    RUN_IN_GRAPH(test_align_512);
    RUN_IN_GRAPH(test_align_4096);
    RUN_IN_GRAPH(test_no_zero);
    RUN_IN_GRAPH(test_window);
    RUN_IN_GRAPH(test_node_end);
    RUN_IN_GRAPH(test_resize_race);
    RUN_IN_GRAPH(test_flush);
    RUN_IN_GRAPH(test_errors);
    RUN_IN_GRAPH(test_threads);
    return test_end();
}
