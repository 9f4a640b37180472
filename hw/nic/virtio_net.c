/* SPDX-License-Identifier: MIT */
/*
 * virtio-net (VIRTIO 1.2, 5.1). Its queues are handled in the network's thread,
 * where its backend is, too: a frame goes from the guest's memory to the backend
 * without a copy, and from the backend into the guest's buffers with one.
 *
 * What the driver gives in large frames and the backend cannot take is cut on the
 * way (net/offload.c), so offloads are offered whatever the backend is.
 *
 * Left out: RSS, hash reports, failover, notification coalescing.
 */
#include "hw/nic/virtio_net.h"

#include <string.h>

#include "hw/virtio/pci.h"
#include "system/stream.h"
#include "util/log.h"

enum { TX_BATCH = 256 /* frames in one go, before the others of the thread have their turn */, TX_TELL = 32 };

static VirtioNet *net_of(VirtioDevice *v) { return (VirtioNet *)v; }

/* ---- to the guest */

/* Once for all that came in this turn of the loop. */
static void tell_rx(void *opaque)
{
    NetPair *p = opaque;

    p->rx_due = false;
    virtq_notify(p->rx);
}

static void tell_rx_soon(NetPair *p)
{
    if (p->rx_due)
        return;
    p->rx_due = true;
    if (loop_self())
        loop_call(loop_self(), tell_rx, p);
    else
        tell_rx(p);
}

/* The header as this driver may see it, at the start of its first buffer. */
static void put_header(const NetPair *p, const IoVec *in, const IoVec *frame, unsigned buffers)
{
    uint8_t hdr[NET_HDR_LEN] = { 0 };

    iov_read(frame, 0, hdr, p->port.hdr_len);
    if (!(p->n->offloads & NET_CSUM))
        hdr[0] = 0;
    hdr[10] = buffers;
    hdr[11] = buffers >> 8;
    iov_write(in, 0, hdr, p->port.hdr_len);
}

/* The frame's bytes [at, ..) go into the buffer; how many did. */
static size_t fill(const VirtElem *e, const IoVec *frame, size_t at)
{
    IoVec in = virt_in(e);
    size_t n = MIN(in.len, frame->len - at);
    IoVec to = iov_slice(&in, 0, n), from = iov_slice(frame, at, n);

    iov_copy(&to, &from);
    return n;
}

/* Several buffers for one frame (5.1.6.4): all are filled before the first is given back, as it has their number. */
static bool rx_merged(NetPair *p, const IoVec *frame)
{
    VirtElem *first = NULL, **end = &first, *e;
    unsigned count = 0;
    size_t at = 0;

    if (!virtq_has_room(p->rx, frame->len))
        return !virtq_ready(p->rx);
    while (at < frame->len && (e = virtq_pop(p->rx, sizeof(*e)))) {
        *end = e;
        end = &e->next;
        at += fill(e, frame, at);
        count++;
    }
    if (first && at == frame->len && first->in_len >= p->port.hdr_len) {
        IoVec in = virt_in(first);

        put_header(p, &in, frame, count);
    } else if (first) {
        virtq_broken(p->rx, "a receive buffer of %zu bytes", first->in_len);
    }
    for (size_t left = frame->len; (e = first);) {
        size_t n = MIN(e->in_len, left);

        first = e->next;
        left -= n;
        virtq_push(p->rx, e, n);
    }
    return true;
}

static bool rx(NetPair *p, const IoVec *frame)
{
    bool merge = virtio_has(&p->n->v, VIRTIO_NET_F_MRG_RXBUF);
    VirtElem *e = virtq_pop(p->rx, sizeof(*e));

    if (!e)
        return !virtq_ready(p->rx);         /* broken: it is lost */
    if (e->in_len < frame->len) {
        virtq_unpop(p->rx, e);
        if (merge)
            return rx_merged(p, frame);
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("virtio-net: a frame of %zu bytes does not fit a buffer of %zu", frame->len, e->in_len);
        return true;
    }
    IoVec in = virt_in(e);

    fill(e, frame, 0);
    put_header(p, &in, frame, 1);
    virtq_push(p->rx, e, frame->len);
    return true;
}

static bool net_frame(NetPort *port, const IoVec *frame)
{
    NetPair *p = (NetPair *)port;
    IoVec plain;

    if (!virtq_ready(p->rx))                /* the machine stands: later. No driver: lost */
        return !(p->n->v.holds & VIRTIO_HOLD_STOPPED) || !(p->n->v.status & VIRTIO_DRIVER_OK);
    plain = iov_slice(frame, port->hdr_len, frame->len - port->hdr_len);
    if (p->index >= p->n->active || !virtio_net_wants(p->n, &plain))
        return true;
    if (!rx(p, frame))
        return false;
    tell_rx_soon(p);
    return true;
}

/* ---- from the guest */

static bool send_one(NetPair *p, VirtElem *e)
{
    IoVec out = virt_out(e);

    if (out.len < p->port.hdr_len + 14u || out.len > p->port.hdr_len + (size_t)NET_FRAME_MAX) {
        if (log_on(LOG_GUEST_ERRORS))
            guest_error("virtio-net: a frame of %zu bytes with its header", out.len);
        return true;
    }
    return net_send(&p->port, &out);
}

static void handle_tx(NetPair *p)
{
    VirtElem *e;
    unsigned n = 0;

    if (p->tx_waits)
        return;
    virtq_bell(p->tx, false);
    do {
        while (n < TX_BATCH && (e = virtq_pop(p->tx, sizeof(*e)))) {
            if (!send_one(p, e)) {
                virtq_unpop(p->tx, e);
                p->tx_waits = true;
                virtq_notify(p->tx);
                return;
            }
            virtq_push(p->tx, e, 0);
            if (++n % TX_TELL == 0)
                virtq_notify(p->tx);
        }
        virtq_notify(p->tx);
        if (n >= TX_BATCH) {
            virtio_kick(p->tx);
            return;
        }
    } while (virtq_bell(p->tx, true) && (virtq_bell(p->tx, false), true));
}

static void net_room_again(NetPort *port)
{
    NetPair *p = (NetPair *)port;

    p->tx_waits = false;
    if (virtq_ready(p->tx))
        handle_tx(p);
}

static void net_handle(VirtioDevice *v, VirtQueue *q)
{
    VirtioNet *n = net_of(v);

    if (q == n->ctrl) {
        virtio_net_control(n, q);
        return;
    }
    NetPair *p = &n->pairs[virtq_index(q) / 2];

    if (q == p->tx)
        handle_tx(p);
    else
        net_room(&p->port);
}

/* ---- the cable */

static void net_link(NetPort *port, bool up)
{
    NetPair *p = (NetPair *)port;

    if (p->index || p->n->link_up == up)
        return;
    p->n->link_up = up;
    if (p->n->v.ops)
        virtio_config_changed(&p->n->v);
}

static void net_gone(NetPort *port)
{
    net_link(port, false);
}

static unsigned net_offloads(NetPort *port)
{
    return ((NetPair *)port)->n->offloads;
}

static const NetOps port_ops = {
    .frame = net_frame, .room = net_room_again, .link = net_link, .gone = net_gone, .offloads = net_offloads,
};

void virtio_net_agree(VirtioNet *n)
{
    bool long_hdr = virtio_has(&n->v, VIRTIO_F_VERSION_1) || virtio_has(&n->v, VIRTIO_NET_F_MRG_RXBUF);

    for (unsigned i = 0; i < n->n_pairs; i++)
        net_expect(&n->pairs[i].port, long_hdr ? NET_HDR_LEN : NET_HDR_SHORT);
}

void virtio_net_announce(Device *d)
{
    VirtioNet *n = (VirtioNet *)(d->inner ? d->inner : d);

    if (n->v.ops != &virtio_net_ops || !virtio_has(&n->v, VIRTIO_NET_F_GUEST_ANNOUNCE))
        return;
    n->announce = true;
    virtio_config_changed(&n->v);
}

/* ---- the device */

static uint64_t net_features(VirtioDevice *v)
{
    VirtioNet *n = net_of(v);
    const struct { bool yes; unsigned bit; } rows[] = {
        { n->csum, VIRTIO_NET_F_CSUM }, { n->guest_csum, VIRTIO_NET_F_GUEST_CSUM }, { n->csum && n->gso, VIRTIO_NET_F_GSO },
        { n->guest_csum && n->guest_tso4, VIRTIO_NET_F_GUEST_TSO4 }, { n->guest_csum && n->guest_tso6, VIRTIO_NET_F_GUEST_TSO6 },
        { n->guest_csum && n->guest_ecn && (n->guest_tso4 || n->guest_tso6), VIRTIO_NET_F_GUEST_ECN },
        { n->guest_csum && n->guest_ufo, VIRTIO_NET_F_GUEST_UFO },
        { n->guest_csum && n->guest_uso4 && n->guest_uso6, VIRTIO_NET_F_GUEST_USO4 },
        { n->guest_csum && n->guest_uso4 && n->guest_uso6, VIRTIO_NET_F_GUEST_USO6 },
        { n->csum && n->host_tso4, VIRTIO_NET_F_HOST_TSO4 }, { n->csum && n->host_tso6, VIRTIO_NET_F_HOST_TSO6 },
        { n->csum && n->host_ecn && (n->host_tso4 || n->host_tso6), VIRTIO_NET_F_HOST_ECN },
        { n->csum && n->host_ufo, VIRTIO_NET_F_HOST_UFO }, { n->csum && n->host_uso, VIRTIO_NET_F_HOST_USO },
        { n->mrg_rxbuf, VIRTIO_NET_F_MRG_RXBUF }, { n->has_status, VIRTIO_NET_F_STATUS }, { true, VIRTIO_NET_F_MAC },
        { n->host_mtu, VIRTIO_NET_F_MTU }, { n->speed >= 0, VIRTIO_NET_F_SPEED_DUPLEX },
        { n->ctrl_vq, VIRTIO_NET_F_CTRL_VQ }, { n->ctrl_vq && n->ctrl_rx, VIRTIO_NET_F_CTRL_RX },
        { n->ctrl_vq && n->ctrl_vlan, VIRTIO_NET_F_CTRL_VLAN }, { n->ctrl_vq && n->ctrl_rx_extra, VIRTIO_NET_F_CTRL_RX_EXTRA },
        { n->ctrl_vq && n->ctrl_mac_addr, VIRTIO_NET_F_CTRL_MAC_ADDR },
        { n->ctrl_vq && n->guest_announce && n->has_status, VIRTIO_NET_F_GUEST_ANNOUNCE },
        { n->ctrl_vq && n->ctrl_guest_offloads, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS },
        { n->ctrl_vq && n->n_pairs > 1, VIRTIO_NET_F_MQ },
    };
    uint64_t f = 0;

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        f |= rows[i].yes ? UINT64_C(1) << rows[i].bit : 0;
    return f;
}

static void agree(void *opaque)
{
    VirtioNet *n = opaque;

    n->offloads = virtio_net_guest_offloads(n->v.features);
    virtio_net_agree(n);
}

static void net_accepted(VirtioDevice *v)
{
    nic_run(v->dev.vm, agree, v);
}

static void defaults(void *opaque)
{
    VirtioNet *n = opaque;

    virtio_net_defaults(n);
    for (unsigned i = 0; i < n->n_pairs; i++) {
        NetPort *p = &n->pairs[i].port;

        n->pairs[i].tx_waits = p->waiting = p->seen = false;
        net_expect(p, NET_HDR_LEN);
        net_room(p);            /* what waited for the driver that is gone is lost */
    }
}

static void net_reset(VirtioDevice *v)
{
    nic_run(v->dev.vm, defaults, v);
}

static void put_le(uint8_t *p, uint64_t v, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        p[i] = v >> 8 * i;
}

/* Section 5.1.4 */
static void net_read_config(VirtioDevice *v)
{
    VirtioNet *n = net_of(v);
    Mac mac = virtio_net_mac(n);

    memcpy(v->config, mac.a, 6);
    put_le(v->config + 6, n->link_up | n->announce << 1, 2);
    put_le(v->config + 8, n->n_pairs, 2);
    put_le(v->config + 10, n->host_mtu, 2);
    put_le(v->config + 12, n->speed < 0 ? UINT32_MAX : (uint32_t)n->speed, 4);
    v->config[16] = !n->duplex ? 0xff : !strcmp(n->duplex, "full");
}

/* Only legacy drivers may, and only the address; all else stays as it is. */
static void net_write_config(VirtioDevice *v, unsigned off, unsigned len)
{
    if (!virtio_has(v, VIRTIO_F_VERSION_1) && !virtio_has(v, VIRTIO_NET_F_CTRL_MAC_ADDR) && off < 6)
        virtio_net_set_mac(net_of(v), v->config);
}

const VirtioOps virtio_net_ops = {
    .id = 1, .pci_class = 0x020000, .name = "virtio-net", .features = net_features, .accepted = net_accepted,
    .read_config = net_read_config, .write_config = net_write_config, .handle = net_handle, .reset = net_reset,
};

static Err *check_size(const char *what, unsigned size)
{
    if (size < 64 || size > VIRTQ_MAX || size & (size - 1))
        return err(ERR_INVALID, "%s=%u: it is a power of two, 64 to %d", what, size, VIRTQ_MAX);
    return NULL;
}

static Err *check(VirtioNet *n)
{
    TRY(check_size("rx_queue_size", n->rx_queue_size));
    TRY(check_size("tx_queue_size", n->tx_queue_size));
    if (n->rss || n->hash || n->failover)
        return err_hint(err(ERR_UNSUPPORTED, "%s=on is not available", n->rss ? "rss" : n->hash ? "hash" : "failover"),
                        "Leave it away: mq=on with a multi-queue backend spreads the work.");
    if (n->tx && strcmp(n->tx, "bh") && strcmp(n->tx, "timer"))
        return err(ERR_INVALID, "tx=%s: it is bh or timer", n->tx);
    if (n->duplex && strcmp(n->duplex, "full") && strcmp(n->duplex, "half"))
        return err(ERR_INVALID, "duplex=%s: it is full or half", n->duplex);
    if (n->host_mtu && n->host_mtu < 68)
        return err(ERR_INVALID, "host_mtu=%u: the least is 68", n->host_mtu);
    return NULL;
}

static Err *make_pairs(VirtioNet *n)
{
    Vm *vm = n->v.dev.vm;

    n->pairs = g_new0(NetPair, n->n_pairs);
    for (unsigned i = 0; i < n->n_pairs; i++) {
        NetPair *p = &n->pairs[i];

        *p = (NetPair){ .n = n, .index = i, .port = { .ops = &port_ops, .hdr_len = NET_HDR_LEN,
                        .name = n->v.dev.outer && n->v.dev.outer->id ? n->v.dev.outer->id :
                                n->v.dev.id ? n->v.dev.id : (char *)n->v.dev.cls->name } };
        p->rx = virtio_add_queue(&n->v, n->rx_queue_size, vm->net_thread);
        p->tx = virtio_add_queue(&n->v, n->tx_queue_size, vm->net_thread);
    }
    if (n->ctrl_vq)
        n->ctrl = virtio_add_queue(&n->v, 64, vm->net_thread);
    for (unsigned i = 0; i < n->n_pairs; i++)
        TRY(err_in(nic_attach(vm, &n->pairs[i].port, n->netdev, i), "netdev=%s", n->netdev));
    return NULL;
}

static Err *net_realize(Device *d)
{
    VirtioNet *n = (VirtioNet *)d;
    unsigned queues = nic_queues(d->vm, n->netdev);

    TRY(check(n));
    TRY(nic_mac(d->vm, n->mac_text, &n->own));
    virtio_net_set_mac(n, n->own.a);
    n->n_pairs = n->ctrl_vq && (n->mq || queues > 1) ? MIN(queues, NET_PAIRS) : 1;
    virtio_init(&n->v, &virtio_net_ops, NET_CONFIG);
    TRY(make_pairs(n));
    net_reset(&n->v);
    return NULL;
}

static void nothing(void *opaque)
{
}

static void net_unrealize(Device *d)
{
    VirtioNet *n = (VirtioNet *)d;

    for (unsigned i = 0; n->pairs && i < n->n_pairs; i++)
        nic_detach(d->vm, &n->pairs[i].port);
    if (n->pairs)
        nic_run(d->vm, nothing, NULL);      /* what was due there (tell_rx) is done */
    virtio_clear(&n->v);
    g_clear_pointer(&n->asked, g_free);
    g_clear_pointer(&n->pairs, g_free);
}

/* ---- saved */

/* What the driver has set by the control queue. The link is the backend's, and so may be another here. */
static const Field net_state[] = {
    STATE(VirtioNet, mac), STATE(VirtioNet, announce), STATE(VirtioNet, active), STATE(VirtioNet, offloads),
    STATE(VirtioNet, promisc), STATE(VirtioNet, allmulti), STATE(VirtioNet, alluni), STATE(VirtioNet, nomulti),
    STATE(VirtioNet, nouni), STATE(VirtioNet, nobcast), STATES(VirtioNet, vlans),
    STATE(VirtioNet, uni.n), STATE(VirtioNet, uni.all), STATE(VirtioNet, multi.n), STATE(VirtioNet, multi.all),
    { 0 }
};

static void net_save(Device *d, StateOut *out)
{
    const VirtioNet *n = (VirtioNet *)d;

    state_put_fields(out, "net.", net_state, n);
    state_put(out, "net.uni", 1, n->uni.list, sizeof(n->uni.list));
    state_put(out, "net.multi", 1, n->multi.list, sizeof(n->multi.list));
}

static Err *net_load(Device *d, StateIn *in)
{
    VirtioNet *n = (VirtioNet *)d;

    TRY(state_get_fields(in, "net.", net_state, n));
    TRY(state_get(in, "net.uni", 1, n->uni.list, sizeof(n->uni.list)));
    TRY(state_get(in, "net.multi", 1, n->multi.list, sizeof(n->multi.list)));
    if (n->active < 1 || n->active > n->n_pairs || n->uni.n > NET_MACS || n->multi.n > NET_MACS)
        return err(ERR_INVALID, "it was saved with %u pairs of queues and filters of %u and %u addresses", n->active, n->uni.n, n->multi.n);
    return NULL;
}

static void told(void *opaque)
{
    virtio_net_agree(opaque);
}

/* Switches learn where the guest is now, if its driver does that. */
static Err *net_loaded(Device *d)
{
    nic_run(d->vm, told, d);
    virtio_net_announce(d);
    return NULL;
}

static const Field net_fields[] = {
    PROP(VirtioNet, netdev, .doc = "the backend, by the id of -netdev"),
    PROP(VirtioNet, mac_text, .as = "mac", .doc = "its address; the next of 52:54:00:12:34:56 and on"),
    PROP(VirtioNet, mq, .def = "off", .doc = "as many queue pairs as the backend has"),
    PROP(VirtioNet, rx_queue_size, .as = "rx_queue_size", .def = "256", .doc = "descriptors of a receive queue"),
    PROP(VirtioNet, tx_queue_size, .as = "tx_queue_size", .def = "256", .doc = "descriptors of a transmit queue"),
    PROP(VirtioNet, host_mtu, .as = "host_mtu", .def = "0", .doc = "the MTU that the guest is told; 0: none"),
    PROP(VirtioNet, speed, .def = "-1", .doc = "in Mbit/s, as the guest is told; -1: not"),
    PROP(VirtioNet, duplex, .doc = "full or half, as the guest is told"),
    PROP(VirtioNet, csum, .def = "on", .doc = "the guest may leave checksums to the host"),
    PROP(VirtioNet, guest_csum, .as = "guest_csum", .def = "on", .doc = "the host may leave them to the guest"),
    PROP(VirtioNet, gso, .def = "on", .doc = "legacy: the guest may send large frames"),
    PROP(VirtioNet, guest_tso4, .as = "guest_tso4", .def = "on", .doc = "large TCP frames to the guest, IPv4"),
    PROP(VirtioNet, guest_tso6, .as = "guest_tso6", .def = "on", .doc = "the same, IPv6"),
    PROP(VirtioNet, guest_ecn, .as = "guest_ecn", .def = "on", .doc = "the same with ECN"),
    PROP(VirtioNet, guest_ufo, .as = "guest_ufo", .def = "on", .doc = "large UDP datagrams to the guest"),
    PROP(VirtioNet, guest_uso4, .as = "guest_uso4", .def = "on", .doc = "UDP segments in large frames to the guest"),
    PROP(VirtioNet, guest_uso6, .as = "guest_uso6", .def = "on", .doc = "the same, IPv6"),
    PROP(VirtioNet, host_tso4, .as = "host_tso4", .def = "on", .doc = "large TCP frames from the guest, IPv4"),
    PROP(VirtioNet, host_tso6, .as = "host_tso6", .def = "on", .doc = "the same, IPv6"),
    PROP(VirtioNet, host_ecn, .as = "host_ecn", .def = "on", .doc = "the same with ECN"),
    PROP(VirtioNet, host_ufo, .as = "host_ufo", .def = "on", .doc = "large UDP datagrams from the guest"),
    PROP(VirtioNet, host_uso, .as = "host_uso", .def = "on", .doc = "UDP segments in large frames from the guest"),
    PROP(VirtioNet, mrg_rxbuf, .as = "mrg_rxbuf", .def = "on", .doc = "a frame may fill several buffers"),
    PROP(VirtioNet, has_status, .as = "status", .def = "on", .doc = "the guest sees whether the link is up"),
    PROP(VirtioNet, ctrl_vq, .as = "ctrl_vq", .def = "on", .doc = "there is a control queue"),
    PROP(VirtioNet, ctrl_rx, .as = "ctrl_rx", .def = "on", .doc = "the guest says which frames it wants"),
    PROP(VirtioNet, ctrl_vlan, .as = "ctrl_vlan", .def = "on", .doc = "and which VLANs"),
    PROP(VirtioNet, ctrl_rx_extra, .as = "ctrl_rx_extra", .def = "on", .doc = "and more of that"),
    PROP(VirtioNet, ctrl_mac_addr, .as = "ctrl_mac_addr", .def = "on", .doc = "the guest may change its address"),
    PROP(VirtioNet, ctrl_guest_offloads, .as = "ctrl_guest_offloads", .def = "on", .doc = "and its offloads"),
    PROP(VirtioNet, guest_announce, .as = "guest_announce", .def = "on", .doc = "the guest tells the network of itself when asked"),
    PROP(VirtioNet, tx, .doc = "bh or timer: accepted, sending never waits"),
    PROP(VirtioNet, x_txburst, .def = "256", .doc = "accepted"),
    PROP(VirtioNet, x_txtimer, .def = "150000", .doc = "accepted"),
    PROP(VirtioNet, rss, .def = "off", .doc = "not available"),
    PROP(VirtioNet, hash, .def = "off", .doc = "not available"),
    PROP(VirtioNet, failover, .def = "off", .doc = "not available"),
    { 0 }
};

DEVICE(virtio_net) = {
    .name = "virtio-net-device", .bus = "virtio-bus", .doc = "virtio network adapter",
    .size = sizeof(VirtioNet), .fields = net_fields, .base = virtio_fields, .boot = 'n', .boot_part = "ethernet-phy@0",
    .realize = net_realize, .unrealize = net_unrealize,
    .save = net_save, .load = net_load, .loaded = net_loaded,
};

DEVICE(virtio_net_pci) = VIRTIO_PCI("virtio-net-pci", device_virtio_net, "virtio network adapter", .alias = "virtio-net");
DEVICE(virtio_net_pci_transitional) =
    VIRTIO_PCI_TRANSITIONAL("virtio-net-pci-transitional", device_virtio_net, "virtio network adapter, legacy interface too");
DEVICE(virtio_net_pci_modern) =
    VIRTIO_PCI_MODERN("virtio-net-pci-non-transitional", device_virtio_net, "virtio network adapter, no legacy interface");
