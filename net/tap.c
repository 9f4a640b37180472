/* SPDX-License-Identifier: MIT */
/*
 * -netdev tap and bridge: the guest is on an interface of the host (Linux'
 * /dev/net/tun, Documentation/networking/tuntap.rst of the kernel). Large frames
 * and missing checksums pass as they are, if the kernel knows them (vnet_hdr).
 *
 * One descriptor for each queue. It comes from /dev/net/tun, from whoever
 * started us (fd, fds), or from a helper with the rights (bridge).
 *
 * Left out: vhost (the kernel's own virtio-net).
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <spawn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net/offload.h"
#include "net/packets.h"
#include "net/net-priv.h"
#include "util/co.h"
#include "util/path.h"
#include "util/str.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum { TAP_QUEUES = 64 };
#define DEFAULT_SCRIPT "/etc/qemu-ifup"
#define DEFAULT_DOWNSCRIPT "/etc/qemu-ifdown"
#define DEFAULT_BRIDGE "br0"

static const char *const helpers[] = {
    "/usr/lib/qemu/qemu-bridge-helper", "/usr/libexec/qemu-bridge-helper", LYRE_PREFIX "/libexec/qemu-bridge-helper",
};

typedef struct Tap Tap;
typedef struct TapQueue {
    NetPort port;               /* the first one's is the backend itself, at `tap->port` */
    Tap *tap;
    Packets io;
    unsigned takes;             /* offloads that the kernel understands from us */
} TapQueue;

struct Tap {
    NetPort port;               /* of queue 0 */
    /* properties */
    char *fd, *fds, *ifname, *script, *downscript, *br, *helper, *sndbuf, *vhostfd, *vhostfds;
    bool vnet_hdr, vhost, vhostforce;
    uint32_t queues, poll_us;
    /* */
    TapQueue *q;
    unsigned n;
    char name[IFNAMSIZ];
    bool ran_script;
};

static TapQueue *queue_of(NetPort *p)
{
    return p->kind ? ((Tap *)p)->q : (TapQueue *)p;
}

/* ---- frames */

static bool tap_frame(NetPort *p, const IoVec *frame) { return packets_frame(&queue_of(p)->io, frame); }
static void tap_room(NetPort *p) { packets_room(&queue_of(p)->io); }
static unsigned tap_offloads(NetPort *p) { return queue_of(p)->takes; }

static bool tap_header(NetPort *p, unsigned len)
{
    int n = len;

    return p->hdr_len && len >= NET_HDR_SHORT && !ioctl(queue_of(p)->io.fd, TUNSETVNETHDRSZ, &n);
}

/* What the guest takes, the kernel gives. */
static void tap_expects(NetPort *p)
{
    static const struct { unsigned ours, tun; } rows[] = {
        { NET_CSUM, TUN_F_CSUM }, { NET_TSO4, TUN_F_TSO4 }, { NET_TSO6, TUN_F_TSO6 }, { NET_ECN, TUN_F_TSO_ECN },
        { NET_UFO, TUN_F_UFO }, { NET_USO, TUN_F_USO4 | TUN_F_USO6 },
    };
    unsigned flags = 0;
    int fd = queue_of(p)->io.fd;

    if (!p->hdr_len || fd < 0)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        flags |= p->may_send & rows[i].ours ? rows[i].tun : 0;
    /* Older kernels do not know the last ones. */
    if (ioctl(fd, TUNSETOFFLOAD, flags) && ioctl(fd, TUNSETOFFLOAD, flags & ~(TUN_F_USO4 | TUN_F_USO6)))
        ioctl(fd, TUNSETOFFLOAD, flags & (TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN));
}

/* ---- scripts */

typedef struct Run { const char *const *argv; int status; } Run;

static void run_wait(void *opaque)
{
    extern char **environ;
    Run *r = opaque;
    pid_t pid;
    int e = posix_spawn(&pid, r->argv[0], NULL, NULL, (char **)r->argv, environ);

    r->status = e ? -e : 0;
    while (!e && waitpid(pid, &r->status, 0) < 0 && errno == EINTR)
        ;
}

static Err *run_script(const char *script, const char *ifname)
{
    const char *const argv[] = { script, ifname, NULL };
    Run r = { argv, 0 };

    if (co_self())
        co_offload(run_wait, &r);
    else
        run_wait(&r);
    if (r.status < 0)
        return err_errno(-r.status, "script '%s' cannot be run", script);
    return r.status ? err(ERR_IO, "script '%s %s' has failed (status %d)", script, ifname, r.status >> 8) : NULL;
}

/* The script that was asked for; the usual one where it is there; NULL: none. */
static const char *script_of(const char *asked, const char *usual)
{
    if (asked)
        return !*asked || !strcmp(asked, "no") ? NULL : asked;
    return access(usual, X_OK) ? NULL : usual;
}

/* ---- descriptors */

static void tap_free(NetPort *p)
{
    Tap *t = (Tap *)p;
    const char *script = t->ran_script ? script_of(t->downscript, DEFAULT_DOWNSCRIPT) : NULL;

    /* With the interface still there. */
    if (script)
        err_free(run_script(script, t->name));
    for (unsigned i = 0; i < t->n; i++) {
        if (i)
            net_unlink(&t->q[i].port);
        packets_stop(&t->q[i].io);
    }
    g_clear_pointer(&t->q, g_free);
}

static const NetOps tap_ops = {
    .frame = tap_frame, .room = tap_room, .offloads = tap_offloads, .header = tap_header, .expects = tap_expects,
    .free = tap_free,
};

/* Which of the offloads the kernel understands: asked for once, then none, until the guest says. */
static unsigned probe_offloads(int fd)
{
    unsigned takes = NET_CSUM | NET_TSO4 | NET_TSO6 | NET_ECN;
    unsigned base = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

    if (ioctl(fd, TUNSETOFFLOAD, base))
        return 0;
    if (!ioctl(fd, TUNSETOFFLOAD, base | TUN_F_USO4 | TUN_F_USO6))
        takes |= NET_USO;
    ioctl(fd, TUNSETOFFLOAD, 0);
    return takes;
}

/* Takes the descriptor over. */
static Err *add_queue(Tap *t, NetPort *p, int fd)
{
    TapQueue *q = &t->q[t->n];
    struct ifreq ifr = { 0 };
    NetPort *port = t->n ? &q->port : p;
    int len = NET_HDR_LEN;

    t->n++;
    q->tap = t;
    q->io.fd = q->io.watch.fd = -1;
    if (port != p)
        *port = (NetPort){ .ops = &tap_ops, .name = p->name, .net = p->net };
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) || ioctl(fd, TUNGETIFF, &ifr)) {
        Err *e = err_errno(errno, "descriptor %d is no tap device", fd);

        close(fd);
        return e;
    }
    g_strlcpy(t->name, ifr.ifr_name, sizeof(t->name));
    if (ifr.ifr_flags & IFF_VNET_HDR && !ioctl(fd, TUNSETVNETHDRSZ, &len)) {
        port->hdr_len = NET_HDR_LEN;
        q->takes = probe_offloads(fd);
    } else if (ifr.ifr_flags & IFF_VNET_HDR) {
        port->hdr_len = NET_HDR_SHORT;
    }
    return packets_start(&q->io, port, fd);
}

static Err *tun_open(Tap *t, bool first, int *out)
{
    struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI | (t->vnet_hdr ? IFF_VNET_HDR : 0) |
                         (t->queues > 1 ? IFF_MULTI_QUEUE : 0) };
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return err_hint(err_errno(errno, "cannot open /dev/net/tun"),
                        errno == ENOENT ? "'modprobe tun' as root brings it." : "-netdev user needs no rights.");
    g_strlcpy(ifr.ifr_name, first ? (t->ifname ? t->ifname : "tap%d") : t->name, IFNAMSIZ);
    if (ioctl(fd, TUNSETIFF, &ifr)) {
        int n = errno;
        Err *e = err_errno(n, "cannot make or open the interface '%s'", ifr.ifr_name);

        close(fd);
        return n == EPERM ? err_hint(e, "As root: ip tuntap add dev tap0 mode tap user %s; then ifname=tap0. -netdev user "
                                     "needs no rights.", g_get_user_name()) :
               n == EBUSY ? err_hint(e, "Another program uses it.") : e;
    }
    g_strlcpy(t->name, ifr.ifr_name, sizeof(t->name));
    *out = fd;
    return NULL;
}

static Err *set_sndbuf(Tap *t, int fd)
{
    uint64_t bytes = 0;
    int n;

    if (t->sndbuf)
        TRY(err_in(parse_size(t->sndbuf, 1, &bytes), "sndbuf"));
    n = !t->sndbuf ? 1 << 20 : bytes && bytes < INT_MAX ? (int)bytes : INT_MAX;
    if (ioctl(fd, TUNSETSNDBUF, &n) && t->sndbuf)
        return err_errno(errno, "sndbuf=%s", t->sndbuf);
    return NULL;
}

static Err *open_own(Tap *t, NetPort *p)
{
    const char *script = script_of(t->script, DEFAULT_SCRIPT);

    for (unsigned i = 0; i < t->queues; i++) {
        int fd = -1;

        TRY(tun_open(t, !i, &fd));
        Err *e = set_sndbuf(t, fd);
        if (e) {
            close(fd);
            return e;
        }
        TRY(add_queue(t, p, fd));
    }
    if (script) {
        TRY(run_script(script, t->name));
        t->ran_script = true;
    }
    return NULL;
}

static Err *open_given(Tap *t, NetPort *p, const char *list)
{
    g_auto(GStrv) each = g_strsplit(list, ":", -1);

    t->queues = g_strv_length(each);
    if (!t->queues || t->queues > TAP_QUEUES)
        return err(ERR_INVALID, "fds=%s: 1 to %d descriptors", list, TAP_QUEUES);
    for (unsigned i = 0; i < t->queues; i++) {
        int fd;

        TRY(net_take_fd(p->net, each[i], &fd));
        TRY(add_queue(t, p, fd));
    }
    return NULL;
}

/* ---- the bridge helper: it makes the interface, puts it into the bridge and sends us the descriptor */

static int receive_fd(int sock)
{
    char byte;
    union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } c;
    struct iovec v = { &byte, 1 };
    struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = c.buf, .msg_controllen = sizeof(c.buf) };
    int fd = -1;

    if (recvmsg(sock, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
        return -1;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h && h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS && h->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(h), sizeof(fd));
    return fd;
}

static Err *find_helper(const char *asked, const char **out)
{
    *out = asked;
    for (size_t i = 0; !*out && i < G_N_ELEMENTS(helpers); i++)
        if (!access(helpers[i], X_OK))
            *out = helpers[i];
    if (!*out)
        return err_hint(err(ERR_NOT_FOUND, "there is no bridge helper at %s", helpers[0]),
                        "Package qemu-system-common has it; helper=PATH says another place.");
    return access(*out, X_OK) ? err_path(errno, *out, "helper '%s'", *out) : NULL;
}

static Err *open_bridge(const char *asked, const char *bridge, bool vnet_hdr, int *out)
{
    const char *helper;
    int s[2];

    TRY(find_helper(asked, &helper));
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
        return err_errno(errno, "no socket is to be had");
    fcntl(s[0], F_SETFD, FD_CLOEXEC);
    g_autofree char *fd_arg = g_strdup_printf("--fd=%d", s[1]), *br_arg = g_strdup_printf("--br=%s", bridge);
    const char *const argv[] = { helper, fd_arg, br_arg, vnet_hdr ? "--use-vnet" : NULL, NULL };
    Run r = { argv, 0 };

    if (co_self())
        co_offload(run_wait, &r);
    else
        run_wait(&r);
    close(s[1]);
    *out = r.status ? -1 : receive_fd(s[0]);
    close(s[0]);
    if (*out >= 0)
        return NULL;
    return err_hint(r.status < 0 ? err_errno(-r.status, "helper '%s' cannot be run", helper)
                                 : err(ERR_IO, "helper '%s' has failed (status %d)", helper, r.status >> 8),
                    "Is there a bridge '%s', and does /etc/qemu/bridge.conf allow it? The helper's words are above.", bridge);
}

/* ---- options */

static Err *check(Tap *t)
{
    if (t->vhost || t->vhostforce || t->vhostfd || t->vhostfds)
        return err_hint(err(ERR_UNSUPPORTED, "vhost is not available"), "Leave it away (vhost=off).");
    if (t->poll_us)
        return err(ERR_UNSUPPORTED, "poll-us is vhost's, which is not available");
    if ((t->fd || t->fds) && (t->fd && t->fds ? true : t->ifname || t->script || t->downscript || t->br || t->helper))
        return err(ERR_INVALID, "with fd= or fds= the interface is there already: ifname, script, downscript, br, helper "
                   "say nothing");
    if (t->helper && (t->ifname || t->script || t->downscript || t->queues > 1))
        return err(ERR_INVALID, "with helper= that one makes the interface: ifname, script, downscript, queues say nothing");
    if (!t->queues || t->queues > TAP_QUEUES)
        return err(ERR_INVALID, "queues=%u: 1 to %d", t->queues, TAP_QUEUES);
    if (t->ifname && strlen(t->ifname) >= IFNAMSIZ)
        return err(ERR_INVALID, "ifname=%s: a name has at most %d characters", t->ifname, IFNAMSIZ - 1);
    return NULL;
}

static Err *tap_start(NetPort *p)
{
    Tap *t = (Tap *)p;
    int fd = -1;

    TRY(check(t));
    t->q = g_new0(TapQueue, TAP_QUEUES);
    p->ops = &tap_ops;
    if (t->fd || t->fds)
        return open_given(t, p, t->fd ? t->fd : t->fds);
    if (!t->helper)
        return open_own(t, p);
    TRY(open_bridge(t->helper, t->br ? t->br : DEFAULT_BRIDGE, t->vnet_hdr, &fd));
    return add_queue(t, p, fd);
}

static Err *bridge_start(NetPort *p)
{
    Tap *t = (Tap *)p;
    int fd = -1;

    t->q = g_new0(TapQueue, 1);
    p->ops = &tap_ops;
    TRY(open_bridge(t->helper, t->br ? t->br : DEFAULT_BRIDGE, true, &fd));
    return add_queue(t, p, fd);
}

static unsigned tap_queues(NetPort *p) { return ((Tap *)p)->n; }
static NetPort *tap_queue(NetPort *p, unsigned n) { return n ? &((Tap *)p)->q[n].port : p; }

static char *tap_info(NetPort *p)
{
    return g_strdup_printf("ifname=%s,queues=%u", ((Tap *)p)->name, ((Tap *)p)->n);
}

static const Field tap_fields[] = {
    PROP(Tap, ifname, .doc = "the interface, made if it is not there (tap0, tap1 ..)"),
    PROP(Tap, script, .doc = "run with the interface's name when it is there; no: none (" DEFAULT_SCRIPT ", if that is there)"),
    PROP(Tap, downscript, .doc = "the same at the end (" DEFAULT_DOWNSCRIPT ")"),
    PROP(Tap, fd, .doc = "an open tap device that was inherited"),
    PROP(Tap, fds, .doc = "several, N:N:.., a queue each"),
    PROP(Tap, queues, .def = "1", .doc = "how many; for a NIC with mq=on"),
    PROP(Tap, vnet_hdr, .as = "vnet_hdr", .def = "on", .doc = "large frames and checksums pass as they are"),
    PROP(Tap, sndbuf, .doc = "bytes on their way out; 0: no limit (1M)"),
    PROP(Tap, br, .doc = "with helper: the bridge (" DEFAULT_BRIDGE ")"),
    PROP(Tap, helper, .doc = "a program that makes the interface and puts it into the bridge"),
    PROP(Tap, vhost, .def = "off", .doc = "not available"),
    PROP(Tap, vhostforce, .def = "off", .doc = "not available"),
    PROP(Tap, vhostfd, .doc = "not available"),
    PROP(Tap, vhostfds, .doc = "not available"),
    PROP(Tap, poll_us, .def = "0", .doc = "not available"),
    { 0 }
};

NETDEV(tap) = {
    .name = "tap", .doc = "an interface of the host",
    .size = sizeof(Tap), .fields = tap_fields, .start = tap_start, .queues = tap_queues, .queue = tap_queue, .info = tap_info,
};

static const Field bridge_fields[] = {
    PROP(Tap, br, .doc = "the bridge (" DEFAULT_BRIDGE ")"),
    PROP(Tap, helper, .doc = "the program that has the rights to join it (QEMU's qemu-bridge-helper)"),
    { 0 }
};

NETDEV(bridge) = {
    .name = "bridge", .doc = "a bridge of the host, joined by a helper with the rights",
    .size = sizeof(Tap), .fields = bridge_fields, .start = bridge_start, .queues = tap_queues, .queue = tap_queue,
    .info = tap_info,
};
