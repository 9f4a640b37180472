/* SPDX-License-Identifier: MIT */
/*
 * Going to a node: a node belongs to the thread of its disk (system/disks.h), so
 * what a command does with it is done there, as a coroutine, while the main
 * thread waits. All commands on disks and nodes find theirs by these.
 */
#ifndef MONITOR_BLOCK_VISIT_H
#define MONITOR_BLOCK_VISIT_H

#include "hw/core/device.h"
#include "monitor/monitor.h"
#include "system/disks.h"

typedef struct BlockVisit BlockVisit;
struct BlockVisit {
    Vm *vm;
    const char *name;               /* as the client says it */
    const void *args;
    Err *(*fn)(BlockVisit *);
    /* Set before fn is called, in `thread`: */
    IoThread *thread;
    BlockGraph *graph;
    DiskPort *port;                 /* the device's end, where the name is that of a drive or a device; or NULL */
    BlockNode *node;                /* held; never NULL */
    bool found, empty;              /* empty: such a device is there, without a medium, so fn was not called */
    Err *e;
};

/* What a name may be. */
typedef enum BlockNames { BLOCK_NODE = 1, BLOCK_DEVICE = 2 /* a drive's id, a device's id or path */, BLOCK_ANY = 3 } BlockNames;

/* Calls fn where the node of that name is. False: there is none. *e: fn's, or that there is no medium. */
bool block_visit(Vm *vm, const char *name, BlockNames what, Err *(*fn)(BlockVisit *), const void *args, Err **e);
/* The same with an error where there is none: "Cannot find device='x' nor node-name='x'". */
MUST_USE Err *block_at(Vm *vm, const char *name, Err *(*fn)(BlockVisit *), const void *args);
/* As those commands ask that have `device` and `node-name`, of which one is given. */
MUST_USE Err *block_at_either(Vm *vm, const char *device, const char *node, Err *(*fn)(BlockVisit *), const void *args);
/* Within fn: another node of the same thread. Before: block_together. Borrowed. */
MUST_USE Err *block_other(const BlockVisit *v, const char *name, BlockNode **out);
/*
 * Before nodes are to meet: `other` (a node; NULL or unknown is fine, as the command finds out) is in the thread of
 * `name` after this. What nothing uses yet is opened anew there. Main thread.
 */
MUST_USE Err *block_together(Vm *vm, const char *name, const char *other);

/* The device's end of the disk with that drive's id, device's id or path; NULL: none. Main thread. */
DiskPort *block_port(Vm *vm, const char *name);
/* A device's own; NULL: it is no disk. *whose: it or its inner device. */
DiskPort *block_port_of(Device *d, Device **whose);

/* A disk of the machine: a drive, a device, or both. */
typedef struct BlockEnd {
    Drive *drive;                   /* NULL: a device with a node of -blockdev, or without any */
    DiskPort *port;                 /* NULL: no device has the drive */
    Device *device;                 /* whose it is */
} BlockEnd;
/* Each of them, drives first. Main thread. */
void block_each(Vm *vm, void (*fn)(void *opaque, const BlockEnd *), void *opaque);
/* The device's name to clients: its id, else its path; g_free it. NULL: none. */
char *block_qdev(const BlockEnd *b);
/* Can its medium be changed? *tray as it is now, where it has one. */
bool block_removable(const BlockEnd *b, DiskTray *tray, bool *has_tray);
/* Runs fn in the thread of its node, which is held; without one, in the main thread, with NULL. */
void block_look(const BlockEnd *b, void (*fn)(void *opaque, BlockNode *), void *opaque);

#endif
