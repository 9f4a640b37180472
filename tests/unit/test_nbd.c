/* SPDX-License-Identifier: MIT */
/*
 * block/nbd: our client against our server, in one process: data of many
 * requests at once, each kind of header, block status and bitmaps, limits,
 * lost connections, stopping while clients run.
 */
#include "tests/unit/nbd-rig.h"

#define SIZE (256 * 1024)
#define LANES 8

/* ---- random requests against a model, as in test_block_io */

typedef struct Lane {
    Disk *d;
    uint8_t *model;
    uint64_t from, len;
    unsigned seed, rounds;
    int status;
} Lane;

static unsigned draw(Lane *l, unsigned n)
{
    return rand_r(&l->seed) % n;
}

static void do_rw(Lane *l, uint64_t off, size_t len, bool write)
{
    g_autofree uint8_t *buf = g_malloc(len);
    struct iovec v[5];
    unsigned n = 0;

    for (size_t at = 0; at < len; n++) {
        size_t piece = n == 4 ? len - at : MIN(1 + draw(l, len), len - at);
        v[n] = (struct iovec){ buf + at, piece };
        at += piece;
    }
    IoVec q = { v, n, 0, len };
    if (!write) {
        CHECK_EQ(disk_read(l->d, off, &q, 0), 0);
        CHECK(!memcmp(buf, l->model + off, len));
        return;
    }
    memset(buf, draw(l, 3) ? draw(l, 256) : 0, len);
    CHECK_EQ(disk_write(l->d, off, &q, draw(l, 8) ? 0 : REQ_FUA), 0);
    memcpy(l->model + off, buf, len);
}

static int lane_run(void *arg)
{
    Lane *l = arg;

    for (unsigned i = 0; i < l->rounds; i++) {
        size_t len = MIN(1 + draw(l, draw(l, 4) ? 700 : 20000), l->len);
        uint64_t off = l->from + draw(l, l->len - len + 1);

        switch (draw(l, 5)) {
        case 0: case 1: do_rw(l, off, len, true); break;
        case 2:
            CHECK_EQ(disk_zero(l->d, off, len, draw(l, 2) ? REQ_UNMAP : 0), 0);
            memset(l->model + off, 0, len);
            break;
        default: do_rw(l, off, len, false);
        }
    }
    return 0;
}

static void storm(BlockGraph *g, BlockNode *n, unsigned rounds)
{
    g_autofree uint8_t *model = g_malloc0(SIZE), *all = g_malloc(SIZE);
    Lane lanes[LANES];
    CoCrowd crowd = { .max = LANES };
    Disk *d = NULL;

    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_size(d), SIZE);
    for (unsigned i = 0; i < LANES; i++) {
        uint64_t from = i * (SIZE / LANES) + (i ? 77 * i : 0);
        uint64_t to = i + 1 < LANES ? (i + 1) * (SIZE / LANES) + 77 * (i + 1) : SIZE;

        lanes[i] = (Lane){ d, model, from, to - from, i + 1, rounds, 0 };
        crowd_start(&crowd, lane_run, &lanes[i]);
    }
    crowd_wait(&crowd);
    CHECK_EQ(disk_read(d, 0, &IOV_BUF(all, SIZE), 0), 0);
    CHECK(!memcmp(all, model, SIZE));
    CHECK_EQ(disk_flush(d), 0);
    disk_free(d);
}

static void test_storm(BlockGraph *g)
{
    Serving s = serve(g, "driver=raw,file.driver=ram,file.size=256K,file.yields=on,file.align=512");
    BlockNode *n = dial_node(g, &s, "", OPEN_RW);

    storm(g, n, 100);
    CHECK(!ram_of(s.node)->bad);
    CHECK_EQ(nbd_server_clients(s.server), 1);
    node_unref(n);
    serving_end(&s);
}

/* ---- one connection at a time, by hand */

static int request(NbdConn *c, uint16_t type, uint16_t flags, uint64_t off, uint64_t len, void *buf)
{
    IoVec q = IOV_BUF(buf, len);
    NbdRequest r = { .type = type, .flags = flags, .off = off, .len = len, .q = &q };

    return nbd_conn_request(c, &r);
}

static void try_all(NbdConn *c)
{
    uint8_t buf[4096], got[4096];
    NbdRequest st = { .type = NBD_CMD_BLOCK_STATUS, .flags = NBD_CMD_FLAG_REQ_ONE, .len = 65536 };
    const NbdInfo *i = nbd_conn_info(c);

    memset(buf, 0x5a, sizeof(buf));
    CHECK_EQ(i->size, SIZE);
    CHECK_EQ(request(c, NBD_CMD_WRITE, NBD_CMD_FLAG_FUA, 1000, sizeof(buf), buf), 0);
    CHECK_EQ(request(c, NBD_CMD_READ, 0, 1000, sizeof(got), got), 0);
    CHECK(!memcmp(got, buf, sizeof(buf)));
    CHECK_EQ(request(c, NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_FAST_ZERO, 1001, 10, NULL), 0);
    CHECK_EQ(request(c, NBD_CMD_READ, 0, 1000, 12, got), 0);
    CHECK(got[0] == 0x5a && got[1] == 0 && got[10] == 0 && got[11] == 0x5a);
    CHECK_EQ(request(c, NBD_CMD_CACHE, 0, 0, SIZE, NULL), 0);
    CHECK_EQ(request(c, NBD_CMD_TRIM, 0, 0, 512, NULL), 0);
    CHECK_EQ(request(c, NBD_CMD_FLUSH, 0, 0, 0, NULL), 0);
    /* what must be refused, and leave the connection as it was */
    CHECK_EQ(-request(c, NBD_CMD_READ, 0, SIZE - 1, 2, got), EINVAL);
    CHECK_EQ(-request(c, NBD_CMD_WRITE, 0, SIZE - 1, 2, got), ENOSPC);
    CHECK_EQ(-request(c, NBD_CMD_WRITE_ZEROES, 0, UINT64_MAX - 1, 2, NULL), ENOSPC);
    CHECK_EQ(-request(c, NBD_CMD_TRIM, 0, UINT64_MAX, 1, NULL), EINVAL);
    CHECK_EQ(-request(c, NBD_CMD_TRIM, NBD_CMD_FLAG_REQ_ONE, 0, 1, NULL), EINVAL);
    CHECK_EQ(-request(c, 99, 0, 0, 0, NULL), EINVAL);
    if (i->has_context) {
        CHECK_EQ(nbd_conn_request(c, &st), 0);
        CHECK_EQ(st.extent_len, 65536);
        CHECK_EQ(st.extent_flags, 0);
    } else {
        CHECK_EQ(-nbd_conn_request(c, &st), EINVAL);
    }
    CHECK(!nbd_conn_broken(c));
}

static void test_headers(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=256K,yields=on");

    NbdConn *c = dial_conn(&s, (NbdWish){ .context = "base:allocation" });
    CHECK(nbd_conn_info(c)->extended && nbd_conn_info(c)->has_context);
    CHECK_EQ(nbd_conn_info(c)->flags, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
             NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_SEND_DF | NBD_FLAG_SEND_CACHE | NBD_FLAG_SEND_FAST_ZERO |
             NBD_FLAG_BLOCK_STATUS_PAYLOAD);
    try_all(c);
    nbd_conn_close(c);
    c = dial_conn(&s, (NbdWish){ .context = "base:allocation", .narrow = true });
    CHECK(!nbd_conn_info(c)->extended && nbd_conn_info(c)->structured && nbd_conn_info(c)->has_context);
    try_all(c);
    nbd_conn_close(c);
    c = dial_conn(&s, (NbdWish){ .context = "base:allocation", .plain = true });
    CHECK(!nbd_conn_info(c)->structured && !nbd_conn_info(c)->has_context);
    try_all(c);
    nbd_conn_close(c);
    serving_end(&s);
}

static void test_read_only(BlockGraph *g)
{
    Serving s = serve_node(g, "driver=ram,size=256K", (NbdExportConfig){ .name = "ro", .multi_conn = true },
                           (NbdServerConfig){ 0 });
    NbdConn *c = dial_conn(&s, (NbdWish){ .export = "ro" });
    uint8_t b[4] = { 0 };

    CHECK(nbd_conn_info(c)->flags & NBD_FLAG_READ_ONLY && nbd_conn_info(c)->flags & NBD_FLAG_CAN_MULTI_CONN);
    CHECK_EQ(-request(c, NBD_CMD_WRITE, 0, 0, 4, b), EPERM);
    CHECK_EQ(-request(c, NBD_CMD_TRIM, 0, 0, 4, NULL), EPERM);
    CHECK_EQ(-request(c, NBD_CMD_WRITE_ZEROES, 0, 0, 4, NULL), EPERM);
    CHECK_EQ(request(c, NBD_CMD_READ, 0, 0, 4, b), 0);
    nbd_conn_close(c);
    /* The driver: refused, but for auto-read-only. */
    int fd = dial(&s);
    g_autofree char *text = g_strdup_printf("driver=nbd,export=ro,server.type=fd,server.str=%d", fd);
    json_t *o = keyval(text);
    BlockNode *n;
    CHECK(fails(node_open(g, o, OPEN_RW, &n), "read-only"));
    json_decref(o);
    close(fd);
    n = dial_node(g, &s, ",export=ro,auto-read-only=on", OPEN_RW);
    CHECK(n && node_read_only(n));
    node_unref(n);
    serving_end(&s);
}

static Err *reopen(BlockNode *n, const char *text)
{
    json_t *o = keyval(text);
    Err *e = node_reopen(n, o);

    json_decref(o);
    return e;
}

static void test_reopen(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=256K");
    int fd = dial(&s);
    g_autofree char *text = g_strdup_printf("driver=nbd,server.type=fd,server.str=%d,node-name=n", fd);
    g_autofree char *rw = g_strconcat(text, ",read-only=off,reconnect-delay=3", NULL);
    g_autofree char *other = g_strconcat(text, ",read-only=off,export=x", NULL);
    g_autofree char *ro = g_strconcat(text, ",read-only=on", NULL);
    BlockNode *n = open_text(g, text, 0);
    Disk *d;

    close(fd);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "test", &d)));
    CHECK(ok(reopen(n, rw)));
    CHECK(!node_read_only(n));
    CHECK(fails(reopen(n, other), "'export'"));
    CHECK(ok(disk_set_perm(d, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL)));
    CHECK_EQ(disk_write(d, 0, &IOV_BUF("abcd", 4), 0), 0);
    CHECK(ok(disk_set_perm(d, PERM_CONSISTENT_READ, PERM_ALL)));
    CHECK(ok(reopen(n, ro)));
    CHECK(node_read_only(n));
    disk_free(d);
    node_unref(n);
    serving_end(&s);
}

/* ---- names, lists, contexts */

static void test_list(BlockGraph *g)
{
    Serving s = serve_node(g, "driver=ram,size=256K",
                           (NbdExportConfig){ .name = "b", .description = "the second", .allocation_depth = true },
                           (NbdServerConfig){ 0 });
    NbdExportConfig x = { .name = "a", .node = s.node };
    NbdWish w = { .export = "" };
    NbdInfo *list;
    unsigned n;

    CHECK(ok(nbd_export_add(s.server, &x, NULL)));
    CHECK(fails(nbd_export_add(s.server, &x, NULL), "already"));
    Wire *wire = wire_of(dial(&s));
    CHECK(ok(nbd_list(wire, &w, &list, &n)));
    wire_free(wire);
    CHECK_EQ(n, 2);
    CHECK_STR(list[0].name, "a");
    CHECK(!list[0].description);
    CHECK_STR(list[1].name, "b");
    CHECK_STR(list[1].description, "the second");
    CHECK_EQ(list[1].size, SIZE);
    CHECK_EQ(list[1].max_payload, 32 << 20);
    CHECK_EQ(g_strv_length(list[0].contexts), 1);
    CHECK_EQ(g_strv_length(list[1].contexts), 2);
    CHECK_STR(list[1].contexts[1], "qemu:allocation-depth");
    nbd_list_free(list, n);
    NbdConn *c;
    w.export = "c";
    CHECK(fails(nbd_conn_start(wire_of(dial(&s)), &w, -1, NULL, &c), "no such export"));
    serving_end(&s);
}

static int status_at(NbdConn *c, uint64_t off, uint64_t len, uint64_t *n, uint64_t *flags)
{
    NbdRequest st = { .type = NBD_CMD_BLOCK_STATUS, .flags = NBD_CMD_FLAG_REQ_ONE, .off = off, .len = len };
    int ret = nbd_conn_request(c, &st);

    *n = st.extent_len;
    *flags = st.extent_flags;
    return ret;
}

static void test_bitmap(BlockGraph *g)
{
    BlockNode *n = open_text(g, "driver=raw,file.driver=ram,file.size=256K", OPEN_RW);
    DirtyBitmap *b = NULL;
    uint64_t len, flags;

    CHECK(ok(bitmap_new(n, "b0", 4096, &b)));
    bitmap_mark(b, 8192, 4096);
    bitmap_mark(b, SIZE - 1, 1);
    NbdServer *server = nbd_server_new(graph_loop(g), &(NbdServerConfig){ 0 });
    NbdExportConfig x = { .name = "", .node = n, .bitmaps = (const char *const[]){ "b1", NULL } };
    CHECK(fails(nbd_export_add(server, &x, NULL), "not found"));
    x.bitmaps = (const char *const[]){ "b0", NULL };
    CHECK(fails(nbd_export_add(server, &x, NULL), "incompatible with readonly"));
    x.writable = true;
    CHECK(ok(nbd_export_add(server, &x, NULL)));
    CHECK_EQ(b->busy, 1);
    Serving s = { server, n };
    for (int narrow = 0; narrow < 2; narrow++) {
        NbdConn *c = dial_conn(&s, (NbdWish){ .context = "qemu:dirty-bitmap:b0", .narrow = narrow });
        CHECK(nbd_conn_info(c)->has_context);
        CHECK_EQ(status_at(c, 0, SIZE, &len, &flags), 0);
        CHECK(len == 8192 && flags == 0);
        CHECK_EQ(status_at(c, 8193, SIZE - 8193, &len, &flags), 0);
        CHECK(len == 4095 && flags == 1);
        CHECK_EQ(status_at(c, 12288, 100, &len, &flags), 0);
        CHECK(len == 100 && flags == 0);
        CHECK_EQ(status_at(c, SIZE - 4096, 4096, &len, &flags), 0);
        CHECK(len == 4096 && flags == 1);
        nbd_conn_close(c);
    }
    /* As the driver shows it: dirty is a hole. */
    BlockNode *client = dial_node(g, &s, ",x-dirty-bitmap=qemu:dirty-bitmap:b0", 0);
    Extent e;
    CHECK_EQ(node_extent(client, 8192, SIZE - 8192, &e), 0);
    CHECK(e.len == 4096 && !(e.flags & EXTENT_DATA));
    node_unref(client);
    int fd = dial(&s);
    g_autofree char *text = g_strdup_printf("driver=nbd,server.type=fd,server.str=%d,x-dirty-bitmap=qemu:dirty-bitmap:x", fd);
    json_t *o = keyval(text);
    CHECK(fails(node_open(g, o, 0, &client), "no context"));
    json_decref(o);
    close(fd);
    nbd_server_free(server);
    CHECK_EQ(b->busy, 0);
    bitmap_free(b);
    node_unref(n);
}

/* ---- limits of the server */

static void test_handshake_timeout(BlockGraph *g)
{
    Serving s = serve_node(g, "driver=ram", (NbdExportConfig){ 0 }, (NbdServerConfig){ .handshake_seconds = 1 });
    int64_t start = loop_now();
    Wire *w = wire_of(dial(&s));
    uint8_t b[18];

    CHECK_EQ(wire_read(w, b, 18), 0);
    CHECK_EQ(wire_write(w, "\0\0\0\3", 4), 0);
    CHECK_EQ(wire_peek(w), 0);          /* it hangs up */
    CHECK(loop_now() - start > 900000000);
    CHECK_EQ(nbd_server_clients(s.server), 0);
    wire_free(w);
    serving_end(&s);
}

/* Writes whose data is announced and comes late: memory is bounded, other clients are served. */
static void test_memory(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=256M");
    NbdConn *greedy = dial_conn(&s, (NbdWish){ 0 }), *other = dial_conn(&s, (NbdWish){ 0 });
    uint8_t b[512];

    CHECK_EQ(request(other, NBD_CMD_READ, 0, 0, 512, b), 0);
    CHECK_EQ(-request(greedy, NBD_CMD_READ, 0, 0, (32 << 20) + 1, NULL), EINVAL);
    CHECK_EQ(request(other, NBD_CMD_READ, 0, 0, 512, b), 0);
    nbd_conn_close(greedy);
    nbd_conn_close(other);
    serving_end(&s);
}

typedef struct Long { NbdConn *c; uint8_t *buf; int ret; uint64_t off; } Long;

static int long_read(void *arg)
{
    Long *l = arg;

    l->ret = request(l->c, NBD_CMD_READ, 0, l->off, 8 << 20, l->buf);
    return l->ret;
}

/* More requests and bytes than the server takes at once: all are served in the end. */
static void test_many(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=128M,yields=on");
    NbdConn *c = dial_conn(&s, (NbdWish){ 0 });
    Long l[16];
    CoCrowd crowd = { 0 };

    for (int i = 0; i < 16; i++) {
        l[i] = (Long){ c, g_malloc(8 << 20), 1, (uint64_t)i << 23 };
        memset(ram_of(s.node)->mem + l[i].off, i + 1, 8 << 20);
        crowd_start(&crowd, long_read, &l[i]);
    }
    CHECK_EQ(crowd_wait(&crowd), 0);
    for (int i = 0; i < 16; i++) {
        CHECK(l[i].buf[0] == i + 1 && !memcmp(l[i].buf, l[i].buf + 1, (8 << 20) - 1));
        g_free(l[i].buf);
    }
    nbd_conn_close(c);
    serving_end(&s);
}

/* ---- stopping */

typedef struct Busy { NbdConn *c; int done, failed; bool over; } Busy;

static int keep_busy(void *arg)
{
    Busy *b = arg;
    uint8_t buf[4096];

    for (;;) {
        if (request(b->c, NBD_CMD_READ, 0, 0, sizeof(buf), buf)) {
            b->failed++;
            return 0;
        }
        b->done++;
    }
}

static void test_stop(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=256K,yields=on");
    Busy b[3] = { 0 };
    CoCrowd crowd = { 0 };

    Wire *silent = wire_of(dial(&s));       /* never finishes its handshake */
    for (int i = 0; i < 3; i++) {
        b[i].c = dial_conn(&s, (NbdWish){ .plain = i == 0, .narrow = i == 1 });
        for (int k = 0; k < 4; k++)
            crowd_start(&crowd, keep_busy, &b[i]);
    }
    while (b[0].done < 50)
        co_pause();
    int64_t start = loop_now();
    nbd_server_stop(s.server);
    CHECK(loop_now() - start < INT64_C(8000000000));         /* the silent one would have had ten seconds */
    CHECK_EQ(nbd_server_clients(s.server), 0);
    crowd_wait(&crowd);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(b[i].failed, 4);
        CHECK(nbd_conn_broken(b[i].c));
        nbd_conn_close(b[i].c);
    }
    wire_free(silent);
    serving_end(&s);
}

static void test_remove(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=256K,yields=on");
    Busy b = { .c = dial_conn(&s, (NbdWish){ 0 }) };
    CoCrowd crowd = { 0 };

    crowd_start(&crowd, keep_busy, &b);
    CHECK(fails(nbd_export_remove(s.server, "", false), "in use"));
    CHECK(fails(nbd_export_remove(s.server, "x", true), "no export"));
    CHECK(ok(nbd_export_remove(s.server, "", true)));
    crowd_wait(&crowd);
    nbd_conn_close(b.c);
    serving_end(&s);
}

/* ---- a node whose size changes under the server */

static void test_resize(BlockGraph *g)
{
    Serving s = serve(g, "driver=ram,size=256K");
    NbdConn *c = dial_conn(&s, (NbdWish){ 0 });
    Disk *d = NULL;
    uint8_t b[512];

    CHECK(ok(disk_new(s.node, PERM_ALL, PERM_ALL, "resizer", &d)));
    CHECK_EQ(-request(c, NBD_CMD_READ, 0, SIZE, 512, b), EINVAL);
    CHECK(ok(disk_resize(d, SIZE * 2, true, (Preallocation){ 0 }, 0)));
    CHECK_EQ(request(c, NBD_CMD_READ, 0, SIZE, 512, b), 0);
    CHECK(ok(disk_resize(d, 4096, true, (Preallocation){ 0 }, 0)));
    CHECK_EQ(-request(c, NBD_CMD_READ, 0, 4096, 512, b), EINVAL);
    CHECK_EQ(request(c, NBD_CMD_READ, 0, 0, 512, b), 0);
    nbd_conn_close(c);
    disk_free(d);
    serving_end(&s);
}

/* ---- lost connections */

typedef struct Late { BlockGraph *g; char *path; Serving s; bool up; int64_t after; } Late;

static void come_late(void *arg)
{
    Late *l = arg;
    SocketAddr a = { .type = SOCKET_UNIX, .path = l->path };

    co_sleep(l->after);
    CHECK(ok(nbd_server_listen(l->s.server, &a)));
    l->up = true;
}

static void test_reconnect(BlockGraph *g)
{
    g_autofree char *dir = g_dir_make_tmp("lyre-nbd-XXXXXX", NULL);
    Late l = { .g = g, .path = g_strdup_printf("%s/s", dir), .after = 300000000 };
    g_autofree char *text = g_strdup_printf("driver=nbd,server.type=unix,server.path=%s,open-timeout=5,reconnect-delay=5",
                                            l.path);
    g_autofree char *short_text = g_strdup_printf("driver=nbd,server.type=unix,server.path=%s", l.path);
    Disk *d = NULL;
    uint8_t buf[512] = { 7 }, got[512];

    l.s = serve(g, "driver=ram,size=256K");
    json_t *o = keyval(short_text);
    BlockNode *n;
    CHECK(fails(node_open(g, o, 0, &n), "cannot connect"));
    json_decref(o);
    /* open-timeout: the server comes later than we do. */
    co_start(graph_loop(g), come_late, &l);
    n = open_text(g, text, OPEN_RW);
    CHECK(l.up);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_write(d, 0, &IOV_BUF(buf, 512), 0), 0);
    /* reconnect-delay: it goes, and comes back while a request waits. */
    nbd_server_stop(l.s.server);
    serving_end(&l.s);
    l.s = serve(g, "driver=ram,size=256K");
    memset(ram_of(l.s.node)->mem, 9, 512);
    l.up = false;
    co_start(graph_loop(g), come_late, &l);
    CHECK_EQ(disk_read(d, 0, &IOV_BUF(got, 512), 0), 0);
    CHECK(l.up && got[0] == 9);
    CHECK_EQ(disk_zero(d, 0, SIZE, 0), 0);
    storm(g, n, 5);
    disk_free(d);
    node_unref(n);
    /* Without a delay: an error at once, and a new connection by and by. */
    n = open_text(g, short_text, 0);
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "test", &d)));
    nbd_server_stop(l.s.server);
    serving_end(&l.s);
    CHECK_EQ(-disk_read(d, 0, &IOV_BUF(got, 512), 0), EIO);
    l.s = serve(g, "driver=ram,size=256K");
    l.after = 1;
    co_start(graph_loop(g), come_late, &l);
    int ret = -EIO;
    for (int i = 0; i < 30 && ret; i++) {
        co_sleep(100000000);
        ret = disk_read(d, 0, &IOV_BUF(got, 512), 0);
    }
    CHECK_EQ(ret, 0);
    /* It comes back smaller: not the same export any more. */
    nbd_server_stop(l.s.server);
    serving_end(&l.s);
    l.s = serve(g, "driver=ram,size=128K");
    co_start(graph_loop(g), come_late, &l);
    for (int i = 0; i < 3; i++) {
        co_sleep(100000000);
        CHECK_EQ(-disk_read(d, 0, &IOV_BUF(got, 512), 0), EIO);
    }
    disk_free(d);
    node_unref(n);
    serving_end(&l.s);
    g_free(l.path);
    rmdir(dir);
}

/* ---- names */

static void test_names(BlockGraph *g)
{
    static const char *const rows[][2] = {
        { "nbd://host/exp", "{\"export\": \"exp\", \"server\": {\"host\": \"host\", \"port\": \"10809\", \"type\": \"inet\"}}" },
        { "nbd://[::1]:99", "{\"server\": {\"host\": \"::1\", \"port\": \"99\", \"type\": \"inet\"}}" },
        { "nbd+tcp://h:1/a/b%20c", "{\"export\": \"a/b c\", \"server\": {\"host\": \"h\", \"port\": \"1\", \"type\": \"inet\"}}" },
        { "nbd+unix:///e?socket=/tmp/s%3f", "{\"export\": \"e\", \"server\": {\"path\": \"/tmp/s?\", \"type\": \"unix\"}}" },
        { "nbd+unix://?socket=s", "{\"server\": {\"path\": \"s\", \"type\": \"unix\"}}" },
        { "nbds://h/?tls-creds=t", "{\"server\": {\"host\": \"h\", \"port\": \"10809\", \"type\": \"inet\"}, \"tls-creds\": \"t\"}" },
        { "nbd:h:1:exportname=a:b", "{\"export\": \"a:b\", \"server\": {\"host\": \"h\", \"port\": \"1\", \"type\": \"inet\"}}" },
        { "nbd:unix:/s", "{\"server\": {\"path\": \"/s\", \"type\": \"unix\"}}" },
        { "nbd+vsock://2:5/x", "{\"export\": \"x\", \"server\": {\"cid\": \"2\", \"port\": \"5\", \"type\": \"vsock\"}}" },
        { "nbd://", NULL }, { "nbd:h", NULL }, { "nbd+unix:///e", NULL }, { "nbd+unix://h/e?socket=s", NULL },
        { "nbd://h/?socket=s", NULL }, { "nbds://h/", NULL }, { "nbd://h/?x=y", NULL }, { "nbd://h/%zz", NULL },
        { "nbd://u@h/", NULL }, { "nbd://h/a#b", NULL }, { "nbd:unix:", NULL }, { "nbd://[::1/", NULL }, { "nbd:", NULL },
        { "nbd://h/%00", NULL }, { "nbd+tcp:x", NULL },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        json_t *o = json_object();
        Err *e = block_nbd.parse_name(rows[i][0], o);
        if (rows[i][1]) {
            CHECK(ok(e));
            char *text = json_dumps(o, JSON_SORT_KEYS);
            CHECK_STR(text, rows[i][1]);
            free(text);
        } else {
            if (!e)
                printf("'%s' was taken\n", rows[i][0]);
            CHECK(e);
            err_free(e);
        }
        json_decref(o);
    }
}

int main(void)
{
    RUN_IN_GRAPH(test_headers);
    RUN_IN_GRAPH(test_storm);
    RUN_IN_GRAPH(test_read_only);
    RUN_IN_GRAPH(test_reopen);
    RUN_IN_GRAPH(test_list);
    RUN_IN_GRAPH(test_bitmap);
    RUN_IN_GRAPH(test_handshake_timeout);
    RUN_IN_GRAPH(test_memory);
    RUN_IN_GRAPH(test_many);
    RUN_IN_GRAPH(test_stop);
    RUN_IN_GRAPH(test_remove);
    RUN_IN_GRAPH(test_resize);
    RUN_IN_GRAPH(test_reconnect);
    RUN_IN_GRAPH(test_names);
    return test_end();
}
