/* SPDX-License-Identifier: MIT */
/*
 * QMP's wire protocol: greeting, negotiation, commands with their ids, answers,
 * errors and their classes, events. A new peer on the same chardev begins anew.
 *
 * Commands run one after the other as they come, in the main loop. Once a client has
 * negotiated `oob`, a thread reads what comes (oob.h): commands sent "exec-oob" it
 * runs and answers at once, the others it queues for the main thread, up to 8; a
 * client that sends more is not listened to until one is done.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "monitor/monitor-priv.h"
#include "monitor/qmp/oob.h"
#include "monitor/qmp/split.h"
#include "monitor/version.h"

enum { QUEUE_MOST = 8, REQUEST_FDS = 16 };

/* A message, and what came with it. */
typedef struct Request {
    json_t *v;                  /* NULL: it was none */
    Err *wrong;                 /* why */
    bool oob;                   /* it was negotiated when this came */
    unsigned peer;
    int fds[REQUEST_FDS]; int nfds;
} Request;

/* Guarded by the machine lock, or the thread's when the monitor has moved there. */
typedef struct QmpMonitor {
    Monitor m;
    Splitter in;
    bool negotiated, oob, pretty;
    unsigned peer;              /* counts them: an answer is for who asked */
    GQueue queue;               /* Request: for the main thread */
    unsigned served;            /* the main thread's: whose request was the latest */
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

    oob_enter(m);
    if (q->negotiated && chr_is_open(&m->port)) {
        if (monitor_unread(m) > MONITOR_OUT_MOST)
            m->dropped = true;
        else
            send_json(q, event);
    }
    oob_leave(m);
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

static Err *check_member(bool has_oob, const char *key, const json_t *v)
{
    if (!strcmp(key, "id"))
        return NULL;
    if (!strcmp(key, "execute") || (has_oob && !strcmp(key, "exec-oob")))
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
static Err *read_head(const Request *r, const char **name, bool *oob)
{
    json_t *e, *v = r->v;
    const char *key;

    if (!json_is_object(v))
        return err(ERR_INVALID, "QMP input must be a JSON object");
    json_object_foreach(v, key, e)
        TRY(check_member(r->oob, key, e));
    *name = json_string_value(json_object_get(v, "execute"));
    const char *other = json_string_value(json_object_get(v, "exec-oob"));
    *oob = other != NULL;
    if (*name && other)
        return err(ERR_INVALID, "QMP input member 'exec-oob' clashes with 'execute'");
    if (other)
        *name = other;
    return *name ? NULL : err(ERR_INVALID, "QMP input lacks member 'execute'");
}

/* Those that were queued came after the negotiation: the main thread reads nothing of the session. */
static Err *obey(QmpMonitor *q, const Request *r, bool queued, json_t **ret)
{
    const char *name = NULL;
    bool oob = false;

    TRY(read_head(r, &name, &oob));
    const json_t *args = json_object_get(r->v, "arguments");
    bool hello = !strcmp(name, "qmp_capabilities");
    if (!queued && !q->negotiated) {
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
    if (c && !c->early && q->m.vm->early)
        return err_hint(err(ERR_BUSY, "The command '%s' is permitted only after machine initialization has completed", name),
                        "x-exit-preconfig completes it.");
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

/* ---- requests, and where they run */

static void request_free(Request *r)
{
    while (r->nfds)
        close(r->fds[--r->nfds]);
    json_decref(r->v);
    err_free(r->wrong);
    g_free(r);
}

/* Runs it, and answers if who asked is still there. Takes r. `queued`: in the main thread, without the thread's lock. */
static void serve(QmpMonitor *q, Request *r, bool queued)
{
    json_t *ret = NULL, *id = json_object_get(r->v, "id");
    Err *e = r->v ? obey(q, r, queued, &ret) : g_steal_pointer(&r->wrong);

    if (queued)
        oob_enter(&q->m);
    if (r->peer == q->peer) {
        answer(q, e, ret, id);
    } else {
        err_free(e);
        json_decref(ret);
    }
    if (queued)
        oob_leave(&q->m);
    request_free(r);
}

static bool out_of_band(const QmpMonitor *q, const json_t *v)
{
    return q->oob && json_object_get(v, "exec-oob") && !json_object_get(v, "execute");
}

static void serve_next(void *opaque)
{
    QmpMonitor *q = opaque;

    oob_enter(&q->m);
    Request *r = g_queue_pop_head(&q->queue);
    oob_leave(&q->m);
    if (!r)
        return;         /* its peer has gone */
    if (r->nfds || q->served != r->peer)
        monitor_received(&q->m, r->fds, r->nfds);
    r->nfds = 0;
    q->served = r->peer;
    serve(q, r, true);
    oob_enter(&q->m);
    chr_accept_input(&q->m.port);
    oob_leave(&q->m);
}

static void queue_request(QmpMonitor *q, Request *r)
{
    int fd;

    while (r->nfds < REQUEST_FDS && (fd = chr_take_fd(&q->m.port)) >= 0)
        r->fds[r->nfds++] = fd;
    g_queue_push_tail(&q->queue, r);
    vm_call_main(q->m.vm, serve_next, q);
}

/* Until capabilities are negotiated nothing but the session itself is asked. */
static void value(void *opaque, const char *text, size_t len, const char *wrong)
{
    QmpMonitor *q = opaque;
    Request *r = g_new0(Request, 1);
    json_error_t why;

    r->peer = q->peer;
    r->oob = q->oob;
    if (text)
        r->v = parse(text, len, &why);
    if (!r->v)
        r->wrong = err(ERR_INVALID, "JSON parse error, %s", text ? why.text : wrong);
    if (!q->negotiated || out_of_band(q, r->v) || (!q->oob && !q->m.moved))
        serve(q, r, false);
    else
        queue_request(q, r);
}

/* Who has not negotiated `oob` waits for each answer anyway, or is made to. */
static bool busy(const Monitor *m)
{
    const QmpMonitor *q = (const QmpMonitor *)m;

    return q->queue.length >= (q->oob ? QUEUE_MOST : 1);
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
    QmpMonitor *q = (QmpMonitor *)m;

    split_feed(&q->in, buf, n);
    if (q->oob && !m->moved)
        oob_move(m);
}

static void forget_requests(QmpMonitor *q)
{
    for (Request *r; (r = g_queue_pop_head(&q->queue)) != NULL;)
        request_free(r);
}

static void event(Monitor *m, CharEvent what)
{
    QmpMonitor *q = (QmpMonitor *)m;

    if (what != CHR_OPENED && what != CHR_CLOSED)
        return;
    split_reset(&q->in);
    forget_requests(q);
    q->negotiated = q->oob = false;
    q->peer++;
    if (what == CHR_OPENED)
        greet(q);
}

/* Back in the main thread. */
static void clear(Monitor *m)
{
    QmpMonitor *q = (QmpMonitor *)m;

    vm_forget_calls(m->vm, q);
    forget_requests(q);
    split_clear(&q->in);
}

const MonitorKind monitor_qmp = {
    .size = sizeof(QmpMonitor), .start = start, .data = data, .event = event, .emit = emit, .busy = busy, .free = clear,
};
