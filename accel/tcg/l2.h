/* SPDX-License-Identifier: MIT */
/*
 * The second-level TLB of a vCPU: 4 ways x 4096 sets of 4 KiB translations, all
 * contexts and address spaces together. What empties the inline tables (a switch
 * of the address space above all) leaves these, so that a refill costs no walk.
 *
 * A flush stores a number, however much it flushes: an entry holds the number of
 * the flush before it was filled, and is dead when it is older than the last
 * flush that concerned it.
 *
 * Only its vCPU's thread touches it.
 */
#ifndef ACCEL_TCG_L2_H
#define ACCEL_TCG_L2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "system/mem.h"

enum { L2_SETS = 4096, L2_WAYS = 4, L2_ASIDS = 65536,
       L2_SPREAD = 8,           /* address spaces of one page go to that many sets */
       L2_LARGE_BITS = 8192, L2_LARGES = 5 };

/* Whose translation: 0..65535 an ASID, or: */
enum { L2_PHYS = 0x10000 /* none: addresses are physical */, L2_GLOBAL = 0x10001 /* every ASID's */ };

typedef enum PageKind { KIND_RAM, KIND_ROM, KIND_IO /* or nothing, or only a part of the page is RAM */ } PageKind;

typedef struct L2Page {
    uint8_t  *host;             /* RAM, ROM: the page's bytes; else NULL */
    uint64_t  pa;
    RamBlock *block;            /* RAM, ROM */
    uint64_t  pageno;           /* number of the page in the block */
    uint8_t   prot, kind;       /* PageProt of target/isa.h; PageKind */
    bool      global;
    uint8_t   order;            /* log2 of the size of the guest's page */
} L2Page;

typedef struct L2Tag { uint64_t va_ctx; uint32_t id, stamp; } L2Tag;

typedef struct L2 {
    L2Tag    tags[L2_SETS][L2_WAYS] __attribute__((aligned(64)));
    L2Page   pages[L2_SETS][L2_WAYS];
    uint8_t  victim[L2_SETS];
    uint32_t now;                   /* number of flushes so far; never 0 */
    uint32_t all, nonglobal, phys;  /* the last flush of everything virtual; of all ASIDs' own pages; of L2_PHYS */
    uint32_t asid[L2_ASIDS];        /* the last flush of each ASID */
    /* Blocks that may hold pieces of large pages: by size class, hashed. Forgotten when all is flushed. */
    bool     any_large;
    uint64_t large[L2_LARGES][L2_LARGE_BITS / 64];
} L2;

void l2_init(L2 *t);
/* NULL: not there. `id` as above but L2_GLOBAL; global entries are found too, unless id is L2_PHYS. */
L2Page *l2_find(L2 *t, uint64_t va, unsigned ctx, uint32_t id);
/* A place for va's page, replacing what was there for it; order: log2 of the size of the guest's page. */
L2Page *l2_fill(L2 *t, uint64_t va, unsigned ctx, uint32_t id, unsigned order);
void l2_flush_all(L2 *t);
void l2_flush_virtual(L2 *t);           /* all but L2_PHYS */
/* Pages of that ASID (-1: of every one) that are not global. */
void l2_flush_asid(L2 *t, int asid);
/*
 * The page of va, in all contexts, of that ASID; -1: of all, and global.
 * False: va may lie in a large page, nothing was done: flush more.
 */
bool l2_flush_page(L2 *t, uint64_t va, int asid);

#endif
