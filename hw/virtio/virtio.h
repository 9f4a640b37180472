/* SPDX-License-Identifier: MIT */
/*
 * virtio: Virtual I/O Device (VIRTIO) Version 1.2, and what went before it
 * ("legacy" interface, section 2.x of each chapter).
 *
 * A device is a struct that begins with a VirtioDevice; its DeviceClass has
 * .bus = "virtio-bus" and .base = virtio_fields, and is called "virtio-x-device".
 * A transport (MMIO slot, or a PCI function that makes the device as its `inner`)
 * owns the bus. Devices know no transport.
 *
 *   guest rings the bell -> virtio_kick (no machine lock) -> handle(queue), in
 *   the queue's thread -> virtq_pop .. virtq_push .. virtq_notify
 *
 * The queue's thread: a queue with an IoThread is handled in it, alone. One
 * without is handled in the main thread, under the machine lock.
 * The guest is not trusted: each descriptor is read once; a ring that is wrong
 * breaks that queue (virtio_broken: DEVICE_NEEDS_RESET), never the machine.
 */
#ifndef HW_VIRTIO_VIRTIO_H
#define HW_VIRTIO_VIRTIO_H

#include <sys/uio.h>

#include "hw/core/device.h"
#include "system/iothread.h"
#include "util/iov.h"

typedef struct VirtioDevice VirtioDevice;
typedef struct VirtQueue VirtQueue;

enum { VIRTIO_QUEUES = 256 + 2, VIRTQ_MAX = 1024 /* most descriptors */, VIRTIO_NO_VECTOR = 0xffff };

/* Feature bits that are not a device's own (section 6). */
enum {
    VIRTIO_F_NOTIFY_ON_EMPTY = 24, VIRTIO_F_ANY_LAYOUT = 27, VIRTIO_F_INDIRECT_DESC = 28, VIRTIO_F_EVENT_IDX = 29,
    VIRTIO_F_VERSION_1 = 32, VIRTIO_F_ACCESS_PLATFORM = 33, VIRTIO_F_RING_PACKED = 34, VIRTIO_F_IN_ORDER = 35,
    VIRTIO_F_ORDER_PLATFORM = 36, VIRTIO_F_NOTIFICATION_DATA = 38, VIRTIO_F_RING_RESET = 40,
};

/* One buffer of the guest: what the driver gave to read (`out`) and to write (`in`), as host memory. */
typedef struct VirtElem {
    VirtQueue *q;
    uint16_t head, count;           /* id for the used ring; descriptors it took */
    unsigned n_out, n_in;
    size_t out_len, in_len;         /* bytes together, each below 4 GiB */
    struct iovec *out, *in;         /* RAM, valid until virtq_push or virtq_drop */
    struct VirtElem *next;          /* the device's own use */
} VirtElem;
/* Cursors over them (util/iov.h): bounded copies in and out. */
static inline IoVec virt_out(const VirtElem *e) { return (IoVec){ .v = e->out, .n = e->n_out, .len = e->out_len }; }
static inline IoVec virt_in(const VirtElem *e) { return (IoVec){ .v = e->in, .n = e->n_in, .len = e->in_len }; }

/* What kind of device it is. All but `handle` are called under the machine lock with the queues at rest. */
typedef struct VirtioOps {
    uint16_t id;                                    /* section 5: 1 network, 2 block, .. */
    uint32_t pci_class;                             /* 0xBBSSPP of its PCI function */
    const char *name;                               /* "virtio-blk" */
    uint64_t (*features)(VirtioDevice *);           /* its own bits, from properties; those of the ring are added */
    void (*accepted)(VirtioDevice *);               /* FEATURES_OK: v->features is what the driver took */
    void (*read_config)(VirtioDevice *);            /* brings v->config up to date; NULL: it is */
    void (*write_config)(VirtioDevice *, unsigned off, unsigned len);   /* v->config has it already; NULL: read-only */
    void (*handle)(VirtioDevice *, VirtQueue *);    /* the driver has made buffers available */
    void (*started)(VirtioDevice *, bool on);       /* DRIVER_OK came, or went */
    void (*reset)(VirtioDevice *);                  /* nothing is in flight: `quiesce` was called before */
    void (*quiesce)(VirtioDevice *, VirtQueue *);   /* wait until every element of it (NULL: of all) is pushed or dropped */
} VirtioOps;

struct VirtioDevice {
    Device dev;
    const VirtioOps *ops;           /* set by the device's realize: virtio_init */
    /* properties of all: as QEMU names them */
    bool indirect_desc, event_idx, notify_on_empty, any_layout, packed, in_order, queue_reset, iommu_platform;
    uint8_t *config; unsigned config_size;      /* device-specific configuration, little-endian (legacy: guest's order, the same) */
    uint64_t offered, wanted;       /* by us; by the driver, so far */
    uint64_t features;              /* 0 until FEATURES_OK (legacy drivers: until they are written) */
    _Atomic uint8_t status;         /* section 2.1; changed under the machine lock, but for NEEDS_RESET */
    _Atomic uint32_t generation;    /* of config */
    bool legacy;                    /* the driver uses the legacy interface; the transport says so */
    VirtQueue **queues; unsigned n_queues;
    const struct VirtioTransport *transport; void *transport_opaque;
    _Atomic unsigned holds;         /* VirtioHold bits: queues are not handled while there is one */
    _Atomic uint8_t isr;            /* bit 0 queues, bit 1 configuration: the transport's */
};
extern const Field virtio_fields[];
extern const BusClass virtio_bus_class;         /* name "virtio-bus" */

/* ---- for a device */
void virtio_init(VirtioDevice *v, const VirtioOps *ops, unsigned config_size);
void virtio_clear(VirtioDevice *v);                                     /* for unrealize */
/* Queue n: `size` descriptors at most (power of two for split rings); io NULL: main thread. In realize. */
VirtQueue *virtio_add_queue(VirtioDevice *v, unsigned size, IoThread *io);
VirtQueue *virtio_queue(VirtioDevice *v, unsigned n);
unsigned virtq_index(const VirtQueue *q);
bool virtio_has(const VirtioDevice *v, unsigned feature);
void virtio_config_changed(VirtioDevice *v);            /* generation, interrupt. Any thread */
/* What the driver did makes no sense: guest_error, NEEDS_RESET; of the device no queue, or that queue alone, goes on. Any thread. */
void virtio_broken(VirtioDevice *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void virtq_broken(VirtQueue *q, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* In the queue's thread: */
bool virtq_ready(const VirtQueue *q);                   /* enabled, not broken, DRIVER_OK, the machine runs */
/*
 * The next buffer, in a struct of `size` bytes that begins with a VirtElem (zeroed behind it); NULL: none, or broken.
 * After NULL the driver's next buffer rings the bell, unless virtq_bell has turned it off.
 */
void *virtq_pop(VirtQueue *q, size_t size);
/*
 * `written` bytes of `in` were filled; marks the memory as touched and frees the element. The driver sees it with
 * the next virtq_notify, which therefore follows each push, or each batch of them.
 */
void virtq_push(VirtQueue *q, void *elem, uint32_t written);
void virtq_drop(VirtQueue *q, void *elem);              /* frees it unused (reset, unplug) */
void virtq_unpop(VirtQueue *q, void *elem);             /* the one popped last goes back: it is popped again later */
void virtq_notify(VirtQueue *q);                        /* publishes pushes; interrupts if the driver wants to know of them */
bool virtq_empty(VirtQueue *q);
/* Does the driver's next buffer ring the bell? Off while polling. After on: look once more (true: something is there). */
bool virtq_bell(VirtQueue *q, bool on);
/*
 * Buffers with at least `bytes` of `in` are there, looking at most at as many as that takes (virtio-net). False: the
 * next buffer rings the bell, as after a pop that gave none.
 */
bool virtq_has_room(VirtQueue *q, size_t bytes);
/* Calls handle soon in the queue's thread, as if the bell had rung. Any thread. */
void virtio_kick(VirtQueue *q);

/* ---- for a transport */
typedef struct VirtioTransport {
    void (*notify)(void *opaque, unsigned queue);       /* used buffers; any thread, no lock */
    void (*notify_config)(void *opaque);                /* any thread, no lock */
    unsigned (*selected)(void *opaque);                 /* the queue that the driver chose last; machine lock */
    bool legacy_ok;
} VirtioTransport;
typedef struct VirtioBus { Bus bus; VirtioDevice *device; const VirtioTransport *transport; void *opaque; } VirtioBus;

/* Why queues rest: the machine stands, the transport may not reach memory, the device is broken as a whole. */
typedef enum VirtioHold { VIRTIO_HOLD_STOPPED = 1, VIRTIO_HOLD_BUS = 2, VIRTIO_HOLD_BROKEN = 4 } VirtioHold;
enum { VIRTIO_ACKNOWLEDGE = 1, VIRTIO_DRIVER = 2, VIRTIO_DRIVER_OK = 4, VIRTIO_FEATURES_OK = 8, VIRTIO_NEEDS_RESET = 64, VIRTIO_FAILED = 128 };
/* Holds the queues, and waits until nothing is in flight; or lets go. Machine lock. */
void virtio_hold(VirtioDevice *v, VirtioHold why, bool on);

/*
 * All under the machine lock. The features are those the driver chose, said before its FEATURES_OK; read the status
 * back for whether they were taken. With v->legacy they hold at once. Status 0: reset.
 */
void virtio_set_status(VirtioDevice *v, uint8_t status);
void virtio_set_features(VirtioDevice *v, uint64_t features);
uint64_t virtio_offered(const VirtioDevice *v);                         /* through the interface that is used */
uint32_t virtio_config_read(VirtioDevice *v, unsigned off, unsigned size);
void virtio_config_write(VirtioDevice *v, unsigned off, uint32_t val, unsigned size);
typedef struct VirtqAddresses { uint64_t desc, avail /* driver area */, used /* device area */; } VirtqAddresses;
MUST_USE bool virtq_set_size(VirtQueue *q, unsigned size);              /* false: the guest asked for nonsense */
unsigned virtq_size(const VirtQueue *q);
unsigned virtq_max(const VirtQueue *q);
void virtq_set_addresses(VirtQueue *q, const VirtqAddresses *a);
void virtq_enable(VirtQueue *q);                                        /* checks the addresses are RAM; else broken */
bool virtq_enabled(const VirtQueue *q);
void virtq_reset(VirtQueue *q);                                         /* one queue: VIRTIO_F_RING_RESET */
void virtq_set_legacy_page(VirtQueue *q, uint32_t pfn, uint32_t page, uint32_t align);      /* pfn 0: reset */
uint64_t virtq_legacy_page(const VirtQueue *q);                         /* the pfn it was given, or 0 */
void virtq_addresses(const VirtQueue *q, VirtqAddresses *out);

/* Where a queue is, for people: asked in its own thread. Main thread, machine lock. */
typedef struct VirtqState {
    unsigned size, max, flying;     /* flying: descriptors of buffers that were taken and not given back */
    VirtqAddresses at;
    uint16_t next, seen, used, told;
    bool told_valid;
} VirtqState;
void virtq_state(VirtQueue *q, VirtqState *out);

#endif
