/* SPDX-License-Identifier: MIT */
/*
 * A connection in NBD's transmission phase, the client's side. Requests are
 * sent by the coroutines that make them, one at a time; one more coroutine
 * reads all replies and puts their data where the request wants it. It is the
 * only one that ends requests, so a request's memory is never written to after
 * its coroutine went on.
 *
 * A server that breaks the rules (a handle that nobody asked with, data outside
 * the request or twice in the same place, a wrong length) ends the connection:
 * what comes after such a message cannot be told apart.
 */
#include "block/nbd/client.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <sys/socket.h>

#define SLOTS 128               /* requests in flight */
#define RANGES_MAX 1024         /* pieces of one read that lie apart, for now */
#define MESSAGE_MAX NBD_NAME_MAX

typedef struct Range { uint64_t off, end; } Range;

/* A request in flight. */
typedef struct Slot {
    NbdRequest *r;              /* NULL: free */
    uint64_t handle;
    Co *waiter;                 /* asleep until done, or NULL */
    bool done, status_seen;
    int error;                  /* positive, the first that the server told */
    GArray *ranges;             /* structured read: what came, sorted, apart from each other; NULL: nothing yet */
} Slot;

struct NbdConn {
    Wire *s;
    Yank *yank;                 /* or NULL */
    int watch;                  /* yank_watch of the socket */
    Loop *loop;
    NbdInfo info;
    unsigned refs;
    unsigned in_flight;
    bool ended, closing;        /* the reader has left; by our wish */
    char *broken;               /* why */
    uint32_t generation;        /* in handles: an answer that comes twice meets nobody */
    CoMutex sending;
    CoQueue room, gone;         /* for a slot; for the reader's end */
    Slot slots[SLOTS];
};

/* ---- life */

NbdConn *nbd_conn_ref(NbdConn *c)
{
    c->refs++;
    return c;
}

void nbd_conn_unref(NbdConn *c)
{
    if (!c || --c->refs)
        return;
    wire_free(c->s);
    nbd_info_clear(&c->info);
    g_free(c->broken);
    g_free(c);
}

const NbdInfo *nbd_conn_info(const NbdConn *c)
{
    return &c->info;
}

const char *nbd_conn_broken(const NbdConn *c)
{
    return c->broken;
}

/* From now on nothing is sent or read; the reader ends the requests when it wakes. */
static void conn_break(NbdConn *c, Err *why)
{
    if (!c->broken && !c->closing)
        c->broken = g_strdup(err_text(why));
    err_free(why);
    wire_down(c->s, EIO);
}

static void slot_done(NbdConn *c, Slot *t)
{
    Co *co = t->waiter;

    t->done = true;
    t->waiter = NULL;
    if (co)
        co_wake(co);
}

/* ---- what came of a read */

/* Notes that [off, end) came; an error where part of it had come before. */
static Err *range_add(Slot *t, uint64_t off, uint64_t end)
{
    unsigned i = 0;

    if (!t->ranges)
        t->ranges = g_array_new(FALSE, FALSE, sizeof(Range));
    Range *v = (Range *)(void *)t->ranges->data;
    while (i < t->ranges->len && v[i].off < off)
        i++;
    if ((i && v[i - 1].end > off) || (i < t->ranges->len && v[i].off < end))
        return err(ERR_IO, "the server sent the bytes at %" PRIu64 " twice", off);
    bool left = i && v[i - 1].end == off, right = i < t->ranges->len && v[i].off == end;
    if (left && right) {
        v[i - 1].end = v[i].end;
        g_array_remove_index(t->ranges, i);
    } else if (left) {
        v[i - 1].end = end;
    } else if (right) {
        v[i].off = off;
    } else {
        Range new = { off, end };
        if (t->ranges->len >= RANGES_MAX)
            return err(ERR_IO, "the server sends a read in too many pieces");
        g_array_insert_val(t->ranges, i, new);
    }
    return NULL;
}

static bool range_whole(const Slot *t)
{
    const Range *v = t->ranges ? (const Range *)(const void *)t->ranges->data : NULL;

    return t->ranges && t->ranges->len == 1 && v->off == t->r->off && v->end == t->r->off + t->r->len;
}

/* Off and len of a chunk within the request? */
static Err *range_inside(const Slot *t, uint64_t off, uint64_t len)
{
    if (off < t->r->off || off - t->r->off > t->r->len || len > t->r->len - (off - t->r->off))
        return err(ERR_IO, "the server sent %" PRIu64 " bytes at %" PRIu64 ", outside of the request for %" PRIu64
                   " at %" PRIu64, len, off, t->r->len, t->r->off);
    return NULL;
}

/* ---- reading replies */

typedef struct Chunk {
    uint16_t flags, type;
    uint64_t len;
} Chunk;

static Err *lost(int ret)
{
    return ret == -EPIPE ? err(ERR_IO, "the server ended the connection")
                         : err_errno(-ret, "the connection to the server");
}

/* Reads `n` bytes of the chunk's payload into buf. */
static Err *payload(NbdConn *c, void *buf, size_t n)
{
    int ret = wire_read(c->s, buf, n);

    return ret ? lost(ret) : NULL;
}

static Err *bad_length(const Chunk *k)
{
    return err(ERR_IO, "the server sent a chunk of type %#x with a payload of %" PRIu64 " bytes", k->type, k->len);
}

static Err *read_data(NbdConn *c, Slot *t, const Chunk *k)
{
    uint8_t b[8];

    if (k->len < 9)
        return bad_length(k);
    TRY(payload(c, b, 8));
    uint64_t off = get64(b), len = k->len - 8;
    TRY(range_inside(t, off, len));
    TRY(range_add(t, off, off + len));
    IoVec part = iov_slice(t->r->q, off - t->r->off, len);
    int ret = wire_readv(c->s, &part);
    return ret ? lost(ret) : NULL;
}

static Err *read_hole(NbdConn *c, Slot *t, const Chunk *k)
{
    uint8_t b[12];

    if (k->len != 12)
        return bad_length(k);
    TRY(payload(c, b, 12));
    uint64_t off = get64(b), len = get32(b + 8);
    if (!len)
        return err(ERR_IO, "the server sent a hole of no length");
    TRY(range_inside(t, off, len));
    TRY(range_add(t, off, off + len));
    iov_fill(t->r->q, off - t->r->off, 0, len);
    return NULL;
}

/* The first extent counts; what comes behind it is dropped. */
static Err *read_status(NbdConn *c, Slot *t, const Chunk *k)
{
    bool wide = k->type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT;
    size_t head = wide ? 8 : 4, each = wide ? 16 : 8;
    uint8_t b[24];

    if (wide != c->info.extended)
        return err(ERR_IO, "the server sent a block status of the wrong width");
    if (k->len < head + each || (k->len - head) % each || k->len > NBD_MAX_PAYLOAD)
        return bad_length(k);
    TRY(payload(c, b, head + each));
    if (get32(b) != c->info.context_id)
        return err(ERR_IO, "the server sent a block status of the context %u, and %u was chosen", get32(b),
                   c->info.context_id);
    if (wide && get32(b + 4) != (k->len - head) / each)
        return bad_length(k);
    if (t->status_seen)
        return err(ERR_IO, "the server sent the block status twice");
    t->status_seen = true;
    t->r->extent_len = wide ? get64(b + 8) : get32(b + 4);
    t->r->extent_flags = wide ? get64(b + 16) : get32(b + 8);
    if (!t->r->extent_len)
        return err(ERR_IO, "the server sent an extent of no length");
    int ret = wire_skip(c->s, k->len - head - each);
    return ret ? lost(ret) : NULL;
}

/* An error, also of a kind that is not known: all begin alike. */
static Err *read_error(NbdConn *c, Slot *t, const Chunk *k)
{
    uint8_t b[6 + MESSAGE_MAX + 8];

    if (k->len < 6 || k->len > sizeof(b))
        return bad_length(k);
    TRY(payload(c, b, k->len));
    uint32_t error = get32(b), said = get16(b + 4);
    if (said > k->len - 6)
        return bad_length(k);
    if (k->type == NBD_REPLY_TYPE_ERROR_OFFSET) {
        if (k->len - 6 - said != 8)
            return bad_length(k);
        TRY(range_inside(t, get64(b + 6 + said), 0));
    }
    if (!error)
        return err(ERR_IO, "the server sent an error that is none");
    if (!t->error)
        t->error = error;
    return NULL;
}

static Err *read_chunk(NbdConn *c, Slot *t, const Chunk *k)
{
    Err *e = NULL;

    if (k->type & NBD_REPLY_TYPE_IS_ERROR)
        e = read_error(c, t, k);
    else if (k->type == NBD_REPLY_TYPE_NONE)
        e = k->len || !(k->flags & NBD_REPLY_FLAG_DONE) ? bad_length(k) : NULL;
    else if (k->type == NBD_REPLY_TYPE_OFFSET_DATA && t->r->type == NBD_CMD_READ)
        e = read_data(c, t, k);
    else if (k->type == NBD_REPLY_TYPE_OFFSET_HOLE && t->r->type == NBD_CMD_READ)
        e = read_hole(c, t, k);
    else if ((k->type == NBD_REPLY_TYPE_BLOCK_STATUS || k->type == NBD_REPLY_TYPE_BLOCK_STATUS_EXT) &&
             t->r->type == NBD_CMD_BLOCK_STATUS)
        e = read_status(c, t, k);
    else
        e = err(ERR_IO, "the server answered request type %u by a chunk of type %u", t->r->type, k->type);
    TRY(e);
    if (!(k->flags & NBD_REPLY_FLAG_DONE))
        return NULL;
    if (!t->error && t->r->type == NBD_CMD_READ && !range_whole(t))
        return err(ERR_IO, "the server sent less than the %" PRIu64 " bytes at %" PRIu64 " that were asked for",
                   t->r->len, t->r->off);
    if (!t->error && t->r->type == NBD_CMD_BLOCK_STATUS && !t->status_seen)
        return err(ERR_IO, "the server's answer to a block status has no extent");
    slot_done(c, t);
    return NULL;
}

static Err *read_simple(NbdConn *c, Slot *t, uint32_t error)
{
    if (c->info.extended || ((c->info.structured) && t->r->type == NBD_CMD_READ && !error))
        return err(ERR_IO, "the server answered by a simple reply where that is not allowed");
    if (t->r->type == NBD_CMD_BLOCK_STATUS && !error)
        return err(ERR_IO, "the server's answer to a block status has no extent");
    t->error = error;
    if (t->r->type == NBD_CMD_READ && !error) {
        int ret = wire_readv(c->s, t->r->q);
        if (ret)
            return lost(ret);
    }
    slot_done(c, t);
    return NULL;
}

static Err *find_slot(NbdConn *c, uint64_t handle, Slot **out)
{
    Slot *t = &c->slots[handle % SLOTS];

    if (!t->r || t->done || t->handle != handle)
        return err(ERR_IO, "the server answered a request that is not there (handle %#" PRIx64 ")", handle);
    *out = t;
    return NULL;
}

static Err *read_reply(NbdConn *c)
{
    uint8_t b[NBD_EXTENDED_REPLY_LEN];
    size_t n = c->info.extended ? NBD_EXTENDED_REPLY_LEN : NBD_SIMPLE_REPLY_LEN;
    Slot *t = NULL;

    TRY(payload(c, b, n));
    uint32_t magic = get32(b);
    if (magic == NBD_SIMPLE_REPLY_MAGIC && !c->info.extended) {
        TRY(find_slot(c, get64(b + 8), &t));
        return read_simple(c, t, get32(b + 4));
    }
    if (magic != (c->info.extended ? NBD_EXTENDED_REPLY_MAGIC : NBD_STRUCTURED_REPLY_MAGIC) ||
        (!c->info.extended && !c->info.structured))
        return err(ERR_IO, "the server sent something that is no reply (magic %#x)", magic);
    if (!c->info.extended)
        TRY(payload(c, b + n, NBD_STRUCTURED_REPLY_LEN - n));
    TRY(find_slot(c, get64(b + 8), &t));
    Chunk k = { get16(b + 4), get16(b + 6), c->info.extended ? get64(b + 24) : get32(b + 16) };
    if (c->info.extended && get64(b + 16) != t->r->off)
        return err(ERR_IO, "the server answered for another offset than was asked for");
    return read_chunk(c, t, &k);
}

static void reader(void *arg)
{
    NbdConn *c = arg;
    Err *e;

    do {
        e = read_reply(c);
    } while (!e);
    conn_break(c, e);
    c->ended = true;
    if (c->yank)
        yank_unwatch(c->yank, c->watch);
    for (int i = 0; i < SLOTS; i++) {
        Slot *t = &c->slots[i];
        if (t->r && !t->done) {
            t->r->lost = true;
            slot_done(c, t);
        }
    }
    co_queue_wake_all(&c->room);
    co_queue_wake_all(&c->gone);
    nbd_conn_unref(c);
}

/* ---- requests */

static Slot *slot_take(NbdConn *c, NbdRequest *r)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        Slot *t = &c->slots[i];
        if (!t->r) {
            *t = (Slot){ .r = r, .handle = (uint64_t)c->generation++ << 32 | i };
            c->in_flight++;
            return t;
        }
    }
    return NULL;
}

static void slot_give(NbdConn *c, Slot *t)
{
    if (t->ranges)
        g_array_free(t->ranges, TRUE);
    t->r = NULL;
    t->ranges = NULL;
    c->in_flight--;
    co_queue_wake(&c->room);
}

static int send_request(NbdConn *c, const NbdRequest *r, uint64_t handle)
{
    uint8_t b[NBD_EXTENDED_REQUEST_LEN], *p = b;
    struct iovec v[64];
    bool data = r->type == NBD_CMD_WRITE;
    uint16_t flags = r->flags | (data && c->info.extended ? NBD_CMD_FLAG_PAYLOAD_LEN : 0);
    unsigned n = 1;
    size_t bytes = 0;

    p = put32(p, c->info.extended ? NBD_EXTENDED_REQUEST_MAGIC : NBD_REQUEST_MAGIC);
    p = put64(put64(put16(put16(p, flags), r->type), handle), r->off);
    p = c->info.extended ? put64(p, r->len) : put32(p, r->len);
    v[0] = (struct iovec){ b, p - b };
    if (data)
        n += iov_elements(r->q, v + 1, G_N_ELEMENTS(v) - 1, &bytes);
    int ret = wire_writev(c->s, v, n);
    /* A view of more elements than fit goes on. */
    while (!ret && data && bytes < r->len) {
        IoVec rest = iov_slice(r->q, bytes, r->len - bytes);
        size_t more;
        n = iov_elements(&rest, v, G_N_ELEMENTS(v), &more);
        bytes += more;
        ret = wire_writev(c->s, v, n);
    }
    return ret;
}

static int host_error(uint32_t error)
{
    switch (error) {
    case 0: return 0;
    case NBD_EPERM: return -EPERM;
    case NBD_ENOMEM: return -ENOMEM;
    case NBD_EINVAL: return -EINVAL;
    case NBD_ENOSPC: return -ENOSPC;
    case NBD_EOVERFLOW: return -EOVERFLOW;
    case NBD_ENOTSUP: return -ENOTSUP;
    case NBD_ESHUTDOWN: return -ESHUTDOWN;
    default: return -EIO;
    }
}

int nbd_conn_request(NbdConn *c, NbdRequest *r)
{
    Slot *t = NULL;

    r->lost = false;
    nbd_conn_ref(c);
    while (!c->ended && !c->closing && !(t = slot_take(c, r)))
        co_queue_wait(&c->room);
    if (c->ended || c->closing) {
        r->lost = true;
        nbd_conn_unref(c);
        return -EIO;
    }
    co_lock(&c->sending);
    int ret = t->done ? 0 : send_request(c, r, t->handle);
    co_unlock(&c->sending);
    if (ret)
        conn_break(c, lost(ret));
    while (!t->done) {
        t->waiter = co_self();
        co_yield();
    }
    ret = r->lost ? -EIO : host_error(t->error);
    slot_give(c, t);
    nbd_conn_unref(c);
    return ret;
}

void nbd_conn_close(NbdConn *c)
{
    NbdRequest bye = { .type = NBD_CMD_DISC };

    if (!c)
        return;
    if (!c->ended && !c->closing) {
        c->closing = true;
        wire_deadline(c->s, loop_now() + 1000000000);
        co_lock(&c->sending);
        if (!c->ended && !send_request(c, &bye, 0))
            wire_end(c->s);
        co_unlock(&c->sending);
    }
    wire_down(c->s, EIO);
    while (!c->ended)
        co_queue_wait(&c->gone);
    nbd_conn_unref(c);
}

/* ---- beginning */

static void cancel_wire(void *opaque)
{
    wire_down(opaque, ECANCELED);
}

Err *nbd_conn_start(Wire *s, const NbdWish *w, int64_t deadline, Cancel *cancel, NbdConn **out)
{
    NbdInfo info;

    if (cancel && cancel->cancelled) {
        wire_free(s);
        return err_errno(ECANCELED, "NBD");
    }
    if (cancel) {
        cancel->wake = cancel_wire;
        cancel->opaque = s;
    }
    wire_deadline(s, deadline);
    Err *e = nbd_negotiate(s, w, &info);
    wire_deadline(s, -1);
    if (cancel)
        cancel->wake = NULL;
    if (e) {
        nbd_info_clear(&info);
        wire_free(s);
        return e;
    }
    NbdConn *c = g_new0(NbdConn, 1);
    c->s = s;
    c->loop = co_loop();
    c->info = info;
    c->refs = 1;
    co_start(c->loop, reader, nbd_conn_ref(c));
    *out = c;
    return NULL;
}

Err *nbd_conn_open(const SocketAddr *a, const NbdWish *w, int64_t deadline, Cancel *c, NbdConn **out)
{
    Wire *s;
    int fd;

    TRY(socket_connect(a, deadline, c, &fd));
    int watch = w->yank ? yank_watch(w->yank, fd) : -1;
    Err *e = wire_new(co_loop(), fd, &s);
    if (!e) {
        g_autofree char *text = socket_addr_text(a);

        e = err_in(nbd_conn_start(s, w, deadline, c, out), "%s", text);
    }
    if (e) {
        if (w->yank)
            yank_unwatch(w->yank, watch);
        return e;
    }
    (*out)->yank = w->yank;
    (*out)->watch = watch;
    if ((*out)->ended && w->yank)
        yank_unwatch(w->yank, watch);
    return NULL;
}
