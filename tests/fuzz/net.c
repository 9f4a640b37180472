/* SPDX-License-Identifier: MIT */
/*
 * What a guest sends into the network, and -netdev's arguments. First byte:
 *   0  a virtio_net_hdr and a frame, cut into plain ones
 *   1  frames of a guest to -netdev user: length (16 bits), virtio_net_hdr, bytes; some turns of the loop between
 *   2  the argument of -netdev, in a folder and a network of its own
 */
#include "tests/fuzz/fuzz.h"

#include <signal.h>

#include "net/offload.h"
#include "util/co.h"

static Loop *loop;

typedef struct Task { Net *net; const char *arg; Err *e; } Task;
static void add(void *opaque) { Task *t = opaque; t->e = net_add(t->net, t->arg); }
static void end(void *opaque) { net_free(((Task *)opaque)->net); }

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_hide();
    signal(SIGPIPE, SIG_IGN);
    fuzz_error(loop_new(0, &loop));
    return 0;
}

static void see(void *opaque, const IoVec *plain)
{
    static uint8_t out[NET_FRAME_MAX];

    fuzz_must(plain->len <= sizeof(out), "a part of %zu bytes", plain->len);
    iov_read(plain, 0, out, plain->len);
}

static void cut(const uint8_t *data, size_t size)
{
    uint8_t *copy = g_malloc(size + 1);
    struct iovec v[3] = { { copy, size / 3 }, { copy + size / 3, size / 3 }, { copy + size / 3 * 2, size - size / 3 * 2 } };
    IoVec q = { v, 3, 0, size };

    memcpy(copy, data, size);
    net_cut(&q, NET_HDR_LEN, see, NULL);
    g_free(copy);
}

static bool take(NetPort *p, const IoVec *frame)
{
    see(NULL, frame);
    return true;
}

static void turns(void)
{
    for (int i = 0; i < 20 && loop_turn(loop, false); i++)
        ;
}

static void guest(const uint8_t *data, size_t size)
{
    static const NetOps ops = { .frame = take };
    Task t = { net_new(loop), "user,id=u,tftp=.,hostname=h,dnssearch=a.b,bootfile=b", NULL };
    NetPort port = { .ops = &ops, .name = (char *)"guest", .hdr_len = NET_HDR_LEN }, *peer = NULL;

    co_run(loop, add, &t);
    if (!t.e && !net_find(t.net, "u", 0, &peer) && !net_link_ports(&port, peer)) {
        net_expect(&port, NET_HDR_LEN);
        while (size >= 2) {
            size_t n = MIN((size_t)(data[0] << 8 | data[1]) & 0x3fff, size - 2);
            struct iovec v;
            IoVec q = iov_buf(&v, (void *)(data + 2), n);

            net_send(&port, &q);
            data += 2 + n;
            size -= 2 + n;
            turns();
        }
        net_unlink(&port);
    }
    fuzz_error(t.e);
    co_run(loop, end, &t);
    turns();
}

/* What would run programs, make interfaces, or use this process's descriptors. */
static bool wild(const char *s)
{
    static const char *const words[] = { "tap", "bridge", "cmd:", "fd", "connect", "/", "..", "script", "helper" };

    for (size_t i = 0; i < G_N_ELEMENTS(words); i++)
        if (strstr(s, words[i]))
            return true;
    return false;
}

static void argument(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    Task t = { net_new(loop), text, NULL };

    if (!wild(text)) {
        co_run(loop, add, &t);
        fuzz_error(t.e);
        turns();
        g_free(net_info(t.net));
    }
    co_run(loop, end, &t);
    turns();
    fuzz_tidy();
    g_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    switch (data[0] % 3) {
    case 0: cut(data + 1, size - 1); break;
    case 1: guest(data + 1, size - 1); break;
    case 2: argument(data + 1, size - 1); break;
    }
    return 0;
}
