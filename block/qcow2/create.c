/* SPDX-License-Identifier: MIT */
/*
 * qcow2: making an image. A new file has its header, refcount table, one
 * refcount block and the L1 table behind one another; what takes more than that
 * (preallocation, encryption, tables that one block cannot count) is done with
 * the image open. Measuring counts the same things.
 */
#include "block/qcow2/qcow2.h"

#include <string.h>

enum { ONE_WRITE = 1 << 20 };

static const char *const compressions[] = { "zlib", "zstd", NULL };

const Field qcow2_create_fields[] = {
    PROP(Qcow2Create, encrypt_format, .as = "encrypt.format", .doc = "Encrypt the image, format choices: 'aes', 'luks'"),
    PROP(Qcow2Create, encryption, .doc = "Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)"),
    PROP(Qcow2Create, encrypt_key_secret, .as = "encrypt.key-secret", .doc = "ID of secret providing qcow AES key or LUKS passphrase"),
    PROP(Qcow2Create, encrypt_cipher_alg, .as = "encrypt.cipher-alg", .doc = "Name of encryption cipher algorithm"),
    PROP(Qcow2Create, encrypt_cipher_mode, .as = "encrypt.cipher-mode", .doc = "Name of encryption cipher mode"),
    PROP(Qcow2Create, encrypt_ivgen_alg, .as = "encrypt.ivgen-alg", .doc = "Name of IV generator algorithm"),
    PROP(Qcow2Create, encrypt_ivgen_hash_alg, .as = "encrypt.ivgen-hash-alg", .doc = "Name of IV generator hash algorithm"),
    PROP(Qcow2Create, encrypt_hash_alg, .as = "encrypt.hash-alg", .doc = "Name of encryption hash algorithm"),
    PROP(Qcow2Create, encrypt_iter_time, .as = "encrypt.iter-time", .doc = "Time to spend in PBKDF in milliseconds"),
    PROP(Qcow2Create, cluster_size, .as = "cluster_size", .def = "65536", .units = true, .doc = "qcow2 cluster size"),
    PROP(Qcow2Create, extended_l2, .as = "extended_l2", .def = "off", .doc = "Extended L2 tables"),
    PROP(Qcow2Create, preallocation, .names = prealloc_names, .doc = "Preallocation mode (allowed values: off, metadata, falloc, full)"),
    PROP(Qcow2Create, compression_type, .as = "compression_type", .def = "zlib", .names = compressions,
         .doc = "Compression method used for image cluster compression"),
    PROP(Qcow2Create, size, .units = true, .doc = "Virtual disk size"),
    PROP(Qcow2Create, compat, .doc = "Compatibility level (v2 [0.10] or v3 [1.1])"),
    PROP(Qcow2Create, backing_file, .as = "backing_file", .doc = "File name of a base image"),
    PROP(Qcow2Create, backing_fmt, .as = "backing_fmt", .doc = "Image format of the base image"),
    PROP(Qcow2Create, data_file, .as = "data_file", .doc = "File name of an external data file"),
    PROP(Qcow2Create, data_file_raw, .as = "data_file_raw", .doc = "The external data file must stay valid as a raw image"),
    PROP(Qcow2Create, lazy_refcounts, .as = "lazy_refcounts", .def = "off", .doc = "Postpone refcount updates"),
    PROP(Qcow2Create, refcount_bits, .as = "refcount_bits", .def = "16", .doc = "Width of a reference count entry in bits"),
    { 0 }
};

/* ---- options */

static Err *version_of(const Qcow2Create *c, uint32_t *version)
{
    *version = 3;
    if (!c->compat || !strcmp(c->compat, "1.1") || !strcmp(c->compat, "v3"))
        return NULL;
    *version = 2;
    if (!strcmp(c->compat, "0.10") || !strcmp(c->compat, "v2"))
        return NULL;
    return err_hint(err(ERR_INVALID, "Parameter 'version' does not accept value '%s'", c->compat),
                    "compat is one of: 0.10 (or v2), 1.1 (or v3).");
}

static Err *check_v2(const Qcow2Create *c)
{
    static const char how[] = "with compatibility level 1.1 and above (use version=v3 or greater)";
    if (c->refcount_bits != 16)
        return err(ERR_INVALID, "Different refcount widths than 16 bits require compatibility level 1.1 or above "
                   "(use version=v3 or greater)");
    if (c->lazy_refcounts)
        return err(ERR_INVALID, "Lazy refcounts only supported %s", how);
    if (c->extended_l2)
        return err(ERR_INVALID, "Extended L2 entries are only supported %s", how);
    if (c->compression_type)
        return err(ERR_INVALID, "Non-zlib compression type is only supported %s", how);
    return c->data_file ? err(ERR_INVALID, "External data files are only supported %s", how) : NULL;
}

static Err *check_options(const Qcow2Create *c, bool backing, uint32_t *version)
{
    TRY(version_of(c, version));
    if (c->cluster_size < 512 || c->cluster_size > 2 << 20 || c->cluster_size & (c->cluster_size - 1))
        return err(ERR_INVALID, "Cluster size must be a power of two between 512 and 2048k");
    if (!c->refcount_bits || c->refcount_bits > 64 || c->refcount_bits & (c->refcount_bits - 1))
        return err(ERR_INVALID, "Refcount width must be a power of two and may not exceed 64 bits");
    if (*version < 3)
        TRY(check_v2(c));
    if (c->extended_l2 && c->cluster_size < 16384)
        return err(ERR_INVALID, "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
    if (c->preallocation != PREALLOC_OFF && backing && !c->extended_l2)
        return err(ERR_INVALID, "Backing file and preallocation can only be used at the same time if extended_l2 is on");
    if (c->data_file_raw && !c->data_file)
        return err(ERR_INVALID, "data-file-raw requires data-file");
    if (c->data_file_raw && backing)
        return err(ERR_INVALID, "Backing file and data-file-raw cannot be used at the same time");
    if (c->encryption && c->encrypt_format)
        return err(ERR_INVALID, "Options encryption and encrypt.format are mutually exclusive");
    if (c->encryption || (c->encrypt_format && !strcmp(c->encrypt_format, "aes")))
        return err_hint(err(ERR_UNSUPPORTED, "AES-CBC encryption of qcow2 images is broken by design; no new ones are made"),
                        "encrypt.format=luks is what replaces it.");
    return qcow2_crypt_check(c);
}

Err *qcow2_options_header(const Qcow2Create *c, uint64_t size, Qcow2 *s)
{
    Qcow2Header *h = &s->header;
    uint32_t version;
    TRY(check_options(c, s->node.backing_name, &version));
    *h = (Qcow2Header){
        .magic = QCOW2_MAGIC, .version = version, .size = size, .cluster_bits = __builtin_ctzll(c->cluster_size),
        .refcount_order = __builtin_ctzll(c->refcount_bits), .compression_type = c->compression_type,
        .incompatible = (c->data_file ? QCOW2_INCOMPAT_DATA_FILE : 0) | (c->compression_type ? QCOW2_INCOMPAT_COMPRESSION : 0) |
                        (c->extended_l2 ? QCOW2_INCOMPAT_EXTENDED_L2 : 0),
        .compatible = c->lazy_refcounts ? QCOW2_COMPAT_LAZY : 0, .autoclear = c->data_file_raw ? QCOW2_AUTOCLEAR_RAW : 0,
        .header_length = version < 3 ? QCOW2_V2_LENGTH : sizeof(*h),
    };
    qcow2_derive(s);
    uint64_t entries = size ? ((size - 1) >> qcow2_l1_shift(s)) + 1 : 0;
    if (entries > QCOW2_MAX_L1_BYTES / 8)
        return err(ERR_INVALID, "The image size is too large for file format 'qcow2' (try using a larger cluster size)");
    return NULL;
}

/* ---- the bytes of a new file */

/* Places for the tables; false: one refcount block cannot count them, and the image begins with a disk of no bytes. */
static bool place_tables(Qcow2 *s)
{
    Qcow2Header *h = &s->header;
    uint64_t l1 = h->size ? ((h->size - 1) >> qcow2_l1_shift(s)) + 1 : 0;
    uint64_t clusters = 3 + (qcow2_cluster_up(s, l1 * 8) >> s->cluster_bits);
    h->refcount_table_offset = s->cluster_size;
    h->refcount_table_clusters = 1;
    h->l1_offset = 3 * (uint64_t)s->cluster_size;
    h->l1_size = l1;
    return clusters <= UINT64_C(1) << s->rb_bits;
}

/* Header, table, block and the L1 table's end, into zeroed memory or behind one another into the file. */
typedef struct Out { Disk *d; uint8_t *all; } Out;

static int put(const Out *o, uint64_t off, const void *buf, size_t len)
{
    if (!o->all)
        return disk_write(o->d, off, &IOV_BUF(buf, len), 0);
    memcpy(o->all + off, buf, len);
    return 0;
}

static int put_tables(const Qcow2 *s, const Out *o, uint8_t *buf)
{
    uint64_t l1 = (uint64_t)s->header.l1_size * 8, clusters = 3 + (qcow2_cluster_up(s, l1) >> s->cluster_bits);
    uint64_t block = 2 * (uint64_t)s->cluster_size, be = htobe64(block);
    memset(buf, 0, s->cluster_size);
    for (uint64_t i = 0; i < clusters; i++)
        qcow2_refcount_poke(s, buf, i, 1);
    int ret = put(o, block, buf, MIN(s->cluster_size, (clusters * s->refcount_bits / 8 + 512) / 512 * 512));
    if (!ret)
        ret = put(o, s->cluster_size, &be, sizeof(be));
    be = 0;
    if (!ret && l1)
        ret = put(o, s->header.l1_offset + l1 - sizeof(be), &be, sizeof(be));
    return ret;
}

/* All of it in one write; where that would be long, the clusters are zeroed and the little that is in them written. */
static Err *write_parts(Qcow2 *s, Disk *d)
{
    uint64_t len = 3 * (uint64_t)s->cluster_size + (uint64_t)s->header.l1_size * 8;
    Out o = { .d = d, .all = len <= ONE_WRITE ? g_malloc0(len) : NULL };
    g_autofree uint8_t *buf = g_try_malloc(s->cluster_size), *all = o.all;
    size_t header;
    if (!buf)
        return err(ERR_IO, "no memory for a cluster of %u bytes", s->cluster_size);
    TRY(qcow2_header_bytes(s, buf, &header));
    int ret = all ? 0 : disk_zero(d, 0, 3 * (uint64_t)s->cluster_size, 0);
    if (!ret)
        ret = put(&o, 0, buf, header);
    if (!ret)
        ret = put_tables(s, &o, buf);
    if (!ret && all)
        ret = disk_write(d, 0, &IOV_BUF(all, len), 0);
    return ret ? err_errno(-ret, "Could not write qcow2 header and tables") : NULL;
}

static Err *write_image(Qcow2 *s, BlockNode *file)
{
    Disk *d = NULL;
    Err *e = disk_new(file, PERM_WRITE | PERM_RESIZE, PERM_CONSISTENT_READ, "create", &d);
    if (!e) {
        disk_set_growing(d, true);
        e = write_parts(s, d);
    }
    disk_free(d);
    return e;
}

/* ---- with the image open */

static Err *finish(Qcow2 *s, const Qcow2Create *c, uint64_t size)
{
    if (c->encrypt_format) {
        TRY(qcow2_crypt_create(s, c));
        TRY(qcow2_update_header(s));
    }
    if (size == s->header.size)
        return NULL;
    Preallocation p = { c->preallocation };
    return qcow2_resize(&s->node, size, true, p);
}

static Err *open_and_finish(BlockGraph *g, const Qcow2Create *c, uint64_t size, BlockNode *file)
{
    BlockNode *n = NULL;
    json_t *o = json_pack("{s:s,s:s}", "driver", "qcow2", "file", node_name(file));
    Err *e = node_open(g, o, OPEN_RW | OPEN_RESIZE | OPEN_NO_BACKING, &n);
    json_decref(o);
    if (e)
        return e;
    e = finish(qcow2_of(n), c, size);
    node_unref(n);
    return e;
}

/* The data file, next to the image if its name is relative. */
static Err *create_data_file(BlockGraph *g, const CreateOptions *o, const Qcow2Create *c, uint64_t size)
{
    const char *slash = strrchr(o->filename, '/');
    g_autofree char *path = *c->data_file == '/' || !slash ? g_strdup(c->data_file)
                          : g_strdup_printf("%.*s%s", (int)(slash + 1 - o->filename), o->filename, c->data_file);
    const CreateRequest r = { .filename = path, .format = "raw", .size = size };
    if (strlen(c->data_file) > QCOW2_MAX_NAME)
        return err(ERR_INVALID, "the data file's name is longer than %u bytes", QCOW2_MAX_NAME);
    return err_in(image_create(g, &r, NULL), "data file '%s'", path);
}

Err *qcow2_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file)
{
    const Qcow2Create *c = opts;
    uint64_t size = (o->size + 511) & ~UINT64_C(511);
    Qcow2 s = { .node.backing_name = (char *)o->backing, .node.backing_format = (char *)o->backing_format,
                .data_file_name = c->data_file };
    TRY(qcow2_options_header(c, size, &s));
    bool plain = place_tables(&s) && c->preallocation == PREALLOC_OFF && !c->encrypt_format && !c->data_file_raw;
    if (!plain) {
        s.header.size = 0;
        s.header.l1_size = 0;
    }
    if (c->data_file)
        TRY(create_data_file(g, o, c, size));
    TRY(write_image(&s, file));
    return plain ? NULL : open_and_finish(g, c, size, file);
}

/* ---- measuring */

static uint64_t div_up(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

/* Clusters of refcount table and blocks that count `clusters` and themselves. */
static uint64_t refcount_clusters(const Qcow2 *s, uint64_t clusters)
{
    uint64_t blocks = 0, table = 0, was;
    do {
        was = blocks + table;
        blocks = div_up(clusters + was, UINT64_C(1) << s->rb_bits);
        table = div_up(blocks * 8, s->cluster_size);
    } while (blocks + table != was);
    return was;
}

uint64_t qcow2_full_size(const Qcow2 *s, uint64_t size)
{
    uint64_t data = qcow2_cluster_up(s, size) >> s->cluster_bits;
    uint64_t l2 = div_up(data, UINT64_C(1) << s->l2_bits), l1 = div_up(l2 * 8, s->cluster_size);
    uint64_t clusters = 1 + l1 + l2 + data;
    return (clusters + refcount_clusters(s, clusters)) << s->cluster_bits;
}

/* Bytes of the source's data in whole clusters of the image to be. */
static int source_data(const Qcow2 *s, BlockNode *source, uint64_t *out)
{
    uint64_t size = node_size(source), off = 0;
    *out = 0;
    while (off < size) {
        Extent x;
        int ret = node_extent_above(source, NULL, false, off, size - off, &x);
        if (!ret && x.flags & EXTENT_RECURSE)
            ret = node_extent_above(source, NULL, true, off, size - off, &x);
        if (ret)
            return ret;
        if (!(x.flags & EXTENT_ZERO) && x.flags & EXTENT_DATA) {
            x.len = qcow2_cluster_up(s, off + x.len) - off;
            *out += qcow2_in_cluster(s, off) + x.len;
        }
        off += x.len;
    }
    return 0;
}

Err *qcow2_measure(const void *opts, BlockNode *source, uint64_t size, Measure *out)
{
    const Qcow2Create *c = opts;
    Qcow2 s = { .node.backing_name = c->backing_file };
    uint64_t data = 0, luks = 0;
    size = (size + 511) & ~UINT64_C(511);
    TRY(qcow2_options_header(c, size, &s));
    if (c->encrypt_format)
        TRY(qcow2_crypt_measure(c, &luks));
    int ret = source ? source_data(&s, source, &data) : 0;
    if (ret)
        return err_errno(-ret, "Unable to get block status");
    if (c->preallocation == PREALLOC_FULL || c->preallocation == PREALLOC_FALLOC)
        data = qcow2_cluster_up(&s, size);
    if (source && s.header.version >= 3 && !strcmp(node_format(source), "qcow2") && qcow2_of(source)->header.version >= 3) {
        out->has_bitmaps = true;
        TRY(qcow2_bitmaps_measure(source, s.cluster_size, &out->bitmaps));
    }
    out->fully_allocated = qcow2_full_size(&s, size) + qcow2_cluster_up(&s, luks);
    out->required = out->fully_allocated - qcow2_cluster_up(&s, size) + MIN(data, qcow2_cluster_up(&s, size));
    return NULL;
}
