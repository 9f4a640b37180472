/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing a VMDK: which extent, which grain. Compressed grains are
 * inflated and deflated in worker threads; one that changes is written anew at
 * the end of the file, since its new form may be longer.
 */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>

#include "block/vmdk/vmdk.h"

/* The extent that has this byte of the disk. */
static VmdkExtent *extent_at(Vmdk *s, uint64_t off)
{
    uint32_t lo = 0, hi = s->count;

    while (hi - lo > 1) {
        uint32_t mid = lo + (hi - lo) / 2;

        if (s->extents[mid].start <= off)
            lo = mid;
        else
            hi = mid;
    }
    return &s->extents[lo];
}

/* A part of a request that lies in one grain (or one extent, where there are none). */
typedef struct Piece {
    VmdkExtent *e;
    uint64_t off;               /* in the extent */
    uint64_t grain;
    uint32_t in;                /* in the grain */
    uint64_t len;
} Piece;

static Piece piece_at(Vmdk *s, uint64_t off, uint64_t len)
{
    Piece p = { .e = extent_at(s, off) };

    p.off = off - p.e->start;
    p.len = MIN(len, p.e->len - p.off);
    if (vmdk_is_sparse(p.e)) {
        p.grain = p.off / p.e->grain;
        p.in = p.off % p.e->grain;
        p.len = MIN(p.len, p.e->grain - p.in);
    }
    return p;
}

/* ---- the parent */

/*
 * Did the parent change since this image was made on it? Then the two together
 * are nobody's disk. Its CID says so.
 */
static int check_parent(Vmdk *s)
{
    if (!s->n.backing)
        return 0;
    if (!s->parent_checked) {
        BlockNode *b = node_skip_filters(s->n.backing->node);

        s->parent_checked = true;
        s->parent_differs = !b || b->drv != s->n.drv || ((Vmdk *)b)->desc.cid != s->desc.parent_cid;
        if (s->parent_differs)
            err_note("%s: the backing file '%s' is not the one it was made on, or has changed since (its CID differs)",
                     node_path(&s->n), node_path(s->n.backing->node));
    }
    return s->parent_differs ? -EINVAL : 0;
}

static int parent_read(Vmdk *s, uint64_t off, const IoVec *q)
{
    int ret = check_parent(s);

    return ret < 0 ? ret : backing_read(&s->n, off, q);
}

/* ---- compressed grains */

typedef struct Squeeze {
    const uint8_t *in;
    uint8_t *out;
    size_t in_len, out_len;
    bool ok;
} Squeeze;

/* Into out_len bytes; what is missing is zero. */
static void inflate_grain(void *arg)
{
    Squeeze *w = arg;
    z_stream z = { .next_in = (Bytef *)w->in, .avail_in = w->in_len, .next_out = w->out, .avail_out = w->out_len };

    if (inflateInit(&z) != Z_OK)
        return;
    int ret = inflate(&z, Z_FINISH);
    w->ok = ret == Z_STREAM_END || (ret == Z_BUF_ERROR && !z.avail_out);
    memset(z.next_out, 0, z.avail_out);
    inflateEnd(&z);
}

static void deflate_grain(void *arg)
{
    Squeeze *w = arg;
    uLongf len = w->out_len;

    w->ok = compress(w->out, &len, w->in, w->in_len) == Z_OK;
    w->out_len = len;
}

/* How many bytes of deflated data lie at `off`, and where they begin. */
static int find_deflated(VmdkExtent *e, uint64_t *off, uint32_t *len)
{
    uint8_t marker[M_DATA];
    uint64_t most = compressBound(e->grain) + VMDK_SECTOR;

    if (*off >= e->body.end)
        return -EIO;
    if (e->markers) {
        int ret = *off + M_DATA > e->body.end ? -EIO : child_pread(e->file, *off, marker, sizeof(marker));

        if (ret < 0)
            return ret;
        *off += M_DATA;
        *len = ld_le32(marker + M_SIZE);
        return !*len || *len > most || *len > e->body.end - *off ? -EIO : 0;
    }
    *len = MIN(most, e->body.end - *off);
    return 0;
}

/* The whole grain at `at`, inflated; *out is the caller's (g_free). */
static int read_deflated(Vmdk *s, VmdkExtent *e, uint64_t at, uint8_t **out)
{
    uint32_t len;
    uint64_t off = at;
    int ret = find_deflated(e, &off, &len);

    *out = NULL;
    if (ret < 0)
        return ret;
    g_autofree uint8_t *in = g_try_malloc(len), *plain = g_try_malloc(e->grain);
    if (!in || !plain)
        return -ENOMEM;
    ret = child_pread(e->file, off, in, len);
    if (ret < 0)
        return ret;
    Squeeze w = { in, plain, len, e->grain, false };
    co_offload(inflate_grain, &w);
    if (!w.ok)
        return -EIO;
    *out = g_steal_pointer(&plain);
    return 0;
}

static int read_compressed(Vmdk *s, VmdkExtent *e, uint64_t at, uint32_t in, const IoVec *q)
{
    if (!s->plain || s->plain_at != at || s->plain_extent != e - s->extents) {
        uint8_t *plain;
        int ret = read_deflated(s, e, at, &plain);

        if (ret < 0)
            return ret;
        g_free(s->plain);       /* of this request or another: the latest stays */
        s->plain = plain;
        s->plain_at = at;
        s->plain_extent = e - s->extents;
    }
    iov_write(q, 0, s->plain + in, q->len);
    return 0;
}

/*
 * Writes a grain's bytes as a marker and deflated data at the file's end. Several are deflated at a time, but a disk
 * that is written from its beginning to its end lies so in the file: programs that only stream it count on that.
 */
static int write_deflated(Vmdk *s, VmdkExtent *e, uint64_t grain, const uint8_t *plain)
{
    size_t room = compressBound(e->grain);
    g_autofree uint8_t *out = g_try_malloc0(round_up(M_DATA + room, VMDK_SECTOR));
    Squeeze w = { plain, out ? out + M_DATA : NULL, e->grain, room, false };
    uint64_t at, ticket = e->tickets++;
    size_t len;
    int ret;

    if (out)
        co_offload(deflate_grain, &w);
    while (e->turn != ticket)
        co_queue_wait(&e->queue);
    e->turn++;
    co_queue_wake_all(&e->queue);
    if (!w.ok)
        return out ? -EIO : -ENOMEM;
    at = e->next;
    st_le64(out + M_SECTOR, grain * (e->grain / VMDK_SECTOR));
    st_le32(out + M_SIZE, w.out_len);
    len = round_up(M_DATA + w.out_len, VMDK_SECTOR);
    if (at / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    e->next = at + len;
    ret = body_write(&e->body, at, &IOV_BUF(e->markers ? out : out + M_DATA, e->markers ? len : len - M_DATA), 0);
    return ret < 0 ? ret : vmdk_grain_set(s, e, grain, (VmdkGrain){ GRAIN_DATA, at });
}

/* ---- read */

static int read_piece(Vmdk *s, const Piece *p, const IoVec *q)
{
    VmdkExtent *e = p->e;
    VmdkGrain g;
    int ret;

    switch (e->kind) {
    case VMDK_ZERO:
        iov_fill(q, 0, 0, q->len);
        return 0;
    case VMDK_FLAT:
        return child_read(e->file, e->flat + p->off, q, 0);
    default:
        break;
    }
    ret = vmdk_grain_get(s, e, p->grain, &g);
    if (ret < 0)
        return ret;
    if (g.state == GRAIN_NONE)
        return parent_read(s, e->start + p->off, q);
    if (g.state == GRAIN_ZERO) {
        iov_fill(q, 0, 0, q->len);
        return 0;
    }
    if (e->compressed)
        return read_compressed(s, e, g.off, p->in, q);
    return g.off >= e->body.end ? -EIO : body_read(&e->body, g.off + p->in, q);
}

int vmdk_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vmdk *s = (Vmdk *)n;

    for (size_t done = 0; done < q->len;) {
        Piece p = piece_at(s, off + done, q->len - done);
        IoVec part = iov_slice(q, done, p.len);
        int ret = read_piece(s, &p, &part);

        if (ret < 0)
            return ret;
        done += p.len;
    }
    return 0;
}

/* ---- write */

/* The content's ID changes with the first write after opening: children notice. */
static int change_cid(Vmdk *s)
{
    uint32_t cid;
    int ret = 0;

    if (s->cid_written || !s->desc_size)
        return 0;
    co_lock(&s->cid_lock);
    if (!s->cid_written) {
        g_autofree char *text = g_malloc0(s->desc_size + 1), *with = NULL;

        do {
            random_bytes(&cid, sizeof(cid));
        } while (cid == VMDK_NO_CID || cid == s->desc.cid);
        ret = child_pread(s->n.file, s->desc_off, text, s->desc_size);
        if (!ret)
            with = vmdk_desc_with_cid(text, cid);
        /* In a sparse extent there is only so much room; it says so in eight digits unless others wrote it. */
        if (with && (s->desc_off == 0 || strlen(with) <= s->desc_size)) {
            size_t len = strlen(with);
            size_t all = MAX(len, s->desc_size);

            with = g_realloc(with, all + 1);
            memset(with + len, s->desc_off ? 0 : '\n', all - len);
            ret = child_pwrite(s->n.file, s->desc_off, with, all, 0);
        }
        if (!ret) {
            s->cid_written = true;
            s->desc.cid = cid;
        }
    }
    co_unlock(&s->cid_lock);
    return ret;
}

/* What the grain holds now, all of it, for a request that changes a part. */
static int whole_grain(Vmdk *s, const Piece *p, const VmdkGrain *g, uint8_t **out)
{
    VmdkExtent *e = p->e;
    uint64_t at = p->grain * e->grain, len = MIN(e->grain, e->len - at);
    int ret = 0;

    if (g->state == GRAIN_DATA)
        return read_deflated(s, e, g->off, out);
    *out = g_try_malloc0(e->grain);
    if (!*out)
        return -ENOMEM;
    if (g->state == GRAIN_NONE && s->n.backing)
        ret = parent_read(s, e->start + at, &IOV_BUF(*out, len));
    return ret;
}

/* A grain that has no place yet, or is compressed: it gets a new one. The caller holds it. */
static int write_new(Vmdk *s, const Piece *p, const VmdkGrain *g, const IoVec *q)
{
    VmdkExtent *e = p->e;
    bool whole = e->compressed || (g->state == GRAIN_NONE && s->n.backing && p->len < e->grain);
    g_autofree uint8_t *plain = NULL;
    uint64_t at;
    int ret = 0;

    if (whole) {
        ret = whole_grain(s, p, g, &plain);
        if (ret < 0)
            return ret;
        iov_read(q, 0, plain + p->in, p->len);
    }
    if (e->compressed)
        return write_deflated(s, e, p->grain, plain);
    at = e->next;
    if (at / VMDK_SECTOR > UINT32_MAX)
        return -EFBIG;
    e->next += e->grain;
    if (whole)
        ret = body_write(&e->body, at, &IOV_BUF(plain, e->grain), 0);
    else
        ret = body_fresh(&e->body, at, e->grain);
    if (!ret && !whole)
        ret = body_write(&e->body, at + p->in, q, 0);
    if (ret < 0) {
        if (e->next == at + e->grain)
            e->next = at;
        return ret;
    }
    return vmdk_grain_set(s, e, p->grain, (VmdkGrain){ GRAIN_DATA, at });
}

static int write_in_place(VmdkExtent *e, const Piece *p, const VmdkGrain *g, const IoVec *q, unsigned flags)
{
    if (g->off >= e->body.end || vmdk_hits_meta(e, g->off, e->grain))
        return -EIO;            /* the table names what is no grain */
    return body_write(&e->body, g->off + p->in, q, flags);
}

static int write_piece(Vmdk *s, const Piece *p, const IoVec *q, unsigned flags)
{
    VmdkExtent *e = p->e;
    VmdkGrain g;
    Busy busy;
    int ret;

    if (e->kind == VMDK_FLAT)
        return child_write(e->file, e->flat + p->off, q, flags);
    ret = vmdk_grain_get(s, e, p->grain, &g);
    if (ret < 0)
        return ret;
    if (g.state == GRAIN_DATA && !e->compressed)
        return write_in_place(e, p, &g, q, flags);
    busy_begin(&s->allocating, &busy, e->start + p->grain * e->grain);
    ret = vmdk_grain_get(s, e, p->grain, &g);
    if (!ret && g.state == GRAIN_DATA && !e->compressed)
        ret = write_in_place(e, p, &g, q, flags);
    else if (!ret)
        ret = write_new(s, p, &g, q);
    busy_end(&s->allocating, &busy);
    return ret;
}

int vmdk_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Vmdk *s = (Vmdk *)n;
    int ret = change_cid(s);

    for (size_t done = 0; done < q->len && !ret;) {
        Piece p = piece_at(s, off + done, q->len - done);
        IoVec part = iov_slice(q, done, p.len);

        ret = write_piece(s, &p, &part, flags);
        done += p.len;
    }
    return ret;
}

/* ---- zero */

static int write_zeroes(Vmdk *s, const Piece *p, unsigned flags)
{
    if (flags & REQ_NO_FALLBACK)
        return -ENOTSUP;
    g_autofree uint8_t *zero = g_try_malloc0(p->len);
    return zero ? write_piece(s, p, &IOV_BUF(zero, p->len), 0) : -ENOMEM;
}

static int zero_piece(Vmdk *s, const Piece *p, unsigned flags)
{
    VmdkExtent *e = p->e;
    VmdkGrain g;
    Busy busy;
    int ret;

    if (e->kind == VMDK_FLAT)
        return child_zero(e->file, e->flat + p->off, p->len, flags);
    busy_begin(&s->allocating, &busy, e->start + p->grain * e->grain);
    ret = vmdk_grain_get(s, e, p->grain, &g);
    bool whole = p->len == MIN(e->grain, e->len - p->grain * e->grain);
    bool write = false;
    if (!ret && g.state == GRAIN_DATA && !e->compressed) {
        ret = g.off >= e->body.end || vmdk_hits_meta(e, g.off, e->grain) ? -EIO
            : child_zero(e->file, g.off + p->in, p->len, flags & ~REQ_NO_FALLBACK);
    } else if (!ret && (g.state == GRAIN_DATA || (g.state == GRAIN_NONE && s->n.backing))) {
        if (e->zeroed && whole)
            ret = vmdk_grain_set(s, e, p->grain, (VmdkGrain){ GRAIN_ZERO, 0 });
        else
            write = true;
    }
    busy_end(&s->allocating, &busy);
    return write && !ret ? write_zeroes(s, p, flags) : ret;
}

int vmdk_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Vmdk *s = (Vmdk *)n;
    int ret = change_cid(s);

    for (uint64_t done = 0; done < len && !ret;) {
        Piece p = piece_at(s, off + done, len - done);

        ret = zero_piece(s, &p, flags);
        done += p.len;
    }
    return ret;
}

/* ---- where things lie */

static void grain_extent(const VmdkExtent *e, const Piece *p, const VmdkGrain *g, Extent *out)
{
    if (g->state == GRAIN_ZERO)
        out->flags = EXTENT_ALLOCATED | EXTENT_ZERO;
    if (g->state != GRAIN_DATA)
        return;
    out->flags = EXTENT_ALLOCATED | EXTENT_DATA | (e->compressed ? EXTENT_COMPRESSED : EXTENT_OFFSET);
    out->host = g->off + p->in;
    out->host_node = e->file->node;
}

/* A grain; or the rest of a table that is not there, or of an extent without grains. */
static int one_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Vmdk *s = (Vmdk *)n;
    Piece p = piece_at(s, off, len);
    VmdkExtent *e = p.e;
    VmdkGrain g;

    *out = (Extent){ .len = p.len };
    if (e->kind == VMDK_ZERO) {
        out->flags = EXTENT_ALLOCATED | EXTENT_ZERO;
        return 0;
    }
    if (e->kind == VMDK_FLAT) {
        out->flags = EXTENT_ALLOCATED | EXTENT_DATA | EXTENT_OFFSET | EXTENT_RECURSE;
        out->host = e->flat + p.off;
        out->host_node = e->file->node;
        return 0;
    }
    if (!vmdk_has_table(e, p.grain)) {
        uint64_t end = MIN(e->len, (p.grain / e->gtes + 1) * e->gtes * e->grain);

        out->len = MIN(len, end - p.off);
        return 0;
    }
    int ret = vmdk_grain_get(s, e, p.grain, &g);
    if (!ret)
        grain_extent(e, &p, &g, out);
    return ret;
}

/* Within one extent: what lies in two files is not told in one piece. */
int vmdk_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    VmdkExtent *e = extent_at((Vmdk *)n, off);

    return extent_join(n, off, MIN(len, e->start + e->len - off), out, one_extent);
}
