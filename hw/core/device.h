/* SPDX-License-Identifier: MIT */
/*
 * Device: anything that sits on the board, built in or asked for by -device.
 *
 * A device is a struct that begins with a Device; its class names the table of
 * its fields. Life: device_new (defaults) - properties - device_realize (its
 * register windows exist, its realize has run, it is in the machine's list) -
 * reset as often as you like - device_free. All under the machine lock.
 */
#ifndef HW_CORE_DEVICE_H
#define HW_CORE_DEVICE_H

#include "system/irq.h"
#include "system/mem.h"
#include "system/vm.h"
#include "util/reflect.h"

typedef struct Device Device;
typedef struct Bus Bus;

/* A kind of bus. A device plugs into the bus whose class is named by its DeviceClass.bus. */
typedef struct BusClass {
    const char *name;                       /* "pci", "virtio", "usb" */
    Err *(*plug)(Bus *, Device *);          /* after the device's properties are set, before its realize */
    void (*unplug)(Bus *, Device *);
} BusClass;
struct Bus {
    const BusClass *cls;
    char *name;
    Device *owner;                          /* the controller; NULL: the board */
    Bus *next;                              /* in the machine's list */
};

/* DeviceClass.bus of what only a board makes. */
#define BUS_SYSTEM "system"

typedef struct DeviceClass {
    const char *name, *doc;
    const char *bus;            /* BUS_SYSTEM, a BusClass's name, or NULL: plugs into nothing */
    size_t size;
    const Field *fields;
    Err *(*realize)(Device *);
    void (*unrealize)(Device *);            /* undoes realize; runs also when realize failed half way */
    void (*reset)(Device *);                /* after STATE was zeroed */
} DeviceClass;

struct Device {
    const DeviceClass *cls;
    Vm *vm;
    Bus *bus;
    char *id;                   /* of -device id=; or NULL */
    bool realized;
    Device *next;               /* in the machine's list, in the order of making */
};

/* A class, collected into the set of all devices. */
#define DEVICE(name) const DeviceClass device_##name
extern const DeviceClass *const device_set[];       /* NULL-terminated; written by tools/sets */

Device *device_new(Vm *vm, const DeviceClass *cls);
MUST_USE Err *device_set_prop(Device *d, const char *name, const char *value);
MUST_USE Err *device_realize(Device *d);
/* Realizes what a board makes and maps its window at base; the device is the machine's from now on, or freed. */
MUST_USE Err *device_place(Device *d, Region *io, uint64_t base);
void device_free(Device *d);                        /* takes it off the list; NULL is fine */
/* STATE back to zero, timers stopped, then the class's reset. */
void device_reset(Device *d);

/* The argument of -device: "NAME,id=..,prop=value,...". */
MUST_USE Err *device_add(Vm *vm, const char *arg);
/* What -device help (or ?) and -device NAME,help ask for: the text, g_free it. NULL in *out: it is no such argument. */
MUST_USE Err *device_help(const char *arg, char **out);

#endif
