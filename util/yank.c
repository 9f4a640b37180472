/* SPDX-License-Identifier: MIT */
/*
 * The registry of what can be yanked. It holds copies of descriptors: a shutdown acts on the socket behind them, and
 * a number that the owner has closed and somebody else got is never touched.
 */
#include "util/yank.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

struct Yanks {
    pthread_mutex_t lock;
    GPtrArray *all;             /* Yank, in the order added */
};

Yanks *yanks_new(void)
{
    Yanks *s = g_new0(Yanks, 1);

    pthread_mutex_init(&s->lock, NULL);
    s->all = g_ptr_array_new();
    return s;
}

void yanks_free(Yanks *s)
{
    if (!s)
        return;
    g_ptr_array_unref(s->all);
    pthread_mutex_destroy(&s->lock);
    g_free(s);
}

void yank_add(Yanks *s, Yank *y, YankKind kind, const char *name)
{
    if (!s)
        return;
    y->set = s;
    y->kind = kind;
    y->name = g_strdup(name);
    y->fds = g_array_new(FALSE, FALSE, sizeof(int));
    atomic_store(&y->pulled, false);
    pthread_mutex_lock(&s->lock);
    g_ptr_array_add(s->all, y);
    pthread_mutex_unlock(&s->lock);
}

void yank_remove(Yank *y)
{
    Yanks *s = y->set;

    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    g_ptr_array_remove(s->all, y);
    pthread_mutex_unlock(&s->lock);
    for (guint i = 0; i < y->fds->len; i++)
        close(g_array_index(y->fds, int, i));
    g_clear_pointer(&y->fds, g_array_unref);
    g_clear_pointer(&y->name, g_free);
    y->set = NULL;
}

int yank_watch(Yank *y, int fd)
{
    int copy = y->set ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;

    if (copy < 0)
        return -1;              /* no more descriptors: it cannot be yanked, all else goes on */
    pthread_mutex_lock(&y->set->lock);
    g_array_append_val(y->fds, copy);
    pthread_mutex_unlock(&y->set->lock);
    return copy;
}

void yank_unwatch(Yank *y, int watch)
{
    if (!y->set || watch < 0)
        return;
    pthread_mutex_lock(&y->set->lock);
    for (guint i = 0; i < y->fds->len; i++) {
        if (g_array_index(y->fds, int, i) == watch) {
            g_array_remove_index(y->fds, i);
            close(watch);
            break;
        }
    }
    pthread_mutex_unlock(&y->set->lock);
}

static Yank *find(const Yanks *s, const YankName *n)
{
    for (guint i = 0; i < s->all->len; i++) {
        Yank *y = g_ptr_array_index(s->all, i);

        if (y->kind == n->kind && !g_strcmp0(y->name, n->name))
            return y;
    }
    return NULL;
}

static void pull(Yank *y)
{
    atomic_store(&y->pulled, true);
    for (guint i = 0; i < y->fds->len; i++)
        shutdown(g_array_index(y->fds, int, i), SHUT_RDWR);
}

Err *yanks_pull(Yanks *s, const YankName *names, unsigned count)
{
    bool all = true;

    pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < count; i++)
        all = all && find(s, &names[i]);
    for (unsigned i = 0; all && i < count; i++)
        pull(find(s, &names[i]));
    pthread_mutex_unlock(&s->lock);
    return all ? NULL : err(ERR_NO_DEVICE, "Instance not found");
}

void yanks_each(Yanks *s, void (*fn)(void *, YankKind, const char *), void *opaque)
{
    pthread_mutex_lock(&s->lock);
    for (guint i = 0; i < s->all->len; i++) {
        const Yank *y = g_ptr_array_index(s->all, i);

        fn(opaque, y->kind, y->name);
    }
    pthread_mutex_unlock(&s->lock);
}
