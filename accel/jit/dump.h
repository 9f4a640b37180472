/* SPDX-License-Identifier: MIT */
/* What is shown of a unit: guest instructions, IR and host code, side by side. */
#ifndef ACCEL_JIT_DUMP_H
#define ACCEL_JIT_DUMP_H

#include <stdio.h>

#include "target/isa.h"
#include "tcg/x64/x64.h"

typedef struct Dump {
    const Isa *isa;
    const IrUnit *ir;
    const uint8_t *page, *next_page;    /* bytes of the entry's page, and of the next if an instruction crosses; or NULL */
    /* Host code: NULL if there is none. `code` and `emitter` are as x64_emit left them, made with `listing`. */
    const X64Code *code;
    const X64Emitter *emitter;
    const uint8_t *base;                /* writable address of offset 0 of the code */
    intptr_t delta;                     /* to where it runs */
} Dump;

/* items: LOG_IN_ASM, LOG_OP, LOG_OUT_ASM. */
void dump_unit(FILE *f, const Dump *d, unsigned items);
/* `size` bytes of host code that runs at address `at`, each line after `indent` blanks. */
void dump_host(FILE *f, const uint8_t *bytes, size_t size, uint64_t at, int indent);

#endif
