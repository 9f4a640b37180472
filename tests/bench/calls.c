/* SPDX-License-Identifier: MIT */
/* Call and return: plain recursion, and calls through a table of functions. */
#include "tests/bench/bench.h"

static NOINLINE uint64_t fib(uint64_t n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static uint64_t fib20(uint64_t reps)
{
    uint64_t sum = 0;
    for (; reps; reps--) {
        uint64_t n = 20;
        HIDE(n);
        sum = mix(sum, fib(n));
    }
    return sum;
}

typedef struct Shape Shape;
typedef struct ShapeOps {
    uint64_t (*measure)(const Shape *, uint64_t);
} ShapeOps;
struct Shape {
    const ShapeOps *ops;
    uint32_t a, b;
};

static NOINLINE uint64_t shape_add(const Shape *s, uint64_t x) { return x + s->a; }
static NOINLINE uint64_t shape_sub(const Shape *s, uint64_t x) { return x - s->b; }
static NOINLINE uint64_t shape_mul(const Shape *s, uint64_t x) { return x * (s->a | 1); }
static NOINLINE uint64_t shape_xor(const Shape *s, uint64_t x) { return x ^ s->a ^ s->b; }
static NOINLINE uint64_t shape_rot(const Shape *s, uint64_t x) { return x << 7 | x >> 57; }
static NOINLINE uint64_t shape_max(const Shape *s, uint64_t x) { return x > s->a ? x : s->a; }
static NOINLINE uint64_t shape_box(const Shape *s, uint64_t x) { return x + (uint64_t)s->a * s->b; }
static NOINLINE uint64_t shape_not(const Shape *s, uint64_t x) { return ~x + s->b; }

static const ShapeOps shape_ops[8] = {
    { shape_add }, { shape_sub }, { shape_mul }, { shape_xor },
    { shape_rot }, { shape_max }, { shape_box }, { shape_not },
};

static uint64_t vcall(uint64_t reps)
{
    static Shape shapes[1024];
    uint64_t seed = 8, x = 0;
    for (int i = 0; i < 1024; i++) {
        uint64_t r = random_next(&seed);
        shapes[i] = (Shape){ &shape_ops[r & 7], (uint32_t)(r >> 8), (uint32_t)(r >> 40) };
    }
    for (; reps; reps--) {
        const Shape *s = &shapes[reps & 1023];
        x = s->ops->measure(s, x);
    }
    return x;
}

const Kernel call_kernels[] = {
    { "fib20", "calls", "fib(20)",  300, fib20, NULL },
    { "vcall", "calls", "call", 1500000, vcall, NULL },
    { 0 }
};
