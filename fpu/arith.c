/* SPDX-License-Identifier: MIT */
/*
 * Addition, multiplication, division, square root and fused multiply-add, for every format:
 * IEEE 754-2019 clause 5.4.1. The general functions come first; the last lines make one set
 * of them per format.
 */
#include "fpu/num.h"

/* The sum of two numbers, one of them zero: the other one, rounded (which may flush it). */
RARE uint64_t add_zero(Fpu *f, const Format *m, Num a, Num b)
{
    Num n = a.kind == ZERO ? b : a;

    if (n.kind == FINITE)
        return num_round(f, m, n.sign, n.exp, n.sig);
    return a.sign == b.sign ? fmt_sign(m, a.sign) : num_zero_sum(f, m);
}

RARE uint64_t add_special(Fpu *f, const Format *m, Num a, Num b)
{
    if (a.kind & b.kind & INF && a.sign != b.sign)
        return num_invalid(f, m);
    num_used(f, a.subnormal | b.subnormal);
    if (a.kind == INF || b.kind == INF)
        return fmt_inf(m, a.kind == INF ? a.sign : b.sign);
    return add_zero(f, m, a, b);
}

INLINE uint64_t add_finite(Fpu *f, const Format *m, Num a, Num b)
{
    uint64_t x, y;
    int lead;

    if (a.exp < b.exp || (a.exp == b.exp && a.sig < b.sig)) {
        Num t = a;
        a = b;
        b = t;
    }
    x = a.sig >> 1;             /* one bit of room for the carry */
    y = shift_jam(b.sig >> 1, a.exp - b.exp);
    x = a.sign == b.sign ? x + y : x - y;
    if (x == 0)
        return num_zero_sum(f, m);
    lead = __builtin_clzll(x);
    return num_round(f, m, a.sign, a.exp + 1 - lead, x << lead);
}

INLINE uint64_t num_add(Fpu *f, const Format *m, uint64_t x, uint64_t y, bool subtract)
{
    Num a = num_unpack(f, m, x), b = num_unpack(f, m, y);

    if (UNLIKELY((a.kind | b.kind) & ANY_NAN))
        return num_nan2(f, m, a, b);
    b.sign ^= subtract;         /* not the sign of a NaN */
    if (UNLIKELY((a.kind | b.kind) != FINITE))
        return add_special(f, m, a, b);
    num_used(f, a.subnormal | b.subnormal);
    return add_finite(f, m, a, b);
}

RARE uint64_t mul_special(Fpu *f, const Format *m, Num a, Num b)
{
    int kinds = a.kind | b.kind;
    bool sign = a.sign ^ b.sign;

    if (kinds & ANY_NAN)
        return num_nan2(f, m, a, b);
    if (kinds == (INF | ZERO))
        return num_invalid(f, m);
    num_used(f, a.subnormal | b.subnormal);
    return kinds & INF ? fmt_inf(m, sign) : fmt_sign(m, sign);
}

INLINE uint64_t num_mul(Fpu *f, const Format *m, uint64_t x, uint64_t y)
{
    Num a = num_unpack(f, m, x), b = num_unpack(f, m, y);
    Wide product;
    uint64_t sig;
    int above;

    if (UNLIKELY((a.kind | b.kind) != FINITE))
        return mul_special(f, m, a, b);
    num_used(f, a.subnormal | b.subnormal);
    product = (Wide)a.sig * b.sig;
    above = product >> 127;     /* is it 2 or more? */
    product <<= 1 - above;
    sig = product >> 64 | ((uint64_t)product != 0);
    return num_round(f, m, a.sign ^ b.sign, a.exp + b.exp + above, sig);
}

RARE uint64_t div_special(Fpu *f, const Format *m, Num a, Num b)
{
    bool sign = a.sign ^ b.sign;

    if ((a.kind | b.kind) & ANY_NAN)
        return num_nan2(f, m, a, b);
    if (a.kind == b.kind)       /* 0/0, inf/inf; not FINITE here */
        return num_invalid(f, m);
    if (a.kind == FINITE && b.kind == ZERO)
        f->flags |= FPU_DZ;
    else
        num_used(f, a.subnormal | b.subnormal);
    return a.kind == INF || b.kind == ZERO ? fmt_inf(m, sign) : fmt_sign(m, sign);
}

INLINE uint64_t num_div(Fpu *f, const Format *m, uint64_t x, uint64_t y)
{
    Num a = num_unpack(f, m, x), b = num_unpack(f, m, y);
    uint64_t sig;
    Wide dividend;
    int below;

    if (UNLIKELY((a.kind & b.kind) != FINITE))
        return div_special(f, m, a, b);
    num_used(f, a.subnormal | b.subnormal);
    below = a.sig < b.sig;      /* is the quotient less than 1? */
    dividend = (Wide)a.sig << (63 + below);
    sig = dividend / b.sig;
    sig |= sig * b.sig != (uint64_t)dividend;
    return num_round(f, m, a.sign ^ b.sign, a.exp - b.exp - below, sig);
}

/*
 * floor(sqrt(n)) and whether that is exact, for n = hi * 2^56 with hi of 55 or 56 bits: 56
 * bits of root.
 *
 * Each step doubles the length of a root s whose remainder r = h - s*s, 0 <= r <= 2s, is
 * known, where h is the upper half of the radicand. With the next quarter q1 and the last q0
 * of the radicand (k bits each), s*2^k + (r*2^k + q1) / 2s is the new root or one too many
 * (Zimmermann, "Karatsuba square root", 1999); the sign of the new remainder tells. All
 * intermediates stay below 2^63.
 */
INLINE uint64_t sqrt_root(uint64_t hi, bool *exact)
{
    uint64_t s = 0, r;

    for (unsigned bit = 64; bit; bit >>= 1) {           /* 7 bits out of 14, the plain way */
        if ((s | bit) * (s | bit) <= hi >> 42)
            s |= bit;
    }
    r = (hi >> 42) - s * s;
    for (unsigned k = 7; k < 56; k *= 2) {
        uint64_t rest = k < 28 ? hi >> (56 - 4 * k) & low_mask(2 * k) : 0;
        uint64_t top = r << k | rest >> k, u;
        int64_t left;

        u = top / (2 * s);
        left = (int64_t)((top - u * 2 * s) << k | (rest & low_mask(k))) - (int64_t)(u * u);
        s = (s << k) + u;
        if (left < 0) {
            left += 2 * s - 1;
            s--;
        }
        r = left;
    }
    *exact = r == 0;
    return s;
}

RARE uint64_t sqrt_special(Fpu *f, const Format *m, Num a, uint64_t x)
{
    if (a.kind & ANY_NAN)
        return num_nan2(f, m, a, a);
    if (a.kind == ZERO)
        return fmt_sign(m, a.sign);
    return a.sign ? num_invalid(f, m) : x;
}

INLINE uint64_t num_sqrt(Fpu *f, const Format *m, uint64_t x)
{
    Num a = num_unpack(f, m, x);
    uint64_t root;
    bool exact;
    int odd;

    if (UNLIKELY(a.kind != FINITE || a.sign))
        return sqrt_special(f, m, a, x);
    num_used(f, a.subnormal);
    odd = a.exp & 1;
    root = sqrt_root(a.sig >> (9 - odd), &exact);
    return num_round(f, m, false, (a.exp - odd) / 2, root << 8 | !exact);
}

INLINE Wide wide_shift_jam(Wide x, unsigned n)
{
    if (n == 0)
        return x;
    if (n > 127)
        return x != 0;
    return x >> n | (x << (128 - n) != 0);
}

INLINE uint64_t fma_finite(Fpu *f, const Format *m, Num a, Num b, Num c)
{
    Wide p = (Wide)a.sig * b.sig, q = (Wide)c.sig << 63;
    bool sign = a.sign ^ b.sign, minus = sign != c.sign;
    int exp = a.exp + b.exp, lead;

    if (p >> 127) {             /* to bit 126, where q has its top; the bit cut off is zero */
        p >>= 1;
        exp++;
    }
    if (c.kind == ZERO)
        return num_round(f, m, sign, exp, p >> 63 | ((p & low_mask(63)) != 0));
    if (exp < c.exp || (exp == c.exp && p < q)) {
        p = wide_shift_jam(p, c.exp - exp);
        p = minus ? q - p : q + p;
        exp = c.exp;
        sign = c.sign;
    } else {
        q = wide_shift_jam(q, exp - c.exp);
        p = minus ? p - q : p + q;
    }
    if (p == 0)
        return num_zero_sum(f, m);
    lead = p >> 64 ? __builtin_clzll(p >> 64) : 64 + __builtin_clzll((uint64_t)p);
    p <<= lead;
    return num_round(f, m, sign, exp + 1 - lead, p >> 64 | ((uint64_t)p != 0));
}

/* Some operand is a NaN: which one comes back, and is 0 * inf seen first? */
RARE uint64_t fma_nan(Fpu *f, const Format *m, Num a, Num b, Num c)
{
    if ((a.kind | b.kind) == (INF | ZERO) && c.kind == QNAN && f->nan != FPU_NAN_X86)
        return num_invalid(f, m);
    if (f->nan == FPU_NAN_ARM)
        return num_nan(f, m, c, a, b);
    return num_nan(f, m, a, b, c);
}

RARE uint64_t fma_special(Fpu *f, const Format *m, Num a, Num b, Num c)
{
    Num product = { .kind = a.kind | b.kind, .sign = a.sign ^ b.sign };

    if ((product.kind | c.kind) & ANY_NAN)
        return fma_nan(f, m, a, b, c);
    if (product.kind == (INF | ZERO))
        return num_invalid(f, m);
    if (product.kind & INF && c.kind == INF && product.sign != c.sign)
        return num_invalid(f, m);
    num_used(f, a.subnormal | b.subnormal | c.subnormal);
    if (product.kind & INF)
        return fmt_inf(m, product.sign);
    if (c.kind == INF)
        return fmt_inf(m, c.sign);
    product.kind = ZERO;
    return add_zero(f, m, product, c);
}

INLINE uint64_t num_fma(Fpu *f, const Format *m, uint64_t x, uint64_t y, uint64_t z)
{
    Num a = num_unpack(f, m, x), b = num_unpack(f, m, y), c = num_unpack(f, m, z);

    if (UNLIKELY((a.kind | b.kind) != FINITE || c.kind > FINITE))
        return fma_special(f, m, a, b, c);
    num_used(f, a.subnormal | b.subnormal | c.subnormal);
    return fma_finite(f, m, a, b, c);
}

#define DEFINE(F, U)                                                                    \
    U F##_add(Fpu *f, U a, U b) { return num_add(f, &F##_format, a, b, false); }        \
    U F##_sub(Fpu *f, U a, U b) { return num_add(f, &F##_format, a, b, true); }         \
    U F##_mul(Fpu *f, U a, U b) { return num_mul(f, &F##_format, a, b); }               \
    U F##_div(Fpu *f, U a, U b) { return num_div(f, &F##_format, a, b); }               \
    U F##_sqrt(Fpu *f, U a) { return num_sqrt(f, &F##_format, a); }                     \
    U F##_fma(Fpu *f, U a, U b, U c) { return num_fma(f, &F##_format, a, b, c); }
FPU_FORMATS(DEFINE)
