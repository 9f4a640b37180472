/* SPDX-License-Identifier: MIT */
/* PLIC: gateways, priorities, thresholds, claim and completion, contexts. */
#include "tests/dev/rig.h"

#include "hw/board/riscv_virt.h"

#define PLIC VIRT_PLIC
enum { M0 = 0, S0 = 1, M1 = 2, S1 = 3 };    /* contexts */

static Rig rig, *r = &rig;
static Plic *plic;

static uint64_t priority(int n) { return PLIC + 4 * n; }
static uint64_t enable(int ctx, int n) { return PLIC + 0x2000 + 0x80 * ctx + n / 32 * 4; }
static uint64_t threshold(int ctx) { return PLIC + 0x200000 + 0x1000 * ctx; }
static uint64_t claim(int ctx) { return threshold(ctx) + 4; }
static bool pending(int n) { return rd32(r, PLIC + 0x1000 + n / 32 * 4) >> n % 32 & 1; }

static void on(int ctx, int n)
{
    wr32(r, enable(ctx, n), rd32(r, enable(ctx, n)) | 1u << n % 32);
}

static void start(void)
{
    rig_init(r);
    rig_board(r);
    plic = ((RiscvVirt *)r->vm->board)->plic;
}

static void test_level(void)
{
    start();
    wr32(r, priority(40), 3);
    on(S0, 40);
    plic_set(plic, 40, 1);
    CHECK(pending(40));
    CHECK(line(r, 0, IRQ_SEI));
    CHECK(!line(r, 0, IRQ_MEI) && !line(r, 1, IRQ_SEI));
    CHECK_EQ(rd32(r, claim(S0)), 40);
    CHECK(!pending(40));
    CHECK(!line(r, 0, IRQ_SEI));
    CHECK_EQ(rd32(r, claim(S0)), 0);
    /* Still high: the completion brings it again. */
    wr32(r, claim(S0), 40);
    CHECK(pending(40) && line(r, 0, IRQ_SEI));
    CHECK_EQ(rd32(r, claim(S0)), 40);
    plic_set(plic, 40, 0);
    wr32(r, claim(S0), 40);
    CHECK(!pending(40) && !line(r, 0, IRQ_SEI));
    rig_free(r);
}

/* While it is claimed the gateway is shut; what came then is seen at the completion. */
static void test_gateway(void)
{
    start();
    wr32(r, priority(10), 1);
    on(S1, 10);
    plic_set(plic, 10, 1);
    CHECK_EQ(rd32(r, claim(S1)), 10);
    plic_set(plic, 10, 0);
    plic_set(plic, 10, 1);
    CHECK(!pending(10));
    wr32(r, claim(S1), 11);                     /* another's completion */
    CHECK(!pending(10));
    wr32(r, claim(S0), 10);                     /* not enabled for that context: ignored */
    CHECK(!pending(10));
    wr32(r, claim(S1), 10);
    CHECK(pending(10) && line(r, 1, IRQ_SEI));
    /* Once it is pending it stays so, although the line falls. */
    plic_set(plic, 10, 0);
    CHECK(pending(10));
    wr32(r, claim(S1), 0xffffffff);             /* no such source */
    CHECK_EQ(rd32(r, claim(S1)), 10);
    rig_free(r);
}

static void test_priority(void)
{
    start();
    for (int n = 1; n <= PLIC_SOURCES; n++)
        on(M0, n);
    wr32(r, priority(20), 2);
    wr32(r, priority(21), 5);
    wr32(r, priority(96), 5);
    plic_set(plic, 20, 1);
    plic_set(plic, 96, 1);
    plic_set(plic, 21, 1);
    plic_set(plic, 30, 1);                      /* priority 0: never */
    CHECK(line(r, 0, IRQ_MEI));
    wr32(r, threshold(M0), 5);                  /* strictly above */
    CHECK(!line(r, 0, IRQ_MEI));
    wr32(r, threshold(M0), 4);
    CHECK(line(r, 0, IRQ_MEI));
    CHECK_EQ(rd32(r, claim(M0)), 21);           /* of equals the lowest number */
    CHECK_EQ(rd32(r, claim(M0)), 96);
    CHECK(!line(r, 0, IRQ_MEI));                /* 20 is below the threshold, */
    CHECK_EQ(rd32(r, claim(M0)), 20);           /* which a claim does not look at */
    CHECK_EQ(rd32(r, claim(M0)), 0);
    CHECK(pending(30));
    rig_free(r);
}

static void test_registers(void)
{
    start();
    wr32(r, priority(0), 7);
    CHECK_EQ(rd32(r, priority(0)), 0);
    wr32(r, priority(5), 0xff);
    CHECK_EQ(rd32(r, priority(5)), 7);
    wr32(r, threshold(S1), 0xffffffff);
    CHECK_EQ(rd32(r, threshold(S1)), 7);
    wr32(r, enable(M1, 0), 0xffffffff);
    CHECK_EQ(rd32(r, enable(M1, 0)), 0xfffffffe);
    wr32(r, enable(M1, 96), 0xffffffff);
    CHECK_EQ(rd32(r, enable(M1, 96)), 1);       /* source 96 is the last */
    wr32(r, PLIC + 0x1000, 0xffffffff);         /* pending is read-only */
    CHECK_EQ(rd32(r, PLIC + 0x1000), 0);
    wr32(r, enable(4, 0), 0xffffffff);          /* no such context */
    CHECK_EQ(rd32(r, enable(4, 0)), 0);
    CHECK_EQ(rd32(r, claim(4)), 0);
    for (uint64_t off = 0; off < 0x600000; off += 0x7fc) {      /* nothing there hurts */
        wr32(r, PLIC + (off & ~3ull), 0xa5a5a5a5);
        rd32(r, PLIC + (off & ~3ull));
    }
    rig_free(r);
}

static void test_reset(void)
{
    start();
    wr32(r, priority(10), 7);
    on(S0, 10);
    on(M1, 10);
    plic_set(plic, 10, 1);
    CHECK(line(r, 0, IRQ_SEI) && line(r, 1, IRQ_MEI));
    vm_reset(r->vm);
    CHECK(!line(r, 0, IRQ_SEI) && !line(r, 1, IRQ_MEI));
    CHECK_EQ(rd32(r, priority(10)), 0);
    CHECK_EQ(rd32(r, enable(S0, 10)), 0);
    CHECK(!pending(10));
    rig_free(r);
}

int main(void)
{
    RUN(test_level);
    RUN(test_gateway);
    RUN(test_priority);
    RUN(test_registers);
    RUN(test_reset);
    return test_end();
}
