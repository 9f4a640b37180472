/* SPDX-License-Identifier: MIT */
/*
 * The code cache: one mapping of shared memory for writing and one for
 * executing, never both in one. It is cut in regions; each is filled from two
 * sides of a fixed border (hot code, out-of-line code) and emptied as a whole,
 * oldest first, unless it was used since eviction last came by.
 *
 * The interpreter's units live in regions too, without code: there the size of
 * their prepared IR counts.
 */
#include <errno.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "accel/jit/jit.h"

enum {
    REGION_MAX = 1 << 20, REGION_MIN = 64 << 10, REGIONS_MIN = 4,
    CHUNK = 64 << 10, HUGE = 2 << 20, STUBS_SIZE = 512 << 10,
};
#define CACHE_DEFAULT (UINT64_C(256) << 20)
#define CACHE_MAX (UINT64_C(1) << 30)       /* rel32 must reach everywhere */

/* ---- the two mappings */

/*
 * Shared memory without a file: perf knows that code in such a mapping is named by -perfmap's file, which it
 * doesn't of a memory file's.
 */
static Err *map_twice(Jit *j)
{
    void *rw = mmap(NULL, j->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (rw == MAP_FAILED)
        return err_errno(errno, "cannot map the code cache (%" PRIu64 " bytes)", j->size);
    j->rw = rw;
    /* An old size of 0 makes another mapping of the same memory. */
    void *rx = mremap(rw, 0, j->size, MREMAP_MAYMOVE);
    if (rx == MAP_FAILED)
        return err_errno(errno, "cannot map the code cache (%" PRIu64 " bytes) a second time", j->size);
    j->delta = (uint8_t *)rx - j->rw;
    if (mprotect(rx, j->size, PROT_READ | PROT_EXEC))
        return err_hint(err_errno(errno, "cannot map the code cache for execution"),
                        "The host's security policy must allow shared memory to be executed; "
                        "engine=interp runs without.");
    return NULL;
}

static void regions_cut(Jit *j, uint32_t first)
{
    j->nregions = (j->size - first) / j->region_size;
    j->regions = g_new0(CodeRegion, j->nregions);
    for (int i = 0; i < j->nregions; i++) {
        CodeRegion *r = &j->regions[i];

        r->index = i;
        r->start = first + i * j->region_size;
        r->end = r->start + j->region_size;
        r->cold_start = r->start + j->region_size / 8 * 4;
    }
}

static void region_reset(Jit *j, CodeRegion *r)
{
    r->hot = (CodeArea){ j->rw + r->start, j->rw + r->cold_start, j->delta };
    r->cold = (CodeArea){ j->rw + r->cold_start, j->rw + r->end, j->delta };
    r->nunits = r->nexits = 0;
    r->bytes = 0;
}

static void region_start(Jit *j, int i)
{
    CodeRegion *r = &j->regions[i];

    if (!r->chunks) {
        r->chunks = g_ptr_array_new();
        r->exits = g_new0(Exit, REGION_EXITS);      /* the host gives the memory when it is touched */
        region_reset(j, r);
    }
    j->current = i;
}

Err *cache_new(Jit *j, uint64_t size, bool code)
{
    if (!size)
        size = CACHE_DEFAULT;
    j->size = MIN(size, CACHE_MAX);
    j->region_size = MAX(MIN(REGION_MAX, j->size / 8 & -(uint64_t)4096), REGION_MIN);
    j->size = MAX(j->size & -(uint64_t)4096, j->region_size * REGIONS_MIN);
    if (code) {
        j->size += STUBS_SIZE;
        TRY(map_twice(j));
    }
    j->slabs = g_ptr_array_new();
    j->chunks = g_ptr_array_new();
    regions_cut(j, code ? STUBS_SIZE : 0);
    region_start(j, 0);
    j->started = 1;
    return NULL;
}

/* ---- memory of units: looked at from everywhere, so in the host's large pages if it gives some */

void *cache_map(uint64_t size)
{
    char *all = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t before = -(uintptr_t)all & (HUGE - 1);

    if (all == MAP_FAILED)
        return NULL;
    if (before)
        munmap(all, before);
    munmap(all + before + size, HUGE - before);
    madvise(all + before, size, MADV_HUGEPAGE);
    return all + before;
}

/* Zeroed. Slabs are given back at the end only. */
static char *chunk_new(Jit *j)
{
    if (!j->chunks->len) {
        char *slab = cache_map(HUGE);

        if (!slab)
            g_error("out of memory for translated code's records");
        g_ptr_array_add(j->slabs, slab);
        for (uint64_t at = HUGE; at > 0; at -= CHUNK)
            g_ptr_array_add(j->chunks, slab + at - CHUNK);
    }
    return memset(g_ptr_array_steal_index_fast(j->chunks, j->chunks->len - 1), 0, CHUNK);
}

Unit *region_unit(Jit *j, CodeRegion *r)
{
    enum { SIZE = (sizeof(Unit) + 63) & -64 };     /* whole cache lines */

    if (r->chunk_end - r->chunk_at < SIZE) {
        r->chunk_at = chunk_new(j);
        r->chunk_end = r->chunk_at + CHUNK;
        g_ptr_array_add(r->chunks, r->chunk_at);
    }
    Unit *u = (Unit *)r->chunk_at;
    r->chunk_at += SIZE;
    return u;
}

void region_add(CodeRegion *r, Unit *u)
{
    if (r->nunits == r->cap_units) {
        r->cap_units = MAX(r->cap_units * 2, 256);
        r->units = g_renew(Unit *, r->units, r->cap_units);
    }
    r->units[r->nunits++] = u;
}

static void region_empty(Jit *j, CodeRegion *r)
{
    for (int i = 0; i < r->nunits; i++) {
        Unit *u = r->units[i];

        shape_free(j, u);
        if (u->prog)
            ir_interp_free(u->prog);
        if (u->ir) {
            ir_free(u->ir);
            g_free(u->ir);
        }
    }
    for (guint i = 0; i < r->chunks->len; i++)
        g_ptr_array_add(j->chunks, g_ptr_array_index(r->chunks, i));
    g_ptr_array_set_size(r->chunks, 0);
    r->chunk_at = r->chunk_end = NULL;
    g_free(r->exits);
    r->exits = g_new0(Exit, REGION_EXITS);
    region_reset(j, r);
}

/* ---- eviction */

/* Nobody runs: what leads into r is taken from every vCPU. */
static void vcpus_forget(Jit *j, const CodeRegion *r)
{
    for (int i = 0; i < j->vm->nvcpus; i++) {
        TcgVcpu *t = tcg_vcpu(j->vm->vcpus[i]);

        for (int k = 0; k < JC_SIZE; k++) {
            JcEntry *e = &t->env->jc[k];
            const Unit *u = e->host;
            bool ours = j->engine == ENGINE_INTERP
                ? e->key != JC_EMPTY && u->region == r
                : (uint8_t *)e->host - j->delta - j->rw >= r->start
                  && (uint8_t *)e->host - j->delta - j->rw < r->end;

            if (ours)
                *e = (JcEntry){ .key = JC_EMPTY };
        }
        stacks_drop(t);
    }
}

static void region_evict(Jit *j, CodeRegion *r, TcgVcpu *t)
{
    for (int i = 0; i < r->nunits; i++) {
        if (!atomic_load(&r->units[i]->dead)) {
            unit_kill(j, r->units[i], t);
            j->stats.invalidated--;
            j->stats.evicted_units++;
        }
    }
    vcpus_forget(j, r);
    region_empty(j, r);
    j->stats.evictions++;
}

/* A vCPU may stand still inside a helper of generated code; that code must stay. */
static bool somebody_inside(const Jit *j, const TcgVcpu *t)
{
    for (int i = 0; i < j->vm->nvcpus; i++)
        if (j->vm->vcpus[i] != t->v && __atomic_load_n(&j->vm->vcpus[i]->env->in_jit, __ATOMIC_SEQ_CST))
            return true;
    return false;
}

static int choose_victim(Jit *j)
{
    int i = j->current;

    for (int tries = 0; tries < 2 * j->nregions; tries++) {
        i = (i + 1) % j->nregions;
        if (i != j->current && !atomic_exchange(&j->regions[i].used, false))
            break;
    }
    return i == j->current ? (i + 1) % j->nregions : i;
}

static bool evict_one(Jit *j, TcgVcpu *t, int full)
{
    bool done = false;

    vcpus_exclusive(j->vm, t->v);
    pthread_mutex_lock(&j->lock);
    if (j->current != full) {
        done = true;                    /* somebody else did it */
    } else if (!somebody_inside(j, t)) {
        int i = choose_victim(j);

        region_evict(j, &j->regions[i], t);
        j->current = i;
        done = true;
    }
    pthread_mutex_unlock(&j->lock);
    vcpus_resume(j->vm, t->v);
    return done;
}

void cache_next_region(Jit *j, TcgVcpu *t, int full)
{
    bool done = false;

    pthread_mutex_lock(&j->lock);
    if (j->current != full) {
        done = true;
    } else if (j->started < j->nregions) {
        region_start(j, j->started++);
        done = true;
    }
    pthread_mutex_unlock(&j->lock);
    while (!done) {
        done = evict_one(j, t, full);
        if (!done)
            g_usleep(50);
    }
}

/* ---- from host addresses to units */

static Unit *unit_at(const Jit *j, uint64_t site)
{
    uint64_t off = site - j->delta - (uint64_t)j->rw;

    if (!site || !j->rw || !j->nregions || off < j->regions[0].start)
        return NULL;
    uint64_t index = (off - 1 - j->regions[0].start) / j->region_size;
    if (index >= (uint64_t)j->nregions)
        return NULL;
    const CodeRegion *r = &j->regions[index];
    bool hot = off <= r->cold_start;
    int lo = 0, hi = r->nunits;

    /* The last unit that begins before off: a return address is never a beginning. */
    while (lo < hi) {
        int mid = (lo + hi) / 2;

        if ((hot ? r->units[mid]->hot : r->units[mid]->cold) < off)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (!lo)
        return NULL;
    Unit *u = r->units[lo - 1];
    return off <= (hot ? u->hot_end : u->cold_end) ? u : NULL;
}

Unit *cache_unit_at(Jit *j, uint64_t site)
{
    pthread_mutex_lock(&j->lock);       /* the array may move while somebody translates */
    Unit *u = unit_at(j, site);
    pthread_mutex_unlock(&j->lock);
    return u;
}

uint64_t cache_heap(Jit *j)
{
    pthread_mutex_lock(&j->lock);
    uint64_t n = j->stats.shape_bytes;
    for (int i = 0; i < j->started; i++)
        n += heap_bytes(j->regions[i].units) + heap_bytes(j->regions[i].exits);
    pthread_mutex_unlock(&j->lock);
    return n;
}

void cache_free(Jit *j)
{
    for (int i = 0; i < j->started; i++) {
        CodeRegion *r = &j->regions[i];

        region_empty(j, r);
        g_ptr_array_free(r->chunks, true);
        g_free(r->units);
        g_free(r->exits);
    }
    g_free(j->regions);
    for (guint i = 0; j->slabs && i < j->slabs->len; i++)
        munmap(g_ptr_array_index(j->slabs, i), HUGE);
    if (j->slabs) {
        g_ptr_array_free(j->slabs, true);
        g_ptr_array_free(j->chunks, true);
    }
    if (j->rw) {
        if (j->delta)
            munmap(j->rw + j->delta, j->size);
        munmap(j->rw, j->size);
    }
}
