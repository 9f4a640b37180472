/* SPDX-License-Identifier: MIT */
/*
 * The server's transmission phase. One coroutine reads a client's requests and
 * starts one for each, up to the limits of server.h; replies go out in the order
 * in which the disk is done.
 *
 * A request that makes no sense gets an error; a message whose end cannot be
 * told (a wrong magic number, a payload that is too long) ends the connection.
 */
#include <errno.h>
#include <inttypes.h>

#include "block/driver.h"
#include "block/nbd/server-priv.h"

enum {
    STATUS_EXTENTS = 8192,          /* in one answer */
    SPARSE_MIN = 64 << 10,          /* reads of that length may be answered with holes */
    HOLE_MIN = 32 << 10,            /* .. of this length at least */
    LOOKS_MAX = 64,                 /* questions to the map for such an answer */
    CACHE_PIECE = 1 << 20,
};

typedef struct Request {
    NbdClient *c;
    uint16_t type, flags;
    uint64_t handle, off, len;
    uint64_t payload;               /* bytes that followed the header */
    uint8_t *buf;                   /* data that came or is to go; or NULL */
    uint64_t reserved;              /* of c->memory */
    uint64_t only;                  /* block status: contexts wanted, by bits; of those chosen */
    uint32_t error;                 /* found while it was read: NBD_E* */
    const char *why;
} Request;

/* ---- replies */

static int send_chunk(const Request *r, uint16_t flags, uint16_t type, const void *a, size_t a_len,
                      const void *b, size_t b_len)
{
    NbdClient *c = r->c;
    uint8_t head[NBD_EXTENDED_REPLY_LEN], *p = head;

    p = put64(put16(put16(put32(p, c->extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC), flags), type),
              r->handle);
    if (c->extended)
        p = put64(p, r->off);
    p = c->extended ? put64(p, a_len + b_len) : put32(p, a_len + b_len);
    struct iovec v[3] = { { head, p - head }, { (void *)a, a_len }, { (void *)b, b_len } };
    co_lock(&c->sending);
    int ret = wire_writev(c->s, v, 3);
    co_unlock(&c->sending);
    return ret;
}

static int send_simple(const Request *r, uint32_t error, const void *data, size_t len)
{
    uint8_t head[NBD_SIMPLE_REPLY_LEN];

    put64(put32(put32(head, NBD_SIMPLE_REPLY_MAGIC), error), r->handle);
    struct iovec v[2] = { { head, sizeof(head) }, { (void *)data, len } };
    co_lock(&r->c->sending);
    int ret = wire_writev(r->c->s, v, 2);
    co_unlock(&r->c->sending);
    return ret;
}

static bool chunked(const Request *r)
{
    return r->c->structured || r->c->extended;
}

static void send_error(const Request *r, uint32_t error, const char *why)
{
    uint8_t b[6];

    if (!chunked(r)) {
        send_simple(r, error, NULL, 0);
        return;
    }
    size_t n = MIN(strlen(why), NBD_NAME_MAX);
    put16(put32(b, error), n);
    send_chunk(r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, b, sizeof(b), why, n);
}

static uint32_t wire_error(int ret)
{
    switch (-ret) {
    case EPERM:
    case EROFS:
        return NBD_EPERM;
    case ENOMEM:
        return NBD_ENOMEM;
    case EINVAL:
        return NBD_EINVAL;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return NBD_ENOSPC;
    case EOVERFLOW:
        return NBD_EOVERFLOW;
    case ENOTSUP:
        return NBD_ENOTSUP;
    case ESHUTDOWN:
        return NBD_ESHUTDOWN;
    }
    return NBD_EIO;
}

/* The answer to what carries no data. */
static void send_status(const Request *r, int ret, const char *what)
{
    if (ret < 0) {
        g_autofree char *why = g_strdup_printf("%s failed: %s", what, g_strerror(-ret));
        send_error(r, wire_error(ret), why);
    } else if (r->c->extended) {
        send_chunk(r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, NULL, 0, NULL, 0);
    } else {
        send_simple(r, 0, NULL, 0);
    }
}

/* ---- reading */

static int send_data(const Request *r, uint64_t off, const void *data, size_t len, bool last)
{
    uint8_t b[8];

    put64(b, off);
    return send_chunk(r, last ? NBD_REPLY_FLAG_DONE : 0, NBD_REPLY_TYPE_OFFSET_DATA, b, sizeof(b), data, len);
}

static int send_hole(const Request *r, uint64_t off, uint32_t len, bool last)
{
    uint8_t b[12];

    put32(put64(b, off), len);
    return send_chunk(r, last ? NBD_REPLY_FLAG_DONE : 0, NBD_REPLY_TYPE_OFFSET_HOLE, b, sizeof(b), NULL, 0);
}

/* A read of the disk: `len` bytes at off, or fewer where `looks` may tell of holes. */
typedef struct Piece {
    uint64_t off, len;
    uint8_t *buf;
    unsigned *looks;                /* NULL: no holes */
    bool hole;
} Piece;

/*
 * How far the bytes at off are all zeroes by the map (*hole), or not. At least
 * one byte. Short holes are not worth a chunk. *looks: how often the map may
 * still be asked for this request.
 */
static uint64_t alike(NbdExport *x, uint64_t off, uint64_t len, unsigned *looks, bool *hole)
{
    uint64_t n = 0;

    *hole = false;
    while (n < len) {
        Extent e;
        if (!*looks || node_extent_above(disk_node(x->disk), NULL, true, off + n, len - n, &e) || !e.len || e.len > len - n)
            return *hole ? n : len;         /* what is not known is read */
        --*looks;
        bool zero = e.flags & EXTENT_ZERO && e.len >= HOLE_MIN;
        if (n && zero != *hole)
            break;
        *hole = zero;
        n += e.len;
    }
    return n;
}

static int read_piece(NbdExport *x, void *arg)
{
    Piece *p = arg;

    if (p->looks)
        p->len = alike(x, p->off, p->len, p->looks, &p->hole);
    return p->hole ? 0 : disk_read(x->disk, p->off, &IOV_BUF(p->buf, p->len), 0);
}

static void read_sparse(const Request *r)
{
    uint64_t at = r->off, end = r->off + r->len;
    unsigned looks = LOOKS_MAX;

    while (at < end) {
        Piece p = { at, end - at, r->buf, &looks, false };
        int ret = nbd_at_disk(r->c->export, read_piece, &p);

        if (ret) {
            send_status(r, ret, "reading");
            return;
        }
        if (p.hole ? send_hole(r, at, p.len, at + p.len == end) : send_data(r, at, r->buf, p.len, at + p.len == end))
            return;
        at += p.len;
    }
}

static void do_read(const Request *r)
{
    if (!r->len) {
        if (chunked(r))
            send_chunk(r, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_NONE, NULL, 0, NULL, 0);
        else
            send_simple(r, 0, NULL, 0);
        return;
    }
    if (chunked(r) && !(r->flags & NBD_CMD_FLAG_DF) && r->len >= SPARSE_MIN) {
        read_sparse(r);
        return;
    }
    Piece p = { .off = r->off, .len = r->len, .buf = r->buf };
    int ret = nbd_at_disk(r->c->export, read_piece, &p);
    if (ret)
        send_status(r, ret, "reading");
    else if (chunked(r))
        send_data(r, r->off, r->buf, r->len, true);
    else
        send_simple(r, 0, r->buf, r->len);
}

/* Reads and forgets: whatever is between here and the data may keep it. */
static int do_cache(NbdExport *x, void *arg)
{
    const Request *r = arg;
    uint64_t done = 0;
    int ret = 0;
    size_t n = MIN(r->len, CACHE_PIECE);
    void *buf = n ? block_buf(disk_node(x->disk), n) : NULL;

    if (n && !buf)
        return -ENOMEM;
    while (done < r->len && !ret) {
        n = MIN(r->len - done, CACHE_PIECE);
        ret = disk_read(x->disk, r->off + done, &IOV_BUF(buf, n), 0);
        done += n;
    }
    block_buf_free(buf);
    return ret;
}

/* ---- writing */

static int do_write(NbdExport *x, void *arg)
{
    const Request *r = arg;

    if (!r->len)
        return 0;
    return disk_write(x->disk, r->off, &IOV_BUF(r->buf, r->len), r->flags & NBD_CMD_FLAG_FUA ? REQ_FUA : 0);
}

static int do_zero(NbdExport *x, void *arg)
{
    const Request *r = arg;
    unsigned flags = (r->flags & NBD_CMD_FLAG_FUA ? REQ_FUA : 0) | (r->flags & NBD_CMD_FLAG_NO_HOLE ? 0 : REQ_UNMAP) |
                     (r->flags & NBD_CMD_FLAG_FAST_ZERO ? REQ_NO_FALLBACK : 0);
    int ret = 0;

    for (uint64_t done = 0, n; done < r->len && !ret; done += n) {
        n = MIN(r->len - done, BLOCK_MAX_REQUEST);
        ret = disk_zero(x->disk, r->off + done, n, flags);
    }
    return ret;
}

static int do_trim(NbdExport *x, void *arg)
{
    const Request *r = arg;
    int ret = 0;

    for (uint64_t done = 0, n; done < r->len && !ret; done += n) {
        n = MIN(r->len - done, BLOCK_MAX_REQUEST);
        ret = disk_discard(x->disk, r->off + done, n);
    }
    return !ret && r->flags & NBD_CMD_FLAG_FUA ? disk_flush(x->disk) : ret;
}

static int do_flush(NbdExport *x, void *arg)
{
    return disk_flush(x->disk);
}

/* ---- block status */

static int send_extents(const Request *r, unsigned id, StatusExtent *x, unsigned n, bool last)
{
    bool wide = r->c->extended;
    size_t each = wide ? 16 : 8;
    uint8_t head[8], *p = put32(head, id);
    g_autofree uint8_t *b = g_malloc(n * each);

    if (wide)
        p = put32(p, n);
    for (unsigned i = 0; i < n; i++) {
        if (wide)
            put64(put64(b + i * each, x[i].len), x[i].flags);
        else
            put32(put32(b + i * each, x[i].len), x[i].flags);
    }
    return send_chunk(r, last ? NBD_REPLY_FLAG_DONE : 0,
                      wide ? NBD_REPLY_TYPE_BLOCK_STATUS_EXT : NBD_REPLY_TYPE_BLOCK_STATUS, head, p - head, b, n * each);
}

typedef struct Ask { const Request *r; unsigned id, max; StatusExtent *out; } Ask;

static int ask_status(NbdExport *x, void *arg)
{
    const Ask *a = arg;

    return nbd_status(x, a->id, a->r->off, a->r->len, a->max, a->out);
}

static void do_block_status(const Request *r)
{
    NbdClient *c = r->c;
    unsigned max = r->flags & NBD_CMD_FLAG_REQ_ONE ? 1 : STATUS_EXTENTS, left = 0;
    g_autofree StatusExtent *x = g_new(StatusExtent, max);
    bool want[64];

    for (unsigned i = 0; i < c->n_contexts; i++)
        left += want[i] = c->contexts && c->contexts[i] && r->only & UINT64_C(1) << i;
    if (!left) {
        if (c->contexts && c->extended)
            send_status(r, 0, NULL);
        else
            send_error(r, NBD_EINVAL, "no metadata context was chosen");
        return;
    }
    for (unsigned i = 0; i < c->n_contexts; i++) {
        if (!want[i])
            continue;
        int n = nbd_at_disk(c->export, ask_status, &(Ask){ r, i, max, x });
        if (n <= 0) {
            send_status(r, n ? n : -EIO, "block status");
            return;
        }
        if (send_extents(r, i, x, n, !--left))
            return;
    }
}

/* ---- one request */

static void execute(Request *r)
{
    NbdExport *x = r->c->export;

    if (r->error) {
        send_error(r, r->error, r->why);
        return;
    }
    switch (r->type) {
    case NBD_CMD_READ:
        do_read(r);
        break;
    case NBD_CMD_WRITE:
        send_status(r, nbd_at_disk(x, do_write, r), "writing");
        break;
    case NBD_CMD_FLUSH:
        send_status(r, nbd_at_disk(x, do_flush, r), "flush");
        break;
    case NBD_CMD_TRIM:
        send_status(r, nbd_at_disk(x, do_trim, r), "discard");
        break;
    case NBD_CMD_CACHE:
        send_status(r, nbd_at_disk(x, do_cache, r), "caching");
        break;
    case NBD_CMD_WRITE_ZEROES:
        send_status(r, nbd_at_disk(x, do_zero, r), "writing zeroes");
        break;
    case NBD_CMD_BLOCK_STATUS:
        do_block_status(r);
        break;
    }
}

static void request_free(Request *r)
{
    r->c->memory -= r->reserved;
    r->c->requests--;
    block_buf_free(r->buf);
    co_queue_wake(&r->c->room);
    g_free(r);
}

static void run_request(void *arg)
{
    Request *r = arg;

    execute(r);
    request_free(r);
}

/* ---- reading requests */

static void bad(Request *r, uint32_t error, const char *why)
{
    if (!r->error) {
        r->error = error;
        r->why = why;
    }
}

/* Is it a request that this client may make? What is wrong is answered later. */
static void check_request(Request *r)
{
    static const uint16_t allowed[] = {
        [NBD_CMD_READ] = NBD_CMD_FLAG_DF, [NBD_CMD_WRITE] = NBD_CMD_FLAG_PAYLOAD_LEN, [NBD_CMD_FLUSH] = 0,
        [NBD_CMD_TRIM] = 0, [NBD_CMD_CACHE] = 0, [NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
        [NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_REQ_ONE | NBD_CMD_FLAG_PAYLOAD_LEN,
    };
    NbdClient *c = r->c;
    uint64_t size = nbd_export_size(c->export);
    bool writes = r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES || r->type == NBD_CMD_TRIM;
    uint16_t ok = NBD_CMD_FLAG_FUA;

    if (r->type > NBD_CMD_BLOCK_STATUS || r->type == NBD_CMD_DISC) {
        bad(r, NBD_EINVAL, "unknown command");
        return;
    }
    ok |= allowed[r->type];
    if (!c->extended)
        ok &= ~NBD_CMD_FLAG_PAYLOAD_LEN;
    if (!chunked(r))
        ok &= ~NBD_CMD_FLAG_DF;
    if (r->flags & ~ok)
        bad(r, NBD_EINVAL, "a flag that this command has not");
    if (writes && !c->export->writable)
        bad(r, NBD_EPERM, "the export is read-only");
    if ((r->type == NBD_CMD_READ || r->type == NBD_CMD_CACHE) && r->len > NBD_MAX_PAYLOAD)
        bad(r, NBD_EINVAL, "the request is too long");
    if (r->type != NBD_CMD_FLUSH && (r->off > size || r->len > size - r->off))
        bad(r, r->type == NBD_CMD_WRITE || r->type == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL,
            "the request goes beyond the end of the export");
    if (r->type == NBD_CMD_BLOCK_STATUS && !r->len)
        bad(r, NBD_EINVAL, "a block status of no length");
}

/* Waits until `len` bytes more may be used. */
static void reserve(Request *r, uint64_t len)
{
    while (r->c->memory && r->c->memory + len > NBD_CLIENT_MEMORY)
        co_queue_wait(&r->c->room);
    r->reserved = len;
    r->c->memory += len;
}

/* The contexts that a block status with payload asks for. */
static int read_status_payload(Request *r)
{
    uint64_t n = r->payload;
    uint8_t b[8];

    if (n < 12 || n > 8 + 4 * 64 || n % 4) {
        bad(r, NBD_EINVAL, "the payload of a block status has a wrong length");
        r->len = 0;
        return wire_skip(r->c->s, n);
    }
    int ret = wire_read(r->c->s, b, 8);
    r->len = get64(b);
    r->only = 0;
    for (n -= 8; !ret && n; n -= 4) {
        ret = wire_read(r->c->s, b, 4);
        uint32_t id = get32(b);
        if (id >= r->c->n_contexts || !r->c->contexts || !r->c->contexts[id])
            bad(r, NBD_EINVAL, "a context that was not chosen");
        else
            r->only |= UINT64_C(1) << id;
    }
    return ret;
}

/* Takes what follows the header, and memory for what is to go. */
static int read_payload(Request *r)
{
    bool status = r->type == NBD_CMD_BLOCK_STATUS && r->payload && r->c->extended;
    uint64_t need = r->type == NBD_CMD_WRITE ? r->payload : 0;

    if (status) {
        int ret = read_status_payload(r);
        if (ret)
            return ret;
    }
    check_request(r);
    if (r->type == NBD_CMD_READ && !r->error)
        need = r->len;
    if (need && !r->error) {
        reserve(r, need);
        r->buf = block_buf(NULL, need);
        if (!r->buf)
            bad(r, NBD_ENOMEM, "out of memory");
    }
    if (status || !r->payload)
        return 0;
    return r->type == NBD_CMD_WRITE && !r->error ? wire_read(r->c->s, r->buf, r->payload)
                                                 : wire_skip(r->c->s, r->payload);
}

static Err *parse_header(NbdClient *c, const uint8_t *b, Request *r)
{
    if (get32(b) != (c->extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC))
        return err(ERR_INVALID, "it sent something that is no request (magic %#x)", get32(b));
    r->flags = get16(b + 4);
    r->type = get16(b + 6);
    r->handle = get64(b + 8);
    r->off = get64(b + 16);
    r->len = c->extended ? get64(b + 24) : get32(b + 24);
    r->only = UINT64_MAX;
    if (r->type == NBD_CMD_WRITE || (c->extended && r->flags & NBD_CMD_FLAG_PAYLOAD_LEN))
        r->payload = r->len;
    if (r->payload > NBD_MAX_PAYLOAD)
        return err(ERR_INVALID, "it sent a request with %" PRIu64 " bytes of data", r->payload);
    return NULL;
}

/* The next one into *out; NULL: the client has left in order. */
static Err *read_request(NbdClient *c, Request **out)
{
    uint8_t b[NBD_EXTENDED_REQUEST_LEN];
    int ret = wire_peek(c->s);

    *out = NULL;
    if (ret == 0 || ret == -ECONNRESET)
        return NULL;
    ret = ret < 0 ? ret : wire_read(c->s, b, c->extended ? NBD_EXTENDED_REQUEST_LEN : NBD_REQUEST_LEN);
    if (ret)
        return err_errno(-ret, "reading a request");
    Request *r = g_new0(Request, 1);
    r->c = c;
    c->requests++;
    Err *e = parse_header(c, b, r);
    if (!e && r->type == NBD_CMD_DISC) {
        request_free(r);
        return NULL;
    }
    ret = e ? 0 : read_payload(r);
    if (ret)
        e = err_errno(-ret, "reading a request's data");
    if (e)
        request_free(r);
    else
        *out = r;
    return e;
}

Err *nbd_serve(NbdClient *c)
{
    Request *r;
    Err *e = NULL;

    while (!c->stopping) {
        while (c->requests >= NBD_CLIENT_REQUESTS)
            co_queue_wait(&c->room);
        e = read_request(c, &r);
        if (e || !r)
            break;
        co_start(c->server->loop, run_request, r);
    }
    while (c->requests)
        co_queue_wait(&c->room);
    return e;
}
