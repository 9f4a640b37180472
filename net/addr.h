/* SPDX-License-Identifier: MIT */
/* Addresses as properties of backends: addr.type=inet,addr.host=..; and for datagrams, as the kernel wants them. */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/net.h"
#include "util/socket.h"

typedef struct AddrProps { char *type, *host, *port, *path, *str, *abstract, *tight, *ipv4, *ipv6, *numeric, *keep_alive, *to; } AddrProps;

#define ADDR_FIELD(T, m, member, shown, doc_)                                                   \
    { .name = #member, .as = shown, .role = FIELD_PROP, .type = FIELD_STR, .bytes = sizeof(char *), .count = 1, \
      .doc = doc_, .offset = offsetof(T, m) + offsetof(AddrProps, member) }
#define ADDR_PROPS(T, m, n)                                                                     \
    ADDR_FIELD(T, m, type, n ".type", "inet, unix or fd"),                                      \
    ADDR_FIELD(T, m, host, n ".host", "inet: name or address"), ADDR_FIELD(T, m, port, n ".port", "inet: port"), \
    ADDR_FIELD(T, m, path, n ".path", "unix: the socket's file"), ADDR_FIELD(T, m, str, n ".str", "fd: its number"), \
    ADDR_FIELD(T, m, abstract, n ".abstract", "unix: a name without a file"),                   \
    ADDR_FIELD(T, m, tight, n ".tight", "unix: no NULs behind such a name"),                    \
    ADDR_FIELD(T, m, ipv4, n ".ipv4", "inet: on or off"), ADDR_FIELD(T, m, ipv6, n ".ipv6", "inet: on or off"), \
    ADDR_FIELD(T, m, numeric, n ".numeric", "inet: no look-up of names"),                       \
    ADDR_FIELD(T, m, keep_alive, n ".keep-alive", "inet: TCP keep-alive"), ADDR_FIELD(T, m, to, n ".to", "not available")

bool addr_props_given(const AddrProps *a);
MUST_USE Err *addr_props_parse(const AddrProps *a, const char *name, SocketAddr *out);

/* A datagram's end. */
typedef struct DgramAddr {
    union { struct sockaddr sa; struct sockaddr_in in; struct sockaddr_in6 in6; struct sockaddr_un un; };
    socklen_t len;
} DgramAddr;
/* inet (looks the name up, in a worker) or unix. In a coroutine. */
MUST_USE Err *dgram_addr(const SocketAddr *a, DgramAddr *out);
bool dgram_is_multicast(const DgramAddr *a);

#endif
