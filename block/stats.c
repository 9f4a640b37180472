/* SPDX-License-Identifier: MIT */
/* See block/stats.h. */
#include "block/stats.h"

#include <glib.h>
#include <string.h>

#include "util/loop.h"

const char *const disk_op_names[DISK_OPS] = { "rd", "wr", "flush", "unmap" };

static void count(Histogram *h, uint64_t ns)
{
    unsigned from = 0, to = h->n;

    while (from < to) {
        unsigned mid = (from + to) / 2;

        if (ns < h->bounds[mid])
            to = mid;
        else
            from = mid + 1;
    }
    h->bins[from]++;
}

void disk_stats_add(DiskStats *s, DiskOp op, uint64_t bytes, int64_t began, int ret)
{
    int64_t now = loop_now();
    uint64_t ns = (uint64_t)MAX(now - began, 0);

    s->last = now;
    s->ns[op] += ns;
    if (ret) {
        s->failed[op]++;
    } else {
        s->ops[op]++;
        s->bytes[op] += bytes;
    }
    if (s->histogram[op].n)
        count(&s->histogram[op], ns);
}

void histogram_set(Histogram *h, const uint64_t *bounds, unsigned n)
{
    g_free(h->bounds);
    g_free(h->bins);
    *h = (Histogram){ .n = bounds ? n : 0 };
    if (!h->n)
        return;
    h->bounds = g_memdup2(bounds, n * sizeof(*bounds));
    h->bins = g_new0(uint64_t, n + 1);
}

void disk_stats_clear(DiskStats *s)
{
    for (unsigned i = 0; i < DISK_OPS; i++)
        histogram_set(&s->histogram[i], NULL, 0);
    memset(s, 0, sizeof(*s));
}
