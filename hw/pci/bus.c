/* SPDX-License-Identifier: MIT */
/*
 * Buses of PCI functions: who sits where, which configuration access finds
 * whom, and how a function is called on the way from firmware's root.
 */
#include <stdlib.h>
#include <string.h>

#include "hw/core/board.h"
#include "hw/pci/pci-priv.h"

enum { SLOTS = 32, FUNCTIONS = 8 };

const Field pci_fields[] = {
    PROP(PciDevice, addr, .doc = "slot, or slot.function, in hexadecimal: 06.0 or 6"),
    PROP(PciDevice, multifunction, .def = "off", .doc = "it is function 0 of several"),
    PROP(PciDevice, rombar, .def = "-1", .doc = "0: the guest sees no ROM"),
    PROP(PciDevice, romfile, .doc = "file of its expansion ROM"),
    PROP(PciDevice, romsize, .def = "4294967295", .doc = "bytes of the ROM's window"),
    PROP(PciDevice, acpi_index, .def = "0", .doc = "number of an onboard device, for naming"),
    /* What the guest made of it; a reset goes back to what realize made. */
    STATES(PciDevice, config, .keep = true),
    {0}
};

/* ---- places */

static PciDevice *function_at(const PciBus *b, unsigned slot, unsigned fn)
{
    return b->functions[slot << 3 | fn];
}

static Err *bad_addr(const char *addr)
{
    return err_hint(err(ERR_INVALID, "addr=%s is no place on a PCI bus", addr),
                    "It is SLOT or SLOT.FUNCTION, in hexadecimal, up to 1f.7.");
}

/* -1: any place. */
static Err *parse_addr(const char *addr, int *devfn)
{
    char *end = NULL;

    *devfn = -1;
    if (!addr || !strcmp(addr, "-1"))
        return NULL;
    if (!g_ascii_isxdigit(*addr))
        return bad_addr(addr);
    unsigned long slot = strtoul(addr, &end, 16), fn = 0;
    if (*end == '.') {
        if (!g_ascii_isxdigit(end[1]))
            return bad_addr(addr);
        fn = strtoul(end + 1, &end, 16);
    }
    if (*end || slot >= SLOTS || fn >= FUNCTIONS)
        return bad_addr(addr);
    *devfn = slot << 3 | fn;
    return NULL;
}

static unsigned slots_of(const PciBus *b)
{
    return b->one_slot ? 1 : SLOTS;
}

/* The lowest slot that is wholly free, or -1. Slot 0 is for those who ask for it, but where it is the only one. */
static int free_slot(const PciBus *b)
{
    for (unsigned slot = b->one_slot ? 0 : 1; slot < slots_of(b); slot++) {
        unsigned fn = 0;

        while (fn < FUNCTIONS && !function_at(b, slot, fn))
            fn++;
        if (fn == FUNCTIONS)
            return slot;
    }
    return -1;
}

static bool bus_full(const Bus *bus)
{
    const PciBus *b = (const PciBus *)bus;

    /* Whoever asks for a function of the only slot by name may get it. */
    return !b->one_slot && free_slot(b) < 0;
}

/* Guests look for functions 1..7 only where function 0 says that there are more. */
static Err *check_multifunction(const PciBus *b, const PciDevice *d)
{
    unsigned slot = pci_slot(d);
    const PciDevice *first = function_at(b, slot, 0);

    if (pci_fn(d)) {
        if (first && !first->multifunction)
            return err_hint(err(ERR_INVALID, "addr=%02x.%x: function 0 of that slot, a '%s', is its only one", slot, pci_fn(d),
                                first->dev.cls->name), "Give function 0 multifunction=on.");
        return NULL;
    }
    for (unsigned fn = 1; !d->multifunction && fn < FUNCTIONS; fn++) {
        if (function_at(b, slot, fn))
            return err_hint(err(ERR_INVALID, "addr=%02x.0: function %u of that slot is there already", slot, fn),
                            "Give function 0 multifunction=on.");
    }
    return NULL;
}

static Err *find_place(PciBus *b, PciDevice *d)
{
    int devfn = -1;

    TRY(parse_addr(d->addr, &devfn));
    if (devfn < 0) {
        int slot = free_slot(b);

        if (slot < 0)
            return err(ERR_BUSY, "bus '%s' has no place left", b->bus.name);
        devfn = slot << 3;
    }
    d->devfn = devfn;
    if (pci_slot(d) >= slots_of(b))
        return err_hint(err(ERR_INVALID, "addr=%s: bus '%s' has only slot 0", d->addr, b->bus.name),
                        "More of them: another pcie-root-port, or a pcie-pci-bridge.");
    const PciDevice *other = b->functions[devfn];
    if (other)
        return err(ERR_BUSY, "slot %02x function %x of bus '%s' is taken, by %s%s%s", pci_slot(d), pci_fn(d), b->bus.name,
                   other->dev.cls->name, other->dev.id ? " " : "", other->dev.id ? other->dev.id : "");
    return check_multifunction(b, d);
}

/* ---- the bus's class */

static Err *plug(Bus *bus, Device *dev)
{
    PciBus *b = (PciBus *)bus;
    PciDevice *d = (PciDevice *)dev;

    TRY(find_place(b, d));
    if (b->slot)
        TRY(b->slot->plug(b, d));
    d->bus = b;
    pci_config_init(d);
    Err *e = pci_rom_load(d);
    if (e) {
        pci_unuse(d);
        return e;
    }
    b->functions[d->devfn] = d;
    return NULL;
}

static void plugged(Bus *bus, Device *dev)
{
    PciBus *b = (PciBus *)bus;

    if (b->slot)
        b->slot->plugged(b, (PciDevice *)dev);
}

/* Before it is out of reach nothing of it is missing; after, it may ring no bell and write no memory. */
static void unplug(Bus *bus, Device *dev)
{
    PciBus *b = (PciBus *)bus;
    PciDevice *d = (PciDevice *)dev;

    pci_unmap(d);
    pci_intx_update(d);
    b->functions[d->devfn] = NULL;
    if (b->slot)
        b->slot->unplugged(b, d);
}

static void clear(Device *dev)
{
    pci_unuse((PciDevice *)dev);
}

static void reset(Bus *bus, Device *dev)
{
    pci_config_reset((PciDevice *)dev);
}

static Err *ask_unplug(Bus *bus, Device *dev)
{
    PciBus *b = (PciBus *)bus;

    return b->slot->ask_unplug(b, (PciDevice *)dev);    /* Bus.hotplug says that there is one */
}

static char *path(const Bus *bus, const Device *dev)
{
    const PciDevice *d = (const PciDevice *)dev;
    /* NVMe has no name of its own in Open Firmware: firmware looks for the identity. */
    bool nvme = d->config[R_CLASS + 2] == 1 && d->config[R_CLASS + 1] == 8;
    g_autofree char *identity = g_strdup_printf("pci%04x,%04x", pci_get16(d->config + R_VENDOR), pci_get16(d->config + R_DEVICE));
    const char *type = nvme ? identity : d->config[R_CLASS + 2] == 1 ? "scsi" : d->config[R_CLASS + 2] == 2 ? "ethernet" :
                       pci_is_bridge(d) ? "pci-bridge" : "pci";

    return pci_fn(d) ? g_strdup_printf("%s@%x,%x", type, pci_slot(d), pci_fn(d)) : g_strdup_printf("%s@%x", type, pci_slot(d));
}

const BusClass pci_bus_class = {
    .name = "pci", .plug = plug, .plugged = plugged, .unplug = unplug, .clear = clear, .reset = reset,
    .ask_unplug = ask_unplug, .full = bus_full, .path = path,
    .save = pci_save, .load = pci_load,
};

void pci_unuse(PciDevice *d)
{
    msi_free(d);
    msix_free(d);
    g_free(d->rom);
    g_free(d->initial);
    d->rom = d->initial = NULL;
}

/* ---- making, walking */

static bool id_taken(const PciHost *h, unsigned id)
{
    for (const Bus *b = machine_of(h->dev.vm)->buses; b; b = b->next) {
        const PciBus *p = (const PciBus *)b;

        if (b->cls == &pci_bus_class && p->host == h && p->id == id)
            return true;
    }
    return false;
}

void pci_bus_init(PciBus *b, PciHost *host, PciDevice *bridge, const char *name)
{
    unsigned id = 0;

    while (id_taken(host, id))
        id++;
    bus_init(host->dev.vm, &b->bus, &pci_bus_class, name, bridge ? &bridge->dev : &host->dev);
    b->id = id;
    b->host = host;
    b->bridge = bridge;
    if (bridge)
        bridge->secondary = b;
}

void pci_bus_clear(PciBus *b)
{
    if (!b->host)                       /* realize did not come that far */
        return;
    bus_clear(b->host->dev.vm, &b->bus);
    if (b->bridge)
        b->bridge->secondary = NULL;
}

void pci_each(PciBus *b, void (*fn)(PciDevice *))
{
    for (unsigned i = 0; i < G_N_ELEMENTS(b->functions); i++) {
        if (b->functions[i])
            fn(b->functions[i]);
    }
}

/* The bus on the other side of a bridge of b that says it leads to bus number n. */
static PciBus *next_bus(const PciBus *b, uint8_t n)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(b->functions); i++) {
        PciDevice *d = b->functions[i];

        if (d && d->secondary && d->config[R_SECONDARY] && d->config[R_SECONDARY] <= n && n <= d->config[R_SUBORDINATE])
            return d->secondary;
    }
    return NULL;
}

PciDevice *pci_find(PciBus *root, uint8_t number, uint8_t devfn)
{
    PciBus *b = root;
    uint8_t at = 0;

    while (at != number) {
        b = next_bus(b, number);
        if (!b || b->off)
            return NULL;
        at = b->bridge->config[R_SECONDARY];
    }
    return b->functions[devfn];
}
