/* SPDX-License-Identifier: MIT */
/*
 * Traps: how exceptions and interrupts are taken, and returned from. Privileged
 * manual 3.1.6-3.1.9, 3.3.2, 10.1; Sstc; Sscofpmf. Which interrupt comes first: aia.c.
 */
#include <stdatomic.h>

#include <inttypes.h>

#include "target/riscv/imsic.h"
#include "target/riscv/priv.h"
#include "util/log.h"

void riscv_raise(Env *env, unsigned cause, uint64_t tval)
{
    RiscvState *s = riscv(env);
    s->exc_cause = cause;
    s->exc_tval = tval;
    env->fault = 1;
}

enum { WFI_BYTES = 4 };

static const char *const exc_names[] = {
    "instruction misaligned", "instruction access", "illegal instruction", "breakpoint",
    "load misaligned", "load access", "store misaligned", "store access", "ecall from U",
    "ecall from S", "reserved", "ecall from M", "instruction page", "load page", "reserved", "store page",
};

static const char *trap_name(bool interrupt, unsigned cause)
{
    static const char *const irqs[] = {
        "?", "S software", "?", "M software", "?", "S timer", "?", "M timer", "?", "S external", "?",
        "M external", "?", "counter overflow",
    };
    if (interrupt)
        return cause < G_N_ELEMENTS(irqs) ? irqs[cause] : "?";
    return cause < G_N_ELEMENTS(exc_names) ? exc_names[cause] : "?";
}

/* mstatus for a trap into S or M: xPP and xPIE remember, xIE is off. */
static uint64_t mstatus_trap(uint64_t m, bool to_s, unsigned prv)
{
    if (to_s) {
        m = (m & ~(MSTATUS_SPIE | MSTATUS_SPP)) | (m & MSTATUS_SIE ? MSTATUS_SPIE : 0) |
            (prv ? MSTATUS_SPP : 0);
        return m & ~MSTATUS_SIE;
    }
    m = (m & ~(MSTATUS_MPIE | MSTATUS_MPP)) | (m & MSTATUS_MIE ? MSTATUS_MPIE : 0) |
        (uint64_t)prv << 11;
    return m & ~MSTATUS_MIE;
}

static uint64_t trap_to(Vcpu *v, bool to_s, bool interrupt, unsigned cause, uint64_t tval, uint64_t pc)
{
    RiscvState *s = v->state;
    uint64_t *sys = v->env->sys;
    uint64_t code = cause | (interrupt ? BIT(63) : 0);
    uint64_t vec = sys[to_s ? SYS_STVEC : SYS_MTVEC];

    if (log_on(LOG_INT))
        log_line("int: hart %d: %s %s (%u) at %#" PRIx64 " tval %#" PRIx64 ", from %u to %c", v->index,
                 interrupt ? "interrupt" : "exception", trap_name(interrupt, cause), cause, pc, tval,
                 s->prv, to_s ? 'S' : 'M');
    sys[SYS_MSTATUS] = mstatus_trap(sys[SYS_MSTATUS], to_s, s->prv);
    sys[to_s ? SYS_SEPC : SYS_MEPC] = pc;
    sys[to_s ? SYS_SCAUSE : SYS_MCAUSE] = code;
    sys[to_s ? SYS_STVAL : SYS_MTVAL] = tval;
    s->prv = to_s ? PRV_S : PRV_M;
    v->env->resv_addr = ENV_NO_RESV;
    riscv_update_mode(s);
    return (vec & ~3ull) + ((vec & 1) && interrupt ? 4 * cause : 0);
}

static uint64_t except(Vcpu *v, unsigned cause, uint64_t tval, uint64_t pc)
{
    RiscvState *s = v->state;

    return trap_to(v, s->prv != PRV_M && (s->medeleg >> cause & 1), false, cause, tval, pc);
}

void riscv_enter_fault(Vcpu *v, uint64_t pc)
{
    RiscvState *s = v->state;
    v->env->fault = 0;
    v->env->pc = except(v, s->exc_cause, s->exc_tval, pc);
}

/* ---- interrupts */

uint64_t riscv_mip(RiscvState *s)
{
    return s->mip | atomic_load(&s->irq_lines);
}

/* The interrupts that would be taken now, all to M or all to S. */
static uint64_t irqs_due(RiscvState *s, bool *to_s)
{
    uint64_t m = riscv_mstatus(s), for_m = riscv_pending_m(s), for_s = riscv_pending_s(s);
    *to_s = false;
    if (for_m && (s->prv < PRV_M || (m & MSTATUS_MIE)))
        return for_m;
    *to_s = true;
    if (for_s && (s->prv < PRV_S || (s->prv == PRV_S && (m & MSTATUS_SIE))))
        return for_s;
    return 0;
}

bool riscv_irq_due(RiscvState *s)
{
    bool to_s;
    return irqs_due(s, &to_s);
}

/*
 * A hart that stands in wfi below M mode and is interrupted for M mode has not done its wfi yet: it returns to
 * it, and stands there again unless the firmware has made something pending (what S mode waits for always is).
 * So firmware that only answers another hart doesn't send the idle loop round.
 */
static uint64_t return_pc(Vcpu *v, bool to_s, bool waited)
{
    RiscvState *s = v->state;

    return v->env->pc - (waited && !to_s && s->prv < PRV_M ? WFI_BYTES : 0);
}

void riscv_irq_counts(Vcpu *v, GString *out)
{
    const RiscvState *s = v->state;

    for (unsigned n = 0; n < 64; n++) {
        if (s->irqs_taken[n])
            g_string_append_printf(out, "  %u (%s): %" PRIu64 "\n", n, trap_name(true, n), s->irqs_taken[n]);
    }
    for (unsigned n = 1; n < G_N_ELEMENTS(s->messages[0]); n++) {
        if (s->messages[AIA_M][n] || s->messages[AIA_S][n])
            g_string_append_printf(out, "  message %u: %" PRIu64 "\n", n, s->messages[AIA_M][n] + s->messages[AIA_S][n]);
    }
}

bool riscv_take_irq(Vcpu *v)
{
    RiscvState *s = v->state;
    bool to_s, waited = s->in_wfi;

    s->in_wfi = false;
    riscv_imsic_settle(s);
    uint64_t due = irqs_due(s, &to_s);
    if (!due)
        return false;
    int irq = riscv_top(s, to_s ? AIA_S : AIA_M, due, NULL);
    s->irqs_taken[irq & 63]++;
    v->env->pc = trap_to(v, to_s, true, irq, 0, return_pc(v, to_s, waited));
    return true;
}

bool riscv_wakes(Vcpu *v)
{
    RiscvState *s = v->state;
    return riscv_pending_m(s) | riscv_pending_s(s);
}

/*
 * Interrupts v. If it is another hart that does it, that one's M mode waits for an answer: there is nothing else it
 * could want. What S mode wants is often an answer, too.
 */
static void interrupt(Vcpu *v)
{
    const Vcpu *sender = current_vcpu;
    bool hart = sender && sender != v && sender->vm == v->vm;

    if (hart)
        vcpu_interrupt(v, ((RiscvState *)sender->state)->prv == PRV_M);
    else
        vcpu_kick(v);
}

static bool from_firmware(const Vcpu *v)
{
    const Vcpu *sender = current_vcpu;
    return sender && sender != v && sender->vm == v->vm && ((RiscvState *)sender->state)->prv == PRV_M;
}

void riscv_irq_line(void *vcpu, int pin, int level)
{
    Vcpu *v = vcpu;
    RiscvState *s = v->state;
    uint64_t bit = BIT(pin);
    if (!level) {
        atomic_fetch_and(&s->irq_lines, ~bit);
    } else if (!(atomic_fetch_or(&s->irq_lines, bit) & bit)) {
        atomic_store(&v->nudged, true);
        interrupt(v);
    }
}

void riscv_irq_again(Vcpu *v)
{
    atomic_store(&v->nudged, true);
    if (from_firmware(v))
        vcpu_interrupt(v, true);
}

/* ---- Sstc: STIP follows time >= stimecmp */

void riscv_stimecmp_changed(RiscvState *s)
{
    uint64_t now = riscv_time(s);
    if (!(s->menvcfg & ENVCFG_STCE)) {
        timer_del(&s->stc_timer);
        return;
    }
    if (now >= s->stimecmp) {
        timer_del(&s->stc_timer);
        riscv_irq_line(s->vcpu, IRQ_STI, 1);
        return;
    }
    riscv_irq_line(s->vcpu, IRQ_STI, 0);
    __int128 ns = (__int128)(s->stimecmp - now) * 1000000000 / s->time_hz;
    int64_t guest = clock_now(s->vcpu->vm, CLOCK_GUEST);
    timer_set(&s->stc_timer, ns > INT64_MAX - guest ? INT64_MAX : guest + (int64_t)ns + 1);
}

/* ---- the helpers */

uint64_t riscv_h_irq_check(Env *env, uint64_t a, uint64_t b, uint64_t c)
{
    if (riscv_irq_due(riscv(env)))
        __atomic_store_n(&env->poll, 1, __ATOMIC_SEQ_CST);
    return (void)a, (void)b, (void)c, 0;
}

uint64_t riscv_h_ecall(Env *env, uint64_t pc, uint64_t b, uint64_t c)
{
    RiscvState *s = riscv(env);
    static const uint8_t cause[] = { EXC_ECALL_U, EXC_ECALL_S, 0, EXC_ECALL_M };
    return (void)b, (void)c, except(s->vcpu, cause[s->prv], 0, pc);
}

uint64_t riscv_h_ebreak(Env *env, uint64_t pc, uint64_t b, uint64_t c)
{
    riscv_raise(env, EXC_BREAK, pc);
    return (void)b, (void)c, 0;
}

uint64_t riscv_h_illegal(Env *env, uint64_t insn, uint64_t b, uint64_t c)
{
    riscv_raise(env, EXC_ILLEGAL, insn);
    return (void)b, (void)c, 0;
}

/* A return may uncover an interrupt, or end an errand: let the next poll see it. */
static uint64_t returned(RiscvState *s, uint64_t pc)
{
    Env *env = s->vcpu->env;

    env->resv_addr = ENV_NO_RESV;
    riscv_update_mode(s);
    /* A program is no answer. */
    if (s->prv == PRV_U)
        vcpu_on_its_own(s->vcpu);
    if (atomic_load_explicit(&s->vcpu->away, memory_order_relaxed))
        __atomic_store_n(&env->poll, 1, __ATOMIC_SEQ_CST);
    else
        riscv_h_irq_check(env, 0, 0, 0);
    return pc;
}

uint64_t riscv_h_mret(Env *env, uint64_t pc, uint64_t insn, uint64_t c)
{
    RiscvState *s = riscv(env);
    uint64_t m = riscv_mstatus(s);
    (void)pc, (void)c;
    if (s->prv < PRV_M)
        return riscv_h_illegal(env, insn, 0, 0);
    s->prv = (m & MSTATUS_MPP) >> 11;
    m = (m & ~MSTATUS_MIE) | (m & MSTATUS_MPIE ? MSTATUS_MIE : 0) | MSTATUS_MPIE;
    m &= ~MSTATUS_MPP;                          /* the least privileged mode there is: U */
    if (s->prv != PRV_M)
        m &= ~MSTATUS_MPRV;
    env->sys[SYS_MSTATUS] = m;
    vcpu_answered(s->vcpu);
    return returned(s, env->sys[SYS_MEPC]);
}

uint64_t riscv_h_sret(Env *env, uint64_t pc, uint64_t insn, uint64_t c)
{
    RiscvState *s = riscv(env);
    uint64_t m = riscv_mstatus(s);
    (void)pc, (void)c;
    if (s->prv < PRV_S || (s->prv == PRV_S && (m & MSTATUS_TSR)))
        return riscv_h_illegal(env, insn, 0, 0);
    s->prv = m & MSTATUS_SPP ? PRV_S : PRV_U;
    m = (m & ~MSTATUS_SIE) | (m & MSTATUS_SPIE ? MSTATUS_SIE : 0) | MSTATUS_SPIE;
    m &= ~(MSTATUS_SPP | MSTATUS_MPRV);
    env->sys[SYS_MSTATUS] = m;
    return returned(s, env->sys[SYS_SEPC]);
}

uint64_t riscv_h_wfi(Env *env, uint64_t insn, uint64_t b, uint64_t c)
{
    RiscvState *s = riscv(env);
    /* TW=1: S may not wait; U may not wait in any case where S exists */
    if (s->prv == PRV_U || (s->prv == PRV_S && (riscv_mstatus(s) & MSTATUS_TW)))
        riscv_raise(env, EXC_ILLEGAL, insn);
    else
        s->in_wfi = true;
    return (void)b, (void)c, 0;
}
