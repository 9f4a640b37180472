/* SPDX-License-Identifier: MIT */
/*
 * -netdev: its argument, key=value or JSON, becomes the properties of a backend.
 * JSON is flattened to the same pairs: {"addr":{"type":"inet"}} is addr.type=inet,
 * {"hostfwd":[{"str":"tcp::22-:22"}]} is hostfwd=tcp::22-:22.
 */
#include <string.h>

#include "net/net-priv.h"
#include "util/opts.h"

const char *const net_many[] = { "may be given more than once", NULL };

/* Types of QEMU's that are not here. */
static const struct { const char *name, *instead; } absent[] = {
    { "l2tpv3", "Make the tunnel with 'ip l2tp' on the host, and use -netdev tap or bridge." },
    { "vde", "vde_plug joins a VDE switch to -netdev stream or tap." },
    { "vhost-user", "Use -netdev tap, or stream." },
    { "vhost-vdpa", "Use -netdev tap." },
    { "netmap", "Use -netdev tap." },
    { "af-xdp", "Use -netdev tap." },
    { "passt", "Start passt yourself, and use -netdev stream,addr.type=unix,addr.path=SOCKET,server=off." },
    { "vmnet-host", "That is macOS's; use -netdev user or tap." },
    { "vmnet-shared", "That is macOS's; use -netdev user or tap." },
    { "vmnet-bridged", "That is macOS's; use -netdev user or tap." },
};

/* ---- pairs */

typedef struct Pairs { GPtrArray *keys, *values; } Pairs;

static Err *add_pair(void *opaque, const char *key, const char *value)
{
    Pairs *p = opaque;

    g_ptr_array_add(p->keys, g_strdup(key));
    g_ptr_array_add(p->values, g_strdup(value));
    return NULL;
}

static Err *flatten(Pairs *p, const char *key, const json_t *v, int depth)
{
    g_autofree char *number = NULL;
    const char *k;
    json_t *m;
    size_t i;

    if (depth > 4)
        return err(ERR_INVALID, "'%s' is nested too deep", key);
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        if (json_object_size(v) == 1 && (m = json_object_get(v, "str")) && *key)
            return flatten(p, key, m, depth + 1);
        json_object_foreach((json_t *)v, k, m) {
            g_autofree char *whole = *key ? g_strdup_printf("%s.%s", key, k) : g_strdup(k);

            TRY(flatten(p, whole, m, depth + 1));
        }
        return NULL;
    case JSON_ARRAY:
        json_array_foreach(v, i, m)
            TRY(flatten(p, key, m, depth + 1));
        return NULL;
    case JSON_STRING:
        return add_pair(p, key, json_string_value(v));
    case JSON_INTEGER:
        number = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
        return add_pair(p, key, number);
    case JSON_TRUE:
    case JSON_FALSE:
        return add_pair(p, key, json_is_true(v) ? "on" : "off");
    default:
        return err(ERR_INVALID, "'%s' is neither text, number nor boolean", key);
    }
}

static Err *parse_json(const char *text, Pairs *p)
{
    json_error_t why;
    json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, &why);

    if (!o)
        return err(ERR_INVALID, "it is no valid JSON: %s at column %d", why.text, why.column);
    Err *e = flatten(p, "", o, 0);

    json_decref(o);
    return e;
}

static Err *parse(const char *text, Pairs *p)
{
    Opts *o = NULL;

    if (*text == '{')
        return parse_json(text, p);
    TRY(opts_parse(text, NULL, "type", &o));
    Err *e = opts_each(o, add_pair, p);

    opts_free(o);
    return e;
}

static const char *get(const Pairs *p, const char *key)
{
    const char *v = NULL;

    for (guint i = 0; i < p->keys->len; i++)
        if (!strcmp(p->keys->pdata[i], key))
            v = p->values->pdata[i];
    return v;
}

/* ---- kinds */

static Err *find_kind(const char *name, const NetKind **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const NetKind *const *k = netdev_set; *k; k++) {
        g_ptr_array_add(names, (void *)(*k)->name);
        if (!strcmp((*k)->name, name)) {
            *out = *k;
            return NULL;
        }
    }
    for (size_t i = 0; i < G_N_ELEMENTS(absent); i++)
        if (!strcmp(absent[i].name, name))
            return err_hint(err(ERR_UNSUPPORTED, "the type '%s' is not available", name), "%s", absent[i].instead);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);

    return err_hint(err(ERR_NOT_FOUND, "there is no type '%s'", name), near ? "Did you mean '%s'? There are: %s." :
                    "%sThere are: %s.", near ? near : "", all);
}

static Err *set_prop(NetPort *p, const char *key, const char *value)
{
    const Field *f = NULL;

    TRY(prop_find(p->kind->fields, key, &f));
    if (f->type == FIELD_STR && f->names == net_many) {
        char **at = field_at(p, f, 0), *old = *at;

        *at = old ? g_strdup_printf("%s\n%s", old, value) : g_strdup(value);
        g_free(old);
        return NULL;
    }
    return prop_parse(p, f, value);
}

static Err *make(Net *n, const NetKind *kind, const Pairs *p, NetPort *port)
{
    props_init(port, kind->fields);
    for (guint i = 0; i < p->keys->len; i++) {
        const char *key = p->keys->pdata[i];

        if (strcmp(key, "type") && strcmp(key, "id"))
            TRY(set_prop(port, key, p->values->pdata[i]));
    }
    return kind->start(port);
}

static Err *add(Net *n, const Pairs *p)
{
    const NetKind *kind = NULL;
    const char *type = get(p, "type"), *id = get(p, "id");

    if (!type)
        return err_hint(err(ERR_INVALID, "it says no type"), "-netdev help lists the types.");
    TRY(find_kind(type, &kind));
    if (!id || !*id)
        return err_hint(err(ERR_INVALID, "it has no id"), "Add id=NAME; -device ..,netdev=NAME uses it.");
    if (net_exists(n, id))
        return err(ERR_INVALID, "the id '%s' is taken already", id);

    NetPort *port = g_malloc0(kind->size), **end = &n->backends;

    *port = (NetPort){ .name = g_strdup(id), .net = n, .kind = kind };
    Err *e = make(n, kind, p, port);

    if (e) {
        net_port_free(port);
        return e;
    }
    while (*end)
        end = &(*end)->next;
    *end = port;
    return NULL;
}

Err *net_add(Net *n, const char *arg)
{
    Pairs p = { g_ptr_array_new_with_free_func(g_free), g_ptr_array_new_with_free_func(g_free) };
    Err *e = parse(arg, &p);

    if (!e)
        e = add(n, &p);
    g_ptr_array_free(p.keys, true);
    g_ptr_array_free(p.values, true);
    return e;
}

char *net_help(const char *type)
{
    const NetKind *kind = NULL;
    GString *s = g_string_new(NULL);

    if (!type) {
        g_string_append(s, "Available netdev backend types:\n");
        for (const NetKind *const *k = netdev_set; *k; k++)
            g_string_append_printf(s, "%-10s %s\n", (*k)->name, (*k)->doc);
        return g_string_free(s, false);
    }
    Err *e = find_kind(type, &kind);

    if (e) {
        g_string_append_printf(s, "%s\n%s\n", err_text(e), err_hint_text(e) ? err_hint_text(e) : "");
        err_free(e);
        return g_string_free(s, false);
    }
    g_autofree char *props = props_help(kind->fields);

    g_string_append_printf(s, "%s: %s\n  id=<str>               - its name, for -device ..,netdev=NAME\n%s",
                           kind->name, kind->doc, props);
    return g_string_free(s, false);
}
