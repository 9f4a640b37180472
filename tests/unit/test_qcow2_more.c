/* SPDX-License-Identifier: MIT */
/*
 * qcow2, one thing at a time: a late write to a cluster that was given away,
 * sizes up and down, the machine's state, emptying, backing names, header
 * extensions of others, options while open, hosts that fail, metadata that lies.
 */
#include "tests/unit/qcow2-rig.h"

extern const BlockDriver block_raw, block_qcow2;
const BlockDriver *const block_set[] = { &block_qcow2, &block_raw, &block_rec, NULL };

static Disk *disk_of(BlockNode *n, bool writes)
{
    Disk *d = NULL;
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | (writes ? PERM_WRITE | PERM_RESIZE : 0), PERM_ALL, "test", &d)));
    return d;
}

static int wr(Disk *d, uint64_t off, int byte, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);
    memset(buf, byte, len);
    return disk_write(d, off, &IOV_BUF(buf, len), 0);
}

/* All of it is that byte. */
static bool is(Disk *d, uint64_t off, int byte, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);
    if (disk_read(d, off, &IOV_BUF(buf, len), 0))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (buf[i] != byte) {
            printf("byte %#zx is %#x, want %#x\n", (size_t)off + i, buf[i], byte);
            return false;
        }
    }
    return true;
}

static void clean(Rec *file)
{
    Checked k = check_image(file->mem, true);
    CHECK_EQ(k.corruptions, 0);
    CHECK_EQ(k.leaks, 0);
}

static bool fails(Err *e, const char *words)
{
    bool good = e && strstr(err_text(e), words);
    if (!good)
        printf("'%s', want '%s'\n", e ? err_text(e) : "(no error)", words);
    err_free(e);
    return good;
}

/* Opens what must not open. */
static bool refused(BlockGraph *g, Rec *file, unsigned flags, const char *words)
{
    BlockNode *n = NULL;
    json_t *o = json_pack("{s:s,s:s}", "driver", "qcow2", "file", node_name(&file->node));
    Err *e = node_open(g, o, flags, &n);
    json_decref(o);
    if (n)
        node_unref(n);
    return fails(e, words);
}

static void patch(Rec *file, uint64_t off, uint64_t value, unsigned bytes)
{
    value = htobe64(value << (64 - bytes * 8));
    memcpy(file->mem->data + off, &value, bytes);
}

/* ---- a write that is still on its way when its cluster gets another owner */

typedef struct Late { Disk *d; bool done; } Late;

static void late_write(void *arg)
{
    Late *l = arg;
    CHECK_EQ(wr(l->d, 0, 0xaa, 4096), 0);
    l->done = true;
}

static void late(BlockGraph *g, const char *create)
{
    Rec *file = rec_new(g, "file", false);
    CHECK(qcow2_make(g, file, create, 1 << 20, NULL));
    BlockNode *n = qcow2_on(g, file, "discard=unmap", OPEN_RW);
    Disk *d = disk_of(n, true);
    Extent x;
    CHECK_EQ(wr(d, 0, 1, 4096), 0);
    CHECK_EQ(disk_flush(d), 0);
    CHECK_EQ(node_extent(n, 0, 4096, &x), 0);
    CHECK(x.flags & EXTENT_OFFSET);
    file->gate = x.host;
    Late l = { .d = d };
    co_start(co_loop(), late_write, &l);
    for (int i = 0; i < 100 && !file->at_gate; i++)
        co_pause();
    CHECK(file->at_gate && !l.done);
    CHECK_EQ(disk_discard(d, 0, 4096), 0);
    for (int i = 1; i < 8; i++) {       /* one of them would get the cluster */
        CHECK_EQ(disk_flush(d), 0);
        CHECK_EQ(wr(d, i * 65536, i, 4096), 0);
    }
    file->gate = 0;
    while (!l.done)
        co_pause();
    for (int i = 1; i < 8; i++)
        CHECK(is(d, i * 65536, i, 4096));
    disk_free(d);
    node_unref(n);
    clean(file);
    node_unref(&file->node);
}

static void test_late_write(BlockGraph *g)
{
    late(g, "cluster_size=4k");
    late(g, "cluster_size=4k,lazy_refcounts=on");
}

/* ---- sizes */

static void test_resize(BlockGraph *g)
{
    static const char *const kinds[] = { "cluster_size=4k", "cluster_size=512", "cluster_size=16k,extended_l2=on", "compat=0.10,cluster_size=4k" };
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
        Rec *file = rec_new(g, "file", true);
        CHECK(qcow2_make(g, file, kinds[k], 100 << 10, NULL));
        BlockNode *n = qcow2_on(g, file, "", OPEN_RW);
        Disk *d = disk_of(n, true);
        CHECK_EQ(wr(d, 0, 1, 100 << 10), 0);
        for (int p = PREALLOC_OFF; p <= PREALLOC_FULL; p++) {
            uint64_t was = disk_size(d), now = was + (300 << 10) + 512;
            CHECK(ok(disk_resize(d, now, false, (Preallocation){ p }, 0)));
            CHECK_EQ(disk_size(d), now);
            CHECK(is(d, 0, 1, 100 << 10));
            CHECK(is(d, was, 0, now - was));
            CHECK_EQ(wr(d, was + 1024, 2, 4096), 0);
            CHECK_EQ(wr(d, was + 1024, 0, 4096), 0);
        }
        CHECK(ok(disk_resize(d, 50 << 10, false, (Preallocation){ 0 }, 0)));
        CHECK(ok(disk_resize(d, 60 << 10, false, (Preallocation){ 0 }, 0)));
        CHECK(is(d, 0, 1, 50 << 10));
        CHECK(is(d, 50 << 10, 0, 10 << 10));
        CHECK(fails(disk_resize(d, 1000, false, (Preallocation){ 0 }, 0), "multiple of 512"));
        CHECK(ok(disk_resize(d, 0, false, (Preallocation){ 0 }, 0)));
        disk_free(d);
        node_unref(n);
        clean(file);
        CHECK(k == 1 || file->mem->len <= 64 << 10);     /* with small clusters an L1 table has moved to the end */
        node_unref(&file->node);
    }
}

/* ---- behind the disk's end */

static void test_vmstate(BlockGraph *g)
{
    Rec *file = rec_new(g, "file", true);
    g_autofree uint8_t *buf = g_malloc(300 << 10), *back = g_malloc0(300 << 10);
    memset(buf, 0x5c, 300 << 10);
    CHECK(qcow2_make(g, file, "cluster_size=512", 100 << 10, NULL));
    BlockNode *n = qcow2_on(g, file, "", OPEN_RW);
    Disk *d = disk_of(n, true);
    CHECK_EQ(wr(d, 0, 1, 100 << 10), 0);
    CHECK_EQ(node_vmstate_write(n, 12345, &IOV_BUF(buf, 300 << 10)), 0);
    CHECK_EQ(node_vmstate_read(n, 12345, &IOV_BUF(back, 300 << 10)), 0);
    CHECK(!memcmp(buf, back, 300 << 10));
    CHECK_EQ(node_vmstate_read(n, 0, &IOV_BUF(back, 12345)), 0);
    CHECK(buf_is_zero(back, 12345));
    CHECK_EQ(node_vmstate_read(n, BLOCK_MAX_SIZE, &IOV_BUF(back, 512)), -EINVAL);
    CHECK(is(d, 0, 1, 100 << 10));
    CHECK_EQ(disk_size(d), 100 << 10);
    disk_free(d);
    node_unref(n);
    clean(file);
    node_unref(&file->node);
}

/* ---- backing files and the header */

static void test_empty_and_header(BlockGraph *g)
{
    Rec *base = rec_new(g, "base", true), *file = rec_new(g, "file", true);
    rec_resize_to(base->mem, 64 << 10);
    memset(base->mem->data, 9, 64 << 10);
    base->node.size = 64 << 10;
    CHECK(qcow2_make(g, file, "cluster_size=4k", 100 << 10, "base"));
    /* An extension and a feature name that nobody knows, in front of the end of the list. */
    Qcow2Header h;
    memcpy(&h, file->mem->data, sizeof(h));
    qcow2_header_swap(&h);
    uint64_t at = h.backing_offset - 8;
    memmove(file->mem->data + at + 24, file->mem->data + at, 8 + h.backing_size);
    patch(file, at, 0x12345678, 4);
    patch(file, at + 4, 11, 4);
    memcpy(file->mem->data + at + 8, "of somebody\0\0\0\0\0", 16);
    patch(file, 8, h.backing_offset + 24, 8);
    patch(file, 80, UINT64_C(1) << 40, 8);      /* unknown compatible: kept */
    patch(file, 88, UINT64_C(1) << 41, 8);      /* unknown autoclear: cleared when written */
    BlockNode *n = qcow2_on(g, file, "backing=base", OPEN_RW);
    Disk *d = disk_of(n, true);
    CHECK_STR(n->backing_name, "base");
    CHECK_STR(n->backing_format, "raw");
    CHECK(is(d, 0, 9, 64 << 10));
    CHECK(is(d, 64 << 10, 0, 36 << 10));
    CHECK_EQ(wr(d, 1000, 3, 70000), 0);
    CHECK(is(d, 0, 9, 1000));
    CHECK(is(d, 71000, 0, 30000 - 600));
    CHECK(ok(n->drv->make_empty(n)));
    CHECK(is(d, 0, 9, 64 << 10));
    CHECK(is(d, 64 << 10, 0, 36 << 10));
    CHECK(ok(node_change_backing_file(n, "a much longer name than it was", "qcow2", true)));
    g_autofree char *longest = g_strnfill(1024, 'x');
    CHECK(fails(node_change_backing_file(n, longest, "raw", true), "longer than 1023"));
    disk_free(d);
    node_unref(n);
    clean(file);
    n = qcow2_on(g, file, "backing=base", 0);
    CHECK_STR(n->backing_name, "a much longer name than it was");
    CHECK_STR(n->backing_format, "qcow2");
    Qcow2 *s = qcow2_of(n);
    CHECK(s->unknown_exts && s->unknown_exts->type == 0x12345678 && s->unknown_exts->len == 11 &&
          !memcmp(s->unknown_exts->data, "of somebody", 11));
    CHECK_EQ(s->header.compatible, UINT64_C(1) << 40);
    CHECK_EQ(s->header.autoclear, 0);
    node_unref(n);
    node_unref(&file->node);
    node_unref(&base->node);
}

/* ---- the host fails */

/* The `fail`th write fails, once. `first` bytes are there before. */
static bool failing(BlockGraph *g, const char *create, uint64_t first, uint64_t size, unsigned fail)
{
    int bad = test_case_bad;
    Rec *file = rec_new(g, "file", false);
    CHECK(qcow2_make(g, file, create, size, NULL));
    BlockNode *n = qcow2_on(g, file, "l2-cache-size=1k,refcount-cache-size=1k", OPEN_RW);
    Disk *d = disk_of(n, true);
    CHECK_EQ(wr(d, 0, 7, first), 0);
    CHECK_EQ(disk_flush(d), 0);
    file->fail_in = fail;
    int ret = 0;
    for (uint64_t off = first; off + 9000 < size && !ret; off += 9000)
        ret = wr(d, off, 8, 9000);
    if (!ret)
        ret = disk_flush(d);
    bool failed = !file->fail_in;
    file->fail_in = 0;
    CHECK(is(d, 0, 7, first));
    CHECK_EQ(wr(d, first, 8, size - first), 0);         /* it was but once */
    CHECK_EQ(disk_flush(d), 0);
    CHECK(is(d, 0, 7, first));
    CHECK(is(d, first, 8, size - first));
    disk_free(d);
    node_unref(n);
    Checked k = check_image(file->mem, true);
    CHECK_EQ(k.corruptions, 0);
    node_unref(&file->node);
    if (bad != test_case_bad)
        printf("  write %u failing, %s\n", fail, create);
    return failed && bad == test_case_bad;
}

static void test_failing_host(BlockGraph *g)
{
    static const char *const kinds[] = { "cluster_size=512", "cluster_size=4k,refcount_bits=64", "cluster_size=512,lazy_refcounts=on" };
    for (size_t k = 0; k < G_N_ELEMENTS(kinds); k++) {
        for (unsigned i = 1; failing(g, kinds[k], 20000, 200 << 10, i); i += 1 + i / 20)
            ;
    }
    /* Where the refcount table has to grow. */
    for (unsigned i = 1; failing(g, "cluster_size=512,refcount_bits=64", 1900000, 2300 << 10, i); i += 1 + i / 20)
        ;
}

/* ---- options of an open image */

static void test_reopen(BlockGraph *g)
{
    Rec *file = rec_new(g, "file", true);
    CHECK(qcow2_make(g, file, "cluster_size=4k", 1 << 20, NULL));
    BlockNode *n = qcow2_on(g, file, "", OPEN_RW);
    Disk *d = disk_of(n, true);
    CHECK_EQ(wr(d, 0, 1, 100000), 0);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s}", "driver", "qcow2", "file", "file", "lazy-refcounts", "on", "l2-cache-size", "8k");
    CHECK(ok(node_reopen(n, o)));
    json_decref(o);
    CHECK_EQ(wr(d, 200000, 2, 100000), 0);
    CHECK(qcow2_of(n)->header.incompatible & QCOW2_INCOMPAT_DIRTY);
    CHECK(ok(disk_set_perm(d, PERM_CONSISTENT_READ, PERM_ALL)));
    o = json_pack("{s:s,s:s,s:s}", "driver", "qcow2", "file", "file", "read-only", "on");
    CHECK(ok(node_reopen(n, o)));
    json_decref(o);
    CHECK(node_read_only(n));
    CHECK(!(qcow2_of(n)->header.incompatible & QCOW2_INCOMPAT_DIRTY));
    clean(file);
    CHECK(is(d, 0, 1, 100000));
    CHECK(is(d, 200000, 2, 100000));
    disk_free(d);
    node_unref(n);
    node_unref(&file->node);
}

/* ---- metadata that lies */

typedef struct Lie { uint64_t off, value; unsigned bytes; const char *words; } Lie;

static void test_lying_header(BlockGraph *g)
{
    static const Lie lies[] = {
        { 0, 0, 4, "not in qcow2 format" }, { 4, 4, 4, "version 4" }, { 8, 70000, 8, "backing file name" },
        { 20, 8, 4, "cluster size" }, { 20, 22, 4, "cluster size" }, { 20, UINT32_MAX, 4, "cluster size" },
        { 24, UINT64_MAX, 8, "size" }, { 24, UINT64_C(1) << 50, 8, "L1 table is too small" },
        { 32, 3, 4, "encryption method" }, { 32, 2, 4, "LUKS" }, { 36, UINT32_MAX, 4, "L1 table too large" },
        { 36, 0, 4, "too small" }, { 40, 0x30001, 8, "offset invalid" }, { 40, 0, 8, "L1 table" },
        { 40, INT64_MAX & ~0xffffull, 8, "beyond the end" }, { 48, 0x10001, 8, "reference count table" },
        { 48, 0, 8, "reference count table" }, { 56, 0, 4, "reference count table" }, { 56, UINT32_MAX, 4, "too large" },
        { 60, 65537, 4, "snapshots" }, { 72, UINT64_C(1) << 63, 8, "unknown incompatible feature: 8000000000000000" },
        { 72, 16 | 1 << 30, 8, "unknown" }, { 72, 8, 8, "compression type" }, { 88, 2, 8, "raw external data bit" },
        { 96, 7, 4, "64" }, { 100, 96, 4, "too short" }, { 100, 105, 4, "length" }, { 100, 1 << 17, 4, "length" },
        { 104, 1, 1, "compression type" }, { 116, 70000, 4, "extension" }, { 112, 0x0537be77, 4, "encryption" },
    };
    Rec *file = rec_new(g, "file", false);
    CHECK(qcow2_make(g, file, "", 1 << 20, NULL));
    g_autoptr(GByteArray) good = g_byte_array_new();
    g_byte_array_append(good, file->mem->data, file->mem->len);
    for (size_t i = 0; i < G_N_ELEMENTS(lies); i++) {
        memcpy(file->mem->data, good->data, good->len);
        patch(file, lies[i].off, lies[i].value, lies[i].bytes);
        CHECK(refused(g, file, i % 2 ? OPEN_RW : 0, lies[i].words));
    }
    memcpy(file->mem->data, good->data, good->len);
    /* A feature that the image itself names. */
    memcpy(file->mem->data + 120 + 2 * 48, "\0\x21""time travel\0\0\0\0\0\0\0\0", 22);
    patch(file, 72, UINT64_C(1) << 33, 8);
    CHECK(refused(g, file, 0, "unsupported qcow2 feature(s): time travel"));
    patch(file, 72, QCOW2_INCOMPAT_CORRUPT, 8);
    CHECK(refused(g, file, OPEN_RW, "corrupt"));
    BlockNode *n = qcow2_on(g, file, "", 0);
    node_unref(n);
    node_unref(&file->node);
}

/* A write that would hit metadata: nothing is written, the corrupt bit is set. */
static void test_overlap(BlockGraph *g)
{
    static const struct { uint64_t host; const char *what; } hits[] = {
        { 0, "header" }, { 0x1000, "refcount table" }, { 0x2000, "refcount block" }, { 0x3000, "L1" }, { 0x4000, "L2" },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(hits); i++) {
        Rec *file = rec_new(g, "file", false);
        CHECK(qcow2_make(g, file, "cluster_size=4k", 1 << 20, NULL));
        BlockNode *n = qcow2_on(g, file, "", OPEN_RW);
        Disk *d = disk_of(n, true);
        CHECK_EQ(wr(d, 0, 1, 8192), 0);
        CHECK_EQ(disk_flush(d), 0);
        Qcow2Slice sl;
        CHECK_EQ(qcow2_slice_get(qcow2_of(n), 0, &sl), 0);
        uint64_t table = sl.table;
        qcow2_slice_put(&sl);
        disk_free(d);
        node_unref(n);
        uint64_t target = i == 4 ? table : hits[i].host;
        patch(file, table, target | QCOW2_COPIED, 8);
        if (!target)
            patch(file, table, QCOW2_COPIED | 0x1000, 8), target = 0x1000;
        g_autoptr(GByteArray) before = g_byte_array_new();
        g_byte_array_append(before, file->mem->data, file->mem->len);
        n = qcow2_on(g, file, "", OPEN_RW);
        d = disk_of(n, true);
        CHECK_EQ(wr(d, 0, 2, 4096), -EIO);
        CHECK_EQ(wr(d, 100000, 2, 4096), -EIO);
        CHECK(!memcmp(before->data + target, file->mem->data + target, 4096));
        CHECK(file->mem->data[79] & QCOW2_INCOMPAT_CORRUPT);
        disk_free(d);
        node_unref(n);
        CHECK(refused(g, file, OPEN_RW, "corrupt"));
        node_unref(&file->node);
    }
}

/* Random bytes in the tables: answers or errors, and in the end. */
static void test_noise(BlockGraph *g)
{
    unsigned seed = 5;
    for (int round = 0; round < 300; round++) {
        Rec *file = rec_new(g, "file", false);
        CHECK(qcow2_make(g, file, (const char *[]){ "cluster_size=512", "cluster_size=4k,lazy_refcounts=on", "cluster_size=16k,extended_l2=on" }[round % 3],
                         300 << 10, NULL));
        BlockNode *n = qcow2_on(g, file, "", OPEN_RW);
        Disk *d = disk_of(n, true);
        CHECK_EQ(wr(d, 0, 1, 100000), 0);
        disk_free(d);
        node_unref(n);
        for (int k = 0; k < 6; k++) {
            uint64_t off = rand_r(&seed) % MIN(file->mem->len, 20000);
            if (off >= 104)
                file->mem->data[off] ^= 1 << rand_r(&seed) % 8;
            else if (k == 0)
                file->mem->data[off] = rand_r(&seed);
        }
        json_t *o = json_pack("{s:s,s:s}", "driver", "qcow2", "file", "file");
        Err *e = node_open(g, o, OPEN_RW, &n);
        json_decref(o);
        if (!e) {
            d = disk_of(n, true);
            g_autofree uint8_t *buf = g_malloc0(300 << 10);
            uint64_t size = MIN(disk_size(d), 300 << 10);
            if (size) {
                (void)disk_read(d, 0, &IOV_BUF(buf, size), 0);
                (void)disk_write(d, 0, &IOV_BUF(buf, size), 0);
                (void)disk_discard(d, 0, size / 2);
                (void)disk_flush(d);
                (void)disk_read(d, 0, &IOV_BUF(buf, size), 0);
            }
            disk_free(d);
            node_unref(n);
        }
        err_free(e);
        node_unref(&file->node);
    }
}

int main(void)
{
    RUN_IN_GRAPH(test_late_write);
    RUN_IN_GRAPH(test_resize);
    RUN_IN_GRAPH(test_vmstate);
    RUN_IN_GRAPH(test_empty_and_header);
    RUN_IN_GRAPH(test_failing_host);
    RUN_IN_GRAPH(test_reopen);
    RUN_IN_GRAPH(test_lying_header);
    RUN_IN_GRAPH(test_overlap);
    RUN_IN_GRAPH(test_noise);
    return test_end();
}
