/* SPDX-License-Identifier: MIT */
/*
 * virtio devices as PCI functions: a VirtioPci makes the device as its `inner`.
 * A kind of device has three names:
 *
 *   DEVICE(virtio_x_pci)              = VIRTIO_PCI("virtio-x-pci", device_virtio_x, "doc", .alias = "virtio-x");
 *   DEVICE(virtio_x_pci_transitional) = VIRTIO_PCI_TRANSITIONAL("virtio-x-pci-transitional", device_virtio_x, "doc");
 *   DEVICE(virtio_x_pci_modern)       = VIRTIO_PCI_MODERN("virtio-x-pci-non-transitional", device_virtio_x, "doc");
 */
#ifndef HW_VIRTIO_PCI_H
#define HW_VIRTIO_PCI_H

#include "hw/pci/pci.h"
#include "hw/virtio/virtio.h"

typedef struct VirtioPci {
    PciDevice pci;
    VirtioBus bus;                      /* of the inner device alone */
    /* properties */
    uint8_t disable_legacy;             /* virtio_pci_legacy_names */
    bool disable_modern, ioeventfd, modern_pio_notify, page_per_vq, ats, aer;
    uint32_t vectors;                   /* UINT32_MAX: one for each queue, and one */
    bool legacy, modern;                /* which interfaces there are */
    Region mem, io, pio;                /* modern, legacy, modern-pio-notify */
    unsigned notify_step;               /* bytes from one queue's bell to the next one's */
    unsigned cfg_cap;                   /* the window into the BARs in configuration space */
    pthread_mutex_t line;               /* INTx follows the device's isr */
    /* what the driver selected, and half of what it wrote: machine lock */
    uint32_t device_features_sel, driver_features_sel;
    uint16_t queue_sel;
    uint64_t driver_features;
    _Atomic uint16_t config_vector, queue_vectors[VIRTIO_QUEUES];      /* read by any thread */
} VirtioPci;

extern const Field virtio_pci_fields[];
Err *virtio_pci_realize(Device *d);                     /* legacy interface as disable-legacy says */
Err *virtio_pci_realize_transitional(Device *d);        /* both */
Err *virtio_pci_realize_modern(Device *d);              /* modern alone */
void virtio_pci_unrealize(Device *d);
void virtio_pci_reset(Device *d);
Err *virtio_pci_loaded(Device *d);

#define VIRTIO_PCI_ROW(realize_, name_, inner_, doc_, ...)                                              \
    { .name = name_, .bus = "pci", .doc = doc_, .size = sizeof(VirtioPci), .fields = virtio_pci_fields, \
      .base = pci_fields, .inner = &inner_, .realize = realize_, .unrealize = virtio_pci_unrealize,     \
      .reset = virtio_pci_reset, .loaded = virtio_pci_loaded, ##__VA_ARGS__ }
#define VIRTIO_PCI(...)              VIRTIO_PCI_ROW(virtio_pci_realize, __VA_ARGS__)
#define VIRTIO_PCI_TRANSITIONAL(...) VIRTIO_PCI_ROW(virtio_pci_realize_transitional, __VA_ARGS__)
#define VIRTIO_PCI_MODERN(...)       VIRTIO_PCI_ROW(virtio_pci_realize_modern, __VA_ARGS__)

#endif
