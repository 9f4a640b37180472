/* SPDX-License-Identifier: MIT */
/*
 * The log: see util/log.h.
 *
 * A log file is line buffered: what was logged is in the file even when the
 * process dies the next moment, which is when it is wanted most.
 */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "util/path.h"
#include "util/str.h"
#include "util/trace.h"

_Atomic unsigned log_mask;
_Atomic bool log_filtered;

typedef struct Range {
    uint64_t first, last;
} Range;

static FILE *_Atomic log_file;  /* NULL: stderr. Never another while the program runs: log_set_file */
static __thread FILE *begun;    /* log_begin's */
static GArray *ranges;          /* Range; written before threads start */

typedef struct Item {
    const char *name;
    unsigned bit;
    const char *doc;
} Item;
static const Item items[] = {
#define X(name, bit, doc) { name, bit, doc },
    LOG_ITEMS(X)
#undef X
};

FILE *log_begin(void)
{
    FILE *f = log_file;

    begun = f ? f : stderr;
    flockfile(begun);
    return begun;
}

void log_end(void)
{
    funlockfile(begun);
}

static void log_v(const char *prefix, const char *fmt, va_list ap)
{
    char *text = g_strdup_vprintf(fmt, ap);
    char *all = g_strconcat(prefix, text, g_str_has_suffix(text, "\n") ? "" : "\n", NULL);
    FILE *f = log_begin();

    fputs(all, f);      /* stderr has no buffer: one call, so that other processes do not cut it */
    log_end();
    g_free(all);
    g_free(text);
}

void log_line(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_v("", fmt, ap);
    va_end(ap);
}

void guest_error(const char *fmt, ...)
{
    va_list ap;

    if (!log_on(LOG_GUEST_ERRORS))
        return;
    va_start(ap, fmt);
    log_v("guest error: ", fmt, ap);
    va_end(ap);
}

void unimp(const char *fmt, ...)
{
    va_list ap;

    if (!log_on(LOG_UNIMP))
        return;
    va_start(ap, fmt);
    log_v("not implemented: ", fmt, ap);
    va_end(ap);
}

bool log_wants_slow(uint64_t addr)
{
    for (guint i = 0; i < ranges->len; i++) {
        const Range *r = &g_array_index(ranges, Range, i);

        if (addr >= r->first && addr <= r->last)
            return true;
    }
    return false;
}

static const Item *find_item(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(items); i++) {
        if (!strcmp(items[i].name, name))
            return &items[i];
    }
    return NULL;
}

static Err *unknown_item(const char *name)
{
    const char *names[G_N_ELEMENTS(items) + 2];
    const char *near;
    size_t i;

    for (i = 0; i < G_N_ELEMENTS(items); i++)
        names[i] = items[i].name;
    names[i++] = "all";
    names[i] = NULL;
    near = nearest_name(name, names);
    Err *e = err(ERR_NOT_FOUND, "there is nothing named '%s' to log", name);
    if (near)
        e = err_hint(e, "Did you mean '%s'?", near);
    return err_hint(e, "-d help lists what can be logged.");
}

static Err *set_item(const char *word, unsigned *mask)
{
    const char *name = word[0] == '-' ? word + 1 : word;
    unsigned bits;

    if (g_str_has_prefix(name, "trace:"))
        return trace_enable(name + strlen("trace:"), word == name);
    if (!strcmp(name, "all")) {
        bits = (1u << LOG_BITS) - 1;
    } else {
        const Item *it = find_item(name);

        if (!it)
            return unknown_item(name);
        bits = it->bit;
    }
    *mask = word == name ? *mask | bits : *mask & ~bits;
    return NULL;
}

Err *log_set_items(const char *list)
{
    unsigned mask = log_mask;
    char **words = g_strsplit(list, ",", -1);
    Err *e = NULL;

    for (char **w = words; *w && !e; w++) {
        if (**w)
            e = set_item(*w, &mask);
    }
    g_strfreev(words);
    if (!e)
        log_mask = mask;
    return err_in(e, "-d");
}

/* The path with "%d" replaced; any other % is refused, as it would be a surprise. */
static Err *expand_path(const char *path, char **out)
{
    const char *pct = strchr(path, '%');

    if (pct && (pct[1] != 'd' || strchr(pct + 1, '%')))
        return err_hint(err(ERR_INVALID, "-D: '%s' is no name for a log file", path),
                        "The only use of %% is one %%d, which becomes the process id.");
    if (pct)
        *out = g_strdup_printf("%.*s%d%s", (int)(pct - path), path, (int)getpid(), pct + 2);
    else
        *out = g_strdup(path);
    return NULL;
}

Err *log_set_file(const char *path)
{
    char *name = NULL;

    TRY(expand_path(path, &name));
    FILE *f = fopen(name, "we");
    if (!f) {
        Err *e = err_path(errno, name, "-D: cannot write the log file '%s'", name);
        g_free(name);
        return e;
    }
    g_free(name);
    /* Other threads may be writing: the stream stays, what is behind it changes. */
    if (log_file) {
        flockfile(log_file);
        fflush(log_file);
        bool moved = dup3(fileno(f), fileno(log_file), O_CLOEXEC) >= 0;
        funlockfile(log_file);
        int why = errno;
        fclose(f);
        return moved ? NULL : err_errno(why, "-D: cannot change the log file");
    }
    setvbuf(f, NULL, _IOLBF, 1 << 16);
    log_file = f;
    return NULL;
}

void log_close(void)
{
    if (log_file)
        fclose(log_file);
    log_file = NULL;
}

static Err *parse_range(const char *text, Range *r)
{
    const char *two = strstr(text, ".."), *op = two ? two : strpbrk(text, "+-");
    char *left = op ? g_strndup(text, op - text) : g_strdup(text);
    uint64_t a, b = 0;
    Err *e = parse_num(left, &a);

    g_free(left);
    if (!e && op)
        e = parse_num(op + (two ? 2 : 1), &b);
    if (e)
        return e;
    *r = (Range){ a, a };
    if (two) {
        r->last = b;
    } else if (op && *op == '+') {
        r->last = b && __builtin_add_overflow(a, b - 1, &r->last) ? UINT64_MAX : a + b - 1;
        if (!b)
            return err(ERR_INVALID, "the range is empty");
    } else if (op) {
        r->first = b > a ? 0 : a - b;
    }
    if (r->first > r->last)
        return err(ERR_INVALID, "the range is empty");
    return NULL;
}

Err *log_set_filter(const char *text)
{
    char **words = g_strsplit(text, ",", -1);
    Err *e = NULL;

    if (!ranges)
        ranges = g_array_new(FALSE, FALSE, sizeof(Range));
    for (char **w = words; *w && !e; w++) {
        Range r;

        e = err_in(parse_range(*w, &r), "-dfilter '%s'", *w);
        if (!e)
            g_array_append_val(ranges, r);
    }
    g_strfreev(words);
    if (!e)
        log_filtered = true;
    return err_hint(e, "A range is FIRST..LAST, ADDRESS+LENGTH or ADDRESS-LENGTH.");
}

char *log_help(void)
{
    GString *s = g_string_new("What -d can log (separate with commas, take away with '-NAME'):\n");

    for (size_t i = 0; i < G_N_ELEMENTS(items); i++)
        g_string_append_printf(s, "  %-16s %s\n", items[i].name, items[i].doc);
    g_string_append_printf(s, "  %-16s %s\n", "all", "all of these");
    g_string_append_printf(s, "  %-16s %s\n", "trace:PATTERN", "trace points, see -trace help");
    return g_string_free(s, FALSE);
}
