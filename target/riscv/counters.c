/* SPDX-License-Identifier: MIT */
/*
 * Counters: Zicntr, Zihpm, Sscofpmf; privileged manual 3.1.10-3.1.12, chapter 19.
 *
 * There is no instruction count at full speed, so mcycle and minstret both run
 * with the guest's clock at 1 GHz: monotonic, and fit for what profilers do
 * with them. The programmable counters count the same two events (1: cycles,
 * 2: instructions), or stand still.
 */
#include "target/riscv/priv.h"

enum { COUNTER_CYCLE = 0, COUNTER_TIME = 1, COUNTER_INSTRET = 2, EVENT_CYCLES = 1, EVENT_INSTRET = 2 };
#define EVENT_OF BIT(63)        /* overflow has happened; no interrupt until it is cleared */
#define EVENT_INH (0x1full << 58)
#define EVENT_MINH BIT(62)

static uint64_t ticks(RiscvState *s)
{
    return clock_now(s->vcpu->vm, CLOCK_GUEST);
}

static bool runs(const RiscvState *s, unsigned n)
{
    if (s->mcountinhibit >> n & 1)
        return false;
    uint64_t event = s->hpmevent[n] & 0xffffffff;
    return n < 3 || event == EVENT_CYCLES || event == EVENT_INSTRET;
}

uint64_t riscv_counter_read(RiscvState *s, unsigned n)
{
    return s->counter[n] + (runs(s, n) ? ticks(s) : 0);
}

/* When a counter with overflow armed passes zero next: sets the timer. */
static void arm_overflow(RiscvState *s)
{
    uint64_t soonest = UINT64_MAX;
    if (!riscv_has(s, RV_SSCOFPMF))
        return;
    for (unsigned n = 3; n < HPM_COUNTERS; n++) {
        if (!runs(s, n) || (s->hpmevent[n] & EVENT_OF))
            continue;
        uint64_t left = -riscv_counter_read(s, n);
        soonest = left < soonest ? left : soonest;
    }
    if (soonest > INT64_MAX / 2)
        timer_del(&s->overflow_timer);
    else
        timer_set(&s->overflow_timer, clock_now(s->vcpu->vm, CLOCK_GUEST) + soonest);
}

/* In the hart's own thread: notes the overflows that are due and arms for the next. */
static void overflow_work(Vcpu *v, void *opaque)
{
    RiscvState *s = v->state;
    (void)opaque;
    for (unsigned n = 3; n < HPM_COUNTERS; n++) {
        /* it has passed zero when it is small again after having been armed */
        if (!runs(s, n) || (s->hpmevent[n] & EVENT_OF) || riscv_counter_read(s, n) >> 63)
            continue;
        if (!(s->counter_armed >> n & 1))
            continue;
        s->counter_armed &= ~BIT(n);
        s->hpmevent[n] |= EVENT_OF;
        s->mip |= BIT(IRQ_LCOFI);
        riscv_h_irq_check(v->env, 0, 0, 0);
    }
    arm_overflow(s);
}

static void overflow_fire(void *opaque)
{
    RiscvState *s = opaque;
    vcpu_run_on(s->vcpu, overflow_work, NULL, false);
}

/* Only the upper half of the range counts as "about to overflow": perf sets counters to -period. */
static void note_armed(RiscvState *s, unsigned n)
{
    if (riscv_counter_read(s, n) >> 63)
        s->counter_armed |= BIT(n);
    else
        s->counter_armed &= ~BIT(n);
    arm_overflow(s);
}

void riscv_counter_write(RiscvState *s, unsigned n, uint64_t v)
{
    s->counter[n] = v - (runs(s, n) ? ticks(s) : 0);
    if (n >= 3)
        note_armed(s, n);
}

void riscv_counter_inhibit(RiscvState *s, uint64_t inhibit)
{
    uint64_t was[HPM_COUNTERS];
    for (unsigned n = 0; n < HPM_COUNTERS; n++)
        was[n] = riscv_counter_read(s, n);
    s->mcountinhibit = inhibit & ~BIT(COUNTER_TIME) & 0xffffffff;
    for (unsigned n = 0; n < HPM_COUNTERS; n++)
        if (n != COUNTER_TIME)
            riscv_counter_write(s, n, was[n]);
}

void riscv_hpmevent_write(RiscvState *s, unsigned n, uint64_t v)
{
    uint64_t was = riscv_counter_read(s, n);
    uint64_t of = riscv_has(s, RV_SSCOFPMF) ? EVENT_OF | EVENT_INH : 0;
    s->hpmevent[n] = v & (0xffffffff | of);
    riscv_counter_write(s, n, was);
}

uint64_t riscv_scountovf(RiscvState *s)
{
    uint64_t v = 0;
    for (unsigned n = 3; n < HPM_COUNTERS; n++)
        v |= s->hpmevent[n] & EVENT_OF ? BIT(n) : 0;
    return s->prv == PRV_M ? v : v & s->mcounteren;
}

uint64_t riscv_time(RiscvState *s)
{
    return s->time ? s->time(s->time_opaque) : (uint64_t)clock_now(s->vcpu->vm, CLOCK_GUEST) / 100;
}

void riscv_counters_init(RiscvState *s)
{
    timer_init(&s->overflow_timer, s->vcpu->vm, CLOCK_GUEST, overflow_fire, s);
}
