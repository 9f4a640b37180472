/* SPDX-License-Identifier: MIT */
/*
 * -device and its kin: from a text to a device that is plugged in.
 *
 *   NAME,id=ID,bus=BUS,property=value,...
 *   {"driver":"NAME","id":"ID",...}
 */
#include <jansson.h>
#include <string.h>

#include "hw/core/board.h"
#include "util/opts.h"

/* ---- which device */

/* Part of a board: nobody can add one. */
static bool is_built_in(const DeviceClass *c)
{
    return c->bus && !strcmp(c->bus, BUS_SYSTEM);
}

const DeviceClass *device_class_find(const char *name)
{
    for (const DeviceClass *const *c = device_set; *c; c++) {
        if (!strcmp((*c)->name, name) || ((*c)->alias && !strcmp((*c)->alias, name)))
            return *c;
    }
    return NULL;
}

/* Devices that people name from habit and that are not here: what does their work. */
static const char *instead_of(const char *name)
{
    static const char display[] = "There are no displays yet: the console is the serial line (-nographic).";
    static const char disk[] = "virtio-blk-pci, nvme, and virtio-scsi-pci with scsi-hd take disks.";
    static const char nic[] = "virtio-net-pci is a network card.", usb[] = "There is no USB yet: virtio has disks, networks and serial lines.";
    static const struct { const char *begins, *hint; } rows[] = {
        { "e1000", nic }, { "rtl8139", nic }, { "igb", nic }, { "vmxnet3", nic }, { "pcnet", nic }, { "ne2k", nic },
        { "virtio-gpu", display }, { "virtio-vga", display }, { "VGA", display }, { "bochs-display", display }, { "ramfb", display },
        { "qxl", display }, { "virtio-keyboard", display }, { "virtio-mouse", display }, { "virtio-tablet", display },
        { "usb-", usb }, { "qemu-xhci", usb }, { "nec-usb-xhci", usb }, { "pci-ohci", usb }, { "ich9-usb", usb },
        { "ide-", disk }, { "ich9-ahci", disk }, { "sd-card", disk }, { "lsi53c895a", disk }, { "megasas", disk }, { "sdhci", disk },
        { "vhost-user-fs", "-virtfs and virtio-9p-pci share folders." },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (g_str_has_prefix(name, rows[i].begins))
            return rows[i].hint;
    return NULL;
}

static Err *class_find(const char *name, const DeviceClass **out)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (const DeviceClass *const *c = device_set; *c; c++) {
        if (!is_built_in(*c)) {
            g_ptr_array_add(names, (void *)(*c)->name);
            if ((*c)->alias)
                g_ptr_array_add(names, (void *)(*c)->alias);
        }
        if (!strcmp((*c)->name, name) || ((*c)->alias && !strcmp((*c)->alias, name))) {
            *out = *c;
            return NULL;
        }
    }
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata), *instead = instead_of(name);
    Err *e = err(ERR_NOT_FOUND, "there is no device '%s'", name);
    if (instead)
        return err_hint(e, "%s All devices: -device help", instead);
    return near ? err_hint(e, "Did you mean '%s'? All devices: -device help", near)
                : err_hint(e, "All devices: -device help");
}

/* ---- its bus */

static Err *no_such_bus(const Machine *m, const char *name)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();

    for (Bus *b = m->buses; b; b = b->next)
        g_ptr_array_add(names, b->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(name, (const char *const *)names->pdata);
    g_autofree char *all = g_strjoinv(", ", (char **)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "there is no bus '%s'", name);
    return near ? err_hint(e, "Did you mean '%s'? There are: %s", near, all) : err_hint(e, "There are: %s", all);
}

static bool is_full(const Bus *b)
{
    return b->cls->full && b->cls->full(b);
}

static Err *named_bus(const Device *d, Bus **out)
{
    const Machine *m = machine_of(d->vm);
    Bus *b = bus_find(d->vm, d->bus_name);

    if (!b)
        return no_such_bus(m, d->bus_name);
    if (strcmp(b->cls->name, d->cls->bus))
        return err(ERR_INVALID, "bus '%s' is one for %s, and it needs one for %s", b->name, b->cls->name, d->cls->bus);
    if (is_full(b))
        return err_hint(err(ERR_BUSY, "bus '%s' has no place left", b->name), "Choose another by bus=.");
    if (m->made && !b->hotplug)
        return err_hint(err(ERR_UNSUPPORTED, "bus '%s' takes no devices while the machine runs", b->name),
                        "Buses of pcie-root-port do: give it by bus=.");
    *out = b;
    return NULL;
}

/* The first bus of its kind that has room, or the one that bus= says. */
static Err *choose_bus(const Device *d, Bus **out)
{
    const Machine *m = machine_of(d->vm);
    bool full = false, cold = false;

    if (d->bus_name)
        return named_bus(d, out);
    for (Bus *b = m->buses; b; b = b->next) {
        if (strcmp(b->cls->name, d->cls->bus))
            continue;
        if (m->made && !b->hotplug) {
            cold = true;
        } else if (is_full(b)) {
            full = true;
        } else {
            *out = b;
            return NULL;
        }
    }
    if (full)
        return err(ERR_BUSY, "all %s buses of this machine are full", d->cls->bus);
    if (cold)
        return err_hint(err(ERR_UNSUPPORTED, "no %s bus of this machine takes devices while it runs", d->cls->bus),
                        "A machine started with -device pcie-root-port,id=ID has one: bus=ID.");
    return err(ERR_NOT_FOUND, "this machine has no %s bus for it", d->cls->bus);
}

/* ---- plugging it in */

static Err *check_names(const Device *d)
{
    for (const Device *o = machine_of(d->vm)->devices; o; o = o->next) {
        if (d->id && o->id && !strcmp(o->id, d->id))
            return err(ERR_INVALID, "id '%s' is taken already, by a '%s'", d->id, o->cls->name);
        if (d->bootindex >= 0 && o->bootindex == d->bootindex)
            return err(ERR_INVALID, "bootindex=%d is taken already, by a '%s'", (int)d->bootindex, o->cls->name);
    }
    return NULL;
}

static Err *plug(Device *d)
{
    Bus *bus = NULL;

    TRY(check_names(d));
    if (is_built_in(d->cls))
        return err_hint(err(ERR_INVALID, "it is part of a board and cannot be added"),
                        "-device help lists what can be.");
    if (d->cls->bus) {
        TRY(choose_bus(d, &bus));
        return device_plug(d, bus);
    }
    if (d->bus_name)
        return err(ERR_INVALID, "bus=%s: it plugs into no bus", d->bus_name);
    if (machine_of(d->vm)->made)
        return err(ERR_UNSUPPORTED, "it cannot be added while the machine runs");
    return device_realize(d);
}

/* Sets properties by a function that does it from `how`, and plugs the device in. */
static Err *add(Vm *vm, const char *driver, Err *(*set)(Device *, const void *how), const void *how)
{
    const DeviceClass *cls = NULL;
    Err *e = class_find(driver, &cls);

    if (!e) {
        Device *d = device_new(vm, cls);

        e = set(d, how);
        if (!e)
            e = plug(d);
        if (e)
            device_free(d);
    }
    return e;
}

/* ---- key=value */

static Err *set_pair(void *opaque, const char *key, const char *value)
{
    return device_set_prop(opaque, key, value);
}

static Err *set_list(Device *d, const void *list)
{
    Opts *o = NULL;

    TRY(opts_parse(list, NULL, NULL, &o));
    Err *e = opts_each(o, set_pair, d);
    opts_free(o);
    return e;
}

static Err *add_list(Vm *vm, const char *arg)
{
    g_autofree char *name = NULL;
    g_autofree char *props = opts_rest(arg, &name);

    const char *driver = g_str_has_prefix(name, "driver=") ? name + strlen("driver=") : name;

    return err_in(add(vm, driver, set_list, props), "-device %s", driver);
}

/* ---- JSON */

/* The text of a value; what is no scalar stays JSON, for properties that take lists. */
static char *json_text(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_STRING:  return g_strdup(json_string_value(v));
    case JSON_INTEGER: return g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    case JSON_TRUE:    return g_strdup("on");
    case JSON_FALSE:   return g_strdup("off");
    case JSON_REAL:    return g_strdup_printf("%g", json_real_value(v));
    case JSON_NULL:    return NULL;
    default:           break;
    }
    char *text = json_dumps(v, JSON_COMPACT), *copy = g_strdup(text);

    free(text);
    return copy;
}

static Err *set_object(Device *d, const void *object)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)object, key, v) {
        if (!strcmp(key, "driver"))
            continue;
        g_autofree char *text = json_text(v);
        if (!text)
            return err(ERR_INVALID, "property '%s': null is no value", key);
        TRY(device_set_prop(d, key, text));
    }
    return NULL;
}

Err *device_add_json(Vm *vm, const json_t *props)
{
    const char *driver = json_string_value(json_object_get(props, "driver"));

    return driver ? add(vm, driver, set_object, props) : err(ERR_INVALID, "Parameter 'driver' is missing");
}

static Err *add_json(Vm *vm, const char *arg)
{
    json_error_t why;
    json_t *o = json_loads(arg, JSON_REJECT_DUPLICATES, &why);

    if (!o)
        return err(ERR_INVALID, "-device: it is no JSON: %s (column %d)", why.text, why.column);
    const char *driver = json_string_value(json_object_get(o, "driver"));
    Err *e = driver ? err_in(add(vm, driver, set_object, o), "-device %s", driver)
                    : err_hint(err(ERR_INVALID, "-device %s: it has no \"driver\"", arg),
                               "For example {\"driver\":\"loader\",\"file\":\"x.bin\"}.");
    json_decref(o);
    return e;
}

Err *device_add(Vm *vm, const char *arg)
{
    return *arg == '{' ? add_json(vm, arg) : add_list(vm, arg);
}

/* ---- help */

static bool is_help(const char *word)
{
    return !strcmp(word, "help") || !strcmp(word, "?");
}

static char *help_all(void)
{
    GString *all = g_string_new(NULL);

    for (const DeviceClass *const *c = device_set; *c; c++) {
        if (is_built_in(*c))
            continue;
        g_string_append_printf(all, "name \"%s\"", (*c)->name);
        if ((*c)->bus)
            g_string_append_printf(all, ", bus %s", (*c)->bus);
        if ((*c)->alias)
            g_string_append_printf(all, ", alias \"%s\"", (*c)->alias);
        g_string_append_printf(all, ", desc \"%s\"\n", (*c)->doc);
    }
    return g_string_free(all, false);
}

Err *device_help(const char *arg, char **out)
{
    g_autofree char *name = NULL;
    g_autofree char *rest = opts_rest(arg, &name);
    const DeviceClass *cls = NULL;

    *out = NULL;
    if (is_help(name)) {
        *out = help_all();
    } else if (is_help(rest)) {
        TRY(err_in(class_find(name, &cls), "-device %s", name));
        g_autofree char *props = device_props_help(cls);
        *out = g_strdup_printf("%s options:\n%s", name, props);
    }
    return NULL;
}
