/* SPDX-License-Identifier: MIT */
/*
 * What the host says of a file, as the guest shall see it, and what the guest
 * says, in the host: owners, modes and kinds by the security model. The names
 * and forms of what mapped models keep are QEMU's, so that a folder can be
 * used by both:
 *   mapped-xattr  user.virtfs.{uid,gid,mode} 32 bits, .rdev 64 bits, little-endian
 *   mapped-file   .virtfs_metadata/NAME, lines "virtfs.uid=N" .. (the root's: .virtfs_metadata_root)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "hw/9p/p9-priv.h"

#define META ".virtfs_metadata"
#define META_ROOT ".virtfs_metadata_root"

bool p9_name_hidden(const P9Server *s, const char *name)
{
    return s->fs->model == FS_MAPPED_FILE && (!strcmp(name, META) || !strcmp(name, META_ROOT));
}

bool p9_name_ok(const P9Server *s, const char *name)
{
    return *name && strcmp(name, ".") && strcmp(name, "..") && !strchr(name, '/') &&
           strlen(name) <= P9_NAME_MOST && !p9_name_hidden(s, name);
}

/*
 * The magic link of a descriptor leads to what is open, and nowhere else. Behind a
 * name, l*xattr do not follow; the descriptor of a link itself is no link to follow.
 */
void p9_proc_path(P9At at, char path[static 64 + 256])
{
    snprintf(path, 64 + 256, "/proc/self/fd/%d%s%s", at.dir, *at.name ? "/" : "", at.name);
}

static ssize_t xattr_get(P9At at, const char *name, void *buf, size_t size)
{
    char path[64 + 256];

    p9_proc_path(at, path);
    return *at.name ? lgetxattr(path, name, buf, size) : getxattr(path, name, buf, size);
}

static int xattr_set(P9At at, const char *name, const void *buf, size_t size)
{
    char path[64 + 256];

    p9_proc_path(at, path);
    return (*at.name ? lsetxattr(path, name, buf, size, 0) : setxattr(path, name, buf, size, 0)) < 0 ? -errno : 0;
}

/* ---- what a mapped model keeps: -1 is not kept */

static int64_t xattr_number(P9At at, const char *name, unsigned bytes)
{
    uint8_t b[8];
    uint64_t v = 0;

    if (xattr_get(at, name, b, sizeof(b)) != (ssize_t)bytes)
        return -1;
    for (unsigned i = 0; i < bytes; i++)
        v |= (uint64_t)b[i] << 8 * i;
    return v & INT64_MAX;
}

/* Most files have none at all: that is one question. */
static P9Cred xattr_cred(P9At at)
{
    P9Cred c = { -1, -1, -1, -1 };
    char path[64 + 256];

    p9_proc_path(at, path);
    ssize_t n = *at.name ? llistxattr(path, NULL, 0) : listxattr(path, NULL, 0);
    if (n <= 0)
        return c;
    c.uid = xattr_number(at, "user.virtfs.uid", 4);
    c.gid = xattr_number(at, "user.virtfs.gid", 4);
    c.mode = xattr_number(at, "user.virtfs.mode", 4);
    if (c.mode > 0 && (S_ISCHR(c.mode) || S_ISBLK(c.mode)))
        c.rdev = xattr_number(at, "user.virtfs.rdev", 8);
    return c;
}

static int xattr_put(P9At at, const char *name, int64_t v, unsigned bytes)
{
    uint8_t b[8];

    for (unsigned i = 0; i < bytes; i++)
        b[i] = v >> 8 * i;
    return v < 0 ? 0 : xattr_set(at, name, b, bytes);
}

static int xattr_set_cred(P9At at, const P9Cred *c)
{
    int e = xattr_put(at, "user.virtfs.uid", c->uid, 4);

    e = e ? e : xattr_put(at, "user.virtfs.gid", c->gid, 4);
    e = e ? e : xattr_put(at, "user.virtfs.mode", c->mode, 4);
    return e ? e : xattr_put(at, "user.virtfs.rdev", c->rdev, 8);
}

/* The folder with metadata beside `at` (O_PATH), and the name in it: the root's lie in the root itself. */
static int meta_folder(P9At at, bool make, const char **name)
{
    *name = *at.name ? at.name : META_ROOT;
    if (!*at.name)
        return fcntl(at.dir, F_DUPFD_CLOEXEC, 3);
    if (make && mkdirat(at.dir, META, 0700) < 0 && errno != EEXIST)
        return -1;
    return openat(at.dir, META, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static P9Cred meta_cred(P9At at)
{
    static const char *const keys[] = { "virtfs.uid=", "virtfs.gid=", "virtfs.mode=", "virtfs.rdev=" };
    P9Cred c = { -1, -1, -1, -1 };
    int64_t *const to[] = { &c.uid, &c.gid, &c.mode, &c.rdev };
    const char *name;
    char text[256];
    int dir = meta_folder(at, false, &name);
    int fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    text[MAX(n, 0)] = 0;
    for (unsigned i = 0; i < G_N_ELEMENTS(keys); i++) {
        const char *at_key = strstr(text, keys[i]);

        if (at_key)
            *to[i] = strtoll(at_key + strlen(keys[i]), NULL, 10) & UINT32_MAX;
    }
    return c;
}

static int meta_set_cred(P9At at, const P9Cred *c)
{
    P9Cred all = meta_cred(at);
    char text[256];
    const char *name;
    int len = 0, e = 0, dir = meta_folder(at, true, &name);

    all.uid = c->uid >= 0 ? c->uid : all.uid;
    all.gid = c->gid >= 0 ? c->gid : all.gid;
    all.mode = c->mode >= 0 ? c->mode : all.mode;
    all.rdev = c->rdev >= 0 ? c->rdev : all.rdev;
    const struct { const char *key; int64_t v; } rows[] = {
        { "uid", all.uid }, { "gid", all.gid }, { "mode", all.mode }, { "rdev", all.rdev },
    };
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].v >= 0)
            len += snprintf(text + len, sizeof(text) - len, "virtfs.%s=%u\n", rows[i].key, (unsigned)rows[i].v);
    if (dir < 0)
        return -errno;
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, len) != len)
        e = -errno;
    if (fd >= 0)
        close(fd);
    close(dir);
    return e;
}

/* ---- looking */

static void show_mapped(P9Server *s, P9At at, struct statx *st)
{
    P9Cred c = s->fs->model == FS_MAPPED_XATTR ? xattr_cred(at) : meta_cred(at);

    if (c.uid >= 0)
        st->stx_uid = c.uid;
    if (c.gid >= 0)
        st->stx_gid = c.gid;
    if (c.mode >= 0)
        st->stx_mode = S_ISDIR(st->stx_mode) || !(c.mode & S_IFMT) || S_ISDIR(c.mode)
                       ? (st->stx_mode & S_IFMT) | (c.mode & 07777) : c.mode & 0177777;
    if (c.rdev >= 0) {
        st->stx_rdev_major = major(c.rdev);
        st->stx_rdev_minor = minor(c.rdev);
    }
}

enum { WANTED = STATX_BASIC_STATS | STATX_BTIME };

int p9_stat(P9Server *s, P9At at, struct statx *st)
{
    if (statx(at.dir, at.name, AT_SYMLINK_NOFOLLOW | (*at.name ? 0 : AT_EMPTY_PATH), WANTED, st) < 0)
        return -errno;
    if (mapped(s))
        show_mapped(s, at, st);
    return 0;
}

int p9_fstat(P9Server *s, P9Fid *f, struct statx *st)
{
    P9At at;

    /* Where metadata lie beside the file, its name is what leads to them. */
    if (f->fd >= 0 && s->fs->model != FS_MAPPED_FILE)
        return p9_stat(s, (P9At){ f->fd, "" }, st);
    int e = p9_node_at(s, f->node, &at);
    if (f->fd >= 0 && (e || f->node->gone))
        return statx(f->fd, "", AT_EMPTY_PATH, WANTED, st) < 0 ? -errno : 0;
    return e ? e : p9_stat(s, at, st);
}

/* ---- qids */

/* The device's number among those seen so far; 0 is the root's. -1: too many. */
static int device_index(P9Server *s, uint32_t maj, uint32_t min)
{
    for (unsigned i = 0; i < s->n_devices; i++)
        if (s->devices[i].major == maj && s->devices[i].minor == min)
            return i;
    if (s->n_devices == G_N_ELEMENTS(s->devices))
        return -1;
    s->devices[s->n_devices].major = maj;
    s->devices[s->n_devices].minor = min;
    return s->n_devices++;
}

int p9_qid_of(P9Server *s, uint32_t maj, uint32_t min, uint64_t ino, unsigned mode, P9Qid *q)
{
    int i = device_index(s, maj, min);

    if (i && s->fs->multidevs == FS_FORBID)
        return -ENODEV;
    if (i && s->fs->multidevs == FS_WARN && !s->told_devices) {
        err_note("fsdev '%s': there are several file systems below '%s'; files of two may look like one: "
                 "multidevs=remap mends that", s->fs->id, s->fs->path);
        s->told_devices = true;
    }
    q->type = S_ISDIR(mode) ? 0x80 : S_ISLNK(mode) ? 0x02 : 0;
    q->path = ino;
    /* Inode numbers with the upper 16 bits in use are rare, and mixed then. */
    if (i && s->fs->multidevs == FS_REMAP)
        q->path = ino >> 48 ? (ino * UINT64_C(0x9e3779b97f4a7c15)) ^ (uint64_t)(i + 1) << 48 : ino | (uint64_t)(i + 1) << 48;
    return 0;
}

int p9_qid(P9Server *s, const struct statx *st, P9Qid *q)
{
    q->version = (uint32_t)st->stx_mtime.tv_sec ^ st->stx_mtime.tv_nsec ^ (uint32_t)(st->stx_size << 8);
    return p9_qid_of(s, st->stx_dev_major, st->stx_dev_minor, st->stx_ino, st->stx_mode, q);
}

/* ---- opening */

/* Devices and FIFOs of the host are none of the guest's: what it is, is known before it is opened. */
int p9_open(P9At at, int flags)
{
    char path[64 + 256];
    struct stat st;
    int fd = *at.name ? openat(at.dir, at.name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : at.dir;

    if (fd < 0)
        return -errno;
    p9_proc_path((P9At){ fd, "" }, path);
    int r = fstat(fd, &st) < 0 ? -errno : S_ISLNK(st.st_mode) ? -ELOOP : S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) ? 0 : -ENXIO;
    if (!r) {
        r = open(path, flags | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (r < 0)
            r = -errno;
    }
    if (fd != at.dir)
        close(fd);
    return r;
}

/* ---- what the guest says */

/* Owner and mode are the host's own. chmod by the magic link follows nothing else; a link has no mode. */
static int host_set_cred(P9Server *s, P9At at, const P9Cred *c)
{
    char path[64 + 256];
    int e = 0;

    if (c->uid >= 0 || c->gid >= 0) {
        uid_t uid = c->uid >= 0 ? (uid_t)c->uid : (uid_t)-1;
        gid_t gid = c->gid >= 0 ? (gid_t)c->gid : (gid_t)-1;

        if (fchownat(at.dir, at.name, uid, gid, AT_SYMLINK_NOFOLLOW | (*at.name ? 0 : AT_EMPTY_PATH)) < 0 &&
            s->fs->model != FS_NONE)
            return -errno;
    }
    if (c->mode < 0 || S_ISLNK(c->mode))
        return 0;
    int fd = *at.name ? openat(at.dir, at.name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : at.dir;
    if (fd < 0)
        return -errno;
    p9_proc_path((P9At){ fd, "" }, path);
    if (chmod(path, c->mode & 07777) < 0 && errno != EOPNOTSUPP)
        e = -errno;
    if (fd != at.dir)
        close(fd);
    return e;
}

int p9_set_cred(P9Server *s, P9At at, const P9Cred *c)
{
    switch (s->fs->model) {
    case FS_MAPPED_XATTR: return xattr_set_cred(at, c);
    case FS_MAPPED_FILE:  return meta_set_cred(at, c);
    default:              return host_set_cred(s, at, c);
    }
}

/* ---- metadata files go where their files go */

void p9_forget_cred(P9Server *s, P9At at)
{
    const char *name;
    int dir = s->fs->model == FS_MAPPED_FILE && *at.name ? meta_folder(at, false, &name) : -1;

    if (dir < 0)
        return;
    unlinkat(dir, name, 0);
    close(dir);
}

static int meta_move(P9Server *s, P9At from, P9At to, bool keep)
{
    const char *a, *b;
    int src = s->fs->model == FS_MAPPED_FILE ? meta_folder(from, false, &a) : -1, dst, e = 0;

    if (src < 0)
        return 0;
    dst = meta_folder(to, true, &b);
    if (dst < 0)
        e = -errno;
    else if ((keep ? linkat(src, a, dst, b, 0) : renameat(src, a, dst, b)) < 0 && errno != ENOENT)
        e = -errno;
    if (dst >= 0)
        close(dst);
    close(src);
    return e;
}

/* After the rename: what was kept of the file replaced is not this one's. */
int p9_rename_cred(P9Server *s, P9At from, P9At to)
{
    p9_forget_cred(s, to);
    return meta_move(s, from, to, false);
}

int p9_link_cred(P9Server *s, P9At from, P9At to)
{
    return meta_move(s, from, to, true);
}

/* A folder that is empty for the guest may still have the folder of metadata, which is empty then. */
int p9_before_rmdir(P9Server *s, P9At at)
{
    int dir = s->fs->model == FS_MAPPED_FILE ? openat(at.dir, at.name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

    if (dir >= 0) {
        unlinkat(dir, META, AT_REMOVEDIR);
        close(dir);
    }
    return 0;
}
