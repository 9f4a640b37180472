/* SPDX-License-Identifier: MIT */
/*
 * secret: passwords and keys, from the command line or a file, plain or base64,
 * and optionally encrypted with another secret (AES-256-CBC, PKCS#7 padding),
 * as QEMU's object of that name has it.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <nettle/aes.h>
#include <nettle/cbc.h>
#include <string.h>
#include <unistd.h>

#include "block/objects-priv.h"
#include "util/path.h"

#define SECRET_MAX (1 << 20)        /* bytes of a file */

typedef struct Secret {
    Object ob;
    char *data, *file, *keyid, *iv;
    uint8_t format;                 /* 0 raw, 1 base64 */
    uint8_t *bytes;
    size_t len;
} Secret;

static const char *const format_names[] = { "raw", "base64", NULL };

static const Field secret_fields[] = {
    PROP(Secret, data, .hidden = true, .doc = "the secret itself; other users of the host may see it on the command line"),
    PROP(Secret, file, .doc = "a file that holds it"),
    PROP(Secret, format, .names = format_names, .def = "raw", .doc = "how data or the file's content is written"),
    PROP(Secret, keyid, .doc = "the secret that it is encrypted with (AES-256-CBC)"),
    PROP(Secret, iv, .doc = "the initialization vector, 16 bytes in base64"),
    {0}
};

/* Not to be optimised away. */
static void wipe(void *p, size_t len)
{
    if (p)
        explicit_bzero(p, len);
}

void secret_free(uint8_t *bytes, size_t len)
{
    wipe(bytes, len);
    g_free(bytes);
}

static Err *read_file(const char *path, uint8_t **out, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *buf;
    size_t have = 0;
    ssize_t n = 0;

    if (fd < 0)
        return err_path(errno, path, "Unable to read %s", path);
    buf = g_malloc(SECRET_MAX + 1);
    do {
        n = read(fd, buf + have, SECRET_MAX + 1 - have);
        have += n > 0 ? n : 0;
    } while ((n > 0 && have <= SECRET_MAX) || (n < 0 && errno == EINTR));
    int errnum = errno;
    close(fd);
    if (n >= 0 && have <= SECRET_MAX) {
        *out = g_malloc(have + 1);
        memcpy(*out, buf, have);
        (*out)[have] = 0;
        *len = have;
    }
    secret_free(buf, SECRET_MAX + 1);
    if (n < 0)
        return err_errno(errnum, "Unable to read %s", path);
    return have > SECRET_MAX ? err(ERR_INVALID, "'%s' is longer than a secret may be (1 MiB)", path) : NULL;
}

/* Strict: nothing but base64 and white space. */
static Err *decode_base64(const char *text, const char *what, uint8_t **out, size_t *len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=";

    for (const char *p = text; *p; p++) {
        if (!strchr(digits, *p) && !g_ascii_isspace(*p))
            return err(ERR_INVALID, "%s is not valid base64", what);
    }
    *out = g_base64_decode(text, len);
    if (*len || !*text)
        return NULL;
    g_free(*out);
    *out = NULL;
    return err(ERR_INVALID, "%s is not valid base64", what);
}

/* `in` is the cipher text; the padding is checked. */
static Err *decrypt(const uint8_t *key, const uint8_t *iv, const uint8_t *in, size_t len, uint8_t **out, size_t *outlen)
{
    struct CBC_CTX(struct aes256_ctx, AES_BLOCK_SIZE) cbc;
    g_autofree uint8_t *plain = g_malloc(len + 1);
    unsigned pad;

    if (!len || len % AES_BLOCK_SIZE)
        return err(ERR_INVALID, "the encrypted secret's length %zu is not a multiple of %d", len, AES_BLOCK_SIZE);
    aes256_set_decrypt_key(&cbc.ctx, key);
    CBC_SET_IV(&cbc, iv);
    CBC_DECRYPT(&cbc, aes256_decrypt, len, plain, in);
    wipe(&cbc, sizeof(cbc));
    pad = plain[len - 1];
    if (!pad || pad > AES_BLOCK_SIZE) {
        wipe(plain, len);
        return err_hint(err(ERR_INVALID, "Incorrect number of padding bytes (%u) found on decrypted data", pad),
                        "The key or the initialization vector is another one than it was encrypted with.");
    }
    plain[len - pad] = 0;
    *outlen = len - pad;
    *out = g_steal_pointer(&plain);
    return NULL;
}

/* Takes what is there, encrypted in base64 or raw, and puts the plain bytes in its place. */
static Err *decrypt_with(Secret *s, uint8_t **bytes, size_t *len)
{
    g_autofree uint8_t *iv = NULL;
    uint8_t *key = NULL, *cipher = *bytes, *plain = NULL;
    size_t ivlen = 0, keylen = 0, clen = *len, plen = 0;
    Err *e;

    if (!s->iv)
        return err(ERR_INVALID, "IV is required to decrypt secret");
    TRY(decode_base64(s->iv, "the IV", &iv, &ivlen));
    if (ivlen != AES_BLOCK_SIZE)
        return err(ERR_INVALID, "IV should be %d bytes in length not %zu", AES_BLOCK_SIZE, ivlen);
    TRY(secret_bytes(s->ob.all, s->keyid, &key, &keylen));
    if (keylen != AES256_KEY_SIZE)
        e = err(ERR_INVALID, "Key should be %d bytes in length not %zu", AES256_KEY_SIZE, keylen);
    else if (s->format == 1)
        e = decode_base64((char *)*bytes, "the secret", &cipher, &clen);
    else
        e = NULL;
    if (!e)
        e = decrypt(key, iv, cipher, clen, &plain, &plen);
    secret_free(key, keylen);
    if (cipher != *bytes)
        g_free(cipher);
    if (e)
        return e;
    secret_free(*bytes, *len);
    *bytes = plain;
    *len = plen;
    return NULL;
}

static Err *secret_complete(Object *ob)
{
    Secret *s = (Secret *)ob;

    if (s->data && s->file)
        return err(ERR_INVALID, "'file' and 'data' are mutually exclusive");
    if (!s->data && !s->file)
        return err(ERR_INVALID, "Must provide 'file' or 'data'");
    if (s->iv && !s->keyid)
        return err(ERR_INVALID, "'iv' makes no sense without 'keyid'");
    if (s->file) {
        TRY(read_file(s->file, &s->bytes, &s->len));
    } else {
        s->len = strlen(s->data);
        s->bytes = (uint8_t *)g_strdup(s->data);
    }
    if (s->keyid)
        return decrypt_with(s, &s->bytes, &s->len);
    if (s->format == 1) {
        uint8_t *plain = NULL;
        size_t len = 0;

        TRY(decode_base64((char *)s->bytes, "the secret", &plain, &len));
        secret_free(s->bytes, s->len);
        s->bytes = plain;
        s->len = len;
    }
    return NULL;
}

static void secret_finish(Object *ob)
{
    Secret *s = (Secret *)ob;

    secret_free(s->bytes, s->len);
    if (s->data)
        wipe(s->data, strlen(s->data));
}

Err *secret_bytes(Objects *o, const char *id, uint8_t **out, size_t *len)
{
    Object *ob;

    *out = NULL;
    *len = 0;
    TRY(objects_find(o, "secret", id, &ob));
    Secret *s = (Secret *)ob;
    *out = g_malloc(s->len + 1);
    if (s->len)
        memcpy(*out, s->bytes, s->len);
    (*out)[s->len] = 0;         /* for those that want a string */
    *len = s->len;
    return NULL;
}

const ObjectClass object_secret = {
    .name = "secret", .doc = "a password or key", .size = sizeof(Secret), .fields = secret_fields,
    .complete = secret_complete, .finish = secret_finish,
};
