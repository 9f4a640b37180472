/* SPDX-License-Identifier: MIT */
/* ACPI tables that only RISC-V machines have: MADT's interrupt controllers, RHCT. */
#ifndef HW_FIRM_ACPI_RISCV_H
#define HW_FIRM_ACPI_RISCV_H

#include "hw/firm/acpi.h"
#include "system/vm.h"

typedef enum RiscvExtIntc { RISCV_PLIC, RISCV_APLIC, RISCV_APLIC_IMSIC } RiscvExtIntc;

typedef struct AcpiRiscvIrqs {
    RiscvExtIntc kind;
    uint64_t base, size;        /* of the PLIC, or the APLIC's domain of S */
    uint16_t sources, priorities;
    uint64_t imsic, imsic_stride;       /* the harts' files of S */
    uint16_t imsic_ids;
    uint8_t hart_index_bits;
} AcpiRiscvIrqs;

void acpi_riscv_madt(Acpi *t, const Vm *vm, const AcpiRiscvIrqs *irqs);
/* The controller that GSIs 0.. are sources of, for the DSDT. */
void acpi_riscv_intc_device(Aml *a, const AcpiRiscvIrqs *irqs);
/* Harts are alike: the first one's ISA is everybody's. */
void acpi_riscv_rhct(Acpi *t, const Vm *vm, uint64_t timebase_hz);

#endif
