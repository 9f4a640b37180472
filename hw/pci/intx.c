/* SPDX-License-Identifier: MIT */
/*
 * INTA..INTD: levels that functions drive, from any thread, and how they reach
 * the host's four lines. Each bridge turns the pins by the slot behind it
 * (PCI-to-PCI Bridge 1.2, table 9-1), the host by the slot on its bus.
 *
 * The host's intx_lock guards what functions drive and the counts; the receiver
 * of a line is called under it, so that lines change in the order of causes.
 */
#include "hw/pci/pci-priv.h"

void pci_use_intx(PciDevice *d, unsigned pin)
{
    const PciDevice *at = d;

    d->config[R_INT_PIN] = pin;
    pin--;
    for (; at->bus->bridge; at = at->bus->bridge)
        pin += pci_slot(at);
    d->intx_line = (pin + pci_slot(at)) % 4;
}

/* Brings the line up to date; the lock is held. */
static void apply(PciHost *h, PciDevice *d)
{
    bool out = d->intx && !d->intx_off && !d->gone;
    unsigned *count = &h->intx_count[d->intx_line];

    if (out == d->intx_out)
        return;
    d->intx_out = out;
    *count += out ? 1 : -1;
    if (*count == (out ? 1 : 0))
        irq_set(&h->c.irq[d->intx_line], out);
}

void pci_intx(PciDevice *d, bool level)
{
    PciHost *h = d->bus->host;

    if (!d->config[R_INT_PIN])
        return;
    pthread_mutex_lock(&h->intx_lock);
    if (d->intx != level) {
        d->intx = level;
        apply(h, d);
    }
    pthread_mutex_unlock(&h->intx_lock);
}

void pci_intx_update(PciDevice *d)
{
    PciHost *h = d->bus->host;

    if (!d->config[R_INT_PIN])
        return;
    pthread_mutex_lock(&h->intx_lock);
    d->intx_off = pci_get16(d->config + R_COMMAND) & CMD_INTX_OFF;
    apply(h, d);
    pthread_mutex_unlock(&h->intx_lock);
}
