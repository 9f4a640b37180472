/* SPDX-License-Identifier: MIT */
/* virtio-net's state, for virtio_net.c (device, data) and virtio_net_ctrl.c (the control queue). */
#ifndef HW_NIC_VIRTIO_NET_H
#define HW_NIC_VIRTIO_NET_H

#include "hw/nic/nic.h"
#include "hw/virtio/virtio.h"
#include "net/offload.h"

/* Section 5.1.3 */
enum {
    VIRTIO_NET_F_CSUM = 0, VIRTIO_NET_F_GUEST_CSUM = 1, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS = 2, VIRTIO_NET_F_MTU = 3,
    VIRTIO_NET_F_MAC = 5, VIRTIO_NET_F_GSO = 6 /* legacy */, VIRTIO_NET_F_GUEST_TSO4 = 7, VIRTIO_NET_F_GUEST_TSO6 = 8,
    VIRTIO_NET_F_GUEST_ECN = 9, VIRTIO_NET_F_GUEST_UFO = 10, VIRTIO_NET_F_HOST_TSO4 = 11, VIRTIO_NET_F_HOST_TSO6 = 12,
    VIRTIO_NET_F_HOST_ECN = 13, VIRTIO_NET_F_HOST_UFO = 14, VIRTIO_NET_F_MRG_RXBUF = 15, VIRTIO_NET_F_STATUS = 16,
    VIRTIO_NET_F_CTRL_VQ = 17, VIRTIO_NET_F_CTRL_RX = 18, VIRTIO_NET_F_CTRL_VLAN = 19, VIRTIO_NET_F_CTRL_RX_EXTRA = 20,
    VIRTIO_NET_F_GUEST_ANNOUNCE = 21, VIRTIO_NET_F_MQ = 22, VIRTIO_NET_F_CTRL_MAC_ADDR = 23,
    VIRTIO_NET_F_GUEST_USO4 = 54, VIRTIO_NET_F_GUEST_USO6 = 55, VIRTIO_NET_F_HOST_USO = 56, VIRTIO_NET_F_SPEED_DUPLEX = 63,
};

enum { NET_PAIRS = 127, NET_MACS = 64 /* of a kind; with more all are taken */, NET_CONFIG = 17 };

typedef struct VirtioNet VirtioNet;

/* One receive and one transmit queue. */
typedef struct NetPair {
    NetPort port;
    VirtioNet *n;
    unsigned index;
    VirtQueue *rx, *tx;
    bool tx_waits;              /* the backend has no room */
    bool rx_due;                /* pushed, and not told the driver yet */
} NetPair;

typedef struct MacTable { Mac list[NET_MACS]; unsigned n; bool all; } MacTable;

struct VirtioNet {
    VirtioDevice v;
    /* properties */
    char *netdev, *mac_text, *tx, *duplex;
    bool csum, guest_csum, gso, guest_tso4, guest_tso6, guest_ecn, guest_ufo, host_tso4, host_tso6, host_ecn, host_ufo;
    bool guest_uso4, guest_uso6, host_uso, mrg_rxbuf, has_status, ctrl_vq, ctrl_rx, ctrl_vlan, ctrl_rx_extra, ctrl_mac_addr;
    bool ctrl_guest_offloads, guest_announce, mq, rss, hash, failover;
    uint16_t host_mtu, rx_queue_size, tx_queue_size;
    int32_t speed, x_txburst, x_txtimer;
    /* */
    NetPair *pairs;
    unsigned n_pairs;
    VirtQueue *ctrl;
    Mac own;                    /* as it was made */
    _Atomic bool link_up, announce;
    _Atomic uint64_t mac;       /* in use, first byte lowest; what read_config shows */
    /* the network thread's: what the driver has set by the control queue */
    unsigned active;            /* pairs in use */
    unsigned offloads;          /* that it takes: NetOffload bits */
    bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
    MacTable uni, multi;
    uint8_t vlans[4096 / 8];
    char *asked;                /* the path under which its filter was asked for; NULL: nobody waits for news */
};

extern const VirtioOps virtio_net_ops;

static inline Mac virtio_net_mac(const VirtioNet *n)
{
    uint64_t m = n->mac;
    Mac out;

    memcpy(out.a, &m, 6);
    return out;
}
static inline void virtio_net_set_mac(VirtioNet *n, const uint8_t *bytes)
{
    uint64_t m = 0;

    memcpy(&m, bytes, 6);
    n->mac = m;
}

/* virtio_net_ctrl.c */
void virtio_net_control(VirtioNet *n, VirtQueue *q);
void virtio_net_defaults(VirtioNet *n);                             /* no driver yet: everything is taken */
bool virtio_net_wants(const VirtioNet *n, const IoVec *plain);      /* the filters */
void virtio_net_agree(VirtioNet *n);                                /* headers and offloads, told to the backends */
unsigned virtio_net_guest_offloads(uint64_t features);

#endif
