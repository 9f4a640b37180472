/* SPDX-License-Identifier: MIT */
/*
 * Ports of PCI Express: root ports and switches, each a bridge (PCI Express Base
 * 4.0 section 7.1). Root and downstream ports have a slot: slot.c.
 *
 * Left out: Advanced Error Reporting, link speeds, ARI forwarding.
 */
#include <string.h>

#include "hw/core/board.h"
#include "hw/pci/pci-priv.h"

typedef struct PortKind {
    PciIds ids;
    uint8_t type;
    uint8_t msi, msix;                  /* vectors; 0: has none */
    bool reserves;                      /* has the properties that end so */
} PortKind;

enum { ACS_BITS = 0x1d /* source validation, request and completion redirect, upstream forwarding */ };

static void add_acs(PciDevice *d)
{
    unsigned at = pcie_ext_cap(d, EXT_CAP_ACS, 1, 8);

    pci_set16(d->config + at + 4, ACS_BITS);
    pci_set16(d->wmask + at + 6, ACS_BITS);
}

/* ---- what firmware shall set aside for devices that come later: docs/pcie_pci_bridge of its readers */

enum { RESERVE_SIZE = 32, RESERVE_TYPE = 1 };

static Err *add_reserve(PciPort *p)
{
    PciDevice *d = &p->bridge.pci;

    if (p->pref32_reserve != UINT64_MAX && p->pref64_reserve != UINT64_MAX)
        return err(ERR_INVALID, "pref32-reserve and pref64-reserve exclude each other");
    if (p->mem_reserve != UINT64_MAX && p->mem_reserve > UINT32_MAX)
        return err(ERR_INVALID, "mem-reserve must be below 4 GiB");
    if (p->pref32_reserve != UINT64_MAX && p->pref32_reserve > UINT32_MAX)
        return err(ERR_INVALID, "pref32-reserve must be below 4 GiB");
    if ((p->io_reserve & p->mem_reserve & p->pref32_reserve & p->pref64_reserve) == UINT64_MAX && p->bus_reserve == UINT32_MAX)
        return NULL;
    unsigned at = pci_cap(d, CAP_VENDOR, RESERVE_SIZE, 0);
    uint8_t *c = d->config + at;
    c[2] = RESERVE_SIZE;
    c[3] = RESERVE_TYPE;
    pci_set32(c + 4, p->bus_reserve);
    pci_set32(c + 8, p->io_reserve);
    pci_set32(c + 12, p->io_reserve >> 32);
    pci_set32(c + 16, p->mem_reserve);
    pci_set32(c + 20, p->pref32_reserve);
    pci_set32(c + 24, p->pref64_reserve);
    pci_set32(c + 28, p->pref64_reserve >> 32);
    return NULL;
}

/* ---- ports with a slot */

static void slot_port_unrealize(Device *d);

static bool slot_taken(const PciPort *p, uint16_t slot)
{
    for (const Device *d = machine_of(p->bridge.pci.dev.vm)->devices; d; d = d->next) {
        const PciPort *o = (const PciPort *)d;

        if (d->cls->unrealize == slot_port_unrealize && o != p && o->chassis == p->chassis && o->slot == slot)
            return true;
    }
    return false;
}

/* Chassis and slot together name a slot; who gives none gets the next number. */
static Err *number_slot(PciPort *p)
{
    if (p->slot && slot_taken(p, p->slot))
        return err_hint(err(ERR_INVALID, "chassis=%u,slot=%u is another port's", p->chassis, p->slot),
                        "Each port has a slot= (or chassis=) of its own.");
    while (!p->slot && slot_taken(p, p->slot))
        for (p->slot = 1; slot_taken(p, p->slot); p->slot++)
            ;
    return NULL;
}

static Err *port_make(PciPort *p, const PortKind *k)
{
    PciDevice *d = &p->bridge.pci;

    if (!d->bus->express)
        return err_hint(err(ERR_INVALID, "it plugs into PCI Express"), "bus=pcie.0, for example.");
    TRY(number_slot(p));
    pci_bridge_make(&p->bridge, &k->ids, true);
    p->bridge.bus.one_slot = true;
    pcie_cap(d, k->type);
    pci_set32(d->config + d->exp_cap + E_LNKCAP, pci_get32(d->config + d->exp_cap + E_LNKCAP) | (uint32_t)p->port << 24);
    TRY(pci_slot_make(p));
    pci_pm(d);
    pci_use_intx(d, 1);
    unsigned ssvid = pci_cap(d, CAP_SSVID, 8, 0);
    pci_set16(d->config + ssvid + 4, k->ids.vendor);
    if (k->msi)
        TRY(pci_msi(d, k->msi, true));
    if (k->msix)
        TRY(pci_msix(d, k->msix, 0));
    if (k->reserves)
        TRY(add_reserve(p));
    if (!p->no_acs)
        add_acs(d);
    return NULL;
}

static void slot_port_unrealize(Device *d)
{
    pci_bridge_unmake((PciBridge *)d);
}

static void slot_port_reset(Device *d)
{
    pci_slot_reset((PciPort *)d);
}

static Err *slot_port_loaded(Device *d)
{
    TRY(pci_bridge_loaded(d));
    pci_slot_loaded((PciPort *)d);
    return NULL;
}

static Err *root_port_realize(Device *d)
{
    static const PortKind kind = {
        .ids = { .vendor = 0x1b36, .device = 0x000c, .class_code = 0x060400 }, .type = PORT_ROOT, .msix = 1,
        .reserves = true,
    };

    return port_make((PciPort *)d, &kind);
}

static Err *ioh3420_realize(Device *d)
{
    static const PortKind kind = {
        .ids = { .vendor = 0x8086, .device = 0x3420, .revision = 2, .class_code = 0x060400 }, .type = PORT_ROOT, .msi = 2,
    };

    return port_make((PciPort *)d, &kind);
}

static Err *downstream_realize(Device *d)
{
    static const PortKind kind = {
        .ids = { .vendor = 0x104c, .device = 0x8233, .revision = 1, .class_code = 0x060400 },
        .type = PORT_DOWNSTREAM, .msi = 1,
    };
    const PciDevice *above = ((PciDevice *)d)->bus->bridge;

    if (!above || !above->exp_cap || (pci_get16(above->config + above->exp_cap + E_FLAGS) >> 4 & 15) != PORT_UPSTREAM)
        return err_hint(err(ERR_INVALID, "it belongs on the bus of an upstream port"), "-device x3130-upstream,id=ID,bus=PORT "
                        "makes one: bus=ID.");
    return port_make((PciPort *)d, &kind);
}

#define SLOT_PROPS                                                                                              \
    PROP(PciPort, chassis, .def = "0", .doc = "number of the chassis, for the slot's name"),                    \
    PROP(PciPort, slot, .def = "0", .doc = "number of the slot in it; 0: a free one"),                          \
    PROP(PciPort, port, .def = "0", .doc = "port number"),                                                      \
    PROP(PciPort, hotplug, .def = "on", .doc = "devices come and go while the machine runs"),                   \
    PROP(PciPort, has_power, .as = "power_controller_present", .def = "on", .doc = "the guest switches the slot's power"), \
    PROP(PciPort, no_acs, .as = "disable-acs", .def = "off", .doc = "no Access Control Services")

#define NO_RESERVE .def = "18446744073709551615"
static const Field root_port_fields[] = {
    SLOT_PROPS,
    PROP(PciPort, bus_reserve, .def = "4294967295", .doc = "bus numbers that firmware sets aside"),
    PROP(PciPort, io_reserve, .units = true, NO_RESERVE, .doc = "bytes of I/O ports that firmware sets aside"),
    PROP(PciPort, mem_reserve, .units = true, NO_RESERVE, .doc = "bytes of memory that firmware sets aside"),
    PROP(PciPort, pref32_reserve, .units = true, NO_RESERVE, .doc = "of prefetchable memory below 4 GiB"),
    PROP(PciPort, pref64_reserve, .units = true, NO_RESERVE, .doc = "of prefetchable memory anywhere"),
    {0}
};
static const Field slot_port_fields[] = { SLOT_PROPS, {0} };

DEVICE(pcie_root_port) = {
    .name = "pcie-root-port", .bus = "pci", .doc = "PCI Express root port, with a slot for hotplug",
    .size = sizeof(PciPort), .base = pci_fields, .fields = root_port_fields,
    .realize = root_port_realize, .unrealize = slot_port_unrealize, .reset = slot_port_reset,
    .loaded = slot_port_loaded,
};
DEVICE(ioh3420) = {
    .name = "ioh3420", .bus = "pci", .doc = "Intel's PCI Express root port, with a slot for hotplug",
    .size = sizeof(PciPort), .base = pci_fields, .fields = slot_port_fields,
    .realize = ioh3420_realize, .unrealize = slot_port_unrealize, .reset = slot_port_reset,
    .loaded = slot_port_loaded,
};
DEVICE(xio3130_downstream) = {
    .name = "xio3130-downstream", .bus = "pci", .doc = "downstream port of a PCI Express switch, with a slot for hotplug",
    .size = sizeof(PciPort), .base = pci_fields, .fields = slot_port_fields,
    .realize = downstream_realize, .unrealize = slot_port_unrealize, .reset = slot_port_reset,
    .loaded = slot_port_loaded,
};

/* ---- the upstream port of a switch: nothing but a bridge */

static Err *upstream_realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x104c, .device = 0x8232, .revision = 2, .class_code = 0x060400 };
    PciBridge *b = (PciBridge *)d;

    if (!b->pci.bus->express)
        return err_hint(err(ERR_INVALID, "it plugs into PCI Express"), "bus=ID of a pcie-root-port, for example.");
    pci_bridge_make(b, &ids, true);
    pcie_cap(&b->pci, PORT_UPSTREAM);
    pci_pm(&b->pci);
    return NULL;
}

static void upstream_unrealize(Device *d)
{
    pci_bridge_unmake((PciBridge *)d);
}

DEVICE(x3130_upstream) = {
    .name = "x3130-upstream", .bus = "pci", .doc = "upstream port of a PCI Express switch",
    .size = sizeof(PciBridge), .base = pci_fields, .realize = upstream_realize, .unrealize = upstream_unrealize,
    .loaded = pci_bridge_loaded,
};
