/* SPDX-License-Identifier: MIT */
/*
 * What an NBD server may send to our client. The first byte chooses what the
 * client asks for (list, plain, structured, extended) and whether a good
 * handshake comes in front; then requests are under way before the rest of the
 * bytes arrives, and the server hangs up.
 */
#include "tests/fuzz/fuzz.h"

#include "tests/unit/nbd-rig.h"

enum { LIST = 1, PLAIN = 2, NARROW = 4, SHAKEN = 8 };

typedef struct Run {
    const uint8_t *data;
    size_t size;
    Wire *server;
    NbdConn *conn;
    bool sent, ended;
    unsigned asked, answered;
} Run;

static Loop *loop;

static void reply(GByteArray *a, uint32_t option, uint32_t type, const void *data, uint32_t len)
{
    uint8_t b[20];

    put32(put32(put32(put64(b, NBD_REP_MAGIC), option), type), len);
    g_byte_array_append(a, b, 20);
    g_byte_array_append(a, data, len);
}

static void shake(GByteArray *a, unsigned how)
{
    uint8_t b[18];

    put16(put64(put64(b, NBD_INIT_MAGIC), NBD_OPTS_MAGIC), 3);
    g_byte_array_append(a, b, 18);
    if (!(how & (PLAIN | NARROW)))
        reply(a, NBD_OPT_EXTENDED_HEADERS, NBD_REP_ACK, "", 0);
    else if (how & NARROW && !(how & PLAIN))
        reply(a, NBD_OPT_STRUCTURED_REPLY, NBD_REP_ACK, "", 0);
    if (!(how & PLAIN)) {
        reply(a, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\0base:allocation", 19);
        reply(a, NBD_OPT_SET_META_CONTEXT, NBD_REP_ACK, "", 0);
    }
    put16(put64(put16(b, NBD_INFO_EXPORT), 1 << 20), 0x1fff & ~NBD_FLAG_READ_ONLY);
    reply(a, NBD_OPT_GO, NBD_REP_INFO, b, 12);
    reply(a, NBD_OPT_GO, NBD_REP_ACK, "", 0);
}

static void swallow(Run *r)
{
    while (wire_peek(r->server) > 0)
        wire_skip(r->server, wire_buffered(r->server));
}

/* The server: its handshake, then (when the client has asked) the bytes, then the end. */
static void play(void *arg)
{
    Run *r = arg;
    g_autoptr(GByteArray) a = g_byte_array_new();

    if (r->data[0] & SHAKEN && !(r->data[0] & LIST)) {
        shake(a, r->data[0]);
        wire_write(r->server, a->data, a->len);
        for (int i = 0; i < 100 && r->asked < 5 && !r->ended; i++)
            co_pause();
    }
    wire_write(r->server, r->data + 1, r->size - 1);
    shutdown(wire_fd(r->server), SHUT_WR);
    swallow(r);
    r->sent = true;
}

static void ask(void *arg)
{
    static const uint16_t types[] = { NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_BLOCK_STATUS, NBD_CMD_READ, NBD_CMD_WRITE_ZEROES };
    Run *r = arg;
    unsigned i = r->asked++;
    g_autofree uint8_t *buf = g_malloc0(4096);
    IoVec q = IOV_BUF(buf, 4096);
    NbdRequest req = { .type = types[i], .off = 4096 * i, .len = 4096, .q = &q };

    nbd_conn_request(r->conn, &req);
    r->answered++;
}

static void client(void *arg)
{
    Run *r = arg;
    unsigned how = r->data[0];
    NbdWish w = { .export = "", .context = NBD_BASE_ALLOCATION, .plain = how & PLAIN, .narrow = how & NARROW };
    int fd[2];

    pair_of(fd);
    r->server = wire_of(fd[1]);
    co_start(loop, play, r);
    if (how & LIST) {
        Wire *wire = wire_of(fd[0]);
        NbdInfo *list;
        unsigned n;
        fuzz_error(nbd_list(wire, &w, &list, &n));
        wire_free(wire);
        nbd_list_free(list, n);
    } else {
        Err *e = nbd_conn_start(wire_of(fd[0]), &w, loop_now() + 5000000000, NULL, &r->conn);
        if (!e) {
            for (int i = 0; i < 5; i++)
                co_start(loop, ask, r);
            while (r->answered < 5)
                co_pause();
            nbd_conn_close(r->conn);
        }
        fuzz_error(e);
    }
    r->ended = true;
    while (!r->sent)
        co_pause();
    wire_free(r->server);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    fuzz_error(loop_new(1, &loop));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Run r = { data, size };

    if (size)
        co_run(loop, client, &r);
    return 0;
}
