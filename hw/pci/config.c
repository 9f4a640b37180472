/* SPDX-License-Identifier: MIT */
/*
 * Configuration space: PCI Local Bus 3.0 chapter 6, PCI-to-PCI Bridge 1.2
 * chapter 3. Each bit is read-only, written through `wmask` or cleared by a
 * written 1 through `w1c`; what a write means is looked at after it took effect.
 */
#include <string.h>

#include "hw/pci/pci-priv.h"

enum { RED_HAT = 0x1af4, RED_HAT_SUBSYSTEM = 0x1100 };

/* ---- header */

void pci_config_init(PciDevice *d)
{
    d->config[R_HEADER] = d->multifunction ? HEADER_MULTI : 0;
    pci_set16(d->wmask + R_COMMAND, CMD_IO | CMD_MEMORY | CMD_MASTER | CMD_PARITY | CMD_SERR | CMD_INTX_OFF);
    pci_set16(d->w1c + R_STATUS, STATUS_W1C);
    d->wmask[R_CACHE_LINE] = 0xff;
    d->wmask[R_INT_LINE] = 0xff;
    memset(d->used, 1, R_FIRST_CAP);
}

void pci_identify(PciDevice *d, const PciIds *ids)
{
    pci_set16(d->config + R_VENDOR, ids->vendor);
    pci_set16(d->config + R_DEVICE, ids->device);
    d->config[R_REVISION] = ids->revision;
    d->config[R_CLASS] = ids->class_code;
    pci_set16(d->config + R_CLASS + 1, ids->class_code >> 8);
    if (pci_is_bridge(d))
        return;                         /* its subsystem is a capability */
    pci_set16(d->config + R_SUBVENDOR, ids->subsystem_vendor ? ids->subsystem_vendor : RED_HAT);
    pci_set16(d->config + R_SUBSYSTEM, ids->subsystem_vendor ? ids->subsystem : RED_HAT_SUBSYSTEM);
}

void pci_bridge_header(PciDevice *d)
{
    uint8_t *w = d->wmask, *c = d->config;

    c[R_HEADER] |= 1;
    w[R_PRIMARY] = w[R_SECONDARY] = w[R_SUBORDINATE] = 0xff;
    w[R_LATENCY] = 0xff;
    c[R_IO_BASE] = c[R_IO_LIMIT] = 1;                   /* 32-bit addresses of I/O */
    w[R_IO_BASE] = w[R_IO_LIMIT] = 0xf0;
    pci_set32(w + R_IO_BASE_HIGH, 0xffffffff);
    pci_set16(d->w1c + R_SEC_STATUS, STATUS_W1C);
    pci_set32(w + R_MEM_BASE, 0xfff0fff0);
    pci_set32(c + R_PREF_BASE, 0x00010001);             /* 64-bit addresses */
    pci_set32(w + R_PREF_BASE, 0xfff0fff0);
    pci_set32(w + R_PREF_BASE_HIGH, 0xffffffff);
    pci_set32(w + R_PREF_LIMIT_HIGH, 0xffffffff);
    pci_set16(w + R_BRIDGE_CONTROL, BRIDGE_PARITY | BRIDGE_SERR | BRIDGE_MASTER_ABORT | BRIDGE_RESET);
}

/* ---- capabilities */

static unsigned find_room(const PciDevice *d, unsigned len)
{
    for (unsigned at = R_FIRST_CAP; at + len <= PCI_CONFIG_SIZE; at += 4) {
        unsigned n = 0;

        while (n < len && !d->used[at + n])
            n++;
        if (n == len)
            return at;
    }
    g_error("a PCI function has more capabilities than fit");       /* of ours, whatever the guest does */
}

unsigned pci_cap(PciDevice *d, uint8_t id, unsigned len, unsigned at)
{
    uint8_t *link = &d->config[R_CAPS];

    at = at ? at : find_room(d, len);
    memset(d->used + at, 1, (len + 3) & ~3u);
    /* At the end of the list: readers then find them in the order of making. */
    while (*link)
        link = &d->config[*link + 1];
    *link = at;
    d->config[at] = id;
    d->config[at + 1] = 0;
    d->config[R_STATUS] |= STATUS_CAPS;
    return at;
}

unsigned pci_pm(PciDevice *d)
{
    unsigned at = pci_cap(d, CAP_PM, 8, 0);

    pci_set16(d->config + at + 2, 3);           /* version 1.2; D0 and D3 */
    pci_set16(d->config + at + 4, 8);           /* No_Soft_Reset */
    pci_set16(d->wmask + at + 4, 3);            /* PowerState */
    return at;
}

/* ---- accesses */

uint32_t pci_config_read(PciDevice *d, unsigned off, unsigned len)
{
    uint32_t val = 0;

    if (off + len > pci_config_size(d))
        return UINT32_MAX;
    if (d->config_read)
        d->config_read(d, off, len);
    msi_config_read(d, off, len);
    if (pci_touches(off, len, R_STATUS, 1))
        d->config[R_STATUS] = (d->config[R_STATUS] & ~STATUS_INTX) | (d->intx ? STATUS_INTX : 0);
    memcpy(&val, d->config + off, len);
    return GUINT32_FROM_LE(val);
}

static void command_written(PciDevice *d)
{
    uint16_t command = pci_get16(d->config + R_COMMAND);

    d->master = command & CMD_MASTER;
    pci_intx_update(d);
}

/* What a write meant to the parts of this folder. */
static void take_effect(PciDevice *d, unsigned off, unsigned len)
{
    bool remap = pci_bars_written(d, off, len);

    if (pci_touches(off, len, R_COMMAND, 2)) {
        command_written(d);
        remap = true;
    }
    if (remap)
        pci_remap(d);
    msi_written(d, off, len);
    msix_written(d, off, len);
    if (d->bridge_written)
        d->bridge_written(d, off, len);
}

void pci_config_write(PciDevice *d, unsigned off, uint32_t val, unsigned len)
{
    if (off + len > pci_config_size(d))
        return;
    for (unsigned i = 0; i < len; i++) {
        uint8_t byte = val >> i * 8, *at = &d->config[off + i], w = d->wmask[off + i];

        *at = (*at & ~w) | (byte & w);
        *at &= ~(byte & d->w1c[off + i]);
    }
    take_effect(d, off, len);
    if (pcie_resets(d, off, len, val))
        return;
    if (d->config_written)
        d->config_written(d, off, len);
}

void pci_config_loaded(PciDevice *d)
{
    command_written(d);
    pci_remap(d);
    msi_written(d, 0, pci_config_size(d));
    msix_written(d, 0, pci_config_size(d));
}

void pci_config_reset(PciDevice *d)
{
    if (!d->initial)
        d->initial = g_memdup2(d->config, pci_config_size(d));      /* no guest has seen it yet */
    memcpy(d->config, d->initial, pci_config_size(d));
    pci_intx(d, false);
    command_written(d);
    msi_reset(d);
    msix_reset(d);
    pci_remap(d);
}

/* ---- memory of the machine */

bool pci_may_dma(const PciDevice *d)
{
    return d->master && !d->gone;
}

MemResult pci_dma_read(PciDevice *d, uint64_t addr, void *buf, uint64_t len)
{
    return pci_may_dma(d) ? space_read(d->dev.vm->mem, addr, buf, len) : MEM_DENIED;
}

MemResult pci_dma_write(PciDevice *d, uint64_t addr, const void *buf, uint64_t len)
{
    return pci_may_dma(d) ? space_write(d->dev.vm->mem, addr, buf, len) : MEM_DENIED;
}
