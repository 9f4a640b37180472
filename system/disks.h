/* SPDX-License-Identifier: MIT */
/*
 * Disks of a machine: the block graph that -drive, -blockdev and -object fill,
 * turned by an I/O thread of its own ("disks"), and the ends that devices hold. A
 * drive whose device says iothread= is in another thread, in a graph of its own.
 *
 *   cmd/ -> disks_add_drive, disks_add_blockdev -> nodes and drives, by name
 *   device: property `drive` (a DiskPort) -> disk_port_bind at realize -> requests
 *
 * Requests may come from any thread; `done` runs in the loop that was named.
 */
#ifndef SYSTEM_DISKS_H
#define SYSTEM_DISKS_H

#include "block/block.h"
#include "block/throttle.h"
#include "system/iothread.h"

typedef struct Disks Disks;         /* vm->disks */

MUST_USE Err *disks_new(Vm *vm, Disks **out);
void disks_free(Disks *d);
BlockGraph *disks_graph(Disks *d);          /* for coroutines in its thread (disks_thread, iothread_run) */
IoThread *disks_thread(Disks *d);
void disks_flush(Disks *d);                 /* what devices have written is on stable storage. Main thread */

/*
 * Images that change hands when the machine migrates: the one that sends lets go of them before the other takes them.
 * disks_wait_for_images: before any is opened, they are another process's yet. disks_take_images: fine when they are ours.
 */
void disks_wait_for_images(Disks *d);
MUST_USE Err *disks_hand_over(Disks *d);
MUST_USE Err *disks_take_images(Disks *d);

typedef enum DriveInterface { DRIVE_NONE, DRIVE_VIRTIO, DRIVE_SCSI, DRIVE_PFLASH, DRIVE_IDE, DRIVE_SD, DRIVE_MTD, DRIVE_FLOPPY } DriveInterface;
/* What an error means (werror=, rerror=); ENOSPC: stop when the host's disk is full, else report. */
typedef enum OnIoError { IO_ERROR_AUTO, IO_ERROR_REPORT, IO_ERROR_IGNORE, IO_ERROR_ENOSPC, IO_ERROR_STOP } OnIoError;
extern const char *const io_error_names[];      /* "auto", "report", .., NULL */

/* What -drive says beside the node: who wants it, and how. */
typedef struct Drive {
    char *id;                       /* "virtio0", or as given */
    DriveInterface interface;
    int bus, unit;
    bool cdrom, read_only, snapshot;
    OnIoError werror, rerror;
    IoThread *home;                 /* the thread of its nodes: "disks", or that of its device's iothread= */
    BlockNode *node;                /* its top node, held; NULL: no medium. Its home's alone */
    bool writethrough;
    ThrottleGroup *limits;          /* throttling.*: a hold, or NULL */
    bool taken;                     /* a device has it */
    struct Drive *next;
} Drive;

/* What a -drive is for that names no interface. */
void disks_set_default(Disks *d, DriveInterface i);
const char *drive_interface_name(DriveInterface i);
/*
 * Before it is opened: the drive or node of that name is to live in that thread, with a graph of its own there, as the
 * device that will have it says (iothread=). Main thread.
 */
MUST_USE Err *disks_place(Disks *d, const char *name, IoThread *t);
IoThread *disks_place_of(Disks *d, const char *name);       /* "disks", where nobody said something else */
/* And the nodes that those of -blockdev (`args`: all of them) have below them, by name. */
MUST_USE Err *disks_place_children(Disks *d, const GPtrArray *args);
/* The argument of -object of a kind in block/objects.h: a secret, credentials, a throttle group. */
MUST_USE Err *disks_add_object(Disks *d, const char *arg);
/* The arguments of -drive (all of QEMU's keys) and -blockdev (key=value or JSON); `snapshot`: -snapshot was given. */
MUST_USE Err *disks_add_drive(Disks *d, const char *arg, bool snapshot);
/* Forgets a drive that no device has, with its medium. */
MUST_USE Err *disks_del_drive(Disks *d, const char *id);
MUST_USE Err *disks_add_blockdev(Disks *d, const char *arg);
MUST_USE Err *disks_add_node(Disks *d, const json_t *options);      /* the same, by blockdev-add */
MUST_USE Err *disks_del_object(Disks *d, const char *id, const char *arg /* as disks_add_object got it */);
/* Changes properties of a block object, all or none: {"limits":{"iops-total":5}}. */
MUST_USE Err *disks_set_object(Disks *d, const char *id, const json_t *props);
/* All throttle groups of the machine. */
ThrottleGroups *disks_throttles(Disks *d);
/* The threads of nodes, each with a graph of its own: the i-th, "disks" first; NULL: no more. Main thread. */
IoThread *disks_nth_thread(Disks *d, unsigned i, BlockGraph **graph);
/* Before a thread goes: false, if disks are at home there. Main thread. */
bool disks_leave_thread(Disks *d, IoThread *t);
/*
 * A node of -blockdev or blockdev-add, and all below it, is in that thread after this: closed where it is and opened anew
 * there, if nothing uses it. Nothing happens when there is no such node. Main thread.
 */
MUST_USE Err *disks_move_node(Disks *d, const char *name, IoThread *to);
/* blockdev-del: a node of -blockdev or blockdev-add that nothing uses. */
MUST_USE Err *disks_del_node(Disks *d, const char *name);
Drive *disks_next(Disks *d, Drive *after);                          /* NULL: the first */
Drive *disks_find(Disks *d, const char *id);                        /* or NULL */
Drive *disks_find_unit(Disks *d, DriveInterface i, int unit);       /* or NULL */

/* ---- a device's end */

typedef struct DiskTray { bool open, locked; } DiskTray;
typedef struct DiskPortOps {
    void (*resized)(void *dev);             /* in the disk's thread */
    /* Of those whose medium can be changed, or NULL; main thread: */
    DiskTray (*tray)(void *dev);
    void (*move)(void *dev, bool open);     /* moves the tray, locked or not; nothing if it is there already */
    void (*ask)(void *dev);                 /* tells the guest that somebody wants the medium out */
    void (*unlock)(void *dev);
    void (*hold)(void *dev, void (*fn)(void *), void *arg);     /* runs fn in its thread while it has no request under way */
} DiskPortOps;
/* What stopped the machine, until it runs again. */
typedef enum DiskStatus { DISK_OK, DISK_FAILED, DISK_NO_SPACE } DiskStatus;
/* Embedded in the device, zeroed at start; a PROP of it is set by a drive's id or a node's name. */
typedef struct DiskPort {
    char *name;                     /* as given; NULL: none. FIELD_DISK: owned by the device's properties */
    /* The device's, before it binds: */
    bool share_rw;                  /* others may write to it meanwhile */
    bool any_home;                  /* it asks for disk_port_thread; others have disks of "disks" alone */
    OnIoError werror, rerror;       /* AUTO: as the drive says. After bind: never AUTO */
    /* From bind on: */
    Disk *disk;                     /* NULL: no medium */
    Drive *drive;                   /* NULL: a node of -blockdev */
    struct Vm *vm;
    IoThread *home;                 /* where `disk` is used */
    const DiskPortOps *ops;
    void *dev;
    bool in_memory;                 /* all of it is in memory of the machine as well, which writes it again when it is loaded (flash) */
    bool reader;                    /* it never writes */
    bool removable;                 /* its medium may be missing, or another one */
    bool read_only, writethrough;   /* writethrough: a write ends when it is on stable storage */
    _Atomic uint64_t size;          /* bytes */
    _Atomic DiskStatus status;
    ThrottleGroup *limits;          /* a hold, or NULL; main thread */
    DiskStats stats;                /* of all its media; its home's */
} DiskPort;

/* At realize: opens the disk for the device. read_only: it never writes. May be without a medium if `removable`. */
MUST_USE Err *disk_port_bind(Vm *vm, DiskPort *p, const DiskPortOps *ops, void *dev, bool read_only, bool removable);
/* Is it bound, and has it a medium? */
static inline bool disk_port_ready(const DiskPort *p) { return p->disk; }
/* Waits for what is in flight, flushes, lets go. Fine when not bound. */
void disk_port_unbind(DiskPort *p);
/* The thread in which its disk is used, from bind on. */
static inline IoThread *disk_port_thread(const DiskPort *p) { return p->home; }
/* Other limits (takes the hold; NULL: none); main thread. */
void disk_port_set_limits(DiskPort *p, ThrottleGroup *g);
/* The size in bytes, now; any thread. */
static inline uint64_t disk_port_size(const DiskPort *p) { return p->size; }
/* Waits until nothing of this port is in flight; main or vCPU thread. */
void disk_port_drain(DiskPort *p);
/* Does a write end only when it is on stable storage? Main or vCPU thread. */
void disk_port_set_writethrough(DiskPort *p, bool on);

/* ---- media (system/disks_medium.c); main thread */

typedef struct DiskMedium DiskMedium;       /* a node made ready for a port that has no use of it yet */
MUST_USE Err *disk_medium_of(DiskPort *p, const char *node, DiskMedium **out);
MUST_USE Err *disk_medium_open(DiskPort *p, const json_t *options, bool writes, DiskMedium **out);
void disk_medium_free(DiskMedium *m);       /* NULL is fine */
/* Takes the medium (NULL: none) for the one that is there, which is closed if nobody else has it. */
void disk_port_change(DiskPort *p, DiskMedium *m);

/* ---- what disks tell the machine's users */

typedef struct DiskNews {
    DiskPort *port;
    enum { DISK_TRAY_MOVED, DISK_IO_FAILED } what;
    bool open;                      /* the tray */
    bool write;                     /* failed: this, with that errno, and what is done about it */
    int error;
    OnIoError action;               /* REPORT, IGNORE, STOP */
} DiskNews;
/* One listener, in the main thread; fn NULL: none. */
void disks_on_news(Disks *d, void (*fn)(void *opaque, const DiskNews *), void *opaque);
void disks_tell(Disks *d, DiskNews n);      /* any thread */
void disks_tell_now(Disks *d);              /* what is on its way. Main thread */
void disk_port_tray_moved(DiskPort *p, bool open);      /* any thread */

/*
 * What a failed request means, as werror and rerror ask. The disks' thread.
 * STOP: the machine is asked to stop, with a line on why; the device keeps the
 * request and submits it again when the machine runs (vm_on_state).
 */
typedef enum DiskVerdict { DISK_ERROR_REPORT, DISK_ERROR_IGNORE, DISK_ERROR_STOP } DiskVerdict;
DiskVerdict disk_port_failed(DiskPort *p, bool write, int error /* errno, positive */);
/* Whole reads and writes for firmware and flash, in place: waits. 0 or -errno. */
int disk_port_pread (DiskPort *p, uint64_t off, void *buf, uint64_t len);
int disk_port_pwrite(DiskPort *p, uint64_t off, const void *buf, uint64_t len);

#endif
