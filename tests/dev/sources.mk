# SPDX-License-Identifier: MIT
# Devices, poked without a CPU: a line for each subject, so that changes merge.
tests += dev/test_aclint dev/test_plic dev/test_aplic dev/test_imsic
tests += dev/test_serial dev/test_virt_board dev/test_virt_devices dev/test_watchdog
tests += dev/test_pci dev/test_pci_irq dev/test_pci_hotplug dev/test_pci_live
tests += dev/test_virtio_mmio dev/test_virtio_pci dev/test_virtio_ring dev/test_virtio_rng dev/test_virtio_threads
tests += dev/test_virtio_blk dev/test_scsi dev/test_nvme
tests += dev/test_hotplug_disks
tests += dev/test_virtio_serial dev/test_balloon
tests += dev/test_iothreads
tests += dev/test_disk_faults
tests += dev/test_virtio_irq
tests += dev/test_9p dev/test_virtio_9p
tests += dev/test_firmware dev/test_acpi unit/test_aml unit/test_smbios
tests += dev/test_wrong_dma dev/test_virtio_legacy
# What they stand on.
tests += unit/test_mem unit/test_msi unit/test_iothread unit/test_clock unit/test_vm unit/test_loader unit/test_reflect
tests += unit/test_device
tests += dev/test_disk_counts
tests += dev/test_saved
tests += dev/test_disk_limits
tests += dev/test_snapshot_image
