/* SPDX-License-Identifier: MIT */
/*
 * block/bitmap against a naive model, a byte for each granule: random marks,
 * unmarks, searches, merges of other granularities, resizes, stored forms; and
 * what is refused.
 */
#include "tests/unit/test.h"

#include <glib.h>
#include <stdlib.h>

#include "block/bitmap.h"
#include "block/driver.h"

static uint64_t seed = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (seed >> 8) % below;
}

static Err *fake_info(BlockNode *n, NodeInfo *out)
{
    *out = (NodeInfo){ .cluster_size = n->limits.opt_transfer };
    return NULL;
}
static unsigned removed;
static Err *fake_remove(BlockNode *n, const char *name)
{
    removed++;
    return NULL;
}
static const BlockDriver fake = { .name = "fake", .info = fake_info, .bitmap_remove = fake_remove };

static DirtyBitmap *make(BlockNode *n, const char *name, uint32_t granularity)
{
    DirtyBitmap *b;
    Err *e = bitmap_new(n, name, granularity, &b);

    if (e) {
        printf("%s\n", err_text(e));
        exit(1);
    }
    return b;
}

/* The error has these words. */
static void bad(Err *e, const char *words)
{
    CHECK(e && strstr(err_text(e), words));
    if (e && !strstr(err_text(e), words))
        printf("'%s' lacks '%s'\n", err_text(e), words);
    err_free(e);
}

/* Counts and searches say what the model says. */
static void compare(const DirtyBitmap *b, const uint8_t *model)
{
    uint64_t granules = (b->size + b->granularity - 1) / b->granularity, dirty = 0, bytes = 0, off = 0, len;

    for (uint64_t g = 0; g < granules; g++) {
        uint64_t at = g * b->granularity;

        dirty += model[g];
        bytes += model[g] ? MIN(b->granularity, b->size - at) : 0;
        if (bitmap_get(b, at) != model[g])
            CHECK_EQ(bitmap_get(b, at), model[g]);
    }
    CHECK_EQ(b->dirty, dirty);
    CHECK_EQ(bitmap_dirty_bytes(b), bytes);
    for (dirty = 0; bitmap_next(b, &off, b->size, &len); off += len) {
        CHECK(len > 0 && off + len <= b->size && off % b->granularity == 0);
        CHECK(off == 0 || !model[off / b->granularity - 1]);
        CHECK(off + len == b->size || !model[(off + len) / b->granularity]);
        for (uint64_t at = off; at < off + len; at += b->granularity)
            dirty += model[at / b->granularity];
    }
    CHECK_EQ(dirty, b->dirty);
}

/* One search from the middle to the middle. */
static void compare_search(const DirtyBitmap *b, const uint8_t *model)
{
    uint64_t from = rnd(b->size), end = rnd(b->size + 100), off = from, len, want = from, want_end;
    bool found = bitmap_next(b, &off, end, &len);

    end = MIN(end, b->size);
    while (want < end && !model[want / b->granularity])
        want = (want / b->granularity + 1) * b->granularity;
    CHECK_EQ(found, want < end);
    if (!found || want >= end)
        return;
    for (want_end = want; want_end < end && model[want_end / b->granularity];)
        want_end = (want_end / b->granularity + 1) * b->granularity;
    CHECK_EQ(off, want);
    CHECK_EQ(len, MIN(want_end, end) - want);
}

static void change(DirtyBitmap *b, uint8_t *model)
{
    uint64_t g = b->granularity, off = rnd(b->size), len = rnd(2) ? rnd(g * 3) : rnd(b->size), end;

    if (rnd(4) == 0)
        off = off / g * g;
    end = MIN(off + len, b->size);
    switch (rnd(8)) {
    default:
        bitmap_mark(b, off, len);
        for (uint64_t at = off; len && at < end; at = (at / g + 1) * g)
            model[at / g] = 1;
        break;
    case 4: case 5: case 6:
        bitmap_unmark(b, off, len);
        for (uint64_t at = (off + g - 1) / g * g; at < end && (at + g <= end || end == b->size); at += g)
            model[at / g] = 0;
        break;
    case 7:
        if (rnd(20) == 0) {
            bitmap_clear(b);
            memset(model, 0, (b->size + g - 1) / g);
        }
        break;
    }
}

static void test_random(void)
{
    for (unsigned round = 0; round < 60; round++) {
        BlockNode n = { .drv = &fake, .size = 1 + rnd(UINT64_C(1) << (10 + rnd(16))) };
        DirtyBitmap *b = make(&n, rnd(2) ? "b" : NULL, 512u << rnd(4));
        g_autofree uint8_t *model = g_malloc0(n.size / b->granularity + 1);

        for (unsigned i = 0; i < 100; i++) {
            change(b, model);
            compare_search(b, model);
        }
        compare(b, model);
        bitmap_free(b);
        CHECK(!n.bitmaps);
    }
}

static void test_large(void)
{
    BlockNode n = { .drv = &fake, .size = UINT64_C(1) << 46 };
    DirtyBitmap *b = make(&n, "large", 65536);
    uint64_t off = 0, len;

    CHECK(!bitmap_next(b, &off, UINT64_MAX, &len));
    bitmap_mark(b, n.size - 1, 1);
    CHECK(bitmap_next(b, &off, UINT64_MAX, &len));
    CHECK_EQ(off, n.size - 65536);
    CHECK_EQ(len, 65536);
    bitmap_mark(b, UINT64_MAX - 5, 100);
    bitmap_mark(b, n.size - 100000, UINT64_MAX);
    CHECK_EQ(bitmap_dirty_bytes(b), 131072);
    bitmap_clear(b);
    CHECK_EQ(b->dirty, 0);
    bitmap_free(b);
}

static void test_merge(void)
{
    for (unsigned round = 0; round < 40; round++) {
        BlockNode n = { .drv = &fake, .size = 1 + rnd(1 << 20) };
        DirtyBitmap *a = make(&n, "a", 512u << rnd(5)), *b = make(&n, "b", 512u << rnd(5));
        g_autofree uint8_t *ma = g_malloc0(n.size / a->granularity + 1), *mb = g_malloc0(n.size / b->granularity + 1);

        for (unsigned i = 0; i < 6; i++)
            change(a, ma), change(b, mb);
        for (uint64_t at = 0; at < n.size; at += 512)
            if (mb[at / b->granularity])
                ma[at / a->granularity] = 1;
        CHECK(!bitmap_merge(a, b));
        compare(a, ma);
        compare(b, mb);
        bitmap_free(a);
        bitmap_free(b);
    }
}

static void test_resize(void)
{
    for (unsigned round = 0; round < 40; round++) {
        BlockNode n = { .drv = &fake, .size = 1 + rnd(1 << 20) };
        DirtyBitmap *b = make(&n, "b", 512u << rnd(4));
        g_autofree uint8_t *model = g_malloc0((2 << 20) / 512 + 1);
        uint64_t now;

        for (unsigned i = 0; i < 10; i++)
            change(b, model);
        now = 1 + rnd(2 << 20);
        if (now < n.size)
            memset(model + (now + b->granularity - 1) / b->granularity, 0, n.size / b->granularity + 1);
        CHECK(!bitmap_resized(b, now));
        compare(b, model);
        for (unsigned i = 0; i < 5; i++)
            change(b, model);
        compare(b, model);
        bitmap_free(b);
    }
}

/* Whole and in parts, into another bitmap; bytes are bit i of byte i / 8. */
static void test_stored(void)
{
    for (unsigned round = 0; round < 40; round++) {
        BlockNode n = { .drv = &fake, .size = 1 + rnd(1 << 20) };
        DirtyBitmap *a = make(&n, "a", 512), *b = make(&n, "b", 512);
        uint64_t granules = (n.size + 511) / 512, part = (1 + rnd(20)) * 8 * 512;
        g_autofree uint8_t *model = g_malloc0(n.size / 512 + 1), *out = g_malloc0(granules / 8 + 1);

        for (unsigned i = 0; i < 10; i++)
            change(a, model);
        for (uint64_t off = 0; off < n.size; off += part)
            bitmap_serialize(a, off, part, out + off / 512 / 8);
        for (uint64_t g = 0; g < granules; g++)
            CHECK(((out[g / 8] >> g % 8) & 1) == model[g]);
        out[granules / 8] |= 0xff << granules % 8;      /* bits beyond the end: a file may hold anything */
        bitmap_mark(b, 0, n.size);
        part = (1 + rnd(20)) * 8 * 512;
        for (uint64_t off = 0; off < n.size; off += part)
            bitmap_deserialize(b, off, part, out + off / 512 / 8);
        compare(b, model);
        bitmap_free(a);
        bitmap_free(b);
    }
}

static void test_granularity(void)
{
    static const uint32_t sizes[][2] = { { 0, 65536 }, { 512, 4096 }, { 8192, 8192 }, { 2 << 20, 65536 } };
    DirtyBitmap *b;

    for (unsigned i = 0; i < G_N_ELEMENTS(sizes); i++) {
        BlockNode n = { .drv = &fake, .size = 1 << 20, .limits.opt_transfer = sizes[i][0] };

        b = make(&n, NULL, 0);
        CHECK_EQ(b->granularity, sizes[i][1]);
        bitmap_free(b);
    }
    BlockNode n = { .drv = &fake, .size = BLOCK_MAX_SIZE };
    bad(bitmap_new(&n, "x", 1000, &b), "power of two");
    bad(bitmap_new(&n, "x", 256, &b), "power of two");
    bad(bitmap_new(&n, "x", 512, &b), "too large");
    CHECK(!b && !n.bitmaps);
}

static void test_names(void)
{
    BlockNode n = { .drv = &fake, .size = 1 << 20 };
    DirtyBitmap *a = make(&n, "a", 0), *b = make(&n, "b", 0), *anon = make(&n, NULL, 0), *x;
    g_autofree char *lengthy = g_strnfill(BITMAP_NAME_MAX + 1, 'x');

    CHECK(bitmap_find(&n, "a") == a && bitmap_find(&n, "b") == b && !bitmap_find(&n, "c"));
    bad(bitmap_new(&n, "a", 0, &x), "already exists");
    bad(bitmap_new(&n, "", 0, &x), "empty");
    bad(bitmap_new(&n, lengthy, 0, &x), "1023");
    bad(bitmap_remove(&n, "c"), "not found");
    a->busy++;
    bad(bitmap_remove(&n, "a"), "in use");
    bad(bitmap_merge(a, b), "in use");
    CHECK(!bitmap_merge(b, a));
    a->busy--;
    b->inconsistent = true;
    bad(bitmap_merge(a, b), "inconsistent");
    CHECK(!bitmap_usable(b, BITMAP_USE_REMOVE));
    a->readonly = true;
    bad(bitmap_usable(a, BITMAP_USE_WRITE), "readonly");
    CHECK(!bitmap_usable(a, BITMAP_USE_READ));
    CHECK(!bitmap_remove(&n, "b"));
    CHECK_EQ(removed, 0);
    a->readonly = false;
    a->persistent = true;
    CHECK(!bitmap_remove(&n, "a"));
    CHECK_EQ(removed, 1);
    CHECK(n.bitmaps == anon);
    bitmap_free(anon);
}

int main(void)
{
    RUN(test_random);
    RUN(test_large);
    RUN(test_merge);
    RUN(test_resize);
    RUN(test_stored);
    RUN(test_granularity);
    RUN(test_names);
    return test_end();
}
