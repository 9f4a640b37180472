/* SPDX-License-Identifier: MIT */
/*
 * lyre-img check: looks for damage and mends it. Exit status: 0 nothing is
 * wrong (any more), 1 the check itself failed, 2 corruption, 3 leaked clusters
 * alone, 63 the format has no check.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { STATUS_FAILED = 1, STATUS_CORRUPT = 2, STATUS_LEAKS = 3, STATUS_NO_CHECK = 63 };

/* Findings are told on stderr, as by qemu-img: scripts read the rest. */
static void print_finding(void *opaque, const char *line)
{
    const Img *im = opaque;

    if (!im->a.quiet)
        fprintf(stderr, "%s\n", line);
}

static void print_human(Img *im, const CheckResult *c)
{
    if (!c->corruptions && !c->leaks && !c->errors) {
        img_say(im, "No errors were found on the image.\n");
    } else {
        if (c->corruptions)
            img_say(im, "\n%lld errors were found on the image.\nData may be corrupted, or further writes to the "
                        "image may corrupt it.\n", (long long)c->corruptions);
        if (c->leaks)
            img_say(im, "\n%lld leaked clusters were found on the image.\nThis means waste of disk space, but no "
                        "harm to data.\n", (long long)c->leaks);
        if (c->errors)
            img_say(im, "\n%lld internal errors have occurred during the check.\n", (long long)c->errors);
    }
    if (c->total_clusters && c->allocated_clusters) {
        double all = c->allocated_clusters;
        img_say(im, "%llu/%llu = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
                (unsigned long long)c->allocated_clusters, (unsigned long long)c->total_clusters,
                all * 100.0 / (double)c->total_clusters, (double)c->fragmented_clusters * 100.0 / all,
                (double)c->compressed_clusters * 100.0 / all);
    }
    if (c->end_offset)
        img_say(im, "Image end offset: %llu\n", (unsigned long long)c->end_offset);
}

static void print_json(Img *im, Disk *d, const CheckResult *c)
{
    json_t *o = json_object();
    const struct { const char *name; uint64_t value; } rows[] = {
        { "image-end-offset", c->end_offset },
        { "corruptions", c->corruptions },
        { "leaks", c->leaks },
        { "corruptions-fixed", c->corruptions_fixed },
        { "leaks-fixed", c->leaks_fixed },
        { "total-clusters", c->total_clusters },
        { "allocated-clusters", c->allocated_clusters },
        { "fragmented-clusters", c->fragmented_clusters },
        { "compressed-clusters", c->compressed_clusters },
    };

    json_object_set_new(o, "filename", json_string(im->a.files[0]));
    json_object_set_new(o, "format", json_string(node_format(disk_node(d))));
    json_object_set_new(o, "check-errors", json_integer(c->errors));
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].value)
            json_object_set_new(o, rows[i].name, json_integer((json_int_t)rows[i].value));
    }
    if (!im->a.quiet)
        img_print_json(o);
    json_decref(o);
}

static Err *run_check(Img *im, Disk *d, CheckResult *c, unsigned fix)
{
    *c = (CheckResult){ .found = print_finding, .opaque = im };
    int ret = node_check(disk_node(d), c, fix);
    if (ret == -ENOTSUP) {
        im->status = STATUS_NO_CHECK;
        return err(ERR_UNSUPPORTED, "'%s': images of format '%s' have nothing that could be checked", im->a.files[0],
                   node_format(disk_node(d)));
    }
    if (ret < 0)
        return err_errno(-ret, "'%s' could not be checked", im->a.files[0]);
    return NULL;
}

static Err *check(Img *im, Disk *d, unsigned fix)
{
    CheckResult c;

    TRY(run_check(im, d, &c, fix));
    if (c.corruptions_fixed || c.leaks_fixed) {
        int64_t corruptions_fixed = c.corruptions_fixed, leaks_fixed = c.leaks_fixed;
        if (!img_json_output(im)) {
            img_say(im, "The following inconsistencies were found and repaired:\n\n    %lld leaked clusters\n"
                        "    %lld corruptions\n\nDouble checking the fixed image now...\n",
                    (long long)leaks_fixed, (long long)corruptions_fixed);
        }
        TRY(run_check(im, d, &c, 0));
        c.corruptions_fixed = corruptions_fixed;
        c.leaks_fixed = leaks_fixed;
    }
    if (img_json_output(im))
        print_json(im, d, &c);
    else
        print_human(im, &c);
    im->status = c.errors ? STATUS_FAILED : c.corruptions ? STATUS_CORRUPT : c.leaks ? STATUS_LEAKS : 0;
    return NULL;
}

Err *img_check(Img *im)
{
    const ImgArgs *a = &im->a;
    const char *cache = a->source_cache ? a->source_cache : "writeback";
    unsigned fix = !a->repair ? 0 : !strcmp(a->repair, "all") ? FIX_LEAKS | FIX_ERRORS : FIX_LEAKS;
    unsigned flags = OPEN_CHECK | OPEN_NO_BACKING;
    Disk *d;

    if (fix && a->share)
        return err_hint(err(ERR_INVALID, "-r and -U exclude each other"),
                        "What is in use cannot be mended. Leave -r or -U away.");
    TRY(fix ? img_open(im, a->files[0], cache, flags | OPEN_RW | OPEN_RESIZE, &d)
            : img_open_live(im, a->files[0], cache, flags, &d));
    Err *e = check(im, d, fix);
    disk_free(d);
    return e;
}
