/* SPDX-License-Identifier: MIT */
/*
 * What the files of the block driver nbd share.
 */
#ifndef BLOCK_NBD_NBD_PRIV_H
#define BLOCK_NBD_NBD_PRIV_H

#include <glib.h>

#include "block/driver.h"
#include "block/nbd/client.h"

typedef struct Nbd {
    BlockNode node;
    /* options; those of the address are put together by nbd_options */
    char *type, *server_host, *server_port, *server_path, *server_cid, *server_str;
    bool numeric, keep_alive, abstract, tight;
    char *ipv4, *ipv6;              /* on, off or not given */
    char *host, *port, *path;       /* the older spelling */
    char *export, *tls_creds, *tls_hostname, *x_dirty_bitmap;
    uint32_t reconnect_delay, open_timeout;     /* seconds */

    SocketAddr addr;
    TlsCreds *creds;                /* held */
    char *text;                     /* the address, for messages */
    NbdConn *conn;                  /* NULL: lost */
    uint16_t flags;                 /* of the last connection's export */
    Yank yank;                      /* by which a user cuts it off: nothing is connected anew after that */
    Cancel cancel;                  /* the node is being closed */
    bool connecting, told;          /* reconnect() runs; it has said why it fails */
    int64_t lost_at, last_try;      /* loop_now's clock */
    CoQueue waiting;                /* for reconnect()'s end */
} Nbd;

extern const Field nbd_fields[];
extern const char *const nbd_schemes[];
MUST_USE Err *nbd_parse_name(const char *name, json_t *options);
char *nbd_make_name(BlockNode *node);
/* Makes addr of the options. */
MUST_USE Err *nbd_options(Nbd *n);

#endif
