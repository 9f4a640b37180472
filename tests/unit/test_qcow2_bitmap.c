/* SPDX-License-Identifier: MIT */
/*
 * qcow2's persistent bitmaps: stored at close and loaded at open, in use in
 * between; cut at every write of a close, when they must be right or say that
 * they are not; read-only and back; directories that lie.
 */
#include "tests/unit/qcow2-cuts.h"

extern const BlockDriver block_raw, block_qcow2;
const BlockDriver *const block_set[] = { &block_qcow2, &block_raw, &block_rec, NULL };

enum { DISK = 1 << 20 };

static BlockNode *open_rw(BlockGraph *g, Rec *r) { return qcow2_on(g, r, "discard=unmap", OPEN_RW | OPEN_RESIZE); }

static void write_at(BlockNode *n, uint64_t off, size_t len)
{
    g_autofree uint8_t *data = g_malloc(len);
    Disk *d = NULL;

    memset(data, 5, len);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_write(d, off, &IOV_BUF(data, len), 0), 0);
    disk_free(d);
}

static DirtyBitmap *add(BlockNode *n, const char *name, uint32_t granularity)
{
    DirtyBitmap *b = NULL;

    CHECK(ok(qcow2_bitmap_can_store(n, name, granularity)));
    CHECK(ok(bitmap_new(n, name, granularity, &b)));
    b->persistent = true;
    return b;
}

/* "4096+8192 .." of the dirty runs */
static char *runs(const DirtyBitmap *b)
{
    GString *s = g_string_new(NULL);
    uint64_t len;

    for (uint64_t off = 0; b && bitmap_next(b, &off, b->size, &len); off += len)
        g_string_append_printf(s, "%s%" PRIu64 "+%" PRIu64, s->len ? " " : "", off, len);
    return g_string_free(s, FALSE);
}

static void expect(BlockNode *n, const char *name, const char *want)
{
    g_autofree char *got = runs(bitmap_find(n, name));

    CHECK(bitmap_find(n, name) != NULL);
    CHECK_STR(got, want);
}

/* What the directory in the file says now; a copy of the file, which may be in use. */
static const char *flags_of(BlockGraph *g, Rec *r, const char *name)
{
    static char text[64];
    Rec *copy = rec_of_bytes(g, "copy", r->mem);
    BlockNode *n = qcow2_on(g, copy, "read-only=on", OPEN_NO_IO);
    NodeInfo info = { 0 };
    json_t *list, *o;
    size_t i, k;
    json_t *f;

    *text = 0;
    CHECK(ok(node_info(n, &info)));
    list = json_object_get(info.specific, "bitmaps");
    json_array_foreach(list, i, o)
        if (!strcmp(json_string_value(json_object_get(o, "name")), name))
            json_array_foreach(json_object_get(o, "flags"), k, f)
                g_strlcat(text, json_string_value(f), sizeof text);
    json_decref(info.specific);
    node_unref(n);
    node_unref(&copy->node);
    return text;
}

static void test_life(BlockGraph *g)
{
    Rec *r = rec_new(g, "file", false);
    BlockNode *n;

    CHECK(qcow2_make(g, r, "cluster_size=4K", DISK, NULL));
    n = open_rw(g, r);
    add(n, "fine", 512);
    add(n, "coarse", 65536);
    add(n, "off", 4096)->disabled = true;
    write_at(n, 1000, 2000);
    write_at(n, 500000, 1);
    node_unref(n);
    CHECK_STR(flags_of(g, r, "fine"), "auto");
    CHECK_STR(flags_of(g, r, "off"), "");
    n = open_rw(g, r);
    CHECK_STR(flags_of(g, r, "fine"), "in-useauto");
    expect(n, "fine", "512+2560 499712+512");
    expect(n, "coarse", "0+65536 458752+65536");
    expect(n, "off", "");
    CHECK(bitmap_find(n, "off")->disabled);
    bitmap_mark(bitmap_find(n, "coarse"), 0, DISK);
    bitmap_clear(bitmap_find(n, "fine"));
    CHECK(ok(bitmap_remove(n, "off")));
    CHECK(image_ok(n, false));
    node_unref(n);
    n = qcow2_on(g, r, "read-only=on", 0);
    expect(n, "coarse", "0+1048576");
    expect(n, "fine", "");
    CHECK(bitmap_find(n, "fine")->readonly);
    CHECK(!bitmap_find(n, "off"));
    node_unref(n);
    CHECK_STR(flags_of(g, r, "fine"), "auto");
    n = open_rw(g, r);
    CHECK(ok(bitmap_remove(n, "fine")));
    CHECK(ok(bitmap_remove(n, "coarse")));
    CHECK(image_ok(n, false));
    node_unref(n);
    CHECK_EQ(r->mem->data[95] & QCOW2_AUTOCLEAR_BITMAPS, 0);
    node_unref(&r->node);
}

static Err *reopen(BlockNode *n, bool read_only)
{
    json_t *o = json_pack("{s:b}", "read-only", read_only);
    Err *e = node_reopen(n, o);

    json_decref(o);
    return e;
}

static void test_reopen(BlockGraph *g)
{
    Rec *r = rec_new(g, "file", false);
    BlockNode *n;

    CHECK(qcow2_make(g, r, "cluster_size=4K", DISK, NULL));
    n = open_rw(g, r);
    add(n, "b", 4096);
    write_at(n, 8192, 10);
    CHECK(ok(reopen(n, true)));
    CHECK_STR(flags_of(g, r, "b"), "auto");
    CHECK(bitmap_find(n, "b")->readonly);
    CHECK(ok(reopen(n, false)));
    CHECK_STR(flags_of(g, r, "b"), "in-useauto");
    CHECK(!bitmap_find(n, "b")->readonly);
    write_at(n, 16384, 10);
    node_unref(n);
    n = open_rw(g, r);
    expect(n, "b", "8192+4096 16384+4096");
    node_unref(n);
    node_unref(&r->node);
}

/* An image that cannot be had for writing again: its bitmaps stay, those too that were never in it. */
static void test_reopen_fails(BlockGraph *g)
{
    Rec *r = rec_new(g, "file", false);
    DirtyBitmap *b;
    BlockNode *n;

    CHECK(qcow2_make(g, r, "cluster_size=4K", DISK, NULL));
    n = open_rw(g, r);
    add(n, "b", 4096);
    CHECK(ok(bitmap_new(n, "passing", 4096, &b)));
    write_at(n, 8192, 10);
    CHECK(ok(reopen(n, true)));
    r->fail_in = 1;
    Err *e = reopen(n, false);
    CHECK(e != NULL);
    err_free(e);
    r->fail_in = 0;
    expect(n, "b", "8192+4096");
    expect(n, "passing", "8192+4096");
    CHECK(bitmap_find(n, "b")->readonly && !bitmap_find(n, "passing")->readonly);
    CHECK(ok(reopen(n, false)));
    CHECK(!bitmap_find(n, "b")->readonly);
    node_unref(n);
    node_unref(&r->node);
}

/* The last 8 KiB are as they were before anything was written to them. */
static bool end_is_zero(BlockNode *n)
{
    uint8_t got[8192];
    Disk *d = NULL;

    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "look", &d)));
    CHECK_EQ(disk_read(d, DISK - sizeof got, &IOV_BUF(got, sizeof got), 0), 0);
    disk_free(d);
    return buf_is_zero(got, sizeof got);
}

/* A bitmap may be lost in a crash, but then it says so. */
static bool right_or_unsure(void *opaque, BlockNode *n, bool done)
{
    const DirtyBitmap *b = bitmap_find(n, "b");
    g_autofree char *got = runs(b);

    if (!b || b->inconsistent)
        return !done;
    if (!strcmp(got, opaque) || (!strcmp(got, "4096+8192") && end_is_zero(n) && !done))
        return true;
    printf("'%s', want '%s'\n", got, (char *)opaque);
    return false;
}

static void test_crash(BlockGraph *g)
{
    Rec *r = rec_new(g, "file", true);
    Cuts c = { .look = right_or_unsure, .opaque = (char *)"4096+8192 1040384+8192" };
    BlockNode *n;

    CHECK(qcow2_make(g, r, "cluster_size=4K", DISK, NULL));
    n = open_rw(g, r);
    add(n, "b", 4096);
    write_at(n, 4096, 8192);
    node_unref(n);
    cuts_begin(&c, g, r);               /* opening, a write, closing */
    n = open_rw(g, r);
    write_at(n, DISK - 8192, 8192);
    node_unref(n);
    cuts_end(&c);
    n = open_rw(g, r);
    CHECK(image_ok(n, false));
    node_unref(n);
    node_unref(&r->node);
}

/* Storing fails: the image is fine, and its bitmap says that it is not. */
static void test_no_room(BlockGraph *g)
{
    for (int k = 1; k < 12; k++) {
        Rec *r = rec_new(g, "file", false);
        BlockNode *n;

        CHECK(qcow2_make(g, r, "cluster_size=4K", DISK, NULL));
        n = open_rw(g, r);
        add(n, "b", 512);
        node_unref(n);
        n = open_rw(g, r);
        write_at(n, 4096, 8192);
        r->fail_in = k;
        node_unref(n);
        r->fail_in = 0;
        n = qcow2_on(g, r, "read-only=on", 0);
        CHECK(image_ok(n, true));
        if (!bitmap_find(n, "b")->inconsistent)
            expect(n, "b", "4096+8192");
        node_unref(n);
        node_unref(&r->node);
    }
}

/* ---- lies */

static uint64_t get(const Rec *r, uint64_t at, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | r->mem->data[at + i];
    return v;
}

static void lie(BlockGraph *g, Rec *r, uint64_t at, uint64_t v, unsigned bytes, const char *words)
{
    json_t *o = json_pack("{s:s,s:s}", "driver", "qcow2", "file", "file");
    BlockNode *n = NULL;
    uint8_t was[8];
    Err *e;

    memcpy(was, r->mem->data + at, bytes);
    for (unsigned i = 0; i < bytes; i++)
        r->mem->data[at + i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
    e = node_open(g, o, OPEN_RW, &n);
    if (!e || !strstr(err_text(e), words)) {
        printf("at %#" PRIx64 ": '%s', want '%s'\n", at, e ? err_text(e) : "no error", words);
        test_case_bad++;
    }
    err_free(e);
    node_unref(n);
    json_decref(o);
    memcpy(r->mem->data + at, was, bytes);
}

/* Where the bitmaps extension's data is. */
static uint64_t extension(const Rec *r)
{
    uint64_t at = get(r, 100, 4);

    while (get(r, at, 4) && get(r, at, 4) != QCOW2_EXT_BITMAPS)
        at += 8 + (get(r, at + 4, 4) + 7) / 8 * 8;
    return at + 8;
}

static void test_lies(BlockGraph *g)
{
    Rec *r = rec_new(g, "file", false);
    uint64_t x, dir, table;
    BlockNode *n;

    CHECK(qcow2_make(g, r, "cluster_size=4K", DISK, NULL));
    n = open_rw(g, r);
    add(n, "b", 512);
    write_at(n, 0, 512);
    node_unref(n);
    x = extension(r);
    dir = get(r, x + 16, 8);
    table = get(r, dir, 8);
    lie(g, r, x, 2, 4, "Less bitmaps found");
    lie(g, r, x, 0, 4, "bitmaps extension");
    lie(g, r, x, 70000, 4, "bitmaps extension");
    lie(g, r, x + 8, 16, 8, "middle of an entry");
    lie(g, r, x + 8, UINT64_C(1) << 40, 8, "bitmap directory");
    lie(g, r, x + 16, dir + 8, 8, "bitmap directory");
    lie(g, r, x + 16, UINT64_C(1) << 40, 8, "beyond the end of the file");
    lie(g, r, dir, UINT64_C(1) << 40, 8, "beyond the end of the file");
    lie(g, r, dir, 0, 8, "its table at 0");
    lie(g, r, dir, table + 8, 8, "not at the start of a cluster");
    lie(g, r, dir + 8, 0, 4, "takes 1");
    lie(g, r, dir + 8, 1 << 30, 4, "more than");
    lie(g, r, dir + 12, 0x100, 4, "unknown flags: 0x100");
    lie(g, r, dir + 16, 9, 1, "unknown type 9");
    lie(g, r, dir + 17, 8, 1, "granularity of 2^8");
    lie(g, r, dir + 17, 32, 1, "granularity of 2^32");
    lie(g, r, dir + 18, 0, 2, "a name of 0 bytes");
    lie(g, r, dir + 18, 60000, 2, "beyond the directory's end");
    lie(g, r, dir + 20, UINT32_MAX, 4, "beyond the directory's end");
    lie(g, r, table, get(r, table, 8) | 2, 8, "entry 0 of its table makes no sense");
    lie(g, r, table, get(r, table, 8) | 1, 8, "entry 0 of its table makes no sense");
    lie(g, r, table, get(r, table, 8) + 512, 8, "entry 0 of its table makes no sense");
    n = open_rw(g, r);
    expect(n, "b", "0+512");
    node_unref(n);
    /* Written to by a program that knows no bitmaps: they are gone, and their clusters leak. */
    r->mem->data[95] &= ~QCOW2_AUTOCLEAR_BITMAPS;
    n = open_rw(g, r);
    CHECK(!n->bitmaps);
    CHECK(image_ok(n, true));
    node_unref(n);
    node_unref(&r->node);
}

static void test_refused(BlockGraph *g)
{
    Rec *r = rec_new(g, "file", false);
    g_autofree char *longest = g_strnfill(1024, 'x');
    BlockNode *n;
    Err *e;

    CHECK(qcow2_make(g, r, "compat=0.10,cluster_size=4K", DISK, NULL));
    n = open_rw(g, r);
    e = qcow2_bitmap_can_store(n, "b", 4096);
    CHECK(e && strstr(err_text(e), "Can't make bitmap 'b' persistent") && strstr(err_text(e), "v2 files"));
    err_free(e);
    node_unref(n);
    node_unref(&r->node);
    r = rec_new(g, "file", false);
    CHECK(qcow2_make(g, r, "cluster_size=64K", UINT64_C(1) << 46, NULL));
    n = open_rw(g, r);
    e = qcow2_bitmap_can_store(n, "b", 512);
    CHECK(e && strstr(err_text(e), "Use larger granularity"));
    err_free(e);
    e = qcow2_bitmap_can_store(n, longest, 1 << 20);
    CHECK(e && strstr(err_text(e), "1023"));
    err_free(e);
    CHECK(ok(qcow2_bitmap_can_store(n, longest + 1, 1 << 20)));
    node_unref(n);
    node_unref(&r->node);
}

int main(void)
{
    RUN_IN_GRAPH(test_life);
    RUN_IN_GRAPH(test_reopen);
    RUN_IN_GRAPH(test_reopen_fails);
    RUN_IN_GRAPH(test_crash);
    RUN_IN_GRAPH(test_no_room);
    RUN_IN_GRAPH(test_lies);
    RUN_IN_GRAPH(test_refused);
    return test_end();
}
