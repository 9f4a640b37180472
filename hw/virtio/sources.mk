# SPDX-License-Identifier: MIT
src += hw/virtio/mmio.c hw/virtio/packed.c hw/virtio/pci.c hw/virtio/queue.c hw/virtio/ring.c hw/virtio/rng.c hw/virtio/split.c hw/virtio/virtio.c
src += hw/virtio/balloon.c
src += hw/virtio/saved.c
