/* SPDX-License-Identifier: MIT */
/*
 * VMDK: open, info, close, the driver's row. See vmdk.h.
 *
 * Extents are files in the descriptor's folder or below it. Another name needs
 * the user's word (extents.N.filename=..): an image from elsewhere shall not
 * say which files of this host are read.
 */
#include <errno.h>

#include "block/vmdk/vmdk.h"

static int vmdk_probe(const uint8_t *head, size_t len, const char *filename)
{
    if (len < 4)
        return 0;
    if (!memcmp(head, "KDMV", 4) || !memcmp(head, "COWD", 4))
        return 100;
    return (head[0] == '#' || head[0] == '\n' || head[0] == '\r' || head[0] == ' ' || head[0] == 'v') &&
           vmdk_is_desc(head, len) ? 100 : 0;
}

/* ---- one extent */

static Err *check_name(const char *name)
{
    g_auto(GStrv) parts = g_strsplit(name, "/", -1);
    bool out = *name == '/';

    for (unsigned i = 0; parts[i]; i++)
        out |= !strcmp(parts[i], "..");
    if (!out)
        return NULL;
    return err(ERR_INVALID, "the descriptor names a file outside its own folder, '%s'", name);
}

static Err *open_extent_file(Vmdk *s, unsigned i, const VmdkLine *l, BlockChild **out)
{
    g_autofree char *role = g_strdup_printf("extents.%u", i);
    const json_t *given = json_object_get(s->n.options, "extents");
    Err *e = given ? NULL : check_name(l->name);

    if (e)
        return err_hint(e, "if that is meant: %s.driver=file,%s.filename=%s", role, role, l->name);
    return child_open_named(&s->n, l->name, role, out);
}

static Err *open_sparse(Vmdk *s, VmdkExtent *e)
{
    uint8_t head[VMDK_HEADER];
    int ret = child_pread_padded(e->file, 0, head, sizeof(head));

    if (ret < 0)
        return err_errno(-ret, "cannot read '%s'", node_path(e->file->node));
    if (!memcmp(head, "KDMV", 4))
        return vmdk_sparse_open(s, e, head);
    if (!memcmp(head, "COWD", 4))
        return vmdk_cowd_open(s, e, head);
    return err(ERR_INVALID, "'%s' is no sparse extent", node_path(e->file->node));
}

static Err *open_flat(Vmdk *s, VmdkExtent *e, const VmdkLine *l)
{
    uint64_t size = child_size(e->file);

    e->kind = VMDK_FLAT;
    e->flat = l->offset * VMDK_SECTOR;
    if (e->flat > size || e->len > size - e->flat)
        return err(ERR_INVALID, "the extent '%s' has %" PRIu64 " bytes, the descriptor says that it has %" PRIu64,
                   node_path(e->file->node), size, e->flat + e->len);
    return NULL;
}

static Err *open_line(Vmdk *s, unsigned i, const VmdkLine *l, VmdkExtent *e)
{
    static const char *const flat[] = { "FLAT", "VMFS", NULL }, *const sparse[] = { "SPARSE", "VMFSSPARSE", NULL };

    e->type = g_strdup(l->type);
    if (!strcmp(l->type, "ZERO")) {
        e->kind = VMDK_ZERO;
        return NULL;
    }
    e->rdonly = l->access != VMDK_RW;
    if (l->access == VMDK_NOACCESS)
        return err(ERR_INVALID, "extent %u is marked NOACCESS", i);
    bool is_sparse = g_strv_contains(sparse, l->type), is_se = !strcmp(l->type, "SESPARSE");
    if (!is_sparse && !is_se && !g_strv_contains(flat, l->type))
        return err(ERR_UNSUPPORTED, "Unsupported extent type '%s'", l->type);
    if (!l->name || !*l->name)
        return err(ERR_INVALID, "extent %u has no file name", i);
    TRY(open_extent_file(s, i, l, &e->file));
    if (is_se)
        return vmdk_sesparse_open(s, e);
    return is_sparse ? open_sparse(s, e) : open_flat(s, e, l);
}

/* ---- the descriptor */

static Err *read_desc(Vmdk *s, uint64_t off, uint64_t len)
{
    g_autofree char *text = NULL;
    int ret;

    if (len > VMDK_DESC_MAX)
        return err(ERR_UNSUPPORTED, "the VMDK's descriptor has %" PRIu64 " bytes; at most %d are supported",
                   len, VMDK_DESC_MAX);
    text = g_malloc0(len + 1);
    ret = child_pread_padded(s->n.file, off, text, len);
    if (ret < 0)
        return err_errno(-ret, "cannot read the VMDK's descriptor");
    s->desc_off = off;
    s->desc_size = len;
    TRY(vmdk_desc_parse(text, &s->desc));
    if (s->desc.parent_cid == VMDK_NO_CID)
        return NULL;
    if (!s->desc.parent || !*s->desc.parent)
        return err(ERR_INVALID, "invalid VMDK image descriptor: it has a parent (parentCID) but no parentFileNameHint");
    s->n.backing_name = g_strdup(s->desc.parent);
    s->n.backing_format = g_strdup("vmdk");
    return NULL;
}

static Err *check_type(const char *type)
{
    static const char *const devices[] = { "fullDevice", "partitionedDevice", "vmfsRaw", "vmfsRDM", "vmfsRDMP",
                                           "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap", NULL };

    if (!g_strv_contains(devices, type))
        return NULL;
    return err_hint(err(ERR_UNSUPPORTED, "Unsupported image type '%s': it stands for a device of its host", type),
                    "use the device itself, as raw");
}

static Err *open_extents(Vmdk *s)
{
    uint64_t at = 0;

    TRY(check_type(s->desc.create_type));
    s->extents = g_new0(VmdkExtent, s->desc.lines->len + 1);
    for (unsigned i = 0; i < s->desc.lines->len; i++) {
        VmdkLine *l = &g_array_index(s->desc.lines, VmdkLine, i);
        VmdkExtent *e = &s->extents[s->count];

        if (!l->sectors)
            continue;
        s->count++;
        e->start = at;
        e->len = l->sectors * VMDK_SECTOR;
        TRY(open_line(s, i, l, e));
        if (at > BLOCK_MAX_SIZE - e->len)
            return err(ERR_INVALID, "the VMDK's extents together are larger than a disk can be");
        at += e->len;
    }
    s->n.size = at;
    return NULL;
}

/* The one extent is the file itself, with the descriptor in it. */
static Err *open_monolithic(Vmdk *s, const uint8_t *head)
{
    bool cowd = !memcmp(head, "COWD", 4);
    VmdkExtent *e;

    s->extents = g_new0(VmdkExtent, 1);
    s->count = 1;
    e = &s->extents[0];
    e->file = s->n.file;
    e->type = g_strdup("");
    e->len = UINT64_MAX;
    TRY(cowd ? vmdk_cowd_open(s, e, head) : vmdk_sparse_open(s, e, head));
    s->n.size = e->len;
    if (cowd) {
        s->desc = (VmdkDesc){ .parent_cid = VMDK_NO_CID, .create_type = g_strdup("vmfsSparse") };
        return NULL;
    }
    uint64_t off = ld_le64(head + SH_DESC_OFFSET), len = ld_le64(head + SH_DESC_SIZE);
    if (!off || !len) {         /* one extent of several, by itself */
        s->desc = (VmdkDesc){ .parent_cid = VMDK_NO_CID, .create_type = g_strdup("monolithicSparse") };
        return NULL;
    }
    if (off > BLOCK_MAX_SIZE / VMDK_SECTOR || len > VMDK_DESC_MAX / VMDK_SECTOR)
        return err(ERR_INVALID, "the VMDK's descriptor (sector %" PRIu64 ", %" PRIu64 " sectors) is beyond what can be",
                   off, len);
    return read_desc(s, off * VMDK_SECTOR, len * VMDK_SECTOR);
}

static Err *check_writable(Vmdk *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        VmdkExtent *e = &s->extents[i];

        if (e->kind == VMDK_ZERO || e->rdonly)
            return err_hint(err(ERR_UNSUPPORTED, "extent %u of the VMDK is %s", i,
                                e->rdonly ? "marked read-only" : "a ZERO one, which cannot be written"),
                            "open it read-only, or make a copy with 'convert'");
        if (vmdk_is_sparse(e))
            TRY(vmdk_sparse_writable(e));
    }
    return NULL;
}

static Err *vmdk_open(BlockNode *n)
{
    Vmdk *s = (Vmdk *)n;
    uint8_t head[VMDK_HEADER];
    int ret = child_pread_padded(n->file, 0, head, sizeof(head));
    Err *e;

    if (ret < 0)
        return err_errno(-ret, "cannot read the VMDK's beginning");
    bool hosted = !memcmp(head, "KDMV", 4);
    if ((hosted && ld_le64(head + SH_CAPACITY)) || !memcmp(head, "COWD", 4)) {
        TRY(open_monolithic(s, head));
    } else {
        uint64_t off = 0, len = child_size(n->file);

        if (hosted) {           /* nothing but a descriptor in it */
            off = ld_le64(head + SH_DESC_OFFSET);
            len = ld_le64(head + SH_DESC_SIZE);
            if (off > BLOCK_MAX_SIZE / VMDK_SECTOR || len > VMDK_DESC_MAX / VMDK_SECTOR)
                return err(ERR_INVALID, "the VMDK has no capacity, nor a descriptor");
            off *= VMDK_SECTOR;
            len *= VMDK_SECTOR;
        }
        TRY(read_desc(s, off, len));
        e = open_extents(s);
        if (e)
            return e;
    }
    n->limits.opt_transfer = s->count && vmdk_is_sparse(&s->extents[0]) ? s->extents[0].grain : n->limits.opt_transfer;
    if (s->count == 1 && s->extents[0].compressed)
        n->limits.cluster = s->extents[0].grain;
    n->zero_flags = REQ_UNMAP | REQ_NO_FALLBACK;
    return n->read_only ? NULL : check_writable(s);
}

static Err *vmdk_reopen(BlockNode *n, const void *opts, bool read_only)
{
    return n->read_only && !read_only ? check_writable((Vmdk *)n) : NULL;
}

static void vmdk_close(BlockNode *n)
{
    Vmdk *s = (Vmdk *)n;

    if (!n->read_only && vmdk_sync(s) < 0)
        err_note("%s: grain tables could not be written; the latest grains are lost", node_path(n));
    vmdk_cache_free(s);
    for (uint32_t i = 0; i < s->count; i++) {
        if (s->extents[i].file != n->file)
            child_detach(s->extents[i].file);
        vmdk_extent_clear(&s->extents[i]);
    }
    g_free(s->extents);
    g_free(s->plain);
    vmdk_desc_clear(&s->desc);
    s->extents = NULL;
    s->plain = NULL;
    s->count = 0;
}

/* All that a stream-optimized file holds is compressed. */
static int vmdk_write_compressed(BlockNode *n, uint64_t off, const IoVec *q)
{
    return n->limits.cluster ? vmdk_write(n, off, q, 0) : -ENOTSUP;
}

static int vmdk_flush(BlockNode *n)
{
    return n->read_only ? 0 : vmdk_sync((Vmdk *)n);
}

static int64_t vmdk_allocated(BlockNode *n)
{
    Vmdk *s = (Vmdk *)n;
    int64_t sum = node_allocated(n->file->node);

    for (uint32_t i = 0; i < s->count && sum >= 0; i++)
        if (s->extents[i].file && s->extents[i].file != n->file) {
            int64_t more = node_allocated(s->extents[i].file->node);

            sum = more < 0 ? more : sum + more;
        }
    return sum;
}

static json_t *extent_info(const VmdkExtent *e)
{
    json_t *o = json_object();

    if (e->compressed)
        json_object_set_new(o, "compressed", json_true());
    json_object_set_new(o, "virtual-size", json_integer(e->len));
    json_object_set_new(o, "filename", json_string(e->file ? node_filename(e->file->node) : ""));
    if (vmdk_is_sparse(e))
        json_object_set_new(o, "cluster-size", json_integer(e->grain));
    json_object_set_new(o, "format", json_string(e->type));
    return o;
}

static Err *vmdk_info(BlockNode *n, NodeInfo *out)
{
    Vmdk *s = (Vmdk *)n;
    uint64_t grain = s->count && vmdk_is_sparse(&s->extents[0]) ? s->extents[0].grain : 0;
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->count; i++) {
        json_array_append_new(list, extent_info(&s->extents[i]));
        if (!vmdk_is_sparse(&s->extents[i]) || s->extents[i].grain != grain)
            grain = 0;
    }
    out->cluster_size = grain;
    out->specific = json_pack("{s:I,s:I,s:s,s:o}", "cid", (json_int_t)s->desc.cid, "parent-cid",
                              (json_int_t)s->desc.parent_cid, "create-type", s->desc.create_type, "extents", list);
    return NULL;
}

static const char *const vmdk_own_options[] = { "extents", NULL };

BLOCK(vmdk) = {
    .name = "vmdk", .doc = "VMware virtual disk",
    .kind = DRIVER_FORMAT, .size = sizeof(Vmdk), .has_backing = true, .can_compress = true,
    .own_options = vmdk_own_options,
    .probe = vmdk_probe, .open = vmdk_open, .close = vmdk_close, .reopen = vmdk_reopen,
    .read = vmdk_read, .write = vmdk_write, .write_compressed = vmdk_write_compressed, .zero = vmdk_zero, .flush = vmdk_flush, .extent = vmdk_extent,
    .allocated = vmdk_allocated, .info = vmdk_info, .check = vmdk_check,
    .create_fields = vmdk_create_fields, .create_size = sizeof(VmdkCreate), .check_create = vmdk_check_create,
    .create = vmdk_create,
};
