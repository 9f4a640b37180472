# SPDX-License-Identifier: MIT
src += hw/nic/nic.c hw/nic/nics.c hw/nic/virtio_net.c hw/nic/virtio_net_ctrl.c
tests += dev/test_virtio_net
