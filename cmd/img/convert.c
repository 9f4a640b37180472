/* SPDX-License-Identifier: MIT */
/*
 * lyre-img convert: copies one image, or several behind each other, into a new
 * one. block/copy.h does the copying; here are the checks, the target's
 * creation, and what is said about it.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "block/bitmap.h"
#include "block/copy.h"
#include "block/driver.h"
#include "cmd/img/resume.h"

typedef struct Convert {
    Img *im;
    const char *target;
    const char *format;         /* of the target; NULL with --target-image-opts */
    char **names;
    Disk **from;                /* one for each source */
    unsigned count;
    uint64_t total, before;     /* bytes of all sources; of those that are done */
    uint64_t saved;
    Disk *to;
    bool created, resumed, overlay;
} Convert;

/* ---- the sources ------------------------------------------------------------------------ */

static Err *open_sources(Convert *c)
{
    const ImgArgs *a = &c->im->a;
    const char *cache = a->source_cache ? a->source_cache : "writeback";

    if (a->snapshot && c->count > 1)
        return err_hint(err(ERR_UNSUPPORTED, "-l takes a snapshot of one image, and there are %u", c->count),
                        "Convert each by itself.");
    for (unsigned i = 0; i < c->count; i++) {
        TRY(img_open(c->im, c->names[i], cache, 0, &c->from[i]));
        if (a->snapshot)
            TRY(err_in(img_load_snapshot(c->from[i], a->snapshot), "'%s': -l %s", c->names[i], a->snapshot));
        if (__builtin_add_overflow(c->total, img_size(c->from[i]), &c->total) || c->total > BLOCK_MAX_SIZE)
            return err(ERR_INVALID, "the sources are too large together for one disk");
    }
    return NULL;
}

/* ---- the target --------------------------------------------------------------------------- */

/* What opening a new target needs of the options that made it: the key of an encrypted one. */
static bool take_secret(const char *given, json_t *options)
{
    g_autofree char *luks = img_creation_option(given, "key-secret");
    g_autofree char *key = img_creation_option(given, "encrypt.key-secret");
    g_autofree char *format = img_creation_option(given, "encrypt.format");

    if (luks)
        json_object_set_new(options, "key-secret", json_string(luks));
    if (key)
        json_object_set_new(options, "encrypt.key-secret", json_string(key));
    if (key && format)
        json_object_set_new(options, "encrypt.format", json_string(format));
    return luks || key;
}

static bool is_file(const char *name)
{
    struct stat st;

    return !stat(name, &st) && S_ISREG(st.st_mode);
}

/* A file that was just made reads as zeroes, unless what reads it decrypts. */
static bool reads_as_zero(const Convert *c, bool encrypted)
{
    const char *options = c->im->a.options ? c->im->a.options : "";

    if (c->im->a.target_is_zero)
        return true;
    return c->created && is_file(c->target) && !strstr(options, "data_file=") &&
           !(encrypted && (!strcmp(c->format, "luks") || strstr(options, "preallocation=")));
}

static Err *create_target(Convert *c)
{
    const ImgArgs *a = &c->im->a;
    const CreateRequest r = {
        .filename = c->target, .format = c->format, .options = a->options, .backing = a->backing,
        .backing_format = a->backing_format, .size = c->total,
    };

    TRY(guard(c->im, c->target, "overwriting"));
    TRY(err_in(image_create(c->im->graph, &r, NULL), "'%s'", c->target));
    c->created = true;
    return NULL;
}

static Err *open_target(Convert *c, bool *zero)
{
    const ImgArgs *a = &c->im->a;
    bool through, encrypted = false;
    json_t *o;

    TRY(img_options(c->target, c->format, a->target_image_opts, a->cache ? a->cache : "unsafe", &o, &through));
    if (c->created || c->resumed)
        encrypted = take_secret(a->options, o);
    Err *e = disk_open(c->im->graph, o, OPEN_RW | OPEN_RESIZE, "convert", &c->to);
    json_decref(o);
    if (e)
        return e;
    disk_set_writethrough(c->to, through);
    *zero = reads_as_zero(c, encrypted);
    if (c->resumed && img_size(c->to) != c->total)
        return err_hint(err(ERR_INVALID, "'%s' is no unfinished copy: it holds %llu bytes, and the sources have %llu",
                            c->target, (unsigned long long)img_size(c->to), (unsigned long long)c->total),
                        "Leave --resume away: the copy begins anew.");
    if (!c->created && img_size(c->to) < c->total)
        return err_hint(err(ERR_INVALID, "'%s' holds %llu bytes, and the sources have %llu", c->target,
                            (unsigned long long)img_size(c->to), (unsigned long long)c->total),
                        "Make it larger: %s resize %s %llu", c->im->program, c->target, (unsigned long long)c->total);
    if (!c->created && !a->target_image_opts)
        return guard_node(c->im, disk_node(c->to), "overwriting");
    return NULL;
}

static Err *check_compression(const Convert *c)
{
    const BlockDriver *drv = c->to ? node_skip_filters(disk_node(c->to))->drv : driver_find(c->format);

    if (!c->im->a.compress || !drv || drv->can_compress)
        return NULL;
    return err_hint(err(ERR_UNSUPPORTED, "images of format '%s' cannot be compressed", driver_name(drv)),
                    "qcow2 can (-O qcow2), and vmdk with -o subformat=streamOptimized. Or leave -c away.");
}

/* ---- bitmaps -------------------------------------------------------------------------------- */

static Err *check_bitmaps(const Convert *c)
{
    const BlockNode *n = node_skip_filters(disk_node(c->from[0]));

    for (const DirtyBitmap *b = n->bitmaps; b; b = b->next) {
        if (!b->persistent || !b->inconsistent || c->im->a.skip_broken)
            continue;
        return err_hint(err(ERR_INVALID, "the bitmap '%s' of '%s' was not stored properly, and cannot be copied",
                            b->name, c->names[0]),
                        "--skip-broken-bitmaps leaves it out; '%s bitmap --remove %s %s' removes it.",
                        c->im->program, c->names[0], b->name);
    }
    return NULL;
}

static Err *copy_bitmaps(const Convert *c)
{
    BlockNode *from = node_skip_filters(disk_node(c->from[0])), *to = node_skip_filters(disk_node(c->to));

    for (const DirtyBitmap *b = from->bitmaps; b; b = b->next) {
        DirtyBitmap *copy;
        if (!b->persistent)
            continue;
        if (b->inconsistent) {
            err_note("the bitmap '%s' was not stored properly, and is left out", b->name);
            continue;
        }
        TRY(err_in(img_add_bitmap(to, b->name, b->granularity, &copy), "the bitmap '%s'", b->name));
        copy->disabled = b->disabled;
        TRY(err_in(bitmap_merge(copy, b), "the bitmap '%s'", b->name));
    }
    return NULL;
}

/* ---- the copy --------------------------------------------------------------------------------- */

static void show_progress(void *opaque, const CopyStats *s)
{
    Convert *c = opaque;

    uint64_t done = c->before + s->done;
    int64_t used = c->im->a.compress ? node_allocated(disk_node(c->to)) : -1;

    if (used >= 0)
        progress_saved(c->im, done - MIN(done, (uint64_t)used), "saved by compression");
    else
        progress_saved(c->im, c->saved + s->saved, "not stored");
    progress_at(c->im, c->before + s->done);
}

static void tell_lost(void *opaque, uint64_t off, uint64_t len, int error)
{
    const Convert *c = opaque;

    if (!c->im->a.quiet)
        err_note("%llu bytes at offset %llu cannot be read (%s): they become zeroes", (unsigned long long)len,
                 (unsigned long long)(c->before + off), g_strerror(error));
}

static Err *copy_error(const Convert *c, const char *from, const CopyStats *s, const ResumeEnd *end)
{
    unsigned long long off = end->at;

    if (end->ret == -ECANCELED)
        return img_stopped("'%s' is a proper image that holds a part of the data (%.0f %% is done). The same command "
                           "with --resume goes on.", c->target,
                           c->total ? 100.0 * (double)(c->before + s->done) / (double)c->total : 0);
    if (end->reading)
        return err_hint(err_errno(-end->ret, "'%s' cannot be read at offset %llu", from, off),
                        "--salvage copies what can be read.");
    Err *e = err_errno(-end->ret, "'%s' cannot be written at offset %llu", c->target, off);
    if (end->ret == -ENOSPC)
        e = err_hint(e, "'%s measure -O %s %s' says how much room it needs.", c->im->program,
                     c->format ? c->format : "FMT", from);
    return e;
}

static Err *run_copy(const CopyConfig *k, CopyStats *stats, ResumeEnd *end)
{
    Copy *copy;

    TRY(copy_new(k, &copy));
    end->ret = copy_run(copy);
    end->reading = end->ret < 0 && copy_failed_reading(copy, &end->at);
    *stats = *copy_stats(copy);
    copy_free(copy);
    return NULL;
}

static Err *copy_one(Convert *c, unsigned i, bool zero)
{
    const ImgArgs *a = &c->im->a;
    CopyConfig k = copy_defaults(c->from[i], c->to);
    CopyStats stats = { 0 };
    ResumeEnd end = { 0 };

    k.to_off = c->before;
    k.above = c->overlay;
    k.base = c->overlay ? node_backing(node_skip_filters(disk_node(c->from[i]))) : NULL;
    k.workers = a->has_workers ? (unsigned)a->workers : 0;
    k.in_order = !a->out_of_order;
    k.compress = a->compress;
    k.target_is_zero = zero && !c->overlay;
    if (a->has_sparse)
        k.sparse = (uint32_t)a->sparse;
    k.offload = a->offload;
    k.salvage = a->salvage;
    k.rate = a->rate;
    k.zero_flags = REQ_UNMAP;
    k.cancel = img_stop_flag();
    k.progress = show_progress;
    k.read_error = tell_lost;
    k.opaque = c;
    TRY(err_in(c->resumed ? resume_run(&k, &stats, &end) : run_copy(&k, &stats, &end), "'%s'", c->target));
    Err *e = end.ret < 0 ? copy_error(c, c->names[i], &stats, &end) : NULL;
    c->saved += stats.saved;
    c->before += img_size(c->from[i]);
    return e;
}

static Err *copy_all(Convert *c, bool zero)
{
    Err *e = NULL;

    progress_begin(c->im, "converted", 1);
    progress_total(c->im, c->total);
    for (unsigned i = 0; i < c->count && !e; i++)
        e = copy_one(c, i, zero);
    if (!e && c->im->a.bitmaps)
        e = copy_bitmaps(c);
    if (!e) {
        int ret = disk_flush(c->to);
        if (ret < 0)
            e = err_errno(-ret, "'%s' cannot be written", c->target);
    }
    progress_end(c->im, !e);
    return e;
}

/* ---- the command ------------------------------------------------------------------------------ */

typedef struct Rule {
    bool broken;
    const char *what, *how;
} Rule;

static Err *check_args(const ImgArgs *a)
{
    const Rule rules[] = {
        { a->skip_broken && !a->bitmaps, "--skip-broken-bitmaps is for --bitmaps", "Add --bitmaps." },
        { a->compress && a->offload, "-C and -c exclude each other: the host does not compress", "Leave -C away." },
        { a->has_sparse && a->offload, "-C and -S exclude each other: the host does not look for zeroes",
          "Leave -C away." },
        { a->salvage && a->offload, "-C and --salvage exclude each other", "Leave -C away." },
        { a->target_image_opts && !a->no_create, "--target-image-opts is for images that are there already",
          "Make it with create, and add -n." },
        { a->no_create && a->options, "-o is for new images, and -n makes none", "Leave -o or -n away." },
        { a->target_is_zero && !a->no_create, "--target-is-zero is about images that are there already", "Add -n." },
        { a->target_is_zero && a->backing, "--target-is-zero and -b exclude each other: the backing file shines through",
          "Leave --target-is-zero away." },
        { a->has_sparse && a->sparse % 512, "the size of -S has to be a multiple of 512", "4k is usual; 0 writes all." },
        { a->resume && a->backing, "--resume and -b exclude each other", "Leave --resume away: the copy begins anew." },
        { a->nfiles < 2, "convert needs a source and a target", "Its form is: convert [OPTION]... SOURCE... TARGET" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rules); i++) {
        if (rules[i].broken)
            return err_hint(err(ERR_INVALID, "%s", rules[i].what), "%s", rules[i].how);
    }
    return NULL;
}

static Err *convert(Convert *c)
{
    const ImgArgs *a = &c->im->a;
    const BlockDriver *drv;
    bool zero;

    if (c->format)
        TRY(img_driver(c->format, &drv));
    TRY(open_sources(c));
    if (a->bitmaps)
        TRY(c->count > 1 ? err(ERR_UNSUPPORTED, "--bitmaps copies those of one image, and there are %u", c->count)
                         : check_bitmaps(c));
    if (c->format)
        TRY(check_compression(c));
    c->resumed = a->resume && is_file(c->target);
    if (!a->no_create && !c->resumed)
        TRY(create_target(c));
    TRY(open_target(c, &zero));
    TRY(check_compression(c));
    return copy_all(c, zero);
}

Err *img_convert(Img *im)
{
    const ImgArgs *a = &im->a;
    Convert c = { .im = im };

    if (img_asks_help(a->options))
        return img_options_help(a->target_format ? a->target_format : "raw", a->nfiles ? a->files[a->nfiles - 1] : NULL);
    TRY(check_args(a));
    c.count = a->nfiles - 1;
    c.names = a->files;
    c.target = a->files[c.count];
    g_autofree char *backing = img_creation_option(a->options, "backing_file");
    c.overlay = a->backing || backing;
    c.format = a->target_image_opts ? NULL : a->target_format ? a->target_format : "raw";
    c.from = g_new0(Disk *, c.count);
    Err *e = convert(&c);
    for (unsigned i = 0; i < c.count; i++)
        disk_free(c.from[i]);
    disk_free(c.to);
    g_free(c.from);
    return e;
}
