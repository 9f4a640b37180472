/* SPDX-License-Identifier: MIT */
/*
 * The privileged side as the front end calls it: C functions behind IR helpers.
 * Rows with their flags are in helper_rows.h. "raises" = riscv_raise was called:
 * env->fault is set and the front end's unit leaves.
 *
 * Slots mstatus, sscratch, sepc, scause, stval, stvec, mscratch, mepc, mcause,
 * mtval (Env.sys[SYS_*], BANK_MEM) may be read, and written with these rules, by
 * generated code, when the mode key's privilege allows the CSR: xscratch, xtval,
 * xcause: any value; xepc: bit 0 cleared. sstatus reads as mstatus & SSTATUS_MASK.
 * csrrc/csrrci of sstatus.SIE alone (mstatus.MIE alone in M) may clear the bit in the slot;
 * setting it: set the bit, call irq_check, then poll.
 */
#ifndef TARGET_RISCV_HELPERS_H
#define TARGET_RISCV_HELPERS_H

#include "target/riscv/state.h"

/* A CSR whose value or effect reaches beyond Env and RiscvState (time, interrupts lines, TLB). */
bool riscv_csr_outside(unsigned csr);
/* Writing it may change the mode key, translations or the address space: end the unit with goind. */
bool riscv_csr_changes_mode(unsigned csr);
/* Writing it may unmask an interrupt: poll after it. */
bool riscv_csr_unmasks(unsigned csr);
const char *riscv_csr_name(unsigned csr);       /* NULL: no such register */

/* a = csr | insn << 12; b = new value or mask. Return the old value; raise illegal instruction. FAULTS | FP | WRITES */
uint64_t riscv_h_csr_read (Env *, uint64_t a, uint64_t, uint64_t);
uint64_t riscv_h_csr_write(Env *, uint64_t a, uint64_t b, uint64_t);       /* csrrw: old value may be unused */
uint64_t riscv_h_csr_set  (Env *, uint64_t a, uint64_t b, uint64_t);
uint64_t riscv_h_csr_clear(Env *, uint64_t a, uint64_t b, uint64_t);
/* Sets env->poll if an interrupt is pending and enabled. */
uint64_t riscv_h_irq_check(Env *, uint64_t, uint64_t, uint64_t);
/* a = pc of the instruction. Return the pc where to go on (goind). mret, sret may raise: b = insn bits. */
uint64_t riscv_h_ecall(Env *, uint64_t pc, uint64_t, uint64_t);
uint64_t riscv_h_mret (Env *, uint64_t pc, uint64_t insn, uint64_t);
uint64_t riscv_h_sret (Env *, uint64_t pc, uint64_t insn, uint64_t);
uint64_t riscv_h_ebreak(Env *, uint64_t pc, uint64_t, uint64_t);            /* raises */
uint64_t riscv_h_illegal(Env *, uint64_t insn, uint64_t, uint64_t);         /* raises */
/* Checks that wfi is allowed (raises if not); the front end then leaves with EXIT_HALT. */
uint64_t riscv_h_wfi(Env *, uint64_t insn, uint64_t, uint64_t);
/* pause: a loop waits for another hart. After some of them the host thread is given away for a moment. */
uint64_t riscv_h_pause(Env *, uint64_t, uint64_t, uint64_t);
/* wrs.nto, wrs.sto: the same. */
uint64_t riscv_h_wrs(Env *, uint64_t insn, uint64_t, uint64_t);
/* c = insn bits | (rs1 is x0) << 32 | (rs2 is x0) << 33; sinval.vma too. After it: goind to the next pc. */
uint64_t riscv_h_sfence_vma(Env *, uint64_t va, uint64_t asid, uint64_t c);
/* sfence.w.inval, sfence.inval.ir: only the privilege check (raises). */
uint64_t riscv_h_sfence_inval(Env *, uint64_t insn, uint64_t, uint64_t);
uint64_t riscv_h_fence_i(Env *, uint64_t, uint64_t, uint64_t);              /* then exit EXIT_FLUSH */
/* FS = dirty, mode changed; then goind to the same pc. */
uint64_t riscv_h_fs_dirty(Env *, uint64_t, uint64_t, uint64_t);
/* kind 0 inval, 1 clean, 2 flush, 4 zero; raises illegal (by xenvcfg) and page/access faults. */
uint64_t riscv_h_cbo(Env *, uint64_t kind, uint64_t va, uint64_t insn);

#endif
