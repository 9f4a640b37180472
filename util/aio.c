/* SPDX-License-Identifier: MIT */
/*
 * Files of the host from coroutines: at once where that does not wait, else by
 * a worker (work.c) or the host's ring (ring.c).
 *
 * At once: reads of pages that are cached (RWF_NOWAIT says whether they are),
 * and small writes into the page cache, which take a microsecond or two there
 * and ten by way of a thread. A write may wait after all, when too much is
 * dirty or a page must be read first; one that took long sends those that
 * follow to the workers for a while, for longer each time. What waits is done
 * in the loop's thread, too, when that has nothing else to wait for: the one
 * request of a program that makes one after the other. A coroutine that has had
 * many requests done at once lets the others of its loop run.
 */
#include "util/aio.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util/loop-priv.h"
#include "util/ring.h"
#include "util/work.h"

enum {
    EAGER_BYTES = 64 << 10,     /* no longer request is tried at once */
    EAGER_TURN = 64,            /* so many in a turn of the loop */
    SLOW = 1000000,             /* ns: a write that took so long has waited (or this thread had no processor) */
    MOST_CALM = 1000000000,     /* ns: so long none is tried then, at most */
    ELEMENTS = 64,              /* of a vector in one system call */
};

typedef enum OpKind { OP_READ, OP_WRITE, OP_SYNC, OP_ALLOCATE, OP_COPY } OpKind;

/* One system call. On the stack of the coroutine that waits for it. */
typedef struct Op {
    Work work;
    Co *co;
    OpKind kind;
    int fd, to_fd;
    WorkLane *lane;             /* of fd, or to_fd */
    uint64_t off, to_off, len;
    int mode;                   /* of fallocate; RWF_ flags of reads and writes */
    const struct iovec *v;
    unsigned n;
    ssize_t ret;
    bool done;
} Op;

static ssize_t op_call(Op *op)
{
    off_t off = (off_t)op->off, to_off = (off_t)op->to_off;
    ssize_t ret = -1;

    do {
        switch (op->kind) {
        case OP_READ:
            ret = op->mode || op->n > 1 ? preadv2(op->fd, op->v, (int)op->n, off, op->mode)
                                        : pread(op->fd, op->v->iov_base, op->v->iov_len, off);
            break;
        case OP_WRITE:
            ret = op->mode || op->n > 1 ? pwritev2(op->fd, op->v, (int)op->n, off, op->mode)
                                        : pwrite(op->fd, op->v->iov_base, op->v->iov_len, off);
            break;
        case OP_SYNC:
            ret = fdatasync(op->fd);
            break;
        case OP_ALLOCATE:
            ret = fallocate(op->fd, op->mode, off, (off_t)op->len);
            break;
        case OP_COPY:
            ret = copy_file_range(op->fd, &off, op->to_fd, &to_off, op->len, 0);
            break;
        }
    } while (ret < 0 && errno == EINTR);
    return ret < 0 ? -errno : ret;
}

static ssize_t op_here(void *opaque)
{
    return op_call(opaque);
}

static void op_run(Work *w)
{
    Op *op = (Op *)w;

    op->ret = op_call(op);
}

static void op_done(Work *w)
{
    Op *op = (Op *)w;

    op->done = true;
    co_wake(op->co);
}

static void op_prepare(struct io_uring_sqe *sqe, void *opaque)
{
    const Op *op = opaque;

    switch (op->kind) {
    case OP_READ:
        if (op->n == 1)
            io_uring_prep_read(sqe, op->fd, op->v->iov_base, (unsigned)op->v->iov_len, op->off);
        else
            io_uring_prep_readv(sqe, op->fd, op->v, op->n, op->off);
        break;
    case OP_WRITE:
        if (op->n == 1)
            io_uring_prep_write(sqe, op->fd, op->v->iov_base, (unsigned)op->v->iov_len, op->off);
        else
            io_uring_prep_writev(sqe, op->fd, op->v, op->n, op->off);
        sqe->rw_flags = op->mode;
        break;
    case OP_SYNC:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    case OP_ALLOCATE:
        io_uring_prep_fallocate(sqe, op->fd, op->mode, (off_t)op->off, (off_t)op->len);
        break;
    case OP_COPY:
        break;
    }
}

static const RingCall ring_call = { op_prepare, op_here };

static ssize_t op_wait(AioKind kind, Op *op)
{
    if (kind == AIO_URING && op->kind != OP_COPY && co_loop()->ring) {
        ssize_t ret;

        do
            ret = ring_do(&ring_call, op);
        while (ret == -EINTR || ret == -EAGAIN);
        return ret;
    }
    op->work = (Work){ .run = op_run, .done = op_done, .here = true, .lane = op->lane };
    op->co = co_self();
    work_ask(co_loop(), &op->work);
    co_until(&op->done);
    return op->ret;
}

Err *aio_check(Loop *loop, AioKind kind)
{
    return kind == AIO_URING ? ring_check(loop) : NULL;
}

void aio_max_batch(Loop *loop, unsigned most)
{
    if (most && loop->ring)
        ring_max_batch(loop, most);
}

/* ---- at once */

static bool may_be_eager(Loop *loop, unsigned flags, const WorkLane *lane, size_t len)
{
    if ((flags & (AIO_DIRECT | AIO_DSYNC)) || len > EAGER_BYTES || (lane && lane->asked))
        return false;
    if (++loop->eager > EAGER_TURN)
        co_pause();
    return true;
}

/* -EAGAIN: it would wait, or the host cannot say. */
static ssize_t read_at_once(Op *op)
{
    op->mode = RWF_NOWAIT;

    ssize_t ret = op_call(op);

    op->mode = 0;
    return ret == -EOPNOTSUPP || ret == -ENOSYS ? -EAGAIN : ret;
}

static ssize_t write_at_once(Loop *loop, Op *op)
{
    int64_t start = loop_now();

    if (start < loop->no_eager_until)
        return -EAGAIN;

    ssize_t ret = op_call(op);
    int64_t end = loop_now(), took = end - start;

    if (took < SLOW) {
        loop->slow_writes = 0;
    } else {
        loop->slow_writes = MIN(loop->slow_writes + 1, 10);
        loop->no_eager_until = end + MIN(took << loop->slow_writes, MOST_CALM);
    }
    return ret;
}

/* ---- reading and writing */

static ssize_t transfer(OpKind what, AioKind kind, int fd, WorkLane *lane, uint64_t off, const IoVec *q, unsigned flags)
{
    struct iovec v[ELEMENTS];
    size_t done = 0, bytes;

    while (done < q->len) {
        IoVec rest = iov_slice(q, done, q->len - done);
        Op op = { .kind = what, .fd = fd, .lane = lane, .off = off + done, .v = v };
        ssize_t ret = -EAGAIN;

        op.n = iov_elements(&rest, v, ELEMENTS, &bytes);
        if (may_be_eager(co_loop(), flags, lane, bytes))
            ret = what == OP_READ ? read_at_once(&op) : write_at_once(co_loop(), &op);
        if (ret == -EAGAIN) {
            op.mode = what == OP_WRITE && (flags & AIO_DSYNC) ? RWF_DSYNC : 0;
            ret = op_wait(kind, &op);
        }
        if (ret < 0)
            return ret;
        if (ret == 0)
            return what == OP_READ ? (ssize_t)done : -ENOSPC;
        done += (size_t)ret;
        /* Within a sector, only a file ends; the host may not even take the rest of it as a request. */
        if (what == OP_READ && (flags & AIO_DIRECT) && (size_t)ret < bytes && ret % 512)
            break;
    }
    return (ssize_t)done;
}

ssize_t aio_pread(AioKind kind, int fd, uint64_t off, const IoVec *q, unsigned flags)
{
    return transfer(OP_READ, kind, fd, NULL, off, q, flags);
}

ssize_t aio_pwrite(AioKind kind, int fd, WorkLane *lane, uint64_t off, const IoVec *q, unsigned flags)
{
    return transfer(OP_WRITE, kind, fd, lane, off, q, flags);
}

int aio_fdatasync(AioKind kind, int fd)
{
    Op op = { .kind = OP_SYNC, .fd = fd };

    return (int)op_wait(kind, &op);
}

int aio_fallocate(AioKind kind, int fd, WorkLane *lane, int mode, uint64_t off, uint64_t len)
{
    Op op = { .kind = OP_ALLOCATE, .fd = fd, .lane = lane, .mode = mode, .off = off, .len = len };

    return (int)op_wait(kind, &op);
}

ssize_t aio_copy_range(int from, uint64_t from_off, int to, WorkLane *lane, uint64_t to_off, uint64_t len)
{
    Op op = { .kind = OP_COPY, .fd = from, .to_fd = to, .lane = lane, .off = from_off, .to_off = to_off, .len = len };

    return op_wait(AIO_THREADS, &op);
}
