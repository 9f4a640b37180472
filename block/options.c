/* SPDX-License-Identifier: MIT */
/*
 * Options of nodes: trees of JSON, and the ways in which people write them:
 * file names ("nbd://host/x", "json:{..}"), lists with dots
 * ("file.filename=a.img"), cache modes. All of them end up as the tree that
 * blockdev-add takes.
 *
 * A tree that came from outside may mix both forms ("file.filename" as a key of
 * JSON); options_normalise makes nests of the dots. From there on keys hold no
 * dots, and an object whose keys are 0, 1, .. is an array.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "block/block-priv.h"
#include "util/opts.h"

#define OPTIONS_DEEP 64         /* nests, and parts of a dotted name */

static const char *const discard_names[] = { "ignore", "unmap", NULL };
static const char *const detect_names[] = { "off", "on", "unmap", NULL };

const Field node_fields[] = {
    PROP(BlockNode, node_name, .doc = "the name that commands and other nodes use"),
    PROP(BlockNode, opt_read_only, .as = "read-only", .doc = "no writes"),
    PROP(BlockNode, auto_read_only, .doc = "read-only rather than an error where the host allows no writes"),
    PROP(BlockNode, force_share, .doc = "read an image that another process writes"),
    PROP(BlockNode, cache_direct, .as = "cache.direct", .doc = "past the host's page cache"),
    PROP(BlockNode, cache_no_flush, .as = "cache.no-flush", .doc = "a flush does nothing"),
    PROP(BlockNode, discard, .names = discard_names, .doc = "what a discard does"),
    PROP(BlockNode, detect_zeroes, .names = detect_names, .doc = "turns writes of zeroes into zero requests"),
    {0}
};

/* ---- dots and nests */

static json_t *child_object(json_t *at, const char *key)
{
    json_t *sub = json_object_get(at, key);

    if (!sub) {
        sub = json_object();
        json_object_set_new(at, key, sub);
    }
    return sub;
}

static Err *put(json_t *tree, const char *key, json_t *value, unsigned depth);

/* Adds what the object `from` holds. */
static Err *put_all(json_t *to, const json_t *from, unsigned depth)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)from, key, v)
        TRY(put(to, key, v, depth));
    return NULL;
}

/* Elements of an array have nests of their own. */
static Err *copy_array(const json_t *from, json_t **out, unsigned depth)
{
    json_t *to = json_array(), *v;
    size_t i;

    json_array_foreach((json_t *)from, i, v) {
        json_t *copy = NULL;
        Err *e = NULL;

        if (json_is_object(v)) {
            copy = json_object();
            e = put_all(copy, v, depth + 1);
        } else if (json_is_array(v)) {
            e = depth < OPTIONS_DEEP ? copy_array(v, &copy, depth + 1) : err(ERR_INVALID, "options are nested too deeply");
        } else {
            copy = json_incref(v);
        }
        if (e) {
            json_decref(copy);
            json_decref(to);
            return e;
        }
        json_array_append_new(to, copy);
    }
    *out = to;
    return NULL;
}

static Err *put_leaf(json_t *at, const char *key, json_t *value, unsigned depth)
{
    json_t *was = json_object_get(at, key), *copy = NULL;

    if (json_is_object(value) && (!was || json_is_object(was)))
        return put_all(child_object(at, key), value, depth + 1);
    if (was && json_is_object(was) != json_is_object(value))
        return err(ERR_INVALID, "option '%s' is given both as a value and as a group", key);
    if (!json_is_array(value)) {
        json_object_set(at, key, value);
        return NULL;
    }
    TRY(copy_array(value, &copy, depth + 1));
    json_object_set_new(at, key, copy);
    return NULL;
}

/* Sets the dotted key; `value` is borrowed. */
static Err *put(json_t *tree, const char *key, json_t *value, unsigned depth)
{
    g_auto(GStrv) parts = g_strsplit(key, ".", -1);
    json_t *at = tree;
    unsigned n = g_strv_length(parts);

    if (depth + n > OPTIONS_DEEP)
        return err(ERR_INVALID, "options are nested more than %d deep", OPTIONS_DEEP);
    for (unsigned i = 0; i < n; i++) {
        if (!*parts[i])
            return err(ERR_INVALID, "option '%s' has an empty part", key);
        if (i + 1 == n)
            return put_leaf(at, parts[i], value, depth + i);
        at = child_object(at, parts[i]);
        if (!json_is_object(at))
            return err(ERR_INVALID, "option '%s' is given both as a value and as a group ('%s')", parts[i], key);
    }
    return err(ERR_INVALID, "an option has no name");
}

/* {"0":..,"1":..} -> [..]; NULL: it is no list. */
static json_t *as_list(json_t *o)
{
    size_t n = json_object_size(o);

    if (!n)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        char key[24];

        g_snprintf(key, sizeof(key), "%zu", i);
        if (!json_object_get(o, key))
            return NULL;
    }
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char key[24];

        g_snprintf(key, sizeof(key), "%zu", i);
        json_array_append(list, json_object_get(o, key));
    }
    return list;
}

/* Takes v and returns what it is with lists made of numbered groups. */
static json_t *make_lists(json_t *v)
{
    const char *key;
    json_t *sub;
    void *tmp;
    size_t i;

    json_array_foreach(v, i, sub)
        json_array_set_new(v, i, make_lists(json_incref(sub)));
    if (!json_is_object(v))
        return v;
    json_object_foreach_safe(v, tmp, key, sub) {
        if (json_is_object(sub) || json_is_array(sub))
            json_object_set_new(v, key, make_lists(json_incref(sub)));
    }
    json_t *list = as_list(v);
    if (!list)
        return v;
    json_decref(v);
    return list;
}

Err *options_normalise(const json_t *options, json_t **out)
{
    json_t *tree;
    Err *e;

    *out = NULL;
    if (!json_is_object(options))
        return err(ERR_INVALID, "options of a block device are an object {..}");
    tree = json_object();
    e = put_all(tree, options, 0);
    if (e) {
        json_decref(tree);
        return e;
    }
    tree = make_lists(tree);
    if (!json_is_object(tree)) {
        json_decref(tree);
        return err(ERR_INVALID, "options of a block device have names, not numbers alone");
    }
    *out = tree;
    return NULL;
}

char *json_scalar_text(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:  return g_strdup(json_string_value(v));
    case JSON_TRUE:    return g_strdup("on");
    case JSON_FALSE:   return g_strdup("off");
    case JSON_INTEGER: return g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    case JSON_REAL:    return g_strdup_printf("%.17g", json_real_value(v));
    default:           return NULL;
    }
}

static void flatten(json_t *to, const char *prefix, const json_t *v)
{
    g_autofree char *text = json_scalar_text(v);
    const char *key;
    json_t *sub;
    size_t i;

    if (text) {
        json_object_set_new(to, prefix, json_string(text));
        return;
    }
    if (json_is_null(v))
        json_object_set_new(to, prefix, json_string(""));
    json_object_foreach((json_t *)v, key, sub) {
        g_autofree char *name = *prefix ? g_strdup_printf("%s.%s", prefix, key) : g_strdup(key);

        flatten(to, name, sub);
    }
    json_array_foreach((json_t *)v, i, sub) {
        g_autofree char *name = g_strdup_printf("%s%s%zu", prefix, *prefix ? "." : "", i);

        flatten(to, name, sub);
    }
}

json_t *options_flatten(const json_t *tree)
{
    json_t *out = json_object();

    flatten(out, "", tree);
    return out;
}

/* ---- single options */

/* A member of an object, or an element of an array by its number; borrowed. */
static json_t *part_of(const json_t *at, const char *name)
{
    char *end;
    unsigned long i;

    if (!json_is_array(at))
        return json_object_get(at, name);
    i = strtoul(name, &end, 10);
    return g_ascii_isdigit(*name) && !*end ? json_array_get(at, i) : NULL;
}

/* The object that holds the last part of a dotted name, which *last becomes; NULL: not there. */
static json_t *holder(const json_t *options, const char *dotted, const char **last)
{
    const json_t *at = options;

    for (const char *dot; (dot = strchr(dotted, '.')); dotted = dot + 1) {
        g_autofree char *part = g_strndup(dotted, dot - dotted);

        at = part_of(at, part);
        if (!at)
            return NULL;
    }
    *last = dotted;
    return (json_t *)at;
}

json_t *options_get(const json_t *options, const char *dotted)
{
    const char *last;
    json_t *at = holder(options, dotted, &last);

    return at ? part_of(at, last) : NULL;
}

const char *options_str(const json_t *options, const char *dotted)
{
    return json_string_value(options_get(options, dotted));
}

/* Removes it, and the groups that are empty then. */
static void drop(json_t *options, const char *dotted)
{
    g_autofree char *up = g_strdup(dotted);
    const char *last;
    json_t *at = holder(options, dotted, &last);

    if (at)
        json_object_del(at, last);
    for (char *dot; at && (dot = strrchr(up, '.')) && json_is_object(at) && !json_object_size(at); ) {
        *dot = 0;
        at = holder(options, up, &last);
        if (at)
            json_object_del(at, last);
    }
}

/* Words that some options had before, or have as well. */
static const char *modern_word(const char *option, const char *text)
{
    if (!strcmp(option, "discard"))
        return !strcmp(text, "off") ? "ignore" : !strcmp(text, "on") ? "unmap" : text;
    return text;
}

Err *options_take(json_t *options, const Field *table, void *obj)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role != FIELD_PROP)
            continue;
        g_autofree char *name = field_name(f);
        json_t *v = options_get(options, name);
        if (!v)
            continue;
        g_autofree char *text = json_scalar_text(v);
        if (!text)
            return err(ERR_INVALID, "option '%s' takes a value, not a group", name);
        TRY(prop_parse(obj, f, modern_word(name, text)));
        drop(options, name);
    }
    return NULL;
}

/* ---- names */

bool name_has_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

/* The driver that one of whose schemes the name begins with. */
static const BlockDriver *scheme_driver(const char *name)
{
    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d)) {
        for (const char *const *s = d->schemes; s && *s; s++) {
            if (!g_ascii_strncasecmp(name, *s, strlen(*s)))
                return d;
        }
    }
    return NULL;
}

/* A path of the host: the protocol that knows such files best (a device of its own kind), or "file". */
static const char *path_driver(const char *path)
{
    const char *best = "file";
    int sure = 0;

    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d)) {
        int p = d->kind == DRIVER_PROTOCOL && d->probe ? d->probe(NULL, 0, path) : 0;

        if (p > sure) {
            sure = p;
            best = d->name;
        }
    }
    return best;
}

static Err *unknown_scheme(const char *name)
{
    int n = strcspn(name, ":");

    return err_hint(err(ERR_NOT_FOUND, "Unknown protocol '%.*s'", n, name),
                    "If it is a file, write './%s' or 'file:%s'.", name, name);
}

Err *options_from_protocol_name(const char *name, json_t **out)
{
    const BlockDriver *d = scheme_driver(name);
    json_t *o = json_object();
    Err *e = NULL;

    *out = NULL;
    if (!*name) {
        e = err(ERR_INVALID, "the name of the image is empty");
    } else if (d) {
        json_object_set_new(o, "driver", json_string(d->name));
        e = d->parse_name ? d->parse_name(name, o) : NULL;
    } else if (name_has_protocol(name) && !g_str_has_prefix(name, "file:")) {
        e = unknown_scheme(name);
    } else {
        const char *path = g_str_has_prefix(name, "file:") ? name + 5 : name;

        json_object_set_new(o, "driver", json_string(path_driver(path)));
        if (json_object_set_new(o, "filename", json_string(path)))
            e = err(ERR_INVALID, "the name '%s' is not UTF-8", path);
    }
    if (e)
        json_decref(o);
    else
        *out = o;
    return e;
}

static Err *from_json(const char *text, json_t **out)
{
    json_error_t why;
    json_t *parsed = json_loads(text, JSON_REJECT_DUPLICATES, &why);

    if (!parsed)
        return err_in(err(ERR_INVALID, "%s (column %d)", why.text, why.column), "Could not parse the JSON options");
    Err *e = options_normalise(parsed, out);
    json_decref(parsed);
    return e;
}

Err *driver_unknown(const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d))
        g_ptr_array_add(names, (void *)d->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "Unknown driver '%s'", name);
    return near ? err_hint(e, "Did you mean '%s'?", near) : e;
}

Err *options_from_name(const char *name, const char *format, json_t **out)
{
    const BlockDriver *drv = format ? driver_find(format) : NULL;
    json_t *o = NULL, *file = NULL;

    *out = NULL;
    if (format && !drv)
        return driver_unknown(format);
    if (g_str_has_prefix(name, "json:")) {
        TRY(from_json(name + 5, &o));
        if (format)             /* what was said beside the name counts more */
            json_object_set_new(o, "driver", json_string(drv->name));
        *out = o;
        return NULL;
    }
    TRY(options_from_protocol_name(name, &file));
    if (drv && drv->kind == DRIVER_PROTOCOL) {
        json_object_set_new(file, "driver", json_string(drv->name));
        *out = file;
        return NULL;
    }
    o = json_object();
    if (drv)
        json_object_set_new(o, "driver", json_string(drv->name));
    json_object_set_new(o, "file", file);
    *out = o;
    return NULL;
}

static Err *keyval_pair(void *opaque, const char *key, const char *value)
{
    json_t *v = json_string(value);

    if (!v)
        return err(ERR_INVALID, "the value of '%s' is not UTF-8", key);
    Err *e = put(opaque, key, v, 0);
    json_decref(v);
    return e;
}

Err *options_from_keyval(const char *text, json_t **out)
{
    json_t *tree = json_object();
    Opts *o = NULL;
    Err *e;

    *out = NULL;
    e = opts_parse(text, NULL, NULL, &o);
    if (!e)
        e = opts_each(o, keyval_pair, tree);
    opts_free(o);
    if (!e)
        e = options_normalise(tree, out);
    json_decref(tree);
    return e;
}

Err *options_set_cache(json_t *options, const char *mode, bool *writethrough)
{
    static const struct { const char *name; bool direct, no_flush, through; } modes[] = {
        { "writeback" }, { "none", .direct = true }, { "off", .direct = true }, { "unsafe", .no_flush = true },
        { "writethrough", .through = true }, { "directsync", .direct = true, .through = true },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        if (strcmp(mode, modes[i].name))
            continue;
        json_t *cache = child_object(options, "cache");
        json_object_set_new(cache, "direct", json_boolean(modes[i].direct));
        json_object_set_new(cache, "no-flush", json_boolean(modes[i].no_flush));
        *writethrough = modes[i].through;
        return NULL;
    }
    return err_hint(err(ERR_INVALID, "there is no cache mode '%s'", mode),
                    "The modes are: none, writeback, writethrough, directsync, unsafe.");
}

/* ---- drivers by name */

const BlockDriver *driver_next(const BlockDriver *after)
{
    const BlockDriver *const *d = block_set;

    if (!after)
        return *d;
    while (*d && *d != after)
        d++;
    return *d ? d[1] : NULL;
}

const BlockDriver *driver_find(const char *name)
{
    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d)) {
        if (!strcmp(d->name, name))
            return d;
        for (const char *const *a = d->aliases; a && *a; a++) {
            if (!strcmp(*a, name))
                return d;
        }
    }
    return NULL;
}

const char *driver_name(const BlockDriver *drv)
{
    return drv->name;
}
