/* SPDX-License-Identifier: MIT */
/*
 * Opens images as the command line means them.
 */
#include "cmd/img/img.h"

#include <string.h>

#include "block/driver.h"
#include "block/objects.h"

Err *img_driver(const char *format, const BlockDriver **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    *out = driver_find(format);
    if (*out)
        return NULL;
    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d))
        g_ptr_array_add(names, (void *)driver_name(d));
    g_ptr_array_add(names, NULL);
    Err *e = err(ERR_NOT_FOUND, "there is no format '%s'", format);
    const char *near = nearest_name(format, (const char *const *)names->pdata);
    g_autofree char *all = g_strjoinv(" ", (char **)names->pdata);
    return near ? err_hint(e, "Did you mean '%s'?", near) : err_hint(e, "There are: %s", all);
}

Err *img_options(const char *name, const char *format, bool image_opts, const char *cache,
                 json_t **options, bool *writethrough)
{
    const BlockDriver *drv;
    bool through = false;
    json_t *o = NULL;

    *options = NULL;
    if (format)
        TRY(img_driver(format, &drv));
    TRY(image_opts ? options_from_keyval(name, &o) : options_from_name(name, format, &o));
    if (cache) {
        Err *e = options_set_cache(o, cache, &through);
        if (e) {
            json_decref(o);
            return e;
        }
    }
    *options = o;
    if (writethrough)
        *writethrough = through;
    return NULL;
}

Err *img_open_as(Img *im, const char *name, const char *format, bool image_opts, const char *cache,
                 unsigned flags, Disk **out)
{
    bool writethrough;
    json_t *options;

    *out = NULL;
    Err *e = img_options(name, format, image_opts, cache, &options, &writethrough);
    if (!e) {
        flags |= im->a.share && !(flags & OPEN_RW) ? OPEN_FORCE_SHARE : 0;
        e = disk_open(im->graph, options, flags, im->cmd->name, out);
        json_decref(options);
    }
    if (e && image_opts)
        return err_in(e, "--image-opts %s", name);
    if (e) {
        g_autofree char *quoted = g_strdup_printf("'%s'", name);
        return strstr(err_text(e), quoted) ? e : err_in(e, "%s", quoted);
    }
    disk_set_writethrough(*out, writethrough);
    return NULL;
}

Err *img_open(Img *im, const char *name, const char *cache, unsigned flags, Disk **out)
{
    return img_open_as(im, name, im->a.format, im->a.image_opts, cache, flags, out);
}

Err *img_open_live(Img *im, const char *name, const char *cache, unsigned flags, Disk **out)
{
    Err *e = img_open(im, name, cache, flags, out);

    if (!e || err_class(e) != ERR_BUSY || im->a.share)
        return e;
    err_free(e);
    TRY(img_open(im, name, cache, flags | OPEN_FORCE_SHARE, out));
    err_note("'%s' is live: another process has it open for writing, and may change what is told here", name);
    return NULL;
}

Err *img_add_objects(Img *im)
{
    for (guint i = 0; im->a.objects && i < im->a.objects->len; i++) {
        const char *text = im->a.objects->pdata[i];
        TRY(err_in(objects_add(graph_objects(im->graph), text), "--object %s", text));
    }
    return NULL;
}

char *img_creation_option(const char *options, const char *name)
{
    json_t *tree, *flat;
    char *value = NULL;

    if (!options)
        return NULL;
    Err *e = options_from_keyval(options, &tree);
    if (e) {                        /* whoever obeys them says what is wrong */
        err_free(e);
        return NULL;
    }
    flat = options_flatten(tree);
    value = g_strdup(json_string_value(json_object_get(flat, name)));
    json_decref(flat);
    json_decref(tree);
    return value;
}

uint64_t img_size(Disk *d)
{
    return (disk_size(d) + 511) & ~UINT64_C(511);
}

/* "nbd:", "json:", "https:": not the name of a file. A slash in front of the colon makes it one. */
static bool has_scheme(const char *name)
{
    size_t n = strcspn(name, ":/");

    return n && name[n] == ':';
}

char *img_backing_path(const char *image, const char *backing)
{
    if (backing[0] == '/' || has_scheme(backing))
        return g_strdup(backing);
    const char *slash = strrchr(image, '/');
    return slash ? g_strdup_printf("%.*s/%s", (int)(slash - image), image, backing) : g_strdup(backing);
}
