/* SPDX-License-Identifier: MIT */
/*
 * Data of the host's files and devices: see pwrite(2), fallocate(2), lseek(2)
 * (SEEK_HOLE), copy_file_range(2), and the BLK* requests of block devices.
 *
 * What the host does not support it says once; the driver remembers and does
 * what comes next best, which block/io.c goes on with after -ENOTSUP.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "block/file.h"

enum {
    BOUNCE = 1 << 20,           /* bytes copied at once for O_DIRECT */
    COPY_ONCE = 16 << 20,       /* bytes that the host copies before others may write */
    MAX_DIRECT = 64,            /* elements that one system call takes (aio.c): more would be cut anywhere */
};

/* ---- reading and writing */

static unsigned aio_flags(const BlockNode *n, unsigned flags)
{
    return (n->cache_direct ? AIO_DIRECT : 0) | (flags & REQ_FUA && !n->cache_no_flush ? AIO_DSYNC : 0);
}

static int read_all(File *f, uint64_t off, const IoVec *q)
{
    ssize_t got = aio_pread(f->kind, f->fd, off, q, aio_flags(&f->node, 0));

    if (got < 0)
        return (int)got;
    if ((size_t)got < q->len)       /* the end of the file; what a block of it lacks reads as zero */
        iov_fill(q, (size_t)got, 0, q->len - (size_t)got);
    return 0;
}

/*
 * What changes a cached file waits for its lock in the host: one after the
 * other then, and the next without a way by the loop. What goes to the disk at
 * once does so together.
 */
static WorkLane *lane_of(File *f)
{
    return f->node.cache_direct || f->device ? NULL : &f->lane;
}

static int write_all(File *f, uint64_t off, const IoVec *q, unsigned flags)
{
    unsigned how = aio_flags(&f->node, flags);
    ssize_t ret = aio_pwrite(f->write_kind, f->fd, how & AIO_DSYNC ? NULL : lane_of(f), off, q, how);

    return ret < 0 ? (int)ret : 0;
}

static int allocate(File *f, int mode, uint64_t off, uint64_t len)
{
    return aio_fallocate(f->write_kind, f->fd, lane_of(f), mode, off, len);
}

/* O_DIRECT, and memory that the host does not take: by way of a buffer. */
static int bounce(File *f, bool write, uint64_t off, const IoVec *q, unsigned flags)
{
    size_t most = MIN(q->len, BOUNCE);
    void *buf = block_buf(&f->node, most);
    int ret = 0;

    if (!buf)
        return -ENOMEM;
    for (size_t done = 0; done < q->len && !ret; done += most) {
        most = MIN(most, q->len - done);

        IoVec part = IOV_BUF(buf, most);

        if (write) {
            iov_read(q, done, buf, most);
            ret = write_all(f, off + done, &part, flags);
        } else {
            ret = read_all(f, off + done, &part);
            if (!ret)
                iov_write(q, done, buf, most);
        }
    }
    block_buf_free(buf);
    return ret;
}

static bool must_bounce(const BlockNode *n, const IoVec *q)
{
    return n->cache_direct && (q->n > MAX_DIRECT || !iov_aligned(q, n->limits.mem_align));
}

int fnode_read(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    File *f = (File *)n;

    return must_bounce(n, q) ? bounce(f, false, off, q, 0) : read_all(f, off, q);
}

int fnode_write(BlockNode *n, uint64_t off, const IoVec *q, unsigned flags)
{
    File *f = (File *)n;
    int ret = must_bounce(n, q) ? bounce(f, true, off, q, flags) : write_all(f, off, q, flags);

    fnode_changed(f, off, q->len);
    return ret;
}

/*
 * Once the host has failed to write what it had cached, nobody knows what it
 * has kept: its next fsync succeeds, and means nothing. So ours does not.
 */
int fnode_flush(BlockNode *n)
{
    File *f = (File *)n;
    int ret;

    if (f->flush_error)
        return f->flush_error;
    ret = aio_fdatasync(f->write_kind, f->fd);
    if (ret == -EINVAL && f->device)        /* a device that caches nothing */
        return 0;
    if (ret && !n->cache_direct)
        f->flush_error = ret;
    return ret;
}

/* ---- zeroes and discards */

/* The host cannot: now, or for this range. */
static bool is_refusal(int ret)
{
    return ret == -EOPNOTSUPP || ret == -ENOSYS || ret == -EINVAL || ret == -ENODEV || ret == -ENOTTY;
}

typedef struct Ioctl { int fd; unsigned long what; uint64_t range[2]; int ret; } Ioctl;

static void do_ioctl(void *opaque)
{
    Ioctl *i = opaque;

    do
        i->ret = ioctl(i->fd, i->what, i->range) ? -errno : 0;
    while (i->ret == -EINTR);
}

static int device_ioctl(File *f, unsigned long what, uint64_t off, uint64_t len)
{
    Ioctl i = { f->fd, what, { off, len }, 0 };

    co_offload(do_ioctl, &i);
    return i.ret;
}

/* The file is at least as long as `end`, which this request's zeroes reach: its last block is written. */
static int grow_to(File *f, uint64_t off, uint64_t end)
{
    BlockNode *n = &f->node;
    uint64_t block = MIN(n->limits.request_align, end - off);

    if (f->device || end <= fnode_size_now(n))
        return 0;

    void *zero = block_buf(n, block);

    if (!zero)
        return -ENOMEM;
    memset(zero, 0, block);

    int ret = write_all(f, end - block, &IOV_BUF(zero, block), 0);

    block_buf_free(zero);
    return ret;
}

/* Zeroes that take no room. */
static int punch(File *f, uint64_t off, uint64_t len)
{
    int ret;

    if (f->no_punch)
        return -ENOTSUP;
    ret = allocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len);
    if (is_refusal(ret) || ret == -EPERM) {         /* EPERM: sealed, or no device for it */
        f->no_punch = ret != -EINVAL && ret != -EPERM;
        return -ENOTSUP;
    }
    return ret;
}

/* Zeroes that have their room, without writing them. */
static int zero_range(File *f, uint64_t off, uint64_t len)
{
    int ret;

    if (f->no_zero_range)
        return -ENOTSUP;
    ret = f->block_device ? device_ioctl(f, BLKZEROOUT, off, len)
                          : allocate(f, FALLOC_FL_ZERO_RANGE, off, len);
    if (is_refusal(ret)) {
        f->no_zero_range = ret != -EINVAL;
        return -ENOTSUP;
    }
    return ret;
}

/* Beyond the end there is nothing to overwrite: room alone makes zeroes. */
static int allocate_new(File *f, uint64_t off, uint64_t len)
{
    if (f->device || off < fnode_size_now(&f->node))
        return -ENOTSUP;

    int ret = allocate(f, 0, off, len);

    return is_refusal(ret) ? -ENOTSUP : ret;
}

int fnode_zero(BlockNode *n, uint64_t off, uint64_t len, unsigned flags)
{
    File *f = (File *)n;
    int ret = -ENOTSUP;

    if (flags & REQ_UNMAP) {
        ret = punch(f, off, len);
        if (!ret)
            ret = grow_to(f, off, off + len);
    }
    if (ret == -ENOTSUP)
        ret = zero_range(f, off, len);
    if (ret == -ENOTSUP)
        ret = allocate_new(f, off, len);
    fnode_changed(f, off, len);
    return ret;
}

int fnode_discard(BlockNode *n, uint64_t off, uint64_t len)
{
    File *f = (File *)n;
    int ret = 0;

    if (f->no_discard)
        return -ENOTSUP;
    if (!f->block_device) {
        ret = punch(f, off, len);
    } else {
        ret = device_ioctl(f, BLKDISCARD, off, len);
        if (is_refusal(ret)) {
            f->no_discard = ret != -EINVAL;
            ret = -ENOTSUP;
        }
    }
    fnode_changed(f, off, len);
    if (ret) {
        f->discards_failed++;
    } else {
        f->discards++;
        f->discarded += len;
    }
    return ret;
}

/* ---- holes */

void fnode_changed(File *f, uint64_t off, uint64_t len)
{
    if (off < f->seen_end && off + len > f->seen_start)
        f->seen_end = f->seen_start = 0;
}

/*
 * Where the data or hole around `off` ends, by lseek; -errno where it cannot
 * say. The end of the file counts as the end of data.
 */
static int look_around(File *f, uint64_t off)
{
    off_t data = lseek(f->fd, (off_t)off, SEEK_DATA), hole;

    if (data < 0 && errno != ENXIO)
        return -errno;
    f->seen_start = off;
    f->seen_data = data == (off_t)off;
    if (data < 0) {
        f->seen_end = UINT64_MAX;           /* a hole to the end */
        return 0;
    }
    if (!f->seen_data) {
        f->seen_end = (uint64_t)data;
        return data < (off_t)off ? -EIO : 0;
    }
    hole = lseek(f->fd, (off_t)off, SEEK_HOLE);
    if (hole < 0 && errno != ENXIO)
        return -errno;
    f->seen_end = hole > (off_t)off ? (uint64_t)hole : off + 1;
    return 0;
}

/* What was seen last holds for `off`. Holes may be filled by others, if others may write. */
static bool is_known(const File *f, uint64_t off)
{
    return off >= f->seen_start && off < f->seen_end &&
           (f->seen_data || !(f->node.shared & PERM_WRITE));
}

int fnode_extent(BlockNode *n, uint64_t off, uint64_t len, Extent *out)
{
    File *f = (File *)n;
    uint64_t align = n->limits.request_align, here;

    *out = (Extent){ .len = len, .flags = EXTENT_DATA | EXTENT_OFFSET, .host = off, .host_node = n };
    if (f->device || (!is_known(f, off) && look_around(f, off))) {
        f->seen_start = f->seen_end = 0;
        return 0;
    }
    here = f->seen_end - off;
    if (!f->seen_data && here < align && here < len)
        out->len = align;                   /* a block that is a hole at first, and data then */
    else if (f->seen_data)
        out->len = MIN(len, (here + align - 1) & ~(align - 1));
    else
        out->len = MIN(len, here & ~(align - 1));
    if (!f->seen_data && out->len <= here)
        out->flags = EXTENT_ZERO | EXTENT_OFFSET;
    return 0;
}

/* ---- the host copies */

int fnode_copy(BlockNode *from, uint64_t from_off, BlockNode *to, uint64_t to_off, uint64_t len)
{
    File *in = (File *)from, *out = (File *)to;
    uint64_t done = 0;
    int ret = 0;

    if (out->no_copy || in->device || out->device)
        return -ENOTSUP;
    while (done < len && !ret) {
        ssize_t n = aio_copy_range(in->fd, from_off + done, out->fd, lane_of(out), to_off + done,
                                   MIN(len - done, COPY_ONCE));

        if (n > 0)
            done += (uint64_t)n;
        else if (n == 0)                    /* the source ends: zeroes follow */
            ret = fnode_zero(to, to_off + done, len - done, 0), done = ret ? done : len;
        else
            ret = (int)n;
    }
    fnode_changed(out, to_off, len);
    if (is_refusal(ret) || ret == -EXDEV || ret == -EBADF || ret == -ETXTBSY || ret == -EPERM) {
        out->no_copy = ret == -EOPNOTSUPP || ret == -ENOSYS;
        return -ENOTSUP;
    }
    return ret;
}
