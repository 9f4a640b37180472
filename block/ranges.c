/* SPDX-License-Identifier: MIT */
/*
 * Ranges in use: see block/ranges.h. The list is as long as requests are in
 * flight; it is searched only when one of them is alone.
 */
#include "block/ranges.h"

static bool conflict(const Range *a, uint64_t off, uint64_t end, bool alone)
{
    return (a->alone || alone) && a->off < end && off < a->end;
}

/* The first before `r` that it must wait for. */
static Range *earlier(const Ranges *all, const Range *r)
{
    if (!all->alone)
        return NULL;
    for (Range *a = all->first; a != r; a = a->next) {
        if (conflict(a, r->off, r->end, r->alone))
            return a;
    }
    return NULL;
}

void range_enter(Ranges *all, Range *r, uint64_t off, uint64_t len, bool alone)
{
    Range *before;

    *r = (Range){ .off = off, .end = off + len, .alone = alone, .prev = all->last };
    if (all->last)
        all->last->next = r;
    else
        all->first = r;
    all->last = r;
    all->alone += alone;
    while ((before = earlier(all, r)))
        co_queue_wait(&before->waiting);
}

void range_leave(Ranges *all, Range *r)
{
    if (r->prev)
        r->prev->next = r->next;
    else
        all->first = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else
        all->last = r->prev;
    all->alone -= r->alone;
    co_queue_wake_all(&r->waiting);
}

bool range_busy(const Ranges *all, uint64_t off, uint64_t len, bool alone)
{
    for (const Range *a = all->first; a; a = a->next) {
        if (conflict(a, off, off + len, alone))
            return true;
    }
    return false;
}
