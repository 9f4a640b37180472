/* SPDX-License-Identifier: MIT */
/*
 * Address translation that changes while it is used (privileged manual, chapter
 * "Supervisor": sfence.vma, satp, Sv39). The harts access pages all the time;
 * hart 0 changes their entries, has every hart do sfence.vma by interprocessor
 * interrupt, and from the moment all have answered nobody may see the old entry.
 * Entries may be seen early: only staying too long is wrong.
 */
#include "tests/stress/paging.h"

const char subject[] = "tlb";

static Pte *root;
static Word stop, acked, allowed;
static Word ops[BARE_HARTS][8];

static const uint64_t poison = 0xdeadbeefdeadbeef;

/* All harts in S mode with the same tables; hart 0 makes them by `make` first. */
static void start_shared(Hart *h, void (*make)(void))
{
    if (h->id == 0) {
        pt_reset();
        root = pt_root(0);
        stop = acked = allowed = 0;
        make();
        fence();
    }
    barrier();
    remote_begin();
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    barrier();
}

static void end_shared(Hart *h)
{
    barrier();
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    remote_end();
}

static void count_ops(void)
{
    for (unsigned i = 1; i < harts; i++)
        count(ops[i][0]);
}

/* ---- another frame behind the same address --------------------------------------- */

/*
 * Frames carry the number of their turn in every word. Old frames are filled
 * with poison as soon as all have answered. `level` 1: 2 MiB pages, where the
 * fence names another address in the page than the one that is read.
 */
enum { FRAMES = 6 };
static int level;
static uint64_t va_base;

static uint64_t turn_frame(uint64_t turn) { return level ? big_frame(turn % FRAMES) : frame(turn % FRAMES); }
static uint64_t probe(Hart *h)
{
    return va_base + (level ? rnd_below(h, 8) * 0x3a000 + 0x40 * 8 : rnd_below(h, 512) * 8);
}

/* The words of a frame that probe() may choose. */
static void mark_frame(uint64_t pa, uint64_t v)
{
    for (uint64_t i = 0; i < (level ? 8 : 512); i++)
        *(Word *)(pa + (level ? i * 0x3a000 + 0x40 * 8 : i * 8)) = v;
}

static void make_remap(void)
{
    mark_frame(turn_frame(0), 0);
    *pt_entry(root, va_base, level) = pte_of(turn_frame(0), PTE_DATA);
}

static void remap_reader(Hart *h)
{
    uint64_t n = 0;
    while (!stop) {
        for (int i = 0; i < 32; i++, n++) {
            uint64_t least = acked, va = probe(h), v = load(8, va);
            want(v >= least && v != poison, "read %lx at %lx, but all had answered for turn %lx", v, va, least);
        }
    }
    ops[h->id][0] = n;
}

static void remap_writer(Hart *h)
{
    volatile Pte *e = pt_entry(root, va_base, level);
    uint64_t turn = 0;
    while (more()) {
        uint64_t old = turn_frame(turn++);
        mark_frame(turn_frame(turn), turn);
        fence();
        if (turn % 3 == 0) {                    /* by way of "not valid", as the careful do */
            *e = 0;
            *e = pte_of(turn_frame(turn), PTE_DATA);
        } else {
            *e = pte_of(turn_frame(turn), PTE_DATA);
        }
        if (turn % 7 == 0)
            remote_sfence_all();
        else
            remote_sfence(va_base + (level ? 0x1ff000 : 0xff8));
        acked = turn;
        mark_frame(old, poison);
        uint64_t v = load(8, probe(h));
        want(v == turn, "hart 0 reads %lx itself, turn %lx", v, turn);
    }
    stop = 1;
}

static void remap(Hart *h, int at_level)
{
    if (h->id == 0) {
        level = at_level;
        va_base = level ? VA_BIG + 3 * MIB2 : VA_TEST + 5 * 4096;
    }
    barrier();
    start_shared(h, make_remap);
    if (h->id == 0)
        remap_writer(h);
    else
        remap_reader(h);
    end_shared(h);
    if (h->id == 0)
        count_ops();
}

/* The invalid entry is seen now and then in remap_writer: readers wait for it. */
static bool retry_page_fault(Frame *f)
{
    return f->cause == CAUSE_LOAD_PAGE;
}

static void run_remap(Hart *h)
{
    h->on_exception = retry_page_fault;
    remap(h, 0);
}
static void run_remap_big(Hart *h)
{
    h->on_exception = retry_page_fault;
    remap(h, 1);
}

/* ---- permissions ------------------------------------------------------------------------ */

/*
 * Hart 0 takes away writing, or the page, and gives it back. When all have
 * answered that it is gone, no store may reach the frame; when all have answered
 * that it is back, no access may fault.
 */
enum { NOTHING = 0, READ = 1, WRITE = 2 };
#define PERM_VA (VA_TEST + 77 * 4096)
static unsigned perm_flags(unsigned p) { return p == NOTHING ? 0 : p == READ ? PTE_DATA & ~PTE_W : PTE_DATA; }

static void make_perm(void)
{
    fill_frame(frame(0), 0, 4096);
    pt_map(root, PERM_VA, frame(0), PTE_DATA);
    allowed = WRITE;
}

/* `acked` is odd while hart 0 is changing things. */
static void perm_worker(Hart *h)
{
    uint64_t n = 0, va = PERM_VA + h->id * 256;
    while (!stop) {
        for (int i = 0; i < 16; i++, n++) {
            uint64_t before = acked, may = allowed, v = 0;
            fence();
            unsigned faults = try_store(h, 8, va + (n % 32) * 8, n);
            uint64_t cause = h->cause, tval = h->tval;
            fence();
            bool steady = !(before & 1) && acked == before;
            want(!faults || (cause == CAUSE_STORE_PAGE && tval == va + (n % 32) * 8),
                 "a store to %lx: exception %lu, tval %lx", va + (n % 32) * 8, cause, tval);
            want(!steady || faults == (may != WRITE), "store %s, but the page is %s",
                 faults ? "faulted" : "worked", may == WRITE ? "writable" : may == READ ? "for reading" : "gone");
            before = acked;
            may = allowed;
            fence();
            faults = try_load(h, 8, va, &v);
            fence();
            steady = !(before & 1) && acked == before;
            want(!steady || faults == (may == NOTHING), "load %s, but the page is %s",
                 faults ? "faulted" : "worked", may == NOTHING ? "gone" : "there");
        }
    }
    ops[h->id][0] = n;
}

static uint64_t frame_sum(uint64_t pa)
{
    uint64_t sum = 0;
    for (int i = 0; i < 512; i++)
        sum = sum * 31 + ((Word *)pa)[i];
    return sum;
}

static void perm_changer(Hart *h)
{
    volatile Pte *e = pt_entry(root, PERM_VA, 0);
    unsigned p = WRITE;
    while (more()) {
        unsigned next = (p + 1 + rnd_below(h, 2)) % 3;
        acked = acked + 1;
        fence();
        *e = next == NOTHING ? 0 : pte_of(frame(0), perm_flags(next));
        remote_sfence(PERM_VA);
        allowed = p = next;
        fence();
        acked = acked + 1;
        if (p == WRITE) {
            rnd_delay(h);
            continue;
        }
        uint64_t sum = frame_sum(frame(0));
        for (int i = 0; i < 5; i++)
            rnd_delay(h);
        want(frame_sum(frame(0)) == sum, "the frame changed after all had answered that it is not writable");
    }
    stop = 1;
}

static void run_permissions(Hart *h)
{
    start_shared(h, make_perm);
    if (h->id == 0)
        perm_changer(h);
    else
        perm_worker(h);
    end_shared(h);
    if (h->id == 0)
        count_ops();
}

/* ---- code behind an address ---------------------------------------------------------------- */

/* Each frame has its own function "li a0, N; ret", which stays. The entry also loses X at times. */
#define CODE_VA (VA_TEST + 200 * 4096)
static uint32_t code_li(unsigned n) { return 0x00000513 | n << 20; }
#define CODE_RET 0x00008067

static void make_code(void)
{
    for (unsigned i = 0; i < FRAMES; i++) {
        ((volatile uint32_t *)frame(i))[4] = code_li(i);
        ((volatile uint32_t *)frame(i))[5] = CODE_RET;
    }
    pt_map(root, CODE_VA, frame(0), PTE_CODE);
    allowed = 1;
}

static void code_runner(Hart *h)
{
    uint64_t n = 0;
    for (; !stop; n++) {
        uint64_t before = acked, may = allowed, v = 5000;
        fence();
        unsigned faults = try_call(h, CODE_VA + 16, &v);
        fence();
        uint64_t after = acked;
        want(!faults || (h->cause == CAUSE_INSN_PAGE && h->tval == CODE_VA + 16 && h->pc == CODE_VA + 16),
             "a call to %lx: exception %lu, tval %lx, pc %lx", CODE_VA + 16, h->cause, h->tval, h->pc);
        if ((before & 1) || before != after)
            continue;
        want(faults == !(may & 1), "a call %s, but the page is%s executable",
             faults ? "faulted" : "worked", may & 1 ? "" : " not");
        want(faults || v == may >> 1, "a call returned %lu, function %lu is there", v, may >> 1);
    }
    ops[h->id][0] = n;
}

static void code_changer(Hart *h)
{
    volatile Pte *e = pt_entry(root, CODE_VA, 0);
    for (uint64_t turn = 1; more(); turn++) {
        bool exec = rnd_below(h, 4);
        acked = acked + 1;
        fence();
        *e = pte_of(frame(turn % FRAMES), exec ? PTE_CODE : PTE_DATA);
        remote_sfence(CODE_VA);
        allowed = turn % FRAMES << 1 | exec;
        fence();
        acked = acked + 1;
        rnd_delay(h);
    }
    stop = 1;
}

static void run_code(Hart *h)
{
    start_shared(h, make_code);
    fence_i();
    if (h->id == 0)
        code_changer(h);
    else
        code_runner(h);
    end_shared(h);
    if (h->id == 0)
        count_ops();
}

/* ---- address-space numbers; each hart alone, with tables of its own ----------------------------- */

enum { SPACES = 4, PAGES = 8 };
#define ASID_VA (VA_TEST + 300 * 4096)
#define GLOBAL_VA (VA_BIG + 5 * 4096)

typedef struct Space { Pte *root; uint64_t asid; uint64_t value[PAGES], flushed[PAGES]; } Space;

static uint64_t asid_frame(Hart *h, unsigned n) { return frame(h->id * 64 + n); }

/* How many bits of satp.ASID hold what is written. */
static unsigned asid_bits(void)
{
    uint64_t old = csr_read(satp);
    csr_write(satp, 0xffffull << 44);
    unsigned bits = 0;
    for (uint64_t v = csr_read(satp) >> 44 & 0xffff; v; v >>= 1)
        bits++;
    csr_write(satp, old);
    return bits;
}

static void sfence_va_asid(uint64_t va, uint64_t asid) { __asm__ volatile("sfence.vma %0, %1" :: "r"(va), "r"(asid) : "memory"); }
static void sfence_asid(uint64_t asid) { __asm__ volatile("sfence.vma zero, %0" :: "r"(asid) : "memory"); }

static void make_spaces(Hart *h, Space *s, Pte *shared)
{
    for (unsigned i = 0; i < SPACES; i++) {
        s[i].root = pt_root(PTE_G);
        s[i].asid = i + 1;
        for (unsigned p = 0; p < PAGES; p++) {
            uint64_t pa = asid_frame(h, (i * PAGES + p) % 56);
            s[i].value[p] = s[i].flushed[p] = pa;
            *(Word *)pa = pa;
            pt_map(s[i].root, ASID_VA + p * 4096, pa, PTE_DATA);
        }
        s[i].root[GLOBAL_VA >> 30 & 511] = pte_of((uint64_t)shared, PTE_V | PTE_G);
    }
}

/*
 * Frames say their own address. After a change without a fence both the old and
 * the new one may be seen (until one is fenced); with it only the new one.
 */
static void asid_steps(Hart *h, Space *s)
{
    unsigned now = 0;
    use_satp(satp_of(s[0].root, s[0].asid));
    for (int step = 0; step < 400; step++) {
        unsigned i = rnd_below(h, SPACES), p = rnd_below(h, PAGES);
        uint64_t va = ASID_VA + p * 4096, v;
        switch (rnd_below(h, 6)) {
        case 0: case 1:                                 /* another space, no fence */
            now = i;
            use_satp(satp_of(s[i].root, s[i].asid));
            break;
        case 2:                                         /* a new frame in some space, fenced there */
            s[i].value[p] = asid_frame(h, rnd_below(h, 56));
            pt_map(s[i].root, va, s[i].value[p], PTE_DATA);
            if (rnd(h) & 1)
                sfence_va_asid(va, s[i].asid);
            else
                sfence(va);
            s[i].flushed[p] = s[i].value[p];
            break;
        case 3:                                         /* the same, the whole space fenced */
            s[i].value[p] = asid_frame(h, rnd_below(h, 56));
            pt_map(s[i].root, va, s[i].value[p], PTE_DATA);
            sfence_asid(s[i].asid);
            s[i].flushed[p] = s[i].value[p];
            break;
        default:
            v = load(8, va);
            want(v == s[now].flushed[p], "space %u page %u: frame %lx, but %lx is mapped", now, p, v, s[now].flushed[p]);
            break;
        }
        v = load(8, GLOBAL_VA);
        want(v == asid_frame(h, 60), "the global page: frame %lx, not %lx", v, asid_frame(h, 60));
    }
}

static void run_asid(Hart *h)
{
    static Space spaces[BARE_HARTS][SPACES];
    Space *s = spaces[h->id];
    if (h->id == 0)
        pt_reset();
    barrier();
    for (unsigned i = 0; i < 64; i++)
        *(Word *)asid_frame(h, i) = asid_frame(h, i);
    Pte *mid = pt_table(), *leaf = pt_table();
    mid[GLOBAL_VA >> 21 & 511] = pte_of((uint64_t)leaf, PTE_V | PTE_G);
    leaf[GLOBAL_VA >> 12 & 511] = pte_of(asid_frame(h, 60), PTE_DATA | PTE_G);
    make_spaces(h, s, mid);
    uint64_t n = 0;
    set_mode(MODE_S);
    sfence_all();
    for (; more(); n += 400)
        asid_steps(h, s);
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

static const char *no_asid(void) { return asid_bits() < 3 ? "satp.ASID has no bits" : NULL; }

/* ---- satp: paging on and off, roots changed ------------------------------------------------------- */

/* The same address with paging off, and in two roots under one number (which then needs a fence). */
static void run_satp(Hart *h)
{
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *r[2];
    /* An address that is RAM, too: bare mode sees frame(h), the roots see others. */
    uint64_t va = big_frame(0) + h->id * 4096, pa[3] = { va, frame(2 * h->id), frame(2 * h->id + 1) };
    for (int i = 0; i < 2; i++) {
        r[i] = pt_table();
        r[i][0] = pte_of(0, PTE_DATA);
        /* The gigabyte at 0x80000000 in 2 MiB pages, but for the one around va. */
        Pte *mid = pt_table();
        r[i][2] = pte_of((uint64_t)mid, PTE_V);
        for (uint64_t m = 0; m < 512; m++)
            mid[m] = pte_of(0x80000000 + m * MIB2, PTE_CODE);
        mid[va >> 21 & 511] = 0;
        pt_map(r[i], va, pa[1 + i], PTE_DATA);
    }
    for (int i = 0; i < 3; i++)
        *(Word *)pa[i] = pa[i];
    uint64_t n = 0, satp[3] = { 0, satp_of(r[0], 0), satp_of(r[1], 0) };
    set_mode(MODE_S);
    while (more()) {
        for (int i = 0; i < 50; i++, n++) {
            unsigned now = rnd_below(h, 3);
            use_satp(satp[now]);
            sfence_all();
            uint64_t v = load(8, va);
            want(v == pa[now], "satp %lx: read frame %lx, not %lx", satp[now], v, pa[now]);
            store(8, va, pa[now]);
        }
    }
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

/* ---- SUM, MXR, MPRV: they change what is allowed at once, without a fence ---------------------------- */

enum { K_SUPER, K_USER, K_EXEC, K_USER_EXEC, KINDS };
static const unsigned kind_flags[KINDS] = {
    PTE_DATA & ~PTE_W, (PTE_DATA & ~PTE_W) | PTE_U, PTE_V | PTE_X | PTE_AD, PTE_V | PTE_X | PTE_AD | PTE_U
};

/* Privileged manual, "mstatus": SUM, MXR; may a load in mode S (user false) or U read the page? */
static bool may_read(unsigned kind, bool user, bool sum, bool mxr)
{
    bool u_page = kind == K_USER || kind == K_USER_EXEC;
    bool readable = kind == K_SUPER || kind == K_USER || mxr;
    return readable && (user ? u_page : !u_page || sum);
}

static void check_load(Hart *h, unsigned kind, bool user, bool sum, bool mxr, const char *how)
{
    uint64_t va = VA_TEST + kind * 4096, v = 0;
    unsigned faults = try_load(h, 8, va, &v);
    bool may = may_read(kind, user, sum, mxr);
    want(faults == !may, "%s: page kind %u, SUM %u, MXR %u, %s: load %s", how, kind, sum, mxr,
         user ? "U" : "S", faults ? "faulted" : "worked");
    if (faults)
        want_trap(h, CAUSE_LOAD_PAGE, va, how);
    else
        want(v == 0x1000 + kind, "%s: page kind %u: read %lx", how, kind, v);
}

/* M mode with MPRV: loads go through the tables of the mode in MPP. */
static unsigned try_load_mprv(Hart *h, uint64_t va, uint64_t *v, unsigned mode, uint64_t bits)
{
    uint64_t r = *v, status = csr_read(mstatus);
    uint64_t with = (status & ~(MSTATUS_MPP | MSTATUS_SUM | MSTATUS_MXR)) | MSTATUS_MPRV | (uint64_t)mode << 11 | bits;
    h->caught = 0;
    h->catch = true;
    __asm__ volatile("csrw mstatus, %2\n .option push\n.option norvc\n ld %0, (%1)\n .option pop\n csrw mstatus, %3"
                     : "+&r"(r) : "r"(va), "r"(with), "r"(status) : "memory");
    h->catch = false;
    *v = r;
    return h->caught;
}

static void mprv_step(Hart *h)
{
    unsigned kind = rnd_below(h, KINDS);
    bool sum = rnd(h) & 1, mxr = rnd(h) & 1, user = rnd(h) & 1;
    uint64_t va = VA_TEST + kind * 4096, v = 0;
    bool may = may_read(kind, user, sum, mxr);
    /* A trap in M mode sets MPP, so it must be M again for what follows: the last csrw does that. */
    unsigned faults = try_load_mprv(h, va, &v, user ? MODE_U : MODE_S, (sum ? MSTATUS_SUM : 0) | (mxr ? MSTATUS_MXR : 0));
    want(faults == !may, "MPRV: page kind %u, SUM %u, MXR %u, MPP %s: load %s", kind, sum, mxr,
         user ? "U" : "S", faults ? "faulted" : "worked");
    if (faults)
        want_trap(h, CAUSE_LOAD_PAGE, va, "MPRV");
    else
        want(v == 0x1000 + kind, "MPRV: page kind %u: read %lx", kind, v);
    uint64_t flat = load(8, frame(kind));
    want(flat == 0x1000 + kind, "M mode without MPRV reads %lx", flat);
}

static void run_sum_mxr(Hart *h)
{
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *r = pt_root(0);
    for (unsigned k = 0; k < KINDS; k++) {
        if (h->id == 0)
            *(Word *)frame(k) = 0x1000 + k;
        pt_map(r, VA_TEST + k * 4096, frame(k), kind_flags[k]);
    }
    barrier();
    uint64_t n = 0;
    use_satp(satp_of(r, 0));
    sfence_all();
    for (; more(); n += 200) {
        set_mode(MODE_S);
        for (int i = 0; i < 100; i++) {
            bool sum = rnd(h) & 1, mxr = rnd(h) & 1;
            csr_clear(sstatus, MSTATUS_SUM | MSTATUS_MXR);
            csr_set(sstatus, (sum ? MSTATUS_SUM : 0) | (mxr ? MSTATUS_MXR : 0));
            check_load(h, rnd_below(h, KINDS), false, sum, mxr, "S mode");
        }
        csr_clear(sstatus, MSTATUS_SUM | MSTATUS_MXR);
        set_mode(MODE_M);
        for (int i = 0; i < 100; i++)
            mprv_step(h);
    }
    use_satp(0);
    sfence_all();
    count(n);
}

/* ---- a big page becomes small ones and back ------------------------------------------------------------- */

static void run_split(Hart *h)
{
    if (h->id == 0)
        pt_reset();
    barrier();
    Pte *r = pt_root(0), *small = pt_table();
    uint64_t va = VA_BIG + h->id * MIB2, big = big_frame(h->id % 6), n = 0;
    if (h->id < 6)
        for (unsigned i = 0; i < 512; i++)
            *(Word *)(big + i * 4096) = big + i * 4096;
    barrier();
    volatile Pte *e = pt_entry(r, va, 1);
    set_mode(MODE_S);
    use_satp(satp_of(r, 0));
    while (more()) {
        unsigned a = rnd_below(h, 512), b = rnd_below(h, 512);
        *e = pte_of(big, PTE_DATA);
        sfence_all();
        want(load(8, va + a * 4096) == big + a * 4096, "the big page: frame %lx at %lx",
             load(8, va + a * 4096), va + a * 4096);
        for (unsigned i = 0; i < 512; i++)
            small[i] = pte_of(big + (i ^ 1) * 4096, PTE_DATA);
        *e = pte_of((uint64_t)small, PTE_V);
        sfence_all();
        for (unsigned i = 0; i < 4; i++, a = rnd_below(h, 512))
            want(load(8, va + a * 4096) == big + (a ^ 1) * 4096, "small pages: frame %lx at %lx",
                 load(8, va + a * 4096), va + a * 4096);
        small[b] = 0;
        sfence(va + b * 4096);
        uint64_t v = 0;
        want(try_load(h, 8, va + b * 4096, &v), "a small page that is gone reads %lx", v);
        want_trap(h, CAUSE_LOAD_PAGE, va + b * 4096, "a small page that is gone");
        want(load(8, va + (b ^ 1) * 4096) == big + b * 4096, "its neighbour: frame %lx", load(8, va + (b ^ 1) * 4096));
        n++;
    }
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

/* ---- many pages: entries that push each other out ---------------------------------------------------------- */

enum { MANY = 4096 };
static void run_many(Hart *h)
{
    if (h->id == 0) {
        pt_reset();
        root = pt_root(0);
        for (unsigned i = 0; i < MANY; i++) {
            *(Word *)(BARE_FREE_RAM + i * 4096ul) = i;
            pt_map(root, VA_TEST + (uint64_t)i * 4096 * 3, BARE_FREE_RAM + i * 4096ul, PTE_DATA);
        }
    }
    barrier();
    uint64_t n = 0;
    set_mode(MODE_S);
    use_satp(satp_of(root, 0));
    sfence_all();
    for (; more(); n += 1000) {
        for (int i = 0; i < 1000; i++) {
            unsigned p = rnd_below(h, MANY);
            uint64_t v = load(8, VA_TEST + (uint64_t)p * 4096 * 3);
            want(v == p, "page %u reads as page %lu", p, v);
        }
        sfence(VA_TEST + rnd_below(h, MANY) * 4096 * 3);
    }
    use_satp(0);
    sfence_all();
    set_mode(MODE_M);
    count(n);
}

const Case cases[] = {
    { "remap", run_remap },
    { "remap-2M", run_remap_big },
    { "permissions", run_permissions },
    { "code", run_code },
    { "asid", run_asid, no_asid },
    { "satp", run_satp },
    { "sum-mxr-mprv", run_sum_mxr },
    { "split", run_split },
    { "many", run_many },
    { 0 }
};
