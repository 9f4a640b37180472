/* SPDX-License-Identifier: MIT */
/* The driver of virtio-driver.h over PCI: configuration space by ECAM, BARs placed by hand, MSI-X to a range of the test's own. */
#ifndef TESTS_DEV_VIRTIO_PCI_DRIVER_H
#define TESTS_DEV_VIRTIO_PCI_DRIVER_H

#include "system/msi.h"
#include "tests/dev/virtio-driver.h"

#define VP_ECAM UINT64_C(0x30000000)
#define VP_MMIO UINT64_C(0x40000000)
#define VP_PIO  UINT64_C(0x03000000)
#define VP_MSI  UINT64_C(0x28000000)

typedef struct Vp {
    uint64_t cfg;                       /* its configuration space */
    uint64_t mem;                       /* its memory BARs begin here */
    uint64_t bar[6];                    /* addresses; I/O: within VP_PIO */
    uint64_t common, isr, device, notify;
    uint32_t step;
    unsigned msix, notify_cap, pci_cfg;
    _Atomic unsigned messages[16];      /* by data */
} Vp;

static inline uint32_t vp_cfg(Vd *d, unsigned off, unsigned size) { return rd(d->r, ((Vp *)d->more)->cfg + off, size); }
static inline void vp_set_cfg(Vd *d, unsigned off, uint32_t v, unsigned size) { wr(d->r, ((Vp *)d->more)->cfg + off, v, size); }
/* Common configuration. */
static inline uint32_t vp_rd(Vd *d, unsigned off, unsigned size) { return rd(d->r, ((Vp *)d->more)->common + off, size); }
static inline void vp_wr(Vd *d, unsigned off, uint32_t v, unsigned size) { wr(d->r, ((Vp *)d->more)->common + off, v, size); }

VD_UNUSED static void vp_message(void *opaque, uint64_t off, uint32_t data)
{
    Vp *p = opaque;

    if (data < 16)
        p->messages[data]++;
}

/* Gives each BAR an address; the kinds are what the device says. */
VD_UNUSED static void vp_place(Vd *d)
{
    Vp *p = d->more;
    uint64_t mem = p->mem, io = 0x1000;

    for (unsigned i = 0; i < 6; i++) {
        unsigned reg = 0x10 + 4 * i;
        uint32_t was = vp_cfg(d, reg, 4);

        vp_set_cfg(d, reg, 0xffffffff, 4);
        uint32_t mask = vp_cfg(d, reg, 4);
        if (!mask)
            continue;
        uint64_t size = -(uint64_t)(int32_t)(mask & (was & 1 ? ~3u : ~15u)), *at = was & 1 ? &io : &mem;
        *at = (*at + size - 1) & ~(size - 1);
        vp_set_cfg(d, reg, *at, 4);
        p->bar[i] = was & 1 ? VP_PIO + *at : *at;
        *at += size;
        if ((was & 7) == 4) {
            vp_set_cfg(d, reg + 4, 0, 4);
            i++;
        }
    }
}

VD_UNUSED static void vp_caps(Vd *d)
{
    Vp *p = d->more;
    int left = 48;

    for (unsigned at = vp_cfg(d, 0x34, 1); at && left--; at = vp_cfg(d, at + 1, 1)) {
        unsigned id = vp_cfg(d, at, 1), type = vp_cfg(d, at + 3, 1);
        uint64_t where = p->bar[vp_cfg(d, at + 4, 1) % 6] + vp_cfg(d, at + 8, 4);

        if (id == 0x11)
            p->msix = at;
        if (id != 9)
            continue;
        switch (type) {
        case 1: p->common = where; break;
        case 2:
            if (!p->notify) {
                p->notify = where;
                p->step = vp_cfg(d, at + 16, 4);
                p->notify_cap = at;
            }
            break;
        case 3: p->isr = where; break;
        case 4: p->device = where; break;
        case 5: p->pci_cfg = at; break;
        }
    }
}

VD_UNUSED static uint8_t vp_status(Vd *d) { return vp_rd(d, 0x14, 1); }
VD_UNUSED static void vp_set_status(Vd *d, uint8_t s) { vp_wr(d, 0x14, s, 1); }
VD_UNUSED static uint64_t vp_features(Vd *d)
{
    vp_wr(d, 0, 1, 4);
    uint64_t f = (uint64_t)vp_rd(d, 4, 4) << 32;
    vp_wr(d, 0, 0, 4);
    return f | vp_rd(d, 4, 4);
}
VD_UNUSED static void vp_set_features(Vd *d, uint64_t f)
{
    for (unsigned i = 0; i < 2; i++) {
        vp_wr(d, 8, i, 4);
        vp_wr(d, 12, f >> 32 * i, 4);
    }
}
VD_UNUSED static unsigned vp_queue_max(Vd *d, unsigned n)
{
    vp_wr(d, 0x16, n, 2);
    return vp_rd(d, 0x18, 2);
}
VD_UNUSED static void vp_queue_on(Vd *d, unsigned n, unsigned size, const uint64_t at[3])
{
    vp_wr(d, 0x16, n, 2);
    vp_wr(d, 0x18, size, 2);
    for (int i = 0; i < 3; i++) {
        vp_wr(d, 0x20 + 8 * i, at[i], 4);
        vp_wr(d, 0x24 + 8 * i, at[i] >> 32, 4);
    }
    vp_wr(d, 0x1c, 1, 2);
}
VD_UNUSED static void vp_queue_reset(Vd *d, unsigned n)
{
    vp_wr(d, 0x16, n, 2);
    vp_wr(d, 0x3a, 1, 2);
}
VD_UNUSED static void vp_kick(Vd *d, unsigned n)
{
    const Vp *p = d->more;

    wr(d->r, p->notify + n * p->step, n, 2);
}
VD_UNUSED static uint32_t vp_config(Vd *d, unsigned off, unsigned size) { return rd(d->r, ((Vp *)d->more)->device + off, size); }
VD_UNUSED static void vp_set_config(Vd *d, unsigned off, uint32_t v, unsigned size) { wr(d->r, ((Vp *)d->more)->device + off, v, size); }
VD_UNUSED static uint8_t vp_isr(Vd *d) { return rd(d->r, ((Vp *)d->more)->isr, 1); }
VD_UNUSED static const VdTransport vd_pci = {
    vp_status, vp_set_status, vp_features, vp_set_features, vp_queue_max, vp_queue_on, vp_queue_reset, vp_kick, vp_config,
    vp_set_config, vp_isr,
};

/* The function whose configuration space is there, its memory BARs from `mem` on. `p` lives as long as d. */
VD_UNUSED static void vd_open_pci_at(Vd *d, Vp *p, Rig *r, uint64_t at, uint64_t mem)
{
    memset(d, 0, sizeof(*d));
    memset(p, 0, sizeof(*p));
    *d = (Vd){ .r = r, .t = &vd_pci, .heap = VD_RAM + 0x100000, .more = p };
    p->cfg = at;
    p->mem = mem;
    vp_place(d);
    vp_caps(d);
    vp_set_cfg(d, 4, 7, 2);
}

/* That devfn of bus 0. */
VD_UNUSED static void vd_open_pci(Vd *d, Vp *p, Rig *r, unsigned devfn)
{
    vd_open_pci_at(d, p, r, VP_ECAM + (devfn << 12), VP_MMIO);
}

/* MSI-X on: vector n sends data n to the test, unmasked. */
VD_UNUSED static void vp_use_msix(Vd *d, unsigned vectors)
{
    Vp *p = d->more;
    uint64_t table = p->bar[vp_cfg(d, p->msix + 4, 4) & 7];

    rig_must(msi_claim(d->r->vm, VP_MSI, 0x1000, vp_message, p));
    for (unsigned i = 0; i < vectors; i++) {
        wr32(d->r, table + 16 * i, VP_MSI);
        wr32(d->r, table + 16 * i + 4, 0);
        wr32(d->r, table + 16 * i + 8, i);
        wr32(d->r, table + 16 * i + 12, 0);
    }
    vp_set_cfg(d, p->msix + 2, 0x8000, 2);
}

#endif
