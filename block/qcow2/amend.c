/* SPDX-License-Identifier: MIT */
/*
 * qcow2: changing what creation chose. Upwards first (version 3), then what
 * only version 3 has, at last downwards, so that one call may do all of it.
 * Each step leaves a consistent image behind.
 */
#include "block/qcow2/amend-priv.h"

#include <inttypes.h>
#include <string.h>

#include "block/qcow2/snapshot.h"

const Field qcow2_amend_fields[] = {
    PROP(Qcow2Create, encrypt_state, .as = "encrypt.state", .doc = "Select new state of affected keyslots (active/inactive)"),
    PROP(Qcow2Create, encrypt_keyslot, .as = "encrypt.keyslot", .def = "-1",
         .doc = "Select a single keyslot to modify explicitly"),
    PROP(Qcow2Create, encrypt_new_secret, .as = "encrypt.new-secret",
         .doc = "New secret to set in the matching keyslots. Empty string to erase"),
    PROP(Qcow2Create, encrypt_old_secret, .as = "encrypt.old-secret", .doc = "Select all keyslots that match this password"),
    PROP(Qcow2Create, encrypt_iter_time, .as = "encrypt.iter-time", .doc = "Time to spend in PBKDF in milliseconds"),
    PROP(Qcow2Create, size, .units = true, .doc = "Virtual disk size"),
    PROP(Qcow2Create, compat, .doc = "Compatibility level (v2 [0.10] or v3 [1.1])"),
    PROP(Qcow2Create, backing_file, .as = "backing_file", .doc = "File name of a base image"),
    PROP(Qcow2Create, backing_fmt, .as = "backing_fmt", .doc = "Image format of the base image"),
    PROP(Qcow2Create, data_file, .as = "data_file", .doc = "File name of an external data file"),
    PROP(Qcow2Create, data_file_raw, .as = "data_file_raw", .doc = "The external data file must stay valid as a raw image"),
    PROP(Qcow2Create, lazy_refcounts, .as = "lazy_refcounts", .doc = "Postpone refcount updates"),
    PROP(Qcow2Create, refcount_bits, .as = "refcount_bits", .doc = "Width of a reference count entry in bits"),
    { 0 }
};

/* What is asked for, worked out. */
typedef struct Amend {
    Qcow2 *s;
    const Qcow2Create *o;
    const json_t *given;
    bool force;
    uint32_t version;               /* that the image shall have */
    unsigned order;                 /* likewise */
    AmendProgress progress;
} Amend;

void amend_progress(const AmendProgress *p, uint64_t done, uint64_t all)
{
    if (p->fn && all)
        p->fn(p->opaque, p->step * UINT64_C(10000) + (uint64_t)((double)done / (double)all * 10000), p->steps * UINT64_C(10000));
}

static bool is_given(const Amend *a, const char *name)
{
    return json_object_get(a->given, name);
}

/* ---- what is asked for */

static Err *wanted_version(Amend *a)
{
    const char *v = a->o->compat;

    a->version = a->s->header.version;
    if (!is_given(a, "compat"))
        return NULL;
    if (!v || !*v || !strcmp(v, "1.1") || !strcmp(v, "v3"))
        a->version = 3;
    else if (!strcmp(v, "0.10") || !strcmp(v, "v2"))
        a->version = 2;
    else
        return err_hint(err(ERR_INVALID, "Unknown compatibility level %s", v), "There are 0.10 (v2) and 1.1 (v3).");
    return NULL;
}

static Err *wanted_width(Amend *a)
{
    uint64_t bits = a->o->refcount_bits;

    a->order = a->s->header.refcount_order;
    if (is_given(a, "refcount_bits")) {
        if (!bits || bits > 64 || (bits & (bits - 1)))
            return err(ERR_INVALID, "Refcount width must be a power of two and may not exceed 64 bits");
        a->order = (unsigned)__builtin_ctzll(bits);
    }
    if (a->version < 3 && a->order != 4 && a->s->header.version >= 3)
        return err(ERR_INVALID, "compat=0.10 requires refcount_bits=16");
    if (a->version < 3 && a->order != 4)
        return err(ERR_INVALID, "Refcount widths other than 16 bits require compatibility level 1.1 or above"
                   " (use compat=1.1 or greater)");
    return NULL;
}

static Err *check_backing(const Amend *a)
{
    const BlockNode *n = &a->s->node;
    bool file = is_given(a, "backing_file") && g_strcmp0(a->o->backing_file, n->backing_name ? n->backing_name : "");
    bool fmt = is_given(a, "backing_fmt") && g_strcmp0(a->o->backing_fmt, n->backing_format ? n->backing_format : "");

    if (file || fmt)
        return err_hint(err(ERR_UNSUPPORTED, "Cannot amend the backing file"), "You can use 'lyre-img rebase' instead.");
    return NULL;
}

static Err *check_data_file(const Amend *a)
{
    if (is_given(a, "data_file") && !qcow2_has_data_file(a->s))
        return err(ERR_INVALID, "data-file can only be set for images that use an external data file");
    if (is_given(a, "data_file_raw") && a->o->data_file_raw && !a->s->raw_data)
        return err_hint(err(ERR_INVALID, "data-file-raw cannot be set on existing images"),
                        "What the data file holds need not be what the guest sees. Convert into a new image.");
    return NULL;
}

static Err *check_downgrade(Amend *a)
{
    Qcow2 *s = a->s;
    uint64_t features = s->header.incompatible & ~(QCOW2_INCOMPAT_DIRTY | QCOW2_INCOMPAT_CORRUPT);

    if (a->version >= s->header.version)
        return NULL;
    if (qcow2_has_data_file(s))
        return err(ERR_INVALID, "Cannot downgrade an image with a data file");
    if (features)
        return err_hint(err(ERR_INVALID, "Cannot downgrade an image with incompatible features %#" PRIx64 " set", features),
                        "Convert it: lyre-img convert -O qcow2 -o compat=0.10");
    for (uint32_t i = 0; i < s->header.nb_snapshots; i++)
        if (s->snapshots[i].vm_state_size || s->snapshots[i].disk_size != s->header.size)
            return err_hint(err(ERR_INVALID, "Internal snapshots prevent downgrade of image"),
                            "Version 2 cannot hold the state of a machine, nor disks of another size.");
    if (s->bitmaps_ext.nb_bitmaps)
        return err_hint(err(ERR_INVALID, "Cannot downgrade an image with dirty bitmaps, version 2 has none"),
                        "Remove them first: lyre-img bitmap --remove %s NAME", node_path(&s->node));
    return NULL;
}

static Err *check_all(Amend *a)
{
    Qcow2 *s = a->s;

    if (s->header.incompatible & QCOW2_INCOMPAT_CORRUPT || !s->header.refcount_table_clusters)
        return err_hint(err(ERR_INVALID, "the image is corrupt"), "run: lyre-img check -r all %s", node_path(&s->node));
    if (s->header.nb_snapshots && !s->snapshots)
        return err_hint(err(ERR_INVALID, "the snapshot table is damaged"), "run: lyre-img check -r all %s", node_path(&s->node));
    TRY(wanted_version(a));
    TRY(wanted_width(a));
    TRY(check_backing(a));
    TRY(check_data_file(a));
    if (is_given(a, "lazy_refcounts") && a->o->lazy_refcounts && a->version < 3)
        return err(ERR_INVALID, "Lazy refcounts only supported with compatibility level 1.1 and above"
                   " (use compat=1.1 or greater)");
    return check_downgrade(a);
}

/* ---- the steps */

static Err *io_failed(Qcow2 *s, int ret, const char *what)
{
    return ret ? err_errno(-ret, "%s: cannot %s", node_path(&s->node), what) : NULL;
}

/* Header and extensions anew, then a barrier; `was` comes back if that fails. */
static Err *rewrite_header(Qcow2 *s, const Qcow2Header *was)
{
    Err *e = qcow2_update_header(s);

    if (!e)
        e = io_failed(s, child_flush(s->node.file), "write the header");
    if (e)
        s->header = *was;
    qcow2_derive(s);
    return e;
}

static Err *upgrade(Amend *a)
{
    Qcow2 *s = a->s;
    Qcow2Header was = s->header;

    /* Version 3 wants snapshots to say how large their disk is. */
    if (s->header.nb_snapshots)
        TRY(io_failed(s, qcow2_snapshot_table_replace(s, s->header.nb_snapshots), "write the snapshot table"));
    was = s->header;
    s->header.version = 3;
    s->header.refcount_order = 4;
    return rewrite_header(s, &was);
}

static Err *downgrade(Amend *a)
{
    Qcow2 *s = a->s;
    Qcow2Header was;

    TRY(io_failed(s, qcow2_mark_clean(s), "write refcounts"));
    s->lazy = false;
    TRY(amend_expand_zeroes(s, &a->progress));
    was = s->header;
    s->header.version = 2;
    s->header.incompatible = s->header.compatible = s->header.autoclear = 0;
    g_clear_pointer(&s->header_tail, g_free);
    return rewrite_header(s, &was);
}

static Err *set_lazy(Amend *a)
{
    Qcow2 *s = a->s;
    Qcow2Header was = s->header;
    bool on = a->o->lazy_refcounts;
    Err *e;

    if (!is_given(a, "lazy_refcounts") || on == !!(s->header.compatible & QCOW2_COMPAT_LAZY))
        return NULL;
    if (!on)
        TRY(io_failed(s, qcow2_mark_clean(s), "write refcounts"));
    was = s->header;
    s->header.compatible = on ? was.compatible | QCOW2_COMPAT_LAZY : was.compatible & ~QCOW2_COMPAT_LAZY;
    e = rewrite_header(s, &was);
    if (!e)
        s->lazy = on;
    return e;
}

static Err *set_data_file(Amend *a)
{
    Qcow2 *s = a->s;
    Qcow2Header was = s->header;
    const char *name = a->o->data_file;
    char *old = s->data_file_name;
    Err *e;

    if (!is_given(a, "data_file") && !(is_given(a, "data_file_raw") && s->raw_data && !a->o->data_file_raw))
        return NULL;
    if (is_given(a, "data_file"))
        s->data_file_name = name && *name ? g_strdup(name) : NULL;
    if (is_given(a, "data_file_raw") && !a->o->data_file_raw)
        s->header.autoclear &= ~QCOW2_AUTOCLEAR_RAW;
    e = rewrite_header(s, &was);
    if (old != s->data_file_name) {
        if (e)
            g_free(s->data_file_name);
        else
            g_free(old);
        s->data_file_name = e ? old : s->data_file_name;
    }
    return e;
}

/* Bitmaps follow the disk's size: they are loaded for that, and stored when the image is closed. */
static Err *set_size(Amend *a)
{
    Qcow2 *s = a->s;

    if (!is_given(a, "size") || a->o->size == s->header.size)
        return NULL;
    if (s->bitmaps_ext.nb_bitmaps && s->node.open_flags & OPEN_CHECK) {
        s->node.open_flags &= ~(unsigned)OPEN_CHECK;
        TRY(qcow2_bitmaps_load(s));
    }
    return node_resize(&s->node, a->o->size, false, (Preallocation){ PREALLOC_OFF });
}

static bool any_encryption(const Amend *a)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)a->given, key, value)
        if (g_str_has_prefix(key, "encrypt."))
            return true;
    return false;
}

static Err *run_exclusive(Amend *a)
{
    Qcow2 *s = a->s;

    if (s->was_dirty)
        TRY(qcow2_repair_dirty(s));
    s->was_dirty = false;
    TRY(io_failed(s, qcow2_write_metadata(s, true), "write metadata"));
    if (a->version > s->header.version)
        TRY(upgrade(a));
    if (any_encryption(a))
        TRY(qcow2_crypt_amend(s, a->o, a->force));
    a->progress.step = 1;
    if (a->order != s->header.refcount_order)
        TRY(amend_refcount_order(s, a->order, &a->progress));
    TRY(set_data_file(a));
    TRY(set_lazy(a));
    return NULL;
}

Err *qcow2_amend(BlockNode *n, const void *opts, const json_t *given, bool force,
                 void (*progress)(void *, uint64_t, uint64_t), void *opaque)
{
    Qcow2 *s = qcow2_of(n);
    Amend a = { .s = s, .o = opts, .given = given, .force = force, .progress = { progress, opaque, 0, 3 } };
    Err *e;

    TRY(check_all(&a));
    qcow2_exclusive_begin(s);
    e = run_exclusive(&a);
    qcow2_exclusive_end(s);
    if (!e)
        e = set_size(&a);
    a.progress.step = 2;
    if (!e && a.version < s->header.version) {
        qcow2_exclusive_begin(s);
        e = downgrade(&a);
        qcow2_exclusive_end(s);
    }
    if (!e)
        amend_progress(&a.progress, 1, 1);
    return e;
}
