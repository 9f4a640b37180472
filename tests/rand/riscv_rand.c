/* SPDX-License-Identifier: MIT */
/*
 * Random RISC-V programs on the IR interpreter against generated code, and
 * against qemu-riscv64 where it is installed; what that QEMU lacks or gets wrong is
 * left out there (not_in_qemu) and has reference code in riscv_ref.c.
 *
 *   riscv_rand [--seed N] [--jit INSNS] [--qemu INSNS] [--size INSNS] [--only ROW] [-v]
 *
 * Without arguments: what fits in `make check`. A failure prints the seed of its
 * program; --seed with that number makes it the first one.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/rand/machine.h"
#include "tests/rand/program.h"

static bool verbose;
static const char *only;
static int program_size = 48;

/* ---- which rows */

/* They end programs, need privilege, or write a base register. */
static bool never(unsigned row)
{
    switch (rv_rows[row].base) {
    case RV_OP_ecall: case RV_OP_ebreak: case RV_OP_mret: case RV_OP_sret: case RV_OP_wfi: case RV_OP_jalr:
    case RV_OP_sfence_vma: case RV_OP_sinval_vma: case RV_OP_sfence_w_inval: case RV_OP_sfence_inval_ir:
    case RV_OP_cbo_inval: case RV_OP_cbo_clean: case RV_OP_cbo_flush: case RV_OP_cbo_zero:
    case RV_OP_wrs_nto: case RV_OP_wrs_sto:
        return true;
    default:
        return row == RV_OP_c_addi16sp;
    }
}

/* QEMU 7.2 has no such extension, or is known to be wrong (ctzw counts in 64 bits). */
static bool not_in_qemu(unsigned row)
{
    static const RvExt lacks[] = { RV_ZFA, RV_ZICOND, RV_ZACAS, RV_ZABHA, RV_ZCB, RV_ZIMOP, RV_ZCMOP };

    for (unsigned n = 0; n < G_N_ELEMENTS(lacks); n++)
        for (int k = 0; k < 3; k++)
            if (rv_rows[row].need[k] >> lacks[n] & 1)
                return true;
    return row == RV_OP_ctzw;
}

static int choose_rows(uint16_t *rows, bool for_qemu)
{
    int n = 0;

    for (unsigned row = 1; row < RV_OPS; row++) {
        if (never(row) || (for_qemu && not_in_qemu(row)) || (only && strcmp(only, rv_rows[row].name)))
            continue;
        rows[n++] = row;
    }
    return n;
}

/* ---- state in and out */

static void load_context(Machine *k, const Context *c, unsigned fs)
{
    Env *env = k->env;

    for (int n = 1; n < 32; n++)
        env->gpr[n] = c->x[n];
    for (int n = 0; n < 32; n++)
        env->vec[n].u64[0] = c->f[n];
    machine_set_fcsr(k, c->x[0]);
    machine_set_fs(k, fs);
}

static void save_context(Machine *k, Context *c, const uint8_t *buf)
{
    Env *env = k->env;

    memset(c, 0, sizeof(*c));
    for (int n = 1; n < 32; n++)
        c->x[n] = env->gpr[n];
    for (int n = 0; n < 32; n++)
        c->f[n] = env->vec[n].u64[0];
    c->x[0] = env_fp_flags(env) | (env->mode >> RVM_FRM_SHIFT & 7) << 5;
    memcpy(c->buf, buf, sizeof(c->buf));
}

static int print_differences(const Context *a, const Context *b, const char *an, const char *bn)
{
    int bad = 0;

    for (int n = 0; n < 32; n++)
        if (a->x[n] != b->x[n]) {
            printf("  %-5s %s %016" PRIx64 "  %s %016" PRIx64 "\n", n ? rv_xnames[n] : "fcsr", an, a->x[n], bn, b->x[n]);
            bad++;
        }
    for (int n = 0; n < 32; n++)
        if (a->f[n] != b->f[n]) {
            printf("  %-5s %s %016" PRIx64 "  %s %016" PRIx64 "\n", rv_fnames[n], an, a->f[n], bn, b->f[n]);
            bad++;
        }
    for (unsigned n = 0; n < sizeof(a->buf); n++)
        if (a->buf[n] != b->buf[n]) {
            printf("  byte at %+d: %s %02x  %s %02x\n", (int)n - BUF_HALF, an, a->buf[n], bn, b->buf[n]);
            bad++;
        }
    return bad;
}

static void print_program(const Generator *g, uint64_t pc)
{
    char text[128];

    for (int n = 0; n < g->n; n++) {
        rv_print(text, sizeof(text), &g->code[n].i, pc, true);
        printf("  %" PRIx64 ": %0*x  %s\n", pc, g->code[n].i.len * 2, g->code[n].i.bits, text);
        pc += g->code[n].i.len;
    }
}

static void print_start(const Context *c)
{
    for (int n = 0; n < 32; n++)
        printf("  %-5s %016" PRIx64 "  %-5s %016" PRIx64 "\n", n ? rv_xnames[n] : "fcsr", c->x[n], rv_fnames[n], c->f[n]);
}

/* ---- interpreter against generated code */

enum { IMAGE = 1 << 16, CTX_AT = 0x8000 };
static const uint64_t BASE = 0x7fff0000;        /* addresses with bit 31 both ways */

static Stop run_one(Machine *k, EngineRun *engine, const Context *start, unsigned fs, uint64_t pc, Context *out)
{
    load_context(k, start, fs);
    memcpy(k->image + CTX_AT, start->buf, sizeof(start->buf));
    Stop stop = machine_run(k, engine, pc);
    save_context(k, out, k->image + CTX_AT);
    return stop;
}

static bool same_stop(Stop a, Stop b)
{
    return a.pc == b.pc && a.cause == b.cause && a.tval == b.tval && a.stuck == b.stuck;
}

/* One program on both. Returns its instructions; -1: they differ. */
static int jit_case(Machine *k, Generator *g)
{
    static const unsigned fs_choice[] = { 3, 3, 3, 2 };
    uint64_t seed = g->seed, pc;
    Context start, a, b;
    unsigned bytes, fs;
    int count;

    machine_drop_units(k);
    pc = k->base + 2 * below(g, 4096);
    random_context(g, &start, k->base + CTX_AT + BUF_HALF);
    fs = fs_choice[below(g, 4)];
    k->limits.max_insns = below(g, 8) ? 512 : 1 + below(g, 16);
    bytes = random_program(g, program_size, pc, k->image + (pc - k->base), &count);
    if (!bytes)
        return 0;
    memcpy(k->image + (pc - k->base) + bytes, "\x73\x00\x10\x00", 4);      /* ebreak */
    Stop sa = run_one(k, run_interp, &start, fs, pc, &a);
    Stop sb = run_one(k, run_jit, &start, fs, pc, &b);
    if (same_stop(sa, sb) && !memcmp(&a, &b, sizeof(a)) && !sa.stuck)
        return count;
    printf("interpreter and generated code differ: --seed %#" PRIx64 "\n", seed);
    print_program(g, pc);
    if (verbose)
        print_start(&start);
    printf("  stops: interpreter pc %" PRIx64 " cause %d tval %" PRIx64 "%s; jit pc %" PRIx64 " cause %d tval %" PRIx64 "%s\n",
           sa.pc, (int)sa.cause, sa.tval, sa.stuck ? " (stuck)" : "", sb.pc, (int)sb.cause, sb.tval, sb.stuck ? " (stuck)" : "");
    print_differences(&a, &b, "interp", "jit");
    return -1;
}

/* Returns whether all was well; *done: instructions. */
static bool test_jit(uint64_t seed, int64_t insns)
{
    uint16_t rows[RV_OPS];
    Machine *k = machine_new(BASE, IMAGE);
    Generator g = { .seed = seed, .exts = k->s->exts, .rows = rows, .faults = true };
    int64_t done = 0;
    int bad = 0, programs = 0;
    Err *e = machine_jit_start(k);

    if (e) {
        printf("no generated code on this host: ");
        err_report(e);
        return true;
    }
    k->readonly = CTX_AT;
    g.nrows = choose_rows(rows, false);
    while (done < insns && bad < 3) {
        int n = jit_case(k, &g);
        programs++;
        if (n < 0)
            bad++;
        else
            done += n;
    }
    printf("interpreter against generated code: %d programs, %" PRId64 " instructions, %d differ (seed %#" PRIx64 ")\n",
           programs, done, bad, seed);
    return !bad;
}

/* ---- against qemu-riscv64 */

#include "tests/rand/qemu.h"

static bool test_qemu(uint64_t seed, int64_t insns)
{
    uint16_t rows[RV_OPS];
    Generator g = { .seed = seed, .rows = rows };
    QemuRun *q = qemu_new();
    int64_t done = 0;
    int bad = 0, batches = 0;

    if (!q) {
        printf("qemu-riscv64 is not installed or does not run: not compared\n");
        return true;
    }
    g.exts = q->k->s->exts;
    g.nrows = choose_rows(rows, true);
    while (done < insns && bad < 3) {
        int64_t n = qemu_batch(q, &g, insns - done, &bad);
        if (n <= 0) {
            printf("qemu-riscv64 did not finish a batch\n");
            bad++;
            break;
        }
        done += n;
        batches++;
    }
    printf("against qemu-riscv64: %d batches, %" PRId64 " instructions, %d programs differ (seed %#" PRIx64 ")\n",
           batches, done, bad, seed);
    qemu_free(q);
    return !bad;
}

/* ---- */

int main(int argc, char **argv)
{
    uint64_t seed = 0;
    int64_t jit = -1, qemu = -1;
    int passed = 0, failed = 0;

    for (int n = 1; n < argc; n++) {
        const char *next = n + 1 < argc ? argv[n + 1] : "";
        if (!strcmp(argv[n], "-v"))
            verbose = true;
        else if (!strcmp(argv[n], "--seed"))
            seed = strtoull(next, NULL, 0), n++;
        else if (!strcmp(argv[n], "--jit"))
            jit = strtoll(next, NULL, 0), n++;
        else if (!strcmp(argv[n], "--qemu"))
            qemu = strtoll(next, NULL, 0), n++;
        else if (!strcmp(argv[n], "--size"))
            program_size = atoi(next), n++;
        else if (!strcmp(argv[n], "--only"))
            only = next, n++;
        else {
            fprintf(stderr, "usage: riscv_rand [--seed N] [--jit INSNS] [--qemu INSNS] [--size INSNS] [--only ROW] [-v]\n");
            return 1;
        }
    }
    if (jit < 0 && qemu < 0)
        jit = 200000, qemu = 200000;
    if (!seed)
        seed = (uint64_t)time(NULL) * 0x9e3779b97f4a7c15 | 1;
    if (jit > 0)
        test_jit(seed, jit) ? passed++ : failed++;
    if (qemu > 0)
        test_qemu(seed, qemu) ? passed++ : failed++;
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
