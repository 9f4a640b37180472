/* SPDX-License-Identifier: MIT */
/* Transactions: several changes of disks, all of one moment, all or none. See monitor/actions.h. */
#include <string.h>

#include "monitor/actions.h"

static Err *fail_on_purpose(Action *a, const BlockVisit *v)
{
    return err(ERR_INVALID, "Transaction aborted using Abort action");
}

static const ActionKind action_abort = { .size = sizeof(Action), .grouped = true, .prepare = fail_on_purpose };

/* In the order of TransactionActionKind. */
static const ActionKind *const kinds[] = {
    &action_abort, &action_bitmap_add, &action_bitmap_remove, &action_bitmap_clear, &action_bitmap_enable, &action_bitmap_disable,
    &action_bitmap_merge, &action_backup, &action_snapshot, &action_snapshot_internal, &action_snapshot_sync, &action_drive_backup,
};

/* ---- one action, in the thread of its node */

Err *action_job(Action *a, const BlockVisit *v, JobConfig *c)
{
    ActionTxn *t = a->txn;

    c->manual_start = true;
    if (!t->grouped)
        return NULL;
    if (!t->jobs) {
        t->jobs = jobtxn_new();
        t->thread = v->thread;
    }
    c->txn = t->jobs;
    return NULL;
}

static Err *enter(BlockVisit *v)
{
    Action *a = (Action *)v->args;

    a->node = node_ref(v->node);
    node_drain_begin(a->node);
    Err *e = a->kind->prepare(a, v);
    if (!e) {
        a->thread = v->thread;
        return NULL;
    }
    node_drain_end(a->node);
    node_unref(a->node);
    return e;
}

static void commit(void *opaque)
{
    Action *a = opaque;

    a->kind->commit(a);
}

static void undo(void *opaque)
{
    Action *a = opaque;

    a->kind->abort(a);
}

static void leave(void *opaque)
{
    Action *a = opaque;

    node_drain_end(a->node);
    node_unref(a->node);
}

/* ---- all of them, in the main thread */

static Err *prepare(Action *a)
{
    const char *name = NULL, *device = NULL, *node = NULL;

    if (!a->kind->subject)
        return a->kind->prepare(a, NULL);
    a->kind->subject(a->args, &name, &device, &node);
    if (a->kind->gather)
        TRY(a->kind->gather(a->vm, a->args));
    return name ? block_at(a->vm, name, enter, a) : block_at_either(a->vm, device, node, enter, a);
}

static void drop_jobs(void *opaque)
{
    jobtxn_unref(opaque);
}

static Err *run_all(Action **list, unsigned n, ActionTxn *t)
{
    unsigned done = 0;
    Err *e = NULL;

    while (done < n && !e) {
        e = prepare(list[done]);
        done += !e;
    }
    for (unsigned i = 0; i < done && !e; i++) {
        if (list[i]->kind->commit)
            iothread_run(list[i]->thread, commit, list[i]);
    }
    for (unsigned i = done; e && i--; ) {
        if (list[i]->kind->abort)
            iothread_run(list[i]->thread, undo, list[i]);
    }
    while (done--)
        iothread_run(list[done]->thread, leave, list[done]);
    if (t->jobs)
        iothread_run(t->thread, drop_jobs, t->jobs);
    return e;
}

static Action *action_new(Monitor *m, const ActionKind *k, const void *args, ActionTxn *t)
{
    Action *a = g_malloc0(k->size);

    a->kind = k;
    a->args = args;
    a->vm = m->vm;
    a->txn = t;
    return a;
}

Err *action_run(Monitor *m, const ActionKind *k, const void *args)
{
    ActionTxn t = { false };
    g_autofree Action *a = action_new(m, k, args, &t);

    return run_all(&a, 1, &t);
}

/* ---- the command */

/* `v` has been checked by the schema. */
static Err *parse(Monitor *m, const json_t *v, ActionTxn *t, GPtrArray *actions, GPtrArray *structs)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    const ActionKind *k = kinds[qmp_enum(qmp_TransactionActionKind_names, type)];
    const QmpCommand *c = k->command ? qmp_command_find(k->command) : NULL;
    void *args = g_malloc0(c ? c->size : 1);

    g_ptr_array_add(structs, args);
    if (t->grouped && !k->grouped)
        return err(ERR_INVALID, "Action '%s' does not support transaction property completion-mode = grouped", type);
    if (c)
        TRY(qmp_args(c, json_object_get(v, "data"), args));
    g_ptr_array_add(actions, action_new(m, k, args, t));
    return NULL;
}

Err *qmp_transaction(Monitor *m, const TransactionArgs *args, json_t **ret)
{
    g_autoptr(GPtrArray) actions = g_ptr_array_new_with_free_func(g_free), structs = g_ptr_array_new_with_free_func(g_free);
    const char *mode = json_string_value(json_object_get(args->properties, "completion-mode"));
    ActionTxn t = { .grouped = mode && !strcmp(mode, "grouped") };
    json_t *v;
    size_t i;

    json_array_foreach((json_t *)args->actions, i, v)
        TRY(parse(m, v, &t, actions, structs));
    return run_all((Action **)actions->pdata, actions->len, &t);
}
