/* SPDX-License-Identifier: MIT */
/*
 * blkdebug's rules: from options ("inject-error.0.event=l2_load") and from
 * files,
 *
 *   [inject-error]
 *   event = "l2_load"
 *   errno = "5"
 */
#include <ctype.h>
#include <glib.h>
#include <string.h>

#include "block/block-priv.h"
#include "block/filter/blkdebug.h"
#include "util/path.h"
#include "util/str.h"

#define CONFIG_MAX (1 << 20)

/* What QEMU's drivers raise; others' names are taken as well, but a slip of the pen shall be seen. */
static const char *const events[] = {
    "l1_update", "l1_grow_alloc_table", "l1_grow_write_table", "l1_grow_activate_table",
    "l2_load", "l2_update", "l2_update_compressed", "l2_alloc_cow_read", "l2_alloc_write",
    "read_aio", "read_backing_aio", "read_compressed", "write_aio", "write_compressed",
    "vmstate_load", "vmstate_save", "cow_read", "cow_write",
    "reftable_load", "reftable_grow", "reftable_update",
    "refblock_load", "refblock_update", "refblock_update_part", "refblock_alloc", "refblock_alloc_hookup",
    "refblock_alloc_write", "refblock_alloc_write_blocks", "refblock_alloc_write_table", "refblock_alloc_switch_table",
    "cluster_alloc", "cluster_alloc_bytes", "cluster_free", "flush_to_os", "flush_to_disk",
    "pwritev_rmw_head", "pwritev_rmw_after_head", "pwritev_rmw_tail", "pwritev_rmw_after_tail",
    "pwritev", "pwritev_zero", "pwritev_done", "empty_image_prepare",
    "l1_shrink_write_table", "l1_shrink_free_l2_clusters", "cor_write", "cluster_alloc_space", "none", NULL
};

void debug_rules_free(DebugRule *r)
{
    while (r) {
        DebugRule *next = r->next;

        g_free(r->event);
        g_free(r);
        r = next;
    }
}

static Err *bad_event(const char *event)
{
    const char *near = nearest_name(event, events);
    Err *e = err(ERR_INVALID, "there is no event '%s'", event);

    return near ? err_hint(e, "Did you mean '%s'?", near) : e;
}

static Err *set_number(const char *key, const char *text, uint64_t max, int64_t *out)
{
    uint64_t v;

    if (!strcmp(key, "sector") && !strcmp(text, "-1")) {
        *out = -1;
        return NULL;
    }
    Err *e = parse_num(text, &v);
    if (!e && v > max)
        e = err(ERR_INVALID, "%s is too large", text);
    if (e)
        return err_in(e, "'%s'", key);
    *out = v;
    return NULL;
}

static Err *set_iotype(DebugRule *r, const char *text)
{
    static const char *const names[] = { "read", "write", "write-zeroes", "discard", "flush", "block-status", NULL };

    for (unsigned i = 0; names[i]; i++) {
        if (!strcmp(names[i], text)) {
            r->iotype = 1u << i;
            return NULL;
        }
    }
    g_autofree char *all = g_strjoinv(", ", (char **)names);
    return err_hint(err(ERR_INVALID, "there is no iotype '%s'", text), "There are: %s.", all);
}

/* One key of a rule; both kinds. */
static Err *set_key(DebugRule *r, bool inject, const char *key, const char *text)
{
    int64_t n = 0;

    if (!strcmp(key, "event")) {
        if (!g_strv_contains(events, text))
            return bad_event(text);
        g_free(r->event);
        r->event = g_strdup(text);
        return NULL;
    }
    if (!strcmp(key, "state")) {
        TRY(set_number(key, text, INT32_MAX, &n));
        r->state = n;
        return NULL;
    }
    if (!inject && (!strcmp(key, "new_state") || !strcmp(key, "new-state")))
        return set_number(key, text, INT32_MAX, &r->new_state);
    if (inject && !strcmp(key, "sector"))
        return set_number(key, text, BLOCK_MAX_SIZE / 512, &r->sector);
    if (inject && !strcmp(key, "errno")) {
        TRY(set_number(key, text, 4095, &n));
        r->error = n;
        return NULL;
    }
    if (inject && !strcmp(key, "once"))
        return parse_bool(text, &r->once);
    if (inject && !strcmp(key, "immediately"))
        return parse_bool(text, &r->immediately);
    if (inject && !strcmp(key, "iotype"))
        return set_iotype(r, text);
    return err(ERR_INVALID, "there is no '%s' in a rule of kind %s", key, inject ? "inject-error" : "set-state");
}

static DebugRule *new_rule(bool inject)
{
    DebugRule *r = g_new0(DebugRule, 1);

    r->new_state = inject ? -1 : 0;
    r->error = EIO;
    r->iotype = RULE_ALL;
    r->sector = -1;
    return r;
}

static Err *check_rule(const DebugRule *r)
{
    if (!r->event)
        return err(ERR_INVALID, "Missing event name for rule");
    return NULL;
}

static void append(DebugRule **list, DebugRule *r)
{
    while (*list)
        list = &(*list)->next;
    *list = r;
}

/* ---- options */

static Err *rules_of(const json_t *list, bool inject, DebugRule **out)
{
    const json_t *o;
    const char *key;
    json_t *v;
    size_t i;

    if (list && !json_is_array(list))
        return err(ERR_INVALID, "'%s' is a list of rules", inject ? "inject-error" : "set-state");
    json_array_foreach((json_t *)list, i, o) {
        DebugRule *r = new_rule(inject);
        Err *e = json_is_object(o) ? NULL : err(ERR_INVALID, "a rule is a group of options");

        append(out, r);
        json_object_foreach((json_t *)o, key, v) {
            g_autofree char *text = json_scalar_text(v);

            if (!e)
                e = text ? set_key(r, inject, key, text) : err(ERR_INVALID, "'%s' takes a value", key);
        }
        if (!e)
            e = check_rule(r);
        if (e)
            return err_in(e, "%s.%zu", inject ? "inject-error" : "set-state", i);
    }
    return NULL;
}

Err *debug_rules_from_options(const json_t *options, DebugRule **list)
{
    TRY(rules_of(json_object_get(options, "inject-error"), true, list));
    return rules_of(json_object_get(options, "set-state"), false, list);
}

/* ---- files */

typedef struct Parsing {
    DebugRule **list, *rule;
    bool inject;
} Parsing;

static Err *section(Parsing *p, const char *name)
{
    if (p->rule)
        TRY(check_rule(p->rule));
    p->inject = !strcmp(name, "inject-error");
    if (!p->inject && strcmp(name, "set-state"))
        return err(ERR_INVALID, "there is no kind of rules '%s'", name);
    p->rule = new_rule(p->inject);
    append(p->list, p->rule);
    return NULL;
}

static Err *one_line(Parsing *p, char *line)
{
    char *eq, *value;

    g_strstrip(line);
    if (!*line || *line == '#')
        return NULL;
    if (*line == '[' && g_str_has_suffix(line, "]")) {
        line[strlen(line) - 1] = 0;
        return section(p, line + 1);
    }
    eq = strchr(line, '=');
    if (!eq || !p->rule)
        return err(ERR_INVALID, "neither [section] nor key = \"value\" in a section");
    *eq = 0;
    value = g_strstrip(eq + 1);
    size_t n = strlen(value);
    if (n >= 2 && *value == '"' && value[n - 1] == '"') {
        value[n - 1] = 0;
        value++;
    }
    return set_key(p->rule, p->inject, g_strchomp(line), value);
}

Err *debug_rules_from_file(const char *path, DebugRule **list)
{
    g_autofree char *text = NULL;
    gsize len = 0;
    Parsing p = { .list = list };

    if (!g_file_get_contents(path, &text, &len, NULL))
        return err_path(errno, path, "Could not read blkdebug config file '%s'", path);
    if (len > CONFIG_MAX || strlen(text) != len)
        return err(ERR_INVALID, "'%s' is no text of rules", path);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (unsigned i = 0; lines[i]; i++)
        TRY(err_in(one_line(&p, lines[i]), "%s:%u", path, i + 1));
    return p.rule ? err_in(check_rule(p.rule), "%s", path) : NULL;
}
