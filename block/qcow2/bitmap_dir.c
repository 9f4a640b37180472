/* SPDX-License-Identifier: MIT */
/*
 * qcow2: the bitmap directory and bitmap tables (specification: "Bitmaps").
 * What is not known here (extra data) is kept when the directory is written.
 */
#include "block/qcow2/bitmaps.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ENTRY_FIXED = 24, TYPE_DIRTY = 1 };

void qcow2_bitmap_entry_free(void *p)
{
    Qcow2Bitmap *b = p;

    g_free(b->name);
    g_free(b->extra);
    g_free(b);
}

void qcow2_bitmap_list_free(GPtrArray *list)
{
    if (list)
        g_ptr_array_unref(list);
}

Qcow2Bitmap *qcow2_bitmap_list_find(const GPtrArray *list, const char *name)
{
    for (guint i = 0; i < list->len; i++)
        if (!strcmp(((Qcow2Bitmap *)list->pdata[i])->name, name))
            return list->pdata[i];
    return NULL;
}

uint64_t qcow2_bitmap_clusters(uint64_t disk, unsigned bits, uint32_t cluster_size)
{
    uint64_t granules = (disk >> bits) + !!(disk & ((UINT64_C(1) << bits) - 1));

    return ((granules + 7) / 8 + cluster_size - 1) / cluster_size;
}

/* ---- reading */

static uint64_t be(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    while (bytes--)
        v = v << 8 | *p++;
    return v;
}

/* One entry at p, of at most `left` bytes; *used: how many it has. */
static Err *parse_entry(Qcow2 *s, const uint8_t *p, size_t left, uint64_t at, Qcow2Bitmap **out, size_t *used)
{
    uint32_t name, extra;
    Qcow2Bitmap *b;

    if (left < ENTRY_FIXED)
        return qcow2_bad(s, at, "bitmap directory ends in the middle of an entry");
    name = (uint32_t)be(p + 18, 2);
    extra = (uint32_t)be(p + 20, 4);
    *used = (((size_t)ENTRY_FIXED + name + extra) + 7) & ~(size_t)7;
    if (*used > left)
        return qcow2_bad(s, at, "bitmap directory entry goes on beyond the directory's end");
    if (!name || name > QCOW2_MAX_NAME || memchr(p + ENTRY_FIXED + extra, 0, name))
        return qcow2_bad(s, at, "bitmap directory entry has a name of %u bytes, or a zero byte in it", name);
    b = g_new0(Qcow2Bitmap, 1);
    b->table = be(p, 8);
    b->entries = (uint32_t)be(p + 8, 4);
    b->flags = (uint32_t)be(p + 12, 4);
    b->type = p[16];
    b->bits = p[17];
    b->extra_len = extra;
    b->extra = extra ? g_memdup2(p + ENTRY_FIXED, extra) : NULL;
    b->name = g_strndup((const char *)p + ENTRY_FIXED + extra, name);
    *out = b;
    return NULL;
}

static Err *parse_all(Qcow2 *s, const uint8_t *dir, size_t len, GPtrArray *list)
{
    uint64_t start = s->bitmaps_ext.directory_offset;

    for (size_t at = 0, used = 0; at < len; at += used) {
        Qcow2Bitmap *b = NULL;

        if (list->len >= s->bitmaps_ext.nb_bitmaps)
            return qcow2_bad(s, start + at, "More bitmaps found than specified in header extension");
        TRY(parse_entry(s, dir + at, len - at, start + at, &b, &used));
        if (qcow2_bitmap_list_find(list, b->name)) {
            Err *e = qcow2_bad(s, start + at, "two bitmaps have the name '%s'", b->name);

            qcow2_bitmap_entry_free(b);
            return e;
        }
        g_ptr_array_add(list, b);
    }
    if (list->len < s->bitmaps_ext.nb_bitmaps)
        return qcow2_bad(s, start, "Less bitmaps found than specified in header extension");
    return NULL;
}

Err *qcow2_bitmap_list_read(Qcow2 *s, GPtrArray **out)
{
    const Qcow2ExtBitmaps *x = &s->bitmaps_ext;
    GPtrArray *list = g_ptr_array_new_with_free_func(qcow2_bitmap_entry_free);
    uint8_t *dir = NULL;
    Err *e = NULL;
    int ret;

    *out = list;
    if (!x->nb_bitmaps)
        return NULL;
    if (x->directory_offset + x->directory_size > child_size(s->node.file)) {
        e = qcow2_bad(s, x->directory_offset, "bitmap directory of %" PRIu64 " bytes goes on beyond the end of the file",
                      x->directory_size);
    } else if (!(dir = block_buf(s->node.file->node, MAX(x->directory_size, 1)))) {
        e = err(ERR_IO, "%s: no memory for a bitmap directory of %" PRIu64 " bytes", node_path(&s->node), x->directory_size);
    } else {
        ret = qcow2_pread(s, x->directory_offset, dir, x->directory_size);
        e = ret ? err_errno(-ret, "%s: cannot read the bitmap directory", node_path(&s->node))
                : parse_all(s, dir, x->directory_size, list);
    }
    block_buf_free(dir);
    if (e) {
        qcow2_bitmap_list_free(list);
        *out = NULL;
    }
    return e;
}

Err *qcow2_bitmap_judge(Qcow2 *s, const Qcow2Bitmap *b)
{
    uint64_t dir = s->bitmaps_ext.directory_offset, want;
    Err *e = NULL;

    if (b->type != TYPE_DIRTY)
        e = qcow2_bad(s, dir, "it is of the unknown type %u", b->type);
    else if (b->flags & ~(uint32_t)QCOW2_BITMAP_KNOWN)
        e = qcow2_bad(s, dir, "it has unknown flags: %#x", b->flags);
    else if (b->bits < 9 || b->bits > 31)
        e = qcow2_bad(s, dir, "its granularity of 2^%u bytes is not between 512 and 2 GiB", b->bits);
    else if (!b->table || qcow2_in_cluster(s, b->table))
        e = qcow2_bad(s, dir, "its table at %#" PRIx64 " is not at the start of a cluster", b->table);
    else if (b->entries > QCOW2_BITMAP_MAX_BYTES / s->cluster_size || b->table > BLOCK_MAX_SIZE)
        e = qcow2_bad(s, dir, "its table has %u entries, which is more than %u bytes of data", b->entries,
                      QCOW2_BITMAP_MAX_BYTES);
    if (e)
        return err_in(e, "Bitmap '%s'", b->name);
    want = qcow2_bitmap_clusters(s->header.size, b->bits, s->cluster_size);
    if (!(b->flags & QCOW2_BITMAP_IN_USE) && b->entries < want)
        return err_in(qcow2_bad(s, dir, "its table has %u entries, a disk of this size takes %" PRIu64, b->entries, want),
                      "Bitmap '%s'", b->name);
    return NULL;
}

Err *qcow2_bitmap_table(Qcow2 *s, const Qcow2Bitmap *b, uint64_t **out)
{
    int ret;

    *out = NULL;
    if (b->table + (uint64_t)b->entries * 8 > child_size(s->node.file) + s->cluster_size)
        return err_in(qcow2_bad(s, b->table, "its table of %u entries goes on beyond the end of the file", b->entries),
                      "Bitmap '%s'", b->name);
    ret = qcow2_read_table(s, b->table, b->entries, out);
    if (ret)
        return err_errno(-ret, "%s: cannot read the table of bitmap '%s'", node_path(&s->node), b->name);
    for (uint32_t i = 0; i < b->entries; i++) {
        uint64_t e = (*out)[i], off = e & QCOW2_BITMAP_OFFSET;

        if (!(e & QCOW2_BITMAP_RESERVED) && !qcow2_in_cluster(s, off) && !(off && e & QCOW2_BITMAP_ONES))
            continue;
        free(*out);
        *out = NULL;
        return err_in(qcow2_bad(s, b->table, "entry %u of its table makes no sense: %#" PRIx64, i, e), "Bitmap '%s'", b->name);
    }
    return NULL;
}

/* ---- writing */

static size_t entry_len(const Qcow2Bitmap *b)
{
    return ((size_t)ENTRY_FIXED + b->extra_len + strlen(b->name) + 7) & ~(size_t)7;
}

static void put(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

uint8_t *qcow2_bitmap_list_print(const GPtrArray *list, size_t *len)
{
    uint8_t *dir, *p;

    *len = 0;
    for (guint i = 0; i < list->len; i++)
        *len += entry_len(list->pdata[i]);
    if (list->len > QCOW2_MAX_BITMAPS || *len > QCOW2_MAX_BITMAP_DIRECTORY)
        return NULL;
    p = dir = try_alloc(MAX(*len, 1), 1);
    for (guint i = 0; dir && i < list->len; i++) {
        const Qcow2Bitmap *b = list->pdata[i];

        put(p, b->table, 8);
        put(p + 8, b->entries, 4);
        put(p + 12, b->flags, 4);
        p[16] = b->type;
        p[17] = b->bits;
        put(p + 18, strlen(b->name), 2);
        put(p + 20, b->extra_len, 4);
        if (b->extra_len)
            memcpy(p + ENTRY_FIXED, b->extra, b->extra_len);
        memcpy(p + ENTRY_FIXED + b->extra_len, b->name, strlen(b->name));
        p += entry_len(b);
    }
    return dir;
}

/* ---- what they take, for check */

static int names_of_one(Qcow2 *s, const Qcow2Bitmap *b, int (*ref)(void *, uint64_t, uint64_t), void *opaque, Err **e)
{
    uint64_t *table = NULL;
    int ret = ref(opaque, b->table, (uint64_t)b->entries * 8);

    if (ret)
        return ret;
    *e = qcow2_bitmap_table(s, b, &table);
    for (uint32_t i = 0; table && !ret && i < b->entries; i++)
        if (table[i] & QCOW2_BITMAP_OFFSET)
            ret = ref(opaque, table[i] & QCOW2_BITMAP_OFFSET, s->cluster_size);
    free(table);
    return ret;
}

int qcow2_bitmaps_names(Qcow2 *s, int (*ref)(void *, uint64_t, uint64_t), void (*fault)(void *, const char *), void *opaque)
{
    GPtrArray *list;
    Err *e = qcow2_bitmap_list_read(s, &list);
    int ret = ref(opaque, s->bitmaps_ext.directory_offset, s->bitmaps_ext.directory_size);

    if (e) {
        fault(opaque, err_text(e));
        err_free(e);
        return ret;
    }
    for (guint i = 0; !ret && i < list->len; i++) {
        const Qcow2Bitmap *b = list->pdata[i];

        e = qcow2_bitmap_judge(s, b);
        if (!e)
            ret = names_of_one(s, b, ref, opaque, &e);
        if (e)
            fault(opaque, err_text(e));
        err_free(e);
    }
    qcow2_bitmap_list_free(list);
    return ret;
}
