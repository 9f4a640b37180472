/* SPDX-License-Identifier: MIT */
/*
 * Disks of a machine: the block graph that -drive, -blockdev and -object fill,
 * turned by an I/O thread of its own ("disks"), and the ends that devices hold.
 *
 *   cmd/ -> disks_add_drive, disks_add_blockdev -> nodes and drives, by name
 *   device: property `drive` (a DiskPort) -> disk_port_bind at realize -> requests
 *
 * Requests may come from any thread; `done` runs in the loop that was named.
 */
#ifndef SYSTEM_DISKS_H
#define SYSTEM_DISKS_H

#include "block/block.h"
#include "system/iothread.h"

typedef struct Disks Disks;         /* vm->disks */

MUST_USE Err *disks_new(Vm *vm, Disks **out);
void disks_free(Disks *d);
BlockGraph *disks_graph(Disks *d);          /* for coroutines in its thread (disks_thread, iothread_run) */
IoThread *disks_thread(Disks *d);

typedef enum DriveInterface { DRIVE_NONE, DRIVE_VIRTIO, DRIVE_SCSI, DRIVE_PFLASH, DRIVE_IDE, DRIVE_SD, DRIVE_MTD, DRIVE_FLOPPY } DriveInterface;
typedef enum OnIoError { IO_ERROR_REPORT, IO_ERROR_IGNORE, IO_ERROR_ENOSPC, IO_ERROR_STOP } OnIoError;

/* What -drive says beside the node: who wants it, and how. */
typedef struct Drive {
    char *id;                       /* "virtio0", or as given */
    DriveInterface interface;
    int bus, unit, index;           /* index -1: not given */
    bool cdrom, read_only, snapshot;
    char *serial;                   /* or NULL */
    OnIoError werror, rerror;
    char *node_name;                /* of its top node; NULL: no medium */
    bool writethrough;
    bool taken;                     /* a device has it */
    struct Drive *next;
} Drive;

/* The arguments of -drive (all of QEMU's keys) and -blockdev (key=value or JSON); `snapshot`: -snapshot was given. */
MUST_USE Err *disks_add_drive(Disks *d, const char *arg, bool snapshot);
MUST_USE Err *disks_add_blockdev(Disks *d, const char *arg);
Drive *disks_next(Disks *d, Drive *after);                          /* NULL: the first */
Drive *disks_find(Disks *d, const char *id);                        /* or NULL */
Drive *disks_find_unit(Disks *d, DriveInterface i, int unit);       /* or NULL */

/* ---- a device's end */

typedef struct DiskPortOps {
    void (*resized)(void *dev);             /* in the disks' thread */
    void (*medium)(void *dev, bool there);  /* cdrom: changed; main thread, machine lock */
} DiskPortOps;
/* Embedded in the device, zeroed at start; a PROP of it is set by a drive's id or a node's name. */
typedef struct DiskPort {
    char *name;                     /* as given; NULL: none */
    Disk *disk;                     /* NULL: no medium */
    Drive *drive;                   /* NULL: a node of -blockdev */
    struct Vm *vm;
    const DiskPortOps *ops;
    void *dev;
    bool read_only, writethrough;
    OnIoError werror, rerror;
} DiskPort;

/* At realize: opens the disk for the device. read_only: it never writes. May be without a medium if `removable`. */
MUST_USE Err *disk_port_bind(Vm *vm, DiskPort *p, const DiskPortOps *ops, void *dev, bool read_only, bool removable);
/* Waits for what is in flight, flushes, lets go. Fine when not bound. */
void disk_port_unbind(DiskPort *p);
/* The size in bytes, now; any thread. */
uint64_t disk_port_size(const DiskPort *p);
/* Waits until nothing of this port is in flight; main or vCPU thread. */
void disk_port_drain(DiskPort *p);
/*
 * What a failed request means to the guest: true: report it. false: the machine stops (VM_STOP, with a line on why);
 * the device keeps the request and submits it again when it runs (vm state hook), as -drive werror/rerror asks.
 */
bool disk_port_failed(DiskPort *p, bool write, int error);
/* Whole reads and writes for firmware and flash, in place: waits. 0 or -errno. */
int disk_port_pread (DiskPort *p, uint64_t off, void *buf, uint64_t len);
int disk_port_pwrite(DiskPort *p, uint64_t off, const void *buf, uint64_t len);

#endif
