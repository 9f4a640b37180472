/* SPDX-License-Identifier: MIT */
/*
 * Serving an image: opened as the command line says, exported, until the last
 * client has left (or with --persistent a signal comes).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "block/nbd/protocol.h"
#include "block/nbd/server.h"
#include "cmd/nbd/nbd.h"

/* ---- addresses */

Err *nbd_address(const NbdArgs *a, SocketAddr *out)
{
    *out = (SocketAddr){ 0 };
    if (a->socket) {
        if (!*a->socket)
            return err(ERR_INVALID, "the path of the unix socket is empty");
        *out = (SocketAddr){ .type = SOCKET_UNIX, .path = g_strdup(a->socket) };
        return NULL;
    }
    *out = (SocketAddr){ .type = SOCKET_INET, .port = g_strdup(a->port ? a->port : NBD_DEFAULT_PORT),
                         .host = g_strdup(a->bind ? a->bind : a->list ? "localhost" : "0.0.0.0") };
    return NULL;
}

/* ---- the image's options */

/* The innermost "file" of the options. */
static json_t *storage(json_t *o)
{
    json_t *file;

    while (json_is_object(file = json_object_get(o, "file")))
        o = file;
    return o;
}

/* Others have no way to choose how the host's files are read. */
static bool is_file(const json_t *o)
{
    const char *driver = json_string_value(json_object_get(o, "driver"));

    return driver && (!strcmp(driver, "file") || !strcmp(driver, "host_device"));
}

static Err *image_options(const NbdArgs *a, json_t **out, bool *writethrough)
{
    json_t *o = NULL;

    TRY(a->image_opts ? options_from_keyval(a->file, &o) : options_from_name(a->file, a->format, &o));
    *out = o;
    TRY(options_set_cache(o, a->cache ? a->cache : "writeback", writethrough));
    if (a->aio && is_file(storage(o)))
        json_object_set_new(storage(o), "aio", json_string(!strcmp(a->aio, "threads") ? "threads" : "io_uring"));
    if (a->discard)
        json_object_set_new(o, "discard", json_string(!strcmp(a->discard, "unmap") || !strcmp(a->discard, "on") ? "unmap"
                                                                                                              : "ignore"));
    if (a->detect_zeroes)
        json_object_set_new(o, "detect-zeroes", json_string(a->detect_zeroes));
    return NULL;
}

static bool read_only(const NbdArgs *a)
{
    return a->read_only || a->load_snapshot;
}

static Err *load_snapshot(BlockNode *n, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", 2);
    const char *name = text;

    for (char **p = parts; *p; p++) {
        if (g_str_has_prefix(*p, "snapshot.id="))
            name = *p + strlen("snapshot.id=");
        else if (g_str_has_prefix(*p, "snapshot.name="))
            name = *p + strlen("snapshot.name=");
    }
    return err_in(node_snapshot_load(n, name), "Failed to load snapshot");
}

/* A temporary overlay that takes the writes; *out becomes the node to serve. */
static Err *overlay(BlockGraph *g, BlockNode **out)
{
    g_autofree char *path = g_build_filename(g_get_tmp_dir(), "lyre-nbd-XXXXXX", NULL);
    int fd = g_mkstemp(path);
    BlockNode *top;

    if (fd < 0)
        return err(ERR_IO, "--snapshot: no temporary file in %s", g_get_tmp_dir());
    close(fd);
    CreateRequest r = { .filename = path, .format = "qcow2", .size = node_size(*out) };
    Err *e = image_create(g, &r, NULL);
    if (!e) {
        json_t *o = json_pack("{s:s,s:{s:s,s:s},s:s}", "driver", "qcow2", "file", "driver", "file", "filename", path,
                              "backing", node_name(*out));
        e = node_open(g, o, OPEN_RW | OPEN_TEMPORARY, &top);
        json_decref(o);
    }
    unlink(path);
    if (e)
        return err_in(e, "--snapshot");
    node_unref(*out);
    *out = top;
    return NULL;
}

/* A window from the offset to the end. */
static Err *window(BlockGraph *g, uint64_t offset, bool ro, BlockNode **out)
{
    BlockNode *top;

    if (offset >= node_size(*out))
        return err(ERR_INVALID, "Offset (%" PRIu64 ") has to be smaller than the image size (%" PRIu64 ")", offset,
                   node_size(*out));
    json_t *o = json_pack("{s:s,s:I,s:s}", "driver", "raw", "offset", (json_int_t)offset, "file", node_name(*out));
    Err *e = node_open(g, o, ro ? 0 : OPEN_RW, &top);
    json_decref(o);
    TRY(err_in(e, "--offset"));
    node_unref(*out);
    *out = top;
    return NULL;
}

static Err *open_image(NbdTool *t, BlockNode **out, bool *writethrough)
{
    const NbdArgs *a = &t->a;
    json_t *o = NULL;

    *out = NULL;
    Err *e = image_options(a, &o, writethrough);
    if (!e)
        e = node_open(t->graph, o, read_only(a) || a->snapshot ? 0 : OPEN_RW, out);
    json_decref(o);
    TRY(e);
    if (a->load_snapshot)
        TRY(load_snapshot(*out, a->load_snapshot));
    if (a->snapshot && !read_only(a))
        TRY(overlay(t->graph, out));
    return a->offset_bytes ? window(t->graph, a->offset_bytes, read_only(a), out) : NULL;
}

/* ---- until the end */

typedef struct Serving {
    NbdTool *t;
    NbdServer *server;
    NbdExport *export;
    NbdDevice *device;
    BlockNode *node;
    bool over;
    CoQueue wait;
    DaemonSignals signals;
    int pid_fd;
} Serving;

static void end(Serving *s)
{
    s->over = true;
    co_queue_wake_all(&s->wait);
}

static void client_gone(void *opaque, bool served, unsigned left)
{
    Serving *s = opaque;

    if (served && !left && !s->t->a.persistent)
        end(s);
}

static void signal_came(void *opaque, int sig)
{
    Serving *s = opaque;

    if (s->t->a.verbose)
        err_note("signal %d: no more requests are taken", sig);
    end(s);
}

static void device_done(void *opaque)
{
    end(opaque);
}

static Err *add_export(Serving *s, bool writethrough)
{
    const NbdArgs *a = &s->t->a;

    g_ptr_array_add(a->bitmaps, NULL);
    NbdExportConfig x = {
        .name = a->export ? a->export : "", .description = a->description, .node = s->node,
        .writable = !read_only(a), .multi_conn = a->shared != 1, .writethrough = writethrough,
        .allocation_depth = a->depth, .bitmaps = (const char *const *)a->bitmaps->pdata,
    };
    return nbd_export_add(s->server, &x, &s->export);
}

/* The kernel's device as a client of a socketpair. */
static Err *attach_device(Serving *s)
{
    int fd[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd) < 0)
        return err(ERR_IO, "no socketpair");
    Err *e = nbd_device_start(s->t->a.connect, fd[0], node_size(s->node), nbd_export_plain_flags(s->export),
                              s->t->loop, device_done, s, &s->device);
    if (e) {
        close(fd[0]);
        close(fd[1]);
        return e;
    }
    return nbd_server_take_for(s->server, fd[1], s->export);
}

static Err *listen_all(Serving *s)
{
    NbdTool *t = s->t;
    SocketAddr a;

    if (t->activated) {
        for (unsigned i = 0; i < t->activated->len; i++) {
            SocketAddr fd = { .type = SOCKET_FD, .fd = g_array_index(t->activated, int, i) };
            TRY(err_in(nbd_server_listen(s->server, &fd), "socket activation"));
        }
        return NULL;
    }
    if (t->a.connect && !t->a.socket && !t->a.port && !t->a.bind)
        return NULL;
    TRY(nbd_address(&t->a, &a));
    Err *e = nbd_server_listen(s->server, &a);
    socket_addr_clear(&a);
    return e;
}

static Err *start(Serving *s)
{
    NbdTool *t = s->t;
    bool writethrough = false;
    NbdServerConfig c = { .tls = t->tls, .max_clients = t->a.shared, .verbose = t->a.verbose, .gone = client_gone, .opaque = s };

    TRY(daemon_signals(&s->signals, t->loop, signal_came, s));
    s->server = nbd_server_new(t->loop, &c);
    TRY(open_image(t, &s->node, &writethrough));
    TRY(add_export(s, writethrough));
    if (t->a.connect)
        TRY(attach_device(s));
    TRY(listen_all(s));
    return t->a.pid_file ? daemon_pid_file(t->a.pid_file, &s->pid_fd) : NULL;
}

Err *nbd_tool_serve(NbdTool *t)
{
    Serving s = { .t = t, .signals.fd = -1, .signals.watch.fd = -1, .pid_fd = -1 };
    Err *e = start(&s);

    if (!e) {
        daemon_ready(&t->ready_fd, t->a.verbose);
        while (!s.over)
            co_queue_wait(&s.wait);
    }
    nbd_device_stop(s.device);
    nbd_server_free(s.server);
    node_unref(s.node);
    daemon_signals_end(&s.signals);
    if (s.pid_fd >= 0) {
        unlink(t->a.pid_file);
        close(s.pid_fd);
    }
    return e;
}
