/* SPDX-License-Identifier: MIT */
/*
 * Where the sockets of chardev/ are: by the options of -chardev. An address is
 * plain data of its own, so that a thread may dial it while its backend is gone.
 */
#ifndef CHARDEV_ADDRESS_H
#define CHARDEV_ADDRESS_H

#include "util/err.h"
#include "util/opts.h"

typedef struct ChrAddress {
    char *path;                 /* UNIX; NULL: by host and port. Owned, as the others */
    char *host, *port;          /* "" host: any (server), this machine (client) */
    bool abstract, loose;       /* UNIX: a name without a file; loose: with the NULs behind it (tight=off) */
    bool v4, v6;                /* only that family; both or none: any */
    bool keep_alive;
    unsigned to;                /* server: ports up to this are tried; 0: the one */
} ChrAddress;

struct addrinfo;

/* Of the options path, abstract, tight, host, port, ipv4, ipv6, to, keep-alive. */
MUST_USE Err *chr_address(const Opts *o, ChrAddress *out);
void chr_address_clear(ChrAddress *a);
void chr_address_copy(ChrAddress *to, const ChrAddress *from);
/* How messages name it before it is bound: "unix:/path", "host:port"; g_free it. */
char *chr_address_text(const ChrAddress *a);

/* *unlink_path: the file that is ours to remove at the end, or NULL; g_free it. */
MUST_USE Err *chr_listen(const ChrAddress *a, int *fd, char **unlink_path);
MUST_USE Err *chr_connect(const ChrAddress *a, int *fd);       /* waits for it; any thread */
/* "tcp:HOST:PORT" as the socket is bound; g_free it. */
char *chr_bound_name(const char *kind, int fd);

/* All that host and port stand for; freeaddrinfo it. passive: to bind, not to connect to. */
MUST_USE Err *chr_resolve(const char *host, const char *port, bool v4, bool v6, int socktype, bool passive,
                          struct addrinfo **list);

#endif
