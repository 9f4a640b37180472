/* SPDX-License-Identifier: MIT */
/* The console as a monitor: a prompt, lines that are typed, their answers. */
#include <string.h>

#include "monitor/monitor-priv.h"

#define PROMPT "(lyre) "
enum { LINE_MOST = 4096 };

typedef struct HmpMonitor {
    Monitor m;
    GString *line;
    bool after_cr;
} HmpMonitor;

static void say(HmpMonitor *h, const char *text)
{
    monitor_write(&h->m, text, strlen(text));
}

static void run_line(HmpMonitor *h)
{
    g_autoptr(GString) out = g_string_new(NULL);

    say(h, "\r\n");
    hmp_line(&h->m, h->line->str, out);
    g_string_truncate(h->line, 0);
    g_auto(GStrv) lines = g_strsplit(out->str, "\n", -1);
    g_autofree char *text = g_strjoinv("\r\n", lines);
    say(h, text);
    say(h, PROMPT);
}

static void typed(HmpMonitor *h, char c)
{
    bool after_cr = h->after_cr;

    h->after_cr = c == '\r';
    if (c == '\n' && after_cr)
        return;
    if (c == '\r' || c == '\n') {
        run_line(h);
    } else if (c == 8 || c == 127) {
        if (h->line->len) {
            g_string_truncate(h->line, h->line->len - 1);
            say(h, "\b \b");
        }
    } else if ((uint8_t)c >= ' ' && h->line->len < LINE_MOST) {
        g_string_append_c(h->line, c);
        monitor_write(&h->m, &c, 1);
    }
}

static void start(Monitor *m, const MonitorConfig *c)
{
    ((HmpMonitor *)m)->line = g_string_new(NULL);
}

static void data(Monitor *m, const uint8_t *buf, int n)
{
    for (int i = 0; i < n; i++)
        typed((HmpMonitor *)m, (char)buf[i]);
}

static void event(Monitor *m, CharEvent what)
{
    HmpMonitor *h = (HmpMonitor *)m;

    /* Behind a mux nothing is said before somebody comes here (Ctrl-A c). */
    bool mux = m->port.chr && !strcmp(chardev_kind(m->port.chr), "mux");
    if (what != (mux ? CHR_FOCUS : CHR_OPENED))
        return;
    g_string_truncate(h->line, 0);
    say(h, "Lyre " LYRE_VERSION " monitor - type 'help' for more information\r\n" PROMPT);
}

static void clear(Monitor *m)
{
    g_string_free(((HmpMonitor *)m)->line, TRUE);
}

const MonitorKind monitor_hmp = { .size = sizeof(HmpMonitor), .start = start, .data = data, .event = event, .free = clear };
