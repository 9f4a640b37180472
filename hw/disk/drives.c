/* SPDX-License-Identifier: MIT */
/*
 * Devices that -drive makes by itself, after those of -device: if=virtio (what
 * a drive is that names no interface); if=scsi, with an adapter for each bus that is
 * not there. What the board has a place for, as if=pflash, it has taken already; the rest has none.
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

static bool has_device(const char *name)
{
    for (const DeviceClass *const *c = device_set; *c; c++) {
        if (!strcmp((*c)->name, name))
            return true;
    }
    return false;
}

/* How a virtio device is attached: by PCI where the board has it. */
static const char *kind_of_bus(Vm *vm)
{
    return has_bus(vm, "pci") && has_device("virtio-blk-pci") ? "pci" : "device";
}

static Err *make_virtio(Vm *vm, const Drive *dr)
{
    g_autofree char *arg = g_strdup_printf("virtio-blk-%s,drive=%s", kind_of_bus(vm), dr->id);

    return device_add(vm, arg);
}

static const Bus *scsi_bus(Vm *vm, int n)
{
    for (const Bus *b = machine_of(vm)->buses; b; b = b->next) {
        if (!strcmp(b->cls->name, "SCSI") && !n--)
            return b;
    }
    return NULL;
}

static Err *make_scsi(Vm *vm, const Drive *dr)
{
    const Bus *b;

    while (!(b = scsi_bus(vm, dr->bus))) {
        g_autofree char *adapter = g_strdup_printf("virtio-scsi-%s", kind_of_bus(vm));
        TRY(device_add(vm, adapter));
    }
    g_autofree char *arg = g_strdup_printf("scsi-%s,drive=%s,scsi-id=%d,bus=%s", dr->cdrom ? "cd" : "hd", dr->id, dr->unit, b->name);
    return device_add(vm, arg);
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
        Err *e = dr->interface == DRIVE_VIRTIO ? make_virtio(vm, dr)
               : dr->interface == DRIVE_SCSI ? make_scsi(vm, dr) : no_place(vm, dr);
        TRY(err_in(e, "drive '%s'", dr->id));
    }
    return NULL;
}
