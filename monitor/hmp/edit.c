/* SPDX-License-Identifier: MIT */
/*
 * The editor writes as little as it can: what is typed at the end is the letter
 * alone, so that a file of commands reads well in a log. Keys are those of
 * readline's emacs mode; sequences are ECMA-48's as xterm and the Linux console
 * send them. A letter of UTF-8 is one column, however wide it is.
 */
#include "monitor/hmp/edit.h"

#include <glib.h>
#include <stdbool.h>
#include <string.h>

enum { CTRL_A = 1, CTRL_B, CTRL_C, CTRL_D, CTRL_E, CTRL_F, CTRL_H = 8, TAB, LF, CTRL_K, CTRL_L, CR, CTRL_N, CTRL_P = 16, CTRL_T = 20,
       CTRL_U, CTRL_W = 23, CTRL_Y = 25, ESC = 27, DEL = 127 };
enum { SEQUENCE = 16 };

struct LineEdit {
    LineEditHost host;
    GString *line, *draft, *killed;     /* draft: what was typed before the history was looked at; killed: for Ctrl-Y */
    size_t at;                          /* of the cursor */
    GPtrArray *past;
    unsigned shown;                     /* of the history; past->len: none */
    char seq[SEQUENCE];                 /* after ESC: what came of a sequence */
    size_t nseq;
    bool in_seq, after_cr;
};

/* ---- the screen */

static void put(LineEdit *e, const char *text, size_t n)
{
    if (n)
        e->host.put(e->host.opaque, text, n);
}

static void puts_(LineEdit *e, const char *text)
{
    put(e, text, strlen(text));
}

static int columns(const LineEdit *e)
{
    return e->host.columns ? e->host.columns(e->host.opaque) : 0;
}

static bool inside(char c)              /* a letter of several bytes */
{
    return ((uint8_t)c & 0xc0) == 0x80;
}

static int letters(const char *s, size_t n)
{
    int count = 0;

    for (size_t i = 0; i < n; i++)
        count += !inside(s[i]);
    return count;
}

/* Columns from the screen's left edge, rows as if it was one long one. */
static int place(const LineEdit *e, size_t at)
{
    return (int)strlen(e->host.prompt) + letters(e->line->str, at);
}

/* Writes the line from..to, and has the cursor really be behind it: at the right edge a terminal waits for more. */
static void show(LineEdit *e, size_t from, size_t to)
{
    int cols = columns(e);

    put(e, e->line->str + from, to - from);
    if (to > from && cols && place(e, to) % cols == 0)
        puts_(e, " \b");
}

/* The cursor is shown at `from`; it shall be at `to`, which is before it. */
static void back(LineEdit *e, size_t from, size_t to)
{
    int a = place(e, from), b = place(e, to), cols = columns(e);
    int rows = cols ? a / cols - b / cols : 0;

    if (rows) {
        g_autofree char *up = g_strdup_printf("\033[%dA\r", rows);

        puts_(e, up);
        if (b % cols) {
            g_autofree char *right = g_strdup_printf("\033[%dC", b % cols);
            puts_(e, right);
        }
        return;
    }
    for (; a > b; a--)
        puts_(e, "\b");
}

static void go(LineEdit *e, size_t to)
{
    if (to > e->at)
        show(e, e->at, to);
    else
        back(e, e->at, to);
    e->at = to;
}

/* The line is another from the cursor on; it shall be at `at`. */
static void redraw(LineEdit *e, size_t from, size_t at, bool shorter)
{
    show(e, from, e->line->len);
    if (shorter)
        puts_(e, "\033[J");
    back(e, e->line->len, at);
    e->at = at;
}

static void redraw_all(LineEdit *e)
{
    puts_(e, e->host.prompt);
    redraw(e, 0, e->at, false);
}

/* ---- editing */

static size_t before(const LineEdit *e, size_t at)
{
    while (at && inside(e->line->str[--at]))
        ;
    return at;
}

static size_t after(const LineEdit *e, size_t at)
{
    if (at < e->line->len)
        at++;
    while (at < e->line->len && inside(e->line->str[at]))
        at++;
    return at;
}

static size_t word_before(const LineEdit *e)
{
    size_t at = e->at;

    while (at && e->line->str[at - 1] == ' ')
        at--;
    while (at && e->line->str[at - 1] != ' ')
        at--;
    return at;
}

static size_t word_after(const LineEdit *e)
{
    size_t at = e->at;

    while (at < e->line->len && e->line->str[at] == ' ')
        at++;
    while (at < e->line->len && e->line->str[at] != ' ')
        at++;
    return at;
}

static void insert(LineEdit *e, const char *text, size_t n)
{
    n = MIN(n, EDIT_LINE - MIN(e->line->len, (gsize)EDIT_LINE));
    if (!n)
        return;
    g_string_insert_len(e->line, (gssize)e->at, text, (gssize)n);
    redraw(e, e->at, e->at + n, false);
}

static void delete(LineEdit *e, size_t from, size_t to, bool keep)
{
    if (from == to)
        return;
    if (keep) {
        g_string_truncate(e->killed, 0);
        g_string_append_len(e->killed, e->line->str + from, (gssize)(to - from));
    }
    if (from < e->at)
        go(e, from);
    g_string_erase(e->line, (gssize)from, (gssize)(to - from));
    redraw(e, from, from, true);
}

static void replace(LineEdit *e, const char *text)
{
    go(e, 0);
    g_string_assign(e->line, text);
    redraw(e, 0, e->line->len, true);
}

/* ---- history */

static void look_back(LineEdit *e, int step)
{
    unsigned to = e->shown + (unsigned)step;

    if (to > e->past->len)              /* below 0 as well */
        return;
    if (e->shown == e->past->len)
        g_string_assign(e->draft, e->line->str);
    e->shown = to;
    replace(e, to == e->past->len ? e->draft->str : g_ptr_array_index(e->past, to));
}

static void remember(LineEdit *e)
{
    const char *last = e->past->len ? g_ptr_array_index(e->past, e->past->len - 1) : "";

    if (e->line->str[strspn(e->line->str, " ")] && strcmp(e->line->str, last))
        g_ptr_array_add(e->past, g_strdup(e->line->str));
    if (e->past->len > EDIT_HISTORY)
        g_ptr_array_remove_index(e->past, 0);
    e->shown = e->past->len;
}

static void finish(LineEdit *e)
{
    go(e, e->line->len);
    puts_(e, "\r\n");
    remember(e);
    g_autofree char *line = g_strdup(e->line->str);
    g_string_truncate(e->line, 0);
    e->at = 0;
    e->host.line(e->host.opaque, line);
    redraw_all(e);
}

/* ---- completion */

static size_t alike(char *const *words)
{
    size_t n = strlen(words[0]);

    for (char *const *w = words + 1; *w; w++) {
        size_t i = 0;

        while (i < n && (*w)[i] == words[0][i])
            i++;
        n = i;
    }
    while (n && inside(words[0][n]))
        n--;
    return n;
}

static void list(LineEdit *e, char *const *words)
{
    int width = columns(e) ? columns(e) : 80;
    size_t widest = 0, n = 0;

    for (char *const *w = words; *w; w++, n++)
        widest = MAX(widest, strlen(*w));
    size_t per_row = MAX((size_t)width / (widest + 2), (size_t)1), rows = (n + per_row - 1) / per_row;
    for (size_t r = 0; r < rows; r++) {
        puts_(e, "\r\n");
        for (size_t i = r; i < n; i += rows) {
            g_autofree char *cell = i + rows < n ? g_strdup_printf("%-*s", (int)widest + 2, words[i]) : g_strdup(words[i]);
            puts_(e, cell);
        }
    }
    puts_(e, "\r\n");
}

static void complete(LineEdit *e)
{
    g_autofree char *head = g_strndup(e->line->str, e->at);
    size_t from = e->at;
    g_auto(GStrv) words = e->host.complete ? e->host.complete(e->host.opaque, head, &from) : NULL;

    if (!words || !words[0])
        return;
    size_t n = alike(words), had = e->at - MIN(from, e->at);
    if (n > had && !strncmp(words[0], e->line->str + from, had)) {
        insert(e, words[0] + had, n - had);
        return;
    }
    if (!words[1])
        return;
    size_t at = e->at;
    go(e, e->line->len);
    list(e, words);
    e->at = at;
    redraw_all(e);
}

/* ---- keys */

static void clear_screen(LineEdit *e)
{
    puts_(e, "\033[2J\033[H");
    redraw_all(e);
}

static void swap_letters(LineEdit *e)
{
    size_t at = e->at == e->line->len ? before(e, e->at) : e->at;
    size_t left = before(e, at), right = after(e, at);

    if (!at || left == at || right == at)
        return;
    g_autofree char *one = g_strndup(e->line->str + left, at - left), *two = g_strndup(e->line->str + at, right - at);
    go(e, left);
    memcpy(e->line->str + left, two, strlen(two));
    memcpy(e->line->str + left + strlen(two), one, strlen(one));
    redraw(e, left, right, false);
}

static void give_up(LineEdit *e)
{
    go(e, e->line->len);
    puts_(e, "^C\r\n");
    g_string_truncate(e->line, 0);
    e->at = 0;
    e->shown = e->past->len;
    redraw_all(e);
}

static void control(LineEdit *e, char c)
{
    switch (c) {
    case CTRL_A: go(e, 0); break;
    case CTRL_B: go(e, before(e, e->at)); break;
    case CTRL_C: give_up(e); break;
    case CTRL_D: delete(e, e->at, after(e, e->at), false); break;
    case CTRL_E: go(e, e->line->len); break;
    case CTRL_F: go(e, after(e, e->at)); break;
    case CTRL_H: case DEL: delete(e, before(e, e->at), e->at, false); break;
    case TAB:    complete(e); break;
    case CTRL_K: delete(e, e->at, e->line->len, true); break;
    case CTRL_L: clear_screen(e); break;
    case CTRL_N: look_back(e, 1); break;
    case CTRL_P: look_back(e, -1); break;
    case CTRL_T: swap_letters(e); break;
    case CTRL_U: delete(e, 0, e->at, true); break;
    case CTRL_W: delete(e, word_before(e), e->at, true); break;
    case CTRL_Y: insert(e, e->killed->str, e->killed->len); break;
    default: break;
    }
}

/* A whole sequence behind ESC. */
static void sequence(LineEdit *e, const char *s)
{
    static const struct { const char *seq; char key; } keys[] = {
        { "[A", CTRL_P }, { "[B", CTRL_N }, { "[C", CTRL_F }, { "[D", CTRL_B }, { "OA", CTRL_P }, { "OB", CTRL_N }, { "OC", CTRL_F },
        { "OD", CTRL_B }, { "[H", CTRL_A }, { "[F", CTRL_E }, { "OH", CTRL_A }, { "OF", CTRL_E }, { "[1~", CTRL_A }, { "[7~", CTRL_A },
        { "[4~", CTRL_E }, { "[8~", CTRL_E }, { "[3~", CTRL_D }, { "\177", CTRL_W }, { "\b", CTRL_W },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (!strcmp(s, keys[i].seq)) {
            control(e, keys[i].key);
            return;
        }
    }
    if (!strcmp(s, "[1;5D") || !strcmp(s, "[1;3D") || !strcmp(s, "b"))
        go(e, word_before(e));
    else if (!strcmp(s, "[1;5C") || !strcmp(s, "[1;3C") || !strcmp(s, "f"))
        go(e, word_after(e));
    else if (!strcmp(s, "d"))
        delete(e, e->at, word_after(e), true);
}

/* A letter more of it; '[' and 'O' go on to a letter or '~'. */
static void sequence_key(LineEdit *e, char c)
{
    if (c == ESC) {
        e->nseq = 0;
        return;
    }
    bool first = !e->nseq, too_long = e->nseq + 1 >= SEQUENCE;

    if (!too_long)
        e->seq[e->nseq++] = c;
    if ((first && (c == '[' || c == 'O')) || (!first && c >= ' ' && c < '@' && !too_long))
        return;
    e->seq[e->nseq] = 0;
    e->in_seq = false;
    if (!too_long)
        sequence(e, e->seq);
}

void line_edit_key(LineEdit *e, char c)
{
    bool after_cr = e->after_cr;

    e->after_cr = c == CR;
    if (c == LF && after_cr)
        return;
    if (e->in_seq && c != CR && c != LF) {
        sequence_key(e, c);
        return;
    }
    e->in_seq = c == ESC;
    e->nseq = 0;
    if (c == CR || c == LF)
        finish(e);
    else if ((uint8_t)c >= ' ' && c != DEL)
        insert(e, &c, 1);
    else
        control(e, c);
}

/* ---- its life */

LineEdit *line_edit_new(const LineEditHost *host)
{
    LineEdit *e = g_new0(LineEdit, 1);

    e->host = *host;
    e->line = g_string_new(NULL);
    e->draft = g_string_new(NULL);
    e->killed = g_string_new(NULL);
    e->past = g_ptr_array_new_with_free_func(g_free);
    return e;
}

void line_edit_free(LineEdit *e)
{
    g_string_free(e->line, TRUE);
    g_string_free(e->draft, TRUE);
    g_string_free(e->killed, TRUE);
    g_ptr_array_free(e->past, TRUE);
    g_free(e);
}

void line_edit_start(LineEdit *e)
{
    g_string_truncate(e->line, 0);
    e->at = 0;
    e->in_seq = e->after_cr = false;
    e->shown = e->past->len;
    redraw_all(e);
}

const char *line_edit_text(const LineEdit *e) { return e->line->str; }
size_t line_edit_at(const LineEdit *e) { return e->at; }

const char *line_edit_past(const LineEdit *e, unsigned i)
{
    return i < e->past->len ? g_ptr_array_index(e->past, i) : NULL;
}
