/* SPDX-License-Identifier: MIT */
/*
 * accel/jit with toy programs, each on the interpreter engine and on generated
 * code: dispatch and links, self-modifying code, pages that instructions cross,
 * eviction, return stacks, exceptions; then several vCPUs that patch each other's
 * code, evict each other's units, and count with atomics.
 */
#include "tests/unit/test.h"

#include "tests/unit/accel-toy.h"

/* Guest memory is raced for by the guests: the toy's patches, polls and counters. Everything else has to be clean. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:^load$\nrace_top:^store$\nrace:toy_step\n";
}

static Engine engine;

static const TcgStats *stats(int i) { return &tcg_vcpu(toy.vm->vcpus[i])->stats; }
static const JitStats *jit_stats(void) { return &tcg_vm(toy.vm)->jit->stats; }
static Vcpu *cpu(int i) { return toy.vm->vcpus[i]; }
static uint64_t reg(int i, int r) { return cpu(i)->env->gpr[r]; }

/* Runs vCPU 0 from pc until it halts. */
static void run(uint64_t pc)
{
    toy_begin_at(cpu(0), pc);
    toy_run_all();
    CHECK(toy_wait_halted(cpu(0), 20000));
    toy_stop_all();
}

static ToyCode code(uint64_t at) { return (ToyCode){ at }; }
#define PUT(...) toy_put(&c, __VA_ARGS__)

/* r1 = sum of n, n-1, .. 1, the adding being a function in the same page and in another one. */
static void test_loop(void)
{
    toy_start(engine, 1, 0);
    for (uint64_t f = 0x1100; f <= 0x2000; f += 0xf00) {
        ToyCode c = code(0x1000);
        PUT(TOY_LI, 1, 0, 0);
        PUT(TOY_LI, 2, 0, 5000);
        PUT(TOY_CALL, 0, 0, ((int)f - 0x1008) / 4);
        PUT(TOY_ADDI, 2, 2, -1);
        PUT(TOY_BNZ, 2, 0, -2);
        PUT(TOY_HALT, 0, 0, 0);
        c = code(f);
        PUT(TOY_ADDI, 1, 1, 3);
        PUT(TOY_RET, 0, 0, 0);
        run(0x1000);
        CHECK_EQ(reg(0, 1), 15000);
        /* the program is known now: patch it by hand as a debugger would */
        ram_touch(toy.ram, 0x1000, 0x1000);
    }
    /* links, return stack and jump cache do the work, not the dispatcher */
    if (engine == ENGINE_JIT)
        CHECK(stats(0)->enter < 100);
    toy_end();
}

/* Indirect jumps round a ring of functions in many pages. */
static void test_jumps(void)
{
    enum { N = 200 };

    toy_start(engine, 1, 0);
    for (int i = 0; i < N; i++) {
        ToyCode c = code(0x10000 + i * 0x1010);
        PUT(TOY_ADDI, 1, 1, 1);
        PUT(TOY_LD, 3, 4, 8 * i);
        PUT(TOY_JR, 0, 3, 0);
        uint64_t next = i == N - 1 ? 0x1000 : c.at - 12 + 0x1010;
        memcpy(toy.ram->host + 0x2000 + 8 * i, &next, 8);
    }
    ToyCode c = code(0x1000);
    PUT(TOY_ADDI, 2, 2, -1);
    PUT(TOY_BNZ, 2, 0, 2);
    PUT(TOY_HALT, 0, 0, 0);
    PUT(TOY_LI, 3, 0, 0x4000);
    PUT(TOY_ADDI, 3, 3, 0x4000);
    PUT(TOY_ADDI, 3, 3, 0x4000);
    PUT(TOY_ADDI, 3, 3, 0x4000);
    PUT(TOY_JR, 0, 3, 0);
    cpu(0)->env->gpr[2] = 301;
    cpu(0)->env->gpr[4] = 0x2000;
    run(0x1000);
    CHECK_EQ(reg(0, 1), 300 * N);
    CHECK(engine != ENGINE_JIT || stats(0)->enter < 5 * N);
    toy_end();
}

/* ---- exceptions */

static void test_fault(void)
{
    toy_start(engine, 1, 0);
    ToyState *s = toy_state(cpu(0));
    ToyCode c = code(0x1000);
    PUT(TOY_LI, 1, 0, 1);
    PUT(TOY_LI, 2, 0, 0x3000);
    PUT(TOY_ADDI, 3, 3, 1);
    PUT(TOY_LD, 1, 4, 0);                   /* at 0x100c: nothing is there */
    PUT(TOY_LI, 1, 0, 3);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x2000);
    PUT(TOY_ADDI, 5, 5, 1);
    PUT(TOY_HALT, 0, 0, 0);
    s->vector = 0x2000;
    cpu(0)->env->gpr[4] = 0x50000000;
    run(0x1000);
    CHECK_EQ(s->faults, 1);
    CHECK_EQ(s->epc, 0x100c);
    CHECK_EQ(s->va, 0x50000000);
    CHECK_EQ(reg(0, 1), 1);
    CHECK_EQ(reg(0, 3), 1);
    CHECK_EQ(reg(0, 5), 1);
    /* fetching from nowhere, and from a device */
    run(0x50000000);
    CHECK_EQ(s->faults, 2);
    CHECK_EQ(s->epc, 0x50000000);
    CHECK_EQ(s->access, ACCESS_EXEC);
    run(TOY_IO_AT);
    CHECK_EQ(s->faults, 3);
    CHECK_EQ(s->why, MEM_FAULT_BUS);
    toy_end();
}

/* ---- self-modifying code */

/*
 * A loop that patches the instruction just ahead of it, without any fence: this
 * machine sees its own stores at once.
 */
static void test_smc_own(void)
{
    toy_start(engine, 1, 0);
    ToyCode c = code(0x1000);
    PUT(TOY_LI, 2, 0, 300);                 /* loops */
    PUT(TOY_LI, 4, 0, 0x1018);
    /* 0x1008 loop: */
    PUT(TOY_LD, 5, 4, 0x100);               /* r5 = template + n << 16, at 0x1118 */
    PUT(TOY_STH, 5, 4, 0);
    PUT(TOY_LI, 6, 0, 7);
    PUT(TOY_ADDI, 6, 6, 1);
    /* 0x1018: */ PUT(TOY_ADDI, 1, 1, 0);   /* patched: r1 += n */
    PUT(TOY_HOOK, 7, 0, 0);                 /* the template for the next turn */
    PUT(TOY_ADDI, 2, 2, -1);
    PUT(TOY_BNZ, 2, 0, -7);
    PUT(TOY_HALT, 0, 0, 0);
    uint64_t t = toy_insn(TOY_ADDI, 1, 1, 5);
    memcpy(toy.ram->host + 0x1118, &t, 8);
    run(0x1000);
    CHECK_EQ(reg(0, 1), 300 * 5);
    CHECK_EQ(reg(0, 6), 8);
    CHECK(stats(0)->retry > 0);
    toy_end();
}

static uint64_t new_template(Vcpu *v, unsigned arg)
{
    uint64_t old, t = toy_insn(TOY_ADDI, 1, 1, (int)v->env->gpr[2] & 0xff);

    memcpy(&old, toy.ram->host + 0x3000, 8);
    v->env->ops->store(v->env, 0x3000, t, MO_64 | TOY_CTX << MO_CTX_SHIFT);
    return old;
}

/* The same with code in another unit: a function that is patched between its calls, with data beside it. */
static void test_smc_other(void)
{
    uint64_t sum = 0;

    toy_start(engine, 1, 0);
    toy.hook = new_template;
    ToyCode c = code(0x1000);
    PUT(TOY_LI, 2, 0, 500);
    PUT(TOY_LI, 4, 0, 0x2000);
    PUT(TOY_LI, 8, 0, 0x3000);
    /* 0x100c loop: */
    PUT(TOY_HOOK, 7, 0, 0);
    PUT(TOY_LD, 5, 8, 0);
    PUT(TOY_STH, 5, 4, 0);                  /* patch it */
    PUT(TOY_ST, 2, 4, 0x80);                /* beside the code */
    PUT(TOY_CALL, 0, 0, (0x2000 - 0x101c) / 4);
    PUT(TOY_ADDI, 2, 2, -1);
    PUT(TOY_BNZ, 2, 0, -6);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x2000);
    PUT(TOY_ADDI, 1, 1, 0);
    PUT(TOY_RET, 0, 0, 0);
    for (int n = 500; n > 0; n--)
        sum += n & 0xff;
    run(0x1000);
    CHECK_EQ(reg(0, 1), sum);
    CHECK_EQ(jit_stats()->invalidated, 499);        /* the first patch came before the code */
    CHECK(stats(0)->code_store >= 499);
    CHECK_EQ(stats(0)->retry, 0);
    toy_end();
}

/* When the last unit of a page is gone, stores are inline again. */
static void test_page_recovers(void)
{
    toy_start(engine, 1, 0);
    ToyCode c = code(0x2000);
    PUT(TOY_ADDI, 1, 1, 1);
    PUT(TOY_HALT, 0, 0, 0);
    run(0x2000);
    CHECK(toy.ram->pages[2] & PAGE_CODE);
    c = code(0x1000);
    PUT(TOY_ST, 2, 4, 0);
    PUT(TOY_ADDI, 4, 4, 8);
    PUT(TOY_ADDI, 3, 3, -1);
    PUT(TOY_BNZ, 3, 0, -3);
    PUT(TOY_HALT, 0, 0, 0);
    cpu(0)->env->gpr[3] = 512;
    cpu(0)->env->gpr[4] = 0x2000;
    run(0x1000);
    CHECK(!(toy.ram->pages[2] & PAGE_CODE));
    CHECK(toy.ram->pages[2] & PAGE_WRITTEN);
    CHECK(stats(0)->slow_store < 5);
    CHECK_EQ(jit_stats()->invalidated, 1);
    /* and the page can hold code again: the write tag is taken back */
    c = code(0x2000);
    PUT(TOY_LI, 1, 0, 99);
    PUT(TOY_HALT, 0, 0, 0);
    run(0x2000);
    CHECK_EQ(reg(0, 1), 99);
    CHECK(toy.ram->pages[2] & PAGE_CODE);
    toy_end();
}

/* ---- an instruction across two pages */

static void put_crossing(uint64_t first, uint64_t second, uint32_t imm)
{
    uint32_t w = toy_insn(TOY_PAR, 1, 0, 0);

    memcpy(toy.ram->host + first + 0xffc, &w, 4);
    memcpy(toy.ram->host + second, &imm, 4);
    ToyCode c = code(second + 4);
    PUT(TOY_HALT, 0, 0, 0);
}

static void test_crossing(void)
{
    toy_start(engine, 1, 0);
    ToyState *s = toy_state(cpu(0));
    put_crossing(0x1000, 0x2000, 7);
    ToyCode c = code(0x1ff0);
    PUT(TOY_ADDI, 2, 2, 1);
    PUT(TOY_ADDI, 2, 2, 1);
    PUT(TOY_ADDI, 2, 2, 1);
    run(0x1ff0);
    CHECK_EQ(reg(0, 1), 7);
    /* a store to the second page's half */
    toy_put(&(ToyCode){ 0x2000 }, 9, 0, 0, 0);
    ram_touch(toy.ram, 0x2000, 4);
    run(0x1ff0);
    CHECK_EQ(reg(0, 1), 16);
    /* the same first page with other second ones, in two address spaces; then none */
    put_crossing(0x1000, 0x5000, 100);
    put_crossing(0x1000, 0x6000, 1000);
    for (int a = 0; a < 2; a++) {
        toy.pte[a][0] = (ToyPte){ 0x1000, PROT_R | PROT_X };
        toy.pte[a][1] = (ToyPte){ a ? 0x6000 : 0x5000, PROT_R | PROT_X };
    }
    s->virt = true;
    for (int k = 0; k < 6; k++) {
        s->asid = k % 2;
        mmu_ops->address_space_changed(cpu(0));
        cpu(0)->env->gpr[1] = 0;
        run(TOY_VA + 0xff0);
        CHECK_EQ(reg(0, 1), k % 2 ? 1000 : 100);
    }
    toy.pte[1][1].flags = 0;
    mmu_ops->flush_page(cpu(0), TOY_VA + 0x1000, 1);
    s->vector = TOY_VA + 0x800;
    c = code(0x1800);
    PUT(TOY_HALT, 0, 0, 0);
    run(TOY_VA + 0xff0);
    CHECK_EQ(s->faults, 1);
    CHECK_EQ(s->epc, TOY_VA + 0xffc);
    CHECK_EQ(s->va, TOY_VA + 0x1000);
    toy_end();
}

/* ---- a page at several addresses */

enum { COPIES_AT = 0x1000, COPIES_BAD = 0x700 };

static uint64_t copies_va(unsigned asid) { return TOY_VA + asid * 0x3000; }

/* A loop that calls a function in its page and one in the next; then its link addresses; then an exception. */
static void copies_program(void)
{
    ToyCode c = code(COPIES_AT);
    PUT(TOY_LI, 2, 0, 50);
    PUT(TOY_CALL, 0, 0, 0x100 / 4);         /* at 4 */
    PUT(TOY_CALL, 0, 0, 0x1000 / 4);
    PUT(TOY_ADDI, 6, 15, 0);
    PUT(TOY_ADDI, 2, 2, -1);
    PUT(TOY_BNZ, 2, 0, -4);
    PUT(TOY_LD, 7, 4, 0);                   /* at 0x18 */
    PUT(TOY_HALT, 0, 0, 0);
    c = code(COPIES_AT + 0x104);
    PUT(TOY_ADDI, 1, 1, 1);
    PUT(TOY_RET, 0, 0, 0);
    c = code(COPIES_AT + COPIES_BAD);
    PUT(TOY_ADDI, 8, 8, 1);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(COPIES_AT + 0x1008);
    PUT(TOY_ADDI, 1, 1, 100);
    PUT(TOY_RET, 0, 0, 0);
    ram_touch(toy.ram, COPIES_AT, 0x2000);
}

static void copies_run(unsigned asid, uint64_t each)
{
    ToyState *s = toy_state(cpu(0));
    uint64_t va = copies_va(asid);

    s->asid = asid;
    s->vector = va + COPIES_BAD;
    mmu_ops->address_space_changed(cpu(0));
    cpu(0)->env->gpr[1] = cpu(0)->env->gpr[8] = 0;
    cpu(0)->env->gpr[4] = va + 0x2ff0;      /* nothing there */
    run(va);
    CHECK_EQ(reg(0, 1), 50 * each);
    CHECK_EQ(reg(0, 6), va + 0xc);
    CHECK_EQ(reg(0, 8), 1);
    CHECK_EQ(s->epc, va + 0x18);
    CHECK_EQ(s->va, va + 0x2ff0);
}

static void copies_all(uint64_t each)
{
    for (int k = 0; k < 2 * TOY_ASIDS; k++)
        copies_run(k % TOY_ASIDS, each);
}

/* Two pages that each address space has elsewhere; stores to them; the original's region evicted, and others'. */
static void test_copies(void)
{
    toy_start(engine, 1, 512 << 10);
    for (unsigned a = 0; a < TOY_ASIDS; a++) {
        toy.pte[a][a * 3] = (ToyPte){ COPIES_AT, PROT_R | PROT_X };
        toy.pte[a][a * 3 + 1] = (ToyPte){ COPIES_AT + 0x1000, PROT_R | PROT_X };
    }
    toy_state(cpu(0))->virt = true;
    copies_program();
    copies_all(101);
    if (engine == ENGINE_JIT) {
        CHECK(jit_stats()->copies >= jit_stats()->units * (TOY_ASIDS - 1) / TOY_ASIDS);
        CHECK(stats(0)->enter < 1000);
    }
    uint64_t made = jit_stats()->units;
    copies_all(101);
    CHECK_EQ(jit_stats()->units, made);
    /* each copy has to hear of a store, in either page */
    toy_put(&(ToyCode){ COPIES_AT + 0x104 }, TOY_ADDI, 1, 1, 2);
    ram_touch(toy.ram, COPIES_AT + 0x104, 4);
    copies_all(102);
    toy_put(&(ToyCode){ COPIES_AT + 0x1008 }, TOY_ADDI, 1, 1, 50);
    ram_touch(toy.ram, COPIES_AT + 0x1008, 4);
    copies_all(52);
    /* units fill the cache while address spaces come and go */
    for (int k = 0; k < 6; k++) {
        toy_state(cpu(0))->virt = false;
        mmu_ops->address_space_changed(cpu(0));
        for (uint64_t at = 0x10000; at < 0x80000; at += 0x1000) {
            ToyCode c = code(at);
            for (int n = 0; n < 100; n++)
                PUT(TOY_ADDI, 3, 3, 1);
            PUT(TOY_HALT, 0, 0, 0);
            ram_touch(toy.ram, at, 0x1000);
            run(at);
        }
        toy_state(cpu(0))->virt = true;
        copies_run(k % TOY_ASIDS, 52);
        copies_run((k * 3 + 1) % TOY_ASIDS, 52);
    }
    CHECK(engine != ENGINE_JIT || jit_stats()->evictions > 0);
    toy_end();
}

/*
 * One virtual page, in each address space another physical one, all executed by an indirect jump (so by the jump cache). One
 * is mapped anew and flushed: in its address space, or in all. Nobody may go on in the old one; others go on as they were.
 */
static void test_flushed_page(void)
{
    uint64_t want[TOY_ASIDS], at = TOY_VA + 0x5000;

    toy_start(engine, 1, 0);
    ToyState *s = toy_state(cpu(0));
    ToyCode c = code(0x1000);
    PUT(TOY_JR, 0, 4, 0);
    for (int n = 0; n < 4 * TOY_ASIDS; n++) {
        c = code(0x10000 + n * 0x1000);
        PUT(TOY_ADDI, 1, 1, n + 1);
        PUT(TOY_ADDI, 2, 2, -1);
        PUT(TOY_BNZ, 2, 0, 2);
        PUT(TOY_HALT, 0, 0, 0);
        PUT(TOY_JR, 0, 4, 0);
    }
    for (unsigned a = 0; a < TOY_ASIDS; a++) {
        toy.pte[a][0] = (ToyPte){ 0x1000, PROT_R | PROT_X };
        toy.pte[a][5] = (ToyPte){ 0x10000 + a * 0x1000, PROT_R | PROT_X };
        want[a] = a + 1;
    }
    s->virt = true;
    for (unsigned k = 0; k < 400; k++) {
        unsigned a = toy_rand() % (k < 200 ? 3 : TOY_ASIDS), n = toy_rand() % (4 * TOY_ASIDS);
        s->asid = toy_rand() % (k < 200 ? 3 : TOY_ASIDS);
        mmu_ops->address_space_changed(cpu(0));
        if (toy_rand() % 2) {
            toy.pte[a][5].pa = 0x10000 + n * 0x1000;
            want[a] = n + 1;
            mmu_ops->flush_page(cpu(0), at, toy_rand() % 2 ? -1 : (int)a);
        }
        cpu(0)->env->gpr[1] = 0;
        cpu(0)->env->gpr[2] = 3;
        cpu(0)->env->gpr[4] = at;
        run(TOY_VA);
        CHECK_EQ(reg(0, 1), 3 * want[s->asid]);
    }
    toy_end();
}

/* A page mapped anew under code that links to it: the edge must not be believed. */
static void test_remapped_target(void)
{
    toy_start(engine, 1, 0);
    ToyState *s = toy_state(cpu(0));
    ToyCode c = code(0x1000);
    PUT(TOY_CALL, 0, 0, 0x1000 / 4);
    PUT(TOY_HALT, 0, 0, 0);
    for (int k = 0; k < 4; k++) {
        c = code(0x2000 + k * 0x1000);
        PUT(TOY_ADDI, 1, 1, 1 << k);
        PUT(TOY_RET, 0, 0, 0);
    }
    s->virt = true;
    mmu_ops->address_space_changed(cpu(0));
    toy.pte[0][0] = (ToyPte){ 0x1000, PROT_R | PROT_X };
    uint64_t want = 0;
    for (int k = 0; k < 40; k++) {
        int page = toy_rand() & 3;

        toy.pte[0][1] = (ToyPte){ 0x2000 + page * 0x1000, PROT_R | PROT_X };
        if (k % 3 == 0)
            mmu_ops->flush_all(cpu(0));
        else if (k % 3 == 1)
            mmu_ops->flush_page(cpu(0), TOY_VA + 0x1000, -1);
        else
            mmu_ops->flush_asid(cpu(0), 0, true);
        want += 1u << page;
        run(TOY_VA);
        CHECK_EQ(reg(0, 1), want);
    }
    toy_end();
}

/* ---- return stacks */

static void test_recursion(void)
{
    enum { DEPTH = 20000 };

    toy_start(engine, 1, 0);
    ToyCode c = code(0x1000);
    PUT(TOY_CALL, 0, 0, 2);
    PUT(TOY_HALT, 0, 0, 0);
    /* 0x1008: r1++; if (--r2) recurse; */
    PUT(TOY_ADDI, 1, 1, 1);
    PUT(TOY_ADDI, 2, 2, -1);
    PUT(TOY_BNZ, 2, 0, 2);
    PUT(TOY_RET, 0, 0, 0);
    PUT(TOY_ST, 15, 10, 0);
    PUT(TOY_ADDI, 10, 10, 8);
    PUT(TOY_CALL, 0, 0, -6);
    PUT(TOY_ADDI, 10, 10, -8);
    PUT(TOY_LD, 15, 10, 0);
    PUT(TOY_ADDI, 3, 3, 1);
    PUT(TOY_RET, 0, 0, 0);
    for (int k = 1; k <= 3; k++) {
        cpu(0)->env->gpr[2] = DEPTH;
        cpu(0)->env->gpr[10] = 0x100000;
        run(0x1000);
        CHECK_EQ(reg(0, 1), k * DEPTH);
        CHECK_EQ(reg(0, 3), k * (DEPTH - 1));
        CHECK_EQ(reg(0, 10), 0x100000);
    }
    CHECK(engine != ENGINE_JIT || stats(0)->overflow > 0);
    toy_end();
}

/* ---- eviction: many functions in a cache that holds a part of them */

enum { FUNCS = 3000, FUNC_SIZE = 0x140, FUNC_AT = 0x100000, TABLE_AT = 0x10000 };

static uint64_t func_adds[FUNCS];

static void make_functions(void)
{
    for (int f = 0; f < FUNCS; f++) {
        ToyCode c = code(FUNC_AT + f * FUNC_SIZE);
        unsigned n = 4 + toy_rand() % 60;

        func_adds[f] = 0;
        for (unsigned i = 0; i < n; i++) {
            int k = toy_rand() & 0x3ff;

            func_adds[f] += k;
            PUT(TOY_ADDI, 1, 1, k);
            if (i % 8 == 3) {
                PUT(TOY_BNZ, 1, 0, 2);              /* always taken, r1 is never 0 there */
                PUT(TOY_ADDI, 1, 1, 1);
            }
        }
        PUT(TOY_RET, 0, 0, 0);
    }
}

/* A table of calls for one vCPU, a 0 at its end; and the loop that makes them. Returns what r1 shall be. */
static uint64_t make_calls(int vcpu, int calls)
{
    uint64_t sum = 1, at = TABLE_AT + vcpu * 0x8000, end = 0;

    for (int i = 0; i < calls; i++) {
        int f = toy_rand() % FUNCS;
        uint64_t va = FUNC_AT + f * FUNC_SIZE;

        sum += func_adds[f];
        memcpy(toy.ram->host + at + 8 * i, &va, 8);
    }
    memcpy(toy.ram->host + at + 8 * calls, &end, 8);
    cpu(vcpu)->env->gpr[1] = 1;
    cpu(vcpu)->env->gpr[4] = at;
    return sum;
}

static void make_caller(void)
{
    ToyCode c = code(0x1000);
    PUT(TOY_LD, 5, 4, 0);
    PUT(TOY_ADDI, 4, 4, 8);
    PUT(TOY_BNZ, 5, 0, 2);
    PUT(TOY_HALT, 0, 0, 0);
    PUT(TOY_CALL, 0, 0, 3);                 /* to the jump: r15 = the next one */
    PUT(TOY_BNZ, 4, 0, -5);
    PUT(TOY_HALT, 0, 0, 0);
    PUT(TOY_JR, 0, 5, 0);
}

static void evict_with(int vcpus, int rounds)
{
    uint64_t want[8];

    toy_start(engine, vcpus, 1);            /* the smallest cache there is */
    make_functions();
    make_caller();
    for (int k = 0; k < rounds; k++) {
        for (int i = 0; i < vcpus; i++) {
            want[i] = make_calls(i, 4000);
            toy_begin_at(cpu(i), 0x1000);
        }
        toy_run_all();
        for (int i = 0; i < vcpus; i++)
            CHECK(toy_wait_halted(cpu(i), 60000));
        toy_stop_all();
        for (int i = 0; i < vcpus; i++)
            CHECK_EQ(reg(i, 1), want[i]);
    }
    CHECK(jit_stats()->evictions > (uint64_t)rounds);
    toy_end();
}

static void test_evict(void)
{
    evict_with(1, 5);
}

static void test_evict_smp(void)
{
    evict_with(4, 3);
}

/* ---- several vCPUs */

/*
 * vCPU 0 patches a function, then raises a number; the others wait for the number,
 * fence, call the function and answer. Each must get the new value.
 */
enum { ROUNDS = 300, SEQ = 0x8000, OTHERS = 3 };
static _Atomic int wrong;
static _Atomic uint64_t answer[OTHERS + 1];

static uint64_t cross_hook(Vcpu *v, unsigned arg)
{
    uint64_t *r = v->env->gpr;

    switch (arg) {
    case 0:
        return new_template(v, 0);
    case 64:                                /* is there a new number? */
        sched_yield();
        return v->env->ops->load(v->env, SEQ, MO_64 | TOY_CTX << MO_CTX_SHIFT) != r[3];
    case 65:
        if (r[1] != (r[3] & 0xff))
            atomic_fetch_add(&wrong, 1);
        atomic_store(&answer[v->index], r[3]);
        return 0;
    default:                                /* has vCPU arg not answered yet? */
        sched_yield();
        return atomic_load(&answer[arg]) != r[2];
    }
}

static void test_cross_patch(void)
{
    toy_start(engine, 1 + OTHERS, 0);
    toy.hook = cross_hook;
    ToyCode c = code(0x1000);               /* vCPU 0 */
    PUT(TOY_HOOK, 7, 0, 0);
    PUT(TOY_LD, 5, 8, 0);
    PUT(TOY_STH, 5, 4, 0);
    PUT(TOY_ST, 2, 9, 0);
    for (int i = 1; i <= OTHERS; i++) {
        PUT(TOY_HOOK, 6, 0, i);
        PUT(TOY_BNZ, 6, 0, -1);
    }
    PUT(TOY_ADDI, 2, 2, -1);
    PUT(TOY_BNZ, 2, 0, -5 - 2 * OTHERS);
    PUT(TOY_ST, 2, 9, 0);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x6000);                       /* the others */
    PUT(TOY_HOOK, 6, 0, 64);
    PUT(TOY_BNZ, 6, 0, 2);
    PUT(TOY_BNZ, 9, 0, -2);
    PUT(TOY_LD, 3, 9, 0);
    PUT(TOY_BNZ, 3, 0, 2);
    PUT(TOY_HALT, 0, 0, 0);
    PUT(TOY_FENCE, 0, 0, 0);
    PUT(TOY_LI, 1, 0, 0);
    PUT(TOY_CALL, 0, 0, (0x2000 - 0x6020) / 4);
    PUT(TOY_HOOK, 6, 0, 65);
    PUT(TOY_BNZ, 9, 0, -10);
    c = code(0x2000);
    PUT(TOY_ADDI, 1, 1, 0);
    PUT(TOY_RET, 0, 0, 0);

    uint64_t none = 0x7fffffff;
    memcpy(toy.ram->host + SEQ, &none, 8);
    atomic_store(&wrong, 0);
    for (int i = 0; i <= OTHERS; i++) {
        uint64_t *r = cpu(i)->env->gpr;

        r[2] = ROUNDS, r[3] = none, r[4] = 0x2000, r[8] = 0x3000, r[9] = SEQ;
        atomic_store(&answer[i], 0);
        toy_begin_at(cpu(i), i ? 0x6000 : 0x1000);
    }
    toy_run_all();
    for (int i = 0; i <= OTHERS; i++)
        CHECK(toy_wait_halted(cpu(i), 60000));
    toy_stop_all();
    CHECK_EQ(atomic_load(&wrong), 0);
    CHECK(jit_stats()->invalidated >= ROUNDS - 1);
    toy_end();
}

/* One page that all vCPUs store to inline, while one of them executes from it what it has just stored there. */
static void test_shared_page(void)
{
    toy_start(engine, 4, 0);
    ToyCode c = code(0x1000);               /* vCPU 0: patch r1 += 1 or 2 in turn, call it */
    PUT(TOY_STH, 5, 4, 0);
    PUT(TOY_CALL, 0, 0, (0x2000 - 0x1004) / 4);
    PUT(TOY_STH, 6, 4, 0);
    PUT(TOY_CALL, 0, 0, (0x2000 - 0x100c) / 4);
    PUT(TOY_ADDI, 2, 2, -1);
    PUT(TOY_BNZ, 2, 0, -5);
    PUT(TOY_ST, 2, 9, 0);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x6000);                       /* others: count in a word of the page until told to end */
    PUT(TOY_ADDI, 1, 1, 1);
    PUT(TOY_ST, 1, 4, 0);
    PUT(TOY_LD, 3, 9, 0);
    PUT(TOY_BNZ, 3, 0, -3);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x2000);
    PUT(TOY_HALT, 0, 0, 0);
    PUT(TOY_RET, 0, 0, 0);
    uint64_t go = 1;
    memcpy(toy.ram->host + 0x3000, &go, 8);
    for (int i = 0; i < 4; i++) {
        uint64_t *r = cpu(i)->env->gpr;

        r[2] = 400, r[4] = i ? 0x2800 + i * 8 : 0x2000, r[9] = 0x3000;
        r[5] = toy_insn(TOY_ADDI, 1, 1, 1), r[6] = toy_insn(TOY_ADDI, 1, 1, 2);
        toy_begin_at(cpu(i), i ? 0x6000 : 0x1000);
    }
    toy_run_all();
    for (int i = 0; i < 4; i++)
        CHECK(toy_wait_halted(cpu(i), 60000));
    toy_stop_all();
    CHECK_EQ(reg(0, 1), 400 * 3);
    for (int i = 1; i < 4; i++) {
        uint64_t count;

        memcpy(&count, toy.ram->host + 0x2800 + i * 8, 8);
        CHECK_EQ(count, reg(i, 1));
    }
    toy_end();
}

/* Four vCPUs count in one word; then in one that lies across two pages. */
static void test_counting(void)
{
    for (uint64_t at = 0x7000; at <= 0x7ffc; at += 0xffc) {
        int n = at & 7 ? 300 : 20000;
        uint64_t sum;

        toy_start(engine, 4, 0);
        ToyCode c = code(0x1000);
        PUT(TOY_AMO, 5, 4, 0);
        PUT(TOY_ADDI, 2, 2, -1);
        PUT(TOY_BNZ, 2, 0, -2);
        PUT(TOY_HALT, 0, 0, 0);
        for (int i = 0; i < 4; i++) {
            cpu(i)->env->gpr[2] = n;
            cpu(i)->env->gpr[4] = at;
            toy_begin_at(cpu(i), 0x1000);
        }
        toy_run_all();
        for (int i = 0; i < 4; i++)
            CHECK(toy_wait_halted(cpu(i), 60000));
        toy_stop_all();
        memcpy(&sum, toy.ram->host + at, 8);
        CHECK_EQ(sum, 4 * n);
        toy_end();
    }
}

/* A device writes code while a vCPU runs it; each new version must come to be run. */
static void test_dma(void)
{
    toy_start(engine, 2, 0);
    ToyCode c = code(0x1000);
    PUT(TOY_CALL, 0, 0, (0x2000 - 0x1000) / 4);
    PUT(TOY_ST, 3, 4, 0);
    PUT(TOY_FENCE, 0, 0, 0);
    PUT(TOY_BNZ, 2, 0, -3);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x2000);
    PUT(TOY_LI, 3, 0, 1);
    PUT(TOY_RET, 0, 0, 0);
    cpu(0)->env->gpr[2] = 1;
    cpu(0)->env->gpr[4] = 0x3000;
    toy_begin_at(cpu(0), 0x1000);
    toy_run_all();
    for (int k = 0; k <= 200; k++) {
        uint32_t w = k < 200 ? toy_insn(TOY_LI, 3, 0, k) : toy_insn(TOY_LI, 2, 0, 0);

        vm_lock(toy.vm);
        CHECK_EQ(space_write(toy.vm->mem, 0x2000, &w, 4), MEM_OK);
        vm_unlock(toy.vm);
        for (int i = 0; k < 200 && i < 100000 && host_load(toy.ram->host + 0x3000, 8) != (uint64_t)k; i++)
            g_usleep(100);
    }
    CHECK(toy_wait_halted(cpu(0), 20000));
    toy_stop_all();
    CHECK_EQ(reg(0, 3), 199);
    toy_end();
}

/* ---- returns that must not go where the call came from */

static uint64_t switch_hook(Vcpu *v, unsigned arg)
{
    toy_state(v)->asid = arg;
    mmu_ops->address_space_changed(v);
    return 0;
}

/* A function returns into another address space, to the same address but other code. */
static void test_return_elsewhere(void)
{
    toy_start(engine, 1, 0);
    toy.hook = switch_hook;
    for (int a = 0; a < 2; a++) {
        ToyCode c = code(0x1000 + a * 0x1000);
        PUT(TOY_CALL, 0, 0, 0x1000 / 4);
        PUT(TOY_ADDI, 1, 1, 1 + 99 * a);
        PUT(TOY_HALT, 0, 0, 0);
        toy.pte[a][0] = (ToyPte){ 0x1000 + a * 0x1000, PROT_R | PROT_X };
        toy.pte[a][1] = (ToyPte){ 0x3000, PROT_R | PROT_X | TOY_G };
    }
    ToyCode c = code(0x3000);
    PUT(TOY_BNZ, 2, 0, 2);
    PUT(TOY_RET, 0, 0, 0);
    PUT(TOY_HOOK, 3, 0, 1);
    PUT(TOY_RET, 0, 0, 0);
    toy_state(cpu(0))->virt = true;
    for (int k = 0; k < 5; k++) {
        switch_hook(cpu(0), 0);
        cpu(0)->env->gpr[1] = 0;
        cpu(0)->env->gpr[2] = k;
        run(TOY_VA);
        CHECK_EQ(reg(0, 1), k ? 100 : 1);
    }
    toy_end();
}

static _Atomic bool patched;
static uint64_t patched_hook(Vcpu *v, unsigned arg)
{
    if (arg)
        atomic_store(&patched, true);
    else
        sched_yield();
    return atomic_load(&patched);
}

static void begin_patch(Vcpu *v, void *opaque)
{
    toy_begin_at(v, 0x1000);
}

/* While a function runs, another vCPU patches its caller; after a fence it must return to the new code. */
static void test_patched_caller(void)
{
    toy_start(engine, 2, 0);
    toy.hook = patched_hook;
    ToyCode c = code(0x2000);
    PUT(TOY_CALL, 0, 0, 0x3000 / 4);
    PUT(TOY_LI, 1, 0, 1);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x5000);
    PUT(TOY_BNZ, 2, 0, 2);                  /* r2: don't wait */
    PUT(TOY_BNZ, 4, 0, 2);
    PUT(TOY_RET, 0, 0, 0);
    PUT(TOY_HOOK, 6, 0, 0);
    PUT(TOY_BNZ, 6, 0, 2);
    PUT(TOY_BNZ, 4, 0, -2);
    PUT(TOY_FENCE, 0, 0, 0);
    PUT(TOY_RET, 0, 0, 0);
    c = code(0x1000);
    PUT(TOY_STH, 5, 4, 0);
    PUT(TOY_HOOK, 6, 0, 1);
    PUT(TOY_HALT, 0, 0, 0);
    for (int k = 0; k < 20; k++) {
        uint64_t *r = cpu(0)->env->gpr;

        atomic_store(&patched, false);
        r[2] = 1, r[4] = 1;
        run(0x2000);                        /* all is translated and linked */
        CHECK_EQ(reg(0, 1), k + 1);
        r[2] = 0;
        cpu(1)->env->gpr[5] = toy_insn(TOY_LI, 1, 0, k + 2);
        cpu(1)->env->gpr[4] = 0x2004;
        toy_begin_at(cpu(0), 0x2000);
        toy_run_all();
        g_usleep(2000);
        vcpu_run_on(cpu(1), begin_patch, NULL, true);
        vcpu_kick(cpu(1));
        for (int i = 0; i < 2; i++)
            CHECK(toy_wait_halted(cpu(i), 20000));
        toy_stop_all();
        CHECK_EQ(reg(0, 1), k + 2);
    }
    toy_end();
}

/* ---- a store and a translation of the same bytes at the same time */

enum { TRIALS = 300 };
static _Atomic int trial, acked;
static _Atomic uint64_t expected;

static uint64_t race_hook(Vcpu *v, unsigned arg)
{
    static __thread uint64_t seed = 88172645463325252;

    switch (arg) {
    case 80:
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        atomic_store(&expected, 3 + seed % 1000);
        return toy_insn(TOY_LI, 1, 0, atomic_load(&expected));
    case 85:                                /* the loop's last store was what r5 was one step ago */
        atomic_store(&expected, (v->env->gpr[5] >> 16) - 1);
        return 0;
    case 81:
        return atomic_fetch_add(&trial, 1) + 1 < TRIALS;
    case 84:                                /* has the last one not been answered yet? */
        sched_yield();
        return atomic_load(&trial) != atomic_load(&acked);
    case 82:                                /* is there something to compare? */
        return atomic_load(&trial) != atomic_load(&acked);
    default:
        if (v->env->gpr[1] != atomic_load(&expected))
            atomic_fetch_add(&wrong, 1);
        atomic_fetch_add(&acked, 1);
        return atomic_load(&acked) < TRIALS;
    }
}

/* vCPU 1 patches a function in a loop; what it stored last is what vCPU 0 must run then. */
static ToyCode racing_patcher(bool last_in_loop)
{
    ToyCode c = code(0x1000);

    PUT(TOY_LI, 2, 0, 40);
    if (last_in_loop) {
        PUT(TOY_HOOK, 5, 0, 80);
        PUT(TOY_STH, 5, 4, 0);              /* li r1, k with k rising */
        for (int i = 0; i < 4; i++)
            PUT(TOY_ADDI, 5, 5, 0x4000);
        PUT(TOY_ADDI, 2, 2, -1);
        PUT(TOY_BNZ, 2, 0, -6);
        PUT(TOY_HOOK, 7, 0, 85);
    } else {
        PUT(TOY_STH, 5, 4, 0);
        PUT(TOY_STH, 6, 4, 0);
        PUT(TOY_ADDI, 2, 2, -1);
        PUT(TOY_BNZ, 2, 0, -3);
        PUT(TOY_HOOK, 7, 0, 80);
        PUT(TOY_STH, 7, 4, 0);
    }
    PUT(TOY_HOOK, 8, 0, 81);
    PUT(TOY_HOOK, 9, 0, 84);
    PUT(TOY_BNZ, 9, 0, -1);
    PUT(TOY_BNZ, 8, 0, -(int)(c.at - 0x1000) / 4);
    PUT(TOY_HALT, 0, 0, 0);
    return c;
}

static void racing_patch(bool last_in_loop)
{
    toy_start(engine, 2, 0);
    toy.hook = race_hook;
    ToyCode c = racing_patcher(last_in_loop);
    c = code(0x6000);                       /* vCPU 0 calls; when told that the last one was stored, it compares */
    PUT(TOY_FENCE, 0, 0, 0);
    PUT(TOY_CALL, 0, 0, (0x2000 - 0x6004) / 4);
    PUT(TOY_HOOK, 6, 0, 82);
    PUT(TOY_BNZ, 6, 0, 2);
    PUT(TOY_BNZ, 4, 0, -4);
    PUT(TOY_FENCE, 0, 0, 0);
    PUT(TOY_CALL, 0, 0, (0x2000 - 0x6018) / 4);
    PUT(TOY_HOOK, 6, 0, 83);
    PUT(TOY_BNZ, 6, 0, -8);
    PUT(TOY_HALT, 0, 0, 0);
    c = code(0x2000);
    PUT(TOY_LI, 1, 0, 1);
    for (int i = 0; i < 60; i++)
        PUT(TOY_ADDI, 3, 3, 1);             /* makes the translation last longer */
    PUT(TOY_RET, 0, 0, 0);
    atomic_store(&wrong, 0);
    atomic_store(&trial, 0);
    atomic_store(&acked, 0);
    for (int i = 0; i < 2; i++) {
        uint64_t *r = cpu(i)->env->gpr;

        r[4] = 0x2000, r[5] = toy_insn(TOY_LI, 1, 0, 1), r[6] = toy_insn(TOY_LI, 1, 0, 2);
        toy_begin_at(cpu(i), i ? 0x1000 : 0x6000);
    }
    toy_run_all();
    for (int i = 0; i < 2; i++)
        CHECK(toy_wait_halted(cpu(i), 60000));
    toy_stop_all();
    CHECK_EQ(atomic_load(&wrong), 0);
    CHECK_EQ(atomic_load(&acked), TRIALS);
    toy_end();
}

static void test_racing_patch(void)
{
    racing_patch(false);
}

static void test_racing_patch_loop(void)
{
    racing_patch(true);
}

static void run_all(Engine e)
{
    engine = e;
    RUN(test_loop);
    RUN(test_jumps);
    RUN(test_fault);
    RUN(test_smc_own);
    RUN(test_smc_other);
    RUN(test_page_recovers);
    RUN(test_crossing);
    RUN(test_copies);
    RUN(test_flushed_page);
    RUN(test_remapped_target);
    RUN(test_recursion);
    RUN(test_evict);
    RUN(test_evict_smp);
    RUN(test_cross_patch);
    RUN(test_shared_page);
    RUN(test_counting);
    RUN(test_dma);
    RUN(test_return_elsewhere);
    RUN(test_patched_caller);
    RUN(test_racing_patch);
    RUN(test_racing_patch_loop);
}

int main(int argc, char **argv)
{
    toy_randomize("JIT_SEED");
    if (argc < 2 || !strcmp(argv[1], "interp"))
        run_all(ENGINE_INTERP);
    if (argc < 2 || !strcmp(argv[1], "jit"))
        run_all(ENGINE_JIT);
    return test_end();
}
