/* SPDX-License-Identifier: MIT */
/*
 * qcow2: caches of metadata, one of L2 slices and one of refcount blocks, by
 * host offset. A piece is found through a hash; which one leaves is a clock's
 * hand's choice among those that are clean and not in use. Memory is taken as
 * pieces come, up to the limit; where all pieces are in use at once the cache
 * grows beyond it rather than wait for itself.
 *
 * A piece remembers which 64ths of it were changed, so that a flush after a
 * small change writes little.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

struct Qcow2Cache {
    Qcow2 *s;
    uint32_t entry_size, unit;      /* unit: bytes of a dirty bit */
    unsigned max;                   /* pieces that it should hold */
    bool refcounts;
    GPtrArray *entries;             /* all of them; the clock's face */
    unsigned hand, dirty;
    Qcow2Entry **buckets, *last;    /* last: found by the call before */
    unsigned nb_buckets;            /* power of two */
    CoQueue loaded;                 /* those who wait for a piece that another reads */
};

Qcow2Cache *qcow2_cache_new(Qcow2 *s, uint32_t entry_size, uint64_t bytes, bool refcounts)
{
    Qcow2Cache *c = g_new0(Qcow2Cache, 1);
    *c = (Qcow2Cache){ .s = s, .entry_size = entry_size, .refcounts = refcounts };
    c->unit = MAX(entry_size / 64, MAX(512, s->node.file->node->limits.request_align));
    c->unit = MIN(c->unit, entry_size);
    c->max = CLAMP(bytes / entry_size, 2, 1u << 24);
    c->nb_buckets = 64;
    c->buckets = g_new0(Qcow2Entry *, c->nb_buckets);
    c->entries = g_ptr_array_new();
    return c;
}

static void entry_free(Qcow2Entry *e)
{
    block_buf_free(e->data);
    g_free(e);
}

void qcow2_cache_free(Qcow2Cache *c)
{
    if (!c)
        return;
    for (guint i = 0; i < c->entries->len; i++)
        entry_free(c->entries->pdata[i]);
    g_ptr_array_free(c->entries, TRUE);
    g_free(c->buckets);
    g_free(c);
}

uint32_t qcow2_cache_entry_size(const Qcow2Cache *c) { return c->entry_size; }
bool qcow2_cache_any_dirty(const Qcow2Cache *c) { return c->dirty; }

static Qcow2Entry **bucket(const Qcow2Cache *c, uint64_t off)
{
    return &c->buckets[(off / c->entry_size * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & (c->nb_buckets - 1)];
}

static Qcow2Entry *find(const Qcow2Cache *c, uint64_t off)
{
    Qcow2Entry *e = *bucket(c, off);
    while (e && e->off != off)
        e = e->chain;
    return e;
}

static void hash_in(Qcow2Cache *c, Qcow2Entry *e)
{
    Qcow2Entry **at = bucket(c, e->off);
    e->chain = *at;
    *at = e;
}

static void hash_out(Qcow2Cache *c, Qcow2Entry *e)
{
    Qcow2Entry **at = bucket(c, e->off);
    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
    if (c->last == e)
        c->last = NULL;
}

static void hash_double(Qcow2Cache *c)
{
    g_free(c->buckets);
    c->nb_buckets *= 2;
    c->buckets = g_new0(Qcow2Entry *, c->nb_buckets);
    for (guint i = 0; i < c->entries->len; i++) {
        Qcow2Entry *e = c->entries->pdata[i];
        if (e->off)
            hash_in(c, e);
    }
}

/* A piece that nobody misses: clean, not pinned, not used lately. NULL: there is none. */
static Qcow2Entry *find_victim(Qcow2Cache *c)
{
    for (guint tries = c->entries->len * 2; tries; tries--) {
        Qcow2Entry *e = c->entries->pdata[c->hand];
        c->hand = c->hand + 1 < c->entries->len ? c->hand + 1 : 0;
        if (e->pins || e->loading || e->dirty)
            continue;
        if (!e->used || !e->off)
            return e;
        e->used = false;
    }
    return NULL;
}

static Qcow2Entry *add_entry(Qcow2Cache *c)
{
    Qcow2Entry *e = g_new0(Qcow2Entry, 1);
    e->data = block_buf(c->s->node.file->node, c->entry_size);
    if (!e->data) {
        g_free(e);
        return NULL;
    }
    g_ptr_array_add(c->entries, e);
    if (c->entries->len > c->nb_buckets)
        hash_double(c);
    return e;
}

/* A piece without content. 0 and NULL: metadata was written to make room, look again. */
static int take_slot(Qcow2Cache *c, Qcow2Entry **out)
{
    *out = NULL;
    if (c->entries->len >= c->max) {
        *out = find_victim(c);
        if (!*out && c->dirty)
            return c->refcounts ? qcow2_write_refcounts(c->s) : qcow2_write_metadata(c->s, false);
    }
    if (!*out)
        *out = add_entry(c);
    if (!*out)
        return -ENOMEM;
    if ((*out)->off)
        hash_out(c, *out);
    (*out)->off = 0;
    return 0;
}

static int load(Qcow2Cache *c, Qcow2Entry *e)
{
    e->loading = true;
    block_event(c->s->node.file, c->refcounts ? "refblock_load" : "l2_load");
    int ret = qcow2_pread(c->s, e->off, e->data, c->entry_size);
    e->loading = false;
    if (ret) {
        hash_out(c, e);
        e->off = 0;
    }
    co_queue_wake_all(&c->loaded);
    return ret;
}

static int get(Qcow2Cache *c, uint64_t off, bool read, Qcow2Entry **out)
{
    Qcow2Entry *e;
    for (;;) {
        e = find(c, off);
        if (e && e->loading) {
            co_queue_wait(&c->loaded);
            continue;
        }
        if (e)
            break;
        int ret = take_slot(c, &e);
        if (ret)
            return ret;
        if (!e || find(c, off))
            continue;
        e->off = off;
        e->dirty = 0;
        hash_in(c, e);
        if (!read)
            break;
        ret = load(c, e);
        if (ret)
            return ret;
        break;
    }
    if (!read)
        memset(e->data, 0, c->entry_size);
    e->pins++;
    e->used = true;
    c->last = e;
    *out = e;
    return 0;
}

int qcow2_cache_get(Qcow2Cache *c, uint64_t off, Qcow2Entry **out)
{
    if (c->last && c->last->off == off && !c->last->loading) {
        *out = c->last;
        c->last->pins++;
        c->last->used = true;
        return 0;
    }
    return get(c, off, true, out);
}

int qcow2_cache_get_zeroed(Qcow2Cache *c, uint64_t off, Qcow2Entry **out)
{
    return get(c, off, false, out);
}

static void mark(Qcow2Cache *c, Qcow2Entry *e, uint64_t mask)
{
    c->dirty += mask && !e->dirty;
    e->dirty |= mask;
}

void qcow2_cache_dirty(Qcow2Cache *c, Qcow2Entry *e, uint32_t at, uint32_t len)
{
    if (!e->off)
        return;                 /* dropped while it was pinned: no table any more */
    unsigned first = at / c->unit, last = (at + len - 1) / c->unit;
    mark(c, e, (~UINT64_C(0) << first) & (~UINT64_C(0) >> (63 - last)));
}

static void forget(Qcow2Cache *c, Qcow2Entry *e)
{
    hash_out(c, e);
    c->dirty -= e->dirty != 0;
    e->off = e->dirty = 0;
    e->used = false;
}

void qcow2_cache_drop(Qcow2Cache *c, uint64_t off, uint64_t len)
{
    off -= off % c->entry_size;
    if (len / c->entry_size > c->entries->len) {    /* fewer pieces than places */
        for (guint i = 0; i < c->entries->len; i++) {
            Qcow2Entry *e = c->entries->pdata[i];
            if (e->off && e->off >= off && e->off - off < len)
                forget(c, e);
        }
        return;
    }
    for (uint64_t at = off; at - off < len; at += c->entry_size) {
        Qcow2Entry *e = find(c, at);
        if (e)
            forget(c, e);
    }
}

void qcow2_cache_empty(Qcow2Cache *c)
{
    for (guint i = 0; i < c->entries->len; i++) {
        Qcow2Entry *e = c->entries->pdata[i];
        if (e->off)
            forget(c, e);
    }
}

void qcow2_cache_clean_idle(Qcow2Cache *c)
{
    for (guint i = 0; i < c->entries->len; i++) {
        Qcow2Entry *e = c->entries->pdata[i];
        if (e->pins || e->loading || e->dirty)
            continue;
        if (e->used) {
            e->used = false;
            continue;
        }
        if (e->off)
            hash_out(c, e);
        g_ptr_array_remove_index_fast(c->entries, i--);
        entry_free(e);
    }
    c->hand = 0;
}

/* ---- taking what is dirty */

static int by_offset(const void *a, const void *b)
{
    const Qcow2Entry *x = *(Qcow2Entry *const *)a, *y = *(Qcow2Entry *const *)b;
    return (x->off > y->off) - (x->off < y->off);
}

/* Copies an entry's dirty parts behind one another and adds them to the runs. */
static void take_entry(Qcow2Cache *c, Qcow2Taken *t, Qcow2Entry *e, size_t *used)
{
    unsigned units = c->entry_size / c->unit;
    for (unsigned i = 0; i < units; i++) {
        if (!(e->dirty >> i & 1))
            continue;
        uint64_t off = e->off + (uint64_t)i * c->unit;
        uint8_t *to = t->arena + *used;
        memcpy(to, (uint8_t *)e->data + (size_t)i * c->unit, c->unit);
        *used += c->unit;
        if (t->n && t->runs[t->n - 1].off + t->runs[t->n - 1].len == off)
            t->runs[t->n - 1].len += c->unit;
        else
            t->runs[t->n++] = (Qcow2Run){ off, c->unit, to };
    }
}

int qcow2_cache_take(Qcow2Cache *c, Qcow2Taken *out)
{
    *out = (Qcow2Taken){ 0 };
    if (!c->dirty)
        return 0;
    size_t parts = 0;
    out->entries = try_alloc(c->dirty, sizeof(*out->entries));
    out->masks = try_alloc(c->dirty, sizeof(*out->masks));
    for (guint i = 0; out->entries && i < c->entries->len; i++) {
        Qcow2Entry *e = c->entries->pdata[i];
        if (e->dirty) {
            out->entries[out->n_entries++] = e;
            parts += __builtin_popcountll(e->dirty);
        }
    }
    out->runs = try_alloc(parts, sizeof(*out->runs));
    out->arena = block_buf(c->s->node.file->node, parts * c->unit);
    if (!out->entries || !out->masks || !out->runs || !out->arena) {
        out->n_entries = 0;
        qcow2_taken_end(c, out, true);
        return -ENOMEM;
    }
    qsort(out->entries, out->n_entries, sizeof(*out->entries), by_offset);
    size_t used = 0;
    for (size_t i = 0; i < out->n_entries; i++) {
        Qcow2Entry *e = out->entries[i];
        take_entry(c, out, e, &used);
        out->masks[i] = e->dirty;
        e->dirty = 0;
        e->pins++;
    }
    c->dirty = 0;
    return 0;
}

void qcow2_taken_end(Qcow2Cache *c, Qcow2Taken *t, bool written)
{
    for (size_t i = 0; i < t->n_entries; i++) {
        Qcow2Entry *e = t->entries[i];
        e->pins--;
        if (!written && e->off)     /* not one that was dropped meanwhile */
            mark(c, e, t->masks[i]);
    }
    free(t->entries);
    free(t->masks);
    free(t->runs);
    block_buf_free(t->arena);
    *t = (Qcow2Taken){ 0 };
}
