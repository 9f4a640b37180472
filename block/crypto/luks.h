/* SPDX-License-Identifier: MIT */
/*
 * LUKS1 headers: for the driver `luks` and for encrypted qcow2 images, which
 * keep one in clusters of their own. Where the header lies is the caller's
 * matter (LuksStore). Everything but parsing runs in a coroutine; what takes
 * long goes to worker threads.
 */
#ifndef BLOCK_CRYPTO_LUKS_H
#define BLOCK_CRYPTO_LUKS_H

#include <jansson.h>

#include "block/crypto/crypt.h"
#include "block/objects.h"

enum {
    LUKS_SLOTS = 8, LUKS_HEADER = 592, LUKS_STRIPES = 4000,
    LUKS_LONGEST = (8 + LUKS_SLOTS * 504) * 512,    /* header and slots of the longest key */
};

typedef struct LuksSlot {
    bool active;
    uint32_t iters, sector, stripes;    /* sector: of the key material, from the header's start */
    uint8_t salt[32];
} LuksSlot;

typedef struct Luks {
    CryptSpec spec;
    const CryptHash *hash;              /* of passphrases and the splitter */
    uint32_t payload;                   /* sector where the data begins; 0: elsewhere (a detached header) */
    uint32_t mk_iters;
    uint8_t mk_digest[20], mk_salt[32];
    char uuid[41];
    LuksSlot slot[LUKS_SLOTS];
} Luks;

/* Where the header is: offsets from its first byte. May yield; 0 or -errno. */
typedef struct LuksStore {
    int (*read)(void *opaque, uint64_t off, void *buf, size_t len);
    int (*write)(void *opaque, uint64_t off, const void *buf, size_t len);
    int (*flush)(void *opaque);
    void *opaque;
    uint64_t size;                      /* bytes that the header and its key material may take */
} LuksStore;

/* What -o says: of a new one, and of a change. */
typedef struct LuksOptions {
    char *key_secret, *cipher_alg, *cipher_mode, *ivgen_alg, *ivgen_hash_alg, *hash_alg;
    uint64_t iter_time;                 /* milliseconds; 0: 2000 */
    char *state, *new_secret, *old_secret;
    int64_t keyslot;                    /* -1: not given */
} LuksOptions;

/* How sure are these first bytes to be LUKS1: 0..100. */
int luks_probe(const uint8_t *head, size_t len);
/* Reads and judges the header. */
MUST_USE Err *luks_load(const LuksStore *st, Luks *out);
/* Finds the slot that `secret` (an object's id) opens; the result encrypts the payload. */
MUST_USE Err *luks_open(const Luks *l, const LuksStore *st, Objects *objs, const char *secret, Crypt **out);

/* A new one has all but slots: bytes up to the payload are l->payload * 512. */
MUST_USE Err *luks_plan(const LuksOptions *o, Luks *out);
/* Makes a key and writes header and slot 0; the space reads as zeroes before. */
MUST_USE Err *luks_create(Luks *l, const LuksOptions *o, Objects *objs, const LuksStore *st);
/* Adds or removes keys as -o of amend says; `secret` opens one of the slots that there are. */
MUST_USE Err *luks_amend(Luks *l, const LuksOptions *o, Objects *objs, const char *secret, bool force,
                         const LuksStore *st);

/* ImageInfoSpecificLUKS; with a member "format" of that value where it is not NULL. */
json_t *luks_info(const Luks *l, const char *format);

#endif
