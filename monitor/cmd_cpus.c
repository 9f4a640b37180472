/* SPDX-License-Identifier: MIT */
/* CPU models: what they consist of, by the guest's own table (Isa.cpu_props). */
#include <string.h>

#include "monitor/monitor-priv.h"
#include "target/isa.h"

/* A model of the schema as -cpu has it: "zba=off,..". */
static Err *options(const json_t *model, char **out)
{
    const json_t *props = json_object_get(model, "props");
    g_autoptr(GString) s = g_string_new(NULL);
    const char *key;
    json_t *v;

    if (props && !json_is_object(props))
        return err(ERR_INVALID, "Invalid parameter type for 'props', expected: object");
    json_object_foreach((json_t *)props, key, v) {
        if (!json_is_boolean(v))
            return err(ERR_INVALID, "Invalid parameter type for '%s', expected: boolean", key);
        if (strpbrk(key, ",="))
            return err(ERR_INVALID, "Parameter '%s' is unexpected", key);
        if (!strcmp(key, "migratable") || !strcmp(key, "pmu"))     /* of every model of QEMU's, and true of these */
            continue;
        g_string_append_printf(s, "%s%s=%s", s->len ? "," : "", key, json_is_true(v) ? "on" : "off");
    }
    *out = g_strdup(s->str);
    return NULL;
}

static void add_prop(void *opaque, const char *name, bool on)
{
    json_object_set_new(opaque, name, json_boolean(on));
}

/* All properties of that model: *out is an object of booleans. */
static Err *props_of(Monitor *m, const json_t *model, json_t **out)
{
    const char *name = json_string_value(json_object_get(model, "name"));
    g_autofree char *opts = NULL;

    if (!m->vm->isa || !m->vm->isa->cpu_props)
        return err(ERR_UNSUPPORTED, "this guest's CPUs have no models");
    TRY(options(model, &opts));
    json_t *props = json_object();
    Err *e = m->vm->isa->cpu_props(name, opts, add_prop, props);
    if (e) {
        json_decref(props);
        return e;
    }
    *out = props;
    return NULL;
}

static json_t *only_on(const json_t *props)
{
    json_t *out = json_object(), *v;
    const char *key;

    json_object_foreach((json_t *)props, key, v) {
        if (json_is_true(v))
            json_object_set(out, key, v);
    }
    return out;
}

Err *qmp_query_cpu_model_expansion(Monitor *m, const QueryCpuModelExpansionArgs *args, json_t **ret)
{
    json_t *props = NULL;

    TRY(props_of(m, args->model, &props));
    if (args->type == QMP_CPU_MODEL_EXPANSION_TYPE_STATIC) {
        json_t *on = only_on(props);

        json_decref(props);
        props = on;
    }
    *ret = json_pack("{s:{s:O, s:o}}", "model", "name", json_object_get(args->model, "name"), "props", props);
    return NULL;
}

static Err *both(Monitor *m, const json_t *a, const json_t *b, json_t **pa, json_t **pb)
{
    TRY(props_of(m, a, pa));
    Err *e = props_of(m, b, pb);
    if (e)
        json_decref(*pa);
    return e;
}

Err *qmp_query_cpu_model_comparison(Monitor *m, const QueryCpuModelComparisonArgs *args, json_t **ret)
{
    json_t *a = NULL, *b = NULL, *v, *which = json_array();
    bool more = false, less = false;
    const char *key;

    Err *e = both(m, args->modela, args->modelb, &a, &b);
    if (e) {
        json_decref(which);
        return e;
    }
    json_object_foreach(a, key, v) {
        bool there = json_is_true(json_object_get(b, key));

        if (json_is_true(v) == there)
            continue;
        json_array_append_new(which, json_string(key));
        *(there ? &less : &more) = true;
    }
    *ret = json_pack("{s:s, s:o}", "result", more && less ? "incompatible" : more ? "superset" : less ? "subset" : "identical",
                     "responsible-properties", which);
    json_decref(a);
    json_decref(b);
    return NULL;
}

Err *qmp_query_cpu_model_baseline(Monitor *m, const QueryCpuModelBaselineArgs *args, json_t **ret)
{
    json_t *a = NULL, *b = NULL, *v;
    const char *key;
    void *tmp;

    TRY(both(m, args->modela, args->modelb, &a, &b));
    json_object_foreach_safe(a, tmp, key, v)
        json_object_set_new(a, key, json_boolean(json_is_true(v) && json_is_true(json_object_get(b, key))));
    json_decref(b);
    *ret = json_pack("{s:{s:O, s:o}}", "model", "name", json_object_get(args->modela, "name"), "props", a);
    return NULL;
}
