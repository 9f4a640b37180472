/* SPDX-License-Identifier: MIT */
/*
 * -netdev user, its guest played by raw frames: ARP, DHCP, router advertisement,
 * UDP and TCP both ways through sockets of this host, large frames, tftp,
 * hostfwd and guestfwd, options that are wrong.
 */
#include "tests/unit/net-rig.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const uint8_t mac[6] = { 0x52, 0x54, 0, 0x12, 0x34, 0x56 }, all[6] = { 255, 255, 255, 255, 255, 255 };
static uint8_t gw[6];           /* learnt by ARP */

static Loop *loop;
static Net *net;
static Nic nic;
static uint8_t f[70000];

static void start(const char *options)
{
    g_autofree char *arg = g_strdup_printf("user,id=u%s", options);

    must(loop_new(0, &loop));
    net = net_new(loop);
    must(rig_add(net, arg));
    nic_init(&nic, "nic", 12, NET_CSUM | NET_TSO4 | NET_TSO6);
    nic_connect(&nic, net, "u");
}

static void stop(void)
{
    net_unlink(&nic.port);
    nic_clear(&nic);
    net_rig_free(loop, net);
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

/* A socket at 127.0.0.1; bound (port 0: any) or connected. */
static int host_socket(int type, unsigned bound, unsigned to)
{
    int fd = socket(AF_INET, type | SOCK_NONBLOCK, 0);
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(bound) };

    if (to) {
        a.sin_port = htons(to);
        CHECK(!connect(fd, (void *)&a, sizeof(a)) || errno == EINPROGRESS);
    } else {
        CHECK(!bind(fd, (void *)&a, sizeof(a)));
    }
    return fd;
}

static int host_socket6(unsigned to)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT, .sin6_port = htons(to) };

    CHECK(!connect(fd, (void *)&a, sizeof(a)) || errno == EINPROGRESS);
    return fd;
}

static bool has_ip6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    bool yes = fd >= 0 && !bind(fd, (void *)&a, sizeof(a));

    if (fd >= 0)
        close(fd);
    return yes;
}

static unsigned port_of(int fd)
{
    struct sockaddr_in a;
    socklen_t n = sizeof(a);

    getsockname(fd, (void *)&a, &n);
    return ntohs(a.sin_port);
}

/* ---- waiting for a frame of a kind; ARP requests for our address are answered on the way */

static void arp_reply(const uint8_t *q)
{
    uint8_t r[42];

    memcpy(r, q, 42);
    memcpy(r, q + 6, 6), memcpy(r + 6, mac, 6);
    r[21] = 2;
    memcpy(r + 32, q + 22, 10);
    memcpy(r + 22, mac, 6), memcpy(r + 28, q + 38, 4);
    nic_send(&nic, NULL, r, 42);
}

static void neighbour_reply(const Got *g)
{
    uint8_t r[86], *i = put_ip6(r, g->f + 6, mac, "fec0::15", "fec0::2", 58, 32);

    memcpy(r + 22, g->f + 62, 16);      /* from the address that was asked for */
    memcpy(r + 38, g->f + 22, 16);
    memset(i, 0, 32);
    i[0] = 136, i[4] = 0x60;
    memcpy(i + 8, g->f + 62, 16);
    i[24] = 2, i[25] = 1;
    memcpy(i + 26, mac, 6);
    set16(i + 2, ref_l4_csum(r + 14, 72, 2));
    nic_send(&nic, NULL, r, 86);
}

/* The next frame with that ethertype and protocol (0: any); NULL: none came. g_free it. */
static Got *expect(unsigned ethertype, unsigned proto)
{
    for (int64_t end = loop_now() + 60000000000; loop_now() < end;) {
        Got *g = g_queue_pop_head(&nic.got);

        if (!g) {
            if (!loop_turn(loop, false))
                g_usleep(200);
            continue;
        }
        bool arp = get16(g->f + 12) == 0x806, v6 = get16(g->f + 12) == 0x86dd;
        if (arp && g->f[21] == 1 && ethertype != 0x806 && g->f[41] == 15)
            arp_reply(g->f);
        else if (v6 && g->f[20] == 58 && g->f[54] == 135 && proto != 58)
            neighbour_reply(g);
        else if (get16(g->f + 12) == ethertype && (!proto || (v6 ? g->f[20] : g->f[23]) == proto))
            return g;
        g_free(g);
    }
    return NULL;
}

static void learn_gateway(void)
{
    static const uint8_t head[] = { 0, 1, 8, 0, 6, 4, 0, 1 };
    Got *g;

    memset(f, 0, 60);
    memcpy(f, all, 6), memcpy(f + 6, mac, 6), set16(f + 12, 0x806);
    memcpy(f + 14, head, 8), memcpy(f + 22, mac, 6);
    inet_pton(AF_INET, "10.0.2.15", f + 28), inet_pton(AF_INET, "10.0.2.2", f + 38);
    CHECK(nic_send(&nic, NULL, f, 60));
    g = expect(0x806, 0);
    CHECK(g && g->f[21] == 2);
    if (g)
        memcpy(gw, g->f + 22, 6);
    g_free(g);
}

static void send_udp(const char *dst, unsigned sport, unsigned dport, const void *p, size_t n, bool csum)
{
    uint8_t *u = put_ip4(f, gw, mac, "10.0.2.15", dst, 17, 8 + n);

    set16(u, sport), set16(u + 2, dport), set16(u + 4, 8 + n), set16(u + 6, 0);
    memcpy(u + 8, p, n);
    if (csum)
        set16(u + 6, ref_l4_csum(f + 14, 28 + n, 6));
    CHECK(nic_send(&nic, NULL, f, 42 + n));
}

static void arp(void)
{
    start("");
    learn_gateway();
    CHECK(!memcmp(gw, "\x52\x55\x0a\x00\x02\x02", 6));
    stop();
}

/* ---- DHCP */

static const uint8_t *dhcp_option(const Got *g, unsigned code)
{
    for (size_t i = 14 + 20 + 8 + 240; g && i + 1 < g->len && g->f[i] != 255; i += 2 + g->f[i + 1])
        if (g->f[i] == code)
            return g->f + i + 1;
    return NULL;
}

static void dhcp(void)
{
    static const uint8_t options[] = { 99, 130, 83, 99, 53, 1, 1, 255 };
    uint8_t *u = put_ip4(f, all, mac, "0.0.0.0", "255.255.255.255", 17, 8 + 300);

    start(",hostname=box,domainname=lan,dnssearch=a.b,dnssearch=c.d,tftp=/,bootfile=/boot,net=10.7.0.0/16,dns=10.7.0.9");
    memset(u, 0, 308);
    set16(u, 68), set16(u + 2, 67), set16(u + 4, 308);
    u[8] = 1, u[9] = 1, u[10] = 6, u[12] = 0x42;
    memcpy(u + 36, mac, 6);
    memcpy(u + 8 + 236, options, sizeof(options));
    CHECK(nic_send(&nic, NULL, f, 42 + 300));
    Got *g = expect(0x800, 17);
    CHECK(g != NULL);
    if (g) {
        const uint8_t *o;

        CHECK(!memcmp(g->f + 42 + 16, "\x0a\x07\x02\x0f", 4));
        CHECK(!strcmp((char *)g->f + 42 + 108, "/boot"));
        CHECK((o = dhcp_option(g, 6)) && !memcmp(o, "\x04\x0a\x07\x00\x09", 5));
        CHECK((o = dhcp_option(g, 12)) && !memcmp(o, "\x03" "box", 4));
        CHECK((o = dhcp_option(g, 15)) && !memcmp(o, "\x03lan", 4));
        CHECK((o = dhcp_option(g, 119)) != NULL);
        CHECK(!dhcp_option(g, 26));         /* no word of an MTU: the guest's wire is Ethernet's */
    }
    g_free(g);
    stop();
}

static void router_advertisement(void)
{
    uint8_t *i = put_ip6(f, (uint8_t[]){ 0x33, 0x33, 0, 0, 0, 2 }, mac, "fe80::5054:ff:fe12:3456", "ff02::2", 58, 8);

    start("");
    memset(i, 0, 8);
    i[0] = 133;
    set16(i + 2, ref_l4_csum(f + 14, 48, 2));
    CHECK(nic_send(&nic, NULL, f, 62));
    Got *g = expect(0x86dd, 58);
    CHECK(g && g->f[54] == 134);
    for (size_t o = 70; g && o + 8 <= g->len && g->f[o + 1]; o += g->f[o + 1] * 8) {
        CHECK(g->f[o] != 5);                /* no MTU option */
        if (g->f[o] == 3)
            CHECK(g->f[o + 2] == 64 && !memcmp(g->f + o + 16, "\xfe\xc0", 2));
    }
    g_free(g);
    stop();
}

/* ---- UDP */

static void udp_out(void)
{
    int fd = host_socket(SOCK_DGRAM, 0, 0);
    char text[100];
    struct sockaddr_in from;
    socklen_t n = sizeof(from);
    static uint8_t large[5000];

    start("");
    learn_gateway();
    send_udp("10.0.2.2", 4000, port_of(fd), "question", 8, true);
    turn(loop, 20);
    CHECK_EQ(recvfrom(fd, text, sizeof(text), 0, (void *)&from, &n), 8);
    CHECK_EQ(sendto(fd, "answer", 6, 0, (void *)&from, n), 6);
    Got *g = expect(0x800, 17);
    CHECK(g && g->len == 48 && !memcmp(g->f + 42, "answer", 6));
    CHECK(g && get16(g->f + 40) == ref_l4_csum(g->f + 14, g->len - 14, 6));
    g_free(g);
    /* More than a frame: in fragments, as the guest's wire is Ethernet's. */
    for (size_t i = 0; i < sizeof(large); i++)
        large[i] = i;
    CHECK_EQ(sendto(fd, large, sizeof(large), 0, (void *)&from, n), sizeof(large));
    size_t have = 0;
    while (have < 5008 && (g = expect(0x800, 17))) {
        size_t off = (get16(g->f + 20) & 0x1fff) * 8, len = get16(g->f + 16) - 20;

        CHECK(g->len <= 1514 && off == have);
        CHECK(!memcmp(g->f + 34 + (off ? 0 : 8), large + (off ? off - 8 : 0), len - (off ? 0 : 8)));
        have += len;
        g_free(g);
    }
    CHECK_EQ(have, 5008);
    close(fd);
    stop();
}

/* Bytes [off, off + n) of a UDP packet to port `to` of the host, as an IP fragment. */
static void send_fragment(unsigned id, unsigned to, unsigned off, unsigned n, unsigned flags, int wrong)
{
    uint8_t *p = put_ip4(f, gw, mac, "10.0.2.15", "10.0.2.2", 17, n), *ip = f + 14;

    memset(p, 'x', n);
    if (!off) {
        set16(p, 4000), set16(p + 2, to), set16(p + 4, 24), set16(p + 6, 0);
    }
    set16(ip + 4, id);
    set16(ip + 6, off / 8 | flags);
    ip[8] = wrong == 't' ? 0 : 64;
    set16(ip + 10, 0);
    set16(ip + 10, ref_csum(ip, 20, 0) ^ (wrong == 'c'));
    CHECK(nic_send(&nic, NULL, f, 34 + n));
    turn(loop, 5);
}

/* Fragments that do not come in order fall aside: libslirp 4.7.0 would fall over the first of these. */
static void fragments(void)
{
    enum { MORE = 0x2000, RESERVED = 0x8000 };
    int fd = host_socket(SOCK_DGRAM, 0, 0);
    unsigned to = port_of(fd);
    char text[64];

    start("");
    learn_gateway();
    send_fragment(1, to, 16, 8, 0, 0);
    send_fragment(1, to, 0, 16, MORE, 0);           /* the rest of it is gone */
    CHECK_EQ(recv(fd, text, sizeof(text), 0), -1);
    send_fragment(2, to, 8, 8, MORE, 0);
    send_fragment(3, to, 0, 0, MORE, 0);            /* empty, and what follows it */
    send_fragment(3, to, 0, 8, 0, 0);
    send_fragment(4, to, 0, 8, MORE, 't');          /* libslirp drops it: nothing may follow it, either */
    send_fragment(4, to, 8, 16, 0, 0);
    send_fragment(5, to, 0, 8, MORE, 'c');
    send_fragment(5, to, 8, 16, 0, 0);
    send_fragment(6, to, 0, 8, MORE, 0);            /* libslirp lets go of its queue */
    send_fragment(6, to, 0, 8, RESERVED, 0);
    send_fragment(7, to, 0, 12, MORE, 0);           /* no multiple of 8 */
    send_fragment(8, to, 65528, 16, 0, 0);
    send_fragment(9, to, 0, 8, MORE, 0);
    send_fragment(9, to, 0, 8, MORE, 0);            /* twice */
    send_fragment(9, to, 24, 8, 0, 0);              /* a hole */
    CHECK_EQ(recv(fd, text, sizeof(text), 0), -1);
    send_fragment(10, to, 0, 8, MORE, 0);
    send_fragment(10, to, 8, 8, MORE, 0);
    send_fragment(10, to, 16, 8, 0, 0);
    CHECK_EQ(recv(fd, text, sizeof(text), 0), 16);
    for (unsigned i = 0; i < 200; i++)              /* more at once than are kept */
        send_fragment(100 + i, to, 0, 16, MORE, 0);
    send_fragment(100, to, 16, 8, 0, 0);
    CHECK_EQ(recv(fd, text, sizeof(text), 0), -1);
    send_fragment(299, to, 16, 8, 0, 0);
    CHECK_EQ(recv(fd, text, sizeof(text), 0), 16);
    close(fd);
    stop();
}

static void udp_hostfwd(void)
{
    unsigned port = free_port(SOCK_DGRAM);
    g_autofree char *o = g_strdup_printf(",hostfwd=udp:127.0.0.1:%u-:53", port);
    int fd = host_socket(SOCK_DGRAM, 0, port);

    start(o);
    learn_gateway();
    CHECK_EQ(send(fd, "hello", 5, 0), 5);
    Got *g = expect(0x800, 17);
    CHECK(g && get16(g->f + 36) == 53 && !memcmp(g->f + 42, "hello", 5));
    if (g) {
        char text[10];

        send_udp("10.0.2.2", 53, get16(g->f + 34), "there", 5, true);
        turn(loop, 20);
        CHECK_EQ(recv(fd, text, sizeof(text), 0), 5);
    }
    g_free(g);
    close(fd);
    stop();
}

/* ---- TCP */

typedef struct Tcp { unsigned sport, dport; uint32_t seq, ack; const char *to; bool v6; } Tcp;

static void send_tcp(Tcp *t, unsigned flags, const void *p, size_t n, const NetHdr *gso)
{
    unsigned head = flags & 2 ? 24 : 20, ip_len = t->v6 ? 40 : 20;
    uint8_t *s = t->v6 ? put_ip6(f, gw, mac, "fec0::15", t->to, 6, head + n) :
                         put_ip4(f, gw, mac, "10.0.2.15", t->to, 6, head + n);
    NetHdr h = { 0 };

    memset(s, 0, head);
    set16(s, t->sport), set16(s + 2, t->dport), set32(s + 4, t->seq), set32(s + 8, t->ack);
    s[12] = head << 2, s[13] = flags, set16(s + 14, 65535);
    if (flags & 2)
        memcpy(s + 20, "\x02\x04\x05\xb4", 4);
    if (flags & 0x20)
        set16(s + 18, 60000);
    memcpy(s + head, p, n);
    if (gso)
        h = *gso;
    else
        set16(s + 16, ref_l4_csum(f + 14, ip_len + head + n, 16));
    CHECK(nic_send(&nic, &h, f, 14 + ip_len + head + n));
    t->seq += n + !!(flags & 3);
}

static const uint8_t *tcp_of(const Got *g) { return g->f + 14 + (get16(g->f + 12) == 0x86dd ? 40 : 20); }

/* The guest accepts a connection that comes in to `port`. */
static bool accept_tcp(Tcp *t, unsigned port, unsigned ethertype)
{
    Got *g = expect(ethertype, 6);
    bool good = g && tcp_of(g)[13] == 2 && get16(tcp_of(g) + 2) == port;
    static char from[INET6_ADDRSTRLEN];

    CHECK(good);
    if (!good)
        return false;
    t->v6 = ethertype == 0x86dd;
    inet_ntop(t->v6 ? AF_INET6 : AF_INET, g->f + (t->v6 ? 22 : 26), from, sizeof(from));
    *t = (Tcp){ port, get16(tcp_of(g)), 1000, get32(tcp_of(g) + 4) + 1, from, t->v6 };
    g_free(g);
    send_tcp(t, 0x12, "", 0, NULL);
    return true;
}

/* Reads the host's stream through the guest until n bytes are there; the largest frame's size. */
static size_t read_tcp(Tcp *t, uint8_t *to, size_t n, bool cut)
{
    size_t have = 0, largest = 0;
    Got *g;

    while (have < n && (g = expect(t->v6 ? 0x86dd : 0x800, 6))) {
        const uint8_t *s = tcp_of(g);
        unsigned head = (s[12] >> 4) * 4;
        size_t len = g->f + g->len - s - head;
        uint16_t csum = ref_l4_csum(g->f + 14, g->len - 14, 16);

        if (g->h.gso_type) {
            CHECK_EQ(g->h.gso_size, 1460);
            CHECK_EQ(g->h.gso_type, t->v6 ? NET_GSO_TCP6 : NET_GSO_TCP4);
            CHECK(g->h.flags == NET_HDR_CSUM && net_fill_csum(g->f, g->len, &g->h));
        } else {
            CHECK(len <= 1460);
        }
        CHECK_EQ(get16(s + 16), csum);
        if (get32(s + 4) == t->ack && have + len <= n) {
            memcpy(to + have, s + head, len);
            have += len;
            t->ack += len;
            largest = MAX(largest, len);
            if (len)
                send_tcp(t, 0x10, "", 0, NULL);
        }
        g_free(g);
    }
    CHECK_EQ(have, n);
    return largest;
}

static size_t pour(int fd, const uint8_t *p, size_t n)
{
    ssize_t did = write(fd, p, n);

    return did > 0 ? did : 0;
}

enum { MUCH = 300000 };
static uint8_t pattern[MUCH], back[MUCH];

/* All bytes from the host to the guest, which can read 64 KiB ahead. */
static void download(Tcp *t, int fd, bool large)
{
    size_t put = 0, got = 0, largest = 0;

    while (got < MUCH && !test_case_bad) {
        size_t n;

        put += pour(fd, pattern + put, MIN(MUCH - put, 60000));
        n = put - got;
        size_t l = read_tcp(t, back + got, n, false);
        largest = MAX(largest, l);
        got += n;
    }
    CHECK(!memcmp(back, pattern, MUCH));
    CHECK(large ? largest > 10000 : largest <= 1460);
}

static void upload(Tcp *t, int fd)
{
    size_t sent = 0, got = 0;

    while (got < MUCH && !test_case_bad) {
        NetHdr h = { .flags = 1, .gso_type = t->v6 ? NET_GSO_TCP6 : NET_GSO_TCP4, .gso_size = 1460,
                     .csum_start = t->v6 ? 54 : 34, .csum_offset = 16 };
        size_t n = MIN(MUCH - sent, 50000);

        send_tcp(t, 0x18, pattern + sent, n, &h);
        sent += n;
        for (int64_t end = loop_now() + 60000000000; got < sent && loop_now() < end;) {
            ssize_t r = read(fd, back + got, MUCH - got);

            if (r > 0)
                got += r;
            else
                turn(loop, 1);
        }
        CHECK_EQ(got, sent);
    }
    CHECK(!memcmp(back, pattern, MUCH));
}

static void tcp_hostfwd(bool large, bool v6)
{
    unsigned port = free_port(SOCK_STREAM);
    g_autofree char *o = g_strdup_printf(",hostfwd=tcp:%s:%u-%s:22", v6 ? "[::1]" : "127.0.0.1", port,
                                         v6 ? "[fec0::15]" : "");
    Tcp t;

    start(o);
    nic.offloads = large ? nic.offloads : 0;
    net_expect(&nic.port, 12);
    learn_gateway();
    for (size_t i = 0; i < MUCH; i++)
        pattern[i] = i * 2654435761u >> 24;
    int fd = v6 ? host_socket6(port) : host_socket(SOCK_STREAM, 0, port);
    if (accept_tcp(&t, 22, v6 ? 0x86dd : 0x800)) {
        download(&t, fd, large);
        upload(&t, fd);
        /* Urgent data is data. */
        send_tcp(&t, 0x38, "urgent", 6, NULL);
        turn(loop, 20);
        char text[10];
        CHECK(recv(fd, text, sizeof(text), 0) == 6 && !memcmp(text, "urgent", 6));
        CHECK(recv(fd, text, 1, MSG_OOB) < 0);
        send_tcp(&t, 0x11, "", 0, NULL);
        turn(loop, 20);
        CHECK_EQ(recv(fd, text, 1, 0), 0);
    }
    close(fd);
    stop();
}

static void tcp_large(void) { tcp_hostfwd(true, false); }
static void tcp_small(void) { tcp_hostfwd(false, false); }
static void tcp_v6(void) { tcp_hostfwd(true, true); }

/* A guest that takes nothing for a while loses nothing. */
static void guest_stalls(void)
{
    unsigned port = free_port(SOCK_STREAM);
    g_autofree char *o = g_strdup_printf(",hostfwd=tcp:127.0.0.1:%u-:22", port);
    Tcp t;

    start(o);
    learn_gateway();
    int fd = host_socket(SOCK_STREAM, 0, port);
    if (accept_tcp(&t, 22, 0x800)) {
        turn(loop, 20);
        nic_clear(&nic);
        nic.full = true;
        CHECK_EQ(pour(fd, pattern, 30000), 30000);
        turn(loop, 30);
        CHECK_EQ(nic.got.length, 0);
        nic.full = false;
        net_room(&nic.port);
        read_tcp(&t, back, 30000, false);
        CHECK(!memcmp(back, pattern, 30000));
    }
    close(fd);
    stop();
}

/* ---- guestfwd */

static void guestfwd(void)
{
    int server = host_socket(SOCK_STREAM, 0, 0);
    g_autofree char *o = g_strdup_printf(",restrict=on,guestfwd=tcp:10.0.2.100:80-tcp:127.0.0.1:%u"
                                         ",guestfwd=tcp:10.0.2.101:81-cmd:echo from a command", port_of(server));
    char text[100];

    CHECK(!listen(server, 5));
    start(o);
    learn_gateway();
    for (int i = 0; i < 2; i++) {
        Tcp t = { 5000 + i, i ? 81 : 80, 77, 0, i ? "10.0.2.101" : "10.0.2.100" };

        send_tcp(&t, 2, "", 0, NULL);
        Got *g = expect(0x800, 6);
        CHECK(g && tcp_of(g)[13] == 0x12);
        if (!g)
            break;
        t.ack = get32(tcp_of(g) + 4) + 1;
        g_free(g);
        send_tcp(&t, 0x18, "request", i ? 0 : 7, NULL);
        if (!i) {
            turn(loop, 50);
            int fd = accept(server, NULL, NULL);
            CHECK(fd >= 0);
            CHECK_EQ(recv(fd, text, sizeof(text), MSG_DONTWAIT), 7);
            CHECK_EQ(send(fd, "response", 8, 0), 8);
            CHECK_EQ(read_tcp(&t, back, 8, false), 8);
            CHECK(!memcmp(back, "response", 8));
            close(fd);
        } else {
            CHECK_EQ(read_tcp(&t, back, 15, false), 15);
            CHECK(!memcmp(back, "from a command\n", 15));
        }
    }
    close(server);
    stop();
}

/* ---- tftp */

static void tftp(void)
{
    g_autofree char *dir = g_dir_make_tmp("net-test-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "boot.txt", NULL), *o = g_strdup_printf(",tftp=%s", dir);

    CHECK(g_file_set_contents(path, "hello from tftp", -1, NULL));
    start(o);
    learn_gateway();
    send_udp("10.0.2.2", 3000, 69, "\0\1boot.txt\0octet\0", 17, true);
    Got *g = expect(0x800, 17);
    CHECK(g && !memcmp(g->f + 42, "\0\3\0\1hello from tftp", 19));
    g_free(g);
    send_udp("10.0.2.2", 3001, 69, "\0\1../x\0octet\0", 13, true);
    g = expect(0x800, 17);
    CHECK(g && g->f[43] == 5);
    g_free(g);
    unlink(path);
    rmdir(dir);
    stop();
}

/* ---- forwarding while it runs; mistakes */

static void live(void)
{
    unsigned port = free_port(SOCK_STREAM);
    int busy = host_socket(SOCK_STREAM, 0, 0);
    g_autofree char *rule = g_strdup_printf("tcp:127.0.0.1:%u-:22", port), *gone = g_strdup_printf("tcp:127.0.0.1:%u", port);
    g_autofree char *taken = g_strdup_printf("tcp:127.0.0.1:%u-:22", port_of(busy));
    g_autofree char *sock = g_strdup_printf("%s/net-test-%d.sock", g_get_tmp_dir(), (int)getpid());
    g_autofree char *unixes = g_strdup_printf("unix:%s-:22", sock);
    Tcp t;

    CHECK(!listen(busy, 1));
    start("");
    learn_gateway();
    must(net_forward(net, NULL, rule, true));
    int fd = host_socket(SOCK_STREAM, 0, port);
    CHECK(accept_tcp(&t, 22, 0x800));
    close(fd);
    must(net_forward(net, "u", gone, false));
    CHECK(says(net_forward(net, "u", gone, false), "nothing is forwarded from TCP port"));
    CHECK(says(net_forward(net, "u", taken, true), "Address already in use"));
    CHECK(says(net_forward(net, "x", rule, true), "no network backend 'x'"));
    must(net_forward(net, "u", unixes, true));
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    strcpy(un.sun_path, sock);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(!connect(fd, (void *)&un, sizeof(un)));
    turn(loop, 10);
    nic_clear(&nic);
    close(fd);
    close(busy);
    stop();
    unlink(sock);
}

static void mistakes(void)
{
    static const char *const rows[][2] = {
        { "net=10.0.2", "no IPv4 address" }, { "net=10.0.0.0/33", "4 to 30 bits" }, { "net=10.0.0.0/x", "net=" },
        { "host=10.0.3.2", "not in the network" }, { "dns=10.0.2.2", "same address" }, { "dhcpstart=10.0.2.2", "dhcpstart" },
        { "ipv4=off,ipv6=off", "nothing is left" }, { "ipv6-net=fec0::/200", "8 to 126 bits" }, { "ipv6-host=::1", "prefix" },
        { "ipv6-dns=zz", "no IPv6 address" }, { "tftp=/nowhere", "no such folder" }, { "smb=/tmp", "smb is not available" },
        { "hostfwd=tcp:22-:22", "no such rule" }, { "hostfwd=tcp::22", "no such rule" }, { "hostfwd=sctp::22-:22", "no such rule" },
        { "hostfwd=tcp::70000-:22", "no such rule" }, { "hostfwd=tcp::2222-:", "no such rule" }, { "hostfwd=", "no such rule" },
        { "hostfwd=unix:-:22", "no such rule" }, { "hostfwd=tcp:1.2.3.4:5000-:22", "cannot listen on TCP port 5000 of 1.2.3.4" },
        { "hostfwd=tcp::2222-[fec0::15]:22", "from IPv4 to IPv6" }, { "hostfwd=tcp:[::1]:2222-:22", "from IPv6 to IPv4" },
        { "guestfwd=tcp:10.0.2.100:80", "no such rule" }, { "guestfwd=tcp:10.0.2.100:80-null", "not available" },
        { "guestfwd=tcp:10.0.2.2:80-cmd:x", "the address is taken" }, { "guestfwd=tcp:10.0.2.100:80-tcp:x", "guestfwd" },
        { "ipv4=maybe", "ipv4" }, { "hostname=012345678901234567890123456789012", "longer than the 32" },
        { "hosfwd=x", "Did you mean 'hostfwd'" },
    };

    start("");
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *arg = g_strdup_printf("user,id=m,%s", rows[i][0]);

        CHECK(says(rig_add(net, arg), rows[i][1]));
    }
    must(rig_add(net, "{\"type\":\"user\",\"id\":\"j\",\"ipv6\":false,\"dnssearch\":[{\"str\":\"a\"},{\"str\":\"b\"}]}"));
    g_autofree char *info = net_info(net);
    CHECK(strstr(info, "j: type=user,net=10.0.2.0/24,restrict=off"));
    stop();
}

/* Frames at random, most of them nearly right. */
static void noise(void)
{
    unsigned s = 7;

    start("");
    learn_gateway();
    for (int i = 0; i < 20000; i++) {
        size_t n = 14 + (s >> 8) % 400;
        NetHdr h = { .flags = (s >> 20) % 2, .csum_start = 34, .csum_offset = (s >> 9) % 2 ? 16 : 6 };

        put_ip4(f, gw, mac, "10.0.2.15", "10.0.2.2", (s >> 4) % 3 ? 6 : 17, (s >> 12) % 400);
        for (int k = 0; k < 6; k++) {
            s = s * 1103515245 + 12345;
            f[12 + (s >> 8) % 60] = s >> 20;
        }
        f[34 + 2] |= 0x80;          /* to ports where nobody is */
        nic_send(&nic, &h, f, n);
        if (i % 256 == 0)
            loop_turn(loop, false);
        nic_clear(&nic);
    }
    stop();
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    must(loop_new(0, &loop));
    net = net_new(loop);
    Err *e = rig_add(net, "user,id=probe");
    bool there = !e;

    if (e && strstr(err_text(e), "libslirp")) {
        printf("%s\n", err_text(e));
        return 77;
    }
    must(e);
    net_rig_free(loop, net);
    if (!there)
        return 1;
    RUN(arp);
    RUN(dhcp);
    RUN(router_advertisement);
    RUN(udp_out);
    RUN(fragments);
    RUN(udp_hostfwd);
    RUN(tcp_large);
    RUN(tcp_small);
    if (has_ip6())
        RUN(tcp_v6);
    RUN(guest_stalls);
    RUN(guestfwd);
    RUN(tftp);
    RUN(live);
    RUN(mistakes);
    RUN(noise);
    return test_end();
}
