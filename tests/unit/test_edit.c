/* SPDX-License-Identifier: MIT */
/* The console's line editor: keys go in, a small terminal shows what comes out; its screen and the line must agree. */
#include <glib.h>
#include <stdbool.h>
#include <string.h>

#include "monitor/hmp/edit.h"
#include "tests/unit/test.h"

/* ---- a terminal: letters, \r \n \b, the sequences that the editor uses; at the right edge it waits, as xterm does */

enum { ROWS = 12, COLS = 20 };

typedef struct Term {
    char cell[ROWS][COLS + 1];
    int row, col, arg;
    bool esc, csi, told_size;
    GString *lines;             /* finished ones, each with \n */
    LineEdit *e;
} Term;

static void erase_below(Term *t)
{
    memset(t->cell[t->row] + MIN(t->col, COLS - 1), ' ', (size_t)(COLS - MIN(t->col, COLS - 1)));
    for (int r = t->row + 1; r < ROWS; r++)
        memset(t->cell[r], ' ', COLS);
}

static void newline(Term *t)
{
    if (t->row < ROWS - 1) {
        t->row++;
        return;
    }
    memmove(t->cell[0], t->cell[1], sizeof(t->cell[0]) * (ROWS - 1));
    memset(t->cell[ROWS - 1], ' ', COLS);
}

static void csi(Term *t, char c)
{
    int n = t->arg ? t->arg : 1;

    switch (c) {
    case 'A': t->row = MAX(t->row - n, 0); break;
    case 'B': t->row = MIN(t->row + n, ROWS - 1); break;
    case 'C': t->col = MIN(t->col + n, COLS - 1); break;
    case 'D': t->col = MAX(t->col - n, 0); break;
    case 'H': t->row = t->col = 0; break;
    case 'J':
        if (t->arg == 2) {
            int row = t->row, col = t->col;
            t->row = t->col = 0;
            erase_below(t);
            t->row = row, t->col = col;
        } else {
            erase_below(t);
        }
        break;
    default: CHECK(!"a sequence that this terminal has not"); break;
    }
}

static void show(Term *t, char c)
{
    if (t->csi) {
        if (g_ascii_isdigit(c)) {
            t->arg = t->arg * 10 + (c - '0');
            return;
        }
        t->csi = false;
        csi(t, c);
    } else if (t->esc) {
        t->esc = false;
        t->csi = c == '[';
        t->arg = 0;
        CHECK(t->csi);
    } else if (c == 27) {
        t->esc = true;
    } else if (c == '\r') {
        t->col = 0;
    } else if (c == '\n') {
        newline(t);
    } else if (c == '\b') {
        t->col = MAX(MIN(t->col, COLS - 1) - 1, 0);
    } else if (((uint8_t)c & 0xc0) != 0x80) {
        if (t->col == COLS) {
            t->col = 0;
            newline(t);
        }
        t->cell[t->row][t->col++] = (uint8_t)c < 0x80 ? c : '?';
    }
}

static void put(void *opaque, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        show(opaque, text[i]);
}

static void line(void *opaque, const char *text)
{
    Term *t = opaque;

    g_string_append_printf(t->lines, "%s\n", text);
}

static char **complete(void *opaque, const char *before, size_t *from)
{
    static const char *const words[] = { "info ", "inject ", "stop ", "system_reset ", "system_wakeup ", NULL };
    GPtrArray *out = g_ptr_array_new();

    *from = 0;
    for (const char *const *w = words; *w; w++) {
        if (g_str_has_prefix(*w, before))
            g_ptr_array_add(out, g_strdup(*w));
    }
    g_ptr_array_add(out, NULL);
    return (char **)g_ptr_array_free(out, FALSE);
}

static int columns(void *opaque)
{
    return ((Term *)opaque)->told_size ? COLS : 0;
}

static void term_make(Term *t, bool told_size)
{
    const LineEditHost host = { .prompt = "> ", .put = put, .line = line, .complete = complete, .columns = columns, .opaque = t };

    *t = (Term){ .told_size = told_size, .lines = g_string_new(NULL) };
    memset(t->cell, ' ', sizeof(t->cell));
    for (int i = 0; i < ROWS; i++)
        t->cell[i][COLS] = 0;
    t->e = line_edit_new(&host);
    line_edit_start(t->e);
}

static void term_free(Term *t)
{
    line_edit_free(t->e);
    g_string_free(t->lines, TRUE);
}

static void type(Term *t, const char *keys)
{
    for (; *keys; keys++)
        line_edit_key(t->e, *keys);
}

/* The screen from row `from` to the last that is not empty, rows joined by '|' where they are not full, without blanks at ends. */
static char *screen(const Term *t)
{
    GString *s = g_string_new(NULL);

    for (int r = 0; r < ROWS; r++) {
        g_autofree char *row = g_strchomp(g_strdup(t->cell[r]));
        g_string_append_printf(s, "%s|", row);
    }
    while (g_str_has_suffix(s->str, "||"))
        g_string_truncate(s, s->len - 1);
    return g_string_free(s, FALSE);
}

/* ---- keys and what they make: the line, the cursor in it, the lines that were finished, the screen */

#define A "\1"
#define B "\2"
#define C "\3"
#define D "\4"
#define E "\5"
#define F "\6"
#define H "\10"
#define K "\13"
#define L "\14"
#define N "\16"
#define P "\20"
#define T "\24"
#define U "\25"
#define W "\27"
#define Y "\31"
#define UP "\33[A"
#define DOWN "\33[B"
#define RIGHT "\33[C"
#define LEFT "\33[D"

static const struct { const char *keys, *line; int at; const char *done, *screen; } rows[] = {
    { "", "", 0, "", ">|" },
    { "stop", "stop", 4, "", "> stop|" },
    { "stop\r", "", 0, "stop\n", "> stop|>|" },
    { "a\r\nb\nc\r", "", 0, "a\nb\nc\n", "> a|> b|> c|>|" },
    { "abc" H "\177", "a", 1, "", "> a|" },
    { H D "x", "x", 1, "", "> x|" },
    /* moving */
    { "abc" LEFT LEFT "X", "aXbc", 2, "", "> aXbc|" },
    { "abc" A "X" E "Y", "XabcY", 5, "", "> XabcY|" },
    { "abc\33[HX\33[FY", "XabcY", 5, "", "> XabcY|" },
    { "abc\33OHX\33OFY", "XabcY", 5, "", "> XabcY|" },
    { "abc\33[1~X\33[4~Y\33[7~Z\33[8~!", "ZXabcY!", 7, "", "> ZXabcY!|" },
    { "abc" B B F "X", "abXc", 3, "", "> abXc|" },
    { "abc" LEFT LEFT LEFT LEFT RIGHT "X", "aXbc", 2, "", "> aXbc|" },
    { "abc" RIGHT "X", "abcX", 4, "", "> abcX|" },
    { "one two\33[1;5DX", "one Xtwo", 5, "", "> one Xtwo|" },
    { "one two" A "\33[1;5CX", "oneX two", 4, "", "> oneX two|" },
    { "one two\33b\33bX\33fY", "XoneY two", 5, "", "> XoneY two|" },
    /* deleting */
    { "abc" LEFT H, "ac", 1, "", "> ac|" },
    { "abc" A D, "bc", 0, "", "> bc|" },
    { "abc" A "\33[3~", "bc", 0, "", "> bc|" },
    { "abcdef" LEFT LEFT K, "abcd", 4, "", "> abcd|" },
    { "abcdef" LEFT LEFT U, "ef", 0, "", "> ef|" },
    { "one two  " W, "one ", 4, "", "> one|" },
    { "one two" W W W, "", 0, "", ">|" },
    { "one two\33\177", "one ", 4, "", "> one|" },
    { "one two" A "\33d", " two", 0, "", ">  two|" },
    { "one two" W A Y, "twoone ", 3, "", "> twoone|" },
    { "abcd" T, "abdc", 4, "", "> abdc|" },
    { "abcd" A F T, "bacd", 2, "", "> bacd|" },
    { "a" T, "a", 1, "", "> a|" },
    { "abc" C "x", "x", 1, "", "> abc^C|> x|" },
    /* history */
    { "a\rb\r" UP, "b", 1, "a\nb\n", "> a|> b|> b|" },
    { "a\rb\r" UP UP UP, "a", 1, "a\nb\n", "> a|> b|> a|" },
    { "a\rb\rxy" P P N N, "xy", 2, "a\nb\n", "> a|> b|> xy|" },
    { "a\rb\rxy" UP DOWN DOWN, "xy", 2, "a\nb\n", "> a|> b|> xy|" },
    { "long line\rb\r" UP UP UP DOWN, "b", 1, "long line\nb\n", "> long line|> b|> b|" },
    { "a\ra\r\r  \rb\r" UP UP "!\r", "", 0, "a\na\n\n  \nb\na!\n", "> a|> a|>|>|> b|> a!|>|" },
    { "a\r" UP "x" C UP, "a", 1, "a\n", "> a|> ax^C|> a|" },
    /* completion */
    { "inf\t", "info ", 5, "", "> info|" },
    { "in\t", "in", 2, "", "> in|info     inject|> in|" },
    { "sy\t", "system_", 7, "", "> system_|" },
    { "system_\tw\t", "system_wakeup ", 14, "", "> system_|system_reset|system_wakeup|> system_wakeup|" },
    { "x\t", "x", 1, "", "> x|" },
    { "stXX" LEFT LEFT "\t", "stop XX", 5, "", "> stop XX|" },
    { "inXX" LEFT LEFT "\t!", "in!XX", 3, "", "> inXX|info     inject|> in!XX|" },
    /* the screen */
    { "ab\rcd" LEFT L, "cd", 1, "ab\n", "> cd|" },
    { "abcdefghijklmnopqr", "abcdefghijklmnopqr", 18, "", "> abcdefghijklmnopqr|" },
    { "abcdefghijklmnopqrstuv", "abcdefghijklmnopqrstuv", 22, "", "> abcdefghijklmnopqr|stuv|" },
    { "abcdefghijklmnopqrstuv" A "X", "Xabcdefghijklmnopqrstuv", 1, "", "> Xabcdefghijklmnopq|rstuv|" },
    { "abcdefghijklmnopqrs" LEFT LEFT "X", "abcdefghijklmnopqXrs", 18, "", "> abcdefghijklmnopqX|rs|" },
    { "abcdefghijklmnopqrstuv" A E "X", "abcdefghijklmnopqrstuvX", 23, "", "> abcdefghijklmnopqr|stuvX|" },
    { "abcdefghijklmnopqrstuv" A K "x", "x", 1, "", "> x|" },
    { "abcdefghijklmnopqrstuv\ra\r" UP UP, "abcdefghijklmnopqrstuv", 22, "abcdefghijklmnopqrstuv\na\n",
      "> abcdefghijklmnopqr|stuv|> a|> abcdefghijklmnopqr|stuv|" },
    { "abcdefghijklmnopqrstuv\ra\r" UP UP DOWN, "a", 1, "abcdefghijklmnopqrstuv\na\n", "> abcdefghijklmnopqr|stuv|> a|> a|" },
    { "abcdefghijklmnopqrst" H H H "X", "abcdefghijklmnopqX", 18, "", "> abcdefghijklmnopqX|" },
    /* UTF-8, sequences that mean nothing here, bytes that are none */
    { "\303\244\303\266" H "x", "\303\244x", 3, "", "> ?x|" },
    { "\303\244b" LEFT LEFT D, "b", 0, "", "> b|" },
    { "a\33[5~\33[Zb\33x\33[200~c", "abc", 3, "", "> abc|" },
    { "a\33[1;2;3;4;5;6;7;8;9;10;11~b", "a1;9;10;11~b", -1, NULL, NULL },
    { "a\33\33[Db", "ba", 1, "", "> ba|" },
    { "a\33[\rb", "b", 1, "a\n", "> a|> b|" },
    { "\32\34\36a", "a", 1, "", "> a|" },
};

static void test_keys(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Term t;

        term_make(&t, true);
        type(&t, rows[i].keys);
        if (rows[i].screen) {
            g_autofree char *have = screen(&t);

            CHECK_STR(line_edit_text(t.e), rows[i].line);
            CHECK_EQ((int)line_edit_at(t.e), rows[i].at);
            CHECK_STR(t.lines->str, rows[i].done);
            CHECK_STR(have, rows[i].screen);
            /* the cursor is where the next letter would be */
            int at = 2;
            for (size_t k = 0; k < line_edit_at(t.e); k++)
                at += ((uint8_t)line_edit_text(t.e)[k] & 0xc0) != 0x80;
            CHECK_EQ(t.col % COLS, at % COLS);
        }
        term_free(&t);
    }
}

/* Nobody knows how wide the screen is: lines that fit are the same. */
static void test_unknown_width(void)
{
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        Term t;

        if (strlen(rows[i].keys) > 17 || !rows[i].screen)
            continue;
        term_make(&t, false);
        type(&t, rows[i].keys);
        g_autofree char *have = screen(&t);
        CHECK_STR(line_edit_text(t.e), rows[i].line);
        if (!strchr(rows[i].keys, '\t'))
            CHECK_STR(have, rows[i].screen);
        term_free(&t);
    }
}

static void test_bounds(void)
{
    Term t;

    term_make(&t, true);
    for (int i = 0; i < EDIT_LINE + 100; i++)
        line_edit_key(t.e, 'x');
    CHECK_EQ(strlen(line_edit_text(t.e)), EDIT_LINE);
    type(&t, U);
    for (int i = 0; i < EDIT_HISTORY + 50; i++) {
        g_autofree char *text = g_strdup_printf("%d\r", i);
        type(&t, text);
    }
    CHECK_STR(line_edit_past(t.e, 0), "50");
    CHECK(!line_edit_past(t.e, EDIT_HISTORY));
    line_edit_start(t.e);               /* another peer: the history stays */
    type(&t, UP);
    CHECK_STR(line_edit_text(t.e), "177");
    term_free(&t);
}

/* Any keys: the screen's line is the line. */
static void test_random(void)
{
    static const char *const keys[] = { "a", "b", " ", "c", "in", A, B, D, E, F, H, K, T, U, W, Y, UP, DOWN, LEFT, RIGHT, "\33b", "\33f", "\33d",
                                        "\t", "\r", C, L, "\33[3~", "\33" };
    GRand *r = g_rand_new_with_seed(7);

    for (int run = 0; run < 300; run++) {
        Term t;

        term_make(&t, true);
        for (int i = 0; i < 60; i++)
            type(&t, keys[g_rand_int_range(r, 0, G_N_ELEMENTS(keys))]);
        g_autofree char *want = g_strdup_printf("> %s", line_edit_text(t.e));
        int width = (int)strlen(want), at = 2 + (int)line_edit_at(t.e), top = t.row - at / COLS;
        for (int i = 0; top >= 0 && i < width && top + i / COLS < ROWS; i++)
            CHECK_EQ(t.cell[top + i / COLS][i % COLS], want[i]);
        CHECK_EQ(t.col % COLS, at % COLS);
        term_free(&t);
    }
    g_rand_free(r);
}

int main(void)
{
    RUN(test_keys);
    RUN(test_unknown_width);
    RUN(test_bounds);
    RUN(test_random);
    return test_end();
}
