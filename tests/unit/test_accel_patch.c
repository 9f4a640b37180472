/* SPDX-License-Identifier: MIT */
/*
 * accel/jit with toy programs whose code changes, each on the interpreter engine
 * and on generated code: by their own stores, by another vCPU's, by a device's,
 * with and without fences, while it is being run or translated.
 */
#include "tests/unit/accel-toy-run.h"

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

/* ---- a return to a caller that was patched */

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

static void run_all(void)
{
    RUN(test_smc_own);
    RUN(test_smc_other);
    RUN(test_page_recovers);
    RUN(test_cross_patch);
    RUN(test_shared_page);
    RUN(test_dma);
    RUN(test_patched_caller);
    RUN(test_racing_patch);
    RUN(test_racing_patch_loop);
}

int main(int argc, char **argv)
{
    return run_engines(argc, argv, run_all);
}
