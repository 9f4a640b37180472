/* SPDX-License-Identifier: MIT */
/*
 * Transitional devices by their legacy interface (VIRTIO 1.2, section 4.1.4.10): I/O ports, queues given by the number of
 * a page, no FEATURES_OK, configuration behind the registers. Each kind does a piece of its work.
 */
#include "tests/dev/full-rig.h"

enum { L_HOST = 0, L_GUEST = 4, L_PFN = 8, L_SIZE = 12, L_SELECT = 14, L_NOTIFY = 16, L_STATUS = 18, L_ISR = 19, L_CONFIG = 20 };

static uint64_t port(unsigned off) { return VP_PIO + 0x1000 + off; }

/* ---- the transport of virtio-driver.h */

static uint8_t l_status(Vd *v) { return rd(r, port(L_STATUS), 1); }
static void l_set_status(Vd *v, uint8_t s) { wr(r, port(L_STATUS), s, 1); }
static uint64_t l_features(Vd *v) { return rd32(r, port(L_HOST)); }
static void l_set_features(Vd *v, uint64_t f) { wr32(r, port(L_GUEST), f); }
static unsigned l_queue_max(Vd *v, unsigned n)
{
    wr(r, port(L_SELECT), n, 2);
    return rd(r, port(L_SIZE), 2);
}
static void l_queue_on(Vd *v, unsigned n, unsigned size, const uint64_t at[3])
{
    wr(r, port(L_SELECT), n, 2);
    wr32(r, port(L_PFN), at[0] >> 12);
}
static void l_queue_reset(Vd *v, unsigned n)
{
    wr(r, port(L_SELECT), n, 2);
    wr32(r, port(L_PFN), 0);
}
static void l_kick(Vd *v, unsigned n) { wr(r, port(L_NOTIFY), n, 2); }
static uint32_t l_config(Vd *v, unsigned off, unsigned size) { return rd(r, port(L_CONFIG) + off, size); }
static void l_set_config(Vd *v, unsigned off, uint32_t val, unsigned size) { wr(r, port(L_CONFIG) + off, val, size); }
static uint8_t l_isr(Vd *v) { return rd(r, port(L_ISR), 1); }
static const VdTransport legacy = {
    l_status, l_set_status, l_features, l_set_features, l_queue_max, l_queue_on, l_queue_reset, l_kick, l_config, l_set_config, l_isr,
};

/* The size is the device's; the three parts lie one behind the other, the last at a page. */
static VdQueue *legacy_queue(unsigned n)
{
    unsigned size = d->t->queue_max(d, n);
    VdQueue *q = &d->q[n];

    CHECK(size >= 2 && size <= VD_SLOTS);
    *q = (VdQueue){ .d = d, .n = n, .size = size, .desc = vd_alloc(d, 0x10000, 4096) };
    q->avail = q->desc + 16 * size;
    q->used = (q->avail + 6 + 2 * size + 4095) & ~UINT64_C(4095);
    vd_queue_clear(q);
    vd_queue_on(q);
    CHECK_EQ(rd32(r, port(L_PFN)), q->desc >> 12);
    return q;
}

static VdQueue *start(const char *device, unsigned n)
{
    g_autofree char *arg = g_strdup_printf("%s,addr=4", device);

    begin(arg);
    vd_open_pci(d, &vp, r, DEVFN);
    d->t = &legacy;
    d->t->set_status(d, 0);
    d->t->set_status(d, 3);
    d->features = d->t->features(d);
    CHECK(!(d->features >> 32));
    d->features &= ~VD_BIT(VIRTIO_F_EVENT_IDX);
    d->event_idx = false;
    d->t->set_features(d, d->features);
    VdQueue *q = legacy_queue(n);
    d->t->set_status(d, 7);
    return q;
}

static void *bytes(unsigned at, unsigned n) { return space_ram(r->vm->mem, BUFS + at, n, true, NULL, NULL); }
#define CALL(q, out, in, ...) vd_call(q, (VdBuf[]){ __VA_ARGS__ }, out, in)

/* ---- kinds */

static void test_blk(void)
{
    VdQueue *q = start("virtio-blk-pci-transitional,drive=d0", 0);
    uint64_t *head = bytes(0, 16);

    CHECK_EQ(d->t->config(d, 0, 4), 2048);
    head[0] = 0, head[1] = 0;
    CHECK_EQ(CALL(q, 1, 2, { BUFS, 16 }, { BUFS + 4096, 512 }, { BUFS + 64, 1 }), 513);
    CHECK(!memcmp(bytes(4096, 512), "the first block", 15));
    CHECK_EQ(d->t->isr(d), 1);
    CHECK_EQ(d->t->isr(d), 0);
    head[0] = 1, head[1] = 7;
    memset(bytes(4096, 512), 'w', 512);
    CHECK_EQ(CALL(q, 2, 1, { BUFS, 16 }, { BUFS + 4096, 512 }, { BUFS + 64, 1 }), 1);
    head[0] = 0;
    memset(bytes(4096, 512), 0, 512);
    CHECK_EQ(CALL(q, 1, 2, { BUFS, 16 }, { BUFS + 4096, 512 }, { BUFS + 64, 1 }), 513);
    CHECK_EQ(*(uint8_t *)bytes(4096 + 511, 1), 'w');
    /* Page 0 takes the queue away; a page that is no memory breaks it, and a reset mends it. */
    d->t->queue_reset(d, 0);
    CHECK_EQ(rd32(r, port(L_PFN)), 0);
    vd_kick(q);
    l_queue_on(d, 0, 0, (uint64_t[]){ OTHER, 0, 0 });
    l_queue_on(d, 0, 0, (uint64_t[]){ VD_RAM + RAM_SIZE - 4096, 0, 0 });
    l_queue_on(d, 0, 0, (uint64_t[]){ UINT64_C(0xffffffff) << 12, 0, 0 });
    vd_kick(q);
    settle();
    d->t->set_status(d, 0);
    d->t->set_status(d, 3);
    d->t->set_features(d, 0);
    q = legacy_queue(0);
    d->t->set_status(d, 7);
    CHECK_EQ(CALL(q, 1, 2, { BUFS, 16 }, { BUFS + 4096, 512 }, { BUFS + 64, 1 }), 513);
    end();
}

static void test_scsi(void)
{
    VdQueue *q = start("virtio-scsi-pci-transitional", 2);
    uint8_t *c = bytes(0, 51);

    memset(c, 0, 51);
    c[0] = 1, c[19] = 0x12, c[23] = 36;
    CHECK(CALL(q, 1, 2, { BUFS, 51 }, { BUFS + 64, 108 }, { BUFS + 4096, 36 }) > 108);
    CHECK(*(uint8_t *)bytes(4096 + 8, 1) > ' ');         /* the vendor */
    CHECK_EQ(*(uint8_t *)bytes(64 + 11, 1), 0);
    end();
}

static void test_net(void)
{
    VdQueue *q = start("virtio-net-pci-transitional,netdev=n0", 1);

    CHECK_EQ(d->t->config(d, 0, 1), 0x52);
    memset(bytes(0, 256), 0, 256);
    /* Without VERSION_1 and merged buffers a header has 10 bytes. */
    CHECK_EQ(CALL(q, 2, 0, { BUFS, 10 }, { BUFS + 64, 60 }), 0);
    CHECK_EQ(CALL(q, 1, 0, { BUFS, 70 }), 0);
    end();
}

static void test_rng(void)
{
    VdQueue *q = start("virtio-rng-pci-transitional", 0);

    CHECK_EQ(CALL(q, 0, 1, { BUFS, 64 }), 64);
    end();
}

static void test_9p(void)
{
    static const uint8_t version[] = { 21, 0, 0, 0, 100, 255, 255, 0, 32, 0, 0, 8, 0, '9', 'P', '2', '0', '0', '0', '.', 'L' };
    VdQueue *q = start("virtio-9p-pci-transitional,fsdev=f0,mount_tag=tag", 0);

    CHECK_EQ(d->t->config(d, 0, 2), 3);
    CHECK_EQ(d->t->config(d, 2, 1), 't');
    memcpy(bytes(0, 21), version, sizeof(version));
    CHECK(CALL(q, 1, 1, { BUFS, 21 }, { BUFS + 4096, 4096 }) >= 21);
    CHECK_EQ(*(uint8_t *)bytes(4096 + 4, 1), 101);
    end();
}

/* Non-transitional devices have none: another identity, and no I/O ports. */
static void test_none(void)
{
    begin("virtio-blk-pci-non-transitional,drive=d0,addr=4");
    CHECK_EQ(rd(r, VP_ECAM + (4 << 15) + 2, 2), 0x1042);
    CHECK_EQ(rd32(r, VP_ECAM + (4 << 15) + 0x10), 0);
    end();
}

int main(void)
{
    RUN(test_blk);
    RUN(test_scsi);
    RUN(test_net);
    RUN(test_rng);
    RUN(test_9p);
    RUN(test_none);
    return test_end();
}
