/* SPDX-License-Identifier: MIT */
/*
 * Registers by name and by gdb's number: x, f, CSRs, privilege. Numbers and
 * features are those of gdb's RISC-V target (its manual, G.5.12): x0 is 0, pc
 * 32, f0 33, CSR n 65 + n, the privilege mode behind the last of them. DWARF's are
 * the ABI's (RISC-V ELF psABI, "DWARF Register Numbers"). The rows of CSRs are
 * made of csr.c's.
 */
#include <stdatomic.h>
#include <stddef.h>

#include "target/riscv/priv.h"

enum { GDB_PC = 32, GDB_F0 = 33, GDB_CSR = 65, GDB_PRIV = GDB_CSR + 4096, CSR_SEED = 0x015, DWARF_F0 = 32, DWARF_CSR = 4096 };

/* ---- how they are read and written */

static uint64_t x_get(Vcpu *v, int n) { return v->env->gpr[n]; }

static void x_set(Vcpu *v, int n, uint64_t val)
{
    if (n)
        v->env->gpr[n] = val;
}

static uint64_t pc_get(Vcpu *v, int n) { return v->env->pc; }

/* A hart that stood in wfi is somewhere else now. */
static void pc_set(Vcpu *v, int n, uint64_t val)
{
    RiscvState *s = v->state;

    v->env->pc = val & ~UINT64_C(1);
    v->env->resv_addr = ENV_NO_RESV;
    s->in_wfi = false;
    atomic_store(&v->halted, false);
}

/* Of F alone they are as wide: values lie boxed in ones. */
static bool f_has(Vcpu *v, int n) { return riscv_has(v->state, RV_F); }
static uint64_t f_get(Vcpu *v, int n) { return v->env->vec[n].u64[0]; }

static void f_set(Vcpu *v, int n, uint64_t val)
{
    RiscvState *s = v->state;

    v->env->vec[n].u64[0] = val;
    if (riscv_mstatus(s) & MSTATUS_FS) {
        *riscv_sys(s, SYS_MSTATUS) |= MSTATUS_FS | MSTATUS_SD;     /* or the guest would not save it */
        riscv_update_mode(s);
    }
}

static bool csr_has(Vcpu *v, int n) { return riscv_csr_has(v->state, n); }
static uint64_t csr_get(Vcpu *v, int n) { return riscv_csr_peek(v->state, n); }
static void csr_set(Vcpu *v, int n, uint64_t val) { riscv_csr_poke(v->state, n, val); }

static uint64_t priv_get(Vcpu *v, int n) { return ((RiscvState *)v->state)->prv; }

static void priv_set(Vcpu *v, int n, uint64_t val)
{
    RiscvState *s = v->state;

    if (val > PRV_M || val == 2)
        return;
    s->prv = val;
    riscv_update_mode(s);
}

/* ---- the rows */

#define X(n, name, type, ...) { name, "cpu", 64, n, x_get, x_set, n, type, NULL, 1 + n, __VA_ARGS__ }
#define F(n, name) { name, "fpu", 64, GDB_F0 + n, f_get, f_set, n, "float", f_has, 1 + DWARF_F0 + n }

RegInfo riscv_regs[RISCV_REGS_MAX] = {
    X(0, "zero", "int"), X(1, "ra", "code_ptr", "ra"), X(2, "sp", "data_ptr", "sp"), X(3, "gp", "data_ptr"), X(4, "tp", "data_ptr"),
    X(5, "t0", "int"), X(6, "t1", "int"), X(7, "t2", "int"), X(8, "s0", "data_ptr", "fp"), X(9, "s1", "int"),
    X(10, "a0", "int", "arg1"), X(11, "a1", "int", "arg2"), X(12, "a2", "int", "arg3"), X(13, "a3", "int", "arg4"), X(14, "a4", "int", "arg5"), X(15, "a5", "int", "arg6"),
    X(16, "a6", "int", "arg7"), X(17, "a7", "int", "arg8"), X(18, "s2", "int"), X(19, "s3", "int"), X(20, "s4", "int"), X(21, "s5", "int"),
    X(22, "s6", "int"), X(23, "s7", "int"), X(24, "s8", "int"), X(25, "s9", "int"), X(26, "s10", "int"), X(27, "s11", "int"),
    X(28, "t3", "int"), X(29, "t4", "int"), X(30, "t5", "int"), X(31, "t6", "int"),
    { "pc", "cpu", 64, GDB_PC, pc_get, pc_set, 0, "code_ptr", NULL, 0, "pc" },
    F(0, "ft0"), F(1, "ft1"), F(2, "ft2"), F(3, "ft3"), F(4, "ft4"), F(5, "ft5"), F(6, "ft6"), F(7, "ft7"), F(8, "fs0"),
    F(9, "fs1"), F(10, "fa0"), F(11, "fa1"), F(12, "fa2"), F(13, "fa3"), F(14, "fa4"), F(15, "fa5"), F(16, "fa6"), F(17, "fa7"),
    F(18, "fs2"), F(19, "fs3"), F(20, "fs4"), F(21, "fs5"), F(22, "fs6"), F(23, "fs7"), F(24, "fs8"), F(25, "fs9"),
    F(26, "fs10"), F(27, "fs11"), F(28, "ft8"), F(29, "ft9"), F(30, "ft10"), F(31, "ft11"),
    { NULL },
};

/* Names in runs ("pmpaddr", of which there are 16) get their numbers. */
static const char *csr_name(unsigned csr)
{
    const char *name = riscv_csr_name(csr);
    unsigned n = csr & 31;

    if (csr >= 0x3a0 && csr < 0x3b0)
        return g_strdup_printf("%s%u", name, csr & 15);
    if (csr >= 0x3b0 && csr < 0x3f0)
        return g_strdup_printf("%s%u", name, csr - 0x3b0);
    if (((csr & ~31u) == 0x320 || (csr & ~31u) == 0xb00 || (csr & ~31u) == 0xc00) && n >= 3)
        return g_strdup_printf("%s%u", name, n);
    return name;
}

void riscv_regs_make(void)
{
    int n = RISCV_PC_REG + 33;

    for (unsigned csr = 0; csr < 4096; csr++)
        if (riscv_csr_name(csr) && csr != CSR_SEED && n < RISCV_REGS_MAX - 2)
            riscv_regs[n++] = (RegInfo){ csr_name(csr), "csr", 64, GDB_CSR + csr, csr_get, csr_set, csr, "int", csr_has,
                                             1 + DWARF_CSR + csr };
    riscv_regs[n] = (RegInfo){ "priv", "virtual", 64, GDB_PRIV, priv_get, priv_set, 0, "int", NULL };
}
