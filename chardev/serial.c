/* SPDX-License-Identifier: MIT */
/*
 * The old syntax of -serial, rewritten as the options of -chardev.
 */
#include "chardev/chardev-priv.h"

#include <string.h>

/* "a,b" -> "a,,b": as a value in a key=value list. */
static char *quoted(const char *text)
{
    char **parts = g_strsplit(text, ",", -1);
    char *out = g_strjoinv(",,", parts);

    g_strfreev(parts);
    return out;
}

static char *with_path(const char *backend, const char *path)
{
    char *q = quoted(path);
    char *out = g_strdup_printf("%s,path=%s", backend, q);

    g_free(q);
    return out;
}

/* "HOST:PORT,options"; the host may be an IPv6 address in [brackets]. */
static Err *inet_opts(const char *what, const char *arg, const char *more, char **out)
{
    const char *comma = strchr(arg, ',');
    char *addr = comma ? g_strndup(arg, comma - arg) : g_strdup(arg);
    char *colon = strrchr(addr, ':');

    if (!colon || !colon[1]) {
        Err *e = err_hint(err(ERR_INVALID, "'%s' has no port", addr),
                          "Write %s:HOST:PORT, for example %s:127.0.0.1:4444,server=on,wait=off",
                          what, what);
        g_free(addr);
        return e;
    }
    *colon = 0;
    char *host = addr;
    if (host[0] == '[' && colon > host + 1 && colon[-1] == ']') {
        colon[-1] = 0;
        host++;
    }
    *out = g_strdup_printf("socket,host=%s,port=%s%s%s", host, colon + 1, more, comma ? comma : "");
    g_free(addr);
    return NULL;
}

/* "HOST:PORT" or "[HOST]:PORT" at the start of *arg, which goes on behind it; key=value pairs named so are added. */
static Err *udp_end(const char *whole, char *text, const char *host_key, const char *port_key, GString *to)
{
    char *colon = strrchr(text, ':'), *host = text;

    if (!colon || (!colon[1] && !strcmp(port_key, "port")))
        return err_hint(err(ERR_INVALID, "'%s' has no port", whole),
                        "Write udp:HOST:PORT, or udp:HOST:PORT@OWN-HOST:OWN-PORT");
    *colon = 0;
    if (host[0] == '[' && colon > host + 1 && colon[-1] == ']') {
        colon[-1] = 0;
        host++;
    }
    if (*host)
        g_string_append_printf(to, ",%s=%s", host_key, host);
    if (colon[1])
        g_string_append_printf(to, ",%s=%s", port_key, colon + 1);
    return NULL;
}

/* udp:[HOST]:PORT[@[HOST]:PORT][,options] */
static Err *udp_opts(const char *arg, char **out)
{
    const char *comma = strchr(arg, ',');
    g_autofree char *theirs = comma ? g_strndup(arg, comma - arg) : g_strdup(arg);
    GString *s = g_string_new("udp");
    char *at = strchr(theirs, '@');

    if (at)
        *at = 0;
    Err *e = udp_end(arg, theirs, "host", "port", s);
    if (!e && at)
        e = udp_end(arg, at + 1, "localaddr", "localport", s);
    if (!e)
        g_string_append(s, comma ? comma : "");
    *out = g_string_free(s, e != NULL);
    return e;
}

static const char *const forms[] = {
    "stdio", "mon:stdio", "null", "none", "pty", "file:", "pipe:", "unix:", "tcp:", "telnet:", "udp:",
    "/dev/", "ringbuf", "chardev:", NULL
};

static Err *unknown(const char *arg)
{
    char *head = g_strndup(arg, strcspn(arg, ":,"));
    Err *e;

    if (!strcmp(head, "vc"))
        e = err(ERR_UNSUPPORTED, "there is no graphical console yet");
    else if (!strcmp(head, "con") || !strcmp(head, "websocket") || !strcmp(head, "tn3270") ||
             g_str_has_prefix(head, "/dev/parport"))
        e = err(ERR_UNSUPPORTED, "'%s' is not available", arg);
    else
        e = err(ERR_NOT_FOUND, "'%s' is no backend", arg);
    const char *near = nearest_name(head, forms);
    char *all = g_strjoinv(" ", (char **)forms);
    e = near ? err_hint(e, "Did you mean '%s'? There are: %s", near, all)
             : err_hint(e, "There are: %s", all);
    g_free(all);
    g_free(head);
    return e;
}

/* The -chardev options that mean the same as arg. */
static Err *translate(const char *arg, char **out)
{
    static const char *const plain[] = { "stdio", "null", "pty", "ringbuf", NULL };
    const char *colon = strchr(arg, ':');

    for (int i = 0; plain[i]; i++) {
        size_t n = strlen(plain[i]);

        if (!strncmp(arg, plain[i], n) && (!arg[n] || arg[n] == ',')) {
            *out = g_strdup(arg);
            return NULL;
        }
    }
    if (g_str_has_prefix(arg, "file:"))
        *out = with_path("file", colon + 1);
    else if (g_str_has_prefix(arg, "pty:"))
        *out = with_path("pty", colon + 1);
    else if (g_str_has_prefix(arg, "/dev/") && !g_str_has_prefix(arg, "/dev/parport"))
        *out = with_path("serial", arg);
    else if (g_str_has_prefix(arg, "udp:"))
        return udp_opts(colon + 1, out);
    else if (g_str_has_prefix(arg, "pipe:"))
        *out = with_path("pipe", colon + 1);
    else if (g_str_has_prefix(arg, "unix:"))
        *out = g_strdup_printf("socket,path=%s", colon + 1);
    else if (g_str_has_prefix(arg, "tcp:"))
        return inet_opts("tcp", colon + 1, "", out);
    else if (g_str_has_prefix(arg, "telnet:"))
        return inet_opts("telnet", colon + 1, ",telnet=on", out);
    else
        return unknown(arg);
    return NULL;
}

/* "mon:stdio" keeps Ctrl-C for the guest, as Ctrl-A x is there to leave. */
static Err *add_translated(Chardevs *set, const char *arg, const char *id, Chardev **out)
{
    bool monitor = g_str_has_prefix(arg, "mon:");
    char *opts, *all;
    char *name = g_strdup_printf("%s%s", id, monitor ? "-base" : "");
    Err *e = translate(monitor ? arg + 4 : arg, &opts);

    if (!e) {
        bool guest_signals = monitor && !strcmp(opts, "stdio");

        all = g_strdup_printf("%s,id=%s%s", opts, name, guest_signals ? ",signal=off" : "");
        e = chardev_add_opts(set, all, out);
        g_free(all);
        g_free(opts);
    }
    g_free(name);
    if (!e && monitor)
        e = mux_new(set, id, *out, true, out);
    return e;
}

Err *chardev_add_line(Chardevs *set, const char *arg, const char *id, Chardev **out)
{
    *out = NULL;
    if (!strcmp(arg, "none"))
        return NULL;
    if (g_str_has_prefix(arg, "chardev:"))
        return chardev_find(set, arg + strlen("chardev:"), out);
    return add_translated(set, arg, id, out);
}

Err *chardev_add_serial(Chardevs *set, const char *arg, int n, Chardev **out)
{
    g_autofree char *id = g_strdup_printf("serial%d", n);

    return err_in(chardev_add_line(set, arg, id, out), "-serial %s", arg);
}
