/* SPDX-License-Identifier: MIT */
/*
 * qcow2's internal snapshots: a random life (writes, create, apply, delete)
 * against a model, each operation cut at every write and failing at every
 * write; the machine's state; tables that lie.
 */
#include "tests/unit/qcow2-cuts.h"

extern const BlockDriver block_raw, block_qcow2;
const BlockDriver *const block_set[] = { &block_qcow2, &block_raw, &block_rec, NULL };

enum { MOST = 5 };

/* What a disk holds, and what its snapshots do. */
typedef struct Model {
    uint64_t size;
    uint8_t *now, *snap[MOST];
    char name[MOST][8];
    unsigned n, made;
} Model;

typedef struct Life {
    BlockGraph *g;
    Rec *file;
    BlockNode *n;
    Disk *d;
    Model was, is;                  /* before and after the operation under test */
    unsigned seed;
    uint32_t cluster;
    bool compress;
} Life;

static unsigned draw(Life *l, unsigned n)
{
    return (unsigned)rand_r(&l->seed) % n;
}

static Model copy_of(const Model *m)
{
    Model c = *m;

    c.now = g_memdup2(m->now, m->size);
    for (unsigned i = 0; i < m->n; i++)
        c.snap[i] = g_memdup2(m->snap[i], m->size);
    return c;
}

static void model_free(Model *m)
{
    g_free(m->now);
    for (unsigned i = 0; i < m->n; i++)
        g_free(m->snap[i]);
    *m = (Model){ 0 };
}

static void open_disk(Life *l)
{
    /* Small caches, so that pieces leave them in the middle of an operation. */
    l->n = qcow2_on(l->g, l->file, "discard=unmap,refcount-cache-size=1K,l2-cache-size=8K,l2-cache-entry-size=512", OPEN_RW);
    CHECK(ok(disk_new(l->n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &l->d)));
}

static void close_disk(Life *l)
{
    disk_free(l->d);
    node_unref(l->n);
}

static void some_writes(Life *l)
{
    for (unsigned i = draw(l, 12); i > 0; i--) {
        uint64_t len = MIN(1 + draw(l, 3 * l->cluster), l->is.size), off = draw(l, (unsigned)(l->is.size - len + 1));
        unsigned what = draw(l, 5);
        uint8_t byte = (uint8_t)(what < 3 ? 1 + draw(l, 255) : 0);
        bool whole = what == 2 && l->compress && off / l->cluster * l->cluster + l->cluster <= l->is.size;

        if (whole) {
            off = off / l->cluster * l->cluster;
            len = l->cluster;
        }
        memset(l->is.now + off, byte, len);
        if (what == 4) {
            CHECK_EQ(disk_zero(l->d, off, len, REQ_UNMAP), 0);
        } else if (whole) {
            CHECK_EQ(disk_write(l->d, off, &IOV_BUF(l->is.now + off, len), REQ_COMPRESSED), 0);
        } else {
            CHECK_EQ(disk_write(l->d, off, &IOV_BUF(l->is.now + off, len), 0), 0);
        }
    }
    CHECK_EQ(disk_flush(l->d), 0);
}

static bool holds(BlockNode *n, const uint8_t *want, uint64_t size)
{
    g_autofree uint8_t *got = g_malloc(size);
    Disk *d = NULL;
    bool same;

    if (node_size(n) != size)
        return false;
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "look", &d)));
    same = !disk_read(d, 0, &IOV_BUF(got, size), 0) && !memcmp(got, want, size);
    disk_free(d);
    return same;
}

/* Does the image have exactly the model's disk and snapshots? The node is read-only, and of no use afterwards. */
static bool is_model(BlockNode *n, const Model *m)
{
    Snapshot *list = NULL;
    unsigned count = 0;
    bool same = holds(n, m->now, m->size);

    CHECK(ok(node_snapshots(n, &list, &count)));
    same = same && count == m->n;
    for (unsigned i = 0; same && i < count; i++)
        same = !strcmp(list[i].name, m->name[i]) && ok(node_snapshot_load(n, list[i].id)) && holds(n, m->snap[i], m->size);
    snapshots_free(list, count);
    return same;
}

static bool old_or_new(void *opaque, BlockNode *n, bool done)
{
    Life *l = opaque;
    bool good = is_model(n, &l->is);

    if (!good && !done) {           /* the node reads as some snapshot by now: another look needs another node */
        BlockNode *again = qcow2_on(l->g, (Rec *)node_storage(n), "read-only=on", 0);

        good = is_model(again, &l->was);
        node_unref(again);
    }
    if (!good)
        printf("neither the old nor the new\n");
    return good;
}

/* ---- operations, on the image and on the model */

static Err *create(Life *l)
{
    Model *m = &l->is;
    g_autofree char *name = g_strdup_printf("s%u", m->made);
    Snapshot sn = { .name = name, .icount = UINT64_MAX };
    Err *e = node_snapshot_create(l->n, &sn);

    g_free(sn.id);
    if (!e) {
        g_strlcpy(m->name[m->n], name, sizeof m->name[0]);
        m->snap[m->n++] = g_memdup2(m->now, m->size);
        m->made++;
    }
    return e;
}

static Err *apply(Life *l, unsigned i)
{
    Err *e = node_snapshot_apply(l->n, l->is.name[i]);

    if (!e)
        memcpy(l->is.now, l->is.snap[i], l->is.size);
    return e;
}

static Err *delete(Life *l, unsigned i)
{
    Model *m = &l->is;
    Err *e = node_snapshot_delete(l->n, m->name[i]);

    if (e)
        return e;
    g_free(m->snap[i]);
    m->n--;
    memmove(&m->snap[i], &m->snap[i + 1], (m->n - i) * sizeof m->snap[0]);
    memmove(&m->name[i], &m->name[i + 1], (m->n - i) * sizeof m->name[0]);
    return NULL;
}

/* `what`: 0 create, 1 apply, 2 delete */
static Err *operate(Life *l, unsigned what, unsigned i)
{
    return what == 0 ? create(l) : what == 1 ? apply(l, i) : delete(l, i);
}

/* Each write of the operation fails once; nothing may have changed then. */
static void failing(Life *l, unsigned what, unsigned i)
{
    for (int k = 1; k < 200; k++) {
        Err *e;

        l->file->fail_in = k;
        e = operate(l, what, i);
        if (!e) {                   /* it needed fewer, or what failed came after the switch: it has happened */
            l->file->fail_in = 0;
            CHECK_EQ(disk_flush(l->d), 0);
            return;
        }
        CHECK(!l->file->fail_in);
        err_free(e);
        CHECK(image_ok(l->n, true));
        CHECK(holds(l->n, l->is.now, l->is.size));
        if (test_case_bad)
            return;
    }
    CHECK(!"few enough writes");
}

static void one_operation(Life *l, bool fail)
{
    unsigned what = l->is.n == MOST ? 1 + draw(l, 2) : l->is.n ? draw(l, 3) : 0, i = l->is.n ? draw(l, l->is.n) : 0;
    Cuts c = { .look = old_or_new, .opaque = l };

    if (fail) {
        CheckResult r = { 0 };

        failing(l, what, i);
        CHECK_EQ(node_check(l->n, &r, FIX_LEAKS), 0);
        CHECK(image_ok(l->n, false));
        return;
    }
    model_free(&l->was);
    l->was = copy_of(&l->is);
    cuts_begin(&c, l->g, l->file);
    CHECK(ok(operate(l, what, i)));
    CHECK_EQ(disk_flush(l->d), 0);
    cuts_end(&c);
    CHECK(image_ok(l->n, false));
}

static void live(BlockGraph *g, const char *options, uint32_t cluster, uint64_t size, unsigned seed)
{
    Life l = { .g = g, .file = rec_new(g, "file", true), .seed = seed, .cluster = cluster,
               .compress = !strstr(options, "refcount_bits=2") };

    l.is = (Model){ .size = size, .now = g_malloc0(size) };
    CHECK(qcow2_make(g, l.file, options, size, NULL));
    open_disk(&l);
    for (unsigned i = 0; i < 12 && !test_case_bad; i++) {
        some_writes(&l);
        one_operation(&l, i % 4 == 3);
        CHECK(holds(l.n, l.is.now, size));
        if (i % 3 == 2) {
            close_disk(&l);
            open_disk(&l);
            CHECK(image_ok(l.n, false));
        }
    }
    if (test_case_bad)
        printf("options %s, seed %u\n", options, seed);
    close_disk(&l);
    model_free(&l.is);
    model_free(&l.was);
    node_unref(&l.file->node);
}

static void test_life(BlockGraph *g)
{
    live(g, "cluster_size=4K", 4096, 200192, 1);
    live(g, "cluster_size=512,compat=0.10", 512, 70144, 2);
    live(g, "cluster_size=512,refcount_bits=64", 512, 70144, 5);
    live(g, "cluster_size=16K,extended_l2=on,refcount_bits=64", 16384, 300032, 3);
    live(g, "cluster_size=4K,lazy_refcounts=on,refcount_bits=8", 4096, 200192, 4);
}

/* With two bits a cluster has three owners at most. */
static void test_narrow(BlockGraph *g)
{
    Rec *file = rec_new(g, "file", false);
    Snapshot sn = { .name = (char *)"a", .icount = UINT64_MAX };
    uint8_t data[4096];
    BlockNode *n;
    Disk *d = NULL;

    memset(data, 7, sizeof data);
    CHECK(qcow2_make(g, file, "cluster_size=4K,refcount_bits=2", 100000, NULL));
    n = qcow2_on(g, file, "discard=unmap", OPEN_RW);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(data, sizeof data), 0), 0);
    for (unsigned i = 0; i < 2; i++) {
        sn.id = NULL;
        CHECK(ok(node_snapshot_create(n, &sn)));
        g_free(sn.id);
    }
    sn.id = NULL;
    Err *e = node_snapshot_create(n, &sn);
    CHECK(e && strstr(err_text(e), "as many owners"));
    err_free(e);
    CHECK(image_ok(n, false));
    sn.id = g_strdup("2");
    e = node_snapshot_create(n, &sn);
    CHECK(e && strstr(err_text(e), "ID '2'"));
    err_free(e);
    g_free(sn.id);
    e = node_snapshot_delete(n, "nobody");
    CHECK(e && err_class(e) == ERR_NOT_FOUND);
    err_free(e);
    disk_free(d);
    node_unref(n);
    node_unref(&file->node);
}

/* The state lies behind the disk; creating a snapshot takes it along, applying brings it back. */
static void test_vmstate(BlockGraph *g)
{
    Rec *file = rec_new(g, "file", false);
    Snapshot sn = { .name = (char *)"vm", .vm_state_size = 10000, .icount = 5, .vm_clock_nsec = 77 }, *list;
    uint8_t data[10000], got[10000];
    BlockNode *n;
    unsigned count;

    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7);
    CHECK(qcow2_make(g, file, "cluster_size=4K", 100000, NULL));
    n = qcow2_on(g, file, "discard=unmap", OPEN_RW);
    CHECK_EQ(node_vmstate_write(n, 0, &IOV_BUF(data, sizeof data)), 0);
    CHECK(ok(node_snapshot_create(n, &sn)));
    g_free(sn.id);
    CHECK(image_ok(n, false));
    CHECK_EQ(node_vmstate_read(n, 0, &IOV_BUF(got, sizeof got)), 0);
    CHECK(buf_is_zero(got, sizeof got));
    node_unref(n);
    n = qcow2_on(g, file, "discard=unmap", OPEN_RW);
    CHECK(ok(node_snapshots(n, &list, &count)));
    CHECK_EQ(count, 1);
    CHECK_EQ(list[0].vm_state_size, 10000);
    CHECK_EQ(list[0].icount, 5);
    CHECK_EQ(list[0].vm_clock_nsec, 77);
    snapshots_free(list, count);
    CHECK(ok(node_snapshot_apply(n, "vm")));
    CHECK_EQ(node_vmstate_read(n, 0, &IOV_BUF(got, sizeof got)), 0);
    CHECK(!memcmp(got, data, sizeof got));
    CHECK(ok(node_snapshot_delete(n, "1")));
    CHECK(image_ok(n, false));
    node_unref(n);
    node_unref(&file->node);
}

/* ---- lies */

static void put_be(Rec *r, uint64_t at, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        r->mem->data[at + i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

static uint64_t get_be(const Rec *r, uint64_t at, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | r->mem->data[at + i];
    return v;
}

/* Opens (and applies): an error with these words; the bytes are put back. */
static void lie(BlockGraph *g, Rec *r, uint64_t at, uint64_t v, unsigned bytes, const char *words)
{
    uint64_t was = get_be(r, at, bytes);
    json_t *o = json_pack("{s:s,s:s}", "driver", "qcow2", "file", "file");
    BlockNode *n = NULL;
    Err *e;

    put_be(r, at, v, bytes);
    e = node_open(g, o, OPEN_RW, &n);
    if (!e)
        e = node_snapshot_apply(n, "a");
    if (!e || !strstr(err_text(e), words)) {
        printf("at %#" PRIx64 ": '%s', want '%s'\n", at, e ? err_text(e) : "no error", words);
        test_case_bad++;
    }
    err_free(e);
    node_unref(n);
    json_decref(o);
    put_be(r, at, was, bytes);
}

static void test_lies(BlockGraph *g)
{
    Rec *r = rec_new(g, "file", false);
    Snapshot sn = { .name = (char *)"a", .icount = UINT64_MAX };
    uint8_t data[4096];
    uint64_t table;
    BlockNode *n;
    Disk *d = NULL;

    memset(data, 7, sizeof data);
    CHECK(qcow2_make(g, r, "cluster_size=4K", 100000, NULL));
    n = qcow2_on(g, r, "discard=unmap", OPEN_RW);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(data, sizeof data), 0), 0);
    disk_free(d);
    CHECK(ok(node_snapshot_create(n, &sn)));
    g_free(sn.id);
    node_unref(n);
    table = get_be(r, 64, 8);
    lie(g, r, 60, 65537, 4, "too many snapshots");
    lie(g, r, 60, 60000, 4, "beyond the end of the file");
    lie(g, r, 64, table + 512, 8, "snapshot table");
    lie(g, r, 64, UINT64_C(1) << 40, 8, "beyond the end of the file");
    lie(g, r, 64, UINT64_MAX << 12, 8, "snapshot table");
    lie(g, r, table + 36, 2000, 4, "Too much extra metadata in snapshot table entry 0");
    lie(g, r, table, get_be(r, table, 8) + 8, 8, "could not apply");
    lie(g, r, table + 8, 1 << 30, 4, "could not apply");
    lie(g, r, table + 48, UINT64_MAX, 8, "bytes");
    lie(g, r, table + 48, UINT64_C(1) << 50, 8, "could not apply");
    lie(g, r, get_be(r, table, 8), UINT64_C(1) << 50 | 1 << 9, 8, "could not apply");
    n = qcow2_on(g, r, "discard=unmap", OPEN_RW);
    CHECK(image_ok(n, false));
    node_unref(n);
    node_unref(&r->node);
}

int main(void)
{
    RUN_IN_GRAPH(test_life);
    RUN_IN_GRAPH(test_narrow);
    RUN_IN_GRAPH(test_vmstate);
    RUN_IN_GRAPH(test_lies);
    return test_end();
}
