/* SPDX-License-Identifier: MIT */
/*
 * LUKS1, as the On-Disk Format Specification 1.2.3 has it: the header's bytes,
 * and finding the master key with a passphrase. New headers and changes are in
 * block/crypto/luks_write.c.
 */
#include "block/crypto/luks.h"

#include <glib.h>
#include <nettle/memops.h>
#include <string.h>

#include "block/crypto/luks-priv.h"
#include "util/co.h"

static const uint8_t magic[6] = { 'L', 'U', 'K', 'S', 0xba, 0xbe };

enum { SLOT_ON = 0x00ac71f3, SLOT_OFF = 0x0000dead };
/* Where the fields are (figure 1 of the specification). */
enum {
    AT_VERSION = 6, AT_CIPHER = 8, AT_MODE = 40, AT_HASH = 72, AT_PAYLOAD = 104, AT_KEY_BYTES = 108, AT_DIGEST = 112,
    AT_SALT = 132, AT_ITERS = 164, AT_UUID = 168, AT_SLOTS = 208, SLOT_BYTES = 48,
};
/* More take minutes: nobody chose them, somebody wants this program to hang. */
enum { MAX_ITERS = 1 << 28 };

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, 4);
}

int luks_probe(const uint8_t *head, size_t len)
{
    return len >= 8 && !memcmp(head, magic, sizeof magic) && head[6] == 0 && head[7] == 1 ? 100 : 0;
}

/* A field of text, which ends with a zero. */
static Err *text_at(const uint8_t *raw, unsigned at, const char *what, char out[33])
{
    memcpy(out, raw + at, 32);
    out[32] = 0;
    if (strlen(out) == 32)
        return err(ERR_INVALID, "LUKS header: the %s at offset %u has no end", what, at);
    return NULL;
}

/* "cbc-essiv:sha256", "xts-plain64", "ecb" */
static Err *parse_mode(char *text, CryptSpec *s)
{
    char *iv = strchr(text, '-'), *hash = strchr(text, ':');

    if (iv)
        *iv++ = 0;
    if (hash)
        *hash++ = 0;
    TRY(crypt_mode("cipher mode", text, &s->mode));
    if (!iv && s->mode != CRYPT_ECB)
        return err(ERR_INVALID, "mode '%s' without an IV generator", text);
    s->iv = IV_PLAIN64;
    if (iv)
        TRY(crypt_iv("IV generator", iv, &s->iv));
    if (hash)
        TRY(crypt_hash("IV generator's hash", hash, &s->iv_hash));
    return NULL;
}

static Err *parse_algorithms(const uint8_t *raw, Luks *l)
{
    char family[33], mode[33], hash[33];
    uint32_t key = be32(raw + AT_KEY_BYTES);

    TRY(text_at(raw, AT_CIPHER, "cipher's name", family));
    TRY(text_at(raw, AT_MODE, "cipher mode", mode));
    TRY(text_at(raw, AT_HASH, "hash's name", hash));
    TRY(err_in(parse_mode(mode, &l->spec), "LUKS header at offset %u", AT_MODE));
    TRY(err_in(crypt_hash("hash", hash, &l->hash), "LUKS header at offset %u", AT_HASH));
    l->spec.cipher = crypt_cipher_sized(family, l->spec.mode == CRYPT_XTS ? key / 2 : key);
    if (!l->spec.cipher || crypt_key_bytes(&l->spec) != key)
        return err_hint(err(ERR_UNSUPPORTED, "LUKS header: cipher '%s' with a key of %u bytes (offsets %u and %u)"
                            " is not supported", family, key, AT_CIPHER, AT_KEY_BYTES),
                        "aes, serpent, twofish (16, 24, 32 bytes, twice that for xts) and cast5 (16) are.");
    return err_in(crypt_check(&l->spec), "LUKS header");
}

size_t luks_material(const Luks *l)
{
    size_t bytes = (size_t)crypt_key_bytes(&l->spec) * LUKS_STRIPES;

    return (bytes + CRYPT_SECTOR - 1) / CRYPT_SECTOR * CRYPT_SECTOR;
}

static Err *parse_slot(const uint8_t *raw, unsigned n, const Luks *l, uint64_t space, LuksSlot *s)
{
    const uint8_t *p = raw + AT_SLOTS + n * SLOT_BYTES;
    unsigned at = AT_SLOTS + n * SLOT_BYTES;
    uint32_t state = be32(p);
    uint64_t end;

    s->active = state == SLOT_ON;
    s->iters = be32(p + 4);
    memcpy(s->salt, p + 8, sizeof s->salt);
    s->sector = be32(p + 40);
    s->stripes = be32(p + 44);
    if (state != SLOT_ON && state != SLOT_OFF)
        return err(ERR_INVALID, "LUKS header: key slot %u at offset %u has the state %#x, neither on nor off",
                   n, at, state);
    if (s->stripes != LUKS_STRIPES)
        return err(ERR_INVALID, "LUKS header: key slot %u at offset %u has %u stripes, not %u",
                   n, at, s->stripes, LUKS_STRIPES);
    if (s->active && (s->iters == 0 || s->iters > MAX_ITERS))
        return err(ERR_INVALID, "LUKS header: key slot %u at offset %u wants %u iterations, 1 to %u make sense",
                   n, at, s->iters, MAX_ITERS);
    end = (uint64_t)s->sector * 512 + luks_material(l);
    if (s->sector < 2 || end > space || (l->payload && end > (uint64_t)l->payload * 512))
        return err(ERR_INVALID, "LUKS header: key slot %u at offset %u says its key lies at %" G_GUINT64_FORMAT
                   ", which is not between the header and the data", n, at, (uint64_t)s->sector * 512);
    return NULL;
}

static Err *no_overlaps(const Luks *l)
{
    uint64_t sectors = luks_material(l) / 512;

    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        for (unsigned j = i + 1; j < LUKS_SLOTS; j++)
            if (l->slot[i].sector < l->slot[j].sector + sectors && l->slot[j].sector < l->slot[i].sector + sectors)
                return err(ERR_INVALID, "LUKS header: key slots %u and %u lie over each other at %" G_GUINT64_FORMAT,
                           i, j, (uint64_t)MAX(l->slot[i].sector, l->slot[j].sector) * 512);
    return NULL;
}

static Err *parse(const uint8_t *raw, uint64_t space, Luks *l)
{
    memset(l, 0, sizeof *l);
    if (memcmp(raw, magic, sizeof magic))
        return err(ERR_INVALID, "Volume is not in LUKS format");
    if (raw[AT_VERSION] != 0 || raw[AT_VERSION + 1] != 1)
        return err_hint(err(ERR_UNSUPPORTED, "LUKS version %u is not supported",
                            (unsigned)raw[AT_VERSION] << 8 | raw[AT_VERSION + 1]), "Version 1 is.");
    l->payload = be32(raw + AT_PAYLOAD);
    l->mk_iters = be32(raw + AT_ITERS);
    memcpy(l->mk_digest, raw + AT_DIGEST, sizeof l->mk_digest);
    memcpy(l->mk_salt, raw + AT_SALT, sizeof l->mk_salt);
    memcpy(l->uuid, raw + AT_UUID, 40);
    TRY(parse_algorithms(raw, l));
    if (l->mk_iters == 0 || l->mk_iters > MAX_ITERS)
        return err(ERR_INVALID, "LUKS header: the master key's digest (offset %u) wants %u iterations,"
                   " 1 to %u make sense", AT_ITERS, l->mk_iters, MAX_ITERS);
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        TRY(parse_slot(raw, i, l, space, &l->slot[i]));
    return no_overlaps(l);
}

Err *luks_load(const LuksStore *st, Luks *out)
{
    uint8_t raw[LUKS_HEADER];
    int ret = st->size < sizeof raw ? -EINVAL : st->read(st->opaque, 0, raw, sizeof raw);

    if (st->size < sizeof raw)
        return err(ERR_INVALID, "Volume is not in LUKS format: it has %" G_GUINT64_FORMAT " bytes, and a header %u",
                   st->size, LUKS_HEADER);
    if (ret < 0)
        return err_errno(-ret, "Unable to read LUKS header");
    return parse(raw, st->size, out);
}

void luks_print(const Luks *l, uint8_t raw[LUKS_HEADER])
{
    g_autofree char *mode = g_strconcat(crypt_mode_names[l->spec.mode], "-", crypt_iv_names[l->spec.iv],
                                        l->spec.iv == IV_ESSIV ? ":" : NULL,
                                        l->spec.iv == IV_ESSIV ? l->spec.iv_hash->name : NULL, NULL);

    memset(raw, 0, LUKS_HEADER);
    memcpy(raw, magic, sizeof magic);
    raw[AT_VERSION + 1] = 1;
    g_strlcpy((char *)raw + AT_CIPHER, l->spec.cipher->family, 32);
    g_strlcpy((char *)raw + AT_MODE, mode, 32);
    g_strlcpy((char *)raw + AT_HASH, l->hash->name, 32);
    put32(raw + AT_PAYLOAD, l->payload);
    put32(raw + AT_KEY_BYTES, crypt_key_bytes(&l->spec));
    memcpy(raw + AT_DIGEST, l->mk_digest, sizeof l->mk_digest);
    memcpy(raw + AT_SALT, l->mk_salt, sizeof l->mk_salt);
    put32(raw + AT_ITERS, l->mk_iters);
    memcpy(raw + AT_UUID, l->uuid, 40);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        uint8_t *p = raw + AT_SLOTS + i * SLOT_BYTES;

        put32(p, l->slot[i].active ? SLOT_ON : SLOT_OFF);
        put32(p + 4, l->slot[i].iters);
        memcpy(p + 8, l->slot[i].salt, 32);
        put32(p + 40, l->slot[i].sector);
        put32(p + 44, l->slot[i].stripes);
    }
}

/* ---- the master key */

/* A worker's task: is this the passphrase of that slot? */
typedef struct Attempt {
    const Luks *l;
    const LuksSlot *s;
    const uint8_t *pass;
    size_t pass_len;
    uint8_t *material;              /* as read; decrypted in place */
    uint8_t *key;                   /* the master key, if `right` */
    bool right;
    Err *error;
} Attempt;

void luks_digest(const Luks *l, const uint8_t *key, uint8_t digest[20])
{
    kdf_pbkdf2(l->hash, key, crypt_key_bytes(&l->spec), l->mk_salt, sizeof l->mk_salt, l->mk_iters, digest, 20);
}

static void attempt(void *arg)
{
    Attempt *a = arg;
    unsigned bytes = crypt_key_bytes(&a->l->spec);
    uint8_t slot_key[CRYPT_KEY_MAX], digest[20];
    Crypt *c;

    kdf_pbkdf2(a->l->hash, a->pass, a->pass_len, a->s->salt, sizeof a->s->salt, a->s->iters, slot_key, bytes);
    a->error = crypt_new(&a->l->spec, slot_key, &c);
    explicit_bzero(slot_key, sizeof slot_key);
    if (a->error)
        return;
    crypt_run(c, false, 0, a->material, a->material, luks_material(a->l));
    crypt_free(c);
    af_merge(a->l->hash, a->material, bytes, a->s->stripes, a->key);
    luks_digest(a->l, a->key, digest);
    a->right = memeql_sec(digest, a->l->mk_digest, sizeof digest);
}

Err *luks_try_slot(const Luks *l, unsigned n, const LuksStore *st, const uint8_t *pass, size_t pass_len,
                   uint8_t *key, bool *right)
{
    size_t len = luks_material(l);
    Attempt a = { .l = l, .s = &l->slot[n], .pass = pass, .pass_len = pass_len, .key = key };
    int ret;

    *right = false;
    if (!a.s->active)
        return NULL;
    a.material = g_malloc0(len);        /* at most 250 KiB: luks_load saw to that */
    ret = st->read(st->opaque, (uint64_t)a.s->sector * 512, a.material, len);
    if (ret < 0)
        a.error = err_errno(-ret, "Failed to read key material of slot %u at %" G_GUINT64_FORMAT, n,
                            (uint64_t)a.s->sector * 512);
    else
        co_offload(attempt, &a);
    explicit_bzero(a.material, len);
    g_free(a.material);
    *right = a.right;
    return a.error;
}

Err *luks_find_key(const Luks *l, const LuksStore *st, Objects *objs, const char *secret, uint8_t *key)
{
    uint8_t *pass;
    size_t len;
    bool right = false;
    Err *e = NULL;

    if (!secret)
        return err_hint(err(ERR_INVALID, "Parameter 'key-secret' is required for cipher"),
                        "--object secret,id=sec0,file=FILE gives the passphrase, key-secret=sec0 says that it is this one.");
    TRY(secret_bytes(objs, secret, &pass, &len));
    for (unsigned i = 0; i < LUKS_SLOTS && !right && !e; i++)
        e = luks_try_slot(l, i, st, pass, len, key, &right);
    secret_free(pass, len);
    if (!e && !right)
        e = err(ERR_INVALID, "Invalid password, cannot unlock any keyslot");
    return e;
}

Err *luks_open(const Luks *l, const LuksStore *st, Objects *objs, const char *secret, Crypt **out)
{
    uint8_t key[CRYPT_KEY_MAX];
    Err *e = luks_find_key(l, st, objs, secret, key);

    if (!e)
        e = crypt_new(&l->spec, key, out);
    explicit_bzero(key, sizeof key);
    return e;
}

/* ---- what info says */

json_t *luks_info(const Luks *l, const char *format)
{
    json_t *j = json_object(), *slots = json_array();

    json_object_set_new(j, "ivgen-alg", json_string(crypt_iv_names[l->spec.iv]));
    json_object_set_new(j, "hash-alg", json_string(l->hash->name));
    json_object_set_new(j, "cipher-alg", json_string(l->spec.cipher->name));
    json_object_set_new(j, "uuid", json_stringn_nocheck(l->uuid, strlen(l->uuid)));
    if (l->spec.iv == IV_ESSIV)
        json_object_set_new(j, "ivgen-hash-alg", json_string(l->spec.iv_hash->name));
    if (format)
        json_object_set_new(j, "format", json_string(format));
    json_object_set_new(j, "cipher-mode", json_string(crypt_mode_names[l->spec.mode]));
    json_object_set_new(j, "slots", slots);
    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        const LuksSlot *s = &l->slot[i];
        json_t *o = json_object();

        json_object_set_new(o, "active", json_boolean(s->active));
        if (s->active) {
            json_object_set_new(o, "iters", json_integer(s->iters));
            json_object_set_new(o, "key-offset", json_integer((json_int_t)s->sector * 512));
            json_object_set_new(o, "stripes", json_integer(s->stripes));
        } else {
            json_object_set_new(o, "key-offset", json_integer((json_int_t)s->sector * 512));
        }
        json_array_append_new(slots, o);
    }
    json_object_set_new(j, "payload-offset", json_integer((json_int_t)l->payload * 512));
    json_object_set_new(j, "master-key-iters", json_integer(l->mk_iters));
    return j;
}
