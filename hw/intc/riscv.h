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
/* An input, for irq_wire(): pin is the source's number. Any thread. */
void plic_set(void *plic, int pin, int level);

/* IMSIC files of one privilege level, a page a hart; they take MSIs (system/msi.h). The harts get Smaia, Ssaia. */
MUST_USE Err *imsic_make(Vm *vm, unsigned harts, bool mmode, uint64_t base);

/*
 * APLIC with a root domain for M and a child for S. `msi`: it sends MSIs to IMSICs; else its lines go to the
 * harts. *out is the root: sources enter there, and firmware says which go on to S.
 */
enum { APLIC_SOURCES = 96, APLIC_SIZE = 0x8000 };
typedef struct Aplic Aplic;
MUST_USE Err *aplic_make(Vm *vm, unsigned harts, bool msi, uint64_t m_base, uint64_t s_base, Aplic **out);
/* An input, as plic_set. */
void aplic_set(void *aplic, int pin, int level);

#endif
