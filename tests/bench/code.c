/* SPDX-License-Identifier: MIT */
/*
 * Code that changes: smc rewrites a function and calls it (a JIT inside the
 * guest), codedata stores to data that share a page with code that runs (old
 * linkers, kernels, trampolines).
 */
#include "tests/bench/bench.h"

typedef uint64_t (*Function)(uint64_t);

/* Writes a function that returns its argument plus n (0 <= n < 2048): one store. */
static void write_adder(uint8_t *at, uint64_t n)
{
#ifdef __riscv
    uint64_t addi = n << 20 | 10 << 15 | 10 << 7 | 0x13, ret = 0x00008067;
    *(volatile uint64_t *)at = ret << 32 | addi;               /* addi a0, a0, n; ret */
#else
    *(volatile uint64_t *)at = 0xc300000000878d48 | n << 24;   /* lea n(%rdi), %rax; ret */
#endif
}

static uint64_t smc(uint64_t reps)
{
    uint8_t *page = place_code_page();
    uint64_t x = 0;
    for (; reps; reps--) {
        write_adder(page, reps & 1023);
        place_sync_code();
        x = ((Function)(uintptr_t)page)(x * 3);
    }
    return x;
}

static uint64_t codedata(uint64_t reps)
{
    uint8_t *page = place_code_page();
    volatile uint64_t *data = (uint64_t *)(page + 2048);
    write_adder(page, 1);
    place_sync_code();
    *data = 0;
    for (; reps; reps--)
        *data = ((Function)(uintptr_t)page)(*data ^ reps);
    return *data;
}

const Kernel code_kernels[] = {
    { "smc",      "code", "rewrite + call", 8000, smc, NULL },
    { "codedata", "code", "store + call", 300000, codedata, NULL },
    { 0 }
};
