/* SPDX-License-Identifier: MIT */
/*
 * Checking a VMDK: directories that name a table twice, tables and grains
 * beyond the end of their file, grains on tables or on each other.
 */
#include <errno.h>
#include <stdlib.h>

#include "block/vmdk/vmdk.h"

static void report(CheckResult *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void report(CheckResult *out, const char *fmt, ...)
{
    va_list ap;

    out->corruptions++;
    if (!out->found)
        return;
    va_start(ap, fmt);
    g_autofree char *line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    out->found(out->opaque, line);
}

typedef struct Placed { uint64_t off, grain; } Placed;

static int compare_placed(const void *a, const void *b)
{
    const Placed *x = a, *y = b;

    return (x->off > y->off) - (x->off < y->off);
}

/* Which tables of the directory are named a second time: they are not looked into again. */
static int doubles(const VmdkExtent *e, CheckResult *out, uint8_t **again)
{
    g_autofree Placed *all = try_alloc(e->tables, sizeof(Placed));
    uint64_t n = 0;

    *again = try_alloc(e->tables, 1);
    if (!all || !*again)
        return -ENOMEM;
    for (uint64_t i = 0; i < e->tables; i++) {
        uint64_t v = e->kind == VMDK_SESPARSE ? ld_le64(e->gd + i * 8) : ld_le32(e->gd + i * 4);

        if (v)
            all[n++] = (Placed){ v, i };
    }
    qsort(all, n, sizeof(*all), compare_placed);
    for (uint64_t i = 1; i < n; i++)
        if (all[i].off == all[i - 1].off) {
            report(out, "ERROR: grain tables %" PRIu64 " and %" PRIu64 " are one", all[i - 1].grain, all[i].grain);
            (*again)[all[i].grain] = 1;
        }
    return 0;
}

static void check_grain(const VmdkExtent *e, uint64_t grain, const VmdkGrain *g, CheckResult *out, GArray *all)
{
    uint64_t sector = (e->start + grain * e->grain) / VMDK_SECTOR;
    Placed p = { g->off, sector };

    if (g->state != GRAIN_DATA)
        return;
    if (g->off >= e->body.end)
        report(out, "ERROR: cluster offset after file size: sector %" PRIu64 " is at offset %" PRIu64, sector, g->off);
    else if (g->off < VMDK_HEADER || vmdk_hits_meta(e, g->off, e->compressed ? 1 : e->grain))
        report(out, "ERROR: sector %" PRIu64 " is at offset %" PRIu64 ", where tables are", sector, g->off);
    else if (all->len <= e->body.end / (e->compressed ? VMDK_SECTOR : e->grain))  /* more must overlap */
        g_array_append_val(all, p);
}

static void check_overlaps(const VmdkExtent *e, CheckResult *out, GArray *all)
{
    if (all->len)
        qsort(all->data, all->len, sizeof(Placed), compare_placed);
    for (unsigned i = 1; i < all->len; i++) {
        Placed *a = &g_array_index(all, Placed, i - 1), *b = a + 1;

        if (b->off - a->off < (e->compressed ? 1 : e->grain))
            report(out, "ERROR: sectors %" PRIu64 " and %" PRIu64 " share offset %" PRIu64, a->grain, b->grain, b->off);
    }
}

static int check_extent(Vmdk *s, VmdkExtent *e, CheckResult *out)
{
    g_autoptr(GArray) all = g_array_new(FALSE, FALSE, sizeof(Placed));
    g_autofree uint8_t *again = NULL;
    uint64_t grains = div_up(e->len, e->grain);
    int ret = doubles(e, out, &again);

    if (!e->meta && e->kind == VMDK_SPARSE && !e->footer && !e->tracked) {
        Err *why = vmdk_sparse_writable(e);     /* where the tables are; open read-only, nobody asked so far */

        if (why)
            report(out, "ERROR: %s", err_text(why));
        err_free(why);
    }

    for (uint64_t i = 0; i < grains && ret >= 0; i++) {
        VmdkGrain g;

        if (!vmdk_has_table(e, i) || again[i / e->gtes]) {
            i = (i / e->gtes + 1) * e->gtes - 1;
            continue;
        }
        ret = vmdk_grain_get(s, e, i, &g);
        if (ret < 0 && i % e->gtes == 0) {
            report(out, "ERROR: could not read the table for sector %" PRIu64 ": %s",
                   (e->start + i * e->grain) / VMDK_SECTOR, g_strerror(-ret));
            i += e->gtes - 1;
        } else if (ret < 0) {
            report(out, "ERROR: could not find extent for sector %" PRIu64, (e->start + i * e->grain) / VMDK_SECTOR);
        } else {
            check_grain(e, i, &g, out, all);
        }
        ret = 0;
    }
    check_overlaps(e, out, all);
    return ret;
}

int vmdk_check(BlockNode *n, CheckResult *out, unsigned fix)
{
    Vmdk *s = (Vmdk *)n;
    int ret = fix ? -ENOTSUP : 0;

    for (uint32_t i = 0; i < s->count && !ret; i++)
        if (vmdk_is_sparse(&s->extents[i]))
            ret = check_extent(s, &s->extents[i], out);
    return ret;
}
