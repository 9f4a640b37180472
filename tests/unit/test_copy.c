/* SPDX-License-Identifier: MIT */
/*
 * block/copy: random chains copied in every way, against what a reader of the
 * source sees; what is not read, not written, and how much memory; errors.
 */
#include "block/copy.h"
#include "tests/unit/block-overlay.h"

extern const BlockDriver block_raw;
const BlockDriver *const block_set[] = { &block_ram, &block_raw, &block_overlay, NULL };

#define SIZE (3u * 1024 * 1024 + 512 * 7)

static BlockNode *chain(BlockGraph *g, unsigned depth)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *prefix = g_strdup("");

    for (unsigned i = 0; i < depth; i++) {
        g_string_append_printf(text, "%s%sdriver=overlay,%ssize=%u,%sunit=%u,%syields=on", i ? "," : "", prefix, prefix,
                               i ? SIZE - 512u * (rand() % 1000) : SIZE, prefix, 512u << rand() % 8, prefix);
        char *next = g_strconcat(prefix, "backing.", NULL);
        g_free(prefix);
        prefix = next;
    }
    BlockNode *n = open_text(g, text->str, OPEN_RW);
    for (BlockNode *at = n; at; at = at->backing ? at->backing->node : NULL)
        overlay_fill(at);
    return n;
}

static BlockNode *target(BlockGraph *g, uint64_t size)
{
    g_autofree char *text = g_strdup_printf("driver=overlay,size=%" G_GUINT64_FORMAT ",unit=%u,yields=on", size, 512u << rand() % 9);

    return open_text(g, text, OPEN_RW);
}

static void disks(BlockNode *from, BlockNode *to, Disk **a, Disk **b)
{
    CHECK(ok(disk_new(from, PERM_CONSISTENT_READ, PERM_ALL, "test", a)));
    CHECK(ok(disk_new(to, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL, "test", b)));
}

/* Bytes of the source that some layer above base stores or zeroes. */
static bool is_above(BlockNode *n, BlockNode *base, uint64_t off)
{
    for (unsigned depth = 0; n && n != base; n = n->backing ? n->backing->node : NULL, depth++) {
        if (off >= n->size)
            return depth > 0;
        if (((Overlay *)n)->state[off / ((Overlay *)n)->unit] != OVERLAY_BELOW)
            return true;
    }
    return false;
}

#define PRESET 0x5a

typedef struct Case {
    CopyConfig c;
    BlockNode *from, *to;
} Case;

static void check_bytes(const Case *k)
{
    Overlay *t = (Overlay *)k->to;
    uint64_t len = MIN(k->c.len, SIZE - k->c.off), wrong = 0, first = 0;

    for (uint64_t i = 0; i < t->node.size; i++) {
        bool in = i >= k->c.to_off && i < k->c.to_off + len;
        uint64_t at = i - k->c.to_off + k->c.off;
        uint8_t is = overlay_byte(k->to, i), was = k->c.target_is_zero ? 0 : PRESET;
        bool good;

        if (!in)
            good = is == was;
        else if (!k->c.above || is_above(k->from, k->c.base, at))
            good = is == overlay_byte(k->from, at);
        else
            good = is == was || (k->c.compress && is == overlay_byte(k->from, at));
        if (!good && !wrong++)
            first = i;
    }
    if (wrong)
        printf("%" PRIu64 " bytes differ, the first at %" PRIu64 "\n", wrong, first);
    CHECK_EQ(wrong, 0);
}

static int run_by_ranges(Copy *c, const CopyConfig *k)
{
    uint64_t end = MIN(k->off + k->len, SIZE);
    int ret = 0;

    for (uint64_t at = k->off, n; at < end && !ret; at += n) {
        n = 512u * (1 + rand() % 1000);
        n = MIN(n, end - at);
        ret = copy_range(c, at, n, NULL);
    }
    return ret;
}

static void preset(const Case *k)
{
    Overlay *t = (Overlay *)k->to;

    memset(t->mem, PRESET, t->units * t->unit);
    memset(t->state, k->c.target_is_zero ? OVERLAY_BELOW : OVERLAY_DATA, t->units);
}

static void one_copy(BlockGraph *g)
{
    Case k = { .from = chain(g, 1 + rand() % 4) };
    uint64_t grid = 128 * 1024;
    Disk *a, *b;
    Copy *copy;

    k.to = target(g, SIZE + grid * 4);
    disks(k.from, k.to, &a, &b);
    k.c = copy_defaults(a, b);
    k.c.compress = rand() % 4 == 0;
    k.c.to_off = rand() % 2 ? 0 : rand() % 2 ? grid * (rand() % 4) : 512u * (rand() % 1000);
    k.c.off = rand() % 2 ? 0 : 512u * (rand() % 1000);
    k.c.len = rand() % 2 ? UINT64_MAX - k.c.off : 512u * (rand() % 5000);
    k.c.workers = rand() % 9;
    k.c.chunk = rand() % 2 ? 0 : 4096 << rand() % 6;
    k.c.in_order = rand() % 2;
    k.c.target_is_zero = rand() % 2;
    k.c.sparse = rand() % 6 ? 512 << rand() % 8 : 0;
    k.c.skip_zero_detection = rand() % 8 == 0;
    k.c.above = rand() % 2;
    k.c.base = k.c.above && k.from->backing && rand() % 2 ? k.from->backing->node : NULL;
    preset(&k);
    CHECK(ok(copy_new(&k.c, &copy)));
    CHECK_EQ(!k.c.compress && rand() % 3 == 0 ? run_by_ranges(copy, &k.c) : copy_run(copy), 0);
    const CopyStats *s = copy_stats(copy);
    CHECK_EQ(s->done, s->total);
    CHECK_EQ(s->written + s->saved, s->total);
    if (!k.c.compress)
        CHECK(s->read <= s->total);
    check_bytes(&k);
    if (test_case_bad)
        printf("from %" PRIu64 "+%" PRIu64 " to %" PRIu64 ", unit %u, compress %d above %d base %d sparse %u chunk %u\n",
               k.c.off, k.c.len, k.c.to_off, ((Overlay *)k.to)->unit, k.c.compress, k.c.above, k.c.base != NULL, k.c.sparse,
               k.c.chunk);
    copy_free(copy);
    disk_free(a);
    disk_free(b);
    node_unref(k.from);
    node_unref(k.to);
}

static void test_random(BlockGraph *g)
{
    for (unsigned i = 0; i < 120 && !test_case_bad; i++)
        one_copy(g);
}

/* Zeroes and holes are neither read nor written; zeroes within data become holes. */
static void test_sparse(BlockGraph *g)
{
    BlockNode *from = open_text(g, "driver=overlay,size=8M,unit=4096", OPEN_RW);
    BlockNode *to = open_text(g, "driver=overlay,size=8M,unit=65536", OPEN_RW);
    Overlay *s = (Overlay *)from, *t = (Overlay *)to;
    Disk *a, *b;
    Copy *copy;

    memset(s->state + 256, OVERLAY_DATA, 256);        /* 1M .. 2M, of which all but the first 64K are zero */
    memset(s->mem + (1 << 20), 7, 65536);
    memset(s->state + 512, OVERLAY_ZERO, 256);
    s->state[1024] = OVERLAY_DATA;                    /* 4M: one unit in a cluster of the target */
    s->mem[4 << 20] = 9;
    disks(from, to, &a, &b);
    CopyConfig c = copy_defaults(a, b);
    c.target_is_zero = true;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), 0);
    CHECK_EQ(s->read_bytes, (1 << 20) + 65536);
    CHECK_EQ(t->written_bytes, 2 * 65536);
    CHECK_EQ(t->zeroed_bytes, 0);
    CHECK_EQ(t->state[16], OVERLAY_DATA);
    CHECK_EQ(t->state[17], OVERLAY_BELOW);
    CHECK_EQ(t->state[64], OVERLAY_DATA);
    CHECK_EQ(copy_stats(copy)->saved, (8 << 20) - 2 * 65536);
    copy_free(copy);
    c.target_is_zero = false;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), 0);
    CHECK_EQ(t->zeroed_bytes, (8 << 20) - 2 * 65536);
    CHECK_EQ(t->state[17], OVERLAY_ZERO);
    copy_free(copy);
    c.sparse = 0;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), 0);
    CHECK_EQ(t->written_bytes, (8 << 20) + 4 * 65536);
    copy_free(copy);
    c.sparse = 4096;
    c.compress = true;
    c.target_is_zero = true;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), 0);
    CHECK_EQ(t->compressed_bytes, 2 * 65536);
    copy_free(copy);
    disk_free(a);
    disk_free(b);
    node_unref(from);
    node_unref(to);
}

static void count_lost(void *opaque, uint64_t off, uint64_t len, int error)
{
    CHECK_EQ(error, EIO);
    *(uint64_t *)opaque += len;
}

static void test_errors(BlockGraph *g)
{
    BlockNode *from = open_text(g, "driver=overlay,size=2M,unit=512,yields=on", OPEN_RW);
    BlockNode *to = open_text(g, "driver=overlay,size=2M,unit=65536,yields=on", OPEN_RW);
    Overlay *s = (Overlay *)from, *t = (Overlay *)to;
    uint64_t off, lost = 0;
    bool stop = true;
    Disk *a, *b;
    Copy *copy;

    memset(s->state, OVERLAY_DATA, s->units);
    memset(s->mem, 3, s->units * s->unit);
    s->bad_from = 1000000;
    s->bad_to = 1003000;
    disks(from, to, &a, &b);
    CopyConfig c = copy_defaults(a, b);
    c.chunk = 65536;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), -EIO);
    CHECK(copy_failed_reading(copy, &off) && off / 65536 == 1000000 / 65536);
    copy_free(copy);
    c.salvage = true;
    c.read_error = count_lost;
    c.opaque = &lost;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), 0);
    CHECK_EQ(lost, 3072);                   /* whole sectors: 999936 .. 1003008 */
    CHECK_EQ(copy_stats(copy)->lost, lost);
    CHECK(t->mem[999935] == 3 && t->mem[999936] == 0 && t->mem[1003007] == 0 && t->mem[1003008] == 3);
    copy_free(copy);
    c.salvage = false;
    s->bad_to = 0;
    for (unsigned in_order = 0; in_order < 2; in_order++) {
        t->fail_write = 5;
        t->fail_errno = ENOSPC;
        c.in_order = in_order;
        CHECK(ok(copy_new(&c, &copy)));
        CHECK_EQ(copy_run(copy), -ENOSPC);
        CHECK(!copy_failed_reading(copy, &off));
        copy_free(copy);
    }
    c.cancel = &stop;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), -ECANCELED);
    copy_free(copy);
    disk_free(a);
    disk_free(b);
    node_unref(from);
    node_unref(to);
}

/* 2 MiB at 20 MiB a second. */
static void test_rate(BlockGraph *g)
{
    BlockNode *from = open_text(g, "driver=overlay,size=2M", OPEN_RW), *to = open_text(g, "driver=overlay,size=2M", OPEN_RW);
    int64_t start = loop_now();
    Disk *a, *b;
    Copy *copy;

    memset(((Overlay *)from)->state, OVERLAY_DATA, 512);
    memset(((Overlay *)from)->mem, 3, 2 << 20);
    disks(from, to, &a, &b);
    CopyConfig c = copy_defaults(a, b);
    c.rate = 20 << 20;
    c.chunk = 65536;
    CHECK(ok(copy_new(&c, &copy)));
    CHECK_EQ(copy_run(copy), 0);
    start = loop_now() - start;
    CHECK(start > 80 * 1000000);
    copy_free(copy);
    disk_free(a);
    disk_free(b);
    node_unref(from);
    node_unref(to);
}

int main(void)
{
    srand(1);
    RUN_IN_GRAPH(test_random);
    RUN_IN_GRAPH(test_sparse);
    RUN_IN_GRAPH(test_errors);
    RUN_IN_GRAPH(test_rate);
    return test_end();
}
