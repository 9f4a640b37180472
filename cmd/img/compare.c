/* SPDX-License-Identifier: MIT */
/*
 * lyre-img compare: do two images hold the same? What both say is zero is not
 * read. Exit status: 0 the same, 1 different, 2 an image cannot be opened, 3 it
 * cannot be asked what is allocated, 4 it cannot be read.
 */
#include "cmd/img/img.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "block/driver.h"

enum { STATUS_DIFFERENT = 1, STATUS_NOT_OPENED = 2, STATUS_NO_EXTENT = 3, STATUS_NOT_READ = 4 };
enum { CHUNK = 512 << 10, CROWD = 8, MAX_LOOK = 1 << 30 };

typedef struct Side {
    const char *name;
    Disk *disk;
    uint64_t size, known;       /* known: `extent` says what there is from `at` up to here */
    Extent extent;
} Side;

typedef struct Compare {
    Img *im;
    Side side[2];
    uint64_t end;               /* of the longer one */
    uint64_t differ;            /* the first offset that is known to be different; UINT64_MAX: none */
    uint64_t done;
    CoCrowd crowd;
    Err *e;                     /* the first error of a piece */
} Compare;

typedef struct Piece {
    Compare *c;
    uint64_t off, len;
    bool data[2];
} Piece;

/* ---- a piece ------------------------------------------------------------------------- */

static void note_difference(Compare *c, uint64_t off)
{
    if (off < c->differ)
        c->differ = off;
}

static int read_side(const Piece *p, unsigned i, void *buf)
{
    Side *s = &p->c->side[i];
    IoVec q = IOV_BUF(buf, p->len);
    int ret = disk_read(s->disk, p->off, &q, 0);

    if (ret < 0 && !p->c->e) {
        p->c->im->status = STATUS_NOT_READ;
        p->c->e = err_errno(-ret, "'%s' cannot be read at offset %llu", s->name, (unsigned long long)p->off);
    }
    return ret;
}

/* The offset that is told is that of the sector, as with qemu-img. */
static void find_difference(const Piece *p, const uint8_t *a, const uint8_t *b)
{
    static const uint8_t zeroes[512];
    uint64_t step;

    for (uint64_t at = 0; at < p->len; at += step) {
        step = MIN(sizeof(zeroes), p->len - at);
        if (memcmp(a + at, b ? b + at : zeroes, step)) {
            note_difference(p->c, p->off + at);
            return;
        }
    }
}

static int compare_piece(void *arg)
{
    Piece *p = arg;
    Compare *c = p->c;
    BlockNode *n = disk_node(c->side[0].disk);
    uint8_t *buf[2] = { NULL, NULL };
    int ret = 0;

    for (unsigned i = 0; i < 2 && !ret; i++) {
        if (!p->data[i])
            continue;
        buf[i] = block_buf(n, p->len);
        ret = buf[i] ? read_side(p, i, buf[i]) : -ENOMEM;
        ret = MIN(ret, 0);
    }
    if (!ret && buf[0] && buf[1]) {
        if (memcmp(buf[0], buf[1], p->len))
            find_difference(p, buf[0], buf[1]);
    } else if (!ret && !buf_is_zero(buf[0] ? buf[0] : buf[1], p->len)) {
        find_difference(p, buf[0] ? buf[0] : buf[1], NULL);
    }
    c->done += p->len;
    progress_at(c->im, c->done);
    block_buf_free(buf[0]);
    block_buf_free(buf[1]);
    g_free(p);
    return ret;
}

/* ---- the walk ------------------------------------------------------------------------ */

/* What the side holds at off; beyond its end nothing. */
static Err *look(Compare *c, Side *s, uint64_t off)
{
    if (off < s->known)
        return NULL;
    if (off >= s->size) {
        s->extent = (Extent){ .flags = EXTENT_ZERO };
        s->known = UINT64_MAX;
        return NULL;
    }
    int ret = node_extent_above(disk_node(s->disk), NULL, true, off, MIN(s->size - off, MAX_LOOK), &s->extent);
    if (ret < 0) {
        c->im->status = STATUS_NO_EXTENT;
        return err_errno(-ret, "'%s': what is at offset %llu cannot be read", s->name, (unsigned long long)off);
    }
    s->known = off + s->extent.len;
    return NULL;
}

static bool is_zero(const Side *s)
{
    return s->extent.flags & EXTENT_ZERO;
}

static bool strict_difference(const Compare *c)
{
    const unsigned mask = EXTENT_DATA | EXTENT_ZERO | EXTENT_ALLOCATED;

    return c->im->a.strict && (c->side[0].extent.flags & mask) != (c->side[1].extent.flags & mask);
}

/* *strict: what is allocated differs at *off. */
static Err *walk(Compare *c, uint64_t *off, bool *strict)
{
    uint64_t len;

    for (*off = 0; *off < c->end && *off < c->differ && !c->e; *off += len) {
        TRY(look(c, &c->side[0], *off));
        TRY(look(c, &c->side[1], *off));
        *strict = strict_difference(c);
        if (*strict)
            return NULL;
        if (img_stopping())
            return img_stopped("No difference was found up to offset %llu.", (unsigned long long)*off);
        len = MIN(MIN(c->side[0].known, c->side[1].known), c->end) - *off;
        if (is_zero(&c->side[0]) && is_zero(&c->side[1])) {
            c->done += len;
            progress_at(c->im, c->done);
            continue;
        }
        len = MIN(len, CHUNK - *off % CHUNK);
        Piece *p = g_new(Piece, 1);
        *p = (Piece){ c, *off, len, { !is_zero(&c->side[0]), !is_zero(&c->side[1]) } };
        crowd_start(&c->crowd, compare_piece, p);
    }
    return NULL;
}

static Err *compare(Compare *c)
{
    Img *im = c->im;
    uint64_t off = 0;
    bool strict = false, sizes_differ = c->side[0].size != c->side[1].size;

    if (sizes_differ && im->a.strict) {
        im->status = STATUS_DIFFERENT;
        img_say(im, "Strict mode: Image size mismatch!\n");
        return NULL;
    }
    progress_begin(im, "compared", 2);
    progress_total(im, c->end);
    Err *e = walk(c, &off, &strict);
    int ret = crowd_wait(&c->crowd);
    progress_end(im, !e && !c->e && !ret && !strict && c->differ == UINT64_MAX);
    if (!e)
        e = c->e;
    else
        err_free(c->e);
    if (!e && ret < 0)
        e = err_errno(-ret, "the images cannot be compared");
    if (e)
        return e;
    im->status = STATUS_DIFFERENT;
    if (c->differ < off || (!strict && c->differ != UINT64_MAX)) {
        if (c->differ >= MIN(c->side[0].size, c->side[1].size))     /* said when the common part has passed */
            img_say(im, "Warning: Image size mismatch!\n");
        img_say(im, "Content mismatch at offset %llu!\n", (unsigned long long)c->differ);
    } else if (strict) {
        img_say(im, "Strict mode: Offset %llu block status mismatch!\n", (unsigned long long)off);
    } else {
        if (sizes_differ)
            img_say(im, "Warning: Image size mismatch!\n");
        img_say(im, "Images are identical.\n");
        im->status = 0;
    }
    return NULL;
}

Err *img_compare(Img *im)
{
    const ImgArgs *a = &im->a;
    const char *cache = a->source_cache ? a->source_cache : "writeback";
    const char *const formats[] = { a->format, a->format2 };
    Compare c = { .im = im, .differ = UINT64_MAX, .crowd.max = CROWD };
    Err *e = NULL;

    if (a->image_opts && a->format2)
        return err_hint(err(ERR_INVALID, "--image-opts and -F exclude each other"),
                        "Say it with the other options: driver=%s,...", a->format2);
    for (unsigned i = 0; i < 2 && !e; i++) {
        Side *s = &c.side[i];
        s->name = a->files[i];
        e = img_open_as(im, s->name, formats[i], a->image_opts, cache, 0, &s->disk);
        s->size = e ? 0 : img_size(s->disk);
        c.end = MAX(c.end, s->size);
    }
    if (!e)
        e = compare(&c);
    disk_free(c.side[0].disk);
    disk_free(c.side[1].disk);
    return e;
}
