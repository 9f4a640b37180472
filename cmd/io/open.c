/* SPDX-License-Identifier: MIT */
/*
 * open, close, reopen, and the same of the command line.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd/io/io.h"

bool io_open_option(OpenArgs *a, int letter, const char *arg)
{
    switch (letter) {
    case 'r': a->read_only = true; break;
    case 's': a->snapshot = true; break;
    case 'n': a->nocache = true; break;
    case 'C': a->copy_on_read = true; break;
    case 'k': a->native = true; break;
    case 'U': a->share = true; break;
    case 't': a->cache = arg; break;
    case 'd': a->discard = arg; break;
    case 'i': a->aio = arg; break;
    default: return false;
    }
    return true;
}

/* ---- options */

static Err *check_words(const OpenArgs *a)
{
    static const char *const discards[] = { "ignore", "off", "unmap", "on", NULL };
    static const char *const caches[] = { "none", "off", "writeback", "writethrough", "directsync", "unsafe", NULL };
    static const char *const aios[] = { "threads", "native", "io_uring", NULL };

    if (a->cache && !g_strv_contains(caches, a->cache))
        return err(ERR_INVALID, "Invalid cache option: %s", a->cache);
    if (a->discard && !g_strv_contains(discards, a->discard))
        return err(ERR_INVALID, "Invalid discard option: %s", a->discard);
    if (a->aio && !g_strv_contains(aios, a->aio))
        return err(ERR_INVALID, "Invalid aio option: %s", a->aio);
    return NULL;
}

/* The file's own options: below all formats. */
static json_t *leaf_of(json_t *o)
{
    json_t *below;

    while ((below = json_object_get(o, "file")) && json_is_object(below))
        o = below;
    return o;
}

static bool is_host_file(const json_t *leaf)
{
    const char *driver = json_string_value(json_object_get(leaf, "driver"));

    return !driver || !strcmp(driver, "file") || !strcmp(driver, "host_device");
}

static Err *name_options(const OpenArgs *a, const char *name, json_t **out)
{
    json_t *given = NULL;
    const char *format = a->format;
    Err *e = NULL;

    *out = NULL;
    if (a->options)
        TRY(options_from_keyval(a->options, &given));
    if (!name) {
        *out = given;
        return NULL;
    }
    if (!format)
        format = json_string_value(json_object_get(given, "driver"));
    e = a->image_opts ? options_from_keyval(name, out) : options_from_name(name, format, out);
    if (!e && given)
        json_object_update_recursive(*out, given);
    json_decref(given);
    return e;
}

static Err *make_options(const OpenArgs *a, const char *name, json_t **out, bool *through)
{
    json_t *o, *leaf;

    TRY(name_options(a, name, &o));
    leaf = leaf_of(o);
    if (a->aio || a->native) {
        if (!is_host_file(leaf)) {
            json_decref(o);
            return err(ERR_UNSUPPORTED, "the option -i (or -k) is for files and devices of this host");
        }
        json_object_set_new(leaf, "aio", json_string(a->aio ? a->aio : "native"));
    }
    if (a->discard || !json_object_get(o, "discard"))
        json_object_set_new(o, "discard", json_string(a->discard ? a->discard : "unmap"));
    Err *e = options_set_cache(o, a->nocache && !a->cache ? "none" : a->cache ? a->cache : "writeback", through);
    if (e) {
        json_decref(o);
        return e;
    }
    *out = o;
    return NULL;
}

static Err *open_tree(Io *io, const OpenArgs *a, json_t *options)
{
    unsigned flags = (a->read_only ? 0 : OPEN_RW | OPEN_RESIZE) | (a->share ? OPEN_FORCE_SHARE : 0);
    json_t *o = json_incref(options);
    g_autofree char *temporary = NULL;
    Err *e;

    if (a->snapshot) {
        json_decref(o);
        TRY(overlay_options(io->graph, options, &temporary, &o));
        flags |= OPEN_TEMPORARY;
    }
    if (a->copy_on_read)
        o = json_pack("{s:s, s:o}", "driver", "copy-on-read", "file", o);
    e = disk_open(io->graph, o, flags, "lyre-io", &io->disk);
    if (e && temporary)
        unlink(temporary);
    json_decref(o);
    return e;
}

int io_open_image(Io *io, const OpenArgs *a, const char *name)
{
    bool through = false;
    json_t *o = NULL;
    Err *e = check_words(a);

    if (e)
        return io_error(e);
    e = make_options(a, name, &o, &through);
    if (!e && a->copy_on_read && a->read_only)
        e = err(ERR_INVALID, "Can't use copy-on-read on read-only device");
    if (!e)
        e = open_tree(io, a, o);
    json_decref(o);
    if (e)
        return io_error(a->options && !name ? err_in(e, "can't open")
                        : a->image_opts ? err_in(e, "can't open") : err_in(e, "can't open device %s", name));
    disk_set_writethrough(io->disk, through);
    return 0;
}

void io_close_image(Io *io)
{
    io_aio_wait(io);
    disk_free(io->disk);
    io->disk = NULL;
}

/* ---- the commands */

int io_open(Io *io, int argc, char **argv)
{
    g_autoptr(GString) options = g_string_new(NULL);
    OpenArgs a = { .image_opts = io->image_opts };
    int letter;

    optind = 0;
    while ((letter = getopt(argc, argv, IO_OPEN_LETTERS "o:f:")) != -1) {
        if (letter == 'o')
            g_string_append_printf(options, "%s%s", options->len ? "," : "", optarg);
        else if (letter == 'f' || !io_open_option(&a, letter, optarg))
            return io_usage("open");
    }
    if (options->len)
        a.options = options->str;
    if (optind < argc - 1 || (optind == argc && !a.options))
        return io_usage("open");
    if (io->disk)
        return io_error(err(ERR_BUSY, "file open already, try 'help close'"));
    return io_open_image(io, &a, argv[optind]);
}

int io_close(Io *io, int argc, char **argv)
{
    io_close_image(io);
    return 0;
}

static Err *reopen(Io *io, const char *options, const char *cache, int rw)
{
    BlockNode *n = disk_node(io->disk);
    const OpenArgs words = { .cache = cache };
    bool through;
    json_t *o;
    Err *e = NULL;

    TRY(check_words(&words));
    if (options)
        TRY(options_from_keyval(options, &o));
    else
        o = json_object();
    if (json_object_get(o, "driver") && strcmp(json_string_value(json_object_get(o, "driver")), node_format(n)))
        e = err(ERR_INVALID, "Cannot change the option 'driver'");
    if (!e && rw && json_object_get(o, "read-only"))
        e = err(ERR_INVALID, "Cannot set both -r/-w and 'read-only'");
    if (!e && cache)
        e = options_set_cache(o, cache, &through);
    if (!e && rw)
        json_object_set_new(o, "read-only", json_boolean(rw == 'r'));
    if (!e && rw == 'r')
        e = disk_set_perm(io->disk, PERM_CONSISTENT_READ, PERM_ALL);
    if (!e)
        e = node_reopen(n, o);
    json_decref(o);
    if (!e && cache)
        disk_set_writethrough(io->disk, through);
    if (!e && !node_read_only(n))
        e = disk_set_perm(io->disk, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL);
    return e;
}

int io_reopen(Io *io, int argc, char **argv)
{
    g_autoptr(GString) options = g_string_new(NULL);
    const char *cache = NULL;
    int letter, rw = 0;

    optind = 0;
    while ((letter = getopt(argc, argv, "c:o:rw")) != -1) {
        if (letter == 'c')
            cache = optarg;
        else if (letter == 'o')
            g_string_append_printf(options, "%s%s", options->len ? "," : "", optarg);
        else if (letter == '?')
            return io_usage("reopen");
        else if (rw)
            return io_error(err(ERR_INVALID, "Only one -r/-w option may be given"));
        else
            rw = letter;
    }
    if (optind != argc)
        return io_usage("reopen");
    io_aio_wait(io);
    Err *e = reopen(io, options->len ? options->str : NULL, cache, rw);
    return e ? io_error(e) : 0;
}
