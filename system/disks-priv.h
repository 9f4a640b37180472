/* SPDX-License-Identifier: MIT */
/* What disks.c and drive.c share. */
#ifndef SYSTEM_DISKS_PRIV_H
#define SYSTEM_DISKS_PRIV_H

#include "system/disks.h"
#include "system/vm.h"

/* A thread in which disks are at home, with the graph of their nodes. The first is "disks"; others go with their thread, when empty. */
typedef struct DiskHome {
    IoThread *thread;
    BlockGraph *graph;              /* the thread's alone, and `nodes` */
    GPtrArray *nodes;               /* of -blockdev: a hold each */
    struct DiskHome *next;
} DiskHome;

struct Disks {
    Vm *vm;
    DiskHome own, *homes;           /* homes: all others; main thread */
    GHashTable *places;             /* name of a drive or node -> its IoThread, where it is not "disks"; main thread */
    GPtrArray *objects;             /* arguments of -object so far: each home has its own; main thread */
    struct DiskNewsBox *news;       /* system/disks_medium.c */
    ThrottleGroups *throttles;
    DriveInterface preferred;       /* of drives that name none */
    Drive *drives, **drives_end;    /* main thread */
    GPtrArray *ports;               /* DiskPorts that are bound; main thread */
    struct Exports *exports;        /* system/exports.c; its own thread's */
    bool away;                      /* images are another process's: block/activate.c; main thread */
    _Atomic bool told_stop;         /* it was said why the machine stops; until it runs again */
};

/* The i-th, "disks" first; NULL: no more. Main thread. */
DiskHome *disks_nth_home(Disks *d, unsigned i);
DiskHome *disks_home_with(Disks *d, const char *name);     /* in which a node of that name is; or NULL */
/* Where a drive or node of that name lives, or is to live. Makes the home at first. Main thread. */
MUST_USE Err *disks_home(Disks *d, const char *name, DiskHome **out);
MUST_USE Err *disks_home_in(Disks *d, IoThread *t, DiskHome **out);        /* that thread's */

/* The graph of a disk's home. Main thread. */
BlockGraph *disks_graph_of(Disks *d, IoThread *home);

typedef struct DiskNewsBox DiskNewsBox;
/* system/disks_medium.c */
void disks_news_init(Disks *d);
void disks_news_free(Disks *d);

/* In the node's thread: a Disk as the port's device wants it; and what it hears of the one that it has. */
MUST_USE Err *disk_port_disk(DiskPort *p, BlockNode *n, bool read_only, Disk **out);
void disk_port_listen(DiskPort *p);

#endif
