# SPDX-License-Identifier: MIT
src += hw/disk/disk.c hw/disk/drives.c hw/disk/queue.c hw/disk/virtio_blk.c
