/* SPDX-License-Identifier: MIT */
/*
 * pvpanic-pci: one byte by which a guest says that it has panicked (bit 0), that
 * it has but writes its dump first (bit 1), or that it shuts down (bit 2); reading
 * says which of these are understood (docs/specs/pvpanic).
 */
#include "hw/misc/misc.h"
#include "hw/pci/pci.h"
#include "util/log.h"

enum { PANICKED = 1, CRASH_LOADED = 2, SHUTDOWN = 4, WINDOW = 16 };

typedef struct Pvpanic {
    PciDevice pci;
    Region io;
    uint8_t events;
} Pvpanic;

static uint64_t io_read(void *opaque, uint64_t off, unsigned size)
{
    return off ? 0 : ((Pvpanic *)opaque)->events;
}

static void io_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    Pvpanic *p = opaque;

    if (off)
        return;
    if (val & ~(uint64_t)(PANICKED | CRASH_LOADED | SHUTDOWN))
        guest_error("pvpanic: events %#x are not known", (unsigned)val);
    if (val & PANICKED & p->events)
        guest_panicked(p->pci.dev.vm, false);
    else if (val & CRASH_LOADED & p->events)
        guest_panicked(p->pci.dev.vm, true);
    else if (val & SHUTDOWN & p->events)
        vm_request(p->pci.dev.vm, VM_POWEROFF, 0);
}

static const IoOps io_ops = { .read = io_read, .write = io_write, .min = 1, .max = 1 };

static Err *realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x1b36, .device = 0x0011, .revision = 1, .class_code = 0x088000 };
    Pvpanic *p = (Pvpanic *)d;

    if (p->events & ~(PANICKED | CRASH_LOADED | SHUTDOWN))
        return err_hint(err(ERR_INVALID, "events=%u", p->events), "1: panicked, 2: crash loaded, 4: shutdown; 7 is all.");
    pci_identify(&p->pci, &ids);
    return pci_bar(&p->pci, 0, PCI_BAR_MEM32, &p->io);
}

static const Field fields[] = {
    PROP(Pvpanic, events, .def = "7", .doc = "which events it understands"),
    LINK(Pvpanic, io, .ops = &io_ops, .size = WINDOW),
    {0}
};

DEVICE(pvpanic_pci) = {
    .name = "pvpanic-pci", .bus = "pci", .doc = "the guest says that it has panicked", .size = sizeof(Pvpanic),
    .fields = fields, .base = pci_fields, .realize = realize,
};
