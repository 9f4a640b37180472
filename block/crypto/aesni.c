/* SPDX-License-Identifier: MIT */
/*
 * AES with AES-NI: key schedule (FIPS 197, section 5.2), ECB, CBC, and XTS
 * (IEEE 1619, without ciphertext stealing: sectors are whole blocks). Eight
 * blocks are in flight, because an instruction takes some cycles and two can
 * start in each. CBC encryption is a chain and goes one by one.
 */
#include "block/crypto/aesni.h"

#include <immintrin.h>
#include <string.h>

#define AESNI __attribute__((target("aes,sse4.1")))
#define AESNI_INLINE __attribute__((target("aes,sse4.1"), always_inline)) static inline

enum { WIDE = 8 };

bool aesni_here(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("sse4.1");
}

/* The substitution box, applied to each byte of a word. */
AESNI static uint32_t sub_word(uint32_t w)
{
    /* keygenassist's element 0 is SubWord of the source's element 1 */
    return (uint32_t)_mm_extract_epi32(_mm_aeskeygenassist_si128(_mm_set_epi32(0, 0, (int)w, 0), 0), 0);
}

AESNI void aesni_set_key(AesNi *a, const uint8_t *key, size_t len)
{
    unsigned nk = len / 4, rounds = nk + 6, total = 4 * (rounds + 1);
    uint32_t w[60];
    uint8_t rcon = 1;

    memcpy(w, key, len);
    for (unsigned i = nk; i < total; i++) {
        uint32_t t = w[i - 1];

        if (i % nk == 0) {
            t = sub_word(t >> 8 | t << 24) ^ rcon;
            rcon = (uint8_t)(rcon << 1) ^ (rcon & 0x80 ? 0x1b : 0);
        } else if (nk == 8 && i % nk == 4) {
            t = sub_word(t);
        }
        w[i] = w[i - nk] ^ t;
    }
    a->rounds = rounds;
    memcpy(a->enc, w, total * 4);
    for (unsigned r = 0; r <= rounds; r++) {
        __m128i k = _mm_loadu_si128((const __m128i *)a->enc[rounds - r]);

        if (r > 0 && r < rounds)
            k = _mm_aesimc_si128(k);
        _mm_storeu_si128((__m128i *)a->dec[r], k);
    }
    explicit_bzero(w, sizeof w);
}

/* n is a constant where this is called, so the loops over it vanish. */
AESNI_INLINE void rounds_of(const AesNi *a, bool encrypt, __m128i *b, unsigned n)
{
    const uint8_t (*keys)[16] = encrypt ? a->enc : a->dec;
    __m128i k = _mm_loadu_si128((const __m128i *)keys[0]);

    for (unsigned i = 0; i < n; i++)
        b[i] = _mm_xor_si128(b[i], k);
    for (unsigned r = 1; r < a->rounds; r++) {
        k = _mm_loadu_si128((const __m128i *)keys[r]);
        for (unsigned i = 0; i < n; i++)
            b[i] = encrypt ? _mm_aesenc_si128(b[i], k) : _mm_aesdec_si128(b[i], k);
    }
    k = _mm_loadu_si128((const __m128i *)keys[a->rounds]);
    for (unsigned i = 0; i < n; i++)
        b[i] = encrypt ? _mm_aesenclast_si128(b[i], k) : _mm_aesdeclast_si128(b[i], k);
}

AESNI_INLINE void ecb_part(const AesNi *a, bool encrypt, const uint8_t *src, uint8_t *dst, unsigned n)
{
    __m128i b[WIDE];

    for (unsigned i = 0; i < n; i++)
        b[i] = _mm_loadu_si128((const __m128i *)src + i);
    rounds_of(a, encrypt, b, n);
    for (unsigned i = 0; i < n; i++)
        _mm_storeu_si128((__m128i *)dst + i, b[i]);
}

AESNI_INLINE void ecb_all(const AesNi *a, bool encrypt, const uint8_t *src, uint8_t *dst, size_t len)
{
    size_t i = 0;

    for (; len - i >= WIDE * 16; i += WIDE * 16)
        ecb_part(a, encrypt, src + i, dst + i, WIDE);
    for (; i < len; i += 16)
        ecb_part(a, encrypt, src + i, dst + i, 1);
}

AESNI void aesni_ecb(const AesNi *a, bool encrypt, const uint8_t *src, uint8_t *dst, size_t len)
{
    if (encrypt)
        ecb_all(a, true, src, dst, len);
    else
        ecb_all(a, false, src, dst, len);
}

AESNI static void cbc_encrypt(const AesNi *a, __m128i iv, const uint8_t *src, uint8_t *dst, size_t len)
{
    for (size_t i = 0; i < len; i += 16) {
        iv = _mm_xor_si128(iv, _mm_loadu_si128((const __m128i *)(src + i)));
        rounds_of(a, true, &iv, 1);
        _mm_storeu_si128((__m128i *)(dst + i), iv);
    }
}

AESNI_INLINE __m128i cbc_decrypt_part(const AesNi *a, __m128i iv, const uint8_t *src, uint8_t *dst, unsigned n)
{
    __m128i b[WIDE], c[WIDE];

    for (unsigned i = 0; i < n; i++)
        b[i] = c[i] = _mm_loadu_si128((const __m128i *)src + i);
    rounds_of(a, false, b, n);
    for (unsigned i = 0; i < n; i++) {
        _mm_storeu_si128((__m128i *)dst + i, _mm_xor_si128(b[i], iv));
        iv = c[i];
    }
    return iv;
}

AESNI void aesni_cbc(const AesNi *a, bool encrypt, const uint8_t iv_[16], const uint8_t *src, uint8_t *dst, size_t len)
{
    __m128i iv = _mm_loadu_si128((const __m128i *)iv_);
    size_t i = 0;

    if (encrypt) {
        cbc_encrypt(a, iv, src, dst, len);
        return;
    }
    for (; len - i >= WIDE * 16; i += WIDE * 16)
        iv = cbc_decrypt_part(a, iv, src + i, dst + i, WIDE);
    for (; i < len; i += 16)
        iv = cbc_decrypt_part(a, iv, src + i, dst + i, 1);
}

/* The tweak of the next block: times x in GF(2^128), least significant byte first. */
AESNI_INLINE __m128i times_x(__m128i t)
{
    /* bits 63 and 127 move to bit 64 and, as 0x87, to the bottom */
    __m128i carry = _mm_shuffle_epi32(_mm_srai_epi32(t, 31), 0x13);

    carry = _mm_and_si128(carry, _mm_set_epi32(0, 1, 0, 0x87));
    return _mm_xor_si128(_mm_add_epi64(t, t), carry);
}

AESNI_INLINE __m128i xts_part(const AesNi *a, bool encrypt, __m128i t, const uint8_t *src, uint8_t *dst, unsigned n)
{
    __m128i b[WIDE], tw[WIDE];

    for (unsigned i = 0; i < n; i++) {
        tw[i] = t;
        b[i] = _mm_xor_si128(t, _mm_loadu_si128((const __m128i *)src + i));
        t = times_x(t);
    }
    rounds_of(a, encrypt, b, n);
    for (unsigned i = 0; i < n; i++)
        _mm_storeu_si128((__m128i *)dst + i, _mm_xor_si128(b[i], tw[i]));
    return t;
}

AESNI_INLINE void xts_all(const AesNi *a, bool encrypt, __m128i t, const uint8_t *src, uint8_t *dst, size_t len)
{
    size_t i = 0;

    for (; len - i >= WIDE * 16; i += WIDE * 16)
        t = xts_part(a, encrypt, t, src + i, dst + i, WIDE);
    for (; i < len; i += 16)
        t = xts_part(a, encrypt, t, src + i, dst + i, 1);
}

AESNI void aesni_xts(const AesNi *a, bool encrypt, const uint8_t tweak[16], const uint8_t *src, uint8_t *dst, size_t len)
{
    __m128i t = _mm_loadu_si128((const __m128i *)tweak);

    if (encrypt)
        xts_all(a, true, t, src, dst, len);
    else
        xts_all(a, false, t, src, dst, len);
}
