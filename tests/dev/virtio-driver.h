/* SPDX-License-Identifier: MIT */
/*
 * A virtio driver in C, for tests of devices without a CPU: split and packed
 * rings in guest memory, over a transport that is a table of functions
 * (virtio-mmio here; PCI in virtio-pci-driver.h).
 *
 *   Vd d; vd_open_mmio(&d, &rig, 7);
 *   CHECK(vd_start(&d, features));          features the device has, beside VERSION_1
 *   VdQueue *q = vd_queue(&d, 0, 8);  vd_go(&d);
 *   int id = vd_add(q, (VdBuf[]){ { addr, len }, .. }, n_out, n_in);  vd_kick(q);
 *   CHECK(vd_wait(&d, q, &len) == id);
 */
#ifndef TESTS_DEV_VIRTIO_DRIVER_H
#define TESTS_DEV_VIRTIO_DRIVER_H

#include <endian.h>

#include "hw/virtio/virtio.h"
#include "tests/dev/rig.h"

#define VD_RAM UINT64_C(0x80000000)
#define VD_BIT(n) (UINT64_C(1) << (n))
#define VD_UNUSED __attribute__((unused))

enum { VD_QUEUES = 16, VD_SLOTS = 1024 };
enum { VD_NEXT = 1, VD_WRITE = 2, VD_INDIRECT = 4, VD_AVAIL = 1 << 7, VD_USED = 1 << 15 };

typedef struct Vd Vd;
typedef struct VdBuf { uint64_t addr; uint32_t len; } VdBuf;

typedef struct VdTransport {
    uint8_t (*status)(Vd *);
    void (*set_status)(Vd *, uint8_t);
    uint64_t (*features)(Vd *);
    void (*set_features)(Vd *, uint64_t);
    unsigned (*queue_max)(Vd *, unsigned n);
    void (*queue_on)(Vd *, unsigned n, unsigned size, const uint64_t at[3]);
    void (*queue_reset)(Vd *, unsigned n);
    void (*kick)(Vd *, unsigned n);
    uint32_t (*config)(Vd *, unsigned off, unsigned size);
    void (*set_config)(Vd *, unsigned off, uint32_t val, unsigned size);
    uint8_t (*isr)(Vd *);                       /* and acknowledges it */
} VdTransport;

typedef struct VdQueue {
    Vd *d;
    unsigned n, size;
    uint64_t desc, avail, used;                 /* packed: ring, driver's and device's event structures */
    unsigned flying;                            /* descriptors in use */
    uint16_t next, last_used;                   /* split: free-running; packed: slots */
    bool next_wrap, used_wrap;
    uint16_t free[VD_SLOTS], n_free;            /* split: descriptors; packed: ids */
    uint16_t count[VD_SLOTS], link[VD_SLOTS];   /* by head or id: how many; split: the next of a chain */
} VdQueue;

struct Vd {
    Rig *r;
    const VdTransport *t;
    uint64_t base;                              /* of its registers */
    void *more;                                 /* the transport's own */
    uint64_t heap;                              /* guest memory given away up to here */
    uint64_t features;
    bool packed, event_idx, in_order;
    VdQueue q[VD_QUEUES];
};

/* ---- guest memory */

/* Zeroed; what a driver would allocate. */
VD_UNUSED static uint64_t vd_alloc(Vd *d, uint64_t size, unsigned align)
{
    uint64_t at = (d->heap + align - 1) & ~(uint64_t)(align - 1);

    d->heap = at + size;
    return at;
}
VD_UNUSED static void *vd_ptr(Vd *d, uint64_t addr, uint64_t len)
{
    void *p = space_ram(d->r->vm->mem, addr, len, true, NULL, NULL);

    g_assert(p);
    return p;
}
VD_UNUSED static void vd_put(Vd *d, uint64_t addr, uint64_t val, unsigned size)
{
    val = htole64(val);
    g_assert(space_write(d->r->vm->mem, addr, &val, size) == MEM_OK);
}
VD_UNUSED static uint64_t vd_get(Vd *d, uint64_t addr, unsigned size)
{
    uint64_t val = 0;

    g_assert(space_read(d->r->vm->mem, addr, &val, size) == MEM_OK);
    return le64toh(val);
}
static inline void vd_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* ---- virtio-mmio */

static inline uint32_t vd_mmio_rd(Vd *d, uint64_t off) { return rd32(d->r, d->base + off); }
static inline void vd_mmio_wr(Vd *d, uint64_t off, uint32_t val) { wr32(d->r, d->base + off, val); }
VD_UNUSED static uint8_t vd_mmio_status(Vd *d) { return vd_mmio_rd(d, 0x70); }
VD_UNUSED static void vd_mmio_set_status(Vd *d, uint8_t s) { vd_mmio_wr(d, 0x70, s); }
VD_UNUSED static uint64_t vd_mmio_features(Vd *d)
{
    vd_mmio_wr(d, 0x14, 1);
    uint64_t f = (uint64_t)vd_mmio_rd(d, 0x10) << 32;
    vd_mmio_wr(d, 0x14, 0);
    return f | vd_mmio_rd(d, 0x10);
}
VD_UNUSED static void vd_mmio_set_features(Vd *d, uint64_t f)
{
    vd_mmio_wr(d, 0x24, 1);
    vd_mmio_wr(d, 0x20, f >> 32);
    vd_mmio_wr(d, 0x24, 0);
    vd_mmio_wr(d, 0x20, f);
}
VD_UNUSED static unsigned vd_mmio_queue_max(Vd *d, unsigned n)
{
    vd_mmio_wr(d, 0x30, n);
    return vd_mmio_rd(d, 0x34);
}
VD_UNUSED static void vd_mmio_queue_on(Vd *d, unsigned n, unsigned size, const uint64_t at[3])
{
    vd_mmio_wr(d, 0x30, n);
    vd_mmio_wr(d, 0x38, size);
    for (int i = 0; i < 3; i++) {
        vd_mmio_wr(d, 0x80 + 0x10 * i, at[i]);
        vd_mmio_wr(d, 0x84 + 0x10 * i, at[i] >> 32);
    }
    vd_mmio_wr(d, 0x44, 1);
}
VD_UNUSED static void vd_mmio_queue_reset(Vd *d, unsigned n)
{
    vd_mmio_wr(d, 0x30, n);
    vd_mmio_wr(d, 0xc0, 1);
}
VD_UNUSED static void vd_mmio_kick(Vd *d, unsigned n) { vd_mmio_wr(d, 0x50, n); }
VD_UNUSED static uint32_t vd_mmio_config(Vd *d, unsigned off, unsigned size) { return rd(d->r, d->base + 0x100 + off, size); }
VD_UNUSED static void vd_mmio_set_config(Vd *d, unsigned off, uint32_t val, unsigned size)
{
    wr(d->r, d->base + 0x100 + off, val, size);
}
VD_UNUSED static uint8_t vd_mmio_isr(Vd *d)
{
    uint8_t isr = vd_mmio_rd(d, 0x60);

    vd_mmio_wr(d, 0x64, isr);
    return isr;
}
VD_UNUSED static const VdTransport vd_mmio = {
    vd_mmio_status, vd_mmio_set_status, vd_mmio_features, vd_mmio_set_features, vd_mmio_queue_max, vd_mmio_queue_on,
    vd_mmio_queue_reset, vd_mmio_kick, vd_mmio_config, vd_mmio_set_config, vd_mmio_isr,
};
/* The transport in that slot of riscv64 virt: the first -device is in 7. */
VD_UNUSED static void vd_open_mmio(Vd *d, Rig *r, unsigned slot)
{
    memset(d, 0, sizeof(*d));
    *d = (Vd){ .r = r, .t = &vd_mmio, .base = 0x10001000 + 0x1000 * slot, .heap = VD_RAM + 0x100000 + 0x400000 * slot };
}

/* ---- starting */

/* Reset, features, FEATURES_OK. Those asked for that the device has not are left away. False: it refused. */
VD_UNUSED static bool vd_start(Vd *d, uint64_t features)
{
    d->t->set_status(d, 0);
    d->t->set_status(d, 1);
    d->t->set_status(d, 3);
    d->features = d->t->features(d) & (features | VD_BIT(VIRTIO_F_VERSION_1));
    d->packed = d->features & VD_BIT(VIRTIO_F_RING_PACKED);
    d->event_idx = d->features & VD_BIT(VIRTIO_F_EVENT_IDX);
    d->in_order = d->features & VD_BIT(VIRTIO_F_IN_ORDER);
    d->t->set_features(d, d->features);
    d->t->set_status(d, 11);
    return d->t->status(d) == 11;
}

/* Indices and memory of a queue that is off. */
VD_UNUSED static void vd_queue_clear(VdQueue *q)
{
    Vd *d = q->d;

    memset(vd_ptr(d, q->desc, 16 * q->size), 0, 16 * q->size);
    memset(vd_ptr(d, q->avail, 6 + 2 * q->size), 0, 6 + 2 * q->size);
    memset(vd_ptr(d, q->used, 6 + 8 * q->size), 0, 6 + 8 * q->size);
    q->next = q->last_used = 0;
    q->next_wrap = q->used_wrap = true;
    q->flying = 0;
    q->n_free = q->size;
    for (unsigned i = 0; i < q->size; i++)
        q->free[i] = q->size - 1 - i;
}
VD_UNUSED static void vd_queue_on(VdQueue *q)
{
    q->d->t->queue_on(q->d, q->n, q->size, (uint64_t[]){ q->desc, q->avail, q->used });
}
VD_UNUSED static VdQueue *vd_queue(Vd *d, unsigned n, unsigned size)
{
    VdQueue *q = &d->q[n];

    *q = (VdQueue){ .d = d, .n = n, .size = size };
    q->desc = vd_alloc(d, 16 * size, 16);
    q->avail = vd_alloc(d, 6 + 2 * size, 4);
    q->used = vd_alloc(d, 6 + 8 * size, 4);
    vd_queue_clear(q);
    vd_queue_on(q);
    return q;
}
VD_UNUSED static void vd_go(Vd *d) { d->t->set_status(d, 15); }

/* ---- buffers */

VD_UNUSED static void vd_write_desc(Vd *d, uint64_t at, VdBuf b, uint16_t third, uint16_t fourth)
{
    vd_put(d, at, b.addr, 8);
    vd_put(d, at + 8, b.len, 4);
    vd_put(d, at + 12, third, 2);
    vd_put(d, at + 14, fourth, 2);
}

VD_UNUSED static int vd_add_split(VdQueue *q, const VdBuf *b, unsigned n_out, unsigned n, uint16_t indirect)
{
    Vd *d = q->d;
    uint16_t head = q->free[q->n_free - 1], at = head;

    for (unsigned i = 0; i < n; i++) {
        uint16_t flags = indirect | (i >= n_out ? VD_WRITE : 0), next = 0;

        at = q->free[--q->n_free];
        if (i + 1 < n) {
            next = q->free[q->n_free - 1];
            flags |= VD_NEXT;
        }
        q->link[at] = next;
        vd_write_desc(d, q->desc + 16 * at, b[i], flags, next);
    }
    q->count[head] = n;
    vd_put(d, q->avail + 4 + 2 * (q->next & (q->size - 1)), head, 2);
    vd_fence();
    vd_put(d, q->avail + 2, ++q->next, 2);
    return head;
}

VD_UNUSED static int vd_add_packed(VdQueue *q, const VdBuf *b, unsigned n_out, unsigned n, uint16_t indirect)
{
    Vd *d = q->d;
    uint16_t id = q->free[--q->n_free], first = q->next, first_flags = 0;

    for (unsigned i = 0; i < n; i++) {
        uint16_t flags = indirect | (i >= n_out ? VD_WRITE : 0) | (i + 1 < n ? VD_NEXT : 0) | (q->next_wrap ? VD_AVAIL : VD_USED);

        if (!i)
            first_flags = flags;
        vd_put(d, q->desc + 16 * q->next, b[i].addr, 8);
        vd_put(d, q->desc + 16 * q->next + 8, b[i].len, 4);
        vd_put(d, q->desc + 16 * q->next + 12, id, 2);
        if (i)
            vd_put(d, q->desc + 16 * q->next + 14, flags, 2);
        if (++q->next == q->size) {
            q->next = 0;
            q->next_wrap = !q->next_wrap;
        }
    }
    q->count[id] = n;
    vd_fence();
    vd_put(d, q->desc + 16 * first + 14, first_flags, 2);
    return id;
}

/* Makes it available; what it is called when it comes back. -1: there is no room. */
VD_UNUSED static int vd_add(VdQueue *q, const VdBuf *b, unsigned n_out, unsigned n_in)
{
    if (q->flying + n_out + n_in > q->size || !q->n_free)
        return -1;
    q->flying += n_out + n_in;
    return q->d->packed ? vd_add_packed(q, b, n_out, n_out + n_in, 0) : vd_add_split(q, b, n_out, n_out + n_in, 0);
}

/* The same by a table of its own at `table`, 16 bytes for each piece. */
VD_UNUSED static int vd_add_indirect(VdQueue *q, uint64_t table, const VdBuf *b, unsigned n_out, unsigned n_in)
{
    const VdBuf t = { table, 16 * (n_out + n_in) };

    if (q->flying + 1 > q->size || !q->n_free)
        return -1;
    for (unsigned i = 0; i < n_out + n_in; i++) {
        uint16_t flags = i >= n_out ? VD_WRITE : 0, next = i + 1 < n_out + n_in ? VD_NEXT : 0;

        if (q->d->packed)
            vd_write_desc(q->d, table + 16 * i, b[i], 0, flags);
        else
            vd_write_desc(q->d, table + 16 * i, b[i], flags | next, i + 1);
    }
    q->flying++;
    return q->d->packed ? vd_add_packed(q, &t, 1, 1, VD_INDIRECT) : vd_add_split(q, &t, 1, 1, VD_INDIRECT);
}

VD_UNUSED static void vd_kick(VdQueue *q) { vd_fence(); q->d->t->kick(q->d, q->n); }

/* The next used buffer, or -1. */
VD_UNUSED static int vd_used(VdQueue *q, uint32_t *len)
{
    Vd *d = q->d;
    unsigned id;

    if (d->packed) {
        uint64_t at = q->desc + 16 * q->last_used;
        uint16_t flags = vd_get(d, at + 14, 2);

        if (!!(flags & VD_AVAIL) != q->used_wrap || !!(flags & VD_USED) != q->used_wrap)
            return -1;
        vd_fence();
        *len = vd_get(d, at + 8, 4);
        id = vd_get(d, at + 12, 2);
        q->last_used += q->count[id];
        if (q->last_used >= q->size) {
            q->last_used -= q->size;
            q->used_wrap = !q->used_wrap;
        }
        q->free[q->n_free++] = id;
    } else {
        if (vd_get(d, q->used + 2, 2) == q->last_used)
            return -1;
        vd_fence();
        uint64_t at = q->used + 4 + 8 * (q->last_used++ & (q->size - 1));
        id = vd_get(d, at, 4);
        *len = vd_get(d, at + 4, 4);
        for (unsigned i = 0, at_desc = id; i < q->count[id]; i++, at_desc = q->link[at_desc])
            q->free[q->n_free++] = at_desc;
    }
    q->flying -= q->count[id];
    return id;
}

/* From which used buffer on the device interrupts: the next, when event indices are used. */
VD_UNUSED static void vd_want_irq(VdQueue *q, bool on)
{
    Vd *d = q->d;

    if (d->packed) {
        if (on && d->event_idx)
            vd_put(d, q->avail, q->last_used | (q->used_wrap ? 1 << 15 : 0), 2);
        vd_put(d, q->avail + 2, !on ? 1 : d->event_idx ? 2 : 0, 2);
    } else if (d->event_idx) {
        vd_put(d, q->avail + 4 + 2 * q->size, on ? q->last_used : q->last_used + 0x8000, 2);
    } else {
        vd_put(d, q->avail, on ? 0 : 1, 2);
    }
    vd_fence();
}

/* Lets the main loop run until something was used; -1: nothing in two seconds. */
VD_UNUSED static int vd_wait(Vd *d, VdQueue *q, uint32_t *len)
{
    int64_t end = g_get_monotonic_time() + 2000000;
    int id;

    while ((id = vd_used(q, len)) < 0 && g_get_monotonic_time() < end)
        rig_turn(d->r, 0);
    return id;
}

/* One buffer, there and back: how many bytes were written, or -1. */
VD_UNUSED static int64_t vd_call(VdQueue *q, const VdBuf *b, unsigned n_out, unsigned n_in)
{
    uint32_t len = 0;
    int id = vd_add(q, b, n_out, n_in);

    vd_kick(q);
    return id >= 0 && vd_wait(q->d, q, &len) == id ? (int64_t)len : -1;
}

/* A board with these -device arguments, NULL-terminated. */
VD_UNUSED static void vd_board(Rig *r, const char *const *devices)
{
    rig_init(r);
    r->config.devices = g_ptr_array_new();
    for (; *devices; devices++)
        g_ptr_array_add(r->config.devices, (void *)*devices);
    rig_board(r);
}
VD_UNUSED static void vd_board_free(Rig *r)
{
    GPtrArray *devices = r->config.devices;

    rig_free(r);
    g_ptr_array_free(devices, true);
}

#endif
