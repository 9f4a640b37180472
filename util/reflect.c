/* SPDX-License-Identifier: MIT */
/*
 * Readers of field tables: properties from and to text, state to zero.
 */
#include "util/reflect.h"

#include <glib.h>
#include <inttypes.h>
#include <string.h>

#include "util/opts.h"
#include "util/str.h"

char *field_name(const Field *f)
{
    return f->as ? g_strdup(f->as) : g_strdelimit(g_strdup(f->name), "_", '-');
}

const char *field_type_name(const Field *f)
{
    static const char *const names[] = {
        [FIELD_OPAQUE] = "opaque", [FIELD_BOOL] = "bool",
        [FIELD_U8] = "uint8", [FIELD_U16] = "uint16", [FIELD_U32] = "uint32", [FIELD_U64] = "uint64",
        [FIELD_I8] = "int8", [FIELD_I16] = "int16", [FIELD_I32] = "int32", [FIELD_I64] = "int64",
        [FIELD_STR] = "str", [FIELD_IRQ] = "irq", [FIELD_REGION] = "region", [FIELD_TIMER] = "timer",
        [FIELD_CHAR] = "chardev", [FIELD_DISK] = "drive",
    };

    return f->units ? "size" : f->names ? "enum" : names[f->type];
}

static bool is_signed(const Field *f)
{
    return f->type >= FIELD_I8 && f->type <= FIELD_I64;
}

static bool is_number(const Field *f)
{
    return f->type >= FIELD_BOOL && f->type <= FIELD_I64;
}

/* ---- numbers of any width */

static void number_set(void *at, const Field *f, uint64_t val)
{
    switch (f->bytes) {
    case 1: *(uint8_t *)at = val; break;
    case 2: *(uint16_t *)at = val; break;
    case 4: *(uint32_t *)at = val; break;
    case 8: *(uint64_t *)at = val; break;
    }
}

static uint64_t number_get(const void *at, const Field *f)
{
    switch (f->type) {
    case FIELD_BOOL: return *(const bool *)at;
    case FIELD_U8:  return *(const uint8_t *)at;
    case FIELD_U16: return *(const uint16_t *)at;
    case FIELD_U32: return *(const uint32_t *)at;
    case FIELD_I8:  return *(const int8_t *)at;
    case FIELD_I16: return *(const int16_t *)at;
    case FIELD_I32: return *(const int32_t *)at;
    default:        return *(const uint64_t *)at;
    }
}

/* ---- properties */

/* The PROP of that name; its table's names go to `names`. */
static const Field *find_in(const Field *table, const char *name, GPtrArray *names)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role != FIELD_PROP)
            continue;
        char *shown = field_name(f);
        g_ptr_array_add(names, shown);
        if (!strcmp(shown, name))
            return f;
    }
    return NULL;
}

Err *prop_find_either(const Field *first, const Field *second, const char *name, const Field **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    *out = find_in(first, name, names);
    if (!*out)
        *out = find_in(second, name, names);
    if (*out)
        return NULL;
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "there is no property '%s'", name);
    if (near)
        return err_hint(e, "Did you mean '%s'?", near);
    if (names->len < 2 || names->len > 16)
        return e;
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
    return err_hint(e, "There are: %s.", all);
}

Err *prop_find(const Field *table, const char *name, const Field **out)
{
    return prop_find_either(table, NULL, name, out);
}

static Err *parse_name(const Field *f, const char *text, uint64_t *out)
{
    for (int i = 0; f->names[i]; i++) {
        if (!strcmp(f->names[i], text)) {
            *out = i;
            return NULL;
        }
    }
    char *all = g_strjoinv(", ", (char **)f->names);
    Err *e = err_hint(err(ERR_INVALID, "'%s' is not one of its values", text), "It may be: %s.", all);
    g_free(all);
    return e;
}

static Err *parse_number(const Field *f, const char *text, uint64_t *out)
{
    if (f->type == FIELD_BOOL) {
        bool b = false;

        TRY(parse_bool(text, &b));
        *out = b;
        return NULL;
    }
    if (f->names)
        return parse_name(f, text, out);
    if (f->units)
        return parse_size(text, 1, out);
    bool minus = is_signed(f) && *text == '-';
    TRY(parse_num(text + minus, out));
    uint64_t max = UINT64_MAX >> (64 - 8 * f->bytes + is_signed(f));
    if (*out > max + minus)
        return err(ERR_INVALID, "%s is out of range: the largest is %" PRIu64, text, max);
    if (minus)
        *out = -*out;
    return NULL;
}

Err *prop_parse(void *obj, const Field *f, const char *text)
{
    void *at = field_at(obj, f, 0);
    uint64_t val = 0;
    Err *e = NULL;

    if (f->type == FIELD_STR) {
        g_free(*(char **)at);
        *(char **)at = g_strdup(text);
        return NULL;
    }
    if (!is_number(f))
        e = err(ERR_UNSUPPORTED, "it cannot be set by text");
    else
        e = parse_number(f, text, &val);
    if (e) {
        g_autofree char *name = field_name(f);

        return err_in(e, "property '%s'", name);
    }
    number_set(at, f, val);
    return NULL;
}

char *prop_print(const void *obj, const Field *f)
{
    const void *at = (const char *)obj + f->offset;

    if (f->type == FIELD_STR)
        return g_strdup(*(char *const *)at);
    if (!is_number(f))
        return NULL;
    uint64_t val = number_get(at, f);
    if (f->type == FIELD_BOOL)
        return g_strdup(val ? "on" : "off");
    if (f->names)
        return g_strdup(val < g_strv_length((char **)f->names) ? f->names[val] : "?");
    return is_signed(f) ? g_strdup_printf("%" PRId64, (int64_t)val) : g_strdup_printf("%" PRIu64, val);
}

void props_init(void *obj, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        Err *e = f->role == FIELD_PROP && f->def ? prop_parse(obj, f, f->def) : NULL;

        if (e)
            g_error("default of '%s': %s", f->name, err_text(e));   /* a table of ours is wrong */
    }
}

void props_clear(void *obj, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_PROP && f->type == FIELD_STR) {
            char **at = field_at(obj, f, 0);

            g_free(*at);
            *at = NULL;
        }
    }
}

void props_copy(void *to, const void *from, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        const void *src = (const char *)from + f->offset;

        if (f->role != FIELD_PROP)
            continue;
        if (f->type == FIELD_STR) {
            char **at = field_at(to, f, 0);

            if (!g_strcmp0(*at, *(char *const *)src))
                continue;               /* others may look at it */
            g_free(*at);
            *at = g_strdup(*(char *const *)src);
        } else {
            memcpy(field_at(to, f, 0), src, (size_t)f->bytes * f->count);
        }
    }
}

typedef struct Parsing { void *obj; const Field *table; } Parsing;

static Err *parse_pair(void *opaque, const char *key, const char *value)
{
    const Parsing *p = opaque;
    const Field *f = NULL;

    TRY(prop_find(p->table, key, &f));
    return prop_parse(p->obj, f, value);
}

Err *props_parse(void *obj, const Field *table, const char *list)
{
    Parsing p = { obj, table };
    Opts *o = NULL;

    TRY(opts_parse(list, NULL, NULL, &o));
    Err *e = opts_each(o, parse_pair, &p);
    opts_free(o);
    return e;
}

char *props_help(const Field *table)
{
    GString *out = g_string_new(NULL);

    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role != FIELD_PROP)
            continue;
        g_autofree char *name = field_name(f);
        g_autofree char *left = g_strdup_printf("%s=<%s>", name, field_type_name(f));
        g_string_append_printf(out, "  %-22s - %s", left, f->doc ? f->doc : "");
        if (f->names) {
            g_autofree char *all = g_strjoinv("|", (char **)f->names);

            g_string_append_printf(out, " [%s]", all);
        }
        if (f->def)
            g_string_append_printf(out, " (default: %s)", f->def);
        g_string_append_c(out, '\n');
    }
    return g_string_free(out, false);
}

/* ---- state */

void state_zero(void *obj, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_STATE && !f->keep && is_number(f))
            memset(field_at(obj, f, 0), 0, (size_t)f->bytes * f->count);
    }
}
