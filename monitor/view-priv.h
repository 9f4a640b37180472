/* SPDX-License-Identifier: MIT */
/* What the files of the tree share: see monitor/view.h. */
#ifndef MONITOR_VIEW_PRIV_H
#define MONITOR_VIEW_PRIV_H

#include <jansson.h>

#include "chardev/chardev.h"
#include "hw/core/board.h"
#include "monitor/view.h"
#include "system/objects.h"

/* The folders of /machine that hold devices. */
typedef enum Shelf { SHELF_PERIPHERAL, SHELF_ANON, SHELF_UNATTACHED, VIEW_SHELVES } Shelf;
extern const char *const view_shelf_names[VIEW_SHELVES];

typedef enum PlaceKind {
    PLACE_NONE, PLACE_ROOT, PLACE_MACHINE, PLACE_SHELF, PLACE_DEVICE, PLACE_BUS, PLACE_CPU, PLACE_OBJECTS, PLACE_OBJECT,
    PLACE_CHARDEVS, PLACE_CHARDEV, PLACE_BACKEND,
} PlaceKind;

/* What a path names; the member of its kind is set. */
typedef struct Place {
    PlaceKind kind;
    Shelf shelf;
    Device *device;
    const Bus *bus;
    const Vcpu *cpu;
    const VmObject *object;
    Chardev *chardev;
} Place;

Place view_find(Vm *vm, const char *path);      /* a path, or the id of a device with what is below it */
Shelf view_shelf_of(const Device *d);
char *view_name_on_shelf(Device *d);            /* g_free it */
char *view_machine_type(const Board *b);        /* "virt-machine"; g_free it */
/* A property's row of qom-list. */
void view_row(json_t *list, const char *name, const char *type);

#endif
