/* SPDX-License-Identifier: MIT */
/* Plugging and unplugging devices, making and deleting objects. */
#include <string.h>

#include "hw/core/board.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "system/objects.h"

/* What a kind takes, device-list-properties tells. */
void qmp_open_devices(QmpOpen *to)
{
}

/* A CPU is no device that this machine takes. */
static Err *pluggable(Vm *vm, const char *driver)
{
    for (const char *const *c = vm->isa ? vm->isa->cpu_names : NULL; c && *c && driver; c++) {
        g_autofree char *type = view_cpu_type(vm->isa, *c);

        if (!strcmp(type, driver))
            return err_hint(err(ERR_UNSUPPORTED, "Parameter 'driver' expects a pluggable device type"),
                            "This machine takes no CPUs while it runs: -smp says how many there are.");
    }
    return NULL;
}

Err *qmp_device_add(Monitor *m, const DeviceAddArgs *args, json_t **ret)
{
    TRY(pluggable(m->vm, json_string_value(json_object_get(args->all, "driver"))));
    return device_add_json(m->vm, args->all);
}

Err *hmp_device_add(Monitor *m, const HmpDeviceAddArgs *args, GString *out)
{
    char *help = NULL;

    g_autofree char *driver = g_strndup(args->args, strcspn(args->args, ","));

    TRY(pluggable(m->vm, driver));
    TRY(device_help(args->args, &help));
    if (help) {
        g_string_append(out, help);
        g_free(help);
        return NULL;
    }
    return device_add(m->vm, args->args);
}

Err *qmp_device_del(Monitor *m, const DeviceDelArgs *args, json_t **ret)
{
    Device *d = view_device(m->vm, args->id);

    if (!d)
        return no_device(args->id);
    if (!d->id)
        return err(ERR_UNSUPPORTED, "device '%s' has no id, so it cannot be unplugged", args->id);
    return device_del(m->vm, d->id);
}

/* ---- objects */

void qmp_open_objects(QmpOpen *to)
{
    const Field *fields;
    const char *name;

    for (unsigned i = 0; (name = object_kind(i, &fields)); i++) {
        qmp_open_case(to, name);
        qmp_open_fields(to, fields);
    }
}

static Err *add_object(Monitor *m, const json_t *props)
{
    char *text = json_dumps(props, 0);
    Err *e = text ? object_add(m->vm, text) : err(ERR_INVALID, "it cannot be written as JSON");

    free(text);
    return e;
}

static bool is_object_kind(const char *kind)
{
    const Field *fields;
    const char *name;

    for (unsigned i = 0; (name = object_kind(i, &fields)); i++) {
        if (!strcmp(name, kind))
            return true;
    }
    return false;
}

Err *qmp_object_add(Monitor *m, const ObjectAddArgs *args, json_t **ret)
{
    const json_t *kind = json_object_get(args->all, "qom-type");

    if (!kind)
        return err(ERR_INVALID, "Parameter 'qom-type' is missing");
    if (!json_is_string(kind))
        return err(ERR_INVALID, "Invalid parameter type for 'qom-type', expected: string");
    if (!is_object_kind(json_string_value(kind)))
        return err(ERR_INVALID, "Parameter 'qom-type' does not accept value '%s'", json_string_value(kind));
    return add_object(m, args->all);
}

Err *hmp_object_add(Monitor *m, const HmpObjectAddArgs *args, GString *out)
{
    return object_add(m->vm, args->args);
}

/* A device that names it in a property for such objects. */
static const Device *object_user(Vm *vm, const char *id)
{
    static const char *const names[] = { "rng", "iothread" };

    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
            const Field *f;
            Device *whose;

            if (!device_prop(d, names[i], &whose, &f) || f->type != FIELD_STR)
                continue;
            if (!g_strcmp0(*(char **)field_at(whose, f, 0), id))
                return d->outer ? d->outer : d;
        }
    }
    return NULL;
}

Err *qmp_object_del(Monitor *m, const ObjectDelArgs *args, json_t **ret)
{
    const Device *user = object_find(m->vm, args->id) ? object_user(m->vm, args->id) : NULL;

    if (user)
        return err(ERR_BUSY, "object '%s' is in use, can not be deleted: a '%s' has it", args->id, user->cls->name);
    return object_del(m->vm, args->id);
}
