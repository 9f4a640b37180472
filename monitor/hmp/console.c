/* SPDX-License-Identifier: MIT */
/* The console as a monitor: a prompt, lines that are typed (edit.h), their answers. */
#include <string.h>

#include "monitor/hmp/edit.h"
#include "monitor/hmp/hmp-priv.h"
#include "monitor/monitor-priv.h"

#define PROMPT "(lyre) "

typedef struct HmpMonitor {
    Monitor m;
    LineEdit *edit;
} HmpMonitor;

static void put(void *opaque, const char *text, size_t n)
{
    monitor_write(opaque, text, n);
}

static void run_line(void *opaque, const char *line)
{
    HmpMonitor *h = opaque;
    g_autoptr(GString) out = g_string_new(NULL);

    hmp_line(&h->m, line, out);
    g_auto(GStrv) lines = g_strsplit(out->str, "\n", -1);
    g_autofree char *text = g_strjoinv("\r\n", lines);
    monitor_write(&h->m, text, strlen(text));
}

static char **complete(void *opaque, const char *before, size_t *from)
{
    return hmp_complete(opaque, before, from);
}

static int columns(void *opaque)
{
    HmpMonitor *h = opaque;
    int cols = 0, rows = 0;

    return chr_size(&h->m.port, &cols, &rows) && cols > 1 ? cols : 0;
}

static void start(Monitor *m, const MonitorConfig *c)
{
    const LineEditHost host = { PROMPT, put, run_line, complete, columns, m };

    ((HmpMonitor *)m)->edit = line_edit_new(&host);
}

static void data(Monitor *m, const uint8_t *buf, int n)
{
    for (int i = 0; i < n; i++)
        line_edit_key(((HmpMonitor *)m)->edit, (char)buf[i]);
}

static void event(Monitor *m, CharEvent what)
{
    static const char hello[] = "Lyre " LYRE_VERSION " monitor - type 'help' for more information\r\n";

    /* Behind a mux nothing is said before somebody comes here (Ctrl-A c). */
    bool mux = m->port.chr && !strcmp(chardev_kind(m->port.chr), "mux");
    if (what != (mux ? CHR_FOCUS : CHR_OPENED))
        return;
    monitor_write(m, hello, sizeof(hello) - 1);
    line_edit_start(((HmpMonitor *)m)->edit);
}

static void clear(Monitor *m)
{
    line_edit_free(((HmpMonitor *)m)->edit);
}

const MonitorKind monitor_hmp = { .size = sizeof(HmpMonitor), .start = start, .data = data, .event = event, .free = clear };

const char *console_past(const Monitor *m, unsigned i)
{
    return m->kind == &monitor_hmp ? line_edit_past(((const HmpMonitor *)m)->edit, i) : NULL;
}
