/* SPDX-License-Identifier: MIT */
/*
 * qcow2 check: counts of references, and which clusters are metadata. Both are
 * sparse: a huge image of which little is used costs little, a full one a byte
 * for each cluster.
 */
#include "block/qcow2/check-priv.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_PAGES = 1 << 27 };          /* pointers to them take 1 GiB then */

int counts_init(Counts *c, uint64_t clusters)
{
    *c = (Counts){ .n_pages = (clusters >> COUNTS_PAGE_BITS) + 1 };
    if (c->n_pages > MOST_PAGES)
        return -ENOMEM;
    c->pages = try_alloc(c->n_pages, sizeof *c->pages);
    c->large = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
    return c->pages ? 0 : -ENOMEM;
}

void counts_free(Counts *c)
{
    for (uint64_t i = 0; c->pages && i < c->n_pages; i++)
        free(c->pages[i]);
    free(c->pages);
    g_clear_pointer(&c->large, g_hash_table_destroy);
    c->pages = NULL;
}

static void add_large(Counts *c, uint64_t cluster, uint64_t k)
{
    uint64_t *more = g_hash_table_lookup(c->large, &cluster);

    if (!more) {
        more = g_new0(uint64_t, 1);
        g_hash_table_insert(c->large, g_memdup2(&cluster, sizeof cluster), more);
    }
    *more += k;
}

int counts_add(Counts *c, uint64_t first, uint64_t n, uint64_t k, uint8_t marks)
{
    c->end = MAX(c->end, first + n);
    for (uint64_t i = first; i < first + n; i++) {
        uint8_t **page = &c->pages[i >> COUNTS_PAGE_BITS], *p;
        uint64_t sum;

        if (!*page && !(*page = try_alloc(COUNTS_PAGE, 1)))
            return -ENOMEM;
        p = *page + (i & (COUNTS_PAGE - 1));
        sum = (*p & COUNTS_FULL) + k;
        if (sum > COUNTS_FULL) {
            add_large(c, i, sum - COUNTS_FULL);
            sum = COUNTS_FULL;
        }
        *p = (uint8_t)((*p & ~COUNTS_FULL) | marks | sum);
    }
    return 0;
}

uint64_t counts_get(const Counts *c, uint64_t cluster)
{
    uint64_t n = counts_byte(c, cluster) & COUNTS_FULL;
    const uint64_t *more;

    if (n < COUNTS_FULL)
        return n;
    more = g_hash_table_lookup(c->large, &cluster);
    return n + (more ? *more : 0);
}

/* ---- metadata */

static CheckMeta *meta_slot(const CheckMetaSet *t, uint64_t key)
{
    size_t i = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & (t->slots - 1);

    while (t->slot[i].key && t->slot[i].key != key)
        i = (i + 1) & (t->slots - 1);
    return &t->slot[i];
}

CheckMeta *meta_find(const CheckMetaSet *t, uint64_t cluster)
{
    CheckMeta *m = t->slots ? meta_slot(t, cluster + 1) : NULL;

    return m && m->key ? m : NULL;
}

static int meta_double(CheckMetaSet *t)
{
    CheckMetaSet n = { .slots = t->slots ? t->slots * 2 : 256, .used = t->used };

    n.slot = try_alloc(n.slots, sizeof *n.slot);
    if (!n.slot)
        return -ENOMEM;
    for (size_t i = 0; i < t->slots; i++)
        if (t->slot[i].key)
            *meta_slot(&n, t->slot[i].key) = t->slot[i];
    free(t->slot);
    *t = n;
    return 0;
}

int meta_add(CheckMetaSet *t, uint64_t cluster, CheckUse use)
{
    CheckMeta *m;

    if (t->used * 2 >= t->slots && meta_double(t))
        return -ENOMEM;
    m = meta_slot(t, cluster + 1);
    t->used += !m->key;
    m->key = cluster + 1;
    m->uses |= (uint16_t)use;
    m->refs++;
    m->l2_refs += use == USE_L2;
    m->rc_refs += use == USE_REFTABLE || use == USE_REFBLOCK;
    return 0;
}

void meta_free(CheckMetaSet *t)
{
    free(t->slot);
    *t = (CheckMetaSet){ 0 };
}

/* ---- the report */

static void say(Check *c, const char *fmt, va_list ap)
{
    g_autofree char *line = g_strdup_vprintf(fmt, ap);

    if (c->r->found)
        c->r->found(c->r->opaque, line);
}

void check_say(Check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(c, fmt, ap);
    va_end(ap);
}

void check_bad(Check *c, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    say(c, fmt, ap);
    va_end(ap);
    c->r->corruptions++;
}
