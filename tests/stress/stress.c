/* SPDX-License-Identifier: MIT */
/* Start, orders, barrier, traps and interprocessor interrupts of the stress programs. */
#include "tests/stress/stress.h"

#include <stdarg.h>

unsigned harts;
Hart hart_data[BARE_HARTS];

enum { CALL_MODE = 1, CALL_BARRIER, CALL_IRQS };        /* a7 of our own ecalls; a6 is CALL_KEY */
#define CALL_KEY 0x57e55ul

static char orders[256], isa[1024];
static const Case *current;
static Word deadline, counted, case_ms = 300;
static Word line_lock;

/* ---- text ---------------------------------------------------------------- */

static void put_number(uint64_t v, unsigned base)
{
    char s[24];
    char *p = s + sizeof s;
    *--p = 0;
    do {
        *--p = "0123456789abcdef"[v % base];
    } while (v /= base);
    if (base == 16)
        bare_put("0x");
    bare_put(p);
}

static void put_signed(int64_t v)
{
    if (v < 0)
        bare_put("-");
    put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10);
}

static void format_text(const char *f, va_list ap)
{
    for (; *f; f++) {
        char one[2] = { *f, 0 };
        if (*f != '%') {
            bare_put(one);
            continue;
        }
        bool wide = *++f == 'l';
        f += wide;
        switch (*f) {
        case 'd': put_signed(wide ? va_arg(ap, int64_t) : va_arg(ap, int)); break;
        case 'u': put_number(wide ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 10); break;
        case 'x': put_number(wide ? va_arg(ap, uint64_t) : va_arg(ap, unsigned), 16); break;
        case 's': bare_put(va_arg(ap, const char *)); break;
        case 'c': one[0] = (char)va_arg(ap, int); bare_put(one); break;
        default:  bare_put("?"); break;
        }
    }
}

static void line_begin(const char *what)
{
    while (__atomic_exchange_n(&line_lock, 1, __ATOMIC_ACQUIRE))
        pause();
    bare_put(what);
    bare_put(subject);
    if (current) {
        bare_put("/");
        bare_put(current->name);
    }
    bare_put(" ");
}

static void line_end(void)
{
    bare_put("\n");
    __atomic_store_n(&line_lock, 0, __ATOMIC_RELEASE);
}

void say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    line_begin("     ");
    format_text(format, ap);
    line_end();
    va_end(ap);
}

/* The lock is kept, so that this is the last line. */
void fail(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    line_begin("FAIL ");
    bare_put("hart ");
    put_number(me()->id, 10);
    bare_put(": ");
    format_text(format, ap);
    bare_put("\n");
    va_end(ap);
    bare_exit(1);
}

void note(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    line_begin("NOTE ");
    format_text(format, ap);
    line_end();
    va_end(ap);
}

void count(uint64_t n)
{
    __atomic_fetch_add(&counted, n, __ATOMIC_RELAXED);
}

/* ---- orders and the device tree -------------------------------------------- */

static bool starts(const char *s, const char *with)
{
    while (*with)
        if (*s++ != *with++)
            return false;
    return true;
}

static bool same(const char *a, const char *b)
{
    return starts(a, b) && starts(b, a);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void copy_text(char *to, const char *from, size_t room)
{
    for (; room > 1 && *from; room--)
        *to++ = *from++;
    *to = 0;
}

static size_t length(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

/* Devicetree Specification 0.4, chapter 5: counts the cpu@ nodes, takes bootargs and riscv,isa. */
static void read_tree(const uint8_t *fdt)
{
    const uint8_t *p = fdt + be32(fdt + 8);
    const char *strings = (const char *)fdt + be32(fdt + 12);
    for (;;) {
        uint32_t token = be32(p);
        p += 4;
        if (token == 1) {                       /* a node begins */
            harts += starts((const char *)p, "cpu@");
            p += (length((const char *)p) + 4) & ~3ul;
        } else if (token == 3) {                /* property: length, name, value */
            uint32_t len = be32(p);
            const char *name = strings + be32(p + 4);
            if (same(name, "bootargs"))
                copy_text(orders, (const char *)p + 8, sizeof orders);
            else if (same(name, "riscv,isa"))
                copy_text(isa, (const char *)p + 8, sizeof isa);
            p += 8 + ((len + 3) & ~3u);
        } else if (token == 9) {
            break;
        }
    }
    if (harts > BARE_HARTS)
        harts = BARE_HARTS;
}

/* Where "name" or "name=" begins as a word of the orders, behind it. */
static const char *find_order(const char *name)
{
    for (const char *p = orders; *p; p++)
        if ((p == orders || p[-1] == ' ') && starts(p, name))
            return p + length(name);
    return NULL;
}

uint64_t order(const char *name, uint64_t otherwise)
{
    const char *p = find_order(name);
    uint64_t v = 0;
    if (!p || *p++ != '=')
        return otherwise;
    for (; *p >= '0' && *p <= '9'; p++)
        v = v * 10 + (uint64_t)(*p - '0');
    return v;
}

bool on_qemu(void)
{
    return find_order("qemu");
}

/* Single letters stand together behind "rv64", longer names behind '_'. */
bool has_ext(const char *name)
{
    const char *p = isa + 4;
    if (!name[1]) {
        for (; *p && *p != '_'; p++)
            if (*p == name[0])
                return true;
        return false;
    }
    for (; *p; p++) {
        const char *end = p + 1 + length(name);
        if (*p == '_' && starts(p + 1, name) && (*end == 0 || *end == '_'))
            return true;
    }
    return false;
}

/* ---- chance and time --------------------------------------------------------- */

uint64_t rnd(Hart *h)
{
    uint64_t x = h->rng;                /* xorshift64 */
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return h->rng = x;
}

void rnd_delay(Hart *h)
{
    for (uint64_t n = rnd_below(h, 64); n; n--)
        __asm__ volatile("");
}

bool more(void)
{
    return bare_time() < deadline;
}

static Word go_on[2];

/*
 * Hart 0 decides. The next round's answer is another word, since a slow hart may
 * still have to read this one.
 */
bool more_rounds(Hart *h)
{
    unsigned n = h->rounds++ & 1;
    if (h->id == 0)
        go_on[n] = more();
    barrier();
    return go_on[n];
}

/* ---- barrier ------------------------------------------------------------------ */

static uint32_t arrived;
static uint32_t generation;

static bool still(uint32_t gen)
{
    return __atomic_load_n(&generation, __ATOMIC_SEQ_CST) == gen;
}

/* There may be more harts than host processors: after spinning for a while, sleep by the timer. */
static void barrier_wait(unsigned id, uint32_t gen)
{
    uint64_t mie = csr_read(mie);
    for (int i = 0; i < 500; i++) {
        if (!still(gen))
            return;
        pause();
    }
    csr_write(mie, 1 << IRQ_MTI);
    while (still(gen)) {
        clint_mtimecmp[id] = bare_time() + 30 * (BARE_TIME_HZ / 1000000);
        __asm__ volatile("wfi" ::: "memory");
    }
    clint_mtimecmp[id] = -1ul;
    while (csr_read(mip) & 1 << IRQ_MTI)
        pause();
    csr_write(mie, mie);
}

static void barrier_m(void)
{
    uint32_t gen = __atomic_load_n(&generation, __ATOMIC_SEQ_CST);
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == harts) {
        arrived = 0;
        __atomic_store_n(&generation, gen + 1, __ATOMIC_SEQ_CST);
    } else {
        barrier_wait(me()->id, gen);
    }
}

/* Our own call to M mode; every register keeps its value. */
static void call_m(unsigned what, uint64_t arg)
{
    register uint64_t a0 __asm__("a0") = arg;
    register uint64_t a6 __asm__("a6") = CALL_KEY;
    register uint64_t a7 __asm__("a7") = what;
    __asm__ volatile("ecall" :: "r"(a0), "r"(a6), "r"(a7) : "memory");
}

void barrier(void)
{
    if (harts > 1)
        call_m(CALL_BARRIER, 0);
}

void set_mode(unsigned mode)
{
    call_m(CALL_MODE, mode);
    me()->mode = mode;
}

void irqs_on(void) { call_m(CALL_IRQS, 1); }
void irqs_off(void) { call_m(CALL_IRQS, 0); }

/* ---- traps -------------------------------------------------------------------- */

static Remote remote_what;
static uint64_t remote_asked[BARE_HARTS];       /* 1: not carried out yet */

static void take_ipi(Frame *f, unsigned irq)
{
    unsigned id = me()->id;
    if (irq != IRQ_MSI)
        fail("interrupt %u at pc %lx was not asked for", irq, f->pc);
    clint_msip[id] = 0;
    if (!__atomic_load_n(&remote_asked[id], __ATOMIC_ACQUIRE))
        fail("software interrupt at pc %lx was not asked for", f->pc);
    remote_what.act(remote_what.a, remote_what.b);
    __atomic_store_n(&remote_asked[id], 0, __ATOMIC_RELEASE);
}

static void own_call(Frame *f)
{
    f->pc += 4;
    switch (f->x[17]) {
    case CALL_MODE:
        f->status = (f->status & ~MSTATUS_MPP) | f->x[10] << 11;
        break;
    case CALL_BARRIER:
        barrier_m();
        break;
    case CALL_IRQS:
        f->status = (f->status & ~MSTATUS_MPIE) | (f->x[10] ? MSTATUS_MPIE : 0);
        break;
    default:
        fail("ecall %lu at pc %lx", f->x[17], f->pc - 4);
    }
}

static bool is_fetch_fault(uint64_t cause)
{
    return cause == CAUSE_INSN_PAGE || cause == CAUSE_INSN_ACCESS;
}

static void catch_it(Hart *h, Frame *f)
{
    h->cause = f->cause;
    h->tval = f->tval;
    h->pc = f->pc;
    h->caught++;
    if (is_fetch_fault(f->cause))
        f->pc = f->x[1];
    else
        f->pc += (*(const volatile uint16_t *)f->pc & 3) == 3 ? 4 : 2;
}

void bare_trap(Frame *f)
{
    Hart *h = me();
    if (f->cause & CAUSE_IRQ) {
        if (!h->on_irq)
            fail("interrupt %u at pc %lx with no handler", (unsigned)f->cause, f->pc);
        h->on_irq(f, (unsigned)f->cause);
    } else if (h->on_exception && h->on_exception(f)) {
        return;
    } else if (f->cause >= CAUSE_ECALL_U && f->cause <= CAUSE_ECALL_M && f->x[16] == CALL_KEY) {
        own_call(f);
    } else if (h->catch) {
        catch_it(h, f);
    } else {
        fail("exception %lu at pc %lx, tval %lx, ra %lx", f->cause, f->pc, f->tval, f->x[1]);
    }
}

void want_trap(Hart *h, uint64_t cause, uint64_t tval, const char *what)
{
    if (h->caught != 1 || h->cause != cause || h->tval != tval)
        fail("%s: want one exception %lu with tval %lx, got %u, the last %lu with tval %lx at pc %lx",
             what, cause, tval, h->caught, h->cause, h->tval, h->pc);
}

/* ---- orders to other harts ------------------------------------------------------ */

void remote(const Remote *what)
{
    unsigned id = me()->id;
    remote_what = *what;
    for (unsigned i = 0; i < harts; i++) {
        if (i == id)
            continue;
        __atomic_store_n(&remote_asked[i], 1, __ATOMIC_RELEASE);
        fence();
        clint_msip[i] = 1;
    }
    for (unsigned i = 0; i < harts; i++)
        while (__atomic_load_n(&remote_asked[i], __ATOMIC_ACQUIRE))
            pause();
}

static void do_fence_i(uint64_t a, uint64_t b) { fence_i(); }
static void do_sfence_all(uint64_t a, uint64_t b) { __asm__ volatile("sfence.vma" ::: "memory"); }
static void do_sfence(uint64_t va, uint64_t b)
{
    __asm__ volatile("sfence.vma %0" :: "r"(va) : "memory");
}

static void local_and_remote(void (*act)(uint64_t, uint64_t), uint64_t a)
{
    fence();
    act(a, 0);
    remote(&(Remote){ act, a, 0 });
}

void remote_fence_i(void) { local_and_remote(do_fence_i, 0); }
void remote_sfence(uint64_t va) { local_and_remote(do_sfence, va); }
void remote_sfence_all(void) { local_and_remote(do_sfence_all, 0); }

/* Called in M mode. */
void remote_begin(void)
{
    me()->on_irq = take_ipi;
    csr_set(mie, 1 << IRQ_MSI);
    irqs_on();
}

void remote_end(void)
{
    irqs_off();
    csr_clear(mie, 1 << IRQ_MSI);
    me()->on_irq = NULL;
}

/* ---- single accesses --------------------------------------------------------------- */

uint64_t load(unsigned size, uint64_t va)
{
    uint64_t v = 0;
    switch (size) {
    case 1: __asm__ volatile("lb %0, (%1)" : "=r"(v) : "r"(va) : "memory"); break;
    case 2: __asm__ volatile("lh %0, (%1)" : "=r"(v) : "r"(va) : "memory"); break;
    case 4: __asm__ volatile("lw %0, (%1)" : "=r"(v) : "r"(va) : "memory"); break;
    default: __asm__ volatile("ld %0, (%1)" : "=r"(v) : "r"(va) : "memory"); break;
    }
    return v;
}

void store(unsigned size, uint64_t va, uint64_t v)
{
    switch (size) {
    case 1: __asm__ volatile("sb %0, (%1)" :: "r"(v), "r"(va) : "memory"); break;
    case 2: __asm__ volatile("sh %0, (%1)" :: "r"(v), "r"(va) : "memory"); break;
    case 4: __asm__ volatile("sw %0, (%1)" :: "r"(v), "r"(va) : "memory"); break;
    default: __asm__ volatile("sd %0, (%1)" :: "r"(v), "r"(va) : "memory"); break;
    }
}

/* The destination is an operand, so that it is seen if a load that faults writes it. */
unsigned try_load(Hart *h, unsigned size, uint64_t va, uint64_t *v)
{
    uint64_t r = *v;
    h->caught = 0;
    h->catch = true;
    switch (size) {
    case 1: __asm__ volatile("lb %0, (%1)" : "+&r"(r) : "r"(va) : "memory"); break;
    case 2: __asm__ volatile("lh %0, (%1)" : "+&r"(r) : "r"(va) : "memory"); break;
    case 4: __asm__ volatile("lw %0, (%1)" : "+&r"(r) : "r"(va) : "memory"); break;
    default: __asm__ volatile("ld %0, (%1)" : "+&r"(r) : "r"(va) : "memory"); break;
    }
    h->catch = false;
    if (h->caught && r != *v)
        fail("a load of %u bytes at %lx faulted and changed its register from %lx to %lx", size, va, *v, r);
    *v = r;
    return h->caught;
}

unsigned try_store(Hart *h, unsigned size, uint64_t va, uint64_t v)
{
    h->caught = 0;
    h->catch = true;
    store(size, va, v);
    h->catch = false;
    return h->caught;
}

/* Calls va with and for a0. */
unsigned try_call(Hart *h, uint64_t va, uint64_t *v)
{
    register uint64_t a0 __asm__("a0") = *v;
    register uint64_t a1 __asm__("a1") = va;
    h->caught = 0;
    h->catch = true;
    __asm__ volatile("jalr ra, (a1)" : "+r"(a0), "+r"(a1) :: "ra", "memory");
    h->catch = false;
    *v = a0;
    return h->caught;
}

/* ---- the program ---------------------------------------------------------------------- */

/*
 * All of the address space for S and U mode: the last PMP entry, so that cases
 * can use those before it. The time CSR for them, too.
 */
static void open_machine(void)
{
    csr_write(mcounteren, 7);
    csr_write(scounteren, 7);
    Hart *h = me();
    h->catch = true;
    __asm__ volatile("csrs 0x30a, %0" :: "r"(1ul << 61));       /* menvcfg.ADUE: hardware sets A and D */
    h->catch = false;
    csr_write(pmpaddr15, -1ul);
    csr_write(pmpcfg2, 0x1full << 56);          /* NAPOT, R W X */
}

static void run_case(Hart *h, const Case *c)
{
    if (h->id == 0) {
        counted = 0;
        current = c;
        deadline = bare_time() + case_ms * (BARE_TIME_HZ / 1000);
    }
    h->catch = false;
    h->on_irq = NULL;
    h->on_exception = NULL;
    barrier();
    c->run(h);
    barrier();
    if (h->id == 0) {
        line_begin("ok   ");
        put_number(counted, 10);
        line_end();
        current = NULL;
    }
    barrier();
}

static bool chosen(const Case *c)
{
    const char *only = find_order("only=");
    size_t n = length(c->name);
    if (!only)
        return !c->strict || find_order("strict");
    return starts(only, c->name) && (only[n] == 0 || only[n] == ' ');
}

static const char *volatile why_not;

/* Why it cannot run here, or NULL. Hart 0 finds it out for all. */
static const char *why_skip(Hart *h, const Case *c)
{
    if (h->id == 0)
        why_not = harts < c->min_harts ? "needs more harts" : c->missing ? c->missing() : NULL;
    barrier();
    const char *why = why_not;
    barrier();
    return why;
}

static void run_cases(Hart *h)
{
    for (const Case *c = cases; c->name; c++) {
        if (!chosen(c))
            continue;
        const char *why = why_skip(h, c);
        if (!why) {
            run_case(h, c);
        } else if (h->id == 0) {
            line_begin("skip ");
            bare_put(c->name);
            bare_put(": ");
            bare_put(why);
            line_end();
        }
    }
}

static Word started;

void bare_main(uint64_t id, const void *fdt)
{
    Hart *h = &hart_data[id];
    __asm__ volatile("mv tp, %0" :: "r"(h));
    h->id = (unsigned)id;
    h->mode = MODE_M;
    if (id == 0) {
        read_tree(fdt);
        case_ms = order("ms", 300);
        fence();
        started = 1;
    }
    while (!started)
        pause();
    if (id >= harts)
        return;
    h->rng = (order("seed", 1) * 0x9e3779b97f4a7c15ul) ^ ((id + 1) << 32 | 0x12345);
    for (int i = 0; i < 16; i++)
        rnd(h);
    open_machine();
    run_cases(h);
    barrier();
    if (id == 0) {
        bare_put("END ");
        bare_put(subject);
        bare_put("\n");
        bare_exit(0);
    }
}
