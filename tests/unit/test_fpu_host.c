/* SPDX-License-Identifier: MIT */
/*
 * Differential test of fpu/ against the host's SSE unit: every f32 and f64 operation that
 * SSE, FMA3, F16C and AVX-512 have, under the four rounding modes of MXCSR, with and without
 * DAZ and FTZ; results, NaN payloads and all six flags must be equal. So this tests the x86
 * rules whole, and the arithmetic that all guests share; RISC-V's own rules are for test_fpu
 * and test_fpu_riscv.
 */
#include <cpuid.h>
#include "tests/unit/fpu-test.h"

/* Three operands; MXCSR in and out. */
typedef uint64_t HostOp(uint64_t a, uint64_t b, uint64_t c, uint32_t *csr);
typedef uint64_t SoftOp(Fpu *f, uint64_t a, uint64_t b, uint64_t c);

typedef float HostF32;
typedef double HostF64;
typedef uint64_t HostInt;

/* The operands are %2 %3 %4, of type `in` in registers of class `inc`; the result is %0. */
#define HOST(name, insn, out, outc, in, inc)                                            \
    static uint64_t host_##name(uint64_t a, uint64_t b, uint64_t c, uint32_t *csr)      \
    {                                                                                   \
        union { uint64_t u; in v; } x = { a }, y = { b }, z = { c };                    \
        union { uint64_t u; out v; } r = { 0 };                                         \
        uint32_t was;                                                                   \
        __asm__ volatile("stmxcsr %5\n\tldmxcsr %1\n\t" insn                            \
                         "\n\tstmxcsr %1\n\tldmxcsr %5"                                 \
                         : "=&" outc (r.v), "+m" (*csr)                                 \
                         : inc (x.v), inc (y.v), inc (z.v), "m" (was)                   \
                         : "cc", "rax", "xmm15", "memory");                             \
        return r.u;                                                                     \
    }
#define SOFT(name, expr)                                                                \
    static uint64_t soft_##name(Fpu *f, uint64_t a, uint64_t b, uint64_t c)             \
    {                                                                                   \
        (void)b, (void)c;                                                               \
        return expr;                                                                    \
    }
#define FF(name, insn, H, expr) HOST(name, insn, H, "x", H, "x") SOFT(name, expr)
#define XF(name, insn, H, expr) HOST(name, insn, HostInt, "r", H, "x") SOFT(name, expr)
#define FX(name, insn, H, expr) HOST(name, insn, H, "x", HostInt, "r") SOFT(name, expr)

/* EFLAGS after (U)COMIS: ZF 0x40, PF 4, CF 1. */
static uint64_t eflags(int order)
{
    return order == FPU_UNORDERED ? 0x45 : order == FPU_EQUAL ? 0x40 : order == FPU_LESS;
}
#define GET_EFLAGS "\n\tlahf\n\tmovzbl %%ah,%k0\n\tandl $0x45,%k0"

/* VCVTPH2PS takes no notice of DAZ and never says DE. */
static uint64_t from_half(Fpu *f, uint64_t a)
{
    uint8_t was = f->flags;
    uint64_t r = f16_to_f32(f, a);

    f->flags &= ~FPU_DE | was;
    return r;
}

/* For F = f32 or f64, H its host type, s its letter in mnemonics. */
#define FORMAT(F, H, s)                                                                 \
    FF(F##_add, "vadds" s " %3,%2,%0", H, F##_add(f, a, b))                             \
    FF(F##_sub, "vsubs" s " %3,%2,%0", H, F##_sub(f, a, b))                             \
    FF(F##_mul, "vmuls" s " %3,%2,%0", H, F##_mul(f, a, b))                             \
    FF(F##_div, "vdivs" s " %3,%2,%0", H, F##_div(f, a, b))                             \
    FF(F##_sqrt, "vsqrts" s " %2,%2,%0", H, F##_sqrt(f, a))                             \
    FF(F##_fma, "vmovaps %3,%%xmm15\n\tvfmadd213s" s " %4,%2,%%xmm15\n\tvmovaps %%xmm15,%0", \
       H, F##_fma(f, a, b, c))                                                          \
    FF(F##_min, "vmins" s " %3,%2,%0", H, F##_min_x86(f, a, b))                         \
    FF(F##_max, "vmaxs" s " %3,%2,%0", H, F##_max_x86(f, a, b))                         \
    FF(F##_rint, "vrounds" s " $4,%2,%2,%0", H, F##_round_int(f, a, f->round, true))    \
    FF(F##_nearbyint, "vrounds" s " $12,%2,%2,%0", H, F##_round_int(f, a, f->round, false)) \
    FF(F##_ceil, "vrounds" s " $10,%2,%2,%0", H, F##_round_int(f, a, FPU_RUP, false))   \
    XF(F##_to_i32, "vcvts" s "2si %2,%k0", H, (uint32_t)F##_to_i32(f, a, f->round))     \
    XF(F##_to_i64, "vcvts" s "2si %2,%q0", H, F##_to_i64(f, a, f->round))               \
    XF(F##_trunc_i32, "vcvtts" s "2si %2,%k0", H, (uint32_t)F##_to_i32(f, a, FPU_RTZ))  \
    XF(F##_trunc_i64, "vcvtts" s "2si %2,%q0", H, F##_to_i64(f, a, FPU_RTZ))            \
    XF(F##_to_u32, "vcvts" s "2usi %2,%k0", H, F##_to_u32(f, a, f->round))              \
    XF(F##_to_u64, "vcvts" s "2usi %2,%q0", H, F##_to_u64(f, a, f->round))              \
    XF(F##_comi, "vcomis" s " %3,%2" GET_EFLAGS, H, eflags(F##_compare(f, a, b, true))) \
    XF(F##_ucomi, "vucomis" s " %3,%2" GET_EFLAGS, H, eflags(F##_compare(f, a, b, false))) \
    FX(F##_from_i32, "vcvtsi2s" s "l %k2,%%xmm15,%0", H, F##_from_i64(f, (int32_t)a))   \
    FX(F##_from_i64, "vcvtsi2s" s "q %q2,%%xmm15,%0", H, F##_from_i64(f, a))            \
    FX(F##_from_u64, "vcvtusi2s" s "q %q2,%%xmm15,%0", H, F##_from_u64(f, a))
FORMAT(f32, HostF32, "s")
FORMAT(f64, HostF64, "d")
HOST(f32_to_f64, "vcvtss2sd %2,%2,%0", HostF64, "x", HostF32, "x")
SOFT(f32_to_f64, f32_to_f64(f, a))
HOST(f64_to_f32, "vcvtsd2ss %2,%2,%0", HostF32, "x", HostF64, "x")
SOFT(f64_to_f32, f64_to_f32(f, a))
FF(f16_to_f32, "vcvtph2ps %2,%0", HostF32, from_half(f, a))
FF(f32_to_f16, "vcvtps2ph $4,%2,%0", HostF32, f32_to_f16(f, a))

enum { AVX512 = 1, NO_DAZ_FTZ = 2, INTEGER = 4 };
typedef struct Row {
    const char *name;
    HostOp *host;
    SoftOp *soft;
    int format, out_bits, flags;
} Row;
#define ROW(name, format, bits, flags) { #name, host_##name, soft_##name, format, bits, flags }
#define ROWS(F, S, bits)                                                                \
    ROW(F##_add, S, bits, 0), ROW(F##_sub, S, bits, 0), ROW(F##_mul, S, bits, 0),       \
    ROW(F##_div, S, bits, 0), ROW(F##_sqrt, S, bits, 0), ROW(F##_fma, S, bits, 0),      \
    ROW(F##_min, S, bits, 0), ROW(F##_max, S, bits, 0), ROW(F##_rint, S, bits, 0),      \
    ROW(F##_nearbyint, S, bits, 0), ROW(F##_ceil, S, bits, 0), ROW(F##_to_i32, S, 32, 0), \
    ROW(F##_to_i64, S, 64, 0), ROW(F##_trunc_i32, S, 32, 0), ROW(F##_trunc_i64, S, 64, 0), \
    ROW(F##_to_u32, S, 32, AVX512), ROW(F##_to_u64, S, 64, AVX512),                     \
    ROW(F##_comi, S, 64, 0), ROW(F##_ucomi, S, 64, 0),                                  \
    ROW(F##_from_i32, S, bits, INTEGER), ROW(F##_from_i64, S, bits, INTEGER),           \
    ROW(F##_from_u64, S, bits, INTEGER | AVX512)
static const Row rows[] = {
    ROWS(f32, F32, 32), ROWS(f64, F64, 64),
    ROW(f32_to_f64, F32, 64, 0), ROW(f64_to_f32, F64, 32, 0),
    ROW(f16_to_f32, F16, 32, NO_DAZ_FTZ), ROW(f32_to_f16, F32, 16, NO_DAZ_FTZ),
};

enum { MXCSR_MASKED = 0x1f80, MXCSR_DAZ = 0x40, MXCSR_FTZ = 0x8000 };

static uint32_t csr_of(const Fpu *f)
{
    static const uint8_t rc[] = { [FPU_RNE] = 0, [FPU_RDN] = 1, [FPU_RUP] = 2, [FPU_RTZ] = 3 };

    return MXCSR_MASKED | (uint32_t)rc[f->round] << 13 | (f->flush_in ? MXCSR_DAZ : 0) |
           (f->flush_out ? MXCSR_FTZ : 0);
}

/* IE DE ZE OE UE PE */
static uint8_t flags_of(uint32_t csr)
{
    static const uint8_t bit[] = { FPU_NV, FPU_DE, FPU_DZ, FPU_OF, FPU_UF, FPU_NX };
    uint8_t flags = 0;

    for (int i = 0; i < 6; i++)
        flags |= csr >> i & 1 ? bit[i] : 0;
    return flags;
}

static void check_one(const Row *r, Fpu *f, const uint64_t v[3])
{
    uint64_t mask = UINT64_MAX >> (64 - r->out_bits), want, got;
    uint32_t csr = csr_of(f);

    f->flags = 0;
    want = r->host(v[0], v[1], v[2], &csr) & mask;
    got = r->soft(f, v[0], v[1], v[2]) & mask;
    f->flags &= ~FPU_ID;
    if (got != want || f->flags != flags_of(csr))
        report(r->name, f, v, got, f->flags, want, flags_of(csr));
}

static void make_operands(const Row *r, Fpu *f, uint64_t v[3])
{
    if (r->flags & INTEGER) {
        v[0] = random_int();
        v[1] = v[2] = 0;
        return;
    }
    random_operands(&shapes[r->format], v);
    if (strstr(r->name, "fma") && rng() % 4 == 0)       /* an addend that cancels the product */
        v[2] = (r->format == F32 ? f32_mul(f, v[0], v[1]) ^ UINT32_C(1) << 31
                                 : f64_mul(f, v[0], v[1]) ^ UINT64_C(1) << 63);
}

static const Row *row;
static unsigned count;

static void test_row(void)
{
    Fpu f = { .nan = FPU_NAN_X86, .to_int = FPU_INT_X86 };
    uint64_t v[3];

    for (unsigned i = 0; i < count; i++) {
        f.round = i & 3;
        f.flush_in = (i & 28) == 4 && !(row->flags & NO_DAZ_FTZ);
        f.flush_out = (i & 20) == 4 && !(row->flags & NO_DAZ_FTZ);
        make_operands(row, &f, v);
        check_one(row, &f, v);
    }
    if (test_case_bad)
        printf("%s differs in %d of %u\n", row->name, test_case_bad, count);
}

/* All numbers of 16 bits, and for narrowing all f32 whose upper 20 bits differ. */
static void test_half_exhaustive(void)
{
    static const Row up = ROW(f16_to_f32, F16, 32, 0), down = ROW(f32_to_f16, F32, 16, 0);
    Fpu f = { .nan = FPU_NAN_X86 };

    for (uint64_t i = 0; i < 1 << 16; i++)
        check_one(&up, &f, (uint64_t[3]) { i });
    for (uint64_t i = 0; i < 1 << 22; i++) {
        f.round = i & 3;
        check_one(&down, &f, (uint64_t[3]) { i >> 2 << 12 | (rng() & rng() & 0xfff) });
    }
}

/* How long an operation takes, for the curious: LYRE_FPU_TIMES=1 */
static void print_times(void)
{
    enum { N = 1 << 10, ROUNDS = 1 << 11 };
    static uint64_t v[N][3];

    for (const Row *r = rows; r < rows + sizeof(rows) / sizeof(*rows); r++) {
        Fpu f = { 0 };
        struct timespec t0, t1;
        uint64_t sum = 0;

        for (int i = 0; i < N; i++) {
            for (int j = 0; j < 3; j++) {       /* numbers between 1/32 and 32 */
                const Shape *s = &shapes[r->format];
                uint64_t bias = (1 << (s->exp_bits - 1)) - 1;
                v[i][j] = (bias - 5 + rng() % 10) << s->frac_bits | random_frac(s->frac_bits);
            }
        }
        clock_gettime(CLOCK_MONOTONIC, &t0);
        for (int n = 0; n < ROUNDS; n++)
            for (int i = 0; i < N; i++)
                sum += r->soft(&f, v[i][0], v[i][1], v[i][2]);
        clock_gettime(CLOCK_MONOTONIC, &t1);
        printf("%-16s %5.1f ns   (%" PRIx64 ")\n", r->name,
               ((t1.tv_sec - t0.tv_sec) * 1e9 + t1.tv_nsec - t0.tv_nsec) / N / ROUNDS, sum);
    }
}

/* Not every compiler's __builtin_cpu_supports knows it. */
static bool has_f16c(void)
{
    unsigned a, b, c = 0, d;

    return __get_cpuid(1, &a, &b, &c, &d) && c & bit_F16C;
}

int main(int argc, char **argv)
{
    bool avx512 = __builtin_cpu_supports("avx512f");

    if (!__builtin_cpu_supports("fma") || !has_f16c()) {
        printf("this host's processor lacks FMA3 or F16C: nothing to compare with\n");
        return 77;
    }
    fpu_test_start(argc, argv);
    if (getenv("LYRE_FPU_TIMES")) {
        print_times();
        return 0;
    }
    count = 400000 * test_scale;
    for (row = rows; row < rows + sizeof(rows) / sizeof(*rows); row++) {
        if (row->flags & AVX512 && !avx512)
            printf("%s: skipped, the processor lacks AVX-512\n", row->name);
        else
            RUN(test_row);
    }
    RUN(test_half_exhaustive);
    return test_end();
}
