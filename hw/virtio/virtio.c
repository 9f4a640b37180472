/* SPDX-License-Identifier: MIT */
/*
 * A virtio device between its driver and its transport: status, features,
 * configuration (virtio 1.2, section 2), and the bus that joins device and
 * transport. Under the machine lock, but for what virtio.h says of any thread.
 */
#include "hw/virtio/virtio.h"

#include <string.h>

#include "hw/virtio/queue-priv.h"
#include "hw/virtio/saved.h"
#include "util/log.h"

#define BIT(n) (UINT64_C(1) << (n))

/* Bits that only the legacy interface knows. */
static const uint64_t legacy_bits = BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(VIRTIO_F_ANY_LAYOUT);

const Field virtio_fields[] = {
    PROP(VirtioDevice, indirect_desc, .as = "indirect_desc", .def = "on", .doc = "buffers may be tables of descriptors"),
    PROP(VirtioDevice, event_idx, .as = "event_idx", .def = "on", .doc = "either side says when it wants to hear"),
    PROP(VirtioDevice, notify_on_empty, .as = "notify_on_empty", .def = "on", .doc = "legacy: an interrupt when all is used"),
    PROP(VirtioDevice, any_layout, .as = "any_layout", .def = "on", .doc = "legacy: headers may share a descriptor with data"),
    PROP(VirtioDevice, packed, .def = "off", .doc = "packed rings are offered"),
    PROP(VirtioDevice, in_order, .as = "in_order", .def = "off", .doc = "buffers are used in the order they came"),
    PROP(VirtioDevice, queue_reset, .as = "queue_reset", .def = "on", .doc = "a queue may be reset alone"),
    PROP(VirtioDevice, iommu_platform, .as = "iommu_platform", .def = "off", .doc = "addresses go through an IOMMU"),
    {0}
};

/* ---- life */

static void run_state(void *opaque, bool runs)
{
    virtio_hold(opaque, VIRTIO_HOLD_STOPPED, !runs);
}

void virtio_init(VirtioDevice *v, const VirtioOps *ops, unsigned config_size)
{
    v->ops = ops;
    v->config = g_malloc0(config_size + 1);
    v->config_size = config_size;
    v->queues = g_new0(VirtQueue *, VIRTIO_QUEUES);
    vm_on_state(v->dev.vm, run_state, v);
}

void virtio_clear(VirtioDevice *v)
{
    if (!v->ops)
        return;
    vm_off_state(v->dev.vm, v);
    virtio_set_status(v, 0);
    queues_settle(v, NULL);
    for (unsigned i = 0; i < v->n_queues; i++)
        queue_free(v->queues[i]);
    g_free(v->queues);
    g_free(v->config);
    v->queues = NULL;
    v->config = NULL;
    v->n_queues = v->config_size = 0;
    v->ops = NULL;
}

VirtQueue *virtio_add_queue(VirtioDevice *v, unsigned size, IoThread *io)
{
    g_assert(v->n_queues < VIRTIO_QUEUES && size && size <= VIRTQ_MAX);
    return v->queues[v->n_queues] = queue_new(v, v->n_queues, size, io), v->queues[v->n_queues++];
}

VirtQueue *virtio_queue(VirtioDevice *v, unsigned n)
{
    return n < v->n_queues ? v->queues[n] : NULL;
}

bool virtio_has(const VirtioDevice *v, unsigned feature)
{
    return v->features >> feature & 1;
}

/* ---- what went wrong */

static void needs_reset(VirtioDevice *v)
{
    uint8_t was = atomic_fetch_or(&v->status, VIRTIO_NEEDS_RESET);

    if (was & VIRTIO_DRIVER_OK && !(was & VIRTIO_NEEDS_RESET) && virtio_has(v, VIRTIO_F_VERSION_1))
        virtio_config_changed(v);
}

static void say_broken(const VirtioDevice *v, const VirtQueue *q, const char *fmt, va_list ap)
{
    if (!log_on(LOG_GUEST_ERRORS))
        return;
    g_autofree char *what = g_strdup_vprintf(fmt, ap);
    if (q)
        guest_error("%s: queue %u stops: %s", v->ops->name, q->index, what);
    else
        guest_error("%s stops: %s", v->ops->name, what);
}

void virtq_broken(VirtQueue *q, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!atomic_exchange(&q->broken, true))
        say_broken(q->v, q, fmt, ap);
    va_end(ap);
    needs_reset(q->v);
}

void virtio_broken(VirtioDevice *v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    if (!(atomic_fetch_or(&v->holds, VIRTIO_HOLD_BROKEN) & VIRTIO_HOLD_BROKEN))
        say_broken(v, NULL, fmt, ap);
    va_end(ap);
    needs_reset(v);
}

/* ---- holding */

static void kick_all(VirtioDevice *v)
{
    for (unsigned i = 0; i < v->n_queues; i++) {
        if (v->queues[i]->live)
            virtio_kick(v->queues[i]);
    }
}

void virtio_hold(VirtioDevice *v, VirtioHold why, bool on)
{
    if (on) {
        if (!(atomic_fetch_or(&v->holds, why) & why))
            queues_settle(v, NULL);
    } else if (atomic_fetch_and(&v->holds, ~why) & why) {
        kick_all(v);
    }
}

/* ---- features and status */

uint64_t virtio_offered(const VirtioDevice *v)
{
    return v->legacy ? v->offered & UINT32_MAX : v->offered & ~legacy_bits;
}

static void offer(VirtioDevice *v)
{
    const struct { bool yes; unsigned bit; } rows[] = {
        { v->indirect_desc, VIRTIO_F_INDIRECT_DESC }, { v->event_idx, VIRTIO_F_EVENT_IDX },
        { v->notify_on_empty, VIRTIO_F_NOTIFY_ON_EMPTY }, { v->any_layout, VIRTIO_F_ANY_LAYOUT },
        { v->packed, VIRTIO_F_RING_PACKED }, { v->in_order, VIRTIO_F_IN_ORDER },
        { v->queue_reset, VIRTIO_F_RING_RESET }, { true, VIRTIO_F_VERSION_1 },
    };

    v->offered = v->ops->features ? v->ops->features(v) : 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].yes)
            v->offered |= BIT(rows[i].bit);
    }
}

void virtio_set_features(VirtioDevice *v, uint64_t features)
{
    v->wanted = features;
    if (!v->legacy)
        return;
    v->features = features & virtio_offered(v);
    if (v->ops->accepted)
        v->ops->accepted(v);
}

/* The driver says FEATURES_OK: is it? */
static bool take_features(VirtioDevice *v)
{
    if (v->wanted & ~virtio_offered(v) || !(v->wanted & BIT(VIRTIO_F_VERSION_1))) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("%s: features %#" PRIx64 " of %#" PRIx64 " cannot be had", v->ops->name, v->wanted, virtio_offered(v));
        return false;
    }
    v->features = v->wanted;
    if (v->ops->accepted)
        v->ops->accepted(v);
    return true;
}

/* All but NEEDS_RESET, which another thread may be setting. */
static void store_status(VirtioDevice *v, uint8_t status)
{
    uint8_t was = v->status;

    while (!atomic_compare_exchange_weak(&v->status, &was, (status & ~VIRTIO_NEEDS_RESET) | (was & VIRTIO_NEEDS_RESET)))
        ;
}

static void reset(VirtioDevice *v)
{
    bool live = false, on = v->status & VIRTIO_DRIVER_OK;

    for (unsigned i = 0; i < v->n_queues; i++)
        live |= atomic_exchange(&v->queues[i]->live, false);
    if (live || on)
        queues_settle(v, NULL);
    if (on && v->ops->started)
        v->ops->started(v, false);
    for (unsigned i = 0; i < v->n_queues; i++)
        queue_clear(v->queues[i]);
    v->status = 0;
    v->isr = 0;
    v->features = v->wanted = 0;
    atomic_fetch_and(&v->holds, ~VIRTIO_HOLD_BROKEN);
    if (v->ops->reset)
        v->ops->reset(v);
    offer(v);
}

static void start(VirtioDevice *v, uint8_t status)
{
    if (v->ops->started)
        v->ops->started(v, true);
    store_status(v, status);
    kick_all(v);
}

static void stop(VirtioDevice *v, uint8_t status)
{
    store_status(v, status);
    queues_settle(v, NULL);
    if (v->ops->started)
        v->ops->started(v, false);
}

void virtio_set_status(VirtioDevice *v, uint8_t status)
{
    uint8_t was = v->status;

    if (!status) {
        reset(v);
        return;
    }
    if (!v->legacy) {
        if (status & ~was & VIRTIO_FEATURES_OK && !take_features(v))
            status &= ~VIRTIO_FEATURES_OK;
        if (!(status & VIRTIO_FEATURES_OK) && status & VIRTIO_DRIVER_OK) {
            if (log_on(LOG_GUEST_ERRORS))
                guest_error("%s: DRIVER_OK before FEATURES_OK", v->ops->name);
            status &= ~VIRTIO_DRIVER_OK;
        }
    }
    if (status & ~was & VIRTIO_DRIVER_OK)
        start(v, status);
    else if (was & ~status & VIRTIO_DRIVER_OK)
        stop(v, status);
    else
        store_status(v, status);
}

/* ---- configuration */

/* What is read in several pieces is one, or the generation differs. */
static void bring_up_to_date(VirtioDevice *v)
{
    if (!v->ops->read_config)
        return;
    g_autofree uint8_t *was = g_memdup2(v->config, v->config_size);
    v->ops->read_config(v);
    if (v->config_size && memcmp(was, v->config, v->config_size))
        atomic_fetch_add(&v->generation, 1);
}

uint32_t virtio_config_read(VirtioDevice *v, unsigned off, unsigned size)
{
    uint32_t val = 0;

    bring_up_to_date(v);
    for (unsigned i = 0; i < size && off + i < v->config_size; i++)
        val |= (uint32_t)v->config[off + i] << 8 * i;
    return val;
}

void virtio_config_write(VirtioDevice *v, unsigned off, uint32_t val, unsigned size)
{
    if (!v->ops->write_config || off > v->config_size || size > v->config_size - off) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("%s: a write to configuration byte %u, which cannot be written", v->ops->name, off);
        return;
    }
    bring_up_to_date(v);
    for (unsigned i = 0; i < size; i++)
        v->config[off + i] = val >> 8 * i;
    v->ops->write_config(v, off, size);
}

void virtio_config_changed(VirtioDevice *v)
{
    atomic_fetch_add(&v->generation, 1);
    if (v->transport && v->status & VIRTIO_DRIVER_OK)
        v->transport->notify_config(v->transport_opaque);
}

/* ---- the bus: one place */

static Err *bus_plug(Bus *b, Device *d)
{
    VirtioBus *vb = (VirtioBus *)b;
    VirtioDevice *v = (VirtioDevice *)d;

    if (vb->device)
        return err(ERR_BUSY, "bus '%s' has a device already, a '%s'", b->name, vb->device->dev.cls->name);
    if (v->iommu_platform)
        return err_hint(err(ERR_UNSUPPORTED, "iommu_platform=on: there is no IOMMU"), "Leave it away.");
    v->transport = vb->transport;
    v->transport_opaque = vb->opaque;
    vb->device = v;
    return NULL;
}

static void bus_plugged(Bus *b, Device *d)
{
    VirtioDevice *v = (VirtioDevice *)d;

    offer(v);
    if (d->vm->state != RUN_RUNNING && d->vm->state != RUN_PRELAUNCH)
        atomic_fetch_or(&v->holds, VIRTIO_HOLD_STOPPED);
}

static void bus_unplug(Bus *b, Device *d)
{
    VirtioBus *vb = (VirtioBus *)b;
    VirtioDevice *v = (VirtioDevice *)d;

    if (v->ops)
        virtio_set_status(v, 0);
    if (vb->device == v)
        vb->device = NULL;
    v->transport = NULL;
}

static bool bus_full(const Bus *b)
{
    return ((const VirtioBus *)b)->device;
}

const BusClass virtio_bus_class = {
    .name = "virtio-bus", .plug = bus_plug, .plugged = bus_plugged, .unplug = bus_unplug, .full = bus_full,
    .save = virtio_save, .load = virtio_load, .loaded = virtio_loaded,
};
