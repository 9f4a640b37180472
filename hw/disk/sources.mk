# SPDX-License-Identifier: MIT
src += hw/disk/disk.c hw/disk/drives.c hw/disk/nvme.c hw/disk/nvme_admin.c hw/disk/nvme_io.c hw/disk/nvme_queue.c hw/disk/queue.c hw/disk/virtio_blk.c
src += hw/disk/nvme_saved.c
