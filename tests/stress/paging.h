/* SPDX-License-Identifier: MIT */
/*
 * Sv39 page tables for the stress programs (privileged manual, chapter "Sv39").
 * Every root maps devices and RAM at their own addresses for S mode, so that
 * the program itself goes on as it is; addresses from 0x40000000 to 0x7fffffff
 * and from 0xc0000000 on are for cases.
 */
#ifndef TESTS_STRESS_PAGING_H
#define TESTS_STRESS_PAGING_H

#include "tests/stress/stress.h"

typedef uint64_t Pte;

enum { PTE_V = 1, PTE_R = 2, PTE_W = 4, PTE_X = 8, PTE_U = 16, PTE_G = 32, PTE_A = 64, PTE_D = 128,
       PTE_RSW = 0x300, PTE_AD = PTE_A | PTE_D,
       PTE_DATA = PTE_V | PTE_R | PTE_W | PTE_AD, PTE_CODE = PTE_DATA | PTE_X };

#define VA_TEST 0x40000000ul            /* a gigabyte nobody else uses */
#define VA_BIG  0xc0000000ul            /* another one */
#define MIB2    0x200000ul
#define FRAME_BYTES 4096ul

static inline Pte pte_of(uint64_t pa, unsigned flags) { return pa >> 12 << 10 | flags; }

/* A table full of zeros. They come from a pool and are not given back before pt_reset(). */
Pte *pt_table(void);
void pt_reset(void);
/* A root with the addresses above; the flags (PTE_G) are added to them. */
Pte *pt_root(unsigned flags);
/* The leaf entry for va at a level (0: 4 KiB, 1: 2 MiB), tables in between made as needed. */
volatile Pte *pt_entry(Pte *root, uint64_t va, int level);
void pt_map(Pte *root, uint64_t va, uint64_t pa, unsigned flags);
static inline uint64_t satp_of(const Pte *root, uint64_t asid) { return 8ul << 60 | asid << 44 | (uint64_t)root >> 12; }
static inline void use_satp(uint64_t satp) { csr_write(satp, satp); }
static inline void sfence_all(void) { __asm__ volatile("sfence.vma" ::: "memory"); }
static inline void sfence(uint64_t va) { __asm__ volatile("sfence.vma %0" :: "r"(va) : "memory"); }

/* Frames of RAM that nothing else uses, n from 0: 4 KiB each, or 2 MiB each behind them. */
static inline uint64_t frame(unsigned n) { return BARE_FREE_RAM + n * FRAME_BYTES; }
static inline uint64_t big_frame(unsigned n) { return BARE_FREE_RAM + (2 + n) * MIB2; }
void fill_frame(uint64_t pa, uint64_t v, size_t bytes);

/* Does this hart set A and D by itself? In M mode; resets the pool. */
bool sets_ad(void);

#endif
