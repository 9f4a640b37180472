/* SPDX-License-Identifier: MIT */
/*
 * fpu/ against a slow and simple reference: the exact result is had from long double
 * arithmetic (64 bits of precision) cut off and made odd when it was not exact, then rounded
 * once more with floor and ldexp. Odd results make the second rounding right whenever the
 * target has two bits less, and f64, f32, f16 and bf16 all have. So every format is tested
 * under every direction, RMM and ROD included, tininess before and after rounding, flushing,
 * and all three NaN rules, as no processor does.
 *
 * x86 hosts only: elsewhere long double has other widths.
 */
#include <fenv.h>
#include <float.h>
#include <math.h>
#include "tests/unit/fpu-test.h"

static int frac_of(const Shape *s) { return s->frac_bits; }
static int bias_of(const Shape *s) { return (1 << (s->exp_bits - 1)) - 1; }
static int width_of(const Shape *s) { return 1 + s->exp_bits + s->frac_bits; }
static uint64_t sign_of(const Shape *s, bool neg) { return (uint64_t)neg << (width_of(s) - 1); }
static uint64_t inf_of(const Shape *s) { return ((uint64_t)2 * bias_of(s) + 1) << s->frac_bits; }
static uint64_t quiet_of(const Shape *s) { return (uint64_t)1 << (s->frac_bits - 1); }
static uint64_t mag_of(const Shape *s, uint64_t x) { return x & (sign_of(s, 1) - 1); }
static bool neg_of(const Shape *s, uint64_t x) { return x >> (width_of(s) - 1) & 1; }
static bool is_nan(const Shape *s, uint64_t x) { return mag_of(s, x) > inf_of(s); }
static bool is_snan(const Shape *s, uint64_t x) { return is_nan(s, x) && !(x & quiet_of(s)); }

static bool is_subnormal(const Shape *s, uint64_t x)
{
    return mag_of(s, x) != 0 && mag_of(s, x) >> s->frac_bits == 0;
}

/* The value of a number or an infinity. */
static long double value_of(const Shape *s, uint64_t x)
{
    uint64_t mag = mag_of(s, x), frac = mag & ((UINT64_C(1) << s->frac_bits) - 1);
    int exp = mag >> s->frac_bits;
    long double v;

    if (mag == inf_of(s))
        v = INFINITY;
    else if (exp == 0)
        v = ldexpl(frac, 1 - bias_of(s) - frac_of(s));
    else
        v = ldexpl(frac | UINT64_C(1) << s->frac_bits, exp - bias_of(s) - frac_of(s));
    return neg_of(s, x) ? -v : v;
}

/* The bits of a number that the format holds exactly. */
static uint64_t encode(const Shape *s, long double v)
{
    uint64_t sign = sign_of(s, signbit(v));
    long double a = fabsl(v);
    int exp;

    if (a == 0)
        return sign;
    if (isinf(a))
        return sign | inf_of(s);
    frexpl(a, &exp);
    exp--;
    if (exp < 1 - bias_of(s))
        return sign | (uint64_t)ldexpl(a, bias_of(s) - 1 + frac_of(s));
    return sign + ((uint64_t)(exp + bias_of(s) - 1) << s->frac_bits) +
           (uint64_t)ldexpl(a, frac_of(s) - exp);
}

/* a >= 0 to an integer. */
static long double ref_integer(long double a, bool neg, int round, bool *inexact)
{
    long double down = floorl(a), rest = a - down;
    bool odd = fmodl(down, 2) == 1, up = false;

    *inexact = rest != 0;
    if (round == FPU_RNE)
        up = rest > 0.5L || (rest == 0.5L && odd);
    else if (round == FPU_RMM)
        up = rest >= 0.5L;
    else if (round == FPU_RDN || round == FPU_RUP)
        up = *inexact && neg == (round == FPU_RDN);
    else if (round == FPU_ROD)
        up = *inexact && !odd;
    return down + up;
}

static uint64_t ref_round(const Shape *s, long double v, Fpu *f)
{
    bool neg = signbit(v), tiny, inexact;
    int emin = 1 - bias_of(s), exp, quantum;
    long double a = fabsl(v), r;

    frexpl(a, &exp);
    quantum = exp - 1 - frac_of(s);
    r = ldexpl(ref_integer(ldexpl(a, -quantum), neg, f->round, &inexact), quantum);
    tiny = (f->tiny_before ? a : r) < ldexpl(1, emin);
    if (tiny && f->flush_out) {
        f->flags |= f->tiny_before ? FPU_UF : FPU_UF | FPU_NX;
        return sign_of(s, neg);
    }
    if (quantum < emin - frac_of(s)) {
        quantum = emin - frac_of(s);
        r = ldexpl(ref_integer(ldexpl(a, -quantum), neg, f->round, &inexact), quantum);
    }
    f->flags |= inexact ? FPU_NX : 0;
    f->flags |= inexact && tiny ? FPU_UF : 0;
    if (r >= ldexpl(1, bias_of(s) + 1)) {
        f->flags |= FPU_OF | FPU_NX;
        if (f->round == FPU_RTZ || f->round == FPU_ROD || f->round == (neg ? FPU_RUP : FPU_RDN))
            return sign_of(s, neg) | (inf_of(s) - 1);
        return sign_of(s, neg) | inf_of(s);
    }
    return encode(s, neg ? -r : r);
}

static uint64_t ref_default_nan(const Shape *s, const Fpu *f)
{
    return sign_of(s, f->nan == FPU_NAN_X86) | inf_of(s) | quiet_of(s);
}

/* The NaN made of operands v[0..n) of format `from`, in the order in which they are looked at. */
static uint64_t ref_nan(const Shape *from, const Shape *to, const uint64_t *v, int n, Fpu *f)
{
    uint64_t pick = 0, frac;
    bool signalling = false;

    for (int i = n - 1; i >= 0; i--) {
        signalling |= is_snan(from, v[i]);
        if (is_nan(from, v[i]))
            pick = v[i];
    }
    f->flags |= signalling ? FPU_NV : 0;
    if (f->nan == FPU_NAN_DEFAULT_RISCV)
        return ref_default_nan(to, f);
    for (int i = n - 1; i >= 0 && f->nan == FPU_NAN_ARM; i--)
        if (is_snan(from, v[i]))
            pick = v[i];
    frac = pick << (64 - from->frac_bits) >> (64 - to->frac_bits);
    return sign_of(to, neg_of(from, pick)) | inf_of(to) | quiet_of(to) | frac;
}

/* What the operation sees of subnormal operands; true when it uses one. */
static bool ref_take(const Shape *s, uint64_t *v, int n, Fpu *f)
{
    bool used = false;

    for (int i = 0; i < n; i++) {
        if (!is_subnormal(s, v[i]))
            continue;
        if (f->flush_in) {
            v[i] = sign_of(s, neg_of(s, v[i]));
            f->flags |= FPU_ID;
        } else {
            used = true;
        }
    }
    return used && f->nan == FPU_NAN_X86;
}

typedef enum { ADD, SUB, MUL, DIV, SQRT, FMA, ARITHS } Arith;
static const struct { const char *name; int operands; } ariths[ARITHS] = {
    { "add", 2 }, { "sub", 2 }, { "mul", 2 }, { "div", 2 }, { "sqrt", 1 }, { "fma", 3 },
};

/* The operation in long double under a direction of <fenv.h>, and what it raised. */
static long double host_arith(Arith op, const long double *v, int direction, int *raised)
{
    volatile long double a = v[0], b = v[1], c = v[2], r;

    fesetround(direction);
    feclearexcept(FE_ALL_EXCEPT);
    switch (op) {
    case ADD: r = a + b; break;
    case SUB: r = a - b; break;
    case MUL: r = a * b; break;
    case DIV: r = a / b; break;
    case SQRT: r = sqrtl(a); break;
    default: r = fmal(a, b, c); break;
    }
    *raised = fetestexcept(FE_ALL_EXCEPT);
    fesetround(FE_TONEAREST);
    return r;
}

static uint64_t ref_arith(const Shape *s, Arith op, uint64_t v[3], Fpu *f)
{
    int n = ariths[op].operands, raised;
    bool used = ref_take(s, v, n, f), nan = false;
    uint64_t order[3] = { v[0], v[1], v[2] };
    union { long double v; uint64_t sig; } r;
    long double x[3] = { 0 };

    for (int i = 0; i < n; i++) {
        nan |= is_nan(s, v[i]);
        x[i] = is_nan(s, v[i]) ? 0 : value_of(s, v[i]);
    }
    if (op == FMA && ((x[0] == 0 && isinf(x[1])) || (isinf(x[0]) && x[1] == 0)) &&
        !is_nan(s, v[0]) && !is_nan(s, v[1]) && !is_snan(s, v[2]) &&
        !(is_nan(s, v[2]) && f->nan == FPU_NAN_X86)) {
        f->flags |= FPU_NV;
        return ref_default_nan(s, f);
    }
    if (op == FMA && f->nan == FPU_NAN_ARM)
        order[0] = v[2], order[1] = v[0], order[2] = v[1];
    if (nan)
        return ref_nan(s, s, order, n, f);
    r.v = host_arith(op, x, FE_TOWARDZERO, &raised);
    if (raised & FE_INVALID) {
        f->flags |= FPU_NV;
        return ref_default_nan(s, f);
    }
    f->flags |= raised & FE_DIVBYZERO ? FPU_DZ : used ? FPU_DE : 0;
    if (isinf(r.v))
        return encode(s, r.v);
    if (r.v == 0)
        return encode(s, f->round == FPU_RDN ? host_arith(op, x, FE_DOWNWARD, &raised) : r.v);
    r.sig |= raised & FE_INEXACT ? 1 : 0;
    return ref_round(s, r.v, f);
}

static uint64_t ref_convert(const Shape *from, const Shape *to, uint64_t a, Fpu *f)
{
    bool used = ref_take(from, &a, 1, f);

    if (is_nan(from, a))
        return ref_nan(from, to, &a, 1, f);
    f->flags |= used ? FPU_DE : 0;
    if (mag_of(from, a) == 0 || mag_of(from, a) == inf_of(from))
        return encode(to, value_of(from, a));
    return ref_round(to, value_of(from, a), f);
}

static uint64_t ref_round_int(const Shape *s, uint64_t a, int round, bool exact, Fpu *f)
{
    bool inexact;
    long double v;

    ref_take(s, &a, 1, f);
    if (is_nan(s, a))
        return ref_nan(s, s, &a, 1, f);
    if (mag_of(s, a) == inf_of(s))
        return a;
    v = value_of(s, a);
    v = copysignl(ref_integer(fabsl(v), neg_of(s, a), round, &inexact), v);
    f->flags |= inexact && exact ? FPU_NX : 0;
    return encode(s, v);
}

/* An integer of `bits` bits, as 64. */
static uint64_t ref_to_int(const Shape *s, uint64_t a, int round, int bits, bool is_signed, Fpu *f)
{
    uint64_t most = UINT64_MAX >> (64 - bits + is_signed), least = is_signed ? -most - 1 : 0;
    long double low = is_signed ? -ldexpl(1, bits - 1) : 0, high = most, v = 0;
    bool inexact = false, nan = is_nan(s, a);

    ref_take(s, &a, 1, f);
    if (!nan) {
        v = value_of(s, a);
        v = isinf(v) ? v : copysignl(ref_integer(fabsl(v), neg_of(s, a), round, &inexact), v);
    }
    if (nan || v < low || v > high) {
        f->flags |= FPU_NV;
        if (f->to_int == FPU_INT_X86)
            return is_signed ? least : most;
        return nan ? (f->to_int == FPU_INT_ARM ? 0 : most) : v < 0 ? least : most;
    }
    f->flags |= inexact ? FPU_NX : 0;
    return v < 0 ? -(uint64_t)-v : (uint64_t)v;
}

/* The functions of one format, widened to 64 bits. */
typedef struct Soft {
    uint64_t (*arith)(Fpu *, Arith, const uint64_t *);
    uint64_t (*to)(Fpu *, uint64_t, int format);
    uint64_t (*to_int)(Fpu *, uint64_t, int round, int bits, bool is_signed);
    uint64_t (*from_int)(Fpu *, uint64_t, bool is_signed);
    uint64_t (*round_int)(Fpu *, uint64_t, int round, bool exact);
    uint64_t (*minmax)(Fpu *, int which, uint64_t, uint64_t);
    int (*compare)(Fpu *, int which, uint64_t, uint64_t);
    unsigned (*classify)(uint64_t);
} Soft;

static uint64_t same(Fpu *f, uint64_t a) { (void)f; return a; }
#define f16_to_f16 same
#define bf16_to_bf16 same
#define f32_to_f32 same
#define f64_to_f64 same

#define SOFT(F, U)                                                                      \
    static uint64_t F##_soft_arith(Fpu *f, Arith op, const uint64_t *v)                 \
    {                                                                                   \
        switch (op) {                                                                   \
        case ADD: return F##_add(f, v[0], v[1]);                                        \
        case SUB: return F##_sub(f, v[0], v[1]);                                        \
        case MUL: return F##_mul(f, v[0], v[1]);                                        \
        case DIV: return F##_div(f, v[0], v[1]);                                        \
        case SQRT: return F##_sqrt(f, v[0]);                                            \
        default: return F##_fma(f, v[0], v[1], v[2]);                                   \
        }                                                                               \
    }                                                                                   \
    static uint64_t F##_soft_to(Fpu *f, uint64_t a, int format)                         \
    {                                                                                   \
        switch (format) {                                                               \
        case F16: return F##_to_f16(f, a);                                              \
        case BF16: return F##_to_bf16(f, a);                                            \
        case F32: return F##_to_f32(f, a);                                              \
        default: return F##_to_f64(f, a);                                               \
        }                                                                               \
    }                                                                                   \
    static uint64_t F##_soft_to_int(Fpu *f, uint64_t a, int round, int bits, bool is_signed) \
    {                                                                                   \
        if (bits == 32)                                                                 \
            return is_signed ? (uint64_t)F##_to_i32(f, a, round) : F##_to_u32(f, a, round); \
        if (bits == 64)                                                                 \
            return is_signed ? (uint64_t)F##_to_i64(f, a, round) : F##_to_u64(f, a, round); \
        return is_signed ? (uint64_t)F##_to_int(f, a, round, bits)                      \
                         : F##_to_uint(f, a, round, bits);                              \
    }                                                                                   \
    static uint64_t F##_soft_from_int(Fpu *f, uint64_t i, bool is_signed)               \
    {                                                                                   \
        return is_signed ? F##_from_i64(f, i) : F##_from_u64(f, i);                     \
    }                                                                                   \
    static uint64_t F##_soft_round_int(Fpu *f, uint64_t a, int round, bool exact)       \
    {                                                                                   \
        return F##_round_int(f, a, round, exact);                                       \
    }                                                                                   \
    static uint64_t F##_soft_minmax(Fpu *f, int which, uint64_t a, uint64_t b)          \
    {                                                                                   \
        switch (which) {                                                                \
        case 0: return F##_min(f, a, b);                                                \
        case 1: return F##_max(f, a, b);                                                \
        case 2: return F##_minimum(f, a, b);                                            \
        case 3: return F##_maximum(f, a, b);                                            \
        case 4: return F##_min_num(f, a, b);                                            \
        default: return F##_max_num(f, a, b);                                           \
        }                                                                               \
    }                                                                                   \
    static int F##_soft_compare(Fpu *f, int which, uint64_t a, uint64_t b)              \
    {                                                                                   \
        switch (which) {                                                                \
        case 0: return F##_eq(f, a, b);                                                 \
        case 1: return F##_lt_quiet(f, a, b);                                           \
        case 2: return F##_le_quiet(f, a, b);                                           \
        case 3: return F##_lt(f, a, b);                                                 \
        default: return F##_le(f, a, b);                                                \
        }                                                                               \
    }                                                                                   \
    static unsigned F##_soft_classify(uint64_t a) { return F##_classify(a); }
FPU_FORMATS(SOFT)

#define SOFT_ROW(F, U)                                                                  \
    { F##_soft_arith, F##_soft_to, F##_soft_to_int, F##_soft_from_int, F##_soft_round_int, \
      F##_soft_minmax, F##_soft_compare, F##_soft_classify },
static const Soft softs[FORMATS] = { FPU_FORMATS(SOFT_ROW) };

static int fmt;                 /* the format under test */
static unsigned count;

/* The i-th setting: guests as they are, then any mixture. */
static Fpu setting(unsigned i)
{
    uint64_t r = rng();
    Fpu f = { .round = r % 6 };

    if (i % 4 == 0)
        return f;
    f.nan = (r >> 8) % 3;
    f.to_int = (r >> 16) % 3;
    f.tiny_before = r >> 24 & 1;
    f.flush_in = (r >> 25 & 3) == 0;
    f.flush_out = (r >> 27 & 3) == 0;
    return f;
}

static void test_arith(void)
{
    const Shape *s = &shapes[fmt];

    for (unsigned i = 0; i < count; i++) {
        Arith op = i % ARITHS;
        Fpu f = setting(i / ARITHS), g = f;
        uint64_t v[3], w[3], got, want;

        random_operands(s, v);
        if (op == FMA && rng() % 4 == 0)        /* an addend that cancels the product */
            v[2] = softs[fmt].arith(&(Fpu) { 0 }, MUL, v) ^ sign_of(s, 1);
        memcpy(w, v, sizeof(w));
        got = softs[fmt].arith(&f, op, v);
        want = ref_arith(s, op, w, &g);
        if (got != want || f.flags != g.flags)
            report(ariths[op].name, &f, v, got, f.flags, want, g.flags);
    }
}

static void test_convert(void)
{
    for (unsigned i = 0; i < count / 2; i++) {
        int to = i % FORMATS;
        Fpu f = setting(i / FORMATS), g = f;
        uint64_t v[3] = { random_float(&shapes[fmt]), to }, got, want;

        if (to == fmt)
            continue;
        got = softs[fmt].to(&f, v[0], to);
        want = ref_convert(&shapes[fmt], &shapes[to], v[0], &g);
        if (got != want || f.flags != g.flags)
            report(shapes[to].name, &f, v, got, f.flags, want, g.flags);
    }
}

static void test_to_int(void)
{
    for (unsigned i = 0; i < count; i++) {
        int bits = 8 << (i & 3);
        Fpu f = setting(i / 4), g = f;
        uint64_t v[3] = { random_float(&shapes[fmt]), i >> 2 & 1, bits }, got, want;

        got = softs[fmt].to_int(&f, v[0], f.round, bits, v[1]);
        want = ref_to_int(&shapes[fmt], v[0], g.round, bits, v[1], &g);
        if (got != want || f.flags != g.flags)
            report("to_int", &f, v, got, f.flags, want, g.flags);
    }
}

static void test_from_int(void)
{
    for (unsigned i = 0; i < count / 2; i++) {
        Fpu f = setting(i / 2), g = f;
        uint64_t v[3] = { random_int(), i & 1 }, got, want = 0;
        long double x = v[1] ? (long double)(int64_t)v[0] : (long double)v[0];

        got = softs[fmt].from_int(&f, v[0], v[1]);
        if (x != 0)
            want = ref_round(&shapes[fmt], x, &g);
        if (got != want || f.flags != g.flags)
            report("from_int", &f, v, got, f.flags, want, g.flags);
    }
}

static void test_round_int(void)
{
    for (unsigned i = 0; i < count; i++) {
        Fpu f = setting(i / 2), g = f;
        uint64_t v[3] = { random_float(&shapes[fmt]), i & 1 }, got, want;
        int round = f.round;

        f.round = g.round = rng() % 5;          /* must not matter */
        got = softs[fmt].round_int(&f, v[0], round, v[1]);
        want = ref_round_int(&shapes[fmt], v[0], round, v[1], &g);
        if (got != want || f.flags != g.flags)
            report("round_int", &f, v, got, f.flags, want, g.flags);
    }
}

/* which: 0 min, 1 max of numbers; 2, 3 of 754-2019 plain; 4, 5 of 754-2008 */
static uint64_t ref_minmax(const Shape *s, int which, uint64_t v[3], Fpu *f)
{
    bool used = ref_take(s, v, 2, f), a = is_nan(s, v[0]), b = is_nan(s, v[1]), less;
    bool signalling = is_snan(s, v[0]) || is_snan(s, v[1]);
    long double x, y;

    (void)used;         /* only the x86 kind says DE */
    if (a || b) {
        f->flags |= signalling ? FPU_NV : 0;
        if (which < 2)
            return a && b ? ref_default_nan(s, f) : a ? v[1] : v[0];
        if (which < 4 || (a && b) || signalling)
            return ref_nan(s, s, v, 2, f);
        return a ? v[1] : v[0];
    }
    x = value_of(s, v[0]);
    y = value_of(s, v[1]);
    less = x < y || (x == y && signbit(x));
    return less == !(which & 1) ? v[0] : v[1];
}

static void test_minmax(void)
{
    for (unsigned i = 0; i < count; i++) {
        int which = i % 6;
        Fpu f = setting(i / 6), g = f;
        uint64_t v[3], got, want;

        random_operands(&shapes[fmt], v);
        v[2] = which;
        got = softs[fmt].minmax(&f, which, v[0], v[1]);
        want = ref_minmax(&shapes[fmt], which, v, &g);
        if (got != want || f.flags != g.flags)
            report("minmax", &f, v, got, f.flags, want, g.flags);
    }
}

/* which: 0 eq, 1 lt quiet, 2 le quiet, 3 lt, 4 le */
static bool ref_compare(const Shape *s, int which, uint64_t v[3], Fpu *f)
{
    bool used = ref_take(s, v, 2, f);
    long double x, y;

    if (is_nan(s, v[0]) || is_nan(s, v[1])) {
        if (which > 2 || is_snan(s, v[0]) || is_snan(s, v[1]))
            f->flags |= FPU_NV;
        return false;
    }
    f->flags |= used ? FPU_DE : 0;
    x = value_of(s, v[0]);
    y = value_of(s, v[1]);
    return which == 0 ? x == y : which & 1 ? x < y : x <= y;
}

static void test_compare(void)
{
    for (unsigned i = 0; i < count; i++) {
        int which = i % 5;
        Fpu f = setting(i / 5), g = f;
        uint64_t v[3];
        bool got, want;

        random_operands(&shapes[fmt], v);
        v[2] = which;
        got = softs[fmt].compare(&f, which, v[0], v[1]);
        want = ref_compare(&shapes[fmt], which, v, &g);
        if (got != want || f.flags != g.flags)
            report("compare", &f, v, got, f.flags, want, g.flags);
    }
}

static void test_classify(void)
{
    const Shape *s = &shapes[fmt];

    for (unsigned i = 0; i < count / 4; i++) {
        uint64_t x = random_float(s), mag = mag_of(s, x);
        int rank = mag == 0 ? 0 : is_subnormal(s, x) ? 1 : mag < inf_of(s) ? 2 : 3;
        int bit = is_snan(s, x) ? 8 : is_nan(s, x) ? 9 : neg_of(s, x) ? 3 - rank : 4 + rank;

        if (softs[fmt].classify(x) != 1u << bit)
            report("classify", &(Fpu) { 0 }, (uint64_t[3]) { x }, softs[fmt].classify(x), 0,
                   1u << bit, 0);
    }
}

/* JavaScript's ToInt32; the flags are those of a conversion to 32 bits. */
static void test_modular(void)
{
    for (unsigned i = 0; i < count; i++) {
        Fpu f = { .round = rng() % 5 }, g = f;
        uint64_t v[3] = { random_float(&shapes[F64]) };
        int64_t got, want = 0;

        if (i & 1)      /* where the low bits of the integer are inside the fraction */
            v[0] = (v[0] & ~(UINT64_C(0x7ff) << 52)) | (0x3ff + rng() % 90) << 52;
        got = f64_to_i32_mod(&f, v[0]);
        ref_to_int(&shapes[F64], v[0], FPU_RTZ, 32, true, &g);
        if (mag_of(&shapes[F64], v[0]) < inf_of(&shapes[F64]))
            want = (int32_t)(int64_t)fmodl(truncl(value_of(&shapes[F64], v[0])), 4294967296.0L);
        if (got != want || f.flags != g.flags)
            report("to_i32_mod", &f, v, got, f.flags, want, g.flags);
    }
}

int main(int argc, char **argv)
{
    if (LDBL_MANT_DIG != 64) {
        printf("long double has %d bits here, not 64\n", LDBL_MANT_DIG);
        return 77;
    }
    fpu_test_start(argc, argv);
    count = 300000 * test_scale;
    for (fmt = 0; fmt < FORMATS; fmt++) {
        printf("%s\n", shapes[fmt].name);
        RUN(test_arith);
        RUN(test_convert);
        RUN(test_to_int);
        RUN(test_from_int);
        RUN(test_round_int);
        RUN(test_minmax);
        RUN(test_compare);
        RUN(test_classify);
    }
    RUN(test_modular);
    return test_end();
}
