/* SPDX-License-Identifier: MIT */
/*
 * A virtio driver for the target `board`: it sets devices up by MMIO, PCI and the legacy interface, gives
 * them requests that are nearly right, and chains that are not.
 */
#ifndef TESTS_FUZZ_BOARD_VIRTIO_H
#define TESTS_FUZZ_BOARD_VIRTIO_H

#include "tests/fuzz/board-input.h"

enum { D_NEXT = 1, D_WRITE = 2, D_INDIRECT = 4, D_AVAIL = 0x80, D_USED = 0x8000 };
enum { T_NET = 1, T_BLK = 2, T_CONSOLE = 3, T_RNG = 4, T_BALLOON = 5, T_SCSI = 8, T_9P = 9 };
enum { SEGS = 12 };

typedef struct Seg { uint64_t at; uint32_t len; bool write; } Seg;

static void put_le(uint8_t *p, uint64_t v, unsigned n) { memcpy(p, &v, n); }
static uint64_t ring_at(const Vdev *v, unsigned q) { return RINGS + ((v - b->virtio) * VQS + q) * RING_ROOM; }
static uint64_t pci_io(const Vdev *v) { return VIRT_PCI_PIO + bar_at(v->pci, 0); }

/* ---- registers, whichever interface */

static void vq_bell(const Vdev *v, unsigned q)
{
    if (!v->pci)
        poke(v->base + 0x50, q, 4);
    else if (v->legacy)
        poke(pci_io(v) + 16, q, 2);
    else if (bar_at(v->pci, 4))
        poke(bar_at(v->pci, 4) + 0x3000 + q * (bar_at(v->pci, 4) && v->pci->bars[4].region->size > 0x8000 ? 0x1000 : 4), q, 2);
}

static void set_status(const Vdev *v, uint8_t s)
{
    if (!v->pci)
        poke(v->base + 0x70, s, 4);
    else if (v->legacy)
        poke(pci_io(v) + 18, s, 1);
    else
        poke(bar_at(v->pci, 4) + 0x14, s, 1);
}

static void set_features(const Vdev *v, uint64_t f)
{
    for (unsigned i = 0; i < (v->legacy ? 1 : 2); i++) {
        uint32_t half = f >> 32 * i;
        if (!v->pci) {
            poke(v->base + 0x24, i, 4);
            poke(v->base + 0x20, half, 4);
        } else if (v->legacy) {
            poke(pci_io(v) + 4, half, 4);
        } else {
            poke(bar_at(v->pci, 4) + 8, i, 4);
            poke(bar_at(v->pci, 4) + 12, half, 4);
        }
    }
}

static void queue_on(Vdev *v, unsigned q, unsigned size)
{
    /* Legacy: the three parts one behind the other, in pages. */
    uint64_t at = ring_at(v, q), avail = at + 16 * size, used = v->legacy ? at + 0x1000 : avail + 0x400, c;

    v->q[q].size = size;
    v->q[q].next = v->q[q].slot = 0;
    v->q[q].wrap = v->q[q].on = true;
    if (!v->pci) {
        poke(v->base + 0x30, q, 4);
        poke(v->base + 0x38, size, 4);
        if (v->legacy) {
            poke(v->base + 0x28, 4096, 4);
            poke(v->base + 0x3c, 4096, 4);
            poke(v->base + 0x40, at >> 12, 4);
            return;
        }
        for (unsigned i = 0; i < 3; i++)
            poke(v->base + 0x80 + 0x10 * i, i == 0 ? at : i == 1 ? avail : used, 4);
        poke(v->base + 0x44, 1, 4);
    } else if (v->legacy) {
        /* The size is the device's: rings may be larger than ours, and end in the next queue's. */
        v->q[q].size = virtio_queue(v->v, q) ? virtq_max(virtio_queue(v->v, q)) : size;
        poke(pci_io(v) + 14, q, 2);
        poke(pci_io(v) + 8, at >> 12, 4);
    } else {
        c = bar_at(v->pci, 4);
        poke(c + 0x16, q, 2);
        poke(c + 0x18, size, 2);
        poke(c + 0x1a, q, 2);
        for (unsigned i = 0; i < 3; i++)
            poke(c + 0x20 + 8 * i, i == 0 ? at : i == 1 ? avail : used, 4);
        poke(c + 0x1c, 1, 2);
    }
}

/* Three bytes: features, which queues and how large, what is left out. */
static void virtio_setup(Vdev *v)
{
    static const unsigned rings[] = { VIRTIO_F_INDIRECT_DESC, VIRTIO_F_EVENT_IDX, VIRTIO_F_RING_PACKED, VIRTIO_F_IN_ORDER,
                                      VIRTIO_F_RING_RESET };
    uint8_t how = take(1), queues = take(1), odd = take(1);
    uint64_t f = UINT64_C(1) << VIRTIO_F_VERSION_1;

    v->legacy = v->pci ? v->pci->bars[0].kind == PCI_BAR_IO && odd & 1 : b == &boards[1];
    for (unsigned i = 0; i < G_N_ELEMENTS(rings); i++)
        f |= how >> i & 1 ? UINT64_C(1) << rings[i] : 0;
    f |= how & 0x20 ? take(4) & 0x00ffffff : 0x00ffffff;
    f &= virtio_offered(v->v) | (v->legacy ? 0 : UINT64_C(1) << VIRTIO_F_VERSION_1);
    f |= v->legacy && how & 1 ? UINT64_C(1) << VIRTIO_F_INDIRECT_DESC : 0;
    v->features = f;
    v->packed = f >> VIRTIO_F_RING_PACKED & 1;
    v->session = false;
    memset(v->q, 0, sizeof(v->q));
    set_status(v, 0);
    set_status(v, 3);
    set_features(v, f);
    if (!v->legacy)
        set_status(v, 11);
    for (unsigned q = 0; q < VQS && q <= (queues & 7); q++) {
        unsigned size = v->packed && queues & 0x80 ? 5 : 1 << (1 + (queues >> 3 & 7) % 6);
        uint8_t zero[0x100] = { 0 };
        for (unsigned i = 0; i < RING_ROOM; i += sizeof(zero))
            ram_put(ring_at(v, q) + i, zero, sizeof(zero));
        queue_on(v, q, size);
    }
    if (!(odd & 0x80))
        set_status(v, v->legacy ? 7 : 15);
}

/* ---- chains */

static void put_desc(uint64_t at, const Seg *s, uint16_t third, uint16_t fourth)
{
    ram_put_le(at, s->at, 8);
    ram_put_le(at + 8, s->len, 4);
    ram_put_le(at + 12, third, 2);
    ram_put_le(at + 14, fourth, 2);
}

static void add_split(Vdev *v, unsigned q, const Seg *s, unsigned n, uint16_t more)
{
    uint64_t at = ring_at(v, q);
    unsigned size = v->q[q].size, slot = v->q[q].slot;

    for (unsigned i = 0; i < n; i++)
        put_desc(at + 16 * ((slot + i) % size), &s[i], more | (s[i].write ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0), (slot + i + 1) % size);
    ram_put_le(at + 16 * size + 4 + 2 * (v->q[q].next % size), slot % size, 2);
    v->q[q].slot = (slot + n) % size;
    ram_put_le(at + 16 * size + 2, ++v->q[q].next, 2);
}

static void add_packed(Vdev *v, unsigned q, const Seg *s, unsigned n, uint16_t more)
{
    uint64_t at = ring_at(v, q);
    uint16_t first = v->q[q].slot, flags0 = 0, id = v->q[q].next++ % v->q[q].size;

    for (unsigned i = 0; i < n; i++) {
        uint16_t flags = more | (s[i].write ? D_WRITE : 0) | (i + 1 < n ? D_NEXT : 0) | (v->q[q].wrap ? D_AVAIL : D_USED);
        if (!i)
            flags0 = flags;
        put_desc(at + 16 * v->q[q].slot, &s[i], id, i ? flags : flags ^ (D_AVAIL | D_USED));
        if (++v->q[q].slot >= v->q[q].size) {
            v->q[q].slot = 0;
            v->q[q].wrap = !v->q[q].wrap;
        }
    }
    ram_put_le(at + 16 * first + 14, flags0, 2);
}

/* bit 0 of how: by an indirect table; bit 1: no bell. */
static void add_chain(Vdev *v, unsigned q, const Seg *s, unsigned n, uint8_t how)
{
    if (q >= VQS || !v->q[q].size)
        return;
    if (how & 1) {
        Seg table = { give(16 * n), 16 * n, false };
        for (unsigned i = 0; i < n; i++) {
            uint16_t flags = (s[i].write ? D_WRITE : 0) | (i + 1 < n && !v->packed ? D_NEXT : 0);
            put_desc(table.at + 16 * i, &s[i], v->packed ? 0 : flags, v->packed ? flags : i + 1);
        }
        marked = table.at;
        (v->packed ? add_packed : add_split)(v, q, &table, 1, D_INDIRECT);
    } else {
        (v->packed ? add_packed : add_split)(v, q, s, n, 0);
    }
    if (!(how & 2))
        vq_bell(v, q);
}

/* A byte: how many; each: which way and more, length, place, and bytes. */
static void any_chain(Vdev *v, unsigned q, uint8_t how)
{
    Seg s[SEGS];
    unsigned n = 1 + take(1) % SEGS;

    for (unsigned i = 0; i < n; i++) {
        uint8_t kind = take(1);
        s[i].write = kind & 1;
        s[i].len = take_len();
        s[i].at = take_place(s[i].len);
        if (kind & 2)
            ram_take(s[i].at, take(1));
    }
    add_chain(v, q, s, n, how);
}

/* ---- requests, by kind of device */

static Seg out_take(unsigned n)
{
    Seg s = { give(n), n, false };

    ram_take(s.at, n);
    return s;
}

static Seg data_seg(bool write)
{
    Seg s = { .len = take_len(), .write = write };

    s.at = take_place(s.len);
    return s;
}

static void blk_request(Vdev *v, uint8_t how)
{
    static const uint8_t types[] = { 0, 1, 4, 8, 11, 13, 14, 2, 16, 22 };
    uint8_t type = types[take(1) % G_N_ELEMENTS(types)], more = take(1);
    Seg s[SEGS] = { { give(16), 16, false } };
    unsigned n = 1;

    ram_put_le(s[0].at, type, 8);
    ram_put_le(s[0].at + 8, more & 0x80 ? take(4) : take(2) % 600, 8);
    if (type == 11 || type == 13 || type == 14)
        for (unsigned i = more & 3; i < 4 && n < SEGS - 1; i++)
            s[n++] = out_take(16);
    else
        for (unsigned i = 0; i < (more & 7); i++)
            s[n++] = data_seg(type != 1);
    s[n++] = (Seg){ more & 8 ? take_place(1) : give(1), more & 0x10 ? take_len() : 1, true };
    add_chain(v, how >> 4 & 1, s, n, how);
}

/* Units tell of a reset first: so that this is said. */
static void scsi_hello(Vdev *v)
{
    static const uint8_t luns[][8] = { { 1, 0 }, { 1, 1 }, { 1, 0, 0, 3 }, { 1, 1, 0, 0 } };

    for (unsigned i = 0; i < G_N_ELEMENTS(luns); i++) {
        Seg s[2] = { { give(64), 51, false }, { give(108), 108, true } };
        ram_put(s[0].at, luns[i], 8);
        add_chain(v, 2, s, 2, 0);
        turn();
    }
}

static void scsi_request(Vdev *v, uint8_t how)
{
    static const uint8_t ops[] = { 0x00, 0x03, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x25, 0x28, 0x2a, 0x2f, 0x35, 0x41, 0x42, 0x43, 0x46, 0x4a,
                                   0x51, 0x52, 0x55, 0x5a, 0x88, 0x8a, 0x8f, 0x93, 0x9e, 0xa0, 0xa8, 0xaa, 0xac, 0xad, 0xbd, 0x5e, 0x5f };
    uint8_t type = take(1), more = take(1), lun[8] = { 1, type >> 4 & 1, type & 0x20 ? 0x40 : 0, type & 0x80 ? 3 : type >> 6 & 1 };
    Seg s[SEGS];
    unsigned n = 1;

    if (!(type & 7)) {
        s[0] = out_take(24);            /* control */
        ram_put_le(s[0].at, type >> 3 & 3, 4);
        ram_put_le(s[0].at + 4, more & 15, 4);
        if (more & 0x10)
            ram_put(s[0].at + 8, lun, 8);
        s[n++] = (Seg){ give(8), more & 0x80 ? take_len() : 8, true };
        add_chain(v, 0, s, n, how);
        return;
    }
    if ((type & 7) == 1) {              /* room for events */
        s[0] = (Seg){ give(16), more & 0x80 ? take_len() : 16, true };
        add_chain(v, 1, s, 1, how);
        return;
    }
    if (!v->session) {
        v->session = true;
        scsi_hello(v);
    }
    s[0] = (Seg){ give(64), more & 0x80 ? take_len() : 51, false };
    ram_put(s[0].at, lun, 8);
    ram_put_le(s[0].at + 8, take(1), 8);
    uint8_t op = type & 8 ? take(1) : ops[take(1) % G_N_ELEMENTS(ops)];
    ram_put_le(s[0].at + 19, op, 1);
    if (op >> 5 == 1 || op >> 5 == 4 || op >> 5 == 5) {     /* 10, 16, 12 bytes: flags, block, how many */
        unsigned at = op >> 5 == 4 ? 26 : 22, count = op >> 5 == 1 ? 26 : op >> 5 == 4 ? 31 : 27;
        ram_put_le(s[0].at + 20, take(1), 1);
        ram_put_le(s[0].at + at, GUINT16_TO_BE(take(2) & 0x1ff), 2);
        ram_put_le(s[0].at + count, GUINT16_TO_BE(take(1) & 15), 2);
    } else {
        ram_take(s[0].at + 20, 15);
    }
    for (unsigned i = 0; i < (more & 3); i++)
        s[n++] = data_seg(false);
    if (more & 3 && s[1].at >= HEAP && s[1].at < HEAP + HEAP_SIZE)
        ram_take(s[1].at, take(1) & 63);
    s[n++] = (Seg){ give(108), more & 0x40 ? take_len() : 108, true };
    for (unsigned i = 0; i < (more >> 2 & 3); i++)
        s[n++] = data_seg(true);
    add_chain(v, 2 + (how >> 4 & 1), s, n, how);
}

static void net_request(Vdev *v, uint8_t how)
{
    unsigned pairs = v->v->n_queues, kind = take(1) % 8, n = 1;
    Seg s[SEGS];

    if (kind < 3) {                     /* room for frames */
        s[0] = (Seg){ give(2048), take_len(), true };
        if (kind)
            s[n++] = data_seg(true);
        add_chain(v, how & 0x10 ? 2 : 0, s, n, how);
    } else if (kind < 6) {              /* a frame, with its header */
        unsigned hdr = v->features >> 32 & 1 || v->features >> 15 & 1 ? 12 : 10;
        s[0] = out_take(hdr);
        s[n++] = out_take(14 + take(1) % 100);
        if (kind == 5)
            s[n++] = data_seg(false);
        add_chain(v, how & 0x10 ? 3 : 1, s, n, how);
    } else {                            /* class, command, and what it needs */
        s[0] = (Seg){ give(2), 2, false };
        ram_put_le(s[0].at, take(1) % 8, 1);
        ram_put_le(s[0].at + 1, take(1) % 6, 1);
        s[n++] = out_take(take(1) & 63);
        if (kind == 7)
            s[n++] = out_take(take(1));
        s[n++] = (Seg){ give(1), 1, true };
        add_chain(v, MIN(pairs - 1, VQS - 1), s, n, how);
    }
}

static void console_request(Vdev *v, uint8_t how)
{
    unsigned kind = take(1) % 4;
    Seg s;

    if (kind == 0) {                    /* a message about a port */
        s = (Seg){ give(8), 8, false };
        ram_put_le(s.at, take(1) & 7, 4);
        ram_put_le(s.at + 4, take(1) & 15, 2);
        ram_put_le(s.at + 6, take(1), 2);
        add_chain(v, 3, &s, 1, how);
    } else if (kind == 1) {
        s = (Seg){ give(256), take_len(), true };
        add_chain(v, how & 0x10 ? 2 : how & 0x20 ? 4 : 0, &s, 1, how);
    } else {
        s = kind == 2 ? out_take(take(1)) : data_seg(false);
        add_chain(v, how & 0x10 ? 1 : 5, &s, 1, how);
    }
}

static void p9_say(Vdev *v, Seg body, uint8_t how, uint32_t room)
{
    Seg s[2] = { body, { give(room), room, true } };

    add_chain(v, 0, s, 2, how);
}

/* Fields: f a fid, s a name, d 32 bits, q 64 bits, w 16 bits, b a byte, c a count and bytes, n names and their number. */
static const struct { uint8_t type; const char *fields; } p9_messages[] = {
    { 110, "ffn" }, { 12, "fd" }, { 14, "fsddd" }, { 72, "fsdd" }, { 118, "fqc" }, { 116, "fqd" }, { 40, "fqd" }, { 24, "fq" },
    { 26, "fddddqqqqq" }, { 16, "fssd" }, { 18, "fsdddd" }, { 20, "ffs" }, { 22, "f" }, { 30, "ffs" }, { 32, "fsqd" }, { 50, "fd" },
    { 52, "fbdqqds" }, { 54, "fbqqds" }, { 70, "ffs" }, { 74, "fsfs" }, { 76, "fsd" }, { 104, "ffssd" }, { 108, "w" }, { 120, "f" },
    { 122, "f" }, { 8, "f" }, { 110, "ffn" }, { 110, "ffn" }, { 14, "fsddd" },
};

static unsigned p9_field(char kind, uint8_t *p)
{
    static const char *const names[] = { "a", "b", "c", "f", "..", ".", "", "a/b", "user.x", ".virtfs_metadata", "long-name-of-a-file" };
    unsigned n = 0, len;
    uint64_t v;

    switch (kind) {
    case 's': {
        const char *name = names[take(1) % G_N_ELEMENTS(names)];
        n = strlen(name);
        put_le(p, n, 2);
        memcpy(p + 2, name, n);
        return n + 2;
    }
    case 'n':
        len = take(1) % 4;
        put_le(p, len, 2);
        for (n = 2; len; len--)
            n += p9_field('s', p + n);
        return n;
    case 'c':
        len = take(1) % 64;
        put_le(p, len, 4);
        memset(p + 4, 'x', len);
        return len + 4;
    default:
        n = kind == 'b' ? 1 : kind == 'w' ? 2 : kind == 'q' ? 8 : 4;
        len = take(1);
        v = kind == 'f' ? len % 6 : len & 0x80 ? take(4) : len;
        put_le(p, v, n);
        return n;
    }
}

static unsigned p9_body(const char *fields, uint8_t body[300])
{
    unsigned n = 0;

    while (*fields && n < 200)
        n += p9_field(*fields++, body + n);
    return n;
}

static void p9_request(Vdev *v, uint8_t how)
{
    static const uint8_t version[] = { 21, 0, 0, 0, 100, 255, 255, 0, 32, 0, 0, 8, 0, '9', 'P', '2', '0', '0', '0', '.', 'L' };
    static const uint8_t attach[] = { 23, 0, 0, 0, 104, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0 };
    Seg s;

    if (!v->session) {
        v->session = true;
        s = (Seg){ give(64), sizeof(version), false };
        ram_put(s.at, version, sizeof(version));
        p9_say(v, s, how & ~2, 4096);
        s = (Seg){ give(64), sizeof(attach), false };
        ram_put(s.at, attach, sizeof(attach));
        p9_say(v, s, how & ~2, 4096);
        turn();
    }
    uint8_t which = take(1), body[300];
    unsigned n = which & 0x80 ? take(1) : p9_body(p9_messages[which % G_N_ELEMENTS(p9_messages)].fields, body);
    s = (Seg){ give(400), 7u + n, false };
    ram_put_le(s.at, which & 0x40 ? take_len() : s.len, 4);
    ram_put_le(s.at + 4, p9_messages[which % G_N_ELEMENTS(p9_messages)].type, 1);
    ram_put_le(s.at + 5, take(1), 2);
    if (which & 0x80)
        ram_take(s.at + 7, n);
    else
        ram_put(s.at + 7, body, n);
    p9_say(v, s, how, which & 0x40 ? take_len() : 8192);
}

static void balloon_request(Vdev *v, uint8_t how)
{
    unsigned kind = take(1) % 6;
    Seg s[2];

    if (kind < 2) {                     /* pages, by number */
        s[0] = out_take(4 * (take(1) % 16));
        for (unsigned i = 0; i < s[0].len / 4; i += 2)
            ram_put_le(s[0].at + 4 * i, (HEAP >> 12) + 0x100 + i, 4);
        add_chain(v, kind, s, 1, how);
    } else if (kind == 2) {
        s[0] = out_take(10 * (take(1) % 8));
        add_chain(v, 2, s, 1, how);
    } else {
        s[0] = data_seg(kind != 3);
        s[1] = data_seg(true);
        add_chain(v, kind, s, 2, how);
    }
}

static void virtio_request(Vdev *v)
{
    uint8_t how = take(1);

    if (how & 0x80) {
        any_chain(v, how >> 4 & 7, how);
        return;
    }
    switch (v->id) {
    case T_BLK:     blk_request(v, how); break;
    case T_SCSI:    scsi_request(v, how); break;
    case T_NET:     net_request(v, how); break;
    case T_CONSOLE: console_request(v, how); break;
    case T_9P:      p9_request(v, how); break;
    case T_BALLOON: balloon_request(v, how); break;
    default:        any_chain(v, 0, how); break;
    }
}

/* One queue is reset, and maybe made anew. */
static void queue_reset(Vdev *v, unsigned q, bool again)
{
    if (!v->pci) {
        poke(v->base + 0x30, q, 4);
        poke(v->base + 0xc0, 1, 4);
    } else if (!v->legacy) {
        poke(bar_at(v->pci, 4) + 0x16, q, 2);
        poke(bar_at(v->pci, 4) + 0x3a, 1, 2);
    } else {
        poke(pci_io(v) + 14, q, 2);
        poke(pci_io(v) + 8, 0, 4);
    }
    if (again && q < VQS && v->q[q].size)
        queue_on(v, q, v->q[q].size);
}

/* Two bytes: what is wrong with the ring from now on. */
static void ring_wrong(Vdev *v)
{
    uint8_t how = take(1), q = how >> 5, at = take(1);
    uint64_t ring = ring_at(v, q);
    unsigned size = MAX(v->q[q].size, 1);

    switch (how & 7) {
    case 0: ram_put_le(ring + 16 * size + 2, take(2), 2); break;                    /* avail.idx */
    case 1: ram_put_le(ring + 16 * size + 4 + 2 * (at % size), take(2), 2); break;  /* a head */
    case 2: ram_put_le(ring + 16 * (at % size) + 12, take(2), 2); break;            /* flags */
    case 3: ram_put_le(ring + 16 * (at % size) + 14, take(2), 2); break;            /* next */
    case 4: ram_put_le(ring + 16 * (at % size) + 8, take_len(), 4); break;
    case 5: ram_put_le(ring + 16 * (at % size), take_place(64), 8); break;
    case 6: ram_put_le(ring + 16 * size + (at & 4 ? 4 + 2 * size : 0), take(2), 2); break;  /* flags, used_event */
    case 7: ram_take(ring + at * 4, take(1) & 31); break;
    }
}

#endif
