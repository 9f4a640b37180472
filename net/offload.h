/* SPDX-License-Identifier: MIT */
/*
 * What NICs do for their drivers: Internet checksums (RFC 1071) and cutting of
 * frames that are longer than the MTU, as a virtio_net_hdr asks for it (VIRTIO
 * 1.2, 5.1.6). For backends and guests that cannot themselves.
 */
#ifndef NET_OFFLOAD_H
#define NET_OFFLOAD_H

#include "net/net.h"

/* struct virtio_net_hdr; little-endian. num_buffers belongs to NICs alone. */
typedef struct NetHdr {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset, num_buffers;
} NetHdr;
enum {
    NET_HDR_LEN = 12, NET_HDR_SHORT = 10 /* without num_buffers */,
    NET_HDR_CSUM = 1 /* flags: fill it in */, NET_HDR_VALID = 2 /* flags: it has been checked */,
    NET_GSO_NONE = 0, NET_GSO_TCP4 = 1, NET_GSO_UDP = 3, NET_GSO_TCP6 = 4, NET_GSO_USO = 5, NET_GSO_ECN = 0x80,
};

/* The header of a frame that is long enough for it. */
NetHdr net_hdr(const IoVec *frame);
/* NetOffload bits that a receiver of a frame with this header needs; 0: the frame is plain. */
unsigned net_hdr_needs(const NetHdr *h);

/* The sum of 16-bit words, big-endian as they lie there, not folded: add sums of pieces that begin at even offsets. */
uint64_t net_sum(const void *p, size_t len);
uint64_t net_sum_iov(const IoVec *q);
uint16_t net_fold(uint64_t sum);            /* one's complement, as it is stored */

/*
 * Calls `each` with plain frames that together are the frame behind the
 * virtio_net_hdr of hdr_len bytes: checksums filled in, cut. What the header
 * says and the frame does not bear out is dropped.
 */
void net_cut(const IoVec *frame, unsigned hdr_len, void (*each)(void *opaque, const IoVec *plain), void *opaque);
/* The same for a frame in one buffer behind its header, whose checksum alone is missing: in place. False: nonsense. */
bool net_fill_csum(uint8_t *frame, size_t len, const NetHdr *h);

#endif
