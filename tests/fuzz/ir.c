/* SPDX-License-Identifier: MIT */
/*
 * IR as text: what is parsed can be printed and parsed again as the same; what
 * the verifier accepts runs on the interpreter and as generated code alike. Loops
 * end at their poll, which is always set; a unit that runs on for long all the
 * same is left alone.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/ir/engine.h"

enum { STEPS = 2000 };

typedef struct Result {
    IrExit why;
    uint64_t slots[TEST_SLOTS], pc, flags, resv;
    uint8_t ram[RAM_SIZE];
} Result;

static Env *env;
static bool jit_absent;

/* As test_env_new makes it, in the same memory. */
static void env_refresh(void)
{
    if (!env)
        env = test_env_new();
    memset(env->gpr, 0, sizeof(env->gpr));
    memset(env->vec, 0, sizeof(env->vec));
    for (int i = 0; i < TEST_SLOTS; i++)
        slot_write(env, i, i % 3 ? 0x9e3779b97f4a7c15u * (i + 1) : RAM_BASE + 8 * i);
    for (int i = 0; i < RAM_SIZE; i++)
        test_ram[i] = i * 7 + (i >> 8);
    env_set_fp_flags(env, 0);
    env_set_round(env, 0);
    env->resv_addr = ENV_NO_RESV;
    env->fault = 0;
    env->pc = 0;
    env->poll = 1;
}

static void keep(Result *r, IrExit why)
{
    r->why = why;
    for (int i = 0; i < TEST_SLOTS; i++)
        r->slots[i] = slot_read(env, i);
    r->pc = env->pc;
    r->flags = env_fp_flags(env);
    r->resv = env->resv_addr;
    memcpy(r->ram, test_ram, RAM_SIZE);
}

static void compare(const IrUnit *u, const Result *a, const Result *b)
{
    g_autofree char *text = ir_print(u);

    fuzz_must(a->why == b->why, "exits %d and %d:\n%s", a->why, b->why, text);
    fuzz_must(a->pc == b->pc, "pc %#lx and %#lx:\n%s", a->pc, b->pc, text);
    for (int i = 0; i < TEST_SLOTS; i++)
        fuzz_must(a->slots[i] == b->slots[i], "%s is %#lx and %#lx:\n%s", test_slots[i].name, a->slots[i], b->slots[i], text);
    fuzz_must(a->flags == b->flags, "flags %#lx and %#lx:\n%s", a->flags, b->flags, text);
    fuzz_must(a->resv == b->resv, "reserved %#lx and %#lx:\n%s", a->resv, b->resv, text);
    fuzz_must(!memcmp(a->ram, b->ram, RAM_SIZE), "memory differs:\n%s", text);
}

/*
 * Backward edges look at the poll, and "backward" goes by addresses: where those do
 * not ascend, as they do in what front ends make, a loop may have no end.
 */
static bool ends(const IrUnit *u)
{
    for (int n = 1; n < u->nmarks; n++)
        if (u->insns[u->marks[n]].imm <= u->insns[u->marks[n - 1]].imm)
            return false;
    return true;
}

static void run(const IrUnit *u)
{
    static Result interpreted, generated;

    if (!ends(u))
        return;

    env_refresh();
    keep(&interpreted, ir_interp(u, env, 0, STEPS));
    /* It had not ended by then: generated code would not stop. */
    env_refresh();
    keep(&generated, ir_interp(u, env, 0, 2 * STEPS));
    if (jit_absent || memcmp(&interpreted, &generated, sizeof(interpreted)))
        return;
    for (int stir = 0; stir < 2; stir++) {
        env_refresh();
        IrExit why = jit_run_with(u, env, stir);
        if (why == EXIT_DEBUG)                          /* too large for the cache here, or a unit's own exit */
            return;
        keep(&generated, why);
        compare(u, &interpreted, &generated);
    }
}

static void round_trip(const IrUnit *u)
{
    g_autofree char *once = ir_print(u), *twice = NULL;
    IrUnit again;

    ir_init(&again, u->guest);
    Err *e = ir_parse(&again, once);
    fuzz_must(!e, "what was printed cannot be parsed: %s\n%s", err_text(e), once);
    twice = ir_print(&again);
    fuzz_must(!strcmp(once, twice), "printed:\n%s, parsed and printed again:\n%s", once, twice);
    ir_free(&again);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    Err *e = jit_open(&test_guest);

    jit_absent = e;
    err_free(e);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    IrUnit u;

    ir_init(&u, &test_guest);
    Err *e = ir_parse(&u, text);
    if (!e) {
        e = ir_check(&u);
        if (!e) {
            round_trip(&u);
            run(&u);
        }
    }
    fuzz_error(e);
    ir_free(&u);
    g_free(text);
    return 0;
}
