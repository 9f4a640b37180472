/* SPDX-License-Identifier: MIT */
/* See paging.h. */
#include "tests/stress/paging.h"

enum { TABLES = 192 };
static Pte tables[TABLES][512] __attribute__((aligned(4096)));
static unsigned used;

Pte *pt_table(void)
{
    unsigned n = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
    if (n >= TABLES)
        fail("out of page tables");
    memset(tables[n], 0, sizeof tables[n]);
    return tables[n];
}

void pt_reset(void)
{
    used = 0;
}

Pte *pt_root(unsigned flags)
{
    Pte *root = pt_table();
    root[0] = pte_of(0, PTE_DATA | flags);
    root[2] = pte_of(0x80000000, PTE_CODE | flags);
    return root;
}

volatile Pte *pt_entry(Pte *root, uint64_t va, int level)
{
    Pte *table = root;
    for (int l = 2; l > level; l--) {
        Pte *e = &table[va >> (12 + 9 * l) & 511];
        if (!(*e & PTE_V))
            *e = pte_of((uint64_t)pt_table(), PTE_V);
        table = (Pte *)(*e >> 10 << 12);
    }
    return &table[va >> (12 + 9 * level) & 511];
}

void pt_map(Pte *root, uint64_t va, uint64_t pa, unsigned flags)
{
    *pt_entry(root, va, 0) = pte_of(pa, flags);
}

void fill_frame(uint64_t pa, uint64_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8)
        *(Word *)(pa + i) = v;
}

bool sets_ad(void)
{
    static Pte *root;
    Hart *h = me();
    uint64_t v = 0;
    pt_reset();
    root = pt_root(0);
    pt_map(root, VA_TEST, frame(0), PTE_V | PTE_R | PTE_W);
    uint64_t old = csr_read(satp);
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    bool sets = !try_load(h, 8, VA_TEST, &v);
    use_satp(old);
    sfence_all();
    set_mode(MODE_M);
    return sets;
}
