/* SPDX-License-Identifier: MIT */
/*
 * Disk images: the input is a file in memory, in one format (-DFUZZ_FORMAT);
 * everything that can be asked of it is: opening by probing and by name, sizes,
 * extents, data, snapshots, check; then, in a copy that may be written, check
 * with repair, writes, zeroes, snapshots, another size.
 *
 * No file of the host is touched: the only protocol here is "file", in memory.
 * Files beside the image (a VMDK's extents, a data file, a backing file) hold
 * what follows the first line "====" of the input.
 *
 * A VHDX has its parts far apart, and checksums: its input is a few windows of
 * the file, one behind the other (see `windows`), and checksums are made right
 * before it is opened. A VHD's are, too.
 */
#include "block/driver.h"
#include "block/format.h"
#include "block/objects.h"
#include "block/vhdx/vhdx.h"
#include "tests/fuzz/fuzz.h"

/* ---- files in memory: pages that are not there are zero */

enum { PAGE = 4096, MOST_PAGES = 16384 };

typedef struct MemFile {
    char *name;
    GHashTable *pages;          /* number -> PAGE bytes */
    uint64_t size;
    struct MemFile *next;
} MemFile;

typedef struct MemNode {
    BlockNode n;
    char *path;
    MemFile *f;
} MemNode;

static MemFile *files;

static const Field mem_fields[] = { PROP(MemNode, path, .as = "filename"), {0} };

static MemFile *file_find(const char *name)
{
    for (MemFile *f = files; f; f = f->next)
        if (!strcmp(f->name, name))
            return f;
    return NULL;
}

static uint8_t *page(MemFile *f, uint64_t number, bool make)
{
    uint8_t *p = g_hash_table_lookup(f->pages, (gpointer)number);

    if (!p && make && g_hash_table_size(f->pages) < MOST_PAGES) {
        p = g_malloc0(PAGE);
        g_hash_table_insert(f->pages, (gpointer)number, p);
    }
    return p;
}

static bool file_put(MemFile *f, uint64_t off, const uint8_t *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        size_t in = (off + done) % PAGE, step = MIN(len - done, PAGE - in);
        uint8_t *p = page(f, (off + done) / PAGE, true);

        if (!p)
            return false;
        memcpy(p + in, bytes + done, step);
        done += step;
    }
    f->size = MAX(f->size, off + len);
    return true;
}

static void file_get(MemFile *f, uint64_t off, uint8_t *bytes, size_t len)
{
    for (size_t done = 0; done < len;) {
        size_t in = (off + done) % PAGE, step = MIN(len - done, PAGE - in);
        uint8_t *p = page(f, (off + done) / PAGE, false);

        if (p)
            memcpy(bytes + done, p + in, step);
        else
            memset(bytes + done, 0, step);
        done += step;
    }
}

static MemFile *file_new(const char *name, const uint8_t *bytes, size_t len)
{
    MemFile *f = g_new0(MemFile, 1);

    *f = (MemFile){ g_strdup(name), g_hash_table_new_full(NULL, NULL, NULL, g_free), 0, files };
    files = f;
    file_put(f, 0, bytes, len);
    return f;
}

static void files_free(void)
{
    for (MemFile *f = files, *next; f; f = next) {
        next = f->next;
        g_hash_table_destroy(f->pages);
        g_free(f->name);
        g_free(f);
    }
    files = NULL;
}

static Err *mem_open(BlockNode *n)
{
    MemNode *m = (MemNode *)n;

    m->f = m->path ? file_find(m->path) : NULL;
    if (!m->f && m->path && !g_str_has_prefix(m->path, "/missing"))
        m->f = file_find("other");
    if (!m->f)
        return err(ERR_NOT_FOUND, "no such file");
    n->size = m->f->size;
    n->zero_flags = REQ_UNMAP;
    return NULL;
}

static void mem_close(BlockNode *n)
{
}

static int mem_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    MemFile *f = ((MemNode *)n)->f;
    g_autofree uint8_t *buf = g_malloc(q->len);

    fuzz_must(off + q->len <= n->size, "a read beyond the end");
    file_get(f, off, buf, q->len);
    iov_write(q, 0, buf, q->len);
    return 0;
}

static int mem_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    MemFile *f = ((MemNode *)n)->f;
    g_autofree uint8_t *buf = g_malloc(q->len);

    fuzz_must(!n->read_only, "a write to a file that is open to be read");
    iov_read(q, 0, buf, q->len);
    return file_put(f, off, buf, q->len) ? 0 : -ENOSPC;
}

static int mem_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    static const uint8_t zero[PAGE];
    MemFile *f = ((MemNode *)n)->f;
    uint64_t number, end = off + len;
    GHashTableIter i;
    gpointer key;

    fuzz_must(!n->read_only, "zeroes in a file that is open to be read");
    g_hash_table_iter_init(&i, f->pages);
    while (g_hash_table_iter_next(&i, &key, NULL)) {
        number = (uint64_t)key;
        uint64_t from = MAX(off, number * PAGE), to = MIN(end, (number + 1) * PAGE);

        if (from < to)
            file_put(f, from, zero, to - from);
    }
    f->size = MAX(f->size, end);
    return 0;
}

static Err *mem_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    MemFile *f = ((MemNode *)n)->f;

    if (len < f->size)
        mem_zero(n, len, f->size - len, 0);
    f->size = n->size = len;
    return NULL;
}

static uint64_t mem_size(BlockNode *n)
{
    return ((MemNode *)n)->f->size;
}

BLOCK(mem) = {
    .name = "file", .doc = "memory", .kind = DRIVER_PROTOCOL, .size = sizeof(MemNode), .fields = mem_fields,
    .grows = true, .open = mem_open, .close = mem_close, .read = mem_read, .write = mem_write, .zero = mem_zero,
    .resize = mem_resize, .size_now = mem_size,
};

extern const BlockDriver block_raw, block_qcow2, block_luks, block_vdi, block_vhdx, block_vmdk, block_vpc;
extern const BlockDriver block_qcow, block_qed, block_parallels, block_dmg;
const BlockDriver *const block_set[] = {
    &block_mem, &block_raw, &block_qcow2, &block_luks, &block_vdi, &block_vhdx, &block_vmdk, &block_vpc,
    &block_qcow, &block_qed, &block_parallels, &block_dmg, NULL
};

/* ---- from the input to a file */

typedef struct Window { uint32_t off, len; } Window;

/* VHDX: headers, region tables, table of blocks, metadata and its items, and last the log. */
static const Window windows[] = {
    { 0, 16 }, { 64 << 10, 96 }, { 128 << 10, 96 }, { 192 << 10, 160 }, { 2 << 20, 256 }, { 3 << 20, 320 },
    { (3 << 20) + (64 << 10), 64 }, { 1 << 20, 12 << 10 },
};

static void fix_checksum(MemFile *f, uint64_t off, size_t len, unsigned at)
{
    g_autofree uint8_t *buf = g_malloc(len);

    file_get(f, off, buf, len);
    st_le32(buf + at, vhdx_checksum(buf, len, at));
    file_put(f, off + at, buf + at, 4);
}

static void vhdx_file(MemFile *f, const uint8_t *data, size_t size)
{
    uint8_t head[16];

    f->size = 8 << 20;
    for (unsigned i = 0; size && i < G_N_ELEMENTS(windows); i++) {
        size_t len = MIN(size, windows[i].len);

        file_put(f, windows[i].off, data, len);
        data += len;
        size -= len;
    }
    fix_checksum(f, VHDX_HEADER_1, VHDX_HEADER, VH_CHECKSUM);
    fix_checksum(f, VHDX_HEADER_2, VHDX_HEADER, VH_CHECKSUM);
    fix_checksum(f, VHDX_REGION_1, VHDX_REGION_TABLE, 4);
    for (unsigned i = 0; i < 3; i++) {
        file_get(f, (1 << 20) + i * 4096, head, sizeof(head));
        uint32_t len = ld_le32(head + 8);
        if (!memcmp(head, "loge", 4) && len >= 64 && len <= 3 << 12)
            fix_checksum(f, (1 << 20) + i * 4096, len, 4);
    }
}

static void fix_vhd(MemFile *f, uint64_t off, size_t len, unsigned at)
{
    g_autofree uint8_t *p = g_malloc(len);
    uint32_t sum = 0;

    if (off > f->size || f->size - off < len)
        return;
    file_get(f, off, p, len);
    for (size_t i = 0; i < len; i++)
        sum += i < at || i >= at + 4 ? p[i] : 0;
    st_be32(p + at, ~sum);
    file_put(f, off + at, p + at, 4);
}

static void vpc_sums(MemFile *f)
{
    uint8_t at[8];

    fix_vhd(f, 0, 512, 64);
    if (f->size >= 1024)
        fix_vhd(f, f->size - 512, 512, 64);
    file_get(f, 16, at, sizeof(at));
    fix_vhd(f, ld_be64(at), 1024, 36);
}

/* The image, and what lies beside it. */
static void make_files(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memmem(data, size, "====\n", 5);
    size_t first = cut ? (size_t)(cut - data) : size;
    MemFile *f;

    files_free();
    if (!strcmp(FUZZ_FORMAT, "vhdx")) {
        f = file_new("image", NULL, 0);
        vhdx_file(f, data, size);
        return;
    }
    f = file_new("image", data, first);
    if (!strcmp(FUZZ_FORMAT, "vpc"))
        vpc_sums(f);
    if (cut)
        file_new("other", cut + 5, size - first - 5);
}

/* ---- what is asked of it */

enum { MOST_STEPS = 200, CHUNK = 32 << 10 };
static uint8_t chunk[CHUNK];

static Err *open_disk(BlockGraph *g, bool probe, unsigned flags, Disk **out)
{
    json_t *o = json_pack("{s:{s:s,s:s}}", "file", "driver", "file", "filename", "image");

    if (!probe)
        json_object_set_new(o, "driver", json_string(FUZZ_FORMAT));
    if (!probe && !strcmp(FUZZ_FORMAT, "luks"))
        json_object_set_new(o, "key-secret", json_string("sec"));
    Err *e = disk_open(g, o, flags, "fuzz", out);
    json_decref(o);
    return e;
}

static void ask_info(BlockNode *n)
{
    NodeInfo info = { 0 };
    Snapshot *list = NULL;
    unsigned count = 0;

    fuzz_error(node_info(n, &info));
    json_decref(info.specific);
    fuzz_error(node_snapshots(n, &list, &count));
    snapshots_free(list, count);
    node_allocated(n);
    node_filename(n);
}

static void ask_extents(Disk *d)
{
    uint64_t size = disk_size(d), off = 0;
    Extent x;

    for (unsigned step = 0; off < size && step < MOST_STEPS; step++) {
        if (node_extent(disk_node(d), off, size - off, &x) < 0)
            break;
        fuzz_must(x.len && x.len <= size - off, "an extent of %" PRIu64 " bytes at %" PRIu64 " of %" PRIu64,
                  x.len, off, size);
        disk_read(d, off, &IOV_BUF(chunk, MIN(CHUNK, x.len)), 0);
        off += x.len;
    }
    if (size)
        node_extent_above(disk_node(d), NULL, true, 0, size, &x);
    for (unsigned i = 0; i < 5 && size; i++)
        disk_read(d, size / 5 * i, &IOV_BUF(chunk, MIN(CHUNK, size - size / 5 * i)), 0);
}

static void ask_check(Disk *d, unsigned fix)
{
    CheckResult r = { 0 };

    if (node_check(disk_node(d), &r, fix) == 0)
        fuzz_must(r.corruptions >= 0 && r.leaks >= 0, "a check that found less than nothing");
}

static void change(Disk *d)
{
    uint64_t size = disk_size(d);
    Snapshot s = { .name = (char *)"fuzz" };

    for (unsigned i = 0; i < 7 && size; i++) {
        uint64_t off = size / 7 * i, len = MIN(size - off, i * 3000 + 1);

        memset(chunk, i + 1, len);
        if (disk_write(d, off, &IOV_BUF(chunk, len), i == 3 ? REQ_FUA : 0) == 0) {
            chunk[0] = 0;
            disk_read(d, off, &IOV_BUF(chunk, len), 0);
        }
        if (i == 4)
            disk_flush(d);
        disk_zero(d, off / 2, MIN(size - off / 2, 100000), i & 1 ? REQ_UNMAP : 0);
        disk_discard(d, off, len);
    }
    fuzz_error(node_snapshot_create(disk_node(d), &s));
    g_free(s.id);
    if (size)
        disk_write(d, 0, &IOV_BUF(chunk, MIN(size, 5000)), 0);
    fuzz_error(node_snapshot_apply(disk_node(d), "fuzz"));
    fuzz_error(node_snapshot_delete(disk_node(d), "fuzz"));
    fuzz_error(node_snapshot_apply(disk_node(d), "1"));
    fuzz_error(node_snapshot_delete(disk_node(d), "1"));
    fuzz_error(disk_resize(d, size + 70000, false, (Preallocation){ PREALLOC_OFF }, 0));
    fuzz_error(disk_resize(d, size / 2, false, (Preallocation){ PREALLOC_OFF }, 0));
}

static void look(BlockGraph *g, bool probe, unsigned flags)
{
    Disk *d = NULL;
    Err *e = open_disk(g, probe, flags, &d);

    if (e) {
        fuzz_error(e);
        return;
    }
    ask_info(disk_node(d));
    ask_extents(d);
    ask_check(d, 0);
    if (probe)
        fuzz_error(node_snapshot_load(disk_node(d), "1"));
    ask_extents(d);
    disk_free(d);
}

static void write_to(BlockGraph *g, bool mend)
{
    Disk *d = NULL;
    Err *e = open_disk(g, false, OPEN_RW | OPEN_RESIZE | (mend ? OPEN_CHECK : 0), &d);

    if (e) {
        fuzz_error(e);
        return;
    }
    if (mend)
        ask_check(d, FIX_LEAKS | FIX_ERRORS);
    else
        change(d);
    disk_free(d);
}

typedef struct Input { BlockGraph *g; const uint8_t *data; size_t size; } Input;

static void everything(void *arg)
{
    Input *in = arg;

    make_files(in->data, in->size);
    look(in->g, true, 0);
    look(in->g, false, OPEN_NO_BACKING | OPEN_NO_IO);
    write_to(in->g, false);
    look(in->g, false, 0);      /* whatever was made of it */
    make_files(in->data, in->size);
    write_to(in->g, true);
    look(in->g, false, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Loop *loop;

    if (!loop)
        fuzz_error(loop_new(1, &loop));
    Input in = { graph_new(loop), data, size };
    fuzz_error(objects_add(graph_objects(in.g), "secret,id=sec,data=123456"));
    co_run(loop, everything, &in);
    fuzz_must(!graph_next(in.g, NULL), "a node is still held");
    fuzz_error(objects_del(graph_objects(in.g), "sec"));
    graph_free(in.g);
    files_free();
    return 0;
}
