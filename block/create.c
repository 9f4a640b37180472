/* SPDX-License-Identifier: MIT */
/*
 * Making images: options of -o by the tables of the format and of the protocol
 * that holds its file, the backing file, the file itself, and then the format's
 * own work. Measuring and amending read the same tables.
 *
 * `size`, `backing_file` and `backing_fmt` are everybody's. A format that has
 * rows of these names in its table finds them filled; the rows also say where
 * in a list they stand.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "block/block-priv.h"
#include "util/opts.h"
#include "util/str.h"

const char *const prealloc_names[] = { "off", "metadata", "falloc", "full", NULL };

/* One table and the struct that it fills. */
typedef struct Part {
    const Field *fields;
    void *obj;
    GHashTable *given;          /* Field -> itself: set by the user, not by default */
} Part;

typedef struct Making {
    const BlockDriver *drv, *proto;
    Part format, file;          /* file.fields: the protocol's, those that the format has not */
    uint64_t size;
    bool has_size;
    char *backing, *backing_format;
} Making;

static void part_init(Part *p, const Field *fields, size_t size)
{
    p->fields = fields;
    p->obj = g_malloc0(MAX(size, 1));
    p->given = g_hash_table_new(NULL, NULL);
    props_init(p->obj, fields);
}

static void part_free(Part *p)
{
    if (!p->obj)
        return;
    props_clear(p->obj, p->fields);
    g_free(p->obj);
    g_hash_table_destroy(p->given);
}

/* The row of that shown name, or NULL. */
static const Field *row(const Field *fields, const char *name)
{
    for (const Field *f = fields; f && f->role != FIELD_END; f++) {
        g_autofree char *shown = field_name(f);

        if (f->role == FIELD_PROP && !strcmp(shown, name))
            return f;
    }
    return NULL;
}

static Err *unknown_option(const Making *m, const char *name)
{
    const Field *f;
    Err *e = prop_find(m->format.fields, name, &f), *out;

    if (e && !err_hint_text(e) && m->file.fields) {
        err_free(e);
        e = prop_find(m->file.fields, name, &f);
    }
    out = err(ERR_INVALID, "Invalid parameter '%s'", name);
    if (e && err_hint_text(e))
        out = err_hint(out, "%s", err_hint_text(e));
    err_free(e);
    return out;
}

static Err *set_part(Part *p, const Field *f, const char *value)
{
    g_hash_table_add(p->given, (void *)f);
    return prop_parse(p->obj, f, value);
}

static bool is_general(const char *key)
{
    return !strcmp(key, "size") || !strcmp(key, "backing_file") || !strcmp(key, "backing_fmt");
}

static Err *set_general(Making *m, const char *key, const char *value)
{
    if (!strcmp(key, "size")) {
        if (m->has_size)
            return err(ERR_INVALID, "The image size must be specified only once");
        m->has_size = true;
        return parse_size(value, 1, &m->size);
    }
    char **at = !strcmp(key, "backing_file") ? &m->backing : &m->backing_format;
    if (!*value && at == &m->backing)
        return err(ERR_INVALID, "Expected backing file name, got empty string");
    g_free(*at);
    *at = g_strdup(value);
    return NULL;
}

static Err *set_option(void *opaque, const char *key, const char *value)
{
    Making *m = opaque;
    const Field *f = row(m->format.fields, key);

    if (is_general(key))
        return set_general(m, key, value);
    if (f)
        return set_part(&m->format, f, value);
    f = row(m->file.fields, key);
    return f ? set_part(&m->file, f, value) : unknown_option(m, key);
}

static Err *set_options(Making *m, const char *list)
{
    Opts *o = NULL;

    if (!list)
        return NULL;
    TRY(opts_parse(list, NULL, NULL, &o));
    Err *e = opts_each(o, set_option, m);
    opts_free(o);
    return e;
}

/* ---- the backing file */

/* Its size, and whether it is there and of that format. */
static Err *look_at_backing(BlockGraph *g, Making *m, BlockNode *n, const CreateRequest *r)
{
    bool guessed = !m->backing_format;

    if (!m->has_size) {
        m->size = node_size_now(n);
        m->has_size = true;
    }
    if (!guessed)
        return NULL;
    return err_hint(err(ERR_INVALID, "Backing file specified without backing format"),
                    "Detected format of %s: say -F %s (lyre-img's newer spelling: -B).", node_format(n), node_format(n));
}

/* The backing file's name as seen from the folder of the image that shall be. */
static char *backing_path(const char *image, const char *backing)
{
    const char *slash = strrchr(image, '/');

    if (*backing == '/' || name_has_protocol(backing) || !slash)
        return g_strdup(backing);
    return g_strdup_printf("%.*s%s", (int)(slash + 1 - image), image, backing);
}

static Err *open_backing(BlockGraph *g, Making *m, const CreateRequest *r)
{
    g_autofree char *path = backing_path(r->filename, m->backing);
    json_t *o = NULL;
    BlockNode *n = NULL;

    TRY(options_from_name(path, m->backing_format, &o));
    Err *e = node_open(g, o, OPEN_NO_IO, &n);
    json_decref(o);
    if (e)
        return err_hint(e, "Could not open backing image.");
    e = look_at_backing(g, m, n, r);
    node_unref(n);
    return e;
}

static Err *check_backing(BlockGraph *g, Making *m, const CreateRequest *r)
{
    if (r->backing)
        TRY(set_general(m, "backing_file", r->backing));
    if (r->backing_format)
        TRY(set_general(m, "backing_fmt", r->backing_format));
    if (!m->backing) {
        if (m->backing_format)
            return err(ERR_INVALID, "a backing format without a backing file makes no sense");
        return NULL;
    }
    if (!m->drv->has_backing)
        return err(ERR_UNSUPPORTED, "Backing file not supported for file format '%s'", m->drv->name);
    if (!strcmp(m->backing, r->filename))
        return err(ERR_INVALID, "Error: Trying to create an image with the same filename as the backing file");
    if (m->backing_format && !driver_find(m->backing_format))
        return driver_unknown(m->backing_format);
    if (!r->unsafe)
        return open_backing(g, m, r);
    if (!m->backing_format)
        return err_hint(err(ERR_INVALID, "Backing file specified without backing format"),
                        "Its format is not guessed when it is written into an image: give it with -F.");
    return NULL;
}

/* ---- telling what will be made */

static void say(GString *out, const char *name, const char *value)
{
    g_string_append_printf(out, "%s%s=", out->len ? " " : "", name);
    for (const char *p = value; *p; p++) {
        if (*p == ',')
            g_string_append_c(out, ',');        /* as -o wants it */
        g_string_append_c(out, *p);
    }
}

static void say_general(const Making *m, GString *out, const char *name)
{
    if (!strcmp(name, "size")) {
        g_autofree char *n = g_strdup_printf("%" PRIu64, m->size);

        say(out, name, n);
    } else if (!strcmp(name, "backing_file") && m->backing) {
        say(out, name, m->backing);
    } else if (!strcmp(name, "backing_fmt") && m->backing_format) {
        say(out, name, m->backing_format);
    }
}

static void say_part(const Making *m, const Part *p, const Part *before, GString *out)
{
    for (const Field *f = p->fields; f && f->role != FIELD_END; f++) {
        if (f->role != FIELD_PROP)
            continue;
        g_autofree char *name = field_name(f);
        if (is_general(name)) {
            if (!before)
                say_general(m, out, name);
            continue;
        }
        if (((!f->def || f->untold) && !g_hash_table_contains(p->given, f)) || (before && row(before->fields, name)))
            continue;
        g_autofree char *value = prop_print(p->obj, f);
        if (value)
            say(out, name, value);
    }
}

static char *describe(const Making *m)
{
    static const char *const general[] = { "size", "backing_file", "backing_fmt" };
    GString *out = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(general); i++) {
        if (!row(m->format.fields, general[i]))
            say_general(m, out, general[i]);
    }
    say_part(m, &m->format, NULL, out);
    say_part(m, &m->file, &m->format, out);
    return g_string_free(out, false);
}

/* Rows of the general names in the format's own table. */
static Err *fill_general(Making *m)
{
    const Field *f = row(m->format.fields, "size");

    if (f) {
        g_autofree char *n = g_strdup_printf("%" PRIu64, m->size);

        TRY(prop_parse(m->format.obj, f, n));
    }
    f = row(m->format.fields, "backing_file");
    if (f && m->backing)
        TRY(prop_parse(m->format.obj, f, m->backing));
    f = row(m->format.fields, "backing_fmt");
    return f && m->backing_format ? prop_parse(m->format.obj, f, m->backing_format) : NULL;
}

/* ---- the file */

static Err *open_file(BlockGraph *g, const json_t *options, BlockNode **out)
{
    return node_open(g, options, OPEN_RW | OPEN_RESIZE | OPEN_PROTOCOL, out);
}

/* What is there already takes the image: a device, an export. */
static Err *use_existing(BlockGraph *g, const Making *m, const json_t *options, uint64_t size, BlockNode **out)
{
    g_autofree uint8_t *zero = g_malloc0(512);
    Disk *d = NULL;

    Err *e = open_file(g, options, out);
    if (e)
        return err_in(e, "Protocol driver '%s' does not support image creation, and opening the image failed",
                      m->proto->name);
    e = disk_new(*out, PERM_ALL, PERM_ALL, "create", &d);
    if (!e && node_size_now(*out) < size)
        e = err_in(disk_resize(d, size, false, (Preallocation){ PREALLOC_OFF }, 0),
                   "Protocol driver '%s' does not support image creation, and what is there is too small", m->proto->name);
    int ret = !e && node_size(*out) >= 512 ? disk_write(d, 0, &IOV_BUF(zero, 512), 0) : 0;
    if (ret)
        e = err_errno(-ret, "Could not clear the header of what is there");
    disk_free(d);
    return e;
}

/* The protocol's object for the image: made, and open for formats that write to it. */
static Err *make_file(BlockGraph *g, Making *m, const CreateRequest *r, const json_t *options, BlockNode **out)
{
    const char *path = options_str(options, "filename");
    const bool raw = m->drv->create_is_file;
    const uint64_t sectors = (m->size + 511) & ~UINT64_C(511);
    const CreateOptions o = { .filename = path ? path : r->filename, .size = raw ? sectors : 0 };

    if (!m->proto->create)
        return use_existing(g, m, options, o.size, out);
    TRY(m->proto->create(g, &o, m->file.obj, NULL));
    return raw ? NULL : open_file(g, options, out);
}

static Err *make_image(BlockGraph *g, Making *m, const CreateRequest *r, const json_t *options)
{
    const CreateOptions o = { r->filename, m->size, m->backing, m->backing_format };
    const char *path = options_str(options, "filename");
    bool was_there = path && !access(path, F_OK);
    BlockNode *file = NULL;
    Err *e = m->drv->check_create ? m->drv->check_create(g, &o, m->format.obj) : NULL;

    if (e)
        return e;
    if (r->file_node) {
        file = graph_find(g, r->file_node);
        if (!file)
            return err(ERR_NOT_FOUND, "Cannot find device='' nor node-name='%s'", r->file_node);
        node_ref(file);
        was_there = true;
    } else if (!m->drv->no_storage && m->drv->kind == DRIVER_FORMAT)
        TRY(make_file(g, m, r, options, &file));
    if (m->drv->create)
        e = m->drv->create(g, &o, m->format.obj, file);
    node_unref(file);
    if (e && path && !was_there && m->proto && m->proto->remove)
        m->proto->remove(path);
    return e;
}

/* ---- from the request to the image */

static Err *find_drivers(Making *m, const CreateRequest *r, json_t **options)
{
    m->drv = driver_find(r->format);
    if (!m->drv)
        return err_hint(err(ERR_NOT_FOUND, "Unknown file format '%s'", r->format), "-f help lists them.");
    if (!m->drv->create && !m->drv->create_is_file)
        return err(ERR_UNSUPPORTED, "Format driver '%s' does not support image creation", m->drv->name);
    TRY(options_from_protocol_name(r->filename, options));
    if (m->drv->kind == DRIVER_FORMAT)
        m->proto = driver_find(options_str(*options, "driver"));
    part_init(&m->format, m->drv->create_fields, m->drv->create_size);
    part_init(&m->file, m->proto ? m->proto->create_fields : NULL, m->proto ? m->proto->create_size : 0);
    return NULL;
}

static Err *prepare(BlockGraph *g, Making *m, const CreateRequest *r, json_t **options)
{
    TRY(find_drivers(m, r, options));
    if (r->size != UINT64_MAX) {
        m->size = r->size;
        m->has_size = true;
    }
    TRY(set_options(m, r->options));
    TRY(check_backing(g, m, r));
    if (!m->has_size)
        return err_hint(err(ERR_INVALID, "Image creation needs a size parameter"),
                        "Give it behind the name (10G), or -b with the image that it shall stand on.");
    if (m->size > BLOCK_MAX_SIZE)
        return err(ERR_INVALID, "%" PRIu64 " bytes are more than an image may have", m->size);
    return fill_general(m);
}

static void making_free(Making *m)
{
    part_free(&m->format);
    part_free(&m->file);
    g_free(m->backing);
    g_free(m->backing_format);
}

Err *image_create(BlockGraph *g, const CreateRequest *r, char **said)
{
    json_t *options = NULL;
    Making m = { 0 };
    Err *e = prepare(g, &m, r, &options);

    if (said)
        *said = NULL;
    if (!e) {
        if (said)
            *said = describe(&m);
        e = make_image(g, &m, r, options);
    }
    json_decref(options);
    making_free(&m);
    return e;
}

/* ---- help */

static gint by_text(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static const char *type_word(const Field *f)
{
    return f->type == FIELD_BOOL ? "bool (on/off)" : f->units ? "size" : f->names || f->type == FIELD_STR ? "str" : "num";
}

static void help_line(GPtrArray *lines, const char *name, const char *type, const char *doc)
{
    g_autofree char *left = g_strdup_printf("%s=<%s>", name, type);

    g_ptr_array_add(lines, g_strdup_printf("  %-22s - %s\n", left, doc ? doc : ""));
}

static void help_part(GPtrArray *lines, const Field *fields, const Field *but)
{
    for (const Field *f = fields; f && f->role != FIELD_END; f++) {
        g_autofree char *name = field_name(f);

        if (f->role == FIELD_PROP && !row(but, name) && (!but || !is_general(name)))
            help_line(lines, name, type_word(f), f->doc);
    }
}

static void help_general(GPtrArray *lines, const BlockDriver *drv)
{
    static const struct { const char *name, *type, *doc; } general[] = {
        { "size", "size", "Virtual disk size" }, { "backing_file", "str", "File name of a base image" },
        { "backing_fmt", "str", "Image format of the base image" },
    };

    for (unsigned i = 0; i < (drv->has_backing ? 3u : 1u); i++) {
        if (!row(drv->create_fields, general[i].name))
            help_line(lines, general[i].name, general[i].type, general[i].doc);
    }
}

static char *help_text(GPtrArray *lines, const char *title, const char *tail)
{
    GString *out = g_string_new(title);

    g_ptr_array_sort(lines, by_text);
    for (unsigned i = 0; i < lines->len; i++)
        g_string_append(out, lines->pdata[i]);
    g_string_append(out, tail);
    return g_string_free(out, false);
}

char *driver_create_help(const BlockDriver *drv, const char *filename)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    json_t *o = NULL;

    if (!drv->create && !drv->create_is_file)
        return NULL;
    help_general(lines, drv);
    help_part(lines, drv->create_fields, NULL);
    if (!filename) {
        g_autofree char *title = g_strdup_printf("Supported %s options:\n", drv->name);

        return help_text(lines, title, "\nThe protocol level may support further options.\n"
                         "Specify the target filename to include those options.\n");
    }
    err_free(options_from_protocol_name(filename, &o));
    const BlockDriver *proto = o ? driver_find(options_str(o, "driver")) : NULL;
    if (proto && drv->kind == DRIVER_FORMAT)
        help_part(lines, proto->create_fields, drv->create_fields ? drv->create_fields : node_fields);
    json_decref(o);
    return help_text(lines, "Supported options:\n", "");
}

char *driver_amend_help(const BlockDriver *drv)
{
    g_autoptr(GPtrArray) lines = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *title = g_strdup_printf("Amend options for '%s':\n", drv->name);

    if (!drv->amend)
        return NULL;
    help_part(lines, drv->amend_fields, NULL);
    return help_text(lines, title, "");
}

/* ---- measuring */

Err *image_measure(const BlockDriver *drv, const char *options, BlockNode *source, uint64_t size, Measure *out)
{
    const BlockDriver *file = driver_find("file");
    Making m = { .drv = drv };
    Err *e;

    *out = (Measure){ 0 };
    if (!drv->measure)
        return err(ERR_UNSUPPORTED, "Block driver '%s' does not support size measurement", drv->name);
    part_init(&m.format, drv->create_fields, drv->create_size);
    part_init(&m.file, file ? file->create_fields : NULL, file ? file->create_size : 0);
    e = set_options(&m, options);
    if (!e && m.has_size)
        size = m.size;
    m.size = source ? node_size_now(source) : size;
    if (!e)
        e = fill_general(&m);
    if (!e)
        e = drv->measure(m.format.obj, source, m.size, out);
    making_free(&m);
    return e;
}

/* ---- amending */

typedef struct Amending {
    const BlockDriver *drv;
    void *obj;
    json_t *given;
} Amending;

static Err *amend_option(void *opaque, const char *key, const char *value)
{
    Amending *a = opaque;
    const Field *f = row(a->drv->amend_fields, key);

    if (!f) {
        Err *e = err(ERR_INVALID, "Invalid parameter '%s'", key);

        return row(a->drv->create_fields, key) ? err_hint(e, "This option is only supported for image creation") : e;
    }
    json_object_set_new(a->given, key, json_string(value));
    return prop_parse(a->obj, f, value);
}

Err *node_amend(BlockNode *n, const char *options, bool force,
                void (*progress)(void *, uint64_t, uint64_t), void *opaque)
{
    Amending a = { 0 };
    Opts *o = NULL;
    Err *e;

    n = node_skip_filters(n);
    if (!n || !n->drv->amend)
        return err(ERR_UNSUPPORTED, "Format driver '%s' does not support option amendment", n ? n->drv->name : "(none)");
    if (n->read_only)
        return err(ERR_INVALID, "'%s' is open read-only", node_path(n));
    TRY(opts_parse(options, NULL, NULL, &o));
    a = (Amending){ n->drv, g_malloc0(MAX(n->drv->create_size, 1)), json_object() };
    props_init(a.obj, n->drv->create_fields);
    props_init(a.obj, n->drv->amend_fields);
    e = opts_each(o, amend_option, &a);
    opts_free(o);
    if (!e) {
        node_drain_begin(n);
        e = n->drv->amend(n, a.obj, a.given, force, progress, opaque);
        n->write_gen++;
        node_drain_end(n);
    }
    props_clear(a.obj, n->drv->create_fields);
    props_clear(a.obj, n->drv->amend_fields);
    g_free(a.obj);
    json_decref(a.given);
    return e;
}
