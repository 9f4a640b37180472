/* SPDX-License-Identifier: MIT */
/*
 * The PCI Express capability, version 2, and the extended configuration space:
 * PCI Express Base 4.0 sections 7.5.3 and 7.6. Links are what is said of them:
 * always up, at one speed. Advanced Error Reporting is left out.
 */
#include "hw/pci/pci-priv.h"

enum {
    EXT_FIRST = 0x100, SPEED_2_5 = 1, WIDTH_1 = 1 << 4, SPEEDS_2_5 = 2,
    DEVCTL_BITS = 0x78ff,           /* all but the phantom and auxiliary power bits, and the function reset */
    DEVSTA_W1C = 0x0f, LNKCTL_BITS = 0x0bfb, RTCTL_BITS = 0x1f,
};

static bool has_link(uint8_t type)
{
    return type != PORT_INTEGRATED;
}

unsigned pcie_cap(PciDevice *d, uint8_t type)
{
    if (!d->bus->express)
        return 0;                       /* behind a bridge to conventional PCI it is a conventional function */
    if (type == PORT_ENDPOINT && !d->bus->bridge)
        type = PORT_INTEGRATED;
    unsigned at = pci_cap(d, CAP_EXPRESS, E_SIZE, 0);
    uint8_t *c = d->config + at, *w = d->wmask + at;

    d->exp_cap = at;
    d->express = true;
    pci_set16(c + E_FLAGS, 2 | type << 4);
    pci_set32(c + E_DEVCAP, DEVCAP_ROLE_ERRORS);
    pci_set16(w + E_DEVCTL, DEVCTL_BITS);
    pci_set16(d->w1c + at + E_DEVSTA, DEVSTA_W1C);
    if (has_link(type)) {
        pci_set32(c + E_LNKCAP, SPEED_2_5 | WIDTH_1);
        pci_set16(w + E_LNKCTL, LNKCTL_BITS);
        pci_set16(c + E_LNKSTA, SPEED_2_5 | WIDTH_1);
        pci_set32(c + E_LNKCAP2, SPEEDS_2_5);
        pci_set16(c + E_LNKCTL2, SPEED_2_5);
    }
    if (type == PORT_ROOT)
        pci_set16(w + E_RTCTL, RTCTL_BITS);
    return at;
}

void pcie_flr(PciDevice *d)
{
    uint8_t *c = d->config + d->exp_cap;

    if (d->exp_cap)
        pci_set32(c + E_DEVCAP, pci_get32(c + E_DEVCAP) | DEVCAP_FLR);
}

/* A function reset is asked for by a bit that reads as 0. */
static bool asks_flr(PciDevice *d, unsigned off, unsigned len, uint32_t val)
{
    unsigned at = d->exp_cap + E_DEVCTL + 1;        /* the byte with the bit */

    return d->exp_cap && pci_touches(off, len, at, 1) && val >> (at - off) * 8 & DEVCTL_FLR >> 8 &&
           pci_get32(d->config + d->exp_cap + E_DEVCAP) & DEVCAP_FLR;
}

bool pcie_resets(PciDevice *d, unsigned off, unsigned len, uint32_t val)
{
    if (!asks_flr(d, off, len, val))
        return false;
    device_reset(&d->dev);
    return true;
}

/* ---- extended capabilities */

unsigned pcie_ext_cap(PciDevice *d, uint16_t id, uint8_t version, unsigned len)
{
    unsigned at = EXT_FIRST, link = 0;

    if (!d->express)
        return 0;
    /* One behind the other, in the order of making. */
    while (pci_get32(d->config + at)) {
        link = at;
        while (at < PCIE_CONFIG_SIZE && d->used[at])
            at += 4;
    }
    if (at + len > PCIE_CONFIG_SIZE)
        g_error("a PCI function has more capabilities than fit");
    for (unsigned i = 0; i < ((len + 3) & ~3u); i++)
        d->used[at + i] = 1;
    pci_set32(d->config + at, id | (uint32_t)version << 16);
    if (link)
        pci_set32(d->config + link, pci_get32(d->config + link) | at << 20);
    return at;
}
