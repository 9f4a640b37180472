/* SPDX-License-Identifier: MIT */
/*
 * Makes units: guest bytes to IR (target/translate.c), IR to code or to the
 * interpreter's form, and into the lists where they are found.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "accel/jit/dump.h"
#include "accel/jit/jit.h"
#include "util/log.h"

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* What one attempt works with. */
typedef struct Work {
    Jit *j;
    TcgVcpu *t;
    const ExecEntry *e;
    CodePage *page, *page2;         /* page2: the page after it, when the first instruction needs it */
    uint32_t id2;
    uint64_t pc, mode;
    unsigned ctx, lo, hi;
    TranslateLimits limits;
    X64Code code;
} Work;

typedef enum Result { MADE, TOO_SMALL /* the region is full */, NEEDS_NEXT /* the first instruction crosses */ } Result;

/* ---- publishing */

static void list_add(Unit *u, int which, CodePage *p)
{
    u->page[which] = p;
    u->next[which] = p->units[which];
    u->at[which] = &p->units[which];
    if (u->next[which])
        u->next[which]->at[which] = &u->next[which];
    p->units[which] = u;
}

static void keep_code(Work *w, Unit *u)
{
    const X64Code *c = &w->code;
    CodeRegion *r = u->region;
    const uint8_t *rx = w->j->rw + w->j->delta;

    u->host = rx + c->entry;
    u->host_checked = rx + c->entry_checked;
    u->hot = c->entry_checked, u->hot_end = c->hot_end;
    u->cold = c->cold, u->cold_end = c->cold_end;
    r->hot.rw = w->j->rw + c->hot_end;
    r->cold.rw = w->j->rw + c->cold_end;
    u->nexits = c->nexits;
    u->exits = r->exits + r->nexits;
    r->nexits += c->nexits;
    w->j->stats.hot_bytes += c->hot_end - c->hot;
    w->j->stats.cold_bytes += c->cold_end - c->cold;
}

static void keep_exits(Work *w, Unit *u)
{
    for (int i = 0; i < u->nexits; i++) {
        const X64Exit *x = &w->code.exits[i];

        u->exits[i] = (Exit){ .from = u, .target = x->target, .patch = x->patch, .stub = x->stub, .cross = x->cross };
    }
}

/* The copy's exits are where the original's are, seen from their areas. */
static void copy_exits(Work *w, Unit *u, const Unit *from)
{
    Jit *j = w->j;
    uint32_t number = (uint32_t)u->region->index << 16 | (uint32_t)(u->exits - u->region->exits);
    uint32_t moved = u->hot - from->hot, cold_moved = u->cold - from->cold;

    for (int i = 0; i < u->nexits; i++) {
        const Exit *x = &from->exits[i];
        bool in_cold = x->patch >= from->cold && x->patch < from->cold_end;

        u->exits[i] = (Exit){ .from = u, .target = x->target + (u->va - from->va), .cross = x->cross,
                              .patch = x->patch + (in_cold ? cold_moved : moved), .stub = x->stub + cold_moved };
        x64_exit_init(j->rw, u->exits[i].patch, u->exits[i].stub, number + i);
    }
}

static void keep_prog(Jit *j, CodeRegion *r, Unit *u, const IrUnit *ir)
{
    u->prog = ir_interp_prepare(ir);
    r->bytes += (ir->n + ir->nconsts + 8) * 64;
    if (j->engine == ENGINE_INTERP) {
        u->host = u;
        return;
    }
    u->ir = g_new0(IrUnit, 1);
    *u->ir = *ir;
    u->ir->insns = g_memdup2(ir->insns, ir->n * sizeof(ir->insns[0]));
    u->ir->cap = ir->n;
    u->ir->consts = g_memdup2(ir->consts, ir->nconsts * sizeof(ir->consts[0]));
    u->ir->cap_consts = ir->nconsts;
    u->ir->marks = g_memdup2(ir->marks, ir->nmarks * sizeof(ir->marks[0]));
    u->ir->cap_marks = ir->nmarks;
}

/* May other addresses of the page get copies? What all address spaces share has one address, and so has a breakpoint. */
static bool shares(const Work *w)
{
    return w->j->engine != ENGINE_INTERP && !w->e->global && !w->page2 && !w->limits.nbreaks;
}

/* The unit that w has made or, if `from` is not NULL, copied. */
static Unit *publish(Work *w, const Unit *from)
{
    Jit *j = w->j;
    CodeRegion *r = cache_region(j);
    Unit *u = region_unit(j, r);
    Shape *s = from ? from->shape : shape_new(j, &j->ir, j->engine == ENGINE_INTERP ? NULL : &w->code);

    u->va = w->pc;
    u->mode = w->mode;
    u->id = w->e->id;
    u->id2 = w->page2 ? w->id2 : 0;
    u->lo = w->lo;
    u->hi = w->hi;
    u->region = r;
    shape_add(s, u);
    if (!from && s->nrelocs)
        shape_hang(s, w->page, w->mode, w->lo, w->hi);
    if (j->engine != ENGINE_INTERP) {
        keep_code(w, u);
        if (from)
            copy_exits(w, u, from);
        else
            keep_exits(w, u);
    }
    if (j->engine != ENGINE_JIT)
        keep_prog(j, r, u, &j->ir);
    list_add(u, 0, w->page);
    if (w->page2)
        list_add(u, 1, w->page2);
    region_add(r, u);
    unit_publish(j, u);
    j->stats.units++;
    j->stats.copies += from != NULL;
    j->stats.insns += s->nmarks;
    j->stats.guest_bytes += w->hi - w->lo;
    return u;
}

/* ---- logs */

static void perf_name(Jit *j, const Unit *u)
{
    char line[80];
    int n = snprintf(line, sizeof(line), "%" PRIx64 " %x u_%" PRIx64 "\n%" PRIx64 " %x cold_%" PRIx64 "\n",
                     (uint64_t)j->rw + j->delta + u->hot, u->hot_end - u->hot, u->va,
                     (uint64_t)j->rw + j->delta + u->cold, u->cold_end - u->cold, u->va);

    if (j->perfmap >= 0 && write(j->perfmap, line, MIN(n, (int)sizeof(line))) < 0)
        j->perfmap = -1;
}

/* ---- one attempt, under the lock */

static bool emit(Work *w)
{
    Jit *j = w->j;
    CodeRegion *r = cache_region(j);

    if (j->engine == ENGINE_INTERP)
        return r->bytes < j->region_size;
    if (r->nexits > REGION_EXITS - 2048)
        return false;
    X64Request q = {
        .unit = &j->ir, .base = j->rw, .hot = r->hot, .cold = r->cold,
        .first_exit = (uint32_t)r->index << 16 | r->nexits, .exec_ctx = w->ctx, .xt_id = w->e->id,
        .xt_id2 = w->page2 ? w->id2 : 0, .one_vcpu = w->mode & MODE_ONE_VCPU,
        .ungrouped = w->mode & MODE_UNGROUPED,
        .movable = shares(w), .listing = log_on(LOG_OUT_ASM),
    };
    return x64_emit(j->emitter, &q, &w->code) && r->nexits + w->code.nexits <= REGION_EXITS;
}

/* No unit came of it. A page may have thousands of units: those are not looked at. */
static void granules_back(CodePage *p, uint64_t was)
{
    if (was)
        atomic_store(&p->granules, was);
    else
        page_settle(p);
}

enum { LOG_UNIT = LOG_IN_ASM | LOG_OP | LOG_OUT_ASM };

/* A unit of the same bytes and mode, made for another virtual address; NULL: none that can be copied. */
static const Unit *find_original(Work *w)
{
    Shape *s = shares(w) && !log_on(LOG_UNIT) ? shape_find(w->page, w->mode, w->pc & (PAGE_SIZE - 1)) : NULL;

    if (!s)
        return NULL;
    w->lo = s->lo;
    w->hi = s->hi;
    /* The comparing engine runs the copy's code against IR of its own. */
    if (w->j->engine == ENGINE_LOCKSTEP &&
        translate_unit(w->t->v, &w->j->ir, w->pc, w->mode, jit_page_bytes(w->page), NULL, w->limits, &w->lo, &w->hi) <= 0)
        return NULL;
    return w->lo == s->lo && w->hi == s->hi ? s->latest : NULL;
}

/* The same as `make` for a unit that is a copy. Its bytes count as code already, as they do for the original. */
static Result copy(Work *w, const Unit *from, Unit **out)
{
    Jit *j = w->j;
    CodeRegion *r = cache_region(j);
    const Shape *s = from->shape;
    const uint8_t *rx = j->rw + j->delta;
    X64Code original = {
        .entry = (uint32_t)((const uint8_t *)from->host - rx), .entry_checked = from->hot, .hot_end = from->hot_end,
        .cold = from->cold, .cold_end = from->cold_end, .relocs = s->relocs, .nrelocs = s->nrelocs, .nexits = from->nexits,
    };
    X64Request q = { .base = j->rw, .hot = r->hot, .cold = r->cold, .exec_ctx = w->ctx, .xt_id = w->e->id };

    if (r->nexits + from->nexits > REGION_EXITS || !x64_copy(&q, &original, w->pc >> PAGE_BITS, w->pc - from->va, &w->code))
        return TOO_SMALL;
    *out = publish(w, from);
    return MADE;
}

static Result make_unit(Work *w, Unit **out)
{
    Jit *j = w->j;
    CodePage *second = w->page2;
    const uint8_t *next = second ? jit_page_bytes(second) : NULL;
    Result result = MADE;
    /* While their bytes are read, all granules count as code: a store that comes now waits for us. */
    uint64_t was = atomic_exchange(&w->page->granules, UINT64_MAX), was2 = 0;

    if (second && second != w->page)
        was2 = atomic_exchange(&second->granules, UINT64_MAX);
    int n = translate_unit(w->t->v, &j->ir, w->pc, w->mode, jit_page_bytes(w->page), next, w->limits,
                           &w->lo, &w->hi);
    if (n <= 0) {
        result = NEEDS_NEXT;
    } else {
        if (w->hi <= PAGE_SIZE)
            w->page2 = NULL;
        if (emit(w))
            *out = publish(w, NULL);
        else
            result = TOO_SMALL;
    }
    if (result != MADE) {
        granules_back(w->page, was);
        if (second && second != w->page)
            granules_back(second, was2);
    } else {
        atomic_store(&w->page->granules, was | unit_granules(*out, 0));
        if (second)
            atomic_store(&second->granules, (second == w->page ? atomic_load(&second->granules) : was2)
                                            | (w->page2 ? unit_granules(*out, 1) : 0));
    }
    return result;
}

static Result make(Work *w, Unit **out)
{
    uint64_t began = now_ns();

    w->limits.breaks = jit_page_breaks(w->j, w->pc, &w->limits.nbreaks);
    const Unit *from = find_original(w);
    Result result = from ? copy(w, from, out) : make_unit(w, out);

    w->j->stats.translate_ns += now_ns() - began;
    return result;
}

static void log_unit(Work *w, const Unit *u)
{
    Jit *j = w->j;
    unsigned items = atomic_load_explicit(&log_mask, memory_order_relaxed) & LOG_UNIT;

    if (items && log_wants(u->va)) {
        Dump d = { .isa = w->t->v->isa, .ir = &j->ir, .page = jit_page_bytes(w->page),
                   .next_page = w->page2 ? jit_page_bytes(w->page2) : NULL };
        if (j->engine != ENGINE_INTERP) {
            d.code = &w->code;
            d.emitter = j->emitter;
            d.base = j->rw;
            d.delta = j->delta;
        }
        dump_unit(log_begin(), &d, items);
        log_end();
    }
    if (j->perfmap >= 0)
        perf_name(j, u);
}

/* ---- around it */

/* The page after pc's, for an instruction that crosses. False: an exception was raised. */
static bool find_next_page(Work *w)
{
    const ExecEntry *e2 = mmu_exec(w->t, (w->pc | (PAGE_SIZE - 1)) + 1, w->ctx, true);

    if (!e2 || !e2->id)
        return false;
    w->page2 = e2->page;
    w->id2 = e2->id;
    return true;
}

/* Under the lock: pages that stopped being watched since page_watch have to be watched anew. */
static bool still_watched(const Work *w)
{
    return atomic_load(&w->page->watched) && (!w->page2 || atomic_load(&w->page2->watched));
}

/* A unit that a fresh region doesn't hold, or that the backend can't do, is tried again at half the size. */
static bool smaller(Work *w)
{
    if (w->limits.max_insns <= 1)
        return false;
    w->limits.max_insns /= 2;
    return true;
}

/* A unit without groups serves only until the group is over: it is short. */
enum { UNGROUPED_INSNS = 16 };

Unit *jit_translate(TcgVcpu *t, const ExecEntry *e, uint64_t pc, uint64_t mode)
{
    Jit *j = jit_of(t);
    Work w = { .j = j, .t = t, .e = e, .page = e->page, .pc = pc, .mode = mode,
               .ctx = t->mmu.fetch_ctx, .limits = j->limits };
    int full = -1;

    if (mode & MODE_UNGROUPED && j->engine == ENGINE_JIT)
        w.limits.max_insns = MIN(w.limits.max_insns, UNGROUPED_INSNS);
    if (!e->id)
        return NULL;
    for (;;) {
        CodePage *page2 = w.page2;
        Unit *u;

        page_watch(j, t, w.page);
        if (page2)
            page_watch(j, t, page2);
        pthread_mutex_lock(&j->lock);
        u = unit_find(j, t, e, pc, w.mode, false);
        Result r = MADE;
        bool watched = u || still_watched(&w);
        int region = j->current;
        if (!u && watched) {
            r = make(&w, &u);
            if (u)
                log_unit(&w, u);
        }
        pthread_mutex_unlock(&j->lock);
        if (u)
            return u;
        if (!watched)
            continue;
        w.page2 = page2;
        if (r == NEEDS_NEXT && (page2 || !find_next_page(&w)))
            return NULL;
        if (r == TOO_SMALL && full >= 0 && !smaller(&w))
            return NULL;
        if (r == TOO_SMALL && full < 0) {
            cache_next_region(j, t, region);
            full = region;
        }
    }
}
