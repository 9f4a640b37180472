/* SPDX-License-Identifier: MIT */
/*
 * qcow2: the driver's row, its options, open, close and reopen. Opening costs
 * the header, the L1 table and what snapshots and bitmaps have in the file;
 * refcounts are read when something is allocated.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

enum {
    L2_CACHE_MAX = 32 << 20, REFCOUNT_CACHE = 1 << 20, SLICE_BYTES = 16 << 10,
    CLEAN_SECONDS = 600,
};

static const Field qcow2_fields[] = {
    PROP(Qcow2, lazy_opt, .as = "lazy-refcounts", .doc = "postpone refcount updates (default: as the image says)"),
    PROP(Qcow2, pass_discard_request, .as = "pass-discard-request", .doc = "pass guest discards on to the file (default: on with discard=unmap)"),
    PROP(Qcow2, pass_discard_snapshot, .as = "pass-discard-snapshot", .doc = "discard what a deleted snapshot leaves (default: on)"),
    PROP(Qcow2, pass_discard_other, .as = "pass-discard-other", .doc = "discard other clusters that become free (default: off)"),
    PROP(Qcow2, overlap_template, .as = "overlap-check.template", .doc = "none, constant, cached (default) or all"),
    PROP(Qcow2, overlap_kind[0], .as = "overlap-check.main-header", .doc = "check writes against the header"),
    PROP(Qcow2, overlap_kind[1], .as = "overlap-check.active-l1", .doc = "against the active L1 table"),
    PROP(Qcow2, overlap_kind[2], .as = "overlap-check.active-l2", .doc = "against active L2 tables"),
    PROP(Qcow2, overlap_kind[3], .as = "overlap-check.refcount-block", .doc = "against refcount blocks"),
    PROP(Qcow2, overlap_kind[4], .as = "overlap-check.refcount-table", .doc = "against the refcount table"),
    PROP(Qcow2, overlap_kind[5], .as = "overlap-check.snapshot-table", .doc = "against the snapshot table"),
    PROP(Qcow2, overlap_kind[6], .as = "overlap-check.inactive-l1", .doc = "against L1 tables of snapshots"),
    PROP(Qcow2, overlap_kind[7], .as = "overlap-check.inactive-l2", .doc = "against L2 tables of snapshots (read from the file)"),
    PROP(Qcow2, overlap_kind[8], .as = "overlap-check.bitmap-directory", .doc = "against the directory of bitmaps"),
    PROP(Qcow2, overlap_opt, .as = "overlap-check", .doc = "none, constant, cached (default) or all"),
    PROP(Qcow2, cache_size, .as = "cache-size", .units = true, .doc = "most memory for both metadata caches"),
    PROP(Qcow2, l2_cache_size, .as = "l2-cache-size", .units = true, .doc = "most memory for L2 tables (default: the whole disk's, up to 32M)"),
    PROP(Qcow2, l2_entry_size, .as = "l2-cache-entry-size", .units = true, .doc = "unit of the L2 cache"),
    PROP(Qcow2, refcount_cache_size, .as = "refcount-cache-size", .units = true, .doc = "most memory for refcounts"),
    PROP(Qcow2, cache_clean_interval, .as = "cache-clean-interval", .def = "600", .doc = "seconds after which unused metadata leaves memory; 0: never"),
    PROP(Qcow2, encrypt_format, .as = "encrypt.format", .doc = "aes or luks"),
    PROP(Qcow2, encrypt_key_secret, .as = "encrypt.key-secret", .doc = "id of the secret with the passphrase"),
    { 0 }
};

static const char *const qcow2_own_options[] = { "data-file", NULL };
static const char *const qcow2_strong_options[] = { "encrypt", "encrypt.format", "encrypt.key-secret", NULL };

/* ---- options */

static Err *parse_on(const char *name, const char *text, bool *out)
{
    if (!text)
        return NULL;
    if (!strcmp(text, "on") || !strcmp(text, "true") || !strcmp(text, "yes"))
        *out = true;
    else if (!strcmp(text, "off") || !strcmp(text, "false") || !strcmp(text, "no"))
        *out = false;
    else
        return err(ERR_INVALID, "Parameter '%s' expects 'on' or 'off', not '%s'", name, text);
    return NULL;
}

static Err *parse_overlap(const Qcow2 *o, unsigned *out)
{
    static const struct { const char *name; unsigned kinds; } templates[] = {
        { "none", 0 }, { "constant", QCOW2_OL_CONSTANT }, { "cached", QCOW2_OL_CACHED }, { "all", QCOW2_OL_ALL },
    };
    const char *name = o->overlap_opt ? o->overlap_opt : o->overlap_template ? o->overlap_template : "cached";
    if (o->overlap_opt && o->overlap_template && strcmp(o->overlap_opt, o->overlap_template))
        return err(ERR_INVALID, "Conflicting values for qcow2 options 'overlap-check' ('%s') and 'overlap-check.template' ('%s')",
                   o->overlap_opt, o->overlap_template);
    size_t i = 0;
    while (i < G_N_ELEMENTS(templates) && strcmp(name, templates[i].name))
        i++;
    if (i == G_N_ELEMENTS(templates))
        return err_hint(err(ERR_INVALID, "Unsupported value '%s' for qcow2 option 'overlap-check'", name),
                        "It is one of: none, constant, cached, all.");
    *out = templates[i].kinds;
    for (unsigned k = 0; k < G_N_ELEMENTS(o->overlap_kind); k++) {
        bool on = *out >> k & 1;
        TRY(parse_on(qcow2_fields[5 + k].as, o->overlap_kind[k], &on));
        *out = (*out & ~(1u << k)) | (unsigned)on << k;
    }
    return NULL;
}

/* What the options say beside cache sizes; `o` is `s` or the struct with new options. */
typedef struct Settings { bool lazy, pass[5]; unsigned overlap; } Settings;

static Err *parse_settings(const Qcow2 *s, const Qcow2 *o, Settings *out)
{
    *out = (Settings){ .lazy = s->header.compatible & QCOW2_COMPAT_LAZY };
    TRY(parse_on("lazy-refcounts", o->lazy_opt, &out->lazy));
    if (out->lazy && s->header.version < 3)
        return err_hint(err(ERR_INVALID, "Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level"),
                        "amend -o compat=1.1 makes it one.");
    out->pass[QCOW2_FREE_ALWAYS] = true;
    out->pass[QCOW2_FREE_REQUEST] = s->node.discard;
    out->pass[QCOW2_FREE_SNAPSHOT] = true;
    TRY(parse_on("pass-discard-request", o->pass_discard_request, &out->pass[QCOW2_FREE_REQUEST]));
    TRY(parse_on("pass-discard-snapshot", o->pass_discard_snapshot, &out->pass[QCOW2_FREE_SNAPSHOT]));
    TRY(parse_on("pass-discard-other", o->pass_discard_other, &out->pass[QCOW2_FREE_OTHER]));
    if (o->encrypt_format && s->header.crypt_method == QCOW2_CRYPT_NONE)
        return err(ERR_INVALID, "No encryption in image header, but options specified format '%s'", o->encrypt_format);
    return parse_overlap(o, &out->overlap);
}

static void apply_settings(Qcow2 *s, const Settings *t)
{
    s->lazy = t->lazy;
    memcpy(s->discard_pass, t->pass, sizeof(s->discard_pass));
    if (s->overlap != t->overlap)
        qcow2_overlap_changed(s);
    s->overlap = t->overlap;
}

typedef struct CacheSizes { uint64_t l2, refcounts; uint32_t entry; } CacheSizes;

static uint64_t whole_l2(const Qcow2 *s)
{
    uint64_t clusters = (s->node.size >> s->cluster_bits) + 1;
    return qcow2_cluster_up(s, clusters * s->l2_entry_bytes);
}

static Err *parse_caches(const Qcow2 *s, const Qcow2 *o, CacheSizes *out)
{
    uint64_t all = o->cache_size, l2 = o->l2_cache_size, rc = o->refcount_cache_size, least = 4ull * s->cluster_size;
    if (all && l2 && rc)
        return err(ERR_INVALID, "cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
    if (all && (l2 > all || rc > all))
        return err(ERR_INVALID, "%s may not exceed cache-size", l2 > all ? "l2-cache-size" : "refcount-cache-size");
    if (all && l2)
        rc = all - l2;
    else if (all && rc)
        l2 = all - rc;
    else if (all) {
        l2 = MIN(whole_l2(s), all > least ? all - least : all / 2);
        rc = all - l2;
    }
    out->l2 = l2 ? l2 : MIN(whole_l2(s), L2_CACHE_MAX);
    out->refcounts = rc ? rc : MAX(least, REFCOUNT_CACHE);
    out->entry = o->l2_entry_size ? o->l2_entry_size : MIN(s->cluster_size, SLICE_BYTES);
    if (o->l2_entry_size < UINT32_MAX && out->entry >= 512 && out->entry <= s->cluster_size && !(out->entry & (out->entry - 1)))
        return NULL;
    return err(ERR_INVALID, "L2 cache entry size must be a power of two between 512 and the cluster size (%u)", s->cluster_size);
}

static Err *make_caches(Qcow2 *s, const CacheSizes *z)
{
    s->slice_bits = __builtin_ctz(z->entry) - (s->extended ? 4 : 3);
    s->l2_cache = qcow2_cache_new(s, z->entry, z->l2, false);
    s->rb_cache = qcow2_cache_new(s, s->cluster_size, z->refcounts, true);
    return NULL;
}

static void clean_fire(void *opaque)
{
    Qcow2 *s = opaque;
    qcow2_cache_clean_idle(s->l2_cache);
    qcow2_cache_clean_idle(s->rb_cache);
    alarm_set(&s->clean_alarm, loop_now() + (int64_t)s->cache_clean_interval * 1000000000);
}

static void clean_start(Qcow2 *s)
{
    alarm_del(&s->clean_alarm);
    s->cache_clean_interval = MIN(s->cache_clean_interval, 1u << 30);
    if (s->cache_clean_interval)
        alarm_set(&s->clean_alarm, loop_now() + (int64_t)s->cache_clean_interval * 1000000000);
}

/* ---- open */

static int qcow2_probe(const uint8_t *head, size_t len, const char *filename)
{
    return len >= 8 && !memcmp(head, "QFI\xfb", 4) && !memcmp(head + 4, "\0\0\0", 3) && head[7] >= 2 ? 100 : 0;
}

static Err *open_data_file(Qcow2 *s)
{
    BlockNode *n = &s->node;
    BlockChild *c = NULL;
    s->data = n->file;
    if (!qcow2_has_data_file(s)) {
        if (json_object_get(n->options, "data-file"))
            return err(ERR_INVALID, "'data-file' can only be set for images with an external data file");
        return NULL;
    }
    s->data = NULL;
    if (json_object_get(n->options, "data-file"))
        TRY(child_open(n, n->options, "data-file", true, &c));
    else if (n->open_flags & OPEN_NO_IO)
        return NULL;                /* nobody will read from it */
    else if (!s->data_file_name)
        return err_hint(err(ERR_INVALID, "'data-file' is required for this image"), "Say data-file.driver=..,data-file.filename=..");
    else
        TRY(child_open_named(n, s->data_file_name, "data-file", &c));
    s->data = c;
    return NULL;
}

static void set_limits(Qcow2 *s)
{
    BlockLimits *l = &s->node.limits;
    l->request_align = s->header.crypt_method ? 512 : 1;
    l->cluster = s->cluster_size;
    l->zero_align = 1u << s->sub_bits;
    l->discard_align = s->cluster_size;
    s->node.zero_flags = REQ_UNMAP;
    s->node.encrypted = s->header.crypt_method != QCOW2_CRYPT_NONE;
}

/* Everything that reading takes. */
static Err *open_tables(Qcow2 *s)
{
    unsigned flags = s->node.open_flags;
    Settings t;
    CacheSizes z;
    TRY(parse_settings(s, s, &t));
    TRY(parse_caches(s, s, &z));
    apply_settings(s, &t);
    TRY(make_caches(s, &z));
    s->freed = g_array_new(FALSE, FALSE, sizeof(Qcow2Freed));
    s->freed_stable = g_array_new(FALSE, FALSE, sizeof(Qcow2Freed));
    s->fresh = qcow2_cluster_up(s, child_size(s->node.file)) >> s->cluster_bits;
    int ret = qcow2_l1_load(s);
    if (ret)
        return err_errno(-ret, "%s: could not read L1 table", node_path(&s->node));
    TRY(qcow2_snapshots_load(s));
    if (s->header.crypt_method)
        TRY(qcow2_crypt_open(s, flags));
    alarm_init(&s->clean_alarm, graph_loop(s->node.graph), clean_fire, s);
    clean_start(s);
    return NULL;
}

/* What must be in order before the first write. */
static Err *open_write(Qcow2 *s)
{
    if (s->node.read_only)
        return NULL;
    TRY(qcow2_prepare_write(s));
    s->was_dirty = s->header.incompatible & QCOW2_INCOMPAT_DIRTY;
    if (!s->was_dirty || s->node.open_flags & OPEN_CHECK)
        return NULL;
    TRY(qcow2_repair_dirty(s));
    s->was_dirty = false;
    return NULL;
}

static Err *qcow2_open(BlockNode *n)
{
    Qcow2 *s = qcow2_of(n);
    TRY(qcow2_read_header(s, n->open_flags));
    n->size = s->header.size;
    TRY(open_data_file(s));
    set_limits(s);
    TRY(open_tables(s));
    s->opened = true;
    TRY(open_write(s));
    return qcow2_bitmaps_load(s);
}

/* ---- close */

/* All metadata to the file, nothing waiting, the dirty bit cleared if it is ours. */
static Err *settle(Qcow2 *s)
{
    if (s->stopped)
        return NULL;
    TRY(qcow2_bitmaps_store(s));
    int ret = qcow2_write_metadata(s, true);
    if (!ret)
        ret = qcow2_write_refcounts(s);         /* what became free by the former */
    if (!ret && !s->was_dirty)
        ret = qcow2_mark_clean(s);
    if (!ret)
        ret = qcow2_barrier(s);
    return ret ? err_errno(-ret, "%s: cannot write metadata", node_path(&s->node)) : NULL;
}

static void qcow2_close(BlockNode *n)
{
    Qcow2 *s = qcow2_of(n);
    if (s->opened && !n->read_only) {
        Err *e = settle(s);
        if (e)
            err_report(e);
    }
    alarm_del(&s->clean_alarm);
    qcow2_crypt_close(s);
    qcow2_snapshots_free(s);
    qcow2_presses_free(s);
    qcow2_cache_free(s->l2_cache);
    qcow2_cache_free(s->rb_cache);
    qcow2_overlap_changed(s);
    if (s->freed) {
        g_array_free(s->freed, TRUE);
        g_array_free(s->freed_stable, TRUE);
    }
    free(s->l1);
    free(s->l1_dirty);
    free(s->rt);
    free(s->rt_dirty);
    block_buf_free(s->zeroes);
    qcow2_free_header(s);
    if (s->data != n->file)
        child_detach(s->data);
}

/* ---- reopen */

static Err *new_caches(Qcow2 *s, const CacheSizes *z)
{
    int ret = s->node.read_only ? 0 : qcow2_write_metadata(s, true);
    if (!ret && !s->node.read_only)
        ret = qcow2_write_refcounts(s);
    if (ret)
        return err_errno(-ret, "%s: cannot write metadata", node_path(&s->node));
    qcow2_cache_free(s->l2_cache);
    qcow2_cache_free(s->rb_cache);
    return make_caches(s, z);
}

static Err *reopen(Qcow2 *s, const Qcow2 *o, bool read_only)
{
    Settings t;
    CacheSizes z;
    TRY(parse_settings(s, o, &t));
    TRY(parse_caches(s, o, &z));
    if (!read_only && s->node.read_only && s->header.incompatible & QCOW2_INCOMPAT_CORRUPT)
        return err_hint(err(ERR_INVALID, "%s: image is corrupt; cannot be opened read/write", node_path(&s->node)),
                        "run 'lyre-img check -r all'");
    bool was = s->node.read_only;
    if (read_only && !was)
        TRY(settle(s));
    TRY(new_caches(s, &z));
    apply_settings(s, &t);
    s->cache_clean_interval = o->cache_clean_interval;
    clean_start(s);
    if (read_only || !was)
        return NULL;
    s->node.read_only = false;      /* what follows writes; the caller sets it again */
    Err *e = open_write(s);
    if (!e)
        e = qcow2_bitmaps_load(s);
    if (e)
        s->node.read_only = true;
    return e;
}

static Err *qcow2_reopen(BlockNode *n, const void *new_opts, bool read_only)
{
    Qcow2 *s = qcow2_of(n);
    qcow2_exclusive_begin(s);
    Err *e = reopen(s, new_opts, read_only);
    qcow2_exclusive_end(s);
    return e;
}

/* ---- the row */

static bool qcow2_secret_option(const char *name)
{
    return false;               /* the key's id is no secret */
}

BLOCK(qcow2) = {
    .name = "qcow2", .doc = "QEMU's image format: grows as it is written, backing files, snapshots, compression",
    .kind = DRIVER_FORMAT, .size = sizeof(Qcow2), .fields = qcow2_fields,
    .has_backing = true, .can_snapshot = true, .can_compress = true,
    .own_options = qcow2_own_options, .strong_options = qcow2_strong_options, .secret_option = qcow2_secret_option,
    .probe = qcow2_probe, .open = qcow2_open, .close = qcow2_close, .reopen = qcow2_reopen,
    .read = qcow2_read, .write = qcow2_write, .write_compressed = qcow2_write_compressed, .zero = qcow2_zero,
    .discard = qcow2_discard, .flush = qcow2_flush, .extent = qcow2_extent, .copy = qcow2_copy,
    .resize = qcow2_resize, .info = qcow2_info, .check = qcow2_check, .change_backing = qcow2_change_backing,
    .make_empty = qcow2_make_empty,
    .snapshots = qcow2_snapshots, .snapshot_create = qcow2_snapshot_create, .snapshot_apply = qcow2_snapshot_apply,
    .snapshot_delete = qcow2_snapshot_delete, .snapshot_load = qcow2_snapshot_load_one,
    .vmstate_read = qcow2_vmstate_read, .vmstate_write = qcow2_vmstate_write,
    .vmstate_clear = qcow2_vmstate_clear, .vmstate_extent = qcow2_vmstate_extent,
    .bitmap_can_store = qcow2_bitmap_can_store, .bitmap_remove = qcow2_bitmap_remove,
    .create_fields = qcow2_create_fields, .create_size = sizeof(Qcow2Create), .create = qcow2_create,
    .measure = qcow2_measure, .amend_fields = qcow2_amend_fields, .amend = qcow2_amend,
};
