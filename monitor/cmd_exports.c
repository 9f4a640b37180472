/* SPDX-License-Identifier: MIT */
/* Disks for other programs: the NBD server and its exports. See system/exports.h. */
#include <string.h>

#include "block/block.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"
#include "system/exports.h"

/* ---- the server */

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* SocketAddressLegacy; a descriptor may be one of getfd. */
static Err *read_address(Monitor *m, const json_t *addr, SocketAddr *out)
{
    const json_t *data = json_object_get(addr, "data");

    if (strcmp(text_of(addr, "type"), "fd"))
        return socket_addr_from_json(addr, out);
    *out = (SocketAddr){ .type = SOCKET_FD };
    return monitor_take_fd(m, text_of(data, "str"), &out->fd);
}

Err *qmp_nbd_server_start(Monitor *m, const NbdServerStartArgs *a, json_t **ret)
{
    SocketAddr where;

    if (a->tls_authz)
        return err_hint(err(ERR_UNSUPPORTED, "Parameter 'tls-authz' is not available"),
                        "The credentials' verify-peer=on asks clients for a certificate that your CA has signed.");
    TRY(read_address(m, a->addr, &where));
    Err *e = exports_start(m->vm->disks, &where, a->tls_creds, (unsigned)a->max_connections);
    socket_addr_clear(&where);
    return e;
}

Err *qmp_nbd_server_stop(Monitor *m, const NbdServerStopArgs *a, json_t **ret)
{
    return exports_stop(m->vm->disks);
}

/* ---- exports */

typedef struct Adding { ExportConfig c; bool may_turn_read_only; } Adding;

static Err *add(BlockVisit *v)
{
    ExportConfig c = ((const Adding *)v->args)->c;

    if (((const Adding *)v->args)->may_turn_read_only && node_read_only(v->node))
        c.writable = false;
    return exports_add(v->vm->disks, v->node, &c);
}

static bool is_on(const json_t *o, const char *key)
{
    return json_is_true(json_object_get(o, key));
}

/* As block-dirty-bitmap-merge has its sources: names, or nodes and names. */
static void read_bitmaps(const json_t *list, const char ***names, const char ***nodes)
{
    json_t *b;
    size_t i;

    *names = g_new0(const char *, json_array_size(list) + 1);
    *nodes = g_new0(const char *, json_array_size(list) + 1);
    json_array_foreach((json_t *)list, i, b) {
        (*names)[i] = json_is_string(b) ? json_string_value(b) : text_of(b, "name");
        (*nodes)[i] = text_of(b, "node");
    }
}

/* To the thread where the export is to be; one that must not be moved, or cannot, stays where it is unless that is `fixed`. */
static Err *go_to_thread(Vm *vm, const char *node, const char *thread, bool fixed)
{
    IoThread *t = iothread_find(vm, thread);

    if (!t)
        return err_hint(err(ERR_NOT_FOUND, "iothread \"%s\" not found", thread), "object-add qom-type=iothread,id=%s", thread);
    Err *e = disks_move_node(vm->disks, node, t);
    if (fixed)
        return e;
    err_free(e);
    return NULL;
}

Err *qmp_block_export_add(Monitor *m, const BlockExportAddArgs *args, json_t **ret)
{
    const json_t *o = args->all;
    const char *type = text_of(o, "type"), *node = text_of(o, "node-name");
    g_autofree const char **names = NULL, **nodes = NULL;
    Err *e = NULL;

    if (strcmp(type, "nbd"))
        return err_hint(err(ERR_UNSUPPORTED, "exports of type '%s' are not available", type), "'nbd' is.");
    if (text_of(o, "iothread"))
        TRY(go_to_thread(m->vm, node, text_of(o, "iothread"), is_on(o, "fixed-iothread")));
    read_bitmaps(json_object_get(o, "bitmaps"), &names, &nodes);
    const Adding a = { { .id = text_of(o, "id"), .name = text_of(o, "name") ? text_of(o, "name") : node,
                         .description = text_of(o, "description"), .writable = is_on(o, "writable"),
                         .writethrough = is_on(o, "writethrough"), .depth = is_on(o, "allocation-depth"), .bitmaps = names,
                         .bitmap_nodes = nodes }, false };
    for (size_t i = 0; names[i]; i++)
        TRY(block_together(m->vm, node, nodes[i]));
    if (!block_visit(m->vm, node, BLOCK_NODE, add, &a, &e))
        return err(ERR_NOT_FOUND, "Cannot find device='' nor node-name='%s'", node);
    return e;
}

Err *qmp_block_export_del(Monitor *m, const BlockExportDelArgs *a, json_t **ret)
{
    return exports_remove(m->vm->disks, a->id, a->has_mode && a->mode == QMP_BLOCK_EXPORT_REMOVE_MODE_HARD);
}

/* The older form: the name is the id. */
Err *qmp_nbd_server_add(Monitor *m, const NbdServerAddArgs *a, json_t **ret)
{
    const char *const names[] = { a->bitmap, NULL }, *const nodes[] = { NULL, NULL };
    const char *name = a->name ? a->name : a->device;
    const Adding add_it = { { .id = name, .name = name, .description = a->description, .writable = a->writable,
                              .bitmaps = names, .bitmap_nodes = nodes }, true };

    return block_at(m->vm, a->device, add, &add_it);
}

Err *qmp_nbd_server_remove(Monitor *m, const NbdServerRemoveArgs *a, json_t **ret)
{
    return exports_remove(m->vm->disks, a->name, a->has_mode && a->mode == QMP_BLOCK_EXPORT_REMOVE_MODE_HARD);
}

Err *qmp_query_block_exports(Monitor *m, const QueryBlockExportsArgs *args, json_t **ret)
{
    g_autoptr(GArray) list = exports_list(m->vm->disks);

    *ret = json_array();
    for (guint i = 0; i < list->len; i++) {
        const ExportInfo *x = &g_array_index(list, ExportInfo, i);

        json_array_append_new(*ret, json_pack("{s:s, s:s, s:s, s:b}", "id", x->id, "type", "nbd", "node-name", x->node,
                                              "shutting-down", x->leaving));
    }
    return NULL;
}
