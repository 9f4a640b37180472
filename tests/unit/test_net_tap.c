/* SPDX-License-Identifier: MIT */
/*
 * -netdev tap on an interface of this host: frames through the kernel and back
 * (a packet socket is the other side), large ones, queues, scripts. Skipped
 * where there are no rights to make interfaces.
 */
#include "tests/unit/net-rig.h"

#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static const uint8_t mac[6] = { 0x52, 0x54, 0, 1, 2, 3 }, all[6] = { 255, 255, 255, 255, 255, 255 };
static Loop *loop;
static Net *net;
static Nic nic;
static char *name;

static void start(const char *more)
{
    g_autofree char *arg = g_strdup_printf("tap,id=t,ifname=%s,%s", name, more);

    must(loop_new(0, &loop));
    net = net_new(loop);
    must(rig_add(net, arg));
    nic_init(&nic, "nic", 12, NET_CSUM | NET_TSO4);
    nic_connect(&nic, net, "t");
}

static void stop(void)
{
    net_unlink(&nic.port);
    nic_clear(&nic);
    net_rig_free(loop, net);
}

/* The host's side of the interface, up. */
static int host_side(void)
{
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(0x88b5));
    struct ifreq ifr = { 0 };
    struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(0x88b5), .sll_ifindex = if_nametoindex(name) };

    g_strlcpy(ifr.ifr_name, name, IFNAMSIZ);
    CHECK(fd >= 0 && !ioctl(fd, SIOCGIFFLAGS, &ifr));
    ifr.ifr_flags |= IFF_UP;
    CHECK(!ioctl(fd, SIOCSIFFLAGS, &ifr));
    CHECK(!bind(fd, (void *)&at, sizeof(at)));
    return fd;
}

static bool got_ours(void *opaque)
{
    for (GList *l = nic.got.head; l; l = l->next)
        if (get16(((Got *)l->data)->f + 12) == 0x88b5)
            return true;
    return false;
}

static void frames(void)
{
    uint8_t f[200] = { 0 }, back[200];

    start("script=no,downscript=no");
    int fd = host_side();
    memcpy(f, all, 6), memcpy(f + 6, mac, 6), set16(f + 12, 0x88b5);
    f[100] = 42;
    CHECK(nic_send(&nic, NULL, f, sizeof(f)));
    turn(loop, 20);
    CHECK_EQ(recv(fd, back, sizeof(back), 0), sizeof(f));
    CHECK(!memcmp(f, back, sizeof(f)));
    CHECK_EQ(send(fd, f, sizeof(f), 0), sizeof(f));
    CHECK(until(loop, got_ours, NULL));
    g_autofree char *info = net_info(net), *want = g_strdup_printf("t: type=tap,peer=nic,ifname=%s,queues=1\n", name);
    CHECK_STR(info, want);
    close(fd);
    stop();
}

static void queues(void)
{
    NetPort *p = NULL;

    start("script=no,downscript=no,queues=3");
    CHECK_EQ(net_queues(net, "t"), 3);
    must(net_find(net, "t", 2, &p));
    CHECK(p && p->hdr_len && p != nic.port.peer);
    CHECK(says(net_find(net, "t", 3, &p), "has no queue 3"));
    CHECK(says(net_find(net, "t", 0, &p), "in use"));
    stop();
}

static void scripts(void)
{
    g_autofree char *dir = g_dir_make_tmp("net-tap-XXXXXX", NULL), *script = g_build_filename(dir, "up", NULL);
    g_autofree char *out = g_build_filename(dir, "out", NULL), *text = g_strdup_printf("#!/bin/sh\necho $1 >>%s\n", out);
    g_autofree char *opts = g_strdup_printf("script=%s,downscript=%s", script, script), *got = NULL;
    g_autofree char *want = g_strdup_printf("%s\n%s\n", name, name);

    CHECK(g_file_set_contents(script, text, -1, NULL) && !chmod(script, 0755));
    start(opts);
    stop();
    CHECK(g_file_get_contents(out, &got, NULL, NULL));
    CHECK_STR(got, want);
    CHECK(g_file_set_contents(script, "#!/bin/sh\nexit 3\n", -1, NULL) && !chmod(script, 0755));
    must(loop_new(0, &loop));
    net = net_new(loop);
    g_autofree char *arg = g_strdup_printf("tap,id=t,ifname=%s,%s", name, opts);
    CHECK(says(rig_add(net, arg), "has failed (status 3)"));
    net_rig_free(loop, net);
    unlink(script), unlink(out), rmdir(dir);
}

static void mistakes(void)
{
    static const char *const rows[][2] = {
        { "tap,id=m,vhost=on", "vhost is not available" }, { "tap,id=m,fd=9999", "descriptor 9999" },
        { "tap,id=m,fd=3,ifname=x", "say nothing" }, { "tap,id=m,queues=0", "1 to 64" },
        { "tap,id=m,ifname=a-name-that-is-too-long", "at most 15" }, { "tap,id=m,script=/nowhere/s", "cannot be run" },
        { "tap,id=m,sndbuf=x,script=no", "sndbuf" }, { "bridge,id=m,helper=/nowhere/h", "helper '/nowhere/h'" },
        { "bridge,id=m,helper=/bin/false", "has failed" },
    };

    must(loop_new(0, &loop));
    net = net_new(loop);
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        CHECK(says(rig_add(net, rows[i][0]), rows[i][1]));
    net_rig_free(loop, net);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    name = g_strdup_printf("lyt%d", (int)getpid() % 100000);
    must(loop_new(0, &loop));
    net = net_new(loop);
    Err *e = rig_add(net, "tap,id=probe,script=no,downscript=no");

    net_rig_free(loop, net);
    if (e) {
        printf("no interfaces can be made here: %s\n", err_text(e));
        err_free(e);
        return 77;
    }
    RUN(frames);
    RUN(queues);
    RUN(scripts);
    RUN(mistakes);
    g_free(name);
    return test_end();
}
