/* SPDX-License-Identifier: MIT */
/*
 * The ACPI tables of riscv64 `virt`: what its device tree says, for operating
 * systems that UEFI starts. Source numbers of the PLIC or APLIC are the GSIs.
 */
#include "hw/board/riscv_virt.h"
#include "hw/firm/acpi_devices.h"
#include "hw/firm/acpi_riscv.h"
#include "target/riscv/imsic.h"

static AcpiPci pci_of(const RiscvVirt *b)
{
    return (AcpiPci){
        .ecam = VIRT_ECAM, .ecam_size = VIRT_ECAM_SIZE, .mmio = VIRT_PCI_MMIO, .mmio_size = VIRT_PCI_MMIO_SIZE,
        .high = virt_pci_high(b->machine.vm->config->ram_size), .high_size = VIRT_PCI_HIGH_SIZE,
        .pio = VIRT_PCI_PIO, .pio_size = VIRT_PCI_PIO_SIZE,
        .gsi = { VIRT_PCI_IRQ, VIRT_PCI_IRQ + 1, VIRT_PCI_IRQ + 2, VIRT_PCI_IRQ + 3 },
    };
}

static unsigned bits_for(unsigned n)
{
    unsigned bits = 0;

    while (1u << bits < n)
        bits++;
    return bits;
}

static AcpiRiscvIrqs irqs_of(const RiscvVirt *b)
{
    if (b->aia == VIRT_AIA_NONE)
        return (AcpiRiscvIrqs){ .kind = RISCV_PLIC, .base = VIRT_PLIC, .size = VIRT_PLIC_SIZE,
                                .sources = PLIC_SOURCES, .priorities = 7 };
    return (AcpiRiscvIrqs){
        .kind = b->aia == VIRT_AIA_APLIC ? RISCV_APLIC : RISCV_APLIC_IMSIC,
        .base = VIRT_APLIC_S, .size = APLIC_SIZE, .sources = APLIC_SOURCES,
        .imsic = VIRT_IMSIC_S, .imsic_stride = PAGE_SIZE, .imsic_ids = IMSIC_IDS,
        .hart_index_bits = bits_for(b->machine.vm->nvcpus),
    };
}

/* The clock is a device property, by the UUID of _DSD's own (Device Properties UUID). */
static void write_uart(Aml *a)
{
    acpi_begin_device(a, "COM0", "RSCV0003", 0, VIRT_UART, 0x100, VIRT_UART_IRQ);
    aml_name(a, "_DSD");
    aml_begin_package(a);
    aml_uuid(a, "daffd814-6eba-4d8c-8a91-bc9bbf4aa301");
    aml_begin_package(a);
    aml_begin_package(a);
    aml_text(a, "clock-frequency");
    aml_int(a, VIRT_UART_CLOCK);
    aml_end(a);
    aml_end(a);
    aml_end(a);
    aml_end(a);
}

static uint32_t add_dsdt(Acpi *t, const RiscvVirt *b, const AcpiRiscvIrqs *irqs, const AcpiPci *pci)
{
    Aml a;

    aml_init(&a);
    aml_begin_scope(&a, "\\_SB");
    acpi_processors(&a, b->machine.vm->nvcpus);
    acpi_riscv_intc_device(&a, irqs);
    write_uart(&a);
    acpi_virtio_mmio(&a, VIRT_VIRTIO_SLOTS, VIRT_VIRTIO, VIRT_VIRTIO_STRIDE, VIRT_VIRTIO_IRQ);
    acpi_fw_cfg_mmio(&a, VIRT_FW_CFG, 0x18);
    acpi_power_button(&a, VIRT_BUTTON, VIRT_BUTTON_IRQ);
    acpi_pci_host(&a, pci);
    aml_end(&a);
    return acpi_add_aml(t, "DSDT", &a, false);
}

Err *virt_acpi(RiscvVirt *b)
{
    enum { SPCR_RISCV_EXT = 1 << 4 };
    const AcpiRiscvIrqs irqs = irqs_of(b);
    const AcpiPci pci = pci_of(b);
    Acpi t;

    acpi_init(&t);
    acpi_fadt_reduced(&t, add_dsdt(&t, b, &irqs, &pci));
    acpi_riscv_madt(&t, b->machine.vm, &irqs);
    acpi_riscv_rhct(&t, b->machine.vm, VIRT_TIME_HZ);
    acpi_mcfg(&t, &pci);
    acpi_spcr_16550(&t, VIRT_UART, SPCR_RISCV_EXT, VIRT_UART_IRQ, VIRT_UART_CLOCK, "\\_SB.COM0");
    return acpi_finish(&t, b->fw_cfg);
}
