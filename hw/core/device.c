/* SPDX-License-Identifier: MIT */
/*
 * Making, wiring, resetting and freeing devices; -device.
 */
#include "hw/core/device.h"

#include <string.h>

#include "hw/core/board.h"
#include "util/opts.h"

Device *device_new(Vm *vm, const DeviceClass *cls)
{
    Device *d = g_malloc0(cls->size);

    d->cls = cls;
    d->vm = vm;
    props_init(d, cls->fields);
    return d;
}

Err *device_set_prop(Device *d, const char *name, const char *value)
{
    const Field *f = NULL;

    if (!strcmp(name, "id")) {
        g_free(d->id);
        d->id = g_strdup(value);
        return NULL;
    }
    TRY(prop_find(d->cls->fields, name, &f));
    return prop_parse(d, f, value);
}

/* Register windows are what their rows say. */
static void make_regions(Device *d)
{
    for (const Field *f = d->cls->fields; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_LINK && f->type == FIELD_REGION && f->ops)
            *(Region *)field_at(d, f, 0) = (Region){
                .name = d->cls->name, .kind = REGION_IO, .size = f->size,
                .ops = f->ops, .dev = d, .nolock = f->nolock,
            };
    }
}

Err *device_realize(Device *d)
{
    Machine *m = machine_of(d->vm);

    make_regions(d);
    if (d->cls->realize)
        TRY(d->cls->realize(d));
    d->realized = true;
    *m->devices_end = d;
    m->devices_end = &d->next;
    return NULL;
}

/* Calls fn for each timer among the fields. */
static void each_timer(Device *d, void (*fn)(Timer *))
{
    for (const Field *f = d->cls->fields; f && f->role != FIELD_END; f++) {
        if (f->type != FIELD_TIMER)
            continue;
        for (unsigned i = 0; i < f->count; i++) {
            Timer *t = field_at(d, f, i);

            if (t->vm)
                fn(t);
        }
    }
}

static void unlist(Device *d)
{
    Machine *m = machine_of(d->vm);

    for (Device **p = &m->devices; *p; p = &(*p)->next) {
        if (*p == d) {
            *p = d->next;
            if (!*p)
                m->devices_end = p;
            return;
        }
    }
}

void device_free(Device *d)
{
    if (!d)
        return;
    if (d->realized)
        unlist(d);
    if (d->cls->unrealize)
        d->cls->unrealize(d);
    each_timer(d, timer_del);
    props_clear(d, d->cls->fields);
    g_free(d->id);
    g_free(d);
}

Err *device_place(Device *d, Region *io, uint64_t base)
{
    const char *name = d->cls->name;
    Err *e = device_realize(d);

    if (!e)
        e = space_map(d->vm->mem, base, io, 0);
    if (e)
        device_free(d);
    return err_in(e, "%s", name);
}

void device_reset(Device *d)
{
    each_timer(d, timer_del);
    state_zero(d, d->cls->fields);
    if (d->cls->reset)
        d->cls->reset(d);
}

/* ---- -device */

/* Part of a board: nobody can add one. */
static bool is_built_in(const DeviceClass *c)
{
    return c->bus && !strcmp(c->bus, BUS_SYSTEM);
}

static Err *class_find(const char *name, const DeviceClass **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const DeviceClass *const *c = device_set; *c; c++) {
        if (!is_built_in(*c))
            g_ptr_array_add(names, (void *)(*c)->name);
        if (!strcmp((*c)->name, name)) {
            *out = *c;
            return NULL;
        }
    }
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "there is no device '%s'", name);
    if (strstr(name, "virtio") || strstr(name, "pci") || strstr(name, "net"))
        e = err_hint(e, "There are no PCI and virtio devices yet: no disks, no network.");
    return near ? err_hint(e, "Did you mean '%s'? All devices: -device help", near)
                : err_hint(e, "All devices: -device help");
}

static Err *set_pair(void *opaque, const char *key, const char *value)
{
    return device_set_prop(opaque, key, value);
}

static Err *check_id(Vm *vm, const Device *d)
{
    for (const Device *o = machine_of(vm)->devices; d->id && o; o = o->next) {
        if (o->id && !strcmp(o->id, d->id))
            return err(ERR_INVALID, "id '%s' is taken already, by a '%s'", d->id, o->cls->name);
    }
    return NULL;
}

/* The bus the device goes to: the one of its class. */
static Err *choose_bus(Vm *vm, Device *d)
{
    if (!d->cls->bus)
        return NULL;
    if (is_built_in(d->cls))
        return err_hint(err(ERR_INVALID, "it is part of a board and cannot be added"),
                        "-device help lists what can be.");
    for (Bus *b = machine_of(vm)->buses; b; b = b->next) {
        if (!strcmp(b->cls->name, d->cls->bus)) {
            d->bus = b;
            return NULL;
        }
    }
    return err(ERR_NOT_FOUND, "this machine has no %s bus for it", d->cls->bus);
}

static Err *add(Vm *vm, Device *d, const char *props)
{
    Opts *o = NULL;

    TRY(opts_parse(props, NULL, NULL, &o));
    Err *e = opts_each(o, set_pair, d);
    opts_free(o);
    TRY(e);
    TRY(check_id(vm, d));
    TRY(choose_bus(vm, d));
    if (d->bus && d->bus->cls->plug)
        TRY(d->bus->cls->plug(d->bus, d));
    return device_realize(d);
}

Err *device_add(Vm *vm, const char *arg)
{
    const DeviceClass *cls = NULL;
    g_autofree char *name = NULL;
    g_autofree char *props = opts_rest(arg, &name);
    const char *driver = g_str_has_prefix(name, "driver=") ? name + strlen("driver=") : name;
    Err *e = class_find(driver, &cls);

    if (!e) {
        Device *d = device_new(vm, cls);

        e = add(vm, d, props);
        if (e)
            device_free(d);
    }
    return err_in(e, "-device %s", driver);
}

static bool is_help(const char *word)
{
    return !strcmp(word, "help") || !strcmp(word, "?");
}

Err *device_help(const char *arg, char **out)
{
    g_autofree char *name = NULL;
    g_autofree char *rest = opts_rest(arg, &name);
    const DeviceClass *cls = NULL;

    *out = NULL;
    if (is_help(name)) {
        GString *all = g_string_new(NULL);

        for (const DeviceClass *const *c = device_set; *c; c++) {
            if (!is_built_in(*c))
                g_string_append_printf(all, "name \"%s\"%s%s%s, desc \"%s\"\n", (*c)->name,
                                       (*c)->bus ? ", bus " : "", (*c)->bus ? (*c)->bus : "", "", (*c)->doc);
        }
        *out = g_string_free(all, false);
    } else if (is_help(rest)) {
        TRY(err_in(class_find(name, &cls), "-device %s", name));
        g_autofree char *props = props_help(cls->fields);
        *out = g_strdup_printf("%s options:\n%s", name, props);
    }
    return NULL;
}
