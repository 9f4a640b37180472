/* SPDX-License-Identifier: MIT */
/*
 * A guest's NIC without a guest: a port whose frames a test makes and looks at.
 * The headers of its frames are of NIC's length; frames that came are kept.
 */
#ifndef TESTS_UNIT_NET_RIG_H
#define TESTS_UNIT_NET_RIG_H

#include <arpa/inet.h>
#include <stdlib.h>

#include "net/net.h"
#include "net/offload.h"
#include "tests/unit/test.h"
#include "util/co.h"

typedef struct Got { NetHdr h; size_t len; uint8_t f[]; } Got;

typedef struct Nic {
    NetPort port;
    GQueue got;                 /* of Got */
    unsigned offloads;
    bool full;                  /* takes nothing */
    _Atomic int rooms;
    int links, gones;
    bool up;
} Nic;

static bool nic_frame(NetPort *p, const IoVec *frame)
{
    Nic *n = (Nic *)p;
    size_t len = frame->len - p->hdr_len;
    Got *g;

    if (n->full)
        return false;
    g = g_malloc0(sizeof(*g) + len);
    if (p->hdr_len)
        g->h = net_hdr(frame);
    g->len = len;
    iov_read(frame, p->hdr_len, g->f, len);
    g_queue_push_tail(&n->got, g);
    return true;
}

static void nic_room(NetPort *p) { ((Nic *)p)->rooms++; }
static void nic_link(NetPort *p, bool up) { ((Nic *)p)->links++, ((Nic *)p)->up = up; }
static void nic_gone(NetPort *p) { ((Nic *)p)->gones++; }
static unsigned nic_offloads(NetPort *p) { return ((Nic *)p)->offloads; }
static const NetOps nic_ops = {
    .frame = nic_frame, .room = nic_room, .link = nic_link, .gone = nic_gone, .offloads = nic_offloads,
};

static inline void must(Err *e)
{
    if (!e)
        return;
    printf("%s\n", err_text(e));
    err_free(e);
    test_case_bad++;
}

/* Does e say `text`? Frees it. */
static inline bool says(Err *e, const char *text)
{
    bool yes = e && (strstr(err_text(e), text) || (err_hint_text(e) && strstr(err_hint_text(e), text)));

    if (!yes)
        printf("it says: %s\n", e ? err_text(e) : "nothing");
    err_free(e);
    return yes;
}

static inline void nic_init(Nic *n, const char *name, unsigned hdr_len, unsigned offloads)
{
    *n = (Nic){ .port = { .ops = &nic_ops, .name = (char *)name, .hdr_len = hdr_len }, .offloads = offloads };
    g_queue_init(&n->got);
}

static inline void nic_clear(Nic *n)
{
    g_queue_clear_full(&n->got, g_free);
}

/* net_add, in a coroutine as the machine does it. */
typedef struct Adding { Net *net; const char *arg; Err *e; } Adding;
static inline void adding(void *opaque) { Adding *a = opaque; a->e = net_add(a->net, a->arg); }
static inline Err *rig_add(Net *net, const char *arg)
{
    Adding a = { net, arg, NULL };

    co_run(net_loop(net), adding, &a);
    return a.e;
}

static inline void freeing(void *opaque) { net_free(opaque); }
static inline void net_rig_free(Loop *loop, Net *net)
{
    co_run(loop, freeing, net);
    while (loop_turn(loop, false))
        ;
    loop_free(loop);
}

static inline void nic_connect(Nic *n, Net *net, const char *id)
{
    NetPort *p = NULL;

    must(net_find(net, id, 0, &p));
    if (!p)
        return;
    must(net_link_ports(&n->port, p));
    net_expect(&n->port, n->port.hdr_len);
}

/* Turns the loop until that is so, for at most a minute. False: it is not. */
static inline bool until(Loop *loop, bool (*so)(void *), void *opaque)
{
    for (int64_t end = loop_now() + 60000000000; loop_now() < end;) {
        if (so(opaque))
            return true;
        if (!loop_turn(loop, false))
            g_usleep(200);
    }
    return so(opaque);
}

/* Turns the loop for so long, and until it has had nothing to do for some turns: on a busy host the time is over at once. */
static inline void turn(Loop *loop, int ms)
{
    int idle = 0;

    for (int64_t end = loop_now() + ms * 1000000; idle < 20 || loop_now() < end;) {
        if (loop_turn(loop, false)) {
            idle = 0;
        } else {
            idle++;
            g_usleep(200);
        }
    }
}

static inline bool has_frame(void *opaque) { return ((Nic *)opaque)->got.length > 0; }

static inline bool nic_send(Nic *n, const NetHdr *h, const void *bytes, size_t len)
{
    static const NetHdr none;
    struct iovec v[2] = { { (void *)(h ? h : &none), n->port.hdr_len }, { (void *)bytes, len } };
    IoVec q = { v, 2, 0, n->port.hdr_len + len };

    return net_send(&n->port, &q);
}

/* ---- a reference: RFC 1071, as plain as can be */
static inline uint16_t ref_csum(const uint8_t *p, size_t n, uint32_t sum)
{
    for (size_t i = 0; i < n; i++)
        sum += i % 2 ? p[i] : p[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return ~sum;
}

static inline uint16_t get16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static inline void set16(uint8_t *p, unsigned v) { p[0] = v >> 8, p[1] = v; }
static inline void set32(uint8_t *p, uint32_t v) { set16(p, v >> 16), set16(p + 2, v); }

/* The transport's checksum of an IP packet as it must be; the field is taken for 0. */
static inline uint16_t ref_l4_csum(const uint8_t *ip, size_t len, unsigned csum_at)
{
    bool v6 = ip[0] >> 4 == 6;
    size_t head = v6 ? 40 : (ip[0] & 15) * 4, n = len - head;
    g_autofree uint8_t *b = g_malloc(n + 40);
    unsigned addrs = v6 ? 32 : 8;

    memcpy(b, ip + (v6 ? 8 : 12), addrs);
    set16(b + addrs, v6 ? ip[6] : ip[9]);
    set16(b + addrs + 2, n);
    memcpy(b + addrs + 4, ip + head, n);
    set16(b + addrs + 4 + csum_at, 0);
    return ref_csum(b, n + addrs + 4, 0);
}

/* Ethernet and IPv4 headers for n bytes of payload, at f; returns where the payload goes. */
static inline uint8_t *put_ip4(uint8_t *f, const uint8_t *dst_mac, const uint8_t *src_mac, const char *src,
                               const char *dst, unsigned proto, size_t n)
{
    uint8_t *ip = f + 14;

    memcpy(f, dst_mac, 6);
    memcpy(f + 6, src_mac, 6);
    set16(f + 12, 0x0800);
    memset(ip, 0, 20);
    ip[0] = 0x45, ip[8] = 64, ip[9] = proto;
    set16(ip + 2, n + 20);
    set16(ip + 4, 0x1234);
    inet_pton(AF_INET, src, ip + 12);
    inet_pton(AF_INET, dst, ip + 16);
    set16(ip + 10, ref_csum(ip, 20, 0));
    return ip + 20;
}

static inline uint8_t *put_ip6(uint8_t *f, const uint8_t *dst_mac, const uint8_t *src_mac, const char *src,
                               const char *dst, unsigned proto, size_t n)
{
    uint8_t *ip = f + 14;

    memcpy(f, dst_mac, 6);
    memcpy(f + 6, src_mac, 6);
    set16(f + 12, 0x86dd);
    memset(ip, 0, 40);
    ip[0] = 0x60, ip[6] = proto, ip[7] = 255;
    set16(ip + 4, n);
    inet_pton(AF_INET6, src, ip + 8);
    inet_pton(AF_INET6, dst, ip + 24);
    return ip + 40;
}

#endif
