/* SPDX-License-Identifier: MIT */
/*
 * Memory-order litmus tests (unprivileged manual, appendix "RVWMO explanatory
 * material"; names as in the literature). Each runs a batch of independent
 * instances: the harts go through arrays of locations, loosely in step, and
 * hart 0 then looks at what was read. Outcomes that RVWMO forbids fail; others
 * are counted, and the relaxed ones are noted: they show that the test can see.
 */
#include "tests/stress/stress.h"

const char subject[] = "litmus";

enum { BATCH = 256, THREADS = 4 };
typedef struct Cell { Word x; char pad[56]; Word y; char pad2[56]; } Cell;
static Cell cells[BATCH] __attribute__((aligned(64)));
static uint64_t seen[THREADS][BATCH][2];
static Word progress[BARE_HARTS][8];

#define R_RW  __asm__ volatile("fence r, rw" ::: "memory")
#define R_R   __asm__ volatile("fence r, r" ::: "memory")
#define W_W   __asm__ volatile("fence w, w" ::: "memory")
#define RW_W  __asm__ volatile("fence rw, w" ::: "memory")
#define RW_RW __asm__ volatile("fence rw, rw" ::: "memory")
#define TSO   __asm__ volatile("fence.tso" ::: "memory")
#define NONE  __asm__ volatile("" ::: "memory")

#define LD(a) ({ uint64_t v_; __asm__ volatile("ld %0, %1" : "=r"(v_) : "m"(a) : "memory"); v_; })
#define ST(a, v) __asm__ volatile("sd %0, %1" :: "r"((uint64_t)(v)), "m"(a) : "memory")
/* An address or a value that depends on what was read. */
#define DEP(p, v) ({ uint64_t z_; __asm__ volatile("xor %0, %1, %1" : "=r"(z_) : "r"(v)); \
    (Word *)((uint64_t)(p) + z_); })
#define AMO_ST_RL(a, v) __asm__ volatile("amoswap.d.rl zero, %0, (%1)" :: "r"((uint64_t)(v)), "r"(&(a)) : "memory")
#define AMO_LD_AQ(a) ({ uint64_t v_; __asm__ volatile("amoor.d.aq %0, zero, (%1)" : "=r"(v_) : "r"(&(a)) : "memory"); v_; })
#define AMO_ST_AQRL(a, v) __asm__ volatile("amoswap.d.aqrl zero, %0, (%1)" :: "r"((uint64_t)(v)), "r"(&(a)) : "memory")
#define AMO_LD_AQRL(a) ({ uint64_t v_; __asm__ volatile("amoor.d.aqrl %0, zero, (%1)" : "=r"(v_) : "r"(&(a)) : "memory"); v_; })

/* What thread t does to instance c; out has two values. */
typedef void (*Thread)(Cell *c, uint64_t *out);
/* What of an instance is forbidden, and what is allowed but not sequentially consistent. */
typedef enum Verdict { FINE, RELAXED, FORBIDDEN } Verdict;

typedef struct Litmus {
    unsigned threads;
    Thread run[THREADS];
    Verdict (*judge)(unsigned i);
} Litmus;

/* Waits a little for the others at every instance, but not for ever: they may not be running. */
static void step(unsigned self, unsigned threads, uint64_t i)
{
    __atomic_store_n(&progress[self][0], i, __ATOMIC_RELAXED);
    for (unsigned t = 0; t < threads; t++)
        for (int n = 0; n < 300 && __atomic_load_n(&progress[t][0], __ATOMIC_RELAXED) < i; n++)
            ;
}

/*
 * Who has a location in its cache decides what can overtake what: a store waits
 * in its buffer while another processor has the line. So that varies.
 */
static void reset_cell(unsigned i, unsigned self, unsigned threads)
{
    if ((i + 1) % threads == self)
        cells[i].x = 0;
    if ((i + i / threads) % threads == self)
        cells[i].y = 0;
}

static void run_litmus(Hart *h, const Litmus *l)
{
    uint64_t at = 1, relaxed = 0, n = 0;
    progress[h->id][0] = 0;
    barrier();
    while (more_rounds(h)) {
        unsigned self = (h->id + h->rounds / 2) % harts;        /* harts take turns with the roles */
        for (unsigned i = 0; i < BATCH; i++)
            reset_cell(i, self, l->threads);
        progress[self][0] = at;
        barrier();
        for (unsigned i = 0; i < BATCH; i++) {
            if (self >= l->threads)
                continue;
            step(self, l->threads, at + i);
            if (i & 1)
                rnd_delay(h);
            l->run[self](&cells[i], seen[self][i]);
        }
        at += BATCH;
        barrier();
        for (unsigned i = 0; h->id == 0 && i < BATCH; i++, n++) {
            Verdict v = l->judge(i);
            want(v != FORBIDDEN, "forbidden: thread 0 read %lu %lu, 1: %lu %lu, 2: %lu %lu, 3: %lu %lu; "
                 "x %lu y %lu in the end", seen[0][i][0], seen[0][i][1], seen[1][i][0], seen[1][i][1],
                 seen[2][i][0], seen[2][i][1], seen[3][i][0], seen[3][i][1], cells[i].x, cells[i].y);
            relaxed += v == RELAXED;
        }
    }
    count(n);
    if (relaxed)
        note("relaxed, which is allowed: %lu", relaxed);
}

#define LITMUS(name, n, j, ...) \
    static void run_##name(Hart *h) \
    { \
        static const Litmus l = { n, { __VA_ARGS__ }, j }; \
        run_litmus(h, &l); \
    }

/* ---- MP: message passing ------------------------------------------------------- */

static Verdict mp_forbidden(unsigned i) { return seen[1][i][0] == 1 && seen[1][i][1] == 0 ? FORBIDDEN : FINE; }
static Verdict mp_allowed(unsigned i) { return mp_forbidden(i) ? RELAXED : FINE; }

static void mp_w_fence(Cell *c, uint64_t *out) { ST(c->x, 1); W_W; ST(c->y, 1); }
static void mp_r_fence(Cell *c, uint64_t *out) { out[0] = LD(c->y); R_R; out[1] = LD(c->x); }
static void mp_r_addr(Cell *c, uint64_t *out) { out[0] = LD(c->y); out[1] = *DEP(&c->x, out[0]); }
static void mp_w_plain(Cell *c, uint64_t *out) { ST(c->x, 1); ST(c->y, 1); }
static void mp_r_plain(Cell *c, uint64_t *out) { out[0] = LD(c->y); out[1] = LD(c->x); }
static void mp_w_tso(Cell *c, uint64_t *out) { ST(c->x, 1); TSO; ST(c->y, 1); }
static void mp_r_tso(Cell *c, uint64_t *out) { out[0] = LD(c->y); TSO; out[1] = LD(c->x); }
static void mp_w_rl(Cell *c, uint64_t *out) { ST(c->x, 1); AMO_ST_RL(c->y, 1); }
static void mp_r_aq(Cell *c, uint64_t *out) { out[0] = AMO_LD_AQ(c->y); out[1] = LD(c->x); }
static void mp_r_lr(Cell *c, uint64_t *out)
{
    __asm__ volatile("lr.d.aq %0, (%1)" : "=r"(out[0]) : "r"(&c->y) : "memory");
    out[1] = LD(c->x);
}

LITMUS(mp_fence, 2, mp_forbidden, mp_w_fence, mp_r_fence)
LITMUS(mp_addr, 2, mp_forbidden, mp_w_fence, mp_r_addr)
LITMUS(mp_tso, 2, mp_forbidden, mp_w_tso, mp_r_tso)
LITMUS(mp_aqrl, 2, mp_forbidden, mp_w_rl, mp_r_aq)
LITMUS(mp_lr, 2, mp_forbidden, mp_w_rl, mp_r_lr)
LITMUS(mp_plain, 2, mp_allowed, mp_w_plain, mp_r_plain)

/* ---- SB: store buffering ---------------------------------------------------------- */

static Verdict sb_forbidden(unsigned i) { return !seen[0][i][0] && !seen[1][i][0] ? FORBIDDEN : FINE; }
static Verdict sb_allowed(unsigned i) { return sb_forbidden(i) ? RELAXED : FINE; }

static void sb0_plain(Cell *c, uint64_t *out) { ST(c->x, 1); out[0] = LD(c->y); }
static void sb1_plain(Cell *c, uint64_t *out) { ST(c->y, 1); out[0] = LD(c->x); }
static void sb0_fence(Cell *c, uint64_t *out) { ST(c->x, 1); RW_RW; out[0] = LD(c->y); }
static void sb1_fence(Cell *c, uint64_t *out) { ST(c->y, 1); RW_RW; out[0] = LD(c->x); }
static void sb0_wr(Cell *c, uint64_t *out) { ST(c->x, 1); __asm__ volatile("fence w, r" ::: "memory"); out[0] = LD(c->y); }
static void sb1_wr(Cell *c, uint64_t *out) { ST(c->y, 1); __asm__ volatile("fence w, r" ::: "memory"); out[0] = LD(c->x); }
static void sb0_amo(Cell *c, uint64_t *out) { AMO_ST_AQRL(c->x, 1); out[0] = AMO_LD_AQRL(c->y); }
static void sb1_amo(Cell *c, uint64_t *out) { AMO_ST_AQRL(c->y, 1); out[0] = AMO_LD_AQRL(c->x); }
/* The store is an AMO with aq: the load behind it may not come before. */
static void sb0_aq(Cell *c, uint64_t *out) { AMO_ST_AQRL(c->x, 1); out[0] = LD(c->y); }
static void sb1_aq(Cell *c, uint64_t *out) { AMO_ST_AQRL(c->y, 1); out[0] = LD(c->x); }

LITMUS(sb_plain, 2, sb_allowed, sb0_plain, sb1_plain)
LITMUS(sb_fence, 2, sb_forbidden, sb0_fence, sb1_fence)
LITMUS(sb_wr, 2, sb_forbidden, sb0_wr, sb1_wr)
LITMUS(sb_amo, 2, sb_forbidden, sb0_amo, sb1_amo)
LITMUS(sb_aq, 2, sb_forbidden, sb0_aq, sb1_aq)

/* ---- LB: load buffering --------------------------------------------------------------- */

static Verdict lb_forbidden(unsigned i) { return seen[0][i][0] && seen[1][i][0] ? FORBIDDEN : FINE; }

static void lb0_data(Cell *c, uint64_t *out) { out[0] = LD(c->x); ST(c->y, out[0] | 1); }
static void lb1_data(Cell *c, uint64_t *out) { out[0] = LD(c->y); ST(c->x, out[0] | 1); }
static void lb0_fence(Cell *c, uint64_t *out) { out[0] = LD(c->x); R_RW; ST(c->y, 1); }
static void lb1_fence(Cell *c, uint64_t *out) { out[0] = LD(c->y); R_RW; ST(c->x, 1); }

LITMUS(lb_data, 2, lb_forbidden, lb0_data, lb1_data)
LITMUS(lb_fence, 2, lb_forbidden, lb0_fence, lb1_fence)

/* ---- S, R, 2+2W ----------------------------------------------------------------------------- */

static void s0(Cell *c, uint64_t *out) { ST(c->x, 2); W_W; ST(c->y, 1); }
static void s1(Cell *c, uint64_t *out) { out[0] = LD(c->y); RW_W; ST(c->x, 1); }
static Verdict s_judge(unsigned i) { return seen[1][i][0] == 1 && cells[i].x == 2 ? FORBIDDEN : FINE; }
LITMUS(s, 2, s_judge, s0, s1)

static void r0(Cell *c, uint64_t *out) { ST(c->x, 1); W_W; ST(c->y, 1); }
static void r1(Cell *c, uint64_t *out) { ST(c->y, 2); RW_RW; out[0] = LD(c->x); }
static Verdict r_judge(unsigned i) { return cells[i].y == 2 && seen[1][i][0] == 0 ? FORBIDDEN : FINE; }
LITMUS(r, 2, r_judge, r0, r1)

static void w0(Cell *c, uint64_t *out) { ST(c->x, 1); W_W; ST(c->y, 2); }
static void w1(Cell *c, uint64_t *out) { ST(c->y, 1); W_W; ST(c->x, 2); }
static Verdict w_judge(unsigned i) { return cells[i].x == 1 && cells[i].y == 1 ? FORBIDDEN : FINE; }
LITMUS(two_plus_two_w, 2, w_judge, w0, w1)

/* ---- coherence: one location -------------------------------------------------------------------- */

static void corr_w(Cell *c, uint64_t *out) { ST(c->x, 1); }
static void corr_r(Cell *c, uint64_t *out) { out[0] = LD(c->x); out[1] = LD(c->x); }
static Verdict corr_judge(unsigned i) { return seen[1][i][0] == 1 && seen[1][i][1] == 0 ? FORBIDDEN : FINE; }
LITMUS(corr, 2, corr_judge, corr_w, corr_r)

static void coww0(Cell *c, uint64_t *out) { ST(c->x, 1); ST(c->x, 2); }
static Verdict coww_judge(unsigned i)
{
    return cells[i].x != 2 || (seen[1][i][0] == 2 && seen[1][i][1] != 2) ? FORBIDDEN : FINE;
}
LITMUS(coww, 2, coww_judge, coww0, corr_r)

/* Two writers; two readers must not disagree about the order. */
static void co2_w1(Cell *c, uint64_t *out) { ST(c->x, 1); }
static void co2_w2(Cell *c, uint64_t *out) { ST(c->x, 2); }
static Verdict co2_judge(unsigned i)
{
    const uint64_t *a = seen[2][i], *b = seen[3][i];
    return (a[0] == 1 && a[1] == 2 && b[0] == 2 && b[1] == 1) ||
           (a[0] == 2 && a[1] == 1 && b[0] == 1 && b[1] == 2) ? FORBIDDEN : FINE;
}
LITMUS(co2, 4, co2_judge, co2_w1, co2_w2, corr_r, corr_r)

/* ---- more than two harts ---------------------------------------------------------------------------- */

static void iriw_wx(Cell *c, uint64_t *out) { ST(c->x, 1); }
static void iriw_wy(Cell *c, uint64_t *out) { ST(c->y, 1); }
static void iriw_xy(Cell *c, uint64_t *out) { out[0] = LD(c->x); RW_RW; out[1] = LD(c->y); }
static void iriw_yx(Cell *c, uint64_t *out) { out[0] = LD(c->y); RW_RW; out[1] = LD(c->x); }
static Verdict iriw_judge(unsigned i)
{
    return seen[2][i][0] && !seen[2][i][1] && seen[3][i][0] && !seen[3][i][1] ? FORBIDDEN : FINE;
}
LITMUS(iriw, 4, iriw_judge, iriw_wx, iriw_wy, iriw_xy, iriw_yx)

static void wrc1(Cell *c, uint64_t *out) { out[0] = LD(c->x); RW_W; ST(c->y, 1); }
static void wrc2(Cell *c, uint64_t *out) { out[0] = LD(c->y); R_R; out[1] = LD(c->x); }
static Verdict wrc_judge(unsigned i)
{
    return seen[1][i][0] && seen[2][i][0] && !seen[2][i][1] ? FORBIDDEN : FINE;
}
LITMUS(wrc, 3, wrc_judge, iriw_wx, wrc1, wrc2)

/* ---- sizes and pieces ------------------------------------------------------------------------------- */

/* A doubleword that is aligned is read and written whole. */
static Word whole;
static void run_whole(Hart *h)
{
    uint64_t n = 0, mine = 0x0101010101010101ul * (h->id + 1);
    whole = 0x0101010101010101ul;
    barrier();
    for (; more(); n += 64) {
        for (int i = 0; i < 64; i++) {
            uint64_t v = LD(whole);
            want(v == (v & 255) * 0x0101010101010101ul, "a doubleword in pieces: %lx", v);
            ST(whole, mine);
        }
    }
    count(n);
}

/* Neighbouring bytes written by different harts do not disturb each other. */
static void run_bytes(Hart *h)
{
    static volatile uint8_t bytes[64];
    uint64_t n = 0;
    volatile uint8_t *p = &bytes[h->id];
    *p = 0;
    for (; more(); n++) {
        *p = (uint8_t)n;
        rnd_delay(h);
        want(*p == (uint8_t)n, "byte %u is %x, not %x", h->id, *p, (unsigned)n & 255);
    }
    count(n);
}

const Case cases[] = {
    { "MP+fences", run_mp_fence, .min_harts = 2 },
    { "MP+fence+addr", run_mp_addr, .min_harts = 2 },
    { "MP+tso", run_mp_tso, .min_harts = 2 },
    { "MP+rl+aq", run_mp_aqrl, .min_harts = 2 },
    { "MP+rl+lr.aq", run_mp_lr, .min_harts = 2 },
    { "MP", run_mp_plain, .min_harts = 2 },
    { "SB", run_sb_plain, .min_harts = 2 },
    { "SB+fences", run_sb_fence, .min_harts = 2 },
    { "SB+fence.w.r", run_sb_wr, .min_harts = 2 },
    { "SB+amos", run_sb_amo, .min_harts = 2 },
    { "SB+amo.aqrl", run_sb_aq, .min_harts = 2 },
    { "LB+data", run_lb_data, .min_harts = 2 },
    { "LB+fences", run_lb_fence, .min_harts = 2 },
    { "S", run_s, .min_harts = 2 },
    { "R", run_r, .min_harts = 2 },
    { "2+2W", run_two_plus_two_w, .min_harts = 2 },
    { "CoRR", run_corr, .min_harts = 2 },
    { "CoWW", run_coww, .min_harts = 2 },
    { "CoRR2", run_co2, .min_harts = 4 },
    { "WRC", run_wrc, .min_harts = 3 },
    { "IRIW+fences", run_iriw, .min_harts = 4 },
    { "whole", run_whole },
    { "bytes", run_bytes },
    { 0 }
};
