/* SPDX-License-Identifier: MIT */
/*
 * A threaded interpreter of a small register machine, one indirect jump for
 * each of its instructions, running a loop that hashes into a table: the shape
 * of Lua, Python and of emulators.
 */
#include "tests/bench/bench.h"

enum { LOADI, ADD, ADDI, MUL, XOR, SHRI, ANDI, LOAD, STORE, BLT, HALT };

/* op | a << 8 | b << 16 | c << 24; branches: to c, relative to this one */
#define I(op, a, b, c) \
    ((uint32_t)(op) | (uint32_t)(a) << 8 | (uint32_t)(b) << 16 | (uint32_t)(uint8_t)(c) << 24)

/* r1 = multiplier, r2 = limit, r3 = i, r4 = hash, r5 = sum, r6 = slot, r7 = old */
static const uint32_t program[] = {
    I(LOADI, 1, 0xfb, 0),
    I(LOADI, 2, 200, 0),
    I(LOADI, 3, 0, 0),
    I(LOADI, 4, 1, 0),
    I(MUL, 4, 4, 1),            /* 4: mix i into the hash */
    I(ADD, 4, 4, 3),
    I(SHRI, 6, 4, 17),
    I(XOR, 4, 4, 6),
    I(ANDI, 6, 6, 63),          /* swap it with the one in its slot */
    I(LOAD, 7, 6, 0),
    I(STORE, 4, 6, 0),
    I(ADD, 5, 5, 7),
    I(ADDI, 3, 3, 1),
    I(BLT, 3, 2, -9),
    I(HALT, 0, 0, 0),
};

/* Each instruction keeps a jump of its own: gcc would fold them into one. */
__attribute__((optimize("no-gcse", "no-crossjumping", "no-tree-tail-merge")))
static NOINLINE uint64_t interpret(const uint32_t *pc, uint64_t *memory)
{
    static const void *const ops[] = {
        &&loadi, &&add, &&addi, &&mul, &&xor, &&shri, &&andi, &&load, &&store, &&blt, &&halt,
    };
    uint64_t r[8] = { 0 };
    uint32_t i;
#define A r[i >> 8 & 7]
#define B r[i >> 16 & 7]
#define C r[i >> 24 & 7]
#define NEXT() do { i = *pc++; goto *ops[i & 0xff]; } while (0)
#define JUMP() pc += (int32_t)i >> 24, pc--
    NEXT();
loadi:
    A = i >> 16 & 0xff;
    NEXT();
add:
    A = B + C;
    NEXT();
addi:
    A = B + (uint64_t)((int32_t)i >> 24);
    NEXT();
mul:
    A = B * C;
    NEXT();
xor:
    A = B ^ C;
    NEXT();
shri:
    A = B >> (i >> 24 & 63);
    NEXT();
andi:
    A = B & (i >> 24);
    NEXT();
load:
    A = memory[B];
    NEXT();
store:
    memory[B] = A;
    NEXT();
blt:
    if (A < B)
        JUMP();
    NEXT();
halt:
    return r[5];
}

static uint64_t interp(uint64_t reps)
{
    static uint64_t memory[64];
    const uint32_t *code = program;
    uint64_t sum = 0;
    for (int i = 0; i < 64; i++)
        memory[i] = 0;
    for (; reps; reps--) {
        HIDE(code);
        sum = mix(sum, interpret(code, memory));
    }
    return sum;
}

const Kernel interp_kernels[] = {
    { "interp", "interp", "2005 ops", 1600, interp, NULL },
    { 0 }
};
