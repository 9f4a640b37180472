/* SPDX-License-Identifier: MIT */
/*
 * QMP's wire protocol: greeting, negotiation, commands with their ids, answers,
 * errors and their classes, events. A new peer on the same chardev begins anew.
 *
 * Commands run one after the other as they come, in the main loop, so a command
 * that was sent "exec-oob" is taken in its turn, too: nothing is queued that it
 * could overtake.
 */
#include <stdlib.h>
#include <string.h>

#include "monitor/monitor-priv.h"
#include "monitor/qmp/split.h"
#include "monitor/version.h"

typedef struct QmpMonitor {
    Monitor m;
    Splitter in;
    bool negotiated, oob, pretty;
} QmpMonitor;

/* ---- output */

static void send_json(QmpMonitor *q, const json_t *v)
{
    char *text = json_dumps(v, q->pretty ? JSON_INDENT(4) : 0);

    if (!text)
        return;
    monitor_write(&q->m, text, strlen(text));
    monitor_write(&q->m, "\r\n", 2);
    free(text);
}

const char *qmp_error_class(const Err *e)
{
    switch (err_class(e)) {
    case ERR_NO_COMMAND: return "CommandNotFound";
    case ERR_NO_DEVICE:  return "DeviceNotFound";
    case ERR_NOT_ACTIVE: return "DeviceNotActive";
    default:             return "GenericError";
    }
}

char *qmp_error_desc(const Err *e)
{
    return err_hint_text(e) ? g_strdup_printf("%s. %s", err_text(e), err_hint_text(e)) : g_strdup(err_text(e));
}

/* Takes e. */
static json_t *error_json(Err *e)
{
    g_autofree char *desc = qmp_error_desc(e);
    json_t *v = json_pack("{s:{s:s, s:o}}", "error", "class", qmp_error_class(e), "desc", text_json(desc));

    err_free(e);
    return v;
}

static void answer(QmpMonitor *q, Err *e, json_t *ret, const json_t *id)
{
    json_t *v = e ? error_json(e) : json_pack("{s:o}", "return", ret ? ret : json_object());

    if (id)
        json_object_set(v, "id", (json_t *)id);
    send_json(q, v);
    json_decref(v);
}

static void greet(QmpMonitor *q)
{
    json_t *v = json_pack("{s:{s:o, s:[s]}}", "QMP", "version", version_json(), "capabilities", "oob");

    send_json(q, v);
    json_decref(v);
}

static void emit(Monitor *m, const json_t *event)
{
    QmpMonitor *q = (QmpMonitor *)m;

    if (!q->negotiated || !chr_is_open(&m->port))
        return;
    if (m->out->len > MONITOR_OUT_MOST)
        m->dropped = true;
    else
        send_json(q, event);
}

/* ---- a command */

Err *qmp_call(Monitor *m, const char *name, const json_t *args, json_t **ret)
{
    const QmpCommand *c = qmp_command_find(name);

    *ret = NULL;
    if (!c)
        return err(ERR_NO_COMMAND, "The command %s has not been found", name);
    g_autofree void *a = g_malloc0(c->size);
    TRY(qmp_args(c, args, a));
    return c->run(m, a, ret);
}

Err *qmp_pass(Monitor *m, const char *name, json_t *args)
{
    json_t *none = NULL;
    Err *e = qmp_call(m, name, args, &none);

    json_decref(args);
    json_decref(none);
    return e;
}

static Err *check_member(const QmpMonitor *q, const char *key, const json_t *v)
{
    if (!strcmp(key, "id"))
        return NULL;
    if (!strcmp(key, "execute") || (q->oob && !strcmp(key, "exec-oob")))
        return json_is_string(v) ? NULL : err(ERR_INVALID, "QMP input member '%s' must be a string", key);
    if (!strcmp(key, "arguments"))
        return json_is_object(v) ? NULL : err(ERR_INVALID, "QMP input member 'arguments' must be an object");
    return err(ERR_INVALID, "QMP input member '%s' is unexpected", key);
}

static Err *negotiate(QmpMonitor *q, const json_t *args)
{
    g_autofree void *a = NULL;
    const QmpCommand *c = qmp_command_find("qmp_capabilities");
    json_t *v, *list = json_object_get(args, "enable");
    size_t i;

    a = g_malloc0(c->size);
    TRY(qmp_args(c, args, a));
    json_array_foreach(list, i, v)      /* checked: the one there is */
        q->oob = true;
    q->negotiated = true;
    return NULL;
}

/* The command's name, and whether it was sent out of band. */
static Err *read_head(const QmpMonitor *q, const json_t *v, const char **name, bool *oob)
{
    const char *key;
    json_t *e;

    if (!json_is_object(v))
        return err(ERR_INVALID, "QMP input must be a JSON object");
    json_object_foreach((json_t *)v, key, e)
        TRY(check_member(q, key, e));
    *name = json_string_value(json_object_get(v, "execute"));
    const char *other = json_string_value(json_object_get(v, "exec-oob"));
    *oob = other != NULL;
    if (*name && other)
        return err(ERR_INVALID, "QMP input member 'exec-oob' clashes with 'execute'");
    if (other)
        *name = other;
    return *name ? NULL : err(ERR_INVALID, "QMP input lacks member 'execute'");
}

static Err *obey(QmpMonitor *q, const json_t *v, json_t **ret)
{
    const char *name = NULL;
    bool oob = false;

    TRY(read_head(q, v, &name, &oob));
    const json_t *args = json_object_get(v, "arguments");
    bool hello = !strcmp(name, "qmp_capabilities");
    if (!q->negotiated) {
        if (!hello)
            return err(ERR_NO_COMMAND, qmp_command_find(name) ? "Expecting capabilities negotiation with 'qmp_capabilities'"
                                                              : "The command %s has not been found", name);
        return negotiate(q, args);
    }
    if (hello)
        return err(ERR_NO_COMMAND, "Capabilities negotiation is already complete, command ignored");
    const QmpCommand *c = qmp_command_find(name);
    if (c && oob && !c->oob)
        return err(ERR_INVALID, "The command %s does not support OOB", name);
    return qmp_call(&q->m, name, args, ret);
}

static json_t *parse(const char *text, size_t len, json_error_t *why)
{
    const size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY;
    json_t *v = json_loadb(text, len, flags, why);

    if (v || json_error_code(why) != json_error_numeric_overflow)
        return v;
    g_autofree char *wide = split_wide_numbers(text);
    return json_loads(wide, flags, why);
}

static void value(void *opaque, const char *text, size_t len, const char *wrong)
{
    QmpMonitor *q = opaque;
    json_t *ret = NULL, *id = NULL, *v = NULL;
    json_error_t why;
    Err *e;

    if (text)
        v = parse(text, len, &why);
    if (!v) {
        e = err(ERR_INVALID, "JSON parse error, %s", text ? why.text : wrong);
    } else {
        id = json_incref(json_object_get(v, "id"));
        e = obey(q, v, &ret);
    }
    answer(q, e, ret, id);
    json_decref(id);
    json_decref(v);
}

/* ---- as a monitor */

static void start(Monitor *m, const MonitorConfig *c)
{
    QmpMonitor *q = (QmpMonitor *)m;

    q->pretty = c->pretty;
    split_init(&q->in, value, q);
}

static void data(Monitor *m, const uint8_t *buf, int n)
{
    split_feed(&((QmpMonitor *)m)->in, buf, n);
}

static void event(Monitor *m, CharEvent what)
{
    QmpMonitor *q = (QmpMonitor *)m;

    if (what != CHR_OPENED && what != CHR_CLOSED)
        return;
    split_reset(&q->in);
    q->negotiated = q->oob = false;
    if (what == CHR_OPENED)
        greet(q);
}

static void clear(Monitor *m)
{
    split_clear(&((QmpMonitor *)m)->in);
}

const MonitorKind monitor_qmp = {
    .size = sizeof(QmpMonitor), .start = start, .data = data, .event = event, .emit = emit, .free = clear,
};
