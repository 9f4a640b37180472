/* SPDX-License-Identifier: MIT */
/*
 * Comparison, minimum and maximum, classification: IEEE 754-2019 clauses 5.6.1, 5.7.2 and
 * 9.6, 754-2008 clause 5.3.1 (minNum), RISC-V chapters F and Zfa, Arm pseudocode FPMin and
 * FPMinNum, Intel SDM MINSS. Works on the packed form, whose order is that of integers but
 * for the sign.
 */
#include "fpu/num.h"

/* The operand as the operation sees it; says whether it is a NaN and of which kind. */
INLINE uint64_t cmp_take(Fpu *f, const Format *m, uint64_t x, int *nans, bool *subnormal)
{
    uint64_t mag = x & low_mask(m->exp_bits + m->frac_bits);

    if (UNLIKELY(mag > fmt_inf(m, false)))
        *nans |= mag & fmt_quiet(m) ? QNAN : SNAN;
    if (UNLIKELY(mag < (uint64_t)1 << m->frac_bits && mag != 0)) {
        if (f->flush_in) {
            f->flags |= FPU_ID;
            return x ^ mag;
        }
        *subnormal = true;
    }
    return x;
}

/* Equal for both zeros, else ordered as the numbers are. */
INLINE int64_t cmp_key(const Format *m, uint64_t x)
{
    int64_t mag = x & low_mask(m->exp_bits + m->frac_bits);
    return x == (uint64_t)mag ? mag : -mag;
}

INLINE int num_compare(Fpu *f, const Format *m, uint64_t x, uint64_t y, bool signalling)
{
    int nans = 0;
    bool subnormal = false;
    int64_t a, b;

    x = cmp_take(f, m, x, &nans, &subnormal);
    y = cmp_take(f, m, y, &nans, &subnormal);
    if (UNLIKELY(nans)) {
        if (nans & SNAN || signalling)
            f->flags |= FPU_NV;
        return FPU_UNORDERED;
    }
    num_used(f, subnormal);
    a = cmp_key(m, x);
    b = cmp_key(m, y);
    return (a > b) - (a < b);
}

/* What each family of minimum and maximum does with NaNs. */
typedef enum { NUMBER_2019, PLAIN_2019, NUM_2008 } MinRule;

RARE uint64_t min_nan(Fpu *f, const Format *m, uint64_t x, uint64_t y, MinRule rule)
{
    Num a = num_unpack(f, m, x), b = num_unpack(f, m, y);
    int kinds = a.kind | b.kind;
    bool both = a.kind & ANY_NAN && b.kind & ANY_NAN;

    if (both && rule == NUMBER_2019) {
        f->flags |= kinds & SNAN ? FPU_NV : 0;
        return num_default_nan(f, m);
    }
    if (both || rule == PLAIN_2019 || (rule == NUM_2008 && kinds & SNAN))
        return num_nan2(f, m, a, b);
    if (kinds & SNAN)
        f->flags |= FPU_NV;
    return a.kind & ANY_NAN ? y : x;
}

INLINE uint64_t num_min(Fpu *f, const Format *m, uint64_t x, uint64_t y, bool max, MinRule rule)
{
    int nans = 0;
    bool subnormal = false, less;
    int64_t a, b;

    x = cmp_take(f, m, x, &nans, &subnormal);
    y = cmp_take(f, m, y, &nans, &subnormal);
    if (UNLIKELY(nans))
        return min_nan(f, m, x, y, rule);
    a = cmp_key(m, x);
    b = cmp_key(m, y);
    less = a < b || (a == b && x >> (m->exp_bits + m->frac_bits));
    return less != max ? x : y;
}

INLINE uint64_t num_min_x86(Fpu *f, const Format *m, uint64_t x, uint64_t y, bool max)
{
    int nans = 0;
    bool subnormal = false;
    int64_t a, b;

    x = cmp_take(f, m, x, &nans, &subnormal);
    y = cmp_take(f, m, y, &nans, &subnormal);
    if (UNLIKELY(nans)) {
        f->flags |= FPU_NV;
        return y;
    }
    num_used(f, subnormal);
    a = cmp_key(m, x);
    b = cmp_key(m, y);
    return (max ? a > b : a < b) ? x : y;
}

INLINE unsigned num_classify(const Format *m, uint64_t x)
{
    Fpu plain = { 0 };
    Num a = num_unpack(&plain, m, x);
    unsigned rank;      /* 0 for zero, up to 3 for infinity */

    if (a.kind & ANY_NAN)
        return a.kind == SNAN ? FPU_CLASS_SNAN : FPU_CLASS_QNAN;
    rank = a.kind == ZERO ? 0 : a.kind == INF ? 3 : a.subnormal ? 1 : 2;
    return a.sign ? FPU_CLASS_NEG_ZERO >> rank : FPU_CLASS_POS_ZERO << rank;
}

#define DEFINE(F, U)                                                                        \
    int F##_compare(Fpu *f, U a, U b, bool signalling)                                      \
    { return num_compare(f, &F##_format, a, b, signalling); }                               \
    bool F##_eq(Fpu *f, U a, U b)                                                           \
    { return num_compare(f, &F##_format, a, b, false) == FPU_EQUAL; }                       \
    bool F##_lt(Fpu *f, U a, U b)                                                           \
    { return num_compare(f, &F##_format, a, b, true) == FPU_LESS; }                         \
    bool F##_le(Fpu *f, U a, U b)                                                           \
    { return num_compare(f, &F##_format, a, b, true) <= FPU_EQUAL; }                        \
    bool F##_lt_quiet(Fpu *f, U a, U b)                                                     \
    { return num_compare(f, &F##_format, a, b, false) == FPU_LESS; }                        \
    bool F##_le_quiet(Fpu *f, U a, U b)                                                     \
    { return num_compare(f, &F##_format, a, b, false) <= FPU_EQUAL; }                       \
    U F##_min(Fpu *f, U a, U b) { return num_min(f, &F##_format, a, b, false, NUMBER_2019); } \
    U F##_max(Fpu *f, U a, U b) { return num_min(f, &F##_format, a, b, true, NUMBER_2019); } \
    U F##_minimum(Fpu *f, U a, U b) { return num_min(f, &F##_format, a, b, false, PLAIN_2019); } \
    U F##_maximum(Fpu *f, U a, U b) { return num_min(f, &F##_format, a, b, true, PLAIN_2019); } \
    U F##_min_num(Fpu *f, U a, U b) { return num_min(f, &F##_format, a, b, false, NUM_2008); } \
    U F##_max_num(Fpu *f, U a, U b) { return num_min(f, &F##_format, a, b, true, NUM_2008); } \
    U F##_min_x86(Fpu *f, U a, U b) { return num_min_x86(f, &F##_format, a, b, false); }    \
    U F##_max_x86(Fpu *f, U a, U b) { return num_min_x86(f, &F##_format, a, b, true); }     \
    unsigned F##_classify(U a) { return num_classify(&F##_format, a); }
FPU_FORMATS(DEFINE)
