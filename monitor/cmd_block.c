/* SPDX-License-Identifier: MIT */
/*
 * Disks and nodes. Nodes belong to the disks' thread, so what is asked of them
 * is done there, as a coroutine, while the main thread waits.
 */
#include <string.h>

#include "hw/core/board.h"
#include "monitor/block_info.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "system/disks.h"

/* ---- what there is */

static void show_block_fields(QmpOpen *to, const BlockDriver *d)
{
    if (d->kind != DRIVER_PROTOCOL && !d->no_storage)
        qmp_open_member(to, "file", "any", false);
    if (d->has_backing)
        qmp_open_member(to, "backing", "any", true);
    for (int i = 0; d->own_options && d->own_options[i]; i++)
        qmp_open_member(to, d->own_options[i], "any", true);
    qmp_open_fields(to, d->fields);
}

void qmp_open_blocks(QmpOpen *to)
{
    for (const BlockDriver *d = NULL; (d = driver_next(d)); ) {
        qmp_open_case(to, d->name);
        show_block_fields(to, d);
    }
}

/* ---- query-block */

typedef struct Ask {
    BlockGraph *graph;
    const Disk *disk;           /* a device's, */
    const Drive *drive;         /* or what no device has */
    bool flat, writethrough;
    json_t *out;
    Err *e;
} Ask;

static void ask_node(void *opaque)
{
    Ask *a = opaque;
    BlockNode *n = a->disk ? disk_node(a->disk) : a->drive ? a->drive->node : NULL;

    if (!n)
        return;
    node_ref(n);
    a->out = block_device_info(n, a->flat, a->writethrough);
    node_unref(n);
}

typedef struct Listing { Vm *vm; json_t *list; Device *device; } Listing;

/* A disk of the machine: its drive's name, its device, what is in it. */
static json_t *block_json(IoThread *home, Ask a, const char *drive, const char *path, bool removable)
{
    json_t *o = json_pack("{s:s, s:s, s:b, s:b}", "device", drive, "type", "unknown", "removable", removable, "locked", 0);

    if (path)
        json_object_set_new(o, "qdev", json_string(path));
    if (home)
        iothread_run(home, ask_node, &a);
    if (a.out)
        json_object_set_new(o, "inserted", a.out);
    if (removable)
        json_object_set_new(o, "tray_open", json_false());
    json_object_set_new(o, "io-status", json_string("ok"));
    return o;
}

static bool is_cd(const Device *d)
{
    return strstr(d->cls->name, "-cd") != NULL;
}

static void device_disk(void *opaque, const Field *f)
{
    Listing *l = opaque;
    Device *whose;
    const Field *found;
    g_autofree char *name = field_name(f);

    if (f->type != FIELD_DISK || !device_prop(l->device, name, &whose, &found))
        return;
    const DiskPort *p = field_at(whose, found, 0);
    g_autofree char *path = view_device_path(whose);
    if (!p->disk && !is_cd(whose))
        return;
    Ask a = { .disk = p->disk, .writethrough = p->writethrough };
    json_array_append_new(l->list, block_json(p->disk ? disk_port_thread(p) : NULL, a, p->drive ? p->drive->id : "", path, is_cd(whose)));
}

Err *qmp_query_block(Monitor *m, const QueryBlockArgs *args, json_t **ret)
{
    Listing l = { m->vm, json_array(), NULL };

    *ret = l.list;
    for (Device *d = machine_of(m->vm)->devices; d; d = d->next) {
        l.device = d;
        if (!d->outer)
            device_class_props(d->cls, device_disk, &l);
    }
    for (Drive *dr = NULL; (dr = disks_next(m->vm->disks, dr)); ) {
        Ask a = { .drive = dr, .writethrough = dr->writethrough };

        if (!dr->taken)
            json_array_append_new(l.list, block_json(dr->home, a, dr->id, NULL, dr->cdrom));
    }
    return NULL;
}

static void list_nodes(void *opaque)
{
    Ask *a = opaque;
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();

    /* Held, as looking at one may yield. */
    for (BlockNode *n = NULL; (n = graph_next(a->graph, n)); )
        g_ptr_array_add(nodes, node_ref(n));
    for (guint i = 0; i < nodes->len; i++) {
        json_array_append_new(a->out, block_device_info(nodes->pdata[i], a->flat, false));
        node_unref(nodes->pdata[i]);
    }
}

Err *qmp_query_named_block_nodes(Monitor *m, const QueryNamedBlockNodesArgs *args, json_t **ret)
{
    Ask a = { .flat = args->flat, .out = json_array() };
    IoThread *t;

    for (unsigned i = 0; (t = disks_nth_thread(m->vm->disks, i, &a.graph)); i++)
        iothread_run(t, list_nodes, &a);
    *ret = a.out;
    return NULL;
}

/* ---- nodes come and go */

Err *qmp_blockdev_add(Monitor *m, const BlockdevAddArgs *args, json_t **ret)
{
    const json_t *driver = json_object_get(args->all, "driver");

    if (!driver)
        return err(ERR_INVALID, "Parameter 'driver' is missing");
    if (!json_is_string(driver))
        return err(ERR_INVALID, "Invalid parameter type for 'driver', expected: string");
    if (!driver_find(json_string_value(driver)))
        return err(ERR_INVALID, "Parameter 'driver' does not accept value '%s'", json_string_value(driver));
    return disks_add_node(m->vm->disks, args->all);
}

Err *qmp_blockdev_del(Monitor *m, const BlockdevDelArgs *args, json_t **ret)
{
    return disks_del_node(m->vm->disks, args->node_name);
}
