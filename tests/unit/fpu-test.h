/* SPDX-License-Identifier: MIT */
/*
 * What the tests of fpu/ share: arguments, random operands that love the edges, and the
 * report of a difference. The formats are described here a second time on purpose.
 *
 *   test_fpu... [--seed N] [--scale N]     N times as many random operands as a default run
 *
 * FPU_TEST_SEED and FPU_TEST_SCALE in the environment do the same.
 */
#ifndef TESTS_UNIT_FPU_TEST_H
#define TESTS_UNIT_FPU_TEST_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include "fpu/fpu.h"
#include "tests/unit/test.h"

typedef struct Shape {
    const char *name;
    unsigned exp_bits, frac_bits;
} Shape;

enum { F16, BF16, F32, F64, FORMATS };
static const Shape shapes[FORMATS] = {
    { "f16", 5, 10 }, { "bf16", 8, 7 }, { "f32", 8, 23 }, { "f64", 11, 52 },
};

static uint64_t rng_state;
static unsigned test_scale = 1;

static inline uint64_t rng(void)
{
    uint64_t z = rng_state += 0x9e3779b97f4a7c15;       /* splitmix64 */
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static inline void fpu_test_start(int argc, char **argv)
{
    const char *seed = getenv("FPU_TEST_SEED"), *scale = getenv("FPU_TEST_SCALE");

    for (int i = 1; i + 1 < argc; i += 2) {
        if (!strcmp(argv[i], "--seed"))
            seed = argv[i + 1];
        else if (!strcmp(argv[i], "--scale"))
            scale = argv[i + 1];
    }
    rng_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000003;
    if (scale && atoi(scale) > 0)
        test_scale = atoi(scale);
    printf("--seed %#" PRIx64 " --scale %u\n", rng_state, test_scale);
}

/* A fraction field: anything, few bits, runs of bits. */
static inline uint64_t random_frac(unsigned bits)
{
    uint64_t r = rng(), mask = ((uint64_t)1 << bits) - 1;

    switch (r >> 60) {
    case 0: return 0;
    case 1: return mask;
    case 2: return (uint64_t)1 << (r & 63) % bits;
    case 3: return mask ^ (uint64_t)1 << (r & 63) % bits;
    case 4: return mask & (mask << (r & 63) % bits);
    case 5: return mask >> (r & 63) % bits;
    case 6: return (r & 3) | (uint64_t)1 << (bits - 1);
    case 7: return (mask ^ (r & 3)) & mask;
    case 8: return mask & (r & 15) << ((r >> 8) & 63) % bits;
    default: return r & mask;
    }
}

static inline uint64_t random_float(const Shape *s)
{
    uint64_t r = rng(), top = ((uint64_t)1 << s->exp_bits) - 1, bias = top >> 1, exp;

    switch (r >> 60) {
    case 0: exp = r & 1 ? 0 : top; break;
    case 1: exp = r % 3; break;
    case 2: exp = top - r % 3; break;
    case 3: exp = bias + r % 66; break;         /* near the ends of integers */
    case 4: exp = bias - r % (2 * s->frac_bits); break;
    case 5: exp = bias - 1 + s->frac_bits + r % 3; break;
    case 6: exp = bias / 2 + r % 5; break;      /* products near the least normal */
    case 7: exp = bias + bias / 2 + r % 3; break;
    case 8: case 9: case 10: exp = bias - 2 + r % 5; break;
    default: exp = r; break;
    }
    return (r >> 32 & 1) << (s->exp_bits + s->frac_bits) | (exp & top) << s->frac_bits |
           random_frac(s->frac_bits);
}

/* Three operands, often near each other so that sums cancel. */
static inline void random_operands(const Shape *s, uint64_t v[3])
{
    uint64_t width = 1 + s->exp_bits + s->frac_bits, mask = UINT64_MAX >> (64 - width), r = rng();

    for (int i = 0; i < 3; i++)
        v[i] = random_float(s);
    if ((r & 7) == 0)
        v[1] = (v[0] + (r >> 8 & 7) - 3) & mask;
    if ((r & 7) == 1)
        v[1] = (v[0] ^ (uint64_t)1 << (width - 1)) + ((r >> 8 & 3) << (r >> 16) % width);
    if ((r & 0x30) == 0)
        v[2] = v[0] ^ (r >> 8 & 1) << (width - 1);
    v[1] &= mask;
}

static inline uint64_t random_int(void)
{
    uint64_t r = rng(), x = random_frac(63);

    return (r & 1 ? -x : x) >> (r >> 8 & 3) * 16;
}

/* Prints a difference, at most twenty times in a case, and counts it. */
static inline void report(const char *what, const Fpu *f, const uint64_t v[3], uint64_t got,
                          unsigned got_flags, uint64_t want, unsigned want_flags)
{
    if (test_case_bad++ < 20)
        printf("%s round %d nan %d%s%s%s (%#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ") is %#" PRIx64
               " flags %#x, want %#" PRIx64 " flags %#x\n", what, f->round, f->nan,
               f->tiny_before ? " tiny_before" : "", f->flush_in ? " flush_in" : "",
               f->flush_out ? " flush_out" : "", v[0], v[1], v[2], got,
               got_flags, want, want_flags);
}

#endif
