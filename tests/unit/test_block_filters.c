/* SPDX-License-Identifier: MIT */
/*
 * block/filter: what each filter promises, over memory and the format of
 * block-layer.h.
 */
#include <unistd.h>

#include "block/block-priv.h"
#include "block/filter/blkdebug.h"
#include "block/throttle.h"
#include "tests/unit/block-layer.h"

extern const BlockDriver block_raw, block_throttle, block_copy_on_read, block_compress, block_preallocate, block_blkdebug,
    block_blkverify, block_blklogwrites, block_null_co, block_null_aio;
const BlockDriver *const block_set[] = {
    &block_ram, &block_raw, &block_layer, &block_throttle, &block_copy_on_read, &block_compress, &block_preallocate,
    &block_blkdebug, &block_blkverify, &block_blklogwrites, &block_null_co, &block_null_aio, NULL
};

static Disk *disk(BlockNode *n, unsigned perm)
{
    Disk *d = NULL;

    CHECK(ok(disk_new(n, perm, PERM_ALL, "test", &d)));
    return d;
}

static int put(Disk *d, uint64_t off, size_t len, uint8_t byte, unsigned flags)
{
    g_autofree uint8_t *buf = g_malloc(len);

    memset(buf, byte, len);
    return disk_write(d, off, &IOV_BUF(buf, len), flags);
}

/* All of the stretch is that byte. */
static bool is(Disk *d, uint64_t off, size_t len, uint8_t byte)
{
    g_autofree uint8_t *buf = g_malloc(len);
    bool good = !disk_read(d, off, &IOV_BUF(buf, len), 0);

    for (size_t i = 0; i < len; i++)
        good = good && buf[i] == byte;
    return good;
}

/* ---- null */

static void test_null(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=null-co,size=10T,read-zeroes=on", OPEN_RW);
    Disk *d = disk(n, PERM_ALL);
    json_t *o = NULL;
    Extent x;

    CHECK_EQ(disk_size(d), 10ull << 40);
    CHECK_EQ(put(d, 5ull << 40, 4096, 7, REQ_FUA), 0);
    CHECK(is(d, 5ull << 40, 4096, 0));
    CHECK_EQ(disk_zero(d, 0, 10ull << 40, 0), 0);
    CHECK_EQ(disk_discard(d, 0, 10ull << 40), 0);
    CHECK_EQ(node_extent(n, 0, 10ull << 40, &x), 0);
    CHECK(x.len == 10ull << 40 && x.flags & EXTENT_ZERO);
    disk_free(d);
    node_unref(n);
    CHECK(ok(options_from_name("null-co://", NULL, &o)));
    CHECK(ok(node_open(g, o, 0, &n)));
    CHECK_EQ(node_size(n), 1 << 30);
    CHECK_STR(node_filename(n), "null-co://");
    node_unref(n);
    json_decref(o);
    CHECK(fails(options_from_name("null-co:x", NULL, &o), "null-co://"));
    n = open_text(g, "driver=null-aio,latency-ns=20000000", 0);
    d = disk(n, PERM_CONSISTENT_READ);
    int64_t t = loop_now();
    CHECK(is(d, 0, 512, 0));
    CHECK(loop_now() - t >= 20000000);
    disk_free(d);
    node_unref(n);
}

/* ---- throttle: the arithmetic first */

static void test_rates(BlockGraph *g)
{
    ThrottleBucket b[THROTTLE_BUCKETS];

    for (unsigned i = 0; i < THROTTLE_BUCKETS; i++)
        b[i] = (ThrottleBucket){ .length = 1 };
    CHECK(ok(throttle_check(b, 0)));
    throttle_fill(b, true, 1 << 30, 0);
    CHECK_EQ(throttle_due(b, true), 0);
    b[THROTTLE_BPS_WRITE].avg = 1000;
    throttle_fill(b, false, 5000, 0);
    CHECK_EQ(throttle_due(b, true), 0);
    throttle_fill(b, true, 1100, 0);
    CHECK_EQ(throttle_due(b, false), 0);
    CHECK(llabs(throttle_due(b, true) - 1000000000) < 10);
    throttle_leak(b, 600000000);
    CHECK(llabs(throttle_due(b, true) - 400000000) < 10);
    throttle_leak(b, 400000010);
    CHECK_EQ(throttle_due(b, true), 0);
    /* Bursts: 5 seconds at 10000, but no more than a tenth of a second's worth at once. */
    b[THROTTLE_BPS_WRITE] = (ThrottleBucket){ .avg = 1000, .max = 10000, .length = 5 };
    CHECK(ok(throttle_check(b, 0)));
    throttle_fill(b, true, 1000, 0);
    CHECK_EQ(throttle_due(b, true), 0);
    throttle_fill(b, true, 5000, 0);
    CHECK(llabs(throttle_due(b, true) - 500000000) < 10);
    b[THROTTLE_OPS_TOTAL].avg = 10;
    throttle_fill(b, false, 10000, 1000);       /* ten operations */
    CHECK(llabs(throttle_due(b, false) - 900000000) < 10);
    b[THROTTLE_OPS_READ].avg = 1;
    CHECK(fails(throttle_check(b, 0), "cannot be used at the same time"));
    b[THROTTLE_OPS_READ].avg = 0;
    b[THROTTLE_OPS_TOTAL].max = 5;
    CHECK(fails(throttle_check(b, 0), "cannot be lower"));
    b[THROTTLE_OPS_TOTAL] = (ThrottleBucket){ .length = 1 };
    CHECK(fails(throttle_check(b, 512), "requires an iops value"));
    b[THROTTLE_BPS_READ].max = 5;
    CHECK(fails(throttle_check(b, 0), "require corresponding"));
    b[THROTTLE_BPS_READ] = (ThrottleBucket){ .avg = UINT64_MAX, .length = 1 };
    CHECK(fails(throttle_check(b, 0), "must be within"));
    b[THROTTLE_BPS_READ] = (ThrottleBucket){ .avg = 1, .length = 2 };
    CHECK(fails(throttle_check(b, 0), "without burst rate"));
}

typedef struct Many { Disk *d; unsigned n, done; } Many;
static int one_of_many(void *arg)
{
    Many *m = arg;

    CHECK_EQ(put(m->d, 0, 512, 1, 0), 0);
    m->done++;
    return 0;
}

static int64_t run_many(Many *m, unsigned lanes)
{
    CoCrowd c = { .max = lanes };
    int64_t t = loop_now();

    for (unsigned i = 0; i < m->n; i++)
        crowd_start(&c, one_of_many, m);
    crowd_wait(&c);
    return loop_now() - t;
}

static void test_throttle(BlockGraph *g)
{
    json_t *o = NULL;
    BlockNode *n = NULL, *k;

    CHECK(ok(options_from_keyval("driver=throttle,throttle-group=tg,file.driver=null-co", &o)));
    CHECK(fails(node_open(g, o, OPEN_RW, &n), "Throttle group 'tg' does not exist"));
    CHECK(fails(objects_add(graph_objects(g), "throttle-group,id=tg,x-iops-total=5,limits.iops-read=3"), "same time"));
    CHECK(ok(objects_add(graph_objects(g), "throttle-group,id=tg,limits.iops-write=100")));
    CHECK(ok(node_open(g, o, OPEN_RW, &n)));
    CHECK(ok(node_open(g, o, OPEN_RW, &k)));
    CHECK(fails(objects_del(graph_objects(g), "tg"), "in use"));
    Disk *d = disk(n, PERM_ALL), *e = disk(k, PERM_ALL);
    Many m = { d, 25 };
    int64_t ns = run_many(&m, 8);
    /* A tenth of a second's worth at once, and one more that goes over the brim; the rest at 100 a second. */
    CHECK(ns > 130000000 && ns < 600000000);
    CHECK(is(d, 0, 512, 0));            /* reads have no limit */
    /* Both disks share the limit. */
    Many a = { d, 10 }, b = { e, 10 };
    CoCrowd c = { .max = 20 };
    int64_t t = loop_now();
    for (unsigned i = 0; i < 10; i++) {
        crowd_start(&c, one_of_many, &a);
        crowd_start(&c, one_of_many, &b);
    }
    crowd_wait(&c);
    CHECK(loop_now() - t > 130000000);
    /* A drain lets all go at once. */
    json_t *slow = json_loads("{\"limits\":{\"iops-write\":1}}", 0, NULL);
    CHECK(ok(objects_set(graph_objects(g), "tg", slow)));
    a.done = 0;
    for (unsigned i = 0; i < 10; i++)
        crowd_start(&c, one_of_many, &a);
    t = loop_now();
    node_drain_begin(n);
    CHECK(loop_now() - t < 100000000);
    CHECK_EQ(a.done, 10);
    node_drain_end(n);
    json_t *fast = json_loads("{\"limits\":{\"iops-write\":0}}", 0, NULL);
    crowd_start(&c, one_of_many, &a);
    co_pause();
    CHECK_EQ(a.done, 10);
    CHECK(ok(objects_set(graph_objects(g), "tg", fast)));
    crowd_wait(&c);
    CHECK_EQ(a.done, 11);
    json_decref(slow);
    json_decref(fast);
    disk_free(d);
    disk_free(e);
    node_unref(n);
    node_unref(k);
    json_decref(o);
    CHECK(ok(objects_del(graph_objects(g), "tg")));
}

/* ---- copy on read */

#define CHAIN "driver=layer,node-name=top,file.driver=ram,file.size=64K,file.yields=on," \
              "backing.driver=layer,backing.node-name=mid,backing.read-only=off,backing.file.driver=ram,backing.file.size=64K," \
              "backing.backing.driver=layer,backing.backing.node-name=low,backing.backing.read-only=off," \
              "backing.backing.file.driver=ram,backing.backing.file.size=32K"

static void fill(BlockNode *n, uint64_t off, size_t len, uint8_t byte)
{
    Disk *d = disk(n, PERM_WRITE);

    CHECK_EQ(put(d, off, len, byte, 0), 0);
    disk_free(d);
}

static bool there(BlockNode *n, uint64_t off)
{
    return ((Layer *)n)->there[off / LAYER_BLOCK];
}

static void test_cor(BlockGraph *g)
{
    BlockNode *top = open_text(g, CHAIN, OPEN_RW), *n, *b;
    Disk *d;

    fill(graph_find(g, "low"), 0, 4096, 1);
    fill(graph_find(g, "mid"), 2048, 1024, 2);
    fill(top, 512, 512, 3);
    n = open_text(g, "driver=copy-on-read,file=top", OPEN_RW);
    d = disk(n, PERM_CONSISTENT_READ);
    CHECK_EQ(n->file->perm, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
    CHECK(is(d, 100, 300, 1) && is(d, 512, 512, 3));
    CHECK(there(top, 0) && there(top, 512) && !there(top, 1024));
    CHECK(is(d, 2500, 10, 2));
    CHECK(there(top, 2048) && !there(top, 2560));
    CHECK_EQ(disk_read(d, 0, &(IoVec){ NULL, 0, 0, 65536 }, REQ_PREFETCH), 0);
    CHECK(there(top, 3584) && there(top, 1024));
    CHECK(!there(top, 4096));           /* nobody has it: nothing to copy */
    CHECK(is(d, 3072, 1024, 1) && is(d, 2048, 1024, 2) && is(d, 32768, 32768, 0));
    CHECK_EQ(-put(d, 0, 1, 1, 0), EPERM);
    disk_free(d);
    node_unref(n);
    fill(graph_find(g, "low"), 8192, 1024, 4);
    fill(graph_find(g, "mid"), 9216, 1024, 5);
    b = open_text(g, "driver=copy-on-read,file=top,bottom=mid", OPEN_RW);
    d = disk(b, PERM_CONSISTENT_READ);
    CHECK(is(d, 8192, 1024, 4) && is(d, 9216, 1024, 5));
    CHECK(!there(top, 8192) && there(top, 9216));
    disk_free(d);
    node_unref(b);
    json_t *o = keyval("driver=copy-on-read,file=top,bottom=nosuch");
    CHECK(fails(node_open(g, o, OPEN_RW, &b), "not found"));
    json_decref(o);
    o = keyval("driver=copy-on-read,file=top");
    CHECK(fails(node_open(g, o, 0, &b), "read-only"));
    json_decref(o);
    node_unref(top);
}

/* A guest writes while others read: what it wrote stays. */
typedef struct Race { Disk *d; unsigned seed; bool stop; uint8_t model[64]; } Race;
static int race_reader(void *arg)
{
    Race *r = arg;
    uint8_t buf[2048];

    while (!r->stop) {
        uint64_t off = rand_r(&r->seed) % 62 * 512;

        CHECK_EQ(disk_read(r->d, off, &IOV_BUF(buf, 1024), 0), 0);
    }
    return 0;
}

static void test_cor_race(BlockGraph *g)
{
    BlockNode *top = open_text(g, CHAIN, OPEN_RW), *n;
    Race r = { .seed = 5 };
    CoCrowd c = { .max = 6 };
    unsigned seed = 7;

    fill(graph_find(g, "low"), 0, 32768, 0);
    n = open_text(g, "driver=copy-on-read,file=top", OPEN_RW);
    r.d = disk(n, PERM_CONSISTENT_READ | PERM_WRITE);
    for (int i = 0; i < 6; i++)
        crowd_start(&c, race_reader, &r);
    for (int i = 0; i < 200; i++) {
        unsigned at = rand_r(&seed) % 64;

        r.model[at] = i + 1;
        CHECK_EQ(put(r.d, at * 512 + 100, 200, i + 1, 0), 0);
    }
    r.stop = true;
    crowd_wait(&c);
    for (unsigned i = 0; i < 64; i++)
        CHECK(is(r.d, i * 512 + 100, 200, r.model[i]));
    disk_free(r.d);
    node_unref(n);
    node_unref(top);
}

/* ---- compress: only what it refuses; a format that can is qcow2's test's */

static void test_compress(BlockGraph *g)
{
    json_t *o = keyval("driver=compress,file.driver=layer,file.file.driver=ram");
    BlockNode *n;

    CHECK(fails(node_open(g, o, OPEN_RW, &n), "Compression is not supported for this format ('layer')"));
    json_decref(o);
}

/* ---- preallocate */

static void test_preallocate(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=preallocate,prealloc-size=64K,prealloc-align=4K,file.driver=ram,file.size=4K,"
                             "file.node-name=f", OPEN_RW), *f = graph_find(g, "f");
    Disk *d;

    node_ref(f);
    d = disk(n, PERM_ALL);
    disk_set_growing(d, true);
    CHECK_EQ(put(d, 0, 4096, 1, 0), 0);
    CHECK_EQ(node_size(f), 4096);
    CHECK_EQ(put(d, 4096, 100, 2, 0), 0);
    CHECK_EQ(node_size(f), 4096 + 100 + 65536 + 4096 - 100);
    CHECK_EQ(disk_size(d), 4196);
    CHECK_EQ(put(d, 10000, 100, 3, 0), 0);
    CHECK(is(d, 4196, 10000 - 4196, 0));
    CHECK_EQ(-disk_read(d, 10100, &IOV_BUF(&(char){ 0 }, 1), 0), EIO);
    CHECK(ok(disk_resize(d, 20000, false, (Preallocation){ 0 }, 0)));
    CHECK_EQ(disk_size(d), 20000);
    CHECK(node_size(f) > 60000);
    CHECK(ok(disk_resize(d, 15000, false, (Preallocation){ 0 }, 0)));
    CHECK_EQ(node_size(f), 15000);
    CHECK_EQ(put(d, 15000, 1, 3, 0), 0);
    CHECK(node_size(f) > 60000);
    disk_free(d);
    node_unref(n);
    CHECK_EQ(node_size(f), 15001);
    node_unref(f);
    json_t *o = keyval("driver=preallocate,prealloc-align=100,file.driver=ram");
    CHECK(fails(node_open(g, o, OPEN_RW, &n), "multiple of 512"));
    json_decref(o);
}

/* ---- blkdebug */

static void test_blkdebug(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=blkdebug,file.image.driver=ram,file.node-name=dbg,"
        "file.inject-error.0.event=read_aio,file.inject-error.0.sector=3,file.inject-error.0.errno=28,"
        "file.inject-error.1.event=write_aio,file.inject-error.1.state=2,file.inject-error.1.once=on,"
        "file.inject-error.1.iotype=write,"
        "file.set-state.0.event=write_aio,file.set-state.0.state=1,file.set-state.0.new_state=2", OPEN_RW);
    Disk *d = disk(n, PERM_ALL);
    uint8_t buf[4096];

    CHECK_EQ(disk_read(d, 0, &IOV_BUF(buf, 1536), 0), 0);
    CHECK_EQ(-disk_read(d, 1024, &IOV_BUF(buf, 1024), 0), ENOSPC);
    CHECK_EQ(-disk_read(d, 1536, &IOV_BUF(buf, 1), 0), ENOSPC);     /* it stays */
    CHECK_EQ(put(d, 0, 512, 1, 0), 0);                              /* state 2 from here on */
    CHECK_EQ(-put(d, 0, 512, 1, 0), EIO);
    CHECK_EQ(put(d, 0, 512, 1, 0), 0);                              /* once */
    CHECK(ok(debug_break(n, "write_aio", "A")));
    Many m = { d, 1 };
    CoCrowd c = { .max = 1 };
    crowd_start(&c, one_of_many, &m);
    for (int i = 0; i < 5; i++)
        co_pause();
    CHECK(m.done == 0 && debug_is_suspended(n, "A"));
    CHECK(ok(debug_resume(n, "A")));
    CHECK(fails(debug_resume(n, "A"), "no request"));
    crowd_wait(&c);
    CHECK_EQ(m.done, 1);
    disk_free(d);
    node_unref(n);
    n = open_text(g, "driver=blkdebug,align=4096,max-transfer=8192,opt-write-zero=4096,image.driver=ram", OPEN_RW);
    d = disk(n, PERM_ALL);
    CHECK_EQ(put(d, 100, 20000, 5, 0), 0);
    CHECK(is(d, 100, 20000, 5));
    CHECK_EQ(ram_of(n)->writes, 3);
    disk_free(d);
    node_unref(n);
    n = open_text(g, "driver=blkdebug,take-child-perms.0=write,unshare-child-perms.0=resize,image.driver=ram", OPEN_RW);
    CHECK(n->file->perm == PERM_WRITE && n->file->shared == (PERM_ALL & ~PERM_RESIZE));
    node_unref(n);
    static const struct { const char *options, *words; } bad[] = {
        { "inject-error.0.event=nosuch", "there is no event" }, { "inject-error.0.errno=5", "Missing event" },
        { "inject-error.0.event=l2_load,inject-error.0.errno=99999", "too large" },
        { "inject-error.0.event=l2_load,inject-error.0.iotype=x", "no iotype" },
        { "set-state.0.event=l2_load,set-state.0.errno=1", "there is no 'errno'" },
        { "inject-error=1", "list" }, { "align=3", "constraints" }, { "max-transfer=1000,align=512", "constraints" },
        { "take-child-perms.0=x", "no such permission" }, { "config=/nonexistent/x", "Could not read" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autofree char *text = g_strdup_printf("driver=blkdebug,image.driver=ram,%s", bad[i].options);
        json_t *o = keyval(text);
        CHECK(fails(node_open(g, o, 0, &n), bad[i].words));
        json_decref(o);
    }
}

static void test_blkdebug_file(BlockGraph *g)
{
    g_autofree char *path = g_strdup_printf("%s/lyre-blkdebug-%d", g_get_tmp_dir(), getpid());
    BlockNode *n;
    json_t *o;

    CHECK(g_file_set_contents(path, "# rules\n[inject-error]\nevent = \"none\"\n iotype=\"flush\"\nerrno = \"28\"\n\n"
                              "[set-state]\nevent = \"l2_load\"\nstate = \"1\"\nnew_state = \"2\"\n", -1, NULL));
    g_autofree char *text = g_strdup_printf("driver=blkdebug,image.driver=ram,config=%s", path);
    n = open_text(g, text, OPEN_RW);
    Disk *d = disk(n, PERM_ALL);
    CHECK_EQ(put(d, 0, 1, 1, 0), 0);
    CHECK_EQ(-disk_flush(d), ENOSPC);
    disk_free(d);
    node_unref(n);
    CHECK(g_file_set_contents(path, "[inject-error]\nevent = \"none\"\nbla\n", -1, NULL));
    o = keyval(text);
    CHECK(fails(node_open(g, o, 0, &n), ":3: neither"));
    json_decref(o);
    unlink(path);
    CHECK(ok(options_from_name("blkdebug:rules.conf:img.raw", "raw", &o)));
    CHECK_STR(options_str(o, "file.config"), "rules.conf");
    CHECK_STR(options_str(o, "file.image.filename"), "img.raw");
    json_decref(o);
}

/* ---- blkverify, blklogwrites */

static void test_blkverify(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=blkverify,raw.driver=ram,raw.node-name=a,test.driver=raw,test.file.driver=ram", OPEN_RW);
    Disk *d = disk(n, PERM_ALL);

    CHECK_EQ(put(d, 100, 1000, 4, 0), 0);
    CHECK_EQ(disk_zero(d, 200, 10, 0), 0);
    CHECK(is(d, 200, 10, 0) && is(d, 300, 800, 4));
    CHECK_EQ(disk_flush(d), 0);
    ((Ram *)graph_find(g, "a"))->mem[205] = 1;
    CHECK(is(d, 0, 100, 0) && !is(d, 200, 10, 0));
    disk_free(d);
    node_unref(n);
}

static void test_blklog(BlockGraph *g)
{
    BlockNode *l = open_text(g, "driver=ram,node-name=log,size=0", OPEN_RW);
    BlockNode *n = open_text(g, "driver=blklogwrites,log-super-update-interval=1,file.driver=ram,log=log", OPEN_RW);
    Disk *d = disk(n, PERM_ALL);
    uint64_t *mem = (uint64_t *)((Ram *)l)->mem;

    CHECK_EQ(put(d, 1024, 1024, 9, REQ_FUA), 0);
    CHECK_EQ(disk_zero(d, 4096, 512, 0), 0);
    CHECK_EQ(disk_flush(d), 0);
    CHECK(mem[0] == 0x6a736677736872ull && mem[1] == 1 && mem[2] == 3 && (uint32_t)mem[3] == 512);
    mem += 64;
    CHECK(mem[0] == 2 && mem[1] == 2 && mem[2] == 2 && mem[3] == 1024 && mem[64] == 0x0909090909090909ull);
    mem += 3 * 64;
    CHECK(mem[0] == 8 && mem[1] == 1 && mem[2] == 0 && mem[3] == 512 && mem[64] == 0);
    mem += 2 * 64;
    CHECK(mem[0] == 0 && mem[1] == 0 && mem[2] == 1 && mem[3] == 0);
    disk_free(d);
    node_unref(n);
    n = open_text(g, "driver=blklogwrites,log-append=on,file.driver=ram,log=log", OPEN_RW);
    d = disk(n, PERM_ALL);
    CHECK_EQ(put(d, 0, 512, 8, 0), 0);
    disk_free(d);
    node_unref(n);
    mem += 64;
    CHECK(mem[0] == 0 && mem[1] == 1 && mem[3] == 512 && (uint8_t)mem[64] == 8);
    /* A super block that promises more than there is. */
    ((uint64_t *)((Ram *)l)->mem)[2] = 1000;
    json_t *o = keyval("driver=blklogwrites,log-append=on,file.driver=ram,log=log");
    CHECK(fails(node_open(g, o, OPEN_RW, &n), "of the log"));
    json_decref(o);
    node_unref(l);
}

int main(void)
{
    RUN_IN_GRAPH(test_null);
    RUN_IN_GRAPH(test_rates);
    RUN_IN_GRAPH(test_throttle);
    RUN_IN_GRAPH(test_cor);
    RUN_IN_GRAPH(test_cor_race);
    RUN_IN_GRAPH(test_compress);
    RUN_IN_GRAPH(test_preallocate);
    RUN_IN_GRAPH(test_blkdebug);
    RUN_IN_GRAPH(test_blkdebug_file);
    RUN_IN_GRAPH(test_blkverify);
    RUN_IN_GRAPH(test_blklog);
    return test_end();
}
