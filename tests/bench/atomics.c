/* SPDX-License-Identifier: MIT */
/* Atomic operations without contention: read-modify-writes, and compare-and-swap. */
#include "tests/bench/bench.h"

static uint64_t amo(uint64_t reps)
{
    static uint64_t wide;
    static uint32_t narrow;
    uint64_t sum = 0;
    __atomic_store_n(&wide, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&narrow, 1, __ATOMIC_SEQ_CST);
    for (; reps; reps--) {
        sum += __atomic_fetch_add(&wide, reps, __ATOMIC_SEQ_CST);
        sum ^= __atomic_exchange_n(&narrow, (uint32_t)sum, __ATOMIC_SEQ_CST);
        sum += __atomic_fetch_add(&narrow, 3, __ATOMIC_RELAXED);
        sum ^= __atomic_exchange_n(&wide, sum, __ATOMIC_ACQ_REL);
    }
    return sum;
}

static uint64_t cas(uint64_t reps)
{
    static uint64_t cell;
    uint64_t sum = 0;
    __atomic_store_n(&cell, 1, __ATOMIC_SEQ_CST);
    for (; reps; reps--) {
        uint64_t old = __atomic_load_n(&cell, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&cell, &old, old * 5 + reps, true,
                                            __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            ;
        sum ^= old;
    }
    return sum;
}

const Kernel atomic_kernels[] = {
    { "amo", "atomics", "4 ops", 4000000, amo, NULL },
    { "cas", "atomics", "swap",  6000000, cas, NULL },
    { 0 }
};
