/* SPDX-License-Identifier: MIT */
/*
 * Life in the NBD server: exports, listeners, clients that come and go.
 */
#include "block/driver.h"
#include "block/nbd/server-priv.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 128
#define SECOND INT64_C(1000000000)
#define BITMAPS_MAX 62              /* contexts of an export fit in 64 bits */

void nbd_say(const NbdClient *c, const char *fmt, ...)
{
    va_list ap;

    if (!c->server->c.verbose)
        return;
    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    err_note("client at %s: %s", c->peer, text);
}

/* ---- exports */

NbdExport *nbd_export_ref(NbdExport *x)
{
    x->refs++;
    return x;
}

void nbd_export_unref(NbdExport *x)
{
    if (!x || --x->refs)
        return;
    g_free(x->name);
    g_free(x->description);
    g_free(x->bitmaps);
    g_strfreev(x->bitmap_names);
    g_free(x);
}

NbdExport *nbd_export_find(NbdServer *s, const char *name)
{
    NbdExport *x = s->exports;

    while (x && strcmp(x->name, name))
        x = x->next;
    return x;
}

NbdExport *nbd_export_next(NbdServer *s, NbdExport *after)
{
    return after ? after->next : s->exports;
}

const char *nbd_export_name(const NbdExport *x)
{
    return x->name;
}

unsigned nbd_export_clients(const NbdExport *x)
{
    return x->clients;
}

static void export_drain(void *opaque, bool begin)
{
    NbdExport *x = opaque;

    x->draining = begin;
    if (!begin)
        co_queue_wake_all(&x->undrained);
}

/* No notice of a new size exists in the protocol: each request is compared with the size of its time. */
static void export_resized(void *opaque)
{
    NbdExport *x = opaque;

    if (x->disk)                /* its end waits for what is under way */
        x->size = disk_size(x->disk);
}

static const DiskOps export_ops = { .resized = export_resized, .drain = export_drain };

uint64_t nbd_export_size(const NbdExport *x)
{
    return x->loop == x->server->loop && x->disk ? disk_size(x->disk) : x->size;
}

typedef struct AtDisk {
    NbdExport *x;
    int (*fn)(NbdExport *, void *);
    void *arg;
    int ret;
} AtDisk;

static void at_disk(void *opaque)
{
    AtDisk *a = opaque;
    NbdExport *x = a->x;

    while (x->draining)
        co_queue_wait(&x->undrained);
    a->ret = x->disk ? a->fn(x, a->arg) : -ESHUTDOWN;
    if (x->disk)
        x->size = disk_size(x->disk);
}

int nbd_at_disk(NbdExport *x, int (*fn)(NbdExport *, void *), void *arg)
{
    AtDisk a = { x, fn, arg, 0 };

    co_visit(x->loop, at_disk, &a);
    return a.ret;
}

/* In the node, or below it in the backing chain. */
static DirtyBitmap *find_bitmap(BlockNode *n, const char *name)
{
    DirtyBitmap *b = NULL;

    for (; n && !b; n = node_backing(n)) {
        b = bitmap_find(n, name);
        n = node_skip_filters(n);
        if (!b)
            b = bitmap_find(n, name);
    }
    return b;
}

static DirtyBitmap *named_bitmap(const NbdExportConfig *c, unsigned i)
{
    const char *name = c->bitmap_nodes ? c->bitmap_nodes[i] : NULL;
    BlockNode *n = name ? graph_find(c->node->graph, name) : NULL;

    if (name)
        return n ? bitmap_find(n, c->bitmaps[i]) : NULL;
    return find_bitmap(c->node, c->bitmaps[i]);
}

static Err *export_bitmaps(NbdExport *x, const NbdExportConfig *c)
{
    unsigned n = 0;

    while (c->bitmaps && c->bitmaps[n])
        n++;
    if (n > BITMAPS_MAX)
        return err(ERR_UNSUPPORTED, "an export can show %d bitmaps at most", BITMAPS_MAX);
    x->bitmaps = g_new0(DirtyBitmap *, n + 1);
    x->bitmap_names = g_new0(char *, n + 1);
    for (unsigned i = 0; i < n; i++) {
        DirtyBitmap *b = named_bitmap(c, i);

        if (!b)
            return err(ERR_NOT_FOUND, "Bitmap '%s' is not found", c->bitmaps[i]);
        TRY(err_in(bitmap_usable(b, BITMAP_USE_READ), "bitmap '%s'", c->bitmaps[i]));
        if (strlen(b->name) > NBD_NAME_MAX - strlen(NBD_DIRTY_BITMAP))
            return err(ERR_INVALID, "the bitmap's name is too long for NBD");
        if (!c->writable && !node_read_only(b->node) && !b->disabled)
            return err_hint(err(ERR_INVALID, "Enabled bitmap '%s' incompatible with readonly export", c->bitmaps[i]),
                            "Disable the bitmap first, so that what is shown does not change.");
        b->busy++;
        x->bitmap_names[x->n_bitmaps] = g_strdup(b->name);
        x->bitmaps[x->n_bitmaps++] = b;
    }
    return NULL;
}

/* What it holds of others; no client is left. In the disk's thread. May yield. */
static void export_release(void *opaque)
{
    NbdExport *x = opaque;
    Disk *d = x->disk;

    for (unsigned i = 0; i < x->n_bitmaps; i++)
        x->bitmaps[i]->busy--;
    x->disk = NULL;
    disk_free(d);
}

static Err *export_open(NbdExport *x, const NbdExportConfig *c)
{
    g_autofree char *who = g_strdup_printf("NBD export '%s'", c->name);

    if (c->writable && node_read_only(c->node))
        return err_hint(err(ERR_INVALID, "the node is read-only, the export would not be"), "Export it read-only.");
    TRY(disk_new(c->node, PERM_CONSISTENT_READ | (c->writable ? PERM_WRITE : 0), PERM_ALL, who, &x->disk));
    disk_set_ops(x->disk, &export_ops, x);
    x->size = disk_size(x->disk);
    if (c->writethrough)
        disk_set_writethrough(x->disk, true);
    return export_bitmaps(x, c);
}

/* Into the server's list, by name; in its thread. */
static void export_link(void *opaque)
{
    NbdExport *x = opaque, **at = &x->server->exports;

    x->gone = nbd_export_find(x->server, x->name);
    if (x->gone)
        return;
    while (*at && strcmp((*at)->name, x->name) < 0)
        at = &(*at)->next;
    x->next = *at;
    *at = x;
}

static Err *export_make(NbdExport *x, const NbdExportConfig *c)
{
    TRY(export_open(x, c));
    co_visit(x->server->loop, export_link, x);
    return x->gone ? err(ERR_INVALID, "there is an export of that name already") : NULL;
}

Err *nbd_export_add(NbdServer *s, const NbdExportConfig *c, NbdExport **out)
{
    if (strlen(c->name) > NBD_NAME_MAX)
        return err(ERR_INVALID, "the export's name is longer than %d bytes", NBD_NAME_MAX);
    if (c->description && strlen(c->description) > NBD_NAME_MAX)
        return err(ERR_INVALID, "the export's description is longer than %d bytes", NBD_NAME_MAX);
    NbdExport *x = g_new0(NbdExport, 1);
    x->refs = 1;
    x->server = s;
    x->loop = graph_loop(c->node->graph);
    x->name = g_strdup(c->name);
    x->description = c->description && *c->description ? g_strdup(c->description) : NULL;
    x->writable = c->writable;
    x->multi_conn = c->multi_conn;
    x->depth = c->allocation_depth;
    Err *e = export_make(x, c);
    if (e) {
        export_release(x);
        nbd_export_unref(x);
        return err_in(e, "export '%s'", c->name);
    }
    if (out)
        *out = x;
    return NULL;
}

static void client_stop(NbdClient *c, int64_t until)
{
    c->stopping = true;
    if (!c->export) {
        wire_down(c->s, ESHUTDOWN);
        return;
    }
    wire_stop_reading(c->s);
    wire_deadline(c->s, until);
}

Err *nbd_export_remove(NbdServer *s, const char *name, bool hard)
{
    NbdExport *x = nbd_export_find(s, name), **at = &s->exports;

    if (!x)
        return err(ERR_NOT_FOUND, "there is no export '%s'", name);
    if (x->clients && !hard)
        return err_hint(err(ERR_BUSY, "the export '%s' is in use by %u clients", name, x->clients),
                        "mode=hard sends them away.");
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    x->gone = true;
    for (NbdClient *c = s->clients; c; c = c->next)
        if (c->export == x)
            client_stop(c, loop_now() + NBD_STOP_SECONDS * SECOND);
    while (x->clients)
        co_queue_wait(&x->left);
    co_visit(x->loop, export_release, x);
    nbd_export_unref(x);
    return NULL;
}

/* ---- clients */

static void listeners_set(NbdServer *s)
{
    bool room = !s->c.max_clients || s->n_clients < s->c.max_clients;

    for (unsigned i = 0; i < s->listeners->len; i++)
        watch_events(&((Listener *)s->listeners->pdata[i])->watch, room ? EPOLLIN : 0);
}

static void client_leave(NbdClient *c)
{
    NbdServer *s = c->server;
    NbdClient **at = &s->clients;
    bool served = c->export;

    while (*at != c)
        at = &(*at)->next;
    *at = c->next;
    s->n_clients--;
    if (c->export) {
        c->export->clients--;
        s->serving--;
        co_queue_wake_all(&c->export->left);
        nbd_export_unref(c->export);
    }
    nbd_forget_contexts(c);
    wire_free(c->s);
    g_free(c->peer);
    g_free(c);
    listeners_set(s);
    co_queue_wake_all(&s->left);
    if (s->c.gone)
        s->c.gone(s->c.opaque, served, s->n_clients);
}

static void client_main(void *arg)
{
    NbdClient *c = arg;
    unsigned seconds = c->server->c.handshake_seconds ? c->server->c.handshake_seconds : NBD_HANDSHAKE_SECONDS;

    wire_deadline(c->s, loop_now() + seconds * SECOND);
    nbd_say(c, "connected");
    Err *e = c->export ? NULL : nbd_shake(c);
    if (!e && c->export && !c->stopping) {
        wire_deadline(c->s, -1);
        nbd_say(c, "uses the export '%s'%s%s", c->export->name, c->tls ? ", TLS" : "",
                c->extended ? ", extended headers" : c->structured ? ", structured replies" : "");
        e = nbd_serve(c);
    }
    nbd_say(c, e ? "left: %s" : "left", e ? err_text(e) : "");
    if (!e)
        wire_end(c->s);
    err_free(e);
    client_leave(c);
}

Err *nbd_server_take_for(NbdServer *s, int fd, NbdExport *x)
{
    Wire *wire;

    TRY(wire_new(s->loop, fd, &wire));
    socket_tune(fd, true);
    NbdClient *c = g_new0(NbdClient, 1);
    c->server = s;
    c->s = wire;
    c->peer = socket_peer(fd);
    if (x) {
        c->export = nbd_export_ref(x);
        x->clients++;
        s->serving++;
    }
    c->next = s->clients;
    s->clients = c;
    s->n_clients++;
    listeners_set(s);
    co_start(s->loop, client_main, c);
    return NULL;
}

Err *nbd_server_take(NbdServer *s, int fd)
{
    return nbd_server_take_for(s, fd, NULL);
}

uint16_t nbd_export_plain_flags(const NbdExport *x)
{
    NbdClient plain = { 0 };

    return nbd_export_flags(&plain, x);
}

unsigned nbd_server_clients(const NbdServer *s)
{
    return s->n_clients;
}

/* ---- listeners */

static void listeners_retry(void *opaque)
{
    listeners_set(opaque);
}

static void listener_ready(void *opaque, uint32_t events)
{
    Listener *l = opaque;
    NbdServer *s = l->server;
    int fd = socket_accept(l->fd);

    if (fd >= 0) {
        Err *e = nbd_server_take(s, fd);
        if (e && s->c.verbose)
            err_note("%s", err_text(e));
        err_free(e);
        return;
    }
    if (fd == -EAGAIN)
        return;
    /* Out of descriptors or memory: the same would happen at once again. */
    if (s->c.verbose)
        err_note("cannot take a connection: %s", g_strerror(-fd));
    for (unsigned i = 0; i < s->listeners->len; i++)
        watch_events(&((Listener *)s->listeners->pdata[i])->watch, 0);
    alarm_set(&s->retry, loop_now() + SECOND);
}

static void listener_free(void *p)
{
    Listener *l = p;

    watch_del(&l->watch);
    close(l->fd);
    if (l->path)
        unlink(l->path);
    g_free(l->path);
    g_free(l);
}

Err *nbd_server_listen(NbdServer *s, const SocketAddr *a)
{
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    Err *e = NULL;

    TRY(socket_listen(a, BACKLOG, fds));
    for (unsigned i = 0; i < fds->len; i++) {
        Listener *l = g_new0(Listener, 1);
        l->server = s;
        l->fd = g_array_index(fds, int, i);
        l->watch.fd = -1;
        l->path = a->type == SOCKET_UNIX && !a->abstract ? g_strdup(a->path) : NULL;
        if (!e)
            e = watch_add(&l->watch, s->loop, l->fd, EPOLLIN, listener_ready, l);
        if (e)
            listener_free(l);
        else
            g_ptr_array_add(s->listeners, l);
    }
    listeners_set(s);
    return e;
}

unsigned nbd_server_port(const NbdServer *s)
{
    return s->listeners->len ? socket_port(((Listener *)s->listeners->pdata[0])->fd) : 0;
}

/* ---- the server */

NbdServer *nbd_server_new(Loop *loop, const NbdServerConfig *c)
{
    NbdServer *s = g_new0(NbdServer, 1);

    s->loop = loop;
    s->c = *c;
    if (c->tls)
        tls_creds_ref(c->tls);
    s->listeners = g_ptr_array_new_with_free_func(listener_free);
    alarm_init(&s->retry, loop, listeners_retry, s);
    return s;
}

void nbd_server_stop(NbdServer *s)
{
    int64_t until = loop_now() + NBD_STOP_SECONDS * SECOND;

    s->stopping = true;
    alarm_del(&s->retry);
    g_ptr_array_set_size(s->listeners, 0);
    for (NbdClient *c = s->clients; c; c = c->next)
        client_stop(c, until);
    while (s->clients)
        co_queue_wait(&s->left);
}

void nbd_server_free(NbdServer *s)
{
    if (!s)
        return;
    nbd_server_stop(s);
    while (s->exports)
        err_free(nbd_export_remove(s, s->exports->name, true));
    tls_creds_unref(s->c.tls);
    g_ptr_array_free(s->listeners, TRUE);
    g_free(s);
}
