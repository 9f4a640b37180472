/* SPDX-License-Identifier: MIT */
/*
 * Saved form of a virtio device: what the driver has negotiated, and each queue's
 * place in its ring. The machine stands, so nothing is in flight but what a device
 * holds on purpose (a request that failed where errors stop the machine); such
 * buffers are saved as places in memory, since the driver may not show them again.
 *
 * What is loaded is checked like what a driver says: a ring that makes no sense is
 * broken, not believed.
 */
#include <string.h>

#include "hw/virtio/queue-priv.h"
#include "hw/virtio/saved.h"
#include "system/stream.h"

static const Field queue_fields[] = {
    STATE(VirtQueue, size), STATE(VirtQueue, at.desc), STATE(VirtQueue, at.avail), STATE(VirtQueue, at.used),
    STATE(VirtQueue, legacy_pfn), STATE(VirtQueue, live), STATE(VirtQueue, broken),
    STATE(VirtQueue, next), STATE(VirtQueue, seen), STATE(VirtQueue, used_next), STATE(VirtQueue, used_shown),
    STATE(VirtQueue, next_wrap), STATE(VirtQueue, used_wrap), STATE(VirtQueue, told), STATE(VirtQueue, told_valid),
    STATE(VirtQueue, silent), STATE(VirtQueue, held_slot), STATE(VirtQueue, held_flags), STATE(VirtQueue, held),
    STATE(VirtQueue, flying), STATE(VirtQueue, elems), STATE(VirtQueue, turn), STATE(VirtQueue, turn_done),
    {0}
};

static const Field device_fields[] = {
    STATE(VirtioDevice, wanted), STATE(VirtioDevice, features), STATE(VirtioDevice, status), STATE(VirtioDevice, generation),
    STATE(VirtioDevice, legacy), STATE(VirtioDevice, isr),
    {0}
};

/* In-order: a completion that waits for an earlier one, as five numbers. */
enum { ORDER_NUMBERS = 5 };

bool virtq_waits(const VirtQueue *q)
{
    return q->live && q->v->status & VIRTIO_DRIVER_OK && !(q->v->holds & VIRTIO_HOLD_BROKEN);
}

/* ---- saving */

static bool is_used(const VirtQueue *q)
{
    return q->live || q->broken || q->at.desc || q->at.avail || q->at.used || q->size != q->max;
}

static void save_order(const VirtQueue *q, const char *prefix, StateOut *out)
{
    g_autofree char *name = g_strconcat(prefix, "order", NULL);
    unsigned n = (uint16_t)(q->turn - q->turn_done);
    g_autofree uint64_t *v = g_new0(uint64_t, ORDER_NUMBERS * q->size);

    for (unsigned i = 0; i < n && i < q->size; i++) {
        const Used *u = &q->order[(uint16_t)(q->turn_done + i) % q->size];
        const uint64_t numbers[ORDER_NUMBERS] = { u->id, u->count, u->done, u->wrote, u->len };

        memcpy(v + ORDER_NUMBERS * i, numbers, sizeof(numbers));
    }
    state_put(out, name, 8, v, ORDER_NUMBERS * MIN(n, q->size));
}

void virtio_save(Bus *bus, Device *d, StateOut *out)
{
    const VirtioDevice *v = (VirtioDevice *)d;

    state_put_fields(out, "virtio.", device_fields, v);
    state_put_u64(out, "virtio.broken", !!(v->holds & VIRTIO_HOLD_BROKEN));
    state_put(out, "virtio.config", 1, v->config, v->config_size);
    for (unsigned i = 0; i < v->n_queues; i++) {
        const VirtQueue *q = v->queues[i];
        g_autofree char *prefix = g_strdup_printf("queue%u.", i);

        if (!is_used(q))
            continue;
        state_put_fields(out, prefix, queue_fields, q);
        if (q->live && q->in_order)
            save_order(q, prefix, out);
    }
}

/* ---- loading */

static Err *load_order(VirtQueue *q, const char *prefix, StateIn *in)
{
    g_autofree char *name = g_strconcat(prefix, "order", NULL);
    const void *data;
    size_t n;

    q->order = g_new0(Used, q->size);
    TRY(state_get_any(in, name, 8, ORDER_NUMBERS * (size_t)q->size, &data, &n));
    for (size_t i = 0; i < n / ORDER_NUMBERS; i++) {
        uint64_t v[ORDER_NUMBERS];

        memcpy(v, (const uint8_t *)data + sizeof(v) * i, sizeof(v));
        q->order[(uint16_t)(q->turn_done + i) % q->size] = (Used){ .id = v[0], .count = v[1], .done = v[2], .wrote = v[3], .len = v[4] };
    }
    return NULL;
}

static Err *check_queue(const VirtQueue *q, bool packed)
{
    bool good = q->size && q->size <= q->max && q->flying <= q->size && q->elems <= q->flying;

    if (packed)
        good = good && q->next < q->size && q->used_next < q->size && q->held_slot < q->size;
    else
        good = good && !(q->size & (q->size - 1)) && (uint16_t)(q->seen - q->next) <= q->size;
    return good ? NULL : err(ERR_INVALID, "its queue %u was saved in a state that makes no sense", q->index);
}

/* As virtq_enable, but for where the ring stands. */
static void enable(VirtQueue *q, bool packed)
{
    const VirtioDevice *v = q->v;

    q->ring = packed ? &packed_ring : &split_ring;
    q->event_idx = virtio_has(v, VIRTIO_F_EVENT_IDX);
    q->indirect = virtio_has(v, VIRTIO_F_INDIRECT_DESC);
    q->armed = false;
    q->epoch++;
    if (!ring_map(q, space_flat(v->dev.vm->mem)))
        q->live = false;
}

static Err *load_queue(VirtQueue *q, StateIn *in)
{
    g_autofree char *prefix = g_strdup_printf("queue%u.", q->index), *first = g_strconcat(prefix, "size", NULL);
    bool packed = virtio_has(q->v, VIRTIO_F_RING_PACKED);

    if (!state_has(in, first))
        return NULL;
    TRY(state_get_fields(in, prefix, queue_fields, q));
    bool live = q->live;
    q->live = false;
    TRY(check_queue(q, packed));
    q->in_order = virtio_has(q->v, VIRTIO_F_IN_ORDER);
    g_clear_pointer(&q->order, g_free);
    if (live && q->in_order)
        TRY(load_order(q, prefix, in));
    q->live = live;
    return NULL;
}

Err *virtio_load(Bus *bus, Device *d, StateIn *in)
{
    VirtioDevice *v = (VirtioDevice *)d;
    uint64_t broken;

    atomic_fetch_or(&v->holds, VIRTIO_HOLD_STOPPED);
    TRY(state_get_fields(in, "virtio.", device_fields, v));
    TRY(state_get_u64(in, "virtio.broken", 1, &broken));
    TRY(state_get(in, "virtio.config", 1, v->config, v->config_size));
    if (broken)
        atomic_fetch_or(&v->holds, VIRTIO_HOLD_BROKEN);
    if (v->features & ~v->offered)
        return err_hint(err(ERR_INVALID, "its driver uses features %#" PRIx64 " that it has not here", v->features & ~v->offered),
                        "The device has to be made with the same properties.");
    if (v->features && v->ops->accepted)
        v->ops->accepted(v);
    for (unsigned i = 0; i < v->n_queues; i++)
        TRY(load_queue(v->queues[i], in));
    return NULL;
}

/* Memory is mapped as it was: rings are looked up, and looked at when the machine goes on. */
Err *virtio_loaded(Bus *bus, Device *d)
{
    VirtioDevice *v = (VirtioDevice *)d;

    for (unsigned i = 0; i < v->n_queues; i++) {
        if (v->queues[i]->live)
            enable(v->queues[i], virtio_has(v, VIRTIO_F_RING_PACKED));
    }
    return NULL;
}

/* ---- a buffer that is held */

enum { ELEM_HEAD, ELEM_COUNT, ELEM_TURN, ELEM_OUT, ELEM_IN, ELEM_NUMBERS, PIECE_NUMBERS = 3, PIECES_MAX = 4 * VIRTQ_MAX };

/* Which memory, and where in it. */
static void place_of(const VirtQueue *q, const struct iovec *v, uint64_t *out)
{
    const uint8_t *p = v->iov_base;
    uint64_t n = 0;

    out[0] = UINT64_MAX;
    for (const RamBlock *b = q->v->dev.vm->rams; b; b = b->next, n++) {
        if (p >= b->host && p < b->host + b->size) {
            out[0] = n;
            out[1] = p - b->host;
            out[2] = v->iov_len;
            return;
        }
    }
}

void virtq_put_elem(VirtQueue *q, StateOut *out, const char *name, const void *elem)
{
    const VirtElem *e = elem;
    const Box *b = ring_box_of((void *)elem);
    unsigned n = e->n_out + e->n_in;
    g_autofree uint64_t *v = g_new0(uint64_t, ELEM_NUMBERS + PIECE_NUMBERS * (size_t)n);

    v[ELEM_HEAD] = e->head;
    v[ELEM_COUNT] = e->count;
    v[ELEM_TURN] = b->turn;
    v[ELEM_OUT] = e->n_out;
    v[ELEM_IN] = e->n_in;
    for (unsigned i = 0; i < n; i++)
        place_of(q, i < e->n_out ? &e->out[i] : &e->in[i - e->n_out], v + ELEM_NUMBERS + PIECE_NUMBERS * i);
    state_put(out, name, 8, v, ELEM_NUMBERS + PIECE_NUMBERS * n);
}

static bool find_piece(const VirtQueue *q, const uint64_t *v, struct iovec *out)
{
    uint64_t n = v[0];

    for (const RamBlock *b = q->v->dev.vm->rams; b; b = b->next) {
        if (n--)
            continue;
        if (b->readonly || !v[2] || v[1] >= b->size || v[2] > b->size - v[1])
            return false;
        *out = (struct iovec){ b->host + v[1], v[2] };
        return true;
    }
    return false;
}

static bool read_pieces(const VirtQueue *q, Box *b, const uint64_t *v)
{
    VirtElem *e = &b->elem;

    for (unsigned i = 0; i < e->n_out + e->n_in; i++) {
        size_t *len = i < e->n_out ? &e->out_len : &e->in_len;

        if (!find_piece(q, v + PIECE_NUMBERS * i, &b->iov[i]))
            return false;
        *len += b->iov[i].iov_len;
        if (*len > UINT32_MAX)
            return false;
    }
    return true;
}

Err *virtq_get_elem(VirtQueue *q, StateIn *in, const char *name, size_t size, void **elem)
{
    const void *data;
    size_t n;

    *elem = NULL;
    if (!state_has(in, name))
        return NULL;
    TRY(state_get_any(in, name, 8, ELEM_NUMBERS + PIECE_NUMBERS * (size_t)PIECES_MAX, &data, &n));
    g_autofree uint64_t *v = g_memdup2(data, n * 8);
    uint64_t pieces = n < ELEM_NUMBERS || v[ELEM_OUT] > PIECES_MAX || v[ELEM_IN] > PIECES_MAX ? UINT64_MAX : v[ELEM_OUT] + v[ELEM_IN];
    if (pieces > PIECES_MAX || n != ELEM_NUMBERS + PIECE_NUMBERS * pieces || !q->live || v[ELEM_COUNT] > q->flying)
        return err(ERR_INVALID, "a buffer that it held was saved in a form that makes no sense");
    Box *b = ring_box(q, size, pieces);
    b->turn = v[ELEM_TURN];
    b->epoch = q->epoch + 1;            /* virtio_loaded enables the queue */
    b->elem = (VirtElem){ .q = q, .head = v[ELEM_HEAD], .count = v[ELEM_COUNT], .n_out = v[ELEM_OUT], .n_in = v[ELEM_IN],
                          .out = b->iov, .in = b->iov + v[ELEM_OUT] };
    if (!read_pieces(q, b, v + ELEM_NUMBERS)) {
        ring_box_free(b);
        return err(ERR_INVALID, "a buffer that it held is not in memory");
    }
    *elem = &b->elem;
    return NULL;
}
