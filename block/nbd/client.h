/* SPDX-License-Identifier: MIT */
/*
 * The client's half of NBD, below the block driver: the handshake
 * (negotiate.c) and a connection with many requests in flight (conn.c).
 * Coroutine functions of one loop throughout.
 */
#ifndef BLOCK_NBD_CLIENT_H
#define BLOCK_NBD_CLIENT_H

#include "block/nbd/protocol.h"
#include "block/tls.h"
#include "util/socket.h"
#include "util/wire.h"
#include "util/yank.h"

/* What the user asks for. All borrowed. */
typedef struct NbdWish {
    const char *export;             /* "": the server's default */
    TlsCreds *tls;                  /* NULL: in the clear */
    const char *tls_hostname;       /* NULL: none */
    Yank *yank;                     /* that the connection can be cut by; NULL: none. Lives longer than it */
    const char *context;            /* metadata context of block status; NULL: none */
    bool narrow, plain;             /* tests: no extended headers; no structured replies either */
} NbdWish;

/* What the server says of an export. */
typedef struct NbdInfo {
    char *name, *description;       /* owned; description may be NULL */
    uint64_t size;
    uint16_t flags;                 /* NBD_FLAG_* */
    uint32_t min_block, opt_block, max_payload;     /* 0: it did not say; min_block is at least 1 */
    bool oldstyle, structured, extended;
    bool has_context;
    uint32_t context_id;
    char **contexts;                /* nbd_list alone: names, NULL-terminated; or NULL */
} NbdInfo;
void nbd_info_clear(NbdInfo *i);

/* Up to the transmission phase. *out is the caller's also after an error. */
MUST_USE Err *nbd_negotiate(Wire *s, const NbdWish *w, NbdInfo *out);
/* All exports with what there is to know; ends the session. */
MUST_USE Err *nbd_list(Wire *s, const NbdWish *w, NbdInfo **list, unsigned *count);
void nbd_list_free(NbdInfo *list, unsigned count);

/* ---- a connection */

typedef struct NbdConn NbdConn;

typedef struct NbdRequest {
    uint16_t type, flags;           /* NBD_CMD_*, NBD_CMD_FLAG_* */
    uint64_t off, len;
    const IoVec *q;                 /* read: filled; write: sent; len bytes */
    /* block status: the first extent */
    uint64_t extent_len, extent_flags;
    bool lost;                      /* the connection broke before the answer: it may have been done or not */
} NbdRequest;

/* Connects and shakes hands. deadline (loop_now's clock, -1: none) bounds both; c may be NULL. */
MUST_USE Err *nbd_conn_open(const SocketAddr *a, const NbdWish *w, int64_t deadline, Cancel *c, NbdConn **out);
/* The same over a wire that is connected; takes it over, also when it fails. */
MUST_USE Err *nbd_conn_start(Wire *s, const NbdWish *w, int64_t deadline, Cancel *c, NbdConn **out);
const NbdInfo *nbd_conn_info(const NbdConn *c);
/* 0, or -errno: the server's answer, or -EIO with r->lost. */
int nbd_conn_request(NbdConn *c, NbdRequest *r);
/* Why it broke, or NULL: it did not. Owned by c. */
const char *nbd_conn_broken(const NbdConn *c);
/* Says goodbye, if it still can; waits for the reader, not for requests: they end as lost. Gives the hold back. */
void nbd_conn_close(NbdConn *c);
NbdConn *nbd_conn_ref(NbdConn *c);
void nbd_conn_unref(NbdConn *c);

#endif
