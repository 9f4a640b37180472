/* SPDX-License-Identifier: MIT */
/* What the files of net/ know of each other. */
#ifndef NET_NET_PRIV_H
#define NET_NET_PRIV_H

#include "net/net.h"

struct Net {
    Loop *loop;
    NetPort *backends;              /* in the order of their making */
    struct Hub *hubs;               /* net/hub.c */
    unsigned macs;                  /* given out */
    NetTakeFd *take_fd;             /* NULL: nobody gives descriptors names */
    void *fds_of;
};

/* A descriptor by its number, or by a name (net_name_fds); it is the caller's from now on. */
MUST_USE Err *net_take_fd(Net *n, const char *text, int *fd);

/* The backend of that id, or an error that lists the ids there are. */
MUST_USE Err *net_backend(Net *n, const char *id, NetPort **out);
void net_port_free(NetPort *p);
void hubs_free(Net *n);

#endif
