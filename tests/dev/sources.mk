# SPDX-License-Identifier: MIT
# Devices, poked without a CPU.
tests += dev/test_aclint dev/test_pci dev/test_pci_irq dev/test_pci_hotplug dev/test_pci_live dev/test_plic dev/test_aplic dev/test_imsic dev/test_serial dev/test_virt_board dev/test_virt_devices
tests += dev/test_virtio_mmio
tests += dev/test_aclint dev/test_pci dev/test_plic dev/test_aplic dev/test_imsic dev/test_serial dev/test_virt_board dev/test_virt_devices
tests += dev/test_virtio_blk dev/test_scsi dev/test_nvme
tests += dev/test_virtio_mmio dev/test_virtio_pci dev/test_virtio_ring dev/test_virtio_rng dev/test_virtio_threads
tests += dev/test_aclint dev/test_plic dev/test_serial dev/test_virt_board dev/test_virt_devices
# What they stand on.
tests += unit/test_mem unit/test_msi unit/test_iothread unit/test_clock unit/test_vm unit/test_loader unit/test_reflect
# What they stand on.
tests += unit/test_mem unit/test_msi unit/test_iothread unit/test_clock unit/test_vm unit/test_loader unit/test_reflect
tests += unit/test_device
tests += dev/test_firmware
tests += unit/test_device
tests += dev/test_virtio_blk
tests += dev/test_scsi
tests += dev/test_9p
tests += dev/test_virtio_9p
tests += unit/test_aml
tests += dev/test_acpi unit/test_smbios
tests += dev/test_virtio_serial
tests += dev/test_balloon
tests += dev/test_watchdog
