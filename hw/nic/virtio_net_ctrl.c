/* SPDX-License-Identifier: MIT */
/*
 * virtio-net's control queue (VIRTIO 1.2, 5.1.6.5): receive modes, MAC and VLAN
 * filters, announcements, how many queues are in use, offloads. And what these
 * mean for a frame. Everything is in the network's thread.
 *
 * Left out: RSS and hash reports, which are not offered.
 */
#include <string.h>

#include "hw/nic/virtio_net.h"
#include "util/log.h"

enum { CTRL_RX = 0, CTRL_MAC = 1, CTRL_VLAN = 2, CTRL_ANNOUNCE = 3, CTRL_MQ = 4, CTRL_GUEST_OFFLOADS = 5 };
enum { CTRL_OK = 0, CTRL_ERR = 1, CTRL_MOST = 8 << 10 /* bytes of a command */ };

/* A command's data: read once, in bounds. */
typedef struct Cmd { const uint8_t *p; size_t len; } Cmd;

static bool take(Cmd *c, void *to, size_t n)
{
    if (c->len < n)
        return false;
    memcpy(to, c->p, n);
    c->p += n;
    c->len -= n;
    return true;
}

static bool set_rx(VirtioNet *n, unsigned cmd, Cmd *c)
{
    bool *const flags[] = { &n->promisc, &n->allmulti, &n->alluni, &n->nomulti, &n->nouni, &n->nobcast };
    uint8_t on;

    if (cmd >= G_N_ELEMENTS(flags) || !virtio_has(&n->v, cmd < 2 ? VIRTIO_NET_F_CTRL_RX : VIRTIO_NET_F_CTRL_RX_EXTRA) ||
        !take(c, &on, 1))
        return false;
    *flags[cmd] = on;
    return true;
}

/* le32 count, then that many addresses; too many for us: all of the kind. */
static bool take_table(Cmd *c, MacTable *t)
{
    uint32_t count;

    if (!take(c, &count, 4))
        return false;
    count = le32toh(count);
    if (count > c->len / 6)
        return false;
    t->all = count > NET_MACS;
    t->n = t->all ? 0 : count;
    memcpy(t->list, c->p, t->n * 6);
    c->p += count * 6;
    c->len -= count * 6;
    return true;
}

static bool set_mac(VirtioNet *n, unsigned cmd, Cmd *c)
{
    MacTable uni = { 0 }, multi = { 0 };
    Mac mac;

    if (cmd == 0 && virtio_has(&n->v, VIRTIO_NET_F_CTRL_RX) && take_table(c, &uni) && take_table(c, &multi)) {
        n->uni = uni;
        n->multi = multi;
        return true;
    }
    if (cmd == 1 && virtio_has(&n->v, VIRTIO_NET_F_CTRL_MAC_ADDR) && take(c, mac.a, 6)) {
        virtio_net_set_mac(n, mac.a);
        return true;
    }
    return false;
}

static bool set_vlan(VirtioNet *n, unsigned cmd, Cmd *c)
{
    uint16_t id;

    if (cmd > 1 || !virtio_has(&n->v, VIRTIO_NET_F_CTRL_VLAN) || !take(c, &id, 2) || (id = le16toh(id)) >= 4096)
        return false;
    if (cmd == 0)
        n->vlans[id / 8] |= 1 << id % 8;
    else
        n->vlans[id / 8] &= ~(1 << id % 8);
    return true;
}

static bool set_pairs(VirtioNet *n, unsigned cmd, Cmd *c)
{
    uint16_t pairs;

    if (cmd != 0 || !virtio_has(&n->v, VIRTIO_NET_F_MQ) || !take(c, &pairs, 2))
        return false;
    pairs = le16toh(pairs);
    if (!pairs || pairs > n->n_pairs)
        return false;
    n->active = pairs;
    return true;
}

unsigned virtio_net_guest_offloads(uint64_t f)
{
    static const struct { unsigned bit, offload; } rows[] = {
        { VIRTIO_NET_F_GUEST_CSUM, NET_CSUM }, { VIRTIO_NET_F_GUEST_TSO4, NET_TSO4 }, { VIRTIO_NET_F_GUEST_TSO6, NET_TSO6 },
        { VIRTIO_NET_F_GUEST_ECN, NET_ECN }, { VIRTIO_NET_F_GUEST_UFO, NET_UFO },
    };
    unsigned offloads = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        offloads |= f >> rows[i].bit & 1 ? rows[i].offload : 0;
    if (f >> VIRTIO_NET_F_GUEST_USO4 & f >> VIRTIO_NET_F_GUEST_USO6 & 1)
        offloads |= NET_USO;
    /* Without the first the others mean nothing. */
    return offloads & NET_CSUM ? offloads : 0;
}

#define BIT(n) (UINT64_C(1) << (n))
static const uint64_t guest_offload_bits =
    BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) |
    BIT(VIRTIO_NET_F_GUEST_UFO) | BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6);

static bool set_offloads(VirtioNet *n, unsigned cmd, Cmd *c)
{
    uint64_t bits;

    if (cmd != 0 || !virtio_has(&n->v, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) || !take(c, &bits, 8))
        return false;
    bits = le64toh(bits);
    if (bits & ~(n->v.features & guest_offload_bits))
        return false;
    n->offloads = virtio_net_guest_offloads(bits);
    virtio_net_agree(n);
    return true;
}

/* The filter is another: who has asked for it hears of that once. */
static bool told(VirtioNet *n, bool done)
{
    const Device *d = n->v.dev.outer ? n->v.dev.outer : &n->v.dev;

    if (done && n->asked) {
        json_t *data = json_pack("{s:s}", "path", n->asked);

        if (d->id)
            json_object_set_new(data, "name", json_string(d->id));
        g_clear_pointer(&n->asked, g_free);
        vm_event(d->vm, "NIC_RX_FILTER_CHANGED", data);
    }
    return done;
}

typedef struct FilterQuery { VirtioNet *n; const char *path; NicFilter *out; } FilterQuery;

static NicTakes takes(bool none, bool all)
{
    return none ? NIC_TAKES_NONE : all ? NIC_TAKES_ALL : NIC_TAKES_NORMAL;
}

static void show_filter(void *opaque)
{
    const FilterQuery *q = opaque;
    VirtioNet *n = q->n;
    bool vlan = virtio_has(&n->v, VIRTIO_NET_F_CTRL_VLAN);

    *q->out = (NicFilter){
        .promiscuous = n->promisc, .broadcast = !n->nobcast, .multicast_overflow = n->multi.all, .unicast_overflow = n->uni.all,
        .multicast = takes(n->nomulti, n->allmulti), .unicast = takes(n->nouni, n->alluni),
        .vlan = vlan ? NIC_TAKES_NORMAL : NIC_TAKES_ALL, .own = virtio_net_mac(n),
        .unicast_table = g_array_new(FALSE, FALSE, sizeof(Mac)), .multicast_table = g_array_new(FALSE, FALSE, sizeof(Mac)),
        .vlans = g_array_new(FALSE, FALSE, sizeof(uint16_t)),
    };
    g_array_append_vals(q->out->unicast_table, n->uni.list, n->uni.n);
    g_array_append_vals(q->out->multicast_table, n->multi.list, n->multi.n);
    for (int id = 4095; id >= 0; id--) {
        uint16_t v = (uint16_t)id;

        if (vlan && n->vlans[id / 8] >> id % 8 & 1)
            g_array_append_val(q->out->vlans, v);
    }
    g_free(n->asked);
    n->asked = g_strdup(q->path);
}

bool virtio_net_filter(Device *d, const char *path, NicFilter *out)
{
    VirtioNet *n = (VirtioNet *)(d->inner ? d->inner : d);
    FilterQuery q = { n, path, out };

    if (g_strcmp0(n->v.dev.cls->name, "virtio-net-device") || n->v.ops != &virtio_net_ops)
        return false;
    nic_run(d->vm, show_filter, &q);
    return true;
}

static bool obey(VirtioNet *n, VirtElem *e)
{
    uint8_t bytes[CTRL_MOST];
    IoVec out = virt_out(e);
    Cmd c = { bytes + 2, 0 };

    if (out.len < 2 || out.len > sizeof(bytes))
        return false;
    iov_read(&out, 0, bytes, out.len);
    c.len = out.len - 2;
    switch (bytes[0]) {
    case CTRL_RX:             return told(n, set_rx(n, bytes[1], &c));
    case CTRL_MAC:            return told(n, set_mac(n, bytes[1], &c));
    case CTRL_VLAN:           return told(n, set_vlan(n, bytes[1], &c));
    case CTRL_MQ:             return set_pairs(n, bytes[1], &c);
    case CTRL_GUEST_OFFLOADS: return set_offloads(n, bytes[1], &c);
    case CTRL_ANNOUNCE:
        if (bytes[1] != 0 || !virtio_has(&n->v, VIRTIO_NET_F_GUEST_ANNOUNCE))
            return false;
        n->announce = false;
        return true;
    default:
        return false;
    }
}

void virtio_net_control(VirtioNet *n, VirtQueue *q)
{
    VirtElem *e;

    while ((e = virtq_pop(q, sizeof(*e)))) {
        IoVec in = virt_in(e);

        if (!in.len) {
            virtq_broken(q, "a command without room for its status");
            virtq_drop(q, e);
            return;
        }
        uint8_t status = obey(n, e) ? CTRL_OK : CTRL_ERR;

        if (status == CTRL_ERR && log_on(LOG_GUEST_ERRORS))
            guest_error("virtio-net: a command that is not understood");
        iov_write(&in, 0, &status, 1);
        virtq_push(q, e, 1);
        virtq_notify(q);
    }
}

/* ---- what they mean */

void virtio_net_defaults(VirtioNet *n)
{
    n->active = 1;
    n->offloads = 0;
    n->promisc = true;          /* a driver that does not say which frames it wants gets all */
    n->allmulti = n->alluni = n->nomulti = n->nouni = n->nobcast = false;
    n->uni.n = n->multi.n = 0;
    n->uni.all = n->multi.all = false;
    memset(n->vlans, 0, sizeof(n->vlans));
    virtio_net_set_mac(n, n->own.a);
    n->announce = false;
}

static bool in_table(const MacTable *t, const uint8_t *mac)
{
    for (unsigned i = 0; i < t->n; i++)
        if (!memcmp(t->list[i].a, mac, 6))
            return true;
    return t->all;
}

bool virtio_net_wants(const VirtioNet *n, const IoVec *plain)
{
    static const uint8_t all[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
    uint8_t f[16];
    size_t have = MIN(plain->len, sizeof(f));

    iov_read(plain, 0, f, have);
    if (have == 16 && f[12] == 0x81 && f[13] == 0 && virtio_has(&n->v, VIRTIO_NET_F_CTRL_VLAN)) {
        unsigned id = (f[14] << 8 | f[15]) & 0xfff;

        if (!(n->vlans[id / 8] >> id % 8 & 1))
            return false;
    }
    if (n->promisc)
        return true;
    if (!memcmp(f, all, 6))
        return !n->nobcast;
    if (f[0] & 1)
        return !n->nomulti && (n->allmulti || in_table(&n->multi, f));
    Mac own = virtio_net_mac(n);

    return !n->nouni && (n->alluni || !memcmp(f, own.a, 6) || in_table(&n->uni, f));
}
