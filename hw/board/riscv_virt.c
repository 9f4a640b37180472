/* SPDX-License-Identifier: MIT */
/*
 * riscv64 `virt`: the board that firmware and kernels know under that name,
 * with its devices at the usual addresses.
 *
 * Not there yet: ACPI tables, NUMA. Interrupt controllers: riscv_virt_irq.c.
 */
#include <elf.h>
#include <inttypes.h>

#include "hw/board/riscv_virt.h"
#include "hw/char/serial.h"
#include "hw/firm/fw_items.h"
#include "hw/firm/riscv_boot.h"
#include "hw/firm/smbios.h"
#include "hw/intc/riscv.h"
#include "hw/misc/misc.h"
#include "hw/time/time.h"
#include "hw/virtio/mmio.h"
#include "target/riscv/state.h"

/* ---- devices */

/* Firmware and its variables. */
static Err *make_flash(RiscvVirt *b)
{
    static const char *const names[VIRT_FLASHES] = { "virt.flash0", "virt.flash1" };
    Vm *vm = b->machine.vm;

    for (int i = 0; i < VIRT_FLASHES; i++) {
        FlashStore store;

        TRY(flash_disk(vm, i, b->pflash[i], &store));
        b->flash_code |= !i && store.read;
        TRY(cfi_flash_make(vm, names[i], VIRT_FLASH + i * VIRT_FLASH_SIZE, VIRT_FLASH_SIZE, store.read ? &store : NULL));
    }
    return NULL;
}

static Err *make_pci(RiscvVirt *b)
{
    PciHostConfig c = {
        .name = "pcie.0", .ecam = VIRT_ECAM, .ecam_size = VIRT_ECAM_SIZE, .mmio = VIRT_PCI_MMIO, .mmio_size = VIRT_PCI_MMIO_SIZE,
        .high = virt_pci_high(b->machine.vm->config->ram_size), .high_size = VIRT_PCI_HIGH_SIZE,
        .pio = VIRT_PCI_PIO, .pio_size = VIRT_PCI_PIO_SIZE,
    };

    for (int i = 0; i < 4; i++)
        c.irq[i] = virt_source(b, VIRT_PCI_IRQ + i);
    return pci_host_make(b->machine.vm, &c, &b->pci);
}

static Err *make_devices(RiscvVirt *b)
{
    Vm *vm = b->machine.vm;

    TRY(virt_irq_make(b));
    TRY(sifive_test_make(vm, VIRT_TEST));
    TRY(goldfish_rtc_make(vm, VIRT_RTC, virt_source(b, VIRT_RTC_IRQ)));
    if (b->acpi != VIRT_ACPI_OFF)
        TRY(power_button_make(vm, VIRT_BUTTON, virt_source(b, VIRT_BUTTON_IRQ)));
    TRY(serial_make(vm, VIRT_UART, VIRT_UART_CLOCK, vm_serial(vm, 0), virt_source(b, VIRT_UART_IRQ)));
    /* The first -device goes to the highest address, as on other emulators: buses are filled in the order of their making. */
    for (int i = VIRT_VIRTIO_SLOTS; i-- > 0;)
        TRY(virtio_mmio_make(vm, VIRT_VIRTIO + i * VIRT_VIRTIO_STRIDE, i, virt_source(b, VIRT_VIRTIO_IRQ + i)));
    TRY(fw_cfg_make(vm, VIRT_FW_CFG, &b->fw_cfg));
    TRY(fw_items_add(b->fw_cfg, vm));
    TRY(make_flash(b));
    return make_pci(b);
}

/* ---- memory */

static Err *make_memory(RiscvVirt *b)
{
    Vm *vm = b->machine.vm;
    uint64_t size = vm->config->ram_size;
    RamBlock *block;

    TRY(ram_new(vm, "riscv_virt_board.mrom", VIRT_ROM_SIZE, &block));
    b->rom = (Region){ .name = "riscv_virt_board.mrom", .kind = REGION_ROM, .size = VIRT_ROM_SIZE, .ram = block };
    TRY(space_map(vm->mem, VIRT_ROM, &b->rom, 0));
    TRY(ram_new(vm, "riscv_virt_board.ram", size, &block));
    b->ram = (Region){ .name = "riscv_virt_board.ram", .kind = REGION_RAM, .size = size, .ram = block };
    return space_map(vm->mem, VIRT_RAM, &b->ram, 0);
}

/* What firmware passes on to operating systems. */
static Err *make_tables(RiscvVirt *b)
{
    const Vm *vm = b->machine.vm;
    const SmbiosBoard board = { .name = "virt", .cpu_family = SMBIOS_CPU_RV64, .cpus = vm->nvcpus, .nranges = 1,
                                .ranges = { { VIRT_RAM, vm->config->ram_size } } };

    if (b->acpi != VIRT_ACPI_OFF)
        TRY(virt_acpi(b));
    return smbios_add(b->fw_cfg, vm, &board);
}

static Err *virt_make(Machine *m)
{
    RiscvVirt *b = (RiscvVirt *)m;
    RiscvBoot boot = { .m = m, .ram = VIRT_RAM, .ram_size = m->vm->config->ram_size,
                       .rom = VIRT_ROM, .rom_size = VIRT_ROM_SIZE };
    Fdt tree;

    TRY(make_memory(b));
    TRY(make_devices(b));
    boot.flash = b->flash_code ? VIRT_FLASH : 0;
    boot.fw_cfg = b->fw_cfg;
    TRY(riscv_boot_files(&boot));
    TRY(virt_tree(b, &tree));
    TRY(riscv_boot_tree(&boot, &tree));
    return make_tables(b);
}

/* All harts start in the boot ROM. */
static void virt_reset(Machine *m)
{
    for (int i = 0; i < m->vm->nvcpus; i++)
        m->vm->vcpus[i]->env->pc = VIRT_ROM;
    riscv_boot_reset(m);
}

const char *const virt_aia_names[] = { "none", "aplic", "aplic-imsic", NULL };

static const char *const acpi_names[] = { "auto", "on", "off", NULL };

static const Field virt_fields[] = {
    PROP(RiscvVirt, aclint, .def = "off", .doc = "ACLINT devices in place of the CLINT"),
    PROP(RiscvVirt, aia, .def = "none", .names = virt_aia_names, .doc = "interrupt controllers of the AIA"),
    PROP(RiscvVirt, aia_guests, .def = "0", .doc = "guest interrupt files for each hart: 0, they need H"),
    PROP(RiscvVirt, pflash[0], .as = "pflash0", .doc = "block node of the first flash: firmware that OpenSBI starts"),
    PROP(RiscvVirt, pflash[1], .as = "pflash1", .doc = "block node of the second flash: its variables"),
    PROP(RiscvVirt, acpi, .def = "auto", .names = acpi_names, .doc = "ACPI tables for UEFI's guests (auto: on)"),
    {0}
};

BOARD(riscv_virt) = {
    .name = "virt", .doc = "RISC-V VirtIO board", .isa = "riscv64", .elf_machine = EM_RISCV,
    .max_cpus = RISCV_HARTS, .ram_name = "riscv_virt_board.ram", .ram_default = UINT64_C(128) << 20,
    .size = sizeof(RiscvVirt), .fields = virt_fields,
    .make = virt_make, .reset = virt_reset,
};
