/* SPDX-License-Identifier: MIT */
/*
 * qcow2's amend: versions, refcount widths, lazy refcounts and sizes, one after
 * the other on an image with snapshots, zero clusters and compressed ones; what
 * the guest sees stays. Each is cut at every write, and refused where it must be.
 */
#include "tests/unit/qcow2-cuts.h"

extern const BlockDriver block_raw, block_qcow2;
const BlockDriver *const block_set[] = { &block_qcow2, &block_raw, &block_rec, NULL };

enum { CLUSTER = 4096, DISK = 200 * CLUSTER };

typedef struct Image {
    BlockGraph *g;
    Rec *file, *base;
    uint8_t *now, *snap;            /* what the guest sees, and what it saw */
} Image;

static BlockNode *open_image(Image *im, Rec *file, bool rw)
{
    g_autofree char *o = g_strdup_printf("%s%s", rw ? "discard=unmap" : "read-only=on", im->base ? ",backing=base" : "");

    return qcow2_on(im->g, file, o, rw ? OPEN_RW | OPEN_RESIZE : 0);
}

static void write_to(Image *im, Disk *d, unsigned cluster, uint8_t byte, unsigned flags)
{
    memset(im->now + cluster * CLUSTER, byte, CLUSTER);
    if (byte)
        CHECK_EQ(disk_write(d, cluster * CLUSTER, &IOV_BUF(im->now + cluster * CLUSTER, CLUSTER), flags), 0);
    else
        CHECK_EQ(disk_zero(d, cluster * CLUSTER, CLUSTER, flags), 0);
}

static void make(Image *im, BlockGraph *g, bool backing)
{
    Snapshot sn = { .name = (char *)"s", .icount = UINT64_MAX };
    BlockNode *n;
    Disk *d = NULL;

    *im = (Image){ .g = g, .file = rec_new(g, "file", false), .now = g_malloc0(DISK) };
    if (backing) {
        im->base = rec_new(g, "base", false);
        g_byte_array_set_size(im->base->mem, DISK);
        memset(im->base->mem->data, 0xbb, DISK);
        im->base->node.size = DISK;
        memset(im->now, 0xbb, DISK);
    }
    CHECK(qcow2_make(g, im->file, "cluster_size=4K", DISK, backing ? "base" : NULL));
    n = open_image(im, im->file, true);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    for (unsigned i = 0; i < 20; i++)
        write_to(im, d, i, (uint8_t)(i + 1), i % 5 == 4 ? REQ_COMPRESSED : 0);
    write_to(im, d, 30, 0, REQ_UNMAP);
    write_to(im, d, 2, 0, 0);                       /* a zero cluster that keeps its place */
    CHECK(ok(node_snapshot_create(n, &sn)));
    g_free(sn.id);
    im->snap = g_memdup2(im->now, DISK);
    write_to(im, d, 3, 77, 0);
    write_to(im, d, 5, 0, REQ_UNMAP);
    write_to(im, d, 6, 0, 0);
    disk_free(d);
    node_unref(n);
}

static void image_free(Image *im)
{
    node_unref(&im->file->node);
    if (im->base)
        node_unref(&im->base->node);
    g_free(im->now);
    g_free(im->snap);
}

static bool holds(BlockNode *n, const uint8_t *want)
{
    g_autofree uint8_t *got = g_malloc(DISK);
    Disk *d = NULL;
    bool same;

    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "look", &d)));
    same = !disk_read(d, 0, &IOV_BUF(got, DISK), 0) && !memcmp(got, want, DISK);
    disk_free(d);
    return same;
}

/* The guest sees what it saw, whatever the image looks like. */
static bool same_data(void *opaque, BlockNode *n, bool done)
{
    Image *im = opaque;
    BlockNode *again = open_image(im, (Rec *)node_storage(n), false);
    bool same = holds(again, im->now);

    if (qcow2_of(again)->header.nb_snapshots)
        same = same && ok(node_snapshot_load(again, "s")) && holds(again, im->snap);
    node_unref(again);
    if (!same)
        printf("the guest sees something else\n");
    return same;
}

/* -o list, cut everywhere. `left` is what the image then has: version, refcount order, lazy. */
static void step(Image *im, const char *list, unsigned version, unsigned order, bool lazy)
{
    Cuts c = { .look = same_data, .opaque = im, .more = im->base ? ",backing=base" : "" };
    BlockNode *n = open_image(im, im->file, true);
    int before = test_case_bad;

    cuts_begin(&c, im->g, im->file);
    CHECK(ok(node_amend(n, list, false, NULL, NULL)));
    node_unref(n);
    cuts_end(&c);
    n = open_image(im, im->file, true);
    CHECK(image_ok(n, false));
    CHECK_EQ(qcow2_of(n)->header.version, version);
    CHECK_EQ(qcow2_of(n)->header.refcount_order, order);
    CHECK_EQ(!!(qcow2_of(n)->header.compatible & QCOW2_COMPAT_LAZY), lazy);
    node_unref(n);
    n = open_image(im, im->file, false);
    CHECK(same_data(im, n, true));
    node_unref(n);
    if (test_case_bad > before)
        printf("amend -o %s\n", list);
}

static void refused(Image *im, const char *list, const char *words)
{
    BlockNode *n = open_image(im, im->file, true);
    Err *e = node_amend(n, list, false, NULL, NULL);

    if (!e || !strstr(err_text(e), words)) {
        printf("amend -o %s: '%s', want '%s'\n", list, e ? err_text(e) : "no error", words);
        test_case_bad++;
    }
    err_free(e);
    CHECK(image_ok(n, false));
    node_unref(n);
}

static void all_steps(BlockGraph *g, bool backing)
{
    Image im;

    make(&im, g, backing);
    refused(&im, "refcount_bits=1", "has a refcount of");
    refused(&im, "refcount_bits=3", "power of two");
    refused(&im, "compat=1.2", "Unknown compatibility level 1.2");
    refused(&im, "backing_file=other", "Cannot amend the backing file");
    refused(&im, "data_file=x", "data-file can only be set");
    refused(&im, "cluster_size=64k", "cluster_size");
    step(&im, "refcount_bits=64", 3, 6, false);
    refused(&im, "compat=0.10", "compat=0.10 requires refcount_bits=16");
    step(&im, "refcount_bits=4,lazy_refcounts=on", 3, 2, true);
    step(&im, "lazy_refcounts=off", 3, 2, false);
    step(&im, "compat=0.10,refcount_bits=16", 2, 4, false);
    refused(&im, "lazy_refcounts=on", "Lazy refcounts only supported");
    refused(&im, "refcount_bits=8", "require compatibility level 1.1");
    step(&im, "compat=1.1,refcount_bits=8", 3, 3, false);
    step(&im, "compat=v3,refcount_bits=16,lazy_refcounts=on", 3, 4, true);
    step(&im, "compat=v2", 2, 4, false);
    image_free(&im);
}

static void test_steps(BlockGraph *g) { all_steps(g, false); }
static void test_backing(BlockGraph *g) { all_steps(g, true); }

int main(void)
{
    RUN_IN_GRAPH(test_steps);
    RUN_IN_GRAPH(test_backing);
    return test_end();
}
