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
};

/* The backend of that id, or an error that lists the ids there are. */
MUST_USE Err *net_backend(Net *n, const char *id, NetPort **out);
void net_port_free(NetPort *p);
void hubs_free(Net *n);

#endif
