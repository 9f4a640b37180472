/* SPDX-License-Identifier: MIT */
/*
 * Socket addresses as texts and as options.
 */
#include "util/socket.h"

#include <string.h>

#include "util/str.h"

void socket_addr_clear(SocketAddr *a)
{
    g_free(a->host);
    g_free(a->port);
    g_free(a->path);
    memset(a, 0, sizeof(*a));
}

void socket_addr_copy(SocketAddr *to, const SocketAddr *from)
{
    *to = *from;
    to->host = g_strdup(from->host);
    to->port = g_strdup(from->port);
    to->path = g_strdup(from->path);
}

static Err *parse_fd(const char *text, int *fd)
{
    uint64_t n;

    TRY(parse_num(text, &n));
    if (n > INT32_MAX)
        return err(ERR_INVALID, "%s is no descriptor", text);
    *fd = n;
    return NULL;
}

/* HOST:PORT, where an IPv6 address stands in brackets. */
static Err *parse_host_port(const char *text, SocketAddr *out)
{
    const char *colon = strrchr(text, ':');

    if (*text == '[') {
        const char *close = strchr(text, ']');
        if (!close || close[1] != ':')
            return err(ERR_INVALID, "'%s' is no address: [IPV6]:PORT is expected", text);
        out->host = g_strndup(text + 1, close - text - 1);
        colon = close + 1;
    } else {
        if (!colon)
            return err_hint(err(ERR_INVALID, "'%s' is no address: the port is missing", text),
                            "Addresses are HOST:PORT, [IPV6]:PORT, unix:PATH, vsock:CID:PORT or fd:N.");
        if (colon != strchr(text, ':'))
            return err_hint(err(ERR_INVALID, "'%s' is no address: more than one colon", text),
                            "An IPv6 address is written in brackets: [ADDRESS]:PORT.");
        out->host = g_strndup(text, colon - text);
    }
    out->port = g_strdup(colon + 1);
    return *out->port ? NULL : err(ERR_INVALID, "'%s' is no address: the port is missing", text);
}

static Err *addr_parse(const char *text, SocketAddr *out)
{
    if (g_str_has_prefix(text, "unix:")) {
        out->type = SOCKET_UNIX;
        out->path = g_strdup(text + 5);
        return *out->path ? NULL : err(ERR_INVALID, "'%s' names no path", text);
    }
    if (g_str_has_prefix(text, "fd:")) {
        out->type = SOCKET_FD;
        return parse_fd(text + 3, &out->fd);
    }
    if (g_str_has_prefix(text, "vsock:")) {
        out->type = SOCKET_VSOCK;
        return parse_host_port(text + 6, out);
    }
    out->type = SOCKET_INET;
    return parse_host_port(text, out);
}

Err *socket_addr_parse(const char *text, SocketAddr *out)
{
    *out = (SocketAddr){ 0 };
    Err *e = addr_parse(text, out);
    if (e)
        socket_addr_clear(out);
    return e;
}

/* ---- options */

/* A string, or a number, as a string; NULL: not there. */
static Err *member(const json_t *o, const char *name, bool required, char **out)
{
    const json_t *v = json_object_get(o, name);

    if (json_is_string(v))
        *out = g_strdup(json_string_value(v));
    else if (json_is_integer(v))
        *out = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
    else if (v)
        return err(ERR_INVALID, "'%s' of a socket address is a string", name);
    else if (required)
        return err(ERR_INVALID, "the socket address has no '%s'", name);
    return NULL;
}

static Err *member_bool(const json_t *o, const char *name, bool *out)
{
    const json_t *v = json_object_get(o, name);

    if (json_is_string(v))
        return err_in(parse_bool(json_string_value(v), out), "'%s'", name);
    if (v && !json_is_boolean(v))
        return err(ERR_INVALID, "'%s' of a socket address is on or off", name);
    if (v)
        *out = json_is_true(v);
    return NULL;
}

static Err *inet_from_json(const json_t *o, SocketAddr *out)
{
    bool v4 = !json_object_get(o, "ipv6"), v6 = !json_object_get(o, "ipv4");

    TRY(member(o, "host", true, &out->host));
    TRY(member(o, "port", true, &out->port));
    TRY(member_bool(o, "numeric", &out->numeric));
    TRY(member_bool(o, "keep-alive", &out->keep_alive));
    TRY(member_bool(o, "ipv4", &v4));
    TRY(member_bool(o, "ipv6", &v6));
    if (json_object_get(o, "to"))
        return err(ERR_UNSUPPORTED, "a range of ports ('to') is not supported: give one port");
    if (json_object_get(o, "ipv4") && !json_object_get(o, "ipv6"))
        v6 = !v4;
    if (json_object_get(o, "ipv6") && !json_object_get(o, "ipv4"))
        v4 = !v6;
    if (!v4 && !v6)
        return err(ERR_INVALID, "ipv4 and ipv6 are both off: nothing is left");
    out->family = v4 && v6 ? SOCKET_ANY : v4 ? SOCKET_IPV4 : SOCKET_IPV6;
    return NULL;
}

static Err *addr_from_json(const json_t *o, const char *type, SocketAddr *out)
{
    static const char *const types[] = { "inet", "unix", "vsock", "fd", NULL };
    g_autofree char *text = NULL;
    int t = 0;

    while (types[t] && strcmp(types[t], type))
        t++;
    out->type = t;
    switch (t) {
    case SOCKET_INET:
        return inet_from_json(o, out);
    case SOCKET_UNIX:
        out->tight = true;
        TRY(member(o, "path", true, &out->path));
        TRY(member_bool(o, "abstract", &out->abstract));
        return member_bool(o, "tight", &out->tight);
    case SOCKET_VSOCK:
        TRY(member(o, "cid", true, &out->host));
        return member(o, "port", true, &out->port);
    case SOCKET_FD:
        TRY(member(o, "str", true, &text));
        return err_hint(parse_fd(text, &out->fd), "A socket address of type fd takes the number of a descriptor.");
    }
    return err_hint(err(ERR_INVALID, "there is no socket address of type '%s'", type),
                    "There are inet, unix, vsock and fd.");
}

Err *socket_addr_from_json(const json_t *o, SocketAddr *out)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    const json_t *data = json_object_get(o, "data");

    *out = (SocketAddr){ 0 };
    if (!type)
        return err_hint(err(ERR_INVALID, "the socket address has no 'type'"), "There are inet, unix, vsock and fd.");
    Err *e = addr_from_json(json_is_object(data) ? data : o, type, out);
    if (e)
        socket_addr_clear(out);
    return e;
}

json_t *socket_addr_to_json(const SocketAddr *a)
{
    json_t *o = NULL;

    switch (a->type) {
    case SOCKET_INET:
        o = json_pack("{ssssss}", "type", "inet", "host", a->host ? a->host : "", "port", a->port);
        if (a->numeric)
            json_object_set_new(o, "numeric", json_true());
        if (a->keep_alive)
            json_object_set_new(o, "keep-alive", json_true());
        if (a->family)
            json_object_set_new(o, a->family == SOCKET_IPV4 ? "ipv4" : "ipv6", json_true());
        return o;
    case SOCKET_UNIX:
        o = json_pack("{ssss}", "type", "unix", "path", a->path);
        if (a->abstract) {
            json_object_set_new(o, "abstract", json_true());
            json_object_set_new(o, "tight", json_boolean(a->tight));
        }
        return o;
    case SOCKET_VSOCK:
        return json_pack("{ssssss}", "type", "vsock", "cid", a->host, "port", a->port);
    case SOCKET_FD: {
        g_autofree char *n = g_strdup_printf("%d", a->fd);
        return json_pack("{ssss}", "type", "fd", "str", n);
    }
    }
    return NULL;
}

char *socket_addr_text(const SocketAddr *a)
{
    switch (a->type) {
    case SOCKET_INET:
        return g_strdup_printf(a->host && strchr(a->host, ':') ? "[%s]:%s" : "%s:%s", a->host ? a->host : "", a->port);
    case SOCKET_UNIX:
        return g_strdup_printf("unix:%s%s", a->abstract ? "@" : "", a->path);
    case SOCKET_VSOCK:
        return g_strdup_printf("vsock:%s:%s", a->host, a->port);
    case SOCKET_FD:
        break;
    }
    return g_strdup_printf("fd:%d", a->fd);
}
