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

/* Those of one thread. */
typedef struct Part {
    IoThread *thread;
    BlockGraph *graph;
    GPtrArray *options;             /* borrowed */
    ReopenSet *set;
    bool keep;
    Err *e;
} Part;

static void part_free(void *p)
{
    g_ptr_array_free(((Part *)p)->options, true);
    g_free(p);
}

static Err *begin_part(Part *p)
{
    g_autofree BlockNode **nodes = g_new0(BlockNode *, p->options->len);

    for (guint i = 0; i < p->options->len; i++) {
        nodes[i] = graph_find(p->graph, name_of(p->options->pdata[i]));
        if (!nodes[i])
            return err(ERR_NOT_FOUND, "Failed to find node with node-name='%s'", name_of(p->options->pdata[i]));
        if (nodes[i]->inactive)
            return err_hint(err(ERR_BUSY, "node '%s' was handed over: another process may have its image", node_name(nodes[i])),
                            "cont takes it back.");
    }
    return nodes_reopen_begin(nodes, (json_t **)p->options->pdata, p->options->len, &p->set);
}

static void begin(void *opaque)
{
    ((Part *)opaque)->e = begin_part(opaque);
}

static void end(void *opaque)
{
    nodes_reopen_end(((Part *)opaque)->set, ((Part *)opaque)->keep);
}

static Err *remember_place(BlockVisit *v)
{
    Part *p = (Part *)v->args;

    p->thread = v->thread;
    p->graph = v->graph;
    return NULL;
}

static Err *to_part(Vm *vm, GPtrArray *parts, json_t *o)
{
    Part here = { 0 }, *p = NULL;
    Err *e;

    if (!block_visit(vm, name_of(o), BLOCK_NODE, remember_place, &here, &e))
        return err(ERR_NOT_FOUND, "Failed to find node with node-name='%s'", name_of(o));
    for (guint i = 0; i < parts->len && !p; i++)
        p = ((Part *)parts->pdata[i])->thread == here.thread ? parts->pdata[i] : NULL;
    if (!p) {
        p = g_memdup2(&here, sizeof(here));
        p->options = g_ptr_array_new();
        g_ptr_array_add(parts, p);
    }
    g_ptr_array_add(p->options, o);
    return e;
}

/* All parts are reopened, and drained, before the first is told that it is for good. */
static Err *reopen(GPtrArray *parts)
{
    Err *e = NULL;
    guint n = 0;

    for (; n < parts->len && !e; n++) {
        Part *p = parts->pdata[n];

        iothread_run(p->thread, begin, p);
        e = p->e;
    }
    for (guint i = n; i--; ) {
        Part *p = parts->pdata[i];

        p->keep = !e;
        if (p->set)
            iothread_run(p->thread, end, p);
    }
    return e;
}

Err *qmp_blockdev_reopen(Monitor *m, const BlockdevReopenArgs *args, json_t **ret)
{
    g_autoptr(GPtrArray) parts = g_ptr_array_new_with_free_func(part_free);
    json_t *o;
    size_t i;

    json_array_foreach((json_t *)args->options, i, o)
        TRY(check(o, i));
    json_array_foreach((json_t *)args->options, i, o) {
        const char *backing = json_string_value(json_object_get(o, "backing"));

        if (backing && *backing)
            TRY(block_together(m->vm, name_of(o), backing));
    }
    json_array_foreach((json_t *)args->options, i, o)
        TRY(to_part(m->vm, parts, o));
    return reopen(parts);
}
