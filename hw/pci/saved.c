/* SPDX-License-Identifier: MIT */
/*
 * Saved form of PCI functions: configuration space is a row (bus.c); here are the
 * MSI-X table, what is pending, and the level of INTx. Once all is loaded,
 * what configuration space says takes effect: mappings, bus mastering, vectors.
 */
#include <string.h>

#include "hw/pci/pci-priv.h"
#include "system/stream.h"

void pci_save(Bus *bus, Device *dev, StateOut *out)
{
    PciDevice *d = (PciDevice *)dev;

    state_put_u64(out, "pci.intx", d->intx);
    if (d->msi)
        state_put_u64(out, "pci.msi-pending", msi_pending(d));
    if (d->msix)
        msix_save(d, out);
}

/* What no guest can write has to be what it is here: another function would be found behind the guest's back. */
static Err *check_config(const PciDevice *d)
{
    static const uint8_t regs[] = { R_VENDOR, R_VENDOR + 1, R_DEVICE, R_DEVICE + 1, R_REVISION, R_CLASS, R_CLASS + 1, R_CLASS + 2,
                                    R_HEADER, R_CAPS, R_INT_PIN };

    for (size_t i = 0; d->initial && i < sizeof(regs); i++) {
        if (d->config[regs[i]] != d->initial[regs[i]])
            return err_hint(err(ERR_INVALID, "register %#x of its configuration space was saved as %#x, and is %#x here", regs[i],
                                d->config[regs[i]], d->initial[regs[i]]), "The device has to be made with the same properties.");
    }
    for (unsigned at = R_FIRST_CAP; d->initial && at < pci_config_size(d); at++) {
        if (d->used[at] && !d->wmask[at] && !d->w1c[at] && (at == d->msi_cap || at == d->msix_cap) && d->config[at] != d->initial[at])
            return err(ERR_INVALID, "its capabilities were saved at other places");
    }
    return NULL;
}

Err *pci_load(Bus *bus, Device *dev, StateIn *in)
{
    PciDevice *d = (PciDevice *)dev;
    uint64_t intx, pending = 0;

    TRY(check_config(d));
    TRY(state_get_u64(in, "pci.intx", 1, &intx));
    if (d->msi)
        TRY(state_get_u64(in, "pci.msi-pending", UINT32_MAX, &pending));
    if (d->msix)
        TRY(msix_load(d, in));
    pci_config_loaded(d);
    if (d->msi)
        msi_set_pending(d, pending);
    pci_intx(d, intx);
    return NULL;
}
