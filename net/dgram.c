/* SPDX-License-Identifier: MIT */
/*
 * -netdev dgram: a frame in each datagram, over UDP (also to a multicast group
 * that several machines join) or unix sockets.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "net/addr.h"
#include "net/dgram.h"
#include "net/packets.h"

typedef struct Dgram {
    NetPort port;
    AddrProps local, remote;
    /* */
    Packets io;
    DgramAddr to;
    char *unlink;               /* the file of our unix socket */
} Dgram;

static bool dgram_frame(NetPort *p, const IoVec *frame) { return packets_frame(&((Dgram *)p)->io, frame); }
static void dgram_room(NetPort *p) { packets_room(&((Dgram *)p)->io); }

static void dgram_free(NetPort *p)
{
    Dgram *d = (Dgram *)p;

    packets_stop(&d->io);
    if (d->unlink)
        unlink(d->unlink);
    g_free(d->unlink);
}

static const NetOps dgram_ops = { .frame = dgram_frame, .room = dgram_room, .free = dgram_free };

/* ---- sockets */

static Err *join_group(int fd, const DgramAddr *group, const DgramAddr *local)
{
    int on = 1;

    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (group->sa.sa_family == AF_INET6) {
        struct ipv6_mreq m = { .ipv6mr_multiaddr = group->in6.sin6_addr };

        if (bind(fd, &group->sa, group->len) || setsockopt(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, &m, sizeof(m)))
            return err_errno(errno, "cannot join the multicast group");
        return NULL;
    }
    struct ip_mreq m = { .imr_multiaddr = group->in.sin_addr };

    if (local)
        m.imr_interface = local->in.sin_addr;
    /* Machines on this host hear each other. */
    if (bind(fd, &group->sa, group->len) || setsockopt(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &m, sizeof(m)) ||
        setsockopt(fd, IPPROTO_IP, IP_MULTICAST_LOOP, &on, sizeof(on)))
        return err_errno(errno, "cannot join the multicast group");
    if (local && setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &m.imr_interface, sizeof(m.imr_interface)))
        return err_errno(errno, "cannot send to the multicast group from that address");
    return NULL;
}

Err *dgram_socket(const DgramAddr *local, const DgramAddr *remote, int *out)
{
    int family = remote ? remote->sa.sa_family : local->sa.sa_family, on = 1;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    Err *e = NULL;

    if (fd < 0)
        return err_errno(errno, "no socket is to be had");
    if (remote && dgram_is_multicast(remote)) {
        e = join_group(fd, remote, local);
    } else if (local) {
        if (family != AF_UNIX)
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (bind(fd, &local->sa, local->len))
            e = err_errno(errno, "cannot receive at the local address");
    }
    if (e)
        close(fd);
    else
        *out = fd;
    return e;
}

static Err *dgram_fd(int fd)
{
    int type = 0;
    socklen_t n = sizeof(type);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
        return err_errno(errno, "descriptor %d", fd);
    if (type != SOCK_DGRAM)
        return err(ERR_INVALID, "descriptor %d is no datagram socket", fd);
    return NULL;
}

/* A unix socket's file that nobody serves is left over from before. */
static void clear_stale(const DgramAddr *a)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, &a->sa, a->len) && errno == ECONNREFUSED)
        unlink(a->un.sun_path);
    if (fd >= 0)
        close(fd);
}

static Err *dgram_open(Dgram *d, const SocketAddr *local, const SocketAddr *remote, int *fd)
{
    DgramAddr own;

    if (local && local->type == SOCKET_FD) {
        if (remote)
            return err(ERR_INVALID, "with a descriptor there is no remote address: it is connected already");
        *fd = local->fd;
        return dgram_fd(local->fd);
    }
    if (!remote)
        return err_hint(err(ERR_INVALID, "it says no remote address"), "As in remote.type=inet,remote.host=HOST,remote.port=PORT.");
    TRY(err_in(dgram_addr(remote, &d->to), "remote"));
    if (local)
        TRY(err_in(dgram_addr(local, &own), "local"));
    if (!local && !dgram_is_multicast(&d->to))
        return err_hint(err(ERR_INVALID, "it says no local address"), "Where are answers received? local.type=..");
    if (local && own.sa.sa_family != d->to.sa.sa_family)
        return err(ERR_INVALID, "local and remote are addresses of different kinds");
    if (local && local->type == SOCKET_UNIX && !local->abstract) {
        clear_stale(&own);
        d->unlink = g_strdup(local->path);
    }
    Err *e = dgram_socket(local ? &own : NULL, &d->to, fd);

    if (e)
        g_clear_pointer(&d->unlink, g_free);
    d->io.to = &d->to;
    d->io.to_len = d->to.len;
    return e;
}

static Err *dgram_start(NetPort *p)
{
    Dgram *d = (Dgram *)p;
    bool has_local = addr_props_given(&d->local), has_remote = addr_props_given(&d->remote);
    SocketAddr local = { 0 }, remote = { 0 };
    int fd = -1;
    Err *e = has_local ? addr_props_parse(&d->local, "local", &local) : NULL;

    d->io.fd = d->io.watch.fd = -1;
    d->io.socket = true;
    p->ops = &dgram_ops;
    if (!e && has_remote)
        e = addr_props_parse(&d->remote, "remote", &remote);
    if (!e)
        e = dgram_open(d, has_local ? &local : NULL, has_remote ? &remote : NULL, &fd);
    if (!e)
        e = packets_start(&d->io, p, fd);
    socket_addr_clear(&local);
    socket_addr_clear(&remote);
    return e;
}

static const Field dgram_fields[] = {
    ADDR_PROPS(Dgram, local, "local"),
    ADDR_PROPS(Dgram, remote, "remote"),
    { 0 }
};

NETDEV(dgram) = {
    .name = "dgram", .doc = "a frame in each datagram, UDP (also multicast) or unix",
    .size = sizeof(Dgram), .fields = dgram_fields, .start = dgram_start,
};
