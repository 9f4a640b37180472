/* SPDX-License-Identifier: MIT */
/*
 * Making, wiring, resetting and freeing devices: the readers of their field
 * tables. A device's own tables are those of Device, of the struct it begins
 * with (class->base) and of its class.
 */
#include "hw/core/device.h"

#include <string.h>

#include "chardev/chardev.h"
#include "hw/core/board.h"
#include "system/disks.h"
#include "system/vmconfig.h"
#include "util/opts.h"

/* ---- fields */

static const Field device_fields[] = {
    PROP(Device, id, .doc = "its name"),
    PROP(Device, bus_name, .as = "bus", .doc = "the bus it plugs into"),
    PROP(Device, bootindex, .def = "-1", .doc = "place in the order of what firmware boots from"),
    {0}
};

enum { TABLES = 3 };
typedef struct Tables { const Field *t[TABLES]; } Tables;

static Tables tables(const DeviceClass *c)
{
    return (Tables){ { device_fields, c->base, c->fields } };
}

/* Calls fn for each field of the device's own. */
static void each_field(Device *d, void (*fn)(Device *, const Field *))
{
    Tables all = tables(d->cls);

    for (int i = 0; i < TABLES; i++) {
        for (const Field *f = all.t[i]; f && f->role != FIELD_END; f++)
            fn(d, f);
    }
}

/* Register windows are what their rows say. */
static void make_region(Device *d, const Field *f)
{
    if (f->role == FIELD_LINK && f->type == FIELD_REGION && f->ops)
        *(Region *)field_at(d, f, 0) = (Region){
            .name = d->cls->name, .kind = REGION_IO, .size = f->size,
            .ops = f->ops, .dev = d, .nolock = f->nolock,
        };
}

static void stop_timer(Device *d, const Field *f)
{
    for (unsigned i = 0; f->type == FIELD_TIMER && i < f->count; i++) {
        Timer *t = field_at(d, f, i);

        if (t->vm)
            timer_del(t);
    }
}

static void free_disk_name(Device *d, const Field *f)
{
    if (f->role == FIELD_PROP && f->type == FIELD_DISK) {
        DiskPort *p = field_at(d, f, 0);

        g_free(p->name);
        p->name = NULL;
    }
}

/* ---- life */

static void apply_globals(Device *d);

Device *device_new(Vm *vm, const DeviceClass *cls)
{
    Device *d = g_malloc0(cls->size);
    Tables all = tables(cls);

    d->cls = cls;
    d->vm = vm;
    for (int i = 0; i < TABLES; i++)
        props_init(d, all.t[i]);
    if (cls->inner) {
        d->inner = device_new(vm, cls->inner);
        d->inner->outer = d;
    }
    apply_globals(d);
    return d;
}

Err *device_realize(Device *d)
{
    Machine *m = machine_of(d->vm);

    each_field(d, make_region);
    d->began = true;
    if (d->cls->realize)
        TRY(d->cls->realize(d));
    d->realized = true;
    *m->devices_end = d;
    m->devices_end = &d->next;
    return NULL;
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

/* Devices on its buses go first, then the one that came with it. */
static void free_children(Device *d)
{
    bool again = true;

    while (again) {
        again = false;
        for (Device *o = machine_of(d->vm)->devices; o; o = o->next) {
            if (o->bus && o->bus->owner == d && o != d->inner) {
                device_free(o);
                again = true;
                break;
            }
        }
    }
    device_free(d->inner);
}

void device_free(Device *d)
{
    if (!d)
        return;
    free_children(d);
    if (d->placed && !d->unplugged && d->bus->cls->unplug)
        d->bus->cls->unplug(d->bus, d);
    if (d->realized)
        unlist(d);
    if (d->began && d->cls->unrealize)
        d->cls->unrealize(d);
    if (d->placed && d->bus->cls->clear)
        d->bus->cls->clear(d);
    each_field(d, stop_timer);
    each_field(d, free_disk_name);
    if (d->outer)
        d->outer->inner = NULL;
    Tables all = tables(d->cls);
    for (int i = 0; i < TABLES; i++)
        props_clear(d, all.t[i]);
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
    Tables all = tables(d->cls);
    pthread_mutex_t *lock = d->cls->lock ? d->cls->lock(d) : NULL;

    each_field(d, stop_timer);
    if (lock)
        pthread_mutex_lock(lock);
    for (int i = 0; i < TABLES; i++)
        state_zero(d, all.t[i]);
    if (lock)
        pthread_mutex_unlock(lock);
    if (d->placed && !d->unplugged && d->bus->cls->reset)
        d->bus->cls->reset(d->bus, d);
    if (d->cls->reset)
        d->cls->reset(d);
    if (d->inner && d->inner->realized)
        device_reset(d->inner);
}

/* ---- properties */

static void add_names(GPtrArray *names, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_PROP)
            g_ptr_array_add(names, field_name(f));
    }
}

static Err *no_such_prop(const Device *d, const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);

    for (const DeviceClass *c = d->cls; c; c = c->inner) {
        add_names(names, c->base);
        add_names(names, c->fields);
    }
    add_names(names, device_fields);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "there is no property '%s'", name);
    return near ? err_hint(e, "Did you mean '%s'? All: -device %s,help", near, d->cls->name)
                : err_hint(e, "All: -device %s,help", d->cls->name);
}

/* The property and whose it is: the device's, or the inner one's. Device's own are the outer's alone. */
static Err *find_prop(Device *d, const char *name, Device **whose, const Field **out)
{
    for (Device *o = d; o; o = o->inner) {
        Tables all = tables(o->cls);

        for (int i = o == d ? 0 : 1; i < TABLES; i++) {
            Err *e = prop_find(all.t[i], name, out);

            if (!e) {
                *whose = o;
                return NULL;
            }
            err_free(e);
        }
    }
    return no_such_prop(d, name);
}

bool device_prop(Device *d, const char *name, Device **whose, const Field **out)
{
    Err *e = find_prop(d, name, whose, out);
    bool found = !e;

    err_free(e);
    return found;
}

void device_class_props(const DeviceClass *cls, void (*fn)(void *, const Field *), void *opaque)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);

    for (const DeviceClass *c = cls; c; c = c->inner) {
        Tables all = tables(c);

        for (int i = c == cls ? 0 : 1; i < TABLES; i++) {
            for (const Field *f = all.t[i]; f && f->role != FIELD_END; f++) {
                if (f->role == FIELD_PROP && g_hash_table_add(seen, field_name(f)))
                    fn(opaque, f);
            }
        }
    }
}

static Err *set_chardev(Device *d, const Field *f, const char *value)
{
    CharPort *p = field_at(d, f, 0);
    Chardev *found = NULL;

    if (d->vm->chardevs) {
        TRY(chardev_find(d->vm->chardevs, value, &found));
        p->chr = found;
        return NULL;
    }
    return err_hint(err(ERR_NOT_FOUND, "there is no chardev '%s'", value), "-chardev makes one.");
}

static void set_disk(Device *d, const Field *f, const char *value)
{
    DiskPort *p = field_at(d, f, 0);

    g_free(p->name);
    p->name = g_strdup(value);
}

Err *device_set_prop(Device *d, const char *name, const char *value)
{
    const Field *f = NULL;
    Device *whose = NULL;

    TRY(find_prop(d, name, &whose, &f));
    if (f->type == FIELD_CHAR)
        return err_in(set_chardev(whose, f, value), "property '%s'", name);
    if (f->type == FIELD_DISK) {
        set_disk(whose, f, value);
        return NULL;
    }
    return prop_parse(whose, f, value);
}

/* ---- -global: other defaults for all devices of a kind */

/* "DEVICE.PROPERTY=VALUE", or driver=DEVICE,property=PROPERTY,value=VALUE: three strings, or NULL. */
static char **split_global(const char *text)
{
    Opts *o = NULL;
    const char *dot = strchr(text, '.'), *equals = strchr(text, '=');
    char **out = NULL;

    if (dot && equals && dot < equals) {
        out = g_new0(char *, 4);
        out[0] = g_strndup(text, dot - text);
        out[1] = g_strndup(dot + 1, equals - dot - 1);
        out[2] = g_strdup(equals + 1);
        return out;
    }
    err_free(opts_parse(text, NULL, NULL, &o));
    if (o && opts_has(o, "driver") && opts_has(o, "property") && opts_has(o, "value")) {
        out = g_new0(char *, 4);
        out[0] = g_strdup(opts_str(o, "driver", ""));
        out[1] = g_strdup(opts_str(o, "property", ""));
        out[2] = g_strdup(opts_str(o, "value", ""));
    }
    opts_free(o);
    return out;
}

static bool is_called(const DeviceClass *c, const char *name)
{
    return !strcmp(c->name, name) || (c->alias && !strcmp(c->alias, name));
}

/* They were checked when the board was made. */
static void apply_globals(Device *d)
{
    const GPtrArray *all = d->vm->config ? d->vm->config->globals : NULL;

    for (guint i = 0; all && i < all->len; i++) {
        g_auto(GStrv) g = split_global(all->pdata[i]);

        if (g && is_called(d->cls, g[0]))
            err_free(device_set_prop(d, g[1], g[2]));
    }
}

static Err *check_global(Vm *vm, const char *text)
{
    g_auto(GStrv) g = split_global(text);

    if (!g)
        return err_hint(err(ERR_INVALID, "it is not DEVICE.PROPERTY=VALUE"), "For example: -global virtio-mmio.force-legacy=on");
    for (const DeviceClass *const *c = device_set; *c; c++) {
        if (!is_called(*c, g[0]))
            continue;
        Device *d = device_new(vm, *c);
        Err *e = device_set_prop(d, g[1], g[2]);
        device_free(d);
        return e;
    }
    err_note("-global %s: there is no device '%s'", text, g[0]);
    return NULL;
}

Err *device_check_globals(Vm *vm)
{
    const GPtrArray *all = vm->config->globals;

    for (guint i = 0; all && i < all->len; i++)
        TRY(err_in(check_global(vm, all->pdata[i]), "-global %s", (char *)all->pdata[i]));
    return NULL;
}

char *device_props_help(const DeviceClass *cls)
{
    GString *out = g_string_new(NULL);

    for (const DeviceClass *c = cls; c; c = c->inner) {
        Tables all = tables(c);

        for (int i = 1; i < TABLES; i++) {
            g_autofree char *part = props_help(all.t[i]);

            g_string_append(out, part);
        }
    }
    if (cls->bus)
        g_string_append(out, "  bootindex=<int32>      - place in the order of what firmware boots from (default: -1)\n");
    return g_string_free(out, false);
}
