/* SPDX-License-Identifier: MIT */
/*
 * Making files of the host, and changing their length: with room for all of it
 * (preallocation falloc, full) or none.
 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/path.h"

enum { WRITE_ONCE = 1 << 20 };

static const char *const create_prealloc_names[] = { "off", "falloc", "full", NULL };

const Field file_create_fields[] = {
    PROP(FileCreate, nocow, .doc = "Turn off copy-on-write (valid only on btrfs)"),
    PROP(FileCreate, preallocation, .names = create_prealloc_names,
         .doc = "Preallocation mode (allowed values: off, falloc, full)"),
    PROP(FileCreate, extent_size_hint, .as = "extent_size_hint", .units = true,
         .doc = "Extent size hint for the image file, 0 to disable"),
    {0}
};

static Preallocation prealloc_of(const FileCreate *o)
{
    static const int modes[] = { PREALLOC_OFF, PREALLOC_FALLOC, PREALLOC_FULL };

    return (Preallocation){ modes[o->preallocation] };
}

/* ---- length */

typedef struct Truncate { int fd; off_t len; int ret; } Truncate;

/* May take a while: a large file gives back its blocks. */
static void do_truncate(void *opaque)
{
    Truncate *t = opaque;

    do
        t->ret = ftruncate(t->fd, t->len) ? -errno : 0;
    while (t->ret == -EINTR);
}

static int truncate_to(int fd, uint64_t len)
{
    Truncate t = { fd, (off_t)len, 0 };

    co_offload(do_truncate, &t);
    return t.ret;
}

static int write_zeroes(AioKind kind, int fd, uint64_t off, uint64_t end, bool direct)
{
    void *zero = g_malloc0(WRITE_ONCE + 4096);
    void *aligned = (void *)(((uintptr_t)zero + 4095) & ~(uintptr_t)4095);
    int ret = 0;

    while (off < end && !ret) {
        size_t now = MIN(WRITE_ONCE, end - off);
        ssize_t n = aio_pwrite(kind, fd, NULL, off, &IOV_BUF(aligned, now), direct ? AIO_DIRECT : 0);

        ret = n < 0 ? (int)n : 0;
        off += now;
    }
    g_free(zero);
    return ret ? ret : aio_fdatasync(kind, fd);
}

/* From `was` bytes to `len`; the name is for messages. On failure the file is as long as before. */
static Err *set_length(int fd, const char *path, AioKind kind, bool direct,
                       uint64_t was, uint64_t len, Preallocation p)
{
    int ret = 0;
    Err *e = NULL;

    if (p.mode == PREALLOC_METADATA)
        return err_hint(err(ERR_UNSUPPORTED, "Unsupported preallocation mode: metadata"),
                        "A plain file has 'off', 'falloc' and 'full'");
    if (len < was && p.mode != PREALLOC_OFF)
        return err(ERR_INVALID, "Preallocation can't be used for shrinking files");
    if (len <= was || p.mode == PREALLOC_OFF) {
        ret = truncate_to(fd, len);
        return ret ? err_errno(-ret, "Failed to resize file '%s'", path) : NULL;
    }
    if (p.mode == PREALLOC_FALLOC) {
        ret = aio_fallocate(kind, fd, NULL, 0, was, len - was);
        if (ret)
            e = err_errno(-ret, "Could not preallocate new data");
        if (ret == -EOPNOTSUPP)
            e = err_hint(e, "The file system cannot; preallocation=full writes zeroes");
    } else {
        ret = write_zeroes(kind, fd, was, len, direct);
        if (ret)
            e = err_errno(-ret, "Could not write zeros for preallocation");
    }
    if (e)
        ret = truncate_to(fd, was);
    return e;
}

static Err *resize_device(File *f, uint64_t len, bool exact, Preallocation p)
{
    uint64_t now = fnode_size_now(&f->node);

    if (p.mode != PREALLOC_OFF)
        return err(ERR_UNSUPPORTED, "Preallocation mode unsupported for this non-regular file");
    if (exact && len != now)
        return err(ERR_UNSUPPORTED, "Cannot resize device files");
    if (len > now)
        return err_hint(err(ERR_UNSUPPORTED, "Cannot grow device files"), "'%s' has %" PRIu64 " bytes", f->path, now);
    return NULL;
}

Err *fnode_resize(BlockNode *n, uint64_t len, bool exact, Preallocation p)
{
    File *f = (File *)n;
    uint64_t was = fnode_size_now(n);
    Err *e;

    if (f->device)
        return resize_device(f, len, exact, p);
    /* Zeroes are written from a block's beginning on: the kernel's own reading makes up the rest. */
    e = set_length(f->fd, f->path, f->write_kind, n->cache_direct, was, len, p);
    fnode_changed(f, MIN(was, len), UINT64_MAX - MIN(was, len));
    if (!e)
        n->size = len;
    return e;
}

/* ---- creating */

/* Best before the first byte is written; where the file system does not know it, nothing is lost. */
static void hints(int fd, const FileCreate *o)
{
    struct fsxattr x;
    int flags;

    if (o->extent_size_hint && !ioctl(fd, FS_IOC_FSGETXATTR, &x)) {
        x.fsx_xflags |= FS_XFLAG_EXTSIZE;
        x.fsx_extsize = (uint32_t)o->extent_size_hint;
        if (ioctl(fd, FS_IOC_FSSETXATTR, &x))
            flags = 0;
    }
    if (o->nocow && !ioctl(fd, FS_IOC_GETFLAGS, &flags)) {
        flags |= FS_NOCOW_FL;
        if (ioctl(fd, FS_IOC_SETFLAGS, &flags))
            err_note("the file system has no nocow flag");
    }
}

/* Nobody else may use the file while it is made anew. */
static Err *fill(File *f, const CreateOptions *c, const FileCreate *o)
{
    struct stat st;

    if (fstat(f->fd, &st))
        return err_errno(errno, "Could not stat '%s'", f->path);
    if (!S_ISREG(st.st_mode))
        return err(ERR_INVALID, "Could not create '%s': it is there, and no regular file", f->path);
    f->locks = !fnode_can_lock(f->fd);
    TRY(fnode_take_locks(f, PERM_WRITE | PERM_RESIZE, PERM_ALL & ~PERM_RESIZE));

    int ret = truncate_to(f->fd, 0);

    if (ret)
        return err_errno(-ret, "Could not clear '%s'", f->path);
    hints(f->fd, o);
    return set_length(f->fd, f->path, AIO_THREADS, false, 0, c->size, prealloc_of(o));
}

static Err *check_options(const CreateOptions *c, const FileCreate *o)
{
    if (c->backing)
        return err_hint(err(ERR_INVALID, "Backing file not supported for file format 'raw'"),
                        "qcow2 images have backing files");
    if (c->size > BLOCK_MAX_SIZE)
        return err(ERR_INVALID, "%" PRIu64 " bytes are more than an image may have", c->size);
    if (o->extent_size_hint > UINT32_MAX)
        return err(ERR_INVALID, "Extent size hint is too large");
    return NULL;
}

Err *fnode_create(BlockGraph *g, const CreateOptions *c, const void *opts, BlockNode *file)
{
    const FileCreate *o = opts;
    File f = { .path = (char *)c->filename, .write_kind = AIO_THREADS };
    bool ours = true;           /* it was not there before: nobody misses it */

    TRY(check_options(c, o));
    f.fd = open(f.path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0644);
    if (f.fd < 0 && errno == EEXIST) {
        ours = false;
        f.fd = open(f.path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0644);
    }
    if (f.fd < 0)
        return err_path(errno, f.path, "Could not create '%s'", f.path);

    Err *e = fill(&f, c, o);

    if (e && ours)
        unlink(f.path);
    if (close(f.fd) && !e)
        e = err_errno(errno, "Could not close '%s'", f.path);
    return e;
}

int fnode_remove(const char *filename)
{
    return unlink(filename) ? -errno : 0;
}
