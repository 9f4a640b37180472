/* SPDX-License-Identifier: MIT */
/*
 * Devices and tables that boards of several guests have in ACPI: the PCI host,
 * virtio-mmio, fw_cfg, serial ports; FADT without legacy hardware, MCFG, SPCR. A board says where its own are.
 */
#ifndef HW_FIRM_ACPI_DEVICES_H
#define HW_FIRM_ACPI_DEVICES_H

#include "hw/firm/acpi.h"

/* ---- for the DSDT, within \_SB */

/* A device with a register window and (gsi != 0) an interrupt, level, active high; left open for more. */
void acpi_begin_device(Aml *a, const char *name, const char *hid, unsigned uid, uint64_t base, uint64_t len, uint32_t gsi);

/* ACPI0007, one for each vCPU: C000, C001 .. */
void acpi_processors(Aml *a, unsigned n);
void acpi_virtio_mmio(Aml *a, unsigned n, uint64_t base, uint64_t stride, uint32_t first_gsi);
void acpi_fw_cfg_mmio(Aml *a, uint64_t base, uint64_t len);

/* hw/misc/power_button.c at base. */
void acpi_power_button(Aml *a, uint64_t base, uint32_t gsi);

typedef struct AcpiPci {
    uint64_t ecam, ecam_size;           /* 1 MiB for each bus */
    uint64_t mmio, mmio_size;           /* 32-bit window, equal addresses on both sides */
    uint64_t high, high_size;           /* 64-bit window; size 0: none */
    uint64_t pio, pio_size;             /* where its I/O ports 0.. are in memory */
    uint32_t gsi[4];                    /* pin A of slot 0 is wired to gsi[0], each next slot or pin to the next */
} AcpiPci;
void acpi_pci_host(Aml *a, const AcpiPci *p);

/* ---- tables */

void acpi_fadt_reduced(Acpi *t, uint32_t dsdt);
void acpi_mcfg(Acpi *t, const AcpiPci *p);
/* The 16550 that is the console. irq_type: bit of the interrupt controller's kind (SPCR, "Interrupt Type"). */
void acpi_spcr_16550(Acpi *t, uint64_t base, uint8_t irq_type, uint32_t gsi, uint32_t clock, const char *path);

#endif
