/* SPDX-License-Identifier: MIT */
/*
 * The interrupt controllers and timers of RISC-V boards, for the boards. The
 * makers leave their device in the machine's list, mapped in vm->mem at base.
 */
#ifndef HW_INTC_RISCV_H
#define HW_INTC_RISCV_H

#include "hw/core/device.h"
#include "system/vcpu.h"

enum { RISCV_HARTS = 512 };     /* the most that any device here serves */

/* MSWI (CLINT + 0) or SSWI, for harts 0 .. harts-1. */
MUST_USE Err *aclint_swi_make(Vm *vm, unsigned harts, bool sswi, uint64_t base);
/* MTIMER (CLINT + 0x4000): it also is the time of each hart's time CSR. */
MUST_USE Err *aclint_mtimer_make(Vm *vm, unsigned harts, unsigned hz, uint64_t base);

/* PLIC with an M and an S context for each hart. */
enum { PLIC_SOURCES = 96 };     /* numbered 1 .. PLIC_SOURCES */
typedef struct Plic Plic;
MUST_USE Err *plic_make(Vm *vm, unsigned harts, uint64_t base, Plic **out);
/* An input, for irq_wire(): pin is the source's number. Machine lock held. */
void plic_set(void *plic, int pin, int level);

#endif
