/* SPDX-License-Identifier: MIT */
/*
 * qcow2: writing. What lies in clusters of its own is written in place. For
 * the rest of a request clusters are taken in one run, what the guest did not
 * write of them is copied (COW) and written together with its data, and then
 * the L2 entries are changed, in memory.
 *
 * From before it looks at the entries until it has changed them, a write holds
 * a Qcow2Alloc over its guest clusters; other writes, zeroes and discards that
 * would change the same entries wait for it. Reads and writes in place do not.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

enum { ZERO_APART = 64 << 10 };     /* zeroes around the data: longer ones are not written with it, but zeroed */

Qcow2Alloc *qcow2_alloc_find(Qcow2 *s, uint64_t off, uint64_t len)
{
    Qcow2Alloc *best = NULL;
    for (Qcow2Alloc *a = s->allocs; a; a = a->next) {
        if (a->first < off + len && off < a->end && (!best || a->first < best->first))
            best = a;
    }
    return best;
}

void qcow2_alloc_begin(Qcow2 *s, Qcow2Alloc *a, uint64_t off, uint64_t len)
{
    *a = (Qcow2Alloc){ .first = off - qcow2_in_cluster(s, off), .end = qcow2_cluster_up(s, off + len), .next = s->allocs };
    s->allocs = a;
}

void qcow2_alloc_end(Qcow2 *s, Qcow2Alloc *a)
{
    Qcow2Alloc **at = &s->allocs;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    co_queue_wake_all(&a->waiting);
}

/* Where the data comes from: memory, or a place in another node. */
typedef struct Source { const IoVec *q; BlockNode *from; uint64_t from_off; } Source;

/* A run of clusters that get new L2 entries. */
typedef struct Run {
    uint64_t off, len;              /* guest bytes of the request */
    uint64_t clusters, host;        /* host: of the first cluster */
    bool reuse, fresh;              /* reuse: the clusters have their places already; fresh: these read as zeroes */
    uint64_t head, tail;            /* bytes before and after that must be in the new clusters, too */
    uint64_t entry[2], bitmap[2];   /* old ones of the first and the last cluster */
} Run;

/* ---- the plan */

/* A cluster of its own that the entry names, whatever it reads as. */
static bool reusable(const Qcow2 *s, uint64_t entry)
{
    return (entry & QCOW2_COPIED) && !(entry & QCOW2_COMPRESSED) && ((entry & QCOW2_L2_OFFSET) || qcow2_has_data_file(s));
}

static bool entry_ok(const Qcow2 *s, uint64_t guest, uint64_t entry, uint64_t bitmap)
{
    Qcow2Kind kind;
    for (unsigned sub = 0; sub < (s->extended ? QCOW2_SUBCLUSTERS : 1u); sub++) {
        if (!qcow2_classify(s, entry, bitmap, sub, &kind))
            return false;
    }
    return !qcow2_has_data_file(s) || !reusable(s, entry) || (entry & QCOW2_L2_OFFSET) == guest;
}

/* Takes the cluster at `guest` into the run; false: the run ends before it. */
static bool run_add(const Qcow2 *s, Run *r, uint64_t entry, uint64_t bitmap)
{
    bool reuse = reusable(s, entry);
    uint64_t host = entry & QCOW2_L2_OFFSET;
    if (!r->clusters) {
        r->reuse = reuse;
        r->host = host;
        r->entry[0] = entry;
        r->bitmap[0] = bitmap;
    } else if (reuse != r->reuse || (reuse && host != r->host + (r->clusters << s->cluster_bits))) {
        return false;
    }
    r->clusters++;
    r->entry[1] = entry;
    r->bitmap[1] = bitmap;
    return true;
}

/* How far one run goes from r->off on. */
static int plan(Qcow2 *s, Run *r)
{
    uint64_t end = r->off + r->len, at = r->off - qcow2_in_cluster(s, r->off);
    bool go = true;
    while (go && at < end) {
        Qcow2Slice sl;
        int ret = qcow2_slice_get(s, at, &sl);
        if (ret)
            return ret;
        for (unsigned i = sl.index; go && i < sl.count && at < end; i++) {
            uint64_t entry = sl.e ? qcow2_l2(s, &sl, i) : 0, bitmap = sl.e ? qcow2_l2_bitmap(s, &sl, i) : 0;
            if (!entry_ok(s, at, entry, bitmap)) {
                qcow2_slice_put(&sl);
                return qcow2_corrupt(s, true, sl.table, "L2 entry %#" PRIx64 " of guest offset %#" PRIx64 " makes no sense",
                                     entry, at);
            }
            go = run_add(s, r, entry, bitmap);
            if (go)
                at += s->cluster_size;
        }
        qcow2_slice_put(&sl);
    }
    r->len = MIN(end, at) - r->off;
    return 0;
}

/* ---- what must be copied */

static uint64_t head_of(const Qcow2 *s, const Run *r)
{
    uint64_t entry = r->entry[0], bitmap = r->bitmap[0];
    uint32_t in = qcow2_in_cluster(s, r->off), in_sub = r->off & ((1u << s->sub_bits) - 1);
    unsigned sub = in >> s->sub_bits;
    Qcow2Kind kind = QCOW2_UNALLOCATED;
    qcow2_classify(s, entry, bitmap, s->extended ? sub : 0, &kind);
    if (r->reuse)
        return kind == QCOW2_NORMAL ? 0 : in_sub;
    if (!s->extended || kind == QCOW2_PACKED)
        return in;
    uint32_t have = bitmap & QCOW2_SUB_ALL_ALLOC;
    unsigned lowest = have ? __builtin_ctz(have) : QCOW2_SUBCLUSTERS;
    return lowest < sub ? in - (lowest << s->sub_bits) : in_sub;
}

static uint64_t tail_of(const Qcow2 *s, const Run *r)
{
    uint64_t entry = r->entry[1], bitmap = r->bitmap[1];
    uint32_t in = qcow2_in_cluster(s, r->off + r->len - 1), sub_size = 1u << s->sub_bits;
    uint32_t to_sub = sub_size - 1 - (in & (sub_size - 1));
    unsigned sub = in >> s->sub_bits;
    Qcow2Kind kind = QCOW2_UNALLOCATED;
    qcow2_classify(s, entry, bitmap, s->extended ? sub : 0, &kind);
    if (r->reuse)
        return kind == QCOW2_NORMAL ? 0 : to_sub;
    if (!s->extended || kind == QCOW2_PACKED)
        return s->cluster_size - 1 - in;
    uint32_t have = bitmap & QCOW2_SUB_ALL_ALLOC;
    unsigned highest = have ? 31 - __builtin_clz(have) : 0;
    return have && highest > sub ? ((highest + 1) << s->sub_bits) - 1 - in : to_sub;
}

static int zeroes(Qcow2 *s, void **out)
{
    if (!s->zeroes) {
        s->zeroes = block_buf(s->node.file->node, s->cluster_size);
        if (!s->zeroes)
            return -ENOMEM;
        memset(s->zeroes, 0, s->cluster_size);
    }
    *out = s->zeroes;
    return 0;
}

static int check_data(Qcow2 *s, uint64_t host, uint64_t len)
{
    if (s->stopped)
        return -EIO;
    return s->data == s->node.file ? qcow2_check_overlap(s, 0, host, len) : 0;
}

/* One side of the data: *len becomes 0 where nothing has to be written, *buf NULL: zeroes. */
static int side_read(Qcow2 *s, uint64_t guest, uint64_t host, uint64_t *len, bool fresh, uint8_t **buf)
{
    *buf = NULL;
    if (!*len)
        return 0;
    int zero = qcow2_reads_zero(s, guest, *len);
    if (zero < 0)
        return zero;
    if (!zero) {
        *buf = block_buf(s->data->node, *len);
        if (!*buf)
            return -ENOMEM;
        block_event(s->node.file, "cow_read");
        int ret = qcow2_read_guest(s, guest, &IOV_BUF(*buf, *len));
        if (ret)
            return ret;
        zero = buf_is_zero(*buf, *len);
    }
    if (!zero || s->header.crypt_method)
        return 0;
    if (fresh) {
        *len = 0;           /* it is zero there already */
        return 0;
    }
    if (*len >= ZERO_APART) {
        int ret = check_data(s, host, *len);
        if (!ret)
            ret = child_zero(s->data, host, *len, 0);
        *len = 0;
        return ret;
    }
    return 0;
}

/* ---- writing data */

static int write_encrypted(Qcow2 *s, uint64_t guest, uint64_t host, const IoVec *q)
{
    if (!s->crypt)
        return -EACCES;
    void *buf = block_buf(s->data->node, q->len);
    if (!buf)
        return -ENOMEM;
    iov_read(q, 0, buf, q->len);
    int ret = qcow2_encrypt(s, host, guest, buf, q->len);
    if (!ret)
        ret = child_write(s->data, host, &IOV_BUF(buf, q->len), 0);
    block_buf_free(buf);
    return ret;
}

static int put(Qcow2 *s, uint64_t guest, uint64_t host, const IoVec *q)
{
    int ret = check_data(s, host, q->len);
    if (ret)
        return ret;
    block_event(s->data, "write_aio");
    ret = s->header.crypt_method ? write_encrypted(s, guest, host, q) : child_write(s->data, host, q, 0);
    if (!ret)
        s->data_end = MAX(s->data_end, host + q->len);
    return ret;
}

static int put_source(Qcow2 *s, uint64_t guest, uint64_t host, const Source *src, uint64_t at, uint64_t len)
{
    if (src->q) {
        IoVec part = iov_slice(src->q, at, len);
        return put(s, guest, host, &part);
    }
    int ret = check_data(s, host, len);
    if (!ret)
        ret = child_copy(src->from, src->from_off + at, s->data, host, len);
    if (!ret)
        s->data_end = MAX(s->data_end, host + len);
    return ret;
}

/* Head, data and tail in one write. */
static int put_merged(Qcow2 *s, const Run *r, uint64_t host, uint8_t *head, uint8_t *tail, const Source *src, uint64_t at)
{
    IoVec mid = iov_slice(src->q, at, r->len);
    void *zero = NULL;
    int ret = (r->head && !head) || (r->tail && !tail) ? zeroes(s, &zero) : 0;
    struct iovec *v = ret ? NULL : try_alloc((size_t)mid.n + 2, sizeof(*v));
    if (!v)
        return -ENOMEM;
    unsigned n = 0;
    size_t covers;
    if (r->head)
        v[n++] = (struct iovec){ head ? head : zero, r->head };
    n += iov_elements(&mid, v + n, mid.n, &covers);
    if (r->tail)
        v[n++] = (struct iovec){ tail ? tail : zero, r->tail };
    IoVec all = iov_of(v, n);
    ret = put(s, r->off - r->head, host - r->head, &all);
    free(v);
    return ret;
}

static int put_side(Qcow2 *s, uint64_t guest, uint64_t host, uint8_t *buf, uint64_t len)
{
    void *zero = NULL;
    block_event(s->node.file, "cow_write");
    int ret = len && !buf ? zeroes(s, &zero) : 0;
    return ret || !len ? ret : put(s, guest, host, &IOV_BUF(buf ? buf : zero, len));
}

/* The run's data, and what is copied around it. head and tail of `r` stay what the entries will cover. */
static int write_run(Qcow2 *s, const Run *run, const Source *src, uint64_t at)
{
    Run r = *run;
    uint64_t host = r.host + qcow2_in_cluster(s, r.off);
    uint8_t *head = NULL, *tail = NULL;
    int ret = side_read(s, r.off - r.head, host - r.head, &r.head, r.fresh, &head);
    if (!ret)
        ret = side_read(s, r.off + r.len, host + r.len, &r.tail, r.fresh, &tail);
    if (!ret && src->q && (r.head || r.tail)) {
        ret = put_merged(s, &r, host, head, tail, src, at);
    } else if (!ret) {
        ret = put_side(s, r.off - r.head, host - r.head, head, r.head);
        if (!ret)
            ret = put_source(s, r.off, host, src, at, r.len);
        if (!ret)
            ret = put_side(s, r.off + r.len, host + r.len, tail, r.tail);
    }
    block_buf_free(head);
    block_buf_free(tail);
    return ret;
}

/* ---- L2 entries */

/* The subclusters of the cluster at `guest` that the run has written, as allocation bits. */
static uint64_t written_bits(const Qcow2 *s, const Run *r, uint64_t guest)
{
    uint64_t from = MAX(r->off - r->head, guest), to = MIN(r->off + r->len + r->tail, guest + s->cluster_size);
    unsigned a = (from - guest) >> s->sub_bits, b = (to - 1 - guest) >> s->sub_bits;
    return (QCOW2_SUB_ALL_ALLOC << a) & (QCOW2_SUB_ALL_ALLOC >> (31 - b));
}

static void link_one(Qcow2 *s, const Run *r, Qcow2Slice *sl, unsigned i, uint64_t k)
{
    uint64_t guest = r->off - qcow2_in_cluster(s, r->off) + (k << s->cluster_bits);
    uint64_t old = qcow2_l2(s, sl, i), bitmap = qcow2_l2_bitmap(s, sl, i);
    uint64_t entry = (r->host + (k << s->cluster_bits)) | QCOW2_COPIED;
    if (s->extended) {
        uint64_t bits = written_bits(s, r, guest);
        bitmap = old & QCOW2_COMPRESSED ? 0 : bitmap;
        bitmap = (bitmap | bits) & ~(bits << 32);
    }
    if (entry == old && bitmap == qcow2_l2_bitmap(s, sl, i))
        return;
    qcow2_l2_set(s, sl, i, entry, bitmap);
    if (!r->reuse)
        qcow2_free_entry(s, old, QCOW2_FREE_NEVER);
}

/* The run's entries; *done: how many clusters have theirs. */
static int link_run(Qcow2 *s, const Run *r, uint64_t *done)
{
    uint64_t guest = r->off - qcow2_in_cluster(s, r->off);
    for (*done = 0; *done < r->clusters;) {
        Qcow2Slice sl;
        int ret = qcow2_slice_get_own(s, guest + (*done << s->cluster_bits), &sl);
        if (ret)
            return ret;
        for (unsigned i = sl.index; i < sl.count && *done < r->clusters; i++)
            link_one(s, r, &sl, i, (*done)++);
        qcow2_slice_put(&sl);
    }
    return 0;
}

/* ---- the whole of a write */

static void run_clip(Qcow2 *s, Run *r, uint64_t clusters)
{
    if (clusters >= r->clusters)
        return;
    uint64_t first = r->off - qcow2_in_cluster(s, r->off);
    r->clusters = clusters;
    r->len = first + (clusters << s->cluster_bits) - r->off;
}

/* Places for a run that has none. */
static int run_place(Qcow2 *s, Run *r)
{
    if (qcow2_has_data_file(s)) {
        r->host = r->off - qcow2_in_cluster(s, r->off);
        return 0;
    }
    uint64_t got;
    int64_t host = qcow2_alloc_some(s, r->clusters, &got, &r->fresh);
    if (host < 0)
        return host;
    if ((uint64_t)host + (got << s->cluster_bits) > QCOW2_MAX_HOST) {
        qcow2_unalloc(s, host, got << s->cluster_bits);
        return -EFBIG;
    }
    r->host = host;
    run_clip(s, r, got);
    return 0;
}

static int do_run(Qcow2 *s, Qcow2Alloc *a, Run *r, const Source *src, uint64_t at)
{
    int ret = plan(s, r);
    bool mine = !r->reuse && !qcow2_has_data_file(s);
    if (!ret && !r->reuse)
        ret = run_place(s, r);
    if (ret)
        return ret;
    /* The last cluster's entry is known only if the run was not cut; it is cut at whole clusters, with no tail. */
    uint64_t end = r->off - qcow2_in_cluster(s, r->off) + (r->clusters << s->cluster_bits);
    r->head = head_of(s, r);
    r->tail = r->off + r->len == end ? 0 : tail_of(s, r);
    if (end < a->end) {             /* what is beyond the run is free for others */
        a->end = end;
        co_queue_wake_all(&a->waiting);
    }
    uint64_t linked = 0;
    ret = write_run(s, r, src, at);
    if (!ret)
        ret = link_run(s, r, &linked);
    if (ret && mine && linked < r->clusters)
        qcow2_unalloc(s, r->host + (linked << s->cluster_bits), (r->clusters - linked) << s->cluster_bits);
    return ret;
}

/* One step from `off` on: *done bytes of at most len. */
static int write_step(Qcow2 *s, uint64_t off, uint64_t len, const Source *src, uint64_t at, uint64_t *done)
{
    Qcow2Map m;
    int ret = qcow2_map(s, off, len, &m);
    if (ret)
        return ret;
    if (m.kind == QCOW2_NORMAL && m.copied) {
        *done = m.len;
        return put_source(s, off, m.host, src, at, m.len);
    }
    uint64_t first = off - qcow2_in_cluster(s, off);
    Qcow2Alloc *other = qcow2_alloc_find(s, first, off + len - first);
    if (other && other->first <= first) {
        co_queue_wait(&other->waiting);
        *done = 0;
        return 0;
    }
    if (other)
        len = other->first - off;
    Qcow2Alloc a;
    Run r = { .off = off, .len = len };
    qcow2_alloc_begin(s, &a, off, len);
    ret = do_run(s, &a, &r, src, at);
    qcow2_alloc_end(s, &a);
    *done = r.len;
    return ret;
}

static int write_source(Qcow2 *s, uint64_t off, uint64_t len, const Source *src)
{
    if (s->stopped || !s->data)
        return s->stopped ? -EIO : -ENOMEDIUM;
    for (uint64_t at = 0, done; at < len; at += done) {
        int ret = write_step(s, off + at, len - at, src, at, &done);
        if (ret)
            return ret;
    }
    return 0;
}

int qcow2_write_guest(Qcow2 *s, uint64_t off, const IoVec *q)
{
    return write_source(s, off, q->len, &(Source){ .q = q });
}

int qcow2_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Request r;
    qcow2_request_begin(s, &r);
    int ret = qcow2_write_guest(s, off, q);
    qcow2_request_end(s, &r);
    return ret;
}

/* ---- bytes that the host moves, from another file */

int qcow2_copy(BlockNode *from, uint64_t from_off, BlockNode *n, uint64_t off, uint64_t len)
{
    Qcow2 *s = qcow2_of(n);
    Qcow2Request r;

    if (s->header.crypt_method || !s->data || from == s->data->node || from == n)
        return -ENOTSUP;
    qcow2_request_begin(s, &r);
    int ret = write_source(s, off, len, &(Source){ .from = from, .from_off = from_off });
    qcow2_request_end(s, &r);
    return ret;
}
