/* SPDX-License-Identifier: MIT */
/*
 * lyre-img measure: how large a file an image would need in some format.
 */
#include "cmd/img/img.h"

#include <stdio.h>

static void print_measure(const Img *im, const Measure *m)
{
    if (img_json_output(im)) {
        json_t *o = json_object();
        json_object_set_new(o, "required", json_integer((json_int_t)m->required));
        json_object_set_new(o, "fully-allocated", json_integer((json_int_t)m->fully_allocated));
        if (m->has_bitmaps)
            json_object_set_new(o, "bitmaps", json_integer((json_int_t)m->bitmaps));
        img_print_json(o);
        json_decref(o);
        return;
    }
    printf("required size: %llu\nfully allocated size: %llu\n", (unsigned long long)m->required,
           (unsigned long long)m->fully_allocated);
    if (m->has_bitmaps)
        printf("bitmaps size: %llu\n", (unsigned long long)m->bitmaps);
}

Err *img_measure(Img *im)
{
    const ImgArgs *a = &im->a;
    const char *format = a->target_format ? a->target_format : "raw";
    const BlockDriver *drv;
    Measure m = { 0 };
    Disk *d = NULL;
    Err *e = NULL;

    if (img_asks_help(a->options))
        return img_options_help(format, NULL);
    if (a->has_size == (a->nfiles > 0))
        return err_hint(err(ERR_INVALID, a->nfiles ? "an image and --size exclude each other"
                                                   : "there is neither an image nor a size to measure for"),
                        "Its form is: %s measure [-O FMT] FILE, or %s measure [-O FMT] --size SIZE",
                        im->program, im->program);
    TRY(img_driver(format, &drv));
    if (a->nfiles) {
        TRY(img_open(im, a->files[0], NULL, 0, &d));
        if (a->snapshot)
            e = img_load_snapshot(d, a->snapshot);
    }
    if (!e)
        e = image_measure(drv, a->options, d ? disk_node(d) : NULL, d ? img_size(d) : a->size, &m);
    disk_free(d);
    if (e)
        return a->nfiles ? err_in(e, "'%s'", a->files[0]) : e;
    print_measure(im, &m);
    return NULL;
}
