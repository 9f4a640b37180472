/* SPDX-License-Identifier: MIT */
/*
 * accel/tcg: the second-level TLB against a plain list; loads, stores and atomics
 * against a model of memory and page tables, while mappings change, address spaces
 * switch, pages are watched; devices, ROM, page crossings.
 */
#include "tests/unit/test.h"

#include "tests/unit/accel-toy.h"

/* ---- the second level alone */

enum { MODEL = 4000 };
typedef struct Model { uint64_t va; unsigned ctx; uint32_t id; bool live; uint64_t pa; unsigned order; } Model;
static Model model[MODEL];

static Model *model_find(uint64_t va, unsigned ctx, uint32_t id)
{
    for (int i = 0; i < MODEL; i++)
        if (model[i].live && model[i].va == va && model[i].ctx == ctx && model[i].id == id)
            return &model[i];
    return NULL;
}

static void model_kill(uint64_t va, int any_va, int asid)
{
    for (int i = 0; i < MODEL; i++) {
        Model *m = &model[i];
        bool mine = asid < 0 ? m->id != L2_PHYS : m->id == (uint32_t)asid;

        if (mine && (any_va || m->va >> m->order == va >> m->order))
            m->live = false;
    }
}

/* What is found must be what the model knows to be live; the TLB may forget, never remember what was flushed. */
static void test_l2(void)
{
    L2 *t = aligned_alloc(64, (sizeof(L2) + 63) & ~63ul);
    unsigned found = 0, filled = 0, next = 0;

    memset(t, 0, sizeof(*t));
    memset(model, 0, sizeof(model));
    l2_init(t);
    for (int k = 0; k < 200000; k++) {
        uint64_t r = toy_rand(), va = (r >> 8 & 63) << 12 | (r & 1 ? 0xffffffc000000000 : 0) | (r >> 20 & 3) << 24;
        unsigned ctx = r >> 30 & 1;
        uint32_t id = r & 1 ? (uint32_t)L2_GLOBAL : r & 2 ? (uint32_t)(r >> 40 & 3) : (uint32_t)L2_PHYS;

        switch (r >> 50 & 255) {
        case 0:
            if (r & 4) {
                l2_flush_virtual(t);
                model_kill(0, true, -1);
            } else {
                l2_flush_all(t);
                memset(model, 0, sizeof(model));
            }
            break;
        case 1: case 2: l2_flush_asid(t, id & 3); model_kill(0, true, id & 3); break;
        case 3: {
            l2_flush_asid(t, -1);
            for (int i = 0; i < MODEL; i++)
                if (model[i].id < L2_ASIDS)
                    model[i].live = false;
            break;
        }
        case 4 ... 20: {
            int asid = r >> 33 & 1 ? -1 : (int)(r >> 34 & 3);

            if (!l2_flush_page(t, va, asid)) {
                if (asid < 0) {
                    l2_flush_all(t);
                    memset(model, 0, sizeof(model));
                } else {
                    l2_flush_asid(t, asid);
                    model_kill(0, true, asid);
                }
            } else {
                model_kill(va, false, asid);
            }
            break;
        }
        case 21 ... 100: {
            Model *m = model_find(va, ctx, id);

            if (!m)
                m = &model[next++ % MODEL];
            *m = (Model){ va, ctx, id, true, r & ~4095ull, (r >> 58) == 5 && id != L2_PHYS ? 21 : 12 };
            l2_fill(t, va, ctx, id, m->order)->pa = m->pa;
            filled++;
            break;
        }
        default: {
            uint32_t asked = id == L2_GLOBAL ? (uint32_t)(r >> 40 & 3) : id;
            L2Page *p = l2_find(t, va | (r & 0xff0), ctx, asked);
            Model *a = model_find(va, ctx, asked), *b = asked == L2_PHYS ? NULL : model_find(va, ctx, L2_GLOBAL);

            if (p) {
                found++;
                CHECK((a && p->pa == a->pa) || (b && p->pa == b->pa));
            }
        }
        }
    }
    CHECK(found > 1000 && filled > 1000);
    free(t);
}

static void test_l2_numbers_run_out(void)
{
    L2 *t = aligned_alloc(64, (sizeof(L2) + 63) & ~63ul);

    memset(t, 0, sizeof(*t));
    l2_init(t);
    t->now = UINT32_MAX - 2;
    l2_flush_all(t);
    l2_fill(t, 0x1000, 0, 3, 12)->pa = 0x5000;
    CHECK(l2_find(t, 0x1000, 0, 3) != NULL);
    for (int i = 0; i < 5; i++)
        l2_flush_asid(t, 3);
    CHECK(l2_find(t, 0x1000, 0, 3) == NULL);
    l2_fill(t, 0x1000, 0, 3, 12);
    CHECK(l2_find(t, 0x1000, 0, 3) != NULL);
    l2_fill(t, 0x1000, 0, L2_PHYS, 12);
    l2_flush_virtual(t);
    CHECK(l2_find(t, 0x1000, 0, 3) == NULL);
    CHECK(l2_find(t, 0x1000, 0, L2_PHYS) != NULL);
    l2_flush_all(t);
    CHECK(l2_find(t, 0x1000, 0, L2_PHYS) == NULL);
    free(t);
}

/* ---- a whole vCPU, standing: the test is its thread */

static Vcpu *v;
static Env *env;
static ToyState *st;
static const MemOp M8 = MO_8 | TOY_CTX << MO_CTX_SHIFT, M32 = MO_32 | TOY_CTX << MO_CTX_SHIFT,
                   M64 = MO_64 | TOY_CTX << MO_CTX_SHIFT;

static void begin(void)
{
    toy_start(ENGINE_INTERP, 1, 0);
    v = toy.vm->vcpus[0];
    env = v->env;
    st = toy_state(v);
}

static bool faulted(void)
{
    bool f = env->fault;

    env->fault = 0;
    return f;
}

static uint64_t load(uint64_t va, MemOp m) { return env->ops->load(env, va, m); }
static void store(uint64_t va, uint64_t val, MemOp m) { env->ops->store(env, va, val, m); }

static void test_plain(void)
{
    begin();
    store(0x1000, 0x1122334455667788, M64);
    CHECK_EQ(load(0x1000, M64), 0x1122334455667788);
    CHECK_EQ(load(0x1003, M8), 0x55);
    CHECK_EQ(load(0x1002, M32), 0x33445566);
    CHECK_EQ(load(0x1000, M64 | MO_BE), 0x8877665544332211);
    store(0x2ffd, 0xa1b2c3d4e5f60718, M64);                 /* across two pages */
    CHECK_EQ(load(0x2ffd, M64), 0xa1b2c3d4e5f60718);
    CHECK_EQ(load(0x3000, M32), 0xb2c3d4e5);
    CHECK(!faulted());
    load(0x1001, M32 | MO_ALIGN);
    CHECK(faulted() && st->why == MEM_FAULT_MISALIGNED);
    load(0x30000000, M32);
    CHECK(faulted() && st->why == MEM_FAULT_BUS && st->access == ACCESS_READ);
    store(TOY_RAM - 4, 1, M64);                             /* half of it is nowhere */
    CHECK(faulted() && st->access == ACCESS_WRITE);
    toy_end();
}

static void nothing(Vcpu *u, void *opaque)
{
}

static void test_io_and_rom(void)
{
    begin();
    store(TOY_IO_AT + 8, 0xabcdef, M32);
    CHECK_EQ(toy.io_val, 0xabcdef);
    CHECK_EQ(load(TOY_IO_AT + 8, M32), 0xabcdef);
    load(TOY_IO_AT + 8, M32);
    CHECK_EQ(toy.io_reads, 2);                              /* never cached */
    CHECK_EQ(env->ops->amo(env, TOY_IO_AT + 8, 1, M32, AMO_ADD), 0xabcdef);
    CHECK_EQ(toy.io_val, 0xabcdf0);
    env->ops->lr(env, TOY_IO_AT, M64);
    CHECK(faulted() && st->why == MEM_FAULT_BUS);
    memset(toy.rom_ram->host, 0x5a, 64);
    CHECK_EQ(load(TOY_ROM_AT, M32), 0x5a5a5a5a);
    store(TOY_ROM_AT, 1, M32);                              /* dropped */
    CHECK(!faulted());
    CHECK_EQ(load(TOY_ROM_AT, M32), 0x5a5a5a5a);
    /* remapping takes what the tables hold */
    store(0x5000, 77, M64);
    vm_lock(toy.vm);
    space_unmap(toy.vm->mem, &toy.ram_region);
    toy.ram_region.ram_off = 0x1000;
    toy.ram_region.size = TOY_RAM - 0x1000;
    toy_must(space_map(toy.vm->mem, 0, &toy.ram_region, 0));
    vm_unlock(toy.vm);
    vcpu_run_on(v, nothing, NULL, true);    /* the flush is work before this one */
    CHECK_EQ(load(0x4000, M64), 77);
    toy_end();
}

static void test_atomics(void)
{
    static const struct { IrAmo op; uint32_t old, val, want; } t[] = {
        { AMO_SWAP, 5, 9, 9 }, { AMO_ADD, 0xffffffff, 2, 1 }, { AMO_AND, 0xf0f, 0xff, 0xf }, { AMO_OR, 0xf00, 0xff, 0xfff },
        { AMO_XOR, 0xff, 0xf0, 0xf }, { AMO_MINS, 0xffffffff, 1, 0xffffffff }, { AMO_MAXS, 0xffffffff, 1, 1 },
        { AMO_MINU, 0xffffffff, 1, 1 }, { AMO_MAXU, 0xffffffff, 1, 0xffffffff },
    };

    begin();
    for (unsigned i = 0; i < G_N_ELEMENTS(t); i++) {
        store(0x7000, t[i].old, M32);
        store(0x7004, 0x77777777, M32);
        CHECK_EQ(env->ops->amo(env, 0x7000, t[i].val, M32, t[i].op), t[i].old);
        CHECK_EQ(load(0x7000, M32), t[i].want);
        CHECK_EQ(load(0x7004, M32), 0x77777777);
    }
    store(0x7000, 10, M64);
    CHECK_EQ(env->ops->cas(env, 0x7000, 11, 12, M64), 10);
    CHECK_EQ(load(0x7000, M64), 10);
    CHECK_EQ(env->ops->cas(env, 0x7000, 10, 12, M64), 10);
    CHECK_EQ(load(0x7000, M64), 12);
    CHECK_EQ(env->ops->sc(env, 0x7000, 1, M64), 1);         /* nothing reserved */
    CHECK_EQ(env->ops->lr(env, 0x7000, M64), 12);
    CHECK_EQ(env->ops->sc(env, 0x7008, 1, M64), 1);         /* elsewhere */
    CHECK_EQ(env->ops->sc(env, 0x7000, 1, M64), 1);         /* the failed one took the reservation */
    CHECK_EQ(env->ops->lr(env, 0x7000, M64), 12);
    CHECK_EQ(env->ops->sc(env, 0x7000, 13, M64), 0);
    CHECK_EQ(load(0x7000, M64), 13);
    env->ops->lr(env, 0x7000, M64);
    store(0x7000, 14, M64);
    CHECK_EQ(env->ops->sc(env, 0x7000, 15, M64), 1);
    /* across a page: done again, alone */
    store(0x8ffc, 0xffffffff, M64);
    env->ops->amo(env, 0x8ffc, 1, M64, AMO_ADD);
    CHECK(faulted() && tcg_vcpu(v)->mmu.retry == RETRY_ALONE);
    tcg_vcpu(v)->mmu.retry = RETRY_NONE;
    tcg_vcpu(v)->mmu.alone = true;
    CHECK_EQ(env->ops->amo(env, 0x8ffc, 1, M64, AMO_ADD), 0xffffffff);
    CHECK_EQ(load(0x8ffc, M64), 0x100000000);
    CHECK(!faulted());
    toy_end();
}

/* ---- random mappings against a model */

static uint8_t *shadow;             /* what RAM holds */

static void set_pte(unsigned asid, unsigned n, uint64_t pa, uint8_t flags)
{
    for (unsigned a = 0; a < TOY_ASIDS; a++)
        if (a == asid || flags & TOY_G || toy.pte[a][n].flags & TOY_G)
            toy.pte[a][n] = (ToyPte){ pa, a == asid || flags & TOY_G ? flags : 0 };
}

/* A new mapping for a page, or for a block of 16 as one large page; then the flush that makes it known. */
static void remap(void)
{
    uint64_t r = toy_rand();
    unsigned asid = r % TOY_ASIDS, n = r >> 8 & (TOY_VPAGES - 1);
    uint8_t flags = (r >> 20 & 7) | (r >> 24 & 7 ? PROT_R : 0);
    bool was_global = toy.pte[asid][n].flags & TOY_G, large = toy.pte[asid][n].flags & TOY_LARGE;

    if (n >= TOY_VPAGES - 64) {             /* the last 64 pages are global ones */
        flags |= TOY_G;
    } else if (large || (n < 64 && (r >> 30 & 7) == 0)) {
        unsigned first = n & ~15u;
        uint64_t pa = (r >> 40) % (TOY_PAGES / 16 - 1) << 16;

        for (unsigned i = 0; i < 16; i++)
            set_pte(asid, first + i, pa + i * 4096, flags | (r >> 50 & 1 ? TOY_LARGE : 0));
        if (large || r >> 50 & 1) {
            mmu_ops->flush_page(v, TOY_VA + ((uint64_t)(first + (r >> 52 & 15)) << 12), asid);
            if (!large)
                for (unsigned i = 0; i < 16; i++)
                    mmu_ops->flush_page(v, TOY_VA + ((uint64_t)(first + i) << 12), asid);
        } else {
            mmu_ops->flush_asid(v, asid, true);
        }
        return;
    }
    set_pte(asid, n, (r >> 32) % TOY_PAGES << 12, flags);
    if (was_global || flags & TOY_G || (r >> 60 & 3) == 0) {
        mmu_ops->flush_page(v, TOY_VA + ((uint64_t)n << 12), -1);
    } else if ((r >> 60 & 3) == 1) {
        mmu_ops->flush_asid(v, asid, true);
    } else {
        mmu_ops->flush_page(v, TOY_VA + ((uint64_t)n << 12), asid);
    }
}

/* The byte that va names now, or NULL if that is not allowed. */
static uint8_t *model_byte(uint64_t va, unsigned need)
{
    uint64_t n = (va - TOY_VA) >> 12;

    if (n >= TOY_VPAGES || !(toy.pte[st->asid][n].flags & need))
        return NULL;
    return shadow + toy.pte[st->asid][n].pa + (va & 4095);
}

static void check_load(uint64_t va, unsigned log)
{
    uint64_t want = 0, got = load(va, log | TOY_CTX << MO_CTX_SHIFT);
    bool ok = true;

    for (unsigned i = 0; i < 1u << log && ok; i++) {
        uint8_t *b = model_byte(va + i, PROT_R);

        ok = b != NULL;
        want |= b ? (uint64_t)*b << i * 8 : 0;
    }
    CHECK_EQ(faulted(), !ok);
    if (ok)
        CHECK_EQ(got, want);
}

static void check_store(uint64_t va, unsigned log)
{
    uint64_t val = toy_rand();
    bool ok = true;

    for (unsigned i = 0; i < 1u << log; i++)
        ok &= model_byte(va + i, PROT_W) != NULL;
    store(va, val, log | TOY_CTX << MO_CTX_SHIFT);
    CHECK_EQ(faulted(), !ok);
    for (unsigned i = 0; ok && i < 1u << log; i++)
        *model_byte(va + i, PROT_W) = val >> i * 8;
}

/* As a dirty log does: watch a page, take the tags; the next store must take the flag away. */
static void watch(void)
{
    uint64_t page = toy_rand() % TOY_PAGES;

    if (atomic_fetch_or(&toy.ram->pages[page], PAGE_DISPLAY) & PAGE_WRITTEN) {
        mmu_revoke_writes(tcg_vcpu(v), toy.ram, page);
        atomic_fetch_and(&toy.ram->pages[page], (uint8_t)~PAGE_WRITTEN);
    }
}

/* No write tag for a watched page; a tag's page is one the tables allow. */
static void check_tags(void)
{
    for (unsigned i = 0; i < TLB_SIZE; i++) {
        const TlbEntry *e = &env->tlb[TOY_CTX][i];
        uint64_t va = (uint64_t)i << 12, n;

        for (int w = 0; w < 2; w++) {
            va = w ? e->wt : e->rt;
            n = (va - TOY_VA) >> 12;
            if ((va >> 12 & (TLB_SIZE - 1)) != i || n >= TOY_VPAGES)
                continue;
            const ToyPte *p = &toy.pte[st->asid][n];
            uint64_t pa = va + e->addend - (uint64_t)toy.ram->host;
            uint8_t flags = atomic_load(&toy.ram->pages[pa >> 12]);

            CHECK_EQ(p->pa, pa);
            CHECK(p->flags & (w ? PROT_W : PROT_R));
            CHECK(!w || ((flags & PAGE_WRITTEN) && !(flags & PAGE_WATCH)));
        }
    }
}

static void test_random(void)
{
    begin();
    shadow = g_malloc0(TOY_RAM);
    st->virt = true;
    mmu_ops->address_space_changed(v);
    for (int k = 0; k < 400000 && !test_case_bad; k++) {
        uint64_t r = toy_rand(), va = TOY_VA + (r >> 8) % (TOY_VPAGES << 12);

        if (r >> 60 < 8)
            va = TOY_VA + (((r >> 8 & 7) + (r >> 59 & 1) * (TOY_VPAGES - 8)) << 12) + (r >> 20 & 4095);
        switch (r & 127) {
        case 0 ... 15: remap(); break;
        case 16:
            if (r >> 50 & 1)
                mmu_ops->flush_all(v);
            else
                mmu_ops->flush_asid(v, -1, false);
            break;
        case 17: mmu_ops->flush_ctx(v, TOY_CTX); break;
        case 18 ... 21:
            st->asid = r >> 50 & (TOY_ASIDS - 1);
            mmu_ops->address_space_changed(v);
            break;
        case 22 ... 25: watch(); break;
        case 26: check_tags(); break;
        case 27 ... 75: check_store(va, r >> 40 & 3); break;
        default: check_load(va, r >> 40 & 3); break;
        }
    }
    check_tags();
    CHECK(!memcmp(shadow, toy.ram->host, TOY_RAM));
    const TcgStats *s = &tcg_vcpu(v)->stats;
    CHECK(s->crossing > 10 && s->flush_wide > 10 && s->refill > 1000);
    g_free(shadow);
    toy_end();
}

/* An address space that comes back finds its key, and its translations without a walk. */
static void test_switching(void)
{
    begin();
    st->virt = true;
    for (unsigned a = 0; a < TOY_ASIDS; a++)
        for (unsigned n = 0; n < TOY_VPAGES; n++)
            set_pte(a, n, ((uint64_t)(n >= 192 ? n : a * 64 + n) << 12), 7 | (n >= 192 ? TOY_G : 0));
    uint64_t keys[2], top = TOY_VA + (200ull << 12);
    TcgVcpu *t = tcg_vcpu(v);
    for (unsigned a = 0; a < 2; a++) {
        st->asid = a;
        mmu_ops->address_space_changed(v);
        CHECK(mmu_exec(t, TOY_VA, TOY_CTX, true) != NULL);
        load(TOY_VA, M64);
        load(top, M64);
        keys[a] = env->ctxkey;
    }
    CHECK(keys[0] != keys[1]);
    CHECK(!(keys[0] & 1) && !(keys[1] & 1));
    uint64_t walks = t->stats.walk;
    st->asid = 0;
    mmu_ops->address_space_changed(v);
    CHECK_EQ(env->ctxkey, keys[0]);
    CHECK((top ^ env->tlb[TOY_CTX][tlb_index(top)].rt) < 4096);         /* the global page stayed */
    CHECK((TOY_VA ^ env->tlb[TOY_CTX][tlb_index(TOY_VA)].rt) >= 4096);
    load(TOY_VA, M64);
    CHECK(mmu_exec(t, TOY_VA, TOY_CTX, true) != NULL);
    CHECK_EQ(t->stats.walk, walks);
    /* A flush of a page that was never executed keeps the key; of one that was, changes it. */
    mmu_ops->flush_page(v, TOY_VA + 0x5000, 0);
    CHECK_EQ(env->ctxkey, keys[0]);
    mmu_ops->flush_page(v, TOY_VA, 0);
    CHECK(env->ctxkey != keys[0]);
    CHECK(!env->xt[TOY_CTX][(TOY_VA >> 12) % XT_SIZE]);
    st->asid = 1;
    mmu_ops->address_space_changed(v);
    CHECK_EQ(env->ctxkey, keys[1]);
    /* A kernel, whose pages are all global, has one key in all address spaces. */
    mmu_ops->flush_all(v);
    CHECK(mmu_exec(t, top, TOY_CTX, true) != NULL);
    keys[1] = env->ctxkey;
    st->asid = 2;
    mmu_ops->address_space_changed(v);
    CHECK_EQ(env->ctxkey, keys[1]);
    CHECK(env->xt[TOY_CTX][(top >> 12) % XT_SIZE] != 0);
    toy_end();
}

/* ---- keys of code */

enum { GLOBALS = 192, EXEC_PAGES = 8 };

/* A few pages, some of them global: a place in RAM each, which may be exchanged for another. */
static uint64_t exec_place(unsigned asid, unsigned n)
{
    return toy.pte[asid][n].pa;
}

static void exec_remap(unsigned asid, unsigned n)
{
    uint64_t pa = (toy_rand() % 32) << 12;
    unsigned flags = 7 | (n >= GLOBALS ? TOY_G : 0);

    for (unsigned a = 0; a < TOY_ASIDS; a++)
        if (a == asid || n >= GLOBALS)
            set_pte(a, n, pa, flags);
}

static void exec_flush(unsigned asid, unsigned n)
{
    bool global = n >= GLOBALS;

    switch (toy_rand() % 4) {
    case 0: mmu_ops->flush_all(v); break;
    case 1: mmu_ops->flush_asid(v, -1, false); break;
    case 2: mmu_ops->flush_page(v, TOY_VA + ((uint64_t)n << 12), global ? -1 : (int)asid); break;
    default:
        if (global)
            mmu_ops->flush_asid(v, -1, false);
        else
            mmu_ops->flush_asid(v, asid, true);
    }
}

static unsigned exec_pick(void)
{
    uint64_t r = toy_rand();

    return r % EXEC_PAGES + (r >> 32 & 1 ? GLOBALS : 0);
}

static uint64_t *known_at(uint64_t key, unsigned n)
{
    return g_memdup2((uint64_t[]){ key ^ (uint64_t)(n + 1) << 48 }, 8);
}

/* What was found under a key holds whenever that key is there: generated code asks for nothing else. */
static void test_keys_stand(void)
{
    GHashTable *known = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, NULL);
    unsigned asid = 0, again = 0;

    begin();
    st->virt = true;
    for (unsigned a = 0; a < TOY_ASIDS; a++)
        for (unsigned n = 0; n < TOY_VPAGES; n++)
            set_pte(a, n, (uint64_t)(n % 32) << 12, 7 | (n >= GLOBALS ? TOY_G : 0));
    mmu_ops->flush_all(v);
    for (int k = 0; k < 60000; k++) {
        uint64_t r = toy_rand();
        unsigned n = exec_pick();

        switch (r % 16) {
        case 0:
            exec_remap(asid, n);
            exec_flush(asid, n);
            break;
        case 1: mmu_ops->flush_asid(v, -1, false); break;
        case 2:
            st->asid = asid = (r >> 8) % TOY_ASIDS;
            mmu_ops->address_space_changed(v);
            break;
        default: {
            /* A kernel runs its own code most of the time. */
            n = r >> 40 & 7 ? n % EXEC_PAGES + GLOBALS : n;
            CHECK(mmu_exec(tcg_vcpu(v), TOY_VA + ((uint64_t)n << 12), TOY_CTX, true) != NULL);
            uint64_t *at = known_at(env->ctxkey, n);

            again += g_hash_table_contains(known, at);
            g_hash_table_insert(known, at, GSIZE_TO_POINTER(exec_place(asid, n) + 1));
        }
        }
        for (unsigned i = 0; i < 2 * EXEC_PAGES; i++) {
            n = i % EXEC_PAGES + (i < EXEC_PAGES ? 0 : GLOBALS);
            g_autofree uint64_t *at = known_at(env->ctxkey, n);
            size_t place = GPOINTER_TO_SIZE(g_hash_table_lookup(known, at));

            CHECK(!place || place - 1 == exec_place(asid, n));
        }
    }
    CHECK(again > 1000);
    g_hash_table_unref(known);
    toy_end();
}

/* A kernel whose code stays where it is keeps its key and tags when all is flushed; else it loses both. */
static void test_kernel_stays(void)
{
    uint64_t top = TOY_VA + (200ull << 12);

    begin();
    st->virt = true;
    set_pte(0, 200, 0x5000, 7 | TOY_G);
    set_pte(0, 201, 0x6000, 7 | TOY_G);
    mmu_ops->flush_all(v);
    CHECK(mmu_exec(tcg_vcpu(v), top, TOY_CTX, true) != NULL);
    CHECK(mmu_exec(tcg_vcpu(v), top + 0x1000, TOY_CTX, true) != NULL);
    load(top, M64);
    uint64_t key = env->ctxkey;
    mmu_ops->flush_asid(v, -1, false);
    CHECK_EQ(env->ctxkey, key);
    CHECK(env->xt[TOY_CTX][(top >> 12) % XT_SIZE] != 0);
    CHECK((top ^ env->tlb[TOY_CTX][tlb_index(top)].rt) >= 4096);
    /* One that may not be executed any more. */
    set_pte(0, 201, 0x6000, 3 | TOY_G);
    mmu_ops->flush_asid(v, -1, false);
    CHECK(env->ctxkey != key);
    CHECK(!env->xt[TOY_CTX][(top >> 12) % XT_SIZE]);
    /* A page of it, after a flush that kept it. */
    CHECK(mmu_exec(tcg_vcpu(v), top, TOY_CTX, true) != NULL);
    mmu_ops->flush_asid(v, -1, false);
    CHECK(env->xt[TOY_CTX][(top >> 12) % XT_SIZE] != 0);
    key = env->ctxkey;
    mmu_ops->flush_page(v, top, -1);
    CHECK(env->ctxkey != key);
    CHECK(!env->xt[TOY_CTX][(top >> 12) % XT_SIZE]);
    toy_end();
}

int main(void)
{
    toy_randomize("MMU_SEED");
    RUN(test_l2);
    RUN(test_l2_numbers_run_out);
    RUN(test_plain);
    RUN(test_io_and_rom);
    RUN(test_atomics);
    RUN(test_random);
    RUN(test_switching);
    RUN(test_keys_stand);
    RUN(test_kernel_stays);
    return test_end();
}
