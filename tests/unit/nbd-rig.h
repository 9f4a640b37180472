/* SPDX-License-Identifier: MIT */
/*
 * What tests of NBD share: a server over memory, connections to it by
 * socketpairs, and peers that are played by hand.
 */
#ifndef TESTS_UNIT_NBD_RIG_H
#define TESTS_UNIT_NBD_RIG_H

#include <sys/socket.h>
#include <unistd.h>

#include "block/bitmap.h"
#include "block/nbd/client.h"
#include "block/nbd/server.h"
#include "tests/unit/block-ram.h"

extern const BlockDriver block_raw, block_nbd;
const BlockDriver *const block_set[] = { &block_ram, &block_raw, &block_nbd, NULL };

typedef struct Serving {
    NbdServer *server;
    BlockNode *node;
} Serving;

static inline void pair_of(int fd[2])
{
    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd));
}

static inline Serving serve_node(BlockGraph *g, const char *options, NbdExportConfig x, NbdServerConfig c)
{
    Serving s = { nbd_server_new(graph_loop(g), &c), open_text(g, options, x.writable ? OPEN_RW : 0) };

    x.node = s.node;
    if (!x.name)
        x.name = "";
    CHECK(ok(nbd_export_add(s.server, &x, NULL)));
    return s;
}

static inline Serving serve(BlockGraph *g, const char *options)
{
    return serve_node(g, options, (NbdExportConfig){ .writable = true }, (NbdServerConfig){ 0 });
}

static inline void serving_end(Serving *s)
{
    nbd_server_free(s->server);
    node_unref(s->node);
}

/* A socket whose other end the server has. */
static inline int dial(Serving *s)
{
    int fd[2];

    pair_of(fd);
    CHECK(ok(nbd_server_take(s->server, fd[1])));
    return fd[0];
}

/* The nbd driver over such a socket. */
static inline BlockNode *dial_node(BlockGraph *g, Serving *s, const char *more, unsigned flags)
{
    int fd = dial(s);
    g_autofree char *text = g_strdup_printf("driver=nbd,server.type=fd,server.str=%d%s", fd, more);
    BlockNode *n = open_text(g, text, flags);

    close(fd);
    return n;
}

static inline Wire *wire_of(int fd)
{
    Wire *w = NULL;

    CHECK(ok(wire_new(co_loop(), fd, &w)));
    return w;
}

static inline NbdConn *dial_conn(Serving *s, NbdWish w)
{
    NbdConn *c = NULL;

    if (!w.export)
        w.export = "";
    CHECK(ok(nbd_conn_start(wire_of(dial(s)), &w, loop_now() + 5000000000, NULL, &c)));
    return c;
}

#endif
