/* SPDX-License-Identifier: MIT */
/*
 * New VMDKs. A sparse extent: header, descriptor (20 sectors), a directory with
 * its tables, the same again, then grains of 64 KiB from a multiple of that on.
 * All tables are there from the beginning.
 */
#include <errno.h>
#include <string.h>

#include "block/vmdk/vmdk.h"

enum {
    GRAIN = 128, GTES = 512, DESC_AT = 1, DESC_SIZE = 20,       /* sectors; GTES: entries */
    TABLE = GTES * 4 / VMDK_SECTOR,
};
#define SPLIT (UINT64_C(2) << 30)

static const char *const subformat_names[] = {
    "monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized", NULL
};

const Field vmdk_create_fields[] = {
    PROP(VmdkCreate, adapter_type, .as = "adapter_type",
         .doc = "Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX"),
    PROP(VmdkCreate, backing_file, .as = "backing_file", .doc = "File name of a base image"),
    PROP(VmdkCreate, backing_fmt, .as = "backing_fmt", .doc = "Must be 'vmdk' if present"),
    PROP(VmdkCreate, compat6, .as = "compat6", .def = "off", .doc = "VMDK version 6 image"),
    PROP(VmdkCreate, hwversion, .as = "hwversion", .def = "undefined", .doc = "VMDK hardware version"),
    PROP(VmdkCreate, toolsversion, .as = "toolsversion", .doc = "VMware guest tools version"),
    PROP(VmdkCreate, subformat, .names = subformat_names,
         .doc = "VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | "
                "twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} "),
    PROP(VmdkCreate, zeroed_grain, .as = "zeroed_grain",
         .doc = "Enable efficient zero writes using the zeroed-grain GTE feature"),
    {0}
};

/* What is asked for, checked. */
typedef struct Plan {
    BlockGraph *g;
    const VmdkCreate *c;
    uint64_t size;              /* bytes, whole sectors */
    const char *adapter, *hwversion, *toolsversion;
    uint32_t parent_cid;
    const char *backing;        /* or NULL */
    char *folder, *stem, *suffix;       /* of the file's name: "dir/", "disk", ".vmdk" */
} Plan;

static bool is_flat(const Plan *p)
{
    return p->c->subformat == VMDK_SUB_MONO_FLAT || p->c->subformat == VMDK_SUB_2GB_FLAT;
}

static bool is_split(const Plan *p)
{
    return p->c->subformat == VMDK_SUB_2GB_SPARSE || p->c->subformat == VMDK_SUB_2GB_FLAT;
}

/* ---- sparse extents */

/* Two copies of `tables` tables and what names them; returns the sector behind them. */
static Err *put_tables(Disk *d, uint64_t at, uint64_t tables)
{
    uint64_t dir = div_up(tables * 4, VMDK_SECTOR);
    g_autofree uint8_t *gd = try_alloc(dir * VMDK_SECTOR, 1);

    if (!gd)
        return err_errno(ENOMEM, "a directory of %" PRIu64 " tables", tables);
    for (uint64_t i = 0; i < tables; i++)
        st_le32(gd + i * 4, at + dir + i * TABLE);
    return tables ? maker_put(d, at * VMDK_SECTOR, gd, dir * VMDK_SECTOR) : NULL;
}

static Err *put_sparse(const Plan *p, Disk *d, uint64_t size, const char *desc)
{
    bool stream = p->c->subformat == VMDK_SUB_STREAM;
    uint64_t capacity = size / VMDK_SECTOR, tables = div_up(div_up(capacity, GRAIN), GTES);
    uint64_t copy = div_up(tables * 4, VMDK_SECTOR) + tables * TABLE;
    uint64_t rgd = DESC_AT + DESC_SIZE, gd = rgd + copy, grains = round_up(gd + copy, GRAIN);
    uint8_t h[VMDK_HEADER] = "KDMV";

    if (tables * 4 > TABLE_MAX / 4 || grains > UINT32_MAX)
        return err(ERR_UNSUPPORTED, "a sparse VMDK of %" PRIu64 " bytes would need more tables than it can name", size);
    if (desc && strlen(desc) > DESC_SIZE * VMDK_SECTOR)
        return err(ERR_INVALID, "the descriptor does not fit: the names in it are too long");
    st_le32(h + SH_VERSION, stream ? 3 : p->c->zeroed_grain ? 2 : 1);
    st_le32(h + SH_FLAGS, SF_NEWLINES | SF_REDUNDANT | (stream ? SF_COMPRESSED | SF_MARKERS : 0) |
            (p->c->zeroed_grain ? SF_ZEROED : 0));
    st_le64(h + SH_CAPACITY, capacity);
    st_le64(h + SH_GRAIN, GRAIN);
    st_le64(h + SH_DESC_OFFSET, DESC_AT);
    st_le64(h + SH_DESC_SIZE, DESC_SIZE);
    st_le32(h + SH_GTES, GTES);
    st_le64(h + SH_RGD, rgd);
    st_le64(h + SH_GD, gd);
    st_le64(h + SH_OVERHEAD, grains);
    memcpy(h + SH_NEWLINES, "\n \r\n", 4);
    st_le16(h + SH_COMPRESSION, stream);

    TRY(maker_put(d, 0, h, sizeof(h)));
    if (desc)
        TRY(maker_put(d, DESC_AT * VMDK_SECTOR, desc, strlen(desc)));
    TRY(put_tables(d, rgd, tables));
    TRY(put_tables(d, gd, tables));
    return disk_resize(d, grains * VMDK_SECTOR, false, (Preallocation){ PREALLOC_OFF }, 0);
}

/* ---- files beside the descriptor */

static Err *make_extent_file(const Plan *p, const char *name, uint64_t size)
{
    g_autofree char *path = g_strconcat(p->folder, name, NULL);
    CreateRequest r = { .filename = path, .format = "raw", .size = is_flat(p) ? size : 0 };
    BlockNode *file;
    Disk *d;

    TRY(image_create(p->g, &r, NULL));
    if (is_flat(p))
        return NULL;
    json_t *o = json_pack("{s:s,s:s}", "driver", "file", "filename", path);
    Err *e = o ? node_open(p->g, o, OPEN_RW | OPEN_RESIZE, &file) : err(ERR_INVALID, "the name '%s' is not UTF-8", path);
    json_decref(o);
    if (e)
        return e;
    e = maker_open(file, 0, &d);
    if (!e)
        e = maker_close(d, put_sparse(p, d, size, NULL));
    node_unref(file);
    return err_in(e, "%s", path);
}

static Err *make_extents(const Plan *p, GString *lines)
{
    uint64_t done = 0;
    unsigned n = 0;

    do {
        uint64_t len = is_split(p) ? MIN(p->size - done, SPLIT) : p->size;
        g_autofree char *name = is_split(p)
            ? g_strdup_printf("%s-%c%03u%s", p->stem, is_flat(p) ? 'f' : 's', ++n, p->suffix)
            : g_strdup_printf("%s-flat%s", p->stem, p->suffix);

        if (n >= VMDK_EXTENTS_MAX)
            return err(ERR_UNSUPPORTED, "more than %d extents of 2 GiB would be needed", VMDK_EXTENTS_MAX);
        TRY(make_extent_file(p, name, len));
        g_string_append_printf(lines, "RW %" PRIu64 " %s \"%s\"%s\n", len / VMDK_SECTOR,
                               is_flat(p) ? "FLAT" : "SPARSE", name, is_flat(p) ? " 0" : "");
        done += len;
    } while (done < p->size);
    return NULL;
}

/* ---- the descriptor */

static char *descriptor(const Plan *p, const char *lines)
{
    unsigned heads = !strcmp(p->adapter, "ide") ? 16 : 255;
    g_autofree char *hint = p->backing ? g_strdup_printf("parentFileNameHint=\"%s\"", p->backing) : g_strdup("");
    uint32_t cid;

    do {
        random_bytes(&cid, sizeof(cid));
    } while (cid == VMDK_NO_CID);
    return g_strdup_printf("# Disk DescriptorFile\nversion=1\nCID=%08" PRIx32 "\nparentCID=%08" PRIx32 "\n"
                           "createType=\"%s\"\n%s\n# Extent description\n%s\n# The Disk Data Base\n#DDB\n\n"
                           "ddb.virtualHWVersion = \"%s\"\nddb.geometry.cylinders = \"%" PRIu64 "\"\n"
                           "ddb.geometry.heads = \"%u\"\nddb.geometry.sectors = \"63\"\nddb.adapterType = \"%s\"\n"
                           "ddb.toolsVersion = \"%s\"\n",
                           cid, p->parent_cid, subformat_names[p->c->subformat], hint, lines, p->hwversion,
                           p->size / VMDK_SECTOR / (63 * heads), heads, p->adapter, p->toolsversion);
}

/* ---- what is asked for */

/* A word that stands between quotes in the descriptor. */
static Err *check_word(const char *what, const char *word)
{
    if (strpbrk(word, "\"\r\n"))
        return err(ERR_INVALID, "%s '%s' has a quote or a newline, which a VMDK's descriptor cannot hold", what, word);
    return NULL;
}

static Err *check_options(Plan *p, const CreateOptions *o)
{
    static const char *const adapters[] = { "ide", "lsilogic", "buslogic", "legacyESX", NULL };
    const VmdkCreate *c = p->c;
    bool hw = c->hwversion && strcmp(c->hwversion, "undefined");

    p->adapter = c->adapter_type ? c->adapter_type : "ide";
    if (!g_strv_contains(adapters, p->adapter)) {
        const char *near = nearest_name(p->adapter, adapters);

        return err_hint(err(ERR_INVALID, "invalid parameter value: %s", p->adapter),
                        near ? "did you mean adapter_type=%s?" : "adapter_type is ide, lsilogic, buslogic or legacyESX%s",
                        near ? near : "");
    }
    if (c->compat6 && hw)
        return err(ERR_INVALID, "compat6 cannot be enabled with hwversion set");
    p->hwversion = hw ? c->hwversion : c->compat6 ? "6" : "4";
    p->toolsversion = c->toolsversion ? c->toolsversion : "2147483647";
    TRY(check_word("hwversion", p->hwversion));
    TRY(check_word("toolsversion", p->toolsversion));
    TRY(check_word("the file's name", p->stem));
    TRY(check_word("the file's name", p->suffix));
    if (is_flat(p) && o->backing)
        return err_hint(err(ERR_INVALID, "Flat image can't have backing file"), "take subformat=monolithicSparse");
    if (is_flat(p) && c->zeroed_grain)
        return err(ERR_INVALID, "Flat image can't enable zeroed grain");
    if (c->subformat == VMDK_SUB_STREAM && c->zeroed_grain)
        return err(ERR_INVALID, "streamOptimized and zeroed_grain do not go together");
    return NULL;
}

static Err *read_parent(Plan *p, const CreateOptions *o)
{
    bool absolute = *o->backing == '/' || o->backing[strcspn(o->backing, ":/")] == ':';
    g_autofree char *full = absolute ? g_strdup(o->backing) : g_strconcat(p->folder, o->backing, NULL);
    json_t *opts = NULL;
    BlockNode *b;

    TRY(check_word("backing file", o->backing));
    if (o->backing_format && strcmp(o->backing_format, "vmdk"))
        return err(ERR_INVALID, "backing_file must be a vmdk image");
    TRY(options_from_name(full, NULL, &opts));
    Err *e = node_open(p->g, opts, OPEN_NO_BACKING, &b);
    json_decref(opts);
    if (e)
        return e;
    if (strcmp(node_format(b), "vmdk"))
        e = err(ERR_INVALID, "backing_file must be a vmdk image");
    else
        p->parent_cid = ((Vmdk *)b)->desc.cid;
    node_unref(b);
    p->backing = o->backing;
    return e;
}

static void split_name(Plan *p, const char *filename)
{
    const char *slash = strrchr(filename, '/'), *base = slash ? slash + 1 : filename, *dot = strrchr(base, '.');

    p->folder = g_strndup(filename, base - filename);
    p->stem = dot ? g_strndup(base, dot - base) : g_strdup(base);
    p->suffix = g_strdup(dot ? dot : "");
}

static Err *make(Plan *p, const CreateOptions *o, BlockNode *file)
{
    g_autoptr(GString) lines = g_string_new(NULL);
    g_autofree char *desc = NULL;
    bool mono = p->c->subformat == VMDK_SUB_MONO_SPARSE || p->c->subformat == VMDK_SUB_STREAM;
    Disk *d;

    TRY(check_options(p, o));
    if (o->backing)
        TRY(read_parent(p, o));
    if (mono)
        g_string_append_printf(lines, "RW %" PRIu64 " SPARSE \"%s%s\"\n", p->size / VMDK_SECTOR, p->stem, p->suffix);
    else
        TRY(make_extents(p, lines));
    desc = descriptor(p, lines->str);
    TRY(maker_open(file, 0, &d));
    return maker_close(d, mono ? put_sparse(p, d, p->size, desc) : maker_put(d, 0, desc, strlen(desc)));
}

static void plan_free(Plan *p)
{
    g_free(p->folder);
    g_free(p->stem);
    g_free(p->suffix);
}

Err *vmdk_check_create(BlockGraph *g, const CreateOptions *o, const void *opts)
{
    Plan p = { .g = g, .c = opts, .size = round_up(o->size, VMDK_SECTOR) };

    split_name(&p, o->filename);
    Err *e = check_options(&p, o);
    plan_free(&p);
    return e;
}

Err *vmdk_create(BlockGraph *g, const CreateOptions *o, const void *opts, BlockNode *file)
{
    Plan p = { .g = g, .c = opts, .size = round_up(o->size, VMDK_SECTOR), .parent_cid = VMDK_NO_CID };

    split_name(&p, o->filename);
    Err *e = make(&p, o, file);
    plan_free(&p);
    return e;
}
