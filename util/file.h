/* SPDX-License-Identifier: MIT */
/*
 * Whole reads and writes of the host's files at an offset: the system calls may do less, and may be interrupted.
 */
#ifndef UTIL_FILE_H
#define UTIL_FILE_H

#include <stddef.h>
#include <stdint.h>

/* All of it, or -errno. A file that ends before: -ENODATA. */
int file_pread(int fd, uint64_t off, void *data, size_t len);
int file_pwrite(int fd, uint64_t off, const void *data, size_t len);

#endif
