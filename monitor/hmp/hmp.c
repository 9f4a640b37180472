/* SPDX-License-Identifier: MIT */
/*
 * The console's commands: a line is cut into words, the words become the JSON
 * arguments of a row of the schema, and its answer becomes text.
 *
 * A row's syntax names its members in order: NAME, [NAME] (may be left out),
 * -f:NAME (a flag), NAME... (the rest of the line), /NAME (a format, right behind
 * the command: x/4xw). Numbers are expressions.
 */
#include <string.h>

#include "monitor/hmp/hmp-priv.h"
#include "monitor/monitor-priv.h"
#include "util/str.h"

/* ---- rows */

const QmpCommand *hmp_row(unsigned i)
{
    static const QmpCommand *const tables[] = { hmp_commands, qmp_commands };

    for (size_t t = 0; t < G_N_ELEMENTS(tables); t++) {
        for (const QmpCommand *c = tables[t]; c->name; c++) {
            if (c->hmp && !i--)
                return c;
        }
    }
    return NULL;
}

static bool is_text(const QmpCommand *c)
{
    for (const QmpCommand *t = hmp_commands; t->name; t++) {
        if (t == c)
            return true;
    }
    return false;
}

static const char *skip_blanks(const char *s)
{
    return s + strspn(s, " \t");
}

/* Does the line begin with the name's words? Where it goes on, or NULL. */
static const char *begins(const char *line, const char *name)
{
    if (!name)
        return NULL;
    for (line = skip_blanks(line); *name; name++, line++) {
        if (*name == ' ') {
            if (*line != ' ' && *line != '\t')
                return NULL;
            line = skip_blanks(line) - 1;
        } else if (*line != *name) {
            return NULL;
        }
    }
    return !*line || *line == ' ' || *line == '\t' || *line == '/' ? line : NULL;
}

const QmpCommand *hmp_find(const char *line, const char **rest)
{
    const QmpCommand *c;

    for (unsigned i = 0; (c = hmp_row(i)); i++) {
        if ((*rest = begins(line, c->hmp)) || (*rest = begins(line, c->also)))
            return c;
    }
    return NULL;
}

bool hmp_word(const char **syntax, HmpWord *out)
{
    const char *s = skip_blanks(*syntax);
    size_t n = strcspn(s, " ");

    if (!n)
        return false;
    *syntax = s + n;
    *out = (HmpWord){ .optional = *s == '[' };
    g_autofree char *word = g_strndup(s + out->optional, n - 2 * out->optional);
    char *name = word;
    if (name[0] == '-' && name[1] && name[2] == ':') {
        out->flag = name[1];
        name += 3;
    }
    out->format = *name == '/';
    name += out->format;
    out->rest = g_str_has_suffix(name, "...");
    if (out->rest)
        name[strlen(name) - 3] = 0;
    g_strlcpy(out->name, name, sizeof(out->name));
    return true;
}

/* ---- words of the line */

/* The next word, "in quotes" perhaps; g_free it. NULL: no more, or (*e) a quote that does not end. */
static char *next_word(const char **at, Err **e)
{
    const char *s = skip_blanks(*at);
    GString *out;
    bool quoted = *s == '"';

    if (!*s) {
        *at = s;
        return NULL;
    }
    out = g_string_new(NULL);
    for (s += quoted; *s && (quoted ? *s != '"' : *s != ' ' && *s != '\t'); s++) {
        if (quoted && *s == '\\' && s[1])
            s++;
        g_string_append_c(out, *s);
    }
    if (quoted && *s != '"') {
        *e = err(ERR_INVALID, "a quotation mark is missing");
        g_string_free(out, TRUE);
        return NULL;
    }
    *at = s + quoted;
    return g_string_free(out, FALSE);
}

/* ---- arguments */

static const QmpMember *member_of(const QmpCommand *c, const char *name)
{
    for (const QmpMember *m = c->members; m->name; m++) {
        if (!strcmp(m->name, name))
            return m;
    }
    return NULL;
}

static Err *size(const char *text, json_t **out)
{
    uint64_t n;

    TRY(parse_size(text, 1, &n));
    if (n > INT64_MAX)
        return err(ERR_INVALID, "%s is too large", text);
    *out = json_integer((json_int_t)n);
    return NULL;
}

/* A word as a value of that type. */
static Err *value(const QmpMember *m, const char *text, json_t **out)
{
    bool b = false;
    char *end;

    switch (m->type->kind) {
    case QMP_INT:
        return err_in(size(text, out), "%s", m->name);
    case QMP_BOOL:
        TRY(err_in(parse_bool(text, &b), "%s", m->name));
        *out = json_boolean(b);
        return NULL;
    case QMP_NUMBER:
        *out = json_real(g_ascii_strtod(text, &end));
        return *end || !*text ? err(ERR_INVALID, "%s: '%s' is no number", m->name, text) : NULL;
    case QMP_ANY:
        *out = json_loads(text, JSON_DECODE_ANY, NULL);
        if (!*out)
            *out = text_json(text);
        return NULL;
    default:
        *out = text_json(text);
        return NULL;
    }
}

/* As help shows it, with a blank in front. */
static char *word_text(const HmpWord *w)
{
    if (w->format)
        return g_strdup_printf("[/%s]", w->name);
    if (w->flag)
        return g_strdup_printf(" [-%c]", w->flag);
    return g_strdup_printf(w->optional ? " [%s%s]" : " %s%s", w->name, w->rest ? ".." : "");
}

static Err *usage(const QmpCommand *c, const char *what)
{
    g_autoptr(GString) text = g_string_new(c->hmp);
    const char *s = c->syntax;
    HmpWord w;

    while (hmp_word(&s, &w)) {
        g_autofree char *word = word_text(&w);
        g_string_append(text, word);
    }
    return err_hint(err(ERR_INVALID, "%s", what), "It is: %s", text->str);
}

/* -f among the words: the flags of the syntax that are there; the line goes on behind them. */
static void take_flags(const QmpCommand *c, const char **at, json_t *args)
{
    for (bool more = true; more;) {
        const char *s = skip_blanks(*at), *syntax = c->syntax;
        HmpWord w;

        more = false;
        while (*s == '-' && hmp_word(&syntax, &w)) {
            if (w.flag != s[1] || !w.flag || (s[2] && s[2] != ' '))
                continue;
            json_object_set_new(args, w.name, json_true());
            *at = s + 2;
            more = true;
            break;
        }
    }
}

/* All of the line that is left; in quotes as a whole, what is within. NULL: nothing. g_free it. */
static char *rest_of(const char **at)
{
    const char *s = skip_blanks(*at), *end = s;
    Err *e = NULL;

    *at += strlen(*at);
    if (*s == '"') {
        char *word = next_word(&end, &e);

        if (!e && !*skip_blanks(end))
            return word;
        err_free(e);
        g_free(word);
    }
    return *s ? g_strdup(s) : NULL;
}

/* Of the numbers that are no sizes: as far as the expression goes. */
static Err *take_number(Monitor *mon, const QmpCommand *c, const HmpWord *w, const char **at, json_t *args)
{
    uint64_t n;

    *at = skip_blanks(*at);
    if (!**at) {
        g_autofree char *what = g_strdup_printf("%s is missing", w->name);
        return w->optional ? NULL : usage(c, what);
    }
    TRY(err_in(expr_eval(mon, at, &n), "%s", w->name));
    json_object_set_new(args, w->name, json_integer((json_int_t)n));
    return NULL;
}

/* "/4xw" */
static void take_format(const HmpWord *w, const char **at, json_t *args)
{
    const char *s = skip_blanks(*at);
    size_t n = *s == '/' ? strcspn(s, " \t") : 0;

    if (n > 1)
        json_object_set_new(args, w->name, json_stringn(s + 1, n - 1));
    *at = s + n;
}

static Err *take_word(Monitor *mon, const QmpCommand *c, const HmpWord *w, const char **at, json_t *args)
{
    if (w->format) {
        take_format(w, at, args);
        return NULL;
    }
    const QmpMember *m = member_of(c, w->name);
    if (m->type->kind == QMP_INT && strcmp(m->type->name, "size"))
        return take_number(mon, c, w, at, args);
    g_autofree char *text = NULL;
    json_t *v = NULL;
    Err *e = NULL;

    if (w->rest) {
        text = rest_of(at);
    } else {
        text = next_word(at, &e);
    }
    if (e)
        return e;
    if (!text) {
        g_autofree char *what = g_strdup_printf("%s is missing", w->name);
        return w->optional ? NULL : usage(c, what);
    }
    TRY(value(m, text, &v));
    json_object_set_new(args, w->name, v);
    return NULL;
}

static Err *parse(Monitor *m, const QmpCommand *c, const char *line, json_t *args)
{
    const char *syntax = c->syntax;
    HmpWord w;

    take_flags(c, &line, args);
    while (hmp_word(&syntax, &w)) {
        if (!w.flag)
            TRY(take_word(m, c, &w, &line, args));
        take_flags(c, &line, args);
    }
    return *skip_blanks(line) ? usage(c, "there are more words than it takes") : NULL;
}

/* ---- running */

static Err *run_text(Monitor *m, const QmpCommand *c, const json_t *args, GString *out)
{
    g_autofree void *a = g_malloc0(c->size);

    TRY(qmp_args(c, args, a));
    return c->run(m, a, out);
}

static Err *run(Monitor *m, const QmpCommand *c, const char *rest, GString *out)
{
    json_t *args = json_object(), *ret = NULL;
    Err *e = parse(m, c, rest, args);

    if (!e && is_text(c))
        e = run_text(m, c, args, out);
    else if (!e)
        e = qmp_call(m, c->name, args, &ret);
    if (!e && ret && c->print)
        c->print(out, ret);
    json_decref(args);
    json_decref(ret);
    return e;
}

static Err *unknown(const char *line)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *word = g_strndup(line, strcspn(line, " \t"));
    bool info = !strcmp(word, "info");
    const QmpCommand *c;

    for (unsigned i = 0; (c = hmp_row(i)); i++)
        g_ptr_array_add(names, (void *)c->hmp);
    g_ptr_array_add(names, NULL);
    g_autofree char *whole = info ? g_strstrip(g_strdup(line)) : g_strdup(word);
    const char *near = nearest_name(whole, (const char *const *)names->pdata);
    Err *e = err(ERR_NOT_FOUND, "unknown command: '%s'", whole);
    return near ? err_hint(e, "Did you mean '%s'?", near) : err_hint(e, "help lists all.");
}

static int by_name(gconstpointer a, gconstpointer b)
{
    return strcmp((*(const QmpCommand *const *)a)->hmp, (*(const QmpCommand *const *)b)->hmp);
}

static void list(GString *out, const char *prefix)
{
    g_autoptr(GPtrArray) rows = g_ptr_array_new();
    const QmpCommand *c;

    for (unsigned i = 0; (c = hmp_row(i)); i++)
        g_ptr_array_add(rows, (void *)c);
    g_ptr_array_sort(rows, by_name);
    for (guint i = 0; i < rows->len; i++) {
        c = rows->pdata[i];
        const char *syntax = c->syntax;
        g_autoptr(GString) left = g_string_new(c->hmp);
        HmpWord w;

        if (prefix && !begins(c->hmp, prefix) && g_strcmp0(c->also, prefix))
            continue;
        if (c->also)
            g_string_append_printf(left, "|%s", c->also);
        if (!prefix && g_str_has_prefix(c->hmp, "info "))
            continue;
        while (hmp_word(&syntax, &w)) {
            g_autofree char *word = word_text(&w);
            g_string_append(left, word);
        }
        g_string_append_printf(out, "%-36s %s\n", left->str, c->doc);
    }
}

Err *hmp_help(Monitor *m, const HmpHelpArgs *args, GString *out)
{
    gsize was = out->len;

    list(out, args->name);
    if (!args->name)
        g_string_append(out, "info ...                             what there is to see: help info\n");
    return out->len == was ? unknown(args->name) : NULL;
}

void hmp_line(Monitor *m, const char *line, GString *out)
{
    const char *rest;
    Err *e = NULL;

    line = skip_blanks(line);
    if (!*line || *line == '#')
        return;
    const QmpCommand *c = hmp_find(line, &rest);
    if (c && !c->early && m->vm->early)
        e = err(ERR_BUSY, "Command '%s' not available until machine initialization has completed.", c->hmp);
    else if (c)
        e = run(m, c, rest, out);
    else if (begins(line, "info") && !*skip_blanks(line + 4))
        list(out, "info");
    else
        e = unknown(line);
    if (!e)
        return;
    g_string_append_printf(out, "%s%s\n", c ? "Error: " : "", err_text(e));
    if (err_hint_text(e))
        g_string_append_printf(out, "%s\n", err_hint_text(e));
    err_free(e);
}

char *hmp_run(Vm *vm, const char *line)
{
    GString *out = g_string_new(NULL);

    if (vm->monitors)
        hmp_line(vm->monitors->nobody, line, out);
    return g_string_free(out, FALSE);
}
