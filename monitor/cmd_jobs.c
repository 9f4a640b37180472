/* SPDX-License-Identifier: MIT */
/*
 * Block jobs: they live in the thread of their nodes (a disk's home), where each
 * of these commands goes, as a coroutine, while the main thread waits.
 */
#include <string.h>

#include "block/bitmap.h"
#include "block/driver.h"
#include "block/job.h"
#include "monitor/block_visit.h"
#include "monitor/monitor-priv.h"

/* ---- events */

static json_t *progress(const Job *j)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I}", "type", j->drv->name, "device", j->id, "len", (json_int_t)j->total, "offset",
                     (json_int_t)j->done, "speed", (json_int_t)j->speed);
}

/* Others have no BLOCK_JOB events, and query-block-jobs does not know them. */
static bool is_on_disk(const Job *j)
{
    return strcmp(j->drv->name, "create") && !g_str_has_prefix(j->drv->name, "snapshot-");
}

static void tell_concluded(Vm *vm, const Job *j)
{
    json_t *data = progress(j);

    if (j->ret && j->ret != -ECANCELED)
        json_object_set_new(data, "error", text_json(j->error ? err_text(j->error) : strerror(-j->ret)));
    vm_event(vm, j->ret == -ECANCELED ? "BLOCK_JOB_CANCELLED" : "BLOCK_JOB_COMPLETED", data);
}

static void job_changed(void *opaque, Job *j, JobStatus was)
{
    Vm *vm = opaque;
    bool on_disk = is_on_disk(j);

    if (j->status == JOB_CONCLUDED && on_disk)
        tell_concluded(vm, j);
    vm_event(vm, "JOB_STATUS_CHANGE", json_pack("{s:s, s:s}", "id", j->id, "status", job_status_names[j->status]));
    if (j->status == JOB_READY && on_disk && was == JOB_RUNNING)
        vm_event(vm, "BLOCK_JOB_READY", progress(j));
    if (j->status == JOB_PENDING && !j->auto_finalize)
        vm_event(vm, "BLOCK_JOB_PENDING", json_pack("{s:s, s:s}", "type", j->drv->name, "id", j->id));
}

/* What commands that start jobs have in common. */
#define JOB_CONFIG(v, a) ((JobConfig){                                                                      \
    .id = (a)->job_id ? (a)->job_id : (v)->name, .speed = (uint64_t)MAX((a)->speed, 0),                     \
    .manual_finalize = (a)->has_auto_finalize && !(a)->auto_finalize,                                       \
    .manual_dismiss = (a)->has_auto_dismiss && !(a)->auto_dismiss, .event = job_changed, .opaque = (v)->vm })

static SyncMode sync_of(QmpMirrorSyncMode s)
{
    static const SyncMode modes[] = { SYNC_TOP, SYNC_FULL, SYNC_NONE, SYNC_INCREMENTAL, SYNC_BITMAP };

    return modes[s];
}

static OnError on_error(bool has, QmpBlockdevOnError e)
{
    static const OnError all[] = { ON_ERROR_REPORT, ON_ERROR_IGNORE, ON_ERROR_ENOSPC, ON_ERROR_STOP, ON_ERROR_AUTO };

    return has ? all[e] : ON_ERROR_REPORT;
}

static Err *refuse_filter_name(const char *name)
{
    return name ? err_hint(err(ERR_UNSUPPORTED, "Parameter 'filter-node-name' is not available"), "Leave it out.") : NULL;
}

/* ---- starting them */

static Err *start_mirror(BlockVisit *v)
{
    const BlockdevMirrorArgs *a = v->args;
    JobConfig c = JOB_CONFIG(v, a);
    MirrorConfig mc = { .sync = sync_of(a->sync), .write_blocking = a->copy_mode == QMP_MIRROR_COPY_MODE_WRITE_BLOCKING,
                        .granularity = (uint32_t)a->granularity, .buf_size = (uint64_t)MAX(a->buf_size, 0), .replaces = a->replaces,
                        .unmap = true };
    Job *j;

    c.on_read_error = on_error(a->has_on_source_error, a->on_source_error);
    c.on_write_error = on_error(a->has_on_target_error, a->on_target_error);
    if (a->sync == QMP_MIRROR_SYNC_MODE_INCREMENTAL || a->sync == QMP_MIRROR_SYNC_MODE_BITMAP)
        return err(ERR_UNSUPPORTED, "Sync mode '%s' not supported", qmp_MirrorSyncMode_names[a->sync]);
    TRY(block_other(v, a->target, &mc.target));
    return job_mirror(v->node, &mc, &c, &j);
}

Err *qmp_blockdev_mirror(Monitor *m, const BlockdevMirrorArgs *args, json_t **ret)
{
    TRY(refuse_filter_name(args->filter_node_name));
    TRY(block_together(m->vm, args->device, args->target));
    return block_at(m->vm, args->device, start_mirror, args);
}

static Err *start_backup(BlockVisit *v)
{
    const BlockdevBackupArgs *a = v->args;
    JobConfig c = JOB_CONFIG(v, a);
    BackupConfig b = { .sync = sync_of(a->sync), .compress = a->compress };
    static const int modes[] = { BITMAP_ON_SUCCESS, BITMAP_NEVER, BITMAP_ALWAYS };
    Job *j;

    c.on_read_error = on_error(a->has_on_source_error, a->on_source_error);
    c.on_write_error = on_error(a->has_on_target_error, a->on_target_error);
    b.bitmap_mode = modes[a->bitmap_mode];
    TRY(block_other(v, a->target, &b.target));
    if (a->bitmap) {
        b.bitmap = bitmap_find(v->node, a->bitmap);
        if (!b.bitmap)
            return err(ERR_NOT_FOUND, "Bitmap '%s' could not be found", a->bitmap);
    }
    if (!a->bitmap && (b.sync == SYNC_INCREMENTAL || b.sync == SYNC_BITMAP))
        return err(ERR_INVALID, "must provide a valid bitmap name for 'bitmap' sync mode");
    return job_backup(v->node, &b, &c, &j);
}

Err *qmp_blockdev_backup(Monitor *m, const BlockdevBackupArgs *args, json_t **ret)
{
    TRY(refuse_filter_name(args->filter_node_name));
    TRY(block_together(m->vm, args->device, args->target));
    return block_at(m->vm, args->device, start_backup, args);
}

/* An image below n, by its node's name or its file. */
static Err *find_below(const BlockVisit *v, const char *node, const char *file, BlockNode **out)
{
    *out = NULL;
    if (node)
        return block_other(v, node, out);
    for (BlockNode *n = file ? node_backing(v->node) : NULL; n; n = node_backing(n)) {
        if (!strcmp(node_filename(n), file)) {
            *out = n;
            return NULL;
        }
    }
    return file ? err(ERR_NOT_FOUND, "Can't find '%s' in the backing chain", file) : NULL;
}

static Err *start_stream(BlockVisit *v)
{
    const BlockStreamArgs *a = v->args;
    JobConfig c = JOB_CONFIG(v, a);
    BlockNode *base;
    Job *j;

    c.on_read_error = c.on_write_error = on_error(a->has_on_error, a->on_error);
    TRY(find_below(v, a->base_node, a->base, &base));
    return job_stream(v->node, base, a->backing_file, &c, &j);
}

Err *qmp_block_stream(Monitor *m, const BlockStreamArgs *args, json_t **ret)
{
    TRY(refuse_filter_name(args->filter_node_name));
    if (args->base && args->base_node)
        return err(ERR_INVALID, "'base' and 'base-node' cannot be specified at the same time");
    return block_at(m->vm, args->device, start_stream, args);
}

static Err *start_commit(BlockVisit *v)
{
    const BlockCommitArgs *a = v->args;
    JobConfig c = JOB_CONFIG(v, a);
    BlockNode *top = v->node, *base;
    Job *j;

    c.on_read_error = c.on_write_error = on_error(a->has_on_error, a->on_error);
    if (a->top_node)
        TRY(block_other(v, a->top_node, &top));
    TRY(find_below(v, a->base_node, NULL, &base));
    for (BlockNode *n = base ? NULL : node_backing(top); n; n = node_backing(n))
        base = n;
    if (!base)
        return err(ERR_INVALID, "'%s' has no image below it", node_name(top));
    return job_commit(v->node, top, base, a->backing_file, &c, &j);
}

Err *qmp_block_commit(Monitor *m, const BlockCommitArgs *args, json_t **ret)
{
    TRY(refuse_filter_name(args->filter_node_name));
    return block_at(m->vm, args->device, start_commit, args);
}

/* ---- blockdev-create */

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
    const JobConfig c = { .id = k->a->job_id, .manual_finalize = false, .manual_dismiss = true, .event = job_changed, .opaque = v->vm };
    g_autofree char *name = v->node ? g_strdup(node_filename(v->node)) : NULL;
    Job *j;

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

/* ---- all jobs */

typedef struct JobVisit {
    BlockGraph *graph;
    const char *id;
    bool found;
    int64_t arg;
    Err *(*fn)(Job *, int64_t arg);
    json_t *list, *blocks;
    Err *e;
} JobVisit;

static void visit_job(void *opaque)
{
    JobVisit *v = opaque;
    Job *j = job_find(v->graph, v->id);

    if (!j)
        return;
    v->found = true;
    v->e = v->fn(j, v->arg);
}

static Err *at_job(Monitor *m, const char *id, Err *(*fn)(Job *, int64_t), int64_t arg, bool block)
{
    JobVisit v = { .id = id, .fn = fn, .arg = arg };
    IoThread *t;

    for (unsigned i = 0; !v.found && (t = disks_nth_thread(m->vm->disks, i, &v.graph)); i++)
        iothread_run(t, visit_job, &v);
    if (v.found)
        return v.e;
    return block ? err(ERR_NOT_ACTIVE, "Block job '%s' not found", id) : err(ERR_NOT_FOUND, "Job not found");
}

static Err *do_pause(Job *j, int64_t arg) { return job_pause(j); }
static Err *do_resume(Job *j, int64_t arg) { return job_resume(j); }
static Err *do_cancel(Job *j, int64_t arg) { return job_cancel(j, arg); }
static Err *do_complete(Job *j, int64_t arg) { return job_complete(j); }
static Err *do_finalize(Job *j, int64_t arg) { return job_finalize(j); }
static Err *do_dismiss(Job *j, int64_t arg) { return job_dismiss(j); }
static Err *do_speed(Job *j, int64_t arg) { return job_set_speed(j, (uint64_t)arg); }

Err *qmp_job_pause(Monitor *m, const JobPauseArgs *a, json_t **ret) { return at_job(m, a->id, do_pause, 0, false); }
Err *qmp_job_resume(Monitor *m, const JobResumeArgs *a, json_t **ret) { return at_job(m, a->id, do_resume, 0, false); }
Err *qmp_job_cancel(Monitor *m, const JobCancelArgs *a, json_t **ret) { return at_job(m, a->id, do_cancel, true, false); }
Err *qmp_job_complete(Monitor *m, const JobCompleteArgs *a, json_t **ret) { return at_job(m, a->id, do_complete, 0, false); }
Err *qmp_job_finalize(Monitor *m, const JobFinalizeArgs *a, json_t **ret) { return at_job(m, a->id, do_finalize, 0, false); }
Err *qmp_job_dismiss(Monitor *m, const JobDismissArgs *a, json_t **ret) { return at_job(m, a->id, do_dismiss, 0, false); }
Err *qmp_block_job_finalize(Monitor *m, const BlockJobFinalizeArgs *a, json_t **ret) { return at_job(m, a->id, do_finalize, 0, true); }
Err *qmp_block_job_dismiss(Monitor *m, const BlockJobDismissArgs *a, json_t **ret) { return at_job(m, a->id, do_dismiss, 0, true); }
Err *qmp_block_job_pause(Monitor *m, const BlockJobPauseArgs *a, json_t **ret) { return at_job(m, a->device, do_pause, 0, true); }
Err *qmp_block_job_resume(Monitor *m, const BlockJobResumeArgs *a, json_t **ret) { return at_job(m, a->device, do_resume, 0, true); }
Err *qmp_block_job_complete(Monitor *m, const BlockJobCompleteArgs *a, json_t **ret) { return at_job(m, a->device, do_complete, 0, true); }
Err *qmp_block_job_cancel(Monitor *m, const BlockJobCancelArgs *a, json_t **ret) { return at_job(m, a->device, do_cancel, a->force, true); }

Err *qmp_block_job_set_speed(Monitor *m, const BlockJobSetSpeedArgs *a, json_t **ret)
{
    if (a->speed < 0)
        return err(ERR_INVALID, "Parameter 'speed' expects a non-negative value");
    return at_job(m, a->device, do_speed, a->speed, true);
}

static json_t *block_job_json(const Job *j)
{
    json_t *o = progress(j);

    json_object_set_new(o, "busy", json_boolean(j->status == JOB_RUNNING));
    json_object_set_new(o, "paused", json_boolean(j->user_paused));
    json_object_set_new(o, "io-status", json_string(!j->io_status ? "ok" : j->io_status == ENOSPC ? "nospace" : "failed"));
    json_object_set_new(o, "ready", json_boolean(j->status == JOB_READY || j->status == JOB_STANDBY));
    json_object_set_new(o, "status", json_string(job_status_names[j->status]));
    json_object_set_new(o, "auto-finalize", json_boolean(j->auto_finalize));
    json_object_set_new(o, "auto-dismiss", json_boolean(j->auto_dismiss));
    return o;
}

static json_t *job_json(const Job *j)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:I}", "id", j->id, "type", j->drv->name, "status", job_status_names[j->status],
                     "current-progress", (json_int_t)j->done, "total-progress", (json_int_t)j->total);
}

static void list_jobs(void *opaque)
{
    JobVisit *v = opaque;

    for (Job *j = NULL; (j = job_next(v->graph, j)); ) {
        if (v->blocks && !is_on_disk(j))
            continue;
        json_t *o = v->blocks ? block_job_json(j) : job_json(j);
        if (j->ret && j->status >= JOB_ABORTING)
            json_object_set_new(o, "error", text_json(j->error ? err_text(j->error) : strerror(-j->ret)));
        json_array_append_new(v->list, o);
    }
}

static json_t *all_jobs(Monitor *m, bool blocks)
{
    JobVisit v = { .list = json_array() };
    IoThread *t;

    v.blocks = blocks ? v.list : NULL;
    for (unsigned i = 0; (t = disks_nth_thread(m->vm->disks, i, &v.graph)); i++)
        iothread_run(t, list_jobs, &v);
    return v.list;
}

Err *qmp_query_jobs(Monitor *m, const QueryJobsArgs *args, json_t **ret)
{
    *ret = all_jobs(m, false);
    return NULL;
}

Err *qmp_query_block_jobs(Monitor *m, const QueryBlockJobsArgs *args, json_t **ret)
{
    *ret = all_jobs(m, true);
    return NULL;
}

/* ---- sizes, overlays */

static Err *resize(BlockVisit *v)
{
    const BlockResizeArgs *a = v->args;
    Disk *d;

    TRY(disk_new(v->node, PERM_RESIZE | PERM_CONSISTENT_READ, PERM_ALL, "block_resize", &d));
    Err *e = disk_resize(d, (uint64_t)a->size, true, (Preallocation){ PREALLOC_OFF }, 0);
    disk_free(d);
    return e;
}

Err *qmp_block_resize(Monitor *m, const BlockResizeArgs *args, json_t **ret)
{
    if (args->size < 0)
        return err(ERR_INVALID, "Parameter 'size' expects a >0 size");
    return block_at_either(m->vm, args->device, args->node_name, resize, args);
}

static Err *put_over(BlockVisit *v)
{
    const BlockdevSnapshotArgs *a = v->args;
    BlockNode *overlay;

    TRY(block_other(v, a->overlay, &overlay));
    if (!overlay->drv->has_backing)
        return err(ERR_INVALID, "The overlay does not support backing images");
    if (node_backing(overlay))
        return err(ERR_INVALID, "The overlay already has a backing image");
    if (overlay->parents)
        return err(ERR_BUSY, "The overlay is already in use");
    TRY(node_set_backing(overlay, v->node));
    Err *e = node_replace(v->node, overlay);
    if (e)
        err_free(node_set_backing(overlay, NULL));
    return e;
}

Err *qmp_blockdev_snapshot(Monitor *m, const BlockdevSnapshotArgs *args, json_t **ret)
{
    TRY(block_together(m->vm, args->node, args->overlay));
    return block_at(m->vm, args->node, put_over, args);
}

/* ---- bitmaps */

static Err *find_bitmap(const BlockVisit *v, const char *name, unsigned use, DirtyBitmap **out)
{
    *out = bitmap_find(v->node, name);
    if (!*out)
        return err(ERR_NOT_FOUND, "Dirty bitmap '%s' not found", name);
    return bitmap_usable(*out, use);
}

static Err *add_bitmap(BlockVisit *v)
{
    const BlockDirtyBitmapAddArgs *a = v->args;
    DirtyBitmap *b;

    if (!*a->name)
        return err(ERR_INVALID, "Bitmap name cannot be empty");
    if (a->persistent && !v->node->drv->bitmap_can_store)
        return err(ERR_UNSUPPORTED, "Driver '%s' can not store persistent bitmaps", v->node->drv->name);
    if (a->persistent)
        TRY(v->node->drv->bitmap_can_store(v->node, a->name, (uint32_t)a->granularity));
    TRY(bitmap_new(v->node, a->name, (uint32_t)a->granularity, &b));
    b->persistent = a->persistent;
    b->disabled = a->disabled;
    return NULL;
}

Err *qmp_block_dirty_bitmap_add(Monitor *m, const BlockDirtyBitmapAddArgs *args, json_t **ret)
{
    return block_at(m->vm, args->node, add_bitmap, args);
}

static Err *remove_bitmap(BlockVisit *v)
{
    DirtyBitmap *b;

    TRY(find_bitmap(v, v->args, BITMAP_USE_REMOVE, &b));
    return bitmap_remove(v->node, v->args);
}

static Err *clear_bitmap(BlockVisit *v)
{
    DirtyBitmap *b;

    TRY(find_bitmap(v, v->args, BITMAP_USE_WRITE, &b));
    bitmap_clear(b);
    return NULL;
}

static Err *switch_bitmap(const BlockVisit *v, bool disabled)
{
    DirtyBitmap *b;

    TRY(find_bitmap(v, v->args, BITMAP_USE_WRITE, &b));
    b->disabled = disabled;
    return NULL;
}

static Err *enable_bitmap(BlockVisit *v) { return switch_bitmap(v, false); }
static Err *disable_bitmap(BlockVisit *v) { return switch_bitmap(v, true); }

Err *qmp_block_dirty_bitmap_remove(Monitor *m, const BlockDirtyBitmapRemoveArgs *a, json_t **ret)
{
    return block_at(m->vm, a->node, remove_bitmap, a->name);
}

Err *qmp_block_dirty_bitmap_clear(Monitor *m, const BlockDirtyBitmapClearArgs *a, json_t **ret)
{
    return block_at(m->vm, a->node, clear_bitmap, a->name);
}

Err *qmp_block_dirty_bitmap_enable(Monitor *m, const BlockDirtyBitmapEnableArgs *a, json_t **ret)
{
    return block_at(m->vm, a->node, enable_bitmap, a->name);
}

Err *qmp_block_dirty_bitmap_disable(Monitor *m, const BlockDirtyBitmapDisableArgs *a, json_t **ret)
{
    return block_at(m->vm, a->node, disable_bitmap, a->name);
}

/* A source: a name here, or node and name. */
static Err *source_bitmap(const BlockVisit *v, const json_t *s, DirtyBitmap **out)
{
    BlockNode *n = v->node;
    const char *name = json_string_value(s);

    if (!name) {
        TRY(block_other(v, text_of(s, "node"), &n));
        name = text_of(s, "name");
    }
    *out = bitmap_find(n, name);
    return *out ? bitmap_usable(*out, BITMAP_USE_READ) : err(ERR_NOT_FOUND, "Dirty bitmap '%s' not found", name);
}

/* Into a new one first: all or nothing. */
static Err *merge_bitmaps(BlockVisit *v)
{
    const BlockDirtyBitmapMergeArgs *a = v->args;
    DirtyBitmap *to, *sum, *from;
    Err *e = NULL;
    json_t *s;
    size_t i;

    TRY(find_bitmap(v, a->target, BITMAP_USE_WRITE, &to));
    TRY(bitmap_new(v->node, NULL, to->granularity, &sum));
    sum->disabled = true;
    json_array_foreach((json_t *)a->bitmaps, i, s) {
        if (!e)
            e = source_bitmap(v, s, &from);
        if (!e)
            e = bitmap_merge(sum, from);
    }
    if (!e)
        e = bitmap_merge(to, sum);
    bitmap_free(sum);
    return e;
}

Err *qmp_block_dirty_bitmap_merge(Monitor *m, const BlockDirtyBitmapMergeArgs *args, json_t **ret)
{
    return block_at(m->vm, args->node, merge_bitmaps, args);
}
