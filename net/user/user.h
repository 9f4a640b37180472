/* SPDX-License-Identifier: MIT */
/*
 * -netdev user: what its files share. libslirp is the network behind the guest
 * (DHCP, DNS, TFTP, and TCP, UDP, ICMP by sockets of the host); frames.c is
 * between it and the guest, poll.c gives it descriptors and timers, forward.c
 * does hostfwd and guestfwd. All in the net's thread.
 */
#ifndef NET_USER_USER_H
#define NET_USER_USER_H

#include <libslirp.h>

#include "net/net.h"

/* Functions of the library, which dlopen fills: most machines that tap serves never open it. */
#define SLIRP_FUNCTIONS(X)                                                                      \
    X(new) X(cleanup) X(pollfds_fill) X(pollfds_poll) X(input) X(add_hostxfwd) X(remove_hostxfwd) \
    X(add_exec) X(add_unix) X(connection_info)
typedef struct SlirpLib {
#define X(name) __typeof__(slirp_##name) *name;
    SLIRP_FUNCTIONS(X)
#undef X
} SlirpLib;

enum {
    /*
     * What slirp takes for the MTU of the wire. Longer than Ethernet's: it then sends TCP in pieces of that
     * size, which reach the guest as one frame with a GSO header, or are cut for it.
     */
    USER_MTU = 65520,
    USER_MSS = 32120,           /* of TCP towards the guest: 22 segments of 1460 */
    USER_QUEUE = 4 << 20,       /* bytes that wait for a guest without room; beyond, frames are lost */
    USER_FLOWS = 1024,          /* a power of two */
    USER_PIECES = 64,           /* IPv4 packets that come in fragments, at the same time */
};

/* Such a packet: what it is told by, where its next fragment begins, when its first one came (loop_now). */
typedef struct Pieces { uint8_t hosts[8], proto; uint16_t id; uint32_t next; int64_t since; } Pieces;

/* A TCP connection, and the longest segment its guest takes. A new one may take an old one's place. */
typedef struct Flow { uint8_t v6, host[16]; uint16_t host_port, guest_port, mss; } Flow;

typedef struct Held Held;
typedef struct Relay Relay;

typedef struct User {
    NetPort port;
    /* properties */
    char *ipv4, *ipv6, *net, *host, *ipv6_net, *ipv6_prefix, *ipv6_host, *hostname, *dhcpstart, *dns, *ipv6_dns;
    char *dnssearch, *domainname, *tftp, *tftp_server_name, *bootfile, *hostfwd, *guestfwd, *smb, *smbserver;
    uint8_t ipv6_prefixlen;
    bool restrict_;
    /* */
    SlirpLib lib;
    Slirp *slirp;
    struct in_addr start;       /* of DHCP: the guest that forwarding means */
    struct in_addr network, mask;
    bool v4, v6;
    Loop *loop;
    GHashTable *polls;          /* poll.c: Poll by descriptor */
    unsigned generation;
    Alarm timeout;              /* of slirp's own */
    Alarm run, settle;          /* soon: tell slirp what happened; ask it what it waits for */
    Held *held, **held_end;     /* frames.c: for the guest, in order */
    size_t held_bytes;
    Flow *flows;
    Pieces pieces[USER_PIECES];
    unsigned oldest_pieces;
    uint8_t *in;                /* a guest's frame in one piece */
    Relay *relays;              /* forward.c */
    char *relay_dir;
} User;

/* poll.c */
extern const SlirpCb user_callbacks;
void user_poll_start(User *u);
void user_poll_stop(User *u);
void user_settle(User *u);      /* soon: what slirp waits for may have changed */
void user_resume(User *u);      /* the guest has room again */

/* frames.c */
bool user_frame(NetPort *p, const IoVec *frame);
void user_room(NetPort *p);
ssize_t user_send_packet(const void *buf, size_t len, void *opaque);
void user_frames_stop(User *u);

/* forward.c */
MUST_USE Err *user_hostfwd(User *u, const char *rule, bool add);
MUST_USE Err *user_guestfwd(User *u, const char *rule);
void user_forward_stop(User *u);

#endif
