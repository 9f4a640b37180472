/* SPDX-License-Identifier: MIT */
/*
 * Message-signalled interrupts: PCI Local Bus 3.0 section 6.8.1. The capability
 * has 64-bit addresses, and masks if the function wants them.
 *
 * What the guest wrote is kept beside the configuration space under a lock of
 * its own, so that any thread may notify; a message is sent under it, so that
 * none comes after the guest masked it.
 */
#include "hw/pci/pci-priv.h"
#include "system/msi.h"

enum {
    M_CONTROL = 2, M_ADDR = 4, M_DATA = 0xc, M_MASK = 0x10, M_PENDING = 0x14, M_SIZE = 14, M_SIZE_MASK = 24,
    CTRL_ENABLE = 1, CTRL_LOG_CAPABLE = 1, CTRL_LOG_ENABLED = 4, CTRL_64 = 0x80, CTRL_MASK = 0x100,
    MSI_MAX = 32,
};

struct Msi {
    pthread_mutex_t lock;       /* a leaf but for what msi_send takes */
    bool has_mask, on;
    unsigned enabled;           /* vectors that the guest gave, a power of two */
    uint64_t addr;
    uint16_t data;
    uint32_t mask, pending;
};

Err *pci_msi(PciDevice *d, unsigned vectors, bool mask)
{
    if (!vectors || vectors > MSI_MAX || vectors & (vectors - 1))
        return err(ERR_INVALID, "%u MSI vectors: it is a power of two, up to %d", vectors, MSI_MAX);
    unsigned at = pci_cap(d, CAP_MSI, mask ? M_SIZE_MASK : M_SIZE, 0);
    unsigned capable = __builtin_ctz(vectors);

    pci_set16(d->config + at + M_CONTROL, capable << CTRL_LOG_CAPABLE | CTRL_64 | (mask ? CTRL_MASK : 0));
    pci_set16(d->wmask + at + M_CONTROL, CTRL_ENABLE | 7 << CTRL_LOG_ENABLED);
    pci_set32(d->wmask + at + M_ADDR, 0xfffffffc);
    pci_set32(d->wmask + at + M_ADDR + 4, 0xffffffff);
    pci_set16(d->wmask + at + M_DATA, 0xffff);
    if (mask)
        pci_set32(d->wmask + at + M_MASK, 0xffffffff >> (MSI_MAX - vectors));
    d->msi = g_new0(Msi, 1);
    pthread_mutex_init(&d->msi->lock, NULL);
    d->msi->has_mask = mask;
    d->msi_cap = at;
    return NULL;
}

static void send(PciDevice *d, unsigned vector)
{
    const Msi *m = d->msi;

    if (pci_may_dma(d))
        msi_send(d->dev.vm, m->addr, (m->data & ~(m->enabled - 1)) | vector);
}

static void send_pending(PciDevice *d)
{
    Msi *m = d->msi;
    uint32_t due = m->on ? m->pending & ~m->mask : 0;

    m->pending &= ~due;
    for (; due; due &= due - 1)
        send(d, __builtin_ctz(due));
}

/* The guest wrote to [off, off+len), which config[] has. */
void msi_written(PciDevice *d, unsigned off, unsigned len)
{
    const uint8_t *c = d->config + d->msi_cap;
    Msi *m = d->msi;

    if (!m || !pci_touches(off, len, d->msi_cap, m->has_mask ? M_SIZE_MASK : M_SIZE))
        return;
    uint16_t control = pci_get16(c + M_CONTROL);
    /* More than it can: what it can. */
    unsigned capable = control >> CTRL_LOG_CAPABLE & 7, asked = control >> CTRL_LOG_ENABLED & 7;
    pthread_mutex_lock(&m->lock);
    m->on = control & CTRL_ENABLE;
    m->enabled = 1u << MIN(asked, capable);
    m->addr = pci_get32(c + M_ADDR) | (uint64_t)pci_get32(c + M_ADDR + 4) << 32;
    m->data = pci_get16(c + M_DATA);
    m->mask = m->has_mask ? pci_get32(c + M_MASK) : 0;
    send_pending(d);
    pthread_mutex_unlock(&m->lock);
}

void msi_config_read(PciDevice *d, unsigned off, unsigned len)
{
    Msi *m = d->msi;

    if (!m || !m->has_mask || !pci_touches(off, len, d->msi_cap + M_PENDING, 4))
        return;
    pthread_mutex_lock(&m->lock);
    pci_set32(d->config + d->msi_cap + M_PENDING, m->pending);
    pthread_mutex_unlock(&m->lock);
}

bool msi_on(const PciDevice *d)
{
    if (!d->msi)
        return false;
    pthread_mutex_lock(&d->msi->lock);
    bool on = d->msi->on;
    pthread_mutex_unlock(&d->msi->lock);
    return on;
}

void msi_notify(PciDevice *d, unsigned vector)
{
    Msi *m = d->msi;

    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    /* Who has more to say than the guest has vectors for says it by the first ones. */
    vector &= m->enabled - 1;
    if (m->on && m->mask >> vector & 1)
        m->pending |= UINT32_C(1) << vector;
    else if (m->on)
        send(d, vector);
    pthread_mutex_unlock(&m->lock);
}

uint32_t msi_pending(PciDevice *d)
{
    pthread_mutex_lock(&d->msi->lock);
    uint32_t pending = d->msi->pending;
    pthread_mutex_unlock(&d->msi->lock);
    return pending;
}

void msi_set_pending(PciDevice *d, uint32_t pending)
{
    pthread_mutex_lock(&d->msi->lock);
    d->msi->pending = pending;
    pthread_mutex_unlock(&d->msi->lock);
}

void msi_reset(PciDevice *d)
{
    Msi *m = d->msi;

    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->on = false;
    m->pending = m->mask = 0;
    m->enabled = 1;
    pthread_mutex_unlock(&m->lock);
}

void msi_free(PciDevice *d)
{
    if (!d->msi)
        return;
    pthread_mutex_destroy(&d->msi->lock);
    g_free(d->msi);
    d->msi = NULL;
}
