/* SPDX-License-Identifier: MIT */
/*
 * A place on a board where a device may be one day: a bus window that nobody answers.
 */
#include "hw/misc/misc.h"

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
