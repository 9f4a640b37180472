/* SPDX-License-Identifier: MIT */
/*
 * lyre-img snapshot: the internal snapshots of an image.
 */
#include "cmd/img/img.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* "ID or name", or "snapshot.id=ID,snapshot.name=NAME". */
Err *img_load_snapshot(Disk *d, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    const char *id = NULL, *name = NULL;

    for (char **p = parts; *p; p++) {
        if (g_str_has_prefix(*p, "snapshot.id="))
            id = *p + strlen("snapshot.id=");
        else if (g_str_has_prefix(*p, "snapshot.name="))
            name = *p + strlen("snapshot.name=");
    }
    return node_snapshot_load(node_skip_filters(disk_node(d)), id ? id : name ? name : text);
}

static Err *list(BlockNode *n)
{
    Snapshot *all;
    unsigned count;
    Err *e = node_snapshots(n, &all, &count);

    if (e && err_class(e) == ERR_UNSUPPORTED) {     /* none, then: qemu-img says nothing either */
        err_free(e);
        return NULL;
    }
    if (e)
        return e;
    if (count) {
        puts("Snapshot list:");
        img_print_snapshots(all, count);
    }
    snapshots_free(all, count);
    return NULL;
}

static Err *create(BlockNode *n, char *name)
{
    struct timespec now;
    Snapshot s = { .name = name, .disk_size = node_size(n) };

    clock_gettime(CLOCK_REALTIME, &now);
    s.date_sec = (uint32_t)now.tv_sec;
    s.date_nsec = (uint32_t)now.tv_nsec;
    Err *e = node_snapshot_create(n, &s);
    g_free(s.id);
    return e;
}

/* It is done all the same, as scripts (and libvirt) expect it that know what they do with what lies above. */
static void warn_of_overlays(Img *im, BlockNode *n)
{
    Err *e = guard_node(im, n, "going back to a snapshot");

    if (e)
        err_note("%s", err_text(e));
    err_free(e);
}

Err *img_snapshot(Img *im)
{
    ImgArgs *a = &im->a;
    bool change = a->create || a->apply || a->delete;
    Disk *d;
    Err *e;

    if (!!a->create + !!a->apply + !!a->delete + a->list > 1)
        return err_hint(err(ERR_INVALID, "-l, -c, -a and -d exclude each other"), "Give one of them at a time.");
    if (change && a->share)
        return err_hint(err(ERR_INVALID, "-U is for listing"), "An image that is in use cannot be changed. Leave -U away.");
    TRY(img_open(im, a->files[0], NULL, OPEN_NO_BACKING * !a->apply | (change ? OPEN_RW | OPEN_RESIZE : 0), &d));
    BlockNode *n = node_skip_filters(disk_node(d));
    if (a->create) {
        e = create(n, a->create);
    } else if (a->apply) {
        warn_of_overlays(im, n);
        e = node_snapshot_apply(n, a->apply);
    } else if (a->delete) {
        e = node_snapshot_delete(n, a->delete);
    } else {
        e = list(n);
    }
    disk_free(d);
    return err_in(e, "'%s'", a->files[0]);
}
