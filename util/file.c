/* SPDX-License-Identifier: MIT */
/* Whole reads and writes of files. */
#include "util/file.h"

#include <errno.h>
#include <unistd.h>

int file_pread(int fd, uint64_t off, void *data, size_t len)
{
    for (uint8_t *p = data; len;) {
        ssize_t n = pread(fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -ENODATA;
        p += n, off += (size_t)n, len -= (size_t)n;
    }
    return 0;
}

int file_pwrite(int fd, uint64_t off, const void *data, size_t len)
{
    for (const uint8_t *p = data; len;) {
        ssize_t n = pwrite(fd, p, len, (off_t)off);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -ENOSPC;
        p += n, off += (size_t)n, len -= (size_t)n;
    }
    return 0;
}
