/* SPDX-License-Identifier: MIT */
/*
 * -netdev user: a network behind the guest by libslirp, made of sockets of the
 * host, so that it needs no rights. This file has its options; addresses that
 * are not given follow from `net` as in QEMU: .2 is the gateway and the host,
 * .3 the name server, .15 the first guest.
 *
 * Left out: smb (a Samba server; share folders by virtio-9p).
 */
#include "net/user/user.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "net/offload.h"
#include "util/str.h"

#define LIBRARY "libslirp.so.0"

static Err *library_open(SlirpLib *lib)
{
    /* It is glib's friend, and glib stays for ever. */
    void *h = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);

    if (!h)
        return err_hint(err(ERR_UNSUPPORTED, "the user network needs libslirp, which cannot be opened: %s", dlerror()),
                        "On Debian: apt install libslirp0");
#define X(name)                                                                             \
    lib->name = (__typeof__(lib->name))dlsym(h, "slirp_" #name);                            \
    if (!lib->name)                                                                         \
        return err(ERR_UNSUPPORTED, "%s has no function slirp_" #name ": it is too old", LIBRARY);
    SLIRP_FUNCTIONS(X)
#undef X
    return NULL;
}

/* ---- addresses */

static Err *parse_ip4(const char *what, const char *text, struct in_addr *out)
{
    if (inet_pton(AF_INET, text, out) != 1)
        return err_hint(err(ERR_INVALID, "%s=%s: that is no IPv4 address", what, text), "It has the form 10.0.2.15.");
    return NULL;
}

static Err *parse_ip6(const char *what, const char *text, struct in6_addr *out)
{
    if (inet_pton(AF_INET6, text, out) != 1)
        return err_hint(err(ERR_INVALID, "%s=%s: that is no IPv6 address", what, text), "It has the form fec0::2.");
    return NULL;
}

/* The mask of an address that came without one: that of its private or its old class. */
static uint32_t usual_mask(uint32_t net)
{
    if (!(net & 0x80000000))
        return 0xff000000;
    if ((net & 0xfff00000) == 0xac100000)
        return 0xfff00000;
    return (net & 0xc0000000) == 0x80000000 || (net & 0xffff0000) == 0xc0a80000 ? 0xffff0000 : 0xffffff00;
}

/* ADDRESS[/BITS or /MASK] */
static Err *parse_net(User *u, const char *text)
{
    g_auto(GStrv) parts = g_strsplit(text, "/", 2);
    uint64_t bits;

    TRY(parse_ip4("net", parts[0] ? parts[0] : "", &u->network));
    u->mask.s_addr = htonl(usual_mask(ntohl(u->network.s_addr)));
    if (parts[0] && parts[1] && strchr(parts[1], '.')) {
        TRY(parse_ip4("net", parts[1], &u->mask));
    } else if (parts[0] && parts[1]) {
        TRY(err_in(parse_num(parts[1], &bits), "net=%s", text));
        if (bits < 4 || bits > 30)
            return err(ERR_INVALID, "net=%s: the network's length is 4 to 30 bits", text);
        u->mask.s_addr = htonl(~UINT32_C(0) << (32 - bits));
    }
    u->network.s_addr &= u->mask.s_addr;
    return NULL;
}

/* One of the network's own addresses: as given, or the usual one. */
static Err *pick_ip4(const User *u, const char *what, const char *text, uint32_t usual, struct in_addr *out)
{
    out->s_addr = u->network.s_addr | (htonl(usual) & ~u->mask.s_addr);
    if (!text)
        return NULL;
    TRY(parse_ip4(what, text, out));
    if ((out->s_addr & u->mask.s_addr) != u->network.s_addr) {
        char net[INET_ADDRSTRLEN];

        inet_ntop(AF_INET, &u->network, net, sizeof(net));
        return err_hint(err(ERR_INVALID, "%s=%s: the address is not in the network", what, text),
                        "The network is %s/%d: net= changes it.", net, __builtin_popcount(u->mask.s_addr));
    }
    return NULL;
}

static Err *ip4_config(User *u, SlirpConfig *c)
{
    TRY(parse_net(u, u->net ? u->net : "10.0.2.0/24"));
    c->vnetwork = u->network;
    c->vnetmask = u->mask;
    TRY(pick_ip4(u, "host", u->host, 0x0202, &c->vhost));
    TRY(pick_ip4(u, "dhcpstart", u->dhcpstart, 0x020f, &c->vdhcp_start));
    TRY(pick_ip4(u, "dns", u->dns, 0x0203, &c->vnameserver));
    if (c->vhost.s_addr == c->vnameserver.s_addr)
        return err(ERR_INVALID, "host and dns have the same address");
    if (c->vhost.s_addr == c->vdhcp_start.s_addr || c->vnameserver.s_addr == c->vdhcp_start.s_addr)
        return err(ERR_INVALID, "dhcpstart is the address of the host or of dns");
    u->start = c->vdhcp_start;
    return NULL;
}

static Err *pick_ip6(const SlirpConfig *c, const char *what, const char *text, uint8_t usual, struct in6_addr *out)
{
    *out = c->vprefix_addr6;
    out->s6_addr[15] |= usual;
    if (!text)
        return NULL;
    TRY(parse_ip6(what, text, out));
    for (unsigned i = 0; i < c->vprefix_len; i++)
        if ((out->s6_addr[i / 8] ^ c->vprefix_addr6.s6_addr[i / 8]) & (0x80 >> i % 8))
            return err_hint(err(ERR_INVALID, "%s=%s: the address does not have the network's prefix", what, text),
                            "ipv6-net= changes that.");
    return NULL;
}

static Err *ip6_config(User *u, SlirpConfig *c)
{
    g_auto(GStrv) parts = g_strsplit(u->ipv6_net ? u->ipv6_net : "", "/", 2);
    const char *prefix = u->ipv6_prefix ? u->ipv6_prefix : "fec0::";
    uint64_t bits = u->ipv6_prefixlen;

    if (u->ipv6_net && (u->ipv6_prefix || !parts[0]))
        return err(ERR_INVALID, "ipv6-net says what ipv6-prefix and ipv6-prefixlen do: give one of them");
    if (u->ipv6_net) {
        prefix = parts[0];
        if (parts[1])
            TRY(err_in(parse_num(parts[1], &bits), "ipv6-net=%s", u->ipv6_net));
    }
    TRY(parse_ip6(u->ipv6_net ? "ipv6-net" : "ipv6-prefix", prefix, &c->vprefix_addr6));
    if (bits < 8 || bits > 126)
        return err(ERR_INVALID, "the IPv6 prefix is 8 to 126 bits long");
    c->vprefix_len = bits;
    for (unsigned i = bits; i < 128; i++)
        c->vprefix_addr6.s6_addr[i / 8] &= ~(0x80 >> i % 8);
    TRY(pick_ip6(c, "ipv6-host", u->ipv6_host, 2, &c->vhost6));
    TRY(pick_ip6(c, "ipv6-dns", u->ipv6_dns, 3, &c->vnameserver6));
    return NULL;
}

/* Asking for one of them alone turns the other one off. */
static Err *choose_families(User *u)
{
    bool v4 = true, v6 = true;

    if (u->ipv4)
        TRY(err_in(parse_bool(u->ipv4, &v4), "ipv4"));
    if (u->ipv6)
        TRY(err_in(parse_bool(u->ipv6, &v6), "ipv6"));
    if (!v4 && !v6)
        return err(ERR_INVALID, "ipv4 and ipv6 are both off: nothing is left");
    u->v4 = v4 && !(u->ipv6 && v6 && !u->ipv4);
    u->v6 = v6 && !(u->ipv4 && v4 && !u->ipv6);
    return NULL;
}

/* ---- the rest of the options */

static Err *check_text(const char *what, const char *text, size_t max)
{
    if (text && strlen(text) > max)
        return err(ERR_INVALID, "%s is longer than the %zu characters that fit into a DHCP packet", what, max);
    return NULL;
}

static Err *check(User *u)
{
    struct stat st;

    if (u->smb || u->smbserver)
        return err_hint(err(ERR_UNSUPPORTED, "smb is not available"),
                        "Share folders by virtio-9p, or by a Samba server of the host at the gateway's address.");
    TRY(check_text("bootfile", u->bootfile, 127));
    TRY(check_text("hostname", u->hostname, 32));
    TRY(check_text("domainname", u->domainname, 255));
    TRY(check_text("tftp-server-name", u->tftp_server_name, 63));
    if (u->tftp && (stat(u->tftp, &st) || !S_ISDIR(st.st_mode)))
        return err(ERR_NOT_FOUND, "tftp=%s: there is no such folder", u->tftp);
    return choose_families(u);
}

static Err *forwards(User *u)
{
    g_auto(GStrv) in = g_strsplit(u->hostfwd ? u->hostfwd : "", "\n", -1);
    g_auto(GStrv) out = g_strsplit(u->guestfwd ? u->guestfwd : "", "\n", -1);

    if (u->hostfwd && !*u->hostfwd)
        return user_hostfwd(u, "", true);
    if (u->guestfwd && !*u->guestfwd)
        return user_guestfwd(u, "");
    for (char **r = in; *r; r++)
        TRY(user_hostfwd(u, *r, true));
    for (char **r = out; *r; r++)
        TRY(user_guestfwd(u, *r));
    return NULL;
}

static unsigned user_offloads(NetPort *p)
{
    return NET_OFFLOADS & ~NET_USO;
}

static bool user_header(NetPort *p, unsigned len)
{
    return len >= NET_HDR_SHORT;
}

static void user_free(NetPort *p)
{
    User *u = (User *)p;

    user_forward_stop(u);
    if (u->slirp)
        u->lib.cleanup(u->slirp);
    user_poll_stop(u);
    user_frames_stop(u);
    g_free(u->flows);
    g_free(u->in);
}

static const NetOps user_ops = {
    .frame = user_frame, .room = user_room, .offloads = user_offloads, .header = user_header, .free = user_free,
};

static Err *user_start(NetPort *p)
{
    User *u = (User *)p;
    /* The first version has all that is used here. */
    SlirpConfig c = { .version = 1, .if_mtu = USER_MTU, .if_mru = USER_MTU, .disable_host_loopback = false };
    g_auto(GStrv) search = u->dnssearch ? g_strsplit(u->dnssearch, "\n", -1) : NULL;

    TRY(check(u));
    TRY(library_open(&u->lib));
    c.restricted = u->restrict_;
    c.in_enabled = u->v4;
    c.in6_enabled = u->v6;
    TRY(ip4_config(u, &c));
    TRY(ip6_config(u, &c));
    c.vhostname = u->hostname;
    c.tftp_server_name = u->tftp_server_name;
    c.tftp_path = u->tftp;
    c.bootfile = u->bootfile;
    c.vdnssearch = (const char **)search;
    c.vdomainname = u->domainname;

    u->loop = net_loop(p->net);
    u->flows = g_new0(Flow, USER_FLOWS);
    u->in = g_malloc(NET_FRAME_MAX);
    p->hdr_len = NET_HDR_LEN;
    p->ops = &user_ops;
    user_poll_start(u);
    u->slirp = u->lib.new(&c, &user_callbacks, u);
    if (!u->slirp)
        return err(ERR_UNSUPPORTED, "%s refuses this configuration", LIBRARY);
    TRY(forwards(u));
    user_settle(u);
    return NULL;
}

static Err *user_forward(NetPort *p, const char *rule, bool add)
{
    Err *e = user_hostfwd((User *)p, rule, add);

    user_settle((User *)p);
    return e;
}

static char *user_info(NetPort *p)
{
    User *u = (User *)p;
    char net[INET_ADDRSTRLEN];

    inet_ntop(AF_INET, &u->network, net, sizeof(net));
    return g_strdup_printf("net=%s/%d,restrict=%s", net, __builtin_popcount(u->mask.s_addr), u->restrict_ ? "on" : "off");
}

static char *user_sockets(NetPort *p)
{
    User *u = (User *)p;
    char *theirs = u->slirp ? u->lib.connection_info(u->slirp) : NULL;
    char *text = g_strdup(theirs ? theirs : "");

    free(theirs);                       /* made by the library: GLib's allocator is malloc */
    return text;
}

static const Field user_fields[] = {
    PROP(User, ipv4, .doc = "on or off; on alone turns IPv6 off"),
    PROP(User, ipv6, .doc = "on or off; on alone turns IPv4 off"),
    PROP(User, net, .doc = "the guest's network, ADDRESS[/MASK or /BITS] (10.0.2.0/24)"),
    PROP(User, host, .doc = "the host's address in it, also the gateway's (10.0.2.2)"),
    PROP(User, ipv6_net, .doc = "the guest's IPv6 network, PREFIX[/BITS] (fec0::/64)"),
    PROP(User, ipv6_prefix, .doc = "the same in two options (fec0::)"),
    PROP(User, ipv6_prefixlen, .def = "64", .doc = "bits of it"),
    PROP(User, ipv6_host, .doc = "the host's address in it (fec0::2)"),
    PROP(User, restrict_, .as = "restrict", .def = "off", .doc = "the guest reaches nothing but what guestfwd says"),
    PROP(User, hostname, .doc = "name that DHCP gives the guest"),
    PROP(User, dhcpstart, .doc = "the first guest's address (10.0.2.15)"),
    PROP(User, dns, .doc = "address of the name server, which asks the host's (10.0.2.3)"),
    PROP(User, ipv6_dns, .doc = "the same in IPv6 (fec0::3)"),
    PROP(User, dnssearch, .names = net_many, .doc = "a domain to search names in"),
    PROP(User, domainname, .doc = "the guest's domain"),
    PROP(User, tftp, .doc = "folder that the host serves by TFTP, read-only"),
    PROP(User, tftp_server_name, .doc = "name of the TFTP server that DHCP tells"),
    PROP(User, bootfile, .doc = "file to boot that DHCP tells"),
    PROP(User, hostfwd, .names = net_many,
         .doc = "[tcp|udp]:[ADDRESS]:PORT-[GUEST]:PORT or unix:PATH-[GUEST]:PORT: a port of the host leads to the guest"),
    PROP(User, guestfwd, .names = net_many,
         .doc = "tcp:ADDRESS:PORT-tcp:HOST:PORT, -unix:PATH or -cmd:COMMAND: what the guest finds at that address"),
    PROP(User, smb, .doc = "not available"),
    PROP(User, smbserver, .doc = "not available"),
    { 0 }
};

NETDEV(user) = {
    .name = "user", .doc = "a network behind the host's sockets; needs no rights",
    .size = sizeof(User), .fields = user_fields, .start = user_start, .forward = user_forward, .info = user_info, .sockets = user_sockets,
};
