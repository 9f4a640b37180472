/* SPDX-License-Identifier: MIT */
/*
 * A PCI Express host bridge without registers of its own: configuration space
 * in memory (ECAM, PCI Express Base 4.0 section 7.2.2) and windows for BARs.
 * Firmware and guests know where they are by the device tree or ACPI. Where
 * nobody is, reads give all ones.
 */
#include "hw/pci/pci-priv.h"

enum { ECAM_BUS = 20, ECAM_DEVFN = 12 };

static PciDevice *target(PciHost *h, uint64_t off)
{
    return pci_find(&h->root, off >> ECAM_BUS, off >> ECAM_DEVFN);
}

static uint64_t ecam_read(void *opaque, uint64_t off, unsigned size)
{
    PciDevice *d = target(opaque, off);

    return d ? pci_config_read(d, off & (PCIE_CONFIG_SIZE - 1), size) : UINT64_MAX;
}

static void ecam_write(void *opaque, uint64_t off, uint64_t val, unsigned size)
{
    PciDevice *d = target(opaque, off);

    if (d)
        pci_config_write(d, off & (PCIE_CONFIG_SIZE - 1), val, size);
}

static uint64_t nobody_read(void *opaque, uint64_t off, unsigned size)
{
    return UINT64_MAX;
}

static const IoOps ecam_io = { .read = ecam_read, .write = ecam_write, .min = 1, .max = 4 };
static const IoOps nobody_io = { .read = nobody_read };

static const Field host_fields[] = {
    LINK(PciHost, ecam, .ops = &ecam_io),
    LINK(PciHost, mmio, .ops = &nobody_io, .nolock = true),
    LINK(PciHost, high, .ops = &nobody_io, .nolock = true),
    LINK(PciHost, pio, .ops = &nobody_io, .nolock = true),
    {0}
};

static Err *map(PciHost *h, Region *r, const char *name, uint64_t base, uint64_t size)
{
    r->name = name;
    r->size = size;
    return size ? space_map(h->dev.vm->mem, base, r, 0) : NULL;
}

/* ---- function 00.0, as guests expect one there */

static Err *root_realize(Device *d)
{
    static const PciIds ids = { .vendor = 0x1b36, .device = 0x0008, .class_code = 0x060000 };

    pci_identify((PciDevice *)d, &ids);
    return NULL;
}

DEVICE(gpex_root) = {
    .name = "gpex-root", .bus = BUS_SYSTEM, .doc = "the host bridge as a function on its bus",
    .size = sizeof(PciDevice), .base = pci_fields, .realize = root_realize,
};

static Err *make_root(PciHost *h)
{
    Device *d = device_new(h->dev.vm, &device_gpex_root);
    Err *e = device_set_prop(d, "addr", "0");

    if (!e)
        e = device_plug(d, &h->root.bus);
    if (e)
        device_free(d);
    return e;
}

/* ---- life */

static Err *host_realize(Device *d)
{
    PciHost *h = (PciHost *)d;
    const PciHostConfig *c = &h->c;

    pthread_mutex_init(&h->intx_lock, NULL);
    pci_bus_init(&h->root, h, NULL, c->name);
    h->root.express = true;
    TRY(map(h, &h->ecam, "pcie-ecam", c->ecam, c->ecam_size));
    TRY(map(h, &h->mmio, "pcie-mmio", c->mmio, c->mmio_size));
    TRY(map(h, &h->high, "pcie-mmio-high", c->high, c->high_size));
    TRY(map(h, &h->pio, "pcie-pio", c->pio, c->pio_size));
    return make_root(h);
}

static void host_unrealize(Device *d)
{
    PciHost *h = (PciHost *)d;

    pci_bus_clear(&h->root);
    pthread_mutex_destroy(&h->intx_lock);
}

/* The name is that of PCI's first host bridges: what firmware looks for, wherever the bridge is. */
static char *root_path(const Device *d)
{
    return g_strdup("/pci@i0cf8");
}

DEVICE(gpex) = {
    .name = "gpex-pcihost", .bus = BUS_SYSTEM, .doc = "PCI Express host bridge",
    .size = sizeof(PciHost), .fields = host_fields, .realize = host_realize, .unrealize = host_unrealize,
    .root_path = root_path,
};

Err *pci_host_make(Vm *vm, const PciHostConfig *c, PciBus **out)
{
    PciHost *h = (PciHost *)device_new(vm, &device_gpex);

    h->c = *c;
    Err *e = device_realize(&h->dev);
    if (e)
        device_free(&h->dev);
    else
        *out = &h->root;
    return err_in(e, "PCI host bridge");
}
