/* SPDX-License-Identifier: MIT */
/*
 * MADT structures RINTC, IMSIC, APLIC, PLIC and the RISC-V Hart Capabilities Table
 * (ACPI 6.6, 5.2.12 and 5.2.36; RHCT first in ACPI 6.5). GSIs are source numbers of the one external controller.
 * Left out: hart classes that differ, NUMA (SRAT), the IOMMU's table.
 */
#include "hw/firm/acpi_riscv.h"

#include <string.h>

#include "system/vcpu.h"
#include "target/riscv/cpu.h"

enum { MADT_RINTC = 0x18, MADT_IMSIC = 0x19, MADT_APLIC = 0x1a, MADT_PLIC = 0x1b, ENABLED = 1, PLIC_S_CONTEXT = 1 };

/* ---- MADT */

/* Which input of the controller's (number 0) is this hart's: its S context, or its IDC. */
static uint32_t ext_intc_id(const AcpiRiscvIrqs *irqs, unsigned hart)
{
    return irqs->kind == RISCV_PLIC ? 2 * hart + PLIC_S_CONTEXT : hart;
}

static void write_rintc(Acpi *t, const AcpiRiscvIrqs *irqs, unsigned hart)
{
    bool imsic = irqs->kind == RISCV_APLIC_IMSIC;

    acpi_u8(t, MADT_RINTC);
    acpi_u8(t, 36);
    acpi_u8(t, 1);
    acpi_u8(t, 0);
    acpi_u32(t, ENABLED);
    acpi_u64(t, hart);
    acpi_u32(t, hart);          /* _UID of the processor device */
    acpi_u32(t, ext_intc_id(irqs, hart));
    acpi_u64(t, imsic ? irqs->imsic + hart * irqs->imsic_stride : 0);
    acpi_u32(t, imsic ? irqs->imsic_stride : 0);
}

static void write_imsic(Acpi *t, const AcpiRiscvIrqs *irqs)
{
    enum { GROUP_SHIFT = 24 };

    acpi_u8(t, MADT_IMSIC);
    acpi_u8(t, 16);
    acpi_u8(t, 1);
    acpi_u8(t, 0);
    acpi_u32(t, 0);
    acpi_u16(t, irqs->imsic_ids);
    acpi_u16(t, irqs->imsic_ids);       /* of guest files */
    acpi_u8(t, 0);                      /* guest index bits */
    acpi_u8(t, irqs->hart_index_bits);
    acpi_u8(t, 0);
    acpi_u8(t, GROUP_SHIFT);
}

static void write_aplic(Acpi *t, const AcpiRiscvIrqs *irqs, unsigned harts)
{
    acpi_u8(t, MADT_APLIC);
    acpi_u8(t, 36);
    acpi_u8(t, 1);
    acpi_u8(t, 0);              /* id */
    acpi_u32(t, 0);
    acpi_u64(t, 0);             /* hardware id */
    acpi_u16(t, irqs->kind == RISCV_APLIC ? harts : 0);        /* IDCs: it interrupts harts itself */
    acpi_u16(t, irqs->sources);
    acpi_u32(t, 0);             /* its first GSI */
    acpi_u64(t, irqs->base);
    acpi_u32(t, irqs->size);
}

static void write_plic(Acpi *t, const AcpiRiscvIrqs *irqs)
{
    acpi_u8(t, MADT_PLIC);
    acpi_u8(t, 36);
    acpi_u8(t, 1);
    acpi_u8(t, 0);
    acpi_u64(t, 0);
    acpi_u16(t, irqs->sources);
    acpi_u16(t, irqs->priorities);
    acpi_u32(t, 0);
    acpi_u32(t, irqs->size);
    acpi_u64(t, irqs->base);
    acpi_u32(t, 0);
}

void acpi_riscv_madt(Acpi *t, const Vm *vm, const AcpiRiscvIrqs *irqs)
{
    acpi_begin(t, "APIC", 7);
    acpi_u32(t, 0);
    acpi_u32(t, 0);
    for (int i = 0; i < vm->nvcpus; i++)
        write_rintc(t, irqs, i);
    if (irqs->kind == RISCV_APLIC_IMSIC)
        write_imsic(t, irqs);
    if (irqs->kind == RISCV_PLIC)
        write_plic(t, irqs);
    else
        write_aplic(t, irqs, vm->nvcpus);
    acpi_end(t);
}

void acpi_riscv_intc_device(Aml *a, const AcpiRiscvIrqs *irqs)
{
    aml_begin_device(a, "INTC");
    aml_name_text(a, "_HID", irqs->kind == RISCV_PLIC ? "RSCV0001" : "RSCV0002");
    aml_name_int(a, "_UID", 0);
    aml_name_int(a, "_GSB", 0);
    aml_begin_resources(a, "_CRS");
    aml_memory32(a, true, irqs->base, irqs->size);
    aml_end(a);
    aml_end(a);
}

/* ---- RHCT */

enum { RHCT_ISA = 0, RHCT_CMO = 1, RHCT_MMU = 2, RHCT_HART = 0xffff, RHCT_NODES = 56 };

/* A node's length is known at its end. Returns where it begins. */
static uint32_t begin_node(Acpi *t, uint16_t type)
{
    uint32_t at = acpi_at(t);

    acpi_u16(t, type);
    acpi_u16(t, 0);
    acpi_u16(t, 1);             /* revision */
    return at;
}

static void end_node(Acpi *t, uint32_t at)
{
    acpi_patch(t, at + 2, acpi_at(t) - at, 2);
}

static uint32_t write_isa(Acpi *t, const RiscvState *s)
{
    uint32_t at = begin_node(t, RHCT_ISA);
    g_autofree char *isa = riscv_isa_string(s);
    uint32_t len = strlen(isa) + 1;

    acpi_u16(t, len);
    acpi_bytes(t, isa, len);
    acpi_zeros(t, acpi_at(t) % 2);
    end_node(t, at);
    return at;
}

/* Block sizes as powers of two; 0: the hart has not those instructions. */
static uint32_t write_cmo(Acpi *t, const RiscvState *s)
{
    uint32_t at = begin_node(t, RHCT_CMO);
    const uint8_t log2 = __builtin_ctz(RISCV_CACHE_BLOCK);

    acpi_u8(t, 0);
    acpi_u8(t, riscv_has(s, RV_ZICBOM) ? log2 : 0);
    acpi_u8(t, riscv_has(s, RV_ZICBOP) ? log2 : 0);
    acpi_u8(t, riscv_has(s, RV_ZICBOZ) ? log2 : 0);
    end_node(t, at);
    return at;
}

static uint32_t write_mmu(Acpi *t, const RiscvState *s)
{
    uint32_t at = begin_node(t, RHCT_MMU);

    acpi_u8(t, 0);
    acpi_u8(t, riscv_has(s, RV_SV57) ? 2 : riscv_has(s, RV_SV48) ? 1 : 0);
    end_node(t, at);
    return at;
}

static void write_hart(Acpi *t, unsigned hart, unsigned n, const uint32_t *nodes)
{
    uint32_t at = begin_node(t, RHCT_HART);

    acpi_u16(t, n);
    acpi_u32(t, hart);          /* _UID of the processor device */
    for (unsigned i = 0; i < n; i++)
        acpi_u32(t, nodes[i]);
    end_node(t, at);
}

void acpi_riscv_rhct(Acpi *t, const Vm *vm, uint64_t timebase_hz)
{
    const RiscvState *s = vm->vcpus[0]->state;
    uint32_t nodes[3];
    unsigned n = 0;

    acpi_begin(t, "RHCT", 1);
    acpi_u32(t, 0);             /* timers wake harts */
    acpi_u64(t, timebase_hz);
    uint32_t count = acpi_at(t);
    acpi_u32(t, 0);
    acpi_u32(t, RHCT_NODES);
    nodes[n++] = write_isa(t, s);
    if (riscv_has(s, RV_ZICBOM) || riscv_has(s, RV_ZICBOP) || riscv_has(s, RV_ZICBOZ))
        nodes[n++] = write_cmo(t, s);
    if (riscv_has(s, RV_SV39) || riscv_has(s, RV_SV48) || riscv_has(s, RV_SV57))
        nodes[n++] = write_mmu(t, s);
    for (int i = 0; i < vm->nvcpus; i++)
        write_hart(t, i, n, nodes);
    acpi_patch(t, count, n + vm->nvcpus, 4);
    acpi_end(t);
}
