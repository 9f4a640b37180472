/* SPDX-License-Identifier: MIT */
/*
 * What a benchmark kernel is, and what it may ask of the place it runs in.
 *
 * The same kernels are compiled for three places: the host itself (native),
 * a bare RISC-V machine in M mode, and RISC-V Linux. A kernel does a piece of
 * work that depends on nothing but its repetition count, and returns a
 * checksum of the results; the three places must agree on it.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Kernel {
    const char *name;
    const char *class;              /* rows of a class share a geometric mean */
    const char *unit;               /* what one repetition is */
    uint64_t reps;                  /* repetitions of one batch: some 50 ms on QEMU */
    uint64_t (*run)(uint64_t reps); /* the work; same reps, same checksum */
    void (*prepare)(void);          /* untimed, once, may be NULL */
} Kernel;

/* Tables, ended by a row without a name. os_kernels is empty on bare metal. */
extern const Kernel integer_kernels[], memory_kernels[], call_kernels[], interp_kernels[],
    fp_kernels[], atomic_kernels[], code_kernels[], os_kernels[];

/* --- the place (bare/bare.c, hosted.c) -------------------------------------------- */

#define ARENA_SIZE (32u << 20)

uint64_t place_ns(void);             /* a clock that goes on while the guest runs */
void place_print(const char *s);
uint8_t *place_arena(void);          /* ARENA_SIZE bytes, page-aligned, zero at first */
uint8_t *place_code_page(void);      /* 4096 bytes, page-aligned, may be written and run */

/* Makes stores to code visible to the fetches of this CPU. */
static inline void place_sync_code(void)
{
#ifdef __riscv
    __asm__ volatile("fence.i" ::: "memory");
#else
    __asm__ volatile("" ::: "memory"); /* x86 does it by itself */
#endif
}

/* --- for kernels -------------------------------------------------------------------- */

#define NOINLINE __attribute__((noinline))

/* Keeps the compiler from knowing what x is. */
#define HIDE(x) __asm__ volatile("" : "+r"(x) :: "memory")

static inline uint64_t random_next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t mix(uint64_t sum, uint64_t x)
{
    sum = (sum ^ x) * 0x100000001b3u;
    return sum ^ sum >> 29;
}

static inline uint64_t double_bits(double d)
{
    union { double d; uint64_t u; } v = { .d = d };
    return v.u;
}

#endif
