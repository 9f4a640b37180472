/* SPDX-License-Identifier: MIT */
/*
 * Keeping cached translations in step with the guest: flushes, switches of the
 * address space, and the keys that stand for executable mappings.
 *
 * A key (env->ctxkey) is a hash of everything that decides which code runs at a
 * guest address: the mode key, the address space, and how often executable
 * mappings of it were dropped. So an old address space that comes back has its
 * old key, and what the jump cache and the return stack hold for it is good
 * again; nothing is ever cleared. As long as a context executes only pages that
 * are the same in all address spaces (a kernel), its key doesn't name one.
 */
#include <inttypes.h>
#include <sys/random.h>

#include "accel/jit/jit.h"
#include "accel/tcg/mmu-priv.h"
#include "util/log.h"

/* A bijection that spreads every bit over all (the finisher of the public-domain splitmix64). */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint32_t id_now(TcgVcpu *t, unsigned ctx)
{
    const Isa *isa = t->v->isa;

    return isa->ctx_virtual(t->v, ctx) ? isa->asid(t->v, ctx) % L2_ASIDS : L2_PHYS;
}

static void set_exec_key(TcgVcpu *t, unsigned ctx)
{
    const Mmu *m = &t->mmu;
    uint32_t id = m->id[ctx];
    uint64_t k = m->secret ^ ctx;

    if (id == L2_PHYS || m->exec_nonglobal[ctx])
        k = mix(k + id + 1) ^ (id < L2_ASIDS ? m->exec_asid[id] : 0);
    t->mmu.exec_key[ctx] = mix(k) + (id == L2_PHYS ? m->phys_stamp : m->exec_nonglobal[ctx] ? m->exec_stamp :
                                     m->global_stamp[ctx]);
}

void mmu_refresh_key(TcgVcpu *t)
{
    unsigned ctx = t->v->isa->fetch_ctx(t->env->mode);
    t->mmu.fetch_ctx = ctx;
    uint64_t key = mix(mix(t->mmu.exec_key[ctx] ^ t->mmu.secret) + t->env->mode) & ~UINT64_C(1);

    if (key != t->env->ctxkey)
        jit_key_changed(t, key);
}

void mmu_keys(TcgVcpu *t)
{
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++)
        set_exec_key(t, ctx);
    mmu_refresh_key(t);
}

void mmu_init(TcgVcpu *t)
{
    Mmu *m = &t->mmu;

    l2_init(&m->l2);
    m->exec_stamp = m->seen_all = 1;
    if (getrandom(&m->secret, sizeof(m->secret), 0) != sizeof(m->secret))
        m->secret = mix((uintptr_t)t ^ __builtin_ia32_rdtsc());
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++)
        m->id[ctx] = L2_PHYS;
}

/* ---- executable mappings */

static uint64_t leaf_begin(uint64_t addr, unsigned order)
{
    return addr >> order << order;
}

static void leaf_note(Leaves *l, uint64_t va, const L2Page *p)
{
    Leaf leaf = { leaf_begin(va, p->order), leaf_begin(p->pa, p->order), p->order };

    for (unsigned i = 0; i < l->n; i++)
        if (l->leaf[i].va == leaf.va && l->leaf[i].pa == leaf.pa && l->leaf[i].order == leaf.order)
            return;
    if (l->n == LEAVES)
        l->many = true;
    else
        l->leaf[l->n++] = leaf;
}

/* Is everything that this context has executed under its key mapped as it was? As if it were fetched again at once. */
static bool leaves_stay(TcgVcpu *t, unsigned ctx)
{
    const Mmu *m = &t->mmu;
    const Leaves *l = &m->leaves[ctx];
    Page pg;

    if (m->id[ctx] == L2_PHYS || m->exec_nonglobal[ctx] || l->many)
        return false;
    for (unsigned i = 0; i < l->n; i++) {
        const Leaf *leaf = &l->leaf[i];

        if (!t->v->isa->walk(t->v, leaf->va, ACCESS_EXEC, ctx, &pg) || pg.pa != leaf->pa || pg.order != leaf->order ||
            !pg.global)
            return false;
    }
    return true;
}

static void drop_exec_tags(TcgVcpu *t, unsigned ctx)
{
    memset(t->env->xt[ctx], 0, sizeof(t->env->xt[ctx]));
}

static void drop_exec_tag(TcgVcpu *t, uint64_t va)
{
    uint64_t vpage = va >> PAGE_BITS;
    unsigned i = vpage % XT_SIZE;

    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++)
        if (t->mmu.used >> ctx & 1 && t->env->xt[ctx][i] && t->mmu.exec[ctx][i].vpage == vpage)
            t->env->xt[ctx][i] = 0;
}

/* Executable mappings of that address space's own (-1: of all) are other ones now. */
static void exec_changed_own(TcgVcpu *t, int asid)
{
    t->stats.key_change++;
    if (asid < 0)
        t->mmu.exec_stamp++;
    else
        t->mmu.exec_asid[asid]++;
}

/* -1: and global ones. */
static void exec_changed(TcgVcpu *t, int asid)
{
    exec_changed_own(t, asid);
    for (unsigned ctx = 0; asid < 0 && ctx < MMU_CTXS; ctx++)
        t->mmu.global_stamp[ctx]++;
}

/*
 * Kernels flush a page at each new mapping of it, hundreds of thousands, and often in all address spaces at once. The
 * keys of those that never executed it stay: so pages that were executed are kept with their address space. What has an
 * exec tag is always among them, since only a fetch without a tag comes by here. They are forgotten when all tags of the
 * address space are dropped. A wrong one costs a key.
 */
enum { SEEN_MANY = L2_GLOBAL + 1 };     /* as an id: the page was executed in more address spaces than there is room for */

static uint32_t seen_gen(const Mmu *m, uint32_t id)
{
    uint32_t g = m->seen_all * UINT32_C(0x9e3779b1);

    return id >= L2_ASIDS ? g : g + m->seen_own * UINT32_C(0x85ebca6b) + m->seen_asid[id];
}

static bool seen_good(const Mmu *m, const SeenPage *s)
{
    return s->gen == seen_gen(m, s->id);
}

static SeenPage *seen_set(Mmu *m, uint64_t vpage)
{
    return m->seen[mix(vpage) % SEEN_SETS];
}

static void forget_seen(TcgVcpu *t, SeenPage *s)
{
    exec_changed(t, s->id >= L2_ASIDS ? -1 : (int)s->id);
    s->gen = seen_gen(&t->mmu, s->id) - 1;
}

/* Programs that forked have the same pages: theirs become one, if the set has several. */
static bool seen_join(Mmu *m, SeenPage *set, uint64_t vpage)
{
    SeenPage *one = NULL;

    for (int i = 0; i < SEEN_WAYS; i++) {
        if (set[i].vpage != vpage)
            continue;
        if (one)
            set[i].gen = seen_gen(m, set[i].id) - 1;
        else
            one = &set[i];
    }
    if (one)
        *one = (SeenPage){ vpage, SEEN_MANY, seen_gen(m, SEEN_MANY) };
    return one;
}

/* One that has no place takes another's, whose key changes and whose tag goes: of what is not kept nobody may know. */
static void note_seen(TcgVcpu *t, uint64_t vpage, uint32_t id)
{
    Mmu *m = &t->mmu;
    SeenPage *set = seen_set(m, vpage), *to = NULL;

    for (int i = 0; i < SEEN_WAYS; i++) {
        if (!seen_good(m, &set[i]))
            to = to ? to : &set[i];
        else if (set[i].vpage == vpage && (set[i].id == id || set[i].id == SEEN_MANY))
            return;
    }
    if (!to && seen_join(m, set, vpage))
        return;
    if (!to) {
        to = &set[m->seen_victim++ % SEEN_WAYS];
        drop_exec_tag(t, to->vpage << PAGE_BITS);
        forget_seen(t, to);
        mmu_keys(t);
    }
    *to = (SeenPage){ vpage, id, seen_gen(m, id) };
}

/* The page is mapped otherwise in that address space (-1: in all). */
static void flush_seen(TcgVcpu *t, uint64_t vpage, int asid)
{
    SeenPage *set = seen_set(&t->mmu, vpage);
    bool any = false;

    for (int i = 0; i < SEEN_WAYS; i++) {
        if (set[i].vpage != vpage || !seen_good(&t->mmu, &set[i]) || (asid >= 0 && set[i].id != (uint32_t)asid && set[i].id != SEEN_MANY))
            continue;
        forget_seen(t, &set[i]);
        any = true;
    }
    if (any)
        mmu_keys(t);
}

void mmu_exec_found(TcgVcpu *t, uint64_t va, unsigned ctx, const L2Page *p)
{
    Mmu *m = &t->mmu;

    m->used |= 1 << ctx;
    if (m->id[ctx] == L2_PHYS)
        return;
    note_seen(t, va >> PAGE_BITS, p->global ? L2_GLOBAL : m->id[ctx]);
    if (p->global)
        leaf_note(&m->leaves[ctx], va, p);
    if (!p->global && !m->exec_nonglobal[ctx]) {
        m->exec_nonglobal[ctx] = true;
        set_exec_key(t, ctx);
        mmu_refresh_key(t);
    }
}

/* ---- flushes of the inline tables */

static void drop_nonglobal(TcgVcpu *t, unsigned ctx)
{
    env_sites_drop(t->env, ctx);
    for (unsigned w = 0; w < TLB_SIZE / 64; w++) {
        for (uint64_t bits = t->mmu.nonglobal[ctx][w]; bits; bits &= bits - 1) {
            unsigned i = w * 64 + __builtin_ctzll(bits);
            TlbEntry *e = &t->env->tlb[ctx][i];

            e->rt = e->wt = TLB_INVALID(i);
        }
        t->env->tlb_used[ctx][w] &= ~t->mmu.nonglobal[ctx][w];
        t->mmu.nonglobal[ctx][w] = 0;
    }
}

static void drop_all(TcgVcpu *t, unsigned ctx)
{
    env_tlb_clear(t->env, ctx);
    memset(t->mmu.nonglobal[ctx], 0, sizeof(t->mmu.nonglobal[ctx]));
}

static void drop_ctx(TcgVcpu *t, unsigned ctx)
{
    Mmu *m = &t->mmu;

    if (!(m->used >> ctx & 1))
        return;
    drop_all(t, ctx);
    drop_exec_tags(t, ctx);
    m->exec_nonglobal[ctx] = false;
    m->leaves[ctx].n = 0;
    m->leaves[ctx].many = false;
    m->used &= ~(1 << ctx);
}

void mmu_flush_everything(TcgVcpu *t)
{
    Mmu *m = &t->mmu;

    t->stats.flush_all++;
    if (log_on(LOG_MMU))
        log_line("mmu: vCPU %d: flush of everything", t->v->index);
    l2_flush_all(&m->l2);
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        m->id[ctx] = id_now(t, ctx);        /* a reset changes address spaces without saying so */
        drop_ctx(t, ctx);
    }
    m->phys_stamp++;
    m->seen_all++;
    exec_changed(t, -1);
    mmu_keys(t);
}

void mmu_drop_inline(TcgVcpu *t)
{
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++)
        drop_all(t, ctx);
}

/*
 * Everything that page tables say. What firmware sees, which has none, stays. Kernels do this often, on all processors,
 * while their own code stays where it is: a few large pages. What is known of that is kept if they are as they were.
 */
static void flush_virtual(TcgVcpu *t)
{
    Mmu *m = &t->mmu;
    bool kept = false;

    t->stats.flush_all++;
    if (log_on(LOG_MMU))
        log_line("mmu: vCPU %d: flush of all address spaces", t->v->index);
    l2_flush_virtual(&m->l2);
    exec_changed_own(t, -1);
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        if (leaves_stay(t, ctx)) {
            kept |= m->leaves[ctx].n;
            if (m->used >> ctx & 1)
                drop_all(t, ctx);
            continue;
        }
        m->global_stamp[ctx]++;
        if (m->id[ctx] != L2_PHYS)
            drop_ctx(t, ctx);
    }
    /* All that has a tag or a key that stands is still among the pages seen. */
    if (kept)
        m->seen_own++;
    else
        m->seen_all++;
    mmu_keys(t);
}

static void flush_all(Vcpu *v)
{
    mmu_flush_everything(tcg_vcpu(v));
}

static void flush_ctx(Vcpu *v, unsigned ctx)
{
    drop_all(tcg_vcpu(v), ctx);
    drop_exec_tags(tcg_vcpu(v), ctx);
}

/* Everything of an address space (-1: of all) but global pages. */
static void flush_asid_own(TcgVcpu *t, int asid)
{
    Mmu *m = &t->mmu;

    t->stats.flush_asid++;
    if (log_on(LOG_MMU))
        log_line("mmu: vCPU %d: flush of asid %d", t->v->index, asid);
    l2_flush_asid(&m->l2, asid);
    exec_changed_own(t, asid);
    if (asid < 0)
        m->seen_own++;
    else
        m->seen_asid[asid]++;
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        if (!(m->used >> ctx & 1) || m->id[ctx] == L2_PHYS || (asid >= 0 && m->id[ctx] != (uint32_t)asid))
            continue;
        drop_nonglobal(t, ctx);
        if (m->exec_nonglobal[ctx])
            drop_exec_tags(t, ctx);
    }
    mmu_keys(t);
}

static void flush_asid(Vcpu *v, int asid, bool keep_global)
{
    if (!keep_global && asid < 0)
        flush_virtual(tcg_vcpu(v));
    else
        flush_asid_own(tcg_vcpu(v), asid < 0 ? -1 : asid % L2_ASIDS);
}

/* The entry of va, unless it is a global one and `global` says to spare those. */
static void drop_inline_page(TcgVcpu *t, unsigned ctx, uint64_t va, bool global)
{
    unsigned i = tlb_index(va);
    uint64_t bit = UINT64_C(1) << i % 64;

    env_sites_drop(t->env, ctx);
    if (!global && !(t->mmu.nonglobal[ctx][i / 64] & bit))
        return;
    env_tlb_clear_page(t->env, ctx, va);
    if (!(t->env->tlb_used[ctx][i / 64] & bit))
        t->mmu.nonglobal[ctx][i / 64] &= ~bit;
}

static void flush_page(Vcpu *v, uint64_t va, int asid)
{
    TcgVcpu *t = tcg_vcpu(v);
    Mmu *m = &t->mmu;

    t->stats.flush_page++;
    if (log_on(LOG_MMU))
        log_line("mmu: vCPU %d: flush of page %#" PRIx64 " of asid %d", t->v->index, va, asid);
    if (asid >= 0)
        asid %= L2_ASIDS;
    if (!l2_flush_page(&m->l2, va, asid)) {
        t->stats.flush_wide++;
        flush_asid(v, asid, asid >= 0);
        return;
    }
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++)
        if (m->used >> ctx & 1 && m->id[ctx] != L2_PHYS && (asid < 0 || m->id[ctx] == (uint32_t)asid))
            drop_inline_page(t, ctx, va, asid < 0);
    drop_exec_tag(t, va);
    flush_seen(t, va >> PAGE_BITS, asid);
}

/* ---- what changed otherwise */

static void mode_changed(Vcpu *v)
{
    mmu_refresh_key(tcg_vcpu(v));
}

static void address_space_changed(Vcpu *v)
{
    TcgVcpu *t = tcg_vcpu(v);
    Mmu *m = &t->mmu;

    t->stats.switches++;
    for (unsigned ctx = 0; ctx < MMU_CTXS; ctx++) {
        uint32_t id = id_now(t, ctx), was = m->id[ctx];

        if (id == was)
            continue;
        m->id[ctx] = id;
        if (!(m->used >> ctx & 1))
            continue;
        if (id == L2_PHYS || was == L2_PHYS) {
            drop_all(t, ctx);
            drop_exec_tags(t, ctx);
        } else {
            drop_nonglobal(t, ctx);
            if (m->exec_nonglobal[ctx])
                drop_exec_tags(t, ctx);
        }
    }
    mmu_keys(t);
}

static void code_fence(Vcpu *v)
{
    /* Stores to code are seen as they are done; what is left over is in the return stack. */
    jit_code_fence(tcg_vcpu(v));
}

static bool fetch_slow(Vcpu *v, uint64_t va, uint32_t *out)
{
    TcgVcpu *t = tcg_vcpu(v);
    const ExecEntry *e = mmu_exec(t, va, t->mmu.fetch_ctx, true);

    if (!e || (va & PAGE_MASK_LOW) > PAGE_SIZE - 4)
        return false;
    memcpy(out, jit_page_bytes(e->page) + (va & PAGE_MASK_LOW), 4);
    return true;
}

static const MmuOps ops = {
    .flush_all = flush_all, .flush_ctx = flush_ctx, .flush_asid = flush_asid, .flush_page = flush_page,
    .mode_changed = mode_changed, .address_space_changed = address_space_changed,
    .code_fence = code_fence, .fetch_slow = fetch_slow,
};
const MmuOps *mmu_ops = &ops;
