/* SPDX-License-Identifier: MIT */
/* Dirty bitmaps: the commands, each a transaction of one (monitor/actions.h). */
#include <string.h>

#include "block/bitmap.h"
#include "block/driver.h"
#include "monitor/actions.h"

/* Of all of them; `was` is what undoing takes. */
typedef struct BitmapAction {
    Action a;
    DirtyBitmap *bitmap;
    DirtyBitmap *saved;         /* its bits before; clear and merge */
    bool was_disabled;
} BitmapAction;

#define SUBJECT(Args)                                                                                                   \
    static void subject_##Args(const void *args, const char **name, const char **device, const char **node)             \
    {                                                                                                                   \
        *name = ((const Args *)args)->node;                                                                             \
    }

/* Bitmaps that are stored go with the image, and come from it when it is back: what was made meanwhile would be lost. */
static Err *has_image(const BlockNode *n)
{
    if (!n->inactive)
        return NULL;
    return err_hint(err(ERR_BUSY, "node '%s' was handed over, and its persistent bitmaps with it: another process may have them",
                        node_name(n)),
                    "cont takes it back.");
}

static Err *find(const Action *a, const char *name, unsigned use, DirtyBitmap **out)
{
    *out = bitmap_find(a->node, name);
    if (!*out)
        return err(ERR_NOT_FOUND, "Dirty bitmap '%s' not found", name);
    if ((*out)->persistent)
        TRY(has_image(a->node));
    return bitmap_usable(*out, use);
}

/* ---- their bits */

static Err *save(BitmapAction *t)
{
    TRY(bitmap_new(t->a.node, NULL, t->bitmap->granularity, &t->saved));
    t->saved->disabled = true;
    Err *e = bitmap_merge(t->saved, t->bitmap);
    if (e)
        bitmap_free(t->saved);
    return e;
}

static void forget_saved(Action *a)
{
    bitmap_free(((BitmapAction *)a)->saved);
}

static void put_saved_back(Action *a)
{
    BitmapAction *t = (BitmapAction *)a;

    bitmap_clear(t->bitmap);
    err_free(bitmap_merge(t->bitmap, t->saved));
    bitmap_free(t->saved);
}

/* ---- add */

SUBJECT(BlockDirtyBitmapAddArgs)

static Err *check_granularity(const BlockDirtyBitmapAddArgs *a)
{
    if (!a->has_granularity)
        return NULL;
    if (a->granularity < 512 || a->granularity & (a->granularity - 1))
        return err(ERR_INVALID, "Granularity must be power of 2 and at least 512");
    return a->granularity <= INT64_C(1) << 31 ? NULL : err(ERR_INVALID, "Granularity must be at most 2147483648");
}

static Err *add(Action *act, const BlockVisit *v)
{
    const BlockDirtyBitmapAddArgs *a = act->args;
    BitmapAction *t = (BitmapAction *)act;
    const BlockDriver *drv = act->node->drv;
    uint32_t granularity = (uint32_t)a->granularity;

    if (!*a->name)
        return err(ERR_INVALID, "Bitmap name cannot be empty");
    TRY(check_granularity(a));
    if (a->persistent && !drv->bitmap_can_store)
        return err_hint(err(ERR_UNSUPPORTED, "Driver '%s' can not store persistent bitmaps", drv->name), "qcow2 can.");
    if (!granularity)
        TRY(bitmap_default_granularity(act->node, &granularity));
    if (a->persistent)
        TRY(has_image(act->node));
    if (a->persistent)
        TRY(drv->bitmap_can_store(act->node, a->name, granularity));
    TRY(bitmap_new(act->node, a->name, granularity, &t->bitmap));
    t->bitmap->persistent = a->persistent;
    t->bitmap->disabled = a->disabled;
    return NULL;
}

static void add_abort(Action *a)
{
    bitmap_free(((BitmapAction *)a)->bitmap);
}

const ActionKind action_bitmap_add = {
    .command = "block-dirty-bitmap-add", .size = sizeof(BitmapAction), .subject = subject_BlockDirtyBitmapAddArgs, .prepare = add,
    .abort = add_abort,
};

Err *qmp_block_dirty_bitmap_add(Monitor *m, const BlockDirtyBitmapAddArgs *args, json_t **ret)
{
    return action_run(m, &action_bitmap_add, args);
}

/* ---- remove: from the image at once, so that it may fail; from memory when nothing can any more */

SUBJECT(BlockDirtyBitmapRemoveArgs)

static Err *take_away(Action *a, const BlockVisit *v)
{
    const char *name = ((const BlockDirtyBitmapRemoveArgs *)a->args)->name;
    BitmapAction *t = (BitmapAction *)a;

    TRY(find(a, name, BITMAP_USE_REMOVE, &t->bitmap));
    if (t->bitmap->persistent && a->node->drv->bitmap_remove)
        TRY(a->node->drv->bitmap_remove(a->node, name));
    t->bitmap->busy++;
    return NULL;
}

static void remove_commit(Action *a)
{
    bitmap_free(((BitmapAction *)a)->bitmap);
}

/* One of an image is stored again when that is closed. */
static void remove_abort(Action *a)
{
    ((BitmapAction *)a)->bitmap->busy--;
}

const ActionKind action_bitmap_remove = {
    .command = "block-dirty-bitmap-remove", .size = sizeof(BitmapAction), .subject = subject_BlockDirtyBitmapRemoveArgs,
    .prepare = take_away, .commit = remove_commit, .abort = remove_abort,
};

Err *qmp_block_dirty_bitmap_remove(Monitor *m, const BlockDirtyBitmapRemoveArgs *args, json_t **ret)
{
    return action_run(m, &action_bitmap_remove, args);
}

/* ---- clear */

SUBJECT(BlockDirtyBitmapClearArgs)

static Err *clear(Action *a, const BlockVisit *v)
{
    BitmapAction *t = (BitmapAction *)a;

    TRY(find(a, ((const BlockDirtyBitmapClearArgs *)a->args)->name, BITMAP_USE_READ | BITMAP_USE_WRITE, &t->bitmap));
    TRY(save(t));
    bitmap_clear(t->bitmap);
    return NULL;
}

const ActionKind action_bitmap_clear = {
    .command = "block-dirty-bitmap-clear", .size = sizeof(BitmapAction), .subject = subject_BlockDirtyBitmapClearArgs,
    .prepare = clear, .commit = forget_saved, .abort = put_saved_back,
};

Err *qmp_block_dirty_bitmap_clear(Monitor *m, const BlockDirtyBitmapClearArgs *args, json_t **ret)
{
    return action_run(m, &action_bitmap_clear, args);
}

/* ---- enable, disable */

SUBJECT(BlockDirtyBitmapEnableArgs)
SUBJECT(BlockDirtyBitmapDisableArgs)

static Err *turn(Action *a, const char *name, bool disabled)
{
    BitmapAction *t = (BitmapAction *)a;

    TRY(find(a, name, BITMAP_USE_WRITE, &t->bitmap));
    t->was_disabled = t->bitmap->disabled;
    t->bitmap->disabled = disabled;
    return NULL;
}

static Err *turn_on(Action *a, const BlockVisit *v)
{
    return turn(a, ((const BlockDirtyBitmapEnableArgs *)a->args)->name, false);
}

static Err *turn_off(Action *a, const BlockVisit *v)
{
    return turn(a, ((const BlockDirtyBitmapDisableArgs *)a->args)->name, true);
}

static void turn_abort(Action *a)
{
    ((BitmapAction *)a)->bitmap->disabled = ((BitmapAction *)a)->was_disabled;
}

const ActionKind action_bitmap_enable = {
    .command = "block-dirty-bitmap-enable", .size = sizeof(BitmapAction), .subject = subject_BlockDirtyBitmapEnableArgs,
    .prepare = turn_on, .abort = turn_abort,
};
const ActionKind action_bitmap_disable = {
    .command = "block-dirty-bitmap-disable", .size = sizeof(BitmapAction), .subject = subject_BlockDirtyBitmapDisableArgs,
    .prepare = turn_off, .abort = turn_abort,
};

Err *qmp_block_dirty_bitmap_enable(Monitor *m, const BlockDirtyBitmapEnableArgs *args, json_t **ret)
{
    return action_run(m, &action_bitmap_enable, args);
}

Err *qmp_block_dirty_bitmap_disable(Monitor *m, const BlockDirtyBitmapDisableArgs *args, json_t **ret)
{
    return action_run(m, &action_bitmap_disable, args);
}

/* ---- merge */

static void merge_subject(const void *args, const char **name, const char **device, const char **node)
{
    *name = ((const BlockDirtyBitmapMergeArgs *)args)->node;
}

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A source: a name here, or node and name. One that a job has does not hold all that it stands for. */
typedef struct Source {
    const json_t *said;
    DirtyBitmap *bitmap;        /* in the thread of its node */
    DirtyBitmap *copy;          /* of its bits, where that is another thread than the target's */
    BlockGraph *graph;          /* for look_there */
    bool found;                 /* the node */
    Err *e;
} Source;

static Err *find_source(BlockNode *n, const char *name, DirtyBitmap **out)
{
    *out = bitmap_find(n, name);
    if (!*out)
        return err(ERR_NOT_FOUND, "Dirty bitmap '%s' not found", name);
    TRY(bitmap_usable(*out, BITMAP_USE_READ));
    return (*out)->busy ? bitmap_usable(*out, BITMAP_USE_REMOVE) : NULL;
}

static void look_there(void *opaque)
{
    Source *s = opaque;
    BlockNode *n = graph_find(s->graph, text_of(s->said, "node"));

    s->found = n;
    s->e = n ? find_source(n, text_of(s->said, "name"), &s->bitmap) : NULL;
    if (!n || s->e)
        return;
    s->copy = bitmap_copy(s->bitmap);
    if (!s->copy)
        s->e = err(ERR_IO, "out of memory for bitmap '%s'", s->bitmap->name);
}

/* The main thread waits, so the threads stay what they are. */
static Err *source_elsewhere(const BlockVisit *v, Source *s)
{
    IoThread *t;

    for (unsigned i = 0; !s->found && (t = disks_nth_thread(v->vm->disks, i, &s->graph)); i++)
        iothread_visit(t, look_there, s);
    return s->found ? s->e : err(ERR_NOT_FOUND, "Cannot find device='' nor node-name='%s'", text_of(s->said, "node"));
}

static Err *merge_one(const BlockVisit *v, DirtyBitmap *to, const json_t *said)
{
    Source s = { .said = said };
    const char *name = json_string_value(said);
    BlockNode *n = name ? v->node : graph_find(v->graph, text_of(said, "node"));
    Err *e = n ? find_source(n, name ? name : text_of(said, "name"), &s.bitmap) : source_elsewhere(v, &s);

    if (!e)
        e = bitmap_merge(to, s.copy ? s.copy : s.bitmap);
    bitmap_copy_free(s.copy);
    return e;
}

static Err *merge(Action *act, const BlockVisit *v)
{
    const BlockDirtyBitmapMergeArgs *a = act->args;
    BitmapAction *t = (BitmapAction *)act;
    Err *e = NULL;
    json_t *s;
    size_t i;

    TRY(find(act, a->target, BITMAP_USE_READ | BITMAP_USE_WRITE, &t->bitmap));
    TRY(save(t));
    json_array_foreach((json_t *)a->bitmaps, i, s) {
        if (!e)
            e = merge_one(v, t->bitmap, s);
    }
    if (e)
        put_saved_back(act);
    return e;
}

const ActionKind action_bitmap_merge = {
    .command = "block-dirty-bitmap-merge", .size = sizeof(BitmapAction), .subject = merge_subject,
    .prepare = merge, .commit = forget_saved, .abort = put_saved_back,
};

Err *qmp_block_dirty_bitmap_merge(Monitor *m, const BlockDirtyBitmapMergeArgs *args, json_t **ret)
{
    return action_run(m, &action_bitmap_merge, args);
}
