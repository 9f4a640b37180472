/* SPDX-License-Identifier: MIT */
/* Jobs that copy disks and make chains of images shorter: mirror, stream, commit. Backups: monitor/cmd_backup.c. */
#include <string.h>

#include "block/driver.h"
#include "monitor/job_start.h"
#include "monitor/target.h"

/* ---- mirror */

static Err *start_mirror(BlockVisit *v)
{
    const BlockdevMirrorArgs *a = v->args;
    MirrorConfig mc = { .sync = job_sync(a->sync), .write_blocking = a->copy_mode == QMP_MIRROR_COPY_MODE_WRITE_BLOCKING,
                        .granularity = (uint32_t)a->granularity, .buf_size = (uint64_t)MAX(a->buf_size, 0), .replaces = a->replaces,
                        .unmap = true };
    JobConfig c;
    Job *j;

    TRY(job_config(v, JOB_ASKED(a), &c));
    c.on_read_error = job_on_error(a->has_on_source_error, a->on_source_error);
    c.on_write_error = job_on_error(a->has_on_target_error, a->on_target_error);
    if (a->sync == QMP_MIRROR_SYNC_MODE_INCREMENTAL || a->sync == QMP_MIRROR_SYNC_MODE_BITMAP)
        return err(ERR_UNSUPPORTED, "Sync mode '%s' not supported", qmp_MirrorSyncMode_names[a->sync]);
    TRY(block_other(v, a->target, &mc.target));
    TRY(job_node_free(mc.target));
    return job_mirror(v->node, &mc, &c, &j);
}

Err *qmp_blockdev_mirror(Monitor *m, const BlockdevMirrorArgs *args, json_t **ret)
{
    TRY(block_together(m->vm, args->device, args->target));
    return block_at(m->vm, args->device, start_mirror, args);
}

static Err *start_drive_mirror(BlockVisit *v)
{
    const DriveMirrorArgs *a = v->args;
    MirrorConfig mc = { .sync = job_sync(a->sync), .write_blocking = a->copy_mode == QMP_MIRROR_COPY_MODE_WRITE_BLOCKING,
                        .granularity = (uint32_t)a->granularity, .buf_size = (uint64_t)MAX(a->buf_size, 0), .replaces = a->replaces,
                        .unmap = !a->has_unmap || a->unmap };
    const TargetAsked t = { .file = a->target, .node_name = a->node_name, .format = a->format, .over_backing = mc.sync == SYNC_TOP,
                            .existing = a->has_mode && a->mode == QMP_NEW_IMAGE_MODE_EXISTING, .over_source = mc.sync == SYNC_NONE };
    JobConfig c;
    Job *j;

    TRY(job_config(v, (JobAsked){ a->job_id, NULL, a->speed, a->has_auto_finalize && !a->auto_finalize,
                                  a->has_auto_dismiss && !a->auto_dismiss }, &c));
    c.on_read_error = job_on_error(a->has_on_source_error, a->on_source_error);
    c.on_write_error = job_on_error(a->has_on_target_error, a->on_target_error);
    if (a->sync == QMP_MIRROR_SYNC_MODE_INCREMENTAL || a->sync == QMP_MIRROR_SYNC_MODE_BITMAP)
        return err(ERR_UNSUPPORTED, "Sync mode '%s' not supported", qmp_MirrorSyncMode_names[a->sync]);
    if (a->replaces && !a->node_name)
        return err(ERR_INVALID, "a node-name must be provided when replacing a named node of the graph");
    TRY(target_open(v->node, &t, &mc.target));
    mc.target_is_zero = !t.existing && mc.sync == SYNC_FULL;
    Err *e = job_mirror(v->node, &mc, &c, &j);
    node_unref(mc.target);
    return e;
}

Err *qmp_drive_mirror(Monitor *m, const DriveMirrorArgs *args, json_t **ret)
{
    return block_at(m->vm, args->device, start_drive_mirror, args);
}

/* ---- stream and commit: what lies below */

static Err *two_ways(const char *a, const char *b, const char *name, const char *other)
{
    return a && b ? err(ERR_INVALID, "'%s' and '%s' cannot be specified at the same time", name, other) : NULL;
}

static bool has_name(BlockNode *n, const char *file)
{
    return !strcmp(node_filename(n), file) || (n->filename && !strcmp(n->filename, file));
}

/* An image of the chain from n down, by its node's name or its file; neither: NULL. */
static Err *find_in_chain(const BlockVisit *v, BlockNode *n, const char *node, const char *file, BlockNode **out)
{
    *out = NULL;
    if (node)
        return block_other(v, node, out);
    for (n = file ? node_skip_filters(n) : NULL; n; n = node_skip_filters(node_backing(n))) {
        if (has_name(n, file)) {
            *out = n;
            return NULL;
        }
    }
    return file ? err(ERR_NOT_FOUND, "Can't find '%s' in the backing chain", file) : NULL;
}

/* No job works on a layer from n down to base. */
static Err *chain_free(BlockNode *n, BlockNode *base)
{
    for (n = node_skip_filters(n); n; n = node_skip_filters(node_backing(n))) {
        TRY(job_node_free(n));
        if (n == base)
            break;
    }
    return NULL;
}

/* ---- stream */

static Err *start_stream(BlockVisit *v)
{
    const BlockStreamArgs *a = v->args;
    BlockNode *base, *bottom;
    JobConfig c;
    Job *j;

    TRY(job_config(v, JOB_ASKED(a), &c));
    c.on_read_error = c.on_write_error = job_on_error(a->has_on_error, a->on_error);
    TRY(find_in_chain(v, node_backing(v->node), a->base_node, a->base, &base));
    TRY(find_in_chain(v, v->node, a->bottom, NULL, &bottom));
    if (bottom && bottom != node_skip_filters(bottom))
        return err(ERR_INVALID, "Node '%s' is a filter, use a non-filter node as 'bottom'", a->bottom);
    if (bottom)
        base = node_backing(bottom);
    if (a->backing_file && !base)
        return err(ERR_INVALID, "backing file specified, but streaming the entire chain");
    TRY(chain_free(v->node, base));
    return job_stream(v->node, base, a->backing_file, &c, &j);
}

Err *qmp_block_stream(Monitor *m, const BlockStreamArgs *args, json_t **ret)
{
    TRY(two_ways(args->base, args->base_node, "base", "base-node"));
    TRY(two_ways(args->base, args->bottom, "bottom", "base"));
    TRY(two_ways(args->bottom, args->base_node, "bottom", "base-node"));
    return block_at(m->vm, args->device, start_stream, args);
}

/* ---- commit */

static Err *start_commit(BlockVisit *v)
{
    const BlockCommitArgs *a = v->args;
    BlockNode *top, *base;
    JobConfig c;
    Job *j;

    TRY(job_config(v, JOB_ASKED(a), &c));
    c.on_read_error = c.on_write_error = job_on_error(a->has_on_error, a->on_error);
    TRY(find_in_chain(v, v->node, a->top_node, a->top, &top));
    if (!top)
        top = v->node;
    TRY(find_in_chain(v, top, a->base_node, a->base, &base));
    for (BlockNode *n = base ? NULL : node_backing(top); n; n = node_backing(n))
        base = n;
    if (!base)
        return err(ERR_INVALID, "There is no backing image to commit '%s' into", node_name(top));
    TRY(chain_free(v->node, base));
    return job_commit(v->node, top, base, a->backing_file, &c, &j);
}

Err *qmp_block_commit(Monitor *m, const BlockCommitArgs *args, json_t **ret)
{
    if (args->base_node && args->base)
        return err(ERR_INVALID, "'base-node' and 'base' are mutually exclusive");
    if (args->top_node && args->top)
        return err(ERR_INVALID, "'top-node' and 'top' are mutually exclusive");
    return block_at(m->vm, args->device, start_commit, args);
}
