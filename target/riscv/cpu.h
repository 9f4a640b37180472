/* SPDX-License-Identifier: MIT */
/* What boards ask of RISC-V harts, for the device tree and wiring. */
#ifndef TARGET_RISCV_CPU_H
#define TARGET_RISCV_CPU_H

#include "target/riscv/state.h"

#define RISCV_CACHE_BLOCK 64    /* what cbo.* and prefetch.* work on, in bytes */

char *riscv_isa_string(const RiscvState *s);            /* riscv,isa of the device tree; g_free it */
const char *riscv_mmu_type(const RiscvState *s);        /* mmu-type */

/* The board has what needs that extension: it is on, unless -cpu says otherwise. Before the machine runs. */
MUST_USE Err *riscv_cpu_force(Vcpu *v, RvExt ext);

#endif
