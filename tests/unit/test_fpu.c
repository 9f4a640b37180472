/* SPDX-License-Identifier: MIT */
/*
 * Fixed vectors for fpu/: the cases that manuals spell out and implementations get wrong.
 * Each was worked out from the manual by hand. Random operands are for test_fpu_ref (all
 * formats, all modes), test_fpu_host (against SSE) and test_fpu_riscv (against another RISC-V
 * implementation).
 */
#include "fpu/fpu.h"
#include "tests/unit/test.h"

/* The call gives this result and raises exactly these flags. */
#define V(call, want, want_flags)       \
    do {                                \
        f.flags = 0;                    \
        CHECK_EQ(call, want);           \
        CHECK_EQ(f.flags, want_flags);  \
    } while (0)

enum { NX = FPU_NX, UF = FPU_UF, OF = FPU_OF, DZ = FPU_DZ, NV = FPU_NV, ID = FPU_ID };

#define F32_NAN     0x7fc00000
#define F32_SNAN    0x7f800001
#define F32_INF     0x7f800000
#define F32_MINF    0xff800000
#define F32_ONE     0x3f800000
#define F64_NAN     0x7ff8000000000000
#define F64_SNAN    0x7ff0000000000001
#define F64_INF     0x7ff0000000000000
#define F64_MINF    0xfff0000000000000
#define F64_ONE     0x3ff0000000000000

static Fpu f;

static void set_riscv(uint8_t round)
{
    f = (Fpu) { .round = round };
}

static void set_arm(void)
{
    f = (Fpu) { .nan = FPU_NAN_ARM, .to_int = FPU_INT_ARM, .tiny_before = true };
}

static void test_ties(void)
{
    set_riscv(FPU_RNE);
    V(f32_add(&f, F32_ONE, 0x33800000), F32_ONE, NX);           /* 1 + 2^-24 */
    V(f32_add(&f, 0x3f800001, 0x33800000), 0x3f800002, NX);
    V(f64_add(&f, F64_ONE, 0x3ca0000000000000), F64_ONE, NX);   /* 1 + 2^-53 */
    set_riscv(FPU_RMM);
    V(f32_add(&f, F32_ONE, 0x33800000), 0x3f800001, NX);
    V(f32_add(&f, 0xbf800000, 0xb3800000), 0xbf800001, NX);
    V(f32_add(&f, F32_ONE, 0x337fffff), F32_ONE, NX);           /* just below the tie */
    V(f64_add(&f, F64_ONE, 0x3ca0000000000000), 0x3ff0000000000001, NX);
    V(f64_add(&f, 0xbff0000000000000, 0xbca0000000000000), 0xbff0000000000001, NX);
    V(f16_add(&f, 0x3c00, 0x1000), 0x3c01, NX);                 /* 1 + 2^-11 */
    V(f64_to_f32(&f, 0x3ff0000010000000), 0x3f800001, NX);
    V(f32_mul(&f, 1, 0x3f000000), 1, UF | NX);                  /* half the least subnormal */
    set_riscv(FPU_RNE);
    V(f32_mul(&f, 1, 0x3f000000), 0, UF | NX);
    set_riscv(FPU_RDN);
    V(f32_add(&f, F32_ONE, 0xbf800000), 0x80000000, 0);
    V(f32_mul(&f, 0x80000001, 1), 0x80000001, UF | NX);
    set_riscv(FPU_ROD);
    V(f64_to_f32(&f, 0x3ff0000000001000), 0x3f800001, NX);
    V(f64_to_f32(&f, 0x3ff0000030000000), 0x3f800001, NX);
    V(f64_to_f32(&f, 0x7fe0000000000000), 0x7f7fffff, OF | NX);
    V(f64_to_f32(&f, 1), 1, UF | NX);
}

static void test_overflow(void)
{
    static const uint32_t plus[] = { F32_INF, 0x7f7fffff, 0x7f7fffff, F32_INF, F32_INF };
    static const uint32_t minus[] = { F32_MINF, 0xff7fffff, F32_MINF, 0xff7fffff, F32_MINF };

    for (int round = 0; round < 5; round++) {
        set_riscv(round);
        V(f32_mul(&f, 0x7f7fffff, 0x40000000), plus[round], OF | NX);
        V(f32_mul(&f, 0xff7fffff, 0x40000000), minus[round], OF | NX);
        V(f32_div(&f, F32_ONE, 0x80000000), F32_MINF, DZ);
        V(f32_div(&f, F32_INF, 0), F32_INF, 0);
    }
    /* 65504 + 16 is a tie with what would be 65536; cut off it is in range and no overflow */
    set_riscv(FPU_RNE);
    V(f16_add(&f, 0x7bff, 0x4c00), 0x7c00, OF | NX);
    V(f16_from_u64(&f, 65519), 0x7bff, NX);
    set_riscv(FPU_RTZ);
    V(f16_add(&f, 0x7bff, 0x4c00), 0x7bff, NX);
}

/* Results that round up to the least normal number: which of them underflow? */
static void test_underflow(void)
{
    set_riscv(FPU_RNE);
    V(f32_mul(&f, 0x00800000, 0x3f7fffff), 0x00800000, UF | NX);    /* least * (1 - 2^-24) */
    V(f32_mul(&f, 0x00800400, 0x3f7ff800), 0x00800000, NX);         /* least * (1 - 2^-26) */
    V(f64_mul(&f, 0x0010000000000000, 0x3fefffffffffffff), 0x0010000000000000, UF | NX);
    V(f64_fma(&f, 0x0010000000000000, 0x3fefffffffffffff, 0x0000000000000001),
      0x0010000000000000, NX);
    V(f32_mul(&f, 0x00800000, 0x3f000000), 0x00400000, 0);          /* tiny and exact */
    set_riscv(FPU_RDN);
    V(f32_mul(&f, 0x00800400, 0x3f7ff800), 0x007fffff, UF | NX);
    set_riscv(FPU_RMM);
    V(f32_mul(&f, 0x00800400, 0x3f7ff800), 0x00800000, NX);
    set_arm();
    V(f32_mul(&f, 0x00800400, 0x3f7ff800), 0x00800000, UF | NX);
    V(f32_mul(&f, 0x00800000, 0x3f000000), 0x00400000, 0);
    f.flush_out = true;
    V(f32_mul(&f, 0x80800400, 0x3f7ff800), 0x80000000, UF);
    V(f32_mul(&f, 0x00800000, 0x3f000000), 0, UF);
    f.flush_in = true;
    V(f32_add(&f, 0x80000001, 0x80000000), 0x80000000, ID);
    V(f32_eq(&f, 0x80000001, 0), true, ID);
    V(f32_to_i32(&f, 0x80000001, FPU_RDN), 0, ID);
    V(f32_round_int(&f, 0x80000001, FPU_RDN, true), 0x80000000, ID);
}

static void test_invalid(void)
{
    set_riscv(FPU_RNE);
    V(f32_sub(&f, F32_INF, F32_INF), F32_NAN, NV);
    V(f32_mul(&f, 0x80000000, F32_INF), F32_NAN, NV);
    V(f32_div(&f, 0, 0x80000000), F32_NAN, NV);
    V(f32_div(&f, F32_INF, F32_MINF), F32_NAN, NV);
    V(f32_sqrt(&f, 0xbf800000), F32_NAN, NV);
    V(f32_sqrt(&f, 0x80000001), F32_NAN, NV);
    V(f32_sqrt(&f, 0x80000000), 0x80000000, 0);
    V(f32_sqrt(&f, F32_INF), F32_INF, 0);
    V(f32_sqrt(&f, F32_MINF), F32_NAN, NV);
    V(f32_add(&f, 0xffc12345, F32_ONE), F32_NAN, 0);        /* canonical, whatever came in */
    V(f32_add(&f, 0xff812345, F32_ONE), F32_NAN, NV);
    V(f64_fma(&f, F64_INF, 0, F64_NAN), F64_NAN, NV);       /* NV even though c is quiet */
    V(f64_fma(&f, 0, F64_MINF, F64_ONE), F64_NAN, NV);
    V(f64_fma(&f, F64_INF, F64_ONE, F64_MINF), F64_NAN, NV);
    V(f64_fma(&f, F64_INF, F64_NAN, 0), F64_NAN, 0);
    V(f64_fma(&f, F64_ONE, F64_ONE, 0xbff0000000000000), 0, 0);
    V(f64_to_f32(&f, 0xfff123456789abcd), F32_NAN, NV);
    V(f32_to_bf16(&f, 0xffffffff), 0x7fc0, 0);
    V(bf16_to_f32(&f, 0xff81), F32_NAN, NV);
    V(f16_to_f64(&f, 0xfe01), F64_NAN, 0);
}

/* Arm FPProcessNaNs, FPProcessNaNs3 and FPMulAdd; x86 has its own processor to be compared with. */
static void test_nan_arm(void)
{
    set_arm();
    V(f32_add(&f, 0x7fc00001, 0xff800002), 0xffc00002, NV);     /* the signalling one first */
    V(f32_add(&f, 0xffc00001, 0x7fc00002), 0xffc00001, 0);
    V(f32_add(&f, 0xff800001, 0x7f800002), 0xffc00001, NV);
    V(f32_sub(&f, F32_ONE, 0x7fc00002), 0x7fc00002, 0);
    V(f32_sub(&f, F32_INF, F32_INF), F32_NAN, NV);              /* default NaN: positive */
    V(f32_fma(&f, 0x7fc00001, 0x7fc00002, 0x7fc00003), 0x7fc00003, 0);
    V(f32_fma(&f, 0x7fc00001, 0x7f800002, 0x7fc00003), 0x7fc00002, NV);
    V(f32_fma(&f, F32_ONE, 0x7fc00002, F32_ONE), 0x7fc00002, 0);
    V(f32_fma(&f, F32_INF, 0, 0x7fc00003), F32_NAN, NV);
    V(f32_fma(&f, F32_INF, 0, 0x7f800003), 0x7fc00003, NV);
    V(f32_to_f64(&f, 0xff800001), 0xfff8000020000000, NV);
    V(f64_to_f16(&f, 0x7ff8040000000000), 0x7e01, 0);
    V(f32_min_num(&f, 0x7fc00001, F32_ONE), F32_ONE, 0);
    V(f32_min_num(&f, 0x7f800001, F32_ONE), 0x7fc00001, NV);
    V(f32_max_num(&f, 0x7fc00001, 0x7fc00002), 0x7fc00001, 0);
    V(f32_minimum(&f, 0x7fc00001, F32_ONE), 0x7fc00001, 0);
    V(f32_maximum(&f, 0, 0x80000000), 0, 0);
    V(f32_to_i32(&f, F32_NAN, FPU_RTZ), 0, NV);
    V(f32_to_u64(&f, 0xbf800000, FPU_RTZ), 0, NV);
    V(f32_to_i64(&f, F32_MINF, FPU_RTZ), INT64_MIN, NV);
}

static void test_minmax(void)
{
    set_riscv(FPU_RNE);
    V(f32_min(&f, 0x80000000, 0), 0x80000000, 0);
    V(f32_min(&f, 0, 0x80000000), 0x80000000, 0);
    V(f32_max(&f, 0x80000000, 0), 0, 0);
    V(f32_max(&f, 0, 0x80000000), 0, 0);
    V(f32_min(&f, F32_NAN, F32_ONE), F32_ONE, 0);
    V(f32_min(&f, F32_SNAN, F32_ONE), F32_ONE, NV);
    V(f32_max(&f, F32_ONE, F32_SNAN), F32_ONE, NV);
    V(f32_max(&f, 0xffc00001, 0xffc00001), F32_NAN, 0);
    V(f32_max(&f, F32_NAN, F32_SNAN), F32_NAN, NV);
    V(f64_min(&f, F64_MINF, F64_ONE), F64_MINF, 0);
    V(f64_min(&f, 0xbff0000000000000, 0xc000000000000000), 0xc000000000000000, 0);
    V(f32_minimum(&f, F32_NAN, F32_ONE), F32_NAN, 0);       /* Zfa fminm */
    V(f32_minimum(&f, F32_ONE, F32_SNAN), F32_NAN, NV);
    V(f64_maximum(&f, 0xfff8000000000001, F64_ONE), F64_NAN, 0);
    V(f64_minimum(&f, 0, 0x8000000000000000), 0x8000000000000000, 0);
    V(f64_maximum(&f, F64_INF, F64_ONE), F64_INF, 0);
    V(f32_min_x86(&f, 0, 0x80000000), 0x80000000, 0);       /* the second of two zeros */
    V(f32_min_x86(&f, 0x80000000, 0), 0, 0);
    V(f32_max_x86(&f, F32_NAN, F32_ONE), F32_ONE, NV);
    V(f32_max_x86(&f, F32_ONE, F32_SNAN), F32_SNAN, NV);
}

static void test_compare(void)
{
    set_riscv(FPU_RNE);
    V(f32_eq(&f, 0, 0x80000000), true, 0);
    V(f32_lt(&f, 0x80000000, 0), false, 0);
    V(f32_le(&f, 0, 0x80000000), true, 0);
    V(f32_eq(&f, F32_NAN, F32_NAN), false, 0);
    V(f32_eq(&f, F32_SNAN, F32_ONE), false, NV);
    V(f32_lt(&f, F32_NAN, F32_ONE), false, NV);
    V(f32_le(&f, F32_ONE, F32_NAN), false, NV);
    V(f32_lt_quiet(&f, F32_NAN, F32_ONE), false, 0);
    V(f32_le_quiet(&f, F32_SNAN, F32_ONE), false, NV);
    V(f64_lt(&f, F64_MINF, 0xffefffffffffffff), true, 0);
    V(f64_lt(&f, 0x8000000000000001, 1), true, 0);
    V((unsigned)f64_compare(&f, F64_ONE, 0, false), (unsigned)FPU_GREATER, 0);
    V((unsigned)f64_compare(&f, 0, F64_ONE, true), (unsigned)FPU_LESS, 0);
    V((unsigned)f64_compare(&f, 0, F64_NAN, false), (unsigned)FPU_UNORDERED, 0);
    V((unsigned)f64_compare(&f, 0, F64_NAN, true), (unsigned)FPU_UNORDERED, NV);
}

static void test_classify(void)
{
    static const uint64_t by_bit[10] = {
        F64_MINF, 0xbff0000000000000, 0x800fffffffffffff, 0x8000000000000000, 0,
        1, 0x0010000000000000, F64_INF, 0xfff7ffffffffffff, 0xfff8000000000000,
    };
    static const uint16_t half[10] = {
        0xfc00, 0xfbff, 0x83ff, 0x8000, 0, 1, 0x0400, 0x7c00, 0x7c01, 0x7e00,
    };

    for (int i = 0; i < 10; i++) {
        CHECK_EQ(f64_classify(by_bit[i]), 1u << i);
        CHECK_EQ(f16_classify(half[i]), 1u << i);
    }
}

/* RISC-V chapter F, "Domains of float-to-integer conversions and behavior for invalid inputs". */
static void test_saturation(void)
{
    set_riscv(FPU_RNE);
    V(f64_to_i32(&f, 0x41dfffffffc00000, FPU_RTZ), INT32_MAX, 0);           /* 2^31 - 1 */
    V(f64_to_i32(&f, 0x41dfffffffe00000, FPU_RTZ), INT32_MAX, NX);          /* and a half */
    V(f64_to_i32(&f, 0x41dfffffffe00000, FPU_RNE), INT32_MAX, NV);
    V(f64_to_i32(&f, 0xc1e0000000100000, FPU_RTZ), (int64_t)INT32_MIN, NX); /* -2^31 - 1/2 */
    V(f64_to_i32(&f, 0xc1e0000000100000, FPU_RDN), (int64_t)INT32_MIN, NV);
    V(f64_to_i32(&f, 0xc1e0000000100000, FPU_RNE), (int64_t)INT32_MIN, NX);
    V(f64_to_i32(&f, 0xc1e0000000100000, FPU_RMM), (int64_t)INT32_MIN, NV);
    V(f32_to_i32(&f, F32_MINF, FPU_RTZ), (int64_t)INT32_MIN, NV);
    V(f32_to_i32(&f, F32_INF, FPU_RTZ), INT32_MAX, NV);
    V(f32_to_i32(&f, 0xffc00000, FPU_RTZ), INT32_MAX, NV);
    V(f32_to_u32(&f, 0xbf7fffff, FPU_RTZ), 0, NX);                          /* above -1 */
    V(f32_to_u32(&f, 0xbf7fffff, FPU_RDN), 0, NV);
    V(f32_to_u32(&f, 0xbf000000, FPU_RNE), 0, NX);
    V(f32_to_u32(&f, 0xbf000000, FPU_RMM), 0, NV);
    V(f32_to_u32(&f, 0xbf800000, FPU_RTZ), 0, NV);
    V(f32_to_u32(&f, 0x80000000, FPU_RTZ), 0, 0);
    V(f32_to_u32(&f, F32_NAN, FPU_RTZ), UINT32_MAX, NV);
    V(f32_to_i64(&f, 0x5effffff, FPU_RTZ), 0x7fffff8000000000, 0);
    V(f32_to_i64(&f, 0x5f000000, FPU_RTZ), INT64_MAX, NV);
    V(f32_to_i64(&f, 0xdf000000, FPU_RTZ), INT64_MIN, 0);
    V(f32_to_i64(&f, F32_SNAN, FPU_RTZ), INT64_MAX, NV);
    V(f64_to_u64(&f, 0x43efffffffffffff, FPU_RTZ), 0xfffffffffffff800, 0);
    V(f64_to_u64(&f, 0x43f0000000000000, FPU_RTZ), UINT64_MAX, NV);
    V(f64_to_u64(&f, F64_MINF, FPU_RTZ), 0, NV);
    V(f64_to_u64(&f, F64_NAN, FPU_RTZ), UINT64_MAX, NV);
    V(f64_to_i32(&f, 0x4004000000000000, FPU_RMM), 3, NX);                  /* 2.5 */
    V(f64_to_i32(&f, 0xc004000000000000, FPU_RMM), -3, NX);
    V(f64_to_i32(&f, 0x4004000000000000, FPU_RNE), 2, NX);
    V(f64_to_i32(&f, 0x3fdfffffffffffff, FPU_RMM), 0, NX);
    V(f16_to_int(&f, 0x5bf8, FPU_RNE, 8), 127, NV);                         /* 255 */
    V(f16_to_int(&f, 0xd808, FPU_RTZ, 8), -128, NV);                        /* -129 */
    V(f16_to_uint(&f, 0x5bf8, FPU_RNE, 8), 255, 0);
    V(f32_to_uint(&f, F32_NAN, FPU_RNE, 16), 65535, NV);
    f.to_int = FPU_INT_X86;
    V(f32_to_i32(&f, F32_INF, FPU_RTZ), (int64_t)INT32_MIN, NV);
    V(f32_to_u32(&f, F32_MINF, FPU_RTZ), UINT32_MAX, NV);
    V(f32_to_int(&f, F32_NAN, FPU_RTZ, 16), -32768, NV);
}

static void test_from_int(void)
{
    set_riscv(FPU_RMM);
    V(f32_from_i64(&f, INT64_MIN), 0xdf000000, 0);
    V(f32_from_u64(&f, UINT64_MAX), 0x5f800000, NX);
    V(f32_from_i64(&f, 0x1000001), 0x4b800001, NX);             /* a tie */
    V(f64_from_i64(&f, -0x20000000000001), 0xc340000000000001, NX);
    V(f64_from_i64(&f, 0), 0, 0);
    set_riscv(FPU_RDN);
    V(f64_from_i64(&f, 0), 0, 0);
    V(f64_from_u64(&f, UINT64_MAX), 0x43efffffffffffff, NX);
}

/* Zfa fround, froundnx, fcvtmod.w.d */
static void test_zfa(void)
{
    set_riscv(FPU_RNE);
    V(f32_round_int(&f, 0xbf000000, FPU_RNE, false), 0x80000000, 0);    /* -0.5 */
    V(f32_round_int(&f, 0xbf000000, FPU_RMM, true), 0xbf800000, NX);
    V(f32_round_int(&f, 0x40200000, FPU_RNE, true), 0x40000000, NX);    /* 2.5 */
    V(f32_round_int(&f, 0x40200000, FPU_RMM, false), 0x40400000, 0);
    V(f32_round_int(&f, 0x00000001, FPU_RUP, true), F32_ONE, NX);
    V(f32_round_int(&f, 0x4b000001, FPU_RUP, true), 0x4b000001, 0);
    V(f32_round_int(&f, 0x4affffff, FPU_RNE, true), 0x4b000000, NX);    /* 2^23 - 1/2 */
    V(f32_round_int(&f, 0xff812345, FPU_RNE, false), F32_NAN, NV);
    V(f32_round_int(&f, 0xffc12345, FPU_RNE, true), F32_NAN, 0);
    V(f64_round_int(&f, F64_MINF, FPU_RNE, true), F64_MINF, 0);
    V(f64_round_int(&f, 0x8000000000000000, FPU_RUP, true), 0x8000000000000000, 0);
    V(f16_round_int(&f, 0x63ff, FPU_RNE, true), 0x6400, NX);            /* 1023.5 */

    V(f64_to_i32_mod(&f, 0xbff8000000000000), -1, NX);                  /* -1.5 */
    V(f64_to_i32_mod(&f, 0x41e0000000000000), (int64_t)INT32_MIN, NV);  /* 2^31 */
    V(f64_to_i32_mod(&f, 0xc1e0000000000000), (int64_t)INT32_MIN, 0);
    V(f64_to_i32_mod(&f, 0xc1e0000000100000), (int64_t)INT32_MIN, NX);  /* -2^31 - 1/2 */
    V(f64_to_i32_mod(&f, 0x41f0000000180000), 1, NV);                   /* 2^32 + 1.5 */
    V(f64_to_i32_mod(&f, 0xc1f0000000180000), -1, NV);
    V(f64_to_i32_mod(&f, 0x4350000000000001), 4, NV);                   /* 2^54 + 4 */
    V(f64_to_i32_mod(&f, 0x4520000000000001), (int64_t)INT32_MIN, NV);
    V(f64_to_i32_mod(&f, 0x4530000000000001), 0, NV);                   /* all bits above 31 */
    V(f64_to_i32_mod(&f, 0x7fefffffffffffff), 0, NV);
    V(f64_to_i32_mod(&f, F64_MINF), 0, NV);
    V(f64_to_i32_mod(&f, F64_NAN), 0, NV);
}

int main(void)
{
    RUN(test_ties);
    RUN(test_overflow);
    RUN(test_underflow);
    RUN(test_invalid);
    RUN(test_nan_arm);
    RUN(test_minmax);
    RUN(test_compare);
    RUN(test_classify);
    RUN(test_saturation);
    RUN(test_from_int);
    RUN(test_zfa);
    return test_end();
}
