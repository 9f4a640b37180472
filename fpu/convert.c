/* SPDX-License-Identifier: MIT */
/*
 * From one format to another, to and from integers, and to integral values of the same
 * format: IEEE 754-2019 clauses 5.4.1, 5.4.2, 5.8 and 5.9; RISC-V chapters F ("Floating-Point
 * Conversion and Move Instructions") and Zfa.
 */
#include "fpu/num.h"

INLINE uint64_t num_convert(Fpu *f, const Format *from, const Format *to, uint64_t x)
{
    Num a = num_unpack(f, from, x);

    if (UNLIKELY(a.kind & ANY_NAN))
        return num_nan2(f, to, a, a);
    num_used(f, a.subnormal);
    if (LIKELY(a.kind == FINITE))
        return num_round(f, to, a.sign, a.exp, a.sig);
    return a.kind == INF ? fmt_inf(to, a.sign) : fmt_sign(to, a.sign);
}

/*
 * The magnitude of a FINITE number below 2^64 as an integer, which is below 2^64 too as a
 * significand has at most 53 bits. `inexact` becomes whether rounding changed it.
 */
INLINE uint64_t num_magnitude(Num a, uint8_t round, bool *inexact)
{
    uint64_t sum, lost;
    unsigned drop = 63 - a.exp;

    *inexact = false;
    if (drop == 0)
        return a.sig;
    if (a.exp < 0) {            /* less than 1: to a fraction of 63 bits under a unit bit of zero */
        a.sig = shift_jam(a.sig, -a.exp);
        drop = 63;
    }
    lost = a.sig & low_mask(drop);
    *inexact = lost != 0;
    sum = a.sig + round_step(round, a.sign, a.sig, drop);
    sum = sum >> drop | (uint64_t)(sum < a.sig) << (64 - drop);
    return sum | (round == FPU_ROD && lost);
}

RARE uint64_t int_out_of_range(Fpu *f, Num a, unsigned bits, bool is_signed)
{
    uint64_t least = is_signed ? -((uint64_t)1 << (bits - 1)) : 0;
    uint64_t most = UINT64_MAX >> (64 - bits + is_signed);

    f->flags |= FPU_NV;
    if (f->to_int == FPU_INT_X86)
        return is_signed ? least : most;
    if (a.kind & ANY_NAN)
        return f->to_int == FPU_INT_ARM ? 0 : most;
    return a.sign ? least : most;
}

INLINE uint64_t num_to_int(Fpu *f, const Format *m, uint64_t x, uint8_t round, unsigned bits,
                           bool is_signed)
{
    Num a = num_unpack(f, m, x);
    uint64_t mag, most = UINT64_MAX >> (64 - bits + is_signed);
    bool inexact;

    if (a.kind == ZERO)
        return 0;
    if (UNLIKELY(a.kind != FINITE || a.exp > 63))
        return int_out_of_range(f, a, bits, is_signed);
    mag = num_magnitude(a, round, &inexact);
    if (UNLIKELY(mag > (a.sign ? (is_signed ? most + 1 : 0) : most)))
        return int_out_of_range(f, a, bits, is_signed);
    if (inexact)
        f->flags |= FPU_NX;
    return a.sign ? -mag : mag;
}

INLINE uint64_t num_from_int(Fpu *f, const Format *m, bool sign, uint64_t mag)
{
    int lead;

    if (mag == 0)
        return 0;
    lead = __builtin_clzll(mag);
    return num_round(f, m, sign, 63 - lead, mag << lead);
}

INLINE uint64_t num_from_i64(Fpu *f, const Format *m, int64_t i)
{
    return num_from_int(f, m, i < 0, i < 0 ? -(uint64_t)i : (uint64_t)i);
}

INLINE uint64_t num_round_int(Fpu *f, const Format *m, uint64_t x, uint8_t round, bool exact)
{
    Num a = num_unpack(f, m, x);
    uint64_t mag;
    bool inexact;
    int lead;

    if (UNLIKELY(a.kind & ANY_NAN))
        return num_nan2(f, m, a, a);
    if (a.kind == ZERO)
        return fmt_sign(m, a.sign);
    if (a.kind == INF || a.exp >= m->frac_bits)
        return x;
    mag = num_magnitude(a, round, &inexact);
    if (inexact && exact)
        f->flags |= FPU_NX;
    if (mag == 0)
        return fmt_sign(m, a.sign);
    lead = __builtin_clzll(mag);
    return num_round(f, m, a.sign, 63 - lead, mag << lead);
}

int32_t f64_to_i32_mod(Fpu *f, uint64_t a)
{
    Fpu quiet = { 0 };
    Num n = num_unpack(&quiet, &f64_format, a);
    uint64_t mag = 0;
    bool inexact;

    f64_to_i32(f, a, FPU_RTZ);          /* for the flags */
    if (n.kind == FINITE && n.exp <= 63)
        mag = num_magnitude(n, FPU_RTZ, &inexact);
    else if (n.kind == FINITE && n.exp < 63 + 64)
        mag = n.sig << (n.exp - 63);
    return (int32_t)(uint32_t)(n.sign ? -mag : mag);
}

#define DEFINE(F, U)                                                                    \
    int32_t F##_to_i32(Fpu *f, U a, uint8_t round)                                      \
    { return num_to_int(f, &F##_format, a, round, 32, true); }                          \
    uint32_t F##_to_u32(Fpu *f, U a, uint8_t round)                                     \
    { return num_to_int(f, &F##_format, a, round, 32, false); }                         \
    int64_t F##_to_i64(Fpu *f, U a, uint8_t round)                                      \
    { return num_to_int(f, &F##_format, a, round, 64, true); }                          \
    uint64_t F##_to_u64(Fpu *f, U a, uint8_t round)                                     \
    { return num_to_int(f, &F##_format, a, round, 64, false); }                         \
    int64_t F##_to_int(Fpu *f, U a, uint8_t round, unsigned bits)                       \
    { return num_to_int(f, &F##_format, a, round, bits, true); }                        \
    uint64_t F##_to_uint(Fpu *f, U a, uint8_t round, unsigned bits)                     \
    { return num_to_int(f, &F##_format, a, round, bits, false); }                       \
    U F##_from_i64(Fpu *f, int64_t i) { return num_from_i64(f, &F##_format, i); }       \
    U F##_from_u64(Fpu *f, uint64_t i) { return num_from_int(f, &F##_format, false, i); } \
    U F##_round_int(Fpu *f, U a, uint8_t round, bool exact)                             \
    { return num_round_int(f, &F##_format, a, round, exact); }
FPU_FORMATS(DEFINE)

#define DEFINE_CONVERT(F, U, G, V) \
    V F##_to_##G(Fpu *f, U a) { return num_convert(f, &F##_format, &G##_format, a); }
FPU_CONVERSIONS(DEFINE_CONVERT)
