/* SPDX-License-Identifier: MIT */
/*
 * net/: checksums and cutting against a plain reference, links between ports of
 * different abilities, hubs, MAC addresses, -netdev's argument, filter-dump.
 */
#include "tests/unit/net-rig.h"

#include <unistd.h>

static const uint8_t mac_a[6] = { 0x52, 0x54, 0, 1, 2, 3 }, mac_b[6] = { 0x52, 0x54, 0, 9, 9, 9 };

static unsigned seed = 1;
static unsigned rnd(void) { return seed = seed * 1103515245 + 12345, seed >> 8; }

/* ---- sums */

static void sums(void)
{
    static uint8_t b[70000];

    for (size_t i = 0; i < sizeof(b); i++)
        b[i] = i % 7 ? rnd() : 0xff;
    for (int i = 0; i < 400; i++) {
        size_t off = rnd() % 64, n = i < 200 ? rnd() % 300 : rnd() % 65536;
        uint16_t c = net_fold(net_sum(b + off, n));
        uint8_t stored[2];

        memcpy(stored, &c, 2);
        CHECK_EQ(get16(stored), ref_csum(b + off, n, 0));

        /* The same in pieces of any length. */
        struct iovec v[5];
        size_t at = 0;
        for (int k = 0; k < 5; k++) {
            size_t m = k == 4 ? n - at : rnd() % (n - at + 1);

            v[k] = (struct iovec){ b + off + at, m };
            at += m;
        }
        IoVec q = { v, 5, 0, n };
        c = net_fold(net_sum_iov(&q));
        memcpy(stored, &c, 2);
        CHECK_EQ(get16(stored), ref_csum(b + off, n, 0));
    }
}

/* ---- cutting */

typedef struct Parts { GPtrArray *list; } Parts;

static void keep(void *opaque, const IoVec *q)
{
    GBytes *b = g_bytes_new_take(g_malloc(q->len), q->len);

    iov_read(q, 0, (void *)g_bytes_get_data(b, NULL), q->len);
    g_ptr_array_add(opaque, b);
}

static uint8_t big[70000];

/* `whole` with its header, in pieces at random. */
static GPtrArray *cut(const NetHdr *h, size_t len)
{
    GPtrArray *list = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    struct iovec v[100];
    unsigned n = 1;

    v[0] = (struct iovec){ (void *)h, NET_HDR_LEN };
    for (size_t at = 0; at < len; n++) {
        size_t m = n == 99 ? len - at : 1 + rnd() % (rnd() % 2 ? 100 : 4000);

        m = MIN(m, len - at);
        v[n] = (struct iovec){ big + at, m };
        at += m;
    }
    IoVec q = { v, n, 0, NET_HDR_LEN + len };
    net_cut(&q, NET_HDR_LEN, keep, list);
    return list;
}

static void cut_tcp(bool v6, size_t payload, unsigned mss)
{
    unsigned ip_len = v6 ? 40 : 20, head = 14 + ip_len + 32;
    uint8_t *t = v6 ? put_ip6(big, mac_b, mac_a, "fec0::1", "fec0::2", 6, 32 + payload) :
                      put_ip4(big, mac_b, mac_a, "10.0.2.15", "10.0.2.2", 6, 32 + payload);
    NetHdr h = { .flags = 1, .gso_type = v6 ? NET_GSO_TCP6 : NET_GSO_TCP4, .gso_size = mss,
                 .csum_start = 14 + ip_len, .csum_offset = 16 };

    memset(t, 0, 32);
    set16(t, 1000), set16(t + 2, 80), set32(t + 4, 0xfffff000);
    t[12] = 0x80, t[13] = 0x80 | 0x10 | 0x08 | 0x01;
    for (size_t i = 0; i < payload; i++)
        t[32 + i] = rnd();
    g_autoptr(GPtrArray) list = cut(&h, head + payload);
    CHECK_EQ(list->len, MAX((payload + mss - 1) / mss, 1));
    size_t at = 0;
    for (guint i = 0; i < list->len; i++) {
        size_t len;
        const uint8_t *f = g_bytes_get_data(list->pdata[i], &len), *s = f + 14 + ip_len;
        size_t n = len - head, last = i == list->len - 1;

        CHECK(n <= mss && (last || n == mss));
        CHECK(!memcmp(s + 32, t + 32 + at, n));
        CHECK_EQ(get32(s + 4), (uint32_t)(0xfffff000 + at));
        CHECK_EQ(s[13], 0x10 | (i ? 0 : 0x80) | (last ? 9 : 0));
        CHECK_EQ(get16(s + 16), ref_l4_csum(f + 14, len - 14, 16));
        if (v6) {
            CHECK_EQ(get16(f + 18), len - 54);
        } else {
            CHECK_EQ(get16(f + 16), len - 14);
            CHECK_EQ(get16(f + 18), 0x1234 + i);
            CHECK_EQ(ref_csum(f + 14, 20, 0), 0);
        }
        at += n;
    }
    CHECK_EQ(at, payload);
}

static void tcp_segments(void)
{
    for (int v6 = 0; v6 < 2; v6++) {
        cut_tcp(v6, 0, 1448);
        cut_tcp(v6, 1, 1448);
        cut_tcp(v6, 1448, 1448);
        cut_tcp(v6, 1449, 1448);
        cut_tcp(v6, 65000, 1448);
        cut_tcp(v6, 4001, 3);
        for (int i = 0; i < 30; i++)
            cut_tcp(v6, rnd() % 65000, 100 + rnd() % 3000);
    }
}

static void udp_segments(void)
{
    uint8_t *u = put_ip4(big, mac_b, mac_a, "10.0.2.15", "10.0.2.2", 17, 8 + 5000);
    NetHdr h = { .flags = 1, .gso_type = NET_GSO_USO, .gso_size = 1200, .csum_start = 34, .csum_offset = 6 };

    set16(u, 5), set16(u + 2, 6), set16(u + 4, 5008);
    g_autoptr(GPtrArray) list = cut(&h, 42 + 5000);
    CHECK_EQ(list->len, 5);
    for (guint i = 0; i < list->len; i++) {
        size_t len;
        const uint8_t *f = g_bytes_get_data(list->pdata[i], &len);

        CHECK_EQ(get16(f + 38), len - 34);
        CHECK_EQ(get16(f + 40), ref_l4_csum(f + 14, len - 14, 6));
    }
}

/* Fragments put together again are the datagram, its checksum filled in. */
static void udp_fragments(bool v6)
{
    static uint8_t all[70000];
    unsigned ip_len = v6 ? 40 : 20;
    uint8_t *u = v6 ? put_ip6(big, mac_b, mac_a, "fec0::1", "fec0::2", 17, 8 + 9000) :
                      put_ip4(big, mac_b, mac_a, "10.0.2.15", "10.0.2.2", 17, 8 + 9000);
    NetHdr h = { .flags = 1, .gso_type = NET_GSO_UDP, .gso_size = 1500 - ip_len, .csum_start = 14 + ip_len, .csum_offset = 6 };

    set16(u, 5), set16(u + 2, 6), set16(u + 4, 9008);
    for (int i = 0; i < 9000; i++)
        u[8 + i] = rnd();
    uint16_t right = ref_l4_csum(big + 14, ip_len + 9008, 6);
    uint16_t pseudo = ~ref_csum(u - (v6 ? 32 : 8), v6 ? 32 : 8, 17 + 9008);
    set16(u + 6, pseudo);
    g_autoptr(GPtrArray) list = cut(&h, 14 + ip_len + 9008);
    CHECK_EQ(list->len, 7);
    size_t end = 0;
    for (guint i = 0; i < list->len; i++) {
        size_t len;
        const uint8_t *f = g_bytes_get_data(list->pdata[i], &len);
        unsigned head = 14 + ip_len + (v6 ? 8 : 0);
        unsigned off = v6 ? get16(f + 56) & ~7u : (get16(f + 20) & 0x1fff) * 8;
        bool more = v6 ? f[57] & 1 : f[20] & 0x20;

        CHECK(len <= 1514);
        CHECK_EQ(more, i + 1 < list->len);
        CHECK_EQ(off, end);
        memcpy(all + off, f + head, len - head);
        end = off + len - head;
        if (v6)
            CHECK(f[20] == 44 && f[54] == 17);
        else
            CHECK_EQ(ref_csum(f + 14, 20, 0), 0);
    }
    CHECK_EQ(end, 9008);
    CHECK_EQ(get16(all + 6), right ? right : 0xffff);
    CHECK(!memcmp(all + 8, u + 8, 9000));
}

static void fragments4(void) { udp_fragments(false); }
static void fragments6(void) { udp_fragments(true); }

/* Headers that lie: nothing comes, or what comes is within bounds; sanitizers look on. */
static void lies(void)
{
    for (int i = 0; i < 20000; i++) {
        size_t len = 14 + rnd() % 3000;
        NetHdr h = { .flags = rnd() % 4, .gso_type = (uint8_t[]){ 0, 1, 3, 4, 5, 0x81, 0x84, 77 }[rnd() % 8],
                     .gso_size = rnd() % 3 ? rnd() % 2000 : rnd(), .csum_start = rnd() % 3 ? 34 : rnd(),
                     .csum_offset = rnd() % 3 ? 16 : rnd() };

        put_ip4(big, mac_b, mac_a, "10.0.2.15", "10.0.2.2", rnd() % 2 ? 6 : 17, rnd() % 3000);
        for (int k = rnd() % 8; k; k--)
            big[rnd() % 80] = rnd();
        g_autoptr(GPtrArray) list = cut(&h, len);
        CHECK(list->len <= 2049);
    }
}

/* ---- links */

static Loop *loop;
static Net *net;

static void start(void)
{
    must(loop_new(0, &loop));
    net = net_new(loop);
}

static void stop(void) { net_rig_free(loop, net); }

static size_t tso_frame(NetHdr *h)
{
    uint8_t *t = put_ip4(big, mac_b, mac_a, "10.0.2.15", "10.0.2.2", 6, 20 + 30000);

    memset(t, 0, 20);
    t[12] = 0x50;
    *h = (NetHdr){ .flags = 1, .gso_type = NET_GSO_TCP4, .gso_size = 1460, .csum_start = 34, .csum_offset = 16 };
    return 54 + 30000;
}

static void abilities(void)
{
    NetHdr h;
    size_t len = tso_frame(&h);

    for (int hdr = 0; hdr <= 12; hdr += hdr ? 2 : 10) {
        for (int off = 0; off < 2; off++) {
            Nic a, b;

            nic_init(&a, "a", 12, 0);
            nic_init(&b, "b", hdr, off ? NET_CSUM | NET_TSO4 : NET_CSUM);
            must(net_link_ports(&a.port, &b.port));
            CHECK(says(net_link_ports(&a.port, &b.port), "in use already, by 'b'"));
            CHECK(nic_send(&a, &h, big, len));
            CHECK_EQ(b.got.length, hdr && off ? 1 : 21);
            nic_clear(&b);
            CHECK(nic_send(&b, NULL, big, 60));
            CHECK_EQ(a.got.length, 1);
            net_unlink(&a.port);
            CHECK(b.gones == 1 && !b.port.peer && b.links == 1 && b.up);
            CHECK(nic_send(&a, &h, big, len));
            nic_clear(&a), nic_clear(&b);
        }
    }
}

static void no_room(void)
{
    NetHdr h;
    size_t len = tso_frame(&h);
    Nic a, b;

    nic_init(&a, "a", 12, 0);
    nic_init(&b, "b", 0, 0);
    must(net_link_ports(&a.port, &b.port));
    b.full = true;
    CHECK(!nic_send(&a, NULL, big, 60));
    b.full = false;
    net_room(&b.port);
    CHECK_EQ(a.rooms, 1);
    /* A frame that is cut is kept whole, and holds up the next one. */
    b.full = true;
    CHECK(nic_send(&a, &h, big, len));
    CHECK(!nic_send(&a, NULL, big, 60));
    CHECK_EQ(b.got.length, 0);
    net_room(&b.port);
    CHECK_EQ(a.rooms, 1);
    b.full = false;
    net_room(&b.port);
    CHECK_EQ(b.got.length, 21);
    CHECK_EQ(a.rooms, 2);
    CHECK(nic_send(&a, NULL, big, 60));
    CHECK_EQ(b.got.length, 22);
    /* Link down: dropped, and both hear of it. */
    net_set_link(&b.port, false);
    CHECK(!a.up && !b.up);
    CHECK(nic_send(&a, NULL, big, 60));
    CHECK_EQ(b.got.length, 22);
    net_set_link(&b.port, true);
    CHECK(a.up && b.up);
    b.full = true;
    CHECK(nic_send(&a, &h, big, len));
    net_unlink(&b.port);
    nic_clear(&a), nic_clear(&b);
}

static void hubs(void)
{
    Nic n[3], out;

    start();
    must(rig_add(net, "hubport,id=h0,hubid=1"));
    must(rig_add(net, "hubport,id=h1,hubid=1"));
    must(rig_add(net, "hubport,id=h2,hubid=2"));
    must(rig_add(net, "hubport,id=h3,hubid=1"));
    must(rig_add(net, "hubport,id=x,hubid=2,netdev=h3"));
    CHECK(says(rig_add(net, "hubport,id=y,hubid=2,netdev=h1"), "ring of hubs"));
    CHECK(says(rig_add(net, "hubport,id=y,hubid=2,netdev=h3"), "in use already"));
    CHECK(says(rig_add(net, "hubport,id=y,hubid=2,netdev=nn"), "there is no network backend 'nn'"));
    static const char *const ids[] = { "h0", "h1", "h2" };
    for (int i = 0; i < 3; i++) {
        nic_init(&n[i], ids[i], i ? 0 : 12, 0);
        nic_connect(&n[i], net, ids[i]);
    }
    NetHdr h;
    size_t len = tso_frame(&h);
    CHECK(nic_send(&n[0], &h, big, len));
    CHECK_EQ(n[0].got.length, 0);
    CHECK_EQ(n[1].got.length, 21);
    CHECK_EQ(n[2].got.length, 21);
    n[1].full = true;
    CHECK(nic_send(&n[2], NULL, big, 60));
    CHECK_EQ(n[0].got.length, 1);
    CHECK_EQ(n[1].got.length, 21);
    nic_init(&out, "out", 0, 0);
    NetPort *p;
    CHECK(says(net_find(net, "h0", 0, &p), "in use already, by 'h0'"));
    CHECK(says(net_find(net, "h3", 1, &p), "has no queue 1"));
    CHECK(says(net_find(net, "zz", 0, &p), "There is: h0, h1, h2, h3, x"));
    must(net_del(net, "h0"));
    CHECK_EQ(n[0].gones, 1);
    CHECK(says(net_del(net, "h0"), "no network backend"));
    g_autofree char *info = net_info(net);
    CHECK(strstr(info, "h1: type=hubport,peer=h1,hubid=1\n"));
    for (int i = 0; i < 3; i++) {
        net_unlink(&n[i].port);
        nic_clear(&n[i]);
    }
    stop();
}

/* ---- arguments */

static void arguments(void)
{
    static const char *const rows[][2] = {
        { "hubport", "has no id" }, { "id=a", "says no type" }, { "hubpork,id=a", "Did you mean 'hubport'" },
        { "hubport,id=a,hubid=x", "hubid" }, { "hubport,id=a,huibd=1", "Did you mean 'hubid'" },
        { "vde,id=a", "not available" }, { "{\"type\":\"hubport\"", "no valid JSON" },
        { "{\"type\":\"hubport\",\"id\":\"a\",\"hubid\":null}", "neither text, number nor boolean" },
        { "{\"type\":\"hubport\",\"id\":\"a\",\"hubid\":1.5}", "neither text" },
        { "{\"type\":\"hubport\",\"id\":{\"x\":{\"y\":{\"z\":{\"a\":{\"b\":1}}}}}}", "too deep" },
    };

    start();
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        CHECK(says(rig_add(net, rows[i][0]), rows[i][1]));
    must(rig_add(net, "{\"type\":\"hubport\",\"id\":\"j\",\"hubid\":7}"));
    CHECK(says(rig_add(net, "hubport,id=j"), "taken already"));
    CHECK_EQ(net_queues(net, "j"), 1);
    CHECK_EQ(net_queues(net, "k"), 0);
    CHECK(says(net_forward(net, "j", "tcp::1-:1", true), "does not forward"));
    CHECK(says(net_forward(net, NULL, "tcp::1-:1", true), "no network backend"));
    g_autofree char *help = net_help(NULL), *one = net_help("hubport"), *none = net_help("huports");
    CHECK(strstr(help, "hubport") && strstr(one, "hubid=<uint32>") && strstr(none, "Did you mean"));
    stop();
}

static void macs(void)
{
    static const char *const bad[] = { "", "52:54:00:12:34", "52:54:00:12:34:5g", "52:54:00:12:34:56:78", "525400123456",
                                       "52:54:00:12:34:", "152:54:00:12:34:56" };
    Mac m;

    start();
    must(mac_parse("52:54:0:12:aB:ff", &m));
    CHECK(!memcmp(m.a, "\x52\x54\x00\x12\xab\xff", 6));
    for (size_t i = 0; i < G_N_ELEMENTS(bad); i++)
        CHECK(says(mac_parse(bad[i], &m), "no MAC address"));
    CHECK(says(mac_parse("53:54:00:12:34:56", &m), "multicast"));
    m = net_new_mac(net);
    CHECK(!memcmp(m.a, "\x52\x54\x00\x12\x34\x56", 6));
    m = net_new_mac(net);
    CHECK_EQ(m.a[5], 0x57);
    stop();
}

static void dump(void)
{
    g_autofree char *path = g_strdup_printf("%s/net-test-%d.pcap", g_get_tmp_dir(), (int)getpid());
    g_autofree char *arg = g_strdup_printf("netdev=h0,file=%s,maxlen=100", path);
    g_autofree char *bytes = NULL;
    Nic a, b;
    gsize len;

    start();
    must(rig_add(net, "hubport,id=h0,hubid=1"));
    must(rig_add(net, "hubport,id=h1,hubid=1"));
    must(net_dump_add(net, arg));
    CHECK(says(net_dump_add(net, "netdev=q,file=x"), "no network backend"));
    CHECK(says(net_dump_add(net, "netdev=h0,file=/nowhere/x"), "cannot write"));
    CHECK(says(net_dump_add(net, "netdev=h0"), "file"));
    nic_init(&a, "a", 12, 0), nic_init(&b, "b", 0, 0);
    nic_connect(&a, net, "h0"), nic_connect(&b, net, "h1");
    memset(big, 7, 300);
    CHECK(nic_send(&a, NULL, big, 300));
    CHECK(nic_send(&b, NULL, big, 60));
    net_unlink(&a.port), net_unlink(&b.port);
    nic_clear(&a), nic_clear(&b);
    stop();
    CHECK(g_file_get_contents(path, &bytes, &len, NULL));
    CHECK_EQ(len, 24 + 16 + 100 + 16 + 60);
    uint32_t w[10];
    memcpy(w, bytes, 40);
    CHECK(w[0] == 0xa1b2c3d4 && w[4] == 100 && w[5] == 1 && w[8] == 100 && w[9] == 300);
    CHECK_EQ(bytes[40], 7);
    unlink(path);
}

int main(void)
{
    RUN(sums);
    RUN(tcp_segments);
    RUN(udp_segments);
    RUN(fragments4);
    RUN(fragments6);
    RUN(lies);
    RUN(abilities);
    RUN(no_room);
    RUN(hubs);
    RUN(arguments);
    RUN(macs);
    RUN(dump);
    return test_end();
}
