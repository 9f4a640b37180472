/* SPDX-License-Identifier: MIT */
/*
 * Places on a board where a device may be one day, and how they look without:
 * a virtio-mmio transport with device id 0 (virtio 1.2, 4.2.2: "no device"),
 * and a bus window that nobody answers.
 */
#include "hw/misc/misc.h"

/* ---- virtio-mmio */

typedef struct VirtioMmio { Device dev; Region io; } VirtioMmio;

static uint64_t virtio_read(void *opaque, uint64_t off, unsigned size)
{
    switch (off) {
    case 0x000: return 0x74726976;      /* MagicValue: "virt" */
    case 0x004: return 2;               /* Version */
    case 0x00c: return 0x554d4551;      /* VendorID */
    default:    return 0;               /* DeviceID among them */
    }
}

static const IoOps virtio_io = { .read = virtio_read, .min = 4, .max = 4 };

static const Field virtio_fields[] = {
    LINK(VirtioMmio, io, .ops = &virtio_io, .size = 0x200, .nolock = true),
    {0}
};

DEVICE(virtio_mmio) = {
    .name = "virtio-mmio", .bus = BUS_SYSTEM, .doc = "virtio transport in memory, without a device",
    .size = sizeof(VirtioMmio), .fields = virtio_fields,
};

Err *virtio_mmio_empty_make(Vm *vm, uint64_t base)
{
    VirtioMmio *v = (VirtioMmio *)device_new(vm, &device_virtio_mmio);

    return device_place(&v->dev, &v->io, base);
}

/* ---- a window without anything */

typedef struct Absent { Device dev; Region io; char *name; uint64_t bytes; } Absent;

static uint64_t absent_read(void *opaque, uint64_t off, unsigned size)
{
    return UINT64_MAX;
}

static const IoOps absent_io = { .read = absent_read };

static const Field absent_fields[] = {
    PROP(Absent, name, .def = "absent", .doc = "what would be there"),
    PROP(Absent, bytes, .as = "size", .units = true, .def = "4K", .doc = "bytes of the window"),
    LINK(Absent, io, .ops = &absent_io, .nolock = true),
    {0}
};

static Err *absent_realize(Device *d)
{
    Absent *a = (Absent *)d;

    a->io.size = a->bytes;
    a->io.name = a->name;
    return NULL;
}

DEVICE(absent) = {
    .name = "absent", .bus = BUS_SYSTEM, .doc = "a bus window that nobody answers",
    .size = sizeof(Absent), .fields = absent_fields, .realize = absent_realize,
};

Err *absent_make(Vm *vm, const char *name, uint64_t base, uint64_t size)
{
    Absent *a = (Absent *)device_new(vm, &device_absent);

    g_free(a->name);
    a->name = g_strdup(name);
    a->bytes = size;
    return device_place(&a->dev, &a->io, base);
}
