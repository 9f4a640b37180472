/* SPDX-License-Identifier: MIT */
/*
 * ACLINT software interrupts: MSWI and SSWI (RISC-V ACLINT specification 1.0,
 * chapters 3 and 4). MSWI is also the first 16 KiB of a SiFive CLINT.
 *
 * One 32-bit register a hart, of which bit 0 counts. MSIP is a level that can
 * be read back. SETSSIP reads 0; writing 1 sets the hart's mip.SSIP, which
 * software clears there.
 */
#include "hw/intc/riscv.h"

#include <inttypes.h>

#include "target/riscv/state.h"
#include "util/log.h"

typedef struct AclintSwi {
    Device dev;
    Region io;
    uint32_t harts;
    bool sswi;
    pthread_mutex_t lock;               /* guards msip and the order of its line's changes */
    uint8_t msip[RISCV_HARTS];
} AclintSwi;

static void set_ssip(Vcpu *v, void *opaque)
{
    RiscvState *s = v->state;

    s->mip |= 1u << IRQ_SSI;
}

static uint64_t swi_read(void *opaque, uint64_t off, unsigned size)
{
    AclintSwi *a = opaque;

    if (a->sswi || off / 4 >= a->harts)
        return 0;
    pthread_mutex_lock(&a->lock);
    uint64_t val = a->msip[off / 4];
    pthread_mutex_unlock(&a->lock);
    return val;
}

static void swi_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    AclintSwi *a = opaque;
    uint64_t hart = off / 4;

    if (hart >= a->harts) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("aclint: write to hart %" PRIu64 " of %u", hart, a->harts);
        return;
    }
    Vcpu *v = a->dev.vm->vcpus[hart];
    if (a->sswi) {
        if (val & 1) {
            vcpu_run_on(v, set_ssip, NULL, false);
            vcpu_kick(v);
        }
        return;
    }
    pthread_mutex_lock(&a->lock);
    if (a->msip[hart] != (val & 1)) {
        a->msip[hart] = val & 1;
        riscv_irq_line(v, IRQ_MSI, val & 1);
    } else if (val & 1) {
        riscv_irq_again(v);
    }
    pthread_mutex_unlock(&a->lock);
}

static Err *swi_realize(Device *d)
{
    AclintSwi *a = (AclintSwi *)d;

    pthread_mutex_init(&a->lock, NULL);
    return NULL;
}

static void swi_reset(Device *d)
{
    AclintSwi *a = (AclintSwi *)d;

    for (unsigned i = 0; !a->sswi && i < a->harts; i++)
        riscv_irq_line(d->vm->vcpus[i], IRQ_MSI, 0);
}

static pthread_mutex_t *swi_lock(Device *d)
{
    return &((AclintSwi *)d)->lock;
}

static const IoOps swi_io = { .read = swi_read, .write = swi_write, .min = 4, .max = 4 };

static const Field swi_fields[] = {
    PROP(AclintSwi, harts, .as = "num-harts", .def = "1", .doc = "harts served, from hart 0"),
    PROP(AclintSwi, sswi, .def = "off", .doc = "interrupts for S-mode instead of M-mode"),
    LINK(AclintSwi, io, .ops = &swi_io, .size = 0x4000, .nolock = true),
    STATES(AclintSwi, msip),
    {0}
};

DEVICE(aclint_swi) = {
    .name = "riscv.aclint.swi", .bus = BUS_SYSTEM, .doc = "RISC-V ACLINT software interrupts",
    .size = sizeof(AclintSwi), .fields = swi_fields, .realize = swi_realize, .reset = swi_reset,
    .lock = swi_lock,
};

Err *aclint_swi_make(Vm *vm, unsigned harts, bool sswi, uint64_t base)
{
    AclintSwi *a = (AclintSwi *)device_new(vm, &device_aclint_swi);

    a->harts = harts;
    a->sswi = sswi;
    return device_place(&a->dev, &a->io, base);
}
