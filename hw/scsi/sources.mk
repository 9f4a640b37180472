# SPDX-License-Identifier: MIT
src += hw/scsi/bus.c hw/scsi/cd.c hw/scsi/disk.c hw/scsi/pages.c hw/scsi/virtio_scsi.c
