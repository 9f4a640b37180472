/* SPDX-License-Identifier: MIT */
/*
 * Rings: random programs of a driver and a device against a model, in all formats;
 * rings that are wrong, each kind by name and at random; reset, stop, bell, interrupts.
 *
 *   test_virtio_ring [SEED [ROUNDS]]
 */
#include "tests/dev/virtio-echo.h"

static Rig rig, *r = &rig;
static Vd vd, *d = &vd;
static unsigned rounds = 40;

#define ALL_FEATURES (VD_BIT(VIRTIO_F_INDIRECT_DESC) | VD_BIT(VIRTIO_F_EVENT_IDX) | VD_BIT(VIRTIO_F_RING_PACKED) | \
                      VD_BIT(VIRTIO_F_IN_ORDER) | VD_BIT(VIRTIO_F_RING_RESET))

static Echo *begin(unsigned size, unsigned queues)
{
    *r = (Rig){ 0 };
    echo_size = size;
    echo_n = queues;
    memset(echo_io, 0, sizeof(echo_io));
    return echo_make(r, d, "packed=on,in_order=on");
}

/* ---- a model: what the driver gave, by tag */

typedef struct Given { bool used; int id; uint32_t out_len, in_len, written; unsigned n; VdBuf b[32]; unsigned n_out; } Given;
enum { TAGS = 512 };
static Given given[TAGS];
static unsigned order_next, order_seen;     /* in-order: tags come back as they went */
static uint32_t order[TAGS];

static unsigned free_tag(void)
{
    for (unsigned t = 1; t < TAGS; t++) {
        if (!given[t].used)
            return t;
    }
    return 0;
}

/* A buffer of random pieces; the tag in front. False: no room. */
static bool give(VdQueue *q, uint64_t mem, bool may_indirect)
{
    unsigned tag = free_tag();
    Given *g = &given[tag];
    unsigned most = MIN(q->size, 12);

    if (!tag)
        return false;
    *g = (Given){ .n_out = 1 + echo_rand(most > 2 ? most / 2 : 1) };
    g->n = g->n_out + echo_rand(most - g->n_out + 1);
    uint64_t at = mem + tag * 0x4000;
    for (unsigned i = 0; i < g->n; i++) {
        g->b[i] = (VdBuf){ at, i ? 1 + echo_rand(200) : 4 + echo_rand(60) };
        *(i < g->n_out ? &g->out_len : &g->in_len) += g->b[i].len;
        at += g->b[i].len + (echo_rand(2) ? 0 : echo_rand(300));       /* side by side, or not */
    }
    memset(vd_ptr(d, mem + tag * 0x4000, 0x4000), 0, 0x4000);
    vd_put(d, g->b[0].addr, tag, 4);
    bool indirect = may_indirect && echo_rand(2);
    g->id = indirect ? vd_add_indirect(q, mem + tag * 0x4000 + 0x3000, g->b, g->n_out, g->n - g->n_out)
                     : vd_add(q, g->b, g->n_out, g->n - g->n_out);
    if (g->id < 0)
        return false;
    g->used = true;
    order[order_next++ % TAGS] = tag;
    return true;
}

static unsigned tag_of(int id)
{
    for (unsigned t = 1; t < TAGS; t++) {
        if (given[t].used && given[t].id == id)
            return t;
    }
    return 0;
}

/* Takes back one that the device used, and looks at every byte. */
static bool take_back(VdQueue *q)
{
    uint32_t len, pos = 0;
    int id = vd_used(q, &len);

    if (id < 0)
        return false;
    unsigned tag = tag_of(id);
    Given *g = &given[tag];
    CHECK(tag);
    CHECK_EQ(len, g->written);
    if (d->in_order)
        CHECK_EQ(tag, order[order_seen % TAGS]);
    order_seen++;
    for (unsigned i = g->n_out; i < g->n; i++) {
        const uint8_t *p = vd_ptr(d, g->b[i].addr, g->b[i].len);

        for (unsigned j = 0; j < g->b[i].len; j++, pos++) {
            if (p[j] != (pos < len ? echo_byte(tag, pos) : 0)) {
                CHECK(!"a byte is wrong");
                return g->used = false;
            }
        }
    }
    g->used = false;
    return true;
}

/* model: what is popped is what was given. */
static void device_step(Echo *e, bool model)
{
    unsigned n = e->n_held[0];

    switch (echo_rand(8)) {
    case 0: case 1: case 2:
        echo_hold(e, 0);
        break;
    case 3: {
        EchoElem *el = echo_pop(e, 0);
        if (el)
            virtq_unpop(e->q[0], el);
        break;
    }
    case 4:
        virtq_has_room(e->q[0], echo_rand(2000));
        break;
    case 5:
        if (virtq_bell(e->q[0], echo_rand(2)))
            CHECK(!virtq_empty(e->q[0]));
        break;
    default:
        if (n) {
            EchoElem *el = echo_take(e, 0, echo_rand(n));
            Given *g = &given[model && el->tag < TAGS ? el->tag : 0];

            if (model) {
                CHECK(g->used);
                CHECK_EQ(el->e.out_len, g->out_len);
                CHECK_EQ(el->e.in_len, g->in_len);
            }
            g->written = echo_rand(el->e.in_len + 1);
            echo_push(e, 0, el, g->written);
            if (echo_rand(2))
                virtq_notify(e->q[0]);
        }
    }
}

static void nothing(Echo *e, unsigned q) { (void)e, (void)q; }

static void random_program(uint64_t features)
{
    unsigned size = 1 << (1 + echo_rand(6));
    Echo *e = begin(size, 1);

    e->handle = nothing;
    CHECK(vd_start(d, features));
    if (d->packed && size > 2)
        size -= echo_rand(3) == 0;                              /* any size will do */
    VdQueue *q = vd_queue(d, 0, size);
    vd_go(d);
    rig_turn(r, 0);
    uint64_t mem = vd_alloc(d, TAGS * 0x4000, 4096);
    memset(given, 0, sizeof(given));
    order_next = order_seen = 0;
    for (int i = 0; i < 1500 && !test_case_bad; i++) {
        unsigned what = echo_rand(10);

        if (what < 4)
            give(q, mem, features & VD_BIT(VIRTIO_F_INDIRECT_DESC));
        else if (what < 8)
            device_step(e, true);
        else
            take_back(q);
    }
    /* Everything comes home. */
    for (int i = 0; i < 3000 && !test_case_bad; i++) {
        while (e->n_held[0] < ECHO_HELD && echo_hold(e, 0))
            ;
        while (e->n_held[0]) {
            EchoElem *el = echo_take(e, 0, 0);
            given[el->tag].written = given[el->tag].in_len;
            echo_push(e, 0, el, el->e.in_len);
        }
        virtq_notify(e->q[0]);
        if (!take_back(q))
            break;
    }
    for (unsigned t = 1; t < TAGS; t++)
        CHECK(!given[t].used);
    CHECK_EQ(q->flying, 0);
    CHECK_EQ(d->t->status(d), 15);
    if (test_case_bad)
        printf("features %#" PRIx64 ", size %u\n", features, size);
    vd_board_free(r);
}

static void test_random(void)
{
    static const unsigned bits[] = { VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER };

    for (unsigned i = 0; i < rounds && !test_case_bad; i++) {
        uint64_t features = 0;

        for (unsigned b = 0; b < 4; b++)
            features |= i >> b & 1 ? VD_BIT(bits[b]) : 0;
        random_program(features);
    }
}

/* ---- rings that are wrong, by name */

typedef struct Wrong {
    const char *name;
    VdBuf b; unsigned write, n_out, n_in;       /* buffers: all like b */
    void (*spoil)(VdQueue *, uint64_t table);   /* changes what was added, before the bell; or NULL */
    uint64_t without;                           /* features not to be asked for */
    bool indirect, fine;
} Wrong;



static void poke_desc(VdQueue *q, uint64_t at, unsigned flags, unsigned next)
{
    vd_put(d, at + (d->packed ? 14 : 12), flags | (d->packed && at < q->desc + 16 * q->size && at >= q->desc ? VD_AVAIL : 0), 2);
    if (!d->packed)
        vd_put(d, at + 14, next, 2);
}
/* All descriptors of the ring are a chain that bites its tail. */
static void endless(VdQueue *q, uint64_t t)
{
    for (unsigned i = 0; i < q->size; i++) {
        vd_put(d, q->desc + 16 * i, VD_RAM, 8);
        vd_put(d, q->desc + 16 * i + 8, 1, 4);
        poke_desc(q, q->desc + 16 * i, VD_NEXT, (i + 1) % q->size);
    }
}
static void itself(VdQueue *q, uint64_t t)
{
    endless(q, t);
    if (!d->packed)
        poke_desc(q, q->desc, VD_NEXT, 0);
}
static void far_next(VdQueue *q, uint64_t t)
{
    if (d->packed)
        endless(q, t);
    else
        poke_desc(q, q->desc, VD_NEXT, q->size);
}
static void far_head(VdQueue *q, uint64_t t)
{
    if (d->packed)
        endless(q, t);
    else
        vd_put(d, q->avail + 4, q->size, 2);
}
static void far_index(VdQueue *q, uint64_t t)
{
    if (d->packed)
        endless(q, t);
    else
        vd_put(d, q->avail + 2, q->size + 1, 2);
}
static void nested(VdQueue *q, uint64_t t) { poke_desc(q, t, VD_INDIRECT, 0); }
static void table_odd(VdQueue *q, uint64_t t) { vd_put(d, q->desc + 8, 24, 4); }
static void table_none(VdQueue *q, uint64_t t) { vd_put(d, q->desc + 8, 0, 4); }
static void table_large(VdQueue *q, uint64_t t) { vd_put(d, q->desc + 8, 0xfffffff0, 4); }
static void table_nowhere(VdQueue *q, uint64_t t) { vd_put(d, q->desc, 0x40000000, 8); }
static void table_device(VdQueue *q, uint64_t t) { vd_put(d, q->desc, 0x10008000, 8); }
static void table_end(VdQueue *q, uint64_t t) { vd_put(d, q->desc, UINT64_MAX - 15, 8); }
static void table_next(VdQueue *q, uint64_t t) { poke_desc(q, q->desc, VD_INDIRECT | VD_NEXT, 1); }
static void table_loop(VdQueue *q, uint64_t t)
{
    if (d->packed)
        nested(q, t);
    else
        poke_desc(q, t, VD_NEXT, 0);
}
static void table_far(VdQueue *q, uint64_t t)
{
    if (d->packed)
        nested(q, t);
    else
        poke_desc(q, t, VD_NEXT, 2);
}
static void read_last(VdQueue *q, uint64_t t)
{
    vd_put(d, q->desc + (d->packed ? 14 : 12), VD_WRITE | VD_NEXT | (d->packed ? VD_AVAIL : 0), 2);
}

#define SOME { VD_RAM + 0x40000, 64 }
static const Wrong wrongs[] = {
    { "a good one", SOME, .n_out = 1, .n_in = 1, .fine = true },
    { "a good table", SOME, .n_out = 1, .n_in = 1, .indirect = true, .fine = true },
    { "no bytes", { VD_RAM, 0 }, .n_out = 1 },
    { "no bytes to write", { VD_RAM, 0 }, .n_in = 1 },
    { "no bytes in a table", { VD_RAM, 0 }, .n_in = 1, .indirect = true },
    { "4 GiB less one", { VD_RAM, 0xffffffff }, .n_out = 1 },
    { "beyond the address space", { UINT64_MAX - 3, 8 }, .n_out = 1 },
    { "the last byte of it", { UINT64_MAX, 1 }, .n_in = 1 },
    { "across the end of RAM", { VD_RAM + (64 << 20) - 8, 16 }, .n_in = 1 },
    { "up to the end of RAM", { VD_RAM + (64 << 20) - 16, 16 }, .n_in = 1, .fine = true },
    { "nothing there", { 0x40000000, 8 }, .n_out = 1 },
    { "a device, to write", { 0x10008050, 4 }, .n_in = 1 },
    { "a device, to read", { 0x10008050, 4 }, .n_out = 1 },
    { "ROM, to write", { 0x1000, 4 }, .n_in = 1 },
    { "ROM, to read", { 0x1000, 4 }, .n_out = 1 },
    { "flash", { 0x20000000, 4 }, .n_in = 1 },
    { "4 GiB in pieces", { VD_RAM, 60 << 20 }, .n_out = 70, .indirect = true },
    { "much in pieces", { VD_RAM, 60 << 20 }, .n_out = 60, .indirect = true, .fine = true },
    { "an endless chain", SOME, .n_out = 2, .spoil = endless },
    { "a chain of itself", SOME, .n_out = 2, .spoil = itself },
    { "next outside", SOME, .n_out = 2, .spoil = far_next },
    { "head outside", SOME, .n_out = 1, .spoil = far_head },
    { "index too far", SOME, .n_out = 1, .spoil = far_index },
    { "indirect in indirect", SOME, .n_out = 2, .indirect = true, .spoil = nested },
    { "a table of 1.5", SOME, .n_out = 2, .indirect = true, .spoil = table_odd },
    { "a table of none", SOME, .n_out = 2, .indirect = true, .spoil = table_none },
    { "a table of 4 GiB", SOME, .n_out = 2, .indirect = true, .spoil = table_large },
    { "a table nowhere", SOME, .n_out = 2, .indirect = true, .spoil = table_nowhere },
    { "a table in a device", SOME, .n_out = 2, .indirect = true, .spoil = table_device },
    { "a table at the very end", SOME, .n_out = 2, .indirect = true, .spoil = table_end },
    { "a table and next", SOME, .n_out = 2, .indirect = true, .spoil = table_next },
    { "a table's chain of itself", SOME, .n_out = 2, .indirect = true, .spoil = table_loop },
    { "a table's next outside", SOME, .n_out = 2, .indirect = true, .spoil = table_far },
    { "a table not negotiated", SOME, .n_out = 2, .indirect = true, .without = VD_BIT(VIRTIO_F_INDIRECT_DESC) },
    { "read behind write", SOME, .n_out = 2, .spoil = read_last },
};

static void try_wrong(Echo *e, const Wrong *w, uint64_t features)
{
    VdBuf b[80];

    for (unsigned i = 0; i < G_N_ELEMENTS(b); i++)
        b[i] = w->b;
    CHECK(vd_start(d, features & ~w->without));
    d->heap = VD_RAM + 0x1000000;
    /* The second queue is another's, and goes on whatever happens to the first. */
    VdQueue *q = vd_queue(d, 0, 16), *other = vd_queue(d, 1, 16);
    vd_go(d);
    uint64_t table = vd_alloc(d, 16 * 80, 16);
    int id = w->indirect ? vd_add_indirect(q, table, b, w->n_out, w->n_in) : vd_add(q, b, w->n_out, w->n_in);
    CHECK(id >= 0);
    if (w->spoil)
        w->spoil(q, table);
    CHECK(!virtq_has_room(e->q[0], 1 << 30) || w->n_in);
    vd_kick(q);
    rig_turn(r, 0);
    bool broken = d->t->status(d) & VIRTIO_NEEDS_RESET;
    CHECK_EQ(broken, !w->fine);
    CHECK_EQ(e->n_held[0], w->fine);
    CHECK_EQ(virtq_ready(e->q[0]), w->fine);
    if (broken)
        CHECK_EQ(d->t->isr(d), 2);
    b[0] = (VdBuf)SOME;
    CHECK(vd_add(other, b, 1, 0) >= 0);
    vd_kick(other);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[1], 1);
    d->t->set_status(d, 0);
    CHECK(!e->n_held[0] && !e->n_held[1]);
}

static void test_wrong(void)
{
    Echo *e = begin(128, 2);

    for (unsigned i = 0; i < G_N_ELEMENTS(wrongs); i++) {
        int bad = test_case_bad;

        try_wrong(e, &wrongs[i], VD_BIT(VIRTIO_F_INDIRECT_DESC));
        try_wrong(e, &wrongs[i], VD_BIT(VIRTIO_F_INDIRECT_DESC) | VD_BIT(VIRTIO_F_RING_PACKED));
        if (test_case_bad != bad)
            printf("  in '%s'\n", wrongs[i].name);
    }
    vd_board_free(r);
}

/* The parts of a ring where no ring can be. */
static void test_ring_places(void)
{
    static const uint64_t places[] = {
        0, 0x1000, 0x10008000, 0x40000000, VD_RAM + (64 << 20) - 8, UINT64_MAX - 15, VD_RAM + 1, VD_RAM + 0x8001, 0x20000000,
    };
    Echo *e = begin(16, 1);

    for (unsigned packed = 0; packed < 2; packed++) {
        for (unsigned part = 0; part < 3; part++) {
            for (unsigned i = 0; i < G_N_ELEMENTS(places); i++) {
                uint64_t at[3] = { VD_RAM + 0x1000, VD_RAM + 0x2000, VD_RAM + 0x3000 };

                at[part] = places[i];
                CHECK(vd_start(d, packed ? VD_BIT(VIRTIO_F_RING_PACKED) : 0));
                vd_go(d);
                d->t->queue_on(d, 0, 16, at);
                d->t->kick(d, 0);
                rig_turn(r, 0);
                bool fits = packed && part && places[i] == VD_RAM + (64 << 20) - 8;    /* four bytes have room */
                CHECK_EQ(d->t->status(d), fits ? 15 : 15 | 64);
                CHECK_EQ(virtq_ready(e->q[0]), fits);
            }
        }
    }
    vd_board_free(r);
}

/* More buffers than there are, by a driver that never waits. */
static void test_too_many(void)
{
    Echo *e = begin(16, 1);

    for (unsigned packed = 0; packed < 2; packed++) {
        CHECK(vd_start(d, packed ? VD_BIT(VIRTIO_F_RING_PACKED) : 0));
        d->heap = VD_RAM + 0x1000000;
        VdQueue *q = vd_queue(d, 0, 16);
        vd_go(d);
        for (unsigned i = 0; i < 40; i++) {
            q->flying = 0;
            if (q->n_free < 2)
                for (q->n_free = 0; q->n_free < 16; q->n_free++)
                    q->free[q->n_free] = q->n_free;
            vd_add(q, (VdBuf[]){ SOME }, 1, 0);
            vd_kick(q);
            rig_turn(r, 0);
        }
        CHECK(e->n_held[0] <= 16);
        CHECK_EQ(d->t->status(d) & 64, packed ? d->t->status(d) & 64 : 64);
        d->t->set_status(d, 0);
    }
    vd_board_free(r);
}

/* ---- bytes changed at random: whatever is popped is sane, and a reset mends it */

static void spoil_one(VdQueue *q, uint64_t table)
{
    static const uint64_t words[] = { 0, 1, 2, 4, 5, 0xffff, 0x8000, 0x80, 0x8080, 0xffffffff, VD_RAM, 0x1000, UINT64_MAX, 16 };
    uint64_t at[] = { q->desc + echo_rand(16 * q->size), q->avail + echo_rand(4 + 2 * q->size), table + echo_rand(16 * 12),
                      q->used + echo_rand(4 + 8 * q->size) };
    unsigned size = 1 << echo_rand(4);
    uint64_t val = echo_rand(3) ? words[echo_rand(G_N_ELEMENTS(words))] : echo_seed;

    vd_put(d, at[echo_rand(4)] & ~(uint64_t)(size - 1), val, size);
}

static void test_random_wrong(void)
{
    Echo *e = begin(32, 1);

    for (unsigned i = 0; i < rounds * 50 && !test_case_bad; i++) {
        CHECK(vd_start(d, ALL_FEATURES & (echo_rand(2) ? ~UINT64_C(0) : echo_seed)));
        d->heap = VD_RAM + 0x1000000;
        VdQueue *q = vd_queue(d, 0, 2 << echo_rand(5));
        vd_go(d);
        uint64_t table = vd_alloc(d, 16 * 12, 16), mem = vd_alloc(d, 0x10000, 4096);
        for (int step = 0; step < 30; step++) {
            VdBuf b[6];

            for (unsigned j = 0; j < 6; j++)
                b[j] = (VdBuf){ mem + echo_rand(0xf000), 1 + echo_rand(0x1000) };
            if (q->n_free < 8)
                break;
            q->flying = echo_rand(4) ? q->flying : 0;
            if (echo_rand(2))
                vd_add_indirect(q, table, b, 3, 3);
            else
                vd_add(q, b, 1 + echo_rand(2), echo_rand(3));
            for (unsigned n = echo_rand(4); n; n--)
                spoil_one(q, table);
            vd_kick(q);
            rig_turn(r, 0);
            device_step(e, false);
            if (e->n_held[0] && echo_rand(2)) {
                EchoElem *el = echo_take(e, 0, echo_rand(e->n_held[0]));
                virtq_push(e->q[0], el, echo_rand(2) ? el->e.in_len : UINT32_MAX);
                virtq_notify(e->q[0]);
            }
            virtq_has_room(e->q[0], echo_rand(1 << 20));
        }
    }
    /* And it works as before. */
    CHECK(vd_start(d, 0));
    d->heap = VD_RAM + 0x1000000;
    VdQueue *q = vd_queue(d, 0, 32);
    vd_go(d);
    CHECK(vd_add(q, (VdBuf[]){ SOME }, 1, 0) >= 0);
    vd_kick(q);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[0], 1);
    vd_board_free(r);
}

/* ---- bell and interrupts: how few there are */

static void test_events(void)
{
    Echo *e = begin(32, 1);
    uint32_t len;

    for (unsigned packed = 0; packed < 2; packed++) {
        CHECK(vd_start(d, VD_BIT(VIRTIO_F_EVENT_IDX) | (packed ? VD_BIT(VIRTIO_F_RING_PACKED) : 0)));
        d->heap = VD_RAM + 0x1000000;
        VdQueue *q = vd_queue(d, 0, 32);
        vd_go(d);
        rig_turn(r, 0);
        uint64_t where = packed ? q->used : q->used + 4 + 8 * 32;
        for (int round = 0; round < 100; round++) {
            /* After a handler that took all, the next buffer rings: at the slot or entry that is next. */
            if (round)
                CHECK_EQ(vd_get(d, where, 2), packed ? q->next | (q->next_wrap ? 0x8000 : 0) : q->next);
            for (int i = 0; i < 5; i++)
                CHECK(vd_add(q, (VdBuf[]){ SOME }, 0, 1) >= 0);
            vd_kick(q);
            rig_turn(r, 0);
            CHECK_EQ(e->n_held[0], 5);
            /* Five completions, one interrupt; and none when the driver does not want any. */
            vd_want_irq(q, round & 1);
            for (int i = 0; i < 5; i++) {
                echo_push(e, 0, echo_take(e, 0, 0), 1);
                if (i < 4)
                    CHECK_EQ(vd_used(q, &len), -1);             /* not seen before it is published */
            }
            virtq_notify(e->q[0]);
            unsigned isr = d->t->isr(d);
            if (round)                                          /* the first may come unasked */
                CHECK_EQ(isr, round & 1);
            for (int i = 0; i < 5; i++)
                CHECK(vd_used(q, &len) >= 0);
            CHECK_EQ(vd_used(q, &len), -1);
        }
        /* The bell off: a poller. On again: is something there? */
        CHECK(!virtq_bell(e->q[0], false));
        CHECK(!virtq_pop(e->q[0], sizeof(EchoElem)));
        CHECK(vd_add(q, (VdBuf[]){ SOME }, 0, 1) >= 0);
        CHECK(virtq_bell(e->q[0], true));
        CHECK(echo_hold(e, 0));
        /* Room: enough, and one that is waited for. */
        CHECK(!virtq_has_room(e->q[0], 100));
        CHECK(vd_add(q, (VdBuf[]){ SOME }, 0, 1) >= 0);
        CHECK(virtq_has_room(e->q[0], 64) && !virtq_has_room(e->q[0], 65));
        CHECK_EQ(vd_get(d, where, 2), packed ? q->next | (q->next_wrap ? 0x8000 : 0) : q->next);
        CHECK(vd_add(q, (VdBuf[]){ SOME }, 0, 1) >= 0);
        CHECK(virtq_has_room(e->q[0], 128));
    }
    vd_board_free(r);
}

/* ---- life */

static void test_hold_and_reset(void)
{
    Echo *e = begin(16, 2);
    uint32_t len;

    CHECK(vd_start(d, VD_BIT(VIRTIO_F_RING_RESET)));
    VdQueue *q = vd_queue(d, 0, 16), *other = vd_queue(d, 1, 16);
    CHECK(vd_add(q, (VdBuf[]){ SOME }, 0, 1) >= 0);
    vd_kick(q);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[0], 0);                                  /* not before DRIVER_OK */
    vd_go(d);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[0], 1);                                  /* but then without another kick */
    CHECK_EQ(e->started, 1);
    /* The machine stands: nothing is handled, all is quiet; and what came meanwhile is seen after. */
    virtio_hold(&e->virtio, VIRTIO_HOLD_STOPPED, true);
    CHECK_EQ(e->n_held[0], 0);
    CHECK(vd_add(q, (VdBuf[]){ SOME }, 0, 1) >= 0);
    vd_kick(q);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[0], 0);
    virtio_hold(&e->virtio, VIRTIO_HOLD_STOPPED, false);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[0], 1);
    /* One queue is reset, the other keeps its buffers. */
    CHECK(vd_add(other, (VdBuf[]){ SOME }, 0, 1) >= 0);
    vd_kick(other);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[1], 1);
    d->t->queue_reset(d, 0);
    CHECK(!e->n_held[0] && e->n_held[1] == 1);
    vd_queue_clear(q);
    vd_queue_on(q);
    CHECK(vd_add(q, (VdBuf[]){ SOME }, 0, 1) >= 0);
    vd_kick(q);
    rig_turn(r, 0);
    CHECK_EQ(e->n_held[0], 1);
    echo_push(e, 0, echo_take(e, 0, 0), 3);
    virtq_notify(e->q[0]);
    CHECK(vd_used(q, &len) >= 0 && len == 3);
    /* The device says that it is broken: no queue goes on until the reset. */
    virtio_broken(&e->virtio, "for a test");
    CHECK(!virtq_ready(e->q[0]) && !virtq_ready(e->q[1]));
    CHECK_EQ(d->t->status(d), 15 | 64);
    unsigned resets = e->resets;
    vm_reset(r->vm);
    CHECK_EQ(e->resets, resets + 1);
    CHECK_EQ(d->t->status(d), 0);
    CHECK(!e->n_held[0] && !e->n_held[1]);
    CHECK(vd_start(d, 0));
    vd_queue(d, 0, 16);
    vd_go(d);
    CHECK(virtq_ready(e->q[0]));
    /* Kicks that are on their way when the device goes. */
    virtio_kick(e->q[0]);
    virtio_kick(e->q[1]);
    device_free(&e->virtio.dev);
    rig_turn(r, 1);
    vd_board_free(r);
}

/* RAM below a ring goes away, and comes back elsewhere. */
static void test_map_changes(void)
{
    static RamBlock *block;
    static Region region;
    Echo *e = begin(16, 1);
    uint32_t len;

    rig_must(ram_new(r->vm, "more", 1 << 20, &block));
    region = (Region){ .name = "more", .kind = REGION_RAM, .size = 1 << 20, .ram = block };
    rig_must(space_map(r->vm->mem, 0x50000000, &region, 9));
    CHECK(vd_start(d, 0));
    d->heap = 0x50000000;
    VdQueue *q = vd_queue(d, 0, 16);
    vd_go(d);
    for (int i = 0; i < 3; i++) {
        CHECK(vd_add(q, (VdBuf[]){ SOME, { 0x50001000, 8 } }, 1, 1) >= 0);
        vd_kick(q);
        rig_turn(r, 0);
        CHECK_EQ(e->n_held[0], 1);
        CHECK_EQ(e->held[0][0]->e.n_in, 1);
        echo_push(e, 0, echo_take(e, 0, 0), 1);
        virtq_notify(e->q[0]);
        CHECK(vd_used(q, &len) >= 0);
        space_unmap(r->vm->mem, &region);
        if (i < 2)
            rig_must(space_map(r->vm->mem, 0x50000000, &region, 9));
        rig_work(r);
        rig_turn(r, 0);
    }
    vd_kick(q);
    rig_turn(r, 0);
    CHECK_EQ(d->t->status(d), 15 | 64);
    vd_board_free(r);
}

/* Pieces that lie side by side are one; a buffer across two blocks of RAM is two. */
static void test_merging(void)
{
    static RamBlock *block;
    static Region region;
    Echo *e = begin(16, 1);

    rig_must(ram_new(r->vm, "more", 1 << 20, &block));
    region = (Region){ .name = "more", .kind = REGION_RAM, .size = 1 << 20, .ram = block };
    rig_must(space_map(r->vm->mem, VD_RAM + (64 << 20), &region, 0));
    CHECK(vd_start(d, 0));
    VdQueue *q = vd_queue(d, 0, 16);
    vd_go(d);
    uint64_t end = VD_RAM + (64 << 20), at = VD_RAM + 0x40000;
    CHECK(vd_add(q, (VdBuf[]){ { at, 64 }, { at + 64, 64 }, { at + 128, 8 }, { at + 136, 8 }, { end - 8, 16 } }, 2, 3) >= 0);
    vd_kick(q);
    rig_turn(r, 0);
    const VirtElem *el = &e->held[0][0]->e;
    CHECK(el->n_out == 1 && el->out[0].iov_len == 128 && el->out_len == 128);
    CHECK(el->n_in == 3 && el->in[0].iov_len == 16 && el->in[1].iov_len == 8 && el->in[2].iov_len == 8 && el->in_len == 32);
    CHECK(el->in[2].iov_base == block->host);
    vd_board_free(r);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        echo_seed = strtoull(argv[1], NULL, 0) | 1;
    if (argc > 2)
        rounds = atoi(argv[2]);
    printf("seed %" PRIu64 "\n", echo_seed);
    RUN(test_random);
    RUN(test_wrong);
    RUN(test_ring_places);
    RUN(test_too_many);
    RUN(test_random_wrong);
    RUN(test_events);
    RUN(test_hold_and_reset);
    RUN(test_map_changes);
    RUN(test_merging);
    return test_end();
}
