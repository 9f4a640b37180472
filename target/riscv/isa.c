/* SPDX-License-Identifier: MIT */
/*
 * The RISC-V guest as the rest of Lyre sees it: life of a hart, its registers
 * by name, what lockstep compares.
 */
#include <inttypes.h>
#include <string.h>

#include "target/riscv/front.h"
#include "target/riscv/priv.h"
#include "util/log.h"

static void stc_fire(void *opaque)
{
    RiscvState *s = opaque;
    riscv_irq_line(s->vcpu, IRQ_STI, 1);
}

static void vcpu_free(Vcpu *v)
{
    RiscvState *s = v->state;
    timer_del(&s->stc_timer);
    timer_del(&s->overflow_timer);
    g_free(s);
    v->state = NULL;
}

static Err *vcpu_new(Vcpu *v, const char *cpu, const char *opts)
{
    RiscvState *s = g_new0(RiscvState, 1);

    cpu = cpu ? cpu : v->isa->default_cpu;
    s->vcpu = v;
    s->hartid = v->index;
    s->time_hz = 10000000;
    v->state = s;
    timer_init(&s->stc_timer, v->vm, CLOCK_GUEST, stc_fire, s);
    riscv_counters_init(s);
    Err *e = riscv_cpu_configure(s, cpu, opts);
    if (e)
        vcpu_free(v);
    return err_in(e, "-cpu %s", cpu);
}

/* Privileged manual 3.4. Registers without a reset value are zero here, so that runs repeat. */
static void reset(Vcpu *v)
{
    RiscvState *s = v->state;
    Env *env = v->env;
    RiscvState keep = *s;
    timer_del(&s->stc_timer);
    timer_del(&s->overflow_timer);
    memset(&s->prv, 0, sizeof(*s) - offsetof(RiscvState, prv));
    s->prv = PRV_M;
    s->time = keep.time, s->time_opaque = keep.time_opaque, s->time_hz = keep.time_hz;
    s->stc_timer = keep.stc_timer, s->overflow_timer = keep.overflow_timer;
    s->irq_lines = keep.irq_lines & ~BIT(IRQ_STI);
    s->stimecmp = UINT64_MAX;
    s->menvcfg = riscv_has(s, RV_SVADU) && !riscv_has(s, RV_SVADE) ? ENVCFG_ADUE : 0;

    memset(env->gpr, 0, sizeof(env->gpr));
    memset(env->vec, 0, sizeof(env->vec));
    memset(env->sys, 0, sizeof(env->sys));
    env->sys[SYS_MSTATUS] = 2ull << 32 | 2ull << 34;        /* UXL, SXL: 64 bits */
    env->resv_addr = ENV_NO_RESV;
    env->fault = 0;
    env_set_fp_flags(env, 0);
    env_set_round(env, FP_RNE);
    env->pc = 0x1000;
    mmu_ops->flush_all(v);
    riscv_update_mode(s);
}

static void go_on(Vcpu *v)
{
    ((RiscvState *)v->state)->in_wfi = false;
}

static unsigned fetch_ctx(uint64_t mode)
{
    unsigned prv = mode >> RVM_PRV_SHIFT & 3;
    return prv == PRV_M ? CTX_M : prv == PRV_S ? CTX_S : CTX_U;
}

/* ---- registers by name */

static const char *const x_names[32] = {
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
};
static const char *const f_names[32] = {
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
    "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11",
};
static const struct { const char *name; int reg; } sys_names[] = {
    { "mstatus", SYS_MSTATUS }, { "sscratch", SYS_SSCRATCH }, { "sepc", SYS_SEPC }, { "scause", SYS_SCAUSE },
    { "stval", SYS_STVAL }, { "stvec", SYS_STVEC }, { "mscratch", SYS_MSCRATCH }, { "mepc", SYS_MEPC },
    { "mcause", SYS_MCAUSE }, { "mtval", SYS_MTVAL }, { "mtvec", SYS_MTVEC },
};
#define MEMBERS(X) X(exc_cause) X(exc_tval) X(medeleg) X(mideleg) X(mie) X(mip) X(menvcfg) X(satp) X(senvcfg) X(mcounteren) \
    X(scounteren) X(mcountinhibit) X(stimecmp) X(mvien) X(mvip) X(vsie) X(iselect[AIA_M]) X(iselect[AIA_S])

static void dump(Vcpu *v, GString *out)
{
    RiscvState *s = v->state;
    Env *env = v->env;
    static const char prv[] = "US?M";
    g_string_append_printf(out, "hart %d  pc %016" PRIx64 "  mode %c\n", v->index, env->pc, prv[s->prv]);
    for (int i = 0; i < 32; i++)
        g_string_append_printf(out, "%-4s %016" PRIx64 "%s", x_names[i], env->gpr[i], i % 4 == 3 ? "\n" : "  ");
    for (int i = 0; i < 32 && log_on(LOG_FPU) && (riscv_mstatus(s) & MSTATUS_FS); i++)
        g_string_append_printf(out, "%-4s %016" PRIx64 "%s", f_names[i], env->vec[i].u64[0], i % 4 == 3 ? "\n" : "  ");
    for (unsigned i = 0; i < G_N_ELEMENTS(sys_names); i++)
        g_string_append_printf(out, "%-8s %016" PRIx64 "%s", sys_names[i].name, env->sys[sys_names[i].reg], i % 3 == 2 ? "\n" : "  ");
    g_string_append_printf(out, "mip      %016" PRIx64 "\nmie %016" PRIx64 " mideleg %" PRIx64 " medeleg %" PRIx64 " satp %016" PRIx64 "\n",
                           riscv_mip(s), s->mie, s->mideleg, s->medeleg, s->satp);
}

/* Names the first differences of two harts' states; NULL if they agree. */
static const char *state_diff(const void *pa, const void *pb, GString *out)
{
    const RiscvState *a = pa, *b = pb;
    gsize before = out->len;
    if (a->prv != b->prv)
        g_string_append_printf(out, "  privilege: %u, %u\n", a->prv, b->prv);
#define X(m) if (a->m != b->m) g_string_append_printf(out, "  " #m ": %#" PRIx64 ", %#" PRIx64 "\n", (uint64_t)a->m, (uint64_t)b->m);
    MEMBERS(X)
#undef X
    return out->len == before ? NULL : out->str;
}

static const StateRange state_shared[] = {
    { offsetof(RiscvState, ext_prio), sizeof(((RiscvState *)0)->ext_prio) },
    { offsetof(RiscvState, irq_lines), sizeof(((RiscvState *)0)->irq_lines) },
    { offsetof(RiscvState, overflow_timer), sizeof(Timer) },
    { offsetof(RiscvState, stc_timer), sizeof(Timer) },
    { 0, 0 },
};

const Isa isa_riscv64 = {
    .name = "riscv64",
    .ir = &riscv_ir,
    .regs = riscv_regs, .pc_reg = RISCV_PC_REG,
    .gdb_arch = "riscv:rv64", .gdb_features = "org.gnu.gdb.riscv.",
    .cpu_type = "riscv-cpu",
    .cpu_names = riscv_cpu_names,
    .default_cpu = "rv64",
    .vcpu_new = vcpu_new,
    .vcpu_free = vcpu_free,
    .reset = reset,
    .cpu_help = riscv_cpu_help,
    .cpu_props = riscv_cpu_props,
    .step = riscv_step,
    .fetch_ctx = fetch_ctx,
    .max_insn = 4,
    .print = riscv_print,
    .walk = riscv_walk,
    .mem_fault = riscv_mem_fault,
    .enter_fault = riscv_enter_fault,
    .irq = riscv_take_irq,
    .irq_counts = riscv_irq_counts,
    .wakes = riscv_wakes,
    .go_on = go_on,
    .asid = riscv_asid,
    .ctx_virtual = riscv_ctx_virtual,
    .look = riscv_look,
    .mapping = riscv_mapping,
    .elf_machine = 243, .core_notes = riscv_core_notes,
    .dump = dump,
    .state_size = sizeof(RiscvState),
    .state_shared = state_shared,
    .state_diff = state_diff,
    .fields = riscv_fields, .loaded = riscv_loaded,
};
