/* SPDX-License-Identifier: MIT */
/* See monitor/view.h. qom-list, -get, -set, and the lists of types and of their properties. */
#include "monitor/view.h"

#include <string.h>

#include "chardev/chardev.h"
#include "hw/core/board.h"
#include "hw/virtio/balloon.h"
#include "monitor/limits.h"
#include "monitor/monitor-priv.h"
#include "system/objects.h"

/* ---- names and places */

char *view_cpu_type(const Isa *isa, const char *model)
{
    return g_strdup_printf("%s-%s", model, isa->cpu_type);
}

char *view_cpu_path(const Vcpu *v)
{
    return g_strdup_printf("/machine/cpu[%d]", v->index);
}

typedef enum Shelf { SHELF_PERIPHERAL, SHELF_ANON, SHELF_UNATTACHED } Shelf;
static const char *const shelf_names[] = { "peripheral", "peripheral-anon", "unattached" };

static Shelf shelf_of(const Device *d)
{
    return d->id ? SHELF_PERIPHERAL : d->cls->bus && !strcmp(d->cls->bus, BUS_SYSTEM) ? SHELF_UNATTACHED : SHELF_ANON;
}

/* Its place among those on its shelf that have no id. */
static int index_on_shelf(Device *d)
{
    int n = 0;

    for (const Device *o = machine_of(d->vm)->devices; o && o != d; o = o->next)
        n += !o->outer && shelf_of(o) == shelf_of(d);
    return n;
}

static char *name_on_shelf(Device *d)
{
    return d->id ? g_strdup(d->id) : g_strdup_printf("device[%d]", index_on_shelf(d));
}

char *view_device_path(Device *d)
{
    if (d->outer) {
        g_autofree char *outer = view_device_path(d->outer);

        return g_strdup_printf("%s/virtio-backend", outer);
    }
    g_autofree char *name = name_on_shelf(d);
    return g_strdup_printf("/machine/%s/%s", shelf_names[shelf_of(d)], name);
}

typedef enum PlaceKind {
    PLACE_NONE, PLACE_ROOT, PLACE_MACHINE, PLACE_SHELF, PLACE_DEVICE, PLACE_CPU, PLACE_OBJECTS, PLACE_OBJECT, PLACE_CHARDEVS,
    PLACE_CHARDEV, PLACE_BACKEND,
} PlaceKind;

typedef struct Place {
    PlaceKind kind;
    Shelf shelf;
    Device *device;
    const Vcpu *cpu;
    const VmObject *object;
    Chardev *chardev;
} Place;

static Device *on_shelf(Vm *vm, Shelf shelf, const char *name)
{
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        if (d->outer || shelf_of(d) != shelf)
            continue;
        g_autofree char *its = name_on_shelf(d);
        if (!strcmp(its, name))
            return d;
    }
    return NULL;
}

static Place device_place_of(Device *d, char **rest)
{
    if (!d)
        return (Place){ 0 };
    if (!*rest)
        return (Place){ .kind = PLACE_DEVICE, .device = d };
    if (!strcmp(*rest, "virtio-backend") && d->inner)
        return device_place_of(d->inner, rest + 1);
    return (Place){ 0 };
}

static Place in_machine(Vm *vm, char **parts)
{
    for (int s = 0; *parts && s < (int)G_N_ELEMENTS(shelf_names); s++) {
        if (strcmp(*parts, shelf_names[s]))
            continue;
        if (!parts[1])
            return (Place){ .kind = PLACE_SHELF, .shelf = s };
        return device_place_of(on_shelf(vm, s, parts[1]), parts + 2);
    }
    if (!*parts)
        return (Place){ .kind = PLACE_MACHINE };
    for (int i = 0; i < vm->nvcpus && !parts[1]; i++) {
        g_autofree char *name = g_strdup_printf("cpu[%d]", i);

        if (!strcmp(name, *parts))
            return (Place){ .kind = PLACE_CPU, .cpu = vm->vcpus[i] };
    }
    return (Place){ 0 };
}

static Place in_objects(Vm *vm, char **parts)
{
    const VmObject *o = *parts && !parts[1] ? object_find(vm, *parts) : NULL;

    return o ? (Place){ .kind = PLACE_OBJECT, .object = o } : (Place){ .kind = *parts ? PLACE_NONE : PLACE_OBJECTS };
}

static Place in_chardevs(Vm *vm, char **parts)
{
    if (!*parts)
        return (Place){ .kind = PLACE_CHARDEVS };
    for (Chardev *c = NULL; vm->chardevs && !parts[1] && (c = chardev_next(vm->chardevs, c)); ) {
        if (!strcmp(chardev_id(c), *parts))
            return (Place){ .kind = PLACE_CHARDEV, .chardev = c };
    }
    return (Place){ 0 };
}

/* A path, or the id of a device. */
static Place find(Vm *vm, const char *path)
{
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    char **p = parts, **kept = parts;

    if (*path && *path != '/')
        return device_place_of(on_shelf(vm, SHELF_PERIPHERAL, parts[0]), parts + 1);
    /* Empty parts mean nothing: "/", "//machine". */
    for (; *p; p++) {
        if (**p)
            *kept++ = *p;
        else
            g_free(*p);
    }
    *kept = NULL;
    p = parts;
    if (!*p)
        return (Place){ .kind = PLACE_ROOT };
    if (!strcmp(*p, "machine"))
        return in_machine(vm, p + 1);
    if (!strcmp(*p, "objects"))
        return in_objects(vm, p + 1);
    if (!strcmp(*p, "chardevs"))
        return in_chardevs(vm, p + 1);
    return (Place){ .kind = !strcmp(*p, "backend") && !p[1] ? PLACE_BACKEND : PLACE_NONE };
}

Device *view_device(Vm *vm, const char *id_or_path)
{
    Place at = find(vm, id_or_path);

    return at.kind == PLACE_DEVICE ? at.device : NULL;
}

static Err *must_find(Vm *vm, const char *path, Place *out)
{
    *out = find(vm, path);
    return out->kind ? NULL : no_device(path);
}

/* ---- what a place holds */

static void row(json_t *list, const char *name, const char *type)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "type", type));
}

static void child(json_t *list, const char *name, const char *type)
{
    g_autofree char *text = g_strdup_printf("child<%s>", type);

    row(list, name, text);
}

static void field_row(void *opaque, const Field *f)
{
    g_autofree char *name = field_name(f);

    row(opaque, name, field_json_type(f));
}

static void list_fields(json_t *list, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_PROP)
            field_row(list, f);
    }
}

static bool is_balloon(const Device *d)
{
    return strstr(d->cls->name, "balloon");
}

static void list_device(json_t *list, Device *d)
{
    row(list, "parent_bus", "link<bus>");
    row(list, "realized", "bool");
    row(list, "hotplugged", "bool");
    row(list, "hotpluggable", "bool");
    device_class_props(d->cls, field_row, list);
    if (is_balloon(d))
        row(list, "guest-stats", "guest statistics");
    if (d->inner)
        child(list, "virtio-backend", d->inner->cls->name);
    for (const Bus *b = machine_of(d->vm)->buses; b; b = b->next) {
        if (b->owner == d)
            child(list, b->name, b->cls->name);
    }
}

static char *machine_type(const Board *b)
{
    return g_strdup_printf("%s-machine", b->name);
}

static void list_machine(json_t *list, Vm *vm)
{
    const Board *b = machine_of(vm)->board;

    list_fields(list, machine_fields);
    list_fields(list, b->fields);
    for (size_t i = 0; i < G_N_ELEMENTS(shelf_names); i++)
        child(list, shelf_names[i], "container");
    for (int i = 0; i < vm->nvcpus; i++) {
        g_autofree char *name = g_strdup_printf("cpu[%d]", i);

        child(list, name, vm->isa->cpu_type);
    }
}

static void list_shelf(json_t *list, Vm *vm, Shelf shelf)
{
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        g_autofree char *name = d->outer || shelf_of(d) != shelf ? NULL : name_on_shelf(d);

        if (name)
            child(list, name, d->cls->name);
    }
}

static void list_objects(json_t *list, Vm *vm)
{
    const VmObject *o;

    for (unsigned i = 0; (o = object_at(vm, i)); i++)
        child(list, o->id, o->kind);
}

static void list_chardevs(json_t *list, Vm *vm)
{
    for (Chardev *c = NULL; vm->chardevs && (c = chardev_next(vm->chardevs, c)); ) {
        g_autofree char *type = g_strdup_printf("chardev-%s", chardev_kind(c));

        child(list, chardev_id(c), type);
    }
}

static void list_root(json_t *list, Vm *vm)
{
    g_autofree char *type = machine_type(machine_of(vm)->board);

    child(list, "machine", type);
    child(list, "objects", "container");
    child(list, "chardevs", "container");
    child(list, "backend", "container");
}

static bool is_group(const Place *at)
{
    return at->kind == PLACE_OBJECT && !strcmp(at->object->kind, "throttle-group");
}

Err *qmp_qom_list(Monitor *m, const QomListArgs *args, json_t **ret)
{
    Place at;

    TRY(must_find(m->vm, args->path ? args->path : "/", &at));
    json_t *list = *ret = json_array();
    row(list, "type", "string");
    switch (at.kind) {
    case PLACE_ROOT:     list_root(list, m->vm); break;
    case PLACE_MACHINE:  list_machine(list, m->vm); break;
    case PLACE_SHELF:    list_shelf(list, m->vm, at.shelf); break;
    case PLACE_DEVICE:   list_device(list, at.device); break;
    case PLACE_OBJECTS:  list_objects(list, m->vm); break;
    case PLACE_CHARDEVS: list_chardevs(list, m->vm); break;
    case PLACE_OBJECT:
        if (is_group(&at))
            limits_list(m->vm, at.object->id, row, list);
        break;
    default:             break;
    }
    return NULL;
}

/* ---- values */

static char *type_of(Vm *vm, const Place *at)
{
    switch (at->kind) {
    case PLACE_MACHINE: return machine_type(machine_of(vm)->board);
    case PLACE_DEVICE:  return g_strdup(at->device->cls->name);
    case PLACE_CPU:     return view_cpu_type(vm->isa, vm->config->cpu ? vm->config->cpu : vm->isa->default_cpu);
    case PLACE_OBJECT:  return g_strdup(at->object->kind);
    case PLACE_CHARDEV: return g_strdup_printf("chardev-%s", chardev_kind(at->chardev));
    default:            return g_strdup("container");
    }
}

static Err *no_property(Vm *vm, const Place *at, const char *name)
{
    g_autofree char *type = type_of(vm, at);

    return err(ERR_NOT_FOUND, "Property '%s.%s' not found", type, name);
}

/* VIRTIO 1.2, 5.5.6.3, by the names that QEMU's clients know. */
static json_t *stats_json(const BalloonStats *s)
{
    static const char *const names[] = {
        "stat-swap-in", "stat-swap-out", "stat-major-faults", "stat-minor-faults", "stat-free-memory", "stat-total-memory",
        "stat-available-memory", "stat-disk-caches", "stat-htlb-pgalloc", "stat-htlb-pgfail",
    };
    json_t *all = json_object();

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        json_object_set_new(all, names[i], json_integer(s->values[i]));
    return json_pack("{s:I, s:o}", "last-update", (json_int_t)(s->when / 1000000000), "stats", all);
}

static Err *get_stats(Device *d, json_t **ret)
{
    BalloonStats s;

    TRY(balloon_stats(d->vm, &s));
    *ret = stats_json(&s);
    return NULL;
}

/* *ret stays NULL: there is no such property. */
static Err *get_of_device(Device *d, const char *name, json_t **ret)
{
    const Field *f;
    Device *whose;

    if (!strcmp(name, "realized"))
        *ret = json_boolean(d->realized);
    else if (!strcmp(name, "hotplugged"))
        *ret = json_boolean(d->hotplugged);
    else if (!strcmp(name, "hotpluggable"))
        *ret = json_boolean(d->bus && d->bus->hotplug);
    else if (!strcmp(name, "parent_bus"))
        *ret = json_string(d->bus ? d->bus->name : "");
    else if (is_balloon(d) && !strcmp(name, "guest-stats"))
        return get_stats(d, ret);
    else if (device_prop(d, name, &whose, &f))
        *ret = take(field_json(whose, f));
    return NULL;
}

static json_t *get_of_fields(const void *obj, const Field *table, const char *name)
{
    const Field *f = NULL;
    Err *e = prop_find(table, name, &f);
    bool found = !e;

    err_free(e);
    return found ? take(field_json(obj, f)) : NULL;
}

static json_t *get_of_machine(Vm *vm, const char *name)
{
    const Machine *mach = machine_of(vm);
    json_t *v = get_of_fields(mach, machine_fields, name);

    return v ? v : get_of_fields(mach, mach->board->fields, name);
}

Err *qmp_qom_get(Monitor *m, const QomGetArgs *args, json_t **ret)
{
    Place at;

    TRY(must_find(m->vm, args->path, &at));
    if (!strcmp(args->property, "type")) {
        g_autofree char *type = type_of(m->vm, &at);

        *ret = json_string(type);
    } else if (at.kind == PLACE_DEVICE) {
        TRY(get_of_device(at.device, args->property, ret));
    } else if (at.kind == PLACE_MACHINE) {
        *ret = get_of_machine(m->vm, args->property);
    } else if (is_group(&at)) {
        *ret = limits_get(m->vm, at.object->id, args->property);
    }
    return *ret ? NULL : no_property(m->vm, &at, args->property);
}

static Err *set_of_balloon(Device *d, const json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
        return err(ERR_INVALID, "Invalid parameter type for 'guest-stats-polling-interval', expected: integer");
    return balloon_poll(d->vm, (uint32_t)json_integer_value(v));
}

Err *qmp_qom_set(Monitor *m, const QomSetArgs *args, json_t **ret)
{
    json_t *there = NULL;
    Place at;

    TRY(must_find(m->vm, args->path, &at));
    g_autofree char *type = type_of(m->vm, &at);
    if (at.kind == PLACE_DEVICE && is_balloon(at.device) && !strcmp(args->property, "guest-stats-polling-interval"))
        return set_of_balloon(at.device, args->value);
    const QomGetArgs get = { args->path, args->property };
    TRY(qmp_qom_get(m, &get, &there));
    json_decref(there);
    if (is_group(&at))
        return limits_put(m->vm, at.object->id, args->property, args->value);
    if (at.kind == PLACE_DEVICE)
        return err(ERR_UNSUPPORTED, "Attempt to set property '%s' on device '%s' (type '%s') after it was realized", args->property,
                   at.device->id ? at.device->id : "", type);
    return err(ERR_UNSUPPORTED, "Property '%s.%s' cannot be changed while the machine is there", type, args->property);
}

/* ---- types */

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
        g_autofree char *type = machine_type(*b);

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
        uint64_t room[2] = { 0 };
        Field alone = *f;
        alone.offset = 0;
        Err *e = f->bytes <= sizeof(room) ? prop_parse(room, &alone, f->def) : err(ERR_INVALID, "no scalar");

        if (!e)
            json_object_set_new(v, "default-value", field_json(room, &alone));
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
        g_autofree char *its = machine_type(*b);

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
    row(*ret, "type", "string");
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
