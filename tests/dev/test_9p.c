/* SPDX-License-Identifier: MIT */
/*
 * hw/9p: a client that plays 9P2000.L: files, folders, attributes and extended
 * ones in each security model, ways out of the folder, unlinked files that are
 * open, what changes on the host meanwhile, limits, and nonsense.
 */
#include "tests/dev/p9-client.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    LOPEN = 12, LCREATE = 14, SYMLINK = 16, MKNOD = 18, RENAME = 20, READLINK = 22, SETATTR = 26, XATTRWALK = 30,
    XATTRCREATE = 32, READDIR = 40, FSYNC = 50, LOCK = 52, GETLOCK = 54, LINK = 70, MKDIR = 72, RENAMEAT = 74,
    UNLINKAT = 76, VERSION = 100, ATTACH = 104, FLUSH = 108, WALK = 110, READ = 116, WRITE = 118, REMOVE = 122, STATFS = 8,
};

static P9Client k;
static FsDev fs;
static char *dir;               /* holds the folder "share" and what is outside */

static char *at(const char *name)
{
    return g_build_filename(dir, name, NULL);
}

static void host_write(const char *name, const char *text)
{
    g_autofree char *path = at(name);

    CHECK(g_file_set_contents(path, text, -1, NULL));
}

static bool host_has(const char *name, const char *text)
{
    g_autofree char *path = at(name), *got = NULL;

    return g_file_get_contents(path, &got, NULL, NULL) && !strcmp(got, text);
}

static void host_remove(const char *name)
{
    g_autofree char *path = at(name);
    g_autofree char *cmd = g_strdup_printf("rm -rf '%s'", path);

    CHECK(!system(cmd));
}

static void start(FsModel model)
{
    g_autofree char *share = NULL;

    dir = g_dir_make_tmp("lyre-9p-XXXXXX", NULL);
    share = at("share");
    g_mkdir(share, 0755);
    host_write("secret", "secret");
    fs = (FsDev){ .id = (char *)"f", .path = g_strdup(share), .model = model, .fmode = 0600, .dmode = 0700 };
    Err *e = p9_new(&fs, NULL, &k.server);
    CHECK(!e);
    CHECK_EQ(p9c_start(&k, 65536), 0);
}

static void stop(void)
{
    g_autofree char *cmd = g_strdup_printf("rm -rf '%s'", dir);

    p9_free(k.server);
    k.server = NULL;
    k.split = false;
    k.room = 0;
    CHECK(!system(cmd));
    g_free(fs.path);
    g_free(dir);
}

static gint by_name(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* What fid's folder holds, sorted, with blanks between; "." and ".." are left away. */
static char *list(unsigned fid, unsigned count)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    uint64_t offset = 0;
    bool dots[2] = { 0 };

    CHECK_EQ(p9c_walk(&k, fid, 900, ""), 0);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 900u, 0u), 0);
    for (;;) {
        CHECK_EQ(p9c(&k, READDIR, "dqd", 900u, offset, count), 0);
        if (!p9c_get(&k, 4))
            break;
        while (k.at < k.len) {
            p9c_get(&k, 5);
            p9c_get(&k, 8);
            offset = p9c_get(&k, 8);
            p9c_get(&k, 1);
            unsigned n = p9c_get(&k, 2);
            char *name = g_strndup((char *)k.rep + k.at, n);
            k.at += n;
            if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))) {
                dots[n - 1] = true;
                g_free(name);
            } else {
                g_ptr_array_add(names, name);
            }
        }
    }
    CHECK(dots[0] && dots[1]);
    CHECK_EQ(p9c_clunk(&k, 900), 0);
    g_ptr_array_sort(names, by_name);
    g_ptr_array_add(names, NULL);
    char *all = g_strjoinv(" ", (char **)names->pdata);
    g_ptr_array_free(names, TRUE);
    return all;
}

static void expect_list(unsigned fid, const char *want)
{
    g_autofree char *got = list(fid, 8192);

    CHECK_STR(got, want);
}

static int create(unsigned fid, unsigned parent, const char *name, unsigned mode)
{
    int e = p9c_walk(&k, parent, fid, "");

    e = e ? e : p9c(&k, LCREATE, "dsddd", fid, name, 2u | 0100, mode, 0u);
    if (e)
        p9c_clunk(&k, fid);
    return e;
}

static int put(unsigned fid, uint64_t off, const char *text)
{
    int e = p9c(&k, WRITE, "dqdr", fid, off, (unsigned)strlen(text), text, (unsigned)strlen(text));

    return e ? e : (int)p9c_get(&k, 4);
}

static int get(unsigned fid, uint64_t off, unsigned n, const char *want)
{
    int e = p9c(&k, READ, "dqd", fid, off, n);

    if (e)
        return e;
    unsigned got = p9c_get(&k, 4);
    return got == strlen(want) && k.len == k.at + got && !memcmp(k.rep + k.at, want, got) ? 0 : 1;
}

/* ---- */

static void test_version(void)
{
    start(FS_NONE);
    CHECK_EQ(p9c(&k, VERSION, "ds", 8192u, "9P2000.L"), 0);
    CHECK_EQ(p9c_get(&k, 4), 8192);
    CHECK_EQ(p9_fids(k.server), 0);                 /* a version ends the session before */
    CHECK_EQ(p9c(&k, VERSION, "ds", 0xffffffffu, "9P2000.L"), 0);
    CHECK_EQ(p9c_get(&k, 4), P9_MSIZE_MOST);
    CHECK_EQ(p9c(&k, VERSION, "ds", 8192u, "9P2000"), 0);
    p9c_get(&k, 4);
    CHECK(!memcmp(k.rep + k.at, "\7\0unknown", 9));
    CHECK_EQ(p9c(&k, ATTACH, "ddssd", 0u, (unsigned)NOFID, "", "", 0u), -EPROTO);
    CHECK_EQ(p9c(&k, VERSION, "ds", 10u, "9P2000.L"), 0);
    p9c_get(&k, 4);
    CHECK(!memcmp(k.rep + k.at, "\7\0unknown", 9));
    CHECK_EQ(p9c_start(&k, 8192), 0);
    CHECK_EQ(p9c(&k, ATTACH, "ddssd", 0u, (unsigned)NOFID, "", "", 0u), -EBADF);    /* taken */
    CHECK_EQ(p9c(&k, ATTACH, "ddssd", 5u, 3u, "", "", 0u), -EOPNOTSUPP);
    CHECK_EQ(p9c(&k, 102, "dss", 1u, "", ""), -EOPNOTSUPP);                         /* auth */
    CHECK_EQ(p9c(&k, FLUSH, "w", 77), 0);
    CHECK_EQ(p9c(&k, 200, ""), -EOPNOTSUPP);
    CHECK_EQ(p9c(&k, STATFS, "d", 0u), 0);
    stop();
}

static void file_cycle(FsModel model)
{
    P9Attr a;

    start(model);
    k.split = model == FS_MAPPED_XATTR;
    CHECK_EQ(create(1, 0, "file", 0640), 0);
    CHECK_EQ(put(1, 0, "hello world"), 11);
    CHECK_EQ(put(1, 6, "there"), 5);
    CHECK_EQ(get(1, 0, 100, "hello there"), 0);
    CHECK_EQ(get(1, 6, 2, "th"), 0);
    CHECK_EQ(get(1, 11, 100, ""), 0);
    CHECK_EQ(get(1, 1 << 20, 100, ""), 0);
    CHECK_EQ(p9c(&k, FSYNC, "dd", 1u, 0u), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK(a.mode == (S_IFREG | 0640) && a.size == 11 && a.nlink == 1);
    CHECK(host_has("share/file", "hello there"));
    CHECK_EQ(p9c_clunk(&k, 1), 0);
    CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, "sub", 0750u, 0u), 0);
    CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, "sub", 0750u, 0u), -EEXIST);
    CHECK_EQ(p9c_walk(&k, 0, 1, "sub"), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK_EQ(a.mode, S_IFDIR | 0750);
    CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, "file", 1u, "moved"), 0);
    expect_list(0, "sub");
    expect_list(1, "moved");
    CHECK_EQ(p9c_walk(&k, 0, 2, "sub/moved"), 0);
    CHECK_EQ(p9c_getattr(&k, 2, &a), 0);
    CHECK_EQ(a.mode, S_IFREG | 0640);
    CHECK_EQ(p9c(&k, LINK, "dds", 0u, 2u, "twin"), 0);
    CHECK_EQ(p9c_getattr(&k, 2, &a), 0);
    CHECK_EQ(a.nlink, 2);
    CHECK_EQ(p9c(&k, RENAME, "dds", 2u, 0u, "back"), 0);
    expect_list(0, "back sub twin");
    CHECK_EQ(p9c_getattr(&k, 2, &a), 0);            /* the fid went with it */
    CHECK_EQ(p9c(&k, UNLINKAT, "dsd", 0u, "sub", 0u), -EISDIR);
    CHECK_EQ(p9c(&k, UNLINKAT, "dsd", 0u, "sub", 0x200u), 0);
    CHECK_EQ(p9c(&k, REMOVE, "d", 2u), 0);
    CHECK_EQ(p9c_getattr(&k, 2, &a), -EBADF);
    CHECK_EQ(p9c_walk(&k, 0, 2, "twin"), 0);
    CHECK_EQ(p9c_getattr(&k, 2, &a), 0);
    CHECK_EQ(a.mode, S_IFREG | 0640);
    expect_list(0, "twin");
    stop();
}

static void test_files(void)
{
    file_cycle(FS_NONE);
    file_cycle(FS_MAPPED_XATTR);
    file_cycle(FS_MAPPED_FILE);
}

/* Owners, modes and kinds that a host's user cannot make. */
static void mapped_cycle(FsModel model)
{
    struct stat st;
    P9Attr a;

    start(model);
    CHECK_EQ(create(1, 0, "file", 04755), 0);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 6u, 0u, 1234u, 4321u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK(a.mode == (S_IFREG | 04755) && a.uid == 1234 && a.gid == 4321);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 1u, 0600u, 0u, 0u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK(a.mode == (S_IFREG | 0600) && a.uid == 1234);
    g_autofree char *path = at("share/file");
    CHECK(!stat(path, &st) && (st.st_mode & 07777) == 0600 && st.st_uid == getuid());
    CHECK_EQ(p9c(&k, MKNOD, "dsdddd", 0u, "null", 020666u, 1u, 3u, 0u), 0);
    CHECK_EQ(p9c_walk(&k, 0, 2, "null"), 0);
    CHECK_EQ(p9c_getattr(&k, 2, &a), 0);
    CHECK(a.mode == (S_IFCHR | 0666) && a.rdev == 0x103);
    CHECK_EQ(p9c(&k, SYMLINK, "dssd", 0u, "link", "/etc/passwd", 0u), 0);
    CHECK_EQ(p9c_walk(&k, 0, 3, "link"), 0);
    CHECK_EQ(p9c_getattr(&k, 3, &a), 0);
    CHECK_EQ(a.mode, S_IFLNK | 0777);
    CHECK_EQ(p9c(&k, READLINK, "d", 3u), 0);
    CHECK(!memcmp(k.rep + k.at, "\13\0/etc/passwd", 13));
    g_free(path);
    path = at("share/link");
    CHECK(!lstat(path, &st) && S_ISREG(st.st_mode));
    expect_list(0, "file link null");               /* no bookkeeping is seen */
    CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, ".virtfs_metadata", 0700u, 0u), model == FS_MAPPED_FILE ? -EINVAL : 0);
    /* What is kept goes with its file, and not to another of that name. */
    CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, "null", 0u, "file"), 0);
    CHECK_EQ(p9c_walk(&k, 0, 4, "file"), 0);
    CHECK_EQ(p9c_getattr(&k, 4, &a), 0);
    CHECK_EQ(a.mode, S_IFCHR | 0666);
    CHECK_EQ(p9c(&k, UNLINKAT, "dsd", 0u, "file", 0u), 0);
    CHECK_EQ(create(5, 0, "file", 0644), 0);
    CHECK_EQ(p9c_getattr(&k, 5, &a), 0);
    CHECK(a.mode == (S_IFREG | 0644) && a.uid == 0);
    stop();
}

static void test_mapped(void)
{
    mapped_cycle(FS_MAPPED_XATTR);
    mapped_cycle(FS_MAPPED_FILE);
}

static void test_setattr(void)
{
    P9Attr a;

    start(FS_NONE);
    CHECK_EQ(create(1, 0, "f", 0644), 0);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 8u, 0u, 0u, 0u, UINT64_C(5000), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)), 0);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 0x120u, 0u, 0u, 0u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(777), UINT64_C(5)), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK(a.size == 5000 && a.mtime == 777);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 0x120u, 0u, 0u, 0u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(777), UINT64_C(5000000000)), -EINVAL);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 8u, 0u, 0u, 0u, UINT64_MAX, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)), -EFBIG);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 0x20u, 0u, 0u, 0u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK(a.mtime > 1000000);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 1u, 1u, 0400u, 0u, 0u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK_EQ(a.mode, S_IFREG | 0400);
    CHECK_EQ(p9c(&k, LOCK, "dbdqqds", 1u, 1, 0u, UINT64_C(0), UINT64_C(0), 1u, "me"), 0);
    CHECK_EQ(p9c_get(&k, 1), 0);
    CHECK_EQ(p9c(&k, GETLOCK, "dbqqds", 1u, 1, UINT64_C(0), UINT64_C(0), 1u, "me"), 0);
    CHECK_EQ(p9c_get(&k, 1), 2);
    stop();
}

/* ---- ways out */

static void test_escape(void)
{
    P9Attr a, root;

    start(FS_NONE);
    g_autofree char *out = at("share/out"), *abs = at("share/abs"), *in = at("share/in");
    CHECK(!symlink("..", out) && !symlink("/", abs) && !symlink("../secret", in));
    CHECK_EQ(p9c_getattr(&k, 0, &root), 0);
    CHECK_EQ(p9c_walk(&k, 0, 1, "../../.."), 0);            /* the root's parent is the root */
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK_EQ(a.qid, root.qid);
    p9c_clunk(&k, 1);
    CHECK(p9c_walk(&k, 0, 1, "out/secret") < 0);
    CHECK(p9c_walk(&k, 0, 1, "abs/etc/passwd") < 0);
    CHECK(p9c_walk(&k, 0, 1, "../secret") < 0);
    CHECK(p9c_walk(&k, 0, 1, "") == 0);
    static const char *const names[] = { "../secret", "a/b", "/etc/passwd", "..", ".", "" };
    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        CHECK(p9c(&k, WALK, "ddws", 0u, 2u, 1, names[i]) < 0 || i == 3 || i == 4);
        p9c_clunk(&k, 2);
        CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, names[i], 0700u, 0u), -EINVAL);
        CHECK_EQ(p9c(&k, LCREATE, "dsddd", 1u, names[i], 2u, 0600u, 0u), -EINVAL);
        CHECK_EQ(p9c(&k, SYMLINK, "dssd", 0u, names[i], "x", 0u), -EINVAL);
        CHECK_EQ(p9c(&k, MKNOD, "dsdddd", 0u, names[i], 0100600u, 0u, 0u, 0u), -EINVAL);
        CHECK_EQ(p9c(&k, LINK, "dds", 0u, 1u, names[i]), -EINVAL);
        CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, names[i], 0u, "x"), -EINVAL);
        CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, "in", 0u, names[i]), -EINVAL);
        CHECK_EQ(p9c(&k, UNLINKAT, "dsd", 0u, names[i], 0u), -EINVAL);
    }
    /* A link to what is outside: it can be seen, not followed, by no message. */
    CHECK_EQ(p9c_walk(&k, 0, 3, "in"), 0);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 3u, 0u), -ELOOP);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 3u, 01000u | 1), -ELOOP);
    CHECK(p9c(&k, SETATTR, "dddddqqqqq", 3u, 8u, 0u, 0u, 0u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)) < 0);
    p9c(&k, SETATTR, "dddddqqqqq", 3u, 1u, 0777u, 0u, 0u, UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0));
    CHECK(p9c(&k, LCREATE, "dsddd", 1u, "in", 01002u, 0600u, 0u) < 0);
    CHECK_EQ(p9c(&k, LINK, "dds", 0u, 3u, "in2"), 0);
    CHECK(p9c(&k, XATTRWALK, "dds", 3u, 4u, "user.x") < 0);
    CHECK_EQ(p9c(&k, READLINK, "d", 3u), 0);
    CHECK(host_has("secret", "secret"));
    struct stat st;
    g_autofree char *secret = at("secret");
    CHECK(!stat(secret, &st) && (st.st_mode & 0777) != 0777 && st.st_nlink == 1);
    stop();
}

/* A folder becomes a link to the outside while fids are below it; and one is moved out. */
static void test_races(void)
{
    P9Attr a;

    start(FS_NONE);
    CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, "d", 0755u, 0u), 0);
    CHECK_EQ(p9c_walk(&k, 0, 1, "d"), 0);
    CHECK_EQ(create(2, 1, "f", 0644), 0);
    CHECK_EQ(p9c_clunk(&k, 2), 0);
    CHECK_EQ(p9c_walk(&k, 1, 2, "f"), 0);
    g_autofree char *d = at("share/d"), *moved = at("moved");
    host_remove("share/d");
    CHECK(!symlink(dir, d));
    CHECK(p9c_walk(&k, 1, 3, "secret") < 0);
    CHECK(p9c_walk(&k, 0, 3, "d/secret") < 0);
    CHECK(p9c_getattr(&k, 2, &a) < 0);
    CHECK(p9c(&k, LOPEN, "dd", 2u, 0u) < 0);
    CHECK(p9c(&k, MKDIR, "dsdd", 1u, "new", 0755u, 0u) < 0);
    unlink(d);
    /* Made anew: a walk from above finds the new one. */
    g_mkdir(d, 0755);
    host_write("share/d/g", "new");
    CHECK_EQ(p9c_walk(&k, 0, 3, "d/g"), 0);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 3u, 0u), 0);
    CHECK_EQ(get(3, 0, 10, "new"), 0);
    /* ".." of a folder that left the tree is still the share. */
    CHECK_EQ(p9c_walk(&k, 0, 4, "d"), 0);
    CHECK(!rename(d, moved));
    CHECK(p9c_walk(&k, 4, 5, "../secret") < 0);
    CHECK(p9c_walk(&k, 4, 5, "../../secret") < 0);
    stop();
}

/* The host renames what we know so that our tree would have a loop. */
static void test_rename_loop(void)
{
    P9Attr a;

    start(FS_NONE);
    g_autofree char *x = at("share/a"), *y = at("share/a/b"), *b = at("share/b");
    g_mkdir(x, 0755);
    g_mkdir(y, 0755);
    CHECK_EQ(p9c_walk(&k, 0, 1, "a"), 0);
    CHECK_EQ(p9c_walk(&k, 0, 2, "a/b"), 0);
    CHECK(p9c_walk(&k, 2, 3, "none") < 0);           /* now its folder is open */
    CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, "a", 2u, "a"), -EINVAL);
    CHECK(!rename(y, b));
    p9c(&k, RENAMEAT, "dsds", 0u, "a", 2u, "a");     /* b, which we believe below a, gets it */
    p9c_getattr(&k, 1, &a);
    p9c_getattr(&k, 2, &a);
    CHECK(p9c_walk(&k, 1, 3, "none") < 0);
    CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, "b", 0u, "c"), 0);
    expect_list(0, "c");
    stop();
}

/* Devices and FIFOs of the host are shown, not opened. */
static void test_special(void)
{
    P9Attr a;

    start(FS_NONE);
    g_autofree char *fifo = at("share/fifo");
    CHECK(!mkfifo(fifo, 0666));
    CHECK_EQ(p9c_walk(&k, 0, 1, "fifo"), 0);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK(S_ISFIFO(a.mode));
    CHECK_EQ(p9c(&k, LOPEN, "dd", 1u, 0u), -ENXIO);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 1u, 2u), -ENXIO);
    CHECK_EQ(p9c_walk(&k, 0, 2, ""), 0);
    CHECK_EQ(p9c(&k, LCREATE, "dsddd", 2u, "fifo", 2u, 0600u, 0u), -ENXIO);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 2u, 2u), -EISDIR);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 2u, 3u), -EINVAL);
    stop();
}

/* ---- open, and gone */

static void test_unlinked(void)
{
    P9Attr a;

    start(FS_NONE);
    CHECK_EQ(create(1, 0, "f", 0644), 0);
    CHECK_EQ(put(1, 0, "still here"), 10);
    CHECK_EQ(p9c_walk(&k, 0, 2, "f"), 0);                   /* knows it, has it not open */
    CHECK_EQ(p9c(&k, UNLINKAT, "dsd", 0u, "f", 0u), 0);
    CHECK_EQ(get(1, 0, 100, "still here"), 0);
    CHECK_EQ(put(1, 10, "!"), 1);
    CHECK_EQ(p9c_getattr(&k, 1, &a), 0);
    CHECK(a.size == 11 && a.nlink == 0);
    CHECK_EQ(p9c_getattr(&k, 2, &a), 0);
    CHECK_EQ(p9c(&k, SETATTR, "dddddqqqqq", 2u, 9u, 0600u, 0u, 0u, UINT64_C(5), UINT64_C(0), UINT64_C(0), UINT64_C(0), UINT64_C(0)), 0);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 2u, 0u), 0);
    CHECK_EQ(get(2, 0, 100, "still"), 0);
    /* A new one of that name is another file. */
    CHECK_EQ(create(3, 0, "f", 0644), 0);
    CHECK_EQ(get(3, 0, 100, ""), 0);
    CHECK_EQ(get(2, 0, 100, "still"), 0);
    CHECK_EQ(p9c_clunk(&k, 1), 0);
    CHECK_EQ(p9c_clunk(&k, 2), 0);
    /* The same when another file is renamed over it. */
    CHECK_EQ(put(3, 0, "old"), 3);
    CHECK_EQ(p9c_walk(&k, 0, 4, "f"), 0);
    CHECK_EQ(create(5, 0, "g", 0644), 0);
    CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, "g", 0u, "f"), 0);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 4u, 0u), 0);
    CHECK_EQ(get(4, 0, 100, "old"), 0);
    /* A folder that is gone. */
    CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, "d", 0755u, 0u), 0);
    CHECK_EQ(p9c_walk(&k, 0, 6, "d"), 0);
    CHECK_EQ(p9c(&k, UNLINKAT, "dsd", 0u, "d", 0x200u), 0);
    CHECK_EQ(p9c(&k, MKDIR, "dsdd", 6u, "x", 0755u, 0u), -ENOENT);
    CHECK(p9c_walk(&k, 6, 7, "x") < 0);
    CHECK_EQ(p9c_walk(&k, 6, 7, "../f"), 0);
    CHECK_EQ(p9c(&k, REMOVE, "d", 6u), -ENOENT);
    CHECK_EQ(p9c(&k, REMOVE, "d", 0u), -EBUSY);             /* the root; the fid is gone all the same */
    CHECK_EQ(p9c_getattr(&k, 0, &a), -EBADF);
    stop();
}

static void test_readdir(void)
{
    GString *want = g_string_new(NULL);

    start(FS_NONE);
    for (int i = 0; i < 3000; i++) {
        g_autofree char *name = g_strdup_printf("share/a-file-with-a-name-of-some-length-%04d", i);

        host_write(name, "");
        g_string_append_printf(want, "%s%s", i ? " " : "", name + 6);
    }
    static const unsigned counts[] = { 65000, 8192, 100 };
    for (unsigned i = 0; i < G_N_ELEMENTS(counts); i++) {
        g_autofree char *got = list(0, counts[i]);

        CHECK(!strcmp(got, want->str));
    }
    /* A name that does not fit is an error, not the end. */
    CHECK_EQ(p9c_walk(&k, 0, 1, ""), 0);
    CHECK_EQ(p9c(&k, READDIR, "dqd", 1u, UINT64_C(0), 100u), -EBADF);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 1u, 0u), 0);
    CHECK_EQ(p9c(&k, READDIR, "dqd", 1u, UINT64_C(0), 10u), -EINVAL);
    CHECK_EQ(p9c(&k, READ, "dqd", 1u, UINT64_C(0), 10u), -EISDIR);
    g_string_free(want, TRUE);
    stop();
}

static void xattr_cycle(FsModel model)
{
    start(model);
    CHECK_EQ(create(1, 0, "f", 0644), 0);
    CHECK_EQ(p9c_walk(&k, 0, 2, "f"), 0);
    int e = p9c(&k, XATTRCREATE, "dsqd", 2u, "user.color", UINT64_C(4), 0u);
    CHECK_EQ(e, 0);
    CHECK_EQ(put(2, 0, "bl"), 2);
    CHECK_EQ(put(2, 3, "ue"), -EINVAL);
    CHECK_EQ(put(2, 2, "ue!"), -EINVAL);
    CHECK_EQ(put(2, 2, "ue"), 2);
    CHECK_EQ(p9c_clunk(&k, 2), 0);
    CHECK_EQ(p9c(&k, XATTRWALK, "dds", 1u, 3u, "user.color"), 0);
    CHECK_EQ(p9c_get(&k, 8), 4);
    CHECK_EQ(get(3, 0, 100, "blue"), 0);
    CHECK_EQ(get(3, 2, 1, "u"), 0);
    CHECK_EQ(get(3, 4, 1, ""), 0);
    CHECK_EQ(p9c_clunk(&k, 3), 0);
    CHECK_EQ(p9c(&k, XATTRWALK, "dds", 1u, 3u, ""), 0);
    CHECK_EQ(p9c_get(&k, 8), 11);                           /* the guest's own alone */
    CHECK_EQ(p9c(&k, READ, "dqd", 3u, UINT64_C(0), 100u), 0);
    CHECK_EQ(p9c_get(&k, 4), 11);
    CHECK(!memcmp(k.rep + k.at, "user.color", 11));
    CHECK_EQ(p9c_clunk(&k, 3), 0);
    CHECK_EQ(p9c(&k, XATTRWALK, "dds", 1u, 3u, "user.virtfs.uid"), -EACCES);
    CHECK_EQ(p9c(&k, XATTRWALK, "dds", 1u, 3u, "security.capability"), -EOPNOTSUPP);
    CHECK_EQ(p9c(&k, XATTRWALK, "dds", 1u, 3u, "trusted.overlay"), -EOPNOTSUPP);
    CHECK_EQ(p9c(&k, XATTRWALK, "dds", 1u, 3u, "user.none"), -ENODATA);
    CHECK_EQ(p9c_walk(&k, 0, 2, "f"), 0);
    CHECK_EQ(p9c(&k, XATTRCREATE, "dsqd", 2u, "user.virtfs.mode", UINT64_C(4), 0u), -EACCES);
    CHECK_EQ(p9c(&k, XATTRCREATE, "dsqd", 2u, "user.big", UINT64_C(1) << 40, 0u), -E2BIG);
    CHECK_EQ(p9c(&k, XATTRCREATE, "dsqd", 2u, "user.color", UINT64_C(0), 0u), 0);       /* removes it */
    CHECK_EQ(p9c_clunk(&k, 2), 0);
    CHECK_EQ(p9c(&k, XATTRWALK, "dds", 1u, 3u, "user.color"), -ENODATA);
    stop();
}

static bool host_has_xattrs(void)
{
    g_autofree char *tmp = g_dir_make_tmp("lyre-9p-XXXXXX", NULL);
    bool yes = !setxattr(tmp, "user.x", "y", 1, 0);

    rmdir(tmp);
    return yes;
}

static void test_xattr(void)
{
    xattr_cycle(FS_NONE);
    xattr_cycle(FS_MAPPED_XATTR);
    xattr_cycle(FS_MAPPED_FILE);
}

static void test_readonly(void)
{
    start(FS_NONE);
    host_write("share/f", "text");
    fs.readonly = true;
    CHECK_EQ(p9c_walk(&k, 0, 1, "f"), 0);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 1u, 1u), -EROFS);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 1u, 01000u), -EROFS);
    CHECK_EQ(p9c(&k, LOPEN, "dd", 1u, 0u), 0);
    CHECK_EQ(get(1, 0, 10, "text"), 0);
    CHECK_EQ(put(1, 0, "x"), -EROFS);
    CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, "d", 0755u, 0u), -EROFS);
    CHECK_EQ(p9c(&k, UNLINKAT, "dsd", 0u, "f", 0u), -EROFS);
    CHECK_EQ(p9c(&k, REMOVE, "d", 1u), -EROFS);
    CHECK(host_has("share/f", "text"));
    stop();
}

/* ---- limits */

static void test_deep(void)
{
    unsigned depth = 0;

    start(FS_NONE);
    CHECK_EQ(p9c_walk(&k, 0, 1, ""), 0);
    for (; depth < 1000; depth++) {
        if (p9c(&k, MKDIR, "dsdd", 1u, "d", 0755u, 0u) || p9c_walk(&k, 1, 2, "d"))
            break;
        p9c_clunk(&k, 1);
        p9c_walk(&k, 2, 1, "");
        p9c_clunk(&k, 2);
    }
    CHECK(depth >= 200 && depth < 1000);
    /* Trees put below each other become deeper than walks may be: still bounded. */
    for (int i = 0; i < 5; i++) {
        char name[8];

        snprintf(name, sizeof(name), "t%d", i);
        CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, name, 0755u, 0u), 0);
        CHECK_EQ(p9c_walk(&k, 0, 10 + i, name), 0);
        CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, i ? "x" : "d", 10u + i, "sub"), 0);
        if (i < 4)
            CHECK_EQ(p9c(&k, RENAMEAT, "dsds", 0u, name, 0u, "x"), 0);
    }
    p9_forget(k.server);
    stop();
}

/* Many folders, few descriptors: closed ones are opened again by their parents. */
static void test_many(void)
{
    P9Attr a;

    CHECK(!setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1000, 1000 }));
    start(FS_NONE);
    for (unsigned i = 0; i < 1000; i++) {
        char name[32];

        snprintf(name, sizeof(name), "d%u", i);
        CHECK_EQ(p9c(&k, MKDIR, "dsdd", 0u, name, 0755u, 0u), 0);
        CHECK_EQ(p9c_walk(&k, 0, 10 + i, name), 0);
        CHECK_EQ(p9c(&k, MKDIR, "dsdd", 10 + i, "sub", 0755u, 0u), 0);
    }
    for (unsigned i = 0; i < 1000; i++) {
        CHECK_EQ(p9c_walk(&k, 10 + i, 5, "sub"), 0);
        CHECK_EQ(p9c_getattr(&k, 5, &a), 0);
        CHECK_EQ(p9c_clunk(&k, 5), 0);
    }
    CHECK_EQ(p9_fids(k.server), 1001);
    p9_forget(k.server);
    CHECK_EQ(p9_fids(k.server), 0);
    stop();
}

static void test_nonsense(void)
{
    uint32_t seed = 1;

    start(FS_NONE);
    /* Cut anywhere: an error or no answer, never a part of another message. */
    static const uint8_t whole[] = { 27, 0, 0, 0, WALK, 1, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2, 0, 1, 0, 'a', 5, 0, 'b', 'c', 'd', 'e', 'f' };
    for (unsigned n = 0; n < sizeof(whole); n++) {
        memcpy(k.req, whole, sizeof(whole));
        p9c_raw(&k, n);
        k.req[0] = n;
        if (p9c_raw(&k, sizeof(whole)))
            CHECK_EQ(k.rep[4], 7);
    }
    k.room = 10;                                            /* no room for replies */
    memcpy(k.req, whole, sizeof(whole));
    CHECK(!p9c_raw(&k, sizeof(whole)));
    k.room = 11;                                            /* for the smallest */
    CHECK_EQ(p9c(&k, STATFS, "d", 0u), -EMSGSIZE);
    CHECK_EQ(p9c(&k, FLUSH, "w", 3), 0);
    CHECK_EQ(p9c(&k, WALK, "ddw", 0u, 55u, 0), 0);
    CHECK_EQ(p9c_clunk(&k, 55), 0);
    CHECK_EQ(p9c(&k, READ, "dqd", 0u, UINT64_C(0), 0xffffffffu), -EBADF);
    CHECK_EQ(p9c(&k, READDIR, "dqd", 0u, UINT64_C(0), 0xffffffffu), -EBADF);
    k.room = 0;
    CHECK_EQ(create(1, 0, "f", 0644), 0);
    CHECK_EQ(p9c(&k, WRITE, "dqdr", 1u, UINT64_C(0), 1000u, "abc", 3u), -EINVAL);
    CHECK_EQ(p9c(&k, WRITE, "dqdr", 1u, UINT64_MAX, 3u, "abc", 3u), -EINVAL);
    CHECK_EQ(p9c(&k, READ, "dqd", 1u, UINT64_MAX, 3u), -EINVAL);
    CHECK_EQ(get(1, 0, 0xffffffff, ""), 0);
    CHECK_EQ(p9c(&k, WALK, "ddw", 0u, 5u, 17), -EINVAL);
    CHECK_EQ(p9c(&k, WALK, "ddws", 0u, 5u, 2, "f"), -EINVAL);
    CHECK_EQ(p9c_walk(&k, 0, 1, ""), -EBADF);               /* taken */
    /* Bytes at random behind a good head. */
    for (int i = 0; i < 20000; i++) {
        unsigned n = 7 + (seed >> 24) % 60;

        for (unsigned j = 0; j < n; j++)
            k.req[j] = (seed = seed * 1664525 + 1013904223) >> 24 & (j & 1 ? 3 : 255);
        memcpy(k.req, &(uint32_t){ n }, 4);
        if (k.req[4] != VERSION)
            p9c_raw(&k, n);
    }
    CHECK(host_has("secret", "secret"));
    stop();
}

/* ---- the options */

static bool says(Err *e, const char *text)
{
    bool yes = e && (strstr(err_text(e), text) || (err_hint_text(e) && strstr(err_hint_text(e), text)));

    if (!yes)
        printf("it says: %s\n", e ? err_text(e) : "nothing");
    err_free(e);
    return yes;
}

static void test_options(void)
{
    Vm vm = { 0 };
    FsDev *f;
    char *a, *b;

    CHECK(says(fsdev_add(&vm, "local,id=x,path=/tmp"), "security_model"));
    CHECK(says(fsdev_add(&vm, "local,id=x,security_model=none"), "no path"));
    CHECK(says(fsdev_add(&vm, "local,path=/tmp,security_model=none"), "no id"));
    CHECK(says(fsdev_add(&vm, "local,id=x,path=/nonexistent,security_model=none"), "No such file"));
    CHECK(says(fsdev_add(&vm, "proxy,id=x,socket=y"), "socket"));
    CHECK(says(fsdev_add(&vm, "synth,id=x"), "not available"));
    CHECK(says(fsdev_add(&vm, "local,id=x,path=/tmp,security_model=none,throttling.bps-total=5"), "throttling"));
    CHECK(says(fsdev_add(&vm, "local,id=x,path=/tmp,security_model=none,fmode=0600"), "mapped"));
    CHECK(says(fsdev_add(&vm, "local,id=x,path=/tmp,security_model=mapped,fmode=9"), "octal"));
    CHECK(!fsdev_add(&vm, "local,id=x,path=/tmp,security_model=mapped,fmode=0640,dmode=0750,readonly=on,multidevs=forbid"));
    CHECK(says(fsdev_add(&vm, "local,id=x,path=/tmp,security_model=none"), "taken"));
    CHECK(!fsdev_find(&vm, "x", &f));
    CHECK(f->model == FS_MAPPED_XATTR && f->fmode == 0640 && f->dmode == 0750 && f->readonly && f->multidevs == FS_FORBID);
    CHECK(says(fsdev_find(&vm, "y", &f), "'y'"));
    CHECK(says(virtfs_split("local,path=/tmp,security_model=none", 0, &a, &b), "mount_tag"));
    CHECK(!virtfs_split("local,path=/a,,b,mount_tag=tag,security_model=none,readonly=on", 3, &a, &b));
    CHECK_STR(a, "local,path=/a,,b,security_model=none,readonly=on,id=virtfs3");
    CHECK_STR(b, "virtio-9p-pci,fsdev=virtfs3,mount_tag=tag");
    g_free(a);
    g_free(b);
    fsdevs_free(&vm);
}

int main(void)
{
    RUN(test_version);
    RUN(test_files);
    RUN(test_setattr);
    RUN(test_escape);
    RUN(test_races);
    RUN(test_rename_loop);
    RUN(test_special);
    RUN(test_unlinked);
    RUN(test_readdir);
    RUN(test_readonly);
    RUN(test_deep);
    RUN(test_nonsense);
    RUN(test_options);
    if (host_has_xattrs()) {
        RUN(test_mapped);
        RUN(test_xattr);
    }
    RUN(test_many);             /* leaves few descriptors behind */
    return test_end();
}
