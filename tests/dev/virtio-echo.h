/* SPDX-License-Identifier: MIT */
/*
 * A virtio device for tests of rings: it keeps what it pops, checks that every
 * piece is guest RAM, and pushes when the test says so.
 */
#ifndef TESTS_DEV_VIRTIO_ECHO_H
#define TESTS_DEV_VIRTIO_ECHO_H

#include "tests/dev/virtio-driver.h"

enum { ECHO_QUEUES = 4, ECHO_HELD = 1024 };

typedef struct EchoElem { VirtElem e; uint32_t tag; } EchoElem;
typedef struct Echo {
    VirtioDevice virtio;
    VirtQueue *q[ECHO_QUEUES];
    EchoElem *held[ECHO_QUEUES][ECHO_HELD];
    unsigned n_held[ECHO_QUEUES];
    void (*handle)(struct Echo *, unsigned q);      /* NULL: pops all, and holds them */
    unsigned handled, started, quiesced, resets;
    IoThread *io[ECHO_QUEUES];
    unsigned n_queues, size;
} Echo;

/* Wherever the guest's descriptors pointed: RAM it is, and the sums are right. */
VD_UNUSED static bool echo_sane(const Echo *e, const VirtElem *el)
{
    size_t sum[2] = { 0 };

    for (unsigned i = 0; i < el->n_out + el->n_in; i++) {
        const struct iovec *v = i < el->n_out ? &el->out[i] : &el->in[i - el->n_out];
        const uint8_t *p = v->iov_base;
        bool found = false;

        for (const RamBlock *b = e->virtio.dev.vm->rams; b; b = b->next)
            found |= p >= b->host && v->iov_len <= b->size && p - b->host <= (int64_t)(b->size - v->iov_len) && !b->readonly;
        if (!found || !v->iov_len)
            return false;
        sum[i >= el->n_out] += v->iov_len;
    }
    return sum[0] == el->out_len && sum[1] == el->in_len && sum[0] + sum[1] <= UINT32_MAX;
}

VD_UNUSED static EchoElem *echo_pop(Echo *e, unsigned q)
{
    EchoElem *el = virtq_pop(e->q[q], sizeof(*el));

    if (el) {
        CHECK(echo_sane(e, &el->e));
        CHECK(!el->tag);
        if (el->e.out_len >= 4) {
            IoVec v = virt_out(&el->e);
            iov_read(&v, 0, &el->tag, 4);
        }
    }
    return el;
}
VD_UNUSED static bool echo_hold(Echo *e, unsigned q)
{
    EchoElem *el = e->n_held[q] < ECHO_HELD ? echo_pop(e, q) : NULL;

    if (el)
        e->held[q][e->n_held[q]++] = el;
    return el;
}
VD_UNUSED static EchoElem *echo_take(Echo *e, unsigned q, unsigned i)
{
    EchoElem *el = e->held[q][i];

    memmove(&e->held[q][i], &e->held[q][i + 1], (--e->n_held[q] - i) * sizeof(el));
    return el;
}
/* Byte n of what it writes for a tag. */
static inline uint8_t echo_byte(uint32_t tag, uint32_t n) { return tag * 131 + n * 7 + 1; }
VD_UNUSED static void echo_push(Echo *e, unsigned q, EchoElem *el, uint32_t written)
{
    IoVec v = virt_in(&el->e);

    for (uint32_t i = 0; i < written; i++)
        iov_fill(&v, i, echo_byte(el->tag, i), 1);
    virtq_push(e->q[q], el, written);
}

static void echo_handle(VirtioDevice *v, VirtQueue *q)
{
    Echo *e = (Echo *)v;

    __atomic_fetch_add(&e->handled, 1, __ATOMIC_RELAXED);
    if (e->handle) {
        e->handle(e, virtq_index(q));
    } else {
        while (echo_hold(e, virtq_index(q)))
            ;
    }
}
static void echo_quiesce(VirtioDevice *v, VirtQueue *q)
{
    Echo *e = (Echo *)v;

    e->quiesced++;
    for (unsigned n = 0; n < e->n_queues; n++) {
        while (e->n_held[n] && (!q || q == e->q[n]))
            virtq_drop(e->q[n], e->held[n][--e->n_held[n]]);
    }
}
static void echo_started(VirtioDevice *v, bool on) { ((Echo *)v)->started += on; }
static void echo_reset(VirtioDevice *v) { ((Echo *)v)->resets++; }
static const VirtioOps echo_ops = {
    .id = 63, .name = "echo", .handle = echo_handle, .quiesce = echo_quiesce, .started = echo_started, .reset = echo_reset,
};

static unsigned echo_size = 16, echo_n = 1;
static IoThread *echo_io[ECHO_QUEUES];
static const VirtioOps *echo_use = &echo_ops;
static Err *echo_realize(Device *d)
{
    Echo *e = (Echo *)d;

    virtio_init(&e->virtio, echo_use, 16);
    e->n_queues = echo_n;
    e->size = echo_size;
    for (unsigned i = 0; i < echo_n; i++) {
        e->io[i] = echo_io[i];
        e->q[i] = virtio_add_queue(&e->virtio, echo_size, echo_io[i]);
    }
    return NULL;
}
static void echo_unrealize(Device *d) { virtio_clear((VirtioDevice *)d); }
static const Field echo_fields[] = { TRANSIENT(Echo, handled), {0} };
static const DeviceClass echo_class = {
    .name = "echo", .bus = "virtio-bus", .doc = "for tests", .size = sizeof(Echo), .fields = echo_fields, .base = virtio_fields,
    .realize = echo_realize, .unrealize = echo_unrealize,
};

/* Plugged into slot 7 of a board that has none there; and a driver for it, not started. */
VD_UNUSED static Echo *echo_make(Rig *r, Vd *d, const char *props)
{
    static const char *const none[] = { NULL };
    g_auto(GStrv) list = g_strsplit(props, ",", -1);

    if (!r->vm) {
        vd_board(r, none);
    }
    Device *dev = device_new(r->vm, &echo_class);
    for (char **p = list; *p; p++) {
        char *eq = strchr(*p, '=');
        *eq = 0;
        rig_must(device_set_prop(dev, *p, eq + 1));
    }
    rig_must(device_plug(dev, bus_find(r->vm, "virtio-mmio-bus.7")));
    device_reset(dev);
    vd_open_mmio(d, r, 7);
    return (Echo *)dev;
}

/* xorshift: the same everywhere. */
static _Thread_local uint64_t echo_seed = 88172645463325252;
VD_UNUSED static uint32_t echo_rand(uint32_t below)
{
    echo_seed ^= echo_seed << 13;
    echo_seed ^= echo_seed >> 7;
    echo_seed ^= echo_seed << 17;
    return (echo_seed * 0x2545f4914f6cdd1d >> 33) % below;
}

#endif
