/* SPDX-License-Identifier: MIT */
/*
 * Requests on a node, between whoever asks and the driver: what is not aligned
 * is widened, what is too long is split, what a driver cannot do is done by
 * other means (zeroes are written, FUA becomes a flush), and what changes the
 * node is noted (bitmaps, size, generation for flushes).
 *
 * Every read and write is a Range of node->tracked. Widened writes read the
 * rest of their blocks first, so they are alone on those blocks.
 */
#include <string.h>

#include "block/bitmap.h"
#include "block/block-priv.h"

#define ZERO_BUF (64 * 1024)            /* written over and over where a driver cannot zero */
#define ZERO_MANY 16                    /* times in one request */

static inline uint64_t down(uint64_t x, uint32_t align) { return x & ~(uint64_t)(align - 1); }
static inline uint64_t up(uint64_t x, uint32_t align) { return down(x + align - 1, align); }

static inline bool is_aligned(const BlockNode *n, uint64_t off, uint64_t len)
{
    return !((off | len) & (n->limits.request_align - 1));
}

/* How much of q, of `len` bytes, the driver takes at once. */
static uint64_t one_transfer(const BlockNode *n, const IoVec *q, uint64_t len)
{
    const BlockLimits *l = &n->limits;
    uint64_t most = l->max_transfer ? down(l->max_transfer, l->request_align) : down(INT32_MAX, 4096);

    return MIN(MAX(most, l->request_align), len);
}

/* More pieces than the driver takes: through a buffer of its own. */
static int bounce(BlockNode *n, bool write, uint64_t off, const IoVec *q, unsigned flags)
{
    void *buf = block_buf(n, q->len);
    int ret;

    if (!buf)
        return -ENOMEM;
    if (write) {
        iov_read(q, 0, buf, q->len);
        ret = n->drv->write(n, off, &IOV_BUF(buf, q->len), flags);
    } else {
        ret = n->drv->read(n, off, &IOV_BUF(buf, q->len), flags);
        if (!ret)
            iov_write(q, 0, buf, q->len);
    }
    block_buf_free(buf);
    return ret;
}

/* Aligned, any length. */
static int transfer(BlockNode *n, bool write, uint64_t off, const IoVec *q, unsigned flags)
{
    uint64_t done = 0;

    while (done < q->len) {
        uint64_t now = one_transfer(n, q, q->len - done);
        IoVec part = now == q->len ? *q : iov_slice(q, done, now);
        int ret;

        if (n->limits.max_iov && part.n > n->limits.max_iov)
            ret = bounce(n, write, off + done, &part, flags);
        else
            ret = (write ? n->drv->write : n->drv->read)(n, off + done, &part, flags);
        if (ret)
            return ret;
        done += now;
    }
    return 0;
}

/* ---- requests that do not meet the driver's alignment */

typedef struct Widened {
    uint64_t off, len;          /* as the driver sees it */
    size_t head, tail;          /* bytes before and behind what was asked for */
    uint8_t *before, *behind;   /* a block each, or NULL; one and the same if there is only one block */
    struct iovec *v;
    IoVec q;
} Widened;

static void widened_free(Widened *w)
{
    block_buf_free(w->before);
    block_buf_free(w->behind);
    g_free(w->v);
}

/* False: no memory. */
static bool widen(BlockNode *n, uint64_t off, const IoVec *q, Widened *w)
{
    const uint32_t align = n->limits.request_align;
    unsigned k = 0;
    size_t covered;

    *w = (Widened){ .off = down(off, align), .head = off & (align - 1) };
    w->len = up(off + q->len, align) - w->off;
    w->tail = w->len - w->head - q->len;
    w->v = try_alloc(q->n + 2, sizeof(*w->v));
    if (w->head)
        w->before = block_buf(n, align);
    if (w->tail)
        w->behind = block_buf(n, align);
    if (!w->v || (w->head && !w->before) || (w->tail && !w->behind)) {
        widened_free(w);
        return false;
    }
    if (w->head)
        w->v[k++] = (struct iovec){ w->before, w->head };
    k += iov_elements(q, w->v + k, q->n, &covered);
    if (w->tail)
        w->v[k++] = (struct iovec){ w->behind + align - w->tail, w->tail };
    w->q = (IoVec){ w->v, k, 0, w->len };
    return true;
}

/* For breakpoints and faults of tests (blkdebug). */
static inline void event(BlockNode *n, const char *name)
{
    if (n->drv->event)
        n->drv->event(n, name);
}

static int read_block(BlockNode *n, uint64_t off, void *buf)
{
    const uint32_t align = n->limits.request_align;

    if (off < n->size)
        return n->drv->read(n, off, &IOV_BUF(buf, align), 0);
    memset(buf, 0, align);              /* beyond the end, of a node that grows */
    return 0;
}

/* Fills the parts of the edge blocks that the write leaves as they are. */
static int read_edges(BlockNode *n, const Widened *w)
{
    const uint32_t align = n->limits.request_align;
    int ret = 0;

    if (w->head) {
        event(n, "pwritev_rmw_head");
        ret = read_block(n, w->off, w->before);
        event(n, "pwritev_rmw_after_head");
    }
    if (ret || !w->tail)
        return ret;
    if (w->head && w->len == align) {           /* the same block */
        memcpy(w->behind, w->before, align);
        return 0;
    }
    event(n, "pwritev_rmw_tail");
    ret = read_block(n, w->off + w->len - align, w->behind);
    event(n, "pwritev_rmw_after_tail");
    return ret;
}

static int read_unaligned(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Widened w;

    if (!widen(n, off, q, &w))
        return -ENOMEM;
    int ret = transfer(n, false, w.off, &w.q, flags);
    widened_free(&w);
    return ret;
}

/* The node has become shorter while the request waited. */
static bool cut_off(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    return off + len > n->size && !(flags & REQ_GROWS) && off + len > node_size_now(n);
}

int node_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    const uint64_t len = q->len;
    Range r;
    int ret;

    if (!len || (flags & REQ_PREFETCH && n->drv->kind != DRIVER_FILTER))
        return 0;               /* copying up is a filter's work */
    if (!n->drv->read)
        return -ENOTSUP;
    node_busy(n);
    range_enter(&n->tracked, &r, off, len, flags & REQ_SERIALISING);
    if (cut_off(n, off, len, flags))
        ret = -EIO;
    else
        ret = is_aligned(n, off, len) ? transfer(n, false, off, q, flags) : read_unaligned(n, off, q, flags);
    range_leave(&n->tracked, &r);
    node_idle(n);
    return ret;
}

/* ---- writing */

enum { REQ_GIVEN_BACK = 1 << 17 };          /* a discard: nothing is stored there */

/* What every change leaves behind it, before its request ends. */
static void wrote(BlockNode *n, uint64_t off, uint64_t len, unsigned flags, int ret)
{
    n->write_gen++;
    if (!(flags & REQ_UNCHANGED)) {
        for (DirtyBitmap *b = n->bitmaps; b; b = b->next) {
            if (!b->disabled && off < b->size)
                bitmap_mark(b, off, MIN(len, b->size - off));
        }
    }
    if (n->write_threshold && !(flags & REQ_GIVEN_BACK) && off + len > n->write_threshold) {
        uint64_t threshold = n->write_threshold;

        n->write_threshold = 0;
        if (n->graph->over)
            n->graph->over(n->graph->over_opaque, n, threshold, off + len - threshold);
    }
    if (ret)
        return;
    if (!(flags & REQ_GIVEN_BACK))
        n->written_to = MAX(n->written_to, off + len);
    if (off + len > n->size) {
        n->size = off + len;
        node_resized(n);
    }
}

/* Zeroes of `len` bytes by writing them; aligned. */
static int write_zeroes(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    size_t piece = MIN(len, MAX((uint64_t)ZERO_BUF, n->limits.request_align));
    void *buf = block_buf(n, piece);
    struct iovec v[ZERO_MANY];
    int ret = 0;

    if (!buf)
        return -ENOMEM;
    memset(buf, 0, piece);
    while (len && !ret) {
        uint64_t now = 0;
        unsigned k = 0;

        for (; k < ZERO_MANY && now < len; k++) {
            v[k] = (struct iovec){ buf, MIN(piece, len - now) };
            now += v[k].iov_len;
        }
        ret = transfer(n, true, off, &(IoVec){ v, k, 0, now }, flags);
        off += now;
        len -= now;
    }
    block_buf_free(buf);
    return ret;
}

/* The first piece of a zero or discard request: cuts lie on the driver's best unit where they can. */
static uint64_t one_piece(uint64_t off, uint64_t len, uint64_t unit, uint64_t most)
{
    uint64_t head = off % unit, tail = (off + len) % unit;

    if (head)
        len = MIN(len, unit - head);
    else if (len >= unit && tail)
        len -= tail;
    if (most && len > most)
        len = most >= unit ? most - most % unit : most;
    return len;
}

/* Aligned zeroes. */
static int zero_aligned(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    const BlockLimits *l = &n->limits;
    uint64_t unit = MAX(l->zero_align, l->request_align), most = l->max_zero ? down(l->max_zero, l->request_align) : 0;

    event(n, "pwritev_zero");
    while (len) {
        uint64_t now = one_piece(off, len, unit, most);
        int ret = -ENOTSUP;

        if (n->drv->zero)
            ret = n->drv->zero(n, off, now, flags & n->zero_flags);
        if (ret == -ENOTSUP) {
            if (flags & REQ_NO_FALLBACK)
                return ret;
            ret = write_zeroes(n, off, now, flags & n->write_flags);
        }
        if (ret)
            return ret;
        off += now;
        len -= now;
    }
    return 0;
}

/* Whole clusters, and what is left at the end of the node. */
static int write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    uint64_t unit = n->limits.cluster ? n->limits.cluster : MAX(q->len, 1), done = 0;

    if (!n->drv->write_compressed)
        return -ENOTSUP;
    if (off % unit)
        return -EINVAL;
    while (done < q->len) {
        IoVec part = iov_slice(q, done, MIN(unit, q->len - done));
        int ret = n->drv->write_compressed(n, off + done, &part);

        if (ret)
            return ret;
        done += part.len;
    }
    return 0;
}

/* Within a request that is tracked; aligned. */
static int write_aligned(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    if (flags & REQ_COMPRESSED)
        return write_compressed(n, off, q);
    event(n, "pwritev");
    if (n->detect_zeroes && iov_is_zero(q)) {
        bool unmap = n->detect_zeroes == 2 && n->discard;

        return zero_aligned(n, off, q->len, (flags & ~(unsigned)REQ_UNMAP) | (unmap ? REQ_UNMAP : 0));
    }
    return transfer(n, true, off, q, flags & n->write_flags);
}

/* What the driver does not do at once with FUA is flushed. */
static int finish_fua(BlockNode *n, unsigned flags, unsigned able, int ret)
{
    if (ret || !(flags & REQ_FUA) || able & REQ_FUA)
        return ret;
    return node_flush(n);
}

static int write_unaligned(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Widened w;

    if (flags & REQ_COMPRESSED)
        return -EINVAL;
    if (!widen(n, off, q, &w))
        return -ENOMEM;
    int ret = read_edges(n, &w);
    if (!ret)
        ret = write_aligned(n, w.off, &w.q, flags);
    widened_free(&w);
    return ret;
}

int node_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    const uint64_t len = q->len;
    const uint32_t align = n->limits.request_align;
    const uint64_t from = down(off, align);
    bool aligned = is_aligned(n, off, len), zeroes;
    Range r;
    int ret;

    if (!len)
        return flags & REQ_FUA ? node_flush(n) : 0;
    if (!n->drv->write)
        return -ENOTSUP;
    node_busy(n);
    range_enter(&n->tracked, &r, from, up(off + len, align) - from, !aligned || flags & REQ_SERIALISING);
    zeroes = n->detect_zeroes;      /* which calls it is may change meanwhile */
    if (cut_off(n, off, len, flags))
        ret = -EIO;
    else
        ret = aligned ? write_aligned(n, off, q, flags) : write_unaligned(n, off, q, flags);
    event(n, "pwritev_done");
    wrote(n, off, len, flags, ret);
    range_leave(&n->tracked, &r);
    ret = finish_fua(n, flags, zeroes || flags & REQ_COMPRESSED ? 0 : n->write_flags, ret);
    node_idle(n);
    return ret;
}

/* A part of a block: the rest stays. */
static int zero_part(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    uint8_t *buf = g_malloc0(len);      /* less than a block */
    int ret = write_unaligned(n, off, &IOV_BUF(buf, len), flags & n->write_flags);

    g_free(buf);
    return ret;
}

static int zero_unaligned(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    const uint32_t align = n->limits.request_align;
    uint64_t end = off + len, first = up(off, align), last = down(end, align);
    int ret = 0;

    if (flags & REQ_NO_FALLBACK)
        return -ENOTSUP;
    if (first > last)                   /* all in one block */
        return zero_part(n, off, len, flags);
    if (off < first)
        ret = zero_part(n, off, first - off, flags);
    if (!ret && first < last)
        ret = zero_aligned(n, first, last - first, flags);
    if (!ret && last < end)
        ret = zero_part(n, last, end - last, flags);
    return ret;
}

/* Within a request that is tracked. */
static int zero_any(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    return is_aligned(n, off, len) ? zero_aligned(n, off, len, flags) : zero_unaligned(n, off, len, flags);
}

int node_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    const uint32_t align = n->limits.request_align;
    bool aligned = is_aligned(n, off, len);
    uint64_t from = down(off, align);
    Range r;
    int ret;

    if (!len)
        return flags & REQ_FUA ? node_flush(n) : 0;
    if (!n->drv->write && !n->drv->zero)
        return -ENOTSUP;
    if (!n->discard)
        flags &= ~(unsigned)REQ_UNMAP;
    node_busy(n);
    range_enter(&n->tracked, &r, from, up(off + len, align) - from, !aligned || flags & REQ_SERIALISING);
    ret = cut_off(n, off, len, flags) ? -EIO : zero_any(n, off, len, flags);
    wrote(n, off, len, flags, ret);
    range_leave(&n->tracked, &r);
    ret = finish_fua(n, flags, n->zero_flags & n->write_flags, ret);
    node_idle(n);
    return ret;
}

/* ---- discard, flush */

static int discard_aligned(BlockNode *n, uint64_t off, uint64_t len)
{
    const BlockLimits *l = &n->limits;
    uint64_t unit = MAX(l->discard_align, l->request_align);
    uint64_t most = l->max_discard ? down(l->max_discard, l->request_align) : 0;

    while (len) {
        uint64_t now = one_piece(off, len, unit, most);
        int ret = n->drv->discard(n, off, now);

        if (ret && ret != -ENOTSUP)
            return ret;
        off += now;
        len -= now;
    }
    return 0;
}

/* Advice: parts of blocks are left, and so is all of it where the node does not want any. */
int node_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    const uint32_t align = n->limits.request_align;
    uint64_t first = up(off, align), last = off + len == n->size ? up(off + len, align) : down(off + len, align);
    Range r;

    if (!n->discard || !n->drv->discard || first >= last)
        return 0;
    node_busy(n);
    range_enter(&n->tracked, &r, first, last - first, false);
    int ret = -EIO;                     /* the node has become shorter while the request waited */
    if (last <= up(n->size, align)) {
        ret = discard_aligned(n, first, last - first);
        wrote(n, first, MIN(last, n->size) - first, REQ_GIVEN_BACK, ret);
    }
    range_leave(&n->tracked, &r);
    node_idle(n);
    return ret;
}

/* The driver's own part; several that wait are served by one. */
static int flush_driver(BlockNode *n)
{
    uint64_t want = n->write_gen;
    int ret = 0;

    if (!n->drv->flush || (n->drv->kind == DRIVER_PROTOCOL && n->cache_no_flush))
        return 0;
    while (n->flush_active)
        co_queue_wait(&n->flushing);
    if (n->flushed_gen >= want)
        return 0;
    n->flush_active = true;
    want = n->write_gen;
    ret = n->drv->flush(n);
    n->flush_active = false;
    if (!ret)
        n->flushed_gen = want;
    co_queue_wake_all(&n->flushing);
    return ret;
}

int node_flush(BlockNode *n)
{
    int ret;

    if (n->read_only)
        return 0;
    node_busy(n);
    if (n->file) {
        block_event(n->file, "flush_to_os");
        block_event(n->file, "flush_to_disk");
    }
    ret = flush_driver(n);
    for (BlockChild *c = n->children; c && !ret; c = c->next) {
        if (c->node && c->perm & (PERM_WRITE | PERM_WRITE_UNCHANGED | PERM_RESIZE))
            ret = node_flush(c->node);
    }
    node_idle(n);
    return ret;
}

/* ---- size */

uint64_t node_size_now(BlockNode *n)
{
    if (n->drv->size_now)
        n->size = n->drv->size_now(n);
    return n->size;
}

bool node_grows(const BlockNode *n)
{
    while (n->drv->kind == DRIVER_FILTER && !n->drv->grows && n->file)
        n = n->file->node;
    return n->drv->grows;
}

/* Where a longer backing file would shine through the new end. */
static int hide_backing(BlockNode *n, uint64_t was)
{
    uint64_t below = n->backing ? node_size_now(n->backing->node) : 0;

    return below > was && n->size > was ? zero_any(n, was, MIN(below, n->size) - was, 0) : 0;
}

Err *node_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    uint64_t was = n->size;
    Range r;
    Err *e = NULL;

    if (len > BLOCK_MAX_SIZE)
        return err(ERR_INVALID, "%" G_GUINT64_FORMAT " bytes are more than an image may have", len);
    if (n->read_only)
        return err(ERR_INVALID, "Image is read-only");
    node_busy(n);
    /* Nobody is at work on what comes or goes. */
    range_enter(&n->tracked, &r, MIN(was, len), UINT64_MAX - MIN(was, len), true);
    if (n->drv->resize) {
        e = n->drv->resize(n, len, exact, p);
    } else if (n->drv->kind == DRIVER_FILTER && n->file) {
        e = node_resize(n->file->node, len, exact, p);
        n->size = n->file->node->size;
    } else {
        e = err(ERR_UNSUPPORTED, "Image format driver does not support resize ('%s')", n->drv->name);
    }
    if (!e) {
        int ret = hide_backing(n, was);

        if (ret)
            e = err_errno(-ret, "cannot hide the backing file's data behind the old end");
        n->write_gen++;
        node_resized(n);
    }
    range_leave(&n->tracked, &r);
    node_idle(n);
    return e;
}

/* ---- the host moves the bytes */

int node_copy(BlockNode *from, uint64_t from_off, BlockNode *to, uint64_t to_off, uint64_t len)
{
    Range a, b;
    int ret;

    if (!to->drv->copy || (to->drv->kind == DRIVER_PROTOCOL && from->drv != to->drv) || !len ||
        !is_aligned(from, from_off, len) || !is_aligned(to, to_off, len))
        return -ENOTSUP;
    node_busy(from);
    node_busy(to);
    range_enter(&from->tracked, &a, from_off, len, false);
    range_enter(&to->tracked, &b, to_off, len, false);
    ret = to->drv->copy(from, from_off, to, to_off, len);
    if (ret != -ENOTSUP)
        wrote(to, to_off, len, 0, ret);
    range_leave(&to->tracked, &b);
    range_leave(&from->tracked, &a);
    node_idle(to);
    node_idle(from);
    return ret;
}
