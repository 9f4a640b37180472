/* SPDX-License-Identifier: MIT */
/*
 * IMSIC: receives message-signalled interrupts for harts (AIA specification,
 * chapter 3). One device for all files of a privilege level: hart n's page is the
 * n-th, with seteipnum_le at 0 and seteipnum_be at 4.
 *
 * It owns the files; their rules and the harts' side of them are target/riscv/imsic.c.
 * Nothing here takes a lock: messages come from vCPUs, which store to a page, and from
 * any other thread through msi_send. Guest interrupt files come with the hypervisor extension.
 */
#include <inttypes.h>

#include "hw/intc/riscv.h"
#include "system/msi.h"
#include "target/riscv/cpu.h"
#include "target/riscv/imsic.h"
#include "util/log.h"

enum { FILE_WORDS = sizeof(ImsicFile) / 8, SETEIPNUM_LE = 0, SETEIPNUM_BE = 4 };

typedef struct Imsic {
    Device dev;
    Region io;
    uint32_t harts;
    bool mmode;
    uint64_t base;                                  /* where it is, to be claimed for messages */
    /* ImsicFiles, hart by hart, as words that a snapshot can hold. Zero is their state after reset. */
    uint64_t words[RISCV_HARTS * FILE_WORDS];
} Imsic;

/* AIA_M or AIA_S, as the harts index their files. */
static int level_of(const Imsic *m)
{
    return m->mmode ? AIA_M : AIA_S;
}

static void receive(void *opaque, uint64_t off, uint32_t data)
{
    Imsic *m = opaque;
    uint64_t hart = off / PAGE_SIZE, reg = off % PAGE_SIZE;

    if (reg == SETEIPNUM_BE)
        data = __builtin_bswap32(data);
    if (hart < m->harts && reg <= SETEIPNUM_BE && data && data <= IMSIC_IDS)
        riscv_imsic_set(m->dev.vm->vcpus[hart], level_of(m), data);
    else if (log_on(LOG_GUEST_ERRORS))
        guest_error("imsic: message %#" PRIx32 " to %c, offset %#" PRIx64 ": no such identity or file",
                    data, m->mmode ? 'M' : 'S', off);
}

/* All that can be read is zero. */
static uint64_t imsic_read(void *opaque, uint64_t off, unsigned size)
{
    return (void)opaque, (void)off, (void)size, 0;
}

static void imsic_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    if (size == 4 && !(off & 3))
        receive(opaque, off, val);
    else if (log_on(LOG_GUEST_ERRORS))
        guest_error("imsic: a store of %u bytes at %#" PRIx64 " is ignored", size, off);
}

static const IoOps imsic_io = { .read = imsic_read, .write = imsic_write };

static Err *imsic_realize(Device *d)
{
    Imsic *m = (Imsic *)d;

    /* Chapter 3.6: up to the next power of two there are pages that read zero. */
    for (m->io.size = PAGE_SIZE; m->io.size < (uint64_t)m->harts * PAGE_SIZE;)
        m->io.size *= 2;
    for (uint32_t i = 0; i < m->harts; i++) {
        RiscvState *s = d->vm->vcpus[i]->state;

        s->imsic[level_of(m)] = (ImsicFile *)(m->words + i * FILE_WORDS);
        TRY(riscv_cpu_force(d->vm->vcpus[i], m->mmode ? RV_SMAIA : RV_SSAIA));
    }
    return msi_claim(d->vm, m->base, m->io.size, receive, m);
}

static void imsic_unrealize(Device *d)
{
    msi_unclaim(d->vm, d);
}

static void imsic_reset(Device *d)
{
    Imsic *m = (Imsic *)d;

    /* A device's thread may be sending right now. */
    for (unsigned i = 0; i < G_N_ELEMENTS(m->words); i++)
        __atomic_store_n(&m->words[i], 0, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < m->harts; i++)
        riscv_irq_line(d->vm->vcpus[i], m->mmode ? IRQ_MEI : IRQ_SEI, 0);
}

static const Field imsic_fields[] = {
    PROP(Imsic, harts, .as = "num-harts", .def = "1", .doc = "harts served, from hart 0"),
    PROP(Imsic, mmode, .def = "off", .doc = "files of machine mode instead of supervisor mode"),
    LINK(Imsic, io, .ops = &imsic_io, .size = PAGE_SIZE, .nolock = true),
    STATES(Imsic, words, .keep = true),         /* reset clears them itself */
    {0}
};

/* The files change while they are read: each word is one moment's. */
static void imsic_describe(Device *d, GString *out)
{
    const Imsic *m = (Imsic *)d;

    for (uint32_t h = 0; h < m->harts; h++) {
        const ImsicFile *f = (const ImsicFile *)(m->words + h * FILE_WORDS);

        g_string_append_printf(out, "imsic, hart %u %c: delivery %d, threshold %d\n", h, m->mmode ? 'M' : 'S',
                               (int)__atomic_load_n(&f->eidelivery, __ATOMIC_RELAXED), (int)__atomic_load_n(&f->eithreshold, __ATOMIC_RELAXED));
        for (int id = 1; id <= IMSIC_IDS; id++) {
            bool pending = __atomic_load_n(&f->eip[id / 64], __ATOMIC_RELAXED) >> id % 64 & 1;
            bool enabled = __atomic_load_n(&f->eie[id / 64], __ATOMIC_RELAXED) >> id % 64 & 1;

            if (pending || enabled)
                g_string_append_printf(out, "  %d:%s%s\n", id, pending ? " pending" : "", enabled ? " enabled" : "");
        }
    }
}

DEVICE(imsic) = {
    .name = "riscv.imsic", .bus = BUS_SYSTEM, .doc = "RISC-V incoming message-signalled interrupt controller",
    .size = sizeof(Imsic), .fields = imsic_fields,
    .describe = imsic_describe, .realize = imsic_realize, .unrealize = imsic_unrealize, .reset = imsic_reset,
};

Err *imsic_make(Vm *vm, unsigned harts, bool mmode, uint64_t base)
{
    Imsic *m = (Imsic *)device_new(vm, &device_imsic);

    m->harts = harts;
    m->mmode = mmode;
    m->base = base;
    return device_place(&m->dev, &m->io, base);
}
