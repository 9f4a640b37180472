/* SPDX-License-Identifier: MIT */
/*
 * Packed rings: virtio 1.2, section 2.8. One ring of descriptors that both sides
 * write; two bits in each, beside a wrap counter, say whose turn it is.
 */
#include "hw/virtio/ring-priv.h"

enum { DESC_SIZE = 16, DESC_LEN = 8, DESC_ID = 12, DESC_FLAGS = 14 };
/* Event suppression structures: where, and how. */
enum { EVENT_OFF = 0, EVENT_FLAGS = 2, EVENT_SIZE = 4, EVENT_ENABLE = 0, EVENT_DISABLE = 1, EVENT_DESC = 2, EVENT_WRAP = 1 << 15 };

static void packed_layout(const VirtQueue *q, uint64_t len[3], unsigned align[3])
{
    len[0] = (uint64_t)DESC_SIZE * q->size;
    len[1] = len[2] = EVENT_SIZE;
    align[0] = 16;
    align[1] = align[2] = 4;
}

static void packed_start(VirtQueue *q)
{
    q->next = q->used_next = q->told = 0;
    q->next_wrap = q->used_wrap = true;
    q->told_valid = q->held = false;
}

/* The slot `ahead` of the next, and the wrap counter there. */
static unsigned slot_ahead(const VirtQueue *q, unsigned ahead, bool *wrap)
{
    unsigned slot = q->next + ahead;

    *wrap = q->next_wrap ^ (slot >= q->size);
    return slot >= q->size ? slot - q->size : slot;
}

static bool packed_some(VirtQueue *q, unsigned ahead)
{
    bool wrap;

    if (ahead >= q->size)
        return false;
    unsigned slot = slot_ahead(q, ahead, &wrap);
    uint16_t flags = ring_load16(q->desc.host + DESC_SIZE * slot + DESC_FLAGS);
    return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

/* All entries of the table make up the buffer, in their order. */
static bool walk_indirect(VirtQueue *q, uint64_t table, uint32_t bytes, Chain *c)
{
    if (!bytes || bytes % DESC_SIZE || bytes / DESC_SIZE > VIRTQ_MAX) {
        virtq_broken(q, "an indirect table of %u bytes", bytes);
        return false;
    }
    const uint8_t *at = ring_table(q, table, bytes);
    if (!at)
        return false;
    for (unsigned i = 0; i < bytes / DESC_SIZE; i++) {
        uint64_t addr, rest;

        ring_load_desc(at + (size_t)DESC_SIZE * i, &addr, &rest);
        unsigned flags = rest >> 48;
        if (flags & DESC_INDIRECT) {
            virtq_broken(q, "an indirect descriptor within an indirect table");
            return false;
        }
        if (!chain_add(c, addr, rest, flags & DESC_WRITE))
            return false;
    }
    return true;
}

static bool packed_walk(VirtQueue *q, unsigned ahead, Chain *c)
{
    for (;;) {
        uint64_t addr, rest;
        bool wrap;

        if (q->flying + ahead + c->count >= q->size) {
            virtq_broken(q, "a chain without an end, or more buffers than the ring of %u has", q->size);
            return false;
        }
        unsigned slot = slot_ahead(q, ahead + c->count, &wrap), first = !c->count;
        ring_load_desc(q->desc.host + DESC_SIZE * slot, &addr, &rest);
        unsigned flags = rest >> 48;
        c->count++;
        c->id = rest >> 32;
        if (flags & DESC_INDIRECT) {
            if (q->indirect && first && !(flags & DESC_NEXT))
                return walk_indirect(q, addr, rest, c);
            virtq_broken(q, "an indirect descriptor %s", q->indirect ? "in a chain" : "which was not negotiated");
            return false;
        }
        if (!chain_add(c, addr, rest, flags & DESC_WRITE))
            return false;
        if (!(flags & DESC_NEXT))
            return true;
    }
}

static void packed_take(VirtQueue *q, unsigned count)
{
    q->next = slot_ahead(q, count, &q->next_wrap);
}

static void packed_back(VirtQueue *q, unsigned count)
{
    q->next_wrap ^= q->next < count;
    q->next = q->next < count ? q->next + q->size - count : q->next - count;
}

/* The flags of the first are written last of all, so that the driver sees none before. */
static void packed_put(VirtQueue *q, const Used *u)
{
    uint8_t *d = q->desc.host + DESC_SIZE * q->used_next;
    uint16_t flags = (u->wrote ? DESC_WRITE : 0) | (q->used_wrap ? DESC_AVAIL | DESC_USED : 0);

    ring_store32(d + DESC_LEN, u->len);
    ring_store16(d + DESC_ID, u->id);
    if (q->held) {
        ring_store16(d + DESC_FLAGS, flags);
    } else {
        q->held = true;
        q->held_slot = q->used_next;
        q->held_flags = flags;
    }
    q->used_next += u->count;
    q->told += u->count;
    if (q->used_next >= q->size) {
        q->used_next -= q->size;
        q->used_wrap = !q->used_wrap;
    }
}

static bool wants_event(VirtQueue *q, uint16_t steps)
{
    unsigned flags = ring_load16(q->avail.host + EVENT_FLAGS) & 3;

    if (flags == EVENT_DISABLE)
        return false;
    if (flags != EVENT_DESC || !q->event_idx)
        return true;
    uint16_t event = ring_load16(q->avail.host + EVENT_OFF);
    uint16_t off = event & ~EVENT_WRAP;
    if (!!(event & EVENT_WRAP) != q->used_wrap)
        off -= q->size;
    return ring_passed(off, q->used_next, q->used_next - steps);
}

static bool packed_publish(VirtQueue *q)
{
    uint16_t steps = q->told;

    if (!q->held)
        return false;
    ring_store16(q->desc.host + DESC_SIZE * q->held_slot + DESC_FLAGS, q->held_flags);
    q->held = false;
    q->told = 0;
    ring_fence();
    return wants_event(q, steps);
}

static void packed_bell(VirtQueue *q, bool on, unsigned ahead)
{
    bool wrap;
    unsigned slot = slot_ahead(q, ahead, &wrap);

    if (on && q->event_idx)
        ring_store16(q->used.host + EVENT_OFF, slot | (wrap ? EVENT_WRAP : 0));
    ring_store16(q->used.host + EVENT_FLAGS, !on ? EVENT_DISABLE : q->event_idx ? EVENT_DESC : EVENT_ENABLE);
    ring_fence();
}

const Ring packed_ring = {
    .layout = packed_layout, .start = packed_start, .some = packed_some, .walk = packed_walk, .take = packed_take,
    .back = packed_back, .put = packed_put, .publish = packed_publish, .bell = packed_bell,
};
