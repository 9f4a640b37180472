/* SPDX-License-Identifier: MIT */
/*
 * Scalar floating point. Every result is fixed by IEEE 754 (no contraction, no
 * library functions), so that the checksums are the same bits in every place.
 */
#include "tests/bench/bench.h"

/* --- nbody: four planets and a sun, double ------------------------------------------- */

typedef struct Body {
    double x[3], v[3], mass;
} Body;

#define BODIES 5

static const Body solar[BODIES] = {
    { { 0, 0, 0 }, { 0, 0, 0 }, 39.47841760435743 },
    { { 4.84143144246472090, -1.16032004402742839, -0.103622044471123109 },
      { 0.606326392995832, 2.81198684491626, -0.02521836165988763 }, 0.03769367487038949 },
    { { 8.34336671824457987, 4.12479856412430479, -0.403523417114321381 },
      { -1.01077434617879, 1.82566237123041, 0.008415761376584154 }, 0.011286326131968767 },
    { { 12.8943695621391310, -15.1111514016986312, -0.223307578892655734 },
      { 1.08279100644154, 0.868713018169608, -0.010832637401363636 }, 0.0017237240570597112 },
    { { 15.3796971148509165, -25.9193146099879641, 0.179258772950371181 },
      { 0.979090732243898, 0.594698998647676, -0.034755955250779 }, 0.0020336868699246304 },
};

static NOINLINE void step(Body *b, double dt)
{
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double d[3], square = 0;
            for (int k = 0; k < 3; k++) {
                d[k] = b[i].x[k] - b[j].x[k];
                square += d[k] * d[k];
            }
            double pull = dt / (square * __builtin_sqrt(square));
            for (int k = 0; k < 3; k++) {
                b[i].v[k] -= d[k] * b[j].mass * pull;
                b[j].v[k] += d[k] * b[i].mass * pull;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++)
            b[i].x[k] += dt * b[i].v[k];
}

static uint64_t nbody(uint64_t reps)
{
    Body b[BODIES];
    for (int i = 0; i < BODIES; i++)
        b[i] = solar[i];
    for (; reps; reps--)
        step(b, 0.01);
    return mix(double_bits(b[0].x[0]), double_bits(b[3].v[1]));
}

/* --- mandel --------------------------------------------------------------------------- */

static NOINLINE int escape(double cr, double ci, int limit)
{
    double r = 0, i = 0;
    int n = 0;
    for (; n < limit; n++) {
        double r2 = r * r, i2 = i * i;
        if (r2 + i2 > 4.0)
            break;
        i = 2.0 * r * i + ci;
        r = r2 - i2 + cr;
    }
    return n;
}

static uint64_t mandel(uint64_t reps)
{
    uint64_t sum = 0;
    for (; reps; reps--)
        for (int y = 0; y < 32; y++)
            for (int x = 0; x < 32; x++)
                sum = mix(sum, (uint64_t)escape(x * (3.0 / 32) - 2.2, y * (2.4 / 32) - 1.2, 100));
    return sum;
}

/* --- linpack: LU with partial pivoting, double ----------------------------------------- */

#define LU_N 64

static double lu[LU_N][LU_N], rhs[LU_N];

static void lu_fill(void)
{
    uint64_t seed = 9;
    for (int i = 0; i < LU_N; i++) {
        rhs[i] = 0;
        for (int j = 0; j < LU_N; j++) {
            lu[i][j] = (double)(int64_t)(random_next(&seed) >> 44) / 1048576.0 - 0.5;
            rhs[i] += lu[i][j];
        }
    }
}

static NOINLINE void add_scaled(double *to, const double *from, double factor, int n)
{
    for (int i = 0; i < n; i++)
        to[i] += factor * from[i];
}

static NOINLINE void lu_solve(void)
{
    for (int k = 0; k < LU_N; k++) {
        int pivot = k;
        for (int i = k + 1; i < LU_N; i++)
            if (__builtin_fabs(lu[i][k]) > __builtin_fabs(lu[pivot][k]))
                pivot = i;
        for (int j = k; j < LU_N && pivot != k; j++) {
            double t = lu[k][j];
            lu[k][j] = lu[pivot][j];
            lu[pivot][j] = t;
        }
        double t = rhs[k];
        rhs[k] = rhs[pivot];
        rhs[pivot] = t;
        for (int i = k + 1; i < LU_N; i++) {
            double f = -lu[i][k] / lu[k][k];
            add_scaled(&lu[i][k], &lu[k][k], f, LU_N - k);
            rhs[i] += f * rhs[k];
        }
    }
    for (int k = LU_N - 1; k >= 0; k--) {
        for (int j = k + 1; j < LU_N; j++)
            rhs[k] -= lu[k][j] * rhs[j];
        rhs[k] /= lu[k][k];
    }
}

static uint64_t linpack(uint64_t reps)
{
    uint64_t sum = 0;
    for (; reps; reps--) {
        lu_fill();
        lu_solve();
        sum = mix(sum, double_bits(rhs[reps % LU_N]));
    }
    return sum;
}

/* --- fpmix: both widths, conversions, comparisons, division, root ---------------------- */

static uint64_t fpmix(uint64_t reps)
{
    float f = 1.5f, g = 0.25f;
    double d = 3.0, e = 0.125;
    uint64_t sum = 0;
    for (; reps; reps--) {
        d = d / 1.25 + (double)f;
        e = __builtin_sqrt(d * d + (double)(int64_t)(reps & 0xffff));
        g = (float)(e - d) * 0.5f;
        f = f * 0.75f + g;
        if (f > 100.0f)
            f -= 99.5f;
        if (d > e * 0.9)
            d -= e * 0.25;
        sum += (uint64_t)(int64_t)e ^ (uint32_t)(int32_t)g;
    }
    return mix(sum, double_bits(d + e) ^ double_bits((double)f * (double)g));
}

/* --- libm: sine and exponential as a C library computes them ------------------------------ */

static NOINLINE double sine(double x)
{
    int q = (int)(x * 0.63661977236758134 + (x < 0 ? -0.5 : 0.5));
    double r = x - q * 1.5707963267341256 - q * 6.0771005065061922e-11;
    double z = r * r;
    if (q & 1)
        r = 1 + z * (-0.5 + z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 +
            z * (2.48015872894767294178e-05 + z * -2.75573143513906633035e-07))));
    else
        r += r * z * (-1.66666666666666324348e-01 + z * (8.33333333332248946124e-03 +
            z * (-1.98412698298579493134e-04 + z * (2.75573137070700676789e-06 +
            z * -2.50507602534068634195e-08))));
    return q & 2 ? -r : r;
}

static NOINLINE double exponential(double x)
{
    int k = (int)(x * 1.4426950408889634 + (x < 0 ? -0.5 : 0.5));
    double r = x - k * 6.93147180369123816490e-01 - k * 1.90821492927058770002e-10;
    double p = 1 + r * (1 + r * (0.5 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 +
               r * (1.0 / 720 + r * (1.0 / 5040 + r * (1.0 / 40320))))))));
    union { uint64_t u; double d; } scale = { (uint64_t)(k + 1023) << 52 };
    return p * scale.d;
}

static uint64_t libm(uint64_t reps)
{
    double x = 0.5, sum = 0;
    for (; reps; reps--) {
        sum += sine(x) + exponential(-x * 0.125);
        x += 0.37;
        if (x > 30)
            x -= 60;
    }
    return double_bits(sum);
}

/* --- fma: fused multiply-add (the host's own instruction in the native column) -------------- */

#ifdef __x86_64__
__attribute__((target("fma")))
#endif
static NOINLINE uint64_t fused_loop(uint64_t reps)
{
    double a = 0.1, b = 0.2, c = 0.3, d = 0.4;
    float f = 0.5f;
    for (; reps; reps--) {
        a = __builtin_fma(a, 0.75, b);
        b = __builtin_fma(-b, 0.4321, c);
        c = __builtin_fma(d, 0.125, (double)(int)(reps & 7));
        d = -__builtin_fma(c, 0.25, b);
        f = __builtin_fmaf(f, 0.75f, (float)d);
    }
    return double_bits(a + b + c + d + (double)f);
}

static uint64_t fused(uint64_t reps)
{
#ifdef __x86_64__
    if (!__builtin_cpu_supports("fma"))
        return 0; /* wrong on purpose: shows as a failed row, not as a time */
#endif
    return fused_loop(reps);
}

const Kernel fp_kernels[] = {
    { "nbody",   "fp", "step",   30000, nbody, NULL },
    { "mandel",  "fp", "32x32",     40, mandel, NULL },
    { "linpack", "fp", "solve",     36, linpack, NULL },
    { "fpmix",   "fp", "round", 400000, fpmix, NULL },
    { "libm",    "fp", "pair",  150000, libm, NULL },
    { "fma",     "fp", "round", 600000, fused, NULL },
    { 0 }
};
