/* SPDX-License-Identifier: MIT */
/*
 * Grain tables: 8 MiB of them are kept in memory. An entry that changes stays
 * there until vmdk_sync has made the grain stable: then both copies of the
 * table are written. So no crash leaves an entry without its grain.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/vmdk/vmdk.h"

/* ---- entries */

enum { GTE_ZEROED = 1 };
/* SESPARSE: kinds of directory and table entries. */
#define SE_KIND(v)  ((unsigned)((v) >> 60))
enum { SE_NONE, SE_UNMAPPED, SE_ZERO, SE_DATA };

static uint64_t table_offset(const VmdkExtent *e, const uint8_t *gd, uint64_t index)
{
    if (e->kind != VMDK_SESPARSE)
        return ld_le32(gd + index * 4) * (uint64_t)VMDK_SECTOR;
    uint64_t v = ld_le64(gd + index * 8);
    if (!v)
        return 0;
    if (SE_KIND(v) != 1)
        return UINT64_MAX;
    return e->se_tables + (v & 0xffffffff) * ((uint64_t)e->gtes * e->entry);
}

bool vmdk_has_table(const VmdkExtent *e, uint64_t grain)
{
    return table_offset(e, e->gd, grain / e->gtes) != 0;
}

static int decode(const VmdkExtent *e, const uint8_t *p, VmdkGrain *out)
{
    *out = (VmdkGrain){ GRAIN_NONE, 0 };
    if (e->kind == VMDK_SESPARSE) {
        uint64_t v = ld_le64(p), cluster = (v >> 48 & 0xfff) | (v & UINT64_C(0x0000ffffffffffff)) << 12;

        if (!v)
            return 0;
        if (SE_KIND(v) == SE_UNMAPPED || SE_KIND(v) == SE_ZERO) {
            out->state = GRAIN_ZERO;
            return 0;
        }
        if (SE_KIND(v) != SE_DATA || cluster > BLOCK_MAX_SIZE / e->grain - e->se_grains / e->grain)
            return -EINVAL;
        *out = (VmdkGrain){ GRAIN_DATA, e->se_grains + cluster * e->grain };
        return 0;
    }
    uint32_t v = ld_le32(p);
    if (v == GTE_ZEROED && e->zeroed)
        out->state = GRAIN_ZERO;
    else if (v)
        *out = (VmdkGrain){ GRAIN_DATA, v * (uint64_t)VMDK_SECTOR };
    return 0;
}

/* ---- tables in memory */

static guint table_hash(gconstpointer p)
{
    const VmdkTable *t = p;

    return t->extent * 0x9e3779b1u ^ (guint)t->index ^ (guint)(t->index >> 32);
}

static gboolean table_equal(gconstpointer a, gconstpointer b)
{
    const VmdkTable *x = a, *y = b;

    return x->extent == y->extent && x->index == y->index;
}

static void unlink_table(Vmdk *s, VmdkTable *t)
{
    *(t->newer ? &t->newer->older : &s->newest) = t->older;
    *(t->older ? &t->older->newer : &s->oldest) = t->newer;
    t->newer = t->older = NULL;
}

static void link_newest(Vmdk *s, VmdkTable *t)
{
    t->older = s->newest;
    *(s->newest ? &s->newest->newer : &s->oldest) = t;
    s->newest = t;
}

static uint64_t table_bytes(const Vmdk *s, const VmdkTable *t)
{
    return (uint64_t)s->extents[t->extent].gtes * s->extents[t->extent].entry;
}

static void drop_table(Vmdk *s, VmdkTable *t)
{
    g_hash_table_remove(s->cache, t);
    unlink_table(s, t);
    s->cached -= table_bytes(s, t);
    free(t->mem);
    g_free(t);
}

void vmdk_cache_free(Vmdk *s)
{
    while (s->newest)
        drop_table(s, s->newest);
    if (s->cache)
        g_hash_table_destroy(s->cache);
    s->cache = NULL;
}

/* Room for one more: old tables that the file has, too, go; if there are none, they are written first. */
static int make_room(Vmdk *s, uint64_t bytes)
{
    for (int pass = 0; pass < 2 && s->cached + bytes > VMDK_CACHE; pass++) {
        int ret = pass ? vmdk_sync(s) : 0;

        if (ret < 0)
            return ret;
        for (VmdkTable *t = s->oldest, *up; t && s->cached + bytes > VMDK_CACHE; t = up) {
            up = t->newer;
            if (!t->dirty && !t->writing)
                drop_table(s, t);
        }
    }
    return 0;               /* all of it is being written: a little more than planned, then */
}

static VmdkTable *find_table(Vmdk *s, const VmdkExtent *e, uint64_t index)
{
    VmdkTable key = { .extent = e - s->extents, .index = index };

    return s->cache ? g_hash_table_lookup(s->cache, &key) : NULL;
}

static int read_table(Vmdk *s, VmdkExtent *e, uint64_t index)
{
    uint64_t bytes = (uint64_t)e->gtes * e->entry, off = table_offset(e, e->gd, index);
    VmdkTable *t;
    int ret = make_room(s, bytes);

    if (ret < 0)
        return ret;
    if (off > e->body.end || bytes > e->body.end - off)
        return -EIO;
    uint8_t *mem = try_alloc(bytes, 1);
    if (!mem)
        return -ENOMEM;
    ret = child_pread(e->file, off, mem, bytes);
    if (ret < 0) {
        free(mem);
        return ret;
    }
    if (!s->cache)
        s->cache = g_hash_table_new(table_hash, table_equal);
    t = g_new0(VmdkTable, 1);
    *t = (VmdkTable){ .extent = e - s->extents, .index = index, .mem = mem };
    g_hash_table_add(s->cache, t);
    link_newest(s, t);
    s->cached += bytes;
    return 0;
}

/* The table, which must be there; valid until the next yield. */
static int get_table(Vmdk *s, VmdkExtent *e, uint64_t index, VmdkTable **out)
{
    int ret = 0;

    *out = find_table(s, e, index);
    if (!*out) {
        Busy busy;

        busy_begin(&s->loading, &busy, (uint64_t)(e - s->extents) << 40 ^ index);
        if (!find_table(s, e, index))
            ret = read_table(s, e, index);
        busy_end(&s->loading, &busy);
        if (ret < 0)
            return ret;
        *out = find_table(s, e, index);
    }
    if (*out != s->newest) {
        unlink_table(s, *out);
        link_newest(s, *out);
    }
    return 0;
}

int vmdk_grain_get(Vmdk *s, VmdkExtent *e, uint64_t grain, VmdkGrain *out)
{
    VmdkTable *t;
    int ret;

    *out = (VmdkGrain){ GRAIN_NONE, 0 };
    if (!vmdk_has_table(e, grain))
        return 0;
    ret = get_table(s, e, grain / e->gtes, &t);
    return ret < 0 ? ret : decode(e, t->mem + grain % e->gtes * e->entry, out);
}

/* ---- changes */

/* A table where there was none: zeroes at the end of the file, then the directory names it. */
static int new_table(VmdkExtent *e, uint8_t *gd, uint64_t gd_off, uint64_t index)
{
    uint64_t bytes = round_up((uint64_t)e->gtes * e->entry, VMDK_SECTOR), at = e->next;
    VmdkArea a = { at, bytes };
    uint8_t entry[4];
    unsigned i;
    int ret;

    if (at / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    e->next = round_up(at + bytes, e->compressed ? VMDK_SECTOR : e->grain);
    ret = body_fresh(&e->body, at, bytes);
    if (!ret)
        ret = child_flush(e->file);
    st_le32(entry, at / VMDK_SECTOR);
    if (!ret)
        ret = child_pwrite(e->file, gd_off + index * 4, entry, sizeof(entry), 0);
    if (ret < 0)
        return ret;
    memcpy(gd + index * 4, entry, sizeof(entry));
    for (i = e->meta->len; i && g_array_index(e->meta, VmdkArea, i - 1).off > at; i--)
        ;
    g_array_insert_val(e->meta, i, a);
    return 0;
}

static int ensure_table(Vmdk *s, VmdkExtent *e, uint64_t index)
{
    Busy busy;
    int ret = 0;

    if (table_offset(e, e->gd, index) && (!e->rgd || table_offset(e, e->rgd, index)))
        return 0;
    busy_begin(&s->loading, &busy, (uint64_t)(e - s->extents) << 40 ^ index);
    if (e->rgd && !table_offset(e, e->rgd, index))
        ret = new_table(e, e->rgd, e->rgd_off, index);
    if (!ret && !table_offset(e, e->gd, index))
        ret = new_table(e, e->gd, e->gd_off, index);
    busy_end(&s->loading, &busy);
    return ret;
}

int vmdk_grain_set(Vmdk *s, VmdkExtent *e, uint64_t grain, VmdkGrain to)
{
    uint64_t v = to.state == GRAIN_DATA ? to.off / VMDK_SECTOR : to.state == GRAIN_ZERO ? GTE_ZEROED : 0;
    VmdkTable *t;
    int ret;

    if (v > UINT32_MAX)
        return -EFBIG;
    ret = ensure_table(s, e, grain / e->gtes);
    if (!ret)
        ret = get_table(s, e, grain / e->gtes, &t);
    if (ret < 0)
        return ret;
    st_le32(t->mem + grain % e->gtes * 4, v);
    t->dirty = true;
    return 0;
}

/* ---- writing tables */

typedef struct Copy { VmdkTable *t; uint8_t *mem; } Copy;

static int write_copy(Vmdk *s, const Copy *c)
{
    VmdkExtent *e = &s->extents[c->t->extent];
    uint64_t bytes = table_bytes(s, c->t);
    int ret = 0;

    if (e->rgd)
        ret = child_pwrite(e->file, table_offset(e, e->rgd, c->t->index), c->mem, bytes, 0);
    if (!ret)
        ret = child_pwrite(e->file, table_offset(e, e->gd, c->t->index), c->mem, bytes, 0);
    return ret;
}

static int flush_data(Vmdk *s)
{
    int ret = 0;

    for (uint32_t i = 0; i < s->count && !ret; i++)
        if (vmdk_is_sparse(&s->extents[i]))
            ret = child_flush(s->extents[i].file);
    return ret;
}

/* What is dirty now is copied first: entries that appear meanwhile wait for the next time. */
int vmdk_sync(Vmdk *s)
{
    GArray *copies = g_array_new(FALSE, FALSE, sizeof(Copy));
    int ret = 0;

    co_lock(&s->sync_lock);
    for (VmdkTable *t = s->newest; t; t = t->older)
        if (t->dirty) {
            Copy c = { t, g_memdup2(t->mem, table_bytes(s, t)) };

            g_array_append_val(copies, c);
            t->dirty = false;
            t->writing = true;
        }
    if (copies->len)
        ret = flush_data(s);
    for (unsigned i = 0; i < copies->len; i++) {
        Copy *c = &g_array_index(copies, Copy, i);

        if (!ret)
            ret = write_copy(s, c);
        c->t->writing = false;
        c->t->dirty |= ret < 0;
        g_free(c->mem);
    }
    co_unlock(&s->sync_lock);
    g_array_free(copies, TRUE);
    return ret;
}
