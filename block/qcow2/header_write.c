/* SPDX-License-Identifier: MIT */
/*
 * qcow2: writing the header. Switching a table is one small write of the
 * fields that belong together; names and extensions are written anew, all of
 * them, also those that are not known here. All of it fits in cluster 0, or
 * nothing is written.
 */
#include "block/qcow2/qcow2.h"

#include <string.h>

static const Qcow2Feature known_features[] = {
    { 0, 0, "dirty bit" }, { 0, 1, "corrupt bit" }, { 0, 2, "external data file" }, { 0, 3, "compression type" },
    { 0, 4, "extended L2 entries" }, { 1, 0, "lazy refcounts" }, { 2, 0, "bitmaps" }, { 2, 1, "raw external data" },
};

/* The header that is being put together; `ok` turns false when it is full. */
typedef struct Page { uint8_t *bytes; size_t len, max; bool ok; } Page;

static void page_put(Page *p, const void *data, size_t len)
{
    if (!p->ok || len > p->max - p->len) {
        p->ok = false;
        return;
    }
    memcpy(p->bytes + p->len, data, len);
    p->len += len;
}

static void page_ext(Page *p, uint32_t type, const void *data, size_t len)
{
    static const uint8_t zero[8];
    uint32_t head[2] = { htobe32(type), htobe32(len) };
    page_put(p, head, sizeof(head));
    if (len)
        page_put(p, data, len);
    page_put(p, zero, (8 - len % 8) % 8);
}

/* Our names of features, then those that only the image knew. */
static void page_features(Page *p, const Qcow2 *s, size_t reserve)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(Qcow2Feature));
    g_array_append_vals(all, known_features, G_N_ELEMENTS(known_features));
    for (unsigned i = 0; i < s->nb_features; i++) {
        bool known = false;
        for (size_t k = 0; k < G_N_ELEMENTS(known_features); k++)
            known |= known_features[k].type == s->features[i].type && known_features[k].bit == s->features[i].bit;
        if (!known)
            g_array_append_val(all, s->features[i]);
    }
    size_t bytes = all->len * sizeof(Qcow2Feature);
    if (p->max - p->len > reserve && p->max - p->len - reserve >= bytes + 8)    /* it is optional: left out where it has no room */
        page_ext(p, QCOW2_EXT_FEATURES, all->data, bytes);
    g_array_free(all, TRUE);
}

static void page_extensions(Page *p, const Qcow2 *s)
{
    const char *backing = s->node.backing_name;
    size_t rest = 8 + (backing ? strlen(backing) : 0);
    if (s->node.backing_format && *s->node.backing_format)
        page_ext(p, QCOW2_EXT_BACKING_FORMAT, s->node.backing_format, strlen(s->node.backing_format));
    if (qcow2_has_data_file(s) && s->data_file_name)
        page_ext(p, QCOW2_EXT_DATA_FILE, s->data_file_name, strlen(s->data_file_name));
    if (s->crypt_ext.length) {
        Qcow2ExtCrypt x = { htobe64(s->crypt_ext.offset), htobe64(s->crypt_ext.length) };
        page_ext(p, QCOW2_EXT_CRYPT, &x, sizeof(x));
    }
    if (s->bitmaps_ext.nb_bitmaps) {
        Qcow2ExtBitmaps x = { htobe32(s->bitmaps_ext.nb_bitmaps), 0, htobe64(s->bitmaps_ext.directory_size),
                              htobe64(s->bitmaps_ext.directory_offset) };
        page_ext(p, QCOW2_EXT_BITMAPS, &x, sizeof(x));
    }
    for (const Qcow2UnknownExt *x = s->unknown_exts; x; x = x->next)
        rest += 8 + (x->len + 7) / 8 * 8;
    if (s->header.version >= 3)
        page_features(p, s, rest);
    for (const Qcow2UnknownExt *x = s->unknown_exts; x; x = x->next)
        page_ext(p, x->type, x->data, x->len);
    page_ext(p, QCOW2_EXT_END, NULL, 0);
}

/* The header's fields as they go to the file. */
static Qcow2Header on_disk(const Qcow2 *s)
{
    Qcow2Header h = s->header;
    qcow2_header_swap(&h);
    return h;
}

Err *qcow2_header_bytes(Qcow2 *s, uint8_t *bytes, size_t *len)
{
    Qcow2Header *h = &s->header;
    const char *backing = s->node.backing_name;
    Page p = { .bytes = bytes, .max = s->cluster_size, .ok = true };
    memset(bytes, 0, s->cluster_size);
    h->header_length = h->version < 3 ? QCOW2_V2_LENGTH : MAX(h->header_length, sizeof(*h));
    p.len = h->header_length;
    page_extensions(&p, s);
    h->backing_offset = backing ? p.len : 0;
    h->backing_size = backing ? strlen(backing) : 0;
    page_put(&p, backing ? backing : "", h->backing_size);
    Qcow2Header disk = on_disk(s);
    memcpy(bytes, &disk, MIN(sizeof(disk), h->header_length));
    if (s->header_tail && h->header_length > sizeof(disk))
        memcpy(bytes + sizeof(disk), s->header_tail, h->header_length - sizeof(disk));
    /* Whole sectors, so that what follows the last name is zero. */
    *len = MIN((p.len + 511) / 512 * 512, s->cluster_size);
    if (p.ok && h->backing_size <= QCOW2_MAX_NAME)
        return NULL;
    return err(ERR_INVALID, "header and names do not fit in the first cluster (%u bytes), or the backing file's name is "
               "longer than %u bytes", s->cluster_size, QCOW2_MAX_NAME);
}

Err *qcow2_update_header(Qcow2 *s)
{
    Qcow2Header was = s->header;
    size_t len;
    uint8_t *bytes = block_buf(s->node.file->node, s->cluster_size);
    Err *e = bytes ? qcow2_header_bytes(s, bytes, &len) : err(ERR_IO, "no memory for the header");
    int ret = e ? 0 : qcow2_pwrite(s, QCOW2_OL_HEADER, 0, bytes, len);
    if (ret)
        e = err_errno(-ret, "cannot write the header");
    if (e)
        s->header = was;
    block_buf_free(bytes);
    return err_in(e, "%s", node_path(&s->node));
}

int qcow2_write_fields(Qcow2 *s, size_t from, size_t to)
{
    Qcow2Header disk = on_disk(s);
    return qcow2_pwrite(s, QCOW2_OL_HEADER, from, (uint8_t *)&disk + from, to - from);
}

/* ---- feature bits */

#define FIELD_END(m) (offsetof(Qcow2Header, m) + sizeof(((Qcow2Header *)0)->m))

/* In memory the bits change when they are on disk: others go by them. */
static int set_incompatible(Qcow2 *s, uint64_t set, uint64_t clear)
{
    size_t at = offsetof(Qcow2Header, incompatible);
    co_lock(&s->mark_lock);
    uint64_t bits = (s->header.incompatible | set) & ~clear, be = htobe64(bits);
    int ret = 0;
    if (bits != s->header.incompatible) {
        /* Not through the overlap check: it may be what found the corruption. */
        ret = child_pwrite(s->node.file, at, &be, sizeof(be), 0);
        if (!ret)
            ret = child_flush(s->node.file);
    }
    if (!ret)
        s->header.incompatible = bits;
    co_unlock(&s->mark_lock);
    return ret;
}

int qcow2_mark_dirty(Qcow2 *s)
{
    if (s->header.version < 3)
        return -ENOTSUP;
    return set_incompatible(s, QCOW2_INCOMPAT_DIRTY, 0);
}

int qcow2_mark_clean(Qcow2 *s)
{
    if (!(s->header.incompatible & QCOW2_INCOMPAT_DIRTY))
        return 0;
    int ret = qcow2_write_refcounts(s);
    if (!ret)
        ret = qcow2_barrier(s);
    return ret ? ret : set_incompatible(s, 0, QCOW2_INCOMPAT_DIRTY);
}

int qcow2_mark_corrupt(Qcow2 *s)
{
    if (s->header.version < 3)
        return 0;               /* nowhere to say it */
    return set_incompatible(s, QCOW2_INCOMPAT_CORRUPT, 0);
}

int qcow2_mark_consistent(Qcow2 *s)
{
    if (!(s->header.incompatible & QCOW2_INCOMPAT_CORRUPT))
        return 0;
    int ret = qcow2_write_metadata(s, true);
    return ret ? ret : set_incompatible(s, 0, QCOW2_INCOMPAT_CORRUPT);
}

Err *qcow2_prepare_write(Qcow2 *s)
{
    Qcow2Header *h = &s->header;
    if (!(h->autoclear & ~QCOW2_AUTOCLEAR_KNOWN))
        return NULL;
    h->autoclear &= QCOW2_AUTOCLEAR_KNOWN;
    int ret = qcow2_write_fields(s, offsetof(Qcow2Header, autoclear), FIELD_END(autoclear));
    if (!ret)
        ret = child_flush(s->node.file);
    return ret ? err_errno(-ret, "%s: cannot clear unknown autoclear features", node_path((BlockNode *)&s->node)) : NULL;
}
