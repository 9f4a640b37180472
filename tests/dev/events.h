/* SPDX-License-Identifier: MIT */
/* What a machine's devices tell management: each event as a line of JSON, from whichever thread. */
#ifndef TESTS_DEV_EVENTS_H
#define TESTS_DEV_EVENTS_H

#include <stdlib.h>

#include "system/vm.h"

typedef struct Events { GMutex lock; GString *text; } Events;

static void events_note(void *opaque, const char *name, json_t *data)
{
    Events *e = opaque;
    char *text = data ? json_dumps(data, JSON_SORT_KEYS | JSON_COMPACT) : NULL;

    g_mutex_lock(&e->lock);
    g_string_append_printf(e->text, "%s %s\n", name, text ? text : "");
    g_mutex_unlock(&e->lock);
    free(text);
    json_decref(data);
}

static inline void events_listen(Events *e, Vm *vm)
{
    *e = (Events){ .text = g_string_new(NULL) };
    vm->event_opaque = e;
    vm->on_event = events_note;
}

/* What came since it was asked last; g_free it. */
static inline char *events_take(Events *e)
{
    g_mutex_lock(&e->lock);
    char *text = g_strdup(e->text->str);
    g_string_truncate(e->text, 0);
    g_mutex_unlock(&e->lock);
    return text;
}

static inline void events_end(Events *e, Vm *vm)
{
    vm->on_event = NULL;
    g_string_free(e->text, TRUE);
}

#endif
