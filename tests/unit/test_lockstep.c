/* SPDX-License-Identifier: MIT */
/*
 * Does lockstep find what it is there to find? "Generated code" is here the
 * interpreter on real memory, followed by one deliberate mistake; each kind of mistake must be reported, and
 * none of what may differ.
 */
#include <glib.h>
#include <unistd.h>

#include "accel/jit/jit.h"
#include "tests/ir/guest.h"
#include "tests/unit/test.h"

static IrExit fake_enter(TcgVcpu *t, const void *host);
static int fake_site_mark(const Jit *j, const Unit *u, uint64_t site);
#define jit_enter fake_enter
#define unit_site_mark fake_site_mark
#include "accel/jit/lockstep.c"

enum { STATE_A, STATE_SHARED, STATES };

static Vm *vm;
static Vcpu *v;
static TcgVcpu *t;
static Lockstep *k;
static Unit unit;
static IrUnit ir;
static uint16_t mark_off[64];
static Shape shape = { .mark_off = mark_off };
static uint64_t state[STATES];
static char *log_path;
static void (*mistake)(Env *env);

/* ---- a guest whose memory is what it is physically */

static bool walk(Vcpu *cpu, uint64_t va, Access a, unsigned ctx, Page *out)
{
    *out = (Page){ .pa = va & ~(uint64_t)4095, .order = 12, .prot = PROT_R | PROT_W | PROT_X, .global = true };
    return va < 0x40000;
}

static void mem_fault(Vcpu *cpu, uint64_t va, Access a, unsigned ctx, MemOp m, enum MemFault why)
{
    state[STATE_A] = va;
    cpu->env->fault = 1;
}

static unsigned fetch_ctx(uint64_t mode)
{
    return 0;
}

static unsigned asid(Vcpu *cpu, unsigned ctx)
{
    return 0;
}

static bool ctx_virtual(Vcpu *cpu, unsigned ctx)
{
    return false;
}

static int print(char *out, size_t size, const uint8_t *code, unsigned avail, uint64_t pc)
{
    snprintf(out, size, "toy");
    return 4;
}

static const char *state_diff(const void *a, const void *b, GString *out)
{
    const uint64_t *x = a, *y = b;

    if (x[STATE_A] == y[STATE_A])
        return NULL;
    g_string_append_printf(out, "  state: %" PRIx64 ", %" PRIx64 "\n", x[STATE_A], y[STATE_A]);
    return out->str;
}

static const StateRange shared[] = { { 8 * STATE_SHARED, 8 }, { 0, 0 } };

/* The test guest's helpers, one that reaches outside, and one that changes the guest's state. */
static IrHelper helpers[TEST_HELPERS + 2];
static IrGuest guest;

static const Isa toy = {
    .name = "toy", .ir = &guest, .walk = walk, .mem_fault = mem_fault, .fetch_ctx = fetch_ctx, .asid = asid,
    .ctx_virtual = ctx_virtual, .print = print, .max_insn = 4,
    .state_size = sizeof(state), .state_shared = shared, .state_diff = state_diff,
};

static int outside_calls;

static uint64_t help_outside(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    outside_calls++;
    return 0;
}

static uint64_t help_count(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    state[STATE_A]++;
    state[STATE_SHARED]++;      /* as if by another thread */
    return 0;
}

/* ---- what stands for generated code */

static uint64_t faulted_at;
static bool other_writer;       /* memory changes behind everybody's back before the second run */

static IrExit fake_enter(TcgVcpu *tv, const void *host)
{
    IrExit why;

    if (other_writer)
        *(uint8_t *)space_ram(vm->mem, 0x10000, 1, true, NULL, NULL) += 1;
    why = ir_interp(&ir, tv->env, 0, INT64_MAX);
    faulted_at = tv->env->pc;
    if (mistake)
        mistake(tv->env);
    return why == EXIT_NEXT ? EXIT_LINK : why;
}

static int fake_site_mark(const Jit *j, const Unit *u, uint64_t site)
{
    return ir_find_mark(&ir, faulted_at);
}

/* ---- the machine */

static int io_reads;

static uint64_t io_read(void *dev, uint64_t off, unsigned size)
{
    return ++io_reads;
}

static const IoOps io_ops = { .read = io_read };

static void machine_new(void)
{
    static VmConfig config = { .smp = 1, .engine = ENGINE_LOCKSTEP };
    static Region ram, io;
    static Tcg tcg;
    static Jit jit;
    static CodePage page;
    RamBlock *block;

    memcpy(helpers, test_helpers, sizeof(test_helpers));
    helpers[TEST_HELPERS] = (IrHelper){ "outside", help_outside, 0, HELPER_OUTSIDE };
    helpers[TEST_HELPERS + 1] = (IrHelper){ "count", help_count, 0, 0 };
    guest = test_guest;
    guest.helpers = helpers;
    guest.nhelpers = TEST_HELPERS + 2;
    vm = vm_new(&config);
    vm->accel_state = accel_vm_new(vm);
    accel_vm(vm)->engine = &tcg;
    tcg.jit = &jit;
    jit.vm = vm;
    err_free(ram_new(vm, "ram", 0x10000, &block));
    ram = (Region){ .name = "ram", .kind = REGION_RAM, .size = 0x10000, .ram = block };
    io = (Region){ .name = "io", .kind = REGION_IO, .size = 0x1000, .ops = &io_ops, .nolock = true };
    space_edit(vm->mem);
    err_free(space_map(vm->mem, 0x10000, &ram, 0));
    err_free(space_map(vm->mem, 0x30000, &io, 0));
    space_commit(vm->mem);
    v = vcpu_new(vm, 0);
    v->isa = &toy;
    v->state = state;
    err_free(tcg_vcpu_new(v));
    t = tcg_vcpu(v);
    k = lockstep_of(t);
    ir_init(&ir, &guest);
    page.block = block;
    unit = (Unit){ .ir = &ir, .shape = &shape, .page = { &page } };
    mmu_flush_everything(t);
}

/* Runs `body` (the unit's instructions after the first mark) both ways; what was reported, or "". */
static const char *run(const char *body, void (*wrong)(Env *))
{
    static char *text;
    g_autofree char *source = g_strdup_printf("unit test 0x1000\n mark 0x1000, 4\n %s\n exit next 0x1010", body);
    Env *env = t->env;
    IrExit why;
    Err *e = ir_parse(&ir, source);

    if (!e)
        e = ir_check(&ir);
    if (e)
        printf("%s\n", err_text(e));
    CHECK(!e);
    err_free(e);
    for (int m = 0; m < ir.nmarks; m++)
        mark_off[m] = ir.insns[ir.marks[m]].imm & 4095;
    unit.va = 0x1000;
    shape.nmarks = ir.nmarks;
    unit.prog = ir_interp_prepare(&ir);
    ir_prog_observe(unit.prog);
    for (int i = 0; i < TEST_SLOTS; i++)
        slot_write(env, i, 1000 + i);
    env->gpr[1] = 0x10000;
    env->poll = 1;
    env->fault = 0;
    env->pc = 0x1000;
    unit.runs = 0;
    mistake = wrong;
    bool same = run_both(k, &unit, &why);
    env->fault = 0;
    ir_interp_free(unit.prog);
    log_close();
    g_free(text);
    text = NULL;
    g_file_get_contents(log_path, &text, NULL, NULL);
    err_free(log_set_file(log_path));
    CHECK_EQ(same, !text || !*text);
    return text ? text : "";
}

/* ---- agreement */

static const char busy[] = "@a0 = ld.64 @a1, u8\n mark 0x1004, 4\n st.64 @a1, @a2, +8 u4\n mark 0x1008, 4\n"
                           "@a3 = ld.64 @a1, +8 u8\n mark 0x100c, 4\n @f0 = fadd.f64.dyn @f1, @f2";

static void test_agree(void)
{
    uint64_t *word = space_ram(vm->mem, 0x10000, 16, true, NULL, NULL);
    uint64_t units = k->stats.units, insns = k->stats.insns;

    word[0] = 5;
    word[1] = UINT64_MAX;
    CHECK_STR(run(busy, NULL), "");
    CHECK_EQ(k->stats.units, units + 1);
    CHECK_EQ(k->stats.insns, insns + 4);
    CHECK_EQ(t->env->gpr[0], 5);
    CHECK_EQ(t->env->gpr[3], UINT64_MAX << 32 | 1002);      /* it saw its own store, in both runs */
    CHECK_EQ(word[1], UINT64_MAX << 32 | 1002);
    CHECK_EQ(t->env->pc, 0x1010);
}

static void test_agree_atomics(void)
{
    uint64_t *word = space_ram(vm->mem, 0x10000, 16, true, NULL, NULL);

    word[0] = 5;
    CHECK_STR(run("@a0 = amo.64.add @a1, #3, u8\n mark 0x1004, 4\n @a2 = lr.64 @a1, u8\n mark 0x1008, 4\n"
                  "@a3 = sc.64 @a1, #7, u8\n mark 0x100c, 4\n @a4 = cas.64 @a1, #7, #9, u4", NULL), "");
    CHECK_EQ(t->env->gpr[0], 5);
    CHECK_EQ(t->env->gpr[2], 8);
    CHECK_EQ(t->env->gpr[3], 0);
    CHECK_EQ(t->env->gpr[4], 7);
    CHECK_EQ(word[0], 9);
}

static void test_agree_fault(void)
{
    uint64_t units = k->stats.units;

    CHECK_STR(run("@a0 = mov.64 #1\n mark 0x1004, 4\n @a2 = ld.64 #0x50000, u8", NULL), "");
    CHECK_EQ(k->stats.units, units + 1);
    CHECK_EQ(t->env->pc, 0x1004);
    CHECK_EQ(t->env->gpr[0], 1);
    CHECK_EQ(state[STATE_A], 0x50000);
}

/* ---- what is left unchecked, and counted */

static void test_outside(void)
{
    uint64_t units = k->stats.units, outside = k->stats.outside;

    outside_calls = 0;
    CHECK_STR(run("call outside()", NULL), "");
    CHECK_EQ(outside_calls, 1);
    CHECK_EQ(k->stats.outside, outside + 1);
    CHECK_EQ(k->stats.units, units);
}

static void test_device(void)
{
    uint64_t devices = k->stats.devices;

    io_reads = 0;
    CHECK_STR(run("@a0 = ld.64 #0x30000, u4", NULL), "");
    CHECK_EQ(io_reads, 1);
    CHECK_EQ(t->env->gpr[0], 1);
    CHECK_EQ(k->stats.devices, devices + 1);
}

static void test_crossing(void)
{
    uint64_t odd = k->stats.odd;

    CHECK_STR(run("@a0 = ld.64 @a1, +4092 u8", NULL), "");
    CHECK_EQ(k->stats.odd, odd + 1);
}

static void test_hot(void)
{
    unsigned compared = 0;

    ir_free(&ir);
    ir_init(&ir, &guest);
    run("@a0 = mov.64 #1", NULL);
    for (unsigned n = 1; n <= OFTEN + 10 * OFTEN_EACH; n++)
        compared += !left_out(k, &unit);
    CHECK_EQ(compared, OFTEN - 1 + 10);
}

/* A device or another vCPU writes memory between the two runs. */
static void test_race_forgiven(void)
{
    uint64_t raced = k->stats.raced;

    other_writer = true;
    CHECK_STR(run("@a0 = ld.64 @a1, u8", NULL), "");
    other_writer = false;
    CHECK_EQ(k->stats.raced, raced + 1);
}

/* The guest's state is put back before the second run, but for what other threads write. */
static void test_shared_state(void)
{
    state[STATE_A] = 10;
    state[STATE_SHARED] = 20;
    CHECK_STR(run("call count()", NULL), "");
    CHECK_EQ(state[STATE_A], 11);
    CHECK_EQ(state[STATE_SHARED], 22);
}

/* ---- mistakes */

static void wrong_pinned(Env *env)    { env->gpr[0]++; }
static void wrong_other(Env *env)     { env->gpr[7] ^= (uint64_t)1 << 63; }
static void wrong_float(Env *env)     { env->vec[9].u64[0]++; }
static void wrong_narrow(Env *env)    { *(uint32_t *)&env->sys[4] += 1; }
static void wrong_pc(Env *env)        { env->pc += 4; }
static void wrong_flags(Env *env)     { env->mxcsr_guest |= 1; }
static void wrong_round(Env *env)     { env_set_round(env, FP_RUP); }
static void wrong_mode(Env *env)      { env->mode ^= 1; }
static void wrong_reserved(Env *env)  { env->resv_addr = 0x10000; }
static void wrong_state(Env *env)     { state[STATE_A]++; }
static void wrong_fault(Env *env)     { env->fault = 1; }

static uint8_t *byte_at(uint64_t addr)
{
    return space_ram(vm->mem, addr, 1, true, NULL, NULL);
}

static void wrong_store(Env *env)     { *byte_at(0x1000b) ^= 1; }
static void wrong_beside(Env *env)    { *byte_at(0x1000c) ^= 1; }
static void wrong_before(Env *env)    { *byte_at(0x10007) ^= 1; }

static void test_mistakes(void)
{
    static const struct { void (*wrong)(Env *); const char *said; } rows[] = {
        { wrong_pinned, "a0: before" }, { wrong_other, "a7: before" }, { wrong_float, "f9: before" },
        { wrong_narrow, "w0: before" }, { wrong_pc, "pc: before" }, { wrong_flags, "fp flags: before" },
        { wrong_round, "fp rounding: before" }, { wrong_mode, "mode: before" },
        { wrong_reserved, "reserved address: before" }, { wrong_state, "state: " }, { wrong_fault, "fault: before" },
        { wrong_store, "byte at 0x1000b: before" }, { wrong_beside, "byte at 0x1000c: before" },
        { wrong_before, "byte at 0x10007: before" },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *text;

        *byte_at(0x10000) = i;
        text = run(busy, rows[i].wrong);
        if (!strstr(text, rows[i].said))
            printf("want '%s', got '%s'\n", rows[i].said, text);
        CHECK(strstr(text, rows[i].said));
        env_set_fp_flags(t->env, 0);
        env_set_round(t->env, FP_RNE);
        t->env->mode = 0;
        t->env->resv_addr = ENV_NO_RESV;
    }
}

static void wrong_fault_pc(Env *env)  { faulted_at = 0x1000; }

static void test_wrong_fault_pc(void)
{
    CHECK(strstr(run("@a0 = mov.64 #1\n mark 0x1004, 4\n @a2 = ld.64 #0x50000, u8", wrong_fault_pc), "pc: before"));
}

/* The front end's mistakes are found before the unit runs. */
static void test_verified(void)
{
    g_autofree char *text = NULL;

    ir_free(&ir);
    ir_init(&ir, &guest);
    err_free(ir_parse(&ir, "unit test 0x1000\n mark 0x1000, 4\n @a0 = add.64 %0, #1\n exit next 0x1010"));
    unit.prog = ir_interp_prepare(&ir);
    CHECK(!prepare(k, &unit));
    ir_interp_free(unit.prog);
    log_close();
    g_file_get_contents(log_path, &text, NULL, NULL);
    err_free(log_set_file(log_path));
    CHECK(text && strstr(text, "breaks a rule of the IR") && strstr(text, "not defined"));
}

/* The report has all that a person needs. */
static void test_report(void)
{
    const char *text = run(busy, wrong_pinned);

    CHECK(strstr(text, "lockstep: vCPU 0, unit 0x1000"));
    CHECK(strstr(text, "expected "));
    CHECK(strstr(text, "@a3 = ld.64 @a1, +8 u8"));
    CHECK(strstr(text, "store 4 bytes at 0x10008: 0x3ea"));
    CHECK(strstr(text, "load  8 bytes at 0x10000"));
    CHECK(strstr(text, "registers before the unit"));
    CHECK(strstr(text, "a2         00000000000003ea"));
}

TEST_KEEPS_MEMORY

int main(void)
{
    log_path = g_strdup_printf("%s/lyre-lockstep-%d", g_get_tmp_dir(), (int)getpid());
    err_free(log_set_file(log_path));
    machine_new();
    RUN(test_agree);
    RUN(test_agree_atomics);
    RUN(test_agree_fault);
    RUN(test_outside);
    RUN(test_device);
    RUN(test_crossing);
    RUN(test_hot);
    RUN(test_race_forgiven);
    RUN(test_shared_state);
    RUN(test_mistakes);
    RUN(test_wrong_fault_pc);
    RUN(test_verified);
    RUN(test_report);
    unlink(log_path);
    return test_end();
}
