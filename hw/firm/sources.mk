# SPDX-License-Identifier: MIT
src += hw/firm/fdt.c hw/firm/fw_cfg.c hw/firm/riscv_boot.c
src += hw/firm/fw_items.c hw/firm/vmcoreinfo.c
src += hw/firm/aml.c
src += hw/firm/acpi.c hw/firm/acpi_devices.c hw/firm/acpi_riscv.c hw/firm/smbios.c
