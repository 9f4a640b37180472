/* SPDX-License-Identifier: MIT */
/*
 * Buses, and what plugs into them: plugging while the machine is made and while
 * it runs, asking a guest to let go of a device, taking it away.
 */
#include <string.h>

#include "hw/core/board.h"

void bus_init(Vm *vm, Bus *b, const BusClass *cls, const char *name, Device *owner)
{
    Bus **end = &machine_of(vm)->buses;

    *b = (Bus){ .cls = cls, .name = g_strdup(name), .owner = owner };
    while (*end)
        end = &(*end)->next;
    *end = b;
}

void bus_clear(Vm *vm, Bus *b)
{
    for (Bus **p = &machine_of(vm)->buses; *p; p = &(*p)->next) {
        if (*p == b) {
            *p = b->next;
            break;
        }
    }
    g_free(b->name);
    *b = (Bus){ 0 };
}

Bus *bus_find(Vm *vm, const char *name)
{
    for (Bus *b = machine_of(vm)->buses; b; b = b->next) {
        if (!strcmp(b->name, name))
            return b;
    }
    return NULL;
}

/* ---- plugging */

Err *device_plug(Device *d, Bus *bus)
{
    const Machine *m = machine_of(d->vm);

    d->bus = bus;
    d->hotplugged = m->made;
    if (bus->cls->plug)
        TRY(bus->cls->plug(bus, d));
    d->placed = true;
    TRY(device_realize(d));
    if (m->made && !d->outer)           /* an inner device is reset with the outer */
        device_reset(d);
    if (bus->cls->plugged)
        bus->cls->plugged(bus, d);
    return NULL;
}

Err *device_realize_inner(Device *outer, Bus *bus)
{
    outer->inner->bootindex = outer->bootindex;
    return device_plug(outer->inner, bus);
}

/* ---- unplugging */

Device *device_find(Vm *vm, const char *id)
{
    for (Device *d = machine_of(vm)->devices; d; d = d->next) {
        if (d->id && !strcmp(d->id, id))
            return d;
    }
    return NULL;
}

Err *device_del(Vm *vm, const char *id)
{
    Device *d = device_find(vm, id);

    if (!d)
        return err(ERR_NOT_FOUND, "there is no device '%s'", id);
    if (!d->bus || !d->bus->hotplug)
        return err_hint(err(ERR_UNSUPPORTED, "device '%s' cannot be unplugged: its bus%s%s%s takes and gives nothing while the "
                            "machine runs", id, d->bus ? " '" : "", d->bus ? d->bus->name : "", d->bus ? "'" : ""),
                        "Devices on a pcie-root-port can be.");
    if (d->unplugged)
        return err(ERR_BUSY, "device '%s' is being taken away already", id);
    if (!d->bus->cls->ask_unplug) {
        device_unplug(d);
        return NULL;
    }
    TRY(d->bus->cls->ask_unplug(d->bus, d));
    d->leaving = true;
    return NULL;
}

void device_on_deleted(Vm *vm, void (*fn)(void *, const char *), void *opaque)
{
    Machine *m = machine_of(vm);

    m->on_deleted = fn;
    m->on_deleted_opaque = opaque;
}

/* Takes it and all that depends on it off their buses. */
static void detach(Device *d)
{
    for (Device *o = machine_of(d->vm)->devices; o; o = o->next) {
        if (o->bus && o->bus->owner == d && !o->unplugged)
            detach(o);
    }
    if (d->placed && d->bus->cls->unplug)
        d->bus->cls->unplug(d->bus, d);
    d->unplugged = true;
}

/* Who has gone: its id (NULL: none, or an inner device) and its place among all objects (NULL: it had no name there). */
typedef struct Gone {
    char *id, *path;
    bool inner;
} Gone;

static void gone_clear(void *opaque)
{
    Gone *g = opaque;

    g_free(g->id);
    g_free(g->path);
}

/* Those below and including d, in the order in which they go. */
static void collect_gone(Device *d, GArray *all)
{
    const Device *named = d->outer ? d->outer : d;
    Gone g = { .inner = d->outer };

    for (Device *o = machine_of(d->vm)->devices; o; o = o->next) {
        if (o->bus && o->bus->owner == d)
            collect_gone(o, all);
    }
    if (!d->outer)
        g.id = g_strdup(d->id);
    if (named->id)
        g.path = g_strdup_printf("/machine/peripheral/%s%s", named->id, d->outer ? "/virtio-backend" : "");
    g_array_append_val(all, g);
}

/* One grace period at a time: what is unplugged while it runs waits for the next. */
static void grace_begin(Vm *vm);

static Device *next_dying(const Machine *m)
{
    Device *d = m->devices;

    while (d && !d->dying)
        d = d->next;
    return d;
}

/* To the listener, and as an event to monitors; those without an id were nobody's to name. */
static void tell_deleted(Vm *vm, const Gone *g)
{
    Machine *m = vm->board;

    if (m->on_deleted && !g->inner)
        m->on_deleted(m->on_deleted_opaque, g->id);
    if (!g->path)
        return;
    json_t *data = json_pack("{s:s}", "path", g->path);
    if (g->id)
        json_object_set_new(data, "device", json_string(g->id));
    vm_event(vm, "DEVICE_DELETED", data);
}

static void grace_ended(void *opaque)
{
    Vm *vm = opaque;
    Machine *m = vm->board;

    if (!m)
        return;
    for (Device *d; (d = next_dying(m)) != NULL;) {
        g_autoptr(GArray) gone = g_array_new(false, false, sizeof(Gone));

        g_array_set_clear_func(gone, gone_clear);
        collect_gone(d, gone);
        device_free(d);
        for (guint i = 0; i < gone->len; i++)
            tell_deleted(vm, &g_array_index(gone, Gone, i));
    }
    m->grace = false;
    grace_begin(vm);
}

static void grace_begin(Vm *vm)
{
    Machine *m = machine_of(vm);

    if (m->grace)
        return;
    for (Device *d = m->devices; d; d = d->next) {
        d->dying = d->unplugged;
        m->grace |= d->dying;
    }
    if (m->grace)
        vm_after_safepoint(vm, grace_ended, vm);
}

void device_unplug(Device *d)
{
    if (d->unplugged)
        return;
    detach(d);
    grace_begin(d->vm);
}
