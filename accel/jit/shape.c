/* SPDX-License-Identifier: MIT */
/*
 * Shapes: what units of the same bytes and mode have in common, however often
 * their page is mapped. Programs see a library's page at other addresses, each
 * its own (address space layout randomization); the first to come translates, the
 * units of the others are copies (tcg/x64/copy.c).
 *
 * A shape hangs at its page as long as a unit of it lives. Stores to the bytes kill
 * all its units alike, so what hangs there is good. It is freed with the
 * last unit's memory. All under the lock of the cache.
 */
#include <glib.h>
#include <string.h>

#include "accel/jit/jit.h"

static Shape **row_of(CodePage *p, unsigned lo)
{
    if (!p->shapes)
        p->shapes = g_new0(Shape *, 1 << (PAGE_BITS - GRANULE_BITS));
    return &p->shapes[lo >> GRANULE_BITS];
}

/* Sites as distances from the beginnings of their areas. */
static void keep_sites(Shape *s, const X64Code *c)
{
    s->nsites = c->nsites;
    s->nhot_sites = c->nhot_sites;
    for (int i = 0; i < c->nsites; i++) {
        s->sites[i] = c->sites[i];
        s->sites[i].off -= i < c->nhot_sites ? c->entry_checked : c->cold;
    }
}

static void keep_marks(Shape *s, const IrUnit *ir)
{
    uint64_t base = ir->pc & ~(uint64_t)(PAGE_SIZE - 1);

    s->nmarks = ir->nmarks;
    for (int m = 0; m < ir->nmarks; m++)
        s->mark_off[m] = ir->insns[ir->marks[m]].imm - base;
}

Shape *shape_new(Jit *j, const IrUnit *ir, const X64Code *c)
{
    unsigned nsites = c ? c->nsites : 0, nrelocs = c && c->movable ? c->nrelocs : 0;
    size_t size = sizeof(Shape) + nsites * sizeof(X64Site) + nrelocs * sizeof(uint32_t) + ir->nmarks * sizeof(uint16_t);
    Shape *s = g_malloc(size);

    j->stats.shape_bytes += heap_bytes(s);
    memset(s, 0, sizeof(*s));
    s->sites = (X64Site *)(s + 1);
    s->relocs = (uint32_t *)(s->sites + nsites);
    s->mark_off = (uint16_t *)(s->relocs + nrelocs);
    s->nrelocs = nrelocs;
    if (nrelocs)
        memcpy(s->relocs, c->relocs, nrelocs * sizeof(uint32_t));
    if (c)
        keep_sites(s, c);
    keep_marks(s, ir);
    return s;
}

void shape_add(Shape *s, Unit *u)
{
    u->shape = s;
    s->users++;
    s->alive++;
    s->latest = u;
}

void shape_hang(Shape *s, CodePage *p, uint64_t mode, unsigned lo, unsigned hi)
{
    Shape **row = row_of(p, lo);

    s->mode = mode;
    s->lo = lo;
    s->hi = hi;
    s->next = *row;
    s->at = row;
    if (s->next)
        s->next->at = &s->next;
    *row = s;
}

Shape *shape_find(CodePage *p, uint64_t mode, unsigned lo)
{
    for (Shape *s = p->shapes ? *row_of(p, lo) : NULL; s; s = s->next)
        if (s->lo == lo && s->mode == mode && s->latest)
            return s;
    return NULL;
}

void shape_died(Unit *u)
{
    Shape *s = u->shape;

    if (s->latest == u)
        s->latest = NULL;
    if (--s->alive || !s->at)
        return;
    *s->at = s->next;
    if (s->next)
        s->next->at = s->at;
    s->at = NULL;
}

void shape_free(Jit *j, Unit *u)
{
    if (--u->shape->users)
        return;
    j->stats.shape_bytes -= heap_bytes(u->shape);
    g_free(u->shape);
}
