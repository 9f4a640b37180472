/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps, see block/bitmap.h. Everything in the loop of the node's
 * graph, so no locks. A granule is a bit; granule g covers the bytes
 * [g << shift, (g + 1) << shift), the last one perhaps beyond the end.
 *
 * Invariants: bits of granules beyond `size` are 0; a bit of `summary` is 1
 * exactly when its word of `bits` is not 0; `dirty` counts the ones.
 */
#include "block/bitmap.h"

#include <glib.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/driver.h"

/* 4 GiB of bits: more is a wrong choice of granularity rather than a disk. */
#define MAX_GRANULES (UINT64_C(1) << 35)

static unsigned shift_of(const DirtyBitmap *b)
{
    return __builtin_ctz(b->granularity);
}

static uint64_t granules_of(uint64_t size, unsigned shift)
{
    return (size >> shift) + ((size & ((UINT64_C(1) << shift) - 1)) != 0);
}

/* Words that n bits take, one at least, so that no pointer is NULL. */
static size_t words_of(uint64_t n)
{
    return n / 64 + 1;
}

static Err *alloc_bits(uint64_t size, uint32_t granularity, uint64_t **bits, uint64_t **summary)
{
    uint64_t n = granules_of(size, __builtin_ctz(granularity));

    if (n > MAX_GRANULES)
        return err_hint(err(ERR_INVALID, "a bitmap of %" PRIu64 " bytes with a granularity of %" PRIu32
                            " bytes is too large", size, granularity),
                        "Choose a larger granularity, up to 2 GiB.");
    *bits = calloc(words_of(n), sizeof(uint64_t));
    *summary = calloc(words_of(words_of(n)), sizeof(uint64_t));
    if (*bits && *summary)
        return NULL;
    free(*bits);
    free(*summary);
    *bits = *summary = NULL;
    return err(ERR_IO, "not enough memory for a bitmap of %" PRIu64 " bits", n);
}

/* ---- life */

Err *bitmap_default_granularity(BlockNode *n, uint32_t *out)
{
    NodeInfo info = { 0 };

    if (n->drv && n->drv->info) {
        TRY(n->drv->info(n, &info));
        json_decref(info.specific);
    }
    *out = info.cluster_size ? CLAMP(info.cluster_size, 4096, 65536) : 65536;
    return NULL;
}

Err *bitmap_new(BlockNode *n, const char *name, uint32_t granularity, DirtyBitmap **out)
{
    DirtyBitmap *b, **last;
    uint64_t *bits, *summary;

    *out = NULL;
    if (name && !*name)
        return err(ERR_INVALID, "a bitmap's name must not be empty");
    if (name && strlen(name) > BITMAP_NAME_MAX)
        return err(ERR_INVALID, "a bitmap's name has at most %d characters", BITMAP_NAME_MAX);
    if (name && bitmap_find(n, name))
        return err_hint(err(ERR_INVALID, "Bitmap already exists: %s", name), "Choose another name, or remove that one.");
    if (!granularity)
        TRY(bitmap_default_granularity(n, &granularity));
    if (granularity < 512 || granularity > (UINT32_C(1) << 31) || granularity & (granularity - 1))
        return err(ERR_INVALID, "a bitmap's granularity must be a power of two from 512 to 2G, not %" PRIu32, granularity);
    TRY(alloc_bits(n->size, granularity, &bits, &summary));
    b = g_new0(DirtyBitmap, 1);
    b->node = n;
    b->name = g_strdup(name);
    b->size = n->size;
    b->granularity = granularity;
    b->bits = bits;
    b->summary = summary;
    for (last = &n->bitmaps; *last; last = &(*last)->next)
        ;
    *last = b;
    *out = b;
    return NULL;
}

void bitmap_free(DirtyBitmap *b)
{
    DirtyBitmap **at;

    if (!b)
        return;
    for (at = &b->node->bitmaps; *at && *at != b; at = &(*at)->next)
        ;
    if (*at)
        *at = b->next;
    free(b->bits);
    free(b->summary);
    g_free(b->name);
    g_free(b);
}

DirtyBitmap *bitmap_find(BlockNode *n, const char *name)
{
    for (DirtyBitmap *b = n->bitmaps; b; b = b->next)
        if (b->name && !strcmp(b->name, name))
            return b;
    return NULL;
}

Err *bitmap_usable(const DirtyBitmap *b, unsigned use)
{
    const char *name = b->name ? b->name : "(a job's)";

    if (b->busy && use & (BITMAP_USE_WRITE | BITMAP_USE_REMOVE))
        return err_hint(err(ERR_BUSY, "Bitmap '%s' is currently in use by another operation and cannot be used", name),
                        "Wait until the job or export that uses it has ended.");
    if (b->inconsistent && use & (BITMAP_USE_READ | BITMAP_USE_WRITE))
        return err_hint(err(ERR_INVALID, "Bitmap '%s' is inconsistent and cannot be used", name),
                        "The program that had it open did not store it. Remove it, and make a full backup.");
    if (b->readonly && use & (BITMAP_USE_WRITE | BITMAP_USE_REMOVE))
        return err_hint(err(ERR_INVALID, "Bitmap '%s' is readonly and cannot be modified", name),
                        "Its image is opened read-only.");
    return NULL;
}

Err *bitmap_remove(BlockNode *n, const char *name)
{
    DirtyBitmap *b = bitmap_find(n, name);

    if (!b)
        return err(ERR_NOT_FOUND, "Dirty bitmap '%s' not found", name);
    TRY(bitmap_usable(b, BITMAP_USE_REMOVE));
    if (b->persistent && n->drv->bitmap_remove)
        TRY(n->drv->bitmap_remove(n, name));
    bitmap_free(b);
    return NULL;
}

/* ---- bits */

/* A mask of `count` (1..64) bits from bit `from`. */
static uint64_t bits_mask(unsigned from, unsigned count)
{
    return (count == 64 ? ~UINT64_C(0) : (UINT64_C(1) << count) - 1) << from;
}

static void set_word(DirtyBitmap *b, uint64_t w, uint64_t value)
{
    b->dirty += (uint64_t)__builtin_popcountll(value) - (uint64_t)__builtin_popcountll(b->bits[w]);
    b->bits[w] = value;
    if (value)
        b->summary[w / 64] |= UINT64_C(1) << w % 64;
    else
        b->summary[w / 64] &= ~(UINT64_C(1) << w % 64);
}

/* Granules [from, to). */
static void set_range(DirtyBitmap *b, uint64_t from, uint64_t to, bool on)
{
    while (from < to) {
        unsigned bit = from % 64, count = MIN(64 - bit, to - from);
        uint64_t w = from / 64, mask = bits_mask(bit, count);

        set_word(b, w, on ? b->bits[w] | mask : b->bits[w] & ~mask);
        from += count;
    }
}

/* The part of [off, off + len) that the disk has; false: none of it. */
static bool clip(const DirtyBitmap *b, uint64_t off, uint64_t len, uint64_t *end)
{
    if (off >= b->size || !len)
        return false;
    *end = len > b->size - off ? b->size : off + len;
    return true;
}

void bitmap_mark(DirtyBitmap *b, uint64_t off, uint64_t len)
{
    uint64_t end;

    if (clip(b, off, len, &end))
        set_range(b, off >> shift_of(b), granules_of(end, shift_of(b)), true);
}

void bitmap_unmark(DirtyBitmap *b, uint64_t off, uint64_t len)
{
    unsigned shift = shift_of(b);
    uint64_t end;

    if (clip(b, off, len, &end))
        set_range(b, granules_of(off, shift), end == b->size ? granules_of(end, shift) : end >> shift, false);
}

bool bitmap_get(const DirtyBitmap *b, uint64_t off)
{
    uint64_t g = off >> shift_of(b);

    return off < b->size && b->bits[g / 64] >> g % 64 & 1;
}

/* The first 1 at or after g, or `limit`. */
static uint64_t find_one(const DirtyBitmap *b, uint64_t g, uint64_t limit)
{
    uint64_t w = g / 64, last = limit / 64, word;

    if (g >= limit)
        return limit;
    word = b->bits[w] & bits_mask(g % 64, 64 - g % 64);
    if (!word) {
        uint64_t s = ++w / 64, top = last / 64, sum;

        if (w > last)
            return limit;
        sum = b->summary[s] & bits_mask(w % 64, 64 - w % 64);
        while (!sum) {
            if (s == top)
                return limit;
            sum = b->summary[++s];
        }
        w = s * 64 + __builtin_ctzll(sum);
        if (w > last)
            return limit;
        word = b->bits[w];
    }
    g = w * 64 + __builtin_ctzll(word);
    return MIN(g, limit);
}

/* The first 0 at or after g, or `limit`. */
static uint64_t find_zero(const DirtyBitmap *b, uint64_t g, uint64_t limit)
{
    while (g < limit) {
        uint64_t word = ~b->bits[g / 64] & bits_mask(g % 64, 64 - g % 64);

        if (word)
            return MIN(g / 64 * 64 + __builtin_ctzll(word), limit);
        g = (g / 64 + 1) * 64;
    }
    return limit;
}

bool bitmap_next(const DirtyBitmap *b, uint64_t *off, uint64_t end, uint64_t *len)
{
    unsigned shift = shift_of(b);
    uint64_t limit, from, to;

    end = MIN(end, b->size);
    if (*off >= end)
        return false;
    limit = granules_of(end, shift);
    from = find_one(b, *off >> shift, limit);
    if (from == limit)
        return false;
    to = find_zero(b, from, limit);
    *off = MAX(*off, from << shift);
    *len = (to == limit ? end : to << shift) - *off;
    return true;
}

void bitmap_clear(DirtyBitmap *b)
{
    uint64_t n = words_of(granules_of(b->size, shift_of(b)));

    /* Words that are 0 are not touched: they may never have been in memory. */
    for (uint64_t s = 0; s < words_of(n); s++)
        for (; b->summary[s]; b->summary[s] &= b->summary[s] - 1)
            b->bits[s * 64 + __builtin_ctzll(b->summary[s])] = 0;
    b->dirty = 0;
}

uint64_t bitmap_dirty_bytes(const DirtyBitmap *b)
{
    uint64_t bytes = b->dirty << shift_of(b), beyond = b->size & (b->granularity - 1);

    /* The last granule may reach beyond the end; what is counted is the disk's. */
    return beyond && bitmap_get(b, b->size - 1) ? bytes - b->granularity + beyond : bytes;
}

Err *bitmap_merge(DirtyBitmap *to, const DirtyBitmap *from)
{
    uint64_t off = 0, len;

    TRY(bitmap_usable(to, BITMAP_USE_WRITE));
    TRY(bitmap_usable(from, BITMAP_USE_READ));
    if (to->size != from->size)
        return err(ERR_INVALID, "Bitmaps are of different sizes (destination size is %" PRIu64
                   " and source size is %" PRIu64 ") and can't be merged", to->size, from->size);
    if (to == from)
        return NULL;
    for (; bitmap_next(from, &off, from->size, &len); off += len)
        bitmap_mark(to, off, len);
    return NULL;
}

DirtyBitmap *bitmap_copy(const DirtyBitmap *b)
{
    uint64_t n = words_of(granules_of(b->size, shift_of(b)));
    DirtyBitmap *c = g_new0(DirtyBitmap, 1);
    Err *e = alloc_bits(b->size, b->granularity, &c->bits, &c->summary);

    if (e) {
        err_free(e);
        g_free(c);
        return NULL;
    }
    c->size = b->size;
    c->granularity = b->granularity;
    c->dirty = b->dirty;
    memcpy(c->bits, b->bits, n * sizeof(uint64_t));
    memcpy(c->summary, b->summary, words_of(n) * sizeof(uint64_t));
    return c;
}

void bitmap_copy_free(DirtyBitmap *b)
{
    if (!b)
        return;
    free(b->bits);
    free(b->summary);
    g_free(b);
}

Err *bitmap_resized(DirtyBitmap *b, uint64_t size)
{
    unsigned shift = shift_of(b);
    uint64_t was = granules_of(b->size, shift), now = granules_of(size, shift);
    uint64_t *bits, *summary;
    DirtyBitmap old = *b;

    if (was == now) {
        b->size = size;
        return NULL;
    }
    TRY(alloc_bits(size, b->granularity, &bits, &summary));
    b->bits = bits;
    b->summary = summary;
    b->size = size;
    b->dirty = 0;
    for (uint64_t off = 0, len; bitmap_next(&old, &off, MIN(old.size, size), &len); off += len)
        bitmap_mark(b, off, len);
    free(old.bits);
    free(old.summary);
    return NULL;
}

/* ---- stored form */

void bitmap_serialize(const DirtyBitmap *b, uint64_t off, uint64_t len, uint8_t *out)
{
    unsigned shift = shift_of(b);
    uint64_t g = off >> shift, end;

    if (!clip(b, off, len, &end))
        return;
    for (uint64_t last = granules_of(end, shift); g < last; g += 8) {
        unsigned byte = b->bits[g / 64] >> g % 64 & 0xff;

        *out++ = last - g < 8 ? byte & ((1u << (last - g)) - 1) : byte;
    }
}

void bitmap_deserialize(DirtyBitmap *b, uint64_t off, uint64_t len, const uint8_t *in)
{
    unsigned shift = shift_of(b);
    uint64_t g = off >> shift, end;

    if (!clip(b, off, len, &end))
        return;
    for (uint64_t last = granules_of(end, shift); g < last; g += 8) {
        uint64_t mask = bits_mask(g % 64, MIN(8, last - g));

        set_word(b, g / 64, (b->bits[g / 64] & ~mask) | ((uint64_t)*in++ << g % 64 & mask));
    }
}
