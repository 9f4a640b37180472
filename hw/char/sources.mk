# SPDX-License-Identifier: MIT
src += hw/char/serial.c
src += hw/char/virtio_serial.c hw/char/virtio_port.c
