/* SPDX-License-Identifier: MIT */
/* APLIC: domains and delegation, source modes, delivery to harts and by MSI. Expected: AIA specification, chapter 4. */
#include "tests/dev/rig.h"

#include "hw/board/riscv_virt.h"
#include "target/riscv/cpu.h"
#include "target/riscv/imsic.h"
#include "target/riscv/priv.h"

#define ROOT VIRT_APLIC_M
#define LEAF VIRT_APLIC_S
enum { DETACHED = 1, EDGE1 = 4, EDGE0 = 5, LEVEL1 = 6, LEVEL0 = 7, DELEGATE = 1 << 10, IE = 1 << 8, DM = 4 };

static Rig rig, *r = &rig;
static Aplic *aplic;

static void start(const char *opts)
{
    rig_init(r);
    r->config.machine_opts = (char *)opts;
    rig_board(r);
    aplic = ((RiscvVirt *)r->vm->board)->aplic;
}

static uint64_t sourcecfg(uint64_t d, int n) { return d + 4 * n; }
static uint64_t target(uint64_t d, int n) { return d + 0x3000 + 4 * n; }
static uint64_t idc(uint64_t d, int hart, int reg) { return d + 0x4000 + 32 * hart + reg; }
static uint32_t topi(uint64_t d, int hart) { return rd32(r, idc(d, hart, 0x18)); }
static uint32_t claimi(uint64_t d, int hart) { return rd32(r, idc(d, hart, 0x1c)); }
static bool pending(uint64_t d, int n) { return rd32(r, d + 0x1c00 + n / 32 * 4) >> n % 32 & 1; }
static bool input(uint64_t d, int n) { return rd32(r, d + 0x1d00 + n / 32 * 4) >> n % 32 & 1; }
static bool enabled(uint64_t d, int n) { return rd32(r, d + 0x1e00 + n / 32 * 4) >> n % 32 & 1; }
static void setipnum(uint64_t d, uint32_t n) { wr32(r, d + 0x1cdc, n); }
static void clripnum(uint64_t d, uint32_t n) { wr32(r, d + 0x1ddc, n); }
static void setienum(uint64_t d, uint32_t n) { wr32(r, d + 0x1edc, n); }
static void wire(int n, int level) { aplic_set(aplic, n, level); }

/* A source of a domain, enabled, for a hart with a priority; the leaf's are delegated first. */
static void source(uint64_t d, int n, int mode, int hart, int prio)
{
    if (d == LEAF)
        wr32(r, sourcecfg(ROOT, n), DELEGATE);
    wr32(r, sourcecfg(d, n), mode);
    wr32(r, target(d, n), hart << 18 | prio);
    setienum(d, n);
}

static void deliver(uint64_t d, int hart)
{
    wr32(r, d, IE);
    wr32(r, idc(d, hart, 0), 1);
}

/* ---- to harts */

static void test_level(void)
{
    start("aia=aplic");
    source(LEAF, 10, LEVEL1, 1, 5);
    wire(10, 1);
    CHECK(pending(LEAF, 10) && input(LEAF, 10) && !pending(ROOT, 10) && !input(ROOT, 10));
    CHECK(!line(r, 1, IRQ_SEI));                /* neither the domain nor the hart is open */
    wr32(r, LEAF, IE);
    CHECK(!line(r, 1, IRQ_SEI));
    wr32(r, idc(LEAF, 1, 0), 1);
    CHECK(line(r, 1, IRQ_SEI) && !line(r, 0, IRQ_SEI) && !line(r, 1, IRQ_MEI));
    CHECK_EQ(topi(LEAF, 1), 10 << 16 | 5);
    CHECK_EQ(claimi(LEAF, 1), 10 << 16 | 5);
    CHECK(pending(LEAF, 10) && line(r, 1, IRQ_SEI));        /* as long as the wire is */
    clripnum(LEAF, 10);
    CHECK(pending(LEAF, 10));
    wire(10, 0);
    CHECK(!pending(LEAF, 10) && !line(r, 1, IRQ_SEI));
    setipnum(LEAF, 10);
    CHECK(!pending(LEAF, 10));
    CHECK_EQ(claimi(LEAF, 1), 0);
    rig_free(r);
}

static void test_edge(void)
{
    start("aia=aplic");
    deliver(LEAF, 0);
    source(LEAF, 33, EDGE1, 0, 1);
    wire(33, 1);
    wire(33, 0);
    CHECK(pending(LEAF, 33) && line(r, 0, IRQ_SEI));
    CHECK_EQ(claimi(LEAF, 0), 33 << 16 | 1);
    CHECK(!pending(LEAF, 33) && !line(r, 0, IRQ_SEI));
    wr32(r, LEAF + 0x1c04, 2);                  /* setip[1] */
    CHECK(line(r, 0, IRQ_SEI));
    wr32(r, LEAF + 0x1d04, 2);                  /* in_clrip[1] */
    CHECK(!line(r, 0, IRQ_SEI));
    wr32(r, LEAF + 0x2000, 33);                 /* setipnum_le, _be */
    CHECK(pending(LEAF, 33));
    clripnum(LEAF, 33);
    wr32(r, LEAF + 0x2004, 33);
    CHECK(!pending(LEAF, 33));
    wr32(r, LEAF + 0x2004, __builtin_bswap32(33));
    CHECK(pending(LEAF, 33));
    claimi(LEAF, 0);
    source(LEAF, 34, EDGE0, 0, 1);
    wire(34, 1);
    CHECK(!pending(LEAF, 34) && !input(LEAF, 34));
    wire(34, 0);
    CHECK(pending(LEAF, 34) && input(LEAF, 34));
    source(LEAF, 35, DETACHED, 0, 1);
    wire(35, 1);
    CHECK(!pending(LEAF, 35) && !input(LEAF, 35));
    setipnum(LEAF, 35);
    CHECK(pending(LEAF, 35));
    rig_free(r);
}

static void test_inverted_level(void)
{
    start("aia=aplic");
    deliver(ROOT, 0);
    source(ROOT, 1, LEVEL0, 0, 7);
    CHECK(pending(ROOT, 1) && line(r, 0, IRQ_MEI));         /* the wire is low */
    wire(1, 1);
    CHECK(!pending(ROOT, 1) && !line(r, 0, IRQ_MEI));
    wire(1, 0);
    CHECK(line(r, 0, IRQ_MEI) && !line(r, 0, IRQ_SEI));
    CHECK_EQ(topi(ROOT, 0), 1 << 16 | 7);
    rig_free(r);
}

static void test_priority(void)
{
    start("aia=aplic");
    deliver(ROOT, 0);
    source(ROOT, 20, EDGE1, 0, 200);
    source(ROOT, 96, EDGE1, 0, 3);
    source(ROOT, 21, EDGE1, 0, 3);
    source(ROOT, 5, EDGE1, 1, 1);               /* another hart's */
    for (int n = 1; n <= APLIC_SOURCES; n++)
        wire(n, 1);
    CHECK_EQ(topi(ROOT, 0), 21 << 16 | 3);      /* of equals the lowest number */
    wr32(r, idc(ROOT, 0, 8), 3);                /* strictly more urgent than that */
    CHECK_EQ(topi(ROOT, 0), 0);
    CHECK(!line(r, 0, IRQ_MEI));
    wr32(r, idc(ROOT, 0, 8), 4);
    CHECK(line(r, 0, IRQ_MEI));
    CHECK_EQ(claimi(ROOT, 0), 21 << 16 | 3);
    CHECK_EQ(claimi(ROOT, 0), 96 << 16 | 3);
    CHECK_EQ(claimi(ROOT, 0), 0);
    wr32(r, idc(ROOT, 0, 8), 0);
    CHECK_EQ(claimi(ROOT, 0), 20 << 16 | 200);
    CHECK_EQ(topi(ROOT, 1), 5 << 16 | 1);
    CHECK(!line(r, 1, IRQ_MEI));
    /* The hart knows how urgent it is: mtopi. */
    deliver(ROOT, 1);
    CHECK(riscv_cpu_force(&r->cpus[1], RV_SMAIA) == NULL);
    riscv_h_csr_write(r->cpus[1].env, 0x304, 1 << IRQ_MEI | 1 << IRQ_MSI, 0);
    CHECK_EQ(riscv_h_csr_read(r->cpus[1].env, 0xfb0, 0, 0), IRQ_MEI << 16 | 1);
    wr32(r, target(ROOT, 5), 1 << 18 | 9);
    CHECK_EQ(riscv_h_csr_read(r->cpus[1].env, 0xfb0, 0, 0), IRQ_MEI << 16 | 9);
    rig_free(r);
}

static void test_force(void)
{
    start("aia=aplic");
    wr32(r, idc(LEAF, 0, 4), 3);
    CHECK_EQ(rd32(r, idc(LEAF, 0, 4)), 1);
    CHECK(!line(r, 0, IRQ_SEI));
    deliver(LEAF, 0);
    CHECK(line(r, 0, IRQ_SEI));
    CHECK_EQ(topi(LEAF, 0), 0);
    CHECK(line(r, 0, IRQ_SEI));
    CHECK_EQ(claimi(LEAF, 0), 0);               /* a spurious interrupt ends with its claim */
    CHECK_EQ(rd32(r, idc(LEAF, 0, 4)), 0);
    CHECK(!line(r, 0, IRQ_SEI));
    rig_free(r);
}

/* ---- domains */

static void test_delegation(void)
{
    start("aia=aplic");
    deliver(ROOT, 0);
    deliver(LEAF, 0);
    wr32(r, sourcecfg(LEAF, 7), LEVEL1);        /* not there yet */
    CHECK_EQ(rd32(r, sourcecfg(LEAF, 7)), 0);
    source(ROOT, 7, LEVEL1, 0, 4);
    wire(7, 1);
    CHECK(line(r, 0, IRQ_MEI));
    wr32(r, sourcecfg(ROOT, 7), DELEGATE | 3);  /* there is child 0 alone */
    CHECK_EQ(rd32(r, sourcecfg(ROOT, 7)), DELEGATE);
    CHECK(!line(r, 0, IRQ_MEI) && !pending(ROOT, 7) && !enabled(ROOT, 7));
    CHECK_EQ(rd32(r, target(ROOT, 7)), 0);
    CHECK_EQ(rd32(r, sourcecfg(LEAF, 7)), 0);
    source(LEAF, 7, LEVEL1, 0, 6);
    CHECK(line(r, 0, IRQ_SEI));
    wr32(r, sourcecfg(ROOT, 7), DELEGATE);      /* that is nothing new */
    CHECK(line(r, 0, IRQ_SEI));
    wr32(r, sourcecfg(LEAF, 7), DELEGATE);      /* a leaf has nobody to delegate to */
    CHECK_EQ(rd32(r, sourcecfg(LEAF, 7)), 0);
    CHECK(!line(r, 0, IRQ_SEI));
    source(LEAF, 7, LEVEL1, 0, 6);
    wr32(r, sourcecfg(ROOT, 7), LEVEL1);        /* taken back */
    CHECK_EQ(rd32(r, sourcecfg(LEAF, 7)), 0);
    CHECK_EQ(rd32(r, target(LEAF, 7)), 0);
    CHECK(!line(r, 0, IRQ_SEI) && !enabled(LEAF, 7));
    CHECK(pending(ROOT, 7) && !enabled(ROOT, 7));
    wr32(r, sourcecfg(ROOT, 7), DELEGATE);
    CHECK_EQ(rd32(r, sourcecfg(LEAF, 7)), 0);   /* and back again: as if new */
    rig_free(r);
}

static void test_registers(void)
{
    start("aia=aplic");
    CHECK_EQ(rd32(r, ROOT), 0x80000000);
    wr32(r, ROOT, 0xffffffff);
    CHECK_EQ(rd32(r, ROOT), 0x80000000 | IE);   /* direct delivery, little-endian */
    for (int mode = 0; mode < 8; mode++) {
        wr32(r, sourcecfg(ROOT, 3), mode | 0xfffff8f8);
        CHECK_EQ(rd32(r, sourcecfg(ROOT, 3)), mode == 2 || mode == 3 ? 0 : mode);
    }
    wr32(r, target(ROOT, 3), 0xffffffff);
    CHECK_EQ(rd32(r, target(ROOT, 3)), 0xfffc00ff);
    wr32(r, target(ROOT, 3), 0);
    CHECK_EQ(rd32(r, target(ROOT, 3)), 1);      /* there is no priority 0 */
    wr32(r, target(ROOT, 4), 5);                /* inactive */
    setienum(ROOT, 4);
    setipnum(ROOT, 4);
    CHECK(!rd32(r, target(ROOT, 4)) && !enabled(ROOT, 4) && !pending(ROOT, 4));
    wr32(r, ROOT + 0x1e00, 0xffffffff);         /* setie, clrie */
    CHECK_EQ(rd32(r, ROOT + 0x1e00), 1 << 3);
    CHECK_EQ(rd32(r, ROOT + 0x1f00), 0);
    wr32(r, ROOT + 0x1f00, 1 << 3);
    CHECK_EQ(rd32(r, ROOT + 0x1e00), 0);
    setienum(ROOT, 3);
    wr32(r, ROOT + 0x1fdc, 3);                  /* clrienum */
    CHECK(!enabled(ROOT, 3));
    wr32(r, sourcecfg(ROOT, 97), LEVEL1);       /* no such source */
    wr32(r, sourcecfg(ROOT, 1023), LEVEL1);
    wr32(r, target(ROOT, 1023), 1);
    CHECK(!rd32(r, sourcecfg(ROOT, 97)) && !rd32(r, sourcecfg(ROOT, 1023)) && !rd32(r, target(ROOT, 1023)));
    wr32(r, ROOT + 0x3000, 0xffffffff);         /* genmsi and addresses: where MSIs are sent */
    wr32(r, ROOT + 0x1bc0, 0xffffffff);
    CHECK(!rd32(r, ROOT + 0x3000) && !rd32(r, ROOT + 0x1bc0));
    wr32(r, idc(ROOT, 1, 8), 0x1ff);
    CHECK_EQ(rd32(r, idc(ROOT, 1, 8)), 0xff);
    wr32(r, idc(ROOT, 2, 8), 0x1ff);            /* no such hart */
    CHECK_EQ(rd32(r, idc(ROOT, 2, 8)), 0);
    rig_free(r);
}

/* Whatever is written anywhere, nothing hurts. */
static void test_anything(void)
{
    static const char *const opts[] = { "aia=aplic", "aia=aplic-imsic" };
    uint32_t seed = 12345;

    for (int k = 0; k < 2; k++) {
        start(opts[k]);
        for (int i = 0; i < 200000; i++) {
            seed = seed * 1664525 + 1013904223;
            uint64_t at = (seed & 1 ? ROOT : LEAF) + (seed >> 8) % (APLIC_SIZE / 4) * 4;
            seed = seed * 1664525 + 1013904223;
            uint32_t val = seed >> 16 & 1 ? seed >> 24 : seed;

            if (seed >> 20 & 1)
                wr32(r, at, val);
            else
                rd32(r, at);
            wire(1 + (seed >> 8) % APLIC_SOURCES, seed >> 30 & 1);
        }
        vm_reset(r->vm);
        for (uint64_t off = 4; off < APLIC_SIZE; off += 4)
            CHECK(!rd32(r, ROOT + off) && !rd32(r, LEAF + off));
        for (int hart = 0; hart < RIG_HARTS; hart++)
            CHECK(!line(r, hart, IRQ_MEI) && !line(r, hart, IRQ_SEI));
        rig_free(r);
    }
}

/* ---- by MSI */

static const ImsicFile *file(int hart, int level)
{
    return ((RiscvState *)r->cpus[hart].state)->imsic[level];
}

static bool arrived(int hart, int level, int id)
{
    ImsicFile *f = (ImsicFile *)file(hart, level);
    bool yes = f->eip[id / 64] >> id % 64 & 1;

    f->eip[id / 64] &= ~BIT(id % 64);
    return yes;
}

/* As firmware does it for files a page apart: 9 bits of hart index. */
static void addresses(void)
{
    wr32(r, ROOT + 0x1bc0, VIRT_IMSIC_M >> 12);
    wr32(r, ROOT + 0x1bc4, 9 << 12);
    wr32(r, ROOT + 0x1bc8, VIRT_IMSIC_S >> 12);
    wr32(r, ROOT + 0x1bcc, 0);
}

static void test_msi(void)
{
    start("aia=aplic-imsic");
    CHECK_EQ(rd32(r, LEAF), 0x80000000 | DM);
    addresses();
    source(LEAF, 10, LEVEL1, 1, 99);
    wr32(r, LEAF, IE);
    wire(10, 1);
    CHECK(arrived(1, AIA_S, 99));
    CHECK(!pending(LEAF, 10) && input(LEAF, 10));       /* sent, and not sent again */
    wr32(r, LEAF, IE);
    CHECK(!arrived(1, AIA_S, 99));
    setipnum(LEAF, 10);                                 /* until somebody asks: the wire is still high */
    CHECK(arrived(1, AIA_S, 99));
    wire(10, 0);
    setipnum(LEAF, 10);
    CHECK(!arrived(1, AIA_S, 99));
    wire(10, 1);
    CHECK(arrived(1, AIA_S, 99));
    source(ROOT, 11, EDGE1, 0, 98);
    wire(11, 1);
    CHECK(pending(ROOT, 11) && !arrived(0, AIA_M, 98)); /* the root is shut */
    wr32(r, ROOT, IE);
    CHECK(!pending(ROOT, 11) && arrived(0, AIA_M, 98));
    /* Disabled: it waits. A level that falls meanwhile is forgotten. */
    wr32(r, LEAF + 0x1fdc, 10);
    wire(10, 0);
    wire(10, 1);
    CHECK(pending(LEAF, 10));
    wire(10, 0);
    CHECK(!pending(LEAF, 10));
    wire(10, 1);
    clripnum(LEAF, 10);
    CHECK(!pending(LEAF, 10));
    setipnum(LEAF, 10);
    setienum(LEAF, 10);
    CHECK(arrived(1, AIA_S, 99) && !pending(LEAF, 10));
    rig_free(r);
}

static void test_msi_registers(void)
{
    start("aia=aplic-imsic");
    addresses();
    wr32(r, sourcecfg(ROOT, 1), EDGE1);
    wr32(r, target(ROOT, 1), 0xffffffff);
    CHECK_EQ(rd32(r, target(ROOT, 1)), 0xfffc07ff);     /* no guests */
    wr32(r, LEAF + 0x3000, 1 << 18 | 55);               /* genmsi, though the domain is shut */
    CHECK(arrived(1, AIA_S, 55));
    CHECK_EQ(rd32(r, LEAF + 0x3000), 1 << 18 | 55);     /* never busy */
    wr32(r, ROOT + 0x3000, 56);
    CHECK(arrived(0, AIA_M, 56));
    wr32(r, ROOT + 0x3000, 0xffffffff);                 /* no such hart, no such identity */
    wr32(r, LEAF + 0x1bc0, 0x12345);                    /* only the root has addresses */
    CHECK_EQ(rd32(r, LEAF + 0x1bc0), 0);
    wr32(r, idc(LEAF, 0, 0), 1);                        /* and no domain delivers directly */
    CHECK_EQ(rd32(r, idc(LEAF, 0, 0)), 0);
    /* Hart groups: hart 1 is the first of group 1, which bit 24 + 3 of the address tells from group 0. */
    wr32(r, ROOT + 0x1bc4, 3 << 24 | 1 << 16);
    wr32(r, ROOT + 0x1bc8, (VIRT_IMSIC_S & ~(1u << 27)) >> 12);
    wr32(r, LEAF + 0x3000, 1 << 18 | 57);
    CHECK(arrived(0, AIA_S, 57));
    /* Locked. */
    wr32(r, ROOT + 0x1bc4, 0xffffffff);
    CHECK_EQ(rd32(r, ROOT + 0x1bc4), 0x9f77ffff);
    wr32(r, ROOT + 0x1bc4, 0);
    wr32(r, ROOT + 0x1bcc, 0xffffffff);
    CHECK_EQ(rd32(r, ROOT + 0x1bc4), 0x9f77ffff);
    CHECK_EQ(rd32(r, ROOT + 0x1bcc), 0);
    wr32(r, LEAF + 0x3000, 0xffffffff);
    vm_reset(r->vm);
    CHECK_EQ(rd32(r, ROOT + 0x1bc4), 0);
    wr32(r, ROOT + 0x1bcc, 0xffffffff);
    CHECK_EQ(rd32(r, ROOT + 0x1bcc), 0x700fff);
    rig_free(r);
}

int main(void)
{
    RUN(test_level);
    RUN(test_edge);
    RUN(test_inverted_level);
    RUN(test_priority);
    RUN(test_force);
    RUN(test_delegation);
    RUN(test_registers);
    RUN(test_anything);
    RUN(test_msi);
    RUN(test_msi_registers);
    return test_end();
}
