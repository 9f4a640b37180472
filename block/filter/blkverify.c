/* SPDX-License-Identifier: MIT */
/*
 * blkverify: everything is done twice, to a plain file and to the image under
 * test, and what is read is compared. A difference is an I/O error here and a
 * line on stderr that says where.
 *
 * Names: blkverify:RAW:TEST
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>

#include "block/block-priv.h"
#include "block/filter/pass.h"

typedef struct Verify {
    BlockNode node;
    BlockChild *test;
} Verify;

static Err *verify_open(BlockNode *n)
{
    Verify *v = (Verify *)n;

    TRY(child_open(n, n->options, "raw", true, &n->file));
    TRY(child_open(n, n->options, "test", true, &v->test));
    n->size = child_size(v->test);
    if (child_size(n->file) < n->size)
        return err(ERR_INVALID, "the raw file is shorter than the image under test");
    return NULL;
}

static void verify_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                              unsigned *cperm, unsigned *cshared)
{
    *cperm = perm;
    *cshared = shared;
}

/* Both must end alike. */
static int same_end(BlockNode *n, const char *what, uint64_t off, uint64_t len, int raw, int test)
{
    if (raw == test)
        return test;
    err_note("blkverify: %s of %" PRIu64 " bytes at %" PRIu64 ": %d in the raw file, %d in '%s'",
             what, len, off, raw, test, node_path(((Verify *)n)->test->node));
    return -EIO;
}

static int verify_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Verify *v = (Verify *)n;
    void *buf = block_buf(n, q->len);
    int ret;

    if (!buf)
        return -ENOMEM;
    IoVec mine = IOV_BUF(buf, q->len);
    ret = same_end(n, "read", off, q->len, child_read(n->file, off, &mine, 0), child_read(v->test, off, q, flags));
    size_t at = ret ? q->len : iov_differ(&mine, q);
    if (at < q->len) {
        err_note("blkverify: contents mismatch at offset %" PRIu64 " of '%s'", off + at, node_path(v->test->node));
        ret = -EIO;
    }
    block_buf_free(buf);
    return ret;
}

static int verify_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    int raw = child_write(n->file, off, q, flags);

    return same_end(n, "write", off, q->len, raw, child_write(((Verify *)n)->test, off, q, flags));
}

static int verify_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    int raw = child_zero(n->file, off, len, flags);

    return same_end(n, "zero", off, len, raw, child_zero(((Verify *)n)->test, off, len, flags));
}

/* Filters are passed by for extents, but what is under test is not the first child. */
static int verify_flush(BlockNode *n)
{
    return 0;                   /* both children are flushed by block/io.c */
}

static Err *parse_name(const char *name, json_t *options)
{
    const char *raw = name + strlen("blkverify:"), *colon = strchr(raw, ':');
    json_t *a = NULL, *b = NULL;

    if (!colon)
        return err(ERR_INVALID, "blkverify requires raw copy and original image path: blkverify:RAW:TEST");
    g_autofree char *path = g_strndup(raw, colon - raw);
    TRY(options_from_protocol_name(path, &a));
    json_object_set_new(options, "raw", a);
    TRY(options_from_name(colon + 1, NULL, &b));
    json_object_set_new(options, "test", b);
    return NULL;
}

static const char *const schemes[] = { "blkverify:", NULL };
static const char *const own[] = { "raw", "test", NULL };

BLOCK(blkverify) = {
    .name = "blkverify", .doc = "compares an image with a raw file, for tests", .kind = DRIVER_FILTER, .no_storage = true,
    .size = sizeof(Verify), .own_options = own, .schemes = schemes, .parse_name = parse_name,
    .open = verify_open, .child_perm = verify_child_perm,
    .read = verify_read, .write = verify_write, .zero = verify_zero, .flush = verify_flush,
};
