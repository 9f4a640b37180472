/* SPDX-License-Identifier: MIT */
/* What the instruction side (decoder, translation, disassembler) gives to isa.c. */
#ifndef TARGET_RISCV_FRONT_H
#define TARGET_RISCV_FRONT_H

#include "target/isa.h"

extern const IrGuest riscv_ir;                  /* riscv.c: slots, pins, helper rows */
StepResult riscv_step(Tr *t);                   /* translate.c */
int riscv_print(char *out, size_t size, const uint8_t *code, unsigned avail, uint64_t pc);     /* disas.c */

#endif
