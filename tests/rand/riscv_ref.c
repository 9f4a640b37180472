/* SPDX-License-Identifier: MIT */
/*
 * RISC-V instructions that qemu-riscv64 7.2 cannot vouch for (Zfa, Zicond, Zacas,
 * Zabha, Zcb, Zimop, Zcmop, ctzw), against code that says what the manual says in plain C:
 * every row with random registers and memory, on the interpreter and in generated code.
 * A row without a reference here fails the test. Usage: riscv_ref [SEED [CASES]]
 */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <time.h>

#include "tests/rand/machine.h"
#include "tests/rand/program.h"
#include "tests/unit/test.h"

enum { IMAGE = 1 << 16, CTX_AT = 0x8000, CODE_AT = 0x100, NX = 1, NV = 16 };
static const uint64_t BASE = 0x7fff0000;
static uint64_t first_seed;
static int cases = 300;

/* The state before and after; x[0] is fcsr. */
typedef struct State { Context c; uint64_t middle; } State;

/* ---- integers */

static uint64_t buf_get(const State *s, int at, unsigned size)
{
    uint64_t v = 0;

    for (unsigned n = 0; n < size; n++)
        v |= (uint64_t)s->c.buf[BUF_HALF + at + n] << 8 * n;
    return v;
}

static void buf_put(State *s, int at, unsigned size, uint64_t v)
{
    for (unsigned n = 0; n < size; n++)
        s->c.buf[BUF_HALF + at + n] = v >> 8 * n;
}

static uint64_t sx(uint64_t v, unsigned size)
{
    uint64_t top = 1ull << (8 * size - 1);

    return size == 8 ? v : ((v & (2 * top - 1)) ^ top) - top;
}

static void set_x(State *s, unsigned r, uint64_t v)
{
    if (r)
        s->c.x[r] = v;
}

static uint64_t get_x(const State *s, unsigned r) { return r ? s->c.x[r] : 0; }

/* Zabha: what memory holds after amoOP, operands of `size` bytes. */
static uint64_t amo_makes(const char *op, uint64_t a, uint64_t b, unsigned size)
{
    int64_t sa = sx(a, size), sb = sx(b, size);
    uint64_t mask = (1ull << 8 * size) - 1, ua = a & mask, ub = b & mask;

    if (!strcmp(op, "swap")) return b;
    if (!strcmp(op, "add"))  return a + b;
    if (!strcmp(op, "xor"))  return a ^ b;
    if (!strcmp(op, "and"))  return a & b;
    if (!strcmp(op, "or"))   return a | b;
    if (!strcmp(op, "min"))  return sa < sb ? a : b;
    if (!strcmp(op, "max"))  return sa > sb ? a : b;
    if (!strcmp(op, "minu")) return ua < ub ? a : b;
    return ua > ub ? a : b;
}

static unsigned size_of_name(const char *name)
{
    switch (strrchr(name, '.')[1]) {
    case 'b': return 1;
    case 'h': return 2;
    case 'w': return 4;
    case 'd': return 8;
    default:  return 16;
    }
}

static void ref_amocas_q(State *s, const RvInsn *i, int at)
{
    uint64_t lo = buf_get(s, at, 8), hi = buf_get(s, at + 8, 8);
    uint64_t want_lo = get_x(s, i->rd), want_hi = i->rd ? s->c.x[i->rd + 1] : 0;
    uint64_t new_lo = get_x(s, i->rs2), new_hi = i->rs2 ? s->c.x[i->rs2 + 1] : 0;

    if (lo == want_lo && hi == want_hi) {
        buf_put(s, at, 8, new_lo);
        buf_put(s, at + 8, 8, new_hi);
    }
    if (i->rd) {
        s->c.x[i->rd] = lo;
        s->c.x[i->rd + 1] = hi;
    }
}

static bool ref_amo(State *s, const RvInsn *i, const char *name)
{
    unsigned size = size_of_name(name);
    int at = s->c.x[i->rs1] - s->middle;
    char op[8];

    if (size == 16) {
        ref_amocas_q(s, i, at);
        return true;
    }
    uint64_t old = buf_get(s, at, size), b = get_x(s, i->rs2);
    sscanf(name, "amo%7[a-z]", op);
    if (strcmp(op, "cas"))
        buf_put(s, at, size, amo_makes(op, old, b, size));
    else if (sx(old, size) == sx(get_x(s, i->rd), size))
        buf_put(s, at, size, b);
    set_x(s, i->rd, sx(old, size));
    return true;
}

static bool ref_int(State *s, const RvInsn *i)
{
    uint64_t a = get_x(s, i->rs1), b = get_x(s, i->rs2), d = get_x(s, i->rd);
    int at = (int)(uint32_t)(a - s->middle + i->imm);   /* means something for loads and stores alone */

    switch (i->row) {
    case RV_OP_czero_eqz: set_x(s, i->rd, b == 0 ? 0 : a); return true;
    case RV_OP_czero_nez: set_x(s, i->rd, b != 0 ? 0 : a); return true;
    case RV_OP_mop_r_n: case RV_OP_mop_rr_n: set_x(s, i->rd, 0); return true;
    case RV_OP_c_mop_n: return true;
    case RV_OP_ctzw: {
        unsigned n = 0;
        while (n < 32 && !(a >> n & 1))
            n++;
        set_x(s, i->rd, n);
        return true;
    }
    case RV_OP_c_lbu: set_x(s, i->rd, buf_get(s, at, 1)); return true;
    case RV_OP_c_lhu: set_x(s, i->rd, buf_get(s, at, 2)); return true;
    case RV_OP_c_lh:  set_x(s, i->rd, sx(buf_get(s, at, 2), 2)); return true;
    case RV_OP_c_sb:  buf_put(s, at, 1, b); return true;
    case RV_OP_c_sh:  buf_put(s, at, 2, b); return true;
    case RV_OP_c_zext_b: set_x(s, i->rd, d & 0xff); return true;
    case RV_OP_c_sext_b: set_x(s, i->rd, sx(d, 1)); return true;
    case RV_OP_c_zext_h: set_x(s, i->rd, d & 0xffff); return true;
    case RV_OP_c_sext_h: set_x(s, i->rd, sx(d, 2)); return true;
    case RV_OP_c_zext_w: set_x(s, i->rd, d & 0xffffffff); return true;
    case RV_OP_c_not: set_x(s, i->rd, ~d); return true;
    case RV_OP_c_mul: set_x(s, i->rd, d * b); return true;
    default: return false;
    }
}

/* ---- Zfa, both formats as doubles: every single is one */

typedef struct Num { double v; bool nan, snan; } Num;

static Num num(const State *s, unsigned f, bool single)
{
    uint64_t bits = s->c.f[f];
    Num n = { 0 };

    if (single) {
        uint32_t w = bits >> 32 == 0xffffffff ? (uint32_t)bits : 0x7fc00000;
        float v;
        n.nan = (w & 0x7fffffff) > 0x7f800000;
        n.snan = n.nan && !(w & 0x00400000);
        memcpy(&v, &w, 4);
        n.v = n.nan ? 0 : v;
    } else {
        n.nan = (bits & INT64_MAX) > 0x7ff0000000000000;
        n.snan = n.nan && !(bits & 1ull << 51);
        memcpy(&n.v, &bits, 8);
    }
    return n;
}

static void set_f(State *s, unsigned f, bool single, double v, bool nan)
{
    uint64_t bits = 0x7ff8000000000000;
    uint32_t w = 0x7fc00000;
    float narrow = v;

    if (!nan) {
        memcpy(&bits, &v, 8);
        memcpy(&w, &narrow, 4);
    }
    s->c.f[f] = single ? 0xffffffff00000000 | w : bits;
}

/* To an integral value; direction as rm. */
static double to_integral(double v, unsigned rm)
{
    double down = floor(v), up = ceil(v), r;

    if (down == up)
        return v;
    switch (rm) {
    case 1:  r = v < 0 ? up : down; break;
    case 2:  r = down; break;
    case 3:  r = up; break;
    default: {
        double below = v - down, above = up - v;        /* exact: there is a fraction, so v is small */
        if (below != above)
            r = below < above ? down : up;
        else if (rm == 4)
            r = v < 0 ? down : up;
        else
            r = fmod(down, 2) == 0 ? down : up;
    }
    }
    return copysign(r, v);
}

static const double fli_numbers[32] = {
    -1.0, 0, 0x1p-16, 0x1p-15, 0x1p-8, 0x1p-7, 0.0625, 0.125, 0.25, 0.3125, 0.375, 0.4375, 0.5, 0.625, 0.75, 0.875,
    1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 8.0, 16.0, 128.0, 256.0, 32768.0, 65536.0, INFINITY, 0,
};

static void ref_fli(State *s, const RvInsn *i, bool single)
{
    double v = fli_numbers[i->rs1];

    if (i->rs1 == 1)
        v = single ? FLT_MIN : DBL_MIN;
    set_f(s, i->rd, single, v, i->rs1 == 31);
}

/* minimum, maximum of 754-2019: a NaN makes NaN; -0 is less than +0. */
static void ref_minmax(State *s, const RvInsn *i, bool single, bool max)
{
    Num a = num(s, i->rs1, single), b = num(s, i->rs2, single);
    bool a_less = a.v < b.v || (a.v == b.v && signbit(a.v));

    if (a.snan || b.snan)
        s->c.x[0] |= NV;
    set_f(s, i->rd, single, a_less != max ? a.v : b.v, a.nan || b.nan);
}

static void ref_fround(State *s, const RvInsn *i, bool single, bool exact)
{
    Num a = num(s, i->rs1, single);
    double r = a.nan || isinf(a.v) ? a.v : to_integral(a.v, i->rm == 7 ? s->c.x[0] >> 5 : i->rm);

    if (a.snan)
        s->c.x[0] |= NV;
    if (exact && !a.nan && r != a.v)
        s->c.x[0] |= NX;
    set_f(s, i->rd, single, r, a.nan);
}

static void ref_quiet(State *s, const RvInsn *i, bool single, bool equal)
{
    Num a = num(s, i->rs1, single), b = num(s, i->rs2, single);

    if (a.snan || b.snan)
        s->c.x[0] |= NV;
    set_x(s, i->rd, !a.nan && !b.nan && (a.v < b.v || (equal && a.v == b.v)));
}

static void ref_fcvtmod(State *s, const RvInsn *i)
{
    Num a = num(s, i->rs1, false);
    double t = trunc(a.v), m;

    if (a.nan || isinf(a.v)) {
        s->c.x[0] |= NV;
        set_x(s, i->rd, 0);
        return;
    }
    m = fmod(t, 0x1p32);                /* exact */
    if (t < -0x1p31 || t >= 0x1p31)
        s->c.x[0] |= NV;
    else if (t != a.v)
        s->c.x[0] |= NX;
    set_x(s, i->rd, sx((uint64_t)(int64_t)m, 4));
}

static bool ref_fp(State *s, const RvInsn *i)
{
    switch (i->row) {
    case RV_OP_fli_s: ref_fli(s, i, true); return true;
    case RV_OP_fli_d: ref_fli(s, i, false); return true;
    case RV_OP_fminm_s: ref_minmax(s, i, true, false); return true;
    case RV_OP_fmaxm_s: ref_minmax(s, i, true, true); return true;
    case RV_OP_fminm_d: ref_minmax(s, i, false, false); return true;
    case RV_OP_fmaxm_d: ref_minmax(s, i, false, true); return true;
    case RV_OP_fround_s: ref_fround(s, i, true, false); return true;
    case RV_OP_fround_d: ref_fround(s, i, false, false); return true;
    case RV_OP_froundnx_s: ref_fround(s, i, true, true); return true;
    case RV_OP_froundnx_d: ref_fround(s, i, false, true); return true;
    case RV_OP_fleq_s: ref_quiet(s, i, true, true); return true;
    case RV_OP_fleq_d: ref_quiet(s, i, false, true); return true;
    case RV_OP_fltq_s: ref_quiet(s, i, true, false); return true;
    case RV_OP_fltq_d: ref_quiet(s, i, false, false); return true;
    case RV_OP_fcvtmod_w_d: ref_fcvtmod(s, i); return true;
    default: return false;
    }
}

/* ---- running */

static bool wanted(unsigned row)
{
    static const RvExt exts[] = { RV_ZFA, RV_ZICOND, RV_ZACAS, RV_ZABHA, RV_ZCB, RV_ZIMOP, RV_ZCMOP };

    for (unsigned n = 0; n < G_N_ELEMENTS(exts); n++)
        for (int k = 0; k < 3; k++)
            if (rv_rows[row].need[k] >> exts[n] & 1)
                return true;
    return row == RV_OP_ctzw;
}

static bool reference(State *s, const RvInsn *i)
{
    const char *name = rv_rows[i->row].name;

    if (!strncmp(name, "amo", 3))
        return ref_amo(s, i, name);
    return ref_int(s, i) || ref_fp(s, i);
}

static void run(Machine *k, EngineRun *engine, const State *start, Context *out)
{
    Env *env = k->env;

    for (int n = 1; n < 32; n++)
        env->gpr[n] = start->c.x[n];
    for (int n = 0; n < 32; n++)
        env->vec[n].u64[0] = start->c.f[n];
    machine_set_fcsr(k, start->c.x[0]);
    memcpy(k->image + CTX_AT, start->c.buf, sizeof(start->c.buf));
    Stop stop = machine_run(k, engine, BASE + CODE_AT);
    CHECK_EQ(stop.cause, EXC_BREAK);
    memset(out, 0, sizeof(*out));
    for (int n = 1; n < 32; n++)
        out->x[n] = env->gpr[n];
    for (int n = 0; n < 32; n++)
        out->f[n] = env->vec[n].u64[0];
    out->x[0] = env_fp_flags(env) | (env->mode >> RVM_FRM_SHIFT & 7) << 5;
    memcpy(out->buf, k->image + CTX_AT, sizeof(out->buf));
}

static bool compare(const char *engine, const RvInsn *i, const State *start, const Context *got, const Context *want)
{
    char text[128];

    if (!memcmp(got, want, sizeof(*got)))
        return true;
    rv_print(text, sizeof(text), i, 0, false);
    printf("%s, %s (%#x):\n", engine, text, i->bits);
    for (int n = 0; n < 32; n++)
        if (got->x[n] != want->x[n])
            printf("  x%d was %#" PRIx64 ", is %#" PRIx64 ", want %#" PRIx64 "\n", n, start->c.x[n], got->x[n], want->x[n]);
    for (int n = 0; n < 32; n++)
        if (got->f[n] != want->f[n])
            printf("  f%d was %#" PRIx64 ", is %#" PRIx64 ", want %#" PRIx64 "\n", n, start->c.f[n], got->f[n], want->f[n]);
    printf("  rs1 x %#" PRIx64 " f %#" PRIx64 ", rs2 x %#" PRIx64 " f %#" PRIx64 ", fcsr %#" PRIx64 "%s\n", start->c.x[i->rs1],
           start->c.f[i->rs1], start->c.x[i->rs2], start->c.f[i->rs2], start->c.x[0],
           memcmp(got->buf, want->buf, sizeof(got->buf)) ? "; memory differs" : "");
    return false;
}

static bool try_row(Machine *k, Generator *g, unsigned row)
{
    State start = { .middle = BASE + CTX_AT + BUF_HALF }, want;
    Context got;
    RvInsn i;

    machine_drop_units(k);
    if (!rv_random(row, g->exts, &g->seed, limit, g, &i))
        return false;
    memcpy(k->image + CODE_AT, &i.bits, 4);
    memcpy(k->image + CODE_AT + i.len, "\x73\x00\x10\x00", 4);      /* ebreak */
    for (int n = 0; n < 8; n++) {
        random_context(g, &start.c, start.middle);
        if (is_atomic(&i))
            start.c.x[ADDR_REG] = start.middle + (((int)below(g, 2 * BUF_HALF) - BUF_HALF) & ~15);
        want = start;
        if (i.op >= RV_OP_amocas_b && i.op <= RV_OP_amocas_q && i.rd != ADDR_REG && below(g, 2)) {
            /* often what is expected is there */
            int at = start.c.x[ADDR_REG] - start.middle;
            set_x(&start, i.rd, buf_get(&start, at, 8));
            if (i.op == RV_OP_amocas_q && i.rd)
                set_x(&start, i.rd + 1, buf_get(&start, at + 8, 8));
            want = start;
        }
        if (!reference(&want, &i)) {
            printf("%s has no reference\n", rv_rows[row].name);
            return false;
        }
        run(k, run_interp, &start, &got);
        if (!compare("interpreter", &i, &start, &got, &want.c))
            return false;
        if (k->jit_ready) {
            run(k, run_jit, &start, &got);
            if (!compare("generated code", &i, &start, &got, &want.c))
                return false;
        }
    }
    return true;
}

static void all_rows(void)
{
    Machine *k = machine_new(BASE, IMAGE);
    Generator g = { .seed = first_seed, .exts = k->s->exts };
    int rows = 0;
    Err *e = machine_jit_start(k);

    if (e) {
        printf("interpreter alone: ");
        err_report(e);
    }
    for (unsigned row = 1; row < RV_OPS; row++) {
        if (!wanted(row))
            continue;
        rows++;
        for (int n = 0; n < cases; n++)
            if (!try_row(k, &g, row)) {
                printf("row %s, seed %#" PRIx64 "\n", rv_rows[row].name, first_seed);
                test_case_bad++;
                break;
            }
    }
    printf("%d rows\n", rows);
}

int main(int argc, char **argv)
{
    first_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL) * 0x9e3779b97f4a7c15 | 1;
    if (argc > 2)
        cases = atoi(argv[2]);
    RUN(all_rows);
    return test_end();
}
