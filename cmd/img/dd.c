/* SPDX-License-Identifier: MIT */
/*
 * lyre-img dd: copies blocks of one image into a new one. Operands are dd(1)'s:
 * count counts blocks that are copied, skip those that are left out in front.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/copy.h"
#include "util/str.h"

typedef struct Dd {
    const char *in, *out;
    uint64_t bs, count, skip;
    bool has_count;
} Dd;

static Err *operand(Dd *d, const char *text)
{
    static const char *const names[] = { "if", "of", "bs", "count", "skip", NULL };
    const char *value = strchr(text, '=');
    g_autofree char *name = g_strndup(text, value ? (size_t)(value - text) : strlen(text));

    if (value && !strcmp(name, "if")) {
        d->in = value + 1;
    } else if (value && !strcmp(name, "of")) {
        d->out = value + 1;
    } else if (value && !strcmp(name, "bs")) {
        TRY(err_in(parse_size(value + 1, 1, &d->bs), "bs"));
        if (!d->bs || d->bs > INT32_MAX)
            return err(ERR_INVALID, "bs: a block has 1 to 2147483647 bytes");
    } else if (value && !strcmp(name, "count")) {
        TRY(err_in(parse_size(value + 1, 1, &d->count), "count"));
        d->has_count = true;
    } else if (value && !strcmp(name, "skip")) {
        TRY(err_in(parse_size(value + 1, 1, &d->skip), "skip"));
    } else {
        const char *near = nearest_name(name, names);
        Err *e = err(ERR_INVALID, "dd has no operand '%s'", text);
        return near ? err_hint(e, "Did you mean '%s='?", near) : err_hint(e, "There are: if= of= bs= count= skip=");
    }
    return NULL;
}

/* The part of the source: off, len. */
static void range(const Dd *d, uint64_t size, uint64_t *off, uint64_t *len)
{
    if (__builtin_mul_overflow(d->skip, d->bs, off) || *off > size)
        *off = size;
    *len = size - *off;
    uint64_t most;
    if (d->has_count && !__builtin_mul_overflow(d->count, d->bs, &most))
        *len = MIN(*len, most);
}

static void show_progress(void *opaque, const CopyStats *s)
{
    progress_saved(opaque, s->saved, "not stored");
    progress_at(opaque, s->done);
}

static Err *copy(Img *im, const Dd *d, Disk *from, Disk *to, uint64_t off, uint64_t len)
{
    CopyConfig k = copy_defaults(from, to);
    Copy *copy;
    uint64_t at = 0;
    Err *e = NULL;

    k.off = off;
    k.len = len;
    k.in_order = true;
    k.target_is_zero = true;
    k.cancel = img_stop_flag();
    k.progress = show_progress;
    k.opaque = im;
    TRY(copy_new(&k, &copy));
    progress_begin(im, "copied", 1);
    progress_total(im, len);
    int ret = copy_run(copy);
    if (ret >= 0)
        ret = disk_flush(to);
    if (ret == -ECANCELED)
        e = img_stopped("'%s' is a proper image that holds the first %llu bytes.", d->out,
                        (unsigned long long)copy_stats(copy)->done);
    else if (ret < 0)
        e = copy_failed_reading(copy, &at)
            ? err_errno(-ret, "'%s' cannot be read at offset %llu", d->in, (unsigned long long)at)
            : err_errno(-ret, "'%s' cannot be written at offset %llu", d->out, (unsigned long long)at);
    progress_end(im, !e);
    copy_free(copy);
    return e;
}

static Err *run(Img *im, const Dd *d, Disk *from, Disk **to)
{
    const char *format = im->a.target_format ? im->a.target_format : "raw";
    const BlockDriver *drv;
    uint64_t off, len;
    json_t *o;

    range(d, img_size(from), &off, &len);
    if (d->skip && off == img_size(from))
        err_note("'%s' ends in front of block %llu: there is nothing to copy", d->in, (unsigned long long)d->skip);
    TRY(img_driver(format, &drv));
    TRY(guard(im, d->out, "overwriting"));
    const CreateRequest r = { .filename = d->out, .format = format, .size = len };
    TRY(err_in(image_create(im->graph, &r, NULL), "'%s'", d->out));
    TRY(img_options(d->out, format, false, "unsafe", &o, NULL));
    Err *e = disk_open(im->graph, o, OPEN_RW | OPEN_RESIZE, "dd", to);
    json_decref(o);
    return e ? e : copy(im, d, from, *to, off, len);
}

Err *img_dd(Img *im)
{
    Dd d = { .bs = 512 };
    Disk *from = NULL, *to = NULL;

    for (unsigned i = 0; i < im->a.nfiles; i++)
        TRY(operand(&d, im->a.files[i]));
    if (!d.in || !d.out)
        return err_hint(err(ERR_INVALID, "dd needs %s", !d.in ? "an input" : "an output"),
                        "Its form is: %s dd [OPTION]... %s", im->program, im->cmd->operands);
    TRY(img_open(im, d.in, NULL, 0, &from));
    Err *e = run(im, &d, from, &to);
    disk_free(from);
    disk_free(to);
    return e;
}
