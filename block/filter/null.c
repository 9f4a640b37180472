/* SPDX-License-Identifier: MIT */
/*
 * null-co and null-aio: a disk of any size that holds nothing. Reads are
 * zeroes, writes go nowhere, each takes `latency-ns`. For measuring what lies
 * above. null-aio ends its requests from the loop's next turn.
 */
#include <glib.h>
#include <string.h>

#include "block/driver.h"

typedef struct Null {
    BlockNode node;
    uint64_t opt_size, latency_ns;
    bool read_zeroes;
} Null;

static const Field null_fields[] = {
    PROP(Null, opt_size, .as = "size", .units = true, .def = "1G", .doc = "how long the disk is"),
    PROP(Null, latency_ns, .def = "0", .doc = "how long each request takes, in nanoseconds"),
    PROP(Null, read_zeroes, .def = "off", .doc = "say that all of it is known to be zero"),
    {0}
};

static Err *null_open(BlockNode *n)
{
    Null *x = (Null *)n;

    if (x->latency_ns > INT64_MAX)
        return err(ERR_INVALID, "latency-ns is invalid");
    n->size = x->opt_size;
    n->write_flags = REQ_FUA;
    n->zero_flags = REQ_FUA | REQ_UNMAP;
    return NULL;
}

static void wait_for_it(BlockNode *n)
{
    const Null *x = (Null *)n;

    if (x->latency_ns)
        co_sleep(x->latency_ns);
    else if (!strcmp(n->drv->name, "null-aio"))
        co_pause();
}

static int null_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    iov_fill(q, 0, 0, q->len);
    wait_for_it(n);
    return 0;
}

static int null_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    wait_for_it(n);
    return 0;
}

static int null_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    wait_for_it(n);
    return 0;
}

static int null_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    wait_for_it(n);
    return 0;
}

static int null_flush(BlockNode *n)
{
    wait_for_it(n);
    return 0;
}

static int null_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET, .host = off, .host_node = n };
    if (((Null *)n)->read_zeroes)
        out->flags |= EXTENT_ZERO;
    return 0;
}

static int64_t null_allocated(BlockNode *n)
{
    return 0;
}

static Err *null_reopen(BlockNode *n, const void *opts, bool read_only)
{
    const Null *now = opts;

    if (now->opt_size != ((Null *)n)->opt_size)
        return err(ERR_UNSUPPORTED, "Cannot change the option 'size'");
    return NULL;
}

static Err *parse_name(const char *name, json_t *options)
{
    if (strcmp(strchr(name, ':'), "://"))
        return err_hint(err(ERR_INVALID, "The only allowed filename for this driver is '%.*s://'",
                            (int)strcspn(name, ":"), name), "Other sizes: driver=null-co,size=10G");
    return NULL;
}

static char *make_name(BlockNode *n)
{
    static const char *const plain[] = { "size", "latency-ns", "read-zeroes" };

    for (unsigned i = 0; i < G_N_ELEMENTS(plain); i++) {
        if (json_object_get(n->options, plain[i]))
            return NULL;
    }
    return g_strdup_printf("%s://", n->drv->name);
}

static const char *const co_schemes[] = { "null-co:", NULL };
static const char *const aio_schemes[] = { "null-aio:", NULL };

BLOCK(null_co) = {
    .name = "null-co", .doc = "zeroes, and writes that go nowhere", .kind = DRIVER_PROTOCOL,
    .size = sizeof(Null), .fields = null_fields, .schemes = co_schemes, .parse_name = parse_name, .make_name = make_name,
    .open = null_open, .reopen = null_reopen, .read = null_read, .write = null_write, .zero = null_zero,
    .discard = null_discard, .flush = null_flush, .extent = null_extent, .allocated = null_allocated,
};

BLOCK(null_aio) = {
    .name = "null-aio", .doc = "the same, ending later", .kind = DRIVER_PROTOCOL,
    .size = sizeof(Null), .fields = null_fields, .schemes = aio_schemes, .parse_name = parse_name, .make_name = make_name,
    .open = null_open, .reopen = null_reopen, .read = null_read, .write = null_write, .zero = null_zero,
    .discard = null_discard, .flush = null_flush, .extent = null_extent, .allocated = null_allocated,
};
