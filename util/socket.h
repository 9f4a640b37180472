/* SPDX-License-Identifier: MIT */
/*
 * Addresses of stream sockets, and connecting and listening by them: TCP over
 * IPv4 and IPv6, unix sockets (also abstract ones), vsock, and descriptors that
 * were handed to us. As options they have the shape of QEMU's SocketAddress:
 * {"type": "inet", "host": .., "port": ..}, {"type": "unix", "path": ..},
 * {"type": "vsock", "cid": .., "port": ..}, {"type": "fd", "str": ..}.
 */
#ifndef UTIL_SOCKET_H
#define UTIL_SOCKET_H

#include <glib.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/co.h"
#include "util/err.h"

typedef struct SocketAddr {
    enum { SOCKET_INET, SOCKET_UNIX, SOCKET_VSOCK, SOCKET_FD } type;
    char *host, *port;          /* inet: name or number; vsock: the context id and port. Owned. */
    char *path;                 /* unix; owned */
    bool abstract, tight;       /* unix: a name without a file; tight: no NULs behind it */
    bool numeric, keep_alive;   /* inet */
    enum { SOCKET_ANY, SOCKET_IPV4, SOCKET_IPV6 } family;
    int fd;                     /* fd */
} SocketAddr;

/* "HOST:PORT", "[IPV6]:PORT", "unix:PATH", "vsock:CID:PORT", "fd:N". */
MUST_USE Err *socket_addr_parse(const char *text, SocketAddr *out);
/* The options' shape; also the older one with the members inside "data". */
MUST_USE Err *socket_addr_from_json(const json_t *options, SocketAddr *out);
json_t *socket_addr_to_json(const SocketAddr *a);
/* How socket_addr_parse would take it; g_free it. */
char *socket_addr_text(const SocketAddr *a);
void socket_addr_copy(SocketAddr *to, const SocketAddr *from);
void socket_addr_clear(SocketAddr *a);

/*
 * What a coroutine waits with, so that others can end the wait. Zeroed memory
 * is a fresh one; it may be reused after the wait.
 */
typedef struct Cancel { bool cancelled; void (*wake)(void *); void *opaque; } Cancel;
void cancel_now(Cancel *c);

/*
 * Waits for the descriptor until `deadline` (loop_now's clock; -1: for ever).
 * The events that hold, -ETIMEDOUT, or -ECANCELED. c may be NULL.
 */
int socket_wait(int fd, uint32_t events, int64_t deadline, Cancel *c);
/* A sleep that can be cancelled: 0 or -ECANCELED. */
int cancel_sleep(int64_t until, Cancel *c);

/* Connects, in a coroutine; *fd is non-blocking and close-on-exec. c may be NULL. */
MUST_USE Err *socket_connect(const SocketAddr *a, int64_t deadline, Cancel *c, int *fd);

/*
 * Listens: one descriptor for each address that the name stands for, into fds
 * (of int), non-blocking. Looks names up in the calling thread. A unix socket's
 * file that nobody serves any more is replaced.
 */
MUST_USE Err *socket_listen(const SocketAddr *a, int backlog, GArray *fds);
/* Takes one connection, if there is one: the descriptor, or -errno. */
int socket_accept(int listener);
/* The port of a bound inet socket, or 0. */
unsigned socket_port(int fd);
/* "127.0.0.1:4711", or "a unix socket": who is at the other end; g_free it. */
char *socket_peer(int fd);
/* Small messages leave at once (TCP); keep_alive as asked. Errors do not matter. */
void socket_tune(int fd, bool keep_alive);

#endif
