/* SPDX-License-Identifier: MIT */
/*
 * Disks and objects of the command line: -drive and its short forms, -blockdev,
 * -object; and, with the machine at hand, making what they say.
 */
#include "cmd/options.h"

#include <string.h>

#include "cmd/emu.h"
#include "system/disks.h"
#include "system/objects.h"
#include "util/opts.h"

/* ---- the options */

/* A file's name within a list: commas doubled. */
static void add_drive(EmuConfig *c, const char *list, const char *file)
{
    g_auto(GStrv) parts = g_strsplit(file, ",", -1);
    g_autofree char *doubled = g_strjoinv(",,", parts);

    g_ptr_array_add(c->vm.drives, g_strdup_printf("%s,file=%s", list, doubled));
}

Err *set_disk_image(EmuConfig *c, const char *file)
{
    add_drive(c, "index=0,media=disk", file);
    return NULL;
}

Err *set_hda(EmuConfig *c, const char *arg)
{
    return set_disk_image(c, arg);
}

Err *set_hdb(EmuConfig *c, const char *arg)
{
    add_drive(c, "index=1,media=disk", arg);
    return NULL;
}

Err *set_hdc(EmuConfig *c, const char *arg)
{
    add_drive(c, "index=2,media=disk", arg);
    return NULL;
}

Err *set_hdd(EmuConfig *c, const char *arg)
{
    add_drive(c, "index=3,media=disk", arg);
    return NULL;
}

Err *set_cdrom(EmuConfig *c, const char *arg)
{
    add_drive(c, "index=2,media=cdrom", arg);
    return NULL;
}

Err *set_pflash(EmuConfig *c, const char *arg)
{
    add_drive(c, "if=pflash", arg);
    return NULL;
}

Err *set_object(EmuConfig *c, const char *arg)
{
    if (asks_help(arg))
        return ask_help(c, HELP_OBJECT, arg);
    g_ptr_array_add(c->vm.objects, g_strdup(arg));
    return NULL;
}

/* "help", or "KIND,help". */
Err *help_object(const char *arg, char **out)
{
    *out = object_help(arg);
    return *out ? NULL : err_hint(err(ERR_NOT_FOUND, "-object: there is no kind '%.*s'", (int)strcspn(arg, ","), arg),
                                  "-object help lists them.");
}

/* ---- making them */

Err *make_objects(Vm *vm)
{
    const VmConfig *c = vm->config;

    for (guint i = 0; i < c->objects->len; i++)
        TRY(err_in(object_add(vm, c->objects->pdata[i]), "-object %s", (char *)c->objects->pdata[i]));
    return NULL;
}

/* ---- which I/O thread a disk is opened in: that of the device that will have it */

/* The properties of a -device that concern this; what is wrong with it is said when the device is made. */
typedef struct Wish { char *driver, *id, *bus, *drive, *iothread, *mapping; } Wish;

static char *text_of(const json_t *v)
{
    if (!json_is_array(v))
        return g_strdup(json_string_value(v));
    char *text = json_dumps(v, JSON_COMPACT), *copy = g_strdup(text);

    free(text);
    return copy;
}

static Wish wish_json(const char *arg)
{
    json_t *o = json_loads(arg, 0, NULL);
    Wish w = { text_of(json_object_get(o, "driver")), text_of(json_object_get(o, "id")),
               text_of(json_object_get(o, "bus")), text_of(json_object_get(o, "drive")),
               text_of(json_object_get(o, "iothread")), text_of(json_object_get(o, "iothread-vq-mapping")) };

    json_decref(o);
    return w;
}

static Wish wish_list(const char *arg)
{
    Wish w = { 0 };
    Opts *o = NULL;
    Err *e = opts_parse(arg, NULL, "driver", &o);

    if (!e) {
        w = (Wish){ g_strdup(opts_str(o, "driver", NULL)), g_strdup(opts_str(o, "id", NULL)),
                    g_strdup(opts_str(o, "bus", NULL)), g_strdup(opts_str(o, "drive", NULL)),
                    g_strdup(opts_str(o, "iothread", NULL)), g_strdup(opts_str(o, "iothread-vq-mapping", NULL)) };
        opts_free(o);
    }
    err_free(e);
    return w;
}

/* The first thread of the mapping, or that of iothread=. */
static IoThread *wished_thread(Vm *vm, const Wish *w)
{
    g_autofree char *name = g_strdup(w->iothread);

    if (!name && w->mapping) {
        json_t *list = json_loads(w->mapping, 0, NULL);

        name = g_strdup(json_string_value(json_object_get(json_array_get(list, 0), "iothread")));
        json_decref(list);
    }
    return name ? iothread_find(vm, name) : NULL;
}

static Wish wish_of(const char *arg)
{
    return *arg == '{' ? wish_json(arg) : wish_list(arg);
}

static void wish_clear(Wish *w)
{
    g_free(w->driver);
    g_free(w->id);
    g_free(w->bus);
    g_free(w->drive);
    g_free(w->iothread);
    g_free(w->mapping);
}

static bool is_kind(const Wish *w, const char *prefix)
{
    return w->driver && g_str_has_prefix(w->driver, prefix);
}

/* A SCSI unit is in the thread of its adapter: that of its bus=, or the first one. */
static IoThread *adapter_thread(Vm *vm, const Wish *unit)
{
    const GPtrArray *all = vm->config->devices;
    IoThread *t = NULL;
    bool found = false;

    for (guint i = 0; i < all->len && !found; i++) {
        Wish w = wish_of(all->pdata[i]);
        g_autofree char *bus = g_strdup_printf("%s.0", w.id ? w.id : "");

        found = is_kind(&w, "virtio-scsi") && (!unit->bus || !strcmp(unit->bus, bus));
        t = found ? wished_thread(vm, &w) : NULL;
        wish_clear(&w);
    }
    return t;
}

static Err *place_disk(Vm *vm, const char *arg)
{
    Wish w = wish_of(arg);
    IoThread *t = !w.drive ? NULL : is_kind(&w, "virtio-blk") ? wished_thread(vm, &w)
                : is_kind(&w, "scsi-") ? adapter_thread(vm, &w) : NULL;
    Err *e = t ? disks_place(vm->disks, w.drive, t) : NULL;

    wish_clear(&w);
    return err_in(e, "-device %s", arg);
}

Err *make_disks(Vm *vm, bool snapshot)
{
    const VmConfig *c = vm->config;

    for (guint i = 0; i < c->devices->len; i++)
        TRY(place_disk(vm, c->devices->pdata[i]));
    TRY(disks_place_children(vm->disks, c->blockdevs));
    for (guint i = 0; i < c->blockdevs->len; i++)
        TRY(err_in(disks_add_blockdev(vm->disks, c->blockdevs->pdata[i]), "-blockdev %s", (char *)c->blockdevs->pdata[i]));
    for (guint i = 0; i < c->drives->len; i++)
        TRY(err_in(disks_add_drive(vm->disks, c->drives->pdata[i], snapshot), "-drive %s", (char *)c->drives->pdata[i]));
    if (snapshot && c->blockdevs->len)
        err_note("-snapshot is for -drive: what -blockdev names is written to as ever");
    return NULL;
}
