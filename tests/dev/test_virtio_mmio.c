/* SPDX-License-Identifier: MIT */
/* virtio-mmio: the registers of both versions, with a source of randomness behind them; empty slots. */
#include "tests/dev/virtio-driver.h"

#define PLIC UINT64_C(0xc000000)

static Rig rig, *r = &rig;
static Vd vd, *d = &vd;

static const char *const one[] = { "virtio-rng-device,id=rng0", NULL };

/* What an empty slot says, and that nothing can be done to it. */
static void test_empty(void)
{
    vd_board(r, one);
    for (unsigned slot = 0; slot < 7; slot++) {
        vd_open_mmio(d, r, slot);
        CHECK_EQ(vd_mmio_rd(d, 0), 0x74726976);
        CHECK_EQ(vd_mmio_rd(d, 4), 2);
        CHECK_EQ(vd_mmio_rd(d, 8), 0);
        vd_mmio_wr(d, 0x70, 1);
        vd_mmio_wr(d, 0x50, 0);
        vd_mmio_wr(d, 0x64, 3);
        CHECK_EQ(vd_mmio_rd(d, 0x70), 0);
        CHECK_EQ(vd_mmio_rd(d, 0x100), 0);
    }
    vd_board_free(r);
}

static void test_registers(void)
{
    vd_board(r, one);
    vd_open_mmio(d, r, 7);
    CHECK_EQ(vd_mmio_rd(d, 0), 0x74726976);
    CHECK_EQ(vd_mmio_rd(d, 4), 2);
    CHECK_EQ(vd_mmio_rd(d, 8), 4);
    CHECK_EQ(rd(r, d->base, 1), 0);                             /* registers have four bytes */
    CHECK_EQ(vd_mmio_features(d), VD_BIT(28) | VD_BIT(29) | VD_BIT(32) | VD_BIT(40));
    vd_mmio_wr(d, 0x14, 7);
    CHECK_EQ(vd_mmio_rd(d, 0x10), 0);
    CHECK_EQ(vd_mmio_queue_max(d, 0), 8);
    CHECK_EQ(vd_mmio_queue_max(d, 1), 0);
    CHECK_EQ(vd_mmio_queue_max(d, 0xffffffff), 0);
    CHECK_EQ(vd_mmio_rd(d, 0xb0), 0xffffffff);                  /* no shared memory */
    CHECK_EQ(vd_mmio_rd(d, 0xb8), 0xffffffff);

    /* Status and features: refused ones, none, and late ones. */
    vd_mmio_wr(d, 0x70, 3);
    vd_mmio_set_features(d, VD_BIT(32) | VD_BIT(5));
    vd_mmio_wr(d, 0x70, 11);
    CHECK_EQ(vd_mmio_rd(d, 0x70), 3);
    vd_mmio_set_features(d, VD_BIT(28));
    vd_mmio_wr(d, 0x70, 11);
    CHECK_EQ(vd_mmio_rd(d, 0x70), 3);
    vd_mmio_wr(d, 0x70, 7);                                     /* DRIVER_OK too early */
    CHECK_EQ(vd_mmio_rd(d, 0x70), 3);
    vd_mmio_set_features(d, VD_BIT(32));
    vd_mmio_wr(d, 0x70, 11);
    CHECK_EQ(vd_mmio_rd(d, 0x70), 11);

    /* Queue sizes, and a queue that is on. */
    vd_mmio_wr(d, 0x30, 0);
    for (unsigned i = 0; i < 4; i++) {
        vd_mmio_wr(d, 0x38, (uint32_t[]){ 0, 3, 16, 0x10004 }[i]);
        CHECK_EQ(vd_mmio_rd(d, 0x44), 0);
    }
    VdQueue *q = vd_queue(d, 0, 4);
    CHECK_EQ(vd_mmio_rd(d, 0x44), 1);
    vd_go(d);
    VdBuf b = { vd_alloc(d, 64, 1), 64 };
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    vd_mmio_wr(d, 0x44, 0);
    CHECK_EQ(vd_mmio_rd(d, 0x44), 0);
    vd_mmio_wr(d, 0x50, 0);
    vd_mmio_wr(d, 0x50, 77);
    vd_mmio_wr(d, 0x70, 0);
    CHECK_EQ(vd_mmio_rd(d, 0x70), 0);
    vd_board_free(r);
}

/* The line to the PLIC follows the interrupt status. */
static void test_interrupt(void)
{
    vd_board(r, one);
    vd_open_mmio(d, r, 7);
    CHECK(vd_start(d, 0));
    VdQueue *q = vd_queue(d, 0, 8);
    vd_go(d);
    VdBuf b = { vd_alloc(d, 64, 1), 64 };
    CHECK_EQ(rd32(r, PLIC + 0x1000), 0);
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(vd_mmio_rd(d, 0x60), 1);
    CHECK_EQ(rd32(r, PLIC + 0x1000), 1 << 8);
    CHECK_EQ(vd_mmio_isr(d), 1);
    CHECK_EQ(vd_mmio_isr(d), 0);
    wr32(r, PLIC + 4 * 8, 1);                                   /* priority, enabled, claimed, completed: it is low */
    wr32(r, PLIC + 0x2000, 1 << 8);
    CHECK_EQ(rd32(r, PLIC + 0x200004), 8);
    wr32(r, PLIC + 0x200004, 8);
    CHECK_EQ(rd32(r, PLIC + 0x1000), 0);
    vd_put(d, q->avail, 1, 2);                                  /* NO_INTERRUPT */
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(vd_mmio_rd(d, 0x60), 0);
    vd_put(d, q->avail, 0, 2);
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(vd_mmio_rd(d, 0x60), 1);
    vd_mmio_wr(d, 0x70, 0);                                     /* a reset takes the line down */
    CHECK_EQ(vd_mmio_rd(d, 0x60), 0);
    CHECK_EQ(rd32(r, PLIC + 0x200004), 8);
    wr32(r, PLIC + 0x200004, 8);
    CHECK_EQ(rd32(r, PLIC + 0x1000), 0);

    /* A ring that is wrong: NEEDS_RESET and the configuration interrupt; a reset mends it. */
    CHECK(vd_start(d, 0));
    q = vd_queue(d, 0, 8);
    vd_go(d);
    b.len = 0;
    CHECK(vd_add(q, &b, 0, 1) >= 0);
    vd_kick(q);
    rig_turn(r, 1);
    CHECK_EQ(vd_mmio_rd(d, 0x70), 15 | 64);
    CHECK_EQ(vd_mmio_isr(d), 2);
    if (vd_mmio_rd(d, 0xfc) == 0)
        CHECK(!"the generation has not changed");
    CHECK(vd_start(d, 0));
    q = vd_queue(d, 0, 8);
    vd_go(d);
    b.len = 64;
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    vm_reset(r->vm);
    CHECK_EQ(vd_mmio_rd(d, 0x70), 0);
    CHECK_EQ(vd_mmio_rd(d, 0x60), 0);
    vd_board_free(r);
}

static void test_queue_reset(void)
{
    vd_board(r, one);
    vd_open_mmio(d, r, 7);
    CHECK(vd_start(d, VD_BIT(VIRTIO_F_RING_RESET)));
    VdQueue *q = vd_queue(d, 0, 8);
    vd_go(d);
    VdBuf b = { vd_alloc(d, 64, 1), 64 };
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 5; j++)
            CHECK_EQ(vd_call(q, &b, 0, 1), 64);
        vd_mmio_queue_reset(d, 0);
        CHECK_EQ(vd_mmio_rd(d, 0xc0), 0);
        CHECK_EQ(vd_mmio_rd(d, 0x44), 0);
        vd_queue_clear(q);
        vd_queue_on(q);
        CHECK_EQ(vd_mmio_rd(d, 0x44), 1);
    }
    vd_board_free(r);
}

static void test_legacy(void)
{
    rig_init(r);
    r->config.globals = g_ptr_array_new();
    g_ptr_array_add(r->config.globals, (void *)"virtio-mmio.force-legacy=on");
    r->config.devices = g_ptr_array_new();
    g_ptr_array_add(r->config.devices, (void *)one[0]);
    rig_board(r);
    vd_open_mmio(d, r, 7);
    CHECK_EQ(vd_mmio_rd(d, 4), 1);
    CHECK_EQ(vd_mmio_features(d), VD_BIT(24) | VD_BIT(27) | VD_BIT(28) | VD_BIT(29));
    vd_mmio_wr(d, 0x70, 1);
    vd_mmio_wr(d, 0x70, 3);
    vd_mmio_wr(d, 0x24, 0);
    vd_mmio_wr(d, 0x20, VD_BIT(28));
    vd_mmio_wr(d, 0x28, 4096);
    vd_mmio_wr(d, 0x30, 0);
    CHECK_EQ(vd_mmio_rd(d, 0x40), 0);
    vd_mmio_wr(d, 0x38, 8);
    vd_mmio_wr(d, 0x3c, 4096);
    VdQueue *q = &d->q[0];
    *q = (VdQueue){ .d = d, .size = 8, .desc = VD_RAM + 0x200000, .avail = VD_RAM + 0x200080, .used = VD_RAM + 0x201000 };
    vd_queue_clear(q);
    vd_mmio_wr(d, 0x40, (VD_RAM + 0x200000) >> 12);
    CHECK_EQ(vd_mmio_rd(d, 0x40), (VD_RAM + 0x200000) >> 12);
    vd_mmio_wr(d, 0x70, 7);
    VdBuf b = { vd_alloc(d, 64, 1), 64 };
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(vd_mmio_isr(d), 1);
    vd_mmio_wr(d, 0x40, 0);
    CHECK_EQ(vd_mmio_rd(d, 0x40), 0);
    /* Nonsense as page and alignment sizes. */
    vd_mmio_wr(d, 0x28, 0);
    vd_mmio_wr(d, 0x40, 5);
    vd_mmio_wr(d, 0x28, 0x80000000);
    vd_mmio_wr(d, 0x3c, 3);
    vd_mmio_wr(d, 0x40, 0xffffffff);
    CHECK_EQ(vd_mmio_rd(d, 0x70) & 64, 64);
    g_ptr_array_free(r->config.globals, true);
    r->config.globals = NULL;
    vd_board_free(r);
}

/* Where -device puts them, and what it refuses. */
static void test_slots(void)
{
    static const char *const many[] = {
        "virtio-rng-device", "virtio-rng-device,bus=virtio-mmio-bus.0", "virtio-rng-device", NULL,
    };

    vd_board(r, many);
    for (unsigned slot = 0; slot < 8; slot++) {
        vd_open_mmio(d, r, slot);
        CHECK_EQ(vd_mmio_rd(d, 8), slot == 7 || slot == 6 || slot == 0 ? 4 : 0);
    }
    CHECK(rig_says(device_add(r->vm, "virtio-rng-device,bus=virtio-mmio-bus.0"), "has no place left"));
    CHECK(rig_says(device_add(r->vm, "virtio-rng-device,bus=virtio-mmio-bus.8"), "there is no bus"));
    CHECK(rig_says(device_add(r->vm, "virtio-mmio"), "part of a board"));
    vd_board_free(r);
}

int main(void)
{
    RUN(test_empty);
    RUN(test_registers);
    RUN(test_interrupt);
    RUN(test_queue_reset);
    RUN(test_legacy);
    RUN(test_slots);
    return test_end();
}
