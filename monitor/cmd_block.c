/* SPDX-License-Identifier: MIT */
/*
 * Disks and nodes. Nodes belong to the disks' thread, so what is asked of them
 * is done there, as a coroutine, while the main thread waits.
 */
#include <string.h>

#include "monitor/block_info.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"

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
    const DiskPort *port;
    bool flat, writethrough;
    json_t *out;
} Ask;

static void ask_node(void *opaque, BlockNode *n)
{
    Ask *a = opaque;

    while (n && n->implicit)        /* a job's own */
        n = n->file->node;
    if (n)
        a->out = block_device_info(n, a->flat, a->writethrough);
}

static const char *const status_names[] = { "ok", "failed", "nospace" };

/* A disk of the machine: its drive's name, its device, what is in it. */
static void block_json(void *opaque, const BlockEnd *b)
{
    Ask a = { .port = b->port, .writethrough = b->port ? b->port->writethrough : b->drive->writethrough };
    bool has_tray;
    DiskTray tray;
    bool removable = block_removable(b, &tray, &has_tray);
    json_t *o = json_pack("{s:s, s:s, s:b, s:b}", "device", b->drive ? b->drive->id : "", "type", "unknown", "removable", removable,
                          "locked", tray.locked);
    g_autofree char *qdev = block_qdev(b);

    if (qdev)
        json_object_set_new(o, "qdev", json_string(qdev));
    block_look(b, ask_node, &a);
    if (a.out && b->port && b->port->limits)
        block_limits_info(a.out, b->port->limits);
    if (a.out)
        json_object_set_new(o, "inserted", a.out);
    if (has_tray)
        json_object_set_new(o, "tray_open", json_boolean(tray.open));
    if (b->port)
        json_object_set_new(o, "io-status", json_string(status_names[b->port->status]));
    json_array_append_new(opaque, o);
}

Err *qmp_query_block(Monitor *m, const QueryBlockArgs *args, json_t **ret)
{
    *ret = json_array();
    block_each(m->vm, block_json, *ret);
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

static Err *set_threshold(BlockVisit *v)
{
    v->node->write_threshold = *(const uint64_t *)v->args;
    return NULL;
}

Err *qmp_block_set_write_threshold(Monitor *m, const BlockSetWriteThresholdArgs *args, json_t **ret)
{
    uint64_t bytes = (uint64_t)args->write_threshold;
    Err *e;

    if (block_visit(m->vm, args->node_name, BLOCK_NODE, set_threshold, &bytes, &e))
        return e;
    return err(ERR_NOT_FOUND, "Device '%s' not found", args->node_name);
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
