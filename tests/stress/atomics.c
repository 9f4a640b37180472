/* SPDX-License-Identifier: MIT */
/*
 * Atomic memory operations (Zaamo, Zabha, Zacas) that all harts do on the same
 * words: no update may be lost, and what an instruction returns must be a value
 * that was there. Neighbours in the same doubleword are contended, too.
 */
#include "tests/stress/stress.h"

const char subject[] = "atomics";

/* .insn R-type: AMO opcode 0x2f, funct3 = log2 of the size, funct7 = funct5 << 2 | aq << 1 | rl. */
#define AMO(op, size, aqrl, cell, v) ({ uint64_t old_; \
    __asm__ volatile(".insn r 0x2f, %1, %2, %0, %3, %4" \
        : "=r"(old_) : "i"(size), "i"((op) << 2 | (aqrl)), "r"(cell), "r"((uint64_t)(v)) : "memory"); \
    old_; })
enum { ADD = 0, SWAP = 1, XOR = 4, OR = 8, AND = 12, MIN = 16, MAX = 20, MINU = 24, MAXU = 28 };

/* amocas: rd is what is expected and becomes what was there. */
#define CAS(size, cell, expected, v) ({ uint64_t old_ = (expected); \
    __asm__ volatile(".insn r 0x2f, %1, %2, %0, %3, %4" \
        : "+r"(old_) : "i"(size), "i"(5 << 2 | 3), "r"(cell), "r"((uint64_t)(v)) : "memory"); \
    old_; })

#define BY_SIZE(f, size, ...) ((size) == 0 ? f(0, __VA_ARGS__) : (size) == 1 ? f(1, __VA_ARGS__) : \
                               (size) == 2 ? f(2, __VA_ARGS__) : f(3, __VA_ARGS__))

/* One function for each operation: the size and the order bits vary at run time. */
#define DEFINE_AMO(name, op) \
    static uint64_t name##_at(unsigned size, unsigned aqrl, volatile void *cell, uint64_t v) \
    { \
        switch (size * 4 + aqrl) { \
        case 0: return AMO(op, 0, 0, cell, v);  case 1: return AMO(op, 0, 1, cell, v); \
        case 2: return AMO(op, 0, 2, cell, v);  case 3: return AMO(op, 0, 3, cell, v); \
        case 4: return AMO(op, 1, 0, cell, v);  case 5: return AMO(op, 1, 1, cell, v); \
        case 6: return AMO(op, 1, 2, cell, v);  case 7: return AMO(op, 1, 3, cell, v); \
        case 8: return AMO(op, 2, 0, cell, v);  case 9: return AMO(op, 2, 1, cell, v); \
        case 10: return AMO(op, 2, 2, cell, v); case 11: return AMO(op, 2, 3, cell, v); \
        case 12: return AMO(op, 3, 0, cell, v); case 13: return AMO(op, 3, 1, cell, v); \
        case 14: return AMO(op, 3, 2, cell, v); default: return AMO(op, 3, 3, cell, v); \
        } \
    }
DEFINE_AMO(add, ADD)
DEFINE_AMO(swap, SWAP)
DEFINE_AMO(xor, XOR)
DEFINE_AMO(or, OR)
DEFINE_AMO(and, AND)
DEFINE_AMO(min, MIN)
DEFINE_AMO(max, MAX)
DEFINE_AMO(minu, MINU)
DEFINE_AMO(maxu, MAXU)

static uint64_t cas_at(unsigned size, volatile void *cell, uint64_t expected, uint64_t v)
{
    switch (size) {
    case 0: return CAS(0, cell, expected, v);
    case 1: return CAS(1, cell, expected, v);
    case 2: return CAS(2, cell, expected, v);
    default: return CAS(3, cell, expected, v);
    }
}

enum { CELLS = 8 };
static Word memory[32] __attribute__((aligned(256)));   /* the cells, with guards around them */
static Word tally[BARE_HARTS][CELLS];                    /* what each hart did, written by it alone */

#define GUARD 0xa5a5a5a5a5a5a5a5ul
static uint64_t mask_of(unsigned size) { return size == 3 ? -1ul : (1ul << (8 << size)) - 1; }
static uint64_t sext(unsigned size, uint64_t v)
{
    unsigned s = 64 - (8 << size);
    return (uint64_t)((int64_t)(v << s) >> s);
}
static uint64_t cell_at(unsigned size, unsigned n) { return (uint64_t)&memory[8] + (n << size); }
static uint64_t get(unsigned size, unsigned n) { return load(size == 3 ? 8 : 1u << size, cell_at(size, n)); }
static void put(unsigned size, unsigned n, uint64_t v) { store(1u << size, cell_at(size, n), v); }

static void prepare(Hart *h, unsigned size, uint64_t v)
{
    barrier();
    if (h->id == 0) {
        for (unsigned i = 0; i < 32; i++)
            memory[i] = GUARD;
        for (unsigned i = 0; i < CELLS; i++)
            put(size, i, v);
    }
    for (unsigned i = 0; i < CELLS; i++)
        tally[h->id][i] = 0;
    barrier();
}

static void check_guards(unsigned size)
{
    uint64_t end = cell_at(size, CELLS);
    for (uint64_t a = (uint64_t)memory; a < (uint64_t)(memory + 32); a += 8)
        if (a < (uint64_t)&memory[8] || a >= end)
            want(*(Word *)a == GUARD, "size %u: the word at %lx beside the cells became %lx", size, a, *(Word *)a);
}

/* A case's time is for all sizes. */
static uint64_t slice_end(void)
{
    return bare_time() + order("ms", 300) * (BARE_TIME_HZ / 1000) / 4;
}

static const char *no_zacas(void) { return has_ext("zacas") ? NULL : "needs zacas"; }
static unsigned first_size(void) { return has_ext("zabha") ? 0 : 2; }

/* ---- sums -------------------------------------------------------------------- */

static void add_size(Hart *h, unsigned size)
{
    uint64_t n = 0;
    prepare(h, size, 0);
    for (uint64_t end = slice_end(); bare_time() < end;) {
        for (int i = 0; i < 64; i++, n++) {
            unsigned c = rnd_below(h, CELLS);
            uint64_t v = rnd(h);
            uint64_t old = add_at(size, v & 3, (void *)cell_at(size, c), v);
            want(old == sext(size, old), "amoadd size %u returned %lx, which is not sign-extended", size, old);
            tally[h->id][c] += v;
        }
    }
    count(n);
    barrier();
    for (unsigned c = 0; h->id == 0 && c < CELLS; c++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < harts; i++)
            sum += tally[i][c];
        want((get(size, c) & mask_of(size)) == (sum & mask_of(size)),
             "amoadd size %u cell %u: %lx, the harts added %lx", size, c, get(size, c), sum & mask_of(size));
    }
    if (h->id == 0)
        check_guards(size);
}

static void run_add(Hart *h)
{
    for (unsigned size = first_size(); size < 4; size++)
        add_size(h, size);
}

/* ---- swap: tokens change places, none is lost or doubled ------------------------ */

static void swap_size(Hart *h, unsigned size)
{
    uint64_t mine = CELLS + h->id, n = 0;
    prepare(h, size, 0);
    if (h->id == 0)
        for (unsigned c = 0; c < CELLS; c++)
            put(size, c, c);
    barrier();
    for (uint64_t end = slice_end(); bare_time() < end;) {
        for (int i = 0; i < 64; i++, n++)
            mine = swap_at(size, rnd(h) & 3, (void *)cell_at(size, rnd_below(h, CELLS)), mine);
    }
    count(n);
    tally[h->id][0] = mine;
    barrier();
    if (h->id)
        return;
    uint64_t seen = 0, tokens = CELLS + harts;
    for (unsigned i = 0; i < tokens; i++) {
        uint64_t t = i < CELLS ? get(size, i) : (uint64_t)tally[i - CELLS][0];
        want(t < tokens && !(seen >> t & 1), "amoswap size %u: token %lx is there twice or was never made", size, t);
        seen |= 1ul << t;
    }
    check_guards(size);
}

static void run_swap(Hart *h)
{
    for (unsigned size = first_size(); size < 4; size++)
        swap_size(h, size);
}

/* ---- bits: each hart owns one bit of each cell ------------------------------------ */

static void bits_size(Hart *h, unsigned size)
{
    uint64_t bit = 1ul << (h->id + (size > 0 ? 3 : 0)), n = 0;
    uint64_t state[CELLS] = { 0 };
    prepare(h, size, 0);
    for (uint64_t end = slice_end(); bare_time() < end;) {
        for (int i = 0; i < 64; i++, n++) {
            unsigned c = rnd_below(h, CELLS), aqrl = rnd(h) & 3;
            void *p = (void *)cell_at(size, c);
            uint64_t old, next;
            switch (rnd_below(h, 3)) {
            case 0: old = or_at(size, aqrl, p, bit); next = bit; break;
            case 1: old = and_at(size, aqrl, p, ~bit); next = 0; break;
            default: old = xor_at(size, aqrl, p, bit); next = ~old & bit; break;
            }
            want((old & bit) == state[c], "size %u cell %u: bit %lx was %lx, and nobody else changes it",
                 size, c, bit, old & bit);
            state[c] = next;
        }
    }
    count(n);
    for (unsigned c = 0; c < CELLS; c++)
        tally[h->id][c] = state[c];
    barrier();
    for (unsigned c = 0; h->id == 0 && c < CELLS; c++) {
        uint64_t all = 0;
        for (unsigned i = 0; i < harts; i++)
            all |= tally[i][c];
        want(get(size, c) == sext(size, all), "and/or/xor size %u cell %u: %lx, not %lx", size, c, get(size, c), all);
    }
    if (h->id == 0)
        check_guards(size);
}

static void run_bits(Hart *h)
{
    for (unsigned size = first_size(); size < 4; size++)
        bits_size(h, size);
}

/* ---- minimum and maximum ------------------------------------------------------------- */

enum { K_MIN, K_MAX, K_MINU, K_MAXU, KINDS };
static const char *const kind_names[] = { "amomin", "amomax", "amominu", "amomaxu" };

/* Is a better than b? Both are sign-extended. */
static bool better(unsigned kind, unsigned size, uint64_t a, uint64_t b)
{
    uint64_t m = mask_of(size);
    switch (kind) {
    case K_MIN:  return (int64_t)a < (int64_t)b;
    case K_MAX:  return (int64_t)a > (int64_t)b;
    case K_MINU: return (a & m) < (b & m);
    default:     return (a & m) > (b & m);
    }
}

static uint64_t do_kind(unsigned kind, unsigned size, unsigned aqrl, volatile void *p, uint64_t v)
{
    switch (kind) {
    case K_MIN:  return min_at(size, aqrl, p, v);
    case K_MAX:  return max_at(size, aqrl, p, v);
    case K_MINU: return minu_at(size, aqrl, p, v);
    default:     return maxu_at(size, aqrl, p, v);
    }
}

/* Values close to the best, so that the best changes often. */
static uint64_t near(Hart *h, unsigned kind, uint64_t best)
{
    uint64_t step = rnd_below(h, 4) - 1;
    return kind == K_MIN || kind == K_MINU ? best - step : best + step;
}

static void minmax_size(Hart *h, unsigned size, unsigned kind)
{
    uint64_t start = sext(size, rnd(h)), last[2], n = 0;
    if (h->id == 0)
        tally[0][7] = start;
    barrier();
    start = tally[0][7];
    prepare(h, size, start);
    for (int c = 0; c < 2; c++)
        tally[h->id][c] = last[c] = start;
    for (uint64_t end = bare_time() + order("ms", 300) * (BARE_TIME_HZ / 1000) / 16; bare_time() < end;) {
        for (int i = 0; i < 64; i++, n++) {
            unsigned c = rnd_below(h, 2);
            uint64_t v = sext(size, rnd_below(h, 200) ? near(h, kind, last[c]) : rnd(h));
            uint64_t old = do_kind(kind, size, v & 3, (void *)cell_at(size, c), v);
            want(!better(kind, size, last[c], old), "%s size %u: was %lx, and later %lx",
                 kind_names[kind], size, last[c], old);
            last[c] = better(kind, size, v, old) ? v : old;
            if (better(kind, size, v, tally[h->id][c]))
                tally[h->id][c] = v;
        }
    }
    count(n);
    barrier();
    for (unsigned c = 0; h->id == 0 && c < 2; c++) {
        uint64_t best = start;
        for (unsigned i = 0; i < harts; i++)
            if (better(kind, size, tally[i][c], best))
                best = tally[i][c];
        want(get(size, c) == best, "%s size %u: %lx, the best was %lx", kind_names[kind], size, get(size, c), best);
    }
    if (h->id == 0)
        check_guards(size);
}

static void run_minmax(Hart *h)
{
    for (unsigned size = first_size(); size < 4; size++)
        for (unsigned kind = 0; kind < KINDS; kind++)
            minmax_size(h, size, kind);
}

/* ---- compare and swap ------------------------------------------------------------------ */

static void cas_size(Hart *h, unsigned size)
{
    uint64_t n = 0;
    prepare(h, size, 0);
    for (uint64_t end = slice_end(); bare_time() < end;) {
        unsigned c = rnd_below(h, CELLS);
        void *p = (void *)cell_at(size, c);
        uint64_t seen = get(size, c), old;
        while ((old = cas_at(size, p, seen, seen + 1 + 2 * h->id)) != seen) {
            want(old == sext(size, old), "amocas size %u returned %lx, which is not sign-extended", size, old);
            seen = old;
        }
        tally[h->id][c] += 1 + 2 * h->id;
        n++;
    }
    count(n);
    barrier();
    for (unsigned c = 0; h->id == 0 && c < CELLS; c++) {
        uint64_t sum = 0;
        for (unsigned i = 0; i < harts; i++)
            sum += tally[i][c];
        want((get(size, c) & mask_of(size)) == (sum & mask_of(size)),
             "amocas size %u cell %u: %lx, the harts added %lx", size, c, get(size, c), sum & mask_of(size));
    }
    if (h->id == 0)
        check_guards(size);
}

static void run_cas(Hart *h)
{
    for (unsigned size = first_size(); size < 4; size++)
        cas_size(h, size);
}

/* 16 bytes: two counters that always go up together. */
static void run_cas_q(Hart *h)
{
    uint64_t n = 0;
    prepare(h, 3, 0);
    while (more()) {
        uint64_t lo = memory[8], hi = memory[9];
        register uint64_t old_lo __asm__("a2") = lo;
        register uint64_t old_hi __asm__("a3") = hi;
        register uint64_t new_lo __asm__("a4") = lo + 1;
        register uint64_t new_hi __asm__("a5") = hi + 3;
        __asm__ volatile(".insn r 0x2f, 4, %5, %0, %2, %3"
                         : "+r"(old_lo), "+r"(old_hi)
                         : "r"(&memory[8]), "r"(new_lo), "r"(new_hi), "i"(5 << 2 | 3) : "memory");
        want(old_hi == old_lo * 3, "amocas.q saw %lx and %lx, which were never there together", old_lo, old_hi);
        n += old_lo == lo && old_hi == hi;
    }
    tally[h->id][0] = n;
    count(n);
    barrier();
    uint64_t sum = 0;
    for (unsigned i = 0; i < harts; i++)
        sum += tally[i][0];
    if (h->id == 0) {
        want_eq(memory[8], sum, "amocas.q's low counter");
        want_eq(memory[9], sum * 3, "amocas.q's high counter");
    }
}

/* ---- sizes mixed ---------------------------------------------------------------------------- */

/*
 * One doubleword: all add to it as a whole, to its halves, and store to a byte
 * of their own, which only they write. The low half's sums stay small, so that
 * nothing is carried over.
 */
static void run_mixed(Hart *h)
{
    prepare(h, 3, 0);
    while (more_rounds(h)) {
        Word *cell = &memory[8];
        uint64_t whole = 0, low = 0, high = 0, bytes = 0;
        if (h->id == 0)
            cell[0] = cell[1] = 0;
        barrier();
        for (int i = 0; i < 500; i++) {
            switch (rnd_below(h, 4)) {
            case 0: add_at(3, 1, cell, 1ul << 32 | 1); whole++; break;
            case 1: add_at(2, 2, cell, 1); low++; break;
            case 2: add_at(2, 3, (char *)cell + 4, 1); high++; break;
            case 3:                             /* the next doubleword: a byte store against amoor.d */
                store(1, (uint64_t)&cell[1] + h->id, ++bytes);
                or_at(3, 0, &cell[1], 0);
                want((load(1, (uint64_t)&cell[1] + h->id) & 255) == (bytes & 255),
                     "a byte store got lost under amoor.d: %lx, not %lx",
                     load(1, (uint64_t)&cell[1] + h->id) & 255, bytes & 255);
                break;
            }
        }
        tally[h->id][0] = whole + low;
        tally[h->id][1] = whole + high;
        count(500);
        barrier();
        uint64_t sum_low = 0, sum_high = 0;
        for (unsigned i = 0; i < harts; i++) {
            sum_low += tally[i][0];
            sum_high += tally[i][1];
        }
        if (h->id == 0)
            want_eq(cell[0], sum_high << 32 | sum_low, "amoadd.w and amoadd.d on one doubleword");
        barrier();
    }
}

/* ---- one hart: registers that are named twice --------------------------------------------------- */

static void run_same_register(Hart *h)
{
    if (h->id)
        return;
    static uint64_t cell;
    uint64_t v = 5;
    cell = 7;
    __asm__ volatile("amoadd.d %0, %0, (%1)" : "+r"(v) : "r"(&cell) : "memory");
    want_eq(v, 7, "amoadd.d with rd = rs2: rd");
    want_eq(cell, 12, "amoadd.d with rd = rs2: memory");
    uint64_t p = (uint64_t)&cell;
    __asm__ volatile("amoswap.d %0, %1, (%0)" : "+r"(p) : "r"(9ul) : "memory");
    want_eq(p, 12, "amoswap.d with rd = rs1: rd");
    want_eq(cell, 9, "amoswap.d with rd = rs1: memory");
    p = (uint64_t)&cell;
    __asm__ volatile("amoswap.d %0, %0, (%0)" : "+r"(p) :: "memory");
    want_eq(p, 9, "amoswap.d with rd = rs1 = rs2: rd");
    want_eq(cell, (uint64_t)&cell, "amoswap.d with rd = rs1 = rs2: memory");
    cell = 0xffffffff;
    __asm__ volatile("amoadd.w zero, %0, (%1)" :: "r"(1ul), "r"(&cell) : "memory");
    want_eq(cell, 0, "amoadd.w with rd = zero: no carry into the upper half");
    cell = 0x80000000;
    __asm__ volatile("amomaxu.w %0, zero, (%1)" : "=r"(v) : "r"(&cell) : "memory");
    want_eq(v, 0xffffffff80000000, "amomaxu.w: rd is sign-extended");
    want_eq(cell, 0x80000000, "amomaxu.w: memory");
    count(1);
}

/* A size that is not aligned raises an exception, or is done whole; nothing in between. */
static void run_misaligned(Hart *h)
{
    for (unsigned off = 1; off < 8; off++) {
        prepare(h, 3, 0x1111111111111111);
        h->caught = 0;
        h->catch = true;
        __asm__ volatile(".option push\n.option norvc\namoadd.d zero, %0, (%1)\n.option pop"
                         :: "r"(1ul), "r"((uint64_t)&memory[8] + off) : "memory");
        h->catch = false;
        if (h->caught) {
            /* Privileged manual, mcause: an AMO raises store exceptions. QEMU 7.2 says 4, a load's. */
            want(h->cause == 6 || h->cause == 7 || (on_qemu() && h->cause == 4), "misaligned amoadd.d: exception %lu", h->cause);
            want_eq(h->tval, (uint64_t)&memory[8] + off, "misaligned amoadd.d: tval");
        }
        uint64_t v = memory[8] >> (8 * off) | memory[9] << (64 - 8 * off);
        want_eq(v, h->caught ? 0x1111111111111111 : 0x1111111111111112, "misaligned amoadd.d: memory");
        count(1);
    }
}

static const char *not_single(void) { return harts > 1 ? "is for one hart" : NULL; }

const Case cases[] = {
    { "add", run_add },
    { "swap", run_swap },
    { "bits", run_bits },
    { "minmax", run_minmax },
    { "cas", run_cas, no_zacas },
    { "cas-q", run_cas_q, no_zacas },
    { "mixed", run_mixed },
    { "same-register", run_same_register },
    { "misaligned", run_misaligned, not_single },
    { 0 }
};
