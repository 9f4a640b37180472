/* SPDX-License-Identifier: MIT */
/*
 * Units of translated code: where they live, how they are found, linked, run
 * and invalidated. One cache serves all vCPUs of a machine.
 *
 * Identity. An exec id names a pair (virtual page, physical page); a unit is
 * known by (exec id, offset in the page, mode key). A vCPU's exec tags say which
 * ids are valid for it now; its ctxkey stands for all of them together, so a hit
 * in the jump cache or the return stack needs no further check.
 *
 * Locks. `lock` guards translation, links, lists and the cache's areas. Lookups
 * take no lock: the hash chains are read while they change, and what is taken out
 * of them stays readable until every vCPU was outside the engine (eviction does
 * that by vcpus_exclusive). A unit that dies sets `dead` first and is taken from
 * jump caches then; who fills a jump cache looks at `dead` after: one sees the
 * other.
 */
#ifndef ACCEL_JIT_JIT_H
#define ACCEL_JIT_JIT_H

#include <malloc.h>

#include "accel/tcg/tcg.h"
#include "system/vmconfig.h"
#include "tcg/x64/x64.h"

typedef struct CodeRegion CodeRegion;
typedef struct Shape Shape;

enum { GRANULE_BITS = 6 /* 64 granules of 64 bytes make a page */, PAGE_IDS = 16, HASH_BITS = 19,
       REGION_EXITS = 1 << 15 /* numbers that a region's exits may have */ };

/* ---- guest pages with code; made once, kept to the end */
struct CodePage {
    Jit *jit;
    RamBlock *block;
    uint64_t pageno;
    _Atomic uint64_t granules;      /* those that hold translated bytes; all while one is being translated */
    _Atomic bool watched;           /* PAGE_CODE is set and nobody has a write tag; changes under the lock */
    _Atomic uint32_t epoch;         /* how often that ended */
    Unit *units[2];                 /* by Unit.next of the same index: units that begin here; that end here, crossing */
    Shape **shapes;                 /* by granule of the first byte; NULL: none yet */
    /* Exec ids of the virtual addresses it was last executed at; readers check seq. */
    _Atomic uint32_t seq;
    struct { _Atomic uint64_t vpage; _Atomic uint32_t id; } ids[PAGE_IDS];
    unsigned next_id;
};

/* ---- a direct edge out of a unit */
typedef struct Exit {
    Unit *from, *to;                /* to: NULL while it is not linked */
    struct Exit *next, **at;        /* in to->incoming */
    uint64_t target;
    uint32_t patch, stub;           /* offsets in the cache */
    bool cross;
} Exit;

/* ---- what units of the same bytes and mode at different addresses share: shape.c */
struct Shape {
    Shape *next, **at;              /* in its page's row; at is NULL if it isn't there */
    Unit *latest;                   /* the newest of its units, unless that is dead: what copies are made of */
    uint64_t mode;
    int users, alive;               /* units that have memory; that are not dead */
    uint16_t lo, hi, nmarks;
    uint32_t nsites, nhot_sites, nrelocs;
    X64Site *sites;                 /* from the beginnings of their areas */
    uint32_t *relocs;
    uint16_t *mark_off;             /* guest offset in the page of each mark */
};

/* ---- a unit; lives in its region's memory. What a look-up reads is in its first cache line */
struct Unit {
    _Atomic(Unit *) chain;          /* hash */
    uint64_t va, mode;
    uint32_t id, id2;               /* exec ids; id2: of the next page, when it crosses, else 0 */
    uint16_t lo, hi;                /* guest bytes, as offsets from the page's start; hi > PAGE_SIZE: it crosses */
    _Atomic bool dead;
    CodeRegion *region;
    const void *host, *host_checked;    /* entries; the interpreter's units: host is the Unit itself */
    CodePage *page[2];              /* [1]: NULL unless it crosses */
    Unit *next[2], **at[2];         /* in the pages' lists */
    Shape *shape;
    IrProg *prog;                   /* interpreter, lockstep */
    IrUnit *ir;                     /* lockstep */
    uint32_t runs;                  /* lockstep: how often it ran, up to a bound */
    uint32_t hot, hot_end, cold, cold_end;  /* offsets in the cache */
    Exit *exits, *incoming;
    uint16_t nexits;
};

/* ---- a piece of the cache, evicted as a whole */
struct CodeRegion {
    int index;
    uint32_t start, cold_start, end;    /* offsets in the cache */
    CodeArea hot, cold;
    Unit **units; int nunits, cap_units;    /* ascending by place */
    Exit *exits; int nexits;            /* numbers index << 16 | i */
    GPtrArray *chunks; char *chunk_at, *chunk_end;      /* memory of units and their tables */
    size_t bytes;                       /* of prepared IR, for the interpreter */
    _Atomic bool used;                  /* since eviction last passed by */
};

typedef struct JitStats {
    uint64_t units, insns, guest_bytes, hot_bytes, cold_bytes, invalidated, evicted_units, evictions, translate_ns;
    uint64_t revocations, copies, shape_bytes;
} JitStats;

struct Jit {
    Vm *vm;
    Engine engine;
    pthread_mutex_t lock;
    pthread_mutex_t turn;               /* engine=lockstep: held by the vCPU that runs a unit; outside `lock` */
    TranslateLimits limits;
    /* cache.c */
    uint8_t *rw; intptr_t delta; uint64_t size, region_size;
    CodeRegion *regions; int nregions, current, started;
    GPtrArray *slabs, *chunks;          /* memory of units: mapped, and what of it is free */
    X64Stubs *stubs;
    X64Emitter *emitter;
    IrUnit ir;                      /* the unit being translated */
    /* unit.c */
    _Atomic(Unit *) *hash;
    uint32_t last_id;
    JitStats stats;
    GArray *deep;                   /* RamBlocks with page records */
    int perfmap;                    /* descriptor, or -1 */
    struct DebugSet *debug;         /* breakpoints that the units were made with; NULL: none. Changes under the lock */
};

/* ---- each vCPU */
enum { STACKS = 8, STACK_SIZE = 32 * 1024, STACK_GUARD = 4096 };
typedef struct ReturnStack { uint64_t key, rsp, base; } ReturnStack;
struct JitVcpu {
    TcgVcpu *t;
    char *stacks;                   /* STACKS times guard and room */
    ReturnStack stack[STACKS];
    int stack_now, stack_next;
    _Atomic bool drop;              /* asked by others: the return stacks may lead to dead units */
    IrUnit one;                     /* accel_interpret_one's */
    struct Lockstep *lockstep;      /* made by the first lockstep_run */
};

/* ---- cache.c: memory */
Err *cache_new(Jit *j, uint64_t size, bool code);
void cache_free(Jit *j);
void *cache_map(uint64_t size);             /* zeroed memory of the host, in large pages if it can be; NULL: there is none */
/* Makes room for translation: the current region has some, after this. Evicts; called without the lock, outside code. */
void cache_next_region(Jit *j, TcgVcpu *t, int full);
Unit *region_unit(Jit *j, CodeRegion *r);           /* zeroed memory for one; until the region is evicted */
void region_add(CodeRegion *r, Unit *u);
uint64_t cache_heap(Jit *j);                /* bytes of the heap that records have, which go when regions are evicted */

/* What an allocation takes of the heap. */
static inline size_t heap_bytes(void *p)
{
    return p ? malloc_usable_size(p) + sizeof(size_t) : 0;
}
Unit *cache_unit_at(Jit *j, uint64_t site);         /* whose code a host return address is in; NULL: none. Without the lock */
static inline CodeRegion *cache_region(Jit *j) { return &j->regions[j->current]; }

/* ---- unit.c: pages and lookup */
CodePage *jit_page(Jit *j, RamBlock *block, uint64_t pageno);
CodePage *jit_page_find(RamBlock *block, uint64_t pageno);      /* NULL: no code was ever there */
uint32_t jit_page_id(CodePage *p, uint64_t vpage);              /* 0: no more ids */
static inline const uint8_t *jit_page_bytes(const CodePage *p) { return p->block->host + (p->pageno << PAGE_BITS); }
void pages_free(Jit *j);
/*
 * The unit for pc, whose page is e, as t sees the page after it too. t's thread. walk: that page may be looked up
 * for it (not under the lock).
 */
Unit *unit_find(Jit *j, TcgVcpu *t, const ExecEntry *e, uint64_t pc, uint64_t mode, bool walk);
void unit_publish(Jit *j, Unit *u);         /* under the lock */
void unit_unhash(Jit *j, Unit *u);          /* under the lock */
int unit_site_mark(const Jit *j, const Unit *u, uint64_t site);     /* -1: no such site */
uint64_t unit_mark_pc(const Unit *u, int mark);

/* ---- shape.c; under the lock */
Shape *shape_new(Jit *j, const IrUnit *ir, const X64Code *c /* NULL: no code */);
void shape_hang(Shape *s, CodePage *p, uint64_t mode, unsigned lo, unsigned hi);     /* to be found there */
Shape *shape_find(CodePage *p, uint64_t mode, unsigned lo);     /* one with a unit to copy; or NULL */
void shape_add(Shape *s, Unit *u);          /* u is of that shape */
void shape_died(Unit *u);
void shape_free(Jit *j, Unit *u);           /* u's memory goes away */

/* ---- link.c; under the lock */
void exit_link(Jit *j, Exit *x, Unit *to);
void exit_unlink(Jit *j, Exit *x);
void unit_unlink(Jit *j, Unit *u);          /* all edges into and out of it */

/* ---- smc.c: stores to code */
void jit_stored(TcgVcpu *t, RamBlock *block, uint64_t pageno, unsigned off, unsigned size);
bool jit_hits_current(TcgVcpu *t, RamBlock *block, uint64_t pageno, unsigned off, unsigned size);
void page_watch(Jit *j, TcgVcpu *t, CodePage *p);       /* from now on stores are seen. Without the lock */
void page_settle(CodePage *p);              /* granules anew from the page's units; no units: no more watched. Under the lock */
uint64_t unit_granules(const Unit *u, int which);       /* of its page [which] */
void unit_kill(Jit *j, Unit *u, TcgVcpu *t /* the caller's vCPU or NULL */);    /* under the lock */
void jit_touched(RamBlock *block, uint64_t off, uint64_t len);          /* DMA: ram_code_touched */

/* ---- stack.c: return stacks */
Err *stacks_new(JitVcpu *jv);
void stacks_free(JitVcpu *jv);
void stacks_drop(TcgVcpu *t);               /* t's own thread, or t does not run */
void jit_key_changed(TcgVcpu *t, uint64_t key);     /* sets env->ctxkey, changes to its return stack */
void jit_code_fence(TcgVcpu *t);
void stacks_catch_overflow(void);           /* installs the signal handler, once */

/* ---- breaks.c: breakpoints */
void jit_breaks(Jit *j, struct DebugSet *set /* or NULL */);    /* units stop there from now on; older sets are ignored */
const uint64_t *jit_page_breaks(const Jit *j, uint64_t pc, int *n);     /* those in pc's page. Under the lock */
bool jit_break_at(Jit *j, uint64_t pc);

/* ---- translate.c */
/* A new unit for pc (or one that came about meanwhile). NULL: an exception was raised, or nothing can be kept (e->id 0). */
Unit *jit_translate(TcgVcpu *t, const ExecEntry *e, uint64_t pc, uint64_t mode);

/* ---- dispatch.c */
VcpuExit jit_run(Vcpu *v);
VcpuExit interp_run(Vcpu *v);
/*
 * The unit at env->pc, made if need be. NULL: something else happened instead (an
 * exception was entered, an instruction interpreted); go on, unless *exit is not -1.
 */
Unit *dispatch_unit(TcgVcpu *t, int *exit);
/* Enters generated code; where a group of accesses is refused, goes on without groups. *exit as above. */
IrExit dispatch_enter(TcgVcpu *t, const void *host, int *exit);
/* What to do about the engine's leaving for `why`: -1 to go on, or a VcpuExit. Not for EXIT_LINK. */
int dispatch_left(TcgVcpu *t, IrExit why);

/*
 * Lockstep (engine=lockstep): units are single straight blocks, keep their IR
 * (Unit.ir, Unit.prog) beside the code, and are not linked: each EXIT_LINK leaves with
 * env->pc at the target. The loop itself is lockstep.c's: dispatch_unit, run the
 * two, compare, dispatch_left.
 */
VcpuExit lockstep_run(Vcpu *v);
void lockstep_free(struct Lockstep *k);
void lockstep_print_stats(const struct Lockstep *k, GString *out);
static inline IrExit jit_enter(TcgVcpu *t, const void *host);

static inline JitVcpu *jit_vcpu(TcgVcpu *t) { return t->jit; }
static inline Jit *jit_of(TcgVcpu *t) { return tcg_vm(t->v->vm)->jit; }
static inline IrExit jit_enter(TcgVcpu *t, const void *host)
{
    t->stats.enter++;
    return x64_enter(jit_of(t)->stubs, t->env, host);
}

Err *jit_new(Vm *vm, Jit **out);
void jit_free(Jit *j);
Err *jit_vcpu_new(TcgVcpu *t);
void jit_vcpu_free(TcgVcpu *t);
void jit_print_stats(Jit *j, GString *out);

#endif
