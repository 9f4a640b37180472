/* SPDX-License-Identifier: MIT */
/* See monitor/qmp/split.h. What is inside of a value is the JSON parser's affair, but for quotes and brackets. */
#include "monitor/qmp/split.h"

#include <errno.h>
#include <math.h>
#include <string.h>

void split_init(Splitter *s, void (*value)(void *, const char *, size_t, const char *), void *opaque)
{
    *s = (Splitter){ .text = g_string_new(NULL), .value = value, .opaque = opaque };
}

void split_clear(Splitter *s)
{
    if (s->text)
        g_string_free(s->text, TRUE);
    s->text = NULL;
}

/* A huge message's memory is not kept. */
void split_reset(Splitter *s)
{
    if (s->text->allocated_len > 1 << 16) {
        g_string_free(s->text, TRUE);
        s->text = g_string_new(NULL);
    }
    g_string_truncate(s->text, 0);
    s->depth = s->skip = 0;
    s->quote = 0;
    s->escaped = false;
}

static void done(Splitter *s)
{
    GString *text = s->text;

    s->text = g_string_new(NULL);
    split_reset(s);
    s->value(s->opaque, text->str, text->len, NULL);
    g_string_free(text, TRUE);
}

static void wrong(Splitter *s, const char *what)
{
    split_reset(s);
    s->value(s->opaque, NULL, 0, what);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void in_string(Splitter *s, char c)
{
    if (s->quote == '\'' && c == '\'' && s->escaped) {
        g_string_truncate(s->text, s->text->len - 1);
        g_string_append_c(s->text, c);
        s->escaped = false;
    } else if (s->escaped) {
        g_string_append_c(s->text, c);
        s->escaped = false;
    } else if (c == '\\') {
        g_string_append_c(s->text, c);
        s->escaped = true;
    } else if (c == s->quote) {
        g_string_append_c(s->text, '"');
        s->quote = 0;
        if (!s->depth)
            done(s);
    } else if (c == '"') {
        g_string_append(s->text, "\\\"");
    } else {
        g_string_append_c(s->text, c);
    }
}

static void close_bracket(Splitter *s, char c)
{
    if (!s->depth || s->nest[s->depth - 1] != c) {
        wrong(s, "a bracket that closes nothing");
        return;
    }
    g_string_append_c(s->text, c);
    if (!--s->depth)
        done(s);
}

static void open_bracket(Splitter *s, char c)
{
    if (!s->depth && s->text->len)
        done(s);
    if (s->depth == SPLIT_DEPTH) {
        unsigned deep = s->depth + 1;

        wrong(s, "too many nested values");
        s->skip = deep;
        return;
    }
    s->nest[s->depth++] = c == '{' ? '}' : ']';
    g_string_append_c(s->text, c);
}

static void outside(Splitter *s, char c)
{
    switch (c) {
    case '{': case '[':
        open_bracket(s, c);
        break;
    case '}': case ']':
        close_bracket(s, c);
        break;
    case '"': case '\'':
        if (!s->depth && s->text->len)
            done(s);
        s->quote = c;
        g_string_append_c(s->text, '"');
        break;
    default:
        if (is_blank(c) && !s->depth) {
            if (s->text->len)
                done(s);            /* a number or word at the top */
        } else if ((uint8_t)c >= 0x80 || ((uint8_t)c < 0x20 && !is_blank(c))) {
            wrong(s, "a byte that JSON has not");
        } else {
            g_string_append_c(s->text, c);
        }
    }
}

/* What was too much is passed over until its brackets are closed, quotes minded. */
static void skip(Splitter *s, char c)
{
    if (s->quote) {
        if (!s->escaped && c == s->quote)
            s->quote = 0;
        s->escaped = !s->escaped && c == '\\';
    } else if (c == '"' || c == '\'') {
        s->quote = c;
    } else if (c == '{' || c == '[') {
        s->skip++;
    } else if (c == '}' || c == ']') {
        s->skip--;
    }
    if ((uint8_t)c == 0xff)
        split_reset(s);
}

void split_feed(Splitter *s, const uint8_t *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = (char)buf[i];

        if (s->skip) {
            skip(s, c);
        } else if ((uint8_t)c == 0xff) {
            wrong(s, "a byte that JSON has not");
        } else if (s->quote) {
            in_string(s, c);
        } else {
            outside(s, c);
        }
        if (s->text->len > SPLIT_BYTES) {
            unsigned deep = s->depth;
            char quote = s->quote;

            wrong(s, "the message is too long");
            s->skip = deep;
            s->quote = deep ? quote : 0;
        }
    }
}

/* ---- numbers that no int64 or double holds */

static void append_number(GString *out, const char *at, size_t len)
{
    g_autofree char *text = g_strndup(at, len);

    errno = 0;
    if (strpbrk(text, ".eE")) {
        bool huge = isinf(g_ascii_strtod(text, NULL));
        g_string_append(out, !huge ? text : *text == '-' ? "-1e308" : "1e308");
        return;
    }
    g_ascii_strtoll(text, NULL, 10);
    g_string_append_printf(out, "%s%s", text, errno == ERANGE ? ".0" : "");
}

char *split_wide_numbers(const char *text)
{
    GString *out = g_string_new(NULL);
    bool in_text = false;

    while (*text) {
        size_t n = in_text ? 0 : strspn(text, "-+.0123456789eE");

        if (n && (*text == '-' || g_ascii_isdigit(*text))) {
            append_number(out, text, n);
            text += n;
            continue;
        }
        if (*text == '"')
            in_text = !in_text;
        if (in_text && *text == '\\' && text[1])
            g_string_append_c(out, *text++);
        g_string_append_c(out, *text++);
    }
    return g_string_free(out, FALSE);
}
