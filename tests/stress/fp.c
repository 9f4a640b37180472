/* SPDX-License-Identifier: MIT */
/*
 * Floating point under interrupts (unprivileged manual, chapter "F": fcsr;
 * privileged manual, "mstatus": FS): nothing of a program's registers, rounding
 * mode and accrued flags may be lost when others compute in between, and FS must
 * say what a system has to save.
 */
#include "tests/stress/stress.h"

const char subject[] = "fp";

typedef struct FpState { uint64_t f[32], fcsr; } FpState;       /* as in fp.S */
void fp_save(FpState *s);
void fp_load(const FpState *s);
void fp_clobber(void);
void fp_work(FpState *s, uint64_t n);

enum { NX = 1, UF = 2, OF = 4, DZ = 8, NV = 16 };
enum { RNE, RTZ, RDN, RUP, RMM };
enum { FS_OFF = 0, FS_INITIAL = 1, FS_CLEAN = 2, FS_DIRTY = 3 };

static unsigned fs_of(uint64_t status) { return status >> 13 & 3; }
static uint64_t with_fs(uint64_t status, uint64_t fs) { return (status & ~MSTATUS_FS) | fs << 13; }

/* One instruction on f0 and f1 that writes f2, or an integer register. */
#define FP_OP(insn, a, b) ({ uint64_t r_; \
    __asm__ volatile(".option push\n .option arch, +d\n fmv.d.x f0, %1\n fmv.d.x f1, %2\n" insn \
                     "\n fmv.x.d %0, f2\n .option pop" : "=r"(r_) : "r"((uint64_t)(a)), "r"((uint64_t)(b)) : "memory"); r_; })
#define FP_INT(insn, a, b) ({ uint64_t r_; \
    __asm__ volatile(".option push\n .option arch, +d\n fmv.d.x f0, %1\n fmv.d.x f1, %2\n" insn \
                     "\n .option pop" : "=r"(r_) : "r"((uint64_t)(a)), "r"((uint64_t)(b)) : "memory"); r_; })

#define ONE      0x3ff0000000000000ul
#define THREE    0x4008000000000000ul
#define TINY     0x0000000000000001ul   /* the smallest subnormal */
#define HUGE     0x7feffffffffffffful
#define INFINITY 0x7ff0000000000000ul
#define SNAN     0x7ff4000000000000ul

static Word ticks[BARE_HARTS][8];

static void set_timer(uint64_t in) { clint_mtimecmp[me()->id] = bare_time() + in; }

/* Computes with everything itself, and puts it back. */
static void take_tick(Frame *f, unsigned irq)
{
    static FpState states[BARE_HARTS];
    Hart *h = me();
    want(irq == IRQ_MTI, "interrupt %u instead of the timer's", irq);
    fp_save(&states[h->id]);
    fp_clobber();
    fp_load(&states[h->id]);
    ticks[h->id][0]++;
    set_timer(20 + rnd_below(h, 200));
}

static void timer_on(Hart *h, void (*handler)(Frame *, unsigned))
{
    ticks[h->id][0] = 0;
    h->on_irq = handler;
    csr_set(mstatus, MSTATUS_FS);
    set_timer(100);
    csr_set(mie, 1 << IRQ_MTI);
    irqs_on();
}

static void timer_off(Hart *h)
{
    irqs_off();
    csr_clear(mie, 1 << IRQ_MTI);
    clint_mtimecmp[h->id] = -1ul;
    h->on_irq = NULL;
    csr_set(mstatus, MSTATUS_FS);
}

/* ---- flags ------------------------------------------------------------------------ */

/* Raises the flags of one instruction; what it must raise beside is in the table. */
static unsigned raise_one(unsigned n)
{
    switch (n) {
    case 0: FP_OP("fdiv.d f2, f0, f1", ONE, 0); return DZ;
    case 1: FP_OP("fdiv.d f2, f0, f1", ONE, THREE); return NX;
    case 2: FP_OP("fmul.d f2, f0, f1", HUGE, HUGE); return OF | NX;
    case 3: FP_OP("fmul.d f2, f0, f1", TINY, ONE - 1); return UF | NX;
    case 4: FP_OP("fsub.d f2, f0, f1", INFINITY, INFINITY); return NV;
    case 5: FP_INT("feq.d %0, f0, f1", SNAN, ONE); return NV;
    case 6: FP_INT("fcvt.l.d %0, f0", 0x3ff8000000000000, 0); return NX;       /* 1.5 */
    case 7: FP_INT("fcvt.w.d %0, f0", HUGE, 0); return NV;
    case 8: FP_OP("fadd.d f2, f0, f1", ONE, ONE); return 0;
    case 9: FP_OP("fcvt.s.d f2, f0", HUGE, 0); return OF | NX;
    case 10: FP_OP("fsqrt.d f2, f0", 0xbff0000000000000, 0); return NV;
    case 11: FP_OP("fmadd.d f2, f0, f1, f0", ONE, THREE); return 0;
    default: FP_INT("fmv.x.d %0, f0", SNAN, 0); return 0;
    }
}

/* Flags are only ever added, whatever happens in between. */
static void run_flags(Hart *h)
{
    uint64_t n = 0;
    timer_on(h, take_tick);
    csr_write(0x002, 0);                                /* frm */
    while (more() || !ticks[h->id][0]) {
        unsigned all = 0;
        csr_write(0x001, 0);                            /* fflags */
        for (unsigned i = 1 + rnd_below(h, 12); i; i--, n++) {
            unsigned k = rnd_below(h, 13);
            all |= raise_one(k);
            want((csr_read(0x001) & 31) == all, "flags are %lx, not %x, after instruction %u of the table",
                 csr_read(0x001), all, k);
            if (!rnd_below(h, 8)) {                     /* wait for an interrupt */
                uint64_t was = ticks[h->id][0];
                for (uint64_t t = bare_time(); ticks[h->id][0] == was && bare_time() - t < BARE_TIME_HZ;)
                    ;
            }
            if (!rnd_below(h, 16)) {                    /* by hand */
                csr_set(0x001, DZ);
                all |= DZ;
            }
        }
    }
    timer_off(h);
    count(n);
}

/* ---- rounding ----------------------------------------------------------------------- */

#define EPS 0x3ca0000000000000ul                        /* 2^-53: half of ONE's last place */
#define NEG 0x8000000000000000ul

/* 1 + 2^-53, a tie, and -1 - 2^-53; by mode. */
static const uint64_t tie_up[] = { ONE, ONE, ONE, ONE + 1, ONE + 1 };
static const uint64_t tie_down[] = { NEG | ONE, NEG | ONE, (NEG | ONE) + 1, NEG | ONE, (NEG | ONE) + 1 };

static uint64_t add_static(unsigned mode, uint64_t a, uint64_t b)
{
    switch (mode) {
    case RNE: return FP_OP("fadd.d f2, f0, f1, rne", a, b);
    case RTZ: return FP_OP("fadd.d f2, f0, f1, rtz", a, b);
    case RDN: return FP_OP("fadd.d f2, f0, f1, rdn", a, b);
    case RUP: return FP_OP("fadd.d f2, f0, f1, rup", a, b);
    default:  return FP_OP("fadd.d f2, f0, f1, rmm", a, b);
    }
}

static void run_rounding(Hart *h)
{
    uint64_t n = 0;
    timer_on(h, take_tick);
    for (; more(); n++) {
        unsigned mode = rnd_below(h, 5), fixed = rnd_below(h, 5);
        csr_write(0x002, mode);
        for (int i = 0; i < 8; i++) {
            uint64_t up = FP_OP("fadd.d f2, f0, f1, dyn", ONE, EPS);
            uint64_t down = FP_OP("fsub.d f2, f0, f1, dyn", NEG | ONE, EPS);
            want(up == tie_up[mode], "1 + 2^-53 in mode %u is %lx", mode, up);
            want(down == tie_down[mode], "-1 - 2^-53 in mode %u is %lx", mode, down);
            up = add_static(fixed, ONE, EPS);
            want(up == tie_up[fixed], "1 + 2^-53 in static mode %u, frm %u, is %lx", fixed, mode, up);
            int64_t whole = (int64_t)FP_INT("fcvt.l.d %0, f0, dyn", 0xc004000000000000, 0);    /* -2.5 */
            static const int64_t rounded[] = { -2, -2, -3, -2, -3 };
            want(whole == rounded[mode], "-2.5 to an integer in mode %u is %ld", mode, whole);
        }
        want((csr_read(0x002) & 7) == mode, "frm became %lx", csr_read(0x002));
    }
    timer_off(h);
    /* Modes 5 to 7 are no modes: an instruction that asks for them is illegal. */
    for (unsigned mode = 5; mode < 8; mode++) {
        csr_write(0x002, mode);
        h->caught = 0;
        h->catch = true;
        FP_OP("fadd.d f2, f0, f1, dyn", ONE, EPS);
        h->catch = false;
        want(h->caught == 1 && h->cause == CAUSE_ILLEGAL, "fadd.d with frm %u: %u exceptions, cause %lu", mode, h->caught, h->cause);
    }
    csr_write(0x002, 0);
    count(n);
}

/* ---- FS: off, and dirty --------------------------------------------------------------- */

#define IF_FP(insn) __asm__ volatile(".option push\n .option arch, +d\n .option norvc\n" insn "\n .option pop" \
                                     :: "r"(memory), "r"(ONE) : "t0", "memory")
static uint64_t memory[2] = { SNAN, 0x3fe0000000000001 };
enum { FP_INSNS = 22, CHANGING = 17 };

/* The first CHANGING change a register or a flag that is clear. */
static void fp_insn(unsigned n)
{
    switch (n) {
    case 0: IF_FP("fadd.d f2, f0, f1"); break;
    case 1: IF_FP("fld f3, 0(%0)"); break;
    case 2: IF_FP("flw f3, 0(%0)"); break;
    case 3: IF_FP("fmv.d.x f4, %1"); break;
    case 4: IF_FP("fmv.w.x f4, %1"); break;
    case 5: IF_FP("fcvt.d.l f5, %1"); break;
    case 6: IF_FP("fsqrt.d f6, f7"); break;
    case 7: IF_FP("fmadd.d f2, f0, f1, f0"); break;
    case 8: IF_FP("fsgnj.d f8, f1, f0"); break;
    case 9: IF_FP("fmin.s f9, f0, f1"); break;
    case 10: IF_FP("csrwi fflags, 3"); break;
    case 11: IF_FP("csrwi frm, 1"); break;
    case 12: IF_FP("csrwi fcsr, 9"); break;
    case 13: IF_FP("csrsi fflags, 1"); break;
    case 14: IF_FP("feq.d t0, f10, f1"); break;         /* f10 is a signalling NaN: NV */
    case 15: IF_FP("fcvt.l.d t0, f11"); break;          /* f11 is 1.5: NX */
    case 16: IF_FP("fcvt.s.d f12, f0"); break;
    case 17: IF_FP("fsd f0, 8(%0)"); break;
    case 18: IF_FP("fmv.x.d t0, f0"); break;
    case 19: IF_FP("fclass.d t0, f0"); break;
    case 20: IF_FP("csrr t0, fcsr"); break;
    default: IF_FP("feq.d t0, f0, f1"); break;
    }
}

static void prepare_fp(uint64_t fs)
{
    csr_set(mstatus, MSTATUS_FS);
    csr_write(0x003, 0);
    __asm__ volatile(".option push\n .option arch, +d\n fmv.d.x f0, %0\n fmv.d.x f1, %1\n fmv.d.x f10, %2\n fmv.d.x f11, %3\n"
                     " fmv.d.x f7, %1\n .option pop"
                     :: "r"(ONE), "r"(THREE), "r"(SNAN), "r"(0x3ff8000000000000ul));
    csr_write(mstatus, with_fs(csr_read(mstatus), fs));
}

static void run_fs(Hart *h)
{
    uint64_t n = 0;
    for (; more(); n++) {
        unsigned i = rnd_below(h, FP_INSNS);
        prepare_fp(FS_OFF);
        h->caught = 0;
        h->catch = true;
        fp_insn(i);
        h->catch = false;
        want(h->caught == 1 && h->cause == CAUSE_ILLEGAL, "instruction %u with FS off: %u exceptions, cause %lu",
             i, h->caught, h->cause);
        want(fs_of(csr_read(mstatus)) == FS_OFF, "instruction %u turned FS on", i);
        uint64_t fs = rnd(h) & 1 ? FS_CLEAN : FS_INITIAL;
        prepare_fp(fs);
        fp_insn(i);
        uint64_t status = csr_read(mstatus);
        /*
         * "mstatus", FS: dirty once state was modified, and fcsr is part of it. QEMU 7.2 forgets
         * that where only flags change (feq, fcvt to an integer).
         */
        bool forgotten = on_qemu() && (i == 14 || i == 15);
        want(i >= CHANGING || fs_of(status) == FS_DIRTY || forgotten, "instruction %u left FS at %u, but it changed something", i, fs_of(status));
        want((status >> 63) == (fs_of(status) == FS_DIRTY), "mstatus.SD is %lu with FS %u", status >> 63, fs_of(status));
    }
    csr_set(mstatus, MSTATUS_FS);
    count(n);
}

/* ---- two programs on one hart, switched as a system does it ------------------------------- */

/*
 * Each timer interrupt changes from one to the other. Registers are saved only
 * if FS says dirty. What comes next has FS clean with its registers loaded, or
 * off: then its first instruction traps and gets them.
 */
typedef struct Task {
    Frame frame;
    FpState fp;
    bool loaded;                        /* the registers hold its state */
    uint64_t rounds;
    char stack[8192] __attribute__((aligned(16)));
} Task;

typedef struct Pair { Task task[2]; unsigned now; FpState start[8], end[8]; uint64_t saves, lazy; } Pair;
static Pair pairs[BARE_HARTS];
enum { LOOPS = 12 };

/* The task's own Hart would be the interrupted one's: both run on the same hart, and tp stays. */
static void switch_tasks(Frame *f, unsigned irq)
{
    Hart *h = me();
    Pair *p = &pairs[h->id];
    Task *from = &p->task[p->now], *to = &p->task[p->now ^ 1];
    want(irq == IRQ_MTI, "interrupt %u instead of the timer's", irq);
    if (fs_of(f->status) == FS_DIRTY) {
        fp_save(&from->fp);
        p->saves++;
    }
    from->frame = *f;
    p->now ^= 1;
    *f = to->frame;
    csr_set(mstatus, MSTATUS_FS);
    if (rnd(h) & 1) {
        fp_load(&to->fp);
        f->status = with_fs(f->status, FS_CLEAN);
    } else {
        fp_clobber();
        f->status = with_fs(f->status, FS_OFF);
    }
    ticks[h->id][0]++;
    set_timer(200 + rnd_below(h, 2000));
}

static bool take_fp_off(Frame *f)
{
    Hart *h = me();
    Pair *p = &pairs[h->id];
    if (f->cause != CAUSE_ILLEGAL || fs_of(f->status) != FS_OFF)
        return false;
    csr_set(mstatus, MSTATUS_FS);
    fp_load(&p->task[p->now].fp);
    f->status = with_fs(f->status, FS_CLEAN);
    p->lazy++;
    return true;
}

static void compute(Pair *p, unsigned self)
{
    Task *t = &p->task[self];
    FpState s;
    unsigned k = self * 4 + t->rounds % 4;
    s = p->start[k];
    fp_work(&s, LOOPS);
    for (int i = 0; i < 32; i++)
        want(s.f[i] == p->end[k].f[i], "task %u: f%u is %lx, not %lx", self, i, s.f[i], p->end[k].f[i]);
    want(s.fcsr == p->end[k].fcsr, "task %u: fcsr is %lx, not %lx", self, s.fcsr, p->end[k].fcsr);
    t->rounds++;
}

static void second_task(Pair *p)
{
    for (;;)
        compute(p, 1);
}

/* Starting values near 1, and all rounding modes; the right results without interrupts. */
static void prepare_pair(Hart *h, Pair *p)
{
    for (int k = 0; k < 8; k++) {
        for (int i = 0; i < 32; i++)
            p->start[k].f[i] = ONE | (rnd(h) >> 12);
        p->start[k].fcsr = (uint64_t)(k % 5) << 5 | rnd_below(h, 32);
        p->end[k] = p->start[k];
        fp_work(&p->end[k], LOOPS);
    }
    Task *t = &p->task[1];
    register uint64_t gp_now __asm__("gp");
    __asm__ volatile("" : "=r"(gp_now));
    t->frame.x[2] = (uint64_t)(t->stack + sizeof t->stack);
    t->frame.x[3] = gp_now;
    t->frame.x[4] = (uint64_t)h;
    t->frame.x[10] = (uint64_t)p;
    t->frame.pc = (uint64_t)second_task;
    t->frame.status = csr_read(mstatus) | MSTATUS_MPP | MSTATUS_MPIE;
    p->now = p->saves = p->lazy = 0;
    p->task[0].rounds = t->rounds = 0;
}

static void run_switch(Hart *h)
{
    Pair *p = &pairs[h->id];
    csr_set(mstatus, MSTATUS_FS);
    prepare_pair(h, p);
    h->on_exception = take_fp_off;
    timer_on(h, switch_tasks);
    while (more() || !p->task[1].rounds)        /* an engine may be slow, but must get there */
        compute(p, 0);
    timer_off(h);
    h->on_exception = NULL;
    count(p->task[0].rounds + p->task[1].rounds);
}

/* ---- alone: many interrupts between two instructions of a computation ----------------------- */

static void run_interrupted(Hart *h)
{
    uint64_t n = 0;
    Pair *p = &pairs[h->id];
    csr_set(mstatus, MSTATUS_FS);
    prepare_pair(h, p);
    timer_on(h, take_tick);
    for (; more() || !ticks[h->id][0]; n++)     /* an interrupt may be late, but must come */
        compute(p, 0);
    timer_off(h);
    count(n);
}

static const char *no_fp(void) { return has_ext("d") ? NULL : "needs d"; }

const Case cases[] = {
    { "flags", run_flags, no_fp },
    { "rounding", run_rounding, no_fp },
    { "fs", run_fs, no_fp },
    { "interrupted", run_interrupted, no_fp },
    { "switch", run_switch, no_fp },
    { 0 }
};
