/* SPDX-License-Identifier: MIT */
/*
 * Metadata contexts of the server: base:allocation as the protocol defines it,
 * qemu:allocation-depth (0: nowhere in the chain, 1: the top layer, 2: the one
 * below, ..) and qemu:dirty-bitmap:NAME (1: dirty) as QEMU's document on its
 * namespace does (docs/interop/nbd.txt).
 */
#include <errno.h>

#include "block/nbd/server-priv.h"

#define LOOKS_MAX 4096          /* extents looked at for one answer: a coroutine that never ends serves nobody */

unsigned nbd_context_count(const NbdExport *x)
{
    return CONTEXT_BITMAPS + x->n_bitmaps;
}

char *nbd_context_name(const NbdExport *x, unsigned id)
{
    if (id == CONTEXT_ALLOCATION)
        return g_strdup(NBD_BASE_ALLOCATION);
    if (id == CONTEXT_DEPTH)
        return x->depth ? g_strdup(NBD_ALLOCATION_DEPTH) : NULL;
    return g_strconcat(NBD_DIRTY_BITMAP, x->bitmap_names[id - CONTEXT_BITMAPS], NULL);
}

/* Adds an extent; false: there is no room for it. */
static bool add(StatusExtent *out, unsigned max, unsigned *n, uint64_t len, uint64_t flags)
{
    if (*n && out[*n - 1].flags == flags) {
        out[*n - 1].len += len;
        return true;
    }
    if (*n == max)
        return false;
    out[(*n)++] = (StatusExtent){ len, flags };
    return true;
}

static uint64_t extent_flags(const Extent *e, unsigned id)
{
    if (id == CONTEXT_DEPTH)
        return e->flags & EXTENT_ALLOCATED ? e->depth + 1 : 0;
    return (e->flags & EXTENT_DATA ? 0 : NBD_STATE_HOLE) | (e->flags & EXTENT_ZERO ? NBD_STATE_ZERO : 0);
}

static int status_extents(NbdExport *x, unsigned id, uint64_t off, uint64_t len, unsigned max, StatusExtent *out)
{
    unsigned n = 0;

    for (unsigned looks = 0; len && looks < LOOKS_MAX; looks++) {
        Extent e;
        int ret = node_extent_above(disk_node(x->disk), NULL, id == CONTEXT_ALLOCATION, off, len, &e);

        if (ret < 0)
            return n ? (int)n : ret;
        if (!e.len || e.len > len)
            return -EIO;
        if (!add(out, max, &n, e.len, extent_flags(&e, id)))
            break;
        off += e.len;
        len -= e.len;
    }
    return n;
}

static int status_bitmap(const DirtyBitmap *b, uint64_t off, uint64_t len, unsigned max, StatusExtent *out)
{
    uint64_t end = off + len;
    unsigned n = 0;

    while (off < end) {
        uint64_t at = off, dirty = 0;

        if (!bitmap_next(b, &at, end, &dirty)) {
            add(out, max, &n, end - off, 0);
            break;
        }
        at = MAX(at, off);
        dirty = MIN(dirty, end - at);
        if (at > off && !add(out, max, &n, at - off, 0))
            break;
        if (!add(out, max, &n, dirty, NBD_STATE_DIRTY))
            break;
        off = at + dirty;
    }
    return n;
}

int nbd_status(NbdExport *x, unsigned id, uint64_t off, uint64_t len, unsigned max, StatusExtent *out)
{
    if (id < CONTEXT_BITMAPS)
        return status_extents(x, id, off, len, max, out);
    return status_bitmap(x->bitmaps[id - CONTEXT_BITMAPS], off, len, max, out);
}
