/* SPDX-License-Identifier: MIT */
/*
 * Yank: what may hang because a peer at the other end of a socket says nothing any more, by name, so that a user can
 * cut it off while everything else waits for it (QMP's yank, which is answered out of band).
 *
 * Whoever owns a connection adds itself and has its sockets watched; to be yanked is to see them shut down. Any thread;
 * a registry that is NULL takes everything and does nothing.
 */
#ifndef UTIL_YANK_H
#define UTIL_YANK_H

#include <glib.h>
#include <stdbool.h>

#include "util/err.h"

typedef struct Yanks Yanks;     /* those of a machine */

typedef enum YankKind { YANK_BLOCK_NODE, YANK_CHARDEV, YANK_MIGRATION } YankKind;

/* Embedded in its owner, zeroed. */
typedef struct Yank {
    Yanks *set;                 /* NULL: not added */
    YankKind kind;
    char *name;                 /* NULL: there is but one of its kind */
    GArray *fds;                /* int: copies of the sockets */
    _Atomic bool pulled;        /* it was yanked, once at least: don't wait for the peer any more */
} Yank;

Yanks *yanks_new(void);
void yanks_free(Yanks *set);    /* all have been removed */

void yank_add(Yanks *set, Yank *y, YankKind kind, const char *name);
void yank_remove(Yank *y);      /* with all it watches; fine when it was not added */
/* The socket is to be shut down. Returns what yank_unwatch takes; the owner may close fd before or after that. */
int yank_watch(Yank *y, int fd);
void yank_unwatch(Yank *y, int watch);

typedef struct YankName { YankKind kind; const char *name; } YankName;
/* All of them, or none when one is not there. Never waits. */
MUST_USE Err *yanks_pull(Yanks *set, const YankName *names, unsigned count);
void yanks_each(Yanks *set, void (*fn)(void *opaque, YankKind kind, const char *name), void *opaque);

#endif
