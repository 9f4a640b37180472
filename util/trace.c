/* SPDX-License-Identifier: MIT */
/*
 * Trace points: see util/trace.h.
 */
#include "util/trace.h"

#include <errno.h>
#include <glib.h>
#include <stdarg.h>
#include <string.h>

#include "util/log.h"
#include "util/opts.h"
#include "util/path.h"

/* Made by the linker when some object has the section. */
extern TracePoint *const __start_trace_points[] __attribute__((weak));
extern TracePoint *const __stop_trace_points[] __attribute__((weak));

void trace_emit(const char *name, const char *fmt, ...)
{
    static _Atomic int64_t start;
    int64_t now = g_get_monotonic_time(), unset = 0;
    va_list ap;

    atomic_compare_exchange_strong(&start, &unset, now);
    now -= start;
    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    log_line("%d.%06d %s: %s\n", (int)(now / 1000000), (int)(now % 1000000), name, text);
    g_free(text);
}

static int by_place(const void *a, const void *b)
{
    const TracePoint *x = *(TracePoint *const *)a, *y = *(TracePoint *const *)b;
    int c = strcmp(x->name, y->name);

    c = c ? c : strcmp(x->file, y->file);
    return c ? c : x->line - y->line;
}

/* All points, sorted; g_ptr_array_free it. */
static GPtrArray *all_points(void)
{
    GPtrArray *all = g_ptr_array_new();

    for (TracePoint *const *p = __start_trace_points; p != __stop_trace_points; p++)
        g_ptr_array_add(all, *p);
    g_ptr_array_sort(all, by_place);
    return all;
}

static Err *no_match(const char *pattern, GPtrArray *all)
{
    GPtrArray *names = g_ptr_array_new();
    Err *e = err(ERR_NOT_FOUND, "no trace point is named '%s'", pattern);

    for (guint i = 0; i < all->len; i++)
        g_ptr_array_add(names, (void *)((TracePoint *)all->pdata[i])->name);
    g_ptr_array_add(names, NULL);
    const char *near = nearest_name(pattern, (const char *const *)names->pdata);
    if (near)
        e = err_hint(e, "Did you mean '%s'?", near);
    g_ptr_array_free(names, TRUE);
    return err_hint(e, "-trace help lists them all; patterns may hold * and ?.");
}

Err *trace_enable(const char *pattern, bool on)
{
    GPtrArray *all = all_points();
    bool text = g_utf8_validate(pattern, -1, NULL);     /* glib ends the program over a pattern that is none */
    int hits = 0;
    Err *e = NULL;

    for (guint i = 0; i < all->len; i++) {
        TracePoint *p = all->pdata[i];

        if (text && g_pattern_match_simple(pattern, p->name)) {
            p->on = on;
            hits++;
        }
    }
    if (!hits)
        e = no_match(pattern, all);
    g_ptr_array_free(all, TRUE);
    return e;
}

static Err *enable_word(const char *word)
{
    return word[0] == '-' ? trace_enable(word + 1, false) : trace_enable(word, true);
}

/* A file of patterns, one in a line; # begins a comment. */
static Err *enable_from_file(const char *path)
{
    GError *ge = NULL;
    char *text;
    Err *e = NULL;

    if (!g_file_get_contents(path, &text, NULL, &ge)) {
        int why = errno;

        g_error_free(ge);
        return err_path(why, path, "cannot read '%s'", path);
    }
    char **lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l && !e; l++) {
        char *word = g_strstrip(strchr(*l, '#') ? (*strchr(*l, '#') = 0, *l) : *l);

        if (*word)
            e = err_in(enable_word(word), "%s:%d", path, (int)(l - lines) + 1);
    }
    g_strfreev(lines);
    g_free(text);
    return e;
}

Err *trace_option(const char *arg)
{
    static const OptDesc descs[] = {
        { "enable", OPT_STR, "pattern of trace points to show" },
        { "events", OPT_STR, "file with a pattern in each line" },
        { "file",   OPT_STR, "where to write (the log's file: same as -D)" },
        { 0 }
    };
    Opts *o;
    Err *e = opts_parse(arg, descs, "enable", &o);

    if (!e && opts_has(o, "file"))
        e = log_set_file(opts_str(o, "file", NULL));
    if (!e && opts_has(o, "enable"))
        e = enable_word(opts_str(o, "enable", NULL));
    if (!e && opts_has(o, "events"))
        e = enable_from_file(opts_str(o, "events", NULL));
    opts_free(o);
    return err_in(e, "-trace");
}

void trace_each(void (*fn)(void *opaque, const TracePoint *p), void *opaque)
{
    GPtrArray *all = all_points();

    for (guint i = 0; i < all->len; i++)
        fn(opaque, all->pdata[i]);
    g_ptr_array_free(all, TRUE);
}

char *trace_help(void)
{
    GPtrArray *all = all_points();
    GString *s = g_string_new("Trace points (-trace PATTERN, with * and ?):\n");

    for (guint i = 0; i < all->len; i++) {
        const TracePoint *p = all->pdata[i];

        g_string_append_printf(s, "  %-16s %s\n", p->name, p->fmt);
    }
    g_ptr_array_free(all, TRUE);
    return g_string_free(s, FALSE);
}
