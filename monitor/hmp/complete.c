/* SPDX-License-Identifier: MIT */
/*
 * Completion: the first words by the rows of the schema, the others by the
 * member that a row has there: its type (enum, bool), or what its name means in
 * that command (tables below). Each candidate is a whole word.
 */
#include <string.h>
#include <sys/stat.h>

#include "block/block.h"
#include "hw/core/board.h"
#include "monitor/hmp/hmp-priv.h"
#include "monitor/monitor-priv.h"
#include "monitor/view.h"
#include "net/net.h"
#include "system/iothread.h"
#include "system/objects.h"
#include "system/state.h"
#include "util/log.h"
#include "util/trace.h"

enum { WORDS_MAX = 4096 };

/* `head` goes in front of each, `tail` behind. */
typedef struct Words {
    Monitor *m;
    const char *prefix;         /* what was typed of the word, behind `head` */
    const char *head, *tail;
    GPtrArray *list;
} Words;

static void add_with(Words *w, const char *name, const char *tail)
{
    if (name && g_str_has_prefix(name, w->prefix) && w->list->len < WORDS_MAX)
        g_ptr_array_add(w->list, g_strconcat(w->head, name, tail, NULL));
}

static void add(Words *w, const char *name)
{
    add_with(w, name, w->tail);
}

/* ---- what names mean */

static void add_device_ids(Words *w)
{
    for (Device *d = machine_of(w->m->vm)->devices; d; d = d->next)
        add(w, d->outer ? NULL : d->id);
}

static void add_objects(Words *w)
{
    const VmObject *o;

    for (unsigned i = 0; (o = object_at(w->m->vm, i)); i++)
        add(w, o->id);
}

static void add_chardevs(Words *w)
{
    for (Chardev *c = NULL; w->m->vm->chardevs && (c = chardev_next(w->m->vm->chardevs, c));)
        add(w, chardev_id(c));
}

static void ask_net(void *opaque)
{
    Words *w = opaque;

    for (NetPort *p = NULL; (p = net_next(w->m->vm->net, p));)
        add(w, p->name);
}

static void add_netdevs(Words *w)
{
    if (w->m->vm->net)
        iothread_run(w->m->vm->net_thread, ask_net, w);
}

static void add_cables(Words *w)
{
    for (Device *d = machine_of(w->m->vm)->devices; d; d = d->next) {
        Device *whose;
        const Field *f;

        if (!d->outer && d->id && device_prop(d, "netdev", &whose, &f))
            add(w, d->id);
    }
    add_netdevs(w);
}

/* Members of the answer of a query: what is called there "device", "node-name" .. */
static void add_answers(Words *w, const char *query, const char *key)
{
    json_t *none = json_object(), *list = NULL, *v;
    size_t i;

    err_free(qmp_call(w->m, query, none, &list));
    json_array_foreach(list, i, v) {
        const char *name = json_string_value(json_object_get(v, key));

        if (name && *name)
            add(w, name);
    }
    json_decref(list);
    json_decref(none);
}

static void add_disks(Words *w)
{
    add_answers(w, "query-block", "device");
    add_answers(w, "query-named-block-nodes", "node-name");
}

static void add_jobs(Words *w)
{
    add_answers(w, "query-block-jobs", "device");
}

static void add_snapshots(Words *w)
{
    GArray *list = NULL;
    Err *e = snapshot_list(w->m->vm, &list);

    err_free(e);
    for (guint i = 0; !e && list && i < list->len; i++)
        add(w, g_array_index(list, SnapshotInfo, i).name);
    if (list)
        g_array_unref(list);
}

/* A path of the tree, one step at a time. */
static void add_paths(Words *w)
{
    const char *slash = strrchr(w->prefix, '/');
    g_autofree char *dir = slash ? g_strndup(w->prefix, (gsize)(slash - w->prefix)) : g_strdup("");
    g_autofree char *head = g_strconcat(w->head, dir, "/", NULL);
    const QomListArgs args = { *dir ? dir : "/" };
    Words below = *w;
    json_t *list = NULL, *p;
    size_t i;

    if (!slash && *w->prefix)
        return;
    below.prefix = slash ? slash + 1 : "";
    below.head = head;
    err_free(qmp_qom_list(w->m, &args, &list));
    json_array_foreach(list, i, p) {
        if (g_str_has_prefix(json_string_value(json_object_get(p, "type")), "child<"))
            add_with(&below, json_string_value(json_object_get(p, "name")), "");
    }
    json_decref(list);
}

static void add_qom_props(Words *w, const char *path)
{
    const QomListArgs args = { path };
    json_t *list = NULL, *p;
    size_t i;

    err_free(qmp_qom_list(w->m, &args, &list));
    json_array_foreach(list, i, p) {
        if (!g_str_has_prefix(json_string_value(json_object_get(p, "type")), "child<"))
            add(w, json_string_value(json_object_get(p, "name")));
    }
    json_decref(list);
}

static void add_files(Words *w)
{
    const char *slash = strrchr(w->prefix, '/');
    g_autofree char *dir = slash ? g_strndup(w->prefix, (gsize)(slash - w->prefix) + 1) : g_strdup("");
    g_autofree char *head = g_strconcat(w->head, dir, NULL);
    GDir *d = g_dir_open(*dir ? dir : ".", 0, NULL);
    Words here = *w;
    const char *name;

    here.prefix = w->prefix + strlen(dir);
    here.head = head;
    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_strconcat(*dir ? dir : "./", name, NULL);
        struct stat st;

        if (*name != '.' || *here.prefix == '.')
            add_with(&here, name, !stat(path, &st) && S_ISDIR(st.st_mode) ? "/" : w->tail);
    }
    if (d)
        g_dir_close(d);
}

static void add_log_items(Words *w)
{
#define X(name, bit, doc) add(w, name);
    LOG_ITEMS(X)
#undef X
    add(w, "none");
    add(w, "help");
}

static void add_trace(void *opaque, const TracePoint *p)
{
    Words *w = opaque;
    g_autofree char *word = g_strconcat(w->head, p->name, w->tail, NULL);

    if (!w->list->len || strcmp(g_ptr_array_index(w->list, w->list->len - 1), word))    /* sorted: several share a name */
        add(w, p->name);
}

static void add_traces(Words *w)
{
    trace_each(add_trace, w);
}

static void add_keys(Words *w)
{
    for (const char *const *k = qmp_QKeyCode_names; *k; k++)
        add_with(w, *k, "");
}

static void add_capabilities(Words *w)
{
    add_answers(w, "query-migrate-capabilities", "capability");
}

static void add_parameters(Words *w)
{
    static const char *const names[] = { MIGRATE_PARAMETERS };

    for (size_t i = 0; i < G_N_ELEMENTS(names); i++)
        add(w, names[i]);
}

/* ---- "KIND,property=value": what -device, -object, -netdev and -chardev take */

static void add_prop(void *opaque, const Field *f)
{
    g_autofree char *name = field_name(f);

    add_with(opaque, name, "=");
}

static void add_fields(Words *w, const Field *f)
{
    for (; f && f->role != FIELD_END; f++) {
        if (f->role == FIELD_PROP)
            add_prop(w, f);
    }
    add_with(w, "id", "=");
}

/* Values of a property of that name. */
static void add_values(Words *w, const char *name, const Field *f)
{
    if (!strcmp(name, "bus")) {
        for (const Bus *b = machine_of(w->m->vm)->buses; b; b = b->next)
            add(w, b->name);
    } else if (!strcmp(name, "drive")) {
        add_disks(w);
    } else if (!strcmp(name, "netdev")) {
        add_netdevs(w);
    } else if (!strcmp(name, "chardev")) {
        add_chardevs(w);
    } else if (!strcmp(name, "iothread") || !strcmp(name, "rng")) {
        add_objects(w);
    } else if (f && f->type == FIELD_BOOL) {
        add(w, "on");
        add(w, "off");
    }
    for (const char *const *v = f && f->names != net_many ? f->names : NULL; v && *v; v++)
        add(w, *v);
}

static const Field *field_of(const Field *table, const char *name)
{
    for (const Field *f = table; f && f->role != FIELD_END; f++) {
        g_autofree char *shown = field_name(f);

        if (f->role == FIELD_PROP && !strcmp(shown, name))
            return f;
    }
    return NULL;
}

typedef struct FindProp { const char *name; const Field *found; } FindProp;

static void find_prop(void *opaque, const Field *f)
{
    FindProp *p = opaque;
    g_autofree char *shown = field_name(f);

    if (!strcmp(shown, p->name))
        p->found = f;
}

static const Field *netdev_fields(const char *kind)
{
    for (const NetKind *const *k = netdev_set; *k; k++) {
        if (!strcmp((*k)->name, kind))
            return (*k)->fields;
    }
    return NULL;
}

static void add_kinds(Words *w, const char *command)
{
    const Field *fields;
    const char *name;

    w->tail = "";
    if (!strcmp(command, "device_add")) {
        for (const DeviceClass *const *c = device_set; *c; c++) {
            if ((*c)->bus && strcmp((*c)->bus, BUS_SYSTEM)) {
                add(w, (*c)->name);
                add(w, (*c)->alias);
            }
        }
    } else if (!strcmp(command, "object_add")) {
        for (unsigned i = 0; (name = object_kind(i, &fields)); i++)
            add(w, name);
    } else if (!strcmp(command, "netdev_add")) {
        for (const NetKind *const *k = netdev_set; *k; k++)
            add(w, (*k)->name);
    } else if (!strcmp(command, "chardev-add")) {
        for (unsigned i = 0; (name = chardev_kind_name(i)); i++)
            add(w, name);
    }
}

static void add_options(Words *w, const char *command)
{
    const char *comma = strrchr(w->prefix, ',');

    if (!comma) {
        add_kinds(w, command);
        return;
    }
    g_autofree char *kind = g_strndup(w->prefix, strcspn(w->prefix, ","));
    const char *last = comma + 1, *equals = strchr(last, '=');
    const DeviceClass *cls = strcmp(command, "device_add") ? NULL : device_class_find(kind);
    const Field *table = !strcmp(command, "object_add") ? object_fields(kind) : !strcmp(command, "netdev_add") ? netdev_fields(kind) : NULL;
    g_autofree char *head = g_strndup(w->prefix, (gsize)((equals ? equals + 1 : last) - w->prefix));
    Words rest = *w;

    rest.head = head;
    rest.prefix = equals ? equals + 1 : last;
    rest.tail = "";
    if (!equals) {
        if (cls)
            device_class_props(cls, add_prop, &rest);
        else
            add_fields(&rest, table);
        return;
    }
    g_autofree char *name = g_strndup(last, (gsize)(equals - last));
    FindProp find = { name, field_of(table, name) };
    if (cls)
        device_class_props(cls, find_prop, &find);
    add_values(&rest, name, find.found);
}

/* ---- which is where: command NULL: in any */

static const struct { const char *command, *member; void (*fn)(Words *); } sources[] = {
    { "device_del", "id", add_device_ids }, { "netdev_del", "id", add_netdevs }, { "object_del", "id", add_objects },
    { "chardev-remove", "id", add_chardevs }, { "chardev-send-break", "id", add_chardevs }, { "chardev-change", "id", add_chardevs },
    { "ringbuf_write", "device", add_chardevs }, { "ringbuf_read", "device", add_chardevs }, { "set_link", "name", add_cables },
    { "loadvm", "name", add_snapshots }, { "delvm", "name", add_snapshots }, { "savevm", "name", add_snapshots },
    { "block_job_set_speed", "device", add_jobs }, { "block_job_cancel", "device", add_jobs }, { "block_job_pause", "device", add_jobs },
    { "block_job_resume", "device", add_jobs }, { "block_job_complete", "device", add_jobs }, { "log", "items", add_log_items },
    { "trace-event", "name", add_traces }, { "info trace-events", "name", add_traces }, { "sendkey", "keys", add_keys },
    { "migrate_set_capability", "capability", add_capabilities }, { "migrate_set_parameter", "parameter", add_parameters },
    { "announce_self", "interfaces", add_cables }, { NULL, "path", add_paths }, { NULL, "device", add_disks }, { NULL, "filename", add_files },
};

/* Before which letters a word begins anew, in commands that take several in one. */
static const char *parts_of(const char *command, const char *member)
{
    if (!strcmp(command, "log") || !strcmp(command, "announce_self"))
        return ",";
    return !strcmp(command, "sendkey") && !strcmp(member, "keys") ? "-" : "";
}

static const QmpMember *member_of(const QmpCommand *c, const char *name)
{
    for (const QmpMember *m = c->members; m && m->name; m++) {
        if (!strcmp(m->name, name))
            return m;
    }
    return NULL;
}

static void add_member(Words *w, const QmpCommand *c, const char *name, char *const *words)
{
    const QmpMember *m = member_of(c, name);
    const char *parts = parts_of(c->hmp, name), *at = w->prefix;

    for (const char *s = w->prefix; *s; s++)
        at = strchr(parts, *s) ? s + 1 : at;
    g_autofree char *head = g_strndup(w->prefix, (gsize)(at - w->prefix));
    if (!*w->head)
        w->head = head;
    w->prefix = at;
    for (const char *const *v = m && m->type->kind == QMP_ENUM ? m->type->values : NULL; v && *v; v++)
        add(w, *v);
    if (m && m->type->kind == QMP_BOOL) {
        add(w, "on");
        add(w, "off");
    }
    if (!strcmp(name, "property") && words[0]) {
        add_qom_props(w, words[0]);
    } else if (!strcmp(name, "args")) {
        add_options(w, c->hmp);
    } else {
        for (size_t i = 0; i < G_N_ELEMENTS(sources); i++) {
            if (!strcmp(sources[i].member, name) && (!sources[i].command || !strcmp(sources[i].command, c->hmp))) {
                sources[i].fn(w);
                break;
            }
        }
    }
    w->head = "";
}

/* ---- names of commands, registers, flags */

/* The next word of the rows that begin with `before` ("info "); in `help`, all of them. */
static void add_commands(Words *w, const char *before)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    size_t n = strlen(before);
    const QmpCommand *c;

    for (unsigned i = 0; (c = hmp_row(i)); i++) {
        if (strncmp(c->hmp, before, n))
            continue;
        char *word = g_strndup(c->hmp + n, strcspn(c->hmp + n, " "));
        if (g_hash_table_add(seen, word))
            add(w, word);
    }
}

static void add_registers(Words *w)
{
    const char *dollar = strrchr(w->prefix, '$');
    const RegInfo *r = w->m->vm->isa ? w->m->vm->isa->regs : NULL;

    if (!dollar)
        return;
    g_autofree char *head = g_strndup(w->prefix, (gsize)(dollar - w->prefix) + 1);
    Words rest = *w;
    rest.head = head;
    rest.prefix = dollar + 1;
    for (; r && r->name; r++)
        add_with(&rest, r->name, "");
}

/* ---- where we are */

static void add_flags(Words *w, const QmpCommand *c)
{
    const char *syntax = c->syntax;
    HmpWord h;

    while (hmp_word(&syntax, &h)) {
        char flag[3] = { '-', h.flag, 0 };

        if (h.flag)
            add(w, flag);
    }
}

/* The argument that comes after `words`, which are those before it; flags and formats do not count. */
static void add_argument(Words *w, const QmpCommand *c, char *const *words)
{
    const char *syntax = c->syntax;
    unsigned n = 0;
    HmpWord h;

    for (; words[n]; n++)
        ;
    if (*w->prefix == '-' && !strchr(w->prefix, ' ')) {
        add_flags(w, c);
        if (w->list->len)
            return;
    }
    while (hmp_word(&syntax, &h)) {
        if (h.flag || h.format || (n && !h.rest && n--))
            continue;
        const QmpMember *m = member_of(c, h.name);
        if (m && m->type->kind == QMP_INT)
            add_registers(w);
        else
            add_member(w, c, h.name, words);
        return;
    }
}

/* Words of the text up to the last, which is not finished; flags and formats left out. */
static char **finished(const QmpCommand *c, const char *text, const char *last)
{
    g_autofree char *head = g_strndup(text, (gsize)(last - text));
    g_auto(GStrv) all = g_strsplit_set(head, " \t", -1);
    GPtrArray *out = g_ptr_array_new();
    bool formats = g_str_has_prefix(c->syntax, "/");

    for (char **p = all; *p; p++) {
        if (**p && !(**p == '-' && strlen(*p) == 2) && !(formats && **p == '/'))
            g_ptr_array_add(out, g_strdup(*p));
    }
    g_ptr_array_add(out, NULL);
    return (char **)g_ptr_array_free(out, FALSE);
}

static int by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char **sorted(GPtrArray *list)
{
    guint n = 0;

    g_ptr_array_sort(list, by_text);
    for (guint i = 0; i < list->len; i++) {         /* each once */
        if (n && !strcmp(list->pdata[n - 1], list->pdata[i]))
            g_free(list->pdata[i]);
        else
            list->pdata[n++] = list->pdata[i];
    }
    g_ptr_array_set_size(list, (gint)n);
    g_ptr_array_add(list, NULL);
    return (char **)g_ptr_array_free(list, FALSE);
}

char **hmp_complete(Monitor *m, const char *before, size_t *from)
{
    const char *text = before + strspn(before, " \t"), *last = before + strlen(before), *rest = NULL;
    Words w = { m, "", "", " ", g_ptr_array_new() };

    while (last > text && last[-1] != ' ' && last[-1] != '\t')
        last--;
    w.prefix = last;
    *from = (size_t)(last - before);
    const QmpCommand *c = last > text ? hmp_find(text, &rest) : NULL;
    if (last == text) {
        add_commands(&w, "");
    } else if (c && !strcmp(c->hmp, "help")) {
        g_auto(GStrv) words = finished(c, rest, last);

        add_commands(&w, words[0] && !strcmp(words[0], "info") ? "info " : "");
    } else if (c && rest <= last) {
        g_auto(GStrv) words = finished(c, rest, last);

        add_argument(&w, c, words);
    } else if (g_str_has_prefix(text, "info")) {
        add_commands(&w, "info ");
    }
    return sorted(w.list);
}
