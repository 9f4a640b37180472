/* SPDX-License-Identifier: MIT */
/*
 * Clocks and timers, run state and requests: all of system/ that needs no vCPU.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "system/vm.h"
#include "system/vmconfig.h"
#include "tests/unit/test.h"

#define MS INT64_C(1000000)

static VmConfig config;
static Vm *vm;

static void turn_for(int ms)
{
    int64_t end = clock_now(vm, CLOCK_REAL) + ms * MS;

    do {
        vm_turn(vm, false);
        usleep(100);
    } while (clock_now(vm, CLOCK_REAL) < end);
}

static void fired(void *opaque)
{
    CHECK(vm_locked(vm));
    ++*(int *)opaque;
}

/* Turns until *n is `want`, for two seconds at most. */
static void turn_until(const int *n, int want)
{
    int64_t end = clock_now(vm, CLOCK_REAL) + 2000 * MS;

    while (*n != want && clock_now(vm, CLOCK_REAL) < end) {
        vm_turn(vm, false);
        usleep(100);
    }
    CHECK_EQ(*n, want);
}

static void test_guest_clock(void)
{
    vm = vm_new(&config);
    CHECK_EQ(clock_now(vm, CLOCK_GUEST), 0);
    usleep(2000);
    CHECK_EQ(clock_now(vm, CLOCK_GUEST), 0);
    vm_lock(vm);
    vm_start(vm);
    vm_unlock(vm);
    CHECK_EQ(vm->state, RUN_RUNNING);
    usleep(3000);
    int64_t a = clock_now(vm, CLOCK_GUEST);
    CHECK(a >= 3 * MS);
    vm_lock(vm);
    vm_stop(vm, RUN_PAUSED);
    vm_unlock(vm);
    int64_t b = clock_now(vm, CLOCK_GUEST);
    CHECK(b >= a);
    usleep(3000);
    CHECK_EQ(clock_now(vm, CLOCK_GUEST), b);
    vm_lock(vm);
    vm_start(vm);
    vm_unlock(vm);
    int64_t c = clock_now(vm, CLOCK_GUEST);
    CHECK(c >= b && c - b < 1000 * MS);
    vm_free(vm);
}

static void test_timers(void)
{
    Timer t[3];
    int n[3] = { 0 };

    vm = vm_new(&config);
    clock_run(vm, true);
    timer_init(&t[0], vm, CLOCK_GUEST, fired, &n[0]);
    timer_init(&t[1], vm, CLOCK_REAL, fired, &n[1]);
    timer_init(&t[2], vm, CLOCK_HOST, fired, &n[2]);
    for (int i = 0; i < 3; i++)
        timer_set(&t[i], clock_now(vm, t[i].kind) + 100 * MS);
    turn_for(2);
    CHECK_EQ(n[0] + n[1] + n[2], 0);
    turn_until(&n[0], 1);
    turn_until(&n[1], 1);
    turn_until(&n[2], 1);
    CHECK_EQ(t[0].when, -1);

    timer_set(&t[0], -1000);                    /* the past: soon */
    timer_set(&t[1], INT64_MAX);                /* never */
    turn_until(&n[0], 2);
    CHECK_EQ(n[1], 1);
    timer_set(&t[1], 0);
    timer_del(&t[1]);
    timer_del(&t[1]);
    turn_for(3);
    CHECK_EQ(n[1], 1);

    /* A guest timer waits while the machine does. */
    timer_set(&t[0], clock_now(vm, CLOCK_GUEST) + 5 * MS);
    clock_run(vm, false);
    turn_for(10);
    CHECK_EQ(n[0], 2);
    clock_run(vm, true);
    turn_until(&n[0], 3);
    vm_free(vm);
}

/* Never before its time, and hardly after it: nanoseconds, not milliseconds. */
static int64_t late_sum, late_min;
static Timer precise;
static int left;
static void precise_fired(void *opaque)
{
    int64_t *when = opaque, now = clock_now(vm, CLOCK_REAL);

    if (now < *when)
        test_case_bad++;
    late_sum += now - *when;
    late_min = MIN(late_min, now - *when);
    if (--left) {
        *when = now + 300000;
        timer_set(&precise, *when);
    }
}

static void test_precision(void)
{
    int64_t when;

    vm = vm_new(&config);
    left = 200;
    late_min = INT64_MAX;
    timer_init(&precise, vm, CLOCK_REAL, precise_fired, &when);
    when = clock_now(vm, CLOCK_REAL) + 300000;
    timer_set(&precise, when);
    while (left)
        vm_turn(vm, true);
    /* A loaded host is late on the average; at its best it is not. */
    CHECK(late_min < 300000);
    vm_free(vm);
}

static int order[64], fired_n;
static void note_order(void *opaque)
{
    order[fired_n++] = (int)(intptr_t)opaque;
}

static void test_order(void)
{
    Timer t[64];

    vm = vm_new(&config);
    int64_t base = clock_now(vm, CLOCK_REAL) + MS;
    fired_n = 0;
    for (int i = 0; i < 64; i++) {
        int k = i * 37 % 64;

        timer_init(&t[k], vm, CLOCK_REAL, note_order, (void *)(intptr_t)k);
        timer_set(&t[k], base + k * 10);
    }
    while (fired_n < 64)
        vm_turn(vm, true);
    for (int i = 0; i < 64; i++)
        CHECK_EQ(order[i], i);
    vm_free(vm);
}

/* One that always sets itself into the past does not keep the loop from the rest. */
static Timer greedy;
static void greedy_fired(void *opaque)
{
    ++*(int *)opaque;
    timer_set(&greedy, 0);
}

static void test_greedy(void)
{
    int n = 0, called = 0;

    vm = vm_new(&config);
    timer_init(&greedy, vm, CLOCK_REAL, greedy_fired, &n);
    timer_set(&greedy, 0);
    vm_call_main(vm, fired, &called);
    turn_for(20);
    CHECK(n > 5);
    CHECK_EQ(called, 1);
    timer_del(&greedy);
    vm_free(vm);
}

/* ---- threads */

enum { THREADS = 3, SETS = 3000 };
static Timer shared[4];
static int shared_fired;

static void *setter(void *opaque)
{
    unsigned x = (unsigned)(uintptr_t)opaque;

    for (int i = 0; i < SETS; i++) {
        x = x * 1103515245 + 12345;
        Timer *t = &shared[x >> 16 & 3];
        if (x >> 20 & 1)
            timer_set(t, clock_now(vm, CLOCK_GUEST) + (x >> 8 & 0xffff));
        else
            timer_del(t);
    }
    timer_set(&shared[0], 0);
    return NULL;
}

static void test_threads(void)
{
    pthread_t t[THREADS];

    vm = vm_new(&config);
    clock_run(vm, true);
    shared_fired = 0;
    for (int i = 0; i < 4; i++)
        timer_init(&shared[i], vm, CLOCK_GUEST, fired, &shared_fired);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, setter, (void *)(uintptr_t)(i + 1));
    turn_for(20);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    turn_for(20);
    CHECK(shared_fired > 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(shared[i].when, -1);
    vm_free(vm);
}

static void *asker(void *opaque)
{
    usleep(5000);
    vm_request(vm, VM_POWEROFF, 7);
    return NULL;
}

/* A request wakes the loop that sleeps. */
static void test_poweroff(void)
{
    pthread_t t;

    vm = vm_new(&config);
    pthread_create(&t, NULL, asker, NULL);
    CHECK_EQ(vm_main(vm), 7);
    CHECK_EQ(vm->state, RUN_SHUTDOWN);
    pthread_join(t, NULL);
    vm_free(vm);
}

/* ---- requests */

static int resets;
static void note_reset(void *opaque)
{
    CHECK(vm_locked(vm));
    CHECK(vm->state != RUN_RUNNING || clock_now(vm, CLOCK_GUEST) >= 0);
    resets = resets * 10 + (int)(intptr_t)opaque;
}

static void test_reset(void)
{
    vm = vm_new(&config);
    vm_on_reset(vm, note_reset, (void *)1);
    vm_on_reset(vm, note_reset, (void *)2);
    resets = 0;
    vm_lock(vm);
    vm_start(vm);
    vm_unlock(vm);
    vm_request(vm, VM_RESET, 0);
    CHECK(vm_turn(vm, true));
    CHECK_EQ(resets, 12);
    CHECK_EQ(vm->state, RUN_RUNNING);
    vm_request(vm, VM_STOP, 0);
    CHECK(vm_turn(vm, true));
    CHECK_EQ(vm->state, RUN_PAUSED);
    vm_request(vm, VM_RESET, 0);
    CHECK(vm_turn(vm, true));
    CHECK_EQ(resets, 1212);
    CHECK_EQ(vm->state, RUN_PRELAUNCH);         /* a reset does not start it */
    vm_request(vm, VM_QUIT, 3);
    CHECK(!vm_turn(vm, true));
    CHECK_EQ(vm->exit_status, 3);
    vm_free(vm);
}

static void test_no_reboot(void)
{
    VmConfig c = { .no_reboot = true };

    vm = vm_new(&c);
    resets = 0;
    vm_on_reset(vm, note_reset, (void *)1);
    vm_request(vm, VM_RESET, 0);
    CHECK(!vm_turn(vm, true));
    CHECK_EQ(resets, 0);
    CHECK_EQ(vm->exit_status, 0);
    vm_free(vm);
}

static void test_no_shutdown(void)
{
    VmConfig c = { .no_shutdown = true };

    vm = vm_new(&c);
    vm_lock(vm);
    vm_start(vm);
    vm_unlock(vm);
    vm_request(vm, VM_POWEROFF, 0);
    CHECK(vm_turn(vm, true));
    CHECK_EQ(vm->state, RUN_SHUTDOWN);
    vm_request(vm, VM_QUIT, 0);
    CHECK(!vm_turn(vm, true));
    vm_free(vm);
}

static void test_start_paused(void)
{
    VmConfig c = { .start_paused = true };

    vm = vm_new(&c);
    vm_request(vm, VM_QUIT, 0);
    CHECK_EQ(vm_main(vm), 0);
    CHECK_EQ(clock_now(vm, CLOCK_GUEST), 0);
    vm_free(vm);
}

/* ---- -rtc */

static int64_t shown(void)
{
    RtcTime t = clock_rtc(vm);

    return clock_now(vm, t.kind) + t.offset;
}

static void test_rtc(void)
{
    vm = vm_new(&config);
    CHECK(!clock_set_rtc(vm, NULL, NULL));
    CHECK(llabs(shown() - clock_now(vm, CLOCK_HOST)) < 1000 * MS);
    CHECK(!clock_set_rtc(vm, "2006-06-17T16:01:21", "vm"));
    CHECK_EQ(shown() / 1000000000, 1150560081);
    usleep(2000);
    CHECK_EQ(shown(), INT64_C(1150560081000000000));       /* the machine stands */
    CHECK(!clock_set_rtc(vm, "2006-06-17", "rt"));
    CHECK_EQ(shown() / 1000000000, 1150502400);
    CHECK(!clock_set_rtc(vm, "localtime", "host"));
    static const char *const bad[] = { "2006", "2006-06-17T", "2006-06-17T16:01:21x", "utcx", "", "2006-13-40" };
    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        Err *e = clock_set_rtc(vm, bad[i], NULL);

        CHECK(e && strstr(err_text(e), "is not a date"));
        err_free(e);
    }
    Err *e = clock_set_rtc(vm, NULL, "hots");
    CHECK(e && strstr(err_hint_text(e), "'host'"));
    err_free(e);
    vm_free(vm);
}

int main(void)
{
    RUN(test_guest_clock);
    RUN(test_timers);
    RUN(test_precision);
    RUN(test_order);
    RUN(test_greedy);
    RUN(test_threads);
    RUN(test_poweroff);
    RUN(test_reset);
    RUN(test_no_reboot);
    RUN(test_no_shutdown);
    RUN(test_start_paused);
    RUN(test_rtc);
    return test_end();
}
