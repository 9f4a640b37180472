/* SPDX-License-Identifier: MIT */
/*
 * ringbuf: keeps the last bytes of output in memory, for a monitor to read.
 * memory is its old name. There is no input.
 */
#include "chardev/chardev-priv.h"

#include <string.h>

typedef struct Ring {
    Chardev chr;
    uint8_t *buf;
    uint32_t size;              /* a power of two */
    uint32_t put, got;          /* counts; they may wrap. put - got <= size */
} Ring;

enum { RING_MOST = 1 << 28 };

static Err *ring_open(Chardev *c, const Opts *o)
{
    Ring *r = (Ring *)c;
    uint64_t size = opts_num(o, "size", 65536);

    if (!size || size & (size - 1) || size > RING_MOST)
        return err_hint(err(ERR_INVALID, "its size is not usable"),
                        "It is a power of two, at most 256M; the default is 64k.");
    r->size = size;
    r->buf = g_malloc(size);
    c->open = true;
    return NULL;
}

/* All of it is taken; the oldest goes. */
static int ring_write(Chardev *c, const uint8_t *buf, int n)
{
    Ring *r = (Ring *)c;
    int all = n;

    if ((unsigned)n > r->size) {
        buf += n - r->size;
        n = r->size;
    }
    uint32_t at = r->put & (r->size - 1), first = MIN((uint32_t)n, r->size - at);
    memcpy(r->buf + at, buf, first);
    memcpy(r->buf, buf + first, n - first);
    r->put += n;
    if (r->put - r->got > r->size)
        r->got = r->put - r->size;
    return all;
}

static void ring_close(Chardev *c)
{
    g_free(((Ring *)c)->buf);
}

static bool is_ring(const Chardev *c)
{
    return c->cls == &chardev_ringbuf || c->cls == &chardev_memory;
}

int chardev_ring_read(Chardev *c, uint8_t *buf, int max)
{
    Ring *r = (Ring *)c;

    if (!is_ring(c))
        return -1;
    int n = MIN((uint32_t)MAX(max, 0), r->put - r->got);
    for (int i = 0; i < n; i++)
        buf[i] = r->buf[r->got++ & (r->size - 1)];
    return n;
}

int chardev_ring_write(Chardev *c, const uint8_t *buf, int n)
{
    return is_ring(c) ? ring_write(c, buf, n) : -1;
}

static const OptDesc ring_opts[] = {
    { "size", OPT_SIZE, "how much it keeps, a power of two (default 64k)" },
    { 0 }
};

const ChardevClass chardev_ringbuf = {
    .name = "ringbuf", .doc = "memory that keeps the last output",
    .opts = ring_opts, .size = sizeof(Ring), .open = ring_open, .write = ring_write, .close = ring_close,
};

const ChardevClass chardev_memory = {
    .name = "memory", .doc = "the same as ringbuf",
    .opts = ring_opts, .size = sizeof(Ring), .open = ring_open, .write = ring_write, .close = ring_close,
};
