/* SPDX-License-Identifier: MIT */
/*
 * Arenas: buffers of many lengths within one mapping, so that their memory
 * together has a limit and is used again, whatever order they come and go in.
 * For one thread at a time.
 */
#ifndef UTIL_ARENA_H
#define UTIL_ARENA_H

#include <stddef.h>

typedef struct Arena Arena;

/* `bytes` is rounded up to pages. NULL: there is not that much address space. Memory is used when it is first touched. */
Arena *arena_new(size_t bytes);
void arena_free(Arena *);                       /* NULL is fine; buffers end with it */
/* `len` bytes (not 0), aligned to a page; NULL: no room in one piece now. One as long as the arena fits an empty one. */
void *arena_take(Arena *, size_t len);
void arena_give(Arena *, void *buf, size_t len);        /* as taken */

#endif
