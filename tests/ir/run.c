/* SPDX-License-Identifier: MIT */
/*
 * Runs the units of tests/ir/x.ir on every engine. A file holds units in text form
 * (tcg/ir/README.md), each followed by runs of it:
 *
 *   ; run a1=1 a2=0x10 m8[0x10008]=5 -> a0=0x11 m4[0x10000]=3
 *
 * Left of the arrow is what is set before: slots, memory (m, bytes, [address]), poll,
 * round, flags (accrued floating point), mode. Right of it what must have
 * changed; everything else of slots and memory must be as before. There also: exit
 * (next if absent), pc, flags (0 if absent), resv. A number may be a float: 1.5d (double) or
 * 1.5f (single, boxed).
 *
 * Each unit must also pass the verifier and survive printing and parsing. All ops
 * together must be met. Argument: one file, to run it alone.
 */
#include <dirent.h>
#include <glib.h>
#include <stdio.h>

#include "tests/ir/engine.h"
#include "tcg/ir/names.h"

static int passed, failed;
static bool met[IR_OPS], absent[ENGINES];

typedef struct Place {      /* where in the files we are */
    const char *file;
    int line;
} Place;

static void complain(const Place *at, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void complain(const Place *at, const char *fmt, ...)
{
    va_list ap;

    printf("%s:%d: ", at->file, at->line);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

/* ---- what a run line says */

typedef struct Expect {
    uint64_t slots[TEST_SLOTS];
    uint8_t ram[RAM_SIZE];
    uint64_t exit, pc, flags, resv;
    bool pc_given, resv_given;
} Expect;

static bool parse_number(const char *s, uint64_t *out)
{
    char *end;
    double d;
    float f;
    uint32_t w;

    *out = *s == '-' ? (uint64_t)strtoll(s, &end, 0) : strtoull(s, &end, 0);
    if (end != s && !*end)
        return true;
    d = strtod(s, &end);
    if (end == s || (strcmp(end, "d") && strcmp(end, "f")))
        return false;
    if (*end == 'd') {
        memcpy(out, &d, 8);
    } else {
        f = d;
        memcpy(&w, &f, 4);
        *out = w | ~(uint64_t)UINT32_MAX;
    }
    return true;
}

static int find_slot(const char *name)
{
    for (int i = 0; i < TEST_SLOTS; i++)
        if (!strcmp(test_slots[i].name, name))
            return i;
    return -1;
}

/* "m8[0x10000]": bytes and address. */
static bool parse_memory(const char *s, unsigned *size, uint64_t *va)
{
    char *end;

    *size = s[1] - '0';
    if (s[0] != 'm' || s[2] != '[' || !strchr("1248", s[1]))
        return false;
    *va = strtoull(s + 3, &end, 0);
    return !strcmp(end, "]") && *va >= RAM_BASE && *va + *size <= RAM_BASE + RAM_SIZE;
}

/* A slot or memory. */
static bool set_state(const char *key, uint64_t v, uint64_t *slots, uint8_t *ram)
{
    int slot = find_slot(key);
    unsigned size;
    uint64_t va;

    if (slot >= 0) {
        if (test_slots[slot].type == IR_I32)
            v = (slots[slot] & ~(uint64_t)UINT32_MAX) | (uint32_t)v;
        slots[slot] = v;
        return true;
    }
    if (!parse_memory(key, &size, &va))
        return false;
    memcpy(ram + (va - RAM_BASE), &v, size);
    return true;
}

static bool set_before(Env *env, const char *key, uint64_t v, Expect *x)
{
    if (set_state(key, v, x->slots, x->ram)) {
        memcpy(test_ram, x->ram, RAM_SIZE);
        for (int i = 0; i < TEST_SLOTS; i++)
            slot_write(env, i, x->slots[i]);
    } else if (!strcmp(key, "poll")) {
        env->poll = v;
    } else if (!strcmp(key, "round")) {
        env_set_round(env, v);
    } else if (!strcmp(key, "flags")) {
        env_set_fp_flags(env, v);
        x->flags = v;
    } else if (!strcmp(key, "mode")) {
        env->mode = v;
    } else {
        return false;
    }
    return true;
}

static bool set_after(const char *key, uint64_t v, Expect *x)
{
    if (set_state(key, v, x->slots, x->ram))
        return true;
    if (!strcmp(key, "pc")) {
        x->pc = v;
        x->pc_given = true;
    } else if (!strcmp(key, "flags")) {
        x->flags = v;
    } else if (!strcmp(key, "resv")) {
        x->resv = v;
        x->resv_given = true;
    } else {
        return false;
    }
    return true;
}

static bool parse_value(const char *key, const char *s, uint64_t *out)
{
    if (strcmp(key, "exit"))
        return parse_number(s, out);
    for (*out = 0; ir_exit_names[*out]; ++*out)
        if (!strcmp(ir_exit_names[*out], s))
            return true;
    return false;
}

/* The run line into env and x. False: it isn't one (complained). */
static bool read_run(const Place *at, const char *line, Env *env, Expect *x)
{
    g_auto(GStrv) words = g_strsplit_set(line, " ", -1);
    bool after = false, ok = true;

    for (int i = 0; i < TEST_SLOTS; i++)
        x->slots[i] = slot_read(env, i);
    memcpy(x->ram, test_ram, RAM_SIZE);
    for (char **w = words; *w && ok; w++) {
        char *eq = strchr(*w, '=');
        uint64_t v;

        if (!**w)
            continue;
        if (!strcmp(*w, "->")) {
            after = true;
            continue;
        }
        if (!eq) {
            ok = false;
        } else {
            *eq = 0;
            ok = parse_value(*w, eq + 1, &v);
            if (ok && after && !strcmp(*w, "exit"))
                x->exit = v;
            else if (ok)
                ok = after ? set_after(*w, v, x) : set_before(env, *w, v, x);
        }
        if (!ok)
            complain(at, "cannot read '%s'", *w);
    }
    if (ok && !after)
        complain(at, "a run without '->'");
    return ok && after;
}

/* ---- one run on one engine */

static bool compare(const Place *at, const Engine *e, Env *env, const Expect *x, IrExit why)
{
    bool ok = true;

    for (int i = 0; i < TEST_SLOTS; i++) {
        if (slot_read(env, i) != x->slots[i]) {
            complain(at, "%s: %s is %#" G_GINT64_MODIFIER "x, want %#" G_GINT64_MODIFIER "x", e->name,
                     test_slots[i].name, slot_read(env, i), x->slots[i]);
            ok = false;
        }
    }
    for (int i = 0; i < RAM_SIZE; i++) {
        if (test_ram[i] != x->ram[i]) {
            complain(at, "%s: byte at %#x is %#x, want %#x", e->name, RAM_BASE + i, test_ram[i], x->ram[i]);
            ok = false;
        }
    }
    if (why != x->exit) {
        complain(at, "%s: exit is %s, want %s", e->name, ir_exit_names[why], ir_exit_names[x->exit]);
        ok = false;
    }
    if (x->pc_given && env->pc != x->pc) {
        complain(at, "%s: pc is %#" G_GINT64_MODIFIER "x, want %#" G_GINT64_MODIFIER "x", e->name, env->pc, x->pc);
        ok = false;
    }
    if (env_fp_flags(env) != x->flags) {
        complain(at, "%s: flags are %#x, want %#x", e->name, env_fp_flags(env), (unsigned)x->flags);
        ok = false;
    }
    if (x->resv_given && env->resv_addr != x->resv) {
        complain(at, "%s: reserved is %#" G_GINT64_MODIFIER "x", e->name, env->resv_addr);
        ok = false;
    }
    return ok;
}

static void do_run(const Place *at, const IrUnit *u, const char *line)
{
    static Expect x;

    for (int k = 0; k < ENGINES; k++) {
        const Engine *e = &engines[k];
        Env *env = test_env_new();
        bool ok;

        memset(&x, 0, sizeof(x));
        if (absent[k]) {
            free(env);
            continue;
        }
        ok = read_run(at, line, env, &x) && compare(at, e, env, &x, e->run(u, env));
        *(ok ? &passed : &failed) += 1;
        free(env);
    }
}

/* ---- files */

/* Prints the unit, parses that, prints again: both texts must be one. */
static bool round_trip(const Place *at, const IrUnit *u)
{
    g_autofree char *once = ir_print(u), *twice = NULL;
    IrUnit again;
    Err *e;
    bool same;

    ir_init(&again, u->guest);
    e = ir_parse(&again, once);
    if (e) {
        complain(at, "what was printed cannot be parsed: %s", err_text(e));
        err_free(e);
        ir_free(&again);
        return false;
    }
    twice = ir_print(&again);
    same = !strcmp(once, twice) && again.n == u->n;
    if (!same)
        complain(at, "parsed and printed again:\n%snot\n%s", twice, once);
    ir_free(&again);
    return same;
}

static bool load_unit(const Place *at, IrUnit *u, const char *text)
{
    Err *e = ir_parse(u, text);

    if (!e)
        e = ir_check(u);
    if (e) {
        complain(at, "%s", err_text(e));
        err_free(e);
        return false;
    }
    for (int n = 0; n < u->n; n++)
        met[u->insns[n].op] = true;
    return round_trip(at, u);
}

static void run_file(const char *path)
{
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    GString *unit = g_string_new(NULL);
    Place at = { path, 0 };
    IrUnit u;
    bool fresh = false, good = false;       /* the unit is not parsed yet; it is fine */

    ir_init(&u, &test_guest);
    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        complain(&at, "cannot read");
        failed++;
        text = g_strdup("");
    }
    lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++) {
        char *s = g_strstrip(*l);

        at.line++;
        if (g_str_has_prefix(s, "unit ")) {
            g_string_truncate(unit, 0);
            fresh = true;
        }
        if (!g_str_has_prefix(s, "; run ")) {
            g_string_append_printf(unit, "%s\n", s);
            continue;
        }
        if (fresh) {
            good = load_unit(&at, &u, unit->str);
            failed += !good;
            fresh = false;
        }
        if (good)
            do_run(&at, &u, s + 6);
    }
    if (fresh) {
        complain(&at, "a unit without a run");
        failed++;
    }
    g_string_free(unit, TRUE);
    ir_free(&u);
}

static int run_folder(const char *folder)
{
    GDir *d = g_dir_open(folder, 0, NULL);
    const char *name;
    int files = 0;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);

        if (!g_str_has_suffix(name, ".ir"))
            continue;
        run_file(path);
        files++;
    }
    if (d)
        g_dir_close(d);
    return files;
}

int main(int argc, char **argv)
{
    const char *src = getenv("LYRE_SRC");
    g_autofree char *folder = g_build_filename(src ? src : ".", "tests/ir", NULL);

    for (int k = 0; k < ENGINES; k++) {
        Err *why = engines[k].open(&test_guest);

        if (why)
            printf("engine %s is left out: %s\n", engines[k].name, err_text(why));
        absent[k] = why;
        err_free(why);
    }
    if (argc > 1) {
        run_file(argv[1]);
    } else if (!run_folder(folder)) {
        printf("no .ir files in %s (LYRE_SRC says where the source is)\n", folder);
        failed++;
    } else {
        for (int op = 0; op < IR_OPS; op++) {
            if (!met[op]) {
                printf("no test has the op %s\n", ir_ops[op].name);
                failed++;
            }
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
