/* SPDX-License-Identifier: MIT */
/*
 * The monitors of a machine, and what QMP and HMP have in common: a chardev's
 * bytes in and out.
 */
#include "monitor/monitor-priv.h"

#include <string.h>
#include <unistd.h>

#include "dump/dump.h"
#include "monitor/qmp/oob.h"
#include "monitor/view.h"
#include "net/net.h"

/* ---- output */

/* What a slow client made grow, to tens of MiB, is not kept. */
static void empty(Monitor *m)
{
    g_byte_array_unref(m->out);
    m->out = g_byte_array_new();
    m->sent = 0;
}

/* What was sent is cut off when it is the larger part, so that a byte is moved once, however slow the client. */
static void flush(Monitor *m)
{
    if (monitor_unread(m))
        m->sent += (guint)chr_write(&m->port, m->out->data + m->sent, (int)MIN(monitor_unread(m), (guint)1 << 24));
    if (!monitor_unread(m)) {
        m->dropped = false;
        empty(m);
    } else if (m->sent > m->out->len / 2) {
        g_byte_array_remove_range(m->out, 0, m->sent);
        m->sent = 0;
    }
}

void monitor_write(Monitor *m, const char *text, size_t len)
{
    size_t n = 0;

    if (!m->port.chr)
        return;
    if (!monitor_unread(m))
        n = chr_write(&m->port, text, (int)MIN(len, (size_t)1 << 24));
    g_byte_array_append(m->out, (const guint8 *)text + n, (guint)(len - n));
}

/* ---- the chardev's events */

static int room(void *dev)
{
    const Monitor *m = dev;

    return monitor_unread(m) > MONITOR_OUT_HIGH || (m->kind->busy && m->kind->busy(m)) ? 0 : MONITOR_IN;
}

static void event(void *dev, CharEvent what);

/* What was typed ahead may come before the news of who types. */
static void data(void *dev, const uint8_t *buf, int n)
{
    Monitor *m = dev;

    if (!m->opened)
        event(m, CHR_OPENED);
    m->kind->data(m, buf, n);
}

static void event(void *dev, CharEvent what)
{
    Monitor *m = dev;

    if (what == CHR_WRITABLE) {
        flush(m);
        chr_accept_input(&m->port);
        return;
    }
    if (what == CHR_OPENED && m->opened)
        return;
    if (what == CHR_OPENED || what == CHR_CLOSED) {
        m->opened = what == CHR_OPENED;
        empty(m);
    }
    m->kind->event(m, what);
}

static const CharEvents char_events = { room, data, event, .stays = true };

/* ---- making them */

static Monitor *monitor_new(Monitors *set, const MonitorConfig *c)
{
    const MonitorKind *kind = c->control ? &monitor_qmp : &monitor_hmp;
    Monitor *m = g_malloc0(kind->size);

    *m = (Monitor){ .vm = set->vm, .set = set, .kind = kind, .id = g_strdup(c->id), .out = g_byte_array_new() };
    kind->start(m, c);
    return m;
}

static void monitor_free(Monitor *m)
{
    if (m->port.chr)
        flush(m);
    if (m->port.chr)
        chr_unbind(&m->port);
    m->kind->free(m);
    monitor_received(m, NULL, 0);
    g_byte_array_free(m->out, TRUE);
    g_free(m->id);
    g_free(m);
}

Err *monitor_add(Vm *vm, Chardev *chr, const MonitorConfig *c)
{
    Monitors *set = vm->monitors;
    Monitor **end = &set->list, *m = monitor_new(set, c);

    while (*end)
        end = &(*end)->next;
    m->port.chr = chr;
    Err *e = chr_bind(&m->port, &char_events, m);
    if (e) {
        m->port.chr = NULL;
        monitor_free(m);
        return e;
    }
    *end = m;
    return NULL;
}

static void close_fd(void *fd)
{
    close(GPOINTER_TO_INT(fd));
}

static char *device_path(void *device)
{
    return view_device_path(device);
}

Err *monitors_new(Vm *vm, const MonitorHost *host)
{
    Monitors *set = g_new0(Monitors, 1);
    const MonitorConfig nobody = { 0 };

    set->vm = vm;
    if (host)
        set->host = *host;
    set->thread = pthread_self();
    set->fds = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_fd);
    set->nobody = monitor_new(set, &nobody);
    if (vm->net)
        net_name_fds(vm->net, monitor_named_fd, set->nobody);
    vm->monitors = set;
    vm->monitor_line = hmp_run;
    vm->device_path = device_path;
    events_init(set);
    return NULL;
}

void monitors_free(Vm *vm)
{
    Monitors *set = vm->monitors;

    if (!set)
        return;
    oob_end(set);
    dump_free(vm);
    dirty_rate_free(set);
    events_clear(set);
    vm->monitor_line = NULL;
    vm->device_path = NULL;
    vm->monitors = NULL;
    for (Monitor *m = set->list, *next; m; m = next) {
        next = m->next;
        monitor_free(m);
    }
    monitor_free(set->nobody);
    g_hash_table_destroy(set->fds);
    g_free(set);
}
