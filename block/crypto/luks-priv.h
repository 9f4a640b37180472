/* SPDX-License-Identifier: MIT */
/* What block/crypto/luks.c and luks_write.c share. */
#ifndef BLOCK_CRYPTO_LUKS_PRIV_H
#define BLOCK_CRYPTO_LUKS_PRIV_H

#include "block/crypto/luks.h"

/* Bytes of a slot's key material on disk, whole sectors. */
size_t luks_material(const Luks *l);
void luks_print(const Luks *l, uint8_t raw[LUKS_HEADER]);
/* The digest by which a master key is known. Slow. */
void luks_digest(const Luks *l, const uint8_t *key, uint8_t digest[20]);
/* Does this passphrase open slot n (no, if it is not in use)? Then key has the master key. */
MUST_USE Err *luks_try_slot(const Luks *l, unsigned n, const LuksStore *st, const uint8_t *pass, size_t pass_len,
                            uint8_t *key, bool *right);
/* The master key (CRYPT_KEY_MAX bytes of room) by the secret of that id; NULL: an error that says so. */
MUST_USE Err *luks_find_key(const Luks *l, const LuksStore *st, Objects *objs, const char *secret, uint8_t *key);

#endif
