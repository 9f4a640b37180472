/* SPDX-License-Identifier: MIT */
/*
 * What all disks have: the properties of their drive and its geometry, as QEMU
 * names them. A device embeds a DiskConf and has DISK_PROPS in its table.
 */
#ifndef HW_DISK_DISK_H
#define HW_DISK_DISK_H

#include "hw/core/device.h"
#include "system/disks.h"

typedef struct DiskConf {
    DiskPort port;
    uint32_t logical, physical;             /* block sizes in bytes; after disk_conf_bind: powers of two */
    uint32_t min_io, opt_io;                /* bytes; 0: nothing to say */
    uint32_t discard_granularity;           /* bytes; DISK_GRANULARITY_AUTO: the device's affair */
    uint8_t write_cache, werror, rerror;    /* OnOffAuto; OnIoError */
    bool share_rw;
} DiskConf;

enum { DISK_AUTO, DISK_OFF, DISK_ON };
#define DISK_GRANULARITY_AUTO UINT32_MAX
extern const char *const disk_on_off_auto[];

#define DISK_PROPS(T, m)                                                                                        \
    PROP(T, m.port, .as = "drive", .doc = "id of a -drive, or name of a node of -blockdev"),                    \
    PROP(T, m.logical, .as = "logical_block_size", .units = true, .def = "0", .doc = "512 .. 2M, a power of two; 0: 512"), \
    PROP(T, m.physical, .as = "physical_block_size", .units = true, .def = "0", .doc = "the same; 0: the logical one"), \
    PROP(T, m.min_io, .as = "min_io_size", .units = true, .def = "0", .doc = "what requests are best a multiple of"), \
    PROP(T, m.opt_io, .as = "opt_io_size", .units = true, .def = "0", .doc = "what requests are best as long as"), \
    PROP(T, m.discard_granularity, .as = "discard_granularity", .units = true, .def = "4294967295",            \
         .doc = "what discards are best a multiple of"),                                                        \
    PROP(T, m.write_cache, .as = "write-cache", .names = disk_on_off_auto, .def = "auto",                       \
         .doc = "off: each write waits for stable storage; auto: as the drive says"),                           \
    PROP(T, m.share_rw, .as = "share-rw", .def = "off", .doc = "others may write to the image meanwhile"),      \
    PROP(T, m.werror, .as = "werror", .names = io_error_names, .def = "auto", .doc = "when a write fails; auto: as the drive says"), \
    PROP(T, m.rerror, .as = "rerror", .names = io_error_names, .def = "auto", .doc = "when a read fails; auto: as the drive says")

/* Checks the sizes, binds the port. removable: may be without a medium. Undone by disk_port_unbind. */
MUST_USE Err *disk_conf_bind(Device *d, DiskConf *c, const DiskPortOps *ops, bool read_only, bool removable);
/* A serial number of the guest's limits: at most `most` characters of printable ASCII. NULL is fine. */
MUST_USE Err *disk_check_serial(const char *serial, unsigned most);

/*
 * iothread=ID and iothread-vq-mapping=[{"iothread":ID,"vqs":[..]},..] of a device with that many queues: do they make
 * sense? Both may be NULL, but not both be given.
 */
MUST_USE Err *disk_check_iothreads(Vm *vm, const char *iothread, const char *mapping, unsigned queues);
/* What they say of queue n, having been checked: its thread; the disk's own, if they say nothing. */
IoThread *disk_queue_thread(const DiskConf *c, const char *iothread, const char *mapping, unsigned n);
/* The thread of an adapter with all its queues: that of iothread=, the first of the mapping, or "disks". */
IoThread *disk_first_thread(Vm *vm, const char *iothread, const char *mapping);
/* Devices for the drives that nobody has taken and that are not if=none; the board and -device come first. */
MUST_USE Err *drives_make_devices(Vm *vm);

#endif
