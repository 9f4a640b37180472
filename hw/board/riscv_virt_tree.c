/* SPDX-License-Identifier: MIT */
/*
 * The device tree of riscv64 `virt` (Devicetree Specification 0.4; bindings as
 * in Linux's Documentation/devicetree/bindings).
 */
#include <string.h>

#include "hw/board/riscv_virt.h"
#include "target/riscv/cpu.h"

static uint32_t cpu_phandle(int i) { return PH_CPU + 2 * i; }

static void write_block_sizes(Fdt *f, const RiscvState *s)
{
    if (riscv_has(s, RV_ZICBOM))
        fdt_u32s(f, "riscv,cbom-block-size", RISCV_CACHE_BLOCK);
    if (riscv_has(s, RV_ZICBOP))
        fdt_u32s(f, "riscv,cbop-block-size", RISCV_CACHE_BLOCK);
    if (riscv_has(s, RV_ZICBOZ))
        fdt_u32s(f, "riscv,cboz-block-size", RISCV_CACHE_BLOCK);
}

static void write_cpu(Fdt *f, const Vcpu *v)
{
    const RiscvState *s = v->state;
    char *isa = riscv_isa_string(s);
    const char *mmu = riscv_mmu_type(s);

    fdt_begin(f, "cpu@%x", v->index);
    fdt_text(f, "device_type", "cpu");
    fdt_u32s(f, "reg", v->index);
    fdt_text(f, "status", "okay");
    fdt_text(f, "compatible", "riscv");
    fdt_text(f, "riscv,isa", isa);
    if (mmu)
        fdt_text(f, "mmu-type", mmu);
    write_block_sizes(f, s);
    fdt_u32s(f, "phandle", cpu_phandle(v->index));
    fdt_begin(f, "interrupt-controller");
    fdt_u32s(f, "#interrupt-cells", 1);
    fdt_flag(f, "interrupt-controller");
    fdt_text(f, "compatible", "riscv,cpu-intc");
    fdt_u32s(f, "phandle", virt_intc_phandle(v->index));
    fdt_end(f);
    fdt_end(f);
    g_free(isa);
}

static void write_cpus(Fdt *f, const Vm *vm)
{
    fdt_begin(f, "cpus");
    fdt_u32s(f, "#address-cells", 1);
    fdt_u32s(f, "#size-cells", 0);
    fdt_u32s(f, "timebase-frequency", VIRT_TIME_HZ);
    for (int i = 0; i < vm->nvcpus; i++)
        write_cpu(f, vm->vcpus[i]);
    fdt_begin(f, "cpu-map");
    fdt_begin(f, "cluster0");
    for (int i = 0; i < vm->nvcpus; i++) {
        fdt_begin(f, "core%d", i);
        fdt_u32s(f, "cpu", cpu_phandle(i));
        fdt_end(f);
    }
    fdt_end(f);
    fdt_end(f);
    fdt_end(f);
}

/*
 * riscv,pmu as OpenSBI's pmu_support.md has it: which SBI events exist, the mhpmevent
 * value of each (target/riscv/counters.c: 1 cycles, 2 instructions), counters that take it.
 */
static void write_pmu(Fdt *f, const RiscvState *s)
{
    const uint32_t all = ~7u;       /* mhpmcounter3..31 */

    if (!riscv_has(s, RV_ZIHPM))
        return;
    fdt_begin(f, "pmu");
    fdt_text(f, "compatible", "riscv,pmu");
    fdt_u32s(f, "riscv,event-to-mhpmevent", 1, 0, 1, 2, 0, 2);
    fdt_u32s(f, "riscv,event-to-mhpmcounters", 1, 1, all | 1 << 0, 2, 2, all | 1 << 2);
    fdt_end(f);
}

/* A node NAME@BASE with a register window and maybe an interrupt, left open. */
static void begin_device(Fdt *f, const RiscvVirt *b, const char *name, uint64_t base, uint64_t size, int irq)
{
    uint32_t cells[VIRT_IRQ_CELLS];

    fdt_begin(f, "%s@%lx", name, base);
    fdt_reg(f, base, size);
    if (irq) {
        fdt_cells(f, "interrupts", cells, virt_irq_cells(b, irq, cells));
        fdt_u32s(f, "interrupt-parent", PH_WIRED);
    }
}

static void write_devices(Fdt *f, const RiscvVirt *b)
{
    begin_device(f, b, "test", VIRT_TEST, 0x1000, 0);
    fdt_texts(f, "compatible", "sifive,test1\0sifive,test0\0syscon");
    fdt_u32s(f, "phandle", PH_TEST);
    fdt_end(f);

    begin_device(f, b, "rtc", VIRT_RTC, 0x1000, VIRT_RTC_IRQ);
    fdt_text(f, "compatible", "google,goldfish-rtc");
    fdt_end(f);

    begin_device(f, b, "serial", VIRT_UART, 0x100, VIRT_UART_IRQ);
    fdt_text(f, "compatible", "ns16550a");
    fdt_u32s(f, "clock-frequency", VIRT_UART_CLOCK);
    fdt_end(f);

    for (int i = 0; i < VIRT_VIRTIO_SLOTS; i++) {
        begin_device(f, b, "virtio_mmio", VIRT_VIRTIO + i * VIRT_VIRTIO_STRIDE, 0x1000, VIRT_VIRTIO_IRQ + i);
        fdt_text(f, "compatible", "virtio,mmio");
        fdt_end(f);
    }
}

/* INTA..INTD of a slot go to the four sources in turn, each slot one further. */
static void write_pci_irqs(Fdt *f, const RiscvVirt *b)
{
    enum { SLOTS = 4, PINS = 4, CELLS = 5 + VIRT_IRQ_CELLS };
    uint32_t map[SLOTS * PINS * CELLS], *p = map;

    for (uint32_t slot = 0; slot < SLOTS; slot++) {
        for (uint32_t pin = 0; pin < PINS; pin++) {
            const uint32_t from[] = { slot << 11, 0, 0, pin + 1, PH_WIRED };

            memcpy(p, from, sizeof(from));
            p += G_N_ELEMENTS(from);
            p += virt_irq_cells(b, VIRT_PCI_IRQ + (slot + pin) % PINS, p);
        }
    }
    fdt_cells(f, "interrupt-map", map, p - map);
    fdt_u32s(f, "interrupt-map-mask", 0x1800, 0, 0, 7);
}

static void write_pci(Fdt *f, const RiscvVirt *b)
{
    const uint64_t high = virt_pci_high(b->machine.vm->config->ram_size);
    /* In the high cell: 1 is I/O, 2 is 32-bit memory, 3 is 64-bit memory (IEEE 1275 PCI binding). */
    const uint32_t io = 0x1000000, mem32 = 0x2000000, mem64 = 0x3000000;

    fdt_begin(f, "pci@%lx", VIRT_ECAM);
    fdt_u32s(f, "#address-cells", 3);
    fdt_u32s(f, "#interrupt-cells", 1);
    fdt_u32s(f, "#size-cells", 2);
    fdt_text(f, "compatible", "pci-host-ecam-generic");
    fdt_text(f, "device_type", "pci");
    fdt_u32s(f, "linux,pci-domain", 0);
    fdt_u32s(f, "bus-range", 0, VIRT_ECAM_SIZE / 0x100000 - 1);
    fdt_flag(f, "dma-coherent");
    fdt_reg(f, VIRT_ECAM, VIRT_ECAM_SIZE);
    fdt_u32s(f, "ranges",
             io, 0, 0, VIRT_PCI_PIO >> 32, VIRT_PCI_PIO, 0, VIRT_PCI_PIO_SIZE,
             mem32, VIRT_PCI_MMIO >> 32, VIRT_PCI_MMIO, VIRT_PCI_MMIO >> 32, VIRT_PCI_MMIO,
             VIRT_PCI_MMIO_SIZE >> 32, VIRT_PCI_MMIO_SIZE,
             mem64, high >> 32, high, high >> 32, high,
             VIRT_PCI_HIGH_SIZE >> 32, (uint32_t)VIRT_PCI_HIGH_SIZE);
    if (virt_msi_phandle(b))            /* else guests use INTx */
        fdt_u32s(f, "msi-parent", virt_msi_phandle(b));
    write_pci_irqs(f, b);
    fdt_end(f);
}

/* Beside /soc, where firmware looks for them. */
static void write_firmware_devices(Fdt *f, const RiscvVirt *b)
{
    const uint64_t flash1 = VIRT_FLASH + VIRT_FLASH_SIZE;

    begin_device(f, b, "fw-cfg", VIRT_FW_CFG, 0x18, 0);
    fdt_text(f, "compatible", "qemu,fw-cfg-mmio");
    fdt_flag(f, "dma-coherent");
    fdt_end(f);

    fdt_begin(f, "flash@%lx", VIRT_FLASH);
    fdt_text(f, "compatible", "cfi-flash");
    fdt_u32s(f, "reg", VIRT_FLASH >> 32, VIRT_FLASH, 0, VIRT_FLASH_SIZE, flash1 >> 32, flash1, 0, VIRT_FLASH_SIZE);
    fdt_u32s(f, "bank-width", 4);
    fdt_end(f);
}

static void write_soc(Fdt *f, const RiscvVirt *b)
{
    fdt_begin(f, "soc");
    fdt_u32s(f, "#address-cells", 2);
    fdt_u32s(f, "#size-cells", 2);
    fdt_text(f, "compatible", "simple-bus");
    fdt_flag(f, "ranges");
    virt_irq_nodes(b, f);
    write_devices(f, b);
    write_pci(f, b);
    fdt_end(f);
}

/*
 * OpenSBI's memory, which it protects. It says so in the tree itself, but before version 1.3 without "no-map",
 * whereupon EDK2 hands it to operating systems as free memory: with a device tree they see it reserved there, by ACPI
 * alone they write to it. A node of OpenSBI's own name keeps it from writing that.
 */
static void write_firmware_memory(Fdt *f)
{
    enum { OPENSBI_SIZE = 0x80000 };

    fdt_begin(f, "reserved-memory");
    fdt_u32s(f, "#address-cells", 2);
    fdt_u32s(f, "#size-cells", 2);
    fdt_flag(f, "ranges");
    fdt_begin(f, "mmode_resv0@%lx", VIRT_RAM);
    fdt_reg(f, VIRT_RAM, OPENSBI_SIZE);
    fdt_flag(f, "no-map");
    fdt_end(f);
    fdt_end(f);
}

/* How software powers off and resets the machine: a value for the test device. */
static void write_syscon(Fdt *f, const char *name, const char *compatible, uint32_t value)
{
    fdt_begin(f, "%s", name);
    fdt_text(f, "compatible", compatible);
    fdt_u32s(f, "regmap", PH_TEST);
    fdt_u32s(f, "offset", 0);
    fdt_u32s(f, "value", value);
    fdt_end(f);
}

Err *virt_tree(RiscvVirt *b, Fdt *f)
{
    const Vm *vm = b->machine.vm;
    char *console = g_strdup_printf("/soc/serial@%lx", VIRT_UART);

    fdt_write_start(f);
    fdt_u32s(f, "#address-cells", 2);
    fdt_u32s(f, "#size-cells", 2);
    fdt_text(f, "compatible", "riscv-virtio");
    fdt_text(f, "model", "riscv-virtio,qemu");
    fdt_begin(f, "chosen");
    fdt_text(f, "stdout-path", console);
    fdt_end(f);
    fdt_begin(f, "memory@%lx", VIRT_RAM);
    fdt_text(f, "device_type", "memory");
    fdt_reg(f, VIRT_RAM, vm->config->ram_size);
    fdt_end(f);
    if (b->flash_code && b->acpi != VIRT_ACPI_OFF)
        write_firmware_memory(f);
    write_cpus(f, vm);
    write_pmu(f, vm->vcpus[0]->state);
    write_soc(f, b);
    write_firmware_devices(f, b);
    write_syscon(f, "poweroff", "syscon-poweroff", 0x5555);
    write_syscon(f, "reboot", "syscon-reboot", 0x7777);
    g_free(console);
    Err *e = fdt_write_finish(f);
    if (e)
        fdt_free(f);
    return e;
}
