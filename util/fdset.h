/* SPDX-License-Identifier: MIT */
/*
 * Sets of descriptors that somebody with more rights has opened for us: a file
 * named /dev/fdset/N is a duplicate of the one in set N whose access mode fits.
 * Any thread may use them.
 */
#ifndef UTIL_FDSET_H
#define UTIL_FDSET_H

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

typedef struct FdSets FdSets;

FdSets *fdsets_new(void);
void fdsets_free(FdSets *s);            /* closes them all. NULL is fine */
/* Takes fd. id -1: a new set. *out (may be NULL): the set. note may be NULL, and is copied. */
MUST_USE Err *fdsets_add(FdSets *s, int64_t id, int fd, const char *note, int64_t *out);
/* fd -1: all of the set. */
MUST_USE Err *fdsets_remove(FdSets *s, int64_t id, int fd);
/* Calls fn for each descriptor, set by set. */
void fdsets_each(FdSets *s, void (*fn)(void *opaque, int64_t id, int fd, const char *note), void *opaque);

/* Is it a name of this kind? */
bool fdset_is_name(const char *path);
/* open(2) for such a name (else of the plain file); -1 and errno. s NULL: there are none. */
int fdsets_open(FdSets *s, const char *path, int flags, unsigned mode);

#endif
