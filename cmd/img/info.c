/* SPDX-License-Identifier: MIT */
/*
 * lyre-img info: what an image is, for people and for programs, alone or with
 * its backing files. Each layer is opened by itself.
 */
#include "cmd/img/img.h"

#include <stdio.h>
#include <string.h>

#include "block/driver.h"

/* What is printed of one layer. */
typedef struct Layer {
    char *filename, *format, *backing, *backing_path, *backing_format;
    uint64_t size;
    int64_t allocated;
    NodeInfo info;
    Snapshot *snapshots;
    unsigned count;
    json_t *limits;
} Layer;

static void layer_free(void *layer)
{
    Layer *l = layer;

    g_free(l->filename);
    g_free(l->format);
    g_free(l->backing);
    g_free(l->backing_path);
    g_free(l->backing_format);
    json_decref(l->info.specific);
    json_decref(l->limits);
    snapshots_free(l->snapshots, l->count);
    g_free(l);
}

static json_t *limits_of(const BlockNode *n)
{
    const BlockLimits *b = &n->limits;
    json_t *o = json_object();
    const struct { const char *name; uint64_t value; bool always; } rows[] = {
        { "request-alignment", b->request_align ? b->request_align : 1, true },
        { "max-discard", b->max_discard, false },
        { "discard-alignment", b->discard_align, false },
        { "max-write-zeroes", b->max_zero, false },
        { "write-zeroes-alignment", b->zero_align, false },
        { "opt-transfer", b->opt_transfer, false },
        { "max-transfer", b->max_transfer, false },
        { "max-iov", b->max_iov ? b->max_iov : 1024, true },
        { "min-mem-alignment", b->mem_align ? b->mem_align : 1, true },
        { "opt-mem-alignment", b->mem_align ? b->mem_align : 1, true },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (rows[i].value || rows[i].always)
            json_object_set_new(o, rows[i].name, json_integer((json_int_t)rows[i].value));
    }
    return o;
}

static Err *look(Img *im, Disk *d, Layer *l)
{
    BlockNode *n = node_skip_filters(disk_node(d));
    BlockNode *storage = node_storage(n);

    l->filename = g_strdup(node_filename(disk_node(d)));
    l->format = g_strdup(node_format(disk_node(d)));
    l->size = img_size(d);
    l->allocated = node_allocated(disk_node(d));
    if (n->backing_name) {
        l->backing = g_strdup(n->backing_name);
        l->backing_format = g_strdup(n->backing_format);
        l->backing_path = img_backing_path(storage ? node_filename(storage) : l->filename, l->backing);
    }
    if (im->a.limits)
        l->limits = limits_of(disk_node(d));
    TRY(node_info(disk_node(d), &l->info));
    Err *e = node_snapshots(n, &l->snapshots, &l->count);
    if (e && err_class(e) != ERR_UNSUPPORTED)
        return e;
    err_free(e);
    return NULL;
}

/* ---- for people ------------------------------------------------------------------------ */

static void print_layer(const Layer *l)
{
    g_autofree char *size = img_size_text(l->size);
    g_autofree char *disk = l->allocated < 0 ? g_strdup("unavailable") : img_size_text(l->allocated);

    printf("image: %s\nfile format: %s\nvirtual size: %s (%llu bytes)\ndisk size: %s\n", l->filename, l->format,
           size, (unsigned long long)l->size, disk);
    if (l->info.encrypted)
        printf("encrypted: yes\n");
    if (l->info.cluster_size)
        printf("cluster_size: %u\n", l->info.cluster_size);
    if (l->info.dirty)
        printf("cleanly shut down: no\n");
    if (l->backing) {
        printf("backing file: %s", l->backing);
        if (strcmp(l->backing, l->backing_path))
            printf(" (actual path: %s)", l->backing_path);
        putchar('\n');
        if (l->backing_format)
            printf("backing file format: %s\n", l->backing_format);
    }
    if (l->count) {
        printf("Snapshot list:\n");
        img_print_snapshots(l->snapshots, l->count);
    }
    if (json_object_size(l->info.specific)) {
        printf("Format specific information:\n");
        img_print_tree(l->info.specific, 1);
    }
    if (l->limits) {
        printf("Limits:\n");
        img_print_tree(l->limits, 1);
    }
}

/* ---- for programs ------------------------------------------------------------------------ */

static json_t *snapshot_json(const Snapshot *s)
{
    json_t *o = json_object();

    json_object_set_new(o, "id", json_string(s->id));
    json_object_set_new(o, "name", json_string(s->name));
    json_object_set_new(o, "vm-state-size", json_integer((json_int_t)s->vm_state_size));
    json_object_set_new(o, "date-sec", json_integer(s->date_sec));
    json_object_set_new(o, "date-nsec", json_integer(s->date_nsec));
    json_object_set_new(o, "vm-clock-sec", json_integer((json_int_t)(s->vm_clock_nsec / 1000000000)));
    json_object_set_new(o, "vm-clock-nsec", json_integer((json_int_t)(s->vm_clock_nsec % 1000000000)));
    if (s->icount != UINT64_MAX)
        json_object_set_new(o, "icount", json_integer((json_int_t)s->icount));
    return o;
}

/* Strings of an image may be any bytes; JSON's are UTF-8. */
static json_t *any_string(const char *text)
{
    g_autofree char *valid = g_utf8_make_valid(text, -1);

    return json_string(valid);
}

static json_t *layer_json(const Layer *l)
{
    json_t *o = json_object();

    json_object_set_new(o, "filename", any_string(l->filename));
    json_object_set_new(o, "format", json_string(l->format));
    json_object_set_new(o, "virtual-size", json_integer((json_int_t)l->size));
    if (l->allocated >= 0)
        json_object_set_new(o, "actual-size", json_integer(l->allocated));
    if (l->info.encrypted)
        json_object_set_new(o, "encrypted", json_true());
    if (l->info.cluster_size)
        json_object_set_new(o, "cluster-size", json_integer(l->info.cluster_size));
    if (!l->info.unknown)
        json_object_set_new(o, "dirty-flag", json_boolean(l->info.dirty));
    if (l->backing) {
        json_object_set_new(o, "backing-filename", any_string(l->backing));
        json_object_set_new(o, "full-backing-filename", any_string(l->backing_path));
        if (l->backing_format)
            json_object_set_new(o, "backing-filename-format", any_string(l->backing_format));
    }
    if (l->count) {
        json_t *list = json_array();
        for (unsigned i = 0; i < l->count; i++)
            json_array_append_new(list, snapshot_json(&l->snapshots[i]));
        json_object_set_new(o, "snapshots", list);
    }
    if (l->info.specific) {
        json_t *s = json_object();
        json_object_set_new(s, "type", json_string(l->format));
        json_object_set(s, "data", l->info.specific);
        json_object_set_new(o, "format-specific", s);
    }
    if (l->limits)
        json_object_set(o, "limits", l->limits);
    return o;
}

static void print_json(const Img *im, GPtrArray *layers)
{
    json_t *list = json_array();

    for (guint i = 0; i < layers->len; i++)
        json_array_append_new(list, layer_json(layers->pdata[i]));
    img_print_json(im->a.chain ? list : json_array_get(list, 0));
    json_decref(list);
}

/* ---- the chain ------------------------------------------------------------------------------ */

static Err *open_layer(Img *im, const Layer *above, GPtrArray *layers, Layer **out)
{
    unsigned flags = OPEN_NO_BACKING | OPEN_NO_IO;
    Disk *d;

    *out = NULL;
    if (!above)
        TRY(img_open_live(im, im->a.files[0], NULL, flags, &d));
    else
        TRY(img_open_as(im, above->backing_path, above->backing_format, false, NULL, flags | OPEN_FORCE_SHARE, &d));
    Layer *l = g_new0(Layer, 1);
    Err *e = look(im, d, l);
    disk_free(d);
    if (e) {
        layer_free(l);
        return err_in(e, "'%s'", above ? above->backing_path : im->a.files[0]);
    }
    for (guint i = 0; i < layers->len; i++) {
        const Layer *before = layers->pdata[i];
        if (strcmp(before->filename, l->filename))
            continue;
        e = err(ERR_INVALID, "the backing files of '%s' form a loop: '%s' comes again", im->a.files[0], l->filename);
        layer_free(l);
        return err_hint(e, "Break it with: %s rebase -u -b '' FILE", im->program);
    }
    *out = l;
    return NULL;
}

Err *img_info(Img *im)
{
    g_autoptr(GPtrArray) layers = g_ptr_array_new_with_free_func(layer_free);
    const Layer *above = NULL;
    Err *e = NULL;

    do {
        Layer *l;
        e = open_layer(im, above, layers, &l);
        if (e)
            break;
        g_ptr_array_add(layers, l);
        above = l;
    } while (im->a.chain && above->backing);
    if (img_json_output(im)) {
        if (!e)
            print_json(im, layers);
        return e;
    }
    for (guint i = 0; i < layers->len; i++) {
        if (i)
            putchar('\n');
        print_layer(layers->pdata[i]);
    }
    return e;
}
