/* SPDX-License-Identifier: MIT */
/*
 * What the server's files share: server.c (life), shake.c (handshake), serve.c
 * (requests), status.c (metadata contexts).
 */
#ifndef BLOCK_NBD_SERVER_PRIV_H
#define BLOCK_NBD_SERVER_PRIV_H

#include <glib.h>

#include "block/bitmap.h"
#include "block/nbd/protocol.h"
#include "block/nbd/server.h"
#include "util/wire.h"

typedef struct NbdClient NbdClient;

struct NbdExport {
    NbdServer *server;
    unsigned refs;
    char *name, *description;
    bool gone;                      /* it was removed */
    bool writable, multi_conn, depth;
    char **bitmap_names;            /* n_bitmaps of them */
    unsigned n_bitmaps;
    unsigned clients;               /* that have chosen it */
    CoQueue left;                   /* wakes when a client leaves */
    NbdExport *next;
    Loop *loop;                     /* of its node; perhaps another one than the server's. Its thread's alone (nbd_at_disk): */
    Disk *disk;                     /* NULL: not open any more */
    DirtyBitmap **bitmaps;          /* busy */
    bool draining;                  /* nothing may be asked of the disk */
    CoQueue undrained;
    _Atomic uint64_t size;          /* as it was last seen; any thread */
};

typedef struct Listener {
    NbdServer *server;
    Watch watch;
    int fd;
    char *path;                     /* a unix socket's file that is ours to remove, or NULL */
} Listener;

struct NbdServer {
    Loop *loop;
    NbdServerConfig c;
    NbdExport *exports;             /* by name */
    GPtrArray *listeners;           /* of Listener */
    NbdClient *clients;
    unsigned n_clients, serving;    /* serving: have chosen an export */
    bool stopping;
    Alarm retry;                    /* listens again after accept() failed */
    CoQueue left;
};

/* Metadata contexts of a client: numbers are ids on the wire. */
enum { CONTEXT_ALLOCATION = 0, CONTEXT_DEPTH = 1, CONTEXT_BITMAPS = 2 };

struct NbdClient {
    NbdServer *server;
    NbdExport *export;              /* NULL: still shaking hands */
    Wire *s;
    char *peer;
    bool no_zeroes, tls, structured, extended;
    bool shaken;                    /* the handshake is over */
    bool stopping;                  /* no more requests are read */
    NbdExport *context_export;      /* that the contexts were chosen for, or NULL; a hold */
    bool *contexts;                 /* by id: chosen; or NULL */
    unsigned n_contexts;
    CoMutex sending;
    unsigned requests;              /* running */
    uint64_t memory;                /* bytes of their buffers */
    CoQueue room;                   /* a request ended */
    NbdClient *next;
};

NbdExport *nbd_export_ref(NbdExport *x);
void nbd_export_unref(NbdExport *x);        /* NULL is fine */
/* In bytes; as far as known where the disk is in another thread. */
uint64_t nbd_export_size(const NbdExport *x);
/* Calls fn in the thread of the export's disk, while nothing drains it. What fn returns, or -ESHUTDOWN. May yield. */
int nbd_at_disk(NbdExport *x, int (*fn)(NbdExport *x, void *arg), void *arg);
void nbd_forget_contexts(NbdClient *c);

/* shake.c. NULL: an export was chosen, or (c->export NULL) the client took its leave. */
MUST_USE Err *nbd_shake(NbdClient *c);
uint16_t nbd_export_flags(const NbdClient *c, const NbdExport *x);

/* serve.c: until the client goes; NULL when in order. */
MUST_USE Err *nbd_serve(NbdClient *c);

/* status.c */
unsigned nbd_context_count(const NbdExport *x);
/* "base:allocation", ..; g_free it. */
char *nbd_context_name(const NbdExport *x, unsigned id);
typedef struct StatusExtent { uint64_t len, flags; } StatusExtent;
/*
 * The extents of [off, off + len) in a context, alike neighbours joined, up to
 * `max`; how many, or -errno. By nbd_at_disk.
 */
int nbd_status(NbdExport *x, unsigned id, uint64_t off, uint64_t len, unsigned max, StatusExtent *out);

/* Says it when the server is verbose. */
void nbd_say(const NbdClient *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
