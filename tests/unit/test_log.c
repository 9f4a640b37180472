/* SPDX-License-Identifier: MIT */
/*
 * util/log and util/trace: which items are on, where the text goes, that lines
 * of several threads stay whole, address filters, trace patterns.
 */
#include "tests/unit/test.h"
#include "util/log.h"
#include "util/trace.h"

#include <glib.h>
#include <glib/gstdio.h>
#include <pthread.h>
#include <unistd.h>

static char *path;

static char *logged(void)
{
    char *text = NULL;

    log_close();
    g_file_get_contents(path, &text, NULL, NULL);
    CHECK(log_set_file(path) == NULL);
    return text ? text : g_strdup("");
}

static void drop(Err *e)
{
    CHECK(e != NULL);
    err_free(e);
}

static void test_items(void)
{
    CHECK(!log_on(LOG_INT));
    CHECK(log_set_items("int,guest_errors") == NULL);
    CHECK(log_on(LOG_INT) && log_on(LOG_GUEST_ERRORS) && !log_on(LOG_EXEC));
    CHECK(log_set_items("-int") == NULL);
    CHECK(!log_on(LOG_INT) && log_on(LOG_GUEST_ERRORS));
    CHECK(log_set_items("all,-exec") == NULL);
    CHECK(log_on(LOG_STATS) && !log_on(LOG_EXEC));
    CHECK(log_set_items("-all") == NULL);
    CHECK(!log_on(~0u));
}

static void test_unknown_item(void)
{
    Err *e = log_set_items("int,gest_errors");

    CHECK(e != NULL);
    CHECK(strstr(err_text(e), "gest_errors") != NULL);
    CHECK(strstr(err_hint_text(e), "'guest_errors'") != NULL);
    err_free(e);
    CHECK(!log_on(LOG_INT));        /* all or nothing */
}

static void test_guest_error(void)
{
    guest_error("not shown");
    CHECK(log_set_items("guest_errors,unimp") == NULL);
    guest_error("uart: write of %d", 7);
    unimp("thing");
    log_line("a line");
    log_line("one that ends itself\n");
    char *text = logged();
    CHECK_STR(text, "guest error: uart: write of 7\nnot implemented: thing\na line\none that ends itself\n");
    g_free(text);
    CHECK(log_set_items("-all") == NULL);
}

enum { THREADS = 4, LINES = 500 };

static void *writer(void *arg)
{
    char word[200];

    memset(word, 'a' + (int)(intptr_t)arg, sizeof(word) - 1);
    word[sizeof(word) - 1] = 0;
    for (int i = 0; i < LINES; i++)
        log_line("%s\n", word);
    return NULL;
}

static void test_threads(void)
{
    pthread_t t[THREADS];
    int good = 0;

    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, writer, (void *)(intptr_t)i);
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    char *text = logged();
    char **lines = g_strsplit(text, "\n", -1);
    for (char **l = lines; *l; l++)
        good += strlen(*l) == 199 && strspn(*l, (char[]){ **l, 0 }) == 199;
    CHECK_EQ(good, THREADS * LINES);
    g_strfreev(lines);
    g_free(text);
}

static void test_filter(void)
{
    CHECK(log_wants(0x1234));
    CHECK(log_set_filter("0x1000..0x1fff,0x8000+0x10,0x9000-8,5") == NULL);
    CHECK(log_wants(0x1000) && log_wants(0x1fff) && !log_wants(0x2000));
    CHECK(log_wants(0x800f) && !log_wants(0x8010));
    CHECK(log_wants(0x8ff8) && log_wants(0x9000) && !log_wants(0x8ff7));
    CHECK(log_wants(5) && !log_wants(6));
    drop(log_set_filter("0x10..0x5"));
    drop(log_set_filter("x"));
    drop(log_set_filter("0x10+0"));
    CHECK(log_set_filter("0xffffffffffffffff+5") == NULL);
    CHECK(log_wants(~0ULL));
}

static void points(int n)
{
    TRACE(test_one, "n %d", n);
    TRACE(test_two, "here");
    TRACE(other, "n %d", n);
}

static void test_trace(void)
{
    points(1);
    CHECK(trace_option("test_*") == NULL);
    points(2);
    CHECK(trace_option("enable=-test_two") == NULL);
    points(3);
    CHECK(trace_option("-test_one") == NULL);
    points(4);
    char *text = logged();
    CHECK(!strstr(text, "n 1") && !strstr(text, "other") && !strstr(text, "n 4"));
    CHECK(strstr(text, "test_one: n 2\n") && strstr(text, "test_one: n 3\n"));
    char *here = strstr(text, "test_two: here");
    CHECK(here && !strstr(here + 1, "test_two: here"));
    g_free(text);
}

static void test_trace_wrong(void)
{
    Err *e = trace_option("test_onee");

    CHECK(e && strstr(err_hint_text(e), "'test_one'"));
    err_free(e);
    drop(trace_option("events=/nonexistent/file"));
    drop(trace_option("enabel=x"));
    drop(trace_option("u\xf7t*"));              /* not UTF-8 */
    drop(trace_option("*\xf7?"));
    char *help = trace_help();
    CHECK(strstr(help, "test_two") && strstr(help, "here"));
    g_free(help);
}

static void test_bad_file(void)
{
    Err *e = log_set_file("/nonexistent/dir/log");

    CHECK(e && strstr(err_text(e), "No such file or directory"));
    err_free(e);
    drop(log_set_file("/tmp/%s"));
}

int main(void)
{
    path = g_strdup_printf("%s/lyre-test-log.%d", g_get_tmp_dir(), (int)getpid());
    CHECK(log_set_file(path) == NULL);
    RUN(test_items);
    RUN(test_unknown_item);
    RUN(test_guest_error);
    RUN(test_threads);
    RUN(test_filter);
    RUN(test_trace);
    RUN(test_trace_wrong);
    RUN(test_bad_file);
    log_close();
    g_unlink(path);
    return test_end();
}
