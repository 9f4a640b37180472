/* SPDX-License-Identifier: MIT */
/*
 * An NBD server: exports (nodes with a name), listeners, clients. lyre-nbd has
 * one, QMP's nbd-server-start makes one (system/exports.h).
 *
 * Everything in the server's loop, but for nbd_export_add, which is called in
 * that of the node: exports may be of several graphs, in threads of their own.
 * Connections are all served in the server's thread; what is asked of a disk is
 * asked in the disk's. Functions that "may yield" are for coroutines.
 *
 * What a client can cost: `max_clients` connections, those that are still
 * shaking hands included, of which each has handshake_seconds to choose an
 * export; while it is served at most NBD_CLIENT_REQUESTS requests and
 * NBD_CLIENT_MEMORY bytes of data.
 */
#ifndef BLOCK_NBD_SERVER_H
#define BLOCK_NBD_SERVER_H

#include "block/block.h"
#include "block/tls.h"
#include "util/socket.h"

typedef struct NbdServer NbdServer;
typedef struct NbdExport NbdExport;

enum {
    NBD_CLIENT_REQUESTS = 64,
    NBD_CLIENT_MEMORY = 64 << 20,           /* at least one request of the longest length fits */
    NBD_HANDSHAKE_SECONDS = 10,
    NBD_STOP_SECONDS = 5,                   /* what running requests get when the server stops */
};

typedef struct NbdServerConfig {
    TlsCreds *tls;                          /* NULL: in the clear; else every client has to use it. A hold is taken. */
    unsigned max_clients;                   /* 0: no limit */
    unsigned handshake_seconds;             /* 0: NBD_HANDSHAKE_SECONDS */
    bool verbose;                           /* say on stderr who comes, goes, and why */
    /* A client has left; it had chosen an export, or not. May be NULL. */
    void (*gone)(void *opaque, bool served, unsigned left);
    void *opaque;
} NbdServerConfig;

NbdServer *nbd_server_new(Loop *loop, const NbdServerConfig *c);
/* Listens there as well. */
MUST_USE Err *nbd_server_listen(NbdServer *s, const SocketAddr *a);
/* The first listener's port, where it is TCP. */
unsigned nbd_server_port(const NbdServer *s);
/* A socket that is connected already; it is the server's from now on. */
MUST_USE Err *nbd_server_take(NbdServer *s, int fd);
/* The same for a peer that shakes no hands, as the kernel: it uses that export, by simple replies. */
MUST_USE Err *nbd_server_take_for(NbdServer *s, int fd, NbdExport *x);
/* The transmission flags that such a peer is to be told. */
uint16_t nbd_export_plain_flags(const NbdExport *x);
/* No more listeners, no more requests; running ones end, then clients do. Waits until all have left. May yield. */
void nbd_server_stop(NbdServer *s);
/* Stops, lets the exports go. NULL is fine. May yield. */
void nbd_server_free(NbdServer *s);
unsigned nbd_server_clients(const NbdServer *s);

typedef struct NbdExportConfig {
    const char *name, *description;         /* description may be NULL */
    BlockNode *node;
    bool writable, multi_conn;              /* multi_conn: tell clients that they may use several connections */
    bool writethrough;
    bool allocation_depth;                  /* offer qemu:allocation-depth */
    const char *const *bitmaps;             /* names, looked for in the node and its backing chain; NULL-terminated or NULL */
    const char *const *bitmap_nodes;        /* beside them: nodes in which to look instead; NULL: none */
} NbdExportConfig;

/* In the node's thread. May yield. */
MUST_USE Err *nbd_export_add(NbdServer *s, const NbdExportConfig *c, NbdExport **out);
NbdExport *nbd_export_find(NbdServer *s, const char *name);
unsigned nbd_export_clients(const NbdExport *x);
/* Lets it go; its clients are sent away (hard), or it is an error that there are some. May yield. */
MUST_USE Err *nbd_export_remove(NbdServer *s, const char *name, bool hard);
NbdExport *nbd_export_next(NbdServer *s, NbdExport *after);
const char *nbd_export_name(const NbdExport *x);

#endif
