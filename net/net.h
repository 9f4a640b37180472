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
 * Frames: vectors of host memory, read before the call returns. Each port says
 * whether its frames begin with a virtio_net_hdr (VIRTIO 1.2, 5.1.6) and how long
 * that is (hdr_len); it says checksums to fill in and how to cut what is longer
 * than the MTU (GSO). net_send makes of a frame what the other side understands.
 */
#ifndef NET_NET_H
#define NET_NET_H

#include <glib.h>
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
    NET_OFFLOADS = 63,
} NetOffload;

typedef struct NetOps {
    /* A frame for this port. false: no room now; the sender keeps it and waits for `room`. */
    bool (*frame)(NetPort *, const IoVec *frame);
    void (*room)(NetPort *);                        /* the peer has room again, after net_send was false */
    void (*link)(NetPort *, bool up);               /* of the peer, or that somebody came; NULL: no matter */
    void (*gone)(NetPort *);                        /* the peer went away: it is NULL now. NULL: no matter */
    unsigned (*offloads)(NetPort *);                /* what `frame` understands: NetOffload bits. NULL: none */
    bool (*header)(NetPort *, unsigned len);        /* the peer's headers have that length: takes it over. NULL, false: no */
    void (*expects)(NetPort *);                     /* may_send has changed. NULL: no matter */
    void (*free)(NetPort *);                        /* what start left; NULL: nothing */
} NetOps;

/* Somebody who looks on at a port: each frame that it sends or gets (net/dump.c). */
typedef struct NetTap NetTap;
struct NetTap {
    void (*frame)(NetTap *, const IoVec *plain, bool from_port);     /* without a header */
    void (*free)(NetTap *);
    NetTap *next;
};

/* First member of a backend's or a NIC's port; zeroed but for ops and name. */
struct NetPort {
    const NetOps *ops;
    char *name;                     /* a backend's id; a NIC's own affair */
    Net *net;
    const struct NetKind *kind;     /* NULL: a NIC's */
    NetPort *peer;                  /* NULL: nobody; frames are dropped */
    NetTap *taps;
    unsigned hdr_len;               /* of the virtio_net_hdr in front of its frames, both ways; 0: plain frames */
    unsigned may_send;              /* NetOffload bits that the peer understands; the rest net_send does for it */
    bool link_down;                 /* set_link */
    bool waiting, seen;             /* a frame of ours was refused: `room` is owed; the taps saw it */
    struct NetHeld *held;           /* parts of a frame that was cut, and not taken yet */
    NetPort *next;
};

/* In the net's thread: */
bool net_send(NetPort *from, const IoVec *frame);   /* false: kept nothing; `room` will be called. Link down, no peer: dropped, true */
void net_room(NetPort *port);                       /* this port takes frames again: tells a peer that waits */
MUST_USE Err *net_link_ports(NetPort *a, NetPort *b);
void net_unlink(NetPort *p);
/* A NIC has headers of that length (0: none) from now on; what its `offloads` says may be new. */
void net_expect(NetPort *nic, unsigned hdr_len);
void net_set_link(NetPort *p, bool up);             /* as the monitor's set_link: both sides hear of it */

/* ---- the machine's network */
/* `loop` is its thread's. Backends are made and freed in that thread (iothread_run). */
Net *net_new(Loop *loop);
/*
 * Who knows descriptors by names (getfd of the monitor); what it gives is ours. It is called in the network's
 * thread, while the one who makes the backend waits.
 */
typedef Err *NetTakeFd(void *opaque, const char *name, int *fd);
void net_name_fds(Net *n, NetTakeFd *fn, void *opaque);
void net_free(Net *n);
Loop *net_loop(Net *n);
/* The arguments of -netdev (key=value or JSON); net_help(NULL or a type): the text of help. */
MUST_USE Err *net_add(Net *n, const char *arg);
MUST_USE Err *net_del(Net *n, const char *id);
char *net_help(const char *type);
char *net_info(Net *n);                             /* `info network`; g_free it */
char *net_sockets(Net *n);                          /* `info usernet` */
MUST_USE Err *net_forward(Net *n, const char *id, const char *rule, bool add);     /* id NULL: the first that can */
/* A free port of the backend of that id (queue i of a multi-queue one); an error lists the ids there are. */
MUST_USE Err *net_find(Net *n, const char *id, unsigned queue, NetPort **out);
unsigned net_queues(Net *n, const char *id);        /* of that backend; 0: there is none */
NetPort *net_next(Net *n, NetPort *after);          /* backends, in the order of their making */
bool net_exists(Net *n, const char *id);

/* A kind of backend, a row: properties by a table, as with devices. */
typedef struct NetKind {
    const char *name, *doc;         /* "user" */
    size_t size;                    /* of a struct that begins with a NetPort; props behind it */
    const Field *fields;            /* text rows with .names = net_many may be given again; one value a line */
    Err *(*start)(NetPort *);       /* properties are set; a coroutine in the net's thread. Failed: ops->free runs, if ops are set */
    unsigned (*queues)(NetPort *);  /* NULL: one */
    NetPort *(*queue)(NetPort *, unsigned n);       /* the port of that queue; NULL: itself */
    /* hostfwd add/remove while it runs; NULL: it has none */
    Err *(*forward)(NetPort *, const char *rule, bool add);
    char *(*info)(NetPort *);       /* a line for `info network`; NULL: none */
    char *(*sockets)(NetPort *);    /* lines for `info usernet`; NULL: it has no connections of its own */
} NetKind;
#define NETDEV(name) const NetKind netdev_##name
extern const char *const net_many[];
extern const NetKind *const netdev_set[];           /* NULL-terminated; written by tools/sets */

/* ---- a NIC's end (property `netdev`), and what all NICs have */
typedef struct Mac { uint8_t a[6]; } Mac;
MUST_USE Err *mac_parse(const char *text, Mac *out);
/* 52:54:00:12:34:56 and on, for NICs that were given none. */
Mac net_new_mac(Net *n);

/* Looks on at a backend, writing to a file: "[filter-dump,]netdev=ID,file=PATH[,maxlen=N]". */
MUST_USE Err *net_dump_add(Net *n, const char *props);
/* Is there one of that id? It goes with its backend, or here. */
bool net_dump_exists(Net *n, const char *id, bool del);

#endif
