/* SPDX-License-Identifier: MIT */
/*
 * block/crypto: the ciphers' modes against published vectors and against
 * nettle's own functions, which go another way; PBKDF2 against RFC 6070; the
 * splitter's two halves against each other.
 */
#include "block/crypto/aesni.h"
#include "block/crypto/crypt.h"
#include "tests/unit/test.h"

#include <glib.h>
#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/nettle-meta.h>
#include <nettle/xts.h>
#include <stdlib.h>

static void fill(uint8_t *p, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1103515245 + 12345;
        p[i] = (uint8_t)(seed >> 16);
    }
}

static CryptSpec spec(const char *cipher, const char *mode, const char *iv, const char *hash)
{
    CryptSpec s = { 0 };
    Err *e = crypt_cipher("cipher-alg", cipher, &s.cipher);

    CHECK(!e);
    e = crypt_mode("cipher-mode", mode, &s.mode);
    CHECK(!e);
    e = crypt_iv("ivgen-alg", iv, &s.iv);
    CHECK(!e);
    if (hash) {
        e = crypt_hash("ivgen-hash-alg", hash, &s.iv_hash);
        CHECK(!e);
    }
    return s;
}

/* FIPS 197, appendix C: a block, each length of key. */
static void test_aes_block(void)
{
    static const uint8_t plain[16] = { 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                       0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff };
    static const uint8_t want[3][2] = { { 0x69, 0xc4 }, { 0xdd, 0xa9 }, { 0x8e, 0xa2 } };
    uint8_t key[32], out[16];
    AesNi a;

    if (!aesni_here())
        return;
    for (unsigned i = 0; i < 32; i++)
        key[i] = (uint8_t)i;
    for (unsigned i = 0; i < 3; i++) {
        aesni_set_key(&a, key, 16 + 8 * i);
        aesni_ecb(&a, true, plain, out, 16);
        CHECK(!memcmp(out, want[i], 2));
        aesni_ecb(&a, false, out, out, 16);
        CHECK(!memcmp(out, plain, 16));
    }
}

/* One sector as nettle does it, IVs by hand. */
static void reference(const CryptSpec *s, const uint8_t *key, uint64_t sector, uint8_t *data)
{
    g_autofree void *ctx = g_malloc0(s->cipher->nettle->context_size);
    g_autofree void *ctx2 = g_malloc0(8192);     /* of the IV, whose key may be longer */
    const struct nettle_cipher *c = s->cipher->nettle;
    uint8_t iv[16] = { 0 };
    uint64_t n = s->iv == IV_PLAIN ? (uint32_t)sector : sector;

    memcpy(iv, &n, 8);
    c->set_encrypt_key(ctx, key);
    if (s->iv == IV_ESSIV) {
        g_autofree void *h = g_malloc0(s->iv_hash->nettle->context_size);
        uint8_t digest[64];

        s->iv_hash->nettle->init(h);
        s->iv_hash->nettle->update(h, crypt_key_bytes(s), key);
        s->iv_hash->nettle->digest(h, s->iv_hash->size, digest);
        const struct nettle_cipher *e = crypt_cipher_sized(s->cipher->family, s->iv_hash->size)->nettle;
        e->set_encrypt_key(ctx2, digest);
        e->encrypt(ctx2, s->cipher->block, iv, iv);
    }
    switch (s->mode) {
    case CRYPT_ECB: c->encrypt(ctx, 512, data, data); break;
    case CRYPT_CBC: cbc_encrypt(ctx, c->encrypt, s->cipher->block, iv, 512, data, data); break;
    case CRYPT_CTR: ctr_crypt(ctx, c->encrypt, s->cipher->block, iv, 512, data, data); break;
    case CRYPT_XTS:
        c->set_encrypt_key(ctx2, key + s->cipher->key);
        xts_encrypt_message(ctx, ctx2, c->encrypt, iv, 512, data, data);
        break;
    }
}

static void round_trip(const CryptSpec *s)
{
    enum { N = 5 };
    uint8_t key[CRYPT_KEY_MAX], plain[N * 512], out[N * 512], want[N * 512], place[N * 512 + 3];
    uint64_t first = UINT64_C(0x1fffffffe);     /* 32 bits do not hold it, nor does one carry spare it */
    Crypt *c;
    Err *e;

    fill(key, sizeof key, s->cipher->key);
    fill(plain, sizeof plain, 7);
    e = crypt_new(s, key, &c);
    CHECK(!e);
    memcpy(want, plain, sizeof want);
    for (unsigned i = 0; i < N; i++)
        reference(s, key, first + i, want + i * 512);
    crypt_run(c, true, first, plain, out, sizeof out);
    CHECK(!memcmp(out, want, sizeof out));
    memcpy(place + 3, plain, sizeof plain);     /* in place, and not aligned */
    crypt_run(c, true, first, place + 3, place + 3, sizeof plain);
    CHECK(!memcmp(place + 3, want, sizeof out));
    crypt_run(c, false, first, place + 3, place + 3, sizeof plain);
    CHECK(!memcmp(place + 3, plain, sizeof plain));
    crypt_run(c, false, first, want, out, sizeof out);
    CHECK(!memcmp(out, plain, sizeof out));
    crypt_free(c);
}

static void test_modes(void)
{
    static const char *const names[] = { "aes-128", "aes-192", "aes-256", "serpent-128", "serpent-192", "serpent-256",
                                         "twofish-128", "twofish-192", "twofish-256", "cast5-128" };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        for (unsigned m = 0; crypt_mode_names[m]; m++) {
            for (unsigned v = 0; crypt_iv_names[v]; v++) {
                const char *hash = v != IV_ESSIV ? NULL : strstr(names[i], "128") ? "md5" : "sha256";
                CryptSpec s = spec(names[i], crypt_mode_names[m], crypt_iv_names[v], hash);

                if (s.mode == CRYPT_XTS && s.cipher->block != 16) {
                    Err *e = crypt_check(&s);
                    CHECK(e != NULL);
                    err_free(e);
                } else {
                    round_trip(&s);
                }
            }
        }
    }
}

/* IEEE 1619-2007, vector 4: XTS-AES-128 on a whole sector. */
static void test_xts_vector(void)
{
    static const uint8_t key[32] = { 0x27, 0x18, 0x28, 0x18, 0x28, 0x45, 0x90, 0x45, 0x23, 0x53, 0x60, 0x28, 0x74, 0x71,
                                     0x35, 0x26, 0x31, 0x41, 0x59, 0x26, 0x53, 0x58, 0x97, 0x93, 0x23, 0x84, 0x62, 0x64,
                                     0x33, 0x83, 0x27, 0x95 };
    static const uint8_t head[8] = { 0x27, 0xa7, 0x47, 0x9b, 0xef, 0xa1, 0xd4, 0x76 };
    CryptSpec s = spec("aes-128", "xts", "plain64", NULL);
    uint8_t data[512];
    Crypt *c;
    Err *e = crypt_new(&s, key, &c);

    CHECK(!e);
    for (unsigned i = 0; i < 512; i++)
        data[i] = (uint8_t)i;
    crypt_run(c, true, 0, data, data, 512);
    CHECK(!memcmp(data, head, sizeof head));
    crypt_free(c);
}

static void test_refused(void)
{
    CryptSpec s = spec("aes-256", "xts", "plain64", NULL);
    const CryptCipher *cc;
    uint8_t key[64] = { 0 };
    Crypt *c;
    Err *e = crypt_new(&s, key, &c);

    CHECK(e && strstr(err_text(e), "duplicates"));
    err_free(e);
    s = spec("aes-256", "cbc", "essiv", NULL);
    e = crypt_check(&s);
    CHECK(e && strstr(err_text(e), "Hash algorithm"));
    err_free(e);
    s = spec("aes-256", "cbc", "essiv", "sha1");
    e = crypt_check(&s);
    CHECK(e && strstr(err_text(e), "20 bytes"));
    err_free(e);
    e = crypt_cipher("cipher-alg", "aes-265", &cc);
    CHECK(e && !strcmp(err_text(e), "Parameter 'cipher-alg' does not accept value 'aes-265'"));
    CHECK(e && strstr(err_hint_text(e), "aes-256"));
    err_free(e);
}

static void test_pbkdf2(void)
{
    static const uint8_t want[25] = { 0x3d, 0x2e, 0xec, 0x4f, 0xe4, 0x1c, 0x84, 0x9b, 0x80, 0xc8, 0xd8, 0x36, 0x62,
                                      0xc0, 0xe4, 0x4a, 0x8b, 0x29, 0x1a, 0x96, 0x4c, 0xf2, 0xf0, 0x70, 0x38 };
    const CryptHash *h;
    uint8_t out[25];
    Err *e = crypt_hash("hash-alg", "sha1", &h);

    CHECK(!e);
    kdf_pbkdf2(h, (const uint8_t *)"passwordPASSWORDpassword", 24,
               (const uint8_t *)"saltSALTsaltSALTsaltSALTsaltSALTsalt", 36, 4096, out, sizeof out);
    CHECK(!memcmp(out, want, sizeof out));
    CHECK(kdf_speed(h, 20) > 10000);
}

static void test_split(void)
{
    static const char *const names[] = { "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160" };
    uint8_t key[64], back[64], parts[64 * 20];

    fill(key, sizeof key, 3);
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        const CryptHash *h;
        Err *e = crypt_hash("hash-alg", names[i], &h);

        CHECK(!e);
        for (unsigned len = 16; len <= 64; len += 8) {
            e = af_split(h, key, len, 20, parts);
            CHECK(!e);
            af_merge(h, parts, len, 20, back);
            CHECK(!memcmp(key, back, len));
            parts[len * 11] ^= 1;
            af_merge(h, parts, len, 20, back);
            CHECK(memcmp(key, back, len));
        }
    }
}

int main(void)
{
    RUN(test_aes_block);
    RUN(test_modes);
    RUN(test_xts_vector);
    RUN(test_refused);
    RUN(test_pbkdf2);
    RUN(test_split);
    return test_end();
}
