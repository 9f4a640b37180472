/* SPDX-License-Identifier: MIT */
/*
 * Encryption of disks: sectors of 512 bytes, each encrypted by itself with an
 * initialization vector (IV) that comes from its number.
 */
#ifndef BLOCK_CRYPTO_CRYPT_H
#define BLOCK_CRYPTO_CRYPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

enum { CRYPT_SECTOR = 512, CRYPT_KEY_MAX = 64 };

typedef enum CryptMode { CRYPT_ECB, CRYPT_CBC, CRYPT_XTS, CRYPT_CTR } CryptMode;
typedef enum CryptIv { IV_PLAIN, IV_PLAIN64, IV_ESSIV } CryptIv;
extern const char *const crypt_mode_names[];    /* "ecb", .., NULL */
extern const char *const crypt_iv_names[];      /* "plain", .., NULL */

struct nettle_cipher;
struct nettle_hash;

/* A cipher with a length of key, and a hash, by the names that options have. */
typedef struct CryptCipher {
    const char *name;               /* "aes-256" */
    const char *family;             /* "aes", as a LUKS header says; the key's length says the rest */
    const struct nettle_cipher *nettle;
    unsigned key, block;            /* bytes */
} CryptCipher;
typedef struct CryptHash {
    const char *name;
    const struct nettle_hash *nettle;
    unsigned size;                  /* bytes of a digest */
} CryptHash;

/* An error names the ones there are. `what` is the option. */
MUST_USE Err *crypt_cipher(const char *what, const char *name, const CryptCipher **out);
MUST_USE Err *crypt_hash(const char *what, const char *name, const CryptHash **out);
MUST_USE Err *crypt_mode(const char *what, const char *name, CryptMode *out);
MUST_USE Err *crypt_iv(const char *what, const char *name, CryptIv *out);
/* Of a family, with keys of that many bytes; NULL: none. */
const CryptCipher *crypt_cipher_sized(const char *family, unsigned key);

typedef struct CryptSpec {
    const CryptCipher *cipher;
    CryptMode mode;
    CryptIv iv;
    const CryptHash *iv_hash;       /* essiv: hashes the key */
} CryptSpec;

/* XTS has two keys. */
unsigned crypt_key_bytes(const CryptSpec *s);
/* Can these go together? */
MUST_USE Err *crypt_check(const CryptSpec *s);

/* Ready to run; does not change, so any number of threads may use one at once. */
typedef struct Crypt Crypt;
/* key: crypt_key_bytes of them; it is copied. */
MUST_USE Err *crypt_new(const CryptSpec *s, const uint8_t *key, Crypt **out);
void crypt_free(Crypt *c);          /* wiped; NULL is fine */
/* len: whole sectors, the first one's number is `sector`; src and dst are the same or do not overlap. */
void crypt_run(const Crypt *c, bool encrypt, uint64_t sector, const uint8_t *src, uint8_t *dst, size_t len);

/* Random bytes for keys and salts. */
MUST_USE Err *crypt_random(void *to, size_t len);

/* ---- passphrases (block/crypto/kdf.c) */

/* PBKDF2 (RFC 8018, 5.2) with HMAC of the hash. Takes as long as `iters` say: not in a loop's thread. */
void kdf_pbkdf2(const CryptHash *h, const uint8_t *pass, size_t pass_len, const uint8_t *salt, size_t salt_len,
                uint32_t iters, uint8_t *out, size_t len);
/* Iterations a second, for a key of that length, on this processor. Takes a tenth of a second. */
uint64_t kdf_speed(const CryptHash *h, size_t len);

/* The anti-forensic splitter of LUKS: a key as `stripes` parts of its length, all of which are needed. */
MUST_USE Err *af_split(const CryptHash *h, const uint8_t *key, size_t len, uint32_t stripes, uint8_t *out);
void af_merge(const CryptHash *h, const uint8_t *parts, size_t len, uint32_t stripes, uint8_t *key);

#endif
