/* SPDX-License-Identifier: MIT */
/*
 * Ciphers, modes and IV generators for sectors, on nettle; AES goes through
 * block/crypto/aesni.c where the processor has the instructions. Modes: ECB,
 * CBC, CTR (NIST SP 800-38A), XTS (IEEE 1619). IVs as dm-crypt makes them:
 * plain (32 bits of the number), plain64, essiv (the number encrypted with a
 * hash of the key).
 */
#include "block/crypto/crypt.h"

#include <errno.h>
#include <glib.h>
#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <nettle/ctr.h>
#include <nettle/memxor.h>
#include <nettle/nettle-meta.h>
#include <nettle/ripemd160.h>
#include <string.h>
#include <sys/random.h>

#include "block/crypto/aesni.h"

const char *const crypt_mode_names[] = { "ecb", "cbc", "xts", "ctr", NULL };
const char *const crypt_iv_names[] = { "plain", "plain64", "essiv", NULL };

static const CryptCipher ciphers[] = {
    { "aes-128", "aes", &nettle_aes128, 16, 16 },
    { "aes-192", "aes", &nettle_aes192, 24, 16 },
    { "aes-256", "aes", &nettle_aes256, 32, 16 },
    { "cast5-128", "cast5", &nettle_cast128, 16, 8 },
    { "serpent-128", "serpent", &nettle_serpent128, 16, 16 },
    { "serpent-192", "serpent", &nettle_serpent192, 24, 16 },
    { "serpent-256", "serpent", &nettle_serpent256, 32, 16 },
    { "twofish-128", "twofish", &nettle_twofish128, 16, 16 },
    { "twofish-192", "twofish", &nettle_twofish192, 24, 16 },
    { "twofish-256", "twofish", &nettle_twofish256, 32, 16 },
};

static const CryptHash hashes[] = {
    { "md5", &nettle_md5, 16 },
    { "sha1", &nettle_sha1, 20 },
    { "sha224", &nettle_sha224, 28 },
    { "sha256", &nettle_sha256, 32 },
    { "sha384", &nettle_sha384, 48 },
    { "sha512", &nettle_sha512, 64 },
    { "ripemd160", &nettle_ripemd160, 20 },
};

/* "Parameter 'cipher-alg' does not accept value 'aes'", and those it does. */
static Err *no_such(const char *what, const char *name, const char *const *names)
{
    const char *near = nearest_name(name, names);
    g_autofree char *all = g_strjoinv(", ", (char **)names);
    Err *e = err(ERR_INVALID, "Parameter '%s' does not accept value '%s'", what, name);

    return near ? err_hint(e, "Did you mean '%s'? There are %s.", near, all) : err_hint(e, "There are %s.", all);
}

Err *crypt_cipher(const char *what, const char *name, const CryptCipher **out)
{
    const char *names[G_N_ELEMENTS(ciphers) + 1] = { NULL };

    for (unsigned i = 0; i < G_N_ELEMENTS(ciphers); i++) {
        names[i] = ciphers[i].name;
        if (!strcmp(name, names[i])) {
            *out = &ciphers[i];
            return NULL;
        }
    }
    return no_such(what, name, names);
}

Err *crypt_hash(const char *what, const char *name, const CryptHash **out)
{
    const char *names[G_N_ELEMENTS(hashes) + 1] = { NULL };

    for (unsigned i = 0; i < G_N_ELEMENTS(hashes); i++) {
        names[i] = hashes[i].name;
        if (!strcmp(name, names[i])) {
            *out = &hashes[i];
            return NULL;
        }
    }
    return no_such(what, name, names);
}

static Err *find_name(const char *what, const char *name, const char *const *names, unsigned *out)
{
    for (*out = 0; names[*out]; ++*out)
        if (!strcmp(name, names[*out]))
            return NULL;
    return no_such(what, name, names);
}

Err *crypt_mode(const char *what, const char *name, CryptMode *out)
{
    unsigned n;

    TRY(find_name(what, name, crypt_mode_names, &n));
    *out = (CryptMode)n;
    return NULL;
}

Err *crypt_iv(const char *what, const char *name, CryptIv *out)
{
    unsigned n;

    TRY(find_name(what, name, crypt_iv_names, &n));
    *out = (CryptIv)n;
    return NULL;
}

const CryptCipher *crypt_cipher_sized(const char *family, unsigned key)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(ciphers); i++)
        if (!strcmp(ciphers[i].family, family) && ciphers[i].key == key)
            return &ciphers[i];
    return NULL;
}

unsigned crypt_key_bytes(const CryptSpec *s)
{
    return s->cipher->key * (s->mode == CRYPT_XTS ? 2 : 1);
}

Err *crypt_check(const CryptSpec *s)
{
    if (s->mode == CRYPT_XTS && s->cipher->block != 16)
        return err_hint(err(ERR_INVALID, "cipher mode xts needs blocks of 16 bytes, and those of %s have %u",
                            s->cipher->name, s->cipher->block), "Take cipher-mode=cbc, or another cipher.");
    if (s->iv != IV_ESSIV)
        return NULL;
    if (!s->iv_hash)
        return err_hint(err(ERR_INVALID, "Hash algorithm must be specified for IV generator 'essiv'"),
                        "ivgen-hash-alg=sha256 fits AES-256.");
    if (!crypt_cipher_sized(s->cipher->family, s->iv_hash->size))
        return err_hint(err(ERR_INVALID, "essiv takes the digest for a key, and %s has none of the %u bytes of %s",
                            s->cipher->family, s->iv_hash->size, s->iv_hash->name), "Take ivgen-hash-alg=sha256.");
    return NULL;
}

/* ---- a cipher with its key, and blocks */

/* One direction's keys of nettle, and both of AES-NI. */
typedef struct Keyed {
    const struct nettle_cipher *cipher;
    void *enc, *dec;                /* contexts of nettle; NULL: ni is used */
    AesNi *ni;
} Keyed;

struct Crypt {
    CryptMode mode;
    CryptIv iv;
    unsigned block;
    Keyed data, tweak, essiv;       /* tweak: XTS's second key */
};

static void keyed_init(Keyed *k, const CryptCipher *c, const uint8_t *key)
{
    k->cipher = c->nettle;
    if (!strcmp(c->family, "aes") && aesni_here()) {
        k->ni = g_new0(AesNi, 1);
        aesni_set_key(k->ni, key, c->key);
        return;
    }
    k->enc = g_malloc0(c->nettle->context_size);
    k->dec = g_malloc0(c->nettle->context_size);
    c->nettle->set_encrypt_key(k->enc, key);
    c->nettle->set_decrypt_key(k->dec, key);
}

static void wipe(void *p, size_t len)
{
    if (p)
        explicit_bzero(p, len);
    g_free(p);
}

static void keyed_clear(Keyed *k)
{
    if (!k->cipher)
        return;
    wipe(k->enc, k->cipher->context_size);
    wipe(k->dec, k->cipher->context_size);
    wipe(k->ni, sizeof *k->ni);
}

static void keyed_blocks(const Keyed *k, bool encrypt, const uint8_t *src, uint8_t *dst, size_t len)
{
    if (k->ni)
        aesni_ecb(k->ni, encrypt, src, dst, len);
    else if (encrypt)
        k->cipher->encrypt(k->enc, len, dst, src);
    else
        k->cipher->decrypt(k->dec, len, dst, src);
}

/* For nettle's modes, whose function takes one block or many. */
static void keyed_encrypt(const void *ctx, size_t len, uint8_t *dst, const uint8_t *src)
{
    keyed_blocks(ctx, true, src, dst, len);
}

static void keyed_decrypt(const void *ctx, size_t len, uint8_t *dst, const uint8_t *src)
{
    keyed_blocks(ctx, false, src, dst, len);
}

/* ---- modes: one sector */

static void sector_cbc(const Crypt *c, bool encrypt, uint8_t *iv, const uint8_t *src, uint8_t *dst)
{
    if (c->data.ni)
        aesni_cbc(c->data.ni, encrypt, iv, src, dst, CRYPT_SECTOR);
    else if (encrypt)
        cbc_encrypt(&c->data, keyed_encrypt, c->block, iv, CRYPT_SECTOR, dst, src);
    else
        cbc_decrypt(&c->data, keyed_decrypt, c->block, iv, CRYPT_SECTOR, dst, src);
}

/* The tweak of the next block: times x in GF(2^128), least significant byte first. */
static void times_x(uint8_t *t)
{
    uint64_t lo, hi, out;

    memcpy(&lo, t, 8);
    memcpy(&hi, t + 8, 8);
    out = hi >> 63;
    hi = hi << 1 | lo >> 63;
    lo = lo << 1 ^ (out ? 0x87 : 0);
    memcpy(t, &lo, 8);
    memcpy(t + 8, &hi, 8);
}

static void sector_xts(const Crypt *c, bool encrypt, uint8_t *iv, const uint8_t *src, uint8_t *dst)
{
    uint8_t tweaks[CRYPT_SECTOR];

    keyed_blocks(&c->tweak, true, iv, tweaks, 16);
    if (c->data.ni) {
        aesni_xts(c->data.ni, encrypt, tweaks, src, dst, CRYPT_SECTOR);
        return;
    }
    for (unsigned i = 16; i < CRYPT_SECTOR; i += 16) {
        memcpy(tweaks + i, tweaks + i - 16, 16);
        times_x(tweaks + i);
    }
    memxor3(dst, src, tweaks, CRYPT_SECTOR);
    keyed_blocks(&c->data, encrypt, dst, dst, CRYPT_SECTOR);
    memxor(dst, tweaks, CRYPT_SECTOR);
}

static void make_iv(const Crypt *c, uint64_t sector, uint8_t *iv)
{
    uint64_t le = GUINT64_TO_LE(c->iv == IV_PLAIN ? (uint32_t)sector : sector);

    memset(iv, 0, 16);
    memcpy(iv, &le, 8);
    if (c->iv == IV_ESSIV)
        keyed_blocks(&c->essiv, true, iv, iv, c->block);
}

void crypt_run(const Crypt *c, bool encrypt, uint64_t sector, const uint8_t *src, uint8_t *dst, size_t len)
{
    uint8_t iv[16];

    for (size_t i = 0; i + CRYPT_SECTOR <= len; i += CRYPT_SECTOR, sector++) {
        if (c->mode == CRYPT_ECB) {
            keyed_blocks(&c->data, encrypt, src + i, dst + i, CRYPT_SECTOR);
            continue;
        }
        make_iv(c, sector, iv);
        if (c->mode == CRYPT_XTS)
            sector_xts(c, encrypt, iv, src + i, dst + i);
        else if (c->mode == CRYPT_CBC)
            sector_cbc(c, encrypt, iv, src + i, dst + i);
        else
            ctr_crypt(&c->data, keyed_encrypt, c->block, iv, CRYPT_SECTOR, dst + i, src + i);
    }
}

/* ---- life */

static void init_essiv(Crypt *c, const CryptSpec *s, const uint8_t *key)
{
    uint8_t digest[64];
    g_autofree void *ctx = g_malloc0(s->iv_hash->nettle->context_size);

    s->iv_hash->nettle->init(ctx);
    s->iv_hash->nettle->update(ctx, crypt_key_bytes(s), key);
    s->iv_hash->nettle->digest(ctx, s->iv_hash->size, digest);
    keyed_init(&c->essiv, crypt_cipher_sized(s->cipher->family, s->iv_hash->size), digest);
    explicit_bzero(digest, sizeof digest);
}

Err *crypt_new(const CryptSpec *s, const uint8_t *key, Crypt **out)
{
    Crypt *c;

    TRY(crypt_check(s));
    if (s->mode == CRYPT_XTS && !memcmp(key, key + s->cipher->key, s->cipher->key))
        return err(ERR_INVALID, "XTS keys are duplicates");
    c = g_new0(Crypt, 1);
    c->mode = s->mode;
    c->iv = s->iv;
    c->block = s->cipher->block;
    keyed_init(&c->data, s->cipher, key);
    if (s->mode == CRYPT_XTS)
        keyed_init(&c->tweak, s->cipher, key + s->cipher->key);
    if (s->iv == IV_ESSIV)
        init_essiv(c, s, key);
    *out = c;
    return NULL;
}

void crypt_free(Crypt *c)
{
    if (!c)
        return;
    keyed_clear(&c->data);
    keyed_clear(&c->tweak);
    keyed_clear(&c->essiv);
    g_free(c);
}

Err *crypt_random(void *to, size_t len)
{
    uint8_t *p = to;

    while (len) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(errno, "no random bytes");
        p += n;
        len -= (size_t)n;
    }
    return NULL;
}
