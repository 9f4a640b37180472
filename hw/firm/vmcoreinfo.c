/* SPDX-License-Identifier: MIT */
/*
 * vmcoreinfo: a file of fw_cfg by which a kernel says where its crash note is (docs/specs/vmcoreinfo.rst of QEMU):
 * etc/vmcoreinfo is little-endian host_format, guest_format (2 bytes each; 1: an ELF note), size (4), address (8).
 * Without it the note is found by a search of all memory (system/vmcoreinfo.c); with it, at once, and of any kernel.
 */
#include <string.h>

#include "hw/core/board.h"
#include "hw/firm/fw_cfg.h"
#include "system/vmcoreinfo.h"
#include "util/log.h"

enum { FORMAT_ELF = 1, FILE_SIZE = 16, GUEST_FORMAT = 2, SIZE = 4, ADDRESS = 8 };

typedef struct VmcoreInfo {
    Device dev;
    CrashNote note;
} VmcoreInfo;

static void written(void *opaque, const uint8_t *bytes, uint32_t len)
{
    VmcoreInfo *c = opaque;
    uint16_t format;
    uint32_t size;
    uint64_t addr;

    memcpy(&format, bytes + GUEST_FORMAT, sizeof(format));
    memcpy(&size, bytes + SIZE, sizeof(size));
    memcpy(&addr, bytes + ADDRESS, sizeof(addr));
    c->note = (CrashNote){ 0 };
    if (GUINT16_FROM_LE(format) == FORMAT_ELF)
        c->note = (CrashNote){ GUINT64_FROM_LE(addr), GUINT32_FROM_LE(size) };
    else if (format)
        guest_error("vmcoreinfo: format %u is not known", GUINT16_FROM_LE(format));
}

static Err *realize(Device *d)
{
    static const uint8_t file[FILE_SIZE] = { FORMAT_ELF };
    VmcoreInfo *c = (VmcoreInfo *)d;
    const Machine *m = machine_of(d->vm);

    if (d->vm->crash_note)
        return err(ERR_INVALID, "at most one vmcoreinfo device is permitted");
    if (!m->fw_cfg)
        return err(ERR_UNSUPPORTED, "this machine has no fw_cfg, by which its kernel could say something");
    if (m->made)
        return err_hint(err(ERR_UNSUPPORTED, "vmcoreinfo cannot be plugged in"), "Start the machine with -device vmcoreinfo.");
    TRY(fw_cfg_add_writable_file(m->fw_cfg, "etc/vmcoreinfo", file, sizeof(file), written, c));
    d->vm->crash_note = &c->note;
    return NULL;
}

static void unrealize(Device *d)
{
    if (d->vm->crash_note == &((VmcoreInfo *)d)->note)
        d->vm->crash_note = NULL;
}

static const Field fields[] = {
    STATE(VmcoreInfo, note.addr),
    STATE(VmcoreInfo, note.size),
    {0}
};

DEVICE(vmcoreinfo) = {
    .name = "vmcoreinfo", .doc = "the kernel says where its crash note is", .size = sizeof(VmcoreInfo), .fields = fields,
    .realize = realize, .unrealize = unrealize,
};
