/* SPDX-License-Identifier: MIT */
/*
 * blockdev-create: its options are those of lyre-img's -o under other names, and
 * become such a list.
 */
#include <string.h>

#include "monitor/job_start.h"

void qmp_open_creates(QmpOpen *to)
{
}

typedef struct Creating {
    const BlockdevCreateArgs *a;
    CreateRequest r;
} Creating;

static Err *start_create(BlockVisit *v)
{
    const Creating *k = v->args;
    CreateRequest r = k->r;
    JobConfig c = job_config_alone(v->vm, k->a->job_id);
    g_autofree char *name = v->node ? g_strdup(node_filename(v->node)) : NULL;
    Job *j;

    TRY(job_id_free(v->vm, k->a->job_id));
    c.manual_dismiss = true;
    if (name)
        r.filename = name;
    return job_create(v->graph, &r, &c, &j);
}

static void create_anywhere(void *opaque)
{
    BlockVisit *v = opaque;

    v->e = v->fn(v);
}

static char *scalar_text(const json_t *v)
{
    if (json_is_string(v))
        return g_strdup(json_string_value(v));
    if (json_is_boolean(v))
        return g_strdup(json_is_true(v) ? "on" : "off");
    return json_is_integer(v) ? g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(v)) : NULL;
}

/* blockdev-create's names of what -o has. */
static Err *create_options(const json_t *o, GString *out)
{
    static const char *const own[] = { "driver", "file", "filename", "size", "backing-file", "backing-fmt" };
    static const char *const names[][2] = { { "version", "compat" } };
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        bool mine = false;
        for (size_t i = 0; i < G_N_ELEMENTS(own); i++)
            mine |= !strcmp(own[i], key);
        if (mine)
            continue;
        g_autofree char *text = scalar_text(v), *name = g_strdelimit(g_strdup(strcmp(key, names[0][0]) ? key : names[0][1]), "-", '_');
        if (!text)
            return err(ERR_UNSUPPORTED, "Parameter 'options.%s' is not available as a group", key);
        if (!strcmp(key, "version"))
            text[strcspn(text, "v")] = strchr(text, 'v') ? ' ' : text[strcspn(text, "v")];
        g_auto(GStrv) parts = g_strsplit(strcmp(key, "version") ? text : strstr(text, "2") ? "0.10" : "1.1", ",", -1);
        g_autofree char *doubled = g_strjoinv(",,", parts);
        g_string_append_printf(out, "%s%s=%s", out->len ? "," : "", name, doubled);
    }
    return NULL;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

Err *qmp_blockdev_create(Monitor *m, const BlockdevCreateArgs *args, json_t **ret)
{
    const json_t *o = args->options, *size = json_object_get(o, "size");
    g_autoptr(GString) list = g_string_new(NULL);
    const char *file = text_of(o, "file");

    TRY(create_options(o, list));
    Creating k = { args, { .filename = text_of(o, "filename"), .format = text_of(o, "driver"), .options = list->str,
                           .backing = text_of(o, "backing-file"), .backing_format = text_of(o, "backing-fmt"),
                           .size = size ? (uint64_t)json_integer_value(size) : UINT64_MAX, .unsafe = true, .file_node = file } };
    if (file)
        return block_at(m->vm, file, start_create, &k);
    if (!k.r.filename)
        return err(ERR_INVALID, "Parameter 'options.file' is missing");
    BlockVisit v = { .vm = m->vm, .graph = disks_graph(m->vm->disks), .fn = start_create, .args = &k };
    iothread_run(disks_thread(m->vm->disks), create_anywhere, &v);
    return v.e;
}
