/* SPDX-License-Identifier: MIT */
/*
 * virtio-net, played by a driver in C over virtio-mmio: configuration, frames
 * both ways over split and packed rings, merged buffers, offloads, the control
 * queue and its filters, a backend without room, a driver that does it wrong.
 *
 * The other side of its cable is a port of the test's, in the network's thread.
 */
#include "hw/nic/virtio_net.h"
#include "tests/dev/events.h"
#include "tests/dev/virtio-driver.h"
#include "tests/unit/net-rig.h"

enum { RX = 0, TX = 1, CTRL = 2 };

static const uint8_t mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 };
static const char *const model = "virtio-net-device";

typedef struct Net1 {
    Rig r;
    Vd d;
    VirtioNet *n;
    Nic peer;                   /* the network's thread's, but while that stands */
    VdQueue *rx, *tx, *ctrl;
} Net1;

/* ---- in the network's thread */

static void on_net(Net1 *t, void (*fn)(void *), void *arg)
{
    vm_unlock(t->r.vm);
    iothread_run(t->r.vm->net_thread, fn, arg);
    vm_lock(t->r.vm);
}

static void do_link(void *opaque)
{
    Net1 *t = opaque;

    must(net_link_ports(&t->n->pairs[0].port, &t->peer.port));
    virtio_net_agree(t->n);
}

static void do_unlink(void *opaque)
{
    Net1 *t = opaque;

    net_unlink(&t->peer.port);
    nic_clear(&t->peer);
}

typedef struct Sending { Net1 *t; const NetHdr *h; const void *bytes; size_t len; bool sent; } Sending;

static void do_send(void *opaque)
{
    Sending *s = opaque;

    s->sent = nic_send(&s->t->peer, s->h, s->bytes, s->len);
}

static bool peer_send(Net1 *t, const NetHdr *h, const void *bytes, size_t len)
{
    Sending s = { t, h, bytes, len, false };

    on_net(t, do_send, &s);
    return s.sent;
}

static void do_pop(void *opaque)
{
    Net1 *t = ((void **)opaque)[0];

    ((void **)opaque)[1] = g_queue_pop_head(&t->peer.got);
}

static bool has_room(Net1 *t) { return t->peer.rooms > 0; }
static bool is_broken(Net1 *t) { return t->d.t->status(&t->d) & VIRTIO_NEEDS_RESET; }

/* The network's thread has its own time: turns until it is so, five seconds at most. */
static bool soon(Net1 *t, bool (*is)(Net1 *))
{
    for (int64_t end = g_get_monotonic_time() + 5000000; !is(t) && g_get_monotonic_time() < end;)
        rig_turn(&t->r, 1);
    return is(t);
}

/* The next frame that the device sent; NULL: none within two seconds (`now`: at once). */
static Got *peer_got(Net1 *t, bool now)
{
    int64_t end = g_get_monotonic_time() + 2000000;
    void *arg[2] = { t, NULL };

    do {
        on_net(t, do_pop, arg);
        if (!arg[1] && !now)
            rig_turn(&t->r, 0);
    } while (!arg[1] && !now && g_get_monotonic_time() < end);
    return arg[1];
}

static void do_room(void *opaque)
{
    Net1 *t = opaque;

    t->peer.full = false;
    net_room(&t->peer.port);
}

static void do_down(void *opaque) { net_set_link(&((Net1 *)opaque)->peer.port, false); }
static void do_up(void *opaque) { net_set_link(&((Net1 *)opaque)->peer.port, true); }
static void do_full(void *opaque) { ((Net1 *)opaque)->peer.full = true; }

/* ---- the machine */

static void made(void *opaque)
{
    Net1 *t = opaque;

    t->r.vm->net = net_new(iothread_loop(t->r.vm->net_thread));
}

static void ended(void *opaque) { net_free(opaque); }

static void prepare(Net1 *t, const char *props)
{
    g_autofree char *arg = g_strdup_printf("%s,%s", model, props);

    rig_init(&t->r);
    t->r.config.devices = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(t->r.config.devices, g_strdup(arg));
    rig_must(iothread_new(t->r.vm, "net", &t->r.vm->net_thread));
    on_net(t, made, t);
}

static void start(Net1 *t, const char *props)
{
    prepare(t, props);
    rig_board(&t->r);
    vd_open_mmio(&t->d, &t->r, 7);
    for (Device *d = machine_of(t->r.vm)->devices; d; d = d->next)
        if (!strcmp(d->cls->name, model))
            t->n = (VirtioNet *)d;
    nic_init(&t->peer, "peer", 12, NET_OFFLOADS);
    on_net(t, do_link, t);
}

static void stop(Net1 *t)
{
    Vm *vm = t->r.vm;
    GPtrArray *devices = t->r.config.devices;

    on_net(t, do_unlink, t);
    board_free(vm);
    on_net(t, ended, vm->net);
    vm_unlock(vm);
    iothread_free(vm->net_thread);
    vm_lock(vm);
    vm->net = NULL;
    vm->net_thread = NULL;
    rig_free(&t->r);
    g_ptr_array_free(devices, true);
}

static void go(Net1 *t, uint64_t features)
{
    CHECK(vd_start(&t->d, features));
    t->rx = vd_queue(&t->d, RX, 64);
    t->tx = vd_queue(&t->d, TX, 64);
    t->ctrl = vd_queue(&t->d, CTRL, 16);
    vd_go(&t->d);
}

static uint64_t buffer(Net1 *t, size_t len) { return vd_alloc(&t->d, len, 16); }

static void frame_bytes(uint8_t *f, size_t len, const uint8_t *dst)
{
    for (size_t i = 0; i < len; i++)
        f[i] = i * 7;
    memcpy(f, dst, 6);
    memcpy(f + 6, mac, 6);
    set16(f + 12, 0x88b5);
}

static int64_t guest_send(Net1 *t, const NetHdr *h, const void *bytes, size_t len)
{
    uint64_t at = buffer(t, 12 + len);

    memset(vd_ptr(&t->d, at, 12), 0, 12);
    if (h)
        memcpy(vd_ptr(&t->d, at, 12), h, 12);
    memcpy(vd_ptr(&t->d, at + 12, len), bytes, len);
    return vd_call(t->tx, (VdBuf[]){ { at, 12 }, { at + 12, len / 2 }, { at + 12 + len / 2, len - len / 2 } }, 3, 0);
}

/* ---- cases */

static void configuration(void)
{
    Net1 t;

    start(&t, "mac=52:54:00:aa:bb:cc,host_mtu=9000,speed=10000,duplex=full");
    CHECK_EQ(rd32(&t.r, t.d.base + 8), 1);
    CHECK(vd_start(&t.d, ~UINT64_C(0)));
    uint64_t f = t.d.features;
    static const unsigned bits[] = { 0, 1, 2, 3, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 23, 54, 55, 56, 63 };
    for (size_t i = 0; i < G_N_ELEMENTS(bits); i++)
        CHECK(f >> bits[i] & 1);
    CHECK(!(f >> VIRTIO_NET_F_MQ & 1));
    static const uint8_t own[6] = { 0x52, 0x54, 0, 0xaa, 0xbb, 0xcc };
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(t.d.t->config(&t.d, i, 1), own[i]);
    CHECK_EQ(t.d.t->config(&t.d, 6, 2), 1);
    CHECK_EQ(t.d.t->config(&t.d, 8, 2), 1);
    CHECK_EQ(t.d.t->config(&t.d, 10, 2), 9000);
    CHECK_EQ(t.d.t->config(&t.d, 12, 4), 10000);
    CHECK_EQ(t.d.t->config(&t.d, 16, 1), 1);
    vd_go(&t.d);
    t.d.t->isr(&t.d);
    on_net(&t, do_down, &t);
    CHECK_EQ(t.d.t->config(&t.d, 6, 2), 0);
    CHECK_EQ(t.d.t->isr(&t.d) & 2, 2);
    on_net(&t, do_up, &t);
    CHECK_EQ(t.d.t->config(&t.d, 6, 2), 1);
    stop(&t);
}

static void both_ways(uint64_t features)
{
    uint8_t f[1000];
    uint32_t len = 0;
    Net1 t;

    start(&t, "packed=on,in_order=on");
    go(&t, features);
    frame_bytes(f, sizeof(f), mac);
    for (int i = 0; i < 200; i++) {
        f[20] = i;
        CHECK_EQ(guest_send(&t, NULL, f, sizeof(f)), 0);
        Got *g = peer_got(&t, false);
        CHECK(g && g->len == sizeof(f) && !memcmp(g->f, f, sizeof(f)));
        g_free(g);
        uint64_t at = i % 2 ? buffer(&t, 2048) : VD_RAM + 0x80000;
        int id = vd_add(t.rx, (VdBuf[]){ { at, 5 }, { at + 5, 2043 } }, 0, 2);
        vd_kick(t.rx);
        CHECK(peer_send(&t, NULL, f, sizeof(f)));
        CHECK(vd_wait(&t.d, t.rx, &len) == id && len == sizeof(f) + 12);
        CHECK(!memcmp(vd_ptr(&t.d, at + 12, sizeof(f)), f, sizeof(f)));
        CHECK_EQ(vd_get(&t.d, at + 10, 2), 1);
    }
    stop(&t);
}

static void split(void) { both_ways(0); }
static void events(void) { both_ways(VD_BIT(VIRTIO_F_EVENT_IDX) | VD_BIT(VIRTIO_NET_F_MRG_RXBUF)); }
static void packed(void) { both_ways(VD_BIT(VIRTIO_F_RING_PACKED)); }
static void in_order(void) { both_ways(VD_BIT(VIRTIO_F_IN_ORDER) | VD_BIT(VIRTIO_F_EVENT_IDX)); }

static const uint64_t tso = VD_BIT(VIRTIO_NET_F_GUEST_CSUM) | VD_BIT(VIRTIO_NET_F_GUEST_TSO4) | VD_BIT(VIRTIO_NET_F_CSUM) |
                            VD_BIT(VIRTIO_NET_F_HOST_TSO4) | VD_BIT(VIRTIO_NET_F_MRG_RXBUF);
static uint8_t big[30054];

static NetHdr tso_frame(void)
{
    uint8_t *s = put_ip4(big, mac, mac, "10.0.2.2", "10.0.2.15", 6, 20 + 30000);

    memset(s, 0, 20);
    s[12] = 0x50;
    for (int i = 0; i < 30000; i++)
        s[20 + i] = i * 13;
    return (NetHdr){ .flags = 1, .gso_type = NET_GSO_TCP4, .hdr_len = 54, .gso_size = 1460, .csum_start = 34, .csum_offset = 16 };
}

static void merged(void)
{
    NetHdr h = tso_frame();
    uint64_t at[10];
    uint32_t len = 0;
    size_t have = 0;
    Net1 t;

    start(&t, "status=on");
    go(&t, tso);
    for (int i = 0; i < 7; i++) {
        at[i] = buffer(&t, 4096);
        vd_add(t.rx, (VdBuf[]){ { at[i], 4096 } }, 0, 1);
    }
    vd_kick(t.rx);
    /* Seven are too few: it waits, whole. */
    CHECK(!peer_send(&t, &h, big, sizeof(big)));
    CHECK_EQ(vd_used(t.rx, &len), -1);
    at[7] = buffer(&t, 4096);
    vd_add(t.rx, (VdBuf[]){ { at[7], 4096 } }, 0, 1);
    vd_kick(t.rx);
    CHECK(soon(&t, has_room) && peer_send(&t, &h, big, sizeof(big)));
    for (int i = 0; i < 8; i++) {
        CHECK(vd_wait(&t.d, t.rx, &len) >= 0);
        size_t skip = i ? 0 : 12;
        CHECK(!memcmp(vd_ptr(&t.d, at[i] + skip, len - skip), big + have, len - skip));
        have += len - skip;
    }
    CHECK_EQ(have, sizeof(big));
    CHECK_EQ(vd_get(&t.d, at[0] + 10, 2), 8);
    CHECK_EQ(vd_get(&t.d, at[0] + 1, 1), NET_GSO_TCP4);
    CHECK_EQ(vd_get(&t.d, at[0] + 4, 2), 1460);
    /* From the guest it passes as it is. */
    CHECK_EQ(guest_send(&t, &h, big, sizeof(big)), 0);
    Got *g = peer_got(&t, false);
    CHECK(g && g->h.gso_type == NET_GSO_TCP4 && g->len == sizeof(big));
    g_free(g);
    stop(&t);
}

/* A driver without these features gets plain frames, filled in. */
static void cut(void)
{
    NetHdr h = tso_frame();
    uint32_t len = 0;
    unsigned n = 0;
    Net1 t;

    start(&t, "status=on");
    go(&t, 0);
    for (int i = 0; i < 21; i++)
        vd_add(t.rx, (VdBuf[]){ { VD_RAM + 0x200000 + 2048 * i, 2048 } }, 0, 1);
    vd_kick(t.rx);
    CHECK(peer_send(&t, &h, big, sizeof(big)));
    for (; n < 21 && vd_wait(&t.d, t.rx, &len) >= 0; n++) {
        const uint8_t *f = vd_ptr(&t.d, VD_RAM + 0x200000 + 2048 * n, 2048);

        CHECK(f[0] == 0 && f[1] == 0 && get16(f + 12 + 50) == ref_l4_csum(f + 26, len - 26, 16));
    }
    CHECK_EQ(n, 21);
    /* Too small a buffer loses its frame and nothing else. */
    uint8_t f[300];
    frame_bytes(f, sizeof(f), mac);
    vd_add(t.rx, (VdBuf[]){ { VD_RAM + 0x200000, 100 } }, 0, 1);
    vd_kick(t.rx);
    CHECK(peer_send(&t, NULL, f, sizeof(f)));
    CHECK_EQ(vd_used(t.rx, &len), -1);
    CHECK(peer_send(&t, NULL, f, 60));
    CHECK(vd_wait(&t.d, t.rx, &len) >= 0 && len == 72);
    stop(&t);
}

static int command(Net1 *t, unsigned class, unsigned cmd, const void *data, size_t len)
{
    uint64_t at = buffer(t, 2 + len), ack = buffer(t, 1);

    vd_put(&t->d, at, class | cmd << 8, 2);
    memcpy(vd_ptr(&t->d, at + 2, len + 1), data, len);
    vd_put(&t->d, ack, 0xee, 1);
    if (vd_call(t->ctrl, (VdBuf[]){ { at, 2 + len }, { ack, 1 } }, 1, 1) != 1)
        return -1;
    return vd_get(&t->d, ack, 1);
}

/* Does a frame to that address come to the guest? */
static bool comes(Net1 *t, const uint8_t *dst, int vlan)
{
    uint8_t f[64];
    uint32_t len = 0;

    frame_bytes(f, sizeof(f), dst);
    if (vlan >= 0)
        set16(f + 12, 0x8100), set16(f + 14, vlan);
    CHECK(peer_send(t, NULL, f, sizeof(f)));
    on_net(t, do_room, t);          /* what was pushed is told by now */
    if (vd_used(t->rx, &len) < 0)
        return false;
    vd_add(t->rx, (VdBuf[]){ { VD_RAM + 0x300000, 2048 } }, 0, 1);
    vd_kick(t->rx);
    return true;
}

static void control(void)
{
    static const uint8_t other[6] = { 2, 0, 0, 0, 0, 9 }, group[6] = { 1, 0, 0x5e, 0, 0, 1 }, all[6] = { 255, 255, 255, 255, 255, 255 };
    uint8_t table[20] = { 1, 0, 0, 0, 2, 0, 0, 0, 0, 9, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1 };
    Events ev;
    Net1 t;

    start(&t, "status=on");
    go(&t, ~(VD_BIT(VIRTIO_F_RING_PACKED) | VD_BIT(VIRTIO_F_IN_ORDER) | VD_BIT(VIRTIO_NET_F_CTRL_VLAN)));
    events_listen(&ev, t.r.vm);
    for (int i = 0; i < 8; i++)
        vd_add(t.rx, (VdBuf[]){ { VD_RAM + 0x300000, 2048 } }, 0, 1);
    vd_kick(t.rx);
    CHECK(comes(&t, other, -1) && comes(&t, group, -1) && comes(&t, mac, 5));
    CHECK_EQ(command(&t, 0, 0, "\0", 1), 0);
    CHECK(comes(&t, mac, -1) && comes(&t, all, -1) && !comes(&t, other, -1) && !comes(&t, group, -1));
    /* Who asks hears of the next change, once. */
    NicFilter f;
    CHECK(virtio_net_filter(&t.n->v.dev, "/path", &f));
    CHECK(!f.promiscuous && f.broadcast && f.vlan == NIC_TAKES_ALL && !f.unicast_table->len && !f.vlans->len);
    nic_filter_clear(&f);
    CHECK_EQ(command(&t, 1, 0, table, 20), 0);
    CHECK(comes(&t, other, -1) && comes(&t, group, -1));
    CHECK_EQ(command(&t, 0, 5, "\0", 1), 0);
    g_autofree char *told = events_take(&ev);
    CHECK_STR(told, "NIC_RX_FILTER_CHANGED {\"path\":\"/path\"}\n");
    CHECK(virtio_net_filter(&t.n->v.dev, "/path", &f));
    CHECK(f.unicast_table->len == 1 && f.multicast_table->len == 1 && !memcmp(f.unicast_table->data, other, 6));
    nic_filter_clear(&f);
    events_end(&ev, t.r.vm);
    CHECK_EQ(command(&t, 0, 5, "\1", 1), 0);
    CHECK(!comes(&t, all, -1));
    CHECK_EQ(command(&t, 0, 3, "\1", 1), 0);
    CHECK(!comes(&t, group, -1));
    CHECK_EQ(command(&t, 0, 4, "\1", 1), 0);
    CHECK(!comes(&t, mac, -1));
    CHECK_EQ(command(&t, 0, 0, "\1", 1), 0);
    CHECK(comes(&t, other, -1));
    /* Another address. */
    CHECK_EQ(command(&t, 1, 1, "\2\1\1\1\1\1", 6), 0);
    CHECK_EQ(t.d.t->config(&t.d, 5, 1), 1);
    /* Offloads: fewer, then one that was not agreed on. */
    uint64_t bits = htole64(VD_BIT(VIRTIO_NET_F_GUEST_CSUM));
    CHECK_EQ(command(&t, 5, 0, &bits, 8), 0);
    CHECK_EQ(t.n->offloads, NET_CSUM);
    bits = htole64(VD_BIT(40));
    CHECK_EQ(command(&t, 5, 0, &bits, 8), 1);
    /* Announcing itself. */
    virtio_net_announce(&t.n->v.dev);
    CHECK_EQ(t.d.t->config(&t.d, 6, 2), 3);
    CHECK_EQ(command(&t, 3, 0, "", 0), 0);
    CHECK_EQ(t.d.t->config(&t.d, 6, 2), 1);
    /* Nonsense. */
    CHECK_EQ(command(&t, 0, 9, "\1", 1), 1);
    CHECK_EQ(command(&t, 0, 0, "", 0), 1);
    CHECK_EQ(command(&t, 99, 0, "", 0), 1);
    CHECK_EQ(command(&t, 2, 0, "\1\0", 2), 1);
    CHECK_EQ(command(&t, 4, 0, "\2\0", 2), 1);
    CHECK_EQ(command(&t, 1, 0, "\xff\xff\xff\xff", 4), 1);
    CHECK_EQ(command(&t, 1, 0, table, 19), 1);
    CHECK_EQ(command(&t, 1, 1, "\2\1", 2), 1);
    /* No room for the answer: that queue is broken, the others go on. */
    vd_add(t.ctrl, (VdBuf[]){ { VD_RAM + 0x300000, 3 } }, 1, 0);
    vd_kick(t.ctrl);
    CHECK(soon(&t, is_broken));
    CHECK(comes(&t, other, -1));
    stop(&t);
}

static void vlans(void)
{
    Net1 t;

    start(&t, "status=on");
    go(&t, VD_BIT(VIRTIO_NET_F_CTRL_VQ) | VD_BIT(VIRTIO_NET_F_CTRL_VLAN));
    vd_add(t.rx, (VdBuf[]){ { VD_RAM + 0x300000, 2048 } }, 0, 1);
    vd_kick(t.rx);
    CHECK(comes(&t, mac, -1) && !comes(&t, mac, 7));
    CHECK_EQ(command(&t, 2, 0, "\7\0", 2), 0);
    CHECK(comes(&t, mac, 7) && !comes(&t, mac, 8));
    CHECK_EQ(command(&t, 2, 1, "\7\0", 2), 0);
    CHECK(!comes(&t, mac, 7));
    CHECK_EQ(command(&t, 2, 0, "\0\x10", 2), 1);
    stop(&t);
}

/* The backend has no room: buffers stay with the device, and go when it has, in order. */
static void backpressure(void)
{
    uint8_t f[100];
    uint32_t len;
    Net1 t;

    start(&t, "status=on");
    go(&t, VD_BIT(VIRTIO_F_EVENT_IDX));
    on_net(&t, do_full, &t);
    frame_bytes(f, sizeof(f), mac);
    for (int i = 0; i < 40; i++) {
        uint64_t at = buffer(&t, 112);

        f[30] = i;
        memset(vd_ptr(&t.d, at, 12), 0, 12);
        memcpy(vd_ptr(&t.d, at + 12, 100), f, 100);
        vd_add(t.tx, (VdBuf[]){ { at, 112 } }, 1, 0);
        vd_kick(t.tx);
    }
    rig_turn(&t.r, 20);
    CHECK_EQ(vd_used(t.tx, &len), -1);
    on_net(&t, do_room, &t);
    for (int i = 0; i < 40; i++) {
        Got *g = peer_got(&t, false);

        CHECK(vd_wait(&t.d, t.tx, &len) >= 0);
        CHECK(g && g->f[30] == i);
        g_free(g);
    }
    /* A reset while it has none: the next driver starts afresh. */
    on_net(&t, do_full, &t);
    vd_add(t.tx, (VdBuf[]){ { VD_RAM + 0x300000, 112 } }, 1, 0);
    vd_kick(t.tx);
    rig_turn(&t.r, 10);
    go(&t, 0);
    on_net(&t, do_room, &t);
    CHECK_EQ(guest_send(&t, NULL, f, sizeof(f)), 0);
    stop(&t);
}

static void wrong_frames(void)
{
    uint8_t f[100];
    Net1 t;

    start(&t, "status=on");
    go(&t, tso);
    frame_bytes(f, sizeof(f), mac);
    CHECK_EQ(vd_call(t.tx, (VdBuf[]){ { VD_RAM + 0x300000, 3 } }, 1, 0), 0);
    CHECK_EQ(vd_call(t.tx, (VdBuf[]){ { VD_RAM + 0x300000, 12 } }, 1, 0), 0);
    CHECK_EQ(vd_call(t.tx, (VdBuf[]){ { VD_RAM + 0x300000, 1 << 20 } }, 1, 0), 0);
    CHECK_EQ(vd_call(t.tx, (VdBuf[]){ { VD_RAM + 0x300000, 100 } }, 0, 1), 0);
    /* Headers that lie: whatever comes of it, the next frame is fine. */
    for (unsigned i = 0; i < 300; i++) {
        NetHdr h = { .flags = i % 4, .gso_type = i * 31 % 256, .hdr_len = i * 77, .gso_size = i * 7919 % 70000,
                     .csum_start = i * 131 % 300, .csum_offset = i * 17 % 100 };

        CHECK_EQ(guest_send(&t, &h, f, sizeof(f)), 0);
    }
    void *all = t.peer.got.head;
    on_net(&t, do_unlink, &t);
    CHECK(all != NULL || true);
    on_net(&t, do_link, &t);
    CHECK_EQ(guest_send(&t, NULL, f, sizeof(f)), 0);
    Got *g = peer_got(&t, false);
    CHECK(g && !memcmp(g->f, f, sizeof(f)));
    g_free(g);
    /* Receive buffers without room for anything: that queue alone stops. */
    vd_add(t.rx, (VdBuf[]){ { VD_RAM + 0x300000, 4 }, { VD_RAM + 0x301000, 4 } }, 2, 0);
    vd_kick(t.rx);
    CHECK(peer_send(&t, NULL, f, sizeof(f)) || true);
    CHECK_EQ(guest_send(&t, NULL, f, sizeof(f)), 0);
    stop(&t);
}

/* Without a driver frames are lost; while the machine stands they wait. */
static void standing(void)
{
    uint8_t f[100];
    uint32_t len;
    Net1 t;

    start(&t, "status=on");
    frame_bytes(f, sizeof(f), mac);
    CHECK(peer_send(&t, NULL, f, sizeof(f)));
    go(&t, 0);
    vd_add(t.rx, (VdBuf[]){ { VD_RAM + 0x300000, 2048 } }, 0, 1);
    vd_kick(t.rx);
    virtio_hold(&t.n->v, VIRTIO_HOLD_STOPPED, true);
    CHECK(!peer_send(&t, NULL, f, sizeof(f)));
    virtio_hold(&t.n->v, VIRTIO_HOLD_STOPPED, false);
    CHECK(soon(&t, has_room) && peer_send(&t, NULL, f, sizeof(f)));
    CHECK(vd_wait(&t.d, t.rx, &len) >= 0);
    stop(&t);
}

static void mistakes(void)
{
    static const char *const rows[][2] = {
        { "netdev=nowhere", "no network backend 'nowhere'" }, { "mac=1:2:3", "no MAC address" },
        { "mac=01:00:00:00:00:00", "multicast" }, { "rx_queue_size=100", "power of two" }, { "tx_queue_size=2048", "power of two" },
        { "rss=on", "rss=on is not available" }, { "failover=on", "failover=on is not available" }, { "tx=maybe", "bh or timer" },
        { "duplex=quarter", "full or half" }, { "host_mtu=20", "least is 68" }, { "gues_csum=off", "Did you mean 'guest_csum'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Net1 t;

        prepare(&t, rows[i][0]);
        nic_init(&t.peer, "peer", 12, 0);
        CHECK(rig_says(rig_try_board(&t.r), rows[i][1]));
        stop(&t);
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    RUN(configuration);
    RUN(split);
    RUN(events);
    RUN(packed);
    RUN(in_order);
    RUN(merged);
    RUN(cut);
    RUN(control);
    RUN(vlans);
    RUN(backpressure);
    RUN(wrong_frames);
    RUN(standing);
    RUN(mistakes);
    return test_end();
}
