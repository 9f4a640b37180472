/* SPDX-License-Identifier: MIT */
/*
 * LR and SC (unprivileged manual, chapter "A", section Zalrsc): loops of them
 * on words that all harts change, and when an SC must fail.
 *
 * Strict cases ask for what an SC that only compares values does not hold: it
 * must also fail if the word was changed and changed back meanwhile. QEMU 7.2
 * compares values.
 */
#include "tests/stress/stress.h"

const char subject[] = "lrsc";

#define LR_W(cell) ({ uint64_t v_; __asm__ volatile("lr.w.aq %0, (%1)" : "=r"(v_) : "r"(cell) : "memory"); v_; })
#define LR_D(cell) ({ uint64_t v_; __asm__ volatile("lr.d.aq %0, (%1)" : "=r"(v_) : "r"(cell) : "memory"); v_; })
#define SC_W(cell, v) ({ uint64_t f_; __asm__ volatile("sc.w.rl %0, %2, (%1)" \
    : "=&r"(f_) : "r"(cell), "r"((uint64_t)(v)) : "memory"); f_; })
#define SC_D(cell, v) ({ uint64_t f_; __asm__ volatile("sc.d.rl %0, %2, (%1)" \
    : "=&r"(f_) : "r"(cell), "r"((uint64_t)(v)) : "memory"); f_; })

typedef struct Line { Word w[8]; } Line;
static Line lines[16] __attribute__((aligned(64)));
static Line own[BARE_HARTS] __attribute__((aligned(64)));
static Word far[1024] __attribute__((aligned(4096)));

static uint64_t sum_of(unsigned n)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < harts; i++)
        sum += own[i].w[n];
    return sum;
}

/* ---- loops ------------------------------------------------------------------- */

/* A constrained loop (it must end sooner or later), as the manual prints it. */
static inline void add_d(Word *cell, uint64_t v)
{
    uint64_t old, failed;
    __asm__ volatile("1: lr.d %0, (%2)\n add %0, %0, %3\n sc.d %1, %0, (%2)\n bnez %1, 1b"
                     : "=&r"(old), "=&r"(failed) : "r"(cell), "r"(v) : "memory");
}
static inline void add_w(Word *cell, uint64_t v)
{
    uint64_t old, failed;
    __asm__ volatile("1: lr.w %0, (%2)\n add %0, %0, %3\n sc.w %1, %0, (%2)\n bnez %1, 1b"
                     : "=&r"(old), "=&r"(failed) : "r"(cell), "r"(v) : "memory");
}

static void run_add(Hart *h)
{
    lines[h->id].w[0] = lines[h->id].w[1] = own[h->id].w[0] = own[h->id].w[1] = 0;
    uint64_t n = 0, sum = 0, sum_w = 0;
    barrier();
    for (; more(); n += 64) {
        for (int i = 0; i < 32; i++) {
            uint64_t v = rnd(h);
            add_d(&lines[0].w[0], v);
            sum += v;
            add_w(&lines[0].w[1], v);
            sum_w += v;
        }
    }
    own[h->id].w[0] = sum;
    own[h->id].w[1] = sum_w;
    count(n);
    barrier();
    if (h->id)
        return;
    want_eq(lines[0].w[0], sum_of(0), "the sum by lr.d/sc.d");
    want_eq(lines[0].w[1], sum_of(1) & 0xffffffff, "the sum by lr.w/sc.w");
}

/* The harts together in one word's two halves: each half has its own LR/SC loop. */
static void run_halves(Hart *h)
{
    uint64_t n = 0;
    lines[0].w[0] = 0;
    barrier();
    Word *half = (Word *)((char *)&lines[0].w[0] + (h->id & 1) * 4);
    for (; more(); n += 64)
        for (int i = 0; i < 64; i++)
            add_w(half, 1);
    own[h->id].w[0] = n;
    count(n);
    barrier();
    uint64_t part[2] = { 0, 0 };
    for (unsigned i = 0; i < harts; i++)
        part[i & 1] += own[i].w[0];
    want_eq(lines[0].w[0], (part[1] & 0xffffffff) << 32 | (part[0] & 0xffffffff), "two halves by lr.w/sc.w");
}

/* ---- spin lock ------------------------------------------------------------------- */

static void lock(Word *l)
{
    uint64_t v, one = 1;
    __asm__ volatile("1: lr.w.aq %0, (%1)\n bnez %0, 1b\n sc.w %0, %2, (%1)\n bnez %0, 1b"
                     : "=&r"(v) : "r"(l), "r"(one) : "memory");
}
static void unlock(Word *l)
{
    __asm__ volatile("amoswap.w.rl zero, zero, (%0)" :: "r"(l) : "memory");
}

/* Plain variables under the lock. */
static void run_lock(Hart *h)
{
    static uint64_t a, b, c;
    uint64_t n = 0;
    if (h->id == 0)
        lines[0].w[0] = a = b = c = 0;
    barrier();
    for (; more(); n++) {
        lock(&lines[0].w[0]);
        want(a == b && b * 3 == c, "inside the lock: %lu, %lu, %lu", a, b, c);
        a++;
        __asm__ volatile("" ::: "memory");
        b++;
        c += 3;
        unlock(&lines[0].w[0]);
    }
    own[h->id].w[0] = n;
    count(n);
    barrier();
    want_eq(a, sum_of(0), "the counter under the lock");
}

/* ---- a stack without a lock ---------------------------------------------------------- */

/*
 * The head is an index and a count of changes in one doubleword: the count makes
 * a changed-back head different, so that this holds where SC compares values.
 */
enum { NODES = 64 };
static Word node_next[NODES], node_owner[NODES];

static void push(Word *head, uint64_t node)
{
    uint64_t was;
    do {
        was = LR_D(head);
        node_next[node] = was & 0xffffffff;
        /* Stores between LR and SC make the loop an unconstrained one; it is short. */
    } while (SC_D(head, ((was >> 32) + 1) << 32 | node));
}

static uint64_t pop(Word *head)
{
    uint64_t was, node;
    do {
        was = LR_D(head);
        node = was & 0xffffffff;
        if (node >= NODES)
            return NODES;
    } while (SC_D(head, ((was >> 32) + 1) << 32 | (node_next[node] & 0xffffffff)));
    return node;
}

static void run_stack(Hart *h)
{
    Word *head = &lines[0].w[0];
    uint64_t n = 0;
    if (h->id == 0) {
        *head = NODES;
        for (unsigned i = 0; i < NODES; i++) {
            node_owner[i] = 0;
            push(head, i);
        }
    }
    barrier();
    for (; more(); n++) {
        uint64_t mine[4], got = 0, take = 1 + rnd_below(h, 4);
        for (uint64_t i = 0; i < take; i++)
            if ((mine[got] = pop(head)) < NODES)
                got++;
        for (uint64_t i = 0; i < got; i++) {
            want(node_owner[mine[i]] == 0, "node %lu was popped by hart %lu, too", mine[i], node_owner[mine[i]] - 1);
            node_owner[mine[i]] = h->id + 1;
        }
        for (uint64_t i = 0; i < got; i++) {
            want(node_owner[mine[i]] == h->id + 1, "node %lu was taken by hart %lu", mine[i], node_owner[mine[i]] - 1);
            node_owner[mine[i]] = 0;
            push(head, mine[i]);
        }
    }
    count(n);
    barrier();
    if (h->id)
        return;
    uint64_t seen = 0, left = 0, v;
    for (; (v = pop(head)) < NODES; left++) {
        want(!(seen >> v & 1), "node %lu is on the stack twice", v);
        seen |= 1ul << v;
    }
    want_eq(left, NODES, "nodes on the stack in the end");
}

/* ---- when SC must fail: one hart -------------------------------------------------------- */

static void run_must_fail(Hart *h)
{
    Word *a = &own[h->id].w[0], *b = &far[h->id * 8];
    uint64_t n = 0;
    for (; more(); n++) {
        *a = *b = 7;
        LR_D(a);
        want(SC_D(b, 8), "sc.d to another page than lr.d's succeeded");
        want_eq(*b, 7, "the word behind an sc.d that must fail");
        want(SC_D(a, 9), "sc.d succeeded after a failed sc.d without an lr.d in between");
        want_eq(*a, 7, "the word behind an sc.d without lr.d");
        LR_D(a);
        /* The first may fail now and then; the second must. */
        bool first = !SC_D(a, 10);
        want(SC_D(a, 11), "a second sc.d succeeded for one lr.d");
        want_eq(*a, first ? 10 : 7, "the word behind two sc.d");
        *a = 7;
        LR_D(b);
        LR_D(a);
        want(SC_D(b, 12), "sc.d to the first of two reservations succeeded");
        want_eq(*b, 7, "the word behind an sc.d to the first of two reservations");
        *(volatile uint32_t *)a = 0x80000001;
        want_eq(LR_W(a), 0xffffffff80000001, "lr.w is sign-extended");
    }
    count(n);
}

/* Without contention, an SC right behind its LR succeeds, sooner or later. */
static void run_must_succeed(Hart *h)
{
    Word *a = &own[h->id].w[0];
    uint64_t n = 0, tries = 0;
    *a = 0;
    for (; more(); n++) {
        uint64_t failed, v;
        unsigned here = 0;
        do {
            __asm__ volatile("lr.d %1, (%2)\n addi %1, %1, 1\n sc.d %0, %1, (%2)"
                             : "=&r"(failed), "=&r"(v) : "r"(a) : "memory");
            want(failed <= 1, "sc.d's result is %lu", failed);
            want(++here < 1000, "sc.d fails again and again with nobody else there");
        } while (failed);
        tries += here;
    }
    want_eq(*a, n, "the word");
    count(n);
    if (tries - n > n / 100 + 10)
        note("%lu of %lu sc.d failed with nobody else there", tries - n, tries);
}

/* ---- when SC must fail: another hart has stored -------------------------------------------- */

static Word turn, answer;

/*
 * Hart 0 reserves, hart 1 stores (a value, its part, by AMO, by SC), hart 0's SC
 * must fail. `back` also stores the old value again, so that only who watches
 * stores knows.
 */
static void other_stores(Hart *h, bool back)
{
    Word *cell = &lines[0].w[0];
    uint64_t step = 0, n = 0;
    if (h->id == 0)
        turn = answer = 0;
    barrier();
    while (more_rounds(h)) {
        step++;
        if (h->id == 0) {
            *cell = 100;
            uint64_t v = LR_D(cell);
            __atomic_store_n(&turn, step, __ATOMIC_SEQ_CST);
            while (__atomic_load_n(&answer, __ATOMIC_SEQ_CST) != step)
                ;
            uint64_t ok = !SC_D(cell, 555);
            want(!ok, "sc.d succeeded though another hart stored %s (way %lu); lr.d saw %lu",
                 back ? "the same value" : "another value", step % 4, v);
            want_eq(*cell, back ? 100 : 101, "the word");
            n++;
        } else if (h->id == 1) {
            while (__atomic_load_n(&turn, __ATOMIC_SEQ_CST) != step)
                ;
            switch (step % 4) {
            case 0: *cell = 101; break;
            case 1: *(volatile uint8_t *)cell = 101; break;
            case 2: __asm__ volatile("amoadd.w zero, %0, (%1)" :: "r"(1ul), "r"(cell) : "memory"); break;
            case 3: add_d(cell, 1); break;
            }
            if (back)
                *cell = 100;
            __atomic_store_n(&answer, step, __ATOMIC_SEQ_CST);
        }
    }
    count(n);
}

static void run_other_value(Hart *h) { other_stores(h, false); }
static void run_same_value(Hart *h) { other_stores(h, true); }

const Case cases[] = {
    { "add", run_add },
    { "halves", run_halves },
    { "lock", run_lock },
    { "stack", run_stack },
    { "must-fail", run_must_fail },
    { "must-succeed", run_must_succeed },
    { "other-value", run_other_value, .min_harts = 2 },
    { "same-value", run_same_value, .min_harts = 2, .strict = true },
    { 0 }
};
