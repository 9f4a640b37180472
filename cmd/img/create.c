/* SPDX-License-Identifier: MIT */
/*
 * lyre-img create and amend: making an image, and changing afterwards what was
 * chosen then.
 */
#include "cmd/img/img.h"

#include <stdio.h>
#include <string.h>

#include "block/driver.h"
#include "util/str.h"

Err *img_options_help(const char *format, const char *file)
{
    const BlockDriver *drv;

    TRY(img_driver(format, &drv));
    g_autofree char *text = driver_create_help(drv, file);
    if (!text)
        return err(ERR_UNSUPPORTED, "images of format '%s' cannot be made", format);
    fputs(text, stdout);
    return NULL;
}

/* An overlay's own chain must not be destroyed by making it: the chain is open while guard looks. */
static Err *guard_create(Img *im, const char *file)
{
    const ImgArgs *a = &im->a;
    Disk *backing = NULL;

    if (a->force || !g_file_test(file, G_FILE_TEST_EXISTS))
        return NULL;
    g_autofree char *name = a->backing ? g_strdup(a->backing) : img_creation_option(a->options, "backing_file");
    g_autofree char *format = a->backing_format ? g_strdup(a->backing_format)
                                                : img_creation_option(a->options, "backing_fmt");
    if (name && !a->unsafe) {
        g_autofree char *path = img_backing_path(file, name);
        err_free(img_open_as(im, path, format, false, NULL,
                             OPEN_FORCE_SHARE | OPEN_NO_IO, &backing));
    }
    Err *e = guard(im, file, "overwriting");
    disk_free(backing);
    return e;
}

Err *img_create(Img *im)
{
    ImgArgs *a = &im->a;
    const char *format = a->format ? a->format : "raw";
    CreateRequest r = {
        .format = format, .options = a->options, .backing = a->backing,
        .backing_format = a->backing_format, .size = UINT64_MAX, .unsafe = a->unsafe,
    };
    g_autofree char *said = NULL;

    if (img_asks_help(a->options))
        return img_options_help(format, a->nfiles ? a->files[0] : NULL);
    if (!a->nfiles)
        return err_hint(err(ERR_INVALID, "create needs the name of an image"), "Its form is: %s create [OPTION]... %s",
                        im->program, im->cmd->operands);
    const BlockDriver *drv;
    TRY(img_driver(format, &drv));
    r.filename = a->files[0];
    if (a->nfiles > 1)
        TRY(err_in(parse_size(a->files[1], 1, &r.size), "the size of '%s'", r.filename));
    TRY(guard_create(im, r.filename));
    if (a->backing && !drv->has_backing)
        return err_hint(err(ERR_UNSUPPORTED, "images of format '%s' have no backing files", format),
                        "Make a qcow2 image (-f qcow2), or leave -b away.");
    Err *e = image_create(im->graph, &r, &said);
    if (e)
        return err_in(e, "'%s'", r.filename);
    img_say(im, "Formatting '%s', fmt=%s%s%s\n", r.filename, format, said && *said ? " " : "", said ? said : "");
    return NULL;
}

/* ---- amend ------------------------------------------------------------------------------ */

static void show_amend(void *opaque, uint64_t done, uint64_t all)
{
    progress_total(opaque, all);
    progress_at(opaque, done);
}

static Err *amend_help(Img *im)
{
    Disk *d = NULL;
    g_autofree char *format = g_strdup(im->a.format);

    if (!format && im->a.nfiles) {
        TRY(img_open(im, im->a.files[0], NULL, OPEN_NO_BACKING | OPEN_NO_IO | OPEN_FORCE_SHARE, &d));
        format = g_strdup(node_format(disk_node(d)));
        disk_free(d);
    }
    if (!format)
        return err_hint(err(ERR_INVALID, "which format's options?"), "Add -f FMT or FILE.");
    const BlockDriver *drv;
    TRY(img_driver(format, &drv));
    g_autofree char *text = driver_amend_help(drv);
    if (!text)
        return err(ERR_UNSUPPORTED, "nothing of format '%s' can be changed afterwards", format);
    fputs(text, stdout);
    return NULL;
}

Err *img_amend(Img *im)
{
    ImgArgs *a = &im->a;
    Disk *d;

    if (img_asks_help(a->options))
        return amend_help(im);
    if (!a->options || !a->nfiles)
        return err_hint(err(ERR_INVALID, "amend needs %s", a->nfiles ? "to be told what to change" : "the name of an image"),
                        "Its form is: %s amend -o NAME=VALUE[,..] FILE; -o help lists the names.", im->program);
    TRY(img_open(im, a->files[0], a->cache ? a->cache : "writeback", OPEN_RW | OPEN_RESIZE | OPEN_CHECK, &d));
    progress_begin(im, "amended", 1);
    Err *e = node_amend(disk_node(d), a->options, a->force, show_amend, im);
    progress_end(im, !e);
    disk_free(d);
    return err_in(e, "'%s'", a->files[0]);
}
