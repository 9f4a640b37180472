/* SPDX-License-Identifier: MIT */
/*
 * Messages about names and attributes: attach, walk, clunk, getattr, setattr,
 * making, linking, renaming, removing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "hw/9p/p9-priv.h"

enum { WALK_MOST = 16, NO_ID = -1 };

static int find(P9Server *s, P9In *in, P9Fid **f)
{
    *f = p9_fid_find(s, p9_in_u32(in));
    return *f ? 0 : -EBADF;
}

/* A fid that stands for a path: its folder is where something is made. */
static int find_path(P9Server *s, P9In *in, P9Fid **f)
{
    int e = find(s, in, f);

    return e ? e : (*f)->kind == FID_XATTR_READ || (*f)->kind == FID_XATTR_WRITE ? -EBADF : 0;
}

/* ---- sessions and walks */

int p9_t_attach(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    uint32_t id = p9_in_u32(in), afid = p9_in_u32(in);
    struct statx st;
    P9Qid q;
    P9At at;

    p9_in_str(in);                                         /* uname */
    p9_in_str(in);                                         /* aname: there is one tree */
    uint32_t uid = p9_in_u32(in);
    if (in->bad)
        return -EINVAL;
    if (afid != (uint32_t)NO_ID)
        return -EOPNOTSUPP;
    int e = p9_node_at(s, s->root, &at);
    e = e ? e : p9_stat(s, at, &st);
    e = e ? e : p9_qid(s, &st, &q);
    e = e ? e : p9_fid_new(s, id, p9_node_ref(s->root), uid, NULL);
    if (!e)
        p9_out_qid(out, &q);
    return e;
}

/* One name down (or up); the reference moves from *n to what is there. */
static int step(P9Server *s, P9Node **n, const char *name, P9Qid *q)
{
    P9Node *next;
    struct statx st;
    P9At at;

    if (!strcmp(name, ".."))
        next = p9_node_ref((*n)->parent ? (*n)->parent : *n);
    else if (!strcmp(name, "."))
        next = p9_node_ref(*n);
    else if (!p9_name_ok(s, name))
        return -ENOENT;
    else if ((*n)->depth >= P9_DEPTH_MOST)
        return -ENAMETOOLONG;
    else
        next = p9_node_child(s, *n, name);
    int e = p9_node_at(s, next, &at);
    e = e ? e : p9_stat(s, at, &st);
    e = e ? e : p9_qid(s, &st, q);
    if (e) {
        p9_node_unref(s, next);
        return e;
    }
    p9_node_seen(s, next, &st);
    p9_node_unref(s, *n);
    *n = next;
    return 0;
}

/* Moves f to n, or makes the new fid there. The reference of n is taken. */
static int arrive(P9Server *s, P9Fid *f, uint32_t id, P9Node *n)
{
    if (f->id != id)
        return p9_fid_new(s, id, n, f->uid, NULL);
    if (f->kind != FID_PATH || f->refs > 1) {
        p9_node_unref(s, n);
        return -EBUSY;
    }
    p9_node_unref(s, f->node);
    f->node = n;
    return 0;
}

int p9_t_walk(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    int e = find_path(s, in, &f);
    uint32_t id = p9_in_u32(in);
    unsigned n = p9_in_u16(in), done = 0;
    P9Qid q[WALK_MOST];

    if (e)
        return e;
    if (in->bad || n > WALK_MOST)
        return -EINVAL;
    if (f->id != id && p9_fid_find(s, id))
        return -EBADF;
    P9Node *at = p9_node_ref(f->node);
    for (; done < n; done++) {
        e = step(s, &at, p9_in_str(in), &q[done]);
        if (in->bad)
            e = -EINVAL;
        if (e)
            break;
    }
    /* As far as it went; the new fid is only there when that is to the end. */
    if (e) {
        p9_node_unref(s, at);
        if (!done || in->bad)
            return e;
    } else {
        e = arrive(s, f, id, at);
        if (e)
            return e;
    }
    p9_out_u16(out, done);
    for (unsigned i = 0; i < done; i++)
        p9_out_qid(out, &q[i]);
    return 0;
}

int p9_t_clunk(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    int e = find(s, in, &f);

    return e ? e : p9_fid_drop(s, f);
}

/* ---- attributes */

int p9_t_getattr(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    enum { BASIC = 0x7ff, BTIME = 0x800 };
    struct statx st;
    P9Fid *f;
    P9Qid q;
    int e = find_path(s, in, &f);
    uint64_t mask = p9_in_u64(in);

    e = e ? e : p9_fstat(s, f, &st);
    e = e ? e : p9_qid(s, &st, &q);
    if (e)
        return e;
    bool born = st.stx_mask & STATX_BTIME;
    p9_out_u64(out, mask & (born ? BASIC | BTIME : BASIC));
    p9_out_qid(out, &q);
    p9_out_u32(out, st.stx_mode);
    p9_out_u32(out, st.stx_uid);
    p9_out_u32(out, st.stx_gid);
    p9_out_u64(out, st.stx_nlink);
    p9_out_u64(out, makedev(st.stx_rdev_major, st.stx_rdev_minor));
    p9_out_u64(out, st.stx_size);
    p9_out_u64(out, st.stx_blksize);
    p9_out_u64(out, st.stx_blocks);
    const struct statx_timestamp none = { 0 };
    const struct statx_timestamp *times[] = { &st.stx_atime, &st.stx_mtime, &st.stx_ctime, born ? &st.stx_btime : &none };
    for (unsigned i = 0; i < G_N_ELEMENTS(times); i++) {
        p9_out_u64(out, times[i]->tv_sec);
        p9_out_u64(out, times[i]->tv_nsec);
    }
    p9_out_u64(out, 0);            /* generation */
    p9_out_u64(out, 0);            /* data version */
    return 0;
}

enum { SET_MODE = 1, SET_UID = 2, SET_GID = 4, SET_SIZE = 8, SET_ATIME = 0x10, SET_MTIME = 0x20, SET_ATIME_TO = 0x80,
       SET_MTIME_TO = 0x100 };

static int set_size(P9Server *s, P9Fid *f, P9At at, uint64_t size)
{
    int flags = f->fd >= 0 ? fcntl(f->fd, F_GETFL) & O_ACCMODE : O_RDONLY;
    int fd = flags != O_RDONLY ? f->fd : p9_open(at, O_WRONLY);

    if (fd < 0)
        return fd;
    int r = size > INT64_MAX ? -EFBIG : ftruncate(fd, size) < 0 ? -errno : 0;
    if (fd != f->fd)
        close(fd);
    return r;
}

static int set_times(P9At at, uint32_t valid, const struct timespec given[2])
{
    struct timespec t[2];

    for (int i = 0; i < 2; i++) {
        t[i] = given[i];
        if (!(valid & (i ? SET_MTIME : SET_ATIME)))
            t[i].tv_nsec = UTIME_OMIT;
        else if (!(valid & (i ? SET_MTIME_TO : SET_ATIME_TO)))
            t[i].tv_nsec = UTIME_NOW;
        else if (t[i].tv_nsec < 0 || t[i].tv_nsec > 999999999)
            return -EINVAL;
    }
    return utimensat(at.dir, at.name, t, AT_SYMLINK_NOFOLLOW | (*at.name ? 0 : AT_EMPTY_PATH)) < 0 ? -errno : 0;
}

int p9_t_setattr(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    struct timespec t[2];
    P9At at;
    int e = find_path(s, in, &f);
    uint32_t valid = p9_in_u32(in), mode = p9_in_u32(in), uid = p9_in_u32(in), gid = p9_in_u32(in);
    uint64_t size = p9_in_u64(in);

    for (int i = 0; i < 2; i++) {
        t[i].tv_sec = p9_in_u64(in);
        t[i].tv_nsec = p9_in_u64(in);
    }
    if (e || in->bad)
        return e ? e : -EINVAL;
    e = p9_node_at(s, f->node, &at);
    if (e)
        return e;
    P9Cred cred = {
        .uid = valid & SET_UID ? (int64_t)uid : -1, .gid = valid & SET_GID ? (int64_t)gid : -1, .mode = -1, .rdev = -1,
    };
    if (valid & SET_MODE) {
        struct statx st;

        /* A mapped mode says what it is, too. */
        e = mapped(s) ? p9_stat(s, at, &st) : 0;
        if (e)
            return e;
        cred.mode = (mapped(s) ? st.stx_mode & S_IFMT : 0) | (mode & 07777);
    }
    if (valid & (SET_MODE | SET_UID | SET_GID))
        e = p9_set_cred(s, at, &cred);
    if (!e && valid & SET_SIZE)
        e = set_size(s, f, at, size);
    if (!e && valid & (SET_ATIME | SET_MTIME))
        e = set_times(at, valid, t);
    return e;
}

int p9_t_statfs(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    struct statfs st;
    P9At at;
    int e = find_path(s, in, &f);

    e = e ? e : p9_node_at(s, f->node, &at);
    if (e)
        return e;
    if (fstatfs(at.dir, &st) < 0)
        return -errno;
    uint64_t id;
    memcpy(&id, &st.f_fsid, sizeof(id));
    p9_out_u32(out, st.f_type);
    p9_out_u32(out, st.f_bsize);
    p9_out_u64(out, st.f_blocks);
    p9_out_u64(out, st.f_bfree);
    p9_out_u64(out, st.f_bavail);
    p9_out_u64(out, st.f_files);
    p9_out_u64(out, st.f_ffree);
    p9_out_u64(out, id);
    p9_out_u32(out, P9_NAME_MOST);
    return 0;
}

int p9_t_readlink(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    struct statx st;
    char text[4096 + 1];
    P9At at;
    int e = find_path(s, in, &f);

    e = e ? e : p9_node_at(s, f->node, &at);
    e = e ? e : p9_stat(s, at, &st);
    if (e)
        return e;
    if (!S_ISLNK(st.stx_mode))
        return -EINVAL;
    ssize_t n = readlinkat(at.dir, at.name, text, sizeof(text) - 1);
    if (n < 0 && mapped(s)) {
        int fd = p9_open(at, O_RDONLY);

        n = fd < 0 ? fd : read(fd, text, sizeof(text) - 1);
        if (fd < 0)
            return fd;
        close(fd);
    }
    if (n < 0)
        return -errno;
    text[n] = 0;
    p9_out_str(out, text);
    return 0;
}

/* ---- making */

/* The folder that a name is made in, the name, and the fid. */
static int target(P9Server *s, P9In *in, P9Fid **f, P9At *at)
{
    int e = find_path(s, in, f), fd;

    at->name = p9_in_str(in);
    if (e)
        return e;
    if (!p9_name_ok(s, at->name))
        return -EINVAL;
    fd = p9_node_fd(s, (*f)->node);
    at->dir = fd;
    return fd < 0 ? fd : 0;
}

static int reply_qid(P9Server *s, P9At at, P9Out *out)
{
    struct statx st;
    P9Qid q;
    int e = p9_stat(s, at, &st);

    e = e ? e : p9_qid(s, &st, &q);
    if (!e)
        p9_out_qid(out, &q);
    return e;
}

/* Owner and mode of something just made; what cannot have them is not left behind. */
static int own(P9Server *s, P9At at, const P9Fid *f, uint32_t gid, uint32_t mode, int64_t rdev)
{
    P9Cred c = {
        .uid = f->uid == (uint32_t)NO_ID ? -1 : (int64_t)f->uid, .gid = gid == (uint32_t)NO_ID ? -1 : (int64_t)gid,
        .mode = mode, .rdev = mapped(s) ? rdev : -1,
    };
    int e = p9_set_cred(s, at, &c);

    if (e)
        unlinkat(at.dir, at.name, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
    return e;
}

int p9_t_mkdir(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    P9At at;
    int e = target(s, in, &f, &at);
    uint32_t mode = p9_in_u32(in) & 07777, gid = p9_in_u32(in);

    if (e || in->bad)
        return e ? e : -EINVAL;
    if (mkdirat(at.dir, at.name, mapped(s) ? s->fs->dmode : mode & 01777) < 0)
        return -errno;
    e = own(s, at, f, gid, S_IFDIR | mode, -1);
    return e ? e : reply_qid(s, at, out);
}

/* With a mapped model a regular file stands for it. */
static int make_plain(P9Server *s, P9At at, const char *text)
{
    size_t n = strlen(text);
    int fd = openat(at.dir, at.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, s->fs->fmode);

    if (fd < 0)
        return -errno;
    int e = write(fd, text, n) == (ssize_t)n ? 0 : -EIO;
    close(fd);
    if (e)
        unlinkat(at.dir, at.name, 0);
    return e;
}

int p9_t_mknod(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    P9At at;
    int e = target(s, in, &f, &at);
    uint32_t mode = p9_in_u32(in), maj = p9_in_u32(in), min = p9_in_u32(in), gid = p9_in_u32(in);

    if (e || in->bad)
        return e ? e : -EINVAL;
    if (S_ISDIR(mode) || S_ISLNK(mode))
        return -EINVAL;
    if (mapped(s))
        e = make_plain(s, at, "");
    else if (mknodat(at.dir, at.name, mode & (S_IFMT | 0777), makedev(maj, min)) < 0)
        e = -errno;
    e = e ? e : own(s, at, f, gid, mode & (S_IFMT | 07777), makedev(maj, min));
    return e ? e : reply_qid(s, at, out);
}

int p9_t_symlink(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    P9At at;
    int e = target(s, in, &f, &at);
    const char *to = p9_in_str(in);
    uint32_t gid = p9_in_u32(in);

    if (e || in->bad)
        return e ? e : -EINVAL;
    if (strlen(to) > 4095)
        return -ENAMETOOLONG;
    if (mapped(s))
        e = make_plain(s, at, to);
    else if (symlinkat(to, at.dir, at.name) < 0)
        e = -errno;
    e = e ? e : own(s, at, f, gid, S_IFLNK | 0777, -1);
    return e ? e : reply_qid(s, at, out);
}

int p9_t_link(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *d, *f;
    char path[64 + 256];
    P9At to, from;
    int e = find_path(s, in, &d);

    e = e ? e : find_path(s, in, &f);
    if (e)
        return e;
    to.name = p9_in_str(in);
    if (in->bad || !p9_name_ok(s, to.name))
        return -EINVAL;
    e = p9_node_at(s, f->node, &from);
    e = e ? e : (to.dir = p9_node_fd(s, d->node)) < 0 ? to.dir : 0;
    e = e ? e : p9_node_at(s, f->node, &from);
    if (e)
        return e;
    p9_proc_path(from, path);
    /* One that has no name any more gets one by its descriptor. */
    if ((*from.name ? linkat(from.dir, from.name, to.dir, to.name, 0)
                    : linkat(AT_FDCWD, path, to.dir, to.name, AT_SYMLINK_FOLLOW)) < 0)
        return -errno;
    return *from.name ? p9_link_cred(s, from, to) : 0;
}

/* ---- renaming, removing */

static int rename_at(P9Server *s, P9Node *from, const char *name, P9Node *to, const char *new_name)
{
    if (!p9_name_ok(s, name) || !p9_name_ok(s, new_name))
        return -EINVAL;
    p9_node_before_unlink(s, to, new_name);
    P9At a = { p9_node_fd(s, from), name }, b = { p9_node_fd(s, to), new_name };
    a.dir = p9_node_fd(s, from);
    if (a.dir < 0 || b.dir < 0)
        return a.dir < 0 ? a.dir : b.dir;
    if (s->fs->model == FS_MAPPED_FILE)
        p9_before_rmdir(s, b);
    if (renameat(a.dir, a.name, b.dir, b.name) < 0)
        return -errno;
    int e = p9_rename_cred(s, a, b);
    p9_node_renamed(s, from, name, to, new_name);
    return e;
}

int p9_t_renameat(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *from, *to;
    int e = find_path(s, in, &from);
    const char *name = p9_in_str(in);

    e = e ? e : find_path(s, in, &to);
    if (e)
        return e;
    const char *new_name = p9_in_str(in);
    return in->bad ? -EINVAL : rename_at(s, from->node, name, to->node, new_name);
}

int p9_t_rename(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f, *to;
    int e = find_path(s, in, &f);

    e = e ? e : find_path(s, in, &to);
    if (e)
        return e;
    const char *new_name = p9_in_str(in);
    if (in->bad)
        return -EINVAL;
    if (f->node->gone || !f->node->parent)
        return f->node->gone ? -ENOENT : -EBUSY;
    /* The node's name and parent change within. */
    g_autofree char *name = g_strdup(f->node->name);
    P9Node *from = p9_node_ref(f->node->parent);
    e = rename_at(s, from, name, to->node, new_name);
    p9_node_unref(s, from);
    return e;
}

static int remove_at(P9Server *s, P9Node *dir, const char *name, bool folder)
{
    P9At at;

    if (!p9_name_ok(s, name))
        return -EINVAL;
    p9_node_before_unlink(s, dir, name);
    at = (P9At){ p9_node_fd(s, dir), name };
    if (at.dir < 0)
        return at.dir;
    if (folder)
        p9_before_rmdir(s, at);
    if (unlinkat(at.dir, name, folder ? AT_REMOVEDIR : 0) < 0)
        return -errno;
    p9_forget_cred(s, at);
    p9_node_unlinked(s, dir, name);
    return 0;
}

int p9_t_unlinkat(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    int e = find_path(s, in, &f);
    const char *name = p9_in_str(in);
    uint32_t flags = p9_in_u32(in);

    if (e || in->bad)
        return e ? e : -EINVAL;
    if (flags & ~(uint32_t)AT_REMOVEDIR)
        return -EINVAL;
    return remove_at(s, f->node, name, flags & AT_REMOVEDIR);
}

/* The fid is gone in any case. */
int p9_t_remove(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    struct statx st;
    P9At at;
    int e = find(s, in, &f);

    if (e)
        return e;
    P9Node *n = f->node;
    if (s->fs->readonly)
        e = -EROFS;
    else if (n->gone || !n->parent)
        e = n->gone ? -ENOENT : -EBUSY;
    else
        e = p9_node_at(s, n, &at);
    e = e ? e : p9_stat(s, at, &st);
    if (!e) {
        g_autofree char *name = g_strdup(n->name);
        P9Node *parent = p9_node_ref(n->parent);

        e = remove_at(s, parent, name, S_ISDIR(st.stx_mode));
        p9_node_unref(s, parent);
    }
    p9_fid_drop(s, f);
    return e;
}
