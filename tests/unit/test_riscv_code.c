/* SPDX-License-Identifier: MIT */
/*
 * Runs the pieces of guest code in target/riscv/tests/ (all *.S) on the IR
 * interpreter and as generated code, and compares what they leave with what they
 * expect. The words of each test stand in the same file, so no assembler is
 * needed here; target/riscv/tests/assemble.py holds them against the source.
 *
 *   # test: NAME [option=value]...
 *         mode=U|S|M          privilege at the start (U)
 *         without=EXT,EXT     extensions that are off (names of insn.tab)
 *         fs=0|2|3            mstatus.FS: off, clean, dirty (3)
 *   # start: WHAT=VALUE ...   before it runs; all else is 0, but sp and s1: the middle of the buffer
 *   # expect: WHAT=VALUE ...  after it; may stand several times
 *   # code: HEX ...           2- and 4-byte words
 *
 * WHAT is a register, fcsr, a slot of the privileged side (mstatus, sepc ..),
 * memN+OFF and memN-OFF (N bytes of the buffer), prv, trap and tval. A test ends
 * at the ebreak behind it, trap=3, unless it expects another trap. VALUE is a number, @ for the
 * code's address or ~ for the buffer's, with +N or -N. pc= says where the trap was.
 */
#include <dirent.h>
#include <inttypes.h>

#include "target/riscv/imsic.h"
#include "tests/rand/machine.h"
#include "tests/unit/test.h"

enum { IMAGE = 1 << 16, BUF = 0x8000, BUF_MIDDLE = BUF + 0x1000, CODE = 0x1000, WORDS = 256 };
static const uint64_t BASE = 0x7fff0000;

typedef struct Pair { char what[24]; uint64_t value; } Pair;

typedef struct Case {
    char name[64];
    int line;
    unsigned prv, fs;
    uint64_t exts;
    Pair start[32], expect[48]; int nstart, nexpect;
    uint8_t code[4 * WORDS]; unsigned bytes;
} Case;

static const char *file_name;
static ImsicFile files[2];      /* the hart's IMSIC */
static Machine *machine;

static int fail(const Case *c, const char *what, const char *why)
{
    printf("%s:%d: %s: %s%s\n", file_name, c->line, c->name, what, why);
    test_case_bad++;
    return 0;
}

/* ---- reading */

static uint64_t value_of(const char *s)
{
    uint64_t base = *s == '@' ? BASE + CODE : *s == '~' ? BASE + BUF_MIDDLE : 0;

    if (base)
        s++;
    if (!*s)
        return base;
    return base + (*s == '-' ? -strtoull(s + 1, NULL, 0) : strtoull(s + (*s == '+'), NULL, 0));
}

/* "a=1 b=2" into pairs. */
static int read_pairs(Case *c, char *text, Pair *out, int n, int max)
{
    char *save = NULL;

    for (char *w = strtok_r(text, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
        char *eq = strrchr(w, '=');
        if (!eq || n == max || eq - w >= (int)sizeof(out->what))
            return fail(c, "not WHAT=VALUE: ", w);
        snprintf(out[n].what, sizeof(out[n].what), "%.*s", (int)(eq - w), w);
        out[n++].value = value_of(eq + 1);
    }
    return n;
}

static uint64_t ext_bit(const char *name)
{
    static const struct { const char *name; RvExt ext; } names[] = {
        { "c", RV_C }, { "m", RV_M }, { "a", RV_A }, { "f", RV_F }, { "d", RV_D }, { "zba", RV_ZBA },
        { "zbb", RV_ZBB }, { "zbkb", RV_ZBKB }, { "zicond", RV_ZICOND }, { "zihintpause", RV_ZIHINTPAUSE },
        { "zicbom", RV_ZICBOM }, { "zifencei", RV_ZIFENCEI }, { "svinval", RV_SVINVAL },
        { "smstateen", RV_SMSTATEEN },
    };
    for (unsigned n = 0; n < G_N_ELEMENTS(names); n++)
        if (!strcmp(names[n].name, name))
            return 1ull << names[n].ext;
    printf("%s: no extension %s\n", file_name, name);
    test_case_bad++;
    return 0;
}

static void read_options(Case *c, char *text)
{
    char *save = NULL, *save2 = NULL;

    for (char *w = strtok_r(text, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
        if (!strncmp(w, "mode=", 5))
            c->prv = w[5] == 'M' ? PRV_M : w[5] == 'S' ? PRV_S : PRV_U;
        else if (!strncmp(w, "fs=", 3))
            c->fs = w[3] - '0';
        else if (!strncmp(w, "without=", 8))
            for (char *e = strtok_r(w + 8, ",", &save2); e; e = strtok_r(NULL, ",", &save2))
                c->exts &= ~ext_bit(e);
        else if (!c->name[0])
            snprintf(c->name, sizeof(c->name), "%s", w);
        else
            fail(c, "unknown option ", w);
    }
}

static void read_code(Case *c, char *text)
{
    char *save = NULL;

    for (char *w = strtok_r(text, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
        uint32_t v = strtoul(w, NULL, 16);
        unsigned len = strlen(w) / 2;
        if ((len != 2 && len != 4) || c->bytes + len > sizeof(c->code) - 4) {
            fail(c, "not a word: ", w);
            return;
        }
        memcpy(c->code + c->bytes, &v, len);
        c->bytes += len;
    }
}

/* ---- state by name */

static uint64_t *place_of(const char *what)
{
    static const char *const sys[] = {
        "mstatus", "sscratch", "sepc", "scause", "stval", "stvec", "mscratch", "mepc", "mcause", "mtval", "mtvec",
    };
    static const struct { const char *name; size_t off; } members[] = {
        { "menvcfg", offsetof(RiscvState, menvcfg) }, { "senvcfg", offsetof(RiscvState, senvcfg) },
        { "medeleg", offsetof(RiscvState, medeleg) }, { "mie", offsetof(RiscvState, mie) },
        { "mip", offsetof(RiscvState, mip) }, { "satp", offsetof(RiscvState, satp) },
        { "mideleg", offsetof(RiscvState, mideleg) }, { "mvien", offsetof(RiscvState, mvien) },
        { "mvip", offsetof(RiscvState, mvip) },
    };
    Env *env = machine->env;

    for (int n = 0; n < 32; n++) {
        if (!strcmp(what, rv_xnames[n]))
            return &env->gpr[n];
        if (!strcmp(what, rv_fnames[n]))
            return &env->vec[n].u64[0];
    }
    for (unsigned n = 0; n < G_N_ELEMENTS(sys); n++)
        if (!strcmp(what, sys[n]))
            return &env->sys[n];
    for (unsigned n = 0; n < G_N_ELEMENTS(members); n++)
        if (!strcmp(what, members[n].name))
            return (uint64_t *)((char *)machine->s + members[n].off);
    return NULL;
}

static uint8_t *memory_of(const char *what, unsigned *size)
{
    int off, used = 0;

    if (sscanf(what, "mem%u%d%n", size, &off, &used) != 2 || what[used] || *size > 8)
        return NULL;
    return machine->image + BUF_MIDDLE + off;
}

static void set_start(const Case *c)
{
    for (int n = 0; n < c->nstart; n++) {
        const Pair *p = &c->start[n];
        unsigned size;
        uint8_t *mem = memory_of(p->what, &size);
        uint64_t *place = place_of(p->what);

        if (mem)
            memcpy(mem, &p->value, size);
        else if (place)
            *place = p->value;
        else if (!strcmp(p->what, "fcsr"))
            machine_set_fcsr(machine, p->value);
        else
            fail(c, "nothing is called ", p->what);
    }
}

static uint64_t state_of(const Case *c, const char *what, Stop stop)
{
    unsigned size;
    uint8_t *mem = memory_of(what, &size);
    uint64_t *place = place_of(what), v = 0;

    if (mem)
        memcpy(&v, mem, size);
    else if (place)
        v = *place;
    else if (!strcmp(what, "fcsr"))
        v = env_fp_flags(machine->env) | (machine->env->mode >> RVM_FRM_SHIFT & 7) << 5;
    else if (!strcmp(what, "prv"))
        v = machine->s->prv;
    else if (!strcmp(what, "trap"))
        v = stop.cause;
    else if (!strcmp(what, "tval"))
        v = stop.tval;
    else if (!strcmp(what, "pc"))
        v = stop.pc;
    else
        fail(c, "nothing is called ", what);
    return v;
}

/* ---- running */

static void prepare(const Case *c)
{
    Env *env = machine->env;
    RiscvState *s = machine->s;

    machine_drop_units(machine);
    memset(machine->image, 0, machine->size);
    memcpy(machine->image + CODE, c->code, c->bytes);
    memcpy(machine->image + CODE + c->bytes, "\x73\x00\x10\x00", 4);        /* ebreak */
    isa_riscv64.reset(&machine->hart);
    env->ops = &machine_memory;
    s->exts = c->exts;
    memset(files, 0, sizeof(files));
    s->irq_lines = 0;
    for (int level = AIA_M; level <= AIA_S; level++)
        s->imsic[level] = &files[level];
    env->gpr[2] = env->gpr[9] = BASE + BUF_MIDDLE;
    machine_set_fcsr(machine, 0);
    set_start(c);
    machine_set_fs(machine, c->fs);
    s->prv = c->prv;
    env->poll = 0;
    riscv_update_mode(s);
}

static void run_on(const Case *c, const char *engine_name, EngineRun *engine)
{
    bool trap_named = false;

    prepare(c);
    Stop stop = machine_run(machine, engine, BASE + CODE);
    if (stop.stuck)
        fail(c, engine_name, ": runs on without an end, or jumped into the void");
    for (int n = 0; n < c->nexpect; n++) {
        const Pair *p = &c->expect[n];
        uint64_t got = state_of(c, p->what, stop);

        trap_named |= !strcmp(p->what, "trap");
        if (got != p->value) {
            printf("%s:%d: %s on %s: %s is %#" PRIx64 ", want %#" PRIx64 "\n", file_name, c->line, c->name,
                   engine_name, p->what, got, p->value);
            test_case_bad++;
        }
    }
    if (!trap_named && (stop.cause != EXC_BREAK || stop.pc != BASE + CODE + c->bytes)) {
        printf("%s:%d: %s on %s: trap %d at %#" PRIx64 ", tval %#" PRIx64 "\n", file_name, c->line, c->name,
               engine_name, (int)stop.cause, stop.pc, stop.tval);
        test_case_bad++;
    }
}

static void finish(Case *c)
{
    if (!c->name[0])
        return;
    test_case_bad = 0;
    if (!c->bytes)
        fail(c, "no code", "");
    else if (!c->nexpect)
        fail(c, "expects nothing", "");
    else
        run_on(c, "the interpreter", run_interp);
    if (!test_case_bad && machine->jit_ready)
        run_on(c, "generated code", run_jit);
    if (test_case_bad)
        test_failed++;
    else
        test_passed++;
}

static void run_file(const char *path)
{
    char line[4096];
    FILE *f = fopen(path, "r");
    Case c = { 0 };
    int n = 0;

    if (!f) {
        perror(path);
        test_failed++;
        return;
    }
    file_name = path;
    while (fgets(line, sizeof(line), f)) {
        char *s = line + strspn(line, " \t");
        n++;
        if (!strncmp(s, "# test:", 7)) {
            finish(&c);
            c = (Case){ .line = n, .fs = 3, .exts = ~(1ull << RV_V | 1ull << RV_H) };
            read_options(&c, s + 7);
        } else if (!strncmp(s, "# start:", 8)) {
            c.nstart = read_pairs(&c, s + 8, c.start, c.nstart, G_N_ELEMENTS(c.start));
        } else if (!strncmp(s, "# expect:", 9)) {
            c.nexpect = read_pairs(&c, s + 9, c.expect, c.nexpect, G_N_ELEMENTS(c.expect));
        } else if (!strncmp(s, "# code:", 7)) {
            read_code(&c, s + 7);
        }
    }
    finish(&c);
    fclose(f);
}

static int is_source(const struct dirent *d)
{
    size_t n = strlen(d->d_name);

    return n > 2 && !strcmp(d->d_name + n - 2, ".S");
}

int main(int argc, char **argv)
{
    const char *src = getenv("LYRE_SRC");
    char *folder = g_strdup_printf("%s/target/riscv/tests", src ? src : ".");
    struct dirent **names;
    Err *e;

    machine = machine_new(BASE, IMAGE);
    e = machine_jit_start(machine);
    if (e) {
        printf("interpreter alone: ");
        err_report(e);
    }
    for (int n = 1; n < argc; n++)
        run_file(argv[n]);
    if (argc == 1) {
        int count = scandir(folder, &names, is_source, alphasort);
        for (int n = 0; n < count; n++) {
            char *path = g_build_filename(folder, names[n]->d_name, NULL);
            run_file(path);
        }
        if (count <= 0) {
            printf("no tests in %s\n", folder);
            test_failed++;
        }
    }
    return test_end();
}
