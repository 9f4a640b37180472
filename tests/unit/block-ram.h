/* SPDX-License-Identifier: MIT */
/*
 * A protocol driver for tests, "ram": bytes in memory, with whatever alignment
 * and limits a test wants, that yields at random and fails on demand. A test
 * program that includes this defines block_set itself, so the library's set of
 * drivers is not linked.
 */
#ifndef TESTS_UNIT_BLOCK_RAM_H
#define TESTS_UNIT_BLOCK_RAM_H

#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "block/driver.h"
#include "tests/unit/test.h"

typedef struct Ram {
    BlockNode node;
    uint64_t opt_size;
    uint32_t opt_align, opt_max, opt_zero_align;
    bool yields, no_zero, fixed;
    uint8_t *mem;
    uint64_t room;
    unsigned reads, writes, zeroes, discards, flushes, running, most_running;
    int fail;                   /* the next request's return value, once */
    bool bad;                   /* a request broke the contract */
    unsigned lock_perm, lock_shared;
    bool refuse_locks;
} Ram;

static const Field ram_fields[] = {
    PROP(Ram, opt_size, .as = "size", .units = true, .def = "1M"),
    PROP(Ram, opt_align, .as = "align", .def = "1"),
    PROP(Ram, opt_max, .as = "max-transfer", .def = "0"),
    PROP(Ram, opt_zero_align, .as = "zero-align", .def = "0"),
    PROP(Ram, yields), PROP(Ram, no_zero), PROP(Ram, fixed),
    {0}
};

static Err *ram_open(BlockNode *n)
{
    Ram *r = (Ram *)n;

    n->size = r->opt_size;
    r->room = n->size + (16 << 20);
    r->mem = calloc(1, r->room);
    n->limits.request_align = r->opt_align;
    n->limits.max_transfer = r->opt_max;
    n->limits.zero_align = r->opt_zero_align;
    n->zero_flags = REQ_UNMAP;
    return NULL;
}

static void ram_close(BlockNode *n)
{
    free(((Ram *)n)->mem);
}

static int ram_begin(Ram *r, uint64_t off, uint64_t len, bool grows)
{
    uint32_t a = r->opt_align;
    int fail = r->fail;

    if (off % a || len % a || !len || off + len > r->room ||
        (!grows && off + len > (r->node.size + a - 1) / a * a) || (r->opt_max && grows && len > r->opt_max))
        r->bad = true;
    if (++r->running > r->most_running)
        r->most_running = r->running;
    if (r->yields) {
        for (int i = rand() % 4; i > 0; i--)
            co_pause();
    }
    r->fail = 0;
    return fail;
}

static int ram_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Ram *r = (Ram *)n;
    int ret = ram_begin(r, off, q->len, false);

    r->reads++;
    if (!ret)
        iov_write(q, 0, r->mem + off, q->len);
    r->running--;
    return ret;
}

static int ram_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    Ram *r = (Ram *)n;
    int ret = ram_begin(r, off, q->len, !r->fixed);

    r->writes++;
    if (!ret)
        iov_read(q, 0, r->mem + off, q->len);
    r->running--;
    return ret;
}

static int ram_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Ram *r = (Ram *)n;

    if (r->no_zero)
        return -ENOTSUP;
    int ret = ram_begin(r, off, len, false);
    r->zeroes++;
    if (!ret)
        memset(r->mem + off, 0, len);
    r->running--;
    return ret;
}

static int ram_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    Ram *r = (Ram *)n;

    r->discards++;
    ram_begin(r, off, len, false);
    r->running--;
    return 0;
}

static int ram_flush(BlockNode *n)
{
    Ram *r = (Ram *)n;
    int fail = r->fail;

    r->flushes++;
    if (r->yields)
        co_pause();
    r->fail = 0;
    return fail;
}

static Err *ram_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    Ram *r = (Ram *)n;

    if (len > r->room)
        return err(ERR_INVALID, "too much for this test");
    if (len < n->size)
        memset(r->mem + len, 0, n->size - len);
    n->size = len;
    return NULL;
}

static Err *ram_take_perm(BlockNode *n, unsigned perm, unsigned shared)
{
    Ram *r = (Ram *)n;

    if (r->refuse_locks && perm & ~r->lock_perm)
        return err(ERR_BUSY, "somebody else has a lock");
    r->lock_perm = perm;
    r->lock_shared = shared;
    return NULL;
}

static Err *ram_reopen(BlockNode *n, const void *opts, bool read_only)
{
    Ram *r = (Ram *)n;

    if (r->refuse_locks)
        return err(ERR_IO, "this file does not like it");
    return NULL;
}

BLOCK(ram) = {
    .name = "ram", .doc = "memory, for tests", .kind = DRIVER_PROTOCOL, .size = sizeof(Ram), .fields = ram_fields,
    .grows = true, .open = ram_open, .close = ram_close, .reopen = ram_reopen, .take_perm = ram_take_perm,
    .read = ram_read, .write = ram_write, .zero = ram_zero, .discard = ram_discard, .flush = ram_flush,
    .resize = ram_resize,
};

/* ---- what tests of the block layer need each time */

static inline bool ok(Err *e)
{
    if (e)
        printf("%s\n", err_text(e));
    bool good = !e;
    err_free(e);
    return good;
}

/* It must be an error with this in it. */
static inline bool fails(Err *e, const char *words)
{
    bool good = e && strstr(err_text(e), words);

    if (!good)
        printf("'%s', want '%s'\n", e ? err_text(e) : "(no error)", words);
    err_free(e);
    return good;
}

static inline json_t *keyval(const char *text)
{
    json_t *o = NULL;

    CHECK(ok(options_from_keyval(text, &o)));
    return o;
}

static inline BlockNode *open_text(BlockGraph *g, const char *text, unsigned flags)
{
    json_t *o = keyval(text);
    BlockNode *n = NULL;

    CHECK(ok(node_open(g, o, flags, &n)));
    json_decref(o);
    return n;
}

static inline Ram *ram_of(BlockNode *n)
{
    return (Ram *)node_storage(n);
}

/* Runs fn in a coroutine, with a loop and a graph of its own. */
typedef struct Rig { void (*fn)(BlockGraph *); BlockGraph *g; } Rig;
static inline void rig_run(void *arg)
{
    Rig *r = arg;

    r->fn(r->g);
}
static inline void in_graph(void (*fn)(BlockGraph *))
{
    Loop *loop = NULL;

    CHECK(ok(loop_new(1, &loop)));
    Rig r = { fn, graph_new(loop) };
    co_run(loop, rig_run, &r);
    CHECK(graph_next(r.g, NULL) == NULL);
    graph_free(r.g);
    loop_free(loop);
}
#define RUN_IN_GRAPH(fn)                                        \
    do {                                                        \
        test_case_bad = 0;                                      \
        in_graph(fn);                                           \
        if (test_case_bad) {                                    \
            printf("FAILED %s\n", #fn);                         \
            test_failed++;                                      \
        } else {                                                \
            test_passed++;                                      \
        }                                                       \
    } while (0)

#endif
