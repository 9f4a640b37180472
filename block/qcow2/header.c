/* SPDX-License-Identifier: MIT */
/*
 * qcow2: reading the header and its extensions (specification: "Header",
 * "Header extensions"). Nothing is believed: sizes against caps, offsets
 * against alignment, tables against overflow. Whether what lies at those
 * offsets makes sense is seen when it is read.
 */
#include "block/qcow2/qcow2.h"

#include <stdlib.h>
#include <string.h>

void qcow2_header_swap(Qcow2Header *h)
{
    uint32_t *w32[] = { &h->magic, &h->version, &h->backing_size, &h->cluster_bits, &h->crypt_method, &h->l1_size,
                        &h->refcount_table_clusters, &h->nb_snapshots, &h->refcount_order, &h->header_length };
    uint64_t *w64[] = { &h->backing_offset, &h->size, &h->l1_offset, &h->refcount_table_offset, &h->snapshots_offset,
                        &h->incompatible, &h->compatible, &h->autoclear };
    for (size_t i = 0; i < G_N_ELEMENTS(w32); i++)
        *w32[i] = be32toh(*w32[i]);
    for (size_t i = 0; i < G_N_ELEMENTS(w64); i++)
        *w64[i] = be64toh(*w64[i]);
}

void qcow2_derive(Qcow2 *s)
{
    const Qcow2Header *h = &s->header;
    s->cluster_bits = h->cluster_bits;
    s->cluster_size = UINT32_C(1) << h->cluster_bits;
    s->extended = h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2;
    s->sub_bits = s->extended ? h->cluster_bits - 5 : h->cluster_bits;
    s->l2_entry_bytes = s->extended ? 16 : 8;
    s->l2_bits = h->cluster_bits - (s->extended ? 4 : 3);
    s->refcount_bits = 1u << h->refcount_order;
    s->rb_bits = h->cluster_bits + 3 - h->refcount_order;
    s->refcount_max = h->refcount_order == 6 ? INT64_MAX : (UINT64_C(1) << s->refcount_bits) - 1;
    s->csize_shift = 62 - (h->cluster_bits - 8);
    s->csize_mask = (UINT64_C(1) << (h->cluster_bits - 8)) - 1;
    s->coffset_mask = MIN((UINT64_C(1) << s->csize_shift) - 1, QCOW2_MAX_HOST - 1);
    s->raw_data = h->autoclear & QCOW2_AUTOCLEAR_RAW;
}

Err *qcow2_check_table(Qcow2 *s, uint64_t off, uint64_t n, size_t entry_bytes, uint64_t max_bytes, const char *what)
{
    if (n > max_bytes / entry_bytes)
        return qcow2_bad(s, off, "%s too large: %" PRIu64 " entries, the limit is %" PRIu64,
                         what, n, max_bytes / entry_bytes);
    if (off > (uint64_t)INT64_MAX - n * entry_bytes || qcow2_in_cluster(s, off))
        return qcow2_bad(s, off, "%s offset invalid: not at the start of a cluster, or out of range", what);
    return NULL;
}

/* ---- the fixed part */

static Err *check_version(Qcow2 *s)
{
    const char *path = node_path((BlockNode *)&s->node);
    Qcow2Header *h = &s->header;
    if (h->magic != QCOW2_MAGIC)
        return err(ERR_INVALID, "%s: image is not in qcow2 format", path);
    if (h->version < 2 || h->version > 3)
        return err(ERR_UNSUPPORTED, "%s: unsupported qcow2 version %u", path, h->version);
    if (h->cluster_bits < QCOW2_MIN_CLUSTER_BITS || h->cluster_bits > QCOW2_MAX_CLUSTER_BITS)
        return err(ERR_UNSUPPORTED, "%s: unsupported cluster size: 2^%u bytes", path, h->cluster_bits);
    if (h->version == 2) {
        h->incompatible = h->compatible = h->autoclear = 0;
        h->refcount_order = 4;
        h->header_length = QCOW2_V2_LENGTH;
        h->compression_type = 0;
        return NULL;
    }
    if (h->header_length < QCOW2_V3_LENGTH)
        return qcow2_bad(s, 100, "qcow2 header too short: %u bytes", h->header_length);
    if (h->header_length > 1u << h->cluster_bits || h->header_length % 8)
        return qcow2_bad(s, 100, "qcow2 header length %u: beyond the first cluster, or no multiple of 8",
                         h->header_length);
    if (h->header_length <= offsetof(Qcow2Header, compression_type))
        h->compression_type = 0;
    return NULL;
}

/* Names of unknown bits, from the image's own table. */
static Err *refuse_features(Qcow2 *s, uint64_t bits)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (unsigned i = 0; i < s->nb_features; i++) {
        const Qcow2Feature *f = &s->features[i];
        if (f->type == 0 && f->bit < 64 && (bits >> f->bit & 1) && f->name[0]) {
            g_autofree char *name = g_utf8_make_valid(f->name, strnlen(f->name, sizeof(f->name)));
            g_string_append_printf(names, "%s%s", names->len ? ", " : "", name);
            bits &= ~(UINT64_C(1) << f->bit);
        }
    }
    if (bits)
        g_string_append_printf(names, "%sunknown incompatible feature: %" PRIx64, names->len ? ", " : "", bits);
    return err_hint(err(ERR_UNSUPPORTED, "%s: unsupported qcow2 feature(s): %s", node_path((BlockNode *)&s->node), names->str),
                    "a newer program made it; convert it there into one without that feature");
}

static Err *check_features(Qcow2 *s, unsigned flags)
{
    const Qcow2Header *h = &s->header;
    const char *path = node_path((BlockNode *)&s->node);
    if (h->incompatible & ~QCOW2_INCOMPAT_KNOWN)
        return refuse_features(s, h->incompatible & ~QCOW2_INCOMPAT_KNOWN);
    if (h->refcount_order > 6)
        return qcow2_bad(s, 96, "reference count entry width too large: 2^%u bits, may not exceed 64", h->refcount_order);
    if (!(h->incompatible & QCOW2_INCOMPAT_COMPRESSION) != (h->compression_type == QCOW2_ZLIB))
        return qcow2_bad(s, 104, "compression type %u and the feature bit of it contradict each other", h->compression_type);
    if (h->compression_type > QCOW2_ZSTD)
        return err(ERR_UNSUPPORTED, "%s: unknown compression type %u", path, h->compression_type);
    if ((h->incompatible & QCOW2_INCOMPAT_EXTENDED_L2) && h->cluster_bits < 14)
        return qcow2_bad(s, 20, "clusters of 2^%u bytes are too small for extended L2 entries", h->cluster_bits);
    if ((h->autoclear & QCOW2_AUTOCLEAR_RAW) && !(h->incompatible & QCOW2_INCOMPAT_DATA_FILE))
        return qcow2_bad(s, 88, "the raw external data bit without an external data file");
    if (h->crypt_method > QCOW2_CRYPT_LUKS)
        return err(ERR_UNSUPPORTED, "%s: unsupported encryption method %u", path, h->crypt_method);
    if ((h->incompatible & QCOW2_INCOMPAT_CORRUPT) && !s->node.read_only && !(flags & OPEN_CHECK))
        return err_hint(err(ERR_INVALID, "%s: image is corrupt; cannot be opened read/write", path),
                        "run 'lyre-img check -r all %s', or open it read-only", path);
    return NULL;
}

/* For check, which makes another one, an image may have none that makes sense. */
static Err *check_refcount_table(Qcow2 *s, unsigned flags)
{
    Qcow2Header *h = &s->header;
    Err *e = qcow2_check_table(s, h->refcount_table_offset, h->refcount_table_clusters, s->cluster_size,
                               MAX(QCOW2_MAX_RT_BYTES, s->cluster_size), "reference count table");
    if (!e || !(flags & OPEN_CHECK))
        return e;
    s->bad_table = g_strdup(err_text(e));
    err_free(e);
    h->refcount_table_offset = h->refcount_table_clusters = 0;
    return NULL;
}

static Err *check_places(Qcow2 *s, unsigned flags)
{
    const Qcow2Header *h = &s->header;
    if (h->size > BLOCK_MAX_SIZE)
        return qcow2_bad(s, 24, "image size %" PRIu64 " is too large", h->size);
    TRY(check_refcount_table(s, flags));
    if (!(flags & OPEN_CHECK) && (!h->refcount_table_clusters || !h->refcount_table_offset))
        return qcow2_bad(s, 56, "image does not contain a reference count table");
    if (h->nb_snapshots > QCOW2_MAX_SNAPSHOTS)
        return qcow2_bad(s, 60, "too many snapshots: %u", h->nb_snapshots);
    if (h->nb_snapshots)
        TRY(qcow2_check_table(s, h->snapshots_offset, h->nb_snapshots, 40, QCOW2_MAX_SNAPSHOT_TABLE, "snapshot table"));
    TRY(qcow2_check_table(s, h->l1_offset, h->l1_size, 8, QCOW2_MAX_L1_BYTES, "active L1 table"));
    uint64_t need = h->size ? ((h->size - 1) >> qcow2_l1_shift(s)) + 1 : 0;
    if (need > h->l1_size)
        return qcow2_bad(s, 36, "L1 table is too small: %u entries, the image size takes %" PRIu64, h->l1_size, need);
    if (h->l1_size && !h->l1_offset)
        return qcow2_bad(s, 40, "no active L1 table");
    if (h->l1_offset + h->l1_size * UINT64_C(8) > child_size(s->node.file))
        return qcow2_bad(s, h->l1_offset, "active L1 table: beyond the end of the file, which has %" PRIu64 " bytes",
                         child_size(s->node.file));
    if (h->refcount_table_offset && h->refcount_table_offset >= child_size(s->node.file) && !(flags & OPEN_CHECK))
        return qcow2_bad(s, h->refcount_table_offset, "reference count table: beyond the end of the file");
    return NULL;
}

/* ---- extensions */

/* The bytes of cluster 0 that matter: read as far as they are asked for. */
typedef struct Head { uint8_t *bytes; size_t have; } Head;

static Err *head_need(Qcow2 *s, Head *hd, size_t len)
{
    if (len <= hd->have)
        return NULL;
    size_t want = MIN(MAX(len, hd->have * 4), (size_t)1 << QCOW2_MAX_CLUSTER_BITS);
    uint8_t *more = block_buf(s->node.file->node, want);
    if (!more)
        return err(ERR_IO, "%s: no memory for %zu bytes of header", node_path((BlockNode *)&s->node), want);
    int ret = qcow2_pread(s, 0, more, want);
    if (ret) {
        block_buf_free(more);
        return err_errno(-ret, "%s: cannot read the header", node_path((BlockNode *)&s->node));
    }
    block_buf_free(hd->bytes);
    *hd = (Head){ more, want };
    return NULL;
}

static Err *ext_string(Qcow2 *s, const uint8_t *p, uint32_t len, uint32_t max, const char *what, char **out)
{
    if (len > max || memchr(p, 0, len))
        return qcow2_bad(s, 0, "header extension '%s': %u bytes, or a zero byte in it", what, len);
    g_free(*out);
    *out = g_strndup((const char *)p, len);
    return NULL;
}

static Err *ext_bitmaps(Qcow2 *s, const uint8_t *p, uint32_t len)
{
    Qcow2ExtBitmaps *x = &s->bitmaps_ext;
    if (len != sizeof(*x))
        return qcow2_bad(s, 0, "bitmaps extension: invalid length %u", len);
    if (!(s->header.autoclear & QCOW2_AUTOCLEAR_BITMAPS))
        return NULL;            /* a program without bitmaps wrote to the image: they say nothing any more */
    memcpy(x, p, len);
    x->nb_bitmaps = be32toh(x->nb_bitmaps);
    x->directory_size = be64toh(x->directory_size);
    x->directory_offset = be64toh(x->directory_offset);
    if (x->reserved || !x->nb_bitmaps || x->nb_bitmaps > QCOW2_MAX_BITMAPS)
        return qcow2_bad(s, 0, "bitmaps extension: %u bitmaps (at most %u), or its reserved field is not 0",
                         x->nb_bitmaps, QCOW2_MAX_BITMAPS);
    return qcow2_check_table(s, x->directory_offset, x->directory_size, 1, QCOW2_MAX_BITMAP_DIRECTORY, "bitmap directory");
}

static Err *ext_crypt(Qcow2 *s, const uint8_t *p, uint32_t len)
{
    Qcow2ExtCrypt *x = &s->crypt_ext;
    if (s->header.crypt_method != QCOW2_CRYPT_LUKS)
        return qcow2_bad(s, 0, "an encryption header, but the method is %u", s->header.crypt_method);
    if (len != sizeof(*x))
        return qcow2_bad(s, 0, "encryption header extension: invalid length %u", len);
    memcpy(x, p, len);
    x->offset = be64toh(x->offset);
    x->length = be64toh(x->length);
    return qcow2_check_table(s, x->offset, x->length, 1, 1u << 30, "encryption header");
}

static Err *ext_unknown(Qcow2 *s, uint32_t type, const uint8_t *p, uint32_t len)
{
    Qcow2UnknownExt *x = g_try_malloc(sizeof(*x) + len), **at = &s->unknown_exts;
    if (!x)
        return err(ERR_IO, "%s: no memory for a header extension of %u bytes", node_path((BlockNode *)&s->node), len);
    *x = (Qcow2UnknownExt){ .type = type, .len = len };
    memcpy(x->data, p, len);
    while (*at)
        at = &(*at)->next;
    *at = x;
    return NULL;
}

static Err *ext_one(Qcow2 *s, uint32_t type, const uint8_t *p, uint32_t len)
{
    switch (type) {
    case QCOW2_EXT_BACKING_FORMAT:
        return ext_string(s, p, len, 63, "backing format", &s->node.backing_format);
    case QCOW2_EXT_DATA_FILE:
        return ext_string(s, p, len, QCOW2_MAX_NAME, "data file name", &s->data_file_name);
    case QCOW2_EXT_BITMAPS:
        return ext_bitmaps(s, p, len);
    case QCOW2_EXT_CRYPT:
        return ext_crypt(s, p, len);
    case QCOW2_EXT_FEATURES:
        if (s->features)
            return NULL;
        s->write_features = true;
        s->nb_features = len / sizeof(Qcow2Feature);
        s->features = g_memdup2(p, s->nb_features * sizeof(Qcow2Feature));
        return NULL;
    default:
        return ext_unknown(s, type, p, len);
    }
}

static Err *read_extensions(Qcow2 *s, Head *hd)
{
    const Qcow2Header *h = &s->header;
    uint64_t at = h->header_length, end = h->backing_offset ? h->backing_offset : s->cluster_size;
    while (at + 8 <= end) {
        TRY(head_need(s, hd, at + 8));
        uint32_t type, len;
        memcpy(&type, hd->bytes + at, 4);
        memcpy(&len, hd->bytes + at + 4, 4);
        type = be32toh(type);
        len = be32toh(len);
        if (type == QCOW2_EXT_END)
            break;
        if (len > end - at - 8)
            return qcow2_bad(s, at, "header extension %#x too large: %u bytes", type, len);
        TRY(head_need(s, hd, at + 8 + len));
        TRY(ext_one(s, type, hd->bytes + at + 8, len));
        at += 8 + ((uint64_t)len + 7) / 8 * 8;
    }
    return NULL;
}

static Err *read_backing_name(Qcow2 *s, Head *hd)
{
    const Qcow2Header *h = &s->header;
    if (!h->backing_offset)
        return NULL;
    if (h->backing_offset > s->cluster_size)
        return qcow2_bad(s, 8, "backing file name at %#" PRIx64 ": beyond the first cluster", h->backing_offset);
    if (h->backing_size > MIN(QCOW2_MAX_NAME, s->cluster_size - h->backing_offset))
        return qcow2_bad(s, 16, "backing file name too long: %u bytes", h->backing_size);
    TRY(head_need(s, hd, h->backing_offset + h->backing_size));
    const char *name = (const char *)hd->bytes + h->backing_offset;
    if (memchr(name, 0, h->backing_size))
        return qcow2_bad(s, h->backing_offset, "a zero byte in the backing file name");
    g_free(s->node.backing_name);
    s->node.backing_name = h->backing_size ? g_strndup(name, h->backing_size) : NULL;
    return NULL;
}

static Err *read_all(Qcow2 *s, unsigned flags, Head *hd)
{
    TRY(head_need(s, hd, 1024));
    memcpy(&s->header, hd->bytes, sizeof(s->header));
    qcow2_header_swap(&s->header);
    TRY(check_version(s));
    const Qcow2Header *h = &s->header;
    if (h->backing_offset > 1u << h->cluster_bits)
        return qcow2_bad(s, 8, "backing file name at %#" PRIx64 ": beyond the first cluster", h->backing_offset);
    if (h->header_length > sizeof(*h)) {
        TRY(head_need(s, hd, h->header_length));
        s->header_tail = g_memdup2(hd->bytes + sizeof(*h), h->header_length - sizeof(*h));
    }
    s->cluster_bits = h->cluster_bits;          /* for what the extensions are checked against */
    s->cluster_size = 1u << h->cluster_bits;
    TRY(read_extensions(s, hd));
    TRY(check_features(s, flags));              /* after the names of features are known */
    qcow2_derive(s);
    if (h->crypt_method == QCOW2_CRYPT_LUKS && !s->crypt_ext.length)
        return qcow2_bad(s, 32, "LUKS encryption without the header extension that says where its keys are");
    TRY(check_places(s, flags));
    TRY(read_backing_name(s, hd));
    if (s->raw_data && s->node.backing_name)
        return qcow2_bad(s, 88, "a backing file and a raw external data file exclude each other");
    return NULL;
}

Err *qcow2_read_header(Qcow2 *s, unsigned flags)
{
    Head hd = { 0 };
    Err *e = read_all(s, flags, &hd);
    block_buf_free(hd.bytes);
    return e;
}

void qcow2_free_header(Qcow2 *s)
{
    while (s->unknown_exts) {
        Qcow2UnknownExt *x = s->unknown_exts;
        s->unknown_exts = x->next;
        g_free(x);
    }
    g_clear_pointer(&s->features, g_free);
    g_clear_pointer(&s->header_tail, g_free);
    g_clear_pointer(&s->bad_table, g_free);
    g_clear_pointer(&s->data_file_name, g_free);
}
