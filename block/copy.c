/* SPDX-License-Identifier: MIT */
/*
 * The copying engine, see block/copy.h.
 *
 * copy_run is one planner and a crowd of workers. The planner asks the source
 * what it holds and cuts the range into pieces of one kind: data, zeroes, or
 * what lies below `base`. A piece of data is read into a buffer, looked through
 * for zeroes, and written in runs. Pieces are long where the source lets them,
 * which is quickest, and many where it does not; their memory together is
 * limited, whatever the images are like.
 *
 * Pieces begin and end at multiples of `unit` in the target (its cluster, say)
 * where the source lets them: a target's cluster is then written once and
 * whole, and never has to be filled up by reading.
 */
#include "block/copy.h"

#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <unistd.h>

#include "block/driver.h"
#include "util/arena.h"

#define KIB 1024u
#define MIB (1024u * 1024u)
/* Zeroes of one request, and what is asked of node_extent_above at a time. */
#define ZERO_MAX (UINT64_C(256) * MIB)
#define ASK_MAX (UINT64_C(1) << 30)

#define SMALLEST (64 * KIB)        /* of buffers that workers are reckoned with */

typedef enum Kind { KIND_DATA, KIND_ZERO, KIND_BELOW } Kind;

/* What the source said last: [off, end) is of that kind. Each planner has its own, as it may be old soon. */
typedef struct View {
    uint64_t off, end;
    Kind kind;
} View;

struct Copy {
    CopyConfig c;
    CopyStats stats;
    BlockNode *source, *target;     /* of from and to, which hold them */
    uint64_t end;                   /* of the range, in the source */
    uint32_t unit;                  /* power of two, at most chunk */
    bool offload;
    unsigned offload_refused;       /* in a row */

    uint64_t budget;                /* bytes of buffers */
    Arena *buffers;                 /* made with the first */
    CoQueue buffer_wanted;

    /* in_order: pieces are numbered; piece `turn` may begin to write. */
    uint64_t pieces, turn;
    CoQueue turn_wanted;

    int64_t next_write;             /* limit of speed: when the next write is due, ns */
    CoCrowd crowd;
    bool failed, failed_reading;
    uint64_t failed_at;
};

typedef struct Piece {
    Copy *copy;
    uint64_t off, len, number;
    Kind kind;
    void *buf;                      /* for `len` bytes; NULL: not taken yet */
} Piece;

CopyConfig copy_defaults(Disk *from, Disk *to)
{
    return (CopyConfig){ .from = from, .to = to, .len = UINT64_MAX, .sparse = 4 * KIB };
}

/* ---- disks or children */

static int do_read(const Copy *c, uint64_t off, const IoVec *q)
{
    return c->c.from ? disk_read(c->c.from, off, q, c->c.read_flags) : child_read(c->c.from_child, off, q, c->c.read_flags);
}

static int do_write(const Copy *c, uint64_t off, const IoVec *q, unsigned flags)
{
    flags |= c->c.write_flags;
    return c->c.to ? disk_write(c->c.to, off, q, flags) : child_write(c->c.to_child, off, q, flags);
}

static int do_zero(const Copy *c, uint64_t off, uint64_t len)
{
    return c->c.to ? disk_zero(c->c.to, off, len, c->c.zero_flags) : child_zero(c->c.to_child, off, len, c->c.zero_flags);
}

static uint64_t size_of(Disk *d, BlockChild *c)
{
    return d ? disk_size(d) : child_size(c);
}

/* ---- making */

static unsigned cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);

    return CLAMP(n, 1, 64);
}

static Err *choose_sizes(Copy *c)
{
    BlockNode *n = node_skip_filters(c->target);
    uint32_t align = n->limits.zero_align;

    if (c->c.compress) {
        align = c->unit = c->c.chunk = n->limits.cluster;
        if (!n->drv->can_compress || !align)
            return err(ERR_UNSUPPORTED, "Compression not supported for this file format");
    }
    if (!c->c.chunk)
        c->c.chunk = 2 * MIB;
    if (c->c.chunk & (c->c.chunk - 1) || c->c.chunk < 512 || c->c.chunk > BLOCK_MAX_REQUEST)
        return err(ERR_INVALID, "a copy's chunk must be a power of two from 512 on, not %" PRIu32, c->c.chunk);
    if (c->c.workers)
        c->budget = (uint64_t)c->c.workers * MAX(c->c.chunk, SMALLEST);
    else if (c->c.compress)
        c->budget = (2 * cores() + 2) * (uint64_t)MAX(c->c.chunk, SMALLEST);
    else
        c->budget = MAX(8 * MIB, c->c.chunk);
    c->crowd.max = c->c.workers ? c->c.workers : c->c.compress ? 2 * cores() + 2 : 16;
    if (!c->unit)
        c->unit = align && !(align & (align - 1)) ? MIN(align, c->c.chunk) : 1;
    return NULL;
}

Err *copy_new(const CopyConfig *config, Copy **out)
{
    Copy *c = g_new0(Copy, 1);
    uint64_t size = size_of(config->from, config->from_child);
    Err *e;

    *out = NULL;
    c->c = *config;
    c->source = c->c.from ? disk_node(c->c.from) : c->c.from_child->node;
    c->target = c->c.to ? disk_node(c->c.to) : c->c.to_child->node;
    c->end = c->c.off >= size ? c->c.off : c->c.len > size - c->c.off ? size : c->c.off + c->c.len;
    c->stats.total = c->end - c->c.off;
    c->offload = c->c.offload && c->c.from && c->c.to && !c->c.compress && c->c.sparse;
    e = choose_sizes(c);
    if (e) {
        g_free(c);
        return e;
    }
    *out = c;
    return NULL;
}

void copy_free(Copy *c)
{
    if (!c)
        return;
    arena_free(c->buffers);
    g_free(c);
}

const CopyStats *copy_stats(const Copy *c)
{
    return &c->stats;
}

bool copy_failed_reading(const Copy *c, uint64_t *off)
{
    if (off)
        *off = c->failed_at;
    return c->failed_reading;
}

/* ---- what workers share */

/* Waits until there is room for one more; NULL: no memory. Whoever is in order asks in that order. */
static void *buffer_take(Copy *c, uint64_t len)
{
    void *buf;

    if (!c->buffers)
        c->buffers = arena_new(c->budget);
    if (!c->buffers)
        return NULL;
    while (!(buf = arena_take(c->buffers, len)))
        co_queue_wait(&c->buffer_wanted);
    return buf;
}

static void buffer_give(Copy *c, void *buf, uint64_t len)
{
    arena_give(c->buffers, buf, len);
    co_queue_wake_all(&c->buffer_wanted);
}

static void wait_for_turn(Copy *c, const Piece *p)
{
    while (c->c.in_order && c->turn < p->number)
        co_queue_wait(&c->turn_wanted);
}

/* The others go on when this coroutine next yields: that is when its write has begun. */
static void pass_turn(Copy *c, const Piece *p)
{
    if (c->c.in_order && c->turn == p->number) {
        c->turn++;
        co_queue_wake_all(&c->turn_wanted);
    }
}

static void note_failure(Copy *c, bool reading, uint64_t off)
{
    if (c->failed)
        return;
    c->failed = true;
    c->failed_reading = reading;
    c->failed_at = off;
}

static void advance(Copy *c, uint64_t done)
{
    c->stats.done += done;
    if (c->c.progress)
        c->c.progress(c->c.opaque, &c->stats);
}

/* Waits until the next write is due; `len` bytes are the one after that. */
static void obey_rate(Copy *c, uint64_t len)
{
    int64_t now, due;

    if (!c->c.rate)
        return;
    now = loop_now();
    due = MAX(c->next_write, now);
    c->next_write = due + (int64_t)((double)len * 1e9 / (double)c->c.rate);
    if (due > now)
        co_sleep(due - now);
}

/* ---- reading */

static int read_plain(Copy *c, uint64_t off, uint8_t *buf, uint64_t len)
{
    IoVec q = IOV_BUF(buf, len);
    int ret = do_read(c, off, &q);

    if (ret >= 0)
        c->stats.read += len;
    return ret;
}

/* After an error: in ever smaller parts, so that as little as possible is lost. */
static void read_salvaging(Copy *c, uint64_t off, uint8_t *buf, uint64_t len, int error)
{
    uint32_t least = MAX(512, c->source->limits.request_align);
    uint64_t part = len > 64 * KIB ? 64 * KIB : len > 4 * KIB ? 4 * KIB : least;

    if (len <= least) {
        memset(buf, 0, len);
        c->stats.lost += len;
        if (c->c.read_error)
            c->c.read_error(c->c.opaque, off, len, -error);
        return;
    }
    for (uint64_t n; len; off += n, buf += n, len -= n) {
        int ret;

        n = MIN(part - off % part, len);
        ret = read_plain(c, off, buf, n);
        if (ret < 0)
            read_salvaging(c, off, buf, n, ret);
    }
}

static int read_data(Copy *c, uint64_t off, void *buf, uint64_t len)
{
    int ret = read_plain(c, off, buf, len);

    if (ret < 0 && c->c.salvage) {
        read_salvaging(c, off, buf, len, ret);
        return 0;
    }
    if (ret < 0)
        note_failure(c, true, off);
    return ret;
}

/* ---- writing */

static int write_zeroes(Copy *c, uint64_t off, uint64_t len)
{
    uint64_t to = off - c->c.off + c->c.to_off;
    int ret = 0;

    c->stats.saved += len;
    if (c->c.target_is_zero)
        return 0;
    for (uint64_t n; len && ret >= 0; to += n, off += n, len -= n) {
        n = MIN(len, ZERO_MAX);
        obey_rate(c, 0);
        ret = do_zero(c, to, n);
    }
    if (ret < 0)
        note_failure(c, false, to);
    return MIN(ret, 0);
}

/* A cluster that is not written whole, at either end of the range, is not compressed. */
static bool compresses(const Copy *c, uint64_t to, uint64_t len)
{
    return c->c.compress && !(to % c->unit) && (!(len % c->unit) || to + len == size_of(c->c.to, c->c.to_child));
}

static int write_run(Copy *c, uint64_t off, uint8_t *buf, uint64_t len)
{
    uint64_t to = off - c->c.off + c->c.to_off;
    IoVec q = IOV_BUF(buf, len);
    int ret = do_write(c, to, &q, compresses(c, to, len) ? REQ_COMPRESSED : 0);

    if (ret < 0)
        note_failure(c, false, to);
    else
        c->stats.written += len;
    return MIN(ret, 0);
}

/* How many of the bytes, in steps of the target's units, are zero (or are not), from the first on. */
static uint64_t same_run(const Copy *c, uint64_t to, const uint8_t *buf, uint64_t len, bool zero)
{
    uint32_t step = MAX(c->unit, MIN(c->c.sparse, 4 * KIB));
    uint64_t at = 0;

    for (uint64_t n; at < len; at += n) {
        n = MIN(step - (to + at) % step, len - at);
        if (buf_is_zero(buf + at, n) != zero)
            break;
    }
    return at;
}

/* The run that begins `buf`. Zeroes that are too few to be a hole belong to data. */
static uint64_t next_run(const Copy *c, uint64_t to, const uint8_t *buf, uint64_t len, bool *zero)
{
    uint64_t at = same_run(c, to, buf, len, true), hole;

    *zero = at == len || at >= c->c.sparse;
    if (*zero)
        return at;
    for (; at < len; at += hole) {
        at += same_run(c, to + at, buf + at, len - at, false);
        hole = same_run(c, to + at, buf + at, len - at, true);
        if (hole >= c->c.sparse)
            break;
    }
    return at;
}

static int write_runs(Copy *c, uint64_t off, uint8_t *buf, uint64_t len)
{
    int ret = 0;

    for (uint64_t n; len && ret >= 0; off += n, buf += n, len -= n) {
        bool zero = false;

        n = len;
        if (c->c.sparse && !c->c.skip_zero_detection)
            n = next_run(c, off - c->c.off + c->c.to_off, buf, len, &zero);
        ret = zero ? write_zeroes(c, off, n) : write_run(c, off, buf, n);
    }
    return ret;
}

/* ---- the host copies */

/* A few refusals in a row: these images are not of a kind that the host can copy. */
#define OFFLOAD_TRIES 4

/* 0, or -ENOTSUP: read it and write it. */
static int copy_offloaded(Copy *c, const Piece *p)
{
    int ret;

    wait_for_turn(c, p);
    obey_rate(c, p->len);
    pass_turn(c, p);
    ret = disk_copy(c->c.from, p->off, c->c.to, p->off - c->c.off + c->c.to_off, p->len);
    if (ret < 0) {
        c->offload_refused++;
        return -ENOTSUP;        /* of other errors, too: reading and writing tell which side it was */
    }
    c->offload_refused = 0;
    c->stats.saved += p->len;
    return 0;
}

/* ---- pieces */

static int copy_data(Copy *c, Piece *p)
{
    int ret;

    if (!p->buf)
        p->buf = buffer_take(c, p->len);
    ret = p->buf ? read_data(c, p->off, p->buf, p->len) : -ENOMEM;
    wait_for_turn(c, p);
    if (ret >= 0) {
        obey_rate(c, p->len);
        pass_turn(c, p);
        ret = write_runs(c, p->off, p->buf, p->len);
    }
    return MIN(ret, 0);
}

/* sparse 0: zeroes are data like any other. */
static int copy_zero(Copy *c, Piece *p)
{
    int ret = 0;

    wait_for_turn(c, p);
    pass_turn(c, p);
    if (c->c.sparse)
        return write_zeroes(c, p->off, p->len);
    for (uint64_t done = 0, n; done < p->len && ret >= 0; done += n) {
        n = MIN(c->c.chunk, p->len - done);
        void *buf = buffer_take(c, n);
        if (!buf)
            return -ENOMEM;
        memset(buf, 0, n);
        obey_rate(c, n);
        ret = write_run(c, p->off + done, buf, n);
        buffer_give(c, buf, n);
    }
    return ret;
}

static int copy_piece(Copy *c, Piece *p)
{
    int ret = 0;

    switch (p->kind) {
    case KIND_DATA:
        ret = -ENOTSUP;
        if (c->offload && c->offload_refused < OFFLOAD_TRIES)
            ret = copy_offloaded(c, p);
        if (ret == -ENOTSUP)
            ret = copy_data(c, p);
        break;
    case KIND_ZERO:
        ret = copy_zero(c, p);
        break;
    case KIND_BELOW:
        c->stats.saved += p->len;
        wait_for_turn(c, p);
        break;
    }
    pass_turn(c, p);
    if (p->buf)
        buffer_give(c, p->buf, p->len);
    if (ret >= 0)
        advance(c, p->len);
    return ret;
}

static int run_piece(void *arg)
{
    Piece *p = arg;
    int ret = copy_piece(p->copy, p);

    g_free(p);
    return ret;
}

/* ---- planning */

/* What is at `off`, and how far that goes at least. */
static int look(Copy *c, View *v, uint64_t off, Kind *kind, uint64_t *end)
{
    Extent x;
    int ret;

    if (off < v->off || off >= v->end) {
        ret = node_extent_above(c->source, c->c.base, true, off, MIN(c->end - off, ASK_MAX), &x);
        if (ret < 0 && !c->c.salvage) {
            note_failure(c, true, off);
            return ret;
        }
        if (ret < 0)
            x = (Extent){ .len = MIN(c->end - off, c->c.chunk), .flags = EXTENT_DATA | EXTENT_ALLOCATED };
        v->off = off;
        v->end = off + x.len;
        v->kind = c->c.above && !(x.flags & EXTENT_ALLOCATED) ? KIND_BELOW
                  : x.flags & EXTENT_ZERO ? KIND_ZERO : KIND_DATA;
    }
    *kind = v->kind;
    *end = MIN(v->end, c->end);
    return 0;
}

/* How far `off` is into a unit of the target. */
static uint64_t over(const Copy *c, uint64_t off)
{
    return (off - c->c.off + c->c.to_off) & (c->unit - 1);
}

/* The next border of a unit at or after `off`, cut at `limit`. */
static uint64_t border(const Copy *c, uint64_t off, uint64_t limit)
{
    return over(c, off) ? MIN(off + c->unit - over(c, off), limit) : off;
}

/* May it be read and written with the data of its unit? Compression needs whole units, whatever is in them. */
static bool joins(const Copy *c, Kind kind)
{
    return kind != KIND_BELOW || c->c.compress;
}

/* Data from p->off, to `end` at least; what joins it does up to the next border. */
static int plan_data(Copy *c, View *v, Piece *p, uint64_t end, uint64_t limit)
{
    uint64_t stop = MIN(p->off + c->c.chunk - over(c, p->off), limit);

    while (end < stop) {
        uint64_t next;
        Kind kind;
        int ret = look(c, v, end, &kind, &next);

        if (ret < 0)
            return ret;
        if (!joins(c, kind) || (kind != KIND_DATA && !over(c, end)))
            break;
        end = kind == KIND_DATA ? next : MIN(next, border(c, end, stop));
    }
    p->kind = KIND_DATA;
    p->len = MIN(end, stop) - p->off;
    return 0;
}

/* The piece that begins at p->off and does not go beyond `limit`. */
static int plan(Copy *c, View *v, Piece *p, uint64_t limit)
{
    uint64_t end, next;
    Kind kind, then;
    int ret = look(c, v, p->off, &kind, &end);

    if (ret < 0)
        return ret;
    end = MIN(end, limit);
    if (kind == KIND_DATA)
        return plan_data(c, v, p, end, limit);
    for (then = kind; then == kind && end < limit && end - p->off < ASK_MAX; end = then == kind ? MIN(next, limit) : end) {
        ret = look(c, v, end, &then, &next);
        if (ret < 0)
            return ret;
    }
    p->kind = kind;
    p->len = end - p->off;
    if (end == limit || !over(c, end) || !joins(c, kind) || !joins(c, then))
        return 0;
    /* It ends within a unit of which the rest is data: that unit is the data's. */
    if (over(c, end) < p->len) {
        p->len -= over(c, end);
        return 0;
    }
    return plan_data(c, v, p, end, limit);
}

/* ---- entries */

static int run_all(Copy *c)
{
    uint64_t off = c->c.off;
    View v = { 0 };

    while (off < c->end && !c->crowd.status) {
        Piece *p = g_new(Piece, 1);
        int ret;

        *p = (Piece){ .copy = c, .off = off };
        ret = c->c.cancel && *c->c.cancel ? -ECANCELED : plan(c, &v, p, c->end);
        if (ret < 0) {
            g_free(p);
            return ret;
        }
        p->number = c->pieces++;
        off += p->len;
        if (p->kind == KIND_DATA && !c->offload)
            p->buf = buffer_take(c, p->len);
        crowd_start(&c->crowd, run_piece, p);
    }
    return 0;
}

int copy_run(Copy *c)
{
    int ret = run_all(c), status = crowd_wait(&c->crowd);

    return status < 0 ? status : ret;
}

int copy_range(Copy *c, uint64_t off, uint64_t len, bool *read_failed)
{
    uint64_t end = off + len;
    int ret = 0;

    c->failed = false;
    end = MIN(end, c->end);
    while (off < end && ret >= 0) {
        Piece p = { .copy = c, .off = off };
        View v = { 0 };             /* jobs' sources change while they are copied */

        ret = plan(c, &v, &p, end);
        if (ret >= 0)
            ret = copy_piece(c, &p);
        off += p.len;
    }
    if (read_failed)
        *read_failed = ret < 0 && c->failed_reading;
    return ret;
}
