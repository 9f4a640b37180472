/* SPDX-License-Identifier: MIT */
/* I/O threads: made, found, given work, waited for by safepoints, ended. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "system/iothread.h"
#include "system/vmconfig.h"
#include "tests/unit/test.h"

static VmConfig config;
static Vm *vm;
static _Atomic int calls;
static pthread_t where;

static bool says(Err *e, const char *text)
{
    bool yes = e && strstr(err_text(e), text);

    err_free(e);
    return yes;
}

static IoThread *make(const char *name)
{
    IoThread *t = NULL;

    CHECK(!iothread_new(vm, name, &t));
    return t;
}

static void test_list(void)
{
    vm = vm_new(&config);
    CHECK(!iothread_find(vm, "a"));
    IoThread *a = make("a"), *b = make("a-thread-with-quite-a-long-name"), *none = NULL;
    CHECK(says(iothread_new(vm, "a", &none), "already"));
    CHECK(!none);
    CHECK(iothread_find(vm, "a") == a);
    CHECK(iothread_next(vm, NULL) == a && iothread_next(vm, a) == b && !iothread_next(vm, b));
    CHECK_STR(iothread_name(b), "a-thread-with-quite-a-long-name");
    iothread_free(a);
    CHECK(iothread_find(vm, "a-thread-with-quite-a-long-name") == b && !iothread_find(vm, "a"));
    vm_lock(vm);                                /* with the lock as well */
    iothread_free(b);
    a = make("a");
    vm_unlock(vm);
    iothread_free(a);
    iothread_free(NULL);
    vm_free(vm);
}

static void work(void *opaque)
{
    CHECK(co_self());
    co_sleep(1000000);
    where = pthread_self();
    ++*(int *)opaque;
}

static void test_run(void)
{
    int n = 0;

    vm = vm_new(&config);
    IoThread *t = make("t");
    for (int i = 0; i < 20; i++) {
        if (i & 1)
            vm_lock(vm);
        iothread_run(t, work, &n);
        CHECK_EQ(n, i + 1);
        if (i & 1)
            vm_unlock(vm);
    }
    CHECK(!pthread_equal(where, pthread_self()));
    iothread_free(t);
    vm_free(vm);
}

static void count(void *opaque)
{
    atomic_fetch_add((_Atomic int *)opaque, 1);
}

/* A safepoint waits for a thread that is in the midst of a turn. */
static void hold(void *opaque)
{
    while (!atomic_load((_Atomic bool *)opaque))
        usleep(100);
}

static void test_safepoint(void)
{
    _Atomic bool go = false;

    vm = vm_new(&config);
    IoThread *t = make("t"), *u = make("u");
    calls = 0;
    loop_call(iothread_loop(t), hold, &go);
    vm_after_safepoint(vm, count, &calls);
    for (int i = 0; i < 20; i++) {
        usleep(500);
        vm_turn(vm, false);
    }
    CHECK_EQ(calls, 0);
    go = true;
    for (int i = 0; i < 2000 && !calls; i++) {
        usleep(500);
        vm_turn(vm, false);
    }
    CHECK_EQ(calls, 1);
    /* Posted just before the end of the thread: it is not lost. */
    for (int i = 0; i < 50; i++)
        vm_after_safepoint(vm, count, &calls);
    iothread_free(u);
    iothread_free(t);
    vm_turn(vm, false);
    CHECK_EQ(calls, 51);
    vm_after_safepoint(vm, count, &calls);      /* with nobody to wait for */
    vm_turn(vm, false);
    CHECK_EQ(calls, 52);
    vm_free(vm);
}

/* The map changes while an I/O thread looks things up in it: no Flat is freed under it. */
static uint8_t bytes[4096];
static Region regions[2];
static _Atomic bool stop;
static _Atomic int looks;

static void look(void *opaque)
{
    uint32_t v;

    for (int i = 0; i < 50; i++) {
        space_read(vm->mem, 0x1000, &v, 4);
        space_ram(vm->mem, 0x1000, 4, false, NULL, NULL);
    }
    atomic_fetch_add(&looks, 1);
    if (!atomic_load(&stop))
        loop_call(loop_self(), look, opaque);
}

static void test_map(void)
{
    RamBlock *block = NULL;

    vm = vm_new(&config);
    CHECK(!ram_new(vm, "ram", sizeof(bytes), &block));
    for (int i = 0; i < 2; i++)
        regions[i] = (Region){ .name = "ram", .kind = REGION_RAM, .size = sizeof(bytes), .ram = block };
    IoThread *t = make("t"), *u = make("u");
    stop = false;
    loop_call(iothread_loop(t), look, NULL);
    loop_call(iothread_loop(u), look, NULL);
    for (int i = 0; i < 2000 || looks < 100; i++) {
        vm_lock(vm);
        CHECK(!space_map(vm->mem, 0x1000, &regions[i & 1], 0));
        vm_unlock(vm);
        vm_turn(vm, false);
        vm_lock(vm);
        space_unmap(vm->mem, &regions[i & 1]);
        vm_unlock(vm);
    }
    stop = true;
    iothread_free(t);
    iothread_free(u);
    vm_turn(vm, false);
    vm_free(vm);
}

int main(void)
{
    RUN(test_list);
    RUN(test_run);
    RUN(test_safepoint);
    RUN(test_map);
    return test_end();
}
