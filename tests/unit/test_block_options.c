/* SPDX-License-Identifier: MIT */
/*
 * block/options, block/names: names, lists with dots and JSON, and what each of
 * them means.
 */
#include <stdlib.h>
#include <unistd.h>

#include "block/block-priv.h"
#include "tests/unit/block-layer.h"

extern const BlockDriver block_raw, block_file, block_host_device, block_null_co;
const BlockDriver *const block_set[] = {
    &block_ram, &block_raw, &block_layer, &block_file, &block_host_device, &block_null_co, NULL
};

static char *text_of(json_t *o)
{
    return json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
}

/* The tree that a list means; `want` NULL: an error with `words`. */
static void list(const char *text, const char *want, const char *words)
{
    json_t *o = NULL;
    Err *e = options_from_keyval(text, &o);

    if (!want) {
        CHECK(fails(e, words));
        return;
    }
    if (!ok(e)) {
        CHECK(!"parsed");
        return;
    }
    char *got = text_of(o);
    CHECK_STR(got, want);
    free(got);
    json_decref(o);
}

static void test_lists(void)
{
    list("driver=qcow2,file.filename=a.qcow2,lazy-refcounts=on",
         "{\"driver\":\"qcow2\",\"file\":{\"filename\":\"a.qcow2\"},\"lazy-refcounts\":\"on\"}", NULL);
    list("file.filename=a,,b", "{\"file\":{\"filename\":\"a,b\"}}", NULL);
    list("lazy-refcounts", "{\"lazy-refcounts\":\"on\"}", NULL);
    list("a.0=x,a.1=y", "{\"a\":[\"x\",\"y\"]}", NULL);
    list("a.1.b=x,a.0.b=y", "{\"a\":[{\"b\":\"y\"},{\"b\":\"x\"}]}", NULL);
    list("a.0=x,a.2=y", "{\"a\":{\"0\":\"x\",\"2\":\"y\"}}", NULL);
    list("a=1,a=2", "{\"a\":\"2\"}", NULL);
    list("backing=", "{\"backing\":\"\"}", NULL);
    list("a=1,a.b=2", NULL, "both as a value and as a group");
    list("a.b=1,a=2", NULL, "both as a value and as a group");
    list("a..b=1", NULL, "empty part");
    list(".a=1", NULL, "empty part");
    list("0=1,1=2", NULL, "names, not numbers");
    g_autofree char *dots = g_strnfill(300, '.');
    GString *deep = g_string_new("a");
    for (int i = 0; i < 100; i++)
        g_string_append(deep, ".a");
    g_string_append(deep, "=1");
    list(deep->str, NULL, "nested more than");
    g_string_free(deep, true);
}

static void test_normalise(void)
{
    static const struct { const char *in, *out, *words; } cases[] = {
        { "{\"a.b\":1,\"a\":{\"c.d\":2}}", "{\"a\":{\"b\":1,\"c\":{\"d\":2}}}" },
        { "{\"a\":{\"c\":2},\"a.b\":1}", "{\"a\":{\"b\":1,\"c\":2}}" },
        { "{\"a\":[{\"b.c\":1},2]}", "{\"a\":[{\"b\":{\"c\":1}},2]}" },
        { "{\"a\":{\"0\":1,\"1\":2}}", "{\"a\":[1,2]}" },
        { "{\"a\":null}", "{\"a\":null}" },
        { "[1]", NULL, "an object" },
        { "{\"a\":{},\"a\":1}", NULL, "both" },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        json_t *in = json_loads(cases[i].in, JSON_REJECT_DUPLICATES, NULL), *out = NULL;

        if (!in)            /* the last: jansson refuses it itself */
            continue;
        Err *e = options_normalise(in, &out);
        if (cases[i].words) {
            CHECK(fails(e, cases[i].words));
        } else if (ok(e)) {
            char *got = text_of(out);
            CHECK_STR(got, cases[i].out);
            free(got);
        }
        json_decref(in);
        json_decref(out);
    }
    json_t *in = json_loads("{\"a\":{\"b\":true,\"c\":[1,\"x\"]},\"d\":null}", 0, NULL), *flat = options_flatten(in);
    char *got = text_of(flat);
    CHECK_STR(got, "{\"a.b\":\"on\",\"a.c.0\":\"1\",\"a.c.1\":\"x\",\"d\":\"\"}");
    free(got);
    json_decref(in);
    json_decref(flat);
}

static void name(const char *text, const char *format, const char *want, const char *words)
{
    json_t *o = NULL;
    Err *e = options_from_name(text, format, &o);

    if (!want) {
        CHECK(fails(e, words));
        return;
    }
    if (!ok(e)) {
        CHECK(!"parsed");
        return;
    }
    char *got = text_of(o);
    CHECK_STR(got, want);
    free(got);
    json_decref(o);
}

static void test_names(void)
{
    name("disk.img", NULL, "{\"file\":{\"driver\":\"file\",\"filename\":\"disk.img\"}}", NULL);
    name("disk.img", "raw", "{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"disk.img\"}}", NULL);
    name("file:a:b", "raw", "{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"a:b\"}}", NULL);
    name("./a:b", "raw", "{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"./a:b\"}}", NULL);
    name("/dev/null", NULL, "{\"file\":{\"driver\":\"host_device\",\"filename\":\"/dev/null\"}}", NULL);
    name("a", "file", "{\"driver\":\"file\",\"filename\":\"a\"}", NULL);
    name("null-co://", "null-co", "{\"driver\":\"null-co\"}", NULL);
    name("json:{\"driver\":\"raw\",\"file.filename\":\"x\"}", NULL,
         "{\"driver\":\"raw\",\"file\":{\"filename\":\"x\"}}", NULL);
    name("json:{\"driver\":\"layer\",\"file\":\"x\"}", "raw", "{\"driver\":\"raw\",\"file\":\"x\"}", NULL);
    name("a:b", NULL, NULL, "Unknown protocol 'a'");
    name("x", "nosuch", NULL, "Unknown driver 'nosuch'");
    name("", NULL, NULL, "empty");
    name("json:{", NULL, NULL, "Could not parse");
    name("json:{\"a\":1,\"a\":2}", NULL, NULL, "Could not parse");
    name("json:[1]", NULL, NULL, "an object");
    name("\xff\xfe", NULL, NULL, "UTF-8");
}

static void test_cache(void)
{
    static const struct { const char *mode; bool direct, no_flush, through; } modes[] = {
        { "none", true, false, false }, { "writeback", false, false, false }, { "writethrough", false, false, true },
        { "directsync", true, false, true }, { "unsafe", false, true, false },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(modes); i++) {
        json_t *o = json_object();
        bool through = !modes[i].through;

        CHECK(ok(options_set_cache(o, modes[i].mode, &through)));
        CHECK_EQ(json_is_true(options_get(o, "cache.direct")), modes[i].direct);
        CHECK_EQ(json_is_true(options_get(o, "cache.no-flush")), modes[i].no_flush);
        CHECK_EQ(through, modes[i].through);
        json_decref(o);
    }
    json_t *o = json_object();
    bool through;
    CHECK(fails(options_set_cache(o, "wb", &through), "no cache mode 'wb'"));
    json_decref(o);
}

/* Real files: what a node's name is, relative backing files, loops. */
static char *dir;

static char *path_of(const char *file)
{
    return g_strdup_printf("%s/%s", dir, file);
}

static void make_file(const char *file)
{
    g_autofree char *path = path_of(file), *k = g_malloc0(4096);

    CHECK(g_file_set_contents(path, k, 4096, NULL));
}

static BlockNode *open_json(BlockGraph *g, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_autofree char *text = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    json_t *o = json_loads(text, 0, NULL);
    BlockNode *n = NULL;
    CHECK(o != NULL);
    CHECK(ok(node_open(g, o, 0, &n)));
    json_decref(o);
    return n;
}

static void test_files(BlockGraph *g)
{
    g_autofree char *a = path_of("a"), *b = path_of("b"), *c = path_of("c:d");
    json_t *o = NULL;
    BlockNode *n;
    Err *e;

    make_file("a");
    make_file("b");
    make_file("c:d");
    CHECK(ok(options_from_name(a, NULL, &o)));
    CHECK(ok(node_open(g, o, 0, &n)));
    CHECK_STR(node_format(n), "raw");
    CHECK(n->probed);
    CHECK_STR(node_filename(n), a);
    CHECK_STR(node_path(n), a);
    node_unref(n);
    json_decref(o);
    n = open_json(g, "{\"driver\":\"raw\",\"size\":1024,\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", a);
    g_autofree char *want = g_strdup_printf("json:{\"driver\": \"raw\", \"size\": 1024, \"file\": "
                                            "{\"driver\": \"file\", \"filename\": \"%s\"}}", a);
    CHECK_STR(node_filename(n), want);
    node_unref(n);
    /* Relative to the overlay, and a name with a colon that was said to be a file. */
    n = open_json(g, "{\"driver\":\"layer\",\"named\":\"b\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", a);
    CHECK_STR(node_path(node_backing(n)), b);
    CHECK_STR(node_filename(n), a);
    node_unref(n);
    n = open_json(g, "{\"driver\":\"layer\",\"named\":\"./c:d\",\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", a);
    CHECK_EQ(node_size(node_backing(n)), 4096);
    node_unref(n);
    /* The user's word counts more than the header's, and then a plain name does not say all. */
    n = open_json(g, "{\"driver\":\"layer\",\"named\":\"nosuch\",\"backing\":null,"
                  "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", a);
    CHECK(!node_backing(n) && g_str_has_prefix(node_filename(n), "json:"));
    CHECK(strstr(node_filename(n), "\"backing\": null") != NULL);
    node_unref(n);
    n = open_json(g, "{\"driver\":\"layer\",\"named\":\"b\",\"backing\":{\"driver\":\"raw\"},"
                  "\"file\":{\"driver\":\"file\",\"filename\":\"%s\"}}", a);
    CHECK(node_backing(n) && !node_backing(n)->probed);
    node_unref(n);
    /* A chain that comes back to itself. */
    o = json_pack("{s:s,s:s,s:{s:s,s:s,s:{s:s,s:s},s:s},s:{s:s,s:s}}", "driver", "layer", "named", "x",
                  "backing", "driver", "layer", "named", "../", "file", "driver", "file", "filename", b, "named", "./a",
                  "file", "driver", "file", "filename", a);
    e = node_open(g, o, 0, &n);
    CHECK(fails(e, "bites its tail"));
    json_decref(o);
}

int main(void)
{
    g_autofree char *made = g_dir_make_tmp("lyre-options-XXXXXX", NULL);

    dir = made;
    RUN(test_lists);
    RUN(test_normalise);
    RUN(test_names);
    RUN(test_cache);
    RUN_IN_GRAPH(test_files);
    for (const char *const *f = (const char *const []){ "a", "b", "c:d", NULL }; *f; f++) {
        g_autofree char *path = path_of(*f);

        unlink(path);
    }
    rmdir(dir);
    return test_end();
}
