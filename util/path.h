/* SPDX-License-Identifier: MIT */
/*
 * Errors about files: beside the host's reason, what the user can do about it.
 */
#ifndef UTIL_PATH_H
#define UTIL_PATH_H

#include "util/err.h"

/*
 * As err_errno, for a call with `path` that failed. The hint says what the
 * host shows of the path: which folder is not there, a file whose name is near,
 * whose the file is. fmt says what was tried, path and all.
 */
MUST_USE Err *err_path(int errnum, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
