/* SPDX-License-Identifier: MIT */
/* PCI functions as the guest sees them: from their configuration spaces. */
#include "hw/core/board.h"
#include "hw/pci/pci.h"
#include "monitor/monitor-priv.h"

/* Base classes and subclasses that have a name (PCI Code and ID Assignment, 1). */
static const struct { uint16_t class; const char *name; } classes[] = {
    { 0x0100, "SCSI controller" }, { 0x0101, "IDE controller" }, { 0x0106, "SATA controller" }, { 0x0108, "NVMe controller" },
    { 0x0200, "Ethernet controller" }, { 0x0300, "VGA controller" }, { 0x0380, "Display controller" }, { 0x0401, "Audio controller" },
    { 0x0403, "Audio controller" }, { 0x0600, "Host bridge" }, { 0x0601, "ISA bridge" }, { 0x0604, "PCI bridge" },
    { 0x0700, "Serial port" }, { 0x0780, "Communication controller" }, { 0x0c03, "USB controller" }, { 0x0c05, "SMBus" },
};

static const char *class_name(unsigned class)
{
    for (size_t i = 0; i < G_N_ELEMENTS(classes); i++) {
        if (classes[i].class == class)
            return classes[i].name;
    }
    return NULL;
}

static json_t *regions(const PciDevice *d)
{
    json_t *list = json_array();

    for (int i = 0; i < PCI_BARS; i++) {
        const PciBar *b = &d->bars[i];
        bool io = b->kind == PCI_BAR_IO;

        if (b->kind == PCI_BAR_NONE)
            continue;
        json_t *v = json_pack("{s:i, s:s, s:I, s:I}", "bar", i, "type", io ? "io" : "memory", "address", (json_int_t)b->at, "size",
                              (json_int_t)b->region->size);
        if (!io) {
            json_object_set_new(v, "prefetch", json_boolean(b->kind == PCI_BAR_MEM64_PREFETCH));
            json_object_set_new(v, "mem_type_64", json_boolean(b->kind != PCI_BAR_MEM32));
        }
        json_array_append_new(list, v);
    }
    return list;
}

static json_t *devices(PciBus *b, unsigned number);

static json_t *range(uint64_t base, uint64_t limit)
{
    return json_pack("{s:I, s:I}", "base", (json_int_t)base, "limit", (json_int_t)limit);
}

/* PCI-to-PCI Bridge 1.2, 3.2.5: windows. */
static json_t *bridge(PciDevice *d)
{
    const uint8_t *c = d->config;
    uint64_t pbase = (uint64_t)(pci_get16(c + 0x24) & 0xfff0) << 16 | (uint64_t)pci_get32(c + 0x28) << 32;
    uint64_t plimit = (uint64_t)(pci_get16(c + 0x26) & 0xfff0) << 16 | 0xfffff | (uint64_t)pci_get32(c + 0x2c) << 32;
    json_t *v = json_pack("{s:{s:i, s:i, s:i, s:o, s:o, s:o}}", "bus", "number", c[0x18], "secondary", c[0x19], "subordinate", c[0x1a],
                          "io_range", range((uint64_t)(c[0x1c] & 0xf0) << 8 | (uint64_t)pci_get16(c + 0x30) << 16,
                                            (uint64_t)(c[0x1d] & 0xf0) << 8 | 0xfff | (uint64_t)pci_get16(c + 0x32) << 16),
                          "memory_range", range((uint64_t)(pci_get16(c + 0x20) & 0xfff0) << 16,
                                                (uint64_t)(pci_get16(c + 0x22) & 0xfff0) << 16 | 0xfffff),
                          "prefetchable_range", range(pbase, plimit));

    if (c[0x19])                        /* no number yet: nobody can reach what is behind */
        json_object_set_new(v, "devices", devices(d->secondary, c[0x19]));
    return v;
}

static json_t *function(PciDevice *d, unsigned bus)
{
    const uint8_t *c = d->config;
    unsigned class = pci_get16(c + 0x0a);
    json_t *what = json_pack("{s:i}", "class", class), *id = json_pack("{s:i, s:i}", "device", pci_get16(c + 2), "vendor", pci_get16(c));
    json_t *v = json_pack("{s:i, s:i, s:i, s:i, s:s, s:o, s:o, s:o}", "bus", bus, "slot", d->devfn >> 3, "function", d->devfn & 7,
                          "irq_pin", c[0x3d], "qdev_id", d->dev.id ? d->dev.id : "", "class_info", what, "id", id, "regions", regions(d));

    if (class_name(class))
        json_object_set_new(what, "desc", json_string(class_name(class)));
    if (c[0x3d])
        json_object_set_new(v, "irq", json_integer(c[0x3c]));
    if (d->secondary) {
        json_object_set_new(v, "pci_bridge", bridge(d));
    } else {
        json_object_set_new(id, "subsystem", json_integer(pci_get16(c + 0x2e)));
        json_object_set_new(id, "subsystem-vendor", json_integer(pci_get16(c + 0x2c)));
    }
    return v;
}

static json_t *devices(PciBus *b, unsigned number)
{
    json_t *list = json_array();

    for (int i = 0; i < 256; i++) {
        if (b->functions[i])
            json_array_append_new(list, function(b->functions[i], number));
    }
    return list;
}

Err *qmp_query_pci(Monitor *m, const QueryPciArgs *args, json_t **ret)
{
    *ret = json_array();
    for (Bus *b = machine_of(m->vm)->buses; b; b = b->next) {
        if (b->cls == &pci_bus_class && !((PciBus *)b)->bridge)
            json_array_append_new(*ret, json_pack("{s:i, s:o}", "bus", 0, "devices", devices((PciBus *)b, 0)));
    }
    return NULL;
}
