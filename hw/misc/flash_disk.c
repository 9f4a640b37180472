/* SPDX-License-Identifier: MIT */
/*
 * A disk behind a flash: what -machine pflashN=NODE names, or -drive if=pflash,unit=N
 * gives. Writes reach it one by one, in the guest's order, each before the guest goes on.
 */
#include <string.h>

#include "hw/misc/misc.h"
#include "system/disks.h"

static int disk_read_at(void *opaque, uint64_t off, void *bytes, uint64_t len)
{
    return disk_port_pread(opaque, off, bytes, len);
}

static int disk_write_at(void *opaque, uint64_t off, const void *bytes, uint64_t len)
{
    return disk_port_pwrite(opaque, off, bytes, len);
}

static void free_port(void *opaque)
{
    DiskPort *p = opaque;

    disk_port_unbind(p);
    g_free(p->name);
    g_free(p);
}

Err *flash_disk(Vm *vm, int unit, const char *node, FlashStore *out)
{
    const Drive *drive = vm->disks ? disks_find_unit(vm->disks, DRIVE_PFLASH, unit) : NULL;

    *out = (FlashStore){ 0 };
    if (!node && !drive)
        return NULL;
    if (node && drive)
        return err_hint(err(ERR_INVALID, "flash %d is given by pflash%d=%s and by -drive if=pflash,unit=%d", unit, unit,
                            node, unit), "Leave one of them out.");
    DiskPort *p = g_new0(DiskPort, 1);
    p->name = g_strdup(node ? node : drive->id);
    p->in_memory = true;
    Err *e = disk_port_bind(vm, p, NULL, NULL, false, false);
    if (e) {
        free_port(p);
        return node ? err_in(e, "pflash%d=%s", unit, node) : err_in(e, "-drive if=pflash,unit=%d", unit);
    }
    *out = (FlashStore){ .opaque = p, .size = disk_port_size(p), .readonly = p->read_only, .read = disk_read_at,
                         .write = disk_write_at, .free = free_port };
    return NULL;
}
