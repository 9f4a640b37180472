/* SPDX-License-Identifier: MIT */
/*
 * Fids: the guest's numbers for files. One leaves the table by a clunk, and
 * dies when the calls that use it have ended.
 */
#include <errno.h>
#include <unistd.h>

#include "hw/9p/p9-priv.h"

P9Fid *p9_fid_find(P9Server *s, uint32_t id)
{
    return g_hash_table_lookup(s->fids, GUINT_TO_POINTER(id));
}

int p9_fid_new(P9Server *s, uint32_t id, P9Node *n, uint32_t uid, P9Fid **out)
{
    int e = p9_fid_find(s, id) ? -EBADF : g_hash_table_size(s->fids) >= P9_FIDS_MOST ? -ENFILE : 0;

    if (e) {
        p9_node_unref(s, n);
        return e;
    }
    P9Fid *f = g_new0(P9Fid, 1);
    *f = (P9Fid){ .id = id, .refs = 1, .node = n, .fd = -1, .uid = uid };
    g_hash_table_insert(s->fids, GUINT_TO_POINTER(id), f);
    if (out)
        *out = f;
    return 0;
}

void p9_fid_unref(P9Server *s, P9Fid *f)
{
    if (--f->refs)
        return;
    if (s->names_of == f)
        s->names_of = NULL;
    if (f->fd >= 0) {
        close(f->fd);
        s->open_files--;
    }
    g_free(f->value);
    g_free(f->xattr);
    p9_node_unref(s, f->node);
    g_free(f);
}

int p9_fid_drop(P9Server *s, P9Fid *f)
{
    int r = f->kind == FID_XATTR_WRITE ? p9_xattr_commit(s, f) : 0;

    g_hash_table_remove(s->fids, GUINT_TO_POINTER(f->id));
    p9_fid_unref(s, f);
    return r;
}

/* Values that were not written whole are forgotten. */
void p9_fids_clear(P9Server *s)
{
    GHashTableIter it;
    gpointer f;

    g_hash_table_iter_init(&it, s->fids);
    while (g_hash_table_iter_next(&it, NULL, &f)) {
        g_hash_table_iter_remove(&it);
        p9_fid_unref(s, f);
    }
}
