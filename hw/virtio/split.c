/* SPDX-License-Identifier: MIT */
/*
 * Split rings: virtio 1.2, section 2.7. A table of descriptors, the driver's ring
 * of heads, the device's ring of what it is done with.
 */
#include "hw/virtio/ring-priv.h"

enum { DESC_SIZE = 16, NO_INTERRUPT = 1, NO_NOTIFY = 1, RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4, USED_SIZE = 8 };

static void split_layout(const VirtQueue *q, uint64_t len[3], unsigned align[3])
{
    len[0] = (uint64_t)DESC_SIZE * q->size;
    len[1] = RING_ENTRIES + 2ull * q->size + (q->event_idx ? 2 : 0);
    len[2] = RING_ENTRIES + (uint64_t)USED_SIZE * q->size + (q->event_idx ? 2 : 0);
    align[0] = 16;
    align[1] = 2;
    align[2] = 4;
}

static void split_start(VirtQueue *q)
{
    q->next = q->seen = q->used_next = q->used_shown = q->told = 0;
    q->told_valid = false;
}

/* The last word of each ring, where the other side says from which entry on it wants to hear. */
static uint8_t *used_event(const VirtQueue *q) { return q->avail.host + RING_ENTRIES + 2 * q->size; }
static uint8_t *avail_event(const VirtQueue *q) { return q->used.host + RING_ENTRIES + USED_SIZE * q->size; }

static bool split_some(VirtQueue *q, unsigned ahead)
{
    if ((uint16_t)(q->seen - q->next) > ahead)
        return true;
    q->seen = ring_load16(q->avail.host + RING_IDX);
    if ((uint16_t)(q->seen - q->next) > q->size) {
        virtq_broken(q, "driver's index went from %u to %u in a ring of %u", q->next, q->seen, q->size);
        q->seen = q->next;
    }
    return (uint16_t)(q->seen - q->next) > ahead;
}

/*
 * The chain's table: the queue's own, and from an indirect descriptor on, which is the
 * last of its kind, the one it points to. `left` bounds the steps, whatever `next` says.
 */
typedef struct Table { const uint8_t *at; unsigned n, left; bool indirect; } Table;

static bool enter_indirect(VirtQueue *q, Table *t, uint64_t addr, uint32_t len, unsigned flags)
{
    if (!q->indirect || t->indirect || flags & DESC_NEXT) {
        virtq_broken(q, t->indirect ? "an indirect descriptor within an indirect table"
                        : q->indirect ? "an indirect descriptor with a next one"
                        : "an indirect descriptor, which was not negotiated");
        return false;
    }
    if (!len || len % DESC_SIZE || len / DESC_SIZE > 0xffff) {
        virtq_broken(q, "an indirect table of %u bytes", len);
        return false;
    }
    const uint8_t *at = ring_table(q, addr, len);
    if (!at)
        return false;
    *t = (Table){ at, len / DESC_SIZE, len / DESC_SIZE < VIRTQ_MAX ? len / DESC_SIZE : VIRTQ_MAX, true };
    return true;
}

static bool walk_table(VirtQueue *q, Table t, unsigned i, Chain *c)
{
    for (;;) {
        uint64_t addr, rest;

        if (i >= t.n || !t.left) {
            virtq_broken(q, t.left ? "descriptor %u in a table of %u" : "a chain without an end, at descriptor %u of %u", i, t.n);
            return false;
        }
        t.left--;
        ring_load_desc(t.at + (size_t)DESC_SIZE * i, &addr, &rest);
        uint32_t len = rest, flags = rest >> 32 & 0xffff;
        if (flags & DESC_INDIRECT) {
            if (!enter_indirect(q, &t, addr, len, flags))
                return false;
            i = 0;
            continue;
        }
        if (!chain_add(c, addr, len, flags & DESC_WRITE))
            return false;
        if (!(flags & DESC_NEXT))
            return true;
        i = rest >> 48;
    }
}

static bool split_walk(VirtQueue *q, unsigned ahead, Chain *c)
{
    unsigned slot = (uint16_t)(q->next + ahead) & (q->size - 1);

    c->id = ring_load16(q->avail.host + RING_ENTRIES + 2 * slot);
    c->count = 1;
    return walk_table(q, (Table){ q->desc.host, q->size, q->size, false }, c->id, c);
}

static void split_take(VirtQueue *q, unsigned count)
{
    q->next += count;
}

static void split_back(VirtQueue *q, unsigned count)
{
    q->next -= count;
}

static void split_put(VirtQueue *q, const Used *u)
{
    uint8_t *e = q->used.host + RING_ENTRIES + USED_SIZE * (q->used_next & (q->size - 1));

    ring_store32(e, u->id);
    ring_store32(e + 4, u->len);
    q->used_next++;
}

static bool split_publish(VirtQueue *q)
{
    uint16_t now = q->used_next, was = q->told;
    bool valid = q->told_valid;

    if (q->used_shown == now)
        return false;
    ring_store16(q->used.host + RING_IDX, now);
    q->used_shown = now;
    ring_fence();
    if (virtio_has(q->v, VIRTIO_F_NOTIFY_ON_EMPTY) && !q->elems && ring_load16(q->avail.host + RING_IDX) == q->next)
        return true;
    if (!q->event_idx)
        return !(ring_load16(q->avail.host + RING_FLAGS) & NO_INTERRUPT);
    q->told = now;
    q->told_valid = true;
    return !valid || ring_passed(ring_load16(used_event(q)), now, was);
}

/* With event indices the bell is off by being left behind. */
static void split_bell(VirtQueue *q, bool on, unsigned ahead)
{
    if (!q->event_idx)
        ring_store16(q->used.host + RING_FLAGS, on ? 0 : NO_NOTIFY);
    else if (on)
        ring_store16(avail_event(q), q->next + ahead);
    ring_fence();
}

const Ring split_ring = {
    .layout = split_layout, .start = split_start, .some = split_some, .walk = split_walk, .take = split_take,
    .back = split_back, .put = split_put, .publish = split_publish, .bell = split_bell,
};
