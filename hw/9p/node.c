/* SPDX-License-Identifier: MIT */
/*
 * Nodes: names in folders, and the descriptors of folders: see p9-priv.h.
 *
 * A node is in the table while it has a parent. The descriptors that are open
 * form a list by use; when there are too many the oldest is closed, and opened
 * again by its parent's, one name at a time, when it is needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hw/9p/p9-priv.h"

/* ---- the table */

static guint p9_node_hash(gconstpointer p)
{
    const P9Node *n = p;

    return g_str_hash(n->name) ^ g_direct_hash(n->parent);
}

static gboolean p9_node_equal(gconstpointer a, gconstpointer b)
{
    const P9Node *m = a, *n = b;

    return m->parent == n->parent && !strcmp(m->name, n->name);
}

GHashTable *p9_nodes_table(void)
{
    return g_hash_table_new(p9_node_hash, p9_node_equal);
}

P9Node *p9_node_root_new(int fd)
{
    P9Node *n = g_new0(P9Node, 1);

    *n = (P9Node){ .refs = 1, .fd = fd, .pin = -1, .name = g_strdup("") };
    return n;
}

static P9Node *p9_node_lookup(P9Server *s, P9Node *parent, const char *name)
{
    P9Node key = { .parent = parent, .name = (char *)name };

    return g_hash_table_lookup(s->nodes, &key);
}

P9Node *p9_node_ref(P9Node *n)
{
    n->refs++;
    return n;
}

/* ---- descriptors */

static void unlist(P9Server *s, P9Node *n)
{
    *(n->newer ? &n->newer->older : &s->newest) = n->older;
    *(n->older ? &n->older->newer : &s->oldest) = n->newer;
    n->newer = n->older = NULL;
}

static void list_newest(P9Server *s, P9Node *n)
{
    n->older = s->newest;
    n->newer = NULL;
    *(s->newest ? &s->newest->newer : &s->oldest) = n;
    s->newest = n;
}

/* An open folder is held by the list, so that it outlives the fids that knew it. */
static void close_fd(P9Server *s, P9Node *n)
{
    unlist(s, n);
    s->open_dirs--;
    close(n->fd);
    n->fd = -1;
    p9_node_unref(s, n);
}

void p9_nodes_close(P9Server *s)
{
    while (s->oldest)
        close_fd(s, s->oldest);
}

void p9_node_unref(P9Server *s, P9Node *n)
{
    while (n && !--n->refs) {
        P9Node *parent = n->parent;

        if (parent && !n->gone)
            g_hash_table_remove(s->nodes, n);
        if (n->fd >= 0)
            close(n->fd);       /* the root; others have been in the list */
        if (n->pin >= 0) {
            close(n->pin);
            s->pins--;
        }
        g_free(n->name);
        g_free(n);
        n = parent;
    }
}

P9Node *p9_node_child(P9Server *s, P9Node *parent, const char *name)
{
    P9Node *n = p9_node_lookup(s, parent, name);

    if (n)
        return p9_node_ref(n);
    n = g_new0(P9Node, 1);
    *n = (P9Node){
        .parent = p9_node_ref(parent), .name = g_strdup(name), .refs = 1, .depth = parent->depth + 1, .fd = -1, .pin = -1,
    };
    g_hash_table_add(s->nodes, n);
    return n;
}

/* One name, no link followed, nothing magic; beneath the folder even if we were wrong about the name. */
static int open_folder(int dir, const char *name)
{
    struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    int fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));

    if (fd < 0 && (errno == ENOSYS || errno == EPERM))      /* an old kernel, or a filter that knows it not */
        fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int open_node(P9Server *s, P9Node *n)
{
    struct statx st;
    int dir = p9_node_fd(s, n->parent);
    int fd = dir < 0 ? dir : open_folder(dir, n->name);

    if (fd < 0)
        return fd;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO, &st) < 0) {
        int e = errno;

        close(fd);
        return -e;
    }
    n->fd = fd;
    n->ino = st.stx_ino;
    n->major = st.stx_dev_major;
    n->minor = st.stx_dev_minor;
    list_newest(s, p9_node_ref(n));
    if (++s->open_dirs > s->most_dirs)
        close_fd(s, s->oldest);
    return fd;
}

/* Recursion is no deeper than walks may be, though renaming may put a deep tree below another. */
int p9_node_fd(P9Server *s, P9Node *n)
{
    unsigned closed = 0;

    if (n->gone)
        return n->pin >= 0 ? n->pin : -ESTALE;
    if (n->fd < 0) {
        for (P9Node *p = n; p && p->fd < 0 && !p->gone; p = p->parent)
            if (++closed > P9_DEPTH_MOST)
                return -ENAMETOOLONG;
        return open_node(s, n);
    }
    if (n->parent && n != s->newest) {
        unlist(s, n);
        list_newest(s, n);
    }
    return n->fd;
}

int p9_node_at(P9Server *s, P9Node *n, P9At *at)
{
    int fd;

    if (n->gone || !n->parent) {
        fd = p9_node_fd(s, n);
        *at = (P9At){ fd, "" };
    } else {
        fd = p9_node_fd(s, n->parent);
        *at = (P9At){ fd, n->name };
    }
    return fd < 0 ? fd : 0;
}

void p9_node_seen(P9Server *s, P9Node *n, const struct statx *st)
{
    if (n->parent && !n->gone && n->fd >= 0 &&
        (n->ino != st->stx_ino || n->major != st->stx_dev_major || n->minor != st->stx_dev_minor))
        close_fd(s, n);
}

/* ---- removed, renamed */

/* The list's reference is not somebody who knows it. */
static bool is_known(const P9Node *n)
{
    return n->refs > (n->fd >= 0 ? 1u : 0u);
}

void p9_node_before_unlink(P9Server *s, P9Node *parent, const char *name)
{
    P9Node *n = p9_node_lookup(s, parent, name);
    int dir = n && is_known(n) && s->pins < P9_PINS_MOST ? p9_node_fd(s, parent) : -1;

    if (dir < 0 || n->pin >= 0)
        return;
    n->pin = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    s->pins += n->pin >= 0;
}

/* It keeps its parent, for "..", but has no name any more. */
static void p9_node_vanish(P9Server *s, P9Node *n)
{
    p9_node_ref(n);
    g_hash_table_remove(s->nodes, n);
    n->gone = true;
    if (n->fd >= 0)
        close_fd(s, n);
    p9_node_unref(s, n);
}

void p9_node_unlinked(P9Server *s, P9Node *parent, const char *name)
{
    P9Node *n = p9_node_lookup(s, parent, name);

    if (n)
        p9_node_vanish(s, n);
}

/* As we know it: the host may have moved them meanwhile. */
static bool is_below(const P9Node *n, const P9Node *top)
{
    while (n && n != top)
        n = n->parent;
    return n;
}

void p9_node_renamed(P9Server *s, P9Node *from, const char *name, P9Node *to, const char *new_name)
{
    P9Node *n = p9_node_lookup(s, from, name);
    P9Node *there = p9_node_lookup(s, to, new_name);

    if (there && there != n)
        p9_node_vanish(s, there);
    if (!n || there == n)
        return;
    if (is_below(to, n)) {
        p9_node_vanish(s, n);
        return;
    }
    g_hash_table_remove(s->nodes, n);
    P9Node *was = n->parent;
    n->parent = p9_node_ref(to);
    n->depth = to->depth + 1;   /* of those below it, the depth stays what it was: it bounds walks, no more */
    g_free(n->name);
    n->name = g_strdup(new_name);
    g_hash_table_add(s->nodes, n);
    p9_node_unref(s, was);
}
