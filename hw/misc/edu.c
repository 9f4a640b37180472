/* SPDX-License-Identifier: MIT */
/*
 * edu: the teaching device that driver courses and tests know, as its
 * specification ("EDU device", docs/specs/edu) has it: identification, factorial,
 * interrupts by hand, DMA to and from a buffer of 4 KiB.
 *
 * A factorial is there at once; DMA takes a moment.
 */
#include <inttypes.h>

#include "hw/pci/pci.h"
#include "util/log.h"

enum {
    R_ID = 0x00, R_LIVE = 0x04, R_FACTORIAL = 0x08, R_STATUS = 0x20, R_IRQ_STATUS = 0x24,
    R_IRQ_RAISE = 0x60, R_IRQ_ACK = 0x64,
    R_DMA_SRC = 0x80, R_DMA_DST = 0x88, R_DMA_COUNT = 0x90, R_DMA_CMD = 0x98, R_DMA_END = 0xa0,
    STATUS_IRQ = 0x80, DMA_START = 1, DMA_FROM_EDU = 2, DMA_IRQ = 4,
    IRQ_FACTORIAL = 0x001, IRQ_DMA = 0x100,
    BUFFER = 0x40000, BUFFER_SIZE = 4096, WINDOW = 1 << 20, DMA_TAKES_NS = 10000,
    FACTORIAL_ZERO = 34,        /* 34! is a multiple of 2^32 */
};

typedef struct Edu {
    PciDevice pci;
    Region io;
    Timer dma_done;
    uint64_t dma_mask;
    uint32_t live, factorial, status, irq_status;
    uint64_t dma[4];            /* source, destination, count, command */
    uint8_t buffer[BUFFER_SIZE];
} Edu;

/* ---- interrupts */

static void raise_irq(Edu *e, uint32_t why)
{
    e->irq_status |= why;
    if (!e->irq_status)
        return;
    if (msi_on(&e->pci))
        msi_notify(&e->pci, 0);
    else
        pci_intx(&e->pci, true);
}

static void acknowledge(Edu *e, uint32_t what)
{
    e->irq_status &= ~what;
    if (!e->irq_status)
        pci_intx(&e->pci, false);
}

/* ---- DMA */

/* The part of the buffer that an address of the device's own names, or NULL. */
static uint8_t *buffer_at(Edu *e, uint64_t addr, uint64_t count)
{
    uint64_t off = addr - BUFFER;

    return off <= BUFFER_SIZE && count <= BUFFER_SIZE - off ? e->buffer + off : NULL;
}

static void dma_done(void *opaque)
{
    Edu *e = opaque;
    bool from_edu = e->dma[3] & DMA_FROM_EDU;
    uint64_t count = e->dma[2], theirs = e->dma[from_edu ? 1 : 0] & e->dma_mask;
    uint8_t *ours = buffer_at(e, e->dma[from_edu ? 0 : 1], count);
    MemResult r = MEM_NOTHING;

    if (ours)
        r = from_edu ? pci_dma_write(&e->pci, theirs, ours, count) : pci_dma_read(&e->pci, theirs, ours, count);
    if (r != MEM_OK && log_on(LOG_GUEST_ERRORS))
        guest_error("edu: DMA of %#" PRIx64 " bytes cannot be done", count);
    e->dma[3] &= ~(uint64_t)DMA_START;
    if (e->dma[3] & DMA_IRQ)
        raise_irq(e, IRQ_DMA);
}

/* Registers of 64 bits, which may be read and written by halves. */
static uint64_t dma_read(const Edu *e, uint64_t off)
{
    return e->dma[(off - R_DMA_SRC) / 8] >> off % 8 * 8;
}

static void dma_write(Edu *e, uint64_t off, uint64_t val, unsigned size)
{
    uint64_t *reg = &e->dma[(off - R_DMA_SRC) / 8];

    if (e->dma[3] & DMA_START)
        return;                         /* one at a time */
    if (size == 8)
        *reg = val;
    else
        *reg = (*reg & ~(UINT64_C(0xffffffff) << off % 8 * 8)) | val << off % 8 * 8;
    if (reg == &e->dma[3] && val & DMA_START && off % 8 == 0)
        timer_set(&e->dma_done, clock_now(e->pci.dev.vm, CLOCK_GUEST) + DMA_TAKES_NS);
}

/* ---- registers */

static uint64_t edu_read(void *opaque, uint64_t off, unsigned size)
{
    Edu *e = opaque;

    if (off >= R_DMA_SRC && off < R_DMA_END)
        return dma_read(e, off);
    if (size != 4)
        return UINT64_MAX;
    switch (off) {
    case R_ID:          return 0x010000ed;
    case R_LIVE:        return e->live;
    case R_FACTORIAL:   return e->factorial;
    case R_STATUS:      return e->status;
    case R_IRQ_STATUS:  return e->irq_status;
    default:            return UINT64_MAX;
    }
}

static uint32_t factorial(uint32_t n)
{
    uint32_t product = n < FACTORIAL_ZERO;

    for (uint32_t i = 2; product && i <= n; i++)
        product *= i;
    return product;
}

static void edu_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Edu *e = opaque;

    if (off >= R_DMA_SRC && off < R_DMA_END) {
        dma_write(e, off, val, size);
        return;
    }
    if (size != 4)
        return;
    switch (off) {
    case R_LIVE:
        e->live = ~val;
        break;
    case R_FACTORIAL:
        e->factorial = factorial(val);
        if (e->status & STATUS_IRQ)
            raise_irq(e, IRQ_FACTORIAL);
        break;
    case R_STATUS:
        e->status = val & STATUS_IRQ;
        break;
    case R_IRQ_RAISE:
        raise_irq(e, val);
        break;
    case R_IRQ_ACK:
        acknowledge(e, val);
        break;
    }
}

static const IoOps edu_io = { .read = edu_read, .write = edu_write, .min = 4, .max = 8 };

/* ---- life */

static Err *edu_realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x1234, .device = 0x11e8, .revision = 0x10, .class_code = 0x00ff00 };
    Edu *e = (Edu *)d;

    pci_identify(&e->pci, &ids);
    pci_use_intx(&e->pci, 1);
    timer_init(&e->dma_done, d->vm, CLOCK_GUEST, dma_done, e);
    TRY(pci_msi(&e->pci, 1, false));
    return pci_bar(&e->pci, 0, PCI_BAR_MEM32, &e->io);
}

static const Field edu_fields[] = {
    PROP(Edu, dma_mask, .as = "dma_mask", .def = "0xfffffff", .doc = "the address bits that its DMA has"),
    LINK(Edu, io, .ops = &edu_io, .size = WINDOW),
    STATE(Edu, live), STATE(Edu, factorial), STATE(Edu, status), STATE(Edu, irq_status),
    STATES(Edu, dma), STATES(Edu, buffer), STATE(Edu, dma_done),
    {0}
};

DEVICE(edu) = {
    .name = "edu", .bus = "pci", .doc = "PCI device for teaching and testing drivers",
    .size = sizeof(Edu), .fields = edu_fields, .base = pci_fields, .realize = edu_realize,
};
