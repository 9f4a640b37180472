/* SPDX-License-Identifier: MIT */
/*
 * Permissions: what each parent of a node does with it, and what it lets others
 * do meanwhile. A node has the sum of what its parents do and the intersection
 * of what they share; from these follows what it asks of its own children:
 *
 *   filter            the same as it is asked itself
 *   format, storage   writes and grows its file whenever it may write at all
 *                     (metadata), and lets nobody else do so
 *   format, data file writes and grows it if its parents write; nobody else
 *                     changes its size
 *   format, backing   reads it, if its parents read; others may change it only
 *                     if the parents bear that
 *
 * A change is worked out for all nodes below first, then checked, then the
 * host's locks are taken; what fails leaves everything as it was.
 */
#include "block/block-priv.h"

#include <string.h>

static const char *const perm_names[] = { "consistent read", "write", "write unchanged", "resize" };

/* "'write', 'resize'" */
static char *perm_text(unsigned perm)
{
    GString *s = g_string_new(NULL);

    for (unsigned i = 0; i < G_N_ELEMENTS(perm_names); i++) {
        if (perm >> i & 1)
            g_string_append_printf(s, "%s'%s'", s->len ? ", " : "", perm_names[i]);
    }
    return g_string_free(s, false);
}

static char *user_text(const BlockChild *c)
{
    if (c->disk)
        return g_strdup(c->disk->who);
    return g_strdup_printf("node '%s' as '%s'",
                           c->parent && c->parent->node_name ? c->parent->node_name : "(new)", c->role);
}

static Err *conflict(const BlockNode *n, const BlockChild *wants, const BlockChild *has)
{
    g_autofree char *a = user_text(wants), *b = user_text(has), *p = perm_text(wants->perm & ~has->shared);

    return err(ERR_BUSY, "%s cannot have permission %s on node '%s': it is in use by %s, which does not share that",
               a, p, n->node_name ? n->node_name : node_path((BlockNode *)n), b);
}

/* Who uses an inactive node does not, until it is active. */
static bool counts(const BlockNode *n, const BlockChild *c)
{
    return c->parent || !n->inactive;
}

static Err *check_parents(const BlockNode *n)
{
    for (const BlockChild *a = n->parents; a; a = a->next_parent) {
        for (const BlockChild *b = n->parents; b && counts(n, a); b = b->next_parent) {
            if (a != b && counts(n, b) && a->perm & ~b->shared)
                return conflict(n, a, b);
        }
    }
    return NULL;
}

static Err *check_node(BlockNode *n, bool sizes)
{
    TRY(check_parents(n));
    if (n->perm & (PERM_WRITE | PERM_WRITE_UNCHANGED) && n->read_only)
        return err_hint(err(ERR_INVALID, "Block node is read-only"),
                        "'%s' was opened without write access.", node_path(n));
    if (sizes && n->drv->kind == DRIVER_PROTOCOL && n->perm & PERM_WRITE && !(n->perm & PERM_RESIZE) &&
        n->size % n->limits.request_align)
        return err(ERR_INVALID, "Cannot get 'write' permission without 'resize': the image size of '%s' is not a "
                   "multiple of its request alignment %u", node_path(n), n->limits.request_align);
    return NULL;
}

/* ---- what a node asks of a child */

static void format_perm(const BlockNode *n, const char *role, unsigned perm, unsigned shared,
                        unsigned *cperm, unsigned *cshared)
{
    const unsigned change = PERM_WRITE | PERM_RESIZE;

    if (!strcmp(role, "backing")) {
        *cperm = perm & PERM_CONSISTENT_READ;
        *cshared = (shared & PERM_WRITE ? change : 0) | PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
        return;
    }
    *cperm = perm;
    *cshared = shared;
    if (!strcmp(role, "data-file")) {
        *cperm |= perm & PERM_WRITE ? PERM_RESIZE : 0;
        *cshared &= ~(unsigned)PERM_RESIZE;
    } else {
        *cperm |= n->read_only ? 0 : change;
        *cshared &= ~change;
    }
    if (!(n->open_flags & OPEN_NO_IO))
        *cperm |= PERM_CONSISTENT_READ;
}

static void child_perm(BlockNode *n, BlockChild *c)
{
    unsigned perm = n->perm, shared = n->shared;

    if (n->inactive) {
        perm = 0;
        shared = PERM_ALL;
    } else if (n->drv->child_perm) {
        n->drv->child_perm(n, c->role, n->perm, n->shared, &perm, &shared);
    } else if (n->drv->kind == DRIVER_FORMAT) {
        format_perm(n, c->role, n->perm, n->shared, &perm, &shared);
    }
    c->perm = perm;
    c->shared = c->node->force_share ? PERM_ALL : shared;
}

/* ---- a change */

typedef struct Was { unsigned perm, shared; } Was;

typedef struct Change {
    GPtrArray *nodes;       /* children before parents */
    GArray *node_was;       /* Was, of each */
    GPtrArray *edges;       /* below those nodes */
    GArray *edge_was;
} Change;

static void gather(Change *ch, BlockNode *n)
{
    if (n->mark)
        return;
    n->mark = 1;
    for (BlockChild *c = n->children; c; c = c->next) {
        if (!c->node)
            continue;
        gather(ch, c->node);
        g_ptr_array_add(ch->edges, c);
        g_array_append_val(ch->edge_was, ((Was){ c->perm, c->shared }));
    }
    g_ptr_array_add(ch->nodes, n);
    g_array_append_val(ch->node_was, ((Was){ n->perm, n->shared }));
}

static void sum_parents(BlockNode *n)
{
    n->perm = 0;
    n->shared = PERM_ALL;
    for (const BlockChild *c = n->parents; c; c = c->next_parent) {
        if (!counts(n, c))
            continue;
        n->perm |= c->perm;
        n->shared &= c->shared;
    }
}

static Err *work_out(Change *ch, bool sizes)
{
    for (unsigned i = ch->nodes->len; i--; ) {
        BlockNode *n = ch->nodes->pdata[i];

        sum_parents(n);
        TRY(check_node(n, sizes));
        for (BlockChild *c = n->children; c; c = c->next) {
            if (c->node)
                child_perm(n, c);
        }
    }
    return NULL;
}

static Err *take_locks(Change *ch)
{
    for (unsigned i = ch->nodes->len; i--; ) {
        BlockNode *n = ch->nodes->pdata[i];
        const Was *w = &g_array_index(ch->node_was, Was, i);

        if (!n->drv->take_perm || (n->perm == w->perm && n->shared == w->shared))
            continue;
        Err *e = n->drv->take_perm(n, n->perm, n->shared);
        if (!e)
            continue;
        for (unsigned j = i + 1; j < ch->nodes->len; j++) {
            BlockNode *m = ch->nodes->pdata[j];
            const Was *mw = &g_array_index(ch->node_was, Was, j);

            if (m->drv->take_perm && (m->perm != mw->perm || m->shared != mw->shared))
                err_free(m->drv->take_perm(m, mw->perm, mw->shared));
        }
        return e;
    }
    return NULL;
}

static void put_back(Change *ch)
{
    for (unsigned i = 0; i < ch->nodes->len; i++) {
        BlockNode *n = ch->nodes->pdata[i];
        const Was *w = &g_array_index(ch->node_was, Was, i);

        n->perm = w->perm;
        n->shared = w->shared;
    }
    for (unsigned i = 0; i < ch->edges->len; i++) {
        BlockChild *c = ch->edges->pdata[i];
        const Was *w = &g_array_index(ch->edge_was, Was, i);

        c->perm = w->perm;
        c->shared = w->shared;
    }
}

static void change_init(Change *ch, BlockNode *const *nodes, unsigned n)
{
    *ch = (Change){ g_ptr_array_new(), g_array_new(false, false, sizeof(Was)), g_ptr_array_new(), g_array_new(false, false, sizeof(Was)) };
    for (unsigned i = 0; i < n; i++)
        gather(ch, nodes[i]);
    for (unsigned i = 0; i < ch->nodes->len; i++)
        ((BlockNode *)ch->nodes->pdata[i])->mark = 0;
}

static void change_clear(Change *ch)
{
    g_ptr_array_free(ch->nodes, true);
    g_ptr_array_free(ch->edges, true);
    g_array_free(ch->node_was, true);
    g_array_free(ch->edge_was, true);
}

Err *perms_refresh(BlockNode *const *nodes, unsigned n)
{
    Change ch;

    change_init(&ch, nodes, n);
    Err *e = work_out(&ch, true);
    if (!e)
        e = take_locks(&ch);
    if (e)
        put_back(&ch);
    change_clear(&ch);
    return e;
}

Err *perms_when_active(BlockGraph *g)
{
    g_autoptr(GPtrArray) all = g_ptr_array_new(), away = g_ptr_array_new();
    Change ch;

    for (BlockNode *n = g->nodes; n; n = n->next) {
        g_ptr_array_add(all, n);
        if (n->inactive)
            g_ptr_array_add(away, n);
    }
    change_init(&ch, (BlockNode *const *)all->pdata, all->len);
    for (guint i = 0; i < away->len; i++)
        ((BlockNode *)away->pdata[i])->inactive = ((BlockNode *)away->pdata[i])->read_only = false;
    Err *e = work_out(&ch, false);
    for (guint i = 0; i < away->len; i++)
        ((BlockNode *)away->pdata[i])->inactive = ((BlockNode *)away->pdata[i])->read_only = true;
    put_back(&ch);
    change_clear(&ch);
    return e;
}

Err *edge_set_perm(BlockChild *c, unsigned perm, unsigned shared)
{
    const Was was = { c->perm, c->shared };

    c->perm = perm;
    c->shared = shared;
    if (!c->node)
        return NULL;
    Err *e = perms_refresh(&c->node, 1);
    if (e) {
        c->perm = was.perm;
        c->shared = was.shared;
    }
    return e;
}

Err *child_refresh_perms(BlockNode *n)
{
    return perms_refresh(&n, 1);
}
