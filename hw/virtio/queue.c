/* SPDX-License-Identifier: MIT */
/*
 * Queues as transports see them: sizes, addresses, enabled or reset. All under
 * the machine lock; a queue is changed only while it rests.
 */
#include "hw/virtio/queue-priv.h"

#include "util/log.h"

VirtQueue *queue_new(VirtioDevice *v, unsigned index, unsigned max, IoThread *io)
{
    VirtQueue *q = g_new0(VirtQueue, 1);

    q->v = v;
    q->index = index;
    q->max = q->size = max;
    q->io = io;
    return q;
}

void queue_free(VirtQueue *q)
{
    vm_forget_calls(q->v->dev.vm, q);
    ring_free_cache(q);
    g_free(q->order);
    g_free(q);
}

void queue_clear(VirtQueue *q)
{
    q->live = false;
    q->broken = false;
    q->size = q->max;
    q->at = (VirtqAddresses){0};
    q->legacy_pfn = 0;
}

static void nothing(void *opaque)
{
}

void queues_settle(VirtioDevice *v, VirtQueue *q)
{
    IoThread *last = NULL;

    for (unsigned i = 0; i < v->n_queues; i++) {
        const VirtQueue *o = v->queues[i];

        /* A handler that runs there has ended when this call is done; a later one sees that it must not. */
        if (o->io && o->io != last && (!q || o == q))
            iothread_run(last = o->io, nothing, NULL);
    }
    if (v->ops->quiesce)
        v->ops->quiesce(v, q);
}

/* ---- what the transport asks for */

unsigned virtq_index(const VirtQueue *q) { return q->index; }
unsigned virtq_size(const VirtQueue *q) { return q->size; }
unsigned virtq_max(const VirtQueue *q) { return q->max; }
bool virtq_enabled(const VirtQueue *q) { return q->live; }
void virtq_addresses(const VirtQueue *q, VirtqAddresses *out) { *out = q->at; }
uint64_t virtq_legacy_page(const VirtQueue *q) { return q->legacy_pfn; }

bool virtq_set_size(VirtQueue *q, unsigned size)
{
    bool split = q->v->legacy || !virtio_has(q->v, VIRTIO_F_RING_PACKED);

    if (q->live || !size || size > q->max || (split && size & (size - 1))) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("%s: queue %u of %u descriptors, at most %u%s", q->v->ops->name, q->index, size, q->max,
                        q->live ? ", while it is enabled" : "");
        return false;
    }
    q->size = size;
    return true;
}

void virtq_set_addresses(VirtQueue *q, const VirtqAddresses *a)
{
    if (!q->live)
        q->at = *a;
}

void virtq_enable(VirtQueue *q)
{
    VirtioDevice *v = q->v;

    if (q->live)
        return;
    q->ring = virtio_has(v, VIRTIO_F_RING_PACKED) ? &packed_ring : &split_ring;
    q->event_idx = virtio_has(v, VIRTIO_F_EVENT_IDX);
    q->indirect = virtio_has(v, VIRTIO_F_INDIRECT_DESC);
    q->in_order = virtio_has(v, VIRTIO_F_IN_ORDER);
    q->silent = q->armed = false;
    q->flying = q->elems = 0;
    q->turn = q->turn_done = 0;
    q->epoch++;
    if (q->in_order) {
        g_free(q->order);
        q->order = g_new0(Used, q->size);
    }
    q->ring->start(q);
    if (!ring_map(q, space_flat(v->dev.vm->mem)))
        return;
    atomic_store_explicit(&q->live, true, memory_order_release);
    if (v->status & VIRTIO_DRIVER_OK)
        virtio_kick(q);
}

void virtq_reset(VirtQueue *q)
{
    bool was = atomic_exchange(&q->live, false);

    if (was)
        queues_settle(q->v, q);
    queue_clear(q);
}

/* Section 2.7.2 and 4.2.4: the three parts one behind the other, from page number pfn on. */
void virtq_set_legacy_page(VirtQueue *q, uint32_t pfn, uint32_t page, uint32_t align)
{
    unsigned size = q->size;

    if (q->live) {
        virtq_reset(q);
        q->size = size;
    }
    q->legacy_pfn = pfn;
    if (!pfn)
        return;
    if (!page || page & (page - 1) || align < 4 || align & (align - 1)) {
        virtq_broken(q, "pages of %u bytes, parts aligned to %u", page, align);
        return;
    }
    uint64_t at = (uint64_t)pfn * page, avail = at + 16ull * size;
    uint64_t used = (avail + 6 + 2ull * size + align - 1) & ~(uint64_t)(align - 1);

    virtq_set_addresses(q, &(VirtqAddresses){ at, avail, used });
    virtq_enable(q);
}

/* ---- for people */

typedef struct Look { VirtQueue *q; VirtqState *out; } Look;

static void look(void *arg)
{
    const Look *l = arg;
    const VirtQueue *q = l->q;

    *l->out = (VirtqState){ q->size, q->max, q->flying, q->at, q->next, q->seen, q->used_next, q->told, q->told_valid };
}

void virtq_state(VirtQueue *q, VirtqState *out)
{
    Look l = { q, out };

    if (q->io)
        iothread_run(q->io, look, &l);
    else
        look(&l);
}
