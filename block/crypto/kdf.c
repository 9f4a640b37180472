/* SPDX-License-Identifier: MIT */
/*
 * From passphrases to keys: PBKDF2 (RFC 8018, section 5.2) and the
 * anti-forensic splitter (LUKS1 On-Disk Format Specification, section 2.4).
 */
#include "block/crypto/crypt.h"

#include <glib.h>
#include <nettle/hmac.h>
#include <nettle/memxor.h>
#include <nettle/nettle-meta.h>
#include <string.h>
#include <time.h>

/* HMAC's three states of one hash. */
typedef struct Mac {
    const struct nettle_hash *hash;
    size_t bytes;
    uint8_t *outer, *inner, *state;
} Mac;

static void mac_init(Mac *m, const CryptHash *h, const uint8_t *key, size_t len)
{
    size_t each = (h->nettle->context_size + 15) & ~(size_t)15;

    m->hash = h->nettle;
    m->bytes = 3 * each;
    m->outer = g_malloc0(m->bytes);
    m->inner = m->outer + each;
    m->state = m->inner + each;
    hmac_set_key(m->outer, m->inner, m->state, m->hash, len, key);
}

static void mac_clear(Mac *m)
{
    explicit_bzero(m->outer, m->bytes);
    g_free(m->outer);
}

/* One block of the output: U1 ^ U2 ^ .. */
static void pbkdf2_block(Mac *m, const uint8_t *salt, size_t salt_len, uint32_t number, uint32_t iters,
                         uint8_t *out, size_t size)
{
    uint32_t be = GUINT32_TO_BE(number);
    uint8_t u[64];

    hmac_update(m->state, m->hash, salt_len, salt);
    hmac_update(m->state, m->hash, sizeof be, (const uint8_t *)&be);
    hmac_digest(m->outer, m->inner, m->state, m->hash, size, u);
    memcpy(out, u, size);
    for (uint32_t i = 1; i < iters; i++) {
        hmac_update(m->state, m->hash, size, u);
        hmac_digest(m->outer, m->inner, m->state, m->hash, size, u);
        memxor(out, u, size);
    }
    explicit_bzero(u, sizeof u);
}

void kdf_pbkdf2(const CryptHash *h, const uint8_t *pass, size_t pass_len, const uint8_t *salt, size_t salt_len,
                uint32_t iters, uint8_t *out, size_t len)
{
    Mac m;
    uint8_t block[64];

    mac_init(&m, h, pass, pass_len);
    for (size_t at = 0; at < len; at += h->size) {
        pbkdf2_block(&m, salt, salt_len, (uint32_t)(at / h->size) + 1, iters, block, h->size);
        memcpy(out + at, block, MIN(h->size, len - at));
    }
    explicit_bzero(block, sizeof block);
    mac_clear(&m);
}

static int64_t thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

uint64_t kdf_speed(const CryptHash *h, size_t len)
{
    static const uint8_t pass[16] = "passphrase", salt[32] = "salt";
    const int64_t enough = 30 * 1000 * 1000;
    uint8_t key[CRYPT_KEY_MAX];

    for (uint32_t iters = 1 << 12;; iters *= 2) {
        int64_t start = thread_ns(), took;

        kdf_pbkdf2(h, pass, sizeof pass, salt, sizeof salt, iters, key, MIN(len, sizeof key));
        took = thread_ns() - start;
        if (took >= enough || iters >= UINT32_C(1) << 30)
            return (uint64_t)((double)iters * 1e9 / (double)MAX(took, 1));
    }
}

/* Spreads every bit over a digest's worth of bytes; the last piece may be shorter. */
static void diffuse(const CryptHash *h, void *ctx, uint8_t *block, size_t len)
{
    uint8_t digest[64];

    for (size_t at = 0; at < len; at += h->size) {
        uint32_t be = GUINT32_TO_BE((uint32_t)(at / h->size));
        size_t n = MIN(h->size, len - at);

        h->nettle->init(ctx);
        h->nettle->update(ctx, sizeof be, (const uint8_t *)&be);
        h->nettle->update(ctx, n, block + at);
        h->nettle->digest(ctx, h->size, digest);
        memcpy(block + at, digest, n);
    }
    explicit_bzero(digest, sizeof digest);
}

/* block = what all parts but the last come to */
static void fold(const CryptHash *h, const uint8_t *parts, size_t len, uint32_t stripes, uint8_t *block)
{
    g_autofree void *ctx = g_malloc0(h->nettle->context_size);

    memset(block, 0, len);
    for (uint32_t i = 0; i + 1 < stripes; i++) {
        memxor(block, parts + (size_t)i * len, len);
        diffuse(h, ctx, block, len);
    }
}

Err *af_split(const CryptHash *h, const uint8_t *key, size_t len, uint32_t stripes, uint8_t *out)
{
    uint8_t *last = out + (size_t)(stripes - 1) * len;

    TRY(crypt_random(out, (size_t)(stripes - 1) * len));
    fold(h, out, len, stripes, last);
    memxor(last, key, len);
    return NULL;
}

void af_merge(const CryptHash *h, const uint8_t *parts, size_t len, uint32_t stripes, uint8_t *key)
{
    fold(h, parts, len, stripes, key);
    memxor(key, parts + (size_t)(stripes - 1) * len, len);
}
