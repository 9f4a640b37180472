/* SPDX-License-Identifier: MIT */
/*
 * Differential test of fpu/ against another implementation of RISC-V's F, D and Zfh: random
 * operands go to a guest program that runs the instructions themselves under qemu-riscv64
 * (user mode). All rounding modes, RMM too; results with their NaN boxes, and fflags, must be
 * equal.
 *
 * Needs qemu-riscv64 and riscv64-linux-gnu-gcc, else it is skipped. LYRE_SRC is the source tree.
 */
#include <unistd.h>
#include "tests/unit/fpu-riscv.h"
#include "tests/unit/fpu-test.h"

enum { CHUNK = 1 << 18, INT = FORMATS };
#define COMPILER "riscv64-linux-gnu-gcc"
#define EMULATOR "qemu-riscv64"

#define SIGN_h UINT64_C(0x8000)
#define SIGN_s UINT64_C(0x80000000)
#define SIGN_d (UINT64_C(1) << 63)
static uint64_t box_h(uint16_t x) { return x | UINT64_C(0xffffffffffff0000); }
static uint64_t box_s(uint32_t x) { return x | UINT64_C(0xffffffff00000000); }
static uint64_t box_d(uint64_t x) { return x; }

#define SOFT(name, insn, shape, format, soft)                                       \
    static uint64_t soft_##name(Fpu *f, uint64_t a, uint64_t b, uint64_t c)         \
    {                                                                               \
        (void)f, (void)b, (void)c;                                                  \
        return soft;                                                                \
    }
FPU_RISCV_ROWS(SOFT)

#define ROW(name, insn, shape, format, soft) { insn, format, soft_##name },
static const struct Row {
    const char *insn;
    int format;
    uint64_t (*soft)(Fpu *f, uint64_t a, uint64_t b, uint64_t c);
} rows[RV_ROWS] = { FPU_RISCV_ROWS(ROW) };

static char dir[] = "/tmp/fpu-riscv-XXXXXX";
static const char *cpu;
static int nrows = RV_ROWS;
static Record in[CHUNK];
static Outcome out[CHUNK];

/* Runs a shell command in the temporary folder; whether it worked. */
static bool shell(const char *format, const char *arg)
{
    char tail[400], command[500];

    snprintf(tail, sizeof(tail), format, arg);
    snprintf(command, sizeof(command), "cd %s && %s", dir, tail);
    return system(command) == 0;
}

static bool guest_build(void)
{
    const char *src = getenv("LYRE_SRC");
    char here[200];

    if (!src)
        src = getcwd(here, sizeof(here));
    return shell(COMPILER " -std=gnu11 -O1 -static -I'%1$s' -o guest "
                 "'%1$s/tests/unit/fpu-riscv-guest.c'", src);
}

/* Runs `n` records of `in` through the guest into `out`. */
static bool guest_run(size_t n)
{
    char name[64];
    FILE *f;
    size_t got;

    snprintf(name, sizeof(name), "%s/in", dir);
    f = fopen(name, "wb");
    if (!f || fwrite(in, sizeof(*in), n, f) != n || fclose(f))
        return false;
    if (!shell("timeout 120 " EMULATOR " -cpu %s ./guest <in >out 2>err", cpu))
        return false;
    snprintf(name, sizeof(name), "%s/out", dir);
    f = fopen(name, "rb");
    got = f ? fread(out, sizeof(*out), n, f) : 0;
    if (f)
        fclose(f);
    return got == n;
}

/* Half precision has had two names, and earlier emulators lack it. */
static bool guest_probe(void)
{
    static const char *const with_half[] = { "rv64,zfh=true", "rv64,Zfh=true" };

    for (int i = 0; i < 2; i++) {
        cpu = with_half[i];
        in[0] = (Record) { RV_fadd_h, 0, box_h(0x3c00), box_h(0x3c00), 0 };
        if (guest_run(1) && out[0].result == box_h(0x4000))
            return true;
    }
    printf("the emulator has no Zfh: half precision is left out\n");
    cpu = "rv64";
    nrows = RV_fadd_h;
    in[0] = (Record) { RV_fadd_s, 0, box_s(0x3f800000), box_s(0x3f800000), 0 };
    return guest_run(1) && out[0].result == box_s(0x40000000);
}

static uint64_t boxed(int format, uint64_t x)
{
    return format == F16 ? box_h(x) : format == F32 ? box_s(x) : x;
}

static void record_fill(Record *r, unsigned i)
{
    const struct Row *row;
    uint64_t v[3] = { 0 };

    r->op = i % nrows;
    r->rm = i / nrows % 5;
    row = &rows[r->op];
    if (row->format == INT) {
        r->a = random_int();
        r->b = r->c = 0;
        return;
    }
    random_operands(&shapes[row->format], v);
    if (rng() % 4 == 0) {       /* for fused operations: an addend that cancels the product */
        Fpu f = { 0 };
        v[2] = row->format == F16 ? f16_mul(&f, v[0], v[1]) : row->format == F32 ?
               f32_mul(&f, v[0], v[1]) : f64_mul(&f, v[0], v[1]);
        v[2] ^= (rng() & 1) << (shapes[row->format].exp_bits + shapes[row->format].frac_bits);
    }
    r->a = boxed(row->format, v[0]);
    r->b = boxed(row->format, v[1]);
    r->c = boxed(row->format, v[2]);
}

static void record_check(const Record *r, const Outcome *want)
{
    Fpu f = { .round = r->rm };
    uint64_t got = rows[r->op].soft(&f, r->a, r->b, r->c);

    if (got != want->result || f.flags != want->flags)
        report(rows[r->op].insn, &f, (uint64_t[3]) { r->a, r->b, r->c }, got, f.flags,
               want->result, want->flags);
}

static void test_chunk(void)
{
    for (unsigned i = 0; i < CHUNK; i++)
        record_fill(&in[i], i);
    CHECK(guest_run(CHUNK));
    if (test_case_bad)
        return;
    for (unsigned i = 0; i < CHUNK; i++)
        record_check(&in[i], &out[i]);
}

static void test_guest(void)
{
    CHECK(guest_build());
    CHECK(test_case_bad || guest_probe());
}

int main(int argc, char **argv)
{
    if (!mkdtemp(dir)) {
        perror(dir);
        return 1;
    }
    if (!shell("command -v %s >/dev/null", COMPILER) ||
        !shell("command -v %s >/dev/null", EMULATOR)) {
        printf("needs %s and %s (Debian: gcc-riscv64-linux-gnu, qemu-user)\n", COMPILER, EMULATOR);
        rmdir(dir);
        return 77;
    }
    fpu_test_start(argc, argv);
    RUN(test_guest);
    for (unsigned i = 0; i < 4 * test_scale && !test_failed; i++)
        RUN(test_chunk);
    shell("rm -rf %s", dir);
    return test_end();
}
