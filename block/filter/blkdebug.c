/* SPDX-License-Identifier: MIT */
/*
 * blkdebug: errors on demand, for tests. A format above tells what it is about
 * to do (block_event); a rule that waits for the event becomes active, and the
 * next request that it fits fails. A number, the state, links rules: set-state
 * moves it at an event, and a rule may count in one state only.
 *
 * Also: alignment and limits as some host might have them, permissions that
 * somebody else might hold, and breakpoints.
 */
#include "block/filter/blkdebug.h"

#include <glib.h>
#include <string.h>

#include "block/block-priv.h"
#include "block/filter/pass.h"

typedef struct Suspended {
    char *tag;
    Co *co;
    struct Suspended *next;
} Suspended;

typedef struct Breakpoint {
    char *event, *tag;
    struct Breakpoint *next;
} Breakpoint;

typedef struct Debug {
    BlockNode node;
    char *config;
    uint64_t align, max_transfer, opt_write_zero, max_write_zero, opt_discard, max_discard;
    unsigned take, unshare;     /* permissions */
    uint32_t state;
    DebugRule *rules;
    Breakpoint *breaks;
    Suspended *suspended;
} Debug;

static const Field debug_fields[] = {
    PROP(Debug, config, .doc = "a file of rules"),
    PROP(Debug, align, .units = true, .doc = "alignment of requests"),
    PROP(Debug, max_transfer, .units = true, .doc = "longest request"),
    PROP(Debug, opt_write_zero, .units = true, .doc = "best unit of zero requests"),
    PROP(Debug, max_write_zero, .units = true, .doc = "longest zero request"),
    PROP(Debug, opt_discard, .units = true, .doc = "best unit of discards"),
    PROP(Debug, max_discard, .units = true, .doc = "longest discard"),
    {0}
};

/* ---- rules at work */

static void let_go(Debug *d, const char *tag)
{
    for (Suspended *s = d->suspended; s; s = s->next) {
        if (s->co && (!tag || !strcmp(s->tag, tag))) {
            co_wake(s->co);
            s->co = NULL;
        }
    }
}

static void suspend(Debug *d, const char *tag)
{
    Suspended s = { g_strdup(tag), co_self(), d->suspended }, **at;

    d->suspended = &s;
    co_yield();
    for (at = &d->suspended; *at != &s; at = &(*at)->next)
        ;
    *at = s.next;
    g_free(s.tag);
}

/* The first breakpoint of that event goes with its first use. */
static void meet_breakpoint(Debug *d, const char *event)
{
    for (Breakpoint **at = &d->breaks, *b; (b = *at); at = &b->next) {
        if (strcmp(b->event, event))
            continue;
        *at = b->next;
        g_autofree char *tag = b->tag;
        g_free(b->event);
        g_free(b);
        suspend(d, tag);
        return;
    }
}

static void debug_event(BlockNode *n, const char *event)
{
    Debug *d = (Debug *)n;
    uint32_t new_state = d->state;
    bool fresh = true;

    for (DebugRule *r = d->rules; r; r = r->next) {
        if (strcmp(r->event, event) || (r->state && r->state != d->state))
            continue;
        if (r->new_state >= 0) {
            new_state = r->new_state;
            continue;
        }
        for (DebugRule *o = d->rules; fresh && o; o = o->next)
            o->active = false;          /* what an earlier event made active is over */
        fresh = false;
        r->active = true;
    }
    d->state = new_state;
    if (d->breaks)
        meet_breakpoint(d, event);
}

static void remove_rule(Debug *d, DebugRule *r)
{
    DebugRule **at = &d->rules;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
    r->next = NULL;
    debug_rules_free(r);
}

/* 0, or the error of the rule that fits the request. len 0: no place. */
static int inject(Debug *d, unsigned iotype, uint64_t off, uint64_t len)
{
    for (DebugRule *r = d->rules; r; r = r->next) {
        uint64_t at = (uint64_t)r->sector * 512;

        if (!r->active || !(r->iotype & iotype) || (r->sector >= 0 && len && (at < off || at >= off + len)) ||
            (r->sector >= 0 && !len))
            continue;
        int error = r->error;
        bool wait = !r->immediately;
        if (r->once)
            remove_rule(d, r);
        if (error && wait)
            co_pause();
        return -error;
    }
    return 0;
}

/* ---- options */

/* "write", ["consistent-read", ..] -> bits */
static Err *perm_list(const json_t *options, const char *name, unsigned *out)
{
    static const char *const names[] = { "consistent-read", "write", "write-unchanged", "resize", NULL };
    const json_t *list = json_object_get(options, name);
    json_t *v;
    size_t i;

    if (list && !json_is_array(list))
        return err(ERR_INVALID, "'%s' is a list of permissions", name);
    json_array_foreach((json_t *)list, i, v) {
        unsigned bit = 0;

        while (names[bit] && g_strcmp0(names[bit], json_string_value(v)))
            bit++;
        if (!names[bit])
            return err_hint(err(ERR_INVALID, "'%s': there is no such permission", name),
                            "There are: consistent-read, write, write-unchanged, resize.");
        *out |= 1u << bit;
    }
    return NULL;
}

static Err *check_unit(const char *name, uint64_t v, uint64_t align, bool power)
{
    if (v > INT32_MAX || (power && v & (v - 1)) || v % MAX(align, 1))
        return err(ERR_INVALID, "Cannot meet constraints with %s %" G_GUINT64_FORMAT, name, v);
    return NULL;
}

static Err *set_limits(Debug *d)
{
    BlockLimits *l = &d->node.limits;
    uint64_t align = MAX(d->align, 1);

    TRY(check_unit("align", d->align, 0, true));
    TRY(check_unit("max-transfer", d->max_transfer, align, false));
    TRY(check_unit("opt-write-zero", d->opt_write_zero, align, true));
    TRY(check_unit("max-write-zero", d->max_write_zero, MAX(d->opt_write_zero, align), false));
    TRY(check_unit("opt-discard", d->opt_discard, align, true));
    TRY(check_unit("max-discard", d->max_discard, MAX(d->opt_discard, align), false));
    l->request_align = align;
    l->max_transfer = d->max_transfer;
    if (d->opt_write_zero)
        l->zero_align = d->opt_write_zero;
    if (d->max_write_zero)
        l->max_zero = d->max_write_zero;
    if (d->opt_discard)
        l->discard_align = d->opt_discard;
    if (d->max_discard)
        l->max_discard = d->max_discard;
    return NULL;
}

static Err *debug_open(BlockNode *n)
{
    Debug *d = (Debug *)n;

    d->state = 1;
    if (d->config && *d->config)
        TRY(debug_rules_from_file(d->config, &d->rules));
    TRY(debug_rules_from_options(n->options, &d->rules));
    TRY(perm_list(n->options, "take-child-perms", &d->take));
    TRY(perm_list(n->options, "unshare-child-perms", &d->unshare));
    TRY(child_open(n, n->options, "image", true, &n->file));
    n->size = child_size(n->file);
    n->write_flags = REQ_FUA | REQ_UNCHANGED;
    n->zero_flags = REQ_FUA | REQ_UNCHANGED | REQ_UNMAP | REQ_NO_FALLBACK;
    n->limits = n->file->node->limits;
    TRY(set_limits(d));
    debug_event(n, "none");
    return NULL;
}

static void debug_close(BlockNode *n)
{
    Debug *d = (Debug *)n;

    debug_rules_free(d->rules);
    while (d->breaks) {
        Breakpoint *b = d->breaks;

        d->breaks = b->next;
        g_free(b->event);
        g_free(b->tag);
        g_free(b);
    }
}

static void debug_child_perm(BlockNode *n, const char *role, unsigned perm, unsigned shared,
                             unsigned *cperm, unsigned *cshared)
{
    const Debug *d = (Debug *)n;

    *cperm = perm | d->take;
    *cshared = shared & ~d->unshare;
}

/* ---- data */

static int debug_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = inject((Debug *)n, RULE_READ, off, q->len);

    return ret ? ret : pass_read(n, off, q, flags);
}

static int debug_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    int ret = inject((Debug *)n, RULE_WRITE, off, q->len);

    return ret ? ret : pass_write(n, off, q, flags);
}

/* What is shorter than the unit cannot be done, as on a host that has one. */
static int debug_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    Debug *d = (Debug *)n;
    uint64_t unit = MAX(d->opt_write_zero, MAX(d->align, 1));

    if (len < unit)
        return -ENOTSUP;
    int ret = inject(d, RULE_ZERO, off, len);
    return ret ? ret : pass_zero(n, off, len, flags);
}

static int debug_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    Debug *d = (Debug *)n;
    uint64_t unit = MAX(d->opt_discard, MAX(d->align, 1));

    if (len < unit)
        return -ENOTSUP;
    int ret = inject(d, RULE_DISCARD, off, len);
    return ret ? ret : pass_discard(n, off, len);
}

static int debug_flush(BlockNode *n)
{
    return inject((Debug *)n, RULE_FLUSH, 0, 0);
}

static int debug_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    int ret = inject((Debug *)n, RULE_STATUS, off, len);

    return ret ? ret : node_extent(n->file->node, off, MIN(len, child_size(n->file) - off), out);
}

static void debug_drain(BlockNode *n, bool begin)
{
    if (begin)
        let_go((Debug *)n, NULL);       /* or the drain would never end */
}

/* ---- breakpoints */

static Debug *find_debug(BlockNode *n)
{
    extern const BlockDriver block_blkdebug;

    while (n && n->drv != &block_blkdebug)
        n = n->file ? n->file->node : NULL;
    return (Debug *)n;
}

Err *debug_break(BlockNode *n, const char *event, const char *tag)
{
    Debug *d = find_debug(n);

    if (!d)
        return err(ERR_INVALID, "there is no blkdebug below '%s'", node_path(n));
    Breakpoint *b = g_new0(Breakpoint, 1);
    b->event = g_strdup(event);
    b->tag = g_strdup(tag);
    b->next = d->breaks;
    d->breaks = b;
    return NULL;
}

Err *debug_remove_break(BlockNode *n, const char *tag)
{
    Debug *d = find_debug(n);
    bool found = false;

    for (Breakpoint **at = d ? &d->breaks : NULL, *b; at && (b = *at); ) {
        if (strcmp(b->tag, tag)) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        g_free(b->event);
        g_free(b->tag);
        g_free(b);
        found = true;
    }
    if (d && debug_is_suspended(n, tag)) {
        let_go(d, tag);
        found = true;
    }
    return found ? NULL : err(ERR_NOT_FOUND, "there is no breakpoint '%s'", tag);
}

Err *debug_resume(BlockNode *n, const char *tag)
{
    Debug *d = find_debug(n);

    if (!d || !debug_is_suspended(n, tag))
        return err(ERR_NOT_FOUND, "no request is suspended at '%s'", tag);
    let_go(d, tag);
    return NULL;
}

bool debug_is_suspended(BlockNode *n, const char *tag)
{
    Debug *d = find_debug(n);

    for (Suspended *s = d ? d->suspended : NULL; s; s = s->next) {
        if (s->co && !strcmp(s->tag, tag))
            return true;
    }
    return false;
}

/* ---- names: blkdebug:RULES:IMAGE */

static Err *parse_name(const char *name, json_t *options)
{
    const char *config = name + strlen("blkdebug:"), *colon = strchr(config, ':');
    json_t *image = NULL;

    if (!colon)
        return err(ERR_INVALID, "blkdebug requires both config file and image path: blkdebug:RULES:IMAGE");
    if (colon > config) {
        g_autofree char *path = g_strndup(config, colon - config);

        json_object_set_new(options, "config", json_string(path));
    }
    TRY(options_from_protocol_name(colon + 1, &image));
    json_object_set_new(options, "image", image);
    return NULL;
}

/* Only where config and image are all that was said. */
static char *make_name(BlockNode *n)
{
    const Debug *d = (Debug *)n;
    const char *key, *below;
    json_t *v;

    json_object_foreach(n->options, key, v) {
        if (strcmp(key, "driver") && strcmp(key, "node-name") && strcmp(key, "config") && strcmp(key, "image"))
            return NULL;
    }
    if (!n->file)
        return NULL;
    below = node_filename(n->file->node);
    return g_str_has_prefix(below, "json:") ? NULL : g_strdup_printf("blkdebug:%s:%s", d->config ? d->config : "", below);
}

static const char *const schemes[] = { "blkdebug:", NULL };
static const char *const own[] = {
    "image", "inject-error", "set-state", "take-child-perms", "unshare-child-perms", NULL
};

BLOCK(blkdebug) = {
    .name = "blkdebug", .doc = "errors on demand, for tests", .kind = DRIVER_FILTER, .no_storage = true,
    .size = sizeof(Debug), .fields = debug_fields, .own_options = own, .schemes = schemes,
    .parse_name = parse_name, .make_name = make_name,
    .open = debug_open, .close = debug_close, .child_perm = debug_child_perm, .drain = debug_drain,
    .event = debug_event, .read = debug_read, .write = debug_write, .write_compressed = pass_write_compressed,
    .zero = debug_zero, .discard = debug_discard, .flush = debug_flush, .extent = debug_extent,
    .size_now = pass_size_now,
};
