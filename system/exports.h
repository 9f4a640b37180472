/* SPDX-License-Identifier: MIT */
/*
 * Disks of a machine for other programs: its NBD server (block/nbd/server.h) and
 * the exports that the monitor makes. The server is in the thread "disks"; what
 * it asks of a disk is asked in the disk's thread, whichever that is.
 *
 * An export that is removed lets its clients' requests end first, so it goes
 * some time after it was asked to; the event BLOCK_EXPORT_DELETED says when.
 */
#ifndef SYSTEM_EXPORTS_H
#define SYSTEM_EXPORTS_H

#include "system/disks.h"
#include "util/socket.h"

typedef struct Exports Exports;

typedef struct ExportConfig {
    const char *id, *name, *description;        /* name: for clients; description may be NULL */
    bool writable, writethrough, depth;
    /* NULL-terminated, or NULL; bitmap_nodes beside them: where each is, NULL: in the node or below it. */
    const char *const *bitmaps, *const *bitmap_nodes;
} ExportConfig;

typedef struct ExportInfo { char *id, *node; bool leaving; } ExportInfo;

/* Main thread. */
MUST_USE Err *exports_start(Disks *d, const SocketAddr *a, const char *tls_creds, unsigned max_clients);
/* All exports and clients go; returns when they have. */
MUST_USE Err *exports_stop(Disks *d);
/* hard: clients are sent away; else it is an error if there are some. */
MUST_USE Err *exports_remove(Disks *d, const char *id, bool hard);
/* Of ExportInfo; the caller's. */
GArray *exports_list(Disks *d);
void exports_free(Disks *d);                    /* before the nodes go */

/* In the thread of the node, as a coroutine; the main thread waits. */
MUST_USE Err *exports_add(Disks *d, BlockNode *n, const ExportConfig *c);

#endif
