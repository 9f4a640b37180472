/* SPDX-License-Identifier: MIT */
/*
 * qcow2: persistent dirty bitmaps (specification: "Bitmaps", "Dirty tracking
 * bitmaps"). While a node is open for writing its bitmaps live in memory and
 * the directory in the file says "in use"; a crash leaves them so, and the next
 * program knows that they miss something. Stored at close: new tables and a new
 * directory, then the header, then the old ones are freed.
 *
 * What is in use when it is loaded, and what has extra data that we do not
 * know, stays in the directory as it is.
 */
#include "block/qcow2/bitmaps.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- loading */

static int load_cluster(Qcow2 *s, DirtyBitmap *b, uint64_t entry, uint64_t off, uint64_t covers, uint8_t *buf)
{
    uint64_t len = MIN(covers, b->size - off);
    int ret;

    if (!(entry & QCOW2_BITMAP_OFFSET)) {
        if (entry & QCOW2_BITMAP_ONES)
            bitmap_mark(b, off, len);
        return 0;
    }
    ret = qcow2_pread(s, entry & QCOW2_BITMAP_OFFSET, buf, s->cluster_size);
    if (!ret)
        bitmap_deserialize(b, off, len, buf);
    return ret;
}

static Err *load_data(Qcow2 *s, const Qcow2Bitmap *q, DirtyBitmap *b)
{
    uint64_t covers = (uint64_t)s->cluster_size * 8 << q->bits, *table = NULL;
    uint8_t *buf;
    int ret;

    TRY(qcow2_bitmap_table(s, q, &table));
    buf = block_buf(s->node.file->node, s->cluster_size);
    ret = buf ? 0 : -ENOMEM;
    for (uint32_t i = 0; !ret && i < q->entries && i * covers < b->size; i++)
        ret = load_cluster(s, b, table[i], i * covers, covers, buf);
    block_buf_free(buf);
    free(table);
    return ret ? err_errno(-ret, "%s: cannot read bitmap '%s'", node_path(&s->node), q->name) : NULL;
}

/* Extra data that nobody here knows: unless it says it may be ignored, so must the bitmap. */
static bool may_use(const Qcow2Bitmap *q)
{
    return !q->extra_len || q->flags & QCOW2_BITMAP_EXTRA_OK;
}

static Err *load_one(Qcow2 *s, const Qcow2Bitmap *q, GPtrArray *made)
{
    DirtyBitmap *b = bitmap_find(&s->node, q->name);

    if (b) {                            /* reopened for writing */
        b->readonly = s->node.read_only;
        return NULL;
    }
    TRY(qcow2_bitmap_judge(s, q));
    TRY(bitmap_new(&s->node, q->name, UINT32_C(1) << q->bits, &b));
    b->persistent = true;
    b->readonly = s->node.read_only;
    b->disabled = !(q->flags & QCOW2_BITMAP_AUTO);
    b->inconsistent = q->flags & QCOW2_BITMAP_IN_USE;
    g_ptr_array_add(made, b);
    return b->inconsistent ? NULL : load_data(s, q, b);
}

/* Not to be had for writing after all: those that were there before stay as they were, and only to be read. */
static void unload(Qcow2 *s, GPtrArray *made)
{
    for (guint i = 0; i < made->len; i++)
        bitmap_free(made->pdata[i]);
    for (DirtyBitmap *b = s->node.bitmaps; b; b = b->next)
        b->readonly |= b->persistent;
}

/* The same directory with other flags, where it is. */
static int write_in_place(Qcow2 *s, const GPtrArray *list)
{
    size_t len;
    uint8_t *dir = qcow2_bitmap_list_print(list, &len);
    int ret = !dir ? -ENOMEM : len != s->bitmaps_ext.directory_size ? -EIO : 0;

    if (!ret)
        ret = qcow2_pwrite(s, QCOW2_OL_BITMAP_DIRECTORY, s->bitmaps_ext.directory_offset, dir, len);
    if (!ret)
        ret = child_flush(s->node.file);
    free(dir);
    return ret;
}

static Err *mark_in_use(Qcow2 *s, GPtrArray *list)
{
    bool change = false;
    int ret = 0;

    for (guint i = 0; i < list->len; i++) {
        Qcow2Bitmap *q = list->pdata[i];

        if (may_use(q) && !(q->flags & QCOW2_BITMAP_IN_USE)) {
            q->flags |= QCOW2_BITMAP_IN_USE;
            change = true;
        }
    }
    if (change)
        ret = write_in_place(s, list);
    return ret ? err_errno(-ret, "%s: cannot mark bitmaps as in use", node_path(&s->node)) : NULL;
}

Err *qcow2_bitmaps_load(Qcow2 *s)
{
    GPtrArray *list;
    Err *e = NULL;

    /* Check and amend write no data; they leave bitmaps as they are. */
    if (!s->bitmaps_ext.nb_bitmaps || s->node.open_flags & (OPEN_CHECK | OPEN_NO_IO))
        return NULL;
    TRY(qcow2_bitmap_list_read(s, &list));
    g_autoptr(GPtrArray) made = g_ptr_array_new();
    for (guint i = 0; !e && i < list->len; i++)
        if (may_use(list->pdata[i]))
            e = load_one(s, list->pdata[i], made);
    if (!e && !s->node.read_only)
        e = mark_in_use(s, list);
    qcow2_bitmap_list_free(list);
    if (e)
        unload(s, made);
    return e;
}

/* ---- storing */

/* One bitmap's clusters and table, new in the file. `q` gets where they are. */
typedef struct Storing {
    Qcow2 *s;
    const DirtyBitmap *b;
    Qcow2Bitmap *q;
    uint64_t *table;                /* as on disk; 0 where there is no data */
    uint8_t *buf;
} Storing;

/* Cluster i, of which something is dirty. */
static int store_cluster(Storing *st, uint64_t i, uint64_t covers)
{
    Qcow2 *s = st->s;
    uint64_t off = i * covers, len = MIN(covers, st->b->size - off), first = off, run;
    int64_t at;
    int ret;

    if (len == covers && bitmap_next(st->b, &first, off + len, &run) && first == off && run == len) {
        st->table[i] = htobe64(QCOW2_BITMAP_ONES);
        return 0;
    }
    at = qcow2_alloc(s, s->cluster_size);
    if (at < 0)
        return (int)at;
    memset(st->buf, 0, s->cluster_size);
    bitmap_serialize(st->b, off, len, st->buf);
    ret = qcow2_pwrite(s, 0, (uint64_t)at, st->buf, s->cluster_size);
    if (ret)
        qcow2_unalloc(s, (uint64_t)at, s->cluster_size);
    else
        st->table[i] = htobe64((uint64_t)at);
    return ret;
}

static int store_data(Storing *st)
{
    uint64_t covers = (uint64_t)st->s->cluster_size * 8 << st->q->bits, off = 0, len;
    int ret = 0;

    while (!ret && bitmap_next(st->b, &off, st->b->size, &len)) {
        ret = store_cluster(st, off / covers, covers);
        off = (off / covers + 1) * covers;
    }
    return ret;
}

/* Gives clusters back that nothing names yet. */
static void unstore(Qcow2 *s, const uint64_t *table, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint64_t off = be64toh(table[i]) & QCOW2_BITMAP_OFFSET;

        if (off)
            qcow2_unalloc(s, off, s->cluster_size);
    }
}

static int store_table(Storing *st)
{
    Qcow2 *s = st->s;
    int64_t at = qcow2_alloc(s, (uint64_t)st->q->entries * 8);
    int ret = at < 0 ? (int)at : qcow2_pwrite(s, 0, (uint64_t)at, st->table, (size_t)st->q->entries * 8);

    if (ret && at > 0)
        qcow2_unalloc(s, (uint64_t)at, (uint64_t)st->q->entries * 8);
    if (!ret)
        st->q->table = (uint64_t)at;
    return ret;
}

static int store_one(Qcow2 *s, const DirtyBitmap *b, Qcow2Bitmap *q)
{
    uint64_t n = qcow2_bitmap_clusters(b->size, (unsigned)__builtin_ctz(b->granularity), s->cluster_size);
    Storing st = { .s = s, .b = b, .q = q };
    int ret;

    q->bits = (uint8_t)__builtin_ctz(b->granularity);
    q->entries = (uint32_t)MAX(n, 1);
    q->flags = (q->flags & QCOW2_BITMAP_EXTRA_OK) | (b->disabled ? 0 : QCOW2_BITMAP_AUTO);
    st.table = try_alloc(q->entries, 8);
    st.buf = block_buf(s->node.file->node, s->cluster_size);
    ret = st.table && st.buf ? store_data(&st) : -ENOMEM;
    if (!ret)
        ret = store_table(&st);
    if (ret && st.table)
        unstore(s, st.table, q->entries);
    free(st.table);
    block_buf_free(st.buf);
    return ret;
}

/* Frees a stored bitmap's clusters, once the file does not name them. */
static void free_stored(Qcow2 *s, const Qcow2Bitmap *q)
{
    uint64_t *table;
    Err *e = qcow2_bitmap_judge(s, q);

    if (!e)
        e = qcow2_bitmap_table(s, q, &table);
    if (e) {
        err_free(e);            /* what cannot be read stays leaked; check finds it */
        return;
    }
    for (uint32_t i = 0; i < q->entries; i++)
        if (table[i] & QCOW2_BITMAP_OFFSET)
            qcow2_free(s, table[i] & QCOW2_BITMAP_OFFSET, s->cluster_size, QCOW2_FREE_OTHER);
    qcow2_free(s, q->table, (uint64_t)q->entries * 8, QCOW2_FREE_OTHER);
    free(table);
}

/* The directory of `list` becomes the image's; the old one is freed. */
static Err *switch_directory(Qcow2 *s, const GPtrArray *list)
{
    Qcow2ExtBitmaps was = s->bitmaps_ext, now = { 0 };
    uint64_t autoclear = s->header.autoclear;
    size_t len;
    uint8_t *dir = qcow2_bitmap_list_print(list, &len);
    int64_t at = !dir ? -EFBIG : list->len ? qcow2_alloc(s, len) : 0;
    int ret = at < 0 ? (int)at : list->len ? qcow2_pwrite(s, 0, (uint64_t)at, dir, len) : 0;
    Err *e;

    free(dir);
    if (!ret)
        ret = qcow2_write_refcounts(s);
    if (!ret)
        ret = qcow2_barrier(s);
    if (list->len)
        now = (Qcow2ExtBitmaps){ .nb_bitmaps = list->len, .directory_size = len, .directory_offset = (uint64_t)at };
    s->bitmaps_ext = now;
    s->header.autoclear &= ~QCOW2_AUTOCLEAR_BITMAPS;
    s->header.autoclear |= list->len ? QCOW2_AUTOCLEAR_BITMAPS : 0;
    e = ret ? err_errno(-ret, "%s: cannot write the bitmap directory", node_path(&s->node)) : qcow2_update_header(s);
    if (!e && (ret = child_flush(s->node.file)))
        e = err_errno(-ret, "%s: cannot write the header", node_path(&s->node));
    if (e) {
        s->bitmaps_ext = was;
        s->header.autoclear = autoclear;
        if (at > 0)
            qcow2_unalloc(s, (uint64_t)at, len);
        return e;
    }
    if (was.nb_bitmaps)
        qcow2_free(s, was.directory_offset, was.directory_size, QCOW2_FREE_OTHER);
    qcow2_overlap_changed(s);
    return NULL;
}

static Qcow2Bitmap *new_entry(const DirtyBitmap *b)
{
    Qcow2Bitmap *q = g_new0(Qcow2Bitmap, 1);

    q->name = g_strdup(b->name);
    q->type = 1;
    return q;
}

/* Stores each bitmap that is in memory; `old` has copies of the entries that were replaced. */
static Err *store_all(Qcow2 *s, GPtrArray *list, GArray *old)
{
    for (const DirtyBitmap *b = s->node.bitmaps; b; b = b->next) {
        Qcow2Bitmap *q;
        int ret;

        if (!b->persistent || b->inconsistent || b->readonly)
            continue;
        q = qcow2_bitmap_list_find(list, b->name);
        if (q)
            g_array_append_val(old, *q);
        else
            g_ptr_array_add(list, q = new_entry(b));
        ret = store_one(s, b, q);
        if (ret)
            return err_errno(-ret, "%s: cannot store bitmap '%s'", node_path(&s->node), b->name);
    }
    return NULL;
}

static bool any_to_store(const Qcow2 *s)
{
    for (const DirtyBitmap *b = s->node.bitmaps; b; b = b->next)
        if (b->persistent && !b->inconsistent && !b->readonly)
            return true;
    return false;
}

Err *qcow2_bitmaps_store(Qcow2 *s)
{
    g_autoptr(GArray) old = g_array_new(FALSE, FALSE, sizeof(Qcow2Bitmap));
    GPtrArray *list;
    Err *e;

    if (!any_to_store(s))
        return NULL;
    TRY(qcow2_bitmap_list_read(s, &list));
    e = store_all(s, list, old);
    if (!e)
        e = switch_directory(s, list);
    for (guint i = 0; !e && i < old->len; i++)
        free_stored(s, &g_array_index(old, Qcow2Bitmap, i));
    for (DirtyBitmap *b = s->node.bitmaps; !e && b; b = b->next)
        b->readonly |= b->persistent;           /* until the image is open for writing again */
    qcow2_bitmap_list_free(list);
    return e;
}

/* ---- one of them */

Err *qcow2_bitmap_remove(BlockNode *n, const char *name)
{
    Qcow2 *s = qcow2_of(n);
    GPtrArray *list;
    Qcow2Bitmap *q, gone;
    Err *e;
    guint at;

    if (!s->bitmaps_ext.nb_bitmaps)
        return NULL;
    TRY(qcow2_bitmap_list_read(s, &list));
    q = qcow2_bitmap_list_find(list, name);
    if (!q || !g_ptr_array_find(list, q, &at)) {
        qcow2_bitmap_list_free(list);
        return NULL;                    /* it was never stored */
    }
    g_ptr_array_set_free_func(list, NULL);
    g_ptr_array_remove_index(list, at);
    g_ptr_array_set_free_func(list, qcow2_bitmap_entry_free);
    gone = *q;
    e = switch_directory(s, list);
    if (!e)
        free_stored(s, &gone);
    qcow2_bitmap_entry_free(q);
    qcow2_bitmap_list_free(list);
    return e;
}

/* Does anything of it make no sense? What can be told of its clusters is freed then. */
static bool is_bad(Qcow2 *s, const Qcow2Bitmap *q)
{
    uint64_t *table = NULL, bytes = (uint64_t)q->entries * 8;
    Err *e = qcow2_bitmap_judge(s, q), *bad_table = NULL;
    bool bad;

    if (!e)
        e = bad_table = qcow2_bitmap_table(s, q, &table);
    if (bad_table && q->table + bytes <= child_size(s->node.file))
        qcow2_free(s, q->table, bytes, QCOW2_FREE_OTHER);
    free(table);
    bad = e != NULL;
    err_free(e);
    return bad;
}

Err *qcow2_bitmaps_drop_bad(Qcow2 *s, unsigned *dropped)
{
    uint32_t was = s->bitmaps_ext.nb_bitmaps;
    GPtrArray *list;
    Err *e = qcow2_bitmap_list_read(s, &list);

    if (e) {
        err_free(e);
        list = g_ptr_array_new();
    }
    for (guint i = list->len; i-- > 0;)
        if (is_bad(s, list->pdata[i]))
            g_ptr_array_remove_index(list, i);
    e = switch_directory(s, list);
    *dropped = was - list->len;
    qcow2_bitmap_list_free(list);
    return e;
}

static Err *why_not_store(Qcow2 *s, const char *name, uint32_t granularity)
{
    size_t dir = s->bitmaps_ext.directory_size;
    uint32_t count = s->bitmaps_ext.nb_bitmaps;
    uint64_t bits;

    if (s->header.version < 3)
        return err_hint(err(ERR_UNSUPPORTED, "Cannot store dirty bitmaps in qcow2 v2 files"),
                        "lyre-img amend -o compat=1.1 makes it one of version 3.");
    if (s->header.incompatible & QCOW2_INCOMPAT_DATA_FILE && s->node.read_only)
        return err(ERR_INVALID, "the image is read-only");
    if (strlen(name) > QCOW2_MAX_NAME)
        return err(ERR_INVALID, "Name length exceeds maximum (%u characters)", QCOW2_MAX_NAME);
    bits = qcow2_bitmap_clusters(s->header.size, (unsigned)__builtin_ctz(granularity), s->cluster_size);
    if (bits * s->cluster_size > QCOW2_BITMAP_MAX_BYTES)
        return err(ERR_INVALID, "Too much space will be occupied by the bitmap. Use larger granularity");
    for (const DirtyBitmap *b = s->node.bitmaps; b; b = b->next) {
        count += b->persistent;         /* some of them twice: a limit of 65535 is none that hurts */
        dir += b->persistent ? 32 + strlen(b->name) : 0;
    }
    if (count >= QCOW2_MAX_BITMAPS)
        return err(ERR_INVALID, "Maximum number of persistent bitmaps is already reached");
    if (dir + 32 + strlen(name) > QCOW2_MAX_BITMAP_DIRECTORY)
        return err(ERR_INVALID, "Not enough space in the bitmap directory");
    return NULL;
}

Err *qcow2_bitmap_can_store(BlockNode *n, const char *name, uint32_t granularity)
{
    return err_in(why_not_store(qcow2_of(n), name, granularity), "Can't make bitmap '%s' persistent in '%s'", name,
                  node_name(n));
}

Err *qcow2_bitmaps_resized(Qcow2 *s, uint64_t len)
{
    GPtrArray *list;
    Err *e = NULL;

    if (!s->bitmaps_ext.nb_bitmaps)
        return NULL;
    TRY(qcow2_bitmap_list_read(s, &list));
    for (guint i = 0; i < list->len && !e; i++) {
        const Qcow2Bitmap *q = list->pdata[i];
        const DirtyBitmap *b = bitmap_find(&s->node, q->name);

        if (!b || b->inconsistent || b->readonly)
            e = err_hint(err(ERR_INVALID, "Bitmap '%s' %s, so the image cannot be resized", q->name,
                             !b ? "is not loaded" : b->inconsistent ? "is inconsistent" : "is readonly"),
                         "Remove it first: lyre-img bitmap --remove %s %s", node_path(&s->node), q->name);
        else if (qcow2_bitmap_clusters(len, q->bits, s->cluster_size) * s->cluster_size > QCOW2_BITMAP_MAX_BYTES)
            e = err(ERR_INVALID, "Bitmap '%s' would be too large for a disk of %" PRIu64 " bytes", q->name, len);
    }
    qcow2_bitmap_list_free(list);
    return e;
}

/* ---- telling */

json_t *qcow2_bitmaps_info(Qcow2 *s)
{
    GPtrArray *list;
    Err *e;
    json_t *all;

    if (!s->bitmaps_ext.nb_bitmaps)
        return NULL;
    e = qcow2_bitmap_list_read(s, &list);
    if (e) {
        err_free(e);
        return NULL;
    }
    all = json_array();
    for (guint i = 0; i < list->len; i++) {
        const Qcow2Bitmap *q = list->pdata[i];
        json_t *o = json_object(), *flags = json_array();

        if (q->flags & QCOW2_BITMAP_IN_USE)
            json_array_append_new(flags, json_string("in-use"));
        if (q->flags & QCOW2_BITMAP_AUTO)
            json_array_append_new(flags, json_string("auto"));
        json_object_set_new(o, "flags", flags);
        json_object_set_new(o, "name", json_string(q->name));
        json_object_set_new(o, "granularity", json_integer(q->bits < 63 ? (json_int_t)1 << q->bits : 0));
        json_array_append_new(all, o);
    }
    qcow2_bitmap_list_free(list);
    return all;
}

Err *qcow2_bitmaps_measure(BlockNode *source, uint64_t cluster_size, uint64_t *bytes)
{
    uint64_t dir = 0;

    *bytes = 0;
    for (const DirtyBitmap *b = source->bitmaps; b; b = b->next) {
        uint64_t n;

        if (!b->persistent || b->inconsistent)
            continue;
        n = qcow2_bitmap_clusters(b->size, (unsigned)__builtin_ctz(b->granularity), (uint32_t)cluster_size);
        *bytes += (n + (n * 8 + cluster_size - 1) / cluster_size) * cluster_size;
        dir += (24 + strlen(b->name) + 7) / 8 * 8;
    }
    *bytes += (dir + cluster_size - 1) / cluster_size * cluster_size;
    return NULL;
}
