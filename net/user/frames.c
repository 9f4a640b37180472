/* SPDX-License-Identifier: MIT */
/*
 * Frames between the guest and libslirp, both ways as long as they may be.
 *
 * The guest's frames are looked at before the library sees them: lengths of IP,
 * TCP and UDP headers must agree with the frame. Urgent data of TCP becomes
 * plain data (libslirp before 4.9.2 reads beyond its buffer there,
 * CVE-2026-9539), and TCP in IP fragments, behind which it could hide, is dropped.
 * Other fragments must come in order: libslirp 4.7.0, as distributions build it, writes through a
 * packet's bytes when the first to come is the last one.
 *
 * Towards the guest TCP comes in pieces of USER_MSS: the segment size that the
 * guest announces is made larger on its way to slirp, and what slirp then sends
 * gets a GSO header with the guest's own size. So one frame carries what would
 * be 22, unless the guest's driver cannot take it: then net_send cuts it.
 */
#include <string.h>

#include "net/offload.h"
#include "net/user/user.h"
#include "util/trace.h"

enum {
    ETH = 14, ETH_IP4 = 0x0800, ETH_IP6 = 0x86dd, TCP = 6, UDP = 17,
    TCP_SYN = 2, TCP_URG = 0x20, MSS_LEAST = 536,
};

struct Held {
    Held *next;
    size_t len;
    uint8_t bytes[];            /* with the virtio_net_hdr */
};

static uint16_t be16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static void put16(uint8_t *p, unsigned v) { p[0] = v >> 8, p[1] = v; }

/* Where things are in a frame. */
typedef struct Parts {
    bool v6;
    uint8_t proto;              /* of the payload, 0 where it cannot be looked at (fragments, other headers between) */
    uint8_t *ip, *l4;
    size_t l4_len;              /* from l4 to the end that the IP header says */
} Parts;

/* False: it is IP and contradicts itself. proto 0: nothing for us to look at. */
static bool find_parts(uint8_t *f, size_t len, Parts *p)
{
    size_t have = len - ETH, head, total;

    *p = (Parts){ .ip = f + ETH };
    if (be16(f + 12) == ETH_IP4) {
        if (have < 20 || p->ip[0] >> 4 != 4)
            return false;
        head = (p->ip[0] & 15) * 4;
        total = be16(p->ip + 2);
        if (head < 20 || total < head || total > have)
            return false;
        p->proto = p->ip[9];
        if (be16(p->ip + 6) & 0x3fff) {
            if (p->proto == TCP)
                return false;
            p->proto = 0;
        }
    } else if (be16(f + 12) == ETH_IP6) {
        if (have < 40 || p->ip[0] >> 4 != 6)
            return false;
        p->v6 = true;
        head = 40;
        total = 40 + be16(p->ip + 4);
        if (total > have)
            return false;
        p->proto = p->ip[6];
    } else {
        return true;
    }
    p->l4 = p->ip + head;
    p->l4_len = total - head;
    if (p->proto == TCP)
        return p->l4_len >= 20 && p->l4[12] >> 4 >= 5 && (p->l4[12] >> 4) * 4u <= p->l4_len;
    if (p->proto == UDP)
        return p->l4_len >= 8 && be16(p->l4 + 4) >= 8 && be16(p->l4 + 4) <= p->l4_len;
    return true;
}

/* ---- IPv4 fragments */

enum { FLAG_MORE = 0x2000, FLAG_RESERVED = 0x8000 };
#define PIECES_NS INT64_C(20000000000)      /* libslirp keeps what is not complete for 30 s */

static Pieces *pieces_find(User *u, const Pieces *key)
{
    for (unsigned i = 0; i < USER_PIECES; i++) {
        Pieces *s = &u->pieces[i];
        if (s->next && s->id == key->id && s->proto == key->proto && !memcmp(s->hosts, key->hosts, 8) &&
            loop_now() - s->since < PIECES_NS)
            return s;
    }
    return NULL;
}

/*
 * May libslirp have this packet? Whatever it would drop before it looks at fragments must not count here, so
 * that the two agree on what it has: a wrong checksum, an age of 0, and the reserved flag, with which it lets go of all.
 */
static bool in_order(User *u, const uint8_t *ip)
{
    unsigned head = (ip[0] & 15) * 4, flags = be16(ip + 6), off = (flags & 0x1fff) * 8, len = be16(ip + 2) - head;
    Pieces key = { .proto = ip[9], .id = be16(ip + 4) }, *s;

    if (flags & FLAG_RESERVED)
        return false;
    if (!(flags & (FLAG_MORE | 0x1fff)))
        return true;
    if (!len || (flags & FLAG_MORE && len % 8) || !ip[8] || net_fold(net_sum(ip, head)))
        return false;
    memcpy(key.hosts, ip + 12, 8);
    s = pieces_find(u, &key);
    if (!off) {
        if (s)
            return false;
        key.next = len;
        key.since = loop_now();
        u->pieces[u->oldest_pieces++ % USER_PIECES] = key;
        return true;
    }
    if (!s || s->next != off || off + len > 65535 - head)
        return false;
    s->next = flags & FLAG_MORE ? off + len : 0;
    return true;
}

static uint64_t pseudo_sum(const Parts *p)
{
    uint64_t sum = p->v6 ? net_sum(p->ip + 8, 32) : net_sum(p->ip + 12, 8);

    return sum + htons(p->proto) + htons(p->l4_len);
}

/* A 16-bit word at an even offset changes, and the checksum with it (RFC 1624). */
static void change16(uint8_t *at, unsigned to, uint8_t *csum)
{
    uint16_t was, is, c;

    memcpy(&was, at, 2);
    put16(at, to);
    memcpy(&is, at, 2);
    memcpy(&c, csum, 2);
    c = net_fold((uint64_t)(uint16_t)~c + (uint16_t)~was + is);
    memcpy(csum, &c, 2);
}

/* ---- flows */

static Flow *flow_at(User *u, const Flow *key)
{
    uint32_t h = 2166136261u;

    for (int i = 0; i < 16; i++)
        h = (h ^ key->host[i]) * 16777619u;
    h = (h ^ key->host_port) * 16777619u;
    h = (h ^ key->guest_port) * 16777619u;
    return &u->flows[(h ^ h >> 16) & (USER_FLOWS - 1)];
}

static Flow flow_key(const Parts *p, bool from_guest)
{
    Flow k = { .v6 = p->v6 };
    unsigned n = p->v6 ? 16 : 4, src = p->v6 ? 8 : 12;

    memcpy(k.host, p->ip + src + (from_guest ? n : 0), n);
    k.guest_port = be16(p->l4 + (from_guest ? 0 : 2));
    k.host_port = be16(p->l4 + (from_guest ? 2 : 0));
    return k;
}

static bool flow_same(const Flow *a, const Flow *b)
{
    return a->v6 == b->v6 && a->host_port == b->host_port && a->guest_port == b->guest_port &&
           !memcmp(a->host, b->host, 16);
}

/* The value of the MSS option in a header with SYN; NULL: there is none. It may lie at an odd offset. */
static uint8_t *mss_option(const Parts *p)
{
    unsigned end = (p->l4[12] >> 4) * 4;

    for (unsigned i = 20; i < end && p->l4[i];) {
        if (p->l4[i] == 1) {
            i++;
            continue;
        }
        if (i + 1 >= end || p->l4[i + 1] < 2)
            return NULL;
        if (p->l4[i] == 2 && p->l4[i + 1] == 4 && i + 4 <= end)
            return p->l4 + i + 2;
        i += p->l4[i + 1];
    }
    return NULL;
}

/* The guest opens a connection: slirp hears of the large segments, we keep the guest's. */
static void note_syn(User *u, const Parts *p)
{
    uint8_t *mss = mss_option(p), *even;
    Flow key = flow_key(p, true);

    key.mss = mss ? be16(mss) : 0;
    *flow_at(u, &key) = key;
    if (key.mss < MSS_LEAST || key.mss >= USER_MSS)
        return;
    if ((mss - p->l4) % 2 == 0) {
        change16(mss, USER_MSS, p->l4 + 16);
        return;
    }
    even = mss - 1;             /* (length, high), (low, what follows): two words change */
    change16(even, even[0] << 8 | USER_MSS >> 8, p->l4 + 16);
    change16(even + 2, (USER_MSS & 0xff) << 8 | even[3], p->l4 + 16);
}

/* ---- from the guest */

static void fix_tcp(User *u, const Parts *p)
{
    uint8_t *t = p->l4;

    if (t[13] & TCP_URG) {
        change16(t + 12, be16(t + 12) & ~TCP_URG, t + 16);
        change16(t + 18, 0, t + 16);
    }
    if (t[13] & TCP_SYN)
        note_syn(u, p);
}

static bool fix_frame(User *u, uint8_t *f, size_t len, const NetHdr *h)
{
    Parts p;

    if (!find_parts(f, len, &p) || (be16(f + 12) == ETH_IP4 && !in_order(u, p.ip)))
        return false;
    if (h->flags & NET_HDR_CSUM) {
        unsigned at = p.proto == TCP ? 16 : p.proto == UDP ? 6 : 0;

        if (!at)
            return net_fill_csum(f, len, h);
        p.l4[at] = p.l4[at + 1] = 0;
        uint16_t c = net_fold(pseudo_sum(&p) + net_sum(p.l4, p.l4_len));

        c = at == 6 && !c ? 0xffff : c;
        memcpy(p.l4 + at, &c, 2);
    }
    if (p.proto == TCP)
        fix_tcp(u, &p);
    return true;
}

bool user_frame(NetPort *port, const IoVec *frame)
{
    User *u = (User *)port;
    NetHdr h = net_hdr(frame);
    size_t len = frame->len - port->hdr_len;

    if (len < ETH || len > NET_FRAME_MAX)
        return true;
    iov_read(frame, port->hdr_len, u->in, len);
    if (!fix_frame(u, u->in, len, &h)) {
        TRACE(user_net, "dropped: a frame of %zu bytes that contradicts itself", len);
        return true;
    }
    u->lib.input(u->slirp, u->in, len);
    user_settle(u);
    return true;
}

/* ---- to the guest */

static void hold(User *u, const IoVec *frame)
{
    if (u->held_bytes + frame->len > USER_QUEUE) {
        TRACE(user_net, "lost: a frame of %zu bytes, as the guest takes none", frame->len);
        return;
    }
    Held *h = g_malloc(sizeof(*h) + frame->len);

    h->next = NULL;
    h->len = frame->len;
    iov_read(frame, 0, h->bytes, frame->len);
    if (!u->held)
        u->held_end = &u->held;
    *u->held_end = h;
    u->held_end = &h->next;
    u->held_bytes += frame->len;
}

void user_room(NetPort *port)
{
    User *u = (User *)port;

    while (u->held) {
        Held *h = u->held;
        IoVec frame = IOV_BUF(h->bytes, h->len);

        if (!net_send(port, &frame))
            return;
        u->held = h->next;
        u->held_bytes -= h->len;
        g_free(h);
    }
    user_resume(u);
}

void user_frames_stop(User *u)
{
    while (u->held) {
        Held *h = u->held;

        u->held = h->next;
        g_free(h);
    }
}

/* A TCP segment longer than the guest's MSS: the header says how to cut it. */
static void mark_tcp(User *u, const Parts *p, size_t head, NetHdr *h, uint8_t *csum)
{
    Flow key = flow_key(p, false);
    const Flow *f = flow_at(u, &key);
    size_t mss = flow_same(f, &key) && f->mss ? f->mss : MSS_LEAST;

    if (p->l4_len - (p->l4[12] >> 4) * 4 <= mss)
        return;
    uint16_t c = ~net_fold(pseudo_sum(p));

    memcpy(csum, &c, 2);
    *h = (NetHdr){ .flags = NET_HDR_CSUM, .gso_type = p->v6 ? NET_GSO_TCP6 : NET_GSO_TCP4, .hdr_len = htole16(head),
                   .gso_size = htole16(mss), .csum_start = htole16(ETH + (p->v6 ? 40 : (p->ip[0] & 15) * 4)),
                   .csum_offset = htole16(16) };
}

/* buf is slirp's and stays as it is: the header's copy is what we change. */
ssize_t user_send_packet(const void *buf, size_t len, void *opaque)
{
    enum { HEAD = 128 };
    User *u = opaque;
    uint8_t head[HEAD];
    NetHdr h = { .flags = NET_HDR_VALID };
    Parts p;
    size_t own = MIN(len, HEAD);

    if (len < ETH || len > NET_FRAME_MAX)
        return len;
    memcpy(head, buf, own);
    if (len > MSS_LEAST && find_parts((uint8_t *)buf, len, &p) && p.l4) {
        size_t l4 = p.l4 - (uint8_t *)buf;

        if (p.proto == TCP && l4 + 60 <= HEAD)
            mark_tcp(u, &p, l4 + (p.l4[12] >> 4) * 4, &h, head + l4 + 16);
        else if (p.proto != TCP && len > NET_MTU_FRAME)     /* a datagram that slirp thinks fits the wire */
            h = (NetHdr){ .gso_type = NET_GSO_UDP, .gso_size = htole16(NET_MTU_FRAME - l4) };
    }
    struct iovec v[3] = { { &h, u->port.hdr_len }, { head, own }, { (uint8_t *)buf + own, len - own } };
    IoVec frame = { v, 3, 0, u->port.hdr_len + len };

    if (u->held || !net_send(&u->port, &frame))
        hold(u, &frame);
    return len;
}
