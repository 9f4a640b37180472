/* SPDX-License-Identifier: MIT */
/*
 * What an NBD client may send to our server. The first byte chooses how far a
 * good handshake has come before the rest is sent: not at all, or to the
 * transmission phase with simple replies, structured ones, extended headers.
 * The client reads what it is told, and then leaves.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/nbd-rig.h"

#define SIZE (1 << 20)

typedef struct Run {
    const uint8_t *data;
    size_t size;
} Run;

static BlockGraph *graph;
static BlockNode *node;
static Loop *loop;

static void option(GByteArray *a, uint32_t type, const void *data, uint32_t len)
{
    uint8_t b[16];

    put32(put32(put64(b, NBD_OPTS_MAGIC), type), len);
    g_byte_array_append(a, b, 16);
    g_byte_array_append(a, data, len);
}

/* A handshake that is good as far as it goes. */
static void shake(GByteArray *a, unsigned how)
{
    static const char contexts[] = "\0\0\0\0\0\0\0\3\0\0\0\17base:allocation\0\0\0\25qemu:allocation-depth"
                                   "\0\0\0\24qemu:dirty-bitmap:b0";

    if (how % 4 == 0)
        return;
    g_byte_array_append(a, (const uint8_t *)"\0\0\0\3", 4);
    if (how % 4 > 1) {
        option(a, how % 4 == 2 ? NBD_OPT_STRUCTURED_REPLY : NBD_OPT_EXTENDED_HEADERS, "", 0);
        option(a, NBD_OPT_SET_META_CONTEXT, contexts, sizeof(contexts) - 1);
    }
    option(a, NBD_OPT_GO, "\0\0\0\0\0\0", 6);
}

static void send_all(void *arg)
{
    Run *r = arg;
    g_autoptr(GByteArray) a = g_byte_array_new();
    NbdServerConfig c = { .max_clients = 2 };
    const char *const bitmaps[] = { "b0", NULL };
    NbdExportConfig x = { .name = "", .node = node, .writable = !(r->data[0] & 4), .allocation_depth = true,
                          .bitmaps = r->data[0] & 4 ? NULL : bitmaps, .description = "words" };
    NbdServer *s = nbd_server_new(loop, &c);
    int fd[2], size = 1 << 20;

    fuzz_error(nbd_export_add(s, &x, NULL));
    pair_of(fd);
    setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    Wire *w = wire_of(fd[0]);
    fuzz_error(nbd_server_take(s, fd[1]));
    shake(a, r->data[0]);
    g_byte_array_append(a, r->data + 1, r->size - 1);
    wire_write(w, a->data, a->len);
    shutdown(fd[0], SHUT_WR);
    while (wire_peek(w) > 0)
        wire_skip(w, wire_buffered(w));
    wire_free(w);
    int64_t start = loop_now();
    nbd_server_stop(s);
    fuzz_must(loop_now() - start < 3000000000, "a client that has left was waited for");
    fuzz_must(!nbd_server_clients(s), "a client is left");
    nbd_server_free(s);
    fuzz_must(!((Ram *)node)->bad, "a request that the driver must not get");
}

static void open_node(void *arg)
{
    DirtyBitmap *b;

    node = open_text(graph, "driver=ram,size=1M", OPEN_RW);
    fuzz_error(bitmap_new(node, "b0", 4096, &b));
    bitmap_mark(b, 8192, 8192);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_error(loop_new(1, &loop));
    graph = graph_new(loop);
    co_run(loop, open_node, NULL);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run r = { data, size };

    if (size)
        co_run(loop, send_all, &r);
    return 0;
}
