/* SPDX-License-Identifier: MIT */
/*
 * lyre-img rebase: gives an overlay another backing file. What the overlay does
 * not hold itself is compared between the old and the new one, and copied into
 * the overlay where they differ; then the name in its header changes. At each
 * moment the overlay reads the same, so that it may be stopped and begun again.
 * -u changes the name alone.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "block/driver.h"

enum { CHUNK = 1 << 20, CROWD = 8, MAX_LOOK = 1 << 30 };

typedef struct Rebase {
    Img *im;
    const char *name;
    BlockNode *node;            /* the overlay, filters left out */
    Disk *top;
    Disk *old_, *new_;          /* NULL: reads as zeroes */
    BlockNode *common;          /* of the old chain: the new backing file is this one of it; NULL: it is not in it */
    uint64_t size, old_size, new_size;
    uint32_t unit;              /* writes are multiples of it: the overlay's cluster */
    uint64_t done;
    CoCrowd crowd;
    Err *e;
} Rebase;

typedef struct Piece {
    Rebase *r;
    uint64_t off, len;
} Piece;

/* ---- a piece --------------------------------------------------------------------------- */

static int read_padded(Rebase *r, Disk *d, uint64_t size, const Piece *p, uint8_t *buf, const char *which)
{
    uint64_t n = !d || p->off >= size ? 0 : MIN(p->len, size - p->off);
    IoVec q = IOV_BUF(buf, n);
    int ret = n ? disk_read(d, p->off, &q, 0) : 0;

    memset(buf + n, 0, p->len - n);
    if (ret < 0 && !r->e)
        r->e = err_errno(-ret, "the %s backing file cannot be read at offset %llu", which, (unsigned long long)p->off);
    return MIN(ret, 0);
}

static int write_part(Rebase *r, uint64_t off, uint8_t *buf, uint64_t len)
{
    IoVec q = IOV_BUF(buf, len);
    int ret;

    if (buf_is_zero(buf, len))
        ret = disk_zero(r->top, off, len, REQ_UNCHANGED);
    else
        ret = disk_write(r->top, off, &q, REQ_UNCHANGED | (r->im->a.compress ? REQ_COMPRESSED : 0));
    if (ret < 0 && !r->e)
        r->e = err_errno(-ret, "it cannot be written at offset %llu", (unsigned long long)off);
    return MIN(ret, 0);
}

/* Writes runs of units that differ. */
static int write_differences(const Piece *p, uint8_t *was, const uint8_t *will)
{
    uint64_t unit = p->r->unit, n, begin = 0;
    bool differ = false;
    int ret = 0;

    for (uint64_t at = 0; at <= p->len && !ret; at += n) {
        n = MIN(unit - (p->off + at) % unit, p->len - at);
        bool d = n && memcmp(was + at, will + at, n);
        if (differ && (!d || p->r->im->a.compress))
            ret = write_part(p->r, p->off + begin, was + begin, at - begin);
        if (d && (!differ || p->r->im->a.compress))
            begin = at;
        differ = d;
        if (!n)
            break;
    }
    return ret;
}

static int rebase_piece(void *arg)
{
    Piece *p = arg;
    Rebase *r = p->r;
    uint8_t *was = block_buf(r->node, p->len), *will = block_buf(r->node, p->len);
    int ret = was && will ? 0 : -ENOMEM;

    if (!ret)
        ret = read_padded(r, r->old_, r->old_size, p, was, "old");
    if (!ret)
        ret = read_padded(r, r->new_, r->new_size, p, will, "new");
    if (!ret)
        ret = write_differences(p, was, will);
    r->done += p->len;
    progress_at(r->im, r->done);
    block_buf_free(was);
    block_buf_free(will);
    g_free(p);
    return ret;
}

/* ---- the walk --------------------------------------------------------------------------- */

/* How much from off on is of one kind; *same: it reads the same with the new backing file. */
static Err *look(Rebase *r, uint64_t off, uint64_t *len, bool *same)
{
    Extent x;
    int ret = node_extent(r->node, off, MIN(r->size - off, MAX_LOOK), &x);

    *same = ret >= 0 && x.flags & EXTENT_ALLOCATED;
    *len = x.len;
    if (ret >= 0 && !*same && r->common && off < r->old_size) {
        ret = node_extent_above(disk_node(r->old_), r->common, false, off, MIN(*len, r->old_size - off), &x);
        *same = ret >= 0 && !(x.flags & EXTENT_ALLOCATED) && off + x.len <= r->new_size;
        *len = x.len;
    }
    if (ret < 0)
        return err_errno(-ret, "what is at offset %llu cannot be read", (unsigned long long)off);
    return NULL;
}

static Err *walk(Rebase *r)
{
    bool same;

    for (uint64_t off = 0, len; off < r->size && !r->e && !r->crowd.status; off += len) {
        TRY(look(r, off, &len, &same));
        if (img_stopping())
            return img_stopped("'%s' is whole, and has its old backing file still. Run the same command again to go on.",
                               r->name);
        if (same) {
            r->done += len;
            progress_at(r->im, r->done);
            continue;
        }
        len = MIN(len, CHUNK - off % CHUNK);
        Piece *p = g_new(Piece, 1);
        *p = (Piece){ r, off, len };
        crowd_start(&r->crowd, rebase_piece, p);
    }
    return NULL;
}

static Err *copy_differences(Rebase *r)
{
    Err *e = walk(r);
    int ret = crowd_wait(&r->crowd);

    if (!e && r->e)
        return r->e;
    err_free(r->e);
    if (!e && ret < 0)
        e = err_errno(-ret, "it cannot be rebased");
    if (!e && (ret = disk_flush(r->top)) < 0)
        e = err_errno(-ret, "it cannot be written");
    return e;
}

/* ---- the backing files -------------------------------------------------------------------- */

static bool same_file(BlockNode *a, BlockNode *b)
{
    BlockNode *x = node_storage(node_skip_filters(a)), *y = node_storage(node_skip_filters(b));
    struct stat s, t;

    return x && y && !stat(node_filename(x), &s) && !stat(node_filename(y), &t) && s.st_dev == t.st_dev &&
           s.st_ino == t.st_ino && !strcmp(node_format(a), node_format(b));
}

/* The new backing file must not be an overlay of the image. */
static Err *check_loop(Rebase *r, const char *path)
{
    Disk *d;
    bool loop = false;

    TRY(img_open_as(r->im, path, r->im->a.backing_format, false, NULL, OPEN_FORCE_SHARE | OPEN_NO_IO, &d));
    for (BlockNode *n = disk_node(d); n; n = node_backing(n))
        loop |= same_file(n, r->node);
    disk_free(d);
    return !loop ? NULL : err_hint(err(ERR_INVALID, "'%s' depends on it: that would be a loop", path),
                                   "The new backing file must not be an overlay of the image.");
}

static Err *open_new(Rebase *r)
{
    const ImgArgs *a = &r->im->a;
    BlockNode *storage = node_storage(r->node);
    g_autofree char *path = img_backing_path(storage ? node_filename(storage) : r->name, a->backing);

    TRY(check_loop(r, path));
    TRY(img_open_as(r->im, path, a->backing_format, false, a->source_cache ? a->source_cache : "writeback", 0,
                    &r->new_));
    r->new_size = img_size(r->new_);
    for (BlockNode *n = node_backing(r->node); n; n = node_backing(n)) {
        if (same_file(n, disk_node(r->new_)))
            r->common = n;
    }
    return NULL;
}

static Err *open_backings(Rebase *r)
{
    BlockNode *old = node_backing(r->node);

    if (old) {
        TRY(disk_new(old, PERM_CONSISTENT_READ, PERM_ALL, "rebase", &r->old_));
        r->old_size = img_size(r->old_);
    }
    return r->im->a.backing && *r->im->a.backing ? open_new(r) : NULL;
}

static Err *rebase(Rebase *r)
{
    const ImgArgs *a = &r->im->a;
    NodeInfo info;
    const BlockDriver *drv;

    if (!r->node->drv->has_backing)
        return err_hint(err(ERR_UNSUPPORTED, "images of format '%s' have no backing files", node_format(r->node)),
                        "Convert it to qcow2.");
    if (a->compress && !r->node->drv->can_compress)
        return err_hint(err(ERR_UNSUPPORTED, "images of format '%s' cannot be compressed", node_format(r->node)),
                        "Leave -c away.");
    if (a->backing_format)
        TRY(img_driver(a->backing_format, &drv));
    if (!a->unsafe) {
        TRY(node_info(r->node, &info));
        json_decref(info.specific);
        r->unit = info.cluster_size ? info.cluster_size : 4096;
        TRY(open_backings(r));
        progress_total(r->im, r->size);
        TRY(copy_differences(r));
    }
    const char *backing = a->backing && *a->backing ? a->backing : NULL;
    return node_change_backing_file(r->node, backing, backing ? a->backing_format : NULL, backing != NULL);
}

Err *img_rebase(Img *im)
{
    const ImgArgs *a = &im->a;
    Rebase r = { .im = im, .name = a->files[0], .crowd.max = CROWD };

    if (!a->unsafe && !a->backing)
        return err_hint(err(ERR_INVALID, "rebase needs a new backing file"),
                        "Give -b FILE, or -b '' for none.");
    TRY(img_open(im, r.name, a->cache ? a->cache : "writeback", OPEN_RW | OPEN_RESIZE | (a->unsafe ? OPEN_NO_BACKING : 0),
                 &r.top));
    r.node = node_skip_filters(disk_node(r.top));
    r.size = img_size(r.top);
    progress_begin(im, "compared", 2);
    Err *e = rebase(&r);
    progress_end(im, !e);
    disk_free(r.old_);
    disk_free(r.new_);
    disk_free(r.top);
    return err_in(e, "'%s'", r.name);
}
