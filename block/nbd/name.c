/* SPDX-License-Identifier: MIT */
/*
 * Names and options of nbd nodes. The URIs are those of NBD's document on them
 * (doc/uri.md of the protocol's repository):
 *     nbd://HOST[:PORT]/[EXPORT]   nbd+unix:///[EXPORT]?socket=PATH
 *     nbd+vsock://CID[:PORT]/[EXPORT]   and nbds.. for TLS, here with ?tls-creds=ID
 * and there are the older nbd:HOST:PORT[:exportname=NAME], nbd:unix:PATH[..].
 */
#include <string.h>

#include "block/nbd/nbd-priv.h"
#include "util/str.h"

const char *const nbd_schemes[] = {
    "nbd:", "nbd+tcp:", "nbd+unix:", "nbd+vsock:", "nbds:", "nbds+tcp:", "nbds+unix:", "nbds+vsock:", NULL,
};

const Field nbd_fields[] = {
    PROP(Nbd, type, .as = "server.type", .doc = "kind of address: inet, unix, vsock or fd"),
    PROP(Nbd, server_host, .as = "server.host", .doc = "inet: host name or address"),
    PROP(Nbd, server_port, .as = "server.port", .doc = "inet, vsock: port"),
    PROP(Nbd, ipv4, .as = "server.ipv4", .doc = "inet: on: IPv4 alone"),
    PROP(Nbd, ipv6, .as = "server.ipv6", .doc = "inet: on: IPv6 alone"),
    PROP(Nbd, numeric, .as = "server.numeric", .doc = "inet: no names are looked up"),
    PROP(Nbd, keep_alive, .as = "server.keep-alive", .doc = "inet: notice a server that vanished"),
    PROP(Nbd, server_path, .as = "server.path", .doc = "unix: path of the socket"),
    PROP(Nbd, abstract, .as = "server.abstract", .doc = "unix: the path is an abstract name"),
    PROP(Nbd, tight, .as = "server.tight", .def = "on", .doc = "unix: no NULs behind an abstract name"),
    PROP(Nbd, server_cid, .as = "server.cid", .doc = "vsock: context id"),
    PROP(Nbd, server_str, .as = "server.str", .doc = "fd: number of a connected socket"),
    PROP(Nbd, host, .doc = "older spelling of server.host"),
    PROP(Nbd, port, .doc = "older spelling of server.port"),
    PROP(Nbd, path, .doc = "older spelling of server.path"),
    PROP(Nbd, export, .doc = "name of the export"),
    PROP(Nbd, tls_creds, .doc = "id of TLS credentials"),
    PROP(Nbd, tls_hostname, .doc = "name that the server's certificate must have"),
    PROP(Nbd, x_dirty_bitmap, .doc = "metadata context to show as allocation, in place of base:allocation"),
    PROP(Nbd, reconnect_delay, .def = "0", .doc = "seconds that requests wait for a lost connection to come back"),
    PROP(Nbd, open_timeout, .def = "0", .doc = "seconds to try to connect when the node is opened"),
    {0}
};

/* ---- options */

static void set_opt(json_t *o, const char *name, const char *value)
{
    if (value && *value)
        json_object_set_new(o, name, json_string(value));
}

/* The members of server.* as the object that socket_addr_from_json reads. */
static json_t *server_object(const Nbd *n)
{
    json_t *o = json_object();

    set_opt(o, "type", n->type);
    set_opt(o, "host", n->server_host);
    set_opt(o, "port", n->server_port);
    set_opt(o, "ipv4", n->ipv4);
    set_opt(o, "ipv6", n->ipv6);
    set_opt(o, "path", n->server_path);
    set_opt(o, "cid", n->server_cid);
    set_opt(o, "str", n->server_str);
    json_object_set_new(o, "numeric", json_boolean(n->numeric));
    json_object_set_new(o, "keep-alive", json_boolean(n->keep_alive));
    json_object_set_new(o, "abstract", json_boolean(n->abstract));
    json_object_set_new(o, "tight", json_boolean(n->tight));
    return o;
}

Err *nbd_options(Nbd *n)
{
    bool old = n->host || n->port || n->path;
    bool new = n->type || n->server_host || n->server_path || n->server_str || n->server_cid;

    if (old && new)
        return err(ERR_INVALID, "'server' and host/port/path exclude each other");
    if (!old && !new)
        return err_hint(err(ERR_INVALID, "no server is given"),
                        "Give server.type=inet,server.host=HOST,server.port=PORT, or server.type=unix,server.path=PATH.");
    if (n->path && (n->host || n->port))
        return err(ERR_INVALID, "path and host exclude each other");
    if (n->port && !n->host)
        return err(ERR_INVALID, "port=%s without host", n->port);
    if (n->path) {
        n->addr = (SocketAddr){ .type = SOCKET_UNIX, .path = g_strdup(n->path) };
        return NULL;
    }
    if (n->host) {
        n->addr = (SocketAddr){ .type = SOCKET_INET, .host = g_strdup(n->host),
                                .port = g_strdup(n->port ? n->port : NBD_DEFAULT_PORT) };
        return NULL;
    }
    json_t *o = server_object(n);
    Err *e = socket_addr_from_json(o, &n->addr);
    json_decref(o);
    return err_in(e, "server");
}

/* ---- names */

static Err *bad_name(const char *name, const char *why)
{
    return err_hint(err(ERR_INVALID, "'%s' is no name of an NBD export: %s", name, why),
                    "Names are nbd://HOST[:PORT]/EXPORT and nbd+unix:///EXPORT?socket=PATH.");
}

/* nbd:HOST:PORT and nbd:unix:PATH, with :exportname=NAME at the end. */
static Err *parse_old(const char *name, json_t *options)
{
    const char *text = name + strlen("nbd:"), *at = strstr(text, ":exportname=");
    g_autofree char *address = at ? g_strndup(text, at - text) : g_strdup(text);
    SocketAddr a;

    if (g_str_has_prefix(address, "unix:") && !address[5])
        return bad_name(name, "the path of the socket is missing");
    if (!strchr(address, ':'))
        return bad_name(name, "the port is missing");
    TRY(err_in(socket_addr_parse(address, &a), "'%s'", name));
    json_object_set_new(options, "server", socket_addr_to_json(&a));
    socket_addr_clear(&a);
    if (at)
        json_object_set_new(options, "export", json_string(at + strlen(":exportname=")));
    return NULL;
}

/* %XX; NULL where it is no text, or holds a NUL. */
static char *unescape(const char *s, gssize len)
{
    char *out = g_uri_unescape_segment(s, len < 0 ? NULL : s + len, NULL);

    if (out && !g_utf8_validate(out, -1, NULL)) {
        g_free(out);
        return NULL;
    }
    return out;
}

/* Name=value pairs behind the '?'. */
static Err *parse_query(const char *name, const char *query, json_t *options, char **sock)
{
    g_auto(GStrv) pairs = g_strsplit_set(query, "&;", -1);

    for (char **p = pairs; *p; p++) {
        char *eq = strchr(*p, '=');
        g_autofree char *value = eq ? unescape(eq + 1, -1) : NULL;
        if (!**p)
            continue;
        if (!value)
            return bad_name(name, "what is behind the '?' is not NAME=VALUE");
        *eq = 0;
        if (!strcmp(*p, "socket")) {
            g_free(*sock);
            *sock = g_steal_pointer(&value);
        } else if (!strcmp(*p, "tls-creds") || !strcmp(*p, "tls-hostname")) {
            json_object_set_new(options, *p, json_string(value));
        } else {
            return err_hint(err(ERR_UNSUPPORTED, "'%s': there is no parameter '%s'", name, *p),
                            "There are socket, tls-creds and tls-hostname; more is said by options (driver=nbd,..).");
        }
    }
    return NULL;
}

/* HOST[:PORT] of a URI; an IPv6 address in brackets. */
static Err *parse_authority(const char *name, const char *text, size_t len, bool vsock, json_t *server)
{
    g_autofree char *all = g_strndup(text, len);
    char *port = NULL, *host = all, *user = strrchr(all, '@');

    if (user)
        return bad_name(name, "a user's name has no meaning here");
    if (*all == '[') {
        char *close = strchr(all, ']');
        if (!close || (close[1] && close[1] != ':'))
            return bad_name(name, "the ']' is missing");
        port = close[1] ? close + 2 : NULL;
        *close = 0;
        host = all + 1;
    } else if ((port = strchr(all, ':'))) {
        *port++ = 0;
    }
    g_autofree char *plain = unescape(host, -1);
    if (!plain || !*plain)
        return bad_name(name, "the host is missing");
    json_object_set_new(server, "type", json_string(vsock ? "vsock" : "inet"));
    json_object_set_new(server, vsock ? "cid" : "host", json_string(plain));
    json_object_set_new(server, "port", json_string(port && *port ? port : NBD_DEFAULT_PORT));
    return NULL;
}

static Err *parse_uri(const char *name, json_t *options)
{
    const char *scheme_end = strstr(name, "://");
    g_autofree char *scheme = g_strndup(name, scheme_end - name), *sock = NULL;
    const char *authority = scheme_end + 3, *path = authority + strcspn(authority, "/?#");
    const char *export = *path == '/' ? path + 1 : path;
    size_t export_len = strcspn(export, "?#");
    const char *query = export[export_len] == '?' ? export + export_len + 1 : "";
    bool tls = g_str_has_prefix(scheme, "nbds"), local = g_str_has_suffix(scheme, "+unix");

    if (strchr(authority, '#'))
        return bad_name(name, "a fragment ('#') has no meaning here; in an export's name it is written %23");
    TRY(parse_query(name, query, options, &sock));
    json_t *server = json_object();
    json_object_set_new(options, "server", server);
    if (local) {
        if (!sock || !*sock)
            return bad_name(name, "?socket=PATH is missing");
        if (path != authority)
            return bad_name(name, "a unix socket has no host: three slashes");
        json_object_set_new(server, "type", json_string("unix"));
        json_object_set_new(server, "path", json_string(sock));
    } else {
        if (sock)
            return bad_name(name, "socket= belongs to nbd+unix");
        TRY(parse_authority(name, authority, path - authority, g_str_has_suffix(scheme, "+vsock"), server));
    }
    if (tls && !json_object_get(options, "tls-creds"))
        return err_hint(err(ERR_INVALID, "'%s' asks for TLS, and there are no credentials", name),
                        "Add ?tls-creds=ID of an --object tls-creds-x509,id=ID,dir=FOLDER.");
    g_autofree char *plain = unescape(export, export_len);
    if (!plain)
        return bad_name(name, "the export's name is no text");
    if (*plain)
        json_object_set_new(options, "export", json_string(plain));
    return NULL;
}

Err *nbd_parse_name(const char *name, json_t *options)
{
    if (strstr(name, "://"))
        return parse_uri(name, options);
    if (!g_str_has_prefix(name, "nbd:"))
        return bad_name(name, "'//' is missing");
    return parse_old(name, options);
}

/* What the name cannot say is left to json:. */
char *nbd_make_name(BlockNode *node)
{
    const Nbd *n = (const Nbd *)node;
    const SocketAddr *a = &n->addr;
    g_autofree char *export = g_uri_escape_string(n->export ? n->export : "", "/:@!$&'()*+,;=", FALSE);

    if (n->tls_creds || n->tls_hostname || n->x_dirty_bitmap)
        return NULL;
    if (a->type == SOCKET_UNIX && !a->abstract) {
        g_autofree char *path = g_uri_escape_string(a->path, "/", FALSE);
        return g_strdup_printf("nbd+unix://%s%s?socket=%s", *export ? "/" : "", export, path);
    }
    if (a->type != SOCKET_INET || a->numeric || a->keep_alive || a->family)
        return NULL;
    g_autofree char *where = socket_addr_text(a);
    return *export ? g_strdup_printf("nbd://%s/%s", where, export) : g_strdup_printf("nbd://%s", where);
}
