/* SPDX-License-Identifier: MIT */
/*
 * preallocate: lies between a format and its file, and lets the file grow in
 * large steps that the host reserves at once. The format sees the end that it
 * made itself; what was reserved behind it goes when the node closes or turns
 * read-only.
 */
#include <errno.h>
#include <glib.h>

#include "block/filter/pass.h"

typedef struct Prealloc {
    BlockNode node;
    uint64_t prealloc_align, prealloc_size;
    uint64_t data_end;          /* what the parent wrote or resized to; valid if active */
    uint64_t file_end;          /* what is there, all zero behind data_end */
    bool active;
    CoMutex growing;
} Prealloc;

static const Field prealloc_fields[] = {
    PROP(Prealloc, prealloc_align, .units = true, .def = "1M", .doc = "the reserved end is a multiple of this"),
    PROP(Prealloc, prealloc_size, .units = true, .def = "128M", .doc = "how much is reserved at once"),
    {0}
};

static Err *check_options(const Prealloc *p)
{
    if (!p->prealloc_align || p->prealloc_align % 512)
        return err(ERR_INVALID, "prealloc-align must be a multiple of 512");
    if (p->prealloc_size > BLOCK_MAX_SIZE / 4 || p->prealloc_align > BLOCK_MAX_SIZE / 4)
        return err(ERR_INVALID, "prealloc-size and prealloc-align must be less than %lld", (long long)BLOCK_MAX_SIZE / 4);
    return NULL;
}

static Err *prealloc_open(BlockNode *n)
{
    return check_options((Prealloc *)n);
}

/* The file's end is this filter's alone, as it is a format's. */
static void prealloc_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                                unsigned *cperm, unsigned *cshared)
{
    *cperm = perm;
    *cshared = shared;
    if (n->read_only)
        return;
    *cperm |= PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE;
    *cshared &= ~(unsigned)(PERM_WRITE | PERM_RESIZE);
}

static void begin(Prealloc *p)
{
    if (p->active)
        return;
    p->data_end = p->file_end = child_size(p->node.file);
    p->active = true;
}

/* Gives back what is reserved and not used. */
static Err *give_back(Prealloc *p)
{
    Err *e = NULL;

    if (p->active && p->file_end > p->data_end)
        e = child_resize(p->node.file, p->data_end, true, (Preallocation){ PREALLOC_OFF });
    p->active = false;
    return e;
}

static void prealloc_close(BlockNode *n)
{
    if (n->file)
        err_free(give_back((Prealloc *)n));     /* zeroes at the end of a file do no harm */
}

static Err *prealloc_reopen(BlockNode *n, const void *opts, bool read_only)
{
    TRY(check_options(opts));
    return read_only ? give_back((Prealloc *)n) : NULL;
}

/* Before a write up to `end`. That it cannot be reserved is no error: the write itself will tell. */
static void reserve(Prealloc *p, uint64_t end)
{
    uint64_t want, a = p->prealloc_align;

    begin(p);
    if (end <= p->file_end || !(p->node.file->perm & PERM_RESIZE))
        return;
    co_lock(&p->growing);
    if (end > p->file_end && end <= BLOCK_MAX_SIZE / 2) {
        want = (end + p->prealloc_size + a - 1) / a * a;
        if (!child_zero(p->node.file, p->file_end, want - p->file_end, REQ_NO_FALLBACK))
            p->file_end = want;
    }
    co_unlock(&p->growing);
}

static void used(Prealloc *p, uint64_t end, int ret)
{
    if (ret)
        return;
    p->data_end = MAX(p->data_end, end);
    p->file_end = MAX(p->file_end, end);
}

static int prealloc_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Prealloc *p = (Prealloc *)n;

    reserve(p, off + q->len);
    int ret = pass_write(n, off, q, flags);
    used(p, off + q->len, ret);
    return ret;
}

static int prealloc_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Prealloc *p = (Prealloc *)n;
    uint64_t end = off + len;

    reserve(p, end);
    if (off >= p->data_end && end <= p->file_end && p->active) {        /* it is zero already */
        used(p, end, 0);
        return flags & REQ_FUA ? child_flush(n->file) : 0;
    }
    int ret = pass_zero(n, off, len, flags);
    used(p, end, ret);
    return ret;
}

static Err *prealloc_resize(BlockNode *n, uint64_t len, bool exact, Preallocation how)
{
    Prealloc *p = (Prealloc *)n;

    begin(p);
    if (len < p->data_end || len > p->file_end || how.mode != PREALLOC_OFF) {
        /* What was reserved is cut off first, so that a longer file has the preallocation that was asked for. */
        if (p->file_end > p->data_end)
            TRY(child_resize(n->file, p->data_end, true, (Preallocation){ PREALLOC_OFF }));
        p->file_end = p->data_end;
        TRY(child_resize(n->file, len, exact, how));
        p->file_end = len;
    }
    p->data_end = n->size = len;
    return NULL;
}

static uint64_t prealloc_size_now(BlockNode *n)
{
    const Prealloc *p = (Prealloc *)n;

    return p->active ? p->data_end : child_size(n->file);
}

BLOCK(preallocate) = {
    .name = "preallocate", .doc = "lets a file grow in large steps", .kind = DRIVER_FILTER,
    .size = sizeof(Prealloc), .fields = prealloc_fields, .grows = true,
    .open = prealloc_open, .close = prealloc_close, .reopen = prealloc_reopen, .child_perm = prealloc_child_perm,
    .read = pass_read, .write = prealloc_write, .zero = prealloc_zero, .discard = pass_discard,
    .resize = prealloc_resize, .size_now = prealloc_size_now,
};
