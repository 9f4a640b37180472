/* SPDX-License-Identifier: MIT */
/* key=value lists against a table with every kind of row, and without one. */
#include "tests/fuzz/fuzz.h"

#include "util/opts.h"

static const char *const colours[] = { "red", "green", NULL };
static const OptDesc descs[] = {
    { "path",   OPT_STR,  "a file" },
    { "server", OPT_BOOL, "listen" },
    { "wait",   OPT_BOOL, "wait for a peer" },
    { "port",   OPT_NUM,  "a number" },
    { "size",   OPT_SIZE, "bytes" },
    { "mem",    OPT_MIB,  "MiB" },
    { "colour", OPT_ENUM, "which", colours },
    { 0 }
};

static Err *append(void *opaque, const char *key, const char *value)
{
    GString *s = opaque;
    g_auto(GStrv) parts = g_strsplit(value, ",", -1);
    char *quoted = g_strjoinv(",,", parts);

    g_string_append_printf(s, "%s%s=%s", s->len ? "," : "", key, quoted);
    g_free(quoted);
    return NULL;
}

/* What was understood by a table, written out again, must be understood as the same. */
static void round_trip(const Opts *o, const OptDesc *table)
{
    GString *once = g_string_new(NULL), *twice = g_string_new(NULL);
    Opts *again;

    fuzz_error(opts_each(o, append, once));
    Err *e = opts_parse(once->str, table, NULL, &again);
    fuzz_must(!e, "'%s' was understood, but not when written so: %s", once->str, err_text(e));
    fuzz_error(opts_each(again, append, twice));
    fuzz_must(!strcmp(once->str, twice->str), "'%s' became '%s'", once->str, twice->str);
    opts_free(again);
    g_string_free(once, TRUE);
    g_string_free(twice, TRUE);
}

static void each(const Opts *o)
{
    GString *s = g_string_new(NULL);

    fuzz_error(opts_each(o, append, s));
    g_string_free(s, TRUE);
}

static void with_table(const char *text, const OptDesc *table, const char *implied)
{
    Opts *o;
    Err *e = opts_parse(text, table, implied, &o);

    if (!e) {
        for (const OptDesc *d = table; d && d->name; d++) {
            opts_has(o, d->name);
            opts_str(o, d->name, NULL);
            if (d->kind == OPT_BOOL)
                opts_bool(o, d->name, false);
            else if (d->kind == OPT_ENUM)
                fuzz_must(opts_enum(o, d->name, 0) < 2, "an enum beyond its names");
            else if (d->kind != OPT_STR)
                opts_num(o, d->name, 0);
        }
        if (table)
            round_trip(o, table);
        else
            each(o);
        opts_free(o);
    }
    fuzz_error(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size), *first, *rest;

    with_table(text, descs, "path");
    with_table(text, descs, NULL);
    with_table(text, NULL, "type");
    rest = opts_rest(text, &first);
    g_free(rest);
    g_free(first);
    g_free(text);
    return 0;
}
