/* SPDX-License-Identifier: MIT */
/* Addresses of stream and dgram backends. */
#include "net/addr.h"

#include <netdb.h>
#include <string.h>

bool addr_props_given(const AddrProps *a)
{
    return a->type;
}

Err *addr_props_parse(const AddrProps *a, const char *name, SocketAddr *out)
{
    const struct { const char *key, *value; bool flag; } rows[] = {
        { "type", a->type, false }, { "host", a->host, false }, { "port", a->port, false }, { "path", a->path, false },
        { "str", a->str, false }, { "abstract", a->abstract, true }, { "tight", a->tight, true }, { "ipv4", a->ipv4, true },
        { "ipv6", a->ipv6, true }, { "numeric", a->numeric, true }, { "keep-alive", a->keep_alive, true },
    };

    if (!a->type)
        return err_hint(err(ERR_INVALID, "it says no address"), "As in %s.type=inet,%s.host=127.0.0.1,%s.port=1234, or "
                        "%s.type=unix,%s.path=FILE.", name, name, name, name, name);
    if (a->to)
        return err(ERR_UNSUPPORTED, "%s.to is not available: give one port", name);
    json_t *o = json_object();

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *v = rows[i].value;

        if (v)
            json_object_set_new(o, rows[i].key, !rows[i].flag ? json_string(v) :
                                json_boolean(!strcmp(v, "on") || !strcmp(v, "yes") || !strcmp(v, "true")));
    }
    Err *e = socket_addr_from_json(o, out);

    json_decref(o);
    return err_in(e, "%s", name);
}

/* ---- datagrams */

typedef struct Lookup { const SocketAddr *a; DgramAddr *out; int error; } Lookup;

static void lookup(void *opaque)
{
    Lookup *l = opaque;
    const SocketAddr *a = l->a;
    struct addrinfo *list = NULL, want = {
        .ai_socktype = SOCK_DGRAM, .ai_flags = AI_PASSIVE,
        .ai_family = a->family == SOCKET_IPV4 ? AF_INET : a->family == SOCKET_IPV6 ? AF_INET6 : AF_UNSPEC,
    };

    l->error = getaddrinfo(a->host && *a->host ? a->host : NULL, a->port, &want, &list);
    if (l->error)
        return;
    memcpy(&l->out->sa, list->ai_addr, list->ai_addrlen);
    l->out->len = list->ai_addrlen;
    freeaddrinfo(list);
}

Err *dgram_addr(const SocketAddr *a, DgramAddr *out)
{
    *out = (DgramAddr){ 0 };
    if (a->type == SOCKET_UNIX) {
        out->un.sun_family = AF_UNIX;
        if (strlen(a->path) >= sizeof(out->un.sun_path) - a->abstract)
            return err(ERR_INVALID, "the path '%s' is too long for a socket", a->path);
        strcpy(out->un.sun_path + a->abstract, a->path);
        out->len = a->abstract ? offsetof(struct sockaddr_un, sun_path) + 1 + strlen(a->path) : sizeof(out->un);
        return NULL;
    }
    if (a->type != SOCKET_INET)
        return err(ERR_INVALID, "a datagram's address is of type inet or unix");
    Lookup l = { a, out, 0 };

    if (co_self())
        co_offload(lookup, &l);
    else
        lookup(&l);
    if (l.error)
        return err(ERR_NOT_FOUND, "'%s:%s': %s", a->host ? a->host : "", a->port, gai_strerror(l.error));
    return NULL;
}

bool dgram_is_multicast(const DgramAddr *a)
{
    return a->sa.sa_family == AF_INET ? IN_MULTICAST(ntohl(a->in.sin_addr.s_addr)) :
           a->sa.sa_family == AF_INET6 && IN6_IS_ADDR_MULTICAST(&a->in6.sin6_addr);
}
