/* SPDX-License-Identifier: MIT */
/* blockdev-reopen: other options for nodes that are open. */
#include "block/driver.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"

static const char *name_of(const json_t *o)
{
    return json_string_value(json_object_get(o, "node-name"));
}

static Err *check(const json_t *o, size_t i)
{
    const json_t *driver = json_object_get(o, "driver");

    if (!driver)
        return err(ERR_INVALID, "Parameter 'options[%zu].driver' is missing", i);
    if (!json_is_string(driver))
        return err(ERR_INVALID, "Invalid parameter type for 'options[%zu].driver', expected: string", i);
    if (!driver_find(json_string_value(driver)))
        return err(ERR_INVALID, "Parameter 'options[%zu].driver' does not accept value '%s'", i, json_string_value(driver));
    return name_of(o) ? NULL : err(ERR_INVALID, "node-name not specified");
}

/* In the first one's thread. */
static Err *reopen(BlockVisit *v)
{
    const json_t *list = v->args;
    size_t count = json_array_size(list);
    g_autofree BlockNode **nodes = g_new0(BlockNode *, count);
    g_autofree json_t **options = g_new0(json_t *, count);

    for (size_t i = 0; i < count; i++) {
        options[i] = json_array_get(list, i);
        nodes[i] = graph_find(v->graph, name_of(options[i]));
        if (!nodes[i])
            return err_hint(err(ERR_NOT_FOUND, "Failed to find node with node-name='%s'", name_of(options[i])),
                            "Nodes that are reopened together have to be in one I/O thread.");
        if (nodes[i]->inactive)
            return err_hint(err(ERR_BUSY, "node '%s' was handed over: another process may have its image", node_name(nodes[i])),
                            "cont takes it back.");
    }
    return nodes_reopen(nodes, options, (unsigned)count);
}

Err *qmp_blockdev_reopen(Monitor *m, const BlockdevReopenArgs *args, json_t **ret)
{
    const json_t *o;
    size_t i;
    Err *e;

    json_array_foreach((json_t *)args->options, i, o)
        TRY(check(o, i));
    if (!json_array_size(args->options))
        return NULL;
    const char *first = name_of(json_array_get(args->options, 0));
    if (!block_visit(m->vm, first, BLOCK_NODE, reopen, args->options, &e))
        return err(ERR_NOT_FOUND, "Failed to find node with node-name='%s'", first);
    return e;
}
