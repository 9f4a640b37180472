/* SPDX-License-Identifier: MIT */
/*
 * qcow2's check and repair: images broken on purpose, a kind of lie each. What
 * is found, in which words and how often; what a repair leaves; that a check
 * writes nothing, and that data that was there is there afterwards.
 */
#include "tests/unit/qcow2-cuts.h"

extern const BlockDriver block_raw, block_qcow2;
const BlockDriver *const block_set[] = { &block_qcow2, &block_raw, &block_rec, NULL };

enum { CLUSTER = 4096, DISK = 1 << 20 };

/* ---- the image's bytes */

static uint64_t get(const Rec *r, uint64_t at, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | r->mem->data[at + i];
    return v;
}

static void put(Rec *r, uint64_t at, uint64_t v, unsigned bytes)
{
    if (at + bytes > r->mem->len) {
        printf("beyond the file: %#" PRIx64 "\n", at);
        test_case_bad++;
        return;
    }
    for (unsigned i = 0; i < bytes; i++)
        r->mem->data[at + i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

static uint64_t l1(const Rec *r) { return get(r, 40, 8); }
static uint64_t l2(const Rec *r, unsigned i) { return (get(r, l1(r), 8) & QCOW2_L1_OFFSET) + 8 * i; }
static uint64_t entry(const Rec *r, unsigned i) { return get(r, l2(r, i), 8); }
static uint64_t rt(const Rec *r) { return get(r, 48, 8); }
static uint64_t rb(const Rec *r) { return get(r, rt(r), 8); }
static uint64_t count_at(const Rec *r, uint64_t cluster) { return rb(r) + 2 * cluster; }
static uint64_t host(const Rec *r, unsigned i) { return (entry(r, i) & QCOW2_L2_OFFSET) / CLUSTER; }
static uint64_t snap(const Rec *r) { return get(r, 64, 8); }
enum { PACKED = 64 };                   /* the guest cluster that is compressed */

/* ---- the lies */

static void no_lie(Rec *r) {}
static void count_zero(Rec *r) { put(r, count_at(r, host(r, 2)), 0, 2); }
static void count_high(Rec *r) { put(r, count_at(r, host(r, 2)), 9, 2); }
static void copied_set(Rec *r) { put(r, l2(r, 2), entry(r, 2) | QCOW2_COPIED, 8); }
static void copied_lost(Rec *r) { put(r, l2(r, 1), entry(r, 1) & ~QCOW2_COPIED, 8); }
static void l1_copied(Rec *r) { put(r, l1(r), get(r, l1(r), 8) ^ QCOW2_COPIED, 8); }
static void l1_reserved(Rec *r) { put(r, l1(r), get(r, l1(r), 8) | 1, 8); }
static void l1_unaligned(Rec *r) { put(r, l1(r), get(r, l1(r), 8) + 512, 8); }
static void l1_beyond(Rec *r) { put(r, l1(r), QCOW2_COPIED | UINT64_C(1) << 40, 8); }
static void l2_reserved(Rec *r) { put(r, l2(r, 1), entry(r, 1) | 2, 8); }
static void l2_unaligned(Rec *r) { put(r, l2(r, 1), entry(r, 1) + 512, 8); }
static void l2_beyond(Rec *r) { put(r, l2(r, 1), QCOW2_COPIED | UINT64_C(1) << 40, 8); }
static void l2_twice(Rec *r) { put(r, l2(r, 1), entry(r, 3), 8); }
static void l2_metadata(Rec *r) { put(r, l2(r, 1), QCOW2_COPIED | rb(r), 8); }
static void l2_zero_unaligned(Rec *r) { put(r, l2(r, 1), ((entry(r, 1) & QCOW2_L2_OFFSET) + 512) | 1, 8); }
static void packed_copied(Rec *r) { put(r, l2(r, PACKED), entry(r, PACKED) | QCOW2_COPIED, 8); }
static void packed_beyond(Rec *r) { put(r, l2(r, PACKED), QCOW2_COMPRESSED | UINT64_C(1) << 40, 8); }
static void rb_reserved(Rec *r) { put(r, rt(r), rb(r) | 1, 8); }
static void rb_unaligned(Rec *r) { put(r, rt(r), rb(r) + 512, 8); }
static void rb_beyond(Rec *r) { put(r, rt(r), UINT64_C(1) << 40, 8); }
static void rb_missing(Rec *r) { put(r, rt(r), 0, 8); }
static void rb_twice(Rec *r) { put(r, rt(r) + 8, rb(r), 8); }
static void rb_is_data(Rec *r) { put(r, rt(r) + 8, host(r, 1) * CLUSTER, 8); }
static void rt_beyond(Rec *r) { put(r, 48, UINT64_C(1) << 40, 8); }
static void rt_unaligned(Rec *r) { put(r, 48, rt(r) + 512, 8); }
static void rt_too_large(Rec *r) { put(r, 56, 1 << 20, 4); }
static void rt_none(Rec *r) { put(r, 56, 0, 4); }
static void snap_unaligned(Rec *r) { put(r, snap(r), get(r, snap(r), 8) + 512, 8); }
static void snap_l1_size(Rec *r) { put(r, snap(r) + 8, 1 << 30, 4); }
static void snap_l1_beyond(Rec *r) { put(r, snap(r), UINT64_C(1) << 40, 8); }
static void snap_extra(Rec *r) { put(r, snap(r) + 36, 2000, 4); }
static void snap_beyond(Rec *r) { put(r, 64, UINT64_C(1) << 40, 8); }
static void snap_two(Rec *r) { put(r, 60, 2, 4); }
static void cut_short(Rec *r)
{
    g_byte_array_set_size(r->mem, r->mem->len - 3 * CLUSTER);
    r->node.size = r->mem->len;
}

typedef struct Lie {
    const char *name;
    void (*tell)(Rec *);
    const char *line;               /* among what the check says; NULL: nothing */
    int corruptions, leaks;         /* -1: some */
    int left;                       /* corruptions after check -r all; leaks likewise: */
    int left_leaks;
} Lie;

static const Lie lies[] = {
    { "none", no_lie, NULL, 0, 0, 0, 0 },
    { "refcount 0", count_zero, "refcount=0 reference=2", 1, 0, 0, 0 },
    { "refcount too high", count_high, "Leaked cluster", 0, 1, 0, 0 },
    { "copied, but shared", copied_set, "ERROR OFLAG_COPIED data cluster: l2_entry=8", 1, 0, 0, 0 },
    { "not copied, but alone", copied_lost, "ERROR OFLAG_COPIED data cluster: l2_entry=", 1, 0, 0, 0 },
    { "L1 entry's flag", l1_copied, "ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=", 1, 0, 0, 0 },
    { "L1 reserved bits", l1_reserved, "ERROR found L1 entry with reserved bits set: 8", 1, 0, 1, 0 },
    { "L1 unaligned", l1_unaligned, "Table is not cluster aligned; L1 entry corrupted", -1, -1, 1, -1 },
    { "L1 beyond the end", l1_beyond, "end of the file by one cluster or more: offset 0x10000000000 size 0x1000", 2, -1, 1, -1 },
    { "L2 reserved bits", l2_reserved, "ERROR found l2 entry with reserved bits set: 8", 1, 0, 1, 0 },
    { "L2 unaligned", l2_unaligned, "Data cluster is not properly aligned; L2 entry corrupted.", -1, 0, 1, 0 },
    { "L2 beyond the end", l2_beyond, "end of the file by one cluster or more: offset 0x10000000000 size 0x1000", 2, 1, 1, 0 },
    { "two guest clusters, one place", l2_twice, "refcount=2 reference=3", 1, 1, 0, 0 },
    { "data over a refcount block", l2_metadata, "refcount block 0 refcount=2", -1, 0, 0, 0 },
    { "zero cluster unaligned", l2_zero_unaligned, "Preallocated cluster is not properly aligned", -1, 0, 0, 0 },
    { "compressed with flag", packed_copied, "copied flag must never be set for compressed clusters", 1, 0, 0, 0 },
    { "compressed beyond the end", packed_beyond, "end of the file by one cluster or more: offset 0x10000000000 size 0x200", 1, 1, 1, 0 },
    { "refcount table reserved bits", rb_reserved, "ERROR refcount table entry 0 has reserved bits set", -1, 0, 0, 0 },
    { "refcount block unaligned", rb_unaligned, "ERROR refcount block 0 is not cluster aligned", -1, 0, 0, 0 },
    { "refcount block beyond", rb_beyond, "ERROR refcount block 0 is outside image", -1, 0, 0, 0 },
    { "refcount block missing", rb_missing, "refcount=0 reference=1", -1, 0, 0, 0 },
    { "refcount block twice", rb_twice, "ERROR refcount block 1 refcount=2", -1, 0, 0, 0 },
    { "refcount block that is data", rb_is_data, "ERROR refcount block 1 refcount=2", -1, 0, 0, 0 },
    { "refcount table beyond", rt_beyond, "offset 0x10000000000 size 0x1000", -1, 0, 0, 0 },
    { "refcount table unaligned", rt_unaligned, "reference count table offset invalid", -1, 0, 0, 0 },
    { "refcount table too large", rt_too_large, "reference count table too large", -1, 0, 0, 0 },
    { "no refcount table", rt_none, "refcount=0 reference=1", -1, 0, 0, 0 },
    { "snapshot's L1 unaligned", snap_unaligned, "ERROR snapshot 1 (a) l1_offset=0x", 1, -1, 1, -1 },
    { "snapshot's L1 too large", snap_l1_size, "ERROR snapshot 1 (a) l1_size=0x40000000", 1, -1, 1, -1 },
    { "snapshot's L1 beyond", snap_l1_beyond, "offset 0x10000000000 size 0x8", 1, -1, 1, -1 },
    { "snapshot's extra data", snap_extra, "has too much extra metadata (2000 > 1024)", 1, 0, 0, 0 },
    { "snapshot table beyond", snap_beyond, "(offset 0x10000000000)", 1, -1, 0, -1 },
    { "more snapshots than there are", snap_two, "ERROR snapshot table entry 1 is incomplete", 1, 0, 0, 0 },
    { "cut short", cut_short, "one cluster or more", -1, 0, 0, 0 },
};

/* ---- an image with everything in it */

static void write_at(Disk *d, uint64_t cluster, uint8_t byte, unsigned flags)
{
    uint8_t data[CLUSTER];

    memset(data, byte, sizeof data);
    CHECK_EQ(disk_write(d, cluster * CLUSTER, &IOV_BUF(data, sizeof data), flags), 0);
}

static GByteArray *make(BlockGraph *g, const char *options, bool snapshot)
{
    Rec *r = rec_new(g, "made", false);
    GByteArray *bytes = g_byte_array_new();
    Snapshot sn = { .name = (char *)"a", .icount = UINT64_MAX };
    BlockNode *n;
    Disk *d = NULL;

    CHECK(qcow2_make(g, r, options, DISK, NULL));
    n = qcow2_on(g, r, "discard=unmap", OPEN_RW);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    for (unsigned i = 0; i < 4; i++)
        write_at(d, i, (uint8_t)(10 + i), 0);
    CHECK_EQ(disk_zero(d, 32 * CLUSTER, CLUSTER, REQ_UNMAP), 0);
    write_at(d, PACKED, 99, REQ_COMPRESSED);
    if (snapshot) {
        CHECK(ok(node_snapshot_create(n, &sn)));
        g_free(sn.id);
    }
    write_at(d, 1, 50, 0);
    disk_free(d);
    node_unref(n);
    g_byte_array_append(bytes, r->mem->data, r->mem->len);
    node_unref(&r->node);
    return bytes;
}

/* ---- checking */

typedef struct Heard { const char *want; bool heard; GString *all; } Heard;

static void hear(void *opaque, const char *line)
{
    Heard *h = opaque;

    h->heard |= h->want && strstr(line, h->want);
    g_string_append_printf(h->all, "  %s\n", line);
}

static CheckResult check(BlockGraph *g, Rec *r, unsigned fix, Heard *h)
{
    CheckResult c = { .found = h ? hear : NULL, .opaque = h };
    BlockNode *n = qcow2_on(g, r, fix ? "discard=unmap" : "read-only=on", fix ? OPEN_RW | OPEN_CHECK : OPEN_CHECK);

    if (n)
        CHECK_EQ(node_check(n, &c, fix), 0);
    node_unref(n);
    return c;
}

static bool fits(int64_t got, int want)
{
    return want < 0 ? got > 0 : got == want;
}

static void try_lie(BlockGraph *g, const GByteArray *good, const Lie *lie)
{
    Rec *r = rec_of_bytes(g, "broken", good);
    Heard h = { lie->line, false, g_string_new("") };
    unsigned writes;
    CheckResult c;

    lie->tell(r);
    writes = r->writes;
    c = check(g, r, 0, &h);
    CHECK_EQ(r->writes, writes);
    CHECK(fits(c.corruptions, lie->corruptions) && fits(c.leaks, lie->leaks) && c.errors == 0);
    CHECK(h.heard == (lie->line != NULL));
    check(g, r, FIX_LEAKS | FIX_ERRORS, &h);
    c = check(g, r, 0, &h);
    CHECK(fits(c.corruptions, lie->left) && fits(c.leaks, lie->left_leaks));
    if (test_case_bad)
        printf("lie '%s': %d corruptions, %d leaks are left\n%s", lie->name, (int)c.corruptions, (int)c.leaks, h.all->str);
    g_string_free(h.all, TRUE);
    node_unref(&r->node);
}

static void test_lies(BlockGraph *g)
{
    GByteArray *good = make(g, "cluster_size=4K", true);

    for (size_t i = 0; i < G_N_ELEMENTS(lies) && test_case_bad < 3; i++)
        try_lie(g, good, &lies[i]);
    g_byte_array_free(good, TRUE);
}

/* ---- repairs keep data */

static void whole(BlockGraph *g, Rec *r)
{
    BlockNode *n = qcow2_on(g, r, "discard=unmap", OPEN_RW);
    static const struct { unsigned at; uint8_t byte; } want[] = { { 0, 10 }, { 1, 50 }, { 2, 12 }, { 3, 13 }, { PACKED, 99 } };
    uint8_t got[CLUSTER];
    Disk *d = NULL;

    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    for (size_t i = 0; i < G_N_ELEMENTS(want); i++) {
        CHECK_EQ(disk_read(d, (uint64_t)want[i].at * CLUSTER, &IOV_BUF(got, CLUSTER), 0), 0);
        CHECK(got[0] == want[i].byte && !memcmp(got, got + 1, CLUSTER - 1));
    }
    for (unsigned i = 0; i < 40; i++)       /* nothing is handed out that is in use */
        write_at(d, 100 + i, 77, 0);
    CHECK(image_ok(n, false));
    disk_free(d);
    node_unref(n);
}

/* Refcounts of any width, all of them lost: made anew. */
static void test_rebuild(BlockGraph *g)
{
    static const char *const options[] = {
        "cluster_size=4K", "cluster_size=4K,refcount_bits=2", "cluster_size=4K,refcount_bits=64", "cluster_size=4K,compat=0.10",
    };

    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        GByteArray *good = make(g, options[i], true);
        Rec *r = rec_of_bytes(g, "broken", good);
        CheckResult c;

        memset(r->mem->data + rt(r), 0, CLUSTER);
        c = check(g, r, 0, NULL);
        CHECK(c.corruptions > 5);
        check(g, r, FIX_LEAKS | FIX_ERRORS, NULL);
        c = check(g, r, 0, NULL);
        CHECK(!c.corruptions && !c.leaks && !c.errors);
        whole(g, r);
        node_unref(&r->node);
        g_byte_array_free(good, TRUE);
    }
}

/* A dirty image is mended by opening it for writing. */
static void test_dirty(BlockGraph *g)
{
    GByteArray *good = make(g, "cluster_size=4K,lazy_refcounts=on", false);
    Rec *r = rec_of_bytes(g, "broken", good);
    BlockNode *n;
    CheckResult c;

    put(r, 79, QCOW2_INCOMPAT_DIRTY, 1);
    put(r, count_at(r, host(r, 2)), 0, 2);
    put(r, count_at(r, 200), 1, 2);             /* beyond the file: no leak */
    put(r, count_at(r, host(r, 0)), 3, 2);
    c = check(g, r, 0, NULL);
    CHECK_EQ(c.corruptions, 3);                 /* and the flags of both */
    CHECK_EQ(c.leaks, 1);
    n = qcow2_on(g, r, "read-only=on", 0);      /* reading needs no refcounts */
    node_unref(n);
    CHECK_EQ(get(r, 79, 1), QCOW2_INCOMPAT_DIRTY);
    n = qcow2_on(g, r, "discard=unmap", OPEN_RW);
    CHECK(image_ok(n, false));
    node_unref(n);
    CHECK_EQ(get(r, 79, 1), 0);
    whole(g, r);
    node_unref(&r->node);
    g_byte_array_free(good, TRUE);
}

/* check -r leaks mends leaks alone; what cannot be followed keeps what it may name. */
static void test_careful(BlockGraph *g)
{
    GByteArray *good = make(g, "cluster_size=4K", true);
    Rec *r = rec_of_bytes(g, "broken", good);
    Heard h = { "Leaked clusters are kept", false, g_string_new("") };
    CheckResult c;

    count_zero(r);
    put(r, count_at(r, host(r, 3)), 7, 2);
    c = check(g, r, FIX_LEAKS, NULL);
    CHECK(c.leaks == 0 && c.leaks_fixed == 1 && c.corruptions == 1 && c.corruptions_fixed == 0);
    c = check(g, r, FIX_ERRORS, NULL);
    CHECK(c.corruptions == 0 && c.corruptions_fixed == 1);
    snap_unaligned(r);
    c = check(g, r, FIX_LEAKS | FIX_ERRORS, &h);
    CHECK(c.corruptions == 1 && c.leaks > 3 && c.leaks_fixed == 0);
    CHECK(h.heard);
    put(r, snap(r), get(r, snap(r), 8) - 512, 8);
    c = check(g, r, 0, NULL);
    CHECK(!c.corruptions && !c.leaks);          /* the snapshot is as it was */
    g_string_free(h.all, TRUE);
    node_unref(&r->node);
    g_byte_array_free(good, TRUE);
}

/* A repair that fails, or is cut, at any write can be done again, and data is there. */
static void again(BlockGraph *g, Rec *r)
{
    CheckResult c;

    r->fail_in = 0;
    check(g, r, FIX_LEAKS | FIX_ERRORS, NULL);
    c = check(g, r, 0, NULL);
    CHECK(!c.corruptions && !c.leaks && !c.errors);
    whole(g, r);
}

static void fail_repair(BlockGraph *g, const GByteArray *broken)
{
    for (int k = 1, tired = 0; k < 40 && !tired && !test_case_bad; k++) {
        Rec *r = rec_of_bytes(g, "file", broken);
        BlockNode *n = qcow2_on(g, r, "discard=unmap", OPEN_RW | OPEN_CHECK);
        CheckResult c = { 0 };

        r->fail_in = k;
        node_check(n, &c, FIX_LEAKS | FIX_ERRORS);
        tired = r->fail_in != 0;
        r->fail_in = 0;
        node_unref(n);
        again(g, r);
        node_unref(&r->node);
    }
}

static void cut_repair(BlockGraph *g, const GByteArray *broken)
{
    static const unsigned keeps[] = { 256, 0, 128 };
    Rec *r = rec_of_bytes(g, "file", broken);
    unsigned seed = 1;

    r->record = true;
    check(g, r, FIX_LEAKS | FIX_ERRORS, NULL);
    r->record = false;
    for (guint cut = 0; cut <= r->log->len && !test_case_bad; cut++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(keeps); k++) {
            GByteArray *bytes = rec_crash(r, broken, cut, keeps[k], &seed);
            Rec *crashed = rec_of_bytes(g, "crashed", bytes);

            again(g, crashed);
            node_unref(&crashed->node);
            g_byte_array_free(bytes, TRUE);
        }
    }
    node_unref(&r->node);
}

static void test_again(BlockGraph *g)
{
    static void (*const tell[])(Rec *) = { count_zero, rb_missing, rt_beyond, rb_twice, copied_lost, snap_two };
    GByteArray *good = make(g, "cluster_size=4K", true);

    for (size_t i = 0; i < G_N_ELEMENTS(tell); i++) {
        Rec *r = rec_of_bytes(g, "broken", good);
        GByteArray *broken = g_byte_array_new();

        tell[i](r);
        g_byte_array_append(broken, r->mem->data, r->mem->len);
        node_unref(&r->node);
        fail_repair(g, broken);
        cut_repair(g, broken);
        g_byte_array_free(broken, TRUE);
    }
    g_byte_array_free(good, TRUE);
}

static void test_numbers(BlockGraph *g)
{
    GByteArray *good = make(g, "cluster_size=4K", true);
    Rec *r = rec_of_bytes(g, "file", good);
    CheckResult c = check(g, r, 0, NULL);

    CHECK_EQ(c.total_clusters, DISK / CLUSTER);
    CHECK_EQ(c.allocated_clusters, 5);
    CHECK_EQ(c.compressed_clusters, 1);
    CHECK_EQ(c.fragmented_clusters, 3);         /* 1 was written again, 2 goes on after 0; the compressed one */
    CHECK(c.end_offset <= r->mem->len && c.end_offset > r->mem->len - 2 * CLUSTER);
    node_unref(&r->node);
    g_byte_array_free(good, TRUE);
}

int main(void)
{
    RUN_IN_GRAPH(test_lies);
    RUN_IN_GRAPH(test_rebuild);
    RUN_IN_GRAPH(test_dirty);
    RUN_IN_GRAPH(test_careful);
    RUN_IN_GRAPH(test_again);
    RUN_IN_GRAPH(test_numbers);
    return test_end();
}
