/* SPDX-License-Identifier: MIT */
/* Message-signalled interrupts: who gets them, from two threads at once, and who doesn't. */
#include <pthread.h>
#include <stdatomic.h>

#include "system/msi.h"
#include "system/vm.h"
#include "system/vmconfig.h"
#include "tests/unit/test.h"

typedef struct Taker { _Atomic uint64_t sum; uint64_t off; uint32_t data; } Taker;

static VmConfig config;
static Vm *vm;
static Taker a, b;

static void take(void *opaque, uint64_t off, uint32_t data)
{
    Taker *t = opaque;

    t->off = off;
    t->data = data;
}

static void add(void *opaque, uint64_t off, uint32_t data)
{
    atomic_fetch_add(&((Taker *)opaque)->sum, data);
}

static bool refused(Err *e)
{
    bool yes = e;

    return err_free(e), yes;
}

static void test_claims(void)
{
    vm = vm_new(&config);
    CHECK(!msi_possible(vm));
    msi_send(vm, 0x1000, 1);                    /* nobody: dropped */
    CHECK(!msi_claim(vm, 0x1000, 0x1000, take, &a));
    CHECK(!msi_claim(vm, 0x2000, 0x2000, take, &b));
    CHECK(msi_possible(vm));
    CHECK(refused(msi_claim(vm, 0x1ffc, 8, take, &b)));
    CHECK(refused(msi_claim(vm, 0, UINT64_MAX, take, &b)));
    CHECK(refused(msi_claim(vm, 0x8000, 0, take, &b)));
    CHECK(refused(msi_claim(vm, UINT64_MAX - 1, 4, take, &b)));
    CHECK(!msi_claim(vm, UINT64_MAX - 7, 8, take, &b));     /* up to the last byte there is */
    msi_send(vm, 0x1ffc, 77);
    CHECK(a.off == 0xffc && a.data == 77 && !b.data);
    msi_send(vm, 0x3ffc, 78);
    CHECK(b.off == 0x1ffc && b.data == 78);
    msi_send(vm, UINT64_MAX - 3, 79);
    CHECK(b.off == 4 && b.data == 79);
    msi_send(vm, 0x1002, 99);                   /* misaligned */
    msi_send(vm, 0x4000, 99);
    msi_send(vm, 0xffc, 99);
    CHECK(a.data == 77 && b.data == 79);
    msi_unclaim(vm, &b);
    msi_send(vm, 0x2000, 99);
    CHECK_EQ(b.data, 79);
    msi_send(vm, 0x1000, 80);
    CHECK_EQ(a.data, 80);
    msi_unclaim(vm, &a);
    CHECK(!msi_possible(vm));
    vm_free(vm);
}

static void *sender(void *opaque)
{
    for (int i = 0; i < 100000; i++)
        msi_send(vm, (uintptr_t)opaque, 1);
    return NULL;
}

static void test_threads(void)
{
    pthread_t threads[2];

    vm = vm_new(&config);
    CHECK(!msi_claim(vm, 0x1000, 0x1000, add, &a));
    for (int i = 0; i < 2; i++)
        CHECK(!pthread_create(&threads[i], NULL, sender, (void *)0x1000));
    CHECK(!msi_claim(vm, 0x2000, 0x1000, add, &b));         /* while they send */
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK_EQ(a.sum, 200000);
    CHECK_EQ(b.sum, 0);
    msi_unclaim(vm, &a);
    msi_unclaim(vm, &b);
    vm_free(vm);
}

int main(void)
{
    RUN(test_claims);
    RUN(test_threads);
    return test_end();
}
