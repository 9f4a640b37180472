/* SPDX-License-Identifier: MIT */
/*
 * Events: from whoever raises them, in any thread, to every monitor that shows
 * them. Some come at most once a second; of those that come faster the last one
 * is kept until its time.
 */
#include "monitor/block_events.h"
#include "monitor/monitor-priv.h"

#include <string.h>

enum { RATE_US = 1000000 };

typedef struct Rate {
    Monitors *set;
    int64_t last;               /* monotonic microseconds of the latest that was sent */
    json_t *waiting;            /* the latest that was not; NULL: none */
    GSource *src;
} Rate;

static void rate_free(void *opaque)
{
    Rate *r = opaque;

    if (r->src) {
        g_source_destroy(r->src);
        g_source_unref(r->src);
    }
    json_decref(r->waiting);
    g_free(r);
}

static void emit(Monitors *set, const json_t *event)
{
    for (Monitor *m = set->list; m; m = m->next) {
        if (m->kind->emit)
            m->kind->emit(m, event);
    }
}

static gboolean rate_due(gpointer opaque)
{
    Rate *r = opaque;
    Vm *vm = r->set->vm;

    vm_lock(vm);
    json_t *event = g_steal_pointer(&r->waiting);
    g_clear_pointer(&r->src, g_source_unref);
    if (event) {
        r->last = g_get_monotonic_time();
        emit(r->set, event);
        json_decref(event);
    }
    vm_unlock(vm);
    return G_SOURCE_REMOVE;
}

static Rate *rate_of(Monitors *set, const QmpEvent *e, const json_t *data)
{
    const json_t *v = e->rate_key ? json_object_get(data, e->rate_key) : NULL;
    char *text = v ? json_dumps(v, JSON_ENCODE_ANY) : NULL;
    g_autofree char *key = g_strdup_printf("%s %s", e->name, text ? text : "");
    Rate *r = g_hash_table_lookup(set->rates, key);

    free(text);
    if (!r) {
        r = g_new0(Rate, 1);
        *r = (Rate){ .set = set, .last = -RATE_US };
        g_hash_table_insert(set->rates, g_steal_pointer(&key), r);
    }
    return r;
}

/* Takes the event. */
static void deliver(Monitors *set, const QmpEvent *e, json_t *event)
{
    Rate *r = e->rate ? rate_of(set, e, json_object_get(event, "data")) : NULL;
    int64_t now = g_get_monotonic_time();

    if (r && now < r->last + RATE_US) {
        json_decref(r->waiting);
        r->waiting = event;
        if (!r->src) {
            r->src = g_timeout_source_new((guint)((r->last + RATE_US - now) / 1000 + 1));
            g_source_set_callback(r->src, rate_due, r, NULL);
            g_source_attach(r->src, set->vm->main_context);
        }
        return;
    }
    if (r)
        r->last = now;
    emit(set, event);
    json_decref(event);
}

/* Of other threads, in order; each push is followed by a call of post in the main thread. */
typedef struct Posted { const QmpEvent *e; json_t *event; } Posted;

static void post(void *opaque)
{
    Monitors *set = opaque;

    for (Posted *p; (p = g_async_queue_try_pop(set->posted)) != NULL; g_free(p))
        deliver(set, p->e, p->event);
}

static json_t *with_time(const char *name, json_t *data)
{
    int64_t now = g_get_real_time();
    json_t *event = json_pack("{s:{s:I, s:I}, s:s}", "timestamp", "seconds", (json_int_t)(now / 1000000), "microseconds",
                              (json_int_t)(now % 1000000), "event", name);

    if (data)
        json_object_set_new(event, "data", data);
    return event;
}

/* vm->on_event: any thread. Takes data. */
static void raised(void *opaque, const char *name, json_t *data)
{
    Monitors *set = opaque;
    const QmpEvent *e = qmp_event_find(name);

    if (!e) {
        json_decref(data);
        g_return_if_reached();          /* it is missing in monitor/schema */
    }
    json_t *event = with_time(name, data);
    if (pthread_equal(set->thread, pthread_self()) && vm_locked(set->vm)) {
        deliver(set, e, event);
        return;
    }
    Posted *p = g_new(Posted, 1);
    *p = (Posted){ e, event };
    g_async_queue_push(set->posted, p);
    vm_call_main(set->vm, post, set);
}

void events_init(Monitors *set)
{
    set->rates = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, rate_free);
    set->posted = g_async_queue_new();
    set->vm->event_opaque = set;
    set->vm->on_event = raised;
    block_events_init(set->vm);
}

void events_clear(Monitors *set)
{
    set->vm->on_event = NULL;
    block_events_clear(set->vm);
    vm_forget_calls(set->vm, set);
    for (Posted *p; (p = g_async_queue_try_pop(set->posted)) != NULL; g_free(p))
        json_decref(p->event);
    g_async_queue_unref(set->posted);
    g_hash_table_destroy(set->rates);
}
