/* SPDX-License-Identifier: MIT */
/* query-blockstats: what disks and nodes have done. Disks count (block/stats.h); of nodes the highest write is known. */
#include "block/driver.h"
#include "block/stats.h"
#include "monitor/block_info.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"

static void put(json_t *o, DiskOp op, const char *what, uint64_t v)
{
    g_autofree char *key = g_strdup_printf("%s_%s", disk_op_names[op], what);

    json_object_set_new(o, key, json_integer((json_int_t)v));
}

static void put_odd(json_t *o, const char *how, DiskOp op, uint64_t v)
{
    g_autofree char *key = g_strdup_printf("%s_%s_operations", how, disk_op_names[op]);

    json_object_set_new(o, key, json_integer((json_int_t)v));
}

static json_t *numbers(const uint64_t *v, unsigned n)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < n; i++)
        json_array_append_new(list, json_integer((json_int_t)v[i]));
    return list;
}

static void put_histogram(json_t *o, DiskOp op, const Histogram *h)
{
    g_autofree char *key = g_strdup_printf("%s_latency_histogram", disk_op_names[op]);

    if (h->n)
        json_object_set_new(o, key, json_pack("{s:o, s:o}", "boundaries", numbers(h->bounds, h->n), "bins", numbers(h->bins, h->n + 1)));
}

/* s NULL: of a node, which counts nothing. */
static json_t *stats_json(const DiskStats *s, const BlockNode *n)
{
    static const DiskStats none;
    const DiskStats *v = s ? s : &none;
    json_t *o = json_pack("{s:b, s:b, s:[], s:I}", "account_invalid", s != NULL, "account_failed", s != NULL, "timed_stats",
                          "wr_highest_offset", (json_int_t)(n ? n->written_to : 0));

    for (DiskOp op = 0; op < DISK_OPS; op++) {
        put(o, op, "operations", v->ops[op]);
        put(o, op, "total_time_ns", v->ns[op]);
        if (op != DISK_OP_FLUSH) {
            put(o, op, "bytes", v->bytes[op]);
            put(o, op, "merged", v->merged[op]);
        }
        put_odd(o, "failed", op, v->failed[op]);
        put_odd(o, "invalid", op, v->invalid[op]);
        put_histogram(o, op, &v->histogram[op]);
    }
    if (v->last)
        json_object_set_new(o, "idle_time_ns", json_integer((json_int_t)(loop_now() - v->last)));
    return o;
}

/* s: of the disk above it. */
static json_t *node_json(BlockNode *n, const DiskStats *s, bool backing)
{
    json_t *o = json_pack("{s:o}", "stats", stats_json(s, n));
    json_t *special = n && n->drv->stats ? n->drv->stats(n) : NULL;

    if (!n)
        return o;
    json_object_set_new(o, "node-name", json_string(node_name(n)));
    if (special) {
        json_object_set_new(special, "driver", json_string(n->drv->name));
        json_object_set_new(o, "driver-specific", special);
    }
    if (n->file && n->file->node)
        json_object_set_new(o, "parent", node_json(n->file->node, NULL, backing));
    if (backing && n->backing && n->backing->node)
        json_object_set_new(o, "backing", node_json(n->backing->node, NULL, true));
    return o;
}

/* ---- disks */

typedef struct Ask { const BlockEnd *b; BlockGraph *graph; json_t *out; } Ask;

static void ask_end(void *opaque, BlockNode *n)
{
    Ask *a = opaque;
    static const DiskStats none;

    a->out = node_json(n, a->b->port ? &a->b->port->stats : &none, true);
}

static void add_end(void *opaque, const BlockEnd *b)
{
    Ask a = { .b = b };
    g_autofree char *qdev = block_qdev(b);

    block_look(b, ask_end, &a);
    json_object_set_new(a.out, "device", json_string(b->drive ? b->drive->id : ""));
    if (qdev)
        json_object_set_new(a.out, "qdev", json_string(qdev));
    json_array_append_new(opaque, a.out);
}

/* ---- nodes */

static void list_nodes(void *opaque)
{
    Ask *a = opaque;

    for (BlockNode *n = NULL; (n = graph_next(a->graph, n)); )
        json_array_append_new(a->out, node_json(n, NULL, false));
}

Err *qmp_query_blockstats(Monitor *m, const QueryBlockstatsArgs *args, json_t **ret)
{
    Ask a = { .out = json_array() };
    IoThread *t;

    *ret = a.out;
    if (!args->query_nodes)
        block_each(m->vm, add_end, a.out);
    for (unsigned i = 0; args->query_nodes && (t = disks_nth_thread(m->vm->disks, i, &a.graph)); i++)
        iothread_run(t, list_nodes, &a);
    return NULL;
}

/* ---- histograms */

static Err *read_bounds(const json_t *list, const char *name, uint64_t **out, unsigned *n)
{
    json_t *v;
    size_t i;

    *out = NULL;
    *n = (unsigned)json_array_size(list);
    if (!*n || *n > HISTOGRAM_MOST)
        return err(ERR_INVALID, "Device latency histogram: '%s' has 1 to %d numbers", name, HISTOGRAM_MOST);
    g_autofree uint64_t *all = g_new(uint64_t, *n);
    json_array_foreach((json_t *)list, i, v) {
        all[i] = (uint64_t)json_integer_value(v);
        if (json_integer_value(v) <= 0 || (i && all[i] <= all[i - 1]))
            return err(ERR_INVALID, "Device latency histogram: '%s' is no list of rising numbers above 0", name);
    }
    *out = g_steal_pointer(&all);
    return NULL;
}

typedef struct Bounds { DiskStats *s; uint64_t *of[DISK_OPS]; unsigned n[DISK_OPS]; bool given[DISK_OPS], off; } Bounds;

static void set_bounds(void *opaque, BlockNode *n)
{
    const Bounds *b = opaque;

    for (DiskOp op = 0; op < DISK_OP_UNMAP; op++) {
        if (b->off || b->given[op])
            histogram_set(&b->s->histogram[op], b->of[op], b->n[op]);
    }
}

static Err *read_all(Bounds *b, const BlockLatencyHistogramSetArgs *a)
{
    const json_t *own[] = { a->boundaries_read, a->boundaries_write, a->boundaries_flush };
    static const char *const names[] = { "boundaries-read", "boundaries-write", "boundaries-flush" };

    b->off = !a->boundaries;
    for (DiskOp op = 0; op < DISK_OP_UNMAP; op++) {
        const json_t *list = own[op] ? own[op] : a->boundaries;

        b->off &= !own[op];
        if (!list)
            continue;
        b->given[op] = true;
        TRY(read_bounds(list, own[op] ? names[op] : "boundaries", &b->of[op], &b->n[op]));
    }
    return NULL;
}

Err *qmp_block_latency_histogram_set(Monitor *m, const BlockLatencyHistogramSetArgs *args, json_t **ret)
{
    DiskPort *p = block_port(m->vm, args->id);
    Bounds b = { .s = p ? &p->stats : NULL };

    if (!p)
        return no_device(args->id);
    Err *e = read_all(&b, args);
    if (!e)
        block_look(&(BlockEnd){ .port = p }, set_bounds, &b);
    for (DiskOp op = 0; op < DISK_OPS; op++)
        g_free(b.of[op]);
    return e;
}
