/* SPDX-License-Identifier: MIT */
/*
 * Devices that -drive makes by itself, after those of -device: if=virtio (what
 * a drive is that names no interface). What the board has a place for, as
 * if=pflash, it has taken already; the rest has none.
 */
#include <string.h>

#include "hw/core/board.h"
#include "hw/disk/disk.h"

static bool has_bus(Vm *vm, const char *class)
{
    for (const Bus *b = machine_of(vm)->buses; b; b = b->next) {
        if (!strcmp(b->cls->name, class))
            return true;
    }
    return false;
}

static Err *no_place(Vm *vm, const Drive *dr)
{
    Err *e = err(ERR_UNSUPPORTED, "machine '%s' has no place for if=%s, bus %d, unit %d", machine_of(vm)->board->name,
                 drive_interface_name(dr->interface), dr->bus, dr->unit);

    return err_hint(e, "Use if=virtio, or if=none,id=%s and -device KIND,drive=%s.", dr->id, dr->id);
}

Err *drives_make_devices(Vm *vm)
{
    for (Drive *dr = vm->disks ? disks_next(vm->disks, NULL) : NULL; dr; dr = disks_next(vm->disks, dr)) {
        if (dr->taken || dr->interface == DRIVE_NONE)
            continue;
        if (dr->interface != DRIVE_VIRTIO)
            return err_in(no_place(vm, dr), "drive '%s'", dr->id);
        g_autofree char *arg = g_strdup_printf("virtio-blk-%s,drive=%s", has_bus(vm, "pci") ? "pci" : "device", dr->id);
        TRY(err_in(device_add(vm, arg), "drive '%s'", dr->id));
    }
    return NULL;
}
