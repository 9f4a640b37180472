/* SPDX-License-Identifier: MIT */
/*
 * lyre-img bitmap: persistent dirty bitmaps of an image, one or several changes
 * of one bitmap in the order given.
 */
#include "cmd/img/img.h"

#include <string.h>

#include "block/bitmap.h"
#include "block/driver.h"

static Err *find(BlockNode *n, const char *name, unsigned use, DirtyBitmap **out)
{
    *out = bitmap_find(n, name);
    if (!*out)
        return err_hint(err(ERR_NOT_FOUND, "there is no bitmap '%s'", name), "info lists those there are.");
    return use ? bitmap_usable(*out, use) : NULL;
}

Err *img_add_bitmap(BlockNode *n, const char *name, uint32_t granularity, DirtyBitmap **out)
{
    DirtyBitmap *b;

    if (!n->drv->bitmap_can_store)
        return err_hint(err(ERR_UNSUPPORTED, "images of format '%s' hold no bitmaps", node_format(n)),
                        "qcow2 images do, but for those of compat=0.10.");
    TRY(bitmap_new(n, name, granularity, &b));
    Err *e = n->drv->bitmap_can_store(n, name, b->granularity);
    if (e) {
        bitmap_free(b);
        return e;
    }
    b->persistent = true;
    *out = b;
    return NULL;
}

static Err *add(Img *im, BlockNode *n, const char *name)
{
    DirtyBitmap *b;
    uint64_t g = im->a.granularity;

    if (g & (g - 1))
        return err_hint(err(ERR_INVALID, "-g %llu is no power of two", (unsigned long long)g), "64K is usual.");
    return img_add_bitmap(n, name, (uint32_t)g, &b);
}

/* --merge SOURCE: of the same image, or of -b's. */
static Err *merge(Img *im, BlockNode *n, DirtyBitmap *to, const char *source)
{
    const ImgArgs *a = &im->a;
    Disk *d = NULL;
    DirtyBitmap *from;

    if (a->source_file)
        TRY(img_open_as(im, a->source_file, a->format2, false, NULL, OPEN_NO_BACKING, &d));
    Err *e = find(d ? node_skip_filters(disk_node(d)) : n, source, BITMAP_USE_READ, &from);
    if (!e)
        e = bitmap_merge(to, from);
    disk_free(d);
    return a->source_file ? err_in(e, "'%s'", a->source_file) : e;
}

static Err *change(Img *im, BlockNode *n, const char *action, const char *name)
{
    DirtyBitmap *b;

    if (!strcmp(action, "add"))
        return add(im, n, name);
    if (!strcmp(action, "remove")) {
        TRY(find(n, name, BITMAP_USE_REMOVE, &b));
        return bitmap_remove(n, name);
    }
    TRY(find(n, name, BITMAP_USE_WRITE, &b));
    if (!strcmp(action, "clear"))
        bitmap_clear(b);
    else if (!strcmp(action, "enable") || !strcmp(action, "disable"))
        b->disabled = action[0] == 'd';
    else
        return merge(im, n, b, action + strlen("merge="));
    return NULL;
}

Err *img_bitmap(Img *im)
{
    const ImgArgs *a = &im->a;
    bool adds = false, merges = false;
    Disk *d;
    Err *e = NULL;

    if (!a->actions)
        return err_hint(err(ERR_INVALID, "bitmap needs to be told what to do with '%s'", a->files[1]),
                        "Give one or more of --add, --remove, --clear, --enable, --disable, --merge SOURCE.");
    for (guint i = 0; i < a->actions->len; i++) {
        adds |= !strcmp(a->actions->pdata[i], "add");
        merges |= g_str_has_prefix(a->actions->pdata[i], "merge=");
    }
    if (a->granularity && !adds)
        return err_hint(err(ERR_INVALID, "-g is for --add"), "A bitmap keeps the granularity that it was made with.");
    if (a->source_file && !merges)
        return err_hint(err(ERR_INVALID, "-b is for --merge"), "Add --merge SOURCE.");
    if (a->format2 && !a->source_file)
        return err_hint(err(ERR_INVALID, "-F is the format of -b, which is not there"), "Add -b FILE.");
    TRY(img_open(im, a->files[0], NULL, OPEN_RW | OPEN_RESIZE | OPEN_NO_BACKING, &d));
    for (guint i = 0; i < a->actions->len && !e; i++) {
        const char *action = a->actions->pdata[i];
        e = err_in(change(im, node_skip_filters(disk_node(d)), action, a->files[1]), "--%s of bitmap '%s'", action,
                   a->files[1]);
    }
    disk_free(d);
    return e ? err_in(e, "'%s'", a->files[0]) : NULL;
}
