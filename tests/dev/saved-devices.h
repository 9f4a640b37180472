/* SPDX-License-Identifier: MIT */
/* The devices of the board whose saved form is kept in tests/dev/saved: what they are never changes, others have files of their own. */
#ifndef TESTS_DEV_SAVED_DEVICES_H
#define TESTS_DEV_SAVED_DEVICES_H

/* The first is `begin`'s. */
static const char *const saved_devices[] = {
    "virtio-blk-pci,drive=d0,addr=4", "virtio-net-pci,netdev=n0,guest_announce=off,addr=8", "virtio-rng-pci,addr=9",
    "virtio-balloon-pci,addr=10", "virtio-serial-pci,id=vs,addr=11", "virtserialport,bus=vs.0,name=q", "virtio-scsi-pci,addr=12",
    "virtio-9p-pci,fsdev=f0,mount_tag=t,addr=13", "nvme,serial=S,addr=14", "i6300esb,addr=15", "pvpanic-pci,addr=16",
    "pcie-root-port,id=rp,addr=17", "pcie-pci-bridge,id=br,addr=18", NULL
};

#endif
