/* SPDX-License-Identifier: MIT */
/* What query-block and query-named-block-nodes tell of a node. */
#include "monitor/block_info.h"

#include <string.h>

#include "block/bitmap.h"
#include "monitor/monitor-priv.h"

static void put_int(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

json_t *block_snapshot_info(const Snapshot *s)
{
    json_t *o = json_pack("{s:o, s:o}", "id", text_json(s->id), "name", text_json(s->name));

    put_int(o, "vm-state-size", s->vm_state_size);
    put_int(o, "date-sec", s->date_sec);
    put_int(o, "date-nsec", s->date_nsec);
    put_int(o, "vm-clock-sec", s->vm_clock_nsec / 1000000000);
    put_int(o, "vm-clock-nsec", s->vm_clock_nsec % 1000000000);
    if (s->icount != UINT64_MAX)
        put_int(o, "icount", s->icount);
    return o;
}

static void put_snapshots(json_t *o, BlockNode *n)
{
    Snapshot *list;
    unsigned count;
    Err *e = n->drv->snapshots ? node_snapshots(n, &list, &count) : err(ERR_UNSUPPORTED, "none");

    if (!e && count) {
        json_t *all = json_array();

        for (unsigned i = 0; i < count; i++)
            json_array_append_new(all, block_snapshot_info(&list[i]));
        json_object_set_new(o, "snapshots", all);
    }
    if (!e)
        snapshots_free(list, count);
    err_free(e);
}

static void put_driver_info(json_t *o, BlockNode *n)
{
    NodeInfo info;
    Err *e = n->drv->kind == DRIVER_FILTER ? err(ERR_UNSUPPORTED, "none") : node_info(n, &info);

    if (e) {
        err_free(e);
        return;
    }
    json_object_set_new(o, "dirty-flag", json_boolean(info.dirty));
    if (info.cluster_size)
        put_int(o, "cluster-size", info.cluster_size);
    if (info.encrypted)
        json_object_set_new(o, "encrypted", json_true());
    if (info.compressed)
        json_object_set_new(o, "compressed", json_true());
    if (info.specific)
        json_object_set_new(o, "format-specific", json_pack("{s:s, s:o}", "type", n->drv->name, "data", info.specific));
}

static void put_backing(json_t *o, BlockNode *n, bool flat)
{
    if (n->backing_name) {
        json_object_set_new(o, "backing-filename", text_json(n->backing_name));
        json_object_set_new(o, "full-backing-filename",
                            text_json(n->backing && n->backing->node ? node_filename(n->backing->node) : n->backing_name));
        if (n->backing_format)
            json_object_set_new(o, "backing-filename-format", text_json(n->backing_format));
    }
    if (!flat && n->backing && n->backing->node)
        json_object_set_new(o, "backing-image", block_image_info(n->backing->node, false));
}

json_t *block_image_info(BlockNode *n, bool flat)
{
    json_t *o = json_pack("{s:o, s:s}", "filename", text_json(node_filename(n)), "format", n->drv->name);
    int64_t allocated = node_allocated(n);

    put_int(o, "virtual-size", node_size(n));
    if (allocated >= 0)
        put_int(o, "actual-size", (uint64_t)allocated);
    put_driver_info(o, n);
    put_snapshots(o, n);
    put_backing(o, n, flat);
    return o;
}

json_t *block_bitmaps(BlockNode *n)
{
    json_t *all = NULL;

    for (const DirtyBitmap *b = n->bitmaps; b; b = b->next) {
        if (!b->name)
            continue;
        json_t *o = json_pack("{s:o, s:I, s:I, s:b, s:b, s:b}", "name", text_json(b->name), "count",
                              (json_int_t)bitmap_dirty_bytes(b), "granularity", (json_int_t)b->granularity, "recording",
                              !b->disabled, "busy", b->busy != 0, "persistent", b->persistent);
        if (b->inconsistent)
            json_object_set_new(o, "inconsistent", json_true());
        if (!all)
            all = json_array();
        json_array_append_new(all, o);
    }
    return all;
}

static int backing_depth(const BlockNode *n)
{
    int depth = 0;

    while (n->backing && n->backing->node) {
        n = n->backing->node;
        depth++;
    }
    return depth;
}

json_t *block_device_info(BlockNode *n, bool flat, bool writethrough)
{
    static const char *const detect[] = { "off", "on", "unmap" }, *const limits[] = {
        "bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr",
    };
    json_t *bitmaps = block_bitmaps(n);
    json_t *o = json_pack("{s:o, s:s, s:b, s:s, s:i, s:b, s:s}", "file", text_json(node_filename(n)), "node-name", node_name(n),
                          "ro", node_read_only(n), "drv", n->drv->name, "backing_file_depth", backing_depth(n), "encrypted",
                          n->encrypted, "detect_zeroes", detect[MIN(n->detect_zeroes, 2)]);

    if (n->backing_name)
        json_object_set_new(o, "backing_file", text_json(n->backing_name));
    for (size_t i = 0; i < G_N_ELEMENTS(limits); i++)
        put_int(o, limits[i], 0);
    put_int(o, "write_threshold", n->write_threshold);
    json_object_set_new(o, "cache", json_pack("{s:b, s:b, s:b}", "writeback", !writethrough, "direct", n->cache_direct, "no-flush",
                                              n->cache_no_flush));
    json_object_set_new(o, "image", block_image_info(n, flat));
    if (bitmaps)
        json_object_set_new(o, "dirty-bitmaps", bitmaps);
    return o;
}
