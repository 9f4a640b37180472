/* SPDX-License-Identifier: MIT */
/*
 * A virtio driver for tests: a transport of its own that counts interrupts, and
 * split rings in the board's RAM, filled and read as a guest's driver would.
 */
#ifndef TESTS_DEV_VDRIVER_H
#define TESTS_DEV_VDRIVER_H

#include <stdatomic.h>

#include "hw/virtio/virtio.h"
#include "tests/dev/rig.h"

enum { VD_QUEUES = 8, VD_RAM = 0x81000000u, VD_NEXT = 1, VD_WRITE = 2 };

typedef struct VdQueue {
    unsigned size;
    uint64_t desc, avail, used;
    uint16_t avail_idx, used_idx;
    void **cookies;                         /* by head */
    uint16_t *owner;                        /* by descriptor: head + 1 of the buffer it belongs to, 0: free */
} VdQueue;

typedef struct Vd {
    Rig *r;
    VirtioBus bus;
    VirtioDevice *v;
    VdQueue q[VD_QUEUES];
    _Atomic int interrupts, config_changes;
    uint64_t next;                          /* RAM given out so far */
} Vd;

typedef struct VdBuf { uint64_t at; uint32_t len; bool write; } VdBuf;

static void vd_notify(void *opaque, unsigned queue)
{
    atomic_fetch_add(&((Vd *)opaque)->interrupts, 1);
}

static void vd_notify_config(void *opaque)
{
    atomic_fetch_add(&((Vd *)opaque)->config_changes, 1);
}

static const VirtioTransport vd_transport = { .notify = vd_notify, .notify_config = vd_notify_config, .legacy_ok = true };

static inline uint64_t vd_alloc(Vd *d, uint64_t bytes)
{
    uint64_t at = d->next;

    d->next += (bytes + 63) & ~63ull;
    return at;
}

static inline void *vd_host(Vd *d, uint64_t at, uint64_t len)
{
    return space_ram(d->r->vm->mem, at, len, true, NULL, NULL);
}

/* `device`: as of -device, without its bus. */
static inline Err *vd_try_attach(Vd *d, Rig *r, const char *device)
{
    g_autofree char *arg = g_strdup_printf("%s,bus=test.0", device);

    *d = (Vd){ .r = r, .next = VD_RAM };
    d->bus.transport = &vd_transport;
    d->bus.opaque = d;
    bus_init(r->vm, &d->bus.bus, &virtio_bus_class, "test.0", NULL);
    d->bus.bus.hotplug = true;
    Err *e = device_add(r->vm, arg);
    if (e)
        bus_clear(r->vm, &d->bus.bus);
    d->v = d->bus.device;
    return e;
}

static inline void vd_attach(Vd *d, Rig *r, const char *device)
{
    rig_must(vd_try_attach(d, r, device));
}

static inline void vd_detach(Vd *d)
{
    if (d->v)
        device_free(&d->v->dev);
    bus_clear(d->r->vm, &d->bus.bus);
    for (unsigned i = 0; i < VD_QUEUES; i++) {
        g_free(d->q[i].cookies);
        g_free(d->q[i].owner);
    }
}

static inline void vd_queue(Vd *d, unsigned n, unsigned size)
{
    VdQueue *q = &d->q[n];
    VirtQueue *vq = virtio_queue(d->v, n);

    g_free(q->cookies);
    g_free(q->owner);
    *q = (VdQueue){ .size = size, .cookies = g_new0(void *, size), .owner = g_new0(uint16_t, size) };
    q->desc = vd_alloc(d, 16 * size);
    q->avail = vd_alloc(d, 6 + 2 * size);
    q->used = vd_alloc(d, 6 + 8 * size);
    memset(vd_host(d, q->avail, 6 + 2 * size), 0, 6 + 2 * size);
    memset(vd_host(d, q->used, 6 + 8 * size), 0, 6 + 8 * size);
    CHECK(virtq_set_size(vq, size));
    virtq_set_addresses(vq, &(VirtqAddresses){ q->desc, q->avail, q->used });
    virtq_enable(vq);
}

/* Takes the driver's features among those offered, sets up queues 0..n-1, and is ready. */
static inline void vd_start(Vd *d, uint64_t features, unsigned n, unsigned size)
{
    virtio_set_status(d->v, 0);
    virtio_set_status(d->v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
    virtio_set_features(d->v, (features & virtio_offered(d->v)) | UINT64_C(1) << VIRTIO_F_VERSION_1);
    virtio_set_status(d->v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
    CHECK(d->v->status & VIRTIO_FEATURES_OK);
    for (unsigned i = 0; i < n; i++)
        vd_queue(d, i, size);
    virtio_set_status(d->v, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
}

/* A descriptor that is free, which from now on belongs to `head` (-1: to itself). */
static inline unsigned vd_descriptor(VdQueue *q, int head)
{
    for (unsigned i = 0; i < q->size; i++) {
        if (!q->owner[i]) {
            q->owner[i] = (head < 0 ? (int)i : head) + 1;
            return i;
        }
    }
    printf("no descriptor is free\n");
    exit(1);
}

/* Makes a buffer available; the bell is the caller's. */
static inline void vd_add(Vd *d, unsigned n, const VdBuf *bufs, unsigned count, void *cookie)
{
    VdQueue *q = &d->q[n];
    uint8_t *table = vd_host(d, q->desc, 16 * q->size);
    uint16_t *avail = vd_host(d, q->avail, 6 + 2 * q->size), head = vd_descriptor(q, -1), at = head;

    for (unsigned i = 0; i < count; i++) {
        uint8_t *e = table + 16 * at;
        uint16_t flags = (bufs[i].write ? VD_WRITE : 0) | (i + 1 < count ? VD_NEXT : 0);
        uint16_t next = i + 1 < count ? vd_descriptor(q, head) : 0;

        memcpy(e, &bufs[i].at, 8);
        memcpy(e + 8, &bufs[i].len, 4);
        memcpy(e + 12, &flags, 2);
        memcpy(e + 14, &next, 2);
        at = next;
    }
    q->cookies[head] = cookie;
    avail[2 + q->avail_idx % q->size] = head;
    /* An exchange is a full barrier: whether to kick is read after it. */
    __atomic_exchange_n(&avail[1], ++q->avail_idx, __ATOMIC_SEQ_CST);
}

static inline void vd_kick(Vd *d, unsigned n)
{
    virtio_kick(virtio_queue(d->v, n));
}

/* The next used buffer's cookie, within that time; NULL: none came. */
static inline void *vd_used(Vd *d, unsigned n, int ms, uint32_t *len)
{
    VdQueue *q = &d->q[n];
    uint16_t *used = vd_host(d, q->used, 6 + 8 * q->size);
    uint32_t elem[2];

    for (int64_t end = g_get_monotonic_time() + ms * 1000; __atomic_load_n(&used[1], __ATOMIC_ACQUIRE) == q->used_idx; usleep(20)) {
        if (g_get_monotonic_time() >= end)
            return NULL;
    }
    memcpy(elem, (uint8_t *)used + 4 + 8 * (q->used_idx % q->size), 8);
    q->used_idx++;
    for (unsigned i = 0; i < q->size; i++) {
        if (q->owner[i] == elem[0] + 1)
            q->owner[i] = 0;
    }
    if (len)
        *len = elem[1];
    return elem[0] < q->size ? q->cookies[elem[0]] : NULL;
}

#endif
