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

/* The ids below and including d, those that go first in front. */
static void collect_ids(Device *d, GPtrArray *ids)
{
    for (Device *o = machine_of(d->vm)->devices; o; o = o->next) {
        if (o->bus && o->bus->owner == d)
            collect_ids(o, ids);
    }
    if (!d->outer)
        g_ptr_array_add(ids, g_strdup(d->id));
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
static void tell_deleted(Vm *vm, const char *id)
{
    Machine *m = vm->board;

    if (m->on_deleted)
        m->on_deleted(m->on_deleted_opaque, id);
    if (!id)
        return;
    g_autofree char *path = g_strdup_printf("/machine/peripheral/%s", id);
    vm_event(vm, "DEVICE_DELETED", json_pack("{s:s, s:s}", "device", id, "path", path));
}

static void grace_ended(void *opaque)
{
    Vm *vm = opaque;
    Machine *m = vm->board;

    if (!m)
        return;
    for (Device *d; (d = next_dying(m)) != NULL;) {
        g_autoptr(GPtrArray) ids = g_ptr_array_new_with_free_func(g_free);

        collect_ids(d, ids);
        device_free(d);
        for (guint i = 0; i < ids->len; i++)
            tell_deleted(vm, ids->pdata[i]);
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
