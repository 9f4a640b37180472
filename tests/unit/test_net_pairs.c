/* SPDX-License-Identifier: MIT */
/*
 * Backends that join two machines: stream, dgram, socket. Two networks on one
 * loop, a NIC at each; frames of all lengths go both ways, in order, also when
 * one side takes none for a while.
 */
#include "tests/unit/net-rig.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static Loop *loop;
static Net *nets[2];
static Nic nics[2];
static char *dir;

static void start(void)
{
    must(loop_new(0, &loop));
    for (int i = 0; i < 2; i++) {
        nets[i] = net_new(loop);
        nic_init(&nics[i], i ? "b" : "a", i ? 0 : 12, 0);
    }
}

static void net_drop(void *opaque) { net_free(opaque); }

static void stop(void)
{
    for (int i = 0; i < 2; i++) {
        net_unlink(&nics[i].port);
        nic_clear(&nics[i]);
        co_run(loop, net_drop, nets[i]);
    }
    while (loop_turn(loop, false))
        ;
    loop_free(loop);
}

static unsigned free_port(int type)
{
    int fd = socket(AF_INET, type, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t n = sizeof(a);

    CHECK(!bind(fd, (void *)&a, n) && !getsockname(fd, (void *)&a, &n));
    close(fd);
    return ntohs(a.sin_port);
}

/* "%1", "%2", "%d" stand for two ports and a folder. */
static char *fill_in(const char *text, unsigned p1, unsigned p2)
{
    GString *s = g_string_new(text);
    g_autofree char *a = g_strdup_printf("%u", p1), *b = g_strdup_printf("%u", p2);

    g_string_replace(s, "%1", a, 0);
    g_string_replace(s, "%2", b, 0);
    g_string_replace(s, "%d", dir, 0);
    return g_string_free(s, false);
}

static void pair(const char *first, const char *second, int type)
{
    unsigned p1 = free_port(type), p2 = free_port(type);
    const char *const text[2] = { first, second };

    for (int i = 0; i < 2; i++) {
        g_autofree char *arg = fill_in(text[i], p1, p2);

        must(rig_add(nets[i], arg));
        nic_connect(&nics[i], nets[i], "n");
    }
}

static uint8_t f[NET_FRAME_MAX];

static size_t length_of(unsigned i, size_t most) { return 14 + (i * 7919u) % (most - 13); }

static bool has_room(void *opaque) { return nics[0].rooms > 0; }

static bool got_all(void *opaque)
{
    return nics[1].got.length >= *(unsigned *)opaque;
}

/* n frames from one NIC to the other; those that are refused are sent again. */
static void send_frames(int from, unsigned n, size_t most)
{
    Nic *a = &nics[from], *b = &nics[!from];

    for (unsigned i = 0; i < n; i++) {
        size_t len = length_of(i, most);

        memset(f, i, len);
        memcpy(f, &i, 4);
        for (int64_t end = loop_now() + 60000000000; !nic_send(a, NULL, f, len) && loop_now() < end;)
            loop_turn(loop, false);
        loop_turn(loop, false);
    }
    for (int64_t end = loop_now() + 60000000000; b->got.length < n && loop_now() < end;)
        if (!loop_turn(loop, false))
            g_usleep(100);
    CHECK_EQ(b->got.length, n);
    for (unsigned i = 0; i < n; i++) {
        Got *g = g_queue_pop_head(&b->got);
        unsigned no = 0;

        if (!g)
            break;
        memcpy(&no, g->f, 4);
        CHECK(no == i && g->len == length_of(i, most) && (uint8_t)g->f[g->len - 1] == (g->len > 4 ? (uint8_t)i : g->f[g->len - 1]));
        g_free(g);
    }
}

static void exercise(size_t most)
{
    turn(loop, 20);
    send_frames(0, 300, most);
    send_frames(1, 300, most);
}

/* While b takes nothing, a is stopped at some time; then all arrive. */
static void stall(size_t len)
{
    unsigned sent = 0;

    nics[1].full = true;
    while (sent < 100000 && (memset(f, 1, len), nic_send(&nics[0], NULL, f, len))) {
        sent++;
        loop_turn(loop, false);
    }
    CHECK(sent > 0 && sent < 100000);
    CHECK(nics[0].port.waiting);
    nics[1].full = false;
    net_room(&nics[1].port);
    CHECK(until(loop, got_all, &sent));
    CHECK_EQ(nics[1].got.length, sent);
    CHECK(until(loop, has_room, NULL));
    nic_clear(&nics[1]);
}

static void streams(void)
{
    static const char *const rows[][2] = {
        { "stream,id=n,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=%1",
          "stream,id=n,server=off,addr.type=inet,addr.host=127.0.0.1,addr.port=%1" },
        { "{\"type\":\"stream\",\"id\":\"n\",\"server\":true,\"addr\":{\"type\":\"unix\",\"path\":\"%d/s\"}}",
          "stream,id=n,addr.type=unix,addr.path=%d/s" },
        { "stream,id=n,server=on,addr.type=unix,addr.path=lyre-test-%1,addr.abstract=on",
          "stream,id=n,addr.type=unix,addr.path=lyre-test-%1,addr.abstract=on" },
        { "socket,id=n,listen=127.0.0.1:%1", "socket,id=n,connect=127.0.0.1:%1" },
        { "stream,id=n,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port=%1", "socket,id=n,connect=127.0.0.1:%1" },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        start();
        pair(rows[i][0], rows[i][1], SOCK_STREAM);
        exercise(65000);
        stall(20000);
        stop();
    }
}

static void datagrams(void)
{
    static const struct { const char *a, *b; size_t most; } rows[] = {
        { "dgram,id=n,local.type=inet,local.host=127.0.0.1,local.port=%1,remote.type=inet,remote.host=127.0.0.1,remote.port=%2",
          "dgram,id=n,local.type=inet,local.host=127.0.0.1,local.port=%2,remote.type=inet,remote.host=127.0.0.1,remote.port=%1",
          9000 },
        { "dgram,id=n,local.type=unix,local.path=%d/a,remote.type=unix,remote.path=%d/b",
          "dgram,id=n,local.type=unix,local.path=%d/b,remote.type=unix,remote.path=%d/a", 65000 },
        { "socket,id=n,udp=127.0.0.1:%2,localaddr=127.0.0.1:%1", "socket,id=n,udp=127.0.0.1:%1,localaddr=127.0.0.1:%2", 9000 },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        start();
        pair(rows[i].a, rows[i].b, SOCK_DGRAM);
        exercise(rows[i].most);
        if (i == 1)
            stall(1000);
        stop();
    }
}

/* Both hear the group, their own frames, too: as on a hub with an echo. */
static void multicast(void)
{
    unsigned one = 1;

    start();
    pair("socket,id=n,mcast=230.0.0.1:%1,localaddr=127.0.0.1",
         "dgram,id=n,remote.type=inet,remote.host=230.0.0.1,remote.port=%1,local.type=inet,local.host=127.0.0.1,local.port=0",
         SOCK_DGRAM);
    memset(f, 5, 100);
    CHECK(nic_send(&nics[0], NULL, f, 100));
    CHECK(until(loop, got_all, &one));
    nic_clear(&nics[1]);
    stop();
}

static void descriptors(void)
{
    for (int dgram = 0; dgram < 2; dgram++) {
        int fd[2];
        g_autofree char *a = NULL, *b = NULL;

        CHECK(!socketpair(AF_UNIX, dgram ? SOCK_DGRAM : SOCK_STREAM, 0, fd));
        start();
        a = g_strdup_printf("socket,id=n,fd=%d", fd[0]);
        b = dgram ? g_strdup_printf("dgram,id=n,local.type=fd,local.str=%d", fd[1])
                  : g_strdup_printf("stream,id=n,addr.type=fd,addr.str=%d", fd[1]);
        pair(a, b, SOCK_STREAM);
        exercise(30000);
        stop();
        if (!dgram)
            close(fd[1]);       /* the stream took a copy */
    }
}

/* ---- one side comes later, and goes */

static bool connected(void *opaque)
{
    g_autofree char *info = net_info(nets[0]);

    return strstr(info, "connected to") && !strstr(info, "not connected");
}

static bool disconnected(void *opaque) { return !connected(opaque); }

static void reconnect(void)
{
    start();
    g_autofree char *client = fill_in("stream,id=n,addr.type=unix,addr.path=%d/r,reconnect-ms=20", 0, 0);
    g_autofree char *server = fill_in("stream,id=n,server=on,addr.type=unix,addr.path=%d/r", 0, 0);
    must(rig_add(nets[0], client));
    nic_connect(&nics[0], nets[0], "n");
    CHECK(disconnected(NULL));
    CHECK(nic_send(&nics[0], NULL, f, 60));         /* lost */
    for (int i = 0; i < 2; i++) {
        must(rig_add(nets[1], server));
        nic_connect(&nics[1], nets[1], "n");
        CHECK(until(loop, connected, NULL));
        exercise(5000);
        must(net_del(nets[1], "n"));
        CHECK(until(loop, disconnected, NULL));
    }
    stop();
}

/* A peer that does not speak the protocol ends the connection, nothing else. */
static void nonsense(void)
{
    int fd[2];

    CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
    start();
    g_autofree char *a = g_strdup_printf("socket,id=n,fd=%d", fd[0]);
    must(rig_add(nets[0], a));
    nic_connect(&nics[0], nets[0], "n");
    CHECK_EQ(write(fd[1], "\0\0\0\0\0\0\0\3abc\xff\xff\xff\xff", 15), 15);
    turn(loop, 20);
    CHECK_EQ(nics[0].got.length, 0);
    CHECK(nic_send(&nics[0], NULL, f, 60));
    CHECK_EQ(read(fd[1], f, 10), 0);
    close(fd[1]);
    stop();
}

static void mistakes(void)
{
    static const char *const rows[][2] = {
        { "stream,id=m", "says no address" }, { "stream,id=m,addr.type=inet,addr.host=127.0.0.1", "'port'" },
        { "stream,id=m,addr.type=unix,addr.path=/nowhere/s", "cannot connect" },
        { "stream,id=m,server=on,reconnect=1,addr.type=unix,addr.path=/nowhere/s", "a client's" },
        { "stream,id=m,addr.type=inet,addr.host=h,addr.port=1,addr.to=9", "not available" },
        { "dgram,id=m", "no remote address" }, { "dgram,id=m,remote.type=inet,remote.host=127.0.0.1,remote.port=9", "no local address" },
        { "dgram,id=m,remote.type=unix,remote.path=/x,local.type=inet,local.host=127.0.0.1,local.port=0", "different kinds" },
        { "dgram,id=m,local.type=fd,local.str=0", "descriptor 0" },
        { "socket,id=m", "exactly one" }, { "socket,id=m,listen=:1,connect=x:1", "exactly one" },
        { "socket,id=m,listen=:1,localaddr=x", "belongs to" }, { "socket,id=m,udp=127.0.0.1:1", "needs localaddr" },
        { "socket,id=m,mcast=127.0.0.1:1", "no multicast group" }, { "socket,id=m,fd=9999", "descriptor 9999" },
        { "socket,id=m,connect=127.0.0.1:1", "cannot connect" },
    };

    start();
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        CHECK(says(rig_add(nets[0], rows[i][0]), rows[i][1]));
    stop();
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    dir = g_dir_make_tmp("net-pairs-XXXXXX", NULL);
    RUN(streams);
    RUN(datagrams);
    RUN(multicast);
    RUN(descriptors);
    RUN(reconnect);
    RUN(nonsense);
    RUN(mistakes);
    rmdir(dir);
    g_free(dir);
    return test_end();
}
