/* SPDX-License-Identifier: MIT */
/* See monitor/target.h. */
#include "monitor/target.h"

#include <glib.h>

#include "block/driver.h"

static Err *make(BlockNode *source, BlockNode *below, const TargetAsked *t, const char *format)
{
    CreateRequest r = { .filename = t->file, .format = format, .size = node_size(source), .unsafe = true };
    g_autofree char *name = below ? g_strdup(node_filename(node_skip_filters(below))) : NULL;

    if (below) {
        r.backing = name;
        r.backing_format = node_format(node_skip_filters(below));
    }
    return image_create(source->graph, &r, NULL);
}

static void inherit(json_t *o, const BlockNode *source)
{
    json_object_set_new(o, "cache", json_pack("{s:b, s:b}", "direct", source->cache_direct, "no-flush", source->cache_no_flush));
    if (source->discard)
        json_object_set_new(o, "discard", json_string("unmap"));
}

Err *target_open(BlockNode *source, const TargetAsked *t, BlockNode **out)
{
    BlockNode *bare = node_skip_filters(source), *below = NULL;
    const char *format = t->format ? t->format : t->existing ? NULL : node_format(bare);
    json_t *o;

    *out = NULL;
    if (t->over_source || t->no_backing)
        below = source;
    else if (t->over_backing)
        below = node_backing(bare);
    if (t->format && !driver_find(t->format))
        return err(ERR_NOT_FOUND, "Invalid image file format '%s'", t->format);
    if (!t->existing)
        TRY(make(source, below, t, format));
    TRY(options_from_name(t->file, format, &o));
    inherit(o, source);
    if (t->node_name)
        json_object_set_new(o, "node-name", json_string(t->node_name));
    if (t->no_backing || (below && !t->existing))
        json_object_set_new(o, "backing", below && !t->no_backing ? json_string(node_name(below)) : json_null());
    Err *e = node_open(source->graph, o, OPEN_RW, out);
    json_decref(o);
    return e;
}
