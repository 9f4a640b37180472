/* SPDX-License-Identifier: MIT */
/*
 * key=value lists: see util/opts.h.
 */
#include "util/opts.h"

#include <glib.h>
#include <string.h>

#include "util/str.h"

typedef struct Pair {
    char *key, *value;
    uint64_t num;           /* the value of what is not a string */
} Pair;

struct Opts {
    GArray *pairs;          /* Pair, in the order given */
};

static void pair_clear(void *p)
{
    Pair *pair = p;

    g_free(pair->key);
    g_free(pair->value);
}

/* The element at *p up to a single comma; doubled ones are made one. *p moves behind it. */
static char *next_element(const char **p)
{
    GString *s = g_string_new(NULL);

    for (; **p; (*p)++) {
        if (**p == ',') {
            if ((*p)[1] != ',')
                break;
            (*p)++;
        }
        g_string_append_c(s, **p);
    }
    if (**p == ',')
        (*p)++;
    return g_string_free(s, FALSE);
}

char *opts_rest(const char *text, char **first)
{
    const char *p = text;
    char *head = next_element(&p);

    if (first)
        *first = head;
    else
        g_free(head);
    return g_strdup(p);
}

static const OptDesc *find_desc(const OptDesc *descs, const char *key)
{
    for (; descs && descs->name; descs++) {
        if (!strcmp(descs->name, key))
            return descs;
    }
    return NULL;
}

static Err *unknown_key(const OptDesc *descs, const char *key)
{
    GPtrArray *names = g_ptr_array_new();
    Err *e = err(ERR_NOT_FOUND, "there is no option '%s' here", key);

    for (const OptDesc *d = descs; d->name; d++)
        g_ptr_array_add(names, (void *)d->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(key, (const char *const *)names->pdata);
    char *all = g_strjoinv(", ", (char **)names->pdata);
    if (near)
        e = err_hint(e, "Did you mean '%s'? There are: %s", near, all);
    else if (*all)
        e = err_hint(e, "There are: %s", all);
    g_free(all);
    g_ptr_array_free(names, TRUE);
    return e;
}

static Err *enum_value(const OptDesc *d, const char *value, uint64_t *out)
{
    for (int i = 0; d->names[i]; i++) {
        if (!strcmp(d->names[i], value)) {
            *out = i;
            return NULL;
        }
    }
    const char *near = nearest_name(value, d->names);
    char *all = g_strjoinv(", ", (char **)d->names);
    Err *e = err(ERR_INVALID, "'%s' is none of: %s", value, all);
    if (near)
        e = err_hint(e, "Did you mean '%s'?", near);
    g_free(all);
    return e;
}

static Err *check_value(const OptDesc *d, const char *value, uint64_t *num)
{
    Err *e = NULL;
    bool on = false;

    switch (d->kind) {
    case OPT_STR:
        break;
    case OPT_BOOL:
        e = parse_bool(value, &on);
        *num = on;
        break;
    case OPT_NUM:
        e = parse_num(value, num);
        break;
    case OPT_SIZE:
        e = parse_size(value, 1, num);
        break;
    case OPT_MIB:
        e = parse_size(value, 1 << 20, num);
        break;
    case OPT_ENUM:
        e = enum_value(d, value, num);
        break;
    }
    return err_in(e, "option '%s'", d->name);
}

/* "KEY=VALUE", "VALUE" of the implied key, "KEY" or "noKEY", taken apart into pair. */
static Err *split_element(const OptDesc *descs, const char *implied, const char *text, Pair *pair)
{
    const char *eq = strchr(text, '=');
    const OptDesc *d;

    if (eq) {
        pair->key = g_strndup(text, eq - text);
        pair->value = g_strdup(eq + 1);
        return NULL;
    }
    if (implied) {
        pair->key = g_strdup(implied);
        pair->value = g_strdup(text);
        return NULL;
    }
    d = find_desc(descs, text);
    if (!d && !strncmp(text, "no", 2) && (d = find_desc(descs, text + 2)) && d->kind == OPT_BOOL) {
        pair->key = g_strdup(text + 2);
        pair->value = g_strdup("off");
        return NULL;
    }
    if (d && d->kind != OPT_BOOL)
        return err(ERR_INVALID, "option '%s' needs a value: %s=...", text, text);
    pair->key = g_strdup(text);
    pair->value = g_strdup("on");
    return NULL;
}

static Err *add_element(Opts *o, const OptDesc *descs, const char *implied, const char *text)
{
    Pair pair = { 0 };
    Err *e = split_element(descs, implied, text, &pair);

    if (!e && descs) {
        const OptDesc *d = find_desc(descs, pair.key);

        e = d ? check_value(d, pair.value, &pair.num) : unknown_key(descs, pair.key);
    }
    if (e) {
        pair_clear(&pair);
        return e;
    }
    g_array_append_val(o->pairs, pair);
    return NULL;
}

static Err *check_required(const Opts *o, const OptDesc *descs)
{
    for (const OptDesc *d = descs; d && d->name; d++) {
        if (d->required && !opts_has(o, d->name))
            return err(ERR_INVALID, "option '%s' is missing: %s=... (%s)", d->name, d->name,
                       d->doc ? d->doc : "no default");
    }
    return NULL;
}

Err *opts_parse(const char *text, const OptDesc *descs, const char *implied, Opts **out)
{
    Opts *o = g_new0(Opts, 1);
    const char *p = text;
    Err *e = NULL;

    o->pairs = g_array_new(FALSE, TRUE, sizeof(Pair));
    g_array_set_clear_func(o->pairs, pair_clear);
    for (bool first = true; *p && !e; first = false) {
        char *element = next_element(&p);

        if (*element)
            e = add_element(o, descs, first ? implied : NULL, element);
        g_free(element);
    }
    if (!e)
        e = check_required(o, descs);
    if (e) {
        opts_free(o);
        o = NULL;
    }
    *out = o;
    return e;
}

void opts_free(Opts *o)
{
    if (!o)
        return;
    g_array_free(o->pairs, TRUE);
    g_free(o);
}

static const Pair *find_pair(const Opts *o, const char *key)
{
    for (guint i = o->pairs->len; i-- > 0;) {
        const Pair *p = &g_array_index(o->pairs, Pair, i);

        if (!strcmp(p->key, key))
            return p;
    }
    return NULL;
}

bool opts_has(const Opts *o, const char *key)
{
    return find_pair(o, key) != NULL;
}

const char *opts_str(const Opts *o, const char *key, const char *def)
{
    const Pair *p = find_pair(o, key);

    return p ? p->value : def;
}

bool opts_bool(const Opts *o, const char *key, bool def)
{
    return opts_num(o, key, def) != 0;
}

uint64_t opts_num(const Opts *o, const char *key, uint64_t def)
{
    const Pair *p = find_pair(o, key);

    return p ? p->num : def;
}

int opts_enum(const Opts *o, const char *key, int def)
{
    return (int)opts_num(o, key, def);
}

Err *opts_each(const Opts *o, Err *(*fn)(void *opaque, const char *key, const char *value),
               void *opaque)
{
    for (guint i = 0; i < o->pairs->len; i++) {
        const Pair *p = &g_array_index(o->pairs, Pair, i);

        TRY(fn(opaque, p->key, p->value));
    }
    return NULL;
}

char *opts_help(const OptDesc *descs)
{
    static const char *const kinds[] = { "TEXT", "on|off", "NUMBER", "SIZE", "SIZE", NULL };
    GString *s = g_string_new(NULL);

    for (const OptDesc *d = descs; d->name; d++) {
        char *kind = d->kind == OPT_ENUM ? g_strjoinv("|", (char **)d->names)
                                         : g_strdup(kinds[d->kind]);
        char *left = g_strdup_printf("%s=%s", d->name, kind);

        g_string_append_printf(s, "  %-28s %s\n", left, d->doc ? d->doc : "");
        g_free(left);
        g_free(kind);
    }
    return g_string_free(s, FALSE);
}
