/* SPDX-License-Identifier: MIT */
/*
 * Deflate (RFC 1951) of whole pieces, with a window of 4 KiB as qcow2's zlib
 * clusters have it: as small as zlib's level 6 makes them, give or take one in a
 * hundred, in less than half of its time. What comes out any inflate reads that is told of 12 bits or more.
 */
#ifndef BLOCK_DEFLATE_H
#define BLOCK_DEFLATE_H

#include <stddef.h>
#include <stdint.h>

typedef struct Deflate Deflate;

Deflate *deflate_new(void);         /* NULL: no memory */
void deflate_free(Deflate *d);      /* NULL is fine */
/*
 * Packs len bytes (at most 16 MiB); how many came out, or 0: they do not fit in
 * out_len, of which up to 16 bytes are left free. One thread at a time.
 */
size_t deflate_pack(Deflate *d, const uint8_t *in, size_t len, uint8_t *out, size_t out_len);

#endif
