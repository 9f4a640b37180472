/* SPDX-License-Identifier: MIT */
/*
 * Files of the host from coroutines: each call may yield and returns what the
 * system call returns, or -errno. AIO_THREADS hands the call to a worker
 * thread of the loop, AIO_URING to the loop's io_uring. Either may do it at
 * once where it will not wait (pages that are cached).
 *
 * Whole: pread and pwrite go on after short counts; a read that meets the end
 * of the file returns less.
 */
#ifndef UTIL_AIO_H
#define UTIL_AIO_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/err.h"
#include "util/iov.h"
#include "util/work.h"

typedef enum AioKind { AIO_THREADS, AIO_URING } AioKind;

typedef enum AioFlags {
    AIO_DIRECT = 1,         /* the file was opened with O_DIRECT: never worth trying at once */
    AIO_DSYNC = 2,          /* write: on stable storage before it returns (RWF_DSYNC) */
} AioFlags;

/* NULL: this host has it. */
MUST_USE Err *aio_check(Loop *loop, AioKind kind);

/* io_uring: hand over after so many requests, not only at the end of a turn; the least that was ever asked for. 0: no limit. */
void aio_max_batch(Loop *loop, unsigned most);

/* `lane`, of those who change one file (NULL: none): workers do one after the other. The ring knows none. */
ssize_t aio_pread(AioKind kind, int fd, uint64_t off, const IoVec *q, unsigned flags);
ssize_t aio_pwrite(AioKind kind, int fd, WorkLane *lane, uint64_t off, const IoVec *q, unsigned flags);
int aio_fdatasync(AioKind kind, int fd);
int aio_fallocate(AioKind kind, int fd, WorkLane *lane, int mode, uint64_t off, uint64_t len);
/* copy_file_range: bytes copied, at least one, or -errno. */
ssize_t aio_copy_range(int from, uint64_t from_off, int to, WorkLane *lane, uint64_t to_off, uint64_t len);

#endif
