/* SPDX-License-Identifier: MIT */
/*
 * lyre-img map: where an image's data is, run by run, through its chain.
 */
#include "cmd/img/img.h"

#include <stdio.h>
#include <string.h>

enum { MAX_LOOK = 1 << 30 };    /* bytes that are asked about at once */

typedef struct Run {
    uint64_t start;
    Extent e;
} Run;

static const unsigned shown = EXTENT_DATA | EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_OFFSET;

static const char *host_name(const Extent *e)
{
    return e->flags & EXTENT_OFFSET && e->host_node ? node_filename(e->host_node) : NULL;
}

/* Does `next` go on where the run ends, so that both are one line? */
static bool goes_on(const Run *r, const Extent *next)
{
    if ((r->e.flags & shown) != (next->flags & shown) || r->e.depth != next->depth)
        return false;
    if (!(next->flags & EXTENT_OFFSET))
        return true;
    return r->e.host_node == next->host_node && r->e.host + r->e.len == next->host;
}

static Err *print_human(const Run *r)
{
    const char *name = host_name(&r->e);

    if ((r->e.flags & (EXTENT_DATA | EXTENT_ZERO)) != EXTENT_DATA)
        return NULL;
    if (!name) {
        Err *e = err(ERR_UNSUPPORTED, "at 0x%llx there is data that no file holds plainly: it is compressed, "
                                      "encrypted or external", (unsigned long long)r->start);
        return err_hint(e, "--output=json shows where it is in the image.");
    }
    printf("%#-16llx%#-16llx%#-16llx%s\n", (unsigned long long)r->start, (unsigned long long)r->e.len,
           (unsigned long long)r->e.host, name);
    return NULL;
}

static const char *yes(unsigned flag)
{
    return flag ? "true" : "false";
}

static void print_json(const Run *r, bool last)
{
    unsigned f = r->e.flags;

    printf("{ \"start\": %llu, \"length\": %llu, \"depth\": %u, \"present\": %s, \"zero\": %s, \"data\": %s",
           (unsigned long long)r->start, (unsigned long long)r->e.len, r->e.depth,
           yes(f & EXTENT_ALLOCATED), yes(f & EXTENT_ZERO), yes(f & EXTENT_DATA));
    if (f & EXTENT_OFFSET)
        printf(", \"offset\": %llu", (unsigned long long)r->e.host);
    printf("}%s\n", last ? "]" : ",");
}

static Err *print_run(const Img *im, const Run *r, bool last)
{
    if (!img_json_output(im))
        return print_human(r);
    print_json(r, last);
    return NULL;
}

/* The first layer that says what there is; unallocated bytes behind the end of a backing file are the overlay's zeroes. */
static int look(Disk *d, uint64_t off, uint64_t len, Extent *x)
{
    unsigned depth = 0;

    for (BlockNode *n = node_skip_filters(disk_node(d)); n; depth++) {
        BlockNode *below = node_skip_filters(node_backing(n));
        int ret = node_extent_above(n, below, false, off, len, x);
        if (!ret && x->flags & EXTENT_RECURSE)
            ret = node_extent_above(n, below, true, off, len, x);
        if (ret < 0)
            return ret;
        x->depth = depth;
        if (x->flags & (EXTENT_DATA | EXTENT_ZERO))
            break;
        len = x->len;
        n = below;
    }
    return 0;
}

static Err *walk(const Img *im, Disk *d, uint64_t from, uint64_t end)
{
    Run r = { .start = from };

    for (uint64_t at = from; at < end;) {
        uint64_t want = end - at < MAX_LOOK ? end - at : MAX_LOOK;
        Extent x;
        int ret = look(d, at, want, &x);
        if (ret < 0)
            return err_errno(-ret, "'%s': what is at %llu cannot be read", im->a.files[0], (unsigned long long)at);
        if (at == from) {
            r.e = x;
        } else if (goes_on(&r, &x)) {
            r.e.len += x.len;
        } else {
            TRY(print_run(im, &r, false));
            r = (Run){ at, x };
        }
        at += x.len;
    }
    return from < end ? print_run(im, &r, true) : NULL;
}

Err *img_map(Img *im)
{
    const ImgArgs *a = &im->a;
    Disk *d;

    TRY(img_open_live(im, a->files[0], NULL, 0, &d));
    uint64_t size = img_size(d), end = size;
    if (a->has_length && a->length < size - (a->start < size ? a->start : size))
        end = a->start + a->length;
    if (img_json_output(im))
        putchar('[');
    else
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    Err *e = walk(im, d, a->start, end);
    if (img_json_output(im) && a->start >= end)     /* nothing is one run of no length, as qemu-img has it */
        print_json(&(Run){ .start = a->start }, true);
    disk_free(d);
    return e;
}
