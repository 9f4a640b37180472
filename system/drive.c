/* SPDX-License-Identifier: MIT */
/*
 * -drive and -blockdev: what their lists say becomes options of nodes (block/
 * has those tables) and, for -drive, a row in the list of drives.
 *
 * A -drive is a stack, top first, of which only the image itself is always
 * there: copy-on-read, an image that takes all writes (snapshot=on), the image.
 * Limits (throttling.*, bps.., iops..) are the disk's that a device makes of it. Keys that are none of -drive's own
 * belong to the image's driver ("lazy-refcounts=on", "file.locking=off").
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "block/objects.h"
#include "block/throttle.h"
#include "system/disks-priv.h"
#include "util/opts.h"

static const char *const interface_names[] = { "none", "virtio", "scsi", "pflash", "ide", "sd", "mtd", "floppy", NULL };
static const int interface_units[] = { [DRIVE_SCSI] = 7, [DRIVE_IDE] = 2, [DRIVE_FLOPPY] = 0 };     /* on a bus; 0: one bus */
static const char *const media_names[] = { "disk", "cdrom", NULL };
static const char *const on_off_auto[] = { "auto", "off", "on", NULL };

enum { MOST_UNITS = 256 };

const char *drive_interface_name(DriveInterface i)
{
    return interface_names[i];
}

/* ---- the list of -drive */

typedef struct Spec {
    char *id, *file, *format, *driver, *interface, *cache, *aio, *group;
    int32_t bus, unit, index;
    uint8_t media, snapshot, write_cache;
    bool read_only, copy_on_read;
    uint8_t werror, rerror;
    json_t *limits, *rest;          /* throttling; the driver's */
    bool cdrom_given;
} Spec;

static const Field spec_fields[] = {
    PROP(Spec, id, .doc = "what a device's drive= says"),
    PROP(Spec, file, .doc = "the image: a file's name, nbd://.., json:{..}"),
    PROP(Spec, format, .doc = "raw, qcow2, ..; guessed if not given"),
    PROP(Spec, driver, .doc = "the same"),
    PROP(Spec, interface, .as = "if", .doc = "none, virtio, scsi, pflash"),
    PROP(Spec, bus, .def = "-1"), PROP(Spec, unit, .def = "-1"), PROP(Spec, index, .def = "-1"),
    PROP(Spec, media, .names = media_names, .doc = "disk or cdrom"),
    PROP(Spec, snapshot, .names = on_off_auto, .doc = "the image is not changed: writes are lost at the end"),
    PROP(Spec, cache, .doc = "none, writeback, writethrough, directsync, unsafe"),
    PROP(Spec, write_cache, .as = "cache.writeback", .names = on_off_auto, .doc = "off: each write waits for stable storage"),
    PROP(Spec, aio, .doc = "threads, native, io_uring"),
    PROP(Spec, read_only, .as = "read-only"), PROP(Spec, read_only, .as = "readonly"),
    PROP(Spec, copy_on_read, .as = "copy-on-read", .doc = "what is read from the backing file is kept in the image"),
    PROP(Spec, werror, .names = io_error_names), PROP(Spec, rerror, .names = io_error_names),
    PROP(Spec, group, .as = "throttling.group", .doc = "drives of one group share the limits"),
    PROP(Spec, group, .as = "group"),
    {0}
};

/* What the limits of -drive were called before "throttling.". */
static const struct { const char *was, *is; } old_limits[] = {
    { "iops", "iops-total" }, { "iops_rd", "iops-read" }, { "iops_wr", "iops-write" },
    { "bps", "bps-total" }, { "bps_rd", "bps-read" }, { "bps_wr", "bps-write" },
    { "iops_max", "iops-total-max" }, { "iops_rd_max", "iops-read-max" }, { "iops_wr_max", "iops-write-max" },
    { "bps_max", "bps-total-max" }, { "bps_rd_max", "bps-read-max" }, { "bps_wr_max", "bps-write-max" },
    { "iops_size", "iops-size" },
};

/* Keys that QEMU had, or has for others, and where they are now. */
static const struct { const char *key, *instead; } moved_keys[] = {
    { "serial", "It is the device's: -drive if=none,id=ID,.. -device virtio-blk-pci,drive=ID,serial=TEXT" },
    { "addr", "It is the device's: -drive if=none,id=ID,.. -device virtio-blk-pci,drive=ID,addr=SLOT" },
    { "cyls", "Geometry is the device's, and disks here have none that matters." },
    { "heads", "Geometry is the device's, and disks here have none that matters." },
    { "secs", "Geometry is the device's, and disks here have none that matters." },
    { "boot", "Use bootindex=0 of the device: -drive if=none,id=ID,.. -device virtio-blk-pci,drive=ID,bootindex=0" },
};

static const char *limit_name(const char *key)
{
    static const char prefix[] = "throttling.";

    if (g_str_has_prefix(key, prefix) && strcmp(key, "throttling.group"))
        return key + strlen(prefix);
    for (unsigned i = 0; i < G_N_ELEMENTS(old_limits); i++) {
        if (!strcmp(key, old_limits[i].was))
            return old_limits[i].is;
    }
    return NULL;
}

static const Field *spec_field(const char *key)
{
    for (const Field *f = spec_fields; f->role != FIELD_END; f++) {
        g_autofree char *name = field_name(f);

        if (!strcmp(name, key))
            return f;
    }
    return NULL;
}

static Err *set_text(json_t *o, const char *key, const char *value)
{
    return json_object_set_new(o, key, json_string(value)) ? err(ERR_INVALID, "'%s' is not UTF-8", key) : NULL;
}

static Err *take_pair(void *opaque, const char *key, const char *value)
{
    Spec *s = opaque;
    const Field *f = spec_field(key);
    const char *limit = limit_name(key);

    for (unsigned i = 0; i < G_N_ELEMENTS(moved_keys); i++) {
        if (!strcmp(key, moved_keys[i].key))
            return err_hint(err(ERR_UNSUPPORTED, "a drive has no option '%s'", key), "%s", moved_keys[i].instead);
    }
    if (limit)
        return set_text(s->limits, limit, value);
    return f ? prop_parse(s, f, value) : set_text(s->rest, key, value);
}

static Err *check_id(Disks *d, const char *id)
{
    bool fine = g_ascii_isalpha(*id);

    for (const char *p = id; *p; p++)
        fine &= g_ascii_isalnum(*p) || strchr("-._", *p);
    if (!fine)
        return err_hint(err(ERR_INVALID, "'%s' is no id", id),
                        "An id begins with a letter; letters, digits, '-', '.' and '_' follow.");
    return disks_find(d, id) ? err(ERR_INVALID, "there is a drive '%s' already", id) : NULL;
}

static void spec_clear(Spec *s)
{
    props_clear(s, spec_fields);        /* rows with two names: the second finds NULL */
    json_decref(s->limits);
    json_decref(s->rest);
}

static Err *spec_parse(const char *arg, Spec *s)
{
    Opts *o;

    *s = (Spec){ 0 };
    props_init(s, spec_fields);
    s->limits = json_object();
    s->rest = json_object();
    TRY(opts_parse(arg, NULL, NULL, &o));
    Err *e = opts_each(o, take_pair, s);
    opts_free(o);
    if (!e && s->driver && s->format)
        e = err(ERR_INVALID, "format= and driver= are the same; only one of them can be given");
    if (!e && s->driver)
        s->format = g_steal_pointer(&s->driver);
    return e;
}

/* ---- where it goes */

static Err *find_interface(Disks *d, const Spec *s, DriveInterface *out)
{
    *out = d->preferred;
    if (!s->interface)
        return NULL;
    for (int i = 0; interface_names[i]; i++) {
        if (!strcmp(s->interface, interface_names[i])) {
            *out = i;
            return NULL;
        }
    }
    return err_hint(err(ERR_INVALID, "there is no interface '%s'", s->interface), "There are: none, virtio, scsi, pflash.");
}

static Drive *at_place(Disks *d, DriveInterface i, int bus, int unit)
{
    for (Drive *dr = d->drives; dr; dr = dr->next) {
        if (dr->interface == i && dr->bus == bus && dr->unit == unit)
            return dr;
    }
    return NULL;
}

/* bus and unit from what was given, the first that is free if nothing was. */
static Err *find_place(Disks *d, const Spec *s, Drive *dr)
{
    const int per_bus = interface_units[dr->interface];
    int unit = MAX(s->unit, 0);

    dr->bus = MAX(s->bus, 0);
    if (s->index >= 0 && (s->bus >= 0 || s->unit >= 0))
        return err(ERR_INVALID, "index= cannot be used with bus= and unit=");
    if (s->index >= MOST_UNITS || s->unit >= MOST_UNITS || s->bus >= MOST_UNITS || s->index < -1 || s->unit < -1)
        return err(ERR_INVALID, "units, buses and indexes are 0 to %d", MOST_UNITS - 1);
    if (per_bus && s->unit >= per_bus)
        return err(ERR_INVALID, "unit %d is too big: a bus has %d units", s->unit, per_bus);
    if (s->index >= 0) {
        dr->bus = per_bus ? s->index / per_bus : 0;
        unit = per_bus ? s->index % per_bus : s->index;
    }
    if (s->index < 0 && s->unit < 0) {
        while (at_place(d, dr->interface, dr->bus, unit)) {
            if (per_bus && ++unit >= per_bus) {
                unit = 0;
                dr->bus++;
            } else if (!per_bus) {
                unit++;
            }
        }
    }
    dr->unit = unit;
    const Drive *other = at_place(d, dr->interface, dr->bus, unit);
    if (other)
        return err_hint(err(ERR_INVALID, "if=%s, bus %d, unit %d is taken by drive '%s'", interface_names[dr->interface],
                            dr->bus, unit, other->id), "Leave index=, bus= and unit= out: the next free one is taken.");
    return NULL;
}

/* "virtio0", "scsi0-cd2". */
static char *make_id(const Drive *dr)
{
    const char *name = interface_names[dr->interface];
    const char *medium = dr->interface == DRIVE_SCSI || dr->interface == DRIVE_IDE ? (dr->cdrom ? "-cd" : "-hd") : "";

    return interface_units[dr->interface] ? g_strdup_printf("%s%d%s%d", name, dr->bus, medium, dr->unit)
                                          : g_strdup_printf("%s%s%d", name, medium, dr->unit);
}

/* ---- the stack of nodes */

typedef struct Making {
    Disks *d;
    DiskHome *home;
    Spec *s;
    Drive *drive;
    char *temporary;                /* snapshot=on: the file that takes the writes */
    Err *e;
} Making;

/* The rest's dotted keys as a tree. */
static Err *rest_tree(const Spec *s, json_t **out)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const char *key;
    json_t *v;

    json_object_foreach(s->rest, key, v) {
        g_auto(GStrv) parts = g_strsplit(json_string_value(v), ",", -1);
        g_autofree char *doubled = g_strjoinv(",,", parts);

        g_string_append_printf(text, "%s%s=%s", text->len ? "," : "", key, doubled);
    }
    return options_from_keyval(text->str, out);
}

/* The file's own options: below all formats. */
static json_t *leaf_of(json_t *o)
{
    for (json_t *below; (below = json_object_get(o, "file")) && json_is_object(below); )
        o = below;
    return o;
}

static bool is_host_file(const json_t *leaf)
{
    const char *driver = json_string_value(json_object_get(leaf, "driver"));

    return !driver || !strcmp(driver, "file") || !strcmp(driver, "host_device");
}

static Err *set_modes(Making *m, json_t *o)
{
    const Spec *s = m->s;
    json_t *leaf = leaf_of(o);

    if (s->cache)
        TRY(options_set_cache(o, s->cache, &m->drive->writethrough));
    if (s->write_cache)
        m->drive->writethrough = s->write_cache == 1;
    if (s->aio && !is_host_file(leaf))
        return err(ERR_UNSUPPORTED, "aio= is for files and devices of this host");
    if (s->aio)
        json_object_set_new(leaf, "aio", json_string(s->aio));
    json_object_set_new(o, "read-only", json_boolean(m->drive->read_only || m->drive->snapshot));
    if (!json_object_get(o, "auto-read-only"))
        json_object_set_new(o, "auto-read-only", json_true());
    return NULL;
}

/* The image itself. *out NULL: there is no medium. */
static Err *image_options(Making *m, json_t **out)
{
    const Spec *s = m->s;
    json_t *given = NULL, *o = NULL;
    Err *e = NULL;

    *out = NULL;
    TRY(rest_tree(s, &given));
    if (s->file && *s->file) {
        e = options_from_name(s->file, s->format, &o);
        if (!e)
            json_object_update_recursive(o, given);
        json_decref(given);
    } else {
        o = given;
        if (s->format)
            json_object_set_new(o, "driver", json_string(s->format));
    }
    if (!e && !json_object_get(o, "file") && !json_object_get(o, "driver")) {
        if (json_object_size(o))
            e = err_hint(err(ERR_INVALID, "option '%s' is for an image, and there is none",
                             json_object_iter_key(json_object_iter(o))), "Add file=NAME.");
        json_decref(o);
        return e;
    }
    if (!e)
        e = set_modes(m, o);
    if (e)
        json_decref(o);
    else
        *out = o;
    return e;
}

static json_t *filter_above(json_t *below, const char *driver, bool read_only)
{
    return json_pack("{s:s, s:b, s:b, s:s, s:o}", "driver", driver, "read-only", read_only, "auto-read-only", true,
                     "discard", "unmap", "file", below);
}

static Err *find_limits(Disks *d, const Spec *s, Drive *dr)
{
    ThrottleLimits l;

    if (!s->group && !json_object_size(s->limits))
        return NULL;
    dr->limits = throttle_group_get(d->throttles, s->group ? s->group : dr->id);
    throttle_group_limits(dr->limits, &l);
    TRY(err_in(throttle_limits_set(&l, s->limits), "throttling"));
    return throttle_group_set(dr->limits, &l);
}

static Err *open_stack(Making *m)
{
    json_t *o = NULL;
    unsigned flags = m->drive->read_only ? 0 : OPEN_RW | OPEN_RESIZE;

    TRY(image_options(m, &o));
    if (!o)
        return NULL;
    Err *e = NULL;
    if (m->drive->snapshot) {
        json_t *below = o;

        e = overlay_options(m->home->graph, below, &m->temporary, &o);
        json_decref(below);
        flags |= OPEN_TEMPORARY;
    }
    if (!e) {
        if (m->s->copy_on_read)
            o = filter_above(o, "copy-on-read", m->drive->read_only);
        e = node_open(m->home->graph, o, flags, &m->drive->node);
        json_decref(o);
    }
    if (e && m->temporary)
        unlink(m->temporary);
    if (e)
        return e;
    if (!m->drive->read_only && node_read_only(m->drive->node))
        err_note("-drive: '%s' cannot be written to, so the guest gets a disk that is read-only", node_filename(node_skip_filters(m->drive->node)));
    return NULL;
}

static void make(void *opaque)
{
    Making *m = opaque;

    m->e = open_stack(m);
}

static Err *fill_drive(Disks *d, Spec *s, bool snapshot, Drive *dr)
{
    TRY(find_interface(d, s, &dr->interface));
    dr->cdrom = s->media == 1;
    dr->read_only = s->read_only || dr->cdrom;
    dr->snapshot = s->snapshot == 2 || (snapshot && s->snapshot == 0);
    dr->werror = s->werror;
    dr->rerror = s->rerror;
    if (dr->rerror == IO_ERROR_ENOSPC)
        return err(ERR_INVALID, "rerror=enospc: reading never fills a disk; use report, ignore or stop");
    if (s->copy_on_read && dr->read_only)
        return err(ERR_INVALID, "copy-on-read needs an image that may be written to: leave read-only=on out");
    if (dr->read_only)
        dr->snapshot = false;           /* nothing is written anyway */
    TRY(find_place(d, s, dr));
    if (s->id)
        TRY(check_id(d, s->id));
    dr->id = s->id ? g_strdup(s->id) : make_id(dr);
    return disks_find(d, dr->id) ? err(ERR_INVALID, "there is a drive '%s' already", dr->id) : NULL;
}

Err *disks_add_drive(Disks *d, const char *arg, bool snapshot)
{
    Spec s;
    Drive *dr = g_new0(Drive, 1);
    Err *e = spec_parse(arg, &s);

    if (!e)
        e = fill_drive(d, &s, snapshot, dr);
    if (!e)
        e = find_limits(d, &s, dr);
    if (!e) {
        Making m = { .d = d, .s = &s, .drive = dr };

        e = disks_home(d, dr->id, &m.home);
        if (!e) {
            dr->home = m.home->thread;
            iothread_run(dr->home, make, &m);
            g_free(m.temporary);
            e = m.e;
        }
    }
    spec_clear(&s);
    if (e) {
        throttle_group_put(dr->limits);
        g_free(dr->id);
        g_free(dr);
        return e;
    }
    *d->drives_end = dr;
    d->drives_end = &dr->next;
    return NULL;
}

static void drop_node(void *opaque)
{
    Drive *dr = opaque;

    node_unref(dr->node);
}

Err *disks_del_drive(Disks *d, const char *id)
{
    Drive **at = &d->drives, *dr = disks_find(d, id);

    if (!dr)
        return err(ERR_NO_DEVICE, "Device '%s' not found", id);
    if (dr->taken)
        return err_hint(err(ERR_BUSY, "Drive '%s' is in use by a device", id), "device_del takes that away first.");
    if (dr->node)
        iothread_run(dr->home, drop_node, dr);
    while (*at != dr)
        at = &(*at)->next;
    *at = dr->next;
    if (d->drives_end == &dr->next)
        d->drives_end = at;
    throttle_group_put(dr->limits);
    g_free(dr->id);
    g_free(dr);
    return NULL;
}

/* ---- -blockdev */

typedef struct AddNode {
    DiskHome *home;
    const json_t *options;
    Err *e;
} AddNode;

static void add_node(void *opaque)
{
    AddNode *a = opaque;
    BlockNode *n;

    a->e = node_open(a->home->graph, a->options, OPEN_RW | OPEN_RESIZE | OPEN_NO_PROBE, &n);
    if (!a->e)
        g_ptr_array_add(a->home->nodes, n);
}

static Err *parse_blockdev(const char *arg, json_t **out)
{
    json_error_t why;

    if (*arg != '{')
        return options_from_keyval(arg, out);
    *out = json_loads(arg, JSON_REJECT_DUPLICATES, &why);
    return *out ? NULL : err(ERR_INVALID, "it is no JSON: %s (column %d)", why.text, why.column);
}

/* A node goes where the nodes are that it names as its children. */
static Err *place_by_children(Disks *d, const char *name, const json_t *o)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        IoThread *t = json_is_string(v) && strcmp(key, "node-name") ? g_hash_table_lookup(d->places, json_string_value(v)) : NULL;

        if (json_is_object(v))
            TRY(place_by_children(d, name, v));
        else if (t && disks_home_with(d, json_string_value(v)))
            TRY(disks_place(d, name, t));
    }
    return NULL;
}

/* Those of them that are elsewhere and free come here. */
static Err *bring_children(Disks *d, const json_t *o, IoThread *to)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        if (json_is_object(v))
            TRY(bring_children(d, v, to));
        else if (json_is_string(v) && strcmp(key, "node-name") && strcmp(key, "driver") && d->homes)
            TRY(disks_move_node(d, json_string_value(v), to));
    }
    return NULL;
}

Err *disks_add_node(Disks *d, const json_t *o)
{
    AddNode a = { .options = o };
    const char *name = json_string_value(json_object_get(o, "node-name"));

    if (!name)
        return err_hint(err(ERR_INVALID, "'node-name' must be specified for the root node"),
                        "Add node-name=NAME: a device's drive= says it.");
    if (disks_home_with(d, name))
        return err(ERR_INVALID, "Duplicate nodes with node-name='%s'", name);
    TRY(place_by_children(d, name, o));
    TRY(disks_home(d, name, &a.home));
    TRY(bring_children(d, o, a.home->thread));
    iothread_run(a.home->thread, add_node, &a);
    return a.e;
}

Err *disks_add_blockdev(Disks *d, const char *arg)
{
    json_t *o;

    TRY(parse_blockdev(arg, &o));
    Err *e = disks_add_node(d, o);
    json_decref(o);
    return e;
}

typedef struct DelNode { DiskHome *home; const char *name; bool found; Err *e; } DelNode;

static void find_node(void *opaque)
{
    DelNode *a = opaque;

    a->found = graph_find(a->home->graph, a->name);
}

DiskHome *disks_home_with(Disks *d, const char *name)
{
    DelNode a = { .name = name };

    for (unsigned i = 0; (a.home = disks_nth_home(d, i)); i++) {
        iothread_run(a.home->thread, find_node, &a);
        if (a.found)
            return a.home;
    }
    return NULL;
}

static void del_node(void *opaque)
{
    DelNode *a = opaque;
    BlockNode *n = graph_find(a->home->graph, a->name);
    guint i = 0;

    a->found = n;
    if (!n)
        return;
    if (!g_ptr_array_find(a->home->nodes, n, &i)) {
        a->e = err(ERR_INVALID, "Node %s is not owned by the monitor", a->name);
    } else if (node_in_use(n)) {
        a->e = err(ERR_BUSY, "Node %s is in use", a->name);
    } else {
        g_ptr_array_remove_index(a->home->nodes, i);
        node_unref(n);
    }
}

Err *disks_del_node(Disks *d, const char *name)
{
    DelNode a = { .name = name };

    for (unsigned i = 0; !a.found && (a.home = disks_nth_home(d, i)); i++)
        iothread_run(a.home->thread, del_node, &a);
    return a.found ? a.e : err(ERR_NOT_FOUND, "Failed to find node with node-name='%s'", name);
}

/* ---- which thread */

/* Nodes that `o` names as its children go where it goes. */
static Err *place_children(Disks *d, const json_t *o, IoThread *t, GHashTable *names)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        if (json_is_object(v))
            TRY(place_children(d, v, t, names));
        else if (json_is_string(v) && strcmp(key, "node-name") && g_hash_table_contains(names, json_string_value(v)))
            TRY(disks_place(d, json_string_value(v), t));
    }
    return NULL;
}

static const char *name_of(const json_t *o)
{
    const char *name = json_string_value(json_object_get(o, "node-name"));

    return name ? name : "";
}

/* Children come before their parents, so one way through the list, from its end, is enough. A second one finds who is left behind. */
static Err *place_nodes(Disks *d, json_t *const *nodes, unsigned n, GHashTable *names)
{
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = n; i--; ) {
            IoThread *t = disks_place_of(d, name_of(nodes[i]));

            if (pass || t != d->own.thread)
                TRY(place_children(d, nodes[i], t, names));
        }
    }
    return NULL;
}

Err *disks_place_children(Disks *d, const GPtrArray *args)
{
    g_autofree json_t **nodes = g_new0(json_t *, args->len + 1);
    g_autoptr(GHashTable) names = g_hash_table_new(g_str_hash, g_str_equal);
    Err *e = NULL;

    for (guint i = 0; i < args->len && !e; i++) {
        e = parse_blockdev(args->pdata[i], &nodes[i]);
        if (e)
            e = err_in(e, "-blockdev %s", (char *)args->pdata[i]);
        else
            g_hash_table_add(names, (char *)name_of(nodes[i]));
    }
    if (!e && g_hash_table_size(d->places))
        e = place_nodes(d, nodes, args->len, names);
    for (guint i = 0; i < args->len; i++)
        json_decref(nodes[i]);
    return e;
}
