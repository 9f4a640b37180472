/* SPDX-License-Identifier: MIT */
/* yank and query-yank. They run out of band: nothing here may wait, or look at the machine beyond its registry. */
#include "monitor/monitor-priv.h"
#include "util/yank.h"

/* In the order of the schema's enum. */
static const YankKind kinds[] = { YANK_BLOCK_NODE, YANK_CHARDEV, YANK_MIGRATION };
static const char *const members[] = { "node-name", "id", NULL };

Err *qmp_yank(Monitor *m, const YankArgs *args, json_t **ret)
{
    size_t n = json_array_size(args->instances), i;
    g_autofree YankName *names = g_new0(YankName, n);
    const json_t *v;

    json_array_foreach(args->instances, i, v) {
        int type = qmp_enum(qmp_YankInstanceType_names, json_string_value(json_object_get(v, "type")));

        names[i].kind = kinds[type];
        names[i].name = members[type] ? json_string_value(json_object_get(v, members[type])) : NULL;
    }
    return yanks_pull(m->vm->yanks, names, (unsigned)n);
}

static void show(void *opaque, YankKind kind, const char *name)
{
    json_t *one = json_object();

    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (kinds[i] != kind)
            continue;
        json_object_set_new(one, "type", json_string(qmp_YankInstanceType_names[i]));
        if (members[i])
            json_object_set_new(one, members[i], text_json(name));
    }
    json_array_append_new(opaque, one);
}

Err *qmp_query_yank(Monitor *m, const QueryYankArgs *args, json_t **ret)
{
    *ret = json_array();
    yanks_each(m->vm->yanks, show, *ret);
    return NULL;
}
