/* SPDX-License-Identifier: MIT */
/*
 * QMP's stream, cut at places that the input chooses: the splitter, the JSON
 * parser, and the arguments of whatever command is named. No command is run.
 */
#include "tests/fuzz/fuzz.h"

#include "monitor/qmp/split.h"
#include "monitor/schema_gen.h"

static void check_command(const json_t *v)
{
    const char *name = json_string_value(json_object_get(v, "execute"));
    const QmpCommand *c = name ? qmp_command_find(name) : NULL;

    if (!c)
        return;
    void *args = g_malloc0(c->size);

    fuzz_error(qmp_args(c, json_object_get(v, "arguments"), args));
    g_free(args);
}

static void value(void *opaque, const char *text, size_t len, const char *wrong)
{
    unsigned *n = opaque;

    ++*n;
    fuzz_must(text || (wrong && *wrong), "an error without a text");
    if (!text)
        return;
    fuzz_must(strlen(text) <= len, "a text longer than it is");
    json_t *v = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    if (json_is_object(v))
        check_command(v);
    json_decref(v);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned once = 0, parts = 0;
    Splitter s;

    if (!size)
        return 0;
    split_init(&s, value, &once);
    split_feed(&s, data + 1, size - 1);
    split_clear(&s);
    /* In pieces it is the same. */
    split_init(&s, value, &parts);
    for (size_t at = 1; at < size; at += 1 + data[0] % 7)
        split_feed(&s, data + at, MIN((size_t)(1 + data[0] % 7), size - at));
    split_clear(&s);
    fuzz_must(once == parts, "%u values at once, %u in pieces", once, parts);
    return 0;
}
