/* SPDX-License-Identifier: MIT */
/*
 * See system/exports.h. The server, its connections and the list are the thread "disks"'; what an export has of its
 * node is in the node's thread, where exports_add is called (block/nbd/server.h).
 */
#include "system/exports.h"

#include <string.h>

#include "block/nbd/server.h"
#include "block/objects.h"
#include "block/tls.h"
#include "system/disks-priv.h"

typedef struct Export {
    char *id, *name, *node;
    bool leaving;
} Export;

struct Exports {
    Vm *vm;
    NbdServer *server;          /* NULL: none */
    GPtrArray *list;            /* of Export */
    CoQueue gone;               /* wakes when one has left */
};

static Exports *exports_of(Disks *d)
{
    if (!d->exports) {
        d->exports = g_new0(Exports, 1);
        d->exports->vm = d->vm;
        d->exports->list = g_ptr_array_new();
    }
    return d->exports;
}

/* ---- exports */

static Export *find(const Exports *s, const char *id)
{
    for (guint i = 0; i < s->list->len; i++) {
        Export *x = s->list->pdata[i];

        if (!strcmp(x->id, id))
            return x;
    }
    return NULL;
}

static Err *check_id(const Exports *s, const char *id)
{
    static const char may[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    if (!g_ascii_isalpha(*id) || id[strspn(id, may)])
        return err_hint(err(ERR_INVALID, "Invalid block export id"), "It begins with a letter and has letters, digits, '-', '.' and '_'.");
    return find(s, id) ? err(ERR_INVALID, "Block export id '%s' is already in use", id) : NULL;
}

typedef struct Adding {
    Disks *d;
    BlockNode *node;
    const ExportConfig *c;
    NbdServer *server;
    Err *e;
} Adding;

static Err *may_add(const Exports *s, const ExportConfig *c)
{
    TRY(check_id(s, c->id));
    if (!s->server)
        return err_hint(err(ERR_INVALID, "NBD server not running"), "nbd-server-start");
    if (nbd_export_find(s->server, c->name))
        return err(ERR_INVALID, "NBD server already has export named '%s'", c->name);
    return NULL;
}

static void ask_server(void *opaque)
{
    Adding *a = opaque;
    Exports *s = exports_of(a->d);

    a->e = may_add(s, a->c);
    a->server = s->server;
}

static void enlist(void *opaque)
{
    const Adding *a = opaque;
    Export *e = g_new0(Export, 1);

    *e = (Export){ g_strdup(a->c->id), g_strdup(a->c->name), g_strdup(node_name(a->node)), false };
    g_ptr_array_add(exports_of(a->d)->list, e);
}

/* The main thread waits meanwhile, so that no other command takes the name or the server away. */
Err *exports_add(Disks *d, BlockNode *n, const ExportConfig *c)
{
    Adding a = { .d = d, .node = n, .c = c };

    iothread_visit(d->own.thread, ask_server, &a);
    TRY(a.e);
    if (c->writable && node_read_only(n))
        return err(ERR_INVALID, "Cannot export read-only node as writable");
    /* Where a machine is waited for, its disks may be filled by the network before. */
    if (c->writable)
        TRY(node_activate(n));
    const NbdExportConfig x = {
        .name = c->name, .description = c->description, .node = n, .writable = c->writable, .multi_conn = true,
        .writethrough = c->writethrough, .allocation_depth = c->depth, .bitmaps = c->bitmaps, .bitmap_nodes = c->bitmap_nodes,
    };
    TRY(nbd_export_add(a.server, &x, NULL));
    iothread_visit(d->own.thread, enlist, &a);
    return NULL;
}

typedef struct Leaving { Exports *s; Export *x; } Leaving;

static void leave(void *opaque)
{
    Leaving l = *(Leaving *)opaque;

    g_free(opaque);
    err_free(nbd_export_remove(l.s->server, l.x->name, true));
    g_ptr_array_remove(l.s->list, l.x);
    vm_event(l.s->vm, "BLOCK_EXPORT_DELETED", json_pack("{s:s}", "id", l.x->id));
    g_free(l.x->id);
    g_free(l.x->name);
    g_free(l.x->node);
    g_free(l.x);
    co_queue_wake_all(&l.s->gone);
}

static void begin_leaving(Exports *s, Export *x)
{
    Leaving *l = g_new(Leaving, 1);

    if (x->leaving) {
        g_free(l);
        return;
    }
    x->leaving = true;
    *l = (Leaving){ s, x };
    co_start(co_loop(), leave, l);
}

/* ---- from outside */

typedef struct Ask {
    Disks *d;
    const SocketAddr *address;
    const char *tls, *id;
    unsigned max_clients;
    bool hard;
    GArray *list;
    Err *e;
} Ask;

static Err *start(const Ask *a)
{
    Exports *s = exports_of(a->d);
    NbdServerConfig c = { .max_clients = a->max_clients };

    if (s->server)
        return err(ERR_BUSY, "NBD server already running");
    if (a->tls)
        TRY(tls_creds_find(graph_objects(a->d->own.graph), a->tls, true, &c.tls));
    s->server = nbd_server_new(graph_loop(a->d->own.graph), &c);
    Err *e = nbd_server_listen(s->server, a->address);
    if (e) {
        nbd_server_free(s->server);
        s->server = NULL;
    }
    return e;
}

static void do_start(void *opaque)
{
    ((Ask *)opaque)->e = start(opaque);
}

Err *exports_start(Disks *d, const SocketAddr *address, const char *tls_creds, unsigned max_clients)
{
    Ask a = { .d = d, .address = address, .tls = tls_creds, .max_clients = max_clients };

    iothread_run(d->own.thread, do_start, &a);
    return a.e;
}

static void do_stop(void *opaque)
{
    Ask *a = opaque;
    Exports *s = exports_of(a->d);

    if (!s->server) {
        a->e = err(ERR_INVALID, "NBD server not running");
        return;
    }
    nbd_server_stop(s->server);
    while (s->list->len) {
        Export *x = s->list->pdata[0];
        bool waits = x->leaving;

        begin_leaving(s, x);
        if (waits)
            co_queue_wait(&s->gone);
    }
    nbd_server_free(s->server);
    s->server = NULL;
}

Err *exports_stop(Disks *d)
{
    Ask a = { .d = d };

    iothread_run(d->own.thread, do_stop, &a);
    return a.e;
}

static void do_remove(void *opaque)
{
    Ask *a = opaque;
    Exports *s = exports_of(a->d);
    Export *x = find(s, a->id);
    const NbdExport *n = x ? nbd_export_find(s->server, x->name) : NULL;

    if (!x)
        a->e = err(ERR_NOT_FOUND, "Export '%s' is not found", a->id);
    else if (!a->hard && !x->leaving && n && nbd_export_clients(n))
        a->e = err_hint(err(ERR_BUSY, "export '%s' still in use", a->id), "Use mode='hard' to force client disconnect");
    else
        begin_leaving(s, x);
}

Err *exports_remove(Disks *d, const char *id, bool hard)
{
    Ask a = { .d = d, .id = id, .hard = hard };

    iothread_run(d->own.thread, do_remove, &a);
    return a.e;
}

static void clear_info(void *p)
{
    ExportInfo *i = p;

    g_free(i->id);
    g_free(i->node);
}

static void do_list(void *opaque)
{
    Ask *a = opaque;
    const Exports *s = exports_of(a->d);

    for (guint i = 0; i < s->list->len; i++) {
        const Export *x = s->list->pdata[i];
        const ExportInfo info = { g_strdup(x->id), g_strdup(x->node), x->leaving };

        g_array_append_val(a->list, info);
    }
}

GArray *exports_list(Disks *d)
{
    Ask a = { .d = d, .list = g_array_new(false, false, sizeof(ExportInfo)) };

    g_array_set_clear_func(a.list, clear_info);
    iothread_run(d->own.thread, do_list, &a);
    return a.list;
}

void exports_free(Disks *d)
{
    err_free(exports_stop(d));
    g_ptr_array_free(d->exports->list, true);
    g_free(d->exports);
}
