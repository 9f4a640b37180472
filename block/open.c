/* SPDX-License-Identifier: MIT */
/*
 * Opening: which driver, its options, its children, the chain of backing files.
 *
 * What a node's options do not say it takes from the one above it (Inherit):
 * read-only, cache modes, sharing. The format is guessed only where nobody said
 * it: from the first 2 KiB, by drivers' probe functions; raw is what is left,
 * and a raw disk whose format was guessed is kept from turning into another one
 * (block/raw.c).
 *
 * Names that an image's header gives: a backing file is followed as users of
 * QEMU expect it, in the header's format, "json:" and "nbd://" too; -o nothing
 * else in a header is more than the name of a file (child_open_named).
 */
#include <stdlib.h>
#include <string.h>

#include "block/block-priv.h"

#define PROBE_LEN 2048

/* ---- what a child takes over */

static Inherit for_child(const BlockNode *n, DriverKind kind, const char *role)
{
    const bool backing = !strcmp(role, "backing");
    Inherit in = {
        .parent = n, .flags = n->open_flags, .read_only = (n->read_only && !n->inactive) || backing,
        .auto_read_only = n->auto_read_only && !backing,
        .force_share = n->force_share, .direct = n->cache_direct, .no_flush = n->cache_no_flush,
        .unmap = true,              /* drivers pass on only what their own node lets through */
        .depth = n->depth + 1u,
    };

    if (backing)
        in.flags &= ~(OPEN_PROTOCOL | OPEN_TEMPORARY | OPEN_RESIZE | OPEN_CHECK | OPEN_RW);
    else if (kind == DRIVER_FORMAT)
        in.flags = (in.flags & ~(OPEN_NO_BACKING | OPEN_CHECK)) | OPEN_PROTOCOL;
    return in;
}

static Err *bad_json_type(const char *role)
{
    return err_hint(err(ERR_INVALID, "option '%s' is neither a group of options nor the name of a node", role),
                    "For example: %s.driver=file,%s.filename=NAME, or %s=NODE-NAME.", role, role, role);
}

Err *child_open(BlockNode *parent, const json_t *options, const char *role, bool required, BlockChild **out)
{
    const json_t *v = options_get(options, role);
    BlockNode *n = NULL;

    *out = NULL;
    if (!v || json_is_null(v)) {
        if (!required)
            return NULL;
        return err_hint(err(ERR_INVALID, "A block device must be specified for \"%s\"", role),
                        "For example: %s.driver=file,%s.filename=NAME", role, role);
    }
    Inherit in = for_child(parent, parent->drv->kind, role);
    TRY(node_open_below(parent->graph, v, &in, &n));
    Err *e = child_attach(parent, n, role, out);
    node_unref(n);
    return e;
}

/* "a.b" and o -> {"a":{"b":o}}; takes o. */
static json_t *nest(const char *dotted, json_t *o)
{
    g_auto(GStrv) parts = g_strsplit(dotted, ".", -1);

    for (unsigned i = g_strv_length(parts); i--; )
        o = json_pack("{s:o}", parts[i], o);
    return o;
}

Err *child_open_named(BlockNode *parent, const char *name, const char *role, BlockChild **out)
{
    const json_t *given = options_get(parent->options, role);
    g_autofree char *full = NULL;
    json_t *o;

    if (given)
        return child_open(parent, parent->options, role, true, out);
    *out = NULL;
    if (*name == '/') {
        full = g_strdup(name);
    } else {
        TRY(node_folder_name(parent, name, &full));
        if (node_storage(parent)->drv->schemes)
            return err_hint(err(ERR_UNSUPPORTED, "the image names the file '%s' as its %s, and is itself no file of this host",
                                name, role), "Say where it is: %s.driver=..,%s.filename=..", role, role);
    }
    o = json_pack("{s:s,s:s}", "driver", "file", "filename", full);
    if (!o)
        return err(ERR_INVALID, "the image's name for its %s is not UTF-8", role);
    o = nest(role, o);
    Err *e = child_open(parent, o, role, true, out);
    json_decref(o);
    return err_in(e, "%s of '%s'", role, node_path(parent));
}

/* ---- which driver */

/* The format that the bytes at the beginning of `file` speak for. */
static Err *probe(BlockNode *file, const BlockDriver **out)
{
    uint64_t size = node_size_now(file);
    size_t len = MIN(size, PROBE_LEN);
    g_autofree uint8_t *head = g_malloc0(PROBE_LEN);
    int best = 0;

    *out = NULL;
    int ret = len ? node_read(file, 0, &IOV_BUF(head, len), 0) : 0;
    if (ret)
        return err_errno(-ret, "Could not read '%s' for determining its format", node_path(file));
    for (const BlockDriver *d = driver_next(NULL); d; d = driver_next(d)) {
        int sure = d->kind == DRIVER_FORMAT && d->probe ? d->probe(head, len, node_path(file)) : 0;

        if (sure > best) {
            best = sure;
            *out = d;
        }
    }
    return *out ? NULL : err(ERR_NOT_FOUND, "Could not determine image format of '%s': no compatible driver found",
                             node_path(file));
}

/* The driver that the options name, or NULL: to be guessed from the file. */
static Err *named_driver(json_t *o, const Inherit *in, const BlockDriver **out)
{
    const json_t *v = json_object_get(o, "driver");

    *out = NULL;
    if (v) {
        if (!json_is_string(v))
            return err(ERR_INVALID, "option 'driver' takes a name");
        *out = driver_find(json_string_value(v));
        return *out ? NULL : driver_unknown(json_string_value(v));
    }
    if (in->flags & OPEN_NO_PROBE)
        return err_hint(err(ERR_INVALID, "option 'driver' is missing"), "The format is not guessed here.");
    if (!(in->flags & OPEN_PROTOCOL))
        return NULL;
    if (!options_str(o, "filename"))
        return err(ERR_INVALID, "Must specify either driver or file");
    json_t *said = NULL;        /* a device of the host, perhaps; a "nbd://" here is but a file's name */
    g_autofree char *literal = g_strdup_printf("file:%s", options_str(o, "filename"));
    TRY(options_from_protocol_name(literal, &said));
    *out = driver_find(options_str(said, "driver"));
    json_decref(said);
    return *out ? NULL : driver_unknown("file");
}

/* ---- options */

static bool listed(const char *const *names, const char *name)
{
    for (; names && *names; names++) {
        if (!strcmp(*names, name))
            return true;
    }
    return false;
}

static bool has_file(const BlockDriver *drv)
{
    return drv->kind != DRIVER_PROTOCOL && !drv->no_storage;
}

/* Everything the node, its driver and its children know was taken out: nothing may be left. */
static Err *check_rest(const BlockDriver *drv, json_t *rest)
{
    const char *key;
    json_t *v;

    json_object_foreach(rest, key, v) {
        if (!strcmp(key, "driver") || (!strcmp(key, "file") && has_file(drv)) ||
            (!strcmp(key, "backing") && drv->has_backing) || listed(drv->own_options, key))
            continue;
        json_t *group = json_pack("{s:O}", key, v), *flat = options_flatten(group);
        const char *first = json_object_iter_key(json_object_iter(flat));
        const Field *f;
        Err *e = prop_find(drv->fields, first ? first : key, &f);

        e = err_in(e, "Block driver '%s'", drv->name);
        json_decref(group);
        json_decref(flat);
        return e ? e : err(ERR_INVALID, "option '%s' is not for driver '%s'", key, drv->name);
    }
    return NULL;
}

/* The node's own options into `base`, with what is inherited as defaults; they are taken out of `o`. */
static Err *node_settings(BlockGraph *g, json_t *o, const Inherit *in, BlockNode *base)
{
    *base = (BlockNode){
        .graph = g, .opt_read_only = in->read_only, .auto_read_only = in->auto_read_only,
        .force_share = in->force_share, .cache_direct = in->direct, .cache_no_flush = in->no_flush,
        .discard = in->unmap, .open_flags = in->flags, .depth = in->depth,
    };
    TRY(options_take(o, node_fields, base));
    if (base->node_name)
        TRY(graph_check_name(g, base->node_name));
    /* Somebody else writes to it yet. What is read-only for good asks for the locks that it needs. */
    base->inactive = g->inactive && !base->opt_read_only;
    if (base->inactive)
        base->opt_read_only = true;
    base->read_only = base->opt_read_only;
    base->open_flags &= ~(unsigned)OPEN_RW;
    base->open_flags |= base->read_only ? 0 : OPEN_RW;
    if (base->detect_zeroes == 2 && !base->discard)
        return err_hint(err(ERR_INVALID, "setting detect-zeroes to unmap is not allowed without setting discard "
                            "operation to unmap"), "Add discard=unmap.");
    if (base->force_share && !base->read_only)
        return err_hint(err(ERR_INVALID, "force-share=on can only be used with read-only images"), "Add read-only=on.");
    return NULL;
}

/* ---- backing files */

/* What tells one layer's file from another's; g_free it. */
static char *identity(const char *path)
{
    char *real = realpath(path, NULL);
    char *id = g_strdup(real ? real : path);

    free(real);
    return id;
}

/* The options of n's backing file: what the user said, completed by what the header says. NULL: none. */
static Err *backing_options(BlockNode *n, const json_t *given, json_t **out)
{
    g_autofree char *full = NULL;
    json_t *o = NULL, *said = NULL;

    *out = NULL;
    if (given && !json_is_object(given))
        return bad_json_type("backing");
    if (given && (json_object_get(given, "file") || !n->backing_name)) {
        *out = json_deep_copy(given);
        return NULL;
    }
    if (!n->backing_name || !*n->backing_name)
        return NULL;
    TRY(node_relative_name(n, n->backing_name, &full));
    const char *format = options_str(given, "driver") ? NULL : n->backing_format;
    TRY(options_from_name(full, format && *format ? format : NULL, &o));
    if (given) {
        said = json_deep_copy(given);
        json_object_update(o, said);
        json_decref(said);
    }
    *out = o;
    return NULL;
}

static Err *check_chain(GPtrArray *above, const char *id)
{
    for (unsigned i = 0; i < above->len; i++) {
        if (!strcmp(above->pdata[i], id))
            return err_hint(err(ERR_INVALID, "the chain of backing files bites its tail: '%s' is above itself", id),
                            "Give another backing file to one of them: rebase -u.");
    }
    return NULL;
}

/* Opens and attaches n's own backing file; *next is that one, if its backing file is to be opened as well. */
static Err *open_backing(BlockNode *n, const json_t *given, GPtrArray *above, BlockNode **next)
{
    Inherit in = for_child(n, DRIVER_FORMAT, "backing");
    json_t *o = NULL;
    BlockNode *b = NULL;
    Err *e = NULL;

    if (json_is_string(given)) {
        o = json_incref((json_t *)given);
    } else {
        TRY(backing_options(n, given, &o));
        if (!o)
            return NULL;
    }
    in.no_chain = true;
    g_ptr_array_add(above, identity(node_path(n)));
    const char *file = options_str(o, "file.filename");
    g_autofree char *theirs = file ? identity(file) : NULL;
    if (theirs)
        e = check_chain(above, theirs);
    if (!e)
        e = node_open_below(n->graph, o, &in, &b);
    if (!e) {
        e = child_attach(n, b, "backing", &n->backing);
        *next = json_is_string(o) ? NULL : b;
        node_unref(b);
    }
    json_decref(o);
    return e;
}

static bool wants_backing(const BlockNode *n, const json_t *given)
{
    return n->drv->has_backing && !n->no_backing_open && !(n->open_flags & OPEN_NO_BACKING) && !json_is_null(given) &&
           !(json_is_string(given) && !*json_string_value(given));
}

/* All layers below n, one after the other: a long chain needs no deep stack. */
static Err *open_chain(BlockNode *n)
{
    g_autoptr(GPtrArray) above = g_ptr_array_new_with_free_func(g_free);
    Err *e = NULL;

    while (n && !e) {
        const json_t *given = json_object_get(n->options, "backing");
        BlockNode *next = NULL;

        if (wants_backing(n, given))
            e = open_backing(n, given, above, &next);
        n = next;
    }
    return err_in(e, "Could not open backing file");
}

/* ---- a node */

static void turn_read_only(BlockNode *n)
{
    n->read_only = true;
    n->open_flags &= ~(unsigned)OPEN_RW;
}

static Err *check_writable(BlockNode *n)
{
    if (n->read_only || n->drv->write || n->drv->zero)
        return NULL;
    if (!n->auto_read_only)
        return err_hint(err(ERR_UNSUPPORTED, "Driver '%s' can only be used for read-only devices", n->drv->name),
                        "Add read-only=on or auto-read-only=on.");
    turn_read_only(n);
    return NULL;
}

static void default_limits(BlockNode *n)
{
    const BlockLimits *below = n->file ? &n->file->node->limits : NULL;

    n->limits = (BlockLimits){ .request_align = 1, .mem_align = 512 };
    if (!below)
        return;
    if (n->drv->kind == DRIVER_FILTER) {
        n->limits = *below;
        n->limits.request_align = 1;
        n->limits.max_transfer = n->limits.max_iov = 0;
    }
    n->limits.mem_align = MAX(below->mem_align, n->limits.mem_align);
    n->limits.opt_transfer = below->opt_transfer;
    n->limits.min_io = below->min_io;
    n->limits.opt_io = below->opt_io;
}

static Err *set_up(BlockNode *n, json_t *rest, const Inherit *in, BlockNode *file)
{
    const char *name = options_str(n->options, "filename");

    n->filename = g_strdup(name ? name : "");
    props_init(n, n->drv->fields);
    TRY(options_take(rest, n->drv->fields, n));
    TRY(check_rest(n->drv, rest));
    TRY(check_writable(n));
    if (file && file->read_only && !n->read_only && n->auto_read_only)
        turn_read_only(n);
    if (file)
        TRY(child_attach(n, file, "file", &n->file));
    default_limits(n);
    return NULL;
}

static Err *too_long(const BlockNode *n)
{
    return err(ERR_INVALID, "the size %" G_GUINT64_FORMAT " of '%s' is more than an image may have",
               n->size, node_path((BlockNode *)n));
}

/* The node behind its settings: `file` is open (borrowed), or NULL where the kind has none. */
static Err *bring_up(BlockNode *n, json_t *rest, const Inherit *in, BlockNode *file)
{
    Err *e = set_up(n, rest, in, file);
    bool opened = false;

    if (!e) {
        opened = true;
        if (n->drv->kind == DRIVER_FILTER && file) {
            n->size = node_size_now(file);
            n->write_flags = REQ_FUA | REQ_UNCHANGED;       /* passed on with the request */
            n->zero_flags = REQ_FUA | REQ_UNCHANGED | REQ_UNMAP | REQ_NO_FALLBACK;
        }
        e = n->drv->open(n);
    }
    if (!e && n->size > BLOCK_MAX_SIZE)
        e = too_long(n);
    if (!e && n->node_name)
        e = graph_check_name(n->graph, n->node_name);       /* a child may have taken it */
    if (e) {
        node_destroy(n, opened);
        return e;
    }
    n->refs = 1;
    graph_add(n->graph, n);
    return NULL;
}

/* The "file" child of a node that does not exist yet. */
static Err *open_file(BlockNode *base, const json_t *o, DriverKind kind, BlockNode **out)
{
    const json_t *v = json_object_get(o, "file");

    if (!v || json_is_null(v))
        return err_hint(err(ERR_INVALID, "A block device must be specified for \"file\""),
                        "For example: file.driver=file,file.filename=NAME");
    Inherit in = for_child(base, kind, "file");
    return node_open_below(base->graph, v, &in, out);
}

/* Takes base's strings in any case. */
static Err *open_node(BlockNode *base, const json_t *options, json_t *rest, const Inherit *in, BlockNode **out)
{
    const BlockDriver *drv = NULL;
    BlockNode *file = NULL;
    bool guessed = false;
    Err *e = named_driver(rest, in, &drv);

    if (!e && (!drv || has_file(drv)))
        e = open_file(base, rest, drv ? drv->kind : DRIVER_FORMAT, &file);
    if (!e && !drv) {
        e = probe(file, &drv);
        guessed = true;
    }
    if (e) {
        props_clear(base, node_fields);
        node_unref(file);
        return e;
    }
    BlockNode *n = g_malloc0(drv->size);
    *n = *base;
    n->drv = drv;
    n->probed = guessed;
    n->options = json_deep_copy(options);
    json_object_set_new(n->options, "driver", json_string(drv->name));
    e = bring_up(n, rest, in, file);
    node_unref(file);
    if (!e)
        *out = n;
    return e;
}

static Err *open_by_name(BlockGraph *g, const char *name, BlockNode **out)
{
    BlockNode *n = graph_find(g, name);

    if (!n)
        return err(ERR_NOT_FOUND, "Cannot find a node named '%s'", name);
    *out = node_ref(n);
    return NULL;
}

Err *node_open_below(BlockGraph *g, const json_t *options, const Inherit *in, BlockNode **out)
{
    json_t *o = NULL, *rest;
    g_autofree BlockNode *base = NULL;
    Err *e;

    *out = NULL;
    if (json_is_string(options))
        return open_by_name(g, json_string_value(options), out);
    if (in->depth > NODES_DEEP)
        return err_hint(err(ERR_INVALID, "more than %d images and filters lie above each other", NODES_DEEP),
                        "A chain of backing files that leads back to itself looks like this, too.");
    TRY(options_normalise(options, &o));
    rest = json_copy(o);
    base = g_new0(BlockNode, 1);
    e = node_settings(g, rest, in, base);
    if (e)
        props_clear(base, node_fields);
    else
        e = open_node(base, o, rest, in, out);
    json_decref(rest);
    json_decref(o);
    if (!e && !in->no_chain)
        e = open_chain(*out);
    if (e) {
        node_unref(*out);
        *out = NULL;
    }
    return e;
}

Err *node_open(BlockGraph *g, const json_t *options, unsigned flags, BlockNode **out)
{
    const Inherit in = {
        .flags = flags, .read_only = !(flags & OPEN_RW), .force_share = flags & OPEN_FORCE_SHARE,
    };

    TRY(node_open_below(g, options, &in, out));
    Err *e = (*out)->inactive ? perms_when_active(g) : NULL;
    if (e) {
        node_unref(*out);
        *out = NULL;
    }
    return e;
}
