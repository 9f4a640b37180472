/* SPDX-License-Identifier: MIT */
/*
 * udp: each write is a datagram to host:port; what comes from there is input.
 * A datagram that has come is kept until the port has taken all of it; what
 * comes meanwhile waits in the host's buffer, and beyond that UDP drops it.
 */
#include "chardev/address.h"
#include "chardev/chardev-priv.h"

#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UDP_MOST = 65536, UDP_PART = 1400 /* of a long write: fits into an Ethernet frame */ };

typedef struct Udp {
    Chardev chr;
    int fd;                     /* -1: not open */
    ChrWatch *in_src, *out_src;
    uint8_t *buf;               /* UDP_MOST bytes: [at, len) is not taken yet */
    int at, len;
    bool owes_writable;
} Udp;

/* ---- output --------------------------------------------------------------------- */

static void on_output(Chardev *c, GIOCondition cond)
{
    Udp *u = (Udp *)c;

    chr_unwatch(&u->out_src);
    if (u->owes_writable) {
        u->owes_writable = false;
        chr_be_event(c, CHR_WRITABLE);
    }
}

static int udp_write(Chardev *c, const uint8_t *buf, int n)
{
    Udp *u = (Udp *)c;
    int done = 0;

    while (done < n) {
        int part = MIN(n - done, UDP_PART);
        ssize_t r = send(u->fd, buf + done, part, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
            u->owes_writable = true;
            if (!u->out_src)
                u->out_src = chr_watch_fd(c, u->fd, G_IO_OUT, on_output);
            break;
        }
        done += part;           /* another error: nobody is there, as with any datagram */
    }
    return done;
}

/* ---- input ------------------------------------------------------------------------ */

static void deliver(Udp *u)
{
    while (u->at < u->len) {
        int from = u->at, n = MIN(chr_be_room(&u->chr), u->len - u->at);

        if (n <= 0)
            return;
        u->at += n;             /* the device may call back into us */
        chr_be_data(&u->chr, u->buf + from, n);
    }
}

static void on_input(Chardev *c, GIOCondition cond)
{
    Udp *u = (Udp *)c;

    deliver(u);
    if (u->at < u->len || chr_be_room(c) <= 0) {
        chr_unwatch(&u->in_src);        /* until udp_input */
        return;
    }
    ssize_t n = recv(u->fd, u->buf, UDP_MOST, MSG_DONTWAIT);
    u->at = 0;
    u->len = n > 0 ? n : 0;
    deliver(u);
}

static void udp_input(Chardev *c)
{
    Udp *u = (Udp *)c;

    if (!u->in_src && chr_be_room(c) > 0) {
        u->in_src = chr_watch_fd(c, u->fd, G_IO_IN, on_input);
        deliver(u);
    }
}

/* ---- open ------------------------------------------------------------------------- */

/* A socket bound to one of ours and connected to one of theirs. */
static int join(const struct addrinfo *ours, const struct addrinfo *theirs)
{
    int fd = socket(theirs->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if ((!ours || !bind(fd, ours->ai_addr, ours->ai_addrlen)) && !connect(fd, theirs->ai_addr, theirs->ai_addrlen))
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int join_any(const struct addrinfo *ours, const struct addrinfo *theirs, bool bound)
{
    int fd = -1;

    errno = EAFNOSUPPORT;
    for (const struct addrinfo *t = theirs; t && fd < 0; t = t->ai_next) {
        if (!bound)
            fd = join(NULL, t);
        for (const struct addrinfo *l = ours; l && fd < 0; l = l->ai_next)
            if (l->ai_family == t->ai_family)
                fd = join(l, t);
    }
    return fd;
}

static Err *udp_open(Chardev *c, const Opts *o)
{
    Udp *u = (Udp *)c;
    const char *host = opts_str(o, "host", ""), *port = opts_str(o, "port", "");
    const char *from = opts_str(o, "localaddr", ""), *at = opts_str(o, "localport", "");
    bool v4 = opts_bool(o, "ipv4", false), v6 = opts_bool(o, "ipv6", false), bound = *from || *at;
    struct addrinfo *ours = NULL, *theirs;

    u->fd = -1;
    if (!*port)
        return err_hint(err(ERR_INVALID, "it has no port"), "Add host=HOST,port=PORT: where output goes.");
    TRY(chr_resolve(*host ? host : "localhost", port, v4, v6, SOCK_DGRAM, false, &theirs));
    Err *e = bound ? chr_resolve(from, *at ? at : "0", v4, v6, SOCK_DGRAM, true, &ours) : NULL;
    if (!e) {
        u->fd = join_any(ours, theirs, bound);
        if (u->fd < 0)
            e = err_errno(errno, "cannot send to %s:%s from %s:%s", host, port, from, at);
    }
    if (ours)
        freeaddrinfo(ours);
    freeaddrinfo(theirs);
    TRY(e);
    u->buf = g_malloc(UDP_MOST);
    c->open = true;
    return NULL;
}

static void udp_close(Chardev *c)
{
    Udp *u = (Udp *)c;

    chr_unwatch(&u->in_src);
    chr_unwatch(&u->out_src);
    if (u->fd >= 0)
        close(u->fd);
    g_free(u->buf);
}

static char *udp_filename(const Chardev *c)
{
    return chr_bound_name("udp", ((const Udp *)c)->fd);
}

static const OptDesc udp_opts[] = {
    { "host",      OPT_STR,  "where output goes (default: this host)" },
    { "port",      OPT_STR,  "to which port" },
    { "localaddr", OPT_STR,  "from which address of ours" },
    { "localport", OPT_STR,  "from which port of ours: where input comes" },
    { "ipv4",      OPT_BOOL, "only IPv4" },
    { "ipv6",      OPT_BOOL, "only IPv6" },
    { 0 }
};

const ChardevClass chardev_udp = {
    .name = "udp", .doc = "datagrams; what is lost is lost",
    .opts = udp_opts, .size = sizeof(Udp),
    .open = udp_open, .write = udp_write, .input = udp_input, .close = udp_close, .filename = udp_filename,
};
