/* SPDX-License-Identifier: MIT */
#ifndef HW_VIRTIO_MMIO_H
#define HW_VIRTIO_MMIO_H

#include "hw/virtio/virtio.h"

/* A transport at base with the bus "virtio-mmio-bus.INDEX", empty until a -device plugs in. */
MUST_USE Err *virtio_mmio_make(Vm *vm, uint64_t base, unsigned index, Irq irq);

#endif
