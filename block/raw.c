/* SPDX-License-Identifier: MIT */
/*
 * raw: the bytes of the file are the disk; or a window of it, with `offset` and
 * `size`.
 *
 * A disk counts in sectors of 512 bytes: a file that is no multiple of them
 * reads as if zeroes followed. A disk whose format was guessed to be raw must
 * not turn into another format by what its guest writes (the next guess would
 * follow that header's backing file): a write to the first bytes that would is
 * refused.
 */
#include <inttypes.h>
#include <string.h>

#include "block/block-priv.h"

#define SECTOR 512
#define PROBE_LEN 2048

typedef struct Raw {
    BlockNode node;
    uint64_t opt_offset, opt_size;
    bool windowed;              /* offset or size was given */
    bool fixed;                 /* size was */
    uint64_t offset;
} Raw;

static const Field raw_fields[] = {
    PROP(Raw, opt_offset, .as = "offset", .units = true, .doc = "where in the file the disk begins"),
    PROP(Raw, opt_size, .as = "size", .units = true, .doc = "how long the disk is"),
    {0}
};

static int raw_probe(const uint8_t *head, size_t len, const char *filename)
{
    return 1;                   /* anything can be */
}

/* ---- size */

static uint64_t sectors_up(uint64_t size)
{
    return (size + SECTOR - 1) & ~(uint64_t)(SECTOR - 1);
}

static uint64_t raw_size_now(BlockNode *n)
{
    Raw *r = (Raw *)n;
    uint64_t all;

    if (r->fixed)
        return n->size;
    all = child_size(n->file);
    if (all > BLOCK_MAX_SIZE)
        all = BLOCK_MAX_SIZE;
    return all > r->offset ? sectors_up(all - r->offset) : 0;
}

static Err *check_window(Raw *r)
{
    uint64_t all = child_size(r->node.file), size = r->opt_size;

    if (r->opt_offset > all)
        return err(ERR_INVALID, "offset %" PRIu64 " is beyond the end of the file, which has %" PRIu64 " bytes",
                   r->opt_offset, all);
    if (r->fixed && size % SECTOR)
        return err(ERR_INVALID, "Specified size is not multiple of %d", SECTOR);
    if (r->fixed && size > all - r->opt_offset)
        return err(ERR_INVALID, "The sum of offset (%" PRIu64 ") and size (%" PRIu64 ") has to be smaller or equal to "
                   "the actual size of the containing file (%" PRIu64 ")", r->opt_offset, size, all);
    return NULL;
}

static Err *raw_open(BlockNode *n)
{
    Raw *r = (Raw *)n;

    r->fixed = options_get(n->options, "size");
    r->windowed = r->fixed || options_get(n->options, "offset");
    if (r->windowed)
        TRY(check_window(r));
    r->offset = r->opt_offset;
    n->size = r->fixed ? r->opt_size : raw_size_now(n);
    n->encrypted = n->file->node->encrypted;
    n->limits.zero_align = n->file->node->limits.zero_align;
    n->limits.discard_align = n->file->node->limits.discard_align;
    n->limits.max_discard = n->file->node->limits.max_discard;
    n->write_flags = REQ_FUA | REQ_UNCHANGED;
    n->zero_flags = REQ_FUA | REQ_UNMAP | REQ_NO_FALLBACK | REQ_UNCHANGED;
    if (n->probed && !n->read_only)
        err_note("the format of '%s' was not given and is taken to be raw: writes to its first bytes that would make "
                 "it another format are refused; say that it is raw (-f raw, or format=raw) to allow them", node_path(n));
    return child_refresh_perms(n);
}

static Err *raw_reopen(BlockNode *n, const void *new_opts, bool read_only)
{
    const Raw *was = (Raw *)n, *now = new_opts;

    if (was->opt_offset != now->opt_offset || was->opt_size != now->opt_size)
        return err(ERR_UNSUPPORTED, "offset and size of a raw disk cannot be changed while it is open");
    return NULL;
}

/* The window's edges may move under nobody's hands; the whole file is asked for as the disk itself is. */
static void raw_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                           unsigned *cperm, unsigned *cshared)
{
    const Raw *r = (Raw *)n;

    *cperm = perm;
    *cshared = shared;
    if (perm & PERM_WRITE && n->file && child_size(n->file) % SECTOR)
        *cperm |= PERM_RESIZE;      /* the last sector's rest becomes real when it is written */
    if (r->windowed)
        *cshared &= ~(unsigned)PERM_RESIZE;
}

/* ---- data */

/* Is the tail that only rounding made, or a part of it, asked for? How many bytes the file has of it. */
static uint64_t there(const Raw *r, uint64_t off, uint64_t len)
{
    uint64_t end = r->node.file->node->size;

    if (r->offset + off + len <= end)
        return len;
    return r->offset + off < end ? end - r->offset - off : 0;
}

static int raw_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Raw *r = (Raw *)n;
    uint64_t len = there(r, off, q->len);

    block_event(n->file, "read_aio");
    if (len == q->len || r->fixed)
        return child_read(n->file, r->offset + off, q, flags);
    IoVec part = iov_slice(q, 0, len);
    int ret = len ? child_read(n->file, r->offset + off, &part, flags) : 0;
    if (!ret)
        iov_fill(q, len, 0, q->len - len);
    return ret;
}

/* Would the first bytes be another format's after this write? */
static int guard_header(BlockNode *n, uint64_t off, const IoVec *q)
{
    g_autofree uint8_t *head = g_malloc0(PROBE_LEN);
    size_t len = MIN(q->len, PROBE_LEN - off);
    int ret;

    ret = child_pread_padded(n->file, 0, head, PROBE_LEN);
    if (ret)
        return ret;
    if (q->n)
        iov_read(q, 0, head + off, len);
    else
        memset(head + off, 0, len);
    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d)) {
        if (d->kind != DRIVER_FORMAT || d == n->drv || !d->probe ||
            d->probe(head, PROBE_LEN, node_path(n)) <= raw_probe(NULL, 0, NULL))
            continue;
        err_note("'%s': a write that would make it a '%s' image is refused, as its format was guessed to be raw; "
                 "give the format (-f raw) to allow that", node_path(n), d->name);
        return -EPERM;
    }
    return 0;
}

static int check_place(const Raw *r, uint64_t off, uint64_t len)
{
    return r->fixed && off + len > r->opt_size ? -ENOSPC : 0;
}

static int raw_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Raw *r = (Raw *)n;
    int ret = check_place(r, off, q->len);

    if (!ret && n->probed && off < PROBE_LEN)
        ret = guard_header(n, off, q);
    block_event(n->file, "write_aio");
    return ret ? ret : child_write(n->file, r->offset + off, q, flags);
}

static int raw_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Raw *r = (Raw *)n;
    int ret = check_place(r, off, len);

    return ret ? ret : child_zero(n->file, r->offset + off, len, flags);
}

static int raw_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    Raw *r = (Raw *)n;
    uint64_t here = there(r, off, len);

    return here ? child_discard(n->file, r->offset + off, here) : 0;
}

static int raw_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    Raw *r = (Raw *)n;
    uint64_t here = there(r, off, len);

    if (!here) {
        *out = (Extent){ .len = len, .flags = EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_OFFSET,
                         .host = r->offset + off, .host_node = n->file->node };
        return 0;
    }
    int ret = node_extent(n->file->node, r->offset + off, here, out);
    out->flags &= ~(unsigned)EXTENT_EOF;
    out->flags |= EXTENT_ALLOCATED;
    return ret;
}

static int raw_copy(BlockNode *from, uint64_t from_off, BlockNode *to, uint64_t to_off, uint64_t len)
{
    Raw *r = (Raw *)to;

    if (to->probed || check_place(r, to_off, len) || r->offset + to_off + len > child_size(to->file))
        return -ENOTSUP;
    return node_copy(from, from_off, to->file->node, r->offset + to_off, len);
}

static Err *raw_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    Raw *r = (Raw *)n;

    if (r->fixed)
        return err_hint(err(ERR_UNSUPPORTED, "Cannot resize fixed-size raw disks"), "Open it without size=.");
    if (len > BLOCK_MAX_SIZE - r->offset)
        return err(ERR_INVALID, "Disk size too big for the chosen offset");
    TRY(child_resize(n->file, r->offset + len, exact, p));
    n->size = sectors_up(len);
    return NULL;
}

static Err *raw_info(BlockNode *n, NodeInfo *out)
{
    BlockNode *below = n->file->node;

    if (below->drv->kind != DRIVER_PROTOCOL)
        return node_info(below, out);
    out->unknown = !below->drv->info;
    return below->drv->info ? below->drv->info(below, out) : NULL;
}

/* ---- creating */

static Err *raw_measure(const void *opts, BlockNode *source, uint64_t size, Measure *out)
{
    *out = (Measure){ .required = source ? node_size(source) : sectors_up(size) };
    out->fully_allocated = out->required;
    return NULL;
}

static const char *const raw_strong[] = { "offset", "size", NULL };

BLOCK(raw) = {
    .name = "raw", .doc = "the plain bytes of a disk", .kind = DRIVER_FORMAT,
    .size = sizeof(Raw), .fields = raw_fields, .grows = true, .strong_options = raw_strong,
    .probe = raw_probe, .open = raw_open, .reopen = raw_reopen, .child_perm = raw_child_perm,
    .read = raw_read, .write = raw_write, .zero = raw_zero, .discard = raw_discard,
    .extent = raw_extent, .copy = raw_copy, .resize = raw_resize, .size_now = raw_size_now,
    .info = raw_info, .create_is_file = true, .measure = raw_measure,
};
