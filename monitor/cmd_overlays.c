/* SPDX-License-Identifier: MIT */
/*
 * Snapshots of disks: an overlay that takes what is written from now on
 * (blockdev-snapshot, blockdev-snapshot-sync), or a moment that the image keeps
 * inside (-internal-sync). See monitor/actions.h.
 */
#include <string.h>

#include "block/driver.h"
#include "block/job.h"
#include "monitor/actions.h"
#include "monitor/block_info.h"
#include "monitor/target.h"
#include "system/clock.h"

/* ---- an overlay over a->node */

typedef struct Over {
    Action a;
    BlockNode *overlay;         /* held */
} Over;

static Err *put_over(Action *a, BlockNode *overlay)
{
    if (!overlay->drv->has_backing)
        return err(ERR_INVALID, "The overlay does not support backing images");
    if (node_backing(overlay))
        return err(ERR_INVALID, "The overlay already has a backing image");
    TRY(job_node_free(overlay));
    if (overlay->parents)
        return err(ERR_BUSY, "The overlay is already in use");
    int ret = a->node->read_only ? 0 : node_flush(a->node);
    if (ret < 0)
        return err_errno(-ret, "'%s' cannot be flushed", node_name(a->node));
    TRY(node_set_backing(overlay, a->node));
    Err *e = node_replace(a->node, overlay);
    if (e)
        err_free(node_set_backing(overlay, NULL));
    else
        ((Over *)a)->overlay = node_ref(overlay);
    return e;
}

/* Nobody writes to what lies below any more. One that cannot be reopened stays as it is, which does no harm. */
static void over_commit(Action *a)
{
    Over *t = (Over *)a;

    if (!a->node->read_only)
        err_free(node_set_read_only(a->node, true));
    node_unref(t->overlay);
}

static void over_abort(Action *a)
{
    Over *t = (Over *)a;

    err_free(node_replace(t->overlay, a->node));
    err_free(node_set_backing(t->overlay, NULL));
    node_unref(t->overlay);
}

static void snapshot_subject(const void *args, const char **name, const char **device, const char **node)
{
    *name = ((const BlockdevSnapshotArgs *)args)->node;
}

static Err *snapshot_gather(Vm *vm, const void *args)
{
    const BlockdevSnapshotArgs *a = args;

    return block_together(vm, a->node, a->overlay);
}

static Err *snapshot(Action *a, const BlockVisit *v)
{
    BlockNode *overlay;

    TRY(job_node_free(a->node));
    TRY(block_other(v, ((const BlockdevSnapshotArgs *)a->args)->overlay, &overlay));
    return put_over(a, overlay);
}

const ActionKind action_snapshot = {
    .command = "blockdev-snapshot", .size = sizeof(Over), .subject = snapshot_subject, .gather = snapshot_gather,
    .prepare = snapshot, .commit = over_commit, .abort = over_abort,
};

Err *qmp_blockdev_snapshot(Monitor *m, const BlockdevSnapshotArgs *args, json_t **ret)
{
    return action_run(m, &action_snapshot, args);
}

/* ---- an overlay that is made */

static void sync_subject(const void *args, const char **name, const char **device, const char **node)
{
    *device = ((const BlockdevSnapshotSyncArgs *)args)->device;
    *node = ((const BlockdevSnapshotSyncArgs *)args)->node_name;
}

static Err *snapshot_sync(Action *act, const BlockVisit *v)
{
    const BlockdevSnapshotSyncArgs *a = act->args;
    const TargetAsked t = { .file = a->snapshot_file, .node_name = a->snapshot_node_name, .format = a->format ? a->format : "qcow2",
                            .existing = a->has_mode && a->mode == QMP_NEW_IMAGE_MODE_EXISTING, .no_backing = true };
    BlockNode *overlay;

    TRY(job_node_free(act->node));
    if (a->node_name && !a->snapshot_node_name)
        return err(ERR_INVALID, "New overlay node-name missing");
    if (a->snapshot_node_name && graph_find(v->graph, a->snapshot_node_name))
        return err(ERR_INVALID, "New overlay node-name '%s' already in use", a->snapshot_node_name);
    TRY(target_open(act->node, &t, &overlay));
    Err *e = put_over(act, overlay);
    node_unref(overlay);
    return e;
}

const ActionKind action_snapshot_sync = {
    .command = "blockdev-snapshot-sync", .size = sizeof(Over), .subject = sync_subject, .prepare = snapshot_sync,
    .commit = over_commit, .abort = over_abort,
};

Err *qmp_blockdev_snapshot_sync(Monitor *m, const BlockdevSnapshotSyncArgs *args, json_t **ret)
{
    return action_run(m, &action_snapshot_sync, args);
}

/* ---- inside of the image */

static void internal_subject(const void *args, const char **name, const char **device, const char **node)
{
    *name = ((const BlockdevSnapshotInternalSyncArgs *)args)->device;
}

static Err *can_have(BlockNode *n, const char *device)
{
    BlockNode *bare = node_skip_filters(n);

    TRY(job_node_free(n));
    if (n->read_only)
        return err(ERR_INVALID, "Device '%s' is read only", device);
    return bare->drv->snapshot_create ? NULL : err_hint(err(ERR_UNSUPPORTED, "Block format '%s' used by device '%s' does not support "
                                                            "internal snapshots", bare->drv->name, device), "qcow2 does.");
}

/* The one of that id, of that name, or of both that are given; the list is the caller's. */
static Err *find_inside(BlockNode *n, const char *id, const char *name, Snapshot **list, unsigned *count, Snapshot **out)
{
    *out = NULL;
    TRY(node_snapshots(n, list, count));
    for (unsigned i = 0; i < *count && !*out; i++) {
        Snapshot *s = &(*list)[i];

        if ((!id || !strcmp(s->id, id)) && (!name || !strcmp(s->name, name)))
            *out = s;
    }
    return NULL;
}

static Err *snapshot_internal(Action *act, const BlockVisit *v)
{
    const BlockdevSnapshotInternalSyncArgs *a = act->args;
    int64_t now = g_get_real_time();
    Snapshot *list, *same, s = { .name = (char *)a->name, .date_sec = (uint32_t)(now / 1000000), .icount = UINT64_MAX,
                                 .date_nsec = (uint32_t)(now % 1000000 * 1000), .vm_clock_nsec = (uint64_t)clock_now(v->vm, CLOCK_GUEST) };
    unsigned count;

    TRY(can_have(act->node, a->device));
    if (!*a->name)
        return err(ERR_INVALID, "Name is empty");
    TRY(find_inside(act->node, NULL, a->name, &list, &count, &same));
    snapshots_free(list, count);
    if (same)
        return err(ERR_INVALID, "Snapshot with name '%s' already exists on device '%s'", a->name, a->device);
    Err *e = node_snapshot_create(act->node, &s);
    g_free(s.id);               /* it was chosen */
    return err_in(e, "Failed to create snapshot '%s' on device '%s'", a->name, a->device);
}

static void internal_abort(Action *a)
{
    err_free(node_snapshot_delete(a->node, ((const BlockdevSnapshotInternalSyncArgs *)a->args)->name));
}

const ActionKind action_snapshot_internal = {
    .command = "blockdev-snapshot-internal-sync", .size = sizeof(Action), .subject = internal_subject, .prepare = snapshot_internal,
    .abort = internal_abort,
};

Err *qmp_blockdev_snapshot_internal_sync(Monitor *m, const BlockdevSnapshotInternalSyncArgs *args, json_t **ret)
{
    return action_run(m, &action_snapshot_internal, args);
}

typedef struct Delete { const BlockdevSnapshotDeleteInternalSyncArgs *a; json_t *info; } Delete;

static Err *delete_inside(BlockVisit *v)
{
    Delete *d = (Delete *)v->args;
    Snapshot *list, *s;
    unsigned count;
    Err *e;

    TRY(can_have(v->node, d->a->device));
    TRY(find_inside(v->node, d->a->id, d->a->name, &list, &count, &s));
    if (!s) {
        e = err(ERR_NOT_FOUND, "Snapshot with id '%s' and name '%s' does not exist on device '%s'", d->a->id ? d->a->id : "(null)",
                d->a->name ? d->a->name : "(null)", d->a->device);
    } else {
        d->info = block_snapshot_info(s);
        e = node_snapshot_delete(v->node, s->id);
    }
    snapshots_free(list, count);
    return e;
}

Err *qmp_blockdev_snapshot_delete_internal_sync(Monitor *m, const BlockdevSnapshotDeleteInternalSyncArgs *args, json_t **ret)
{
    Delete d = { args, NULL };

    if (!args->id && !args->name)
        return err(ERR_INVALID, "Name or id must be provided");
    Err *e = block_at(m->vm, args->device, delete_inside, &d);
    if (e)
        json_decref(d.info);
    else
        *ret = d.info;
    return e;
}

/* ---- the name that an image's header has for its backing file */

static Err *change_name(BlockVisit *v)
{
    const ChangeBackingFileArgs *a = v->args;
    BlockNode *n = graph_find(v->graph, a->image_node_name), *at = node_skip_filters(v->node);

    TRY(job_node_free(v->node));
    if (!n)
        return err(ERR_NOT_FOUND, "image file not found");
    while (at && at != node_skip_filters(n))
        at = node_skip_filters(node_backing(at));
    if (!at)
        return err(ERR_INVALID, "'%s' and image file are not in the same chain", a->device);
    if (!node_backing(n))
        return err(ERR_INVALID, "not allowing backing file change on an image without a backing file");
    bool was = n->read_only;
    if (was)
        TRY(node_set_read_only(n, false));
    Err *e = node_change_backing_file(n, a->backing_file, node_format(node_skip_filters(node_backing(n))), false);
    if (was)
        err_free(node_set_read_only(n, true));
    return err_in(e, "Could not change backing file to '%s'", a->backing_file);
}

Err *qmp_change_backing_file(Monitor *m, const ChangeBackingFileArgs *args, json_t **ret)
{
    return block_at(m->vm, args->device, change_name, args);
}
