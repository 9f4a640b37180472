/* SPDX-License-Identifier: MIT */
/*
 * Table lookups of scalar cryptography: Zbkx, and AES of Zkne and Zknd
 * (unprivileged manual, "Scalar Cryptography"; FIPS 197). The S-boxes are worked
 * out when first asked for. None of this pretends to run in constant time.
 */
#include <pthread.h>

#include "target/riscv/helper_rows.h"

/* ---- Zbkx */

static uint64_t xperm(uint64_t a, uint64_t b, unsigned bits)
{
    uint64_t mask = (1u << bits) - 1, out = 0;

    for (unsigned n = 0; n < 64; n += bits) {
        uint64_t at = (b >> n & mask) * bits;
        if (at < 64)
            out |= (a >> at & mask) << n;
    }
    return out;
}

uint64_t riscv_h_xperm4(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return (void)env, (void)c, xperm(a, b, 4);
}

uint64_t riscv_h_xperm8(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return (void)env, (void)c, xperm(a, b, 8);
}

/* ---- AES: the field of FIPS 197, 4.2, and the S-box of 5.1.1 */

static uint8_t sbox[256], sbox_back[256];
static pthread_once_t sbox_once = PTHREAD_ONCE_INIT;

static uint8_t twice(uint8_t a)
{
    return a << 1 ^ (a & 0x80 ? 0x1b : 0);
}

static uint8_t times(uint8_t a, unsigned n)
{
    uint8_t out = 0;

    for (; n; n >>= 1, a = twice(a))
        if (n & 1)
            out ^= a;
    return out;
}

/* p runs through all powers of 3, q through their inverses. */
static void make_sboxes(void)
{
    uint8_t p = 1, q = 1;

    do {
        p ^= twice(p);
        q ^= q << 1;
        q ^= q << 2;
        q ^= q << 4;
        if (q & 0x80)
            q ^= 0x09;
        uint8_t s = q ^ (uint8_t)(q << 1 | q >> 7) ^ (uint8_t)(q << 2 | q >> 6) ^ (uint8_t)(q << 3 | q >> 5) ^
                    (uint8_t)(q << 4 | q >> 4) ^ 0x63;
        sbox[p] = s;
        sbox_back[s] = p;
    } while (p != 1);
    sbox[0] = 0x63;
    sbox_back[0x63] = 0;
}

static const uint8_t *boxes(const uint8_t *which)
{
    pthread_once(&sbox_once, make_sboxes);
    return which;
}

/* Each byte through the box. */
static uint64_t substitute(uint64_t v, const uint8_t *box)
{
    uint64_t out = 0;

    for (int n = 0; n < 64; n += 8)
        out |= (uint64_t)box[v >> n & 0xff] << n;
    return out;
}

/* The state's columns 0, 1 are in lo, 2, 3 in hi; a row is every fourth byte. */
static unsigned state_byte(uint64_t lo, uint64_t hi, unsigned n)
{
    return (n < 8 ? lo >> 8 * n : hi >> 8 * (n - 8)) & 0xff;
}

/* Columns 0, 1 after ShiftRows: row r moves left (`dir` 1) or right (3) by r columns. */
static uint64_t shift_rows(uint64_t lo, uint64_t hi, unsigned dir)
{
    uint64_t out = 0;

    for (unsigned col = 0; col < 2; col++)
        for (unsigned row = 0; row < 4; row++) {
            unsigned from = (col + row * dir) & 3;
            out |= (uint64_t)state_byte(lo, hi, from * 4 + row) << 8 * (col * 4 + row);
        }
    return out;
}

/* One column times the circulant matrix whose first row is m. */
static uint32_t mix_column(uint32_t col, const uint8_t m[4])
{
    uint32_t out = 0;

    for (unsigned row = 0; row < 4; row++) {
        uint8_t v = 0;
        for (unsigned n = 0; n < 4; n++)
            v ^= times(col >> 8 * n & 0xff, m[(n - row) & 3]);
        out |= (uint32_t)v << 8 * row;
    }
    return out;
}

static const uint8_t forward[4] = { 2, 3, 1, 1 }, inverse[4] = { 14, 11, 13, 9 };

static uint64_t mix(uint64_t v, const uint8_t m[4])
{
    return (uint64_t)mix_column(v >> 32, m) << 32 | mix_column((uint32_t)v, m);
}

uint64_t riscv_h_aes64es(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return (void)env, (void)c, substitute(shift_rows(a, b, 1), boxes(sbox));
}

uint64_t riscv_h_aes64esm(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return mix(riscv_h_aes64es(env, a, b, c), forward);
}

uint64_t riscv_h_aes64ds(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return (void)env, (void)c, substitute(shift_rows(a, b, 3), boxes(sbox_back));
}

uint64_t riscv_h_aes64dsm(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return mix(riscv_h_aes64ds(env, a, b, c), inverse);
}

uint64_t riscv_h_aes64im(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return (void)env, (void)b, (void)c, mix(a, inverse);
}

/* Key schedule: round 10 is the step of longer keys without rotation and constant. */
uint64_t riscv_h_aes64ks1i(Env *env, uint64_t a, uint64_t round, uint64_t c)
{
    static const uint8_t constants[10] = { 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x1b, 0x36 };
    uint32_t v = a >> 32;

    if (round < 10)
        v = v >> 8 | v << 24;
    v = (uint32_t)substitute(v, boxes(sbox));
    if (round < 10)
        v ^= constants[round];
    return (void)env, (void)c, (uint64_t)v << 32 | v;
}
