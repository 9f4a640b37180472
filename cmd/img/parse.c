/* SPDX-License-Identifier: MIT */
/*
 * Reads a subcommand's words by its table, the way getopt_long does: options
 * and operands in any order, letters in one word (-qp, -fraw), long names with
 * = or a word behind them and as short as they stay unique, -- before operands
 * that look like options.
 */
#include "cmd/img/img.h"

#include <string.h>

#include "util/str.h"

void img_args_clear(ImgArgs *a)
{
    char *const texts[] = {
        a->format, a->format2, a->target_format, a->cache, a->source_cache, a->options, a->backing,
        a->backing_format, a->source_file, a->output, a->repair, a->preallocation, a->aio, a->snapshot,
        a->apply, a->create, a->delete,
    };

    for (size_t i = 0; i < G_N_ELEMENTS(texts); i++)
        g_free(texts[i]);
    if (a->objects)
        g_ptr_array_free(a->objects, TRUE);
    if (a->actions)
        g_ptr_array_free(a->actions, TRUE);
    g_free(a->files);
    *a = (ImgArgs){ 0 };
}

/* ---- finding an option's row --------------------------------------------------- */

static const ImgOption *find_letter(const ImgCommand *c, char letter)
{
    for (const ImgOption *o = c->options; o->doc; o++) {
        if (letter && (o->letter == letter || o->other == letter))
            return o;
    }
    return NULL;
}

static bool is_prefix(const char *word, size_t len, const char *name)
{
    return !strncmp(word, name, len);
}

/* The row of a long name or of what can only be the beginning of one. *many: of several. */
static const ImgOption *find_name(const ImgCommand *c, const char *word, size_t len, bool *many)
{
    const ImgOption *found = NULL;

    *many = false;
    for (const ImgOption *o = c->options; o->doc; o++) {
        if (!is_prefix(word, len, o->name))
            continue;
        if (!o->name[len])
            return o;
        *many = found != NULL;
        found = o;
    }
    return *many ? NULL : found;
}

/* "convert, dd": the other commands that have such an option; NULL: none. g_free it. */
static char *who_has(const char *word, size_t len, char letter)
{
    GString *s = g_string_new(NULL);
    bool many;

    for (const ImgCommand *c = img_commands; c->name; c++) {
        const ImgOption *o = letter ? find_letter(c, letter) : find_name(c, word, len, &many);
        if (o && (letter || !o->name[len]))
            g_string_append_printf(s, "%s%s", s->len ? ", " : "", c->name);
    }
    return g_string_free(s, !s->len);
}

static Err *unknown(Img *im, const char *shown, const char *word, size_t len, char letter)
{
    const ImgCommand *c = im->cmd;
    Err *e = err(ERR_NOT_FOUND, "%s has no option '%s'", c->name, shown);
    g_autofree char *others = who_has(word, len, letter);
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    g_autofree char *head = letter ? NULL : g_strndup(word, len);

    for (const ImgOption *o = c->options; o->doc; o++)
        g_ptr_array_add(names, (void *)o->name);
    g_ptr_array_add(names, NULL);
    const char *near = head ? nearest_name(head, (const char *const *)names->pdata) : NULL;
    if (near)
        e = err_hint(e, "Did you mean '--%s'?", near);
    else if (others)
        e = err_hint(e, "It is an option of: %s.", others);
    return err_hint(e, "%s %s --help lists those there are.", im->program, c->name);
}

static Err *ambiguous(Img *im, const char *word, size_t len)
{
    g_autoptr(GString) all = g_string_new(NULL);

    for (const ImgOption *o = im->cmd->options; o->doc; o++) {
        if (is_prefix(word, len, o->name))
            g_string_append_printf(all, "%s--%s", all->len ? ", " : "", o->name);
    }
    return err_hint(err(ERR_INVALID, "'--%.*s' may be several options of %s", (int)len, word, im->cmd->name),
                    "Write more of it: %s.", all->str);
}

/* ---- its argument --------------------------------------------------------------- */

static Err *set_number(ImgArgs *a, const ImgOption *o, const char *value)
{
    uint64_t n;

    TRY(o->kind == IMG_SIZE ? parse_size(value, 1, &n) : parse_num(value, &n));
    if (n < o->min || (o->max && n > o->max)) {
        if (!o->max)
            return err(ERR_INVALID, "it is at least %llu", (unsigned long long)o->min);
        return err(ERR_INVALID, "it is a number from %llu to %llu", (unsigned long long)o->min,
                   (unsigned long long)o->max);
    }
    *(uint64_t *)((char *)a + o->offset) = n;
    if (o->has)
        *(bool *)((char *)a + o->has) = true;
    return NULL;
}

static Err *check_name(const ImgOption *o, const char *value)
{
    for (const char *const *n = o->names; *n; n++) {
        if (!strcmp(*n, value))
            return NULL;
    }
    g_autofree char *all = g_strjoinv(", ", (char **)o->names);
    const char *near = nearest_name(value, o->names);
    Err *e = err(ERR_INVALID, "'%s' is none of: %s", value, all);

    return near ? err_hint(e, "Did you mean '%s'?", near) : e;
}

static void set_text(char **at, const char *value)
{
    g_free(*at);
    *at = g_strdup(value);
}

static void add_to(GPtrArray **list, char *text)
{
    if (!*list)
        *list = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(*list, text);
}

static Err *obey(ImgArgs *a, const ImgOption *o, const char *value)
{
    void *at = (char *)a + o->offset;
    char **text = at;

    switch (o->kind) {
    case IMG_FLAG:
        *(bool *)at = true;
        break;
    case IMG_NAME:
        TRY(check_name(o, value));
        set_text(text, value);
        break;
    case IMG_TEXT:
        set_text(text, value);
        break;
    case IMG_JOIN: {
        char *was = *text;
        *text = was ? g_strconcat(was, ",", value, NULL) : g_strdup(value);
        g_free(was);
        break;
    }
    case IMG_LIST:
        add_to(at, g_strdup(value));
        break;
    case IMG_ACTION:
        add_to(&a->actions, value ? g_strconcat(o->name, "=", value, NULL) : g_strdup(o->name));
        break;
    case IMG_SIZE:
    case IMG_NUM:
        return set_number(a, o, value);
    }
    return NULL;
}

/* ---- the words ------------------------------------------------------------------- */

typedef struct Words {
    char **v;
    int n, at;
} Words;

static Err *take(Img *im, Words *w, const ImgOption *o, const char *shown, const char *value)
{
    if (!o->arg && value)
        return err_hint(err(ERR_INVALID, "the option '%s' has no argument", shown), "Leave '%s' away.", value);
    if (o->arg && !value) {
        if (w->at >= w->n)
            return err_hint(err(ERR_INVALID, "the option '%s' needs an argument", shown), "Its form is %s %s.",
                            shown, o->arg);
        value = w->v[w->at++];
    }
    Err *e = obey(&im->a, o, value);
    return value ? err_in(e, "%s %s", shown, value) : err_in(e, "%s", shown);
}

static Err *long_option(Img *im, Words *w, const char *word)
{
    size_t len = strcspn(word, "=");
    bool many;
    g_autofree char *shown = g_strdup_printf("--%.*s", (int)len, word);

    if (len == 4 && is_prefix(word, len, "help")) {
        im->a.help = true;
        return NULL;
    }
    const ImgOption *o = find_name(im->cmd, word, len, &many);
    if (!o)
        return many ? ambiguous(im, word, len) : unknown(im, shown, word, len, 0);
    return take(im, w, o, shown, word[len] ? word + len + 1 : NULL);
}

static Err *letters(Img *im, Words *w, const char *word)
{
    for (const char *l = word; *l; l++) {
        char shown[] = { '-', *l, 0 };
        if (*l == 'h') {
            im->a.help = true;
            continue;
        }
        const ImgOption *o = find_letter(im->cmd, *l);
        if (!o)
            return unknown(im, shown, "", 0, *l);
        if (o->arg)
            return take(im, w, o, shown, l[1] ? l + 1 : NULL);
        TRY(take(im, w, o, shown, NULL));
    }
    return NULL;
}

/* A size like -1G is an operand: no option begins with a digit. */
static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] && !g_ascii_isdigit(word[1]);
}

static Err *count_files(Img *im)
{
    const ImgCommand *c = im->cmd;
    ImgArgs *a = &im->a;
    Err *e = NULL;

    if (a->nfiles < c->min_files)
        e = a->nfiles ? err(ERR_INVALID, "%s needs more than '%s'", c->name, a->files[0])
                      : err(ERR_INVALID, "%s needs the name of an image", c->name);
    else if (a->nfiles > c->max_files)
        e = err(ERR_INVALID, "%s has no place for '%s'", c->name, a->files[c->max_files]);
    return err_hint(e, "Its form is: %s %s [OPTION]... %s", im->program, c->name, c->operands);
}

Err *img_parse(Img *im, int argc, char **argv)
{
    Words w = { argv, argc, 0 };
    ImgArgs *a = &im->a;

    a->files = g_new0(char *, argc + 1);
    while (w.at < w.n) {
        char *word = w.v[w.at++];
        if (!strcmp(word, "--")) {
            while (w.at < w.n)
                a->files[a->nfiles++] = w.v[w.at++];
        } else if (!is_option(word)) {
            a->files[a->nfiles++] = word;
        } else if (word[1] == '-') {
            TRY(long_option(im, &w, word + 2));
        } else {
            TRY(letters(im, &w, word + 1));
        }
        if (a->help)
            return NULL;
    }
    if (a->options && img_asks_help(a->options))
        return NULL;
    TRY(count_files(im));
    if (a->image_opts && a->format)
        return err_hint(err(ERR_INVALID, "--image-opts and a format exclude each other"),
                        "Say it with the other options: driver=%s,...", a->format);
    if (a->target_image_opts && a->target_format)
        return err_hint(err(ERR_INVALID, "--target-image-opts and a format exclude each other"),
                        "Say it with the other options: driver=%s,...", a->target_format);
    return NULL;
}

bool img_asks_help(const char *options)
{
    g_auto(GStrv) each = g_strsplit(options ? options : "", ",", -1);

    for (char **o = each; *o; o++) {
        if (!strcmp(*o, "help") || !strcmp(*o, "?"))
            return true;
    }
    return false;
}
