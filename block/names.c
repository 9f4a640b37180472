/* SPDX-License-Identifier: MIT */
/*
 * What nodes are called: the name that opens a node again, a plain one where
 * that says all and "json:{..}" otherwise, and names relative to an image.
 */
#include <stdlib.h>
#include <string.h>

#include "block/block-priv.h"

/* ---- relative names */

Err *node_folder_name(BlockNode *n, const char *name, char **out)
{
    BlockNode *s = node_storage(n);
    const char *base = s ? node_filename(s) : "json:";

    *out = NULL;
    if (g_str_has_prefix(base, "json:"))
        return err_hint(err(ERR_INVALID, "Cannot use relative backing file names for '%s'", base),
                        "Give the whole name, or options: '%s' has no folder to start from.", name);
    size_t end = s->drv->schemes && name_has_protocol(base) ? strcspn(base, "?") : strlen(base);
    while (end && base[end - 1] != '/')
        end--;
    *out = g_strdup_printf("%.*s%s", (int)end, base, name);
    return NULL;
}

Err *node_relative_name(BlockNode *n, const char *name, char **out)
{
    if (*name != '/' && !name_has_protocol(name))
        return node_folder_name(n, name, out);
    *out = g_strdup(name);
    return NULL;
}

/* ---- the name that opens it again */

/* Did the user give another backing file than the header does? */
static bool backing_overridden(BlockNode *n)
{
    g_autofree char *full = NULL;

    if (!n->drv->has_backing || n->open_flags & OPEN_NO_BACKING || n->no_backing_open)
        return false;
    bool said = n->backing_name && *n->backing_name;
    if (!n->backing || !said)
        return n->backing || said;
    Err *e = node_relative_name(n, n->backing_name, &full);
    bool other = e || strcmp(full, node_filename(n->backing->node));
    err_free(e);
    return other;
}

static bool has_strong_options(const BlockNode *n)
{
    for (const char *const *s = n->drv->strong_options; s && *s; s++) {
        if (strcmp(*s, "filename") && options_get(n->options, *s))
            return true;
    }
    return false;
}

/* NULL: there is no plain name. */
static char *plain_name(BlockNode *n)
{
    if (n->drv->make_name)
        return n->drv->make_name(n);
    if (has_strong_options(n))
        return NULL;
    if (n->drv->kind == DRIVER_PROTOCOL)
        return *n->filename ? g_strdup(n->filename) : NULL;
    if (n->drv->kind != DRIVER_FORMAT || !n->file || backing_overridden(n))
        return NULL;
    for (const BlockChild *c = n->children; c; c = c->next) {
        if (c != n->file && c != n->backing && options_get(n->options, c->role))
            return NULL;
    }
    const char *below = node_filename(n->file->node);
    return g_str_has_prefix(below, "json:") ? NULL : g_strdup(below);
}

const char *node_filename(BlockNode *n)
{
    char *name = plain_name(n);

    if (!name) {
        json_t *o = node_options(n);
        char *text = json_dumps(o, 0);

        name = g_strdup_printf("json:%s", text ? text : "{}");
        free(text);
        json_decref(o);
    }
    g_free(n->exact_name);
    n->exact_name = name;
    return name;
}

/* Left out: children, which are told anew, names of nodes, and what nobody shall see. */
static bool is_told(const BlockNode *n, const char *option)
{
    if (!strcmp(option, "driver") || !strcmp(option, "node-name") || !strcmp(option, "file") ||
        !strcmp(option, "backing") || (n->drv->secret_option && n->drv->secret_option(option)))
        return false;
    for (const BlockChild *c = n->children; c; c = c->next) {
        size_t len = strcspn(c->role, ".");     /* of "extents.0", say */

        if (strlen(option) == len && !strncmp(option, c->role, len))
            return false;
    }
    return true;
}

json_t *node_options(BlockNode *n)
{
    json_t *o = json_pack("{s:s}", "driver", n->drv->name), *v;
    const char *key;

    json_object_foreach(n->options, key, v) {
        if (is_told(n, key))
            json_object_set_new(o, key, json_deep_copy(v));
    }
    for (BlockChild *c = n->children; c; c = c->next) {
        if (c->node && c != n->backing)
            json_object_set_new(o, c->role, node_options(c->node));
    }
    if (backing_overridden(n))
        json_object_set_new(o, "backing", n->backing ? node_options(n->backing->node) : json_null());
    return o;
}
