/* SPDX-License-Identifier: MIT */
/*
 * TLS by GnuTLS, whose functions are called through a table that dlopen fills.
 * Files in the folder of a tls-creds-x509 have the names that QEMU documents:
 * ca-cert.pem, ca-crl.pem, server-cert.pem, server-key.pem, client-cert.pem,
 * client-key.pem; that of a tls-creds-psk has keys.psk. Certificates are looked
 * at before they are used (tls-check.c).
 */
#include "block/tls-priv.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LIBRARY "libgnutls.so.30"

static Err *library_open(Gnutls *lib)
{
    /* Its own threads and handlers may outlive us. */
    void *h = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!h)
        return err_hint(err(ERR_UNSUPPORTED, "TLS needs GnuTLS, which cannot be opened: %s", dlerror()),
                        "On Debian: apt install libgnutls30");
#define X(name)                                                                             \
    lib->name = (__typeof__(lib->name))dlsym(h, "gnutls_" #name);                           \
    if (!lib->name)                                                                         \
        return err(ERR_UNSUPPORTED, "%s has no function gnutls_" #name ": it is too old", LIBRARY);
    GNUTLS_FUNCTIONS(X)
#undef X
    return NULL;
}

/* ---- credentials */

static const char *const endpoint_names[] = { "client", "server", NULL };

static const Field x509_fields[] = {
    PROP(TlsCreds, dir, .doc = "folder of the certificates and keys (ca-cert.pem, server-cert.pem, ..)"),
    PROP(TlsCreds, endpoint, .names = endpoint_names, .def = "client", .doc = "which side uses it"),
    PROP(TlsCreds, verify_peer, .def = "on", .doc = "the other side's certificate must be good"),
    PROP(TlsCreds, priority, .doc = "GnuTLS priority string"),
    PROP(TlsCreds, passwordid, .doc = "secret that opens the private key"),
    PROP(TlsCreds, sanity_check, .def = "on", .doc = "look at the certificates before they are used"),
    {0}
};

static const Field psk_fields[] = {
    PROP(TlsCreds, dir, .doc = "folder of keys.psk (made by psktool)"),
    PROP(TlsCreds, endpoint, .names = endpoint_names, .def = "client", .doc = "which side uses it"),
    PROP(TlsCreds, verify_peer, .def = "on", .doc = "accepted for symmetry: keys are always checked"),
    PROP(TlsCreds, priority, .doc = "GnuTLS priority string"),
    PROP(TlsCreds, username, .def = "qemu", .doc = "whose key a client uses"),
    {0}
};

/* The file's path if it is there; a missing one that is required is an error. */
static Err *creds_file(TlsCreds *c, const char *name, bool required, char **out)
{
    g_autofree char *path = g_build_filename(c->dir, name, NULL);

    *out = NULL;
    if (access(path, R_OK) == 0)
        *out = g_steal_pointer(&path);
    else if (required || errno != ENOENT)
        return err_errno(errno, "cannot read '%s'", path);
    return NULL;
}

static Err *gnutls_err(TlsCreds *c, int ret, const char *what)
{
    return err(ERR_INVALID, "%s: %s", what, c->lib.strerror(ret));
}

static Err *x509_trust(TlsCreds *c)
{
    g_autofree char *ca = NULL, *crl = NULL;

    TRY(creds_file(c, "ca-cert.pem", true, &ca));
    TRY(creds_file(c, "ca-crl.pem", false, &crl));
    int ret = c->lib.certificate_set_x509_trust_file(c->cert, ca, GNUTLS_X509_FMT_PEM);
    if (ret < 0)
        return gnutls_err(c, ret, ca);
    ret = crl ? c->lib.certificate_set_x509_crl_file(c->cert, crl, GNUTLS_X509_FMT_PEM) : 0;
    return ret < 0 ? gnutls_err(c, ret, crl) : NULL;
}

static Err *x509_key(TlsCreds *c)
{
    const char *side = endpoint_names[c->endpoint];
    g_autofree char *cert_name = g_strdup_printf("%s-cert.pem", side), *key_name = g_strdup_printf("%s-key.pem", side);
    g_autofree char *cert = NULL, *key = NULL, *password = NULL;
    uint8_t *secret = NULL;
    size_t len = 0;

    TRY(creds_file(c, cert_name, c->endpoint, &cert));
    TRY(creds_file(c, key_name, c->endpoint || cert, &key));
    if (!cert)
        return key ? err(ERR_INVALID, "'%s' is there, '%s' is not", key_name, cert_name) : NULL;
    if (c->passwordid) {
        TRY(secret_bytes(c->obj.all, c->passwordid, &secret, &len));
        password = g_strndup((char *)secret, len);
        secret_free(secret, len);
    }
    int ret = c->lib.certificate_set_x509_key_file2(c->cert, cert, key, GNUTLS_X509_FMT_PEM, password, 0);
    if (password)
        explicit_bzero(password, strlen(password));
    if (ret == GNUTLS_E_DECRYPTION_FAILED || ret == GNUTLS_E_PK_INVALID_PUBKEY_PARAMS)
        return err_hint(gnutls_err(c, ret, key), "If the key has a password, give it by passwordid=ID of a secret.");
    return ret < 0 ? gnutls_err(c, ret, cert) : NULL;
}

static Err *x509_complete(Object *obj)
{
    TlsCreds *c = (TlsCreds *)obj;

    if (!c->dir || !*c->dir)
        return err(ERR_INVALID, "tls-creds-x509 needs dir=FOLDER, where the certificates are");
    TRY(library_open(&c->lib));
    if (c->sanity_check)
        TRY(tls_check(c));
    int ret = c->lib.certificate_allocate_credentials(&c->cert);
    if (ret < 0)
        return gnutls_err(c, ret, "credentials");
    TRY(x509_trust(c));
    TRY(x509_key(c));
    if (c->endpoint)
        c->lib.certificate_set_known_dh_params(c->cert, GNUTLS_SEC_PARAM_MEDIUM);
    return NULL;
}

static void x509_finish(Object *obj)
{
    TlsCreds *c = (TlsCreds *)obj;

    if (c->cert)
        c->lib.certificate_free_credentials(c->cert);
    c->cert = NULL;
}

/* The line "username:hexkey" of the file. */
static Err *psk_find(TlsCreds *c, const char *path)
{
    g_autofree char *text = NULL, *prefix = g_strdup_printf("%s:", c->username);
    g_autoptr(GError) error = NULL;
    gnutls_datum_t key = { 0 };

    if (!g_file_get_contents(path, &text, NULL, &error))
        return err(ERR_IO, "%s", error->message);
    for (char *line = strtok(text, "\r\n"); line; line = strtok(NULL, "\r\n"))
        if (g_str_has_prefix(line, prefix))
            key = (gnutls_datum_t){ (unsigned char *)line + strlen(prefix), strlen(line) - strlen(prefix) };
    if (!key.data)
        return err_hint(err(ERR_NOT_FOUND, "'%s' has no key of the user '%s'", path, c->username),
                        "Choose one that is there by username=NAME, or make one: psktool -u %s -p %s", c->username, path);
    int ret = c->lib.psk_set_client_credentials(c->psk_client, c->username, &key, GNUTLS_PSK_KEY_HEX);
    explicit_bzero(key.data, key.size);
    return ret < 0 ? gnutls_err(c, ret, path) : NULL;
}

static Err *psk_complete(Object *obj)
{
    TlsCreds *c = (TlsCreds *)obj;
    g_autofree char *keys = NULL;
    int ret;

    if (!c->dir || !*c->dir)
        return err(ERR_INVALID, "tls-creds-psk needs dir=FOLDER, where keys.psk is");
    TRY(library_open(&c->lib));
    TRY(creds_file(c, "keys.psk", true, &keys));
    if (c->endpoint) {
        ret = c->lib.psk_allocate_server_credentials(&c->psk_server);
        if (ret >= 0)
            ret = c->lib.psk_set_server_credentials_file(c->psk_server, keys);
        if (ret >= 0)
            ret = c->lib.psk_set_server_known_dh_params(c->psk_server, GNUTLS_SEC_PARAM_MEDIUM);
        return ret < 0 ? gnutls_err(c, ret, keys) : NULL;
    }
    ret = c->lib.psk_allocate_client_credentials(&c->psk_client);
    return ret < 0 ? gnutls_err(c, ret, "credentials") : psk_find(c, keys);
}

static void psk_finish(Object *obj)
{
    TlsCreds *c = (TlsCreds *)obj;

    if (c->psk_server)
        c->lib.psk_free_server_credentials(c->psk_server);
    if (c->psk_client)
        c->lib.psk_free_client_credentials(c->psk_client);
    c->psk_server = NULL;
    c->psk_client = NULL;
}

const ObjectClass object_tls_creds_x509 = {
    .name = "tls-creds-x509", .doc = "TLS with certificates", .size = sizeof(TlsCreds),
    .fields = x509_fields, .complete = x509_complete, .finish = x509_finish,
};

const ObjectClass object_tls_creds_psk = {
    .name = "tls-creds-psk", .doc = "TLS with keys that both sides know", .size = sizeof(TlsCreds),
    .fields = psk_fields, .complete = psk_complete, .finish = psk_finish,
};

Err *tls_creds_find(Objects *o, const char *id, bool server, TlsCreds **out)
{
    Object *obj = NULL;
    Err *e = objects_find(o, object_tls_creds_psk.name, id, &obj);

    /* The second search's error is the one that is told: certificates are what most people have. */
    if (e) {
        err_free(e);
        e = objects_find(o, object_tls_creds_x509.name, id, &obj);
    }
    if (e)
        return err_hint(e, "TLS credentials are made by --object tls-creds-x509,id=%s,dir=FOLDER,endpoint=%s "
                        "(or tls-creds-psk).", id, endpoint_names[server]);
    TlsCreds *c = (TlsCreds *)obj;
    if (c->endpoint != server)
        return err_hint(err(ERR_INVALID, "the TLS credentials '%s' are those of a %s", id, endpoint_names[c->endpoint]),
                        "Here they need endpoint=%s.", endpoint_names[server]);
    *out = c;
    return NULL;
}

TlsCreds *tls_creds_ref(TlsCreds *c)
{
    c->obj.refs++;
    return c;
}

void tls_creds_unref(TlsCreds *c)
{
    if (c)
        c->obj.refs--;
}

/* ---- a session, the wire's filter */

typedef struct Session {
    TlsCreds *creds;
    const Gnutls *lib;
    gnutls_session_t session;
    char *hostname;                 /* or NULL */
    gnutls_typed_vdata_st data[2];  /* what the peer's certificate is compared with: GnuTLS keeps the pointer */
} Session;

/* What a negative return means; -EAGAIN with the events to wait for. */
static int session_error(const Session *t, ssize_t ret, uint32_t *events)
{
    switch (ret) {
    case GNUTLS_E_INTERRUPTED:
    case GNUTLS_E_AGAIN:
        *events = t->lib->record_get_direction(t->session) ? EPOLLOUT : EPOLLIN;
        return -EAGAIN;
    case GNUTLS_E_REHANDSHAKE:      /* TLS 1.2: may be ignored */
    case GNUTLS_E_WARNING_ALERT_RECEIVED:
        return 0;
    case GNUTLS_E_PREMATURE_TERMINATION:
    case GNUTLS_E_PUSH_ERROR:
    case GNUTLS_E_PULL_ERROR:
        return -ECONNRESET;
    default:
        return -EIO;
    }
}

static ssize_t session_read(void *opaque, void *buf, size_t len, uint32_t *events)
{
    Session *t = opaque;

    /* A peer that sends nothing but warnings gets so many. */
    for (int tries = 0; tries < 16; tries++) {
        ssize_t ret = t->lib->record_recv(t->session, buf, len);
        /* What is inside knows whether it is whole. */
        if (ret == GNUTLS_E_PREMATURE_TERMINATION)
            return 0;
        int error = ret < 0 ? session_error(t, ret, events) : 1;
        if (error)
            return ret < 0 ? error : ret;
    }
    return -EIO;
}

static ssize_t session_write(void *opaque, const void *buf, size_t len, uint32_t *events)
{
    Session *t = opaque;
    ssize_t ret = t->lib->record_send(t->session, buf, len);

    if (ret >= 0)
        return ret;
    int error = session_error(t, ret, events);
    return error ? error : -EIO;
}

static int session_end(void *opaque, uint32_t *events)
{
    Session *t = opaque;
    int ret = t->lib->bye(t->session, GNUTLS_SHUT_WR);

    return ret < 0 ? session_error(t, ret, events) : 0;
}

static void session_free(void *opaque)
{
    Session *t = opaque;

    t->lib->deinit(t->session);
    tls_creds_unref(t->creds);
    g_free(t->hostname);
    g_free(t);
}

static const WireFilter session_filter = { session_read, session_write, session_end, session_free };

static int session_credentials(Session *t, bool server)
{
    TlsCreds *c = t->creds;

    if (c->obj.cls == &object_tls_creds_psk)
        return server ? t->lib->credentials_set(t->session, GNUTLS_CRD_PSK, c->psk_server)
                      : t->lib->credentials_set(t->session, GNUTLS_CRD_PSK, c->psk_client);
    if (server)
        t->lib->certificate_server_set_request(t->session, c->verify_peer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
    return t->lib->credentials_set(t->session, GNUTLS_CRD_CERTIFICATE, c->cert);
}

/* The handshake itself sees to it that the peer's certificate is good, made for its end, and of that name. */
static Err *session_verify(Session *t, bool server)
{
    const char *host = t->hostname;
    unsigned n = 0;

    if (t->creds->obj.cls != &object_tls_creds_x509)
        return NULL;
    if (!server && host && !g_hostname_is_ip_address(host))
        t->lib->server_name_set(t->session, GNUTLS_NAME_DNS, host, strlen(host));
    if (!t->creds->verify_peer)
        return NULL;
    if (!server && !host)
        return err_hint(err(ERR_INVALID, "the server's certificate cannot be compared with a name: there is none"),
                        "Give the name by tls-hostname=NAME.");
    if (!server)
        t->data[n++] = (gnutls_typed_vdata_st){ GNUTLS_DT_DNS_HOSTNAME, (unsigned char *)host, 0 };
    const char *purpose = server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER;
    t->data[n++] = (gnutls_typed_vdata_st){ GNUTLS_DT_KEY_PURPOSE_OID, (unsigned char *)purpose, 0 };
    t->lib->session_set_verify_cert2(t->session, t->data, n, 0);
    return NULL;
}

static Err *session_setup(Session *t, Wire *s, bool server)
{
    TlsCreds *c = t->creds;
    const char *where = NULL;
    bool psk = c->obj.cls == &object_tls_creds_psk;
    g_autofree char *priority = g_strdup_printf("%s%s", c->priority ? c->priority : "NORMAL",
                                                psk ? ":+ECDHE-PSK:+DHE-PSK:+PSK" : "");
    int ret = t->lib->priority_set_direct(t->session, priority, &where);

    if (ret < 0)
        return err(ERR_INVALID, "TLS priority '%s': %s at '%s'", priority, t->lib->strerror(ret), where ? where : "");
    ret = session_credentials(t, server);
    if (ret < 0)
        return gnutls_err(c, ret, "TLS credentials");
    TRY(session_verify(t, server));
    t->lib->transport_set_int2(t->session, wire_fd(s), wire_fd(s));
    return NULL;
}

/* What the peer's certificate lacks, if that is the reason. */
static Err *handshake_error(const Session *t, int ret)
{
    gnutls_datum_t text;

    if (ret == GNUTLS_E_FATAL_ALERT_RECEIVED)
        return err(ERR_IO, "TLS: the other side refused: %s",
                   t->lib->alert_get_name(t->lib->alert_get(t->session)));
    if (ret == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR) {
        unsigned status = t->lib->session_get_verify_cert_status(t->session);
        Err *e = NULL;
        if (!t->lib->certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0)) {
            e = err(ERR_IO, "TLS: the other side's certificate is refused: %s", text.data);
            (*t->lib->free)(text.data);
        } else {
            e = err(ERR_IO, "TLS: the other side's certificate is refused");
        }
        if (status & GNUTLS_CERT_UNEXPECTED_OWNER && t->hostname)
            e = err_hint(e, "It was compared with '%s'; tls-hostname=NAME chooses another name.", t->hostname);
        return e;
    }
    return err(ERR_IO, "TLS handshake: %s", t->lib->strerror(ret));
}

static Err *handshake(Session *t, Wire *s)
{
    for (;;) {
        uint32_t events;
        int ret = t->lib->handshake(t->session);

        if (ret >= 0)
            return NULL;
        if (ret != GNUTLS_E_AGAIN && ret != GNUTLS_E_INTERRUPTED) {
            if (!t->lib->error_is_fatal(ret))
                continue;
            return handshake_error(t, ret);
        }
        session_error(t, ret, &events);
        ret = wire_wait(s, events == EPOLLOUT, events);
        if (ret)
            return err_errno(-ret, "TLS handshake");
    }
}

Err *tls_start(Wire *s, TlsCreds *c, bool server, const char *hostname)
{
    Session *t;

    /* What was sent in the clear must not count as if it came through TLS. */
    if (wire_buffered(s))
        return err(ERR_INVALID, "the other side sent data in the clear that belongs behind the TLS handshake");
    t = g_new0(Session, 1);
    t->creds = tls_creds_ref(c);
    t->lib = &c->lib;
    t->hostname = hostname && *hostname ? g_strdup(hostname) : NULL;
    int ret = t->lib->init(&t->session, (server ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
    if (ret < 0) {
        tls_creds_unref(c);
        g_free(t->hostname);
        g_free(t);
        return gnutls_err(c, ret, "TLS");
    }
    wire_set_filter(s, &session_filter, t);
    TRY(session_setup(t, s, server));
    return handshake(t, s);
}
