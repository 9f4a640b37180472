/* SPDX-License-Identifier: MIT */
/*
 * The RISC-V privileged side without any engine: one hart made by hand, its
 * CSRs, traps, page tables and PMP asked directly. Expected values are the
 * privileged manual's.
 */
#include <stdlib.h>

#include "system/mem.h"
#include "system/vmconfig.h"
#include "target/riscv/cpu.h"
#include "target/riscv/priv.h"
#include "tests/unit/test.h"

extern const Isa isa_riscv64;

/* ---- what the memory system is told */
static int flushes, switches;
static void flush_v(Vcpu *v) { (void)v; flushes++; }
static void flush_ctx(Vcpu *v, unsigned c) { (void)v, (void)c; flushes++; }
static void flush_asid(Vcpu *v, int a, bool g) { (void)v, (void)a, (void)g; flushes++; }
static void flush_page(Vcpu *v, uint64_t va, int a) { (void)v, (void)va, (void)a; flushes++; }
static void note_switch(Vcpu *v) { (void)v; switches++; }
static void nothing(Vcpu *v) { (void)v; }
static const MmuOps fake_mmu = {
    .flush_all = flush_v, .flush_ctx = flush_ctx, .flush_asid = flush_asid, .flush_page = flush_page,
    .mode_changed = nothing, .address_space_changed = note_switch, .code_fence = nothing,
};

/* ---- the hart */
enum { RAM = 0x80000000u, RAM_SIZE = 4 << 20 };
static VmConfig config = { .smp = 1 };
static Vm *vm;
static Vcpu hart;
static RiscvState *s;
static Env *env;
static uint8_t *ram;
static uint64_t ticks;

static void must(Err *e)
{
    if (!e)
        return;
    err_report(e);
    exit(1);
}

static uint64_t fake_time(void *o) { (void)o; return ticks; }

static void hart_new(const char *cpu, const char *opts)
{
    static RamBlock *block;
    static Region region;
    if (!vm) {
        vm = vm_new(&config);
        must(ram_new(vm, "ram", RAM_SIZE, &block));
        region = (Region){ .name = "ram", .kind = REGION_RAM, .size = RAM_SIZE, .ram = block };
        space_edit(vm->mem);
        must(space_map(vm->mem, RAM, &region, 0));
        space_commit(vm->mem);
        ram = block->host;
        mmu_ops = &fake_mmu;
        env = aligned_alloc(4096, (sizeof(Env) + 4095) & ~4095ul);
    } else {
        isa_riscv64.vcpu_free(&hart);
    }
    memset(ram, 0, RAM_SIZE);
    memset(env, 0, sizeof(*env));
    hart = (Vcpu){ .vm = vm, .isa = &isa_riscv64, .env = env };
    pthread_mutex_init(&hart.lock, NULL);
    pthread_cond_init(&hart.cond, NULL);
    env->vcpu = &hart;
    env_init(env);
    env->vcpu = &hart;
    must(isa_riscv64.vcpu_new(&hart, cpu, opts));
    s = hart.state;
    s->time = fake_time;
    isa_riscv64.reset(&hart);
    flushes = switches = 0;
}

static uint64_t rd(unsigned csr) { return riscv_h_csr_read(env, csr, 0, 0); }
static void wr(unsigned csr, uint64_t v) { riscv_h_csr_write(env, csr, v, 0); }
static bool faulted(unsigned cause)
{
    bool yes = env->fault && s->exc_cause == cause;
    env->fault = 0;
    return yes;
}
static void set_prv(unsigned p) { s->prv = p; riscv_update_mode(s); }

enum { SSTATUS = 0x100, SIE = 0x104, SIP = 0x144, SATP = 0x180, MSTATUS = 0x300, MISA, MEDELEG, MIDELEG, MIE,
       MTVEC = 0x305, MENVCFG = 0x30a, MIP = 0x344, STVEC = 0x105, SEPC = 0x141, STIMECMP = 0x14d, MCOUNTEREN = 0x306 };

static void test_csr_access(void)
{
    hart_new("rv64", NULL);
    /* A hart that cannot be made leaves nothing behind. */
    static const char *const wrong[][2] = { { "rv65", NULL }, { "rv64", "zbq=off" }, { "rv64", "f=maybe" } };
    for (unsigned i = 0; i < G_N_ELEMENTS(wrong); i++) {
        Vcpu none = { .vm = vm, .isa = &isa_riscv64, .env = env };
        Err *e = isa_riscv64.vcpu_new(&none, wrong[i][0], wrong[i][1]);
        CHECK(e && !none.state);
        err_free(e);
    }
    CHECK_EQ(rd(MISA) >> 62, 2);
    CHECK_EQ(rd(MISA) & 0x3ffffff, 1 << 0 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 8 | 1 << 12 | 1 << 18 | 1 << 20);
    CHECK(!env->fault);
    rd(0x7c0);
    CHECK(faulted(EXC_ILLEGAL));
    wr(0xf14, 1);                               /* mhartid is read-only by its number */
    CHECK(faulted(EXC_ILLEGAL));
    set_prv(PRV_S);
    riscv_h_csr_read(env, MSTATUS | 0x30002573ull << 12, 0, 0);
    CHECK(faulted(EXC_ILLEGAL));
    CHECK_EQ(s->exc_tval, 0x30002573);
    rd(SSTATUS);
    CHECK(!env->fault);
    rd(0xc00);                                  /* cycle: mcounteren is 0 */
    CHECK(faulted(EXC_ILLEGAL));
    set_prv(PRV_M);
    wr(MCOUNTEREN, 7);
    set_prv(PRV_S);
    rd(0xc01);
    CHECK(!env->fault);
    set_prv(PRV_U);
    rd(0xc01);                                  /* and scounteren is 0 */
    CHECK(faulted(EXC_ILLEGAL));
}

static void test_mstatus(void)
{
    hart_new("rv64", NULL);
    wr(MSTATUS, UINT64_MAX & ~MSTATUS_MPP);
    CHECK_EQ(rd(MSTATUS) & (MSTATUS_UXL | MSTATUS_SXL), 2ull << 32 | 2ull << 34);
    CHECK_EQ(rd(MSTATUS) & MSTATUS_SD, MSTATUS_SD);
    CHECK_EQ(rd(MSTATUS) & MSTATUS_VS, 0);
    wr(MSTATUS, MSTATUS_MPP);
    CHECK_EQ(rd(MSTATUS) & MSTATUS_MPP, MSTATUS_MPP);
    wr(MSTATUS, 2ull << 11);                    /* reserved: the field keeps its value */
    CHECK_EQ(rd(MSTATUS) & MSTATUS_MPP, MSTATUS_MPP);
    wr(SSTATUS, MSTATUS_MIE | MSTATUS_SIE);
    CHECK_EQ(rd(MSTATUS) & (MSTATUS_MIE | MSTATUS_SIE), MSTATUS_SIE);
    CHECK_EQ(rd(SSTATUS) & MSTATUS_MPP, 0);
    /* MXR changes what pages grant */
    flushes = 0;
    wr(MSTATUS, MSTATUS_MXR);
    CHECK(flushes > 0);
    /* MPRV: data context is MPP's */
    wr(MSTATUS, MSTATUS_MPRV | 1ull << 11);
    CHECK_EQ(env->mode & MODE_CTX, CTX_S);
    wr(MSTATUS, MSTATUS_MPRV | 1ull << 11 | MSTATUS_SUM);
    CHECK_EQ(env->mode & MODE_CTX, CTX_SUM);
    wr(MSTATUS, MSTATUS_MPRV);
    CHECK_EQ(env->mode & MODE_CTX, CTX_U);
    CHECK_EQ(isa_riscv64.fetch_ctx(env->mode), CTX_M);
}

static void test_fp_csrs(void)
{
    hart_new("rv64", NULL);
    rd(3);
    CHECK(faulted(EXC_ILLEGAL));                /* FS is off */
    wr(MSTATUS, 1ull << 13);
    wr(3, 0xff);
    CHECK_EQ(rd(3), 0xff);
    CHECK_EQ(rd(1), 0x1f);
    CHECK_EQ(rd(2), 7);
    CHECK_EQ(env->mode >> RVM_FRM_SHIFT & 7, 7);
    CHECK_EQ(rd(MSTATUS) & (MSTATUS_FS | MSTATUS_SD), MSTATUS_FS | MSTATUS_SD);
    CHECK_EQ(env->mode >> RVM_FS_SHIFT & 3, RVM_FS_DIRTY);
    wr(2, 1);
    CHECK_EQ(rd(3), 0x3f);
    riscv_h_csr_clear(env, 1, 0x11, 0);
    CHECK_EQ(rd(1), 0x0e);
}

static void test_trap_and_return(void)
{
    hart_new("rv64", NULL);
    wr(MEDELEG, BIT(EXC_ECALL_U) | BIT(EXC_ECALL_M));
    CHECK_EQ(rd(MEDELEG), BIT(EXC_ECALL_U));    /* ecall from M can't be delegated */
    wr(MTVEC, 0x80000100);
    wr(STVEC, 0x80000200);
    wr(SSTATUS, MSTATUS_SIE);
    set_prv(PRV_U);
    CHECK_EQ(riscv_h_ecall(env, 0x1234, 0, 0), 0x80000200);
    CHECK_EQ(s->prv, PRV_S);
    CHECK_EQ(rd(SEPC), 0x1234);
    CHECK_EQ(env->sys[SYS_SCAUSE], EXC_ECALL_U);
    CHECK_EQ(rd(SSTATUS) & (MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP), MSTATUS_SPIE);
    CHECK_EQ(riscv_h_ecall(env, 0x80000210, 0, 0), 0x80000100);
    CHECK_EQ(s->prv, PRV_M);
    CHECK_EQ(env->sys[SYS_MCAUSE], EXC_ECALL_S);
    CHECK_EQ(rd(MSTATUS) & MSTATUS_MPP, 1ull << 11);
    CHECK_EQ(riscv_h_mret(env, 0, 0, 0), 0x80000210);
    CHECK_EQ(s->prv, PRV_S);
    CHECK_EQ(riscv_h_sret(env, 0, 0, 0), 0x1234);
    CHECK_EQ(s->prv, PRV_U);
    CHECK_EQ(riscv_mstatus(s) & MSTATUS_SIE, MSTATUS_SIE);
    riscv_h_sret(env, 0, 0x10200073, 0);        /* not from U */
    CHECK(faulted(EXC_ILLEGAL));
    set_prv(PRV_M);
    wr(MSTATUS, MSTATUS_TSR | MSTATUS_TW | MSTATUS_TVM);
    set_prv(PRV_S);
    riscv_h_sret(env, 0, 0, 0);
    CHECK(faulted(EXC_ILLEGAL));
    riscv_h_wfi(env, 0, 0, 0);
    CHECK(faulted(EXC_ILLEGAL));
    rd(SATP);
    CHECK(faulted(EXC_ILLEGAL));
    riscv_h_sfence_vma(env, 0, 0, 0);
    CHECK(faulted(EXC_ILLEGAL));
}

/* An interrupt for M mode doesn't end a wfi below it; one that is handled there does. */
static void test_wfi(void)
{
    hart_new("rv64", NULL);
    wr(MTVEC, 0x80000100);
    wr(STVEC, 0x80000200);
    wr(MIDELEG, BIT(IRQ_SSI));
    wr(MIE, BIT(IRQ_MSI) | BIT(IRQ_SSI));
    set_prv(PRV_S);
    riscv_h_wfi(env, 0, 0, 0);
    env->pc = 0x80001004;                       /* behind the wfi */
    riscv_irq_line(&hart, IRQ_MSI, 1);
    CHECK(isa_riscv64.irq(&hart));
    CHECK_EQ(env->pc, 0x80000100);
    CHECK_EQ(env->sys[SYS_MEPC], 0x80001000);
    riscv_irq_line(&hart, IRQ_MSI, 0);
    s->mip |= BIT(IRQ_SSI);                     /* the firmware passes it on: wfi is done again, and ends at once */
    CHECK_EQ(riscv_h_mret(env, 0, 0, 0), 0x80001000);
    env->pc = 0x80001000;
    CHECK(!isa_riscv64.irq(&hart));             /* SIE is off */
    riscv_h_wfi(env, 0, 0, 0);
    env->pc = 0x80001004;
    CHECK(isa_riscv64.wakes(&hart));
    CHECK(!isa_riscv64.irq(&hart));
    riscv_irq_line(&hart, IRQ_MSI, 1);          /* it has gone on since */
    CHECK(isa_riscv64.irq(&hart));
    CHECK_EQ(env->sys[SYS_MEPC], 0x80001004);
    riscv_irq_line(&hart, IRQ_MSI, 0);
    CHECK_EQ(riscv_h_mret(env, 0, 0, 0), 0x80001004);
    /* taken in S mode: behind the wfi, as the manual says */
    wr(SSTATUS, MSTATUS_SIE);
    riscv_h_wfi(env, 0, 0, 0);
    env->pc = 0x80001004;
    CHECK(isa_riscv64.irq(&hart));
    CHECK_EQ(rd(SEPC), 0x80001004);
}

static void test_interrupts(void)
{
    hart_new("rv64", NULL);
    wr(MTVEC, 0x80000101);                      /* vectored */
    wr(STVEC, 0x80000201);
    wr(MIDELEG, BIT(IRQ_SSI) | BIT(IRQ_STI) | BIT(IRQ_SEI));
    wr(MIE, BIT(IRQ_MTI) | BIT(IRQ_MSI) | BIT(IRQ_SEI) | BIT(IRQ_SSI));
    riscv_irq_line(&hart, IRQ_MTI, 1);
    riscv_irq_line(&hart, IRQ_MSI, 1);
    riscv_irq_line(&hart, IRQ_SEI, 1);
    env->pc = 0x80001000;
    CHECK(isa_riscv64.wakes(&hart));
    CHECK(!isa_riscv64.irq(&hart));             /* in M with MIE off */
    wr(MSTATUS, MSTATUS_MIE);
    CHECK(env->poll);
    CHECK(isa_riscv64.irq(&hart));
    CHECK_EQ(env->pc, 0x80000100 + 4 * IRQ_MSI);    /* software goes before timer */
    CHECK_EQ(env->sys[SYS_MCAUSE], BIT(63) | IRQ_MSI);
    riscv_irq_line(&hart, IRQ_MSI, 0);
    riscv_irq_line(&hart, IRQ_MTI, 0);
    CHECK_EQ(rd(MIP), BIT(IRQ_SEI));
    CHECK_EQ(rd(SIP), BIT(IRQ_SEI));
    set_prv(PRV_S);
    CHECK(!isa_riscv64.irq(&hart));             /* S with SIE off */
    set_prv(PRV_U);
    CHECK(isa_riscv64.irq(&hart));              /* always from below */
    CHECK_EQ(env->pc, 0x80000200 + 4 * IRQ_SEI);
    CHECK_EQ(s->prv, PRV_S);
    /* a device's line does not become software's bit */
    set_prv(PRV_M);
    riscv_h_csr_set(env, MIP, BIT(IRQ_SSI), 0);
    riscv_irq_line(&hart, IRQ_SEI, 0);
    CHECK_EQ(rd(MIP), BIT(IRQ_SSI));
    wr(SIP, 0);
    CHECK_EQ(rd(MIP), 0);
}

static void test_sstc(void)
{
    hart_new("rv64", NULL);
    wr(MENVCFG, ENVCFG_STCE);
    ticks = 100;
    wr(STIMECMP, 200);
    CHECK_EQ(rd(MIP) & BIT(IRQ_STI), 0);
    ticks = 200;
    CHECK_EQ(rd(MIP) & BIT(IRQ_STI), BIT(IRQ_STI));
    wr(STIMECMP, 300);
    CHECK_EQ(rd(MIP) & BIT(IRQ_STI), 0);
    set_prv(PRV_S);
    wr(STIMECMP, 1);
    CHECK(faulted(EXC_ILLEGAL));                /* mcounteren.TM is 0 */
    CHECK_EQ(s->stimecmp, 300);
}

/* ---- page tables, in guest RAM at RAM + 0x1000 .. */

static uint64_t *table(unsigned n) { return (uint64_t *)(ram + 0x1000 * n); }
static uint64_t pte(uint64_t pa, unsigned bits) { return pa >> 12 << 10 | bits; }
enum { V = 1, R = 2, W = 4, X = 8, U = 16, G = 32, A = 64, D = 128 };

static void sv39_on(void)
{
    hart_new("rv64", NULL);
    table(1)[0] = pte(RAM + 0x2000, V);
    table(2)[0] = pte(RAM + 0x3000, V);
    table(3)[1] = pte(RAM + 0x10000, V | R | W | A | D);
    table(3)[2] = pte(RAM + 0x11000, V | R | U | A);
    table(3)[3] = pte(RAM + 0x12000, V | X | A);
    table(3)[4] = pte(RAM + 0x13000, V | R | W);
    table(3)[5] = pte(RAM + 0x14000, V | W | A);                /* reserved combination */
    table(3)[6] = pte(RAM + 0x15000, V | R | A) | 3ull << 61;   /* reserved memory type */
    table(2)[1] = pte(RAM + 0x200000, V | R | W | X | A | D | G);
    table(2)[2] = pte(RAM + 0x201000, V | R | A);               /* misaligned superpage */
    wr(SATP, 8ull << 60 | (RAM + 0x1000) >> 12);
    set_prv(PRV_S);
    env->fault = 0;
}

static bool walk(uint64_t va, Access a, unsigned ctx, Page *p)
{
    return isa_riscv64.walk(&hart, va, a, ctx, p);
}

static void test_sv39(void)
{
    Page p;
    sv39_on();
    CHECK_EQ(switches, 1);
    CHECK(walk(0x1234, ACCESS_READ, CTX_S, &p));
    CHECK_EQ(p.pa, RAM + 0x10000);
    CHECK_EQ(p.prot, PROT_R | PROT_W);
    CHECK_EQ(p.order, 12);
    CHECK(!p.global);
    CHECK(!walk(0x1234, ACCESS_EXEC, CTX_S, &p));
    CHECK(!walk(0x1234, ACCESS_READ, CTX_U, &p));
    CHECK(walk(0x2000, ACCESS_READ, CTX_U, &p));
    CHECK(!walk(0x2000, ACCESS_READ, CTX_S, &p));
    CHECK(walk(0x2000, ACCESS_READ, CTX_SUM, &p));
    CHECK(walk(0x3000, ACCESS_EXEC, CTX_S, &p));
    CHECK(!walk(0x3000, ACCESS_READ, CTX_S, &p));
    *riscv_sys(s, SYS_MSTATUS) |= MSTATUS_MXR;
    CHECK(walk(0x3000, ACCESS_READ, CTX_S, &p));
    CHECK(!walk(0x5000, ACCESS_READ, CTX_S, &p));
    CHECK(!walk(0x6000, ACCESS_READ, CTX_S, &p));
    CHECK(!walk(0x7000, ACCESS_READ, CTX_S, &p));               /* not valid */
    CHECK(!walk(1ull << 38, ACCESS_READ, CTX_S, &p));           /* not canonical */
    CHECK(!s->walk_access);
    CHECK(walk(0x3ff123, ACCESS_WRITE, CTX_S, &p));
    CHECK_EQ(p.pa, RAM + 0x3ff000);
    CHECK_EQ(p.order, 21);
    CHECK(p.global);
    CHECK(!walk(0x400000, ACCESS_READ, CTX_S, &p));
    table(1)[1] = pte(0x10000000, V);                           /* a table that is not RAM */
    CHECK(!walk(1 << 30, ACCESS_READ, CTX_S, &p));
    CHECK(s->walk_access);
    riscv_mem_fault(&hart, 1 << 30, ACCESS_READ, CTX_S, 0, MEM_FAULT_PAGE);
    CHECK(faulted(EXC_LOAD_ACCESS));
    CHECK(!walk(0x7000, ACCESS_WRITE, CTX_S, &p));
    riscv_mem_fault(&hart, 0x7008, ACCESS_WRITE, CTX_S, 0, MEM_FAULT_PAGE);
    CHECK_EQ(s->exc_tval, 0x7008);
    CHECK(faulted(EXC_STORE_PAGE));
}

static void test_accessed_dirty(void)
{
    Page p;
    sv39_on();
    CHECK(walk(0x4000, ACCESS_READ, CTX_S, &p));                /* Svadu */
    CHECK_EQ(table(3)[4] & (A | D), A);
    CHECK_EQ(p.prot, PROT_R);                                   /* no write while D is clear */
    CHECK(walk(0x4000, ACCESS_WRITE, CTX_S, &p));
    CHECK_EQ(table(3)[4] & (A | D), A | D);
    CHECK_EQ(p.prot, PROT_R | PROT_W);
    table(3)[4] = pte(RAM + 0x13000, V | R | W);
    s->menvcfg &= ~ENVCFG_ADUE;                                 /* Svade */
    CHECK(!walk(0x4000, ACCESS_READ, CTX_S, &p));
    CHECK_EQ(table(3)[4] & (A | D), 0);
}

static void test_napot_and_pbmt(void)
{
    Page p;
    sv39_on();
    for (int i = 16; i < 32; i++)
        table(3)[i] = (pte(RAM + 0x40000, V | R | A) | 8ull << 10) | 1ull << 63;
    CHECK(walk(0x15000, ACCESS_READ, CTX_S, &p));
    CHECK_EQ(p.pa, RAM + 0x45000);
    CHECK_EQ(p.order, 16);
    table(3)[16] = (pte(RAM + 0x40000, V | R | A) | 4ull << 10) | 1ull << 63;
    CHECK(!walk(0x10000, ACCESS_READ, CTX_S, &p));              /* only 64 KiB is defined */
    table(3)[8] = pte(RAM + 0x16000, V | R | A) | 1ull << 61;
    CHECK(!walk(0x8000, ACCESS_READ, CTX_S, &p));               /* PBMTE is off */
    s->menvcfg |= ENVCFG_PBMTE;
    CHECK(walk(0x8000, ACCESS_READ, CTX_S, &p));
}

static void test_address_spaces(void)
{
    Page p;
    sv39_on();
    CHECK(walk(0x1000, ACCESS_READ, CTX_S, &p));                /* caches the last-level table */
    table(4)[0] = pte(RAM + 0x5000, V);
    table(5)[0] = pte(RAM + 0x6000, V);
    table(6)[1] = pte(RAM + 0x20000, V | R | A);
    set_prv(PRV_M);
    wr(SATP, 8ull << 60 | 7ull << 44 | (RAM + 0x4000) >> 12);
    CHECK(walk(0x1000, ACCESS_READ, CTX_S, &p));
    CHECK_EQ(p.pa, RAM + 0x20000);
    CHECK_EQ(isa_riscv64.asid(&hart, CTX_S), 7);
    /* the same root under a new ASID must not see the old ASID's cached tables */
    table(5)[0] = pte(RAM + 0x7000, V);
    table(7)[1] = pte(RAM + 0x21000, V | R | A);
    wr(SATP, 8ull << 60 | 8ull << 44 | (RAM + 0x4000) >> 12);
    CHECK(walk(0x1000, ACCESS_READ, CTX_S, &p));
    CHECK_EQ(p.pa, RAM + 0x21000);
    uint64_t was = rd(SATP);
    wr(SATP, 7ull << 60);                                       /* no such mode: nothing is written */
    CHECK_EQ(rd(SATP), was);
    /* Sv57: five levels */
    memset(ram, 0, 0x10000);
    for (int i = 1; i < 5; i++)
        table(i)[511] = pte(RAM + 0x1000 * (i + 1), V);
    table(5)[511] = pte(RAM + 0x30000, V | R | A);
    wr(SATP, 10ull << 60 | (RAM + 0x1000) >> 12);
    riscv_walks_drop(s);
    CHECK(walk(-4096ull + 8, ACCESS_READ, CTX_S, &p));
    CHECK_EQ(p.pa, RAM + 0x30000);
    hart_new("rv64", "sv57=off,sv48=off");
    wr(SATP, 10ull << 60 | (RAM + 0x1000) >> 12);
    CHECK_EQ(rd(SATP), 0);
}

static void test_pmp(void)
{
    uint8_t order;
    hart_new("rv64", NULL);
    CHECK(riscv_pmp_check(s, RAM, 4, ACCESS_READ, PRV_S, &order));     /* no entry: as without PMP */
    wr(0x3b0, RAM >> 2);                                        /* TOR [0, RAM): nothing */
    wr(0x3b1, (RAM + 0x10000) >> 2 | 0x7ff);                    /* NAPOT 16 KiB: r-x */
    wr(0x3b2, (RAM + 0x20010) >> 2);                            /* NA4: rw- */
    wr(0x3b3, UINT64_MAX);                                      /* NAPOT all: rwx */
    wr(0x3a0, 0x08 | 0x1d << 8 | 0x13 << 16 | 0x1full << 24);
    CHECK_EQ(rd(0x3b3), (1ull << 54) - 1);
    CHECK(!riscv_pmp_check(s, 0x1000, 4, ACCESS_READ, PRV_S, &order));
    CHECK(riscv_pmp_check(s, 0x1000, 4, ACCESS_READ, PRV_M, &order));
    CHECK(riscv_pmp_check(s, RAM + 0x10000, 4, ACCESS_EXEC, PRV_U, &order));
    CHECK_EQ(order, 12);
    CHECK(!riscv_pmp_check(s, RAM + 0x13ff8, 8, ACCESS_WRITE, PRV_U, &order));
    CHECK(riscv_pmp_check(s, RAM + 0x14000, 8, ACCESS_WRITE, PRV_U, &order));
    CHECK(riscv_pmp_check(s, RAM + 0x20010, 4, ACCESS_WRITE, PRV_U, &order));
    CHECK_EQ(order, 2);
    CHECK(!riscv_pmp_check(s, RAM + 0x20010, 4, ACCESS_EXEC, PRV_U, &order));
    CHECK(!riscv_pmp_check(s, RAM + 0x20010, 8, ACCESS_READ, PRV_U, &order));      /* matches a part */
    CHECK(riscv_pmp_check(s, RAM + 0x20018, 8, ACCESS_EXEC, PRV_U, &order));
    CHECK_EQ(order, 3);
    CHECK(riscv_pmp_check(s, RAM + 0x20011, 1, ACCESS_READ, PRV_U, &order));       /* 8 bytes there would not do */
    CHECK_EQ(order, 2);
    CHECK(riscv_pmp_check(s, RAM + 0x200000, 8, ACCESS_EXEC, PRV_U, &order));
    CHECK_EQ(order, 21);
    /* a locked entry binds M too, and can't be changed; nor can the base of a locked TOR */
    wr(0x3a0, 0x08 | 0x9dull << 8);
    CHECK(!riscv_pmp_check(s, RAM + 0x10000, 4, ACCESS_WRITE, PRV_M, &order));
    CHECK(riscv_pmp_check(s, RAM + 0x10000, 4, ACCESS_READ, PRV_M, &order));
    wr(0x3b1, 0);
    CHECK_EQ(rd(0x3b1), (RAM + 0x10000) >> 2 | 0x7ff);
    wr(0x3a0, 0);
    CHECK_EQ(rd(0x3a0), 0x9d00);
    wr(0x3b4, 0x1000), wr(0x3b5, 0x2000);
    wr(0x3a0, 0x88ull << 40);
    wr(0x3b4, 0x1800);
    CHECK_EQ(rd(0x3b4), 0x1000);
}

static void test_pmp_guards_tables(void)
{
    Page p;
    sv39_on();
    set_prv(PRV_M);
    wr(0x3b0, RAM >> 2 | 0x1fff);                               /* NAPOT 64 KiB at RAM: no access */
    wr(0x3b1, UINT64_MAX);
    wr(0x3a0, 0x18 | 0x1f << 8);
    CHECK(!walk(0x1000, ACCESS_READ, CTX_S, &p));
    CHECK(s->walk_access);
}

static void test_models(void)
{
    hart_new("max", NULL);
    char *isa = riscv_isa_string(s);
    CHECK(strstr(isa, "rv64imafdc_zicbom_") == isa);
    CHECK(strstr(isa, "_zknh"));
    g_free(isa);
    hart_new("rv64", "zba=off,zacas=on");
    CHECK(!riscv_has(s, RV_ZBA));
    CHECK(riscv_has(s, RV_ZACAS));
    hart_new("rv64", "f=off");                                  /* what stands on it goes too */
    CHECK(!riscv_has(s, RV_D));
    CHECK(!riscv_has(s, RV_ZFA));
    hart_new("rva22s64", NULL);
    CHECK_EQ(s->menvcfg & ENVCFG_ADUE, 0);

    Err *e = riscv_cpu_configure(s, "rv46", NULL);
    CHECK(e && strstr(err_hint_text(e), "'rv64'"));
    err_free(e);
    e = riscv_cpu_configure(s, "rv64", "zbaa=on");
    CHECK(e && strstr(err_hint_text(e), "'zba'"));
    err_free(e);
    e = riscv_cpu_configure(s, "rv64", "v=on");
    CHECK(e && err_class(e) == ERR_UNSUPPORTED);
    err_free(e);
    e = riscv_cpu_configure(s, "rva22s64", "f=off,zfa=on");
    CHECK(e && strstr(err_text(e), "needs 'f'"));
    err_free(e);
    e = riscv_cpu_configure(s, "rv64", "zba=maybe");
    CHECK(e);
    err_free(e);
}

static void test_counters(void)
{
    hart_new("max", NULL);
    wr(0xb00, 1000);
    uint64_t a = rd(0xb00);
    CHECK(a >= 1000);
    CHECK(rd(0xb00) >= a);
    wr(0x320, 1);                                               /* stands still */
    wr(0xb00, 5);
    CHECK_EQ(rd(0xb00), 5);
    CHECK_EQ(rd(0xb00), 5);
    wr(0xb03, 7);                                               /* no event chosen */
    CHECK_EQ(rd(0xb03), 7);
    wr(0x323, 1);
    CHECK(rd(0xb03) >= 7);
    CHECK_EQ(rd(0xda0), 0);
}

int main(void)
{
    RUN(test_csr_access);
    RUN(test_mstatus);
    RUN(test_fp_csrs);
    RUN(test_trap_and_return);
    RUN(test_wfi);
    RUN(test_interrupts);
    RUN(test_sstc);
    RUN(test_sv39);
    RUN(test_accessed_dirty);
    RUN(test_napot_and_pbmt);
    RUN(test_address_spaces);
    RUN(test_pmp);
    RUN(test_pmp_guards_tables);
    RUN(test_models);
    RUN(test_counters);
    return test_end();
}
