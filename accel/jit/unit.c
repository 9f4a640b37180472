/* SPDX-License-Identifier: MIT */
/*
 * Guest pages that hold code, exec ids, and the hash in which units are found.
 */
#include <glib.h>
#include <string.h>

#include "accel/jit/jit.h"

/* ---- pages */

/* RamBlock.code: a record for each page that was ever executed. */
typedef struct CodePages { Jit *jit; _Atomic(CodePage *) page[]; } CodePages;

static CodePages *pages_of(const RamBlock *b)
{
    return __atomic_load_n((CodePages *const *)&b->code, __ATOMIC_ACQUIRE);
}

CodePage *jit_page_find(RamBlock *b, uint64_t pageno)
{
    CodePages *c = pages_of(b);

    return c ? atomic_load_explicit(&c->page[pageno], memory_order_acquire) : NULL;
}

static CodePage *page_make(Jit *j, RamBlock *b, uint64_t pageno)
{
    pthread_mutex_lock(&j->lock);
    CodePages *c = pages_of(b);
    if (!c) {
        c = g_malloc0(sizeof(CodePages) + (b->size >> PAGE_BITS) * sizeof(c->page[0]));
        c->jit = j;
        g_array_append_val(j->deep, b);
        __atomic_store_n((CodePages **)&b->code, c, __ATOMIC_RELEASE);
    }
    CodePage *p = atomic_load(&c->page[pageno]);
    if (!p) {
        p = g_new0(CodePage, 1);
        p->jit = j;
        p->block = b;
        p->pageno = pageno;
        atomic_store_explicit(&c->page[pageno], p, memory_order_release);
    }
    pthread_mutex_unlock(&j->lock);
    return p;
}

CodePage *jit_page(Jit *j, RamBlock *b, uint64_t pageno)
{
    CodePage *p = jit_page_find(b, pageno);

    return p ? p : page_make(j, b, pageno);
}

void pages_free(Jit *j)
{
    for (guint i = 0; i < j->deep->len; i++) {
        RamBlock *b = g_array_index(j->deep, RamBlock *, i);
        CodePages *c = pages_of(b);

        for (uint64_t k = 0; k < b->size >> PAGE_BITS; k++) {
            CodePage *p = atomic_load(&c->page[k]);

            if (p)
                g_free(p->shapes);
            g_free(p);
        }
        g_free(c);
        b->code = NULL;
    }
    g_array_free(j->deep, true);
}

/* ---- exec ids */

/* 0: not among the page's. */
static uint32_t id_find(CodePage *p, uint64_t vpage)
{
    uint32_t seq, id;

    do {
        seq = atomic_load_explicit(&p->seq, memory_order_acquire);
        id = 0;
        for (int i = 0; i < PAGE_IDS && !id; i++)
            if (atomic_load_explicit(&p->ids[i].vpage, memory_order_relaxed) == vpage)
                id = atomic_load_explicit(&p->ids[i].id, memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
    } while (seq & 1 || atomic_load_explicit(&p->seq, memory_order_relaxed) != seq);
    return id;
}

/* Replaces the oldest of the page's ids: units that have it are not found any more. */
static uint32_t id_add(CodePage *p, uint64_t vpage)
{
    Jit *j = p->jit;
    int i = p->next_id++ % PAGE_IDS;

    if (j->last_id == UINT32_MAX)
        return 0;
    uint32_t seq = atomic_load(&p->seq);
    atomic_store_explicit(&p->seq, seq + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&p->ids[i].vpage, vpage, memory_order_relaxed);
    atomic_store_explicit(&p->ids[i].id, ++j->last_id, memory_order_relaxed);
    atomic_store_explicit(&p->seq, seq + 2, memory_order_release);
    return j->last_id;
}

uint32_t jit_page_id(CodePage *p, uint64_t vpage)
{
    uint32_t id = id_find(p, vpage);

    if (id)
        return id;
    pthread_mutex_lock(&p->jit->lock);
    id = id_find(p, vpage);
    if (!id)
        id = id_add(p, vpage);
    pthread_mutex_unlock(&p->jit->lock);
    return id;
}

/* ---- the hash */

static unsigned hash_of(uint32_t id, unsigned off, uint64_t mode)
{
    uint64_t h = ((uint64_t)id << 12 | off) * UINT64_C(0x9e3779b97f4a7c15) ^ mode * UINT64_C(0xc2b2ae3d27d4eb4f);

    return h >> (64 - HASH_BITS);
}

static _Atomic(Unit *) *bucket_of(Jit *j, const Unit *u)
{
    return &j->hash[hash_of(u->id, u->lo, u->mode)];
}

/* Does t see the page that u crosses into where u saw it? Nothing is raised: if that page is absent, u just isn't found. */
static bool next_page_fits(TcgVcpu *t, const Unit *u, bool walk)
{
    uint64_t vpage = (u->va >> PAGE_BITS) + 1;
    unsigned ctx = t->v->isa->fetch_ctx(u->mode);

    if (t->env->xt[ctx][vpage % XT_SIZE] == u->id2)
        return true;
    const ExecEntry *e = walk ? mmu_exec(t, vpage << PAGE_BITS, ctx, false) : NULL;
    return e && e->id == u->id2;
}

Unit *unit_find(Jit *j, TcgVcpu *t, const ExecEntry *e, uint64_t pc, uint64_t mode, bool walk)
{
    unsigned lo = pc & (PAGE_SIZE - 1);
    Unit *u = atomic_load_explicit(&j->hash[hash_of(e->id, lo, mode)], memory_order_acquire);

    for (; u; u = atomic_load_explicit(&u->chain, memory_order_acquire))
        if (u->id == e->id && u->lo == lo && u->mode == mode && !atomic_load(&u->dead)
            && (!u->id2 || next_page_fits(t, u, walk)))
            return u;
    return NULL;
}

void unit_publish(Jit *j, Unit *u)
{
    _Atomic(Unit *) *b = bucket_of(j, u);

    atomic_store_explicit(&u->chain, atomic_load(b), memory_order_relaxed);
    atomic_store_explicit(b, u, memory_order_release);
}

void unit_unhash(Jit *j, Unit *u)
{
    _Atomic(Unit *) *at = bucket_of(j, u);

    /* u's own chain stays: a reader may stand on it. */
    for (Unit *x; (x = atomic_load(at)) != NULL; at = &x->chain) {
        if (x == u) {
            atomic_store_explicit(at, atomic_load(&u->chain), memory_order_release);
            return;
        }
    }
}

/* ---- from host addresses to guest addresses */

static int find_site(const X64Site *s, int n, uint32_t off)
{
    int lo = 0, hi = n;

    while (lo < hi) {
        int mid = (lo + hi) / 2;

        if (s[mid].off < off)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && s[lo].off == off ? (int)s[lo].mark : -1;
}

int unit_site_mark(const Jit *j, const Unit *u, uint64_t site)
{
    uint32_t off = site - j->delta - (uint64_t)j->rw;
    const Shape *s = u->shape;

    if (off > u->hot && off <= u->hot_end)
        return find_site(s->sites, s->nhot_sites, off - u->hot);
    return find_site(s->sites + s->nhot_sites, s->nsites - s->nhot_sites, off - u->cold);
}

uint64_t unit_mark_pc(const Unit *u, int mark)
{
    return (u->va & ~(uint64_t)(PAGE_SIZE - 1)) + u->shape->mark_off[mark];
}
