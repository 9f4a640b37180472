/* SPDX-License-Identifier: MIT */
/*
 * Rings of a virtio device: the input is a driver that writes what it likes into
 * ring memory and registers, and a device that pops, pushes, looks, in any order.
 * Whatever is popped must be RAM, and everything must end.
 *
 *   byte 0: which features   then, each step: operation, and its operands
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/rig.h"
#include "tests/dev/virtio-echo.h"

enum { RINGS = 0x4000 /* bytes of memory that the input writes: the rings, tables, and what lies behind */ };

static Rig rig;
static Vd vd;
static Echo *echo;

typedef struct Input { const uint8_t *p; size_t left; } Input;

static uint32_t take(Input *in, unsigned bytes)
{
    uint32_t v = 0;

    for (unsigned i = 0; i < bytes && in->left; i++, in->left--)
        v |= (uint32_t)*in->p++ << 8 * i;
    return v;
}

static void nothing(Echo *e, unsigned q)
{
}

static void begin(uint8_t how)
{
    static const unsigned bits[] = { VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER };
    uint64_t features = VD_BIT(VIRTIO_F_RING_RESET);

    if (!echo) {
        echo_size = 16;
        echo = echo_make(&rig, &vd, "packed=on,in_order=on");
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++)
        features |= how >> i & 1 ? VD_BIT(bits[i]) : 0;
    echo->handle = how & 16 ? NULL : nothing;
    vd.heap = VD_RAM + 0x1000000;
    memset(vd_ptr(&vd, vd.heap, RINGS), 0, RINGS);
    vd_start(&vd, features);
    vd_queue(&vd, 0, how & 32 ? 16 : 4);
    vd_go(&vd);
}

static void step(Input *in)
{
    VirtQueue *q = echo->q[0];
    uint32_t at;

    switch (take(in, 1) % 12) {
    case 0: case 1: case 2: {               /* any bytes, anywhere in the rings */
        at = take(in, 2) % (RINGS - 16);
        for (unsigned n = 1 + take(in, 1) % 16; n; n--)
            vd_put(&vd, VD_RAM + 0x1000000 + at++, take(in, 1), 1);
        break;
    }
    case 3: {                               /* a descriptor, nearly a good one */
        unsigned slot = take(in, 1) % 32;
        vd_write_desc(&vd, VD_RAM + 0x1000000 + 16 * slot, (VdBuf){ VD_RAM + 0x1000000 + take(in, 2), take(in, 2) }, take(in, 2),
                      take(in, 2));
        break;
    }
    case 4:
        vd.t->kick(&vd, take(in, 1) & 1);
        rig_turn(&rig, 0);
        break;
    case 5:
        echo_hold(echo, 0);
        break;
    case 6:
        if (echo->n_held[0]) {
            EchoElem *el = echo_take(echo, 0, take(in, 1) % echo->n_held[0]);
            virtq_push(q, el, take(in, 2));
        }
        break;
    case 7:
        if (echo->n_held[0])
            virtq_drop(q, echo_take(echo, 0, take(in, 1) % echo->n_held[0]));
        break;
    case 8: {
        EchoElem *el = echo_pop(echo, 0);
        if (el)
            virtq_unpop(q, el);
        break;
    }
    case 9:
        virtq_notify(q);
        virtq_has_room(q, take(in, 2));
        break;
    case 10:
        virtq_bell(q, take(in, 1) & 1);
        break;
    case 11:
        at = take(in, 1) * 4 % 0x120;
        wr32(&rig, vd.base + at, take(in, 4));
        rd32(&rig, vd.base + (at & ~3u));
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };

    begin(take(&in, 1));
    for (unsigned n = 0; in.left && n < 400; n++)
        step(&in);
    rig_turn(&rig, 0);
    vd.t->set_status(&vd, 0);
    fuzz_must(!echo->n_held[0], "a buffer outlived a reset");
    fuzz_must(!test_case_bad, "a check failed");
    return 0;
}
