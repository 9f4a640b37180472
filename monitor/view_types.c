/* SPDX-License-Identifier: MIT */
/* qom-list-types, and the properties that things of a type will have. */
#include <string.h>

#include "hw/core/board.h"
#include "monitor/monitor-priv.h"
#include "monitor/view-priv.h"
#include "system/objects.h"

typedef struct Types { json_t *list; const char *implements; bool abstract; } Types;

/* One type; its ancestors, the nearest first, are parts of `parents`, "pci-device device object". */
static void type_row(Types *t, const char *name, const char *parents, bool abstract)
{
    g_auto(GStrv) up = g_strsplit(parents, " ", -1);

    if (abstract && !t->abstract)
        return;
    if (t->implements && strcmp(t->implements, name) && !g_strv_contains((const char *const *)up, t->implements))
        return;
    json_t *v = json_pack("{s:s}", "name", name);
    if (abstract)
        json_object_set_new(v, "abstract", json_true());
    if (up[0] && *up[0])
        json_object_set_new(v, "parent", json_string(up[0]));
    json_array_append_new(t->list, v);
}

static const char *device_parents(const DeviceClass *c)
{
    if (!c->bus)
        return "device object";
    if (!strcmp(c->bus, BUS_SYSTEM))
        return "sys-bus-device device object";
    return !strcmp(c->bus, "pci") ? "pci-device device object" : !strcmp(c->bus, "virtio-bus") ? "virtio-device device object"
                                                                                             : "device object";
}

static void abstract_types(Types *t, const Isa *isa)
{
    static const char *const rows[][2] = {
        { "object", "" }, { "device", "object" }, { "pci-device", "device object" }, { "virtio-device", "device object" },
        { "sys-bus-device", "device object" }, { "machine", "object" }, { "accel", "object" }, { "chardev", "object" },
        { "cpu", "device object" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        type_row(t, rows[i][0], rows[i][1], true);
    type_row(t, isa->cpu_type, "cpu device object", true);
}

static void cpu_types(Types *t, const Isa *isa)
{
    g_autofree char *parents = g_strdup_printf("%s cpu device object", isa->cpu_type);

    for (const char *const *c = isa->cpu_names; *c; c++) {
        g_autofree char *name = view_cpu_type(isa, *c);

        type_row(t, name, parents, false);
    }
}

static void other_types(Types *t, Vm *vm)
{
    const Field *fields;
    const char *name;

    for (const Board *const *b = board_set; *b; b++) {
        g_autofree char *type = view_machine_type(*b);

        if (!(*b)->isa || !strcmp((*b)->isa, vm->config->isa))
            type_row(t, type, "machine object", false);
    }
    for (unsigned i = 0; (name = object_kind(i, &fields)); i++)
        type_row(t, name, "object", false);
    for (unsigned i = 0; (name = chardev_kind_name(i)); i++) {
        g_autofree char *type = g_strdup_printf("chardev-%s", name);

        type_row(t, type, "chardev object", false);
    }
    type_row(t, "tcg-accel", "accel object", false);
}

Err *qmp_qom_list_types(Monitor *m, const QomListTypesArgs *args, json_t **ret)
{
    Types t = { json_array(), args->implements, args->abstract };

    abstract_types(&t, m->vm->isa);
    for (const DeviceClass *const *c = device_set; *c; c++)
        type_row(&t, (*c)->name, device_parents(*c), false);
    cpu_types(&t, m->vm->isa);
    other_types(&t, m->vm);
    *ret = t.list;
    return NULL;
}

/* ---- their properties */

static void info_row(void *opaque, const Field *f)
{
    g_autofree char *name = field_name(f);
    json_t *v = json_pack("{s:s, s:s}", "name", name, "type", field_json_type(f));

    if (f->doc)
        json_object_set_new(v, "description", json_string(f->doc));
    if (f->def && f->type != FIELD_STR) {
        json_t *def;
        Err *e = field_text_json(f, f->def, &def);

        if (!e && def)
            json_object_set_new(v, "default-value", def);
        err_free(e);
    }
    json_array_append_new(opaque, v);
}

static void info_rows(json_t *list, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_PROP)
            info_row(list, f);
    }
}

/* Its name and its bus are no properties of the kind. */
static void device_info_row(void *opaque, const Field *f)
{
    g_autofree char *name = field_name(f);

    if (strcmp(name, "id") && strcmp(name, "bus"))
        info_row(opaque, f);
}

Err *qmp_device_list_properties(Monitor *m, const DeviceListPropertiesArgs *args, json_t **ret)
{
    const DeviceClass *c = device_class_find(args->typename);

    if (!c)
        return no_device(args->typename);
    *ret = json_array();
    device_class_props(c, device_info_row, *ret);
    return NULL;
}

static const Board *board_of_type(const char *type)
{
    for (const Board *const *b = board_set; *b; b++) {
        g_autofree char *its = view_machine_type(*b);

        if (!strcmp(its, type))
            return *b;
    }
    return NULL;
}

static bool is_type(Monitor *m, const char *name)
{
    const QomListTypesArgs all = { NULL, true, true };
    json_t *list = NULL, *v;
    bool found = false;
    size_t i;

    err_free(qmp_qom_list_types(m, &all, &list));
    json_array_foreach(list, i, v)
        found |= !strcmp(json_string_value(json_object_get(v, "name")), name);
    json_decref(list);
    return found;
}

Err *qmp_qom_list_properties(Monitor *m, const QomListPropertiesArgs *args, json_t **ret)
{
    const DeviceClass *c = device_class_find(args->typename);
    const Board *b = board_of_type(args->typename);
    const Field *fields = NULL;
    const char *name;

    /* Clients ask for the memory backends without looking whether they are there, and one of them minds "no" very much. */
    if (!c && !b && !is_type(m, args->typename) && !g_str_has_prefix(args->typename, "memory-backend-"))
        return err(ERR_NO_DEVICE, "Class '%s' not found", args->typename);
    *ret = json_array();
    view_row(*ret, "type", "string");
    if (c)
        device_class_props(c, device_info_row, *ret);
    if (b) {
        info_rows(*ret, machine_fields);
        info_rows(*ret, b->fields);
    }
    for (unsigned i = 0; (name = object_kind(i, &fields)); i++) {
        if (!strcmp(name, args->typename))
            info_rows(*ret, fields);
    }
    return NULL;
}
