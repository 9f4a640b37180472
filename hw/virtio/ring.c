/* SPDX-License-Identifier: MIT */
/*
 * Queues as devices see them: buffers taken out of rings and put back, the bell,
 * the interrupt. Formats of rings are split.c and packed.c; queue.c is what the
 * transport does with a queue.
 *
 * Everything here runs in the queue's thread, but for virtio_kick.
 */
#include "hw/virtio/ring-priv.h"

#include <string.h>

#include "hw/virtio/queue-priv.h"

enum { FIRST_IOV = 16, MAX_IOV = 4 * VIRTQ_MAX, MAX_CACHED = 128 };

bool virtq_ready(const VirtQueue *q)
{
    return atomic_load_explicit(&q->live, memory_order_acquire)
        && !atomic_load_explicit(&q->broken, memory_order_relaxed)
        && !atomic_load_explicit(&q->v->holds, memory_order_relaxed)
        && atomic_load_explicit(&q->v->status, memory_order_relaxed) & VIRTIO_DRIVER_OK;
}

/* ---- guest memory */

/*
 * Host memory at addr, and in *len how much of it there is in one piece, at most what was asked. RAM only: no
 * buffer is in a ROM or a device. NULL: there is none.
 */
static uint8_t *ram_at(VirtQueue *q, uint64_t addr, uint64_t *len)
{
    if (addr < q->ram_base || addr > q->ram_last) {
        const FlatRange *r = flat_find(space_flat(q->v->dev.vm->mem), addr);

        if (!r || r->region->kind != REGION_RAM)
            return NULL;
        q->ram_base = r->base;
        q->ram_last = r->last;
        q->ram_block = r->region->ram;
        q->ram_host = q->ram_block->host + r->region->ram_off + r->off;
    }
    if (*len - 1 > q->ram_last - addr)
        *len = q->ram_last - addr + 1;
    return q->ram_host + (addr - q->ram_base);
}

const uint8_t *ring_table(VirtQueue *q, uint64_t addr, uint32_t len)
{
    uint64_t there = len;
    const uint8_t *p = ram_at(q, addr, &there);

    if (p && there == len)
        return p;
    virtq_broken(q, "an indirect table at %#" PRIx64 ", where no memory is", addr);
    return NULL;
}

/* The block that a host address lies in: nearly always the one of the last buffer. */
static RamBlock *block_of(VirtQueue *q, const uint8_t *p)
{
    RamBlock *b = q->ram_block;

    if (b && p >= b->host && p < b->host + b->size)
        return b;
    for (b = q->v->dev.vm->rams; b; b = b->next) {
        if (p >= b->host && p < b->host + b->size)
            return b;
    }
    return NULL;
}

static void touch_part(const RingPart *p)
{
    ram_touch(p->block, p->off, p->len);
}

bool ring_map(VirtQueue *q, const Flat *f)
{
    const uint64_t at[3] = { q->at.desc, q->at.avail, q->at.used };
    RingPart *const parts[3] = { &q->desc, &q->avail, &q->used };
    uint64_t len[3];
    unsigned align[3];

    q->ring->layout(q, len, align);
    q->ram_base = 1;
    q->ram_last = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t there = len[i];
        uint8_t *host = at[i] & (align[i] - 1) ? NULL : ram_at(q, at[i], &there);

        if (!host || there != len[i]) {
            virtq_broken(q, "part %d of its ring, %" PRIu64 " bytes at %#" PRIx64 ", is not in memory or misaligned",
                         i, len[i], at[i]);
            return false;
        }
        *parts[i] = (RingPart){ host, q->ram_block, host - q->ram_block->host, len[i] };
    }
    q->serial = f->serial;
    return true;
}

/* Before the rings are used: are they where they were in the memory map? */
static bool usable(VirtQueue *q)
{
    const Flat *f = space_flat(q->v->dev.vm->mem);

    return virtq_ready(q) && (q->serial == f->serial || ring_map(q, f));
}

/* ---- buffers */

Box *ring_box_of(void *elem)
{
    return (Box *)((char *)elem - offsetof(Box, elem));
}

void ring_box_free(Box *b)
{
    g_free(b->iov);
    g_free(b);
}

void ring_free_cache(VirtQueue *q)
{
    for (Box *b = q->cache, *next; b; b = next) {
        next = b->next;
        ring_box_free(b);
    }
    q->cache = NULL;
    q->n_cache = 0;
}

static Box *box_take(VirtQueue *q, size_t size)
{
    Box *b = q->cache;

    if (b && b->size == size) {
        q->cache = b->next;
        q->n_cache--;
    } else {
        ring_free_cache(q);
        b = g_malloc(offsetof(Box, elem) + size);
        b->iov = g_new(struct iovec, FIRST_IOV);
        b->room = FIRST_IOV;
        b->size = size;
    }
    memset(&b->elem, 0, size);
    return b;
}

Box *ring_box(VirtQueue *q, size_t size, unsigned pieces)
{
    Box *b = box_take(q, size);

    if (pieces > b->room) {
        b->room = pieces;
        b->iov = g_renew(struct iovec, b->iov, pieces);
    }
    return b;
}

static void box_give(VirtQueue *q, Box *b)
{
    if (q->n_cache >= MAX_CACHED || (q->cache && q->cache->size != b->size)) {
        ring_box_free(b);
        return;
    }
    b->next = q->cache;
    q->cache = b;
    q->n_cache++;
}

/* One more piece; pieces that lie side by side become one. first: of those that are merged with. */
static bool add_piece(Chain *c, uint8_t *host, size_t len, unsigned *n, unsigned first)
{
    Box *b = c->box;

    if (*n > first && (uint8_t *)b->iov[*n - 1].iov_base + b->iov[*n - 1].iov_len == host) {
        b->iov[*n - 1].iov_len += len;
        return true;
    }
    if (*n == b->room) {
        if (b->room >= MAX_IOV) {
            virtq_broken(c->q, "a buffer in more than %u pieces", MAX_IOV);
            return false;
        }
        b->room *= 2;
        b->iov = g_renew(struct iovec, b->iov, b->room);
    }
    b->iov[(*n)++] = (struct iovec){ host, len };
    return true;
}

static bool add_pieces(Chain *c, uint64_t addr, uint64_t len, bool write)
{
    unsigned first = write ? c->n_out : 0, n = c->n_out + c->n_in;

    while (len) {
        uint64_t there = len;
        uint8_t *host = ram_at(c->q, addr, &there);

        if (!host) {
            virtq_broken(c->q, "a buffer at %#" PRIx64 ", where no memory is", addr);
            return false;
        }
        if (!add_piece(c, host, there, &n, first))
            return false;
        addr += there;
        len -= there;
    }
    *(write ? &c->n_in : &c->n_out) = n - first;
    return true;
}

bool chain_add(Chain *c, uint64_t addr, uint32_t len, bool write)
{
    uint64_t last;

    if (++c->descs > VIRTQ_MAX) {
        virtq_broken(c->q, "a buffer of more than %d descriptors", VIRTQ_MAX);
    } else if (!len || __builtin_add_overflow(addr, len - 1, &last)) {
        virtq_broken(c->q, "a descriptor with %u bytes at %#" PRIx64, len, addr);
    } else if (!write && c->in_len) {
        virtq_broken(c->q, "a descriptor to read behind one to write");
    } else if (c->out_len + c->in_len + len > UINT32_MAX) {
        virtq_broken(c->q, "a buffer of 4 GiB or more");
    } else {
        *(write ? &c->in_len : &c->out_len) += len;
        return !c->box || add_pieces(c, addr, len, write);
    }
    return false;
}

static void finish_elem(VirtQueue *q, Box *b, const Chain *c)
{
    b->turn = q->turn++;
    b->epoch = q->epoch;
    b->elem = (VirtElem){
        .q = q, .head = c->id, .count = c->count, .n_out = c->n_out, .n_in = c->n_in,
        .out_len = c->out_len, .in_len = c->in_len, .out = b->iov, .in = b->iov + c->n_out,
    };
}

/* Has the driver made one available? If not, the next one `ahead` rings, unless the device polls. */
static bool some_or_arm(VirtQueue *q, unsigned ahead)
{
    if (q->ring->some(q, ahead))
        return true;
    if (q->silent || q->broken || (q->armed && q->armed_at == ahead))
        return false;
    q->ring->bell(q, true, ahead);
    touch_part(&q->used);
    q->armed = true;
    q->armed_at = ahead;
    return q->ring->some(q, ahead);
}

void *virtq_pop(VirtQueue *q, size_t size)
{
    if (!usable(q) || !some_or_arm(q, 0))
        return NULL;
    if (q->flying >= q->size) {
        virtq_broken(q, "more buffers than the ring of %u has", q->size);
        return NULL;
    }
    Box *b = box_take(q, size);
    Chain c = { .q = q, .box = b };
    if (!q->ring->walk(q, 0, &c)) {
        box_give(q, b);
        return NULL;
    }
    q->ring->take(q, c.count);
    q->flying += c.count;
    q->elems++;
    q->armed = false;
    finish_elem(q, b, &c);
    return &b->elem;
}

/* What the device stored is seen by translated code and dirty logs. */
static void touch_in(VirtQueue *q, const VirtElem *e)
{
    for (unsigned i = 0; i < e->n_in; i++) {
        const uint8_t *p = e->in[i].iov_base;
        RamBlock *b = block_of(q, p);

        if (b)
            ram_touch(b, p - b->host, e->in[i].iov_len);
    }
}

/* Is the ring still the one that it came from? Counts it as landed then. */
static bool land(VirtQueue *q, const Box *b)
{
    if (b->epoch != q->epoch || !atomic_load_explicit(&q->live, memory_order_acquire))
        return false;
    q->flying -= b->elem.count;
    q->elems--;
    return true;
}

/* In-order: completions wait until those popped before them have come. */
static void put_in_order(VirtQueue *q, const Box *b, const Used *u)
{
    q->order[b->turn % q->size] = *u;
    for (Used *o; (o = &q->order[q->turn_done % q->size])->done; q->turn_done++) {
        o->done = false;
        q->ring->put(q, o);
    }
}

void virtq_push(VirtQueue *q, void *elem, uint32_t written)
{
    Box *b = ring_box_of(elem);
    const Used u = { .id = b->elem.head, .count = b->elem.count, .len = written, .wrote = b->elem.n_in, .done = true };

    touch_in(q, &b->elem);
    if (land(q, b) && !q->broken) {
        if (q->in_order)
            put_in_order(q, b, &u);
        else
            q->ring->put(q, &u);
    }
    box_give(q, b);
}

/* It was not filled to the end, but maybe begun. */
void virtq_drop(VirtQueue *q, void *elem)
{
    Box *b = ring_box_of(elem);

    touch_in(q, &b->elem);
    land(q, b);
    box_give(q, b);
}

void virtq_unpop(VirtQueue *q, void *elem)
{
    Box *b = ring_box_of(elem);

    if (land(q, b)) {
        q->ring->back(q, b->elem.count);
        q->turn--;
        q->armed = false;
    }
    box_give(q, b);
}

void virtq_notify(VirtQueue *q)
{
    const VirtioDevice *v = q->v;

    if (!atomic_load_explicit(&q->live, memory_order_acquire) || q->broken)
        return;
    bool tell = q->ring->publish(q);
    touch_part(q->ring == &packed_ring ? &q->desc : &q->used);
    if (tell && v->transport)
        v->transport->notify(v->transport_opaque, q->index);
}

bool virtq_empty(VirtQueue *q)
{
    return !usable(q) || !q->ring->some(q, 0);
}

bool virtq_bell(VirtQueue *q, bool on)
{
    if (!usable(q))
        return false;
    q->silent = !on;
    q->armed = false;
    if (on)
        return some_or_arm(q, 0);
    q->ring->bell(q, false, 0);
    touch_part(&q->used);
    return q->ring->some(q, 0);
}

bool virtq_has_room(VirtQueue *q, size_t bytes)
{
    size_t room = 0;

    if (!usable(q))
        return false;
    for (unsigned ahead = 0; ahead + q->flying < q->size;) {
        Chain c = { .q = q };

        if (!some_or_arm(q, ahead) || !q->ring->walk(q, ahead, &c))
            return false;
        room += c.in_len;
        if (room >= bytes)
            return true;
        ahead += c.count;
    }
    return false;
}

/* ---- the bell */

static void handle(void *opaque)
{
    VirtQueue *q = opaque;

    /* Whatever rings from here on is another call. */
    atomic_store(&q->rung, false);
    if (virtq_ready(q))
        q->v->ops->handle(q->v, q);
}

void virtio_kick(VirtQueue *q)
{
    if (atomic_exchange(&q->rung, true))
        return;
    if (q->io)
        loop_call(iothread_loop(q->io), handle, q);
    else
        vm_call_main(q->v->dev.vm, handle, q);
}
