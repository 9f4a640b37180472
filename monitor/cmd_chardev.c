/* SPDX-License-Identifier: MIT */
/*
 * Streams: listing, making, removing. chardev-add's nested form is rewritten as
 * the argument of -chardev, which says the same.
 */
#include <string.h>

#include "chardev/chardev.h"
#include "monitor/monitor-priv.h"

Err *qmp_query_chardev(Monitor *m, const QueryChardevArgs *args, json_t **ret)
{
    *ret = json_array();
    for (Chardev *c = NULL; m->vm->chardevs && (c = chardev_next(m->vm->chardevs, c)); ) {
        g_autofree char *name = chardev_filename(c);

        json_array_append_new(*ret, json_pack("{s:s, s:o, s:b}", "label", chardev_id(c), "filename", text_json(name),
                                              "frontend-open", chardev_in_use(c)));
    }
    return NULL;
}

/* ---- chardev-add */

static void put(GString *s, const char *key, const char *value)
{
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);
    g_autofree char *doubled = g_strjoinv(",,", parts);

    g_string_append_printf(s, ",%s=%s", key, doubled);
}

/* A member, under the name that -chardev has for it. */
static void put_member(GString *s, const char *key, const json_t *v)
{
    g_autofree char *number = NULL;

    if (json_is_string(v))
        put(s, key, json_string_value(v));
    else if (json_is_boolean(v))
        put(s, key, json_is_true(v) ? "on" : "off");
    else if (json_is_integer(v))
        put(s, key, (number = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v))));
}

/* fd: a number, or the name that getfd gave; it is the chardev's then. */
static Err *put_fd(Monitor *m, GString *s, const char *text)
{
    int fd = -1;

    TRY(monitor_take_fd(m, text, &fd));
    g_string_append_printf(s, ",fd=%d", fd);
    return NULL;
}

static Err *put_address(Monitor *m, GString *s, const json_t *addr, bool local)
{
    const char *type = json_string_value(json_object_get(addr, "type")), *key;
    const json_t *data = json_object_get(addr, "data");
    json_t *v;

    if (!strcmp(type, "fd"))
        return put_fd(m, s, json_string_value(json_object_get(data, "str")));
    json_object_foreach((json_t *)data, key, v) {
        if (!strcmp(key, "numeric"))
            continue;
        g_autofree char *name = local ? g_strdup_printf("local%s", strcmp(key, "host") ? key : "addr") : g_strdup(key);
        put_member(s, name, v);
    }
    return NULL;
}

static const char *renamed(const char *type, const char *key)
{
    if (!strcmp(type, "file") && !strcmp(key, "out"))
        return "path";
    if (!strcmp(type, "file") && !strcmp(key, "in"))
        return "input-path";
    return !strcmp(key, "device") ? "path" : key;
}

/* Where QEMU's two forms have other defaults: sockets listen here unless told otherwise, and nobody waits. */
static void put_defaults(GString *s, const char *type, const json_t *data)
{
    const json_t *server = json_object_get(data, "server");

    if (strcmp(type, "socket"))
        return;
    if (!server)
        put(s, "server", "on");
    if (!json_is_true(json_object_get(data, "wait")) && !json_is_false(server))
        put(s, "wait", "off");
}

/* id NULL: without one. */
static Err *rewrite(Monitor *m, const char *id, const json_t *backend, GString *s)
{
    const char *type = json_string_value(json_object_get(backend, "type")), *key;
    const json_t *data = json_object_get(backend, "data");
    json_t *v;

    g_string_append(s, type);
    if (id)
        put(s, "id", id);
    put_defaults(s, type, data);
    json_object_foreach((json_t *)data, key, v) {
        if (!strcmp(key, "addr") || !strcmp(key, "remote"))
            TRY(put_address(m, s, v, false));
        else if (!strcmp(key, "local"))
            TRY(put_address(m, s, v, true));
        else if (!json_is_false(v) || (strcmp(key, "wait") && strcmp(key, "tn3270")))
            put_member(s, renamed(type, key), v);
    }
    return NULL;
}

/* A server that waits would hold up everything. */
static Err *check_wait(const json_t *backend)
{
    const json_t *data = json_object_get(backend, "data");

    if (json_is_true(json_object_get(data, "wait")) && !json_is_false(json_object_get(data, "server")))
        return err_hint(err(ERR_UNSUPPORTED, "the machine does not wait for a peer while it runs"), "Leave out \"wait\".");
    return NULL;
}

/* A new pty's name is in the answer. */
static json_t *made(const Chardev *c)
{
    json_t *ret = json_object();

    if (!strcmp(chardev_kind(c), "pty")) {
        g_autofree char *name = chardev_filename(c);

        json_object_set_new(ret, "pty", text_json(g_str_has_prefix(name, "pty:") ? name + 4 : name));
    }
    return ret;
}

Err *qmp_chardev_add(Monitor *m, const ChardevAddArgs *args, json_t **ret)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Chardev *c;

    TRY(check_wait(args->backend));
    TRY(rewrite(m, args->id, args->backend, text));
    TRY(chardev_add_text(m->vm->chardevs, text->str, &c));
    *ret = made(c);
    return NULL;
}

/* The board has its serial ports' by number: a reset finds the new one there. */
static Err *change(Vm *vm, const char *id, const char *arg, Chardev **out)
{
    Chardev *old = NULL;

    for (Chardev *c = NULL; (c = chardev_next(vm->chardevs, c)) != NULL;)
        old = strcmp(chardev_id(c), id) ? old : c;
    TRY(chardev_change(vm->chardevs, id, arg, out));
    for (int i = 0; i < vm->nserials; i++) {
        if (vm->serials[i] == old)
            vm->serials[i] = *out;
    }
    return NULL;
}

Err *qmp_chardev_change(Monitor *m, const ChardevChangeArgs *args, json_t **ret)
{
    g_autoptr(GString) text = g_string_new(NULL);
    Chardev *c = NULL;

    TRY(check_wait(args->backend));
    TRY(rewrite(m, NULL, args->backend, text));
    TRY(change(m->vm, args->id, text->str, &c));
    *ret = made(c);
    return NULL;
}

Err *hmp_chardev_change(Monitor *m, const HmpChardevChangeArgs *args, GString *out)
{
    Chardev *c = NULL;

    return change(m->vm, args->id, args->args, &c);
}

Err *hmp_chardev_add(Monitor *m, const HmpChardevAddArgs *args, GString *out)
{
    return chardev_add(m->vm->chardevs, args->args, NULL);
}

Err *qmp_chardev_remove(Monitor *m, const ChardevRemoveArgs *args, json_t **ret)
{
    return chardev_remove(m->vm->chardevs, args->id);
}

Err *qmp_chardev_send_break(Monitor *m, const ChardevSendBreakArgs *args, json_t **ret)
{
    Chardev *c;

    TRY(chardev_find(m->vm->chardevs, args->id, &c));
    chardev_break(c);
    return NULL;
}

/* ---- rings */

Err *qmp_ringbuf_write(Monitor *m, const RingbufWriteArgs *args, json_t **ret)
{
    Chardev *c;
    gsize len = strlen(args->data);
    g_autofree uint8_t *bytes = NULL;

    TRY(chardev_find(m->vm->chardevs, args->device, &c));
    if (args->has_format && args->format == QMP_DATA_FORMAT_BASE64)
        bytes = g_base64_decode(args->data, &len);
    if (chardev_ring_write(c, bytes ? bytes : (const uint8_t *)args->data, (int)MIN(len, (gsize)INT_MAX)) < 0)
        return err(ERR_INVALID, "%s is not a ringbuf device", args->device);
    return NULL;
}

Err *qmp_ringbuf_read(Monitor *m, const RingbufReadArgs *args, json_t **ret)
{
    enum { MOST = 16 << 20 };
    Chardev *c;

    TRY(chardev_find(m->vm->chardevs, args->device, &c));
    if (args->size <= 0)
        return err(ERR_INVALID, "size must be greater than zero");
    int most = (int)MIN(args->size, (int64_t)MOST);
    g_autofree uint8_t *bytes = g_malloc(most + 1);
    int n = chardev_ring_read(c, bytes, most);
    if (n < 0)
        return err(ERR_INVALID, "%s is not a ringbuf device", args->device);
    bytes[n] = 0;
    for (int i = 0; i < n; i++)         /* JSON has no NUL */
        bytes[i] = bytes[i] || args->format == QMP_DATA_FORMAT_BASE64 ? bytes[i] : ' ';
    g_autofree char *text = args->format == QMP_DATA_FORMAT_BASE64 ? g_base64_encode(bytes, n) : g_strndup((char *)bytes, n);
    *ret = text_json(text);
    return NULL;
}
