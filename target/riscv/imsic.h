/* SPDX-License-Identifier: MIT */
/*
 * Interrupt files of an IMSIC, AIA specification chapter 3: which messages have
 * come and which of them interrupt. The device that receives messages owns the
 * files (hw/intc/riscv_imsic.c), the hart reads and writes them by its CSRs.
 *
 * No lock: `eip` is set by any thread and cleared by the hart's, the others are
 * written by the hart's alone. Whoever sets a bit raises the hart's line after it;
 * only the hart lowers it, and looks at the bits once more after that. So the line
 * may be high for nothing, and never low while something is deliverable.
 */
#ifndef TARGET_RISCV_IMSIC_H
#define TARGET_RISCV_IMSIC_H

#include "target/riscv/state.h"

enum { IMSIC_IDS = 255, IMSIC_WORDS = (IMSIC_IDS + 1) / 64 };

/* Accessed by the __atomic builtins only. Sixteen words, so that two harts share no cache line. */
typedef struct ImsicFile {
    uint64_t eip[IMSIC_WORDS], eie[IMSIC_WORDS];
    uint64_t eidelivery, eithreshold;
    uint64_t unused[6];
} ImsicFile;

/* Message `id` has come for v at that level (AIA_M, AIA_S). Any thread, no lock; ids that are none are ignored. */
void riscv_imsic_set(Vcpu *v, int level, uint32_t id);

/* ---- the hart's own thread */

/* xtopei: the deliverable identity in both halves, 0 if there is none. eidelivery has no say in it. */
uint64_t riscv_imsic_top(const ImsicFile *f);
/* Clears the bit of what was read last (RiscvState.seen). */
void riscv_imsic_claim(RiscvState *s, int level);
/* The register that xiselect has selected, 0x70..0xff; false: there is none. A write to eip is relative to `seen`. */
bool riscv_imsic_reg(RiscvState *s, int level, unsigned select, bool write, uint64_t *v);
/* Lowers lines that are high for nothing. */
void riscv_imsic_settle(RiscvState *s);

#endif
