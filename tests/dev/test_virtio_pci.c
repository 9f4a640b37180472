/* SPDX-License-Identifier: MIT */
/* virtio over PCI: identities, capabilities, the modern and the legacy interface, MSI-X and INTx, options. */
#include "tests/dev/virtio-pci-driver.h"

static Rig rig, *r = &rig;
static Vd vd, *d = &vd;
static Vp vp, *p = &vp;

static void begin(const char *device)
{
    vd_board(r, (const char *[]){ device, NULL });
    vd_open_pci(d, p, r, 0x20);
}

static void end(void)
{
    msi_unclaim(r->vm, p);
    vd_board_free(r);
}

static void test_identity(void)
{
    static const struct { const char *dev; uint32_t id; uint8_t revision; bool io, modern; uint16_t subsystem; } rows[] = {
        { "virtio-rng-pci,addr=4", 0x10051af4, 0, true, true, 4 },
        { "virtio-rng,addr=4", 0x10051af4, 0, true, true, 4 },
        { "virtio-rng-pci-transitional,addr=4", 0x10051af4, 0, true, true, 4 },
        { "virtio-rng-pci-non-transitional,addr=4", 0x10441af4, 1, false, true, 0x1100 },
        { "virtio-rng-pci,addr=4,disable-legacy=on", 0x10441af4, 1, false, true, 0x1100 },
        { "virtio-rng-pci,addr=4,disable-legacy=off,disable-modern=on", 0x10051af4, 0, true, false, 4 },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        begin(rows[i].dev);
        CHECK_EQ(vp_cfg(d, 0, 4), rows[i].id);
        CHECK_EQ(vp_cfg(d, 8, 4), 0x00ff0000 | rows[i].revision);
        CHECK_EQ(vp_cfg(d, 0x2c, 4), 0x1af4u | (uint32_t)rows[i].subsystem << 16);
        CHECK_EQ(vp_cfg(d, 0x10, 1) & 1, rows[i].io);
        CHECK_EQ(vp_cfg(d, 0x20, 1) & 15, rows[i].modern ? 12 : 0);
        CHECK_EQ(!!p->common, rows[i].modern);
        CHECK_EQ(!!p->pci_cfg, rows[i].modern);
        CHECK(p->msix);
        if (rows[i].modern) {
            CHECK(vd_start(d, 0));
            CHECK_EQ(vp_rd(d, 0x12, 2), 1);
            VdQueue *q = vd_queue(d, 0, 8);
            vd_go(d);
            CHECK_EQ(vd_call(q, (VdBuf[]){ { vd_alloc(d, 64, 1), 64 } }, 0, 1), 64);
        }
        end();
    }
}

static void test_modern(void)
{
    begin("virtio-rng-pci,addr=4,packed=on");
    CHECK_EQ(vp_features(d), VD_BIT(28) | VD_BIT(29) | VD_BIT(32) | VD_BIT(34) | VD_BIT(40));
    vp_wr(d, 0, 2, 4);
    CHECK_EQ(vp_rd(d, 4, 4), 0);
    CHECK_EQ(vp_queue_max(d, 0), 8);
    CHECK_EQ(vp_queue_max(d, 1), 0);
    CHECK_EQ(vp_rd(d, 0x1a, 2), 0xffff);
    CHECK_EQ(vp_queue_max(d, 0xffff), 0);
    vp_wr(d, 0x1a, 0, 2);
    vp_wr(d, 0x1c, 1, 2);
    vp_wr(d, 0x20, 1, 4);
    for (unsigned packed = 0; packed < 2; packed++) {
        CHECK(vd_start(d, packed ? VD_BIT(34) : 0));
        VdQueue *q = vd_queue(d, 0, packed ? 5 : 8);
        vd_go(d);
        CHECK_EQ(vp_rd(d, 0x1c, 2), 1);
        CHECK_EQ(vp_rd(d, 0x18, 2), packed ? 5 : 8);
        CHECK_EQ(vp_rd(d, 0x20, 4), (uint32_t)q->desc);
        CHECK_EQ(vp_rd(d, 0x22, 2), (uint32_t)q->desc >> 16);
        VdBuf b = { vd_alloc(d, 64, 1), 64 };
        for (int i = 0; i < 20; i++)
            CHECK_EQ(vd_call(q, &b, 0, 1), 64);
        CHECK_EQ(vp_isr(d), 1);
        CHECK_EQ(vp_isr(d), 0);
        /* Without bus master nothing happens, until it is allowed. */
        vp_set_cfg(d, 4, 3, 2);
        uint32_t len;
        int id = vd_add(q, &b, 0, 1);
        vd_kick(q);
        rig_turn(r, 1);
        CHECK_EQ(vd_used(q, &len), -1);
        vp_set_cfg(d, 4, 7, 2);
        CHECK_EQ(vd_wait(d, q, &len), id);
        /* One queue reset. */
        CHECK(vd_start(d, VD_BIT(40) | (packed ? VD_BIT(34) : 0)));
        q = vd_queue(d, 0, 8);
        vd_go(d);
        CHECK_EQ(vd_call(q, &b, 0, 1), 64);
        vp_queue_reset(d, 0);
        CHECK_EQ(vp_rd(d, 0x3a, 2), 0);
        CHECK_EQ(vp_rd(d, 0x1c, 2), 0);
        vd_queue_clear(q);
        vd_queue_on(q);
        CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    }
    vm_reset(r->vm);
    CHECK_EQ(vp_cfg(d, 4, 2) & 7, 0);
    end();
}

static void test_msix(void)
{
    begin("virtio-rng-pci,addr=4");
    CHECK_EQ(vp_cfg(d, p->msix + 2, 2) & 0x7ff, 1);             /* one for the queue, and one */
    vp_use_msix(d, 2);
    CHECK(vd_start(d, 0));
    vp_wr(d, 0x10, 1, 2);
    CHECK_EQ(vp_rd(d, 0x10, 2), 1);
    vp_wr(d, 0x10, 2, 2);                                       /* no such vector */
    CHECK_EQ(vp_rd(d, 0x10, 2), 0xffff);
    vp_wr(d, 0x10, 1, 2);
    VdQueue *q = vd_queue(d, 0, 8);
    vp_wr(d, 0x1a, 0, 2);
    CHECK_EQ(vp_rd(d, 0x1a, 2), 0);
    vd_go(d);
    VdBuf b = { vd_alloc(d, 64, 1), 64 };
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(p->messages[0], 1);
    CHECK_EQ(vp_isr(d), 0);
    /* Masked: it comes when the mask goes. */
    uint64_t table = p->bar[1];
    wr32(r, table + 12, 1);
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(p->messages[0], 1);
    wr32(r, table + 12, 0);
    CHECK_EQ(p->messages[0], 2);
    /* No vector: no interrupt. */
    vp_wr(d, 0x1a, 0xffff, 2);
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(p->messages[0], 2);
    vp_wr(d, 0x1a, 1, 2);
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    CHECK_EQ(p->messages[1], 1);
    /* A broken ring is told by the configuration's vector. */
    b.len = 0;
    vd_add(q, &b, 0, 1);
    vd_kick(q);
    rig_turn(r, 1);
    CHECK_EQ(p->messages[1], 2);
    CHECK_EQ(vp_status(d), 15 | 64);
    vp_set_status(d, 0);
    CHECK_EQ(vp_rd(d, 0x10, 2), 0xffff);                        /* a reset forgets vectors */
    end();

    begin("virtio-rng-pci,addr=4,vectors=0");
    CHECK(!p->msix);
    end();
    begin("virtio-rng-pci,addr=4,vectors=7");
    CHECK_EQ(vp_cfg(d, p->msix + 2, 2) & 0x7ff, 6);
    end();
}

/* The window in configuration space: what firmware without memory access uses. */
static void test_cfg_window(void)
{
    begin("virtio-rng-pci,addr=4");
    vp_set_cfg(d, p->pci_cfg + 4, 4, 1);
    vp_set_cfg(d, p->pci_cfg + 8, 0x12, 4);
    vp_set_cfg(d, p->pci_cfg + 12, 2, 4);
    CHECK_EQ(vp_cfg(d, p->pci_cfg + 16, 2), 1);                 /* num_queues */
    vp_set_cfg(d, p->pci_cfg + 8, 0x14, 4);
    vp_set_cfg(d, p->pci_cfg + 12, 1, 4);
    vp_set_cfg(d, p->pci_cfg + 16, 3, 1);
    CHECK_EQ(vp_status(d), 3);
    CHECK_EQ(vp_cfg(d, p->pci_cfg + 16, 1), 3);
    static const struct { uint8_t bar; uint32_t off, len; } wrong[] = {
        { 4, 0x15, 4 }, { 4, 0x4000, 1 }, { 4, 0xfffffffc, 4 }, { 1, 0, 4 }, { 9, 0, 4 }, { 4, 0, 3 }, { 4, 0, 0 }, { 0, 31, 4 },
        { 4, 0, 0xffffffff },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        vp_set_cfg(d, p->pci_cfg + 4, wrong[i].bar, 1);
        vp_set_cfg(d, p->pci_cfg + 8, wrong[i].off, 4);
        vp_set_cfg(d, p->pci_cfg + 12, wrong[i].len, 4);
        vp_cfg(d, p->pci_cfg + 16, 4);
        vp_set_cfg(d, p->pci_cfg + 16, 0, 4);
    }
    CHECK_EQ(vp_status(d), 3);
    end();
}

static void legacy(unsigned config)
{
    uint64_t io = p->bar[0];

    CHECK_EQ(rd(r, io, 4), VD_BIT(24) | VD_BIT(27) | VD_BIT(28) | VD_BIT(29));
    wr(r, io + 18, 1, 1);
    wr(r, io + 18, 3, 1);
    CHECK_EQ(rd(r, io + 18, 1), 3);
    wr(r, io + 4, VD_BIT(28) | VD_BIT(3), 4);
    CHECK_EQ(rd(r, io + 4, 4), VD_BIT(28));
    wr(r, io + 14, 1, 2);
    CHECK_EQ(rd(r, io + 12, 2), 0);
    wr(r, io + 14, 0, 2);
    CHECK_EQ(rd(r, io + 12, 2), 8);
    VdQueue *q = &d->q[0];
    *q = (VdQueue){ .d = d, .size = 8, .desc = VD_RAM + 0x200000, .avail = VD_RAM + 0x200080, .used = VD_RAM + 0x201000 };
    vd_queue_clear(q);
    wr(r, io + 8, q->desc >> 12, 4);
    CHECK_EQ(rd(r, io + 8, 4), q->desc >> 12);
    if (config == 24) {
        wr(r, io + 22, 1, 2);
        CHECK_EQ(rd(r, io + 22, 2), 1);
    }
    wr(r, io + 18, 7, 1);
    uint32_t len;
    int id = vd_add(q, (VdBuf[]){ { vd_alloc(d, 64, 1), 64 } }, 0, 1);
    wr(r, io + 16, 0, 2);
    CHECK_EQ(vd_wait(d, q, &len), id);
    CHECK_EQ(rd(r, io + 19, 1), config == 24 ? 0 : 1);
    CHECK_EQ(rd(r, io + 19, 1), 0);
    wr(r, io + 8, 0, 4);
    CHECK_EQ(rd(r, io + 8, 4), 0);
    wr(r, io + 18, 0, 1);
    CHECK_EQ(rd(r, io + 18, 1), 0);
}

static void test_legacy(void)
{
    begin("virtio-rng-pci,addr=4");
    vp_set_cfg(d, 4, 3, 2);                                     /* old drivers forget bus master */
    legacy(20);
    vp_set_cfg(d, 4, 7, 2);
    vp_use_msix(d, 2);
    legacy(24);
    CHECK_EQ(p->messages[1], 1);
    /* And the modern one after a reset. */
    CHECK(vd_start(d, 0));
    VdQueue *q = vd_queue(d, 0, 8);
    vd_go(d);
    CHECK_EQ(vd_call(q, (VdBuf[]){ { vd_alloc(d, 64, 1), 64 } }, 0, 1), 64);
    end();
    begin("virtio-rng-pci,addr=4,disable-modern=on");
    legacy(20);
    end();
}

static void test_options(void)
{
    begin("virtio-rng-pci,addr=4,page-per-vq=on,modern-pio-notify=on,ioeventfd=off");
    CHECK_EQ(p->step, 4096);
    CHECK(vd_start(d, 0));
    VdQueue *q = vd_queue(d, 0, 8);
    vd_go(d);
    VdBuf b = { vd_alloc(d, 64, 1), 64 };
    CHECK_EQ(vd_call(q, &b, 0, 1), 64);
    uint32_t len;
    int id = vd_add(q, &b, 0, 1);
    wr(r, p->bar[2], 0, 2);
    CHECK_EQ(vd_wait(d, q, &len), id);
    end();

    static const struct { const char *dev, *says; } wrong[] = {
        { "virtio-rng-pci,ats=on", "ats=on" }, { "virtio-rng-pci,iommu_platform=on", "no IOMMU" },
        { "virtio-rng-pci,disable-modern=on,disable-legacy=on", "no interface left" },
        { "virtio-rng-pci,vectors=5000", "vectors=5000" }, { "virtio-rng-pci,rng=none", "no source of randomness 'none'" },
        { "virtio-rng-pci,period=0", "period=0" }, { "virtio-rng-pci,packt=on", "Did you mean 'packed'?" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        rig_init(r);
        r->config.devices = g_ptr_array_new();
        g_ptr_array_add(r->config.devices, (void *)wrong[i].dev);
        CHECK(rig_says(rig_try_board(r), wrong[i].says));
        end();
    }
}

/* Registers at random, of every kind and width; then it works as before. */
static void test_random(void)
{
    uint64_t x = 88172645463325252;

    printf("seed %" PRIu64 "\n", x);
    begin("virtio-rng-pci,addr=4,packed=on,modern-pio-notify=on");
    vp_use_msix(d, 2);
    for (int i = 0; i < 200000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        static const uint16_t sizes[] = { 32, 0x830, 4, 0, 0x3010 };
        unsigned bar = (x >> 4) % 5, size = 1 << (x >> 8 & 3);
        uint64_t off = (x >> 16) % sizes[bar == 3 ? 4 : bar], val = x >> 20 & 1 ? x >> 32 & 0x3f : x * 0x2545f4914f6cdd1d;

        bar = bar == 3 ? 4 : bar;
        if (bar == 4 && x >> 61 & 1)
            off &= 0x3f;
        off &= ~(uint64_t)(size - 1);
        if (bar == 2 && size > 4)
            size = 4, off = 0;
        if (x >> 62 & 1)
            wr(r, p->bar[bar] + off, val, size);
        else
            rd(r, p->bar[bar] + off, size);
        if (i % 100 == 0)
            rig_turn(r, 0);
        if (i % 64 == 0)
            vp_set_cfg(d, p->pci_cfg + 4 + (x >> 24) % 16 / 4 * 4, val, 4);
    }
    vp_set_status(d, 0);
    CHECK(vd_start(d, 0));
    VdQueue *q = vd_queue(d, 0, 8);
    vd_go(d);
    CHECK_EQ(vd_call(q, (VdBuf[]){ { vd_alloc(d, 64, 1), 64 } }, 0, 1), 64);
    end();
}

int main(void)
{
    RUN(test_identity);
    RUN(test_modern);
    RUN(test_msix);
    RUN(test_cfg_window);
    RUN(test_legacy);
    RUN(test_options);
    RUN(test_random);
    return test_end();
}
