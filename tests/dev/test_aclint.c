/* SPDX-License-Identifier: MIT */
/* CLINT/ACLINT: software interrupts, mtime, mtimecmp, and what a reset leaves. */
#include "tests/dev/rig.h"

enum { CLINT = 0x2000000, MTIMECMP = CLINT + 0x4000, MTIME = CLINT + 0xbff8, SSWI = 0x2f00000 };

static Rig rig, *r = &rig;

static void start(const char *opts)
{
    rig_init(r);
    r->config.machine_opts = (char *)opts;
    rig_board(r);
}

static void test_msip(void)
{
    start(NULL);
    wr32(r, CLINT + 4, 0xffffffff);
    CHECK_EQ(rd32(r, CLINT + 4), 1);            /* bit 0 alone */
    CHECK(line(r, 1, IRQ_MSI));
    CHECK(!line(r, 0, IRQ_MSI));
    wr32(r, CLINT + 4, 0xfffffffe);
    CHECK(!line(r, 1, IRQ_MSI));
    wr32(r, CLINT + 4 * RIG_HARTS, 1);          /* no such hart */
    CHECK_EQ(rd32(r, CLINT + 4 * RIG_HARTS), 0);
    wr32(r, CLINT, 1);
    vm_reset(r->vm);
    CHECK(!line(r, 0, IRQ_MSI));
    CHECK_EQ(rd32(r, CLINT), 0);
    rig_free(r);
}

static void test_mtime(void)
{
    start(NULL);
    int64_t real = g_get_monotonic_time();
    uint64_t a = rd(r, MTIME, 8);
    CHECK(a < 10000000 / 2);                    /* it began at the reset */
    usleep(20000);
    uint64_t b = rd(r, MTIME, 8);
    real = g_get_monotonic_time() - real;
    CHECK(b - a >= 200000 && b - a <= (uint64_t)real * 10 + 20);      /* 10 MHz */

    /* In halves. */
    wr32(r, MTIME + 4, 0x1234);
    CHECK_EQ(rd32(r, MTIME + 4), 0x1234);
    CHECK_EQ(rd(r, MTIME, 8) >> 32, 0x1234);
    wr(r, MTIME, 1ull << 40, 8);
    CHECK(rd(r, MTIME, 8) - (1ull << 40) < 1000000);
    const RiscvState *s = r->cpus[0].state;
    CHECK_EQ(s->time_hz, 10000000);
    CHECK(s->time(s->time_opaque) - (1ull << 40) < 1000000);
    vm_reset(r->vm);
    CHECK(rd(r, MTIME, 8) < 1000000);
    rig_free(r);
}

static void test_timecmp(void)
{
    start(NULL);
    CHECK_EQ(rd(r, MTIMECMP, 8), UINT64_MAX);
    CHECK(!line(r, 0, IRQ_MTI));
    wr(r, MTIMECMP + 8, 0, 8);                  /* long ago, for hart 1 */
    CHECK(line(r, 1, IRQ_MTI));
    CHECK(!line(r, 0, IRQ_MTI));
    wr(r, MTIMECMP + 8, UINT64_MAX, 8);
    CHECK(!line(r, 1, IRQ_MTI));

    /* In 50 ms, and not before. */
    uint64_t at = rd(r, MTIME, 8) + 500000;
    wr(r, MTIMECMP, at, 8);
    CHECK(!line(r, 0, IRQ_MTI));
    for (int i = 0; i < 500 && !line(r, 0, IRQ_MTI); i++)
        rig_turn(r, 1);
    CHECK(line(r, 0, IRQ_MTI));
    CHECK(rd(r, MTIME, 8) >= at);

    /* Time set forward makes it due at once. */
    wr(r, MTIMECMP, 1ull << 60, 8);
    CHECK(!line(r, 0, IRQ_MTI));
    wr(r, MTIME, 1ull << 60, 8);
    CHECK(line(r, 0, IRQ_MTI));
    /* Halves: the manual's order of writes gives no spurious interrupt. */
    wr32(r, MTIMECMP, 0xffffffff);
    wr32(r, MTIMECMP + 4, 0xffffffff);
    wr32(r, MTIMECMP, 5);
    CHECK_EQ(rd(r, MTIMECMP, 8), 0xffffffff00000005);
    CHECK_EQ(rd32(r, MTIMECMP + 4), 0xffffffff);
    CHECK(!line(r, 0, IRQ_MTI));
    rig_free(r);
}

/* A compare value in the far future is no reason to wake up, whatever mtime was set to. */
static void test_far(void)
{
    start(NULL);
    usleep(5000);
    vm_reset(r->vm);                            /* mtime is now less than the guest's clock */
    static const uint64_t far[] = { UINT64_MAX, UINT64_MAX - 1, 1ull << 63, 1ull << 40 };
    for (unsigned i = 0; i < G_N_ELEMENTS(far); i++) {
        int turns = 0;

        wr(r, MTIMECMP, far[i], 8);
        rig_turn(r, 0);
        vm_unlock(r->vm);
        int64_t end = g_get_monotonic_time() + 3000;
        while (g_get_monotonic_time() < end)
            turns += g_main_context_iteration(r->vm->main_context, false);
        vm_lock(r->vm);
        CHECK(turns <= 1);
        CHECK(!line(r, 0, IRQ_MTI));
    }
    rig_free(r);
}

/* The guest's clock stands while the machine is stopped, and so do its timers. */
static void test_stopped(void)
{
    start(NULL);
    wr(r, MTIMECMP, rd(r, MTIME, 8) + 300000, 8);
    clock_run(r->vm, false);
    uint64_t a = rd(r, MTIME, 8);
    rig_turn(r, 40);
    CHECK_EQ(rd(r, MTIME, 8), a);
    CHECK(!line(r, 0, IRQ_MTI));
    clock_run(r->vm, true);
    for (int i = 0; i < 500 && !line(r, 0, IRQ_MTI); i++)
        rig_turn(r, 1);
    CHECK(line(r, 0, IRQ_MTI));
    rig_free(r);
}

static void test_sswi(void)
{
    start("aclint=on");
    wr32(r, SSWI + 4, 1);
    CHECK_EQ(rd32(r, SSWI + 4), 0);
    rig_work(r);
    const RiscvState *s = r->cpus[1].state;
    CHECK(s->mip >> IRQ_SSI & 1);
    CHECK(!(((const RiscvState *)r->cpus[0].state)->mip >> IRQ_SSI & 1));
    wr32(r, SSWI, 0);                           /* 0 changes nothing */
    rig_work(r);
    CHECK(!(((const RiscvState *)r->cpus[0].state)->mip >> IRQ_SSI & 1));
    rig_free(r);
}

int main(void)
{
    RUN(test_msip);
    RUN(test_mtime);
    RUN(test_timecmp);
    RUN(test_far);
    RUN(test_stopped);
    RUN(test_sswi);
    return test_end();
}
