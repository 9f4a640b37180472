/* SPDX-License-Identifier: MIT */
/*
 * Errors of control paths, and the search for the name that was meant.
 *
 * The distance is Damerau-Levenshtein in its restricted form (optimal string
 * alignment): insert, delete, replace, and swap of two neighbours cost 1 each.
 */
#include "util/err.h"

#include <ctype.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

struct Err {
    ErrClass cls;
    char *text;
    char *hint;         /* or NULL */
};

static Err *err_take(ErrClass cls, char *text)
{
    Err *e = g_new0(Err, 1);

    e->cls = cls;
    e->text = text;
    return e;
}

Err *err(ErrClass cls, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return err_take(cls, text);
}

Err *err_errno(int errnum, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    char *what = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    char *text = g_strdup_printf("%s: %s", what, g_strerror(errnum));
    g_free(what);
    return err_take(ERR_IO, text);
}

Err *err_in(Err *e, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return NULL;
    va_start(ap, fmt);
    char *where = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    char *text = g_strdup_printf("%s: %s", where, e->text);
    g_free(where);
    g_free(e->text);
    e->text = text;
    return e;
}

Err *err_hint(Err *e, const char *fmt, ...)
{
    va_list ap;

    if (!e)
        return NULL;
    va_start(ap, fmt);
    char *more = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    if (e->hint) {
        char *both = g_strdup_printf("%s\n%s", e->hint, more);
        g_free(e->hint);
        g_free(more);
        e->hint = both;
    } else {
        e->hint = more;
    }
    return e;
}

const char *err_text(const Err *e)
{
    return e->text;
}

const char *err_hint_text(const Err *e)
{
    return e->hint;
}

ErrClass err_class(const Err *e)
{
    return e->cls;
}

void err_free(Err *e)
{
    if (!e)
        return;
    g_free(e->text);
    g_free(e->hint);
    g_free(e);
}

void err_report(Err *e)
{
    const char *prog = g_get_prgname();

    /* One write, so that lines of several threads do not mix. */
    char *all = g_strdup_printf("%s: %s\n%s%s", prog ? prog : "lyre", e->text,
                                e->hint ? e->hint : "", e->hint ? "\n" : "");
    fflush(stdout);
    fputs(all, stderr);
    fflush(stderr);
    g_free(all);
    err_free(e);
}

void err_note(const char *fmt, ...)
{
    const char *prog = g_get_prgname();
    va_list ap;

    va_start(ap, fmt);
    char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    fflush(stdout);
    fprintf(stderr, "%s: note: %s\n", prog ? prog : "lyre", text);
    g_free(text);
}

#define NAME_MAX_LEN 63     /* longer words are compared by their beginning */

static int min3(int a, int b, int c)
{
    int m = a < b ? a : b;

    return m < c ? m : c;
}

static int name_distance(const char *a, int la, const char *b, int lb)
{
    int d[NAME_MAX_LEN + 1][NAME_MAX_LEN + 1];

    for (int i = 0; i <= la; i++)
        d[i][0] = i;
    for (int j = 0; j <= lb; j++)
        d[0][j] = j;
    for (int i = 1; i <= la; i++) {
        for (int j = 1; j <= lb; j++) {
            char ca = tolower((unsigned char)a[i - 1]);
            char cb = tolower((unsigned char)b[j - 1]);

            d[i][j] = min3(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == tolower((unsigned char)b[j - 2]) &&
                cb == tolower((unsigned char)a[i - 2]) && d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    }
    return d[la][lb];
}

const char *nearest_name(const char *word, const char *const *names)
{
    int lw = strnlen(word, NAME_MAX_LEN);
    int best = 1 + lw / 3;      /* more edits than this is another word */
    const char *found = NULL;

    if (!lw)
        return NULL;
    for (; *names; names++) {
        int ln = strnlen(*names, NAME_MAX_LEN);
        int n = name_distance(word, lw, *names, ln);

        /* All edits of a short word leave nothing of it. */
        if (n >= lw || n >= ln)
            continue;
        if (n < best || (n == best && !found)) {
            best = n;
            found = *names;
        }
    }
    return found;
}
