/* SPDX-License-Identifier: MIT */
/* See util/fdset.h. */
#include "util/fdset.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "/dev/fdset/"
enum { MOST = 1024 };           /* descriptors in all sets */

typedef struct Entry { int64_t id; int fd; char *note; } Entry;

struct FdSets {
    pthread_mutex_t lock;
    GArray *all;                /* Entry, by set, in the order of adding */
};

static void entry_clear(void *opaque)
{
    Entry *e = opaque;

    close(e->fd);
    g_free(e->note);
}

FdSets *fdsets_new(void)
{
    FdSets *s = g_new0(FdSets, 1);

    pthread_mutex_init(&s->lock, NULL);
    s->all = g_array_new(false, false, sizeof(Entry));
    g_array_set_clear_func(s->all, entry_clear);
    return s;
}

void fdsets_free(FdSets *s)
{
    if (!s)
        return;
    g_array_free(s->all, true);
    pthread_mutex_destroy(&s->lock);
    g_free(s);
}

static Entry *entry(FdSets *s, guint i)
{
    return &g_array_index(s->all, Entry, i);
}

/* Where the set's entries end, and whether there is one; sets are in the order of their numbers. */
static guint find_end(FdSets *s, int64_t id, bool *there)
{
    guint i = 0;

    *there = false;
    while (i < s->all->len && entry(s, i)->id <= id)
        *there |= entry(s, i++)->id == id;
    return i;
}

static int64_t free_id(FdSets *s)
{
    int64_t id = 0;

    for (guint i = 0; i < s->all->len && entry(s, i)->id <= id; i++)
        id = entry(s, i)->id + 1;
    return id;
}

Err *fdsets_add(FdSets *s, int64_t id, int fd, const char *note, int64_t *out)
{
    Entry e = { id, fd, g_strdup(note) };
    bool there;

    pthread_mutex_lock(&s->lock);
    bool full = s->all->len >= MOST;
    if (!full) {
        if (id < 0)
            e.id = free_id(s);
        guint at = find_end(s, e.id, &there);
        g_array_insert_val(s->all, at, e);
        if (out)
            *out = e.id;
    }
    pthread_mutex_unlock(&s->lock);
    if (full) {
        entry_clear(&e);
        return err(ERR_BUSY, "there are %d descriptors in sets already", MOST);
    }
    return NULL;
}

Err *fdsets_remove(FdSets *s, int64_t id, int fd)
{
    bool found = false;

    pthread_mutex_lock(&s->lock);
    for (guint i = s->all->len; i-- > 0;) {
        if (entry(s, i)->id == id && (fd < 0 || entry(s, i)->fd == fd)) {
            g_array_remove_index(s->all, i);
            found = true;
        }
    }
    pthread_mutex_unlock(&s->lock);
    if (found)
        return NULL;
    if (fd < 0)
        return err(ERR_NOT_FOUND, "File descriptor named 'fdset-id:%" PRId64 "' not found", id);
    return err(ERR_NOT_FOUND, "File descriptor named 'fdset-id:%" PRId64 ", fd:%d' not found", id, fd);
}

void fdsets_each(FdSets *s, void (*fn)(void *, int64_t, int, const char *), void *opaque)
{
    pthread_mutex_lock(&s->lock);
    for (guint i = 0; i < s->all->len; i++)
        fn(opaque, entry(s, i)->id, entry(s, i)->fd, entry(s, i)->note);
    pthread_mutex_unlock(&s->lock);
}

/* ---- opening */

bool fdset_is_name(const char *path)
{
    return g_str_has_prefix(path, PREFIX);
}

static int dup_fitting(FdSets *s, int64_t id, int flags)
{
    bool there = false;

    for (guint i = 0; i < s->all->len; i++) {
        const Entry *e = entry(s, i);

        if (e->id != id)
            continue;
        there = true;
        int has = fcntl(e->fd, F_GETFL);
        if (has >= 0 && (has & O_ACCMODE) == (flags & O_ACCMODE))
            return fcntl(e->fd, F_DUPFD_CLOEXEC, 0);
    }
    errno = there ? EACCES : ENOENT;
    return -1;
}

/* Flags that open would set and that can be changed later. */
static int adjust(int fd, int flags)
{
    const int some = O_APPEND | O_NONBLOCK | O_DIRECT;
    int has = fcntl(fd, F_GETFL);

    if (has >= 0 && (has & some) != (flags & some) && fcntl(fd, F_SETFL, (has & ~some) | (flags & some)) < 0) {
        int errnum = errno;

        close(fd);
        errno = errnum;
        return -1;
    }
    return fd;
}

int fdsets_open(FdSets *s, const char *path, int flags, unsigned mode)
{
    int64_t id;
    char *end;

    if (!fdset_is_name(path))
        return open(path, flags, mode);
    id = g_ascii_strtoll(path + strlen(PREFIX), &end, 10);
    if (!s || *end || end == path + strlen(PREFIX) || id < 0) {
        errno = ENOENT;
        return -1;
    }
    pthread_mutex_lock(&s->lock);
    int fd = dup_fitting(s, id, flags);
    pthread_mutex_unlock(&s->lock);
    return fd < 0 ? -1 : adjust(fd, flags);
}
