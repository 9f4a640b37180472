/* SPDX-License-Identifier: MIT */
/*
 * lyre-img resize: a larger or smaller disk.
 */
#include "cmd/img/img.h"

#include <stdio.h>
#include <string.h>

#include "util/str.h"

/* "1G", "+1G", "-1G". */
static Err *new_size(const char *text, uint64_t old, uint64_t *size)
{
    bool more = text[0] == '+', less = text[0] == '-';
    uint64_t n;

    TRY(parse_size(text + (more || less), 1, &n));
    *size = n;
    if (more && __builtin_add_overflow(old, n, size))
        *size = UINT64_MAX;
    if (less)
        *size = n < old ? old - n : 0;
    if (!*size)
        return err(ERR_INVALID, "an image of %llu bytes would have nothing left", (unsigned long long)old);
    if (*size > BLOCK_MAX_SIZE)
        return err(ERR_INVALID, "no disk can be that large");
    return NULL;
}

static Err *check_shrink(Img *im, Disk *d, uint64_t old, uint64_t size)
{
    if (size >= old)
        return NULL;
    if (!im->a.shrink)
        return err_hint(err(ERR_INVALID, "that would make it smaller, from %llu to %llu bytes, and lose what lies "
                                         "behind the new end", (unsigned long long)old, (unsigned long long)size),
                        "--shrink does it. Make the file systems in it smaller before.");
    return guard_node(im, disk_node(d), "shrinking it");
}

static Err *resize(Img *im, Disk *d)
{
    const ImgArgs *a = &im->a;
    uint64_t old = img_size(d), size = 0;
    Preallocation p = { PREALLOC_OFF };

    TRY(err_in(new_size(a->files[1], old, &size), "the size '%s'", a->files[1]));
    TRY(check_shrink(im, d, old, size));
    while (a->preallocation && strcmp(prealloc_names[p.mode], a->preallocation))
        p.mode++;
    if (p.mode != PREALLOC_OFF && size <= old)
        return err_hint(err(ERR_INVALID, "only what is added can be preallocated, and nothing is"),
                        "Leave --preallocation away.");
    return disk_resize(d, size, true, p, 0);
}

Err *img_resize(Img *im)
{
    const ImgArgs *a = &im->a;
    Disk *d;

    TRY(img_open(im, a->files[0], NULL, OPEN_RW | OPEN_RESIZE, &d));
    Err *e = err_in(resize(im, d), "'%s'", a->files[0]);
    if (!e)
        img_say(im, "Image resized.\n");
    disk_free(d);
    return e;
}
