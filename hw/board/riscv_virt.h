/* SPDX-License-Identifier: MIT */
/* The riscv64 `virt` board: its map, and what its two files share. */
#ifndef HW_BOARD_RISCV_VIRT_H
#define HW_BOARD_RISCV_VIRT_H

#include "hw/core/board.h"
#include "hw/firm/fdt.h"
#include "hw/firm/fw_cfg.h"
#include "hw/intc/riscv.h"
#include "hw/pci/pci.h"

#define VIRT_ROM        UINT64_C(0x1000)
#define VIRT_ROM_SIZE   UINT64_C(0xf000)
#define VIRT_TEST       UINT64_C(0x100000)
#define VIRT_RTC        UINT64_C(0x101000)
#define VIRT_BUTTON     UINT64_C(0x102000)
#define VIRT_CLINT      UINT64_C(0x2000000)
#define VIRT_MTIMER_OFF UINT64_C(0x4000)
#define VIRT_SSWI       UINT64_C(0x2f00000)
#define VIRT_PCI_PIO    UINT64_C(0x3000000)
#define VIRT_PCI_PIO_SIZE UINT64_C(0x10000)
#define VIRT_PLIC       UINT64_C(0xc000000)
#define VIRT_PLIC_SIZE  UINT64_C(0x600000)
#define VIRT_APLIC_M    UINT64_C(0xc000000)     /* in place of the PLIC, with aia= */
#define VIRT_APLIC_S    UINT64_C(0xd000000)
#define VIRT_IMSIC_M    UINT64_C(0x24000000)    /* with aia=aplic-imsic; a page for each hart */
#define VIRT_IMSIC_S    UINT64_C(0x28000000)
#define VIRT_UART       UINT64_C(0x10000000)
#define VIRT_VIRTIO     UINT64_C(0x10001000)
#define VIRT_VIRTIO_STRIDE UINT64_C(0x1000)
#define VIRT_FW_CFG     UINT64_C(0x10100000)
#define VIRT_FLASH      UINT64_C(0x20000000)
#define VIRT_FLASH_SIZE UINT64_C(0x2000000)     /* of each of the two */
#define VIRT_ECAM       UINT64_C(0x30000000)
#define VIRT_ECAM_SIZE  UINT64_C(0x10000000)
#define VIRT_PCI_MMIO   UINT64_C(0x40000000)
#define VIRT_PCI_MMIO_SIZE UINT64_C(0x40000000)
#define VIRT_PCI_HIGH_SIZE UINT64_C(0x400000000)     /* at the first multiple of it behind RAM: virt_pci_high */
#define VIRT_RAM        UINT64_C(0x80000000)

enum {
    VIRT_TIME_HZ = 10000000, VIRT_UART_CLOCK = 3686400,
    VIRT_VIRTIO_SLOTS = 8, VIRT_FLASHES = 2,
    /* sources of the PLIC or APLIC */
    VIRT_VIRTIO_IRQ = 1, VIRT_UART_IRQ = 10, VIRT_RTC_IRQ = 11, VIRT_BUTTON_IRQ = 12, VIRT_PCI_IRQ = 32,
};

/* Indexes in virt_aia_names. */
enum { VIRT_AIA_NONE, VIRT_AIA_APLIC, VIRT_AIA_APLIC_IMSIC };

/* -M acpi= */
enum { VIRT_ACPI_AUTO, VIRT_ACPI_ON, VIRT_ACPI_OFF };

/* phandles. WIRED is what sources go to: PLIC, or the APLIC's domain of S. Each CPU has two from CPU on. */
enum { PH_WIRED = 1, PH_TEST, PH_APLIC_M, PH_IMSIC_M, PH_IMSIC_S, PH_CPU };
static inline uint32_t virt_intc_phandle(int hart) { return PH_CPU + 2 * hart + 1; }

typedef struct RiscvVirt {
    Machine machine;
    bool aclint;
    uint8_t acpi;               /* VIRT_ACPI_* */
    uint8_t aia;                /* VIRT_AIA_* */
    uint32_t aia_guests;
    Region rom, ram;
    Plic *plic; Aplic *aplic;   /* one of them: see virt_source */
    FwCfg *fw_cfg;
    PciBus *pci;
    char *pflash[VIRT_FLASHES]; /* names of the block nodes behind them, or NULL */
    bool flash_code;            /* the first flash has something behind it: code to be started */
} RiscvVirt;

static inline uint64_t virt_pci_high(uint64_t ram_size)
{
    return (VIRT_RAM + ram_size + VIRT_PCI_HIGH_SIZE - 1) & ~(VIRT_PCI_HIGH_SIZE - 1);
}

extern const char *const virt_aia_names[];

/* Interrupt controllers (riscv_virt_irq.c): made before whatever interrupts. */
MUST_USE Err *virt_irq_make(RiscvVirt *b);
/* Where a device's line goes: source n. */
Irq virt_source(const RiscvVirt *b, int n);
/* The tree's `interrupts` for source n: how many cells of those it has. */
enum { VIRT_IRQ_CELLS = 2 };
unsigned virt_irq_cells(const RiscvVirt *b, uint32_t n, uint32_t *cells /* VIRT_IRQ_CELLS */);
/* What msi-parent of devices that send MSIs says: the IMSICs of S. 0: this board has none. */
uint32_t virt_msi_phandle(const RiscvVirt *b);
void virt_irq_nodes(const RiscvVirt *b, Fdt *f);

/* ACPI tables into fw_cfg. */
MUST_USE Err *virt_acpi(RiscvVirt *b);
/* The board's device tree, without what a boot adds to it. */
MUST_USE Err *virt_tree(RiscvVirt *b, Fdt *out);

#endif
