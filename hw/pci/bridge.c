/* SPDX-License-Identifier: MIT */
/*
 * Bridges: PCI-to-PCI Bridge Architecture 1.2. What every bridge does (a second
 * bus, windows, Secondary Bus Reset), and those that lead to conventional PCI.
 *
 * Nothing is plugged in behind conventional bridges while the machine runs: the
 * Standard Hot-Plug Controller (shpc=) is left out.
 */
#include <string.h>

#include "hw/pci/pci-priv.h"

/* ---- what all have */

static void reset_all(PciDevice *d)
{
    device_reset(&d->dev);
    if (d->secondary)
        pci_each(d->secondary, reset_all);
}

static void bridge_written(PciDevice *d, unsigned off, unsigned len)
{
    PciBridge *b = (PciBridge *)d;
    bool reset = pci_get16(d->config + R_BRIDGE_CONTROL) & BRIDGE_RESET;

    if (reset && !b->in_reset)
        pci_each(&b->bus, reset_all);
    b->in_reset = reset;
}

static char *bus_name(const PciBridge *b, unsigned n)
{
    char *name = b->pci.dev.id ? g_strdup(b->pci.dev.id) : g_strdup_printf("pci.%u", n);

    while (bus_find(b->pci.dev.vm, name)) {
        g_free(name);
        name = g_strdup_printf("pci.%u", ++n);
    }
    return name;
}

void pci_bridge_make(PciBridge *b, const PciIds *ids, bool express)
{
    g_autofree char *name = bus_name(b, 1);

    pci_bridge_header(&b->pci);
    pci_identify(&b->pci, ids);
    pci_bus_init(&b->bus, b->pci.bus->host, &b->pci, name);
    b->bus.express = express;
    b->pci.bridge_written = bridge_written;
}

void pci_bridge_unmake(PciBridge *b)
{
    pci_bus_clear(&b->bus);
}

static void unrealize(Device *d)
{
    pci_bridge_unmake((PciBridge *)d);
}

/* Whose bridge it is: bridges have no subsystem registers. */
static void add_subsystem(PciDevice *d, uint16_t vendor)
{
    unsigned at = pci_cap(d, CAP_SSVID, 8, 0);

    pci_set16(d->config + at + 4, vendor);
}

/* ---- to conventional PCI */

static const char *const auto_names[] = { "auto", "on", "off", NULL };
typedef struct PlainBridge { PciBridge bridge; uint8_t msi, chassis; bool shpc; } PlainBridge;

static Err *pcie_pci_realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x1b36, .device = 0x000e, .class_code = 0x060400 };
    PlainBridge *b = (PlainBridge *)d;

    if (!b->bridge.pci.bus->express)
        return err_hint(err(ERR_INVALID, "it plugs into PCI Express"), "Behind conventional PCI: -device pci-bridge.");
    pci_bridge_make(&b->bridge, &ids, false);
    pcie_cap(&b->bridge.pci, PORT_TO_PCI);
    pci_pm(&b->bridge.pci);
    add_subsystem(&b->bridge.pci, ids.vendor);
    return b->msi == 1 ? pci_msi(&b->bridge.pci, 1, true) : NULL;
}

static const Field pcie_pci_fields[] = {
    PROP(PlainBridge, msi, .def = "auto", .names = auto_names, .doc = "the bridge itself has MSI; it has nothing to say by it"),
    {0}
};

/* Secondary Bus Reset was loaded, not written: nothing is reset by it. */
Err *pci_bridge_loaded(Device *d)
{
    PciBridge *b = (PciBridge *)d;

    b->in_reset = pci_get16(b->pci.config + R_BRIDGE_CONTROL) & BRIDGE_RESET;
    return NULL;
}

DEVICE(pcie_pci_bridge) = {
    .name = "pcie-pci-bridge", .bus = "pci", .doc = "bridge from PCI Express to conventional PCI",
    .size = sizeof(PlainBridge), .base = pci_fields, .fields = pcie_pci_fields,
    .realize = pcie_pci_realize, .unrealize = unrealize, .loaded = pci_bridge_loaded,
};

static Err *pci_bridge_realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x1b36, .device = 0x0001, .class_code = 0x060400 };
    PlainBridge *b = (PlainBridge *)d;

    if (b->shpc)
        return err_hint(err(ERR_UNSUPPORTED, "shpc=on: there is no Standard Hot-Plug Controller"),
                        "A pcie-root-port takes devices while the machine runs.");
    pci_bridge_make(&b->bridge, &ids, false);
    unsigned at = pci_cap(&b->bridge.pci, CAP_SLOT_ID, 4, 0);
    b->bridge.pci.config[at + 3] = b->chassis;
    return b->msi == 1 ? pci_msi(&b->bridge.pci, 1, true) : NULL;
}

static const Field pci_bridge_fields[] = {
    PROP(PlainBridge, chassis, .as = "chassis_nr", .def = "0", .doc = "number of its chassis, for slot names"),
    PROP(PlainBridge, msi, .def = "auto", .names = auto_names, .doc = "the bridge itself has MSI; it has nothing to say by it"),
    PROP(PlainBridge, shpc, .def = "off", .doc = "Standard Hot-Plug Controller: not there"),
    {0}
};

DEVICE(pci_bridge) = {
    .name = "pci-bridge", .bus = "pci", .doc = "bridge from conventional PCI to more of it",
    .size = sizeof(PlainBridge), .base = pci_fields, .fields = pci_bridge_fields,
    .realize = pci_bridge_realize, .unrealize = unrealize, .loaded = pci_bridge_loaded,
};

static Err *i82801b11_realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x8086, .device = 0x244e, .revision = 0x92, .class_code = 0x060401 };
    PciBridge *b = (PciBridge *)d;

    pci_bridge_make(b, &ids, false);
    add_subsystem(&b->pci, 0);
    return NULL;
}

DEVICE(i82801b11_bridge) = {
    .name = "i82801b11-bridge", .bus = "pci", .doc = "Intel's bridge from a root complex to conventional PCI",
    .size = sizeof(PciBridge), .base = pci_fields, .realize = i82801b11_realize, .unrealize = unrealize, .loaded = pci_bridge_loaded,
};
