/* SPDX-License-Identifier: MIT */
/*
 * Reads JSON by the schema's tables: is it what the type says, and if so, into
 * the struct that a command's handler gets. The sentences are QEMU's: clients
 * and their logs know them.
 */
#include <string.h>

#include "monitor/schema_gen.h"

static Err *wrong_type(const char *at, const char *expected)
{
    return err(ERR_INVALID, "Invalid parameter type for '%s', expected: %s", at, expected);
}

int qmp_enum(const char *const *names, const char *value)
{
    for (int i = 0; names[i]; i++) {
        if (!strcmp(names[i], value))
            return i;
    }
    return -1;
}

static Err *check_int(const QmpType *t, const json_t *v, const char *at)
{
    if (!json_is_integer(v))
        return wrong_type(at, "integer");
    if (json_integer_value(v) < t->min || json_integer_value(v) > t->max)
        return err(ERR_INVALID, "Parameter '%s' expects %s", at, t->name);
    return NULL;
}

static Err *check_enum(const QmpType *t, const json_t *v, const char *at)
{
    if (!json_is_string(v))
        return wrong_type(at, "string");
    if (qmp_enum(t->values, json_string_value(v)) < 0)
        return err(ERR_INVALID, "Parameter '%s' does not accept value '%s'", at, json_string_value(v));
    return NULL;
}

static char *below(const char *at, const char *name)
{
    return at && *at ? g_strdup_printf("%s.%s", at, name) : g_strdup(name);
}

static Err *check_array(const QmpType *t, const json_t *v, const char *at)
{
    json_t *e;
    size_t i;

    if (!json_is_array(v))
        return wrong_type(at, "array");
    json_array_foreach((json_t *)v, i, e) {
        g_autofree char *name = g_strdup_printf("%s[%zu]", at, i);

        TRY(qmp_check(t->of, e, name));
    }
    return NULL;
}

/* ---- structs: `seen` counts the members of v that some table knows */

static Err *check_members(const QmpMember *members, const json_t *v, const char *at, size_t *seen)
{
    for (const QmpMember *m = members; m->name; m++) {
        const json_t *e = json_object_get(v, m->name);

        if (!e && m->optional)
            continue;
        g_autofree char *name = below(at, m->name);
        if (!e)
            return err(ERR_INVALID, "Parameter '%s' is missing", name);
        TRY(qmp_check(m->type, e, name));
        ++*seen;
    }
    return NULL;
}

static const QmpType *case_of(const QmpType *t, const json_t *v)
{
    const char *tag = json_string_value(json_object_get(v, t->tag));

    for (const QmpCase *c = t->cases; tag && c && c->value; c++) {
        if (!strcmp(c->value, tag))
            return c->type;
    }
    return NULL;
}

static Err *check_tables(const QmpType *t, const json_t *v, const char *at, size_t *seen)
{
    TRY(check_members(t->members, v, at, seen));
    const QmpType *more = t->tag ? case_of(t, v) : NULL;

    return more ? check_tables(more, v, at, seen) : NULL;
}

static bool in_tables(const QmpType *t, const json_t *v, const char *name)
{
    for (const QmpMember *m = t->members; m->name; m++) {
        if (!strcmp(m->name, name))
            return true;
    }
    const QmpType *more = t->tag ? case_of(t, v) : NULL;
    return more && in_tables(more, v, name);
}

static bool in_members(const QmpMember *members, const char *name)
{
    for (const QmpMember *m = members; m->name; m++) {
        if (!strcmp(m->name, name))
            return true;
    }
    return false;
}

static Err *unexpected(const char *at, const char *key)
{
    g_autofree char *name = below(at, key);

    return err(ERR_INVALID, "Parameter '%s' is unexpected", name);
}

static Err *check_struct(const QmpType *t, const json_t *v, const char *at)
{
    size_t seen = 0;
    const char *key;
    json_t *e;

    if (!json_is_object(v))
        return wrong_type(at, "object");
    TRY(check_tables(t, v, at, &seen));
    if (t->open)
        return qmp_check_open(t, v, at);
    if (seen == json_object_size(v))
        return NULL;
    json_object_foreach((json_t *)v, key, e) {
        if (!in_tables(t, v, key))
            return unexpected(at, key);
    }
    return NULL;
}

static bool same_json(const QmpType *t, const json_t *v)
{
    switch (t->kind) {
    case QMP_STR: case QMP_ENUM: return json_is_string(v);
    case QMP_BOOL:      return json_is_boolean(v);
    case QMP_INT:       return json_is_integer(v);
    case QMP_NUMBER:    return json_is_number(v);
    case QMP_NULL:      return json_is_null(v);
    case QMP_ARRAY:     return json_is_array(v);
    case QMP_OBJECT: case QMP_STRUCT: return json_is_object(v);
    default:            return true;
    }
}

static Err *check_alternate(const QmpType *t, const json_t *v, const char *at)
{
    for (const QmpMember *m = t->members; m->name; m++) {
        if (same_json(m->type, v))
            return qmp_check(m->type, v, at);
    }
    return wrong_type(at, t->name);
}

Err *qmp_check(const QmpType *t, const json_t *v, const char *at)
{
    static const char *const expected[] = {
        [QMP_STR] = "string", [QMP_BOOL] = "boolean", [QMP_NUMBER] = "number", [QMP_NULL] = "null", [QMP_OBJECT] = "object",
    };

    switch (t->kind) {
    case QMP_INT:       return check_int(t, v, at);
    case QMP_ENUM:      return check_enum(t, v, at);
    case QMP_STRUCT:    return check_struct(t, v, at);
    case QMP_ALTERNATE: return check_alternate(t, v, at);
    case QMP_ARRAY:     return check_array(t, v, at);
    case QMP_ANY:       return NULL;
    default:            return same_json(t, v) ? NULL : wrong_type(at, expected[t->kind]);
    }
}

/* ---- a command's struct */

static void fill(const QmpMember *m, const json_t *v, char *args)
{
    void *at = args + m->offset;

    if (m->has_has)
        *(bool *)(args + m->has) = true;
    switch (m->type->kind) {
    case QMP_STR:    *(const char **)at = json_string_value(v); break;
    case QMP_BOOL:   *(bool *)at = json_is_true(v); break;
    case QMP_INT:    *(int64_t *)at = json_integer_value(v); break;
    case QMP_NUMBER: *(double *)at = json_number_value(v); break;
    case QMP_ENUM:   *(int *)at = qmp_enum(m->type->values, json_string_value(v)); break;
    default:         *(const json_t **)at = v; break;
    }
}

Err *qmp_args(const QmpCommand *c, const json_t *v, void *args)
{
    size_t seen = 0;
    const char *key;
    json_t *e;

    if (c->args) {
        if (v)
            TRY(check_struct(c->args, v, ""));
        else
            TRY(check_members(c->args->members, v, "", &seen));
        *(const json_t **)((char *)args + c->all) = v;
        return NULL;
    }
    TRY(check_members(c->members, v, "", &seen));
    json_object_foreach((json_t *)v, key, e) {
        if (!in_members(c->members, key))
            return unexpected("", key);
    }
    for (const QmpMember *m = c->members; m->name; m++) {
        e = json_object_get(v, m->name);
        if (e)
            fill(m, e, args);
    }
    return NULL;
}

/* ---- by name */

const QmpCommand *qmp_command_find(const char *name)
{
    for (const QmpCommand *c = qmp_commands; c->name; c++) {
        if (!strcmp(c->name, name))
            return c;
    }
    return NULL;
}

const QmpEvent *qmp_event_find(const char *name)
{
    for (const QmpEvent *e = qmp_events; e->name; e++) {
        if (!strcmp(e->name, name))
            return e;
    }
    return NULL;
}
