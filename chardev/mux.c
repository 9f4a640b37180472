/* SPDX-License-Identifier: MIT */
/*
 * mux: several devices on one backend. All of them write; one, the focus, gets
 * what is typed. Ctrl-A (or the character of -echr) begins a command.
 *
 * Typed bytes are queued for each device, so that the commands are seen at once
 * even when the guest reads nothing.
 */
#include "chardev/chardev-priv.h"

#include <stdio.h>
#include <string.h>

typedef struct MuxPort {
    CharPort *port;
    GByteArray *typed;          /* input it had no room for yet */
} MuxPort;

typedef struct Mux {
    Chardev chr;
    CharPort below;             /* we are the device of the backend below */
    GPtrArray *ports;           /* MuxPort, owned */
    guint focus;                /* index in ports */
    bool monitor;               /* asked for with mon: */
    bool escaped;               /* the byte before was the escape character */
    bool stamps, line_start;    /* Ctrl-A t */
    int64_t start;              /* microseconds, of the first line with a time */
    GByteArray *pending;        /* part of a time stamp that the backend did not take */
} Mux;

/* A pasted file fits in here; beyond it, the host is not read. */
enum { TYPED_BOUND = 1 << 20 };

static MuxPort *focused(Mux *m)
{
    return m->focus < m->ports->len ? m->ports->pdata[m->focus] : NULL;
}

static int escape_char(const Mux *m)
{
    int e = chr_host(&m->chr)->escape;

    return e ? e : 1;
}

/* ---- output ---------------------------------------------------------------- */

static bool flush_pending(Mux *m)
{
    if (m->pending->len) {
        int n = chr_write(&m->below, m->pending->data, m->pending->len);

        g_byte_array_remove_range(m->pending, 0, n);
    }
    return !m->pending->len;
}

static void put_stamp(Mux *m)
{
    char text[40];
    int64_t ms;

    if (!m->start)
        m->start = g_get_monotonic_time();
    ms = (g_get_monotonic_time() - m->start) / 1000;
    int n = snprintf(text, sizeof(text), "[%02d:%02d:%02d.%03d] ", (int)(ms / 3600000),
                     (int)(ms / 60000 % 60), (int)(ms / 1000 % 60), (int)(ms % 1000));
    g_byte_array_append(m->pending, (uint8_t *)text, n);
}

/* With times: line by line, each led by its stamp. */
static int write_stamped(Mux *m, const uint8_t *buf, int n)
{
    int done = 0;

    while (done < n) {
        const uint8_t *nl = memchr(buf + done, '\n', n - done);
        int part = nl ? (int)(nl + 1 - (buf + done)) : n - done;

        if (m->line_start) {
            put_stamp(m);
            m->line_start = false;
        }
        if (!flush_pending(m))
            break;
        int k = chr_write(&m->below, buf + done, part);
        done += k;
        if (k < part)
            break;
        m->line_start = nl != NULL;
    }
    return done;
}

static int mux_write(Chardev *c, const uint8_t *buf, int n)
{
    Mux *m = (Mux *)c;

    if (!flush_pending(m))
        return 0;
    if (m->stamps)
        return write_stamped(m, buf, n);
    int done = chr_write(&m->below, buf, n);
    if (done)
        m->line_start = buf[done - 1] == '\n';
    return done;
}

static void say(Mux *m, const char *text)
{
    chr_write(&m->below, text, strlen(text));
}

/* ---- input ------------------------------------------------------------------- */

static void deliver(MuxPort *p)
{
    while (p->typed->len) {
        int room = p->port->events->room(p->port->dev);
        uint8_t buf[256];
        int n = MIN(MIN(room, (int)p->typed->len), (int)sizeof(buf));

        if (n <= 0)
            return;
        /* The device may call back into us: have the queue right before. */
        memcpy(buf, p->typed->data, n);
        g_byte_array_remove_range(p->typed, 0, n);
        p->port->events->data(p->port->dev, buf, n);
    }
}

static void mux_input(Chardev *c)
{
    Mux *m = (Mux *)c;

    for (guint i = 0; i < m->ports->len; i++)
        deliver(m->ports->pdata[i]);
    chr_accept_input(&m->below);
}

static void say_help(Mux *m)
{
    char text[500], name[10] = "Ctrl-A";
    int e = escape_char(m);

    if (e < 32)
        snprintf(name, sizeof(name), "Ctrl-%c", e + 64);
    else
        snprintf(name, sizeof(name), "%c", e);
    snprintf(text, sizeof(text),
             "\r\n"
             "%s h    this help\r\n"
             "%s x    end the emulator\r\n"
             "%s c    go to the next console\r\n"
             "%s b    send a break\r\n"
             "%s t    time in front of each line, on or off\r\n"
             "%s s    write disks (there is nothing to write)\r\n"
             "%s %s  send %s itself\r\n", name, name, name, name, name, name, name, name, name);
    say(m, text);
}

static void switch_focus(Mux *m)
{
    if (m->ports->len > 1) {
        m->focus = (m->focus + 1) % m->ports->len;
        say(m, "\r\n");
        const MuxPort *p = focused(m);
        if (p->port->events->event)
            p->port->events->event(p->port->dev, CHR_FOCUS);
    } else {
        say(m, "\r\n[There is no other console here.]\r\n");
    }
}

static void quit(Mux *m)
{
    const ChardevHost *h = chr_host(&m->chr);

    say(m, "\r\nLyre: terminated\r\n");
    if (h->quit)
        h->quit(h->opaque);
}

static void command(Mux *m, uint8_t ch)
{
    MuxPort *p = focused(m);

    switch (ch) {
    case '?': case 'h':
        say_help(m);
        break;
    case 'x':
        quit(m);
        break;
    case 'c':
        switch_focus(m);
        break;
    case 'b':
        if (p && p->port->events->event)
            p->port->events->event(p->port->dev, CHR_BREAK);
        break;
    case 't':
        m->stamps = !m->stamps;
        say(m, m->stamps ? "\r\n[times on]\r\n" : "\r\n[times off]\r\n");
        m->line_start = true;
        break;
    case 's':
        say(m, "\r\n[There are no disks to write.]\r\n");
        break;
    default:
        break;
    }
}

static int below_room(void *dev)
{
    Mux *m = dev;
    MuxPort *p = focused(m);

    return p ? TYPED_BOUND - (int)p->typed->len : 256;
}

static void below_data(void *dev, const uint8_t *buf, int n)
{
    Mux *m = dev;
    uint8_t esc = escape_char(m);

    for (int i = 0; i < n; i++) {
        MuxPort *p = focused(m);
        bool was = m->escaped;

        m->escaped = !was && buf[i] == esc;
        if (m->escaped)
            continue;
        if (was && buf[i] != esc)
            command(m, buf[i]);
        else if (p)
            g_byte_array_append(p->typed, &buf[i], 1);
    }
    for (guint i = 0; i < m->ports->len; i++)
        deliver(m->ports->pdata[i]);
}

static void below_event(void *dev, CharEvent what)
{
    Mux *m = dev;

    if (what == CHR_WRITABLE)
        flush_pending(m);
    chr_be_event(&m->chr, what);
}

/* A break is for who has the focus, other news for all. */
void mux_event(Chardev *c, CharEvent what)
{
    Mux *m = (Mux *)c;

    for (guint i = 0; i < m->ports->len; i++) {
        MuxPort *p = m->ports->pdata[i];

        if (what == CHR_BREAK && p != focused(m))
            continue;
        if (p->port->events->event)
            p->port->events->event(p->port->dev, what);
    }
}

static const CharEvents below_events = { below_room, below_data, below_event };

/* ---- its ports ------------------------------------------------------------------ */

Err *mux_bind(Chardev *c, CharPort *port)
{
    Mux *m = (Mux *)c;
    MuxPort *p = g_new0(MuxPort, 1);

    p->port = port;
    p->typed = g_byte_array_new();
    g_ptr_array_add(m->ports, p);
    return NULL;
}

void mux_unbind(Chardev *c, CharPort *port)
{
    Mux *m = (Mux *)c;

    for (guint i = 0; i < m->ports->len; i++) {
        if (((MuxPort *)m->ports->pdata[i])->port == port) {
            g_ptr_array_remove_index(m->ports, i);
            if (m->focus > i || m->focus >= m->ports->len)
                m->focus = m->focus ? m->focus - 1 : 0;
            return;
        }
    }
}

bool mux_bound(const Chardev *c)
{
    return ((const Mux *)c)->ports->len;
}

bool mux_for_monitor(const Chardev *c)
{
    return ((const Mux *)c)->monitor;
}

Chardev *mux_below(const Chardev *c)
{
    return ((const Mux *)c)->below.chr;
}

static void port_free(void *opaque)
{
    MuxPort *p = opaque;

    g_byte_array_free(p->typed, TRUE);
    g_free(p);
}

static Err *mux_open(Chardev *c, const Opts *o)
{
    Mux *m = (Mux *)c;

    m->ports = g_ptr_array_new_with_free_func(port_free);
    m->pending = g_byte_array_new();
    m->line_start = true;
    return NULL;
}

Err *mux_new(Chardevs *set, const char *id, Chardev *below, bool monitor, Chardev **out)
{
    Chardev *c;

    TRY(chardev_make(set, &chardev_mux, id, NULL, &c));
    Mux *m = (Mux *)c;
    m->monitor = monitor;
    m->below.chr = below;
    c->open = below->open;
    *out = c;
    return chr_bind(&m->below, &below_events, m);
}

static void mux_close(Chardev *c)
{
    Mux *m = (Mux *)c;

    chr_unbind(&m->below);
    g_ptr_array_free(m->ports, TRUE);
    g_byte_array_free(m->pending, TRUE);
}

static bool mux_size(const Chardev *c, int *cols, int *rows)
{
    return chr_size(&((const Mux *)c)->below, cols, rows);
}

static char *mux_filename(const Chardev *c)
{
    return chardev_filename(((const Mux *)c)->below.chr);
}

const ChardevClass chardev_mux = {
    .name = "mux", .doc = "several devices on one backend", .size = sizeof(Mux),
    .open = mux_open, .write = mux_write, .input = mux_input, .close = mux_close,
    .winsize = mux_size, .filename = mux_filename,
};
