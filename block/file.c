/* SPDX-License-Identifier: MIT */
/*
 * The drivers "file", "host_device" and "host_cdrom": plain files and devices
 * of the host. Opening, what the host says of alignment and size, changing
 * options of an open file. Data is file_io.c's.
 *
 * O_DIRECT wants offsets and memory aligned: statx(2) says how (STATX_DIOALIGN),
 * on older hosts and file systems that are silent it is tried out.
 */
#include "block/file.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/fdset.h"
#include "util/path.h"

static const char *const locking_names[] = { "auto", "on", "off", NULL };
enum { LOCKING_AUTO, LOCKING_ON, LOCKING_OFF };

const char *const file_aio_names[] = { "auto", "threads", "io_uring", "native", NULL };
enum { FILE_AIO_AUTO, FILE_AIO_THREADS, FILE_AIO_URING, FILE_AIO_NATIVE };

static const Field fnode_fields[] = {
    PROP(File, path, .as = "filename", .doc = "name of the file"),
    PROP(File, locking, .names = locking_names, .def = "auto",
         .doc = "lock bytes of the file, so that no two programs write to it"),
    PROP(File, aio, .names = file_aio_names, .def = "auto",
         .doc = "who does what has to wait: worker threads or the host's io_uring "
                "(auto: io_uring where it is quicker, for cache.direct=on; native: io_uring)"),
    PROP(File, max_batch, .as = "aio-max-batch", .def = "0",
         .doc = "most requests given to io_uring at once, 0: those of a turn of the loop"),
    PROP(File, drop_cache, .def = "on", .doc = "drop the host's cache of the file when a migration brings it here (there are none yet)"),
    PROP(File, check_cache_dropped, .as = "x-check-cache-dropped", .def = "off",
         .doc = "look whether that worked (on: not available)"),
    {0}
};

/* ---- what the host says */

uint64_t fnode_size_now(BlockNode *n)
{
    File *f = (File *)n;
    struct stat st;
    off_t end;

    if (f->device)
        end = lseek(f->fd, 0, SEEK_END);
    else
        end = fstat(f->fd, &st) ? -1 : st.st_size;
    return end < 0 ? n->size : (uint64_t)end;
}

/* The part of struct statx that older headers do not name. */
typedef union Statx {
    struct { uint32_t mask; uint8_t skip[148]; uint32_t mem_align, offset_align; } s;
    uint8_t all[256];
} Statx;

/* Alignment for O_DIRECT, as the host says. False: it does not say. */
static bool ask_align(int fd, uint32_t *mem, uint32_t *off)
{
    const uint32_t dioalign = 0x2000;
    Statx x = { .all = { 0 } };

    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, dioalign, &x) || !(x.s.mask & dioalign) ||
        !x.s.offset_align || !x.s.mem_align)
        return false;
    *mem = x.s.mem_align;
    *off = x.s.offset_align;
    return true;
}

/* Does a read of so many bytes into such an address work? */
static bool try_read(int fd, void *buf, size_t len)
{
    return pread(fd, buf, len, 0) >= 0 || errno != EINVAL;
}

static void try_align(int fd, uint32_t *mem, uint32_t *off)
{
    enum { MOST = 4096 };
    char *buf = NULL;

    *mem = *off = MOST;
    if (posix_memalign((void **)&buf, 2 * MOST, 3 * MOST))
        return;
    for (uint32_t a = 512; a < *off; a *= 2)
        *off = try_read(fd, buf, a) ? a : *off;
    for (uint32_t a = 512; a < *mem; a *= 2)
        *mem = try_read(fd, buf + a, *off) ? a : *mem;
    free(buf);
}

static Err *find_limits(File *f)
{
    BlockNode *n = &f->node;
    uint32_t mem = 1, off = 1, sector = 512, min_io = 0, opt_io = 0;

    if (n->cache_direct && !ask_align(f->fd, &mem, &off))
        try_align(f->fd, &mem, &off);
    if (f->block_device) {
        if (n->cache_direct && !ioctl(f->fd, BLKSSZGET, &sector))
            off = MAX(off, sector);
        if (!ioctl(f->fd, BLKIOMIN, &min_io))
            n->limits.min_io = min_io;
        if (!ioctl(f->fd, BLKIOOPT, &opt_io))
            n->limits.opt_io = opt_io;
    }
    if (off > (1 << 20) || off & (off - 1) || mem > (1 << 20) || mem & (mem - 1))
        return err(ERR_UNSUPPORTED, "the host wants requests of '%s' aligned to %u bytes in memory and %u in the file, "
                   "which cannot be done", f->path, mem, off);
    n->limits.request_align = off;
    n->limits.mem_align = n->cache_direct ? mem : 1;
    return NULL;
}

/* ---- opening */

static int open_mode(const BlockNode *n, bool read_only, bool direct)
{
    return (read_only ? O_RDONLY : O_RDWR) | (direct ? O_DIRECT : 0) | O_CLOEXEC | O_NOCTTY;
}

static Err *open_error(const File *f, int errnum)
{
    if (errnum == EINVAL && f->node.cache_direct)
        return err_hint(err(ERR_UNSUPPORTED, "Could not open '%s': filesystem does not support O_DIRECT", f->path),
                        "cache.direct=off (cache=writeback) goes through the host's cache");
    if (fdset_is_name(f->path)) {
        Err *e = err_errno(errnum, "Could not open '%s'", f->path);

        return errnum == EACCES ? err_hint(e, "The set has no descriptor that is open %s", f->node.read_only ? "for reading alone" : "for writing, too")
                                : err_hint(e, "add-fd and -add-fd make sets of descriptors");
    }
    return err_path(errnum, f->path, "Could not open '%s'", f->path);
}

/* Opens without waiting (a FIFO), and falls back to reading where that was allowed. */
static Err *open_fd(File *f)
{
    BlockNode *n = &f->node;
    int fd = graph_open_file(n->graph, f->path, open_mode(n, n->read_only, n->cache_direct) | O_NONBLOCK);

    if (fd < 0 && !n->read_only && n->auto_read_only && (errno == EACCES || errno == EROFS || errno == EPERM)) {
        fd = graph_open_file(n->graph, f->path, open_mode(n, true, n->cache_direct) | O_NONBLOCK);
        if (fd >= 0) {
            n->read_only = true;
            n->open_flags &= ~(unsigned)OPEN_RW;
        }
    }
    if (fd < 0)
        return open_error(f, errno);
    f->fd = fd;
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK))
        return err_errno(errno, "Could not open '%s'", f->path);
    return NULL;
}

static Err *check_kind(File *f, bool want_device)
{
    struct stat st;
    int ro = 0;

    if (fstat(f->fd, &st))
        return err_errno(errno, "Could not stat '%s'", f->path);
    f->block_device = S_ISBLK(st.st_mode);
    f->device = f->block_device || S_ISCHR(st.st_mode);
    if (!want_device && !S_ISREG(st.st_mode))
        return err_hint(err(ERR_INVALID, "Could not open '%s': '%s' driver requires '%s' to be a regular file",
                            f->path, f->node.drv->name, f->path),
                        S_ISDIR(st.st_mode) ? "It is a folder" : f->device ? "driver=host_device opens devices"
                                                                           : "It is a FIFO or a socket");
    if (want_device && !f->device)
        return err_hint(err(ERR_INVALID, "Could not open '%s': '%s' driver requires '%s' to be either a character "
                            "or block device", f->path, f->node.drv->name, f->path), "driver=file opens plain files");
    if (f->block_device && !f->node.read_only && !ioctl(f->fd, BLKROGET, &ro) && ro)
        return err_hint(err(ERR_INVALID, "Could not open '%s': The device is not writable", f->path),
                        "read-only=on opens it for reading");
    return NULL;
}

/*
 * By the options of `o`, which is f itself or what it shall become. For auto:
 * io_uring starts a direct write to a plain file without waiting, which fails
 * as the file's time of change must be noted first, and leaves it to threads of
 * the kernel: half as fast as threads of ours.
 */
static Err *choose_aio(const File *f, const File *o, AioKind *reads, AioKind *writes)
{
    Loop *loop = graph_loop(f->node.graph);
    uint8_t aio = o->aio;

    *reads = *writes = AIO_THREADS;
    if (aio == FILE_AIO_THREADS || (aio == FILE_AIO_AUTO && !o->node.cache_direct))
        return NULL;

    Err *e = aio_check(loop, AIO_URING);

    if (e && aio == FILE_AIO_AUTO) {
        err_free(e);
        return NULL;
    }
    if (e)
        return err_in(e, "'%s': aio=%s", f->path, file_aio_names[aio]);
    if (aio == FILE_AIO_NATIVE)
        err_note("'%s': aio=native is done by io_uring", f->path);
    aio_max_batch(loop, o->max_batch);
    *reads = AIO_URING;
    *writes = aio == FILE_AIO_AUTO && !f->device ? AIO_THREADS : AIO_URING;
    return NULL;
}

static Err *choose_locking(File *f)
{
    int ret;

    f->locks = false;
    if (f->locking == LOCKING_OFF)
        return NULL;
    ret = fnode_can_lock(f->fd);
    if (ret && f->locking == LOCKING_ON)
        return err_hint(err_errno(-ret, "'%s' cannot be locked", f->path),
                        "Its file system has no such locks; locking=auto goes without");
    f->locks = !ret;
    return NULL;
}

/* close comes after this, whether it fails or not */
static Err *open_any(BlockNode *n, bool want_device)
{
    File *f = (File *)n;

    f->fd = -1;
    if (!f->path || !*f->path)
        return err_hint(err(ERR_INVALID, "The '%s' block driver requires a file name", n->drv->name),
                        "For example: filename=disk.img");
    if (f->check_cache_dropped)
        return err_hint(err(ERR_UNSUPPORTED, "x-check-cache-dropped=on: no migration drops the host's cache of a file yet"),
                        "Leave the option out; cache.direct=on keeps the file out of the host's cache.");
    TRY(open_fd(f));
    TRY(check_kind(f, want_device));
    TRY(find_limits(f));
    TRY(choose_aio(f, f, &f->kind, &f->write_kind));
    TRY(choose_locking(f));
    n->size = UINT64_MAX;
    n->size = fnode_size_now(n);
    if (n->size == UINT64_MAX)
        return err_errno(errno, "Could not get the size of '%s'", f->path);
    n->write_flags = REQ_FUA;
    n->zero_flags = REQ_UNMAP;
    if (n->open_flags & OPEN_TEMPORARY && !f->device && unlink(f->path))
        return err_errno(errno, "cannot delete the temporary file '%s'", f->path);
    return NULL;
}

static Err *fnode_open(BlockNode *n)
{
    return open_any(n, false);
}

static Err *device_open(BlockNode *n)
{
    return open_any(n, true);
}

/* The locks go with the descriptor, but where the set has another one of the same. */
static void fnode_close(BlockNode *n)
{
    File *f = (File *)n;

    if (f->fd >= 0 && f->path && fdset_is_name(f->path))
        err_free(fnode_take_locks(f, 0, PERM_ALL));
    if (f->fd >= 0)
        close(f->fd);
    f->fd = -1;
}

int node_host_fd(BlockNode *n)
{
    if (n->drv->close != fnode_close || ((File *)n)->device)
        return -ENOTSUP;
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", ((File *)n)->fd);
    int fd = open(self, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

Err *fnode_take_perm(BlockNode *n, unsigned perm, unsigned shared)
{
    return fnode_take_locks((File *)n, perm, shared);
}

/* ---- changing what is open */

/*
 * A new descriptor where the host must know of the change. It is opened by
 * way of the old one: the name may have gone to another file.
 */
static Err *new_descriptor(File *f, const File *now, bool read_only, int *out)
{
    const BlockNode *n = &f->node;
    bool direct = now->node.cache_direct;
    int is = fcntl(f->fd, F_GETFL);         /* n->read_only may be ahead of it, or behind */
    g_autofree char *self = g_strdup_printf("/proc/self/fd/%d", f->fd);
    struct stat a, b;

    *out = -1;
    if ((is & O_ACCMODE) == (read_only ? O_RDONLY : O_RDWR) && !(is & O_DIRECT) == !direct)
        return NULL;

    int fd = fdset_is_name(f->path) ? graph_open_file(n->graph, f->path, open_mode(n, read_only, direct))
                                    : open(self, open_mode(n, read_only, direct));

    if (fd < 0 && errno == ENOENT && !fdset_is_name(f->path)) {     /* no /proc */
        fd = open(f->path, open_mode(n, read_only, direct));
        if (fd >= 0 && (fstat(fd, &a) || fstat(f->fd, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino)) {
            close(fd);
            return err(ERR_BUSY, "'%s' is another file now than the one that is open", f->path);
        }
    }
    if (fd < 0 && errno == EINVAL && direct)
        return err(ERR_UNSUPPORTED, "'%s': filesystem does not support O_DIRECT", f->path);
    if (fd < 0)
        return err_path(errno, f->path, "Could not reopen '%s' %s", f->path, read_only ? "read-only" : "for writing");

    int ret = fnode_copy_locks(f, fd);

    if (ret) {
        close(fd);
        return err_errno(-ret, "cannot lock '%s'", f->path);
    }
    *out = fd;
    return NULL;
}

static Err *fnode_reopen(BlockNode *n, const void *new_opts, bool read_only)
{
    File *f = (File *)n;
    const File *now = new_opts;
    bool direct = now->node.cache_direct;
    AioKind reads, writes;
    int fd;

    if (g_strcmp0(now->path, f->path) || now->locking != f->locking)
        return err_hint(err(ERR_UNSUPPORTED, "Cannot change the option '%s' of an open file",
                            now->locking != f->locking ? "locking" : "filename"), "Close it and open it again");
    TRY(choose_aio(f, now, &reads, &writes));
    TRY(new_descriptor(f, now, read_only, &fd));

    BlockLimits was = n->limits;
    bool was_direct = n->cache_direct;
    int old = f->fd;

    if (fd >= 0) {
        f->fd = fd;
        n->cache_direct = direct;

        Err *e = find_limits(f);

        n->cache_direct = was_direct;           /* it is the caller's to set when all agree */
        if (e) {
            f->fd = old;
            n->limits = was;
            close(fd);
            return e;
        }
        close(old);
    }
    f->kind = reads;
    f->write_kind = writes;
    return NULL;
}

/* ---- questions */

static int64_t fnode_allocated(BlockNode *n)
{
    struct stat st;

    return fstat(((File *)n)->fd, &st) ? -errno : (int64_t)st.st_blocks * 512;
}

static Err *fnode_info(BlockNode *n, NodeInfo *out)
{
    out->live = file_in_use(n, NULL);
    return NULL;
}

static json_t *fnode_stats(BlockNode *n)
{
    const File *f = (File *)n;

    return json_pack("{s:I, s:I, s:I}", "discard-nb-ok", (json_int_t)f->discards, "discard-nb-failed", (json_int_t)f->discards_failed,
                     "discard-bytes-ok", (json_int_t)f->discarded);
}

/* A name that nobody said the driver of: is it a device's? */
static int device_probe(const uint8_t *head, size_t len, const char *filename)
{
    struct stat st;

    return !stat(filename, &st) && (S_ISBLK(st.st_mode) || S_ISCHR(st.st_mode)) ? 100 : 0;
}

static Err *fnode_same_name(BlockNode *n)
{
    const File *f = (const File *)n;
    struct stat here, there;

    if (fdset_is_name(f->path))
        return NULL;
    if (stat(f->path, &there))
        return err_errno(errno, "'%s' is not there any more", f->path);
    if (fstat(f->fd, &here) || here.st_dev != there.st_dev || here.st_ino != there.st_ino)
        return err(ERR_BUSY, "'%s' is another file now", f->path);
    if (access(f->path, n->read_only ? R_OK : R_OK | W_OK))
        return err_errno(errno, "'%s' cannot be opened any more", f->path);
    return NULL;
}

BLOCK(file) = {
    .name = "file", .doc = "a file of the host", .kind = DRIVER_PROTOCOL,
    .size = sizeof(File), .fields = fnode_fields, .grows = true,
    .open = fnode_open, .close = fnode_close, .reopen = fnode_reopen, .same_name = fnode_same_name, .take_perm = fnode_take_perm,
    .read = fnode_read, .write = fnode_write, .zero = fnode_zero, .discard = fnode_discard, .flush = fnode_flush,
    .extent = fnode_extent, .copy = fnode_copy, .resize = fnode_resize,
    .allocated = fnode_allocated, .size_now = fnode_size_now, .info = fnode_info, .stats = fnode_stats,
    .create_fields = file_create_fields, .create_size = sizeof(FileCreate), .create = fnode_create,
    .remove = fnode_remove,
};

BLOCK(host_device) = {
    .name = "host_device", .doc = "a device of the host", .kind = DRIVER_PROTOCOL,
    .size = sizeof(File), .fields = fnode_fields, .probe = device_probe,
    .open = device_open, .close = fnode_close, .reopen = fnode_reopen, .same_name = fnode_same_name, .take_perm = fnode_take_perm,
    .read = fnode_read, .write = fnode_write, .zero = fnode_zero, .discard = fnode_discard, .flush = fnode_flush,
    .extent = fnode_extent, .resize = fnode_resize,
    .allocated = fnode_allocated, .size_now = fnode_size_now, .info = fnode_info, .stats = fnode_stats,
};

BLOCK(host_cdrom) = {
    .name = "host_cdrom", .doc = "a CD drive of the host", .kind = DRIVER_PROTOCOL,
    .size = sizeof(File), .fields = fnode_fields,
    .open = device_open, .close = fnode_close, .reopen = fnode_reopen, .same_name = fnode_same_name, .take_perm = fnode_take_perm,
    .read = fnode_read, .allocated = fnode_allocated, .size_now = fnode_size_now, .info = fnode_info, .stats = fnode_stats,
};
