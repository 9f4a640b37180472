/* SPDX-License-Identifier: MIT */
/*
 * The block driver nbd: an export of an NBD server as a protocol node. Names
 * and options are read in name.c.
 *
 * A lost connection is made anew by a coroutine of its own. For the first
 * reconnect-delay seconds requests wait for that and are sent again; later, or
 * with a delay of 0, they fail with -EIO, and each one that comes has a new
 * connection tried.
 */
#include "block/nbd/nbd-priv.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SECOND INT64_C(1000000000)
#define HANDSHAKE_SECONDS 30            /* one attempt, where the user sets no limit */
#define RETRY_MAX 16                    /* seconds between attempts, in the end */

static Nbd *nbd_of(BlockNode *n)
{
    return (Nbd *)n;
}

/* ---- the connection */

static NbdWish nbd_wish(Nbd *n)
{
    return (NbdWish){
        .export = n->export ? n->export : "",
        .yank = &n->yank,
        .tls = n->creds,
        .tls_hostname = n->tls_hostname ? n->tls_hostname : n->addr.type == SOCKET_INET ? n->addr.host : NULL,
        .context = n->x_dirty_bitmap ? n->x_dirty_bitmap : NBD_BASE_ALLOCATION,
    };
}

/* Does the server still serve what it served when the node was opened? */
static Err *same_export(const Nbd *n, const NbdInfo *i)
{
    if (i->size - i->size % i->min_block < n->node.size)
        return err(ERR_IO, "the server's export has shrunk to %" PRIu64 " bytes", i->size);
    if (i->flags & NBD_FLAG_READ_ONLY && !n->node.read_only)
        return err(ERR_IO, "the server's export is read-only now");
    if (i->min_block > n->node.limits.request_align)
        return err(ERR_IO, "the server's smallest block has grown to %u bytes", i->min_block);
    return NULL;
}

/* One attempt. */
static Err *nbd_attempt(Nbd *n, int64_t deadline, bool again)
{
    NbdWish w = nbd_wish(n);
    NbdConn *c;

    TRY(nbd_conn_open(&n->addr, &w, deadline, &n->cancel, &c));
    Err *e = again ? same_export(n, nbd_conn_info(c)) : NULL;
    if (e) {
        nbd_conn_close(c);
        return e;
    }
    n->conn = c;
    return NULL;
}

/* Tries until it works or the time is over; at least once. */
static Err *nbd_connect(Nbd *n, int64_t until, bool again)
{
    int64_t pause = SECOND / 4;

    for (;;) {
        int64_t now = loop_now();
        Err *e = nbd_attempt(n, MAX(until, now + (until > now ? 0 : HANDSHAKE_SECONDS * SECOND)), again);
        if (!e)
            return NULL;
        if (loop_now() + pause >= until || n->cancel.cancelled || n->yank.pulled)
            return e;
        err_free(e);
        for (int64_t end = loop_now() + pause; loop_now() < end && !n->cancel.cancelled && !n->yank.pulled;)
            cancel_sleep(MIN(end, loop_now() + SECOND / 4), &n->cancel);
        pause = MIN(pause * 2, RETRY_MAX * SECOND);
    }
}

static void reconnect(void *arg)
{
    Nbd *n = arg;
    Err *e = nbd_connect(n, n->lost_at + n->reconnect_delay * SECOND, true);

    n->last_try = loop_now();
    if (e && !n->told && !n->cancel.cancelled) {
        err_note("nbd '%s': %s", n->text, err_text(e));
        n->told = true;
    }
    err_free(e);
    if (n->conn)
        n->told = false;
    n->connecting = false;
    co_queue_wake_all(&n->waiting);
}

/* What is left of a broken connection. */
static void nbd_drop(Nbd *n)
{
    NbdConn *c = n->conn;

    n->conn = NULL;
    n->lost_at = loop_now();
    n->last_try = 0;
    err_note("nbd '%s': %s", n->text, nbd_conn_broken(c) ? nbd_conn_broken(c) : "the connection is lost");
    nbd_conn_close(c);
}

/* A connection that works, with a hold, or NULL: there is none, and none is to be waited for. */
static NbdConn *nbd_ready(Nbd *n)
{
    for (;;) {
        if (n->conn && nbd_conn_broken(n->conn))
            nbd_drop(n);
        if (n->conn)
            return nbd_conn_ref(n->conn);
        int64_t now = loop_now();
        bool wait = now < n->lost_at + n->reconnect_delay * SECOND;
        if (n->cancel.cancelled || n->yank.pulled || (!n->connecting && !wait && now < n->last_try + SECOND))
            return NULL;
        if (!n->connecting) {
            n->connecting = true;
            co_start(co_loop(), reconnect, n);
        }
        if (!wait)
            return NULL;
        co_queue_wait(&n->waiting);
    }
}

static int nbd_request(Nbd *n, NbdRequest *r)
{
    for (;;) {
        NbdConn *c = nbd_ready(n);
        if (!c)
            return -EIO;
        int ret = nbd_conn_request(c, r);
        if (r->lost && n->conn == c)
            nbd_drop(n);
        nbd_conn_unref(c);
        /* Doing it twice does no harm: the same bytes go to the same place. */
        if (!r->lost || !n->reconnect_delay || n->cancel.cancelled || n->yank.pulled)
            return ret;
    }
}

/* ---- open and close */

static Err *nbd_take_facts(Nbd *n)
{
    const NbdInfo *i = nbd_conn_info(n->conn);
    BlockLimits *l = &n->node.limits;

    if (i->flags & NBD_FLAG_READ_ONLY && !n->node.read_only) {
        if (!n->node.auto_read_only)
            return err_hint(err(ERR_INVALID, "the server's export '%s' is read-only", i->name),
                            "Open it read-only, or let the server offer it for writing.");
        n->node.read_only = true;
    }
    if (n->x_dirty_bitmap && !i->has_context)
        return err(ERR_NOT_FOUND, "the server's export has no context '%s' (x-dirty-bitmap)", n->x_dirty_bitmap);
    /* A rest that is shorter than a block cannot be reached. */
    n->node.size = i->size - i->size % i->min_block;
    l->request_align = i->min_block;
    l->max_transfer = i->max_payload ? MIN(i->max_payload, NBD_MAX_PAYLOAD) : NBD_MAX_PAYLOAD;
    l->opt_transfer = i->opt_block > i->min_block ? i->opt_block : 0;
    if (!i->extended)
        l->max_zero = l->max_discard = (UINT32_MAX & ~UINT32_C(0xffff));
    if (i->flags & NBD_FLAG_SEND_FUA)
        n->node.write_flags = REQ_FUA;
    if (i->flags & NBD_FLAG_SEND_WRITE_ZEROES)
        n->node.zero_flags = REQ_UNMAP | (i->flags & NBD_FLAG_SEND_FUA ? REQ_FUA : 0) |
                             (i->flags & NBD_FLAG_SEND_FAST_ZERO ? REQ_NO_FALLBACK : 0);
    return NULL;
}

static Err *nbd_open(BlockNode *node)
{
    Nbd *n = nbd_of(node);

    TRY(nbd_options(n));
    if (n->tls_creds) {
        TRY(tls_creds_find(graph_objects(node->graph), n->tls_creds, false, &n->creds));
        tls_creds_ref(n->creds);
    } else if (n->tls_hostname) {
        return err_hint(err(ERR_INVALID, "tls-hostname has no meaning without tls-creds"),
                        "Give credentials: --object tls-creds-x509,id=ID,dir=FOLDER and tls-creds=ID.");
    }
    n->text = socket_addr_text(&n->addr);
    yank_add(graph_yanks(node->graph), &n->yank, YANK_BLOCK_NODE, node_name(node));
    TRY(nbd_connect(n, loop_now() + n->open_timeout * SECOND, false));
    return nbd_take_facts(n);
}

static void nbd_close(BlockNode *node)
{
    Nbd *n = nbd_of(node);
    NbdConn *c;

    cancel_now(&n->cancel);
    while (n->connecting)
        co_queue_wait(&n->waiting);
    c = n->conn;
    n->conn = NULL;
    nbd_conn_close(c);
    yank_remove(&n->yank);
    tls_creds_unref(n->creds);
    n->creds = NULL;
    socket_addr_clear(&n->addr);
    g_free(n->text);
    n->text = NULL;
}

/* Those of the last connection, if there is none now. */
static uint16_t nbd_flags(Nbd *n)
{
    if (n->conn)
        n->flags = nbd_conn_info(n->conn)->flags;
    return n->flags;
}

/* Where it is cannot change while it is open; how long to wait, and who may write, can. */
static Err *nbd_reopen(BlockNode *node, const void *new_opts, bool read_only)
{
    Nbd *n = nbd_of(node);
    const Nbd *now = new_opts;

    for (const Field *f = nbd_fields; f->role != FIELD_END; f++) {
        g_autofree char *was = prop_print(n, f), *is = prop_print(now, f), *name = field_name(f);
        if (g_strcmp0(was, is) && strcmp(name, "reconnect-delay") && strcmp(name, "open-timeout"))
            return err(ERR_UNSUPPORTED, "option '%s' of an NBD node cannot be changed while it is open", name);
    }
    if (!read_only && nbd_flags(n) & NBD_FLAG_READ_ONLY)
        return err(ERR_INVALID, "the server's export is read-only");
    n->reconnect_delay = now->reconnect_delay;
    n->open_timeout = now->open_timeout;
    return NULL;
}

/* ---- data */

static int nbd_read(BlockNode *node, uint64_t off, const IoVec *q, unsigned flags)
{
    NbdRequest r = { .type = NBD_CMD_READ, .off = off, .len = q->len, .q = q };

    return nbd_request(nbd_of(node), &r);
}

static int nbd_write(BlockNode *node, uint64_t off, const IoVec *q, unsigned flags)
{
    NbdRequest r = { .type = NBD_CMD_WRITE, .off = off, .len = q->len, .q = q,
                     .flags = flags & REQ_FUA ? NBD_CMD_FLAG_FUA : 0 };

    return nbd_request(nbd_of(node), &r);
}

static int nbd_zero(BlockNode *node, uint64_t off, uint64_t len, unsigned flags)
{
    uint16_t can = nbd_flags(nbd_of(node));
    NbdRequest r = { .type = NBD_CMD_WRITE_ZEROES, .off = off, .len = len };

    if (!(can & NBD_FLAG_SEND_WRITE_ZEROES) || (flags & REQ_NO_FALLBACK && !(can & NBD_FLAG_SEND_FAST_ZERO)))
        return -ENOTSUP;
    r.flags = (flags & REQ_FUA ? NBD_CMD_FLAG_FUA : 0) | (flags & REQ_UNMAP ? 0 : NBD_CMD_FLAG_NO_HOLE) |
              (flags & REQ_NO_FALLBACK ? NBD_CMD_FLAG_FAST_ZERO : 0);
    return nbd_request(nbd_of(node), &r);
}

static int nbd_discard(BlockNode *node, uint64_t off, uint64_t len)
{
    NbdRequest r = { .type = NBD_CMD_TRIM, .off = off, .len = len };

    return nbd_flags(nbd_of(node)) & NBD_FLAG_SEND_TRIM ? nbd_request(nbd_of(node), &r) : -ENOTSUP;
}

static int nbd_flush(BlockNode *node)
{
    NbdRequest r = { .type = NBD_CMD_FLUSH };

    return nbd_flags(nbd_of(node)) & NBD_FLAG_SEND_FLUSH ? nbd_request(nbd_of(node), &r) : 0;
}

static int nbd_extent(BlockNode *node, uint64_t off, uint64_t len, Extent *out)
{
    Nbd *n = nbd_of(node);
    uint32_t align = node->limits.request_align;
    NbdRequest r = { .type = NBD_CMD_BLOCK_STATUS, .flags = NBD_CMD_FLAG_REQ_ONE, .off = off - off % align };

    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET, .host = off, .host_node = node };
    if (!n->conn || !nbd_conn_info(n->conn)->has_context)
        return 0;
    r.len = MIN(len + off % align, nbd_conn_info(n->conn)->extended ? BLOCK_MAX_SIZE : UINT32_MAX & ~UINT32_C(0xffff));
    r.len = MIN((r.len + align - 1) & ~(uint64_t)(align - 1), node->size - r.off);
    int ret = nbd_request(n, &r);
    /* It may not be told; it still can be read. */
    if (ret == -EINVAL || ret == -ENOTSUP)
        return 0;
    if (ret)
        return ret;
    if (r.extent_len < align)
        r = (NbdRequest){ .off = r.off, .extent_len = align, .extent_flags = 0 };
    r.extent_len = r.extent_len - r.extent_len % align - off % align;
    out->len = MIN(len, r.extent_len);
    out->flags = EXTENT_ALLOCATED | EXTENT_OFFSET | (r.extent_flags & NBD_STATE_HOLE ? 0 : EXTENT_DATA) |
                 (r.extent_flags & NBD_STATE_ZERO ? EXTENT_ZERO : 0);
    return 0;
}

static Err *nbd_resize(BlockNode *node, uint64_t len, bool exact, Preallocation p)
{
    if (len > node->size)
        return err_hint(err(ERR_UNSUPPORTED, "an NBD export cannot grow"), "Resize the image at the server.");
    if (exact && len != node->size)
        return err_hint(err(ERR_UNSUPPORTED, "an NBD export cannot be resized"), "Resize the image at the server.");
    return NULL;
}

BLOCK(nbd) = {
    .name = "nbd", .doc = "export of an NBD server", .kind = DRIVER_PROTOCOL, .size = sizeof(Nbd),
    .fields = nbd_fields, .schemes = nbd_schemes, .parse_name = nbd_parse_name, .make_name = nbd_make_name,
    .open = nbd_open, .close = nbd_close, .reopen = nbd_reopen,
    .read = nbd_read, .write = nbd_write, .zero = nbd_zero, .discard = nbd_discard, .flush = nbd_flush,
    .extent = nbd_extent, .resize = nbd_resize,
};
