/* SPDX-License-Identifier: MIT */
/*
 * Code that is written while it runs (unprivileged manual, chapter "Zifencei"):
 * after fence.i on a hart, that hart fetches what was stored before. Without it
 * the old instruction may still run, but only the old one or the new one.
 */
#include "tests/stress/paging.h"

const char subject[] = "smc";

typedef uint64_t (*Function)(uint64_t a0, uint64_t a1, uint64_t a2);

enum {
    INSN_RET = 0x00008067, INSN_NOP = 0x00000013, INSN_FENCE_I = 0x0000100f,
    HALF_RET = 0x8082, HALF_NOP = 0x0001
};

static uint32_t li(unsigned rd, uint64_t v) { return 0x13 | rd << 7 | (uint32_t)(v & 0x7ff) << 20; }
static uint32_t addi(unsigned rd, unsigned rs, uint64_t v) { return 0x13 | rd << 7 | rs << 15 | (uint32_t)(v & 0x7ff) << 20; }
static uint32_t xori(unsigned rd, unsigned rs, uint64_t v) { return addi(rd, rs, v) | 4 << 12; }
static uint16_t half_li(uint64_t v) { return 0x4501 | (uint16_t)(v & 31) << 2; }       /* c.li a0, v (not negative) */
static uint32_t jump(uint64_t from, uint64_t to)
{
    uint32_t d = (uint32_t)(to - from);
    return 0x6f | (d & 0xff000) | (d >> 11 & 1) << 20 | (d >> 1 & 0x3ff) << 21 | (d >> 20 & 1) << 31;
}

static void put32(uint64_t at, uint32_t insn) { *(volatile uint32_t *)at = insn; }
static void put16(uint64_t at, uint16_t half) { *(volatile uint16_t *)at = half; }
static uint64_t call(uint64_t at) { return ((Function)at)(0x7777, 0, 0); }

/* A page for each hart's own code, and some that all share. */
static uint64_t own_page(const Hart *h, unsigned n) { return frame(h->id * 16 + n); }
static uint64_t shared_page(unsigned n) { return frame(256 + n); }

/* ---- a hart patches its own functions --------------------------------------------- */

/* "li a0, v; ret" by stores of all kinds. */
static void write_function(Hart *h, uint64_t at, uint64_t v)
{
    uint32_t insn = li(10, v);
    uint64_t both = (uint64_t)INSN_RET << 32 | insn, failed;
    switch (rnd_below(h, 7)) {
    case 0: put32(at, insn); break;
    case 1: *(Word *)at = both; break;
    case 2: put16(at, (uint16_t)insn); put16(at + 2, insn >> 16); break;
    case 3:
        for (int i = 0; i < 4; i++)
            *(volatile uint8_t *)(at + i) = (uint8_t)(insn >> 8 * i);
        break;
    case 4: __asm__ volatile("amoswap.w zero, %0, (%1)" :: "r"(insn), "r"(at) : "memory"); break;
    case 5:
        do {
            __asm__ volatile("lr.d %0, (%2)\n sc.d %0, %1, (%2)" : "=&r"(failed) : "r"(both), "r"(at) : "memory");
        } while (failed);
        break;
    case 6:                                     /* crosses a doubleword's end */
        put32(at + 8, INSN_NOP);
        put32(at, insn);
        store(8, at + 2, *(const volatile uint16_t *)(at + 2) | (uint64_t)INSN_RET << 16 | (uint64_t)INSN_NOP << 48);
        break;
    }
}

static void run_patch(Hart *h)
{
    enum { SLOTS = 128 };
    static uint64_t values[BARE_HARTS][SLOTS];
    uint64_t *value = values[h->id], base = own_page(h, 0), n = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        put32(base + i * 16, li(10, 0));
        put32(base + i * 16 + 4, INSN_RET);
        value[i] = 0;
    }
    fence_i();
    for (; more(); n++) {
        unsigned s = rnd_below(h, SLOTS), t = rnd_below(h, SLOTS);
        value[s] = rnd(h) & 0x7ff;
        write_function(h, base + s * 16, value[s]);
        fence_i();
        uint64_t v = call(base + s * 16);
        want(v == value[s], "the function just written returned %lx, not %lx", v, value[s]);
        v = call(base + t * 16);
        want(v == value[t], "another function returned %lx, not %lx", v, value[t]);
    }
    count(n);
}

/* All harts' functions stand in the same lines; everybody patches its own. */
static void run_neighbours(Hart *h)
{
    uint64_t page = shared_page(0), n = 0;
    for (unsigned i = 0; i < 32; i++) {
        put32(page + i * 64 + h->id * 8, li(10, 0));
        put32(page + i * 64 + h->id * 8 + 4, INSN_RET);
    }
    barrier();
    fence_i();
    for (; more(); n++) {
        uint64_t line = page + rnd_below(h, 32) * 64, v = rnd(h) & 0x7ff;
        put32(line + h->id * 8, li(10, v));
        fence_i();
        want_eq(call(line + h->id * 8), v, "the function just written");
        unsigned other = rnd_below(h, harts);
        v = call(line + other * 8);
        want(v < 0x800, "hart %u's function returned %lx", other, v);
    }
    count(n);
}

/* ---- a hart patches what others run -------------------------------------------------- */

static Word begun, acked, stop;

/* Turn numbers have 11 bits in the code: is v between `least` and `most`? */
static void want_turn(uint64_t v, uint64_t least, uint64_t most, const char *what)
{
    want(((v - least) & 0x7ff) <= most - least, "%s: turn %lx ran, but all had answered for %lx, and %lx is the newest",
         what, v, least & 0x7ff, most & 0x7ff);
}

static void start_cross(Hart *h, void (*make)(void))
{
    if (h->id == 0) {
        begun = acked = stop = 0;
        make();
        fence();
    }
    barrier();
    fence_i();
    remote_begin();
    barrier();
}

static void end_cross(Hart *h)
{
    barrier();
    remote_end();
}

static void make_one(void)
{
    put32(shared_page(0) + 64, li(10, 0));
    put32(shared_page(0) + 68, INSN_RET);
}

/* The others: calls entry(n) and compares. */
static void cross_run(Hart *h, uint64_t entry, const char *what)
{
    uint64_t n = 0;
    for (; !stop; n++) {
        uint64_t least = acked;
        fence();
        uint64_t v = call(entry);
        fence();
        want_turn(v, least, begun, what);
    }
    count(n);
}

static void run_cross(Hart *h)
{
    start_cross(h, make_one);
    if (h->id)
        cross_run(h, shared_page(0) + 64, "cross");
    for (uint64_t turn = 1; h->id == 0 && (more() || !(stop = 1)); turn++) {
        begun = turn;
        fence();
        put32(shared_page(0) + 64, li(10, turn));
        remote_fence_i();
        acked = turn;
        rnd_delay(h);
    }
    end_cross(h);
}

/*
 * Functions that reach each other by jumps over pages: A jumps to one of four
 * places, which say their turn. Hart 0 rewrites a place that is not in use, then
 * turns the jump there.
 */
static uint64_t place(uint64_t turn) { return shared_page(2 + turn % 4) + (turn % 4) * 256; }
static void make_chain(void)
{
    uint64_t a = shared_page(1);
    put32(place(0), li(10, 0));
    put32(place(0) + 4, INSN_RET);
    put32(a, INSN_NOP);
    put32(a + 4, jump(a + 4, place(0)));
}
static void run_chain(Hart *h)
{
    start_cross(h, make_chain);
    if (h->id)
        cross_run(h, shared_page(1), "chain");
    for (uint64_t turn = 1; h->id == 0 && (more() || !(stop = 1)); turn++) {
        uint64_t a = shared_page(1) + 4;
        begun = turn;
        fence();
        put32(place(turn), li(10, turn));
        put32(place(turn) + 4, INSN_RET);
        remote_fence_i();                       /* the place is new before anybody can come there */
        put32(a, jump(a, place(turn)));
        remote_fence_i();
        acked = turn;
    }
    end_cross(h);
}

/* A loop that does not leave by itself: the patch turns its branch into one that goes on. */
static void make_loop(void)
{
    uint64_t at = shared_page(6);
    put32(at, addi(10, 10, 1));
    put32(at + 4, jump(at + 4, at));
    put32(at + 8, INSN_RET);
}
static void run_endless(Hart *h)
{
    uint64_t at = shared_page(6), n = 0;
    while (more_rounds(h)) {
        start_cross(h, make_loop);
        if (h->id == 0) {
            for (int i = 0; i < 20; i++)
                rnd_delay(h);
            put32(at + 4, INSN_NOP);
            remote_fence_i();
            stop = 1;
        }
        call(at);                               /* a hart that does not see the patch stays in here */
        while (!stop)                           /* it may have seen it early: no interrupts in barriers */
            pause();
        end_cross(h);
        n++;
    }
    count(n);
}

/* ---- patches within the block that is running ------------------------------------------- */

/*
 *   0: sw a1, off(a2)        a2 is the block's address
 *      fence.i, or a nop: then the old one may run, too
 *      nops up to off
 * off: li a0, ?
 *      ret
 * The distance varies, and the block may lie across two pages.
 */
static uint32_t sw_a1_a2(unsigned off) { return 0x00b62023 | (off & 31) << 7 | (off >> 5) << 25; }

static void ahead_once(Hart *h, uint64_t at, unsigned off, bool fenced, uint64_t *last)
{
    uint64_t v = rnd(h) & 0x7ff;
    uint64_t got = ((Function)at)(0, li(10, v), at);
    want(got == v || (!fenced && got == *last), "block at %lx, %u bytes ahead, %s: %lx ran, not %lx; before: %lx",
         at, off, fenced ? "fence.i" : "no fence", got, v, *last);
    if (!fenced)
        fence_i();
    *last = v;
}

static void run_ahead(Hart *h)
{
    uint64_t n = 0;
    for (; more(); n++) {
        unsigned off = 8 + 4 * rnd_below(h, 40);
        bool fenced = rnd(h) & 3;
        uint64_t at = own_page(h, 1) + 4096 - 4 * rnd_below(h, 48), last = 0x7ff;
        put32(at, sw_a1_a2(off));
        put32(at + 4, fenced ? INSN_FENCE_I : INSN_NOP);
        for (unsigned o = 8; o < off; o += 4)
            put32(at + o, INSN_NOP);
        put32(at + off, li(10, last));
        put32(at + off + 4, INSN_RET);
        fence_i();
        for (int i = 0; i < 8; i++)
            ahead_once(h, at, off, fenced, &last);
    }
    count(n);
}

/*
 * A loop that patches an instruction before the store, so that the next time
 * round runs it: each turn adds what the last one wrote.
 *
 *   0: addi a0, a0, ?     patched
 *   4: sw   a1, 0(a2)
 *   8: fence.i
 *  12: add  a1, a1, a4    the next immediate
 *  16: addi a3, a3, -1
 *  20: bnez a3, 0
 *  24: ret
 */
static void run_behind(Hart *h)
{
    static const uint32_t code[] = { 0, 0x00b62023, INSN_FENCE_I, 0x00e585b3, 0xfff68693, 0xfe0696e3, INSN_RET };
    uint64_t n = 0;
    for (; more(); n++) {
        uint64_t at = own_page(h, 2) + 4 * rnd_below(h, 900), turns = 1 + rnd_below(h, 60), first = rnd_below(h, 100);
        put32(at, addi(10, 10, first));
        for (unsigned i = 1; i < sizeof code / 4; i++)
            put32(at + 4 * i, code[i]);
        fence_i();
        register uint64_t a0 __asm__("a0") = 0;
        register uint64_t a1 __asm__("a1") = addi(10, 10, first + 1);
        register uint64_t a2 __asm__("a2") = at;
        register uint64_t a3 __asm__("a3") = turns;
        register uint64_t a4 __asm__("a4") = 1u << 20;
        __asm__ volatile("jalr ra, (%2)" : "+r"(a0), "+r"(a1), "+r"(a2), "+r"(a3) : "r"(a4) : "ra", "memory");
        uint64_t sum = turns * first + turns * (turns - 1) / 2;
        want(a0 == sum, "%lu turns from %lu on: sum %lu, not %lu", turns, first, a0, sum);
    }
    count(n);
}

/* ---- code and data on one page ------------------------------------------------------------ */

/*
 * Each function is followed by the counter that it adds to, in the same 32 bytes:
 *   0: auipc a0, 0
 *   4: ld a1, 24(a0)   8: addi a1, a1, 1   12: sd a1, 24(a0)   16: mv a0, a1   20: ret   24: counter
 */
static void run_data(Hart *h)
{
    static const uint32_t code[] = { 0x00000517, 0x01853583, 0x00158593, 0x00b53c23, 0x00058513, INSN_RET };
    enum { FUNCTIONS = 16 };
    uint64_t counts[FUNCTIONS] = { 0 }, n = 0, page = shared_page(8);
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        uint64_t at = page + (i * harts + h->id) * 32;
        for (unsigned k = 0; k < 6; k++)
            put32(at + 4 * k, code[k]);
        *(Word *)(at + 24) = 0;
    }
    barrier();
    fence_i();
    for (; more(); n++) {
        unsigned i = rnd_below(h, FUNCTIONS);
        uint64_t v = call(page + (i * harts + h->id) * 32);
        want(v == ++counts[i], "function %u counted %lu, not %lu", i, v, counts[i]);
    }
    count(n);
}

/* ---- two addresses of one page --------------------------------------------------------------- */

#define ALIAS_A VA_TEST
#define ALIAS_B (VA_BIG + 9 * 4096)

static void run_alias(Hart *h)
{
    uint64_t pa = own_page(h, 3), n = 0, value[32] = { 0 };
    const uint64_t view[3] = { pa, ALIAS_A, ALIAS_B };
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *root = pt_root(0);
    pt_map(root, ALIAS_A, pa, PTE_CODE);
    pt_map(root, ALIAS_B, pa, PTE_CODE);
    for (unsigned i = 0; i < 32; i++) {
        put32(pa + i * 32, li(10, 0));
        put32(pa + i * 32 + 4, INSN_RET);
    }
    fence_i();
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    for (; more(); n++) {
        unsigned i = rnd_below(h, 32), w = rnd_below(h, 3);
        if (rnd(h) & 1) {
            value[i] = rnd(h) & 0x7ff;
            put32(view[w] + i * 32, li(10, value[i]));
            fence_i();
        }
        unsigned r = rnd_below(h, 3);
        uint64_t v = call(view[r] + i * 32);
        want(v == value[i], "written at %lx, called at %lx: %lx, not %lx", view[w] + i * 32, view[r] + i * 32, v, value[i]);
    }
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

/* ---- an instruction across two pages ------------------------------------------------------------ */

/* Its second half is patched, or its second page is another one. */
static void run_across(Hart *h)
{
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *root = pt_root(0);
    uint64_t pa = own_page(h, 4), second[4], n = 0, value[4], now = 0;
    pt_map(root, VA_TEST, pa, PTE_CODE);
    put16(pa + 4092, HALF_NOP);
    put16(pa + 4094, (uint16_t)li(10, 0));
    for (unsigned i = 0; i < 4; i++) {
        second[i] = own_page(h, 5 + i);
        value[i] = 100 + i;
        put16(second[i], li(10, value[i]) >> 16);
        put16(second[i] + 2, HALF_RET);
    }
    pt_map(root, VA_TEST + 4096, second[0], PTE_CODE);
    fence_i();
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    for (; more(); n++) {
        if (rnd(h) & 1) {
            value[now] = rnd(h) & 0x7ff;
            put16(rnd(h) & 1 ? second[now] : VA_TEST + 4096, li(10, value[now]) >> 16);
            fence_i();
        } else {
            now = rnd_below(h, 4);
            pt_map(root, VA_TEST + 4096, second[now], PTE_CODE);
            sfence(VA_TEST + 4096);
        }
        uint64_t v = call(VA_TEST + 4092);
        want(v == value[now], "an instruction at a page's end: %lx, not %lx", v, value[now]);
    }
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

/* ---- halves: two short instructions in the place of a long one --------------------------------- */

static void run_halves(Hart *h)
{
    uint64_t at = own_page(h, 9) + 2, n = 0;
    for (; more(); n++) {
        uint64_t v = rnd_below(h, 32) & 15;
        at = own_page(h, 9) + 2 * rnd_below(h, 2000);
        if (rnd(h) & 1) {
            put16(at, (uint16_t)li(10, v));
            put16(at + 2, li(10, v) >> 16);
            put16(at + 4, HALF_RET);
        } else {
            put16(at, half_li(v));
            if (rnd(h) & 1) {
                put16(at + 2, HALF_NOP);
                put16(at + 4, HALF_RET);
            } else {
                put16(at + 2, HALF_RET);
            }
        }
        fence_i();
        want_eq(call(at), v, "a function of halves");
    }
    count(n);
}

/* ---- much code, written once more and more -------------------------------------------------------- */

/* Functions of many lengths all over 3 MiB; what they return is known from how they are made. */
static void run_churn(Hart *h)
{
    uint64_t base = big_frame(0) + h->id * (MIB2 + MIB2 / 2), n = 0;
    for (; more(); n++) {
        uint64_t at = base + 4 * rnd_below(h, MIB2 / 4), v = 0x7777;
        unsigned length = 1 + rnd_below(h, 120);
        for (unsigned i = 0; i < length; i++) {
            uint64_t imm = rnd(h) & 0x7ff;
            bool add = rnd(h) & 1;
            put32(at + 4 * i, add ? addi(10, 10, imm) : xori(10, 10, imm));
            v = add ? v + imm : v ^ imm;
        }
        put32(at + 4 * length, INSN_RET);
        fence_i();
        for (int i = 0; i < 3; i++)
            want_eq(call(at), v, "a new function");
    }
    count(n);
}

/*
 * QEMU 7.2 translates a page's old bytes while another hart's store to it is on
 * its way, and keeps that: "the instructions' stores before the fence.i are
 * visible to all instruction fetches after it" (Zifencei) is lost then.
 */
static const char *qemu_loses(void)
{
    return on_qemu() && harts > 1 ? "QEMU 7.2 loses stores to code that runs elsewhere" : NULL;
}

const Case cases[] = {
    { "patch", run_patch },
    { "neighbours", run_neighbours, qemu_loses },
    { "cross", run_cross, qemu_loses },
    { "chain", run_chain, qemu_loses },
    { "endless", run_endless, qemu_loses },
    { "ahead", run_ahead },
    { "behind", run_behind },
    { "data", run_data },
    { "alias", run_alias },
    { "across", run_across },
    { "halves", run_halves },
    { "churn", run_churn },
    { 0 }
};
