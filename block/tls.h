/* SPDX-License-Identifier: MIT */
/*
 * TLS over a Wire, and the objects that hold its credentials:
 * tls-creds-x509 (certificates) and tls-creds-psk (shared keys).
 *
 * The library, GnuTLS, is opened when the first of these objects is made:
 * programs that speak no TLS start without it.
 */
#ifndef BLOCK_TLS_H
#define BLOCK_TLS_H

#include "block/objects.h"
#include "util/wire.h"

typedef struct TlsCreds TlsCreds;

/* The object of that id, of either kind, made for that end; an error otherwise. Borrowed: see tls_creds_ref. */
MUST_USE Err *tls_creds_find(Objects *o, const char *id, bool server, TlsCreds **out);
TlsCreds *tls_creds_ref(TlsCreds *c);
void tls_creds_unref(TlsCreds *c);          /* NULL is fine */

/*
 * From now on the wire is TLS; runs the handshake, which wire_deadline
 * bounds. May yield. hostname: a client compares the certificate with it;
 * needed with certificates unless verify-peer is off. A wire whose handshake
 * failed can only be freed.
 */
MUST_USE Err *tls_start(Wire *s, TlsCreds *c, bool server, const char *hostname);

#endif
