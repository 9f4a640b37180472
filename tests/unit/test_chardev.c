/* SPDX-License-Identifier: MIT */
/*
 * chardev/: each backend against the other end it talks to, flow control both
 * ways, the mux's commands, telnet, and the errors of wrong arguments. The
 * terminal's mode is tested by test_term.
 */
#include "tests/unit/test.h"
#include "chardev/chardev.h"
#include "chardev/telnet.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

/* ---- a device, and the machine around it ------------------------------------- */

typedef struct Dev {
    CharPort port;
    GString *got;
    int room;
    int opened, closed, breaks, writable;
} Dev;

static GMainContext *ctx;
static char *dir;
static int quits;

static int dev_room(void *opaque)
{
    return ((Dev *)opaque)->room;
}

static void dev_data(void *opaque, const uint8_t *buf, int n)
{
    Dev *d = opaque;

    CHECK(n <= d->room);
    g_string_append_len(d->got, (const char *)buf, n);
    d->room -= n;
}

static void dev_event(void *opaque, CharEvent what)
{
    Dev *d = opaque;

    d->opened += what == CHR_OPENED;
    d->closed += what == CHR_CLOSED;
    d->breaks += what == CHR_BREAK;
    d->writable += what == CHR_WRITABLE;
}

static const CharEvents dev_events = { dev_room, dev_data, dev_event };

static void on_quit(void *opaque)
{
    quits++;
}

static Chardevs *new_set(void)
{
    ChardevHost h = { .context = ctx, .quit = on_quit };

    return chardevs_new(&h);
}

static void loop(int ms)
{
    gint64 end = g_get_monotonic_time() + ms * 1000;

    do {
        if (!g_main_context_iteration(ctx, FALSE))
            g_usleep(500);
    } while (g_get_monotonic_time() < end);
}

/* Runs the loop until cond or for two seconds. */
#define LOOP_UNTIL(cond)                                            \
    do {                                                            \
        for (int i_ = 0; i_ < 2000 && !(cond); i_++)                \
            loop(1);                                                \
        CHECK(cond);                                                \
    } while (0)

static void no_err(Err *e)
{
    if (e) {
        printf("%s / %s\n", err_text(e), err_hint_text(e) ? err_hint_text(e) : "");
        CHECK(!"no error");
        err_free(e);
    }
}

static Dev *new_dev(Chardev *c, int room)
{
    Dev *d = g_new0(Dev, 1);

    d->got = g_string_new(NULL);
    d->room = room;
    d->port.chr = c;
    no_err(chr_bind(&d->port, &dev_events, d));
    return d;
}

static void dev_free(Dev *d)
{
    chr_unbind(&d->port);
    g_string_free(d->got, TRUE);
    g_free(d);
}

static Dev *dev_on(Chardevs *set, const char *serial, int room)
{
    Chardev *c = NULL;

    no_err(chardev_add_serial(set, serial, 0, &c));
    return new_dev(c, room);
}

static char *in_dir(const char *fmt, const char *name)
{
    char *path = g_strdup_printf("%s/%s", dir, name);
    char *out = g_strdup_printf(fmt, path);

    g_free(path);
    return out;
}

static char *contents(const char *path)
{
    char *text = NULL;

    g_file_get_contents(path, &text, NULL, NULL);
    return text ? text : g_strdup("(no file)");
}

/* ---- the simple ones ------------------------------------------------------------ */

static void test_null(void)
{
    Chardevs *set = new_set();
    Dev *d = dev_on(set, "null", 10);

    CHECK_EQ(chr_write(&d->port, "abc", 3), 3);
    LOOP_UNTIL(d->opened == 1);
    CHECK(chr_is_open(&d->port));
    dev_free(d);
    d = dev_on(set, "none", 10);
    CHECK(d->port.chr == NULL && !chr_is_open(&d->port));
    CHECK_EQ(chr_write(&d->port, "abc", 3), 3);
    chr_accept_input(&d->port);
    dev_free(d);
    chardevs_free(set);
}

static void test_file(void)
{
    Chardevs *set = new_set();
    char *path = in_dir("%s", "out,put"), *arg = in_dir("file:%s", "out,put");
    Dev *d = dev_on(set, arg, 0);

    CHECK_EQ(chr_write(&d->port, "hello\n", 6), 6);
    chardevs_free(set);
    dev_free((d->port.chr = NULL, d));
    char *text = contents(path);
    CHECK_STR(text, "hello\n");
    g_free(text);
    g_free(arg);
    set = new_set();
    Chardev *c = NULL;
    arg = g_strdup_printf("file,id=f,path=%s/out,,put,append=on", dir);
    no_err(chardev_add(set, arg, &c));
    g_free(arg);
    d = new_dev(c, 0);
    CHECK_EQ(chr_write(&d->port, "more\n", 5), 5);
    dev_free(d);
    text = contents(path);
    CHECK_STR(text, "hello\nmore\n");
    g_free(text);
    arg = g_strdup_printf("null,id=l,logfile=%s/log", dir);
    no_err(chardev_add(set, arg, &c));
    d = new_dev(c, 0);
    CHECK_EQ(chr_write(&d->port, "copy", 4), 4);
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    arg = g_strdup_printf("%s/log", dir);
    text = contents(arg);
    CHECK_STR(text, "copy");
    g_free(text);
    g_free(arg);
    g_free(path);
}

/* ---- flow control, over FIFOs ------------------------------------------------------ */

static char *make_fifos(const char *name, int *to, int *from)
{
    char *path = g_strdup_printf("%s/%s", dir, name);
    char *in = g_strconcat(path, ".in", NULL), *out = g_strconcat(path, ".out", NULL);

    CHECK(!mkfifo(in, 0600) && !mkfifo(out, 0600));
    *to = open(in, O_RDWR | O_NONBLOCK);
    *from = open(out, O_RDWR | O_NONBLOCK);
    g_free(in);
    g_free(out);
    char *arg = g_strconcat("pipe:", path, NULL);
    g_free(path);
    return arg;
}

static void test_input_flow(void)
{
    enum { ALL = 30000 };
    Chardevs *set = new_set();
    int to, from, sent = 0;
    char *arg = make_fifos("flow-in", &to, &from);
    Dev *d = dev_on(set, arg, 0);
    char text[ALL];

    for (int i = 0; i < ALL; i++)
        text[i] = 'a' + i % 23;
    sent = write(to, text, ALL);
    CHECK_EQ(sent, ALL);
    loop(20);
    CHECK_EQ(d->got->len, 0);               /* no room: not a byte is read */
    while (d->got->len < ALL) {
        gsize before = d->got->len;

        d->room = 1 + before % 37;
        chr_accept_input(&d->port);
        LOOP_UNTIL(d->got->len > before);
        if (d->got->len == before)
            break;
    }
    CHECK(d->got->len == ALL && !memcmp(d->got->str, text, ALL));
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    close(to);
    close(from);
}

static void test_output_flow(void)
{
    Chardevs *set = new_set();
    int to, from, n, sent = 0, got = 0;
    char *arg = make_fifos("flow-out", &to, &from);
    Dev *d = dev_on(set, arg, 0);
    uint8_t buf[1000];
    bool good = true;

    for (;;) {
        for (int i = 0; i < 1000; i++)
            buf[i] = (sent + i) % 251;
        n = chr_write(&d->port, buf, 1000);
        sent += n;
        if (n < 1000)
            break;
    }
    CHECK(sent > 100000 && sent < 1000000);     /* the pipe's and the bound */
    CHECK_EQ(chr_write(&d->port, buf, 1), 0);
    CHECK_EQ(d->writable, 0);
    while (got < sent && (loop(1), n = read(from, buf, sizeof(buf))) > 0) {
        for (int i = 0; i < n; i++)
            good &= buf[i] == (got + i) % 251;
        got += n;
    }
    CHECK(good);
    CHECK_EQ(got, sent);
    CHECK_EQ(d->writable, 1);
    CHECK_EQ(chr_write(&d->port, "x", 1), 1);
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    close(to);
    close(from);
}

/* What is still queued when the machine ends is written out. */
static gpointer slow_reader(gpointer opaque)
{
    int fd = GPOINTER_TO_INT(opaque), all = 0, n;
    char buf[4096];

    for (int idle = 0; idle < 200; idle++) {
        g_usleep(2000);
        while ((n = read(fd, buf, sizeof(buf))) > 0) {
            all += n;
            idle = 0;
            g_usleep(200);
        }
    }
    return GINT_TO_POINTER(all);
}

static void test_flush_at_end(void)
{
    Chardevs *set = new_set();
    int to, from, sent = 0, n;
    char *arg = make_fifos("flow-end", &to, &from);
    Dev *d = dev_on(set, arg, 0);
    char buf[1000] = { 0 };

    while ((n = chr_write(&d->port, buf, sizeof(buf))) > 0)
        sent += n;
    GThread *t = g_thread_new("reader", slow_reader, GINT_TO_POINTER(from));
    dev_free(d);
    chardevs_free(set);
    CHECK_EQ(GPOINTER_TO_INT(g_thread_join(t)), sent);
    g_free(arg);
    close(to);
    close(from);
}

/* ---- sockets --------------------------------------------------------------------- */

static int connect_unix(const char *path)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static void expect_read(int fd, const char *want, int n)
{
    char buf[4096];
    int got = 0, r;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 1000 && got < n; i++) {
        loop(1);
        r = read(fd, buf + got, sizeof(buf) - got);
        if (r > 0)
            got += r;
    }
    if (got != n || memcmp(buf, want, n)) {
        printf("got %d bytes '%.*s', want %d '%s'\n", got, got, buf, n, want);
        CHECK(!"the bytes wanted");
    }
}

static void test_unix_server(void)
{
    Chardevs *set = new_set();
    char *path = in_dir("%s", "sock"), *arg = in_dir("unix:%s,server=on,wait=off", "sock");
    Dev *d = dev_on(set, arg, 1000);

    loop(5);
    CHECK_EQ(d->opened, 0);
    CHECK_EQ(chr_write(&d->port, "lost", 4), 4);
    for (int round = 1; round <= 2; round++) {
        int fd = connect_unix(path);

        CHECK(fd >= 0);
        LOOP_UNTIL(d->opened == round);
        CHECK_EQ(chr_write(&d->port, "hello", 5), 5);
        expect_read(fd, "hello", 5);
        CHECK_EQ(write(fd, "typed", 5), 5);
        LOOP_UNTIL(d->got->len == 5u * round);
        close(fd);
        LOOP_UNTIL(d->closed == round);
        CHECK_EQ(chr_write(&d->port, "lost", 4), 4);
    }
    CHECK_STR(d->got->str, "typedtyped");
    /* A peer that goes while we write does not hurt. */
    int fd = connect_unix(path);
    LOOP_UNTIL(d->opened == 3);
    d->room = 0;
    close(fd);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(chr_write(&d->port, "hello", 5), 5);
    LOOP_UNTIL(d->closed == 3);
    dev_free(d);
    chardevs_free(set);
    CHECK(access(path, F_OK) < 0);
    g_free(arg);
    g_free(path);
}

static void test_unix_stale(void)
{
    Chardevs *set = new_set();
    char *path = in_dir("%s", "stale");
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    Chardev *c;

    strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(!bind(fd, (struct sockaddr *)&sa, sizeof(sa)));
    close(fd);                          /* nobody listens there any more */
    char *arg = g_strdup_printf("socket,id=a,path=%s,server=on,wait=off", path);
    no_err(chardev_add(set, arg, &c));
    arg[strlen("socket,id=")] = 'b';    /* now we do */
    Err *e = chardev_add(set, arg, &c);
    CHECK(e && strstr(err_text(e), "Address already in use"));
    err_free(e);
    g_free(arg);
    /* A client of our own server. */
    arg = g_strdup_printf("socket,id=c,path=%s", path);
    no_err(chardev_add(set, arg, &c));
    Chardev *server;
    no_err(chardev_find(set, "a", &server));
    Dev *d = new_dev(c, 100), *s = new_dev(server, 100);
    /* The server first sees the look that the second one took, which found it alive. */
    LOOP_UNTIL(s->opened == 2 && s->closed == 1 && d->opened == 1);
    CHECK_EQ(chr_write(&d->port, "up", 2), 2);
    CHECK_EQ(chr_write(&s->port, "down", 4), 4);
    LOOP_UNTIL(s->got->len == 2 && d->got->len == 4);
    dev_free(d);
    dev_free(s);
    chardevs_free(set);
    g_free(arg);
    g_free(path);
}

static int connect_tcp(Chardev *c)
{
    char *name = chardev_filename(c);
    struct sockaddr_in sa = { .sin_family = AF_INET };
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    CHECK(g_str_has_prefix(name, "tcp:127.0.0.1:"));
    sa.sin_port = htons(atoi(name + strlen("tcp:127.0.0.1:")));
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    CHECK(!connect(fd, (struct sockaddr *)&sa, sizeof(sa)));
    g_free(name);
    return fd;
}

static void test_telnet(void)
{
    Chardevs *set = new_set();
    Dev *d = dev_on(set, "telnet:127.0.0.1:0,server,nowait", 1000);
    static const char typed[] = "a\xff\xfb\x01" "b\xff\xff" "c\r\0d\xff\xf3" "e\xff\xfa\x18x\xff\xf0" "f";
    int fd = connect_tcp(d->port.chr);

    LOOP_UNTIL(d->opened == 1);
    expect_read(fd, "\xff\xfb\x01\xff\xfb\x03\xff\xfb\x00\xff\xfd\x00", 12);
    CHECK_EQ(write(fd, typed, sizeof(typed) - 1), sizeof(typed) - 1);
    LOOP_UNTIL(d->got->len == 8);
    CHECK(!memcmp(d->got->str, "ab\xff" "c\rdef", 8));
    CHECK_EQ(d->breaks, 1);
    CHECK_EQ(chr_write(&d->port, "x\xffy", 3), 3);
    expect_read(fd, "x\xff\xffy", 4);
    close(fd);
    dev_free(d);
    chardevs_free(set);
}

/* However the bytes arrive, cut anywhere, the result is the same. */
static void test_telnet_cuts(void)
{
    static const uint8_t in[] = { 'a', 255, 251, 0, 'b', '\r', 0, 255, 255, 255, 250, 1, 255, 240, 'c' };
    static const uint8_t want[] = { 'a', 'b', '\r', 0, 255, 'c' };      /* binary: the NUL stays */

    for (int cut = 0; cut <= (int)sizeof(in); cut++) {
        uint8_t buf[sizeof(in)];
        Telnet t = { 0 };
        int breaks = 0, n, m;

        memcpy(buf, in, sizeof(in));
        n = telnet_input(&t, buf, cut, &breaks);
        m = telnet_input(&t, buf + cut, sizeof(in) - cut, &breaks);
        memmove(buf + n, buf + cut, m);
        CHECK_EQ(n + m, sizeof(want));
        CHECK(!memcmp(buf, want, sizeof(want)));
    }
}

/* ---- pty ---------------------------------------------------------------------------- */

static void test_pty(void)
{
    Chardevs *set = new_set();
    Dev *d = dev_on(set, "pty", 1000);
    char *name = chardev_filename(d->port.chr);

    CHECK(g_str_has_prefix(name, "pty:/dev/"));
    loop(5);
    CHECK_EQ(chr_write(&d->port, "lost", 4), 4);
    for (int round = 1; round <= 2; round++) {
        int fd = open(name + 4, O_RDWR | O_NOCTTY);

        CHECK(fd >= 0);
        LOOP_UNTIL(d->opened == round);
        CHECK_EQ(chr_write(&d->port, "hello\n", 6), 6);
        expect_read(fd, "hello\n", 6);          /* raw: no \r came in */
        CHECK_EQ(write(fd, "\x03" "a\r", 3), 3);
        LOOP_UNTIL(d->got->len == 3u * round);
        close(fd);
        LOOP_UNTIL(d->closed == round);
    }
    CHECK_STR(d->got->str, "\x03" "a\r\x03" "a\r");
    g_free(name);
    dev_free(d);
    chardevs_free(set);
}

/* ---- mux ------------------------------------------------------------------------------ */

typedef struct MuxTest {
    Chardevs *set;
    Chardev *mux;
    int fd;                     /* the user's end */
} MuxTest;

static void mux_start(MuxTest *t)
{
    char *arg = in_dir("socket,id=m,mux=on,server=on,wait=off,path=%s", "mux"), *path = in_dir("%s", "mux");

    t->set = new_set();
    no_err(chardev_add(t->set, arg, &t->mux));
    t->fd = connect_unix(path);
    g_free(arg);
    g_free(path);
}

static void mux_end(MuxTest *t)
{
    close(t->fd);
    chardevs_free(t->set);
}

static void type(MuxTest *t, const char *text)
{
    CHECK_EQ(write(t->fd, text, strlen(text)), strlen(text));
}

/* All that comes to the user within a moment. */
static char *seen(MuxTest *t)
{
    static char buf[5000];
    int n = 0, r;

    fcntl(t->fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 20; i++) {
        loop(1);
        while ((r = read(t->fd, buf + n, sizeof(buf) - 1 - n)) > 0)
            n += r;
    }
    buf[n] = 0;
    return buf;
}

static void test_mux_commands(void)
{
    MuxTest t;

    mux_start(&t);
    Dev *d = new_dev(t.mux, 1000);
    LOOP_UNTIL(d->opened >= 1);
    type(&t, "a\x01\x01" "b\x01zc\x01" "b");
    LOOP_UNTIL(d->breaks == 1);
    CHECK_STR(d->got->str, "a\x01" "bc");
    type(&t, "\x01h");
    CHECK(strstr(seen(&t), "Ctrl-A x    end the emulator"));
    type(&t, "\x01");
    loop(5);
    type(&t, "c");              /* the two bytes come apart */
    CHECK(strstr(seen(&t), "no other console"));
    CHECK_EQ(quits, 0);
    type(&t, "\x01x");
    LOOP_UNTIL(quits == 1);
    CHECK_STR(d->got->str, "a\x01" "bc");
    quits = 0;
    dev_free(d);
    mux_end(&t);
}

static void test_mux_focus(void)
{
    MuxTest t;

    mux_start(&t);
    Dev *a = new_dev(t.mux, 0), *b = new_dev(t.mux, 100);
    LOOP_UNTIL(a->opened >= 1 && b->opened >= 1);
    type(&t, "first\x01" "csecond\x01x");   /* a reads nothing: commands work all the same */
    LOOP_UNTIL(quits == 1);
    quits = 0;
    CHECK_STR(b->got->str, "second");
    CHECK_STR(a->got->str, "");
    a->room = 3;
    chr_accept_input(&a->port);
    CHECK_STR(a->got->str, "fir");
    a->room = 100;
    chr_accept_input(&a->port);
    CHECK_STR(a->got->str, "first");
    CHECK_EQ(chr_write(&a->port, "A", 1) + chr_write(&b->port, "B", 1), 2);
    CHECK(strstr(seen(&t), "AB"));
    dev_free(b);
    type(&t, "x");
    LOOP_UNTIL(a->got->len == 6);
    dev_free(a);
    type(&t, "nobody\x01x");
    LOOP_UNTIL(quits == 1);
    quits = 0;
    mux_end(&t);
}

static void test_mux_times(void)
{
    MuxTest t;

    mux_start(&t);
    Dev *d = new_dev(t.mux, 100);
    LOOP_UNTIL(d->opened >= 1);
    type(&t, "\x01t");
    CHECK(strstr(seen(&t), "times on"));
    CHECK_EQ(chr_write(&d->port, "one\ntw", 6), 6);
    CHECK_EQ(chr_write(&d->port, "o\n", 2), 2);
    const char *s = seen(&t);
    CHECK(strstr(s, "[00:00:00.") == s && strstr(s, "] one\n[00:00:00.") && strstr(s, "] two\n"));
    type(&t, "\x01t");
    CHECK(strstr(seen(&t), "times off"));
    CHECK_EQ(chr_write(&d->port, "plain\n", 6), 6);
    CHECK_STR(seen(&t), "plain\n");
    dev_free(d);
    mux_end(&t);
}

static void wrong(bool serial, const char *arg, const char *text, const char *hint);

/* ---- the rarer ones ----------------------------------------------------------------------- */

static void test_ringbuf(void)
{
    Chardevs *set = new_set();
    Chardev *c = NULL, *null = NULL;
    uint8_t buf[64];

    no_err(chardev_add(set, "ringbuf,id=r,size=16", &c));
    no_err(chardev_add(set, "null,id=n", &null));
    Dev *d = new_dev(c, 10);
    CHECK_EQ(chr_write(&d->port, "0123456789", 10), 10);
    CHECK_EQ(chardev_ring_read(c, buf, 3), 3);
    CHECK(!memcmp(buf, "012", 3));
    CHECK_EQ(chardev_ring_write(c, (uint8_t *)"abcdefghijkl", 12), 12);
    CHECK_EQ(chardev_ring_read(c, buf, sizeof(buf)), 16);
    CHECK(!memcmp(buf, "6789abcdefghijkl", 16));
    CHECK_EQ(chr_write(&d->port, "the last sixteen bytes", 22), 22);
    CHECK_EQ(chardev_ring_read(c, buf, sizeof(buf)), 16);
    CHECK(!memcmp(buf, "st sixteen bytes", 16));
    CHECK_EQ(chardev_ring_read(c, buf, sizeof(buf)), 0);
    CHECK_EQ(chardev_ring_read(null, buf, sizeof(buf)), -1);
    dev_free(d);
    chardevs_free(set);
}

static int udp_bound(unsigned *port)
{
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    CHECK(!bind(fd, (struct sockaddr *)&sa, sizeof(sa)) && !getsockname(fd, (struct sockaddr *)&sa, &len));
    *port = ntohs(sa.sin_port);
    return fd;
}

static void test_udp(void)
{
    Chardevs *set = new_set();
    unsigned port;
    int fd = udp_bound(&port);
    char *arg = g_strdup_printf("udp:127.0.0.1:%u@127.0.0.1:0", port);
    Dev *d = dev_on(set, arg, 0);
    char *name = chardev_filename(d->port.chr);
    struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

    CHECK(g_str_has_prefix(name, "udp:127.0.0.1:"));
    sa.sin_port = htons(atoi(name + strlen("udp:127.0.0.1:")));
    CHECK_EQ(chr_write(&d->port, "hello", 5), 5);
    expect_read(fd, "hello", 5);
    CHECK_EQ(sendto(fd, "abcdef", 6, 0, (struct sockaddr *)&sa, sizeof(sa)), 6);
    CHECK_EQ(sendto(fd, "ghi", 3, 0, (struct sockaddr *)&sa, sizeof(sa)), 3);
    loop(10);
    CHECK_EQ(d->got->len, 0);
    d->room = 4;                            /* a part of the datagram */
    chr_accept_input(&d->port);
    LOOP_UNTIL(d->got->len == 4);
    loop(5);
    CHECK_EQ(d->got->len, 4);
    d->room = 100;
    chr_accept_input(&d->port);
    LOOP_UNTIL(d->got->len == 9);
    CHECK_STR(d->got->str, "abcdefghi");
    close(fd);                              /* nobody there: no harm */
    for (int i = 0; i < 5; i++)
        CHECK_EQ(chr_write(&d->port, "x", 1), 1);
    g_free(name);
    g_free(arg);
    dev_free(d);
    chardevs_free(set);
}

static void test_file_input(void)
{
    Chardevs *set = new_set();
    char *in = in_dir("%s", "input");
    Chardev *c = NULL;

    CHECK(g_file_set_contents(in, "typed before", -1, NULL));
    char *arg = g_strdup_printf("file,id=f,path=%s.out,input-path=%s", in, in);
    no_err(chardev_add(set, arg, &c));
    Dev *d = new_dev(c, 5);
    LOOP_UNTIL(d->got->len == 5);
    d->room = 100;
    chr_accept_input(&d->port);
    LOOP_UNTIL(d->got->len == 12);
    loop(5);                                /* its end is no end of output */
    CHECK_EQ(chr_write(&d->port, "out", 3), 3);
    CHECK_STR(d->got->str, "typed before");
    CHECK_EQ(d->closed, 0);
    dev_free(d);
    chardevs_free(set);
    g_free(arg);
    arg = g_strconcat(in, ".out", NULL);
    char *text = contents(arg);
    CHECK_STR(text, "out");
    g_free(text);
    g_free(arg);
    g_free(in);
}

static void test_pty_link(void)
{
    char *link = in_dir("%s", "link"), *arg = in_dir("pty:%s", "link");

    CHECK(!symlink("/dev/pts/9999", link));         /* left from one that died */
    Chardevs *set = new_set();
    Dev *d = dev_on(set, arg, 100);
    int fd = open(link, O_RDWR | O_NOCTTY);
    CHECK(fd >= 0);
    LOOP_UNTIL(d->opened == 1);
    CHECK_EQ(write(fd, "x", 1), 1);
    LOOP_UNTIL(d->got->len == 1);
    close(fd);
    dev_free(d);
    chardevs_free(set);
    CHECK(access(link, F_OK) < 0);
    CHECK(g_file_set_contents(link, "mine", -1, NULL));
    wrong(true, arg, "File exists", NULL);
    g_free(arg);
    g_free(link);
}

/* A terminal stands for the host's serial port. */
static void test_host_serial(void)
{
    Chardevs *set = new_set();
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    struct termios was, now;
    char name[100];

    CHECK(!grantpt(master) && !unlockpt(master) && !ptsname_r(master, name, sizeof(name)));
    int slave = open(name, O_RDWR | O_NOCTTY);
    tcgetattr(slave, &was);
    Dev *d = dev_on(set, name, 100);
    tcgetattr(slave, &now);
    CHECK((was.c_lflag & ICANON) && !(now.c_lflag & (ICANON | ECHO)) && cfgetospeed(&now) == B115200);
    CHECK_EQ(write(master, "a\x03\r", 3), 3);
    LOOP_UNTIL(d->got->len == 3);
    CHECK_EQ(chr_write(&d->port, "b\n", 2), 2);
    expect_read(master, "b\n", 2);
    dev_free(d);
    chardevs_free(set);
    tcgetattr(slave, &now);
    CHECK(now.c_lflag == was.c_lflag && now.c_cflag == was.c_cflag);
    close(slave);
    close(master);
}

/* Dials before there is a server, and again when that has gone. */
static void test_reconnect(void)
{
    Chardevs *set = new_set();
    char *path = in_dir("%s", "dial"), *arg = in_dir("socket,id=c,path=%s,reconnect-ms=10", "dial");
    Chardev *c = NULL;

    no_err(chardev_add(set, arg, &c));
    Dev *d = new_dev(c, 1000);
    loop(30);
    CHECK_EQ(d->opened, 0);
    CHECK_EQ(chr_write(&d->port, "lost", 4), 4);
    for (int round = 1; round <= 2; round++) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int server = socket(AF_UNIX, SOCK_STREAM, 0);

        strncpy(sa.sun_path, path, sizeof(sa.sun_path) - 1);
        CHECK(!bind(server, (struct sockaddr *)&sa, sizeof(sa)) && !listen(server, 1));
        LOOP_UNTIL(d->opened == round);
        int peer = accept(server, NULL, NULL);
        CHECK_EQ(chr_write(&d->port, "hi", 2), 2);
        expect_read(peer, "hi", 2);
        close(server);
        unlink(path);
        close(peer);
        LOOP_UNTIL(d->closed == round);
    }
    dev_free(d);
    chardevs_free(set);
    /* The end comes while it dials. */
    set = new_set();
    no_err(chardev_add(set, arg, &c));
    chardevs_free(set);
    g_free(arg);
    g_free(path);
}

static void test_abstract(void)
{
    Chardevs *set = new_set();
    Chardev *server = NULL, *client = NULL;
    char *name = g_strdup_printf("lyre-test-%d", (int)getpid());

    for (int tight = 0; tight < 2; tight++) {
        g_autofree char *s = g_strdup_printf("socket,id=s%d,path=%s,abstract=on,tight=%s,server=on,wait=off", tight,
                                             name, tight ? "on" : "off");
        g_autofree char *k = g_strdup_printf("socket,id=c%d,path=%s,abstract=on,tight=%s", tight, name,
                                             tight ? "on" : "off");
        no_err(chardev_add(set, s, &server));
        no_err(chardev_add(set, k, &client));
        Dev *a = new_dev(server, 10), *b = new_dev(client, 10);
        LOOP_UNTIL(a->opened == 1 && b->opened == 1);
        CHECK_EQ(chr_write(&b->port, "x", 1), 1);
        LOOP_UNTIL(a->got->len == 1);
        dev_free(a);
        dev_free(b);
    }
    CHECK(access(name, F_OK) < 0);
    g_free(name);
    chardevs_free(set);
}

/* The port is taken: the next one is. */
static void test_to(void)
{
    Chardevs *set = new_set();
    Chardev *a = NULL, *b = NULL;

    no_err(chardev_add(set, "socket,id=a,host=127.0.0.1,port=0,server=on,wait=off,keep-alive=on", &a));
    char *name = chardev_filename(a);
    int port = atoi(name + strlen("tcp:127.0.0.1:"));
    char *arg = g_strdup_printf("socket,id=b,host=127.0.0.1,port=%d,to=%d,server=on,wait=off", port, MIN(port + 20, 65535));
    no_err(chardev_add(set, arg, &b));
    g_free(name);
    name = chardev_filename(b);
    CHECK(atoi(name + strlen("tcp:127.0.0.1:")) > port);
    g_free(name);
    g_free(arg);
    chardevs_free(set);
}

/* Any backend has a log, and a mux over it. */
static void test_any(void)
{
    static const char *const backends[] = { "null", "ringbuf", "pty", "udp,port=9,host=127.0.0.1" };

    for (unsigned i = 0; i < G_N_ELEMENTS(backends); i++) {
        Chardevs *set = new_set();
        g_autofree char *log = in_dir("%s", "any.log");
        g_autofree char *arg = g_strdup_printf("%s,id=x,mux=on,logfile=%s,logappend=%s", backends[i], log, i ? "on" : "off");
        Chardev *c = NULL;

        no_err(chardev_add(set, arg, &c));
        Dev *a = new_dev(c, 10), *b = new_dev(c, 10);
        CHECK_EQ(chr_write(&a->port, "a", 1) + chr_write(&b->port, "b", 1), 2);
        dev_free(a);
        dev_free(b);
        chardevs_free(set);
        g_autofree char *text = contents(log);
        CHECK_EQ(strlen(text), 2 * (i + 1));
    }
}

/* ---- what goes wrong ---------------------------------------------------------------------- */

static void wrong(bool serial, const char *arg, const char *text, const char *hint)
{
    Chardevs *set = new_set();
    Chardev *c;
    Err *e = serial ? chardev_add_serial(set, arg, 0, &c) : chardev_add(set, arg, &c);

    if (!e || !strstr(err_text(e), text) ||
        (hint && (!err_hint_text(e) || !strstr(err_hint_text(e), hint)))) {
        printf("'%s': %s / %s\n", arg, e ? err_text(e) : "no error",
               e && err_hint_text(e) ? err_hint_text(e) : "");
        CHECK(!"the words wanted");
    }
    err_free(e);
    chardevs_free(set);
}

static void test_wrong(void)
{
    wrong(true, "stdoi", "'stdoi'", "'stdio'");
    wrong(true, "vc", "graphical", "stdio");
    wrong(true, "tcp:localhost", "no port", "tcp:HOST:PORT");
    wrong(true, "tcp:localhost:1,server=on,wiat=off", "'wiat'", "'wait'");
    wrong(true, "file:/nonexistent/x", "No such file", NULL);
    wrong(true, "unix:/nonexistent/x", "No such file", "server=on");
    wrong(true, "chardev:nope", "'nope'", "-chardev");
    wrong(true, "mon:chardev:nope", "chardev", NULL);
    wrong(true, "", "''", "stdio");
    wrong(false, "sockt,id=x", "'sockt'", "'socket'");
    wrong(false, "udp,id=x", "no port", "port=PORT");
    wrong(true, "udp:localhost", "no port", "udp:HOST:PORT");
    wrong(false, "ringbuf,id=x,size=1000", "size", "power of two");
    wrong(false, "spicevmc,id=x,name=vdagent", "not available", "virtserialport");
    wrong(false, "serial,id=x,path=/dev/null", "no serial port", NULL);
    wrong(true, "/dev/nonexistent", "No such file", NULL);
    wrong(true, "/dev/parport0", "not available", NULL);
    wrong(false, "file,id=x,path=/nonexistent/x,input-path=/nonexistent/y", "nonexistent/y", NULL);
    wrong(false, "socket,id=x,path=/a,websocket=on", "websocket", "websockify");
    wrong(false, "socket,id=x,path=/a,tls-creds=t", "tls-creds", "socat");
    wrong(false, "socket,id=x,path=/a,server=on,wait=off,reconnect=1", "clients", NULL);
    wrong(false, "socket,id=x,path=/a,reconnect=1,reconnect-ms=5", "the same", NULL);
    wrong(false, "socket,id=x,host=127.0.0.1,port=20,to=10,server=on,wait=off", "to=10", "first free port");
    wrong(false, "null", "no id", "id=NAME");
    wrong(false, "file,id=x", "no path", "path=");
    wrong(false, "pipe,id=x,path=/nonexistent/p", "No such file", "mkfifo");
    wrong(false, "socket,id=x", "one address", "path=");
    wrong(false, "socket,id=x,path=/a,port=1", "one address", NULL);
    wrong(false, "socket,id=x,host=127.0.0.1,port=nosuchport", "nosuchport", NULL);
    wrong(false, "socket,id=x,host=127.0.0.1,port=1", "Connection refused", "server=on");
    wrong(false, "socket,id=x,fd=9999", "Bad file descriptor", NULL);
    wrong(false, "socket,id=x,path=/a,wait=on", "servers", NULL);
    char *path = g_strnfill(200, 'a');
    char *arg = g_strconcat("unix:/", path, NULL);
    wrong(true, arg, "too long", "107");
    g_free(arg);
    g_free(path);
}

static void test_wrong_use(void)
{
    Chardevs *set = new_set();
    Chardev *c, *found;

    no_err(chardev_add(set, "null,id=con0", &c));
    Err *e = chardev_add(set, "null,id=con0", &found);
    CHECK(e && strstr(err_text(e), "'con0'"));
    err_free(e);
    e = chardev_find(set, "cno0", &found);
    CHECK(e && strstr(err_hint_text(e), "'con0'"));
    err_free(e);
    Dev *d = new_dev(c, 1);
    CharPort second = { .chr = c };
    e = chr_bind(&second, &dev_events, d);
    CHECK(e && strstr(err_hint_text(e), "mux=on"));
    err_free(e);
    chr_unbind(&second);
    CHECK(c == d->port.chr);
    CHECK_EQ(chr_write(&d->port, "x", 1), 1);
    dev_free(d);
    char *help = chardev_help("socket");
    CHECK(strstr(help, "server=on|off") && !strstr(help, "pseudo"));
    g_free(help);
    chardevs_free(set);
}

int main(void)
{
    dir = g_dir_make_tmp("lyre-chardev-XXXXXX", NULL);
    ctx = g_main_context_new();
    signal(SIGPIPE, SIG_IGN);
    RUN(test_null);
    RUN(test_file);
    RUN(test_input_flow);
    RUN(test_output_flow);
    RUN(test_flush_at_end);
    RUN(test_unix_server);
    RUN(test_unix_stale);
    RUN(test_telnet);
    RUN(test_telnet_cuts);
    RUN(test_pty);
    RUN(test_mux_commands);
    RUN(test_mux_focus);
    RUN(test_mux_times);
    RUN(test_ringbuf);
    RUN(test_udp);
    RUN(test_file_input);
    RUN(test_pty_link);
    RUN(test_host_serial);
    RUN(test_reconnect);
    RUN(test_abstract);
    RUN(test_to);
    RUN(test_any);
    RUN(test_wrong);
    RUN(test_wrong_use);
    g_main_context_unref(ctx);
    char *rm = g_strdup_printf("rm -rf '%s'", dir);
    CHECK(!system(rm));
    g_free(rm);
    g_free(dir);
    return test_end();
}
