/* SPDX-License-Identifier: MIT */
/*
 * The devices of a machine as a part of its saved form: a section for each, named
 * by its bus, its class and its place, so that a device is found again whatever
 * the order in which devices came. What is in it say its tables (STATE rows), its
 * bus and its class; see hw/core/device.h.
 */
#include <string.h>

#include "hw/core/board.h"
#include "system/stream.h"

static bool is_there(const Device *d)
{
    return !d->unplugged && !d->dying;
}

/* ---- names */

static char *base_name(const Device *d)
{
    if (d->outer) {
        g_autofree char *outer = device_state_name(d->outer);

        return g_strconcat(outer, "/", d->cls->name, NULL);
    }
    if (!d->bus)
        return g_strconcat("device/", d->cls->name, NULL);
    g_autofree char *part = d->bus->cls->path ? d->bus->cls->path(d->bus, d) : NULL;
    const char *place = part ? strchr(part, '@') : NULL;
    return g_strconcat("device/", d->bus->name, "/", d->cls->name, place ? place : "", NULL);
}

/* Those that are called the same are counted. An inner device is the only one of its outer. */
char *device_state_name(const Device *d)
{
    g_autofree char *name = base_name(d);
    unsigned n = 0;

    for (const Device *o = machine_of(d->vm)->devices; o && o != d && !d->outer; o = o->next) {
        if (!is_there(o) || o->outer || o->cls != d->cls)
            continue;
        g_autofree char *other = base_name(o);
        n += !strcmp(name, other);
    }
    return n ? g_strdup_printf("%s#%u", name, n) : g_steal_pointer(&name);
}

static unsigned version_of(const DeviceClass *c)
{
    unsigned v = MAX(c->version, 1);

    v = MAX(v, state_fields_version(c->base));
    return MAX(v, state_fields_version(c->fields));
}

/* ---- saving */

static Err *can_save(void *opaque)
{
    for (Device *d = ((Machine *)opaque)->devices; d; d = d->next) {
        if (!is_there(d) || !d->cls->can_save)
            continue;
        TRY(err_in(d->cls->can_save(d), "device '%s'%s%s", d->cls->name, d->id ? " " : "", d->id ? d->id : ""));
    }
    return NULL;
}

static void save_device(Device *d, StateOut *out)
{
    const DeviceClass *c = d->cls;
    g_autofree char *name = device_state_name(d);

    state_begin(out, name, version_of(c));
    state_put_fields(out, "", c->base, d);
    state_put_fields(out, "", c->fields, d);
    if (d->bus && d->bus->cls->save)
        d->bus->cls->save(d->bus, d, out);
    if (c->save)
        c->save(d, out);
}

static void save(void *opaque, StateOut *out)
{
    for (Device *d = ((Machine *)opaque)->devices; d; d = d->next) {
        if (is_there(d))
            save_device(d, out);
    }
}

/* ---- loading */

/* A device that boards were given later: it stays as it is after a reset. */
static bool lacks(const Device *d, const StateIn *in)
{
    g_autofree char *name = device_state_name(d);

    return d->cls->later && !state_has_section(in, name);
}

/* Everybody finds a section; state_all_read says whether a section is left over. */
static Err *check(void *opaque, StateIn *in)
{
    for (Device *d = ((Machine *)opaque)->devices; d; d = d->next) {
        if (!is_there(d) || lacks(d, in))
            continue;
        g_autofree char *name = device_state_name(d);

        TRY(err_hint(state_open(in, name, version_of(d->cls)), "The machine has to be made with the same options."));
    }
    return NULL;
}

static Err *load_device(Device *d, StateIn *in)
{
    const DeviceClass *c = d->cls;
    g_autofree char *name = device_state_name(d);

    TRY(state_open(in, name, version_of(c)));
    TRY(state_get_fields(in, "", c->base, d));
    TRY(state_get_fields(in, "", c->fields, d));
    if (d->bus && d->bus->cls->load)
        TRY(err_in(d->bus->cls->load(d->bus, d, in), "%s", name));
    if (c->load)
        TRY(err_in(c->load(d, in), "%s", name));
    return state_close(in);
}

static Err *load(void *opaque, StateIn *in)
{
    for (Device *d = ((Machine *)opaque)->devices; d; d = d->next) {
        if (is_there(d) && !lacks(d, in))
            TRY(load_device(d, in));
    }
    return NULL;
}

static Err *finish_device(Device *d)
{
    if (d->bus && d->bus->cls->loaded)
        TRY(d->bus->cls->loaded(d->bus, d));
    return d->cls->loaded ? d->cls->loaded(d) : NULL;
}

static Err *finish(void *opaque)
{
    for (Device *d = ((Machine *)opaque)->devices; d; d = d->next) {
        if (is_there(d))
            TRY(err_in(finish_device(d), "device '%s'", d->cls->name));
    }
    return NULL;
}

static const StatePart part = {
    .name = "devices", .can_save = can_save, .save = save, .check = check, .load = load, .finish = finish,
};

void devices_saved(Vm *vm)
{
    state_part_add(vm, &part, machine_of(vm));
}
