/* SPDX-License-Identifier: MIT */
/*
 * The second-level TLB; see l2.h.
 */
#include "accel/tcg/l2.h"

#include <string.h>

#define PAGE_OF(va) ((va) & ~(uint64_t)(PAGE_SIZE - 1))

/* Classes of large pages: log2 of the block that stands for all sizes up to it. */
static const uint8_t large_order[L2_LARGES] = { 16, 21, 30, 39, 48 };

void l2_init(L2 *t)
{
    t->now = 1;
    l2_flush_all(t);
}

static unsigned set_of(uint64_t va, unsigned part)
{
    uint64_t page = va >> PAGE_BITS;

    return (page ^ page >> 12 ^ page >> 24 ^ part * (L2_SETS / L2_SPREAD)) % L2_SETS;
}

static unsigned part_of(uint32_t id)
{
    return id % L2_SPREAD;
}

static uint32_t oldest(const L2 *t, uint32_t id)
{
    uint32_t min = id == L2_PHYS ? t->phys : t->all;

    if (id < L2_ASIDS) {
        if (t->nonglobal > min)
            min = t->nonglobal;
        if (t->asid[id] > min)
            min = t->asid[id];
    }
    return min;
}

static L2Page *find(L2 *t, uint64_t va_ctx, uint32_t id)
{
    unsigned set = set_of(va_ctx, part_of(id));
    const L2Tag *tag = t->tags[set];

    for (int w = 0; w < L2_WAYS; w++)
        if (tag[w].va_ctx == va_ctx && tag[w].id == id && tag[w].stamp >= oldest(t, id))
            return &t->pages[set][w];
    return NULL;
}

L2Page *l2_find(L2 *t, uint64_t va, unsigned ctx, uint32_t id)
{
    uint64_t va_ctx = PAGE_OF(va) | ctx;

    if (id == L2_PHYS)
        return find(t, va_ctx, id);
    /* Guests have their global pages in the upper half. */
    bool upper = (int64_t)va < 0;
    L2Page *p = find(t, va_ctx, upper ? L2_GLOBAL : id);
    return p ? p : find(t, va_ctx, upper ? id : L2_GLOBAL);
}

static unsigned large_bit(uint64_t va, int class)
{
    uint64_t block = va >> large_order[class];

    /* The guest's two halves don't meet: a kernel maps itself by large pages, programs mostly not. */
    return (block ^ block >> 12) % (L2_LARGE_BITS / 2) + ((int64_t)va < 0 ? L2_LARGE_BITS / 2 : 0);
}

static void note_large(L2 *t, uint64_t va, unsigned order)
{
    int class = 0;

    while (class < L2_LARGES - 1 && large_order[class] < order)
        class++;
    unsigned bit = large_bit(va, class);
    t->large[class][bit / 64] |= UINT64_C(1) << bit % 64;
    t->any_large = true;
}

static bool may_be_large(const L2 *t, uint64_t va)
{
    for (int class = 0; t->any_large && class < L2_LARGES; class++) {
        unsigned bit = large_bit(va, class);

        if (t->large[class][bit / 64] >> bit % 64 & 1)
            return true;
    }
    return false;
}

/* The way to use: va's own, a dead one, or the next in turn. */
static int choose_way(L2 *t, unsigned set, uint64_t va_ctx, uint32_t id)
{
    const L2Tag *tag = t->tags[set];
    int dead = -1;

    for (int w = 0; w < L2_WAYS; w++) {
        if (tag[w].va_ctx == va_ctx && tag[w].id == id)
            return w;
        if (tag[w].stamp < oldest(t, tag[w].id))
            dead = w;
    }
    return dead >= 0 ? dead : t->victim[set]++ % L2_WAYS;
}

L2Page *l2_fill(L2 *t, uint64_t va, unsigned ctx, uint32_t id, unsigned order)
{
    uint64_t va_ctx = PAGE_OF(va) | ctx;
    unsigned set = set_of(va, part_of(id));
    int way = choose_way(t, set, va_ctx, id);

    t->tags[set][way] = (L2Tag){ va_ctx, id, t->now };
    if (order > PAGE_BITS && id != L2_PHYS)
        note_large(t, va, order);
    return &t->pages[set][way];
}

/* The number of a new flush. Before the numbers run out, all is flushed by hand. */
static uint32_t next_stamp(L2 *t)
{
    if (t->now == UINT32_MAX) {
        memset(t->tags, 0, sizeof(t->tags));
        memset(t->asid, 0, sizeof(t->asid));
        t->all = t->nonglobal = t->phys = 1;
        t->now = 1;
    }
    return ++t->now;
}

void l2_flush_all(L2 *t)
{
    l2_flush_virtual(t);
    t->phys = t->all;
}

void l2_flush_virtual(L2 *t)
{
    t->all = next_stamp(t);
    if (t->any_large)
        memset(t->large, 0, sizeof(t->large));
    t->any_large = false;
}

void l2_flush_asid(L2 *t, int asid)
{
    uint32_t stamp = next_stamp(t);

    if (asid < 0)
        t->nonglobal = stamp;
    else
        t->asid[asid % L2_ASIDS] = stamp;
}

static void kill_in_set(L2 *t, unsigned set, uint64_t va, int asid)
{
    for (int w = 0; w < L2_WAYS; w++) {
        L2Tag *tag = &t->tags[set][w];

        if (PAGE_OF(tag->va_ctx) == PAGE_OF(va) && tag->id != L2_PHYS
            && (asid < 0 || tag->id == (uint32_t)asid))
            tag->stamp = 0;
    }
}

bool l2_flush_page(L2 *t, uint64_t va, int asid)
{
    if (may_be_large(t, va))
        return false;
    if (asid >= 0) {
        kill_in_set(t, set_of(va, part_of(asid)), va, asid);
        return true;
    }
    for (unsigned part = 0; part < L2_SPREAD; part++)
        kill_in_set(t, set_of(va, part), va, asid);
    return true;
}
