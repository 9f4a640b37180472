/* SPDX-License-Identifier: MIT */
/*
 * A format for tests, "overlay": an overlay in memory whose units are stored,
 * zero, or the backing node's, that yields at random, fails on demand and
 * counts. Tests look into it, and preset it, without a request.
 */
#ifndef TESTS_UNIT_BLOCK_OVERLAY_H
#define TESTS_UNIT_BLOCK_OVERLAY_H

#include "tests/unit/block-ram.h"

typedef struct Overlay {
    BlockNode node;
    uint64_t opt_size;
    uint32_t unit;
    bool yields;
    uint8_t *mem, *state;       /* a unit's: OVERLAY_.. */
    uint64_t units;
    uint64_t read_bytes, written_bytes, zeroed_bytes, compressed_bytes;
    unsigned flushes;
    /* The request after so many others fails, once; 0: none. */
    unsigned fail_read, fail_write, fail_flush;
    int fail_errno;
    uint64_t bad_from, bad_to;  /* bytes that can never be read */
    char *said_backing;         /* change_backing's */
} Overlay;

enum { OVERLAY_BELOW, OVERLAY_DATA, OVERLAY_ZERO };

static const Field overlay_fields[] = {
    PROP(Overlay, opt_size, .as = "size", .units = true, .def = "1M"),
    PROP(Overlay, unit, .def = "4096"),
    PROP(Overlay, yields),
    {0}
};

static Err *overlay_open(BlockNode *n)
{
    Overlay *l = (Overlay *)n;

    n->size = l->opt_size;
    l->units = (n->size + l->unit - 1) / l->unit + (1 << 20) / l->unit;     /* room to grow */
    l->mem = calloc(l->units, l->unit);
    l->state = calloc(l->units, 1);
    n->limits.request_align = n->limits.zero_align = n->limits.cluster = l->unit;
    n->zero_flags = REQ_UNMAP;
    return NULL;
}

static void overlay_close(BlockNode *n)
{
    Overlay *l = (Overlay *)n;

    free(l->mem);
    free(l->state);
    g_free(l->said_backing);
}

static void overlay_pause(Overlay *l)
{
    for (int i = l->yields ? rand() % 4 : 0; i > 0; i--)
        co_pause();
}

static int overlay_fail(Overlay *l, unsigned *counter)
{
    if (!*counter || --*counter)
        return 0;
    return l->fail_errno ? -l->fail_errno : -EIO;
}

static int overlay_read_unit(Overlay *l, uint64_t off, const IoVec *q)
{
    BlockNode *n = &l->node;
    uint64_t below = n->backing ? child_size(n->backing) : 0;

    if (l->state[off / l->unit] == OVERLAY_DATA) {
        iov_write(q, 0, l->mem + off, q->len);
    } else if (l->state[off / l->unit] == OVERLAY_BELOW && off < below) {
        uint64_t here = MIN(q->len, below - off);
        IoVec part = iov_slice(q, 0, here);
        int ret = child_read(n->backing, off, &part, 0);

        iov_fill(q, here, 0, q->len - here);
        return ret;
    } else {
        iov_fill(q, 0, 0, q->len);
    }
    return 0;
}

static int overlay_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Overlay *l = (Overlay *)n;
    int ret = overlay_fail(l, &l->fail_read);

    overlay_pause(l);
    if (off < l->bad_to && off + q->len > l->bad_from)
        ret = -EIO;
    for (uint64_t at = 0; at < q->len && !ret; at += l->unit) {
        IoVec part = iov_slice(q, at, l->unit);

        ret = overlay_read_unit(l, off + at, &part);
    }
    l->read_bytes += q->len;
    return ret;
}

static int overlay_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Overlay *l = (Overlay *)n;
    int ret = overlay_fail(l, &l->fail_write);

    overlay_pause(l);
    if (ret)
        return ret;
    iov_read(q, 0, l->mem + off, q->len);
    memset(l->state + off / l->unit, OVERLAY_DATA, q->len / l->unit);
    l->written_bytes += q->len;
    overlay_pause(l);
    return 0;
}

static int overlay_write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    Overlay *l = (Overlay *)n;
    g_autofree uint8_t *whole = g_malloc0(l->unit);

    CHECK(q->len <= l->unit);
    iov_read(q, 0, whole, q->len);
    l->compressed_bytes += q->len;
    return overlay_write(n, off, &IOV_BUF(whole, l->unit), 0);
}

static int overlay_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Overlay *l = (Overlay *)n;
    int ret = overlay_fail(l, &l->fail_write);

    overlay_pause(l);
    if (ret)
        return ret;
    memset(l->mem + off, 0, len);
    memset(l->state + off / l->unit, OVERLAY_ZERO, len / l->unit);
    l->zeroed_bytes += len;
    return 0;
}

static int overlay_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    return overlay_zero(n, off, len, 0);
}

static int overlay_flush(BlockNode *n)
{
    Overlay *l = (Overlay *)n;

    l->flushes++;
    overlay_pause(l);
    return overlay_fail(l, &l->fail_flush);
}

static int overlay_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    static const unsigned flags[] = { 0, EXTENT_DATA | EXTENT_ALLOCATED, EXTENT_ZERO | EXTENT_ALLOCATED };
    Overlay *l = (Overlay *)n;
    uint64_t from = off / l->unit, at = from;

    overlay_pause(l);
    while (at * l->unit < off + len && l->state[at] == l->state[from])
        at++;
    *out = (Extent){ .len = at * l->unit - off, .flags = flags[l->state[from]] };
    return 0;
}

static Err *overlay_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    Overlay *l = (Overlay *)n;

    if (len > l->units * l->unit)
        return err(ERR_INVALID, "too much for this test");
    for (uint64_t at = MIN(n->size, len); at < l->units * l->unit; at++) {      /* new bytes are zero */
        l->mem[at] = 0;
        if (at % l->unit == 0)
            l->state[at / l->unit] = OVERLAY_ZERO;
    }
    n->size = len;
    return NULL;
}

static Err *overlay_change_backing(BlockNode *n, const char *name, const char *format)
{
    Overlay *l = (Overlay *)n;

    g_free(l->said_backing);
    l->said_backing = g_strdup(name ? name : "");
    return NULL;
}

static Err *overlay_make_empty(BlockNode *n)
{
    Overlay *l = (Overlay *)n;

    memset(l->state, OVERLAY_BELOW, l->units);
    return NULL;
}

BLOCK(overlay) = {
    .name = "overlay", .doc = "an overlay, for tests", .kind = DRIVER_FORMAT, .size = sizeof(Overlay),
    .fields = overlay_fields, .has_backing = true, .can_compress = true, .no_storage = true,
    .open = overlay_open, .close = overlay_close, .read = overlay_read, .write = overlay_write,
    .write_compressed = overlay_write_compressed, .zero = overlay_zero, .discard = overlay_discard, .flush = overlay_flush,
    .extent = overlay_extent, .resize = overlay_resize, .change_backing = overlay_change_backing,
    .make_empty = overlay_make_empty,
};

/* Runs of random kinds. */
static inline void overlay_fill(BlockNode *n)
{
    Overlay *l = (Overlay *)n;

    for (uint64_t at = 0, run; at < l->units; at += run) {
        unsigned kind = rand() % 3, some = 1 + rand() % 40;

        run = MIN(some, l->units - at);
        for (uint64_t u = at; u < at + run; u++) {
            l->state[u] = kind;
            memset(l->mem + u * l->unit, 0, l->unit);
            for (uint64_t i = 0; kind == OVERLAY_DATA && rand() % 4 && i < l->unit; i += 64)
                l->mem[u * l->unit + i] = 1 + rand() % 255;
        }
    }
}

/* What a reader sees, without a request. */
static inline uint8_t overlay_byte(BlockNode *n, uint64_t off)
{
    for (; n; n = n->backing ? n->backing->node : NULL) {
        Overlay *l = (Overlay *)n;
        uint64_t u = off / l->unit;

        if (off >= n->size)
            return 0;
        if (l->state[u] != OVERLAY_BELOW)
            return l->state[u] == OVERLAY_DATA ? l->mem[off] : 0;
    }
    return 0;
}

#endif
