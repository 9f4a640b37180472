/* SPDX-License-Identifier: MIT */
/*
 * query-qmp-schema: the tables by which commands are checked, shown as
 * SchemaInfo. Types that the program's own tables tell (block drivers, network
 * backends, objects) are asked for their members by their hooks.
 *
 * Types are named as in the schema; a client must not rely on such names. The same
 * hooks are asked when a value of such a type is checked (qmp_check_open).
 */
#include <string.h>

#include "monitor/monitor.h"
#include "monitor/schema_gen.h"

#define EMPTY "q_empty"

typedef struct Shown {
    json_t *all;
    GHashTable *names;          /* of types that are in `all` */
} Shown;

struct QmpOpen {
    Shown *shown;
    const char *type;           /* the open type's name */
    json_t *members, *cases;    /* where members go; variants; their names */
    json_t *values;
    GHashTable *taken;          /* names in `members` */
    char *prefix;               /* what types made on the way are called by */
    /* Or nothing is shown: this value is checked. */
    const json_t *check;
    const char *at, *tag;       /* where it is; its tag's value */
    bool other;                 /* a case that is not the tag's is being told */
    Err *e;                     /* the first that was wrong */
};

static const char *show_type(Shown *s, const QmpType *t);

static bool first_time(Shown *s, const char *name)
{
    return g_hash_table_add(s->names, g_strdup(name));
}

static void show_builtin(Shown *s, const char *name, const char *json_type)
{
    if (first_time(s, name))
        json_array_append_new(s->all, json_pack("{s:s, s:s, s:s}", "name", name, "json-type", json_type,
                                                "meta-type", "builtin"));
}

static const char *show_simple(Shown *s, const char *name)
{
    static const char *const rows[][2] = {
        { "str", "string" }, { "int", "int" }, { "bool", "boolean" }, { "number", "number" }, { "null", "null" }, { "any", "value" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (!strcmp(rows[i][0], name))
            show_builtin(s, name, rows[i][1]);
    }
    return name;
}

static void show_values(Shown *s, const char *name, const char *const *values)
{
    json_t *v, *m;

    if (!first_time(s, name))
        return;
    v = json_array();
    m = json_array();
    for (int i = 0; values[i]; i++) {
        json_array_append_new(v, json_string(values[i]));
        json_array_append_new(m, json_pack("{s:s}", "name", values[i]));
    }
    json_array_append_new(s->all, json_pack("{s:s, s:s, s:o, s:o}", "name", name, "meta-type", "enum", "members", m, "values", v));
}

static const char *show_array(Shown *s, const QmpType *t)
{
    if (first_time(s, t->name)) {
        json_t *row = json_pack("{s:s, s:s}", "name", t->name, "meta-type", "array");

        json_array_append_new(s->all, row);
        json_object_set_new(row, "element-type", json_string(show_type(s, t->of)));
    }
    return t->name;
}

static json_t *member_row(const char *name, const char *type, bool optional)
{
    json_t *row = json_pack("{s:s, s:s}", "name", name, "type", type);

    if (optional)
        json_object_set_new(row, "default", json_null());
    return row;
}

static json_t *show_members(Shown *s, const QmpMember *members)
{
    json_t *out = json_array();

    for (const QmpMember *m = members; m->name; m++)
        json_array_append_new(out, member_row(m->name, show_type(s, m->type), m->optional));
    return out;
}

static void set_features(json_t *row, const char *const *features)
{
    json_t *list = features ? json_array() : NULL;

    for (int i = 0; features && features[i]; i++)
        json_array_append_new(list, json_string(features[i]));
    if (list)
        json_object_set_new(row, "features", list);
}

static json_t *show_cases(Shown *s, const QmpType *t)
{
    json_t *out = json_array();

    for (const QmpCase *c = t->cases; c && c->value; c++)
        json_array_append_new(out, json_pack("{s:s, s:s}", "case", c->value, "type", show_type(s, c->type)));
    return out;
}

/* ---- open types */

static void open_into(QmpOpen *o, json_t *members)
{
    o->members = members;
    g_hash_table_remove_all(o->taken);
}

/* ---- a value of an open type against what its hook tells */

static bool fits(const char *type, const json_t *v)
{
    if (!strcmp(type, "int"))
        return json_is_integer(v);
    if (!strcmp(type, "bool"))
        return json_is_boolean(v);
    if (!strcmp(type, "array"))
        return json_is_array(v) || json_is_string(v);
    if (!strcmp(type, "object"))
        return json_is_object(v);
    /* A property that is text here may be a boolean or a number of QEMU's. */
    return strcmp(type, "str") || json_is_string(v) || json_is_boolean(v) || json_is_integer(v);
}

static const char *word_of(const char *type)
{
    return !strcmp(type, "int") ? "integer" : !strcmp(type, "bool") ? "boolean" : !strcmp(type, "str") ? "string" : type;
}

/* The member's value if there is one to be checked and it is of that type. */
static const json_t *check_one(QmpOpen *o, const char *name, const char *type)
{
    const json_t *v = o->other || o->e ? NULL : json_object_get(o->check, name);

    if (!v || fits(type, v))
        return v;
    o->e = err(ERR_INVALID, "Invalid parameter type for '%s%s%s', expected: %s", o->at, *o->at ? "." : "", name, word_of(type));
    return NULL;
}

static void check_value(QmpOpen *o, const char *name, const char *const *values)
{
    const json_t *v = check_one(o, name, "str");

    if (json_is_string(v) && qmp_enum(values, json_string_value(v)) < 0)
        o->e = err(ERR_INVALID, "Parameter '%s%s%s' does not accept value '%s'", o->at, *o->at ? "." : "", name, json_string_value(v));
}

Err *qmp_check_open(const QmpType *t, const json_t *v, const char *at)
{
    QmpOpen o = { .type = t->name, .check = v, .at = at, .tag = t->tag ? json_string_value(json_object_get(v, t->tag)) : NULL };

    t->open(&o);
    return o.e;
}

/* ---- the hooks tell */

void qmp_open_case(QmpOpen *o, const char *value)
{
    if (o->check) {
        o->other = g_strcmp0(value, o->tag) != 0;
        return;
    }
    g_free(o->prefix);
    o->prefix = g_strdup_printf("%s-%s", o->type, value);
    json_t *members = json_array();
    if (first_time(o->shown, o->prefix))
        json_array_append_new(o->shown->all, json_pack("{s:s, s:s, s:O}", "name", o->prefix, "meta-type", "object",
                                                       "members", members));
    json_array_append_new(o->cases, json_pack("{s:s, s:s}", "case", value, "type", o->prefix));
    json_array_append_new(o->values, json_string(value));
    open_into(o, members);
    json_decref(members);       /* the row has it */
}

void qmp_open_member(QmpOpen *o, const char *name, const char *type, bool optional)
{
    if (o->check)
        check_one(o, name, type);
    else if (g_hash_table_add(o->taken, g_strdup(name)))
        json_array_append_new(o->members, member_row(name, show_simple(o->shown, type), optional));
}

void qmp_open_enum(QmpOpen *o, const char *name, const char *const *values, bool optional)
{
    if (o->check) {
        check_value(o, name, values);
        return;
    }
    g_autofree char *type = g_strdup_printf("%s-%s", o->prefix, name);

    if (!g_hash_table_add(o->taken, g_strdup(name)))
        return;
    show_values(o->shown, type, values);
    json_array_append_new(o->members, member_row(name, type, optional));
}

/* A text that may be given again is a list of { "str": text }. */
static void open_list(QmpOpen *o, const char *name)
{
    if (o->check) {
        check_one(o, name, "array");
        return;
    }
    Shown *s = o->shown;
    if (!g_hash_table_add(o->taken, g_strdup(name)))
        return;
    show_simple(s, "str");
    if (first_time(s, "String"))
        json_array_append_new(s->all, json_pack("{s:s, s:s, s:[o]}", "name", "String", "meta-type", "object", "members",
                                                member_row("str", "str", false)));
    if (first_time(s, "[String]"))
        json_array_append_new(s->all, json_pack("{s:s, s:s, s:s}", "name", "[String]", "meta-type", "array", "element-type", "String"));
    json_array_append_new(o->members, member_row(name, "[String]", true));
}

static void open_field(QmpOpen *o, const Field *f, const char *name)
{
    if (f->names && f->type == FIELD_STR)
        open_list(o, name);
    else if (f->names)
        qmp_open_enum(o, name, f->names, true);
    else if (f->type == FIELD_BOOL)
        qmp_open_member(o, name, "bool", true);
    else if (f->type >= FIELD_U8 && f->type <= FIELD_I64)
        qmp_open_member(o, name, "int", true);
    else
        qmp_open_member(o, name, "str", true);
}

/* "cache.direct": into a struct of its own, which all members that begin so share. */
static void check_nested(QmpOpen *o, const Field *table, const char *group)
{
    g_autofree char *prefix = g_strdup_printf("%s.", group), *at = g_strdup_printf("%s%s%s", o->at, *o->at ? "." : "", group);
    QmpOpen sub = { .type = o->type, .check = check_one(o, group, "object"), .at = at };

    for (const Field *f = table; sub.check && f && f->role != FIELD_END; f++) {
        g_autofree char *name = field_name(f);

        if (f->role == FIELD_PROP && g_str_has_prefix(name, prefix) && !strchr(name + strlen(prefix), '.'))
            open_field(&sub, f, name + strlen(prefix));
    }
    o->e = o->e ? o->e : sub.e;
}

static void open_nested(QmpOpen *o, const Field *table, const char *group)
{
    if (o->check) {
        check_nested(o, table, group);
        return;
    }
    g_autofree char *type = g_strdup_printf("%s-%s", o->prefix, group), *prefix = g_strdup_printf("%s.", group);
    json_t *inner = json_array();
    Shown *s = o->shown;

    if (!g_hash_table_add(o->taken, g_strdup(group))) {
        json_decref(inner);
        return;
    }
    json_array_append_new(o->members, member_row(group, type, true));
    QmpOpen sub = { s, type, inner, o->cases, o->values, g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                    g_strdup(type) };
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        g_autofree char *name = field_name(f);

        if (f->role == FIELD_PROP && g_str_has_prefix(name, prefix) && !strchr(name + strlen(prefix), '.'))
            open_field(&sub, f, name + strlen(prefix));
    }
    if (first_time(s, type))
        json_array_append_new(s->all, json_pack("{s:s, s:s, s:O}", "name", type, "meta-type", "object", "members", inner));
    json_decref(inner);
    g_hash_table_destroy(sub.taken);
    g_free(sub.prefix);
}

void qmp_open_fields(QmpOpen *o, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        g_autofree char *name = field_name(f);
        char *dot = strchr(name, '.');

        if (f->role != FIELD_PROP)
            continue;
        if (dot) {
            *dot = 0;
            open_nested(o, table, name);
        } else {
            open_field(o, f, name);
        }
    }
}

static void show_open(Shown *s, const QmpType *t, json_t *row, json_t *members)
{
    QmpOpen o = { s, t->name, members, json_array(), json_array(),
                  g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL), g_strdup(t->name) };

    for (const QmpMember *m = t->members; m->name; m++)
        g_hash_table_add(o.taken, g_strdup(m->name));
    t->open(&o);
    if (t->tag) {
        g_autofree char *name = g_strdup_printf("%s-%s", t->name, t->tag);
        g_autofree const char **values = g_new0(const char *, json_array_size(o.values) + 1);

        for (size_t i = 0; i < json_array_size(o.values); i++)
            values[i] = json_string_value(json_array_get(o.values, i));
        show_values(s, name, values);
        json_array_insert_new(members, 0, member_row(t->tag, name, false));
        json_object_set_new(row, "tag", json_string(t->tag));
        json_object_set(row, "variants", o.cases);
    }
    json_decref(o.cases);
    json_decref(o.values);
    g_hash_table_destroy(o.taken);
    g_free(o.prefix);
}

/* ---- types */

static const char *show_struct(Shown *s, const QmpType *t)
{
    if (!first_time(s, t->name))
        return t->name;
    json_t *row = json_pack("{s:s, s:s}", "name", t->name, "meta-type", "object");
    json_array_append_new(s->all, row);         /* first, for types that hold themselves */
    json_t *members = show_members(s, t->members);
    json_object_set_new(row, "members", members);
    set_features(row, t->features);
    if (t->open) {
        show_open(s, t, row, members);
    } else if (t->tag) {
        json_object_set_new(row, "tag", json_string(t->tag));
        json_object_set_new(row, "variants", show_cases(s, t));
    }
    return t->name;
}

static const char *show_alternate(Shown *s, const QmpType *t)
{
    if (first_time(s, t->name)) {
        json_t *row = json_pack("{s:s, s:s}", "name", t->name, "meta-type", "alternate"), *list = json_array();

        json_array_append_new(s->all, row);
        json_object_set_new(row, "members", list);
        for (const QmpMember *m = t->members; m->name; m++)
            json_array_append_new(list, json_pack("{s:s}", "type", show_type(s, m->type)));
    }
    return t->name;
}

static const char *show_empty(Shown *s)
{
    if (first_time(s, EMPTY))
        json_array_append_new(s->all, json_pack("{s:s, s:s, s:[]}", "name", EMPTY, "meta-type", "object", "members"));
    return EMPTY;
}

static const char *show_type(Shown *s, const QmpType *t)
{
    switch (t->kind) {
    case QMP_ARRAY:     return show_array(s, t);
    case QMP_ENUM:      show_values(s, t->name, t->values); return t->name;
    case QMP_STRUCT:    return show_struct(s, t);
    case QMP_ALTERNATE: return show_alternate(s, t);
    case QMP_INT:       return show_simple(s, "int");
    case QMP_OBJECT:    return show_simple(s, "any");
    default:            return show_simple(s, t->name);
    }
}

static char *show_args(Shown *s, const char *of, const QmpMember *members)
{
    if (!members->name)
        return g_strdup(show_empty(s));
    char *name = g_strdup_printf("q_obj_%s-arg", of);
    if (first_time(s, name))
        json_array_append_new(s->all, json_pack("{s:s, s:s, s:o}", "name", name, "meta-type", "object", "members",
                                                show_members(s, members)));
    return name;
}

static void show_command(Shown *s, const QmpCommand *c)
{
    g_autofree char *args = c->args ? g_strdup(show_type(s, c->args)) : show_args(s, c->name, c->members);
    const char *ret = c->returns ? show_type(s, c->returns) : show_empty(s);
    json_t *row = json_pack("{s:s, s:s, s:s, s:s}", "name", c->name, "meta-type", "command", "arg-type", args, "ret-type", ret);

    if (c->oob)
        json_object_set_new(row, "allow-oob", json_true());
    set_features(row, c->features);
    json_array_append_new(s->all, row);
}

json_t *qmp_introspect(void)
{
    Shown s = { json_array(), g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL) };

    for (const QmpCommand *c = qmp_commands; c->name; c++)
        show_command(&s, c);
    for (const QmpEvent *e = qmp_events; e->name; e++) {
        g_autofree char *args = show_args(&s, e->name, e->members);

        json_array_append_new(s.all, json_pack("{s:s, s:s, s:s}", "name", e->name, "meta-type", "event", "arg-type", args));
    }
    g_hash_table_destroy(s.names);
    return s.all;
}
