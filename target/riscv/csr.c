/* SPDX-License-Identifier: MIT */
/*
 * Control and status registers: a row each, privileged manual chapter 2 and the
 * chapters of their extensions. What a row doesn't say in data, a hook does.
 */
#include <stddef.h>
#include <sys/random.h>

#include "target/riscv/imsic.h"
#include "target/riscv/priv.h"

enum Where { NOWHERE, SYS, MEMBER };

typedef struct CsrRow CsrRow;
struct CsrRow {
    uint16_t num;
    const char *name;
    uint16_t flags;
    enum Where where;           /* where the value is kept ... */
    uint32_t at;                /* ... SYS_* or offset in RiscvState; or the hook's argument */
    uint64_t mask;              /* bits that a write changes */
    uint64_t (*read)(RiscvState *, const CsrRow *);
    void (*write)(RiscvState *, const CsrRow *, uint64_t);
    bool (*legal)(RiscvState *, const CsrRow *);        /* beyond the privilege in its number */
};

enum {
    OUTSIDE = 1,        /* reaches beyond Env and RiscvState */
    MODE = 2,           /* a write may change mode key, translations, address space */
    UNMASK = 4,         /* a write may let an interrupt through */
    RMW_READ = 8,       /* csrrs/csrrc start from software's bits, not from what a read shows */
    FPREG = 16,         /* part of the floating-point state */
};

static uint64_t *row_place(RiscvState *s, const CsrRow *r)
{
    return r->where == SYS ? riscv_sys(s, r->at) : (uint64_t *)((char *)s + r->at);
}

/* ---- machine and supervisor status */

static void mstatus_set(RiscvState *s, uint64_t v, uint64_t mask)
{
    uint64_t old = riscv_mstatus(s);
    if ((v & MSTATUS_MPP) >> 11 == 2)               /* WARL: not a privilege mode */
        mask &= ~MSTATUS_MPP;
    if (!riscv_has(s, RV_F))
        mask &= ~MSTATUS_FS;
    v = (old & ~mask) | (v & mask);
    v = (v & MSTATUS_FS) == MSTATUS_FS ? v | MSTATUS_SD : v & ~MSTATUS_SD;
    *riscv_sys(s, SYS_MSTATUS) = v;
    if ((old ^ v) & MSTATUS_MXR)
        mmu_ops->flush_all(s->vcpu);
    riscv_update_mode(s);
}

static void mstatus_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    mstatus_set(s, v, r->mask);
}

static uint64_t sstatus_read(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_mstatus(s) & SSTATUS_MASK;
}

static uint64_t misa_read(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_misa(s);
}

static void ignore_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)s, (void)r, (void)v;
}

/* ---- interrupts */

#define SIP_BITS (BIT(IRQ_SSI) | BIT(IRQ_STI) | BIT(IRQ_SEI) | BIT(IRQ_LCOFI))

static uint64_t mip_read(RiscvState *s, const CsrRow *r)
{
    (void)r;
    if (s->menvcfg & ENVCFG_STCE)
        riscv_stimecmp_changed(s);                  /* STIP is exact when it is looked at */
    riscv_imsic_settle(s);
    return riscv_mip(s);
}

static void mip_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    uint64_t mask = r->mask & ~(s->menvcfg & ENVCFG_STCE ? BIT(IRQ_STI) : 0) & ~(s->mvien & BIT(IRQ_SEI));
    s->mip = (s->mip & ~mask) | (v & mask);
}

/* Bits of sip and sie that are mvip's and their own, because M has not delegated but lent them. */
static uint64_t lent(const RiscvState *s)
{
    return s->mvien & ~s->mideleg;
}

static uint64_t sip_read(RiscvState *s, const CsrRow *r)
{
    return (mip_read(s, r) & s->mideleg) | (s->mvip & lent(s));
}

static void sip_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    uint64_t mask = r->mask & s->mideleg, own = lent(s) & ~BIT(IRQ_SEI);
    s->mip = (s->mip & ~mask) | (v & mask);
    s->mvip = (s->mvip & ~own) | (v & own);
}

static uint64_t sie_read(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return (s->mie & s->mideleg) | (s->vsie & lent(s));
}

static void sie_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)r;
    s->mie = (s->mie & ~s->mideleg) | (v & s->mideleg);
    s->vsie = v & lent(s);
}

/* What csrrs and csrrc of mip and sip start from: lines that devices hold are shown, but don't become software's. */
static uint64_t soft_bits(const RiscvState *s, const CsrRow *r)
{
    return r->read == sip_read ? (s->mip & s->mideleg) | (s->mvip & lent(s)) : s->mip;
}

static void stimecmp_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)r;
    s->stimecmp = v;
    riscv_stimecmp_changed(s);
}

static bool stimecmp_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    if (!riscv_has(s, RV_SSTC))
        return false;
    return s->prv == PRV_M || ((s->menvcfg & ENVCFG_STCE) && (s->mcounteren & BIT(1)));
}

/* ---- environment configuration, state enable */

static void menvcfg_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    uint64_t mask = r->mask | (riscv_has(s, RV_SSTC) ? ENVCFG_STCE : 0) |
                    (riscv_has(s, RV_SVPBMT) ? ENVCFG_PBMTE : 0) | (riscv_has(s, RV_SVADU) ? ENVCFG_ADUE : 0);
    uint64_t old = s->menvcfg;
    s->menvcfg = v & mask;
    if ((v & ENVCFG_CBIE) >> 4 == 2)                /* reserved */
        s->menvcfg = (s->menvcfg & ~ENVCFG_CBIE) | (old & ENVCFG_CBIE);
    if ((old ^ s->menvcfg) & ENVCFG_STCE) {
        riscv_irq_line(s->vcpu, IRQ_STI, 0);
        riscv_stimecmp_changed(s);
    }
    if ((old ^ s->menvcfg) & (ENVCFG_ADUE | ENVCFG_PBMTE))
        mmu_ops->flush_all(s->vcpu);
}

/* mstateen0 gates what lower modes may touch: xenvcfg, sstateen0 itself, and three parts of the AIA. */
enum { STATEEN_IMSIC = 58, STATEEN_AIA = 59, STATEEN_SELECT = 60, STATEEN_ENVCFG = 62, STATEEN_SELF = 63 };

static bool state_enabled(const RiscvState *s, unsigned bit)
{
    return !riscv_has(s, RV_SMSTATEEN) || s->prv == PRV_M || (s->mstateen[0] & BIT(bit));
}

static void mstateen0_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    uint64_t aia = riscv_has(s, RV_SSAIA) ? BIT(STATEEN_AIA) | BIT(STATEEN_SELECT) : 0;
    s->mstateen[0] = v & (r->mask | aia | (s->imsic[AIA_S] ? BIT(STATEEN_IMSIC) : 0));
}

static bool stateen_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_has(s, RV_SMSTATEEN);
}

static bool sstateen_legal(RiscvState *s, const CsrRow *r)
{
    unsigned n = r->num & 3;
    return riscv_has(s, RV_SMSTATEEN) && (s->prv == PRV_M || (s->mstateen[n] & BIT(63)));
}

static bool senvcfg_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return state_enabled(s, STATEEN_ENVCFG);
}

/* ---- AIA: the level is the row's argument, where its value is kept nowhere */

static bool mvien_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_has(s, RV_SMAIA) && riscv_has(s, RV_S);
}

static bool aia_legal(const RiscvState *s, unsigned level, unsigned stateen)
{
    return level == AIA_M ? riscv_has(s, RV_SMAIA) : riscv_has(s, RV_SSAIA) && state_enabled(s, stateen);
}

static bool iselect_legal(RiscvState *s, const CsrRow *r)
{
    return aia_legal(s, r->num < 0x300 ? AIA_S : AIA_M, STATEEN_SELECT);
}

static bool topi_legal(RiscvState *s, const CsrRow *r)
{
    return aia_legal(s, r->at, STATEEN_AIA);
}

/* While M keeps external interrupts and lends S its own (mvien bit 9), S's interrupt file is M's to use. */
static bool topei_legal(RiscvState *s, const CsrRow *r)
{
    return s->imsic[r->at] && aia_legal(s, r->at, STATEEN_IMSIC) &&
           !(s->prv == PRV_S && (s->mvien & BIT(IRQ_SEI)));
}

static bool ireg_legal(RiscvState *s, const CsrRow *r)
{
    uint64_t v;
    if (!iselect_legal(s, r))
        return false;
    if (s->iselect[r->at] >= 0x70 ? !topei_legal(s, r) : !topi_legal(s, r))
        return false;
    return riscv_ireg(s, r->at, false, &v);
}

static uint64_t ireg_read(RiscvState *s, const CsrRow *r)
{
    uint64_t v = 0;
    riscv_ireg(s, r->at, false, &v);
    return v;
}

static void ireg_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    riscv_ireg(s, r->at, true, &v);
}

static uint64_t topei_read(RiscvState *s, const CsrRow *r)
{
    return s->seen = riscv_imsic_top(s->imsic[r->at]);
}

static void topei_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)v;
    riscv_imsic_claim(s, r->at);
}

static uint64_t topi_read(RiscvState *s, const CsrRow *r)
{
    return riscv_topi(s, r->at);
}

static void mvien_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)r;
    riscv_mvien_write(s, v);
}

static uint64_t mvip_read(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_mvip_read(s);
}

static void mvip_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)r;
    riscv_mvip_write(s, v);
}

/* ---- translation */

static bool satp_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return !(s->prv == PRV_S && (riscv_mstatus(s) & MSTATUS_TVM));
}

static void satp_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)r;
    if (!riscv_satp_valid(s, v) || v == s->satp)
        return;                                     /* an unsupported mode: the write has no effect */
    bool mode_changes = (v ^ s->satp) >> 60;
    s->satp = v;
    if (mode_changes)
        mmu_ops->flush_all(s->vcpu);
    mmu_ops->address_space_changed(s->vcpu);
}

static uint64_t pmpcfg_read(RiscvState *s, const CsrRow *r)
{
    return riscv_pmpcfg_read(s, r->num & 15);
}

static void pmpcfg_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    riscv_pmpcfg_write(s, r->num & 15, v);
}

static uint64_t pmpaddr_read(RiscvState *s, const CsrRow *r)
{
    return s->pmpaddr[r->num - 0x3b0];
}

static void pmpaddr_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    riscv_pmpaddr_write(s, r->num - 0x3b0, v);
}

/* ---- counters: numbers 0xb00+n (M), 0xc00+n (U), 0x320+n (event) */

static unsigned counter_of(const CsrRow *r)
{
    return r->num & 31;
}

static bool ucounter_legal(RiscvState *s, const CsrRow *r)
{
    unsigned n = counter_of(r);
    if (!riscv_has(s, n < 3 ? RV_ZICNTR : RV_ZIHPM))
        return false;
    if (s->prv < PRV_M && !(s->mcounteren >> n & 1))
        return false;
    return s->prv != PRV_U || (s->scounteren >> n & 1);
}

static bool hpm_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_has(s, RV_ZIHPM);
}

static bool scountovf_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_has(s, RV_SSCOFPMF);
}

static uint64_t counter_read(RiscvState *s, const CsrRow *r)
{
    return riscv_counter_read(s, counter_of(r));
}

static void counter_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    riscv_counter_write(s, counter_of(r), v);
}

static void inhibit_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    (void)r;
    riscv_counter_inhibit(s, v);
}

static void event_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    riscv_hpmevent_write(s, counter_of(r), v);
}

static uint64_t time_read(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_time(s);
}

static uint64_t scountovf_read(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_scountovf(s);
}

/* ---- floating point: fflags, frm, fcsr */

static bool fp_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    return riscv_has(s, RV_F) && (riscv_mstatus(s) & MSTATUS_FS);
}

static uint64_t fp_read(RiscvState *s, const CsrRow *r)
{
    Env *env = s->vcpu->env;
    uint64_t flags = env_fp_flags(env), frm = env->fp_round;
    return r->num == 1 ? flags : r->num == 2 ? frm : flags | frm << 5;
}

static void fp_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    Env *env = s->vcpu->env;
    if (r->num != 2)
        env_set_fp_flags(env, v & 31);
    if (r->num != 1)
        env_set_round(env, (r->num == 2 ? v : v >> 5) & 7);
    *riscv_sys(s, SYS_MSTATUS) |= MSTATUS_FS | MSTATUS_SD;
    riscv_update_mode(s);
}

/* ---- entropy (Zkr): OPST in bits 31:30, ES16 = 2 */

static bool seed_legal(RiscvState *s, const CsrRow *r)
{
    (void)r;
    if (!riscv_has(s, RV_ZKR))
        return false;
    return s->prv == PRV_M || (s->mseccfg >> (s->prv == PRV_S ? 9 : 8) & 1);
}

static uint64_t seed_read(RiscvState *s, const CsrRow *r)
{
    uint16_t v;
    (void)s, (void)r;
    if (getrandom(&v, sizeof(v), GRND_NONBLOCK) != sizeof(v))
        return 1u << 30;                            /* WAIT */
    return 2u << 30 | v;
}

/* ---- the rows */

#define M(member) MEMBER, offsetof(RiscvState, member)
#define MSTATUS_WRITABLE (MSTATUS_SIE | MSTATUS_MIE | MSTATUS_SPIE | MSTATUS_MPIE | MSTATUS_SPP | MSTATUS_MPP | \
    MSTATUS_FS | MSTATUS_MPRV | MSTATUS_SUM | MSTATUS_MXR | MSTATUS_TVM | MSTATUS_TW | MSTATUS_TSR)
#define MEDELEG_BITS 0xb3ffull      /* all but ecall from M and reserved ones */
#define ALL UINT64_MAX
/* a register that reads as zero and ignores writes */
#define ZERO(num, name) { num, name, 0, NOWHERE, 0, 0, NULL, NULL, NULL }

static const CsrRow rows[] = {
    /* unprivileged */
    { 0x001, "fflags",  MODE | FPREG, NOWHERE, 0, ALL, fp_read, fp_write, fp_legal },
    { 0x002, "frm",     MODE | FPREG, NOWHERE, 0, ALL, fp_read, fp_write, fp_legal },
    { 0x003, "fcsr",    MODE | FPREG, NOWHERE, 0, ALL, fp_read, fp_write, fp_legal },
    { 0x015, "seed",    OUTSIDE, NOWHERE, 0, ALL, seed_read, ignore_write, seed_legal },
    { 0xc00, "cycle",   OUTSIDE, NOWHERE, 0, 0, counter_read, NULL, ucounter_legal },
    { 0xc01, "time",    OUTSIDE, NOWHERE, 0, 0, time_read, NULL, ucounter_legal },
    { 0xc02, "instret", OUTSIDE, NOWHERE, 0, 0, counter_read, NULL, ucounter_legal },
    /* supervisor */
    { 0x100, "sstatus",    MODE | UNMASK, NOWHERE, 0, MSTATUS_WRITABLE & SSTATUS_MASK, sstatus_read, mstatus_write, NULL },
    { 0x104, "sie",        UNMASK, NOWHERE, 0, ALL, sie_read, sie_write, NULL },
    { 0x105, "stvec",      0, SYS, SYS_STVEC, ~2ull, NULL, NULL, NULL },
    { 0x106, "scounteren", 0, M(scounteren), 0xffffffff, NULL, NULL, NULL },
    { 0x10a, "senvcfg",    0, M(senvcfg), ENVCFG_FIOM | ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE, NULL, NULL, senvcfg_legal },
    { 0x10c, "sstateen0",  0, M(sstateen[0]), 0, NULL, NULL, sstateen_legal },
    { 0x10d, "sstateen1",  0, M(sstateen[1]), 0, NULL, NULL, sstateen_legal },
    { 0x10e, "sstateen2",  0, M(sstateen[2]), 0, NULL, NULL, sstateen_legal },
    { 0x10f, "sstateen3",  0, M(sstateen[3]), 0, NULL, NULL, sstateen_legal },
    { 0x140, "sscratch",   0, SYS, SYS_SSCRATCH, ALL, NULL, NULL, NULL },
    { 0x141, "sepc",       0, SYS, SYS_SEPC, ~1ull, NULL, NULL, NULL },
    { 0x142, "scause",     0, SYS, SYS_SCAUSE, ALL, NULL, NULL, NULL },
    { 0x143, "stval",      0, SYS, SYS_STVAL, ALL, NULL, NULL, NULL },
    { 0x144, "sip",        OUTSIDE | UNMASK | RMW_READ, NOWHERE, 0, BIT(IRQ_SSI) | BIT(IRQ_LCOFI), sip_read, sip_write, NULL },
    { 0x14d, "stimecmp",   OUTSIDE | UNMASK, M(stimecmp), ALL, NULL, stimecmp_write, stimecmp_legal },
    { 0x150, "siselect",   0, M(iselect[AIA_S]), 0x1ff, NULL, NULL, iselect_legal },
    { 0x151, "sireg",      OUTSIDE | UNMASK, NOWHERE, AIA_S, ALL, ireg_read, ireg_write, ireg_legal },
    { 0x15c, "stopei",     OUTSIDE, NOWHERE, AIA_S, ALL, topei_read, topei_write, topei_legal },
    { 0x180, "satp",       OUTSIDE | MODE, M(satp), ALL, NULL, satp_write, satp_legal },
    { 0xdb0, "stopi",      OUTSIDE, NOWHERE, AIA_S, 0, topi_read, NULL, topi_legal },
    { 0xda0, "scountovf",  OUTSIDE, NOWHERE, 0, 0, scountovf_read, NULL, scountovf_legal },
    /* machine */
    { 0x300, "mstatus",    MODE | UNMASK, SYS, SYS_MSTATUS, MSTATUS_WRITABLE, NULL, mstatus_write, NULL },
    { 0x301, "misa",       0, NOWHERE, 0, 0, misa_read, ignore_write, NULL },
    { 0x302, "medeleg",    0, M(medeleg), MEDELEG_BITS, NULL, NULL, NULL },
    { 0x303, "mideleg",    UNMASK, M(mideleg), SIP_BITS, NULL, NULL, NULL },
    { 0x304, "mie",        UNMASK, M(mie), SIP_BITS | BIT(IRQ_MSI) | BIT(IRQ_MTI) | BIT(IRQ_MEI), NULL, NULL, NULL },
    { 0x305, "mtvec",      0, SYS, SYS_MTVEC, ~2ull, NULL, NULL, NULL },
    { 0x306, "mcounteren", 0, M(mcounteren), 0xffffffff, NULL, NULL, NULL },
    { 0x308, "mvien",      OUTSIDE | UNMASK, M(mvien), ALL, NULL, mvien_write, mvien_legal },
    { 0x309, "mvip",       OUTSIDE | UNMASK, NOWHERE, 0, ALL, mvip_read, mvip_write, mvien_legal },
    { 0x30a, "menvcfg",    OUTSIDE | MODE, M(menvcfg), ENVCFG_FIOM | ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE, NULL, menvcfg_write, NULL },
    { 0x30c, "mstateen0",  0, M(mstateen[0]), BIT(STATEEN_SELF) | BIT(STATEEN_ENVCFG), NULL, mstateen0_write, stateen_legal },
    { 0x30d, "mstateen1",  0, M(mstateen[1]), BIT(63), NULL, NULL, stateen_legal },
    { 0x30e, "mstateen2",  0, M(mstateen[2]), BIT(63), NULL, NULL, stateen_legal },
    { 0x30f, "mstateen3",  0, M(mstateen[3]), BIT(63), NULL, NULL, stateen_legal },
    { 0x320, "mcountinhibit", OUTSIDE, M(mcountinhibit), ALL, NULL, inhibit_write, NULL },
    { 0x340, "mscratch",   0, SYS, SYS_MSCRATCH, ALL, NULL, NULL, NULL },
    { 0x341, "mepc",       0, SYS, SYS_MEPC, ~1ull, NULL, NULL, NULL },
    { 0x342, "mcause",     0, SYS, SYS_MCAUSE, ALL, NULL, NULL, NULL },
    { 0x343, "mtval",      0, SYS, SYS_MTVAL, ALL, NULL, NULL, NULL },
    { 0x344, "mip",        OUTSIDE | UNMASK | RMW_READ, NOWHERE, 0, SIP_BITS, mip_read, mip_write, NULL },
    { 0x350, "miselect",   0, M(iselect[AIA_M]), 0x1ff, NULL, NULL, iselect_legal },
    { 0x351, "mireg",      OUTSIDE | UNMASK, NOWHERE, AIA_M, ALL, ireg_read, ireg_write, ireg_legal },
    { 0x35c, "mtopei",     OUTSIDE, NOWHERE, AIA_M, ALL, topei_read, topei_write, topei_legal },
    { 0xfb0, "mtopi",      OUTSIDE, NOWHERE, AIA_M, 0, topi_read, NULL, topi_legal },
    { 0x747, "mseccfg",    0, M(mseccfg), BIT(8) | BIT(9), NULL, NULL, NULL },
    { 0xb00, "mcycle",     OUTSIDE, NOWHERE, 0, ALL, counter_read, counter_write, NULL },
    { 0xb02, "minstret",   OUTSIDE, NOWHERE, 0, ALL, counter_read, counter_write, NULL },
    ZERO(0xf11, "mvendorid"),
    ZERO(0xf12, "marchid"),
    ZERO(0xf13, "mimpid"),
    { 0xf14, "mhartid",    0, M(hartid), 0, NULL, NULL, NULL },
    ZERO(0xf15, "mconfigptr"),
};

/* Rows that come in runs: first number, how many, a pattern. */
static const struct { uint16_t first, n; CsrRow row; } runs_of_rows[] = {
    { 0x323, 29, { 0, "mhpmevent",   OUTSIDE, MEMBER, 0, ALL, NULL, event_write, hpm_legal } },
    { 0xb03, 29, { 0, "mhpmcounter", OUTSIDE, NOWHERE, 0, ALL, counter_read, counter_write, hpm_legal } },
    { 0xc03, 29, { 0, "hpmcounter",  OUTSIDE, NOWHERE, 0, 0, counter_read, NULL, ucounter_legal } },
    { 0x3a0, 1,  { 0, "pmpcfg",      OUTSIDE | MODE, NOWHERE, 0, ALL, pmpcfg_read, pmpcfg_write, NULL } },
    { 0x3a2, 1,  { 0, "pmpcfg",      OUTSIDE | MODE, NOWHERE, 0, ALL, pmpcfg_read, pmpcfg_write, NULL } },
    { 0x3b0, 16, { 0, "pmpaddr",     OUTSIDE | MODE, NOWHERE, 0, ALL, pmpaddr_read, pmpaddr_write, NULL } },
};

static CsrRow table[4096];      /* by number; name == NULL: no such register. Made once, then read only */

__attribute__((constructor)) static void table_make(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++)
        table[rows[i].num] = rows[i];
    for (unsigned i = 0; i < G_N_ELEMENTS(runs_of_rows); i++) {
        for (unsigned k = 0; k < runs_of_rows[i].n; k++) {
            CsrRow *r = &table[runs_of_rows[i].first + k];
            *r = runs_of_rows[i].row;
            r->num = runs_of_rows[i].first + k;
            if (r->where == MEMBER)
                r->at = offsetof(RiscvState, hpmevent) + 8 * counter_of(r);
        }
    }
    riscv_regs_make();
}

bool riscv_csr_outside(unsigned csr) { return !table[csr & 4095].name || (table[csr & 4095].flags & OUTSIDE); }
bool riscv_csr_changes_mode(unsigned csr) { return table[csr & 4095].flags & MODE; }
bool riscv_csr_unmasks(unsigned csr) { return table[csr & 4095].flags & UNMASK; }
const char *riscv_csr_name(unsigned csr) { return table[csr & 4095].name; }

/* ---- access */

static uint64_t row_read(RiscvState *s, const CsrRow *r)
{
    return r->read ? r->read(s, r) : r->where == NOWHERE ? 0 : *row_place(s, r);
}

static void row_write(RiscvState *s, const CsrRow *r, uint64_t v)
{
    if (r->write)
        r->write(s, r, v);
    else if (r->where != NOWHERE)
        *row_place(s, r) = (*row_place(s, r) & ~r->mask) | (v & r->mask);
    if (r->flags & UNMASK)
        riscv_h_irq_check(s->vcpu->env, 0, 0, 0);
}

/* The row of csr if this access is legal; else NULL and the exception is raised. */
static const CsrRow *row_for(Env *env, uint64_t a, bool write)
{
    RiscvState *s = riscv(env);
    unsigned csr = a & 4095;
    const CsrRow *r = &table[csr];
    bool ok = r->name && s->prv >= (csr >> 8 & 3) && !(write && csr >> 10 == 3) &&
              (!r->legal || r->legal(s, r));
    if (ok)
        return r;
    riscv_raise(env, EXC_ILLEGAL, a >> 12);
    return NULL;
}

/* ---- a debugger's access: what the extensions that there are allow, whatever the privilege */

static bool csr_there(RiscvState *s, const CsrRow *r)
{
    unsigned prv = s->prv;

    s->prv = PRV_M;
    bool there = r->name && (!r->legal || (r->legal == fp_legal && riscv_has(s, RV_F)) ||
                             (r->legal == ireg_legal ? iselect_legal(s, r) : r->legal(s, r)));
    s->prv = prv;
    return there;
}

bool riscv_csr_has(RiscvState *s, unsigned csr)
{
    return csr_there(s, &table[csr & 4095]);
}

uint64_t riscv_csr_peek(RiscvState *s, unsigned csr)
{
    const CsrRow *r = &table[csr & 4095];

    /* Reading these is an event. */
    return csr_there(s, r) && r->read != seed_read && r->read != topei_read ? row_read(s, r) : 0;
}

void riscv_csr_poke(RiscvState *s, unsigned csr, uint64_t v)
{
    const CsrRow *r = &table[csr & 4095];

    if (csr_there(s, r) && csr >> 10 != 3 && r->write != topei_write)
        row_write(s, r, v);
}

uint64_t riscv_h_csr_read(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    const CsrRow *r = row_for(env, a, false);
    (void)b, (void)c;
    return r ? row_read(riscv(env), r) : 0;
}

uint64_t riscv_h_csr_write(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    RiscvState *s = riscv(env);
    const CsrRow *r = row_for(env, a, true);
    (void)c;
    if (!r)
        return 0;
    uint64_t old = row_read(s, r);
    row_write(s, r, b);
    return old;
}

static uint64_t csr_modify(Env *env, uint64_t a, uint64_t set, uint64_t clear)
{
    RiscvState *s = riscv(env);
    const CsrRow *r = row_for(env, a, true);
    if (!r)
        return 0;
    uint64_t old = row_read(s, r);
    uint64_t from = r->flags & RMW_READ ? soft_bits(s, r) : old;
    row_write(s, r, (from | set) & ~clear);
    return old;
}

uint64_t riscv_h_csr_set(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return (void)c, csr_modify(env, a, b, 0);
}

uint64_t riscv_h_csr_clear(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    return (void)c, csr_modify(env, a, 0, b);
}
