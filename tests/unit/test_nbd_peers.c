/* SPDX-License-Identifier: MIT */
/*
 * block/nbd and peers that lie. Servers played by a script: what our client
 * makes of wrong magics, lengths, handles, chunks. Clients played by hand: what
 * our server does about them, and that others are served meanwhile.
 */
#include "tests/unit/nbd-rig.h"

/* ---- a server by script */

typedef struct Script {
    GByteArray *say;            /* after each request or option, what has been gathered is sent */
    Wire *w;
    void (*play)(struct Script *);
    uint64_t handle, off;       /* of the request read last */
    uint32_t len;
    uint16_t type;
    bool done;
} Script;

static void add(Script *s, const void *p, size_t n)
{
    g_byte_array_append(s->say, p, n);
}

static void add16(Script *s, uint16_t v) { uint8_t b[2]; put16(b, v); add(s, b, 2); }
static void add32(Script *s, uint32_t v) { uint8_t b[4]; put32(b, v); add(s, b, 4); }
static void add64(Script *s, uint64_t v) { uint8_t b[8]; put64(b, v); add(s, b, 8); }

static void flush(Script *s)
{
    wire_write(s->w, s->say->data, s->say->len);
    g_byte_array_set_size(s->say, 0);
}

/* Reads an option; returns it, or 0 at the end. */
static uint32_t hear_option(Script *s)
{
    uint8_t b[16];

    flush(s);
    if (wire_read(s->w, b, 16))
        return 0;
    wire_skip(s->w, get32(b + 12));
    return get32(b + 8);
}

static bool hear_request(Script *s)
{
    uint8_t b[28];

    flush(s);
    if (wire_read(s->w, b, 28))
        return false;
    s->type = get16(b + 6);
    s->handle = get64(b + 8);
    s->off = get64(b + 16);
    s->len = get32(b + 24);
    if (s->type == NBD_CMD_WRITE)
        wire_skip(s->w, s->len);
    return true;
}

static void reply(Script *s, uint32_t option, uint32_t type, const void *data, uint32_t len)
{
    add64(s, NBD_REP_MAGIC);
    add32(s, option);
    add32(s, type);
    add32(s, len);
    add(s, data, len);
}

static void hello(Script *s)
{
    uint8_t b[4];

    add64(s, NBD_INIT_MAGIC);
    add64(s, NBD_OPTS_MAGIC);
    add16(s, 3);
    flush(s);
    wire_read(s->w, b, 4);
}

static void reply_export(Script *s, uint64_t size, uint16_t flags)
{
    uint8_t b[12];

    put16(put64(put16(b, NBD_INFO_EXPORT), size), flags);
    reply(s, NBD_OPT_GO, NBD_REP_INFO, b, 12);
}

/* A good handshake with structured replies and base:allocation as context 7. */
static void shake(Script *s)
{
    hello(s);
    for (uint32_t o; (o = hear_option(s)) && o != NBD_OPT_GO; ) {
        if (o == NBD_OPT_EXTENDED_HEADERS) {
            reply(s, o, NBD_REP_ERR_UNSUP, NULL, 0);
        } else {
            if (o == NBD_OPT_SET_META_CONTEXT)
                reply(s, o, NBD_REP_META_CONTEXT, "\0\0\0\7base:allocation", 19);
            reply(s, o, NBD_REP_ACK, NULL, 0);
        }
    }
    reply_export(s, 1 << 20, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_DF | NBD_FLAG_SEND_FLUSH);
    reply(s, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}

static void chunk(Script *s, uint16_t flags, uint16_t type, uint64_t handle, uint32_t len)
{
    add32(s, NBD_STRUCTURED_REPLY_MAGIC);
    add16(s, flags);
    add16(s, type);
    add64(s, handle);
    add32(s, len);
}

static void data_chunk(Script *s, uint16_t flags, uint64_t off, uint32_t len)
{
    g_autofree void *zero = g_malloc0(len);

    chunk(s, flags, NBD_REPLY_TYPE_OFFSET_DATA, s->handle, len + 8);
    add64(s, off);
    add(s, zero, len);
}

static void hole_chunk(Script *s, uint16_t flags, uint64_t off, uint32_t len)
{
    chunk(s, flags, NBD_REPLY_TYPE_OFFSET_HOLE, s->handle, 12);
    add64(s, off);
    add32(s, len);
}

static void script_main(void *arg)
{
    Script *s = arg;

    s->play(s);
    flush(s);
    wire_down(s->w, EIO);
    s->done = true;
}

static Script *script_new(void (*play)(Script *), int *fd)
{
    Script *s = g_new0(Script, 1);
    int pair[2];

    pair_of(pair);
    s->say = g_byte_array_new();
    s->w = wire_of(pair[1]);
    s->play = play;
    *fd = pair[0];
    co_start(co_loop(), script_main, s);
    return s;
}

static void script_free(Script *s)
{
    while (!s->done)
        co_pause();
    wire_free(s->w);
    g_byte_array_free(s->say, TRUE);
    g_free(s);
}

/* ---- bad handshakes */

static void no_nbd(Script *s) { add(s, "SSH-2.0-OpenSSH_9.2p1 Debian", 28); }
static void silent(Script *s) { }
static void wrong_version(Script *s) { add64(s, NBD_INIT_MAGIC); add64(s, 1234567); }
static void short_hello(Script *s) { add64(s, NBD_INIT_MAGIC); add32(s, 1); }
static void wrong_reply_magic(Script *s)
{
    hello(s);
    hear_option(s);
    add64(s, NBD_REP_MAGIC + 1);
    add64(s, 0);
    add32(s, 0);
}
static void other_option(Script *s) { hello(s); hear_option(s); reply(s, NBD_OPT_LIST, NBD_REP_ACK, NULL, 0); }
static void long_reply(Script *s)
{
    hello(s);
    uint32_t o = hear_option(s);
    add64(s, NBD_REP_MAGIC);
    add32(s, o);
    add32(s, NBD_REP_ACK);
    add32(s, 0xffffffff);
}
static void ack_with_data(Script *s) { hello(s); reply(s, hear_option(s), NBD_REP_ACK, "x", 1); }
static void odd_ack(Script *s) { hello(s); reply(s, hear_option(s), NBD_REP_SERVER, "\0\0\0\0", 4); }
static void until_go(Script *s)
{
    hello(s);
    for (uint32_t o; (o = hear_option(s)) && o != NBD_OPT_GO; )
        reply(s, o, NBD_REP_ERR_UNSUP, NULL, 0);
}
static void no_size(Script *s) { until_go(s); reply(s, NBD_OPT_GO, NBD_REP_ACK, NULL, 0); }
static void huge_size(Script *s)
{
    until_go(s);
    reply_export(s, UINT64_MAX, 1);
    reply(s, NBD_OPT_GO, NBD_REP_ACK, NULL, 0);
}
static void short_info(Script *s) { until_go(s); reply(s, NBD_OPT_GO, NBD_REP_INFO, "\0", 1); }
static void short_export(Script *s) { until_go(s); reply(s, NBD_OPT_GO, NBD_REP_INFO, "\0\0\0\0", 4); }
static void bad_blocks(Script *s)
{
    until_go(s);
    reply(s, NBD_OPT_GO, NBD_REP_INFO, "\0\3\0\0\0\3\0\0\20\0\0\0\20\0", 14);
}
static void endless_info(Script *s)
{
    until_go(s);
    for (int i = 0; i < 20000; i++)
        reply(s, NBD_OPT_GO, NBD_REP_INFO, "\0\77\1", 3);
}
static void not_there(Script *s)
{
    until_go(s);
    reply(s, NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, "no\033[2J such\nthing", 17);
}
static void wrong_context(Script *s)
{
    hello(s);
    for (uint32_t o; (o = hear_option(s)) && o != NBD_OPT_SET_META_CONTEXT; )
        reply(s, o, o == NBD_OPT_STRUCTURED_REPLY ? NBD_REP_ACK : NBD_REP_ERR_UNSUP, NULL, 0);
    reply(s, NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\7qemu:other", 14);
}
static void old_unknown(Script *s)
{
    until_go(s);
    reply(s, NBD_OPT_GO, NBD_REP_ERR_UNSUP, NULL, 0);
    hear_option(s);     /* EXPORT_NAME: hang up */
}

static void test_bad_handshakes(BlockGraph *g)
{
    static const struct { void (*play)(Script *); const char *says; } rows[] = {
        { no_nbd, "no NBD server" }, { silent, "before it said hello" }, { wrong_version, "no NBD that is known" },
        { short_hello, "before it said hello" }, { wrong_reply_magic, "wrong magic" }, { other_option, "replied to option 3" },
        { long_reply, "too long" }, { ack_with_data, "no sense" }, { odd_ack, "no sense" }, { no_size, "how large" },
        { huge_size, "too large" }, { short_info, "too short" }, { short_export, "wrong length" },
        { bad_blocks, "no power of two" }, { endless_info, "no end" }, { not_there, "no [2J such thing" },
        { wrong_context, "where 'base:allocation'" }, { old_unknown, "no export 'e'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        NbdWish w = { .export = "e", .context = "base:allocation" };
        NbdConn *c;
        int fd;
        Script *s = script_new(rows[i].play, &fd);
        CHECK(fails(nbd_conn_start(wire_of(fd), &w, loop_now() + 5000000000, NULL, &c), rows[i].says));
        script_free(s);
    }
}

static void oldest(Script *s)
{
    add64(s, NBD_INIT_MAGIC);
    add64(s, NBD_OLD_MAGIC);
    add64(s, 4096);
    add32(s, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH);
    for (int i = 0; i < 31; i++)
        add32(s, 0);
    while (hear_request(s) && s->type != NBD_CMD_DISC) {
        add32(s, NBD_SIMPLE_REPLY_MAGIC);
        add32(s, 0);
        add64(s, s->handle);
        for (uint32_t n = 0; s->type == NBD_CMD_READ && n < s->len; n++)
            add(s, "o", 1);
    }
}

/* Newstyle, but not fixed: EXPORT_NAME and nothing else. */
static void not_fixed(Script *s)
{
    uint8_t b[4];

    add64(s, NBD_INIT_MAGIC);
    add64(s, NBD_OPTS_MAGIC);
    add16(s, 0);
    flush(s);
    wire_read(s->w, b, 4);
    CHECK_EQ(get32(b), 0);
    CHECK_EQ(hear_option(s), NBD_OPT_EXPORT_NAME);
    add64(s, 4096);
    add16(s, NBD_FLAG_HAS_FLAGS);
    for (int i = 0; i < 31; i++)
        add32(s, 0);
    while (hear_request(s) && s->type != NBD_CMD_DISC) {
        add32(s, NBD_SIMPLE_REPLY_MAGIC);
        add32(s, 0);
        add64(s, s->handle);
        for (uint32_t n = 0; s->type == NBD_CMD_READ && n < s->len; n++)
            add(s, "o", 1);
    }
}

static void test_old_servers(BlockGraph *g)
{
    void (*const plays[])(Script *) = { oldest, not_fixed };

    for (int i = 0; i < 2; i++) {
        NbdWish w = { .export = "", .context = "base:allocation" };
        NbdConn *c = NULL;
        int fd;
        uint8_t b[16] = { 0 };
        IoVec q = IOV_BUF(b, sizeof(b));
        NbdRequest r = { .type = NBD_CMD_READ, .off = 1, .len = sizeof(b), .q = &q };
        Script *s = script_new(plays[i], &fd);
        CHECK(ok(nbd_conn_start(wire_of(fd), &w, -1, NULL, &c)));
        CHECK_EQ(nbd_conn_info(c)->size, 4096);
        CHECK_EQ(nbd_conn_request(c, &r), 0);
        CHECK_EQ(b[15], 'o');
        nbd_conn_close(c);
        script_free(s);
    }
}

/* ---- bad replies to a read of 4096 bytes at 4096, and to a block status */

static void begin(Script *s) { shake(s); hear_request(s); }
static void bad_magic(Script *s) { begin(s); add64(s, 0); add64(s, 0); add64(s, 0); }
static void bad_handle(Script *s) { begin(s); s->handle ^= 1; data_chunk(s, 1, 4096, 4096); }
static void old_handle(Script *s) { begin(s); s->handle ^= UINT64_C(1) << 40; data_chunk(s, 1, 4096, 4096); }
static void simple_read(Script *s)
{
    begin(s);
    add32(s, NBD_SIMPLE_REPLY_MAGIC);
    add32(s, 0);
    add64(s, s->handle);
}
static void outside_left(Script *s) { begin(s); data_chunk(s, 1, 4095, 4096); }
static void outside_right(Script *s) { begin(s); data_chunk(s, 1, 4097, 4096); }
static void far_outside(Script *s) { begin(s); data_chunk(s, 1, UINT64_MAX - 5, 4096); }
static void hole_outside(Script *s) { begin(s); hole_chunk(s, 1, 4096, 4097); }
static void hole_nothing(Script *s) { begin(s); hole_chunk(s, 0, 4096, 0); }
static void hole_length(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_OFFSET_HOLE, s->handle, 13); add(s, "0123456789012", 13); }
static void twice(Script *s) { begin(s); data_chunk(s, 0, 4096, 2048); hole_chunk(s, 1, 4096 + 2047, 2049); }
static void twice_all(Script *s) { begin(s); data_chunk(s, 0, 4096, 4096); data_chunk(s, 1, 4096, 4096); }
static void too_little(Script *s) { begin(s); data_chunk(s, 1, 4096, 4095); }
static void nothing(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_NONE, s->handle, 0); }
static void none_not_done(Script *s) { begin(s); chunk(s, 0, NBD_REPLY_TYPE_NONE, s->handle, 0); }
static void tiny_data(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_OFFSET_DATA, s->handle, 8); add64(s, 4096); }
static void huge_chunk(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_OFFSET_DATA, s->handle, UINT32_MAX); add64(s, 4096); }
static void strange_type(Script *s) { begin(s); chunk(s, 1, 77, s->handle, 0); }
static void status_for_read(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_BLOCK_STATUS, s->handle, 12); add64(s, 0); add32(s, 0); }
static void error_zero(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_ERROR, s->handle, 6); add32(s, 0); add16(s, 0); }
static void error_long(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_ERROR, s->handle, 6); add32(s, 5); add16(s, 1); }
static void error_huge(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_ERROR, s->handle, 1 << 30); add32(s, 5); }
static void error_outside(Script *s)
{
    begin(s);
    chunk(s, 1, NBD_REPLY_TYPE_ERROR_OFFSET, s->handle, 14);
    add32(s, 5);
    add16(s, 0);
    add64(s, 1);
}
static void hangs_up(Script *s) { begin(s); }
static void half_data(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_OFFSET_DATA, s->handle, 4104); add64(s, 4096); add64(s, 1); }
static void pieces(Script *s)
{
    begin(s);
    for (int i = 0; i < 4096; i += 2)
        hole_chunk(s, 0, 4096 + i, 1);
}

static void answers_twice(Script *s)
{
    begin(s);
    data_chunk(s, 1, 4096, 4096);
    data_chunk(s, 1, 4096, 4096);
    hear_request(s);
}

static int read_4k(NbdConn *c, uint8_t *b)
{
    IoVec q = IOV_BUF(b, 4096);
    NbdRequest r = { .type = NBD_CMD_READ, .off = 4096, .len = 4096, .q = &q };

    return nbd_conn_request(c, &r);
}

static void test_bad_replies(BlockGraph *g)
{
    static const struct { void (*play)(Script *); const char *says; } rows[] = {
        { bad_magic, "no reply" }, { bad_handle, "not there" }, { old_handle, "not there" }, { simple_read, "simple reply" },
        { outside_left, "outside" }, { outside_right, "outside" }, { far_outside, "outside" }, { hole_outside, "outside" },
        { hole_nothing, "no length" }, { hole_length, "payload of 13" }, { twice, "twice" }, { twice_all, "twice" },
        { too_little, "less than" }, { nothing, "less than" }, { none_not_done, "payload of 0" }, { tiny_data, "payload of 8" },
        { huge_chunk, "outside" }, { strange_type, "type 77" }, { status_for_read, "type 5" }, { error_zero, "error that is none" },
        { error_long, "payload of 6" }, { error_huge, "payload of" }, { error_outside, "outside" },
        { hangs_up, "ended the connection" }, { half_data, "ended the connection" }, { pieces, "too many pieces" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        NbdWish w = { .export = "", .context = "base:allocation" };
        NbdConn *c = NULL;
        int fd;
        uint8_t b[4096];
        Script *s = script_new(rows[i].play, &fd);
        CHECK(ok(nbd_conn_start(wire_of(fd), &w, -1, NULL, &c)));
        CHECK_EQ(-read_4k(c, b), EIO);
        const char *why = nbd_conn_broken(c);
        if (!why || !strstr(why, rows[i].says))
            printf("row %zu: '%s', want '%s'\n", i, why ? why : "", rows[i].says);
        CHECK(why && strstr(why, rows[i].says));
        CHECK_EQ(-read_4k(c, b), EIO);      /* and stays so */
        nbd_conn_close(c);
        script_free(s);
    }
    NbdWish w = { .export = "", .context = "base:allocation" };
    NbdConn *c = NULL;
    int fd;
    uint8_t b[4096];
    Script *s = script_new(answers_twice, &fd);
    CHECK(ok(nbd_conn_start(wire_of(fd), &w, -1, NULL, &c)));
    CHECK_EQ(read_4k(c, b), 0);
    CHECK_EQ(-read_4k(c, b), EIO);
    nbd_conn_close(c);
    script_free(s);
}

/* Odd, and allowed. */
static void any_order(Script *s)
{
    begin(s);
    data_chunk(s, 0, 4096 + 3000, 1096);
    hole_chunk(s, 0, 4096, 10);
    hole_chunk(s, 0, 4096 + 20, 2980);
    data_chunk(s, 0, 4096 + 10, 10);
    chunk(s, 1, NBD_REPLY_TYPE_NONE, s->handle, 0);
    hear_request(s);
    chunk(s, 0, NBD_REPLY_TYPE_ERROR, s->handle, 11);
    add32(s, NBD_ENOSPC);
    add16(s, 5);
    add(s, "words", 5);
    data_chunk(s, 0, 4096, 100);
    chunk(s, 1, NBD_REPLY_TYPE_ERROR_OFFSET, s->handle, 14);
    add32(s, 5);
    add16(s, 0);
    add64(s, 5000);
    hear_request(s);
    chunk(s, 1, NBD_REPLY_TYPE_IS_ERROR | 99, s->handle, 20);     /* an error of a new kind */
    add32(s, NBD_EPERM);
    add16(s, 3);
    add(s, "why and something", 14);
    hear_request(s);
}

static void test_odd_replies(BlockGraph *g)
{
    NbdWish w = { .export = "", .context = "base:allocation" };
    NbdConn *c = NULL;
    int fd;
    uint8_t b[4096];
    Script *s = script_new(any_order, &fd);

    memset(b, 1, sizeof(b));
    CHECK(ok(nbd_conn_start(wire_of(fd), &w, -1, NULL, &c)));
    CHECK_EQ(read_4k(c, b), 0);
    CHECK(buf_is_zero(b, sizeof(b)));
    CHECK_EQ(-read_4k(c, b), ENOSPC);
    CHECK_EQ(-read_4k(c, b), EPERM);
    CHECK(!nbd_conn_broken(c));
    nbd_conn_close(c);
    script_free(s);
}

/* Block status of 64 KiB at 0. */
static void status(Script *s, uint16_t flags, uint32_t id, uint32_t len, unsigned n)
{
    chunk(s, flags, NBD_REPLY_TYPE_BLOCK_STATUS, s->handle, 4 + 8 * n);
    add32(s, id);
    for (unsigned i = 0; i < n; i++) {
        add32(s, len);
        add32(s, 3);
    }
}
static void st_other(Script *s) { begin(s); status(s, 1, 8, 4096, 1); }
static void st_zero(Script *s) { begin(s); status(s, 1, 7, 0, 1); }
static void st_none(Script *s) { begin(s); status(s, 1, 7, 1, 0); }
static void st_twice(Script *s) { begin(s); status(s, 0, 7, 4096, 1); status(s, 1, 7, 4096, 1); }
static void st_nothing(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_NONE, s->handle, 0); }
static void st_wide(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, s->handle, 24); for (int i = 0; i < 6; i++) add32(s, 7); }
static void st_odd(Script *s) { begin(s); chunk(s, 1, NBD_REPLY_TYPE_BLOCK_STATUS, s->handle, 15); add64(s, 7); add64(s, 7); }
static void st_simple(Script *s) { begin(s); add32(s, NBD_SIMPLE_REPLY_MAGIC); add32(s, 0); add64(s, s->handle); }
static void st_more(Script *s) { begin(s); status(s, 1, 7, 1 << 30, 3); hear_request(s); }

static void test_bad_status(BlockGraph *g)
{
    static const struct { void (*play)(Script *); const char *says; } rows[] = {
        { st_other, "context 8" }, { st_zero, "no length" }, { st_none, "payload of 4" }, { st_twice, "twice" },
        { st_nothing, "no extent" }, { st_wide, "wrong width" }, { st_odd, "payload of 15" }, { st_simple, "no extent" },
        { st_more, NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *text = NULL;
        int fd;
        Script *s = script_new(rows[i].play, &fd);
        text = g_strdup_printf("driver=nbd,server.type=fd,server.str=%d", fd);
        BlockNode *n = open_text(g, text, 0);
        Extent e;
        close(fd);
        int ret = node_extent(n, 0, 65536, &e);
        if (rows[i].says) {
            CHECK_EQ(-ret, EIO);
        } else {
            CHECK_EQ(ret, 0);
            CHECK_EQ(e.len, 65536);
            CHECK_EQ(e.flags & (EXTENT_DATA | EXTENT_ZERO), EXTENT_ZERO);
        }
        node_unref(n);
        script_free(s);
    }
}

/* ---- bad clients */

static void client_hello(Wire *w)
{
    uint8_t b[18];

    CHECK_EQ(wire_read(w, b, 18), 0);
    CHECK_EQ(wire_write(w, "\0\0\0\3", 4), 0);
}

static void option(Wire *w, uint32_t type, const void *data, uint32_t len)
{
    uint8_t b[16];

    put32(put32(put64(b, NBD_OPTS_MAGIC), type), len);
    CHECK_EQ(wire_write(w, b, 16), 0);
    CHECK_EQ(wire_write(w, data, len), 0);
}

/* The type of the server's next reply, whose data is dropped; 0 at the end. */
static uint32_t answer(Wire *w)
{
    uint8_t b[20];

    if (wire_read(w, b, 20))
        return 0;
    wire_skip(w, get32(b + 16));
    return get32(b + 12);
}

static void test_bad_options(BlockGraph *g)
{
    static const struct { uint32_t option, len; const char *data; uint32_t want; } rows[] = {
        { 77, 3, "abc", NBD_REP_ERR_UNSUP },
        { NBD_OPT_LIST, 1, "x", NBD_REP_ERR_INVALID },
        { NBD_OPT_STRUCTURED_REPLY, 1, "x", NBD_REP_ERR_INVALID },
        { NBD_OPT_STARTTLS, 0, "", NBD_REP_ERR_POLICY },
        { NBD_OPT_SET_META_CONTEXT, 8, "\0\0\0\0\0\0\0\0", NBD_REP_ERR_INVALID },     /* not structured yet */
        { NBD_OPT_STRUCTURED_REPLY, 0, "", NBD_REP_ACK },
        { NBD_OPT_STRUCTURED_REPLY, 0, "", NBD_REP_ERR_INVALID },
        { NBD_OPT_EXTENDED_HEADERS, 0, "", NBD_REP_ACK },
        { NBD_OPT_STRUCTURED_REPLY, 0, "", NBD_REP_ERR_EXT_HEADER_REQD },
        { NBD_OPT_GO, 0, "", NBD_REP_ERR_INVALID },
        { NBD_OPT_GO, 4, "\377\377\377\377", NBD_REP_ERR_INVALID },
        { NBD_OPT_GO, 6, "\0\0\0\0\0\1", NBD_REP_ERR_INVALID },
        { NBD_OPT_GO, 7, "\0\0\0\1z\0\0", NBD_REP_ERR_UNKNOWN },
        { NBD_OPT_GO, 7, "\0\0\0\1\0\0\0", NBD_REP_ERR_INVALID },
        { NBD_OPT_LIST_META_CONTEXT, 8, "\0\0\0\0\0\0\0\1", NBD_REP_ERR_INVALID },
        { NBD_OPT_LIST_META_CONTEXT, 8, "\0\0\0\0\377\377\377\377", NBD_REP_ERR_INVALID },
        { NBD_OPT_LIST_META_CONTEXT, 9, "\0\0\0\0\0\0\0\0x", NBD_REP_ERR_INVALID },
        { NBD_OPT_SET_META_CONTEXT, 17, "\0\0\0\0\0\0\0\1\0\0\0\5base:", NBD_REP_ACK },
        { NBD_OPT_LIST_META_CONTEXT, 17, "\0\0\0\0\0\0\0\1\0\0\0\5base:", NBD_REP_META_CONTEXT },
    };
    Serving s = serve(g, "driver=ram");
    Wire *w = wire_of(dial(&s));
    g_autofree char *zero = g_malloc0(5 << 20);

    client_hello(w);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        option(w, rows[i].option, rows[i].data, rows[i].len);
        uint32_t got = answer(w);
        if (got != rows[i].want)
            printf("row %zu:\n", i);
        CHECK_EQ(got, rows[i].want);
    }
    CHECK_EQ(answer(w), NBD_REP_ACK);
    option(w, NBD_OPT_LIST, zero, 65537);
    CHECK_EQ(answer(w), NBD_REP_ERR_TOO_BIG);
    option(w, NBD_OPT_LIST, "", 0);
    CHECK_EQ(answer(w), NBD_REP_SERVER);
    CHECK_EQ(answer(w), NBD_REP_ACK);
    option(w, NBD_OPT_ABORT, "", 0);
    CHECK_EQ(answer(w), NBD_REP_ACK);
    CHECK_EQ(wire_peek(w), 0);
    wire_free(w);
    serving_end(&s);
}

/* Bytes after the hello that end the connection. */
static void test_hang_ups(BlockGraph *g)
{
    static const struct { const char *bytes; size_t len; } rows[] = {
        { "GET / HTTP/1.1\r\n\r\n", 18 },
        { "\0\0\0\4", 4 },
        { "\0\0\0\3notanopt\0\0\0\1\0\0\0\0", 20 },
        { "\0\0\0\3IHAVEOPT\0\0\0\3\377\377\377\377", 20 },
        { "\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\3xyz", 23 },          /* no such export */
        { "\0\0\0\3IHAVEOPT\0\0\0\1\0\1\0\0", 20 },
        { "\0\0\0\2IHAVEOPT\0\0\0\1\0\0\0\0nothing like a request......", 48 },
    };
    Serving s = serve(g, "driver=ram");
    NbdConn *good = dial_conn(&s, (NbdWish){ 0 });
    uint8_t b[4096 + 4096];

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Wire *w = wire_of(dial(&s));
        wire_deadline(w, loop_now() + 3000000000);
        CHECK_EQ(wire_write(w, rows[i].bytes, rows[i].len), 0);
        int ret;
        while ((ret = wire_peek(w)) > 0)
            CHECK_EQ(wire_skip(w, wire_buffered(w)), 0);
        CHECK(ret == 0 || ret == -ECONNRESET);
        wire_free(w);
        CHECK_EQ(read_4k(good, b), 0);
    }
    nbd_conn_close(good);
    serving_end(&s);
}

static void send_request(Wire *w, uint16_t flags, uint16_t type, uint64_t handle, uint64_t off, uint32_t len)
{
    uint8_t b[28];

    put32(put64(put64(put16(put16(put32(b, NBD_REQUEST_MAGIC), flags), type), handle), off), len);
    CHECK_EQ(wire_write(w, b, 28), 0);
}

static void choose_plain(Wire *w)
{
    uint8_t b[10];

    client_hello(w);
    option(w, NBD_OPT_EXPORT_NAME, "", 0);
    CHECK_EQ(wire_read(w, b, 10), 0);
}

static uint32_t simple_error(Wire *w, uint64_t handle)
{
    uint8_t b[16];

    CHECK_EQ(wire_read(w, b, 16), 0);
    CHECK_EQ(get32(b), NBD_SIMPLE_REPLY_MAGIC);
    CHECK_EQ(get64(b + 8), handle);
    return get32(b + 4);
}

static void test_bad_requests(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=256K");
    Wire *w = wire_of(dial(&s));
    g_autofree char *zero = g_malloc0(1 << 20);

    choose_plain(w);
    send_request(w, 0, NBD_CMD_READ, 1, UINT64_MAX, 512);
    CHECK_EQ(simple_error(w, 1), NBD_EINVAL);
    send_request(w, 0, NBD_CMD_READ, 2, 0, UINT32_MAX);
    CHECK_EQ(simple_error(w, 2), NBD_EINVAL);
    send_request(w, NBD_CMD_FLAG_DF, NBD_CMD_READ, 3, 0, 512);
    CHECK_EQ(simple_error(w, 3), NBD_EINVAL);
    send_request(w, 0, NBD_CMD_WRITE, 4, 262144 - 100, 1000);    /* its data is skipped */
    CHECK_EQ(wire_write(w, zero, 1000), 0);
    CHECK_EQ(simple_error(w, 4), NBD_ENOSPC);
    send_request(w, 0xffff, 0xffff, 5, 0, 0);
    CHECK_EQ(simple_error(w, 5), NBD_EINVAL);
    send_request(w, 0, NBD_CMD_BLOCK_STATUS, 6, 0, 512);
    CHECK_EQ(simple_error(w, 6), NBD_EINVAL);
    send_request(w, 0, NBD_CMD_WRITE_ZEROES, 7, 0, UINT32_MAX);
    CHECK_EQ(simple_error(w, 7), NBD_ENOSPC);
    send_request(w, 0, NBD_CMD_WRITE, 8, 0, 0);
    CHECK_EQ(simple_error(w, 8), 0);
    send_request(w, 0, NBD_CMD_WRITE, 9, 0, (32 << 20) + 1);     /* its end cannot be waited for */
    wire_deadline(w, loop_now() + 3000000000);
    CHECK(wire_peek(w) <= 0);
    wire_free(w);
    /* A failing disk is the client's to know, and no more. */
    NbdConn *c = dial_conn(&s, (NbdWish){ 0 });
    uint8_t b[4096];
    ((Ram *)s.node)->fail = -EIO;
    CHECK_EQ(-read_4k(c, b), EIO);
    ((Ram *)s.node)->fail = -ENOSPC;
    CHECK_EQ(-read_4k(c, b), ENOSPC);
    CHECK_EQ(read_4k(c, b), 0);
    nbd_conn_close(c);
    serving_end(&s);
}

/* Asks and never listens, then goes; asks in the middle of a payload and goes. */
static void test_deaf_clients(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=64M");
    NbdConn *good = dial_conn(&s, (NbdWish){ 0 });
    Wire *deaf = wire_of(dial(&s)), *half = wire_of(dial(&s));
    uint8_t b[4096];

    choose_plain(deaf);
    for (int i = 0; i < 200; i++)
        send_request(deaf, 0, NBD_CMD_READ, i, 0, 32 << 20);
    choose_plain(half);
    send_request(half, 0, NBD_CMD_WRITE, 1, 0, 32 << 20);
    CHECK_EQ(wire_write(half, "abc", 3), 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(read_4k(good, b), 0);
    wire_free(half);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(read_4k(good, b), 0);
    wire_free(deaf);
    for (int i = 0; i < 1000 && nbd_server_clients(s.server) > 1; i++)
        co_pause();
    CHECK_EQ(nbd_server_clients(s.server), 1);
    nbd_conn_close(good);
    serving_end(&s);
}

/* Extended headers: payloads where none belong; a status of some contexts. */
static void test_payloads(BlockGraph *g)
{
    Serving s = serve_node(g, "driver=raw,file.driver=ram,file.size=256K",
                           (NbdExportConfig){ .allocation_depth = true, .writable = true }, (NbdServerConfig){ 0 });
    Wire *w = wire_of(dial(&s));
    static const char both[] = "\0\0\0\0\0\0\0\2\0\0\0\17base:allocation\0\0\0\25qemu:allocation-depth";
    uint8_t b[64];

    client_hello(w);
    option(w, NBD_OPT_EXTENDED_HEADERS, "", 0);
    CHECK_EQ(answer(w), NBD_REP_ACK);
    option(w, NBD_OPT_SET_META_CONTEXT, both, sizeof(both) - 1);
    CHECK_EQ(answer(w), NBD_REP_META_CONTEXT);
    CHECK_EQ(answer(w), NBD_REP_META_CONTEXT);
    CHECK_EQ(answer(w), NBD_REP_ACK);
    option(w, NBD_OPT_GO, "\0\0\0\0\0\0", 6);
    while (answer(w) == NBD_REP_INFO)
        ;
    static const struct { uint16_t flags, type; uint64_t len; const char *data; size_t n; uint16_t want; unsigned chunks; } rows[] = {
        { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_READ, 4, "data", 4, NBD_REPLY_TYPE_ERROR, 1 },
        { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_FLUSH, 4, "data", 4, NBD_REPLY_TYPE_ERROR, 1 },
        { 0, NBD_CMD_FLUSH, 0, "", 0, NBD_REPLY_TYPE_NONE, 1 },
        { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_WRITE, 4, "data", 4, NBD_REPLY_TYPE_NONE, 1 },
        { 0, NBD_CMD_BLOCK_STATUS, 4096, "", 0, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, 2 },
        { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 12, "\0\0\0\0\0\0\20\0\0\0\0\1", 12, NBD_REPLY_TYPE_BLOCK_STATUS_EXT, 1 },
        { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 12, "\0\0\0\0\0\0\20\0\0\0\0\2", 12, NBD_REPLY_TYPE_ERROR, 1 },
        { NBD_CMD_FLAG_PAYLOAD_LEN, NBD_CMD_BLOCK_STATUS, 9, "123456789", 9, NBD_REPLY_TYPE_ERROR, 1 },
        { 0, NBD_CMD_TRIM, UINT64_MAX, "", 0, NBD_REPLY_TYPE_ERROR, 1 },
        { 0, NBD_CMD_WRITE_ZEROES, 256 << 10, "", 0, NBD_REPLY_TYPE_NONE, 1 },
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        put64(put64(put64(put16(put16(put32(b, NBD_EXTENDED_REQUEST_MAGIC), rows[i].flags), rows[i].type), i), 0), rows[i].len);
        CHECK_EQ(wire_write(w, b, 32), 0);
        CHECK_EQ(wire_write(w, rows[i].data, rows[i].n), 0);
        for (unsigned k = 0; k < rows[i].chunks; k++) {
            CHECK_EQ(wire_read(w, b, 32), 0);
            CHECK_EQ(get32(b), NBD_EXTENDED_REPLY_MAGIC);
            CHECK_EQ(get16(b + 4), k + 1 == rows[i].chunks);
            CHECK_EQ(get16(b + 6), rows[i].want);
            CHECK_EQ(get64(b + 8), i);
            CHECK_EQ(wire_skip(w, get64(b + 24)), 0);
        }
    }
    wire_free(w);
    serving_end(&s);
}

int main(void)
{
    RUN_IN_GRAPH(test_bad_handshakes);
    RUN_IN_GRAPH(test_old_servers);
    RUN_IN_GRAPH(test_bad_replies);
    RUN_IN_GRAPH(test_odd_replies);
    RUN_IN_GRAPH(test_bad_status);
    RUN_IN_GRAPH(test_bad_options);
    RUN_IN_GRAPH(test_hang_ups);
    RUN_IN_GRAPH(test_bad_requests);
    RUN_IN_GRAPH(test_deaf_clients);
    RUN_IN_GRAPH(test_payloads);
    return test_end();
}
