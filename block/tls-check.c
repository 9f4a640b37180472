/* SPDX-License-Identifier: MIT */
/*
 * Looks at the certificates of a tls-creds-x509 before they are used, so that
 * a wrong one is told in words here, and not by a refused handshake there:
 * valid now, a CA that may sign, a certificate that is none, made for its end,
 * and signed by that CA (RFC 5280: basic constraints, key usage and purpose).
 */
#include "block/tls-priv.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define CERTS_MAX 64

typedef struct Certs {
    gnutls_x509_crt_t *list;
    unsigned n;
    char *path;
} Certs;

static void certs_free(const Gnutls *lib, Certs *c)
{
    for (unsigned i = 0; i < c->n; i++)
        lib->x509_crt_deinit(c->list[i]);
    if (c->list)
        (*lib->free)(c->list);
    g_free(c->path);
}

static Err *certs_load(TlsCreds *c, const char *name, Certs *out)
{
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize len;

    out->path = g_build_filename(c->dir, name, NULL);
    if (!g_file_get_contents(out->path, &text, &len, &error))
        return err(ERR_IO, "%s", error->message);
    gnutls_datum_t data = { (unsigned char *)text, len };
    int ret = c->lib.x509_crt_list_import2(&out->list, &out->n, &data, GNUTLS_X509_FMT_PEM, 0);
    if (ret < 0) {
        out->list = NULL;
        out->n = 0;
        return err(ERR_INVALID, "certificate '%s': %s", out->path, c->lib.strerror(ret));
    }
    return NULL;
}

static Err *check_times(const Gnutls *lib, gnutls_x509_crt_t crt, const char *path)
{
    time_t now = time(NULL);

    if (lib->x509_crt_get_expiration_time(crt) < now)
        return err(ERR_INVALID, "the certificate '%s' has expired", path);
    if (lib->x509_crt_get_activation_time(crt) > now)
        return err_hint(err(ERR_INVALID, "the certificate '%s' is not valid yet", path), "Is this host's clock right?");
    return NULL;
}

static Err *check_constraints(const Gnutls *lib, gnutls_x509_crt_t crt, const char *path, bool ca)
{
    unsigned critical;
    int ret = lib->x509_crt_get_basic_constraints(crt, &critical, NULL, NULL);

    if (ret > 0 && !ca)
        return err(ERR_INVALID, "the certificate '%s' is that of a CA; one for an end is needed", path);
    if (ret <= 0 && ca)
        return err(ERR_INVALID, "the certificate '%s' is not that of a CA", path);
    return NULL;
}

static Err *check_usage(const Gnutls *lib, gnutls_x509_crt_t crt, const char *path, bool ca)
{
    unsigned usage, critical;
    int ret = lib->x509_crt_get_key_usage(crt, &usage, &critical);

    if (ret < 0 || !critical)       /* not there, or no more than advice */
        return NULL;
    if (ca && !(usage & GNUTLS_KEY_KEY_CERT_SIGN))
        return err(ERR_INVALID, "the key usage of the certificate '%s' does not allow signing", path);
    if (!ca && !(usage & GNUTLS_KEY_DIGITAL_SIGNATURE))
        return err(ERR_INVALID, "the key usage of the certificate '%s' does not allow digital signatures", path);
    return NULL;
}

static Err *check_purpose(const Gnutls *lib, gnutls_x509_crt_t crt, const char *path, bool server)
{
    const char *want = server ? GNUTLS_KP_TLS_WWW_SERVER : GNUTLS_KP_TLS_WWW_CLIENT;
    bool any = false;

    for (unsigned i = 0; i < 64; i++) {
        char oid[128];
        size_t len = sizeof(oid);
        unsigned critical = 0;
        int ret = lib->x509_crt_get_key_purpose_oid(crt, i, oid, &len, &critical);

        if (ret < 0)
            break;
        if (!strcmp(oid, want) || !strcmp(oid, GNUTLS_KP_ANY))
            return NULL;
        any = true;
    }
    if (!any)
        return NULL;
    return err(ERR_INVALID, "the purpose of the certificate '%s' does not allow use by a %s", path,
               server ? "server" : "client");
}

static Err *check_end(TlsCreds *c, const Certs *ca, const Certs *end)
{
    unsigned status = 0;

    TRY(check_times(&c->lib, end->list[0], end->path));
    TRY(check_constraints(&c->lib, end->list[0], end->path, false));
    TRY(check_usage(&c->lib, end->list[0], end->path, false));
    TRY(check_purpose(&c->lib, end->list[0], end->path, c->endpoint));
    int ret = c->lib.x509_crt_list_verify(end->list, MIN(end->n, CERTS_MAX), ca->list, MIN(ca->n, CERTS_MAX),
                                          NULL, 0, 0, &status);
    if (ret < 0)
        return err(ERR_INVALID, "the certificate '%s' cannot be compared with '%s': %s", end->path, ca->path,
                   c->lib.strerror(ret));
    if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
        return err(ERR_INVALID, "the certificate '%s' was not signed by that of '%s'", end->path, ca->path);
    if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
        return err(ERR_INVALID, "the certificate '%s' is signed by an algorithm that is not secure", end->path);
    return status ? err(ERR_INVALID, "the certificate '%s' is not good for '%s'", end->path, ca->path) : NULL;
}

static Err *check_both(TlsCreds *c, Certs *ca, Certs *end)
{
    const char *name = c->endpoint ? "server-cert.pem" : "client-cert.pem";

    TRY(certs_load(c, "ca-cert.pem", ca));
    for (unsigned i = 0; i < ca->n; i++) {
        TRY(check_times(&c->lib, ca->list[i], ca->path));
        TRY(check_constraints(&c->lib, ca->list[i], ca->path, true));
        TRY(check_usage(&c->lib, ca->list[i], ca->path, true));
    }
    g_autofree char *path = g_build_filename(c->dir, name, NULL);
    if (!c->endpoint && access(path, F_OK) < 0)
        return NULL;        /* a client may do without */
    TRY(certs_load(c, name, end));
    return end->n ? check_end(c, ca, end) : err(ERR_INVALID, "there is no certificate in '%s'", end->path);
}

Err *tls_check(TlsCreds *c)
{
    Certs ca = { 0 }, end = { 0 };
    Err *e = check_both(c, &ca, &end);

    certs_free(&c->lib, &ca);
    certs_free(&c->lib, &end);
    return err_hint(e, "sanity-check=off uses the certificates as they are.");
}
