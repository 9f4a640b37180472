/* SPDX-License-Identifier: MIT */
/*
 * Memory kernels: pointer chase in 32 KiB and in 32 MiB (one load waits for the
 * other), independent random loads in 32 MiB, and a block copy of 4 KiB.
 */
#include "tests/bench/bench.h"

#define NODE_SIZE 64

/* One cycle through n nodes of a cache line each, in random order (Sattolo). */
static void chain(uint32_t n)
{
    uint8_t *base = place_arena();
    uint64_t seed = 5;
    for (uint32_t i = 0; i < n; i++)
        *(uint64_t *)(base + (size_t)i * NODE_SIZE) = i;
    for (uint32_t i = n - 1; i > 0; i--) {
        uint64_t *a = (uint64_t *)(base + (size_t)i * NODE_SIZE);
        uint64_t *b = (uint64_t *)(base + (size_t)(random_next(&seed) % i) * NODE_SIZE);
        uint64_t t = *a;
        *a = *b;
        *b = t;
    }
    for (uint32_t i = 0; i < n; i++) {
        uint64_t *p = (uint64_t *)(base + (size_t)i * NODE_SIZE);
        *p = (uintptr_t)base + *p * NODE_SIZE;
    }
}

static void chain_32k(void)
{
    chain(32768 / NODE_SIZE);
}

static void chain_32m(void)
{
    chain(ARENA_SIZE / NODE_SIZE);
}

static uint64_t chase(uint64_t reps)
{
    void *base = place_arena(), **p = base;
    for (; reps >= 4; reps -= 4)
        p = ***(void ****)*p; /* four steps */
    return (uint64_t)((char *)p - (char *)base);
}

static void fill(void)
{
    uint64_t *a = (uint64_t *)place_arena(), seed = 6;
    for (size_t i = 0; i < ARENA_SIZE / 8; i++)
        a[i] = random_next(&seed);
}

static uint64_t random_loads(uint64_t reps)
{
    const uint64_t *a = (const uint64_t *)place_arena();
    uint64_t r = 7, sum = 0;
    for (; reps; reps--) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        sum += a[r >> 42]; /* 22 bits: 4 Mi words */
    }
    return sum;
}

/* As a C library does it: eight words at a time. */
static NOINLINE void copy(uint64_t *to, const uint64_t *from, size_t words)
{
    for (; words >= 8; words -= 8, to += 8, from += 8) {
        uint64_t a = from[0], b = from[1], c = from[2], d = from[3];
        uint64_t e = from[4], f = from[5], g = from[6], h = from[7];
        to[0] = a, to[1] = b, to[2] = c, to[3] = d;
        to[4] = e, to[5] = f, to[6] = g, to[7] = h;
    }
}

static uint64_t copy_4k(uint64_t reps)
{
    uint64_t *a = (uint64_t *)place_arena(), sum = 0;
    for (size_t i = 0; i < 512; i++)
        a[i] = i * 0x9e3779b97f4a7c15u;
    for (; reps; reps--) {
        uint64_t *to = a + 1024 + (reps & 7) * 8;
        copy(to, a, 512);
        sum = mix(sum, to[reps & 511]);
    }
    return sum;
}

const Kernel memory_kernels[] = {
    { "list32k", "memory", "load",   10000000, chase, chain_32k },
    { "list32m", "memory", "load",     300000, chase, chain_32m },
    { "rand32m", "memory", "load",     300000, random_loads, fill },
    { "memcpy",  "memory", "4KiB",      50000, copy_4k, NULL },
    { 0 }
};
