/* SPDX-License-Identifier: MIT */
/*
 * SiFive test finisher: one 32-bit register by which the guest ends the
 * machine. The low half says how, the high half is the exit status of a failure.
 */
#include "hw/misc/misc.h"

#include "util/log.h"

enum { FINISH_FAIL = 0x3333, FINISH_PASS = 0x5555, FINISH_RESET = 0x7777 };

typedef struct Finisher {
    Device dev;
    Region io;
} Finisher;

static void finisher_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Finisher *f = opaque;

    if (off)
        return;
    switch (val & 0xffff) {
    case FINISH_PASS:
        vm_request(f->dev.vm, VM_POWEROFF, 0);
        break;
    case FINISH_FAIL:
        vm_request(f->dev.vm, VM_POWEROFF, val >> 16 & 0xffff);
        break;
    case FINISH_RESET:
        vm_request(f->dev.vm, VM_RESET, 0);
        break;
    default:
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("sifive test: %#x asks for nothing known", (unsigned)val);
    }
}

static const IoOps finisher_io = { .write = finisher_write, .min = 2, .max = 4 };

static const Field finisher_fields[] = {
    LINK(Finisher, io, .ops = &finisher_io, .size = 0x1000),
    {0}
};

DEVICE(sifive_test) = {
    .name = "riscv.sifive.test", .bus = BUS_SYSTEM, .doc = "power-off, reset and exit status by one register",
    .size = sizeof(Finisher), .fields = finisher_fields,
};

Err *sifive_test_make(Vm *vm, uint64_t base)
{
    Finisher *f = (Finisher *)device_new(vm, &device_sifive_test);

    return device_place(&f->dev, &f->io, base);
}
