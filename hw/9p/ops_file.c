/* SPDX-License-Identifier: MIT */
/*
 * Messages about open files: lopen, lcreate, read, write, readdir, fsync, locks.
 *
 * Data that the host has in memory is read at once; what would wait for the
 * disk goes to a worker thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hw/9p/p9-priv.h"

/* Open flags as Linux's generic numbers, which are those of the protocol. */
enum { L_ACCMODE = 3, L_EXCL = 0200, L_TRUNC = 01000, L_APPEND = 02000, L_DSYNC = 010000, L_DIRECTORY = 0200000,
       L_SYNC = 04000000 };
/* A write of that much goes into the host's memory sooner than to another thread. */
enum { SMALL = 64 << 10 };

static int host_flags(uint32_t l)
{
    int f = l & L_ACCMODE;      /* 0, 1, 2 */

    f |= l & L_TRUNC ? O_TRUNC : 0;
    f |= l & L_APPEND ? O_APPEND : 0;
    f |= l & L_SYNC ? O_SYNC : l & L_DSYNC ? O_DSYNC : 0;
    return f;
}

static bool writes(uint32_t l)
{
    return (l & L_ACCMODE) || l & L_TRUNC;
}

static int find_open(P9Server *s, uint32_t id, P9FidKind kind, P9Fid **f)
{
    *f = p9_fid_find(s, id);
    return *f && (*f)->kind == kind ? 0 : -EBADF;
}

static void take_open(P9Server *s, P9Fid *f, int fd, unsigned mode, uint32_t flags)
{
    f->sync = flags & (L_SYNC | L_DSYNC);
    f->fd = fd;
    f->kind = S_ISDIR(mode) ? FID_DIR : FID_FILE;
    f->pos = 0;
    s->open_files++;
}

int p9_t_lopen(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f = p9_fid_find(s, p9_in_u32(in));
    uint32_t flags = p9_in_u32(in);
    struct statx st;
    P9Qid q;
    P9At at;

    if (!f || f->kind != FID_PATH)
        return -EBADF;
    if (in->bad || (flags & L_ACCMODE) == L_ACCMODE)
        return -EINVAL;
    if (s->fs->readonly && writes(flags))
        return -EROFS;
    if (s->open_files >= s->most_files)
        return -EMFILE;
    int e = p9_node_at(s, f->node, &at);
    e = e ? e : p9_stat(s, at, &st);
    if (e)
        return e;
    bool folder = S_ISDIR(st.stx_mode);
    if (folder ? writes(flags) : flags & L_DIRECTORY)
        return folder ? -EISDIR : -ENOTDIR;
    int fd = p9_open(at, folder ? O_RDONLY | O_DIRECTORY : host_flags(flags));
    if (fd < 0)
        return fd;
    /* TRUNC changed it. */
    e = p9_stat(s, at, &st);
    e = e ? e : p9_qid(s, &st, &q);
    if (e) {
        close(fd);
        return e;
    }
    take_open(s, f, fd, st.stx_mode, flags);
    p9_out_qid(out, &q);
    p9_out_u32(out, 0);            /* as much as fits into a message */
    return 0;
}

int p9_t_lcreate(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f = p9_fid_find(s, p9_in_u32(in));
    const char *name = p9_in_str(in);
    uint32_t flags = p9_in_u32(in), mode = p9_in_u32(in) & 07777, gid = p9_in_u32(in);
    struct statx st;
    P9Qid q;

    if (!f || f->kind != FID_PATH || f->refs > 1)
        return -EBADF;
    if (in->bad || (flags & L_ACCMODE) == L_ACCMODE || !p9_name_ok(s, name))
        return -EINVAL;
    if (s->open_files >= s->most_files)
        return -EMFILE;
    if (f->node->depth >= P9_DEPTH_MOST)
        return -ENAMETOOLONG;
    P9At at = { p9_node_fd(s, f->node), name };
    if (at.dir < 0)
        return at.dir;
    bool existed = true;
    int fd = openat(at.dir, name, host_flags(flags) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                    mapped(s) ? s->fs->fmode : mode & 0777);
    if (fd >= 0)
        existed = false;
    else if (errno == EEXIST && !(flags & L_EXCL))
        fd = p9_open(at, host_flags(flags));
    else
        fd = -errno;
    if (fd < 0)
        return fd;
    P9Cred cred = {
        .uid = f->uid == UINT32_MAX ? -1 : (int64_t)f->uid, .gid = gid == UINT32_MAX ? -1 : (int64_t)gid,
        .mode = S_IFREG | mode, .rdev = -1,
    };
    int e = existed ? 0 : p9_set_cred(s, at, &cred);
    e = e ? e : p9_stat(s, at, &st);
    e = e ? e : p9_qid(s, &st, &q);
    if (e || S_ISDIR(st.stx_mode)) {
        close(fd);
        if (!existed)
            unlinkat(at.dir, name, 0);
        return e ? e : -EISDIR;
    }
    P9Node *was = f->node;
    f->node = p9_node_child(s, was, name);
    p9_node_unref(s, was);
    take_open(s, f, fd, st.stx_mode, flags);
    p9_out_qid(out, &q);
    p9_out_u32(out, 0);
    return 0;
}

/* ---- data */

/* RWF_NOWAIT: it is not in memory, or this file system cannot tell. */
static bool must_wait(int e)
{
    return e == EAGAIN || e == EOPNOTSUPP || e == ENOSYS || e == EINVAL;
}

static int answer_now(P9Call *c, P9Fid *f, int result)
{
    c->fid = f;
    f->refs++;
    p9_finish(c, result);
    return P9_LATER;
}

static int read_value(P9Fid *f, P9Call *c, P9Out *out)
{
    uint32_t n = c->offset >= f->len ? 0 : MIN(c->count, f->len - (uint32_t)c->offset);

    p9_out_u32(out, n);
    if (out->max - out->len < n)
        return -EMSGSIZE;
    memcpy(out->p + out->len, f->value + c->offset, n);
    out->len += n;
    return 0;
}

int p9_t_read(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f = p9_fid_find(s, p9_in_u32(in));
    struct iovec v[1024];
    size_t bytes;

    c->offset = p9_in_u64(in);
    c->count = p9_in_u32(in);
    if (in->bad || c->offset > INT64_MAX)
        return -EINVAL;
    c->count = MIN(c->count, MIN(s->msize, c->in.len) - P9_IO_HEADER);
    if (f && f->kind == FID_XATTR_READ)
        return read_value(f, c, out);
    if (!f || f->kind != FID_FILE)
        return f && f->kind == FID_DIR ? -EISDIR : -EBADF;
    IoVec part = iov_slice(&c->in, P9_IO_HEADER, c->count);
    unsigned n = iov_elements(&part, v, G_N_ELEMENTS(v), &bytes);
    c->count = bytes;
    ssize_t r = preadv2(f->fd, v, n, c->offset, RWF_NOWAIT);
    /* Less than asked for is an answer, too: the end, or the rest is not in memory. */
    if (r < 0)
        return must_wait(errno) ? p9_later(s, c, f) : -errno;
    return answer_now(c, f, r);
}

static int write_value(P9Fid *f, P9Call *c, P9Out *out)
{
    /* In order and whole: it is set when the fid is clunked. */
    if (c->offset != f->done || c->count > f->len - f->done)
        return -EINVAL;
    iov_read(&c->out, 23, f->value + f->done, c->count);
    f->done += c->count;
    p9_out_u32(out, c->count);
    return 0;
}

int p9_t_write(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f = p9_fid_find(s, p9_in_u32(in));
    struct iovec v[1024];
    size_t bytes;

    c->offset = p9_in_u64(in);
    c->count = p9_in_u32(in);
    if (in->bad || c->count > c->out.len - 23 || c->offset > INT64_MAX)
        return -EINVAL;
    if (f && f->kind == FID_XATTR_WRITE)
        return write_value(f, c, out);
    if (!f || f->kind != FID_FILE)
        return -EBADF;
    IoVec part = iov_slice(&c->out, 23, c->count);
    unsigned n = iov_elements(&part, v, G_N_ELEMENTS(v), &bytes);
    c->count = bytes;
    if (s->fs->writeout || f->sync)
        return p9_later(s, c, f);
    ssize_t r = pwritev2(f->fd, v, n, c->offset, RWF_NOWAIT);
    if (r < 0 && must_wait(errno)) {
        if (bytes > SMALL)
            return p9_later(s, c, f);
        r = pwritev(f->fd, v, n, c->offset);
    }
    return r < 0 ? -errno : answer_now(c, f, r);
}

int p9_t_fsync(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f = p9_fid_find(s, p9_in_u32(in));

    c->count = in->len > in->at ? p9_in_u32(in) : 0;       /* datasync; older clients do not say */
    if (!f || f->fd < 0)
        return -EBADF;
    return s->fs->readonly ? 0 : p9_later(s, c, f);
}

/* ---- folders */

typedef struct Dirent64 { uint64_t ino; int64_t off; uint16_t reclen; uint8_t type; char name[]; } Dirent64;

/* The names from `offset` on, which is 0 or what was said of the name before. 0 or -errno; names_len 0: the end. */
static int fetch_names(P9Server *s, P9Fid *f, uint64_t offset)
{
    if (s->names_of == f && f->pos == offset && s->names_at < s->names_len)
        return 0;
    s->names_of = NULL;
    if (lseek(f->fd, offset, SEEK_SET) < 0)
        return -errno;
    long n = syscall(SYS_getdents64, f->fd, s->names, P9_NAMES);
    if (n < 0)
        return -errno;
    s->names_of = f;
    s->names_at = 0;
    s->names_len = n;
    f->pos = offset;
    return 0;
}

/* What kind it is, as far as the name says: with a mapped model a file may stand for anything. */
static unsigned shown_type(const P9Server *s, unsigned type)
{
    return type == DT_REG && mapped(s) ? DT_UNKNOWN : type;
}

static int put_name(P9Server *s, P9Fid *f, const struct statx *dir, const Dirent64 *d, P9Out *out)
{
    uint64_t ino = d->ino;
    P9Qid q = { 0 };

    if (!f->node->parent && !f->node->gone && !strcmp(d->name, ".."))
        ino = dir->stx_ino;     /* nothing is above the root */
    int e = p9_qid_of(s, dir->stx_dev_major, dir->stx_dev_minor, ino, DTTOIF(d->type), &q);
    if (e)
        return e;
    p9_out_qid(out, &q);
    p9_out_u64(out, d->off);
    p9_out_u8(out, shown_type(s, d->type));
    p9_out_str(out, d->name);
    return 0;
}

int p9_t_readdir(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f;
    struct statx dir;
    int e = find_open(s, p9_in_u32(in), FID_DIR, &f);
    uint64_t offset = p9_in_u64(in);
    uint32_t count = p9_in_u32(in);

    if (e || in->bad)
        return e ? e : -EINVAL;
    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_INO, &dir) < 0)
        return -errno;
    P9Out list = { .p = out->p + 4, .max = MIN(count, out->max - 4) };
    while (!e && !(e = fetch_names(s, f, offset)) && s->names_len) {
        const Dirent64 *d = (const void *)(s->names + s->names_at);
        bool hidden = p9_name_hidden(s, d->name);

        if (!hidden && list.max - list.len < 13 + 8 + 1 + 2 + strlen(d->name))
            break;
        if (!hidden)
            e = put_name(s, f, &dir, d, &list);
        offset = d->off;
        s->names_at += d->reclen;
        f->pos = offset;
    }
    /* A name that does not fit alone would look like the end. */
    if (e || (!list.len && s->names_of == f && s->names_len && s->names_at < s->names_len))
        return e ? e : -EINVAL;
    p9_out_u32(out, list.len);
    out->len += list.len;
    return 0;
}

/* ---- locks: the guest's kernel has looked among its own before it asks */

int p9_t_lock(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f = p9_fid_find(s, p9_in_u32(in));

    p9_in_u8(in);
    uint32_t flags = p9_in_u32(in);
    p9_in_u64(in);
    p9_in_u64(in);
    p9_in_u32(in);
    p9_in_str(in);
    if (!f || f->fd < 0)
        return -EBADF;
    if (in->bad || flags & ~3u)
        return -EINVAL;
    p9_out_u8(out, 0);
    return 0;
}

int p9_t_getlock(P9Server *s, P9Call *c, P9In *in, P9Out *out)
{
    P9Fid *f = p9_fid_find(s, p9_in_u32(in));

    p9_in_u8(in);
    uint64_t start = p9_in_u64(in), len = p9_in_u64(in);
    uint32_t pid = p9_in_u32(in);
    const char *client = p9_in_str(in);
    if (!f || f->fd < 0)
        return -EBADF;
    p9_out_u8(out, 2);             /* nobody's */
    p9_out_u64(out, start);
    p9_out_u64(out, len);
    p9_out_u32(out, pid);
    p9_out_str(out, client);
    return 0;
}
