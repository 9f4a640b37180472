/* SPDX-License-Identifier: MIT */
/*
 * Objects by name: made from "secret,id=sec0,data=.." or JSON, found by kind
 * and id, deleted unless something uses them. The kinds are rows of
 * object_classes.
 */
#include "block/objects.h"

#include <glib.h>
#include <string.h>

#include "block/throttle.h"
#include "util/opts.h"

struct Objects {
    Object *first, **last;      /* in the order they were made */
    ThrottleGroups *throttles;
};

Objects *objects_new(void)
{
    Objects *o = g_new0(Objects, 1);

    o->last = &o->first;
    o->throttles = throttle_groups_new();
    return o;
}

ThrottleGroups *objects_throttles(Objects *o)
{
    return o->throttles;
}

void objects_share_throttles(Objects *o, ThrottleGroups *all)
{
    throttle_groups_unref(o->throttles);
    o->throttles = throttle_groups_ref(all);
}

static void object_free(Object *ob)
{
    if (ob->cls->finish)
        ob->cls->finish(ob);
    props_clear(ob, ob->cls->fields);
    g_free(ob->id);
    g_free(ob);
}

/* The last made is the first to go: it may use earlier ones. */
static void free_from(Object *ob)
{
    if (!ob)
        return;
    free_from(ob->next);
    object_free(ob);
}

void objects_free(Objects *o)
{
    if (!o)
        return;
    free_from(o->first);
    throttle_groups_unref(o->throttles);
    g_free(o);
}

static Object *find_id(Objects *o, const char *id)
{
    for (Object *ob = o->first; ob; ob = ob->next) {
        if (!strcmp(ob->id, id))
            return ob;
    }
    return NULL;
}

Object *objects_peek(Objects *o, const ObjectClass *cls, const char *id)
{
    Object *ob = find_id(o, id);

    return ob && ob->cls == cls ? ob : NULL;
}

static Err *find_class(const char *name, const ObjectClass **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const ObjectClass *const *c = object_classes; *c; c++) {
        g_ptr_array_add(names, (void *)(*c)->name);
        if (!strcmp((*c)->name, name)) {
            *out = *c;
            return NULL;
        }
    }
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "invalid object type: %s", name);
    return near ? err_hint(e, "Did you mean '%s'?", near) : err_hint(e, "There are: %s.", all);
}

static Err *check_id(Objects *o, const char *id)
{
    static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    if (!id)
        return err(ERR_INVALID, "Parameter 'id' is missing");
    if (!g_ascii_isalpha(*id) || id[strspn(id, may)])
        return err_hint(err(ERR_INVALID, "Parameter 'id' expects an identifier, not '%s'", id),
                        "It begins with a letter and has letters, digits, '-', '.' and '_'.");
    if (find_id(o, id))
        return err(ERR_INVALID, "attempt to add duplicate property '%s' to object: an object of that id is there", id);
    return NULL;
}

/* ---- making one */

typedef struct Making {
    Objects *all;
    const ObjectClass *cls;
    Object *ob;
    char *id;
} Making;

static Err *set_one(void *opaque, const char *key, const char *value)
{
    Making *m = opaque;
    const Field *f;

    if (!strcmp(key, "qom-type"))
        return NULL;
    if (!strcmp(key, "id")) {
        g_free(m->id);
        m->id = g_strdup(value);
        return NULL;
    }
    TRY(prop_find(m->cls->fields, key, &f));
    return prop_parse(m->ob, f, value);
}

static Err *begin(Making *m, Objects *o, const char *type)
{
    *m = (Making){ .all = o };
    if (!type)
        return err(ERR_INVALID, "Parameter 'qom-type' is missing");
    TRY(find_class(type, &m->cls));
    m->ob = g_malloc0(m->cls->size);
    m->ob->cls = m->cls;
    m->ob->all = o;
    props_init(m->ob, m->cls->fields);
    return NULL;
}

/* Completes it, or throws it away because of e, which is passed on. */
static Err *finish(Making *m, Err *e)
{
    if (!m->ob)
        return e;
    if (!e)
        e = check_id(m->all, m->id);
    if (e) {
        props_clear(m->ob, m->cls->fields);
        g_free(m->ob);
        g_free(m->id);
        return e;
    }
    m->ob->id = m->id;
    if (m->cls->complete)
        e = m->cls->complete(m->ob);
    if (e) {
        e = err_in(e, "%s '%s'", m->cls->name, m->id);
        object_free(m->ob);
        return e;
    }
    *m->all->last = m->ob;
    m->all->last = &m->ob->next;
    return NULL;
}

Err *objects_add(Objects *o, const char *text)
{
    Opts *opts = NULL;
    Making m = { 0 };
    Err *e;

    if (*text == '{') {
        json_error_t why;
        json_t *j = json_loads(text, JSON_REJECT_DUPLICATES, &why);

        if (!j)
            return err(ERR_INVALID, "the object's JSON is wrong: %s (column %d)", why.text, why.column);
        e = objects_add_json(o, j);
        json_decref(j);
        return e;
    }
    TRY(opts_parse(text, NULL, "qom-type", &opts));
    e = begin(&m, o, opts_str(opts, "qom-type", NULL));
    if (!e)
        e = opts_each(opts, set_one, &m);
    opts_free(opts);
    return finish(&m, e);
}

/* Nested groups ("limits": {..}) are names with dots. */
static Err *set_json(Making *m, const char *prefix, const json_t *o, unsigned depth)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        g_autofree char *name = *prefix ? g_strdup_printf("%s.%s", prefix, key) : g_strdup(key);
        g_autofree char *text = NULL;

        if (json_is_object(v) && depth < 4) {
            TRY(set_json(m, name, v, depth + 1));
            continue;
        }
        if (json_is_string(v))
            text = g_strdup(json_string_value(v));
        else if (json_is_boolean(v))
            text = g_strdup(json_is_true(v) ? "on" : "off");
        else if (json_is_integer(v))
            text = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
        else
            return err(ERR_INVALID, "property '%s' is neither a string, a number nor a boolean", name);
        TRY(set_one(m, name, text));
    }
    return NULL;
}

Err *objects_add_json(Objects *o, const json_t *props)
{
    Making m = { 0 };
    Err *e;

    if (!json_is_object(props))
        return err(ERR_INVALID, "an object's properties are {..}");
    e = begin(&m, o, json_string_value(json_object_get(props, "qom-type")));
    if (!e)
        e = set_json(&m, "", props, 0);
    return finish(&m, e);
}

Err *objects_set(Objects *o, const char *id, const json_t *props)
{
    Object *ob = find_id(o, id);

    if (!ob)
        return err(ERR_NOT_FOUND, "object '%s' not found", id);
    if (!ob->cls->changed)
        return err(ERR_UNSUPPORTED, "properties of a %s cannot be changed", ob->cls->name);
    if (json_object_get(props, "id") || json_object_get(props, "qom-type"))
        return err(ERR_INVALID, "id and qom-type of an object cannot be changed");
    Making m = { .all = o, .cls = ob->cls, .ob = ob };
    if (ob->cls->refresh)
        ob->cls->refresh(ob);
    void *was = g_malloc0(ob->cls->size);
    props_copy(was, ob, ob->cls->fields);
    Err *e = set_json(&m, "", props, 0);
    if (!e)
        e = ob->cls->changed(ob);
    if (e)
        props_copy(ob, was, ob->cls->fields);
    props_clear(was, ob->cls->fields);
    g_free(was);
    return e;
}

/* ---- using them */

Err *objects_del(Objects *o, const char *id)
{
    Object **at = &o->first;

    while (*at && strcmp((*at)->id, id))
        at = &(*at)->next;
    Object *ob = *at;
    if (!ob)
        return err(ERR_NOT_FOUND, "object '%s' not found", id);
    if (ob->refs)
        return err(ERR_BUSY, "object '%s' is in use, can not be deleted", id);
    *at = ob->next;
    if (!*at)
        o->last = at;
    object_free(ob);
    return NULL;
}

Err *objects_find(Objects *o, const char *cls, const char *id, Object **out)
{
    g_autoptr(GString) others = g_string_new(NULL);
    Object *ob = find_id(o, id);

    *out = NULL;
    if (ob && strcmp(ob->cls->name, cls))
        return err(ERR_INVALID, "object '%s' is a %s, not a %s", id, ob->cls->name, cls);
    if (ob) {
        *out = ob;
        return NULL;
    }
    for (ob = o->first; ob; ob = ob->next) {
        if (!strcmp(ob->cls->name, cls))
            g_string_append_printf(others, "%s%s", others->len ? ", " : "", ob->id);
    }
    Err *e = err(ERR_NOT_FOUND, "No %s with id '%s'", cls, id);
    return others->len ? err_hint(e, "There are: %s.", others->str)
                       : err_hint(e, "Make one: --object %s,id=%s,..", cls, id);
}

char *objects_help(const char *cls)
{
    GString *out = g_string_new(NULL);

    if (!cls) {
        g_string_append(out, "List of user creatable objects:\n");
        for (const ObjectClass *const *c = object_classes; *c; c++)
            g_string_append_printf(out, "  %s\n", (*c)->name);
        return g_string_free(out, false);
    }
    for (const ObjectClass *const *c = object_classes; *c; c++) {
        if (strcmp((*c)->name, cls))
            continue;
        g_autofree char *props = props_help((*c)->fields);
        g_string_append_printf(out, "%s options:\n%s", cls, props);
        return g_string_free(out, false);
    }
    g_string_free(out, true);
    return NULL;
}
