/* SPDX-License-Identifier: MIT */
/*
 * Checksums, segmentation (TCP, UDP) and fragmentation (IPv4, IPv6) of frames
 * with a virtio_net_hdr. The frame is a guest's: everything in it is bounded by
 * what is there, and what does not fit together is dropped.
 *
 * RFC 1071 (checksums), 791, 8200 (IP), 9293 (TCP), 768 (UDP); VIRTIO 1.2, 5.1.6.
 */
#include "net/offload.h"

#include <endian.h>
#include <immintrin.h>
#include <string.h>

enum {
    HEAD = 512,             /* headers of a frame are within its first bytes, or it is dropped */
    ELEMENTS = 64,          /* a frame in more pieces is copied together first */
    MAX_PARTS = 2048,       /* of one frame */
    PROTO_TCP = 6, PROTO_UDP = 17, PROTO_FRAGMENT = 44,
    TCP_FIN = 1, TCP_PSH = 8, TCP_CWR = 0x80,
};

static uint16_t be16(const uint8_t *p) { return p[0] << 8 | p[1]; }
static uint32_t be32(const uint8_t *p) { return (uint32_t)be16(p) << 16 | be16(p + 2); }
static void put16(uint8_t *p, unsigned v) { p[0] = v >> 8, p[1] = v; }
static void put32(uint8_t *p, uint32_t v) { put16(p, v >> 16), put16(p + 2, v); }

/* ---- headers */

NetHdr net_hdr(const IoVec *frame)
{
    NetHdr h = { 0 };

    iov_read(frame, 0, &h, NET_HDR_SHORT);
    h.hdr_len = le16toh(h.hdr_len);
    h.gso_size = le16toh(h.gso_size);
    h.csum_start = le16toh(h.csum_start);
    h.csum_offset = le16toh(h.csum_offset);
    return h;
}

unsigned net_hdr_needs(const NetHdr *h)
{
    unsigned needs = h->flags & NET_HDR_CSUM ? NET_CSUM : 0;

    switch (h->gso_type & ~NET_GSO_ECN) {
    case NET_GSO_NONE: return needs;
    case NET_GSO_TCP4: needs |= NET_TSO4; break;
    case NET_GSO_TCP6: needs |= NET_TSO6; break;
    case NET_GSO_UDP:  needs |= NET_UFO; break;
    case NET_GSO_USO:  needs |= NET_USO; break;
    default:           needs |= ~(unsigned)NET_OFFLOADS; break;      /* nobody understands it: net_cut drops it */
    }
    return needs | (h->gso_type & NET_GSO_ECN ? NET_ECN : 0);
}

/* ---- checksums */

__attribute__((target("avx2")))
static uint64_t sum_blocks(const uint8_t *p, size_t blocks)     /* of 64 bytes */
{
    const __m256i low = _mm256_set1_epi64x(0xffffffff);
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;

    for (; blocks; blocks--, p += 64) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)p);
        __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(p + 32));

        a = _mm256_add_epi64(a, _mm256_and_si256(x, low));
        b = _mm256_add_epi64(b, _mm256_srli_epi64(x, 32));
        c = _mm256_add_epi64(c, _mm256_and_si256(y, low));
        d = _mm256_add_epi64(d, _mm256_srli_epi64(y, 32));
    }
    a = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
    return (uint64_t)_mm256_extract_epi64(a, 0) + (uint64_t)_mm256_extract_epi64(a, 1) +
           (uint64_t)_mm256_extract_epi64(a, 2) + (uint64_t)_mm256_extract_epi64(a, 3);
}

/* Lengths stay below 1 MiB, so that nothing overflows. */
uint64_t net_sum(const void *buf, size_t len)
{
    const uint8_t *p = buf;
    uint64_t sum = sum_blocks(p, len / 64);
    uint32_t w;

    p += len / 64 * 64;
    for (len %= 64; len >= 4; len -= 4, p += 4) {
        memcpy(&w, p, 4);
        sum += w;
    }
    w = 0;
    memcpy(&w, p, len);
    return sum + w;
}

static uint16_t fold16(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

uint16_t net_fold(uint64_t sum)
{
    return ~fold16(sum);
}

uint64_t net_sum_iov(const IoVec *q)
{
    uint64_t sum = 0;
    size_t left = q->len, skip = q->skip;
    bool odd = false;

    for (const struct iovec *v = q->v; left; v++) {
        if (skip >= v->iov_len) {
            skip -= v->iov_len;
            continue;
        }
        size_t n = v->iov_len - skip < left ? v->iov_len - skip : left;
        uint64_t s = net_sum((const uint8_t *)v->iov_base + skip, n);

        /* A piece that begins at an odd offset has its bytes in the other half of each word. */
        sum += odd ? __builtin_bswap16(fold16(s)) : fold16(s);
        odd ^= n & 1;
        left -= n;
        skip = 0;
    }
    return sum;
}

static void store_csum(uint8_t *at, uint64_t sum, bool udp)
{
    uint16_t c = net_fold(sum);

    if (udp && !c)
        c = 0xffff;         /* 0 says that there is none */
    memcpy(at, &c, 2);
}

bool net_fill_csum(uint8_t *frame, size_t len, const NetHdr *h)
{
    size_t at = (size_t)h->csum_start + h->csum_offset;

    if (h->csum_start >= len || at + 2 > len)
        return false;
    store_csum(frame + at, net_sum(frame + h->csum_start, len - h->csum_start), h->csum_offset == 6);
    return true;
}

/* ---- cutting */

typedef struct Cut {
    NetHdr h;
    IoVec frame;                    /* without the virtio_net_hdr */
    uint8_t head[HEAD];             /* its first bytes */
    size_t have;
    unsigned l3, l4, data;          /* offsets: IP header, TCP or UDP header, what follows it */
    bool v6;
    void (*each)(void *, const IoVec *);
    void *opaque;
} Cut;

/* Sends `head` of n bytes with the frame's bytes [at, at + len) behind it. */
static void emit(const Cut *c, uint8_t *head, unsigned n, size_t at, size_t len)
{
    struct iovec v[ELEMENTS + 1] = { { head, n } };
    IoVec part = iov_slice(&c->frame, at, len);
    size_t bytes;
    unsigned count = iov_elements(&part, v + 1, ELEMENTS, &bytes);
    IoVec whole = { v, count + 1, 0, n + bytes };

    c->each(c->opaque, &whole);
}

static void ip_lengths(const Cut *c, uint8_t *head, size_t total /* from the IP header on */, unsigned id_add)
{
    uint8_t *ip = head + c->l3;

    if (c->v6) {
        put16(ip + 4, total - 40);
        return;
    }
    put16(ip + 2, total);
    put16(ip + 4, be16(ip + 4) + id_add);
    ip[10] = ip[11] = 0;
    store_csum(ip + 10, net_sum(ip, (ip[0] & 15) * 4), false);
}

static uint64_t pseudo_sum(const Cut *c, unsigned proto, size_t len)
{
    const uint8_t *ip = c->head + c->l3;

    return (c->v6 ? net_sum(ip + 8, 32) : net_sum(ip + 12, 8)) + htobe16(proto) + htobe16(len);
}

/* One TCP segment or UDP datagram: payload [off, off + n) of what follows the headers. */
static void segment(const Cut *c, bool udp, unsigned i, size_t off, size_t n, bool last)
{
    uint8_t head[HEAD], *l4 = head + c->l4;
    size_t l4_len = c->data - c->l4 + n;
    IoVec payload = iov_slice(&c->frame, c->data + off, n);

    memcpy(head, c->head, c->data);
    ip_lengths(c, head, c->data - c->l3 + n, i);
    if (udp) {
        put16(l4 + 4, l4_len);
    } else {
        put32(l4 + 4, be32(l4 + 4) + off);
        l4[13] &= ~((last ? 0 : TCP_FIN | TCP_PSH) | (i ? TCP_CWR : 0));
    }
    uint8_t *csum = l4 + (udp ? 6 : 16);

    csum[0] = csum[1] = 0;
    store_csum(csum, pseudo_sum(c, udp ? PROTO_UDP : PROTO_TCP, l4_len) + net_sum(l4, c->data - c->l4) +
               net_sum_iov(&payload), udp);
    emit(c, head, c->data, c->data + off, n);
}

static void segments(const Cut *c, bool udp)
{
    size_t total = c->frame.len - c->data, mss = c->h.gso_size;

    if (!mss || total / mss > MAX_PARTS)
        return;
    for (size_t off = 0, i = 0; off < total || !i; off += mss, i++) {
        size_t n = total - off < mss ? total - off : mss;

        segment(c, udp, i, off, n, off + n == total);
    }
}

/* A datagram whose checksum is in place (in head) becomes fragments with at most `most` bytes of IP payload. */
static void fragments(const Cut *c, unsigned most)
{
    unsigned ip_end = c->l4, extra = c->v6 ? 8 : 0, in_head = c->data - c->l4;
    size_t total = c->frame.len - ip_end;
    uint8_t head[HEAD + 16];

    most = (most - (most > extra ? extra : 0)) & ~7u;
    if (most < in_head || most < 64 || total / most > MAX_PARTS)
        return;
    for (size_t off = 0; off < total; off += most) {
        size_t n = total - off < most ? total - off : most;
        bool more = off + n < total;
        unsigned at = ip_end;

        memcpy(head, c->head, ip_end);
        if (c->v6) {
            uint8_t *f = head + at;

            f[0] = head[c->l3 + 6];
            f[1] = 0;
            put16(f + 2, off | more);
            memcpy(f + 4, c->head + c->data - 4, 4);    /* the same in all: length and checksum tell datagrams apart */
            head[c->l3 + 6] = PROTO_FRAGMENT;
            at += 8;
        } else {
            put16(head + c->l3 + 6, off / 8 | (more ? 0x2000 : 0));
        }
        ip_lengths(c, head, at - c->l3 + n, 0);
        /* The transport's header was changed: it comes from our copy. */
        unsigned own = off ? 0 : in_head;

        memcpy(head + at, c->head + ip_end, own);
        emit(c, head, at + own, ip_end + off + own, n - own);
    }
}

/* Where the IP header is; false: it is no IP. */
static bool find_ip(Cut *c)
{
    unsigned at = 12;

    for (int tags = 0; tags < 2 && at + 2 <= c->have && (be16(c->head + at) == 0x8100 || be16(c->head + at) == 0x88a8);
         tags++)
        at += 4;
    if (at + 2 + 20 > c->have)
        return false;
    c->l3 = at + 2;
    switch (be16(c->head + at)) {
    case 0x0800:
        c->v6 = false;
        return c->head[c->l3] >> 4 == 4 && (c->head[c->l3] & 15) >= 5;
    case 0x86dd:
        c->v6 = true;
        return c->head[c->l3] >> 4 == 6;
    default:
        return false;
    }
}

/* Offsets of the transport's header and what follows it; false: the frame is not what the header says. */
static bool find_transport(Cut *c, bool tcp)
{
    unsigned least = c->l3 + (c->v6 ? 40 : (c->head[c->l3] & 15) * 4);

    c->l4 = c->h.flags & NET_HDR_CSUM ? c->h.csum_start : least;
    if (c->l4 < least || (!c->v6 && c->l4 != least) || c->l4 + (tcp ? 20 : 8) > c->have)
        return false;
    c->data = c->l4 + (tcp ? (c->head[c->l4 + 12] >> 4) * 4 : 8);
    return c->data >= c->l4 + (tcp ? 20 : 8) && c->data <= c->have && c->frame.len - c->l3 <= 65535 + (c->v6 ? 40 : 0);
}

/* Nothing to cut: the checksum alone. */
static void fill(Cut *c)
{
    size_t at = (size_t)c->h.csum_start + c->h.csum_offset;

    if (!(c->h.flags & NET_HDR_CSUM)) {
        c->each(c->opaque, &c->frame);
        return;
    }
    if (at + 2 > c->have || c->h.csum_start >= c->frame.len)
        return;
    IoVec from = iov_slice(&c->frame, c->h.csum_start, c->frame.len - c->h.csum_start);

    store_csum(c->head + at, net_sum_iov(&from), c->h.csum_offset == 6);
    emit(c, c->head, at + 2, at + 2, c->frame.len - at - 2);
}

static void cut_datagram(Cut *c)
{
    uint8_t *udp = c->head + c->l4;

    if (c->h.flags & NET_HDR_CSUM) {
        IoVec from = iov_slice(&c->frame, c->l4, c->frame.len - c->l4);

        store_csum(udp + 6, net_sum_iov(&from), true);
    }
    if (c->h.gso_size >= 64)
        fragments(c, c->h.gso_size);
}

static void cut(Cut *c)
{
    unsigned gso = c->h.gso_type & ~NET_GSO_ECN;

    c->have = c->frame.len < HEAD ? c->frame.len : HEAD;
    iov_read(&c->frame, 0, c->head, c->have);
    if (gso == NET_GSO_NONE) {
        fill(c);
        return;
    }
    bool tcp = gso == NET_GSO_TCP4 || gso == NET_GSO_TCP6;

    if (!find_ip(c) || !find_transport(c, tcp))
        return;
    if (tcp && c->v6 == (gso == NET_GSO_TCP6))
        segments(c, false);
    else if (gso == NET_GSO_USO)
        segments(c, true);
    else if (gso == NET_GSO_UDP)
        cut_datagram(c);
}

void net_cut(const IoVec *frame, unsigned hdr_len, void (*each)(void *, const IoVec *), void *opaque)
{
    if (frame->len < hdr_len + 14u || hdr_len < NET_HDR_SHORT || frame->len > hdr_len + (size_t)NET_FRAME_MAX)
        return;
    Cut c = { .h = net_hdr(frame), .frame = iov_slice(frame, hdr_len, frame->len - hdr_len),
              .each = each, .opaque = opaque };

    if (c.frame.n <= ELEMENTS) {
        cut(&c);
        return;
    }
    g_autofree uint8_t *flat = g_malloc(c.frame.len);
    struct iovec v;

    iov_read(&c.frame, 0, flat, c.frame.len);
    c.frame = iov_buf(&v, flat, c.frame.len);
    cut(&c);
}
