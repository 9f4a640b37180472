/* SPDX-License-Identifier: MIT */
/*
 * block/graph, perm, drain, change, reopen, open: who may do what at the same
 * time, and that a change that is refused leaves everything as it was.
 */
#include "block/block-priv.h"
#include "tests/unit/block-layer.h"

extern const BlockDriver block_raw;

static int slow_pass_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    return child_read(n->file, off, q, flags);
}

static int slow_pass_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    return child_write(n->file, off, q, flags);
}

static Err *pass_open(BlockNode *n)
{
    return NULL;
}

static unsigned drain_calls;
static void pass_drain(BlockNode *n, bool begin)
{
    drain_calls++;
}

static const BlockDriver block_pass = {
    .name = "pass", .kind = DRIVER_FILTER, .size = sizeof(BlockNode), .open = pass_open, .drain = pass_drain,
    .read = slow_pass_read, .write = slow_pass_write,
};

const BlockDriver *const block_set[] = { &block_ram, &block_raw, &block_layer, &block_pass, NULL };

static Disk *disk(BlockNode *n, unsigned perm, unsigned shared)
{
    Disk *d = NULL;

    CHECK(ok(disk_new(n, perm, shared, "test", &d)));
    return d;
}

static uint8_t read_byte(Disk *d, uint64_t off)
{
    uint8_t b = 0xee;

    CHECK_EQ(disk_read(d, off, &IOV_BUF(&b, 1), 0), 0);
    return b;
}

static void write_byte(Disk *d, uint64_t off, uint8_t b)
{
    CHECK_EQ(disk_write(d, off, &IOV_BUF(&b, 1), 0), 0);
}

/* ---- opening */

static void test_open_wrong(BlockGraph *g)
{
    static const struct { const char *options, *words; } bad[] = {
        { "driver=raww,file.driver=ram", "Unknown driver 'raww'" },
        { "driver=raw", "A block device must be specified for \"file\"" },
        { "driver=raw,file.driver=ram,nosuch=1", "there is no property 'nosuch'" },
        { "driver=raw,file.driver=ram,file.nosuch=1", "there is no property 'nosuch'" },
        { "driver=raw,file.driver=ram,backing=x", "there is no property 'backing'" },
        { "driver=raw,file.driver=ram,discard=maybe", "'maybe' is not one of its values" },
        { "driver=raw,file=nosuch", "Cannot find a node named 'nosuch'" },
        { "driver=raw,file.driver=ram,node-name=7up", "Invalid node-name" },
        { "driver=raw,file.driver=ram,node-name=a,file.node-name=a", "Duplicate nodes" },
        { "driver=raw,file.driver=ram,detect-zeroes=unmap", "without setting discard" },
        { "driver=raw,file.driver=ram,size=1000", "not multiple of 512" },
        { "driver=raw,file.driver=ram,offset=2M", "beyond the end" },
        { "driver=raw,file.driver=ram,offset=512K,size=1M", "The sum of offset" },
        { "driver=layer,file.driver=ram,backing.driver=nosuch,backing.file.driver=ram", "Could not open backing file: Unknown driver" },
        { "driver=layer,file.driver=ram,named=nosuch:x", "Could not open backing file: Unknown protocol 'nosuch'" },
        { "driver=layer,file.driver=ram,named=x", "Cannot use relative backing file names" },
        { "file.driver=ram,file.align=512,file.x=1", "there is no property 'x'" },
        { "driver=layer,file.driver=ram,driver.x=1", "both as a value and as a group" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        json_t *o = NULL;
        BlockNode *n = NULL;
        Err *e = options_from_keyval(bad[i].options, &o);

        if (!e)
            e = node_open(g, o, OPEN_RW, &n);
        CHECK(fails(e, bad[i].words));
        CHECK(!n && !graph_next(g, NULL));
        json_decref(o);
    }
}

static void test_open_deep(BlockGraph *g)
{
    GString *s = g_string_new("{\"driver\":\"ram\"}");
    BlockNode *n = NULL;

    for (int i = 0; i < 40; i++) {
        g_string_prepend(s, "{\"driver\":\"pass\",\"file\":");
        g_string_append(s, "}");
    }
    json_t *o = json_loads(s->str, 0, NULL);
    CHECK(ok(node_open(g, o, 0, &n)));
    CHECK_EQ(node_size(n), 1 << 20);
    node_unref(n);
    json_decref(o);
    for (int i = 0; i < 200; i++) {
        g_string_prepend(s, "{\"driver\":\"pass\",\"file\":");
        g_string_append(s, "}");
    }
    o = json_loads(s->str, 0, NULL);
    CHECK(fails(node_open(g, o, 0, &n), "nested"));
    json_decref(o);
    g_string_free(s, true);
}

/* The longest chain that is allowed, of layers made beforehand and named from the top; and one more. */
static void test_long_chain(BlockGraph *g)
{
    BlockNode *top = NULL, *n = NULL;
    Disk *d;

    for (int i = 0; i < NODES_DEEP; i++) {
        g_autofree char *text = g_strdup_printf("driver=layer,node-name=n%d,file.driver=ram,file.size=1K%s%s", i,
                                                top ? ",backing=" : "", top ? node_name(top) : "");
        n = open_text(g, text, 0);
        node_unref(top);
        top = n;
    }
    d = disk(top, PERM_CONSISTENT_READ, PERM_ALL);
    CHECK_EQ(read_byte(d, 0), 0);
    CHECK_EQ(graph_find(g, "n0")->perm, PERM_CONSISTENT_READ);
    Extent x;
    CHECK_EQ(node_extent_above(top, NULL, false, 0, 1024, &x), 0);
    CHECK(x.depth == NODES_DEEP - 1 && x.flags & EXTENT_ZERO);
    disk_free(d);
    node_unref(top);
    /* Opened in one go: a chain in the options, as headers would make it. */
    json_t *o = json_pack("{s:s,s:{s:s}}", "driver", "layer", "file", "driver", "ram");
    for (int i = 0; i < 20; i++)
        o = json_pack("{s:s,s:{s:s},s:o}", "driver", "layer", "file", "driver", "ram", "backing", o);
    CHECK(ok(node_open(g, o, 0, &n)));
    node_unref(n);
    json_decref(o);
}

static void test_auto_read_only(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=layer,auto-read-only=on,file.driver=ram,file.read-only=on", OPEN_RW);
    json_t *o = keyval("driver=layer,file.driver=ram,file.read-only=on");

    CHECK(n->read_only);
    node_unref(n);
    CHECK(fails(node_open(g, o, OPEN_RW, &n), "read-only"));
    json_decref(o);
}

static void test_names(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,node-name=top,file.driver=ram,file.node-name=low,file.size=64K", 0);
    BlockNode *m = open_text(g, "driver=pass,file=top", 0);

    CHECK(graph_find(g, "top") == n && graph_find(g, "low") == node_storage(n));
    CHECK_STR(node_name(m), "#block000");
    CHECK(node_skip_filters(m) == n && node_storage(m) == node_storage(n));
    CHECK_STR(node_filename(m), "json:{\"driver\": \"pass\", \"file\": {\"driver\": \"raw\", \"file\": "
              "{\"driver\": \"ram\", \"size\": \"64K\"}}}");
    node_unref(n);
    CHECK(graph_find(g, "top") == n);       /* the filter holds it */
    node_unref(m);
}

/* ---- permissions */

static void test_perms(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=layer,file.driver=ram,backing.driver=raw,backing.file.driver=ram", OPEN_RW);
    BlockNode *file = n->file->node, *below = n->backing->node;
    Disk *a, *b = NULL;

    CHECK_EQ(file->perm, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE);
    CHECK_EQ(file->shared, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
    CHECK_EQ(ram_of(n)->lock_perm, file->perm);
    CHECK(below->read_only && !n->read_only);
    CHECK_EQ(below->perm, 0);
    a = disk(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
    CHECK_EQ(below->perm, PERM_CONSISTENT_READ);
    CHECK_EQ(below->shared, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
    CHECK(fails(disk_new(n, PERM_WRITE, PERM_ALL, "second", &b), "second cannot have permission 'write'"));
    CHECK(!b && n->perm == (PERM_CONSISTENT_READ | PERM_WRITE));
    CHECK(fails(disk_new(file, PERM_WRITE, PERM_ALL, "thief", &b), "does not share"));
    CHECK(fails(disk_new(below, PERM_WRITE, PERM_ALL, "thief", &b), "does not share"));
    b = disk(n, PERM_CONSISTENT_READ, PERM_ALL);
    CHECK(fails(disk_set_perm(b, PERM_WRITE, PERM_ALL), "cannot have"));
    CHECK_EQ(b->root->perm, PERM_CONSISTENT_READ);
    CHECK(fails(disk_set_perm(b, PERM_CONSISTENT_READ, 0), "cannot have"));
    disk_free(a);
    CHECK(ok(disk_set_perm(b, PERM_WRITE, PERM_ALL)));
    disk_free(b);
    CHECK_EQ(n->perm, 0);
    CHECK_EQ(n->shared, PERM_ALL);
    node_unref(n);
    n = open_text(g, "driver=raw,file.driver=ram", 0);
    CHECK(fails(disk_new(n, PERM_WRITE, PERM_ALL, "w", &b), "read-only"));
    CHECK_EQ(n->file->perm, 0);
    node_unref(n);
}

/* The host refuses a lock in the middle of it. */
static void test_lock_refused(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram", OPEN_RW);
    Ram *r = ram_of(n);
    Disk *d = NULL;

    r->refuse_locks = true;
    CHECK(fails(disk_new(n, PERM_WRITE, PERM_ALL, "w", &d), "somebody else has a lock"));
    CHECK(!d);
    CHECK_EQ(n->perm | r->node.perm | r->lock_perm, 0);
    CHECK(n->parents == NULL);
    r->refuse_locks = false;
    d = disk(n, PERM_WRITE, PERM_ALL);
    CHECK_EQ(r->lock_perm, PERM_WRITE);
    disk_free(d);
    CHECK_EQ(r->lock_perm, 0);
    node_unref(n);
}

static void test_force_share(BlockGraph *g)
{
    json_t *o = keyval("driver=layer,file.driver=ram,force-share=on");
    BlockNode *n = NULL;

    CHECK(fails(node_open(g, o, OPEN_RW, &n), "read-only"));
    CHECK(ok(node_open(g, o, 0, &n)));
    CHECK_EQ(ram_of(n)->node.shared, PERM_ALL);
    node_unref(n);
    json_decref(o);
    n = open_text(g, "driver=layer,file.driver=ram,backing.driver=raw,backing.file.driver=ram", OPEN_FORCE_SHARE);
    CHECK_EQ(node_storage(n->backing->node)->shared, PERM_ALL);
    CHECK(n->file->node->force_share);
    node_unref(n);
}

/* ---- changing the graph */

static void test_loops(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=layer,node-name=a,file.driver=ram", OPEN_RW);
    BlockNode *m = open_text(g, "driver=layer,node-name=b,file.driver=ram,backing=a", OPEN_RW);

    CHECK(fails(node_set_backing(n, m), "would make a loop"));
    CHECK(fails(node_set_backing(n, n), "would make a loop"));
    CHECK(n->backing == NULL && node_backing(m) == n);
    CHECK(ok(node_set_backing(m, NULL)));
    CHECK(ok(node_set_backing(n, m)));
    CHECK(node_backing(n) == m);
    node_unref(m);
    node_unref(n);
}

typedef struct Work { Disk *d; bool stop; unsigned done; uint64_t off; } Work;
static int worker(void *arg)
{
    Work *w = arg;

    while (!w->stop) {
        uint8_t b = 0;

        CHECK_EQ(disk_read(w->d, w->off, &IOV_BUF(&b, 1), 0), 0);
        w->done++;
        co_pause();
    }
    return 0;
}

static void test_replace(BlockGraph *g)
{
    BlockNode *a = open_text(g, "driver=raw,file.driver=ram,file.yields=on", OPEN_RW);
    BlockNode *b = open_text(g, "driver=raw,file.driver=ram,file.size=2M,file.yields=on", OPEN_RW);
    Disk *d = disk(a, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL);
    Work w = { .d = d };
    CoCrowd crowd = { .max = 4 };

    write_byte(d, 0, 1);
    for (int i = 0; i < 4; i++)
        crowd_start(&crowd, worker, &w);
    CHECK(ok(node_replace(a, b)));
    CHECK(disk_node(d) == b && disk_size(d) == 2 << 20);
    CHECK_EQ(read_byte(d, 0), 0);
    CHECK(a->parents == NULL && a->in_flight == 0);
    unsigned before = w.done;
    while (w.done < before + 20)
        co_pause();
    CHECK(ok(node_replace(b, a)));
    CHECK_EQ(read_byte(d, 0), 1);
    w.stop = true;
    CHECK_EQ(crowd_wait(&crowd), 0);
    /* Refused: the new one does not allow what the disk does. */
    BlockNode *ro = open_text(g, "driver=raw,file.driver=ram", 0);
    CHECK(fails(node_replace(a, ro), "read-only"));
    CHECK(disk_node(d) == a && ro->parents == NULL && a->perm && !ro->perm);
    write_byte(d, 0, 9);
    node_unref(ro);
    disk_free(d);
    node_unref(b);
    node_unref(a);
}

static void test_insert(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram,file.yields=on", OPEN_RW), *f = NULL;
    Disk *d = disk(n, PERM_ALL, PERM_ALL);
    json_t *o = keyval("driver=pass,node-name=filter");

    write_byte(d, 5, 3);
    CHECK(ok(node_insert_above(n, o, &f)));
    CHECK(disk_node(d) == f && node_skip_filters(f) == n && f->file->node == n);
    CHECK_EQ(read_byte(d, 5), 3);
    CHECK_EQ(f->file->perm, PERM_ALL);
    CHECK(fails(node_insert_above(n, o, &f), "Duplicate"));
    CHECK(ok(disk_resize(d, 4 << 20, false, (Preallocation){ 0 }, 0)));
    f = graph_find(g, "filter");
    CHECK_EQ(node_size(f), 4 << 20);
    CHECK(ok(node_replace(f, n)));          /* out again */
    CHECK(disk_node(d) == n);
    CHECK_EQ(read_byte(d, 5), 3);
    node_unref(f);
    CHECK(!graph_find(g, "filter"));
    json_decref(o);
    disk_free(d);
    node_unref(n);
}

static void test_eject(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram", OPEN_RW);
    BlockNode *ro = open_text(g, "driver=raw,file.driver=ram,file.size=64K", 0);
    Disk *d = disk(n, PERM_WRITE | PERM_CONSISTENT_READ, PERM_ALL);
    uint8_t b;

    CHECK(fails(disk_set_node(d, ro), "read-only"));
    CHECK(disk_node(d) == n);
    CHECK(ok(disk_set_node(d, NULL)));
    CHECK(n->parents == NULL);
    CHECK_EQ(-disk_read(d, 0, &IOV_BUF(&b, 1), 0), ENOMEDIUM);
    CHECK_EQ(disk_size(d), 0);
    CHECK(ok(disk_set_perm(d, PERM_CONSISTENT_READ, PERM_ALL)));
    CHECK(ok(disk_set_node(d, ro)));
    CHECK_EQ(disk_size(d), 65536);
    disk_free(d);
    node_unref(ro);
    node_unref(n);
}

/* ---- drains */

static unsigned told;
static void on_drain(void *opaque, bool begin)
{
    told += begin ? 1 : 100;
}
static const DiskOps ops = { .drain = on_drain };

static void test_drain(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=pass,file.driver=raw,file.file.driver=ram,file.file.yields=on", OPEN_RW);
    BlockNode *other = open_text(g, "driver=raw,file.driver=ram,file.yields=on", OPEN_RW);
    BlockNode *low = node_storage(n);
    Disk *d = disk(n, PERM_CONSISTENT_READ, PERM_ALL), *e = disk(other, PERM_CONSISTENT_READ, PERM_ALL);
    Work w = { .d = d }, v = { .d = e };
    CoCrowd crowd = { .max = 8 };

    disk_set_ops(d, &ops, NULL);
    told = drain_calls = 0;
    for (int i = 0; i < 4; i++) {
        crowd_start(&crowd, worker, &w);
        crowd_start(&crowd, worker, &v);
    }
    for (int i = 0; i < 10; i++)
        co_pause();
    node_drain_begin(low);
    CHECK_EQ(n->in_flight + low->in_flight + d->in_flight, 0);
    CHECK_EQ(told, 1);
    node_drain_begin(n);
    CHECK_EQ(told, 1);
    CHECK_EQ(drain_calls, 1);
    unsigned mine = w.done, theirs = v.done;
    for (int i = 0; i < 50; i++)
        co_pause();
    CHECK(w.done <= mine + 4 && v.done > theirs + 10);  /* the other disk goes on */
    mine = w.done;
    node_drain_end(low);
    for (int i = 0; i < 50; i++)
        co_pause();
    CHECK_EQ(w.done, mine);
    /* A node that is put above a drained one is quiet, too. */
    json_t *o = keyval("driver=pass,node-name=late");
    BlockNode *f = NULL;
    CHECK(ok(node_insert_above(n, o, &f)));
    for (int i = 0; i < 50; i++)
        co_pause();
    CHECK_EQ(w.done, mine);
    CHECK_EQ(told, 1);
    node_drain_end(n);
    CHECK_EQ(told, 101);
    CHECK_EQ(drain_calls, 4);
    for (int i = 0; i < 50; i++)
        co_pause();
    CHECK(w.done > mine);
    w.stop = v.stop = true;
    crowd_wait(&crowd);
    disk_free(d);
    disk_free(e);
    json_decref(o);
    node_unref(f);
    node_unref(n);
    node_unref(other);
}

/* ---- reopening */

static Err *reopen(BlockNode *n, const char *text)
{
    json_t *o = keyval(text);
    Err *e = node_reopen(n, o);

    json_decref(o);
    return e;
}

static void test_reopen(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=layer,node-name=n,file.driver=ram", 0);
    BlockNode *file = n->file->node;
    Disk *d;

    CHECK(n->read_only && file->read_only);
    CHECK(ok(reopen(n, "read-only=off,detect-zeroes=on,cache.no-flush=on")));
    CHECK(!n->read_only && !file->read_only && n->detect_zeroes == 1 && file->cache_no_flush);
    CHECK_EQ(file->perm, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE);
    d = disk(n, PERM_WRITE | PERM_CONSISTENT_READ, PERM_ALL);
    write_byte(d, 1000, 4);
    CHECK(fails(reopen(n, "read-only=on"), "read-only"));
    CHECK(!n->read_only && !file->read_only);
    disk_free(d);
    /* The file does not play along: the format is as it was. */
    ram_of(n)->refuse_locks = true;
    CHECK(fails(reopen(n, "read-only=on,detect-zeroes=off"), "does not like it"));
    CHECK(!n->read_only && !file->read_only && n->detect_zeroes == 1);
    CHECK_EQ(file->perm, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE);
    ram_of(n)->refuse_locks = false;
    CHECK(fails(reopen(n, "read-only=on,file.node-name=nosuch"), "Cannot change"));
    CHECK(fails(reopen(n, "driver=raw"), "Cannot change"));
    CHECK(fails(reopen(n, "nosuch=raw"), "Cannot change"));
    CHECK(fails(reopen(n, "detect-zeroes=unmap"), "without setting discard"));
    CHECK(!n->read_only);
    CHECK(ok(reopen(n, "read-only=on")));
    CHECK(n->read_only && file->read_only);
    CHECK_EQ(file->perm, PERM_CONSISTENT_READ);
    CHECK_STR(node_name(n), "n");
    node_unref(n);
}

static void test_reopen_backing(BlockGraph *g)
{
    BlockNode *base = open_text(g, "driver=raw,node-name=base,file.driver=ram", 0);
    BlockNode *n = open_text(g, "driver=layer,file.driver=ram", 0);

    CHECK(ok(reopen(n, "read-only=off,backing=base")));
    CHECK(node_backing(n) == base && !n->read_only);
    CHECK(fails(reopen(n, "read-only=on,backing=nosuch"), "Cannot find"));
    CHECK(!n->read_only && node_backing(n) == base);
    CHECK(ok(reopen(n, "backing=")));
    CHECK(!node_backing(n));
    node_unref(n);
    node_unref(base);
}

/* ---- extents of a chain */

static void test_extents(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=layer,file.driver=ram,file.size=8K,backing.driver=layer,backing.read-only=off,"
                             "backing.file.driver=ram,backing.file.size=4K", OPEN_RW);
    BlockNode *low = node_backing(n);
    Disk *d = disk(low, PERM_WRITE, PERM_ALL);
    Extent x;

    write_byte(d, 1024, 1);
    disk_free(d);
    d = disk(n, PERM_WRITE, PERM_ALL);
    write_byte(d, 0, 1);
    CHECK_EQ(node_extent(n, 0, 8192, &x), 0);
    CHECK(x.len == 512 && x.flags == (EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET) && x.host == 0);
    CHECK_EQ(node_extent(n, 100, 8000, &x), 0);
    CHECK(x.len == 412 && x.host == 100 && x.host_node == n->file->node);
    CHECK_EQ(node_extent(n, 600, 7000, &x), 0);
    CHECK(x.len == 4096 - 600 && x.flags == 0);         /* up to the end of the backing file */
    CHECK_EQ(node_extent(n, 4096, 4096, &x), 0);
    CHECK(x.len == 4096 && x.flags == (EXTENT_ZERO | EXTENT_EOF));
    CHECK_EQ(node_extent_above(n, NULL, false, 512, 7000, &x), 0);
    CHECK(x.len == 512 && x.flags == EXTENT_ZERO && x.depth == 1);
    CHECK_EQ(node_extent_above(n, NULL, false, 1024, 7000, &x), 0);
    CHECK(x.len == 512 && x.depth == 1 && x.flags & EXTENT_DATA && x.host == 1024);
    CHECK_EQ(node_extent_above(n, low, false, 1024, 7000, &x), 0);
    CHECK(x.len == 3072 && x.flags == 0 && x.depth == 0);
    CHECK_EQ(node_extent_above(n, NULL, false, 5000, 7000, &x), 0);
    CHECK(x.len == 3192 && x.flags == (EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_EOF) && x.depth == 1);
    disk_free(d);
    node_unref(n);
}

int main(void)
{
    RUN_IN_GRAPH(test_open_wrong);
    RUN_IN_GRAPH(test_open_deep);
    RUN_IN_GRAPH(test_long_chain);
    RUN_IN_GRAPH(test_auto_read_only);
    RUN_IN_GRAPH(test_names);
    RUN_IN_GRAPH(test_perms);
    RUN_IN_GRAPH(test_lock_refused);
    RUN_IN_GRAPH(test_force_share);
    RUN_IN_GRAPH(test_loops);
    RUN_IN_GRAPH(test_replace);
    RUN_IN_GRAPH(test_insert);
    RUN_IN_GRAPH(test_eject);
    RUN_IN_GRAPH(test_drain);
    RUN_IN_GRAPH(test_reopen);
    RUN_IN_GRAPH(test_reopen_backing);
    RUN_IN_GRAPH(test_extents);
    return test_end();
}
