/* SPDX-License-Identifier: MIT */
/*
 * AES with the processor's own instructions, eight blocks at a time: what
 * makes an encrypted disk about as fast as memory. Nettle has these
 * instructions too, but no XTS over many blocks.
 */
#ifndef BLOCK_CRYPTO_AESNI_H
#define BLOCK_CRYPTO_AESNI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct AesNi {
    uint8_t enc[15][16], dec[15][16];       /* round keys, in the order of use */
    unsigned rounds;
} AesNi;

/* Does this processor have them? */
bool aesni_here(void);
/* key: 16, 24 or 32 bytes */
void aesni_set_key(AesNi *a, const uint8_t *key, size_t len);
/* len: a multiple of 16; src and dst are the same or do not overlap. */
void aesni_ecb(const AesNi *a, bool encrypt, const uint8_t *src, uint8_t *dst, size_t len);
void aesni_cbc(const AesNi *a, bool encrypt, const uint8_t iv[16], const uint8_t *src, uint8_t *dst, size_t len);
/* tweak: the first one, encrypted already */
void aesni_xts(const AesNi *a, bool encrypt, const uint8_t tweak[16], const uint8_t *src, uint8_t *dst, size_t len);

#endif
