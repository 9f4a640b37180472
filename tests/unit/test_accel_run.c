/* SPDX-License-Identifier: MIT */
/*
 * accel/run: vCPU threads under a fake engine that counts turns of a loop. Work
 * in both directions at once, standing, halting, being alone; meant to be run
 * under ThreadSanitizer too: what is done alone is done to plain variables.
 */
#include "tests/unit/test.h"

#include <stdatomic.h>
#include <unistd.h>

#include "accel/run.h"
#include "system/vmconfig.h"
#include "target/isa.h"
#include "tcg/env.h"

enum { VCPUS = 4 };

static VmConfig config = { .program = "test", .smp = VCPUS };
static Vm *vm;
static _Atomic uint64_t turns[VCPUS], irqs[VCPUS], inside;
static _Atomic bool line[VCPUS], wants_halt[VCPUS], alone_wish;
static uint64_t alone_count;        /* changed only by who is alone */
static _Atomic int alone_tries;

static _Atomic int not_alone;

static void do_alone(Vcpu *self)
{
    /* `inside` counts who turns; whoever waits to be alone doesn't. */
    if (self)
        atomic_fetch_sub(&inside, 1);
    vcpus_exclusive(vm, self);
    uint64_t was = alone_count;
    if (atomic_load(&inside))
        atomic_fetch_add(&not_alone, 1);
    alone_count = was + 1;
    vcpus_resume(vm, self);
    if (self)
        atomic_fetch_add(&inside, 1);
}

/* ---- vCPUs that interrupt each other, and run each other: errands */

static _Atomic bool chatty;
static _Atomic uint64_t away_turns;
static uint64_t dice[VCPUS];        /* of who runs the vCPU: plain data, handed over with it */

/* One turn of a guest that sends interrupts, answers, and waits for interrupts; true: it waits now. */
static bool chat(Vcpu *v)
{
    uint64_t r = dice[v->index] = dice[v->index] * 6364136223846793005u + 1442695040888963407u;
    unsigned to = r >> 40 & (VCPUS - 1);

    CHECK(current_vcpu == v);
    if (!pthread_equal(pthread_self(), v->thread))
        atomic_fetch_add(&away_turns, 1);
    if (r >> 60 == 0 && to != (unsigned)v->index) {
        atomic_store(&line[to], true);
        vcpu_interrupt(vm->vcpus[to], r & 64);
    }
    if (r >> 56 == 0x35)
        vcpu_answered(v);
    return r >> 56 >= 0xf0;
}

static VcpuExit fake_run(Vcpu *v)
{
    VcpuExit why = VCPU_KICKED;

    atomic_fetch_add(&inside, 1);
    while (!__atomic_load_n(&v->env->poll, __ATOMIC_SEQ_CST)) {
        atomic_fetch_add(&turns[v->index], 1);
        if (atomic_load(&chatty) && chat(v)) {
            why = VCPU_HALTED;
            break;
        }
        if (atomic_load(&alone_wish) && atomic_load(&turns[v->index]) % 64 == 0) {
            do_alone(v);
            atomic_fetch_add(&alone_tries, 1);
        }
        if (atomic_load(&wants_halt[v->index])) {
            why = VCPU_HALTED;
            break;
        }
    }
    atomic_fetch_sub(&inside, 1);
    return why;
}

static _Atomic bool parked;         /* an interrupt is pending for ever, and never taken */

static bool fake_irq(Vcpu *v)
{
    if (atomic_load(&parked))
        return false;
    if (!atomic_exchange(&line[v->index], false))
        return false;
    atomic_store(&wants_halt[v->index], false);
    atomic_fetch_add(&irqs[v->index], 1);
    return true;
}

static bool fake_wakes(Vcpu *v)
{
    return atomic_load(&line[v->index]) || atomic_load(&parked);
}

static const Accel fake_accel = { .name = "fake", .run = fake_run };
static const Isa fake_isa = { .name = "fake", .irq = fake_irq, .wakes = fake_wakes };

static void start(void)
{
    vm = vm_new(&config);
    vm->isa = &fake_isa;
    vm->accel = &fake_accel;
    vm->accel_state = accel_vm_new(vm);
    vm->vcpus = g_new0(Vcpu *, VCPUS);
    for (int i = 0; i < VCPUS; i++) {
        vm->vcpus[i] = vcpu_new(vm, i);
        vm->vcpus[i]->env = g_aligned_alloc0(1, sizeof(Env), _Alignof(Env));
    }
    vm->nvcpus = VCPUS;
    for (int i = 0; i < VCPUS; i++)
        CHECK(vcpu_thread_start(vm->vcpus[i]) == NULL);
    vm_lock(vm);
    vm_start(vm);
    vm_unlock(vm);
}

static void stop(void)
{
    vm_lock(vm);
    vm_stop(vm, RUN_SHUTDOWN);
    vm_unlock(vm);
    for (int i = 0; i < VCPUS; i++)
        CHECK(vm->vcpus[i]->standing);
    for (int i = 0; i < VCPUS; i++) {
        vcpu_thread_join(vm->vcpus[i]);
        g_aligned_free(vm->vcpus[i]->env);
        vcpu_free(vm->vcpus[i]);
    }
    g_free(vm->vcpus);
    accel_vm_free(vm->accel_state);
    vm_free(vm);
}

static bool comes_true(bool (*cond)(void))
{
    for (int i = 0; i < 20000; i++) {
        if (cond())
            return true;
        usleep(500);
    }
    return false;
}

static bool all_turned(void)
{
    for (int i = 0; i < VCPUS; i++)
        if (!atomic_load(&turns[i]))
            return false;
    return true;
}

static void test_start_stop(void)
{
    start();
    CHECK(comes_true(all_turned));
    for (int k = 0; k < 50; k++) {
        vm_lock(vm);
        vm_stop(vm, RUN_PAUSED);
        for (int i = 0; i < VCPUS; i++)
            CHECK(vm->vcpus[i]->standing && !vm->vcpus[i]->running);
        vm_start(vm);
        vm_unlock(vm);
    }
    stop();
}

/* ---- work */

static _Atomic int worked;
static void count_work(Vcpu *v, void *opaque)
{
    CHECK(current_vcpu == v);
    atomic_fetch_add(&worked, 1);
}

/* Asks everybody, itself too, and waits: all vCPUs do it at the same time. */
static void ask_all(Vcpu *v, void *opaque)
{
    for (int i = 0; i < VCPUS; i++)
        vcpu_run_on(vm->vcpus[i], count_work, NULL, true);
}

static void test_work(void)
{
    start();
    atomic_store(&worked, 0);
    for (int k = 0; k < 100; k++)
        for (int i = 0; i < VCPUS; i++)
            vcpu_run_on(vm->vcpus[i], ask_all, NULL, false);
    for (int i = 0; i < VCPUS; i++)
        vcpu_run_on(vm->vcpus[i], count_work, NULL, true);
    for (int k = 0; k < 20000 && atomic_load(&worked) < 100 * VCPUS * VCPUS + VCPUS; k++)
        usleep(500);
    CHECK_EQ(atomic_load(&worked), 100 * VCPUS * VCPUS + VCPUS);
    /* Standing vCPUs work too. */
    vm_lock(vm);
    vm_stop(vm, RUN_PAUSED);
    vcpu_run_on(vm->vcpus[1], count_work, NULL, true);
    CHECK(vm_locked(vm));
    CHECK_EQ(atomic_load(&worked), 100 * VCPUS * VCPUS + VCPUS + 1);
    vm_start(vm);
    vm_unlock(vm);
    stop();
}

/* ---- halting */

static bool all_halted(void)
{
    for (int i = 0; i < VCPUS; i++)
        if (!vm->vcpus[i]->halted)
            return false;
    return true;
}

static uint64_t irqs_wanted;
static bool irqs_came(void)
{
    for (int i = 0; i < VCPUS; i++)
        if (atomic_load(&irqs[i]) < irqs_wanted)
            return false;
    return true;
}

static void test_halt(void)
{
    start();
    for (int i = 0; i < VCPUS; i++)
        irqs[i] = 0;
    for (irqs_wanted = 1; irqs_wanted <= 200; irqs_wanted++) {
        for (int i = 0; i < VCPUS; i++) {
            atomic_store(&wants_halt[i], true);
            /* The line goes up while it may be on its way to sleep: it must be woken all the same. */
            if (irqs_wanted % 2)
                sched_yield();
            atomic_store(&line[i], true);
            vcpu_kick(vm->vcpus[i]);
        }
        CHECK(comes_true(irqs_came));
    }
    for (int i = 0; i < VCPUS; i++)
        atomic_store(&wants_halt[i], true);
    CHECK(comes_true(all_halted));
    /* A halted vCPU works, and stands when asked. */
    atomic_store(&worked, 0);
    vcpu_run_on(vm->vcpus[2], count_work, NULL, true);
    CHECK_EQ(atomic_load(&worked), 1);
    for (int i = 0; i < VCPUS; i++)
        atomic_store(&wants_halt[i], false);
    stop();
}

static uint64_t looks_wanted;
static bool looked(void)
{
    return atomic_load(&turns[1]) >= looks_wanted;
}

/* A guest that waits in a loop, with an interrupt that it doesn't take, must not burn the host. */
static void test_parked(void)
{
    start();
    atomic_store(&parked, true);
    for (int i = 0; i < VCPUS; i++) {
        atomic_store(&turns[i], 0);
        atomic_store(&wants_halt[i], true);
    }
    usleep(300 * 1000);
    uint64_t before = atomic_load(&turns[1]);
    for (int i = 0; i < VCPUS; i++)
        CHECK(atomic_load(&turns[i]) < 128);
    /* It works for us at once, and its guest doesn't look then: it would see what others are not done with. */
    atomic_store(&worked, 0);
    for (int i = 0; i < 1000; i++)
        vcpu_run_on(vm->vcpus[1], count_work, NULL, true);
    CHECK_EQ(atomic_load(&worked), 1000);
    CHECK(atomic_load(&turns[1]) < before + 100);
    /* The same interrupt raised again is a reason to look. */
    for (int i = 0; i < 20; i++) {
        looks_wanted = atomic_load(&turns[1]) + 1;
        atomic_store(&vm->vcpus[1]->nudged, true);
        vcpu_kick(vm->vcpus[1]);
        CHECK(comes_true(looked));
    }
    atomic_store(&parked, false);
    irqs_wanted = irqs[0] + 1;
    for (int i = 0; i < VCPUS; i++) {
        irqs[i] = irqs_wanted - 1;
        atomic_store(&line[i], true);
        vcpu_kick(vm->vcpus[i]);
    }
    CHECK(comes_true(irqs_came));
    stop();
}

/* ---- being alone */

static void test_alone(void)
{
    start();
    alone_count = 0;
    atomic_store(&alone_tries, 0);
    atomic_store(&alone_wish, true);
    int mine = 0;
    for (int k = 0; k < 100 || (k < 100000 && atomic_load(&alone_tries) < 100); k++, mine++) {
        bool locked = k % 2;

        if (locked)
            vm_lock(vm);
        do_alone(NULL);
        CHECK_EQ(vm_locked(vm), locked);
        if (locked)
            vm_unlock(vm);
    }
    atomic_store(&alone_wish, false);
    stop();
    CHECK(atomic_load(&alone_tries) >= 100);
    CHECK_EQ(atomic_load(&not_alone), 0);
    CHECK_EQ(alone_count, atomic_load(&alone_tries) + mine);
}

/* vCPUs that want to be alone, that ask each other for work, that are stopped, all at once. */
static void test_mixture(void)
{
    start();
    alone_count = 0;
    atomic_store(&alone_tries, 0);
    atomic_store(&alone_wish, true);
    atomic_store(&worked, 0);
    for (int k = 0; k < 40; k++) {
        for (int i = 0; i < VCPUS; i++)
            vcpu_run_on(vm->vcpus[i], ask_all, NULL, i % 2);
        do_alone(NULL);
        if (k % 8 == 0) {
            vm_lock(vm);
            vm_stop(vm, RUN_PAUSED);
            vm_start(vm);
            vm_unlock(vm);
        }
    }
    atomic_store(&alone_wish, false);
    for (int k = 0; k < 20000 && atomic_load(&worked) < 40 * VCPUS * VCPUS; k++)
        usleep(500);
    CHECK_EQ(atomic_load(&worked), 40 * VCPUS * VCPUS);
    stop();
    CHECK_EQ(alone_count, atomic_load(&alone_tries) + 40);
    CHECK_EQ(atomic_load(&not_alone), 0);
}

static bool no_line(void)
{
    for (int i = 0; i < VCPUS; i++)
        if (atomic_load(&line[i]))
            return false;
    return true;
}

/* No interrupt is lost, whoever runs whom; work, standing and being alone go on meanwhile. */
static void test_errands(void)
{
    start();
    accel_vm(vm)->lends = true;
    alone_count = 0;
    atomic_store(&alone_tries, 0);
    atomic_store(&worked, 0);
    for (int i = 0; i < VCPUS; i++)
        atomic_store(&wants_halt[i], false);
    atomic_store(&chatty, true);
    int want = 0;
    for (int k = 0; k < 300; k++) {
        for (int i = 0; i < VCPUS; i++) {
            atomic_store(&line[i], true);       /* lest all of them sleep */
            vcpu_kick(vm->vcpus[i]);
        }
        usleep(500);
        atomic_store(&alone_wish, k & 1);
        vcpu_run_on(vm->vcpus[k % VCPUS], ask_all, NULL, k & 2);
        want += VCPUS;
        do_alone(NULL);
        if (k % 16 == 0) {
            vm_lock(vm);
            vm_stop(vm, RUN_PAUSED);
            for (int i = 0; i < VCPUS; i++)
                CHECK(vm->vcpus[i]->standing && !vm->vcpus[i]->running && !vm->vcpus[i]->away);
            vm_start(vm);
            vm_unlock(vm);
        }
        CHECK(comes_true(no_line));
    }
    atomic_store(&alone_wish, false);
    for (int k = 0; k < 20000 && atomic_load(&worked) < want; k++)
        usleep(500);
    CHECK_EQ(atomic_load(&worked), want);
    atomic_store(&chatty, false);
    CHECK(comes_true(no_line));
    CHECK(atomic_load(&away_turns) > 0);
    stop();
    CHECK_EQ(alone_count, atomic_load(&alone_tries) + 300);
    CHECK_EQ(atomic_load(&not_alone), 0);
}

/* ---- what is done for one that sleeps in wfi */

static bool all_rest(void)
{
    for (int i = 0; i < VCPUS; i++)
        if (!atomic_load(&vm->vcpus[i]->parked))
            return false;
    return true;
}

static void count_rest(Vcpu *v, void *opaque)
{
    atomic_fetch_add(&worked, 1);
}

/* It is done at once and wakes nobody; nor does being alone. Interrupts come meanwhile and are not lost. */
static void test_resting(void)
{
    start();
    for (int i = 0; i < VCPUS; i++)
        atomic_store(&wants_halt[i], true);
    CHECK(comes_true(all_rest));
    uint64_t were[VCPUS];
    for (int i = 0; i < VCPUS; i++)
        were[i] = atomic_load(&turns[i]);
    atomic_store(&worked, 0);
    for (int i = 0; i < VCPUS; i++)
        CHECK(vcpu_do_resting(vm->vcpus[i], count_rest, NULL));
    do_alone(NULL);
    usleep(10 * 1000);
    CHECK_EQ(atomic_load(&worked), VCPUS);
    for (int i = 0; i < VCPUS; i++)
        CHECK(atomic_load(&vm->vcpus[i]->parked) && atomic_load(&turns[i]) == were[i]);
    for (int i = 0; i < VCPUS; i++)
        irqs[i] = 0;
    for (irqs_wanted = 1; irqs_wanted <= 100; irqs_wanted++) {
        for (int i = 0; i < VCPUS; i++) {
            atomic_store(&wants_halt[i], true);
            vcpu_do_resting(vm->vcpus[i], count_rest, NULL);
            atomic_store(&line[i], true);
            vcpu_kick(vm->vcpus[i]);
            vcpu_do_resting(vm->vcpus[i], count_rest, NULL);
        }
        if (irqs_wanted % 16 == 0)
            do_alone(NULL);
        CHECK(comes_true(irqs_came));
    }
    for (int i = 0; i < VCPUS; i++)
        atomic_store(&wants_halt[i], false);
    stop();
}

int main(void)
{
    RUN(test_start_stop);
    RUN(test_work);
    RUN(test_halt);
    RUN(test_parked);
    RUN(test_alone);
    RUN(test_mixture);
    RUN(test_errands);
    RUN(test_resting);
    return test_end();
}
