/* SPDX-License-Identifier: MIT */
/*
 * Device: anything that sits on the board, built in or asked for by -device.
 *
 * A device is a struct that begins with a Device; its class names the table of
 * its fields. Life: device_new (defaults) - properties - device_plug, or
 * device_realize where there is no bus (its register windows exist, its realize
 * has run, it is in the machine's list) - reset as often as you like -
 * device_free. All under the machine lock.
 *
 * Its fields are Device's own (id, bus, bootindex), the class's `base` and `fields`;
 * as properties those of the inner device come after them.
 */
#ifndef HW_CORE_DEVICE_H
#define HW_CORE_DEVICE_H

#include <pthread.h>

#include "system/irq.h"
#include "system/mem.h"
#include "system/vm.h"
#include "util/reflect.h"

struct StateOut;
struct StateIn;
typedef struct Device Device;
typedef struct Bus Bus;

/* A kind of bus. A device plugs into the bus whose class is named by its DeviceClass.bus. */
typedef struct BusClass {
    const char *name;                       /* "pci", "virtio-bus", "SCSI" */
    Err *(*plug)(Bus *, Device *);          /* after the device's properties are set, before its realize: finds it a place */
    void (*plugged)(Bus *, Device *);       /* after its realize (and reset, when hotplugged); NULL: nothing to do */
    void (*unplug)(Bus *, Device *);        /* undoes plug, before the unrealize; its windows are out of reach after */
    void (*clear)(Device *);                /* after the unrealize: frees what the bus keeps in the device */
    void (*reset)(Bus *, Device *);         /* what the bus keeps in the device, before the device's own reset. NULL: nothing */
    /* device_del: asks the guest to let go of it (NULL: at once). The bus calls device_unplug when it has. */
    Err *(*ask_unplug)(Bus *, Device *);
    bool (*full)(const Bus *);              /* no place left: another bus of the kind is looked for. NULL: never */
    char *(*path)(const Bus *, const Device *);     /* its part of a firmware path, "scsi@3"; g_free it. NULL: none */
    /* What the bus keeps in the device beside rows: see DeviceClass. NULL: nothing. */
    void (*save)(Bus *, Device *, struct StateOut *);
    Err *(*load)(Bus *, Device *, struct StateIn *);
    Err *(*loaded)(Bus *, Device *);
} BusClass;
struct Bus {
    const BusClass *cls;
    char *name;                             /* "pcie.0": what bus= says */
    Device *owner;                          /* the controller; NULL: the board */
    bool hotplug;                           /* takes devices while the machine runs */
    Bus *next;                              /* in the machine's list */
};
/* In the machine's list from now on; `b` is the caller's (a member of its device). The name is copied. */
void bus_init(Vm *vm, Bus *b, const BusClass *cls, const char *name, Device *owner);
void bus_clear(Vm *vm, Bus *b);             /* its devices are gone already */
Bus *bus_find(Vm *vm, const char *name);    /* or NULL */

/* DeviceClass.bus of what only a board makes. */
#define BUS_SYSTEM "system"

typedef struct DeviceClass {
    const char *name, *doc;
    const char *bus;            /* BUS_SYSTEM, a BusClass's name, or NULL: plugs into nothing */
    size_t size;
    const Field *fields;
    const Field *base;          /* rows of the struct it begins with (pci_fields), or NULL */
    const struct DeviceClass *inner;        /* a device that comes with it, whose properties are its own, too (virtio-blk-pci) */
    const char *alias;          /* another name for -device, or NULL */
    Err *(*realize)(Device *);
    void (*unrealize)(Device *);            /* undoes realize; runs also when realize failed half way */
    void (*reset)(Device *);                /* after STATE was zeroed */
    /* The lock that guards STATE, where threads change it without the machine lock. NULL: there are none. */
    pthread_mutex_t *(*lock)(Device *);
    /* Firmware boots from it (hw/core/boot_order.h): 'c' a disk, 'd' a CD, 'n' the network; 0: no. */
    char boot;
    void (*irq_counts)(Device *, GString *out); /* of each source how many it delivered, a line for each. NULL: it counts none */
    void (*describe)(Device *, GString *out);   /* an interrupt controller's state, for people. NULL: it is none */
    const char *boot_part;      /* the end of its firmware path, behind its bus's part: "disk@0,0". NULL: none */
    char *(*root_path)(const Device *);     /* BUS_SYSTEM: where firmware paths through it begin, "/pci@i0cf8"; g_free it */
    /*
     * Saved form: the STATE rows of base and fields, and what these put and get beside them (system/stream.h), the
     * machine standing. `version` counts what is not in rows (a row says .since); 0 is 1.
     */
    int version;
    Err *(*can_save)(Device *);             /* why it cannot be now; NULL: it always can */
    void (*save)(Device *, struct StateOut *);
    bool later;                 /* boards were given it after machines had been saved without: saved states may lack it */
    Err *(*load)(Device *, struct StateIn *);       /* after a reset; rows are loaded, and memory is */
    Err *(*loaded)(Device *);               /* all devices are: lines, timers, mappings that follow from what was loaded */
} DeviceClass;

struct Device {
    const DeviceClass *cls;
    Vm *vm;
    Bus *bus;
    char *id;                   /* of -device id=; or NULL */
    char *bus_name;             /* of -device bus=; or NULL: any that fits */
    int32_t bootindex;          /* -1: not among those booted from; an inner device has the outer's */
    Device *inner;              /* made with it; its realize is the outer's affair (device_realize_inner). Or NULL */
    Device *outer;              /* the other way round */
    bool began, realized, hotplugged;       /* began: realize was called */
    bool placed;                /* the bus's plug was */
    bool leaving;               /* the guest was asked to let go of it */
    bool unplugged;             /* it has; */
    bool dying;                 /* and it is freed when the safepoint that was asked for has passed */
    Device *next;               /* in the machine's list, in the order of making */
};

/* A class, collected into the set of all devices. */
#define DEVICE(name) const DeviceClass device_##name
extern const DeviceClass *const device_set[];       /* NULL-terminated; written by tools/sets */

Device *device_new(Vm *vm, const DeviceClass *cls);
MUST_USE Err *device_set_prop(Device *d, const char *name, const char *value);
MUST_USE Err *device_realize(Device *d);
/* Plugs it into that bus (without asking whether it is full) and realizes it; resets it if the machine is made already. */
MUST_USE Err *device_plug(Device *d, Bus *bus);
/* Realizes what a board makes and maps its window at base; the device is the machine's from now on, or freed. */
MUST_USE Err *device_place(Device *d, Region *io, uint64_t base);
/* What is on its buses, its inner device, then itself: off the bus, off the list. NULL is fine. */
void device_free(Device *d);
/* Timers stopped, STATE back to zero, the bus's reset, the class's; then the same for the inner device. */
void device_reset(Device *d);

/* The machine's devices are a part of what is saved (hw/core/state.c); by board_make. */
void devices_saved(Vm *vm);
/* By which a device is found again: its bus, class, place; g_free it. */
char *device_state_name(const Device *d);

/* Within the outer's realize: plugs the inner device into that bus and realizes it. */
MUST_USE Err *device_realize_inner(Device *outer, Bus *bus);

/* The class of that name or alias, or NULL; every property that it has, each name once, an inner device's last. */
const DeviceClass *device_class_find(const char *name);
void device_class_props(const DeviceClass *c, void (*fn)(void *opaque, const Field *f), void *opaque);
/* The property of that name, and the struct that has it (an inner device perhaps); false: there is none. */
bool device_prop(Device *d, const char *name, Device **whose, const Field **out);

/* The argument of -device: "NAME,id=..,prop=value,..." or JSON. While the machine runs, too: the bus must take it then. */
MUST_USE Err *device_add(Vm *vm, const char *arg);
MUST_USE Err *device_add_json(Vm *vm, const json_t *props);     /* "driver" and the rest; errors don't repeat them */
Device *device_find(Vm *vm, const char *id);        /* or NULL */
/* device_del: asks the bus; it may take as long as the guest likes, or never happen. */
MUST_USE Err *device_del(Vm *vm, const char *id);
/*
 * It is gone: the bus's unplug now, device_free at the next safepoint, since a vCPU may be
 * in a register window that takes no lock. Devices on buses of its own go first.
 */
void device_unplug(Device *d);
/* Told of each device_unplug's end by id (NULL: had none), for DEVICE_DELETED; one listener. */
void device_on_deleted(Vm *vm, void (*fn)(void *opaque, const char *id), void *opaque);
/* What -device help (or ?) and -device NAME,help ask for: the text, g_free it. NULL in *out: it is no such argument. */
MUST_USE Err *device_help(const char *arg, char **out);
/* -global: device_new gives them to each device of that kind; are they right? */
MUST_USE Err *device_check_globals(Vm *vm);
char *device_props_help(const DeviceClass *cls);    /* a line for each property; g_free it */

#endif
