/* SPDX-License-Identifier: MIT */
/*
 * Reopening: other options for an open node and the children that take theirs
 * from it. All of them or none.
 *
 * What turns writable does so from below, so that a format finds a file that it
 * can write to; what turns read-only does so from above, so that a format can
 * still put its metadata in order. A step that fails undoes those before it.
 */
#include <string.h>

#include "block/block-priv.h"

typedef struct Step {
    BlockNode *n;
    BlockNode *was, *now;       /* drv->size bytes: the options of the node and PROPs of the driver */
} Step;

/* ---- options as values */

static bool same_props(const void *a, const void *b, const Field *table)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        if (f->role != FIELD_PROP)
            continue;
        g_autofree char *x = prop_print(a, f), *y = prop_print(b, f);
        if (g_strcmp0(x, y))
            return false;
    }
    return true;
}

static void take_values(BlockNode *to, const BlockNode *from)
{
    to->drv = from->drv;
    to->graph = from->graph;
    props_copy(to, from, node_fields);
    to->opt_read_only = to->read_only = from->read_only;
    props_copy(to, from, from->drv->fields);
}

static BlockNode *values_of(const BlockNode *n)
{
    BlockNode *v = g_malloc0(n->drv->size);

    take_values(v, n);
    return v;
}

static void values_free(BlockNode *v)
{
    props_clear(v, v->drv->fields);
    props_clear(v, node_fields);
    g_free(v);
}

static void step_free(void *p)
{
    Step *s = p;

    values_free(s->was);
    values_free(s->now);
    g_free(s);
}

/* ---- what shall change */

static bool explicit(const BlockNode *n, const char *option)
{
    return options_get(n->options, option) != NULL;
}

/* What a child takes over from its parent, where its own options are silent. */
static void inherit(BlockNode *now, const BlockNode *n, const BlockNode *parent)
{
    if (!explicit(n, "read-only"))
        now->opt_read_only = parent->read_only;
    if (!explicit(n, "auto-read-only"))
        now->auto_read_only = parent->auto_read_only;
    if (!explicit(n, "force-share"))
        now->force_share = parent->force_share;
    if (!explicit(n, "cache.direct"))
        now->cache_direct = parent->cache_direct;
    if (!explicit(n, "cache.no-flush"))
        now->cache_no_flush = parent->cache_no_flush;
}

static Err *same_word(const json_t *o, const char *option, const char *is)
{
    const char *said = options_str(o, option);

    return !said || !strcmp(said, is) ? NULL : err(ERR_INVALID, "Cannot change the option '%s'", option);
}

static Err *plan(GPtrArray *steps, BlockNode *n, const json_t *given, const BlockNode *parent, bool anew);

/* Children that were given as part of this node's options; other nodes have a life of their own. */
static Err *plan_children(GPtrArray *steps, const Step *s, json_t *o, bool anew)
{
    for (BlockChild *c = s->n->children; c; c = c->next) {
        json_t *own = c->node ? json_object_get(o, c->role) : NULL;
        bool inlined = json_is_object(json_object_get(s->n->options, c->role));
        Err *e = NULL;

        if (!c->node || (c == s->n->backing && !json_is_object(own)))
            continue;
        if (json_is_string(own))
            e = same_word(o, c->role, c->node->node_name);
        else if (inlined || json_is_object(own))
            e = plan(steps, c->node, own, c == s->n->backing ? NULL : s->now, anew && own);
        json_object_del(o, c->role);
        if (e)
            return err_in(e, "'%s'", c->role);
    }
    return NULL;
}

static Err *nothing_left(const BlockNode *n, json_t *o)
{
    json_object_del(o, "driver");
    json_object_del(o, "node-name");
    json_object_del(o, "backing");
    const char *key = json_object_iter_key(json_object_iter(o));
    return key ? err(ERR_INVALID, "Cannot change the option '%s' of driver '%s'", key, n->drv->name) : NULL;
}

/* As if nothing had ever been said, but for the name. */
static void forget_options(BlockNode *now, const BlockNode *parent)
{
    now->opt_read_only = parent && parent->read_only;
    now->auto_read_only = parent && parent->auto_read_only;
    now->force_share = parent && parent->force_share;
    now->cache_direct = parent && parent->cache_direct;
    now->cache_no_flush = parent && parent->cache_no_flush;
    now->discard = now->detect_zeroes = 0;
    props_clear(now, now->drv->fields);
    props_init(now, now->drv->fields);
}

static Err *check_anew(const BlockNode *n, const json_t *o)
{
    if (n->backing && n->backing->node && !json_object_get(o, "backing"))
        return err_hint(err(ERR_INVALID, "backing is missing for '%s'", n->node_name),
                        "Say which node, or null: what is left out is as if it had never been given.");
    return NULL;
}

static Err *plan(GPtrArray *steps, BlockNode *n, const json_t *given, const BlockNode *parent, bool anew)
{
    Step *s = g_new0(Step, 1);
    json_t *o = NULL;
    Err *e = NULL;

    s->n = n;
    s->was = values_of(n);
    s->now = values_of(n);
    g_ptr_array_add(steps, s);
    if (anew)
        forget_options(s->now, parent);
    else if (parent)
        inherit(s->now, n, parent);
    o = given ? json_deep_copy(given) : json_object();
    e = same_word(o, "driver", n->drv->name);
    if (!e && anew)
        e = check_anew(n, o);
    if (!e)
        e = same_word(o, "node-name", n->node_name);
    json_object_del(o, "node-name");
    if (!e)
        e = options_take(o, node_fields, s->now);
    if (!e)
        e = options_take(o, n->drv->fields, s->now);
    s->now->read_only = s->now->opt_read_only;
    if (!e)
        e = plan_children(steps, s, o, anew);
    if (!e)
        e = nothing_left(n, o);
    json_decref(o);
    return e;
}

/* ---- doing it */

static Err *call_driver(BlockNode *n, const BlockNode *to)
{
    if (n->drv->reopen)
        return n->drv->reopen(n, to, to->read_only);
    if (n->drv->kind == DRIVER_PROTOCOL && n->read_only != to->read_only)
        return err(ERR_UNSUPPORTED, "Driver '%s' cannot change between read-only and writable while it is open", n->drv->name);
    if (!same_props(n, to, n->drv->fields))
        return err(ERR_UNSUPPORTED, "Options of driver '%s' cannot be changed while it is open", n->drv->name);
    return NULL;
}

static void set_read_only(BlockNode *n, bool on)
{
    n->read_only = n->opt_read_only = on;
    if (on)
        n->open_flags &= ~(unsigned)OPEN_RW;
    else
        n->open_flags |= OPEN_RW;
}

static Err *turn(BlockNode *n, bool read_only)
{
    bool was = n->read_only;

    set_read_only(n, read_only);
    Err *e = perms_refresh(&n, 1);
    if (e)
        set_read_only(n, was);
    return e;
}

static Err *check(const Step *s)
{
    const BlockNode *n = s->n, *to = s->now;

    if (to->detect_zeroes == 2 && !to->discard)
        return err(ERR_INVALID, "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
    if (to->force_share && !to->read_only)
        return err(ERR_INVALID, "force-share=on can only be used with read-only images");
    if (!to->read_only && !n->drv->write && !n->drv->zero)
        return err(ERR_UNSUPPORTED, "Driver '%s' can only be used for read-only devices", n->drv->name);
    return NULL;
}

/* The options of `to`, but for read-only, which turn() sets. */
static Err *call_and_take(BlockNode *n, const BlockNode *to)
{
    bool read_only = n->read_only;

    TRY(call_driver(n, to));
    take_values(n, to);
    n->read_only = n->opt_read_only = read_only;
    return NULL;
}

/* What turns read-only is left writable until all have agreed (commit). */
static Err *step_forth(Step *s)
{
    BlockNode *n = s->n;
    const bool rw = n->read_only && !s->now->read_only;
    int ret;

    TRY(check(s));
    if (!rw) {
        ret = s->now->read_only ? node_flush(n) : 0;
        return ret ? err_errno(-ret, "cannot flush") : call_and_take(n, s->now);
    }
    TRY(turn(n, false));
    n->read_only = true;                /* as the driver expects it */
    Err *e = call_and_take(n, s->now);
    n->read_only = n->opt_read_only = false;
    if (e)
        err_free(turn(n, true));
    return e;
}

static void step_back(Step *s)
{
    err_free(call_and_take(s->n, s->was));
    if (s->n->read_only != s->was->read_only)
        err_free(turn(s->n, s->was->read_only));
}

/* Those that shall be read-only are so now, and ask for less. */
static Err *commit(GPtrArray *done)
{
    g_autoptr(GPtrArray) nodes = g_ptr_array_new();
    Err *e = NULL;

    for (unsigned i = 0; i < done->len; i++) {
        Step *s = done->pdata[i];

        if (!s->now->read_only || s->n->read_only)
            continue;
        set_read_only(s->n, true);
        g_ptr_array_add(nodes, s->n);
    }
    if (nodes->len)
        e = perms_refresh((BlockNode *const *)nodes->pdata, nodes->len);
    for (unsigned i = 0; e && i < nodes->len; i++)
        set_read_only(nodes->pdata[i], false);
    return e;
}

static bool differs(const Step *s)
{
    return s->was->read_only != s->now->read_only || !same_props(s->was, s->now, node_fields) ||
           !same_props(s->was, s->now, s->n->drv->fields);
}

static Err *do_step(Step *s, GPtrArray *done)
{
    if (!differs(s))
        return NULL;
    Err *e = step_forth(s);
    if (e)
        return err_in(e, "Cannot reopen '%s'", node_path(s->n));
    g_ptr_array_add(done, s);
    return NULL;
}

/* The plan lists parents before their children. */
static Err *do_all(GPtrArray *steps, GPtrArray *done)
{
    for (unsigned i = 0; i < steps->len; i++) {
        Step *s = steps->pdata[i];

        if (s->now->read_only)
            TRY(do_step(s, done));
    }
    for (unsigned i = steps->len; i--; ) {
        Step *s = steps->pdata[i];

        if (!s->now->read_only)
            TRY(do_step(s, done));
    }
    return NULL;
}

/* ---- a node and what takes its options from it */

typedef struct Reopen {
    BlockNode *n;
    json_t *o;
    GPtrArray *steps, *done;
    BlockNode *was_backing;     /* held */
} Reopen;

/* "backing": "node" or null, beside the rest. */
static Err *change_backing(BlockNode *n, const json_t *o)
{
    const json_t *v = json_object_get(o, "backing");
    const char *name = json_string_value(v);

    if (json_is_null(v) || (name && !*name))
        return n->backing ? node_set_backing(n, NULL) : NULL;
    if (!name)
        return NULL;
    BlockNode *b = graph_find(n->graph, name);
    if (!b)
        return err(ERR_NOT_FOUND, "Cannot find a node named '%s'", name);
    return node_set_backing(n, b);
}

static void back_to(const Reopen *r)
{
    if (json_object_get(r->o, "backing") && (r->n->backing || r->was_backing))
        err_free(node_set_backing(r->n, r->was_backing));
}

/* All of it, or nothing. */
static Err *do_plan(Reopen *r)
{
    r->was_backing = r->n->backing ? node_ref(r->n->backing->node) : NULL;
    Err *e = do_all(r->steps, r->done);
    if (!e)
        e = change_backing(r->n, r->o);
    if (!e) {
        e = commit(r->done);
        if (e)
            back_to(r);
    }
    for (unsigned i = r->done->len; e && i--; )
        step_back(r->done->pdata[i]);
    return e;
}

/* Undoes one that went well: the same steps the other way round, from the last to the first. */
static void undo(const Reopen *r)
{
    g_autoptr(GPtrArray) steps = g_ptr_array_new_with_free_func(g_free);

    back_to(r);
    for (unsigned i = r->done->len; i--; ) {
        const Step *s = r->done->pdata[i];
        Step *back = g_new(Step, 1);

        *back = (Step){ s->n, s->now, s->was };
        g_ptr_array_add(steps, back);
        err_free(step_forth(back));
    }
    err_free(commit(steps));
}

/* What node_options tells from now on. */
static void remember(BlockNode *n, const json_t *o)
{
    const char *key;
    json_t *v;

    json_object_foreach((json_t *)o, key, v) {
        if (!strcmp(key, "file") || !strcmp(key, "backing"))
            continue;
        json_t *was = json_object_get(n->options, key);
        if (json_is_object(was) && json_is_object(v))
            json_object_update(was, v);
        else
            json_object_set_new(n->options, key, json_deep_copy(v));
    }
}

static Err *reopen_one(Reopen *r, BlockNode *n, const json_t *options, bool anew)
{
    *r = (Reopen){ .n = n, .steps = g_ptr_array_new_with_free_func(step_free), .done = g_ptr_array_new() };
    TRY(options_normalise(options, &r->o));
    TRY(plan(r->steps, n, r->o, NULL, anew));
    return do_plan(r);
}

static void reopen_clear(Reopen *r)
{
    json_decref(r->o);
    node_unref(r->was_backing);
    g_ptr_array_free(r->done, true);
    g_ptr_array_free(r->steps, true);
}

struct ReopenSet {
    unsigned count, begun;
    BlockNode **nodes;          /* held and drained */
    Reopen *all;
};

static void set_free(ReopenSet *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        node_drain_end(s->nodes[i]);
        node_unref(s->nodes[i]);
    }
    g_free(s->nodes);
    g_free(s->all);
    g_free(s);
}

static Err *set_begin(BlockNode *const *nodes, json_t *const *options, unsigned count, bool anew, ReopenSet **out)
{
    ReopenSet *s = g_new(ReopenSet, 1);
    Err *e = NULL;

    *s = (ReopenSet){ count, 0, g_new(BlockNode *, count), g_new0(Reopen, count) };
    for (unsigned i = 0; i < count; i++) {
        s->nodes[i] = node_ref(nodes[i]);
        node_drain_begin(nodes[i]);
        node_take_back(nodes[i]);
    }
    for (; s->begun < count && !e; s->begun++)
        e = reopen_one(&s->all[s->begun], nodes[s->begun], options[s->begun], anew);
    *out = s;
    if (!e)
        return NULL;
    reopen_clear(&s->all[--s->begun]);          /* it has undone its own */
    nodes_reopen_end(s, false);
    *out = NULL;
    return e;
}

Err *nodes_reopen_begin(BlockNode *const *nodes, json_t *const *options, unsigned count, ReopenSet **out)
{
    return set_begin(nodes, options, count, true, out);
}

void nodes_reopen_end(ReopenSet *s, bool keep)
{
    for (unsigned i = s->begun; !keep && i--; )
        undo(&s->all[i]);
    for (unsigned i = 0; i < s->begun; i++) {
        if (keep)
            remember(s->all[i].n, s->all[i].o);
        reopen_clear(&s->all[i]);
    }
    set_free(s);
}

Err *node_reopen(BlockNode *n, const json_t *options)
{
    json_t *o = (json_t *)options;
    ReopenSet *s;

    TRY(set_begin(&n, &o, 1, false, &s));
    nodes_reopen_end(s, true);
    return NULL;
}

BlockNode *reopen_values(const BlockNode *n)
{
    return values_of(n);
}

void reopen_values_free(BlockNode *v)
{
    values_free(v);
}

Err *reopen_alone(BlockNode *n, bool read_only)
{
    Step s = { n, values_of(n), values_of(n) };

    s.now->read_only = s.now->opt_read_only = read_only;
    node_drain_begin(n);
    Err *e = step_forth(&s);
    if (!e && read_only) {
        e = turn(n, true);
        if (e)
            step_back(&s);
    }
    node_drain_end(n);
    values_free(s.was);
    values_free(s.now);
    return e;
}

Err *node_set_read_only(BlockNode *n, bool on)
{
    json_t *o = json_pack("{s:b}", "read-only", on);
    Err *e = node_reopen(n, o);

    json_decref(o);
    return e;
}
