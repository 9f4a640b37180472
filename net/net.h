/* SPDX-License-Identifier: MIT */
/*
 * Network: ports that exchange Ethernet frames. A NIC has a port for each pair
 * of its queues; a backend (-netdev) has one; each is linked to one peer, or to
 * a hub.
 *
 * All ports of a machine live in one loop ("net", an I/O thread): frames, room,
 * link are called there, none holds the machine lock. A NIC's queues are handled
 * in the same thread, so a frame goes from the guest's memory to the backend
 * without a thread in between.
 *
 * Frames: vectors of host memory, read before the call returns. With `hdr_len`
 * a virtio_net_hdr (VIRTIO 1.2, 5.1.6) of that length comes first, and says
 * checksums to fill in and how to cut what is longer than the MTU (GSO).
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <jansson.h>

#include "util/err.h"
#include "util/iov.h"
#include "util/loop.h"
#include "util/reflect.h"

typedef struct Net Net;             /* vm->net: all backends of a machine */
typedef struct NetPort NetPort;

enum { NET_FRAME_MAX = 65536 + 14 + 12, NET_MTU_FRAME = 1514 };

/* What one side may send to the other beyond plain frames. */
typedef enum NetOffload {
    NET_CSUM = 1,                   /* checksums not filled in */
    NET_TSO4 = 2, NET_TSO6 = 4, NET_ECN = 8, NET_UFO = 16, NET_USO = 32,     /* longer than the MTU */
} NetOffload;

typedef struct NetOps {
    /* A frame for this port. false: no room now; the sender keeps it and waits for `room`. */
    bool (*frame)(NetPort *, const IoVec *frame);
    void (*room)(NetPort *);                        /* the peer has room again, after net_send was false */
    void (*link)(NetPort *, bool up);               /* of the peer */
    void (*gone)(NetPort *);                        /* the peer went away: it is NULL now */
    unsigned (*offloads)(NetPort *);                /* what `frame` understands: NetOffload bits. NULL: none */
    void (*free)(NetPort *);
} NetOps;

/* First member of a backend's or a NIC's port; zeroed but for ops and name. */
struct NetPort {
    const NetOps *ops;
    char *name;
    Net *net;
    NetPort *peer;                  /* NULL: nobody; frames are dropped */
    NetPort *filters;               /* in front of a backend, or NULL (net/filter.h) */
    unsigned hdr_len;               /* of the virtio_net_hdr in front of frames that both speak; 0: plain frames */
    unsigned may_send;              /* NetOffload bits that the peer understands and has been told to expect */
    bool link_down;                 /* set_link */
    bool waiting;                   /* a frame of ours was refused: `room` is owed */
    NetPort *next;
};

/* In the net's thread: */
bool net_send(NetPort *from, const IoVec *frame);   /* false: kept nothing; `room` will be called. Link down, no peer: dropped, true */
void net_room(NetPort *port);                       /* this port takes frames again: tells a peer that waits */
MUST_USE Err *net_link_ports(NetPort *a, NetPort *b);
void net_unlink(NetPort *p);
void net_set_link(NetPort *p, bool up);             /* as the monitor's set_link: both sides hear of it */

/* ---- the machine's network */
/* `loop` is its thread's. Backends are made and freed in that thread (iothread_run). */
Net *net_new(Loop *loop);
void net_free(Net *n);
Loop *net_loop(Net *n);
/* The arguments of -netdev (key=value or JSON); net_help(NULL or a type): the text of help. */
MUST_USE Err *net_add(Net *n, const char *arg);
MUST_USE Err *net_del(Net *n, const char *id);
char *net_help(const char *type);
/* A free port of the backend of that id (queue i of a multi-queue one); an error lists the ids there are. */
MUST_USE Err *net_find(Net *n, const char *id, unsigned queue, NetPort **out);
unsigned net_queues(Net *n, const char *id);        /* of that backend; 0: there is none */
NetPort *net_next(Net *n, NetPort *after);

/* A kind of backend, a row: properties by a table, as with devices. */
typedef struct NetKind {
    const char *name, *doc;         /* "user" */
    size_t size;                    /* of a struct that begins with a NetPort; props behind it */
    const Field *fields;
    Err *(*start)(NetPort *);       /* properties are set; in the net's thread */
    /* hostfwd add/remove while it runs; NULL: it has none */
    Err *(*forward)(NetPort *, const char *rule, bool add);
    char *(*info)(NetPort *);       /* a line for `info network`; NULL: none */
} NetKind;
#define NETDEV(name) const NetKind netdev_##name
extern const NetKind *const netdev_set[];           /* NULL-terminated; written by tools/sets */

/* ---- a NIC's end (property `netdev`), and what all NICs have */
typedef struct Mac { uint8_t a[6]; } Mac;
MUST_USE Err *mac_parse(const char *text, Mac *out);
/* 52:54:00:12:34:56 and on, for NICs that were given none. */
Mac net_new_mac(Net *n);

/* Internet checksums and segmentation for those who cannot (net/offload.c): cuts a frame with a virtio_net_hdr into plain ones. */
void net_cut(const IoVec *frame, unsigned hdr_len, void (*each)(void *opaque, const IoVec *plain), void *opaque);

#endif
