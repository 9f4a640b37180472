/* SPDX-License-Identifier: MIT */
/*
 * chardev/: sockets of every family as server and client, telnet, reconnecting,
 * UDP, each against the other end.
 */
#include "tests/unit/chardev-rig.h"
#include "chardev/telnet.h"

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

int main(void)
{
    rig_begin();
    RUN(test_unix_server);
    RUN(test_unix_stale);
    RUN(test_telnet);
    RUN(test_telnet_cuts);
    RUN(test_udp);
    RUN(test_reconnect);
    RUN(test_abstract);
    RUN(test_to);
    RUN(test_any);
    return rig_end();
}
