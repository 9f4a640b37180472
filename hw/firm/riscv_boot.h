/* SPDX-License-Identifier: MIT */
/*
 * What a RISC-V machine has in memory when it starts: firmware, kernel,
 * initrd, device tree, and the boot ROM that jumps to the first of them.
 */
#ifndef HW_FIRM_RISCV_BOOT_H
#define HW_FIRM_RISCV_BOOT_H

#include "hw/core/board.h"
#include "hw/core/loader.h"
#include "hw/firm/fdt.h"
#include "hw/firm/fw_cfg.h"

typedef struct RiscvBoot {
    Machine *m;
    uint64_t ram, ram_size;             /* main memory */
    uint64_t rom, rom_size;             /* where the vCPUs start */
    uint64_t flash;                     /* flash that holds code for the firmware to start; 0: none */
    FwCfg *fw_cfg;                      /* by which that code gets at -kernel */
    /* found by riscv_boot_files: */
    uint64_t start;                     /* where the boot ROM jumps */
    uint64_t kernel;                    /* where the firmware shall jump; 0: there is no kernel */
    uint64_t firmware_end, kernel_end;
    uint64_t initrd, initrd_end;        /* equal: there is none */
    uint64_t fdt;                       /* address of the device tree */
} RiscvBoot;

/* -bios, -kernel, -initrd of the configuration become images. */
MUST_USE Err *riscv_boot_files(RiscvBoot *b);
/*
 * Completes `tree` (the board's, or -dtb's instead) with what the boot needs,
 * places it and the boot ROM. tree is consumed.
 */
MUST_USE Err *riscv_boot_tree(RiscvBoot *b, Fdt *tree);
/* At each reset, before the images are loaded: no two boots get the same random seed. */
void riscv_boot_reset(Machine *m);

/*
 * RISC-V Linux boot image header (Documentation/riscv/boot-image-header.rst).
 * false: it is none. *size: bytes from its start that are the kernel's own.
 */
bool riscv_image_header(const Blob *b, uint64_t *size, bool *big_endian);

#endif
