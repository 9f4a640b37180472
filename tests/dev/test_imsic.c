/* SPDX-License-Identifier: MIT */
/*
 * IMSIC: pages of the interrupt files, messages from other threads, what reaches
 * the harts. The harts' CSRs are in target/riscv/tests/aia.S; here they are used.
 */
#include <stdatomic.h>

#include "tests/dev/rig.h"

#include "hw/board/riscv_virt.h"
#include "system/msi.h"
#include "target/riscv/cpu.h"
#include "target/riscv/helpers.h"
#include "target/riscv/imsic.h"
#include "target/riscv/priv.h"

enum { MTOPEI = 0x35c, STOPEI = 0x15c, MISELECT = 0x350, SISELECT = 0x150, MIP = 0x344, MIE = 0x304,
       EIDELIVERY = 0x70, EITHRESHOLD = 0x72, EIP0 = 0x80, EIE0 = 0xc0 };

extern const Isa isa_riscv64;
static Rig rig, *r = &rig;

static void start(const char *opts)
{
    rig_init(r);
    r->config.machine_opts = (char *)opts;
    rig_board(r);
}

static uint64_t csr(int hart, unsigned n) { return riscv_h_csr_read(r->cpus[hart].env, n, 0, 0); }
static uint64_t csr_w(int hart, unsigned n, uint64_t v) { return riscv_h_csr_write(r->cpus[hart].env, n, v, 0); }

static bool faulted(int hart)
{
    bool yes = r->cpus[hart].env->fault;

    r->cpus[hart].env->fault = 0;
    return yes;
}

/* A register of a hart's file of M or S, through the window. */
static uint64_t file(int hart, int level, unsigned reg)
{
    unsigned select = level == AIA_M ? MISELECT : SISELECT;

    csr_w(hart, select, reg);
    return csr(hart, select + 1);
}

static void file_w(int hart, int level, unsigned reg, uint64_t v)
{
    unsigned select = level == AIA_M ? MISELECT : SISELECT;

    csr_w(hart, select, reg);
    csr_w(hart, select + 1, v);
}

static void open_all(int hart, int level)
{
    for (unsigned n = 0; n < 8; n += 2)
        file_w(hart, level, EIE0 + n, UINT64_MAX);
    file_w(hart, level, EIDELIVERY, 1);
}

static uint64_t page(int hart, int level) { return (level == AIA_M ? VIRT_IMSIC_M : VIRT_IMSIC_S) + hart * 0x1000; }

/* ---- */

static void test_page(void)
{
    start("aia=aplic-imsic");
    open_all(1, AIA_S);
    wr32(r, page(1, AIA_S), 77);
    CHECK(line(r, 1, IRQ_SEI) && !line(r, 1, IRQ_MEI) && !line(r, 0, IRQ_SEI));
    CHECK_EQ(rd32(r, page(1, AIA_S)), 0);
    CHECK_EQ(file(1, AIA_S, EIP0 + 2), BIT(77 - 64));
    CHECK_EQ(csr_w(1, STOPEI, 0), 77 << 16 | 77);
    CHECK(!line(r, 1, IRQ_SEI));
    wr32(r, page(1, AIA_S) + 4, __builtin_bswap32(255));
    CHECK_EQ(csr(1, STOPEI), 255 << 16 | 255);
    open_all(0, AIA_M);
    wr32(r, page(0, AIA_M), 1);
    CHECK(line(r, 0, IRQ_MEI) && !line(r, 0, IRQ_SEI));
    rig_free(r);
}

/* What the manual says is ignored. */
static void test_ignored(void)
{
    static const uint32_t none[] = { 0, 256, 0x100, 0x10001, 0x80000000, 0xffffffff };

    start("aia=aplic-imsic");
    open_all(0, AIA_S);
    for (unsigned i = 0; i < G_N_ELEMENTS(none); i++) {
        wr32(r, page(0, AIA_S), none[i]);
        wr32(r, page(0, AIA_S) + 4, __builtin_bswap32(none[i]));
    }
    wr32(r, page(0, AIA_S) + 4, 1);             /* the wrong way round */
    wr32(r, page(0, AIA_S) + 8, 1);
    wr32(r, page(0, AIA_S) + 0xffc, 1);
    wr(r, page(0, AIA_S), 1, 1);
    wr(r, page(0, AIA_S), 1, 2);
    wr(r, page(0, AIA_S), 1, 8);
    for (unsigned n = 0; n < 8; n += 2)
        CHECK_EQ(file(0, AIA_S, EIP0 + n), 0);
    for (unsigned off = 0; off < 0x1000; off += 4)
        CHECK_EQ(rd32(r, page(0, AIA_S) + off), 0);
    CHECK(!line(r, 0, IRQ_SEI));
    rig_free(r);
}

static void test_delivery(void)
{
    start("aia=aplic-imsic");
    wr32(r, page(0, AIA_S), 40);
    CHECK(!line(r, 0, IRQ_SEI));                /* not enabled, but not forgotten */
    file_w(0, AIA_S, EIE0, BIT(40));
    CHECK_EQ(csr(0, STOPEI), 40 << 16 | 40);
    CHECK(!line(r, 0, IRQ_SEI));
    file_w(0, AIA_S, EITHRESHOLD, 40);
    file_w(0, AIA_S, EIDELIVERY, 1);
    CHECK(!line(r, 0, IRQ_SEI));
    CHECK_EQ(csr(0, STOPEI), 0);
    file_w(0, AIA_S, EITHRESHOLD, 41);
    CHECK(line(r, 0, IRQ_SEI));
    file_w(0, AIA_S, EIE0, 0);
    CHECK(!line(r, 0, IRQ_SEI));
    file_w(0, AIA_S, EIE0, BIT(40) | BIT(9));
    wr32(r, page(0, AIA_S), 9);
    CHECK_EQ(csr_w(0, STOPEI, 0), 9 << 16 | 9);
    CHECK(line(r, 0, IRQ_SEI));                 /* the other one */
    file_w(0, AIA_S, EIP0, 0);
    CHECK(!line(r, 0, IRQ_SEI));
    /* A claim is of what was read, not of what came meanwhile. */
    wr32(r, page(0, AIA_S), 40);
    CHECK_EQ(csr(0, STOPEI), 40 << 16 | 40);
    RiscvState *s = r->cpus[0].state;
    wr32(r, page(0, AIA_S), 9);
    riscv_imsic_claim(s, AIA_S);
    CHECK_EQ(file(0, AIA_S, EIP0), BIT(9));
    rig_free(r);
}

static void test_traps(void)
{
    start("aia=aplic-imsic");
    Env *env = r->cpus[1].env;
    RiscvState *s = r->cpus[1].state;
    open_all(1, AIA_S);
    csr_w(1, MIE, 1 << IRQ_SEI);
    csr_w(1, 0x305, 0x80000100);
    csr_w(1, 0x105, 0x80000200);
    s->prv = PRV_U;
    riscv_update_mode(s);
    CHECK(!isa_riscv64.wakes(&r->cpus[1]) && !isa_riscv64.irq(&r->cpus[1]));
    wr32(r, page(1, AIA_S), 5);
    CHECK(env->poll);
    CHECK(isa_riscv64.wakes(&r->cpus[1]) && isa_riscv64.irq(&r->cpus[1]));
    CHECK_EQ(env->pc, 0x80000100);              /* not delegated */
    CHECK_EQ(env->sys[SYS_MCAUSE], BIT(63) | IRQ_SEI);
    /* M keeps external interrupts and makes one up for S. */
    csr_w(1, 0x308, 1 << IRQ_SEI);
    csr_w(1, 0x309, 1 << IRQ_SEI);
    csr_w(1, 0x104, 1 << IRQ_SEI);
    csr_w(1, STOPEI, 0);
    CHECK_EQ(csr(1, MIP), 0);
    CHECK_EQ(csr(1, 0xdb0), IRQ_SEI << 16 | 255);       /* priority 256, as no controller gives one */
    s->prv = PRV_U;
    riscv_update_mode(s);
    CHECK(isa_riscv64.wakes(&r->cpus[1]) && isa_riscv64.irq(&r->cpus[1]));
    CHECK_EQ(env->pc, 0x80000200);
    CHECK_EQ(s->prv, PRV_S);
    CHECK(!isa_riscv64.irq(&r->cpus[1]));
    /* A line that is high for nothing is seen through. */
    s->mvip = 0;
    s->prv = PRV_U;
    s->mideleg = 1 << IRQ_SEI;
    riscv_irq_line(&r->cpus[1], IRQ_SEI, 1);
    CHECK(!isa_riscv64.irq(&r->cpus[1]));
    CHECK(!line(r, 1, IRQ_SEI));
    rig_free(r);
}

static void test_messages(void)
{
    start("aia=aplic-imsic");
    CHECK(msi_possible(r->vm));
    open_all(1, AIA_S);
    vm_unlock(r->vm);                           /* needed by none of these */
    msi_send(r->vm, page(1, AIA_S), 33);
    CHECK(line(r, 1, IRQ_SEI));
    msi_send(r->vm, page(2, AIA_S), 33);        /* no such hart */
    msi_send(r->vm, page(0, AIA_M) - 4, 33);
    msi_send(r->vm, 0, 33);
    msi_send(r->vm, VIRT_RAM, 33);
    msi_send(r->vm, page(1, AIA_S) + 2, 34);
    vm_lock(r->vm);
    CHECK_EQ(csr_w(1, STOPEI, 0), 33 << 16 | 33);
    CHECK_EQ(csr(1, STOPEI), 0);
    CHECK_EQ(space_write(r->vm->mem, page(1, AIA_S), "\x22\0\0\0", 4), MEM_DENIED);     /* DMA is none */
    CHECK_EQ(csr(1, STOPEI), 0);
    vm_reset(r->vm);
    CHECK_EQ(file(1, AIA_S, EIE0), 0);
    CHECK_EQ(file(1, AIA_S, EIDELIVERY), 0);
    rig_free(r);
}

/* ---- messages of several threads while the hart claims and writes: none is lost, none comes twice */

enum { SENDERS = 3, ROUNDS = 20000 };
static _Atomic int sent[SENDERS];
static _Atomic int taken[SENDERS];

/* Sends its own identity again when the last one was claimed. */
static void *sender(void *opaque)
{
    int n = (intptr_t)opaque;

    for (int i = 0; i < ROUNDS; i++) {
        atomic_fetch_add(&sent[n], 1);
        msi_send(r->vm, page(0, AIA_S), 10 + n * 60);
        while (atomic_load(&taken[n]) != atomic_load(&sent[n]))
            sched_yield();
    }
    return NULL;
}

static bool all_taken(void)
{
    int sum = 0;

    for (int n = 0; n < SENDERS; n++)
        sum += atomic_load(&taken[n]);
    return sum == SENDERS * ROUNDS;
}

static void test_race(void)
{
    pthread_t threads[SENDERS];
    RiscvState *s;
    int64_t end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

    start("aia=aplic-imsic");
    s = r->cpus[0].state;
    open_all(0, AIA_S);
    csr_w(0, SISELECT, EIP0);
    csr_w(0, 0x303, 1 << IRQ_SEI);
    csr_w(0, MIE, 1 << IRQ_SEI);
    s->prv = PRV_U;
    for (int n = 0; n < SENDERS; n++)
        CHECK(!pthread_create(&threads[n], NULL, sender, (void *)(intptr_t)n));
    while (!all_taken() && g_get_monotonic_time() < end) {
        if (!isa_riscv64.irq(&r->cpus[0])) {
            sched_yield();
            continue;
        }
        unsigned id = csr_w(0, STOPEI, 0) >> 16;
        if (id)
            atomic_fetch_add(&taken[(id - 10) / 60], 1);
        riscv_h_csr_set(r->cpus[0].env, SISELECT + 1, 1 << 20, 0);      /* and other bits of eip0 meanwhile */
        riscv_h_csr_clear(r->cpus[0].env, SISELECT + 1, 1 << 20, 0);
        CHECK(!faulted(0));
        s->prv = PRV_U;
    }
    if (!all_taken()) {
        printf("a message was lost: %d %d %d of %d\n", taken[0], taken[1], taken[2], ROUNDS);
        exit(1);
    }
    for (int n = 0; n < SENDERS; n++) {
        pthread_join(threads[n], NULL);
        CHECK_EQ(taken[n], ROUNDS);
    }
    CHECK(!isa_riscv64.irq(&r->cpus[0]));
    rig_free(r);
}

/* ---- boards without, and what harts have there */

static void test_without(void)
{
    start("aia=aplic");
    CHECK(!msi_possible(r->vm));
    csr(0, STOPEI);
    CHECK(faulted(0));
    csr(0, 0xdb0);
    CHECK(faulted(0));
    CHECK(!riscv_has(r->cpus[0].state, RV_SSAIA));
    /* The extension alone, with a PLIC or an APLIC: no interrupt file. */
    CHECK(riscv_cpu_force(&r->cpus[0], RV_SMAIA) == NULL);
    CHECK(riscv_cpu_force(&r->cpus[0], RV_SSAIA) == NULL);
    csr(0, 0xdb0);
    CHECK(!faulted(0));
    csr(0, STOPEI);
    CHECK(faulted(0));
    csr_w(0, MISELECT, EIDELIVERY);
    csr(0, MISELECT + 1);
    CHECK(faulted(0));
    rig_free(r);
}

int main(void)
{
    RUN(test_page);
    RUN(test_ignored);
    RUN(test_delivery);
    RUN(test_traps);
    RUN(test_messages);
    RUN(test_race);
    RUN(test_without);
    return test_end();
}
