/* SPDX-License-Identifier: MIT */
/*
 * Traps (privileged manual, chapters "Machine-level ISA" and "Supervisor-level
 * ISA"): faults are precise, also in the second half of an access; interrupts
 * are counted; nobody sleeps through a wake-up; protected parts of a page stay so.
 */
#include "tests/stress/paging.h"

const char subject[] = "traps";

/* ---- accesses at a page's end ----------------------------------------------------- */

#define HOLE (VA_TEST + 16 * 4096)      /* not mapped; both neighbours are */
#define LOW_PAGE (HOLE - 4096)
#define HIGH_PAGE (HOLE + 4096)

static uint64_t byte_at(uint64_t va) { return (va * 37 + 11) & 255; }
static uint64_t bytes_at(uint64_t va, unsigned size)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < size; i++)
        v |= byte_at(va + i) << 8 * i;
    return size == 8 ? v : (uint64_t)((int64_t)(v << (64 - 8 * size)) >> (64 - 8 * size));
}

static void fill_neighbours(uint64_t low, uint64_t high)
{
    for (unsigned i = 0; i < 4096; i++) {
        *(volatile uint8_t *)(low + i) = (uint8_t)byte_at(LOW_PAGE + i);
        *(volatile uint8_t *)(high + i) = (uint8_t)byte_at(HIGH_PAGE + i);
    }
}

/* The first address of the access that lies in the hole; 0: none. */
static uint64_t hole_of(uint64_t va, unsigned size)
{
    if (va < HOLE)
        return va + size > HOLE ? HOLE : 0;
    return va < HIGH_PAGE ? va : 0;
}

static void edge_access(Hart *h, uint64_t va, unsigned size)
{
    uint64_t hole = hole_of(va, size), v = 0x1234567890abcdef;
    if (try_load(h, size, va, &v) != (hole != 0))
        fail("load of %u bytes at %lx: %s", size, va, hole ? "no fault" : "a fault");
    if (hole)
        want_trap(h, CAUSE_LOAD_PAGE, hole, "load at a page's end");
    else
        want(v == bytes_at(va, size), "load of %u bytes at %lx: %lx, not %lx", size, va, v, bytes_at(va, size));
    if (try_store(h, size, va, bytes_at(va, size)) != (hole != 0))
        fail("store of %u bytes at %lx: %s", size, va, hole ? "no fault" : "a fault");
    if (hole)
        want_trap(h, CAUSE_STORE_PAGE, hole, "store at a page's end");
}

static void run_edges(Hart *h)
{
    static const unsigned sizes[] = { 1, 2, 4, 8 };
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *root = pt_root(0);
    uint64_t low = frame(h->id * 2), high = frame(h->id * 2 + 1), n = 0;
    fill_neighbours(low, high);
    pt_map(root, LOW_PAGE, low, PTE_DATA);
    pt_map(root, HIGH_PAGE, high, PTE_DATA);
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    for (; more(); n++) {
        unsigned size = sizes[rnd_below(h, 4)];
        uint64_t edge = rnd(h) & 1 ? HOLE : HIGH_PAGE;
        edge_access(h, edge - 12 + rnd_below(h, 20), size);
    }
    /* What was stored is what was there: nothing may have changed. */
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    for (unsigned i = 0; i < 4096; i++)
        want(*(volatile uint8_t *)(low + i) == byte_at(LOW_PAGE + i) &&
             *(volatile uint8_t *)(high + i) == byte_at(HIGH_PAGE + i), "byte %u beside the hole has changed", i);
    count(n);
}

/* Misaligned accesses across two pages whose frames are not neighbours. */
static void run_crossing(Hart *h)
{
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *root = pt_root(0);
    uint64_t first = frame(h->id * 4), second = frame(h->id * 4 + 2), n = 0;
    pt_map(root, VA_TEST, first, PTE_DATA);
    pt_map(root, VA_TEST + 4096, second, PTE_DATA);
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    for (; more(); n++) {
        unsigned size = 2u << rnd_below(h, 3), off = 1 + rnd_below(h, size - 1);
        uint64_t v = rnd(h), va = VA_TEST + 4096 - off, r = 0;
        store(size, va, v);
        for (unsigned i = 0; i < size; i++) {
            uint64_t pa = i < off ? first + 4096 - off + i : second + i - off;
            want(*(volatile uint8_t *)pa == (v >> 8 * i & 255), "byte %u of %u across pages at %lx", i, size, va);
        }
        want(!try_load(h, size, va, &r), "a load across pages faulted");
        uint64_t mask = size == 8 ? -1ul : (1ul << 8 * size) - 1;
        want((r & mask) == (v & mask), "a load of %u bytes across pages: %lx, not %lx", size, r, v);
    }
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

/* Fetches: an instruction's second half is not there, or the next instruction is not. */
static void run_fetch(Hart *h)
{
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *root = pt_root(0);
    uint64_t pa = frame(h->id), n = 0;
    *(volatile uint32_t *)(pa + 0x800) = 0x00450513;            /* addi a0, a0, 4; ret */
    *(volatile uint32_t *)(pa + 0x804) = 0x00008067;
    *(volatile uint16_t *)(pa + 4094) = 0x0513;                 /* first half of addi a0, a0, 4 */
    *(volatile uint16_t *)(pa + 4092) = 0x0505;                 /* c.addi a0, 1 */
    *(volatile uint16_t *)(pa + 4090) = 0x0505;
    fence_i();
    pt_map(root, HOLE - 4096, pa, PTE_CODE);
    pt_map(root, HIGH_PAGE, pa, PTE_DATA);                      /* readable, not executable */
    pt_map(root, HIGH_PAGE + 4096, pa, PTE_V | PTE_X | PTE_AD); /* the other way round */
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    for (; more(); n++) {
        uint64_t v = 10;
        want(!try_call(h, LOW_PAGE + 0x800, &v) && v == 14, "a function: %lu", v);
        v = 10;
        try_call(h, LOW_PAGE + 4090, &v);
        want(v == 12, "two instructions before the fault: a0 is %lu, not 12", v);
        want_trap(h, CAUSE_INSN_PAGE, HOLE, "an instruction's second half");
        want_eq(h->pc, HOLE - 2, "mepc of an instruction whose second half is not there");
        v = 10;
        try_call(h, HOLE, &v);
        want_trap(h, CAUSE_INSN_PAGE, HOLE, "a call to where nothing is");
        want_eq(h->pc, HOLE, "mepc of a call to where nothing is");
        try_call(h, HIGH_PAGE + 0x800, &v);
        want_trap(h, CAUSE_INSN_PAGE, HIGH_PAGE + 0x800, "a call to a page without X");
        v = 20;
        want(!try_call(h, HIGH_PAGE + 4096 + 0x800, &v) && v == 24, "a call to a page with X alone: %lu", v);
        want(try_load(h, 8, HIGH_PAGE + 4096, &v), "a load from a page with X alone");
        want_trap(h, CAUSE_LOAD_PAGE, HIGH_PAGE + 4096, "a load from a page with X alone");
        /* The bytes that are there: what lies before the hole may be written. */
        want(try_store(h, 8, LOW_PAGE + 4092, 0x05130505) == 1, "a store into the hole");
        want_trap(h, CAUSE_STORE_PAGE, HOLE, "a store into the hole");
    }
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

/* ---- timer interrupts ------------------------------------------------------------------ */

static Word ticks[BARE_HARTS][8];
static uint64_t tick_step[BARE_HARTS];

/* Each interrupt sets the next one; none may come before its time, or twice. */
static void take_tick(Frame *f, unsigned irq)
{
    unsigned id = me()->id;
    uint64_t now = *clint_mtime;
    want(irq == IRQ_MTI, "interrupt %u instead of the timer's", irq);
    want(now >= clint_mtimecmp[id], "a timer interrupt at %lu, before %lu", now, clint_mtimecmp[id]);
    ticks[id][0]++;
    clint_mtimecmp[id] = now + tick_step[id];
}

static void timer_on(Hart *h, void (*handler)(Frame *, unsigned), uint64_t step)
{
    ticks[h->id][0] = 0;
    tick_step[h->id] = step;
    h->on_irq = handler;
    clint_mtimecmp[h->id] = bare_time() + step;
    csr_set(mie, 1 << IRQ_MTI);
}

static void timer_off(Hart *h)
{
    clint_mtimecmp[h->id] = -1ul;
    irqs_off();
    csr_clear(mie, 1 << IRQ_MTI);
    h->on_irq = NULL;
}

/* Registers that must survive any number of interrupts. */
static void compute(Hart *h, uint64_t rounds)
{
    uint64_t a = 1, b = h->id, c = 7, d = 3, n = rounds;
    __asm__ volatile("1: add %0, %0, %1\n xor %2, %2, %0\n slli %3, %2, 1\n add %1, %1, %3\n"
                     " addi %4, %4, -1\n bnez %4, 1b"
                     : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "+r"(n));
    uint64_t a2 = 1, b2 = h->id, c2 = 7, d2;
    for (; rounds; rounds--) {
        a2 += b2;
        c2 ^= a2;
        d2 = c2 << 1;
        b2 += d2;
    }
    want(a == a2 && b == b2 && c == c2, "registers changed under interrupts: %lx %lx %lx, not %lx %lx %lx",
         a, b, c, a2, b2, c2);
}

static void run_timer(Hart *h)
{
    uint64_t goal = order("ticks", 0);                          /* the order counts instead of the time */
    timer_on(h, take_tick, 20);                                 /* 2 us */
    irqs_on();
    while (goal ? ticks[h->id][0] < goal : more() || !ticks[h->id][0])
        compute(h, 100);
    /* On a busy host the time may have passed before this hart was scheduled for long enough. */
    for (int i = 0; i < 1000000 && !ticks[h->id][0]; i++)
        compute(h, 100);
    uint64_t n = ticks[h->id][0];
    timer_off(h);
    for (int i = 0; i < 100; i++)
        rnd_delay(h);
    want_eq(ticks[h->id][0], n, "interrupts after the timer was turned off");
    count(n);
}

/* The same with sleep in between: each sleep ends by an interrupt, each interrupt was asked for. */
static void take_one(Frame *f, unsigned irq)
{
    unsigned id = me()->id;
    want(irq == IRQ_MTI, "interrupt %u instead of the timer's", irq);
    ticks[id][0]++;
    clint_mtimecmp[id] = -1ul;
}
static void run_timer_wfi(Hart *h)
{
    uint64_t n = 0;
    timer_on(h, take_one, 1000000000);
    irqs_on();
    while (more()) {
        clint_mtimecmp[h->id] = bare_time() + rnd_below(h, 300);
        n++;
        /* Looking and sleeping are one step: interrupts are off, a pending one ends wfi all the same. */
        csr_clear(mstatus, MSTATUS_MIE);
        while (ticks[h->id][0] != n) {
            __asm__ volatile("wfi" ::: "memory");
            csr_set(mstatus, MSTATUS_MIE);
            csr_clear(mstatus, MSTATUS_MIE);
        }
        csr_set(mstatus, MSTATUS_MIE);
        compute(h, 10);
        want_eq(ticks[h->id][0], n, "timer interrupts");
    }
    timer_off(h);
    count(n);
}

/* ---- software interrupts ------------------------------------------------------------------ */

static Word ipis[BARE_HARTS][8];
static void take_ipi_count(Frame *f, unsigned irq)
{
    want(irq == IRQ_MSI, "interrupt %u instead of the software one", irq);
    clint_msip[me()->id] = 0;
    ipis[me()->id][0]++;
}

/* To itself: taken before the hart can do much else. */
static void run_self_ipi(Hart *h)
{
    uint64_t n = 0;
    ipis[h->id][0] = 0;
    h->on_irq = take_ipi_count;
    csr_set(mie, 1 << IRQ_MSI);
    irqs_on();
    for (; more(); n++) {
        clint_msip[h->id] = 1;
        for (uint64_t t = bare_time(); ipis[h->id][0] == n && bare_time() - t < BARE_TIME_HZ;)
            ;
        want_eq(ipis[h->id][0], n + 1, "software interrupts to itself");
    }
    irqs_off();
    csr_clear(mie, 1 << IRQ_MSI);
    h->on_irq = NULL;
    count(n);
}

/*
 * A token goes round: each hart sleeps by wfi until it comes. Interrupts are not
 * taken here, they only end the wfi. A lost wake-up is a hang, which the runner
 * notices.
 */
static Word token, ring_stop;
static void ring_wake(unsigned next)
{
    fence();
    for (unsigned i = 0; ring_stop && i < harts; i++)
        clint_msip[i] = 1;
    clint_msip[next] = 1;
}

static void run_ring(Hart *h)
{
    uint64_t n = 0, next = (h->id + 1) % harts;
    if (h->id == 0)
        token = ring_stop = 0;
    barrier();
    csr_set(mie, 1 << IRQ_MSI);
    for (; !ring_stop; n++) {
        while (token != h->id && !ring_stop) {
            __asm__ volatile("wfi" ::: "memory");
            clint_msip[h->id] = 0;
            fence();
        }
        if (h->id == 0 && !more())
            ring_stop = 1;
        if (h->id & 1)
            rnd_delay(h);
        if (token == h->id)
            token = next;
        ring_wake(next);
    }
    barrier();                          /* the last interrupts have been sent */
    clint_msip[h->id] = 0;
    csr_clear(mie, 1 << IRQ_MSI);
    count(n);
}

/* Interrupts are taken: the test and the sleep must be one step, so interrupts are off around them. */
static void run_ring_taken(Hart *h)
{
    uint64_t n = 0, next = (h->id + 1) % harts, seen = 0;
    if (h->id == 0)
        ring_stop = 0;
    ipis[h->id][0] = h->id == 0;
    barrier();
    h->on_irq = take_ipi_count;
    csr_set(mie, 1 << IRQ_MSI);
    while (!ring_stop) {
        csr_clear(mstatus, MSTATUS_MIE);
        if (ipis[h->id][0] == seen) {
            __asm__ volatile("wfi" ::: "memory");
            csr_set(mstatus, MSTATUS_MIE);      /* taken here, if it is there */
            continue;
        }
        csr_set(mstatus, MSTATUS_MIE);
        seen++;
        n++;
        if (h->id == 0 && !more())
            ring_stop = 1;
        ring_wake(next);
    }
    csr_clear(mstatus, MSTATUS_MIE);
    barrier();
    clint_msip[h->id] = 0;
    csr_clear(mie, 1 << IRQ_MSI);
    h->on_irq = NULL;
    count(n);
}

/* ---- many small traps ------------------------------------------------------------------------- */

/* traps.S: runs the user program below from S mode for n calls, and gives the sum they made. */
void storm_run(uint64_t n, uint64_t *sum);
extern char storm_s[], storm_user[], storm_user_end[];

static uint64_t storm_m_calls[BARE_HARTS];
static bool take_storm(Frame *f)
{
    unsigned id = me()->id;
    if (f->cause != CAUSE_ECALL_S || f->x[17] != 0x5707)
        return false;
    want((f->status & MSTATUS_MPP) == 1ul << 11, "ecall from S mode: mstatus %lx, MPP is not S", f->status);
    storm_m_calls[id]++;
    f->x[10] += 3;
    f->pc += 4;
    return true;
}

/*
 * U: a0 counts up by ecall; S's handler adds 1 and, every 4th time, asks M, who
 * adds 3. The user program is on a page of its own, with the U bit.
 */
typedef struct Storm { uint64_t calls, sp, bad; } Storm;         /* as in traps.S; in sscratch */
static Storm storm_data[BARE_HARTS];

static void run_storm(Hart *h)
{
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *root = pt_root(0);
    uint64_t pa = frame(h->id), n = 0;
    for (uint64_t i = 0; i < (uint64_t)(storm_user_end - storm_user); i += 2)
        *(volatile uint16_t *)(pa + i) = *(volatile uint16_t *)(storm_user + i);
    fence_i();
    pt_map(root, VA_TEST, pa, (PTE_CODE & ~PTE_W) | PTE_U);
    Storm *s = &storm_data[h->id];
    h->on_exception = take_storm;
    csr_write(medeleg, 1 << CAUSE_ECALL_U);
    use_satp(satp_of(root, 0));
    sfence_all();
    while (more()) {
        enum { CALLS = 400 };
        uint64_t m_before = storm_m_calls[h->id], v = 0;
        s->calls = s->bad = 0;
        set_mode(MODE_S);
        csr_write(stvec, storm_s);
        csr_write(sscratch, s);
        storm_run(CALLS, &v);
        set_mode(MODE_M);
        want_eq(s->bad, 0, "calls with SPP, SPIE or scause wrong");
        want_eq(s->calls, CALLS + 1, "ecalls from U mode that S mode saw");
        want_eq(storm_m_calls[h->id] - m_before, CALLS / 4, "ecalls from S mode that M mode saw");
        want_eq(v, CALLS + CALLS / 4 * 3, "what the calls added up to");
        n += CALLS;
    }
    csr_write(medeleg, 0);
    use_satp(0);
    sfence_all();
    h->on_exception = NULL;
    count(n);
}

/* Exceptions of all kinds, one after the other, each with its cause, tval and pc. */
static void run_kinds(Hart *h)
{
    uint64_t n = 0;
    for (; more(); n++) {
        uint64_t at, v = 0;
        h->caught = 0;
        h->catch = true;
        __asm__ volatile("la %0, 1f\n 1: .4byte 0x0000006b\n" : "=&r"(at) :: "memory");
        want(h->caught == 1 && h->cause == CAUSE_ILLEGAL && h->pc == at && (h->tval == 0x6b || h->tval == 0),
             "an illegal instruction at %lx: cause %lu, tval %lx, pc %lx", at, h->cause, h->tval, h->pc);
        __asm__ volatile("la %0, 1f\n 1: csrw cycle, zero\n" : "=&r"(at) :: "memory");
        want(h->caught == 2 && h->cause == CAUSE_ILLEGAL && h->pc == at, "a write to cycle: cause %lu", h->cause);
        __asm__ volatile("la %0, 1f\n .option push\n.option norvc\n 1: ebreak\n .option pop\n" : "=&r"(at) :: "memory");
        want(h->caught == 3 && h->cause == CAUSE_BREAK && h->pc == at && (h->tval == at || h->tval == 0),
             "ebreak at %lx: cause %lu, tval %lx, pc %lx", at, h->cause, h->tval, h->pc);
        h->catch = false;
        /* Far beyond anything on this board. */
        want(try_load(h, 4, 0x7ffff0000000, &v), "a load from nowhere worked");
        want(h->cause == CAUSE_LOAD_ACCESS && h->tval == 0x7ffff0000000, "a load from nowhere: cause %lu", h->cause);
        want(try_store(h, 4, 0x7ffff0000004, 1), "a store to nowhere worked");
        want(h->cause == CAUSE_STORE_ACCESS && h->tval == 0x7ffff0000004, "a store to nowhere: cause %lu", h->cause);
        try_call(h, 0x7ffff0000008, &v);
        want_trap(h, CAUSE_INSN_ACCESS, 0x7ffff0000008, "a call to nowhere");
    }
    count(n);
}

/* wfi with mstatus.TW is illegal below M mode (it may wait a bounded time first). */
static void run_tw(Hart *h)
{
    uint64_t n = 0;
    for (; more(); n++) {
        csr_set(mstatus, MSTATUS_TW);
        set_mode(MODE_S);
        h->caught = 0;
        h->catch = true;
        __asm__ volatile(".option push\n.option norvc\n wfi\n .option pop" ::: "memory");
        h->catch = false;
        want(h->caught == 1 && h->cause == CAUSE_ILLEGAL, "wfi in S mode with TW: %u exceptions, cause %lu", h->caught, h->cause);
        set_mode(MODE_M);
        csr_clear(mstatus, MSTATUS_TW);
    }
    count(n);
}

/* ---- physical memory protection below a page's size ------------------------------------------------ */

enum { PMP_R = 1, PMP_W = 2, PMP_X = 4, PMP_TOR = 8, PMP_NA4 = 16, PMP_NAPOT = 24 };

typedef struct Region { uint64_t from, to; unsigned perm; } Region;

static unsigned region_perm(const Region *r, unsigned n, uint64_t pa, unsigned size, uint64_t *fault)
{
    for (unsigned i = 0; i < n; i++) {
        if (pa + size <= r[i].from || pa >= r[i].to)
            continue;
        /* An access that an entry matches in part fails, whatever its permissions (3.7.1). */
        *fault = pa;
        if (pa < r[i].from || pa + size > r[i].to)
            return 0;
        return r[i].perm;
    }
    return 7;
}

/* Three regions within one page: NA4, NAPOT of 32 bytes, TOR. */
static void pmp_regions(Hart *h, Region *r, uint64_t page)
{
    for (int i = 0; i < 3; i++) {
        static const unsigned perms[] = { 0, PMP_R, PMP_R | PMP_W, PMP_X, PMP_R | PMP_X, 7 };
        r[i].perm = perms[rnd_below(h, 6)];
    }
    r[0].from = page + 256 + 4 * rnd_below(h, 64);
    r[0].to = r[0].from + 4;
    r[1].from = page + 1024 + 32 * rnd_below(h, 8);
    r[1].to = r[1].from + 32;
    r[2].from = page + 2048 + 4 * rnd_below(h, 64);
    r[2].to = r[2].from + 4 * (1 + rnd_below(h, 64));
    csr_write(pmpaddr0, r[0].from >> 2);
    csr_write(pmpaddr1, r[1].from >> 2 | 3);
    csr_write(pmpaddr2, r[2].from >> 2);
    csr_write(pmpaddr3, r[2].to >> 2);
    csr_write(pmpcfg0, (PMP_NA4 | r[0].perm) | (PMP_NAPOT | r[1].perm) << 8 | (uint64_t)(PMP_TOR | r[2].perm) << 24);
    sfence_all();
}

static void pmp_access(Hart *h, const Region *r, uint64_t page)
{
    unsigned size = 1u << rnd_below(h, 4), i = rnd_below(h, 3);
    uint64_t edge = rnd(h) & 1 ? r[i].from : r[i].to, fault = 0;
    uint64_t pa = (edge - 8 + rnd_below(h, 16)) & ~(uint64_t)(size - 1), v = 0;
    if (pa < page || pa + size > page + 4096)
        return;
    unsigned perm = region_perm(r, 3, pa, size, &fault);
    bool faults = try_load(h, size, pa, &v);
    want(faults == !(perm & PMP_R), "load of %u bytes at %lx, %u bytes behind region %u's start: %s, its permissions are %u",
         size, pa, (unsigned)(pa - r[i].from), i, faults ? "a fault" : "no fault", perm);
    if (faults)
        want_trap(h, CAUSE_LOAD_ACCESS, pa, "a load that PMP forbids");
    faults = try_store(h, size, pa, v);
    want(faults == !(perm & PMP_W), "store of %u bytes at %lx: %s, its permissions are %u",
         size, pa, faults ? "a fault" : "no fault", perm);
    if (faults)
        want_trap(h, CAUSE_STORE_ACCESS, pa, "a store that PMP forbids");
}

/* Code in the regions: "ret" everywhere in the page. */
static void pmp_fetch(Hart *h, const Region *r)
{
    unsigned i = rnd_below(h, 3);
    uint64_t pa = (rnd(h) & 1 ? r[i].from : r[i].to) - 4 + 4 * rnd_below(h, 2), v = 1, fault = 0;
    unsigned perm = region_perm(r, 3, pa, 2, &fault);
    bool faults = try_call(h, pa, &v);
    want(faults == !(perm & PMP_X), "a call to %lx in region %u: %s, its permissions are %u",
         pa, i, faults ? "a fault" : "no fault", perm);
    if (faults)
        want_trap(h, CAUSE_INSN_ACCESS, pa, "a call that PMP forbids");
}

static void run_pmp(Hart *h)
{
    uint64_t page = frame(h->id), n = 0;
    Region r[3];
    for (unsigned i = 0; i < 2048; i++)
        ((volatile uint16_t *)page)[i] = 0x8082;                /* c.jr ra */
    fence_i();
    for (; more(); n += 20) {
        pmp_regions(h, r, page);
        set_mode(MODE_S);
        for (int i = 0; i < 16; i++)
            pmp_access(h, r, page);
        for (int i = 0; i < 4; i++)
            pmp_fetch(h, r);
        set_mode(MODE_M);
        /* M mode is not bound by entries that are not locked. */
        want(load(2, r[0].from) == (uint64_t)(int16_t)0x8082, "M mode under PMP reads %lx", load(2, r[0].from));
    }
    csr_write(pmpcfg0, 0);
    sfence_all();
    count(n);
}

/* ---- A and D bits ------------------------------------------------------------------------------------- */

static const char *sets_no_ad(void) { return sets_ad() ? NULL : "A and D are not set by hardware"; }

static Pte *ad_root;
static Word ad_go, ad_done[BARE_HARTS][8], ad_stop;
enum { AD_PAGES = 4 };
#define AD_VA VA_TEST

/* Own word on every page. After hart 0 has cleared the bits and all have fenced, a store sets D again. */
static void ad_worker(Hart *h)
{
    uint64_t step = 0;
    for (;;) {
        while (ad_go == step && !ad_stop)
            pause();
        if (ad_stop)
            break;
        step = ad_go;
        for (unsigned p = 0; p < AD_PAGES; p++) {
            uint64_t va = AD_VA + p * 4096 + h->id * 64;
            if ((p + step) % 3)
                store(8, va, step);
            else
                load(8, va);
        }
        fence();
        ad_done[h->id][0] = step;
    }
    count(step);
}

static void ad_chief(Hart *h)
{
    uint64_t rsw[AD_PAGES] = { 0 };
    for (uint64_t step = 1; more(); step++) {
        for (unsigned p = 0; p < AD_PAGES; p++)
            __atomic_fetch_and((Pte *)pt_entry(ad_root, AD_VA + p * 4096, 0), ~(uint64_t)PTE_AD, __ATOMIC_SEQ_CST);
        remote_sfence_all();
        ad_go = step;
        /* While they run: bits for software, changed by AMO, must survive what hardware does to the entry. */
        for (int i = 0; i < 8; i++) {
            unsigned p = rnd_below(h, AD_PAGES);
            __atomic_fetch_xor((Pte *)pt_entry(ad_root, AD_VA + p * 4096, 0), 0x100, __ATOMIC_SEQ_CST);
            rsw[p] ^= 0x100;
        }
        for (unsigned i = 1; i < harts; i++)
            while (ad_done[i][0] != step)
                pause();
        for (unsigned p = 0; p < AD_PAGES; p++) {
            Pte e = *pt_entry(ad_root, AD_VA + p * 4096, 0);
            uint64_t bits = (p + step) % 3 ? PTE_AD : PTE_A;
            want(e == (pte_of(frame(p), PTE_DATA & ~PTE_AD) | bits | rsw[p]),
                 "page %u's entry is %lx, want A%s and %lx", p, e, bits & PTE_D ? ", D" : "", rsw[p]);
        }
    }
    ad_stop = 1;
}

static void run_ad(Hart *h)
{
    if (h->id == 0) {
        pt_reset();
        ad_go = ad_stop = 0;
        ad_root = pt_root(0);
        for (unsigned p = 0; p < AD_PAGES; p++)
            pt_map(ad_root, AD_VA + p * 4096, frame(p), PTE_DATA);
    }
    barrier();
    remote_begin();
    set_mode(MODE_S);
    use_satp(satp_of(ad_root, 0));
    sfence_all();
    if (h->id)
        ad_worker(h);
    else
        ad_chief(h);
    barrier();
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    remote_end();
}

/* An entry that was made invalid stays what it was made, whoever was about to set D in it. */
static void run_ad_invalid(Hart *h)
{
    if (h->id == 0) {
        pt_reset();
        ad_stop = 0;
        ad_root = pt_root(0);
        pt_map(ad_root, AD_VA, frame(0), PTE_DATA);
    }
    barrier();
    remote_begin();
    set_mode(MODE_S);
    use_satp(satp_of(ad_root, 0));
    sfence_all();
    volatile Pte *e = pt_entry(ad_root, AD_VA, 0);
    uint64_t n = 0;
    if (h->id) {
        for (; !ad_stop; n++)
            try_store(h, 8, AD_VA + h->id * 64, n);
        count(n);
    } else {
        while (more()) {
            *e = pte_of(frame(0), PTE_DATA & ~PTE_AD);
            remote_sfence(AD_VA);
            rnd_delay(h);
            *e = 0x55555500;
            for (int i = 0; i < 20; i++)
                want(*e == 0x55555500, "an invalid entry became %lx", *e);
            remote_sfence(AD_VA);
            want(*e == 0x55555500, "an invalid entry became %lx", *e);
        }
        ad_stop = 1;
    }
    barrier();
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    remote_end();
}

const Case cases[] = {
    { "edges", run_edges },
    { "crossing", run_crossing },
    { "fetch", run_fetch },
    { "timer", run_timer },
    { "timer-wfi", run_timer_wfi },
    { "self-ipi", run_self_ipi },
    { "ring", run_ring },
    { "ring-taken", run_ring_taken },
    { "storm", run_storm },
    { "kinds", run_kinds },
    { "tw", run_tw },
    { "pmp", run_pmp },
    { "ad", run_ad, sets_no_ad, .min_harts = 2 },
    { "ad-invalid", run_ad_invalid, sets_no_ad, .min_harts = 2 },
    { 0 }
};
