/* SPDX-License-Identifier: MIT */
/*
 * lyre-nbd inside: the command line (args.c), serving an image (serve.c),
 * listing a server's exports (list.c), the kernel's NBD devices (device.c), and
 * life in the background (daemon.c). Private to cmd/nbd/.
 */
#ifndef CMD_NBD_NBD_H
#define CMD_NBD_NBD_H

#include <glib.h>

#include "block/block.h"
#include "block/tls.h"
#include "util/socket.h"

/* What the command line says. Strings are owned. */
typedef struct NbdArgs {
    bool help, version, verbose, persistent, read_only, snapshot, nocache, image_opts, list, disconnect, fork;
    bool depth;
    char *port, *bind, *socket, *export, *description, *offset, *format, *load_snapshot;
    char *cache, *aio, *discard, *detect_zeroes, *connect;
    char *tls_creds, *tls_authz, *tls_hostname, *pid_file, *selinux, *shared_text;
    GPtrArray *objects, *bitmaps, *traces;      /* of char * */
    uint64_t offset_bytes;
    unsigned shared;                            /* clients; 0: no limit */
    char *file;                                 /* the operand, or NULL; borrowed from argv */
    unsigned operands;
} NbdArgs;

MUST_USE Err *nbd_args_parse(NbdArgs *a, int argc, char **argv);
/* What must not stand together, numbers, names of modes. */
MUST_USE Err *nbd_args_check(NbdArgs *a);
void nbd_args_clear(NbdArgs *a);
char *nbd_args_help(const char *program);       /* g_free it */

typedef struct NbdTool {
    const char *program;
    NbdArgs a;
    Loop *loop;
    BlockGraph *graph;
    TlsCreds *tls;                  /* borrowed from the graph's objects, or NULL */
    GArray *activated;              /* int: sockets that systemd hands over, or NULL */
    int ready_fd;                   /* where the parent waits (--fork), or -1 */
} NbdTool;

/* Where to listen, or to connect to. The caller's. */
MUST_USE Err *nbd_address(const NbdArgs *a, SocketAddr *out);

/* Coroutine functions: the whole of the work. */
MUST_USE Err *nbd_tool_serve(NbdTool *t);
MUST_USE Err *nbd_tool_list(NbdTool *t);

/* device.c */
typedef struct NbdDevice NbdDevice;
/* Gives the kernel the socket `fd`, whose other end a server has that shook no hands; `done` in the loop's thread. */
MUST_USE Err *nbd_device_start(const char *dev, int fd, uint64_t size, uint16_t flags, Loop *loop,
                               void (*done)(void *), void *opaque, NbdDevice **out);
/* Detaches the device if it is not yet; waits for it. NULL is fine. May yield. */
void nbd_device_stop(NbdDevice *d);
MUST_USE Err *nbd_device_disconnect(const char *dev);

/* daemon.c */
/* Forks; the parent waits, prints nothing, and ends as the child says. The child goes on. *fd: for daemon_ready. */
MUST_USE Err *daemon_fork(int *fd);
/* Everything is up: lets the parent go, and the terminal, unless `keep_stderr`. */
void daemon_ready(int *fd, bool keep_stderr);
MUST_USE Err *daemon_pid_file(const char *path, int *fd);
/* LISTEN_FDS and LISTEN_PID: the sockets from descriptor 3 on; NULL: there are none. */
GArray *daemon_sockets(void);
/* SIGTERM, SIGINT and SIGHUP call `fn` in the loop's thread, from now on. */
typedef struct DaemonSignals { Watch watch; int fd; void (*fn)(void *, int sig); void *opaque; } DaemonSignals;
void daemon_block_signals(void);        /* before there are threads */
MUST_USE Err *daemon_signals(DaemonSignals *s, Loop *loop, void (*fn)(void *, int), void *opaque);
void daemon_signals_end(DaemonSignals *s);

#endif
