/* SPDX-License-Identifier: MIT */
/*
 * The unpacked form on which all arithmetic works, and the way back: private to fpu/.
 *
 * A number is sig * 2^(exp - 63): a significand of 64 bits whose bit 63 is set, subnormal
 * operands included. Bits below a format's precision are guard bits (11 for f64); a result
 * that is not exact has "jammed" low bits: bit 0 is or-ed with all that was lost below it, so
 * that rounding still sees on which side of a tie the true value lies. That is sound while at
 * least two guard bits lie above bit 0.
 *
 * All functions that take a Format are inlined with a constant one, so that each format gets
 * straight code out of one source; the rare paths are real functions.
 */
#ifndef FPU_NUM_H
#define FPU_NUM_H

#include "fpu/fpu.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define INLINE static inline __attribute__((always_inline, unused))
#define RARE static __attribute__((noinline, cold, unused))

typedef unsigned __int128 Wide;

typedef struct Format {
    uint8_t exp_bits, frac_bits;
} Format;

static const Format f16_format __attribute__((unused)) = { 5, 10 };
static const Format bf16_format __attribute__((unused)) = { 8, 7 };
static const Format f32_format __attribute__((unused)) = { 8, 23 };
static const Format f64_format __attribute__((unused)) = { 11, 52 };

/* Kinds are bits, so that the kinds of several operands can be or-ed and tested at once. */
enum { ZERO = 1, FINITE = 2, INF = 4, QNAN = 8, SNAN = 16, ANY_NAN = QNAN | SNAN };

typedef struct Num {
    uint64_t sig;       /* FINITE: bit 63 set. NaN: the fraction field, its top bit at bit 62 */
    int32_t exp;        /* FINITE: unbiased */
    uint8_t kind;
    bool sign;
    bool subnormal;     /* the operand was one, and was not flushed */
} Num;

INLINE int fmt_exp_max(const Format *m)
{
    return (1 << m->exp_bits) - 1;
}

INLINE int fmt_bias(const Format *m)
{
    return (1 << (m->exp_bits - 1)) - 1;
}

INLINE uint64_t low_mask(unsigned bits)
{
    return ((uint64_t)1 << bits) - 1;
}

INLINE uint64_t fmt_sign(const Format *m, bool sign)
{
    return (uint64_t)sign << (m->exp_bits + m->frac_bits);
}

INLINE uint64_t fmt_inf(const Format *m, bool sign)
{
    return fmt_sign(m, sign) | (uint64_t)fmt_exp_max(m) << m->frac_bits;
}

INLINE uint64_t fmt_quiet(const Format *m)
{
    return (uint64_t)1 << (m->frac_bits - 1);
}

/* x >> n with what is lost jammed into bit 0. Any n. */
INLINE uint64_t shift_jam(uint64_t x, unsigned n)
{
    if (n == 0)
        return x;
    if (n > 63)
        return x != 0;
    return x >> n | (x << (64 - n) != 0);
}

INLINE Num num_unpack(Fpu *f, const Format *m, uint64_t bits)
{
    int exp = bits >> m->frac_bits & low_mask(m->exp_bits);
    uint64_t sig = (bits & low_mask(m->frac_bits)) << (63 - m->frac_bits);
    Num n = { .sign = bits >> (m->exp_bits + m->frac_bits) & 1 };

    if (LIKELY(exp != 0 && exp != fmt_exp_max(m))) {
        n.kind = FINITE;
        n.exp = exp - fmt_bias(m);
        n.sig = sig | (uint64_t)1 << 63;
    } else if (exp != 0) {
        n.kind = !sig ? INF : sig >> 62 ? QNAN : SNAN;
        n.sig = sig;
    } else if (sig == 0 || f->flush_in) {
        n.kind = ZERO;
        f->flags |= sig ? FPU_ID : 0;
    } else {
        int lead = __builtin_clzll(sig);
        n.kind = FINITE;
        n.exp = 1 - fmt_bias(m) - lead;
        n.sig = sig << lead;
        n.subnormal = true;
    }
    return n;
}

/* x86 tells that a subnormal operand took part. Called where NV and DZ are already ruled out. */
INLINE void num_used(Fpu *f, bool subnormal)
{
    if (UNLIKELY(subnormal) && f->nan == FPU_NAN_X86)
        f->flags |= FPU_DE;
}

INLINE uint64_t num_default_nan(const Fpu *f, const Format *m)
{
    return fmt_inf(m, f->nan == FPU_NAN_X86) | fmt_quiet(m);
}

INLINE uint64_t num_invalid(Fpu *f, const Format *m)
{
    f->flags |= FPU_NV;
    return num_default_nan(f, m);
}

/* The NaN that comes of operands a, b, c, at least one of which is a NaN. */
RARE uint64_t num_nan(Fpu *f, const Format *m, Num a, Num b, Num c)
{
    int kinds = a.kind | b.kind | c.kind;
    int wanted = ANY_NAN;
    Num n;

    if (kinds & SNAN)
        f->flags |= FPU_NV;
    if (f->nan == FPU_NAN_DEFAULT_RISCV)
        return num_default_nan(f, m);
    if (f->nan == FPU_NAN_ARM && kinds & SNAN)
        wanted = SNAN;
    n = a.kind & wanted ? a : b.kind & wanted ? b : c;
    return fmt_inf(m, n.sign) | fmt_quiet(m) | n.sig >> (63 - m->frac_bits);
}

INLINE uint64_t num_nan2(Fpu *f, const Format *m, Num a, Num b)
{
    return num_nan(f, m, a, b, (Num) { .kind = ZERO });
}

/* What to add to `sig` so that cutting off its low `drop` bits (1 to 63) rounds it. ROD is left to
   the caller. */
INLINE uint64_t round_step(uint8_t round, bool sign, uint64_t sig, unsigned drop)
{
    uint64_t half = (uint64_t)1 << (drop - 1);

    switch (round) {
    case FPU_RNE: return half - 1 + (sig >> drop & 1);
    case FPU_RDN: return sign ? low_mask(drop) : 0;
    case FPU_RUP: return sign ? 0 : low_mask(drop);
    case FPU_RMM: return half;
    default: return 0;
    }
}

RARE uint64_t round_overflow(Fpu *f, const Format *m, bool sign)
{
    bool away = f->round == FPU_RNE || f->round == FPU_RMM ||
                f->round == (sign ? FPU_RDN : FPU_RUP);

    f->flags |= FPU_OF | FPU_NX;
    return fmt_inf(m, sign) - !away;
}

/* A result whose exponent is below the least normal one, before rounding. */
RARE uint64_t round_tiny(Fpu *f, const Format *m, bool sign, int exp, uint64_t sig)
{
    unsigned drop = 63 - m->frac_bits;
    int below = 1 - fmt_bias(m) - exp;
    bool lost, tiny = true;

    /* Rounded as if exponents had no end, does it reach the least normal number? */
    if (below == 1 && !f->tiny_before)
        tiny = sig + round_step(f->round, sign, sig, drop) >= sig;
    if (tiny && f->flush_out) {
        f->flags |= FPU_UF | (f->tiny_before ? 0 : FPU_NX);
        return fmt_sign(m, sign);
    }
    sig = shift_jam(sig, below);
    lost = sig & low_mask(drop);
    if (lost)
        f->flags |= FPU_NX | (tiny ? FPU_UF : 0);
    sig = (sig + round_step(f->round, sign, sig, drop)) >> drop;
    if (lost && f->round == FPU_ROD)
        sig |= 1;
    return fmt_sign(m, sign) + sig;     /* a carry makes it the least normal number */
}

/* The packed form of sig * 2^(exp - 63), rounded by f->round; bit 63 of sig is set. */
INLINE uint64_t num_round(Fpu *f, const Format *m, bool sign, int exp, uint64_t sig)
{
    unsigned drop = 63 - m->frac_bits;
    int biased = exp + fmt_bias(m);
    uint64_t sum;

    if (UNLIKELY(biased < 1))
        return round_tiny(f, m, sign, exp, sig);
    sum = sig + round_step(f->round, sign, sig, drop);
    biased += sum < sig;                /* carried out: the fraction is then zero */
    if (UNLIKELY(biased >= fmt_exp_max(m)))
        return round_overflow(f, m, sign);
    sum >>= drop;
    if (sig & low_mask(drop)) {
        f->flags |= FPU_NX;
        sum |= f->round == FPU_ROD;
    }
    return fmt_sign(m, sign) | (uint64_t)biased << m->frac_bits | (sum & low_mask(m->frac_bits));
}

/* The zero that an exact sum of unlike signs gives. */
INLINE uint64_t num_zero_sum(const Fpu *f, const Format *m)
{
    return fmt_sign(m, f->round == FPU_RDN);
}

#endif
