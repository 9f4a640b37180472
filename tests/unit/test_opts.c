/* SPDX-License-Identifier: MIT */
/*
 * util/opts and util/str: what is accepted, what it means, and that each
 * wrong input is refused with the name that was meant.
 */
#include "tests/unit/test.h"
#include "util/opts.h"
#include "util/str.h"

#include <glib.h>
#include <stdlib.h>

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

static Opts *good(const char *text)
{
    Opts *o;
    Err *e = opts_parse(text, descs, "path", &o);

    if (e) {
        printf("'%s': %s\n", text, err_text(e));
        err_free(e);
        CHECK(!"parsed");
        (void)!opts_parse("", descs, NULL, &o);
    }
    return o;
}

/* The error's text and hint hold these words. */
static void bad(const char *text, const char *in_text, const char *in_hint)
{
    Opts *o;
    Err *e = opts_parse(text, descs, "path", &o);

    CHECK(e != NULL && o == NULL);
    if (!e)
        return;
    if (!strstr(err_text(e), in_text) ||
        (in_hint && (!err_hint_text(e) || !strstr(err_hint_text(e), in_hint)))) {
        printf("'%s': %s / %s\n", text, err_text(e), err_hint_text(e));
        CHECK(!"the words wanted");
    }
    err_free(e);
}

static void test_forms(void)
{
    Opts *o = good("/a,,b,server,nowait,port=0x10,size=4K,mem=2,colour=green");

    CHECK_STR(opts_str(o, "path", NULL), "/a,b");
    CHECK(opts_bool(o, "server", false) && !opts_bool(o, "wait", true));
    CHECK_EQ(opts_num(o, "port", 0), 16);
    CHECK_EQ(opts_num(o, "size", 0), 4096);
    CHECK_EQ(opts_num(o, "mem", 0), 2 << 20);
    CHECK_EQ(opts_enum(o, "colour", 0), 1);
    opts_free(o);
    o = good("server=yes,path=x=y,port=1,port=2,wait=no,");
    CHECK_STR(opts_str(o, "path", NULL), "x=y");
    CHECK_EQ(opts_num(o, "port", 0), 2);
    CHECK(opts_bool(o, "server", false) && opts_has(o, "wait") && !opts_bool(o, "wait", true));
    CHECK(!opts_has(o, "size"));
    CHECK_EQ(opts_num(o, "size", 7), 7);
    opts_free(o);
    o = good("");
    CHECK(!opts_has(o, "path"));
    opts_free(o);
}

static void test_wrong(void)
{
    bad("x,sever=on", "'sever'", "'server'");
    bad("x,server=maybe", "'server'", NULL);
    bad("x,port=12x", "'12x'", NULL);
    bad("x,port=-1", "'-1'", NULL);
    bad("x,port=18446744073709551616", "18446744073709551616", NULL);
    bad("x,size=4Q", "4Q", "512M");
    bad("x,colour=gren", "red, green", "'green'");
    bad("x,port", "needs a value", NULL);
    bad("x,noport", "'noport'", NULL);
    bad("x,y", "'y'", "path, server");
    bad("=,=", "''", NULL);
}

static void test_required(void)
{
    static const OptDesc need[] = { { "id", OPT_STR, "its name", .required = true }, { 0 } };
    Opts *o;
    Err *e = opts_parse("", need, NULL, &o);

    CHECK(e && strstr(err_text(e), "'id'"));
    err_free(e);
}

static Err *gather(void *opaque, const char *key, const char *value)
{
    g_string_append_printf(opaque, "%s:%s;", key, value);
    return strcmp(key, "stop") ? NULL : err(ERR_BUSY, "stop");
}

static void test_each(void)
{
    GString *s = g_string_new(NULL);
    Opts *o;

    CHECK(opts_parse("virt,a=1,a=2,b", NULL, "type", &o) == NULL);
    CHECK(opts_each(o, gather, s) == NULL);
    CHECK_STR(s->str, "type:virt;a:1;a:2;b:on;");
    opts_free(o);
    g_string_truncate(s, 0);
    CHECK(opts_parse("a=1,stop,b", NULL, NULL, &o) == NULL);
    Err *e = opts_each(o, gather, s);
    CHECK(e != NULL);
    err_free(e);
    CHECK_STR(s->str, "a:1;stop:on;");
    opts_free(o);
    g_string_free(s, TRUE);
}

static void test_rest(void)
{
    char *first, *rest = opts_rest("a,,b,c=1,,2,d", &first);

    CHECK_STR(first, "a,b");
    CHECK_STR(rest, "c=1,,2,d");
    g_free(first);
    g_free(rest);
    rest = opts_rest("virt", &first);
    CHECK_STR(rest, "");
    g_free(first);
    g_free(rest);
}

static uint64_t size_of(const char *text, uint64_t unit)
{
    uint64_t n = 0;
    Err *e = parse_size(text, unit, &n);

    if (e) {
        err_free(e);
        return 0xbad;
    }
    return n;
}

static void test_sizes(void)
{
    CHECK_EQ(size_of("128", 1 << 20), 128 << 20);
    CHECK_EQ(size_of("128K", 1 << 20), 128 << 10);
    CHECK_EQ(size_of("1.5G", 1), 3ULL << 29);
    CHECK_EQ(size_of("1.5", 1 << 20), 3 << 19);
    CHECK_EQ(size_of("0x10", 1), 16);
    CHECK_EQ(size_of("0x10k", 1), 16384);
    CHECK_EQ(size_of("8", 1), 8);
    CHECK_EQ(size_of("010", 1), 10);        /* sizes are never octal */
    CHECK_EQ(size_of("2b", 1 << 20), 2);
    CHECK_EQ(size_of("15E", 1), 15ULL << 60);
    CHECK_EQ(size_of("16E", 1), 0xbad);
    CHECK_EQ(size_of("1.5", 1), 0xbad);
    CHECK_EQ(size_of("1.", 1 << 20), 0xbad);
    CHECK_EQ(size_of("", 1), 0xbad);
    CHECK_EQ(size_of("-1", 1), 0xbad);
    CHECK_EQ(size_of("K", 1), 0xbad);
    CHECK_EQ(size_of("1KB", 1), 0xbad);
    CHECK_EQ(size_of("1 G", 1), 0xbad);
}

static void test_numbers(void)
{
    uint64_t n;

    CHECK(parse_num("18446744073709551615", &n) == NULL && n == UINT64_MAX);
    CHECK(parse_num("0", &n) == NULL && n == 0);
    CHECK(parse_num("017", &n) == NULL && n == 15);
    static const char *const wrong[] = { "", "0x", "09", " 1", "1 ", "+1", "1e3", NULL };
    for (int i = 0; wrong[i]; i++) {
        Err *e = parse_num(wrong[i], &n);

        CHECK(e != NULL);
        err_free(e);
    }
    char *s = size_to_text(3 << 20);
    CHECK_STR(s, "3 MiB");
    g_free(s);
    s = size_to_text(1025);
    CHECK_STR(s, "1025 bytes");
    g_free(s);
}

/* Nothing that can be typed breaks the parser. */
static void test_random(void)
{
    static const char alphabet[] = ",=noserverpath0123KMx.-";
    unsigned seed = 12345;
    char text[40];

    for (int i = 0; i < 20000; i++) {
        int n = rand_r(&seed) % (int)(sizeof(text) - 1);
        Opts *o;

        for (int j = 0; j < n; j++)
            text[j] = alphabet[rand_r(&seed) % (sizeof(alphabet) - 1)];
        text[n] = 0;
        Err *e = opts_parse(text, descs, i % 2 ? "path" : NULL, &o);
        if (!!e == !!o) {
            printf("seed 12345, round %d: '%s'\n", i, text);
            CHECK(!"either an error or a list");
        }
        err_free(e);
        opts_free(o);
    }
}

int main(void)
{
    RUN(test_forms);
    RUN(test_wrong);
    RUN(test_required);
    RUN(test_each);
    RUN(test_rest);
    RUN(test_sizes);
    RUN(test_numbers);
    RUN(test_random);
    return test_end();
}
