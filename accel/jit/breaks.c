/* SPDX-License-Identifier: MIT */
/*
 * Breakpoints in translated code. A unit that holds the instruction at one is
 * made so that it leaves before it; other units are as they always are. When the
 * set changes, the units over those addresses that came or went die, as they
 * do when their bytes are stored to: a vCPU in one of them leaves it at the next
 * backward edge, or at once if it isn't in generated code.
 */
#include <glib.h>

#include "accel/debug.h"
#include "accel/jit/jit.h"

/* How many of the ascending values are below x. */
static int below(const uint64_t *values, int n, uint64_t x)
{
    int lo = 0;

    while (lo < n) {
        int mid = lo + (n - lo) / 2;

        if (values[mid] < x)
            lo = mid + 1;
        else
            n = mid;
    }
    return lo;
}

/* What is in one of the two only. */
static GArray *difference(const DebugSet *a, const DebugSet *b)
{
    GArray *out = g_array_new(false, false, sizeof(uint64_t));
    int i = 0, k = 0, na = a ? a->nbreaks : 0, nb = b ? b->nbreaks : 0;

    while (i < na || k < nb) {
        if (i < na && k < nb && a->breaks[i] == b->breaks[k])
            i++, k++;
        else if (k >= nb || (i < na && a->breaks[i] < b->breaks[k]))
            g_array_append_val(out, a->breaks[i++]);
        else
            g_array_append_val(out, b->breaks[k++]);
    }
    return out;
}

static bool covers(const Unit *u, const uint64_t *pcs, int n)
{
    int i = below(pcs, n, u->va);

    return i < n && pcs[i] - u->va < (uint64_t)(u->hi - u->lo);
}

static void kill_over(Jit *j, const GArray *pcs)
{
    for (int r = 0; r < j->nregions; r++) {
        CodeRegion *region = &j->regions[r];

        for (int i = 0; i < region->nunits; i++) {
            Unit *u = region->units[i];

            if (!atomic_load(&u->dead) && covers(u, (const uint64_t *)pcs->data, pcs->len))
                unit_kill(j, u, NULL);
        }
    }
}

void jit_breaks(Jit *j, DebugSet *set)
{
    pthread_mutex_lock(&j->lock);
    if (set && (!j->debug || set->serial > j->debug->serial)) {
        DebugSet *was = j->debug;
        GArray *changed = difference(was, set);

        j->debug = debug_set_ref(set);
        if (changed->len)
            kill_over(j, changed);
        g_array_free(changed, true);
        debug_set_unref(was);
    }
    pthread_mutex_unlock(&j->lock);
}

const uint64_t *jit_page_breaks(const Jit *j, uint64_t pc, int *n)
{
    const DebugSet *s = j->debug;
    uint64_t page = pc & ~(uint64_t)(PAGE_SIZE - 1);

    *n = 0;
    if (!s || !s->nbreaks)
        return NULL;
    int from = below(s->breaks, s->nbreaks, page);
    *n = s->nbreaks - from;
    if (page + PAGE_SIZE)
        *n = below(s->breaks + from, *n, page + PAGE_SIZE);
    return s->breaks + from;
}

bool jit_break_at(Jit *j, uint64_t pc)
{
    pthread_mutex_lock(&j->lock);
    bool is = debug_set_breaks(j->debug, pc);
    pthread_mutex_unlock(&j->lock);
    return is;
}
