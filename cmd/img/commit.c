/* SPDX-License-Identifier: MIT */
/*
 * lyre-img commit: writes what an overlay holds into its backing file, or into
 * one further down (-b), and empties the overlay. Each layer is opened by
 * itself and copied in turn, the lowest first; what a layer does not hold is
 * left alone. While that runs the overlay reads the same, since it still holds
 * what is copied: it may be stopped, and begun again.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "block/copy.h"
#include "block/driver.h"

typedef struct Commit {
    Img *im;
    GPtrArray *layers;          /* Disks without their backing files: the overlay, then what lies between it and the base */
    Disk *base;
    char *base_name;
    uint64_t size, before, total, saved;
} Commit;

static void free_disk(void *disk)
{
    disk_free(disk);
}

/* ---- the chain -------------------------------------------------------------------------- */

static bool names_same(const char *a, const char *b)
{
    struct stat x, y;

    if (!strcmp(a, b))
        return true;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* The backing file of the lowest layer so far, or an error if it has none. */
static Err *next_name(const Commit *c, char **name, const char **format)
{
    Disk *d = c->layers->pdata[c->layers->len - 1];
    const BlockNode *n = node_skip_filters(disk_node(d));
    BlockNode *storage = node_storage(disk_node(d));

    if (!n->backing_name) {
        if (c->layers->len == 1)
            return err_hint(err(ERR_INVALID, "it has no backing file that its data could be written into"),
                            "info shows what an image is.");
        return err_hint(err(ERR_NOT_FOUND, "'%s' is none of its backing files", c->im->a.backing),
                        "%s info --backing-chain %s lists them.", c->im->program, c->im->a.files[0]);
    }
    *name = img_backing_path(storage ? node_filename(storage) : c->im->a.files[0], n->backing_name);
    *format = n->backing_format;
    return NULL;
}

static bool is_base(const Commit *c, const char *path)
{
    const char *wanted = c->im->a.backing;

    if (!wanted)
        return true;
    g_autofree char *beside = img_backing_path(c->im->a.files[0], wanted);
    return names_same(path, wanted) || names_same(path, beside);
}

static Err *open_chain(Commit *c)
{
    Img *im = c->im;
    const char *cache = im->a.cache ? im->a.cache : "writeback";
    Disk *d;

    TRY(img_open(im, im->a.files[0], cache, OPEN_RW | OPEN_RESIZE | OPEN_NO_BACKING, &d));
    g_ptr_array_add(c->layers, d);
    c->size = disk_size(d);
    for (unsigned depth = 0; depth < 1000; depth++) {
        g_autofree char *name = NULL;
        const char *format = NULL;
        TRY(next_name(c, &name, &format));
        if (is_base(c, name)) {
            TRY(img_open_as(im, name, format, false, cache, OPEN_RW | OPEN_RESIZE, &c->base));
            c->base_name = g_steal_pointer(&name);
            return NULL;
        }
        TRY(img_open_as(im, name, format, false, cache, OPEN_NO_BACKING, &d));
        g_ptr_array_add(c->layers, d);
    }
    return err_hint(err(ERR_INVALID, "its backing files go on without an end"), "Is there a loop in the chain?");
}

/* ---- the copy ---------------------------------------------------------------------------- */

static void show_progress(void *opaque, const CopyStats *s)
{
    Commit *c = opaque;

    progress_saved(c->im, c->saved + s->saved, "not copied");
    progress_at(c->im, c->before + s->done);
}

static Err *copy_layer(Commit *c, Disk *d)
{
    CopyConfig k = copy_defaults(d, c->base);
    uint64_t off = 0;
    Copy *copy;
    Err *e = NULL;

    k.above = true;
    k.rate = c->im->a.rate;
    k.zero_flags = REQ_UNMAP;
    k.cancel = img_stop_flag();
    k.progress = show_progress;
    k.opaque = c;
    TRY(copy_new(&k, &copy));
    int ret = copy_run(copy);
    c->saved += copy_stats(copy)->saved;
    c->before += disk_size(d);
    if (ret == -ECANCELED)
        e = img_stopped("'%s' is whole; its backing file has a part of the changes already. Run the same command "
                        "again to go on.", c->im->a.files[0]);
    else if (ret < 0)
        e = copy_failed_reading(copy, &off)
            ? err_errno(-ret, "it cannot be read at offset %llu", (unsigned long long)off)
            : err_errno(-ret, "'%s' cannot be written at offset %llu", c->base_name, (unsigned long long)off);
    copy_free(copy);
    return e;
}

static Err *copy_layers(Commit *c)
{
    Err *e = NULL;

    if (disk_size(c->base) < c->size)
        TRY(err_in(disk_resize(c->base, c->size, false, (Preallocation){ PREALLOC_OFF }, 0), "'%s'", c->base_name));
    for (guint i = 0; i < c->layers->len; i++)
        c->total += disk_size(c->layers->pdata[i]);
    progress_begin(c->im, "committed", 1);
    progress_total(c->im, c->total);
    for (guint i = c->layers->len; i-- && !e;)
        e = copy_layer(c, c->layers->pdata[i]);
    if (!e) {
        int ret = disk_flush(c->base);
        if (ret < 0)
            e = err_errno(-ret, "'%s' cannot be written", c->base_name);
    }
    progress_end(c->im, !e);
    return e;
}

static Err *empty_overlay(Commit *c)
{
    BlockNode *n = node_skip_filters(disk_node(c->layers->pdata[0]));

    if (c->im->a.drop || c->im->a.backing)
        return NULL;
    if (!n->drv->make_empty)
        return err_hint(err(ERR_UNSUPPORTED, "images of format '%s' cannot be emptied", node_format(n)),
                        "Its changes are in '%s' now. -d leaves it as it is.", c->base_name);
    return n->drv->make_empty(n);
}

Err *img_commit(Img *im)
{
    Commit c = { .im = im, .layers = g_ptr_array_new_with_free_func(free_disk) };
    Err *e = open_chain(&c);

    if (!e)
        e = guard_node(im, disk_node(c.base), "committing into it");
    if (!e)
        e = copy_layers(&c);
    if (!e)
        e = empty_overlay(&c);
    if (!e)
        img_say(im, "Image committed.\n");
    g_ptr_array_free(c.layers, TRUE);
    disk_free(c.base);
    g_free(c.base_name);
    return err_in(e, "'%s'", im->a.files[0]);
}
