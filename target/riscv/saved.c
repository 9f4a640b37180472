/* SPDX-License-Identifier: MIT */
/*
 * What of a hart is saved beside the registers that riscv.c's slots name, and
 * what follows from it when it is loaded: which PMP entries count, the timer of
 * stimecmp, the mode key. Timers are on the guest's clock, which goes on from
 * where it stood, and so do the counters, which count by it.
 */
#include "target/riscv/priv.h"

const Field riscv_fields[] = {
    STATE(RiscvState, prv), STATE(RiscvState, in_wfi),
    STATE(RiscvState, medeleg), STATE(RiscvState, mideleg), STATE(RiscvState, mie), STATE(RiscvState, mip),
    STATE(RiscvState, irq_lines), STATES(RiscvState, ext_prio),
    STATE(RiscvState, menvcfg), STATE(RiscvState, mseccfg), STATE(RiscvState, satp), STATE(RiscvState, senvcfg),
    STATE(RiscvState, mcounteren), STATE(RiscvState, scounteren), STATE(RiscvState, mcountinhibit),
    STATE(RiscvState, stimecmp), STATES(RiscvState, mstateen), STATES(RiscvState, sstateen),
    STATE(RiscvState, mvien), STATE(RiscvState, mvip), STATE(RiscvState, vsie), STATES(RiscvState, iselect),
    STATE(RiscvState, seen), STATES(RiscvState, iprio[AIA_M]),
    STATES(RiscvState, iprio[AIA_S]),
    STATES(RiscvState, counter), STATES(RiscvState, hpmevent), STATE(RiscvState, counter_armed),
    STATE(RiscvState, overflow_timer),
    STATES(RiscvState, pmpcfg), STATES(RiscvState, pmpaddr),
    STATE(RiscvState, time_delta),
    {0}
};

/* What no CSR write would have let through makes no sense. */
static Err *check(RiscvState *s)
{
    unsigned mpp = (riscv_mstatus(s) & MSTATUS_MPP) >> 11;

    if (s->prv > PRV_M || s->prv == 2 || mpp == 2)
        return err(ERR_INVALID, "it was saved in a privilege mode that there is not");
    if (!riscv_satp_valid(s, s->satp))
        return err(ERR_INVALID, "it was saved with satp %#" G_GINT64_MODIFIER "x, which this -cpu has not", s->satp);
    return NULL;
}

Err *riscv_loaded(Vcpu *v)
{
    RiscvState *s = v->state;

    TRY(check(s));
    s->exc_cause = s->exc_tval = 0;
    s->walk_access = false;
    riscv_pmp_loaded(s);
    if (s->menvcfg & ENVCFG_STCE)
        riscv_stimecmp_changed(s);
    mmu_ops->flush_all(v);
    riscv_update_mode(s);
    return NULL;
}
