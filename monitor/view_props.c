/* SPDX-License-Identifier: MIT */
/* qom-list, qom-get, qom-set: what is at a path of the tree (monitor/view.h), by the tables of its kind. */
#include <string.h>

#include "chardev/chardev.h"
#include "hw/core/board.h"
#include "hw/virtio/balloon.h"
#include "monitor/limits.h"
#include "monitor/monitor-priv.h"
#include "monitor/view-priv.h"

static Err *must_find(Vm *vm, const char *path, Place *out)
{
    *out = view_find(vm, path);
    return out->kind ? NULL : no_device(path);
}

/* ---- what a place holds */

void view_row(json_t *list, const char *name, const char *type)
{
    json_array_append_new(list, json_pack("{s:s, s:s}", "name", name, "type", type));
}

static void child(json_t *list, const char *name, const char *type)
{
    g_autofree char *text = g_strdup_printf("child<%s>", type);

    view_row(list, name, text);
}

static void field_row(void *opaque, const Field *f)
{
    g_autofree char *name = field_name(f);

    view_row(opaque, name, field_json_type(f));
}

static void list_fields(json_t *list, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_PROP && !f->hidden)
            field_row(list, f);
    }
}

static bool is_balloon(const Device *d)
{
    return strstr(d->cls->name, "balloon");
}

static void list_device(json_t *list, Device *d)
{
    view_row(list, "parent_bus", "link<bus>");
    view_row(list, "realized", "bool");
    view_row(list, "hotplugged", "bool");
    view_row(list, "hotpluggable", "bool");
    device_class_props(d->cls, field_row, list);
    if (is_balloon(d))
        view_row(list, "guest-stats", "guest statistics");
    if (d->inner)
        child(list, "virtio-backend", d->inner->cls->name);
    for (const Bus *b = machine_of(d->vm)->buses; b; b = b->next) {
        if (b->owner == d)
            child(list, b->name, b->cls->name);
    }
}

static bool is_on(const Device *d, const Bus *b)
{
    return d->bus == b && d->realized;
}

/* A bus names its devices by links, child[0] .. */
static void list_bus(json_t *list, const Bus *b)
{
    const Device *owner = b->owner;
    int n = 0;

    view_row(list, "realized", "bool");
    for (const Device *d = owner ? machine_of(owner->vm)->devices : NULL; d; d = d->next) {
        if (!is_on(d, b))
            continue;
        g_autofree char *name = g_strdup_printf("child[%d]", n++), *type = g_strdup_printf("link<%s>", d->cls->name);
        view_row(list, name, type);
    }
}

static void cpu_row(void *opaque, const char *name, bool on)
{
    view_row(opaque, name, "bool");
}

/* Each extension is a property, as -cpu takes it. */
static void list_cpu(json_t *list, Vm *vm)
{
    const VmConfig *c = vm->config;

    view_row(list, "realized", "bool");
    view_row(list, "hotplugged", "bool");
    view_row(list, "hotpluggable", "bool");
    if (vm->isa->cpu_props)
        err_free(vm->isa->cpu_props(c->cpu ? c->cpu : vm->isa->default_cpu, c->cpu_opts, cpu_row, list));
}

char *view_machine_type(const Board *b)
{
    return g_strdup_printf("%s-machine", b->name);
}

static void list_machine(json_t *list, Vm *vm)
{
    const Board *b = machine_of(vm)->board;

    list_fields(list, machine_fields);
    list_fields(list, b->fields);
    for (size_t i = 0; i < VIEW_SHELVES; i++)
        child(list, view_shelf_names[i], "container");
    for (int i = 0; i < vm->nvcpus; i++) {
        g_autofree char *name = g_strdup_printf("cpu[%d]", i);

        child(list, name, vm->isa->cpu_type);
    }
}

static void list_shelf(json_t *list, Vm *vm, Shelf shelf)
{
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        g_autofree char *name = d->outer || view_shelf_of(d) != shelf ? NULL : view_name_on_shelf(d);

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
    g_autofree char *type = view_machine_type(machine_of(vm)->board);

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
    view_row(list, "type", "string");
    switch (at.kind) {
    case PLACE_ROOT:     list_root(list, m->vm); break;
    case PLACE_MACHINE:  list_machine(list, m->vm); break;
    case PLACE_SHELF:    list_shelf(list, m->vm, at.shelf); break;
    case PLACE_DEVICE:   list_device(list, at.device); break;
    case PLACE_OBJECTS:  list_objects(list, m->vm); break;
    case PLACE_CHARDEVS: list_chardevs(list, m->vm); break;
    case PLACE_BUS:      list_bus(list, at.bus); break;
    case PLACE_CPU:      list_cpu(list, m->vm); break;
    case PLACE_OBJECT:
        if (is_group(&at))
            limits_list(m->vm, at.object->id, view_row, list);
        else
            list_fields(list, object_fields(at.object->kind));
        break;
    default:             break;
    }
    return NULL;
}

/* ---- values */

static char *type_of(Vm *vm, const Place *at)
{
    switch (at->kind) {
    case PLACE_MACHINE: return view_machine_type(machine_of(vm)->board);
    case PLACE_DEVICE:  return g_strdup(at->device->cls->name);
    case PLACE_BUS:     return g_strdup(at->bus->cls->name);
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

/* *ret stays NULL: there is no such property. */
static Err *get_of_object(const VmObject *o, const char *name, json_t **ret)
{
    const Field *f = NULL;
    Err *e = prop_find(object_fields(o->kind), name, &f);

    err_free(e);
    if (e)
        return NULL;
    if (f->hidden)
        return err(ERR_INVALID, "Property '%s.%s' is not readable", o->kind, name);
    g_autofree char *text = object_prop(o, f);
    return field_text_json(f, text, ret);
}

static json_t *get_of_bus(const Bus *b, const char *name)
{
    int n = 0;

    if (!strcmp(name, "realized"))
        return json_true();
    for (Device *d = b->owner ? machine_of(b->owner->vm)->devices : NULL; d; d = d->next) {
        if (!is_on(d, b))
            continue;
        g_autofree char *its = g_strdup_printf("child[%d]", n++), *path = view_device_path(d);
        if (!strcmp(its, name))
            return text_json(path);
    }
    return NULL;
}

typedef struct CpuProp { const char *name; json_t *value; } CpuProp;

static void find_cpu_prop(void *opaque, const char *name, bool on)
{
    CpuProp *p = opaque;

    if (!p->value && !strcmp(name, p->name))
        p->value = json_boolean(on);
}

static json_t *get_of_cpu(const Vm *vm, const char *name)
{
    const VmConfig *c = vm->config;
    CpuProp p = { name, NULL };

    if (!strcmp(name, "realized"))
        return json_true();
    if (!strcmp(name, "hotplugged") || !strcmp(name, "hotpluggable"))
        return json_false();
    if (vm->isa->cpu_props)
        err_free(vm->isa->cpu_props(c->cpu ? c->cpu : vm->isa->default_cpu, c->cpu_opts, find_cpu_prop, &p));
    return p.value;
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
    } else if (at.kind == PLACE_OBJECT) {
        TRY(get_of_object(at.object, args->property, ret));
    } else if (at.kind == PLACE_BUS) {
        *ret = get_of_bus(at.bus, args->property);
    } else if (at.kind == PLACE_CPU) {
        *ret = get_of_cpu(m->vm, args->property);
    }
    return *ret ? NULL : no_property(m->vm, &at, args->property);
}

static Err *set_of_balloon(Device *d, const json_t *v)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
        return err(ERR_INVALID, "Invalid parameter type for 'guest-stats-polling-interval', expected: integer");
    return balloon_poll(d->vm, (uint32_t)json_integer_value(v));
}

/* A value of JSON as an object's property is spelled; NULL: it is of another type. g_free it. */
static char *value_text(const Field *f, const json_t *v)
{
    const bool is_text = f->type == FIELD_STR || f->names;

    if (f->type == FIELD_BOOL)
        return json_is_boolean(v) ? g_strdup(json_is_true(v) ? "on" : "off") : NULL;
    if (is_text)
        return g_strdup(json_string_value(v));
    return json_is_integer(v) ? g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v)) : NULL;
}

static Err *set_of_object(Vm *vm, const VmObject *o, const char *name, const json_t *v)
{
    const Field *f = NULL;
    Err *e = prop_find(object_fields(o->kind), name, &f);

    if (e) {
        err_free(e);
        return err(ERR_NOT_FOUND, "Property '%s.%s' not found", o->kind, name);
    }
    g_autofree char *text = value_text(f, v);
    if (!text)
        return err(ERR_INVALID, "Invalid parameter type for '%s', expected: %s", name, field_json_type(f));
    return object_set_prop(vm, o->id, f, text);
}

Err *qmp_qom_set(Monitor *m, const QomSetArgs *args, json_t **ret)
{
    json_t *there = NULL;
    Place at;

    TRY(must_find(m->vm, args->path, &at));
    g_autofree char *type = type_of(m->vm, &at);
    if (at.kind == PLACE_DEVICE && is_balloon(at.device) && !strcmp(args->property, "guest-stats-polling-interval"))
        return set_of_balloon(at.device, args->value);
    if (at.kind == PLACE_OBJECT && !is_group(&at) && strcmp(args->property, "type"))
        return set_of_object(m->vm, at.object, args->property, args->value);
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
