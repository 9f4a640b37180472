/* SPDX-License-Identifier: MIT */
/*
 * Socket addresses as texts and options; connecting, listening, wires:
 * whole reads and writes in pieces, ends, deadlines, cancelling.
 */
#include "util/socket.h"
#include "util/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/test.h"

static Loop *loop;

static char *back(const char *text)
{
    SocketAddr a;
    Err *e = socket_addr_parse(text, &a);

    if (e) {
        err_free(e);
        return g_strdup("error");
    }
    json_t *o = socket_addr_to_json(&a);
    SocketAddr b;
    CHECK(!socket_addr_from_json(o, &b));
    char *out = socket_addr_text(&b);
    json_decref(o);
    socket_addr_clear(&a);
    socket_addr_clear(&b);
    return out;
}

static void addresses(void)
{
    static const char *const rows[][2] = {
        { "localhost:10809", "localhost:10809" }, { "[::1]:7", "[::1]:7" }, { ":80", ":80" },
        { "unix:/tmp/a:b", "unix:/tmp/a:b" }, { "fd:3", "fd:3" }, { "vsock:2:1234", "vsock:2:1234" },
        { "localhost", "error" }, { "unix:", "error" }, { "::1:7", "error" }, { "[::1]", "error" }, { "[::1:3", "error" },
        { "a:", "error" }, { "fd:x", "error" }, { "fd:99999999999", "error" }, { "", "error" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *got = back(rows[i][0]);
        CHECK_STR(got, rows[i][1]);
    }
}

static char *from_json(const char *text)
{
    json_t *o = json_loads(text, 0, NULL);
    SocketAddr a;
    Err *e = socket_addr_from_json(o, &a);
    char *out = e ? g_strdup(err_text(e)) : socket_addr_text(&a);

    if (!e)
        socket_addr_clear(&a);
    err_free(e);
    json_decref(o);
    return out;
}

static void options(void)
{
    static const char *const rows[][2] = {
        { "{\"type\":\"inet\",\"host\":\"h\",\"port\":\"1\"}", "h:1" },
        { "{\"type\":\"inet\",\"host\":\"h\",\"port\":1}", "h:1" },
        { "{\"type\":\"unix\",\"data\":{\"path\":\"/p\"}}", "unix:/p" },
        { "{\"type\":\"unix\",\"path\":\"n\",\"abstract\":true}", "unix:@n" },
        { "{\"type\":\"vsock\",\"cid\":\"2\",\"port\":\"3\"}", "vsock:2:3" },
        { "{\"type\":\"fd\",\"str\":\"5\"}", "fd:5" },
        { "{\"type\":\"inet\",\"host\":\"h\"}", "the socket address has no 'port'" },
        { "{\"type\":\"inet\",\"host\":[],\"port\":\"1\"}", "'host' of a socket address is a string" },
        { "{\"type\":\"inet\",\"host\":\"h\",\"port\":\"1\",\"ipv4\":false,\"ipv6\":false}",
          "ipv4 and ipv6 are both off: nothing is left" },
        { "{\"type\":\"tcp\"}", "there is no socket address of type 'tcp'" },
        { "{}", "the socket address has no 'type'" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *got = from_json(rows[i][0]);
        CHECK_STR(got, rows[i][1]);
    }
}

/* ---- wires */

#define BIG (3 << 20)

typedef struct Pair {
    Wire *a, *b;
    int ended, result;
    unsigned seed;
} Pair;

static Pair pair_new(void)
{
    int fd[2];
    Pair p = { 0 };

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd));
    CHECK(!wire_new(loop, fd[0], &p.a));
    CHECK(!wire_new(loop, fd[1], &p.b));
    return p;
}

static void pair_free(Pair *p)
{
    wire_free(p->a);
    wire_free(p->b);
}

static uint8_t byte_at(size_t i)
{
    return i * 2654435761u >> 24;
}

static void write_big(void *arg)
{
    Pair *p = arg;
    g_autofree uint8_t *buf = g_malloc(BIG);
    struct iovec v[100];

    for (size_t i = 0; i < BIG; i++)
        buf[i] = byte_at(i);
    for (size_t i = 0; i < 100; i++)
        v[i] = (struct iovec){ buf + BIG / 100 * i, i == 99 ? BIG - BIG / 100 * 99 : BIG / 100 };
    CHECK_EQ(wire_writev(p->a, v, 100), 0);
    wire_end(p->a);
    p->ended++;
}

static void read_big(void *arg)
{
    Pair *p = arg;
    size_t at = 0;
    g_autofree uint8_t *buf = g_malloc(100000);

    for (size_t n = 1; at < BIG; n = n * 7 % 99991 + 1) {
        size_t len = MIN(n, BIG - at);
        CHECK_EQ(wire_read(p->b, buf, len), 0);
        for (size_t i = 0; i < len; i++)
            if (buf[i] != byte_at(at + i)) {
                CHECK_EQ(buf[i], byte_at(at + i));
                break;
            }
        at += len;
    }
    CHECK_EQ(wire_peek(p->b), 0);
    CHECK_EQ(wire_read(p->b, buf, 1), -EPIPE);
    CHECK_EQ(wire_read(p->b, buf, 1), -EPIPE);
    p->ended++;
}

static void big_main(void *arg)
{
    Pair *p = arg;

    co_start(loop, write_big, p);
    read_big(p);
    while (p->ended < 2)
        co_pause();
}

static void big(void)
{
    Pair p = pair_new();

    co_run(loop, big_main, &p);
    pair_free(&p);
}

static void deadline_main(void *arg)
{
    Pair *p = arg;
    char c;
    int64_t start = loop_now();

    wire_deadline(p->a, start + 20000000);
    CHECK_EQ(wire_read(p->a, &c, 1), -ETIMEDOUT);
    CHECK(loop_now() - start >= 20000000);
    CHECK_EQ(wire_write(p->a, "x", 1), -ETIMEDOUT);
    CHECK_EQ(wire_peek(p->b), 0);
}

static void deadline(void)
{
    Pair p = pair_new();

    co_run(loop, deadline_main, &p);
    pair_free(&p);
}

static void reader_of_a(void *arg)
{
    Pair *p = arg;
    char c;

    p->result = wire_read(p->a, &c, 1);
    p->ended++;
}

/* A reader and a writer wait on one wire; both are woken when it goes down. */
static void writer_of_a(void *arg)
{
    Pair *p = arg;
    g_autofree char *buf = g_malloc0(BIG);

    CHECK_EQ(wire_write(p->a, buf, BIG), -ECANCELED);
    p->ended++;
}

static void down_main(void *arg)
{
    Pair *p = arg;

    co_start(loop, reader_of_a, p);
    co_start(loop, writer_of_a, p);
    co_sleep(1000000);
    CHECK_EQ(p->ended, 0);
    wire_down(p->a, ECANCELED);
    while (p->ended < 2)
        co_pause();
    CHECK_EQ(p->result, -ECANCELED);
}

static void down(void)
{
    Pair p = pair_new();

    co_run(loop, down_main, &p);
    pair_free(&p);
}

static void small_main(void *arg)
{
    Pair *p = arg;
    char buf[16];

    CHECK_EQ(wire_write(p->a, "abcdefgh", 8), 0);
    CHECK_EQ(wire_peek(p->b), 1);
    CHECK_EQ(wire_buffered(p->b), 8);
    CHECK_EQ(wire_read(p->b, buf, 2), 0);
    CHECK_EQ(wire_skip(p->b, 2), 0);
    struct iovec v[2] = { { buf + 2, 1 }, { buf + 3, 3 } };
    IoVec q = iov_of(v, 2);
    CHECK_EQ(wire_readv(p->b, &q), 0);
    CHECK(!memcmp(buf, "abefgh", 6));
    wire_stop_reading(p->b);
    CHECK_EQ(wire_peek(p->b), 0);
    CHECK_EQ(wire_write(p->b, "x", 1), 0);
    CHECK_EQ(wire_read(p->a, buf, 1), 0);
}

static void small(void)
{
    Pair p = pair_new();

    co_run(loop, small_main, &p);
    pair_free(&p);
}

/* ---- connecting */

typedef struct Meet { SocketAddr a; Cancel cancel; Err *e; int fd; bool done; int64_t deadline; } Meet;

static void meet_main(void *arg)
{
    Meet *m = arg;

    m->e = socket_connect(&m->a, m->deadline, &m->cancel, &m->fd);
    m->done = true;
}

static void meet(const char *listen, bool numeric)
{
    Meet m = { .deadline = -1 };
    SocketAddr a;
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));

    CHECK(!socket_addr_parse(listen, &a));
    Err *e = socket_listen(&a, 10, fds);
    CHECK(!e);
    if (e) {
        err_free(e);
        return;
    }
    socket_addr_copy(&m.a, &a);
    if (a.type == SOCKET_INET) {
        unsigned port = socket_port(g_array_index(fds, int, 0));
        CHECK(port);
        g_free(m.a.port);
        m.a.port = g_strdup_printf("%u", port);
        m.a.numeric = numeric;
    } else {
        /* the same again: in use */
        Err *again = socket_listen(&a, 10, fds);
        CHECK(again && err_class(again) == ERR_BUSY);
        err_free(again);
    }
    co_run(loop, meet_main, &m);
    CHECK(!m.e);
    int fd = -1;
    for (unsigned i = 0; i < fds->len && fd < 0; i++)
        fd = socket_accept(g_array_index(fds, int, i));
    CHECK(fd >= 0);
    g_autofree char *peer = socket_peer(fd);
    CHECK(peer && *peer);
    close(fd);
    close(m.fd);
    for (unsigned i = 0; i < fds->len; i++)
        close(g_array_index(fds, int, i));
    socket_addr_clear(&m.a);
    socket_addr_clear(&a);
}

static void connecting(void)
{
    g_autofree char *dir = g_dir_make_tmp("lyre-socket-XXXXXX", NULL);
    g_autofree char *path = g_strdup_printf("unix:%s/s", dir);

    meet(path, false);
    meet(path, false);          /* the file is still there, and stale */
    meet("127.0.0.1:0", true);
    meet("localhost:0", false);
    unlink(path + 5);
    CHECK(g_file_set_contents(path + 5, "x", 1, NULL));
    SocketAddr a;
    g_autoptr(GArray) fds = g_array_new(FALSE, FALSE, sizeof(int));
    CHECK(!socket_addr_parse(path, &a));
    Err *e = socket_listen(&a, 1, fds);
    CHECK(e && strstr(err_text(e), "no socket"));
    err_free(e);
    Meet m = { .a = a, .deadline = -1 };
    co_run(loop, meet_main, &m);
    CHECK(m.e && strstr(err_text(m.e), "cannot connect"));
    err_free(m.e);
    unlink(path + 5);
    rmdir(dir);
    socket_addr_clear(&a);
}

typedef struct Waiting { int fd; Cancel c; int result; int64_t deadline; bool done; } Waiting;

static void wait_main(void *arg)
{
    Waiting *w = arg;

    w->result = socket_wait(w->fd, EPOLLIN, w->deadline, &w->c);
    w->done = true;
}

static void cancel_main(void *arg)
{
    Waiting *w = arg;

    co_start(loop, wait_main, w);
    CHECK(!w->done);
    cancel_now(&w->c);
    while (!w->done)
        co_pause();
    CHECK_EQ(w->result, -ECANCELED);
    CHECK_EQ(cancel_sleep(loop_now() + 1000000000, &w->c), -ECANCELED);
    w->c = (Cancel){ 0 };
    w->deadline = loop_now() + 1000000;
    wait_main(w);
    CHECK_EQ(w->result, -ETIMEDOUT);
    CHECK_EQ(cancel_sleep(loop_now() + 1000000, NULL), 0);
}

static void cancelling(void)
{
    Pair p = pair_new();
    int fd = dup(wire_fd(p.a));
    Waiting w = { .fd = fd, .deadline = -1 };

    co_run(loop, cancel_main, &w);
    close(fd);
    pair_free(&p);
}

int main(void)
{
    Err *e = loop_new(2, &loop);

    if (e) {
        err_report(e);
        return 1;
    }
    RUN(addresses);
    RUN(options);
    RUN(big);
    RUN(deadline);
    RUN(down);
    RUN(small);
    RUN(connecting);
    RUN(cancelling);
    loop_free(loop);
    return test_end();
}
