/* SPDX-License-Identifier: MIT */
/*
 * block/file: data with and without O_DIRECT, by workers and io_uring; growing,
 * holes, zeroes, discards, resizing, copying, creating; options that change
 * while it is open; locks, against ourselves and against qemu-io and qemu-img.
 */
#include "tests/unit/block-ram.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block/file.h"

extern const BlockDriver block_raw, block_file, block_host_device, block_host_cdrom;
const BlockDriver *const block_set[] = { &block_raw, &block_file, &block_host_device, &block_host_cdrom, NULL };

enum { K = 1024, SIZE = 256 * K };

static char *folder;

static char *path_of(const char *name)
{
    return g_build_filename(folder, name, NULL);
}

/* driver=file and more, of a file in our folder; host_device if the name is absolute. */
static Err *open_file(BlockGraph *g, const char *name, const char *more, unsigned flags, BlockNode **out)
{
    g_autofree char *path = *name == '/' ? g_strdup(name) : path_of(name);
    g_autofree char *text = g_strdup_printf("driver=%s,filename=%s%s", *name == '/' ? "host_device" : "file",
                                            path, more);
    json_t *o = keyval(text);
    Err *e = node_open(g, o, flags, out);

    json_decref(o);
    return e;
}

static Err *create(BlockGraph *g, const char *name, uint64_t size, const char *options)
{
    g_autofree char *path = path_of(name);
    const CreateOptions c = { .filename = path, .size = size };
    FileCreate o = { 0 };

    props_init(&o, file_create_fields);
    CHECK(ok(props_parse(&o, file_create_fields, options)));

    Err *e = driver_find("file")->create(g, &c, &o, NULL);

    props_clear(&o, file_create_fields);
    return e;
}

static struct stat stat_of(const char *name)
{
    g_autofree char *path = path_of(name);
    struct stat st = { 0 };

    CHECK(!stat(path, &st));
    return st;
}

/* ---- data against a model */

static void random_requests(Disk *d, uint8_t *model, unsigned seed)
{
    g_autofree uint8_t *room = g_malloc(80 * K);

    for (int i = 0; i < 400; i++) {
        size_t len = 1 + (unsigned)rand_r(&seed) % (rand_r(&seed) % 4 ? 3000 : 70 * K);
        uint64_t off = (unsigned)rand_r(&seed) % (SIZE - len);
        uint8_t *buf = room + (rand_r(&seed) % 2 ? 0 : rand_r(&seed) % 5000);
        struct iovec v[3] = { { buf, len / 3 }, { buf + len / 3, len / 3 }, { buf + len / 3 * 2, len - len / 3 * 2 } };
        IoVec q = { v, 3, 0, len };

        switch (rand_r(&seed) % 6) {
        case 0: case 1:
            memset(buf, rand_r(&seed), len);
            CHECK_EQ(disk_write(d, off, &q, rand_r(&seed) % 20 ? 0 : REQ_FUA), 0);
            memcpy(model + off, buf, len);
            break;
        case 2:
            CHECK_EQ(disk_zero(d, off, len, rand_r(&seed) % 2 ? REQ_UNMAP : 0), 0);
            memset(model + off, 0, len);
            break;
        default:
            CHECK_EQ(disk_read(d, off, &q, 0), 0);
            CHECK(!memcmp(buf, model + off, len));
        }
    }
    CHECK_EQ(disk_flush(d), 0);
}

/* `name` is SIZE bytes of zeroes. */
static void data_of(BlockGraph *g, const char *name, const char *options)
{
    g_autofree uint8_t *model = g_malloc0(SIZE), *all = g_malloc(SIZE);
    BlockNode *n = NULL;
    Disk *d = NULL;

    Err *e = open_file(g, name, options, OPEN_RW, &n);

    if (e && (strstr(err_text(e), "O_DIRECT") || strstr(err_text(e), "io_uring"))) {
        printf("not here: %s\n", err_text(e));
        err_free(e);
        return;
    }
    CHECK(ok(e));
    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    random_requests(d, model, 1);
    CHECK_EQ(disk_read(d, 0, &IOV_BUF(all, SIZE), 0), 0);
    CHECK(!memcmp(all, model, SIZE));
    CHECK_EQ(node_size(n), SIZE);
    disk_free(d);
    node_unref(n);
}

static void data_with(BlockGraph *g, const char *options)
{
    CHECK(ok(create(g, "data", SIZE, "")));
    data_of(g, "data", options);
}

static void data(BlockGraph *g) { data_with(g, ""); }
static void data_direct(BlockGraph *g) { data_with(g, ",cache.direct=on,aio=threads"); }
static void data_uring(BlockGraph *g) { data_with(g, ",aio=io_uring,aio-max-batch=4"); }
static void data_uring_direct(BlockGraph *g) { data_with(g, ",aio=io_uring,cache.direct=on"); }
static void data_unsafe(BlockGraph *g) { data_with(g, ",cache.no-flush=on"); }

/* A file that ends within a block, with O_DIRECT; growing by writes and by zeroes. */
static bool about(uint64_t size, uint64_t want, uint32_t align)
{
    return size >= want && size < want + align;
}

static void ends_with(BlockGraph *g, const char *options)
{
    uint8_t buf[9000];
    BlockNode *n = NULL;
    Disk *d = NULL;

    CHECK(ok(create(g, "ends", 5000, "")));
    if (!ok(open_file(g, "ends", options, OPEN_RW, &n)))
        return;
    CHECK_EQ(node_size(n), 5000);
    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    memset(buf, 1, sizeof(buf));
    CHECK_EQ(disk_read(d, 4990, &IOV_BUF(buf, 10), 0), 0);
    CHECK(buf[0] == 0 && buf[9] == 0 && buf[10] == 1);
    CHECK_EQ(-disk_read(d, 4990, &IOV_BUF(buf, 11), 0), EIO);
    disk_set_growing(d, true);
    CHECK_EQ(disk_zero(d, 20000, 3000, REQ_UNMAP), 0);
    CHECK(about(disk_size(d), 23000, n->limits.request_align));
    CHECK_EQ(disk_zero(d, 30000, 3000, 0), 0);
    CHECK(about(disk_size(d), 33000, n->limits.request_align));
    memset(buf, 7, sizeof(buf));
    CHECK_EQ(disk_write(d, 40001, &IOV_BUF(buf, 9000), 0), 0);
    CHECK(about(disk_size(d), 49001, n->limits.request_align));
    memset(buf, 1, sizeof(buf));
    CHECK_EQ(disk_read(d, 22995, &IOV_BUF(buf, 9000), 0), 0);
    CHECK(buf_is_zero(buf, 9000));
    CHECK_EQ(disk_read(d, 40000, &IOV_BUF(buf, 9000), 0), 0);
    CHECK(buf[0] == 0 && buf[1] == 7 && buf[8999] == 7);
    CHECK(stat_of("ends").st_size >= 49001);
    disk_free(d);
    node_unref(n);
}

static void ends(BlockGraph *g) { ends_with(g, ""); }
static void ends_direct(BlockGraph *g) { ends_with(g, ",cache.direct=on"); }

/* ---- holes */

static void extent_is(BlockNode *n, uint64_t off, uint64_t len, uint64_t want, unsigned flags)
{
    Extent x;

    CHECK_EQ(node_extent(n, off, len, &x), 0);
    CHECK_EQ(x.len, want);
    CHECK_EQ(x.flags, flags | EXTENT_ALLOCATED | EXTENT_OFFSET);
    CHECK_EQ(x.host, off);
    CHECK(x.host_node == n);
}

static void holes(BlockGraph *g)
{
    g_autofree uint8_t *buf = g_malloc(64 * K);
    BlockNode *n = NULL;
    Disk *d = NULL;

    memset(buf, 5, 64 * K);
    CHECK(ok(create(g, "holes", 1024 * K, "")));
    CHECK(ok(open_file(g, "holes", ",discard=unmap", OPEN_RW, &n)));
    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    extent_is(n, 0, 1024 * K, 1024 * K, EXTENT_ZERO | EXTENT_EOF);
    CHECK_EQ(disk_write(d, 128 * K, &IOV_BUF(buf, 64 * K), 0), 0);
    extent_is(n, 0, 1024 * K, 128 * K, EXTENT_ZERO);
    extent_is(n, 128 * K, 10 * K, 10 * K, EXTENT_DATA);
    extent_is(n, 130 * K, 1024 * K, 62 * K, EXTENT_DATA);
    extent_is(n, 192 * K, 1024 * K, 832 * K, EXTENT_ZERO | EXTENT_EOF);
    CHECK_EQ(disk_flush(d), 0);
    CHECK(node_allocated(n) >= 64 * K && node_allocated(n) < 512 * K);

    /* What was a hole is none after a write, what was data is one after a discard. */
    CHECK_EQ(disk_write(d, 512 * K, &IOV_BUF(buf, 4 * K), 0), 0);
    extent_is(n, 512 * K, 512 * K, 4 * K, EXTENT_DATA);
    CHECK_EQ(disk_discard(d, 128 * K, 64 * K), 0);
    extent_is(n, 0, 1024 * K, 512 * K, EXTENT_ZERO);
    CHECK_EQ(disk_read(d, 128 * K, &IOV_BUF(buf, 64 * K), 0), 0);
    CHECK(buf_is_zero(buf, 64 * K));
    disk_free(d);
    node_unref(n);

    /* discard=ignore is for this node; a format above it asks by itself. */
    CHECK(ok(open_file(g, "holes", ",discard=ignore", OPEN_RW, &n)));
    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_discard(d, 512 * K, 4 * K), 0);
    extent_is(n, 512 * K, 512 * K, 4 * K, EXTENT_DATA);
    disk_free(d);
    node_unref(n);
}

/* ---- length and room */

static void resizing(BlockGraph *g)
{
    BlockNode *n = NULL;
    Disk *d = NULL;

    CHECK(ok(create(g, "resize", 64 * K, "preallocation=full")));
    CHECK(stat_of("resize").st_blocks * 512 >= 64 * K);
    CHECK(ok(open_file(g, "resize", "", OPEN_RW | OPEN_RESIZE, &n)));
    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    CHECK(ok(disk_resize(d, 128 * K, true, (Preallocation){ PREALLOC_OFF }, 0)));
    CHECK(stat_of("resize").st_size == 128 * K && stat_of("resize").st_blocks * 512 < 128 * K);
    CHECK(ok(disk_resize(d, 256 * K, true, (Preallocation){ PREALLOC_FULL }, 0)));
    CHECK(stat_of("resize").st_blocks * 512 >= 192 * K);

    Err *e = disk_resize(d, 512 * K, true, (Preallocation){ PREALLOC_FALLOC }, 0);

    if (!e || !strstr(err_text(e), "not supported"))
        CHECK(ok(e) && stat_of("resize").st_size == 512 * K && stat_of("resize").st_blocks * 512 >= 384 * K);
    else
        err_free(e);
    CHECK(fails(disk_resize(d, 1024 * K, true, (Preallocation){ PREALLOC_METADATA }, 0), "metadata"));
    CHECK(fails(disk_resize(d, 1 * K, true, (Preallocation){ PREALLOC_FULL }, 0), "shrinking"));
    CHECK(ok(disk_resize(d, 1000, true, (Preallocation){ PREALLOC_OFF }, 0)));
    CHECK(stat_of("resize").st_size == 1000);
    CHECK_EQ(disk_size(d), 1000);
    disk_free(d);
    node_unref(n);

    /* More than the file system has: the file that was there is as long as before; a new one is not left. */
    g_autofree char *path = path_of("toolong");

    CHECK(fails(create(g, "toolong", UINT64_C(1) << 50, "preallocation=falloc"), "preallocate"));
    CHECK(access(path, F_OK));
    CHECK(fails(create(g, "no/where", 10, ""), "Could not create"));
    CHECK(fails(create(g, ".", 10, ""), "Could not create"));
}

static void copying(BlockGraph *g)
{
    g_autofree uint8_t *a = g_malloc(SIZE), *b = g_malloc(SIZE);
    BlockNode *from = NULL, *to = NULL;
    Disk *df = NULL, *dt = NULL;

    for (int i = 0; i < SIZE; i++)
        a[i] = (uint8_t)(i * 7 + i / 256);
    CHECK(ok(create(g, "from", SIZE, "")));
    CHECK(ok(create(g, "to", SIZE, "")));
    CHECK(ok(open_file(g, "from", "", OPEN_RW, &from)));
    CHECK(ok(open_file(g, "to", "", OPEN_RW, &to)));
    CHECK(ok(disk_new(from, PERM_ALL, PERM_ALL, "test", &df)));
    CHECK(ok(disk_new(to, PERM_ALL, PERM_ALL, "test", &dt)));
    CHECK_EQ(disk_write(df, 0, &IOV_BUF(a, SIZE), 0), 0);

    int ret = disk_copy(df, 4096, dt, 8192, 100000);

    if (ret != -ENOTSUP) {
        CHECK_EQ(ret, 0);
        CHECK_EQ(disk_read(dt, 0, &IOV_BUF(b, SIZE), 0), 0);
        CHECK(!memcmp(b + 8192, a + 4096, 100000));
        CHECK(buf_is_zero(b, 8192) && buf_is_zero(b + 108192, SIZE - 108192));
    }
    disk_free(df);
    disk_free(dt);
    node_unref(from);
    node_unref(to);
}

/* ---- errors, options */

static void refusals(BlockGraph *g)
{
    g_autofree char *fifo = path_of("fifo");
    BlockNode *n = NULL;

    CHECK(fails(open_file(g, "nothing", "", 0, &n), "Could not open"));
    CHECK(fails(open_file(g, ".", "", 0, &n), "regular file"));
    CHECK(!mkfifo(fifo, 0600));
    CHECK(fails(open_file(g, "fifo", "", 0, &n), "regular file"));
    CHECK(ok(create(g, "plain", 512, "")));
    CHECK(fails(open_file(g, "plain", ",locking=maybe", 0, &n), "locking"));
    CHECK(fails(open_file(g, "plain", ",aio=slow", 0, &n), "aio"));
    CHECK(fails(open_file(g, "plain", ",x-check-cache-dropped=on", 0, &n), "no migration"));

    g_autofree char *path = path_of("plain");
    g_autofree char *text = g_strdup_printf("driver=host_device,filename=%s", path);
    json_t *o = keyval(text);

    CHECK(fails(node_open(g, o, 0, &n), "character or block device"));
    json_decref(o);
    o = keyval("driver=file,filename=");
    CHECK(fails(node_open(g, o, 0, &n), "requires a file name"));
    json_decref(o);
    o = keyval("driver=file");
    CHECK(fails(node_open(g, o, 0, &n), "requires a file name"));
    json_decref(o);
}

/* Opened for reading where writing is not allowed, if the user said so. (root may write anywhere) */
static void read_only(BlockGraph *g)
{
    g_autofree char *path = path_of("ro");
    BlockNode *n = NULL;

    CHECK(ok(create(g, "ro", 512, "")));
    CHECK(!chmod(path, 0444));
    if (access(path, W_OK)) {
        CHECK(fails(open_file(g, "ro", "", OPEN_RW, &n), "Permission denied"));
        CHECK(ok(open_file(g, "ro", ",auto-read-only=on", OPEN_RW, &n)));
        CHECK(node_read_only(n));
        node_unref(n);
    }
    CHECK(ok(open_file(g, "ro", "", 0, &n)));
    CHECK(node_read_only(n));
    node_unref(n);
}

static void temporary(BlockGraph *g)
{
    g_autofree char *path = path_of("temp");
    BlockNode *n = NULL;

    CHECK(ok(create(g, "temp", 512, "")));
    CHECK(ok(open_file(g, "temp", "", OPEN_RW | OPEN_TEMPORARY, &n)));
    CHECK(access(path, F_OK));
    node_unref(n);
}

/* ---- locks */

/* The driver's reopen, as the core will call it. */
static void reopening(BlockGraph *g)
{
    BlockNode *n = NULL;

    CHECK(ok(create(g, "again", 8192, "")));
    CHECK(ok(open_file(g, "again", "", OPEN_RW, &n)));

    File now = *(File *)n;
    Disk *d = NULL;

    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL & ~PERM_WRITE, "test", &d)));
    CHECK(ok(n->drv->reopen(n, &now, true)));
    n->read_only = true;
    CHECK_EQ(pwrite(((File *)n)->fd, "x", 1, 0), (uint64_t)-1);
    now.node.cache_direct = true;

    Err *e = n->drv->reopen(n, &now, true);

    if (!e) {
        n->cache_direct = true;
        CHECK(n->limits.request_align >= 512);
        CHECK(fcntl(((File *)n)->fd, F_GETFL) & O_DIRECT);
    }
    err_free(e);
    now.locking = 2;
    CHECK(fails(n->drv->reopen(n, &now, true), "locking"));

    /* The locks have moved along. */
    BlockNode *other = NULL;
    Disk *d2 = NULL;

    CHECK(ok(open_file(g, "again", "", OPEN_RW, &other)));
    CHECK(fails(disk_new(other, PERM_WRITE, PERM_ALL, "test", &d2), "Failed to get \"write\" lock"));
    disk_free(d);
    CHECK(ok(disk_new(other, PERM_WRITE, PERM_ALL, "test", &d2)));
    disk_free(d2);
    node_unref(other);
    node_unref(n);
}

static void locks(BlockGraph *g)
{
    BlockNode *a = NULL, *b = NULL, *c = NULL;
    Disk *da = NULL, *db = NULL, *dc = NULL;
    NodeInfo info;

    CHECK(ok(create(g, "lock", 8192, "")));
    CHECK(ok(open_file(g, "lock", "", OPEN_RW, &a)));
    CHECK(ok(open_file(g, "lock", "", OPEN_RW, &b)));
    CHECK(ok(open_file(g, "lock", ",force-share=on", 0, &c)));

    /* a writes and shares reading alone */
    CHECK(ok(disk_new(a, PERM_CONSISTENT_READ | PERM_WRITE, PERM_CONSISTENT_READ, "test", &da)));

    Err *e = disk_new(b, PERM_WRITE, PERM_ALL, "test", &db);

    CHECK(e && strstr(err_hint_text(e), "Is another process using the image ["));
    CHECK(e && strstr(err_text(e), "this process itself"));
    CHECK(fails(e, "Failed to get \"write\" lock"));
    CHECK(fails(disk_new(b, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ, "test", &db),
                "Failed to get shared \"write\" lock"));
    CHECK(ok(disk_new(c, PERM_CONSISTENT_READ, PERM_ALL, "test", &dc)));
    CHECK(file_in_use(c, NULL));
    CHECK(ok(node_info(c, &info)));
    CHECK(info.live);
    CHECK(!file_in_use(a, NULL));

    /* a writes no more, but bears no writer; then it does not mind */
    CHECK(ok(disk_set_perm(da, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ | PERM_RESIZE)));
    CHECK(!file_in_use(c, NULL));
    CHECK(fails(disk_new(b, PERM_WRITE, PERM_ALL, "test", &db), "Failed to get \"write\" lock"));
    CHECK(ok(disk_new(b, PERM_RESIZE, PERM_ALL, "test", &db)));
    CHECK(fails(disk_set_perm(da, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ), "Failed to get shared \"resize\" lock"));
    disk_free(db);
    CHECK(ok(disk_set_perm(da, PERM_CONSISTENT_READ, PERM_ALL)));
    CHECK(ok(disk_new(b, PERM_WRITE, PERM_ALL, "test", &db)));
    disk_free(da);
    disk_free(db);
    disk_free(dc);
    node_unref(a);
    node_unref(b);
    node_unref(c);

    /* locking=off: neither asks nor tells */
    CHECK(ok(open_file(g, "lock", ",locking=off", OPEN_RW, &a)));
    CHECK(ok(open_file(g, "lock", ",locking=on", OPEN_RW, &b)));
    CHECK(ok(disk_new(a, PERM_WRITE, PERM_CONSISTENT_READ, "test", &da)));
    CHECK(ok(disk_new(b, PERM_WRITE, PERM_CONSISTENT_READ, "test", &db)));
    disk_free(da);
    disk_free(db);
    node_unref(a);
    node_unref(b);
}

/* Making a file anew that another one needs as long as it is. */
static void create_locked(BlockGraph *g)
{
    BlockNode *n = NULL;
    Disk *d = NULL;

    CHECK(ok(create(g, "used", 8192, "")));
    CHECK(ok(open_file(g, "used", "", 0, &n)));
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ, "test", &d)));
    CHECK(fails(create(g, "used", 100, ""), "Failed to get \"write\" lock"));
    CHECK_EQ(stat_of("used").st_size, 8192);
    disk_free(d);
    node_unref(n);
    CHECK(ok(create(g, "used", 100, "")));
    CHECK_EQ(stat_of("used").st_size, 100);
}

/* ---- programs that may be here */

/* Runs it in our folder; what it printed (g_free it), or NULL: it is not here. */
static char *tool(const char *command)
{
    g_autofree char *line = g_strdup_printf("cd '%s' && %s 2>&1", folder, command);
    FILE *p = popen(line, "r");
    char out[4096];
    size_t n = p ? fread(out, 1, sizeof(out) - 1, p) : 0;
    int status = p ? pclose(p) : -1;

    out[n] = 0;
    return WIFEXITED(status) && WEXITSTATUS(status) == 127 ? NULL : g_strdup(out);
}

static bool tool_says(const char *command, const char *words)
{
    g_autofree char *out = tool(command);
    bool good = out && strstr(out, words);

    if (!good)
        printf("'%s' says '%s', want '%s'\n", command, out ? out : "(nothing)", words);
    return good;
}

/* ---- a device: a loop over a file, where we may make one */

static void zero_all(Disk *d)
{
    CHECK_EQ(disk_zero(d, 0, SIZE, 0), 0);
    CHECK_EQ(disk_flush(d), 0);
}

static void device_of(BlockGraph *g, const char *path)
{
    BlockNode *n = NULL;
    Disk *d = NULL;
    Extent x;

    for (const char *const *o = (const char *const[]){ "", ",cache.direct=on", ",aio=io_uring", NULL }; *o; o++) {
        data_of(g, path, *o);
        CHECK(ok(open_file(g, path, *o, OPEN_RW, &n)));
        CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
        zero_all(d);
        disk_free(d);
        node_unref(n);
    }
    CHECK(ok(open_file(g, path, ",discard=unmap", OPEN_RW, &n)));
    CHECK(ok(disk_new(n, PERM_ALL, PERM_ALL, "test", &d)));
    CHECK_EQ(disk_size(d), SIZE);
    CHECK_EQ(disk_write(d, 0, &IOV_BUF("abcd", 4), 0), 0);
    CHECK_EQ(disk_discard(d, 0, 64 * K), 0);
    CHECK_EQ(disk_zero(d, 0, 64 * K, REQ_UNMAP), 0);
    CHECK_EQ(node_extent(n, 0, SIZE, &x), 0);
    CHECK_EQ(x.flags, EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET | EXTENT_EOF);
    CHECK(fails(disk_resize(d, 2 * SIZE, false, (Preallocation){ 0 }, 0), "Cannot grow device files"));
    CHECK(fails(disk_resize(d, SIZE / 2, true, (Preallocation){ 0 }, 0), "Cannot resize device files"));
    CHECK_EQ(-disk_write(d, SIZE, &IOV_BUF("abcd", 4), 0), EIO);
    disk_free(d);
    node_unref(n);

    g_autofree char *text = g_strdup_printf("driver=host_cdrom,filename=%s", path);
    json_t *o = keyval(text), *named = NULL;

    CHECK(fails(node_open(g, o, OPEN_RW, &n), "read-only"));
    CHECK(ok(node_open(g, o, 0, &n)));
    node_unref(n);
    json_decref(o);
    CHECK(ok(options_from_name(path, "raw", &named)));
    CHECK_STR(json_string_value(json_object_get(json_object_get(named, "file"), "driver")), "host_device");
    json_decref(named);
}

static void device(BlockGraph *g)
{
    CHECK(ok(create(g, "loop", SIZE, "")));

    g_autofree char *path = tool("losetup -f --show loop 2>/dev/null || exit 127");

    if (!path)
        return;
    g_strchomp(path);
    device_of(g, path);

    g_autofree char *end = g_strdup_printf("losetup -d %s", path);

    g_free(tool(end));
}

/* ---- QEMU's */

static void qemu_refuses(BlockGraph *g)
{
    BlockNode *n = NULL;
    Disk *d = NULL;

    g_free(tool("qemu-img create -q -f qcow2 theirs 1M"));
    CHECK(ok(open_file(g, "theirs", "", OPEN_RW, &n)));

    /* We write and let nobody read consistently: as a format does. */
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_CONSISTENT_READ, "test", &d)));
    CHECK(tool_says("qemu-img info theirs", "Failed to get shared \"write\" lock"));
    CHECK(tool_says("qemu-img info -U theirs", "virtual size: 1 MiB"));
    CHECK(tool_says("qemu-io -f qcow2 -c 'read 0 512' theirs", "Failed to get \"write\" lock"));
    CHECK(tool_says("qemu-img resize -q theirs 2M", "Failed to get \"write\" lock"));
    CHECK(tool_says("qemu-img create -q -f raw theirs 2M", "Failed to get \"write\" lock"));

    /* We read: they may, too, but not write. */
    CHECK(ok(disk_set_perm(d, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ)));
    CHECK(tool_says("qemu-img info theirs", "virtual size: 1 MiB"));
    CHECK(tool_says("qemu-io -f qcow2 -c 'write 0 512' theirs", "Failed to get \"write\" lock"));
    disk_free(d);
    CHECK(tool_says("qemu-io -f qcow2 -c 'write 0 512' theirs", "wrote 512/512"));
    node_unref(n);
}

static void we_refuse(BlockGraph *g)
{
    g_autofree char *path = path_of("theirs");
    int in[2], out[2];
    BlockNode *n = NULL;
    Disk *d = NULL;
    char buf[256];

    /* qemu-io that waits for its next command; its answer to the first one shows that it is there. */
    if (pipe(in) || pipe(out))
        return;

    pid_t pid = fork();

    if (!pid) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        for (int fd = 3; fd < 100; fd++)
            close(fd);
        execlp("qemu-io", "qemu-io", "-f", "qcow2", path, NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    CHECK_EQ(write(in[1], "length\n", 7), 7);
    CHECK(read(out[0], buf, sizeof(buf)) > 0);

    CHECK(ok(open_file(g, "theirs", "", OPEN_RW, &n)));

    g_autofree char *who = NULL, *want = g_strdup_printf("process %d (qemu-io)", (int)pid);

    CHECK(file_in_use(n, &who));
    CHECK_STR(who, want);

    Err *e = disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_CONSISTENT_READ, "test", &d);

    CHECK(e && strstr(err_text(e), want));
    CHECK(fails(e, "Failed to get \"write\" lock"));
    CHECK(fails(disk_new(n, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ, "test", &d),
                "Failed to get shared \"write\" lock"));
    CHECK(fails(create(g, "theirs", 100, ""), "Failed to get \"write\" lock"));
    node_unref(n);
    CHECK(ok(open_file(g, "theirs", ",force-share=on", 0, &n)));
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ, PERM_ALL, "test", &d)));
    disk_free(d);
    node_unref(n);
    close(in[1]);
    close(out[0]);
    waitpid(pid, NULL, 0);
    CHECK(ok(open_file(g, "theirs", "", OPEN_RW, &n)));
    CHECK(!file_in_use(n, NULL));
    CHECK(ok(disk_new(n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_CONSISTENT_READ, "test", &d)));
    disk_free(d);
    node_unref(n);
}

int main(void)
{
    folder = g_dir_make_tmp("lyre-file-XXXXXX", NULL);
    RUN_IN_GRAPH(data);
    RUN_IN_GRAPH(data_direct);
    RUN_IN_GRAPH(data_uring);
    RUN_IN_GRAPH(data_uring_direct);
    RUN_IN_GRAPH(data_unsafe);
    RUN_IN_GRAPH(ends);
    RUN_IN_GRAPH(ends_direct);
    RUN_IN_GRAPH(holes);
    RUN_IN_GRAPH(resizing);
    RUN_IN_GRAPH(copying);
    RUN_IN_GRAPH(refusals);
    RUN_IN_GRAPH(read_only);
    RUN_IN_GRAPH(temporary);
    RUN_IN_GRAPH(reopening);
    RUN_IN_GRAPH(locks);
    RUN_IN_GRAPH(create_locked);
    RUN_IN_GRAPH(device);

    g_autofree char *there = tool("command -v qemu-io && command -v qemu-img || exit 127");

    if (there) {
        RUN_IN_GRAPH(qemu_refuses);
        RUN_IN_GRAPH(we_refuse);
    }
    g_free(tool("rm -rf \"$PWD\""));
    g_free(folder);
    return test_end();
}
