/* SPDX-License-Identifier: MIT */
/*
 * qcow2: encryption of guest data (specification: "Full disk encryption header
 * pointer", "Data encryption"). LUKS has its header in clusters of the image
 * and counts sectors by where they lie in the file; the old AES method has no
 * header, takes the passphrase for a key and counts sectors as the guest does.
 * Metadata is never encrypted.
 */
#include "block/qcow2/qcow2.h"

#include <inttypes.h>
#include <string.h>

#include "block/crypto/crypt_io.h"
#include "block/crypto/luks.h"

struct Qcow2Crypt {
    Luks luks;              /* of that method */
    Crypt *crypt;           /* NULL: nobody gave a key, so no data */
};

static int store_read(void *opaque, uint64_t off, void *buf, size_t len)
{
    Qcow2 *s = opaque;

    return qcow2_pread(s, s->crypt_ext.offset + off, buf, len);
}

static int store_write(void *opaque, uint64_t off, const void *buf, size_t len)
{
    Qcow2 *s = opaque;

    return qcow2_pwrite(s, 0, s->crypt_ext.offset + off, buf, len);
}

static int store_flush(void *opaque) { return qcow2_barrier(opaque); }

static LuksStore store_of(Qcow2 *s)
{
    return (LuksStore){ store_read, store_write, store_flush, s, s->crypt_ext.length };
}

/* ---- opening */

/* The option may say what the header says, and no other. */
static Err *check_format(const Qcow2 *s)
{
    const char *is = s->header.crypt_method == QCOW2_CRYPT_LUKS ? "luks" : "aes";
    const char *other = is[0] == 'l' ? "aes" : "luks";

    if (!s->encrypt_format || !strcmp(s->encrypt_format, is))
        return NULL;
    if (strcmp(s->encrypt_format, other))
        return err_hint(err(ERR_INVALID, "Parameter 'encrypt.format' does not accept value '%s'", s->encrypt_format),
                        "This image has '%s'.", is);
    return err(ERR_INVALID, "Header reported '%s' encryption format but options specify '%s'", is, s->encrypt_format);
}

/* CBC with plain64; the key is the first 16 bytes of the passphrase. */
static Err *aes_key(Objects *objs, const char *secret, Crypt **out)
{
    CryptSpec spec = { .mode = CRYPT_CBC, .iv = IV_PLAIN64 };
    uint8_t key[16] = { 0 }, *pass;
    size_t len;
    Err *e;

    if (!secret)
        return err_hint(err(ERR_INVALID, "Parameter 'encrypt.key-secret' is required for cipher"),
                        "--object secret,id=sec0,file=FILE gives the passphrase, encrypt.key-secret=sec0 says that"
                        " it is this one.");
    TRY(crypt_cipher("cipher", "aes-128", &spec.cipher));
    TRY(secret_bytes(objs, secret, &pass, &len));
    memcpy(key, pass, MIN(len, sizeof key));
    secret_free(pass, len);
    e = crypt_new(&spec, key, out);
    explicit_bzero(key, sizeof key);
    return e;
}

Err *qcow2_crypt_open(Qcow2 *s, unsigned flags)
{
    LuksStore st = store_of(s);
    Objects *objs = graph_objects(s->node.graph);
    bool need = !(flags & (OPEN_NO_IO | OPEN_CHECK)) || s->encrypt_key_secret;

    TRY(check_format(s));
    s->crypt = g_new0(Qcow2Crypt, 1);
    s->node.encrypted = true;
    if (s->header.crypt_method == QCOW2_CRYPT_AES)
        return need ? aes_key(objs, s->encrypt_key_secret, &s->crypt->crypt) : NULL;
    TRY(err_in(luks_load(&st, &s->crypt->luks), "%s: encryption header at %#" PRIx64, node_path(&s->node),
               s->crypt_ext.offset));
    if (!need)
        return NULL;
    if (!s->encrypt_key_secret)
        return err_hint(err(ERR_INVALID, "Parameter 'encrypt.key-secret' is required for cipher"),
                        "--object secret,id=sec0,file=FILE gives the passphrase, encrypt.key-secret=sec0 says that"
                        " it is this one.");
    return luks_open(&s->crypt->luks, &st, objs, s->encrypt_key_secret, &s->crypt->crypt);
}

void qcow2_crypt_close(Qcow2 *s)
{
    if (!s->crypt)
        return;
    crypt_free(s->crypt->crypt);
    g_clear_pointer(&s->crypt, g_free);
}

/* ---- data */

static int run(Qcow2 *s, bool encrypt, uint64_t host, uint64_t guest, void *buf, size_t len)
{
    bool luks = s->header.crypt_method == QCOW2_CRYPT_LUKS;

    if (!s->crypt || !s->crypt->crypt)
        return -EACCES;
    crypt_run_co(s->crypt->crypt, encrypt, (luks ? host : guest) / CRYPT_SECTOR, buf, buf, len);
    return 0;
}

int qcow2_encrypt(Qcow2 *s, uint64_t host, uint64_t guest, void *buf, size_t len)
{
    return run(s, true, host, guest, buf, len);
}

int qcow2_decrypt(Qcow2 *s, uint64_t host, uint64_t guest, void *buf, size_t len)
{
    return run(s, false, host, guest, buf, len);
}

/* ---- creation and change */

static LuksOptions luks_options(const Qcow2Create *o)
{
    return (LuksOptions){
        .key_secret = o->encrypt_key_secret, .cipher_alg = o->encrypt_cipher_alg, .cipher_mode = o->encrypt_cipher_mode,
        .ivgen_alg = o->encrypt_ivgen_alg, .ivgen_hash_alg = o->encrypt_ivgen_hash_alg, .hash_alg = o->encrypt_hash_alg,
        .iter_time = o->encrypt_iter_time, .state = o->encrypt_state, .new_secret = o->encrypt_new_secret,
        .old_secret = o->encrypt_old_secret, .keyslot = o->encrypt_keyslot,
    };
}

Err *qcow2_crypt_check(const Qcow2Create *o)
{
    LuksOptions lo = luks_options(o);
    Luks l;
    bool others = lo.key_secret || lo.cipher_alg || lo.cipher_mode || lo.hash_alg || lo.ivgen_alg || lo.ivgen_hash_alg ||
                  lo.iter_time;

    if (!o->encrypt_format && others)
        return err_hint(err(ERR_INVALID, "Parameter 'encrypt.format' is missing"), "encrypt.format=luks is meant, mostly.");
    if (!o->encrypt_format)
        return NULL;
    if (strcmp(o->encrypt_format, "luks"))
        return err_hint(err(ERR_INVALID, "Parameter 'encrypt.format' does not accept value '%s'", o->encrypt_format),
                        "It is 'luks'.");
    return luks_plan(&lo, &l);
}

/* The clusters of the header, all zero, refcounts raised; crypt_ext says where. */
static Err *make_room(Qcow2 *s, uint64_t bytes)
{
    uint64_t room = qcow2_cluster_up(s, bytes);
    int64_t off = qcow2_alloc(s, room);
    int ret = off < 0 ? (int)off : child_zero(s->node.file, (uint64_t)off, room, 0);

    if (ret < 0)
        return err_errno(-ret, "%s: no room for the encryption header", node_path(&s->node));
    s->crypt_ext = (Qcow2ExtCrypt){ (uint64_t)off, bytes };
    return NULL;
}

Err *qcow2_crypt_create(Qcow2 *s, const Qcow2Create *o)
{
    LuksOptions lo = luks_options(o);
    LuksStore st;
    Luks l;

    TRY(luks_plan(&lo, &l));
    TRY(make_room(s, (uint64_t)l.payload * CRYPT_SECTOR));
    st = store_of(s);
    TRY(luks_create(&l, &lo, graph_objects(s->node.graph), &st));
    s->header.crypt_method = QCOW2_CRYPT_LUKS;
    return NULL;
}

Err *qcow2_crypt_measure(const Qcow2Create *o, uint64_t *bytes)
{
    LuksOptions lo = luks_options(o);
    Luks l;

    TRY(luks_plan(&lo, &l));
    *bytes = (uint64_t)l.payload * CRYPT_SECTOR;
    return NULL;
}

Err *qcow2_crypt_amend(Qcow2 *s, const Qcow2Create *o, bool force)
{
    LuksOptions lo = luks_options(o);
    LuksStore st = store_of(s);
    Luks now;
    Err *e;

    if (s->header.crypt_method == QCOW2_CRYPT_NONE)
        return err_hint(err(ERR_INVALID, "Can't amend encryption options - encryption not present"),
                        "Convert the image into an encrypted one: convert -O qcow2 -o encrypt.format=luks,..");
    if (s->header.crypt_method != QCOW2_CRYPT_LUKS)
        return err(ERR_UNSUPPORTED, "Only LUKS encryption options can be amended");
    TRY(luks_load(&st, &now));
    e = luks_amend(&now, &lo, graph_objects(s->node.graph), s->encrypt_key_secret, force, &st);
    if (s->crypt)
        s->crypt->luks = now;
    return e;
}

json_t *qcow2_crypt_info(Qcow2 *s)
{
    if (s->header.crypt_method == QCOW2_CRYPT_AES)
        return json_pack("{s:s}", "format", "aes");
    return s->crypt ? luks_info(&s->crypt->luks, "luks") : NULL;
}
