/* SPDX-License-Identifier: MIT */
/* See monitor/view.h: names and paths of what there is, and what a path names. */
#include <string.h>

#include "hw/core/board.h"
#include "monitor/view-priv.h"

char *view_cpu_type(const Isa *isa, const char *model)
{
    return g_strdup_printf("%s-%s", model, isa->cpu_type);
}

char *view_cpu_path(const Vcpu *v)
{
    return g_strdup_printf("/machine/cpu[%d]", v->index);
}

const char *const view_shelf_names[VIEW_SHELVES] = { "peripheral", "peripheral-anon", "unattached" };

Shelf view_shelf_of(const Device *d)
{
    return d->id ? SHELF_PERIPHERAL : d->cls->bus && !strcmp(d->cls->bus, BUS_SYSTEM) ? SHELF_UNATTACHED : SHELF_ANON;
}

/* Its place among those on its shelf that have no id. */
static int index_on_shelf(Device *d)
{
    int n = 0;

    for (const Device *o = machine_of(d->vm)->devices; o && o != d; o = o->next)
        n += !o->outer && view_shelf_of(o) == view_shelf_of(d);
    return n;
}

char *view_name_on_shelf(Device *d)
{
    return d->id ? g_strdup(d->id) : g_strdup_printf("device[%d]", index_on_shelf(d));
}

char *view_device_path(Device *d)
{
    if (d->outer) {
        g_autofree char *outer = view_device_path(d->outer);

        return g_strdup_printf("%s/virtio-backend", outer);
    }
    g_autofree char *name = view_name_on_shelf(d);
    return g_strdup_printf("/machine/%s/%s", view_shelf_names[view_shelf_of(d)], name);
}

static Device *on_shelf(Vm *vm, Shelf shelf, const char *name)
{
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        if (d->outer || view_shelf_of(d) != shelf)
            continue;
        g_autofree char *its = view_name_on_shelf(d);
        if (!strcmp(its, name))
            return d;
    }
    return NULL;
}

static const Bus *bus_of(const Device *d, const char *name)
{
    for (const Bus *b = machine_of(d->vm)->buses; b; b = b->next) {
        if (b->owner == d && !strcmp(b->name, name))
            return b;
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
    const Bus *b = rest[1] ? NULL : bus_of(d, *rest);
    return b ? (Place){ .kind = PLACE_BUS, .bus = b } : (Place){ 0 };
}

static Place in_machine(Vm *vm, char **parts)
{
    for (int s = 0; *parts && s < VIEW_SHELVES; s++) {
        if (strcmp(*parts, view_shelf_names[s]))
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
Place view_find(Vm *vm, const char *path)
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
    Place at = view_find(vm, id_or_path);

    return at.kind == PLACE_DEVICE ? at.device : NULL;
}

