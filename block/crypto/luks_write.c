/* SPDX-License-Identifier: MIT */
/*
 * New LUKS1 headers, and keys that come and go (LUKS1 On-Disk Format
 * Specification 1.2.3, section 4). Order of writes: a key's material is on
 * disk before the header says that it is there, and the header has forgotten a
 * slot before its material is overwritten.
 */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "block/crypto/luks-priv.h"
#include "util/co.h"

enum { ITER_TIME = 2000, MIN_ITERS = 1000, WIPE_PASSES = 40 };

static Err *plan_spec(const LuksOptions *o, Luks *l)
{
    CryptSpec *s = &l->spec;

    TRY(crypt_cipher("cipher-alg", o->cipher_alg ? o->cipher_alg : "aes-256", &s->cipher));
    TRY(crypt_mode("cipher-mode", o->cipher_mode ? o->cipher_mode : "xts", &s->mode));
    TRY(crypt_iv("ivgen-alg", o->ivgen_alg ? o->ivgen_alg : "plain64", &s->iv));
    TRY(crypt_hash("hash-alg", o->hash_alg ? o->hash_alg : "sha256", &l->hash));
    if (o->ivgen_hash_alg)
        TRY(crypt_hash("ivgen-hash-alg", o->ivgen_hash_alg, &s->iv_hash));
    else if (s->iv == IV_ESSIV)
        TRY(crypt_hash("ivgen-hash-alg", "sha256", &s->iv_hash));
    return crypt_check(s);
}

Err *luks_plan(const LuksOptions *o, Luks *out)
{
    uint32_t each, first = 4096 / 512;

    memset(out, 0, sizeof *out);
    TRY(plan_spec(o, out));
    each = (uint32_t)(luks_material(out) / 512 + 7) & ~7u;      /* slots begin at multiples of 4 KiB */
    for (uint32_t i = 0; i < LUKS_SLOTS; i++)
        out->slot[i] = (LuksSlot){ .sector = first + i * each, .stripes = LUKS_STRIPES };
    out->payload = first + LUKS_SLOTS * each;
    return NULL;
}

/* ---- how many iterations */

typedef struct Speed { const CryptHash *hash; size_t len; uint64_t per_second; } Speed;

static void measure(void *arg)
{
    Speed *s = arg;

    s->per_second = kdf_speed(s->hash, s->len);
}

static Err *iterations(const Luks *l, size_t len, uint64_t ms, unsigned share, uint32_t *out)
{
    Speed s = { l->hash, len, 0 };
    uint64_t n;

    co_offload(measure, &s);
    if (__builtin_mul_overflow(s.per_second, ms, &n) || n / 1000 / share > UINT32_MAX / 16)
        return err_hint(err(ERR_INVALID, "iter-time=%" G_GUINT64_FORMAT " comes to more iterations than a header holds",
                            ms), "Each opening takes that long: a few thousand milliseconds are plenty.");
    *out = MAX((uint32_t)(n / 1000 / share), MIN_ITERS);
    return NULL;
}

/* ---- a slot's key */

/* A worker's task: a slot's key material, ready to be written. */
typedef struct Sealing {
    const Luks *l;
    const LuksSlot *s;
    const uint8_t *pass, *key;
    size_t pass_len;
    uint8_t *material;              /* zeroed */
    Err *error;
} Sealing;

static void seal(void *arg)
{
    Sealing *a = arg;
    unsigned bytes = crypt_key_bytes(&a->l->spec);
    uint8_t slot_key[CRYPT_KEY_MAX];
    Crypt *c;

    kdf_pbkdf2(a->l->hash, a->pass, a->pass_len, a->s->salt, sizeof a->s->salt, a->s->iters, slot_key, bytes);
    a->error = crypt_new(&a->l->spec, slot_key, &c);
    explicit_bzero(slot_key, sizeof slot_key);
    if (a->error)
        return;
    a->error = af_split(a->l->hash, a->key, bytes, a->s->stripes, a->material);
    if (!a->error)
        crypt_run(c, true, 0, a->material, a->material, luks_material(a->l));
    crypt_free(c);
}

static Err *write_header(const Luks *l, const LuksStore *st)
{
    uint8_t raw[LUKS_HEADER];
    int ret;

    luks_print(l, raw);
    ret = st->write(st->opaque, 0, raw, sizeof raw);
    if (ret >= 0)
        ret = st->flush(st->opaque);
    return ret < 0 ? err_errno(-ret, "Unable to write encryption header") : NULL;
}

static Err *write_material(const LuksStore *st, const LuksSlot *s, unsigned n, const uint8_t *material, size_t len)
{
    int ret = st->write(st->opaque, (uint64_t)s->sector * 512, material, len);

    if (ret >= 0)
        ret = st->flush(st->opaque);
    return ret < 0 ? err_errno(-ret, "Unable to write key material of slot %u", n) : NULL;
}

/* Slot n gets the passphrase; nothing has changed when it fails before the header is written. */
static Err *fill_slot(Luks *l, unsigned n, const LuksStore *st, const uint8_t *key, const uint8_t *pass,
                      size_t pass_len, uint64_t ms)
{
    size_t len = luks_material(l);
    LuksSlot new = l->slot[n], old = new;
    Sealing a = { .l = l, .s = &new, .pass = pass, .pass_len = pass_len, .key = key };
    Err *e;

    TRY(crypt_random(new.salt, sizeof new.salt));
    TRY(iterations(l, crypt_key_bytes(&l->spec), ms ? ms : ITER_TIME, 1, &new.iters));
    new.active = true;
    a.material = g_malloc0(len);
    co_offload(seal, &a);
    e = a.error ? a.error : write_material(st, &new, n, a.material, len);
    explicit_bzero(a.material, len);
    g_free(a.material);
    if (e)
        return e;
    l->slot[n] = new;
    e = write_header(l, st);
    if (e)
        l->slot[n] = old;
    return e;
}

static Err *wipe_slot(Luks *l, unsigned n, const LuksStore *st)
{
    size_t len = luks_material(l);
    g_autofree uint8_t *noise = g_malloc(len);
    LuksSlot *s = &l->slot[n];

    s->active = false;
    s->iters = 0;
    memset(s->salt, 0, sizeof s->salt);
    TRY(write_header(l, st));
    for (unsigned i = 0; i < WIPE_PASSES; i++) {
        TRY(crypt_random(noise, len));
        TRY(write_material(st, s, n, noise, len));
    }
    return NULL;
}

/* ---- creation */

typedef struct Digest { Luks *l; const uint8_t *key; } Digest;

static void make_digest(void *arg)
{
    Digest *d = arg;

    luks_digest(d->l, d->key, d->l->mk_digest);
}

static Err *make_header(Luks *l, const LuksOptions *o, const uint8_t *key)
{
    Digest d = { l, key };
    g_autofree char *uuid = g_uuid_string_random();

    g_strlcpy(l->uuid, uuid, sizeof l->uuid);
    TRY(crypt_random(l->mk_salt, sizeof l->mk_salt));
    TRY(iterations(l, sizeof l->mk_digest, o->iter_time ? o->iter_time : ITER_TIME, 8, &l->mk_iters));
    co_offload(make_digest, &d);
    return NULL;
}

Err *luks_create(Luks *l, const LuksOptions *o, Objects *objs, const LuksStore *st)
{
    uint8_t key[CRYPT_KEY_MAX], *pass;
    size_t len;
    Err *e;

    if (!o->key_secret)
        return err_hint(err(ERR_INVALID, "Parameter 'key-secret' is required for cipher"),
                        "--object secret,id=sec0,file=FILE gives the passphrase, key-secret=sec0 says that it is this one.");
    TRY(secret_bytes(objs, o->key_secret, &pass, &len));
    e = crypt_random(key, crypt_key_bytes(&l->spec));
    if (!e)
        e = make_header(l, o, key);
    if (!e)
        e = fill_slot(l, 0, st, key, pass, len, o->iter_time);
    explicit_bzero(key, sizeof key);
    secret_free(pass, len);
    return e;
}

/* ---- amend */

static unsigned count_active(const Luks *l)
{
    unsigned n = 0;

    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        n += l->slot[i].active;
    return n;
}

static Err *choose_slot(const Luks *l, const LuksOptions *o, bool force, unsigned *out)
{
    if (o->keyslot < 0) {
        for (*out = 0; *out < LUKS_SLOTS; ++*out)
            if (!l->slot[*out].active)
                return NULL;
        return err_hint(err(ERR_BUSY, "Can't add a keyslot - all keyslots are in use"),
                        "Remove one first: state=inactive,keyslot=N.");
    }
    *out = (unsigned)o->keyslot;
    if (l->slot[*out].active && !force)
        return err(ERR_BUSY, "Refusing to overwrite active keyslot %u - please erase it first", *out);
    return NULL;
}

static Err *add_key(Luks *l, const LuksOptions *o, Objects *objs, const char *secret, bool force, const LuksStore *st)
{
    uint8_t key[CRYPT_KEY_MAX], *pass;
    size_t len;
    unsigned n;
    Err *e;

    if (!o->new_secret)
        return err(ERR_INVALID, "'new-secret' is required to activate a keyslot");
    if (o->old_secret)
        return err(ERR_INVALID, "'old-secret' must not be given when activating keyslots");
    TRY(choose_slot(l, o, force, &n));
    TRY(luks_find_key(l, st, objs, secret, key));
    e = secret_bytes(objs, o->new_secret, &pass, &len);
    if (!e) {
        e = fill_slot(l, n, st, key, pass, len, o->iter_time);
        secret_free(pass, len);
    }
    explicit_bzero(key, sizeof key);
    return e;
}

static Err *remove_matching(Luks *l, const uint8_t *pass, size_t len, bool force, const LuksStore *st)
{
    uint8_t key[CRYPT_KEY_MAX];
    bool match[LUKS_SLOTS];
    unsigned count = 0;

    for (unsigned i = 0; i < LUKS_SLOTS; i++) {
        Err *e = luks_try_slot(l, i, st, pass, len, key, &match[i]);

        explicit_bzero(key, sizeof key);
        if (e)
            return e;
        count += match[i];
    }
    if (!count)
        return err(ERR_NOT_FOUND, "No keyslots match given (old) password for erase operation");
    if (count == count_active(l) && !force)
        return err_hint(err(ERR_BUSY, "All the active keyslots match the (old) password that was given and erasing them"
                            " will erase all the data in the image irreversibly - refusing operation"),
                        "If that is what you want: --force.");
    for (unsigned i = 0; i < LUKS_SLOTS; i++)
        if (match[i])
            TRY(wipe_slot(l, i, st));
    return NULL;
}

static Err *remove_slot(Luks *l, unsigned n, bool force, const LuksStore *st)
{
    if (!l->slot[n].active && !force)
        return err(ERR_NOT_FOUND, "Given keyslot %u is already erased (inactive) ", n);
    if (count_active(l) == 1 && l->slot[n].active && !force)
        return err_hint(err(ERR_BUSY, "Attempt to erase the only active keyslot %u which will erase all the data"
                            " in the image irreversibly - refusing operation", n),
                        "If that is what you want: --force.");
    return wipe_slot(l, n, st);
}

static Err *remove_key(Luks *l, const LuksOptions *o, Objects *objs, bool force, const LuksStore *st)
{
    uint8_t key[CRYPT_KEY_MAX], *pass;
    size_t len;
    bool right = true;
    Err *e;

    if (o->new_secret)
        return err(ERR_INVALID, "'new-secret' must not be given when erasing keyslots");
    if (o->iter_time)
        return err(ERR_INVALID, "'iter-time' must not be given when erasing keyslots");
    if (!o->old_secret && o->keyslot < 0)
        return err(ERR_INVALID, "To erase keyslot(s), either explicit keyslot index or the password currently"
                   " contained in them must be given");
    if (!o->old_secret)
        return remove_slot(l, (unsigned)o->keyslot, force, st);
    TRY(secret_bytes(objs, o->old_secret, &pass, &len));
    if (o->keyslot < 0) {
        e = remove_matching(l, pass, len, force, st);
    } else {
        e = luks_try_slot(l, (unsigned)o->keyslot, st, pass, len, key, &right);
        explicit_bzero(key, sizeof key);
        if (!e && !right)
            e = err(ERR_INVALID, "Given keyslot %u doesn't contain the given (old) password / erase operation failed",
                    (unsigned)o->keyslot);
        if (!e)
            e = remove_slot(l, (unsigned)o->keyslot, force, st);
    }
    secret_free(pass, len);
    return e;
}

Err *luks_amend(Luks *l, const LuksOptions *o, Objects *objs, const char *secret, bool force, const LuksStore *st)
{
    if (!o->state)
        return err_hint(err(ERR_INVALID, "Parameter 'state' is missing"),
                        "state=active adds a key, state=inactive removes one.");
    if (o->keyslot < -1 || o->keyslot >= LUKS_SLOTS)
        return err(ERR_INVALID, "Invalid keyslot %" G_GINT64_FORMAT " specified, must be between 0 and %u",
                   o->keyslot, LUKS_SLOTS - 1);
    if (!strcmp(o->state, "active"))
        return add_key(l, o, objs, secret, force, st);
    if (!strcmp(o->state, "inactive"))
        return remove_key(l, o, objs, force, st);
    return err(ERR_INVALID, "Parameter 'state' does not accept value '%s'", o->state);
}
