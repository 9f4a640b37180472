/* SPDX-License-Identifier: MIT */
/*
 * accel/jit with toy programs, each on the interpreter engine and on generated
 * code: dispatch and links, pages that instructions cross and that have several
 * addresses, eviction, return stacks, exceptions, vCPUs that count with atomics.
 * Code that changes is test_accel_patch's.
 */
#include "tests/unit/accel-toy-run.h"

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
static void run_all(void)
{
    RUN(test_loop);
    RUN(test_jumps);
    RUN(test_fault);
    RUN(test_crossing);
    RUN(test_copies);
    RUN(test_flushed_page);
    RUN(test_remapped_target);
    RUN(test_recursion);
    RUN(test_evict);
    RUN(test_evict_smp);
    RUN(test_counting);
    RUN(test_return_elsewhere);
}

int main(int argc, char **argv)
{
    return run_engines(argc, argv, run_all);
}
