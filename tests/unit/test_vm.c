/* SPDX-License-Identifier: MIT */
/*
 * A whole machine with two vCPUs that run: stopped and started under load,
 * reset a hundred times by the guest, powered off; and a map that changes while
 * vCPUs look things up in it.
 */
#include <stdlib.h>
#include <unistd.h>

#include "accel/accel.h"
#include "hw/core/board.h"
#include "system/vcpu.h"
#include "system/vm.h"
#include "target/isa.h"
#include "target/riscv/state.h"
#include "tests/unit/test.h"

#define RAM UINT64_C(0x80000000)
#define COUNT (RAM + 0x100000)          /* where the guest counts its starts */
#define BEATS (RAM + 0x100008)          /* and hart 1 its turns */

/*
 * Hart 0 counts in memory that no reset restores, and asks for the next reset until
 * there were 100, then powers off. Hart 1 works on the CLINT all the time.
 */
static const uint32_t guest[] = {
    0xf14022f3, /*  csrr t0, mhartid       */ 0x04029063, /*  bnez t0, 2f        */
    0x000012b7, 0x8012829b, 0x01429293, /*  li t0, COUNT */
    0x0002b303, /*  ld   t1, 0(t0)         */ 0x00130313, /*  addi t1, t1, 1     */
    0x0062b023, /*  sd   t1, 0(t0)         */ 0x06400393, /*  li   t2, 100       */
    0x00100e37, /*  lui  t3, 0x100         */ 0x00005eb7, 0x555e8e9b, /*  li t4, 0x5555 */
    0x00735663, /*  bge  t1, t2, 1f        */ 0x00007eb7, 0x777e8e9b, /*  li t4, 0x7777 */
    0x01de2023, /*1: sw  t4, 0(t3)         */ 0x0000006f, /*  j    .             */
    0x020002b7, /*2: lui t0, 0x2000        */
    0x0052a223, /*3: sw  t0, 4(t0)         */
    0x0200c337, 0xff83031b, 0x00033383, /*  ld t2, mtime */
    0x02004337, 0x0083031b, 0x00733023, /*  sd t2, mtimecmp of hart 1 */
    0x0002a223, /*  sw   zero, 4(t0)       */ 0xfe1ff06f, /*  j    3b            */
};
/* Both harts count in BEATS, atomically, and for ever. */
static const uint32_t beat[] = {
    0x000012b7, 0x8012829b, 0x01429293, /*  li t0, COUNT */
    0x00828293, /*  addi t0, t0, 8         */ 0x00100313, /*  li   t1, 1         */
    0x0062b02f, /*1: amoadd.d zero, t1, (t0) */ 0xffdff06f, /*  j 1b             */
};

static VmConfig config;
static Vm *vm;
static char *file, *device;

static void must(Err *e)
{
    if (!e)
        return;
    err_report(e);
    exit(1);
}

static void start(Engine engine, const void *code, size_t len)
{
    config = (VmConfig){
        .program = "test", .isa = "riscv64", .machine = (char *)"virt", .smp = 2, .maxcpus = 2,
        .ram_size = 16 << 20, .bios = (char *)"none", .engine = engine, .devices = g_ptr_array_new(),
    };
    int fd = g_file_open_tmp("vm-test-XXXXXX", &file, NULL);
    if (fd < 0 || write(fd, code, len) != (ssize_t)len)
        exit(1);
    close(fd);
    device = g_strdup_printf("loader,file=%s,addr=0x80000000", file);
    g_ptr_array_add(config.devices, device);
    vm = vm_new(&config);
    vm->isa = isa_find("riscv64");
    must(accel_start(vm));
    vm_lock(vm);
    must(board_make(vm));
    vm_unlock(vm);
}

static void stop(void)
{
    accel_stop(vm);
    vm_lock(vm);
    board_free(vm);
    vm_unlock(vm);
    vm_free(vm);
    g_ptr_array_free(config.devices, true);
    unlink(file);
    g_free(file);
    g_free(device);
}

static uint64_t peek(uint64_t at)
{
    uint64_t v = 0;

    CHECK_EQ(space_read(vm->mem, at, &v, 8), MEM_OK);
    return v;
}

static void reboots(Engine engine)
{
    start(engine, guest, sizeof(guest));
    CHECK_EQ(vm_main(vm), 0);
    CHECK_EQ(peek(COUNT), 100);
    CHECK_EQ(vm->state, RUN_SHUTDOWN);
    stop();
}

static void test_reboots_interp(void) { reboots(ENGINE_INTERP); }
static void test_reboots_jit(void) { reboots(ENGINE_JIT); }

/* While the machine is stopped no instruction is executed, and its clock stands. */
static void stops(Engine engine)
{
    start(engine, beat, sizeof(beat));
    vm_lock(vm);
    vm_reset(vm);
    uint64_t last = 0;
    for (int i = 0; i < 100; i++) {
        vm_start(vm);
        CHECK_EQ(vm->state, RUN_RUNNING);
        vm_unlock(vm);
        if (i % 2)
            usleep(300);
        vm_lock(vm);
        vm_stop(vm, RUN_PAUSED);
        uint64_t beats = peek(BEATS);
        int64_t now = clock_now(vm, CLOCK_GUEST);
        usleep(200);
        CHECK_EQ(peek(BEATS), beats);
        CHECK_EQ(clock_now(vm, CLOCK_GUEST), now);
        CHECK(beats >= last);
        last = beats;
    }
    CHECK(last > 0);
    vm_unlock(vm);
    stop();
}

static void test_stops_interp(void) { stops(ENGINE_INTERP); }
static void test_stops_jit(void) { stops(ENGINE_JIT); }

/* Old maps are freed while vCPUs run; their memory does not pile up, nobody reads a freed one. */
static void test_remap(void)
{
    Region extra = { .name = "extra", .kind = REGION_IO, .size = 0x1000 };

    start(ENGINE_INTERP, guest, sizeof(guest));
    vm_lock(vm);
    vm_reset(vm);
    int64_t many = -1000000;                    /* resets without end meanwhile */
    CHECK_EQ(space_write(vm->mem, COUNT, &many, 8), MEM_OK);
    vm_start(vm);
    for (int i = 0; i < 500; i++) {
        must(space_map(vm->mem, 0x18000000, &extra, 0));
        vm_unlock(vm);
        vm_turn(vm, false);
        vm_lock(vm);
        space_unmap(vm->mem, &extra);
    }
    vm_stop(vm, RUN_PAUSED);
    vm_unlock(vm);
    stop();
}

/* ---- the lock is taken in turns, also against a thread that never lets it alone */

static _Atomic bool hammer_stop;
static _Atomic uint64_t hammered;

static void *hammer(void *opaque)
{
    while (!hammer_stop) {
        vm_lock(opaque);
        hammered++;
        vm_unlock(opaque);
    }
    return NULL;
}

static void test_lock_turns(void)
{
    VmConfig c = { .smp = 1 };
    Vm *m = vm_new(&c);
    uint64_t most = 0;
    pthread_t t;

    hammer_stop = false;
    hammered = 0;
    pthread_create(&t, NULL, hammer, m);
    while (hammered < 1000)
        ;
    for (int i = 0; i < 100; i++) {
        uint64_t before = hammered;

        vm_lock(m);
        most = MAX(most, hammered - before);
        vm_unlock(m);
    }
    hammer_stop = true;
    pthread_join(t, NULL);
    /* what it does until we get to the gate; a whole time slice of being descheduled there is the worst case */
    CHECK(most < 1000000);
    vm_free(m);
}

int main(void)
{
    RUN(test_lock_turns);
    RUN(test_reboots_interp);
    RUN(test_reboots_jit);
    RUN(test_stops_interp);
    RUN(test_stops_jit);
    RUN(test_remap);
    return test_end();
}
