/* SPDX-License-Identifier: MIT */
/*
 * What tls.c and tls-check.c share: the credentials and the table of the
 * library's functions.
 */
#ifndef BLOCK_TLS_PRIV_H
#define BLOCK_TLS_PRIV_H

#include <glib.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "block/objects-priv.h"
#include "block/tls.h"

/* Names without their gnutls_. `free` is a variable that holds a function. */
#define GNUTLS_FUNCTIONS(X)                                                                 \
    X(init) X(deinit) X(handshake) X(bye) X(record_send) X(record_recv) X(record_get_direction) \
    X(error_is_fatal) X(strerror) X(alert_get) X(alert_get_name) X(free)                    \
    X(priority_set_direct) X(credentials_set) X(transport_set_int2) X(server_name_set)      \
    X(session_set_verify_cert2) X(session_get_verify_cert_status)                           \
    X(certificate_verification_status_print) X(certificate_server_set_request)              \
    X(certificate_allocate_credentials) X(certificate_free_credentials)                     \
    X(certificate_set_x509_trust_file) X(certificate_set_x509_crl_file)                     \
    X(certificate_set_x509_key_file2) X(certificate_set_known_dh_params)                    \
    X(psk_allocate_server_credentials) X(psk_free_server_credentials)                       \
    X(psk_set_server_credentials_file) X(psk_set_server_known_dh_params)                    \
    X(psk_allocate_client_credentials) X(psk_free_client_credentials) X(psk_set_client_credentials) \
    X(x509_crt_deinit) X(x509_crt_list_import2) X(x509_crt_get_expiration_time)             \
    X(x509_crt_get_activation_time) X(x509_crt_get_basic_constraints) X(x509_crt_get_key_usage) \
    X(x509_crt_get_key_purpose_oid) X(x509_crt_list_verify)

typedef struct Gnutls {
#define X(name) __typeof__(&gnutls_##name) name;
    GNUTLS_FUNCTIONS(X)
#undef X
} Gnutls;

struct TlsCreds {
    Object obj;
    char *dir, *priority, *passwordid, *username;
    uint8_t endpoint;               /* 0 client, 1 server */
    bool verify_peer, sanity_check;
    Gnutls lib;
    gnutls_certificate_credentials_t cert;
    gnutls_psk_server_credentials_t psk_server;
    gnutls_psk_client_credentials_t psk_client;
};

/* Would the certificates in the folder be refused by the other side? Says which and why. */
MUST_USE Err *tls_check(TlsCreds *c);

#endif
